"""Reading a table's rows when it is known what its columns have: lines of numbers by a kernel, others one by one."""

import io
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfc._runtime import settings
from fastfc.backend import get_backend
from fastfc.formats.table_options import MissingCellError, NotNumericError
from fastfc.formats.table_text import (
    Dialect,
    Record,
    is_missing,
    kind_of,
    not_decoded,
    number_of,
    opened,
    records,
    text_lines,
)

__all__ = ["Layout", "Rows", "read_rows"]

Array = NDArray[Any]

_BLOCK_BYTES = 2**20
#: Smaller tables are read in less time than it takes to import Numba for the kernel.
COMPILED_FROM = 8 * 2**20
#: The same where it is imported already.
COMPILED_FROM_AT_HAND = 2**18
_HARD_CELLS = 4096
# Those in which the bytes of ASCII mean ASCII.
_BYTEWISE = ("utf-8", "utf-8-sig", "ascii", "cp125", "iso8859")
_PLAIN = {".": frozenset("0123456789eE+-. \t"), ",": frozenset("0123456789eE+-, \t")}


@dataclass(frozen=True)
class Layout:
    """How a table is written and what its columns have."""

    path: Path
    encoding: str
    dialect: Dialect
    width: int
    start: int  # lines before the first row
    features: Sequence[int]  # the columns of X, in its order
    booleans: frozenset[int]
    empty: frozenset[int]  # columns without a name and without values
    label: int | None
    names: Sequence[str] | None
    trailing: bool  # whether lines end with a separator
    drop_missing: bool
    blank_rows: bool  # whether rows of empty cells count, but for those at the table's end
    text_bytes: int  # about how many the table has
    row_bytes: int  # about how many a row has
    by_lines: bool  # whether each line is a row, and ends with a line feed, as far as can be seen

    def column_name(self, column: int) -> str:
        """For messages: a column's name, if it has one."""
        return f" in column {self.names[column]!r:.80}" if self.names else ""


@dataclass
class Rows:
    """The rows that were read: X (N, D), a code for each row's label, and the labels' texts by code."""

    X: Array
    codes: Array
    texts: list[str]
    lines: list[int]  # where each text stands first
    dropped: Counter[int] = field(default_factory=Counter)  # rows left out, by the column that misses a value


class _MissingError(Exception):
    """A row has no value in a column."""


class _Reader:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.X = np.empty((16 + layout.text_bytes // layout.row_bytes, len(layout.features)))
        self.count = 0
        self.codes = array("q")
        self.seen: dict[str, int] = {}
        self.lines: list[int] = []
        self.dropped: Counter[int] = Counter()
        self.blank: list[int] = []  # lines of the last rows, as long as all their cells are empty

    def room(self, rows: int) -> None:
        """Make room for so many more rows."""
        needed = self.count + rows
        if needed > len(self.X):
            self.X.resize((max(needed, len(self.X) * 3 // 2), self.X.shape[1]), refcheck=False)

    def result(self) -> Rows:
        self.X.resize((self.count, self.X.shape[1]), refcheck=False)
        return Rows(self.X, np.array(self.codes, np.int64), list(self.seen), self.lines, self.dropped)

    # ------------------------------------------------------------------------------------ row by row

    def add(self, found: Iterable[Record]) -> int:
        """Read rows one by one; returns the last one's line."""
        layout = self.layout
        features, width, plain = layout.features, layout.width, _PLAIN[layout.dialect.decimal]
        whole = list(features) == list(range(width))
        decimal_comma = layout.dialect.decimal == ","
        values = array("d")
        rows, line = 0, layout.start
        for line, row in found:
            if not any(row):
                self.blank.append(line)
                continue
            self._count_blank()
            if len(row) != width:
                row = self._fitted(line, row)
            cells = row if whole else [row[i] for i in features]
            joined = "".join(cells)
            try:
                if not plain.issuperset(joined):
                    raise ValueError
                numbers = list(map(float, "|".join(cells).replace(",", ".").split("|") if decimal_comma else cells))
                if np.inf in numbers or -np.inf in numbers:
                    raise ValueError
            except ValueError:
                numbers = []
            try:
                numbers = numbers or [self._value(line, column, row[column]) for column in features]
                code = None if layout.label is None else self._code(line, row[layout.label])
            except _MissingError as missing:
                self.dropped[missing.args[0]] += 1
                continue
            for column in layout.empty:
                if row[column]:
                    self._refuse(line, column, row[column], "nothing, as in the first rows")
            values.extend(numbers)
            rows += 1
            if code is not None:
                self.codes.append(code)
            if len(values) >= 2**16:
                self._store(values, rows)
                values, rows = array("d"), 0
        self._store(values, rows)
        return line

    def _count_blank(self) -> None:
        """Take rows of empty cells for rows without values, as others come after them."""
        for line in self.blank:
            try:
                self._missing(line, self.layout.features[0], "", "a number")
            except _MissingError as missing:
                self.dropped[missing.args[0]] += 1
        self.blank = []

    def _store(self, values: array, rows: int) -> None:
        self.room(rows)
        self.X[self.count : self.count + rows] = np.frombuffer(values).reshape(rows, -1) if rows else 0
        self.count += rows

    def _fitted(self, line: int, row: list[str]) -> list[str]:
        """A row without the empty cells after its last separator."""
        width = self.layout.width
        if len(row) > width and not any(row[width:]):
            return row[:width]
        raise ValueError(f"{self.layout.path}, line {line}: expected {width} columns, found {len(row)}")

    def _refuse(
        self, line: int, column: int, cell: str, expected: str, hint: str = "", kind: type[ValueError] = ValueError
    ) -> NoReturn:
        raise kind(
            f"{self.layout.path}, line {line}, column {column + 1}: expected {expected}, found {cell!r:.60}"
            f"{self.layout.column_name(column)}{hint}"
        )

    def _missing(self, line: int, column: int, cell: str, expected: str) -> NoReturn:
        if self.layout.drop_missing:
            raise _MissingError(column)
        self._refuse(
            line,
            column,
            cell,
            expected,
            ", a missing value; missing='drop' (--missing drop) leaves out the rows that miss one",
            MissingCellError,
        )

    def _value(self, line: int, column: int, cell: str) -> float:
        decimal = self.layout.dialect.decimal
        if is_missing(cell):
            self._missing(line, column, cell, "a number")
        if column in self.layout.booleans:
            if cell.casefold() not in ("true", "false"):
                self._refuse(line, column, cell, "True or False, as in the rows before")
            return float(cell.casefold() == "true")
        number = number_of(cell, decimal)
        if number is None:
            other = "," if decimal == "." else "."
            hint = ""
            if number_of(cell, other) is not None:
                hint = f"; decimal={other!r} (--decimal {other}) if {other!r} is decimal"
            elif kind_of(cell, decimal) == "boolean":
                hint = "; the rows before have numbers"
            self._refuse(line, column, cell, "a number", hint, NotNumericError)
        if abs(number) == np.inf:
            self._refuse(line, column, cell, "a finite number")
        return number

    def _code(self, line: int, text: str) -> int:
        code = self.seen.get(text)
        if code is None:
            assert self.layout.label is not None
            if is_missing(text, label=True):
                self._missing(line, self.layout.label, text, "a label")
            code = self.seen[text] = len(self.seen)
            self.lines.append(line)
        return code

    # ------------------------------------------------------------------------------- blocks, by a kernel

    def add_blocks(self, file: io.BufferedReader) -> None:
        """Read the rest of a file by blocks of lines; those that are not just numbers one by one."""
        from fastfc.kernels.lowering import decimals

        layout = self.layout
        kinds = self._kinds()
        order = np.argsort(layout.features)  # the kernel's columns are the file's
        in_order = bool(np.all(order[:-1] < order[1:]))
        separator, decimal = map(ord, (layout.dialect.separator, layout.dialect.decimal))
        powers, hard = decimals.powers_of_five(), np.empty((_HARD_CELLS, 4), np.int64)
        code_of: dict[bytes, int] = {}
        line = layout.start
        while block := file.read(_BLOCK_BYTES):
            block += file.readline()
            if not block.endswith(b"\n"):
                block += b"\n"
            rows = block.count(b"\n")
            self.room(rows)
            X = self.X[self.count : self.count + rows]
            places = np.empty((rows, 2), np.int64)
            text = np.frombuffer(block, np.uint8)
            count, cells, stop = decimals.read_lines(
                text, separator, decimal, kinds, powers, X, X.view(np.uint64), places, hard
            )
            if count > 0:
                self._count_blank()
            for row, column, start, end in hard[:cells].tolist():
                X[row, column] = self._float(block, start, end, line, layout.features[order[column]])
            if not in_order:
                X[:count, order] = X[:count].copy()
            if layout.label is not None:
                texts = [block[start:end] for start, end in places[:count].tolist()]
                if not code_of.keys() >= set(texts):
                    for raw, start in zip(texts, places[:count, 0].tolist(), strict=True):
                        if raw not in code_of:
                            here = line + block.count(b"\n", 0, start) + 1
                            decoded = self._decoded(raw, here)
                            if is_missing(decoded, label=True) and layout.drop_missing:
                                # From the first such row on, one by one.
                                count = texts.index(raw)
                                stop = block.rfind(b"\n", 0, start) + 1
                                break
                            code_of[raw] = self._code(here, decoded)
                self.codes.extend(map(code_of.__getitem__, texts[:count]))
            self.count += count
            read = block.count(b"\n", 0, stop)
            line += read
            if stop < len(block):
                rest = io.BytesIO(block[stop:])
                if b'"' in block[stop:]:
                    # A cell in quotes may go on in the next block.
                    lines: Iterable[str] = chain(self._text_of(rest), self._text_of(file))
                    self.add(self._records(lines, line))
                    return
                self.add(self._records(self._text_of(rest), line))
                line += rows - read

    def _kinds(self) -> Array:
        """The kind of each column of the file, (columns,) int64, as the kernel knows it."""
        from fastfc.kernels.lowering import decimals

        layout = self.layout
        kinds = np.full(layout.width + layout.trailing, decimals.SKIPPED)
        kinds[list(layout.empty)] = decimals.EMPTY
        kinds[list(layout.features)] = decimals.NUMBER
        kinds[list(layout.booleans & set(layout.features))] = decimals.BOOLEAN
        if layout.label is not None:
            kinds[layout.label] = decimals.LABEL
        if layout.trailing:
            kinds[-1] = decimals.EMPTY
        return kinds

    def _float(self, block: bytes, start: int, end: int, line: int, column: int) -> float:
        cell = block[start:end].decode("ascii").replace(",", ".")
        number = float(cell)
        if abs(number) == np.inf:
            self._refuse(line + block.count(b"\n", 0, start) + 1, column, cell, "a finite number")
        return number

    def _decoded(self, raw: bytes, line: int) -> str:
        try:
            return raw.decode(self.layout.encoding)
        except UnicodeDecodeError as error:
            raise not_decoded(self.layout.path, self.layout.encoding, error, line) from error

    def _records(self, lines: Iterable[str], before: int = 0) -> Iterator[Record]:
        layout = self.layout
        return records(lines, layout.dialect.separator, layout.path, before, blank=layout.blank_rows)

    def _text_of(self, file: Any) -> Iterator[str]:
        """The lines of a file."""
        try:
            with text_lines(file, self.layout.encoding) as lines:
                yield from lines
        except UnicodeDecodeError as error:
            raise not_decoded(self.layout.path, self.layout.encoding, error) from error


def read_rows(layout: Layout) -> Rows:
    """Read a table's rows.

    Raises
    ------
    ValueError
        If a row is not as the layout says; it tells line and column.
    """
    reader = _Reader(layout)
    encoding, separator = layout.encoding, layout.dialect.separator
    # With decimal commas between commas numbers stand in quotes.
    plain = separator not in (" ", layout.dialect.decimal) and ord(separator) < 128
    bytewise = encoding.startswith(_BYTEWISE) and plain
    least = COMPILED_FROM_AT_HAND if "numba" in sys.modules else COMPILED_FROM
    large = layout.text_bytes >= least and get_backend() == "fast" and not settings.compiler_disabled()
    with opened(layout.path) as file:
        if bytewise and layout.by_lines and large:
            for _ in range(layout.start):
                file.readline()
            reader.add_blocks(file)
        else:
            rows = reader._records(reader._text_of(file))
            reader.add((line, row) for line, row in rows if line > layout.start)
    return reader.result()
