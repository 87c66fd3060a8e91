"""Tables in files as frames: text tables whose cells are texts, and Parquet."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from fastfc.formats.table_choice import choose_to_train
from fastfc.formats.table_options import TableOptions
from fastfc.formats.table_text import (
    has_table_suffix,
    is_missing,
    kind_of,
    number_of,
    opened,
    records,
    shown,
    text_lines,
)
from fastfc.formats.table_view import View, column_of, leave_out, look, refuse_same_names
from fastfc.tabular._cells import grouped_example
from fastfc.tabular._pandas import NEEDED, pandas, with_text_names

__all__ = [
    "check_names",
    "choose_columns",
    "frame_to_train",
    "has_parquet_suffix",
    "read_new_rows",
    "read_to_train",
    "without_missing",
]

_LABELS = ("label", "target", "class", "y")


def has_parquet_suffix(path: Path) -> bool:
    """Whether a file's name says that it is Parquet."""
    return path.suffix.lower() in (".parquet", ".pq")


def check_names(target: Any, drop: Any, **names: Any) -> None:
    """Raise TypeError unless `target` and what `drop` has are names or numbers of columns, and the others names."""
    if drop is None:
        raise TypeError("drop: expected names or numbers of columns, got None")
    dropped = TableOptions(drop=drop).dropped()
    for option, wanted in [("target", target), *(("drop", each) for each in dropped)]:
        is_number = isinstance(wanted, Integral) and not isinstance(wanted, bool)
        if not (isinstance(wanted, str) or is_number or (wanted is None and option == "target")):
            raise TypeError(f"{option}: expected the name or number of a column, got {wanted!r:.80}")
    for option, name in names.items():
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{option}: expected the name of a column, got {name!r:.80}")


def frame_to_train(frame: Any, options: TableOptions) -> tuple[Any, str]:
    """A frame to train on, without the columns to leave out, and the name of its target."""
    # Numbers that are names of columns are names, as in pandas, and not places.
    names = {label: str(label) for label in frame.columns}
    frame = with_text_names(frame)
    name = target_of(frame, None if options.target is None else names.get(options.target, options.target))
    dropped = [name_of(frame, names.get(wanted, wanted), "drop") for wanted in options.dropped()]
    if name in dropped:
        raise ValueError(f"drop: {name!r} is the target")
    return frame.drop(columns=dropped), name


def read_to_train(path: Path, options: TableOptions) -> tuple[Any, str, list[str]]:
    """A table to train on, without the columns to leave out; the name of its target; and what there is to say."""
    if has_parquet_suffix(path):
        frame = _read_parquet(path, options)
        dropped = [name_of(frame, wanted, "drop") for wanted in options.dropped()]
        frame = frame.drop(columns=dropped)
        return frame, target_of(frame, options.target), []
    view = look(path, options, [options.target] if isinstance(options.target, str) else [])
    leave_out(view, options)
    choice = choose_to_train(view, options)
    if choice.label is None:
        raise ValueError(f"{path} has no training data with labels: target='none' says that no column has them")
    names = _told_apart(_names(view), view.left_out)
    frame = _read_text(view, names, names[choice.label])
    notes = [*view.notes, *(f"left out: column {names[i]!r}, {why}" for i, why in sorted(view.left_out.items()))]
    frame = frame[[name for i, name in enumerate(names) if i not in view.left_out]]
    frame.attrs["texts"] = True
    if view.names is None:
        frame.attrs["width"] = len(names)
    return frame, names[choice.label], notes


def read_new_rows(
    path: Path, options: TableOptions, description: dict[str, Any], classes: Collection[str]
) -> tuple[Any, list[str]]:
    """A table to predict from. Columns without names have those of the training, by their places.

    `classes` are the model's, of which one may be called none.
    """
    if has_parquet_suffix(path):
        return _read_parquet(path, options), []
    if not has_table_suffix(path):
        raise ValueError(f"{path}: the model takes tables (.csv, .tsv, .txt, .gz, .parquet)")
    view = look(path, options, [column["name"] for column in description["columns"]])
    names = _names(view)
    width, target = description["width"], description["target"]
    if view.names is None and width == len(names) + 1:
        names = [name for name in (f"column {i + 1}" for i in range(width)) if name != target]
    view.names, used = names, {target, *(column["name"] for column in description["columns"])}
    dropped = {column_of(view, wanted, "drop") for wanted in options.dropped()}
    refuse_same_names(view, names, [i for i, name in enumerate(names) if name in used and i not in dropped])
    return _read_text(view, _told_apart(names, dropped), target, classes), view.notes


def _told_apart(names: Sequence[str], left_out: Collection[int]) -> list[str]:
    """The names of columns, with the number in those that others have too, but for the one that is not left out."""
    times, kept = Counter(names), Counter(name for i, name in enumerate(names) if i not in left_out)
    return [
        name if times[name] == 1 or (kept[name] == 1 and i not in left_out) else f"{name} ({i + 1})"
        for i, name in enumerate(names)
    ]


def choose_columns(frame: Any, options: TableOptions, target: str, taken: Collection[str]) -> tuple[Any, str | None]:
    """New rows without the columns to leave out, and the name of their target, None if they have none.

    `target` is the model's, and `taken` are the columns that it takes.

    Raises
    ------
    ValueError
        If an option names no column, or one that the model takes.
    """
    dropped = [name_of(frame, wanted, "drop") for wanted in options.dropped()]
    found = target if target in frame.columns and target not in dropped else None
    if options.target is not None:
        found = None if options.target == "none" else name_of(frame, options.target, "target")
    if found in dropped:
        raise ValueError(f"drop: {found!r} is the target")
    for role, name in [*(("drop leaves out", name) for name in dropped), ("target names", found)]:
        if name in taken:
            raise ValueError(f"{role} column {name!r}, which the model takes as a feature")
    return frame.drop(columns=dropped), found


def without_missing(frame: Any, missing: str, names: Sequence[str]) -> tuple[Any, str]:
    """A frame without the rows that miss a value in some columns, and a line that says how many; or an error.

    Raises
    ------
    ValueError
        If `missing` is "error" and there is such a row.
    """
    absent = frame[list(names)].isna().to_numpy()
    whole = ~absent.any(axis=1)
    count = int((~whole).sum())
    if missing == "error" and count:
        row = int(np.argmin(whole))
        name = list(names)[int(np.argmax(absent[row]))]
        raise ValueError(
            f"{count} rows lack a value, the first is row {row + 1}, in column {name!r:.80}; missing='drop' (--missing "
            "drop) leaves them out"
        )
    return frame[whole], f"left out: {count} rows that miss a value"


def target_of(frame: Any, target: str | int | None) -> str:
    """The name of a frame's target: the one that was given, or label, target, class or y, or the last column."""
    if target is not None:
        return name_of(frame, target, "target")
    if not len(frame.columns):
        raise ValueError("the table has no columns")
    named = [name for name in frame.columns if str(name).casefold() in _LABELS]
    if len(named) > 1:
        raise ValueError(f"target: the table has columns {shown(named)}; expected the name of one")
    return named[0] if named else frame.columns[-1]


def name_of(frame: Any, wanted: str | int, option: str) -> str:
    """The name of the column that an option names, by name or number; ValueError if there is none."""
    if wanted in frame.columns:
        return str(wanted)
    try:
        return str(frame.columns[int(wanted)])
    except (IndexError, ValueError):
        raise ValueError(f"{option} {wanted!r:.80} is not among the columns {shown(frame.columns, 12)}") from None


def _read_parquet(path: Path, options: TableOptions) -> Any:
    for name in ("header", "separator", "decimal", "encoding"):
        if getattr(options, name) is not None:
            raise ValueError(f"{name}={getattr(options, name)!r} is for text tables (.csv, ...); {path} is none")
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    pd = pandas()
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(f"Parquet needs pyarrow: {NEEDED}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a Parquet file, or a damaged one ({error})") from error
    return frame.rename(columns=str)


def _names(view: View) -> list[str]:
    if view.names is None:
        return [f"column {i + 1}" for i in range(len(view.columns))]
    return [name or f"column {i + 1}" for i, name in enumerate(view.names)]


def _read_text(view: View, names: list[str], target: str, classes: Collection[str] | None = None) -> Any:
    """All cells of a text table as texts without blanks around them, or None where a value is missing.

    Words that stand for a missing value elsewhere can be classes in the target's column: those of `classes`, or with
    None what looks like some.
    """
    pd = pandas()
    separator = view.dialect.separator
    try:
        frame = pd.read_csv(
            view.path,
            sep=r"\s+" if separator == " " else separator,
            header=None,
            names=[*names, *([" "] if view.trailing else [])],
            index_col=False,
            skiprows=view.start,
            dtype=object,
            keep_default_na=False,
            skipinitialspace=True,
            encoding=view.head.encoding,
            compression="gzip" if view.path.name.casefold().endswith(".gz") else None,
        )
    except (UnicodeDecodeError, ValueError) as error:
        _refuse_uneven_rows(view, len(names))
        raise ValueError(f"{view.path}: {error}") from error
    # pandas fills a row behind its last cell with empty ones.
    if (frame[names[-1]] == "").any() and _may_have_short_rows(view, len(names)):
        _refuse_uneven_rows(view, len(names))
    return pd.DataFrame(
        {name: _cleaned(frame[name], view, classes if name == target else frozenset()) for name in names}
    )


def _may_have_short_rows(view: View, width: int) -> bool:
    """Whether there is a line with too few separators, or with quotes, in which it would take longer to count them."""
    separator = view.dialect.separator
    if separator == " ":
        return True
    with opened(view.path) as file:
        lines = text_lines(file, view.head.encoding)
        return any(line.count(separator) < width - 1 or '"' in line for line in islice(lines, view.start, None))


def _refuse_uneven_rows(view: View, width: int) -> None:
    """Raise ValueError for the first row with too many cells, or too few."""
    with opened(view.path) as file:
        lines = text_lines(file, view.head.encoding)
        rows = records(islice(lines, view.start, None), view.dialect.separator, view.path, view.start)
        for line, cells in rows:
            if not width <= len(cells) <= width + view.trailing:
                raise ValueError(f"{view.path}, line {line}: expected {width} columns, found {len(cells)}")


def _classes_like_missing(texts: Sequence[str], decimal: str) -> set[str]:
    """Words such as none among labels, where the other labels are neither all numbers nor all booleans."""
    kinds = {kind_of(text, decimal) for text in texts if not is_missing(text)}
    if kinds and (kinds <= {"integer", "decimal"} or kinds == {"boolean"}):
        return set()
    return {text for text in texts if is_missing(text) and not is_missing(text, label=True)}


def _cleaned(series: Any, view: View, classes: Collection[str] | None) -> Any:
    """A column's texts without blanks around them, None for a missing value; numbers with a decimal point."""
    pd = pandas()
    codes, found = pd.factorize(series)
    stripped = [str(text).strip() for text in found]
    kept = _classes_like_missing(stripped, view.dialect.decimal) if classes is None else classes
    texts = [None if is_missing(text) and text not in kept else text for text in stripped]
    if view.dialect.decimal == ",":
        example = grouped_example(filter(None, texts), ",")
        if example is not None:
            view.notes.append(f"column {series.name!r}: numbers in groups of thousands, such as {example!r:.40}")
            texts = [text and re.sub(r"[^-+\d,]", "", text.replace("\N{MINUS SIGN}", "-")) for text in texts]
        texts = [text.replace(",", ".") if text and number_of(text, ",") is not None else text for text in texts]
    values = np.array([*texts, None], object)
    return pd.Series(values[codes], name=series.name, dtype=object)
