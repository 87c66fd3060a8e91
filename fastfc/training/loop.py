"""The training loop: steps by an engine, accuracy checks, callbacks, and the lines that are printed of them."""

import contextlib
import logging
from collections.abc import Iterator
from typing import cast

from fastfc.training.batches import Batches, batches_of, checked_order, mean_loss
from fastfc.training.engine import Engine, Trainer
from fastfc.training.hooks import TrainingHooks, rules_of
from fastfc.training.state import TrainingState

__all__ = ["lent", "print_check", "run_iterations"]

logger = logging.getLogger("fastfc")


def run_iterations(solver: Trainer, state: TrainingState, t: int, before: object) -> None:
    """Carry out the iterations from number `t` on, where something ran `before` that it is to equal."""
    state.batches = batches_of(solver)
    if state.order is not None:
        # Compiled code reads rows by it.
        state.order = checked_order(state.order, state.batches.rows)
    iterations_per_epoch = state.batches.steps
    num_iterations = solver.num_epochs * iterations_per_epoch
    state.iterations = t
    while True:
        # Closed twice: Ctrl-C may come at the very moment when the first close begins.
        with solver._engine() as engine, contextlib.closing(engine):
            if before is not None and state.ran != before:
                logger.warning("the training goes on equal up to rounding only: %s before, now %s", before, state.ran)
            before = None
            while t < num_iterations and engine.fits and not _stopped(solver):
                t = _advance(solver, state, engine, t, num_iterations, iterations_per_epoch)
        if t >= num_iterations or _stopped(solver):
            return
        # Its memory is free before the next one takes some.
        del engine


def _advance(
    solver: Trainer, state: TrainingState, engine: Engine, t: int, num_iterations: int, iterations_per_epoch: int
) -> int:
    """Carry out some iterations after `t`, and all that is due on the last of them; returns its number."""
    state.iterations = None
    state.clock = t, iterations_per_epoch, num_iterations
    inside = solver._leaves_checks() and engine.checks_inside()
    epoch = solver.epoch
    if inside:
        done = engine.steps(num_iterations - t, t, iterations_per_epoch)
    else:
        # Up to the next accuracy check: after the first iteration, and at the end of each epoch.
        due = 1 if t == 0 else iterations_per_epoch - t % iterations_per_epoch
        done = engine.steps(min(due, _until_call(solver, t) or due))
    if solver.verbose:
        _print_progress(solver, t, done, num_iterations, iterations_per_epoch, epoch if inside else None)
    t += done
    epoch_end = t % iterations_per_epoch == 0
    if not inside:
        _finish_iteration(solver, engine, t, epoch_end)
    if epoch_end:
        _tell_plateau(solver, cast(Batches, state.batches))
    state.iterations = t
    if solver.callback is not None and not inside:
        with lent(solver, engine) if rules_of(solver.callback) is None else contextlib.nullcontext():
            _call(solver, t)
    if epoch_end and solver.autosave is not None:
        solver._autosave(engine)
    return t


def _tell_plateau(solver: Trainer, batches: Batches) -> None:
    """Tell a schedule that goes by them the value of the epoch that has ended."""
    plateau = solver._plateau()
    if plateau is None:
        return
    histories = {"train_acc": solver.train_acc_history, "val_acc": solver.val_acc_history}
    loss = plateau.monitor == "loss"
    value = mean_loss(solver.loss_history, batches) if loss else histories[plateau.monitor][-1]
    plateau.update(float(value))


def _call(solver: Trainer, t: int) -> None:
    """Call the Solver's callback after iteration number `t`."""
    if isinstance(solver.callback, TrainingHooks):
        solver.callback.after(solver, t)
    elif solver.callback is not None:
        solver.callback(solver)


def _until_call(solver: Trainer, t: int) -> int | None:
    return solver.callback.steps_until_due(t) if isinstance(solver.callback, TrainingHooks) else None


def _stopped(solver: Trainer) -> bool:
    return isinstance(solver.callback, TrainingHooks) and solver.callback.stopped


def _finish_iteration(solver: Trainer, engine: Engine, t: int, epoch_end: bool) -> None:
    """The end of an epoch, and an accuracy check, if they follow on iteration `t`, counted from 1."""
    if epoch_end:
        solver.epoch += 1
        for config in solver.optim_configs.values():
            config["learning_rate"] *= solver.lr_decay
    if t == 1 or epoch_end:
        solver._check(engine)


@contextlib.contextmanager
def lent(solver: Trainer, engine: Engine) -> Iterator[None]:
    """Within it, somebody else's code may look at everything and change it; the engine goes on from that."""
    engine.lend()
    yield
    solver._require_runnable()
    engine.take_back()


def _print_progress(
    solver: Trainer, t: int, done: int, num_iterations: int, iterations_per_epoch: int, epoch: int | None
) -> None:
    """Print the lines of the last `done` iterations, after `t`; with the `epoch` before, of their checks too."""
    losses = solver.loss_history[len(solver.loss_history) - done :]
    numbers = range(t + 1, t + done + 1)
    checks = sum(i == 1 or i % iterations_per_epoch == 0 for i in numbers) if epoch is not None else 0
    place = len(solver.train_acc_history) - checks
    for i, loss in zip(numbers, losses, strict=True):
        if (i - 1) % solver.print_every == 0:
            print("(Iteration %d / %d) loss: %f" % (i, num_iterations, loss))
        if epoch is not None and (i == 1 or i % iterations_per_epoch == 0):
            epoch += i % iterations_per_epoch == 0
            print_check(solver, epoch, solver.train_acc_history[place], solver.val_acc_history[place])
            place += 1


def print_check(solver: Trainer, epoch: int, train_acc: float, val_acc: float) -> None:
    """Print the line of an accuracy check after so many epochs."""
    loss = solver._loss()
    counts = loss is None or loss.labels or loss.link == "logistic"
    train, val = ("train acc", "val_acc") if counts else ("train R2", "val_R2")
    print("(Epoch %d / %d) %s: %f; %s: %f" % (epoch, solver.num_epochs, train, train_acc, val, val_acc))
