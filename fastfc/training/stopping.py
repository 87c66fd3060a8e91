"""The stopping rules of callbacks inside of compiled calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfc._runtime.record import Table
from fastfc.params import FlatParameters
from fastfc.training.batches import Batches, sum_in_order
from fastfc.training.hooks import StoppingRule
from fastfc.training.memory import (
    LINE,
    MEAN_OF_LOSSES,
    ON_TRAINING,
    ON_VALIDATION,
    STOP_BEGUN,
    STOP_BEST,
    STOP_IMPROVED,
    STOP_WAITED,
    Plan,
    Stopping,
)  # fmt: skip

__all__ = ["StoppingInside"]

_MONITORS = {"train_acc": ON_TRAINING, "val_acc": ON_VALIDATION, "loss": MEAN_OF_LOSSES}


class StoppingInside:
    """The stopping rules of one compiled call.

    Parameters
    ----------
    plan : Plan
    params : FlatParameters
        The network's.
    rules : sequence of StoppingRule
    """

    def __init__(self, plan: Plan, params: FlatParameters, rules: Sequence[StoppingRule]) -> None:
        # New memory for each call: a callback keeps it as it is.
        self._best = [FlatParameters(params.shapes if rule.keeps else {}, params.dtype) for rule in rules]
        rows = [_row(rule, best.flat, plan.num_threads) for rule, best in zip(rules, self._best, strict=True)]
        self._table = Table(Stopping, plan.dtype, rows)

    def attributes(self, losses: Sequence[Any], before: int, batches: Batches) -> dict[str, Any]:
        """The attributes of a job that goes by the rules, after these losses and so many steps of the training."""
        return {
            "stopping": self._table,
            "num_stopping": len(self._table),
            "loss_before": sum_in_order(losses[len(losses) - before % batches.steps :]),
            "short_share": batches.short_share,
            "epoch_batches": batches.counted(batches.steps),
        }

    def best(self) -> list[dict[str, np.ndarray] | None]:
        """Of each rule the parameters of its last improvement in the call, None without one or if nobody asks."""
        improved = [bool(row.numbers[STOP_IMPROVED]) for row in self._table]
        return [dict(best) if yes and best else None for yes, best in zip(improved, self._best, strict=True)]


def _row(rule: StoppingRule, best_params: np.ndarray, threads: int) -> dict[str, Any]:
    numbers = np.zeros(LINE)
    numbers[STOP_WAITED] = rule.waited
    if rule.best is not None:
        numbers[[STOP_BEST, STOP_BEGUN]] = rule.best, 1
    return {
        "monitor": _MONITORS[rule.monitor],
        "larger": rule.larger,
        "min_delta": rule.min_delta,
        "patience": rule.patience,
        "numbers": np.tile(numbers, threads),
        "best_params": best_params,
    }
