"""The cells of a column of dates: read by the column's format, and otherwise where there is one reading only."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastfc.tabular._cells import texts_of
from fastfc.tabular._pandas import pandas

__all__ = ["DATE_PARTS", "are_dates", "date_part", "dates_of"]

#: The features of a date -> pandas's names of them.
DATE_PARTS = {"year": "year", "month": "month", "day": "day", "weekday": "day_of_week", "hour": "hour"}

_TIMES = ("", " %H:%M", " %H:%M:%S")
# No day and month can be taken for each other where the year comes first, in 8 digits if it is a year of our time.
_YEAR_FIRST = re.compile(r"\d{4}([-/])\d{1,2}\1\d{1,2}([ T].*)?|(19|20)\d{6}", re.ASCII)
_READINGS = ["%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y"]
_READINGS += ["%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y"]


def are_dates(texts: Iterable[str], form: str | None) -> bool:
    """Whether all texts are dates of a format of ``strptime``, or of ISO 8601 for None."""
    return not _read(texts, form).isna().any()


def dates_of(series: Any, form: str | None) -> tuple[Any, list[str]]:
    """A column's dates, datetime64 without time zone and NaT where there is none, and the texts that are none.

    Of dates with a time zone they are those of UTC, so that one moment is one date, however it is written.

    `form` is the column's format, as in :func:`are_dates`. A text of another one is a date too if it cannot be taken
    for two: the same with or without a time, the year first, names of months, or a day above 12.
    """
    pd = pandas()
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return pd.to_datetime(series, utc=True).dt.tz_localize(None).reset_index(drop=True), []
    texts, codes = texts_of(series)
    found = _read(texts, form)
    others = np.flatnonzero(found.isna())
    if len(others):
        found = found.where(found.notna(), _read_otherwise(texts[others], form).set_axis(others))
    odd = [text for text, is_odd in zip(texts, found.isna(), strict=True) if is_odd]
    return found.reindex(np.where(codes < 0, len(found), codes)).reset_index(drop=True), odd


def date_part(dates: Any, part: str) -> np.ndarray:
    """One of `DATE_PARTS` of dates, float64 (N,), NaN where there is no date."""
    return getattr(dates.dt, DATE_PARTS[part]).to_numpy(np.float64, na_value=np.nan)


def _read(texts: Iterable[str], form: str | None) -> Any:
    """Dates without time zone, NaT for a text that is not of the format."""
    pd = pandas()
    found = pd.to_datetime(pd.Series(list(texts), dtype=object), format=form or "ISO8601", errors="coerce", utc=True)
    return found.dt.tz_localize(None)


def _read_otherwise(texts: np.ndarray, form: str | None) -> Any:
    """Dates of texts that are not of the column's format, NaT where there is none or more than one."""
    year_first = np.array([_YEAR_FIRST.fullmatch(text) is not None for text in texts])
    found = _read(texts, None).where(year_first)
    if form is not None:
        # The column's own order of day and month decides, whatever time comes after it.
        for time in _TIMES:
            found = found.where(found.notna(), _read(texts, form.partition(" ")[0] + time))
    clear = found.notna()
    for reading in (date + time for date in _READINGS for time in _TIMES):
        dates = _read(texts, reading)
        two = ~clear & found.notna() & dates.notna() & (found != dates)
        found = found.where(found.notna(), dates).where(~two)
        # A third reading is not to fill the gap.
        clear |= two
    return found
