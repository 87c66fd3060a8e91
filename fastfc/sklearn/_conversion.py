"""Fitted networks from scikit-learn's estimators to ours, and back."""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.export.description import describe
from fastfc.ops.losses import LOSSES
from fastfc.sklearn._base import BaseMLP
from fastfc.sklearn._estimators import MLPClassifier, MLPRegressor
from fastfc.sklearn._networks import biases_of, snapshot, weights_of

_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
_FITTED = (
    "coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_", "n_features_in_",
    "feature_names_in_", "classes_", "_label_binarizer", "loss_", "best_loss_", "loss_curve_", "validation_scores_",
    "best_validation_score_", "_no_improvement_count",
)  # fmt: skip


def from_sklearn(mlp: Any) -> MLPClassifier | MLPRegressor:
    """A fastfc estimator with the options and the fitted network of scikit-learn's.

    It predicts the same, up to rounding, and goes on with ``warm_start=True`` or ``partial_fit``, whose first call
    begins with a new state of the solver. Its ``network_`` is what fastfc saves and exports.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted; it stays as it is.

    Returns
    -------
    MLPClassifier or MLPRegressor
        Of :mod:`fastfc.sklearn`.

    Raises
    ------
    TypeError
        If `mlp` is neither.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor as Theirs
    >>> theirs = Theirs(solver="lbfgs", tol=0.01, random_state=0).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    >>> from_sklearn(theirs).predict([[1.5]]).round(6) == theirs.predict([[1.5]]).round(6)
    array([ True])
    """
    for theirs, ours in ((neural_network.MLPClassifier, MLPClassifier), (neural_network.MLPRegressor, MLPRegressor)):
        if isinstance(mlp, theirs):
            made = ours(**mlp.get_params())
            check_is_fitted(mlp)
            _take_fitted(made, mlp)
            if theirs is neural_network.MLPRegressor:
                # Its `loss` may have been changed since the fit.
                made._linked().loss_name = "poisson" if mlp.out_activation_ == "exp" else "squared"
            return made
    raise TypeError(f"mlp: expected an MLPClassifier or MLPRegressor of scikit-learn, got {type(mlp).__name__}")


def to_sklearn(net: Any) -> Any:
    """A fitted estimator of scikit-learn's from a fastfc estimator or network.

    Parameters
    ----------
    net : MLPClassifier, MLPRegressor or FullyConnectedNet
        A fitted estimator of this module, or a network of fastfc with a softmax, logistic, squared or Poisson loss. A
        network's classes are its ``class_names``, in alphabetical order, else 0, 1, ...; its standardization goes into
        the first layer.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor

    Raises
    ------
    ValueError
        If scikit-learn has no such network: with normalization, another activation or another loss, of several
        members, of one class, or with one name for two classes.
    TypeError
        If `net` is something else, or computes scores by methods of its own.

    Examples
    --------
    >>> ours = MLPRegressor(solver="lbfgs", tol=0.01, random_state=0).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> to_sklearn(ours).predict([[0.5]]).round(6) == ours.predict([[0.5]]).round(6)
    array([ True])
    """
    if isinstance(net, BaseMLP):
        return _of_estimator(net)
    if isinstance(net, FullyConnectedNet):
        return _of_network(net)
    raise TypeError(f"net: expected a fitted estimator or a FullyConnectedNet, got {type(net).__name__}")


def _require_known(net: FullyConnectedNet) -> None:
    """ValueError unless scikit-learn has such a network."""
    if net.normalization is not None:
        raise ValueError(f"net: expected no normalization, which scikit-learn has not, got {net.normalization!r}")
    if net.activation not in _ACTIVATIONS and len(net.dims) > 2:
        raise ValueError(f"net: expected an activation among {', '.join(_ACTIVATIONS)}, got {net.activation!r}")
    if net.loss_name not in ("softmax", "logistic", "squared", "poisson"):
        raise ValueError(f"net: expected a loss that scikit-learn has, got {net.loss_name!r}")


def _activation_of(net: FullyConnectedNet) -> str:
    """The activation's name; one that scikit-learn has, too, of a network without hidden layers, which has none."""
    return net.activation if net.activation in _ACTIVATIONS else "relu"


def _of_estimator(ours: BaseMLP) -> Any:
    if hasattr(ours, "members_"):
        raise ValueError(
            f"net: expected one network, which scikit-learn has, got an estimator with {len(ours.members_)} members; "
            "each of its members_ can be carried over"
        )
    _require_known(ours.network_)
    theirs = neural_network.MLPClassifier if is_classifier(ours) else neural_network.MLPRegressor
    known = theirs().get_params()
    made = theirs(**{name: value for name, value in ours.get_params().items() if name in known})
    # scikit-learn predicts by its options of now, ours by those of the fit.
    made.activation = _activation_of(ours.network_)
    _take_fitted(made, ours)
    return made


def _take_fitted(made: Any, fitted: Any) -> None:
    """Copies of what an estimator has learnt."""
    for name in _FITTED:
        if hasattr(fitted, name):
            setattr(made, name, copy.deepcopy(getattr(fitted, name)))
    if getattr(made, "validation_scores_", None) is None:
        return
    # Early stopping has restored the best parameters, to which a fit that goes on returns.
    if isinstance(made, BaseMLP):
        made._best = snapshot(made._linked())
    else:
        made._best_coefs, made._best_intercepts = copy.deepcopy((made.coefs_, made.intercepts_))


def _in_order(net: FullyConnectedNet) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """A network's classes in scikit-learn's order, which is sorted, and the output that each of them has."""
    names = np.array(range(net.dims[-1]) if net.class_names is None else net.class_names)
    classes, order = np.unique(names, return_index=True)
    if len(classes) < max(len(names), 2):
        raise ValueError(
            f"net: expected at least two classes, each with a name of its own, got {net.dims[-1]} with the names "
            f"{names.tolist()}"
        )
    return classes, order


def _of_network(net: FullyConnectedNet) -> Any:
    _require_known(net)
    # An error for methods of its own, and for too few names.
    describe(net)
    coefs, intercepts = ([array.copy() for array in arrays] for arrays in (weights_of(net), biases_of(net)))
    if net.input_mean is not None or net.input_scale is not None:
        scale = 1.0 if net.input_scale is None else net.per_feature("input_scale", (net.dims[0],))
        mean = 0.0 if net.input_mean is None else net.per_feature("input_mean", (net.dims[0],))
        weights = coefs[0].astype(np.float64) * np.broadcast_to(scale, net.dims[:1])[:, np.newaxis]
        intercepts[0] -= (np.broadcast_to(mean, net.dims[:1]) @ weights).astype(intercepts[0].dtype)
        coefs[0] = weights.astype(coefs[0].dtype)
    link = LOSSES[net.loss_name].link
    options = {
        "hidden_layer_sizes": tuple(net.dims[1:-1]),
        "activation": _activation_of(net),
        "alpha": net.reg,
    }
    if link in ("softmax", "logistic"):
        made = neural_network.MLPClassifier(**options)
        classes = np.arange(max(net.dims[-1], 2))
        if link == "softmax":
            classes, order = _in_order(net)
            coefs[-1], intercepts[-1] = coefs[-1][:, order], intercepts[-1][order]
        if link == "softmax" and len(classes) == 2:
            # Two classes are one logistic output.
            coefs[-1] = coefs[-1][:, 1:] - coefs[-1][:, :1]
            intercepts[-1] = intercepts[-1][1:] - intercepts[-1][:1]
            link = "logistic"
        outputs = coefs[-1].shape[1]
        several = link == "logistic" and outputs > 1
        made._label_binarizer = LabelBinarizer().fit(np.eye(outputs, dtype=int) if several else classes)
        made.classes_ = made._label_binarizer.classes_
    else:
        made = neural_network.MLPRegressor("poisson" if link == "exp" else "squared_error", **options)
    made.coefs_, made.intercepts_ = coefs, intercepts
    made.n_layers_, made.n_outputs_, made.n_features_in_ = len(net.dims), coefs[-1].shape[1], net.dims[0]
    made.out_activation_, made.n_iter_, made.t_ = link, 0, 0
    # A training that goes on adds to these.
    made.loss_curve_, made.best_loss_, made._no_improvement_count = [], np.inf, 0
    made.validation_scores_ = made.best_validation_score_ = None
    return made
