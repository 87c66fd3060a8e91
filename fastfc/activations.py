"""Activations: elementwise functions between a network's layers, each with its derivative.

A network takes one by its name: ``FullyConnectedNet([100], activation="tanh")``. ReLU's functions, which are the
course's, are in :mod:`fastfc.layers`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import cast, float_arrays, require_shape
from fastfc._layer_arguments import half_of, require_flat
from fastfc.backend import implementation
from fastfc.layers import relu_backward, relu_forward
from fastfc.ops.activations import ACTIVATIONS

__all__ = [
    "NAMES",
    "elu_backward",
    "elu_forward",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "identity_backward",
    "identity_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "logistic_backward",
    "logistic_forward",
    "mish_backward",
    "mish_forward",
    "relu_backward",
    "relu_forward",
    "selu_backward",
    "selu_forward",
    "silu_backward",
    "silu_forward",
    "softplus_backward",
    "softplus_forward",
    "tanh_backward",
    "tanh_forward",
]

#: The names by which a network takes an activation.
NAMES = tuple(ACTIVATIONS)

_FORWARD = """{name}, forward: ``out = {formula}``; NaN stays NaN.

Parameters
----------
x : array of any shape

Returns
-------
out : array of x's shape
    float32 for float16 and float32, computed in float32; else float64.
cache : array of x's shape
    The slope, d out / d x, for :func:`{name}_backward`.

Raises
------
TypeError
    If `x` does not hold real numbers.

Notes
-----
{source}.

Examples
--------
>>> x = np.array([-1.0, 0.5])
>>> out, slope = {name}_forward(x)
>>> bool(np.all({name}_backward(np.ones(2), slope) == slope))
True
"""

_BACKWARD = """{name}, backward: ``dx = dout * slope``.

Parameters
----------
dout : array of any shape
cache : array of the same shape
    From :func:`{name}_forward`.

Returns
-------
dx : array of the same shape

Raises
------
ValueError
    If the shapes differ.

Examples
--------
>>> _, slope = {name}_forward(np.zeros((2, 3)))
>>> {name}_backward(np.ones((2, 3)), slope).shape
(2, 3)
"""

Forward = Callable[[ArrayLike], tuple[np.ndarray, np.ndarray]]
Backward = Callable[[ArrayLike, ArrayLike], np.ndarray]


def _functions(name: str) -> tuple[Forward, Backward]:
    """The two public functions of an activation whose cache is its slope."""
    record = ACTIVATIONS[name]

    def forward(x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        (x,), half = float_arrays(x=x)
        out, cache = implementation(f"{name}_forward")(x)
        return cast(out, half), cache

    def backward(dout: ArrayLike, cache: ArrayLike) -> np.ndarray:
        half = half_of(dout)
        require_flat(cache)
        (dout, slope), _ = float_arrays(dout=dout, cache=cache)
        require_shape("dout", dout, slope.shape, "the shape of the slope in the cache")
        return cast(implementation(f"{name}_backward")(dout, slope), half)

    for function, direction, text in ((forward, "forward", _FORWARD), (backward, "backward", _BACKWARD)):
        function.__name__ = function.__qualname__ = f"{name}_{direction}"
        function.__doc__ = text.format(name=name, formula=record.formula, source=record.source)
    return forward, backward


leaky_relu_forward, leaky_relu_backward = _functions("leaky_relu")
tanh_forward, tanh_backward = _functions("tanh")
logistic_forward, logistic_backward = _functions("logistic")
identity_forward, identity_backward = _functions("identity")
selu_forward, selu_backward = _functions("selu")
elu_forward, elu_backward = _functions("elu")
silu_forward, silu_backward = _functions("silu")
gelu_forward, gelu_backward = _functions("gelu")
gelu_tanh_forward, gelu_tanh_backward = _functions("gelu_tanh")
mish_forward, mish_backward = _functions("mish")
softplus_forward, softplus_backward = _functions("softplus")
