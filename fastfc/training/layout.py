"""Where everything lies in the memory of a run.

One compiled signature serves every network of a dtype: sizes and offsets are numbers, rules
and normalizations integer codes. All that a step touches stands in a few flat arrays,
allocated once for a run: every array more that compiled code is handed costs compile time.
"""

import numpy as np

from fastfc._runtime.record import Float64s, Int64s, Reals, Record, Uint32s, record

# Columns of the table of layers; the offsets count elements.
(
    D_IN,
    D_OUT,
    IN_ROW,  # from a row of the layer's input to the next: D_IN, or more for the batch itself
    W,  # offsets in the parameters and in their state
    B,
    GAMMA,
    BETA,
    X_HAT,  # offset in `room`: (batch, D_OUT), what normalization keeps for the way back
    OUT,  # offset in `room`: (batch, D_OUT), the layer's output; X_HAT's place without normalization
    RUNNING_MEAN,  # offsets in `room`: (D_OUT,)
    RUNNING_VAR,
    CHUNK_ROWS,  # rows of W whose gradient is computed at a time
    LAYER_COLUMNS,
) = range(13)

# Rows per layer of the table of hyperparameters.
HYPER_W, HYPER_B, HYPER_GAMMA, HYPER_BETA, HYPER_ROWS = range(5)
# Its columns. FIRST is momentum, decay_rate or beta1, SECOND is beta2; TAKEN counts Adam's steps.
LEARNING_RATE, FIRST, SECOND, EPSILON, WEIGHT_DECAY, TAKEN, HYPER_COLUMNS = range(7)

# Per layer, the numbers of its normalization.
EPS, MOMENTUM, NORM_COLUMNS = range(3)

NO_NORM, BATCH_NORM, LAYER_NORM = range(3)
NORMS = {None: NO_NORM, "batchnorm": BATCH_NORM, "layernorm": LAYER_NORM}

SGD, SGD_MOMENTUM, NESTEROV, RMSPROP, ADAGRAD, ADAM, ADAMW = range(7)

# Gradients of layers' affine outputs at a time: some members still read layer l + 1's, for its weights, and go
# through layer l's, while others write layer l - 1's.
GRADIENTS = 3

# What the members exchange, per layer: statistics on the way forward, sums on the way back.
SHIFT, MEAN, VAR, D_GAMMA, D_BETA, D_B, EXCHANGED = range(7)
# What each member merges from it for itself, per layer.
OWN_SHIFT, OWN_MEAN, OWN_INV_STD, OWN_D_GAMMA, OWN_D_BETA, OWN = range(6)

# What the members add up, by parity of the step; a line of the cache each.
LOSS, SQUARES, SUMS = 0, 1, 8

# What a member remembers of Adam's last bias corrections, which most parameters share: two powers take as
# long as the update of a hundred weights.
OF_FIRST, OF_SECOND, OF_T, M_CORRECTION, V_CORRECTION, CORRECTIONS = 0, 1, 2, 3, 4, 8

# Words of the random generator's state, and its position; and what they take. In whole lines of the cache:
# a state that starts within one took three times as long to go on. And pages apart: what the processor
# fetches ahead, as a member writes its state, must not be another member's, which took 1.4 times as long.
STREAM, STREAM_ROOM = 625, 2048

# Weights whose gradient is computed at a time, before the rule is applied to them: the gradient
# and what the rule reads and writes stay in the second-level cache.
CHUNK = 1 << 16
# But so many rows at the least: the other operand of the gradient is read for each chunk.
LEAST_CHUNK_ROWS = 256
# Bytes that stay in the second-level cache from one part of a step to the next.
NEAR = 1 << 20


#: The dtypes that examples may have, each named by its place.
KINDS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))


@record
class Examples(Record):
    """A set of examples, as it lies in memory."""

    address: int  # of the first one
    row_bytes: int  # from one to the next
    kind: int  # the place of its dtype in KINDS
    offsets: Int64s  # (D,): bytes from an example's address to each value; (0,) if they are adjacent


@record
class Plan(Record):
    """The memory of a run. L is the number of the network's layers, n the batch, D its widest layer."""

    batch: int
    members: int
    depth: int  # L
    features: int
    widest: int  # D
    norm: int
    rule: int
    dropout: bool
    seeded: bool  # the random stream starts anew at each dropout layer
    by_features: bool  # whether the members split the first layer's product by features instead of rows
    standardized: bool
    keep_threshold: int  # 53-bit integers below it keep a value
    keep_scale: float  # 1 / p
    reg: float
    # offsets in ints
    rows: int  # (members + 1,): member i has rows[i] to rows[i + 1] of the batch
    layers: int  # (L, LAYER_COLUMNS)
    indices: int  # (members, n): each member draws all of them
    # offsets in room
    x: int  # (n, the first layer's IN_ROW): the batch
    input_mean: int  # (features,)
    input_scale: int  # (features,)
    gradients: int  # (GRADIENTS, n * D): layers take turns
    parts: int  # (members, n * first D_OUT): of a product by features
    row_inv_std: int  # (L, n): of layer normalization
    scratch: int  # (members, scratch_size)
    scratch_size: int
    panel: int  # (members, PANEL)
    exchanged: int  # (members, L, EXCHANGED, D)
    own: int  # (members, L, OWN, D)
    # offsets in numbers
    hyper: int  # (L, HYPER_ROWS, HYPER_COLUMNS)
    norm_numbers: int  # (L, NORM_COLUMNS)
    sums: int  # (members, 2, SUMS)
    corrections: int  # (members, CORRECTIONS)
    # offsets in words
    streams: int  # (members, STREAM_ROOM): each member follows the whole stream
    seeded_stream: int  # (STREAM,)
    # the memory
    ints: Int64s
    w: Reals  # the parameters
    m: Reals  # velocity, cache or first moment; empty where the rule has none
    v: Reals  # second moment; likewise
    room: Reals
    numbers: Float64s
    words: Uint32s
    barrier: Int64s


@record
class Steps(Record):
    """A part of a run: some steps in one call."""

    examples: Examples
    y: Int64s  # (N,): their labels
    losses: Float64s  # (steps,): overwritten
    progress: Int64s  # (1,): how many are done; the last ones are missing if the team was sent home


@record
class Predictions(Record):
    """Predictions for some examples, in test mode. Each member takes its share of them in blocks of rows."""

    examples: Examples
    subset: Int64s  # (count,): which of them; (0,) for the first ones
    count: int
    softmax: bool  # whether the scores are to be probabilities
    predictions: Int64s  # (count,): overwritten, unless it is (0,)
    scores: Reals  # (count, C): likewise
    first_block: int  # of each member's blocks, which to begin with in this call
    blocks: int  # and how many to do at most
