"""Fused blocks: affine - [batch norm | layer norm] - relu - [dropout].

One compiled call each; between the matrix products every row is read and written once,
while it is in the first-level cache. See :mod:`fastfc.reference.layer_utils`.
"""

from collections.abc import Callable

import numpy as np

from fastfc.kernels.activation import relu_backward_values
from fastfc.kernels.affine import affine, affine_gradients
from fastfc.kernels.compiler.jit import kernel
from fastfc.kernels.dropout import apply_mask
from fastfc.kernels.lowering.math import assign, rectify
from fastfc.kernels.lowering.random import keep_mask
from fastfc.kernels.norm import (
    add_parameter_gradients,
    batch_input_gradient,
    batch_statistics,
    fixed_input_gradient,
    inverse_std,
    layer_input_gradient,
    scale_and_shift,
    standardize_by_columns,
    standardize_row,
)

# Which normalization a compiled block undoes.
_BATCH_TRAIN, _BATCH_TEST, _LAYER = range(3)


def block_forward(x, w, b, norm=None, norm_args=(), dropout_param=None):
    if dropout_param is None:
        out, cache = _FORWARD[norm](x, w, b, *norm_args, None)
        return out, (*cache, out)
    mask, scale = _dropout((len(x), w.shape[1]), x.dtype, dropout_param)
    out, cache = _FORWARD[norm](x, w, b, *norm_args, mask)
    return out, (*cache, out, scale)


def block_backward(dout, cache, norm=None, dropout=False):
    backward: Callable = _plain_backward if norm is None else _norm_backward
    return backward(dout, *cache) if dropout else backward(dout, *cache, 1.0)


def affine_relu_forward(x, w, b):
    return block_forward(x, w, b)


def affine_relu_backward(dout, cache):
    return block_backward(dout, cache)


def affine_relu_dropout_forward(x, w, b, dropout_param):
    return block_forward(x, w, b, dropout_param=dropout_param)


def affine_relu_dropout_backward(dout, cache):
    return block_backward(dout, cache, dropout=True)


def affine_batchnorm_relu_forward(x, w, b, gamma, beta, bn_param):
    return block_forward(x, w, b, "batchnorm", (gamma, beta, bn_param))


def affine_batchnorm_relu_backward(dout, cache):
    return block_backward(dout, cache, "batchnorm")


def affine_batchnorm_relu_dropout_forward(x, w, b, gamma, beta, bn_param, dropout_param):
    return block_forward(x, w, b, "batchnorm", (gamma, beta, bn_param), dropout_param)


def affine_batchnorm_relu_dropout_backward(dout, cache):
    return block_backward(dout, cache, "batchnorm", dropout=True)


def affine_layernorm_relu_forward(x, w, b, gamma, beta, ln_param):
    return block_forward(x, w, b, "layernorm", (gamma, beta, ln_param))


def affine_layernorm_relu_backward(dout, cache):
    return block_backward(dout, cache, "layernorm")


def affine_layernorm_relu_dropout_forward(x, w, b, gamma, beta, ln_param, dropout_param):
    return block_forward(x, w, b, "layernorm", (gamma, beta, ln_param), dropout_param)


def affine_layernorm_relu_dropout_backward(dout, cache):
    return block_backward(dout, cache, "layernorm", dropout=True)


def _dropout(shape, dtype, dropout_param):
    """The mask, or None in test mode, and the factor of the values that are kept."""
    if dropout_param.get("seed") is not None:
        np.random.seed(dropout_param["seed"])
    if dropout_param["mode"] == "test":
        return None, 1.0
    p = dropout_param["p"]
    return keep_mask(shape, p, dtype), 1 / p


def _rows(x, w):
    return x.reshape(len(x), len(w))


def _mask_argument(mask, x):
    """A mask of no rows stands for no dropout: None would be a second compiled signature."""
    return np.empty((0, 0), x.dtype) if mask is None else mask


def _plain_forward(x, w, b, mask):
    out = np.empty((len(x), w.shape[1]), x.dtype)
    _forward_plain(out, _rows(x, w), w, b, _mask_argument(mask, x))
    return out, ((x, w, b),)


def _batchnorm_forward(x, w, b, gamma, beta, bn_param, mask):
    mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean, running_var = bn_param["running_mean"].copy(), bn_param["running_var"].copy()
    out = np.empty((len(x), w.shape[1]), x.dtype)
    x_hat, inv_std = np.empty_like(out), np.empty_like(gamma)
    _forward_batchnorm(
        out, x_hat, inv_std, running_mean, running_var, _rows(x, w), w, b, gamma, beta,
        eps, momentum, mode == "train", _mask_argument(mask, x),
    )  # fmt: skip
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return out, ((x, w, b), (mode, x_hat, inv_std, gamma))


def _layernorm_forward(x, w, b, gamma, beta, ln_param, mask):
    out = np.empty((len(x), w.shape[1]), x.dtype)
    x_hat, inv_std = np.empty_like(out), np.empty((len(x), 1), x.dtype)
    eps = ln_param.get("eps", 1e-5)
    _forward_layernorm(out, x_hat, inv_std, _rows(x, w), w, b, gamma, beta, eps, _mask_argument(mask, x))
    return out, ((x, w, b), ("layer", x_hat, inv_std, gamma))


def _plain_backward(dout, fc_cache, out, scale):
    x, w, _ = fc_cache
    rows = _rows(x, w)
    dx, dw, db = np.empty_like(rows), np.empty_like(w), np.empty(w.shape[1], w.dtype)
    _backward_plain(dx, dw, db, dout, out, scale, rows, w)
    return dx.reshape(x.shape), dw, db


def _norm_backward(dout, fc_cache, norm_cache, out, scale):
    x, w, _ = fc_cache
    mode, x_hat, inv_std, gamma = norm_cache
    rows = _rows(x, w)
    dx, dw, db = np.empty_like(rows), np.empty_like(w), np.empty(w.shape[1], w.dtype)
    dgamma, dbeta = np.empty_like(gamma), np.empty_like(gamma)
    code = {"train": _BATCH_TRAIN, "test": _BATCH_TEST, "layer": _LAYER}[mode]
    _backward_norm(
        dx, dw, db, dgamma, dbeta, dout, out, scale, rows, w, x_hat, inv_std.reshape(-1), gamma, code
    )  # fmt: skip
    return dx.reshape(x.shape), dw, db, dgamma, dbeta


_FORWARD: dict[str | None, Callable] = {
    None: _plain_forward,
    "batchnorm": _batchnorm_forward,
    "layernorm": _layernorm_forward,
}


@kernel
def _forward_plain(out, x, w, b, mask):
    affine(out, x, w, b)
    for i in range(out.shape[0]):
        rectify(out[i])
        if mask.size > 0:
            apply_mask(out[i], mask[i])


@kernel
def _forward_batchnorm(
    out, x_hat, inv_std, running_mean, running_var, x, w, b, gamma, beta, eps, momentum, train, mask
):
    # out holds the affine output until it is normalized
    affine(out, x, w, b)
    shift, mean = np.empty_like(gamma), np.zeros_like(gamma)
    if train:
        batch_statistics(shift, mean, inv_std, running_mean, running_var, out, eps, momentum)
    else:
        assign(shift, running_mean)
        inverse_std(inv_std, running_var, eps)
    for i in range(out.shape[0]):
        standardize_by_columns(x_hat[i], out[i], shift, mean, inv_std)
        scale_and_shift(out[i], x_hat[i], gamma, beta)
        rectify(out[i])
        if mask.size > 0:
            apply_mask(out[i], mask[i])


@kernel
def _forward_layernorm(out, x_hat, inv_std, x, w, b, gamma, beta, eps, mask):
    affine(out, x, w, b)
    for i in range(out.shape[0]):
        inv_std[i, 0] = standardize_row(x_hat[i], out[i], eps)
        scale_and_shift(out[i], x_hat[i], gamma, beta)
        rectify(out[i])
        if mask.size > 0:
            apply_mask(out[i], mask[i])


@kernel
def _backward_plain(dx, dw, db, dout, out, scale, x, w):
    scale = dout.dtype.type(scale)
    da = np.empty_like(dout)
    for i in range(dout.shape[0]):
        relu_backward_values(da[i], dout[i], out[i], scale)
    affine_gradients(dx, dw, db, da, x, w)


@kernel
def _backward_norm(dx, dw, db, dgamma, dbeta, dout, out, scale, x, w, x_hat, inv_std, gamma, code):
    n = dout.shape[0]
    scale = dout.dtype.type(scale)
    share = dout.dtype.type(1 / max(n, 1))
    da = np.empty_like(dout)
    dgamma[:] = 0
    dbeta[:] = 0
    for i in range(n):
        relu_backward_values(da[i], dout[i], out[i], scale)
        add_parameter_gradients(dgamma, dbeta, da[i], x_hat[i])
        if code == _LAYER:
            layer_input_gradient(da[i], x_hat[i], inv_std[i], gamma)
    if code != _LAYER:
        for i in range(n):
            if code == _BATCH_TRAIN:
                batch_input_gradient(da[i], dgamma, dbeta, x_hat[i], inv_std, gamma, share)
            else:
                fixed_input_gradient(da[i], inv_std, gamma)
    affine_gradients(dx, dw, db, da, x, w)
