"""How far two correct floating-point evaluations may lie apart: the one place for it."""

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["tolerance"]

# Rounding errors outside the sums: a handful of elementwise operations, each within half
# an ulp, and one square root, exponential or logarithm within 2 ulp.
_ELEMENTWISE = 16


def tolerance(dtype: DTypeLike, terms: int) -> float:
    """Bound on the difference of two evaluations of one formula, relative to its magnitude.

    A sum of n terms, in whatever order, is computed with an error of at most
    gamma_n * sum(abs(terms)), gamma_n = n u / (1 - n u), u = eps / 2; a formula that chains
    sums and elementwise operations adds their counts (Higham, *Accuracy and Stability of
    Numerical Algorithms*, 2nd ed., lemma 3.3 and section 4.2). Two evaluations differ by at
    most twice that. The magnitude that it is relative to is the formula evaluated with
    absolute values throughout, which cancellation does not make small.

    Parameters
    ----------
    dtype : float dtype
        The dtype computed in; float16 stands for its results' rounding, from float32 arithmetic.
    terms : int
        The number of terms of the longest chain of sums.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `terms` is negative, or so large that the bound says nothing in `dtype`.

    Examples
    --------
    >>> tolerance("float64", 100) < 1e-13
    True
    """
    if terms < 0:
        raise ValueError(f"terms: expected a number of at least 0, got {terms}")
    kind = np.dtype(dtype)
    if kind == np.float16:
        return float(np.finfo(np.float16).eps) + tolerance(np.float32, terms)
    error = (terms + _ELEMENTWISE) * float(np.finfo(kind).eps) / 2
    if error >= 0.5:
        raise ValueError(f"terms: {terms} terms leave no correct digit in {kind}")
    return 2 * error / (1 - error)
