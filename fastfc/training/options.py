"""The options of a training: one record each, with its default, its check, and who may set it."""

import copy
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastfc._arguments import not_nan, number, require_mapping
from fastfc._plateau import plateau_of
from fastfc._runtime.threads import checked_count
from fastfc.training.batches import require_sampler
from fastfc.training.hooks import TrainingHooks
from fastfc.training.own_loss import require_own_loss

__all__ = ["CHANGEABLE", "OPTIONS", "SAVED", "Option", "check_options", "options_from", "require_schedule"]


class Option(NamedTuple):
    """An optional argument of the Solver, and its attribute of that name.

    Parameters
    ----------
    default : object
    check : function or None
        ``check(name, value)`` raises ValueError or TypeError, which name the option, for a value out of range.
    saved : bool
        Whether a training's file holds the value as it is.
    changeable : bool
        Whether a training that goes on from a file may have another value.
    """

    default: Any
    check: Callable[[str, Any], object] | None = None
    saved: bool = True
    changeable: bool = False


def _require_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not (isinstance(value, (int, np.integer)) and value >= least):
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r:.80}")


def _require_samples(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0):
        raise ValueError(f"{name}: expected None or an integer of at least 0, got {value!r:.80}")


def _require_threads(name: str, value: Any) -> None:
    if value is not None:
        checked_count(name, value)


def _require_path(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected None or a path, got {value!r}")


def _require_callback(name: str, value: Any) -> None:
    # A class can be called too, but not with a solver: its parentheses were forgotten.
    if value is not None and (isinstance(value, type) or not callable(value)) and not isinstance(value, TrainingHooks):
        raise TypeError(f"{name}: expected None, a function of the solver or callbacks, got {value!r}")


def require_schedule(name: str, value: Any) -> None:
    if value is not None and plateau_of(value) is None:
        # Imports of what few trainings need would take a tenth of the time in which a process starts.
        from fastfc import schedules

        if isinstance(value, str) and value not in schedules.SCHEDULES:
            names = ", ".join([*schedules.SCHEDULES, "plateau"])
            raise ValueError(f"{name}: expected one of {names}, got {value!r}")
        schedules.get(value)


def _require_bound(name: str, value: Any) -> None:
    if value is not None and not 0 < number(name, value) < float("inf"):
        raise ValueError(f"{name}: expected None or a positive number, got {value!r:.80}")


def _require_rule(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{name}: expected a function like those of fastfc.optim, got {value!r}")


#: All of them by name, in the order of the Solver's documentation.
OPTIONS: dict[str, Option] = {
    "update_rule": Option("sgd", _require_rule, saved=False),
    "optim_config": Option({}, require_mapping),
    "lr_decay": Option(1.0, not_nan),
    "schedule": Option(None, require_schedule),
    "max_norm": Option(None, _require_bound),
    "max_value": Option(None, _require_bound),
    "loss": Option(None, require_own_loss, saved=False, changeable=True),
    "accumulate": Option(1, partial(_require_integer, least=1)),
    "batch_size": Option(100, partial(_require_integer, least=1)),
    "sampler": Option("replacement", require_sampler),
    "num_epochs": Option(10, partial(_require_integer, least=0), changeable=True),
    "num_train_samples": Option(1000, _require_samples),
    "num_val_samples": Option(None, _require_samples),
    "checkpoint_name": Option(None, _require_path, saved=False, changeable=True),
    "print_every": Option(10, partial(_require_integer, least=1), changeable=True),
    "verbose": Option(True, changeable=True),
    "threads": Option(None, _require_threads, changeable=True),
    "callback": Option(None, _require_callback, saved=False, changeable=True),
    "autosave": Option(None, _require_path, saved=False, changeable=True),
}
#: Those that a training's file holds as they are, and those that a training that goes on may change.
SAVED = tuple(name for name, option in OPTIONS.items() if option.saved)
CHANGEABLE = tuple(name for name, option in OPTIONS.items() if option.changeable)


def options_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given, and the defaults of the others; ValueError for a name that there is not."""
    extra = ", ".join(f'"{name}"' for name in given if name not in OPTIONS)
    if extra:
        raise ValueError(f"Unrecognized arguments {extra}; expected some of {', '.join(OPTIONS)}")
    # Copies, as a default may be a dictionary.
    return {name: given.get(name, copy.copy(option.default)) for name, option in OPTIONS.items()}


def check_options(values: Mapping[str, Any]) -> None:
    """ValueError or TypeError, which name it, for the first option that is out of range."""
    for name, value in values.items():
        check = OPTIONS[name].check
        if check is not None:
            check(name, value)
