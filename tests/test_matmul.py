"""The compiled run's matrix product, by tiles and by BLAS, against NumPy."""

import itertools
import re

import numba
import numpy as np
import pytest

from fastfc import tolerance
from fastfc._runtime.constants import PACKING_SIZE
from fastfc.kernels.compiler.jit import STANDALONE_OPTIONS
from fastfc.kernels.lowering import matmul, vectors
from fastfc.training import compiling

SIZES = [1, 2, 5, 6, 7, 12, 16, 17, 33, 64, 65, 129, 200, 260, 530]


@pytest.fixture(scope="module", params=["tiles", "blas"])
def multiply(request):
    if request.param == "tiles" and not vectors.vectors_supported():
        pytest.skip("no vectors for tiles on this machine, or no compiler")
    for dtype in (np.float32, np.float64):
        if vectors.vectors_supported():
            compiling.provide(["product"], np.dtype(dtype))
    helper = {"tiles": matmul._multiply_tiles, "blas": matmul._multiply_blas}[request.param]
    return numba.njit(error_model="numpy")(lambda *args: helper(*args))


def stored(matrix, transposed, pad):
    """The matrix in a flat array with `pad` unused NaN behind each stored row, and its two steps."""
    lying = matrix.T if transposed else matrix
    flat = np.full((lying.shape[0], lying.shape[1] + pad), np.nan, matrix.dtype)
    flat[:, : lying.shape[1]] = lying
    row = flat.shape[1]
    return flat.reshape(-1), (1, row) if transposed else (row, 1)


def check(multiply, m, n, k, dtype, case, rng):
    """A product of such sizes; the bits of `case` say how the operands lie, and whether there are a bias and a ReLU."""
    A, B = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    bias = rng.standard_normal(n if case % 2 else 0).astype(dtype)
    pad = case % 3
    a, (a_row, a_step) = stored(A, bool(case & 4), pad)
    b, (b_row, b_step) = stored(B, bool(case & 8), pad)
    c = np.full(m * (n + pad) + 40, 7, dtype)
    panel = np.full(PACKING_SIZE + 40, np.nan, dtype)
    panel[PACKING_SIZE:] = 7
    first = int(rng.integers(k)) if case % 5 else 0
    rectifies = (case // 16 + k) % 2
    multiply(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, n + pad, panel[:PACKING_SIZE], first, rectifies)
    written = c[: m * (n + pad)].reshape(m, n + pad)
    expected = A.astype(np.float64) @ B + (bias if bias.size else 0)
    expected = np.maximum(expected, 0) if rectifies else expected
    magnitude = np.abs(A).astype(np.float64) @ np.abs(B) + (np.abs(bias) if bias.size else 0)
    assert np.all(np.abs(written[:, :n] - expected) <= tolerance(dtype, k + 1) * magnitude), (m, n, k, case)
    assert np.all(written[:, n:] == 7), "wrote between the rows"
    assert np.all(c[m * (n + pad) :] == 7), "wrote behind C"
    assert np.all(panel[PACKING_SIZE:] == 7), "wrote behind the panel"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_all_sizes_and_layouts(multiply, dtype):
    rng = np.random.default_rng(0)
    for case in range(200):
        m, n, k = (int(size) for size in rng.choice(SIZES, 3))
        check(multiply, m, n, k, dtype, case, rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ones", ["m", "n", "k", "mn", "mk", "nk", "mnk"])
def test_products_with_vectors(multiply, ones, dtype):
    rng = np.random.default_rng(2)
    for case in range(60):
        m, n, k = (1 if name in ones else int(rng.choice(SIZES)) for name in "mnk")
        check(multiply, m, n, k, dtype, case, rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [0, 4, 8, 12])
def test_products_beyond_the_near_caches(multiply, dtype, layout):
    """Their sums are made in parts: of few terms, as many as there are parts, and of more than a block."""
    rng = np.random.default_rng(1)
    for m, n in ((530, 520), (1300, 210), (9, 30_000)):
        assert m * n * np.dtype(dtype).itemsize > matmul._NEAR
        for case, k in enumerate((1, 2, 3, 4, 5, 7, 130, 261)):
            check(multiply, m, n, k, dtype, layout + case % 4, rng)
    for case, (m, n, k) in enumerate(((20, 100, 1300), (100, 60, 1300), (600, 70, 1100))):
        check(multiply, m, n, k, dtype, layout + case, rng)


@pytest.mark.parametrize("multiply", ["tiles"], indirect=True)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_by_itself_has_the_same_bits_as_among_others(multiply, dtype):
    rng = np.random.default_rng(3)
    empty, panel = np.zeros(0, dtype), np.zeros(PACKING_SIZE, dtype)
    for m, n, k in itertools.product([7, 8, 9, 30], [1, 2, 40], [1, 8, 16, 19, 300]):
        a, b, bias = (rng.standard_normal(size).astype(dtype) for size in (m * k, k * n, n))
        for added in (bias, empty):
            together, single = np.zeros(m * n, dtype), np.zeros(m * n, dtype)
            multiply(m, n, k, a, k, 1, b, n, 1, added, together, n, panel, 0, 0)
            for i in range(m):
                row = single[i * n : (i + 1) * n]
                multiply(1, n, k, a[i * k : (i + 1) * k], k, 1, b, n, 1, added, row, n, panel, 0, 0)
            np.testing.assert_array_equal(single, together, err_msg=f"{m} x {n} x {k}")


@pytest.mark.parametrize("rectifies", [0, 1])
def test_nan_and_infinity_reach_only_their_rows_and_columns(multiply, rectifies):
    A, B = np.ones((20, 30), np.float32), np.ones((30, 40), np.float32)
    A[3, 7], B[5, 11], B[6, 12] = np.nan, np.inf, -np.inf
    c = np.zeros(20 * 40, np.float32)
    empty, panel = np.zeros(0, np.float32), np.zeros(PACKING_SIZE, np.float32)
    multiply(20, 40, 30, A.reshape(-1), 30, 1, B.reshape(-1), 40, 1, empty, c, 40, panel, 0, rectifies)
    np.testing.assert_array_equal(c.reshape(20, 40), np.maximum(A @ B, 0) if rectifies else A @ B)


@pytest.mark.skipif(not vectors.vectors_supported(), reason="no vectors for tiles on this machine, or no compiler")
@pytest.mark.parametrize("product", matmul.PRODUCTS.values(), ids=["float32", "float64"])
def test_tiles_multiply_and_add_whole_vectors_in_registers(product):
    """The sums, a row of vectors and a value have registers enough; none is spilled."""
    fresh = numba.njit(**STANDALONE_OPTIONS)(product.function)
    signature = (numba.types.int64,) * 16
    fresh.compile(signature)
    assembly = fresh.inspect_asm(signature)
    blocks = re.split(r"^\.?L\w+:", assembly, flags=re.MULTILINE)
    register = {64: "%zmm", 32: "%ymm"}[vectors.VECTORS.size]
    sums = [len(re.findall(rf"\bvfn?madd\w+p[sd]\s[^\n]*{register}", block)) for block in blocks]
    largest = vectors.VECTORS.max_height * vectors.VECTORS.max_vectors
    loops = [block for block, count in zip(blocks, sums, strict=True) if count >= largest]
    assert loops
    for loop in loops:
        assert not re.search(rf"vmov\w+\s+{register}\d+, -?\d*\(%r[sb]p", loop), "a sum leaves its register"
