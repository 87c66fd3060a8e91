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
from typing import Any

import numpy as np

from fastfc._defaults import Schedule
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.ops.losses import LOSSES
from fastfc.solver import DivergenceWarning
from fastfc.tabular._preset_epochs import SMOOTHING, CompiledEpochs, EpochsByOperations

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

_WIDTHS, _BATCH_SIZE, _EPOCHS = (256, 256, 256), 256, 256
#: The rows that are held out, as the authors' estimators do by default.
VAL_FRACTION = 0.2
_ARRAYS = ("X_train", "X_val", "y_train", "y_val", "weights_train")
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
        "loss_parameter": SMOOTHING if of_classes else None,
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
    arrays = _arrays_of(data, net)
    rows, batch = len(arrays["X_train"]), plan.batch_size
    some, size = stream.permutation(rows)[:_SCORED_ROWS], max(rows // batch, 1)

    def factors(first: int, count: int) -> np.ndarray:
        return CosLog().factors(first, count, size, plan.epochs * size)

    kind = CompiledEpochs if get_backend() == "fast" else EpochsByOperations
    epochs = kind(net, arrays, some, batch, factors)
    done, finite = 0, True
    with epochs.running():
        train, val = epochs.scores()
        history: History = {"loss": [], "train": [train], "val": [val]}
        while finite and done < plan.epochs and not (halt is not None and halt.is_set()):
            count = min(epochs.at_once, plan.epochs - done)
            # The rest of the rows is in no batch of an epoch.
            order = np.stack([stream.permutation(rows)[: size * batch] for _ in range(count)])
            for steps, train, val in epochs.train(order):
                done, finite = done + 1, bool(np.isfinite(steps).all())
                history["loss"] += steps
                if not finite:
                    break
                history["train"].append(train)
                history["val"].append(val)
                if on_epoch is not None:
                    on_epoch(history)
    if not finite:
        warnings.warn(f"the loss is not finite in epoch {done}", DivergenceWarning, stacklevel=2)
    epochs.keep_best()
    return history


def _arrays_of(data: Mapping[str, Any], net: FullyConnectedNet) -> dict[str, np.ndarray]:
    """A data set's arrays; features and numbers to predict have the network's dtype."""
    arrays = {key: np.asarray(data[key]) for key in _ARRAYS if key in data}
    reals = ("X_train", "X_val") if LOSSES[net.loss_name].labels else _ARRAYS[:4]
    return arrays | {key: np.ascontiguousarray(arrays[key], net.dtype) for key in reals}


def _draw(net: FullyConnectedNet, stream: np.random.RandomState) -> None:
    """Draw weights and biases; those of the last layer are 0."""
    for i, inputs in enumerate(net.dims[:-1], start=1):
        W, b = net.params[f"W{i}"], net.params[f"b{i}"]
        last = i == net.num_layers
        net.params[f"W{i}"] = np.zeros(W.shape) if last else stream.standard_normal(W.shape) / math.sqrt(inputs)
        net.params[f"b{i}"] = np.zeros(b.shape) if last else stream.standard_normal(b.shape)
