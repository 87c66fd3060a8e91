"""Reading idx files, the format of MNIST and Fashion-MNIST."""

import gzip
import math
import os
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastfc._npz import check_declared

__all__ = ["IdxFileParts", "has_idx_files", "idx_file_parts", "load_idx", "read_idx_files", "read_idx_folder"]

Array = NDArray[Any]

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 2**20


def _read_idx(f: BinaryIO, stored: int, compressed: bool, path: Path) -> Array:
    magic = f.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or not 1 <= magic[3] <= 32:
        raise ValueError(f"{path} is not an idx file: it starts with {magic.hex() or 'nothing'}")
    dtype, ndim = np.dtype(_IDX_DTYPES[magic[2]]), magic[3]
    header = f.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise ValueError(f"{path} is truncated: its header declares {ndim} axes and ends before their sizes")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    declared = math.prod(shape) * dtype.itemsize
    wanted = f"its header declares shape {shape}, that is {declared} bytes"
    if not compressed and stored != 4 + len(header) + declared:
        raise ValueError(f"{path} is truncated or too long: {wanted}, and {stored - 4 - len(header)} follow")
    # NumPy multiplies the axes' lengths even where one of them is 0.
    check_declared(math.prod(max(n, 1) for n in shape) * dtype.itemsize, stored, path)
    data = np.empty(shape, dtype)
    room = data.reshape(-1).view(np.uint8)
    filled = 0
    while filled < declared:
        chunk = f.read(min(_CHUNK, declared - filled))
        if not chunk:
            raise ValueError(f"{path} is truncated: {wanted}, and {filled} follow")
        room[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    if f.read(1):
        raise ValueError(f"{path} is too long: {wanted}, and more follow")
    return data.astype(dtype.newbyteorder("="), copy=False)


def load_idx(path: str | os.PathLike[str]) -> Array:
    """Read an idx file (the format of MNIST and Fashion-MNIST), plain or gzip-compressed.

    Parameters
    ----------
    path : path
        Compression is told by the content, not by the name.

    Returns
    -------
    array
        Of the shape and type that the header declares, in this machine's byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no idx file, is truncated, has more data than declared, or declares more than 8 GiB or more than
        200 times its stored size.

    Notes
    -----
    The format is described at http://yann.lecun.com/exdb/mnist/.

    Examples
    --------
    >>> load_idx("train-images-idx3-ubyte.gz").shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    path = Path(path)
    with open(path, "rb") as raw:
        stored = os.fstat(raw.fileno()).st_size
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            return _read_idx(raw, stored, False, path)
        try:
            with gzip.open(raw, "rb") as unpacked:
                return _read_idx(unpacked, stored, True, path)  # type: ignore[arg-type]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is a truncated or damaged gzip file: {error}") from error


_FILE_NAME = re.compile(
    r"(?P<prefix>(?:[^.].*[-_.])?)(?P<part>train|t10k|test)-(?P<content>images[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?"
)


class IdxFileParts(NamedTuple):
    """The parts of a file's name: of `emnist-letters-test-images-idx3-ubyte`, `emnist-letters` and `X_test`."""

    prefix: str
    key: str


def idx_file_parts(name: str) -> IdxFileParts | None:
    """Take apart the name of one of a data set's four files; None for other names."""
    match = _FILE_NAME.fullmatch(name)
    if match is None:
        return None
    kind, split = match["content"][0] == "i", match["part"] == "train"
    return IdxFileParts(match["prefix"][:-1], f"{'X' if kind else 'y'}_{'train' if split else 'test'}")


def read_idx_files(candidates: dict[str, list[Path]]) -> dict[str, Array]:
    """Read `X_train`, `y_train`, `X_test`, `y_test`, each from the first of its files.

    Of the same file packed and unpacked, in two spellings, or in a folder of its own, the first in this order is read:
    not so deep, unpacked, with a hyphen. ValueError where `t10k` and `test` are both there.
    """
    raw = {}
    for key, paths in candidates.items():
        parts = {"t10k" if "t10k-" in path.name else "test" for path in paths}
        if key.endswith("test") and len(parts) > 1:
            raise ValueError(f"{', '.join(map(str, paths))}: expected either t10k or test")
        raw[key] = load_idx(min(paths, key=_rank))
    return raw


def _rank(path: Path) -> tuple[int, bool, bool]:
    return len(path.parts), path.suffix == ".gz", ".idx" in path.name


def has_idx_files(folder: Path) -> bool:
    """Whether a folder has all four files of a data set like MNIST."""
    return len(_four_files(folder)) == 4


def read_idx_folder(folder: Path) -> dict[str, Array]:
    """Read those of a data set's four files that a folder has, as `X_train`, `y_train`, `X_test`, `y_test`."""
    return read_idx_files(_four_files(folder))


def _four_files(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        parts = idx_file_parts(path.name)
        if parts is not None and not parts.prefix and path.is_file():
            found.setdefault(parts.key, []).append(path)
    return found
