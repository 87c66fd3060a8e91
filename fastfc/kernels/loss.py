"""Losses of scores x (N, K), and the L2 penalty. See :mod:`fastfc.reference.loss`.

Those of targets t (N, K) are a function ``<name>(x, t, parameter, real) -> loss, dx`` of two numbers.
"""

import numpy as np
from numba.core import types

from fastfc.kernels.compiler.jit import glue, inline, kernel, reassociated
from fastfc.kernels.compiler.standalone import Alternatives
from fastfc.kernels.lowering.math import assign, exp, log1p, sum_of
from fastfc.kernels.lowering.views import array_at, flat, matrix, pointer_to, vector
from fastfc.ops.losses import LOSSES


def softmax_loss(x, y, weights=None, label_smoothing=0.0):
    return _loss_of("softmax", x, y, weights, label_smoothing)


def svm_loss(x, y, weights=None):
    return _loss_of("svm", x, y, weights)


def logistic_loss(x, t, weights=None):
    return _loss_of("logistic", x, t, weights)


def squared_loss(x, t, weights=None):
    return _loss_of("squared", x, t, weights)


def absolute_loss(x, t, weights=None):
    return _loss_of("absolute", x, t, weights)


def huber_loss(x, t, weights=None, delta=1.0):
    return _loss_of("huber", x, t, weights, delta)


def quantile_loss(x, t, weights=None, quantile=0.5):
    return _loss_of("quantile", x, t, weights, quantile)


def poisson_loss(x, t, weights=None):
    return _loss_of("poisson", x, t, weights)


def _loss_of(name, x, targets, weights, parameter=0.0):
    dx = np.empty_like(x)
    # None would be a second compiled signature.
    weights = np.empty(0, x.dtype) if weights is None else weights
    if LOSSES[name].labels:
        loss = _of_labels(LOSSES[name].code, dx, x, targets, weights, parameter)
    else:
        loss = _OF_TARGETS[name](dx, x, targets, weights, parameter)
    return x.dtype.type(loss), dx


def l2_penalty(w, dw, reg):
    return w.dtype.type(_l2(dw.reshape(-1), w.reshape(-1), reg))


# Scores whose exponentials are taken in one loop: a short row alone would not fill a vector, and so many stay in the
# nearest cache.
_AT_ONCE = 1024


@reassociated
def _largest(x):
    """The largest of x (C,), which may pass over NaN: the sum of exponentials is NaN then in any case."""
    largest = x[0]
    for j in range(1, x.size):
        largest = x[j] if x[j] > largest else largest
    return largest


@inline
def _shift(out, x):
    """Overwrites out (C,) with x - max(x)."""
    largest = _largest(x)
    for j in range(x.size):
        out[j] = x[j] - largest


@inline
def _exponentiate(x):
    """Overwrites x (n,), at most 0, with its exponentials."""
    for i in range(x.size):
        x[i] = exp(x[i])


@inline
def softmax_scores(out, x):
    """Overwrites rows out (rows, C) with softmax(x) of each."""
    for i in range(x.shape[0]):
        _shift(out[i], x[i])
    _exponentiate(flat(out))
    for i in range(x.shape[0]):
        total = sum_of(out[i])
        for j in range(x.shape[1]):
            out[i, j] /= total


@inline
def _smooth(dx, x, label, share, smoothing):
    """Adds to dx (C,) what label smoothing adds to the row's gradient; returns what it adds to its loss."""
    mean = 0.0
    for j in range(x.size):
        # The label's own first: it may be large.
        mean += np.float64(x[label]) - np.float64(x[j])
        dx[j] -= x.dtype.type(share * smoothing / x.size)
    dx[label] += x.dtype.type(share * smoothing)
    return smoothing * mean / x.size


@inline
def _margin(score, correct, one):
    """score - correct + 1 in this order: the gradient jumps where it is 0, so it must round like the reference."""
    return score - correct + one


@reassociated
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


@inline
def logistic(x, t, parameter, real):
    e = exp(-abs(x))
    above = x if x > real(0) else real(0)
    return (above - t * x) + log1p(e), (e if x < real(0) else real(1)) / (real(1) + e) - t


@inline
def squared(x, t, parameter, real):
    error = x - t
    return error * error * real(0.5), error


@inline
def absolute(x, t, parameter, real):
    error = x - t
    return abs(error), np.sign(error)


@inline
def huber(x, t, parameter, real):
    error, delta = x - t, real(parameter)
    size = abs(error)
    # NaN is not beyond delta, and its square is NaN.
    if size > delta:
        return delta * (size - delta * real(0.5)), np.copysign(delta, error)
    return error * error * real(0.5), error


@inline
def quantile(x, t, parameter, real):
    error = x - t
    slope = real(-parameter) if error < real(0) else (real(1 - parameter) if error > real(0) else error)
    return slope * error, slope


@inline
def poisson(x, t, parameter, real):
    # In two factors, neither of which overflows before their product does.
    root = exp(-abs(x) * real(0.5))
    rate = root * root if x < real(0) else (real(1) / root) * (real(1) / root)
    log_t = np.log(t) if t > real(0) else real(0)
    return (rate - t) - t * (x - log_t), rate - t


def _row_of(name):
    """The loop over targets of the same weight."""
    function = globals()[name]

    @reassociated
    def row(dx, x, share, parameter):
        """Overwrites dx (K,), which has the targets, with share times the gradient; returns the loss, in float64.

        In place: of three arrays LLVM would have to know first that none of them overlaps another.
        """
        share, total = x.dtype.type(share), 0.0
        for j in range(x.size):
            loss, slope = function(x[j], dx[j], parameter, x.dtype.type)
            total += np.float64(loss)
            dx[j] = share * slope
        return total

    return row


def _rows_of(name):
    """The kernel that the compiled run calls for a loss of numbers.

    Of a batch of n examples, some rows dx and x (rows, K); targets (N, K) and weights (N,) are of all examples, of
    which `examples` (rows,) are the rows'.
    """
    row = _row_of(name)

    def rows(dx, x, rows, outputs, targets, examples, weights, num_weights, total, n, parameter):
        loss = 0.0
        weights = array_at(weights, num_weights)
        examples = array_at(examples, rows)
        dx, x = array_at(dx, rows * outputs), array_at(x, rows * outputs)
        for i in range(rows):
            t = vector(array_at(targets, (examples[i] + 1) * outputs), examples[i] * outputs, outputs)
            assign(vector(dx, i * outputs, outputs), t)
        if weights.size == 0:
            # All rows at once: those of a single output would not fill a vector.
            return row(dx, x, 1 / n, parameter)
        for i in range(rows):
            weight = weight_of_row(weights, examples[i], total, n)
            of_dx, of_x = vector(dx, i * outputs, outputs), vector(x, i * outputs, outputs)
            loss += weight * row(of_dx, of_x, weight / n, parameter)
        return loss

    return rows


def _rows_kinds(dtype):
    real, count, number = pointer_to(dtype), types.int64, types.float64
    return real, real, count, count, real, pointer_to(np.int64), real, count, number, count, number


_SOFTMAX = LOSSES["softmax"].code
# A product with any total is finite; a total is at most the number of classes.
_LARGE = 1e200


@glue
def label_rows(code, dx, x, y, examples, weights, total, n, parameter):
    """The sum of the losses of rows x (rows, C), each times its weight, and its gradient in dx.

    Labels y (N,) and weights (N,), as :func:`weight_of_row` takes them, are of all examples, of which `examples`
    (rows,) are the rows'. The loss is softmax's, with `parameter` its label smoothing, or the multiclass hinge's.
    """
    loss, rows, classes = 0.0, x.shape[0], x.shape[1]
    if code == _SOFTMAX:
        at_once = max(1, _AT_ONCE // classes)
        for first in range(0, rows, at_once):
            count = min(at_once, rows - first)
            of_dx = matrix(flat(dx), first * classes, count, classes)
            of_x = matrix(flat(x), first * classes, count, classes)
            of_examples = vector(examples, first, count)
            loss += _softmax_rows(of_dx, of_x, y, of_examples, weights, total, n, parameter)
        return loss
    for i in range(rows):
        weight = weight_of_row(weights, examples[i], total, n)
        loss += weight * svm_row(dx[i], x[i], y[examples[i]], weight / n)
    return loss


@glue
def _softmax_rows(dx, x, y, examples, weights, total, n, smoothing):
    """:func:`label_rows` for the loss of softmax, and few rows.

    A row's loss is ``max(x) - x[label] + log(sum of its exponentials)``: in another order a large score would lose it.
    A sum of logarithms is the logarithm of a product: one takes as long as the rest of a short row.
    """
    loss, product = 0.0, 1.0
    for i in range(x.shape[0]):
        _shift(dx[i], x[i])
        loss -= weight_of_row(weights, examples[i], total, n) * np.float64(dx[i, y[examples[i]]])
    _exponentiate(flat(dx))
    for i in range(x.shape[0]):
        label, weight = y[examples[i]], weight_of_row(weights, examples[i], total, n)
        share = x.dtype.type(weight / n)
        exponentials = sum_of(dx[i])
        factor = share / exponentials
        for j in range(x.shape[1]):
            dx[i, j] *= factor
        dx[i, label] -= share
        if smoothing != 0:
            loss += weight * _smooth(dx[i], x[i], label, weight / n, smoothing)
        if weights.size > 0:
            loss += weight * np.log(np.float64(exponentials))
            continue
        product *= np.float64(exponentials)
        if product > _LARGE:
            loss += np.log(product)
            product = 1.0
    return loss + np.log(product)


@inline
def weight_of_row(weights, example, total, n):
    """A row's weight, where those of the batch's n rows have a mean of 1; `total` is their sum in weights (N,).

    Without weights, which is (0,), and with a sum of 0 they are all the same: 1 and 0.
    """
    if weights.size == 0:
        return 1.0
    return n * (np.float64(weights[example]) / total) if total != 0 else 0.0


#: The kernels of the losses of numbers, by their names.
ROWS_KERNELS = Alternatives(
    types.float64, _rows_kinds, {loss.run_kernel: _rows_of(name) for name, loss in LOSSES.items() if not loss.labels}
)
_call_rows = ROWS_KERNELS.caller()


@glue
def target_rows(kernel, dx, x, targets, examples, weights, total, n, parameter):
    """The loss of rows x (rows, K), and its gradient in dx, by a kernel of :data:`ROWS_KERNELS`; see there."""
    rows, outputs = x.shape
    return _call_rows(
        kernel,
        (flat(dx), flat(x), rows, outputs, targets, examples, weights, weights.size, total, n, parameter),
    )  # fmt: skip


@reassociated
def l2_chunk(dw, w, reg):
    """Adds reg * w to dw (n,); returns the sum of w ** 2, in float64."""
    reg = w.dtype.type(reg)
    total = 0.0
    for i in range(w.size):
        total += np.float64(w[i]) * np.float64(w[i])
        dw[i] += reg * w[i]
    return total


@inline
def _sum(weights):
    total = 0.0
    for i in range(weights.size):
        total += np.float64(weights[i])
    return total


@kernel
def _of_labels(code, dx, x, y, weights, parameter):
    n = x.shape[0]
    return label_rows(code, dx, x, y, np.arange(n), weights, _sum(weights), n, parameter) / n


def _of_targets(name):
    """The kernel of the operation of a loss of numbers."""
    row = _row_of(name)

    def of_targets(dx, x, t, weights, parameter):
        n, total, loss = x.shape[0], _sum(weights), 0.0
        for i in range(n):
            weight = weight_of_row(weights, i, total, n)
            assign(dx[i], t[i])
            loss += weight * row(dx[i], x[i], weight / n, parameter)
        return loss / n

    of_targets.__qualname__ = f"_{name}_of_targets"
    return kernel(of_targets)


_OF_TARGETS = {name: _of_targets(name) for name, loss in LOSSES.items() if not loss.labels}


@kernel
def _l2(dw, w, reg):
    return 0.5 * reg * l2_chunk(dw, w, reg)
