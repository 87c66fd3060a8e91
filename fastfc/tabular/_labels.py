"""Classes as they were in the target's column: integers, numbers, booleans or texts; a model's file has their texts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastfc.formats.table_choice import is_code, whole_number
from fastfc.formats.table_text import kind_of, number_of
from fastfc.tabular._pandas import pandas

__all__ = ["LABELS", "kind_of_texts", "kind_of_values", "labels_of", "places_of"]

_BOOLEANS = {"true": True, "false": False}

#: The kinds of labels -> how a class's text becomes its label.
LABELS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "decimal": float,
    "boolean": lambda text: _BOOLEANS[text.casefold()],
    "text": str,
}
# pandas's names of the kinds that values have.
_OF_PANDAS = {"integer": "integer", "floating": "decimal", "mixed-integer-float": "decimal", "boolean": "boolean"}


def kind_of_values(series: Any) -> str:
    """The kind of the labels in a frame's column."""
    pd = pandas()
    _, found = pd.factorize(series)
    return _OF_PANDAS.get(pd.api.types.infer_dtype(np.asarray(found, object), skipna=True), "text")


def kind_of_texts(names: Sequence[str]) -> str:
    """The kind of the labels of a text table, as pandas reads them; codes such as 007 are texts."""
    kinds = {kind_of(name, ".") for name in names}
    if kinds == {"boolean"}:
        return "boolean"
    if kinds == {"integer"}:
        return "integer" if all(whole_number(name) is not None for name in names) else "text"
    return "decimal" if kinds <= {"integer", "decimal"} and not any(map(is_code, names)) else "text"


def labels_of(kind: str, names: Sequence[str]) -> np.ndarray:
    """The labels (C,) of classes; ValueError or KeyError for a name that is none of its kind."""
    return np.array([LABELS[kind](name) for name in names])


def places_of(texts: Sequence[str], kind: str, names: Sequence[str]) -> list[int]:
    """The place of each label's text among the classes, -1 where it is none of them.

    Where the labels have values, these count and not how they are written: with a missing value in the column, pandas
    writes 1.0 for 1.
    """
    place: dict[Any, int] = {name: i for i, name in enumerate(names)}
    value: Callable[[str], Any] = str.casefold
    if kind in ("integer", "decimal"):
        value = partial(number_of, decimal=".")
    of_value = {} if kind == "text" else {value(name): i for i, name in enumerate(names)}
    return [place.get(text, of_value.get(value(text), -1)) for text in texts]
