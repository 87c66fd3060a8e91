"""Pictures of 16 grey values in few bytes: half a byte a pixel, as ranks that deflate packs well.

A pixel's value is guessed from its neighbours above and to the left by the median predictor of JPEG-LS (Weinberger,
Seroussi, Sapiro 2000). The pixel's rank is its place among the 16 values in the order of how often they come up under
that guess and that value above; most ranks are 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEP", "packed_pictures", "quantized", "unpacked_pictures"]

#: Between two of the grey values 0, 17, ..., 255.
STEP = 17
_LEVELS = 16

Bytes = NDArray[np.uint8]


def quantized(X: NDArray[Any]) -> Bytes:
    """The nearest of the 16 grey values to each of X, which are 0 to 255."""
    return ((X.astype(np.int64) + STEP // 2) // STEP * STEP).astype(np.uint8)


def packed_pictures(X: Bytes) -> tuple[Bytes, Bytes]:
    """Pack pictures (N, H, W), quantized and H even.

    Returns
    -------
    rows : uint8 (N, H / 2, W)
        The ranks; two rows share the halves of their bytes.
    order : uint8 (256, 16)
        The values by rank for each guess and value above, ``16 * guess + above``.
    """
    levels = X // STEP
    if X.ndim != 3 or X.shape[1] % 2 or (levels * STEP != X).any():
        raise ValueError(f"X: expected quantized pictures (N, H, W) with an even H, got shape {X.shape}")
    padded = np.pad(levels, ((0, 0), (1, 0), (1, 0))).astype(np.int16)
    contexts = _contexts(padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, :-1, :-1])
    counts = np.zeros((_LEVELS**2, _LEVELS), np.int64)
    np.add.at(counts, (contexts.reshape(-1), levels.reshape(-1)), 1)
    order = np.argsort(-counts, axis=1, kind="stable").astype(np.uint8)
    ranks = np.argsort(order, axis=1).astype(np.uint8)[contexts, levels]
    return ranks[:, 0::2] * _LEVELS + ranks[:, 1::2], order


def unpacked_pictures(rows: Bytes, order: Bytes) -> Bytes:
    """The pictures (N, H, W) that :func:`packed_pictures` packed."""
    if rows.ndim != 3 or rows.dtype != np.uint8:
        raise ValueError(f"rows: expected bytes (N, H / 2, W), got {rows.dtype} of shape {rows.shape}")
    if order.shape != (_LEVELS**2, _LEVELS) or order.dtype != np.uint8 or (order >= _LEVELS).any():
        raise ValueError(f"order: expected values below 16 (256, 16), got {order.dtype} of shape {order.shape}")
    n, half, width = rows.shape
    # A pixel of all pictures is one row: neighbours are known once its turn comes.
    packed = np.ascontiguousarray(rows.transpose(1, 2, 0))
    ranks = np.stack([packed // _LEVELS, packed % _LEVELS], axis=1).reshape(2 * half, width, n)
    levels, values = np.zeros((2 * half + 1, width + 1, n), np.int16), order.reshape(-1)
    for i in range(2 * half):
        for j in range(width):
            contexts = _contexts(levels[i, j + 1], levels[i + 1, j], levels[i, j])
            levels[i + 1, j + 1] = values[contexts * _LEVELS + ranks[i, j]]
    X = levels[1:, 1:].transpose(2, 0, 1).astype(np.uint8)
    return np.ascontiguousarray(X) * np.uint8(STEP)


def _contexts(above: NDArray[np.int16], left: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """16 * guess + above of pixels with these neighbours, which are 0 outside of a picture."""
    guess = np.minimum(np.maximum(above + left - corner, np.minimum(above, left)), np.maximum(above, left))
    return guess * np.int16(_LEVELS) + above
