"""Pictures of networks and trainings: histories, weights, activations and gradients by layer, grids of losses.

They need matplotlib: ``pip install "fastfc[plot]"``. Figures are made without pyplot, so they need no display.
"""

from fastfc.plots._grid import plot_grid
from fastfc.plots._history import plot_history
from fastfc.plots._layers import LayerStatistics, layer_statistics, plot_activations, plot_gradients
from fastfc.plots._weights import plot_weights

__all__ = [
    "LayerStatistics",
    "layer_statistics",
    "plot_activations",
    "plot_gradients",
    "plot_grid",
    "plot_history",
    "plot_weights",
]
