"""Pictures of 16 grey values in few bytes: half a byte a pixel, as differences that deflate packs well."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEP", "packed_pictures", "quantized", "unpacked_pictures"]

#: Between two of the grey values 0, 17, ..., 255.
STEP = 17


def quantized(X: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest of the 16 grey values to each of X, which are 0 to 255."""
    return ((X.astype(np.int64) + STEP // 2) // STEP * STEP).astype(np.uint8)


def packed_pictures(X: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack pictures (N, H, W), quantized and H even, into (N, H / 2, W) bytes.

    A pixel's number 0 to 15 is replaced by its difference from the one above, modulo 16, and two rows share the halves
    of their bytes.
    """
    levels = X // STEP
    if X.ndim != 3 or X.shape[1] % 2 or (levels * STEP != X).any():
        raise ValueError(f"X: expected quantized pictures (N, H, W) with an even H, got shape {X.shape}")
    steps = np.diff(levels, axis=1, prepend=np.uint8(0)) % 16
    return steps[:, 0::2] * 16 + steps[:, 1::2]


def unpacked_pictures(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pictures (N, H, W) that :func:`packed_pictures` packed."""
    if rows.ndim != 3 or rows.dtype != np.uint8:
        raise ValueError(f"expected bytes (N, H / 2, W), got {rows.dtype} of shape {rows.shape}")
    n, half, width = rows.shape
    steps = np.stack([rows // 16, rows % 16], axis=2).reshape(n, 2 * half, width)
    return np.cumsum(steps, axis=1, dtype=np.uint8) % 16 * np.uint8(STEP)
