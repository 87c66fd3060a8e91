"""Numbers and flat arrays that compiled code reads where they lie."""

import ctypes
import inspect
import operator
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_origin

import numpy as np

#: Arrays of a record, by what they hold. They are contiguous, of any shape; compiled code sees them flat.
Int64s = Annotated[np.ndarray, np.dtype(np.int64)]
Uint32s = Annotated[np.ndarray, np.dtype(np.uint32)]
Float64s = Annotated[np.ndarray, np.dtype(np.float64)]
#: Of the record's own dtype, which is the network's.
Reals = Annotated[np.ndarray, None]

# Every number takes a word: its ctypes type, its letter for `struct`, and what makes it of NumPy's numbers.
_NUMBERS: dict[Any, tuple[Any, str, Callable]] = {
    int: (ctypes.c_int64, "q", operator.index),
    bool: (ctypes.c_int64, "q", bool),
    float: (ctypes.c_double, "d", float),
}


#: A part of a flat array, of which NumPy makes a view only when it is asked for: the array, the part's
#: address, its first place and its size. A plain tuple: a short training makes some hundred of them.
Part = tuple[np.ndarray, int, int, int]


class Buffer:
    """A flat array, and parts of it.

    Parameters
    ----------
    memory : array (n,)
        C-contiguous.
    """

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self._address, self._itemsize = memory, memory.__array_interface__["data"][0], memory.itemsize

    def part(self, start: int, size: int) -> Part:
        """The `size` values from `start` on."""
        return self._memory, self._address + start * self._itemsize, start, size


class Record(ctypes.Structure):
    """Attributes that Python and compiled code share: what is set here, kernels find in words of memory.

    A subclass, made with :func:`record`, annotates them: ``int``, ``bool`` and ``float`` take a word of
    64 bits each, an array, or a :class:`Part` of one, its address and its size, another record its address, and a
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
    # Name -> what makes its words of a value; and all words, as `struct` packs them.
    _number_of: ClassVar[dict[str, Callable[[Any], Any] | None]]
    _object_of: ClassVar[dict[str, "_Object"]]
    _words: ClassVar[struct.Struct]

    def __init__(self, dtype: np.dtype, **values: Any) -> None:
        super().__init__()
        self._fill(np.dtype(dtype), values)

    def _fill(self, dtype: np.dtype, values: Mapping[str, Any]) -> None:
        self.dtype = dtype
        if values.keys() != self.fields.keys():
            wrong = sorted(values.keys() ^ self.fields.keys())
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")
        # All words at once: one by one they would take most of the time in which a small plan is made.
        words: list[Any] = []
        kept, objects = self.__dict__, self._object_of
        for name, number_of in self._number_of.items():
            value = values[name]
            if number_of is None:
                words += objects[name].words(self, value)
                kept[name] = value
            else:
                words.append(number_of(value))
        self._words.pack_into(self, 0, *words)

    def attributes(self) -> dict[str, Any]:
        """All attributes by name, for another record; of a :class:`Part` no view is made."""
        kept = self.__dict__
        return {name: kept[name] if name in kept else getattr(self, name) for name in self.fields}

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
        self.kind, self.dtype = kind, np.dtype(dtype)
        for row, attributes in zip(self, values, strict=True):
            row._fill(self.dtype, attributes)
        self.address = ctypes.addressof(memory)


_Class = TypeVar("_Class", bound=type[Record])


def record(cls: _Class) -> _Class:
    """Give a subclass of :class:`Record` the attributes that it annotates."""
    cls.fields, cls.places = inspect.get_annotations(cls), {}
    cls._number_of, cls._object_of = {}, {}
    words: list[tuple[str, Any]] = []
    letters = ""
    for name, kind in cls.fields.items():
        cls.places[name] = len(words)
        if kind in _NUMBERS:
            word, letter, cls._number_of[name] = _NUMBERS[kind]
            words.append((name, word))
            letters += letter
            continue
        made = _Array if is_array(kind) else _Rows if is_table(kind) else _Other
        attribute = made(f"{cls.__name__}.{name}", name, kind)
        setattr(cls, name, attribute)
        cls._number_of[name], cls._object_of[name] = None, attribute
        words += [(word, ctypes.c_int64) for word in attribute.names]
        letters += "q" * len(attribute.names)
    cls._fields_ = words
    cls._words = struct.Struct(f"={letters}")
    return cls


class _Object:
    """An attribute that stands for memory elsewhere; `names` are those of its words."""

    def __init__(self, shown: str, name: str, kind: Any) -> None:
        self._shown, self._name, self._kind = shown, name, kind
        self.names: tuple[str, ...] = (f"_{name}",)

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        return owner.__dict__[self._name]

    def __set__(self, owner: Any, value: Any) -> None:
        words = self.words(owner, value)
        owner.__dict__[self._name] = value
        for name, word in zip(self.names, words, strict=True):
            setattr(owner, name, word)

    def words(self, owner: Any, value: Any) -> tuple[int, ...]:
        """The words of a value; TypeError if it does not fit the owner."""
        raise NotImplementedError


class _Array(_Object):
    """An array, or a :class:`Part` of one."""

    def __init__(self, shown: str, name: str, kind: Any) -> None:
        super().__init__(shown, name, kind)
        self._dtype = get_args(kind)[1]
        self.names = f"_{name}", f"_{name}_size"

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        value = owner.__dict__[self._name]
        if type(value) is tuple:
            memory, _, start, size = value
            value = owner.__dict__[self._name] = memory[start : start + size]
        return value

    def words(self, owner: Any, value: np.ndarray | Part) -> tuple[int, ...]:
        dtype = self._dtype or owner.dtype
        if type(value) is tuple and value[0].dtype == dtype:
            return value[1], value[3]
        if not isinstance(value, np.ndarray) or value.dtype != dtype or not value.flags.c_contiguous:
            raise TypeError(f"{self._shown}: expected a C-contiguous array of {dtype}")
        return value.__array_interface__["data"][0], value.size


class _Other(_Object):
    """Another record."""

    def words(self, owner: Any, value: Record) -> tuple[int, ...]:
        if type(value) is not self._kind or value.dtype != owner.dtype:
            raise TypeError(f"{self._shown}: expected a {self._kind.__name__} of {owner.dtype}")
        return (ctypes.addressof(value),)


class _Rows(_Object):
    """A table of records."""

    def words(self, owner: Any, value: Table) -> tuple[int, ...]:
        kind = kind_of_rows(self._kind)
        if not isinstance(value, Table) or value.kind is not kind or value.dtype != owner.dtype:
            raise TypeError(f"{self._shown}: expected a table of {kind.__name__} of {owner.dtype}")
        return (value.address,)


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
