"""Frames as features: columns that are described (see `_columns.py`) become numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfc.formats.table_text import shown
from fastfc.tabular._cells import booleans_of, numbers_of, texts_of
from fastfc.tabular._dates import date_part, dates_of

__all__ = ["encoded", "feature_names", "feature_places", "refuse_too_large"]

Column = dict[str, Any]


def _names(column: Column) -> list[str]:
    """The names of a column's features."""
    name = column["name"]
    if column["kind"] == "category":
        names = [f"{name}={level}" for level in column["levels"]] + [f"{name}: other"] * column["other"]
    elif column["kind"] == "date":
        names = [f"{name}: {part}" for part in column["parts"]]
    else:
        names = [name]
    return names + [f"{name}: missing"] * column["missing"]


def feature_names(columns: Sequence[Column]) -> list[str]:
    """The names of all features, in the order of their columns."""
    return [name for column in columns for name in _names(column)]


def feature_places(columns: Sequence[Column]) -> dict[str, list[int]]:
    """Each column's name -> the numbers of its features."""
    places, start = {}, 0
    for column in columns:
        stop = start + len(_names(column))
        places[column["name"]] = list(range(start, stop))
        start = stop
    return places


def encoded(columns: Sequence[Column], frame: Any) -> tuple[np.ndarray, list[str]]:
    """A frame's features, float64 (N, D), and lines about values that the description does not know.

    Raises
    ------
    ValueError
        If the frame lacks a column.
    """
    absent = [column["name"] for column in columns if column["name"] not in frame.columns]
    if absent:
        raise ValueError(
            f"the table lacks {len(absent)} of the model's {len(columns)} columns: {shown(absent, 12)}; it has "
            f"{shown(frame.columns, 12)}"
        )
    X = np.zeros((len(frame), len(feature_names(columns))))
    notes: list[str] = []
    for column, places in zip(columns, feature_places(columns).values(), strict=True):
        fill = _fill_category if column["kind"] == "category" else _fill_numbers
        note = fill(X[:, places[0] : places[-1] + 1] if places else X[:, :0], column, frame[column["name"]])
        if note:
            notes.append(f"column {column['name']!r}: {note}")
    return X, notes


def refuse_too_large(X: np.ndarray, dtype: Any, columns: Sequence[Column]) -> None:
    """Raise ValueError for features (N, D) beyond the range of a network's dtype, in which they would be infinite."""
    too_large = np.abs(X) > np.finfo(dtype).max
    if not too_large.any():
        return
    row, place = np.argwhere(too_large)[0]
    name = next(name for name, places in feature_places(columns).items() if place in places)
    raise ValueError(f"column {name!r}: expected numbers within the range of {np.dtype(dtype)}, got {X[row, place]:g}")


def _fill_category(out: np.ndarray, column: Column, series: Any) -> str:
    texts, codes = texts_of(series)
    levels = {level: i for i, level in enumerate(column["levels"])}
    # Without a feature for the others, these have no feature at all.
    rest = len(levels) if column["other"] else -1
    of_texts = np.array([levels.get(text, rest) for text in texts] + [-1])
    places = of_texts[codes]
    rows = np.flatnonzero(places >= 0)
    out[rows, places[rows]] = 1
    if column["missing"]:
        out[codes < 0, -1] = 1
    unknown = [text for text in texts if text not in levels]
    if unknown and not column["other"]:
        return f"the model does not know {shown(unknown, 3)}, which get none of its features"
    return _told_missing(codes < 0, column, "they get none of its features")


def _fill_numbers(out: np.ndarray, column: Column, series: Any) -> str:
    if column["kind"] == "date":
        dates, odd = dates_of(series, column["format"])
        parts = [date_part(dates, part) for part in column["parts"]]
        fills = [column["fill"][part] for part in column["parts"]]
    else:
        numbers, odd = (numbers_of if column["kind"] == "number" else booleans_of)(series)
        parts, fills = [numbers], [column["fill"]]
    missing = np.isnan(parts[0])
    for i, (part, fill) in enumerate(zip(parts, fills, strict=True)):
        out[:, i] = np.where(missing, fill, part)
    if column["missing"]:
        out[missing, -1] = 1
    if odd:
        said = "is no {} and counts" if len(odd) == 1 else "are no {}s and count"
        return f"{shown(odd, 3)} {said.format(column['kind'])} as missing"
    return _told_missing(missing, column, "its median stands in")


def _told_missing(missing: np.ndarray, column: Column, consequence: str) -> str:
    """A line about missing values of a column that had none in the training."""
    if column["missing"] or not missing.any():
        return ""
    return f"{int(missing.sum())} values are missing, none was in the training; {consequence}"
