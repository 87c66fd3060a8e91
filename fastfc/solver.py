"""The course's Solver: trains a model on a data set and keeps the best parameters."""

import contextlib
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, cast

import numpy as np

from fastfc import optim
from fastfc._arguments import by_position, class_labels, number, require_mapping
from fastfc._runtime.threads import checked_count
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.atomic import rehearse, replaced_file
from fastfc.formats.checkpoint import load_checkpoint
from fastfc.formats.training import digests, load_training, require_savable, save_training, stream_state
from fastfc.training.capability import Methods

__all__ = ["DivergenceWarning", "Solver", "load_checkpoint"]

logger = logging.getLogger("fastfc")


class DivergenceWarning(RuntimeWarning):
    """A loss is NaN, infinite, or a million times as large as the first one; said once per training, which goes on."""


# How many times as large as the first loss one is that has diverged: no training comes back from there.
_DIVERGED = 1e6


class Solver:
    """Train a classification model by minibatch gradient descent.

    A model is any object with ``params``, a dictionary of arrays, and ``loss(X, y)``: with
    labels it returns the loss and a dictionary of gradients, without it returns scores
    (N, C). Minibatches are drawn with replacement from NumPy's global random stream, so
    that ``np.random.seed`` before fixes the whole run.

    Accuracies are taken after the first iteration, at the end of each epoch and after the
    last iteration. The parameters with the best validation accuracy are the model's when
    :meth:`train` ends.

    Parameters
    ----------
    model : object
        See above; for instance :class:`fastfc.FullyConnectedNet`.
    data : dict
        ``X_train`` (N, ...), ``y_train`` (N,), ``X_val`` (M, ...), ``y_val`` (M,).
    update_rule : str
        The name of a function in :mod:`fastfc.optim`. Default ``"sgd"``.
    optim_config : dict
        The rule's hyperparameters; each parameter of the model gets a copy.
    lr_decay : float
        Factor of the learning rate at the end of each epoch. Default 1.0.
    batch_size : int
        Default 100.
    num_epochs : int
        Default 10. An epoch has ``max(N // batch_size, 1)`` iterations.
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
    callback : callable or None
        Called with the solver after each accuracy check, and in between after one or more
        iterations, about every 0.1 seconds or less. What it changes in the solver, the model, the
        data or their dictionaries counts from the next iteration on; the number of iterations is
        fixed when :meth:`train` begins. Default None.
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
        What :meth:`train` ran: ``"compiled"`` for a :class:`fastfc.FullyConnectedNet` with a
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

    Warns
    -----
    DivergenceWarning
        Once per training, if a loss is NaN, infinite, or more than a million times as large as the
        first one (or as 1, if that is more); the training goes on.
    UserWarning
        For a key of `optim_config` that the rule does not know.

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
    """

    # What a compiled run stands for, and what it calls.
    _training: ClassVar[Methods]
    _checkpoints: ClassVar[Methods]
    # The loss from which on a training has diverged, when its first one is known. Of the class too, for solvers
    # that were pickled before they had it.
    _bound: float | None = None

    def __init__(self, model: Any, data: dict[str, np.ndarray], **kwargs: Any) -> None:
        self.model = model
        for key in ("X_train", "y_train", "X_val", "y_val"):
            if key not in data:
                raise ValueError(f"data: expected the keys X_train, y_train, X_val, y_val; missing {key}")
        self.X_train, self.y_train = data["X_train"], data["y_train"]
        self.X_val, self.y_val = data["X_val"], data["y_val"]

        self.update_rule = kwargs.pop("update_rule", "sgd")
        self.optim_config = kwargs.pop("optim_config", {})
        self.lr_decay = kwargs.pop("lr_decay", 1.0)
        self.batch_size = kwargs.pop("batch_size", 100)
        self.num_epochs = kwargs.pop("num_epochs", 10)
        self.num_train_samples = kwargs.pop("num_train_samples", 1000)
        self.num_val_samples = kwargs.pop("num_val_samples", None)
        self.checkpoint_name = kwargs.pop("checkpoint_name", None)
        self.print_every = kwargs.pop("print_every", 10)
        self.verbose = kwargs.pop("verbose", True)
        self.threads = kwargs.pop("threads", None)
        self.callback: Callable[[Solver], object] | None = kwargs.pop("callback", None)
        self.autosave: str | os.PathLike[str] | None = kwargs.pop("autosave", None)
        if kwargs:
            extra = ", ".join(f'"{name}"' for name in kwargs)
            raise ValueError(f"Unrecognized arguments {extra}")

        require_mapping("optim_config", self.optim_config)
        self.update_rule = optim.rule_of(self.update_rule)
        optim.warn_of_unknown_keys(self.update_rule, self.optim_config)
        self._reset()
        self._require_runnable()

    def _require_runnable(self) -> None:
        """An error for data or options that no engine can work with: given so, or changed to it since."""
        for split in ("train", "val"):
            X, y = f"X_{split}", f"y_{split}"
            for name in (X, y):
                setattr(self, name, by_position(name, getattr(self, name)))
            rows, count = len(getattr(self, X)), len(getattr(self, y))
            if rows != count:
                raise ValueError(f"data: expected as many labels as examples, got {X} {rows}, {y} {count}")
        # Labels of another kind may be what somebody's own model is trained on; predictions are classes.
        if isinstance(self.model, FullyConnectedNet):
            self.y_train = class_labels("y_train", self.y_train)
        self.y_val = self._comparable("y_val", self.y_val)
        if len(self.X_train) == 0:
            raise ValueError("data: expected at least one training example, got none")
        for name, least in (("batch_size", 1), ("print_every", 1), ("num_epochs", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not (isinstance(value, (int, np.integer)) and value >= least):
                raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
        for name in ("num_train_samples", "num_val_samples"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, np.integer)) and value >= 0):
                raise ValueError(f"{name}: expected None or an integer of at least 0, got {value!r}")
        number("lr_decay", self.lr_decay)
        for name in ("checkpoint_name", "autosave"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (str, os.PathLike)):
                raise TypeError(f"{name}: expected None or a path, got {value!r}")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: expected None or a function of the solver, got {self.callback!r}")
        if self.threads is not None:
            checked_count("threads", self.threads)
        if not callable(self.update_rule):
            raise TypeError(f"update_rule: expected a function like those of fastfc.optim, got {self.update_rule!r}")
        require_mapping("optim_configs", self.optim_configs)

    def _comparable(self, name: str, y: Any) -> np.ndarray:
        """Labels that predicted classes are compared with; of somebody's own model other kinds too, with a warning."""
        array = np.asarray(y)
        if isinstance(self.model, FullyConnectedNet) or array.dtype.kind in "biu":
            return class_labels(name, y, whole_floats=True)
        if array.size > 0 and not (array.dtype.kind == "f" and np.array_equal(array, np.rint(array))):
            warnings.warn(
                f"{name}: labels of dtype {array.dtype} never equal a predicted class, which is an integer; accuracies "
                "say nothing",
                stacklevel=4,
            )
        return array

    def _reset(self) -> None:
        """Set up the bookkeeping of a run; to be called once, from the constructor."""
        self.epoch = 0
        self.best_val_acc = 0.0
        self.best_params: dict[str, np.ndarray] = {}
        self.loss_history: list[np.floating] = []
        self.train_acc_history: list[float] = []
        self.val_acc_history: list[float] = []
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}
        self._warned = False
        self._bound = None
        self._timed_steps = 0
        self._timed_seconds = 0.0
        # Of the call of train() that is under way or was the last; None amid an iteration or a check.
        self._iterations: int | None = 0
        # Parameters and random stream as the last train() left them; None: as they are now.
        self._left: tuple[dict[str, np.ndarray] | None, tuple | None] = None, None
        # What ran before a file was written, if the next train() goes on from it.
        self._resumes = False
        self._ran: dict[str, Any] | None = None

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of an iteration without accuracy checks, the first one left out; nan before there are two.

        The first iteration may compile kernels or load them from the disk.
        """
        return self._timed_seconds / self._timed_steps if self._timed_steps else float("nan")

    def _step(self) -> None:
        """Make a single gradient update; called by :meth:`train`."""
        start = perf_counter()
        batch_mask = np.random.choice(len(self.X_train), self.batch_size)
        loss, grads = self.model.loss(self.X_train[batch_mask], self.y_train[batch_mask])
        self.loss_history.append(loss)
        for name, w in self.model.params.items():
            next_w, next_config = self.update_rule(w, grads[name], self.optim_configs[name])
            self.model.params[name] = next_w
            self.optim_configs[name] = next_config
        self._book_time(1, perf_counter() - start)

    def _book_time(self, steps: int, seconds: float) -> None:
        """Count the duration of some steps, unless they are the first."""
        if len(self.loss_history) > steps:
            self._timed_steps += steps
            self._timed_seconds += seconds

    def _save_checkpoint(self) -> None:
        """Write the state as a pickle, if a checkpoint name was given."""
        if self.checkpoint_name is None:
            return
        checkpoint = {
            "model": self.model,
            "update_rule": self.update_rule,
            "lr_decay": self.lr_decay,
            "optim_config": self.optim_config,
            "batch_size": self.batch_size,
            "num_train_samples": self.num_train_samples,
            "num_val_samples": self.num_val_samples,
            "epoch": self.epoch,
            "loss_history": self.loss_history,
            "train_acc_history": self.train_acc_history,
            "val_acc_history": self.val_acc_history,
        }
        filename = self._checkpoint_file()
        if self.verbose:
            print(f'Saving checkpoint to "{filename}"')
        with replaced_file(filename) as file:
            # Protocol 4: the one that load_checkpoint reads, and that every supported Python can write.
            pickle.dump(checkpoint, file, protocol=4)

    def _checkpoint_file(self) -> str:
        return f"{os.fspath(cast(str, self.checkpoint_name))}_epoch_{self.epoch}.pkl"

    def check_accuracy(
        self, X: np.ndarray, y: np.ndarray, num_samples: int | None = None, batch_size: int = 100
    ) -> float:
        """Accuracy of the model.

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
            The share of examples whose highest score is at their label; nan for no examples.
        """
        X, y = by_position("X", X), self._comparable("y", by_position("y", y))
        n = len(X)
        if y.shape != (n,):
            raise ValueError(f"y: expected shape {(n,)}, one label per example, got {y.shape}")
        if num_samples is not None and n > num_samples:
            mask = np.random.choice(n, num_samples)
            n = num_samples
            X, y = X[mask], y[mask]
        if n == 0:
            return float("nan")
        predictions = [np.argmax(self.model.loss(X[i : i + batch_size]), axis=1) for i in range(0, n, batch_size)]
        return np.mean(np.concatenate(predictions) == y)

    def train(self) -> None:
        """Train the model; at the end its parameters are those with the best validation accuracy.

        May be called again, to go on from these for as many epochs. After :meth:`resume` the
        first call goes on up to `num_epochs`, those before included. An interruption (Ctrl-C)
        leaves the model, the histories and NumPy's random stream as the last finished
        iteration left them.
        """
        self._require_runnable()
        # Before the first epoch: what it costs would be lost if there were no place for its file.
        if self.autosave is not None:
            require_savable(self)
            rehearse(self.autosave, 3 * sum(np.asarray(w).nbytes for w in self.model.params.values()))
        if self.checkpoint_name is not None and self._checkpoints.kept_by(self):
            rehearse(self._checkpoint_file())
        done, before = 0, None
        if self._resumes and self._iterations is not None:
            done, before = self._iterations, self._ran
            np.random.set_state(cast(tuple, self._left[1]))
        self._resumes, self._left = False, (None, None)
        self._loop(done, before)
        # Without any best parameters (no iterations, or never a right answer) the model keeps its own.
        if self.best_params:
            last = {name: value.copy() for name, value in self.model.params.items()}
            self._left = last, stream_state()
            self.model.params = self.best_params
        else:
            self._left = None, stream_state()

    def _loop(self, t: int, before: dict[str, Any] | None) -> None:
        """Carry out the iterations from number `t` on, where something ran `before` that it is to equal."""
        iterations_per_epoch = max(len(self.X_train) // self.batch_size, 1)
        num_iterations = self.num_epochs * iterations_per_epoch
        self._iterations = t
        self._warned = False
        while True:
            # Closed twice: Ctrl-C may come at the very moment when the first close begins.
            with self._engine() as engine, contextlib.closing(engine):
                if before is not None and self._ran != before:
                    logger.warning(
                        "the training goes on equal up to rounding only: %s before, now %s", before, self._ran
                    )
                before = None
                while t < num_iterations and engine.fits:
                    self._iterations = None
                    inside = self._may_leave_checks_to(engine)
                    # Else up to the next accuracy check: after the first iteration, and at the end of each epoch.
                    next_check = 1 if t == 0 else iterations_per_epoch - t % iterations_per_epoch
                    epoch = self.epoch
                    if inside:
                        done = engine.steps(num_iterations - t, t, iterations_per_epoch)
                    else:
                        done = engine.steps(next_check)
                    if self.verbose:
                        self._print_progress(t, done, num_iterations, iterations_per_epoch, epoch if inside else None)
                    t += done
                    if not inside:
                        self._finish_iteration(engine, t, t % iterations_per_epoch == 0)
                    self._iterations = t
                    if self.callback is not None:
                        with self._lent(engine):
                            self.callback(self)
                    if t % iterations_per_epoch == 0 and self.autosave is not None:
                        if engine.fits:
                            engine.publish()
                        save_training(self, self.autosave, engine.stream_state() if engine.fits else None)
            if t >= num_iterations:
                return
            # Its memory is free before the next one takes some.
            del engine

    def _may_leave_checks_to(self, engine: Any) -> bool:
        """Whether nothing is due in Python at the end of an epoch, so that the engine may go on over it."""
        nothing_due = self.callback is None and self.checkpoint_name is None and self.autosave is None
        return nothing_due and self._checkpoints.kept_by(self) and engine.checks_inside()

    def _finish_iteration(self, engine: Any, t: int, epoch_end: bool) -> None:
        """What follows on iteration `t`, counted from 1: the end of an epoch, and an accuracy check."""
        if epoch_end:
            self.epoch += 1
            for config in self.optim_configs.values():
                config["learning_rate"] *= self.lr_decay
        if t == 1 or epoch_end:
            self._check(engine)

    def _print_progress(
        self, t: int, done: int, num_iterations: int, iterations_per_epoch: int, epoch: int | None
    ) -> None:
        """Print the lines of the last `done` iterations, after `t`; with the `epoch` before, of their checks too."""
        losses = self.loss_history[len(self.loss_history) - done :]
        numbers = range(t + 1, t + done + 1)
        checks = sum(i == 1 or i % iterations_per_epoch == 0 for i in numbers) if epoch is not None else 0
        place = len(self.train_acc_history) - checks
        for i, loss in zip(numbers, losses, strict=True):
            if (i - 1) % self.print_every == 0:
                print("(Iteration %d / %d) loss: %f" % (i, num_iterations, loss))
            if epoch is not None and (i == 1 or i % iterations_per_epoch == 0):
                epoch += i % iterations_per_epoch == 0
                self._print_check(epoch, self.train_acc_history[place], self.val_acc_history[place])
                place += 1

    def _print_check(self, epoch: int, train_acc: float, val_acc: float) -> None:
        print("(Epoch %d / %d) train acc: %f; val_acc: %f" % (epoch, self.num_epochs, train_acc, val_acc))

    @contextlib.contextmanager
    def _lent(self, engine: Any) -> Iterator[None]:
        """Within it, somebody else's code may look at everything and change it; the engine goes on from that."""
        engine.lend()
        yield
        self._require_runnable()
        engine.take_back()

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
            # The line that called train.
            stacklevel=5,
        )

    def _engine(self) -> Any:
        """What carries out the steps: the compiled run where it can, else a loop over :meth:`_step`."""
        from fastfc.training import refusal, threads_for

        reason = refusal(self)
        self.engine_, self.threads_ = "generic", 1
        if reason is None:
            self.engine_, self.threads_ = "compiled", threads_for(self.model, self.batch_size, self.threads)
        else:
            logger.debug("generic training loop: %s", reason)
        self._ran = {"engine": self.engine_, "backend": get_backend(), "threads": self.threads_}
        if reason is not None:
            return _GenericRun(self)
        from fastfc.training.run import CompiledRun

        return CompiledRun(self, self.threads_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that :meth:`resume` needs to go on, as an ``.npz`` file without pickles, under exactly this name.

        The file holds the model with its last parameters and its running statistics, the best
        parameters, histories, the rule's hyperparameters and state, the arguments of the
        Solver and NumPy's global random stream, all as they are during :meth:`train` (call
        `save` in a callback, or use `autosave`), or as the last :meth:`train` left them. Of the
        data it holds digests only, and it does not hold the callback. An older file of that
        name is replaced only once the new one is whole.

        Raises
        ------
        TypeError
            If the model is neither a FullyConnectedNet nor a TwoLayerNet (a class derived from
            them included), or a rule keeps something else than numbers, strings and arrays.
        ValueError
            If the rule is not in :mod:`fastfc.optim`, NumPy's random stream is not MT19937, or
            :meth:`train` was interrupted amid an iteration or an accuracy check.
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
        save_training(self, path)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], data: dict[str, np.ndarray], **changes: Any) -> "Solver":
        """Make the Solver that :meth:`save` or `autosave` wrote, to go on with :meth:`train`.

        Training k epochs, saving, and going on for m more in a new process gives what k + m
        epochs at once give, bit for bit, if the backend, the versions of the libraries and the
        kind of processor are the same. The number of threads is taken from the file. If backend or
        engine are others, the logger ``fastfc`` warns. Nothing in the file is executed.

        Parameters
        ----------
        path : path
        data : dict
            The data that the training had.
        **changes
            New values of `num_epochs` (the total, those that are done included), `threads`,
            `print_every`, `verbose`, `checkpoint_name`, `callback` and `autosave`. Where the training
            had `autosave`, it is `path` by default; checkpoints are written beside `path`.

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
        fixed = [name for name in changes if name not in _CHANGEABLE]
        if fixed:
            raise ValueError(f"expected only {', '.join(_CHANGEABLE)} beside path and data, got {', '.join(fixed)}")
        model, arguments, state = load_training(path)
        ran = state["ran"]
        if ran is not None and ran["engine"] == "compiled":
            arguments["threads"] = ran["threads"]
        # A file does not choose where others are written: they stand beside it.
        arguments["autosave"] = path if arguments["autosave"] else None
        if arguments["checkpoint_name"] is not None:
            arguments["checkpoint_name"] = os.fspath(Path(path).parent / Path(arguments["checkpoint_name"]).name)
        try:
            solver = cls(model, data, **{**arguments, **changes})
        except TypeError as error:
            raise ValueError(f"{os.fspath(path)}: cannot make its Solver ({error})") from error
        found = digests(solver)
        other = [name for name, digest in found.items() if digest != state["data"].get(name)]
        if other:
            raise ValueError(f"data: expected what {os.fspath(path)} was trained on; {', '.join(other)} differ")
        for name in ("epoch", "best_val_acc", "best_params", "optim_configs", *_HISTORIES):
            setattr(solver, name, state[name])
        solver._iterations, solver._left = state["iterations"], (None, state["stream"])
        solver._ran, solver._resumes = ran, True
        return solver

    def _check(self, engine: Any) -> None:
        """Take both accuracies, write the checkpoint, and keep the parameters if they are the best."""
        train_acc = engine.accuracy("train", self.num_train_samples)
        val_acc = engine.accuracy("val", self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        if not self._checkpoints.kept_by(self):
            with self._lent(engine):
                self._save_checkpoint()
        elif self.checkpoint_name is not None:
            engine.publish()
            self._save_checkpoint()
        if self.verbose:
            self._print_check(self.epoch, train_acc, val_acc)
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = {name: value.copy() for name, value in self.model.params.items()}


Solver._training = Methods(Solver, "_step", "_check", "check_accuracy", "train")
Solver._checkpoints = Methods(Solver, "_save_checkpoint")

_HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")
#: What a training that goes on may change.
_CHANGEABLE = ("num_epochs", "threads", "print_every", "verbose", "checkpoint_name", "callback", "autosave")


class _GenericRun:
    """The engine for any model and any rule: the course's own loop, step by step, which looks anew at everything."""

    fits = True

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def __enter__(self) -> "_GenericRun":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def close(self) -> None:
        pass

    def checks_inside(self) -> bool:
        return False

    def steps(self, limit: int) -> int:
        self._solver._step()
        self._solver._warn_of_divergence(self._solver.loss_history[-1:])
        return 1

    def accuracy(self, split: str, num_samples: int | None) -> float:
        solver = self._solver
        return solver.check_accuracy(getattr(solver, f"X_{split}"), getattr(solver, f"y_{split}"), num_samples)

    def stream_state(self) -> tuple | None:
        return stream_state()

    def publish(self) -> None:
        pass

    def take_stream(self) -> None:
        pass

    def lend(self) -> None:
        pass

    def take_back(self) -> None:
        pass
