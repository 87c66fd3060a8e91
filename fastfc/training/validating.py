"""Validating: the value that some examples reach at the end of an epoch, as each thread takes part in it.

A kernel by itself, which only trainings with validation data inside of their compiled calls have.
"""

import numpy as np
from numba.core import types

from fastfc.kernels.compiler.jit import glue
from fastfc.kernels.compiler.standalone import Alternatives
from fastfc.kernels.loss import label_rows, target_rows
from fastfc.kernels.lowering.barrier import barrier_wait
from fastfc.kernels.lowering.math import assign
from fastfc.kernels.lowering.views import borrowed, flat, matrix, nth, reference_to, vector
from fastfc.training import memory
from fastfc.training.forward import share_of
from fastfc.training.inference import call_predict
from fastfc.training.memory import Plan, Validation


def _kinds(dtype):
    return reference_to(Plan, dtype), types.int64, reference_to(Validation, dtype), types.int64


def validate_epoch(whole, number, validation, place):
    """The value after epoch number `place` of the call, a copy of the best parameters, and whether to go on.

    False if the team was dismissed.
    """
    plan = borrowed(whole)
    thread = borrowed(nth(plan.threads, number))
    validation = borrowed(validation)
    watch = validation.watch
    call_predict((whole, number, validation.job))
    _add_share(plan, thread, validation)
    # also: nobody writes the next batch while another thread's rows are in its place
    if not barrier_wait(plan.barrier, plan.num_threads):
        return False
    value = _value(plan, validation)
    sign = 1.0 if validation.larger else -1.0
    best = sign * watch[memory.BEST_VALUE]
    # NaN is neither better nor an improvement.
    better, improved = sign * value > best, sign * value >= best + watch[memory.LEAST_GAIN]
    if validation.keep == memory.KEEP_LAST:
        better = sign * value >= best
    if better and validation.keep != memory.KEEP_NONE:
        first, end = share_of(plan, thread, validation.params.size)
        assign(vector(validation.best_params, first, end - first), vector(validation.params, first, end - first))
    # everybody has compared the value with the best one
    if not barrier_wait(plan.barrier, plan.num_threads):
        return False
    if thread.index == 0:
        if better and validation.keep != memory.KEEP_NONE:
            _keep_statistics(plan, validation)
            assign(validation.best_scale, validation.scale)
        _note_value(validation, value, better, improved, place)
    return barrier_wait(plan.barrier, plan.num_threads)


#: The kernel, which a training chooses by its address.
VALIDATIONS = Alternatives(types.boolean, _kinds, {"validate_epoch": validate_epoch})
call_validation = VALIDATIONS.caller()


@glue
def _note_value(validation, value, better, improved, place):
    """Enter an epoch's value, and whether it is the last one."""
    watch = validation.watch
    watch[memory.EPOCHS_SEEN] += 1
    watch[memory.STALE_EPOCHS] = 0 if improved else watch[memory.STALE_EPOCHS] + 1
    if better:
        watch[memory.BEST_VALUE] = value
        watch[memory.BEST_EPOCH] = watch[memory.EPOCHS_SEEN]
    validation.values[place] = value
    if watch[memory.STALE_EPOCHS] > watch[memory.MOST_STALE]:
        validation.progress[memory.ENDING] = 1


@glue
def _keep_statistics(plan, validation):
    """Copy the running statistics of all layers to the best ones."""
    place = 0
    for index in range(plan.depth - 1 if plan.norm == memory.BATCH_NORM else 0):
        layer = nth(plan.layers, index)
        for statistic in (layer.running_mean, layer.running_var):
            assign(vector(validation.best_statistics, place, layer.d_out), statistic)
            place += layer.d_out


@glue
def _sums(validation, number):
    """(K,): what a thread has added up, by output for squared errors, else in the first place."""
    return vector(validation.sums, number * validation.stride, validation.stride)


@glue
def _add_share(plan, thread, validation):
    """The sums of the thread's share of the rows."""
    job, rows = validation.job, validation.rows
    first, end = share_of(plan, thread, job.count)
    sums = _sums(validation, thread.index)
    sums[0] = 0.0
    if validation.metric == memory.LABELS:
        for i in range(first, end):
            if job.predictions[i] == validation.y[rows[i]]:
                sums[0] += _weight(validation, rows[i])
        return
    outputs = nth(plan.layers, plan.depth - 1).d_out
    scores = matrix(flat(job.scores), first * outputs, end - first, outputs)
    if validation.metric == memory.MEAN_LOSS:
        sums[0] = _loss_of_rows(plan, validation, scores, first)
        return
    if validation.metric == memory.SIGNS:
        for i in range(scores.shape[0]):
            right = True
            for j in range(outputs):
                if (scores[i, j] > 0) != (validation.targets[rows[first + i] * outputs + j] > 0.5):
                    right = False
            if right:
                sums[0] += _weight(validation, rows[first + i])
        return
    for j in range(outputs):
        sums[j] = 0.0
        for i in range(scores.shape[0]):
            error = np.float64(scores[i, j]) - np.float64(validation.targets[rows[first + i] * outputs + j])
            sums[j] += error * error


@glue
def _weight(validation, row):
    return np.float64(validation.weights[row]) if validation.weights.size > 0 else 1.0


@glue
def _loss_of_rows(plan, validation, scores, first):
    """The sum of the losses of some rows, each times its weight; their gradients are nobody's."""
    rows = vector(validation.rows, first, scores.shape[0])
    dscores = matrix(validation.gradient, first * scores.shape[1], scores.shape[0], scores.shape[1])
    weights, total, n = validation.weights, validation.total, validation.job.count
    if validation.y.size == 0:
        return target_rows(
            plan.loss, dscores, scores, validation.targets, rows, weights, total, n, plan.loss_parameter
        )  # fmt: skip
    return label_rows(plan.loss, dscores, scores, validation.y, rows, weights, total, n, plan.loss_parameter)


@glue
def _value(plan, validation):
    """The value that all threads' sums make."""
    if validation.metric == memory.COEFFICIENT:
        total, outputs = 0.0, validation.spread.size
        for j in range(outputs):
            errors = 0.0
            for other in range(plan.num_threads):
                errors += _sums(validation, other)[j]
            spread = validation.spread[j]
            if spread > 0:
                total += 1 - errors / spread
            else:
                total += 1.0 if errors == 0 else 0.0
        return total / outputs
    total = 0.0
    for other in range(plan.num_threads):
        total += _sums(validation, other)[0]
    if validation.metric == memory.MEAN_LOSS:
        return plan.loss_scale * (total / validation.job.count)
    return total / validation.total
