"""Parts of a training step whose batch is spread over several processes, each a kernel that Python calls.

Between two of them Python has the processes exchange what the next one needs. The plan is that of the whole batch, with
as many threads as there are processes: each process is one of them, and has memory for the others' sums. So random
streams, rows and the order of sums are those of threads. What needs no row of the others works on a plan of the
process's own rows, see :func:`fastfc.training.calls.plan_of_rows`.
"""

from numba.core import types

from fastfc.kernels.compiler.jit import glue
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.lowering.denormals import flush_denormals, restore
from fastfc.kernels.lowering.random import choose
from fastfc.kernels.lowering.views import borrowed, nth, reference_to
from fastfc.training import memory
from fastfc.training.backward import back_through_batchnorm, back_to_hidden
from fastfc.training.forward import (
    affine_of_batch,
    fetch_batch,
    hidden_output,
    merge_statistics,
    output_and_loss,
    publish_statistics,
    sums_of,
)
from fastfc.training.memory import Plan, StepPart
from fastfc.training.update import update_units, update_weights


def _kinds(dtype):
    return reference_to(Plan, dtype), types.int64, reference_to(StepPart, dtype)


@standalone(types.void, _kinds)
def forward_part(plan, thread, part):
    """The process's rows from a layer on: up to the next layer's statistics, or to the loss.

    From layer 0 on, the batch is drawn first; from another one on, all statistics of the layer before are there.
    """
    control = flush_denormals()
    _forward_part(plan, thread, part)
    restore(control)


@glue
def _forward_part(whole, number, part):
    plan = borrowed(whole)
    thread = borrowed(nth(plan.threads, number))
    steps = borrowed(part.steps)
    index = borrowed(part).layer
    if index == 0:
        sums_of(thread, 0)[memory.SQUARES] = 0
        choose(thread.indices, thread.stream, steps.count)
        fetch_batch(whole, plan, thread, steps.examples)
    else:
        merge_statistics(plan, thread, index - 1)
        hidden_output(plan, thread, index - 1)
    while index < plan.depth - 1:
        affine_of_batch(plan, thread, index)
        if plan.norm == memory.BATCH_NORM:
            publish_statistics(thread, nth(plan.layers, index), nth(thread.shares, index))
            return
        hidden_output(plan, thread, index)
        index += 1
    sums_of(thread, 0)[memory.LOSS] = output_and_loss(plan, thread, steps, 0)


@standalone(types.void, _kinds)
def backward_part(plan, thread, part):
    """The process's rows from a layer's gradient back: down to the sums of the next layer's, or to the first layer.

    It stores the gradients of the layers that it passes, of the process's rows. Of a layer with batch normalization
    the sums of all processes are there before it.
    """
    control = flush_denormals()
    _backward_part(plan, thread, part)
    restore(control)


@glue
def _backward_part(plan, number, part):
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, number))
    own = borrowed(part.own)
    own_thread = borrowed(nth(own.threads, 0))
    index = borrowed(part).layer
    squares = 0.0
    while index >= 0:
        if plan.norm == memory.BATCH_NORM and index < plan.depth - 1:
            back_through_batchnorm(plan, thread, index)
        if index > 0:
            back_to_hidden(own, own_thread, index)
        squares += update_weights(own, own_thread, index, 0)
        update_units(own, own_thread, index, 0)
        index -= 1
        if plan.norm == memory.BATCH_NORM:
            break
    sums_of(thread, 0)[memory.SQUARES] += squares
