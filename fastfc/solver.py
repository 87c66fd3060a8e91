"""The course's Solver: trains a model on a data set and keeps the best parameters."""

import logging
import os
import pickle
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from fastfc import optim
from fastfc._arguments import require_mapping
from fastfc._files import replaced_file
from fastfc._threads import checked_count

__all__ = ["Solver"]

logger = logging.getLogger("fastfc")


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
        If given, ``<name>_epoch_<n>.pkl`` is written at every accuracy check.
    print_every : int
        Iterations between printed losses. Default 10.
    verbose : bool
        Whether to print. Default True.
    threads : int or None
        Threads of a compiled run; None for what :func:`fastfc.set_num_threads` or the
        environment variable FASTFC_NUM_THREADS says, else for as many as pay. Default None.
    callback : callable or None
        Called with the solver after each accuracy check, and in between after one or more
        iterations, about every 0.1 seconds or less. Default None.

    Attributes
    ----------
    epoch, best_val_acc, best_params
    loss_history, train_acc_history, val_acc_history : list
    optim_configs : dict of dict
        The rule's hyperparameters and state, by parameter.
    engine_ : str
        What :meth:`train` ran: ``"compiled"`` for a :class:`fastfc.FullyConnectedNet` with a
        rule of the package on the fast backend, else ``"generic"``, a loop over single steps.
        The logger ``fastfc`` says why, at level DEBUG. Both give the same numbers.

    Raises
    ------
    ValueError
        For an unknown argument or rule, or data that does not fit.

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
        if kwargs:
            extra = ", ".join(f'"{name}"' for name in kwargs)
            raise ValueError(f"Unrecognized arguments {extra}")

        for split in ("train", "val"):
            rows, labels = len(getattr(self, f"X_{split}")), len(getattr(self, f"y_{split}"))
            if rows != labels:
                raise ValueError(f"data: expected as many labels as examples, got X_{split} {rows}, y_{split} {labels}")
        if len(self.X_train) == 0:
            raise ValueError("data: expected at least one training example, got none")
        for name, least in (("batch_size", 1), ("print_every", 1), ("num_epochs", 0)):
            value = getattr(self, name)
            if not (isinstance(value, (int, np.integer)) and value >= least):
                raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
        require_mapping("optim_config", self.optim_config)
        if self.threads is not None:
            checked_count("threads", self.threads)

        rule = getattr(optim, self.update_rule, None) if isinstance(self.update_rule, str) else None
        if not callable(rule):
            raise ValueError(f'Invalid update_rule "{self.update_rule}"')
        self.update_rule = rule
        self._reset()

    def _reset(self) -> None:
        """Set up the bookkeeping of a run; to be called once, from the constructor."""
        self.epoch = 0
        self.best_val_acc = 0.0
        self.best_params: dict[str, np.ndarray] = {}
        self.loss_history: list[np.floating] = []
        self.train_acc_history: list[float] = []
        self.val_acc_history: list[float] = []
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}
        self._timed_steps = 0
        self._timed_seconds = 0.0

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
        filename = f"{os.fspath(self.checkpoint_name)}_epoch_{self.epoch}.pkl"
        if self.verbose:
            print(f'Saving checkpoint to "{filename}"')
        with replaced_file(filename) as file:
            pickle.dump(checkpoint, file)

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
        n = len(X)
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

        May be called again, to go on for as many epochs. An interruption (Ctrl-C) leaves
        the model, the histories and NumPy's random stream as the last finished iteration left them.
        """
        iterations_per_epoch = max(len(self.X_train) // self.batch_size, 1)
        num_iterations = self.num_epochs * iterations_per_epoch
        t = 0
        with self._engine() as engine:
            while t < num_iterations:
                # Up to the next accuracy check: after the first iteration, and at the end of each epoch.
                limit = 1 if t == 0 else iterations_per_epoch - t % iterations_per_epoch
                done = engine.steps(limit)
                if self.verbose:
                    for i in range(t, t + done):
                        if i % self.print_every == 0:
                            loss = self.loss_history[len(self.loss_history) - done + i - t]
                            print("(Iteration %d / %d) loss: %f" % (i + 1, num_iterations, loss))
                t += done
                epoch_end = t % iterations_per_epoch == 0
                if epoch_end:
                    self.epoch += 1
                    for config in self.optim_configs.values():
                        config["learning_rate"] *= self.lr_decay
                if t == 1 or epoch_end:
                    self._check(engine)
                if self.callback is not None:
                    engine.give_stream()
                    self.callback(self)
                    engine.take_stream()
        # Without any best parameters (no iterations, or never a right answer) the model keeps its own.
        if self.best_params:
            self.model.params = self.best_params

    def _engine(self) -> Any:
        """What carries out the steps: the compiled run where it can, else a loop over :meth:`_step`."""
        from fastfc.training import refusal, threads_for

        reason = refusal(self)
        if reason is not None:
            logger.debug("generic training loop: %s", reason)
            self.engine_ = "generic"
            return _GenericRun(self)
        from fastfc.training.run import CompiledRun

        self.engine_ = "compiled"
        return CompiledRun(self, threads_for(self.model, self.batch_size, self.threads))

    def _check(self, engine: Any) -> None:
        """Take both accuracies, write the checkpoint, and keep the parameters if they are the best."""
        train_acc = engine.accuracy("train", self.num_train_samples)
        val_acc = engine.accuracy("val", self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        self._save_checkpoint()
        if self.verbose:
            print("(Epoch %d / %d) train acc: %f; val_acc: %f" % (self.epoch, self.num_epochs, train_acc, val_acc))
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = {name: value.copy() for name, value in self.model.params.items()}


class _GenericRun:
    """The engine for any model and any rule: the course's own loop, step by step."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver

    def __enter__(self) -> "_GenericRun":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def steps(self, limit: int) -> int:
        self._solver._step()
        return 1

    def accuracy(self, split: str, num_samples: int | None) -> float:
        solver = self._solver
        return solver.check_accuracy(getattr(solver, f"X_{split}"), getattr(solver, f"y_{split}"), num_samples)

    def give_stream(self) -> None:
        pass

    def take_stream(self) -> None:
        pass
