"""Prediction of a network with batch normalization, for one example and for many."""

import numpy as np

import fastfc
from benchmarks.common import BACKENDS, Timed, pinned, repeated
from benchmarks.shapes import NETS, dims_of


class Predict(Timed):
    version = "1"
    params = (BACKENDS, NETS, [1, 64, 4096], [1, 2])
    param_names = ("backend", "net", "batch", "threads")

    def prepare(self, backend, net, batch, threads):
        self._stack.enter_context(pinned(backend, threads))
        dims = dims_of(net)
        model = fastfc.FullyConnectedNet(dims[1:-1], dims[0], dims[-1], normalization="batchnorm")
        X = np.random.default_rng(1).standard_normal((batch, dims[0]), np.float32)
        self.run = repeated(model.predict, X)

    def time_predict(self, backend, net, batch, threads):
        self.sample()
