"""A network's calls between training passes: predictions of few rows, and steps towards another network."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import as_array
from fastfc._ranges import require_count
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.model import STATISTICS
from fastfc.training.calls import Calls

__all__ = ["move_towards", "predictor_of"]


def predictor_of(net: FullyConnectedNet, calls: Calls, rows: int) -> Callable[[ArrayLike], np.ndarray]:
    """The function that :meth:`fastfc.network.Network.predictor` returns."""
    require_count("rows", rows, 1)
    features, outputs = net.dims[0], net.dims[-1]
    plan, job, run, x, scores = calls.inference(rows)
    shape: tuple[int, ...] = (rows, features)
    if rows == 1:
        shape, x, scores = (features,), x[0], scores[0]
    plain = net.input_mean is None and net.input_scale is None

    def predict(X: ArrayLike) -> np.ndarray:
        if type(X) is not np.ndarray or X.shape != shape or X.dtype.kind not in "biuf":
            X = as_array("X", X)
            if X.dtype.kind not in "biuf":
                raise TypeError(f"X: expected an array of real numbers, got dtype {X.dtype}")
            if X.shape != shape:
                raise ValueError(f"X: expected shape {shape}, got {X.shape}")
        if get_backend() != "fast":
            return net.loss(X.reshape(rows, features)).reshape(scores.shape)
        x[...] = X if plain else net._inputs(X.reshape(rows, features)).reshape(shape)
        run(plan, 0, job)
        return scores.copy()

    predict.__doc__ = f"Scores {(outputs,) if rows == 1 else (rows, outputs)} of X {shape}."
    return predict


def _require_same_inputs(net: FullyConnectedNet, other: FullyConnectedNet) -> None:
    """ValueError unless both networks standardize their inputs alike: the weights are in these units."""
    for key in ("input_mean", "input_scale"):
        mine, theirs = (_per_feature(each, key) for each in (net, other))
        if (mine is None) != (theirs is None) or (mine is not None and np.any(mine != theirs)):
            raise ValueError(f"other: expected a network with this one's {key}, in whose units the weights are")


def _per_feature(net: FullyConnectedNet, key: str) -> np.ndarray | None:
    return None if getattr(net, key) is None else net.per_feature(key, (net.dims[0],))


def move_towards(net: FullyConnectedNet, calls: Calls, other: FullyConnectedNet, tau: float) -> None:
    """Polyak averaging of parameters and running statistics; see :meth:`fastfc.network.Network.average`."""
    _require_same_inputs(net, other)
    if get_backend() == "fast":
        calls.average(other.params.flat, tau)
    else:
        net.params.flat[:] = (1 - tau) * net.params.flat + tau * other.params.flat
    if net.normalization == "batchnorm":
        for own, new in zip(net.bn_params, other.bn_params, strict=True):
            for key in STATISTICS:
                own[key][:] = (1 - tau) * own[key] + tau * new[key]
