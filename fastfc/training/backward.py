"""Backward: from the gradient of the scores to every parameter's, and its update on the way."""

import numpy as np
from numba.core import types

from fastfc.kernels.compiler.jit import glue
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.lowering.barrier import barrier_wait
from fastfc.kernels.lowering.math import add, assign, clear
from fastfc.kernels.lowering.matmul import multiply
from fastfc.kernels.lowering.views import borrowed, flat, nth, reference_to, vector
from fastfc.kernels.norm import layer_input_gradient
from fastfc.training import memory
from fastfc.training.forward import group_of, is_single, rows_of, share_of_layer, sums_of
from fastfc.training.memory import Plan
from fastfc.training.passes import (
    batchnorm_gradient,
    relu_dropout_backward,
    relu_dropout_norm_backward,
    single_relu_dropout_backward,
    slope_backward,
    slope_norm_backward,
)
from fastfc.training.update import (
    accumulate_gradients,
    publish_gradient_norm,
    publish_weight_gradient,
    update_from_gradients,
    update_units,
    update_weights,
)


@standalone(types.boolean, lambda dtype: (reference_to(Plan, dtype), types.int64, types.int64))
def backward(plan, thread, step):
    """A step from the gradient of the scores on: every parameter is new after it; False if the team was dismissed.

    With a plan that does not update, it ends when all gradients are stored.

    A kernel by itself, for two processes to compile a training step side by side.
    """
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, thread))
    squares = 0.0
    if plan.gradients_by_rows:
        for index in range(plan.depth - 1, -1, -1):
            if index > 0:
                back_to_hidden(plan, thread, index)
            if not is_single(plan, index):
                publish_weight_gradient(plan, thread, index)
    for index in range(plan.depth - 1, -1, -1):
        if index > 0 and not plan.gradients_by_rows:
            back_to_hidden(plan, thread, index)
        # everybody has read the layer's weights, and every row of its gradient is there
        is_first = index == plan.depth - 1
        if (is_first or not plan.gradients_by_rows) and not barrier_wait(plan.barrier, plan.num_threads):
            return False
        normalized = index > 0 and plan.norm == memory.BATCH_NORM
        # Rows that are in a near cache are best taken at once, others just before their product.
        near = normalized and _is_near(plan, thread, index - 1)
        if near:
            back_through_batchnorm(plan, thread, index - 1)
        squares += update_weights(plan, thread, index, step)
        update_units(plan, thread, index, step)
        if normalized and not near:
            back_through_batchnorm(plan, thread, index - 1)
    sums_of(thread, step)[memory.SQUARES] = squares
    if plan.stores_gradients and plan.updates:
        if not barrier_wait(plan.barrier, plan.num_threads):
            return False
        # Rules that correct their moments count updates.
        update = step
        if plan.accumulated.size > 0:
            accumulate_gradients(plan, thread, step)
            group = group_of(thread)
            if group[memory.GROUP_ENDS] == 0:
                return True
            update = np.int64(group[memory.GROUP_UPDATES])
            group[memory.GROUP_UPDATES] += 1
            if not barrier_wait(plan.barrier, plan.num_threads):
                return False
        if plan.max_norm != 0:
            publish_gradient_norm(plan, thread, step)
            if not barrier_wait(plan.barrier, plan.num_threads):
                return False
        update_from_gradients(plan, thread, step, update)
    return True


call_backward = backward.caller(lambda plan, *_: np.dtype(plan.dtype.name))


@glue
def back_to_hidden(plan, thread, index):
    """The thread's rows of the gradient, from the layer's affine output back to the one before.

    Batch normalization stops half way, at its output: what follows needs all threads' sums. A single unit's weights
    get their gradient here too.
    """
    layer, before, share = nth(plan.layers, index), nth(plan.layers, index - 1), nth(thread.shares, index - 1)
    first, rows, d, d_out = thread.first, thread.end - thread.first, layer.d_in, layer.d_out
    dout, dx = rows_of(layer.dout, first, rows, d_out), rows_of(before.dout, first, rows, d)
    W, no_bias = layer.W.value, vector(layer.b.value, 0, 0)
    if is_single(plan, index):
        out, scale = rows_of(before.out, first, rows, d), dx.dtype.type(plan.keep_scale)
        dW = nth(thread.shares, index).dW
        single_relu_dropout_backward(dx, out, flat(dout), W, scale, share.db, dW)
        return
    multiply(rows, d, d_out, flat(dout), d_out, 1, W, 1, d_out, no_bias, flat(dx), d, thread.packing_buffer, 0, False)

    out, x_hat = rows_of(before.out, first, rows, d), rows_of(before.x_hat, first, rows, d)
    if plan.activation == memory.RELU:
        scale = dx.dtype.type(plan.keep_scale)
        if plan.norm == memory.NO_NORM:
            relu_dropout_backward(dx, out, scale, share.db)
        else:
            relu_dropout_norm_backward(dx, out, x_hat, scale, share.dgamma, share.dbeta)
    else:
        slope = rows_of(before.slope, first, rows, d)
        if plan.norm == memory.NO_NORM:
            slope_backward(dx, slope, share.db)
        else:
            slope_norm_backward(dx, slope, x_hat, share.dgamma, share.dbeta)
    if plan.norm == memory.LAYER_NORM:
        clear(share.db)
        for i in range(rows):
            layer_input_gradient(dx[i], x_hat[i], before.row_inv_std[first + i], before.gamma.value)
            add(share.db, dx[i])


@glue
def _is_near(plan, thread, index):
    """Whether the thread's rows of a layer's gradient stay in the second-level cache."""
    layer = nth(plan.layers, index)
    return (thread.end - thread.first) * layer.d_out * layer.dout.itemsize <= memory.NEAR


@glue
def back_through_batchnorm(plan, thread, index):
    """The thread's rows of the gradient, from batch normalization's output back to its input."""
    layer, share, rows = nth(plan.layers, index), nth(thread.shares, index), thread.end - thread.first
    dx = rows_of(layer.dout, thread.first, rows, layer.d_out)
    x_hat = rows_of(layer.x_hat, thread.first, rows, layer.d_out)
    dgamma, dbeta = share.batch_dgamma, share.batch_dbeta
    assign(dgamma, share_of_layer(plan, 0, index).dgamma)
    assign(dbeta, share_of_layer(plan, 0, index).dbeta)
    for other in range(1, plan.num_threads):
        add(dgamma, share_of_layer(plan, other, index).dgamma)
        add(dbeta, share_of_layer(plan, other, index).dbeta)
    share_of_rows = dx.dtype.type(1 / plan.batch)
    batchnorm_gradient(
        dx, x_hat, dgamma, dbeta, share.batch_inv_std, layer.gamma.value, share_of_rows, share.db
    )  # fmt: skip
