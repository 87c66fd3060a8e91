"""Matrix products with vectors, for the products in ``matmul.py``: tiles of a single row or column would be slow.

They are those of layers with one output, and of one row of examples.
"""

from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.lowering.math import add, clear, rectify
from fastfc.kernels.lowering.matmul_dots import multiply_rows
from fastfc.kernels.lowering.vectors import VECTORS
from fastfc.kernels.lowering.views import vector

# Terms that a pass over the sums takes along.
_TERMS = 4


@inline
def is_with_vectors(m, n, k, a_step, b_row, b_step, has_bias):
    """Whether :func:`multiply_vectors` can compute the product."""
    if b_step != 1:
        return False
    if n == 1:
        return a_step == 1 and b_row == 1
    return (m == 1 and k <= VECTORS.depth) or (k == 1 and has_bias == 0)


@inline
def multiply_vectors(m, n, k, a, a_row, a_step, b, b_row, has_bias, bias, c, c_row, rectifies):
    """:func:`~fastfc.kernels.lowering.matmul.multiply` for flat arrays; the values of B's rows are adjacent.

    Of one row, and of one term, to the same bits as the tiles.
    """
    if n == 1:
        multiply_rows((m, k, a_row, c_row), a, b, bias[0] if has_bias != 0 else c.dtype.type(0), c)
    elif m == 1:
        _sum_of_rows(n, k, a, a_step, b, b_row, c)
        if has_bias != 0:
            add(c, bias)
    else:
        for i in range(m):
            _multiplied(vector(c, i * c_row, n), b, a[i * a_row])
    if rectifies:
        for i in range(m):
            rectify(vector(c, i * c_row, n))


@inline
def _multiplied(out, x, factor):
    """Overwrites out (n,) with factor * x."""
    for i in range(out.size):
        out[i] = factor * x[i]


@inline
def _sum_of_rows(n, k, a, a_step, b, b_row, c):
    """Overwrites c (n,) with the sum of B's rows, each times its value of A."""
    clear(c)
    whole = k - k % _TERMS
    for i in range(0, whole, _TERMS):
        _add_rows(
            c, a[i * a_step], vector(b, i * b_row, n), a[(i + 1) * a_step], vector(b, (i + 1) * b_row, n),
            a[(i + 2) * a_step], vector(b, (i + 2) * b_row, n), a[(i + 3) * a_step], vector(b, (i + 3) * b_row, n),
        )  # fmt: skip
    for i in range(whole, k):
        row = vector(b, i * b_row, n)
        for j in range(c.size):
            c[j] += a[i * a_step] * row[j]


@inline
def _add_rows(c, a0, b0, a1, b1, a2, b2, a3, b3):
    """Adds four rows, each times its value, to c (n,), one after the other."""
    for j in range(c.size):
        c[j] = (((c[j] + a0 * b0[j]) + a1 * b1[j]) + a2 * b2[j]) + a3 * b3[j]
