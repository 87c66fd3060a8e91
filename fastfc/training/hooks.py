"""The places of a training at which somebody's callbacks are called."""

from typing import Any

from fastfc.training.engine import Trainer

__all__ = ["States", "TrainingHooks", "load_states", "states_of"]

#: Of callbacks in their order, the names of their classes and their states.
States = list[tuple[str, dict[str, Any]]]


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


def states_of(callback: object) -> States:
    """The states of a Solver's callback."""
    return callback.states() if isinstance(callback, TrainingHooks) else []


def load_states(callback: object, states: States) -> None:
    """Have a Solver's callback go on from the states of another one of its kind."""
    if isinstance(callback, TrainingHooks):
        callback.load_states(states)
