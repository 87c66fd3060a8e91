"""Activations: one record each, from which all else that the package says about an activation is derived.

An activation is a record in :data:`ACTIVATIONS` and functions of its name in the modules ``activation`` of the
reference and of the kernels. All but ReLU keep their derivative, the *slope*, as the cache of the way back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["ACTIVATIONS", "SLOPED", "Activation"]


def _no_magnitudes(x: Any) -> tuple[Any, Any]:
    raise NotImplementedError("ReLU has cases of its own")


@dataclass(frozen=True)
class Activation:
    """An elementwise function between layers: the operations ``<name>_forward`` and ``<name>_backward``.

    Parameters
    ----------
    name : str
    formula : str
        The function of x, as documentation shows it.
    source : str
    magnitudes : function
        ``magnitudes(x)`` of x in float64: the magnitudes of the value and of the slope, which are their formulas
        evaluated with absolute values throughout (see :mod:`fastfc.ops.cases`).
    terms : int
        Elementwise operations of its formula that :func:`fastfc.tolerance` does not count already.
    smooth : bool
        Whether it is analytic at 0.
    """

    name: str
    formula: str
    source: str
    magnitudes: Callable[[Any], tuple[Any, Any]] = _no_magnitudes
    terms: int = 0
    smooth: bool = True

    @property
    def operations(self) -> tuple[str, ...]:
        return f"{self.name}_forward", f"{self.name}_backward"

    @property
    def code(self) -> int:
        """Its place among the activations, by which compiled code knows it."""
        return list(ACTIVATIONS).index(self.name)


def _logistic(x: Any) -> Any:
    """Of any x, without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


def _of_bounded(x: Any) -> tuple[Any, Any]:
    """Magnitudes of a function between -1 and 1 with a slope in its powers."""
    return np.minimum(np.abs(x), 1.0), np.full_like(x, 2.0)


def _of_linear(x: Any) -> tuple[Any, Any]:
    return np.abs(x), np.ones_like(x)


def _of_exponential(x: Any) -> tuple[Any, Any]:
    """Of x for x > 0, else e**x - 1."""
    return np.where(x > 0, np.abs(x), np.minimum(np.abs(x), 1.0)), np.ones_like(x)


def _of_selu(x: Any) -> tuple[Any, Any]:
    value, slope = _of_exponential(x)
    return 2 * value, 2 * slope


def _of_softplus(x: Any) -> tuple[Any, Any]:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), _logistic(x)


def _of_silu(x: Any) -> tuple[Any, Any]:
    s = _logistic(x)
    return np.abs(x) * s, s * (1 + np.abs(x))


def _of_gelu(x: Any) -> tuple[Any, Any]:
    # An error in the exponent -x**2 / 2 is relative to it.
    tail = _logistic(1.5 * x) * (1 + x * x / 2)
    density = np.exp(-x * x / 2) * (1 + x * x / 2)
    return np.abs(x) * tail, tail + np.abs(x) * density


def _of_gelu_tanh(x: Any) -> tuple[Any, Any]:
    u = np.abs(x) * (1 + 0.044715 * x * x) * np.sqrt(2 / np.pi)
    s, rest = _logistic(2 * np.sign(x) * u), _logistic(-2 * np.sign(x) * u)
    # An error in the exponent 2 u is relative to it.
    spread = 1 + 2 * u * rest
    slope_of_u = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)
    return np.abs(x) * s * spread, s * spread + 2 * np.abs(x) * s * rest * (1 + 2 * u) * slope_of_u


def _of_mish(x: Any) -> tuple[Any, Any]:
    e = np.exp(-np.abs(x))
    tau = np.where(x < 0, e * (e + 2) / (e * (e + 2) + 2), (1 + 2 * e) / (1 + 2 * e + 2 * e * e))
    return np.abs(x) * tau, tau + np.abs(x) * (1 + tau * tau) * _logistic(x)


_ALL = (
    Activation("relu", "max(x, 0)", "Nair and Hinton 2010", smooth=False),
    Activation("leaky_relu", "x if x > 0 else 0.01 * x", "Maas et al. 2013", _of_linear, smooth=False),
    Activation("tanh", "tanh(x)", "LeCun et al. 1998", _of_bounded),
    Activation("logistic", "1 / (1 + exp(-x))", "Rumelhart et al. 1986", lambda x: (_logistic(x), 2 * _logistic(x))),
    Activation("identity", "x", "a linear network", _of_linear),
    Activation(
        "selu",
        "1.0507 * x if x > 0 else 1.0507 * 1.6733 * (exp(x) - 1)",
        "Klambauer et al. 2017",
        _of_selu,
        smooth=False,
    ),
    Activation("elu", "x if x > 0 else exp(x) - 1", "Clevert et al. 2016", _of_exponential, smooth=False),
    Activation("silu", "x / (1 + exp(-x))", "Hendrycks and Gimpel 2016; Elfwing et al. 2018", _of_silu),
    Activation("gelu", "x * Phi(x), Phi the normal distribution's", "Hendrycks and Gimpel 2016", _of_gelu, terms=8),
    Activation(
        "gelu_tanh",
        "0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))",
        "Hendrycks and Gimpel 2016, the approximation",
        _of_gelu_tanh,
        terms=8,
    ),
    Activation("mish", "x * tanh(log(1 + exp(x)))", "Misra 2019", _of_mish, terms=8),
    Activation("softplus", "log(1 + exp(x))", "Dugas et al. 2001", _of_softplus),
)

#: Name -> activation.
ACTIVATIONS = {activation.name: activation for activation in _ALL}
#: Those whose cache is their slope: all but ReLU.
SLOPED = [name for name in ACTIVATIONS if name != "relu"]
