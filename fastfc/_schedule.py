"""The form of a schedule of the learning rate; :mod:`fastfc.schedules` has those of the package."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastfc._ranges import require_count

__all__ = ["Factors", "Formula", "Schedule", "check_steps"]

Factors = NDArray[np.float64]


@runtime_checkable
class Schedule(Protocol):
    """The protocol of a schedule, to be followed by one of your own too.

    Examples
    --------
    >>> class Halving:
    ...     def factors(self, first_step, count, steps_per_epoch, total_steps):
    ...         epochs = (first_step + np.arange(count)) // steps_per_epoch
    ...         return 0.5**epochs
    >>> isinstance(Halving(), Schedule), Halving().factors(0, 4, 2, 4)
    (True, array([1. , 1. , 0.5, 0.5]))
    """

    def factors(self, first_step: int, count: int, steps_per_epoch: int, total_steps: int) -> Factors:
        """The factors of the learning rate in the steps from `first_step` to ``first_step + count - 1``.

        Parameters
        ----------
        first_step : int
            The number of steps before the first of these.
        count : int
        steps_per_epoch : int
        total_steps : int
            Steps of the whole training.

        Returns
        -------
        factors : array (count,), float64

        Raises
        ------
        ValueError
            If `first_step` or `count` is negative, or `steps_per_epoch` or `total_steps` less than one.
        """
        ...


@dataclass(frozen=True)
class Formula:
    """A schedule by a formula of the number of steps or epochs before."""

    def factors(self, first_step: int, count: int, steps_per_epoch: int, total_steps: int) -> Factors:
        """The factors of some steps, (count,): see :meth:`Schedule.factors`."""
        check_steps(first_step, count, steps_per_epoch, total_steps)
        before = np.arange(first_step, first_step + count)
        if getattr(self, "by", "step") == "epoch":
            before, total_steps = before // steps_per_epoch, -(-total_steps // steps_per_epoch)
        return self._at(before.astype(np.float64), total_steps)

    def _at(self, before: Factors, total: int) -> Factors:
        """The factors after `before` steps or epochs of `total`."""
        raise NotImplementedError

    def _check_by(self, by: str) -> None:
        if by not in ("step", "epoch"):
            raise ValueError(f'by: expected "step" or "epoch", got {by!r}')


def check_steps(first_step: int, count: int, steps_per_epoch: int, total_steps: int) -> None:
    require_count("first_step", first_step, 0)
    require_count("count", count, 0)
    require_count("steps_per_epoch", steps_per_epoch, 1)
    require_count("total_steps", total_steps, 1)
