"""Fused blocks: affine - [batch norm | layer norm] - relu - [dropout].

The cache keeps the block's output: it is positive exactly where ReLU passed its input and
dropout kept it, so neither mask is stored. With dropout the cache ends in `scale`, the
factor 1 / p of the values that were kept (1 in test mode).
"""

from fastfc.reference.activation import relu_backward, relu_forward
from fastfc.reference.affine import affine_backward, affine_forward
from fastfc.reference.dropout import dropout_forward
from fastfc.reference.norm import (
    batchnorm_backward_alt,
    batchnorm_forward,
    layernorm_backward,
    layernorm_forward,
)

_NORMS = {
    "batchnorm": (batchnorm_forward, batchnorm_backward_alt),
    "layernorm": (layernorm_forward, layernorm_backward),
}


def block_forward(x, w, b, norm=None, norm_args=(), dropout_param=None):
    """Affine - [norm] - relu - [dropout] -> out (N, M), cache (fc_cache, [norm_cache], out, [scale]).

    `norm_args` are gamma, beta and the normalization's dictionary.
    """
    out, *cache = affine_forward(x, w, b)
    if norm is not None:
        normalize, _ = _NORMS[norm]
        out, norm_cache = normalize(out, *norm_args)
        cache.append(norm_cache)
    out, _ = relu_forward(out)
    if dropout_param is None:
        return out, (*cache, out)
    out, _ = dropout_forward(out, dropout_param)
    return out, (*cache, out, _scale(dropout_param))


def block_backward(dout, cache, norm=None, dropout=False):
    """dout (N, M) -> dx, dw, db, [dgamma, dbeta]."""
    if dropout:
        *cache, scale = cache
        dout = dout * scale
    fc_cache, *norm_cache, out = cache
    da = relu_backward(dout, out)
    if norm is None:
        return affine_backward(da, fc_cache)
    _, undo = _NORMS[norm]
    da, dgamma, dbeta = undo(da, *norm_cache)
    return *affine_backward(da, fc_cache), dgamma, dbeta


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


def _scale(dropout_param):
    return 1 / dropout_param["p"] if dropout_param["mode"] == "train" else 1.0
