"""Activations and gradients layer by layer: their numbers, and their histograms drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc import activations, layers, losses
from fastfc.backend import use_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.network import Network
from fastfc.ops.losses import LOSSES
from fastfc.plots._axes import BAD_COLOR, LOSS_COLOR, TRAIN_COLOR, VAL_COLOR, axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LayerStatistics", "layer_statistics", "plot_activations", "plot_gradients"]

# A unit passes no gradient on if its slope is at most this for every row: far below the 0.01 of leaky_relu.
DEAD_SLOPE = 1e-3
BINS = 60
# The smallest gradients are rounding errors: those are seen that are at least this share of the largest.
SEEN = 1e-12
# With more layers their numbers would run into one another.
MOST_LABELS = 8


@dataclass(frozen=True)
class LayerStatistics:
    """A layer's values and gradients for some examples.

    Attributes
    ----------
    layer : int
        Its number from 1, as in the names of the parameters.
    activations : array (N, H)
        The layer's outputs; the scores for the last layer.
    dead : bool array (H,)
        Which units have a slope of the activation of at most 0.001 for every example: no gradient gets through
        them. With ReLU these are the units that are never above 0. The last layer has none.
    gradients : array (N, H) or None
        Gradients of the loss with respect to the outputs; None without labels.
    weight_gradients : array (D, H) or None
        Gradients of the loss with respect to the weights, without L2; None without labels.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LayerStatistics(1, np.array([[0.0, 2.0], [0.0, 4.0]]), np.array([True, False]))
    >>> layer.mean, layer.std.round(3).item(), layer.dead_share
    (1.5, 1.658, 0.5)
    """

    layer: int
    activations: np.ndarray
    dead: np.ndarray
    gradients: np.ndarray | None = None
    weight_gradients: np.ndarray | None = None

    @property
    def mean(self) -> float:
        """Mean of the activations over examples and units."""
        return float(self.activations.mean(dtype=np.float64))

    @property
    def std(self) -> float:
        """Standard deviation of the activations over examples and units."""
        return self.activations.std(dtype=np.float64)

    @property
    def dead_share(self) -> float:
        """Share of the units that are dead."""
        return float(self.dead.mean())


def layer_statistics(
    net: FullyConnectedNet | Network, X: ArrayLike, y: ArrayLike | None = None
) -> list[LayerStatistics]:
    """Activations and gradients of every layer for some examples.

    The pass is one of training: batch normalization takes the statistics of these examples. But dropout drops
    nothing, and neither the network nor any random stream is changed.

    Parameters
    ----------
    net : FullyConnectedNet or Network
        For an estimator of :mod:`fastfc.sklearn`, its ``network_``.
    X : array (N, d1, ..., dk)
        Examples of any real dtype. Some hundred of them say enough.
    y : integer array (N,), or array (N, outputs), optional
        Labels, or the targets that the network's loss takes; a :class:`fastfc.Network`, whose loss is its user's, is
        taken to have the softmax loss. Without them there are no gradients.

    Returns
    -------
    list of LayerStatistics
        One for each layer, the last one included.

    Raises
    ------
    TypeError
        If `net` is no such network, or X does not hold real numbers.
    ValueError
        If shapes do not fit or there are no examples, or labels are out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> net = fastfc.FullyConnectedNet([50, 50], 20, 3, weight_scale=0.1)
    >>> layers = layer_statistics(net, np.random.randn(100, 20), np.arange(100) % 3)
    >>> [layer.activations.shape for layer in layers]
    [(100, 50), (100, 50), (100, 3)]
    >>> layers[0].weight_gradients.shape
    (20, 50)
    """
    if isinstance(net, Network):
        net = net.to_net()
    if not isinstance(net, FullyConnectedNet):
        raise TypeError(f"net: expected a FullyConnectedNet or a Network, got {type(net).__name__}")
    net._require_consistent()
    x = net._inputs(X)
    if len(x) == 0:
        raise ValueError(f"X: expected at least one example, got shape {x.shape}")
    if y is not None:
        y = losses.checked_targets(LOSSES[net.loss_name], "y", y, len(x), net.dims[-1], net.dtype)
    # One pass is too little work for the time that loading kernels takes.
    with use_backend("reference"), np.errstate(over="ignore", invalid="ignore"):
        outputs, slopes, caches = _forward(net, x)
        if y is None:
            return [
                LayerStatistics(i, out, _dead(slope))
                for i, (out, slope) in enumerate(zip(outputs, slopes, strict=True), 1)
            ]
        _, dout = losses.evaluate(net.loss_name, outputs[-1], y, None, net.loss_parameter)
        found = []
        for i in range(net.num_layers, 0, -1):
            passed, weights = _backward(net, dout, slopes[i - 1], caches[i - 1])
            found.append(LayerStatistics(i, outputs[i - 1], _dead(slopes[i - 1]), dout, weights))
            dout = passed
    return found[::-1]


def _forward(net: FullyConnectedNet, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[Any]]:
    """Of each layer: its outputs (N, H), the slopes (N, H) of its activation, and caches for the way back."""
    outputs, slopes, caches = [], [], []
    for i in range(1, net.num_layers + 1):
        x, affine_cache = layers.affine_forward(x, net.params[f"W{i}"], net.params[f"b{i}"])
        norm_cache = None
        slope = np.ones_like(x)
        if i < net.num_layers:
            if net.normalization is not None:
                param = {**net.bn_params[i - 1], "mode": "train"}
                forward = getattr(layers, f"{net.normalization}_forward")
                x, norm_cache = forward(x, net.params[f"gamma{i}"], net.params[f"beta{i}"], param)
            module = layers if net.activation == "relu" else activations
            x, cache = getattr(module, f"{net.activation}_forward")(x)
            slope = getattr(module, f"{net.activation}_backward")(slope, cache)
        outputs.append(x)
        slopes.append(slope)
        caches.append((affine_cache, norm_cache))
    return outputs, slopes, caches


def _backward(net: FullyConnectedNet, dout: np.ndarray, slope: np.ndarray, cache: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a layer's inputs (N, D) and of its weights (D, H)."""
    affine_cache, norm_cache = cache
    dout = dout * slope
    if norm_cache is not None:
        dout, *_ = getattr(layers, f"{net.normalization}_backward")(dout, norm_cache)
    dx, dw, _ = layers.affine_backward(dout, affine_cache)
    return dx, dw


def _dead(slope: np.ndarray) -> np.ndarray:
    return (np.abs(slope) <= DEAD_SLOPE).all(axis=0)


def plot_activations(
    net: FullyConnectedNet | Network,
    X: ArrayLike,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Histograms of the hidden layers' activations, side by side, with means, deviations and shares of dead units.

    Under each layer stand the mean and the standard deviation of its activations, the share of those that are
    exactly 0, and the share of its units that are dead: see :class:`LayerStatistics`. Zeros are left out of the
    histograms, where ReLU's would hide the rest. A point and a bar show the mean and one deviation on each side.

    Parameters
    ----------
    net, X
        As for :func:`layer_statistics`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure, which is ``plot_activations(...).figure``.
    figsize : (float, float), optional
        Width and height of the new figure in inches.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError, TypeError
        As :func:`layer_statistics`; also for a network without hidden layers, activations that are not finite, or
        `figsize` beside `ax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> axes = plot_activations(fastfc.FullyConnectedNet([50] * 5, 20), np.random.randn(100, 20))
    >>> axes.figure.savefig("activations.png")
    """
    found = layer_statistics(net, X)[:-1]
    if not found:
        raise ValueError("net: expected a network with hidden layers, got one without")
    values = [layer.activations.astype(np.float64) for layer in found]
    axes = _histograms("activations", values, TRAIN_COLOR, ax, figsize)
    for i, layer in enumerate(found, 1):
        axes.errorbar(i - 0.08, layer.mean, layer.std, fmt="o", color=LOSS_COLOR, markersize=4, capsize=3)
    notes = [
        f"mean {layer.mean:.2g}\nstd {layer.std:.2g}\nzero {np.mean(array == 0):.0%}\ndead {layer.dead_share:.0%}"
        for layer, array in zip(found, values, strict=True)
    ]
    numbers, marked = [layer.layer for layer in found], [layer.dead_share > 0 for layer in found]
    _finish(axes, "Activations by layer", f"{net.activation} output", numbers, notes, marked)
    return axes


def plot_gradients(
    net: FullyConnectedNet | Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    of: str = "activations",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Histograms of the magnitudes of every layer's gradients, side by side on a logarithmic axis.

    Under each layer stand the mean and the standard deviation of its gradients, and the share of those that are
    exactly 0, which have no place on the axis. A line joins the standard deviations: where it falls towards the
    first layers, gradients vanish, and where it rises, they explode.

    Parameters
    ----------
    net, X, y
        As for :func:`layer_statistics`.
    of : {"activations", "weights"}
        Gradients of the loss with respect to the layers' outputs, or to their weights.
    ax, figsize
        As for :func:`plot_activations`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError, ValueError, TypeError
        As :func:`plot_activations`; networks may be without hidden layers, and `of` must not be another word.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> axes = plot_gradients(fastfc.FullyConnectedNet([50] * 5, 20, 3), np.random.randn(99, 20), np.arange(99) % 3)
    >>> axes.figure.savefig("gradients.png")
    """
    if of not in ("activations", "weights"):
        raise ValueError(f"of: expected 'activations' or 'weights', got {of!r:.80}")
    if y is None:
        raise TypeError("y: expected labels or targets, of which the loss has gradients, got None")
    found = layer_statistics(net, X, y)
    arrays = [layer.gradients if of == "activations" else layer.weight_gradients for layer in found]
    values = [np.asarray(array, np.float64) for array in arrays]
    axes = _histograms("gradients", [np.abs(array) for array in values], VAL_COLOR, ax, figsize, logarithmic=True)
    places = [layer.layer for layer in found]
    stds = np.array([array.std() for array in values])
    axes.plot(
        np.array(places) - 0.08, np.where(stds > 0, stds, np.nan), "o-", color=LOSS_COLOR, markersize=4, linewidth=1.2
    )
    notes = [f"mean {array.mean():.1g}\nstd {array.std():.1g}\nzero {np.mean(array == 0):.0%}" for array in values]
    _finish(axes, f"Gradients of the {of} by layer", "magnitude of the gradient", places, notes)
    return axes


def _histograms(
    name: str,
    values: Sequence[np.ndarray],
    color: str,
    ax: Axes | None,
    figsize: tuple[float, float] | None,
    logarithmic: bool = False,
) -> Axes:
    """Axes with a histogram of each array's entries that are not 0, upright, from its layer's place to the right.

    On a logarithmic axis there are no negative entries.
    """
    for i, array in enumerate(values, 1):
        if not np.isfinite(array).all():
            raise ValueError(f"net: expected finite {name}, got others in layer {i}")
    room = 1.15 if len(values) <= MOST_LABELS else 0.5
    axes = axes_of(ax, figsize, (max(6.0, room * len(values) + 1), 4.5))
    if logarithmic:
        axes.set_yscale("log")
    nonzero = [array[array != 0] for array in values]
    edges = _edges(np.concatenate(nonzero), logarithmic)
    for i, array in enumerate(nonzero, 1):
        counts, _ = np.histogram(array, edges)
        widths = 0.8 * counts / max(counts.max(), 1)
        axes.stairs(i + widths, edges, baseline=i, orientation="horizontal", fill=True, color=color, alpha=0.75)
    return axes


def _edges(drawn: np.ndarray, logarithmic: bool) -> np.ndarray:
    """(BINS + 1,): bounds of a histogram's bins, equally far apart on the axis."""
    low, high = (drawn.min(), drawn.max()) if drawn.size else (0.0, 1.0)
    if logarithmic:
        low, high = np.log10([max(low, SEEN * high), high])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return 10.0**edges if logarithmic else edges


def _finish(
    axes: Axes, title: str, y_label: str, numbers: Sequence[int], notes: Sequence[str], marked: Sequence[bool] = ()
) -> None:
    """Title, and the layers' numbers below, with their notes if there is room, in red where something is the matter."""
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_ylabel(y_label)
    places = np.arange(1, len(numbers) + 1)
    if len(numbers) <= MOST_LABELS:
        axes.set_xticks(places, [f"layer {i}\n{note}" for i, note in zip(numbers, notes, strict=True)], fontsize=9)
    else:
        axes.set_xticks(places, [str(i) for i in numbers])
        axes.set_xlabel("layer")
    for label, bad in zip(axes.get_xticklabels(), marked, strict=False):
        if bad:
            label.set_color(BAD_COLOR)
    axes.set_xlim(0.6, len(numbers) + 1)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
