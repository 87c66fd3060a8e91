"""Callbacks that write or show the values of each epoch."""

import json
import math
import os
from typing import Any

from fastfc._arguments import require_bool, require_path
from fastfc._ranges import require_count
from fastfc.callbacks._base import Callback, Run, epoch_row

__all__ = ["CSVLogger", "JSONLinesLogger", "ProgressBar", "TensorBoard"]

Path = str | os.PathLike[str]


class _LineLogger(Callback):
    """A logger that writes lines to a file, which a training that goes on cuts to those of its state."""

    def __init__(self, path: Path, append: bool = False) -> None:
        require_path("path", path)
        require_bool("append", append)
        self.path, self.append = path, append
        # Of a training that goes on: the lines that it had written.
        self._lines: int | None = None

    def state_dict(self) -> dict[str, Any]:
        if not os.path.exists(self.path):
            return {}
        with open(self.path, "rb") as file:
            return {"lines": sum(1 for _ in file)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        require_count("lines", state["lines"], 0)
        self._lines = int(state["lines"])

    def on_train_begin(self, run: Run) -> None:
        with open(self.path, "a" if self._goes_on() else "w", encoding="utf-8"):
            pass
        if self._lines is not None:
            with open(self.path, "rb+") as file:
                for _ in range(self._lines):
                    file.readline()
                file.truncate()
        self._lines = None
        _end_last_line(self.path)

    def _goes_on(self) -> bool:
        """Whether the training that begins adds to an older file."""
        return self.append or self._lines is not None


def _end_last_line(path: Path) -> None:
    """End the last line of a file that somebody has edited, or that a killed process has left: the next one is new."""
    with open(path, "rb+") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


class CSVLogger(_LineLogger):
    """A line of comma-separated values for each epoch, written at once.

    The columns are ``epoch``, ``step`` and the values of the first epoch.

    Parameters
    ----------
    path : path
        An older file is replaced when the training begins, unless `append` is true. A training that goes on from a file
        goes on with its lines up to there.
    append : bool
        Whether an older file is continued.

    Raises
    ------
    TypeError
        If `path` is no path.
    OSError
        When the training begins, before its first step, if the file cannot be written.
    ValueError
        At the end of the first epoch, if the older file has other columns, or a callback's own value is named
        ``epoch`` or ``step``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> X, y = np.random.randn(60, 4), np.arange(60) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> net = fastfc.FullyConnectedNet([8], 4, 3)
    >>> logger = fastfc.callbacks.CSVLogger("training.csv")
    >>> fastfc.Solver(net, data, num_epochs=3, verbose=False, callback=logger).train()
    >>> with open("training.csv") as file:
    ...     file.readline().strip()
    'epoch,step,loss,train_acc,val_acc,learning_rate,seconds'
    """

    def __init__(self, path: Path, append: bool = False) -> None:
        super().__init__(path, append)
        self._columns: list[str] = []
        # Whether the columns are those of an older file, which nobody has compared yet.
        self._older = False

    def on_train_begin(self, run: Run) -> None:
        goes_on = self._goes_on()
        self._columns, self._older = [], False
        super().on_train_begin(run)
        if goes_on:
            import csv

            # Spreadsheets write a mark before the first name.
            with open(self.path, newline="", encoding="utf-8-sig") as file:
                self._columns = next(csv.reader(file), [])
            self._older = bool(self._columns)

    def on_epoch_end(self, run: Run) -> None:
        import csv

        found = epoch_row(run)
        if self._older and set(self._columns) != set(found):
            raise ValueError(
                f"path: expected a file with the columns {', '.join(found)}, to append to, "
                f"got {', '.join(self._columns)}"
            )
        self._older = False
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            if not self._columns:
                self._columns = list(found)
                csv.writer(file).writerow(self._columns)
            csv.writer(file).writerow([found.get(name, "") for name in self._columns])


class JSONLinesLogger(_LineLogger):
    """A JSON object for each epoch, each on a line of its own, written at once.

    Parameters
    ----------
    path, append
        As for :class:`CSVLogger`.

    Raises
    ------
    TypeError, OSError
        As for :class:`CSVLogger`.
    ValueError
        At the end of the first epoch, if a callback's own value is named ``epoch`` or ``step``.

    Notes
    -----
    JSON has neither NaN nor infinities: they are written as ``null``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> X, y = np.random.randn(60, 4), np.arange(60) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> net = fastfc.FullyConnectedNet([8], 4, 3)
    >>> logger = fastfc.callbacks.JSONLinesLogger("training.jsonl")
    >>> fastfc.Solver(net, data, num_epochs=3, verbose=False, callback=logger).train()
    >>> with open("training.jsonl") as file:
    ...     len(file.readlines())
    3
    """

    def on_epoch_end(self, run: Run) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in epoch_row(run).items()}
        with open(self.path, "a", encoding="utf-8") as file:
            # Values that other callbacks add may be NumPy's scalars.
            file.write(json.dumps(values, default=lambda value: value.item()) + "\n")


class TensorBoard(Callback):
    """All values by epoch for TensorBoard, through tensorboardX or, where that is not installed, PyTorch.

    Parameters
    ----------
    log_dir : path

    Raises
    ------
    TypeError
        If `log_dir` is no path.
    ImportError
        When the training begins, if neither is installed.

    Examples
    --------
    >>> callback = TensorBoard("runs/first")  # then Solver(..., callback=callback)
    """

    def __init__(self, log_dir: Path) -> None:
        require_path("log_dir", log_dir)
        self.log_dir = log_dir
        self._writer: Any = None

    def on_train_begin(self, run: Run) -> None:
        self._writer = _summary_writer()(os.fspath(self.log_dir))

    def on_epoch_end(self, run: Run) -> None:
        for name, value in run.values.items():
            self._writer.add_scalar(name, value, run.epoch)
        self._writer.flush()

    def on_train_end(self, run: Run) -> None:
        self._writer.close()
        self._writer = None


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError('TensorBoard needs tensorboardX: pip install "fastfc[tensorboard]"') from error
    return SummaryWriter


class ProgressBar(Callback):
    """A bar of tqdm over the steps, with the values of the last epoch behind it.

    Parameters
    ----------
    **options
        Those of ``tqdm.auto.tqdm``, as ``file`` or ``leave``.

    Examples
    --------
    >>> callback = ProgressBar(leave=False)  # then Solver(..., callback=callback)
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._bar: Any = None

    def on_train_begin(self, run: Run) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(**{"total": run.total_steps, "initial": run.step, "unit": "step", **self._options})

    def on_step(self, run: Run) -> None:
        self._bar.update(run.step - self._bar.n)

    def on_epoch_end(self, run: Run) -> None:
        shown = {name: f"{value:.4g}" for name, value in run.values.items() if name != "seconds"}
        self._bar.set_postfix(shown)

    def on_train_end(self, run: Run) -> None:
        self._bar.close()
        self._bar = None
