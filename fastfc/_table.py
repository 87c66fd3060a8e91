"""Reading CSV files of numbers, with a column of labels."""

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfc._npz import check_declared

__all__ = ["ModelColumns", "Table", "TableOptions", "has_table_suffix", "read_table"]

Array = NDArray[Any]

SUFFIXES = (".csv", ".tsv", ".tab", ".txt")


@dataclass(frozen=True)
class TableOptions:
    """What a caller says about a text table; None is to look and decide."""

    target: str | int | None = None
    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: str | None = None
    drop: Sequence[str | int] = ()

    def refuse_for(self, source: object) -> None:
        """Raise ValueError if one of them is given for data that is no text table."""
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None and value != ():
                use = "names a column of a .csv file" if option.name == "target" else "is for text tables (.csv, ...)"
                raise ValueError(f"{option.name}={value!r} {use}; {source} is none")


@dataclass(frozen=True)
class ModelColumns:
    """The columns that a model takes, and its classes."""

    num_features: int | None = None
    class_names: Sequence[str] | None = None
    feature_names: Sequence[str] | None = None
    target_name: str | None = None


@dataclass
class Table:
    """A table that was read: X float64 (N, D), y int64 (N,) if there are labels, and class names if these are names."""

    X: Array
    y: Array | None
    class_names: list[str] | None
    feature_names: list[str] | None = None
    target_name: str | None = None
    notes: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        """The entries of a data set that describe the table."""
        named = {"feature_names": self.feature_names, "target_name": self.target_name}
        return {key: value for key, value in named.items() if value is not None} | {"notes": self.notes}


def has_table_suffix(path: Path) -> bool:
    """Whether a file's name says that it is a text table, plain or packed by gzip."""
    name = path.name.casefold()
    return name.removesuffix(".gz").endswith(SUFFIXES)


_LABEL_COLUMNS = ("label", "target", "class", "y")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _bad_cell(path: Path, line: int, column: int, cell: str, expected: str) -> NoReturn:
    raise ValueError(f"{path}, line {line}, column {column + 1}: expected {expected}, found {cell!r:.60}")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not empty."""
    with open(path, newline="", encoding="utf-8-sig") as f:
        rows = csv.reader(f, strict=True)
        try:
            for row in rows:
                if row:
                    yield rows.line_num, row
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not text in UTF-8: {error}") from error


def _label_column(
    first: list[str], target: str | int | None, num_features: int | None, labels_needed: bool, path: Path
) -> int | None:
    """Return which column holds the labels, if one does; `first` is the table's first line."""
    width = len(first)
    if target == "none":
        return None
    if target is None:
        if width == num_features:
            return None
        named = [i for i, cell in enumerate(first) if cell.casefold() in _LABEL_COLUMNS]
        if len(named) == 1:
            return named[0]
        return width - 1 if labels_needed or width - 1 == num_features else None
    if target in first and _number(str(target)) is None:
        return first.index(str(target))
    try:
        column = int(target)
    except ValueError:
        raise ValueError(f"target {target!r} is not a column of {path}; its first line is {first!s:.200}") from None
    if not -width <= column < width:
        raise ValueError(f"target {column} is out of range: {path} has {width} columns, counted from 0")
    return column % width


def _csv_labels(seen: dict[str, int], first_line: list[int], label: int, path: Path) -> tuple[Array, list[str] | None]:
    """Return an int64 label for each text in `seen`, and names if the texts are not all numbers."""
    numbers = [_number(text) for text in seen]
    if None in numbers:
        names = sorted(seen)
        rank = {name: i for i, name in enumerate(names)}
        return np.array([rank[text] for text in seen], np.int64), names
    whole = []
    for text, number, line in zip(seen, numbers, first_line, strict=True):
        if number is None or not number.is_integer() or abs(number) > 2**53:
            _bad_cell(path, line, label, text, "a whole number or a name as label")
        whole.append(int(number))
    return np.array(whole, np.int64), None


def read_table(path: Path, options: TableOptions, model: ModelColumns | None = None, *, labels_needed: bool) -> Table:
    """Read a text table; with a model, its columns."""
    target, num_features = options.target, None if model is None else model.num_features
    stored = path.stat().st_size
    check_declared(4 * stored, stored, path)  # two characters, "1,", become a float64
    rows = _csv_rows(path)
    line, row = next(rows, (0, []))
    if not row:
        raise ValueError(f"{path} is empty")
    first = [cell.strip() for cell in row]
    width = len(first)
    label = _label_column(first, target, num_features, labels_needed, path)
    features = [i for i in range(width) if i != label]
    if not features:
        raise ValueError(f"{path} has no column beside the labels")
    if num_features is not None and len(features) != num_features:
        raise ValueError(f"{path} has {len(features)} feature columns; expected {num_features}")
    # With numbers as column names the label column's name still tells a header; "y" alone may be a class.
    title = "" if label is None else first[label]
    header = title.casefold() in _LABEL_COLUMNS[:3] or (title == target and _number(title) is None)
    has_header = header or all(_number(first[i]) is None for i in features)
    if not has_header:
        rows = chain([(line, first)], rows)

    values, codes = array("d"), array("q")
    seen: dict[str, int] = {}  # label text -> code, in order of appearance
    first_line: list[int] = []
    for line, row in rows:
        if len(row) != width:
            raise ValueError(f"{path}, line {line}: expected {width} columns, found {len(row)}")
        try:
            values.extend(map(float, row if label is None else row[:label] + row[label + 1 :]))
        except ValueError:
            column = next(i for i in features if _number(row[i]) is None)
            _bad_cell(path, line, column, row[column], "a number")
        if label is not None:
            text = row[label].strip()
            if not text:
                _bad_cell(path, line, label, text, "a label")
            if text not in seen:
                seen[text] = len(seen)
                first_line.append(line)
            codes.append(seen[text])
    if not values:
        raise ValueError(f"{path} has no rows")
    X = np.array(values).reshape(-1, len(features))
    if label is None:
        return Table(X, None, None, [first[i] for i in features] if has_header else None)
    labels, names = _csv_labels(seen, first_line, label, path)
    named = ([first[i] for i in features], first[label]) if has_header else (None, None)
    return Table(X, labels[np.array(codes)], names, *named)
