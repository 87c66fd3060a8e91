"""Activations on values that lie flat. See :mod:`fastfc.reference.activation`.

All but ReLU are a function ``<name>(x) -> value, slope`` of one number; loops over it are packed.
"""

import math

import numpy as np
from numba.core import types

from fastfc.kernels.compiler.jit import glue, inline, kernel
from fastfc.kernels.compiler.standalone import Alternatives
from fastfc.kernels.lowering.math import exp, expm1, log1p, scaled_normal_tail
from fastfc.kernels.lowering.views import array_at, pointer_to
from fastfc.ops.activations import ACTIVATIONS, SLOPED

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_GELU_CUBIC, _GELU_SCALE = 0.044715, math.sqrt(2 / math.pi)
_DENSITY = 1 / math.sqrt(2 * math.pi)


def relu_forward(x):
    out = np.empty_like(x)
    _forward(out.reshape(-1), x.reshape(-1))
    return out, x


def relu_backward(dout, cache):
    dx = np.empty_like(dout)
    _backward(dx.reshape(-1), dout.reshape(-1), cache.reshape(-1))
    return dx


# ------------------------------------------------------------------------------------------------------- ReLU


@inline
def relu_backward_values(dx, dout, out, scale):
    """Overwrites dx (n,) with scale * dout where out > 0, else 0: ReLU's and dropout's gradient."""
    zero = dout.dtype.type(0)
    for i in range(dx.size):
        dx[i] = dout[i] * scale if out[i] > zero else zero


@inline
def relu_backward_in_place(dx, out, scale):
    """Overwrites dx (n,) with scale * dx where out > 0, else 0."""
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        dx[i] = dx[i] * scale if out[i] > zero else zero


@kernel
def _forward(out, x):
    # out (n,), x (n,)
    zero = x.dtype.type(0)
    for i in range(x.size):
        out[i] = zero if x[i] <= zero else x[i]


@kernel
def _backward(dx, dout, x):
    # dx (n,), dout (n,), x (n,)
    relu_backward_values(dx, dout, x, x.dtype.type(1))


# ----------------------------------------------------- the others: value and slope of a number of the dtype `real`


@inline
def leaky_relu(x, real):
    slope = real(1) if x > real(0) else real(0.01)
    return x * slope, slope


@inline
def tanh(x, real):
    e = expm1(real(-2) * abs(x))
    size = -e / (real(2) + e)
    return math.copysign(size, x), (real(1) - size) * (real(1) + size)


@inline
def logistic(x, real):
    out, rest = _logistic(x, real)
    return out, out * rest


@inline
def identity(x, real):
    return x, real(1)


@inline
def selu(x, real):
    low = expm1(real(0) if x > real(0) else x)
    scale, alpha = real(_SELU_SCALE), real(_SELU_SCALE * _SELU_ALPHA)
    return (scale * x, scale) if x > real(0) else (alpha * low, alpha * (low + real(1)))


@inline
def elu(x, real):
    low = expm1(real(0) if x > real(0) else x)
    return (x, real(1)) if x > real(0) else (low, low + real(1))


@inline
def silu(x, real):
    s, rest = _logistic(x, real)
    return x * s, s * (real(1) + x * rest)


@inline
def gelu(x, real):
    bell = exp(x * x * real(-0.5))
    tail = bell * scaled_normal_tail(abs(x))
    below = tail if x < real(0) else real(1) - tail
    return x * below, below + x * (real(_DENSITY) * bell)


@inline
def gelu_tanh(x, real):
    scale, square = real(2 * _GELU_SCALE), x * x
    s, rest = _logistic(scale * (x + real(_GELU_CUBIC) * square * x), real)
    slope_of_exponent = scale * (real(1) + real(3 * _GELU_CUBIC) * square)
    return x * s, s + x * (s * rest) * slope_of_exponent


@inline
def mish(x, real):
    e = exp(-abs(x))
    top = e * (e + real(2)) if x < real(0) else real(1) + real(2) * e
    rest = real(2) if x < real(0) else real(2) * e * e
    t = top / (top + rest)
    s, _ = _logistic(x, real)
    return x * t, t + x * (rest / (top + rest) * (real(1) + t)) * s


@inline
def softplus(x, real):
    s, _ = _logistic(x, real)
    return (x if x > real(0) else real(0)) + log1p(exp(-abs(x))), s


@inline
def _logistic(x, real):
    """logistic(x), and 1 - logistic(x) without cancellation."""
    e = exp(-abs(x))
    large = real(1) / (real(1) + e)
    small = e * large
    return (small, large) if x < real(0) else (large, small)


# ------------------------------------------------------------------------------------------ loops and operations


def _loops(name):
    """The two loops over an activation: with slopes, for training, and without."""
    function = globals()[name]

    @inline
    def with_slopes(x, slope):
        for i in range(x.size):
            x[i], slope[i] = function(x[i], x.dtype.type)

    @inline
    def alone(x):
        for i in range(x.size):
            x[i] = function(x[i], x.dtype.type)[0]

    return with_slopes, alone


def _activation(name):
    """The kernel that the compiled run calls for an activation."""
    with_slopes, alone = _loops(name)

    def activation(x, size, slope, slopes):
        if slopes > 0:
            with_slopes(array_at(x, size), array_at(slope, size))
        else:
            alone(array_at(x, size))

    return activation


def _activation_kinds(dtype):
    real = pointer_to(dtype)
    return real, types.int64, real, types.int64


#: The kernels of all activations but ReLU, by their names.
ACTIVATION_KERNELS = Alternatives(
    types.void, _activation_kinds, {ACTIVATIONS[name].run_kernel: _activation(name) for name in SLOPED}
)
_call_activation = ACTIVATION_KERNELS.caller()


@glue
def activate(kernel, x, slope):
    """Overwrites x (n,) with an activation's values, and slope (n,), or (0,), with its slopes.

    Its kernel is one of :data:`ACTIVATION_KERNELS`.
    """
    _call_activation(kernel, (x, x.size, slope, slope.size))


@kernel
def _times_slope(dx, dout, slope):
    for i in range(dx.size):
        dx[i] = dout[i] * slope[i]


def _with_slopes(name):
    """The kernel of an activation's way forward."""
    function = globals()[name]

    def with_slopes(x, slope):
        for i in range(x.size):
            x[i], slope[i] = function(x[i], x.dtype.type)

    with_slopes.__qualname__ = f"_{name}_with_slopes"
    return kernel(with_slopes)


_WITH_SLOPES = {name: _with_slopes(name) for name in SLOPED}


def _operations(name):
    """The operations of an activation whose cache is its slope."""

    def forward(x):
        out, slope = x.copy(), np.empty_like(x)
        _WITH_SLOPES[name](out.reshape(-1), slope.reshape(-1))
        return out, slope

    def backward(dout, cache):
        dx = np.empty_like(dout)
        _times_slope(dx.reshape(-1), dout.reshape(-1), cache.reshape(-1))
        return dx

    for operation, direction in ((forward, "forward"), (backward, "backward")):
        operation.__name__ = operation.__qualname__ = f"{name}_{direction}"
    return forward, backward


leaky_relu_forward, leaky_relu_backward = _operations("leaky_relu")
tanh_forward, tanh_backward = _operations("tanh")
logistic_forward, logistic_backward = _operations("logistic")
identity_forward, identity_backward = _operations("identity")
selu_forward, selu_backward = _operations("selu")
elu_forward, elu_backward = _operations("elu")
silu_forward, silu_backward = _operations("silu")
gelu_forward, gelu_backward = _operations("gelu")
gelu_tanh_forward, gelu_tanh_backward = _operations("gelu_tanh")
mish_forward, mish_backward = _operations("mish")
softplus_forward, softplus_backward = _operations("softplus")
