"""Update: gradients of a layer's parameters, and the rule that is applied to them.

The gradient of weights is computed chunk by chunk, and the rule applied to each chunk at once, so that
it never reaches memory as a whole. Of small networks, and of single units behind ReLU, each thread sums it over its
own rows, for all to add up.
A plan that stores gradients keeps them instead, and the rule is applied when all of them are there: what
looks at whole gradients stands between the two.
"""

import numpy as np

from fastfc.kernels.compiler.jit import glue, inline
from fastfc.kernels.loss import l2_chunk
from fastfc.kernels.lowering.math import add, assign, clear, clip, multiply_by, sum_of_squares
from fastfc.kernels.lowering.matmul import multiply
from fastfc.kernels.lowering.views import matrix, nth, vector
from fastfc.kernels.optim import apply_rule
from fastfc.ops.rules import MOST_HYPERPARAMETERS
from fastfc.training import memory
from fastfc.training.forward import group_of, input_rows, is_single, share_of, share_of_layer, sums_of


@glue
def publish_weight_gradient(plan, thread, index):
    """The gradient of a layer's weights from the thread's rows of the batch, for the others to add up."""
    layer, dW, rows = nth(plan.layers, index), nth(thread.shares, index).dW, thread.end - thread.first
    if rows == 0:
        clear(dW)
    else:
        dout = vector(layer.dout, thread.first * layer.d_out, rows * layer.d_out)
        _weight_gradient(thread, layer, dW, input_rows(layer, thread.first, rows), dout, layer.d_in, rows, 0)


@glue
def _weight_gradient(thread, layer, dw, x, dout, rows, batch, first):
    """Overwrites dw (rows, d_out) with x.T @ dout: x (batch, rows) lies in a layer's input, dout is (batch, d_out).

    The product begins with row `first` of the batch.
    """
    d_out, in_row, packing_buffer = layer.d_out, layer.in_row, thread.packing_buffer
    no_bias = vector(layer.b.value, 0, 0)
    if d_out <= memory.NARROW:
        transposed = vector(thread.gradient_chunk, 0, rows * d_out)
        multiply(
            d_out, rows, batch, dout, 1, d_out, x, in_row, 1, no_bias, transposed, rows, packing_buffer, first,
            False,
        )  # fmt: skip
        _copy_transposed(matrix(dw, 0, rows, d_out), matrix(transposed, 0, d_out, rows))
    else:
        multiply(rows, d_out, batch, x, 1, in_row, dout, d_out, 1, no_bias, dw, d_out, packing_buffer, first, False)


@glue
def update_weights(plan, thread, index, step):
    """The thread's share of a layer's weights takes a step; returns the sum of squares of the old ones."""
    layer, squares = nth(plan.layers, index), 0.0
    W, d_out = layer.W, layer.d_out
    x, dout = input_rows(layer, 0, plan.batch), layer.dout
    first, end = share_of(plan, thread, layer.d_in)
    hyper, reg = _hyperparameters(thread, index, memory.WEIGHTS), sums_of(thread, step)[memory.REG]
    for k in range(first, end, layer.chunk_rows):
        rows = min(layer.chunk_rows, end - k)
        start, size = k * d_out, rows * d_out
        dw = _place_of_gradient(plan, thread, W, start, size)
        if plan.gradients_by_rows or is_single(plan, index):
            assign(dw, vector(share_of_layer(plan, 0, index).dW, start, size))
            for other in range(1, plan.num_threads):
                add(dw, vector(share_of_layer(plan, other, index).dW, start, size))
        else:
            if d_out <= memory.NARROW and not plan.stores_gradients:
                # The usual place has the transposed gradient.
                dw = vector(thread.packing_buffer, 0, size)
            # The product begins with the rows of the batch that this thread's processor has.
            _weight_gradient(thread, layer, dw, vector(x, k, x.size - k), dout, rows, plan.batch, thread.first)
        if reg != 0:
            squares += l2_chunk(dw, vector(W.value, start, size), reg)
        if not plan.stores_gradients:
            update_chunk(plan, thread, W, dw, start, hyper, step)
    return squares


@glue
def update_units(plan, thread, index, step):
    """The thread's share of a layer's bias, scale and shift takes a step."""
    layer = nth(plan.layers, index)
    first, end = share_of(plan, thread, layer.d_out)
    for kind in range(memory.BIAS, memory.SHIFT + 1 if layer.gamma.value.size > 0 else memory.SCALE):
        parameter = _parameter(layer, kind)
        gradient = _place_of_gradient(plan, thread, parameter, first, end - first)
        assign(gradient, vector(_published(plan, 0, index, kind), first, gradient.size))
        for other in range(1, plan.num_threads):
            add(gradient, vector(_published(plan, other, index, kind), first, gradient.size))
        if not plan.stores_gradients:
            update_chunk(plan, thread, parameter, gradient, first, _hyperparameters(thread, index, kind), step)


@glue
def _parameter(layer, kind):
    """A layer's parameter, by its place in PARAMETERS."""
    if kind == memory.WEIGHTS:
        return layer.W
    if kind == memory.BIAS:
        return layer.b
    return layer.gamma if kind == memory.SCALE else layer.beta


@glue
def _hyperparameters(thread, index, kind):
    """(MOST_HYPERPARAMETERS,): of a layer's parameter, as the thread has them."""
    start = (index * len(memory.PARAMETERS) + kind) * MOST_HYPERPARAMETERS
    return vector(thread.hyperparameters, start, MOST_HYPERPARAMETERS)


@glue
def _published(plan, thread, index, kind):
    """(d_out,): a thread's sums for the gradient of a layer's bias, scale or shift."""
    share = share_of_layer(plan, thread, index)
    if kind == memory.BIAS:
        return share.db
    return share.dgamma if kind == memory.SCALE else share.dbeta


@glue
def _place_of_gradient(plan, thread, parameter, start, size):
    """(size,): where the gradient of a part of a parameter is computed."""
    if plan.stores_gradients:
        return vector(parameter.gradient, start, size)
    return vector(thread.gradient_chunk, 0, size)


@glue
def publish_gradient_norm(plan, thread, step):
    """The squares of the thread's share of all gradients, for the others to add up."""
    squares = 0.0
    for index in range(plan.depth):
        for kind in range(memory.SHIFT + 1):
            gradient = _parameter(nth(plan.layers, index), kind).gradient
            first, end = share_of(plan, thread, gradient.size)
            squares += sum_of_squares(vector(gradient, first, end - first))
    sums_of(thread, step)[memory.GRADIENT_SQUARES] = squares


@glue
def begin_batch(thread, steps, place):
    """Tell the thread where a batch, which has a place in its epoch, stands in its group."""
    group, before, size = group_of(thread), place % steps.accumulate, steps.accumulate
    if before == 0:
        group[memory.GROUP_WEIGHT] = 0
    group[memory.GROUP_BATCHES] = min(size, steps.epoch - (place - before))
    group[memory.GROUP_ENDS] = 1 if before + 1 == group[memory.GROUP_BATCHES] else 0


@glue
def accumulate_gradients(plan, thread, step):
    """The thread's share of all gradients, of this batch, joins that of its group, whose mean they are at its end."""
    first, end = share_of(plan, thread, plan.gradients.size)
    gradients, sums = vector(plan.gradients, first, end - first), vector(plan.accumulated, first, end - first)
    group, weight = group_of(thread), sums_of(thread, step)[memory.WEIGHT]
    group[memory.GROUP_WEIGHT] += weight
    if group[memory.GROUP_ENDS] == 0:
        add_product(sums, gradients, weight)
    else:
        total = group[memory.GROUP_WEIGHT]
        take_mean(gradients, sums, weight, 1 / total if total != 0 else 0.0)


@inline
def add_product(sums, x, weight):
    """Adds weight * x to sums (n,)."""
    weight = x.dtype.type(weight)
    for i in range(x.size):
        sums[i] += weight * x[i]


@inline
def take_mean(x, sums, weight, factor):
    """Overwrites x (n,) with factor * (sums + weight * x), and sums with zeros."""
    weight, factor = x.dtype.type(weight), x.dtype.type(factor)
    for i in range(x.size):
        x[i] = factor * (sums[i] + weight * x[i])
        sums[i] = 0


@glue
def _clipping_factor(plan, step):
    """By which gradients are multiplied for their norm to be at most `max_norm`; 1 for a norm that is not finite."""
    if plan.max_norm == 0:
        return 1.0
    squares = 0.0
    for other in range(plan.num_threads):
        squares += sums_of(nth(plan.threads, other), step)[memory.GRADIENT_SQUARES]
    norm = np.sqrt(squares)
    return plan.max_norm / norm if norm > plan.max_norm and np.isfinite(norm) else 1.0


@glue
def update_from_gradients(plan, thread, step, update):
    """The thread's share of every parameter takes a step by its stored gradient, after `update` others in this call."""
    factor = _clipping_factor(plan, step)
    for index in range(plan.depth):
        for kind in range(memory.SHIFT + 1):
            layer = nth(plan.layers, index)
            parameter = _parameter(layer, kind)
            # The parts are those in which the gradient was computed: rows of weights, or units. Vectors of
            # estimated quotients then begin where they would have begun without the storing.
            count, width, rows = layer.d_in, layer.d_out, layer.chunk_rows
            if kind != memory.WEIGHTS:
                count, width, rows = parameter.value.size, 1, layer.d_out
            first, end = share_of(plan, thread, count)
            for k in range(first, end, rows):
                size = min(rows, end - k) * width
                gradient = vector(parameter.gradient, k * width, size)
                if factor != 1:
                    multiply_by(gradient, factor)
                update_chunk(
                    plan, thread, parameter, gradient, k * width, _hyperparameters(thread, index, kind), update
                )


@inline
def _copy_transposed(out, x):
    """Overwrites out (N, M) with x (M, N), transposed."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[j, i]


@glue
def update_chunk(plan, thread, parameter, dw, start, hyper, step):
    """Applies the rule to the part of a parameter whose gradient is dw (n,)."""
    if plan.max_value != 0:
        clip(dw, plan.max_value)
    w = vector(parameter.value, start, dw.size)
    first = min(start, parameter.state.size)
    state = vector(parameter.state, first, parameter.state.size - first)
    apply_rule(plan.rule, w, dw, state, plan.stride, hyper, step, thread.notes)
