"""Protocols: the engine that carries out a training's steps, and the Solver that it carries them out for."""

import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fastfc._plateau import ReduceOnPlateau
from fastfc.ops.losses import Loss

__all__ = ["Engine", "Trainer"]


class Engine(Protocol):
    """Carries out the steps and accuracy checks of a training; to be used as a context manager, and closed.

    :class:`fastfc.training.run.CompiledRun` and :class:`fastfc.training.generic.GenericRun` are the two.
    """

    #: Whether the engine can go on with what the last :meth:`take_back` found.
    fits: bool

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *exception: Any) -> None: ...

    def close(self) -> None:
        """End the run and leave everything as the last step left it; twice is once."""

    def checks_inside(self) -> bool:
        """Whether :meth:`steps` may go on over the ends of epochs, accuracy checks included."""

    def steps(self, limit: int, before: int = 0, iterations_per_epoch: int = 0) -> int:
        """Carry out at least one and at most `limit` steps, and return how many.

        With `iterations_per_epoch`, after `before` iterations, it may go on over the ends of epochs: if
        :meth:`checks_inside` says so.
        """

    def accuracy(self, split: str, num_samples: int | None) -> Any:
        """The Solver's ``check_accuracy`` on its own ``"train"`` or ``"val"`` data."""

    def publish(self) -> None:
        """Bring the model's dictionaries to where the run stands, for a file of the model."""

    def stream_state(self) -> tuple | None:
        """The run's random stream, as ``np.random.get_state`` gives it; None if that is not MT19937."""

    def take_stream(self) -> None:
        """Go on where NumPy's global random stream stands."""

    def lend(self) -> None:
        """Leave everything as the last step left it, for somebody else's code to look at and to change."""

    def take_back(self) -> None:
        """Go on from what that code has left, if :attr:`fits` is true after it; else another engine has to."""


class Trainer(Protocol):
    """A :class:`fastfc.Solver`, as far as engines, the loop and its files know it."""

    model: Any
    X_train: Any
    y_train: Any
    weights_train: Any
    X_val: Any
    y_val: Any
    update_rule: Callable[..., Any]
    optim_config: Any
    lr_decay: float
    schedule: Any
    max_norm: float | None
    max_value: float | None
    loss: Any
    accumulate: int
    batch_size: int
    sampler: str
    num_epochs: int
    num_train_samples: int | None
    num_val_samples: int | None
    checkpoint_name: str | os.PathLike[str] | None
    print_every: int
    verbose: bool
    threads: int | None
    callback: Any
    autosave: str | os.PathLike[str] | None

    epoch: int
    best_val_acc: float
    best_params: dict[str, np.ndarray]
    loss_history: list[Any]
    train_acc_history: list[float]
    val_acc_history: list[float]
    optim_configs: dict[str, Any]

    def check_accuracy(self, X: Any, y: Any, num_samples: int | None = None, batch_size: int = 100) -> float:
        """The model's accuracy on these examples, or on some of them."""

    def _step(self) -> None:
        """A single gradient update."""

    def _check(self, engine: Engine) -> None:
        """Take both accuracies, write the checkpoint, and keep the parameters if they are the best."""

    def _engine(self) -> Engine:
        """The engine that carries out the steps from now on."""

    def _autosave(self, engine: Engine) -> None:
        """Write the state to the file `autosave`."""

    def _leaves_checks(self) -> bool:
        """Whether nothing is due in Python at the end of an epoch."""

    def _factors(self, count: int) -> np.ndarray | None:
        """The schedule's factors of the learning rate in the next steps."""

    def _factors_from(self, first: int, count: int, per_epoch: int, total: int) -> np.ndarray | None:
        """The schedule's factors of the learning rate in the steps from number `first` on."""

    def _plateau(self) -> ReduceOnPlateau | None:
        """The schedule, if it goes by values that the training reaches: the Solver's own copy."""

    def _loss(self) -> Loss | None:
        """The record of the model's loss; None for somebody's own model."""

    def _require_runnable(self) -> None:
        """An error for data or options that no engine can work with."""

    def _warn_of_divergence(self, last: Any) -> None:
        """Say, once a training, that one of the `last` losses of the history has left all bounds."""
