"""Callbacks that remember what a training reached: its history, and an early end."""

import math
import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fastfc._arguments import number, require_bool
from fastfc._ranges import require_count, require_range
from fastfc.callbacks._base import Callback, Run, epoch_row
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.losses import score_name
from fastfc.ops.losses import LOSSES
from fastfc.training.capability import Methods
from fastfc.training.hooks import StoppingRule

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["EarlyStopping", "History"]

# More epochs than there ever are, as many as a float64 counts.
_MANY = 2**53


class _Resumable(Callback):
    """A callback whose state begins anew with each training, unless that goes on from a file.

    A class says with `_forget` how its state begins, and with `_take` how it becomes that of a `state_dict`.
    """

    _goes_on = False
    # The methods by which a class of this module only looks at each epoch's values.
    _looking: ClassVar[Methods]

    def _only_looks(self, kind: type) -> bool:
        """Whether this is of a class itself, with none of its methods replaced."""
        return type(self) is kind and kind._looking.kept_by(self)

    def _forget(self) -> None:
        raise NotImplementedError

    def _take(self, state: dict[str, Any]) -> None:
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._take(state)
        self._goes_on = True

    def on_train_begin(self, run: Run) -> bool | None:
        if not self._goes_on:
            self._forget()
        self._goes_on = False
        return None


class EarlyStopping(_Resumable):
    """End the training when a value has not improved for some epochs.

    Parameters
    ----------
    monitor : str
        A key of the `values` of a :class:`~fastfc.callbacks.Run`.
    patience : int
        So many epochs in a row without an improvement end the training.
    min_delta : float
        By more than this a value must be better than the best one. NaN never is.
    restore_best : bool
        Whether the model gets the parameters of the epoch with the best value when the training ends, in place of the
        Solver's own choice. Running statistics stay as they are, as with the Solver's.
    mode : {"min", "max"} or None
        Whether small or large values are good; None for "max" where the name of the value ends in ``acc``, else "min".

    Attributes
    ----------
    best, best_epoch
        The best value and its epoch; None before the first one that is not NaN. They begin and go on as
        :class:`History`'s values do, but begin anew where the file has those of another `monitor` or `mode`. A training
        that had ended by it goes on from its file only if `patience` is larger.

    Raises
    ------
    ValueError
        In the training, if there is no value of that name.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> X, y = np.random.randn(60, 4), np.arange(60) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> net = fastfc.FullyConnectedNet([8], 4, 3)
    >>> stop = fastfc.callbacks.EarlyStopping(patience=3)
    >>> solver = fastfc.Solver(net, data, num_epochs=50, verbose=False, callback=stop)
    >>> solver.train()
    >>> solver.epoch == stop.best_epoch + 3 or solver.epoch == 50
    True
    """

    def __init__(
        self,
        monitor: str = "val_acc",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Literal["min", "max"] | None = None,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected the name of a value, got {monitor!r}")
        require_count("patience", patience, 1)
        require_range("min_delta", min_delta, 0)
        require_bool("restore_best", restore_best)
        if mode not in ("min", "max", None):
            raise ValueError(f'mode: expected "min", "max" or None, got {mode!r}')
        self.monitor, self.patience, self.min_delta, self.restore_best = monitor, patience, min_delta, restore_best
        self.mode = mode or ("max" if monitor.endswith("acc") else "min")
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._waited = 0
        self._parameters: dict[str, np.ndarray] = {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor, "mode": self.mode, "best": self.best, "best_epoch": self.best_epoch,
            "waited": self._waited, "parameters": self._parameters,
        }  # fmt: skip

    def _take(self, state: dict[str, Any]) -> None:
        best, best_epoch, parameters = state["best"], state["best_epoch"], state["parameters"]
        if best is not None:
            require_count("best_epoch", best_epoch, 1)
            best = number("best", best)
        require_count("waited", state["waited"], 0)
        if not all(isinstance(w, np.ndarray) and w.dtype.kind == "f" for w in parameters.values()):
            raise ValueError("parameters: expected arrays of floating-point numbers by name")
        if (state.get("monitor", self.monitor), state.get("mode", self.mode)) != (self.monitor, self.mode):
            # The best of another value tells nothing.
            self._forget()
            return
        self.best, self.best_epoch, self._waited = best, best_epoch, int(state["waited"])
        self._parameters = dict(parameters) if self.restore_best else {}

    def on_train_begin(self, run: Run) -> bool:
        super().on_train_begin(run)
        shapes = {name: np.shape(w) for name, w in run.model.params.items()}
        if self._parameters and {name: w.shape for name, w in self._parameters.items()} != shapes:
            raise ValueError("parameters: expected a state with the best parameters of this model, got another one's")
        # One that had ended has nothing to go on with.
        return self._waited >= self.patience

    def _rules(self) -> list[StoppingRule] | None:
        if not self._only_looks(EarlyStopping) or self.monitor not in ("loss", "train_acc", "val_acc"):
            return None
        # NumPy's scalars compare by their own dtypes.
        if not all(isinstance(number, (int, float)) for number in (self.patience, self.min_delta)):
            return None
        return [
            StoppingRule(
                monitor=self.monitor, larger=self.mode != "min", patience=min(self.patience, _MANY),
                min_delta=self.min_delta, keeps=self.restore_best, best=self.best, waited=min(self._waited, _MANY),
            )
        ]  # fmt: skip

    def on_epoch_end(self, run: Run) -> bool:
        if self.monitor not in run.values:
            raise ValueError(f"monitor: expected one of {', '.join(run.values)}, got {self.monitor!r}")
        value = run.values[self.monitor]
        if self._is_better(value):
            self.best, self.best_epoch, self._waited = value, run.epoch, 0
            if self.restore_best:
                best = self._best_inside
                self._parameters = dict(best or {name: np.array(w) for name, w in run.model.params.items()})
        else:
            self._waited += 1
        return self._waited >= self.patience

    def on_train_end(self, run: Run) -> None:
        if self._parameters:
            # Not one by one: the model's own dictionary may be the Solver's best parameters. And copies: a training
            # that goes on from here must not change them.
            run.model.params = {name: w.copy() for name, w in self._parameters.items()}

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta


EarlyStopping._looking = Methods(EarlyStopping, "every", "on_step", "on_epoch_end", "_is_better")


class History(_Resumable):
    """All values of all epochs.

    Attributes
    ----------
    values : dict of str to list
        ``epoch``, ``step`` and the keys of the values of a :class:`~fastfc.callbacks.Run`, with a number for each
        epoch, NaN where an epoch had none of that name. A training that begins anew begins them anew; one that goes on
        from a file goes on with them.

    Raises
    ------
    ValueError
        In the training, if a callback's own value is named ``epoch`` or ``step``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> X, y = np.random.randn(60, 4), np.arange(60) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> net = fastfc.FullyConnectedNet([8], 4, 3)
    >>> history = fastfc.callbacks.History()
    >>> fastfc.Solver(net, data, num_epochs=3, verbose=False, callback=history).train()
    >>> history.values["epoch"], len(history.values["val_acc"])
    ([1, 2, 3], 3)
    """

    def __init__(self) -> None:
        self._forget()

    # The score that `train_acc` and `val_acc` of the training are values of.
    _score = "accuracy"

    def on_train_begin(self, run: Run) -> None:
        super().on_train_begin(run)
        net = run.model
        self._score = score_name(LOSSES.get(net.loss_name) if isinstance(net, FullyConnectedNet) else None)

    def _forget(self) -> None:
        self.values: dict[str, list[Any]] = {}

    def state_dict(self) -> dict[str, Any]:
        # Names of values need not be identifiers.
        columns = enumerate(self.values.items())
        return {f"column{i}": {"name": name, "values": np.array(values)} for i, (name, values) in columns}

    def _take(self, state: dict[str, Any]) -> None:
        found = {str(column["name"]): np.asarray(column["values"]) for column in state.values()}
        if any(column.ndim != 1 or column.dtype.kind not in "iuf" for column in found.values()):
            raise ValueError("values: expected numbers by epoch")
        if len({column.size for column in found.values()}) > 1:
            raise ValueError("values: expected as many numbers of each name")
        self.values = {name: column.tolist() for name, column in found.items()}

    def _rules(self) -> list[StoppingRule] | None:
        return [] if self._only_looks(History) else None

    def on_epoch_end(self, run: Run) -> None:
        found = epoch_row(run)
        before = max(map(len, self.values.values()), default=0)
        for name in dict.fromkeys([*self.values, *found]):
            self.values.setdefault(name, [math.nan] * before).append(found.get(name, math.nan))

    def to_pandas(self) -> "DataFrame":
        """A row for each epoch, with the epochs as the index.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('History.to_pandas needs pandas: pip install "fastfc[pandas]"') from error
        return pandas.DataFrame(self.values or {"epoch": []}).set_index("epoch")

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Losses and scores by epoch, accuracies or R², as :func:`fastfc.plots.plot_history` draws them.

        Parameters
        ----------
        path : path, optional
            Where to save the picture.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If matplotlib does not know the suffix of `path`.
        OSError
            If the file cannot be written.
        """
        from fastfc.plots._history import draw_history

        loss, train_acc, val_acc = (self.values.get(name, []) for name in ("loss", "train_acc", "val_acc"))
        first = int(self.values.get("epoch", [1])[0])
        return draw_history(loss, train_acc, val_acc, path, score=self._score, first_epoch=first)


History._looking = Methods(History, "every", "on_step", "on_epoch_end")
