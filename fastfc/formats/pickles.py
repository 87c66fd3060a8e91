"""Reading untrusted pickles: arrays and builtin containers, and nothing else."""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_PICKLE_BYTES",
    "MAX_PICKLE_OPCODES",
    "ArrayUnpickler",
    "PickledDtype",
    "Placeholder",
    "RefusedPickleError",
    "Standin",
    "load_pickle",
    "load_pickle_by",
]

Array = NDArray[Any]

MAX_PICKLE_BYTES = 64 * 2**20  # a CIFAR-10 batch has 31 MB
MAX_PICKLE_OPCODES = 2**20  # a batch has about 60 thousand; one byte can make an object of 200


class RefusedPickleError(pickle.UnpicklingError, ValueError):
    """A pickle that is damaged, too large, or asks for more than arrays and builtin containers."""


class Standin:
    """Stands for a NumPy name in a pickle: at most callable, and closed to the BUILD opcode."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object] | None = None) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        if self._call is None:
            raise RefusedPickleError("it calls a name that is only a marker")
        return self._call(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise RefusedPickleError("it changes a function")


class Placeholder:
    """Stands in a pickle's result for something that is made once all of it has been read."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickleError("it changes a function")

    def made(self, plain: Callable[[Any], Any]) -> Any:
        """The object that this stands for; `plain` makes its parts."""
        raise RefusedPickleError("it holds something else than arrays and builtin containers")


class PickledDtype(Placeholder):
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


class _PickledArray(Placeholder):
    """An array in a pickle: an empty one first, then a state that holds shape, dtype and bytes."""

    __slots__ = ("_spend", "value")

    def __init__(self, spend: Callable[[int], None]) -> None:
        self._spend = spend
        self.value: Array | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, pickled_dtype, fortran, raw = state
        if not isinstance(pickled_dtype, PickledDtype) or type(raw) not in (bytes, str):
            raise RefusedPickleError("it has an array that is not plain numbers")
        dtype = pickled_dtype.dtype
        if type(shape) is not tuple or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
            raise RefusedPickleError(f"it has an array of impossible shape {shape!r:.80}")
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise RefusedPickleError(f"an array of shape {shape}, dtype {dtype} cannot have {len(raw)} bytes")
        self._spend(2 * len(raw))
        data = bytearray(raw.encode("latin1") if isinstance(raw, str) else raw)
        self.value = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")

    def made(self, plain: Callable[[Any], Any]) -> Array:
        if self.value is None:
            raise RefusedPickleError("it has an array without contents")
        return self.value


class ArrayUnpickler(pickle.Unpickler):
    """Reads builtin containers and arrays. NumPy itself is never called with what the pickle says."""

    READS = "arrays and builtin containers"
    DTYPE: type[PickledDtype] = PickledDtype
    MAX_BYTES, MAX_OPCODES = MAX_PICKLE_BYTES, MAX_PICKLE_OPCODES

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._budget = 3 * len(data)
        self.ndarray = Standin()
        reconstruct = Standin(self._reconstruct)
        self.known: dict[tuple[str, str], object] = {
            ("numpy", "ndarray"): self.ndarray,
            ("numpy", "dtype"): Standin(self.DTYPE),
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
            ("_codecs", "encode"): Standin(self._encode),
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            wanted = f"{module}.{name}"
            raise RefusedPickleError(f"it asks for {wanted!r:.80}; only {self.READS} are read")
        return self.known[module, name]

    def _spend(self, count: int) -> None:
        """Count bytes made: one string in the file can be turned into any number of copies."""
        self._budget -= count
        if self._budget < 0:
            raise RefusedPickleError("it makes more data than it holds")

    def _reconstruct(self, kind: object, *_: object) -> _PickledArray:
        if kind is not self.ndarray:
            raise RefusedPickleError("it has an array that is not a numpy.ndarray")
        return _PickledArray(self._spend)

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise RefusedPickleError(f"it encodes a string as {encoding!r:.40}; only latin1 is read")
        self._spend(len(text))
        return text.encode("latin1")


def _check_opcodes(data: bytes, most: int) -> None:
    """Walk the opcodes without acting on them: lengths are true, memo indexes small, objects not too many."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count == most:
            raise RefusedPickleError(f"it has more than {most} opcodes")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > most:
            raise RefusedPickleError(f"it has a memo index of {argument}")
        if opcode.name.startswith("EXT"):
            raise RefusedPickleError("it uses the copyreg extension registry")


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Return `value` with arrays in place of their placeholders, and only builtin types beside them."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes, bytearray):
        return value
    key = id(value)
    if key not in seen:
        seen[key] = None
        if isinstance(value, Placeholder):
            seen[key] = value.made(partial(_plain, seen=seen))
        elif kind is dict:
            seen[key] = {_plain(name, seen): _plain(item, seen) for name, item in value.items()}
        elif kind in (list, tuple, set, frozenset):
            seen[key] = kind([_plain(item, seen) for item in value])
        else:
            raise RefusedPickleError("it holds something else than arrays and builtin containers")
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
    return load_pickle_by(ArrayUnpickler, f)


def load_pickle_by(kind: type[ArrayUnpickler], f: BinaryIO) -> Any:
    """Read a pickle by an unpickler of this kind; see :func:`load_pickle`."""
    name = getattr(f, "name", "pickle")
    try:
        data = f.read(kind.MAX_BYTES + 1)
        if len(data) > kind.MAX_BYTES:
            raise RefusedPickleError(f"it is larger than {kind.MAX_BYTES} bytes")
        _check_opcodes(data, kind.MAX_OPCODES)
        return _plain(kind(data).load(), {})
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        DeprecationWarning,
        EOFError,
        ImportError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:  # all that a malformed pickle is known to raise, the warning where warnings are errors
        raise RefusedPickleError(f"cannot read {name}: {error}") from error
