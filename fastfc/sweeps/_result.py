"""The result of a sweep: its trainings in their order, the best of them, and the same as a table."""

import csv
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.atomic import replaced_file
from fastfc.sweeps._options import plain, text_of

__all__ = ["SweepInterrupted", "SweepResult", "Trial"]

# Of a result, but not of its row in the table.
_CURVES = ("losses", "scores")
_NANS = [math.nan] * 4


@dataclass(frozen=True)
class Trial:
    """A training of a sweep.

    Attributes
    ----------
    options : dict
        As they were given.
    seed : int
    result : dict or None
        ``score`` and ``best_epoch``, ``loss`` of the last epoch, ``losses`` (a list, of each epoch), ``scores`` (a
        list of pairs, epoch and score), ``epochs``, and ``parameters``, a digest of the trained ones; or what your
        own function has returned. None after an error.
    error : str or None
    seconds : float

    Examples
    --------
    >>> Trial({"learning_rate": 0.1}, seed=0, result={"score": 0.75}).score
    0.75
    """

    options: dict[str, Any]
    seed: int
    result: dict[str, Any] | None
    error: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def score(self) -> float:
        """The score; NaN if there is none."""
        found = None if self.result is None else self.result.get("score")
        return math.nan if found is None else float(found)


@dataclass
class SweepResult:
    """The result of :func:`fastfc.sweep`.

    Attributes
    ----------
    trials : list of Trial
        In the order in which the trainings were given, whatever the order in which they ended.
    complete : bool
        Whether all trainings have ended.
    maximize : bool
        Whether large scores are good.

    Examples
    --------
    >>> import fastfc
    >>> import numpy as np
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> result = fastfc.sweep({"learning_rate": [0.1, 0.01], "num_epochs": 2}, data, seeds=2)
    >>> len(result.table), len(result.over_seeds()), result.complete
    (4, 2, True)
    """

    trials: list[Trial]
    complete: bool
    maximize: bool = True
    _network: Callable[[Trial], FullyConnectedNet] | None = field(default=None, repr=False, compare=False)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each training: its options, seed, result without its curves, and error.

        An option whose name a result has with another value is under ``<name>_option``: a network's loss is
        ``loss_option``, beside ``loss``, the number.
        """
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.options))
        found = list(dict.fromkeys(name for trial in self.trials for name in trial.result or ()))
        columns = {name: f"{name}_option" if self._differs(name) else name for name in names}
        return [
            {
                **{column: plain(trial.options.get(name)) for name, column in columns.items()},
                "seed": trial.seed,
                **{name: (trial.result or {}).get(name) for name in found if name not in _CURVES},
                "error": trial.error,
            }
            for trial in self.trials
        ]

    def _differs(self, name: str) -> bool:
        """Whether results have another value of this name than the options."""
        trials = [trial for trial in self.trials if trial.result is not None and name in trial.result]
        return any(trial.result[name] != plain(trial.options.get(name)) for trial in trials if trial.result)

    @property
    def best(self) -> Trial:
        """The training with the best score, the first one of equals; ValueError if none has a score."""
        place = best_place([trial.score for trial in self.trials], self.maximize)
        if place is None:
            raise ValueError("the sweep has no training with a score")
        return self.trials[place]

    def best_network(self) -> FullyConnectedNet:
        """The network of the best training, with its best parameters.

        Where they were not kept, the training is repeated; it gives the same ones.

        Returns
        -------
        FullyConnectedNet

        Raises
        ------
        ValueError
            If no training has a score, or your own function trained them.
        """
        best = self.best
        if self._network is None:
            raise ValueError("the sweep's trainings were done by a function of your own, which returned no networks")
        return self._network(best)

    def over_seeds(self) -> list[dict[str, Any]]:
        """The scores of each choice of options over its seeds.

        Trainings without a score are left out.

        Returns
        -------
        list of dict
            A row for each choice of options, best first: these, ``count``, the trainings with a score, and the scores'
            ``mean``, standard deviation ``std``, ``min`` and ``max``.
        """
        groups: dict[str, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(text_of(trial.options), []).append(trial)
        rows = []
        for trials in groups.values():
            scores = [trial.score for trial in trials if not math.isnan(trial.score)]
            numbers = [float(np.mean(scores)), float(np.std(scores)), min(scores), max(scores)] if scores else _NANS
            found = dict(zip(("mean", "std", "min", "max"), numbers, strict=True))
            rows.append({**plain(trials[0].options), "count": len(scores), **found})
        sign = -1 if self.maximize else 1
        return sorted(rows, key=lambda row: math.inf if math.isnan(row["mean"]) else sign * row["mean"])

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame``.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError('to_pandas needs pandas: pip install "fastfc[pandas]"') from error
        return pandas.DataFrame(self.table)

    def to_csv(self, fname: str | os.PathLike[str]) -> None:
        """Write the table as CSV, lists as JSON; an older file is replaced once the new one is whole.

        Parameters
        ----------
        fname : path

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        table = self.table
        with replaced_file(fname) as binary:
            lines = _Encoded(binary)
            writer = csv.DictWriter(lines, list(table[0]) if table else [], lineterminator="\n")
            writer.writeheader()
            for row in table:
                writer.writerow({name: _cell(value) for name, value in row.items()})

    def to_json(self, fname: str | os.PathLike[str]) -> None:
        """Write all trainings with their curves as JSON; an older file is replaced once the new one is whole.

        Parameters
        ----------
        fname : path

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        trials = [
            {"options": plain(t.options), "seed": t.seed, "result": t.result, "error": t.error} for t in self.trials
        ]
        with replaced_file(fname) as file:
            file.write(json.dumps({"complete": self.complete, "trials": trials}, indent=1, allow_nan=False).encode())

    def plot(self, fname: str | os.PathLike[str] | None = None) -> Any:
        """Draw the options and scores as parallel coordinates, and the losses with quantiles over the seeds.

        Parameters
        ----------
        fname : path, optional
            Where to save the picture.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        from fastfc.sweeps._plot import drawn

        return drawn(self, fname)


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep.

    Parameters
    ----------
    result : SweepResult
        The trainings that were finished until then; also its attribute.
    """

    def __init__(self, result: SweepResult) -> None:
        super().__init__("the sweep was interrupted")
        self.result = result


def best_place(scores: list[float], maximize: bool) -> int | None:
    """The place of the best number, the first one of equals; None if all are NaN."""
    places = [i for i, score in enumerate(scores) if not math.isnan(score)]
    sign = -1 if maximize else 1
    return min(places, key=lambda i: (sign * scores[i], i), default=None)


class _Encoded:
    """A binary file to which text is written."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return "" if value is None else value
