"""One training of a sweep, from its options and its seed to its result."""

import hashlib
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from fastfc import initializers, optim, schedules
from fastfc._ranges import require_range
from fastfc._standardization import mean_and_scale
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.losses import score_of
from fastfc.ops.losses import LOSSES
from fastfc.sweeps._data import MissingDataError, StoredData, targets_of
from fastfc.sweeps._options import plain, split
from fastfc.training.fit import Fit

__all__ = ["Outcome", "StoppedError", "Work", "check_trial", "do", "train_network"]


# Of each thread, a random stream: to make one takes a hundred times as long as to start it anew.
_streams = threading.local()


class StoppedError(Exception):
    """The sweep was interrupted."""


@dataclass(frozen=True)
class Work:
    """A training for a worker.

    Parameters
    ----------
    options, seed
        Of the training.
    train : function or None
        Somebody's own, which trains in place of :func:`train_network`.
    check_every : int or None
        Epochs from one score to the next; None for one at the end.
    pauses : tuple of int
        Epochs at which a score is taken too; the training ends at the last of them, or after its own number of epochs
        if there are none.
    goes_on : bool
        Whether the outcome has the state from which the training can go on.
    bar : float
        The network is sent back if its score is at least this.
    state : dict, optional
        Where the training stands after some epochs.
    rows : pair of arrays, optional
        The rows of the training data to train on, and those of the validation data to score; else all.
    """

    options: dict[str, Any]
    seed: int
    train: Callable[..., Any] | None = None
    check_every: int | None = None
    pauses: tuple[int, ...] = ()
    goes_on: bool = False
    bar: float = -np.inf
    state: dict[str, Any] | None = None
    rows: tuple[np.ndarray, np.ndarray] | None = None


@dataclass
class Outcome:
    """The result of a training or its error, the trained network if it is a good one, and where it stands."""

    result: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    net: FullyConnectedNet | None = None
    state: dict[str, Any] | None = None


def do(work: Work, data: Mapping[str, Any] | StoredData, stop: threading.Event | None = None) -> Outcome:
    """Carry out a training; an error in it is its outcome."""
    start = perf_counter()
    arrays = data.arrays() if isinstance(data, StoredData) else data
    try:
        outcome = train_network(work, arrays, stop) if work.train is None else _own(work, arrays)
    except (StoppedError, MissingDataError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a training raises is its result
        outcome = Outcome(error=" ".join(f"{type(error).__name__}: {error}".split()))
    outcome.seconds = perf_counter() - start
    return outcome


def _own(work: Work, data: Mapping[str, Any]) -> Outcome:
    assert work.train is not None
    found = work.train(dict(work.options), work.seed, data)
    result = plain(found if isinstance(found, Mapping) else {"score": found})
    score = result.get("score")
    if isinstance(score, bool) or not isinstance(score, (int, float, type(None))):
        raise TypeError(f"train: expected a number as the score, got {score!r:.80}")
    return Outcome(result)


def check_trial(options: Mapping[str, Any], data: Mapping[str, Any]) -> FullyConnectedNet:
    """The network of these options; an error that names the option unless a training has it and it fits the data."""
    network, _ = split(options)
    net = _described(network, data)
    targets_of(data, LOSSES[net.loss_name], net.dims[-1])
    return net


def _described(network: Mapping[str, Any], data: Mapping[str, Any]) -> FullyConnectedNet:
    """The network of these options, its weights not drawn yet."""
    X, y = data["X_train"], data["y_train"]
    inputs, outputs = network["input_dim"], network["num_classes"]
    features, labels = math.prod(X.shape[1:]), LOSSES[network["loss"]].labels
    names = data.get("class_names") if labels else None
    if inputs is not None and inputs != features:
        raise ValueError(f"input_dim: expected {features}, as the data have, got {inputs}")
    if outputs is None:
        if labels and y.dtype.kind in "biu":
            # A class that has a name may have no example.
            outputs = max(2, int(max(y.max(), data["y_val"].max())) + 1, len(names or ()))
        else:
            outputs = math.prod(y.shape[1:])
    net = FullyConnectedNet.__new__(FullyConnectedNet)
    net._build(
        network["hidden_dims"], features, outputs, network["dropout_keep_ratio"], network["normalization"],
        network["reg"], network["dtype"], None, None, network["activation"], network["loss"],
        network["loss_parameter"],
    )  # fmt: skip
    require_range("weight_scale", network["weight_scale"], 0)
    if names is not None:
        if isinstance(names, str) or len(names) != outputs:
            raise ValueError(f"class_names: expected {outputs} names, one per class, got {names!r:.80}")
        net.class_names = list(names)
    net.feature_names, net.target_name = data.get("feature_names"), data.get("target_name")
    return net


def _made(
    network: Mapping[str, Any], data: Mapping[str, Any], stream: np.random.RandomState, rows: np.ndarray | None
) -> FullyConnectedNet:
    net = _described(network, data)
    for name, shape in net.params.shapes.items():
        if name.startswith("W"):
            fans = shape[0], shape[1]
            if network["initializer"] is None:
                values = initializers.course_normal(fans, stream, scale=network["weight_scale"])
            else:
                values = initializers.draw(network["initializer"], fans, stream)
            net.params[name] = values
    if network["standardize"]:
        X = data["X_train"] if rows is None else data["X_train"][rows]
        _standardize(net, X, network["standardize"] == "pictures")
    return net


def _standardize(net: FullyConnectedNet, X: np.ndarray, pictures: bool) -> None:
    """Set the input standardization; bytes of pictures lose their mean picture and are divided by 255."""
    if pictures:
        net.input_mean, net.input_scale = X.mean(axis=0, dtype=np.float64), 1 / 255
    else:
        net.input_mean, net.input_scale = mean_and_scale(X, net.dtype)


@dataclass(frozen=True)
class _TargetScale:
    """Mean and deviation of each output's targets (K,), over the examples that are trained on."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, rows: np.ndarray | None) -> "_TargetScale":
        chosen = y if rows is None else y[rows]
        deviation = chosen.std(axis=0, dtype=np.float64)
        return cls(chosen.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1))

    def standardized(self, y: np.ndarray) -> np.ndarray:
        return (y - self.mean) / self.deviation

    def fold_into(self, net: FullyConnectedNet) -> None:
        """Scale and shift the last layer, so that the network's outputs are in the targets' units."""
        last = net.num_layers
        net.params[f"W{last}"] *= self.deviation
        net.params[f"b{last}"] = net.params[f"b{last}"] * self.deviation + self.mean


def train_network(work: Work, data: Mapping[str, Any], stop: threading.Event | None = None) -> Outcome:
    """Train a network in this thread, from the training's own random stream."""
    network, options = split(work.options)
    stream = _stream_of(work.seed)
    rows, scored = work.rows or (None, None)
    net = _made(network, data, stream, rows)
    targets = targets_of(data, LOSSES[net.loss_name], net.dims[-1])
    scale = _TargetScale.of(targets["y_train"], rows) if network["standardize_targets"] else None
    if scale is not None:
        targets = {name: scale.standardized(y) for name, y in targets.items()}
    batch = min(options["batch_size"], len(data["X_train"] if rows is None else rows))
    last = min([options["num_epochs"], *work.pauses[-1:]])
    every = last if work.check_every is None else work.check_every
    checks = sorted({*range(every, last, every), *(epoch for epoch in work.pauses if epoch < last), last})
    if work.state is not None:
        _restore_network(net, work.state)
    with (
        np.errstate(all="ignore"),
        Fit(
            net, data["X_train"], targets["y_train"], indices=rows, weights=data.get("weights_train"),
            rule=optim.rule_of(options["update_rule"]),
            config=options["optim_config"], batch_size=batch, sampler=options["sampler"],
            stream=stream, threads=1, max_norm=options["max_norm"] or 0.0, max_value=options["max_value"] or 0.0,
            accumulate=options["accumulate"],
        ) as fit,
    ):  # fmt: skip
        factors = _factors(options, fit, stop)
        kept = _Kept(net)
        if work.state is not None:
            _go_on(fit, stream, kept, work.state)
        for epoch in checks:
            if epoch > kept.epochs:
                losses = fit.epochs(epoch - kept.epochs, factors=factors)
                kept.take(losses, _score(fit, net, data["X_val"], targets["y_val"], scored))
        state = _state(fit, net, stream, kept) if work.goes_on else None
    kept.restore()
    if scale is not None:
        scale.fold_into(net)
    better = work.bar == -np.inf or (kept.score is not None and kept.score >= work.bar)
    return Outcome(kept.result(), net=net if better else None, state=state)


def _stream_of(seed: int) -> np.random.RandomState:
    """The stream that a seed starts, which is this thread's until it asks for the next one."""
    if not hasattr(_streams, "stream"):
        _streams.stream = np.random.RandomState(0)
    _streams.stream.seed(seed)
    return _streams.stream


def _factors(options: Mapping[str, Any], fit: Fit, stop: threading.Event | None) -> Callable[[int, int], np.ndarray]:
    """The learning rates' factors; asked for between two compiled calls, which is when a sweep may stop."""
    schedule = None if options["schedule"] is None else schedules.get(options["schedule"])
    decay, per_epoch = options["lr_decay"], fit.steps_per_epoch
    total = options["num_epochs"] * per_epoch

    def factors(first: int, count: int) -> np.ndarray:
        if stop is not None and stop.is_set():
            raise StoppedError
        found = np.ones(count) if schedule is None else schedule.factors(first, count, per_epoch, total)
        return found if decay == 1 else found * float(decay) ** (np.arange(first, first + count) // per_epoch)

    return factors


def _score(fit: Fit, net: FullyConnectedNet, X: np.ndarray, y: np.ndarray, rows: np.ndarray | None) -> float | None:
    """The validation score; None if the parameters are no longer finite."""
    if not np.isfinite(net.params.flat).all():
        return None
    score = float(score_of(LOSSES[net.loss_name], fit.scores(X, rows), y if rows is None else y[rows]))
    return score if np.isfinite(score) else None


class _Kept:
    """The curves of a training, and its best parameters."""

    def __init__(self, net: FullyConnectedNet) -> None:
        self.net = net
        self.losses: list[float] = []
        self.scores: list[tuple[int, float | None]] = []
        self.score: float | None = None
        self.best_epoch = 0
        self.best: tuple[np.ndarray, list[dict[str, Any]]] = self._copy()

    @property
    def epochs(self) -> int:
        return len(self.losses)

    def take(self, losses: np.ndarray, score: float | None) -> None:
        self.losses += losses.tolist()
        self.scores.append((self.epochs, score))
        if score is not None and (self.score is None or score > self.score):
            self.score, self.best_epoch, self.best = score, self.epochs, self._copy()

    def _copy(self) -> tuple[np.ndarray, list[dict[str, Any]]]:
        statistics = [{key: np.copy(value) for key, value in each.items()} for each in self.net.bn_params]
        return self.net.params.flat.copy(), statistics

    def restore(self) -> None:
        """Put the best parameters into the network, if there are some."""
        if self.score is None:
            return
        flat, statistics = self.best
        self.net.params.flat[:] = flat
        for mine, values in zip(self.net.bn_params, statistics, strict=True):
            mine.update((key, value) for key, value in values.items() if key.startswith("running"))

    def result(self) -> dict[str, Any]:
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        return {
            "score": self.score,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "loss": losses[-1],
            "losses": losses,
            "scores": [list(pair) for pair in self.scores],
            "parameters": digest_of_network(self.net),
        }


def digest_of_network(net: FullyConnectedNet) -> str:
    """A digest of a network's parameters and running statistics."""
    found = hashlib.blake2b(net.params.flat.tobytes(), digest_size=16)
    for each in net.bn_params:
        for key in ("running_mean", "running_var"):
            if key in each:
                found.update(np.ascontiguousarray(each[key]).tobytes())
    return found.hexdigest()


def _state(fit: Fit, net: FullyConnectedNet, stream: np.random.RandomState, kept: _Kept) -> dict[str, Any]:
    """Where a training stands, to be gone on from by :func:`_go_on`."""
    flat, statistics = kept._copy()
    return {
        "params": flat,
        "statistics": statistics,
        "rule": {name: [each.copy() for each in arrays] for name, arrays in fit.state.items()},
        "order": fit.plan.threads[0].order.copy(),
        "stream": stream.get_state(),
        "steps": fit.steps_taken,
        "kept": (kept.losses, kept.scores, kept.score, kept.best_epoch, kept.best),
    }


def _restore_network(net: FullyConnectedNet, state: Mapping[str, Any]) -> None:
    net.params.flat[:] = state["params"]
    for mine, values in zip(net.bn_params, state["statistics"], strict=True):
        mine.update(values)


def _go_on(fit: Fit, stream: np.random.RandomState, kept: _Kept, state: Mapping[str, Any]) -> None:
    """Continue from a :func:`_state` whose network has been restored."""
    for name, arrays in fit.state.items():
        for view, values in zip(arrays, state["rule"][name], strict=True):
            view[:] = values
    fit.plan.threads[0].order[:] = state["order"]
    stream.set_state(state["stream"])
    fit.steps_taken = fit.updates_taken = state["steps"]
    losses, scores, kept.score, kept.best_epoch, kept.best = state["kept"]
    kept.losses, kept.scores = list(losses), list(scores)
