"""Forward: the batch is gathered, goes through the layers, and becomes scores and a loss.

The batch's rows are split among the threads; for a first layer with many weights, so are the
features: each thread then has its features of all rows, and their weights.
"""

import numpy as np

from fastfc.kernels.activation import activate
from fastfc.kernels.compiler.jit import glue
from fastfc.kernels.dropout import drop_rows
from fastfc.kernels.loss import label_rows, target_rows
from fastfc.kernels.lowering.barrier import barrier_wait
from fastfc.kernels.lowering.callback import call_loss
from fastfc.kernels.lowering.math import add, assign, rectify
from fastfc.kernels.lowering.matmul import multiply
from fastfc.kernels.lowering.views import flat, matrix, nth, vector
from fastfc.kernels.norm import (
    inverse_std,
    merge_moments,
    move_running,
    scale_and_shift,
    standardize_by_columns,
    standardize_row,
)
from fastfc.training import memory
from fastfc.training.data import call_fetch
from fastfc.training.passes import batchnorm_relu, column_sums, moments


@glue
def rows_of(values, first, rows, d):
    """(rows, d): of values (n, d), which lie flat, from row `first` on."""
    return matrix(values, first * d, rows, d)


@glue
def input_rows(layer, first, rows):
    """(rows * in_row,): of the layer's input, from row `first` on."""
    return vector(layer.x, first * layer.in_row, rows * layer.in_row)


@glue
def share_of(plan, thread, count):
    """Of `count` rows of weights, or units: the thread's first, and the one behind its last."""
    return count * thread.index // plan.num_threads, count * (thread.index + 1) // plan.num_threads


@glue
def sums_of(thread, step):
    """(SUMS,): what the thread adds up in a step; the next step has another place."""
    return vector(thread.sums, step % 2 * memory.SUMS, memory.SUMS)


@glue
def group_of(thread):
    """(SUMS,): where the thread stands in a group of batches whose gradients are accumulated."""
    return vector(thread.sums, 2 * memory.SUMS, memory.SUMS)


# -------------------------------------------------------------------------------------------------- the batch


@glue
def fetch_batch(whole, plan, thread, examples):
    """The thread's part of the batch for the first product: its rows, or its features of all rows."""
    first, end, first_row, end_row = 0, plan.features, thread.first, thread.end
    if plan.by_features:
        (first, end), first_row, end_row = share_of(plan, thread, plan.features), 0, plan.batch
    layer, rows = nth(plan.layers, 0), end_row - first_row
    x = vector(layer.x, first_row * layer.in_row + first, rows * layer.in_row - first)
    call_fetch((
        whole, examples, x, layer.in_row, first, end - first, thread.indices, plan.batch, first_row, rows
    ))  # fmt: skip


# --------------------------------------------------------------------------------------------- affine products


@glue
def affine_rows(thread, layer, out, first, rows, rectifies):
    """Overwrites out (rows, d_out) with x @ W + b, or its ReLU, for rows of the layer's input from `first` on."""
    x, W, b, d_out = input_rows(layer, first, rows), layer.W.value, layer.b.value, layer.d_out
    multiply(
        rows, d_out, layer.d_in, x, layer.in_row, 1, W, d_out, 1, b, flat(out), d_out, thread.packing_buffer, 0,
        rectifies,
    )  # fmt: skip


@glue
def sum_over_features(plan, thread):
    """The thread's part of the first layer's affine output: all rows, its features."""
    layer, (first, end) = nth(plan.layers, 0), share_of(plan, thread, plan.features)
    d_out = layer.d_out
    x = vector(layer.x, first, plan.batch * layer.in_row - first)
    W = vector(layer.W.value, first * d_out, (end - first) * d_out)
    b = vector(layer.b.value, 0, d_out if thread.index == 0 else 0)
    multiply(
        plan.batch, d_out, end - first, x, layer.in_row, 1, W, d_out, 1, b, thread.first_sums, d_out,
        thread.packing_buffer, 0, False,
    )  # fmt: skip


@glue
def _add_sums_over_features(plan, thread, out):
    """Overwrites out (rows, d_out), the thread's rows of the first layer's affine output, with all threads' parts."""
    start, size = thread.first * out.shape[1], out.shape[0] * out.shape[1]
    assign(flat(out), vector(nth(plan.threads, 0).first_sums, start, size))
    for other in range(1, plan.num_threads):
        add(flat(out), vector(nth(plan.threads, other).first_sums, start, size))


@glue
def rectifies_sums(plan, index):
    """Whether a layer's affine output goes to ReLU as it is: then both are computed at once."""
    return index < plan.depth - 1 and plan.norm == memory.NO_NORM and plan.activation == memory.RELU


@glue
def is_single(plan, index):
    """Whether a layer is a single unit behind ReLU: one pass goes back through both, and sums its weights' gradient."""
    return index > 0 and nth(plan.layers, index).d_out == 1 and rectifies_sums(plan, index - 1)


@glue
def affine_of_batch(plan, thread, index):
    """The thread's rows of a layer's affine output, or its ReLU where nothing is between, in its output's place."""
    layer, rows = nth(plan.layers, index), thread.end - thread.first
    out = rows_of(layer.out, thread.first, rows, layer.d_out)
    if index == 0 and plan.by_features:
        _add_sums_over_features(plan, thread, out)
        if rectifies_sums(plan, index):
            # All rows at once: what is left over of a row does not fill a vector.
            rectify(flat(out))
    else:
        affine_rows(thread, layer, out, thread.first, rows, rectifies_sums(plan, index))


# ------------------------------------------------------------------------------------------------ batch statistics


@glue
def publish_statistics(thread, layer, share):
    """The statistics of the thread's rows, for the others to read."""
    x = rows_of(layer.out, thread.first, thread.end - thread.first, layer.d_out)
    if x.shape[0] > 0:
        assign(share.shift, x[0])
        moments(share.mean, share.var, x, share.shift)


@glue
def merge_statistics(plan, thread, index):
    """The batch's statistics from those of the threads' rows, each thread for itself."""
    layer, share, of_first = nth(plan.layers, index), nth(thread.shares, index), share_of_layer(plan, 0, index)
    # Until it is needed itself, inv_std has the place of the variance.
    shift, mean, inv_std = share.batch_shift, share.batch_mean, share.batch_inv_std
    assign(shift, of_first.shift)
    assign(mean, of_first.mean)
    assign(inv_std, of_first.var)
    for k in range(1, plan.num_threads):
        other, more = nth(plan.threads, k), share_of_layer(plan, k, index)
        # A short batch may have no rows for some threads.
        if other.end > other.first:
            merge_moments(mean, inv_std, shift, more.mean, more.var, more.shift, (other.end - other.first) / other.end)
    if thread.index == 0:
        move_running(layer.running_mean, layer.running_var, shift, mean, inv_std, layer.momentum)
    inverse_std(inv_std, inv_std, layer.eps)


@glue
def share_of_layer(plan, thread, index):
    """A thread's :class:`fastfc.training.memory.Share` of a layer, both by their numbers."""
    return nth(nth(plan.threads, thread).shares, index)


# ------------------------------------------------------------------------------------- from affine output to output


@glue
def hidden_output(plan, thread, index):
    """The thread's rows of a hidden layer from the affine output on: norm - activation - dropout."""
    layer, rows = nth(plan.layers, index), thread.end - thread.first
    x_hat = rows_of(layer.x_hat, thread.first, rows, layer.d_out)
    out = rows_of(layer.out, thread.first, rows, layer.d_out)
    slope = vector(layer.slope, 0, 0)
    normalize_and_rectify(plan, thread, index, x_hat, out)
    if plan.activation != memory.RELU:
        slope = vector(layer.slope, thread.first * layer.d_out, rows * layer.d_out)
        activate(plan.activation, flat(out), slope)
    if plan.dropout != 0:
        before, behind = 2 * thread.first * layer.d_out, 2 * (plan.batch - thread.end) * layer.d_out
        # Nobody has a gradient yet.
        drop_rows(
            plan.dropout, flat(out), slope, thread.gradient_chunk, thread.stream, plan.seeded_stream, plan.seeded,
            before, behind, plan.keep_threshold, plan.keep_scale,
        )  # fmt: skip


@glue
def normalize_and_rectify(plan, thread, index, x_hat, out):
    """Overwrites rows out (n, d_out) of affine outputs with norm - relu, other activations excepted; and x_hat.

    Batch normalization is by the statistics that the thread's share has. Without any, they are rectified already.
    """
    layer = nth(plan.layers, index)
    if plan.norm == memory.BATCH_NORM:
        share, gamma, beta = nth(thread.shares, index), layer.gamma.value, layer.beta.value
        shift, mean, inv_std = share.batch_shift, share.batch_mean, share.batch_inv_std
        if plan.activation == memory.RELU:
            batchnorm_relu(out, x_hat, shift, mean, inv_std, gamma, beta)
        else:
            for i in range(out.shape[0]):
                standardize_by_columns(x_hat[i], out[i], shift, mean, inv_std)
                scale_and_shift(out[i], x_hat[i], gamma, beta)
        return
    if plan.norm == memory.LAYER_NORM:
        for i in range(out.shape[0]):
            layer.row_inv_std[thread.first + i] = standardize_row(x_hat[i], out[i], layer.eps)
            scale_and_shift(out[i], x_hat[i], layer.gamma.value, layer.beta.value)
            if plan.activation == memory.RELU:
                rectify(out[i])


@glue
def hidden_layers(plan, thread):
    """The thread's rows of the batch through all hidden layers; False if the team was dismissed."""
    for index in range(plan.depth - 1):
        affine_of_batch(plan, thread, index)
        if plan.norm == memory.BATCH_NORM:
            publish_statistics(thread, nth(plan.layers, index), nth(thread.shares, index))
            if not barrier_wait(plan.barrier, plan.num_threads):
                return False
            merge_statistics(plan, thread, index)
        hidden_output(plan, thread, index)
    return True


@glue
def _set_weight(plan, thread, steps, step, weight):
    """The weight of a batch in all, and its L2 strength: where it is divided by that, of its share of the group's."""
    sums, reg = sums_of(thread, step), plan.reg
    sums[memory.WEIGHT] = weight
    if plan.reg_of_batch:
        reg = plan.reg / weight if weight > 0 else 0.0
        if steps.accumulate > 1:
            reg /= group_of(thread)[memory.GROUP_BATCHES]
    sums[memory.REG] = reg


@glue
def _loss_by_function(plan, thread, layer, steps, step):
    """In the first thread the loss that somebody's function gives for the batch, times its rows; in others 0.

    In all of them a number that is not finite, if the function gives one, or NaN if the team was dismissed.
    """
    # all scores are there
    if not barrier_wait(plan.barrier, plan.num_threads):
        return np.nan
    if thread.index == 0:
        sums_of(thread, step)[memory.LOSS] = plan.batch * _call_for_batch(plan, thread, layer, steps)
    # and the whole gradient
    if not barrier_wait(plan.barrier, plan.num_threads):
        return np.nan
    loss = sums_of(nth(plan.threads, 0), step)[memory.LOSS]
    return loss if thread.index == 0 or not np.isfinite(loss) else 0.0


@glue
def _call_for_batch(plan, thread, layer, steps):
    """Call somebody's loss for the batch, with its labels or targets gathered."""
    size, d_out = plan.batch * layer.d_out, layer.d_out
    scores, dscores = vector(layer.out, 0, size), vector(layer.dout, 0, size)
    # It may add to them, or leave some as they are; the last batch's are still there.
    for i in range(size):
        dscores[i] = 0
    if steps.loss_labels.size > 0:
        labels = vector(steps.loss_labels, 0, plan.batch)
        for i in range(plan.batch):
            labels[i] = steps.y[thread.indices[i]]
        return call_loss(steps.loss_function, scores, labels, dscores, plan.batch, d_out)
    targets = vector(steps.loss_targets, 0, size)
    for i in range(plan.batch):
        assign(vector(targets, i * d_out, d_out), vector(steps.targets, thread.indices[i] * d_out, d_out))
    return call_loss(steps.loss_function, scores, targets, dscores, plan.batch, d_out)


@glue
def output_and_loss(plan, thread, steps, step):
    """Scores, their gradient and its column sums for the thread's rows; returns the sum of the rows' losses.

    By somebody's own loss it is that of all rows in the first thread; not finite in all, if the step cannot be taken.
    """
    index = plan.depth - 1
    layer, rows = nth(plan.layers, index), thread.end - thread.first
    affine_of_batch(plan, thread, index)
    scores = rows_of(layer.out, thread.first, rows, layer.d_out)
    dscores = rows_of(layer.dout, thread.first, rows, layer.d_out)
    loss, weights, total = 0.0, steps.weights, 0.0
    for i in range(plan.batch if weights.size > 0 else 0):
        total += np.float64(weights[thread.indices[i]])
    _set_weight(plan, thread, steps, step, total if weights.size > 0 else np.float64(plan.batch))
    examples, parameter = vector(thread.indices, thread.first, rows), plan.loss_parameter
    if steps.loss_function != 0:
        loss = _loss_by_function(plan, thread, layer, steps, step)
        if not np.isfinite(loss):
            return loss
    elif steps.y.size == 0:
        loss = target_rows(plan.loss, dscores, scores, steps.targets, examples, weights, total, plan.batch, parameter)
    else:
        loss = label_rows(plan.loss, dscores, scores, steps.y, examples, weights, total, plan.batch, parameter)
    column_sums(nth(thread.shares, index).db, dscores)
    return loss
