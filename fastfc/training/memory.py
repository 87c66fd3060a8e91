"""The memory of a run: records that Python fills and compiled code reads.

One compiled signature serves every network of a dtype: sizes are numbers, normalizations integer codes,
rules and activations the addresses of their kernels, and every array is a part of a few buffers that
:mod:`fastfc.training.plan` allocates once for a run. ``n`` is the batch, ``T`` the number of threads; a
layer's arrays are written with their shapes and lie flat.
"""

from typing import cast

import numpy as np

from fastfc._runtime.constants import PACKING_SIZE
from fastfc._runtime.record import Float64s, Int64s, Reals, Record, Table, Uint32s, record

NO_NORM, BATCH_NORM, LAYER_NORM = range(3)
NORMS = {None: NO_NORM, "batchnorm": BATCH_NORM, "layernorm": LAYER_NORM}

#: The name of dropout's kernel.
DROPOUT = "drop_rows"
#: For the activation that steps have passes of their own for; all others keep their slopes for the way back.
RELU = 0

PARAMETERS = ("W", "b", "gamma", "beta")
WEIGHTS, BIAS, SCALE, SHIFT = range(4)

# Gradients of layers' affine outputs at a time: some threads still read layer l + 1's, for its weights, and go
# through layer l's, while others write layer l - 1's.
GRADIENTS = 3

# Places of what the threads add up, of the step's L2 strength and of the weight of its batch (its rows, or the sum of
# their weights), by parity of the step; a line of the cache each.
LOSS, SQUARES, GRADIENT_SQUARES, REG, WEIGHT, SUMS = 0, 1, 2, 3, 4, 8
# Where gradients of several batches are accumulated, a third line has their weight so far, the number of batches of the
# group, whether this one is its last, and updates in this call before it.
GROUP_WEIGHT, GROUP_BATCHES, GROUP_ENDS, GROUP_UPDATES = range(4)

# Words of the random generator's state, and its position; and the words from one thread's to the next. In whole
# lines of the cache: a state that starts within one took three times as long to go on. And pages apart: what the
# processor fetches ahead, as a thread writes its state, must not be another thread's, which took 1.4 times as long.
STREAM, STREAM_ROOM = 625, 2048

# Weights whose gradient is computed at a time, before the rule is applied to them: the gradient
# and what the rule reads and writes stay in the second-level cache.
CHUNK = 1 << 16
# But so many rows at the least: the other operand of the gradient is read for each chunk.
LEAST_CHUNK_ROWS = 256
# Of so few columns, a gradient of weights is computed transposed: the other way round, rows fill vectors badly.
NARROW = 16
if max(CHUNK, LEAST_CHUNK_ROWS * NARROW) > PACKING_SIZE:
    raise RuntimeError(
        f"the buffer for copies of matrices has {PACKING_SIZE} values: too few for a gradient of weights"
    )
# Bytes that stay in the second-level cache from one part of a step to the next.
NEAR = 1 << 20


_INTEGERS = ("int8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
#: The dtypes that examples may have, each named by its place.
KINDS = tuple(map(np.dtype, ("float32", "float64", "uint8", "bool", *_INTEGERS, "float16")))


@record
class Examples(Record):
    """A set of examples, as it lies in memory."""

    address: int  # of the first one
    row_bytes: int  # from one to the next
    kind: int  # the place of its dtype in KINDS
    offsets: Int64s  # (D,): bytes from an example's address to each value; (0,) if they are adjacent


@record
class Parameter(Record):
    """An array of a layer's parameters, flat, and what its update needs."""

    value: Reals
    gradient: Reals  # (0,) where the rule is applied to a part of it at a time, and it is not stored
    state: Reals  # the rule's arrays, each as far behind the one before as the plan's `stride` says, and what follows


@record
class Layer(Record):
    """A layer: its parameters, and its activations and gradients for the batch."""

    d_in: int
    d_out: int
    in_row: int  # from a row of its input to the next: d_in, or more for the batch itself
    chunk_rows: int  # rows of W whose gradient is computed at a time
    W: Parameter
    b: Parameter
    gamma: Parameter
    beta: Parameter
    x: Reals  # (n, in_row): the batch, or the output of the layer before
    x_hat: Reals  # (n, d_out): what normalization keeps for the way back; `out` itself without normalization
    out: Reals  # (n, d_out): the affine output, then the layer's output in its place
    slope: Reals  # (n, d_out): of the activation, dropout included; (0,) for ReLU, whose output tells
    dout: Reals  # (n, d_out): the gradient at the affine output
    row_inv_std: Reals  # (n,): of layer normalization
    running_mean: Reals  # (d_out,)
    running_var: Reals  # (d_out,)
    eps: float
    momentum: float


@record
class Share(Record):
    """One thread's sums for one layer, each (d_out,) but one."""

    # published: written by the thread, read by all after the next barrier
    shift: Reals
    mean: Reals
    var: Reals
    dgamma: Reals
    dbeta: Reals
    db: Reals
    dW: Reals  # (d_in, d_out): of the thread's rows; (0,) where gradients are not summed by rows
    # the batch's, merged from what all threads have published; each thread has its own copy
    batch_shift: Reals
    batch_mean: Reals
    batch_inv_std: Reals
    batch_dgamma: Reals
    batch_dbeta: Reals


@record
class Thread(Record):
    """The memory that a thread has for itself."""

    index: int
    first: int  # its rows of the batch: the first one
    end: int  # and the one behind its last
    indices: Int64s  # (n,): each thread draws all of them
    order: Int64s  # (N,): the examples' order in an epoch, each thread's own; (0,) for draws with replacement
    rates: Float64s  # (L, 4): learning rates, by layer and kind of parameter, which a schedule multiplies
    stream: Uint32s  # (STREAM,): each thread follows the whole random stream
    sums: Float64s  # (3, SUMS)
    hyperparameters: Float64s  # (L, 4, MOST_HYPERPARAMETERS), by layer and kind of parameter
    notes: Float64s  # (NOTES,): what the rule's kernel remembers
    first_sums: Reals  # (n, the first layer's d_out): its features' part of that layer's affine output
    gradient_chunk: Reals  # the gradient of the weights that are updated next
    packing_buffer: Reals  # (PACKING_SIZE,): for a copy of a part of a matrix, or of a narrow gradient
    shares: Table[Share]  # by layer


@record
class Plan(Record):
    """A run."""

    batch: int
    num_threads: int
    depth: int  # number of layers
    features: int
    norm: int
    activation: int  # RELU, or the address of the activation's kernel
    rule: int  # the address of its kernel; 0 if the parameters are never updated
    stride: int  # from one of the rule's arrays to the next: the number of parameters
    dropout: int  # the address of its kernel; 0 for none
    seeded: bool  # the random stream starts anew at each dropout layer
    by_features: bool  # whether the threads split the first layer's product by features instead of rows
    gradients_by_rows: bool  # whether each thread sums its rows' gradients of all weights, which are then added up
    standardized: bool
    stores_gradients: bool
    gradients: Reals  # all of them, laid out like the parameters, if they are stored
    accumulated: Reals  # the sum of those of a group's batches before, each times its weight; (0,) for groups of one
    updates: bool  # whether the way back ends with the rule; if not, it must store gradients
    keep_threshold: int  # 53-bit integers below it keep a value
    keep_scale: float  # 1 / p
    reg: float
    reg_of_batch: bool  # whether it is divided by the batch's rows, or by the sum of their weights
    loss: int  # the address of its kernel, or the code of a loss of labels
    loss_parameter: float
    loss_scale: float  # of the loss that is told, without the penalty; gradients do not know it
    max_value: float  # to which gradients are clipped, by value; 0 for no bound
    max_norm: float  # and by the norm of all of them; needs stored gradients
    input_mean: Reals  # (features,)
    input_mean_rest: Reals  # (features,): what the mean has beyond the digits of its dtype
    input_scale: Reals  # (features,)
    seeded_stream: Uint32s  # (STREAM,): what a seeded dropout layer starts from
    layers: Table[Layer]
    threads: Table[Thread]
    barrier: Int64s

    @property
    def nbytes(self) -> int:
        """Bytes of the batch, activations, gradients and what threads have for themselves; not of parameters."""
        return cast(np.ndarray, self.layers[0].out.base).nbytes


@record
class Predictions(Record):
    """Predictions for some examples, in test mode. Each thread takes its share of them in blocks of rows."""

    examples: Examples
    subset: Int64s  # (count,): which of them; (0,) for the first ones
    count: int
    softmax: bool  # whether the scores are to be probabilities
    predictions: Int64s  # (count,): overwritten, unless it is (0,)
    scores: Reals  # (count, C): likewise
    first_block: int  # of each thread's blocks, which to begin with in this call
    blocks: int  # and how many to do at most


@record
class Check(Record):
    """An accuracy check on one set of examples, as one thread takes part in it."""

    job: Predictions  # its predictions are those of all threads, its subset is the thread's own
    y: Int64s  # (N,)
    drawn: bool  # whether the subset is drawn anew each time, from all N
    correct: Int64s  # (1,): overwritten with the number of right answers among the thread's share


@record
class Stopping(Record):
    """A stopping rule on a value that each epoch of a training has anyway, for all threads."""

    monitor: int  # ON_TRAINING or ON_VALIDATION for the accuracy, or MEAN_OF_LOSSES
    larger: bool  # whether large values are good
    min_delta: float  # by more than this a value must be better than the best one
    patience: float  # so many epochs in a row without an improvement end the call
    numbers: Float64s  # (T * LINE,): each thread's own, all equal
    best_params: Reals  # those of the last improvement, overwritten; (0,) if nobody asks for them


@record
class Validation(Record):
    """Examples whose value is taken at the end of each epoch, for all threads."""

    job: Predictions  # of those that count
    metric: int
    larger: bool  # whether large values are good
    y: Int64s  # (N,): labels; (0,) for a loss of targets
    targets: Reals  # (N, K): targets; (0,) for a loss of labels
    weights: Reals  # (N,): weights; (0,) for none
    total: float  # of the weights that count, or their number
    rows: Int64s  # (count,): which examples count
    spread: Float64s  # (K,): of the targets, for R^2
    gradient: Reals  # (count, K): overwritten, for the loss
    sums: Float64s  # (T, stride): overwritten
    stride: int
    values: Float64s  # (epochs,): overwritten
    watch: Float64s  # (VALIDATION_WATCH,): the stopping rule
    params: Reals
    keep: int  # the epoch whose parameters are copied: KEEP_NONE, KEEP_FIRST or KEEP_LAST of the best
    best_params: Reals
    best_statistics: Reals  # of each normalized layer its running mean and variance
    scale: Reals  # (features,): the features' factors, if the training learns them; else (0,)
    best_scale: Reals  # likewise
    progress: Int64s  # of the steps


@record
class Scaling(Record):
    """Factors of the features that a training learns beside the parameters, in one thread."""

    scale: Reals  # (features,): the plan's input_scale
    state: Reals  # (arrays * features,): the rule's arrays, one behind the other
    gradient: Reals  # (features,): overwritten
    products: Reals  # (n, features): overwritten
    X: Reals  # (N, features): the examples
    hyperparameters: Float64s  # (MOST_HYPERPARAMETERS,)
    rate: float  # the learning rate, which a schedule multiplies
    rates: Float64s  # (steps,): its factors; (0,) for none


@record
class Steps(Record):
    """A part of a training: some steps in one call, and what happens at the ends of epochs between them."""

    examples: Examples
    count: int  # N: how many there are
    y: Int64s  # (N,): their labels; (0,) for a loss of targets
    targets: Reals  # (N, K): their targets; (0,) for a loss of labels
    weights: Reals  # (N,): their weights in the loss; (0,) for none
    sampler: int  # how batches are drawn: REPLACEMENT, PERMUTATION or ORDER
    short: Plan  # of an epoch's last batch, if it has fewer rows: the same memory with other numbers of rows
    has_short: bool
    rates: Float64s  # (steps,): factors of the learning rates; (0,) for none
    watch: Float64s  # (WATCH,): the stopping rule on the training loss; (0,) for none
    average: Reals  # all parameters' exponential moving average; (0,) for none
    average_decay: float
    loss_function: int  # the address of somebody's own loss; 0 for the network's
    loss_labels: Int64s  # (n,): the batch's labels for it; (0,) if it takes targets
    loss_targets: Reals  # (n, K): the batch's targets for it; (0,) if it takes labels
    accumulate: int  # batches of an epoch whose gradients are accumulated before the rule is applied
    losses: Float64s  # (steps,): overwritten
    progress: Int64s  # (PROGRESS,): overwritten; what is missing if the threads were dismissed was not done
    before: int  # steps of the training before this call
    epoch: int  # steps of an epoch
    cycle: int  # steps that the threads' `order` has the examples of: an epoch's, or those of several epochs
    lr_decay: float
    checks: Table[Check]  # of thread i: 2 * i on the training examples, 2 * i + 1 for validation; none: no checks
    checked: bool
    accuracies: Float64s  # (2 * checks,): overwritten, training and validation by turns
    check_ends: Int64s  # (checks,): overwritten, nanoseconds from the call's beginning
    best_accuracy: Float64s  # (T * LINE,): each thread's copy of the best validation accuracy so far
    params: Reals  # all parameters of the network
    best_params: Reals  # those with the best validation accuracy
    validate: int  # the address of the kernel that validates at the ends of epochs; 0 for none
    validation: Table[Validation]
    validations: int  # how many
    learn_scale: int  # the address of the kernel that updates the features' factors and all parameters; 0 for none
    scaling: Table[Scaling]  # one or none
    call_ticks: int  # nanoseconds after which the call ends, at the next check
    stopping: Table[Stopping]  # rules that checks at the ends of epochs go by
    num_stopping: int
    loss_before: float  # the sum of the losses of the epoch that this call goes on with, as the Solver has them
    short_share: float  # a full batch's rows over those of an epoch's last batch
    epoch_batches: float  # batches of an epoch, of which the last one counts by its rows


@record
class StepPart(Record):
    """A part of a step whose batch is spread over several processes, as one of them carries it out."""

    steps: Steps
    own: Plan  # of the process's rows alone, in the same memory
    layer: int  # at which the part begins


@record
class Call(Record):
    """A call of a single pass in somebody else's loop, and what it takes beside the plan."""

    input_gradient: Reals  # (n, features): overwritten by a backward pass, unless it is (0,)
    step: int  # updates before this one
    params: Reals  # all parameters, to be moved towards others
    other_params: Reals
    tau: float  # the others' share of them


#: Places in :data:`fastfc.ops.samplers.SAMPLERS`.
REPLACEMENT, PERMUTATION, ORDER = range(3)

# The numbers in `Steps.watch`: the sum of the epoch's losses so far, by row; the least mean of an epoch; epochs since
# it was less by the tolerance; the tolerance; how many such epochs end the call; and whether one ends it whose losses
# are not all finite.
EPOCH_LOSS, LEAST, STALE, TOLERANCE, PATIENCE, FINITE, WATCH = range(7)

# The values that `Stopping` may go by, the first two numbered like the checks; and its numbers: the best value, whether
# there is one, epochs since then, and whether there was an improvement in this call.
ON_TRAINING, ON_VALIDATION, MEAN_OF_LOSSES = range(3)
STOP_BEST, STOP_BEGUN, STOP_WAITED, STOP_IMPROVED = range(4)

# The metrics of `Validation`: right labels, right signs of all outputs, the mean loss, R^2.
LABELS, SIGNS, MEAN_LOSS, COEFFICIENT = range(4)
# Of several epochs with the best value, the one whose parameters `Validation` keeps.
KEEP_NONE, KEEP_FIRST, KEEP_LAST = range(3)

# The numbers in `Validation.watch`: the best value and its epoch, from 1; epochs in all; epochs since there was an
# improvement; by how much a value must be better to be one; and how many epochs without one do not end the training.
BEST_VALUE, BEST_EPOCH, EPOCHS_SEEN, STALE_EPOCHS, LEAST_GAIN, MOST_STALE, VALIDATION_WATCH = range(7)

# The numbers in `Steps.progress`: steps and checks that are done; the last check with the best accuracy, from 1, 0 for
# none; whether the call is to end; nanoseconds of the checks and of all.
DONE, CHECKED, BEST, ENDING, CHECK_TICKS, TICKS, PROGRESS = range(7)
#: Words of 8 bytes in a line of the cache.
LINE = 8
