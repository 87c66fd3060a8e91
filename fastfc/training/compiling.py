"""Compiling what a training run calls; two processes share it where a run could have two threads."""

import os

import numpy as np

from fastfc._threads import available_cpus, get_num_threads
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.kernels import _second_process
from fastfc.kernels._jit import entry_point, is_compiled
from fastfc.training.layout import Examples, Plan
from fastfc.training.plan import make_plan
from fastfc.training.step import announce_step, link_step, linked_files, train_steps

# The dtypes for which everything is linked. Plans of a dtype have one type, which takes longer to find out
# than a small step; and other arguments of other types only need another train_steps.
_ready: set[np.dtype] = set()


def compile_run(plan: Plan, examples: Examples, y: np.ndarray) -> None:
    """Compile, or load from disk, what a run with this plan calls."""
    if plan.w.dtype in _ready:
        return
    announce_step(plan)
    arguments = (plan, 0, examples, y, np.zeros(0), np.zeros(1, np.int64))
    share = []
    if not is_compiled(train_steps, *arguments) and (get_num_threads() or available_cpus()) > 1:
        share = linked_files(plan)
    if not all(map(os.path.exists, share)):
        call = f"compile_share({plan.w.dtype.name!r}, {[str(path) for path in share]!a})"
        _second_process.start(f"from fastfc.training.compiling import compile_share; {call}", share)
    entry_point(train_steps, *arguments)
    link_step(plan)
    _second_process.finish(share)
    _ready.add(plan.w.dtype)


def compile_share(dtype: str, paths: list[str]) -> None:
    """In the second process: compile what a step calls, unless it would be kept elsewhere than in these files.

    It would be if the first process has other settings than its environment says, or other source text.
    """
    plan = make_plan(FullyConnectedNet([1], 1, 2, dtype=np.dtype(dtype)), 1, 1)
    if [str(path) for path in linked_files(plan)] == paths:
        link_step(plan)
