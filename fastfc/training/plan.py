"""Making the memory of a run: from a network, its rule and its data to records and buffers."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from fastfc import optim
from fastfc._arguments import checked_reg
from fastfc._layer_arguments import checked_dropout_param
from fastfc._runtime.constants import keep_threshold
from fastfc._runtime.record import Buffer, Table
from fastfc._runtime.team import new_barrier
from fastfc.ops import rules
from fastfc.ops.activations import ACTIVATIONS
from fastfc.ops.losses import LOSSES
from fastfc.ops.rules import MOST_HYPERPARAMETERS, Rule
from fastfc.params import aligned_zeros
from fastfc.training.compiling import address
from fastfc.training.layout import layout, parts_of
from fastfc.training.memory import (
    DROPOUT,
    KINDS,
    NORMS,
    PARAMETERS,
    RELU,
    Examples,
    Layer,
    Parameter,
    Plan,
    Share,
    Thread,
)
from fastfc.training.network import Network
from fastfc.training.splitting import splits_features, sums_gradients_by_rows

#: The functions by which Solvers know the package's rules -> their records.
RULES: dict[Callable, Rule] = {getattr(optim, name): rule for name, rule in rules.RULES.items()}

_ADJACENT = _NO_ORDER = np.zeros(0, np.int64)


def make_plan(
    model: Network,
    batch: int,
    threads: int,
    rule: Callable | None = None,
    barrier: np.ndarray | None = None,
    stores_gradients: bool = False,
    accumulates: bool = False,
) -> Plan:
    """Allocate a run of `model` on batches of `batch` rows, split among `threads`.

    One that accumulates gradients of several batches stores them.

    The parameters are the model's own; the rule's state, hyperparameters, statistics and
    random stream are zeros, to be filled in. There is neither dropout nor an L2 penalty before
    :func:`set_training_options`, and nothing may run it before :func:`set_kernels`. Without a rule it cannot update.
    """
    dtype, dims = np.dtype(model.dtype), tuple(model.dims)
    depth, widths = len(dims) - 1, dims[1:]
    by_features = splits_features(batch, dims, threads)
    by_rows = sums_gradients_by_rows(model, batch, threads) and not by_features
    normalized, sloped = model.normalization is not None, model.activation != "relu"
    of = layout(dims, dtype, batch, threads, normalized, sloped, by_features, by_rows)
    real, scratch, word, float64, integer = (parts_of(space) for space in of.spaces)

    stores_gradients = stores_gradients or accumulates
    gradients_of_all = aligned_zeros(model.params.flat.size if stores_gradients else 0, dtype)
    parameters = _parameters(model, rule, gradients_of_all)
    outputs = [real[i] for i in of.out]
    layers = Table(
        Layer,
        dtype,
        [
            {
                "d_in": dims[i],
                "d_out": d,
                "in_row": of.x_row if i == 0 else dims[i],
                "chunk_rows": of.chunk_rows[i],
                **parameters[i],
                "x": real[of.x] if i == 0 else outputs[i - 1],
                "x_hat": real[of.x_hat[i]] if normalized and i < depth - 1 else outputs[i],
                "out": outputs[i],
                "slope": real[of.slope[i]],
                "dout": (*real[of.gradients[i % len(of.gradients)]][:3], batch * d),
                "row_inv_std": real[of.row_inv_std[i]],
                "running_mean": real[of.running[i][0]],
                "running_var": real[of.running[i][1]],
                "eps": 0,
                "momentum": 0,
            }
            for i, d in enumerate(widths)
        ],
    )
    rows = [batch * t // threads for t in range(threads + 1)]
    of_threads = Table(
        Thread,
        dtype,
        [
            {
                "index": t,
                "first": rows[t],
                "end": rows[t + 1],
                "indices": integer[of.indices[t]],
                "stream": word[of.streams[t]],
                "sums": float64[of.sums[t][0]],
                "notes": float64[of.sums[t][1]],
                "hyperparameters": float64[of.sums[t][2]],
                "rates": float64[of.sums[t][3]],
                "order": _NO_ORDER,
                "first_sums": real[of.first_sums[t]],
                "gradient_chunk": real[of.chunks[t]],
                "packing_buffer": scratch[of.packing[t]],
                "shares": Table(Share, dtype, [{name: real[k] for name, k in share} for share in of.shares[t]]),
            }
            for t in range(threads)
        ],
    )
    plan = Plan(
        dtype,
        batch=batch,
        num_threads=threads,
        depth=depth,
        features=dims[0],
        norm=NORMS[model.normalization],
        activation=RELU,
        rule=0,
        stride=model.params.flat.size,
        dropout=0,
        seeded=False,
        by_features=by_features,
        gradients_by_rows=by_rows,
        standardized=False,
        stores_gradients=stores_gradients,
        gradients=gradients_of_all,
        accumulated=aligned_zeros(gradients_of_all.size if accumulates else 0, dtype),
        updates=True,
        keep_threshold=keep_threshold(1),
        keep_scale=1,
        reg=0,
        reg_of_batch=False,
        loss=0,
        loss_parameter=0,
        loss_scale=1,
        max_value=0,
        max_norm=0,
        input_mean=real[of.mean],
        input_mean_rest=real[of.rest],
        input_scale=real[of.scale],
        seeded_stream=word[of.seeded_stream],
        layers=layers,
        threads=of_threads,
        barrier=new_barrier() if barrier is None else barrier,
    )
    set_standardization(plan, model)
    return plan


def _dropout_kernel(model: Network) -> str:
    return DROPOUT if model.use_dropout and len(model.dims) > 2 else ""


def chosen_for_scores(model: Network) -> tuple[str, ...]:
    """The names of kernels of which a plan for scores has the addresses; empty for what is a part of the run."""
    return (ACTIVATIONS[model.activation].run_kernel,)


def chosen_for_training(model: Network, rule: Callable) -> tuple[str, ...]:
    """The same of a plan for a training."""
    dropout = _dropout_kernel(model)
    return *chosen_for_scores(model), dropout, RULES[rule].run_kernel, LOSSES[model.loss_name].run_kernel


def set_kernels(plan: Plan, model: Network, rule: Callable | None = None) -> None:
    """Give a plan the addresses of its activation's kernel and its rule's, which are compiled if they must be."""
    plan.activation = address(ACTIVATIONS[model.activation].run_kernel, plan.dtype)
    plan.rule = 0 if rule is None else address(RULES[rule].run_kernel, plan.dtype)


def shortened(plan: Plan, rows: int) -> Plan:
    """A plan for batches of fewer rows in the same memory, with the same threads.

    The first thread has at least one row.
    """
    ends = [-(-rows * t // plan.num_threads) for t in range(plan.num_threads + 1)]
    threads = plan.threads.changed({"first": first, "end": end} for first, end in pairwise(ends))
    return plan.changed(batch=rows, threads=threads)


def _parameters(model: Network, rule: Callable | None, gradients: np.ndarray) -> list[dict[str, Parameter]]:
    """Of each layer, its parameters by their kind; what the layer lacks is empty."""
    flat, shapes, offsets = model.params.flat, model.params.shapes, model.params.offsets
    value, gradient = Buffer(flat), Buffer(gradients)
    state_size = 0 if rule is None else len(RULES[rule].state) * flat.size
    state = Buffer(aligned_zeros(state_size, flat.dtype))
    # One stands for all that layers lack.
    lacking = Parameter(flat.dtype, value=value.part(0, 0), gradient=gradient.part(0, 0), state=state.part(0, 0))
    found = []
    for i in range(1, len(model.dims)):
        of_layer = dict.fromkeys(PARAMETERS, lacking)
        for kind in PARAMETERS:
            if f"{kind}{i}" in shapes:
                start, size = offsets[f"{kind}{i}"], prod(shapes[f"{kind}{i}"])
                of_layer[kind] = Parameter(
                    flat.dtype,
                    value=value.part(start, size),
                    gradient=gradient.part(start, size) if gradients.size > 0 else gradient.part(0, 0),
                    state=state.part(start, state_size - start) if state_size > 0 else state.part(0, 0),
                )
        found.append(of_layer)
    return found


def set_training_options(plan: Plan, model: Network) -> None:
    """Copy what a step reads of the model's dropout, L2 strength and standardization, which may change in a run."""
    dropout: dict[str, Any] = {"p": 1.0, "seed": None}
    plan.dropout = address(_dropout_kernel(model), plan.dtype)
    if plan.dropout:
        dropout = checked_dropout_param({**model.dropout_param, "mode": "train"})
    plan.seeded = dropout["seed"] is not None
    plan.keep_threshold, plan.keep_scale = keep_threshold(dropout["p"]), 1 / dropout["p"]
    plan.reg = checked_reg(model.reg)
    loss = LOSSES[model.loss_name]
    plan.loss = loss.code if loss.labels else address(loss.run_kernel, plan.dtype)
    plan.loss_parameter = model.loss_parameter
    set_standardization(plan, model)


def set_standardization(plan: Plan, model: Network) -> None:
    """Copy the model's input_mean and input_scale, if it has one of them."""
    plan.standardized = model.input_mean is not None or model.input_scale is not None
    if not plan.standardized:
        return
    mean, scale = (
        default if getattr(model, name) is None else model.per_feature(name, (plan.features,))
        for name, default in (("input_mean", 0.0), ("input_scale", 1.0))
    )
    plan.input_mean[:] = mean
    # An infinite mean leaves nothing.
    with np.errstate(invalid="ignore", over="ignore"):
        plan.input_mean_rest[:] = np.where(np.isfinite(plan.input_mean), mean - plan.input_mean.astype(np.float64), 0)
    plan.input_scale[:] = scale


def examples_of(X: np.ndarray, dtype: np.dtype) -> Examples:
    """Where the examples X (N, ...) lie, for a network of a dtype; X must outlive the result."""
    examples = Examples(dtype, address=0, row_bytes=0, kind=0, offsets=_ADJACENT)
    set_examples(examples, X)
    return examples


def set_examples(examples: Examples, X: np.ndarray) -> None:
    """Make the examples those of X (N, ...), which must outlive their use."""
    offsets = _ADJACENT
    if not X.flags.c_contiguous:
        offsets = np.zeros(1, np.int64)
        for size, stride in zip(X.shape[1:], X.strides[1:], strict=True):
            offsets = np.add.outer(offsets, np.arange(size) * stride).reshape(-1)
        if np.array_equal(offsets, np.arange(offsets.size) * X.itemsize):
            offsets = _ADJACENT
    examples.kind = KINDS.index(X.dtype)
    examples.address = X.__array_interface__["data"][0]
    examples.row_bytes = X.strides[0]
    if examples.offsets is not offsets:
        examples.offsets = offsets


# Bytes of examples that may be copied.
_COPIED_BYTES = 1 << 30


def in_rows(X: np.ndarray) -> np.ndarray:
    """X (N, ...), or a copy of it in memory whose examples each lie in one piece, where X has them in many.

    Of an array in Fortran's order, each value of an example is in another line of the cache. What is
    mapped from a file, or large, stays as it is.
    """
    scattered = X.ndim > 1 and len(X) > 1 and X.size > len(X) and X.strides[0] <= X.itemsize
    if not scattered or isinstance(X, np.memmap) or isinstance(X.base, np.memmap) or X.nbytes > _COPIED_BYTES:
        return X
    return np.ascontiguousarray(X)


def readable(X: Any) -> bool:
    """Whether compiled code can read the examples X as they lie."""
    if not isinstance(X, np.ndarray) or not X.dtype.isnative or not X.flags.aligned or X.ndim < 1:
        return False
    return X.dtype in KINDS


def as_readable(X: Any) -> np.ndarray:
    """The examples X as compiled code can read them, with all digits that it computes with.

    The network's own dtype could be too short for them: they are standardized in float64.
    """
    if readable(X):
        return X
    native = np.asarray(X).dtype.newbyteorder("=")
    return np.array(X, native if native in KINDS else np.float64, order="C")


def parameters_of(plan: Plan, model: Network) -> Iterator[tuple[str, Parameter]]:
    """The network's parameters by name."""
    for i, layer in enumerate(plan.layers, start=1):
        for kind in PARAMETERS:
            if f"{kind}{i}" in model.params.shapes:
                yield f"{kind}{i}", getattr(layer, kind)


def state_arrays_of(parameter: Parameter, plan: Plan) -> list[np.ndarray]:
    """The rule's arrays of a parameter, flat, in the order of the rule's record; views."""
    size = parameter.value.size
    return [parameter.state[k : k + size] for k in range(0, parameter.state.size, plan.stride)]


def set_hyperparameters(plan: Plan, model: Network, rule: Callable, configs: Mapping[str, dict]) -> None:
    """Copy learning rates and the like from the Solver's configurations, which are complete."""
    hyper = np.zeros((plan.depth, len(PARAMETERS), MOST_HYPERPARAMETERS))
    for i in range(plan.depth):
        for kind, letter in enumerate(PARAMETERS):
            config = configs.get(f"{letter}{i + 1}")
            if config is not None:
                hyper[i, kind, : len(RULES[rule].defaults)] = [config[key] for key in RULES[rule].defaults]
    for thread in plan.threads:
        thread.hyperparameters[:] = hyper.reshape(-1)
        thread.rates[:] = hyper[:, :, 0].reshape(-1)
