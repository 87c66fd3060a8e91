"""Whole training steps: batch choice, gathering, forward, backward, update.

A full crossing of shapes, normalizations, dropout, dtypes, rules, backends and threads would
be thousands of runs. So all shapes are measured in three kinds, in float32 with Adam; the full
crossing of kinds and dtypes at a small and at a wide network; all rules at one network.
"""

import contextlib

import numpy as np

import fastfc
from benchmarks.common import BACKENDS, Run, Timed, pinned, repeated
from benchmarks.shapes import STEPS, parse_shape
from fastfc.optim import STATE

#: Kind -> normalization, probability to keep a unit.
KINDS = {
    "plain": (None, 1.0),
    "batchnorm, dropout": ("batchnorm", 0.8),
    "layernorm, dropout": ("layernorm", 0.8),
}
_VARIANTS = ["8-[64,64]-4@64", "3072-[64,64,64]-10@100"]


def run_of(
    stack: contextlib.ExitStack, backend: str, threads: int, shape: str, normalization: str | None = "batchnorm",
    keep: float = 0.8, dtype: str = "float32", rule: str = "adam",
) -> Run:  # fmt: skip
    """A run of training steps on random examples; `stack` ends it."""
    dims, batch = parse_shape(shape)
    stack.enter_context(pinned(backend, threads))
    random = np.random.default_rng(1)
    examples = max(4096, 4 * batch)
    X = random.standard_normal((examples, dims[0]), np.float32).astype(dtype, copy=False)
    y = random.integers(0, dims[-1], examples)
    np.random.seed(2)
    net = fastfc.FullyConnectedNet(
        dims[1:-1], dims[0], dims[-1], dropout_keep_ratio=keep, normalization=normalization, dtype=dtype
    )
    solver = fastfc.Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:1], "y_val": y[:1]}, update_rule=rule,
        optim_config={"learning_rate": 1e-4}, batch_size=batch, verbose=False,
    )  # fmt: skip
    engine = stack.enter_context(solver._engine())

    def run(n):
        # The backend is that of the moment, and two runs may take turns.
        with fastfc.use_backend(backend):
            while n > 0:
                n -= engine.steps(n)

    return run


class Shapes(Timed):
    version = "1"
    params = (BACKENDS, STEPS, list(KINDS), [1, 2])
    param_names = ("backend", "net @ batch", "kind", "threads")

    def prepare(self, backend, shape, kind, threads):
        self.run = run_of(self._stack, backend, threads, shape, *KINDS[kind])

    def time_step(self, backend, shape, kind, threads):
        self.sample()


class Variants(Timed):
    version = "1"
    params = (BACKENDS, _VARIANTS, ["none", "batchnorm", "layernorm"], ["off", "on"], ["float32", "float64"], [1])
    param_names = ("backend", "net @ batch", "normalization", "dropout", "dtype", "threads")

    def prepare(self, backend, shape, normalization, dropout, dtype, threads):
        keep = {"off": 1.0, "on": 0.8}[dropout]
        normalization = None if normalization == "none" else normalization
        self.run = run_of(self._stack, backend, threads, shape, normalization, keep, dtype)

    def time_step(self, backend, shape, normalization, dropout, dtype, threads):
        self.sample()


class Rules(Timed):
    version = "1"
    params = (BACKENDS, ["64-[100,100]-10@64"], list(STATE), [1])
    param_names = ("backend", "net @ batch", "rule", "threads")

    def prepare(self, backend, shape, rule, threads):
        self.run = run_of(self._stack, backend, threads, shape, rule=rule)

    def time_step(self, backend, shape, rule, threads):
        self.sample()


class ShortRuns(Timed):
    """The time that :meth:`fastfc.Solver.train` takes beside its steps: searches start many small trainings."""

    version = "1"
    params = (BACKENDS, ["4-[32]-3@16"], [1])
    param_names = ("backend", "net @ batch", "threads")

    def prepare(self, backend, shape, threads):
        dims, batch = parse_shape(shape)
        self._stack.enter_context(pinned(backend, threads))
        random = np.random.default_rng(1)
        X = random.standard_normal((batch, dims[0]), np.float32)
        y = random.integers(0, dims[-1], batch)
        data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}

        def train():
            net = fastfc.FullyConnectedNet(dims[1:-1], dims[0], dims[-1])
            # An epoch is a single step.
            solver = fastfc.Solver(net, data, update_rule="adam", batch_size=batch, num_epochs=1, verbose=False)
            with fastfc.use_backend(backend):
                solver.train()

        self.run = repeated(train)

    def time_train(self, backend, shape, threads):
        self.sample()
