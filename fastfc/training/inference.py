"""Inference: rows of examples through the network in test mode."""

import numpy as np
from numba.core import types

from fastfc.kernels.activation import activate
from fastfc.kernels.compiler.jit import glue, inline
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.loss import softmax_scores
from fastfc.kernels.lowering.barrier import dismissed
from fastfc.kernels.lowering.math import assign, clear
from fastfc.kernels.lowering.views import borrowed, flat, nth, reference_to, vector
from fastfc.kernels.norm import inverse_std
from fastfc.training import memory
from fastfc.training.data import call_fetch
from fastfc.training.forward import affine_rows, normalize_and_rectify, rectifies_sums, rows_of
from fastfc.training.memory import Plan, Predictions


@standalone(types.boolean, lambda dtype: (reference_to(Plan, dtype), types.int64, reference_to(Predictions, dtype)))
def predict_rows(whole, thread, job):
    """Carry out some blocks of the thread's share of a job; False if the team was dismissed before its end."""
    plan = borrowed(whole)
    thread = borrowed(nth(plan.threads, thread))
    job = borrowed(job)
    examples = job.examples
    subset, predictions, scores = job.subset, job.predictions, flat(job.scores)
    first_layer, output = nth(plan.layers, 0), nth(plan.layers, plan.depth - 1)
    at_once = thread.end - thread.first
    if plan.norm == memory.BATCH_NORM:
        for index in range(plan.depth - 1):
            _use_running_statistics(nth(plan.layers, index), nth(thread.shares, index))
    end = job.count * (thread.index + 1) // plan.num_threads
    first = job.count * thread.index // plan.num_threads + job.first_block * at_once
    for start in range(first, min(first + job.blocks * at_once, end), at_once):
        if dismissed(plan.barrier):
            return False
        rows = min(at_once, end - start)
        row = first_layer.in_row
        x = vector(first_layer.x, thread.first * row, rows * row)
        call_fetch((whole, examples, x, row, 0, plan.features, subset, subset.size, start, rows))
        for index in range(plan.depth - 1):
            _hidden_test(plan, thread, index, rows)
        out = rows_of(output.out, thread.first, rows, output.d_out)
        affine_rows(thread, output, out, thread.first, rows, False)
        for i in range(rows if predictions.size > 0 else 0):
            predictions[start + i] = _argmax(out[i])
        if scores.size > 0:
            of_rows = rows_of(scores, start, rows, output.d_out)
            if job.softmax:
                softmax_scores(of_rows, out)
            else:
                assign(flat(of_rows), flat(out))
    return True


call_predict = predict_rows.caller(lambda plan, *_: np.dtype(plan.dtype.name))


@glue
def _use_running_statistics(layer, share):
    """Put a layer's running statistics where a batch's own would stand."""
    assign(share.batch_shift, layer.running_mean)
    clear(share.batch_mean)
    inverse_std(share.batch_inv_std, layer.running_var, layer.eps)


@glue
def _hidden_test(plan, thread, index, rows):
    """The thread's first rows through affine - norm - activation, in test mode."""
    layer = nth(plan.layers, index)
    x_hat = rows_of(layer.x_hat, thread.first, rows, layer.d_out)
    out = rows_of(layer.out, thread.first, rows, layer.d_out)
    affine_rows(thread, layer, out, thread.first, rows, rectifies_sums(plan, index))
    normalize_and_rectify(plan, thread, index, x_hat, out)
    if plan.activation != memory.RELU:
        activate(plan.activation, flat(out), vector(layer.slope, 0, 0))


@inline
def _argmax(scores):
    """The place of the first largest value; of the first NaN, if there is one."""
    best = 0
    for j in range(scores.size):
        if np.isnan(scores[j]):
            return j
        if scores[j] > scores[best]:
            best = j
    return best
