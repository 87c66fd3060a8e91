"""A training of a described network, epoch by epoch, on data of any kind that its loss takes.

It knows neither histories nor prints nor files: whoever drives it keeps what it returns.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from fastfc._ranges import require_count
from fastfc._runtime.blas import single_threaded
from fastfc._runtime.stream import words_of, write_words
from fastfc._runtime.team import Team
from fastfc.losses import checked_targets, checked_weights
from fastfc.ops.losses import LOSSES
from fastfc.ops.samplers import SAMPLERS
from fastfc.training import threads_for, work_of_step
from fastfc.training.batches import Batches
from fastfc.training.compiling import calls_blas, kernel
from fastfc.training.gradients import updates_after
from fastfc.training.job import NO_INTEGERS, NO_NUMBERS, training_job
from fastfc.training.learned_scale import LearnedScale, require_learnable
from fastfc.training.memory import DONE, ENDING, PROGRESS, Plan
from fastfc.training.network import Network
from fastfc.training.own_loss import Function, OwnLoss, require_own_loss
from fastfc.training.parts import PART_SECONDS, scores_in_parts
from fastfc.training.plan import (
    RULES,
    as_readable,
    chosen_for_training,
    examples_of,
    in_rows,
    make_plan,
    parameters_of,
    set_hyperparameters,
    set_kernels,
    set_training_options,
    shortened,
    state_arrays_of,
)
from fastfc.training.rows import checked_indices
from fastfc.training.statistics import checked_statistics, write_back_statistics
from fastfc.training.validation import Validation, Validations, checked_validations

__all__ = ["Fit"]

# Floating-point operations that a thread does in a second, by a low guess, and by half the rate of this process's last
# call: a training that takes less than a part should be a single call.
_LEAST_RATE, _MOST_RATE = 1e10, 4e10
_rate = _LEAST_RATE


class Fit:
    """Train a network where its parameters lie; use it as a context manager.

    Parameters
    ----------
    net : Network
        A described network; its parameters are trained in their place, its running statistics are published when
        :meth:`epochs` ends.
    X : array (N, ...)
    y : array (N,) or (N, K)
        As the network's loss takes it.
    weights : array (N,), optional
        Of the examples, in the loss.
    loss : function, optional
        In the place of the network's loss, compiled by Numba: ``(scores, targets, dscores) -> loss``; see
        :class:`fastfc.Solver`.
    indices : array (n,) of integers, optional
        Row numbers of the examples that an epoch is over, in their order; nothing is copied. None for all of them.
    rule : function
        An update rule of :mod:`fastfc.optim`.
    config : dict
        The rule's hyperparameters, for all parameters; what is missing is its default.
    configs : dict of dict, optional
        Other hyperparameters by the names of parameters.
    batch_size : int
        At most N rows, or as many as there are indices; the last batch of an epoch has what is left, unless batches
        are drawn with replacement.
    sampler : {"permutation", "order", "replacement"}
        How batches are drawn.
    stream : numpy.random.RandomState
        Permutations and dropout are drawn from it, as its own methods would.
    threads : int, optional
    reg_of_batch : bool
        Whether the network's L2 strength is divided by a batch's rows, or the sum of their weights.
    loss_scale : float
        Factor of the losses that are returned, without the penalty.
    max_norm, max_value : float
        Bounds to which gradients are clipped: their norm, or each of them; 0 for none.
    accumulate : int
        The rule is applied after so many batches, to the mean of their gradients over their rows (or the weights of
        these), and at the end of an epoch after what is left: but for batch normalization, as after one batch with all
        of their rows.
    average_decay : float, optional
        If given, :attr:`average` has the exponential moving average of the parameters: after each update it is
        ``average_decay * average + (1 - average_decay) * parameters``.
    stores_gradients : bool
        Whether :attr:`gradients` has the last step's.
    scale_config : dict, optional
        If given, the network's ``input_scale`` is learned too, by the rule with these hyperparameters: in one thread,
        from examples that are copied to the network's dtype unless they have it. The network has it when
        :meth:`epochs` ends.

    Attributes
    ----------
    steps_taken : int
        Batches that were trained on.
    updates_taken : int
        Counted by rules that correct their moments.
    finished : array (epochs,)
        The losses that the last call of :meth:`epochs` returned, or would have, had no exception ended it.
    step_losses : array (steps,)
        The losses of the steps of that call.
    """

    def __init__(
        self,
        net: Network,
        X: np.ndarray,
        y: Any,
        *,
        rule: Callable[..., Any],
        batch_size: int,
        stream: np.random.RandomState,
        weights: Any = None,
        indices: Any = None,
        config: Mapping[str, float] | None = None,
        configs: Mapping[str, Mapping[str, float]] | None = None,
        sampler: str = "permutation",
        threads: int | None = None,
        reg_of_batch: bool = False,
        loss_scale: float = 1.0,
        max_norm: float = 0.0,
        max_value: float = 0.0,
        loss: Function | None = None,
        accumulate: int = 1,
        average_decay: float | None = None,
        stores_gradients: bool = False,
        scale_config: Mapping[str, float] | None = None,
    ) -> None:
        require_count("accumulate", accumulate, 1)
        require_own_loss("loss", loss)
        if loss is not None and weights is not None:
            raise ValueError("weights: expected None with a loss of your own, which sees whole batches")
        self._accumulate = accumulate
        self.net, self._rule, self._stream, self._sampler = net, rule, stream, sampler
        self._batch = min(batch_size, len(X) if indices is None else len(checked_indices(indices, len(X))))
        self._team = Team(threads_for(net, self._batch, threads))
        scales = scale_config is not None and require_learnable(net, self._team.threads, accumulate, max_norm)
        self._train_steps = kernel("train_steps", np.dtype(net.dtype), chosen_for_training(net, rule))
        self.plan: Plan = make_plan(
            net, self._batch, self._team.threads, rule, self._team.barrier,
            stores_gradients or max_norm > 0 or scales, accumulates=accumulate > 1,
        )  # fmt: skip
        # The factors' gradient needs the weights as they were.
        self.plan.updates = not scales
        set_kernels(self.plan, net, rule)
        self._limit = single_threaded() if calls_blas("train_steps", self.plan.dtype) else contextlib.nullcontext()
        self._numbers = {"reg_of_batch": reg_of_batch, "loss_scale": loss_scale}
        self._numbers |= {"max_norm": max_norm, "max_value": max_value}
        self._short: Plan | None = None
        self._own_loss = None if loss is None else OwnLoss(loss, net, self.plan)
        self.set_hyperparameters(config or {}, configs or {})
        self.set_data(X, y, weights, indices)
        self.set_options()
        self._scale = None if scale_config is None else LearnedScale(net, self.plan, rule, scale_config)
        for view, values in checked_statistics(self.plan, net):
            view[:] = values
        self.average_decay = average_decay
        self.average = net.params.flat[:0] if average_decay is None else net.params.flat.copy()
        self.steps_taken = self.updates_taken = 0
        self.finished = self.step_losses = NO_NUMBERS
        self._validations = Validations(self.plan, self.plan.input_scale if scales else net.params.flat[:0])
        self._work = work_of_step(net, self._batch) / self._team.threads
        self._seconds_per_step = 1e-6 + self._work / _rate

    def __enter__(self) -> "Fit":
        self._limit.__enter__()
        try:
            self._team.__enter__()
        except BaseException:
            self._limit.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            self._team.__exit__()
        finally:
            self._limit.__exit__(None, None, None)

    def set_hyperparameters(
        self, config: Mapping[str, float], configs: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        """Use these hyperparameters from now on, on top of the rule's defaults."""
        defaults = RULES[self._rule].defaults
        self._configs = {
            name: {**defaults, **config, **(configs or {}).get(name, {})} for name in self.net.params.shapes
        }

    def set_data(self, X: np.ndarray, y: Any, weights: Any = None, indices: Any = None) -> None:
        """Use these data from now on; an epoch is over them, or over those of some row numbers."""
        net, dtype = self.net, self.plan.dtype
        drawn = self._sampler == "replacement"
        rows = None if indices is None else checked_indices(indices, len(X))
        if drawn and rows is not None:
            raise ValueError("indices: expected None with sampler='replacement', which draws from all rows")
        loss = LOSSES[net.loss_name]
        X = as_readable(X) if self.plan.updates else np.ascontiguousarray(X, dtype)
        # Kept alive: compiled code knows their addresses.
        self._X = in_rows(X)
        self._examples = examples_of(self._X, dtype)
        # An epoch's rows. Compiled code takes permutations and the order of the data from `order`.
        self._count = len(X) if rows is None else len(rows)
        self._batches = Batches(self._count, self._batch, self._sampler)
        targets = checked_targets(loss, "y", y, len(X), net.dims[-1], dtype)
        no_reals = net.params.flat[:0]
        self._y = targets if loss.labels else NO_INTEGERS
        self._targets = no_reals if loss.labels else targets.reshape(-1)
        self._weights = no_reals if weights is None else checked_weights("weights", weights, len(X)).astype(dtype)
        self._steps_per_epoch, rest = self._batches.steps, self._batches.rest
        for thread in self.plan.threads:
            thread.order = NO_INTEGERS if drawn else np.arange(self._count) if rows is None else rows.copy()
        self._short = shortened(self.plan, rest) if rest else None

    def set_options(self) -> None:
        """Read the network's dropout, L2 strength, loss parameter and standardization, which may have changed."""
        for plan in (self.plan, self._short):
            if plan is not None:
                set_training_options(plan, self.net)
                if plan.seeded:
                    plan.seeded_stream[:] = words_of(np.random.RandomState(self.net.dropout_param["seed"]))
                for name, value in self._numbers.items():
                    setattr(plan, name, value)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, the last one of which may be on fewer rows."""
        return self._steps_per_epoch

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """Each parameter's gradient in the last step; where they are accumulated, in the last update. Views."""
        shapes = self.net.params.shapes
        return {name: p.gradient.reshape(shapes[name]) for name, p in parameters_of(self.plan, self.net)}

    @property
    def state(self) -> dict[str, list[np.ndarray]]:
        """The rule's arrays for each parameter, flat; views."""
        return {name: state_arrays_of(p, self.plan) for name, p in parameters_of(self.plan, self.net)}

    def epochs(
        self,
        count: int,
        *,
        watch: np.ndarray | None = None,
        factors: Callable[[int, int], np.ndarray] | None = None,
        validation: Validation | Sequence[Validation] | None = None,
        order: np.ndarray | None = None,
    ) -> np.ndarray:
        """Train for up to `count` epochs.

        Parameters
        ----------
        count : int
        watch : array, optional
            Of :func:`watch_losses`: ends earlier; what it has seen stays in it.
        factors : function, optional
            ``factors(first, count)`` gives the factors (count,) of the learning rates in `count` steps from number
            `first` on, counted from 0 by :attr:`steps_taken`.
        validation : Validation or sequence of them, optional
            Data whose value is taken at the end of each epoch, and ends earlier; what it has seen stays in it.
        order : integer array (count, n), optional
            With ``sampler="order"``, row numbers of the examples of each epoch, as many as an epoch has.

        Returns
        -------
        losses : array (epochs,)
            The mean loss of each epoch that was finished, over its rows.
        """
        self._validations.use(checked_validations(validation, self.net))
        total = count * self._steps_per_epoch
        cycle, usual = self._steps_per_epoch, [thread.order for thread in self.plan.threads]
        if order is not None:
            cycle, rows = total, self._batches.checked_orders(order, count, len(self._X))
            for thread in self.plan.threads:
                thread.order = rows
        losses = np.full(total, np.nan)
        before, done, ending = self.steps_taken, 0, False
        # An epoch that an exception ended has left some.
        self.plan.accumulated[:] = 0
        try:
            while done < total and not ending:
                ending = self._call(losses[done:], done, watch, factors, cycle)
                done = self.steps_taken - before
        finally:
            for thread, rows in zip(self.plan.threads, usual, strict=True):
                thread.order = rows
            write_back_statistics(self.plan, self.net)
            if self._scale is not None:
                self.net.input_scale = self.plan.input_scale.copy()
            self.step_losses = losses[: self.steps_taken - before]
            self.finished = self._batches.mean_losses(self.step_losses)
        return self.finished

    def scores(self, X: np.ndarray, indices: np.ndarray | None = None) -> np.ndarray:
        """Scores (n, K) in test mode of examples X (n, ...), or of those of some row numbers; the training goes on.

        They take the training's own memory, in which a prediction of a small network need not make any.
        """
        return scores_in_parts(self.plan, self._team.run, X, indices)

    def _call(
        self,
        losses: np.ndarray,
        before: int,
        watch: np.ndarray | None,
        factors: Callable[[int, int], np.ndarray] | None,
        cycle: int,
    ) -> bool:
        """Take some of the steps whose losses are to be written; whether a stopping rule ends the training."""
        count = int(min(len(losses), max(1, PART_SECONDS / self._seconds_per_step)))
        plan = self.plan
        set_hyperparameters(
            plan, self.net, self._rule, {name: {**c, "t": self.updates_taken} for name, c in self._configs.items()}
        )
        self._put_stream()
        progress = np.zeros(PROGRESS, np.int64)
        rates = NO_NUMBERS if factors is None else np.ascontiguousarray(factors(self.steps_taken, count), float)
        job = training_job(
            plan,
            examples=self._examples,
            params=self.net.params.flat,
            losses=losses[:count],
            count=self._count,
            y=self._y,
            targets=self._targets,
            weights=self._weights,
            sampler=SAMPLERS.index(self._sampler),
            short=self._short or plan,
            has_short=self._short is not None,
            rates=rates,
            watch=NO_NUMBERS if watch is None else watch,
            average=self.average,
            average_decay=self.average_decay or 0.0,
            accumulate=self._accumulate,
            progress=progress,
            before=before,
            epoch=self._steps_per_epoch,
            cycle=cycle,
            **({} if self._scale is None else self._scale.attributes(self._X, rates, self.updates_taken)),
            **({} if self._own_loss is None else self._own_loss.attributes),
            **self._validations.attributes(count // self._steps_per_epoch + 1, progress),
        )
        start = perf_counter()
        try:
            self._team.run(lambda thread: self._train_steps(plan, thread, job))
        finally:
            done = int(progress[DONE])
            self._validations.book()
            self.steps_taken += done
            self.updates_taken += self._updates_after(before + done) - self._updates_after(before)
            self._take_stream()
        if self._own_loss is not None and done < count and not progress[ENDING]:
            short = self._short if (before + done + 1) % self._steps_per_epoch == 0 else None
            self._own_loss.fail(losses[done], (short or plan).batch, self.steps_taken + 1)
        self._note_speed((perf_counter() - start) / max(done, 1))
        return bool(progress[ENDING])

    def _note_speed(self, seconds: float) -> None:
        """Remember what a step took, for the next call and the next training."""
        global _rate
        self._seconds_per_step = seconds
        _rate = min(max(self._work / seconds / 2, _LEAST_RATE), _MOST_RATE)

    def _updates_after(self, steps: int) -> int:
        return updates_after(steps, self._steps_per_epoch, self._accumulate)

    def _put_stream(self) -> None:
        """The threads go on where the stream stands."""
        words = words_of(self._stream)
        for thread in self.plan.threads:
            thread.stream[:] = words

    def _take_stream(self) -> None:
        """The stream goes on where the first thread stands."""
        write_words(self._stream._bit_generator, self.plan.threads[0].stream)
