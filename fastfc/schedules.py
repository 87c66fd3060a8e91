"""Schedules of the learning rate: the factor by which it is multiplied in each step.

A schedule is any object with a method ``factors(first_step, count, steps_per_epoch, total_steps)`` that returns the
factors of `count` steps from `first_step` on (see :class:`Schedule`). Those of this module are records: they keep
nothing between two calls, so that a training that goes on at any step has the factors of one that never stopped.
:class:`ReduceOnPlateau` is of another kind: it goes by the values that a training reaches.

>>> import numpy as np
>>> schedule = WarmUp(length=2, start_factor=0.5, then=Cosine(by="epoch"), by="epoch")
>>> schedule.factors(first_step=0, count=6, steps_per_epoch=1, total_steps=6).round(3)
array([0.5  , 0.75 , 1.   , 0.854, 0.5  , 0.146])
>>> plateau = ReduceOnPlateau(factor=0.5, patience=1)
>>> [plateau.update(loss) for loss in (2.0, 1.0, 1.0, 1.0, 1.0)]
[1.0, 1.0, 1.0, 0.5, 0.5]
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fastfc._arguments import as_array
from fastfc._plateau import ReduceOnPlateau
from fastfc._ranges import require_count, require_range
from fastfc._schedule import Factors, Formula, Schedule, check_steps
from fastfc.ops.schedules import NAMES

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Exponential",
    "InverseScaling",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
    "get",
]

By = Literal["step", "epoch"]


@dataclass(frozen=True)
class Constant(Formula):
    """One factor in every step: ``factor`` (1).

    Parameters
    ----------
    factor : float

    Examples
    --------
    >>> Constant(0.5).factors(0, 3, 10, 100)
    array([0.5, 0.5, 0.5])
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        require_range("factor", self.factor, 0)

    def _at(self, before: Factors, total: int) -> Factors:
        return np.full(before.shape, float(self.factor))


@dataclass(frozen=True)
class Step(Formula):
    """A fall every so often: ``gamma ** floor(t / every)``, where t epochs or steps came before.

    PyTorch's ``StepLR(step_size=every, gamma=gamma)``.

    Parameters
    ----------
    every : int
        Epochs, or steps, from one fall to the next.
    gamma : float
    by : {"epoch", "step"}

    Examples
    --------
    >>> Step(every=2, gamma=0.5).factors(0, 5, steps_per_epoch=1, total_steps=5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    every: int = 10
    gamma: float = 0.1
    by: By = "epoch"

    def __post_init__(self) -> None:
        require_count("every", self.every, 1)
        require_range("gamma", self.gamma, 0)
        self._check_by(self.by)

    def _at(self, before: Factors, total: int) -> Factors:
        return float(self.gamma) ** (before // self.every)


@dataclass(frozen=True)
class Exponential(Formula):
    """``gamma ** t``, where t epochs or steps came before.

    PyTorch's ``ExponentialLR(gamma)``; but for rounding, the ``lr_decay`` of :class:`fastfc.Solver`.

    Parameters
    ----------
    gamma : float
    by : {"epoch", "step"}

    Examples
    --------
    >>> Exponential(0.5).factors(0, 4, steps_per_epoch=2, total_steps=4)
    array([1. , 1. , 0.5, 0.5])
    """

    gamma: float = 0.95
    by: By = "epoch"

    def __post_init__(self) -> None:
        require_range("gamma", self.gamma, 0)
        self._check_by(self.by)

    def _at(self, before: Factors, total: int) -> Factors:
        return float(self.gamma) ** before


@dataclass(frozen=True)
class InverseScaling(Formula):
    """``1 / (1 + rate * t) ** power``, where t steps or epochs came before.

    scikit-learn's ``learning_rate="invscaling"`` is ``InverseScaling(power_t, rate=n_samples, by="epoch")``.
    With a power of 1 it is Keras's ``InverseTimeDecay``. In PyTorch: ``LambdaLR`` with this formula.

    Parameters
    ----------
    power : float
    rate : float
    by : {"step", "epoch"}

    Examples
    --------
    >>> InverseScaling(power=1, rate=1).factors(0, 4, 1, 4)
    array([1.        , 0.5       , 0.33333333, 0.25      ])
    """

    power: float = 0.5
    rate: float = 1.0
    by: By = "step"

    def __post_init__(self) -> None:
        require_range("power", self.power, 0)
        require_range("rate", self.rate, 0)
        self._check_by(self.by)

    def _at(self, before: Factors, total: int) -> Factors:
        return 1 / (1 + float(self.rate) * before) ** float(self.power)


@dataclass(frozen=True)
class Cosine(Formula):
    """Half a wave of the cosine, from 1 down to `min_factor`::

        min_factor + (1 - min_factor) * (1 + cos(pi * t / length)) / 2

    where t steps or epochs came before; after `length` it stays at `min_factor`. PyTorch's
    ``CosineAnnealingLR(T_max=length, eta_min=min_factor * learning_rate)``, which rises again after
    T_max. Source: Loshchilov and Hutter 2017, without restarts.

    Parameters
    ----------
    min_factor : float, between 0 and 1
    length : int or None
        None for that of the whole training.
    by : {"step", "epoch"}

    Examples
    --------
    >>> Cosine(min_factor=0.2).factors(0, 5, steps_per_epoch=1, total_steps=4).round(3)
    array([1.   , 0.883, 0.6  , 0.317, 0.2  ])
    """  # fmt: skip

    min_factor: float = 0.0
    length: int | None = None
    by: By = "step"

    def __post_init__(self) -> None:
        require_range("min_factor", self.min_factor, 0, 1)
        if self.length is not None:
            require_count("length", self.length, 1)
        self._check_by(self.by)

    def _at(self, before: Factors, total: int) -> Factors:
        return _between(1.0, float(self.min_factor), before / (total if self.length is None else self.length))


@dataclass(frozen=True)
class OneCycle(Formula):
    """Up to the whole learning rate, and down to nearly nothing, within the training's `total` steps.

    From ``1 / div_factor`` the factor rises to 1 until the step ``warm_share * total - 1``, and falls to
    ``1 / (div_factor * final_div_factor)`` in the last one, both along half a wave of the cosine or a line.
    The learning rate of the rule is the largest. PyTorch's ``OneCycleLR(max_lr=learning_rate,
    total_steps=total, pct_start=warm_share)``, without its cycle of the momentum. Source: Smith and Topin 2019.

    Parameters
    ----------
    warm_share : float, between 0 and 1
    div_factor, final_div_factor : float, at least 1
    shape : {"cosine", "linear"}

    Examples
    --------
    >>> OneCycle(0.5, div_factor=4, shape="linear").factors(0, 5, steps_per_epoch=1, total_steps=10)
    array([0.25  , 0.4375, 0.625 , 0.8125, 1.    ])
    """

    warm_share: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    shape: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        require_range("warm_share", self.warm_share, 0, 1)
        require_range("div_factor", self.div_factor, 1)
        require_range("final_div_factor", self.final_div_factor, 1)
        if self.shape not in ("cosine", "linear"):
            raise ValueError(f'shape: expected "cosine" or "linear", got {self.shape!r}')

    def _at(self, before: Factors, total: int) -> Factors:
        along = _between if self.shape == "cosine" else _along_a_line
        first, last = 1 / float(self.div_factor), 1 / (float(self.div_factor) * float(self.final_div_factor))
        top, end = max(self.warm_share * total - 1, 0), total - 1
        rising = along(first, 1.0, before / top) if top > 0 else np.ones(before.shape)
        falling = along(1.0, last, (before - top) / (end - top)) if end > top else rising
        return np.where(before <= top, rising, falling)


@dataclass(frozen=True)
class WarmUp(Formula):
    """A rise along a line before another schedule.

    For `length` steps or epochs the factor rises from `start_factor` to 1; from then on it is that of `then`, as of a
    training that begins there. PyTorch's ``SequentialLR`` of ``LinearLR(start_factor, total_iters=length)`` and the
    other one.

    Parameters
    ----------
    length : int
    then : Schedule or str
        A schedule, or its name (see :func:`get`).
    start_factor : float, between 0 and 1
    by : {"step", "epoch"}

    Examples
    --------
    >>> WarmUp(4, start_factor=0.2).factors(0, 6, 1, 6)
    array([0.2, 0.4, 0.6, 0.8, 1. , 1. ])
    """

    length: int = 100
    then: "Schedule | str" = field(default_factory=Constant)
    start_factor: float = 1 / 3
    by: By = "step"

    def __post_init__(self) -> None:
        require_count("length", self.length, 1)
        object.__setattr__(self, "then", _found("then", self.then))
        require_range("start_factor", self.start_factor, 0, 1)
        self._check_by(self.by)

    def factors(self, first_step: int, count: int, steps_per_epoch: int, total_steps: int) -> Factors:
        """The factors of some steps.

        Parameters
        ----------
        first_step, count, steps_per_epoch, total_steps : int
            As for :meth:`Schedule.factors`.

        Returns
        -------
        factors : array (count,), float64
        """
        check_steps(first_step, count, steps_per_epoch, total_steps)
        length = self.length * (steps_per_epoch if self.by == "epoch" else 1)
        warm = min(max(length - first_step, 0), count)
        rising = super().factors(first_step, warm, steps_per_epoch, total_steps)
        if warm == count:
            return rising
        rest = get(self.then).factors(
            first_step + warm - length, count - warm, steps_per_epoch, max(total_steps - length, 1)
        )
        return np.concatenate([rising, rest])

    def _at(self, before: Factors, total: int) -> Factors:
        return _along_a_line(float(self.start_factor), 1.0, before / self.length)


#: Name -> schedule; what it is made without arguments.
SCHEDULES: dict[str, Callable[[], Schedule]] = dict(
    zip(NAMES, (Constant, Step, Exponential, InverseScaling, Cosine, OneCycle, WarmUp), strict=True)
)


def get(schedule: "Schedule | str") -> Schedule:
    """The schedule of a name, with its usual arguments; a schedule as it is.

    Parameters
    ----------
    schedule : Schedule or str

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        For a name that is not in :data:`SCHEDULES`.
    TypeError
        For what is neither.

    Examples
    --------
    >>> get("cosine")
    Cosine(min_factor=0.0, length=None, by='step')
    """
    return _found("schedule", schedule)


def _found(name: str, schedule: "Schedule | str") -> Schedule:
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise ValueError(f"{name}: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
        return SCHEDULES[schedule]()
    if isinstance(schedule, type) or not isinstance(schedule, Schedule):
        raise TypeError(f"{name}: expected a schedule or its name, got {schedule!r}")
    return schedule


def factors_of(
    schedule: "Schedule | str", first_step: int, count: int, steps_per_epoch: int, total_steps: int
) -> Factors:
    """The factors of a schedule or of its name, (count,), checked: it may be somebody's own."""
    found = as_array("schedule", get(schedule).factors(first_step, count, steps_per_epoch, total_steps))
    if found.dtype.kind not in "biuf":
        raise TypeError(f"schedule: expected factors that are real numbers, got dtype {found.dtype}")
    if found.shape != (count,):
        raise ValueError(f"schedule: expected factors of shape {(count,)}, one for each step, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("schedule: expected finite factors, got NaN or infinity")
    return np.ascontiguousarray(found, np.float64)


def _between(first: float, last: float, share: Factors) -> Factors:
    """From `first` to `last` along half a wave of the cosine; `last` from the share 1 on."""
    return last + (first - last) * (1 + np.cos(np.pi * np.minimum(share, 1))) / 2


def _along_a_line(first: float, last: float, share: Factors) -> Factors:
    return first + (last - first) * np.minimum(share, 1)
