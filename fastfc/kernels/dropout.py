"""Inverted dropout on NumPy's global random stream. See :mod:`fastfc.reference.dropout`."""

import numpy as np

from fastfc.kernels.compiler.jit import inline, kernel
from fastfc.kernels.lowering.random import keep_mask


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


@kernel
def _apply(out, x, mask):
    for i in range(out.size):
        out[i] = x[i] * mask[i]
