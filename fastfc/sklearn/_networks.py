"""The network behind an estimator: made without drawing numbers, and tied to the estimator's lists of arrays."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.model import STATISTICS
from fastfc.initializers import scikit_layer
from fastfc.params import FlatParameters


def blank_network(
    dims: Sequence[int], dtype: Any, activation: str = "relu", loss: str = "softmax", normalization: str | None = None
) -> FullyConnectedNet:
    """A network whose weights are zero: the constructor would draw them from NumPy's global stream."""
    net = FullyConnectedNet.__new__(FullyConnectedNet)
    net._build(
        dims[1:-1],
        dims[0],
        dims[-1],
        1,
        normalization,
        0.0,
        np.dtype(dtype).type,
        None,
        activation=activation,
        loss=loss,
    )
    return net


def drawn_network(net: FullyConnectedNet, stream: np.random.RandomState) -> FullyConnectedNet:
    """The network with weights and biases as scikit-learn draws them."""
    factor = 2.0 if net.activation == "logistic" else 6.0
    for i, (fan_in, fan_out) in enumerate(pairwise(net.dims), start=1):
        net.params[f"W{i}"], net.params[f"b{i}"] = scikit_layer(fan_in, fan_out, stream, np.float64, factor=factor)
    return net


def weights_of(net: FullyConnectedNet) -> list[np.ndarray]:
    """The weight matrices; views."""
    return [net.params[f"W{i}"] for i in range(1, len(net.dims))]


def biases_of(net: FullyConnectedNet) -> list[np.ndarray]:
    """The biases; views."""
    return [net.params[f"b{i}"] for i in range(1, len(net.dims))]


#: Of a network: its parameters, and the running statistics of its layers.
Snapshot = tuple[np.ndarray, list[dict[str, np.ndarray]]]


def snapshot(net: FullyConnectedNet) -> Snapshot:
    """A copy of all numbers by which a network predicts."""
    statistics = [{k: np.copy(layer[k]) for k in STATISTICS if k in layer} for layer in net.bn_params]
    return net.params.flat.copy(), statistics


def restore(net: FullyConnectedNet, taken: Snapshot) -> None:
    """Copy the numbers of a snapshot back."""
    net.params.flat[:] = taken[0]
    for layer, statistics in zip(net.bn_params, taken[1], strict=True):
        for key in STATISTICS:
            layer.pop(key, None)
        layer.update({key: value.copy() for key, value in statistics.items()})


def copied(net: FullyConnectedNet, dtype: Any = None) -> FullyConnectedNet:
    """A network with the same description and numbers, in another dtype on request."""
    made = blank_network(
        net.dims, net.params.flat.dtype if dtype is None else dtype, net.activation, net.loss_name, net.normalization
    )
    made.loss_parameter, made.reg = net.loss_parameter, net.reg
    made.input_mean, made.input_scale = net.input_mean, net.input_scale
    made.params = net.params
    for mine, theirs in zip(made.bn_params, net.bn_params, strict=True):
        mine.update(
            {key: np.array(value, made.params.flat.dtype) for key, value in theirs.items() if key in STATISTICS}
        )
    return made


def load_arrays(net: FullyConnectedNet, coefs: Sequence[Any], intercepts: Sequence[Any]) -> FullyConnectedNet:
    """The network with these weights and biases copied in."""
    params: FlatParameters = net.params
    for i, (weights, biases) in enumerate(zip(coefs, intercepts, strict=True), start=1):
        params[f"W{i}"], params[f"b{i}"] = np.asarray(weights), np.asarray(biases)
    return net
