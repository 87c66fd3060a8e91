"""Ensembles: an estimator's members, which differ in their random numbers alone, fitted side by side and averaged."""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastfc._runtime.threads import available_cpus, get_num_threads
from fastfc.backend import get_backend, use_backend
from fastfc.sklearn._options import threads_of

#: Attributes of an estimator with one network, which of an ensemble the members have.
OF_ONE_NETWORK = (
    "_net", "_best", "_optimizer", "_no_improvement_count", "coefs_", "intercepts_", "loss_", "best_loss_",
    "loss_curve_", "validation_scores_", "best_validation_score_", "t_",
)  # fmt: skip


def fit_members(
    estimator: Any, X: Any, y: Any, sample_weight: Any, incremental: bool, validation: tuple[Any, Any, Any]
) -> None:
    """Fit the members of an estimator with ``n_members`` above 1, in as many threads as it may have, one thread each.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Gets `members_` once all of them are fitted.
    X, y, sample_weight : of fit
    incremental : bool
        Whether it is a call of ``partial_fit``.
    validation : tuple
        X_val, y_val, sample_weight_val of fit.
    """
    goes_on = hasattr(estimator, "members_") and (estimator.warm_start or incremental)
    X, y = estimator._validated(X, y, incremental, not goes_on)
    X_val, y_val, weights_val = validation
    if X_val is not None:
        X_val, y_val = estimator._validated_again(X_val, y_val)
    members, halt = _copies(estimator) if goes_on else _new(estimator), threading.Event()

    def fit(member: Any) -> Any:
        member._halt = halt
        try:
            return member._fit(X, y, sample_weight, incremental, (X_val, y_val, weights_val))
        finally:
            del member._halt

    # A thread has a backend of its own.
    with ThreadPoolExecutor(min(len(members), _threads_of(estimator)), "", use_backend, (get_backend(),)) as pool:
        fits = [pool.submit(fit, member) for member in members]
        try:
            estimator.members_ = [each.result() for each in fits]
        except BaseException:
            # Also Ctrl-C, which comes in the main thread alone.
            halt.set()
            for each in fits:
                each.cancel()
            raise
    for name in OF_ONE_NETWORK:
        estimator.__dict__.pop(name, None)
    first = members[0]
    estimator.n_layers_, estimator.n_outputs_ = first.n_layers_, first.n_outputs_
    estimator.out_activation_ = first.out_activation_
    estimator.n_iter_ = max(member.n_iter_ for member in members)


def _threads_of(estimator: Any) -> int:
    return threads_of(estimator) or get_num_threads() or available_cpus()


def _new(estimator: Any) -> list[Any]:
    """Members that are not fitted, with seeds that are drawn from the estimator's random state."""
    seeds = check_random_state(estimator.random_state).randint(2**31 - 1, size=estimator.n_members)
    members = []
    for seed in seeds:
        member = clone(estimator).set_params(n_members=1, n_threads=1, random_state=int(seed))
        if hasattr(estimator, "_label_binarizer"):
            # The first call of partial_fit is told of classes that these rows may lack.
            member._label_binarizer, member.classes_ = estimator._label_binarizer, estimator.classes_
        members.append(member)
    return members


def _copies(estimator: Any) -> list[Any]:
    """Copies of the fitted members, with the estimator's options of now: a fit that fails leaves the members alone."""
    own = ("n_members", "n_threads", "random_state")
    options = {name: value for name, value in estimator.get_params(deep=False).items() if name not in own}
    return [copy.deepcopy(member).set_params(**options) for member in estimator.members_]


def mean_of(members: list[Any], predict: Callable[[Any], np.ndarray]) -> np.ndarray:
    """The mean of the members' predictions."""
    total = predict(members[0])
    for member in members[1:]:
        total = total + predict(member)
    return total / len(members)
