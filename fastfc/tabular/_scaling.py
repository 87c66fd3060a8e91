"""Standardization: of the features, in the network, and of numbers to predict, which its last layer undoes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["TargetScale", "mean_and_scale"]


def mean_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each feature's mean and 1 / its deviation, in float64 whatever X is."""
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    # A constant feature's deviation can be a rounding error instead of 0.
    varies = (deviation > 0) & (X.min(axis=0) < X.max(axis=0))
    if X.dtype.itemsize >= 4:
        # A sum of many numbers far from 0, such as timestamps, is rounded by more than they differ.
        rest = (X - mean).mean(axis=0)
        mean = np.where(varies & (np.abs(rest) > 1e-9 * deviation), mean + rest, mean)
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
