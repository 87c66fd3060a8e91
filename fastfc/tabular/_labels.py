"""Classes as they were in the target's column: integers, numbers, booleans or texts; a model's file has their texts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastfc.formats.table_text import kind_of
from fastfc.tabular._pandas import pandas

__all__ = ["LABELS", "kind_of_texts", "kind_of_values", "labels_of"]

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
    """The kind of the classes of a text table, as pandas reads them; codes such as 007 are texts."""
    kinds = {kind_of(name, ".") for name in names}
    if kinds == {"integer"}:
        return "integer" if all(str(int(name)) == name for name in names) else "text"
    kind = "boolean" if kinds == {"boolean"} else "decimal" if kinds <= {"integer", "decimal"} else "text"
    # TRUE and true, or 1 and 1.0, are classes of their own.
    return kind if len(set(labels_of(kind, names).tolist())) == len(names) else "text"


def labels_of(kind: str, names: Sequence[str]) -> np.ndarray:
    """The labels (C,) of classes; ValueError or KeyError for a name that is none of its kind."""
    return np.array([LABELS[kind](name) for name in names])
