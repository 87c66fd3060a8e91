"""Costs of a whole training of a small network beside its steps: at its start, and at the end of each epoch."""

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
        self._data = {rows: self._data_of(rows) for rows in (_BATCH, _BATCH * self._epochs)}
        for rows in self._data:
            self._seconds(rows, 1)

    def _data_of(self, rows):
        d_in, classes = self._dims[0], self._dims[-1]
        X, y = np.random.RandomState(0).randn(rows, d_in).astype(np.float32), np.arange(rows) % classes
        return {"X_train": X, "y_train": y, "X_val": X[:1], "y_val": y[:1]}

    def _seconds(self, rows, epochs):
        """Of a training on so many rows, whose accuracies are those of a single row."""
        net = fastfc.FullyConnectedNet(self._dims[1:-1], self._dims[0], self._dims[-1])
        start = time.perf_counter()
        fastfc.Solver(
            net, self._data[rows], update_rule="adam", batch_size=_BATCH, num_epochs=epochs, num_train_samples=1,
            verbose=False,
        ).train()  # fmt: skip
        return time.perf_counter() - start

    def track_fixed_cost(self, backend, net, threads):
        """Milliseconds of a training of a single step."""
        return readable(1e3 * statistics.median(self._seconds(_BATCH, 1) for _ in range(20 * _ROUNDS)))

    track_fixed_cost.unit = "ms"
    track_fixed_cost.pretty_name = "A training of one step"

    def track_epoch_cost(self, backend, net, threads):
        """Microseconds by which epochs of one step take longer than as many steps of one epoch, for each of them."""
        many, one = zip(
            *((self._seconds(_BATCH, self._epochs), self._seconds(_BATCH * self._epochs, 1)) for _ in range(_ROUNDS)),
            strict=True,
        )
        return readable(1e6 * (statistics.median(many) - statistics.median(one)) / (self._epochs - 1))

    track_epoch_cost.unit = "us"
    track_epoch_cost.pretty_name = "The end of an epoch"
