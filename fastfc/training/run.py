"""A compiled run, driven from Python: chunks of steps, accuracy checks, and the state in between."""

import operator
from time import perf_counter
from typing import Any

import numpy as np

from fastfc._arguments import labels
from fastfc._runtime.blas import single_threaded
from fastfc._runtime.team import Team
from fastfc._threads import get_num_threads
from fastfc.layers import batchnorm_param, layernorm_param
from fastfc.optim import DEFAULTS, STATE, checked_config, complete_config
from fastfc.training import layout
from fastfc.training.capability import refusal
from fastfc.training.compiling import kernel
from fastfc.training.layout import Predictions, Steps
from fastfc.training.plan import (
    examples_of,
    layers_of,
    make_plan,
    norm_numbers_of,
    parameters_of,
    seeded_stream_of,
    set_hyperparameters,
    set_training_options,
    streams_of,
)

# Return to Python after about this many seconds: for Ctrl-C, progress and printed lines.
_CHUNK_SECONDS = 0.06


class CompiledRun:
    """The training loop's engine for a :class:`FullyConnectedNet` and a rule of the package.

    Parameters are trained where the model keeps them. The rule's state lives in the plan, and the
    Solver's dictionaries hold views of it; the running statistics and the random stream live
    there between two calls of :meth:`lend`, which copies them to where the generic loop has them.
    :meth:`take_back` reads all of it again. Use it as a context manager.

    Attributes
    ----------
    fits : bool
        Whether this run can go on with what the last :meth:`take_back` found.
    """

    def __init__(self, solver: Any, members: int) -> None:
        self.solver = solver
        self.fits = True
        self._model = solver.model
        self._made_for = _frame_of(solver)
        self._team = Team(members)
        self._plan = make_plan(self._model, int(solver.batch_size), members, solver.update_rule, self._team.barrier)
        self._train_steps = kernel("train_steps", self._plan.dtype)
        self._stream = np.random.RandomState()
        # Whether the run has gone on from where the dictionaries and NumPy's random stream stand.
        self._ahead = False
        # The keys and values of the rule's dictionaries, as the last :meth:`lend` has left them.
        self._entries: list[Any] | None = None
        self._adopt()
        self._limit = single_threaded()
        self._closed = False
        self._seconds_per_step = float("inf")
        # Steps that are not booked yet: the history's length and the rules' counts before them, their
        # losses, and how many are done.
        self._chunk: tuple[int, dict[str, int], np.ndarray, np.ndarray] | None = None

    def __enter__(self) -> "CompiledRun":
        try:
            self._limit.__enter__()
            self._team.__enter__()
            return self
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the run and leave everything as the last step left it.

        Doing it twice is doing it once; so it is done twice, the second time for what an
        interrupt (Ctrl-C) cut short in the first.
        """
        try:
            self._close()
        finally:
            self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._team.__exit__()
        self._book()
        self._leave()
        self._limit.__exit__()
        self._closed = True

    def _adopt(self) -> None:
        """Read the data, the model, the rule's configurations and the random stream, wherever they stand now.

        This is all that a run reads of the Solver's and the model's attributes and dictionaries,
        but for what the training loop itself hands over. Somebody may have changed any of it;
        where something does not fit, no dictionary is changed.
        """
        solver, model, plan = self.solver, self._model, self._plan
        self._X = {"train": solver.X_train, "val": solver.X_val}
        self._examples = {split: examples_of(X, plan.dtype) for split, X in self._X.items()}
        # A copy: compiled code writes where a label says, and must not meet one that is changed later.
        self._y = labels(np.array(solver.y_train), len(solver.X_train), model.dims[-1])
        set_training_options(plan, model)
        statistics = self._checked_statistics()
        if self._entries is None or not _are(self._entries, _entries_of(solver.optim_configs)):
            self._adopt_state()
        for view, values in statistics:
            view[:] = values
        if plan.seeded:
            seeded_stream_of(plan)[:] = _words_of(np.random.RandomState(model.dropout_param["seed"]).get_state())
        self.take_stream()

    def _checked_statistics(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the plan has the running statistics, and what the model's dictionaries say; their numbers are taken."""
        plan, model, found = self._plan, self._model, []
        for i, (entry, number) in enumerate(self._norms()):
            param, gamma = model.bn_params[i], model.params[f"gamma{i + 1}"]
            if model.normalization == "layernorm":
                number[layout.EPS] = layernorm_param(param, gamma)["eps"]
                continue
            checked = batchnorm_param({**param, "mode": "train"}, plan.batch, gamma)
            number[layout.EPS], number[layout.MOMENTUM] = checked["eps"], checked["momentum"]
            found += [(view, checked[key]) for key, view in self._statistics_of(entry)]
        return found

    def _norms(self):
        """For each normalization, its layer's entry in the table of layers, and its numbers."""
        hidden = 0 if self._model.normalization is None else self._plan.depth - 1
        return zip(layers_of(self._plan)[:hidden], norm_numbers_of(self._plan), strict=False)

    def _statistics_of(self, entry: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """A layer's running statistics by name, views of the plan."""
        return [
            (key, self._plan.room[entry[column] : entry[column] + entry[layout.D_OUT]])
            for key, column in (("running_mean", layout.RUNNING_MEAN), ("running_var", layout.RUNNING_VAR))
        ]

    def _adopt_state(self) -> None:
        """The rule's state moves into the plan; the Solver's configurations hold views of it."""
        solver, plan, params = self.solver, self._plan, self._model.params
        rule = solver.update_rule.__name__
        configs = solver.optim_configs
        checked = {name: checked_config(rule, configs[name], params[name]) for name in params}
        moved = []
        for name, _, place in parameters_of(plan, self._model):
            for key, buffer in zip(STATE[rule], (plan.m, plan.v), strict=False):
                view, given = buffer[place].reshape(params[name].shape), checked[name][key]
                if given.__array_interface__["data"] == view.__array_interface__["data"]:
                    # It is there since the last time.
                    continue
                if np.may_share_memory(given, plan.m) or np.may_share_memory(given, plan.v):
                    # Of another parameter's state, which is written before it is read here.
                    given = given.copy()
                moved.append((view, given))
                checked[name][key] = view
        for view, given in moved:
            view[...] = given
        for name, config in checked.items():
            complete_config(rule, configs[name], config)

    def lend(self) -> None:
        """Leave everything as the last step left it, for somebody else's code to look at and to change."""
        self._leave()
        # Most callbacks leave them alone, and to check all of them takes as long as some small steps.
        self._entries = _entries_of(self.solver.optim_configs) if self.fits else None

    def _leave(self) -> None:
        """Bring NumPy's random stream and the dictionaries to where the run stands; twice is once."""
        if self._ahead:
            np.random.set_state(self.stream_state())
            self.publish()
            self._ahead = False

    def take_back(self) -> None:
        """Go on from what that code has left, if :attr:`fits` is true after it; else another engine has to."""
        self.fits = refusal(self.solver) is None and _frame_of(self.solver) == self._made_for
        if self.fits:
            self._adopt()

    def _follow_stream(self) -> None:
        """Bring every member to where the run's generator stands."""
        streams_of(self._plan)[:] = _words_of(self._stream.get_state())

    def take_stream(self) -> None:
        """Go on where NumPy's global random stream stands."""
        state = np.random.get_state()
        self._stream.set_state(state)
        streams_of(self._plan)[:] = _words_of(state)

    def stream_state(self):
        """The run's random stream, as ``np.random.get_state`` gives it."""
        name, _, _, has_gauss, gauss = self._stream.get_state()
        words = streams_of(self._plan)[0]
        return name, words[:624].copy(), int(words[624]), has_gauss, gauss

    def steps(self, limit: int) -> int:
        """Carry out at least one and at most `limit` steps, about as many as fit between two returns to Python."""
        solver, plan = self.solver, self._plan
        set_hyperparameters(plan, self._model, solver.update_rule, solver.optim_configs)
        self._model._set_mode("train")
        self._ahead = True
        count = int(min(limit, max(1, _CHUNK_SECONDS / self._seconds_per_step)))
        losses = np.full(count, np.nan)
        progress = np.zeros(1, np.int64)
        counts = "t" in DEFAULTS[solver.update_rule.__name__]
        taken = {name: config["t"] for name, config in solver.optim_configs.items() if counts}
        self._chunk = (len(solver.loss_history), taken, losses, progress)
        job = Steps(plan.dtype, examples=self._examples["train"], y=self._y, losses=losses, progress=progress)
        start = perf_counter()
        self._team.run(lambda member: self._train_steps(plan, member, job))
        seconds = perf_counter() - start
        booked = self._book()
        self._seconds_per_step = seconds / count
        solver._book_time(count, seconds)
        solver._warn_of_divergence(booked)
        return count

    def _book(self) -> np.ndarray:
        """Enter the steps that were done into the Solver's lists and dictionaries; returns their losses.

        An interrupted call can be made again.
        """
        if self._chunk is None:
            return np.zeros(0)
        before, taken, losses, progress = self._chunk
        done = int(progress[0])
        # A loss is computed in float64, and may be beyond float32.
        with np.errstate(over="ignore"):
            entered = losses[:done].astype(self._model.dtype)
        self.solver.loss_history[before:] = entered
        for name, t in taken.items():
            self.solver.optim_configs[name]["t"] = t + done
        if done > 0 and self._plan.seeded and self._plan.depth > 1:
            # Dropout layers have seeded the stream, which drops a Gaussian in waiting.
            self._stream.seed(0)
        self._chunk = None
        return entered

    def accuracy(self, split: str, num_samples: int | None) -> float:
        """The Solver's ``check_accuracy`` on its own ``"train"`` or ``"val"`` data, drawing the same numbers."""
        plan, y = self._plan, getattr(self.solver, f"y_{split}")
        self._ahead = True
        n, subset = len(self._X[split]), np.zeros(0, np.int64)
        if num_samples is not None and n > num_samples:
            self._stream.set_state(self.stream_state())
            subset = self._stream.choice(n, num_samples)
            self._follow_stream()
            n, y = num_samples, y[subset]
        if n == 0:
            return float("nan")
        self._model._set_mode("test")
        predictions = np.empty(n, np.int64)
        job = Predictions(
            plan.dtype,
            examples=self._examples[split],
            subset=subset,
            count=n,
            softmax=False,
            predictions=predictions,
            scores=np.empty(0, plan.dtype),
        )
        predict_rows = kernel("predict_rows", plan.dtype)
        self._team.run(lambda member: predict_rows(plan, member, job))
        if plan.seeded and plan.depth > 1:
            # Dropout layers seed the stream in test mode too.
            streams_of(plan)[:] = seeded_stream_of(plan)
        return np.mean(predictions == y)

    def publish(self) -> None:
        """Put copies of the running statistics into the model's dictionaries, for a file of the model."""
        if self._model.normalization == "batchnorm":
            for param, (entry, _) in zip(self._model.bn_params, self._norms(), strict=True):
                param.update({key: view.copy() for key, view in self._statistics_of(entry)})


def _entries_of(configs: Any) -> list[Any]:
    """A rule's dictionaries, and their keys and values, in order."""
    return [part for config in configs.values() for part in (config, *config, *config.values())]


def _are(some: list[Any], others: list[Any]) -> bool:
    """Whether these are the same objects."""
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _frame_of(solver: Any) -> tuple:
    """The sizes, threads and kinds of operations that a run is made for, and the objects that it writes to."""
    model = solver.model
    return (
        id(model), id(model.params.flat), model.normalization, int(solver.batch_size), solver.update_rule,
        solver.threads, get_num_threads(),
    )  # fmt: skip


def _words_of(state: Any) -> np.ndarray:
    """The state of a generator (STREAM,): its words, then its position."""
    _, key, position, *_ = state
    return np.append(key, np.uint32(position))
