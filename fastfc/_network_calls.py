"""A network's calls between training passes: predictions of few rows, and steps towards another network."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import as_array
from fastfc._ranges import require_count
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.model import STATISTICS
from fastfc.training.calls import Calls

__all__ = ["Predictor", "move_towards"]


class Predictor:
    """The function that :meth:`fastfc.network.Network.predictor` returns; scores of so many rows.

    Not a closure: copies and pickles of an object that has a network and its predictor would keep the older network's.

    Parameters
    ----------
    network : Network
    rows : int
    """

    __slots__ = ("_job", "_net", "_network", "_plain", "_plan", "_rows", "_run", "_scores", "_shape", "_x")

    def __init__(self, network: Any, rows: int) -> None:
        require_count("rows", rows, 1)
        net: FullyConnectedNet = network._net
        self._network, self._net, self._rows = network, net, rows
        self._plan, self._job, self._run, x, scores = network._calls.inference(rows)
        shape: tuple[int, ...] = (rows, net.dims[0])
        if rows == 1:
            shape, x, scores = shape[1:], x[0], scores[0]
        self._shape, self._x, self._scores = shape, x, scores
        self._plain = net.input_mean is None and net.input_scale is None

    def __call__(self, X: ArrayLike) -> np.ndarray:
        """The scores (outputs,) of X (features,), or (rows, outputs) of X (rows, features)."""
        if type(X) is not np.ndarray or X.shape != self._shape or X.dtype.kind not in "biuf":
            X = as_array("X", X)
            if X.dtype.kind not in "biuf":
                raise TypeError(f"X: expected an array of real numbers, got dtype {X.dtype}")
            if X.shape != self._shape:
                raise ValueError(f"X: expected shape {self._shape}, got {X.shape}")
        scores = self._scores
        if get_backend() != "fast":
            return self._net.loss(self._in_rows(X)).reshape(scores.shape)
        self._x[...] = X if self._plain else self._net._inputs(self._in_rows(X)).reshape(self._shape)
        self._run(self._plan, 0, self._job)
        return scores.copy()

    def _in_rows(self, X: np.ndarray) -> np.ndarray:
        return X.reshape(self._rows, self._net.dims[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return Predictor, (self._network, self._rows)


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
