"""Standardization: of the features, in the network, and of numbers to predict, which its last layer undoes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["TargetScale", "mean_and_scale"]


def mean_and_scale(
    X: np.ndarray, dtype: DTypeLike = np.float64, names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each feature's mean and 1 / its deviation, in float64 whatever X is.

    Raises
    ------
    ValueError
        If the deviation of a feature is so small that its inverse is infinite in `dtype`; `names` are the features'.
    """
    low, high = X.min(axis=0), X.max(axis=0)
    unit = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    # The squares of larger ones, and of smaller ones, may not be within float64.
    unit = np.where((unit > 1e150) | ((unit > 0) & (unit < 1e-150)), unit, 1.0)
    if (unit == 1).all():
        mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    else:
        mean, deviation = (X / unit).mean(axis=0) * unit, (X / unit).std(axis=0) * unit
    # A constant feature's deviation can be a rounding error instead of 0.
    varies = (deviation > 0) & (low < high)
    if X.dtype.itemsize >= 4:
        # A sum of many numbers far from 0, such as timestamps, is rounded by more than they differ.
        rest = (X - mean).mean(axis=0)
        mean = np.where(varies & (np.abs(rest) > 1e-9 * deviation), mean + rest, mean)
    small = varies & (deviation < 1 / np.finfo(dtype).max)
    if small.any():
        place = int(np.argmax(small))
        name = f"feature {place + 1}" if names is None else f"column {names[place]!r}"
        raise ValueError(
            f"{name}: expected numbers whose deviation is within the range of {np.dtype(dtype)}, got "
            f"{deviation.flat[place]:.2g}"
        )
    return mean, 1 / np.where(varies, deviation, 1)


@dataclass(frozen=True)
class TargetScale:
    """Mean and deviation of the numbers to predict, over the training data; those of classes are left as they are."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, data: dict[str, Any]) -> "TargetScale":
        """The scale of a data set's targets; ValueError if they have no deviation in float64."""
        if "class_names" in data:
            return cls()
        y = data["y_train"]
        with np.errstate(over="ignore", invalid="ignore"):
            scale = cls(float(y.mean()), float(y.std()))
        if not 0 < scale.deviation < np.inf:
            got = f"{y.min():g} to {y.max():g}"
            raise ValueError(f"target: expected numbers that differ, with squares within float64, got {got}")
        return scale

    def warning(self, dtype: Any) -> str | None:
        """A line to say if a network of this dtype rounds the numbers by too much."""
        ratio = abs(self.mean) / self.deviation
        if ratio * np.finfo(dtype).eps <= 1e-3:
            return None
        return (
            f"warning: the target's mean is {ratio:.0e} times its deviation; --dtype float64 keeps the digits that "
            "tell its values apart"
        )

    def standardized(self, data: dict[str, Any]) -> dict[str, Any]:
        """A data set with the targets in the scale of the training."""
        if "class_names" in data:
            return data
        return data | {key: (data[key] - self.mean) / self.deviation for key in ("y_train", "y_val")}

    def fold_into(self, model: Any) -> None:
        """Scale and shift a network's last layer, so that its outputs are in the targets' units."""
        if self == TargetScale():
            return
        last = model.num_layers
        model.params[f"W{last}"] *= self.deviation
        model.params[f"b{last}"] = model.params[f"b{last}"] * self.deviation + self.mean
