"""Epoch: many training steps in one compiled call, as each thread carries them out.

Between two barriers a thread writes its own rows, its own sums, or its own share of a layer's
weights, and reads what all wrote before the barrier. Sums over threads are taken in their order,
so that a run repeats bit for bit with the same number of threads.
"""

import numpy as np
from numba.core import types

from fastfc.kernels.activation import ACTIVATION_KERNELS
from fastfc.kernels.compiler.jit import glue
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.dropout import DROPOUT_KERNELS
from fastfc.kernels.loss import ROWS_KERNELS
from fastfc.kernels.lowering.barrier import barrier_wait
from fastfc.kernels.lowering.clock import ticks
from fastfc.kernels.lowering.denormals import flush_denormals, restore
from fastfc.kernels.lowering.math import assign
from fastfc.kernels.lowering.matmul import PRODUCTS
from fastfc.kernels.lowering.random import choose, shuffle
from fastfc.kernels.lowering.vectors import vectors_supported
from fastfc.kernels.lowering.views import borrowed, nth, reference_to, vector
from fastfc.kernels.optim import UPDATES
from fastfc.ops.rules import MOST_HYPERPARAMETERS
from fastfc.training import memory
from fastfc.training.backward import backward, call_backward
from fastfc.training.data import fetch_rows
from fastfc.training.entry import apply_update, average_parameters, backward_from, forward_rows
from fastfc.training.forward import (
    fetch_batch,
    group_of,
    hidden_layers,
    output_and_loss,
    share_of,
    sum_over_features,
    sums_of,
)
from fastfc.training.inference import call_predict, predict_rows
from fastfc.training.memory import Plan, Steps
from fastfc.training.ranks import backward_part, forward_part
from fastfc.training.scaling import SCALINGS, call_learn_scale
from fastfc.training.update import begin_batch
from fastfc.training.validating import VALIDATIONS, call_validation


@standalone(types.void, lambda dtype: (reference_to(Plan, dtype), types.int64, reference_to(Steps, dtype)))
def train_steps(plan, thread, steps):
    """Carry out as many steps as there are losses."""
    started, control = ticks(), flush_denormals()
    _train_steps(plan, thread, steps, control, started)
    restore(control)
    if thread == 0:
        # Once, not in each step: a clock takes as long as a layer of a small network.
        borrowed(steps).progress[memory.TICKS] = ticks() - started


@glue
def _train_steps(whole, number, steps, control, started):
    usual = borrowed(whole)
    usual_thread = borrowed(nth(usual.threads, number))
    short = borrowed(steps.short)
    short_thread = borrowed(nth(short.threads, number))
    steps = borrowed(steps)
    losses, progress = steps.losses, steps.progress
    checks, ended = 0, steps.before // steps.epoch
    # Of the next step in its epoch, and in its cycle: divisions would take their time in each step.
    place, turn = steps.before % steps.epoch, steps.before % steps.cycle
    # One question in each step for what few trainings have: a step of a small network takes a microsecond.
    has_extras = steps.learn_scale != 0 or steps.average.size > 0 or steps.accumulate > 1 or steps.rates.size > 0
    # of this call
    group_of(usual_thread)[memory.GROUP_UPDATES] = 0
    for step in range(losses.size):
        done = steps.before + step + 1
        at_end = place + 1 == steps.epoch
        plan, thread, called = usual, usual_thread, whole
        if at_end and steps.has_short:
            plan, thread, called = short, short_thread, steps.short
        _draw(plan, thread, steps, turn)
        if has_extras:
            _before_step(thread, steps, step, place)
        place = 0 if at_end else place + 1
        turn = 0 if turn + 1 == steps.cycle else turn + 1
        if not _loss_of_batch(called, plan, thread, steps, step):
            return
        if not call_backward((called, number, step)):
            return
        # every weight is new, and nobody reads the batch any more
        if not barrier_wait(plan.barrier, plan.num_threads):
            return
        if has_extras:
            _after_step(called, number, plan, thread, steps, step)
        if thread.index == 0:
            losses[step] = _loss(plan, step)
            progress[memory.DONE] = step + 1
        if steps.watch.size > 0:
            if thread.index == 0:
                _watch(plan, steps, step, at_end)
            if at_end and (not barrier_wait(plan.barrier, plan.num_threads) or progress[memory.ENDING] != 0):
                return
        if at_end:
            _decay_rates(thread, steps.lr_decay)
        if at_end and steps.validate != 0:
            restore(control)
            finished = _validate(whole, number, steps, done // steps.epoch - 1 - ended)
            flush_denormals()
            if not finished or progress[memory.ENDING] != 0:
                return
        if steps.checked and (done == 1 or at_end):
            # Predictions are those of `predict`, which knows denormal numbers.
            restore(control)
            finished = _check(whole, usual, number, usual_thread, steps, checks, step, started)
            flush_denormals()
            if not finished or progress[memory.ENDING] != 0:
                return
            checks += 1


@glue
def _before_step(thread, steps, step, place):
    """The rates of a schedule; of accumulated gradients, where the batch stands in its group."""
    _set_rates(thread, steps, step)
    if steps.accumulate > 1:
        begin_batch(thread, steps, place)


@glue
def _after_step(whole, number, plan, thread, steps, step):
    """The learned scale takes its step, and so does the average of the parameters if they are new."""
    if steps.learn_scale != 0:
        call_learn_scale(steps.learn_scale, (whole, number, nth(steps.scaling, 0), step))
    if steps.average.size > 0 and (steps.accumulate == 1 or group_of(thread)[memory.GROUP_ENDS] != 0):
        _average(plan, thread, steps)


@glue
def _loss_of_batch(whole, plan, thread, steps, step):
    """From the batch's examples to its loss and the gradient of its scores; False if the step cannot be taken.

    That is if the team was dismissed, or somebody's own loss is not finite.
    """
    fetch_batch(whole, plan, thread, steps.examples)
    if plan.by_features:
        sum_over_features(plan, thread)
        if not barrier_wait(plan.barrier, plan.num_threads):
            return False
    if not hidden_layers(plan, thread):
        return False
    loss = output_and_loss(plan, thread, steps, step)
    sums_of(thread, step)[memory.LOSS] = loss
    if steps.loss_function != 0 and not np.isfinite(loss):
        if thread.index == 0:
            steps.losses[step] = loss
        return False
    return True


@glue
def _validate(whole, number, steps, epoch):
    """All values after an epoch of the call; False if the team was dismissed."""
    for i in range(steps.validations):
        if not call_validation(steps.validate, (whole, number, nth(steps.validation, i), epoch)):
            return False
    return True


@glue
def _draw(plan, thread, steps, place):
    """The examples of the batch at a place in its cycle; each thread draws them all."""
    if steps.sampler == memory.REPLACEMENT:
        choose(thread.indices, thread.stream, steps.count)
        return
    if place == 0 and steps.sampler == memory.PERMUTATION:
        shuffle(thread.order, thread.stream)
    first = place * thread.indices.size
    for i in range(plan.batch):
        thread.indices[i] = thread.order[first + i]


@glue
def _set_rates(thread, steps, step):
    """The learning rates of a step, by the schedule's factor; the first hyperparameter of every rule is its rate."""
    if steps.rates.size > 0:
        for i in range(thread.rates.size):
            thread.hyperparameters[i * MOST_HYPERPARAMETERS] = thread.rates[i] * steps.rates[step]


@glue
def _decay_rates(thread, factor):
    """The learning rates of the next epoch; the first hyperparameter of every rule is its rate."""
    for i in range(thread.rates.size):
        thread.rates[i] *= factor
        thread.hyperparameters[i * MOST_HYPERPARAMETERS] = thread.rates[i]


@glue
def _average(plan, thread, steps):
    """The thread's share of the parameters' exponential moving average takes a step."""
    first, end = share_of(plan, thread, steps.params.size)
    average, params = vector(steps.average, first, end - first), vector(steps.params, first, end - first)
    decay, rest = average.dtype.type(steps.average_decay), average.dtype.type(1 - steps.average_decay)
    for i in range(average.size):
        average[i] = decay * average[i] + rest * params[i]


@glue
def _watch(plan, steps, step, at_end):
    """The epoch's mean loss, and whether too many epochs have not lowered it: then the call is to end."""
    watch = steps.watch
    watch[memory.EPOCH_LOSS] += steps.losses[step] * plan.batch
    if not at_end:
        return
    mean = watch[memory.EPOCH_LOSS] / steps.count
    watch[memory.EPOCH_LOSS] = 0
    watch[memory.STALE] = watch[memory.STALE] + 1 if mean > watch[memory.LEAST] - watch[memory.TOLERANCE] else 0
    watch[memory.LEAST] = min(watch[memory.LEAST], mean)
    if watch[memory.STALE] > watch[memory.PATIENCE] or (watch[memory.FINITE] != 0 and not np.isfinite(mean)):
        steps.progress[memory.ENDING] = 1


@glue
def _check(whole, plan, number, thread, steps, place, step, started):
    """Both accuracies, and copies of the best parameters; False if the team was dismissed."""
    before = ticks()
    _count_correct(whole, plan, number, thread, nth(steps.checks, 2 * number))
    _count_correct(whole, plan, number, thread, nth(steps.checks, 2 * number + 1))
    # also: nobody writes the next batch while another thread's predictions are in its place
    if not barrier_wait(plan.barrier, plan.num_threads):
        return False
    accuracy = _accuracy(plan, steps, 1)
    best = vector(steps.best_accuracy, number * memory.LINE, 1)
    better = accuracy > best[0]
    if better:
        best[0] = accuracy
        first, end = share_of(plan, thread, steps.params.size)
        assign(vector(steps.best_params, first, end - first), vector(steps.params, first, end - first))
    at_end = (steps.before + step + 1) % steps.epoch == 0
    stops = at_end and _judge(plan, thread, steps, step)
    if thread.index == 0:
        steps.accuracies[2 * place] = _accuracy(plan, steps, 0)
        steps.accuracies[2 * place + 1] = accuracy
        progress, now = steps.progress, ticks()
        progress[memory.CHECK_TICKS] += now - before
        steps.check_ends[place] = now - started
        progress[memory.ENDING] = 1 if stops or now - started > steps.call_ticks else 0
        progress[memory.CHECKED] = place + 1
        if better:
            progress[memory.BEST] = place + 1
    # all of the best parameters are there, and everybody knows whether to go on
    return barrier_wait(plan.barrier, plan.num_threads)


@glue
def _judge(plan, thread, steps, step):
    """Whether a stopping rule ends the training with the epoch that ends with a step; copies of the best parameters."""
    stops = False
    for place in range(steps.num_stopping):
        rule = nth(steps.stopping, place)
        if rule.monitor == memory.MEAN_OF_LOSSES:
            value = _mean_of_losses(steps, step)
        else:
            value = _accuracy(plan, steps, rule.monitor)
        # Each thread has its own: nobody has to wait until all have compared.
        numbers = vector(rule.numbers, thread.index * memory.LINE, memory.LINE)
        gain = value - numbers[memory.STOP_BEST] if rule.larger else numbers[memory.STOP_BEST] - value
        # NaN never is an improvement.
        better = gain > rule.min_delta if numbers[memory.STOP_BEGUN] != 0 else not np.isnan(value)
        numbers[memory.STOP_WAITED] += 1
        if better:
            numbers[memory.STOP_BEST] = value
            numbers[memory.STOP_BEGUN] = numbers[memory.STOP_IMPROVED] = 1
            numbers[memory.STOP_WAITED] = 0
            if rule.best_params.size > 0:
                first, end = share_of(plan, thread, steps.params.size)
                assign(vector(rule.best_params, first, end - first), vector(steps.params, first, end - first))
        stops = stops or numbers[memory.STOP_WAITED] >= rule.patience
    return stops


@glue
def _mean_of_losses(steps, step):
    """The mean loss of the epoch that ends with a step: :func:`fastfc.training.batches.mean_loss`, bit for bit."""
    real = steps.params.dtype.type
    first = max(step + 1 - steps.epoch, 0)
    total = steps.loss_before if step + 1 < steps.epoch else 0.0
    for i in range(first, step):
        total += np.float64(real(steps.losses[i]))
    # No products, which compiled code adds in one rounding.
    return (total + np.float64(real(steps.losses[step])) / steps.short_share) / steps.epoch_batches


@glue
def _count_correct(whole, plan, number, thread, check):
    """The thread's share of a check's predictions, and how many of them are right."""
    job = check.job
    if check.drawn:
        choose(job.subset, thread.stream, check.y.size)
    call_predict((whole, number, job))
    if plan.seeded and plan.depth > 1:
        # Dropout layers seed the stream in test mode too.
        assign(thread.stream, plan.seeded_stream)
    first, end = share_of(plan, thread, job.count)
    correct = 0
    for i in range(first, end):
        label = check.y[job.subset[i]] if check.drawn else check.y[i]
        if job.predictions[i] == label:
            correct += 1
    check.correct[0] = correct


@glue
def _accuracy(plan, steps, split):
    """The share of right answers in a check that all threads have taken part in; NaN of no examples."""
    correct = 0
    for other in range(plan.num_threads):
        correct += nth(steps.checks, 2 * other + split).correct[0]
    return correct / np.float64(nth(steps.checks, split).job.count)


@glue
def _loss(plan, step):
    """The step's loss from what all threads have added up."""
    loss = 0.0
    squares = 0.0
    for other in range(plan.num_threads):
        sums = sums_of(nth(plan.threads, other), step)
        loss += sums[memory.LOSS]
        squares += sums[memory.SQUARES]
    reg = sums_of(nth(plan.threads, 0), step)[memory.REG]
    return plan.loss_scale * (loss / plan.batch) + 0.5 * reg * squares


# Kernels of which a run chooses one of each kind.
_CHOICES = UPDATES, ACTIVATION_KERNELS, DROPOUT_KERNELS, ROWS_KERNELS, VALIDATIONS, SCALINGS


def standalone_kernel(name, dtype):
    """The :class:`fastfc.kernels.compiler.standalone.Standalone` of a name and a dtype."""
    if name == "product":
        return PRODUCTS[np.dtype(dtype)]
    kernels = (
        train_steps, backward, predict_rows, fetch_rows, forward_rows, backward_from, apply_update, average_parameters,
        forward_part, backward_part,
    )  # fmt: skip
    named = {kernel.name: kernel for kernel in kernels}
    for alternatives in _CHOICES:
        named |= alternatives.kernels
    return named[name]


def place_of(name):
    """The number that stands for the address of a kernel that a run chooses, without the compiler."""
    return next(alternatives.place(name) for alternatives in _CHOICES if name in alternatives.kernels)


def callees(name):
    """The names of the kernels that a kernel calls, itself or through others."""
    product = ["product"] if vectors_supported() else []
    others = {
        "train_steps": ["backward", "predict_rows", "fetch_rows", *product],
        "predict_rows": ["fetch_rows", *product],
        "forward_part": ["fetch_rows", *product],
        "fetch_rows": [],
        "backward_from": ["backward", *product],
        "apply_update": [],
        "average_parameters": [],
        **{name: [] for alternatives in _CHOICES for name in alternatives.kernels},
        "validate_epoch": ["predict_rows", "fetch_rows", *product],
        "learn_scale": product,
    }
    return others.get(name, product)
