"""Checks of a training's data, which every engine relies on."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfc._arguments import (
    as_array,
    by_position,
    class_labels,
    names_of,
    require_columns,
    stacklevel_outside,
)
from fastfc.losses import checked_targets, checked_weights
from fastfc.ops.losses import Loss
from fastfc.training.engine import Trainer
from fastfc.training.state import SPLITS

__all__ = ["checked_data", "comparable_labels", "warn_of_other_weights", "warn_of_unknown_classes", "weights_of"]


def checked_data(data: Mapping[str, Any], loss: Loss | None, outputs: int) -> dict[str, Any]:
    """The arrays of a Solver's data, by position, once they are known to fit each other.

    Parameters
    ----------
    data : dict
        ``X_train, y_train, X_val, y_val``.
    loss : Loss or None
        The loss of a network of the package; None for somebody's own model, which may be trained on labels of any kind.
    outputs : int
        The network's outputs.

    Raises
    ------
    ValueError, TypeError
        For data that no engine can work with.
    """
    names = names_of(data["X_train"])
    if names is not None:
        require_columns("X_val", data["X_val"], names, "X_train")
    found = {name: by_position(name, data[name]) for name in SPLITS}
    for name, array in found.items():
        if not hasattr(array, "__len__") or getattr(array, "ndim", 1) == 0:
            raise ValueError(f"data: expected an array for {name}, got {array!r:.80}")
    for X, y in (("X_train", "y_train"), ("X_val", "y_val")):
        rows, count = len(found[X]), len(found[y])
        if rows != count:
            raise ValueError(f"data: expected as many labels as examples, got {X} {rows}, {y} {count}")
    if loss is not None and not loss.labels:
        for name in ("y_train", "y_val"):
            found[name] = checked_targets(loss, name, found[name], len(found[name]), outputs)
    else:
        if loss is not None:
            found["y_train"] = class_labels("y_train", found["y_train"])
        found["y_val"] = comparable_labels("y_val", found["y_val"], loss is not None)
    if len(found["X_train"]) == 0:
        raise ValueError("data: expected at least one training example, got none")
    return found


def warn_of_other_weights(data: Mapping[str, Any]) -> None:
    """Warn of weights in a training's data under a name that nobody reads."""
    for name in data:
        if name != "weights_train" and "weight" in str(name).lower():
            warnings.warn(
                f"data: {name!r} is ignored; the weights of the training examples are 'weights_train', and accuracies "
                "have none",
                stacklevel=stacklevel_outside(),
            )


def weights_of(solver: Trainer, dtype: Any) -> np.ndarray:
    """The weights (N,) of a Solver's training examples; (0,) if it has none."""
    if solver.weights_train is None:
        return np.zeros(0, dtype)
    return checked_weights("weights_train", solver.weights_train, len(solver.X_train)).astype(dtype)


def warn_of_unknown_classes(y_val: np.ndarray, loss: Loss | None, model: Any) -> None:
    """Warn of validation labels that a network never predicts; like the course's Solver ours counts them as wrong."""
    if loss is None or not loss.labels or len(y_val) == 0:
        return
    low, high, classes = y_val.min(), y_val.max(), model.dims[-1]
    if low < 0 or high >= classes:
        warnings.warn(
            f"y_val: expected labels from 0 to {classes - 1}, got {low} to {high}; those of no class count as wrong",
            stacklevel=stacklevel_outside(),
        )


def comparable_labels(name: str, y: Any, classifies: bool) -> np.ndarray:
    """Labels that predicted classes are compared with; of somebody's own model other kinds too, with a warning."""
    array = as_array(name, y)
    if classifies or array.dtype.kind in "biu":
        return class_labels(name, y, whole_floats=True)
    if array.size > 0 and not (array.dtype.kind == "f" and np.array_equal(array, np.rint(array))):
        warnings.warn(
            f"{name}: labels of dtype {array.dtype} never equal a predicted class, which is an integer; accuracies "
            "say nothing",
            stacklevel=stacklevel_outside(),
        )
    return array
