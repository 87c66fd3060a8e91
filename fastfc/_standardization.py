"""Mean and deviation of features, by which networks standardize what they are given."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["mean_and_scale"]


def mean_and_scale(
    X: np.ndarray, dtype: DTypeLike = np.float64, names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each feature's mean and 1 / its deviation, in float64 whatever X is.

    Raises
    ------
    ValueError
        If the deviation of a feature is so small that its inverse is infinite in `dtype`; `names` are the features'.
    """
    low, high = X.min(axis=0), X.max(axis=0)
    unit = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    # The squares of larger ones, and of smaller ones, may not be within float64.
    unit = np.where((unit > 1e150) | ((unit > 0) & (unit < 1e-150)), unit, 1.0)
    if (unit == 1).all():
        mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    else:
        mean, deviation = (X / unit).mean(axis=0) * unit, (X / unit).std(axis=0) * unit
    # A constant feature's deviation can be a rounding error instead of 0.
    varies = (deviation > 0) & (low < high)
    if X.dtype.itemsize >= 4:
        # A sum of many numbers far from 0, such as timestamps, is rounded by more than they differ.
        rest = (X - mean).mean(axis=0)
        mean = np.where(varies & (np.abs(rest) > 1e-9 * deviation), mean + rest, mean)
    small = varies & (deviation < 1 / np.finfo(dtype).max)
    if small.any():
        place = int(np.argmax(small))
        name = f"feature {place + 1}" if names is None else f"column {names[place]!r}"
        raise ValueError(
            f"{name}: expected numbers whose deviation is within the range of {np.dtype(dtype)}, got "
            f"{deviation.flat[place]:.2g}"
        )
    return mean, 1 / np.where(varies, deviation, 1)
