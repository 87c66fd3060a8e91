"""Compiled calls in parts: between two of them Python sees to Ctrl-C, progress and printed lines."""

from collections.abc import Callable
from time import perf_counter

import numpy as np

from fastfc.training.compiling import kernel
from fastfc.training.job import NO_INTEGERS
from fastfc.training.memory import Plan, Predictions
from fastfc.training.plan import as_readable, examples_of

#: Return to Python after about this many seconds.
PART_SECONDS = 0.06
#: Of :class:`Predictions`: everything in one call.
ALL_BLOCKS = {"first_block": 0, "blocks": 2**31}

# Multiplications of a thread's first part, some milliseconds of work: most accuracy checks are one call.
_FIRST_WORK = 10**8
# A part may have so many times the blocks of the one before, which may have been a quick one by chance.
_GROWTH = 8


def predict_in_parts(plan: Plan, job: Predictions, call: Callable[[], object]) -> None:
    """Carry out a job by several calls of the kernel, each of some blocks of rows.

    The blocks are those of a single call, and so are the numbers. At the end, as after an error or
    Ctrl-C, the job is once more one that is done in a single call.

    Parameters
    ----------
    plan : Plan
    job : Predictions
    call : callable
        Has every thread do what the job says.
    """
    # A thread has a share of at most this many rows, in blocks of at least this many.
    share = -(-job.count // plan.num_threads)
    rows = min(thread.end - thread.first for thread in plan.threads)
    left = -(-share // rows)
    blocks = max(1, _FIRST_WORK // (rows * plan.stride))
    try:
        while left > 0:
            job.blocks = blocks
            start = perf_counter()
            call()
            seconds = perf_counter() - start
            job.first_block += blocks
            left -= blocks
            blocks = max(1, min(_GROWTH * blocks, int(blocks * PART_SECONDS / max(seconds, 1e-9))))
    finally:
        job.first_block, job.blocks = ALL_BLOCKS["first_block"], ALL_BLOCKS["blocks"]


def scores_in_parts(
    plan: Plan, run: Callable[[Callable[[int], object]], None], X: np.ndarray, indices: np.ndarray | None
) -> np.ndarray:
    """Scores (n, K) of examples X (n, ...) in a plan's memory, or of those of some row numbers.

    `run` calls a function in every thread.
    """
    X = as_readable(X)
    count = len(X) if indices is None else len(indices)
    found = np.empty((count, plan.layers[-1].d_out), plan.dtype)
    job = Predictions(
        plan.dtype, examples=examples_of(X, plan.dtype), count=count, softmax=False, predictions=NO_INTEGERS,
        subset=NO_INTEGERS if indices is None else np.ascontiguousarray(indices, np.int64), scores=found, **ALL_BLOCKS,
    )  # fmt: skip
    kernel_of_rows = kernel("predict_rows", plan.dtype)
    predict_in_parts(plan, job, lambda: run(lambda thread: kernel_of_rows(plan, thread, job)))
    return found
