"""The axes that a picture is drawn on: the caller's, or those of a new figure, which needs no display."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastfc.formats.atomic import replaced_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BAD_COLOR", "LOSS_COLOR", "TRAIN_COLOR", "VAL_COLOR", "axes_of", "figure_of", "require_axes", "saved"]

LOSS_COLOR, TRAIN_COLOR, VAL_COLOR, BAD_COLOR = "#4c566a", "#1f77b4", "#d95f02", "#c0392b"


def figure_of(figsize: tuple[float, float]) -> Figure:
    """A new figure, made without pyplot: it leaves no global state and needs no closing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('fastfc.plots needs matplotlib: pip install "fastfc[plot]"') from error
    try:
        return Figure(figsize=figsize, layout="constrained")
    except (TypeError, ValueError) as error:
        raise type(error)(f"figsize: expected width and height in inches, got {figsize!r:.80}") from error


def axes_of(ax: Any, figsize: tuple[float, float] | None, default: tuple[float, float]) -> Axes:
    """The caller's axes, or those of a new figure of the size `figsize`, by default `default` inches."""
    if ax is None:
        return figure_of(default if figsize is None else figsize).subplots()
    if figsize is not None:
        raise ValueError(f"figsize: expected None beside ax, whose figure has a size, got {figsize!r}")
    require_axes("ax", ax)
    return ax


def require_axes(name: str, value: Any) -> None:
    """TypeError unless `value` is matplotlib axes."""
    if not hasattr(value, "pcolormesh"):
        raise TypeError(f"{name}: expected matplotlib axes, got {type(value).__name__}")


def saved(figure: Figure, path: str | os.PathLike[str], **options: Any) -> None:
    """Save a figure in the format of the suffix, PNG without one; until that is done, `path` holds what it held."""
    with replaced_file(path) as file:
        figure.savefig(file, format=os.path.splitext(os.fspath(path))[1][1:] or "png", **options)
