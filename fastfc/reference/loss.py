"""Losses over class scores x (N, C) and labels y (N,), and the L2 penalty."""

import numpy as np


def softmax_loss(x, y):
    """Cross-entropy of softmax: loss = mean(logsumexp(x_i) - x_i[y_i]) -> loss, dx (N, C)."""
    rows = np.arange(len(x))
    shifted = x - x.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_probabilities = shifted - log_sum
    loss = -log_probabilities[rows, y].mean()
    dx = np.exp(log_probabilities)
    dx[rows, y] -= 1
    dx /= len(x)
    return loss, dx


def svm_loss(x, y):
    """Multiclass hinge: loss = sum over j != y_i of max(0, x_ij - x_i[y_i] + 1), mean over rows -> loss, dx."""
    rows = np.arange(len(x))
    margins = np.maximum(x - x[rows, y][:, np.newaxis] + 1, 0)
    margins[rows, y] = 0
    loss = margins.sum() / x.dtype.type(len(x))
    dx = (margins > 0).astype(x.dtype)
    dx[rows, y] -= dx.sum(axis=1)
    dx /= len(x)
    return loss, dx


def l2_penalty(w, dw, reg):
    """0.5 * reg * sum(w ** 2) -> the penalty; its gradient reg * w is added to dw in place."""
    penalty = w.dtype.type(0.5 * reg) * np.sum(w * w)
    dw += reg * w
    return penalty
