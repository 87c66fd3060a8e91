"""Data: the course's CIFAR-10 functions, and loaders for idx, npz, CSV and the embedded Fashion-MNIST.

Nothing here reaches the network or runs anything that a file says. Sizes that a file declares are checked
against the bytes it has before memory is taken for them.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import pickle
import pickletools
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfc._npz import check_declared, read_npz

__all__ = [
    "RefusedPickleError",
    "embedded_fashion_mnist",
    "get_CIFAR10_data",
    "load_CIFAR10",
    "load_CIFAR_batch",
    "load_dataset",
    "load_idx",
    "load_pickle",
    "load_samples",
    "split_validation",
]

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

MAX_PICKLE_BYTES = 64 * 2**20  # a CIFAR-10 batch has 31 MB
MAX_PICKLE_OPCODES = 2**20  # a batch has about 60 thousand; one byte can make an object of 200


# ---------------------------------------------------------------------------------------------- pickles


class RefusedPickleError(pickle.UnpicklingError, ValueError):
    """A pickle that is damaged, too large, or asks for more than arrays and builtin containers."""


class _Standin:
    """What a pickle gets in place of a NumPy name: at most callable, and closed to the BUILD opcode."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object] | None = None) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        if self._call is None:
            raise RefusedPickleError("it calls a name that is only a marker")
        return self._call(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise RefusedPickleError("it changes a function")


class _PickledDtype:
    """A dtype in a pickle: `numpy.dtype("u1", False, True)`, then a state that holds the byte order."""

    __slots__ = ("dtype",)
    CODES = frozenset(["b1", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "i8", "u8", "f8"])

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or code not in self.CODES:
            raise RefusedPickleError(f"dtype {code!r:.40} is not a plain number")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, *composed = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in composed):
            raise RefusedPickleError("it has a dtype with fields, a shape or an unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _PickledArray:
    """An array in a pickle: an empty one first, then a state that holds shape, dtype and bytes."""

    __slots__ = ("_spend", "value")

    def __init__(self, spend: Callable[[int], None]) -> None:
        self._spend = spend
        self.value: Array | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, pickled_dtype, fortran, raw = state
        if type(pickled_dtype) is not _PickledDtype or type(raw) not in (bytes, str):
            raise RefusedPickleError("it has an array that is not plain numbers")
        dtype = pickled_dtype.dtype
        if type(shape) is not tuple or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
            raise RefusedPickleError(f"it has an array of impossible shape {shape!r:.80}")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise RefusedPickleError(f"an array of shape {shape}, dtype {dtype} cannot have {len(raw)} bytes")
        self._spend(2 * len(raw))
        data = bytearray(raw.encode("latin1") if isinstance(raw, str) else raw)
        self.value = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads builtin containers and arrays. NumPy itself is never called with what the pickle says."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._budget = 3 * len(data)
        self._ndarray = _Standin()
        reconstruct = _Standin(self._reconstruct)
        self._known = {
            ("numpy", "ndarray"): self._ndarray,
            ("numpy", "dtype"): _Standin(_PickledDtype),
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
            ("_codecs", "encode"): _Standin(self._encode),
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            wanted = f"{module}.{name}"
            raise RefusedPickleError(f"it asks for {wanted!r:.80}; only arrays and builtin containers are read")
        return self._known[module, name]

    def _spend(self, count: int) -> None:
        """Count bytes made: one string in the file can be turned into any number of copies."""
        self._budget -= count
        if self._budget < 0:
            raise RefusedPickleError("it makes more data than it holds")

    def _reconstruct(self, kind: object, *_: object) -> _PickledArray:
        if kind is not self._ndarray:
            raise RefusedPickleError("it has an array that is not a numpy.ndarray")
        return _PickledArray(self._spend)

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise RefusedPickleError(f"it encodes a string as {encoding!r:.40}; only latin1 is read")
        self._spend(len(text))
        return text.encode("latin1")


def _check_opcodes(data: bytes) -> None:
    """Walk the opcodes without acting on them: lengths are true, memo indexes small, objects not too many."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count == MAX_PICKLE_OPCODES:
            raise RefusedPickleError(f"it has more than {MAX_PICKLE_OPCODES} opcodes")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > MAX_PICKLE_OPCODES:
            raise RefusedPickleError(f"it has a memo index of {argument}")
        if opcode.name.startswith("EXT"):
            raise RefusedPickleError("it uses the copyreg extension registry")


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Return `value` with arrays in place of their placeholders, and only builtin types beside them."""
    kind = type(value)
    if kind is _PickledArray and value.value is not None:
        return value.value
    if value is None or kind in (bool, int, float, str, bytes, bytearray):
        return value
    if kind not in (dict, list, tuple, set, frozenset):
        raise RefusedPickleError("it holds something else than arrays and builtin containers")
    key = id(value)
    if key not in seen:
        seen[key] = None
        if kind is dict:
            seen[key] = {_plain(name, seen): _plain(item, seen) for name, item in value.items()}
        else:
            seen[key] = kind([_plain(item, seen) for item in value])
    elif seen[key] is None:
        raise RefusedPickleError("it holds a container that contains itself")
    return seen[key]


def load_pickle(f: BinaryIO) -> Any:
    """Read a pickle of builtin containers and NumPy arrays, such as a CIFAR-10 batch, and nothing else.

    Parameters
    ----------
    f : binary file
        Open for reading; strings of Python 2 are read as latin1, as the course does.

    Returns
    -------
    object
        Dicts, lists, tuples, sets, numbers, strings, and arrays of plain numbers.

    Raises
    ------
    RefusedPickleError
        (a `pickle.UnpicklingError` and a `ValueError`) If the pickle names any other global (the message says
        which), is damaged, is larger than 64 MiB, or has arrays whose shape does not fit their bytes.

    Examples
    --------
    >>> with open("cifar-10-batches-py/batches.meta", "rb") as f:  # doctest: +SKIP
    ...     load_pickle(f)["label_names"][0]
    'airplane'
    """
    name = getattr(f, "name", "pickle")
    try:
        data = f.read(MAX_PICKLE_BYTES + 1)
        if len(data) > MAX_PICKLE_BYTES:
            raise RefusedPickleError(f"it is larger than {MAX_PICKLE_BYTES} bytes")
        _check_opcodes(data)
        return _plain(_ArrayUnpickler(data).load(), {})
    except (
        pickle.UnpicklingError,
        AttributeError,
        DeprecationWarning,
        EOFError,
        ImportError,
        LookupError,
        MemoryError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:  # all that a malformed pickle is known to raise, the warning where warnings are errors
        raise RefusedPickleError(f"cannot read {name}: {error}") from error


# --------------------------------------------------------------------------------------------- CIFAR-10


def _cifar_batch(path: PathLike) -> tuple[Array, Array]:
    """Return pixels uint8 (N, 3072), channel by channel, and labels int64 (N,)."""
    with open(path, "rb") as f:
        batch = load_pickle(f)
    if not isinstance(batch, dict) or "data" not in batch or "labels" not in batch:
        raise ValueError(f"{path} is not a CIFAR-10 batch: expected a dict with 'data' and 'labels'")
    pixels, labels = batch["data"], batch["labels"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ValueError(f"{path}: 'data' must be a uint8 array (N, 3072), found {found}")
    if not isinstance(labels, list) or any(type(label) is not int or not 0 <= label <= 9 for label in labels):
        raise ValueError(f"{path}: 'labels' must be a list of integers 0 to 9")
    if len(labels) != len(pixels):
        raise ValueError(f"{path}: {len(pixels)} pictures but {len(labels)} labels")
    return pixels, np.array(labels, np.int64)


def _cifar_split(folder: PathLike, split: str) -> tuple[Array, Array]:
    """Return all pixels (N, 3072) uint8 and labels (N,) int64 of the "train" or the "test" files."""
    names = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}[split]
    pixels, labels = zip(*(_cifar_batch(Path(folder) / name) for name in names), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _as_pictures(pixels: Array) -> Array:
    """(N, 3072) to float64 (N, 32, 32, 3), in memory still channel by channel, as the course has it."""
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float64)


def load_CIFAR_batch(filename: PathLike) -> tuple[Array, Array]:
    """Read one file of `cifar-10-batches-py`.

    Returns
    -------
    X : float64 (N, 32, 32, 3)
        Values 0 to 255; N is 10000 in the original files.
    Y : int64 (N,)
        Labels 0 to 9.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a CIFAR-10 batch (see `load_pickle` for what is refused).

    Examples
    --------
    >>> X, Y = load_CIFAR_batch("cifar-10-batches-py/test_batch")  # doctest: +SKIP
    """
    pixels, labels = _cifar_batch(filename)
    return _as_pictures(pixels), labels


def load_CIFAR10(ROOT: PathLike) -> tuple[Array, Array, Array, Array]:
    """Read the folder `cifar-10-batches-py`.

    Returns
    -------
    Xtr : float64 (50000, 32, 32, 3)
    Ytr : int64 (50000,)
    Xte : float64 (10000, 32, 32, 3)
    Yte : int64 (10000,)

    Raises
    ------
    FileNotFoundError
        If one of `data_batch_1` to `data_batch_5` and `test_batch` is missing.
    ValueError
        If one of them is not a CIFAR-10 batch.

    Examples
    --------
    >>> Xtr, Ytr, Xte, Yte = load_CIFAR10("cifar-10-batches-py")  # doctest: +SKIP
    """
    train, Ytr = _cifar_split(ROOT, "train")
    test, Yte = _cifar_split(ROOT, "test")
    return _as_pictures(train), Ytr, _as_pictures(test), Yte


def get_CIFAR10_data(
    num_training: int = 49000, num_validation: int = 1000, num_test: int = 1000, subtract_mean: bool = True
) -> dict[str, Array]:
    """Return CIFAR-10 split and centred, as the course's notebooks take it.

    The folder is looked for as `datasets/cifar-10-batches-py` beside this module, then
    `cs231n/datasets/cifar-10-batches-py` and `fastfc/datasets/cifar-10-batches-py` from the working folder, then
    `$FASTFC_DATA/cifar-10-batches-py` and `$FASTFC_DATA` itself.

    Parameters
    ----------
    num_training, num_validation, num_test : int
        Pictures to take: training from the first on, validation right behind them, test from the test file.
    subtract_mean : bool
        Take the mean training picture from all three.

    Returns
    -------
    dict
        `X_train, y_train, X_val, y_val, X_test, y_test`; X float64 (N, 3, 32, 32), C-contiguous; y int64 (N,).

    Raises
    ------
    FileNotFoundError
        If the folder is nowhere; the message names every place.
    ValueError
        If more pictures are asked for than there are, or a file is not a CIFAR-10 batch.

    Examples
    --------
    >>> data = get_CIFAR10_data(num_training=500)  # doctest: +SKIP
    >>> data["X_train"].shape  # doctest: +SKIP
    (500, 3, 32, 32)
    """
    folder = _find_cifar10()
    train, y_train = _cifar_split(folder, "train")
    test, y_test = _cifar_split(folder, "test")
    if num_training < 1 or num_validation < 0 or num_training + num_validation > len(train):
        raise ValueError(
            f"num_training={num_training} (at least 1) and num_validation={num_validation} must fit into "
            f"the {len(train)} training pictures of {folder}"
        )
    if not 0 <= num_test <= len(test):
        raise ValueError(f"num_test={num_test} must be between 0 and the {len(test)} test pictures of {folder}")

    mean = train[:num_training].sum(axis=0, dtype=np.float64) / num_training

    def take(pixels: Array) -> Array:
        X = pixels.astype(np.float64)
        if subtract_mean:
            X -= mean
        return X.reshape(-1, 3, 32, 32)

    end = num_training + num_validation
    return {
        "X_train": take(train[:num_training]),
        "y_train": y_train[:num_training],
        "X_val": take(train[num_training:end]),
        "y_val": y_train[num_training:end],
        "X_test": take(test[:num_test]),
        "y_test": y_test[:num_test],
    }


# -------------------------------------------------------------------------------- where data sets stand


def _under_fastfc_data(name: str) -> list[Path]:
    root = os.environ.get("FASTFC_DATA")
    return [Path(root) / name, Path(root)] if root else []


def _find_cifar10() -> Path:
    name = "cifar-10-batches-py"
    places = [
        Path(__file__).parent / "datasets" / name,
        Path("cs231n/datasets") / name,
        Path("fastfc/datasets") / name,
        *_under_fastfc_data(name),
    ]
    for place in places:
        if (place / "data_batch_1").is_file():
            return place
    raise FileNotFoundError(
        "CIFAR-10 not found: put the folder cifar-10-batches-py (data_batch_1 to data_batch_5 and test_batch, as "
        "unpacked from cifar-10-python.tar.gz) into one of these places, or set FASTFC_DATA to the folder that holds "
        f"it; looked in {', '.join(str(place.absolute()) for place in places)}"
    )


def _find_fashion_mnist() -> Path:
    places = [*_under_fastfc_data("fashion-mnist"), Path("/usr/share/datasets/fashion-mnist")]
    for place in places:
        if _has_idx_files(place):
            return place
    raise FileNotFoundError(
        "the full Fashion-MNIST not found: install Debian's package dataset-fashion-mnist, or set FASTFC_DATA to the "
        f"folder that holds its four idx files; looked in {', '.join(map(str, places))}"
    )


# ------------------------------------------------------------------------------------------------- idx

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


def load_idx(path: PathLike) -> Array:
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


def _has_idx_files(folder: Path) -> bool:
    return all(_idx_file(folder, *part) for part in _IDX_PARTS.values())


def _read_idx_folder(folder: Path) -> dict[str, Array]:
    paths = {key: _idx_file(folder, *part) for key, part in _IDX_PARTS.items()}
    return {key: load_idx(path) for key, path in paths.items() if path}


# ------------------------------------------------------------------------------------------------- npz

_SPLITS = ("train", "val", "test")
_NPZ_KINDS = {f"X_{split}": "biuf" for split in _SPLITS} | {f"y_{split}": "biufU" for split in _SPLITS}
_NPZ_KINDS |= {"X": "biuf", "y": "biufU", "class_names": "U"}

# ------------------------------------------------------------------------------------------------- CSV

_LABEL_COLUMNS = ("label", "target", "class", "y")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _bad_cell(path: Path, line: int, column: int, cell: str, expected: str) -> NoReturn:
    raise ValueError(f"{path}, line {line}, column {column + 1}: expected {expected}, found {cell!r:.60}")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not empty."""
    with open(path, newline="", encoding="utf-8-sig") as f:
        rows = csv.reader(f, strict=True)
        try:
            for row in rows:
                if row:
                    yield rows.line_num, row
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not text in UTF-8: {error}") from error


def _label_column(
    first: list[str], target: str | int | None, num_features: int | None, labels_needed: bool, path: Path
) -> int | None:
    """Return which column holds the labels, if one does; `first` is the table's first line."""
    width = len(first)
    if target == "none":
        return None
    if target is None:
        if width == num_features:
            return None
        named = [i for i, cell in enumerate(first) if cell.casefold() in _LABEL_COLUMNS]
        if len(named) == 1:
            return named[0]
        return width - 1 if labels_needed or width - 1 == num_features else None
    if target in first and _number(str(target)) is None:
        return first.index(str(target))
    try:
        column = int(target)
    except ValueError:
        raise ValueError(f"target {target!r} is not a column of {path}; its first line is {first!s:.200}") from None
    if not -width <= column < width:
        raise ValueError(f"target {column} is out of range: {path} has {width} columns, counted from 0")
    return column % width


def _csv_labels(seen: dict[str, int], first_line: list[int], label: int, path: Path) -> tuple[Array, list[str] | None]:
    """Return an int64 label for each text in `seen`, and names if the texts are not all numbers."""
    numbers = [_number(text) for text in seen]
    if None in numbers:
        names = sorted(seen)
        rank = {name: i for i, name in enumerate(names)}
        return np.array([rank[text] for text in seen], np.int64), names
    whole = []
    for text, number, line in zip(seen, numbers, first_line, strict=True):
        if number is None or not number.is_integer() or abs(number) > 2**53:
            _bad_cell(path, line, label, text, "a whole number or a name as label")
        whole.append(int(number))
    return np.array(whole, np.int64), None


def _read_csv(
    path: Path, target: str | int | None, num_features: int | None, *, labels_needed: bool
) -> tuple[Array, Array | None, list[str] | None]:
    """Return X float64 (N, D), y int64 (N,) if there are labels, and class names if these are names."""
    stored = path.stat().st_size
    check_declared(4 * stored, stored, path)  # two characters, "1,", become a float64
    rows = _csv_rows(path)
    line, row = next(rows, (0, []))
    if not row:
        raise ValueError(f"{path} is empty")
    first = [cell.strip() for cell in row]
    width = len(first)
    label = _label_column(first, target, num_features, labels_needed, path)
    features = [i for i in range(width) if i != label]
    if not features:
        raise ValueError(f"{path} has no column beside the labels")
    if num_features is not None and len(features) != num_features:
        raise ValueError(f"{path} has {len(features)} feature columns; expected {num_features}")
    # With numbers as column names the label column's name still tells a header; "y" alone may be a class.
    title = "" if label is None else first[label]
    header = title.casefold() in _LABEL_COLUMNS[:3] or (title == target and _number(title) is None)
    if not header and any(_number(first[i]) is not None for i in features):
        rows = chain([(line, first)], rows)

    values, codes = array("d"), array("q")
    seen: dict[str, int] = {}  # label text -> code, in order of appearance
    first_line: list[int] = []
    for line, row in rows:
        if len(row) != width:
            raise ValueError(f"{path}, line {line}: expected {width} columns, found {len(row)}")
        try:
            values.extend(map(float, row if label is None else row[:label] + row[label + 1 :]))
        except ValueError:
            column = next(i for i in features if _number(row[i]) is None)
            _bad_cell(path, line, column, row[column], "a number")
        if label is not None:
            text = row[label].strip()
            if not text:
                _bad_cell(path, line, label, text, "a label")
            if text not in seen:
                seen[text] = len(seen)
                first_line.append(line)
            codes.append(seen[text])
    if not values:
        raise ValueError(f"{path} has no rows")
    X = np.array(values).reshape(-1, len(features))
    if label is None:
        return X, None, None
    labels, names = _csv_labels(seen, first_line, label, path)
    return X, labels[np.array(codes)], names


# ---------------------------------------------------------------------------------- one form for all


def _as_integers(y: Array, source: object) -> Array:
    """Return whole-numbered labels as int64."""
    with np.errstate(invalid="ignore"):
        integers = y.astype(np.int64)
    if not np.array_equal(integers, y):
        raise ValueError(f"{source} must be whole numbers or names, found {y[integers != y][0]}")
    return integers


def _check_rows(X: Array, y: Array | None, key: str, source: object) -> None:
    if X.ndim < 2 or X.size == 0:
        raise ValueError(f"{source}: X{key} must be an array (N, ...) with at least one row, found shape {X.shape}")
    if y is not None and y.shape != X.shape[:1]:
        raise ValueError(f"{source}: y{key} must have shape ({len(X)},) like X{key} {X.shape}, found {y.shape}")


def _finish(raw: dict[str, Array], class_names: Sequence[str] | None, source: object) -> dict[str, Any]:
    """Check the splits and bring the labels to 0, 1, ..., with a name for each of them."""
    data: dict[str, Any] = {}
    for key in ("", *(f"_{split}" for split in _SPLITS)):
        X, y = raw.get(f"X{key}"), raw.get(f"y{key}")
        if X is not None:
            _check_rows(X, y, key, source)
            data[f"X{key}"] = X
        elif y is not None:
            raise ValueError(f"{source} has y{key} but not X{key}")
        if y is not None:
            data[f"y{key}"] = y if y.dtype.kind == "U" else _as_integers(y, f"{source}: y{key}")
    keys = [key for key in data if key.startswith("y")]
    if len({data[key].dtype.kind for key in keys}) > 1:
        raise ValueError(f"{source}: labels are numbers in one part and strings in another")
    if not keys:
        return data
    labels = np.concatenate([data[key] for key in keys])
    found, codes = np.unique(labels, return_inverse=True)
    if class_names is None:
        class_names = [str(value) for value in found.tolist()]
    else:
        codes = _positions(found, class_names, source)[codes]
    ends = np.cumsum([len(data[key]) for key in keys])[:-1]
    data.update(zip(keys, np.split(codes.astype(np.int64), ends), strict=True))
    data["class_names"] = list(class_names)
    return data


def _positions(found: Array, class_names: Sequence[str], source: object) -> Array:
    """Return the place of each label in `class_names`: by name, or by number if it is one."""
    index = {name: i for i, name in enumerate(class_names)}
    if len(index) != len(class_names):
        raise ValueError(f"{source}: class_names has the same name twice")
    if found.dtype.kind == "U":
        missing = [name for name in found.tolist() if name not in index]
        if missing:
            raise ValueError(f"{source}: label {missing[0]!r} is not among the classes {list(class_names)}")
        return np.array([index[name] for name in found.tolist()], np.int64)
    if found[0] < 0 or found[-1] >= len(class_names):
        raise ValueError(
            f"{source}: labels run from {found[0]} to {found[-1]}; {len(class_names)} classes have 0 to "
            f"{len(class_names) - 1}"
        )
    return found


def embedded_fashion_mnist() -> dict[str, Any]:
    """Return the subset of Fashion-MNIST that comes with the package.

    Returns
    -------
    dict
        `X_train` uint8 (4000, 28, 28), `y_train` int64 (4000,), `X_test` uint8 (1000, 28, 28), `y_test` int64
        (1000,), `class_names` list of 10 str. Every class has 400 and 100 pictures.

    Notes
    -----
    Fashion-MNIST is by Zalando SE, under the MIT licence: see `datasets/fashion_mnist_LICENSE.txt`. The subset is
    made by `python -m fastfc.datasets.make_fashion_mnist`.

    Examples
    --------
    >>> embedded_fashion_mnist()["X_train"].shape
    (4000, 28, 28)
    """
    with resources.files("fastfc.datasets").joinpath("fashion_mnist_5k.npz").open("rb") as f:
        raw = read_npz(f, "fashion_mnist_5k.npz", _NPZ_KINDS.get)  # type: ignore[arg-type]
    return _finish(raw, raw["class_names"].tolist(), "fashion_mnist_5k.npz")


def _full_fashion_mnist() -> dict[str, Any]:
    folder = _find_fashion_mnist()
    return _finish(_read_idx_folder(folder), FASHION_MNIST_CLASSES, folder)


def _cifar10(folder: Path) -> dict[str, Any]:
    """Return CIFAR-10 as bytes, (N, 3, 32, 32)."""
    data: dict[str, Any] = {}
    for split in ("train", "test"):
        pixels, data[f"y_{split}"] = _cifar_split(folder, split)
        data[f"X_{split}"] = pixels.reshape(-1, 3, 32, 32)
    return data | {"class_names": list(CIFAR10_CLASSES)}


_DATASETS: dict[str, Callable[[], dict[str, Any]]] = {
    "fashion-mnist": embedded_fashion_mnist,
    "fashion-mnist-full": _full_fashion_mnist,
    "cifar-10": lambda: _cifar10(_find_cifar10()),
}


def _load(
    name_or_path: PathLike, target: str | int | None, num_features: int | None, *, labels_needed: bool
) -> dict[str, Any]:
    """Load whatever it is: splits under `X_train`, ... or a single table under `X`, `y`."""
    path = Path(name_or_path)
    is_csv = path.suffix.lower() == ".csv"
    if target is not None and not is_csv:
        raise ValueError(f"target={target!r} names a column of a .csv file; {name_or_path} is none")
    if str(name_or_path) in _DATASETS:
        return _DATASETS[str(name_or_path)]()
    if path.is_dir():
        if (path / "data_batch_1").is_file():
            return _cifar10(path)
        raw = _read_idx_folder(path)
        if not raw:
            raise ValueError(
                f"folder {path} has neither idx files (train-images-idx3-ubyte, ...) nor data_batch_1, ..."
            )
        return _finish(raw, None, path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path} (data sets by name: {', '.join(_DATASETS)})")
    if path.suffix.lower() == ".npz":
        with open(path, "rb") as f:
            raw = read_npz(f, path, _NPZ_KINDS.get)
        names = raw.get("class_names")
        if names is not None and names.ndim != 1:
            raise ValueError(f"{path}: class_names must have shape (C,), found {names.shape}")
        return _finish(raw, None if names is None else names.tolist(), path)
    if is_csv:
        X, y, class_names = _read_csv(path, target, num_features, labels_needed=labels_needed)
        return _finish({"X": X} if y is None else {"X": X, "y": y}, class_names, path)
    if labels_needed:
        raise ValueError(f"{path} must be a folder, an .npz file or a .csv file: it has to bring labels too")
    return _finish({"X": load_idx(path)}, None, path)


def load_dataset(name_or_path: PathLike, *, target: str | int | None = None) -> dict[str, Any]:
    """Load labelled data to train on.

    Parameters
    ----------
    name_or_path : str or path
        A name: `"fashion-mnist"` (the embedded subset), `"fashion-mnist-full"` (the whole set, from
        `$FASTFC_DATA/fashion-mnist`, `$FASTFC_DATA` or `/usr/share/datasets/fashion-mnist`) or `"cifar-10"` (see
        `get_CIFAR10_data` for where it is looked for). Or a path: a folder of MNIST-style idx files, a folder
        `cifar-10-batches-py`, an `.npz` file with `X_train, y_train` (and `X_val, y_val`, `X_test, y_test`,
        `class_names` if it has them) or `X, y`, or a `.csv` file of numbers, with or without a header line.
    target : str or int, optional
        The label column of a `.csv` file: its name, or its number counted from 0, from the end if negative. By
        default the column that is named label, target, class or y, else the last one.

    Returns
    -------
    dict
        `X_train` (N, ...) in the dtype of the file (uint8 for pictures, float64 for CSV), `y_train` int64 (N,),
        and where the data has them `X_val, y_val, X_test, y_test`; `class_names`, a list of str. Labels are 0 to
        C-1; where the file has other numbers or has names, `class_names` holds these, sorted.

    Raises
    ------
    FileNotFoundError
        If there is no such data set, file or folder.
    ValueError
        If the data is damaged, has no labels, or X and y do not belong together. For CSV it gives line and column.

    Examples
    --------
    >>> data = load_dataset("fashion-mnist")
    >>> data["X_test"].shape, data["class_names"][9]
    ((1000, 28, 28), 'Ankle boot')
    """
    data = _load(name_or_path, target, None, labels_needed=True)
    if "X" in data:
        data = {"X_train" if key == "X" else "y_train" if key == "y" else key: v for key, v in data.items()}
    if "X_train" not in data or "y_train" not in data:
        raise ValueError(f"{name_or_path} has no training data with labels (X_train and y_train, or X and y)")
    return data


def load_samples(
    name_or_path: PathLike,
    *,
    split: str = "test",
    target: str | int | None = None,
    num_features: int | None = None,
    class_names: Sequence[str] | None = None,
) -> tuple[Array, Array | None, list[str] | None]:
    """Load data to predict from, with labels where it has them.

    Parameters
    ----------
    name_or_path : str or path
        As in `load_dataset`; also a single idx file of pictures, and `.npz` or `.csv` files without labels.
    split : {"test", "val", "train"}
        Which part of data that has parts.
    target : str or int, optional
        The label column of a `.csv` file, as in `load_dataset`; `"none"` if it has no labels. By default a column
        named label, target, class or y, or the last one if there is one more column than `num_features`.
    num_features : int, optional
        Number of features the model takes, to tell a `.csv` file with labels from one without.
    class_names : sequence of str, optional
        The model's classes. Labels are then places in this list: looked up by name, or, if the data has numbers
        that are no names of classes, taken as such places.

    Returns
    -------
    X : array (N, ...)
    y : int64 (N,) or None
    class_names : list of str or None
        What the labels 0, 1, ... stand for; None without labels.

    Raises
    ------
    FileNotFoundError
        If there is no such data set, file or folder.
    ValueError
        If the data is damaged, has no such part, or has a label that is not among `class_names`.

    Examples
    --------
    >>> X, y, class_names = load_samples("fashion-mnist")
    >>> X.shape, class_names[y[0]] in class_names
    ((1000, 28, 28), True)
    """
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}, got {split!r}")
    data = _load(name_or_path, target, num_features, labels_needed=False)
    key = "" if "X" in data and f"X_{split}" not in data else f"_{split}"
    if f"X{key}" not in data:
        raise ValueError(f"{name_or_path} has neither X_{split} nor X; it has {', '.join(data) or 'nothing known'}")
    X, y = data[f"X{key}"], data.get(f"y{key}")
    if y is None:
        return X, None, None
    names: list[str] = data["class_names"]
    if class_names is None:
        return X, y, names
    found, codes = np.unique(y, return_inverse=True)
    own = [names[code] for code in found.tolist()]
    if not set(own) <= set(class_names) and all(name.isdecimal() for name in own):
        places = np.array([int(name) for name in own], np.int64)
    else:
        places = np.array(own)
    return X, _positions(places, class_names, name_or_path)[codes], list(class_names)


def split_validation(X: Array, y: Array, fraction: float, seed: int) -> tuple[Array, Array, Array, Array]:
    """Hold out a part of the data for validation, with every class's share.

    Parameters
    ----------
    X : array (N, ...)
    y : integer array (N,)
    fraction : float
        Share to hold out, between 0 and 1; `round(fraction * N)` rows are taken, and of each class its share of
        them, give or take one.
    seed : int
        The same seed gives the same rows on every machine. NumPy's global random stream is not touched.

    Returns
    -------
    X_train, y_train, X_val, y_val : arrays
        Copies, rows in their former order.

    Raises
    ------
    ValueError
        If X and y differ in rows, or if one of the parts would be empty.

    Examples
    --------
    >>> y = np.repeat([0, 1], 10)
    >>> X_train, y_train, X_val, y_val = split_validation(np.arange(20), y, 0.2, seed=0)
    >>> y_val
    array([0, 0, 1, 1])
    """
    X, y = np.asarray(X), np.asarray(y)
    N = len(y)
    if len(X) != N:
        raise ValueError(f"X has {len(X)} rows and y has {N}; expected as many")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    count = round(fraction * N)
    if not 0 < count < N:
        raise ValueError(f"fraction {fraction} of {N} rows leaves one part empty")
    shuffled = np.random.RandomState(seed).permutation(N)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    place = np.arange(N)
    held_out = np.zeros(N, bool)
    held_out[by_class[(place + 1) * count // N > place * count // N]] = True
    return X[~held_out], y[~held_out], X[held_out], y[held_out]
