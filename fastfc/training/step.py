"""A training step, as each member of the team carries it out.

The batch's rows are split among the members. Between two meetings a member writes its own
rows, its own slots of what is exchanged, or its own share of a layer's weights, and reads
what all wrote before the meeting. Sums over members are taken in their order, so that a run
repeats bit for bit with the same number of members.
"""

import numpy as np

from fastfc.kernels._blas import gemm
from fastfc.kernels._borrow import borrowed
from fastfc.kernels._jit import inline, kernel, part
from fastfc.kernels._math import assign
from fastfc.kernels._random import choose, keep_or_drop, next_words, skip_words
from fastfc.kernels._team import meet
from fastfc.kernels.activation import gate_in_place, rectify
from fastfc.kernels.affine import column_sums
from fastfc.kernels.dropout import apply_mask
from fastfc.kernels.loss import l2_span, softmax_row
from fastfc.kernels.norm import (
    add_parameter_gradients,
    batch_input_gradient,
    batch_moments,
    inverse_std,
    layer_input_gradient,
    merge_moments,
    move_running,
    scale_and_shift,
    standardize_by_columns,
    standardize_row,
)
from fastfc.kernels.optim import (
    adagrad_span,
    adam_span,
    nesterov_span,
    rmsprop_span,
    sgd_momentum_span,
    sgd_span,
)
from fastfc.training import layout
from fastfc.training.data import gather_row


@kernel
def train_steps(plan, member, examples, y, losses, progress):
    """Carry out losses.size steps on examples with labels y (N,); overwrites losses.

    progress (1,) counts the steps that are done; the last ones are missing if the team was sent home.
    """
    plan, examples, y, losses = borrowed(plan), borrowed(examples), borrowed(y), borrowed(losses)
    progress = borrowed(progress)
    for step in range(losses.size):
        if not _train_step(plan, member, examples, y, losses, step):
            break
        if member == 0:
            progress[0] = step + 1


@part
def _train_step(plan, member, examples, y, losses, step):
    """One step; False if the team was sent home in the middle of it."""
    last = plan.layers.shape[0] - 1
    first_row, end_row = plan.rows[member], plan.rows[member + 1]
    choose(plan.indices[member], plan.streams[member], y.size)
    for i in range(first_row, end_row):
        _fetch(plan, plan.x[i], examples, plan.indices[member, i])
    for layer in range(last):
        if not _hidden_forward(plan, member, layer):
            return False
    sums = plan.sums[member, step % 2]
    sums[layout.LOSS] = _output_and_loss(plan, member, y)
    squares = 0.0
    for layer in range(last, -1, -1):
        # every row of the layer's gradient is there
        if not meet(plan.barrier, plan.members):
            return False
        if layer > 0:
            _back_to_hidden(plan, member, layer)
            # everybody has read the layer's weights
            if not meet(plan.barrier, plan.members):
                return False
        squares += _update_layer(plan, member, layer, step)
        if layer > 0 and plan.norm == layout.BATCH_NORM:
            _batchnorm_backward(plan, member, layer - 1)
    sums[layout.SQUARES] = squares
    # every weight is new, and nobody reads the batch any more
    if not meet(plan.barrier, plan.members):
        return False
    if member == 0:
        loss = 0.0
        squares = 0.0
        for other in range(plan.members):
            loss += plan.sums[other, step % 2, layout.LOSS]
            squares += plan.sums[other, step % 2, layout.SQUARES]
        losses[step] = loss / plan.batch + 0.5 * plan.reg[0] * squares
    return True


# --------------------------------------------------------------------------------------- parts of the memory


@part
def _matrix(flat, offset, rows, columns):
    return flat[offset : offset + rows * columns].reshape((rows, columns))


@part
def _layer_input(plan, layer):
    """(n, D_IN): the batch itself, or the output of the layer before."""
    if layer == 0:
        return plan.x
    return _layer_output(plan, layer - 1)


@part
def _layer_output(plan, layer):
    """(n, D_OUT)"""
    return _matrix(plan.activations, plan.layers[layer, layout.OUT], plan.batch, plan.layers[layer, layout.D_OUT])


@part
def _normalized(plan, layer):
    """(n, D_OUT): x_hat of the layer's normalization; before that, the affine output."""
    return _matrix(plan.activations, plan.layers[layer, layout.X_HAT], plan.batch, plan.layers[layer, layout.D_OUT])


@part
def _gradient(plan, layer):
    """(n, D_OUT): the gradient at the layer's affine output."""
    return _matrix(plan.gradients[layer % 2], 0, plan.batch, plan.layers[layer, layout.D_OUT])


@part
def _weights(plan, layer):
    """(D_IN * D_OUT,)"""
    start = plan.layers[layer, layout.W]
    return plan.w[start : start + plan.layers[layer, layout.D_IN] * plan.layers[layer, layout.D_OUT]]


@part
def _units(plan, values, layer, column):
    """(D_OUT,): the layer's part of values, which starts where `column` of the table says."""
    start = plan.layers[layer, column]
    return values[start : start + plan.layers[layer, layout.D_OUT]]


# --------------------------------------------------------------------------------------------------- forward


@part
def _fetch(plan, out, examples, example):
    """Overwrites out (D,) with an example, standardized."""
    gather_row(out, examples.address + example * examples.row_bytes, examples.offsets, examples.kind)
    if plan.standardized:
        mean, scale = plan.input_mean, plan.input_scale
        for j in range(out.size):
            out[j] = (out[j] - mean[j]) * scale[j]


@part
def _affine(plan, out, x, layer):
    """Overwrites out (rows, D_OUT) with x (rows, D_IN) @ W + b."""
    d_in, d_out = plan.layers[layer, layout.D_IN], plan.layers[layer, layout.D_OUT]
    b = _units(plan, plan.w, layer, layout.B)
    for i in range(out.shape[0]):
        assign(out[i], b)
    gemm(False, False, out.shape[0], d_out, d_in, x, d_in, _weights(plan, layer), d_out, 1, out, d_out)


@part
def _hidden_forward(plan, member, layer):
    """The member's rows through affine - norm - relu - dropout; False if the team was sent home."""
    first, end, d = plan.rows[member], plan.rows[member + 1], plan.layers[layer, layout.D_OUT]
    x_hat, out = _normalized(plan, layer)[first:end], _layer_output(plan, layer)[first:end]
    _affine(plan, x_hat, _layer_input(plan, layer)[first:end], layer)
    gamma, beta = _units(plan, plan.w, layer, layout.GAMMA), _units(plan, plan.w, layer, layout.BETA)
    own = plan.own[member, layer]
    shift, mean, inv_std = own[layout.OWN_SHIFT, :d], own[layout.OWN_MEAN, :d], own[layout.OWN_INV_STD, :d]
    if plan.norm == layout.BATCH_NORM:
        exchanged = plan.exchanged[member, layer]
        assign(exchanged[layout.SHIFT, :d], x_hat[0])
        batch_moments(exchanged[layout.MEAN, :d], exchanged[layout.VAR, :d], x_hat, exchanged[layout.SHIFT, :d])
        if not meet(plan.barrier, plan.members):
            return False
        _merge_statistics(plan, member, layer, shift, mean, inv_std)
    stream, mask, words = plan.streams[member], plan.mask[member, :d], plan.words[member, : 2 * d]
    if plan.dropout:
        if plan.seeded:
            assign(stream, plan.seeded_stream)
        skip_words(stream, 2 * first * d)
    for i in range(end - first):
        if plan.norm == layout.BATCH_NORM:
            standardize_by_columns(x_hat[i], shift, mean, inv_std)
            scale_and_shift(out[i], x_hat[i], gamma, beta)
        elif plan.norm == layout.LAYER_NORM:
            plan.row_inv_std[layer, first + i] = standardize_row(x_hat[i], plan.norm_numbers[layer, 0])
            scale_and_shift(out[i], x_hat[i], gamma, beta)
        rectify(out[i])
        if plan.dropout:
            next_words(words, stream)
            keep_or_drop(mask, words, plan.keep_threshold, plan.keep_scale)
            apply_mask(out[i], mask)
    if plan.dropout:
        skip_words(stream, 2 * (plan.batch - end) * d)
    return True


@part
def _merge_statistics(plan, member, layer, shift, mean, inv_std):
    """Overwrites shift, mean and inv_std (D,) with the batch's, from those of the members' rows."""
    # inv_std is the room for the variance until it is needed itself.
    first = plan.exchanged[0, layer]
    assign(shift, first[layout.SHIFT, : shift.size])
    assign(mean, first[layout.MEAN, : shift.size])
    assign(inv_std, first[layout.VAR, : shift.size])
    for other in range(1, plan.members):
        added = plan.exchanged[other, layer]
        share = (plan.rows[other + 1] - plan.rows[other]) / plan.rows[other + 1]
        merge_moments(
            mean, inv_std, shift,
            added[layout.MEAN, : shift.size], added[layout.VAR, : shift.size], added[layout.SHIFT, : shift.size],
            share,
        )  # fmt: skip
    if member == 0:
        running_mean = _units(plan, plan.running_mean, layer, layout.UNITS)
        running_var = _units(plan, plan.running_var, layer, layout.UNITS)
        move_running(running_mean, running_var, shift, mean, inv_std, plan.norm_numbers[layer, 1])
    inverse_std(inv_std, inv_std, plan.norm_numbers[layer, 0])


@part
def _output_and_loss(plan, member, y):
    """Scores, their gradient and its column sums for the member's rows; returns the sum of the rows' losses."""
    layer = plan.layers.shape[0] - 1
    first, end, classes = plan.rows[member], plan.rows[member + 1], plan.layers[layer, layout.D_OUT]
    scores, dscores = _layer_output(plan, layer)[first:end], _gradient(plan, layer)[first:end]
    _affine(plan, scores, _layer_input(plan, layer)[first:end], layer)
    loss = 0.0
    for i in range(end - first):
        label = y[plan.indices[member, first + i]]
        loss += softmax_row(dscores[i], scores[i], label, 1 / plan.batch)
    column_sums(plan.exchanged[member, layer, layout.D_B, :classes], dscores)
    return loss


# -------------------------------------------------------------------------------------------------- backward


@part
def _back_to_hidden(plan, member, layer):
    """The member's rows of the gradient, from the layer's affine output back to the one before.

    Batch normalization stops half way, at its output: what follows needs all members' sums.
    """
    first, end = plan.rows[member], plan.rows[member + 1]
    d, d_out = plan.layers[layer, layout.D_IN], plan.layers[layer, layout.D_OUT]
    dout, dx = _gradient(plan, layer)[first:end], _gradient(plan, layer - 1)[first:end]
    gemm(False, True, end - first, d, d_out, dout, d_out, _weights(plan, layer), d_out, 0, dx, d)

    before = layer - 1
    out, x_hat = _layer_output(plan, before)[first:end], _normalized(plan, before)[first:end]
    sums = plan.exchanged[member, before]
    dgamma, dbeta, db = sums[layout.D_GAMMA, :d], sums[layout.D_BETA, :d], sums[layout.D_B, :d]
    gamma = _units(plan, plan.w, before, layout.GAMMA)
    scale = dx.dtype.type(plan.keep_scale)
    dgamma[:] = 0
    dbeta[:] = 0
    for i in range(end - first):
        gate_in_place(dx[i], out[i], scale)
        if plan.norm != layout.NO_NORM:
            add_parameter_gradients(dgamma, dbeta, dx[i], x_hat[i])
        if plan.norm == layout.LAYER_NORM:
            layer_input_gradient(dx[i], x_hat[i], plan.row_inv_std[before, first + i], gamma)
    if plan.norm != layout.BATCH_NORM:
        column_sums(db, dx)


@part
def _batchnorm_backward(plan, member, layer):
    """The member's rows of the gradient, from batch normalization's output back to its input."""
    first, end, d = plan.rows[member], plan.rows[member + 1], plan.layers[layer, layout.D_OUT]
    dx, x_hat = _gradient(plan, layer)[first:end], _normalized(plan, layer)[first:end]
    own = plan.own[member, layer]
    dgamma, dbeta, inv_std = own[layout.OWN_D_GAMMA, :d], own[layout.OWN_D_BETA, :d], own[layout.OWN_INV_STD, :d]
    _sum_over_members(dgamma, plan, layer, layout.D_GAMMA, 0)
    _sum_over_members(dbeta, plan, layer, layout.D_BETA, 0)
    gamma = _units(plan, plan.w, layer, layout.GAMMA)
    share = dx.dtype.type(1 / plan.batch)
    for i in range(end - first):
        batch_input_gradient(dx[i], dgamma, dbeta, x_hat[i], inv_std, gamma, share)
    column_sums(plan.exchanged[member, layer, layout.D_B, :d], dx)


@part
def _sum_over_members(total, plan, layer, row, start):
    """Overwrites total (n,) with the members' sums of a row of what they exchange, from column `start` on."""
    assign(total, plan.exchanged[0, layer, row, start : start + total.size])
    for other in range(1, plan.members):
        part = plan.exchanged[other, layer, row, start : start + total.size]
        for j in range(total.size):
            total[j] += part[j]


# --------------------------------------------------------------------------------------------------- updates


@part
def _update_layer(plan, member, layer, step):
    """The member's share of the layer's parameters takes a step; returns the sum of squares of its old weights.

    The gradient of the weights is computed chunk by chunk and never stored as a whole.
    """
    d_in, d_out = plan.layers[layer, layout.D_IN], plan.layers[layer, layout.D_OUT]
    x, dout = _layer_input(plan, layer).reshape(-1), _gradient(plan, layer)
    reg, rule, hyper = plan.reg[0], plan.rule, plan.hyper[layer]
    first, end = d_in * member // plan.members, d_in * (member + 1) // plan.members
    chunk = max(1, layout.CHUNK // d_out)
    squares = 0.0
    for k in range(first, end, chunk):
        rows = min(chunk, end - k)
        dw = plan.scratch[member, : rows * d_out]
        gemm(True, False, rows, d_out, plan.batch, x[k:], d_in, dout, d_out, 0, dw, d_out)
        start = plan.layers[layer, layout.W] + k * d_out
        stop = start + rows * d_out
        w = plan.w[start:stop]
        if reg != 0:
            squares += l2_span(dw, w, reg)
        _update(rule, w, dw, plan.m[start:stop], plan.v[start:stop], hyper[layout.HYPER_W], step)

    first, end = d_out * member // plan.members, d_out * (member + 1) // plan.members
    _update_units(plan, member, layer, first, end, layout.D_B, layout.B, layout.HYPER_B, step)
    if plan.norm != layout.NO_NORM and layer < plan.layers.shape[0] - 1:
        _update_units(plan, member, layer, first, end, layout.D_GAMMA, layout.GAMMA, layout.HYPER_GAMMA, step)
        _update_units(plan, member, layer, first, end, layout.D_BETA, layout.BETA, layout.HYPER_BETA, step)
    return squares


@part
def _update_units(plan, member, layer, first, end, row, column, hyper_row, step):
    """Columns first to end of a bias, scale or shift take a step."""
    dw = plan.scratch[member, : end - first]
    _sum_over_members(dw, plan, layer, row, first)
    start, stop = plan.layers[layer, column] + first, plan.layers[layer, column] + end
    hyper = plan.hyper[layer, hyper_row]
    _update(plan.rule, plan.w[start:stop], dw, plan.m[start:stop], plan.v[start:stop], hyper, step)


@inline
def _update(rule, w, dw, m, v, hyper, step):
    """Every array (n,); hyper (HYPER_COLUMNS,) as it was before the first step of this call."""
    rate, first, second, epsilon = (
        hyper[layout.LEARNING_RATE], hyper[layout.FIRST], hyper[layout.SECOND], hyper[layout.EPSILON],
    )  # fmt: skip
    if rule == layout.SGD:
        sgd_span(w, dw, rate)
    elif rule == layout.SGD_MOMENTUM:
        sgd_momentum_span(w, dw, m, rate, first)
    elif rule == layout.NESTEROV:
        nesterov_span(w, dw, m, rate, first)
    elif rule == layout.RMSPROP:
        rmsprop_span(w, dw, m, rate, first, epsilon)
    elif rule == layout.ADAGRAD:
        adagrad_span(w, dw, m, rate, epsilon)
    else:
        t = hyper[layout.TAKEN] + (step + 1)
        m_correction, v_correction = 1 / (1 - first**t), 1 / (1 - second**t)
        shrinkage = rate * hyper[layout.WEIGHT_DECAY]
        adam_span(w, dw, m, v, rate, first, second, epsilon, m_correction, v_correction, shrinkage)


# ------------------------------------------------------------------------------------------------ evaluation


@kernel
def predict_rows(plan, member, examples, subset, count, predictions):
    """Overwrites predictions (count,) with the classes of the examples in subset, or of the first `count`.

    subset is (count,) or (0,). Statistics are the running ones; nothing is dropped.
    """
    plan, examples, subset, predictions = borrowed(plan), borrowed(examples), borrowed(subset), borrowed(predictions)
    _use_running_statistics(plan, member)
    last = plan.layers.shape[0] - 1
    room = plan.rows[member + 1] - plan.rows[member]
    end = count * (member + 1) // plan.members
    for start in range(count * member // plan.members, end, room):
        rows = min(room, end - start)
        first = plan.rows[member]
        for i in range(rows):
            example = subset[start + i] if subset.size > 0 else start + i
            _fetch(plan, plan.x[first + i], examples, example)
        for layer in range(last):
            _hidden_test(plan, member, layer, rows)
        scores = _layer_output(plan, last)[first : first + rows]
        _affine(plan, scores, _layer_input(plan, last)[first : first + rows], last)
        for i in range(rows):
            predictions[start + i] = _argmax(scores[i])


@part
def _use_running_statistics(plan, member):
    """Put each layer's running statistics where a batch's own would stand."""
    if plan.norm == layout.BATCH_NORM:
        for layer in range(plan.layers.shape[0] - 1):
            d = plan.layers[layer, layout.D_OUT]
            own = plan.own[member, layer]
            assign(own[layout.OWN_SHIFT, :d], _units(plan, plan.running_mean, layer, layout.UNITS))
            own[layout.OWN_MEAN, :d] = 0
            running_var = _units(plan, plan.running_var, layer, layout.UNITS)
            inverse_std(own[layout.OWN_INV_STD, :d], running_var, plan.norm_numbers[layer, 0])


@part
def _hidden_test(plan, member, layer, rows):
    """The first `rows` of the member's rows through affine - norm - relu, in test mode."""
    first, d = plan.rows[member], plan.layers[layer, layout.D_OUT]
    x_hat, out = _normalized(plan, layer)[first : first + rows], _layer_output(plan, layer)[first : first + rows]
    _affine(plan, x_hat, _layer_input(plan, layer)[first : first + rows], layer)
    gamma, beta = _units(plan, plan.w, layer, layout.GAMMA), _units(plan, plan.w, layer, layout.BETA)
    own = plan.own[member, layer]
    shift, mean, inv_std = own[layout.OWN_SHIFT, :d], own[layout.OWN_MEAN, :d], own[layout.OWN_INV_STD, :d]
    for i in range(rows):
        if plan.norm == layout.BATCH_NORM:
            standardize_by_columns(x_hat[i], shift, mean, inv_std)
            scale_and_shift(out[i], x_hat[i], gamma, beta)
        elif plan.norm == layout.LAYER_NORM:
            standardize_row(x_hat[i], plan.norm_numbers[layer, 0])
            scale_and_shift(out[i], x_hat[i], gamma, beta)
        rectify(out[i])


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
