"""The text of tables: packed files, encodings, separators, lines, and the kinds of cells."""

import codecs
import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fastfc.formats.npz import check_declared

__all__ = [
    "Dialect",
    "Head",
    "Record",
    "checked_encoding",
    "find_dialect",
    "first_records",
    "has_table_suffix",
    "head_of",
    "is_missing",
    "kind_of",
    "not_decoded",
    "number_of",
    "opened",
    "records",
    "shown",
    "text_lines",
]

SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
Record = tuple[int, list[str]]  # the number of its (last) line, and its cells without blanks around them

# ------------------------------------------------------------------------------------------------ bytes

_GZIP_MAGIC = b"\x1f\x8b"
# From longer to shorter: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD_BYTES = 2**20


def has_table_suffix(path: Path) -> bool:
    """Whether a file's name says that it is a text table, plain or packed by gzip."""
    return path.name.casefold().removesuffix(".gz").endswith(SUFFIXES)


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, refused as soon as it is larger than any sensible table."""

    def __init__(self, file: BinaryIO, stored: int, path: Path) -> None:
        self._content = gzip.GzipFile(fileobj=file)
        self._stored, self._path, self._total = stored, path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._content.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{self._path} is a truncated or damaged gzip file: {error}") from error
        self._total += count
        check_declared(4 * self._total, self._stored, self._path)
        return count


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for its bytes, unpacked; its size is checked against what can come of it."""
    with open(path, "rb") as file:
        stored = os.fstat(file.fileno()).st_size
        if file.peek(2)[:2] == _GZIP_MAGIC:
            yield io.BufferedReader(_Unpacked(file, stored, path), _HEAD_BYTES)
        else:
            check_declared(4 * stored, stored, path)  # two characters, "1,", become a float64
            yield file


def checked_encoding(encoding: str) -> str:
    """Return an encoding's usual name.

    Raises
    ------
    ValueError
        If Python knows no such encoding of text.
    """
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError, TypeError) as error:
        raise ValueError(
            f"encoding={encoding!r} (--encoding): expected the name of an encoding, such as utf-8, cp1252 or utf-16"
        ) from error


class Head(NamedTuple):
    """The beginning of a table."""

    text: str
    encoding: str
    whole: bool  # whether this is all of it


def head_of(path: Path, encoding: str | None) -> Head:
    """Read a table's first lines, and find its encoding: what the caller says, its mark, or UTF-8."""
    with opened(path) as file:
        start = file.read(4)
        marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
        if encoding is None:
            encoding = marked or "utf-8"
        elif encoding == "utf-8" and marked == "utf-8-sig":
            encoding = marked
        raw = start + file.read(_HEAD_BYTES - len(start)) + file.readline()
        whole = not file.peek(1)
        if marked is None and encoding == "utf-8" and raw.count(b"\0") > len(raw) // 8:
            order = "utf-16-be" if raw[:1] == b"\0" else "utf-16-le"
            raise ValueError(
                f"{path} is not text in UTF-8: every other byte is zero, as in UTF-16 without its mark; "
                f"it is read with encoding={order!r} (--encoding {order})"
            )
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            text = decoder.decode(raw, final=whole)
        except UnicodeDecodeError as error:
            raise not_decoded(path, encoding, error, 1 + raw[: error.start].count(b"\n")) from error
        if not whole:  # UTF-16 is cut anywhere
            text = text[: text.rfind("\n") + 1] or text
        return Head(text, encoding, whole)


def not_decoded(path: Path, encoding: str, error: UnicodeDecodeError, line: int | None = None) -> ValueError:
    """The error for bytes that are no text in an encoding."""
    byte = error.object[error.start]
    place = "" if line is None else f" in line {line}"
    if encoding in ("utf-8", "utf-8-sig"):
        return ValueError(
            f"{path} is not text in UTF-8: byte 0x{byte:02x}{place}; a table from a spreadsheet on Windows is most "
            "likely read with encoding='cp1252' (--encoding cp1252)"
        )
    return ValueError(f"{path} is not text in {encoding}: {error.reason}, byte 0x{byte:02x}{place}")


def text_lines(file: BinaryIO, encoding: str) -> io.TextIOWrapper:
    """A file's lines with their ends, which may be of any kind."""
    return io.TextIOWrapper(file, encoding, newline="")


# ----------------------------------------------------------------------------------------------- records


class Dialect(NamedTuple):
    """How a table is written."""

    separator: str  # " ": any blanks
    decimal: str
    skipped: int  # lines before the table: a spreadsheet's "sep=;"


def records(
    lines: Iterable[str], separator: str, path: Path, before: int = 0, *, blank: bool = False
) -> Iterator[Record]:
    """Yield the lines' cells, without lines that have none; `before` is how many lines came before.

    With `blank` there are those of rows whose cells are all empty, too.
    """
    blanks = " \t\r\n" if separator != "\t" else " \r\n"
    trimmed = (line.rstrip(blanks) + "\n" for line in lines)
    if separator == " ":
        trimmed = (" ".join(line.split()) + "\n" for line in trimmed)
    rows = csv.reader(trimmed, delimiter=separator, strict=True, skipinitialspace=separator != "\t")
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells) or (blank and cells):
                yield before + rows.line_num, cells
    except csv.Error as error:
        raise ValueError(f"{path}, line {before + rows.line_num}: {error}") from error


_CANDIDATES = ("\t", ";", "|", ",")  # a comma last: it can be decimal
_SEP_LINE = re.compile(r'"?sep=(.)"?[ ,;\t]*\r?\n?', re.IGNORECASE)
_LOOKED_AT = 100  # lines for the separator
# How much is looked at of a table's rows: enough to tell its columns, in little time for a wide one.
_MOST_ROWS, _FEWEST_ROWS, _MOST_CELLS = 1000, 100, 50_000


def find_dialect(head: Head, path: Path, separator: str | None, decimal: str | None) -> Dialect:
    """Find out how a table is written, as far as the caller does not say.

    Raises
    ------
    ValueError
        If an option is none, or commas can be read in two ways.
    """
    if separator is not None and (len(separator) != 1 or separator in '"\r\n.' or separator.isalnum()):
        raise ValueError(f"separator={separator!r} (--separator): expected one character that no number or name has")
    if decimal not in (None, ".", ","):
        raise ValueError(f"decimal={decimal!r} (--decimal): expected '.' or ','")
    first = head.text.partition("\n")[0]
    sep_line = _SEP_LINE.fullmatch(first)
    skipped = 1 if sep_line else 0
    lines = list(islice(io.StringIO(head.text, newline=""), skipped, skipped + _LOOKED_AT))
    lines = [line for i, line in enumerate(lines) if not (line.startswith("#") and i + 1 < len(lines))] or lines
    if separator is None:
        separator = sep_line.group(1) if sep_line else _find_separator(lines, path)
    if decimal is None:
        decimal = _find_decimal(lines, separator, path)
    return Dialect(separator, decimal, skipped)


def first_records(head: Head, dialect: Dialect, path: Path) -> list[Record]:
    """The first records of a table, up to one that is damaged, or that the head cuts.

    Raises
    ------
    ValueError
        If it has none.
    """
    lines = islice(io.StringIO(head.text, newline=""), dialect.skipped, None)
    found: list[Record] = []
    try:
        cells = 0
        for record in records(lines, dialect.separator, path, dialect.skipped):
            found.append(record)
            cells += len(record[1])
            if len(found) == _MOST_ROWS or (cells > _MOST_CELLS and len(found) >= _FEWEST_ROWS):
                break
    except ValueError:
        if not found:
            raise
    if not found:
        raise ValueError(f"{path} is empty")
    return found


def _cells_by(separator: str, lines: list[str], path: Path) -> list[list[str]]:
    """The lines' cells, as far as they can be read with a separator."""
    rows: list[list[str]] = []
    try:
        for _, cells in records(lines, separator, path):
            rows.append(cells)
    except ValueError:
        # A line that is cut, or damaged: it is told of when the table is read.
        return rows
    return rows


def _find_separator(lines: list[str], path: Path) -> str:
    best, chosen = (0.0, 0.0, 0.0), ""
    for separator in _CANDIDATES:
        rows = _cells_by(separator, lines, path)
        widths = Counter(len(row) - (len(row) > 1 and not row[-1]) for row in rows)
        if not widths:
            continue
        (width, count), *_ = widths.most_common(1)
        if width < 2 and max(widths) < 2:
            continue
        cells = [cell for row in rows for cell in row if cell]
        numbers = sum(kind_of(cell, ".") in _NUMBERS or kind_of(cell, ",") in _NUMBERS for cell in cells)
        agreement = count / len(rows) if width > 1 else 0.0
        score = float(agreement == 1), numbers / len(cells), agreement
        if score > best or not chosen:
            best, chosen = score, separator
    if chosen:
        return chosen
    rows = _cells_by(" ", lines, path)
    return " " if rows and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1 else ","


_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
# Behind groups of thousands, a comma can only be decimal.
_BEHIND_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+,\d+", re.ASCII)


def _find_decimal(lines: list[str], separator: str, path: Path) -> str:
    cells = dict.fromkeys(cell for row in _cells_by(separator, lines, path) for cell in row)
    commas = [cell for cell in cells if "," in cell and kind_of(cell, ",") in _NUMBERS]
    points = [cell for cell in cells if kind_of(cell, ".") == "decimal"]
    if not points and any(map(_BEHIND_GROUPS.fullmatch, cells)):
        return ","
    if not commas:
        return "."
    if points:
        raise ValueError(
            f"{path} has numbers with commas and with points, such as {commas[0]!r} and {points[0]!r}; decimal='.' or "
            "decimal=',' (--decimal) says which are decimal"
        )
    if all(_THOUSANDS.fullmatch(cell) for cell in commas):
        ways = f"{commas[0].replace(',', '')} or {commas[0].replace(',', '.', 1)}"
        raise ValueError(
            f"{path}: {commas[0]!r} can be {ways}; decimal=',' (--decimal ,) says that commas are decimal; else write "
            "numbers without separators of thousands"
        )
    return ","


# ------------------------------------------------------------------------------------------- kinds of cells

_NUMBERS = ("integer", "decimal")
# ASCII digits, no underscores, no hexadecimal, neither inf nor nan: as pandas reads numbers.
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DECIMAL = {
    point: re.compile(rf"[+-]?(?:\d+(?:{re.escape(point)}\d*)?|{re.escape(point)}\d+)(?:[eE][+-]?\d+)?", re.ASCII)
    for point in ".,"
}
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}(?:[ T].*)?|\d{1,2}:\d{2}(?::\d{2}.*)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_MISSING = {"", "na", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "+nan", "1.#qnan", "-1.#qnan"}
_MISSING |= {"1.#ind", "-1.#ind", "null", "none", "nil", "nat", "missing", "?", "-", "--", "."}
_MISSING |= {"#value!", "#div/0!", "#ref!", "#num!", "#name?", "#null!"}  # spreadsheets' errors
# Among words these can be classes of their own.
_MISSING_OR_CLASS = frozenset({"none", "-", "missing", "nil"})


def is_missing(cell: str, *, label: bool = False) -> bool:
    """Whether a cell stands for a missing value; as a label, `none` and `-` may be classes."""
    text = cell.casefold()
    return text in _MISSING and not (label and text in _MISSING_OR_CLASS)


def kind_of(cell: str, decimal: str) -> str:
    """The kind of a cell: integer, decimal, boolean, missing, infinite, date or word."""
    if _INTEGER.fullmatch(cell):
        return "integer"
    if _DECIMAL[decimal].fullmatch(cell):
        return "decimal"
    text = cell.casefold()
    if text in _MISSING:
        return "missing"
    if text in ("true", "false"):
        return "boolean"
    if _INFINITE.fullmatch(cell):
        return "infinite"
    return "date" if _DATE.fullmatch(cell) else "word"


def number_of(cell: str, decimal: str) -> float | None:
    """The number that a cell is; None if it is none, infinity for one that float64 cannot hold."""
    return float(cell.replace(",", ".")) if _DECIMAL[decimal].fullmatch(cell) else None


def shown(texts: Iterable[object], most: int = 6) -> str:
    """Some texts for a message: the first few, each cut to a length."""
    texts = list(texts)
    some = ", ".join(f"{text!r:.40}" for text in texts[:most])
    return some if len(texts) <= most else f"{some}, ... ({len(texts)} in all)"
