"""Entry points for somebody else's loop: the passes of a training step, each a kernel that Python calls.

They work on a plan with one thread that stores gradients and does not update. The caller has put the batch into the
first layer's input, and the gradient of the scores where the last layer has it; it finds the scores in the last
layer's output.
"""

from numba.core import types

from fastfc.kernels.compiler.jit import glue
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.lowering.denormals import flush_denormals, restore
from fastfc.kernels.lowering.matmul import multiply
from fastfc.kernels.lowering.views import borrowed, nth, reference_to, vector
from fastfc.training import memory
from fastfc.training.backward import call_backward
from fastfc.training.forward import (
    affine_of_batch,
    hidden_layers,
    rows_of,
    sums_of,
)
from fastfc.training.memory import Call, Plan
from fastfc.training.passes import column_sums
from fastfc.training.update import publish_gradient_norm, update_from_gradients


def _kinds(dtype):
    return reference_to(Plan, dtype), types.int64, reference_to(Call, dtype)


@standalone(types.void, _kinds)
def forward_rows(plan, thread, call):
    """The batch through the network in training mode; what the way back needs stays in the plan."""
    control = flush_denormals()
    _forward_rows(plan, thread)
    restore(control)


@glue
def _forward_rows(plan, number):
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, number))
    hidden_layers(plan, thread)
    affine_of_batch(plan, thread, plan.depth - 1)


@standalone(types.void, _kinds)
def backward_from(plan, thread, call):
    """From the gradient of the scores to every parameter's, and to that of the batch if it is asked for."""
    control = flush_denormals()
    _begin_backward(plan, thread)
    call_backward((plan, thread, 0))
    _input_gradient(plan, thread, call)
    restore(control)


@glue
def _begin_backward(plan, number):
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, number))
    layer = nth(plan.layers, plan.depth - 1)
    sums_of(thread, 0)[memory.REG] = plan.reg
    column_sums(nth(thread.shares, plan.depth - 1).db, rows_of(layer.dout, 0, plan.batch, layer.d_out))


@glue
def _input_gradient(plan, number, call):
    """Overwrites the call's input_gradient (n, features), if it has one."""
    plan = borrowed(plan)
    call = borrowed(call)
    if call.input_gradient.size > 0:
        input_gradient(plan, borrowed(nth(plan.threads, number)), call.input_gradient)


@glue
def input_gradient(plan, thread, dx):
    """Overwrites dx (n * features,), the gradient of the batch, with the first layer's dout @ W.T; in one thread."""
    layer = nth(plan.layers, 0)
    d, d_out, W = layer.d_in, layer.d_out, layer.W.value
    multiply(
        plan.batch, d, d_out, layer.dout, d_out, 1, W, 1, d_out, vector(W, 0, 0), dx, d, thread.packing_buffer, 0,
        False,
    )  # fmt: skip


@standalone(types.void, _kinds)
def apply_update(plan, thread, call):
    """Every parameter takes a step by its stored gradient, which is clipped first if the plan says so."""
    control = flush_denormals()
    _apply_update(plan, thread, call)
    restore(control)


@glue
def _apply_update(plan, number, call):
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, number))
    call = borrowed(call)
    if plan.max_norm != 0:
        publish_gradient_norm(plan, thread, call.step)
    update_from_gradients(plan, thread, call.step, call.step)


@standalone(types.void, _kinds)
def average_parameters(plan, thread, call):
    """Overwrites params (n,) with ``(1 - tau) * params + tau * other_params``."""
    control = flush_denormals()
    _average_parameters(call)
    restore(control)


@glue
def _average_parameters(call):
    call = borrowed(call)
    params, others = call.params, call.other_params
    tau, rest = params.dtype.type(call.tau), params.dtype.type(1 - call.tau)
    for i in range(params.size):
        params[i] = rest * params[i] + tau * others[i]
