"""Inverted dropout: out = x * mask, mask = (rand < p) / p in training, 1 in test.

p is the probability to keep a value. The random numbers are those of NumPy's global
stream (Srivastava et al. 2014; scaling by 1 / p as in the CS231n notes).
"""

import numpy as np


def dropout_forward(x, dropout_param):
    """X of any shape -> out, cache (dropout_param, mask); mask is None in test mode."""
    if dropout_param.get("seed") is not None:
        np.random.seed(dropout_param["seed"])
    if dropout_param["mode"] == "test":
        return x.copy(), (dropout_param, None)
    p = dropout_param["p"]
    mask = ((np.random.random_sample(x.shape) < p) / p).astype(x.dtype)
    return x * mask, (dropout_param, mask)


def dropout_backward(dout, cache):
    """Dout -> dx = dout * mask; the mode is read from the dict in the cache."""
    dropout_param, mask = cache
    if dropout_param["mode"] == "test":
        return dout.copy()
    return dout * mask
