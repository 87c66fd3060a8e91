"""``fastfc.cross_validate``: the folds of a cross-validation, trained side by side on rows of the same data."""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fastfc._arguments import as_array, by_position, require_columns, require_path
from fastfc._ranges import require_count
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.sweeps._data import checked_arrays
from fastfc.sweeps._options import Job
from fastfc.sweeps._result import SweepInterrupted, SweepResult, Trial
from fastfc.sweeps._running import Pool, handed_over, progress_bar, run_jobs
from fastfc.sweeps._trial import Work, check_trial, do

__all__ = ["CrossValidation", "cross_validate"]

Rows = np.ndarray


@dataclass(frozen=True)
class CrossValidation:
    """The result of :func:`fastfc.cross_validate`.

    Attributes
    ----------
    trials : list of Trial
        A training for each fold.
    networks : list of FullyConnectedNet
    folds : list of pairs of arrays
        The rows that each network was trained on, and those that it was not.
    count : int
        Rows of the data.

    Examples
    --------
    >>> import fastfc
    >>> import numpy as np
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> folds = fastfc.cross_validate({"hidden_dims": [8], "num_epochs": 2}, X, y, k=3)
    >>> folds.scores.shape, folds.predict(X).shape
    ((3,), (60,))
    """

    trials: list[Trial]
    networks: list[FullyConnectedNet] = field(repr=False)
    folds: list[tuple[Rows, Rows]] = field(repr=False)
    count: int = field(repr=False)

    @property
    def scores(self) -> np.ndarray:
        """The validation score of each fold, (k,)."""
        return np.array([trial.score for trial in self.trials])

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """The standard deviation of the scores."""
        return float(np.std(self.scores))

    def predict(self, X: Any) -> np.ndarray:
        """Predictions for the data that were cross-validated, each from networks that were not trained on its row.

        Parameters
        ----------
        X : array (N, ...)
            The same data, in the same order.

        Returns
        -------
        array (N,) or (N, K)
            As :meth:`fastfc.FullyConnectedNet.predict` gives them.

        Raises
        ------
        ValueError
            If X has another number of rows or columns in another order, or the folds have not left out each row once.
        """
        names = self.networks[0].feature_names
        if names is not None:
            require_columns("X", X, names, "the data")
        X = as_array("X", by_position("X", X))
        if X.ndim == 0 or len(X) != self.count:
            raise ValueError(f"X: expected the {self.count} rows that were cross-validated, got shape {X.shape}")
        times = np.bincount(np.concatenate([rows for _, rows in self.folds]), minlength=self.count)
        if not np.all(times == 1):
            raise ValueError(
                f"k: expected folds that leave out every row once; {np.sum(times == 0)} rows are in none of them, "
                f"{np.sum(times > 1)} in several"
            )
        parts = [net.predict(X[rows]) for net, (_, rows) in zip(self.networks, self.folds, strict=True)]
        found = np.zeros((len(X), *parts[0].shape[1:]), parts[0].dtype)
        for (_, rows), part in zip(self.folds, parts, strict=True):
            found[rows] = part
        return found


def cross_validate(
    options: Mapping[str, Any],
    X: Any,
    y: Any,
    k: int | Sequence[tuple[Any, Any]] = 5,
    executor: Any = None,
    *,
    seed: int = 0,
    check_every: int | None = None,
    retries: int = 1,
    data_folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> CrossValidation:
    """Train a network on all but one of k parts of the data, for each part, and score it on that part.

    The trainings run side by side, one thread each, on the same data: a fold is a list of row numbers, and no rows are
    copied, but for a few at a time to take a score.

    Parameters
    ----------
    options : dict
        Of one training, as for :func:`fastfc.sweep`; ``sampler`` is ``"permutation"`` or ``"order"``. With
        ``standardize`` each network standardizes by the rows that it is trained on.
    X : array (N, ...)
    y : array (N,) or (N, K)
    k : int, or sequence of pairs
        The number of parts: each has about as many examples of each class, where the loss takes labels. Or the folds
        themselves: pairs of row numbers, to train on and to score, such as scikit-learn's ``KFold().split(X)`` gives.
    executor, retries, data_folder, progress
        As for :func:`fastfc.sweep`.
    seed : int
        Of the parts, and of each training.
    check_every : int, optional
        As for :func:`fastfc.sweep`. A score is then the best of several, and too good by that.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ValueError, TypeError
        For options, data or folds that do not fit; nothing has been trained then.
    RuntimeError
        If a training fails.
    SweepInterrupted
        A KeyboardInterrupt.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> y = np.arange(60) % 3
    >>> X = np.random.default_rng(0).normal(size=(60, 4)) + 3 * y[:, np.newaxis]
    >>> found = fastfc.cross_validate({"hidden_dims": [8], "update_rule": "adam", "num_epochs": 2}, X, y, k=3)
    >>> found.scores.shape, found.predict(X).shape
    ((3,), (60,))
    """
    if not isinstance(options, Mapping):
        raise TypeError(f"options: expected a dictionary, got {options!r:.80}")
    require_count("seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"seed: expected an integer below 2**32, got {seed}")
    require_count("retries", retries, 0)
    if data_folder is not None:
        require_path("data_folder", data_folder)
    if check_every is not None:
        require_count("check_every", check_every, 1)
    arrays = checked_arrays({"X_train": X, "y_train": y, "X_val": X, "y_val": y})
    arrays |= {"X_val": arrays["X_train"], "y_val": arrays["y_train"]}
    options = dict(options)
    net = check_trial(options, arrays)
    if options.get("sampler") == "replacement":
        raise ValueError("sampler: expected 'permutation' or 'order' for cross-validation, got 'replacement'")
    folds = _folds_of(k, arrays["y_train"], seed, net)
    outcomes: dict[int, Any] = {}

    def call(job: Job, handed: Any, pool: Pool) -> tuple[Any, ...]:
        work = Work(options, seed, check_every=check_every, rows=folds[job.index])
        return (do, work, handed, pool.stop) if pool.shares_memory else (do, work, handed)

    def done(job: Job, outcome: Any, bar: Any) -> None:
        outcomes[job.index] = outcome
        bar.update()

    jobs = [Job(index, options, seed, str(index)) for index in range(len(folds))]
    pool = Pool(executor)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(pool)
            handed = stack.enter_context(handed_over(arrays, pool, data_folder))
            bar = stack.enter_context(progress_bar(progress, len(jobs)))
            run_jobs(jobs, pool, partial(call, handed=handed, pool=pool), partial(done, bar=bar), retries)
    except KeyboardInterrupt as error:
        raise SweepInterrupted(SweepResult([], False)) from error
    return _result(options, seed, folds, len(arrays["X_train"]), [outcomes[index] for index in range(len(folds))])


def _result(
    options: dict[str, Any], seed: int, folds: list[tuple[Rows, Rows]], count: int, outcomes: list[Any]
) -> CrossValidation:
    for fold, outcome in enumerate(outcomes):
        if isinstance(outcome, BaseException):
            raise RuntimeError(f"the worker of fold {fold} died") from outcome
        if outcome.error is not None:
            raise RuntimeError(f"fold {fold}: {outcome.error}")
    trials = [Trial(options, seed, each.result, None, each.seconds) for each in outcomes]
    return CrossValidation(trials, [each.net for each in outcomes], folds, count)


def _folds_of(k: Any, y: np.ndarray, seed: int, net: FullyConnectedNet) -> list[tuple[Rows, Rows]]:
    """The folds, as row numbers to train on and to score."""
    n = len(y)
    if isinstance(k, (int, np.integer)):
        require_count("k", int(k), 2)
        if k > n:
            raise ValueError(f"k: expected at most {n}, the number of examples, got {k}")
        order = np.random.RandomState(seed).permutation(n)
        if net.loss_name in ("softmax", "svm"):
            # Classes one after the other, so that every k-th row takes of each its share.
            order = order[np.argsort(y[order], kind="stable")]
        part = np.empty(n, np.int64)
        part[order] = np.arange(n) % k
        return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(int(k))]
    expected = "k: expected an integer, or pairs of row numbers to train on and to score"
    pairs = list(k) if isinstance(k, Iterable) and not isinstance(k, (str, bytes)) else None
    if pairs is None or not all(isinstance(pair, Iterable) for pair in pairs):
        raise TypeError(f"{expected}, got {k!r:.80}")
    folds = [tuple(_checked_rows(rows, n) for rows in pair) for pair in pairs]
    if not folds or any(len(pair) != 2 for pair in folds):
        raise ValueError(expected)
    for train, test in folds:
        both = np.intersect1d(train, test)
        if both.size > 0:
            raise ValueError(
                f"k: expected rows to score that are not trained on, got {both[0]} in both parts of a fold"
            )
    return [(first, second) for first, second in folds]


def _checked_rows(rows: Any, n: int) -> Rows:
    found = np.asarray(rows)
    if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) == 0:
        raise ValueError(f"k: expected row numbers of at least one row, got shape {found.shape}, dtype {found.dtype}")
    if found.min() < 0 or found.max() >= n:
        raise ValueError(f"k: expected row numbers from 0 to {n - 1}, got {found.min()} to {found.max()}")
    return found.astype(np.int64)
