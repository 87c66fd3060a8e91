"""The compiled training run: whole steps in one compiled call.

``layout.py`` says where everything lies, ``plan.py`` makes it, ``step.py`` is a training step
as every member of the team carries it out, ``data.py`` reads examples as they lie in memory,
``compiling.py`` gets the machine code, ``run.py`` drives the run from Python. This module says
which trainings it can do.
"""

import itertools
from typing import Any

import numpy as np

from fastfc._runtime.threads import available_cpus, checked_count, get_num_threads
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.course.years import legacy_of

__all__ = ["refusal", "threads_for"]

# Methods that the compiled run stands for: a class that overrides one of them means it.
_MODEL_METHODS = ("loss", "params", "dims", "_inputs", "_block", "_block_names", "_block_params")
_SOLVER_METHODS = ("_step", "_check", "check_accuracy", "train")


def refusal(solver: Any) -> str | None:
    """Why the compiled run cannot do this training; None if it can."""
    from fastfc.training.plan import RULES, readable

    model = solver.model
    if get_backend() != "fast":
        return "the backend is not 'fast'"
    if not isinstance(model, FullyConnectedNet):
        return "the model is not a FullyConnectedNet"
    for owner, base, names in ((model, FullyConnectedNet, _MODEL_METHODS), (solver, _solver_class(), _SOLVER_METHODS)):
        for name in names:
            if name in vars(owner) or getattr(type(owner), name) is not getattr(base, name):
                return f"{type(owner).__name__}.{name} is not fastfc's own"
    if solver.update_rule not in RULES:
        return f"the rule {getattr(solver.update_rule, '__name__', solver.update_rule)!r} is not fastfc's own"
    if list(model.params) != list(model.params.shapes) or set(solver.optim_configs) != set(model.params):
        return "the model has other parameters than its layers'"
    if model.use_dropout and legacy_of(model.dropout_param):
        return "the model's dropout is that of 2017"
    for split in ("X_train", "X_val"):
        X = getattr(solver, split)
        if not readable(X):
            return f"{split} is not an array that compiled code can read as it lies"
        if X[:1].size != len(X[:1]) * model.dims[0]:
            return f"{split} does not have the network's number of features"
    if len(solver.X_train) > 2**32:
        return "there are more than 2**32 training examples"
    if not isinstance(np.random.get_bit_generator(), np.random.MT19937):  # type: ignore[attr-defined]
        return "NumPy's global random stream is not MT19937"
    return None


def _solver_class():
    from fastfc.solver import Solver

    return Solver


# Floating-point operations of a step from which another thread pays: some 30 microseconds of work each.
_WORK_PER_THREAD = 3e6


def threads_for(model: FullyConnectedNet, batch: int, threads: int | None = None) -> int:
    """How many threads a run takes: `threads` if given, else the process's choice, else what pays."""
    chosen = checked_count("threads", threads) if threads is not None else get_num_threads()
    if chosen is None:
        work = 6.0 * batch * sum(d_in * d_out for d_in, d_out in itertools.pairwise(model.dims))
        chosen = max(1, min(available_cpus(), int(work / _WORK_PER_THREAD)))
    return min(chosen, batch)
