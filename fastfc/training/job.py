"""Jobs of the compiled run: which data a call works on, and everything that happens between its steps."""

import functools
from typing import Any

import numpy as np

from fastfc._runtime.record import Table
from fastfc.training.memory import REPLACEMENT, Check, Examples, Plan, Scaling, Steps, Stopping, Validation

__all__ = ["NO_INTEGERS", "NO_NUMBERS", "training_job"]

NO_INTEGERS = np.zeros(0, np.int64)
NO_NUMBERS = np.zeros(0)


@functools.cache
def _none_of(kind: type, dtype: np.dtype) -> Table:
    return Table(kind, dtype, [])


def training_job(
    plan: Plan, *, examples: Examples, params: np.ndarray, losses: np.ndarray, epoch: int, **given: Any
) -> Steps:
    """Some steps of a training; an attribute of :class:`fastfc.training.memory.Steps` that is not given is none."""
    no_reals = params[:0]
    return Steps(
        plan.dtype,
        **{
            "examples": examples,
            "params": params,
            "losses": losses,
            "epoch": epoch,
            "cycle": epoch,
            "y": NO_INTEGERS,
            "targets": no_reals,
            "weights": no_reals,
            "sampler": REPLACEMENT,
            "short": plan,
            "has_short": False,
            "rates": NO_NUMBERS,
            "watch": NO_NUMBERS,
            "average": no_reals,
            "average_decay": 0,
            "loss_function": 0,
            "loss_labels": NO_INTEGERS,
            "loss_targets": no_reals,
            "accumulate": 1,
            "lr_decay": 1,
            "checks": _none_of(Check, plan.dtype),
            "checked": False,
            "accuracies": NO_NUMBERS,
            "check_ends": NO_INTEGERS,
            "best_accuracy": NO_NUMBERS,
            "best_params": no_reals,
            "validate": 0,
            "validation": _none_of(Validation, plan.dtype),
            "validations": 0,
            "learn_scale": 0,
            "scaling": _none_of(Scaling, plan.dtype),
            "call_ticks": 0,
            "stopping": _none_of(Stopping, plan.dtype),
            "num_stopping": 0,
            "loss_before": 0,
            "short_share": 1,
            "epoch_batches": 1,
            **given,
        },
    )
