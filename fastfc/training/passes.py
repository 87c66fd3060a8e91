"""Passes over the rows of a training step, before and after its matrix products.

Row by row, LLVM reads what belongs to the columns, such as gamma and beta, again for each row,
and computes what does not fill a vector at a row's end value by value. Here a few vectors of
columns go down some rows at a time, with what belongs to the columns in registers. The order
of each column's sum is the same.
"""

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels.activation import rectify, relu_backward_in_place
from fastfc.kernels.affine import column_sums
from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.dropout import apply_mask
from fastfc.kernels.lowering.math import add, clear
from fastfc.kernels.lowering.vectors import (
    FLAG,
    VECTORS,
    WORD,
    load,
    mask_of,
    routine,
    splat,
    store,
    vector_type,
    vectors_supported,
)
from fastfc.kernels.norm import (
    add_parameter_gradients,
    batch_input_gradient,
    batch_moments,
    scale_and_shift,
    standardize_by_columns,
)

# Rows that a few vectors of columns go down before the next columns: all of it stays in near caches.
_ROWS = 16


# --------------------------------------------------------------------------------------------- row by row


@inline
def _plain_moments(mean, var, x, shift):
    batch_moments(mean, var, x, shift)


@inline
def _plain_batchnorm_relu(out, x_hat, shift, mean, inv_std, gamma, beta):
    for i in range(out.shape[0]):
        standardize_by_columns(x_hat[i], out[i], shift, mean, inv_std)
        scale_and_shift(out[i], x_hat[i], gamma, beta)
        rectify(out[i])


@inline
def _plain_relu_dropout_backward(dx, out, scale, db):
    for i in range(dx.shape[0]):
        relu_backward_in_place(dx[i], out[i], scale)
    column_sums(db, dx)


@inline
def _plain_relu_dropout_norm_backward(dx, out, x_hat, scale, dgamma, dbeta):
    clear(dgamma)
    clear(dbeta)
    for i in range(dx.shape[0]):
        relu_backward_in_place(dx[i], out[i], scale)
        add_parameter_gradients(dgamma, dbeta, dx[i], x_hat[i])


@inline
def _plain_slope_backward(dx, slope, db):
    for i in range(dx.shape[0]):
        apply_mask(dx[i], slope[i])
    column_sums(db, dx)


@inline
def _plain_slope_norm_backward(dx, slope, x_hat, dgamma, dbeta):
    clear(dgamma)
    clear(dbeta)
    for i in range(dx.shape[0]):
        apply_mask(dx[i], slope[i])
        add_parameter_gradients(dgamma, dbeta, dx[i], x_hat[i])


@inline
def _plain_batchnorm_gradient(dx, x_hat, dgamma, dbeta, inv_std, gamma, share, db):
    clear(db)
    for i in range(dx.shape[0]):
        batch_input_gradient(dx[i], dgamma, dbeta, x_hat[i], inv_std, gamma, share)
        add(db, dx[i])


# --------------------------------------------------------------------------------------------- by vectors


class _Pass(NamedTuple):
    """An operation on each value of some matrices (N, D) of the same shape.

    `body` gets a builder of contracted arithmetic, the vectors of the columns, of the sums so far, of
    the matrices and of the scalars. It returns the new sums, and what is to be stored in the last matrices.
    """

    name: str
    body: Callable
    columns: int  # arrays (D,) that are read
    sums: int  # arrays (D,) that are added to
    matrices: int


class _Arithmetic:
    """Operations on vectors that may be fused, as in the kernels that LLVM packs by itself."""

    def __init__(self, builder):
        self.builder = builder

    def add(self, a, b):
        return self.builder.fadd(a, b, flags=("contract",))

    def subtract(self, a, b):
        return self.builder.fsub(a, b, flags=("contract",))

    def multiply(self, a, b):
        return self.builder.fmul(a, b, flags=("contract",))

    def greater(self, a, b, value, other):
        """value where a > b, else other: also where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), value, other)


def _sum_body(on, columns, sums, values, scalars):
    (shift,), (total,), (x,) = columns, sums, values
    return [on.add(total, on.subtract(x, shift))], []


def _squares_body(on, columns, sums, values, scalars):
    (shift, mean), (total,), (x,) = columns, sums, values
    centered = on.subtract(on.subtract(x, shift), mean)
    return [on.add(total, on.multiply(centered, centered))], []


def _batchnorm_relu_body(on, columns, sums, values, scalars):
    (shift, mean, inv_std, gamma, beta), (_, x) = columns, values
    x_hat = on.multiply(on.subtract(on.subtract(x, shift), mean), inv_std)
    out = on.add(on.multiply(gamma, x_hat), beta)
    zero = ir.Constant(out.type, None)
    return [], [x_hat, on.greater(zero, out, zero, out)]


def _relu_dropout_body(on, columns, sums, values, scalars):
    (db,), (out, dx), (scale,) = sums, values, scalars
    zero = ir.Constant(dx.type, None)
    dx = on.greater(out, zero, on.multiply(dx, scale), zero)
    return [on.add(db, dx)], [dx]


def _relu_dropout_norm_body(on, columns, sums, values, scalars):
    (dgamma, dbeta), (x_hat, *others) = sums, values
    (dbeta,), (dx,) = _relu_dropout_body(on, columns, [dbeta], others, scalars)
    return [on.add(dgamma, on.multiply(dx, x_hat)), dbeta], [dx]


def _slope_body(on, columns, sums, values, scalars):
    (db,), (slope, dx) = sums, values
    dx = on.multiply(dx, slope)
    return [on.add(db, dx)], [dx]


def _slope_norm_body(on, columns, sums, values, scalars):
    (dgamma, dbeta), (x_hat, *others) = sums, values
    (dbeta,), (dx,) = _slope_body(on, columns, [dbeta], others, scalars)
    return [on.add(dgamma, on.multiply(dx, x_hat)), dbeta], [dx]


def _batchnorm_gradient_body(on, columns, sums, values, scalars):
    (dgamma, dbeta, inv_std, gamma), (db,), (x_hat, dx), (share,) = columns, sums, values, scalars
    through_statistics = on.multiply(share, on.add(dbeta, on.multiply(x_hat, dgamma)))
    dx = on.multiply(on.multiply(gamma, inv_std), on.subtract(dx, through_statistics))
    return [on.add(db, dx)], [dx]


def _by_columns(described):
    """A function for compiled code: of (N, D), the columns, sums and matrices, and scalars of their dtype."""

    @intrinsic
    def call(typingctx, shape, arrays, scalars):
        def codegen(context, builder, sig, args):
            numbers, pointers, reals = (cgutils.unpack_tuple(builder, args[i]) for i in range(3))
            words = [context.cast(builder, n, k, types.int64) for n, k in zip(numbers, shape, strict=True)]
            pointers = [
                context.make_array(kind)(context, builder, array).data
                for kind, array in zip(arrays, pointers, strict=True)
            ]
            reals = [context.cast(builder, n, k, arrays[0].dtype) for n, k in zip(reals, scalars, strict=True)]
            real = context.get_data_type(arrays[0].dtype)
            builder.call(_pass_routine(builder.module, real, described, len(reals)), [*words, *pointers, *reals])
            return context.get_dummy_value()

        return types.void(shape, arrays, scalars), codegen

    return call


class _Operands(NamedTuple):
    """The arguments of a pass's LLVM function, in groups."""

    kind: ir.VectorType
    d: ir.Value  # the number of columns
    columns: list[ir.Value]  # pointers
    sums: list[ir.Value]
    matrices: list[ir.Value]
    scalars: list[ir.Value]  # as vectors


def _pass_routine(module, real, described, scalars):
    """The LLVM function of a pass."""
    name = f"fastfc_{described.name}_{real}"
    if name in module.globals:
        return module.globals[name]
    kind, lanes = vector_type(real), vector_type(real).count
    pointers = described.columns + described.sums + described.matrices
    function, builder = routine(module, name, [WORD] * 2 + [real.as_pointer()] * pointers + [real] * scalars)
    rows, d, *arrays = function.args[: 2 + pointers]
    operands = _Operands(
        kind,
        d,
        arrays[: described.columns],
        arrays[described.columns : -described.matrices],
        arrays[-described.matrices :],
        [splat(builder, value, lanes) for value in function.args[2 + pointers :]],
    )
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    group = VECTORS.max_vectors * lanes
    grouped = builder.sub(d, builder.srem(d, WORD(group)))
    with cgutils.for_range_slice(builder, WORD(0), rows, WORD(_ROWS)) as (first, _):
        left = builder.sub(rows, first)
        count = builder.select(builder.icmp_signed("<", left, WORD(_ROWS)), left, WORD(_ROWS))
        with cgutils.for_range_slice(builder, WORD(0), grouped, WORD(group)) as (column, _):
            _go_down(builder, described.body, operands, first, count, column, [whole] * VECTORS.max_vectors)
        with cgutils.for_range_slice(builder, grouped, d, WORD(lanes)) as (column, _):
            rest = mask_of(builder, builder.sub(d, column), lanes)
            _go_down(builder, described.body, operands, first, count, column, [rest])
    builder.ret_void()
    return function


def _go_down(builder, body, operands, first, count, column, masks):
    """The loop of some vectors of columns, one for each mask, down `count` rows from row `first` on."""
    kind, d, columns, sums, matrices, scalars = operands
    of_columns = [_vectors_at(builder, kind, pointer, column, masks) for pointer in columns]
    before = [_vectors_at(builder, kind, pointer, column, masks) for pointer in sums]
    entry, loop, end = builder.block, *(builder.append_basic_block(label) for label in ("down", "end"))
    start = builder.add(builder.mul(first, d), column)
    builder.branch(loop)
    builder.position_at_end(loop)
    row, position = builder.phi(WORD), builder.phi(WORD)
    totals = [[builder.phi(kind) for _ in masks] for _ in sums]
    values = [_vectors_at(builder, kind, pointer, position, masks) for pointer in matrices]
    results = [
        body(_Arithmetic(builder), *([part[v] for part in parts] for parts in (of_columns, totals, values)), scalars)
        for v in range(len(masks))
    ]
    stored = len(results[0][1])
    for i, pointer in enumerate(matrices[len(matrices) - stored :]):
        _store_at(builder, [out[i] for _, out in results], pointer, position, masks)
    next_row = builder.add(row, WORD(1))
    phis = [(row, WORD(0), next_row), (position, start, builder.add(position, d))]
    phis += [(totals[i][v], before[i][v], results[v][0][i]) for i in range(len(sums)) for v in range(len(masks))]
    for phi, initial, following in phis:
        phi.add_incoming(initial, entry)
        phi.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", next_row, count), loop, end)
    builder.position_at_end(end)
    for i, pointer in enumerate(sums):
        _store_at(builder, [results[v][0][i] for v in range(len(masks))], pointer, column, masks)


def _vectors_at(builder, kind, pointer, position, masks):
    """The neighbouring vectors from a position on, one for each mask."""
    return [
        load(builder, builder.gep(pointer, [builder.add(position, WORD(v * kind.count))]), mask, kind)
        for v, mask in enumerate(masks)
    ]


def _store_at(builder, vectors, pointer, position, masks):
    """Store vectors beside one another from a position on."""
    for v, (vector, mask) in enumerate(zip(vectors, masks, strict=True)):
        store(builder, vector, builder.gep(pointer, [builder.add(position, WORD(v * vector.type.count))]), mask)


_sum_pass = _by_columns(_Pass("sum", _sum_body, 1, 1, 1))
_squares_pass = _by_columns(_Pass("squares", _squares_body, 2, 1, 1))
_batchnorm_relu_pass = _by_columns(_Pass("batchnorm_relu", _batchnorm_relu_body, 5, 0, 2))
_relu_dropout_pass = _by_columns(_Pass("relu_dropout", _relu_dropout_body, 0, 1, 2))
_relu_dropout_norm_pass = _by_columns(_Pass("relu_dropout_norm", _relu_dropout_norm_body, 0, 2, 3))
_slope_pass = _by_columns(_Pass("slope", _slope_body, 0, 1, 2))
_slope_norm_pass = _by_columns(_Pass("slope_norm", _slope_norm_body, 0, 2, 3))
_batchnorm_gradient_pass = _by_columns(_Pass("batchnorm_gradient", _batchnorm_gradient_body, 4, 1, 2))


@inline
def _vector_moments(mean, var, x, shift):
    clear(mean)
    clear(var)
    _sum_pass(x.shape, (shift, mean, x), ())
    for j in range(mean.size):
        mean[j] /= x.shape[0]
    _squares_pass(x.shape, (shift, mean, var, x), ())
    for j in range(var.size):
        var[j] /= x.shape[0]


@inline
def _vector_batchnorm_relu(out, x_hat, shift, mean, inv_std, gamma, beta):
    _batchnorm_relu_pass(out.shape, (shift, mean, inv_std, gamma, beta, x_hat, out), ())


@inline
def _vector_relu_dropout_backward(dx, out, scale, db):
    clear(db)
    _relu_dropout_pass(dx.shape, (db, out, dx), (scale,))


@inline
def _vector_relu_dropout_norm_backward(dx, out, x_hat, scale, dgamma, dbeta):
    clear(dgamma)
    clear(dbeta)
    _relu_dropout_norm_pass(dx.shape, (dgamma, dbeta, x_hat, out, dx), (scale,))


@inline
def _vector_slope_backward(dx, slope, db):
    clear(db)
    _slope_pass(dx.shape, (db, slope, dx), ())


@inline
def _vector_slope_norm_backward(dx, slope, x_hat, dgamma, dbeta):
    clear(dgamma)
    clear(dbeta)
    _slope_norm_pass(dx.shape, (dgamma, dbeta, x_hat, slope, dx), ())


@inline
def _vector_batchnorm_gradient(dx, x_hat, dgamma, dbeta, inv_std, gamma, share, db):
    clear(db)
    _batchnorm_gradient_pass(dx.shape, (dgamma, dbeta, inv_std, gamma, db, x_hat, dx), (share,))


# ------------------------------------------------------------------------------------------ the passes' names

_SUPPORTED = vectors_supported()

#: ``moments(mean, var, x, shift)``: see :func:`fastfc.kernels.norm.batch_moments`.
moments = _vector_moments if _SUPPORTED else _plain_moments
#: ``batchnorm_relu(out, x_hat, shift, mean, inv_std, gamma, beta)`` overwrites rows x (N, D) in out with
#: relu(gamma * x_hat + beta), and x_hat (N, D) with ((x - shift) - mean) * inv_std.
batchnorm_relu = _vector_batchnorm_relu if _SUPPORTED else _plain_batchnorm_relu
#: ``relu_dropout_backward(dx, out, scale, db)`` overwrites dx (N, D) with scale * dx where out > 0, else 0, and db (D,)
#: with the sums of its columns.
relu_dropout_backward = _vector_relu_dropout_backward if _SUPPORTED else _plain_relu_dropout_backward
#: ``relu_dropout_norm_backward(dx, out, x_hat, scale, dgamma, dbeta)`` does the same with dx, and overwrites dgamma and
#: dbeta (D,) with the sums of the columns of dx * x_hat and of dx.
relu_dropout_norm_backward = _vector_relu_dropout_norm_backward if _SUPPORTED else _plain_relu_dropout_norm_backward
#: ``slope_backward(dx, slope, db)`` multiplies dx (N, D) by slope, and overwrites db (D,) with the sums of its columns.
slope_backward = _vector_slope_backward if _SUPPORTED else _plain_slope_backward
#: ``slope_norm_backward(dx, slope, x_hat, dgamma, dbeta)`` does the same with dx, and overwrites dgamma and dbeta
#: (D,) with the sums of the columns of dx * x_hat and of dx.
slope_norm_backward = _vector_slope_norm_backward if _SUPPORTED else _plain_slope_norm_backward
#: ``batchnorm_gradient(dx, x_hat, dgamma, dbeta, inv_std, gamma, share, db)``: see
#: :func:`fastfc.kernels.norm.batch_input_gradient`, for rows dx (N, D); overwrites db (D,) with their sums.
batchnorm_gradient = _vector_batchnorm_gradient if _SUPPORTED else _plain_batchnorm_gradient
