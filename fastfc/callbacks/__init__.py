"""Callbacks: functions of yours that a training calls at its beginning, after steps and epochs, and at its end.

A callback is an object of a class derived from :class:`Callback`. Give one, or a list of them, to
:class:`fastfc.Solver` as `callback`:

>>> import numpy as np
>>> from fastfc import FullyConnectedNet, Solver
>>> np.random.seed(0)
>>> X, y = np.random.randn(200, 4), np.arange(200) % 3
>>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
>>> history = History()
>>> solver = Solver(
...     FullyConnectedNet([8], 4, 3), data, num_epochs=50, verbose=False,
...     callback=[history, EarlyStopping("loss", patience=2, min_delta=0.1)],
... )
>>> solver.train()
>>> history.values["epoch"]
[1, 2, 3]

With no others than :class:`EarlyStopping` by ``"loss"``, ``"train_acc"`` or ``"val_acc"`` and :class:`History`, a
compiled run goes on over the ends of epochs: it stops at the right one and copies the best parameters inside, and tells
the callbacks of its epochs about every 0.06 seconds, with the same results. All others, those of derived classes
included, are called at the end of each epoch.
"""

from fastfc.callbacks._base import Callback, CallbackList, Run, adapt
from fastfc.callbacks._history import EarlyStopping, History
from fastfc.callbacks._loggers import CSVLogger, JSONLinesLogger, ProgressBar, TensorBoard

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "JSONLinesLogger",
    "ProgressBar",
    "Run",
    "TensorBoard",
    "adapt",
]
