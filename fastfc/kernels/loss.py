"""Losses over class scores x (N, C) and labels y (N,), and the L2 penalty. See :mod:`fastfc.reference.loss`."""

import numpy as np

from fastfc.kernels.compiler.jit import inline, kernel, sums
from fastfc.kernels.lowering.math import exp


def softmax_loss(x, y):
    dx = np.empty_like(x)
    return x.dtype.type(_softmax(dx, x, y)), dx


def svm_loss(x, y):
    dx = np.empty_like(x)
    return x.dtype.type(_svm(dx, x, y)), dx


def l2_penalty(w, dw, reg):
    return w.dtype.type(_l2(dw.reshape(-1), w.reshape(-1), reg))


@inline
def _row_loss(total, correct, largest):
    """In this order: (log(total) + largest) - correct would lose the loss in a large score."""
    return np.log(np.float64(total)) - np.float64(correct - largest)


@sums
def _exponentials(out, x):
    """Overwrites out (C,) with exp(x - max(x)); returns its sum and max(x)."""
    largest = x[0]
    for j in range(1, x.size):
        # NaN never wins here, but it makes the sum below NaN.
        largest = x[j] if x[j] > largest else largest
    total = x.dtype.type(0)
    for j in range(x.size):
        out[j] = exp(x[j] - largest)
        total += out[j]
    return total, largest


@inline
def softmax_row(dx, x, label, share):
    """Overwrites dx (C,) with share * (softmax(x) - onehot(label)); returns the row's loss, in float64."""
    share = x.dtype.type(share)
    total, largest = _exponentials(dx, x)
    factor = share / total
    for j in range(x.size):
        dx[j] *= factor
    dx[label] -= share
    return _row_loss(total, x[label], largest)


@inline
def softmax_scores(out, x):
    """Overwrites out (C,) with softmax(x)."""
    total, _ = _exponentials(out, x)
    for j in range(x.size):
        out[j] /= total


@inline
def _margin(score, correct, one):
    """score - correct + 1 in this order: the gradient jumps where it is 0, so it must round like the reference."""
    return score - correct + one


@sums
def svm_row(dx, x, label, share):
    """Overwrites dx (C,) with the hinge's gradient times share; returns the row's loss, in float64."""
    zero, one, share = x.dtype.type(0), x.dtype.type(1), x.dtype.type(share)
    correct = x[label]
    loss = 0.0
    count = zero
    for j in range(x.size):
        margin = _margin(x[j], correct, one)
        loss += zero if margin <= zero or j == label else margin
        violated = one if margin > zero and j != label else zero
        count += violated
        dx[j] = violated * share
    dx[label] = -count * share
    return loss


@sums
def l2_span(dw, w, reg):
    """Adds reg * w to dw (n,); returns the sum of w ** 2, in float64."""
    reg = w.dtype.type(reg)
    total = 0.0
    for i in range(w.size):
        total += np.float64(w[i]) * np.float64(w[i])
        dw[i] += reg * w[i]
    return total


@kernel
def _softmax(dx, x, y):
    n = x.shape[0]
    loss = 0.0
    for i in range(n):
        loss += softmax_row(dx[i], x[i], y[i], 1 / n)
    return loss / n


@kernel
def _svm(dx, x, y):
    n = x.shape[0]
    loss = 0.0
    for i in range(n):
        loss += svm_row(dx[i], x[i], y[i], 1 / n)
    return loss / n


@kernel
def _l2(dw, w, reg):
    return 0.5 * reg * l2_span(dw, w, reg)
