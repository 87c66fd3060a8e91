"""Checks of arguments that are numbers within bounds."""

import math

import numpy as np

from fastfc._arguments import number

__all__ = ["require_count", "require_range"]


def require_count(name: str, value: int, least: int) -> None:
    """TypeError or ValueError, which name the argument, unless `value` is an integer of at least `least`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected {least} or more, got {value}")


def require_range(name: str, value: float, least: float, most: float = math.inf) -> None:
    """TypeError or ValueError, which name the argument, unless `value` is a finite number from `least` to `most`."""
    scalar = number(name, value)
    if not (least <= scalar <= most and math.isfinite(scalar)):
        bound = f"a finite number of at least {least}" if most == math.inf else f"a number from {least} to {most}"
        raise ValueError(f"{name}: expected {bound}, got {value}")
