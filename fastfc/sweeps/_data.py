"""The data of a sweep: checked once, and handed to workers once."""

import functools
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastfc._arguments import by_position, names_of, require_columns
from fastfc.losses import checked_targets, checked_weights
from fastfc.ops.losses import Loss
from fastfc.training.checks import warn_of_other_weights
from fastfc.training.plan import as_readable

__all__ = ["SPLITS", "MissingDataError", "StoredData", "checked_arrays", "digests_of", "store", "targets_of"]

SPLITS = ("X_train", "y_train", "X_val", "y_val")
# An array that may be there too.
_WEIGHTS = "weights_train"
# Names that a network takes over, if they are there.
_NAMES = ("class_names", "feature_names", "target_name")
# Splits that may be the same array as one of the training data, and are stored once then.
_SAME = {"X_train": "X_train", "y_train": "y_train", "X_val": "X_train", "y_val": "y_train"}
_SAME[_WEIGHTS] = _WEIGHTS
# Less than this is sent with each training.
_SENT_BYTES = 1 << 16


class MissingDataError(RuntimeError):
    """A worker does not find the files in which the sweep left its data."""


def checked_arrays(data: Any) -> dict[str, Any]:
    """The data as arrays that compiled code can read, with as many targets as examples."""
    if not isinstance(data, Mapping):
        raise TypeError(f"data: expected a dictionary with {', '.join(SPLITS)}, got {type(data).__name__}")
    for name in SPLITS:
        if name not in data:
            raise ValueError(f"data: expected the keys {', '.join(SPLITS)}; missing {name}")
    warn_of_other_weights(data)
    names = names_of(data["X_train"])
    if names is not None:
        require_columns("X_val", data["X_val"], names, "X_train")
    found: dict[str, Any] = {name: np.asarray(by_position(name, data[name])) for name in SPLITS}
    for name in ("X_train", "X_val"):
        if found[name].dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected an array of real numbers, got dtype {found[name].dtype}")
        found[name] = as_readable(found[name])
    for X, y in (("X_train", "y_train"), ("X_val", "y_val")):
        if found[X].ndim < 1 or found[y].ndim < 1 or len(found[X]) != len(found[y]):
            raise ValueError(
                f"data: expected as many targets as examples, got {X} {found[X].shape}, {y} {found[y].shape}"
            )
        if len(found[X]) == 0:
            raise ValueError(f"data: expected at least one example, got none in {X}")
    if found["X_train"].shape[1:] != found["X_val"].shape[1:]:
        raise ValueError(
            f"data: expected examples of one shape, got X_train {found['X_train'].shape}, X_val {found['X_val'].shape}"
        )
    if data.get(_WEIGHTS) is not None:
        found[_WEIGHTS] = checked_weights(_WEIGHTS, data[_WEIGHTS], len(found["X_train"]))
    if names is not None:
        found["feature_names"] = names
    given, features = data.get("feature_names"), math.prod(found["X_train"].shape[1:])
    if given is not None and (isinstance(given, str) or len(given) != features):
        raise ValueError(f"feature_names: expected {features} names, one per feature, got {given!r:.80}")
    return found | {name: data[name] for name in _NAMES if data.get(name) is not None}


def _arrays_of(data: Mapping[str, Any]) -> list[str]:
    return [name for name in (*SPLITS, _WEIGHTS) if name in data]


def targets_of(data: Mapping[str, Any], loss: Loss, outputs: int) -> dict[str, np.ndarray]:
    """``y_train`` and ``y_val`` as the loss takes them; an error if it does not."""
    names = "y_train", "y_val"
    return {name: checked_targets(loss, name, data[name], len(data[name]), outputs) for name in names}


def digests_of(data: Mapping[str, Any]) -> dict[str, str]:
    """Of each array its dtype and shape, and a digest of its contents."""
    found = {}
    for name in _arrays_of(data):
        array = np.ascontiguousarray(data[name])
        content = array.reshape(-1).view(np.uint8).data if array.dtype.kind in "biuf" else array.tobytes()
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        found[name] = f"{array.dtype} {array.shape} {digest}"
    return found


@dataclass(frozen=True)
class StoredData:
    """Data in files, from which each process maps them into its memory once."""

    folder: str
    names: dict[str, Any]

    def arrays(self) -> dict[str, Any]:
        return {**_mapped(self.folder), **self.names}


def store(data: Mapping[str, Any], folder: str | os.PathLike[str]) -> Mapping[str, Any] | StoredData:
    """Write large data to a folder; what a worker needs to read them, or small data as they are."""
    names = _arrays_of(data)
    if sum(data[name].nbytes for name in names) < _SENT_BYTES:
        return data
    # Other sweeps have other names: a worker may still have theirs.
    place = Path(folder) / hashlib.blake2b(repr(digests_of(data)).encode(), digest_size=16).hexdigest()
    place.mkdir()
    for name in names:
        of_training = _SAME[name]
        if of_training != name and data[name] is data[of_training]:
            continue
        np.save(place / f"{name}.npy", data[name], allow_pickle=False)
    return StoredData(os.fspath(place), {name: data[name] for name in _NAMES if name in data})


@functools.lru_cache(maxsize=2)
def _mapped(folder: str) -> dict[str, np.ndarray]:
    try:
        found: dict[str, np.ndarray] = {}
        for name, of_training in _SAME.items():
            file = Path(folder) / f"{name}.npy"
            if file.exists():
                found[name] = np.asarray(np.load(file, mmap_mode="r"))
            elif name != _WEIGHTS:
                found[name] = found[of_training]
        return found
    except (KeyError, OSError) as error:
        raise MissingDataError(
            f"data_folder: expected a folder that all workers can read, such as one on a shared disk; {error}"
        ) from error
