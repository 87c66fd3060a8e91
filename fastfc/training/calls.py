"""Calls of single passes, for somebody else's loop: their memory, and the records that compiled code reads."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastfc._runtime.constants import keep_threshold
from fastfc._runtime.record import Table
from fastfc.params import FlatParameters, aligned_zeros
from fastfc.training.compiling import address, kernel
from fastfc.training.job import NO_INTEGERS
from fastfc.training.memory import DROPOUT, Call, Plan, Predictions, Thread
from fastfc.training.network import Network
from fastfc.training.parts import ALL_BLOCKS
from fastfc.training.plan import chosen_for_scores, examples_of, make_plan, parameters_of, set_kernels, shortened
from fastfc.training.statistics import complete_statistics

__all__ = ["FEW_ROWS", "Calls", "Inference", "Pass", "new_call", "plan_of", "plan_of_rows"]

#: Rows up to which scores in test mode take memory that is kept.
FEW_ROWS = 64
# Numbers of rows whose records are kept, in the same memory.
_KEPT_SIZES = 32


class Pass(NamedTuple):
    """Training passes of some number of rows n."""

    plan: Plan
    call: Call  # with the gradient of the batch
    call_without: Call
    forward: Callable[..., None]
    backward: Callable[..., None]
    x: np.ndarray  # (n, features)
    scores: np.ndarray  # (n, outputs)
    dscores: np.ndarray  # (n, outputs)
    dx: np.ndarray  # (n, features)


class Inference(NamedTuple):
    """Passes of up to some number of rows in test mode."""

    plan: Plan
    job: Predictions
    run: Callable[..., None]
    x: np.ndarray  # (rows, features)
    scores: np.ndarray  # (rows, outputs)


class Calls:
    """The memory of a network's passes.

    Parameters
    ----------
    net : Network
        Its ``bn_params`` are completed, with running statistics of its own.
    grads : FlatParameters
        Where gradients are stored.
    stream : array (STREAM,)
        The random words that dropout is drawn from.

    Attributes
    ----------
    keep : float
        Dropout's probability to keep a value.
    passes : dict of int to Pass
        By their number of rows; what is missing, :meth:`new_pass` adds.
    """

    def __init__(self, net: Network, grads: FlatParameters, stream: np.ndarray) -> None:
        complete_statistics(net)
        self.keep = float(net.dropout_param["p"]) if net.use_dropout and len(net.dims) > 2 else 1.0
        self.passes = dict[int, Pass]()
        self._net, self._grads, self._stream = net, grads, stream
        self._dtype, self._features, self._outputs = grads.dtype, net.dims[0], net.dims[-1]
        self._chosen = chosen_for_scores(net)
        # The plan for the largest batch so far, and the place of that batch's gradient.
        self._whole: Plan | None = None
        self._dx = np.zeros(0, self._dtype)
        self._few: Inference | None = None
        self._averaging: Call | None = None

    def new_pass(self, n: int) -> Pass:
        """Training passes of n rows, in the memory of the largest batch so far."""
        chosen = (*self._chosen, DROPOUT) if self.keep < 1 else self._chosen
        forward = kernel("forward_rows", self._dtype, chosen)
        whole, features, outputs = self._whole, self._features, self._outputs
        if whole is None or n > whole.batch:
            # Batches that grow row by row take new memory a few times only.
            whole = self._whole = self._plan(n if whole is None else max(n, 2 * whole.batch))
            self._dx = aligned_zeros(whole.batch * features, self._dtype)
            self.passes.clear()
        elif len(self.passes) >= _KEPT_SIZES:
            self.passes.clear()
        plan = shortened(whole, n)
        first, last, dx = plan.layers[0], plan.layers[-1], self._dx[: n * features]
        made = self.passes[n] = Pass(
            plan,
            new_call(self._dtype, input_gradient=dx),
            new_call(self._dtype),
            forward,
            kernel("backward_from", self._dtype),
            first.x[: n * first.in_row].reshape(n, first.in_row)[:, :features],
            last.out[: n * outputs].reshape(n, outputs),
            last.dout[: n * outputs].reshape(n, outputs),
            dx.reshape(n, features),
        )
        return made

    def inference(self, rows: int) -> Inference:
        """Passes of up to some rows in test mode, in memory of their own."""
        run = kernel("predict_rows", self._dtype, self._chosen)
        x = aligned_zeros(rows * self._features, self._dtype).reshape(rows, self._features)
        scores = aligned_zeros(rows * self._outputs, self._dtype).reshape(rows, self._outputs)
        job = Predictions(
            self._dtype, examples=examples_of(x, self._dtype), subset=NO_INTEGERS, count=rows, softmax=False,
            predictions=NO_INTEGERS, scores=scores, **ALL_BLOCKS,
        )  # fmt: skip
        return Inference(self._plan(rows), job, run, x, scores)

    def few_scores(self, x: np.ndarray) -> np.ndarray:
        """Scores in test mode of at most `FEW_ROWS` rows x (n, features)."""
        if self._few is None:
            self._few = self.inference(FEW_ROWS)
        plan, job, run, into, scores = self._few
        n = job.count = len(x)
        into[:n] = x
        run(plan, 0, job)
        return scores[:n].copy()

    def average(self, others: np.ndarray, tau: float) -> None:
        """``params = (1 - tau) * params + tau * others``, for the flat parameters of another network."""
        call = self._averaging = self._averaging or new_call(self._dtype, params=self._net.params.flat)
        call.other_params, call.tau = others, tau
        kernel("average_parameters", self._dtype)(None, 0, call)

    def _plan(self, rows: int) -> Plan:
        """A plan on the network's own statistics and stream."""
        plan = plan_of(self._net, self._grads, rows)
        set_kernels(plan, self._net)
        plan.dropout = address(DROPOUT, self._dtype) if self.keep < 1 else 0
        plan.keep_threshold, plan.keep_scale = keep_threshold(self.keep), 1 / self.keep
        # Whoever calls does it.
        plan.standardized = False
        plan.threads[0].stream = self._stream
        for layer, param in zip(plan.layers, self._net.bn_params, strict=False):
            layer.eps = param["eps"]
            if self._net.normalization == "batchnorm":
                layer.momentum = param["momentum"]
                layer.running_mean, layer.running_var = param["running_mean"], param["running_var"]
        return plan


def plan_of(net: Network, grads: FlatParameters, rows: int, rule: Callable[..., Any] | None = None) -> Plan:
    """A plan for some rows and one thread that stores gradients in `grads`, and does not update by itself."""
    plan = make_plan(net, rows, 1, rule, stores_gradients=True)
    plan.updates = False
    for name, parameter in parameters_of(plan, net):
        parameter.gradient = grads[name].reshape(-1)
    return plan


def plan_of_rows(plan: Plan, thread: int) -> Plan:
    """A plan for the rows of one of a plan's threads as a batch of their own, in the same memory, with one thread.

    It stores gradients, and does not update by itself.
    """
    own = plan.threads[thread]
    first, rows = own.first, own.end - own.first

    def of_rows(values: np.ndarray, width: int) -> np.ndarray:
        return values[first * width : (first + rows) * width]

    layers = plan.layers.changed(
        {
            "x": of_rows(layer.x, layer.in_row),
            **{name: of_rows(getattr(layer, name), layer.d_out) for name in ("x_hat", "out", "slope", "dout")},
            "row_inv_std": of_rows(layer.row_inv_std, 1),
        }
        for layer in plan.layers
    )
    threads = [{**own.attributes(), "index": 0, "first": 0, "end": rows}]
    return plan.changed(
        batch=rows,
        num_threads=1,
        by_features=False,
        gradients_by_rows=False,
        stores_gradients=True,
        updates=False,
        layers=layers,
        threads=Table(Thread, plan.dtype, threads),
    )


def new_call(dtype: np.dtype, **given: Any) -> Call:
    """A call; an attribute of :class:`fastfc.training.memory.Call` that is not given is none."""
    nothing = np.zeros(0, dtype)
    values: Mapping[str, Any] = {
        "input_gradient": nothing, "step": 0, "params": nothing, "other_params": nothing, "tau": 0.0
    }  # fmt: skip
    return Call(dtype, **{**values, **given})
