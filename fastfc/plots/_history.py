"""The losses and scores of a training, drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfc._arguments import as_array
from fastfc.plots._axes import BAD_COLOR, LOSS_COLOR, TRAIN_COLOR, VAL_COLOR, figure_of, require_axes, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_history", "plot_history"]

Array = NDArray[Any]

# Beyond it a picture of the other losses would be flat, and float64 arithmetic on axis limits overflows.
LARGEST_DRAWN = float(np.finfo(np.float32).max)
# More points than this are finer than a figure's pixels.
DRAWN_POINTS = 2000
SMOOTHED_POINTS = 300
# The first epochs may be far below 0, where nothing is to be seen of the others.
LOWEST_R2 = -1.0


def _history(name: str, values: ArrayLike) -> Array:
    """A history as float64 (n,), with NaN in place of what cannot be drawn."""
    entries = as_array(name, values)
    if entries.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, [] for no history, got shape {entries.shape}")
    if entries.size and entries.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got dtype {entries.dtype}")
    history = entries.astype(np.float64)
    history[~(np.abs(history) <= LARGEST_DRAWN)] = np.nan
    return history


def _scores(name: str, values: ArrayLike, score: str) -> Array:
    """A history of scores; ValueError for accuracies that are no fractions, such as percentages or R²."""
    history = _history(name, values)
    finite = _finite(history)
    if score == "accuracy" and finite.size and not 0 <= finite.min() <= finite.max() <= 1:
        raise ValueError(
            f"{name}: expected fractions from 0 to 1, or score='R2', got {finite.min():.4g} to {finite.max():.4g}"
        )
    return history


def _finite(history: Array) -> Array:
    return history[np.isfinite(history)]


def _smoothed(losses: Array, reach: int) -> tuple[Array, Array]:
    """Mean of the finite losses within reach, at some 0-based positions; NaN where the loss itself is NaN."""
    centers = np.unique(np.linspace(0, losses.size - 1, SMOOTHED_POINTS).round().astype(int))
    means = np.full(centers.size, np.nan)
    for i, center in enumerate(centers):
        if np.isfinite(losses[center]):
            means[i] = np.nanmean(losses[max(0, center - reach) : center + reach + 1])
    return centers, means


def _envelope(losses: Array) -> tuple[Array, Array]:
    """The losses, or for long runs the smallest and largest of each stretch: the same picture at a fixed cost."""
    if losses.size <= 2 * DRAWN_POINTS:
        return np.arange(losses.size), losses
    starts = np.linspace(0, losses.size, DRAWN_POINTS, endpoint=False).astype(int)
    low, high = (ufunc.reduceat(losses, starts) for ufunc in (np.fmin, np.fmax))
    return np.repeat(starts, 2), np.column_stack([low, high]).ravel()


def _label_end(axes: Axes, x: Array, y: Array, text: str, color: str, align: str, floor: float = -np.inf) -> None:
    """Write text at the right of a line's last drawn point, or at the floor if that is below it."""
    drawn = np.flatnonzero(np.isfinite(y))
    if drawn.size:
        last = drawn[-1]
        axes.annotate(
            text.format(y[last]),
            (x[last], max(y[last], floor)),
            xytext=(7, 0),
            textcoords="offset points",
            color=color,
            fontweight="bold",
            va=align,
            annotation_clip=False,
        )


def _finish(axes: Axes, title: str, x_label: str, y_label: str, x_end: int) -> None:
    """Labels, and the same margins in both panels, so that an epoch stands below its iterations."""
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    end = max(1, x_end)
    axes.set_xlim(-0.015 * end, 1.015 * end)
    axes.locator_params(axis="x", integer=True)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.2)
    else:
        axes.set_ylim(0, 1)
        axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center", va="center", color="0.5")


def _draw_loss(axes: Axes, losses: Array, first_epoch: int | None) -> None:
    begin, step, unit = (1, "minibatch", "iteration") if first_epoch is None else (first_epoch, "epoch's mean", "epoch")
    finite = _finite(losses)
    if finite.size:
        x, y = _envelope(losses)
        reach = losses.size // 100
        centers, means = _smoothed(losses, reach)
        if reach == 0:
            axes.plot(x + begin, y, "o-", color=LOSS_COLOR, markersize=3.5, linewidth=1.5, label=step)
        else:
            axes.plot(x + begin, y, color=LOSS_COLOR, alpha=0.35, linewidth=0.7, label=step)
            axes.plot(centers + begin, means, color=LOSS_COLOR, linewidth=2, label=f"mean of {2 * reach + 1:,}")
        _label_end(axes, centers + begin, means, "{:.4g}", LOSS_COLOR, "center")
        if finite.min() > 0 and finite.max() > 1000 * finite.min():
            axes.set_yscale("log")
    if finite.size < losses.size:
        first = int(np.flatnonzero(~np.isfinite(losses))[0]) + begin
        label = f"not finite: {losses.size - finite.size:,}, first at {first:,}"
        axes.axvline(first, color=BAD_COLOR, linestyle="--", linewidth=1.2, label=label)
    label = "iteration (minibatches)" if first_epoch is None else unit
    _finish(axes, f"Loss per {unit}", label, "loss", losses.size - 1 + begin)


def _percent(fraction: float, position: float) -> str:
    """Tick label. A module's function, so that the figure can be pickled."""
    return f"{100 * fraction:g}"


def _draw_scores(axes: Axes, train: Array, val: Array, score: str, first_epoch: int) -> None:
    accuracy = score == "accuracy"
    form = "{:.1%}" if accuracy else "{:.3f}"
    lines = [("training", train, TRAIN_COLOR), ("validation", val, VAL_COLOR)]
    ends = [_finite(history)[-1:] for _, history, _ in lines]
    # The higher label grows upwards and the lower one downwards: close values stay readable.
    aligns = ("bottom", "top") if ends[0].sum() >= ends[1].sum() else ("top", "bottom")
    longest = max(train.size, val.size)
    last, highest = first_epoch + longest - 1, _finite(np.concatenate([train, val])).max(initial=-np.inf)
    floor = LOWEST_R2 if not accuracy and highest > LOWEST_R2 else -np.inf
    for (name, history, color), align in zip(lines, aligns, strict=True):
        if np.isfinite(history).any():
            epochs = first_epoch + np.arange(history.size)
            marker = "o" if longest <= 60 else None
            axes.plot(epochs, history, color=color, marker=marker, markersize=4, linewidth=1.6, label=name)
            _label_end(axes, epochs, history, f"{name} {form}", color, align, floor)
    if np.isfinite(val).any():
        place = int(np.nanargmax(val))
        best, epoch = val[place], first_epoch + place
        label = f"best: {form.format(best)}, epoch {epoch}"
        axes.plot(epoch, best, "*", color=VAL_COLOR, markeredgecolor="white", markersize=14, label=label, zorder=3)
    axes.margins(y=0.1)
    if accuracy:
        axes.yaxis.set_major_formatter(_percent)
        _finish(axes, "Accuracy per epoch", "epoch", "accuracy (%)", last)
        return
    _finish(axes, "R² per epoch", "epoch", "R²", last)
    if highest > LOWEST_R2 > axes.get_ylim()[0]:
        axes.set_ylim(LOWEST_R2, highest + 0.1 * (highest - LOWEST_R2))


def plot_history(
    loss_history: ArrayLike,
    train_acc_history: ArrayLike,
    val_acc_history: ArrayLike,
    path: str | os.PathLike[str] | None = None,
    *,
    score: str = "accuracy",
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Two panels: the loss of every iteration with its moving mean, and the accuracies of every epoch.

    Final values stand at the lines' ends (of the loss: the moving mean, where there is one), and a star marks
    the best validation accuracy. The loss axis is logarithmic where positive losses span a factor of 1000.
    Losses that are not finite, or beyond float32, are left out and counted, and a line marks the first.

    Parameters
    ----------
    loss_history : array_like (T,)
        One loss per iteration, as in ``Solver.loss_history``.
    train_acc_history, val_acc_history : array_like (E,)
        Fractions in [0, 1]. Entry 0 is the check at the first iteration, entry k the one after epoch k, as in
        ``Solver.train_acc_history`` and ``Solver.val_acc_history``. Any of the three may be empty.
    path : path-like, optional
        Where to save the picture; the suffix chooses the format (.png, .pdf, .svg; PNG without one).
    score : {"accuracy", "R2"}
        Which scores the histories hold: accuracies, or a regression's coefficients R², which may be below 0.
    axes : pair of matplotlib.axes.Axes, optional
        Where to draw the losses and the scores; by default one above the other in a new figure.
    figsize : (float, float), optional
        Width and height of the new figure in inches; (9, 7) by default.

    Returns
    -------
    matplotlib.figure.Figure
        Made without pyplot: it needs no display, leaves no global state, and needs no closing.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        A history is not one-dimensional or has masked values; accuracies are outside [0, 1]; matplotlib does not know
        the suffix; `score` is another word; `axes` is no pair; `figsize` stands beside `axes`.
    TypeError
        A history does not hold real numbers; `axes` are none of matplotlib's.
    OSError
        The file cannot be written; one that was there stays as it was.

    Examples
    --------
    >>> figure = plot_history([2.3, 1.9, 1.2, 0.8], [0.1, 0.5, 0.7], [0.1, 0.45, 0.6])
    >>> figure.savefig("history.png")
    """
    return draw_history(loss_history, train_acc_history, val_acc_history, path, score=score, axes=axes, figsize=figsize)


def draw_history(
    loss_history: ArrayLike,
    train_acc_history: ArrayLike,
    val_acc_history: ArrayLike,
    path: str | os.PathLike[str] | None,
    *,
    score: str,
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    first_epoch: int | None = None,
) -> Figure:
    """:func:`plot_history`; with a `first_epoch` all three histories have an entry for each epoch from that one on."""
    if score not in ("accuracy", "R2"):
        raise ValueError(f"score: expected 'accuracy' or 'R2', got {score!r:.80}")
    losses = _history("loss_history", loss_history)
    train = _scores("train_acc_history", train_acc_history, score)
    val = _scores("val_acc_history", val_acc_history, score)
    if axes is None:
        figure: Any = figure_of((9, 7) if figsize is None else figsize)
        loss_axes, score_axes = figure.subplots(2, 1)
    else:
        if figsize is not None:
            raise ValueError(f"figsize: expected None beside axes, whose figure has a size, got {figsize!r}")
        loss_axes, score_axes = _pair(axes)
        # Twice: axes may be a subfigure's.
        figure = loss_axes.figure.figure
    _draw_loss(loss_axes, losses, first_epoch)
    _draw_scores(score_axes, train, val, score, first_epoch or 0)
    if path is not None:
        saved(figure, path, dpi=150)
    return figure


def _pair(axes: Any) -> tuple[Axes, Axes]:
    """Two axes, or an error."""
    try:
        loss_axes, score_axes = axes
    except (TypeError, ValueError) as error:
        raise type(error)(f"axes: expected two, for losses and for scores, got {axes!r:.80}") from error
    require_axes("axes", loss_axes)
    require_axes("axes", score_axes)
    return loss_axes, score_axes
