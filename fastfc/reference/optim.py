"""Update rules. Each changes w and the state arrays in config in place and returns (w, config).

The formulas stand in the public docstrings of :mod:`fastfc.optim`.
"""

import numpy as np


def sgd(w, dw, config):
    w -= config["learning_rate"] * dw
    return w, config


def sgd_momentum(w, dw, config):
    velocity = config["velocity"]
    velocity *= config["momentum"]
    velocity -= config["learning_rate"] * dw
    w += velocity
    return w, config


def nesterov(w, dw, config):
    momentum, velocity = config["momentum"], config["velocity"]
    previous = velocity.copy()
    velocity *= momentum
    velocity -= config["learning_rate"] * dw
    w += (1 + momentum) * velocity - momentum * previous
    return w, config


def rmsprop(w, dw, config):
    decay_rate, cache = config["decay_rate"], config["cache"]
    cache *= decay_rate
    cache += (1 - decay_rate) * dw**2
    w -= config["learning_rate"] * dw / (np.sqrt(cache) + config["epsilon"])
    return w, config


def adagrad(w, dw, config):
    cache = config["cache"]
    cache += dw**2
    w -= config["learning_rate"] * dw / (np.sqrt(cache) + config["epsilon"])
    return w, config


def adam(w, dw, config):
    w -= config["learning_rate"] * _adam_direction(dw, config)
    return w, config


def adamw(w, dw, config):
    direction = _adam_direction(dw, config)
    w -= config["learning_rate"] * (direction + config["weight_decay"] * w)
    return w, config


def _adam_direction(dw, config):
    beta1, beta2 = config["beta1"], config["beta2"]
    m, v = config["m"], config["v"]
    config["t"] += 1
    m *= beta1
    m += (1 - beta1) * dw
    v *= beta2
    v += (1 - beta2) * dw**2
    m_hat = m / (1 - beta1 ** config["t"])
    v_hat = v / (1 - beta2 ** config["t"])
    return m_hat / (np.sqrt(v_hat) + config["epsilon"])
