"""The recipe ``preset="tabular"``: a plain network that is strong on tables, after RealMLP-TD-S.

Source: Holzmüller, Grinsztajn and Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on Tabular
Data* (NeurIPS 2024), the simplified variant. Deviations: there is no scaling layer before the first layer; batches are
drawn with replacement; the published parametrization, which divides by the square root of a layer's inputs, is carried
over into initial weights and learning rates, which is the same for Adam apart from its epsilon; missing values have the
median and a feature that tells where, and booleans are 0 and 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastfc._defaults import Schedule

__all__ = [
    "CosLog",
    "initialize",
    "network_options",
    "plan_of",
    "set_rates",
    "smooth_clip_of",
    "smooth_clipped",
    "training_options",
]

_WIDTHS, _BATCH_SIZE, _EPOCHS, _SMOOTHING = (256, 256, 256), 256, 256, 0.1
_RATE_OF_CLASSES, _RATE_OF_NUMBERS, _BIAS_FACTOR, _BETA2 = 0.04, 0.07, 0.1, 0.95


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


def training_options() -> dict[str, Any]:
    """The training: arguments of Solver."""
    return {"update_rule": "adam", "optim_config": {"beta2": _BETA2}, "schedule": CosLog()}


def initialize(net: Any) -> None:
    """Draw weights and biases from NumPy's global stream; those of the last layer are 0."""
    for i, inputs in enumerate(net.dims[:-1], start=1):
        W, b = net.params[f"W{i}"], net.params[f"b{i}"]
        last = i == net.num_layers
        net.params[f"W{i}"] = np.zeros(W.shape) if last else np.random.randn(*W.shape) / math.sqrt(inputs)
        net.params[f"b{i}"] = np.zeros(b.shape) if last else np.random.randn(*b.shape)


def set_rates(solver: Any, *, of_classes: bool) -> None:
    """Give each layer's weights and biases the learning rates of their own."""
    rate = _RATE_OF_CLASSES if of_classes else _RATE_OF_NUMBERS
    for i, inputs in enumerate(solver.model.dims[:-1], start=1):
        solver.optim_configs[f"W{i}"]["learning_rate"] = rate / math.sqrt(inputs)
        solver.optim_configs[f"b{i}"]["learning_rate"] = rate * _BIAS_FACTOR
