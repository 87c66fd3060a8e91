"""Reading CIFAR-10 and CIFAR-100, as Python's pickles and as binary files."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.npz import check_declared
from fastfc.formats.pickles import load_pickle

__all__ = ["CIFAR10_CLASSES", "FORMS", "Form", "read_batch", "read_cifar10"]

Array = NDArray[Any]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = 3072


@dataclass(frozen=True)
class Labels:
    """One of the labels that pictures have, and where it stands."""

    classes: int
    key: str  # in a pickled batch
    byte: int  # in a record of a binary file
    names_key: str  # in the pickle of names
    names_file: str  # of the binary version


@dataclass(frozen=True)
class Form:
    """A data set in one of its versions: its files, and its labels by the name to choose them with."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: dict[str | None, Labels]
    names_file: str  # the pickle of names; not in the binary version

    @property
    def binary(self) -> bool:
        return self.train[0].endswith(".bin")

    def is_in(self, folder: Path, names: Iterable[str]) -> bool:
        """Whether a folder that holds files of these names has the data set, or a part of it."""
        if not {*self.train, *self.test} & set(names):
            return False
        # "train" and "test" alone may be anything.
        return len(self.train) > 1 or self.binary or self.names_file in names or "cifar-100" in folder.name.casefold()

    def read(self, folder: Path, target: str | None) -> tuple[dict[str, Array], list[str], list[str]]:
        """Return `X_train` uint8 (N, 3, 32, 32), `y_train`, ... as far as there are files, class names, and notes."""
        labels = self.labels[target or next(iter(self.labels))]
        raw: dict[str, Array] = {}
        notes = []
        for split, names in (("train", self.train), ("test", self.test)):
            there = [name for name in names if (folder / name).is_file()]
            if len(there) < len(names):
                absent = [name for name in names if name not in there]
                notes.append(f"{self.name}: without {', '.join(absent)}, which the folder does not have")
            if there:
                parts = [self._read_batch(folder / name, labels) for name in there]
                raw[f"X_{split}"] = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32)
                raw[f"y_{split}"] = np.concatenate([codes for _, codes in parts])
        return raw, self._class_names(folder, labels), notes

    def _read_batch(self, path: Path, labels: Labels) -> tuple[Array, Array]:
        if self.binary:
            return _read_binary(path, labels, self.name, len(self.labels))
        return read_batch(path, labels, self.name)

    def _class_names(self, folder: Path, labels: Labels) -> list[str]:
        if labels.classes == len(CIFAR10_CLASSES):
            return list(CIFAR10_CLASSES)
        path = folder / (labels.names_file if self.binary else self.names_file)
        if not path.is_file():
            return [str(i) for i in range(labels.classes)]
        names = _text_lines(path) if self.binary else _pickled_names(path, labels.names_key)
        if len(set(names)) != labels.classes:
            raise ValueError(f"{path}: expected {labels.classes} different names of classes, found {len(set(names))}")
        return names


_OF_10: dict[str | None, Labels] = {None: Labels(10, "labels", 0, "label_names", "batches.meta.txt")}
_OF_100: dict[str | None, Labels] = {
    "fine": Labels(100, "fine_labels", 1, "fine_label_names", "fine_label_names.txt"),
    "coarse": Labels(20, "coarse_labels", 0, "coarse_label_names", "coarse_label_names.txt"),
}
_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
FORMS = (
    Form("CIFAR-10", _BATCHES, ("test_batch",), _OF_10, "batches.meta"),
    Form("CIFAR-100", ("train",), ("test",), _OF_100, "meta"),
    Form("CIFAR-10, binary", tuple(f"{name}.bin" for name in _BATCHES), ("test_batch.bin",), _OF_10, ""),
    Form("CIFAR-100, binary", ("train.bin",), ("test.bin",), _OF_100, ""),
)


def read_batch(
    path: str | os.PathLike[str], labels: Labels = _OF_10[None], name: str = "CIFAR-10"
) -> tuple[Array, Array]:
    """Read a pickled batch: pixels uint8 (N, 3072), channel by channel, and labels int64 (N,)."""
    with open(path, "rb") as f:
        batch = _with_text_keys(load_pickle(f))
    if batch is None or "data" not in batch or labels.key not in batch:
        raise ValueError(f"{path} is not a {name} batch: expected a dict with 'data' and {labels.key!r}")
    pixels, codes = batch["data"], batch[labels.key]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ValueError(f"{path}: 'data' must be a uint8 array (N, {_PIXELS}), found {found}")
    if isinstance(codes, np.ndarray) and codes.ndim == 1 and codes.dtype.kind in "iu":
        codes = codes.tolist()
    if not isinstance(codes, list) or any(type(code) is not int or not 0 <= code < labels.classes for code in codes):
        raise ValueError(f"{path}: {labels.key!r} must be a list or an array of integers 0 to {labels.classes - 1}")
    if len(codes) != len(pixels):
        raise ValueError(f"{path}: {len(pixels)} pictures but {len(codes)} labels")
    return pixels, np.array(codes, np.int64)


def read_cifar10(folder: str | os.PathLike[str]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Read all of the pickled CIFAR-10: of training and of test pixels uint8 (N, 3072) and labels int64 (N,)."""
    return _joined(folder, FORMS[0].train), _joined(folder, FORMS[0].test)


def _joined(folder: str | os.PathLike[str], names: Iterable[str]) -> tuple[Array, Array]:
    pixels, labels = zip(*(read_batch(Path(folder) / name) for name in names), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _read_binary(path: Path, labels: Labels, name: str, columns: int) -> tuple[Array, Array]:
    """Read a binary batch: records of one or two bytes of labels, then 3072 of pixels."""
    size, record = path.stat().st_size, columns + _PIXELS
    if size == 0 or size % record:
        raise ValueError(f"{path} is not a batch of {name}: its {size} bytes are not records of {record}")
    check_declared(size, size, path)
    records = np.fromfile(path, np.uint8).reshape(-1, record)
    codes = records[:, labels.byte].astype(np.int64)
    if codes.max() >= labels.classes:
        raise ValueError(f"{path}: labels must be 0 to {labels.classes - 1}, found {codes.max()}")
    return records[:, columns:], codes


def _with_text_keys(batch: Any) -> dict[str, Any] | None:
    """A dictionary whose keys may be bytes, as those that Python 3 read with `encoding="bytes"` and pickled again."""
    if not isinstance(batch, dict):
        return None
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}


def _pickled_names(path: Path, key: str) -> list[str]:
    with open(path, "rb") as f:
        names = (_with_text_keys(load_pickle(f)) or {}).get(key)
    if not isinstance(names, list) or not all(isinstance(name, (str, bytes)) for name in names):
        raise ValueError(f"{path}: expected a dict with a list of names as {key!r}")
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]


def _text_lines(path: Path) -> list[str]:
    lines = path.read_text("utf-8", "replace").splitlines()
    return [line.strip() for line in lines if line.strip()]
