"""Elementary functions that vectorize."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from fastfc.kernels.compiler.jit import inline, reassociated


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


def expm1(x):
    """e**x - 1 for a float x <= 0, in x's dtype, within 3 ulp. NaN stays NaN."""
    return np.expm1(x)


@overload(expm1)
def _expm1_compiled(x):
    return {types.float32: _expm1_32, types.float64: _expm1_64}[x]


# With x = n ln(2) + r, e**x - 1 = 2**n (e**r - 1) + (2**n - 1): for n = 0 it is as exact as the series, and for
# n <= -1, where the result is below -0.29, the sum cancels by a factor of 2 at most.


@inline
def _expm1_32(x):
    n = np.floor(x * np.float32(_LOG2E) + np.float32(0.5))
    n = n if n > np.float32(-126) else np.float32(-126)
    r = (x - n * _LN2_HIGH_32) - n * _LN2_LOW_32
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = p * (r * r) + r
    scale = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(-1) if x < np.float32(-87) else p * scale + (scale - np.float32(1))


@inline
def _expm1_64(x):
    n = np.floor(x * _LOG2E + 0.5)
    n = n if n > -1022.0 else -1022.0
    r = (x - n * _LN2_HIGH_64) - n * _LN2_LOW_64
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
    p = p * (r * r) + r
    scale = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return -1.0 if x < -708.0 else p * scale + (scale - 1.0)


def log1p(x):
    """log(1 + x) for a float 0 <= x <= 1, in x's dtype, within 3 ulp. NaN stays NaN."""
    return np.log1p(x)


@overload(log1p)
def _log1p_compiled(x):
    return {types.float32: _log1p_32, types.float64: _log1p_64}[x]


# log(1 + x) = 2 artanh(s) with s = x / (2 + x) <= 1/3: the series in s**2 ends before a term of half an ulp.


@inline
def _log1p_32(x):
    s = x / (np.float32(2) + x)
    z = s * s
    p = np.float32(2 / 15)
    p = p * z + np.float32(2 / 13)
    p = p * z + np.float32(2 / 11)
    p = p * z + np.float32(2 / 9)
    p = p * z + np.float32(2 / 7)
    p = p * z + np.float32(2 / 5)
    p = p * z + np.float32(2 / 3)
    return (p * z) * s + np.float32(2) * s


@inline
def _log1p_64(x):
    s = x / (2.0 + x)
    z = s * s
    p = 2 / 33
    p = p * z + 2 / 31
    p = p * z + 2 / 29
    p = p * z + 2 / 27
    p = p * z + 2 / 25
    p = p * z + 2 / 23
    p = p * z + 2 / 21
    p = p * z + 2 / 19
    p = p * z + 2 / 17
    p = p * z + 2 / 15
    p = p * z + 2 / 13
    p = p * z + 2 / 11
    p = p * z + 2 / 9
    p = p * z + 2 / 7
    p = p * z + 2 / 5
    p = p * z + 2 / 3
    return (p * z) * s + 2.0 * s


def scaled_normal_tail(x):
    """e**(x**2 / 2) * P(Z > x) for a standard normal Z and a float x >= 0, in x's dtype, within 4 ulp."""
    # Beyond 30 the product of both is lost; the first term of the asymptotic series is off by 1 / x**2 there.
    x = float(x)
    if x > 30:
        return 1 / (x * math.sqrt(2 * math.pi)) * (1 - 1 / x**2 + 3 / x**4)
    return math.exp(x * x / 2) * math.erfc(x * math.sqrt(0.5)) / 2


@overload(scaled_normal_tail)
def _scaled_normal_tail_compiled(x):
    return {types.float32: _scaled_normal_tail_32, types.float64: _scaled_normal_tail_64}[x]


# The quotient of the function and t = k / (k + x), which runs from 1 to 0, interpolated at Chebyshev's nodes in
# u = 2 t - 1 and written in powers of u. Relative errors: 1.2e-8 of degree 10 with k = 3.5, 1.2e-17 of degree 24
# with k = 4.


@inline
def _scaled_normal_tail_32(x):
    t = np.float32(3.5) / (np.float32(3.5) + x)
    u = np.float32(2) * t - np.float32(1)
    p = np.float32(-1.421911124e-5)
    p = p * u - np.float32(9.895771663e-6)
    p = p * u + np.float32(0.0001293411199)
    p = p * u + np.float32(0.0001193624566)
    p = p * u - np.float32(0.0009082816859)
    p = p * u - np.float32(0.001847209736)
    p = p * u + np.float32(0.004973159638)
    p = p * u + np.float32(0.03315687011)
    p = p * u + np.float32(0.09012144513)
    p = p * u + np.float32(0.1615891168)
    p = p * u + np.float32(0.2126903073)
    return p * t


@inline
def _scaled_normal_tail_64(x):
    t = 4.0 / (4.0 + x)
    u = 2.0 * t - 1.0
    p = 8.789231066702325e-11
    p = p * u + 2.9355268848117663e-11
    p = p * u - 9.495104649893623e-10
    p = p * u + 1.505250931987869e-10
    p = p * u + 5.401106710680101e-09
    p = p * u - 4.470468102375854e-09
    p = p * u - 2.1783236553668727e-08
    p = p * u + 3.995669152609669e-08
    p = p * u + 6.817940208155963e-08
    p = p * u - 2.562081265236581e-07
    p = p * u - 1.5749935662910555e-07
    p = p * u + 1.4804097004947042e-06
    p = p * u + 1.791815994676254e-07
    p = p * u - 8.786280640031454e-06
    p = p * u - 4.770662713356697e-07
    p = p * u + 5.777375499800162e-05
    p = p * u + 3.333607817507696e-05
    p = p * u - 0.0004077046169516111
    p = p * u - 0.0008699230918471039
    p = p * u + 0.0018850472418548913
    p = p * u + 0.015099143722734017
    p = p * u + 0.04663046448990883
    p = p * u + 0.09678435018555363
    p = p * u + 0.15197416049297308
    p = p * u + 0.18882128260393788
    return p * t


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
def multiply_by(out, factor):
    """Multiplies out (n,) by a number."""
    factor = out.dtype.type(factor)
    for i in range(out.size):
        out[i] *= factor


@inline
def clip(out, bound):
    """Overwrites out (n,) with its values, those beyond -bound or bound with that; NaN stays NaN."""
    bound = out.dtype.type(bound)
    for i in range(out.size):
        value = bound if out[i] > bound else out[i]
        out[i] = -bound if value < -bound else value


@reassociated
def sum_of(x):
    """The sum of x (n,), in its dtype."""
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


@reassociated
def sum_of_squares(x):
    """The sum of x**2 over x (n,), in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@inline
def rectify(x):
    """Overwrites x (n,) with max(x, 0); written so that NaN, for which every comparison is false, stays."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        # Without the sum, which makes 0 of -0, LLVM stores only where x changes: AVX2 takes 4 times as long for it.
        x[i] = (zero if zero > x[i] else x[i]) + zero


@inline
def fill(out, value):
    """Overwrites out (n,) with a number."""
    value = out.dtype.type(value)
    for i in range(out.size):
        out[i] = value


@inline
def clear(out):
    """Overwrites out (n,) with zeros."""
    fill(out, 0)
