"""Update rules, one pass over the parameters each. See :mod:`fastfc.optim` for the formulas.

The ``*_chunk`` helpers change w and the state in place; every array is (n,) and contiguous.

The compiled run calls the ``*_rule`` helpers, all of one signature: w and dw (n,), state (any,) with the rule's arrays
`stride` values apart, hyper (MOST_HYPERPARAMETERS,) in the order of the rule's record, with the count of steps as
before the first step of the call, the number of steps since then, and notes (NOTES,), what the thread remembers from
one update to the next.
"""

import numpy as np
from numba.core import types

from fastfc.kernels.compiler.jit import approximate_division, glue, inline, kernel
from fastfc.kernels.compiler.standalone import Alternatives
from fastfc.kernels.lowering.momenta import NEGLIGIBLE, momentum_at, momentum_product, nadam_factors
from fastfc.kernels.lowering.views import array_at, pointer_to, vector
from fastfc.ops.rules import MOST_HYPERPARAMETERS, NOTES, RUN_KERNELS


def sgd(w, dw, config):
    _sgd(w.reshape(-1), dw.reshape(-1), config["learning_rate"])
    return w, config


def sgd_momentum(w, dw, config):
    velocity = config["velocity"].reshape(-1)
    _sgd_momentum(w.reshape(-1), dw.reshape(-1), velocity, config["learning_rate"], config["momentum"])
    return w, config


def nesterov(w, dw, config):
    velocity = config["velocity"].reshape(-1)
    _nesterov(w.reshape(-1), dw.reshape(-1), velocity, config["learning_rate"], config["momentum"])
    return w, config


def rmsprop(w, dw, config):
    cache = config["cache"].reshape(-1)
    rate, decay_rate, epsilon = config["learning_rate"], config["decay_rate"], config["epsilon"]
    _rmsprop(w.reshape(-1), dw.reshape(-1), cache, rate, decay_rate, epsilon)
    return w, config


def adagrad(w, dw, config):
    cache = config["cache"].reshape(-1)
    _adagrad(w.reshape(-1), dw.reshape(-1), cache, config["learning_rate"], config["epsilon"])
    return w, config


def adam(w, dw, config):
    return _adam_step(_adam, _moments(config), w, dw, config)


def adamw(w, dw, config):
    return _adam_step(_adam, _moments(config), w, dw, config, config["learning_rate"] * config["weight_decay"])


def adam_epsilon_hat(w, dw, config):
    config["t"] += 1
    rate, beta1, beta2, epsilon = (config[key] for key in ("learning_rate", "beta1", "beta2", "epsilon"))
    m, v = config["m"].reshape(-1), config["v"].reshape(-1)
    rate *= (1 - beta2 ** config["t"]) ** 0.5 / (1 - beta1 ** config["t"])
    _adam(w.reshape(-1), dw.reshape(-1), m, v, rate, beta1, beta2, epsilon, 1.0, 1.0, 0.0)
    return w, config


def adam_amsgrad(w, dw, config):
    return _adam_step(_adam_amsgrad, _amsgrad_moments(config), w, dw, config)


def adamw_amsgrad(w, dw, config):
    shrinkage = config["learning_rate"] * config["weight_decay"]
    return _adam_step(_adam_amsgrad, _amsgrad_moments(config), w, dw, config, shrinkage)


def nadam(w, dw, config):
    config["t"] += 1
    rate, beta1, beta2, epsilon = (config[key] for key in ("learning_rate", "beta1", "beta2", "epsilon"))
    m, v = config["m"].reshape(-1), config["v"].reshape(-1)
    decay, t = config["momentum_decay"], config["t"]
    of_dw, of_m = nadam_factors(beta1, decay, t, momentum_product(beta1, decay, t))
    v_correction = 1 / (1 - beta2**t)
    _nadam(w.reshape(-1), dw.reshape(-1), m, v, rate, beta1, beta2, epsilon, of_dw, of_m, v_correction)
    return w, config


def lion(w, dw, config):
    rate, beta1, beta2 = config["learning_rate"], config["beta1"], config["beta2"]
    _lion(w.reshape(-1), dw.reshape(-1), config["m"].reshape(-1), rate, beta1, beta2, rate * config["weight_decay"])
    return w, config


def _moments(config):
    return config["m"].reshape(-1), config["v"].reshape(-1)


def _amsgrad_moments(config):
    return *_moments(config), config["v_max"].reshape(-1)


def _adam_step(update, state, w, dw, config, shrinkage=0.0):
    """A step of one of Adam's kernels, each of which has a flat state of its own."""
    config["t"] += 1
    rate, beta1, beta2, epsilon = config["learning_rate"], config["beta1"], config["beta2"], config["epsilon"]
    m_correction, v_correction = 1 / (1 - beta1 ** config["t"]), 1 / (1 - beta2 ** config["t"])
    numbers = rate, beta1, beta2, epsilon, m_correction, v_correction, shrinkage
    update(w.reshape(-1), dw.reshape(-1), *state, *numbers)
    return w, config


@approximate_division
def _estimate(dividend, divisor):
    return dividend / divisor


@inline
def _quotient(dividend, divisor, epsilon, smallest):
    """dividend / divisor, for a divisor of epsilon or more and the smallest normal number; of float32 within 3 ulp."""
    if epsilon < smallest:
        return dividend / divisor
    # Infinite is the divisor of a moment that overflowed; the quotient is 0 then, or NaN.
    return dividend - dividend if divisor > 1 / smallest else _estimate(dividend, divisor)


@inline
def sgd_chunk(w, dw, rate):
    rate = w.dtype.type(rate)
    for i in range(w.size):
        w[i] -= rate * dw[i]


@inline
def sgd_momentum_chunk(w, dw, velocity, rate, momentum):
    rate, momentum = w.dtype.type(rate), w.dtype.type(momentum)
    for i in range(w.size):
        velocity[i] = momentum * velocity[i] - rate * dw[i]
        w[i] += velocity[i]


@inline
def nesterov_chunk(w, dw, velocity, rate, momentum):
    rate, momentum, ahead = w.dtype.type(rate), w.dtype.type(momentum), w.dtype.type(1 + momentum)
    for i in range(w.size):
        previous = velocity[i]
        velocity[i] = momentum * previous - rate * dw[i]
        w[i] += ahead * velocity[i] - momentum * previous


@inline
def rmsprop_chunk(w, dw, cache, rate, decay_rate, epsilon):
    rate, epsilon, smallest = w.dtype.type(rate), w.dtype.type(epsilon), np.finfo(w.dtype).tiny
    decay_rate, rest = w.dtype.type(decay_rate), w.dtype.type(1 - decay_rate)
    for i in range(w.size):
        cache[i] = decay_rate * cache[i] + rest * (dw[i] * dw[i])
        w[i] -= _quotient(rate * dw[i], np.sqrt(cache[i]) + epsilon, epsilon, smallest)


@inline
def adagrad_chunk(w, dw, cache, rate, epsilon):
    rate, epsilon, smallest = w.dtype.type(rate), w.dtype.type(epsilon), np.finfo(w.dtype).tiny
    for i in range(w.size):
        cache[i] += dw[i] * dw[i]
        w[i] -= _quotient(rate * dw[i], np.sqrt(cache[i]) + epsilon, epsilon, smallest)


@inline
def adam_chunk(w, dw, m, v, rate, beta1, beta2, epsilon, m_correction, v_correction, shrinkage):
    """AdamW where shrinkage = learning rate * weight decay is not 0."""
    # Cast once: a Python float beside float32 arrays would make the loop compute in float64.
    rest1, rest2 = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    rate, beta1, beta2, epsilon = w.dtype.type(rate), w.dtype.type(beta1), w.dtype.type(beta2), w.dtype.type(epsilon)
    m_correction, v_correction = w.dtype.type(m_correction), w.dtype.type(v_correction)
    shrinkage, smallest = w.dtype.type(shrinkage), np.finfo(w.dtype).tiny
    for i in range(w.size):
        m[i] = beta1 * m[i] + rest1 * dw[i]
        v[i] = beta2 * v[i] + rest2 * (dw[i] * dw[i])
        direction = _quotient(m[i] * m_correction, np.sqrt(v[i] * v_correction) + epsilon, epsilon, smallest)
        w[i] -= rate * direction + shrinkage * w[i]


@inline
def adam_amsgrad_chunk(w, dw, m, v, v_max, rate, beta1, beta2, epsilon, m_correction, v_correction, shrinkage):
    """AdamW with AMSGrad where shrinkage = learning rate * weight decay is not 0."""
    rest1, rest2 = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    rate, beta1, beta2, epsilon = w.dtype.type(rate), w.dtype.type(beta1), w.dtype.type(beta2), w.dtype.type(epsilon)
    m_correction, v_correction = w.dtype.type(m_correction), w.dtype.type(v_correction)
    shrinkage, smallest = w.dtype.type(shrinkage), np.finfo(w.dtype).tiny
    for i in range(w.size):
        m[i] = beta1 * m[i] + rest1 * dw[i]
        v[i] = beta2 * v[i] + rest2 * (dw[i] * dw[i])
        # NaN stays where it is on either side.
        v_max[i] = v[i] if (v[i] > v_max[i]) | (v[i] != v[i]) else v_max[i]
        direction = _quotient(m[i] * m_correction, np.sqrt(v_max[i] * v_correction) + epsilon, epsilon, smallest)
        w[i] -= rate * direction + shrinkage * w[i]


@inline
def nadam_chunk(w, dw, m, v, rate, beta1, beta2, epsilon, of_dw, of_m, v_correction):
    rest1, rest2 = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    rate, beta1, beta2, epsilon = w.dtype.type(rate), w.dtype.type(beta1), w.dtype.type(beta2), w.dtype.type(epsilon)
    of_dw, of_m, v_correction = w.dtype.type(of_dw), w.dtype.type(of_m), w.dtype.type(v_correction)
    smallest = np.finfo(w.dtype).tiny
    for i in range(w.size):
        m[i] = beta1 * m[i] + rest1 * dw[i]
        v[i] = beta2 * v[i] + rest2 * (dw[i] * dw[i])
        divisor = np.sqrt(v[i] * v_correction) + epsilon
        w[i] -= rate * _quotient(of_dw * dw[i] + of_m * m[i], divisor, epsilon, smallest)


@inline
def lion_chunk(w, dw, m, rate, beta1, beta2, shrinkage):
    rest1, rest2 = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    rate, beta1, beta2 = w.dtype.type(rate), w.dtype.type(beta1), w.dtype.type(beta2)
    shrinkage, zero, one = w.dtype.type(shrinkage), w.dtype.type(0), w.dtype.type(1)
    for i in range(w.size):
        # The sign of a sum by comparing its terms: a fused multiply-add would round the sum in another way than the
        # reference, and a sum near zero would get another sign. NaN, and the sum of opposite infinities, are NaN.
        of_m, against = beta1 * m[i], -(rest1 * dw[i])
        sign = one if of_m > against else (-one if of_m < against else zero * (of_m - against))
        m[i] = beta2 * m[i] + rest2 * dw[i]
        w[i] -= rate * sign + shrinkage * w[i]


@glue
def sgd_rule(w, dw, state, stride, hyper, step, notes):
    sgd_chunk(w, dw, hyper[0])


@glue
def sgd_momentum_rule(w, dw, state, stride, hyper, step, notes):
    sgd_momentum_chunk(w, dw, vector(state, 0, w.size), hyper[0], hyper[1])


@glue
def nesterov_rule(w, dw, state, stride, hyper, step, notes):
    nesterov_chunk(w, dw, vector(state, 0, w.size), hyper[0], hyper[1])


@glue
def rmsprop_rule(w, dw, state, stride, hyper, step, notes):
    rmsprop_chunk(w, dw, vector(state, 0, w.size), hyper[0], hyper[1], hyper[2])


@glue
def adagrad_rule(w, dw, state, stride, hyper, step, notes):
    adagrad_chunk(w, dw, vector(state, 0, w.size), hyper[0], hyper[1])


# Most parameters share the corrections of Adam's moments: two powers take as long as the update of a hundred weights.
_OF_FIRST, _OF_SECOND, _OF_T, _M_CORRECTION, _V_CORRECTION = range(5)


@glue
def _note_corrections(hyper, step, notes):
    """Have the corrections of the moments in `notes`, for a rule whose hyperparameters begin as Adam's."""
    beta1, beta2, t = hyper[1], hyper[2], hyper[4] + (step + 1)
    if notes[_OF_T] != t or notes[_OF_FIRST] != beta1 or notes[_OF_SECOND] != beta2:
        notes[_OF_FIRST], notes[_OF_SECOND], notes[_OF_T] = beta1, beta2, t
        notes[_M_CORRECTION] = 1 / (1 - beta1**t)
        notes[_V_CORRECTION] = 1 / (1 - beta2**t)


@glue
def adam_rule(w, dw, state, stride, hyper, step, notes):
    """AdamW; Adam has no weight decay."""
    _note_corrections(hyper, step, notes)
    rate, beta1, beta2, epsilon, weight_decay = hyper[0], hyper[1], hyper[2], hyper[3], hyper[5]
    m, v = vector(state, 0, w.size), vector(state, stride, w.size)
    m_correction, v_correction = notes[_M_CORRECTION], notes[_V_CORRECTION]
    adam_chunk(w, dw, m, v, rate, beta1, beta2, epsilon, m_correction, v_correction, rate * weight_decay)


@glue
def adam_epsilon_hat_rule(w, dw, state, stride, hyper, step, notes):
    _note_corrections(hyper, step, notes)
    m, v = vector(state, 0, w.size), vector(state, stride, w.size)
    rate = hyper[0] * notes[_M_CORRECTION] / np.sqrt(notes[_V_CORRECTION])
    adam_chunk(w, dw, m, v, rate, hyper[1], hyper[2], hyper[3], 1.0, 1.0, 0.0)


@glue
def adam_amsgrad_rule(w, dw, state, stride, hyper, step, notes):
    """AdamW with AMSGrad; Adam has no weight decay."""
    _note_corrections(hyper, step, notes)
    m, v, v_max = vector(state, 0, w.size), vector(state, stride, w.size), vector(state, 2 * stride, w.size)
    rate, beta1, beta2, epsilon, weight_decay = hyper[0], hyper[1], hyper[2], hyper[3], hyper[5]
    m_correction, v_correction = notes[_M_CORRECTION], notes[_V_CORRECTION]
    adam_amsgrad_chunk(
        w, dw, m, v, v_max, rate, beta1, beta2, epsilon, m_correction, v_correction, rate * weight_decay
    )  # fmt: skip


_OF_DW, _OF_M, _PRODUCT = _M_CORRECTION, _V_CORRECTION + 1, _V_CORRECTION + 2
_OF_DECAY = _PRODUCT + 1


@glue
def nadam_rule(w, dw, state, stride, hyper, step, notes):
    rate, beta1, beta2, epsilon, decay = hyper[0], hyper[1], hyper[2], hyper[3], hyper[5]
    t = hyper[4] + (step + 1)
    same = notes[_OF_FIRST] == beta1 and notes[_OF_SECOND] == beta2 and notes[_OF_DECAY] == decay
    if not (same and notes[_OF_T] == t):
        following = same and notes[_OF_T] == t - 1 and t > 1
        if following and abs(notes[_PRODUCT]) > NEGLIGIBLE:
            notes[_PRODUCT] *= momentum_at(beta1, decay, t)
        elif not following:
            notes[_PRODUCT] = momentum_product(beta1, decay, t)
        notes[_OF_FIRST], notes[_OF_SECOND], notes[_OF_DECAY], notes[_OF_T] = beta1, beta2, decay, t
        notes[_OF_DW], notes[_OF_M] = nadam_factors(beta1, decay, t, notes[_PRODUCT])
        notes[_V_CORRECTION] = 1 / (1 - beta2**t)
    m, v = vector(state, 0, w.size), vector(state, stride, w.size)
    nadam_chunk(w, dw, m, v, rate, beta1, beta2, epsilon, notes[_OF_DW], notes[_OF_M], notes[_V_CORRECTION])


@glue
def lion_rule(w, dw, state, stride, hyper, step, notes):
    lion_chunk(w, dw, vector(state, 0, w.size), hyper[0], hyper[1], hyper[2], hyper[0] * hyper[3])


def _update(name):
    """The kernel that the compiled run calls for a ``*_rule`` helper."""
    rule = globals()[name]

    def update(w, dw, size, state, state_size, stride, hyper, step, notes):
        rule(
            array_at(w, size), array_at(dw, size), array_at(state, state_size), stride,
            array_at(hyper, MOST_HYPERPARAMETERS), step, array_at(notes, NOTES),
        )  # fmt: skip

    return update


def _update_kinds(dtype):
    real, number, count = pointer_to(dtype), pointer_to(np.float64), types.int64
    return real, real, count, real, count, count, number, count, number


#: The rules' kernels, by the names of their helpers.
UPDATES = Alternatives(types.void, _update_kinds, {name: _update(name) for name in RUN_KERNELS})
_call_update = UPDATES.caller()


@glue
def apply_rule(kernel, w, dw, state, stride, hyper, step, notes):
    """The rule of a kernel in :data:`UPDATES`; the arguments as a ``*_rule`` helper has them."""
    _call_update(kernel, (w, dw, w.size, state, state.size, stride, hyper, step, notes))


# The kernels that the operations call: the helpers by themselves.
_sgd = kernel(sgd_chunk)
_sgd_momentum = kernel(sgd_momentum_chunk)
_nesterov = kernel(nesterov_chunk)
_rmsprop = kernel(rmsprop_chunk)
_adagrad = kernel(adagrad_chunk)
_adam = kernel(adam_chunk)
_adam_amsgrad = kernel(adam_amsgrad_chunk)
_nadam = kernel(nadam_chunk)
_lion = kernel(lion_chunk)
