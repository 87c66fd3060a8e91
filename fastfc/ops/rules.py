"""Update rules: one record each, from which all else that the package says about a rule is derived.

A rule is a record in :data:`RULES`, and a function of its name in each of three modules: the public one in
:mod:`fastfc.optim`, the formula in :mod:`fastfc.reference.optim`, the kernel in :mod:`fastfc.kernels.optim`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MOST_HYPERPARAMETERS", "NOTES", "RULES", "RUN_KERNELS", "Rule"]


@dataclass(frozen=True)
class Rule:
    """An update rule.

    Parameters
    ----------
    name : str
    defaults : dict of str to number
        The hyperparameters and the values that the rule fills in, ``learning_rate`` first. Their order is that in
        which the compiled run hands them over. ``t``, if there is one, counts the steps taken.
    state : tuple of str
        The arrays of w's shape that the rule keeps in its configuration, zeros at first, in the order in which the
        compiled run keeps them.
    magnitudes : function
        ``magnitudes(config, w, dw, *state)``, given absolute values: the formula of the new w and of the new state
        evaluated with absolute values throughout (see :mod:`fastfc.ops.cases`).
    averaging : tuple of str
        The hyperparameters that must lie in [0, 1), as the rule divides by one minus their power.
    squares : tuple of str
        The arrays of the state that are never negative.
    run_kernel : str
        The function in :mod:`fastfc.kernels.optim` that the compiled run calls, ``<name>_rule`` if empty.
    """

    name: str
    defaults: Mapping[str, float]
    state: tuple[str, ...]
    magnitudes: Callable[..., list[Any]]
    averaging: tuple[str, ...] = ()
    squares: tuple[str, ...] = ()
    run_kernel: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_kernel", self.run_kernel or f"{self.name}_rule")


def _sgd(config, w, dw):
    return [w + config["learning_rate"] * dw]


def _momentum(config, w, dw, velocity):
    moved = config["momentum"] * velocity + config["learning_rate"] * dw
    return [w + 2 * moved + velocity, moved]


def _rmsprop(config, w, dw, cache):
    decay_rate = config["decay_rate"]
    cache = decay_rate * cache + (1 - decay_rate) * dw**2
    return [w + config["learning_rate"] * dw / (cache**0.5 + config["epsilon"]), cache]


def _adagrad(config, w, dw, cache):
    cache = cache + dw**2
    return [w + config["learning_rate"] * dw / (cache**0.5 + config["epsilon"]), cache]


def _moments(config, dw, m, v):
    beta1, beta2 = config["beta1"], config["beta2"]
    return beta1 * m + (1 - beta1) * dw, beta2 * v + (1 - beta2) * dw**2


def _adam(config, w, dw, m, v):
    beta1, beta2, t = config["beta1"], config["beta2"], config["t"] + 1
    m, v = _moments(config, dw, m, v)
    direction = m / (1 - beta1**t) / ((v / (1 - beta2**t)) ** 0.5 + config["epsilon"])
    return [w + config["learning_rate"] * (direction + w), m, v]


def _adam_epsilon_hat(config, w, dw, m, v):
    epsilon = config["epsilon"] / (1 - config["beta2"] ** (config["t"] + 1)) ** 0.5
    return _adam({**config, "epsilon": epsilon}, w, dw, m, v)


def _amsgrad(config, w, dw, m, v, v_max):
    beta1, beta2, t = config["beta1"], config["beta2"], config["t"] + 1
    m, v = _moments(config, dw, m, v)
    # The larger of two numbers is off by as much as they are.
    larger = v * (v >= v_max) + v_max * (v < v_max)
    direction = m / (1 - beta1**t) / ((larger / (1 - beta2**t)) ** 0.5 + config["epsilon"])
    return [w + config["learning_rate"] * (direction + w), m, v, larger]


def _nadam(config, w, dw, m, v):
    beta1, beta2, t = config["beta1"], config["beta2"], config["t"] + 1
    momenta = [beta1 * (1 - 0.5 * 0.96 ** (k * config["momentum_decay"])) for k in range(1, t + 2)]
    product = math.prod(momenta[:-1])
    m, v = _moments(config, dw, m, v)
    dividend = (1 - momenta[-2]) / (1 - product) * dw + momenta[-1] / (1 - product * momenta[-1]) * m
    direction = dividend / ((v / (1 - beta2**t)) ** 0.5 + config["epsilon"])
    return [w + config["learning_rate"] * direction, m, v]


def _lion(config, w, dw, m):
    # The sign has no error: it is that of a comparison (see the kernel).
    moved = config["learning_rate"] * (1 + config["weight_decay"] * w)
    return [w + moved, config["beta2"] * m + (1 - config["beta2"]) * dw]


_ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "t": 0}
_NADAM = {**_ADAM, "learning_rate": 2e-3, "momentum_decay": 4e-3}
_LION = {"learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 1e-3}
_BETAS = ("beta1", "beta2")
_AMSGRAD = ("m", "v", "v_max")

_ALL = (
    Rule("sgd", {"learning_rate": 1e-2}, (), _sgd),
    Rule("sgd_momentum", {"learning_rate": 1e-2, "momentum": 0.9}, ("velocity",), _momentum),
    Rule("nesterov", {"learning_rate": 1e-2, "momentum": 0.9}, ("velocity",), _momentum),
    Rule(
        "rmsprop",
        {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8},
        ("cache",),
        _rmsprop,
        squares=("cache",),
    ),
    Rule("adagrad", {"learning_rate": 1e-2, "epsilon": 1e-8}, ("cache",), _adagrad, squares=("cache",)),
    Rule("adam", _ADAM, ("m", "v"), _adam, _BETAS, ("v",)),
    # Without a weight decay it is Adam, and so is its kernel.
    Rule("adamw", {**_ADAM, "weight_decay": 1e-2}, ("m", "v"), _adam, _BETAS, ("v",), "adam_rule"),
    Rule("adam_epsilon_hat", _ADAM, ("m", "v"), _adam_epsilon_hat, _BETAS, ("v",)),
    Rule("adam_amsgrad", _ADAM, _AMSGRAD, _amsgrad, _BETAS, _AMSGRAD[1:]),
    Rule(
        "adamw_amsgrad", {**_ADAM, "weight_decay": 1e-2}, _AMSGRAD, _amsgrad, _BETAS, _AMSGRAD[1:], "adam_amsgrad_rule"
    ),
    Rule("nadam", _NADAM, ("m", "v"), _nadam, _BETAS, ("v",)),
    Rule("lion", _LION, ("m",), _lion),
)

#: Name -> rule.
RULES = {rule.name: rule for rule in _ALL}
#: The functions of :mod:`fastfc.kernels.optim` among which the compiled run chooses by number.
RUN_KERNELS = list(dict.fromkeys(rule.run_kernel for rule in _ALL))
#: So many numbers hold any rule's hyperparameters.
MOST_HYPERPARAMETERS = max(len(rule.defaults) for rule in _ALL)
#: So many numbers, a line of the cache, a rule's kernel may remember in a thread from one update to the next.
NOTES = 8
