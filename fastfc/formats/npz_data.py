"""Data sets in `.npz` files, under the names that people give their arrays."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.npz import npz_names, read_npz

__all__ = ["read_npz_data"]

Array = NDArray[Any]

_EXAMPLES = ("x", "data", "images", "imgs", "pixels", "features", "inputs", "samples")
_LABELS = ("y", "labels", "label", "targets", "target")
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_CLASSES = ("class_names", "target_names", "label_names")


def _folded(name: str) -> str:
    """A name without what people do differently: case, and what separates its words."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _split_names() -> dict[str, str]:
    """Folded names of the arrays of a part, such as `xtrain` and `trainimages`, and what each is."""
    return {
        folded: f"{kind}_{split}"
        for kind, words in (("X", _EXAMPLES), ("y", _LABELS))
        for word in words
        for split, spellings in _SPLITS.items()
        for spelling in spellings
        for folded in (word + spelling, spelling + word)
    }


_OF_A_SPLIT = _split_names()
#: Names without a part; the last two are those of `np.savez(file, X, y)`.
_BARE = dict.fromkeys(_EXAMPLES, "X") | dict.fromkeys(_LABELS, "y") | {"arr0": "X", "arr1": "y"}
_OF_CLASSES = {_folded(name): "class_names" for name in _CLASSES}
_OWN = ("X", "y", *(f"{kind}_{split}" for split in _SPLITS for kind in "Xy"), "class_names")

_KNOWN = (
    "X_train, y_train, X_val, y_val, X_test, y_test, or X and y for one table, and class_names; or, in letters of "
    "either case, x_train, train_images, train_labels, images, labels, data, target, arr_0, arr_1 and the like"
)


def read_npz_data(path: Path, *, labels_needed: bool) -> tuple[dict[str, Array], list[str] | None, list[str]]:
    """Read a data set from an `.npz` file.

    Returns
    -------
    parts : dict of arrays
        Under `X`, `y`, `X_train`, `y_train`, ...; labels are numbers or strings (N,).
    class_names : list of str or None
    notes : list of str
        What was taken for what, where that is not plain.

    Raises
    ------
    ValueError
        If the file is damaged, lacks examples (or, if they are needed, labels to train on), has arrays that are not
        numbers and labels, or two of the same meaning.
    """
    with open(path, "rb") as file:
        names = npz_names(file, path)
        meanings = _meanings(names, path)
        raw = read_npz(file, path, {name: _kinds(meaning) for name, meaning in meanings.items()}.get)
    found = set(meanings.values())
    complete = found >= {"X_train", "y_train"} or found >= {"X", "y"}
    if not any(meaning[0] == "X" for meaning in found) or (labels_needed and not complete):
        wanted = "training data with labels (X_train and y_train, or X and y)" if labels_needed else "examples"
        raise ValueError(f"{path} has no {wanted}; it has {_listed(names)}; known are {_KNOWN}")
    taken = [f"{name} as {meanings[name]}" for name in raw if _folded(name) != _folded(meanings[name])]
    notes = [f"arrays: {', '.join(taken)}"] if taken else []
    parts = {meanings[name]: array for name, array in raw.items()}
    own = {meaning: name for name, meaning in meanings.items()}
    for key in [key for key in parts if key.startswith("y")]:
        parts[key] = _as_labels(parts[key], parts.get(f"X{key[1:]}"), f"{path}: {own[key]}")
        if parts[key].shape != raw[own[key]].shape:
            notes.append(f"labels: {own[key]} of shape {raw[own[key]].shape} taken as {parts[key].shape}")
    classes = parts.pop("class_names", None)
    if classes is None:
        return parts, None, notes
    if classes.ndim != 1:
        raise ValueError(f"{path}: {own['class_names']} must have shape (C,), found {classes.shape}")
    return parts, _as_text(classes, f"{path}: {own['class_names']}").tolist(), notes


def _kinds(meaning: str) -> str:
    if meaning == "class_names":
        return "US"
    return "biuf" if meaning.startswith("X") else "biufUS"


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:20])) or "no arrays"
    return f"{shown:.500}{' and more' if len(names) > 20 else ''}"


def _meanings(names: list[str], path: Path) -> dict[str, str]:
    """The meaning of each array; those with names that say nothing are left out."""
    # The package's own names are never doubted, whatever stands beside them.
    own = {name: name for name in names if name in _OWN}
    candidates = dict(_OF_A_SPLIT)
    if not any(name.startswith("X_") or candidates.get(_folded(name), "").startswith("X_") for name in names):
        candidates |= _BARE
        numbered = [name for name in names if re.fullmatch(r"arr_\d+", name)]
        if len(numbered) > 2 and "X" not in own:
            raise ValueError(
                f"{path} has {', '.join(numbered[:8])}, and which of them are examples and labels cannot be told; "
                "save them by name: np.savez(file, X_train=..., y_train=...)"
            )
    if not own:
        candidates |= _OF_CLASSES
    aliases = {name: candidates[_folded(name)] for name in names if _folded(name) in candidates}
    aliases = {name: meaning for name, meaning in aliases.items() if meaning not in own}
    for meaning in aliases.values():
        same = [name for name in aliases if aliases[name] == meaning]
        if len(same) > 1:
            raise ValueError(f"{path}: {' and '.join(same)} can each be {meaning}; expected only one of them")
    known = {*own, *aliases.values()}
    # Labels without examples mean something else, such as names of classes.
    return own | {name: m for name, m in aliases.items() if m[0] != "y" or f"X{m[1:]}" in known}


def _as_text(array: Array, source: str) -> Array:
    """Strings of bytes, which are UTF-8, as strings."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} has bytes that are not UTF-8: {error}") from error


def _as_labels(y: Array, X: Array | None, source: str) -> Array:
    if y.ndim == 2 and X is not None and len(y) == len(X):
        if y.shape[1] == 1:
            y = y[:, 0]
        elif y.dtype.kind in "biuf" and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            raise ValueError(
                f"{source} has shape {y.shape}, one-hot labels; expected one label an example, which argmax(axis=1) "
                "makes of them"
            )
    return _as_text(y, source)
