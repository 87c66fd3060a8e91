"""A compiled run, driven from Python: chunks of steps, accuracy checks, and the state in between."""

import contextlib
from time import perf_counter
from typing import Any

import numpy as np

from fastfc._arguments import labels
from fastfc._runtime.blas import single_threaded
from fastfc._runtime.team import Team
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.layers import batchnorm_param, layernorm_param
from fastfc.optim import STATE, checked_config, complete_config
from fastfc.training import layout
from fastfc.training.compiling import calls_blas, kernel
from fastfc.training.layout import Predictions, Steps
from fastfc.training.parts import ALL_BLOCKS, PART_SECONDS, predict_in_parts
from fastfc.training.plan import (
    examples_of,
    layers_of,
    make_plan,
    norm_numbers_of,
    parameters_of,
    seeded_stream_of,
    set_hyperparameters,
    streams_of,
)


class CompiledRun:
    """The training loop's engine for a :class:`FullyConnectedNet` and a rule of the package.

    Parameters are trained where the model keeps them; the rule's state and the running
    statistics live in the plan, and the Solver's and the model's dictionaries hold views of
    them. The random stream is the run's own between :meth:`take_stream` and
    :meth:`give_stream`. Use it as a context manager.
    """

    def __init__(self, solver: Any, members: int) -> None:
        self.solver = solver
        model: FullyConnectedNet = solver.model
        self._model = model
        self._X = {"train": solver.X_train, "val": solver.X_val}
        self._examples = {split: examples_of(X, model.dtype) for split, X in self._X.items()}
        # A copy: compiled code writes where a label says, and must not meet one that is changed later.
        self._y = labels(np.array(solver.y_train), len(solver.X_train), model.dims[-1])
        self._team = Team(members)
        self._plan = make_plan(model, int(solver.batch_size), members, solver.update_rule, self._team.barrier)
        self._train_steps = kernel("train_steps", self._plan.dtype)
        self._adopt_statistics()
        self._adopt_state()
        self._stream = np.random.RandomState()
        self.take_stream()
        # A search for its libraries takes longer than a small training.
        self._limit = single_threaded() if calls_blas("train_steps", self._plan.dtype) else contextlib.nullcontext()
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
        if self._has_stream:
            self.give_stream()
        self._leave_modes()
        self._limit.__exit__()
        self._closed = True

    def _adopt_statistics(self) -> None:
        """Running statistics move into the plan; the model's dictionaries hold views of them."""
        plan, model = self._plan, self._model
        numbers = norm_numbers_of(plan)
        for entry, number, param in zip(layers_of(plan), numbers, model.bn_params, strict=False):
            gamma = np.empty(entry[layout.D_OUT], model.dtype)
            if model.normalization == "layernorm":
                number[layout.EPS] = layernorm_param(param, gamma)["eps"]
                continue
            checked = batchnorm_param({**param, "mode": "train"}, plan.batch, gamma)
            number[layout.EPS], number[layout.MOMENTUM] = checked["eps"], checked["momentum"]
            for key, column in (("running_mean", layout.RUNNING_MEAN), ("running_var", layout.RUNNING_VAR)):
                view = plan.room[entry[column] : entry[column] + gamma.size]
                view[:] = checked[key]
                param[key] = view

    def _adopt_state(self) -> None:
        """The rule's state moves into the plan; the Solver's configurations hold views of it."""
        solver, plan, params = self.solver, self._plan, self._model.params
        rule = solver.update_rule.__name__
        configs = solver.optim_configs
        checked = {name: checked_config(rule, configs[name], params[name]) for name in params}
        for name, _, place in parameters_of(plan, self._model):
            for key, buffer in zip(STATE[rule], (plan.m, plan.v), strict=False):
                view = buffer[place].reshape(params[name].shape)
                view[...] = checked[name][key]
                checked[name][key] = view
            complete_config(rule, configs[name], checked[name])

    def take_stream(self) -> None:
        """Go on where NumPy's global random stream stands."""
        self._stream.set_state(np.random.get_state())
        self._follow_stream()
        if self._plan.seeded:
            seeded_stream_of(self._plan)[:] = _words_of(np.random.RandomState(self._model.dropout_param["seed"]))
        self._has_stream = True

    def _follow_stream(self) -> None:
        """Bring every member to where the run's generator stands."""
        streams_of(self._plan)[:] = _words_of(self._stream)

    def give_stream(self) -> None:
        """Leave NumPy's global random stream where the run stands."""
        np.random.set_state(self.stream_state())
        self._has_stream = False

    def stream_state(self):
        """The run's random stream, as ``np.random.get_state`` gives it."""
        name, _, _, has_gauss, gauss = self._stream.get_state()
        words = streams_of(self._plan)[0]
        return name, words[:624].copy(), int(words[624]), has_gauss, gauss

    def steps(self, limit: int) -> int:
        """Carry out at least one and at most `limit` steps, about as many as fit between two returns to Python."""
        solver, plan = self.solver, self._plan
        set_hyperparameters(plan, self._model, solver.update_rule, solver.optim_configs)
        count = int(min(limit, max(1, PART_SECONDS / self._seconds_per_step)))
        losses = np.full(count, np.nan)
        progress = np.zeros(1, np.int64)
        taken = {name: config["t"] for name, config in solver.optim_configs.items() if "t" in config}
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
        n, subset = len(self._X[split]), np.zeros(0, np.int64)
        if num_samples is not None and n > num_samples:
            self._stream.set_state(self.stream_state())
            subset = self._stream.choice(n, num_samples)
            self._follow_stream()
            n, y = num_samples, y[subset]
        if n == 0:
            return float("nan")
        predictions = np.empty(n, np.int64)
        job = Predictions(
            plan.dtype,
            examples=self._examples[split],
            subset=subset,
            count=n,
            softmax=False,
            predictions=predictions,
            scores=np.empty(0, plan.dtype),
            **ALL_BLOCKS,
        )
        predict_rows = kernel("predict_rows", plan.dtype)
        predict_in_parts(plan, job, lambda: self._team.run(lambda member: predict_rows(plan, member, job)))
        if plan.seeded and plan.depth > 1:
            # Dropout layers seed the stream in test mode too.
            streams_of(plan)[:] = seeded_stream_of(plan)
        return np.mean(predictions == y)

    def _leave_modes(self) -> None:
        """Leave the model's dictionaries in the mode of the last pass, which was an accuracy check."""
        model = self._model
        if model.use_dropout:
            model.dropout_param["mode"] = "test"
        if model.normalization == "batchnorm":
            for param in model.bn_params:
                param["mode"] = "test"
                for key in ("running_mean", "running_var"):
                    # A view would keep the whole memory of the run.
                    param[key] = param[key].copy()


def _words_of(generator: np.random.RandomState) -> np.ndarray:
    """The state of a generator (STREAM,): its words, then its position."""
    _, key, position, *_ = generator.get_state()
    return np.append(key, np.uint32(position))
