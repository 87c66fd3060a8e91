"""The choice of a text table's columns: which has the labels, which are features, to train or for a model."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fastfc.formats.table_look import ENOUGH_ROWS, LABEL_NAMES, label_column, label_fault
from fastfc.formats.table_options import ModelColumns, NotNumericError, TableOptions
from fastfc.formats.table_text import kind_of, number_of, shown
from fastfc.formats.table_view import View, column_of, leave_out_counting

__all__ = [
    "TARGET",
    "Choice",
    "choose_by_name",
    "choose_by_position",
    "choose_to_train",
    "class_texts",
    "is_code",
    "no_labels",
    "refuse_words",
    "whole_number",
]


@dataclass
class Choice:
    """The columns to read."""

    features: list[int]
    label: int | None
    guessed: bool = False  # whether the labels were found by looking at values


_CANONICAL = re.compile(r"0|-?[1-9]\d*", re.ASCII)
_WHOLE = re.compile(r"(-?\d+)(?:[.,]0*)?", re.ASCII)
_CODE = re.compile(r"[+-]?0\d+", re.ASCII)
TARGET = "target=... (--target NAME, or its number from 0) says which column has the labels"


def whole_number(text: str) -> str | None:
    """A whole number as it is usually written, of one like 2, 2.0 or -0.0; None for anything else, such as 07."""
    match = _WHOLE.fullmatch(text)
    number = "0" if match and match.group(1) == "-0" else match and match.group(1)
    return number if number and _CANONICAL.fullmatch(number) else None


def is_code(text: str) -> bool:
    """Whether a whole number is written with zeros before it, as codes are."""
    return _CODE.fullmatch(text) is not None


def class_texts(texts: Sequence[str], decimal: str) -> list[str]:
    """Of distinct labels the class's text for each: equal decimal numbers are one class, and so are TRUE and True."""
    kinds = {kind_of(text, decimal) for text in texts}
    same = list(texts)
    if kinds == {"boolean"}:
        same = [text.capitalize() for text in texts]
    elif kinds <= {"integer", "decimal"} and not any(map(is_code, texts)):
        whole = [whole_number(text) for text in texts]
        if None not in whole:
            return [str(number) for number in whole]
        # Without a decimal sign they can be codes, such as 1e3 beside 1000.
        if any(decimal in text for text in texts):
            # Adding 0 takes the sign from -0.
            numbers = [0.0 + (number_of(text, decimal) or 0.0) for text in texts]
            same = [str(int(number)) if number.is_integer() else repr(number) for number in numbers]
    # Where each is a class of its own, it keeps its spelling.
    return same if len(set(same)) < len(texts) else list(texts)


def _named_label(view: View) -> int | None:
    """The column that is named as labels are."""
    if view.names is None:
        return None
    kept, names = view.kept(), [name.casefold() for name in view.names]
    named = [i for i in kept if names[i] in LABEL_NAMES[:-1]]
    # "y" beside "x" is a coordinate: only at the table's ends it names labels.
    named = named or [i for i in {kept[0], kept[-1]} if names[i] == LABEL_NAMES[-1]]
    if len(named) > 1:
        raise ValueError(f"{view.path} has columns {shown(view.names[i] for i in named)}; {TARGET}")
    return named[0] if named else None


def choose_to_train(view: View, options: TableOptions) -> Choice:
    """Choose the columns to train on."""
    label, guessed = None, False
    if options.target is not None:
        label = None if options.target == "none" else column_of(view, options.target, "target")
        if label != 0:
            leave_out_counting(view)
        if label in view.left_out:
            raise ValueError(f"{view.path}: {view.title(label)} is the target and left out: {view.left_out[label]}")
    elif view.kept():
        label = _named_label(view)
        if label is None:
            leave_out_counting(view)
            if options.task == "regression":
                label, why = view.kept()[-1], ""
            else:
                label, why = label_column(view.columns, view.kept())
            if label is None:
                raise ValueError(f"{view.path}: {why}; {TARGET}")
            guessed = True
            column = view.columns[label]
            fault = label_fault(Counter(column.cells), view.dialect.decimal, guessed=True)
            if fault is not None and (options.task is None or column.kind != "numbers" or column.counts()):
                raise no_labels(view, label, fault)
    return Choice([i for i in view.kept() if i != label], label, guessed)


def no_labels(view: View, label: int, fault: str) -> ValueError:
    return ValueError(
        f"{view.path}: {view.title(label)} would be the labels, but it {fault}. {TARGET}; task='regression' "
        "(fastfc train --task regression) predicts numbers, and task='classification' takes them for classes all the "
        "same"
    )


def choose_by_name(view: View, options: TableOptions, model: ModelColumns, wanted: Sequence[str]) -> Choice:
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
        label = column_of(view, options.target, "target")
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
    return Choice(features, label)


def choose_by_position(view: View, options: TableOptions, model: ModelColumns) -> Choice:
    """Choose the columns for a model where names do not tell them: by their number."""
    taken = model.num_features
    label = None
    if options.target not in (None, "none"):
        label = column_of(view, options.target, "target")
    elif options.target is None:
        label = _named_label(view)
        if label is None and taken is not None and len(view.kept()) > taken:
            label = _label_beside(view, taken, model.class_names)
    features = [i for i in view.kept() if i != label]
    if taken is not None and len(features) != taken:
        beside = "" if label is None else f" beside the labels in {view.title(label)}"
        hint = "; target='none' (--target none) if there are no labels" if label is not None else ""
        raise ValueError(f"{view.path} has {len(features)} feature columns{beside}; expected {taken}{hint}")
    return Choice(features, label)


def _label_beside(view: View, taken: int, class_names: Sequence[str] | None) -> int | None:
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
    cells = {i: {whole_number(cell) or cell for cell in view.columns[i].cells} for i in (last, first)}
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


def refuse_words(view: View, choice: Choice) -> None:
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
    labels = f"; {TARGET}" if choice.guessed else ""
    raise NotNumericError(
        f"{view.path}, line {line}, column {column + 1}: expected a number, found {cell!r:.40}; no numbers are in "
        f"{', '.join(described)[:300]}; leave them out, drop={python[:100]} (--drop {command[:100]}), or write numbers "
        f"in their place first{labels}"
    )
