"""The figures of a report, as SVG."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration", "confusion", "importances", "residuals", "svg_of"]

_BLUE, _GRAY, _RED = "#2563a8", "0.55", "#b4431f"
_WRITTEN_CLASSES = 15
_BINS = 10


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _short(name: str, length: int) -> str:
    """A name without its middle if it is too long: names often differ at their ends."""
    end = length // 3
    return name if len(name) <= length else f"{name[: length - 1 - end]}…{name[-end:]}"


def svg_of(figure: "Figure", title: str) -> str:
    """A figure as an element of a page, with a title for those who cannot see it."""
    from html import escape

    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    start = svg.index("<svg")
    return f'<svg role="img" aria-label="{escape(title, quote=True)}"{svg[start + 4 :]}'


def confusion(y: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> "Figure":
    """How many examples of each class were taken for which; colors are shares of the class."""
    count = len(names)
    table = np.bincount(y * count + predicted, minlength=count * count).reshape(count, count)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = min(3.2 + 0.45 * count, 9)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class")
    ticks, many = [_short(name, 16) for name in names], count > _WRITTEN_CLASSES
    rotation = 90 if many else 45 if max(map(len, ticks)) > 3 else 0
    size, side_of_text = (7, "center") if many else (10, "right")
    axes.set_xticks(range(count), ticks, rotation=rotation, ha=side_of_text, fontsize=size, parse_math=False)
    axes.set_yticks(range(count), ticks, fontsize=size, parse_math=False)
    if not many:
        for i, j in np.ndindex(count, count):
            axes.text(j, i, str(table[i, j]), ha="center", va="center", color="white" if shares[i, j] > 0.5 else "0.2")
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    return figure


def residuals(y: np.ndarray, predicted: np.ndarray) -> "Figure":
    """Predicted numbers against the actual ones, and the distribution of their differences."""
    figure = _figure(9, 4)
    left, right = figure.subplots(1, 2)
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    left.plot([low, high], [low, high], color=_GRAY, linewidth=1, linestyle="--", label="predicted = actual")
    left.plot(y, predicted, ".", color=_BLUE, markersize=5, alpha=0.6, rasterized=len(y) > 2000)
    left.set_xlabel("actual")
    left.set_ylabel("predicted")
    left.legend(frameon=False)
    right.hist(predicted - y, bins=min(40, max(8, len(y) // 8)), color=_BLUE)
    right.axvline(0, color=_GRAY, linewidth=1, linestyle="--")
    right.set_xlabel("predicted - actual")
    right.set_ylabel("examples")
    return _bare(figure)


def calibration(expected: np.ndarray, actual: np.ndarray, x_label: str, y_label: str) -> "Figure":
    """Means of what was expected and of what came, in ten parts of as many examples, sorted by the former."""
    figure = _figure(5.5, 4.5)
    axes = figure.subplots()
    order = np.argsort(expected, kind="stable")
    parts = [part for part in np.array_split(order, min(_BINS, max(len(order) // 5, 1))) if len(part)]
    x, y = (np.array([values[part].mean() for part in parts]) for values in (expected, actual))
    errors = np.array([actual[part].std() / np.sqrt(len(part)) for part in parts])
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    axes.plot([low, high], [low, high], color=_GRAY, linewidth=1, linestyle="--", label="as expected")
    axes.errorbar(x, y, yerr=errors, fmt="o-", color=_BLUE, capsize=2, markersize=4, label="mean ± standard error")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(frameon=False)
    return _bare(figure)


def importances(found: dict[str, tuple[float, float]], score: str) -> "Figure":
    """Bars of each column's mean loss of score and its deviation, the largest on top."""
    names = list(found)[::-1]
    means, deviations = (np.array([found[name][i] for name in names]) for i in range(2))
    figure = _figure(8, 1.2 + 0.3 * len(names))
    axes = figure.subplots()
    axes.barh(range(len(names)), means, xerr=deviations, color=_BLUE, ecolor=_RED, height=0.7)
    axes.set_yticks(range(len(names)), [_short(name, 30) for name in names], parse_math=False)
    axes.axvline(0, color=_GRAY, linewidth=1)
    axes.set_xlabel(f"loss of {score} when the column is shuffled")
    return _bare(figure)


def _bare(figure: "Figure") -> "Figure":
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure
