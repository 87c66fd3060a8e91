"""Passes over the rows of a training step, before and after its matrix products."""

from llvmlite import ir

from fastfc.kernels.activation import relu_backward_in_place
from fastfc.kernels.affine import column_sums as _plain_column_sums
from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.dropout import apply_mask
from fastfc.kernels.lowering.math import add, clear, rectify, sum_of
from fastfc.kernels.lowering.vectors import vectors_supported
from fastfc.kernels.lowering.views import flat
from fastfc.kernels.norm import (
    add_parameter_gradients,
    batch_input_gradient,
    batch_moments,
    scale_and_shift,
    standardize_by_columns,
)
from fastfc.training.columns import Pass, by_columns

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
    _plain_column_sums(db, dx)


@inline
def _plain_single_relu_dropout_backward(dx, out, dout, w, scale, db, dw):
    clear(dw)
    for i in range(dx.shape[0]):
        for j in range(w.size):
            dw[j] += dout[i] * out[i, j]
            dx[i, j] = dout[i] * w[j]
    _plain_relu_dropout_backward(dx, out, scale, db)


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
    _plain_column_sums(db, dx)


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


def _sum_body(on, columns, sums, values, scalars):
    (shift,), (total,), (x,) = columns, sums, values
    return [on.add(total, on.subtract(x, shift))], []


def _column_sums_body(on, columns, sums, values, scalars):
    (total,), (x,) = sums, values
    return [on.add(total, x)], []


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


def _single_relu_dropout_body(on, columns, sums, values, scalars):
    (w,), (db, dw), (factor, out, _) = columns, sums, values
    (db,), (dx,) = _relu_dropout_body(on, columns, [db], [out, on.multiply(factor, w)], scalars)
    return [db, on.add(dw, on.multiply(factor, out))], [dx]


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


_sum_pass = by_columns(Pass("sum", _sum_body, 1, 1, 1))
_column_sums_pass = by_columns(Pass("column_sums", _column_sums_body, 0, 1, 1))
_squares_pass = by_columns(Pass("squares", _squares_body, 2, 1, 1))
_batchnorm_relu_pass = by_columns(Pass("batchnorm_relu", _batchnorm_relu_body, 5, 0, 2))
_relu_dropout_pass = by_columns(Pass("relu_dropout", _relu_dropout_body, 0, 1, 2))
_single_relu_dropout_pass = by_columns(Pass("single_relu_dropout", _single_relu_dropout_body, 1, 2, 2, 1))
_relu_dropout_norm_pass = by_columns(Pass("relu_dropout_norm", _relu_dropout_norm_body, 0, 2, 3))
_slope_pass = by_columns(Pass("slope", _slope_body, 0, 1, 2))
_slope_norm_pass = by_columns(Pass("slope_norm", _slope_norm_body, 0, 2, 3))
_batchnorm_gradient_pass = by_columns(Pass("batchnorm_gradient", _batchnorm_gradient_body, 4, 1, 2))


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
def _vector_column_sums(total, x):
    if total.size == 1:
        # Its values fill vectors.
        total[0] = sum_of(flat(x))
    else:
        clear(total)
        _column_sums_pass(x.shape, (total, x), ())


@inline
def _vector_batchnorm_relu(out, x_hat, shift, mean, inv_std, gamma, beta):
    _batchnorm_relu_pass(out.shape, (shift, mean, inv_std, gamma, beta, x_hat, out), ())


@inline
def _vector_relu_dropout_backward(dx, out, scale, db):
    clear(db)
    _relu_dropout_pass(dx.shape, (db, out, dx), (scale,))


@inline
def _vector_single_relu_dropout_backward(dx, out, dout, w, scale, db, dw):
    clear(db)
    clear(dw)
    _single_relu_dropout_pass(dx.shape, (w, db, dw, dout, out, dx), (scale,))


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
#: ``column_sums(total, x)``: see :func:`fastfc.kernels.affine.column_sums`.
column_sums = _vector_column_sums if _SUPPORTED else _plain_column_sums
#: ``batchnorm_relu(out, x_hat, shift, mean, inv_std, gamma, beta)`` overwrites rows x (N, D) in out with
#: relu(gamma * x_hat + beta), and x_hat (N, D) with ((x - shift) - mean) * inv_std.
batchnorm_relu = _vector_batchnorm_relu if _SUPPORTED else _plain_batchnorm_relu
#: ``relu_dropout_backward(dx, out, scale, db)`` overwrites dx (N, D) with scale * dx where out > 0, else 0, and db (D,)
#: with the sums of its columns.
relu_dropout_backward = _vector_relu_dropout_backward if _SUPPORTED else _plain_relu_dropout_backward
#: ``single_relu_dropout_backward(dx, out, dout, w, scale, db, dw)`` does the same for the layer before a single unit
#: with weights w (D,) and gradient dout (N,), which makes dx = dout * w first; dw (D,) becomes the weights' gradient.
single_relu_dropout_backward = (
    _vector_single_relu_dropout_backward if _SUPPORTED else _plain_single_relu_dropout_backward
)
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
