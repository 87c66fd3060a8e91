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


def adam_epsilon_hat(w, dw, config):
    m, v = _moments(dw, config)
    rate = config["learning_rate"] * (1 - config["beta2"] ** config["t"]) ** 0.5 / (1 - config["beta1"] ** config["t"])
    w -= rate * m / (np.sqrt(v) + config["epsilon"])
    return w, config


def adam_amsgrad(w, dw, config):
    w -= config["learning_rate"] * _amsgrad_direction(dw, config)
    return w, config


def adamw_amsgrad(w, dw, config):
    direction = _amsgrad_direction(dw, config)
    w -= config["learning_rate"] * (direction + config["weight_decay"] * w)
    return w, config


def nadam(w, dw, config):
    m, v = _moments(dw, config)
    t = config["t"]
    momenta = [config["beta1"] * (1 - 0.5 * 0.96 ** (k * config["momentum_decay"])) for k in (t, t + 1)]
    product = _momentum_product(config["beta1"], config["momentum_decay"], t)
    dividend = (1 - momenta[0]) / (1 - product) * dw + momenta[1] / (1 - product * momenta[1]) * m
    v_hat = v / (1 - config["beta2"] ** t)
    w -= config["learning_rate"] * dividend / (np.sqrt(v_hat) + config["epsilon"])
    return w, config


def lion(w, dw, config):
    beta1, beta2, m = config["beta1"], config["beta2"], config["m"]
    direction = np.sign(beta1 * m + (1 - beta1) * dw)
    w -= config["learning_rate"] * (direction + config["weight_decay"] * w)
    m *= beta2
    m += (1 - beta2) * dw
    return w, config


def _adam_direction(dw, config):
    m, v = _moments(dw, config)
    return _corrected_direction(m, v, config)


def _amsgrad_direction(dw, config):
    m, v = _moments(dw, config)
    np.maximum(config["v_max"], v, out=config["v_max"])
    return _corrected_direction(m, config["v_max"], config)


def _moments(dw, config):
    """The moments m and v after one more step, in place."""
    beta1, beta2 = config["beta1"], config["beta2"]
    m, v = config["m"], config["v"]
    config["t"] += 1
    m *= beta1
    m += (1 - beta1) * dw
    v *= beta2
    v += (1 - beta2) * dw**2
    return m, v


def _corrected_direction(m, v, config):
    m_hat = m / (1 - config["beta1"] ** config["t"])
    v_hat = v / (1 - config["beta2"] ** config["t"])
    return m_hat / (np.sqrt(v_hat) + config["epsilon"])


def _momentum_product(beta1, momentum_decay, t):
    """The product of NAdam's momenta of the steps 1 to t.

    Only its distance from 1 is needed, which is 1 once the product is small: no further factor is then.
    """
    product, k = 1.0, 0
    while k < t and abs(product) > 2.0**-60:
        k += 1
        product *= beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay))
    return product
