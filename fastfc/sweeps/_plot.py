"""Pictures of a sweep: parallel coordinates of options and scores, and curves of the losses over seeds."""

import itertools
import json
import math
import os
from typing import Any

import numpy as np

from fastfc.plots._axes import saved
from fastfc.sweeps._options import plain

__all__ = ["drawn"]

_MOST_CURVES = 10


def drawn(result: Any, fname: str | os.PathLike[str] | None) -> Any:
    """The figure of a sweep's result, saved if there is a name."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "fastfc[plot]"') from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_coordinates(left, result)
    _draw_losses(right, result)
    if fname is not None:
        saved(figure, fname)
    return figure


def _draw_coordinates(axes: Any, result: Any) -> None:
    """A line for each training with a score, through its place on each axis; the last axis is the score."""
    from matplotlib import colormaps

    trials = [trial for trial in result.trials if not math.isnan(trial.score)]
    names = list(dict.fromkeys(name for trial in trials for name in trial.options))
    columns = [_places([plain(trial.options.get(name)) for trial in trials]) for name in names]
    varying = [(name, column) for name, column in zip(names, columns, strict=True) if len(column[1]) > 1]
    score = _places([trial.score for trial in trials])
    shown = [*varying, ("score", score)]
    for i, color in enumerate(score[0]):
        axes.plot([column[0][i] for _, column in shown], color=colormaps["viridis"](color), alpha=0.7)
    for x, (_, (_, ticks)) in enumerate(shown):
        axes.axvline(x, color="0.8", zorder=0)
        for text, y in ticks.items():
            place = {"ha": "center", "va": "center", "backgroundcolor": "white"}
            axes.annotate(text, (x, y), fontsize=8, parse_math=False, **place)
    axes.set_xticks(range(len(shown)), [name for name, _ in shown])
    axes.set_yticks([])
    shown_of = "" if len(trials) == len(result.trials) else f"{len(trials)} with a score of "
    axes.set_title(f"{shown_of}{len(result.trials)} training{'s' if len(result.trials) != 1 else ''}")


def _places(values: list[Any]) -> tuple[list[float], dict[str, float]]:
    """Each value's place from 0 to 1 on an axis, and the axis's labels; numbers by size, the rest by their texts."""
    if values and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, float)
        if numbers.min() > 0 and numbers.max() >= 10 * numbers.min():
            numbers = np.log(numbers)
        spread = np.ptp(numbers)
        places = ((numbers - numbers.min()) / spread if spread > 0 else np.full(len(numbers), 0.5)).tolist()
        labels = dict(zip(map("{:.4g}".format, values), places, strict=True))
        if len(labels) > 8:
            low, high = int(np.argmin(numbers)), int(np.argmax(numbers))
            labels = {f"{values[i]:.4g}": places[i] for i in (low, high)}
        return places, labels
    texts = list(map(_text, values))
    order = {text: i for i, text in enumerate(sorted(set(texts)))}
    most = max(len(order) - 1, 1)
    return [order[text] / most for text in texts], {text: i / most for text, i in order.items()}


def _draw_losses(axes: Any, result: Any) -> None:
    """The loss by epoch: the median over the seeds, and the range from the first to the third quartile."""
    options = [plain(trial.options) for trial in result.trials]
    varying = [name for name in dict.fromkeys(itertools.chain(*options)) if len(_texts(options, name)) > 1]
    groups: dict[str, list[list[float]]] = {_label(row, varying): [] for row in result.over_seeds()[:_MOST_CURVES]}
    for trial, chosen in zip(result.trials, options, strict=True):
        curves = groups.get(_label(chosen, varying))
        if curves is not None and trial.result and trial.result.get("losses"):
            curves.append(trial.result["losses"])
    for label, curves in groups.items():
        if not curves:
            continue
        table = np.full((len(curves), max(map(len, curves))), np.nan)
        for row, curve in zip(table, curves, strict=True):
            row[: len(curve)] = [math.nan if loss is None else loss for loss in curve]
        epochs = np.arange(1, table.shape[1] + 1)
        shown = ~np.isnan(table).all(axis=0)
        if not shown.any():
            continue
        low, middle, high = np.nanquantile(table[:, shown], (0.25, 0.5, 0.75), axis=0)
        # A line of one point is none.
        (line,) = axes.plot(epochs[shown], middle, "o-" if len(middle) == 1 else "-", label=label)
        axes.fill_between(epochs[shown], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss")
    if axes.lines:
        for text in axes.legend(fontsize=7).get_texts():
            text.set_parse_math(False)
    axes.locator_params(axis="x", integer=True)


def _texts(options: list[dict[str, Any]], name: str) -> set[str]:
    """The values of an option, as texts."""
    return {_text(each.get(name)) for each in options}


def _text(value: Any) -> str:
    """A value as Python or a command line writes it, words without quotation marks."""
    return str(value) if value is None or isinstance(value, (str, bool)) else json.dumps(value)


def _label(options: dict[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name}={_text(options.get(name))}" for name in names) or "all seeds"
