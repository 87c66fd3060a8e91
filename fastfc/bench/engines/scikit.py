"""scikit-learn's MLPClassifier."""

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.task import BETA1, BETA2, EPSILON, RATE, Task

__all__ = ["classifier"]


def classifier(task: Task, threads: int) -> Run:
    """Only plain nets, and no two classes: for these it has one logistic output instead of a softmax."""
    from sklearn.neural_network import MLPClassifier

    X, y = task.data()
    classes = np.arange(task.dims[-1])
    options = {"alpha": 0, "learning_rate_init": RATE, "beta_1": BETA1, "beta_2": BETA2, "epsilon": EPSILON}
    net = MLPClassifier(task.dims[1:-1], batch_size=task.batch, **options)
    net.partial_fit(X[: task.batch], y[: task.batch], classes=classes)
    for w, b, first in zip(net.coefs_, net.intercepts_, task.weights(), strict=True):
        w[...], b[...] = first, 0
    optimizer = net._optimizer
    optimizer.t = 0
    for moment in (*optimizer.ms, *optimizer.vs):
        moment[...] = 0
    per_epoch = len(X) // task.batch

    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        if batches is not None:
            losses = []
            for choice in batches:
                net.partial_fit(X[choice], y[choice])
                losses.append(float(net.loss_))
            return losses
        while n > 0:
            rows = min(n, per_epoch) * task.batch
            net.partial_fit(X[:rows], y[:rows])
            n -= per_epoch
        return None

    return run
