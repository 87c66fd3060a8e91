"""Numerical gradients by centered differences, under the names of the course's ``gradient_check``.

Every function moves one element of an array by ``+h`` and ``-h``, in place, and puts it back: the array
holds its own bits again afterwards, also when the function under test raises.

The error of a centered difference is about ``h**2 * |f'''| / 6 + eps * |f| / h``. With the default ``h`` of
1e-5 this asks for float64: in float32 the second term is about a percent of ``f``, and elements of 256 and
more do not move at all.

Source: Stanford CS231n, assignment 2; https://cs231n.github.io/neural-networks-3/#gradcheck
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import randrange
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "eval_numerical_gradient",
    "eval_numerical_gradient_array",
    "eval_numerical_gradient_blobs",
    "eval_numerical_gradient_net",
    "grad_check_sparse",
    "rel_error",
]

Array = NDArray[Any]
Index = tuple[int, ...]


def _check_movable(name: str, x: object, h: float) -> None:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, which is moved in place, got {type(x).__name__}")
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"{name} must hold floating-point numbers, to be moved by h = {h:g}, got dtype {x.dtype}")
    if not x.flags.writeable:
        raise ValueError(f"{name} is read-only, and a numerical gradient moves it in place: pass {name}.copy()")
    if not (h > 0 and math.isfinite(h)):
        raise ValueError(f"h must be a positive finite number, got {h}")


def _check_same_shape(name: str, shape: Index, other_name: str, other_shape: Index) -> None:
    if shape != other_shape:
        raise ValueError(f"{name} has shape {shape}, but {other_name} has shape {other_shape}")


def _result(value: Any) -> Array:
    """Copy what f returned: f may hand out x itself, or one buffer again and again."""
    if isinstance(value, tuple):
        raise TypeError(f"f must return one array or number, got a tuple of {len(value)}: take the part to check")
    return np.array(value)


def _number(value: Any) -> Any:
    result = _result(value)
    if result.size != 1:
        raise ValueError(f"f must return one number, got an array of shape {result.shape}")
    return result.reshape(())[()]


def _indices(x: Array) -> Iterator[Index]:
    """All indices of x in memory order, which is the order of the course's printed lines."""
    it = np.nditer(x, flags=["multi_index", "zerosize_ok"])
    while not it.finished:
        yield it.multi_index
        it.iternext()


def _both_sides(evaluate: Callable[[], Any], x: Array, ix: Index, h: float) -> tuple[Any, Any]:
    """evaluate() with x[ix] moved by +h and by -h."""
    old = x[ix]
    try:
        x[ix] = old + h
        plus = evaluate()
        x[ix] = old - h
        minus = evaluate()
    finally:
        x[ix] = old
    return plus, minus


def eval_numerical_gradient(f: Callable[[Array], Any], x: Array, verbose: bool = True, h: float = 0.00001) -> Array:
    """Gradient of a scalar function, ``(f(x + h e_i) - f(x - h e_i)) / 2h`` for every element i of x.

    Parameters
    ----------
    f : callable
        Called as ``f(x)``, returns one number. It is called once on the unmoved x, then twice an element.
    x : ndarray, any shape and memory layout, floating point
        The point. Moved in place, so f may also reach it another way, and restored.
    verbose : bool
        Print a line ``index, derivative`` for each element.
    h : float
        Step, in the units of x.

    Returns
    -------
    ndarray
        Shape and dtype of x.

    Raises
    ------
    TypeError
        x is no array or not of floating point; f returns a tuple.
    ValueError
        x is read-only; f returns more than one number; h is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, -2.0])
    >>> eval_numerical_gradient(lambda x: np.sum(x**2), x, verbose=False).round(6)
    array([ 2., -4.])
    """
    _check_movable("x", x, h)
    # The result is not needed, the call is: it keeps random numbers drawn by f in step with the course.
    _number(f(x))
    grad = np.zeros_like(x)
    for ix in _indices(x):
        plus, minus = _both_sides(lambda: _number(f(x)), x, ix, h)
        grad[ix] = (plus - minus) / (2 * h)
        if verbose:
            print(ix, grad[ix])
    return grad


def eval_numerical_gradient_array(f: Callable[[Array], Any], x: Array, df: ArrayLike, h: float = 1e-5) -> Array:
    """Gradient of ``sum(f(x) * df)``: what a backward pass gives for the upstream gradient df.

    Parameters
    ----------
    f : callable
        Called as ``f(x)``, returns an array.
    x : ndarray, any shape and memory layout, floating point
        The point; moved in place and restored.
    df : array_like
        Upstream gradient, in the shape of ``f(x)``.
    h : float
        Step, in the units of x.

    Returns
    -------
    ndarray
        Shape and dtype of x.

    Raises
    ------
    TypeError
        x is no array or not of floating point; f returns a tuple.
    ValueError
        x is read-only; df and ``f(x)`` differ in shape; h is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> x, df = np.array([1.0, -2.0]), np.array([1.0, 10.0])
    >>> eval_numerical_gradient_array(lambda x: x**2, x, df).round(6)
    array([  2., -40.])
    """
    _check_movable("x", x, h)
    df = np.asarray(df)

    def evaluate() -> Array:
        out = _result(f(x))
        _check_same_shape("df", df.shape, "f(x)", out.shape)
        return out

    grad = np.zeros_like(x)
    for ix in _indices(x):
        plus, minus = _both_sides(evaluate, x, ix, h)
        grad[ix] = np.sum((plus - minus) * df) / (2 * h)
    return grad


def eval_numerical_gradient_blobs(
    f: Callable[..., Any], inputs: Sequence[Any], output: Any, h: float = 1e-5
) -> list[Array]:
    """Gradients of a function that works on blobs, objects with the arrays ``vals`` and ``diffs``.

    Parameters
    ----------
    f : callable
        Called as ``f(*inputs, output)``, writes its result to ``output.vals``; its return value is not used.
    inputs : sequence of blobs
        ``vals`` is the point (floating point, moved in place and restored), ``diffs`` has the same shape.
    output : blob
        ``vals`` is written by f, ``diffs`` is the upstream gradient, in the same shape.
    h : float
        Step, in the units of the inputs.

    Returns
    -------
    list of ndarray
        One gradient of ``sum(output.vals * output.diffs)`` per input, in shape and dtype of its ``diffs``.

    Raises
    ------
    TypeError
        An input's ``vals`` is no array or not of floating point.
    ValueError
        An input's ``vals`` is read-only; ``vals`` and ``diffs`` differ in shape; h is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace as Blob
    >>> x = Blob(vals=np.array([1.0, -2.0]), diffs=np.zeros(2))
    >>> out = Blob(vals=np.zeros(2), diffs=np.array([1.0, 10.0]))
    >>> def square(x, out):
    ...     out.vals = x.vals**2
    >>> eval_numerical_gradient_blobs(square, (x,), out)[0].round(6)
    array([  2., -40.])
    """
    for i, blob in enumerate(inputs):
        _check_movable(f"inputs[{i}].vals", blob.vals, h)
        _check_same_shape(f"inputs[{i}].diffs", np.shape(blob.diffs), f"inputs[{i}].vals", blob.vals.shape)

    def evaluate() -> Array:
        f(*inputs, output)
        _check_same_shape("output.diffs", np.shape(output.diffs), "output.vals", np.shape(output.vals))
        return np.array(output.vals)

    grads = []
    for blob in inputs:
        grad = np.zeros_like(blob.diffs)
        for ix in _indices(blob.vals):
            plus, minus = _both_sides(evaluate, blob.vals, ix, h)
            grad[ix] = np.sum((plus - minus) * output.diffs) / (2.0 * h)
        grads.append(grad)
    return grads


def eval_numerical_gradient_net(net: Any, inputs: Sequence[Any], output: Any, h: float = 1e-5) -> list[Array]:
    """Gradients of a network that reads and writes its own blobs.

    Parameters
    ----------
    net : object
        ``net.forward()`` reads the inputs' ``vals`` and writes ``output.vals``.
    inputs, output, h
        As in `eval_numerical_gradient_blobs`, whose return value and errors this function shares.

    Returns
    -------
    list of ndarray
        One gradient of ``sum(output.vals * output.diffs)`` per input, in shape and dtype of its ``diffs``.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace as Blob
    >>> x, out = Blob(vals=np.array([3.0]), diffs=np.zeros(1)), Blob(vals=np.zeros(1), diffs=np.ones(1))
    >>> class Square:
    ...     def forward(self):
    ...         out.vals = x.vals**2
    >>> eval_numerical_gradient_net(Square(), (x,), out)[0].round(6)
    array([6.])
    """
    return eval_numerical_gradient_blobs(lambda *blobs: net.forward(), inputs, output, h=h)


def grad_check_sparse(
    f: Callable[[Array], Any], x: Array, analytic_grad: ArrayLike, num_checks: int = 10, h: float = 1e-5
) -> None:
    """Compare an analytic gradient with centered differences at a few random elements, and print the lines.

    A line is ``numerical: %f analytic: %f, relative error: %e``, the error being ``|n - a| / (|n| + |a|)``,
    and 0 where both are zero. Elements are drawn by Python's `random.randrange`, axis by axis, with
    replacement; `random.seed` repeats a choice.

    Parameters
    ----------
    f : callable
        Called as ``f(x)``, returns one number.
    x : ndarray, any shape and memory layout, floating point
        The point; moved in place and restored.
    analytic_grad : array_like
        Gradient of f at x, in x's shape.
    num_checks : int
        Number of lines.
    h : float
        Step, in the units of x.

    Raises
    ------
    TypeError
        x is no array or not of floating point; f returns a tuple.
    ValueError
        x is read-only or empty; analytic_grad and x differ in shape; f returns more than one number; h is
        not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> grad_check_sparse(lambda x: 3 * np.sum(x), np.zeros(5), np.full(5, 4.0), num_checks=1)
    numerical: 3.000000 analytic: 4.000000, relative error: 1.428571e-01
    """
    _check_movable("x", x, h)
    analytic_grad = np.asarray(analytic_grad)
    _check_same_shape("analytic_grad", analytic_grad.shape, "x", x.shape)
    if x.size == 0:
        raise ValueError(f"x has no elements to check, its shape is {x.shape}")
    for _ in range(num_checks):
        ix = tuple(randrange(m) for m in x.shape)
        plus, minus = _both_sides(lambda: _number(f(x)), x, ix, h)
        numerical = float((plus - minus) / (2 * h))
        analytic = float(analytic_grad[ix])
        total = abs(numerical) + abs(analytic)
        error = abs(numerical - analytic) / total if total else 0.0
        print(f"numerical: {numerical:f} analytic: {analytic:f}, relative error: {error:e}")


def rel_error(x: ArrayLike, y: ArrayLike) -> float:
    """Largest relative error, ``max(|x - y| / max(1e-8, |x| + |y|))``, as the course's notebooks define it.

    Parameters
    ----------
    x, y : array_like, real, of one shape or broadcast together
        Compared in float64. NaN in either gives NaN.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    TypeError
        x or y is complex or not numeric.
    ValueError
        The shapes do not broadcast, or there are no elements to compare.

    Examples
    --------
    >>> rel_error([1.0, 2.0], [1.0, 2.5])
    0.1111111111111111
    """
    x = np.asarray(x).astype(np.float64, casting="same_kind")
    y = np.asarray(y).astype(np.float64, casting="same_kind")
    return float(np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y))))
