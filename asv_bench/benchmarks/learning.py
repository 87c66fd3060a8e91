"""The accuracy that a fixed training reaches on the embedded pictures."""

import numpy as np

import fastfc
from benchmarks.common import BACKENDS, Benchmark, pinned, readable


class Accuracy(Benchmark):
    version = "1"
    unit = "%"
    params = (BACKENDS, ["none", "batchnorm", "layernorm"], [1])
    param_names = ("backend", "normalization", "threads")

    def prepare(self, backend, normalization, threads):
        self._stack.enter_context(pinned(backend, threads))
        self.data = fastfc.load_dataset("fashion-mnist")

    def track_test_accuracy(self, backend, normalization, threads):
        """784-[100]-10 with dropout, Adam, 5 epochs of 40 steps."""
        X, y = self.data["X_train"] / np.float32(255), self.data["y_train"]
        np.random.seed(231)
        net = fastfc.FullyConnectedNet(
            [100], 784, 10, dropout_keep_ratio=0.8, normalization=None if normalization == "none" else normalization
        )
        data = {"X_train": X, "y_train": y, "X_val": X[:100], "y_val": y[:100]}
        fastfc.Solver(net, data, update_rule="adam", num_epochs=5, verbose=False).train()
        predicted = net.predict(self.data["X_test"] / np.float32(255))
        return readable(100 * np.mean(predicted == self.data["y_test"]))

    track_test_accuracy.pretty_name = "Test accuracy on the embedded pictures"
