"""The cells of one column of a frame, as texts and as numbers."""

import re
from typing import Any

import numpy as np

from fastfc.formats.table_text import kind_of, number_of
from fastfc.tabular._pandas import pandas

__all__ = [
    "BOOLEANS",
    "DATE_PARTS",
    "booleans_of",
    "date_part",
    "dates_of",
    "is_numeric",
    "looks_numeric",
    "numbers_of",
    "numbers_otherwise",
    "texts_of",
]

#: Words, in lower case, that are booleans, in pairs.
BOOLEANS = ({"true": 1.0, "false": 0.0}, {"yes": 1.0, "no": 0.0}, {"y": 1.0, "n": 0.0}, {"t": 1.0, "f": 0.0})

#: The features of a date -> pandas's names of them.
DATE_PARTS = {"year": "year", "month": "month", "day": "day", "weekday": "day_of_week", "hour": "hour"}

_CODE = re.compile(r"[+-]?0\d+", re.ASCII)
# Numbers in groups of thousands, with a decimal comma, or beside a sign of currency, percent or a unit.
_OTHERWISE = re.compile(
    r"[€$£¥]?\s?[+-]?(0|[1-9]\d*)([.,'\s]\d{3})*([.,]\d+)?(\s?[%€$£¥]|\s[a-zA-Zµ°]{1,3})?", re.ASCII
)


def is_numeric(series: Any) -> bool:
    """Whether a column has a dtype of real numbers, which booleans are not."""
    types = pandas().api.types
    return types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype)


def texts_of(series: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column's distinct texts and each row's place among them, -1 where a value is missing.

    Whole numbers are written without a point, whatever their dtype, so that 2 and 2.0 are one text.
    """
    try:
        codes, found = pandas().factorize(series)
    except TypeError as error:
        raise ValueError(f"column {series.name!r}: expected numbers, texts, dates or booleans ({error})") from error
    texts = [_text(value) for value in found]
    places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    of_found = np.array([places[text] for text in texts] + [-1], np.int64)
    return np.array(list(places), object), of_found[codes]


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def numbers_of(series: Any) -> tuple[np.ndarray, list[str]]:
    """A column's numbers, float64 (N,), NaN where there is none, and the texts that are none."""
    if is_numeric(series):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(values), values, np.nan), []
    texts, codes = texts_of(series)
    found = [number_of(text, ".") for text in texts]
    odd = [text for text, number in zip(texts, found, strict=True) if number is None or not np.isfinite(number)]
    # The last one is for missing values, whose code is -1.
    numbers = np.array([np.nan if number is None else number for number in found] + [np.nan])
    return np.where(np.isfinite(numbers), numbers, np.nan)[codes], odd


def looks_numeric(texts: np.ndarray) -> bool:
    """Whether texts are numbers, all of them but a twentieth; codes such as 007 are none."""
    if any(_CODE.fullmatch(text) for text in texts):
        return False
    numbers = sum(kind_of(text, ".") in ("integer", "decimal") for text in texts)
    return numbers > 0 and len(texts) - numbers <= len(texts) // 20


def numbers_otherwise(texts: np.ndarray) -> str | None:
    """One of the texts, if they are categories but look like numbers that are written otherwise; else None."""
    if not len(texts) or not all(_OTHERWISE.fullmatch(text) for text in texts):
        return None
    return next((str(text) for text in texts if not str(text).isdigit()), None)


def booleans_of(series: Any) -> tuple[np.ndarray, list[str]]:
    """A column's booleans as 1 and 0, float64 (N,), NaN where there is none, and the texts that are none."""
    texts, codes = texts_of(series)
    words = {word: value for pair in BOOLEANS for word, value in pair.items()} | {"1": 1.0, "0": 0.0}
    found = [words.get(text.casefold(), np.nan) for text in texts]
    odd = [text for text, value in zip(texts, found, strict=True) if np.isnan(value)]
    return np.array([*found, np.nan])[codes], odd


def dates_of(series: Any, form: str | None) -> tuple[Any, list[str]]:
    """A column's dates, datetime64 without time zone and NaT where there is none, and the texts that are none.

    `form` is a format of ``strptime``; None for dates as ISO 8601 writes them.
    """
    pd = pandas()
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return (series.dt.tz_localize(None) if series.dt.tz is not None else series).reset_index(drop=True), []
    texts, codes = texts_of(series)
    found = pd.to_datetime(pd.Series(list(texts), dtype=object), format=form or "ISO8601", errors="coerce", utc=True)
    found = found.dt.tz_localize(None)
    odd = [text for text, is_odd in zip(texts, found.isna(), strict=True) if is_odd]
    return found.reindex(np.where(codes < 0, len(found), codes)).reset_index(drop=True), odd


def date_part(dates: Any, part: str) -> np.ndarray:
    """One of `DATE_PARTS` of dates, float64 (N,), NaN where there is no date."""
    return getattr(dates.dt, DATE_PARTS[part]).to_numpy(np.float64, na_value=np.nan)
