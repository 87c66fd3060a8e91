"""Row numbers of examples."""

from typing import Any

import numpy as np

__all__ = ["checked_indices"]


def checked_indices(indices: Any, count: int) -> np.ndarray:
    """Row numbers (n,) of `count` rows, int64; an error that names the argument for anything else."""
    found = np.asarray(indices)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.size == 0:
        raise ValueError(
            f"indices: expected row numbers of at least one row, (n,), got shape {found.shape}, dtype {found.dtype}"
        )
    if found.min() < 0 or found.max() >= count:
        raise ValueError(f"indices: expected row numbers from 0 to {count - 1}, got {found.min()} to {found.max()}")
    return found.astype(np.int64)
