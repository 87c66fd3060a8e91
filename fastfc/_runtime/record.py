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
    # Of each attribute, what makes a number of its value, or else its words; and all words, as `struct` packs them.
    _makers: ClassVar[list[tuple[str, Callable[[Any], Any] | None, Callable[[Any, Any], tuple[int, ...]] | None]]]
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
        kept = self.__dict__
        for name, number_of, words_of in self._makers:
            value = values[name]
            if words_of is not None:
                words += words_of(self, value)
                kept[name] = value
            elif number_of is not None:
                words.append(number_of(value))
        self._words.pack_into(self, 0, *words)

    def changed(self: "_Row", **values: Any) -> "_Row":
        """A record with the same attributes but for some; TypeError as for a new one."""
        other = type(self).from_buffer_copy(self)
        other._take_over(self, values)
        return other

    def _take_over(self, other: "Record", values: Mapping[str, Any]) -> None:
        """Have what belongs to the words of another record, which are here already, and then these values."""
        self.__dict__.update(other.__dict__)
        if unknown := values.keys() - self.fields.keys():
            raise TypeError(f"{type(self).__name__}: unknown: {', '.join(sorted(unknown))}")
        for name, number_of, _ in self._makers:
            if name in values:
                setattr(self, name, values[name] if number_of is None else number_of(values[name]))

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
        self._lay_out(kind, dtype, (kind * len(values))())
        for row, attributes in zip(self, values, strict=True):
            row._fill(self.dtype, attributes)

    def _lay_out(self, kind: type[_Row], dtype: np.dtype, memory: Any) -> None:
        """Become the records that lie in memory, which they keep alive."""
        self.extend(kind.from_buffer(memory, place) for place in range(0, ctypes.sizeof(memory), ctypes.sizeof(kind)))
        self.kind, self.dtype, self._memory = kind, np.dtype(dtype), memory
        self.address = ctypes.addressof(memory)

    def changed(self, rows: Iterable[Mapping[str, Any]]) -> "Table[_Row]":
        """A table with the same attributes but for some of each record."""
        other: Table[_Row] = Table.__new__(Table)
        other._lay_out(self.kind, self.dtype, type(self._memory).from_buffer_copy(self._memory))
        for row, mine, values in zip(other, self, rows, strict=True):
            row._take_over(mine, values)
        return other


_Class = TypeVar("_Class", bound=type[Record])


def record(cls: _Class) -> _Class:
    """Give a subclass of :class:`Record` the attributes that it annotates."""
    cls.fields, cls.places = inspect.get_annotations(cls), {}
    cls._makers = []
    words: list[tuple[str, Any]] = []
    letters = ""
    for name, kind in cls.fields.items():
        cls.places[name] = len(words)
        if kind in _NUMBERS:
            word, letter, number_of = _NUMBERS[kind]
            cls._makers.append((name, number_of, None))
            words.append((name, word))
            letters += letter
            continue
        made = _Array if is_array(kind) else _Rows if is_table(kind) else _Other
        attribute = made(f"{cls.__name__}.{name}", name, kind)
        setattr(cls, name, attribute)
        cls._makers.append((name, None, attribute.words))
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
        # NumPy's own dtypes are there once; to compare them takes longer than all the rest.
        if type(value) is tuple and (value[0].dtype is dtype or value[0].dtype == dtype):
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
