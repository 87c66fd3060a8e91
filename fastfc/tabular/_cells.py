"""The cells of one column of a frame, as texts and as numbers."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastfc.formats.table_text import kind_of, number_of
from fastfc.tabular._pandas import pandas

__all__ = [
    "BOOLEANS",
    "booleans_of",
    "grouped_example",
    "is_numeric",
    "looks_numeric",
    "numbers_of",
    "numbers_otherwise",
    "text_of",
    "texts_of",
]

#: Words, in lower case, that are booleans, in pairs.
BOOLEANS = ({"true": 1.0, "false": 0.0}, {"yes": 1.0, "no": 0.0}, {"y": 1.0, "n": 0.0}, {"t": 1.0, "f": 0.0})

_CODE = re.compile(r"[+-]?0\d+", re.ASCII)
# Numbers in groups of thousands, with a decimal comma, or beside a sign of currency, percent or a unit.
_OTHERWISE = re.compile(
    r"[€$£¥]?\s?[+-]?(0|[1-9]\d*)([.,'\s]\d{3})*([.,]\d+)?(\s?[%€$£¥]|\s[a-zA-Zµ°]{1,3})?", re.ASCII
)


# Groups of thousands that no decimal sign can be taken for: before one, or two of them, or with blanks or apostrophes.
_GROUPED = re.compile(
    r"[+-]?[1-9]\d{0,2}((,\d{3})+\.\d+|(,\d{3}){2,}|(\.\d{3})+,\d+|(\.\d{3}){2,}"
    r"|(?P<sign>[ '\u2019\u00a0\u2009\u202f])\d{3}((?P=sign)\d{3})*([.,]\d+)?)",
    re.ASCII,
)


# A group before a point, where commas are known to be decimal.
_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)


def is_numeric(series: Any) -> bool:
    """Whether a column has a dtype of real numbers, which booleans are not."""
    types = pandas().api.types
    return types.is_numeric_dtype(series.dtype) and not (
        types.is_bool_dtype(series.dtype) or types.is_complex_dtype(series.dtype)
    )


def texts_of(series: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column's distinct texts and each row's place among them, -1 where a value is missing.

    Whole numbers are written without a point, whatever their dtype, so that 2 and 2.0 are one text; others with the
    digits that their dtype needs, 0.7 in float32 too.

    Raises
    ------
    ValueError
        If the column has complex numbers, durations, bytes, or objects that are none of what a table has.
    """
    refused = {"c": "", "m": "; .dt.total_seconds() makes numbers of them"}.get(getattr(series.dtype, "kind", "O"))
    if refused is not None:
        raise ValueError(
            f"column {series.name!r}: expected numbers, texts, dates or booleans, got {series.dtype}{refused}"
        )
    try:
        codes, found = pandas().factorize(series)
    except TypeError as error:
        raise ValueError(f"column {series.name!r}: expected numbers, texts, dates or booleans ({error})") from error
    array = np.asarray(found)
    if array.dtype.kind == "f":
        # An index gives Python's floats, which need more digits than those of the column, and has no half precision.
        found = array.astype(series.dtype) if series.dtype == np.float16 else array
    for value in found:
        if isinstance(value, bytes):
            raise ValueError(
                f"column {series.name!r}: expected texts, got bytes; .str.decode('utf-8') makes texts of them"
            )
        kind = type(value)
        if (kind.__str__, kind.__repr__) == (object.__str__, object.__repr__):
            # Such a text has the object's address, which no other process knows.
            raise ValueError(
                f"column {series.name!r}: expected numbers, texts, dates or booleans, got {kind.__name__} objects"
            )
    texts = [text_of(value) for value in found]
    places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    of_found = np.array([places[text] for text in texts] + [-1], np.int64)
    return np.array(list(places), object), of_found[codes]


def text_of(value: Any) -> str:
    """A value as a text; whole numbers have no point."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _number(text: str) -> float | None:
    """The number that a text is, groups of thousands too; None if it is none, or could be two."""
    text = text.replace("\N{MINUS SIGN}", "-")
    if _GROUPED.fullmatch(text):
        # Of two signs, or of one that is there once, the last is the decimal one.
        last = max(text.rfind("."), text.rfind(","))
        whole, rest = (text[:last], text[last + 1 :]) if last >= 0 and text.count(text[last]) == 1 else (text, "")
        text = re.sub(r"[^-+\d]", "", whole) + "." + rest
    return number_of(text, ".")


def grouped_example(texts: Iterable[str], decimal: str | None = None) -> str | None:
    """A text with groups of thousands and a decimal sign, if there is one and all are numbers with one reading.

    All have the same signs: beside `1.234.567`, `1.234` could be two numbers; and they could be names of versions.
    With a decimal sign that is known, `1.234` is one with groups if commas are decimal.
    """
    example, groups, decimals = None, set(), {decimal} - {None}
    for text in texts:
        number = text.replace("\N{MINUS SIGN}", "-")
        if _GROUPED.fullmatch(number) or (decimal == "," and _BY_POINTS.fullmatch(number)):
            signs = re.findall(r"[^-+\d]", number)
            groups.add(signs[0])
            if signs[-1] != signs[0]:
                example = example or text
                decimals.add(signs[-1])
        elif number_of(number, decimal or ".") is not None and not _CODE.fullmatch(number):
            decimals |= {decimal or "."} & set(number)
        else:
            return None
    return example if len(groups) == 1 and len(decimals) <= 1 and not groups & decimals else None


def numbers_of(series: Any) -> tuple[np.ndarray, list[str]]:
    """A column's numbers, float64 (N,), NaN where there is none, and the texts that are none.

    Booleans are 1 and 0; infinities are no numbers. Groups of thousands are read where they cannot be taken for a
    decimal sign.
    """
    if is_numeric(series) or pandas().api.types.is_bool_dtype(series.dtype):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        odd = [str(value) for value in (np.inf, -np.inf) if (values == value).any()]
        return np.where(np.isfinite(values), values, np.nan), odd
    texts, codes = texts_of(series)
    found = [_number(text) for text in texts]
    odd = [text for text, number in zip(texts, found, strict=True) if number is None or not np.isfinite(number)]
    # The last one is for missing values, whose code is -1.
    numbers = np.array([np.nan if number is None else number for number in found] + [np.nan])
    return np.where(np.isfinite(numbers), numbers, np.nan)[codes], odd


def looks_numeric(texts: np.ndarray) -> bool:
    """Whether texts are numbers, all of them but a twentieth; codes such as 007 are none."""
    if any(_CODE.fullmatch(text) for text in texts):
        return False
    numbers = sum(kind_of(text, ".") in ("integer", "decimal", "infinite") for text in texts)
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
    # 1.0 is what pandas writes where a value is missing in a column of 1 and 0.
    found = [words.get(re.sub(r"^([01])\.0*$", r"\1", text.casefold()), np.nan) for text in texts]
    odd = [text for text, value in zip(texts, found, strict=True) if np.isnan(value)]
    return np.array([*found, np.nan])[codes], odd
