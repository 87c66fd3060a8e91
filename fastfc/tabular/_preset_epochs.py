"""Epochs of the preset's training: in compiled calls, or step by step by the operations of another backend."""

import contextlib
import math
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, cast

import numpy as np

from fastfc import losses, optim
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.network import Network
from fastfc.ops.losses import LOSSES
from fastfc.optimizer import Optimizer
from fastfc.training.fit import Fit
from fastfc.training.parts import PART_SECONDS
from fastfc.training.validation import Validation
from fastfc.training.watching import finite_losses

__all__ = ["SMOOTHING", "CompiledEpochs", "EpochsByOperations", "Factors"]

SMOOTHING = 0.1
_RATE_OF_CLASSES, _RATE_OF_NUMBERS = 0.04, 0.07
_SCALE_FACTOR, _BIAS_FACTOR = 6.0, 0.1
_BETAS, _EPSILON = {"beta1": 0.9, "beta2": 0.95}, 1e-8

#: ``factors(first, count)``: of the learning rates, in so many steps from a first one on.
Factors = Callable[[int, int], np.ndarray]
#: Of an epoch the losses of its steps, the training score and the validation score.
Epoch = tuple[list[float], float, float]


def _configs(net: FullyConnectedNet, epsilon: float) -> dict[str, dict[str, float]]:
    """Adam's hyperparameters for each parameter by its name, and for the scaling layer, ``"scale"``."""
    rate = _RATE_OF_CLASSES if LOSSES[net.loss_name].labels else _RATE_OF_NUMBERS
    configs = {"scale": {**_BETAS, "learning_rate": _SCALE_FACTOR * rate, "epsilon": epsilon}}
    for i, inputs in enumerate(net.dims[:-1], start=1):
        root = math.sqrt(inputs)
        configs[f"W{i}"] = {"learning_rate": rate / root, "epsilon": epsilon * root}
        configs[f"b{i}"] = {"learning_rate": rate * _BIAS_FACTOR, "epsilon": epsilon}
    return configs


class CompiledEpochs:
    """Epochs in calls of many of them; the scaling layer is the network's ``input_scale`` meanwhile.

    Parameters
    ----------
    net : FullyConnectedNet
    data : dict
        ``X_train, y_train, X_val, y_val`` and maybe ``weights_train``, in the network's dtype.
    some : integer array (n,)
        Row numbers for the training score.
    batch_size : int
    factors : function
        The schedule.

    Attributes
    ----------
    at_once : int
        How many epochs to train in the next call.
    """

    def __init__(
        self, net: FullyConnectedNet, data: Mapping[str, Any], some: np.ndarray, batch_size: int, factors: Factors
    ) -> None:
        X, y, labels = data["X_train"], data["y_train"], LOSSES[net.loss_name].labels
        net.input_scale = np.ones(net.dims[0])
        # The published loss of numbers is the mean of the squares; ours has their halves. Half of the gradients are
        # the same training with half of Adam's epsilon, to the last digit.
        configs = _configs(net, _EPSILON if labels else _EPSILON / 2)
        self._fit = Fit(
            net, X, y, rule=optim.adam, config=_BETAS, scale_config=configs.pop("scale"), configs=configs,
            batch_size=batch_size, weights=data.get("weights_train"), sampler="order", threads=1,
            indices=np.arange(len(X) // batch_size * batch_size), loss_scale=1 if labels else 2,
            stream=np.random.RandomState(0),
        )  # fmt: skip
        options: dict[str, Any] = {"metric": "accuracy" if labels else "r2", "patience": 2**62}
        self._some = Validation(net, X, y, indices=some, keep=None, **options)
        self._best = Validation(net, data["X_val"], data["y_val"], keep="last", **options)
        self._net, self._data, self._rows, self._factors = net, data, some, factors
        self.at_once = 1

    def running(self) -> contextlib.AbstractContextManager[Any]:
        """Epochs are trained within it."""
        return self._fit

    def scores(self) -> tuple[float, float]:
        """The training score and the validation score before the first epoch."""
        data, rows, scores = self._data, self._rows, self._fit.scores
        train = _score(self._net, scores(data["X_train"], rows), data["y_train"][rows])
        return train, _score(self._net, scores(data["X_val"]), data["y_val"])

    def train(self, order: np.ndarray) -> list[Epoch]:
        """Train for epochs on rows (count, n) each; the last one is an epoch whose losses are not all finite."""
        fit, seen, start = self._fit, len(self._best.values), perf_counter()
        fit.epochs(
            len(order), order=order, factors=self._factors, watch=finite_losses(), validation=[self._some, self._best]
        )
        self.at_once = max(1, int(PART_SECONDS * len(order) / (perf_counter() - start)))
        # They have the network's dtype, as the operations return them.
        found = fit.step_losses.astype(self._net.dtype).reshape(-1, fit.steps_per_epoch).tolist()
        scores = [*zip(self._some.values[seen:], self._best.values[seen:], strict=True), (math.nan, math.nan)]
        return [(steps, *both) for steps, both in zip(found, scores, strict=False)]

    def keep_best(self) -> None:
        """Give the network the parameters of the best epoch, or of the start: the scaling layer in the first one."""
        net, scale = self._net, self._best.best_scale()
        net.params.flat[:], net.input_scale = self._best.best_numbers()[0], None
        # Of no epoch there is none.
        if scale.size > 0:
            net.params["W1"] *= scale[:, np.newaxis]


class EpochsByOperations:
    """The same step by step, by the operations of whatever backend is chosen."""

    def __init__(
        self, net: FullyConnectedNet, data: Mapping[str, Any], some: np.ndarray, batch_size: int, factors: Factors
    ) -> None:
        self._of, self._net = net, Network.from_net(net, seed=0)
        self._data, self._rows, self._batch_size, self._factors = data, some, batch_size, factors
        configs = _configs(net, _EPSILON)
        self._scale, self._config = np.ones(net.dims[0], net.dtype), configs.pop("scale")
        self._rate = self._config["learning_rate"]
        self._optimizer = Optimizer("adam", configs=configs, **_BETAS)
        self._loss = _smoothed if LOSSES[net.loss_name].labels else _squared
        self._steps, self._best, self._kept = 0, -np.inf, self._parameters()
        self.at_once = 1

    def running(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def scores(self) -> tuple[float, float]:
        data, rows = self._data, self._rows
        train = _score(self._of, self._scores(data["X_train"][rows]), data["y_train"][rows])
        return train, _score(self._of, self._scores(data["X_val"]), data["y_val"])

    def train(self, order: np.ndarray) -> list[Epoch]:
        return [self._epoch(rows) for rows in order]

    def keep_best(self) -> None:
        self._of.params = self._kept

    def _epoch(self, order: np.ndarray) -> Epoch:
        X, y, weights = self._data["X_train"], self._data["y_train"], self._data.get("weights_train")
        found = []
        for rows, factor in zip(
            order.reshape(-1, self._batch_size), self._factors(self._steps, len(order) // self._batch_size), strict=True
        ):
            found.append(self._step(X[rows], y[rows], None if weights is None else weights[rows], factor))
        self._steps += len(found)
        if not np.isfinite(found).all():
            return found, math.nan, math.nan
        train, val = self.scores()
        if val >= self._best:
            self._best, self._kept = val, self._parameters()
        return found, train, val

    def _step(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, factor: float) -> float:
        """One step on a batch x (N, D), with the learning rates times a factor; returns the loss."""
        loss, dscores = self._loss(self._net.forward(x * self._scale), y, weights)
        dx = cast(np.ndarray, self._net.backward(dscores))
        self._optimizer.step(self._net, factor=factor)
        self._config["learning_rate"] = self._rate * factor
        self._scale, self._config = optim.adam(self._scale, (dx * x).sum(axis=0), self._config)
        return loss

    def _scores(self, X: np.ndarray) -> np.ndarray:
        return self._net.forward(X * self._scale, training=False)

    def _parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters, the scaling layer multiplied into the first one."""
        found = {name: value.copy() for name, value in self._net.params.items()}
        found["W1"] *= self._scale[:, np.newaxis]
        return found


def _score(net: FullyConnectedNet, scores: np.ndarray, y: np.ndarray) -> float:
    return float(losses.score_of(LOSSES[net.loss_name], scores, y))


def _smoothed(scores: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> tuple[float, np.ndarray]:
    loss, dscores = losses.softmax_loss(scores, y, weights, label_smoothing=SMOOTHING)
    return float(loss), dscores


def _squared(scores: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> tuple[float, np.ndarray]:
    """The published loss is the mean of the squares; ours has their halves."""
    loss, dscores = losses.squared_loss(scores, y.reshape(-1, 1), weights)
    return 2 * float(loss), 2 * dscores
