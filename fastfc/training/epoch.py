"""Epoch: many training steps in one compiled call, as each thread carries them out.

Between two barriers a thread writes its own rows, its own sums, or its own share of a layer's
weights, and reads what all wrote before the barrier. Sums over threads are taken in their order,
so that a run repeats bit for bit with the same number of threads.
"""

import numpy as np
from numba.core import types

from fastfc.kernels._barrier import meet
from fastfc.kernels._denormals import flush_denormals, restore
from fastfc.kernels._jit import part
from fastfc.kernels._linked import linked
from fastfc.kernels._matmul import PRODUCTS
from fastfc.kernels._random import choose
from fastfc.kernels._vectors import vectors_supported
from fastfc.kernels._views import borrowed, nth, reference_to
from fastfc.training import memory
from fastfc.training.backward import backward, call_backward, sums_of
from fastfc.training.forward import (
    activate,
    affine_of_batch,
    fetch_batch,
    merge_statistics,
    output_and_loss,
    publish_statistics,
    sum_over_features,
)
from fastfc.training.inference import predict_rows
from fastfc.training.memory import Plan, Steps


@linked(types.void, lambda dtype: (reference_to(Plan, dtype), types.int64, reference_to(Steps, dtype)))
def train_steps(plan, thread, steps):
    """Carry out as many steps as there are losses."""
    control = flush_denormals()
    _train_steps(plan, thread, steps)
    restore(control)


@part
def _train_steps(plan, thread, steps):
    whole, number = plan, thread
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, number))
    examples = borrowed(steps.examples)
    y, losses, progress = steps.y, steps.losses, steps.progress
    for step in range(losses.size):
        choose(thread.indices, thread.stream, y.size)
        fetch_batch(plan, thread, examples)
        if plan.by_features:
            sum_over_features(plan, thread)
            if not meet(plan.barrier, plan.num_threads):
                return
        for index in range(plan.depth - 1):
            affine_of_batch(plan, thread, index)
            if plan.norm == memory.BATCH_NORM:
                publish_statistics(thread, nth(plan.layers, index), nth(thread.shares, index))
                if not meet(plan.barrier, plan.num_threads):
                    return
                merge_statistics(plan, thread, index)
            activate(plan, thread, index)
        sums_of(thread, step)[memory.LOSS] = output_and_loss(plan, thread, y)
        if not call_backward((whole, number, step)):
            return
        # every weight is new, and nobody reads the batch any more
        if not meet(plan.barrier, plan.num_threads):
            return
        if thread.index == 0:
            losses[step] = _loss(plan, step)
            progress[0] = step + 1


@part
def _loss(plan, step):
    """The step's loss from what all threads have added up."""
    loss = 0.0
    squares = 0.0
    for other in range(plan.num_threads):
        sums = sums_of(nth(plan.threads, other), step)
        loss += sums[memory.LOSS]
        squares += sums[memory.SQUARES]
    return loss / plan.batch + 0.5 * plan.reg * squares


def linked_kernel(name, dtype):
    """The :class:`fastfc.kernels._linked.Linked` of a name and a dtype."""
    if name == "product":
        return PRODUCTS[np.dtype(dtype)]
    return {"train_steps": train_steps, "backward": backward, "predict_rows": predict_rows}[name]


def callees(name):
    """The names of the kernels that a kernel calls, itself or through others."""
    product = ["product"] if vectors_supported() else []
    return {"train_steps": ["backward", *product]}.get(name, product)
