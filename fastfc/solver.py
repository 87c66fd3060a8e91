"""The course's Solver: trains a model on a data set and keeps the best parameters."""

import logging
import os
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar, cast

import numpy as np

from fastfc import optim
from fastfc._arguments import by_position, require_mapping, stacklevel_outside
from fastfc._plateau import ReduceOnPlateau, plateau_of
from fastfc._ranges import require_count
from fastfc.backend import get_backend
from fastfc.callbacks import Callback, adapt
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.atomic import rehearse
from fastfc.formats.checkpoint import load_checkpoint, write_checkpoint
from fastfc.losses import checked_targets, checked_weights, score_of
from fastfc.ops.losses import LOSSES, Loss
from fastfc.training import refusal, threads_for
from fastfc.training.batches import batches_of, require_same
from fastfc.training.capability import Methods
from fastfc.training.checks import checked_data, comparable_labels, warn_of_other_weights, warn_of_unknown_classes
from fastfc.training.engine import Engine
from fastfc.training.generic import GenericRun
from fastfc.training.gradients import Accumulated, clipped
from fastfc.training.hooks import TrainingHooks, rules_of
from fastfc.training.loop import lent, print_check, run_iterations
from fastfc.training.options import OPTIONS, check_options, options_from
from fastfc.training.own_loss import evaluated, require_fitting
from fastfc.training.state import SPLITS, TrainingState, stream_state

__all__ = ["DivergenceWarning", "Solver", "load_checkpoint"]

logger = logging.getLogger("fastfc")


class DivergenceWarning(RuntimeWarning):
    """A loss is NaN, infinite, or a million times as large as the first one; said once per training, which goes on."""


# How many times as large as the first loss one is that has diverged: no training comes back from there.
_DIVERGED = 1e6


class Solver:
    """Train a model by minibatch gradient descent.

    A model is any object with ``params``, a dictionary of arrays, and ``loss(X, y)``: with
    labels it returns the loss and a dictionary of gradients, without it returns scores
    (N, C). Minibatches are drawn from NumPy's global random stream, with replacement unless
    `sampler` says otherwise, so that ``np.random.seed`` before fixes the whole run.

    Accuracies are taken after the first iteration, at the end of each epoch and after the
    last iteration. The parameters with the best validation accuracy are the model's when
    :meth:`train` ends. Running statistics of batch normalization are those of the last
    iteration even so, as in the course: the model may then be less accurate than
    `best_val_acc`, unless the learning rate falls.

    Parameters
    ----------
    model : object
        See above; for instance :class:`fastfc.FullyConnectedNet`.
    data : dict
        ``X_train`` (N, ...), ``y_train`` (N,), ``X_val`` (M, ...), ``y_val`` (M,); for a network with a loss of
        numbers the targets are (N,) or (N, K), and what is called accuracy is the coefficient R^2. On request
        ``weights_train`` (N,), the weights of the training examples: a step's loss is
        ``sum(weights * losses) / sum(weights)`` over its batch, and a model of one's own gets them as
        ``loss(X, y, weights)``. Accuracies have no weights.
    update_rule : str
        The name of a function in :mod:`fastfc.optim`. Default ``"sgd"``.
    optim_config : dict
        The rule's hyperparameters; each parameter of the model gets a copy.
    lr_decay : float
        Factor of the learning rate at the end of each epoch. Default 1.0.
    schedule : str, Schedule, ReduceOnPlateau or None
        Factors of the learning rate, step by step: one of :mod:`fastfc.schedules`, or its name; or a
        :class:`~fastfc.schedules.ReduceOnPlateau`, which is told the value of each epoch, or ``"plateau"``. Default
        None.
    max_norm : float or None
        If given, the gradients are multiplied, all by the same number, so that their norm is at most this.
    max_value : float or None
        If given, the value of every gradient is clipped to this, up and down, after that.
    loss : function or None
        In the place of the network's loss a function that ``numba.njit`` has compiled, ``(scores, targets, dscores) ->
        loss``. It is called with whole batches, by one thread: scores (n, K) of the network's dtype, labels (n,) of
        int64 or targets (n, K), as the network's own loss takes them, and dscores (n, K), zeros in which it writes the
        gradient of the loss that it returns. The network's loss still says which targets there are and how scores
        become predictions; the L2 penalty is added. See the example below. Default None.
    accumulate : int
        The rule is applied after so many iterations, to the mean of their gradients, and at the end of an epoch after
        what is left: but for batch normalization, as with batches so many times as large, in the memory of one. The
        gradients are clipped then. Default 1.
    batch_size : int
        Default 100.
    sampler : {"replacement", "permutation", "order"}
        How the batches are drawn. ``"replacement"``: each one from all examples, by ``np.random.choice``, as in the
        course. ``"permutation"``: an epoch goes once over all examples, as in scikit-learn and PyTorch; at its first
        iteration ``np.random.shuffle`` shuffles the order of the epoch before, and :meth:`train` begins with the order
        of the data. ``"order"``: once over all of them as they lie. The last batch of an epoch over all examples has
        what is left. Default ``"replacement"``.
    num_epochs : int
        Default 10. An epoch has ``max(N // batch_size, 1)`` iterations with replacement, else ``ceil(N / batch_size)``.
    num_train_samples : int or None
        Training accuracy is taken on that many examples, drawn anew each time; None for
        all. Default 1000.
    num_val_samples : int or None
        The same for validation. Default None.
    checkpoint_name : str or None
        If given, ``<name>_epoch_<n>.pkl`` is written at every accuracy check; see
        :func:`fastfc.solver.load_checkpoint`.
    print_every : int
        Iterations between printed losses. Default 10.
    verbose : bool
        Whether to print. Default True.
    threads : int or None
        Threads of a compiled run; None for what :func:`fastfc.set_num_threads` or the
        environment variable FASTFC_NUM_THREADS says, else for as many as pay. Default None.
    callback : callable, Callback, list of Callback, or None
        Callbacks of :mod:`fastfc.callbacks`, which may end the training; or a function, called
        with the solver after each accuracy check, and in between after one or more iterations, about
        every 0.06 seconds. What they change in the solver, the model, the data or their
        dictionaries counts from the next iteration on; the number of iterations is fixed when
        :meth:`train` begins, and so are `sampler` and, unless it is ``"replacement"``, `batch_size` and the number of
        examples. Default None.
    autosave : path or None
        If given, :meth:`train` calls :meth:`save` with it at the end of each epoch, so that a
        training that was killed goes on from there: see :meth:`resume`. Default None.

    Attributes
    ----------
    epoch, best_val_acc, best_params
    loss_history, train_acc_history, val_acc_history : list
    optim_configs : dict of dict
        The rule's hyperparameters and state, by parameter.
    engine_ : str
        The engine that :meth:`train` ran: ``"compiled"`` for a :class:`fastfc.FullyConnectedNet` with a
        rule of the package on the fast backend, else ``"generic"``, a loop over single steps.
        The logger ``fastfc`` says why, at level DEBUG. Both give the same numbers. After a
        callback that replaced the model, the rule or a method by one's own, the rest is generic.
    threads_ : int
        The threads that it ran on.

    Raises
    ------
    ValueError
        For an unknown argument or rule, or data that does not fit; :meth:`train` raises the same
        for what was changed since, and before a step for what a callback has changed.
    TypeError
        For a `model` without `params` or `loss`, or a `loss` that is not compiled, takes other arguments or returns no
        number.
    FloatingPointError
        In :meth:`train`, before the step is taken, if `loss` returns NaN or infinity.

    Warns
    -----
    DivergenceWarning
        Once per training, if a loss is NaN, infinite, or more than a million times as large as the
        first one (or as 1, if that is more); the training goes on.
    UserWarning
        For a key of `optim_config` that the rule does not know, for labels in ``y_val`` that are none of the
        network's classes, which count as wrong, and for weights in `data` under another name than ``weights_train``.

    Notes
    -----
    CS231n, assignment 2, ``solver.py``.

    Examples
    --------
    >>> from fastfc import FullyConnectedNet, Solver
    >>> X, y = np.random.randn(200, 4), np.arange(200) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> solver = Solver(FullyConnectedNet([8], 4, 3), data, num_epochs=1, verbose=False)
    >>> solver.train()
    >>> len(solver.loss_history)
    2

    A loss of one's own, the squared error of the scores from a one in place of the label:

    >>> import numba
    >>> @numba.njit
    ... def from_ones(scores, labels, dscores):
    ...     for i in range(len(scores)):
    ...         for k in range(scores.shape[1]):
    ...             dscores[i, k] = scores[i, k] - (1.0 if k == labels[i] else 0.0)
    ...     loss = 0.5 * np.sum(dscores**2) / len(scores)
    ...     dscores /= len(scores)
    ...     return loss
    >>> solver = Solver(FullyConnectedNet([8], 4, 3), data, num_epochs=1, verbose=False, loss=from_ones)
    >>> solver.train()
    >>> solver.engine_
    'compiled'
    """

    update_rule: Callable[..., Any]
    optim_config: Any
    lr_decay: float
    # Of the class too, for solvers that were pickled before there were such options.
    schedule: Any = None
    max_norm: float | None = None
    max_value: float | None = None
    loss: Any = None
    accumulate: int = 1
    batch_size: int
    sampler: str = "replacement"
    num_epochs: int
    num_train_samples: int | None
    num_val_samples: int | None
    checkpoint_name: str | os.PathLike[str] | None
    print_every: int
    verbose: bool
    threads: int | None
    callback: Any
    autosave: str | os.PathLike[str] | None

    # The methods that a compiled run stands for, and those that it calls.
    _training: ClassVar[Methods]
    _checkpoints: ClassVar[Methods]
    # The loss from which on a training has diverged, when its first one is known. Of the class too, for solvers
    # that were pickled before they had it.
    _bound: float | None = None
    # The schedule, and the Solver's own copy of it if it is a ReduceOnPlateau.
    _plateau_of: tuple[Any, ReduceOnPlateau | None] = (None, None)
    weights_train: np.ndarray | None = None

    def __init__(self, model: Any, data: dict[str, np.ndarray], **kwargs: Any) -> None:
        if not hasattr(getattr(model, "params", None), "items") or not callable(getattr(model, "loss", None)):
            raise TypeError(
                f"model: expected a model with params, a dictionary of arrays, and a method loss, got {model!r:.80}"
            )
        self.model = model
        require_mapping("data", data)
        for key in SPLITS:
            if key not in data:
                raise ValueError(f"data: expected the keys {', '.join(SPLITS)}; missing {key}")
        self.X_train, self.y_train = data["X_train"], data["y_train"]
        self.X_val, self.y_val = data["X_val"], data["y_val"]
        self.weights_train = data.get("weights_train")

        options = options_from(kwargs)
        require_mapping("optim_config", options["optim_config"])
        options["update_rule"] = optim.rule_of(options["update_rule"])
        optim.check_keys(options["update_rule"], options["optim_config"])
        for name, value in options.items():
            setattr(self, name, value)
        self._reset()
        self._require_runnable()
        warn_of_unknown_classes(self.y_val, self._loss(), self.model)
        warn_of_other_weights(data)

    def _require_runnable(self) -> None:
        """An error for data or options that no engine can work with: given so, or changed to it since."""
        data = {name: getattr(self, name) for name in SPLITS}
        loss = self._loss()
        for name, array in checked_data(data, loss, self.model.dims[-1] if loss is not None else 0).items():
            setattr(self, name, array)
        if self.weights_train is not None:
            rows = len(self.X_train)
            self.weights_train = checked_weights("weights_train", self.weights_train, rows, scaled=loss is not None)
        if isinstance(self.callback, (Callback, list, tuple)):
            self.callback = adapt(self.callback)
        check_options({name: getattr(self, name) for name in OPTIONS})
        if self._state.batches is not None:
            require_same(batches_of(self), self._state.batches)
        if self.loss is not None:
            self._require_own_loss()
        require_mapping("optim_configs", self.optim_configs)
        for name in getattr(self.model.params, "shapes", ()):
            if name not in self.model.params:
                raise ValueError(f"params: expected all parameters of the model; missing {name}")
        for name in self.model.params:
            if name not in self.optim_configs:
                raise ValueError(f"optim_configs: expected a dictionary for each parameter, got none for {name}")

    def _require_own_loss(self) -> None:
        """An error for a loss of one's own where it would not be the one that is trained by, or that does not fit."""
        if not isinstance(self.model, FullyConnectedNet):
            raise ValueError("loss: expected None for a model that is no FullyConnectedNet, whose loss is its own")
        if type(self.model)._training.replaced_in(self.model) == "loss":
            raise ValueError("loss: expected None for a network whose method loss is not fastfc's own")
        if self.weights_train is not None:
            raise ValueError("loss: expected None where examples have weights, as it sees whole batches")
        require_fitting(self.loss, self.model)

    def _loss(self) -> Loss | None:
        """The record of the model's loss; None for somebody's own model."""
        return LOSSES.get(self.model.loss_name) if isinstance(self.model, FullyConnectedNet) else None

    def _reset(self) -> None:
        """Set up the bookkeeping of a run; to be called once, from the constructor."""
        self.epoch = 0
        loss = self._loss()
        # A coefficient R^2 may be below 0 all the time.
        self.best_val_acc = 0.0 if loss is None or loss.labels else -float("inf")
        self.best_params: dict[str, np.ndarray] = {}
        self.loss_history: list[np.floating] = []
        self.train_acc_history: list[float] = []
        self.val_acc_history: list[float] = []
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}
        self._warned = False
        self._bound = None
        self._timed_steps = 0
        self._timed_seconds = 0.0
        self._state = TrainingState()

    def __getstate__(self) -> dict[str, Any]:
        attributes = dict(vars(self))
        state = attributes.pop("_state")
        return {**attributes, **state.attributes()}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        own = dict(attributes)
        state = TrainingState.taken_from(own)
        vars(self).update(own, _state=state)

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of an iteration without accuracy checks, the first one left out; nan before there are two.

        The first iteration may compile kernels or load them from the disk.
        """
        return self._timed_seconds / self._timed_steps if self._timed_steps else float("nan")

    def _step(self) -> None:
        """Make a single gradient update; called by :meth:`train`."""
        start = perf_counter()
        state = self._state
        batch_mask, state.order = batches_of(self).draw(state.clock[0] % state.clock[1], state.order)
        weights = () if self.weights_train is None else (self.weights_train[batch_mask],)
        X, y = self.X_train[batch_mask], self.y_train[batch_mask]
        if self.loss is None:
            loss, grads = self.model.loss(X, y, *weights)
        else:
            loss, grads = self.model._passes(X, y, self._evaluate)
        self.loss_history.append(loss)
        if self.accumulate > 1:
            accumulated, (t, per_epoch, _) = state.accumulated, state.clock
            accumulated.add(grads, float(np.sum(weights)) if weights else len(batch_mask))
            place = t % per_epoch + 1
            if place % self.accumulate != 0 and place != per_epoch:
                self._book_time(1, perf_counter() - start)
                return
            grads = accumulated.take()
        self._update(grads)
        self._book_time(1, perf_counter() - start)

    def _evaluate(self, scores: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray]:
        """The loss of one's own, and its gradient."""
        y = y if y.dtype.kind == "f" else y.astype(np.int64, copy=False)
        dscores = np.zeros_like(scores)
        loss, dscores = evaluated(self.loss, scores, y, dscores, len(self.loss_history) + 1)
        return scores.dtype.type(loss), dscores

    def _update(self, grads: dict[str, np.ndarray]) -> None:
        """Apply the rule to all parameters."""
        grads = clipped(grads, self.max_norm or 0.0, self.max_value or 0.0)
        factors = self._factors(1)
        for name, w in self.model.params.items():
            config = self.optim_configs[name]
            if factors is None:
                next_w, next_config = self.update_rule(w, grads[name], config)
            else:
                rate = optim.learning_rate_of(self.update_rule, config)
                next_w, next_config = self.update_rule(w, grads[name], {**config, "learning_rate": rate * factors[0]})
                next_config["learning_rate"] = rate
            self.model.params[name] = next_w
            self.optim_configs[name] = next_config

    def _factors(self, count: int) -> np.ndarray | None:
        """The schedule's factors of the learning rate in the next steps, (count,); None without a schedule."""
        first, per_epoch, total = self._state.clock
        return self._factors_from(first, count, per_epoch, total)

    def _factors_from(self, first: int, count: int, per_epoch: int, total: int) -> np.ndarray | None:
        """The schedule's factors in the steps from number `first` on, (count,); None without a schedule."""
        if self.schedule is None:
            return None
        plateau = self._plateau()
        if plateau is not None:
            return np.full(count, plateau.current)
        from fastfc import schedules

        return schedules.factors_of(self.schedule, first, count, per_epoch, total)

    def _plateau(self) -> ReduceOnPlateau | None:
        """The schedule, if it goes by values that the training reaches: a copy, made anew when it is replaced."""
        given, plateau = self._plateau_of
        if given is not self.schedule:
            plateau = plateau_of(self.schedule)
            self._plateau_of = self.schedule, plateau
        return plateau

    def _book_time(self, steps: int, seconds: float) -> None:
        """Count the duration of some steps, unless they are the first."""
        if len(self.loss_history) > steps:
            self._timed_steps += steps
            self._timed_seconds += seconds

    def _save_checkpoint(self) -> None:
        """Write the state as a pickle, if a checkpoint name was given."""
        if self.checkpoint_name is None:
            return
        filename = self._checkpoint_file()
        if self.verbose:
            print(f'Saving checkpoint to "{filename}"')
        write_checkpoint(self, filename)

    def _checkpoint_file(self) -> str:
        return f"{os.fspath(cast(str, self.checkpoint_name))}_epoch_{self.epoch}.pkl"

    def check_accuracy(
        self, X: np.ndarray, y: np.ndarray, num_samples: int | None = None, batch_size: int = 100
    ) -> float:
        """Accuracy of the model; of a network with a loss of numbers, the coefficient R^2.

        Parameters
        ----------
        X : array (N, ...)
        y : array (N,)
        num_samples : int or None
            If given and less than N, that many examples are drawn, with replacement.
        batch_size : int
            Examples that go through the model at a time.

        Returns
        -------
        float
            The share of examples whose highest score is at their label, or for the loss ``"logistic"`` whose outputs
            are all right; for the other losses of numbers 1 minus the squared error's share of the targets' variance;
            nan for no examples.

        Raises
        ------
        ValueError, TypeError
            If labels or targets do not fit X or the model's loss, `num_samples` is negative, or `batch_size` less than
            one.
        """
        if num_samples is not None:
            require_count("num_samples", num_samples, 0)
        require_count("batch_size", batch_size, 1)
        X, y, loss = by_position("X", X), by_position("y", y), self._loss()
        n = len(X)
        if loss is not None and not loss.labels:
            y = checked_targets(loss, "y", y, n, self.model.dims[-1])
        else:
            y = comparable_labels("y", y, loss is not None)
            if y.shape != (n,):
                raise ValueError(f"y: expected shape {(n,)}, one label per example, got {y.shape}")
        if num_samples is not None and n > num_samples:
            mask = np.random.choice(n, num_samples)
            n = num_samples
            X, y = X[mask], y[mask]
        if n == 0:
            return float("nan")
        scores = [self.model.loss(X[i : i + batch_size]) for i in range(0, n, batch_size)]
        if loss is not None and not loss.labels:
            return score_of(loss, np.concatenate(scores), y)
        return np.mean(np.concatenate([np.argmax(part, axis=1) for part in scores]) == y)

    def train(self) -> None:
        """Train the model; at the end its parameters are those with the best validation accuracy.

        May be called again, to go on from these for as many epochs. After :meth:`resume` the
        first call goes on up to `num_epochs`, those before included. An interruption (Ctrl-C)
        leaves the model, the histories and NumPy's random stream as the last finished
        iteration left them.
        """
        self._state.batches = None
        self._require_runnable()
        # Before the first epoch: what it costs would be lost if there were no place for its file.
        if self.autosave is not None:
            from fastfc.formats.training import require_savable

            require_savable(self)
            rehearse(self.autosave, 3 * sum(np.asarray(w).nbytes for w in self.model.params.values()))
        if self.checkpoint_name is not None and self._checkpoints.kept_by(self):
            rehearse(self._checkpoint_file())
        state, self._warned = self._state, False
        done, before = 0, None
        if state.resumes and state.iterations is not None:
            done, before = state.iterations, state.ran
            np.random.set_state(cast(tuple, state.stream))
        else:
            state.accumulated, state.order = Accumulated(), None
        state.resumes, state.params, state.stream = False, None, None
        if isinstance(self.callback, TrainingHooks):
            self.callback.begin(self, done)
            self._require_runnable()
        run_iterations(self, state, done, before)
        state.stream = stream_state()
        # Nothing comes after the parameters are the best ones: an interrupt before leaves the last ones.
        if isinstance(self.callback, TrainingHooks):
            self._take_best_params()
            self.callback.end(self)
        else:
            self._take_best_params()

    def _take_best_params(self) -> None:
        """Make the best parameters the model's; without any (no iterations, or no right answer) it keeps its own."""
        if self.best_params:
            self._state.params = {name: value.copy() for name, value in self.model.params.items()}
            self.model.params = self.best_params

    def _leaves_checks(self) -> bool:
        """Whether nothing is due in Python at the end of an epoch, so that an engine may go on over it."""
        nothing_due = self.checkpoint_name is None and self.autosave is None and rules_of(self.callback) is not None
        return nothing_due and self._plateau() is None and self._checkpoints.kept_by(self)

    def _autosave(self, engine: Engine) -> None:
        """Write the state to the file `autosave`, as it is in the engine if that goes on."""
        from fastfc.formats.training import save_training

        if engine.fits:
            engine.publish()
        save_training(self, self._state, cast(str, self.autosave), engine.stream_state() if engine.fits else None)

    def _warn_of_divergence(self, last: Any) -> None:
        """Say, once a training, that one of the `last` losses of the history has left all bounds; for the engines."""
        if self._warned or len(last) == 0:
            return
        losses = np.asarray(last, float)
        if self._bound is None:
            first = abs(float(self.loss_history[0]))
            self._bound = _DIVERGED * max(1.0, first if np.isfinite(first) else 0.0)
        with np.errstate(invalid="ignore"):
            within = np.abs(losses) <= self._bound
        if within.all():
            return
        self._warned = True
        place = int(np.argmin(within))
        warnings.warn(
            f"training diverged: the loss is {losses[place]:.4g} at iteration "
            f"{len(self.loss_history) - len(last) + place + 1}; a smaller learning rate may help",
            DivergenceWarning,
            stacklevel=stacklevel_outside(),
        )

    def _engine(self) -> Engine:
        """The engine that carries out the steps: the compiled run where it can, else a loop over :meth:`_step`."""
        reason = refusal(self)
        self.engine_, self.threads_ = "generic", 1
        if reason is None:
            self.engine_, self.threads_ = "compiled", threads_for(self.model, batches_of(self).batch_size, self.threads)
        else:
            logger.debug("generic training loop: %s", reason)
        self._state.ran = {"engine": self.engine_, "backend": get_backend(), "threads": self.threads_}
        if reason is not None:
            return GenericRun(self)
        from fastfc.training.run import CompiledRun

        return CompiledRun(self, self.threads_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that :meth:`resume` needs to go on, as an ``.npz`` file without pickles, under exactly this name.

        The file holds the model with its last parameters and its running statistics, the best
        parameters, histories, the rule's hyperparameters and state, the arguments of the
        Solver and NumPy's global random stream, all as they are during :meth:`train` (call
        `save` in a callback, or use `autosave`), or as the last :meth:`train` left them. Of the
        data it holds digests only; of callbacks it holds the states. An older file of that
        name is replaced only once the new one is whole.

        Parameters
        ----------
        path : path
            Where to write it.

        Raises
        ------
        TypeError
            If the model is neither a FullyConnectedNet nor a TwoLayerNet (a class derived from
            them included), or a rule keeps something else than numbers, strings and arrays.
        ValueError
            If the rule is not in :mod:`fastfc.optim`, NumPy's random stream is not MT19937,
            :meth:`train` was interrupted amid an iteration or an accuracy check, or an attribute of the Solver or the
            model was changed to what :meth:`resume` would refuse.
        OSError
            If the file cannot be written; an older one is still there then.

        Examples
        --------
        >>> import tempfile, os
        >>> from fastfc import FullyConnectedNet, Solver
        >>> X, y = np.random.randn(200, 4), np.arange(200) % 3
        >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
        >>> solver = Solver(FullyConnectedNet([8], 4, 3), data, num_epochs=2, verbose=False)
        >>> solver.train()
        >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
        >>> solver.save(path)
        >>> solver = Solver.resume(path, data, num_epochs=5)
        >>> solver.train()
        >>> solver.epoch
        5
        """
        from fastfc.formats.training import save_training

        save_training(self, self._state, path)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], data: dict[str, np.ndarray], **changes: Any) -> "Solver":
        """Make the Solver that :meth:`save` or `autosave` wrote, to go on with :meth:`train`.

        Training k epochs, saving, and going on for m more in a new process gives what k + m
        epochs at once give, bit for bit, if the backend, the versions of the libraries and the
        kind of processor are the same, and if no schedule depends on the length of the training, as
        ``"cosine"`` without a length does. Callbacks go on from their states
        (:meth:`fastfc.callbacks.Callback.state_dict`), each from that of its class, in their order; a
        function, or one of another class, begins anew. The number of threads is taken from the file. If
        backend or engine are others, the logger ``fastfc`` warns. Nothing in the file is executed.

        Parameters
        ----------
        path : path
        data : dict
            The data that the training had.
        **changes
            New values of `num_epochs` (the total, those that are done included), `threads`,
            `print_every`, `verbose`, `checkpoint_name`, `callback`, `loss` and `autosave`. Where the training
            had `autosave`, it is `path` by default; checkpoints are written beside `path`. Where it had a
            `loss` of your own, it must be given.

        Returns
        -------
        Solver
            ``solver.model`` has the last parameters until :meth:`train`, which first sets
            NumPy's global random stream to where it stood.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged or not of :meth:`save`, its rule is not in
            :mod:`fastfc.optim`, or `data` are others.
        """
        from fastfc.formats.training import resumed

        solver, state = resumed(cls, path, data, changes)
        solver._state = state
        return solver

    def _check(self, engine: Engine) -> None:
        """Take both accuracies, write the checkpoint, and keep the parameters if they are the best."""
        train_acc = engine.accuracy("train", self.num_train_samples)
        val_acc = engine.accuracy("val", self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        if not self._checkpoints.kept_by(self):
            with lent(self, engine):
                self._save_checkpoint()
        elif self.checkpoint_name is not None:
            engine.publish()
            self._save_checkpoint()
        if self.verbose:
            print_check(self, self.epoch, train_acc, val_acc)
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = {name: value.copy() for name, value in self.model.params.items()}


Solver._training = Methods(Solver, "_step", "_check", "check_accuracy", "train")
Solver._checkpoints = Methods(Solver, "_save_checkpoint")
