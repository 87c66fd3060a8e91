"""Reading idx files, the format of MNIST and Fashion-MNIST."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.npz import check_declared

__all__ = ["has_idx_files", "load_idx", "read_idx_folder"]

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


def _idx_file(folder: Path, part: str, content: str) -> Path | None:
    """Find one of a data set's four files, under either of the two spellings in use, packed or not."""
    for name in (f"{part}-{content}-ubyte", f"{part}-{content.replace('-', '.')}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


_IDX_PARTS = {
    "X_train": ("train", "images-idx3"),
    "y_train": ("train", "labels-idx1"),
    "X_test": ("t10k", "images-idx3"),
    "y_test": ("t10k", "labels-idx1"),
}


def has_idx_files(folder: Path) -> bool:
    """Whether a folder has all four files of a data set like MNIST."""
    return all(_idx_file(folder, *part) for part in _IDX_PARTS.values())


def read_idx_folder(folder: Path) -> dict[str, Array]:
    """Read those of a data set's four files that a folder has, as `X_train`, `y_train`, `X_test`, `y_test`."""
    paths = {key: _idx_file(folder, *part) for key, part in _IDX_PARTS.items()}
    return {key: load_idx(path) for key, path in paths.items() if path}
