"""Reading CSV files of numbers, with a column of labels."""

import csv
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.npz import check_declared

__all__ = ["read_csv"]

Array = NDArray[Any]

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


def read_csv(
    path: Path, target: str | int | None, num_features: int | None, *, labels_needed: bool
) -> tuple[Array, Array | None, list[str] | None]:
    """Return X float64 (N, D), y int64 (N,) if there are labels, and class names if these are names."""
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
    if not header and any(_number(first[i]) is not None for i in features):
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
        return X, None, None
    labels, names = _csv_labels(seen, first_line, label, path)
    return X, labels[np.array(codes)], names
