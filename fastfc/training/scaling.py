"""Scaling: factors of the features that a training learns beside the parameters.

A kernel by itself, which only trainings that have such factors call.
"""

import numpy as np
from numba.core import types

from fastfc.kernels.affine import column_sums
from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.compiler.standalone import Alternatives
from fastfc.kernels.lowering.views import borrowed, matrix, nth, reference_to, vector
from fastfc.kernels.optim import apply_rule
from fastfc.training.entry import input_gradient
from fastfc.training.memory import Plan, Scaling
from fastfc.training.update import update_from_gradients


def _kinds(dtype):
    return reference_to(Plan, dtype), types.int64, reference_to(Scaling, dtype), types.int64


def learn_scale(plan, number, scaling, step):
    """All parameters and the features' factors take a step, by gradients that the way back has stored.

    The batch is the examples times the factors: their gradient is the sum over the rows of the batch's times the
    examples themselves.
    """
    plan = borrowed(plan)
    thread = borrowed(nth(plan.threads, number))
    scaling = borrowed(scaling)
    d = plan.features
    # before the weights change
    dx = vector(scaling.products, 0, plan.batch * d)
    input_gradient(plan, thread, dx)
    for i in range(plan.batch):
        _multiply_row(vector(dx, i * d, d), vector(scaling.X, thread.indices[i] * d, d))
    column_sums(scaling.gradient, matrix(dx, 0, plan.batch, d))
    update_from_gradients(plan, thread, step, step)
    factor = scaling.rates[step] if scaling.rates.size > 0 else 1.0
    scaling.hyperparameters[0] = scaling.rate * factor
    apply_rule(
        plan.rule, scaling.scale, scaling.gradient, scaling.state, np.int64(d), scaling.hyperparameters, step,
        thread.notes,
    )  # fmt: skip


@inline
def _multiply_row(out, x):
    """Multiplies out (n,) by x (n,)."""
    for j in range(out.size):
        out[j] *= x[j]


#: The kernel, which a training chooses by its address.
SCALINGS = Alternatives(types.void, _kinds, {"learn_scale": learn_scale})
call_learn_scale = SCALINGS.caller()
