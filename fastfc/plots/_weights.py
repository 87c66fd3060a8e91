"""The weights of the first layer as pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import as_array
from fastfc._ranges import require_count
from fastfc.plots._axes import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.network import Network

__all__ = ["plot_weights"]

GAP = 1


def plot_weights(
    weights: FullyConnectedNet | Network | ArrayLike,
    shape: Sequence[int] | None = None,
    *,
    count: int = 64,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """The weights of the first layer's units as pictures, side by side.

    Gray pictures are drawn with one scale for all units: white is 0, red above, blue below, and the strongest colour
    is the largest magnitude. The red, green and blue of colour pictures are scaled to [0, 1] for each unit by itself.

    Parameters
    ----------
    weights : FullyConnectedNet, Network, or array (D, H)
        A network, whose ``W1`` is drawn, or weights.
    shape : sequence of int, optional
        The shape of an example: (height, width), (height, width, 3) or (3, height, width), with D elements; the
        course's CIFAR-10 data are (3, 32, 32). By default 3072 weights are such a picture, and a square number of them
        is a square gray one.
    count : int
        The most units that are drawn, in their order.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure, which is ``plot_weights(...).figure``.
    figsize : (float, float), optional
        Width and height of the new figure in inches.

    Returns
    -------
    matplotlib.axes.Axes
        Its image, ``axes.images[0]``, has a row and a column of pixels between pictures.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        If `weights` is no matrix or has entries that are not finite, `shape` does not fit it or cannot be guessed,
        `count` is less than 1, or `figsize` stands beside `ax`.
    TypeError
        If `weights` does not hold real numbers, or `shape` or `count` no integers.

    Examples
    --------
    >>> import fastfc
    >>> axes = plot_weights(fastfc.FullyConnectedNet([30], 784), count=16)
    >>> axes.get_title(loc="left")
    'First-layer weights, 16 of 30 units'
    >>> axes.figure.savefig("weights.png")
    """
    require_count("count", count, 1)
    matrix = _matrix(weights)
    pictures = _pictures(matrix, shape)[:count]
    units = f"{matrix.shape[1]} unit{'s' if matrix.shape[1] > 1 else ''}"
    drawn = units if len(pictures) == matrix.shape[1] else f"{len(pictures)} of {units}"
    height, width = pictures.shape[1:3]
    # All of them together are about as wide as high.
    columns = min(math.ceil(math.sqrt(len(pictures) * height / width)), len(pictures))
    axes = axes_of(ax, figsize, (6.0, 5.5))
    if pictures.ndim == 4:
        low, high = (extreme(pictures, axis=(1, 2, 3), keepdims=True) for extreme in (np.min, np.max))
        scaled = (pictures - low) / np.where(high > low, high - low, 1)
        axes.imshow(_grid(scaled, columns, 1.0), interpolation="nearest")
    else:
        most = float(np.abs(pictures).max()) or 1.0
        grid = _grid(pictures, columns, np.nan)
        image = axes.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        axes.figure.colorbar(image, ax=axes, shrink=0.7, label="weight")
    axes.set_axis_off()
    axes.set_title(f"First-layer weights, {drawn}", loc="left", fontweight="bold")
    return axes


def _matrix(weights: Any) -> np.ndarray:
    """The weights (D, H) in float64."""
    found = as_array("weights", weights.params["W1"] if hasattr(weights, "params") else weights)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"weights: expected a network or real numbers, got dtype {found.dtype}")
    if found.ndim != 2 or 0 in found.shape:
        raise ValueError(f"weights: expected shape (features, units), got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("weights: expected finite numbers")
    return found.astype(np.float64)


def _pictures(matrix: np.ndarray, shape: Sequence[int] | None) -> np.ndarray:
    """The weights (D, H) as pictures (H, height, width), or with colours (H, height, width, 3)."""
    features = len(matrix)
    if shape is None:
        side = math.isqrt(features)
        if features == 3072:
            shape = (3, 32, 32)
        elif side * side == features:
            shape = (side, side)
        else:
            raise ValueError(f"shape: expected the shape of a picture, as {features} features are not a square's")
    if not isinstance(shape, Iterable):
        raise TypeError(f"shape: expected a sequence of integers, got {shape!r:.80}")
    sizes = tuple(shape)
    for size in sizes:
        require_count("shape", size, 1)
    if math.prod(sizes) != features or not (len(sizes) == 2 or (len(sizes) == 3 and 3 in (sizes[0], sizes[2]))):
        raise ValueError(
            f"shape: expected (height, width), (height, width, 3) or (3, height, width) with {features} elements, "
            f"got {sizes}"
        )
    pictures = matrix.T.reshape(-1, *sizes)
    return pictures.transpose(0, 2, 3, 1) if len(sizes) == 3 and sizes[2] != 3 else pictures


def _grid(pictures: np.ndarray, columns: int, gap: float) -> np.ndarray:
    """The pictures row by row in one, with a pixel of value `gap` between them."""
    count, height, width = pictures.shape[:3]
    rows = math.ceil(count / columns)
    shape = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, *pictures.shape[3:])
    grid = np.full(shape, gap)
    for n, picture in enumerate(pictures):
        top, left = n // columns * (height + GAP), n % columns * (width + GAP)
        grid[top : top + height, left : left + width] = picture
    return grid
