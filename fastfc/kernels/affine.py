"""Affine layer: out = x @ w + b."""

import numpy as np

from fastfc.kernels.compiler.jit import inline, kernel
from fastfc.kernels.lowering.blas import gemm
from fastfc.kernels.lowering.math import assign


def affine_forward(x, w, b):
    rows = x.reshape(len(x), len(w))
    out = np.empty((len(x), w.shape[1]), x.dtype)
    _forward(out, rows, w, b)
    return out, (x, w, b)


def affine_backward(dout, cache):
    x, w, _ = cache
    rows = x.reshape(len(x), len(w))
    dx, dw, db = np.empty_like(rows), np.empty_like(w), np.empty(w.shape[1], w.dtype)
    _backward(dx, dw, db, dout, rows, w)
    return dx.reshape(x.shape), dw, db


@inline
def affine(out, x, w, b):
    """Overwrites out (N, M) with x (N, D) @ w (D, M) + b (M,)."""
    n, d = x.shape
    m = w.shape[1]
    for i in range(n):
        assign(out[i], b)
    gemm(False, False, n, m, d, x, d, w, m, 1, out, m)


@inline
def affine_gradients(dx, dw, db, dout, x, w):
    """Overwrites dx (N, D), dw (D, M) and db (M,); dout (N, M), x (N, D), w (D, M)."""
    n, d = x.shape
    m = w.shape[1]
    gemm(False, True, n, d, m, dout, m, w, m, 0, dx, d)
    gemm(True, False, d, m, n, x, d, dout, m, 0, dw, m)
    column_sums(db, dout)


@inline
def column_sums(total, x):
    """Overwrites total (D,) with the sums of the columns of x (N, D)."""
    total[:] = 0
    for i in range(x.shape[0]):
        row = x[i]
        for j in range(total.size):
            total[j] += row[j]


@kernel
def _forward(out, x, w, b):
    affine(out, x, w, b)


@kernel
def _backward(dx, dw, db, dout, x, w):
    affine_gradients(dx, dw, db, dout, x, w)
