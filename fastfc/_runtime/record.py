"""Numbers and flat arrays that compiled code reads where they lie."""

import inspect
from typing import Annotated, Any, ClassVar, get_args

import numpy as np

#: Arrays of a record, by what they hold. They are contiguous, of any shape; compiled code sees them flat.
Int64s = Annotated[np.ndarray, np.dtype(np.int64)]
Uint32s = Annotated[np.ndarray, np.dtype(np.uint32)]
Float64s = Annotated[np.ndarray, np.dtype(np.float64)]
#: Of the record's own dtype, which is the network's.
Reals = Annotated[np.ndarray, None]


class Record:
    """Attributes that Python and compiled code share: what is set here, kernels find in words of memory.

    A subclass annotates them: ``int``, ``float`` and ``bool`` take a word of 64 bits each, an array
    its address and its size, another record its address. The record keeps what it is given alive.

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
    fields: ClassVar[dict[str, Any]] = {}
    #: Name -> its first word.
    places: ClassVar[dict[str, int]] = {}

    dtype: np.dtype
    _as_parameter_: int

    def __init_subclass__(cls) -> None:
        cls.fields = inspect.get_annotations(cls)
        cls.places = {}
        words = 0
        for name, kind in cls.fields.items():
            cls.places[name] = words
            words += 2 if is_array(kind) else 1
        cls._size = words

    _size: ClassVar[int] = 0

    def __init__(self, dtype: np.dtype, **values: Any) -> None:
        own = self.__dict__
        own["dtype"] = np.dtype(dtype)
        own["_words"] = np.zeros(self._size, np.int64)
        own["_reals"] = own["_words"].view(np.float64)
        # How ctypes hands the record to a function.
        own["_as_parameter_"] = own["_words"].ctypes.data
        if values.keys() != self.fields.keys():
            wrong = sorted(values.keys() ^ self.fields.keys())
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self.fields.get(name)
        if kind is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        own, place = self.__dict__, self.places[name]
        if kind is int or kind is bool:
            own["_words"][place] = value
        elif kind is float:
            own["_reals"][place] = value
        elif is_array(kind):
            dtype = dtype_of(kind, own["dtype"])
            if not isinstance(value, np.ndarray) or value.dtype != dtype or not value.flags.c_contiguous:
                raise TypeError(f"{type(self).__name__}.{name}: expected a C-contiguous array of {dtype}")
            own["_words"][place] = value.__array_interface__["data"][0]
            own["_words"][place + 1] = value.size
        else:
            if type(value) is not kind or value.dtype != own["dtype"]:
                raise TypeError(f"{type(self).__name__}.{name}: expected a {kind.__name__} of {own['dtype']}")
            own["_words"][place] = value._as_parameter_
        own[name] = value


def is_array(kind: Any) -> bool:
    """Whether attributes with this annotation are arrays."""
    return bool(get_args(kind))


def dtype_of(kind: Any, dtype: np.dtype) -> np.dtype:
    """The dtype of arrays with this annotation, in a record of a dtype."""
    return get_args(kind)[1] or dtype
