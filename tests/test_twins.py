"""Every operation's kernel against its reference."""

import copy
import importlib
import inspect

import numpy as np
import pytest
from strains import FINITE, values_that_strain

from fastfc import cases
from fastfc.backend import BACKENDS, OPS
from fastfc.cases import Sizes
from fastfc.ops.activations import ACTIVATIONS, SLOPED

JIT = not importlib.import_module("numba").config.DISABLE_JIT

# Rows: one, two, around a vector's width, a prime. Columns: around the widths of float32 and float64 vectors.
ROWS = [1, 2, 31, 32, 33, 53]
COLUMNS = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33] if JIT else [1, 7, 16, 17]
DTYPES = ["float32", "float64"]
# Of one array as its backward pass's result.
ELEMENTWISE = [*(f"{name}_forward" for name in ACTIVATIONS), "dropout_forward"]
FORWARD = [name for name in OPS if name.endswith("_forward") and name not in ELEMENTWISE]


def assert_twins_agree(case):
    assert cases.largest_error(case.run("fast"), case.run("reference"), case) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_awkward_sizes(name, dtype):
    for n in ROWS:
        for d in COLUMNS:
            assert_twins_agree(cases.build(name, Sizes(n, d, inputs=d % 5 + 1), dtype, seed=n + d))


def test_every_operation_has_a_case():
    assert set(cases.BUILDERS) == set(OPS)


@pytest.mark.parametrize("name", OPS)
def test_twins_have_one_signature(name):
    operation = OPS[name]
    reference, kernel = operation.twin("reference"), operation.twin("fast")
    assert inspect.signature(reference) == inspect.signature(kernel)
    assert reference.__name__ == kernel.__name__ == name
    assert reference.__module__.removeprefix("fastfc.reference") == kernel.__module__.removeprefix("fastfc.kernels")


@pytest.mark.parametrize("kind", FINITE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_finite_special_values(name, dtype, kind):
    assert_twins_agree(cases.build(name, Sizes(33, 17), dtype, sample=values_that_strain(kind)))


@pytest.mark.parametrize("kind", ["nan", "inf", "minus inf"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_what_is_not_finite_shows_in_both(name, dtype, kind):
    """NaN and infinity must not be lost: where the reference's result is not finite, the kernel's is not either."""
    case = cases.build(name, Sizes(33, 17), dtype, sample=values_that_strain(kind))
    for got, expected in zip(case.run("fast"), case.run("reference"), strict=True):
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
        np.testing.assert_array_equal(np.isnan(got) | np.isinf(got), np.isnan(expected) | np.isinf(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forward", FORWARD)
def test_caches_are_interchangeable(forward, dtype):
    """A forward pass of one backend, a backward pass of the other."""
    forward_case = cases.build(forward, Sizes(32, 9), dtype)
    backward = forward.replace("forward", "backward")
    backward_case = cases.build(backward, Sizes(32, 9), dtype)
    dout = backward_case.args[0]
    expected = backward_case.run("reference")
    for first, second in [("reference", "fast"), ("fast", "reference"), ("fast", "fast")]:
        _, cache = OPS[forward].twin(first)(*copy.deepcopy(forward_case.args))
        got = list(OPS[backward].twin(second)(dout, cache))
        # The cache itself may differ by the forward pass's rounding, which the backward pass carries on.
        tripled = cases.Case(backward, (), None, backward_case.magnitudes, 3 * forward_case.terms + backward_case.terms)
        assert cases.largest_error(got, expected, tripled) <= 1, (first, second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SLOPED)
def test_slopes_are_interchangeable(name, dtype):
    """A cache of one backend within tolerance of the other's, and a product of it the same for both."""
    case = cases.build(f"{name}_forward", Sizes(32, 9), dtype)
    dout = cases.build("relu_backward", Sizes(32, 9), dtype).args[0]
    assert_twins_agree(case)
    for first in BACKENDS:
        _, cache = OPS[f"{name}_forward"].twin(first)(*copy.deepcopy(case.args))
        results = [OPS[f"{name}_backward"].twin(second)(dout, cache) for second in BACKENDS]
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ["relu", "dropout"])
def test_elementwise_caches_are_interchangeable(name):
    case = cases.build(f"{name}_forward", Sizes(32, 9), "float32")
    dout = cases.build("relu_backward", Sizes(32, 9), "float32").args[0]
    results = []
    for first in BACKENDS:
        for second in BACKENDS:
            _, cache = OPS[f"{name}_forward"].twin(first)(*copy.deepcopy(case.args))
            results.append(OPS[f"{name}_backward"].twin(second)(dout, cache))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batchnorm_modes(mode, dtype):
    """Test mode uses the running statistics, leaves them, and has a backward pass of its own."""
    case = cases.build("batchnorm_forward", Sizes(33, 17), dtype)
    x, gamma, beta, param = case.args
    dout = cases.build("relu_backward", Sizes(33, 17), dtype).args[0]
    results = {}
    for name in BACKENDS:
        own = {**copy.deepcopy(param), "mode": mode}
        out, cache = OPS["batchnorm_forward"].twin(name)(x, gamma, beta, own)
        gradients = [OPS[f"batchnorm_backward{alt}"].twin(name)(dout, cache) for alt in ("", "_alt")]
        results[name] = [out, own["running_mean"], own["running_var"], *gradients[0], *gradients[1]]
        if mode == "test":
            np.testing.assert_array_equal(own["running_mean"], param["running_mean"])
            np.testing.assert_array_equal(own["running_var"], param["running_var"])
    expected = results["reference"]
    magnitudes = [np.max(np.abs(array), initial=1) * 10 for array in expected]
    either = cases.Case("batchnorm", (), None, magnitudes, 100)
    assert cases.largest_error(results["fast"], expected, either) <= 1


IN_PLACE = [name for name, operation in OPS.items() if operation.module == "optim"] + ["l2_penalty"]


@pytest.mark.parametrize("name", [name for name in OPS if name not in IN_PLACE])
def test_arguments_are_unchanged(name, backend):
    case = cases.build(name, Sizes(31, 9), "float32")
    args = copy.deepcopy(case.args)
    OPS[name].twin(backend)(*args)
    before, after = list(leaves(case.args)), list(leaves(args))
    assert len(before) > 0
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def leaves(value):
    """The arrays in nested tuples."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from leaves(part)


@pytest.mark.skipif(not JIT, reason="needs the compiler")
@pytest.mark.parametrize("name", OPS)
def test_second_call_compiles_nothing(name):
    module = importlib.import_module(f"fastfc.kernels.{OPS[name].module}")
    dispatchers = [value for value in vars(module).values() if hasattr(value, "signatures")]
    assert dispatchers
    cases.build(name, Sizes(5, 3), "float32").run("fast")
    before = [list(dispatcher.signatures) for dispatcher in dispatchers]
    cases.build(name, Sizes(64, 32), "float32").run("fast")
    assert [list(dispatcher.signatures) for dispatcher in dispatchers] == before
