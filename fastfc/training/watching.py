"""The stopping rule on the training loss."""

import numpy as np

from fastfc.training.memory import FINITE, LEAST, STALE, TOLERANCE, WATCH

__all__ = ["finite_losses", "note_loss", "watch_losses"]


def watch_losses(tolerance: float, patience: float) -> np.ndarray:
    """A stopping rule for :meth:`Fit.epochs`: it ends once the loss has not improved for too long.

    It ends after an epoch if, for more than `patience` epochs one after the other, the mean loss has been above the
    least one so far minus `tolerance`.
    """
    return np.array([0.0, np.inf, 0.0, tolerance, patience, *[0.0] * (WATCH - 5)])


def finite_losses() -> np.ndarray:
    """A stopping rule for :meth:`Fit.epochs`: it ends with the first epoch whose losses are not all finite.

    Validation does not see that epoch.
    """
    watch = watch_losses(0, np.inf)
    watch[FINITE] = 1
    return watch


def note_loss(watch: np.ndarray, loss: float) -> None:
    """Tell a stopping rule of :func:`watch_losses` an epoch's mean loss, as the compiled epochs do by themselves."""
    watch[STALE] = watch[STALE] + 1 if loss > watch[LEAST] - watch[TOLERANCE] else 0
    watch[LEAST] = min(watch[LEAST], loss)
