"""Arguments of public functions, checked and converted before an operation sees them.

Operations work on C-contiguous, aligned, writable arrays of one dtype, float32 or
float64, in the machine's byte order: each further layout or dtype would be one more
compiled signature of every kernel. Arrays that are already so pass through untouched;
others are copied, never changed.
"""

import math
import numbers
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np

_FAST_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_HALF = np.dtype(np.float16)
# With the separator: another folder's name may begin with this one's.
_PACKAGE = os.path.join(os.path.dirname(__file__), "")


def float_arrays(**arguments: Any) -> tuple[list[np.ndarray], np.dtype | None]:
    """Bring named arguments to one dtype and layout.

    Returns the arrays, in the order given, and the dtype that results must be cast to:
    float16 where that is the arguments' common dtype, else None.

    Raises TypeError, naming the argument, for what is neither boolean, integer nor float16,
    float32 or float64.
    """
    values = list(arguments.values())
    first = values[0]
    if type(first) is np.ndarray and first.dtype in _FAST_DTYPES:
        dtype = first.dtype
        for value in values:
            if type(value) is not np.ndarray or value.dtype != dtype or not value.flags.carray:
                break
        else:
            return values, None
    arrays = [_real_array(name, value) for name, value in arguments.items()]
    common = np.result_type(*(array.dtype for array in arrays))
    if common.kind != "f":
        common = np.dtype(np.float64)
    compute = np.dtype(np.float32) if common == _HALF else common.newbyteorder("=")
    return [contiguous(array, compute) for array in arrays], _HALF if common == _HALF else None


def as_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array of its own dtype.

    Raises ValueError, naming the argument, where rows differ in length or values are masked.
    """
    require_unmasked(name, value)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{name}: expected an array, got {type(value).__name__} with parts of different shapes"
        ) from error


def require_unmasked(name: str, value: Any) -> None:
    """ValueError for an array, or a list of arrays, with masked values, which NumPy would take for ordinary ones."""
    if _is_masked(value):
        raise ValueError(f"{name}: expected an array without masked values; {name}.filled(number) replaces them")
    if isinstance(value, (list, tuple)) and _holds_masked(value):
        raise ValueError(f"{name}: expected arrays without masked values; their filled(number) replaces them")


def _is_masked(value: Any) -> bool:
    # Not by its class, whose module NumPy may import only once it is asked for.
    return isinstance(value, np.ndarray) and type(value) is not np.ndarray and bool(np.any(getattr(value, "mask", 0)))


def _holds_masked(parts: Sequence[Any]) -> bool:
    """Whether a list, or one within it, has an array with masked values."""
    # By the few types first: most lists are long and hold numbers, or lists of numbers.
    kinds = set(map(type, parts)) - {np.ndarray}
    if not any(issubclass(kind, (np.ndarray, list, tuple)) for kind in kinds):
        return False
    return any(_holds_masked(part) if isinstance(part, (list, tuple)) else _is_masked(part) for part in parts)


def _real_array(name: str, value: Any) -> np.ndarray:
    array = as_array(name, value)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name}: expected an array of floats, integers or booleans, got dtype {array.dtype}")
    return array


def contiguous(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` itself if it is a plain C-contiguous, aligned, writable array of `dtype`, else a copy that is."""
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array
    return np.array(array, dtype=dtype, order="C", subok=False)


def labels(y: Any, n: int, classes: int, name: str = "y") -> np.ndarray:
    """Class labels y (n,) as int64, each known to lie in [0, classes)."""
    array = class_labels(name, y)
    if array.shape != (n,):
        raise ValueError(f"{name}: expected shape {(n,)}, one label per row of x, got {array.shape}")
    if n > 0:
        low, high = array.min(), array.max()
        if low < 0 or high >= classes:
            raise ValueError(
                f"{name}: expected labels from 0 to {classes - 1} for {classes} columns of scores, got {low} to {high}"
            )
    return contiguous(array, np.dtype(np.int64))


def class_labels(name: str, y: Any, *, whole_floats: bool = False) -> np.ndarray:
    """Class labels as an array of integers, by position.

    Raises TypeError for what is neither integer nor boolean, nor whole floats where these are allowed, and
    ValueError for a column of labels or one-hot rows.
    """
    array = as_array(name, y)
    if whole_floats and array.dtype.kind == "f" and np.array_equal(array, np.rint(array)):
        array = array.astype(np.int64)
    if array.dtype.kind == "b":
        # A bool may hold any byte; NumPy takes all but 0 for true.
        array = (array != 0).astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integer labels, got dtype {array.dtype}{_advice(name, array)}")
    if array.ndim == 2 and array.shape[1] == 1:
        raise ValueError(f"{name}: expected shape ({len(array)},), got {array.shape}; {name}.ravel() makes it that")
    if array.ndim == 2 and array.size > 0 and np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all():
        raise ValueError(
            f"{name}: expected integer labels of shape ({len(array)},), got one-hot rows {array.shape}; "
            f"{name}.argmax(axis=1) makes labels of them"
        )
    return array


def _advice(name: str, array: np.ndarray) -> str:
    """How labels are made of an array of another dtype."""
    if array.dtype.kind in "USO":
        return f"; np.unique({name}, return_inverse=True) makes labels of words"
    if array.dtype.kind != "f" or array.size == 0:
        return ""
    if array.ndim == 2 and array.shape[1] > 1 and np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all():
        return f"; {name}.argmax(axis=1) makes labels of one-hot rows"
    with np.errstate(invalid="ignore"):
        whole = np.array_equal(array, np.rint(array))
    if whole:
        return f"; {name}.astype(int) makes labels of whole numbers"
    return "; for targets that are numbers choose another loss"


def by_position(name: str, value: Any) -> Any:
    """A table or a list as an array, by position; what NumPy indexes by itself as it is.

    Raises ValueError for a sparse matrix or masked values, and TypeError where columns hold no numbers.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray):
        require_unmasked(name, value)
        return value
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise ValueError(f"{name}: expected an array, got a sparse {type(value).__name__}; {name}.toarray() makes one")
    module = type(value).__module__.partition(".")[0]
    if isinstance(value, (list, tuple, range)) or module in ("pandas", "polars", "pyarrow", "modin", "cudf"):
        array = as_array(name, value)
        if array.dtype.kind == "O" and array.ndim == 2:
            columns = [str(column) for column in getattr(value, "columns", range(array.shape[1]))]
            others = [column for column, cells in zip(columns, array.T, strict=False) if not _all_real(cells)]
            if others:
                raise TypeError(f"{name}: expected numbers, got columns {', '.join(map(repr, others[:10]))} of others")
            array = array.astype(np.float64)
        return array
    return value


def names_of(table: Any) -> list[str] | None:
    """The names of a table's columns; None for an array, and for a table whose columns have numbers for names."""
    names = list(getattr(table, "columns", ()))
    return names if names and all(isinstance(name, str) for name in names) else None


def require_columns(name: str, table: Any, expected: list[str], whose: str) -> None:
    """ValueError for a table with as many named columns as expected, but others or in another order."""
    found = names_of(table)
    if found is None or len(found) != len(expected) or found == expected:
        return
    got, wanted = next(pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1])
    raise ValueError(
        f"{name}: expected the columns of {whose} in their order, got {got!r} in the place of {wanted!r}; "
        f"{name}.to_numpy() goes by position"
    )


def _all_real(cells: np.ndarray) -> bool:
    return all(isinstance(cell, (numbers.Real, np.bool_)) for cell in cells)


def require_shape(name: str, array: np.ndarray, shape: tuple[int, ...], reason: str) -> None:
    """ValueError that names both shapes unless `array` has `shape`."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape} ({reason}), got {array.shape}")


def require_ndim(name: str, array: np.ndarray, ndim: int, form: str) -> None:
    """ValueError unless `array` has `ndim` axes; `form` writes them out."""
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected shape {form}, got {array.shape}")


def require_mapping(name: str, value: Any) -> None:
    """TypeError unless `value` is a dictionary, one that can be changed."""
    if not isinstance(value, MutableMapping):
        raise TypeError(f"{name}: expected a dictionary, got {type(value).__name__}")


def require_path(name: str, value: Any) -> None:
    """TypeError unless `value` is a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, got {value!r:.80}")


def require_bool(name: str, value: Any) -> None:
    """TypeError unless `value` is true or false itself: "no" would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r:.80}")


def number(name: str, value: Any) -> float:
    """A real scalar as a Python float, which takes the dtype of the arrays it is combined with."""
    if type(value) is float:
        # Nearly every caller has a float: the test against an abstract class below takes longer than a small update.
        return value
    scalar = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(scalar, bool) or not isinstance(scalar, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        return float(scalar)
    except OverflowError:
        raise ValueError(f"{name}: expected a number within float64's range, got an integer beyond it") from None


def not_nan(name: str, value: Any) -> float:
    """A real scalar as :func:`number` returns it; ValueError if it is NaN."""
    scalar = number(name, value)
    if math.isnan(scalar):
        raise ValueError(f"{name}: expected a number, got nan")
    return scalar


def checked_reg(reg: Any) -> float:
    """An L2 strength as a float; an error that names it unless it is a finite number."""
    value = number("reg", reg)
    if not math.isfinite(value):
        raise ValueError(f"reg: expected a finite number, got {reg}")
    return value


def stacklevel_outside() -> int:
    """The stacklevel by which a warning of the caller's points to the line, outside this package, that called into it.

    As ``skip_file_prefixes`` of ``warnings.warn`` does it from Python 3.12 on.
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


def cast(result: Any, dtype: np.dtype | None) -> Any:
    """A result, or each of a tuple of results, in `dtype`; unchanged where that is None."""
    if dtype is None:
        return result
    if isinstance(result, tuple):
        return tuple(cast(part, dtype) for part in result)
    return result.astype(dtype)
