"""From a frame to a data set to train on: the target, the columns, the rows for validation, the features."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastfc._defaults import val_fraction
from fastfc.formats.table_choice import class_texts
from fastfc.formats.table_look import label_fault, told_task
from fastfc.formats.table_options import TASKS
from fastfc.formats.table_text import kind_of, shown
from fastfc.tabular._cells import grouped_example, is_numeric, looks_numeric, numbers_of, numbers_otherwise, texts_of
from fastfc.tabular._columns import describe, fitted, kind_of_column
from fastfc.tabular._dates import dates_of
from fastfc.tabular._encode import encoded, feature_names
from fastfc.tabular._labels import dtype_of_values, kind_of_texts, kind_of_values
from fastfc.tabular._pandas import pandas
from fastfc.tabular._read import without_missing
from fastfc.tabular._split import held_out, held_out_groups, held_out_last, weights_of_rows

__all__ = ["Prepared", "SplitOptions", "prepare"]


# One for validation, and two that can differ.
_FEWEST_ROWS = 3


@dataclass(frozen=True)
class SplitOptions:
    """How rows are held out for validation: a column's groups on one side, or the latest by a column, or at random."""

    groups: str | None = None
    time: str | None = None
    share: float | None = None
    seed: int = 0

    def check(self, frame: Any) -> None:
        """Raise ValueError for columns that are not there."""
        if self.groups is not None and self.time is not None:
            raise ValueError("groups, time: expected one of them, got both")
        for name in ("groups", "time"):
            column = getattr(self, name)
            if column is not None and column not in frame.columns:
                raise ValueError(f"{name}: {column!r:.80} is not among the columns {shown(frame.columns, 12)}")


@dataclass
class Prepared:
    """A data set as :class:`fastfc.Solver` takes it, with `notes`; and the description that a model's file holds."""

    data: dict[str, Any]
    description: dict[str, Any]


def prepare(
    frame: Any,
    target: str,
    *,
    task: str = "auto",
    split: SplitOptions | None = None,
    class_weight: str | Mapping[Any, float] | None = None,
    missing: str | None = None,
) -> Prepared:
    """Describe a frame's columns, hold out rows, and make features of the columns.

    Raises
    ------
    ValueError
        If the target cannot be predicted, no column is a feature, or the options do not fit.
    """
    if task not in ("auto", *TASKS):
        raise ValueError(f"task={task!r} (--task): expected 'auto', {', '.join(map(repr, TASKS))}")
    split = split or SplitOptions()
    split.check(frame)
    if target in (split.groups, split.time):
        raise ValueError(f"target: {target!r} cannot be the column of groups or times too")
    notes: list[str] = []
    width, only_texts = frame.attrs.get("width"), frame.attrs.get("texts", False)
    if not len(frame):
        raise ValueError("the table has no rows")
    known = frame[target].notna().to_numpy()
    if not known.any():
        raise ValueError(f"target: column {target!r} has no values")
    if missing is not None:
        frame, told = without_missing(frame, missing, frame.columns)
        notes.append(told)
    elif not known.all():
        notes.append(f"left out: {int((~known).sum())} rows without a value of the target {target!r}")
        frame = frame[known]
    if not len(frame):
        raise ValueError("the table has no row without a missing value")
    frame = frame.reset_index(drop=True)
    frame, lines = _ungrouped(frame, split.groups)
    notes += lines
    y, names, kind = _target(frame[target], task, notes, only_texts=only_texts)
    columns, left_out = describe(frame.drop(columns=[target, *([split.groups] if split.groups else [])]))
    notes += [f"left out: column {name!r}, {why}" for name, why in left_out.items()]
    notes += _told_numbers(frame, [*left_out, *(each["name"] for each in columns)])
    if not columns:
        raise ValueError(f"the table has no column to learn from beside the target {target!r}")
    notes += _told_kinds(columns)
    train, val = _parts(frame, y, split)
    notes += [] if names is None else _told_unlearned(names, y[train], target)
    columns = [fitted(column, frame[column["name"]].iloc[train]) for column in columns]
    X, lines = encoded(columns, frame)
    notes += lines
    data = {"X_train": X[train], "y_train": y[train], "X_val": X[val], "y_val": y[val], "notes": notes}
    if class_weight is not None:
        if names is None:
            raise ValueError("class_weight is for classes; this target has numbers to predict")
        data["weights_train"] = weights_of_rows(y[train], class_weight, names)
    data |= {"feature_names": feature_names(columns), "target_name": target}
    if names is not None:
        data["class_names"] = names
    description = {"format": "fastfc table 1", "target": target, "columns": columns, "width": width}
    if names is not None:
        description["labels"] = kind
        description["labels_dtype"] = None if only_texts or kind is None else dtype_of_values(frame[target], kind)
    return Prepared(data, description | {"groups": split.groups})


def _target(
    series: Any, task: str, notes: list[str], *, only_texts: bool
) -> tuple[np.ndarray, list[str] | None, str | None]:
    """Labels, the classes' names and the labels' kind, or numbers; `only_texts` is a table whose cells are texts."""
    texts, codes = texts_of(series)
    numeric = is_numeric(series) or looks_numeric(texts)
    numbers, odd = numbers_of(series) if numeric or task == "regression" else (np.empty(0), [])
    if numeric and task != "classification" and odd and all(kind_of(text, ".") == "infinite" for text in odd):
        raise ValueError(f"target: expected finite numbers in column {series.name!r}, found {shown(odd, 3)}")
    numeric = numeric and not odd
    if task == "regression" and not numeric:
        raise ValueError(f"target: expected numbers to predict in column {series.name!r}, found {shown(odd, 3)}")
    kind = kind_of_texts(texts.tolist()) if only_texts else kind_of_values(series)
    if only_texts:
        found, places = np.unique(np.array(class_texts(texts.tolist(), "."), object), return_inverse=True)
        texts, codes = found, places[codes]
    told = ""
    if task == "auto":
        task, told = told_task(np.unique(numbers).tolist() if numeric else texts.tolist(), len(series))
        counts = Counter(dict(zip(texts.tolist(), np.bincount(codes).tolist(), strict=True)))
        fault = None if numeric else label_fault(counts, ".", guessed=False)
        if fault is not None:
            raise ValueError(f"target: column {series.name!r} {fault}; expected classes or numbers to predict")
    if task == "regression":
        if numbers.min() == numbers.max():
            raise ValueError(f"target: column {series.name!r} is {numbers[0]:g} in each row")
        notes.append(f"target: column {series.name!r}, numbers from {numbers.min():g} to {numbers.max():g}{told}")
        return numbers, None, None
    order = np.argsort(np.array(list(map(float, texts)))) if numeric else np.argsort(texts.astype(str))
    if len(texts) < 2:
        raise ValueError(f"target: column {series.name!r} is {texts[0]!r} in each row; expected two classes or more")
    names = texts[order].tolist()
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    y = rank[codes]
    sizes = np.bincount(y)
    each = ", ".join(f"{name:.30} ({size})" for name, size in list(zip(names, sizes, strict=True))[:10])
    more = ", ..." if len(names) > 10 else ""
    notes.append(f"labels: column {series.name!r}, {len(names)} classes: {each}{more}{told}")
    return y, names, kind


def _told_unlearned(names: list[str], y: np.ndarray, target: str) -> list[str]:
    """A line about classes that no row to train on has; ValueError if these rows (N,) have one class only."""
    counts = np.bincount(y, minlength=len(names))
    absent = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if len(absent) == len(names) - 1:
        only = names[int(np.argmax(counts))]
        raise ValueError(
            f"target: column {target!r} is {only!r} in each row to train on; the rows held out have the other classes"
        )
    what = "classes that no row to train on has, and that the model cannot learn"
    return [f"column {target!r}: {what}: {shown(absent)}"] if absent else []


def _ungrouped(frame: Any, groups: str | None) -> tuple[Any, list[str]]:
    """A frame whose numbers in groups of thousands are no texts any more, and a line for each column."""
    types, notes = pandas().api.types, []
    for name in frame.columns:
        if name == groups or not (types.is_object_dtype(frame[name].dtype) or types.is_string_dtype(frame[name].dtype)):
            continue
        example = grouped_example(texts_of(frame[name])[0])
        if example is not None:
            frame = frame.assign(**{name: numbers_of(frame[name])[0]})
            notes.append(f"column {name!r}: numbers in groups of thousands, such as {example!r:.40}")
    return frame, notes


def _told_numbers(frame: Any, names: list[str]) -> list[str]:
    """A line for each column of categories that look like numbers."""
    found = {}
    for name in names:
        if kind_of_column(frame[name])[0] == "category":
            found[name] = numbers_otherwise(texts_of(frame[name])[0])
    return [
        f"column {name!r}: taken for texts; numbers are written without units and groups of thousands, unlike {text!r}"
        for name, text in found.items()
        if text is not None
    ]


def _told_kinds(columns: list[dict[str, Any]]) -> list[str]:
    """One line that says what the columns were taken for."""
    kinds = {"number": "numbers", "boolean": "booleans", "date": "dates", "category": "categories"}
    parts = []
    for kind, word in kinds.items():
        names = [column["name"] for column in columns if column["kind"] == kind]
        if names:
            parts.append(f"{word} {', '.join(map(_quoted, names[:8]))}{', ...' if len(names) > 8 else ''}")
    return [f"columns: {'; '.join(parts)}"]


def _quoted(name: str) -> str:
    """A name as it stands among others: in quotes if it has commas of its own."""
    return repr(name) if "," in name else name


def _parts(frame: Any, y: np.ndarray, split: SplitOptions) -> tuple[np.ndarray, np.ndarray]:
    share = val_fraction(len(frame)) if split.share is None else split.share
    if len(frame) < _FEWEST_ROWS:
        rows = "1 row" if len(frame) == 1 else f"{len(frame)} rows"
        raise ValueError(f"the table has {rows} with a target, too few to train on and to validate with")
    if split.groups is not None:
        texts, codes = texts_of(frame[split.groups])
        # Rows without a group are one of their own.
        return held_out_groups(np.where(codes < 0, len(texts), codes), share, split.seed)
    if split.time is not None:
        return held_out_last(_times(frame[split.time]), share)
    return held_out(y, share, split.seed)


def _times(series: Any) -> np.ndarray:
    kind, form = kind_of_column(series)
    if kind not in ("number", "date"):
        raise ValueError(f"time: expected dates or numbers in column {series.name!r}")
    if kind == "number":
        times, _ = numbers_of(series)
        missing = np.isnan(times)
    else:
        dates, _ = dates_of(series, form)
        missing, times = dates.isna().to_numpy(), dates.to_numpy()
    if missing.any():
        raise ValueError(f"time: column {series.name!r} lacks a value in {int(missing.sum())} rows")
    return times
