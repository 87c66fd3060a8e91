"""Validation data inside of a training's compiled calls: their value after each epoch, and when to end."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfc._ranges import require_count, require_range
from fastfc._runtime.record import Table
from fastfc.losses import checked_targets, checked_weights
from fastfc.ops.losses import LOSSES
from fastfc.training.compiling import address
from fastfc.training.job import NO_INTEGERS
from fastfc.training.memory import (
    BEST_EPOCH,
    BEST_VALUE,
    COEFFICIENT,
    EPOCHS_SEEN,
    KEEP_FIRST,
    KEEP_LAST,
    KEEP_NONE,
    LABELS,
    LEAST_GAIN,
    LINE,
    MEAN_LOSS,
    MOST_STALE,
    SIGNS,
    STALE_EPOCHS,
    VALIDATION_WATCH,
    Plan,
    Predictions,
)  # fmt: skip
from fastfc.training.memory import Validation as Record
from fastfc.training.network import Network
from fastfc.training.parts import ALL_BLOCKS
from fastfc.training.plan import as_readable, examples_of, in_rows
from fastfc.training.rows import checked_indices

__all__ = ["Validation", "Validations", "checked_validations"]

METRICS = ("accuracy", "loss", "r2")
KEPT = {None: KEEP_NONE, "first": KEEP_FIRST, "last": KEEP_LAST}


class Validation:
    """Examples that a :class:`fastfc.training.fit.Fit` validates by at the end of each epoch, without Python.

    The training ends after an epoch if, for more than `patience` epochs one after the other, the value has not been
    better than the best one before by `min_delta`, or the same. NaN never is.

    Parameters
    ----------
    net : Network
    X : array (N, ...)
    y : array (N,) or (N, K)
        As the network's loss takes it.
    metric : {"accuracy", "loss", "r2"}
        The share of right answers, of a network for labels or with the loss ``"logistic"``, where all outputs must be
        right; the mean of the network's loss, without the penalty; or the coefficient R^2, the mean over the outputs,
        where predictions are the scores themselves.
    patience : int
    min_delta : float
    weights : array (N,), optional
        Of the examples, for accuracy and loss.
    indices : array (n,) of integers, optional
        Row numbers of the examples that count, which are not copied.
    keep : {"first", "last", None}
        Of several epochs with the best value, the one whose parameters are kept; None keeps none.

    Attributes
    ----------
    values : list of float
        After each epoch.
    best, best_epoch
        The best value, NaN before the first that is finite, and its epoch, counted from 1; 0 for none.
    stale : int
        Epochs since there was an improvement.

    Raises
    ------
    ValueError, TypeError
        For data or a metric that do not fit the network.
    """

    def __init__(
        self,
        net: Network,
        X: np.ndarray,
        y: Any,
        *,
        metric: str = "accuracy",
        patience: int = 10,
        min_delta: float = 0.0,
        weights: Any = None,
        indices: Any = None,
        keep: str | None = "first",
    ) -> None:
        loss, dtype, count = LOSSES[net.loss_name], np.dtype(net.dtype), len(X)
        require_count("patience", patience, 0)
        require_range("min_delta", min_delta, 0)
        self._metric = _metric_of(metric, net)
        if metric == "r2" and weights is not None:
            raise ValueError("weights: expected None with metric='r2'")
        self._rows = np.arange(count) if indices is None else checked_indices(indices, count)
        if len(self._rows) == 0:
            raise ValueError("X: expected at least one example")
        self.net, self._X = net, in_rows(as_readable(X))
        targets = checked_targets(loss, "y", y, count, net.dims[-1], dtype)
        none = np.zeros(0, dtype)
        self._y: np.ndarray = targets if loss.labels else NO_INTEGERS
        self._targets: np.ndarray = none if loss.labels else targets.reshape(-1)
        self._weights = none if weights is None else checked_weights("weights", weights, count).astype(dtype)
        chosen = self._weights[self._rows] if weights is not None else np.ones(len(self._rows))
        self._total = float(chosen.sum(dtype=np.float64))
        if self._total <= 0:
            raise ValueError("weights: expected a positive one among the examples that count")
        self._larger = metric != "loss"
        self.watch = np.zeros(VALIDATION_WATCH)
        self.watch[[BEST_VALUE, LEAST_GAIN, MOST_STALE]] = -np.inf if self._larger else np.inf, min_delta, patience
        self.values: list[float] = []
        self._keep = KEPT[keep]
        self._best_params = net.params.flat.copy()
        self._best_statistics = np.zeros(2 * sum(net.dims[1:-1]), dtype)
        # The factors of the features in the best epoch, where the training learns them.
        self._best_scale = np.zeros(0, dtype)
        self._record: Record | None = None

    @property
    def best(self) -> float:
        return float(self.watch[BEST_VALUE]) if self.best_epoch > 0 else float("nan")

    @property
    def best_epoch(self) -> int:
        return int(self.watch[BEST_EPOCH])

    @property
    def stale(self) -> int:
        return int(self.watch[STALE_EPOCHS])

    def best_numbers(self) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
        """Copies of the parameters, flat, and of each normalized layer's running statistics in the best epoch."""
        statistics: list[dict[str, np.ndarray]] = [{} for _ in self.net.bn_params]
        place = 0
        for layer, width in zip(statistics, self.net.dims[1:-1], strict=False):
            for name in ("running_mean", "running_var") if self.net.normalization == "batchnorm" else ():
                layer[name] = self._best_statistics[place : place + width].copy()
                place += width
        return self._best_params.copy(), statistics

    def best_scale(self) -> np.ndarray:
        """A copy of the factors of the features in the best epoch, (features,); (0,) if the training learns none."""
        return self._best_scale.copy()

    def restore(self) -> None:
        """Put the parameters, running statistics and factors of the best epoch into the network, if there was one."""
        if self.best_epoch > 0:
            if self._best_scale.size > 0:
                self.net.input_scale = self.best_scale()
            self.net.params.flat[:], statistics = self.best_numbers()
            for mine, theirs in zip(self.net.bn_params, statistics, strict=True):
                mine.update(theirs)

    def go_on_from(self, best: float, stale: int) -> None:
        """Go on from a best value, whose parameters somebody else has, and epochs since there was an improvement."""
        self.watch[[BEST_VALUE, STALE_EPOCHS]] = best, stale

    def begin(self, record: Record, epochs: int, progress: np.ndarray) -> None:
        """Prepare one's record for a job that ends at most so many epochs."""
        self._record = record
        record.values, record.progress = np.full(epochs, np.nan), progress

    def book(self) -> None:
        """Enter the values of the last call, which has ended."""
        if self._record is not None:
            done = int(self.watch[EPOCHS_SEEN]) - len(self.values)
            self.values += self._record.values[:done].tolist()

    def made(self, plan: Plan, scale: np.ndarray) -> dict[str, Any]:
        """The attributes of the record for a plan, and the factors of the features that are learned; (0,) for none."""
        dtype, count, outputs = plan.dtype, len(self._rows), self.net.dims[-1]
        by_scores = self._metric != LABELS
        job = Predictions(
            dtype, examples=examples_of(self._X, dtype), subset=self._rows, count=count, softmax=False,
            predictions=np.zeros(0 if by_scores else count, np.int64),
            scores=np.zeros((count if by_scores else 0, outputs), dtype), **ALL_BLOCKS,
        )  # fmt: skip
        if scale.size > 0 and self._best_scale.size == 0:
            self._best_scale = scale.copy()
        # A line of the cache for each thread at the least.
        stride = -(-outputs // LINE) * LINE
        return {
            "job": job,
            "metric": self._metric,
            "larger": self._larger,
            "y": self._y,
            "targets": self._targets,
            "weights": self._weights,
            "total": self._total,
            "rows": self._rows,
            "spread": self._spread(),
            "gradient": np.zeros(count * outputs if self._metric == MEAN_LOSS else 0, dtype),
            "sums": np.zeros(plan.num_threads * stride),
            "stride": stride,
            "values": np.zeros(0),
            "watch": self.watch,
            "params": self.net.params.flat,
            "keep": self._keep,
            "scale": scale,
            "best_scale": self._best_scale,
            "best_params": self._best_params,
            "best_statistics": self._best_statistics,
            "progress": NO_INTEGERS,
        }

    def _spread(self) -> np.ndarray:
        """(K,): for R^2 the sum of the squares of the targets' distances from their mean."""
        if self._metric != COEFFICIENT:
            return np.zeros(0)
        t = self._targets.reshape(-1, self.net.dims[-1])[self._rows].astype(np.float64)
        return ((t - t.mean(axis=0)) ** 2).sum(axis=0)


class Validations:
    """The validations of a training, as its compiled calls take them.

    Parameters
    ----------
    plan : Plan
    scale : array (features,) or (0,)
        The factors of the features, if the training learns them.
    """

    def __init__(self, plan: Plan, scale: np.ndarray) -> None:
        self._plan, self._scale = plan, scale
        self.use([])

    def use(self, chosen: list[Validation]) -> None:
        """Take these from now on."""
        if chosen != getattr(self, "_chosen", None):
            self._chosen = chosen
            self._records = Table(Record, self._plan.dtype, [each.made(self._plan, self._scale) for each in chosen])

    def attributes(self, epochs: int, progress: np.ndarray) -> dict[str, Any]:
        """Of a job of the compiled run that ends at most so many epochs."""
        if not self._chosen:
            return {}
        for validation, record in zip(self._chosen, self._records, strict=True):
            validation.begin(record, epochs, progress)
        validate = address("validate_epoch", self._plan.dtype)
        return {"validate": validate, "validation": self._records, "validations": len(self._records)}

    def book(self) -> None:
        """Enter the values of the last call, which has ended."""
        for validation in self._chosen:
            validation.book()


def checked_validations(validation: Validation | Sequence[Validation] | None, net: Network) -> list[Validation]:
    """One, several or none as a list; ValueError for one of another network."""
    found = [validation] if isinstance(validation, Validation) else list(validation or [])
    if any(each.net is not net for each in found):
        raise ValueError("validation: expected one of the network that is trained")
    return found


def _metric_of(metric: str, net: Network) -> int:
    """The place of a metric in compiled code; ValueError for one that the network's loss does not have."""
    loss = LOSSES[net.loss_name]
    if metric == "loss":
        return MEAN_LOSS
    if metric == "accuracy" and (loss.labels or loss.link == "logistic"):
        return LABELS if loss.labels else SIGNS
    if metric == "r2" and not loss.labels and loss.link == "identity":
        return COEFFICIENT
    names = ", ".join(METRICS)
    raise ValueError(f"metric: expected one of {names} that the loss {net.loss_name!r} has, got {metric!r}")
