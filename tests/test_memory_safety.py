"""No access outside of a run's buffers: each ends, or begins, at a page that may not be touched.

In a process of its own, which such an access kills.
"""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import fastfc

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

FENCED = '''
import ctypes
import mmap
import sys
import numpy as np
import fastfc
from fastfc.ops import rules
from fastfc.training import plan

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
at_end = sys.argv[1] == "end"

def fenced(size, dtype):
    """Zeros (size,) that end right before a forbidden page, or begin right behind one."""
    dtype = np.dtype(dtype)
    bytes_needed = max(size * dtype.itemsize, 1)
    pages = -(-bytes_needed // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    array = np.frombuffer(memory, np.uint8)
    address = array.ctypes.data
    for page in (0, pages + 1):
        if libc.mprotect(ctypes.c_void_p(address + page * PAGE), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE + (pages * PAGE - size * dtype.itemsize if at_end else 0)
    return array[start : start + size * dtype.itemsize].view(dtype)

def copied(values):
    memory = fenced(values.size, values.dtype)
    memory[:] = values.reshape(-1)
    return memory.reshape(values.shape)

if "crash" in sys.argv:
    # The fence works: this is what it does to an access one element too far.
    ctypes.memset(fenced(8, np.float64).ctypes.data + (64 if at_end else -8), 1, 8)

plan.aligned_zeros = fenced
fastfc.use_backend("fast")

KINDS = {
    "float64": lambda X: copied(X),
    "float32": lambda X: copied(X.astype(np.float32)),
    "uint8": lambda X: copied((60 * X + 128).clip(0, 255).astype(np.uint8)),
    "bool": lambda X: copied(X > 0),
    "columns": lambda X: copied(X.T.copy()).T,
    "strided": lambda X: copied(np.repeat(X, 2, axis=1)[:, : 2 * X.shape[1] - 1])[:, ::2],
    "backwards": lambda X: copied(X[::-1].copy())[::-1],
}
RULES = list(rules.RULES)
SHAPES = [((), 1, 1, 1), ((1,), 3, 2, 1), ((7, 5), 9, 3, 13), ((17, 33, 1), 31, 11, 29), ((65,), 67, 10, 7)]
count = 0
for hidden, features, classes, batch in SHAPES:
    for normalization in (None, "batchnorm", "layernorm"):
        for dtype in (np.float32, np.float64):
            for threads in (1, 2, 3):
                kind = list(KINDS)[count % len(KINDS)]
                rng = np.random.default_rng(count)
                X = KINDS[kind](rng.standard_normal((37, features)))
                y = copied(rng.integers(0, classes, 37))
                np.random.seed(count)
                net = fastfc.FullyConnectedNet(
                    hidden, features, classes, dropout_keep_ratio=[1, 0.6][count % 2], normalization=normalization,
                    dtype=dtype, reg=[0.0, 0.1][count % 3 > 0], seed=[None, 5][count % 5 == 0],
                )
                # The parameters are in a buffer of the model's own.
                net.params.flat = copied(net.params.flat)
                if count % 4 == 0:
                    net.input_mean, net.input_scale = 0.5, np.linspace(1, 2, features)
                solver = fastfc.Solver(
                    net, {"X_train": X, "y_train": y, "X_val": X[:5], "y_val": y[:5]}, batch_size=batch,
                    update_rule=RULES[count % len(RULES)], num_epochs=2, num_train_samples=11, verbose=False,
                    threads=threads,
                )
                solver.train()
                assert solver.engine_ == "compiled"
                assert net.loss(X[:1]).shape == (1, classes)
                assert net.loss(X).shape == (37, classes)
                count += 1
print(count, "runs")
'''


def run(*argv):
    environment = {**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1]), "FASTFC_BACKEND": "fast"}
    return subprocess.run(
        [sys.executable, "-c", FENCED, *argv], capture_output=True, text=True, timeout=600, env=environment
    )


@needs_compiler
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect on anonymous maps, as Linux has them")
@pytest.mark.parametrize("side", ["end", "begin"])
def test_compiled_training_between_forbidden_pages(side):
    result = run(side)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "90 runs\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect on anonymous maps, as Linux has them")
@pytest.mark.parametrize("side", ["end", "begin"])
def test_the_fence_kills(side):
    assert run(side, "crash").returncode < 0
