"""Initial weights: functions that draw an array of a shape (fan_in, fan_out), as the layers of the package have them.

All take a generator `rng`: a :class:`numpy.random.RandomState`, a :class:`numpy.random.Generator`, or None for NumPy's
global stream, from which the course draws. Where a generator is given, the global stream stays where it is. Values are
drawn in float64 and then rounded to `dtype`.

>>> import numpy as np
>>> draw("he_normal", (784, 100), np.random.default_rng(0), np.float32).std().round(3)
np.float32(0.051)
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastfc._arguments import number
from fastfc._docstrings import complete
from fastfc._ranges import require_count

__all__ = [
    "INITIALIZERS",
    "Rng",
    "course_normal",
    "draw",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "orthogonal",
    "scikit_layer",
]

#: Where random numbers come from; None is NumPy's global stream.
Rng = np.random.RandomState | np.random.Generator | None
Array = NDArray[Any]


def course_normal(
    shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, *, scale: float = 1e-2
) -> Array:
    """Normal values with a standard deviation of `scale`: ``scale * randn(*shape)``, as in CS231n.

    Parameters
    ----------
    shape : (fan_in, fan_out)
    rng : RandomState, Generator or None
    dtype : float32 or float64
    scale : float

    Returns
    -------
    weights : array of `shape`

    Raises
    ------
    TypeError, ValueError
        If an argument is not such; nothing has been drawn then.

    Examples
    --------
    >>> np.random.seed(1)
    >>> course_normal((1, 2), scale=0.5).round(3)
    array([[ 0.812, -0.306]])
    """
    return _normal(shape, rng, dtype, lambda fan_in, fan_out: _finite("scale", scale))


def he_normal(
    shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, *, gain: float = math.sqrt(2)
) -> Array:
    """Normal values with a standard deviation of ``gain / sqrt(fan_in)``, for layers before a ReLU.

    PyTorch's ``kaiming_normal_``. Source: He et al. 2015.
    """
    return _normal(shape, rng, dtype, lambda fan_in, fan_out: _finite("gain", gain) / math.sqrt(fan_in))


def he_uniform(
    shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, *, gain: float = math.sqrt(2)
) -> Array:
    """Uniform values within ``gain * sqrt(3 / fan_in)`` of 0, whose variance is that of :func:`he_normal`.

    PyTorch's ``kaiming_uniform_``. Source: He et al. 2015.
    """
    return _uniform(shape, rng, dtype, lambda fan_in, fan_out: _finite("gain", gain) * math.sqrt(3 / fan_in))


def glorot_normal(
    shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, *, gain: float = 1.0
) -> Array:
    """Normal values with a standard deviation of ``gain * sqrt(2 / (fan_in + fan_out))``.

    PyTorch's ``xavier_normal_``. Source: Glorot and Bengio 2010.
    """
    return _normal(shape, rng, dtype, lambda fan_in, fan_out: _finite("gain", gain) * math.sqrt(2 / (fan_in + fan_out)))


def glorot_uniform(
    shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, *, gain: float = 1.0
) -> Array:
    """Uniform values within ``gain * sqrt(6 / (fan_in + fan_out))`` of 0.

    PyTorch's ``xavier_uniform_``. Source: Glorot and Bengio 2010.
    """
    return _uniform(
        shape, rng, dtype, lambda fan_in, fan_out: _finite("gain", gain) * math.sqrt(6 / (fan_in + fan_out))
    )


def orthogonal(shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, *, gain: float = 1.0) -> Array:
    """An orthogonal matrix times `gain`: of its rows or columns, the fewer ones are orthogonal and of that length.

    The Q of the decomposition QR of normal values, with the signs that make R's diagonal positive, so that every such
    matrix is as likely as any other. PyTorch's ``orthogonal_``. Source: Saxe, McClelland and Ganguli 2014.

    Examples
    --------
    >>> W = orthogonal((3, 2), np.random.default_rng(0), gain=2)
    >>> bool(np.allclose(W.T @ W, 4 * np.eye(2)))
    True
    """
    factor = _finite("gain", gain)
    values = _normal(shape, rng, dtype, lambda fan_in, fan_out: 1.0, rounded=False)
    wide = values.shape[0] < values.shape[1]
    q, r = np.linalg.qr(values.T if wide else values)
    q *= np.where(np.diagonal(r) < 0, -factor, factor)
    return np.ascontiguousarray(q.T if wide else q).astype(dtype, copy=False)


def scikit_layer(
    fan_in: int, fan_out: int, rng: Rng = None, dtype: DTypeLike = np.float64, *, factor: float = 6.0
) -> tuple[Array, Array]:
    """Weights and biases of a layer as scikit-learn's ``MLPClassifier`` and ``MLPRegressor`` draw them, bit for bit.

    Both are uniform within ``sqrt(factor / (fan_in + fan_out))`` of 0, the weights first. With the RandomState of an
    estimator, called for its layers in turn, this gives its initial ``coefs_`` and ``intercepts_``.

    Parameters
    ----------
    fan_in, fan_out : int
    rng : RandomState, Generator or None
    dtype : float32 or float64
    factor : float
        6; scikit-learn has 2 where the hidden layers' activation is the logistic function.

    Returns
    -------
    weights : array (fan_in, fan_out)
    biases : array (fan_out,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not such; nothing has been drawn then.

    Examples
    --------
    >>> weights, biases = scikit_layer(3, 2, np.random.RandomState(0))
    >>> weights.shape, biases.round(3)
    ((3, 2), array([-0.137,  0.858]))
    """
    fan_in, fan_out = _checked_shape((fan_in, fan_out))
    kind, uniform = _checked_dtype(dtype), _checked_rng(rng).uniform
    share = _finite("factor", factor)
    if share < 0:
        raise ValueError(f"factor: expected a number of at least 0, got {factor}")
    bound = np.sqrt(share / (fan_in + fan_out))
    weights = uniform(-bound, bound, (fan_in, fan_out))
    biases = uniform(-bound, bound, fan_out)
    return weights.astype(kind, copy=False), biases.astype(kind, copy=False)


for _initializer in (he_normal, he_uniform, glorot_normal, glorot_uniform, orthogonal):
    complete(
        _initializer,
        Parameters="""\
shape : (fan_in, fan_out)
rng : RandomState, Generator or None
dtype : float32 or float64
gain : float
    The factor of the formula above.""",
        Returns="weights : array of `shape`",
        Raises="""\
TypeError, ValueError
    If an argument is not such; nothing has been drawn then.""",
        Examples=f"""\
>>> weights = {_initializer.__name__}((200, 100), np.random.default_rng(0), np.float32)
>>> weights.shape, weights.dtype
((200, 100), dtype('float32'))""",
    )

#: Name -> function.
INITIALIZERS: dict[str, Callable[..., Array]] = {
    initializer.__name__: initializer
    for initializer in (course_normal, he_normal, he_uniform, glorot_normal, glorot_uniform, orthogonal)
}


def draw(name: str, shape: tuple[int, int], rng: Rng = None, dtype: DTypeLike = np.float64, **options: float) -> Array:
    """Initial weights by the initializer of a name.

    Parameters
    ----------
    name : str
        A key of :data:`INITIALIZERS`.
    shape : (fan_in, fan_out)
    rng : RandomState, Generator or None
    dtype : float32 or float64
    **options : float
        ``scale`` of :func:`course_normal`, ``gain`` of the others.

    Returns
    -------
    weights : array of `shape`

    Raises
    ------
    ValueError
        If there is no such initializer, or `shape`, `dtype` or an option is not as expected.
    TypeError
        If the initializer has no such option, or an argument is of another kind. Nothing has been drawn then.

    Examples
    --------
    >>> draw("glorot_uniform", (2, 2), np.random.RandomState(0)).round(3)
    array([[0.12 , 0.527],
           [0.252, 0.11 ]])
    """
    if not isinstance(name, str) or name not in INITIALIZERS:
        raise ValueError(f"name: expected one of {', '.join(INITIALIZERS)}, got {name!r}")
    initializer = INITIALIZERS[name]
    known = [key for key, each in inspect.signature(initializer).parameters.items() if each.kind is each.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise TypeError(f"{option}: expected an option of {name}, which are: {', '.join(known)}")
    return initializer(shape, rng, dtype, **options)


def _normal(
    shape: Any, rng: Rng, dtype: DTypeLike, deviation: Callable[[int, int], float], rounded: bool = True
) -> Array:
    fans, kind, source = _checked_shape(shape), _checked_dtype(dtype), _checked_rng(rng)
    factor = deviation(*fans)
    values = source.standard_normal(fans)
    # In place: they take twice the memory of a float32 parameter as it is.
    values *= factor
    return values.astype(kind, copy=False) if rounded else values


def _uniform(shape: Any, rng: Rng, dtype: DTypeLike, bound: Callable[[int, int], float]) -> Array:
    fans, kind, source = _checked_shape(shape), _checked_dtype(dtype), _checked_rng(rng)
    most = abs(bound(*fans))
    return source.uniform(-most, most, fans).astype(kind, copy=False)


def _checked_shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape: expected (fan_in, fan_out), got {shape!r}")
    for size in shape:
        require_count("shape", size, 1)
    return int(shape[0]), int(shape[1])


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected float32 or float64, got {kind}")
    return kind


def _checked_rng(rng: Any) -> Any:
    """An object with the methods `standard_normal` and `uniform`; NumPy's module has those of the global stream."""
    if rng is None:
        return np.random
    if not isinstance(rng, (np.random.RandomState, np.random.Generator)):
        raise TypeError(f"rng: expected None, a numpy.random.RandomState or a numpy.random.Generator, got {rng!r}")
    return rng


def _finite(name: str, value: Any) -> float:
    scalar = number(name, value)
    if not math.isfinite(scalar):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    return scalar
