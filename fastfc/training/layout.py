"""Where the parts of a run's memory lie: all of a dtype in one buffer, each on cache lines of its own."""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastfc._runtime.constants import PACKING_SIZE
from fastfc._runtime.record import Buffer, Part
from fastfc.ops.rules import MOST_HYPERPARAMETERS, NOTES
from fastfc.params import aligned_empty, aligned_zeros
from fastfc.training.memory import GRADIENTS, PARAMETERS, STREAM, STREAM_ROOM, SUMS, Share
from fastfc.training.splitting import row_size, rows_of_chunk


class Space:
    """The places of parts in a buffer; those of scratch are never read before they are written."""

    def __init__(self, dtype: np.dtype, is_scratch: bool = False) -> None:
        self._line = 64 // dtype.itemsize
        self.dtype, self.is_scratch = dtype, is_scratch
        self.parts: list[tuple[int, int]] = []
        self.end = 0

    def reserve(self, size: int, space: int = 0) -> int:
        """The number of a new part of `size` values, which takes `space` values if that is more."""
        self.parts.append((self.end, size))
        self.end += -(-max(size, space) // self._line) * self._line
        return len(self.parts) - 1


def parts_of(space: Space) -> list[Part]:
    """New memory for a space: all its parts, zeros unless it is scratch."""
    part = Buffer((aligned_empty if space.is_scratch else aligned_zeros)(space.end, space.dtype)).part
    return [part(start, size) for start, size in space.parts]


class Layout(NamedTuple):
    """The numbers of a plan's parts; lists are by layer, or by thread and then by layer."""

    #: Of the network's numbers, those of scratch, words, float64 numbers and integers.
    spaces: tuple[Space, ...]
    x_row: int
    chunk_rows: list[int]
    x: int
    mean: int
    rest: int
    scale: int
    gradients: list[int]
    first_sums: list[int]
    row_inv_std: list[int]
    chunks: list[int]
    packing: list[int]
    shares: list[list[list[tuple[str, int]]]]
    x_hat: list[int]
    out: list[int]
    slope: list[int]
    running: list[tuple[int, int]]
    streams: list[int]
    seeded_stream: int
    sums: list[list[int]]
    indices: list[int]


# A search over small networks makes the same few plans again and again.
@functools.lru_cache(maxsize=64)
def layout(
    dims: Sequence[int],
    dtype: np.dtype,
    batch: int,
    threads: int,
    normalized: bool,
    sloped: bool,
    by_features: bool,
    by_rows: bool,
) -> Layout:
    """The layout of a run on batches of `batch` rows; nobody may change it.

    Hidden layers are `normalized`, `sloped` if their activation keeps its slope; see
    :class:`fastfc.training.memory.Plan` for the others.
    """
    depth, widths = len(dims) - 1, dims[1:]
    chunk_rows = [rows_of_chunk(-(-d // threads), d_out) for d, d_out in pairwise(dims)]
    computed = dims[:-1] if by_rows else chunk_rows
    chunk = max(rows * d_out for rows, d_out in zip(computed, widths, strict=True))
    x_row = row_size(dims[0], dtype.itemsize)
    words, numbers, integers = (Space(np.dtype(kind)) for kind in (np.uint32, np.float64, np.int64))
    # The packing buffers are larger than all else of a small run: clearing them would take longer than the rest.
    reals, scratch = Space(dtype), Space(dtype, is_scratch=True)
    kinds = depth * len(PARAMETERS)

    def shares_of_thread() -> list[list[tuple[str, int]]]:
        # Of a single unit's weights, each thread sums the gradient in any case.
        weights = [d_in * d if by_rows or d == 1 else 0 for d_in, d in pairwise(dims)]
        sizes = [{**dict.fromkeys(Share.fields, d), "dW": size} for d, size in zip(widths, weights, strict=True)]
        return [[(name, reals.reserve(size)) for name, size in of_layer.items()] for of_layer in sizes]

    # The order is that in which a step comes across the parts.
    return Layout(
        spaces=(reals, scratch, words, numbers, integers),
        x_row=x_row,
        chunk_rows=chunk_rows,
        x=reals.reserve(batch * x_row),
        mean=reals.reserve(dims[0]),
        rest=reals.reserve(dims[0]),
        scale=reals.reserve(dims[0]),
        # Threads that do not meet at each layer may be at any two of them.
        gradients=[reals.reserve(batch * max(widths)) for _ in range(depth if by_rows else GRADIENTS)],
        first_sums=[reals.reserve(batch * dims[1] if by_features else 0) for _ in range(threads)],
        row_inv_std=[reals.reserve(batch) for _ in range(depth)],
        chunks=[reals.reserve(chunk) for _ in range(threads)],
        packing=[scratch.reserve(PACKING_SIZE) for _ in range(threads)],
        shares=[shares_of_thread() for _ in range(threads)],
        x_hat=[reals.reserve(batch * d if normalized and i < depth - 1 else 0) for i, d in enumerate(widths)],
        out=[reals.reserve(batch * d) for d in widths],
        slope=[reals.reserve(batch * d if sloped and i < depth - 1 else 0) for i, d in enumerate(widths)],
        running=[(reals.reserve(d), reals.reserve(d)) for d in widths],
        streams=[words.reserve(STREAM, STREAM_ROOM) for _ in range(threads)],
        seeded_stream=words.reserve(STREAM),
        sums=[
            [numbers.reserve(size) for size in (3 * SUMS, NOTES, kinds * MOST_HYPERPARAMETERS, kinds)]
            for _ in range(threads)
        ],
        indices=[integers.reserve(batch) for _ in range(threads)],
    )
