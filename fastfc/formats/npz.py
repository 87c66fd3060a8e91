"""Reading untrusted `.npz` files: no pickles, no surprises in memory."""

import contextlib
import math
import os
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_DATA_BYTES", "MAX_RATIO", "RATIO_FREE_BYTES", "check_declared", "npz_names", "read_npz"]

MAX_DATA_BYTES = 8 * 2**30  # what one file may declare, all its arrays together
MAX_RATIO = 200  # declared bytes per stored byte; deflate can reach 1032
RATIO_FREE_BYTES = 64 * 2**20  # up to here any ratio is harmless

# NumPy's own parser gives headers to Python's, which a hostile one can bring down; plain arrays have plain headers.
_SHAPE = r"\(\s*(?:-?\d{1,18}L?\s*(?:,\s*|(?=\))))*\)"
_FIELD = rf"\s*'(descr|fortran_order|shape)'\s*:\s*('[^']{{1,20}}'|True|False|{_SHAPE})\s*(?:,|(?=}}))"
_HEADER = re.compile(rf"{{(?:{_FIELD}){{3}}\s*}}\s*", re.ASCII)
_LENGTHS = {b"\x93NUMPY\x01\x00": "<H", b"\x93NUMPY\x02\x00": "<I"}
_MAX_HEADER, _MAX_AXES, _CHUNK = 10_000, 32, 2**20
_EXPECTED = {"U": "strings", "US": "strings", "biuf": "numbers", "biufUS": "numbers or strings"}
# Advice for arrays of Python objects, by what was expected.
_SAVED = {
    "U": "array.astype(str)",
    "US": "array.astype(str)",
    "biuf": "array.astype(float64), with rows of one length",
    "biufUS": "array.astype(str), or of int64",
}


def check_declared(declared: int, stored: int, source: object) -> None:
    """Refuse a file that would unpack to an unreasonable size, before memory is taken for it."""
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
        If the file is none or damaged, an array has another dtype, or sizes that were declared do
        not agree with the bytes at hand.
    """
    stored = f.seek(0, os.SEEK_END)
    _require_archive(f, source)
    with _told_of_damage(source), zipfile.ZipFile(f) as archive:
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


def npz_names(f: BinaryIO, source: object) -> list[str]:
    """The names of all arrays in an npz file; ValueError if it is damaged or none."""
    _require_archive(f, source)
    with _told_of_damage(source), zipfile.ZipFile(f) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _require_archive(f: BinaryIO, source: object) -> None:
    """ValueError if a file that is not empty begins otherwise than npz files do; else it stands at its start."""
    f.seek(0)
    if f.read(2) not in (b"PK", b""):
        raise ValueError(f"{source} is not an npz file, which begins with the letters PK")
    f.seek(0)


@contextlib.contextmanager
def _told_of_damage(source: object) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        IndexError,
        NotImplementedError,
        OSError,
        OverflowError,
        RuntimeError,
        UnicodeDecodeError,
        struct.error,
    ) as error:  # all that a malformed archive is known to raise
        raise ValueError(f"{source} is a truncated or damaged npz file: {error}") from error


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str, source: str) -> NDArray[Any]:
    """Read one array of an npz file, after its header was held against the member's size."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{source} is encrypted or packed by another method than deflate")
    with archive.open(info) as member:
        shape, dtype, fortran, start = _read_header(member, source)
        if dtype.kind not in kinds or (dtype.kind not in "US" and dtype.itemsize > 8):
            raise ValueError(f"{source} has dtype {dtype}; expected {_EXPECTED[kinds]}{_advice(dtype, kinds)}")
        declared = math.prod(shape) * dtype.itemsize
        # NumPy multiplies the axes' lengths even where one of them is 0.
        largest = math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1)
        if any(n < 0 for n in shape) or start + declared != info.file_size or largest > MAX_DATA_BYTES:
            raise ValueError(f"{source} declares shape {shape}, {declared} bytes, but has {info.file_size - start}")
        array = np.empty(math.prod(shape), dtype)
        room = array.view(np.uint8) if declared else np.empty(0, np.uint8)
        filled = 0
        # Read to the end, where the checksum is held against what came.
        while chunk := member.read(_CHUNK):
            room[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
            filled += len(chunk)
        if filled != declared:
            raise ValueError(f"{source} is truncated: {declared} bytes declared, and {filled} follow")
    if dtype.kind == "U" and declared and array.view(dtype.byteorder.replace("|", "=") + "u4").max() > sys.maxunicode:
        raise ValueError(f"{source} has text that is not Unicode")
    return array.reshape(shape, order="F" if fortran else "C")


def _advice(dtype: np.dtype[Any], kinds: str) -> str:
    """How to save an array of Python objects, which NumPy pickles."""
    if dtype.kind != "O":
        return ""
    return f"; Python objects are pickled, and pickles are never read from npz files: save {_SAVED[kinds]}"


def _read_header(member: IO[bytes], source: str) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape, dtype, order, and where the array's bytes start."""
    magic = member.read(8)
    if magic not in _LENGTHS:
        raise ValueError(f"{source} is not an array, or not in npy format version 1.0 or 2.0")
    size = struct.calcsize(_LENGTHS[magic])
    raw = member.read(size)
    length = struct.unpack(_LENGTHS[magic], raw)[0] if len(raw) == size else 0
    text = member.read(min(length, _MAX_HEADER)).decode("latin1")
    fields = dict(re.findall(_FIELD, text)) if len(text) == length and _HEADER.fullmatch(text) else {}
    descr, order, sizes = (fields.get(name, "") for name in ("descr", "fortran_order", "shape"))
    numbers = re.findall(r"-?\d+", sizes)
    if not (descr[:1] == "'" and order in ("True", "False") and sizes[:1] == "(" and len(numbers) <= _MAX_AXES):
        raise ValueError(f"{source} is not an array with a plain dtype, order and shape: its header is {text!r:.120}")
    try:
        dtype = np.dtype(descr[1:-1])
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"{source} has a dtype {descr:.40} that is none") from error
    return tuple(map(int, numbers)), dtype, order == "True", 8 + size + length
