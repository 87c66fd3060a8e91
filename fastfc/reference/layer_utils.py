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


def affine_relu_forward(x, w, b):
    """Affine - relu -> out (N, M), cache (fc_cache, out)."""
    a, fc_cache = affine_forward(x, w, b)
    out, _ = relu_forward(a)
    return out, (fc_cache, out)


def affine_relu_backward(dout, cache):
    fc_cache, out = cache
    return affine_backward(relu_backward(dout, out), fc_cache)


def affine_relu_dropout_forward(x, w, b, dropout_param):
    """Affine - relu - dropout -> out (N, M), cache (fc_cache, out, scale)."""
    kept, (fc_cache, _) = affine_relu_forward(x, w, b)
    out, _ = dropout_forward(kept, dropout_param)
    return out, (fc_cache, out, _scale(dropout_param))


def affine_relu_dropout_backward(dout, cache):
    fc_cache, out, scale = cache
    return affine_backward(relu_backward(dout * scale, out), fc_cache)


def affine_batchnorm_relu_forward(x, w, b, gamma, beta, bn_param):
    """Affine - batch norm - relu -> out (N, M), cache (fc_cache, norm_cache, out)."""
    a, fc_cache = affine_forward(x, w, b)
    normalized, norm_cache = batchnorm_forward(a, gamma, beta, bn_param)
    out, _ = relu_forward(normalized)
    return out, (fc_cache, norm_cache, out)


def affine_batchnorm_relu_backward(dout, cache):
    fc_cache, norm_cache, out = cache
    da, dgamma, dbeta = batchnorm_backward_alt(relu_backward(dout, out), norm_cache)
    return *affine_backward(da, fc_cache), dgamma, dbeta


def affine_batchnorm_relu_dropout_forward(x, w, b, gamma, beta, bn_param, dropout_param):
    """Affine - batch norm - relu - dropout -> out (N, M), cache (fc_cache, norm_cache, out, scale)."""
    kept, (fc_cache, norm_cache, _) = affine_batchnorm_relu_forward(x, w, b, gamma, beta, bn_param)
    out, _ = dropout_forward(kept, dropout_param)
    return out, (fc_cache, norm_cache, out, _scale(dropout_param))


def affine_batchnorm_relu_dropout_backward(dout, cache):
    fc_cache, norm_cache, out, scale = cache
    return affine_batchnorm_relu_backward(dout * scale, (fc_cache, norm_cache, out))


def affine_layernorm_relu_forward(x, w, b, gamma, beta, ln_param):
    """Affine - layer norm - relu -> out (N, M), cache (fc_cache, norm_cache, out)."""
    a, fc_cache = affine_forward(x, w, b)
    normalized, norm_cache = layernorm_forward(a, gamma, beta, ln_param)
    out, _ = relu_forward(normalized)
    return out, (fc_cache, norm_cache, out)


def affine_layernorm_relu_backward(dout, cache):
    fc_cache, norm_cache, out = cache
    da, dgamma, dbeta = layernorm_backward(relu_backward(dout, out), norm_cache)
    return *affine_backward(da, fc_cache), dgamma, dbeta


def affine_layernorm_relu_dropout_forward(x, w, b, gamma, beta, ln_param, dropout_param):
    """Affine - layer norm - relu - dropout -> out (N, M), cache (fc_cache, norm_cache, out, scale)."""
    kept, (fc_cache, norm_cache, _) = affine_layernorm_relu_forward(x, w, b, gamma, beta, ln_param)
    out, _ = dropout_forward(kept, dropout_param)
    return out, (fc_cache, norm_cache, out, _scale(dropout_param))


def affine_layernorm_relu_dropout_backward(dout, cache):
    fc_cache, norm_cache, out, scale = cache
    return affine_layernorm_relu_backward(dout * scale, (fc_cache, norm_cache, out))


def _scale(dropout_param):
    return 1 / dropout_param["p"] if dropout_param["mode"] == "train" else 1.0
