"""Inverted dropout on NumPy's global random stream. See :mod:`fastfc.reference.dropout`."""

import numpy as np
from numba.core import types

from fastfc.kernels.compiler.jit import glue, inline, kernel
from fastfc.kernels.compiler.standalone import Alternatives
from fastfc.kernels.lowering.math import assign, fill
from fastfc.kernels.lowering.random import drop, keep_mask, skip_words
from fastfc.kernels.lowering.views import array_at, pointer_to, vector


def dropout_forward(x, dropout_param):
    if dropout_param.get("seed") is not None:
        np.random.seed(dropout_param["seed"])
    if dropout_param["mode"] == "test":
        return x.copy(), (dropout_param, None)
    mask = keep_mask(x.shape, dropout_param["p"], x.dtype)
    return _product(x, mask), (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    if dropout_param["mode"] == "test":
        return dout.copy()
    return _product(dout, mask)


def _product(x, mask):
    out = np.empty_like(x)
    _apply(out.reshape(-1), x.reshape(-1), mask.reshape(-1))
    return out


@inline
def apply_mask(out, mask):
    """Overwrites out (n,) with out * mask."""
    for i in range(out.size):
        out[i] *= mask[i]


def _drop_rows(
    x, size, slope, slope_size, scratch, scratch_size, stream, stream_size, seeded_stream, seeded, before, behind,
    threshold, scale,
):  # fmt: skip
    x, stream = array_at(x, size), array_at(stream, stream_size)
    if seeded > 0:
        assign(stream, array_at(seeded_stream, stream_size))
    skip_words(stream, before)
    if slope_size == 0:
        drop(x, stream, threshold, scale)
    else:
        _drop_both(x, array_at(slope, slope_size), array_at(scratch, scratch_size), stream, threshold, scale)
    skip_words(stream, behind)


@inline
def _drop_both(x, slope, scratch, stream, threshold, scale):
    """Dropout of values and slopes (n,) by the same numbers of the stream."""
    for start in range(0, x.size, scratch.size):
        mask = vector(scratch, 0, min(scratch.size, x.size - start))
        fill(mask, 1)
        drop(mask, stream, threshold, scale)
        apply_mask(vector(x, start, mask.size), mask)
        apply_mask(vector(slope, start, mask.size), mask)


def _drop_kinds(dtype):
    real, words, count = pointer_to(dtype), pointer_to(np.uint32), types.int64
    arrays = real, count, real, count, real, count, words, count, words
    return *arrays, count, count, count, count, types.float64


#: The kernel of dropout, which runs with dropout call.
DROPOUT_KERNELS = Alternatives(types.void, _drop_kinds, {"drop_rows": _drop_rows})
_call_drop = DROPOUT_KERNELS.caller()


@glue
def drop_rows(kernel, x, slope, scratch, stream, seeded_stream, seeded, before, behind, threshold, scale):
    """Dropout of a layer's values x (n,), and of its slopes (n,) unless they are (0,), by the same numbers.

    The stream starts anew from seeded_stream if that is so; `before` and `behind` are words of it that are others'.
    It drops as :func:`fastfc.kernels.lowering.random.drop` does; scratch (any,) is overwritten.
    """
    _call_drop(
        kernel,
        (x, x.size, slope, slope.size, scratch, scratch.size, stream, stream.size, seeded_stream, seeded, before,
         behind, threshold, scale),
    )  # fmt: skip


@kernel
def _apply(out, x, mask):
    for i in range(out.size):
        out[i] = x[i] * mask[i]
