"""Gradients between the backward pass and the rule, as the reference has them."""

import numpy as np

__all__ = ["clipped"]


def clipped(grads: dict[str, np.ndarray], max_norm: float = 0.0, max_value: float = 0.0) -> dict[str, np.ndarray]:
    """Gradients by name, clipped: first the norm of all of them, then each value; a bound of 0 is none.

    A norm that is not finite leaves the gradients as they are.
    """
    if max_norm > 0:
        norm = np.sqrt(sum(np.sum(np.square(grad, dtype=np.float64)) for grad in grads.values()))
        if norm > max_norm and np.isfinite(norm):
            factor = max_norm / norm
            grads = {name: grad * grad.dtype.type(factor) for name, grad in grads.items()}
    if max_value > 0:
        grads = {
            name: np.clip(grad, -grad.dtype.type(max_value), grad.dtype.type(max_value)) for name, grad in grads.items()
        }
    return grads
