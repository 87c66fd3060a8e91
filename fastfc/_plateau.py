"""A factor of the learning rate that goes by the values that a training reaches."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fastfc._arguments import number
from fastfc._ranges import require_count, require_range

__all__ = ["ReduceOnPlateau", "plateau_of"]


@dataclass
class ReduceOnPlateau:
    """A factor that falls when a value has not improved for some time.

    Not a :class:`~fastfc.schedules.Schedule`: it is told a value after each epoch, and answers with the factor from
    then on. As the `schedule` of a :class:`fastfc.Solver` or an estimator it is told the value that it monitors; they
    work on a copy, whose state a training's file has too. PyTorch's ``ReduceLROnPlateau`` with ``threshold=min_delta,
    threshold_mode="abs"``, whose least learning rate is that of `min_factor`.

    Parameters
    ----------
    factor : float, between 0 and 1
        By it the factor is multiplied.
    patience : int
        So many values in a row may be no improvement before it falls.
    min_delta : float
        By more than this a value must be better than the best one to be an improvement. NaN never is one.
    cooldown : int
        So many values after a fall count as no plateau.
    min_factor : float
        It falls no further.
    mode : {"min", "max"}, optional
        Whether small or large values are good; by default large ones where `monitor` ends in ``acc``.
    monitor : {"loss", "train_acc", "val_acc"}
        The value of an epoch that a training tells: the mean of its steps' losses, or one of the accuracies at its end
        (an estimator's ``"val_acc"`` is its validation score).

    Attributes
    ----------
    current, best : float
        The factor as it is; the best value so far.

    Examples
    --------
    >>> plateau = ReduceOnPlateau(factor=0.5, patience=1)
    >>> [plateau.update(loss) for loss in (2.0, 1.0, 1.0, 1.0, 1.0)]
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    cooldown: int = 0
    min_factor: float = 0.0
    mode: Literal["min", "max"] | None = None
    monitor: Literal["loss", "train_acc", "val_acc"] = "loss"
    current: float = field(default=1.0, init=False)
    best: float = field(default=math.inf, init=False)
    _waited: int = field(default=0, init=False, repr=False)
    _cooling: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        require_range("factor", self.factor, 0, 1)
        require_count("patience", self.patience, 0)
        require_range("min_delta", self.min_delta, 0)
        require_count("cooldown", self.cooldown, 0)
        require_range("min_factor", self.min_factor, 0, 1)
        if self.monitor not in ("loss", "train_acc", "val_acc"):
            raise ValueError(f'monitor: expected "loss", "train_acc" or "val_acc", got {self.monitor!r}')
        if self.mode not in ("min", "max", None):
            raise ValueError(f'mode: expected "min", "max" or None, got {self.mode!r}')
        self.best = -math.inf if self._larger else math.inf

    @property
    def _larger(self) -> bool:
        """Whether large values are good."""
        return self.mode == "max" or (self.mode is None and self.monitor.endswith("acc"))

    def update(self, value: float) -> float:
        """Take the value of an epoch.

        Parameters
        ----------
        value : float

        Returns
        -------
        float
            The factor from now on.
        """
        value = number("value", value)
        gain = value - self.best if self._larger else self.best - value
        if gain > self.min_delta:
            self.best, self._waited = value, 0
        else:
            self._waited += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._waited = 0
        if self._waited > self.patience:
            self.current = max(self.current * self.factor, self.min_factor)
            self._waited, self._cooling = 0, self.cooldown
        return self.current

    def state_dict(self) -> dict[str, float]:
        """The numbers by which another one of the same arguments goes on: see :meth:`load_state_dict`.

        Returns
        -------
        dict of str to float
        """
        return {"current": self.current, "best": self.best, "waited": self._waited, "cooling": self._cooling}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from where another one of the same arguments stood.

        Parameters
        ----------
        state : dict of str to float
            Its :meth:`state_dict`.

        Raises
        ------
        ValueError, TypeError
            If it is none.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"state: expected {', '.join(self.state_dict())}, got {', '.join(map(str, state))}")
        require_range("current", state["current"], 0, 1)
        for name in ("waited", "cooling"):
            require_count(name, state[name], 0)  # type: ignore[arg-type]
        self.current, self.best = float(state["current"]), number("best", state["best"])
        self._waited, self._cooling = int(state["waited"]), int(state["cooling"])


def plateau_of(schedule: object) -> ReduceOnPlateau | None:
    """A copy of a :class:`ReduceOnPlateau`, or a new one for its name, ``"plateau"``; None for a schedule by steps."""
    if isinstance(schedule, ReduceOnPlateau):
        return copy.copy(schedule)
    return ReduceOnPlateau() if isinstance(schedule, str) and schedule == "plateau" else None
