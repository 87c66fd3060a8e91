"""The passes of a training step by vectors, against the same row by row."""

import numba
import numpy as np
import pytest

from fastfc import tolerance
from fastfc.kernels.lowering.vectors import vectors_supported
from fastfc.training import passes

pytestmark = pytest.mark.skipif(not vectors_supported(), reason="no vectors for passes on this machine, or no compiler")

ROWS = [1, 2, 15, 16, 17, 40]
WIDTHS = [1, 3, 8, 15, 16, 17, 31, 64, 65, 100, 127, 130]
# The arguments of each pass: matrices (N, D), arrays (D,), others (N,) and numbers, by the names of its arguments.
PASSES = {
    "moments": ("mean", "var", "X", "shift"),
    "batchnorm_relu": ("OUT", "X_HAT", "shift", "mean", "inv_std", "gamma", "beta"),
    "relu_dropout_backward": ("DX", "OUT", 1.25, "db"),
    "relu_dropout_norm_backward": ("DX", "OUT", "X_HAT", 1.25, "dgamma", "dbeta"),
    "single_relu_dropout_backward": ("DX", "OUT", "dout of rows", "w", 1.25, "db", "dw"),
    "column_sums": ("total", "X"),
    "batchnorm_gradient": ("DX", "X_HAT", "dgamma", "dbeta", "inv_std", "gamma", 0.125, "db"),
}


@pytest.fixture(scope="module", params=PASSES)
def versions(request):
    """A pass by vectors and row by row, and the names of its arguments."""
    vectors, plain = getattr(passes, f"_vector_{request.param}"), getattr(passes, f"_plain_{request.param}")
    make = numba.njit(error_model="numpy", fastmath={"contract"})
    return make(lambda *args: vectors(*args)), make(lambda *args: plain(*args)), PASSES[request.param]


def size_of(name, n, d):
    return n * d if name.isupper() else n if name.endswith("of rows") else d


def arguments(names, n, d, dtype, seed):
    """Numbers for a pass, each array with room behind it that must stay as it is."""
    rng = np.random.default_rng(seed)
    memory = []
    for name in names:
        if isinstance(name, float):
            memory.append(dtype(name))
        else:
            memory.append(rng.standard_normal(size_of(name, n, d) + 40).astype(dtype))
    return memory


def call(function, names, memory, n, d):
    """The memory as the function leaves it."""
    memory = [part.copy() for part in memory]
    views = [
        part if isinstance(name, float) else part[: size_of(name, n, d)].reshape((n, d) if name.isupper() else -1)
        for name, part in zip(names, memory, strict=True)
    ]
    function(*views)
    return memory


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_passes_by_vectors_are_those_row_by_row(versions, dtype):
    by_vectors, row_by_row, names = versions
    for n in ROWS:
        for d in WIDTHS:
            memory = arguments(names, n, d, dtype, seed=n * 1000 + d)
            ours, expected = (call(function, names, memory, n, d) for function in (by_vectors, row_by_row))
            for name, before, mine, other in zip(names, memory, ours, expected, strict=True):
                if isinstance(name, float):
                    continue
                size = size_of(name, n, d)
                assert np.array_equal(mine[size:], before[size:]), f"{name}: written behind the array, {n} x {d}"
                # Sums of n terms of some units, which fused operations may round otherwise.
                close = np.allclose(mine, other, rtol=tolerance(dtype, n + 8), atol=tolerance(dtype, n + 8) * 4 * n)
                assert close, f"{name}, {n} x {d}"


def test_not_a_number_stays_where_it_is(versions):
    by_vectors, row_by_row, names = versions
    n, d = 20, 37
    memory = arguments(names, n, d, np.float32, seed=5)
    for name, part in zip(names, memory, strict=True):
        if not isinstance(name, float) and name.isupper():
            part[[3 * d + 5, 19 * d + 36]] = np.nan, np.inf
    ours, expected = (call(function, names, memory, n, d) for function in (by_vectors, row_by_row))
    for name, mine, other in zip(names, ours, expected, strict=True):
        assert np.array_equal(np.isfinite(mine), np.isfinite(other)), name
        assert np.array_equal(np.isnan(mine), np.isnan(other)), name


def test_gates_close_where_the_output_is_zero_or_no_number():
    backward = numba.njit(lambda *args: passes.relu_dropout_backward(*args))
    dx, db = np.ones((1, 5), np.float32), np.empty(5, np.float32)
    backward(dx, np.array([[1, 0, -0.0, np.nan, 3]], np.float32), np.float32(2), db)
    assert dx.tolist() == [[2, 0, 0, 0, 2]] == [db.tolist()]
