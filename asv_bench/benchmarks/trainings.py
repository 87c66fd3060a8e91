"""Short trainings of a small network, and short epochs: the costs that are not those of steps."""

import statistics
import time

import numpy as np

import fastfc
from benchmarks.common import BACKENDS, Benchmark, pinned, readable
from benchmarks.shapes import dims_of

_BATCH, _EPOCHS, _ROUNDS = 16, 2000, 9
#: Epochs of the reference, whose steps take longer.
_FEWER = 100


class Trainings(Benchmark):
    version = "1"
    params = (BACKENDS, ["4-[100]-3", "64-[100]-10"], [1])
    param_names = ("backend", "net", "threads")

    def prepare(self, backend, net, threads):
        self._stack.enter_context(pinned(backend, threads))
        self._dims = dims_of(net)
        self._epochs = _EPOCHS if backend == "fast" else _FEWER
        random, d_in, classes = np.random.RandomState(0), self._dims[0], self._dims[-1]
        X, y = random.randn(_BATCH, d_in).astype(np.float32), np.arange(_BATCH) % classes
        self._data = {"X_train": X, "y_train": y, "X_val": X[:1], "y_val": y[:1]}
        self._seconds(1)

    def _seconds(self, epochs, callback=None):
        """Of a training of a step an epoch, whose accuracies are those of a single row."""
        net = fastfc.FullyConnectedNet(self._dims[1:-1], self._dims[0], self._dims[-1])
        start = time.perf_counter()
        fastfc.Solver(
            net, self._data, update_rule="adam", batch_size=_BATCH, num_epochs=epochs, num_train_samples=1,
            verbose=False, callback=callback,
        ).train()  # fmt: skip
        return time.perf_counter() - start

    def track_fixed_cost(self, backend, net, threads):
        """Milliseconds of a training of a single step."""
        return readable(1e3 * statistics.median(self._seconds(1) for _ in range(20 * _ROUNDS)))

    track_fixed_cost.unit = "ms"
    track_fixed_cost.pretty_name = "A training of one step"

    def _epoch(self, callbacks):
        """Microseconds of an epoch of a training with new callbacks."""
        seconds = statistics.median(self._seconds(self._epochs, callbacks()) for _ in range(_ROUNDS))
        return readable(1e6 * seconds / self._epochs)

    def track_epoch_cost(self, backend, net, threads):
        """Microseconds of an epoch of a single step, all of it: the step, both accuracies and the end of the epoch."""
        return self._epoch(lambda: None)

    track_epoch_cost.unit = "us"
    track_epoch_cost.pretty_name = "An epoch of one step"

    def track_stopping_cost(self, backend, net, threads):
        """Microseconds of such an epoch with early stopping, which never comes, and a history."""
        # States of the package from before callbacks are timed by these benchmarks too.
        from fastfc.callbacks import EarlyStopping, History

        return self._epoch(lambda: [EarlyStopping("loss", patience=10**6), History()])

    track_stopping_cost.unit = "us"
    track_stopping_cost.pretty_name = "An epoch of one step, with early stopping and a history"
