"""The recipe ``preset="tabular"``: a plain network that is strong on tables, RealMLP-TD-S.

Source: Holzmüller, Grinsztajn and Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular
Data* (NeurIPS 2024), the simplified variant; all numbers are those of the authors' code. Deviations are in what the
features are, before they are scaled: missing values have the median and a feature that tells where, a category of two
words has two features, of more than 50 words the rare ones share one, and dates have several. A training whose loss is
no longer finite ends.

The published parametrization divides the products of a layer by the square root of its inputs. A network of this
package has no such division: its weights are those of the publication over that root, with their learning rate divided
by it and Adam's epsilon multiplied by it, which is the same training. The scaling layer is multiplied into the first
layer at the end.
"""

import math
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fastfc import losses, optim
from fastfc._defaults import Schedule
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.network import Network
from fastfc.ops.losses import LOSSES
from fastfc.optimizer import Optimizer
from fastfc.solver import DivergenceWarning

__all__ = [
    "VAL_FRACTION",
    "CosLog",
    "History",
    "network_options",
    "plan_of",
    "smooth_clip_of",
    "smooth_clipped",
    "train",
]

_WIDTHS, _BATCH_SIZE, _EPOCHS, _SMOOTHING = (256, 256, 256), 256, 256, 0.1
_RATE_OF_CLASSES, _RATE_OF_NUMBERS = 0.04, 0.07
_SCALE_FACTOR, _BIAS_FACTOR = 6.0, 0.1
_ADAM = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8}
#: The rows that are held out, as the authors' estimators do by default.
VAL_FRACTION = 0.2
# Rows on which the training score is taken.
_SCORED_ROWS = 1000


@dataclass(frozen=True)
class CosLog:
    """A schedule of waves that become longer: ``(1 - cos(2 pi log2(1 + (2**waves - 1) t / T))) / 2``."""

    waves: int = 4

    def factors(self, first_step: int, count: int, steps_per_epoch: int, total_steps: int) -> np.ndarray:
        """The factors of some steps, (count,): see :class:`fastfc.schedules.Schedule`."""
        share = np.arange(first_step, first_step + count) / total_steps
        return (1 - np.cos(2 * np.pi * np.log2(1 + (2**self.waves - 1) * share))) / 2


def smooth_clip_of(X: np.ndarray) -> dict[str, list[float]]:
    """Each feature's median, and 1 over its interquartile range, or 2 over its range where that is 0, or 0."""
    low, median, high = np.quantile(X, [0.25, 0.5, 0.75], axis=0)
    spread = high - low
    spread = np.where(spread > 0, spread, (X.max(axis=0) - X.min(axis=0)) / 2)
    return {"center": median.tolist(), "factor": np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0).tolist()}


def smooth_clipped(X: np.ndarray, clip: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Features (N, D) centered and scaled, and clipped smoothly to -3 and 3: ``x / sqrt(1 + (x / 3)**2)``."""
    x = (X - np.asarray(clip["center"])) * np.asarray(clip["factor"])
    return x / np.sqrt(1 + (x / 3) ** 2)


def network_options(*, of_classes: bool) -> dict[str, Any]:
    """The network: arguments of FullyConnectedNet."""
    return {
        "hidden_dims": _WIDTHS,
        "activation": "selu" if of_classes else "mish",
        "loss_parameter": _SMOOTHING if of_classes else None,
    }


def plan_of(rows: int, batch_size: int | None, epochs: int | None) -> Schedule:
    """Batch size and epochs for so many rows; what is not None was asked for."""
    return Schedule(min(rows, batch_size or _BATCH_SIZE), epochs or _EPOCHS, 1.0)


History = dict[str, list[float]]


def train(
    net: FullyConnectedNet,
    data: Mapping[str, Any],
    plan: Schedule,
    seed: int,
    halt: threading.Event | None = None,
    on_epoch: Callable[[History], object] | None = None,
) -> History:
    """Train a network of :func:`network_options` on a data set, from weights of its own on.

    Parameters
    ----------
    net : FullyConnectedNet
        Its parameters are those of the epoch with the best validation score afterwards, the last one of the best.
    data : dict
        ``X_train, y_train, X_val, y_val`` as for a Solver, the features as :func:`smooth_clipped` gives them, and
        ``weights_train`` on request.
    plan : Schedule
    seed : int
        Of the weights, and of the permutations of the rows.
    halt : Event, optional
        Set by another thread, it ends the training with the next epoch.
    on_epoch : callable, optional
        Called after each epoch with what is returned at the end.

    Returns
    -------
    dict
        ``loss`` of each step, ``train`` and ``val``, the scores before the first epoch and after each.

    Warns
    -----
    DivergenceWarning
        If a loss is not finite; the training ends there.
    """
    stream = np.random.RandomState(seed)
    _draw(net, stream)
    steps = _Steps(net)
    X, y = data["X_train"].astype(net.dtype), data["y_train"]
    X_val, y_val = data["X_val"].astype(net.dtype), data["y_val"]
    weights, record = data.get("weights_train"), LOSSES[net.loss_name]
    some = stream.permutation(len(X))[:_SCORED_ROWS]
    per_epoch = max(len(X) // plan.batch_size, 1)
    total = plan.epochs * per_epoch

    def score(X: np.ndarray, y: np.ndarray) -> float:
        return float(losses.score_of(record, steps.scores(X), y))

    history: History = {"loss": [], "train": [score(X[some], y[some])], "val": [score(X_val, y_val)]}
    best, kept = -np.inf, steps.parameters()
    for epoch in range(plan.epochs):
        if halt is not None and halt.is_set():
            break
        order = stream.permutation(len(X))
        for i, factor in enumerate(CosLog().factors(epoch * per_epoch, per_epoch, per_epoch, total)):
            # The rest of the rows is in no batch of this epoch.
            rows = order[i * plan.batch_size : (i + 1) * plan.batch_size]
            history["loss"].append(steps.step(X[rows], y[rows], None if weights is None else weights[rows], factor))
        if not np.isfinite(history["loss"][-per_epoch:]).all():
            warnings.warn(f"the loss is not finite in epoch {epoch + 1}", DivergenceWarning, stacklevel=2)
            break
        history["train"].append(score(X[some], y[some]))
        history["val"].append(score(X_val, y_val))
        if history["val"][-1] >= best:
            best, kept = history["val"][-1], steps.parameters()
        if on_epoch is not None:
            on_epoch(history)
    net.params = kept
    return history


def _draw(net: FullyConnectedNet, stream: np.random.RandomState) -> None:
    """Draw weights and biases; those of the last layer are 0."""
    for i, inputs in enumerate(net.dims[:-1], start=1):
        W, b = net.params[f"W{i}"], net.params[f"b{i}"]
        last = i == net.num_layers
        net.params[f"W{i}"] = np.zeros(W.shape) if last else stream.standard_normal(W.shape) / math.sqrt(inputs)
        net.params[f"b{i}"] = np.zeros(b.shape) if last else stream.standard_normal(b.shape)


class _Steps:
    """A network behind a scaling layer, and Adam for both."""

    def __init__(self, net: FullyConnectedNet) -> None:
        self._net = Network.from_net(net, seed=0)
        of_classes = LOSSES[net.loss_name].labels
        self._rate = _RATE_OF_CLASSES if of_classes else _RATE_OF_NUMBERS
        configs = {}
        for i, inputs in enumerate(net.dims[:-1], start=1):
            root = math.sqrt(inputs)
            configs[f"W{i}"] = {"learning_rate": self._rate / root, "epsilon": _ADAM["epsilon"] * root}
            configs[f"b{i}"] = {"learning_rate": self._rate * _BIAS_FACTOR}
        self._optimizer = Optimizer("adam", configs=configs, **_ADAM)
        self._scale, self._config = np.ones(net.dims[0], net.dtype), dict(_ADAM)
        self._loss = _smoothed if of_classes else _squared

    def step(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, factor: float) -> float:
        """One step on a batch x (N, D), with the learning rates times a factor; returns the loss."""
        loss, dscores = self._loss(self._net.forward(x * self._scale), y, weights)
        dx = cast(np.ndarray, self._net.backward(dscores))
        self._optimizer.step(self._net, factor=factor)
        self._config["learning_rate"] = _SCALE_FACTOR * self._rate * factor
        dscale = np.einsum("ij,ij->j", dx, x)
        self._scale, self._config = optim.adam(self._scale, dscale, self._config)
        return loss

    def scores(self, X: np.ndarray) -> np.ndarray:
        """The network's scores of X (N, D)."""
        return self._net.forward(X * self._scale, training=False)

    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters, the scaling layer multiplied into the first one."""
        found = {name: value.copy() for name, value in self._net.params.items()}
        found["W1"] *= self._scale[:, np.newaxis]
        return found


def _smoothed(scores: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> tuple[float, np.ndarray]:
    loss, dscores = losses.softmax_loss(scores, y, weights, label_smoothing=_SMOOTHING)
    return float(loss), dscores


def _squared(scores: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> tuple[float, np.ndarray]:
    """The published loss is the mean of the squares; ours has their halves."""
    loss, dscores = losses.squared_loss(scores, y.reshape(-1, 1), weights)
    return 2 * float(loss), 2 * dscores
