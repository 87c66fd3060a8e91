"""The scale of numbers to predict in the training, which the network's last layer undoes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["TargetScale"]


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
