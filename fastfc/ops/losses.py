"""Losses: one record each, from which all else that the package says about a loss is derived.

A loss is a record in :data:`LOSSES` and a function ``<name>_loss`` in the modules ``loss`` of the reference and of the
kernels. A network's loss is the mean of its rows' losses, weighted if there are weights; a row's is the sum over its
outputs.
"""

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

__all__ = ["LOSSES", "Loss", "Parameter"]


class Parameter(NamedTuple):
    """A number that a loss depends on, its default, and which values it may have."""

    name: str
    default: float
    allowed: Callable[[float], bool]
    expected: str


class Loss(NamedTuple):
    """A loss of scores and targets, with its gradient: the operation ``<name>_loss``.

    Parameters
    ----------
    name : str
    labels : bool
        Whether the targets are class labels (N,), else numbers (N, K) like the scores.
    link : {"softmax", "logistic", "exp", "identity"}
        How scores become predictions.
    formula : str
        A row's loss, of its scores x and its label y or its targets t.
    parameter : Parameter or None
    bounds : tuple of float
        The least and the largest target.
    """

    name: str
    labels: bool
    link: str
    formula: str
    parameter: Parameter | None = None
    bounds: tuple[float, float] = (-float("inf"), float("inf"))

    @property
    def operations(self) -> tuple[str, ...]:
        return (f"{self.name}_loss",)

    @property
    def run_kernel(self) -> str:
        """The kernel that the compiled run calls for a loss of numbers; those of labels are a part of the run."""
        return "" if self.labels else f"{self.name}_rows"

    @property
    def code(self) -> int:
        """Its place among the losses of labels, by which compiled code knows it."""
        return [loss.name for loss in _ALL if loss.labels].index(self.name)


def _is_share(value: float) -> bool:
    return 0 <= value < 1


def _is_open_share(value: float) -> bool:
    return 0 < value < 1


def _is_positive(value: float) -> bool:
    return value > 0 and isfinite(value)


_ALL = (
    Loss(
        "softmax",
        True,
        "softmax",
        "log(sum(exp(x))) - (1 - s) * x[y] - s * mean(x)",
        Parameter("label_smoothing", 0.0, _is_share, "a number s with 0 <= s < 1"),
    ),
    Loss("svm", True, "identity", "sum over j != y of max(0, x[j] - x[y] + 1)"),
    Loss("logistic", False, "logistic", "sum(log(1 + exp(x)) - t * x)", bounds=(0.0, 1.0)),
    Loss("squared", False, "identity", "sum((x - t)**2) / 2"),
    Loss("absolute", False, "identity", "sum(abs(x - t))"),
    Loss(
        "huber",
        False,
        "identity",
        "sum((x - t)**2 / 2 where abs(x - t) <= delta, else delta * (abs(x - t) - delta / 2))",
        Parameter("delta", 1.0, _is_positive, "a positive number"),
    ),
    Loss(
        "quantile",
        False,
        "identity",
        "sum(q * (t - x) where t > x, else (1 - q) * (x - t))",
        Parameter("quantile", 0.5, _is_open_share, "a number q with 0 < q < 1"),
    ),
    Loss("poisson", False, "exp", "sum(exp(x) - t - t * (x - log(t)))", bounds=(0.0, float("inf"))),
)

#: Name -> loss.
LOSSES = {loss.name: loss for loss in _ALL}
