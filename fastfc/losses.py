"""Losses: functions of a network's scores and its targets, each with its gradient.

A network takes one by its name: ``FullyConnectedNet([100], num_classes=1, loss="squared")``. Softmax and the
multiclass hinge, which are the course's, are in :mod:`fastfc.layers` too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import as_array, by_position, cast, float_arrays, labels, number, require_ndim, require_shape
from fastfc.backend import implementation
from fastfc.ops.losses import LOSSES, Loss

__all__ = [
    "NAMES",
    "absolute_loss",
    "huber_loss",
    "logistic_loss",
    "poisson_loss",
    "quantile_loss",
    "softmax_loss",
    "squared_loss",
    "svm_loss",
]

Evaluated = tuple[np.floating, np.ndarray]

#: The names by which a network takes a loss.
NAMES = tuple(LOSSES)

_TEXT = """{title}: the mean over rows of ``{formula}``.

Parameters
----------
x : array (N, K)
    Scores.
{targets}
weights : array (N,), optional
    Of each row: then the mean is ``sum(weights * losses) / sum(weights)``, and 0 for weights that are all 0.
{parameter}
Returns
-------
loss : scalar of x's dtype
dx : array (N, K)
    The loss's gradient.

Raises
------
ValueError
    For targets out of range, negative weights, shapes that do not fit, or no rows.
TypeError
    For arguments that are no real numbers{or_labels}.

Notes
-----
Source: {source}.

Examples
--------
>>> loss, dx = {name}_loss(np.zeros((2, 3)), {example})
>>> dx.shape
(2, 3)
"""
_LABELS = "y : integer array (N,)\n    Labels, 0 <= y < K."
_TARGETS = "t : array (N, K)\n    Targets{within}."
_PARAMETER = "{name} : float\n    {expected}. Default {default}.\n\n"
# Title and source of each loss.
_WORDS = {
    "softmax": ("Softmax cross-entropy", "Bridle 1990; label smoothing: Szegedy et al. 2016"),
    "svm": ("Multiclass hinge loss", "Weston and Watkins 1999; margin 1 as in the CS231n notes"),
    "logistic": (
        "Cross-entropy of the logistic function, for one class or several that do not exclude each other",
        "Cox 1958",
    ),
    "squared": ("Half of the squared error", "Legendre 1805; the half as in scikit-learn"),
    "absolute": ("Absolute error", "Boscovich 1757"),
    "huber": ("Huber's loss", "Huber 1964"),
    "quantile": ("Quantile (pinball) loss", "Koenker and Bassett 1978"),
    "poisson": (
        "Half of the deviance of Poisson counts, whose rate is the exponential of the score",
        "Nelder and Wedderburn 1972; the half as in scikit-learn",
    ),
}


def _documented(name: str) -> Callable[[Callable], Callable]:
    """Give a public function its docstring, by the loss's record."""
    record = LOSSES[name]
    title, source = _WORDS[name]
    low, high = record.bounds
    within = "" if low == -np.inf else (f", {low:g} <= t <= {high:g}" if high < np.inf else f", t >= {low:g}")
    text = _TEXT.format(
        name=name,
        title=title,
        formula=record.formula,
        source=source,
        targets=_LABELS if record.labels else _TARGETS.format(within=within),
        parameter=_PARAMETER.format(**record.parameter._asdict()) if record.parameter else "\n",
        or_labels=", or labels that are not integers" if record.labels else "",
        example="[0, 2]" if record.labels else "np.ones((2, 3))",
    )

    def document(function: Callable) -> Callable:
        function.__doc__ = text
        return function

    return document


def evaluate(
    name: str, x: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None, parameter: float | None = None
) -> Evaluated:
    """The loss of a name, and its gradient; arguments as for the functions of this module."""
    record = LOSSES[name]
    if record.labels:
        arrays, half = float_arrays(x=x)
    elif weights is None:
        arrays, half = float_arrays(x=x, t=targets)
    else:
        arrays, half = float_arrays(x=x, t=targets, weights=weights)
    x = arrays[0]
    require_ndim("x", x, 2, "(N, K)")
    if 0 in x.shape:
        raise ValueError(f"x: expected at least one row and one column, got shape {x.shape}")
    given = targets if record.labels else arrays[1]
    checked = checked_targets(record, "y" if record.labels else "t", given, len(x), x.shape[1], x.dtype)
    numbers = [checked_parameter(record, parameter)] if record.parameter else []
    found = None if weights is None else checked_weights("weights", weights, len(x)).astype(x.dtype)
    return cast(implementation(f"{name}_loss")(x, checked, found, *numbers), half)


def checked_parameter(record: Loss, value: Any) -> float:
    """The number that a loss depends on, its default for None; an error that names it for one out of range."""
    parameter = record.parameter
    if parameter is None:
        if value is not None and number("loss_parameter", value) != 0:
            raise ValueError(f"loss: the loss {record.name!r} has no parameter, got {value!r}")
        return 0.0
    if value is None:
        return parameter.default
    value = number(parameter.name, value)
    if not parameter.allowed(value):
        raise ValueError(f"{parameter.name}: expected {parameter.expected}, got {value}")
    return value


def checked_targets(record: Loss, name: str, y: Any, n: int, k: int, dtype: Any = np.float64) -> np.ndarray:
    """Labels (n,), or targets (n, k) of a dtype, as a loss needs them; (n,) will do for one output.

    Raises ValueError for shapes or numbers that do not fit, and TypeError for what is not numbers.
    """
    if record.labels:
        return labels(y, n, k, name)
    array = as_array(name, by_position(name, y))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    if array.ndim == 1 and k == 1:
        array = array[:, np.newaxis]
    require_shape(name, array, (n, k), "a target for each output of each example")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers within the range of {np.dtype(dtype)}")
    low, high = record.bounds
    if array.size and not (low <= array.min() and array.max() <= high):
        expected = f"from {low:g} to {high:g}" if high < np.inf else f"of at least {low:g}"
        raise ValueError(f"{name}: expected numbers {expected} for the loss {record.name!r}")
    return array


def checked_weights(name: str, weights: Any, n: int, scaled: bool = True) -> np.ndarray:
    """Weights (n,) of examples, float64: finite, not negative.

    All of them times the same power of 2, which changes no mean, where they or their sums might leave float32's range.
    """
    array = as_array(name, by_position(name, weights))
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    require_shape(name, array, (n,), "one weight per example")
    array = np.ascontiguousarray(array, np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError(f"{name}: expected finite numbers of at least 0")
    largest = array.max(initial=0.0)
    if scaled and largest > 0 and not 2.0**-20 <= largest <= 2.0**20:
        array = np.ldexp(array, 1 - np.frexp(largest)[1])
    return array


def predictions_of(record: Loss, scores: np.ndarray) -> np.ndarray:
    """Predictions from scores (n, k), in the form of the loss's targets; a single output's are (n,)."""
    if record.labels:
        return scores.argmax(axis=1)
    if record.link == "logistic":
        found = (scores > 0).astype(np.int64)
    else:
        found = np.exp(scores) if record.link == "exp" else scores
    return found[:, 0] if found.shape[1] == 1 else found


def probabilities_of(link: str, scores: np.ndarray) -> np.ndarray:
    """Probabilities from scores (n, k), which are overwritten: softmax's, or the logistic function's.

    Of a single logistic output they are (n, 2), those of 0 and of 1.
    """
    if link == "softmax":
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores
    found, _ = implementation("logistic_forward")(scores)
    return np.concatenate([1 - found, found], axis=1) if found.shape[1] == 1 else found


def score_name(record: Loss | None) -> str:
    """Which score :func:`score_of` is, "accuracy" or "R2"; None is the loss of somebody's own model."""
    return "accuracy" if record is None or record.labels or record.link == "logistic" else "R2"


def score_of(record: Loss, scores: np.ndarray, y: np.ndarray) -> float:
    """How good scores (n, k) are for targets y, at best 1: the share of right answers, or the coefficient R^2.

    An answer is right if the class is, or every logistic output. R^2 is ``1 - sum((t - p)**2) / sum((t - mean(t))**2)``
    of each output, their mean for several; an output whose targets are all the same counts 1 if its predictions are
    right, else 0. NaN for no examples.
    """
    if len(scores) == 0:
        return float("nan")
    found = predictions_of(record, scores)
    if record.labels:
        return np.mean(found == y)
    t, found = (np.asarray(part, np.float64).reshape(len(scores), -1) for part in (y, found))
    if record.link == "logistic":
        return np.mean(((t > 0.5) == found).all(axis=1))
    errors, spread = ((t - found) ** 2).sum(axis=0), ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.mean(np.where(spread > 0, 1 - errors / np.where(spread > 0, spread, 1), errors == 0)))


@_documented("softmax")
def softmax_loss(
    x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None, label_smoothing: float = 0.0
) -> Evaluated:
    return evaluate("softmax", x, y, weights, label_smoothing)


@_documented("svm")
def svm_loss(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Evaluated:
    return evaluate("svm", x, y, weights)


@_documented("logistic")
def logistic_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None) -> Evaluated:
    return evaluate("logistic", x, t, weights)


@_documented("squared")
def squared_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None) -> Evaluated:
    return evaluate("squared", x, t, weights)


@_documented("absolute")
def absolute_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None) -> Evaluated:
    return evaluate("absolute", x, t, weights)


@_documented("huber")
def huber_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None, delta: float = 1.0) -> Evaluated:
    return evaluate("huber", x, t, weights, delta)


@_documented("quantile")
def quantile_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None, quantile: float = 0.5) -> Evaluated:
    return evaluate("quantile", x, t, weights, quantile)


@_documented("poisson")
def poisson_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None) -> Evaluated:
    return evaluate("poisson", x, t, weights)
