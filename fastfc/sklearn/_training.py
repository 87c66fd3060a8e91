"""The training by steps: scikit-learn's loop over epochs, as many of them in a compiled call as can be."""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from fastfc import schedules
from fastfc._plateau import plateau_of
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.sklearn._data import Data, Epochs, Factors, Score
from fastfc.sklearn._networks import restore, snapshot
from fastfc.sklearn._options import OptimizerState, rule_and_config, threads_of, without_decay
from fastfc.training.fit import Fit
from fastfc.training.memory import LEAST, STALE
from fastfc.training.validation import Validation
from fastfc.training.watching import watch_losses

# An adaptive rate falls no further.
_LEAST_RATE = 1e-6


def train(
    estimator: Any,
    net: FullyConnectedNet,
    data: Data,
    stream: np.random.RandomState,
    loss_scale: float,
    incremental: bool,
    validation_score: Score | None,
    epoch_hooks: Callable[..., Any] | None,
) -> None:
    """Train the estimator's network by its solver, "sgd" or "adam", and keep the estimator's histories.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    net : FullyConnectedNet
    data : Data
    stream : numpy.random.RandomState
    loss_scale : float
    incremental : bool
        Whether this is one epoch of ``partial_fit``.
    validation_score : Score or None
        The score by which an early stopping goes.
    epoch_hooks : function or None
        ``epoch_hooks(averaged=...)`` is a context manager around each epoch, for scikit-learn's callbacks; a true
        ``stop`` of its value ends the training.
    """
    rule, config = rule_and_config(estimator)
    optimizer = OptimizerState(rule.__name__, float(estimator.learning_rate_init))
    if incremental and hasattr(estimator, "_optimizer") and estimator._optimizer.rule == rule.__name__:
        optimizer = estimator._optimizer
    else:
        optimizer.plateau = plateau_of(estimator.schedule)
    estimator._optimizer = optimizer
    try:
        with Epochs(
            net,
            data,
            _batch_size(estimator, len(data)),
            estimator.shuffle,
            stream,
            rule=rule,
            threads=threads_of(estimator),
            reg_of_batch=True,
            loss_scale=loss_scale,
            max_norm=estimator.max_norm or 0.0,
            accumulate=estimator.accumulate,
            average_decay=estimator.ema,
        ) as epochs:
            goes_on = optimizer.averaged is not None and np.array_equal(net.params.flat, optimizer.averaged)
            if estimator.ema is not None and optimizer.raw is not None and goes_on:
                # The Fit has taken the average from there, unless somebody has changed or trained it since.
                net.params.flat[:] = optimizer.raw
            _load(epochs.fit, optimizer)
            loop = _Loop(estimator, epochs, config, validation_score, epoch_hooks)
            try:
                loop.run(1 if incremental else estimator.max_iter, incremental)
            except KeyboardInterrupt:
                loop.note()
                warnings.warn("Training interrupted by user.", stacklevel=2)
            _save(epochs.fit, optimizer)
            if estimator.ema is not None:
                optimizer.raw = net.params.flat.copy()
                net.params.flat[:] = optimizer.averaged = epochs.fit.average
    finally:
        if validation_score is not None and estimator.restore_best:
            restore(net, estimator._best)
            if estimator.validation_scores_ and estimator.best_validation_score_ == -np.inf:
                told = "No epoch has a validation score above -inf: the parameters are those from before the training."
                warnings.warn(told, UserWarning, stacklevel=2)


def _most(patience: float) -> int:
    """Epochs without an improvement that do not end a training, which may be infinitely many."""
    return int(min(patience, 2**52))


def _batch_size(estimator: Any, count: int) -> int:
    if estimator.batch_size == "auto":
        return min(200, count)
    if estimator.batch_size > count:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
        )
    return min(int(estimator.batch_size), count)


def _load(fit: Fit, optimizer: OptimizerState) -> None:
    """The rule goes on where it stood."""
    fit.steps_taken, fit.updates_taken = optimizer.steps, optimizer.updates
    if optimizer.arrays is not None:
        for name, arrays in fit.state.items():
            for mine, theirs in zip(arrays, optimizer.arrays[name], strict=True):
                mine[:] = theirs


def _save(fit: Fit, optimizer: OptimizerState) -> None:
    optimizer.steps, optimizer.updates = fit.steps_taken, fit.updates_taken
    optimizer.arrays = fit.state


class Halted(Exception):
    """Ends the fit of a member once that of another one has failed, or was interrupted."""


def _until_halted(estimator: Any, factors: Factors) -> Factors:
    """The factors of the learning rate, which are asked for between compiled calls; Halted once a member is to end."""
    halt: threading.Event | None = vars(estimator).get("_halt")
    if halt is None:
        return factors

    def checked(first: int, count: int) -> np.ndarray:
        if halt.is_set():
            raise Halted
        return np.ones(count) if factors is None else factors(first, count)

    return checked


class _Loop:
    """The epochs of one training, and what the estimator keeps of them."""

    def __init__(
        self,
        estimator: Any,
        epochs: Epochs,
        config: dict[str, float],
        validation_score: Score | None,
        epoch_hooks: Callable[..., Any] | None,
    ) -> None:
        self.estimator, self.epochs, self.config = estimator, epochs, config
        self.validation_score, self.epoch_hooks = validation_score, epoch_hooks
        self.watch = watch_losses(estimator.tol, estimator.n_iter_no_change)
        self.watch[STALE] = estimator._no_improvement_count
        self.watch[LEAST] = np.inf if estimator.best_loss_ is None else estimator.best_loss_
        # Epochs have been trained that the estimator does not know of yet.
        self.pending = False
        self.validation: Validation | None = None
        # Of its values those that the estimator knows, and of its best epochs the last one.
        self.validated = self.best_epoch = 0

    def run(self, count: int, incremental: bool) -> None:
        """Train until `count` epochs, the stopping rule, or a callback ends it."""
        estimator = self.estimator
        single = estimator.verbose or self.epoch_hooks is not None or estimator._optimizer.plateau is not None
        if self.validation_score is not None:
            if not single:
                self.validation = self._compiled_validation(self.validation_score)
            single = self.validation is None
        factors = self._factors(incremental)
        estimator.n_iter_ = 0
        while estimator.n_iter_ < count:
            at_once = 1 if single else min(count - estimator.n_iter_, self.epochs.at_once)
            with self.epoch_hooks(averaged=self._averaged) if self.epoch_hooks else contextlib.nullcontext() as task:
                self._train(at_once, factors)
            self._tell_plateau()
            if self._is_stopping() or (task is not None and task.stop):
                return
        if not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({count}) reached and the optimization"
                " hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _train(self, count: int, factors: Factors) -> None:
        config = {**self.config, "learning_rate": self.estimator._optimizer.learning_rate}
        fit = self.epochs.fit
        fit.set_hyperparameters(config, without_decay(fit.net.params.shapes, config))
        self.pending = True
        watch, factors = None if self.validation_score else self.watch, _until_halted(self.estimator, factors)
        self.epochs.train(count, watch, factors, self.validation)
        self.note()
        if self.validation_score is not None and self.validation is None:
            self._validate(self.validation_score.take)

    def _compiled_validation(self, score: Score) -> Validation | None:
        """The validation inside of compiled epochs, if they can do it."""
        estimator, data = self.estimator, score.data
        if data is None or estimator.ema is not None or self.epochs.at_once == 1:
            return None
        metric = "accuracy" if is_classifier(estimator) else "r2"
        validation = Validation(
            self.epochs.net, data.X, data.targets, metric=metric, patience=_most(estimator.n_iter_no_change),
            min_delta=estimator.tol,
        )  # fmt: skip
        validation.go_on_from(estimator.best_validation_score_, estimator._no_improvement_count)
        return validation

    def _note_validation(self, validation: Validation) -> None:
        """Keep the scores of the epochs that were trained last, and the best parameters."""
        estimator = self.estimator
        estimator.validation_scores_ += validation.values[self.validated :]
        self.validated = len(validation.values)
        estimator._no_improvement_count = validation.stale
        if validation.best_epoch > self.best_epoch:
            self.best_epoch, estimator.best_validation_score_ = validation.best_epoch, validation.best
            estimator._best = validation.best_numbers()

    def _tell_plateau(self) -> None:
        """Tell a schedule that goes by them the value of the epoch that has ended."""
        estimator, plateau = self.estimator, self.estimator._optimizer.plateau
        if plateau is not None:
            plateau.update(estimator.loss_ if plateau.monitor == "loss" else estimator.validation_scores_[-1])

    def note(self) -> None:
        """Keep the losses of the epochs that were trained last."""
        if not self.pending:
            return
        self.pending = False
        estimator, losses = self.estimator, self.epochs.finished.tolist()
        for loss in losses if estimator.verbose else ():
            print(f"Iteration {estimator.n_iter_ + 1}, loss = {loss:.8f}")
        estimator.n_iter_ += len(losses)
        estimator.t_ += len(losses) * len(self.epochs)
        estimator.loss_curve_ += losses
        if losses:
            estimator.loss_ = losses[-1]
        if self.validation is not None:
            self._note_validation(self.validation)
        if self.validation_score is None:
            estimator._no_improvement_count = int(self.watch[STALE])
            estimator.best_loss_ = float(self.watch[LEAST])
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            estimator._optimizer.learning_rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t

    def _validate(self, validation_score: Callable[[], float]) -> None:
        """The score after an epoch, and a copy of the best parameters."""
        estimator = self.estimator
        with self._averaged():
            score = validation_score()
            estimator.validation_scores_.append(score)
            if estimator.verbose:
                print(f"Validation score: {score:f}")
            stale = score < estimator.best_validation_score_ + estimator.tol
            estimator._no_improvement_count = estimator._no_improvement_count + 1 if stale else 0
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                estimator._best = snapshot(self.epochs.net)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network has the average of its parameters in their place, with ``ema``."""
        fit = self.epochs.fit
        flat = fit.net.params.flat
        raw = flat.copy() if fit.average_decay is not None else None
        if raw is not None:
            flat[:] = fit.average
        try:
            yield
        finally:
            if raw is not None:
                flat[:] = raw

    def _is_stopping(self) -> bool:
        """Whether there was no improvement for too long; an adaptive rate falls first."""
        estimator, optimizer = self.estimator, self.estimator._optimizer
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        of = "Training loss" if self.validation_score is None else "Validation score"
        message = (
            f"{of} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} consecutive epochs."
        )
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        if not adaptive or optimizer.learning_rate <= _LEAST_RATE:
            if estimator.verbose:
                print(message + (" Learning rate too small." if adaptive else "") + " Stopping.")
            return True
        optimizer.learning_rate /= 5.0
        if estimator.verbose:
            print(f"{message} Setting learning rate to {optimizer.learning_rate:f}")
        estimator._no_improvement_count = 0
        self.watch[STALE] = 0
        if self.validation is not None:
            self.validation.go_on_from(estimator.best_validation_score_, 0)
        return False

    def _factors(self, incremental: bool) -> Factors:
        """The factors of the learning rate by steps: those of the schedule, or of an inverse scaling."""
        estimator, steps = self.estimator, self.epochs.steps
        first_step, seen = self.epochs.fit.steps_taken, estimator.t_
        plateau = estimator._optimizer.plateau
        if plateau is not None:
            return lambda first, n: np.full(n, plateau.current)
        if estimator.schedule is not None:
            schedule, total = schedules.get(estimator.schedule), estimator.max_iter * steps
            # The calls of partial_fit go through one schedule together.
            before = 0 if incremental else first_step
            return lambda first, n: schedule.factors(first - before, n, steps, total)
        if estimator.solver != "sgd" or estimator.learning_rate != "invscaling":
            return None

        start = estimator._optimizer.learning_rate

        def factors(first: int, n: int) -> np.ndarray:
            # In multiples of the rate with which the epochs that are trained at once begin.
            epoch = (np.arange(first, first + n) - first_step) // steps
            rates = estimator.learning_rate_init / (seen + epoch * len(self.epochs) + 1.0) ** estimator.power_t
            return np.where(epoch == 0, start, rates) / estimator._optimizer.learning_rate

        return factors
