"""A training step, as each member of the team carries it out.

The batch's rows are split among the members; for a first layer with many weights, so are the
features: each member then has its features of all rows, and their weights. Between two
meetings a member writes its own rows, its own slots of what is exchanged, or its own share of
a layer's weights, and reads what all wrote before the meeting. Sums over members are taken in
their order, so that a run repeats bit for bit with the same number of members.
"""

import numpy as np
from numba.core import types

from fastfc._runtime.shared import PANEL
from fastfc.kernels._barrier import meet
from fastfc.kernels._denormals import flush_denormals, restore
from fastfc.kernels._jit import inline, part
from fastfc.kernels._linked import linked
from fastfc.kernels._math import add, assign, clear
from fastfc.kernels._matmul import PRODUCTS, multiply
from fastfc.kernels._passes import batchnorm_gradient, batchnorm_relu, gate_normalized_rows, gate_rows, moments
from fastfc.kernels._random import choose, drop, skip_words
from fastfc.kernels._vectors import vectors_supported
from fastfc.kernels._views import borrowed, flat, matrix, reference_to, vector
from fastfc.kernels.activation import rectify
from fastfc.kernels.affine import column_sums
from fastfc.kernels.loss import l2_span, softmax_row, softmax_scores
from fastfc.kernels.norm import (
    inverse_std,
    layer_input_gradient,
    merge_moments,
    move_running,
    scale_and_shift,
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
from fastfc.training.data import gather_row, standardize
from fastfc.training.layout import Plan, Predictions, Steps

# Of so few columns, a gradient of weights is computed transposed: the other way round, rows fill vectors badly.
_NARROW = 16
if max(layout.CHUNK, layout.LEAST_CHUNK_ROWS * _NARROW) > PANEL:
    raise RuntimeError(f"the room for copies of matrices has {PANEL} values: too few for a gradient of weights")


@linked(types.void, lambda dtype: (reference_to(Plan, dtype), types.int64, reference_to(Steps, dtype)))
def train_steps(plan, member, steps):
    """Carry out as many steps as there are losses."""
    control = flush_denormals()
    _train_steps(plan, member, steps)
    restore(control)


@part
def _train_steps(plan, member, steps):
    whole = plan
    plan = borrowed(plan)
    examples = borrowed(steps.examples)
    y, losses, progress = steps.y, steps.losses, steps.progress
    last = plan.depth - 1
    indices = vector(plan.ints, plan.indices + member * plan.batch, plan.batch)
    for step in range(losses.size):
        choose(indices, _stream(plan, member), y.size)
        _fetch_batch(plan, member, examples, indices)
        if plan.by_features:
            _sum_over_features(plan, member)
            if not meet(plan.barrier, plan.members):
                return
        for layer in range(last):
            _affine_of_batch(plan, member, layer)
            if plan.norm == layout.BATCH_NORM:
                _tell_statistics(plan, member, layer)
                if not meet(plan.barrier, plan.members):
                    return
                _merge_statistics(plan, member, layer)
            _activate(plan, member, layer)
        _output_and_loss(plan, member, indices, y, step)
        if not _call_backward((whole, member, step)):
            return
        # every weight is new, and nobody reads the batch any more
        if not meet(plan.barrier, plan.members):
            return
        if member == 0:
            loss = 0.0
            squares = 0.0
            for other in range(plan.members):
                loss += _sums(plan, other, step)[layout.LOSS]
                squares += _sums(plan, other, step)[layout.SQUARES]
            losses[step] = loss / plan.batch + 0.5 * plan.reg * squares
            progress[0] = step + 1


@linked(types.boolean, lambda dtype: (reference_to(Plan, dtype), types.int64, types.int64))
def backward(plan, member, step):
    """A step from the gradient of the scores on: every parameter is new after it; False if the team was sent home.

    A kernel by itself, for two processes to compile a training step side by side.
    """
    plan = borrowed(plan)
    last = plan.depth - 1
    sums = _sums(plan, member, step)
    sums[layout.SQUARES] = 0
    for layer in range(last, -1, -1):
        if layer > 0:
            _back_to_hidden(plan, member, layer)
        # everybody has read the layer's weights, and every row of its gradient is there
        if not meet(plan.barrier, plan.members):
            return False
        normalized = layer > 0 and plan.norm == layout.BATCH_NORM
        # Rows that are in a near cache are best taken at once, others just before their product.
        near = normalized and _is_near(plan, member, layer - 1)
        if near:
            _back_through_batchnorm(plan, member, layer - 1)
        sums[layout.SQUARES] += _update_weights(plan, member, layer, step)
        _update_units(plan, member, layer, step)
        if normalized and not near:
            _back_through_batchnorm(plan, member, layer - 1)
    return True


_call_backward = backward.caller(lambda plan, *_: np.dtype(plan.dtype.name))


# --------------------------------------------------------------------------------------- parts of the memory


@part
def _panel(plan, member):
    """(PANEL,): the member's room for a copy of a part of a matrix, or of a narrow gradient."""
    return vector(plan.room, plan.panel + member * PANEL, PANEL)


@part
def _entry(plan, layer, column):
    """A number of the table of layers."""
    return plan.ints[plan.layers + layer * layout.LAYER_COLUMNS + column]


@part
def _bounds(plan, member):
    """The member's first row, and the one behind its last."""
    return plan.ints[plan.rows + member], plan.ints[plan.rows + member + 1]


@part
def _share(plan, member, count):
    """Of `count` rows of weights, or units: the member's first, and the one behind its last."""
    return count * member // plan.members, count * (member + 1) // plan.members


@part
def _stream(plan, member):
    """(STREAM,) the member's copy of the random stream."""
    return vector(plan.words, plan.streams + member * layout.STREAM_ROOM, layout.STREAM)


@part
def _sums(plan, member, step):
    """(SUMS,) what the member adds up in a step; the next step has another place."""
    return vector(plan.numbers, plan.sums + (2 * member + step % 2) * layout.SUMS, layout.SUMS)


@part
def _input_rows(plan, layer, first, rows):
    """(rows * IN_ROW,): of the batch itself, or of the output of the layer before."""
    start = plan.x if layer == 0 else _entry(plan, layer - 1, layout.OUT)
    row = _entry(plan, layer, layout.IN_ROW)
    return vector(plan.room, start + first * row, rows * row)


@part
def _rows_of(plan, layer, column, first, rows):
    """(rows, D_OUT): of what the layer has in the column's place, from row `first` on."""
    d = _entry(plan, layer, layout.D_OUT)
    return matrix(plan.room, _entry(plan, layer, column) + first * d, rows, d)


@part
def _gradient_rows(plan, layer, first, rows):
    """(rows, D_OUT): of the gradient at the layer's affine output."""
    d = _entry(plan, layer, layout.D_OUT)
    return matrix(
        plan.room, plan.gradients + layer % layout.GRADIENTS * (plan.batch * plan.widest) + first * d, rows, d
    )


@part
def _weights(plan, layer):
    """(D_IN * D_OUT,)"""
    size = _entry(plan, layer, layout.D_IN) * _entry(plan, layer, layout.D_OUT)
    return vector(plan.w, _entry(plan, layer, layout.W), size)


@part
def _units(plan, values, layer, column):
    """(D_OUT,): the layer's part of values, which starts where the column says."""
    return vector(values, _entry(plan, layer, column), _entry(plan, layer, layout.D_OUT))


@part
def _exchanged(plan, member, layer, row):
    """(D_OUT,): one of the things that a member tells the others."""
    start = plan.exchanged + ((member * plan.depth + layer) * layout.EXCHANGED + row) * plan.widest
    return vector(plan.room, start, _entry(plan, layer, layout.D_OUT))


@part
def _own(plan, member, layer, row):
    """(D_OUT,): one of the things that a member keeps for itself."""
    start = plan.own + ((member * plan.depth + layer) * layout.OWN + row) * plan.widest
    return vector(plan.room, start, _entry(plan, layer, layout.D_OUT))


@part
def _norm_number(plan, layer, column):
    return plan.numbers[plan.norm_numbers + layer * layout.NORM_COLUMNS + column]


# --------------------------------------------------------------------------------------------------- forward


@part
def _fetch_batch(plan, member, examples, indices):
    """What the member needs of the batch for the first product: its rows, or its features of all rows."""
    if plan.by_features:
        (first, end), (first_row, end_row) = _share(plan, member, plan.features), (0, plan.batch)
    else:
        (first, end), (first_row, end_row) = (0, plan.features), _bounds(plan, member)
    for i in range(first_row, end_row):
        x = vector(plan.room, plan.x + i * _entry(plan, 0, layout.IN_ROW) + first, end - first)
        _fetch(plan, x, examples, indices[i], first)


@part
def _fetch(plan, out, examples, example, first):
    """Overwrites out (n,) with an example's features from `first` on, standardized."""
    gather_row(out, examples.address + example * examples.row_bytes, examples.offsets, examples.kind, first)
    if plan.standardized:
        standardize(
            out,
            vector(plan.room, plan.input_mean + first, out.size),
            vector(plan.room, plan.input_scale + first, out.size),
        )


@part
def _sum_over_features(plan, member):
    """The member's part of the first layer's affine output: all rows, its features."""
    first, end = _share(plan, member, plan.features)
    x_row, d_out, batch = _entry(plan, 0, layout.IN_ROW), _entry(plan, 0, layout.D_OUT), plan.batch
    x = vector(plan.room, plan.x + first, batch * x_row - first)
    w = vector(plan.w, _entry(plan, 0, layout.W) + first * d_out, (end - first) * d_out)
    b = vector(plan.w, _entry(plan, 0, layout.B), d_out if member == 0 else 0)
    out = _part_of_rows(plan, member, 0, batch)
    multiply(batch, d_out, end - first, x, x_row, 1, w, d_out, 1, b, out, d_out, _panel(plan, member), 0)


@part
def _part_of_rows(plan, member, first, rows):
    """(rows * D_OUT,): the member's part of the first layer's affine output, from row `first` on."""
    d_out = _entry(plan, 0, layout.D_OUT)
    return vector(plan.room, plan.parts + (member * plan.batch + first) * d_out, rows * d_out)


@part
def _add_sums_over_features(plan, member):
    """The member's rows of the first layer's affine output, from all members' parts."""
    first, end = _bounds(plan, member)
    out = flat(_rows_of(plan, 0, layout.OUT, first, end - first))
    assign(out, _part_of_rows(plan, 0, first, end - first))
    for other in range(1, plan.members):
        add(out, _part_of_rows(plan, other, first, end - first))


@part
def _affine(plan, member, out, x, layer):
    """Overwrites out (rows, D_OUT) with x @ W + b, for the rows x (rows * IN_ROW,) of the layer's input."""
    d_in, x_row, d_out = _entry(plan, layer, layout.D_IN), _entry(plan, layer, layout.IN_ROW), out.shape[1]
    rows, b, w = out.shape[0], _units(plan, plan.w, layer, layout.B), _weights(plan, layer)
    panel = _panel(plan, member)
    multiply(rows, d_out, d_in, x, x_row, 1, w, d_out, 1, b, flat(out), d_out, panel, 0)


@part
def _affine_of_batch(plan, member, layer):
    """The member's rows of the layer's affine output, in the place of its output."""
    if layer == 0 and plan.by_features:
        _add_sums_over_features(plan, member)
    else:
        first, end = _bounds(plan, member)
        out = _rows_of(plan, layer, layout.OUT, first, end - first)
        _affine(plan, member, out, _input_rows(plan, layer, first, end - first), layer)


@part
def _tell_statistics(plan, member, layer):
    """The statistics of the member's rows, for the others to read."""
    first, end = _bounds(plan, member)
    x = _rows_of(plan, layer, layout.OUT, first, end - first)
    shift = _exchanged(plan, member, layer, layout.SHIFT)
    assign(shift, x[0])
    mean, var = _exchanged(plan, member, layer, layout.MEAN), _exchanged(plan, member, layer, layout.VAR)
    moments(mean, var, x, shift)


@part
def _activate(plan, member, layer):
    """The member's rows from the affine output on: norm - relu - dropout."""
    (first, end), d = _bounds(plan, member), _entry(plan, layer, layout.D_OUT)
    rows = end - first
    x_hat, out = _rows_of(plan, layer, layout.X_HAT, first, rows), _rows_of(plan, layer, layout.OUT, first, rows)
    stream = _stream(plan, member)
    if plan.dropout:
        if plan.seeded:
            assign(stream, vector(plan.words, plan.seeded_stream, layout.STREAM))
        skip_words(stream, 2 * first * d)
    if plan.norm == layout.BATCH_NORM:
        _standardize_and_activate(plan, member, layer, x_hat, out)
    else:
        for i in range(rows):
            if plan.norm == layout.LAYER_NORM:
                inv_std = standardize_row(x_hat[i], out[i], _norm_number(plan, layer, layout.EPS))
                plan.room[plan.row_inv_std + layer * plan.batch + first + i] = inv_std
            _activate_row(plan, layer, x_hat[i], out[i])
    if plan.dropout:
        # All rows at once: what is left over of a row does not fill a vector.
        drop(flat(out), stream, plan.keep_threshold, plan.keep_scale)
        skip_words(stream, 2 * (plan.batch - end) * d)


@part
def _standardize_and_activate(plan, member, layer, x_hat, out):
    """Batch normalization and relu of rows x (n, D_OUT) in out, which are overwritten; so is x_hat."""
    batchnorm_relu(
        out,
        x_hat,
        _own(plan, member, layer, layout.OWN_SHIFT),
        _own(plan, member, layer, layout.OWN_MEAN),
        _own(plan, member, layer, layout.OWN_INV_STD),
        _units(plan, plan.w, layer, layout.GAMMA),
        _units(plan, plan.w, layer, layout.BETA),
    )


@part
def _activate_row(plan, layer, x_hat, out):
    """Overwrites a row out (D_OUT,) with its relu; with layer normalization, with relu(gamma * x_hat + beta)."""
    if plan.norm != layout.NO_NORM:
        scale_and_shift(out, x_hat, _units(plan, plan.w, layer, layout.GAMMA), _units(plan, plan.w, layer, layout.BETA))
    rectify(out)


@part
def _merge_statistics(plan, member, layer):
    """The batch's statistics from those of the members' rows, each member for itself."""
    shift, mean = _own(plan, member, layer, layout.OWN_SHIFT), _own(plan, member, layer, layout.OWN_MEAN)
    # Until it is needed itself, inv_std is the room for the variance.
    inv_std = _own(plan, member, layer, layout.OWN_INV_STD)
    assign(shift, _exchanged(plan, 0, layer, layout.SHIFT))
    assign(mean, _exchanged(plan, 0, layer, layout.MEAN))
    assign(inv_std, _exchanged(plan, 0, layer, layout.VAR))
    for other in range(1, plan.members):
        first, end = _bounds(plan, other)
        merge_moments(
            mean,
            inv_std,
            shift,
            _exchanged(plan, other, layer, layout.MEAN),
            _exchanged(plan, other, layer, layout.VAR),
            _exchanged(plan, other, layer, layout.SHIFT),
            (end - first) / end,
        )
    if member == 0:
        move_running(
            _units(plan, plan.room, layer, layout.RUNNING_MEAN),
            _units(plan, plan.room, layer, layout.RUNNING_VAR),
            shift,
            mean,
            inv_std,
            _norm_number(plan, layer, layout.MOMENTUM),
        )
    inverse_std(inv_std, inv_std, _norm_number(plan, layer, layout.EPS))


@part
def _output_and_loss(plan, member, indices, y, step):
    """Scores, their gradient and its column sums for the member's rows; adds up the rows' losses."""
    layer = plan.depth - 1
    first, end = _bounds(plan, member)
    rows = end - first
    scores, dscores = _rows_of(plan, layer, layout.OUT, first, rows), _gradient_rows(plan, layer, first, rows)
    _affine_of_batch(plan, member, layer)
    loss = 0.0
    for i in range(rows):
        loss += softmax_row(dscores[i], scores[i], y[indices[first + i]], 1 / plan.batch)
    column_sums(_exchanged(plan, member, layer, layout.D_B), dscores)
    _sums(plan, member, step)[layout.LOSS] = loss


# -------------------------------------------------------------------------------------------------- backward


@part
def _back_to_hidden(plan, member, layer):
    """The member's rows of the gradient, from the layer's affine output back to the one before.

    Batch normalization stops half way, at its output: what follows needs all members' sums.
    """
    first, end = _bounds(plan, member)
    before, rows = layer - 1, end - first
    d, d_out = _entry(plan, layer, layout.D_IN), _entry(plan, layer, layout.D_OUT)
    dout, dx = _gradient_rows(plan, layer, first, rows), _gradient_rows(plan, before, first, rows)
    w, no_bias, panel = _weights(plan, layer), vector(plan.w, 0, 0), _panel(plan, member)
    multiply(rows, d, d_out, flat(dout), d_out, 1, w, 1, d_out, no_bias, flat(dx), d, panel, 0)

    out, x_hat = _rows_of(plan, before, layout.OUT, first, rows), _rows_of(plan, before, layout.X_HAT, first, rows)
    dgamma, dbeta = _exchanged(plan, member, before, layout.D_GAMMA), _exchanged(plan, member, before, layout.D_BETA)
    gamma = _units(plan, plan.w, before, layout.GAMMA)
    scale = dx.dtype.type(plan.keep_scale)
    db = _exchanged(plan, member, before, layout.D_B)
    if plan.norm == layout.NO_NORM:
        gate_rows(dx, out, scale, db)
    else:
        gate_normalized_rows(dx, out, x_hat, scale, dgamma, dbeta)
    if plan.norm == layout.LAYER_NORM:
        clear(db)
        for i in range(rows):
            inv_std = plan.room[plan.row_inv_std + before * plan.batch + first + i]
            layer_input_gradient(dx[i], x_hat[i], inv_std, gamma)
            add(db, dx[i])


@part
def _is_near(plan, member, layer):
    """Whether the member's rows of the layer's gradient stay in the second-level cache."""
    first, end = _bounds(plan, member)
    return (end - first) * _entry(plan, layer, layout.D_OUT) * plan.room.itemsize <= layout.NEAR


@part
def _back_through_batchnorm(plan, member, layer):
    """The member's rows of the gradient, from batch normalization's output back to its input."""
    first, end = _bounds(plan, member)
    rows = end - first
    dx, x_hat = _gradient_rows(plan, layer, first, rows), _rows_of(plan, layer, layout.X_HAT, first, rows)
    dgamma = _own(plan, member, layer, layout.OWN_D_GAMMA)
    dbeta = _own(plan, member, layer, layout.OWN_D_BETA)
    inv_std = _own(plan, member, layer, layout.OWN_INV_STD)
    _sum_over_members(dgamma, plan, layer, layout.D_GAMMA, 0)
    _sum_over_members(dbeta, plan, layer, layout.D_BETA, 0)
    gamma = _units(plan, plan.w, layer, layout.GAMMA)
    share = dx.dtype.type(1 / plan.batch)
    db = _exchanged(plan, member, layer, layout.D_B)
    batchnorm_gradient(dx, x_hat, dgamma, dbeta, inv_std, gamma, share, db)


@part
def _sum_over_members(total, plan, layer, row, start):
    """Overwrites total (n,) with the members' sums of a row of what they exchange, from column `start` on."""
    assign(total, vector(_exchanged(plan, 0, layer, row), start, total.size))
    for other in range(1, plan.members):
        add(total, vector(_exchanged(plan, other, layer, row), start, total.size))


# --------------------------------------------------------------------------------------------------- updates


@part
def _update_weights(plan, member, layer, step):
    """The member's share of the layer's weights takes a step; returns the sum of squares of the old ones.

    Their gradient is computed chunk by chunk and never stored as a whole.
    """
    d_in, d_out = _entry(plan, layer, layout.D_IN), _entry(plan, layer, layout.D_OUT)
    x, x_row = _input_rows(plan, layer, 0, plan.batch), _entry(plan, layer, layout.IN_ROW)
    dout = _gradient_rows(plan, layer, 0, plan.batch)
    first, end = _share(plan, member, d_in)
    chunk = _entry(plan, layer, layout.CHUNK_ROWS)
    no_bias, panel = vector(plan.w, 0, 0), _panel(plan, member)
    own, _ = _bounds(plan, member)
    squares = 0.0
    for k in range(first, end, chunk):
        rows = min(chunk, end - k)
        dw = vector(plan.room, plan.scratch + member * plan.scratch_size, rows * d_out)
        x_k = vector(x, k, x.size - k)
        if d_out <= _NARROW:
            multiply(d_out, rows, plan.batch, flat(dout), 1, d_out, x_k, x_row, 1, no_bias, dw, rows, panel, own)
            transposed, dw = dw, vector(panel, 0, rows * d_out)
            _copy_transposed(matrix(dw, 0, rows, d_out), matrix(transposed, 0, d_out, rows))
        else:
            multiply(rows, d_out, plan.batch, x_k, 1, x_row, flat(dout), d_out, 1, no_bias, dw, d_out, panel, own)
        start = _entry(plan, layer, layout.W) + k * d_out
        w = vector(plan.w, start, dw.size)
        if plan.reg != 0:
            squares += l2_span(dw, w, plan.reg)
        m, v = _moment(plan.m, start, dw.size), _moment(plan.v, start, dw.size)
        update_span(plan.rule, w, dw, m, v, _hyper(plan, layer, layout.HYPER_W), step, _corrections(plan, member))
    return squares


@part
def _update_units(plan, member, layer, step):
    """The member's share of the layer's bias, scale and shift takes a step."""
    d_out = _entry(plan, layer, layout.D_OUT)
    first, end = _share(plan, member, d_out)
    normalized = plan.norm != layout.NO_NORM and layer < plan.depth - 1
    for kind in range(3 if normalized else 1):
        row, column, hyper_row = layout.D_B, layout.B, layout.HYPER_B
        if kind == 1:
            row, column, hyper_row = layout.D_GAMMA, layout.GAMMA, layout.HYPER_GAMMA
        elif kind == 2:
            row, column, hyper_row = layout.D_BETA, layout.BETA, layout.HYPER_BETA
        dw = vector(plan.room, plan.scratch + member * plan.scratch_size, end - first)
        _sum_over_members(dw, plan, layer, row, first)
        start = _entry(plan, layer, column) + first
        w, m, v = vector(plan.w, start, dw.size), _moment(plan.m, start, dw.size), _moment(plan.v, start, dw.size)
        update_span(plan.rule, w, dw, m, v, _hyper(plan, layer, hyper_row), step, _corrections(plan, member))


@inline
def _copy_transposed(out, x):
    """Overwrites out (N, M) with x (M, N), transposed."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[j, i]


@part
def _moment(values, start, size):
    """(size,): a part of the rule's state, which is empty if the rule has none."""
    return vector(values, min(start, values.size), min(size, values.size))


@part
def _hyper(plan, layer, row):
    """(HYPER_COLUMNS,)"""
    start = plan.hyper + (layer * layout.HYPER_ROWS + row) * layout.HYPER_COLUMNS
    return vector(plan.numbers, start, layout.HYPER_COLUMNS)


@part
def _corrections(plan, member):
    """(CORRECTIONS,)"""
    return vector(plan.numbers, plan.corrections + member * layout.CORRECTIONS, layout.CORRECTIONS)


@inline
def update_span(rule, w, dw, m, v, hyper, step, corrections):
    """Every array (n,); hyper (HYPER_COLUMNS,) as before the first step of the call; corrections (CORRECTIONS,)."""
    rate, first, second = hyper[layout.LEARNING_RATE], hyper[layout.FIRST], hyper[layout.SECOND]
    epsilon = hyper[layout.EPSILON]
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
        if (
            corrections[layout.OF_T] != t
            or corrections[layout.OF_FIRST] != first
            or corrections[layout.OF_SECOND] != second
        ):
            corrections[layout.OF_FIRST], corrections[layout.OF_SECOND], corrections[layout.OF_T] = first, second, t
            corrections[layout.M_CORRECTION] = 1 / (1 - first**t)
            corrections[layout.V_CORRECTION] = 1 / (1 - second**t)
        m_correction, v_correction = corrections[layout.M_CORRECTION], corrections[layout.V_CORRECTION]
        shrinkage = rate * hyper[layout.WEIGHT_DECAY]
        adam_span(w, dw, m, v, rate, first, second, epsilon, m_correction, v_correction, shrinkage)


# ------------------------------------------------------------------------------------------------ evaluation


@linked(types.void, lambda dtype: (reference_to(Plan, dtype), types.int64, reference_to(Predictions, dtype)))
def predict_rows(plan, member, job):
    """Carry out some blocks of the member's share of a job."""
    plan = borrowed(plan)
    examples = borrowed(job.examples)
    job = borrowed(job)
    subset, count, predictions, scores = job.subset, job.count, job.predictions, flat(job.scores)
    last = plan.depth - 1
    first_row, end_row = _bounds(plan, member)
    if plan.norm == layout.BATCH_NORM:
        for layer in range(last):
            _use_running_statistics(plan, member, layer)
    block, end = end_row - first_row, count * (member + 1) // plan.members
    first = count * member // plan.members + job.first_block * block
    for start in range(first, min(first + job.blocks * block, end), block):
        rows = min(block, end - start)
        for i in range(rows):
            example = subset[start + i] if subset.size > 0 else start + i
            x = vector(plan.room, plan.x + (first_row + i) * _entry(plan, 0, layout.IN_ROW), plan.features)
            _fetch(plan, x, examples, example, 0)
        for layer in range(last):
            _hidden_test(plan, member, layer, first_row, rows)
        out = _rows_of(plan, last, layout.OUT, first_row, rows)
        _affine(plan, member, out, _input_rows(plan, last, first_row, rows), last)
        for i in range(rows):
            if predictions.size > 0:
                predictions[start + i] = _argmax(out[i])
            if scores.size > 0:
                classes = out.shape[1]
                row = vector(scores, (start + i) * classes, classes)
                if job.softmax:
                    softmax_scores(row, out[i])
                else:
                    assign(row, out[i])


@part
def _use_running_statistics(plan, member, layer):
    """Put the layer's running statistics where a batch's own would stand."""
    assign(_own(plan, member, layer, layout.OWN_SHIFT), _units(plan, plan.room, layer, layout.RUNNING_MEAN))
    clear(_own(plan, member, layer, layout.OWN_MEAN))
    running_var = _units(plan, plan.room, layer, layout.RUNNING_VAR)
    inverse_std(_own(plan, member, layer, layout.OWN_INV_STD), running_var, _norm_number(plan, layer, layout.EPS))


@part
def _hidden_test(plan, member, layer, first, rows):
    """Rows from `first` on through affine - norm - relu, in test mode."""
    x_hat, out = _rows_of(plan, layer, layout.X_HAT, first, rows), _rows_of(plan, layer, layout.OUT, first, rows)
    _affine(plan, member, out, _input_rows(plan, layer, first, rows), layer)
    if plan.norm == layout.BATCH_NORM:
        _standardize_and_activate(plan, member, layer, x_hat, out)
        return
    for i in range(rows):
        if plan.norm == layout.LAYER_NORM:
            standardize_row(x_hat[i], out[i], _norm_number(plan, layer, layout.EPS))
        _activate_row(plan, layer, x_hat[i], out[i])


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


# ---------------------------------------------------------------------------------------- what there is to run


def linked_kernel(name, dtype):
    """The :class:`fastfc.kernels._linked.Linked` of a name and a dtype."""
    if name == "product":
        return PRODUCTS[np.dtype(dtype)]
    return {"train_steps": train_steps, "backward": backward, "predict_rows": predict_rows}[name]


def callees(name):
    """The names of the kernels that a kernel calls, itself or through others."""
    product = ["product"] if vectors_supported() else []
    return {"train_steps": ["backward", *product]}.get(name, product)
