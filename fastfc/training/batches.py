"""Batches: which rows the steps of an epoch are on."""

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastfc.ops.samplers import SAMPLERS
from fastfc.training.engine import Trainer
from fastfc.training.rows import checked_indices

__all__ = ["Batches", "batches_of", "checked_order", "mean_loss", "require_same", "require_sampler", "sum_in_order"]


class Batches(NamedTuple):
    """How the batches of an epoch are drawn.

    Parameters
    ----------
    rows : int
        N, at least 1.
    batch_size : int
        At least 1.
    sampler : {"replacement", "permutation", "order"}
        Each batch is drawn from all rows with replacement; or an epoch goes once over all rows, in an order that is
        shuffled first, or as they lie.
    """

    rows: int
    batch_size: int
    sampler: str

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        whole, rest = divmod(self.rows, self.batch_size)
        return max(whole, 1) if self.sampler == "replacement" else whole + (rest > 0)

    @property
    def rest(self) -> int:
        """Rows of an epoch's last batch, if they are fewer; else 0."""
        return 0 if self.sampler == "replacement" else self.rows % self.batch_size

    @property
    def short_share(self) -> float:
        """Rows of a full batch over those of an epoch's last one."""
        return self.batch_size / (self.rest or self.batch_size)

    def counted(self, steps: int) -> float:
        """The last `steps` batches of an epoch, of which the last one counts by its rows."""
        return ((steps - 1) * self.batch_size + (self.rest or self.batch_size)) / self.batch_size

    @property
    def sizes(self) -> np.ndarray:
        """(steps,): rows of each batch of an epoch."""
        found = np.full(self.steps, self.batch_size)
        if self.rest:
            found[-1] = self.rest
        return found

    def checked_orders(self, orders: Any, epochs: int, count: int) -> np.ndarray:
        """The rows of some epochs one behind the other, int64, of orders (epochs, rows) among `count` rows.

        Raises ValueError for others, or if the sampler is another than "order", or an epoch's last batch a smaller one.
        """
        if self.sampler != "order" or self.rest or np.shape(orders) != (epochs, self.rows):
            raise ValueError(
                f"order: expected sampler='order', whole batches and shape {(epochs, self.rows)}, "
                f"got sampler={self.sampler!r}, shape {np.shape(orders)}"
            )
        return checked_indices(np.reshape(orders, -1), count)

    def mean_losses(self, losses: np.ndarray) -> np.ndarray:
        """The mean loss over the rows of each whole epoch, from the losses of its steps."""
        rows = self.sizes.astype(np.float64)
        whole = losses[: len(losses) - len(losses) % self.steps].reshape(-1, self.steps)
        return whole @ rows / rows.sum()

    def draw(self, place: int, order: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """The row numbers of the batch at a place of its epoch, drawn from NumPy's global random stream.

        An epoch's order is that of the epoch before, shuffled. It is returned too, for the next batch.

        Parameters
        ----------
        place : int
            From 0.
        order : array (rows,) of int64, or None
            As the batch before has returned it; None before the first one.

        Returns
        -------
        indices : array (n,) of integers
        order : array (rows,) of int64, or None
        """
        if self.sampler == "replacement":
            return np.random.choice(self.rows, self.batch_size), None
        first = place * self.batch_size
        end = min(first + self.batch_size, self.rows)
        if self.sampler == "order":
            return np.arange(first, end), None
        if order is None:
            order = np.arange(self.rows)
        if place == 0:
            np.random.shuffle(order)
        return order[first:end], order


def batches_of(solver: Trainer) -> Batches:
    """Those of a Solver as its data and options are now; none has more rows than it is drawn from, unless repeated."""
    rows, batch_size = len(solver.X_train), int(solver.batch_size)
    return Batches(rows, batch_size if solver.sampler == "replacement" else min(batch_size, rows), solver.sampler)


def require_sampler(name: str, value: Any) -> None:
    """ValueError, which names the argument, for a value that is none of the samplers."""
    if not (isinstance(value, str) and value in SAMPLERS):
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, SAMPLERS))}, got {value!r:.80}")


def require_same(now: Batches, begun: Batches) -> None:
    """ValueError unless a training whose batches are drawn in a way can go on with these.

    Batches that are drawn with replacement may be of another size, and from other data.
    """
    if now.sampler == begun.sampler == "replacement":
        return
    for name, got, expected in zip(("rows of X_train", "batch_size", "sampler"), now, begun, strict=True):
        if got != expected:
            raise ValueError(
                f"{name}: expected {expected!r}, as when the training began, with the sampler {begun.sampler!r}, "
                f"got {got!r}"
            )


def checked_order(order: Any, rows: int) -> np.ndarray:
    """An order of so many rows as int64; ValueError if it is none."""
    found = np.asarray(order)
    if found.dtype.kind not in "iu" or found.shape != (rows,) or not np.array_equal(np.sort(found), np.arange(rows)):
        raise ValueError(f"order: expected each number from 0 to {rows - 1} once")
    return np.ascontiguousarray(found, np.int64)


def mean_loss(losses: Sequence[Any], batches: Batches) -> float:
    """The mean of an epoch's losses over its rows, from all losses up to its end; NaN of none."""
    last = losses[-batches.steps :]
    if len(last) == 0:
        return math.nan
    return (sum_in_order(last[:-1]) + float(last[-1]) / batches.short_share) / batches.counted(len(last))


def sum_in_order(losses: Iterable[Any]) -> float:
    """The sum of losses in float64, added up one after the other, as compiled code does in the middle of a training."""
    return functools.reduce(operator.add, map(float, losses), 0.0)
