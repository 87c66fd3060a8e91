"""Grids of pictures under the names of the course's ``vis_utils``; :func:`fastfc.plots.plot_history` is here too.

Pictures are arrays (height, width, channels); the grids come from NumPy alone. Source of the three grid
functions' behaviour: Stanford CS231n, assignment 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfc._arguments import require_unmasked
from fastfc._ranges import require_count, require_range
from fastfc.plots import plot_history

__all__ = ["plot_history", "vis_grid", "vis_nn", "visualize_grid"]

Array = NDArray[Any]


def _pictures(name: str, value: Any, layout: str) -> Array:
    """Check a stack of pictures and give it as floating point, which differences of integers need."""
    require_unmasked(name, value)
    try:
        pictures = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must have shape {layout}, but its parts differ in shape") from error
    if pictures.ndim != layout.count(",") + 1 or pictures.size == 0:
        raise ValueError(f"{name} must have shape {layout} with no axis of length 0, got {pictures.shape}")
    if pictures.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {pictures.dtype}")
    return pictures if pictures.dtype.kind == "f" else pictures.astype(np.float64)


def _place(grid: Array, pictures: Array, columns: int, padding: int) -> None:
    """Write pictures (N, H, W, C) row by row into grid, with padding between them."""
    height, width = pictures.shape[1:3]
    for n, picture in enumerate(pictures):
        row, column = divmod(n, columns)
        top, left = row * (height + padding), column * (width + padding)
        grid[top : top + height, left : left + width] = picture


def _unit_range(values: Array, axis: tuple[int, ...] | None = None) -> Array:
    """Scale linearly to [0, 1] over axis; values that are all equal give zeros."""
    low = values.min(axis=axis, keepdims=True)
    span = values.max(axis=axis, keepdims=True) - low
    return (values - low) / np.where(span == 0, 1, span).astype(values.dtype)


def _square(n: int) -> int:
    """Side of the smallest square with n places."""
    return math.isqrt(n - 1) + 1


def visualize_grid(Xs: ArrayLike, ubound: float = 255.0, padding: int = 1) -> Array:
    """Pictures side by side in a square grid, each scaled on its own to [0, ubound].

    Parameters
    ----------
    Xs : array_like, (N, H, W, C), real
        The pictures, placed row by row.
    ubound : float
        The value of each picture's largest element; its smallest is 0.
    padding : int
        Pixels of value 0 between pictures.

    Returns
    -------
    ndarray, float64, (A * H + (A - 1) * padding, A * W + (A - 1) * padding, C)
        With ``A = ceil(sqrt(N))``. Places without a picture and pictures of one value are 0.

    Raises
    ------
    ValueError
        Xs has another number of axes, no elements or masked values; padding or ubound is negative.
    TypeError
        Xs is not real; padding is not an integer; ubound is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> visualize_grid(np.arange(20.0).reshape(5, 2, 2, 1)).shape
    (8, 8, 1)
    """
    pictures = _pictures("Xs", Xs, "(N, H, W, C)").astype(np.float64)
    require_count("padding", padding, 0)
    require_range("ubound", ubound, 0)
    n, height, width, channels = pictures.shape
    side = _square(n)
    grid = np.zeros((side * (height + padding) - padding, side * (width + padding) - padding, channels))
    _place(grid, ubound * _unit_range(pictures, axis=(1, 2, 3)), side, padding)
    return grid


def vis_grid(Xs: ArrayLike) -> Array:
    """Pictures side by side in a square grid, scaled together to [0, 1].

    Parameters
    ----------
    Xs : array_like, (N, H, W, C), real
        The pictures, placed row by row.

    Returns
    -------
    ndarray, (A * (H + 1), A * (W + 1), C)
        With ``A = ceil(sqrt(N))``; a line of one pixel follows each picture below and on the right. It and
        places without a picture have the smallest value, 0. Pictures all of one value give zeros. The dtype is
        that of Xs if floating point, else float64.

    Raises
    ------
    ValueError
        Xs has another number of axes, no elements or masked values.
    TypeError
        Xs is not real.

    Examples
    --------
    >>> import numpy as np
    >>> grid = vis_grid(np.arange(20.0).reshape(5, 2, 2, 1))
    >>> grid.shape, float(grid.min()), float(grid.max())
    ((9, 9, 1), 0.0, 1.0)
    """
    pictures = _pictures("Xs", Xs, "(N, H, W, C)")
    n, height, width, channels = pictures.shape
    side = _square(n)
    grid = np.full((side * (height + 1), side * (width + 1), channels), pictures.min(), pictures.dtype)
    _place(grid, pictures, side, 1)
    return _unit_range(grid)


def vis_nn(rows: ArrayLike | Sequence[Sequence[ArrayLike]]) -> Array:
    """Rows of pictures as a grid, scaled together to [0, 1]; a row is for example a picture and its neighbours.

    Parameters
    ----------
    rows : sequence of sequences of (H, W, C), or array_like (N, D, H, W, C), real
        N rows of D pictures.

    Returns
    -------
    ndarray, (N * (H + 1), D * (W + 1), C)
        A line of one pixel follows each picture below and on the right. As in the course it holds 1 *before*
        scaling, so it is white beside pictures in [0, 1] and near black beside pictures in [0, 255]. If all is
        one value the grid is zeros. The dtype is that of the pictures if floating point, else float64.

    Raises
    ------
    ValueError
        The rows are of different lengths or the pictures of different shapes; there are no pictures.
    TypeError
        The pictures are not real.

    Examples
    --------
    >>> import numpy as np
    >>> vis_nn([[np.zeros((2, 2, 3)), np.ones((2, 2, 3))]]).shape
    (3, 6, 3)
    """
    pictures = _pictures("rows", rows, "(N, D, H, W, C)")
    n, columns, height, width, channels = pictures.shape
    grid = np.ones((n * (height + 1), columns * (width + 1), channels), pictures.dtype)
    _place(grid, pictures.reshape(-1, height, width, channels), columns, 1)
    return _unit_range(grid)
