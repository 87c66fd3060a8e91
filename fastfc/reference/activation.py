"""Activations: x of any shape -> out and cache; dout and cache -> dx.

ReLU's cache is x, every other one's the slope, d out / d x.
"""

import math

import numpy as np

# Klambauer et al. 2017, equations 1 and 14.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_GELU_CUBIC, _GELU_SCALE = 0.044715, math.sqrt(2 / math.pi)


def relu_forward(x):
    """out = max(x, 0), NaN stays NaN -> out, cache."""
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    """dx = dout where x > 0, else 0."""
    x = cache
    return np.where(x > 0, dout, dout.dtype.type(0))


def _named(name):
    """The function dx = dout * slope under a name."""

    def backward(dout, cache):
        return dout * cache

    backward.__name__ = backward.__qualname__ = name
    return backward


def leaky_relu_forward(x):
    """out = x where x > 0, else 0.01 x."""
    slope = np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01))
    return x * slope, slope


def tanh_forward(x):
    """out = tanh(x)."""
    out = np.tanh(x)
    return out, (1 - out) * (1 + out)


def logistic_forward(x):
    """out = 1 / (1 + exp(-x))."""
    out, rest = _logistic(x)
    return out, out * rest


def identity_forward(x):
    """out = x."""
    return x.copy(), np.ones_like(x)


def selu_forward(x):
    """out = scale * elu(x), for x <= 0 with a factor alpha."""
    scale, alpha = x.dtype.type(_SELU_SCALE), x.dtype.type(_SELU_SCALE * _SELU_ALPHA)
    low = np.minimum(x, 0)
    return np.where(x > 0, scale * x, alpha * np.expm1(low)), np.where(x > 0, scale, alpha * np.exp(low))


def elu_forward(x):
    """out = x where x > 0, else exp(x) - 1."""
    low = np.minimum(x, 0)
    return np.where(x > 0, x, np.expm1(low)), np.where(x > 0, x.dtype.type(1), np.exp(low))


def silu_forward(x):
    """out = x * logistic(x)."""
    s, rest = _logistic(x)
    return x * s, s * (1 + x * rest)


def gelu_forward(x):
    """out = x * Phi(x), Phi the distribution function of the standard normal."""
    phi = x.dtype.type(1 / math.sqrt(2 * math.pi)) * np.exp(-x * x / 2)
    Phi = _normal_cdf(x)
    return x * Phi, Phi + x * phi


def gelu_tanh_forward(x):
    """out = 0.5 x (1 + tanh(u)) = x * logistic(2 u), with u = sqrt(2 / pi) (x + 0.044715 x**3)."""
    scale, cubic = x.dtype.type(2 * _GELU_SCALE), x.dtype.type(_GELU_CUBIC)
    s, rest = _logistic(scale * (x + cubic * (x * x) * x))
    return x * s, s + x * (s * rest) * (scale * (1 + 3 * cubic * (x * x)))


def mish_forward(x):
    """out = x * t, with t = tanh(softplus(x)) as a quotient of polynomials in e = exp(-|x|)."""
    e = np.exp(-np.abs(x))
    top, rest = np.where(x < 0, e * (e + 2), 1 + 2 * e), np.where(x < 0, x.dtype.type(2), 2 * e * e)
    t = top / (top + rest)
    return x * t, t + x * (rest / (top + rest) * (1 + t)) * _logistic(x)[0]


def softplus_forward(x):
    """out = log(1 + exp(x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), _logistic(x)[0]


leaky_relu_backward = _named("leaky_relu_backward")
tanh_backward = _named("tanh_backward")
logistic_backward = _named("logistic_backward")
identity_backward = _named("identity_backward")
selu_backward = _named("selu_backward")
elu_backward = _named("elu_backward")
silu_backward = _named("silu_backward")
gelu_backward = _named("gelu_backward")
gelu_tanh_backward = _named("gelu_tanh_backward")
mish_backward = _named("mish_backward")
softplus_backward = _named("softplus_backward")


def _logistic(x):
    """logistic(x), and 1 - logistic(x) without cancellation."""
    e = np.exp(-np.abs(x))
    large, small = 1 / (1 + e), e / (1 + e)
    return np.where(x < 0, small, large), np.where(x < 0, large, small)


def _normal_cdf(x):
    """In float64, of which float32 and float64 results are the roundings: NumPy has no error function."""
    return (np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5)) / 2).astype(x.dtype)


# Magnitudes of value and slope at x in float64: their formulas evaluated with absolute values; see fastfc/ops/cases.py.


def tanh_magnitudes(x):
    """Magnitudes of a function between -1 and 1 with a slope in its powers."""
    return np.minimum(np.abs(x), 1.0), np.full_like(x, 2.0)


def identity_magnitudes(x):
    return np.abs(x), np.ones_like(x)


def elu_magnitudes(x):
    """Of x for x > 0, else e**x - 1."""
    return np.where(x > 0, np.abs(x), np.minimum(np.abs(x), 1.0)), np.ones_like(x)


def selu_magnitudes(x):
    value, slope = elu_magnitudes(x)
    return 2 * value, 2 * slope


def softplus_magnitudes(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), _logistic(x)[0]


def silu_magnitudes(x):
    s = _logistic(x)[0]
    return np.abs(x) * s, s * (1 + np.abs(x))


def gelu_magnitudes(x):
    # An error in the exponent -x**2 / 2 is relative to it.
    tail = _logistic(1.5 * x)[0] * (1 + x * x / 2)
    density = np.exp(-x * x / 2) * (1 + x * x / 2)
    return np.abs(x) * tail, tail + np.abs(x) * density


def gelu_tanh_magnitudes(x):
    u = np.abs(x) * (1 + 0.044715 * x * x) * np.sqrt(2 / np.pi)
    s, rest = _logistic(2 * np.sign(x) * u)[0], _logistic(-2 * np.sign(x) * u)[0]
    # An error in the exponent 2 u is relative to it.
    spread = 1 + 2 * u * rest
    slope_of_u = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)
    return np.abs(x) * s * spread, s * spread + 2 * np.abs(x) * s * rest * (1 + 2 * u) * slope_of_u


def mish_magnitudes(x):
    e = np.exp(-np.abs(x))
    tau = np.where(x < 0, e * (e + 2) / (e * (e + 2) + 2), (1 + 2 * e) / (1 + 2 * e + 2 * e * e))
    return np.abs(x) * tau, tau + np.abs(x) * (1 + tau * tau) * _logistic(x)[0]


def logistic_magnitudes(x):
    return _logistic(x)[0], 2 * _logistic(x)[0]


leaky_relu_magnitudes = identity_magnitudes
