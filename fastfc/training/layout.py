"""Where everything lies in the memory of a run.

One compiled signature serves every network of a dtype: sizes and offsets stand in integer
tables, rules and normalizations are integer codes. Every array is allocated once for a run.
"""

from typing import NamedTuple

import numpy as np

# Columns of the table of layers; the offsets count elements.
(
    D_IN,
    D_OUT,
    W,  # offsets in the parameters and in their state
    B,
    GAMMA,
    BETA,
    X_HAT,  # offset in the activations: (batch, D_OUT), what normalization keeps for the way back
    OUT,  # offset in the activations: (batch, D_OUT), the layer's output; X_HAT's place without normalization
    UNITS,  # offset in the running statistics
    LAYER_COLUMNS,
) = range(10)

# Rows per layer of the table of hyperparameters.
HYPER_W, HYPER_B, HYPER_GAMMA, HYPER_BETA, HYPER_ROWS = range(5)
# Its columns. FIRST is momentum, decay_rate or beta1, SECOND is beta2; TAKEN counts Adam's steps.
LEARNING_RATE, FIRST, SECOND, EPSILON, WEIGHT_DECAY, TAKEN, HYPER_COLUMNS = range(7)

NO_NORM, BATCH_NORM, LAYER_NORM = range(3)
NORMS = {None: NO_NORM, "batchnorm": BATCH_NORM, "layernorm": LAYER_NORM}

SGD, SGD_MOMENTUM, NESTEROV, RMSPROP, ADAGRAD, ADAM, ADAMW = range(7)

# What the members exchange, per layer: statistics on the way forward, sums on the way back.
SHIFT, MEAN, VAR, D_GAMMA, D_BETA, D_B, EXCHANGED = range(7)
# What each member merges from it for itself.
OWN_SHIFT, OWN_MEAN, OWN_INV_STD, OWN_D_GAMMA, OWN_D_BETA, OWN = range(6)

LOSS, SQUARES = range(2)

# Weights whose gradient is computed at a time, before the rule is applied to them: the gradient
# and what the rule reads and writes stay in the second-level cache.
CHUNK = 1 << 16


class Examples(NamedTuple):
    """A set of examples, as it lies in memory."""

    address: int  # of the first one
    row_bytes: int  # from one to the next
    kind: int  # the place of its dtype in data.KINDS
    offsets: np.ndarray  # (D,) int64: bytes from an example's address to each value; (0,) if they are adjacent


class Plan(NamedTuple):
    """The memory of a run. T is the network's dtype, L its layers, n the batch, D the widest layer."""

    # sizes and choices
    batch: int
    members: int
    norm: int
    rule: int
    dropout: bool
    seeded: bool  # the random stream starts anew at each dropout layer
    keep_threshold: int  # 53-bit integers below it keep a value
    keep_scale: float  # 1 / p
    standardized: bool
    layers: np.ndarray  # (L, LAYER_COLUMNS) int64
    rows: np.ndarray  # (members + 1,) int64: member i has rows[i] to rows[i + 1] of the batch
    # the network
    w: np.ndarray  # (P,) T
    running_mean: np.ndarray  # (units,) T
    running_var: np.ndarray  # (units,) T
    norm_numbers: np.ndarray  # (L, 2) float64: eps, momentum
    input_mean: np.ndarray  # (D_IN,) T
    input_scale: np.ndarray  # (D_IN,) T
    # the rule
    m: np.ndarray  # (P,) T: velocity, cache or first moment; (0,) where the rule has none
    v: np.ndarray  # (P,) T: second moment; likewise
    hyper: np.ndarray  # (L, HYPER_ROWS, HYPER_COLUMNS) float64
    reg: np.ndarray  # (1,) float64
    # a step
    indices: np.ndarray  # (members, n) int64: each member draws all of them
    x: np.ndarray  # (n, D_IN) T
    activations: np.ndarray  # T
    gradients: np.ndarray  # (2, n * D) T: layers take turns
    row_inv_std: np.ndarray  # (L, n) T: of layer normalization
    scratch: np.ndarray  # (members, max(CHUNK, D)) T
    exchanged: np.ndarray  # (members, L, EXCHANGED, D) T
    own: np.ndarray  # (members, L, OWN, D) T
    sums: np.ndarray  # (members, 2, 8) float64: LOSS and SQUARES of weights, by parity of the step
    mask: np.ndarray  # (members, D) T
    words: np.ndarray  # (members, 2 * D) uint32
    streams: np.ndarray  # (members, 625) uint32: each member follows the whole stream
    seeded_stream: np.ndarray  # (625,) uint32
    barrier: np.ndarray
