"""Reading text tables of numbers, with a column of labels: CSV and its kin.

A table is looked at first, to tell how it is written and what its columns are (`_table_text.py`,
`_table_look.py`); then its rows are read (`_table_rows.py`). What can be read in two ways is an error that
names the option that decides.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.table_look import (
    ENOUGH_ROWS,
    LABEL_NAMES,
    Column,
    columns_of,
    header_is_there,
    is_index_name,
    label_column,
    label_fault,
)
from fastfc.formats.table_rows import Layout, Rows, read_rows
from fastfc.formats.table_text import (
    Dialect,
    Head,
    Record,
    checked_encoding,
    find_dialect,
    first_records,
    has_table_suffix,
    head_of,
    kind_of,
    shown,
)

__all__ = ["ModelColumns", "Table", "TableOptions", "has_table_suffix", "read_table"]

Array = NDArray[Any]


@dataclass(frozen=True)
class TableOptions:
    """What a caller says about a text table; None is to look and decide."""

    target: str | int | None = None
    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: str | None = None
    drop: Sequence[str | int] | str | int = ()

    def refuse_for(self, source: object) -> None:
        """Raise ValueError if one of them is given for data that is no text table."""
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None and value != ():
                use = "names a column of a .csv file" if option.name == "target" else "is for text tables (.csv, ...)"
                raise ValueError(f"{option.name}={value!r} {use}; {source} is none")

    def check(self) -> None:
        """Raise ValueError for values that cannot be."""
        if self.header is not None and not isinstance(self.header, bool):
            raise ValueError(f"header={self.header!r} (--header): expected True, False or None (yes, no)")
        if self.missing not in (None, "drop"):
            raise ValueError(f"missing={self.missing!r} (--missing): expected None (error) or 'drop'")

    def dropped(self) -> list[str | int]:
        """The columns to leave out, each a name or a number."""
        return [self.drop] if isinstance(self.drop, str | int) else list(self.drop)


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
    warnings: list[str] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        """The entries of a data set that describe the table."""
        named = {"feature_names": self.feature_names, "target_name": self.target_name}
        described = {key: value for key, value in named.items() if value is not None} | {"notes": self.notes}
        return described | ({"warnings": self.warnings} if self.warnings else {})


# ------------------------------------------------------------------------------------- the header and the columns


@dataclass
class _View:
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
        """What messages call a column."""
        return f"column {self.names[column]!r:.80}" if self.names else f"column {column + 1}"

    def options_for(self, columns: Sequence[int]) -> tuple[str, str]:
        """By what options name columns: in Python, and on the command line."""
        keys = [self.names[i] if self.names else i for i in columns]
        some = keys[:6]
        return f"{some!r:.200}", ",".join(map(str, some))[:200]

    def kept(self) -> list[int]:
        """The columns that are not left out."""
        return [i for i in range(len(self.columns)) if i not in self.left_out]


def _look(path: Path, options: TableOptions, known: Collection[str]) -> _View:
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
    return _View(path, head, dialect, names and names[:width], rows, columns, start, trailing, notes)


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


def _column(view: _View, wanted: str | int, option: str) -> int:
    """The number of the column that an option names, by its name or by its number."""
    width = len(view.columns)
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


def _leave_out(view: _View, options: TableOptions) -> None:
    """Note the columns that are no features: those that the caller drops, empty ones, and a frame's index."""
    for wanted in options.dropped():
        view.left_out[_column(view, wanted, "drop")] = "as drop says"
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
    kept = [view.names[i] for i in view.kept()]
    for name, times in Counter(kept).items():
        if times > 1:
            numbers = [str(i + 1) for i in view.kept() if view.names[i] == name]
            raise ValueError(
                f"{view.path}: columns {' and '.join(numbers)} are both named {name!r}; each needs a name of its own, "
                f"or leave one out by its number from 0, drop=[{int(numbers[-1]) - 1}] (--drop {int(numbers[-1]) - 1})"
            )


def _leave_out_counting(view: _View) -> None:
    """Leave out the first column of a table without header if it counts the rows."""
    kept = view.kept()
    column = view.columns[kept[0]]
    if view.names is None and len(kept) > 2 and len(column.cells) >= ENOUGH_ROWS and column.counts():
        view.left_out[kept[0]] = "it counts the rows"


# --------------------------------------------------------------------------------------- which are the labels


@dataclass
class _Choice:
    """The columns to read."""

    features: list[int]
    label: int | None
    guessed: bool = False  # whether the labels were found by looking at values


_TARGET = "target=... (--target NAME, or its number from 0) says which column has the labels"


def _named_label(view: _View) -> int | None:
    """The column that is named as labels are."""
    if view.names is None:
        return None
    kept, names = view.kept(), [name.casefold() for name in view.names]
    named = [i for i in kept if names[i] in LABEL_NAMES[:-1]]
    # "y" beside "x" is a coordinate: only at the table's ends it names labels.
    named = named or [i for i in {kept[0], kept[-1]} if names[i] == LABEL_NAMES[-1]]
    if len(named) > 1:
        raise ValueError(f"{view.path} has columns {shown(view.names[i] for i in named)}; {_TARGET}")
    return named[0] if named else None


def _choose_to_train(view: _View, options: TableOptions) -> _Choice:
    """Choose the columns to train on."""
    label, guessed = None, False
    if options.target is not None:
        label = None if options.target == "none" else _column(view, options.target, "target")
        if label != 0:
            _leave_out_counting(view)
        if label in view.left_out:
            raise ValueError(f"{view.path}: {view.title(label)} is the target and left out: {view.left_out[label]}")
    elif view.kept():
        label = _named_label(view)
        if label is None:
            _leave_out_counting(view)
            label, why = label_column(view.columns, view.kept())
            if label is None:
                raise ValueError(f"{view.path}: {why}; {_TARGET}")
            guessed = True
            fault = label_fault(Counter(view.columns[label].cells), view.dialect.decimal, guessed=True)
            if fault is not None:
                raise _no_labels(view, label, fault)
    return _Choice([i for i in view.kept() if i != label], label, guessed)


def _no_labels(view: _View, label: int, fault: str) -> ValueError:
    return ValueError(
        f"{view.path}: {view.title(label)} would be the labels, but it {fault}; fastfc trains classifiers on tables. "
        f"{_TARGET}; numbers that are classes all the same are read as such when they are written as words"
    )


def _choose_by_name(view: _View, options: TableOptions, model: ModelColumns, wanted: Sequence[str]) -> _Choice:
    """Choose the columns that have the names of the model's, in the model's order."""
    names = view.names or []
    place = {name: i for i, name in enumerate(names)}
    absent = [name for name in wanted if name not in place]
    if absent:
        raise ValueError(
            f"{view.path} lacks {len(absent)} of the model's {len(wanted)} columns: {shown(absent, 12)}; it has "
            f"{shown(names, 12)}"
        )
    features = [place[name] for name in wanted]
    label = None
    if options.target not in (None, "none"):
        label = _column(view, options.target, "target")
    elif options.target is None:
        label = place.get(model.target_name) if model.target_name is not None else _named_label(view)
    for i in (label, *view.left_out):
        if i in features:
            role = "drop leaves out" if i in view.left_out else "target names"
            raise ValueError(f"{view.path}: {role} {view.title(i)}, which the model takes as a feature")
    # An index is no news; nor is the column of labels where it was said that there are none.
    extra = [i for i in view.kept() if i not in features and i != label and names[i] != model.target_name]
    if extra:
        listed = shown((names[i] for i in extra), 12)
        view.warnings.append(f"{view.path}: columns that the model does not know are left out: {listed}")
    return _Choice(features, label)


def _choose_by_position(view: _View, options: TableOptions, model: ModelColumns) -> _Choice:
    """Choose the columns for a model where names do not tell them: by their number."""
    taken = model.num_features
    label = None
    if options.target not in (None, "none"):
        label = _column(view, options.target, "target")
    elif options.target is None:
        label = _named_label(view)
        if label is None and taken is not None and len(view.kept()) > taken:
            label = _label_beside(view, taken, model.class_names)
    features = [i for i in view.kept() if i != label]
    if taken is not None and len(features) != taken:
        beside = "" if label is None else f" beside the labels in {view.title(label)}"
        hint = "; target='none' (--target none) if there are no labels" if label is not None else ""
        raise ValueError(f"{view.path} has {len(features)} feature columns{beside}; expected {taken}{hint}")
    return _Choice(features, label)


def _label_beside(view: _View, taken: int, class_names: Sequence[str] | None) -> int | None:
    """The labels in a table that has more columns than the model takes: the last column or the first."""
    kept = view.kept()
    counting = view.names is None and len(view.rows) > 1 and view.columns[kept[0]].counts()
    if len(kept) == taken + 2 and counting:
        view.left_out[kept[0]] = "it counts the rows"
        kept, counting = kept[1:], False
    if len(kept) != taken + 1:
        return None
    first, last = kept[0], kept[-1]
    if class_names is None:
        return last
    cells = {i: {_whole(cell) or cell for cell in view.columns[i].cells} for i in (last, first)}
    places = {str(i) for i in range(len(class_names))}
    # By their names, else by their places.
    fit = [i for i in (last, first) if cells[i] <= set(class_names)]
    fit = fit or [i for i in (last, first) if cells[i] <= places]
    if not fit and view.columns[last].kind == "words":
        return last  # whose labels are then said not to be the model's classes
    if not fit and counting:
        view.left_out[first] = "it counts the rows"
        return None
    if len(fit) == 1 and not counting:
        return fit[0]
    if len(fit) == 2 and not counting and len(view.rows) >= ENOUGH_ROWS:
        label, _ = label_column(view.columns, kept)
        if label is not None:
            return label
    why = "it can be read in two ways" if fit else "neither the last nor the first has the model's classes only"
    raise ValueError(
        f"{view.path} has {len(kept)} columns, one more than the {taken} features of the model, and {why}; target=-1 "
        "(--target -1) if the last one has the labels, target=0 if the first; or drop=... (--drop) leaves one out"
    )


def _refuse_words(view: _View, choice: _Choice) -> None:
    """Raise ValueError if columns that are to be features have no numbers."""
    bad = [i for i in choice.features if view.columns[i].kind in ("words", "dates")]
    if not bad:
        return
    kinds = ("word", "date", "boolean")
    line, column, cell = next(
        (line, i, cells[i])
        for line, cells in view.rows
        for i in bad
        if kind_of(cells[i], view.dialect.decimal) in kinds
    )
    described = []
    for i in bad[:6]:
        texts = list(dict.fromkeys(view.columns[i].cells))
        kind = view.columns[i].kind
        if kind == "words" and len(texts) == len(view.columns[i].cells) >= ENOUGH_ROWS:
            kind = "another text in each row, an id most likely"
        described.append(f"{view.title(i)} ({kind}: {', '.join(text[:20] for text in texts[:2])}, ...)")
    python, command = view.options_for(bad)
    labels = f"; {_TARGET}" if choice.guessed else ""
    raise ValueError(
        f"{view.path}, line {line}, column {column + 1}: expected a number, found {cell!r:.40}; no numbers are in "
        f"{', '.join(described)[:300]}; leave them out, drop={python[:100]} (--drop {command[:100]}), or write numbers "
        f"in their place first{labels}"
    )


# ---------------------------------------------------------------------------------------------------- labels

_CANONICAL = re.compile(r"0|-?[1-9]\d*", re.ASCII)
_WHOLE = re.compile(r"(0|-?[1-9]\d*)[.,]0*", re.ASCII)
_CODE = re.compile(r"[+-]?\d+(?:[eE]\d+)?", re.ASCII)


def _whole(text: str) -> str | None:
    """A whole number as it is usually written, of a float like 2.0; None for anything else."""
    match = _WHOLE.fullmatch(text)
    return match.group(1) if match else None


def _labels(view: _View, choice: _Choice, rows: Rows, *, to_train: bool) -> tuple[Array, list[str] | None]:
    """An int64 label for each row, and names unless they are plainly whole numbers."""
    label = choice.label
    assert label is not None
    texts, decimal = rows.texts, view.dialect.decimal
    counts = Counter(dict(zip(texts, np.bincount(rows.codes, minlength=len(texts)).tolist(), strict=True)))
    kinds = Counter(kind_of(text, decimal) for text in texts)
    whole = [text if _CANONICAL.fullmatch(text) else _whole(text) for text in texts]
    fits = all(text is not None and len(text) < 19 for text in whole)
    are_codes = all(map(_CODE.fullmatch, texts))
    numbers = kinds["integer"] + kinds["decimal"]
    if not fits and not are_codes and kinds["decimal"] and 2 * numbers > len(texts):
        odd = whole.index(None) if None in whole else 0
        raise ValueError(
            f"{view.path}, line {rows.lines[odd]}, column {label + 1}: expected a whole number or a name as label, "
            f"found {texts[odd]!r:.40}: {view.title(label)} has {len(texts)} distinct numbers in {len(rows.codes)} "
            f"rows, a target for regression; fastfc trains classifiers on tables. {_TARGET}; numbers that are classes "
            "all the same are read as such when they are written as words"
        )
    if fits and whole != texts:
        view.notes.append(f"classes in {view.title(label)} are whole numbers written as floats")
    if to_train:
        merged: Counter[str] = Counter()
        for text, number in zip(texts, whole, strict=True):
            merged[number if fits and number is not None else text] += counts[text]
        fault = label_fault(merged, decimal, guessed=choice.guessed)
        if fault is not None:
            raise _no_labels(view, label, fault)
        view.notes.append(_described_labels(view, choice, merged, numeric=fits))
    if fits:
        return np.array([int(text or 0) for text in whole], np.int64)[rows.codes], None
    names = sorted(texts)
    rank = {name: i for i, name in enumerate(names)}
    return np.array([rank[text] for text in texts], np.int64)[rows.codes], names


def _described_labels(view: _View, choice: _Choice, counts: Counter[str], *, numeric: bool) -> str:
    texts = sorted(counts, key=(int if numeric else str))
    each = ", ".join(f"{text[:30]} ({counts[text]})" for text in texts[:10])
    more = ", ..." if len(texts) > 10 else ""
    assert choice.label is not None
    where = " (the first)" if choice.label == 0 else " (the last)" if choice.label == len(view.columns) - 1 else ""
    return f"labels: {view.title(choice.label)}{where}, {len(texts)} classes: {each}{more}"


# ------------------------------------------------------------------------------------------------ all together


def read_table(path: Path, options: TableOptions, model: ModelColumns | None = None, *, labels_needed: bool) -> Table:
    """Read a text table; for a model, its columns.

    Raises
    ------
    ValueError
        If it is no table of numbers, or can be read in two ways; the message names file, line and column, and
        the option that decides.
    """
    options.check()
    wanted = None if model is None else model.feature_names
    given = [name for name in (options.target, *options.dropped()) if isinstance(name, str) and name != "none"]
    known = [name for name in given if kind_of(name, ".") not in ("integer", "decimal")] + list(wanted or ())
    view = _look(path, options, known)
    _leave_out(view, options)
    if model is None:
        choice = _choose_to_train(view, options)
    elif wanted is not None and view.names is not None:
        choice = _choose_by_name(view, options, model, wanted)
    else:
        choice = _choose_by_position(view, options, model)
    if not choice.features:
        raise ValueError(f"{path} has no column beside the labels")
    if labels_needed and choice.label is None:
        raise ValueError(f"{path} has no training data with labels: target='none' says that no column has them")
    _refuse_words(view, choice)
    rows = read_rows(_layout(view, choice, options))
    if not len(rows.X):
        raise ValueError(f"{path} has no rows" + (" without missing values" if rows.dropped else ""))
    _note(view, choice, rows, to_train=model is None)
    table = Table(rows.X, None, None, notes=view.notes, warnings=view.warnings)
    if choice.label is not None:
        table.y, table.class_names = _labels(view, choice, rows, to_train=model is None)
    if view.names is not None:
        table.feature_names = [view.names[i] for i in choice.features]
        table.target_name = None if choice.label is None else view.names[choice.label]
    return table


def _layout(view: _View, choice: _Choice, options: TableOptions) -> Layout:
    text = view.head.text
    empty = {i for i, why in view.left_out.items() if view.columns[i].blank and why == "it is empty"}
    return Layout(
        path=view.path,
        encoding=view.head.encoding,
        dialect=view.dialect,
        width=len(view.columns),
        start=view.start,
        features=choice.features,
        booleans=frozenset(i for i in choice.features if view.columns[i].kind == "booleans"),
        empty=frozenset(empty),
        label=choice.label,
        names=view.names,
        trailing=view.trailing,
        drop_missing=options.missing == "drop",
        text_bytes=len(text) if view.head.whole else view.path.stat().st_size,
        row_bytes=max(len(text) // (text.count("\n") + 1), 1),
        by_lines='"' not in text and text.count("\r") == text.count("\r\n"),
    )


def _note(view: _View, choice: _Choice, rows: Rows, *, to_train: bool) -> None:
    """Say what was taken for what."""
    notes = view.notes
    for i, why in sorted(view.left_out.items()):
        name = f" {view.names[i]!r}" if view.names and view.names[i] else ""
        notes.append(f"left out: column {i + 1}{name}, {why}")
    booleans = [view.title(i) for i in choice.features if view.columns[i].kind == "booleans"]
    if booleans:
        notes.append(f"True and False are 1 and 0 in {', '.join(booleans)[:200]}")
    for i in choice.features:
        column = view.columns[i]
        if to_train and len(column.cells) >= ENOUGH_ROWS and column.all_are("integer") and column.counts():
            python, command = view.options_for([i])
            notes.append(
                f"{view.title(i)} counts the rows and is a feature; drop={python} (--drop {command}) leaves it out"
            )
    if rows.dropped:
        where = ", ".join(f"{count} in {view.title(i)}" for i, count in rows.dropped.most_common(6))
        text = f"left out: {rows.dropped.total()} rows that miss a value ({where})"
        if to_train:
            notes.append(text)
        else:
            view.warnings.append(f"{view.path}: {text}")
