"""Numbers and flat arrays that compiled code reads where they lie."""

import ctypes
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_origin

import numpy as np

#: Arrays of a record, by what they hold. They are contiguous, of any shape; compiled code sees them flat.
Int64s = Annotated[np.ndarray, np.dtype(np.int64)]
Uint32s = Annotated[np.ndarray, np.dtype(np.uint32)]
Float64s = Annotated[np.ndarray, np.dtype(np.float64)]
#: Of the record's own dtype, which is the network's.
Reals = Annotated[np.ndarray, None]

# Every number takes a word: its ctypes type, and what makes it of NumPy's numbers.
_NUMBERS: dict[Any, tuple[Any, Callable]] = {
    int: (ctypes.c_int64, operator.index),
    bool: (ctypes.c_int64, bool),
    float: (ctypes.c_double, float),
}


class Record(ctypes.Structure):
    """Attributes that Python and compiled code share: what is set here, kernels find in words of memory.

    A subclass, made with :func:`record`, annotates them: ``int``, ``bool`` and ``float`` take a word of
    64 bits each, an array its address and its size, another record its address, and a
    ``Table[Other]`` the address of its first record. The record keeps what it is given alive.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the attributes that are :data:`Reals`.
    **values
        Every attribute.

    Raises
    ------
    TypeError
        If an attribute is missing, unknown or not of its kind.
    """

    #: Name -> annotation.
    fields: ClassVar[dict[str, Any]]
    #: Name -> its first word.
    places: ClassVar[dict[str, int]]

    def __init__(self, dtype: np.dtype, **values: Any) -> None:
        super().__init__()
        self._fill(np.dtype(dtype), values)

    def _fill(self, dtype: np.dtype, values: Mapping[str, Any]) -> None:
        self.dtype = dtype
        if values.keys() != self.fields.keys():
            wrong = sorted(values.keys() ^ self.fields.keys())
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")
        for name, value in values.items():
            kind = self.fields[name]
            setattr(self, name, _NUMBERS[kind][1](value) if kind in _NUMBERS else value)

    #: How ctypes hands the record to a function.
    _as_parameter_ = property(ctypes.addressof)


_Row = TypeVar("_Row", bound=Record)


class Table(list[_Row], Generic[_Row]):
    """Records of one class that lie one behind the other, for compiled code to find by their number.

    Parameters
    ----------
    kind : type
        The records' class.
    dtype : numpy.dtype
    rows : iterable of dict
        Of each record, every attribute.
    """

    def __init__(self, kind: type[_Row], dtype: np.dtype, rows: Iterable[Mapping[str, Any]]) -> None:
        values = list(rows)
        # The records keep this memory alive.
        memory = (kind * len(values))()
        super().__init__(kind.from_buffer(memory, i * ctypes.sizeof(kind)) for i in range(len(values)))
        for row, attributes in zip(self, values, strict=True):
            row._fill(np.dtype(dtype), attributes)
        self.kind = kind
        self.address = ctypes.addressof(memory)


_Class = TypeVar("_Class", bound=type[Record])


def record(cls: _Class) -> _Class:
    """Give a subclass of :class:`Record` the attributes that it annotates."""
    words: list[tuple[str, Any]] = []
    cls.fields, cls.places = inspect.get_annotations(cls), {}
    for name, kind in cls.fields.items():
        cls.places[name] = len(words)
        if is_array(kind):
            setattr(cls, name, _Array(name, get_args(kind)[1]))
            words += [(f"_{name}", ctypes.c_int64), (f"_{name}_size", ctypes.c_int64)]
        elif is_table(kind):
            setattr(cls, name, _TableOf(name, kind_of_rows(kind)))
            words.append((f"_{name}", ctypes.c_int64))
        elif issubclass(kind, Record):
            setattr(cls, name, _Other(name, kind))
            words.append((f"_{name}", ctypes.c_int64))
        else:
            words.append((name, _NUMBERS[kind][0]))
    cls._fields_ = words
    return cls


class _Array:
    """An attribute that is an array; of the record's dtype for None."""

    def __init__(self, name: str, dtype: np.dtype | None) -> None:
        self._name, self._dtype = name, dtype
        self._address, self._size = f"_{name}", f"_{name}_size"

    def __get__(self, owner: Any, cls: type | None = None) -> np.ndarray:
        return owner.__dict__[self._name]

    def __set__(self, owner: Any, value: np.ndarray) -> None:
        dtype = self._dtype or owner.dtype
        if not isinstance(value, np.ndarray) or value.dtype != dtype or not value.flags.c_contiguous:
            raise TypeError(f"{type(owner).__name__}.{self._name}: expected a C-contiguous array of {dtype}")
        owner.__dict__[self._name] = value
        setattr(owner, self._address, value.__array_interface__["data"][0])
        setattr(owner, self._size, value.size)


class _Other:
    """An attribute that is another record."""

    def __init__(self, name: str, kind: type[Record]) -> None:
        self._name, self._kind = name, kind

    def __get__(self, owner: Any, cls: type | None = None) -> Record:
        return owner.__dict__[self._name]

    def __set__(self, owner: Any, value: Record) -> None:
        if type(value) is not self._kind or value.dtype != owner.dtype:
            raise TypeError(f"{type(owner).__name__}.{self._name}: expected a {self._kind.__name__} of {owner.dtype}")
        owner.__dict__[self._name] = value
        setattr(owner, f"_{self._name}", ctypes.addressof(value))


class _TableOf:
    """An attribute that is a table of records."""

    def __init__(self, name: str, kind: type[Record]) -> None:
        self._name, self._kind = name, kind

    def __get__(self, owner: Any, cls: type | None = None) -> Table:
        return owner.__dict__[self._name]

    def __set__(self, owner: Any, value: Table) -> None:
        fits = isinstance(value, Table) and value.kind is self._kind
        if not fits or any(row.dtype != owner.dtype for row in value):
            raise TypeError(f"{type(owner).__name__}.{self._name}: expected a table of {self._kind.__name__}")
        owner.__dict__[self._name] = value
        setattr(owner, f"_{self._name}", value.address)


def is_array(kind: Any) -> bool:
    """Whether attributes with this annotation are arrays."""
    return get_origin(kind) is Annotated


def is_table(kind: Any) -> bool:
    """Whether attributes with this annotation are tables of records."""
    return get_origin(kind) is Table


def kind_of_rows(kind: Any) -> type[Record]:
    """The class of a table's records."""
    return get_args(kind)[0]


def dtype_of(kind: Any, dtype: np.dtype) -> np.dtype:
    """The dtype of arrays with this annotation, in a record of a dtype."""
    return get_args(kind)[1] or dtype
