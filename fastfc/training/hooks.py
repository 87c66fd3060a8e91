"""The places of a training at which somebody's callbacks are called."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastfc.training.engine import Trainer

__all__ = ["EpochEnd", "States", "StoppingRule", "TrainingHooks", "load_states", "rules_of", "states_of"]

#: Of callbacks in their order, the names of their classes, their states, and whether each has yet to be told of the
#: epoch that has ended.
States = list[tuple[str, dict[str, Any], bool]]


class StoppingRule(NamedTuple):
    """When a training is to end, by a value of each epoch that it has anyway; and where the rule stands.

    Parameters
    ----------
    monitor : {"loss", "train_acc", "val_acc"}
    larger : bool
        Whether large values are good.
    patience : float
        So many epochs in a row without an improvement end the training.
    min_delta : float
        By more than this a value must be better than the best one. NaN never is.
    keeps : bool
        Whether somebody asks for the parameters of the best epoch.
    best : float or None
        The best value so far; None before the first one that is not NaN.
    waited : int
        Epochs since then.
    """

    monitor: str
    larger: bool
    patience: float
    min_delta: float
    keeps: bool
    best: float | None
    waited: int


class EpochEnd(NamedTuple):
    """The end of an epoch: where a training stood."""

    step: int
    epoch: int
    losses: Sequence[Any]  # of its steps
    train_acc: float
    val_acc: float
    rate: Any  # the learning rate from then on, without a schedule; None for a rule that has none
    time: float  # of time.perf_counter


class TrainingHooks:
    """A Solver's callback that knows more places of a training than a plain function, and may end it."""

    @property
    def stopped(self) -> bool:
        """Whether the training is to end after the iteration that it has come to."""
        return False

    def begin(self, trainer: Trainer, step: int) -> None:
        """Called before the first iteration, after number `step`, when arguments and data are checked."""

    def after(self, trainer: Trainer, step: int) -> None:
        """Called after some iterations, the last of which was number `step`."""

    def rules(self) -> list[StoppingRule] | None:
        """The rules by which an engine may end the training, if it need not call :meth:`after` for each epoch.

        Then nobody looks at the training, or changes it, before its end; None if somebody does.
        """
        return None

    def after_epochs(
        self, trainer: Trainer, ends: Sequence[EpochEnd], best: Sequence[Mapping[str, Any] | None]
    ) -> None:
        """Called in the place of :meth:`after` for epochs that an engine has carried out by the :meth:`rules`.

        With the parameters of each rule's last improvement among these epochs; None without one.
        """

    def end(self, trainer: Trainer) -> None:
        """Called after the last iteration, when the model has the best parameters."""

    def steps_until_due(self, step: int) -> int | None:
        """The number of iterations after number `step` after which a call is due; None if none is."""
        return None

    def states(self) -> States:
        """The states of the callbacks that have one, for a training's file."""
        return []

    def load_states(self, states: States) -> None:
        """Go on from such states; ValueError, TypeError or KeyError for one that a callback cannot take."""


def rules_of(callback: object) -> list[StoppingRule] | None:
    """The rules of a Solver's callback; None for one that is to be called at the end of each epoch."""
    if callback is None:
        return []
    return callback.rules() if isinstance(callback, TrainingHooks) else None


def states_of(callback: object) -> States:
    """The states of a Solver's callback."""
    return callback.states() if isinstance(callback, TrainingHooks) else []


def load_states(callback: object, states: States) -> None:
    """Have a Solver's callback go on from the states of another one of its kind."""
    if isinstance(callback, TrainingHooks):
        callback.load_states(states)
