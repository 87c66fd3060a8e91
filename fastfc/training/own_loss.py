"""A training by somebody's own loss: a compiled function of scores and targets in the place of the network's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfc.ops.losses import LOSSES
from fastfc.training.memory import Plan
from fastfc.training.network import Network

__all__ = ["Function", "OwnLoss", "evaluated", "require_fitting", "require_own_loss"]

Function = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def require_own_loss(name: str, value: Any) -> None:
    """TypeError, which names the argument, unless it is None or a compiled function of three arguments."""
    if value is not None:
        # Numba is imported only where somebody has a function of its own.
        from fastfc.kernels.lowering.callback import require_compiled

        require_compiled(name, value)


def require_fitting(function: Function, net: Network) -> None:
    """TypeError unless Numba can compile a function for the network's arrays, and it returns a number."""
    from fastfc.kernels.lowering.callback import compiled_loss

    compiled_loss(function, np.dtype(net.dtype), LOSSES[net.loss_name].labels)


class OwnLoss:
    """A loss that the steps of a plan call, for whole batches, in one thread.

    Parameters
    ----------
    function : function
        Compiled by Numba: ``(scores, targets, dscores) -> loss`` of scores (n, K), labels (n,) or targets (n, K), as
        the network's own loss takes them, and dscores (n, K), zeros in which it writes the loss's gradient.
    net : Network
    plan : Plan
        Of whole batches.

    Raises
    ------
    TypeError
        If Numba cannot compile the function for the network's arrays, or it returns no number.
    """

    def __init__(self, function: Function, net: Network, plan: Plan) -> None:
        from fastfc.kernels.lowering.callback import compiled_loss

        labels = LOSSES[net.loss_name].labels
        self._function, self._plan = function, plan
        self._compiled = compiled_loss(function, np.dtype(plan.dtype), labels)
        self._labels = np.zeros(plan.batch if labels else 0, np.int64)
        self._targets = np.zeros(0 if labels else plan.batch * net.dims[-1], plan.dtype)

    @property
    def attributes(self) -> dict[str, Any]:
        """Of a job of the compiled run."""
        return {
            "loss_function": self._compiled.address,
            "loss_labels": self._labels,
            "loss_targets": self._targets,
        }

    def fail(self, loss: float, rows: int, step: int) -> None:
        """Raise the error for which a call has ended before a step: the function's own, or that of its result."""
        layer = self._plan.layers[-1]
        shape, size = (rows, layer.d_out), rows * layer.d_out
        scores = np.array(layer.out[:size]).reshape(shape)
        targets = self._targets[:size].reshape(shape) if self._targets.size > 0 else self._labels[:rows]
        evaluated(self._function, scores, targets, np.zeros_like(scores), step)
        raise _not_finite(loss, step)


def evaluated(
    function: Function, scores: np.ndarray, targets: np.ndarray, dscores: np.ndarray, step: int
) -> tuple[float, np.ndarray]:
    """The loss and its gradient, called from Python; FloatingPointError for a loss that is not finite."""
    loss = float(function(scores, targets, dscores))
    if not math.isfinite(loss):
        raise _not_finite(loss, step)
    return loss, dscores


def _not_finite(loss: float, step: int) -> FloatingPointError:
    return FloatingPointError(
        f"loss: expected a finite number, the function returned {loss} for the batch of step {step}; it was not taken"
    )
