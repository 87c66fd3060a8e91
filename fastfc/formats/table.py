"""Text tables of numbers, with a column of labels: what is in which column, and then all rows."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.table_look import (
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
    Record,
    checked_encoding,
    find_dialect,
    first_records,
    has_table_suffix,
    head_of,
    shown,
)

__all__ = ["ModelColumns", "Table", "TableOptions", "has_table_suffix", "read_table"]

Array = NDArray[Any]

_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " "}
_SHOWN_SEPARATORS = {"\t": "tabs", " ": "blanks"}


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


@dataclass
class _Look:
    """What the first rows of a table tell."""

    path: Path
    dialect: Dialect
    names: list[str] | None
    columns: list[Column]
    start: int  # lines before the first row
    trailing: bool
    notes: list[str] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)  # column -> why

    @property
    def width(self) -> int:
        return len(self.columns)

    def shown(self, column: int) -> str:
        """A column for a message: its name, else its number."""
        return f"{self.names[column]!r:.60}" if self.names and self.names[column] else f"number {column}"

    def at(self, name_or_number: str | int, option: str) -> int:
        """The column that an option names."""
        if isinstance(name_or_number, str) and self.names and name_or_number in self.names:
            return self.names.index(name_or_number)
        try:
            column = int(name_or_number)
        except ValueError:
            if self.names is None:
                where = "it has no header, so columns go by their numbers, from 0"
            else:
                where = f"its columns are {shown(self.names, 12)}"
            raise ValueError(f"{option} {name_or_number!r} is not a column of {self.path}; {where}") from None
        if not -self.width <= column < self.width:
            raise ValueError(f"{option} {column} is out of range: {self.path} has {self.width} columns, counted from 0")
        return column % self.width

    def candidates(self) -> list[int]:
        """The columns that are not left out."""
        return [i for i in range(self.width) if i not in self.left_out]


def read_table(path: Path, options: TableOptions, model: ModelColumns | None = None, *, labels_needed: bool) -> Table:
    """Read a text table; with a model, the columns that it takes.

    Raises
    ------
    ValueError
        If something can be read in two ways, a cell is not what its column has, or columns are missing.

    Warns
    -----
    UserWarning
        Of columns that the model does not know.
    """
    if options.missing not in (None, "error", "drop"):
        raise ValueError(f"missing={options.missing!r} (--missing): expected 'error' or 'drop'")
    encoding = None if options.encoding is None else checked_encoding(options.encoding)
    separator = None if options.separator is None else _SEPARATORS.get(options.separator, options.separator)
    head = head_of(path, encoding)
    dialect = find_dialect(head, path, separator, options.decimal)
    look = _look(path, dialect, first_records(head, dialect, path), options, model)
    if (dialect.separator, dialect.decimal, head.encoding) not in ((",", ".", "utf-8"), (",", ".", "utf-8-sig")):
        how = [f"separated by {_SHOWN_SEPARATORS.get(dialect.separator, repr(dialect.separator))}"]
        how += ["decimal commas"] if dialect.decimal == "," else []
        how += [] if head.encoding.startswith("utf-8") else [f"encoding {head.encoding}"]
        look.notes.append(f"read as a table {', '.join(how)}")
    for name in options.drop:
        look.left_out[look.at(name, "drop")] = "asked for"
    for i, column in enumerate(look.columns):
        if column.blank and not (look.names and look.names[i]):
            look.left_out[i] = "it is empty"
    if model is not None and model.feature_names is not None and look.names is not None:
        label, features = _columns_by_name(look, options, model)
    elif model is not None:
        label, features = _columns_by_place(look, options, model)
    else:
        label, features = _columns_to_train_on(look, options, labels_needed)
    if not features:
        raise ValueError(f"{path} has no column beside the labels")
    _require_numbers(look, features)
    rows = read_rows(
        Layout(
            path=path, encoding=head.encoding, dialect=dialect, width=look.width, start=look.start, features=features,
            booleans=frozenset(i for i in features if look.columns[i].kind == "booleans"),
            empty=frozenset(i for i in look.left_out if look.columns[i].blank), label=label, names=look.names,
            trailing=look.trailing, drop_missing=options.missing == "drop", rows_expected=_rows_expected(path, look),
        )
    )  # fmt: skip
    if len(rows.X) == 0:
        raise ValueError(f"{path} has no rows")
    y, class_names = (None, None) if label is None else _labels(rows, look, label, options, model)
    _note(look, rows, label, class_names, y)
    names = None if look.names is None else [look.names[i] for i in features]
    target_name = None if look.names is None or label is None else look.names[label]
    return Table(rows.X, y, class_names, names, target_name, look.notes)


# ------------------------------------------------------------------------------------------------------- a look


def _look(
    path: Path, dialect: Dialect, found: list[Record], options: TableOptions, model: ModelColumns | None
) -> _Look:
    """Header or not, and the columns below it."""
    found = list(found)
    hashed = False
    while len(found) > 1 and found[0][1][0].startswith("#"):
        line, cells = found[0]
        cells = [cells[0].lstrip("# "), *cells[1:]]
        if len(cells) == len(found[1][1]) and options.header is not False:
            # A header that is written as a comment.
            found[0], hashed = (line, cells), True
            break
        del found[0]
    widths = Counter(len(cells) for _, cells in found)
    width = widths.most_common(1)[0][0]
    rows = [cells for _, cells in found]
    if len(rows[0]) == width - 1 and len(rows) > 1:
        below = columns_of(rows[1:], width, dialect.decimal)
        if not below[-1].blank and (below[0].enumerates() or below[0].kind == "words"):
            # As R writes a table: the column of the rows' names has none itself.
            rows[0] = ["", *rows[0]]
        elif below[-1].blank:
            rows[0] = [*rows[0], ""]
    trailing = width > 1 and all(len(cells) != width or not cells[-1] for cells in rows)
    if trailing:
        width -= 1
        rows = [cells[:width] if len(cells) == width + 1 and not cells[width] else cells for cells in rows]
    names: list[str] | None = None
    known = [] if model is None else [*(model.feature_names or ()), *([model.target_name] if model.target_name else [])]
    if isinstance(options.target, str) and options.target != "none" and not options.target.lstrip("-").isdecimal():
        known.append(options.target)
    header = True if hashed else options.header
    if header is None and len(rows[0]) == width:
        header, why = header_is_there(rows[0], columns_of(rows[1:], width, dialect.decimal), dialect.decimal, known)
        if header is None:
            raise ValueError(f"{path}: {why}; header=True or header=False (--header yes|no) says which")
    if header:
        names = rows.pop(0)
        if len(names) != width:
            raise ValueError(f"{path}: its header names {len(names)} columns, and its rows have {width}")
        repeated = [name for name, count in Counter(filter(None, names)).items() if count > 1]
        if repeated:
            raise ValueError(f"{path} has two columns of the name {repeated[0]!r}; expected each name once")
    start = found[0][0] if header else found[0][0] - 1
    if not header:
        start = max(start, dialect.skipped)
    if not rows:
        raise ValueError(f"{path} has no rows")
    return _Look(path, dialect, names, columns_of(rows, width, dialect.decimal), start, trailing)


def _rows_expected(path: Path, look: _Look) -> int:
    """About how many rows there are, by the length of the first ones."""
    cells = sum(len(cell) + 1 for column in look.columns for cell in column.cells)
    count = max(len(look.columns[0].cells), 1)
    return int(1.05 * path.stat().st_size / max(cells / count, 1)) + 16


_ID_NAME = re.compile(r"(?:.*[_ ])?(?:id|index|rowid|uuid)|no\.?|nr\.?|#", re.IGNORECASE)


def _leave_out_indices(look: _Look, label: int | None) -> None:
    """Leave out columns that count the rows, or name them."""
    for i in look.candidates():
        if i == label or len(look.candidates()) < 2:
            continue
        column = look.columns[i]
        if look.names is None:
            if i == 0 and column.counts() and column.cells[0] in ("0", "1") and len(column.cells) > 2:
                look.left_out[i] = "it counts the rows"
        elif i == 0 and is_index_name(look.names[i]) and column.enumerates():
            look.left_out[i] = "it counts the rows"
        elif i == 0 and look.names[i] == "" and column.kind == "words":
            look.left_out[i] = "it names the rows"
        elif _ID_NAME.fullmatch(look.names[i]) and (column.enumerates() or _all_distinct_words(column)):
            look.left_out[i] = "an id"


def _all_distinct_words(column: Column) -> bool:
    return column.kind == "words" and len(set(column.cells)) == len(column.cells) > 2


def _require_numbers(look: _Look, features: Sequence[int]) -> None:
    """An error that names the columns which hold no numbers, and what they hold."""
    others = [i for i in features if look.columns[i].kind in ("words", "dates", "nothing")]
    # A single cell among numbers is told of with its line.
    others = [i for i in others if not any(look.columns[i].kinds[kind] for kind in ("integer", "decimal"))]
    if not others:
        return
    told = []
    for i in others:
        column = look.columns[i]
        kind = {"words": "words", "dates": "dates", "nothing": "no values"}[column.kind]
        example = next(filter(None, column.cells), "")
        told.append(f"{look.shown(i)} ({kind}{f', such as {example!r:.30}' if example else ''})")
    names = ",".join(look.names[i] if look.names and look.names[i] else str(i) for i in others)
    raise ValueError(
        f"{look.path}: expected numbers in every feature column, found columns {', '.join(told)}; write them as "
        f"numbers, or leave them out: drop=... (--drop {names})"
    )


# ---------------------------------------------------------------------------------------------- which is which


def _target(look: _Look, options: TableOptions) -> int | None:
    """The label column that the caller names."""
    column = look.at(options.target, "target")  # type: ignore[arg-type]
    if column in look.left_out and look.left_out[column] == "asked for":
        raise ValueError(f"target {options.target!r} is a column that drop leaves out")
    return column


def _columns_to_train_on(look: _Look, options: TableOptions, labels_needed: bool) -> tuple[int | None, list[int]]:
    """The label column and the feature columns of a table without a model."""
    label: int | None = None
    if options.target is not None and options.target != "none":
        label = _target(look, options)
    elif options.target is None:
        named = [
            i for i in look.candidates() if look.names is not None and look.names[i].casefold() in LABEL_NAMES
        ]  # fmt: skip
        if len(named) > 1:
            raise ValueError(
                f"{look.path} has the columns {shown([look.names[i] for i in named])}; target=... (--target) says "  # type: ignore[index]
                "which has the labels"
            )
        if named:
            label = named[0]
        elif labels_needed:
            _leave_out_indices(look, None)
            if not look.candidates():
                raise ValueError(f"{look.path} has no column beside the labels")
            label, why = label_column(look.columns, look.candidates())
            if label is None:
                raise ValueError(f"{look.path}: {why}; target=... (--target COLUMN) says which has the labels")
    elif labels_needed:
        raise ValueError(f"{look.path} has no training data with labels where target is 'none'")
    _leave_out_indices(look, label)
    return label, [i for i in look.candidates() if i != label]


def _columns_by_name(look: _Look, options: TableOptions, model: ModelColumns) -> tuple[int | None, list[int]]:
    """The label column and the features that a model knows by their names."""
    names, wanted = look.names or [], list(model.feature_names or ())
    missing = [name for name in wanted if name not in names or names.index(name) in look.left_out]
    if missing:
        raise ValueError(
            f"{look.path} lacks {'columns' if len(missing) > 1 else 'the column'} {shown(missing, 20)} that the model "
            f"was trained on; it has {shown(names, 20)}"
        )
    label = None
    if options.target is not None and options.target != "none":
        label = _target(look, options)
        if options.target in wanted or (label is not None and names[label] in wanted):
            raise ValueError(f"target {options.target!r} is one of the model's features")
    elif options.target is None and model.target_name in names:
        label = names.index(str(model.target_name))
    features = [names.index(name) for name in wanted]
    _leave_out_indices(look, label)
    unknown = [i for i in look.candidates() if i not in features and i != label]
    if unknown:
        warnings.warn(
            f"{look.path}: columns that the model does not know are left out: {shown([names[i] for i in unknown], 20)}",
            stacklevel=2,
        )
        look.left_out |= dict.fromkeys(unknown, "the model does not know it")
    for i in features:
        look.left_out.pop(i, None)
    return label, features


def _columns_by_place(look: _Look, options: TableOptions, model: ModelColumns) -> tuple[int | None, list[int]]:
    """The label column and the features of a model, or a table, that has no names."""
    label: int | None = None
    if options.target is not None and options.target != "none":
        label = _target(look, options)
    elif options.target is None:
        candidates = look.candidates()
        named = [i for i in candidates if look.names is not None and look.names[i].casefold() in LABEL_NAMES]
        if len(named) == 1:
            label = named[0]
        elif model.num_features is not None:
            if len(candidates) == model.num_features + 2:
                _leave_out_indices(look, candidates[-1])
            if len(look.candidates()) == model.num_features + 1:
                label = _label_beside_features(look, model)
    features = [i for i in look.candidates() if i != label]
    if model.num_features is not None and len(features) > model.num_features:
        _leave_out_indices(look, label)
        features = [i for i in look.candidates() if i != label]
    if model.num_features is not None and len(features) != model.num_features:
        raise ValueError(
            f"{look.path} has {len(features)} feature columns; expected {model.num_features}; target=... (--target "
            "COLUMN, or none) and drop=... (--drop) say which columns are none"
        )
    return label, features


def _label_beside_features(look: _Look, model: ModelColumns) -> int | None:
    """The column with the model's classes, by name or by number, among one more than its features."""
    classes = set(model.class_names or ())
    known = classes | set(map(str, range(len(classes))))
    fitting = [i for i in look.candidates() if set(filter(None, look.columns[i].cells)) <= known]
    for place in (-1, 0):
        column = look.candidates()[place]
        # Words can be nothing else, whether the model knows them or not.
        if column in fitting or look.columns[column].kind == "words" or (not classes and place == -1):
            return column
    return None


# ------------------------------------------------------------------------------------------------------ labels

_PLAIN_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}", re.ASCII)
_WHOLE_FLOAT = re.compile(r"-?\d{1,15}[.,]0*", re.ASCII)


def _labels(
    rows: Rows, look: _Look, label: int, options: TableOptions, model: ModelColumns | None
) -> tuple[Array, list[str] | None]:
    """int64 labels (N,), and class names unless the labels are plainly integers.

    A label is its text: 07 and 007 are two classes. Only where every text is an integer as Python
    writes it, or such a one with a decimal point and zeros, are they numbers.
    """
    texts = rows.texts
    counts = Counter(dict(zip(texts, np.bincount(rows.codes, minlength=len(texts)).tolist(), strict=True)))
    if model is None:
        fractions = [text for text in texts if not _is_whole(text)] if all(map(_is_number, texts)) else []
        if fractions:
            fault: str | None = f"has numbers such as {fractions[0]!r}, a target for regression"
        else:
            fault = label_fault(counts, look.dialect.decimal, guessed=options.target is None)
        if fault is not None:
            raise ValueError(
                f"{look.path}: column {look.shown(label)} {fault}; networks here are classifiers, and classes are "
                "words or a few whole numbers: target=... (--target COLUMN) names another column"
            )
    if all(_PLAIN_INTEGER.fullmatch(text) for text in texts):
        return np.array([int(text) for text in texts], np.int64)[rows.codes], None
    if all(_WHOLE_FLOAT.fullmatch(text) for text in texts):
        look.notes.append(f"labels in column {look.shown(label)} are whole numbers, written as fractions")
        return np.array([int(re.split("[.,]", text)[0]) for text in texts], np.int64)[rows.codes], None
    names = sorted(texts)
    rank = {name: i for i, name in enumerate(names)}
    return np.array([rank[text] for text in texts], np.int64)[rows.codes], names


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", text, re.ASCII) is not None


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+([.,]0*)?|\d+[eE]\+?\d+", text, re.ASCII) is not None


def _note(look: _Look, rows: Rows, label: int | None, class_names: list[str] | None, y: Array | None) -> None:
    """Lines that say what was taken for what."""
    if label is not None and y is not None:
        values, counts = np.unique(y, return_counts=True)
        names = [class_names[v] if class_names is not None else str(v) for v in values.tolist()]
        some = [f"{name:.40} ({count})" for name, count in zip(names[:10], counts.tolist(), strict=False)]
        more = f", ... {len(names)} in all" if len(names) > 10 else ""
        look.notes.insert(0, f"labels: column {look.shown(label)}, classes {', '.join(some)}{more}")
    if look.names is None:
        look.notes.append("no header: columns go by their places")
    told = [f"{look.shown(i)} ({why})" for i, why in sorted(look.left_out.items()) if not look.columns[i].blank]
    if told:
        look.notes.append(f"left out: column{'s' if len(told) > 1 else ''} {', '.join(told)}")
    if rows.dropped:
        by = ", ".join(f"{count} of {look.shown(column)}" for column, count in sorted(rows.dropped.items()))
        look.notes.append(f"left out: {sum(rows.dropped.values())} rows that miss a value ({by})")
