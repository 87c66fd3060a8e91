"""Callbacks, and how a Solver calls them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any, cast

import numpy as np

from fastfc._ranges import require_count
from fastfc.callbacks._run import Run, epoch_row, require_numbers
from fastfc.training.batches import Batches, batches_of, mean_loss
from fastfc.training.engine import Trainer
from fastfc.training.hooks import EpochEnd, States, StoppingRule, TrainingHooks

__all__ = ["Callback", "CallbackList", "Run", "adapt", "epoch_row"]


class Callback:
    """Base of callbacks; each method may return True to end the training after this step.

    Attributes
    ----------
    every : int or None
        :meth:`on_step` is called after each step whose number is a multiple of it. A small number costs time: a
        compiled run comes back to Python for it. None, the default: whenever the run comes back anyway, which is at
        the end of an epoch and about every 0.06 seconds (a generic training: after each step).

    Examples
    --------
    >>> class Print(Callback):
    ...     def on_epoch_end(self, run):
    ...         print(run.epoch, run.values["val_acc"])
    """

    every: int | None = None

    # In :meth:`on_epoch_end` after several epochs at once: the best parameters of them by the callback's rule.
    _best_inside: Mapping[str, Any] | None = None

    def _rules(self) -> list[StoppingRule] | None:
        """Of a callback that only looks at each epoch's values, the rules by which it ends a training; else None.

        Its :meth:`on_epoch_end` may be called later, for several epochs one after the other.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """The state by which another object of the class can go on with the training, for :meth:`fastfc.Solver.save`.

        Returns
        -------
        dict
            Numbers, strings, None, arrays of numbers, and dictionaries of them whose keys are names; empty by default.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another object of the class stood; :meth:`fastfc.Solver.resume` calls it.

        The training begins after it, with :meth:`on_train_begin`. The file may not be one of yours: raise ValueError,
        TypeError or KeyError for a state that makes no sense.

        Parameters
        ----------
        state : dict
            Its :meth:`state_dict`.
        """

    def on_train_begin(self, run: Run) -> bool | None:
        """Called before the first step.

        Parameters
        ----------
        run : Run
            The training.

        Returns
        -------
        bool or None
            True to end the training after this step.
        """
        return None

    def on_step(self, run: Run) -> bool | None:
        """Called after steps: see `every`.

        Parameters
        ----------
        run : Run
            The training.

        Returns
        -------
        bool or None
            True to end the training after this step.
        """
        return None

    def on_epoch_end(self, run: Run) -> bool | None:
        """Called at the end of each epoch, when its accuracies are known.

        Parameters
        ----------
        run : Run
            The training.

        Returns
        -------
        bool or None
            True to end the training after this step.
        """
        return None

    def on_train_end(self, run: Run) -> bool | None:
        """Called after the last step, but not after an error or Ctrl-C. The model has its final parameters.

        Parameters
        ----------
        run : Run
            The training.

        Returns
        -------
        bool or None
            True to end the training after this step.
        """
        return None


class CallbackList(Callback):
    """Several callbacks as one, called in their order.

    Parameters
    ----------
    callbacks : iterable of Callback

    Raises
    ------
    TypeError
        If one is no Callback, or its `every` no integer.
    ValueError
        If its `every` is less than one.

    Examples
    --------
    >>> from fastfc.callbacks import EarlyStopping, History
    >>> len(CallbackList([EarlyStopping(), History()]).callbacks)
    2
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callback: expected objects derived from Callback, got {callback!r}")
            if callback.every is not None:
                require_count("every", callback.every, 1)

    def on_train_begin(self, run: Run) -> None:
        self._call("on_train_begin", run, self.callbacks)

    def on_step(self, run: Run) -> None:
        self._call("on_step", run, [each for each in self.callbacks if run.step % (each.every or 1) == 0])

    def on_epoch_end(self, run: Run) -> None:
        self._call("on_epoch_end", run, self.callbacks)

    def on_train_end(self, run: Run) -> None:
        self._call("on_train_end", run, self.callbacks)

    def steps_until_due(self, step: int) -> int | None:
        """The number of steps to the next after which some callback is to be called.

        Parameters
        ----------
        step : int
            The steps that have been taken.

        Returns
        -------
        int or None
            None if no callback asks for steps of its own.
        """
        return min((each.every - step % each.every for each in self.callbacks if each.every is not None), default=None)

    @staticmethod
    def _call(name: str, run: Run, callbacks: list[Callback]) -> None:
        for callback in callbacks:
            answer = getattr(callback, name)(run)
            require_numbers(run.values)
            # Comparisons of NumPy's numbers give its booleans.
            if isinstance(answer, (bool, np.bool_)) and answer:
                run.stop()


def adapt(callbacks: Callback | Iterable[Callback]) -> TrainingHooks:
    """Callbacks in the form in which :class:`fastfc.Solver` calls them, which does this itself to its `callback`.

    Parameters
    ----------
    callbacks : Callback or iterable of Callback

    Returns
    -------
    hooks : TrainingHooks

    Raises
    ------
    TypeError, ValueError
        As for :class:`CallbackList`.

    Examples
    --------
    >>> from fastfc.callbacks import History
    >>> adapt(History()).stopped
    False
    """
    return _SolverHooks(CallbackList([callbacks] if isinstance(callbacks, Callback) else callbacks))


class _SolverHooks(TrainingHooks):
    def __init__(self, callbacks: CallbackList) -> None:
        self._callbacks = callbacks
        self._run: Run | None = None
        self._batches: Batches | None = None
        self._start = 0.0
        # The callbacks that have yet to be told of the epoch that has ended; and those of a training that goes on.
        self._due: list[Callback] = []
        self._due_first: list[Callback] = []

    @property
    def stopped(self) -> bool:
        return self._run is not None and self._run.stopped

    def steps_until_due(self, step: int) -> int | None:
        return self._callbacks.steps_until_due(step)

    def states(self) -> States:
        due = set(map(id, self._due))
        found = [(type(each).__name__, each.state_dict(), id(each) in due) for each in self._callbacks.callbacks]
        return [(name, state, due) for name, state, due in found if state or due]

    def load_states(self, states: States) -> None:
        # The first of a class goes on from the first state of its name, the second from the second.
        left, self._due_first = list(states), []
        for callback in self._callbacks.callbacks:
            place = next((i for i, (name, *_) in enumerate(left) if name == type(callback).__name__), None)
            if place is not None:
                _, state, due = left.pop(place)
                if state:
                    callback.load_state_dict(state)
                self._due_first += [callback] if due else []

    def rules(self) -> list[StoppingRule] | None:
        found: list[StoppingRule] = []
        callbacks = self._callbacks.callbacks
        if len(set(map(id, callbacks))) < len(callbacks):
            # One that is called twice in an epoch counts it twice.
            return None
        for callback in callbacks:
            rules = callback._rules()
            if rules is None:
                return None
            found += rules
        return found

    def begin(self, trainer: Trainer, step: int) -> None:
        self._batches = batches_of(trainer)
        per_epoch = self._batches.steps
        self._run = Run(trainer.model, step, trainer.num_epochs * per_epoch, trainer.epoch, per_epoch)
        self._start = perf_counter()
        due, self._due_first, self._due = self._due_first, [], []
        self._callbacks.on_train_begin(self._run)
        if due:
            # A callback that was called before them has written the file.
            self._run.values = self._values(trainer, _latest(trainer, step, per_epoch))
            self._run.loss = float(trainer.loss_history[-1])
            self._tell_of_epoch(self._run, due)

    def _tell_of_epoch(self, run: Run, callbacks: list[Callback]) -> None:
        for i, callback in enumerate(callbacks, start=1):
            self._due = callbacks[i:]
            self._callbacks._call("on_epoch_end", run, [callback])

    def after(self, trainer: Trainer, step: int) -> None:
        run = cast(Run, self._run)
        ended = trainer.epoch > run.epoch
        run.model, run.step, run.epoch = trainer.model, step, trainer.epoch
        run.loss = float(trainer.loss_history[-1]) if trainer.loss_history else math.nan
        if ended:
            run.values = self._values(trainer, _latest(trainer, step, run.steps_per_epoch))
            self._due = list(self._callbacks.callbacks)
        self._callbacks.on_step(run)
        if ended:
            self._tell_of_epoch(run, self._callbacks.callbacks)

    def after_epochs(
        self, trainer: Trainer, ends: Sequence[EpochEnd], best: Sequence[Mapping[str, Any] | None]
    ) -> None:
        run = cast(Run, self._run)
        run.model = trainer.model
        owners = [each for each in self._callbacks.callbacks for _ in each._rules() or []]
        try:
            for owner, params in zip(owners, best, strict=True):
                owner._best_inside = params
            for end in ends:
                run.step, run.epoch, run.loss = end.step, end.epoch, float(end.losses[-1])
                run.values = self._values(trainer, end)
                self._callbacks.on_epoch_end(run)
        finally:
            for owner in owners:
                owner._best_inside = None

    def end(self, trainer: Trainer) -> None:
        run = cast(Run, self._run)
        run.model = trainer.model
        self._callbacks.on_train_end(run)

    def _values(self, trainer: Trainer, end: EpochEnd) -> dict[str, float]:
        run = cast(Run, self._run)
        loss = mean_loss(end.losses, cast(Batches, self._batches))
        found = {"loss": loss, "train_acc": end.train_acc, "val_acc": end.val_acc}
        if end.rate is not None:
            step = min(end.step, run.total_steps - 1)
            factors = trainer._factors_from(step, 1, run.steps_per_epoch, run.total_steps)
            found["learning_rate"] = float(end.rate * (1.0 if factors is None else factors[0]))
        return {**found, "seconds": end.time - self._start}


def _latest(trainer: Trainer, step: int, steps_per_epoch: int) -> EpochEnd:
    """The end of an epoch to which a training has just come, with step number `step`."""
    train_acc, val_acc = (
        float(history[-1]) if history else math.nan for history in (trainer.train_acc_history, trainer.val_acc_history)
    )
    rates = (config["learning_rate"] for config in trainer.optim_configs.values() if "learning_rate" in config)
    losses = trainer.loss_history[-steps_per_epoch:]
    return EpochEnd(step, trainer.epoch, losses, train_acc, val_acc, next(rates, None), perf_counter())
