"""Data sets in folders: found in the folder that is given or below it, and told from one another."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastfc.formats.cifar import FORMS
from fastfc.formats.idx import idx_file_parts, read_idx_files

__all__ = ["named_by_prefix", "read_folder"]

Parts = dict[str, NDArray[Any]]

_DEPTH = 3
_MOST_FOLDERS = 2000
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class _DataSet:
    folder: Path
    name: str  # of the kind, for people
    prefix: str  # of idx files
    targets: tuple[str, ...]  # kinds of labels to choose from, the usual one first; empty if there is one kind
    read: Callable[[str | None], tuple[Parts, list[str] | None, list[str]]]

    def __str__(self) -> str:
        return f"{self.folder / self.prefix} ({self.name})"


class Contents(NamedTuple):
    """The contents of a folder: `X_train, y_train, X_test, y_test` as far as there are files, and class names."""

    parts: Parts
    class_names: list[str] | None
    target_name: str | None
    notes: list[str]


def read_folder(path: Path, target: str | int | None, usual_target: str | None = None) -> Contents:
    """Read the data set that a folder holds, itself or up to three folders below.

    Parameters
    ----------
    path : Path
        A folder, or `FOLDER/PREFIX` for the idx files of that prefix (see `named_by_prefix`).
    target : str or None
        `"fine"` or `"coarse"` for CIFAR-100.
    usual_target : str or None
        What `target` is for a data set that knows it, if it is None.

    Raises
    ------
    ValueError
        If there is no data set or more than one, a file is damaged, or `target` is not of the data set.
    """
    found = _found(path) or _by_prefix(path)
    if not found:
        raise ValueError(_nothing_in(path))
    if len(found) > 1:
        raise ValueError(f"{path} has several data sets; name one of them: {', '.join(map(str, found))}")
    (data_set,) = found
    targets = data_set.targets
    if target is not None and target not in targets:
        if targets:
            raise ValueError(f"target={target!r}: {data_set} has the labels {' and '.join(targets)}")
        raise ValueError(f"target={target!r} names a column of a .csv file; {data_set} is none")
    chosen = next((name for name in (target, usual_target, *targets) if name in targets), None)
    parts, class_names, notes = data_set.read(chosen)
    if targets:
        others = " or ".join(name for name in targets if name != chosen)
        notes = [f"labels: {chosen}; target={others!r} (--target {others}) for others", *notes]
    if data_set.folder != path:
        notes = [f"folder: {data_set}", *notes]
    return Contents(parts, class_names, chosen, notes)


def named_by_prefix(path: Path) -> bool:
    """Whether a path that does not exist is `FOLDER/PREFIX` of idx files, such as `raw/emnist-letters`."""
    return bool(_by_prefix(path))


def _by_prefix(path: Path) -> list[_DataSet]:
    if not path.name or not path.parent.is_dir():
        return []
    return [
        data_set for data_set in _found(path.parent) if data_set.prefix and data_set.folder / data_set.prefix == path
    ]


def _found(root: Path) -> list[_DataSet]:
    """The data sets in a folder; if there are none, those below."""
    here = _in_folder(root, _files_by_folder(root, 1).get(root, []))
    return here or [found for folder, paths in _files_by_folder(root).items() for found in _in_folder(folder, paths)]


def _files_by_folder(root: Path, depth: int = _DEPTH) -> dict[Path, list[Path]]:
    files: dict[Path, list[Path]] = {}
    for count, (name, folders, names) in enumerate(os.walk(root, followlinks=True)):
        folder = Path(name)
        deep = len(folder.relative_to(root).parts) >= depth or count >= _MOST_FOLDERS
        folders[:] = [] if deep else sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        for path in (folder / name for name in sorted(names)):
            # Kaggle unpacks each file into a folder of its own name.
            alone = folder != root and idx_file_parts(path.name) and idx_file_parts(folder.name)
            files.setdefault(folder.parent if alone else folder, []).append(path)
    return files


def _in_folder(folder: Path, paths: list[Path]) -> list[_DataSet]:
    names = {path.name for path in paths}
    found = [
        _DataSet(folder, form.name, "", tuple(filter(None, form.labels)), partial(form.read, folder))
        for form in FORMS
        if form.is_in(folder, names)
    ]
    by_prefix: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        parts = idx_file_parts(path.name)
        if parts is not None:
            by_prefix.setdefault(parts.prefix, {}).setdefault(parts.key, []).append(path)
    if "" in by_prefix:
        by_prefix = {"": by_prefix[""]}
    for prefix, candidates in by_prefix.items():
        found.append(_DataSet(folder, "idx files", prefix, (), partial(_read_idx, candidates)))
    return found


def _read_idx(candidates: dict[str, list[Path]], target: None) -> tuple[Parts, None, list[str]]:
    return read_idx_files(candidates), None, []


def _nothing_in(path: Path) -> str:
    entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    shown = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries[:12]]
    more = f" and {len(entries) - 12} more" if len(entries) > 12 else ""
    files = [file for paths in _files_by_folder(path).values() for file in paths]
    pictures = next((file for file in files if file.suffix.lower() in _PICTURES), None)
    advice = f"; pictures such as {pictures.name} are not read: put them into an .npz file" if pictures else ""
    return (
        f"folder {path} has neither idx files ([PREFIX-]train-images-idx3-ubyte, ...; also .gz) nor CIFAR-10 "
        f"(data_batch_1, ... or data_batch_1.bin, ...) nor CIFAR-100 (train and meta, or train.bin), nor has any "
        f"folder up to {_DEPTH} below; it has {', '.join(shown) or 'nothing'}{more}{advice}"
    )
