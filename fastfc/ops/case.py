"""Cases: the arguments of an operation, and how exact its result must be.

A case states the magnitude of each result: its formula evaluated with absolute values, so that cancellation does not
make it small. Two correct evaluations may differ by ``tolerance(dtype, terms) * magnitude``.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.ops.registry import OPS
from fastfc.ops.tolerance import tolerance

__all__ = [
    "Array",
    "Case",
    "Sample",
    "Sizes",
    "all_results",
    "cache_of",
    "first_result",
    "largest_error",
    "normal",
    "only_result",
    "wide",
]

Array = NDArray[Any]
#: Draws the values of one argument: (rng, name, shape) -> array. See :func:`normal`.
Sample = Callable[[np.random.Generator, str, tuple[int, ...]], Array]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a case's arrays.

    Parameters
    ----------
    n : int
        Rows of the batch.
    d : int
        Width of the layer.
    inputs : int
        Features of what comes before it.

    Examples
    --------
    >>> Sizes(8, 5)
    Sizes(n=8, d=5, inputs=7)
    """

    n: int
    d: int
    inputs: int = 7


@dataclass(frozen=True)
class Case:
    """Arguments of one operation, and what its results must satisfy.

    Parameters
    ----------
    name : str
        Of the operation.
    args : tuple
        Its arguments.
    results : function
        Picks from what the operation returned, and from its arguments after the call, the arrays that count.
    magnitudes : list of arrays or numbers
        One for each result, of its shape or broadcast to it.
    terms : int
        The terms of the longest sum, for :func:`fastfc.tolerance`.
    gain : float
        The largest factor that a number which underflows on the way is multiplied by afterwards.

    Examples
    --------
    >>> from fastfc.cases import build
    >>> case = build("relu_forward", Sizes(4, 3), "float32")
    >>> largest_error(case.run("reference"), case.run("reference"), case)
    0.0
    """

    name: str
    args: tuple[Any, ...]
    results: Callable[[Any, tuple[Any, ...]], list[Array]]
    magnitudes: list[Array]
    terms: int
    gain: float = 1.0

    def run(self, backend: str) -> list[Array]:
        """The results of a backend, computed on a copy of the arguments.

        Parameters
        ----------
        backend : {"fast", "reference"}

        Returns
        -------
        list of arrays
            Those that count, of any shapes.
        """
        args = copy.deepcopy(self.args)
        with np.errstate(all="ignore"):
            return self.results(OPS[self.name].twin(backend)(*args), args)


def normal(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
    """Standard normal values; positive ones for variances.

    Parameters
    ----------
    rng : numpy.random.Generator
    name : str
        Of the argument.
    shape : tuple of int

    Returns
    -------
    array of `shape`, float64

    Examples
    --------
    >>> import numpy as np
    >>> bool((normal(np.random.default_rng(0), "running_var", (3,)) > 0).all())
    True
    """
    values = rng.standard_normal(shape)
    return np.abs(values) if name == "running_var" else values


def largest_error(got: list[Array], expected: list[Array], case: Case) -> float:
    """The largest deviation relative to what :func:`fastfc.tolerance` allows.

    NaN must meet NaN, and infinity the same infinity; else the error is infinite.

    Parameters
    ----------
    got, expected : list of arrays
        Results of one case, each in its own shape.
    case : Case

    Returns
    -------
    float
        At most 1 is within tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfc.cases import build
    >>> case = build("relu_forward", Sizes(4, 3), "float32")
    >>> expected = case.run("reference")
    >>> largest_error([expected[0] + 1], expected, case) > 1
    True
    """
    worst = 0.0
    for a, b, magnitude in zip(got, expected, case.magnitudes, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return np.inf
        # An operation that underflows is off by up to eps * tiny, whatever its result (Higham, section 2.8).
        underflow = case.gain * float(np.finfo(b.dtype).tiny)
        size = np.broadcast_to(np.asarray(magnitude, np.float64), b.shape) + underflow
        allowed = tolerance(b.dtype, case.terms) * size
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(all="ignore"):
            error = np.where(same, 0.0, np.abs(x - y) / allowed)
        # A NaN that is left is a number on one side only, or beside a magnitude that says nothing.
        worst = max(worst, float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0)))
    return worst


def wide(*arrays: Array) -> list[Array]:
    """Absolute values in float64, in which magnitudes are computed."""
    return [np.abs(array.astype(np.float64)) for array in arrays]


def first_result(result: Any, args: tuple[Any, ...]) -> list[Array]:
    return [result[0]]


def all_results(result: Any, args: tuple[Any, ...]) -> list[Array]:
    return list(result)


def only_result(result: Any, args: tuple[Any, ...]) -> list[Array]:
    return [result]


def cache_of(forward: str, *args: Any) -> tuple[Array, Any]:
    """Output and cache of a reference forward pass, on which both backward passes work."""
    return OPS[forward].twin("reference")(*copy.deepcopy(args))
