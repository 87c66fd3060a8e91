"""A factor of the learning rate that goes by the values that a training reaches."""

import math
from dataclasses import dataclass, field
from typing import Literal

from fastfc._arguments import number
from fastfc._ranges import require_count, require_range

__all__ = ["ReduceOnPlateau"]


@dataclass
class ReduceOnPlateau:
    """A factor that falls when a value has not improved for some time.

    Not a :class:`~fastfc.schedules.Schedule`: it is told a value after each epoch, and answers with the factor from
    then on. PyTorch's ``ReduceLROnPlateau`` with ``threshold=min_delta, threshold_mode="abs"``, whose least learning
    rate is that of `min_factor`.

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
    mode : {"min", "max"}
        Whether small or large values are good.

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
    mode: Literal["min", "max"] = "min"
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
        if self.mode not in ("min", "max"):
            raise ValueError(f'mode: expected "min" or "max", got {self.mode!r}')
        self.best = math.inf if self.mode == "min" else -math.inf

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
        gain = self.best - value if self.mode == "min" else value - self.best
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
