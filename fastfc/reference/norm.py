"""Batch and layer normalization: out = gamma * x_hat + beta.

x_hat = (x - mean) / sqrt(var + eps), with the statistics over the rows of a batch
(batch normalization, Ioffe and Szegedy 2015) or over the features of a row (layer
normalization, Ba, Kiros and Hinton 2016).

Statistics are taken of x - shift, where shift is one of the values averaged. The result is
the same in exact arithmetic; in floating point it keeps its digits when the mean is large
beside the deviation (Chan, Golub and LeVeque 1983).

The cache is (mode, x_hat, inv_std, gamma).
"""

import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    """X (N, D), gamma (D,), beta (D,) -> out (N, D), cache; running statistics go into bn_param."""
    mode = bn_param["mode"]
    eps = bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)
    running_mean = bn_param["running_mean"]
    running_var = bn_param["running_var"]
    if mode == "train":
        shift = x[0]
        centered = x - shift
        mean = centered.mean(axis=0)
        centered -= mean
        var = (centered**2).mean(axis=0)
        inv_std = 1 / np.sqrt(var + eps)
        x_hat = centered * inv_std
        running_mean = momentum * running_mean + (1 - momentum) * (shift + mean)
        running_var = momentum * running_var + (1 - momentum) * var
    else:
        inv_std = 1 / np.sqrt(running_var + eps)
        x_hat = (x - running_mean) * inv_std
    out = gamma * x_hat + beta
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, (mode, x_hat, inv_std, gamma)


def batchnorm_backward(dout, cache):
    """Dout (N, D) -> dx (N, D), dgamma (D,), dbeta (D,), step by step through the graph."""
    mode, x_hat, inv_std, gamma = cache
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx_hat = dout * gamma
    if mode == "test":
        return dx_hat * inv_std, dgamma, dbeta
    # x_hat = centered * inv_std and inv_std = (var + eps) ** -0.5, so that
    # dvar = -inv_std**3 / 2 * sum(dx_hat * centered), without the cube, which underflows
    dvar = -0.5 * inv_std**2 * (dx_hat * x_hat).sum(axis=0)
    # var = mean(centered ** 2)
    dcentered = dx_hat * inv_std + (2 / len(dout)) * dvar * (x_hat / inv_std)
    # centered = x - mean(x)
    dx = dcentered - dcentered.mean(axis=0)
    return dx, dgamma, dbeta


def batchnorm_backward_alt(dout, cache):
    """The same gradients from the simplified formula.

    dx = inv_std * (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)), dx_hat = gamma * dout
    """
    mode, x_hat, inv_std, gamma = cache
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    if mode == "test":
        return dout * (gamma * inv_std), dgamma, dbeta
    dx = (gamma * inv_std) * (dout - dbeta / len(dout) - x_hat * (dgamma / len(dout)))
    return dx, dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    """X (N, D), gamma (D,), beta (D,) -> out (N, D), cache; inv_std in it is (N, 1)."""
    eps = ln_param.get("eps", 1e-5)
    centered = x - x[:, :1]
    centered -= centered.mean(axis=1, keepdims=True)
    var = (centered**2).mean(axis=1, keepdims=True)
    inv_std = 1 / np.sqrt(var + eps)
    x_hat = centered * inv_std
    out = gamma * x_hat + beta
    return out, ("layer", x_hat, inv_std, gamma)


def layernorm_backward(dout, cache):
    """Dout (N, D) -> dx (N, D), dgamma (D,), dbeta (D,)."""
    _, x_hat, inv_std, gamma = cache
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx_hat = dout * gamma
    dx = inv_std * (dx_hat - dx_hat.mean(axis=1, keepdims=True) - x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True))
    return dx, dgamma, dbeta
