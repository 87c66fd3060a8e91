"""Booking: what a call of the compiled run has done, entered into the Solver's lists and dictionaries."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastfc.optim import DEFAULTS
from fastfc.training.engine import Trainer
from fastfc.training.gradients import updates_after
from fastfc.training.hooks import EpochEnd, TrainingHooks
from fastfc.training.memory import BEST, CHECKED, DONE, PROGRESS
from fastfc.training.stopping import StoppingInside

__all__ = ["Call", "booked", "new_call", "tell_epochs"]


@dataclass
class Call:
    """A call of the compiled run that is not booked yet: what it writes, and what stood before it."""

    losses: np.ndarray
    progress: np.ndarray
    accuracies: np.ndarray
    check_ends: np.ndarray
    iterations: int  # before it
    iterations_per_epoch: int
    group: tuple[int, int, int]  # iterations of the training before it, those of an epoch, and batches to an update
    lr_decay: float
    # of the Solver
    histories: tuple[int, ...]  # lengths: losses, accuracies in training and validation
    epoch: int
    rates: dict[str, Any]
    taken: dict[str, int]
    # The parameters with the best validation accuracy, laid out like the model's.
    best_params: np.ndarray
    # Of a call that goes on over the ends of epochs; and when it began, by time.perf_counter.
    stopping: StoppingInside | None = None
    start: float = 0.0


def new_call(solver: Any, best_params: np.ndarray, count: int, before: int, epoch: int, checks: int) -> Call:
    """The booking of `count` steps after `before` iterations, with so many accuracy checks; none is done yet."""
    configs, counted = solver.optim_configs, "t" in DEFAULTS[solver.update_rule.__name__]
    # In a group of batches, or in an epoch over all rows, counts where in the training this one is.
    anywhere = solver.accumulate == 1 and solver.sampler == "replacement"
    place = (before, epoch) if anywhere else solver._state.clock[:2]
    return Call(
        losses=np.full(count, np.nan),
        progress=np.zeros(PROGRESS, np.int64),
        accuracies=np.empty(2 * checks),
        check_ends=np.zeros(checks, np.int64),
        iterations=before,
        iterations_per_epoch=epoch,
        group=(*place, solver.accumulate),
        lr_decay=solver.lr_decay,
        histories=tuple(map(len, (solver.loss_history, solver.train_acc_history, solver.val_acc_history))),
        epoch=solver.epoch,
        rates={name: config["learning_rate"] for name, config in configs.items()},
        # A key that another rule has left, or a person given, is none of this rule's.
        taken={name: config["t"] for name, config in configs.items()} if counted else {},
        best_params=best_params,
    )


def booked(call: Call, solver: Trainer) -> np.ndarray:
    """Enter a call into the Solver's lists and dictionaries; returns its losses.

    A booking that was interrupted can be made again.
    """
    params = solver.model.params
    done, checked, best = (int(call.progress[i]) for i in (DONE, CHECKED, BEST))
    # A loss is computed in float64, and may be beyond float32.
    with np.errstate(over="ignore"):
        losses = call.losses[:done].astype(solver.model.dtype)
    solver.loss_history[call.histories[0] :] = losses
    epochs = (call.iterations + done) // call.iterations_per_epoch - call.iterations // call.iterations_per_epoch
    for name, rate in call.rates.items():
        for _ in range(epochs):
            rate = rate * call.lr_decay
        solver.optim_configs[name]["learning_rate"] = rate
    before, *of_updates = call.group
    updates = updates_after(before + done, *of_updates) - updates_after(before, *of_updates)
    for name, t in call.taken.items():
        solver.optim_configs[name]["t"] = t + updates
    solver.epoch = call.epoch + epochs
    solver.train_acc_history[call.histories[1] :] = call.accuracies[0 : 2 * checked : 2]
    solver.val_acc_history[call.histories[2] :] = call.accuracies[1 : 2 * checked : 2]
    if best > 0:
        solver.best_val_acc = call.accuracies[2 * best - 1]
        shapes, offsets = params.shapes, params.offsets
        solver.best_params = {
            name: call.best_params[offsets[name] : offsets[name] + w.size].reshape(shapes[name]).copy()
            for name, w in params.items()
        }
    return losses


def tell_epochs(call: Call, solver: Trainer) -> None:
    """Tell the Solver's callback of the epochs that ended within a call, once that is booked."""
    if call.stopping is not None and isinstance(solver.callback, TrainingHooks):
        solver.callback.after_epochs(solver, list(_ends(call, solver)), call.stopping.best())


def _ends(call: Call, solver: Trainer) -> Iterator[EpochEnd]:
    """The ends of epochs whose accuracies a call has taken."""
    per_epoch, epochs = call.iterations_per_epoch, call.iterations // call.iterations_per_epoch
    rate = next(iter(call.rates.values()), None)
    # The first iteration of a training has a check too.
    extra = int(call.iterations == 0 and per_epoch > 1)
    for place in range(extra, int(call.progress[CHECKED])):
        done = place - extra + 1
        step = (epochs + done) * per_epoch
        end = call.histories[0] + step - call.iterations
        rate = None if rate is None else rate * call.lr_decay
        yield EpochEnd(
            step=step, epoch=call.epoch + done, losses=solver.loss_history[max(end - per_epoch, 0) : end],
            train_acc=float(call.accuracies[2 * place]), val_acc=float(call.accuracies[2 * place + 1]), rate=rate,
            time=call.start + 1e-9 * int(call.check_ends[place]),
        )  # fmt: skip
