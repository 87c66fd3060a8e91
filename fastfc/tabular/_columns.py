"""Columns of a table: what each has, told from its values, and how it becomes features.

A column's description is a dictionary of plain values, which a model's file holds as JSON:

- ``name``, and ``kind``: number, boolean, date or category;
- of numbers and booleans ``fill``, the median, which stands in for missing values;
- of dates ``format`` (None for ISO 8601), ``parts``, and ``fill``, the parts' medians;
- of categories ``levels``, those with a feature each, and ``other``, whether the rest share one;
- ``missing``, whether a feature tells that a value was missing.
"""

import re
from collections import Counter
from typing import Any

import numpy as np

from fastfc.formats.table_look import ENOUGH_ROWS, is_id_name
from fastfc.tabular._cells import (
    BOOLEANS,
    booleans_of,
    is_numeric,
    looks_numeric,
    numbers_of,
    texts_of,
)
from fastfc.tabular._dates import DATE_PARTS, are_dates, date_part, dates_of
from fastfc.tabular._pandas import pandas

__all__ = ["MOST_LEVELS", "describe", "fault_of", "fitted", "kind_of_column"]

#: Categories of a column that get a feature of their own, and the rows that each must have.
MOST_LEVELS, FEWEST_ROWS = 50, 3
_FORMATS = (None, "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y/%m/%d", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M")


def kind_of_column(series: Any) -> tuple[str, str | None]:
    """The kind of a column's values, and of dates their format."""
    types = pandas().api.types
    if types.is_bool_dtype(series.dtype):
        return "boolean", None
    if is_numeric(series):
        return "number", None
    if types.is_datetime64_any_dtype(series.dtype):
        return "date", None
    texts, _ = texts_of(series)
    words = {text.casefold() for text in texts}
    if any(words and words <= pair.keys() for pair in BOOLEANS):
        return "boolean", None
    if isinstance(series.dtype, pandas().CategoricalDtype):
        return "category", None
    if looks_numeric(texts):
        return "number", None
    if len(texts) and all(re.search(r"\d", text) for text in texts[:100]):
        for form in _FORMATS:
            if are_dates(texts, form):
                return "date", form
        # Dates of several formats, such as after one table was appended to another.
        if all(not dates_of(series.iloc[:rows], None)[1] for rows in (ENOUGH_ROWS, len(series))):
            return "date", None
    return "category", None


def fault_of(series: Any, kind: str) -> str | None:
    """Why a column is no feature; None if it is one."""
    rows = int(series.notna().sum())
    if rows == 0:
        return "it is empty"
    distinct = int(series.nunique())
    if distinct == 1 and rows == len(series):
        return f"it has {str(series.iloc[0])!r:.40} in each row"
    if len(series) < ENOUGH_ROWS:
        return None
    if kind == "category":
        if distinct == rows:
            return f"it has another text in each of {rows} rows, an id most likely"
        if distinct > MOST_LEVELS and 2 * distinct > rows:
            return f"it has {distinct} different texts in {rows} rows, few of them twice"
    if kind == "number" and distinct == len(series):
        numbers, _ = numbers_of(series)
        if np.isfinite(numbers).all() and (numbers == np.round(numbers)).all():
            if (np.diff(numbers) == 1).all():
                return "it counts the rows"
            if is_id_name(str(series.name)):
                return f"it has another whole number in each of {rows} rows and the name of an id"
    return None


def describe(frame: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Describe the columns of a frame, and tell which are no features, with the reason."""
    columns, left_out = [], {}
    for name in frame.columns:
        kind, form = kind_of_column(frame[name])
        fault = fault_of(frame[name], kind)
        if fault is None:
            columns.append({"name": name, "kind": kind} | ({"format": form} if kind == "date" else {}))
        else:
            left_out[name] = fault
    return columns, left_out


def fitted(column: dict[str, Any], series: Any) -> dict[str, Any]:
    """A column's description with what the rows to train on tell: medians, categories, missing values."""
    if column["kind"] == "category":
        return column | _fitted_category(series)
    if column["kind"] == "date":
        dates, _ = dates_of(series, column["format"])
        hours = bool((dates.dropna().dt.hour != 0).any())
        parts = [part for part in DATE_PARTS if part != "hour" or hours]
        fill = {part: _median(date_part(dates, part)) for part in parts}
        return column | {"parts": parts, "fill": fill, "missing": bool(dates.isna().any())}
    numbers, _ = (numbers_of if column["kind"] == "number" else booleans_of)(series)
    return column | {"fill": _median(numbers), "missing": bool(np.isnan(numbers).any())}


def _fitted_category(series: Any) -> dict[str, Any]:
    texts, codes = texts_of(series)
    counts = Counter(
        dict(zip(texts.tolist(), np.bincount(codes[codes >= 0], minlength=len(texts)).tolist(), strict=True))
    )
    frequent = [text for text, count in counts.most_common(MOST_LEVELS) if count >= FEWEST_ROWS]
    if len(counts) == 2:
        frequent = list(counts)
    return {
        "levels": sorted(frequent),
        "other": len(frequent) < sum(count > 0 for count in counts.values()),
        "missing": bool((codes < 0).any()),
    }


def _median(numbers: np.ndarray) -> float:
    known = numbers[~np.isnan(numbers)]
    return float(np.median(known)) if len(known) else 0.0
