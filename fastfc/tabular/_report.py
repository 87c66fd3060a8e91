"""A report on a training: one page of HTML that needs nothing else."""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fastfc._arguments import require_path
from fastfc.formats.atomic import rehearse, replaced_file

__all__ = [
    "REPORT_SUFFIXES",
    "Report",
    "permutation_importances",
    "require_report_path",
    "write_report",
]

REPORT_SUFFIXES = (".html", ".htm")

# More classes or columns are more than a figure can show, or than there is time for.
_MOST_CLASSES, _MOST_COLUMNS, _SHOWN_COLUMNS, _ROWS, _REPEATS = 60, 200, 20, 2000, 5

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
th { font-weight: 600; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; } p.note { color: #666; } ul { padding-left: 1.2rem; }
"""


@dataclass
class Report:
    """The content of a report.

    Parameters
    ----------
    title : str
    net : FullyConnectedNet
        With numbers to predict in their units.
    X, y : arrays (N, ...), (N,)
        The examples for validation and their labels or numbers.
    columns : mapping of str to list of int
        The features of each column.
    losses, train_scores, val_scores : sequence of float
        As in the Solver's histories.
    notes : list of str
        What was taken for what.
    chosen : mapping of str to str
        Sizes and options.
    """

    title: str
    net: Any
    X: np.ndarray
    y: np.ndarray
    columns: Mapping[str, Sequence[int]]
    losses: Sequence[Any]
    train_scores: Sequence[float]
    val_scores: Sequence[float]
    notes: Sequence[str] = ()
    chosen: Mapping[str, str] = field(default_factory=dict)


def require_report_path(name: str, path: Any) -> None:
    """An error that names the argument unless a report can be written to `path`."""
    require_path(name, path)
    if Path(path).suffix.lower() not in REPORT_SUFFIXES:
        raise ValueError(f"{name}: expected a name that ends in {', '.join(REPORT_SUFFIXES)}, got {os.fspath(path)!r}")
    _require_matplotlib(name)
    rehearse(path)


def _require_matplotlib(what: str) -> None:
    """Raise an ImportError that names the extra if there is no matplotlib."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(f'{what} needs matplotlib: pip install "fastfc[plot]"') from error


def permutation_importances(
    net: Any, X: np.ndarray, y: np.ndarray, columns: Mapping[str, Sequence[int]], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """How much score is lost when a column's values are shuffled: mean and deviation of 5 times, the largest first.

    Parameters
    ----------
    net : FullyConnectedNet
    X, y : arrays (N, D), (N,)
        At most 2000 rows are taken.
    columns : mapping of str to list of int
        The features of each column, which are shuffled together.

    Notes
    -----
    Breiman, *Random Forests* (2001), section 10.
    """
    random = np.random.RandomState(seed)
    rows = random.permutation(len(X))[:_ROWS]
    X, y = X[rows], y[rows]
    base = _score(net, X, y)
    found = {}
    for name, places in columns.items():
        losses = []
        for _ in range(_REPEATS):
            shuffled = X.copy()
            shuffled[:, places] = X[random.permutation(len(X))][:, places]
            losses.append(base - _score(net, shuffled, y))
        found[name] = float(np.mean(losses)), float(np.std(losses))
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _score(net: Any, X: np.ndarray, y: np.ndarray) -> float:
    """The accuracy, or R²."""
    predicted = net.predict(X)
    if net.class_names is not None:
        return float((predicted == y).mean())
    spread = ((y - y.mean()) ** 2).sum()
    return float(1 - ((predicted - y) ** 2).sum() / spread) if spread > 0 else float("nan")


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write a report as one file of HTML, its figures within; an older file is replaced.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    OSError
        If the file cannot be written.
    """
    _require_matplotlib("a report")
    text = _page(report)
    with replaced_file(path) as file:
        file.write(text.encode())


def _page(report: Report) -> str:
    of_classes = report.net.class_names is not None
    parts = [
        _section("Data", _list(report.notes)),
        _section("Network and training", _table(report.chosen.items())),
        _section("Validation", _scores(report)),
        _section("Learning curves", _curves(report)),
        *(_of_classes(report) if of_classes else _of_numbers(report)),
        _section("Importance of columns", _importance(report)),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(report.title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(report.title)}</h1>\n{''.join(parts)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}\n</section>\n"


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else _note("Nothing to tell.")


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _table(rows: Any, head: Sequence[str] = ()) -> str:
    top = f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>" if head else ""
    body = "".join(
        f"<tr><th>{escape(str(name))}</th>{''.join(f'<td>{escape(str(cell))}</td>' for cell in _cells(rest))}</tr>"
        for name, rest in rows
    )
    return f"<table>{top}{body}</table>"


def _cells(rest: Any) -> Sequence[Any]:
    return rest if isinstance(rest, (list, tuple)) else [rest]


def _scores(report: Report) -> str:
    y, predicted, names = report.y, report.net.predict(report.X), report.net.class_names
    score = _score(report.net, report.X, y)
    if names is None:
        errors = predicted - y
        sizes = {"RMSE": np.sqrt((errors**2).mean()), "mean absolute error": np.abs(errors).mean()}
        told = [(name, f"{size:.4g}") for name, size in sizes.items()]
        return _table([("R²", f"{score:.3f}"), *told, ("examples", len(y))])
    text = _table([("accuracy", f"{100 * score:.1f} %"), ("examples", len(y))])
    if len(names) > _MOST_CLASSES:
        return text
    count = len(names)
    right, actual, said = (np.bincount(part, minlength=count) for part in (y[predicted == y], y, predicted))
    rows: list[tuple[str, Any]] = [
        (name, [actual[i], _percent(right[i], actual[i]), _percent(right[i], said[i])]) for i, name in enumerate(names)
    ]
    return text + "<br>" + _table(rows, ["class", "examples", "found (recall)", "right when said (precision)"])


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _curves(report: Report) -> str:
    from fastfc.tabular._figures import svg_of
    from fastfc.vis_utils import plot_history

    score = "R2" if report.net.class_names is None else "accuracy"
    figure = plot_history(report.losses, report.train_scores, report.val_scores, score=score)
    return svg_of(figure, "loss of each step and scores of each epoch")


def _of_classes(report: Report) -> list[str]:
    from fastfc.tabular._figures import calibration, confusion, svg_of

    names = report.net.class_names
    probabilities = report.net.predict_proba(report.X)
    predicted = probabilities.argmax(axis=1)
    shown = _note(f"{len(names)} classes are more than a figure can show.")
    if len(names) <= _MOST_CLASSES:
        shown = svg_of(confusion(report.y, predicted, names), "confusion matrix")
    certainty, right = probabilities.max(axis=1).astype(np.float64), (predicted == report.y).astype(np.float64)
    text = _note(
        f"The network is {100 * certainty.mean():.1f} % certain of its answers on average, and "
        f"{100 * right.mean():.1f} % of them are right."
    )
    figure = calibration(certainty, right, "probability of the predicted class", "share of right answers")
    return [
        _section("Confusion matrix", shown),
        _section("Calibration", text + svg_of(figure, "calibration: probabilities and shares of right answers")),
    ]


def _of_numbers(report: Report) -> list[str]:
    from fastfc.tabular._figures import calibration, residuals, svg_of

    predicted = report.net.predict(report.X).astype(np.float64)
    text = _note("Means in parts of the examples, which are sorted by the predicted number.")
    figure = calibration(predicted, report.y, "mean predicted number", "mean actual number")
    return [
        _section(
            "Residuals", svg_of(residuals(report.y, predicted), "predicted and actual numbers, their differences")
        ),
        _section("Calibration", text + svg_of(figure, "calibration: means of predicted and actual numbers")),
    ]


def _importance(report: Report) -> str:
    from fastfc.tabular._figures import importances, svg_of

    if report.X.ndim != 2 or len(report.columns) > _MOST_COLUMNS:
        return _note("There are too many features to shuffle each of them.")
    found = permutation_importances(report.net, report.X, report.y, report.columns)
    score = "R²" if report.net.class_names is None else "accuracy"
    most = dict(list(found.items())[:_SHOWN_COLUMNS])
    text = _note(
        f"How much {score} is lost on the validation examples when a column's values are shuffled: mean and deviation "
        "of 5 times. Columns that say the same can stand in for each other."
    )
    rest = _note(f"The first {len(most)} of {len(found)} columns.") if len(found) > len(most) else ""
    return text + svg_of(importances(most, score), "importance of columns") + rest
