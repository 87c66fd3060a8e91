"""A text table as its first rows show it: how it is written, its header, its columns, and which to leave out."""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

from fastfc.formats.table_look import ENOUGH_ROWS, Column, columns_of, header_is_there, is_index_name
from fastfc.formats.table_options import TableOptions
from fastfc.formats.table_text import (
    Dialect,
    Head,
    Record,
    checked_encoding,
    find_dialect,
    first_records,
    head_of,
    kind_of,
    shown,
)

__all__ = ["View", "column_of", "leave_out", "leave_out_counting", "look", "refuse_same_names"]


@dataclass
class View:
    """A table as its first rows show it."""

    path: Path
    head: Head
    dialect: Dialect
    names: list[str] | None
    rows: list[Record]  # of data, as far as they have all columns
    columns: list[Column]
    start: int  # lines before the first row of data
    trailing: bool  # whether lines end with a separator
    notes: list[str]
    left_out: dict[int, str] = field(default_factory=dict)  # column -> why
    warnings: list[str] = field(default_factory=list)

    def title(self, column: int) -> str:
        """A column's name for messages."""
        return f"column {self.names[column]!r:.80}" if self.names else f"column {column + 1}"

    def options_for(self, columns: Sequence[int]) -> tuple[str, str]:
        """By what options name columns: in Python, and on the command line."""
        keys = [self.names[i] if self.names else i for i in columns]
        some = keys[:6]
        # A name with a comma stands in quotes, and what a shell would take apart in others.
        command = io.StringIO()
        csv.writer(command, lineterminator="").writerow(some)
        return f"{some!r:.200}", shlex.quote(command.getvalue())[:200]

    def kept(self) -> list[int]:
        """The columns that are not left out."""
        return [i for i in range(len(self.columns)) if i not in self.left_out]


def look(path: Path, options: TableOptions, known: Collection[str]) -> View:
    """Look at a table's first rows; `known` are names that its header would have."""
    encoding = None if options.encoding is None else checked_encoding(options.encoding)
    head = head_of(path, encoding)
    dialect = find_dialect(head, path, options.separator, options.decimal)
    found = first_records(head, dialect, path)
    notes = []
    if dialect[:2] != (",", ".") or head.encoding not in ("utf-8", "utf-8-sig"):
        separator = {" ": "blanks", "\t": "tab"}.get(dialect.separator, repr(dialect.separator))
        notes.append(f"written with separator {separator}, decimal {dialect.decimal!r}, encoding {head.encoding}")

    comments, found = _without_comments(found)
    names = _commented_names(comments, found) if options.header is not False else None
    if names is None and not found:
        raise ValueError(f"{path} has no rows")
    if comments[names is not None :]:
        notes.append(f"left out: {len(comments) - (names is not None)} lines that begin with #")
    first = found[0][1] if names is None else names
    start = comments[-1][0] if comments else dialect.skipped
    body = found if names is not None else found[1:]
    width, trailing = _width_of(first, [cells for _, cells in body])
    if names is None:
        there, why = options.header, ""
        if there is None:
            columns = _columns(body, width, dialect)
            there, why = header_is_there(first[:width], columns, dialect.decimal, known)
        if there is None:
            raise ValueError(
                f"{path}: {why}; header=True (--header yes) if it names the columns, header=False (--header no) if not"
            )
        if there:
            names, start = first, found[0][0]
            if not any(kind_of(name, dialect.decimal) == "word" for name in names):
                notes.append(f"header: the first row, {shown(names[:width], 4)}")
        else:
            body = found
    rows = [(line, cells[:width]) for line, cells in body if len(cells) >= width]
    columns = _columns(body, width, dialect)
    return View(path, head, dialect, names and names[:width], rows, columns, start, trailing, notes)


def _columns(body: list[Record], width: int, dialect: Dialect) -> list[Column]:
    return columns_of([cells[:width] for _, cells in body], width, dialect.decimal)


def _without_comments(found: list[Record]) -> tuple[list[Record], list[Record]]:
    """Split off the first lines that begin with #."""
    count = 0
    while count < len(found) and found[count][1][0].startswith("#"):
        count += 1
    return found[:count], found[count:]


def _commented_names(comments: list[Record], found: list[Record]) -> list[str] | None:
    """The names in the last comment before the table, if it has as many as there are columns."""
    if not comments:
        return None
    cells = comments[-1][1]
    names = [cells[0][1:].strip(), *cells[1:]]
    if not found:
        return names
    width = len(found[0][1])
    if len(names) == width + 1 and not names[0]:  # "# a b" between blanks
        return names[1:]
    return names if len(names) == width else None


def _width_of(first: list[str], body: list[list[str]]) -> tuple[int, bool]:
    """How many columns there are, and whether lines end with a separator behind the last one."""
    width = len(first)
    while width > 1 and not first[width - 1] and not any(cells[width - 1] for cells in body if len(cells) >= width):
        width -= 1
    longer = sum(len(cells) == width + 1 and not cells[width] for cells in body)
    return width, 2 * longer > len(body)


def column_of(view: View, wanted: str | int, option: str) -> int:
    """The number of the column that an option names, by its name or by its number."""
    width = len(view.columns)
    if isinstance(wanted, bool) or not isinstance(wanted, str | Integral):
        raise TypeError(f"{option}: expected the name or number of a column, got {wanted!r:.80}")
    if isinstance(wanted, str) and view.names is not None:
        named = [i for i, name in enumerate(view.names) if name == wanted]
        if len(named) > 1:
            numbers = " and ".join(str(i + 1) for i in named)
            raise ValueError(
                f"{view.path}: columns {numbers} are both named {wanted!r}; {option} can be one of them only"
            )
        if named:
            return named[0]
    try:
        column = int(wanted)
    except (TypeError, ValueError):
        there = f"its columns are {shown(view.names, 12)}" if view.names else "it has no header"
        raise ValueError(f"{option} {wanted!r:.80} is not a column of {view.path}; {there}") from None
    if not -width <= column < width:
        raise ValueError(f"{option} {column} is out of range: {view.path} has {width} columns, counted from 0")
    return column % width


def leave_out(view: View, options: TableOptions) -> None:
    """Note the columns that are no features: those that the caller drops, empty ones, and a frame's index."""
    for wanted in options.dropped():
        view.left_out[column_of(view, wanted, "drop")] = "as drop says"
    for i, column in enumerate(view.columns):
        if i in view.left_out or not column.cells:
            continue
        if column.blank and not (view.names and view.names[i]):
            view.left_out[i] = "it is empty"
        elif view.names is not None and is_index_name(view.names[i]) and column.identifies():
            counts = column.kinds["integer"] and column.counts()
            view.left_out[i] = f"a frame's index: no name, and {'counts the rows' if counts else 'no value twice'}"
    if view.names is None:
        return
    view.names = [name or (name if i in view.left_out else f"column {i + 1}") for i, name in enumerate(view.names)]
    refuse_same_names(view, view.names, view.kept())


def refuse_same_names(view: View, names: Sequence[str], places: Sequence[int]) -> None:
    """Raise ValueError if two of the columns at some places have the same name."""
    for name, times in Counter(names[i] for i in places).items():
        if times > 1:
            numbers = [str(i + 1) for i in places if names[i] == name]
            raise ValueError(
                f"{view.path}: columns {' and '.join(numbers)} are both named {name!r}; each needs a name of its own, "
                f"or leave one out by its number from 0, drop=[{int(numbers[-1]) - 1}] (--drop {int(numbers[-1]) - 1})"
            )


def leave_out_counting(view: View) -> None:
    """Leave out the first column of a table without header if it counts the rows."""
    kept = view.kept()
    column = view.columns[kept[0]]
    if view.names is None and len(kept) > 2 and len(column.cells) >= ENOUGH_ROWS and column.counts():
        view.left_out[kept[0]] = "it counts the rows"
