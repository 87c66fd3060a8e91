"""Numerical gradients: exactness on polynomials, layouts, restoring, printed lines, bad input."""

import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastfc.gradient_check import (
    eval_numerical_gradient,
    eval_numerical_gradient_array,
    eval_numerical_gradient_blobs,
    eval_numerical_gradient_net,
    grad_check_sparse,
    rel_error,
)

H = 1e-5


def rounding(values, h=H):
    """Bound on a centered difference of a quadratic: no truncation, only the rounding of f over 2h."""
    magnitude = np.sum(np.abs(values)) + 1
    return 8 * np.finfo(np.float64).eps * np.size(values) * magnitude / h


def base(shape=(3, 4)):
    return np.random.default_rng(0).normal(size=shape)


LAYOUTS = {
    "c": lambda: base(),
    "fortran": lambda: np.asfortranarray(base()),
    "transposed": lambda: base((4, 3)).T,
    "strided": lambda: base((6, 8))[::2, ::2],
    "reversed": lambda: base()[::-1, ::-1],
    "big-endian": lambda: base().astype(">f8"),
    "zero-dimensional": lambda: np.array(1.5),
    "3-d": lambda: base((2, 3, 2)),
    "empty": lambda: np.zeros((0, 3)),
}


class FailsAfter:
    """A function that gives sum(x**2) a few times and then raises."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, x, *rest):
        if self.calls == 0:
            raise ArithmeticError("asked to fail")
        self.calls -= 1
        return np.sum(x**2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_of_a_quadratic_on_any_layout(layout):
    x = LAYOUTS[layout]()
    before = x.copy()
    grad = eval_numerical_gradient(lambda x: np.sum(x**2), x, verbose=False)
    assert grad.shape == x.shape
    assert grad.dtype == x.dtype
    np.testing.assert_allclose(grad, 2 * before, rtol=0, atol=rounding(before**2))
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_array_gradient_on_any_layout(layout):
    x = LAYOUTS[layout]()
    before, df = x.copy(), np.arange(x.size, dtype=float).reshape(x.shape)
    grad = eval_numerical_gradient_array(lambda x: x**2, x, df)
    assert grad.shape == x.shape
    assert grad.dtype == x.dtype
    np.testing.assert_allclose(grad, 2 * before * df, rtol=0, atol=rounding(before**2 * df))
    assert x.tobytes() == before.tobytes()


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(max_dims=3, max_side=4),
        elements=st.floats(-100, 100, allow_nan=False),
    )
)
def test_scalar_and_array_gradients_agree(x):
    scalar = eval_numerical_gradient(lambda x: np.sum(x**2), x, verbose=False)
    array = eval_numerical_gradient_array(lambda x: np.sum(x**2), x, 1.0)
    np.testing.assert_array_equal(scalar, array)
    np.testing.assert_allclose(scalar, 2 * x, rtol=0, atol=rounding(x**2))


def test_array_gradient_through_a_matrix_product():
    x, w, df = base((3, 4)), base((4, 2)), base((3, 2))
    np.testing.assert_allclose(
        eval_numerical_gradient_array(lambda w: x @ w, w, df), x.T @ df, rtol=0, atol=rounding(np.abs(x.T) @ np.abs(df))
    )


def test_f_may_return_x_itself_or_reuse_a_buffer():
    x, buffer = base(), np.empty((3, 4))
    for f in (lambda x: x, lambda x: np.multiply(x, 1.0, out=buffer)):
        grad = eval_numerical_gradient_array(f, x, np.ones((3, 4)))
        np.testing.assert_allclose(grad, np.ones((3, 4)), rtol=0, atol=rounding(x))
    point = np.array(2.0)
    np.testing.assert_allclose(eval_numerical_gradient(lambda x: x, point, False), 1, rtol=0, atol=rounding(point))


def test_f_may_return_python_numbers_and_one_element_arrays():
    x = np.array([1.0, 2.0])
    plain = eval_numerical_gradient(lambda x: float(x[0] * x[1]), x, False)
    boxed = eval_numerical_gradient(lambda x: (x[0] * x[1]).reshape(1, 1), x, False)
    np.testing.assert_array_equal(plain, boxed)
    np.testing.assert_allclose(plain, [2.0, 1.0], rtol=0, atol=rounding(x))


def test_f_may_reach_x_through_a_parameter_dictionary():
    params = {"W1": base()}
    grad = eval_numerical_gradient(lambda _: np.sum(params["W1"] ** 2), params["W1"], verbose=False)
    np.testing.assert_allclose(grad, 2 * params["W1"], rtol=0, atol=rounding(params["W1"] ** 2))


def test_f_is_called_once_more_than_twice_per_element():
    calls = []
    eval_numerical_gradient(lambda x: float(len(calls.append(0) or [])), base(), verbose=False)
    assert len(calls) == 1 + 2 * 12


def test_verbose_lines_stand_in_memory_order(capsys):
    x = np.asfortranarray(np.zeros((2, 2)))
    eval_numerical_gradient(lambda x: x[0, 0] + 2 * x[0, 1] + 3 * x[1, 0], x)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:6] for line in lines] == ["(0, 0)", "(1, 0)", "(0, 1)", "(1, 1)"]
    assert [round(float(line[7:]), 6) for line in lines] == [1, 3, 2, 0]
    eval_numerical_gradient(lambda x: x.sum(), x, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("calls", range(4))
def test_x_is_restored_when_f_raises(calls):
    # 0.1 does not come back from (0.1 + h) - h, so only the stored bits will do.
    checks = {
        "scalar": lambda x, f: eval_numerical_gradient(f, x, verbose=False),
        "array": lambda x, f: eval_numerical_gradient_array(f, x, 1.0),
        "sparse": lambda x, f: grad_check_sparse(f, x, np.zeros_like(x)),
    }
    for name, check in checks.items():
        x = np.full((2, 3), 0.1)
        with pytest.raises(ArithmeticError, match="asked to fail"):
            check(x, FailsAfter(calls))
        np.testing.assert_array_equal(x, np.full((2, 3), 0.1), err_msg=name)


def blob(vals):
    return SimpleNamespace(vals=vals, diffs=np.zeros_like(vals))


def affine_blobs():
    x, w, out = blob(base((3, 4))), blob(np.asfortranarray(base((4, 2)))), blob(np.zeros((3, 2)))
    out.diffs = base((3, 2))
    return x, w, out


@pytest.mark.parametrize("container", [tuple, list])
def test_blobs(container):
    x, w, out = affine_blobs()

    def forward(x, w, out):
        out.vals[...] = x.vals @ w.vals

    dx, dw = eval_numerical_gradient_blobs(forward, container([x, w]), out)
    limit = rounding(np.abs(x.vals) @ np.abs(w.vals))
    np.testing.assert_allclose(dx, out.diffs @ w.vals.T, rtol=0, atol=limit)
    np.testing.assert_allclose(dw, x.vals.T @ out.diffs, rtol=0, atol=limit)
    np.testing.assert_array_equal(x.vals, base((3, 4)))


def test_net_equals_blobs():
    x, w, out = affine_blobs()

    def forward(*blobs):
        out.vals = x.vals @ w.vals

    from_net = eval_numerical_gradient_net(SimpleNamespace(forward=forward), (x, w), out, h=1e-4)
    from_blobs = eval_numerical_gradient_blobs(forward, (x, w), out, h=1e-4)
    for one, other in zip(from_net, from_blobs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [grad.shape for grad in from_net] == [(3, 4), (4, 2)]


def test_blobs_are_restored_when_f_raises():
    x, w, out = affine_blobs()
    with pytest.raises(ArithmeticError):
        eval_numerical_gradient_blobs(lambda x, w, out: FailsAfter(0)(x), (x, w), out)
    np.testing.assert_array_equal(x.vals, base((3, 4)))


def test_blob_shapes_are_checked():
    x, w, out = affine_blobs()
    w.diffs = np.zeros(3)
    with pytest.raises(ValueError, match=r"inputs\[1\]\.diffs has shape \(3,\).*\(4, 2\)"):
        eval_numerical_gradient_blobs(lambda *blobs: None, (x, w), out)
    out.diffs = np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"output\.diffs has shape \(3, 1\).*\(3, 2\)"):
        eval_numerical_gradient_blobs(lambda *blobs: None, (x,), out)


LINE = re.compile(r"numerical: (-?\d+\.\d{6}) analytic: (-?\d+\.\d{6}), relative error: (\d\.\d{6}e[+-]\d{2})")


def test_sparse_check_prints_one_line_per_check(capsys):
    x = base()
    before = x.copy()
    assert grad_check_sparse(lambda x: np.sum(x**2), x, 2 * x, num_checks=7) is None
    lines = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 7
    assert all(lines)
    # Six printed digits each, rounded on their own.
    assert all(abs(float(line[1]) - float(line[2])) < 2e-6 for line in lines)
    np.testing.assert_array_equal(x, before)


def test_sparse_check_draws_indices_as_the_course_does(capsys):
    x, marks = np.zeros((5, 7)), np.arange(1.0, 36.0).reshape(5, 7)
    random.seed(3)
    expected = [f"{marks[random.randrange(5), random.randrange(7)]:f}" for _ in range(10)]
    random.seed(3)
    grad_check_sparse(lambda x: np.sum(x), x, marks)
    assert [LINE.fullmatch(line)[2] for line in capsys.readouterr().out.splitlines()] == expected


@pytest.mark.parametrize(
    ("slope", "analytic", "line"),
    [
        (3.0, 4.0, "numerical: 3.000000 analytic: 4.000000, relative error: 1.428571e-01"),
        (0.0, 0.0, "numerical: 0.000000 analytic: 0.000000, relative error: 0.000000e+00"),
        (0.0, np.nan, "numerical: 0.000000 analytic: nan, relative error: nan"),
        (0.0, np.inf, "numerical: 0.000000 analytic: inf, relative error: nan"),
    ],
)
def test_sparse_check_lines(capsys, slope, analytic, line):
    grad_check_sparse(lambda x: slope * x, np.array(0.0), analytic, num_checks=1)
    assert capsys.readouterr().out == line + "\n"


def test_sparse_check_bad_input():
    with pytest.raises(ValueError, match=r"analytic_grad has shape \(4, 3\), but x has shape \(3, 4\)"):
        grad_check_sparse(np.sum, base(), base().T)
    with pytest.raises(ValueError, match=r"x has no elements.*\(0, 3\)"):
        grad_check_sparse(np.sum, np.zeros((0, 3)), np.zeros((0, 3)))


CHECKS = {
    "scalar": lambda x, h: eval_numerical_gradient(np.sum, x, verbose=False, h=h),
    "array": lambda x, h: eval_numerical_gradient_array(np.sum, x, 1.0, h=h),
    "blobs": lambda x, h: eval_numerical_gradient_blobs(
        lambda *blobs: None, (SimpleNamespace(vals=x, diffs=x),), blob(np.zeros(1)), h=h
    ),
    "sparse": lambda x, h: grad_check_sparse(np.sum, x, x, h=h),
}


@pytest.mark.parametrize("check", CHECKS)
def test_bad_points_and_steps(check):
    call = CHECKS[check]
    for dtype in (np.int64, np.bool_, np.complex128, object):
        with pytest.raises(TypeError, match=rf"(^|\.)(x|vals) must hold floating-point.*{np.dtype(dtype)}"):
            call(np.ones(3, dtype=dtype), H)
    with pytest.raises(TypeError, match=r"must be a NumPy array.*list"):
        call([1.0], H)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        call(frozen, H)
    for h in (0.0, -1e-5, np.nan, np.inf):
        with pytest.raises(ValueError, match="h must be a positive finite number"):
            call(np.ones(3), h)


def test_bad_results_of_f():
    x = base()
    with pytest.raises(ValueError, match=r"one number, got an array of shape \(3, 4\)"):
        eval_numerical_gradient(lambda x: x, x)
    for check in (eval_numerical_gradient, lambda f, x: eval_numerical_gradient_array(f, x, x)):
        with pytest.raises(TypeError, match="got a tuple of 2"):
            check(lambda x: (x, None), x)
    with pytest.raises(ValueError, match=r"df has shape \(4,\), but f\(x\) has shape \(3, 4\)"):
        eval_numerical_gradient_array(lambda x: x, x, np.ones(4))
    np.testing.assert_array_equal(x, base())


def test_rel_error():
    assert rel_error([1.0, 2.0], [1.0, 2.5]) == 0.5 / 4.5
    assert rel_error(base(), base()) == 0.0
    assert rel_error(0.0, 0.0) == 0.0
    assert rel_error(1e-9, 0.0) == pytest.approx(0.1)
    assert rel_error(np.uint8([1]), np.uint8([3])) == 0.5
    assert rel_error(np.float16([0]), np.float16([0])) == 0.0
    assert np.isnan(rel_error([1.0, np.nan], [1.0, 1.0]))
    assert isinstance(rel_error(np.float32(1), 2), float)


def test_rel_error_bad_input():
    with pytest.raises(TypeError, match="complex128"):
        rel_error(1j, 1.0)
    with pytest.raises(ValueError, match="broadcast"):
        rel_error(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="zero-size"):
        rel_error([], [])
