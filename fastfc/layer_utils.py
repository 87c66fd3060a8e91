"""Fused blocks of a fully connected net: affine - [batch | layer norm] - relu - [dropout].

Each runs as one compiled call on the fast backend. Arguments are those of the layers that
a block is made of, in their order (see :mod:`fastfc.layers`), and so are the errors; the
gradients come in the order of the forward pass's arrays. A block's cache belongs to its own
backward pass.
"""

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import cast, float_arrays, number, require_shape
from fastfc.backend import implementation
from fastfc.layers import (
    batchnorm_param,
    check_affine,
    check_norm_cache,
    check_scale_and_shift,
    checked_dropout_param,
    half_of,
    layernorm_param,
    legacy_dropout,
    require_flat,
    unpack,
    write_back,
)

__all__ = [
    "affine_batchnorm_relu_backward",
    "affine_batchnorm_relu_dropout_backward",
    "affine_batchnorm_relu_dropout_forward",
    "affine_batchnorm_relu_forward",
    "affine_layernorm_relu_backward",
    "affine_layernorm_relu_dropout_backward",
    "affine_layernorm_relu_dropout_forward",
    "affine_layernorm_relu_forward",
    "affine_relu_backward",
    "affine_relu_dropout_backward",
    "affine_relu_dropout_forward",
    "affine_relu_forward",
]

_Gradients = tuple[np.ndarray, ...]


def affine_relu_forward(x: ArrayLike, w: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, tuple]:
    """Affine - relu: ``out = max(x @ w + b, 0)``.

    Parameters
    ----------
    x : array (N, d1, ..., dk)
    w : array (D, M)
    b : array (M,)

    Returns
    -------
    out : array (N, M)
    cache : tuple

    Examples
    --------
    >>> out, cache = affine_relu_forward(np.ones((1, 2)), np.array([[1.0, -1.0], [1.0, -1.0]]), np.zeros(2))
    >>> out
    array([[2., 0.]])
    """
    return _plain_forward("affine_relu_forward", x, w, b)


def affine_relu_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_relu_forward`: dout (N, M) -> ``dx, dw, db``."""
    return _plain_backward("affine_relu_backward", dout, cache, dropout=False)


def affine_relu_dropout_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike, dropout_param: dict
) -> tuple[np.ndarray, tuple]:
    """Affine - relu - dropout; arguments as for the layers, out (N, M)."""
    param = checked_dropout_param(dropout_param)
    if param["legacy"]:
        return _with_legacy_dropout(affine_relu_forward(x, w, b), param)
    return _plain_forward("affine_relu_dropout_forward", x, w, b, param)


def affine_relu_dropout_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_relu_dropout_forward`: dout (N, M) -> ``dx, dw, db``."""
    return _plain_backward("affine_relu_dropout_backward", dout, cache, dropout=True)


def affine_batchnorm_relu_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike, gamma: ArrayLike, beta: ArrayLike, bn_param: dict
) -> tuple[np.ndarray, tuple]:
    """Affine - batch norm - relu; arguments as for the layers, out (N, M)."""
    return _batchnorm_forward("affine_batchnorm_relu_forward", x, w, b, gamma, beta, bn_param)


def affine_batchnorm_relu_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_batchnorm_relu_forward`: dout (N, M) -> ``dx, dw, db, dgamma, dbeta``."""
    return _norm_backward("affine_batchnorm_relu_backward", dout, cache, ("train", "test"), dropout=False)


def affine_batchnorm_relu_dropout_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    bn_param: dict,
    dropout_param: dict,
) -> tuple[np.ndarray, tuple]:
    """Affine - batch norm - relu - dropout; arguments as for the layers, out (N, M)."""
    param = checked_dropout_param(dropout_param)
    if param["legacy"]:
        return _with_legacy_dropout(affine_batchnorm_relu_forward(x, w, b, gamma, beta, bn_param), param)
    return _batchnorm_forward("affine_batchnorm_relu_dropout_forward", x, w, b, gamma, beta, bn_param, param)


def affine_batchnorm_relu_dropout_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_batchnorm_relu_dropout_forward` -> ``dx, dw, db, dgamma, dbeta``."""
    return _norm_backward("affine_batchnorm_relu_dropout_backward", dout, cache, ("train", "test"), dropout=True)


def affine_layernorm_relu_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike, gamma: ArrayLike, beta: ArrayLike, ln_param: dict
) -> tuple[np.ndarray, tuple]:
    """Affine - layer norm - relu; arguments as for the layers, out (N, M)."""
    return _layernorm_forward("affine_layernorm_relu_forward", x, w, b, gamma, beta, ln_param)


def affine_layernorm_relu_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_layernorm_relu_forward`: dout (N, M) -> ``dx, dw, db, dgamma, dbeta``."""
    return _norm_backward("affine_layernorm_relu_backward", dout, cache, ("layer",), dropout=False)


def affine_layernorm_relu_dropout_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    ln_param: dict,
    dropout_param: dict,
) -> tuple[np.ndarray, tuple]:
    """Affine - layer norm - relu - dropout; arguments as for the layers, out (N, M)."""
    param = checked_dropout_param(dropout_param)
    if param["legacy"]:
        return _with_legacy_dropout(affine_layernorm_relu_forward(x, w, b, gamma, beta, ln_param), param)
    return _layernorm_forward("affine_layernorm_relu_dropout_forward", x, w, b, gamma, beta, ln_param, param)


def affine_layernorm_relu_dropout_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_layernorm_relu_dropout_forward` -> ``dx, dw, db, dgamma, dbeta``."""
    return _norm_backward("affine_layernorm_relu_dropout_backward", dout, cache, ("layer",), dropout=True)


def _plain_forward(name, x, w, b, *params):
    (x, w, b), half = float_arrays(x=x, w=w, b=b)
    check_affine(x, w, b)
    out, cache = implementation(name)(x, w, b, *params)
    return cast(out, half), cache


def _batchnorm_forward(name, x, w, b, gamma, beta, bn_param, *params):
    (x, w, b, gamma, beta), half = float_arrays(x=x, w=w, b=b, gamma=gamma, beta=beta)
    check_affine(x, w, b)
    check_scale_and_shift(gamma, beta, w.shape[1])
    param = batchnorm_param(bn_param, len(x), gamma)
    out, cache = implementation(name)(x, w, b, gamma, beta, param, *params)
    write_back(bn_param, param)
    return cast(out, half), cache


def _layernorm_forward(name, x, w, b, gamma, beta, ln_param, *params):
    (x, w, b, gamma, beta), half = float_arrays(x=x, w=w, b=b, gamma=gamma, beta=beta)
    check_affine(x, w, b)
    check_scale_and_shift(gamma, beta, w.shape[1])
    out, cache = implementation(name)(x, w, b, gamma, beta, layernorm_param(ln_param, gamma), *params)
    return cast(out, half), cache


def _with_legacy_dropout(block: tuple[np.ndarray, tuple], param: dict) -> tuple[np.ndarray, tuple]:
    """A block without dropout, and then that of 2017, in the form that the fused block would give."""
    out, cache = block
    dropped, _ = legacy_dropout(out, param)
    scale = 1 / (1 - param["p"]) if param["mode"] == "train" else 1.0
    return dropped, (*cache[:-1], dropped, scale)


def _plain_backward(name, dout, cache, dropout):
    half = half_of(dout)
    fc_cache, out, *scale = unpack(cache, "of the block's forward pass", 3 if dropout else 2)
    x, w, b = unpack(fc_cache, "(x, w, b)", 3)
    require_flat(out, x, w, b)
    (dout, out, x, w, b), _ = float_arrays(dout=dout, out=out, x=x, w=w, b=b)
    check_affine(x, w, b)
    _check_output(dout, out, (len(x), w.shape[1]))
    return cast(implementation(name)(dout, ((x, w, b), out, *_checked_scale(scale))), half)


def _norm_backward(name, dout, cache, modes, dropout):
    half = half_of(dout)
    fc_cache, norm_cache, out, *scale = unpack(cache, "of the block's forward pass", 4 if dropout else 3)
    x, w, b = unpack(fc_cache, "(x, w, b)", 3)
    mode, x_hat, inv_std, gamma = unpack(norm_cache, "of the block's normalization", 4)
    if not (isinstance(mode, str) and mode in modes):
        raise ValueError(f"cache: expected one of {name.replace('backward', 'forward')}, got mode {mode!r}")
    (dout, out, x, w, b, x_hat, inv_std, gamma), _ = float_arrays(
        dout=dout, out=out, x=x, w=w, b=b, x_hat=x_hat, inv_std=inv_std, gamma=gamma
    )
    check_affine(x, w, b)
    _check_output(dout, out, (len(x), w.shape[1]))
    check_norm_cache(dout, x_hat, inv_std, gamma, mode)
    checked = ((x, w, b), (mode, x_hat, inv_std, gamma), out, *_checked_scale(scale))
    return cast(implementation(name)(dout, checked), half)


def _check_output(dout, out, shape):
    require_shape("cache", out, shape, "the block's output")
    require_shape("dout", dout, shape, "the shape of the block's output")


def _checked_scale(scale):
    return [number("cache", value) for value in scale]
