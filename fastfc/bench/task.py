"""The work that every engine does: a training step on the same data, from the same weights."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

__all__ = ["CHECK_SEED", "CHECK_STEPS", "Task"]

#: Adam's and the normalizations' constants, the same for everyone.
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
NORM_EPS, MOMENTUM = 1e-5, 0.9

CHECK_STEPS = 10
CHECK_SEED = 7


@dataclass(frozen=True)
class Task:
    """A step: draw a batch from data in memory and gather it, forward, softmax loss, backward, Adam.

    Parameters
    ----------
    dims : tuple of int
        Layer widths from input to classes.
    batch : int
        Examples a step.
    normalization : str or None
        ``"batchnorm"``, ``"layernorm"`` or None.
    keep : float
        Dropout: probability to keep a unit; 1 is no dropout.
    dtype : str
        ``"float32"`` or ``"float64"``.
    """

    dims: tuple[int, ...]
    batch: int
    normalization: str | None = None
    keep: float = 1.0
    dtype: str = "float32"

    @property
    def examples(self) -> int:
        return max(4096, 4 * self.batch)

    @property
    def hidden(self) -> int:
        return len(self.dims) - 2

    @property
    def parameters(self) -> int:
        weights = sum((d_in + 1) * d_out for d_in, d_out in itertools.pairwise(self.dims))
        return weights + (2 * sum(self.dims[1:-1]) if self.normalization else 0)

    @property
    def gemm_flops(self) -> int:
        """Floating-point operations of a step's matrix products; the first layer needs no input gradient."""
        products = [2 * self.batch * d_in * d_out for d_in, d_out in itertools.pairwise(self.dims)]
        return 3 * sum(products) - products[0]

    @property
    def optimizer_bytes(self) -> int:
        """Parameters and both moments, read and written."""
        return 6 * np.dtype(self.dtype).itemsize * self.parameters

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Examples (N, D), labels (N,) int64."""
        random = np.random.default_rng(1)
        X = random.standard_normal((self.examples, self.dims[0]), np.float32)
        return X.astype(self.dtype, copy=False), random.integers(0, self.dims[-1], self.examples)

    def weights(self) -> list[np.ndarray]:
        """A weight matrix (D_in, D_out) per layer; biases start at 0, scales at 1, shifts at 0."""
        random = np.random.default_rng(2)
        return [
            (random.standard_normal((d_in, d_out), np.float32) * math.sqrt(2 / d_in)).astype(self.dtype)
            for d_in, d_out in itertools.pairwise(self.dims)
        ]

    def flat_parameters(self) -> list[np.ndarray]:
        """Layer by layer: weights, biases and, before a normalized activation, scale and shift."""
        flat = []
        for layer, w in enumerate(self.weights()):
            ones, zeros = np.ones(w.shape[1], w.dtype), np.zeros(w.shape[1], w.dtype)
            flat += [w, zeros, ones, zeros.copy()] if self.normalization and layer < self.hidden else [w, zeros]
        return flat

    def flat_running(self) -> list[np.ndarray]:
        """Running mean and variance of each batch normalization."""
        if self.normalization != "batchnorm":
            return []
        return [kind(width, self.dtype) for width in self.dims[1:-1] for kind in (np.zeros, np.ones)]

    def first_state(self) -> list[list[np.ndarray]]:
        """Parameters, Adam's two moments, running statistics."""
        params = self.flat_parameters()
        return [params, [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], self.flat_running()]

    def check_batches(self) -> np.ndarray:
        """Batches (CHECK_STEPS, batch) as the course's Solver draws them after `np.random.seed(CHECK_SEED)`."""
        random = np.random.RandomState(CHECK_SEED)
        return np.stack([random.choice(self.examples, self.batch) for _ in range(CHECK_STEPS)])
