"""Elementary functions that vectorize."""

import numpy as np
from numba import types
from numba.extending import overload

from fastfc.kernels.compiler.jit import inline


def exp(x):
    """e**x for a float x <= 0, in x's dtype, within 2 ulp; 0 where the result is not a normal number.

    Numba calls libm element by element; these polynomials, on |r| <= ln(2) / 2 with
    x = n ln(2) + r, turn into packed instructions. NaN stays NaN.
    """
    return np.exp(x)


@overload(exp)
def _exp_compiled(x):
    return {types.float32: _exp32, types.float64: _exp64}[x]


# ln 2 in two parts, the first with zeros at its end: n * LN2_HIGH is exact for every n that occurs.
_LN2_HIGH_32, _LN2_LOW_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LN2_HIGH_64, _LN2_LOW_64 = 0.6931471803691238, 1.9082149292705877e-10
_LOG2E = 1.4426950408889634


@inline
def _exp32(x):
    n = np.floor(x * np.float32(_LOG2E) + np.float32(0.5))
    # Not so for NaN, whose n would have no integer.
    n = n if n > np.float32(-126) else np.float32(-126)
    r = (x - n * _LN2_HIGH_32) - n * _LN2_LOW_32
    # Taylor series: the next term, r**8 / 8!, is below 2**-27.
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = p * r + np.float32(1)
    p = p * r + np.float32(1)
    scale = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(0) if x < np.float32(-87) else p * scale


@inline
def _exp64(x):
    n = np.floor(x * _LOG2E + 0.5)
    n = n if n > -1022.0 else -1022.0
    r = (x - n * _LN2_HIGH_64) - n * _LN2_LOW_64
    # Taylor series: the next term, r**14 / 14!, is below 2**-57.
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    p = p * r + 1.0
    p = p * r + 1.0
    scale = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return 0.0 if x < -708.0 else p * scale


@inline
def assign(out, x):
    """Overwrites out (n,) with x (n,); ``out[:] = x`` tests for overlap first and takes three times as long."""
    for i in range(out.size):
        out[i] = x[i]


@inline
def add(total, x):
    """Adds x (n,) to total (n,)."""
    for i in range(total.size):
        total[i] += x[i]


@inline
def clear(out):
    """Overwrites out (n,) with zeros."""
    zero = out.dtype.type(0)
    for i in range(out.size):
        out[i] = zero
