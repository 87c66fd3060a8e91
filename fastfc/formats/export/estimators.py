"""Networks of other objects: fastfc.Network, and fitted estimators, also scikit-learn's. None is imported for it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.export.description import make_network
from fastfc.formats.model import STATISTICS, packed, unpacked

__all__ = ["network_of", "two_columns"]

#: scikit-learn's function of the output layer -> the loss of networks that predict by it.
_LOSSES = {"softmax": "softmax", "logistic": "logistic", "identity": "squared", "exp": "poisson"}


def network_of(model: Any) -> Any:
    """A copy of the network of an estimator, with names for its classes and columns, or of a Network.

    Anything else is returned as it is.

    A logistic output for two classes that have names becomes the softmax of two outputs, which predicts the same: only
    those can have names.

    Raises
    ------
    ValueError
        For an estimator of several members, or of one class.
    """
    if hasattr(model, "to_net"):
        return model.to_net()
    if isinstance(model, FullyConnectedNet) or not (hasattr(model, "coefs_") or hasattr(model, "members_")):
        return model
    if hasattr(model, "members_"):
        raise ValueError(f"net: expected one network, got an estimator with {len(model.members_)} members")
    own = getattr(model, "network_", None)
    net = unpacked(packed(own), FullyConnectedNet) if isinstance(own, FullyConnectedNet) else _of_arrays(model)
    if getattr(model, "feature_names_in_", None) is not None:
        net.feature_names = [str(name) for name in model.feature_names_in_]
    classes = getattr(model, "classes_", None)
    if classes is None or (net.loss_name == "logistic" and net.dims[-1] > 1):
        # Of several labels each is yes or no.
        return net
    if len(classes) < 2:
        raise ValueError(f"net: expected at least two classes, got {list(classes)}")
    names = np.asarray(classes).tolist()
    if names == list(range(len(names))) and not isinstance(names[0], bool):
        return net
    if net.dims[-1] == 1:
        net = _of_two_classes(net)
    net.class_names = [str(name) for name in names]
    return net


def _of_arrays(model: Any) -> FullyConnectedNet:
    """The network of an estimator that has arrays only."""
    layers = len(model.coefs_)
    arrays = {f"W{i}": np.asarray(weights) for i, weights in enumerate(model.coefs_, start=1)}
    arrays |= {f"b{i}": np.asarray(bias) for i, bias in enumerate(model.intercepts_, start=1)}
    loss = _LOSSES[model.out_activation_]
    return make_network(arrays, layers, None, activation=model.activation, loss=loss, eps=1e-5, momentum=0.9)


def _of_two_classes(net: FullyConnectedNet) -> FullyConnectedNet:
    """The network with a softmax of 0 and the score in place of a logistic output."""
    arrays = {name: net.params[name] for name in net.params.shapes}
    last = len(net.dims) - 1
    arrays[f"W{last}"], arrays[f"b{last}"] = two_columns(arrays[f"W{last}"], arrays[f"b{last}"])
    for i, param in enumerate(net.bn_params, start=1):
        if net.normalization == "batchnorm":
            default = np.zeros(net.dims[i], net.dtype)
            arrays |= {f"{key}{i}": np.asarray(param.get(key, default)) for key in STATISTICS}
    made = make_network(
        arrays, last, net.normalization, activation=net.activation, loss="softmax", eps=1e-5, momentum=0.9
    )
    for mine, theirs in zip(made.bn_params, net.bn_params, strict=True):
        mine.update({key: theirs[key] for key in ("eps", "momentum") if key in theirs})
    for name in ("reg", "input_mean", "input_scale", "feature_names", "target_name"):
        setattr(made, name, getattr(net, name))
    return made


def two_columns(weights: NDArray[Any], bias: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A last layer of one output for two classes as one of two, the first of which is 0."""
    return np.hstack([np.zeros_like(weights), weights]), np.append(np.zeros_like(bias), bias)
