"""Classes as they were in the target's column: integers, numbers, booleans or texts; a model's file has their texts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastfc.formats.table_choice import is_code, whole_number
from fastfc.formats.table_text import kind_of, number_of
from fastfc.tabular._pandas import pandas

__all__ = ["LABELS", "dtype_of_values", "kind_of_texts", "kind_of_values", "labels_of", "places_of"]

_BOOLEANS = {"true": True, "false": False}

#: The kinds of labels -> how a class's text becomes its label.
LABELS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "decimal": float,
    "boolean": lambda text: _BOOLEANS[text.casefold()],
    "text": str,
}
#: Kinds of labels that have a dtype -> its kind.
_OF_NUMPY = {"integer": "iu", "decimal": "f"}
# pandas's names of the kinds that values have.
_OF_PANDAS = {"integer": "integer", "floating": "decimal", "mixed-integer-float": "decimal", "boolean": "boolean"}


def kind_of_values(series: Any) -> str:
    """The kind of the labels in a frame's column."""
    pd = pandas()
    _, found = pd.factorize(series)
    return _OF_PANDAS.get(pd.api.types.infer_dtype(np.asarray(found, object), skipna=True), "text")


def dtype_of_values(series: Any, kind: str) -> str | None:
    """The name of the dtype of labels of this kind in a frame's column; None for texts and booleans."""
    _, found = pandas().factorize(series)
    array = np.asarray(found)
    if array.dtype == object:
        array = np.array(list(found))
    elif series.dtype == np.float16:
        # pandas finds values of half precision in single precision.
        array = array.astype(np.float16)
    return array.dtype.name if array.dtype.kind in _OF_NUMPY.get(kind, "") else None


def kind_of_texts(names: Sequence[str]) -> str:
    """The kind of the labels of a text table, as pandas reads them; codes such as 007 are texts."""
    kinds = {kind_of(name, ".") for name in names}
    if kinds == {"boolean"}:
        return "boolean"
    if kinds == {"integer"}:
        return "integer" if all(whole_number(name) is not None for name in names) else "text"
    return "decimal" if kinds <= {"integer", "decimal"} and not any(map(is_code, names)) else "text"


def labels_of(kind: str, names: Sequence[str], dtype: str | None = None) -> np.ndarray:
    """The labels (C,) of classes; an error of DAMAGE for a name that is none of its kind, or no such dtype."""
    if dtype is not None and np.dtype(dtype).kind not in _OF_NUMPY[kind]:
        raise ValueError(f"labels of the dtype {dtype!r:.40}")
    return np.array([LABELS[kind](name) for name in names], dtype)


def places_of(texts: Sequence[str], kind: str, names: Sequence[str], dtype: str | None = None) -> list[int]:
    """The place of each label's text among the classes, -1 where it is none of them.

    Where the labels have values, these count and not how they are written: with a missing value in the column, pandas
    writes 1.0 for 1. Values are compared in the dtype of the labels, if it has fewer digits than a text.
    """
    place: dict[Any, int] = {name: i for i, name in enumerate(names)}
    value: Callable[[str], Any] = str.casefold
    if kind in ("integer", "decimal"):
        value = partial(_value, dtype=np.dtype(dtype) if kind == "decimal" and dtype is not None else None)
    of_value = {} if kind == "text" else {value(name): i for i, name in enumerate(names)}
    return [place.get(text, of_value.get(value(text), -1)) for text in texts]


def _value(text: str, dtype: np.dtype | None) -> Any:
    found = number_of(text, ".")
    return found if found is None or dtype is None else dtype.type(found)
