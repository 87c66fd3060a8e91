"""Making the plan of a run: from a model, its rule and its data to arrays and tables."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from fastfc import optim
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.kernels._random import keep_threshold
from fastfc.kernels._team import new_barrier
from fastfc.params import aligned_zeros
from fastfc.training import layout
from fastfc.training.data import KINDS
from fastfc.training.layout import Examples, Plan

#: Rule -> its code, and the hyperparameters in the columns FIRST and SECOND.
RULES: dict[Callable, tuple[int, tuple[str, ...]]] = {
    optim.sgd: (layout.SGD, ()),
    optim.sgd_momentum: (layout.SGD_MOMENTUM, ("momentum",)),
    optim.nesterov: (layout.NESTEROV, ("momentum",)),
    optim.rmsprop: (layout.RMSPROP, ("decay_rate",)),
    optim.adagrad: (layout.ADAGRAD, ()),
    optim.adam: (layout.ADAM, ("beta1", "beta2")),
    optim.adamw: (layout.ADAMW, ("beta1", "beta2")),
}

_KINDS_OF_PARAMETERS = ("W", "b", "gamma", "beta")


def make_plan(model: FullyConnectedNet, batch: int, members: int, rule: Callable = optim.sgd) -> Plan:
    """Allocate a run of `model` on batches of `batch` rows, split among `members` threads.

    The parameters are the model's own; the rule's state, running statistics and random
    stream are zeros, to be filled in.
    """
    dtype = np.dtype(model.dtype)
    layers, activations, units = _table_of_layers(model, batch)
    widest = int(layers[:, [layout.D_IN, layout.D_OUT]].max())
    hidden = int(layers[:, layout.D_OUT].max())
    features, count = int(layers[0, layout.D_IN]), len(layers)
    state = len(optim.STATE[rule.__name__])
    size = model.params.flat.size
    p = float(model.dropout_param["p"]) if model.use_dropout else 1.0

    def zeros(*shape: int) -> np.ndarray:
        return aligned_zeros(prod(shape), dtype).reshape(shape)

    standardized = model.input_mean is not None or model.input_scale is not None
    return Plan(
        batch=batch,
        members=members,
        norm=layout.NORMS[model.normalization],
        rule=RULES[rule][0],
        dropout=bool(model.use_dropout),
        seeded="seed" in model.dropout_param,
        keep_threshold=keep_threshold(p),
        keep_scale=1 / p,
        standardized=standardized,
        layers=layers,
        rows=np.array([batch * i // members for i in range(members + 1)], np.int64),
        w=model.params.flat,
        running_mean=zeros(units),
        running_var=zeros(units),
        norm_numbers=np.zeros((count, 2)),
        input_mean=_per_feature(model.input_mean, 0, features, dtype) if standardized else zeros(0),
        input_scale=_per_feature(model.input_scale, 1, features, dtype) if standardized else zeros(0),
        m=zeros(size if state > 0 else 0),
        v=zeros(size if state > 1 else 0),
        hyper=np.zeros((count, layout.HYPER_ROWS, layout.HYPER_COLUMNS)),
        reg=np.zeros(1),
        indices=np.zeros((members, batch), np.int64),
        x=zeros(batch, features),
        activations=zeros(activations),
        gradients=zeros(2, batch * hidden),
        row_inv_std=zeros(count, batch),
        scratch=zeros(members, max(min(layout.CHUNK, size), hidden)),
        exchanged=zeros(members, count, layout.EXCHANGED, hidden),
        own=zeros(members, count, layout.OWN, hidden),
        sums=np.zeros((members, 2, 8)),
        mask=zeros(members, hidden),
        words=np.zeros((members, 2 * widest), np.uint32),
        streams=np.zeros((members, 625), np.uint32),
        seeded_stream=np.zeros(625, np.uint32),
        barrier=new_barrier(),
    )


def _table_of_layers(model: FullyConnectedNet, batch: int) -> tuple[np.ndarray, int, int]:
    """The table, the size of the activations, and the number of hidden units."""
    offsets, dims = model.params.offsets, model.dims
    table = np.zeros((len(dims) - 1, layout.LAYER_COLUMNS), np.int64)
    line = 64 // np.dtype(model.dtype).itemsize
    end, units = 0, 0
    for i, entry in enumerate(table, start=1):
        d_out = dims[i]
        entry[layout.D_IN], entry[layout.D_OUT] = dims[i - 1], d_out
        entry[layout.W], entry[layout.B] = offsets[f"W{i}"], offsets[f"b{i}"]
        room = -(-batch * d_out // line) * line
        entry[layout.X_HAT], entry[layout.OUT] = end, end
        end += room
        if i < len(table):
            if model.normalization is not None:
                entry[layout.GAMMA], entry[layout.BETA] = offsets[f"gamma{i}"], offsets[f"beta{i}"]
                entry[layout.OUT] = end
                end += room
            entry[layout.UNITS] = units
            units += d_out
    return table, end, units


def _per_feature(value: Any, default: float, features: int, dtype: np.dtype) -> np.ndarray:
    array = np.asarray(default if value is None else value, dtype)
    if array.size == features:
        return array.reshape(-1).copy()
    return np.full(features, array, dtype)


def examples_of(X: np.ndarray) -> Examples:
    """Where the examples X (N, ...) lie; X must outlive the result."""
    shape, strides = X.shape[1:], X.strides[1:]
    offsets = np.zeros(1, np.int64)
    for size, stride in zip(shape, strides, strict=True):
        offsets = np.add.outer(offsets, np.arange(size) * stride).reshape(-1)
    if np.array_equal(offsets, np.arange(offsets.size) * X.itemsize):
        offsets = np.zeros(0, np.int64)
    kind = KINDS.index(np.dtype(np.uint8) if X.dtype == np.bool_ else X.dtype)
    return Examples(address=X.__array_interface__["data"][0], row_bytes=X.strides[0], kind=kind, offsets=offsets)


def readable(X: Any) -> bool:
    """Whether compiled code can read the examples X as they lie."""
    if not isinstance(X, np.ndarray) or not X.dtype.isnative or not X.flags.aligned or X.ndim < 1:
        return False
    return X.dtype == np.bool_ or X.dtype in KINDS


def parameters_of(plan: Plan, model: FullyConnectedNet):
    """For each parameter: its name, the index of its hyperparameters, and its place in the flat buffers."""
    for layer in range(len(plan.layers)):
        for row, kind in enumerate(_KINDS_OF_PARAMETERS):
            name = f"{kind}{layer + 1}"
            if name in model.params.shapes:
                start = model.params.offsets[name]
                yield name, (layer, row), slice(start, start + prod(model.params.shapes[name]))


def set_hyperparameters(plan: Plan, model: FullyConnectedNet, rule: Callable, configs: Mapping[str, dict]) -> None:
    """Copy learning rates and the like from the Solver's configurations, which are complete."""
    _, named = RULES[rule]
    for name, index, _ in parameters_of(plan, model):
        config, row = configs[name], plan.hyper[index]
        row[layout.LEARNING_RATE] = config["learning_rate"]
        for column, key in zip((layout.FIRST, layout.SECOND), named, strict=False):
            row[column] = config[key]
        row[layout.EPSILON] = config.get("epsilon", 0)
        row[layout.WEIGHT_DECAY] = config.get("weight_decay", 0)
        row[layout.TAKEN] = config.get("t", 0)
