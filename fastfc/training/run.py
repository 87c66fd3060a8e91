"""A compiled run, driven from Python: parts of a training, accuracy checks, and the state in between."""

import contextlib
from functools import cached_property
from time import perf_counter
from typing import Any, cast

import numpy as np

from fastfc._runtime.blas import single_threaded
from fastfc._runtime.interrupts import held_back
from fastfc._runtime.record import Table
from fastfc._runtime.stream import global_bits, read_words, state_of_words, words_of, write_words
from fastfc._runtime.team import Team
from fastfc.losses import checked_targets, score_of
from fastfc.ops.losses import LOSSES
from fastfc.ops.samplers import SAMPLERS
from fastfc.params import aligned_zeros
from fastfc.training.batches import batches_of
from fastfc.training.booking import Call, booked, new_call, tell_epochs
from fastfc.training.capability import are_same, entries_of, frame_of, refusal
from fastfc.training.checks import weights_of
from fastfc.training.compiling import calls_blas, kernel
from fastfc.training.groups import accumulated_in, set_accumulated
from fastfc.training.hooks import rules_of
from fastfc.training.job import NO_INTEGERS, NO_NUMBERS, training_job
from fastfc.training.memory import CHECK_TICKS, ENDING, LINE, TICKS, Check, Plan, Predictions
from fastfc.training.own_loss import OwnLoss
from fastfc.training.parts import ALL_BLOCKS, PART_SECONDS, predict_in_parts
from fastfc.training.plan import (
    chosen_for_training,
    examples_of,
    in_rows,
    make_plan,
    set_hyperparameters,
    set_kernels,
    set_training_options,
    shortened,
)  # fmt: skip
from fastfc.training.rule_state import move_state
from fastfc.training.statistics import checked_statistics, write_back_statistics
from fastfc.training.stopping import StoppingInside

# Accuracy checks that take longer are made from Python: a call does not end within one.
_CHECK_SECONDS = 0.02


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

    _KERNEL = "train_steps"

    def __init__(self, solver: Any, threads: int) -> None:
        self.solver = solver
        self.fits = True
        self._model = solver.model
        self._made_for = frame_of(solver)
        self._team = Team(threads)
        dtype, chosen = np.dtype(self._model.dtype), chosen_for_training(self._model, solver.update_rule)
        self._train_steps = kernel(self._KERNEL, dtype, chosen)
        self._predict_rows = kernel("predict_rows", dtype)
        self._batches = batches_of(solver)
        self._plan = self._made_plan()
        set_kernels(self._plan, self._model, solver.update_rule)
        if self._batches.sampler != "replacement":
            for thread in self._plan.threads:
                thread.order = np.arange(self._batches.rows)
        # Of an epoch's last batch.
        self._short = shortened(self._plan, self._batches.rest) if self._batches.rest else self._plan
        # Whether the run has gone on from where the dictionaries and NumPy's random stream stand.
        self._ahead = self._drops_gaussian = False
        # The keys and values of the rule's dictionaries, as the last :meth:`lend` has left them.
        self._entries: list[Any] | None = None
        self._checks: Table[Check] | None = None
        self._adopt()
        # A search for its libraries takes longer than a small training.
        self._limit = single_threaded() if calls_blas(self._KERNEL, dtype) else contextlib.nullcontext()
        self._closed = False
        self._seconds_per_step = float("inf")
        self._call: Call | None = None

    def _made_plan(self) -> Plan:
        solver = self.solver
        return make_plan(
            self._model, self._batches.batch_size, self._team.threads, solver.update_rule, self._team.barrier,
            stores_gradients=solver.max_norm is not None, accumulates=solver.accumulate > 1,
        )  # fmt: skip

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

    # ------------------------------------------------------------------------ what is the Solver's and the model's

    def _adopt(self) -> None:
        """Read the data, the model, the rule's configurations and the random stream, wherever they stand now.

        This is all that a run reads of the Solver's and the model's attributes and dictionaries,
        but for what the training loop itself hands over. Somebody may have changed any of it;
        where something does not fit, no dictionary is changed.
        """
        solver, model, plan = self.solver, self._model, self._plan
        self._X = {
            split: X if rules_of(solver.callback) is None else in_rows(X)
            for split, X in (("train", solver.X_train), ("val", solver.X_val))
        }
        self._examples = {split: examples_of(X, plan.dtype) for split, X in self._X.items()}
        # A copy: compiled code writes where a label says, and must not meet one that is changed later.
        loss = LOSSES[model.loss_name]
        found = checked_targets(loss, "y", np.array(solver.y_train), len(solver.X_train), model.dims[-1], plan.dtype)
        self._no_reals = np.zeros(0, plan.dtype)
        self._y: np.ndarray = found if loss.labels else NO_INTEGERS
        self._targets: np.ndarray = self._no_reals if loss.labels else found.reshape(-1)
        self._weights = weights_of(solver, plan.dtype)
        self._checks = None
        self._check_seconds = {"train": float("inf"), "val": float("inf")}
        for each in {id(plan): plan, id(self._short): self._short}.values():
            set_training_options(each, model)
            each.max_norm, each.max_value = solver.max_norm or 0.0, solver.max_value or 0.0
        statistics = checked_statistics(plan, model)
        self._loss_of_user = None if solver.loss is None else OwnLoss(solver.loss, model, plan)
        if solver.accumulate > 1:
            set_accumulated(plan, model, solver._state.accumulated)
        self._adopt_order()
        if self._entries is None or not are_same(self._entries, entries_of(solver.optim_configs)):
            move_state(plan, model, solver)
        for view, values in statistics:
            view[:] = values
        if plan.seeded:
            plan.seeded_stream[:] = words_of(np.random.RandomState(model.dropout_param["seed"]))
        self.take_stream()

    def publish(self) -> None:
        """Put copies of the running statistics into the model's dictionaries, and the rest into the Solver's state.

        That is copies of gradients, and the order of the epoch's rows itself, which may be large.
        """
        write_back_statistics(self._plan, self._model)
        if self.solver.accumulate > 1:
            self.solver._state.accumulated = accumulated_in(self._plan, self._model)
        if self._batches.sampler == "permutation":
            self.solver._state.order = self._plan.threads[0].order

    def _adopt_order(self) -> None:
        """Go on with the order of the epoch's rows, if there is one and it is not the run's own."""
        order, threads = self.solver._state.order, self._plan.threads
        if self._batches.sampler == "permutation" and order is not None and order is not threads[0].order:
            for thread in threads:
                thread.order[:] = order

    def lend(self) -> None:
        """Leave everything as the last step left it, for somebody else's code to look at and to change."""
        self._leave()
        # Most callbacks leave them alone, and to check all of them takes as long as some small steps.
        self._entries = entries_of(self.solver.optim_configs) if self.fits else None

    def _leave(self) -> None:
        """Bring NumPy's random stream and the dictionaries to where the run stands; twice is once."""
        if self._ahead:
            if self._drops_gaussian:
                np.random.set_state(self.stream_state())
            write_words(global_bits(), self._words)
            self.publish()
            self._ahead = False

    def take_back(self) -> None:
        """Go on from what that code has left, if :attr:`fits` is true after it; else another engine has to."""
        self.fits = refusal(self.solver) is None and frame_of(self.solver) == self._made_for
        if self.fits:
            self._adopt()

    def take_stream(self, words: np.ndarray | None = None) -> None:
        """Go on from the words (STREAM,) of a random stream; without any, where NumPy's global one stands."""
        if words is None:
            words, self._drops_gaussian = read_words(global_bits()), False
        for thread in self._plan.threads:
            thread.stream[:] = words

    @property
    def _words(self) -> np.ndarray:
        """(STREAM,): the run's random stream, of a thread of its own."""
        return self._plan.threads[0].stream

    def stream_state(self) -> tuple:
        """The run's random stream, as ``np.random.get_state`` gives it: with the Gaussian that NumPy has in waiting."""
        waiting = (0, 0.0) if self._drops_gaussian else cast(tuple, np.random.get_state())[3:]
        return state_of_words(self._words, waiting)

    @cached_property
    def _generator(self) -> np.random.RandomState:
        """A generator to draw from in Python; a new one takes as long as a hundred steps of a small network."""
        return np.random.RandomState()

    # ---------------------------------------------------------------------------------------------------- training

    def checks_inside(self) -> bool:
        """Whether a call may go on over the ends of epochs, accuracy checks included."""
        solver = self.solver
        numbers = [solver.lr_decay, *(config["learning_rate"] for config in solver.optim_configs.values())]
        return (
            sum(self._check_seconds.values()) < _CHECK_SECONDS
            # NumPy's other scalars round their products differently.
            and all(isinstance(number, (int, float)) for number in numbers)
            and LOSSES[self._model.loss_name].labels
            and isinstance(solver.y_val, np.ndarray)
            and solver.y_val.dtype.kind in "iu"
            and solver.y_val.ndim == 1
        )

    def steps(self, limit: int, before: int = 0, iterations_per_epoch: int = 0) -> int:
        """Carry out at least one and at most `limit` steps, about as many as fit between two returns to Python.

        Parameters
        ----------
        limit : int
        before : int
            Iterations of the training before these.
        iterations_per_epoch : int
            If given, the call may go on over the ends of epochs: then the learning rate decays, accuracies
            are taken and the best parameters kept as the Solver does it; all of it is booked.
        """
        solver, plan = self.solver, self._plan
        set_hyperparameters(plan, self._model, solver.update_rule, solver.optim_configs)
        self._model._set_mode("train")
        self._ahead = True
        count = int(min(limit, max(1, PART_SECONDS / self._seconds_per_step)))
        epoch = iterations_per_epoch or limit + before + 1
        checks = (before + count) // epoch - before // epoch + (before == 0)
        call = self._new_call(count, before, epoch, checks)
        inside, factors = iterations_per_epoch > 0, solver._factors(count)
        job = training_job(
            plan, examples=self._examples["train"], params=self._model.params.flat, losses=call.losses,
            count=len(solver.X_train), y=self._y, targets=self._targets, weights=self._weights,
            sampler=SAMPLERS.index(self._batches.sampler), short=self._short, has_short=self._short is not plan,
            progress=call.progress, before=call.group[0], epoch=call.group[1], accumulate=call.group[2],
            lr_decay=call.lr_decay, rates=NO_NUMBERS if factors is None else np.ascontiguousarray(factors, np.float64),
            **(self._checks_inside(call) if inside else {}),
            **({} if self._loss_of_user is None else self._loss_of_user.attributes),
        )  # fmt: skip
        self._call = call
        start = call.start = perf_counter()
        self._team.run(lambda thread: self._train_steps(plan, thread, job))
        seconds = perf_counter() - start
        losses = self._book()
        if self._loss_of_user is not None and len(losses) < count and not call.progress[ENDING]:
            at_end = (call.group[0] + len(losses) + 1) % call.group[1] == 0
            rows = (self._short if at_end else plan).batch
            self._loss_of_user.fail(call.losses[len(losses)], rows, len(solver.loss_history) + 1)
        if inside:
            # The clock of the checks and that of the whole call are the same.
            seconds *= 1 - int(call.progress[CHECK_TICKS]) / max(int(call.progress[TICKS]), 1)
        self._seconds_per_step = seconds / len(losses)
        solver._book_time(len(losses), seconds)
        solver._warn_of_divergence(losses)
        if inside and (before + len(losses)) % epoch == 0:
            self._model._set_mode("test")
        return len(losses)

    def _new_call(self, count: int, before: int, epoch: int, checks: int) -> Call:
        return new_call(self.solver, self._best_params, count, before, epoch, checks)

    def _book(self) -> np.ndarray:
        """Enter what the last call has done into the Solver's lists and dictionaries; returns its losses."""
        call = self._call
        if call is None:
            return np.zeros(0)
        losses = booked(call, self.solver)
        if len(losses) > 0 and self._plan.seeded:
            # Dropout layers have seeded the stream, which drops a Gaussian in waiting.
            self._drops_gaussian = True
        # It cannot be told in part, and then once more.
        with held_back():
            self._call = None
            tell_epochs(call, self.solver)
        return losses

    # -------------------------------------------------------------------------------------------- accuracy checks

    @cached_property
    def _best_params(self) -> np.ndarray:
        """The parameters with the best validation accuracy, laid out like the model's, where calls keep them."""
        flat = self._model.params.flat
        return aligned_zeros(flat.size, flat.dtype)

    def _checks_inside(self, call: Call) -> dict[str, Any]:
        """The attributes of a job that make it check accuracies, keep the best parameters and stop."""
        solver, plan = self.solver, self._plan
        call.stopping = StoppingInside(plan, self._model.params, rules_of(solver.callback) or [])
        return {
            "checked": True,
            "checks": self._checks_of_threads(),
            "accuracies": call.accuracies,
            "check_ends": call.check_ends,
            "best_accuracy": np.full(plan.num_threads * LINE, float(solver.best_val_acc)),
            "best_params": self._best_params,
            "call_ticks": int(PART_SECONDS * 1e9),
            **call.stopping.attributes(solver.loss_history, call.iterations, self._batches),
        }

    def _checks_of_threads(self) -> Table[Check]:
        """Of each thread, its part in the checks on training and validation data."""
        if self._checks is None:
            solver, rows = self.solver, []
            samples = {"train": solver.num_train_samples, "val": solver.num_val_samples}
            sizes = {split: len(X) for split, X in self._X.items()}
            shared = {s: np.empty(min(n, n if samples[s] is None else samples[s]), np.int64) for s, n in sizes.items()}
            for _ in self._plan.threads:
                for split, number in samples.items():
                    drawn = number is not None and len(self._X[split]) > number
                    subset = np.empty(number, np.int64) if drawn else NO_INTEGERS
                    job = self._predictions(split, subset, shared[split])
                    y = self._y if split == "train" else np.ascontiguousarray(solver.y_val, np.int64)
                    rows.append({"job": job, "y": y, "drawn": drawn, "correct": np.zeros(LINE, np.int64)})
            self._checks = Table(Check, self._plan.dtype, rows)
        return self._checks

    def _predictions(
        self, split: str, subset: np.ndarray, predictions: np.ndarray, scores: np.ndarray | None = None
    ) -> Predictions:
        return Predictions(
            self._plan.dtype,
            examples=self._examples[split],
            subset=subset,
            count=predictions.size if scores is None else max(predictions.size, len(scores)),
            softmax=False,
            predictions=predictions,
            scores=np.empty(0, self._plan.dtype) if scores is None else scores,
            **ALL_BLOCKS,
        )

    def accuracy(self, split: str, num_samples: int | None) -> float:
        """The Solver's ``check_accuracy`` on its own ``"train"`` or ``"val"`` data, drawing the same numbers."""
        plan, y = self._plan, getattr(self.solver, f"y_{split}")
        self._ahead = True
        n, subset = len(self._X[split]), NO_INTEGERS
        if num_samples is not None and n > num_samples:
            write_words(self._generator._bit_generator, self._words)
            subset = self._generator.choice(n, num_samples)
            self.take_stream(words_of(self._generator))
            n, y = num_samples, y[subset]
        if n == 0:
            self._check_seconds[split] = 0.0
            return float("nan")
        self._model._set_mode("test")
        loss = LOSSES[self._model.loss_name]
        scores = np.empty((0 if loss.labels else n, self._model.dims[-1]), plan.dtype)
        predictions = np.empty(n if loss.labels else 0, np.int64)
        job = self._predictions(split, subset, predictions, scores)
        start = perf_counter()
        self._predict(job)
        self._check_seconds[split] = perf_counter() - start
        if plan.seeded:
            # Dropout layers seed the stream in test mode too.
            for thread in plan.threads:
                thread.stream[:] = plan.seeded_stream
        return np.mean(predictions == y) if loss.labels else score_of(loss, scores, y)

    def _predict(self, job: Predictions) -> None:
        """Carry out a job with all threads."""
        plan = self._plan
        predict_in_parts(plan, job, lambda: self._team.run(lambda thread: self._predict_rows(plan, thread, job)))
