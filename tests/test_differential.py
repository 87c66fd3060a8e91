"""Every operation x memory layout x dtype x kind of values: both twins against an oracle of more digits.

The oracle is the reference's formula, evaluated in float64 for float32 and in longdouble for
float64, on the very same values. ``python tests/test_differential.py`` prints the largest
error of each operation in ulp: units in the last place of the result's magnitude, which is
the formula evaluated with absolute values (see fastfc/cases.py).
"""

import copy
import importlib
import itertools

import numpy as np
import pytest
from layouts import LAYOUTS, arrays_in, mapped
from strains import FINITE, NOT_FINITE, values_that_strain

import fastfc
from fastfc import cases, tolerance
from fastfc.backend import BACKENDS, OPS
from fastfc.cases import Sizes

WIDER = {"float32": np.float64, "float64": np.longdouble}
DTYPES = [
    "float32",
    pytest.param(
        "float64",
        marks=pytest.mark.skipif(
            np.finfo(np.longdouble).eps >= np.finfo(float).eps, reason="longdouble has no more digits here"
        ),
    ),
]
SIZES = Sizes(13, 9, inputs=5)
# Changes its second argument by design, which must therefore be a plain array.
IN_PLACE = "l2_penalty"


def public(name):
    """The function that users call."""
    return getattr(importlib.import_module(f"fastfc.{OPS[name].public_module}"), name)


def build(name, dtype, kind, layout):
    """A case, and its arguments as they are laid out in memory."""
    strain = values_that_strain(kind) if kind != "normal" else cases.normal
    repeated = layout == "zero strides"

    def sample(rng, what, shape):
        values = strain(rng, what, shape)
        # Only equal rows can lie in one place.
        return np.repeat(values[:1], len(values), axis=0) if repeated else values

    case = cases.build(name, SIZES, dtype, sample=sample)

    def change(array):
        if repeated and not np.array_equal(array, np.broadcast_to(array[:1], array.shape), equal_nan=True):
            return array.copy()
        return LAYOUTS[layout](array)

    args = mapped(case.args, change)
    return case, (args[0], case.args[1].copy(), *args[2:]) if name == IN_PLACE else args


def oracle(case):
    """The exact results, as good as the wider dtype has them."""
    wider = WIDER[str(floats_of(case)[0].dtype)]
    args = mapped(copy.deepcopy(case.args), lambda array: array.astype(wider) if array.dtype.kind == "f" else array)
    with np.errstate(all="ignore"):
        return case.results(OPS[case.name].twin("reference")(*args), args)


def floats_of(case):
    return [array for array in arrays_in(case.args) if array.dtype.kind == "f"]


def errors(case, got, exact):
    """By result: deviations in ulp of the magnitude, and which elements the oracle says nothing about."""
    for result, truth, magnitude in zip(got, exact, case.magnitudes, strict=True):
        limits = np.finfo(result.dtype)
        with np.errstate(all="ignore"):
            size = np.broadcast_to(np.asarray(magnitude, np.longdouble), np.shape(truth))
            size = size + case.gain * limits.tiny
            deviation = np.abs(np.asarray(result, np.longdouble) - truth) / (size * limits.eps)
            # Something on the way may overflow, or does in the oracle too: judged by finiteness below.
            silent = ~np.isfinite(truth) | ~np.isfinite(size) | (size > np.sqrt(limits.max))
        yield np.where(silent, 0, deviation), silent


def largest_ulp(case, got, exact):
    """The largest error in ulp; NaN counts as infinite."""
    worst = [np.max(np.nan_to_num(ulps, nan=np.inf), initial=0) for ulps, _ in errors(case, got, exact)]
    return float(max(worst))


def allowed_ulp(case, dtype):
    """One evaluation is off by half of what two may differ by."""
    return tolerance(dtype, case.terms) / 2 / np.finfo(dtype).eps


def run(case, args, backend):
    with fastfc.use_backend(backend), np.errstate(all="ignore"):
        return case.results(public(case.name)(*args), args)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_within_the_bound_of_the_oracle(name, dtype, layout):
    for kind in ("normal", *FINITE):
        exact = None
        for backend in BACKENDS:
            case, args = build(name, dtype, kind, layout)
            exact = oracle(case) if exact is None else exact
            got = run(case, args, backend)
            assert [np.asarray(result).dtype for result in got] == [dtype] * len(got)
            ulp = largest_ulp(case, got, exact)
            assert ulp <= allowed_ulp(case, dtype), f"{backend}, {kind}: {ulp:.1f} ulp"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_nothing_that_is_not_finite_is_lost(name, dtype, layout):
    """Where the oracle has NaN or infinity, both twins have one of them; elsewhere they are as exact as ever."""
    for kind in NOT_FINITE:
        case, _ = build(name, dtype, kind, layout)
        exact = oracle(case)
        for backend in BACKENDS:
            case, args = build(name, dtype, kind, layout)
            got = run(case, args, backend)
            for result, truth in zip(got, exact, strict=True):
                np.testing.assert_array_equal(np.isfinite(result), np.isfinite(truth), err_msg=f"{backend}, {kind}")
            assert largest_ulp(case, got, exact) <= allowed_ulp(case, dtype), (backend, kind)


def print_largest_errors():
    """A line per operation and dtype: the kernel's and the reference's largest error, and the bound."""
    print(f"{'operation':<42} {'dtype':<8} {'kernel':>8} {'reference':>9} {'bound':>7}  ulp of the magnitude")
    for name, dtype in itertools.product(OPS, WIDER):
        worst = dict.fromkeys(("fast", "reference"), 0.0)
        for kind in ("normal", *FINITE):
            case, args = build(name, dtype, kind, "contiguous")
            exact = oracle(case)
            for backend in worst:
                ulp = largest_ulp(case, run(case, copy.deepcopy(args), backend), exact)
                worst[backend] = max(worst[backend], ulp)
        print(
            f"{name:<42} {dtype:<8} {worst['fast']:>8.2f} {worst['reference']:>9.2f} {allowed_ulp(case, dtype):>7.1f}"
        )


if __name__ == "__main__":
    print_largest_errors()
