"""Long runs: memory does not grow, and update rules stay with the reference on extreme gradients."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from rule_lists import ADAPTIVE, RULES

import fastfc
from fastfc import optim, tolerance

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
STEPS = 1000

LONG_RUN = """
import os
import numpy as np
import fastfc

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

rng = np.random.default_rng(0)
X, y = rng.standard_normal((1600, 6)).astype(np.float32), rng.integers(0, 3, 1600)
data = {"X_train": X, "y_train": y, "X_val": X[:8], "y_val": y[:8]}
np.random.seed(0)
net = fastfc.FullyConnectedNet([8, 5], 6, 3, normalization="batchnorm", dropout_keep_ratio=0.8)
sizes = []

def watch(solver):
    if solver.epoch % 20 == 0:
        # The histories grow with the steps, as they must.
        solver.loss_history.clear()
        solver.train_acc_history.clear()
        solver.val_acc_history.clear()
        sizes.append(resident())

solver = fastfc.Solver(
    net, data, update_rule="adam", batch_size=16, num_epochs=1000, num_train_samples=16, verbose=False, threads=2,
    callback=watch
)
solver.train()
assert solver.engine_ == "compiled"
assert all(config["t"] == 100_000 for config in solver.optim_configs.values())
assert np.isfinite(net.params.flat).all()
settled = len(sizes) // 5
grown = max(sizes[settled:]) - sizes[settled]
assert grown <= 2**21, f"{grown} bytes more after {len(sizes) - settled} times 2,000 steps"
"""


@needs_compiler
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process's memory from Linux")
def test_100_000_steps_without_growth_of_memory():
    """Two megabytes are what allocators may keep; an object of 32 bytes lost per step would show."""
    environment = {**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1]), "FASTFC_BACKEND": "fast"}
    result = subprocess.run(
        [sys.executable, "-c", LONG_RUN], capture_output=True, text=True, timeout=600, env=environment
    )
    assert result.returncode == 0, result.stderr


@needs_compiler
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process's memory from Linux")
def test_layer_by_layer_without_growth_of_memory():
    """The same for training through the public functions."""
    np.random.seed(0)
    net = fastfc.FullyConnectedNet([8, 5], 6, 3, normalization="layernorm", dropout_keep_ratio=0.8)
    X, y = np.random.randn(16, 6).astype(np.float32), np.arange(16) % 3
    config, sizes = {}, []
    for step in range(5000):
        _, grads = net.loss(X, y)
        optim.adam(net.params["W1"], grads["W1"], config)
        net.predict(X)
        if step % 500 == 0:
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert max(sizes[3:]) - sizes[3] <= 2**20


def gradients(kind, dtype):
    """STEPS gradients (STEPS, n), one step each."""
    values = np.random.default_rng(2).standard_normal((STEPS, 37))
    limits = np.finfo(dtype)
    scale = {"denormal": 64 * float(limits.smallest_subnormal), "huge": float(limits.max) ** 0.4}[kind]
    return (values * scale).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["denormal", "huge"])
@pytest.mark.parametrize("rule", RULES)
def test_a_thousand_extreme_steps(rule, kind, dtype):
    """Kernel and reference side by side, each on its own state.

    A step adds one rounding of w and of the state, relative to the largest that they have
    been; the rates keep w's steps in proportion to w.
    """
    w = {backend: np.random.default_rng(3).standard_normal(37).astype(dtype) for backend in ("fast", "reference")}
    size = 1e-3 / max(1e-3, float(np.abs(gradients(kind, dtype)).max()))
    rate = 1e-3 if rule in ADAPTIVE else size
    configs = {backend: {"learning_rate": rate} for backend in w}
    largest = np.ones(37)
    for gradient in gradients(kind, dtype):
        for backend, config in configs.items():
            with fastfc.use_backend(backend), np.errstate(all="ignore"):
                w[backend], _ = getattr(optim, rule)(w[backend], gradient, config)
        largest = np.maximum(largest, np.abs(w["reference"]))
    assert np.isfinite(w["reference"]).all()
    bound = STEPS * tolerance(dtype, 4) * largest
    assert np.all(np.abs(w["fast"].astype(float) - w["reference"]) <= bound)
    for key in optim.STATE[rule]:
        got, expected = (configs[backend][key].astype(float) for backend in ("fast", "reference"))
        # Below the normal numbers an operation is off by up to the smallest one.
        absolute = STEPS * 4 * float(np.finfo(dtype).smallest_subnormal)
        spread = np.abs(gradients(kind, dtype).astype(float)).max() * (1 if key in ("m", "velocity") else 0)
        assert np.all(np.abs(got - expected) <= STEPS * tolerance(dtype, 4) * (np.abs(expected) + spread) + absolute)
