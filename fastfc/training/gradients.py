"""Gradients between the backward pass and the rule, as the reference has them."""

import numpy as np

__all__ = ["Accumulated", "clipped", "updates_after"]


def updates_after(steps: int, per_epoch: int, accumulate: int) -> int:
    """Updates in so many steps, each on a batch: one after every `accumulate` batches, and one at an epoch's end."""
    return steps // per_epoch * -(-per_epoch // accumulate) + steps % per_epoch // accumulate


class Accumulated:
    """Gradients of several batches, of which the rule gets the mean over their rows.

    Attributes
    ----------
    sums : dict of str to array
        By the names of parameters, the sum of the gradients, each times its batch's weight; empty before the first.
    weight : float
        Of the batches in it: their rows.
    """

    def __init__(self, sums: dict[str, np.ndarray] | None = None, weight: float = 0.0) -> None:
        self.sums, self.weight = sums or {}, weight

    def add(self, grads: dict[str, np.ndarray], weight: float) -> None:
        """Add the gradients of a batch."""
        for name, grad in grads.items():
            product = grad * grad.dtype.type(weight)
            self.sums[name] = self.sums[name] + product if name in self.sums else product
        self.weight += weight

    def take(self) -> dict[str, np.ndarray]:
        """The mean; nothing is accumulated after it."""
        factor = 1 / self.weight if self.weight != 0 else 0.0
        means = {name: total * total.dtype.type(factor) for name, total in self.sums.items()}
        self.sums, self.weight = {}, 0.0
        return means


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
