"""Update rules: ``next_w, config = rule(w, dw, config)``.

`w` and `dw` are arrays of one shape, `config` is a dictionary of hyperparameters and
state; what it lacks is filled in, and the same object is returned. Like the course's own
rules these work in place: `next_w` is `w` itself, updated, where `w` is a plain C-contiguous,
writable float32 or float64 array. Any other `w` (strided, read-only, memory-mapped, of
integers, of float16) stays as it is, and `next_w` is a new array. `dw` is never changed.

Every rule raises ValueError if the shapes of `w`, `dw` and the state differ, TypeError if an
array does not hold real numbers or a hyperparameter is not a number. Then neither `w` nor
`config` has changed.

Every rule also takes its arrays as ``x=`` and ``dx=``, the names of some in 2016 and 2017.

The rules are plain functions of this module: Solver finds them by name, so that functions
added here work too, and pickles them by reference.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import contiguous, float_arrays, not_nan, require_shape
from fastfc._docstrings import complete
from fastfc._rule_arguments import DEFAULTS, checked_config, complete_config
from fastfc._rule_arguments import STATE as STATE
from fastfc.backend import implementation
from fastfc.ops.rules import RULES

__all__ = [
    "adagrad",
    "adam",
    "adam_amsgrad",
    "adam_epsilon_hat",
    "adamw",
    "adamw_amsgrad",
    "lion",
    "nadam",
    "nesterov",
    "rmsprop",
    "sgd",
    "sgd_momentum",
]

_Config = dict[str, Any]

_Rule = TypeVar("_Rule", bound=Callable[..., Any])
_OLDER_NAMES = {"x": "w", "dx": "dw"}


def _rule(rule: _Rule) -> _Rule:
    """Let a rule take ``x=`` and ``dx=`` too, names of the course until 2017, and complete its docstring."""

    @functools.wraps(rule)
    def call(*args: Any, **kwargs: Any) -> Any:
        for older, newer in _OLDER_NAMES.items():
            if older in kwargs:
                if newer in kwargs:
                    raise TypeError(f"{older}, {newer}: expected the older or the newer name, got both")
                kwargs[newer] = kwargs.pop(older)
        return rule(*args, **kwargs)

    return cast(_Rule, complete(call, **_sections(rule.__name__)))


def _sections(name: str) -> dict[str, str]:
    """The sections of a rule's docstring that are the same for all, or follow from its record."""
    record = RULES[name]
    numbers = ", ".join(f"``{key}`` ({value:g})" for key, value in record.defaults.items())
    arrays = ", ".join(f"``{key}``" for key in record.state)
    state = f"; and the state, of w's shape and zeros at first: {arrays}" if arrays else ""
    return {
        "Parameters": f"""\
w, dw : array of any shape
    Parameters and the loss's gradient.
config : dict, optional
    Hyperparameters with their defaults: {numbers}{state}.""",
        "Returns": """\
next_w : array of w's shape
    `w` itself, updated in place, where that is possible; see the top of this module.
config : dict
    The same object, with what it lacked.""",
        "Raises": """\
ValueError
    If the shapes of `w`, `dw` and the state differ, or a hyperparameter is out of range.
TypeError
    If an array does not hold real numbers, or a hyperparameter is no number. Nothing has changed then.""",
        "Examples": f"""\
>>> w, config = {name}(np.array([1.0]), np.array([0.5]))
>>> bool(w[0] < 1), config["learning_rate"]
(True, {record.defaults["learning_rate"]})""",
    }


@_rule
def sgd(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Stochastic gradient descent: ``w -= learning_rate * dw``.

    Source: Robbins and Monro 1951.

    Examples
    --------
    >>> sgd(np.array([1.0]), np.array([0.5]), {"learning_rate": 1.0})[0]
    array([0.5])
    """
    return _update("sgd", w, dw, config)


@_rule
def sgd_momentum(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Gradient descent with momentum::

        velocity = momentum * velocity - learning_rate * dw
        w += velocity

    Source: Polyak 1964, as in the CS231n notes.
    """  # fmt: skip
    return _update("sgd_momentum", w, dw, config)


@_rule
def nesterov(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Nesterov momentum, with the gradient taken at w itself::

        previous = velocity
        velocity = momentum * velocity - learning_rate * dw
        w += (1 + momentum) * velocity - momentum * previous

    Source: Bengio, Boulanger-Lewandowski and Pascanu 2012, as in the CS231n notes.
    """  # fmt: skip
    return _update("nesterov", w, dw, config)


@_rule
def rmsprop(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """RMSProp::

        cache = decay_rate * cache + (1 - decay_rate) * dw**2
        w -= learning_rate * dw / (sqrt(cache) + epsilon)

    Source: Tieleman and Hinton 2012.
    """  # fmt: skip
    return _update("rmsprop", w, dw, config)


@_rule
def adagrad(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """AdaGrad::

        cache += dw**2
        w -= learning_rate * dw / (sqrt(cache) + epsilon)

    Source: Duchi, Hazan and Singer 2011.
    """  # fmt: skip
    return _update("adagrad", w, dw, config)


@_rule
def adam(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Adam::

        t += 1
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        w -= learning_rate * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + epsilon)

    Source: Kingma and Ba 2015.
    """  # fmt: skip
    return _update("adam", w, dw, config)


@_rule
def adamw(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Adam with decoupled weight decay: Adam's step, and ``w -= learning_rate * weight_decay * w``.

    The decay takes w from before the step; the rest is as in :func:`adam`. Source: Loshchilov and Hutter 2019.
    """
    return _update("adamw", w, dw, config)


@_rule
def adam_epsilon_hat(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Adam with epsilon beside the uncorrected root, as scikit-learn and TensorFlow compute it::

        t += 1
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        w -= learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)

    This is :func:`adam` with epsilon divided by ``sqrt(1 - beta2**t)``: in the first steps it counts
    for more, by a factor of 32 in the first one. Source: Kingma and Ba 2015, the end of section 2,
    where this epsilon has a hat.

    Examples
    --------
    >>> w, config = adam_epsilon_hat(np.array([1.0]), np.array([0.5]), {"learning_rate": 0.25})
    >>> w.round(6), config["t"]
    (array([0.75]), 1)
    """  # fmt: skip
    return _update("adam_epsilon_hat", w, dw, config)


@_rule
def adam_amsgrad(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Adam that divides by the largest second moment so far::

        t += 1
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        v_max = maximum(v_max, v)
        w -= learning_rate * (m / (1 - beta1**t)) / (sqrt(v_max / (1 - beta2**t)) + epsilon)

    The maximum is that of v before its correction, as in PyTorch's ``Adam(amsgrad=True)``.
    Source: Reddi, Kale and Kumar 2018, who correct neither moment.

    Examples
    --------
    >>> w, config = adam_amsgrad(np.array([1.0]), np.array([2.0]), {"beta2": 0.5})
    >>> w, config = adam_amsgrad(w, np.array([0.0]), config)
    >>> config["v"], config["v_max"]
    (array([1.]), array([2.]))
    """  # fmt: skip
    return _update("adam_amsgrad", w, dw, config)


@_rule
def adamw_amsgrad(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """AMSGrad with decoupled weight decay: AMSGrad's step, and ``w -= learning_rate * weight_decay * w``.

    The decay takes w from before the step; the rest is as in :func:`adam_amsgrad`. This is PyTorch's
    ``AdamW(amsgrad=True)``. Sources: Loshchilov and Hutter 2019; Reddi, Kale and Kumar 2018.

    Examples
    --------
    >>> adamw_amsgrad(np.array([2.0]), np.array([0.0]), {"learning_rate": 0.5, "weight_decay": 0.5})[0]
    array([1.5])
    """
    return _update("adamw_amsgrad", w, dw, config)


@_rule
def nadam(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Adam with Nesterov momentum::

        t += 1
        mu(t) = beta1 * (1 - 0.5 * 0.96**(t * momentum_decay))
        product = mu(1) * mu(2) * ... * mu(t)
        m = beta1 * m + (1 - beta1) * dw
        v = beta2 * v + (1 - beta2) * dw**2
        ahead = (1 - mu(t)) / (1 - product) * dw + mu(t + 1) / (1 - product * mu(t + 1)) * m
        w -= learning_rate * ahead / (sqrt(v / (1 - beta2**t)) + epsilon)

    Source: Dozat 2016, as PyTorch's ``NAdam`` computes it.

    Examples
    --------
    >>> w, config = nadam(np.array([1.0]), np.array([0.5]))
    >>> w.round(4), config["t"]
    (array([0.9979]), 1)
    """  # fmt: skip
    return _update("nadam", w, dw, config)


@_rule
def lion(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """Lion, whose steps are as long in every coordinate::

        direction = sign(beta1 * m + (1 - beta1) * dw)
        m = beta2 * m + (1 - beta2) * dw
        w -= learning_rate * (direction + weight_decay * w)

    The decay takes w from before the step; its default is that of Optax. Learning rates are three to
    ten times smaller than Adam's, and weight decays as much larger. Source: Chen et al. 2023.

    Examples
    --------
    >>> lion(np.array([1.0, 1.0]), np.array([0.01, -9.0]), {"learning_rate": 0.5, "weight_decay": 0})[0]
    array([0.5, 1.5])
    """  # fmt: skip
    return _update("lion", w, dw, config)


def rule_of(name: Any) -> Callable[..., Any]:
    """The rule of a name; ValueError if this module has none, though it may have something else of that name."""
    rule = globals().get(name) if isinstance(name, str) else None
    imported = getattr(rule, "__module__", "").partition(".")[0] in ("fastfc", *sys.stdlib_module_names)
    if (
        not callable(rule)
        or isinstance(rule, type)
        or name.startswith("_")
        or name in _HELPERS
        or (imported and rule.__module__ not in (__name__, "__main__"))
    ):
        raise ValueError(f'Invalid update_rule "{name}"')
    return rule


def learning_rate_of(rule: Callable[..., Any], config: Mapping[str, Any]) -> float:
    """The learning rate in a configuration, which may not be complete yet; ValueError if the rule has none."""
    known = {**DEFAULTS.get(getattr(rule, "__name__", ""), {}), **config}
    if "learning_rate" not in known:
        raise ValueError("optim_config: expected a 'learning_rate', which the schedule multiplies")
    return known["learning_rate"]


def check_numbers(rule: Callable[..., Any], config: Mapping[str, Any]) -> None:
    """An error for a hyperparameter of the package's rules that is no number."""
    if _is_own(rule):
        for key in config.keys() & RULES[rule.__name__].defaults:
            not_nan(f"optim_config['{key}']", config[key])


def _is_own(rule: Callable[..., Any]) -> bool:
    """Whether this is a rule of the package."""
    name = getattr(rule, "__name__", None)
    return name in RULES and globals().get(name) is rule


def check_keys(rule: Callable[..., Any], config: Mapping[str, Any]) -> None:
    """An error for a hyperparameter of the package's rules that is no number, a warning of keys that they ignore."""
    if not _is_own(rule):
        return
    check_numbers(rule, config)
    name = rule.__name__
    known = [*RULES[name].defaults, *RULES[name].state]
    unknown = [key for key in config if key not in known]
    if unknown:
        hints = {"lr": "learning_rate is meant most likely", "lr_decay": "lr_decay is the Solver's most likely"}
        told = "".join(f"; {hints[key]}" for key in unknown if key in hints)
        warnings.warn(
            f"optim_config: {name} ignores {', '.join(map(repr, unknown))}; it knows {', '.join(known)}{told}",
            stacklevel=3,
        )


# Functions of this module that are no rules, whatever rules somebody adds to it.
_HELPERS = frozenset({"check_keys", "check_numbers", "learning_rate_of", "rule_of"})


def _update(name: str, w: ArrayLike, dw: ArrayLike, config: _Config | None) -> tuple[np.ndarray, _Config]:
    if config is None:
        config = {}
    (values,), half = float_arrays(w=w)
    if values is not w and np.may_share_memory(values, w):
        # The same memory by another type, a memory map's: it stays as it is.
        values = values.copy()
    (gradient,), _ = float_arrays(dw=dw)
    require_shape("dw", gradient, values.shape, "the shape of w")
    # Parameters keep their dtype, whatever precision the gradient has.
    gradient = contiguous(gradient, values.dtype)
    if np.may_share_memory(gradient, values):
        gradient = gradient.copy()
    next_w, checked = implementation(name)(values, gradient, checked_config(name, config, values, gradient))
    complete_config(name, config, checked)
    return (next_w if half is None else next_w.astype(half)), config
