"""The axes that a picture is drawn on: the caller's, or those of a new figure, which needs no display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BAD_COLOR", "LOSS_COLOR", "TRAIN_COLOR", "VAL_COLOR", "axes_of", "figure_of"]

LOSS_COLOR, TRAIN_COLOR, VAL_COLOR, BAD_COLOR = "#4c566a", "#1f77b4", "#d95f02", "#c0392b"


def figure_of(figsize: tuple[float, float]) -> Figure:
    """A new figure, made without pyplot: it leaves no global state and needs no closing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('fastfc.plots needs matplotlib: pip install "fastfc[plot]"') from error
    return Figure(figsize=figsize, layout="constrained")


def axes_of(ax: Any, figsize: tuple[float, float] | None, default: tuple[float, float]) -> Axes:
    """The caller's axes, or those of a new figure of the size `figsize`, by default `default` inches."""
    if ax is None:
        return figure_of(default if figsize is None else figsize).subplots()
    if figsize is not None:
        raise ValueError(f"figsize: expected None beside ax, whose figure has a size, got {figsize!r}")
    if not hasattr(ax, "pcolormesh"):
        raise TypeError(f"ax: expected matplotlib axes, got {type(ax).__name__}")
    return ax
