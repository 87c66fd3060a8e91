"""Reading `.npz` files that nobody vouches for: no pickles, no surprises in memory."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_DATA_BYTES", "MAX_RATIO", "RATIO_FREE_BYTES", "check_declared", "read_npz"]

MAX_DATA_BYTES = 8 * 2**30  # what one file may declare, all its arrays together
MAX_RATIO = 200  # declared bytes per stored byte; deflate can reach 1032
RATIO_FREE_BYTES = 64 * 2**20  # up to here any ratio is harmless

_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_EXPECTED = {"U": "strings", "biuf": "numbers", "biufU": "numbers or strings"}


def check_declared(declared: int, stored: int, source: object) -> None:
    """Refuse a file that would unpack to more than anybody wants, before memory is taken for it."""
    if declared > MAX_DATA_BYTES:
        raise ValueError(f"{source} declares {declared} bytes of data; the limit is {MAX_DATA_BYTES}")
    if declared > max(RATIO_FREE_BYTES, MAX_RATIO * stored):
        raise ValueError(
            f"{source} declares {declared} bytes of data in {stored} bytes of file, more than {MAX_RATIO} to one; "
            "if it is meant so, store it uncompressed"
        )


def read_npz(f: BinaryIO, source: object, kinds: Callable[[str], str | None]) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz file whose names are known; anything else in the archive stays unread.

    Parameters
    ----------
    f : binary file, seekable
    source : object
        What error messages call the file.
    kinds : callable
        Maps an array's name to the dtype kinds that it may have (``"biuf"``, ``"U"``), or to
        None if it is not to be read.

    Raises
    ------
    ValueError
        If the file is damaged, an array has another dtype, or sizes that were declared do
        not agree with the bytes at hand.
    """
    stored = f.seek(0, os.SEEK_END)
    f.seek(0)
    try:
        with zipfile.ZipFile(f) as archive:
            found = {}
            for info in archive.infolist():
                key = info.filename.removesuffix(".npy")
                kind = kinds(key)
                if kind is not None and key != info.filename:
                    if key in found:
                        raise ValueError(f"{source} has {key!r:.80} twice")
                    found[key] = info, kind
            check_declared(sum(info.file_size for info, _ in found.values()), stored, source)
            return {key: _read_npy(archive, info, kind, f"{source}: {key}") for key, (info, kind) in found.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise ValueError(f"{source} is a truncated or damaged npz file: {error}") from error


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str, source: str) -> NDArray[Any]:
    """Read one array of an npz file, after its header was held against the member's size."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{source} is encrypted or packed by another method than deflate")
    with archive.open(info) as member:
        head = io.BytesIO(member.read(2**16))
    try:
        version = np.lib.format.read_magic(head)
        if version not in _NPY_HEADERS:
            raise ValueError(f"npy format version {version}; 1.0 and 2.0 are read")
        shape, _, dtype = _NPY_HEADERS[version](head)
    except (ValueError, TypeError, SyntaxError, RecursionError) as error:
        raise ValueError(f"{source} is not an array: {error}") from error
    if dtype.kind not in kinds or (dtype.kind != "U" and dtype.itemsize > 8):
        raise ValueError(f"{source} has dtype {dtype}; expected {_EXPECTED[kinds]}")
    declared = math.prod(shape) * dtype.itemsize
    if any(n < 0 for n in shape) or head.tell() + declared != info.file_size:
        raise ValueError(f"{source} declares shape {shape}, {declared} bytes, but has {info.file_size - head.tell()}")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
