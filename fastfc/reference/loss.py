"""Losses of scores x (N, K), and the L2 penalty.

A loss is the mean of the rows' losses, or their mean by weights (N,). Targets are labels y (N,), or numbers t (N, K).
"""

import numpy as np


def softmax_loss(x, y, weights=None, label_smoothing=0.0):
    """Cross-entropy of softmax: logsumexp(x) - (1 - s) x[y] - s mean(x) -> loss, dx (N, K)."""
    rows = np.arange(len(x))
    shifted = x - x.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_probabilities = shifted - log_sum
    losses = -log_probabilities[rows, y]
    dx = np.exp(log_probabilities)
    if label_smoothing != 0:
        smoothing = x.dtype.type(label_smoothing)
        losses = (1 - smoothing) * losses - smoothing * log_probabilities.mean(axis=1)
        dx -= smoothing / x.shape[1]
        dx[rows, y] += smoothing
    dx[rows, y] -= 1
    return _mean(losses, dx, weights)


def svm_loss(x, y, weights=None):
    """Multiclass hinge: sum over j != y_i of max(0, x_ij - x_i[y_i] + 1) -> loss, dx."""
    rows = np.arange(len(x))
    margins = np.maximum(x - x[rows, y][:, np.newaxis] + 1, 0)
    margins[rows, y] = 0
    dx = (margins > 0).astype(x.dtype)
    dx[rows, y] -= dx.sum(axis=1)
    if weights is None:
        return margins.sum() / x.dtype.type(len(x)), dx / len(x)
    return _mean(margins.sum(axis=1), dx, weights)


def logistic_loss(x, t, weights=None):
    """Cross-entropy of the logistic function: sum(log(1 + exp(x)) - t x) -> loss, dx."""
    e = np.exp(-np.abs(x))
    losses = (np.maximum(x, 0) - t * x) + np.log1p(e)
    return _mean(losses.sum(axis=1), np.where(x < 0, e, x.dtype.type(1)) / (1 + e) - t, weights)


def squared_loss(x, t, weights=None):
    """Half of the squared error: sum((x - t)**2) / 2 -> loss, dx."""
    error = x - t
    return _mean((error * error).sum(axis=1) / 2, error, weights)


def absolute_loss(x, t, weights=None):
    """Absolute error: sum(|x - t|) -> loss, dx."""
    error = x - t
    return _mean(np.abs(error).sum(axis=1), np.sign(error), weights)


def huber_loss(x, t, weights=None, delta=1.0):
    """Squared within delta, absolute beyond: e**2 / 2 or delta (|e| - delta / 2) -> loss, dx."""
    error, delta = x - t, x.dtype.type(delta)
    size = np.abs(error)
    losses = np.where(size > delta, delta * (size - delta / 2), error * error / 2)
    return _mean(losses.sum(axis=1), np.clip(error, -delta, delta), weights)


def quantile_loss(x, t, weights=None, quantile=0.5):
    """Pinball: q (t - x) where t > x, else (1 - q) (x - t) -> loss, dx."""
    error, q = x - t, x.dtype.type(quantile)
    slope = np.where(error < 0, -q, np.where(error > 0, 1 - q, error))
    return _mean((slope * error).sum(axis=1), slope, weights)


def poisson_loss(x, t, weights=None):
    """Half of the deviance of Poisson counts t of rate exp(x): sum(exp(x) - t - t (x - log(t))) -> loss, dx."""
    rate = np.exp(x)
    log_t = np.log(np.where(t > 0, t, x.dtype.type(1)))
    return _mean(((rate - t) - t * (x - log_t)).sum(axis=1), rate - t, weights)


def _mean(losses, dx, weights):
    """The mean of losses (N,), and its gradient from the rows' own; of weights that are all 0, 0."""
    if weights is None:
        return losses.mean(), dx / len(losses)
    total = weights.sum()
    shares = weights / total if total != 0 else np.zeros_like(weights)
    return (losses * shares).sum(), dx * shares[:, np.newaxis]


# Magnitudes of the loss and of the slope of one score x and its target t in float64: their formulas evaluated with
# absolute values; see fastfc/ops/cases.py.


def logistic_magnitudes(x, t):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))) + np.abs(t * x), 1 + np.abs(t)


def squared_magnitudes(x, t):
    error = np.abs(x) + np.abs(t)
    return error**2 / 2, error


def absolute_magnitudes(x, t):
    return np.abs(x) + np.abs(t), np.ones_like(x)


def huber_magnitudes(x, t):
    error = np.abs(x) + np.abs(t)
    return error + error**2 / 2, error


def poisson_magnitudes(x, t):
    # The logarithm of a small target is large, and is multiplied by that target.
    log_t = np.log(np.where(t > 0, t, 1))
    return np.exp(x) + np.abs(t) + np.abs(t * x) + np.abs(t * log_t), np.exp(x) + np.abs(t)


quantile_magnitudes = absolute_magnitudes


def l2_penalty(w, dw, reg):
    """0.5 * reg * sum(w ** 2) -> the penalty; its gradient reg * w is added to dw in place."""
    penalty = w.dtype.type(0.5 * reg) * np.sum(w * w)
    dw += reg * w
    return penalty
