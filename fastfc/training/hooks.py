"""The places of a training at which somebody's callbacks are called."""

from fastfc.training.engine import Trainer

__all__ = ["TrainingHooks"]


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
