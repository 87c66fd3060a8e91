"""Batch and layer normalization: out = gamma * x_hat + beta. See :mod:`fastfc.reference.norm`.

Row helpers of gradients work in place (`dx` holds dout on entry): two names for one piece
of memory would make LLVM's overlap test fail and the loop run element by element.
"""

import numpy as np

from fastfc.kernels.compiler.jit import inline, kernel, reassociated
from fastfc.kernels.lowering.math import assign


def batchnorm_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps = bn_param.get("eps", 1e-5)
    running_mean, running_var = bn_param["running_mean"].copy(), bn_param["running_var"].copy()
    out, x_hat, inv_std = np.empty_like(x), np.empty_like(x), np.empty_like(gamma)
    if mode == "train":
        momentum = bn_param.get("momentum", 0.9)
        _batchnorm_train(out, x_hat, inv_std, running_mean, running_var, x, gamma, beta, eps, momentum)
    else:
        _batchnorm_test(out, x_hat, inv_std, x, running_mean, running_var, gamma, beta, eps)
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, (mode, x_hat, inv_std, gamma)


def batchnorm_backward(dout, cache):
    mode, x_hat, inv_std, gamma = cache
    dx, dgamma, dbeta = np.empty_like(dout), np.empty_like(gamma), np.empty_like(gamma)
    _batchnorm_backward(dx, dgamma, dbeta, dout, x_hat, inv_std, gamma, mode == "train")
    return dx, dgamma, dbeta


def batchnorm_backward_alt(dout, cache):
    return batchnorm_backward(dout, cache)


def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    out, x_hat, inv_std = np.empty_like(x), np.empty_like(x), np.empty((len(x), 1), x.dtype)
    _layernorm_forward(out, x_hat, inv_std, x, gamma, beta, eps)
    return out, ("layer", x_hat, inv_std, gamma)


def layernorm_backward(dout, cache):
    _, x_hat, inv_std, gamma = cache
    dx, dgamma, dbeta = np.empty_like(dout), np.empty_like(gamma), np.empty_like(gamma)
    _layernorm_backward(dx, dgamma, dbeta, dout, x_hat, inv_std, gamma)
    return dx, dgamma, dbeta


@inline
def center(x, shift, mean):
    """(x - shift) - mean, in this order: x - (shift + mean) would lose the digits that shift saves."""
    return (x - shift) - mean


@inline
def batch_moments(mean, var, x, shift):
    """Overwrites mean (D,) with the column means of x - shift, x (N, D), and var (D,) with the variances."""
    n = x.shape[0]
    zero = x.dtype.type(0)
    mean[:] = 0
    for i in range(n):
        row = x[i]
        for j in range(mean.size):
            mean[j] += center(row[j], shift[j], zero)
    for j in range(mean.size):
        mean[j] /= n
    var[:] = 0
    for i in range(n):
        row = x[i]
        for j in range(var.size):
            centered = center(row[j], shift[j], mean[j])
            var[j] += centered * centered
    for j in range(var.size):
        var[j] /= n


@inline
def inverse_std(inv_std, var, eps):
    """Overwrites inv_std (D,) with 1 / sqrt(var + eps)."""
    one, eps = var.dtype.type(1), var.dtype.type(eps)
    for j in range(var.size):
        inv_std[j] = one / np.sqrt(var[j] + eps)


@inline
def batch_statistics(shift, mean, inv_std, running_mean, running_var, x, eps, momentum):
    """Overwrites shift, mean and inv_std (D,) from x (N, D) and moves the running statistics towards them."""
    assign(shift, x[0])
    # inv_std holds the variance until it is needed itself.
    batch_moments(mean, inv_std, x, shift)
    move_running(running_mean, running_var, shift, mean, inv_std, momentum)
    inverse_std(inv_std, inv_std, eps)


@inline
def move_running(running_mean, running_var, shift, mean, var, momentum):
    """Moves the running statistics (D,) towards those of a batch, whose mean is shift + mean."""
    momentum, rest = mean.dtype.type(momentum), mean.dtype.type(1 - momentum)
    for j in range(mean.size):
        running_mean[j] = momentum * running_mean[j] + rest * (shift[j] + mean[j])
        running_var[j] = momentum * running_var[j] + rest * var[j]


@inline
def merge_moments(mean, var, shift, added_mean, added_var, added_shift, share):
    """Merges the moments of more rows, a `share` of all, into mean and var (D,).

    Each mean counts from its own shift (Chan, Golub and LeVeque 1983).
    """
    share, rest = mean.dtype.type(share), mean.dtype.type(1 - share)
    for j in range(mean.size):
        delta = center(added_shift[j], shift[j], mean[j]) + added_mean[j]
        mean[j] += delta * share
        var[j] = rest * var[j] + share * added_var[j] + (share * rest) * (delta * delta)


@inline
def standardize_by_columns(x_hat, x, shift, mean, inv_std):
    """Overwrites x_hat (D,) with ((x - shift) - mean) * inv_std of a row x (D,)."""
    for j in range(x_hat.size):
        x_hat[j] = center(x[j], shift[j], mean[j]) * inv_std[j]


@reassociated
def standardize_row(x_hat, x, eps):
    """Overwrites x_hat (D,) with (x - mean) * inv_std over a row x (D,); returns inv_std."""
    size = x_hat.dtype.type(x_hat.size)
    one, zero = x_hat.dtype.type(1), x_hat.dtype.type(0)
    shift = x[0]
    mean = zero
    for j in range(x_hat.size):
        mean += center(x[j], shift, zero)
    mean /= size
    var = zero
    for j in range(x_hat.size):
        centered = center(x[j], shift, mean)
        x_hat[j] = centered
        var += centered * centered
    inv_std = one / np.sqrt(var / size + x_hat.dtype.type(eps))
    for j in range(x_hat.size):
        x_hat[j] *= inv_std
    return inv_std


@inline
def scale_and_shift(out, x_hat, gamma, beta):
    """Overwrites out (D,) with gamma * x_hat + beta."""
    for j in range(out.size):
        out[j] = gamma[j] * x_hat[j] + beta[j]


@inline
def add_parameter_gradients(dgamma, dbeta, dout, x_hat):
    """Adds a row's dout * x_hat to dgamma (D,) and dout to dbeta (D,)."""
    for j in range(dgamma.size):
        dgamma[j] += dout[j] * x_hat[j]
        dbeta[j] += dout[j]


@inline
def batch_input_gradient(dx, dgamma, dbeta, x_hat, inv_std, gamma, share):
    """Overwrites a row dout (D,) in dx; share is 1 / N of the batch whose sums dgamma and dbeta are."""
    for j in range(dx.size):
        through_statistics = share * (dbeta[j] + x_hat[j] * dgamma[j])
        dx[j] = gamma[j] * inv_std[j] * (dx[j] - through_statistics)


@inline
def fixed_input_gradient(dx, inv_std, gamma):
    """Overwrites a row dout (D,) in dx, for statistics that do not depend on the batch."""
    for j in range(dx.size):
        dx[j] *= gamma[j] * inv_std[j]


@reassociated
def layer_input_gradient(dx, x_hat, inv_std, gamma):
    """Overwrites a row dout (D,) in dx; inv_std is the row's."""
    size = dx.dtype.type(dx.size)
    total = dx.dtype.type(0)
    projection = dx.dtype.type(0)
    for j in range(dx.size):
        dx_hat = dx[j] * gamma[j]
        total += dx_hat
        projection += dx_hat * x_hat[j]
    total /= size
    projection /= size
    for j in range(dx.size):
        dx[j] = inv_std * (dx[j] * gamma[j] - total - x_hat[j] * projection)


@kernel
def _batchnorm_train(out, x_hat, inv_std, running_mean, running_var, x, gamma, beta, eps, momentum):
    shift, mean = np.empty_like(gamma), np.empty_like(gamma)
    batch_statistics(shift, mean, inv_std, running_mean, running_var, x, eps, momentum)
    for i in range(x.shape[0]):
        standardize_by_columns(x_hat[i], x[i], shift, mean, inv_std)
        scale_and_shift(out[i], x_hat[i], gamma, beta)


@kernel
def _batchnorm_test(out, x_hat, inv_std, x, running_mean, running_var, gamma, beta, eps):
    zero = np.zeros_like(gamma)
    inverse_std(inv_std, running_var, eps)
    for i in range(x.shape[0]):
        standardize_by_columns(x_hat[i], x[i], running_mean, zero, inv_std)
        scale_and_shift(out[i], x_hat[i], gamma, beta)


@kernel
def _batchnorm_backward(dx, dgamma, dbeta, dout, x_hat, inv_std, gamma, train):
    # pass 1: the parameters' gradients, which are the column sums that dx needs
    dgamma[:] = 0
    dbeta[:] = 0
    for i in range(dout.shape[0]):
        add_parameter_gradients(dgamma, dbeta, dout[i], x_hat[i])
    # pass 2: dx
    share = dx.dtype.type(1 / max(dx.shape[0], 1))
    for i in range(dout.shape[0]):
        dx_row, dout_row, x_hat_row = dx[i], dout[i], x_hat[i]
        if train:
            # from row to row, without the copy that the helper in place would need: 1.2 times as fast
            for j in range(dx_row.size):
                through_statistics = share * (dbeta[j] + x_hat_row[j] * dgamma[j])
                dx_row[j] = gamma[j] * inv_std[j] * (dout_row[j] - through_statistics)
        else:
            assign(dx_row, dout_row)
            fixed_input_gradient(dx_row, inv_std, gamma)


@kernel
def _layernorm_forward(out, x_hat, inv_std, x, gamma, beta, eps):
    for i in range(x.shape[0]):
        inv_std[i, 0] = standardize_row(x_hat[i], x[i], eps)
        scale_and_shift(out[i], x_hat[i], gamma, beta)


@kernel
def _layernorm_backward(dx, dgamma, dbeta, dout, x_hat, inv_std, gamma):
    # a row is read once: it stays in the first-level cache for all that is done with it
    dgamma[:] = 0
    dbeta[:] = 0
    for i in range(dout.shape[0]):
        assign(dx[i], dout[i])
        add_parameter_gradients(dgamma, dbeta, dx[i], x_hat[i])
        layer_input_gradient(dx[i], x_hat[i], inv_std[i, 0], gamma)
