"""Callbacks, and how a Solver calls them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

import numpy as np

from fastfc._arguments import number
from fastfc._ranges import require_count
from fastfc.training.batches import Batches, batches_of, mean_loss
from fastfc.training.engine import Trainer
from fastfc.training.hooks import EpochEnd, States, StoppingRule, TrainingHooks

__all__ = ["Callback", "CallbackList", "Run", "adapt", "epoch_row"]

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


def _require_numbers(values: dict[str, Any]) -> None:
    """Make Python's numbers of the `values`; TypeError or ValueError for one that is none: no file could keep it."""
    for name, value in values.items():
        if type(value) is float:
            continue
        if isinstance(value, (int, np.integer, np.bool_)) and abs(int(value)) <= _EXACT:
            values[name] = int(value)
        else:
            values[name] = number(f"values[{name!r}]", value)


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
            _require_numbers(run.values)
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

    @property
    def stopped(self) -> bool:
        return self._run is not None and self._run.stopped

    def steps_until_due(self, step: int) -> int | None:
        return self._callbacks.steps_until_due(step)

    def states(self) -> States:
        found = [(type(each).__name__, each.state_dict()) for each in self._callbacks.callbacks]
        return [(name, state) for name, state in found if state]

    def load_states(self, states: States) -> None:
        # The first of a class goes on from the first state of its name, the second from the second.
        left = list(states)
        for callback in self._callbacks.callbacks:
            place = next((i for i, (name, _) in enumerate(left) if name == type(callback).__name__), None)
            if place is not None:
                callback.load_state_dict(left.pop(place)[1])

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
        self._callbacks.on_train_begin(self._run)

    def after(self, trainer: Trainer, step: int) -> None:
        run = cast(Run, self._run)
        ended = trainer.epoch > run.epoch
        run.model, run.step, run.epoch = trainer.model, step, trainer.epoch
        run.loss = float(trainer.loss_history[-1]) if trainer.loss_history else math.nan
        if ended:
            run.values = self._values(trainer, _latest(trainer, step, run.steps_per_epoch))
        self._callbacks.on_step(run)
        if ended:
            self._callbacks.on_epoch_end(run)

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
