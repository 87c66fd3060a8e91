"""A training as its callbacks see it, and the numbers of an epoch."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastfc._arguments import number

__all__ = ["Run", "epoch_row", "require_numbers"]

# The largest integers that float64 has all of.
_EXACT = 2**53


@dataclass
class Run:
    """A training as its callbacks see it.

    Attributes
    ----------
    model : object
        The model that is trained; callbacks may change its parameters.
    step, total_steps : int
        Steps taken, and steps of the whole training.
    epoch, steps_per_epoch : int
        Epochs that have ended, and steps of each.
    loss : float
        That of the last step; NaN before the first one.
    values : dict of str to float
        Of the last epoch that has ended: ``loss``, the mean of its steps' losses, ``train_acc`` and ``val_acc`` at its
        end, ``learning_rate``, that of the next step by `lr_decay` and the schedule (after the last step its own
        factor of the schedule), and ``seconds`` since the training began. Callbacks may add other numbers for those
        after them, of any names but ``epoch`` and ``step``. True and false count as 1 and 0; anything else is a
        TypeError.
    stopped : bool
        Whether a callback has asked to stop.

    Examples
    --------
    >>> run = Run(model=None, step=20, total_steps=100, epoch=1, steps_per_epoch=20, values={"val_acc": 0.5})
    >>> run.stop()
    >>> run.stopped
    True
    """

    model: Any
    step: int
    total_steps: int
    epoch: int
    steps_per_epoch: int
    loss: float = math.nan
    values: dict[str, float] = field(default_factory=dict)
    stopped: bool = False

    def stop(self) -> None:
        """End the training after this step."""
        self.stopped = True


def epoch_row(run: Run) -> dict[str, float]:
    """The numbers of the epoch that has ended: ``epoch``, ``step`` and the training's `values`.

    Raises
    ------
    ValueError
        If one of the `values` has the name of one of the others.
    """
    counted: dict[str, float] = {"epoch": run.epoch, "step": run.step}
    if taken := counted.keys() & run.values.keys():
        raise ValueError(f"values: expected other names than epoch and step, which all rows have, got {min(taken)!r}")
    return counted | run.values


def require_numbers(values: dict[str, Any]) -> None:
    """Make Python's numbers of the `values`; TypeError or ValueError for one that is none: no file could keep it."""
    for name, value in values.items():
        if type(value) is float:
            continue
        if isinstance(value, (int, np.integer, np.bool_)) and abs(int(value)) <= _EXACT:
            values[name] = int(value)
        else:
            values[name] = number(f"values[{name!r}]", value)
