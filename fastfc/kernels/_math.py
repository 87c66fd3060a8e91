"""Elementary functions that vectorize.

Numba calls libm's ``exp`` element by element; a range-reduced polynomial turns into
packed instructions.
"""

import numpy as np

from fastfc.kernels._jit import exact, inline

_LOG2E = 1.4426950408889634
# ln 2 in two parts, the first with zeros at its end: n * _LN2_HIGH is exact for every n that occurs.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10


@exact
def exp(x):
    """e**x in float64 for x <= 709, 0 below -708; NaN stays NaN. Within 2 ulp."""
    n = np.floor(x * _LOG2E + 0.5)
    n = n if n > -1022.0 else -1022.0
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    # Taylor series on |r| <= ln(2) / 2: the next term, r**14 / 14!, is below 2**-57.
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    scale = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return 0.0 if x < -708.0 else p * scale


@inline
def assign(out, x):
    """Overwrites out (n,) with x (n,); ``out[:] = x`` tests for overlap first and takes three times as long."""
    for i in range(out.size):
        out[i] = x[i]
