"""Reading text tables of numbers, with a column of labels: CSV and its kin.

A table is looked at first, to tell how it is written (`table_text.py`) and what its columns are (`table_view.py`,
`table_look.py`); then its columns are chosen (`table_choice.py`) and its rows are read (`table_rows.py`). A table
that can be read in two ways is an error that names the option that decides.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.table_choice import (
    TARGET,
    Choice,
    choose_by_name,
    choose_by_position,
    choose_to_train,
    class_texts,
    no_labels,
    refuse_words,
    whole_number,
)
from fastfc.formats.table_look import ENOUGH_ROWS, is_id_name, label_fault, told_task
from fastfc.formats.table_options import ModelColumns, TableOptions
from fastfc.formats.table_rows import Layout, Rows, read_rows
from fastfc.formats.table_text import has_table_suffix, kind_of, number_of
from fastfc.formats.table_view import View, leave_out, look

__all__ = ["ModelColumns", "Table", "TableOptions", "has_table_suffix", "read_table"]

Array = NDArray[Any]


@dataclass
class Table:
    """A table that was read: X float64 (N, D) and, where the table has a target, y (N,).

    y has int64 labels, with class names if these are names; or float64 numbers to predict.
    """

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


# ---------------------------------------------------------------------------------------------------- labels

_CODE = re.compile(r"[+-]?\d+(?:[eE]\d+)?", re.ASCII)


def _numbers(view: View, choice: Choice, rows: Rows, *, task: str) -> Array | None:
    """A float64 number for each row, if the target's texts are numbers to predict by `task`."""
    label = choice.label
    assert label is not None
    found = [number_of(text, view.dialect.decimal) for text in rows.texts]
    if None in found:
        if task == "regression":
            odd = found.index(None)
            raise ValueError(
                f"{view.path}, line {rows.lines[odd]}, column {label + 1}: expected a number to predict, found "
                f"{rows.texts[odd]!r:.40} in {view.title(label)}; task='classification' (--task classification) "
                "takes words for classes"
            )
        return None
    numbers = np.array(found, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{view.path}: {view.title(label)} has numbers beyond the range of float64")
    return numbers[rows.codes]


def _target(view: View, choice: Choice, rows: Rows, task: str, *, to_train: bool) -> tuple[Array, list[str] | None]:
    """The labels and their names, or the numbers, for a task that was asked for or is to be found out."""
    assert choice.label is not None
    numbers = None if task == "classification" else _numbers(view, choice, rows, task=task)
    # Classes that were not asked for have to look like some, unless numbers were found to do so.
    refuse = numbers is None and task != "classification"
    told = ""
    if task == "auto":
        classes = set(class_texts(rows.texts, view.dialect.decimal))
        values = classes if numbers is None else np.unique(numbers).tolist()
        task, told = told_task(values, len(rows.codes))
    if task == "classification" or numbers is None:
        found = _labels(view, choice, rows, to_train=to_train, refuse=refuse)
        if to_train:
            view.notes[-1] += told
        return found
    if to_train:
        low, high = numbers.min(), numbers.max()
        if low == high:
            raise ValueError(f"{view.path}: {view.title(choice.label)} is {low:g} in each row; {TARGET}")
        view.notes.append(f"target: {view.title(choice.label)}, numbers from {low:g} to {high:g}{told}")
    return numbers, None


def _labels(
    view: View, choice: Choice, rows: Rows, *, to_train: bool, refuse: bool = True
) -> tuple[Array, list[str] | None]:
    """An int64 label for each row, and names unless they are plainly whole numbers; what looks like none is refused."""
    label = choice.label
    assert label is not None
    texts, decimal = rows.texts, view.dialect.decimal
    counts = Counter(dict(zip(texts, np.bincount(rows.codes, minlength=len(texts)).tolist(), strict=True)))
    kinds = Counter(kind_of(text, decimal) for text in texts)
    whole, classes = [whole_number(text) for text in texts], class_texts(texts, decimal)
    fits = all(text is not None and len(text) < 19 for text in whole)
    are_codes = all(map(_CODE.fullmatch, texts))
    numbers = kinds["integer"] + kinds["decimal"]
    if refuse and not fits and not are_codes and kinds["decimal"] and 2 * numbers > len(texts):
        odd = whole.index(None) if None in whole else 0
        raise ValueError(
            f"{view.path}, line {rows.lines[odd]}, column {label + 1}: expected a whole number or a name as label, "
            f"found {texts[odd]!r:.40}: {view.title(label)} has {len(texts)} distinct numbers in {len(rows.codes)} "
            f"rows, a target for regression. {TARGET}; task='regression' (fastfc train --task regression) predicts "
            "numbers, and task='classification' takes them for classes all the same"
        )
    if fits and whole != texts:
        view.notes.append(f"classes in {view.title(label)} are whole numbers written as floats")
    if to_train:
        merged: Counter[str] = Counter()
        for text, name in zip(texts, classes, strict=True):
            merged[name] += counts[text]
        fault = label_fault(merged, decimal, guessed=choice.guessed)
        if fault is not None and refuse:
            raise no_labels(view, label, fault)
        view.notes.append(_described_labels(view, choice, merged, numeric=fits))
    if fits:
        return np.array([int(text or 0) for text in whole], np.int64)[rows.codes], None
    names = sorted(set(classes))
    rank = {name: i for i, name in enumerate(names)}
    return np.array([rank[name] for name in classes], np.int64)[rows.codes], names


def _described_labels(view: View, choice: Choice, counts: Counter[str], *, numeric: bool) -> str:
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
    view = look(path, options, known)
    leave_out(view, options)
    if model is None:
        choice = choose_to_train(view, options)
    elif wanted is not None and view.names is not None:
        choice = choose_by_name(view, options, model, wanted)
    else:
        choice = choose_by_position(view, options, model)
    if not choice.features:
        raise ValueError(f"{path} has no column beside the labels")
    if labels_needed and choice.label is None:
        raise ValueError(f"{path} has no training data with labels: target='none' says that no column has them")
    refuse_words(view, choice)
    # Each row to predict from has its own place among the predictions.
    rows = read_rows(_layout(view, choice, options, blank_rows=model is not None))
    if not len(rows.X):
        raise ValueError(f"{path} has no rows" + (" without missing values" if rows.dropped else ""))
    _note(view, choice, rows, to_train=model is None)
    table = Table(rows.X, None, None, notes=view.notes, warnings=view.warnings)
    if choice.label is not None:
        if options.task is None:
            table.y, table.class_names = _labels(view, choice, rows, to_train=model is None)
        else:
            table.y, table.class_names = _target(view, choice, rows, options.task, to_train=model is None)
    if view.names is not None:
        table.feature_names = [view.names[i] for i in choice.features]
        table.target_name = None if choice.label is None else view.names[choice.label]
    return table


def _layout(view: View, choice: Choice, options: TableOptions, *, blank_rows: bool) -> Layout:
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
        blank_rows=blank_rows,
        text_bytes=len(text) if view.head.whole else view.path.stat().st_size,
        row_bytes=max(len(text) // (text.count("\n") + 1), 1),
        by_lines='"' not in text and text.count("\r") == text.count("\r\n"),
    )


def _note(view: View, choice: Choice, rows: Rows, *, to_train: bool) -> None:
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
        if to_train and len(column.cells) >= ENOUGH_ROWS and column.all_are("integer") and column.identifies():
            reason = "counts the rows" if column.counts() else None
            if reason is None and view.names is not None and is_id_name(view.names[i]):
                reason = "has the name of an id, no value twice,"
            if reason is not None:
                python, command = view.options_for([i])
                notes.append(
                    f"{view.title(i)} {reason} and is a feature; drop={python} (--drop {command}) leaves it out"
                )
    if rows.dropped:
        where = ", ".join(f"{count} in {view.title(i)}" for i, count in rows.dropped.most_common(6))
        text = f"left out: {rows.dropped.total()} rows that miss a value ({where})"
        if to_train:
            notes.append(text)
        else:
            view.warnings.append(f"{view.path}: {text}")
