"""Compiling what a training run calls; on two processors, two processes share it."""

import numpy as np

from fastfc._threads import available_cpus
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.kernels import _second_process
from fastfc.kernels._cache import cache_folder
from fastfc.kernels._jit import entry_point, is_compiled
from fastfc.training.layout import Examples, Plan
from fastfc.training.plan import make_plan
from fastfc.training.step import announce_step, link_step, train_steps

# What the second process compiles, as the cache calls it.
_SHARE = {"training.step.backward", "kernels._matmul._product_float", "kernels._matmul._product_double"}


def compile_run(plan: Plan, examples: Examples, y: np.ndarray) -> None:
    """Compile, or load from disk, what a run with this plan calls."""
    announce_step(plan)
    arguments = (plan, 0, examples, y, np.zeros(0), np.zeros(1, np.int64))
    if not is_compiled(train_steps, *arguments) and cache_folder() is not None and available_cpus() > 1:
        code = f"from fastfc.training.compiling import compile_share; compile_share({plan.w.dtype.name!r})"
        _second_process.start(code, _SHARE)
    entry_point(train_steps, *arguments)
    link_step(plan)


def compile_share(dtype: str) -> None:
    """In the second process: compile all that a step calls but :func:`train_steps` itself."""
    link_step(make_plan(FullyConnectedNet([1], 1, 2, dtype=np.dtype(dtype)), 1, 1))
