"""A sweep over two options as a heat map."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastfc.plots._axes import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_grid"]

# Larger grids have no room for numbers in their cells.
MOST_NUMBERS = 144


def plot_grid(
    result: Any,
    x: str = "learning_rate",
    y: str = "weight_scale",
    value: str = "loss",
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """A heat map of a sweep over two options: the loss, say, over learning rates and scales of the initial weights.

    Each cell has the mean over the seeds; one of whose trainings at least one diverged or failed is gray and says so,
    and one without trainings is gray.
    A frame marks the best cell: the greatest for ``"score"`` (the smallest, if the sweep's scores are better small),
    else the smallest. Positive values that span a factor of 10 are coloured by their logarithms.

    Parameters
    ----------
    result : fastfc.sweeps.SweepResult
        Of a :func:`fastfc.sweep` over a grid of two options; other options must not vary.
    x, y : str
        The options on the axes.
    value : str
        ``"loss"`` for the training loss of the last epoch, ``"score"`` for the validation score, or another number of
        the trainings' results.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure, which is ``plot_grid(...).figure``.
    figsize : (float, float), optional
        Width and height of the new figure in inches.

    Returns
    -------
    matplotlib.axes.Axes
        Its image, ``axes.images[0]``, has the values: a row for each `y`, a column for each `x`.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        If the sweep has no trainings or no such option, other options vary too, no training has that value, or
        `figsize` stands beside `ax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> X, y = np.random.randn(90, 4), np.arange(90) % 3
    >>> data = {"X_train": X[:60], "y_train": y[:60], "X_val": X[60:], "y_val": y[60:]}
    >>> grid = {"learning_rate": [1e-3, 1e-2], "weight_scale": [1e-2, 1e-1, 1.0], "num_epochs": 2}
    >>> axes = plot_grid(fastfc.sweep(grid, data, seeds=2))
    >>> axes.images[0].get_array().shape
    (3, 2)
    >>> axes.figure.savefig("grid.png")
    """
    table, columns, rows, words = _means(result, x, y, value)
    axes = axes_of(ax, figsize, (max(5.0, 0.8 * len(columns) + 2.5), max(3.5, 0.6 * len(rows) + 1.5)))
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    known = table[np.isfinite(table)]
    low, high = float(known.min()), float(known.max())
    norm = LogNorm(low, high) if low > 0 and high > 10 * low else Normalize(low, high)
    small = value != "score" or not result.maximize
    colors = colormaps["viridis_r" if small else "viridis"].with_extremes(bad="0.85")
    image = axes.imshow(np.ma.masked_invalid(table), cmap=colors, norm=norm, origin="lower", aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=value)
    if table.size <= MOST_NUMBERS:
        for (row, column), number in np.ndenumerate(table):
            dark = math.isfinite(number) and (norm(number) > 0.5) == small
            text = f"{number:.3g}" if math.isfinite(number) else words.get((row, column), "")
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    row, column = np.unravel_index((np.nanargmin if small else np.nanargmax)(table), table.shape)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#d95f02", linewidth=2.5))
    axes.set_xticks(range(len(columns)), [_text(each) for each in columns], parse_math=False)
    axes.set_yticks(range(len(rows)), [_text(each) for each in rows], parse_math=False)
    axes.set_xlabel(x.replace("_", " "))
    axes.set_ylabel(y.replace("_", " "))
    seeds = len({trial.seed for trial in result.trials})
    axes.set_title(f"{value}, mean of {seeds} seeds" if seeds > 1 else value, loc="left", fontweight="bold")
    return axes


def _means(
    result: Any, x: str, y: str, value: str
) -> tuple[np.ndarray, list[Any], list[Any], dict[tuple[int, int], str]]:
    """The means over the seeds, NaN where one is missing (rows, columns), the values on both axes in order, and why.

    Why a place has no mean: one of its trainings diverged, or failed.
    """
    trials = result.trials
    if not trials:
        raise ValueError("result: expected a sweep with trainings, got one without")
    if x == y:
        raise ValueError(f"y: expected another option than x, got {y!r}")
    for name, option in (("x", x), ("y", y)):
        if any(option not in trial.options for trial in trials):
            known = ", ".join(dict.fromkeys(each for trial in trials for each in trial.options))
            raise ValueError(f"{name}: expected an option that all trainings have, one of {known}; got {option!r}")
    names = {name for trial in trials for name in trial.options} - {x, y}
    varying = [name for name in sorted(names) if len({repr(trial.options.get(name)) for trial in trials}) > 1]
    if varying:
        raise ValueError(f"result: expected a sweep over {x} and {y} alone, but {', '.join(varying)} vary too")
    columns, rows = (_ordered([trial.options[name] for trial in trials]) for name in (x, y))
    numbers = _numbers(trials)
    if value not in numbers:
        known = ", ".join(numbers)
        raise ValueError(f"value: expected a number that trainings have, one of {known}; got {value!r:.80}")
    sums, counts = np.zeros((2, len(rows), len(columns)))
    words: dict[tuple[int, int], str] = {}
    for trial in trials:
        place = _place(rows, trial.options[y]), _place(columns, trial.options[x])
        number = (trial.result or {}).get(value)
        number = math.nan if number is None else float(number)
        if not math.isfinite(number) and words.get(place) != "failed":
            words[place] = "diverged" if trial.error is None else "failed"
        sums[place] += number
        counts[place] += 1
    table = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    if not np.isfinite(table).any():
        raise ValueError(f"value: expected a number that trainings have, but {value!r} is finite for all seeds of none")
    return table, columns, rows, words


def _numbers(trials: Sequence[Any]) -> list[str]:
    """The names under which results have numbers; a number that is missing in one of them is None there."""
    found: dict[str, bool] = {}
    for trial in trials:
        for name, value in (trial.result or {}).items():
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            found[name] = found.get(name, True) and (number or value is None)
    return [name for name, number in found.items() if number]


def _ordered(values: Sequence[Any]) -> list[Any]:
    """The values without repetition: numbers by size, others in the order in which they come."""
    found: list[Any] = []
    for each in values:
        if not any(_same(each, other) for other in found):
            found.append(each)
    numbers = all(isinstance(each, int | float | np.number) for each in found)
    return sorted(found) if numbers else found


def _place(values: Sequence[Any], wanted: Any) -> int:
    return next(i for i, each in enumerate(values) if _same(each, wanted))


def _same(a: Any, b: Any) -> bool:
    return repr(_plain(a)) == repr(_plain(b))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.3g}"
    return str(value) if value is None or isinstance(value, str | bool) else json.dumps(value, default=str)
