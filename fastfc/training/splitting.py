"""How the work of a step is split among threads, and into parts that stay in near caches."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fastfc.training.memory import CHUNK, LEAST_CHUNK_ROWS
from fastfc.training.network import Network

# Of a thread, where the features are split: its sums for all rows must be worth storing.
_LEAST_FEATURES = 64
# Bytes of gradients that each thread has for itself: they and what they are computed from stay in a near cache.
_NEAR_GRADIENTS = 1 << 18
# Values in a row of the batch from which on a gap between rows does not matter.
_LONG_ROW = 256


def splits_features(batch: int, dims: Sequence[int], threads: int) -> bool:
    """Whether the threads split the first layer's product by features instead of rows.

    By rows, each thread reads all weights, and for their gradient its features of all rows: most of it
    comes from other processors' caches. By features it writes sums for all rows, and reads those of its own.
    """
    d_in, d_out = dims[:2]
    return (
        threads > 1
        and d_in // threads >= _LEAST_FEATURES
        and 2 * batch * d_out < d_in * d_out + batch * d_in // threads
    )


def sums_gradients_by_rows(model: Network, batch: int, threads: int) -> bool:
    """Whether each thread sums the gradients of all weights over its own rows, for the others to add up.

    Otherwise it computes those of its share of the weights from all rows, most of which come from other processors'
    caches, and the threads meet at every layer. Batch normalization has them meet there anyway.
    """
    weights = sum(d_in * d_out for d_in, d_out in pairwise(model.dims))
    of_rows = batch * sum(d_out + d_in // threads for d_in, d_out in pairwise(model.dims))
    near = weights * np.dtype(model.dtype).itemsize <= _NEAR_GRADIENTS
    return threads > 1 and near and weights < of_rows and model.normalization != "batchnorm"


def row_size(d: int, itemsize: int) -> int:
    """From one row of d values to the next, if they are not adjacent: long rows take an odd number of cache lines.

    Rows whose distance is a multiple of a high power of two share the same few places of a cache.
    """
    line = 64 // itemsize
    return d if d <= _LONG_ROW else (-(-d // line) // 2 * 2 + 1) * line


def rows_of_chunk(share: int, d_out: int) -> int:
    """How many of a thread's share of a layer's rows of weights make a chunk: chunks as even as can be."""
    most = max(CHUNK // d_out, LEAST_CHUNK_ROWS)
    return -(-share // -(-share // most))
