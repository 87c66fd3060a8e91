"""fastfc itself: the compiled run, the reference, and predictions of both."""

import contextlib
from typing import Any

import numpy as np

from fastfc.backend import use_backend
from fastfc.bench.engines import Run, repeated
from fastfc.bench.task import CHECK_SEED, RATE, Task
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.solver import Solver

__all__ = ["fast", "fast_prediction", "network", "reference", "reference_prediction", "steps"]

#: The runs that go on for as long as their process, which they have for themselves.
held = contextlib.ExitStack()


def network(task: Task, **options: Any) -> FullyConnectedNet:
    """The task's network with its first weights; options are those of :class:`FullyConnectedNet` that no task has."""
    net = FullyConnectedNet(
        list(task.dims[1:-1]),
        task.dims[0],
        task.dims[-1],
        dropout_keep_ratio=task.keep,
        normalization=task.normalization,
        dtype=np.dtype(task.dtype).type,
        **options,
    )
    for layer, w in enumerate(task.weights(), 1):
        net.params[f"W{layer}"][...] = w
    return net


def fast(task: Task, threads: int) -> Run:
    return steps("fast", task, threads)


def reference(task: Task, threads: int) -> Run:
    return steps("reference", task, threads)


def steps(backend: str, task: Task, threads: int, **options: Any) -> Run:
    """Steps of a Solver; options are those of :func:`network`."""
    # For this thread, from here on: it has the process for itself.
    use_backend(backend)
    X, y = task.data()
    data = {"X_train": X, "y_train": y, "X_val": X[:1], "y_val": y[:1]}
    rule: dict[str, Any] = {"update_rule": "adam", "optim_config": {"learning_rate": RATE}}
    solver = Solver(network(task, **options), data, batch_size=task.batch, verbose=False, threads=threads, **rule)
    engine = held.enter_context(solver._engine())

    def run(n: int, batches: np.ndarray | None = None) -> list[float]:
        if batches is not None:
            # Both loops draw their own batches, as the Solver of the course does: these.
            np.random.seed(CHECK_SEED)
            engine.take_stream()
        done = 0
        while done < n:
            done += engine.steps(n - done)
        return [float(loss) for loss in solver.loss_history[-n:]]

    return run


def fast_prediction(task: Task, threads: int, rows: int) -> Run:
    return _prediction("fast", task, rows)


def reference_prediction(task: Task, threads: int, rows: int) -> Run:
    return _prediction("reference", task, rows)


def _prediction(backend: str, task: Task, rows: int) -> Run:
    use_backend(backend)
    net = network(task)
    X = np.random.default_rng(4).standard_normal((rows, task.dims[0]), np.float32).astype(task.dtype, copy=False)
    return repeated(lambda: net.predict(X))
