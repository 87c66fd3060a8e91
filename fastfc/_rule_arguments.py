"""Arguments of update rules: their configurations, complete and checked."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import contiguous, float_arrays, not_nan, require_mapping, require_shape
from fastfc.ops.rules import RULES

__all__ = ["DEFAULTS", "STATE", "checked_config", "complete_config"]

_Config = dict[str, Any]

#: Rule -> the hyperparameters that it fills in.
DEFAULTS: dict[str, _Config] = {name: dict(rule.defaults) for name, rule in RULES.items()}

#: Rule -> the arrays of w's shape that it keeps in the configuration.
STATE: dict[str, tuple[str, ...]] = {name: rule.state for name, rule in RULES.items()}


def checked_config(name: str, config: _Config, w: np.ndarray, *others: np.ndarray) -> _Config:
    """A complete, checked copy of a rule's configuration, its state arrays in w's shape and dtype.

    State arrays that fit as they are are not copied, unless they share memory with `w`, `others` or one another.
    """
    require_mapping("config", config)
    checked: _Config = {
        key: not_nan(f"config['{key}']", config.get(key, default)) for key, default in DEFAULTS[name].items()
    }
    if "t" in checked:
        checked["t"] = _step_count(checked["t"])
    for key in RULES[name].averaging:
        if not 0 <= checked[key] < 1:
            raise ValueError(f"config['{key}']: expected 0 <= {key} < 1, got {checked[key]}")
    taken = [w, *others]
    for key in STATE[name]:
        state = _state(key, config.get(key), w)
        if any(np.may_share_memory(state, array) for array in taken):
            state = state.copy()
        checked[key] = state
        taken.append(state)
    return checked


def complete_config(name: str, config: _Config, checked: _Config) -> None:
    """Put into config what it lacked, and the state."""
    for key, default in DEFAULTS[name].items():
        config.setdefault(key, default)
    for key in (*STATE[name], *(["t"] if "t" in checked else [])):
        config[key] = checked[key]


def _step_count(value: float) -> int:
    if not (np.isfinite(value) and value == int(value) and value >= 0):
        raise ValueError(f"config['t']: expected the number of steps taken so far, got {value}")
    return int(value)


def _state(key: str, value: ArrayLike | None, w: np.ndarray) -> np.ndarray:
    if value is None:
        return np.zeros_like(w)
    (array,), _ = float_arrays(**{f"config['{key}']": value})
    if array.shape == () and w.shape != ():
        return np.full(w.shape, array, w.dtype)
    require_shape(f"config['{key}']", array, w.shape, "the shape of w")
    return contiguous(array, w.dtype)
