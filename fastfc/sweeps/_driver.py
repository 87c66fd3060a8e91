"""``fastfc.sweep``: many trainings, on any executor, recorded one by one."""

import bisect
import contextlib
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastfc._arguments import require_bool, require_path
from fastfc._ranges import require_count
from fastfc.classifiers.fc_net import FullyConnectedNet, load_model
from fastfc.sweeps._data import checked_arrays, digests_of
from fastfc.sweeps._halving import kept_jobs, rungs_of
from fastfc.sweeps._journal import Journal, best_path, opened
from fastfc.sweeps._options import Job, jobs_of, plain
from fastfc.sweeps._result import SweepInterrupted, SweepResult, Trial
from fastfc.sweeps._running import Pool, handed_over, progress_bar, run_jobs
from fastfc.sweeps._trial import Outcome, Work, check_trial, digest_of_network, do, train_network

__all__ = ["sweep"]


def sweep(
    trainings: Any,
    data: Mapping[str, Any] | None,
    executor: Any = None,
    *,
    seeds: Any = 1,
    count: int | None = None,
    sampler_seed: int = 0,
    train: Callable[[dict[str, Any], int, Mapping[str, Any]], Any] | None = None,
    file: str | os.PathLike[str] | None = None,
    check_every: int | None = None,
    maximize: bool = True,
    halving: bool = False,
    factor: int = 3,
    min_epochs: int = 1,
    retries: int = 1,
    data_folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> SweepResult:
    """Train networks with many options and seeds, side by side.

    Each training runs on one thread, from a random stream of its own, so that its result depends on its options, its
    seed and the data alone: it is the same bit for bit on every executor and in every order. An error in a training
    is its result and ends nothing else.

    Parameters
    ----------
    trainings : dict, iterable of dict, or function
        A grid: each name's list of values, or its only value; all combinations are trained. Or a list or another
        iterable of options. Or a sampler: a function of a ``numpy.random.Generator`` that returns options, called
        `count` times. Options are those of :class:`fastfc.FullyConnectedNet` and of :class:`fastfc.Solver` (the update
        rule to ``num_epochs``), by their names there, and the hyperparameters of the update rule, such as
        ``learning_rate``. ``hidden_dims`` is ``(100,)`` by default, ``input_dim`` and ``num_classes`` follow the
        data, ``sampler`` is ``"permutation"`` by default, and a ``schedule`` goes by steps. Three more:
        ``initializer``, a name in :mod:`fastfc.initializers`; ``standardize``, True for a network that standardizes
        its inputs by the training data, ``"pictures"`` for one that takes off their mean and divides by 255; and
        ``standardize_targets``, True for training on targets of mean 0 and deviation 1, in whose units losses are
        then, and predictions in those of the data.
    data : dict
        ``X_train``, ``y_train``, ``X_val``, ``y_val`` and, if you like, ``weights_train``, as for the Solver; and
        ``class_names``, ``feature_names`` and ``target_name`` for the networks. None will do for your own `train`.
    executor : concurrent.futures.Executor, function, or None
        None for threads of this process, one for each processor. Any executor will do, such as
        ``ProcessPoolExecutor``, joblib's loky executor, Dask's ``client.get_executor()`` or mpi4py's
        ``MPIPoolExecutor``. With a function that makes one, such as ``lambda: ProcessPoolExecutor(8)``, the sweep goes
        on with a new executor after a worker has died, and shuts the last one down at its end.
    seeds : int or list of int
        The seeds of each training, each once, or their number: then they are 0, 1, 2, ...
    count : int, optional
        Options to draw from a sampler, or to take from an iterable at most.
    sampler_seed : int
        Of the sampler's generator.
    train : function, optional
        Your own ``train(options, seed, data)``, which returns the score, or a dictionary with ``score`` that JSON can
        hold. Options are then whatever it takes. On threads it must not use NumPy's global random stream.
    file : path, optional
        Where each training is recorded as it ends, as a line of JSON; the best network is saved beside it, under
        this name and ``.best.npz``. A sweep that finds its file goes on from there: recorded trainings are not run
        again.
    check_every : int, optional
        Epochs from one validation score to the next; the parameters with the best are the training's. By default
        there is one score, at the end, which takes least time.
    maximize : bool
        False if small scores of your own `train` are the good ones.
    halving : bool
        Successive halving: all trainings run for `min_epochs`, and the best ``1 / factor`` of the options, by the mean
        over their seeds, go on to `factor` times as many epochs, until the last have trained for ``num_epochs``.
        Trainings that go on are continued. The scores after these numbers of epochs count as those of `check_every`.
    factor, min_epochs : int
        Of `halving`; without it they are left as they are.
    retries : int
        How often a training is tried again after its worker has died.
    data_folder : path, optional
        A folder that all workers can read, for the files by which large data reach other processes; by default one
        for temporary files. They are removed at the end.
    progress : bool
        Whether to show a bar, with the best score so far.

    Returns
    -------
    SweepResult
        All trainings in the order in which they were given; a training that was given twice is there once.

    Raises
    ------
    ValueError, TypeError
        For an unknown option, one that is out of range, or data that do not fit; nothing has been trained then. And
        for a file of another sweep.
    SweepInterrupted
        A KeyboardInterrupt, whose ``result`` has what was finished.
    RuntimeError
        If a worker has died, and `executor` is an executor, which cannot be replaced; what was finished is recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> grid = {"hidden_dims": [[8], [8, 8]], "update_rule": "adam", "learning_rate": [0.01, 0.001], "num_epochs": 3}
    >>> result = fastfc.sweep(grid, data, seeds=2)
    >>> len(result.trials)
    8
    >>> sorted(result.best.options)
    ['hidden_dims', 'learning_rate', 'num_epochs', 'update_rule']
    >>> result.best_network().predict(X).shape
    (60,)
    """
    require_bool("halving", halving)
    require_count("factor", factor, 2)
    require_count("min_epochs", min_epochs, 1)
    for name, value, default in (("factor", factor, 3), ("min_epochs", min_epochs, 1)):
        if value != default and not halving:
            raise ValueError(f"{name}: expected {default} without halving, got {value}; halving=True uses it")
    require_count("retries", retries, 0)
    require_count("sampler_seed", sampler_seed, 0)
    if check_every is not None:
        require_count("check_every", check_every, 1)
    if train is not None and not callable(train):
        raise TypeError(f"train: expected a function or None, got {train!r}")
    if halving and train is not None:
        raise ValueError("halving: expected False with your own train, whose trainings cannot be continued")
    if not maximize and train is None:
        raise ValueError("maximize: expected True without your own train; a network's score is at best 1")
    for name, path in (("file", file), ("data_folder", data_folder)):
        if path is not None:
            require_path(name, path)
    arrays = {} if data is None and train is not None else checked_arrays(data)
    check = _require_free_names if train is not None else partial(check_trial, data=arrays)
    jobs = jobs_of(trainings, seeds, count, sampler_seed, check)
    about = {
        "data": digests_of(arrays) if file is not None else {},
        "train": plain(train) if train is not None else "fastfc",
        "check_every": check_every,
        "halving": [factor, min_epochs] if halving else None,
    }
    rungs = rungs_of([job.options for job in jobs], factor, min_epochs) if halving else []
    pool = Pool(executor)
    with contextlib.ExitStack() as stack:
        journal = None if file is None else stack.enter_context(opened(file, about))
        state = _Sweep(jobs, arrays, train, check_every, maximize, journal, rungs)
        try:
            with pool, handed_over(arrays, pool, data_folder) as handed, progress_bar(progress, len(jobs)) as bar:
                state.run(pool, handed, bar, retries, factor)
        except KeyboardInterrupt as error:
            raise SweepInterrupted(state.result()) from error
    return state.result()


def _require_free_names(options: Mapping[str, Any]) -> None:
    """ValueError for an option of somebody's own that has the name of a column which each training has anyway."""
    for name in ("seed", "score", "error"):
        if name in options:
            raise ValueError(f"trainings: expected no option {name!r}, which is a column of the result; rename it")


class _Sweep:
    """A sweep's trainings as far as they have ended; used in the thread that called it."""

    def __init__(
        self,
        jobs: list[Job],
        arrays: dict[str, Any],
        train: Callable[..., Any] | None,
        check_every: int | None,
        maximize: bool,
        journal: Journal | None,
        rungs: list[int],
    ) -> None:
        self.jobs, self.arrays, self.train, self.check_every = jobs, arrays, train, check_every
        self.maximize, self.journal, self.rungs = maximize, journal, rungs
        self.trials: dict[int, Trial] = {}
        # The best so far: its score, where large is good, and its place; the first one of equals.
        self.best = -math.inf, -1
        self.states: dict[int, dict[str, Any] | None] = {}
        self.network: tuple[str, FullyConnectedNet] | None = None

    def run(self, pool: Pool, handed: Any, bar: Any, retries: int, factor: int) -> None:
        """All trainings; with rungs, those that are still in it from one rung to the next."""
        jobs = self.jobs
        for rung in range(max(len(self.rungs), 1)):
            final = rung >= len(self.rungs) - 1
            left = [job for job in jobs if not self._recorded(job, rung)]
            bar.total = bar.n + len(left)
            call = partial(self._call, rung=rung, goes_on=not final, handed=handed, pool=pool)
            run_jobs(left, pool, call, partial(self._take, rung=rung, bar=bar), retries)
            if not final:
                jobs = kept_jobs(jobs, self.trials, factor)

    def _key(self, job: Job, rung: int) -> str:
        return f"{job.key} {self.rungs[rung]}" if self.rungs else job.key

    def _recorded(self, job: Job, rung: int) -> bool:
        """Whether the file has the training already, which is taken from there then."""
        record = None if self.journal is None else self.journal.records.get(self._key(job, rung))
        if record is None:
            return False
        self.states.pop(job.index, None)
        self._enter(job, Trial(job.options, job.seed, record["result"], record["error"], record["seconds"]))
        return True

    def _enter(self, job: Job, trial: Trial) -> bool:
        """Take a training into the result; whether it is the best so far."""
        self.trials[job.index] = trial
        score = trial.score if self.maximize else -trial.score
        if not (score, -job.index) >= (self.best[0], -self.best[1]):
            return False
        self.best = score, job.index
        return True

    def _call(self, job: Job, *, rung: int, goes_on: bool, handed: Any, pool: Pool) -> tuple[Any, ...]:
        """The function and the arguments by which a worker does a training."""
        pauses, state = tuple(self.rungs[: rung + 1]), self.states.get(job.index)
        work = Work(job.options, job.seed, self.train, self.check_every, pauses, goes_on, self.best[0], state)
        return (do, work, handed, pool.stop) if pool.shares_memory else (do, work, handed)

    def _take(self, job: Job, outcome: Any, *, rung: int, bar: Any) -> None:
        """Record a training that has ended."""
        if isinstance(outcome, BaseException):
            outcome = Outcome(error=" ".join(f"its worker died: {type(outcome).__name__}: {outcome}".split()))
        result = None if outcome.error is not None else outcome.result
        trial = Trial(job.options, job.seed, result, outcome.error, outcome.seconds)
        self.states[job.index] = outcome.state
        if self._enter(job, trial) and outcome.net is not None:
            self.network = outcome.result["parameters"], outcome.net
            if self.journal is not None:
                # Before the record: a recorded best is never without its network.
                self.journal.save_best(outcome.net)
        if self.journal is not None:
            fields = {"result": result, "error": outcome.error, "seconds": outcome.seconds}
            options = {"options": plain(job.options), "seed": job.seed}
            self.journal.append({"key": self._key(job, rung), **options, **fields})
        bar.update()
        if self.best[1] >= 0:
            bar.set_postfix_str(f"best {self.trials[self.best[1]].score:.4g}")

    def result(self) -> SweepResult:
        trials = [self.trials[job.index] for job in self.jobs if job.index in self.trials]
        network = self._network if self.train is None else None
        return SweepResult(trials, len(trials) == len(self.jobs), self.maximize, network)

    def _network(self, trial: Trial) -> FullyConnectedNet:
        """The network of a training: from memory, from the file, or trained once more."""
        assert trial.result is not None
        wanted = trial.result["parameters"]
        if self.network is not None and self.network[0] == wanted:
            return self.network[1]
        if self.journal is not None and best_path(self.journal.path).exists():
            net = load_model(best_path(self.journal.path))
            if digest_of_network(net) == wanted:
                return net
        # Up to the first rung that is not before its end.
        pauses = tuple(self.rungs[: bisect.bisect_left(self.rungs, trial.result["epochs"]) + 1])
        trained = train_network(Work(trial.options, trial.seed, None, self.check_every, pauses), self.arrays).net
        assert trained is not None
        return trained
