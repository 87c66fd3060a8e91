"""Options of the estimators: which values they may have, and how they become a network's and an update rule's."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib.parallel import get_active_backend
from sklearn.metrics import get_scorer_names
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight

from fastfc import optim, schedules
from fastfc._plateau import plateau_of
from fastfc._runtime.stream import seeded
from fastfc._runtime.threads import get_num_threads
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.ops.activations import ACTIVATIONS
from fastfc.training.options import require_schedule

#: Names of losses as the estimators take them -> the package's.
CLASSIFIER_LOSSES = {"log_loss": "softmax", "hinge": "svm"}
REGRESSOR_LOSSES = {
    "squared_error": "squared",
    "poisson": "poisson",
    "absolute_error": "absolute",
    "huber": "huber",
    "quantile": "quantile",
}

_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_SHARE = Interval(Real, 0, 1, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")

#: The table that scikit-learn's parameter check reads.
CONSTRAINTS: dict[str, Any] = {
    "hidden_layer_sizes": ["array-like", _COUNT],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [_NOT_NEGATIVE],
    "batch_size": [StrOptions({"auto"}), _COUNT],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [_POSITIVE],
    "power_t": [_NOT_NEGATIVE],
    "max_iter": [_COUNT],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [_NOT_NEGATIVE],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [_SHARE],
    "beta_1": [_SHARE],
    "beta_2": [_SHARE],
    "epsilon": [_POSITIVE],
    "n_iter_no_change": [_COUNT, Options(Real, {np.inf})],
    "max_fun": [_COUNT],
    "normalization": [StrOptions({"batchnorm", "layernorm"}), None],
    "dropout": [_SHARE],
    # Any object with a method, which require_schedule checks.
    "schedule": "no_validation",
    "weight_decay": [_NOT_NEGATIVE],
    "max_norm": [_POSITIVE, None],
    "accumulate": [_COUNT],
    "ema": [_SHARE, None],
    "restore_best": ["boolean"],
    "scoring": [StrOptions(set(get_scorer_names())), callable, None],
    "n_members": [_COUNT],
    "n_threads": [_COUNT, None],
    "dtype": "no_validation",
}


@dataclass
class OptimizerState:
    """Where an update rule stands between two calls of ``partial_fit``.

    Parameters
    ----------
    rule : str
        The rule's name.
    learning_rate : float
        With which the next step is taken, apart from a schedule and Adam's corrections.
    steps, updates : int
        Steps taken, and updates: fewer where gradients of several steps are accumulated.
    arrays : dict of str to list of array
        The rule's own, by the names of parameters.
    raw, averaged : array or None
        The parameters before they were averaged, with ``ema``, and after it.
    plateau : ReduceOnPlateau or None
        The schedule, if it is one.
    """

    rule: str
    learning_rate: float
    steps: int = 0
    updates: int = 0
    arrays: dict[str, list[np.ndarray]] | None = None
    raw: np.ndarray | None = None
    averaged: np.ndarray | None = None
    plateau: schedules.ReduceOnPlateau | None = None


def rule_and_config(estimator: Any) -> tuple[Callable[..., Any], dict[str, float]]:
    """The update rule of the estimator's solver, and its hyperparameters apart from the learning rate."""
    if estimator.solver == "adam":
        config = {"beta1": estimator.beta_1, "beta2": estimator.beta_2, "epsilon": estimator.epsilon}
        if estimator.weight_decay > 0:
            return optim.adamw, {**config, "weight_decay": estimator.weight_decay}
        return optim.adam_epsilon_hat, config
    rule = optim.nesterov if estimator.nesterovs_momentum else optim.sgd_momentum
    return rule, {"momentum": estimator.momentum}


def without_decay(names: Any, config: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Hyperparameters of the parameters that do not decay: all but the weights."""
    if "weight_decay" not in config:
        return {}
    return {name: {"weight_decay": 0.0} for name in names if not name.startswith("W")}


def threads_of(estimator: Any) -> int | None:
    """The threads of a training: one within a parallel search, unless somebody said otherwise."""
    if estimator.n_threads is not None:
        return int(estimator.n_threads)
    in_parallel = getattr(get_active_backend()[0], "nesting_level", 0) > 0
    return 1 if in_parallel and get_num_threads() is None else None


def stream_of(random_state: Any) -> np.random.RandomState:
    """The stream that the option means; one that it seeds, if compiled code does not draw from its kind."""
    if isinstance(random_state, Integral):
        return seeded(int(random_state))
    stream = check_random_state(random_state)
    if isinstance(stream._bit_generator, np.random.MT19937):
        return stream
    return np.random.RandomState(stream.randint(2**31 - 1))


def checked_dtype(value: Any) -> np.dtype | None:
    """float32, float64 or None; an error that names the argument for anything else."""
    try:
        dtype = None if value is None else np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (None, np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected None, float32 or float64, got {value!r}")
    return dtype


@functools.cache
def valid_defaults(estimator: Any) -> dict[str, Any]:
    """An estimator's options by name, each with its default; in place of one that a fit must check, a new object."""
    found = {}
    for name, parameter in sorted(inspect.signature(estimator).parameters.items()):
        default = parameter.default
        try:
            # A list, which can be changed where it stands, must be checked each time.
            hash(default)
            validate_parameter_constraints(estimator._parameter_constraints, {name: default}, estimator.__name__)
        except (InvalidParameterError, TypeError):
            default = object()
        found[name] = default
    return found


def checked_weights(name: str, weights: Any, X: Any) -> np.ndarray:
    """Weights of the examples in X; ValueError that names the argument for one below 0."""
    weights = _check_sample_weight(weights, X)
    if weights.min() < 0:
        raise ValueError(f"{name}: expected numbers of at least 0, got {weights.min()}")
    return weights


def checked_widths(hidden_layer_sizes: Any) -> list[int]:
    """The widths of the hidden layers; TypeError unless they are integers, ValueError unless they are positive."""
    widths = list(hidden_layer_sizes) if hasattr(hidden_layer_sizes, "__iter__") else [hidden_layer_sizes]
    if not all(isinstance(width, Integral) and not isinstance(width, (bool, np.bool_)) for width in widths):
        raise TypeError(f"hidden_layer_sizes: expected integers, got {widths}")
    if any(width <= 0 for width in widths):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return widths


def require_kept(widths: list[int], dtype: np.dtype | None, net: FullyConnectedNet) -> None:
    """ValueError unless widths and dtype are those of the network that a fit goes on with."""
    fitted, own = net.dims[1:-1], net.params.flat.dtype
    if widths != fitted:
        raise ValueError(f"hidden_layer_sizes: expected {fitted}, as in the first fit, got {widths}")
    if dtype is not None and dtype != own:
        raise ValueError(f"dtype: expected None or {own}, as in the first fit, got {dtype}")


def require_a_weight(weights: np.ndarray | None) -> None:
    """ValueError if no row that is held out has a weight."""
    if weights is not None and not weights.any():
        raise ValueError(f"sample_weight: expected one above 0 among the {len(weights)} rows held out for validation")


def check_together(estimator: Any, incremental: bool) -> None:
    """An error for options that exclude one another, or that a fit which goes on cannot change."""
    before = len(estimator.members_) if hasattr(estimator, "members_") else 1 if hasattr(estimator, "coefs_") else None
    if before not in (None, estimator.n_members) and (estimator.warm_start or incremental):
        raise ValueError(f"n_members: expected {before}, as in the first fit, got {estimator.n_members}")
    if estimator.solver == "lbfgs":
        neutral = {
            "dropout": 0.0,
            "weight_decay": 0.0,
            "max_norm": None,
            "accumulate": 1,
            "ema": None,
            "schedule": None,
        }
        for name, value in neutral.items():
            if getattr(estimator, name) != value:
                raise ValueError(f"{name}: expected {value!r} with solver='lbfgs', got {getattr(estimator, name)!r}")
        if estimator.normalization == "batchnorm":
            raise ValueError("normalization: expected None or 'layernorm' with solver='lbfgs', got 'batchnorm'")
    if estimator.solver == "sgd" and estimator.weight_decay > 0:
        raise ValueError(f"weight_decay: expected 0 unless solver='adam', got {estimator.weight_decay}; use alpha")
    if getattr(estimator, "label_smoothing", 0) > 0 and estimator.loss == "hinge":
        raise ValueError(f"label_smoothing: expected 0 with loss='hinge', got {estimator.label_smoothing}")
    if estimator.schedule is not None:
        plateau = plateau_of(estimator.schedule)
        if plateau is None:
            require_schedule("schedule", estimator.schedule)
        elif plateau.monitor == "train_acc" or (plateau.monitor == "val_acc" and not estimator.early_stopping):
            raise ValueError(
                "schedule: expected a plateau of 'loss', or with early_stopping=True of 'val_acc', "
                f"got one of {plateau.monitor!r}"
            )
        if estimator.solver == "sgd" and estimator.learning_rate != "constant":
            raise ValueError(f"learning_rate: expected 'constant' beside a schedule, got {estimator.learning_rate!r}")
    if incremental and estimator.early_stopping:
        raise ValueError("partial_fit does not support early_stopping=True")
    if incremental and getattr(estimator, "class_weight", None) == "balanced":
        raise ValueError("class_weight: expected weights or None with partial_fit, got 'balanced'")


def check_validation(estimator: Any, X_val: Any, y_val: Any, sample_weight_val: Any) -> None:
    """An error for validation data of one's own that are incomplete, or that the fit would not use."""
    if (X_val is None) != (y_val is None) or (X_val is None and sample_weight_val is not None):
        raise ValueError("X_val, y_val: expected both or neither, and sample_weight_val only beside them")
    if X_val is None:
        return
    if estimator.solver == "lbfgs":
        raise ValueError("X_val, y_val: expected None with solver='lbfgs', which has no early stopping")
    if not estimator.early_stopping:
        raise ValueError("X_val, y_val: expected with early_stopping=True only, which is False")
