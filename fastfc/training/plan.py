"""Making the plan of a run: from a model, its rule and its data to arrays and tables."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastfc import optim
from fastfc._arguments import checked_reg
from fastfc._runtime.shared import PANEL, keep_threshold
from fastfc._runtime.team import new_barrier
from fastfc.layers import checked_dropout_param
from fastfc.params import aligned_zeros
from fastfc.training import layout
from fastfc.training.layout import KINDS, Examples, Plan

if TYPE_CHECKING:
    from fastfc.classifiers.fc_net import FullyConnectedNet

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

_ADJACENT = np.zeros(0, np.int64)
# Of a member, where the features are split: its sums for all rows must be worth storing.
_LEAST_FEATURES = 64
# Values in a row of the batch from which on a gap between rows does not matter.
_LONG_ROW = 256
_KINDS_OF_PARAMETERS = ("W", "b", "gamma", "beta")


def make_plan(
    model: "FullyConnectedNet", batch: int, members: int, rule: Callable = optim.sgd, barrier: np.ndarray | None = None
) -> Plan:
    """Allocate a run of `model` on batches of `batch` rows, split among `members` threads.

    The parameters are the model's own; the rule's state, hyperparameters, statistics and
    random stream are zeros, to be filled in. There is neither dropout nor an L2 penalty before
    :func:`set_training_options`.
    """
    dtype, dims = np.dtype(model.dtype), model.dims
    count, widest, size = len(dims) - 1, max(dims[1:]), model.params.flat.size
    state = len(optim.STATE[rule.__name__])
    chunk_rows = [_chunk_rows(-(-d // members), d_out) for d, d_out in pairwise(dims)]
    scratch_size = max(rows * d_out for rows, d_out in zip(chunk_rows, dims[1:], strict=True))
    by_features = _by_features(batch, dims, members)
    x_row = _row_size(dims[0], dtype.itemsize)

    room = {
        "x": batch * x_row,
        "input_mean": dims[0],
        "input_scale": dims[0],
        "gradients": layout.GRADIENTS * batch * widest,
        "parts": members * batch * dims[1] if by_features else 0,
        "row_inv_std": count * batch,
        "scratch": members * scratch_size,
        "panel": members * PANEL,
        "exchanged": members * count * layout.EXCHANGED * widest,
        "own": members * count * layout.OWN * widest,
    }
    for i, d in enumerate(dims[1:]):
        room |= {f"X_HAT{i}": batch * d, f"OUT{i}": batch * d, f"RUNNING_MEAN{i}": d, f"RUNNING_VAR{i}": d}
        if model.normalization is None or i == count - 1:
            del room[f"X_HAT{i}"]
    in_room, room_size = _allot(room, dtype.itemsize)
    in_ints, ints_size = _allot(
        {"rows": members + 1, "layers": count * layout.LAYER_COLUMNS, "indices": members * batch}, 8
    )
    in_numbers, numbers_size = _allot(
        {
            "hyper": count * layout.HYPER_ROWS * layout.HYPER_COLUMNS,
            "norm_numbers": count * layout.NORM_COLUMNS,
            "sums": members * 2 * layout.SUMS,
            "corrections": members * layout.CORRECTIONS,
        },
        8,
    )
    in_words, words_size = _allot({"streams": members * layout.STREAM_ROOM, "seeded_stream": layout.STREAM}, 4)
    plan = Plan(
        dtype,
        batch=batch,
        members=members,
        depth=count,
        features=dims[0],
        widest=widest,
        norm=layout.NORMS[model.normalization],
        rule=RULES[rule][0],
        dropout=False,
        seeded=False,
        by_features=by_features,
        standardized=model.input_mean is not None or model.input_scale is not None,
        keep_threshold=keep_threshold(1),
        keep_scale=1,
        reg=0,
        scratch_size=scratch_size,
        **{name: in_room[name] for name in room if name in Plan.fields},
        **in_ints,
        **in_numbers,
        **in_words,
        ints=aligned_zeros(ints_size, np.dtype(np.int64)),
        w=model.params.flat,
        m=aligned_zeros(size if state > 0 else 0, dtype),
        v=aligned_zeros(size if state > 1 else 0, dtype),
        room=aligned_zeros(room_size, dtype),
        numbers=aligned_zeros(numbers_size, np.dtype(np.float64)),
        words=aligned_zeros(words_size, np.dtype(np.uint32)),
        barrier=new_barrier() if barrier is None else barrier,
    )
    plan.ints[plan.rows : plan.rows + members + 1] = [batch * i // members for i in range(members + 1)]
    for i, entry in enumerate(layers_of(plan)):
        entry[layout.D_IN], entry[layout.D_OUT], entry[layout.CHUNK_ROWS] = dims[i], dims[i + 1], chunk_rows[i]
        entry[layout.IN_ROW] = x_row if i == 0 else dims[i]
        entry[layout.OUT] = in_room[f"OUT{i}"]
        entry[layout.X_HAT] = in_room.get(f"X_HAT{i}", entry[layout.OUT])
        entry[layout.RUNNING_MEAN] = in_room[f"RUNNING_MEAN{i}"]
        entry[layout.RUNNING_VAR] = in_room[f"RUNNING_VAR{i}"]
        for column, kind in zip((layout.W, layout.B, layout.GAMMA, layout.BETA), _KINDS_OF_PARAMETERS, strict=True):
            entry[column] = model.params.offsets.get(f"{kind}{i + 1}", 0)
    set_standardization(plan, model)
    return plan


def _by_features(batch: int, dims: Sequence[int], members: int) -> bool:
    """Whether the members split the first layer's product by features instead of rows.

    By rows, each member reads all weights, and for their gradient its features of all rows: most of it
    comes from other processors' caches. By features it writes sums for all rows, and reads those of its own.
    """
    d_in, d_out = dims[:2]
    return (
        members > 1
        and d_in // members >= _LEAST_FEATURES
        and 2 * batch * d_out < d_in * d_out + batch * d_in // members
    )


def _row_size(d: int, itemsize: int) -> int:
    """From one row of d values to the next, if they are not adjacent: long rows take an odd number of cache lines.

    Rows whose distance is a multiple of a high power of two share the same few places of a cache.
    """
    line = 64 // itemsize
    return d if d <= _LONG_ROW else (-(-d // line) // 2 * 2 + 1) * line


def _chunk_rows(share: int, d_out: int) -> int:
    """How many of a member's share of a layer's rows of weights make a chunk: chunks as even as can be."""
    most = max(layout.CHUNK // d_out, layout.LEAST_CHUNK_ROWS)
    return -(-share // -(-share // most))


def set_training_options(plan: Plan, model: "FullyConnectedNet") -> None:
    """Copy what a step reads of the model's dropout, L2 strength and standardization, which may change in a run."""
    dropout: dict[str, Any] = {"p": 1.0, "seed": None}
    plan.dropout = bool(model.use_dropout) and plan.depth > 1
    if plan.dropout:
        dropout = checked_dropout_param({**model.dropout_param, "mode": "train"})
    plan.seeded = dropout["seed"] is not None
    plan.keep_threshold, plan.keep_scale = keep_threshold(dropout["p"]), 1 / dropout["p"]
    plan.reg = checked_reg(model.reg)
    plan.standardized = model.input_mean is not None or model.input_scale is not None
    set_standardization(plan, model)


def set_standardization(plan: Plan, model: "FullyConnectedNet") -> None:
    """Copy the model's input_mean and input_scale."""
    for name, default in (("input_mean", 0), ("input_scale", 1)):
        start = getattr(plan, name)
        value = default if getattr(model, name) is None else model.per_feature(name, (plan.features,))
        plan.room[start : start + plan.features] = value


def _allot(sizes: Mapping[str, int], itemsize: int) -> tuple[dict[str, int], int]:
    """Where each part starts in an array that holds them all, on cache lines of their own; and its size."""
    line = 64 // itemsize
    offsets, end = {}, 0
    for name, size in sizes.items():
        offsets[name] = end
        end += -(-size // line) * line
    return offsets, end


def layers_of(plan: Plan) -> np.ndarray:
    """The table of layers (L, LAYER_COLUMNS), a view."""
    return plan.ints[plan.layers : plan.layers + plan.depth * layout.LAYER_COLUMNS].reshape(plan.depth, -1)


def norm_numbers_of(plan: Plan) -> np.ndarray:
    """The numbers of the layers' normalizations (L, NORM_COLUMNS), a view."""
    size = plan.depth * layout.NORM_COLUMNS
    return plan.numbers[plan.norm_numbers : plan.norm_numbers + size].reshape(plan.depth, -1)


def streams_of(plan: Plan) -> np.ndarray:
    """The members' copies of the random stream (members, STREAM), a view."""
    return plan.words[plan.streams : plan.streams + plan.members * layout.STREAM_ROOM].reshape(plan.members, -1)[
        :, : layout.STREAM
    ]


def seeded_stream_of(plan: Plan) -> np.ndarray:
    """The stream that a dropout layer starts anew from (STREAM,), a view."""
    return plan.words[plan.seeded_stream : plan.seeded_stream + layout.STREAM]


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


def readable(X: Any) -> bool:
    """Whether compiled code can read the examples X as they lie."""
    if not isinstance(X, np.ndarray) or not X.dtype.isnative or not X.flags.aligned or X.ndim < 1:
        return False
    return X.dtype in KINDS


def parameters_of(plan: Plan, model: "FullyConnectedNet"):
    """For each parameter: its name, the index of its hyperparameters, and its place in the flat buffers."""
    shapes, offsets = model.params.shapes, model.params.offsets
    for layer in range(plan.depth):
        for row, kind in enumerate(_KINDS_OF_PARAMETERS):
            name = f"{kind}{layer + 1}"
            if name in shapes:
                yield name, (layer, row), slice(offsets[name], offsets[name] + prod(shapes[name]))


def set_hyperparameters(plan: Plan, model: "FullyConnectedNet", rule: Callable, configs: Mapping[str, dict]) -> None:
    """Copy learning rates and the like from the Solver's configurations, which are complete."""
    (_, named), own = RULES[rule], optim.DEFAULTS[rule.__name__]
    size = plan.depth * layout.HYPER_ROWS * layout.HYPER_COLUMNS
    hyper = plan.numbers[plan.hyper : plan.hyper + size].reshape(plan.depth, layout.HYPER_ROWS, -1)
    for name, index, _ in parameters_of(plan, model):
        config, row = configs[name], hyper[index]
        row[layout.LEARNING_RATE] = config["learning_rate"]
        for column, key in zip((layout.FIRST, layout.SECOND), named, strict=False):
            row[column] = config[key]
        # A key that another rule has left, or a person given, is none of this rule's.
        row[layout.EPSILON] = config["epsilon"] if "epsilon" in own else 0
        row[layout.WEIGHT_DECAY] = config["weight_decay"] if "weight_decay" in own else 0
        row[layout.TAKEN] = config["t"] if "t" in own else 0
