"""Arguments that the layers and the fused blocks accept, refuse, and leave unchanged."""

import copy
import importlib
import inspect
import itertools
import re
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import LAYOUTS, arrays_in, arrays_unchanged, mapped, read_only

import fastfc
from fastfc import cases, layers
from fastfc.backend import BACKENDS, OPS
from fastfc.cases import Sizes
from fastfc.ops import losses

JIT = not importlib.import_module("numba").config.DISABLE_JIT

NAMES = [name for name, operation in OPS.items() if operation.module != "optim"]
FORWARD = [name for name in NAMES if name.endswith("_forward")]
BACKWARD = [name for name in NAMES if "_backward" in name]
# Of labels, and of targets like the scores.
LOSSES = [f"{loss.name}_loss" for loss in losses.LOSSES.values() if loss.labels]
TARGET_LOSSES = [f"{loss.name}_loss" for loss in losses.LOSSES.values() if not loss.labels]
# Of any shape; and those whose cache is a single array.
ELEMENTWISE = [name for name in NAMES if OPS[name].module in ("activation", "dropout")]
CACHE_IS_ARRAY = [name for name in NAMES if OPS[name].module == "activation"]
# Targets of 0 to 1 only.
SHARES = ["logistic_loss"]
BATCHNORM = [name for name in FORWARD if "batchnorm" in name]
LAYERNORM = [name for name in FORWARD if "layernorm" in name]
NORM_BACKWARD = [name for name in BACKWARD if "norm" in name]
DROPOUT = [name for name in FORWARD if "dropout" in name]
# Changes its second argument by design, which must therefore be a plain array of the first one's dtype.
IN_PLACE = "l2_penalty"
OTHERS = [name for name in NAMES if name != IN_PLACE]

# All different, so that no wrong shape is right by accident.
SIZES = Sizes(5, 3, inputs=7)

NO_MODES = ["Train", "eval", "", None, 1, True, ("train",), np.array(["train", "test"])]
NO_NUMBERS = ["0.5", None, 0.5j, True, [0.5], np.array([0.5]), np.array("0.5")]


def public(name):
    return getattr(importlib.import_module(f"fastfc.{OPS[name].public_module}"), name)


def plain_args(name):
    """Arguments that a function accepts, to be changed one at a time."""
    return list(mapped(cases.build(name, SIZES, "float32").args, np.copy))


def parameters_of(name):
    return list(inspect.signature(public(name)).parameters)


def args_with(name, what, **changes):
    """:func:`plain_args` with changed entries in the dictionary `what`, such as ``bn_param``."""
    args = plain_args(name)
    args[parameters_of(name).index(what)].update(changes)
    return args


def run(case, args):
    """The public function's results on `args`, which a batch normalization changes."""
    return case.results(public(case.name)(*args), args)


def arguments(case, change):
    """The case's arguments with every array changed that a function does not work on in place."""
    args = mapped(case.args, change)
    return (args[0], case.args[1].copy(), *args[2:]) if case.name == IN_PLACE else args


def with_array(value, position, change):
    """`value` with `change` applied to one of ``arrays_in(value)``."""
    count = itertools.count()
    return mapped(value, lambda array: change(array) if next(count) == position else array)


def plain(array):
    return np.array(array, order="C", dtype=array.dtype.newbyteorder("="), subok=False)


def floats_to(dtype):
    return lambda array: array.astype(dtype) if array.dtype.kind == "f" else array


@contextmanager
def nothing_changed(value):
    """Neither arrays nor dictionaries nor the random stream."""
    dictionaries = [(part, dict(part)) for part in value if isinstance(part, dict)]
    stream = np.random.get_state()
    with arrays_unchanged(value):
        yield
    for part, before in dictionaries:
        assert part.keys() == before.keys()
        assert all(part[key] is before[key] for key in before)
    np.testing.assert_equal(np.random.get_state(), stream)


def refused(name, args, error, match):
    """The message of the error that the function raises without changing anything."""
    with nothing_changed(args), pytest.raises(error, match=match) as raised:
        public(name)(*args)
    return str(raised.value)


def assert_equal(got, expected):
    assert len(got) == len(expected) > 0
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_layouts(name, layout, backend):
    case = cases.build(name, SIZES, "float32")
    args = arguments(case, LAYOUTS[layout])
    expected = run(case, mapped(args, plain))
    untouched = (args[0], *args[2:]) if name == IN_PLACE else args
    with arrays_unchanged(untouched):
        got = run(case, args)
    assert_equal(got, expected)


@pytest.mark.parametrize("name", NAMES)
def test_nested_lists(name, backend):
    case = cases.build(name, SIZES, "float64")
    got = run(case, arguments(case, np.ndarray.tolist))
    assert_equal(got, run(case, arguments(case, np.copy)))


@pytest.mark.parametrize("name", OTHERS)
def test_results_share_no_memory_with_arguments(name, backend):
    case = cases.build(name, SIZES, "float32")
    args = mapped(case.args, np.copy)
    inputs = arrays_in(args)
    result = public(name)(*args)
    # Behind a forward pass's output comes its cache, which keeps the arguments.
    gradients = result if isinstance(result, tuple) else (result,)
    for output, argument in itertools.product(gradients if name in BACKWARD else result[:1], inputs):
        assert not np.shares_memory(output, argument)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3, 4), (1, 0, 2)])
def test_any_shape_where_elements_are_independent(shape, backend):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    out, cache = layers.relu_forward(x)
    np.testing.assert_array_equal(out, np.where(x > 0, x, 0))
    np.testing.assert_array_equal(layers.relu_backward(x, cache), np.where(x > 0, x, 0))
    out, cache = layers.dropout_forward(x, {"mode": "train", "p": 0.5, "seed": 1})
    mask = (np.random.RandomState(1).random_sample(shape) < 0.5) * 2.0
    np.testing.assert_array_equal(out, x * mask)
    np.testing.assert_array_equal(layers.dropout_backward(x, cache), x * mask)
    assert out.shape == shape
    assert out.dtype == np.float32


@pytest.mark.parametrize("value", [3, 3.0, -2.5, True, np.float64(0.5), np.float32(-1), np.array(2.0)])
def test_scalars_where_elements_are_independent(value, backend):
    out, cache = layers.relu_forward(value)
    assert out.shape == ()
    assert out == max(value, 0)
    assert layers.relu_backward(1.0, cache) == (value > 0)
    assert layers.dropout_forward(value, {"mode": "test"})[0] == value


@pytest.mark.parametrize("shape", [(5, 7), (5, 1, 7), (5, 7, 1), (5, 7, 1, 1)])
@pytest.mark.parametrize("name", ["affine", "affine_relu"])
def test_examples_of_many_axes(name, shape, backend):
    """Affine layers see an example of any shape as a row of features."""
    case = cases.build(f"{name}_forward", SIZES, "float32")
    x, w, b = case.args
    dout = np.ones((5, 3), "float32")
    flat_out, flat_cache = public(f"{name}_forward")(x, w, b)
    out, cache = public(f"{name}_forward")(x.reshape(shape), w, b)
    np.testing.assert_array_equal(out, flat_out)
    expected = public(f"{name}_backward")(dout, flat_cache)
    dx, dw, db = public(f"{name}_backward")(dout, cache)
    assert dx.shape == shape
    assert_equal([dx.reshape(x.shape), dw, db], expected)


# ----------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_float_dtypes_stay(name, dtype, backend):
    case = cases.build(name, SIZES, dtype)
    results = run(case, arguments(case, np.copy))
    assert [result.dtype for result in results] == [dtype] * len(case.magnitudes)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", OTHERS)
def test_float16_is_computed_in_float32(name, order, backend):
    case = cases.build(name, SIZES, "float32")
    half = np.dtype("float16").newbyteorder(order)
    expected = run(case, mapped(mapped(case.args, floats_to("float16")), floats_to("float32")))
    got = run(case, mapped(case.args, floats_to(half)))
    # The rest of a forward pass's results are running statistics.
    count = 1 if name in FORWARD else len(got)
    assert_equal(got[:count], [result.astype("float16") for result in expected[:count]])


@pytest.mark.parametrize("name", BACKWARD)
def test_float16_gradients_meet_the_float32_cache_of_a_float16_forward_pass(name, backend):
    case = cases.build(name, SIZES, "float32")
    dout, cache = case.args
    expected = run(case, (dout.astype("float16").astype("float32"), cache))
    got = run(case, (dout.astype("float16"), cache))
    assert_equal(got, [result.astype("float16") for result in expected])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint32", "int64", ">i4"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SHARES])
def test_integers_and_booleans_become_float64(name, dtype, backend):
    case = cases.build(name, SIZES, "float64")
    whole = arguments(case, lambda array: np.rint(3 * abs(array)).astype(dtype) if array.dtype.kind == "f" else array)
    expected = run(case, floats_where(case, whole))
    with arrays_unchanged((whole[0], *whole[2:]) if name == IN_PLACE else whole):
        got = run(case, whole)
    assert_equal(got, expected)


def floats_where(case, args):
    """`args` in float64 where the case has floats: labels stay integers."""
    kinds = iter([array.dtype.kind for array in arrays_in(case.args)])
    return mapped(args, lambda array: array.astype("float64") if next(kinds) == "f" else array)


@pytest.mark.parametrize(
    ("dtype", "common"),
    [("bool", "float32"), ("int8", "float32"), ("float16", "float32"), ("int32", "float64"), ("int64", "float64")],
)
def test_other_dtypes_beside_float32_become_what_numpy_makes_of_them(dtype, common, backend):
    case = cases.build("affine_forward", SIZES, "float32")
    x, w, b = case.args
    x = np.rint(abs(x)).astype(dtype)
    assert np.result_type(dtype, "float32") == common
    assert_equal(run(case, (x, w, b)), run(case, tuple(array.astype(common) for array in (x, w, b))))


@pytest.mark.parametrize("name", [name for name in OTHERS if name not in LOSSES])
def test_one_float64_argument_makes_all_float64(name, backend):
    case = cases.build(name, SIZES, "float32")
    # Arrays in a dictionary, the running statistics, follow the others.
    direct = tuple(part for part in case.args if not isinstance(part, dict))
    rest = case.args[len(direct) :]
    expected = run(case, (*mapped(direct, floats_to("float64")), *mapped(rest, floats_to("float64"))))
    for position in range(len(arrays_in(direct))):
        args = (*with_array(direct, position, floats_to("float64")), *mapped(rest, np.copy))
        assert_equal(run(case, args), expected)


NO_REAL_NUMBERS = [
    np.ones((2, 2), complex),
    np.array([[1.0, 2.0]], object),
    np.array(["1.0"]),
    np.array([b"1.0"]),
    np.array(["2015-01-01"], "datetime64[D]"),
    np.zeros(2, [("a", "f4")]),
    {},
    "1.0",
]


def array_parameters(name):
    """Names and positions of a function's own array arguments."""
    args = plain_args(name)
    return [(what, i) for i, what in enumerate(parameters_of(name)[: len(args)]) if isinstance(args[i], np.ndarray)]


ARRAY_PARAMETERS = [(name, what, i) for name in NAMES for what, i in array_parameters(name)]


@pytest.mark.parametrize(("name", "what", "position"), ARRAY_PARAMETERS)
def test_what_holds_no_real_numbers_is_refused_by_name(name, what, position, backend):
    args = plain_args(name)
    # Weights may be left out.
    for value in (*NO_REAL_NUMBERS, *([] if what == "weights" else [None])):
        args[position] = value
        refused(name, args, TypeError, rf"^{what}: expected")


@pytest.mark.parametrize("name", NAMES)
def test_ragged_lists_are_refused_by_name(name, backend):
    for what, position in array_parameters(name):
        args = plain_args(name)
        args[position] = [[1.0, 2.0], [3.0]]
        refused(name, args, (TypeError, ValueError), rf"^{what}: expected")


@pytest.mark.parametrize("key", ["running_mean", "running_var"])
@pytest.mark.parametrize("name", BATCHNORM)
def test_running_statistics_without_real_numbers_are_refused_by_name(name, key, backend):
    for value in NO_REAL_NUMBERS:
        refused(name, args_with(name, "bn_param", **{key: value}), TypeError, rf"^bn_param\['{key}'\]: expected")


# ----------------------------------------------------------------------------------------------- shapes


def wrong_shapes(name, what, shape):
    if what in ("b", "gamma", "beta", "y", "weights"):
        (n,) = shape
        return [(), (n + 1,), (n - 1,), (0,), (1, n), (n, 1)]
    n, d = shape
    if what == "x":
        # Any number of rows will do, and affine layers take any axes behind it.
        if name in LOSSES + TARGET_LOSSES:
            return [(), (n,), (n, d, 1)]
        return [(), (n,), (n, d + 1), (n, d - 1), (n, 0), *([] if "affine" in name else [(n, d, 1)])]
    return [(), (n * d,), (n + 1, d), (n - 1, d), (n, d + 1), (n, d - 1), (d, n), (n, d, 1), (0, d), (n, 0)]


def assert_names_two_shapes(message, shape):
    # A row of another length may show in what must fit it, as one axis.
    assert str(shape) in message or str(shape[1:]) in message
    assert len(re.findall(r"\([^()]*\)", message)) >= 2


@pytest.mark.parametrize(
    ("name", "what", "position"),
    [row for row in ARRAY_PARAMETERS if row[0] not in ELEMENTWISE or row[0].endswith("backward")],
)
def test_wrong_shapes(name, what, position, backend):
    args = plain_args(name)
    right = args[position]
    for wrong in wrong_shapes(name, what, right.shape):
        args[position] = np.ones(wrong, right.dtype)
        assert_names_two_shapes(refused(name, args, ValueError, "expected shape"), wrong)


@pytest.mark.parametrize("key", ["running_mean", "running_var"])
@pytest.mark.parametrize("name", BATCHNORM)
def test_wrong_shapes_of_running_statistics(name, key, backend):
    for wrong in [(), (2,), (4,), (1, 3), (5, 3)]:
        args = args_with(name, "bn_param", **{key: np.ones(wrong, "float32")})
        assert_names_two_shapes(refused(name, args, ValueError, rf"^bn_param\['{key}'\]: expected shape"), wrong)


# ----------------------------------------------------------------------------------------------- labels


def loss_args(labels, classes=3):
    x = np.random.default_rng(0).standard_normal((len(labels), classes)).astype("float32")
    return x, labels


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64", ">i4", ">i8"])
@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_any_integer_dtype(name, dtype, backend):
    x, y = loss_args(np.array([0, 2, 1, 2]))
    assert_equal(public(name)(x, y.astype(dtype)), public(name)(x, y))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", LOSSES)
def test_more_classes_than_the_labels_dtype_can_count(name, dtype, backend):
    x, y = loss_args(np.array([0, 127, 5]), classes=300)
    assert_equal(public(name)(x, y.astype(dtype)), public(name)(x, y))


OUT_OF_RANGE = [(-1, "int64"), (3, "int64"), (-128, "int8"), (255, "uint8"), (2**63, "uint64"), (-(2**63), "int64")]


@pytest.mark.parametrize(("label", "dtype"), OUT_OF_RANGE)
@pytest.mark.parametrize("name", LOSSES)
def test_labels_out_of_range(name, label, dtype, backend):
    for row in range(4):
        y = np.array([0, 2, 1, 2], dtype)
        y[row] = label
        message = refused(name, loss_args(y), ValueError, "^y: expected labels from 0 to 2 ")
        assert str(label) in message


@pytest.mark.parametrize("name", LOSSES)
def test_booleans_are_labels(name, backend):
    """Also such as hold other bytes than 0 and 1."""
    x, y = loss_args(np.array([0, 1, 1, 0]))
    for booleans in (y.astype(bool), (7 * y).astype(np.uint8).view(bool)):
        assert_equal(public(name)(x, booleans), public(name)(x, y))


@pytest.mark.parametrize("name", LOSSES)
def test_labels_in_other_forms_are_refused_with_advice(name, backend):
    y = np.array([0, 1, 2, 0])
    refused(name, loss_args(y[:, np.newaxis]), ValueError, r"^y: expected shape \(4,\), got \(4, 1\); y\.ravel\(\)")
    refused(name, loss_args(np.eye(3, dtype=int)[y]), ValueError, r"one-hot rows \(4, 3\); y\.argmax\(axis=1\)")
    refused(name, loss_args(np.eye(3)[y]), TypeError, r"y\.argmax\(axis=1\) makes labels of one-hot rows")
    refused(name, loss_args(y.astype(float)), TypeError, r"y\.astype\(int\) makes labels of whole numbers")
    refused(name, loss_args(np.array(list("abca"))), TypeError, r"np\.unique\(y, return_inverse=True\)")


@pytest.mark.parametrize("name", LOSSES)
def test_labels_that_are_no_integers(name, backend):
    for kind in ("float64", "float32", "complex128", "object", "str", "timedelta64[s]"):
        refused(name, loss_args(np.array([0, 1, 1, 0]).astype(kind)), TypeError, "^y: expected integer labels")


# ----------------------------------------------------------------------------------------------- caches


def cache_of(name, mode="train"):
    """The cache of a forward pass, dropout and batch normalization running in `mode`."""
    args = plain_args(name)
    for part in args:
        if isinstance(part, dict) and "mode" in part:
            part["mode"] = mode
    return public(name)(*args)[1]


def forward_of(backward):
    return backward.removesuffix("_alt").replace("backward", "forward")


DOUT = np.ones((SIZES.n, SIZES.d), "float32")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (name, other)
        for name in BACKWARD
        for other in FORWARD
        # A slope is a slope, and nothing tells an array from another.
        if other != forward_of(name) and not (name in CACHE_IS_ARRAY and other in CACHE_IS_ARRAY)
    ],
)
def test_caches_of_other_functions(name, other, backend):
    for mode in ("train", "test"):
        refused(name, (DOUT, cache_of(other, mode)), ValueError, "^cache: expected")


@pytest.mark.parametrize("name", [name for name in BACKWARD if name not in CACHE_IS_ARRAY])
def test_caches_of_another_structure(name, backend):
    cache = cache_of(forward_of(name))
    for other in (None, 0, "cache", (), {}, DOUT, list(cache), cache[:-1], (*cache, None), (cache,)):
        refused(name, (DOUT, other), ValueError, "^cache: expected")


@pytest.mark.parametrize("name", [name for name in BACKWARD if name not in CACHE_IS_ARRAY])
def test_caches_of_other_contents(name, backend):
    cache = cache_of(forward_of(name))
    for other in ((None,) * len(cache), cache[::-1], (0.0,) * len(cache), ("train",) * len(cache)):
        refused(name, (DOUT, other), (ValueError, TypeError), r"^\w+: expected")


CACHED_ARRAYS = [
    (name, position) for name in BACKWARD for position in range(len(arrays_in(cache_of(forward_of(name)))))
]


@pytest.mark.parametrize(("name", "position"), CACHED_ARRAYS)
def test_cached_arrays_of_another_shape(name, position, backend):
    """A kernel does not test its indices: an array that is too small must not reach it."""
    cache = cache_of(forward_of(name))
    right = arrays_in(cache)[position]
    flat = right.reshape(-1)
    tall = np.concatenate([right, right[:1]])
    others = [
        right[:0],
        right[:-1],
        right[..., :-1],
        right[0],
        right.T,
        right[np.newaxis],
        tall,
        flat,
        flat[:1],
        flat[0],
    ]
    for other in map(np.asarray, others):
        if other.shape != right.shape:
            wrong = with_array(cache, position, lambda array, other=other: other)
            message = refused(name, (DOUT, wrong), ValueError, "expected shape")
            assert len(re.findall(r"\([^()]*\)", message)) >= 2


@pytest.mark.parametrize(("name", "position"), CACHED_ARRAYS)
def test_cached_arrays_without_real_numbers(name, position, backend):
    for value in NO_REAL_NUMBERS:
        cache = with_array(cache_of(forward_of(name)), position, lambda array, value=value: value)
        refused(name, (DOUT, cache), (TypeError, ValueError), r"^\w+: expected")


@pytest.mark.parametrize("name", NORM_BACKWARD)
def test_caches_of_an_unknown_mode(name, backend):
    cache = cache_of(forward_of(name))
    for mode in NO_MODES:
        wrong = (cache[0], (mode, *cache[1][1:]), *cache[2:]) if "affine" in name else (mode, *cache[1:])
        refused(name, (DOUT, wrong), ValueError, "^cache: expected")


@pytest.mark.parametrize("name", ["batchnorm_backward", "batchnorm_backward_alt", "affine_batchnorm_relu_backward"])
def test_cache_of_a_training_batch_without_rows(name, backend):
    """No forward pass makes one, since a mean over no rows does not exist."""
    empty, parameter = np.ones((0, 3), "float32"), np.ones(3, "float32")
    cache = ("train", empty, parameter, parameter)
    if "affine" in name:
        cache = ((np.ones((0, 7), "float32"), np.ones((7, 3), "float32"), parameter), cache, empty)
    refused(name, (empty, cache), ValueError, "row")


@pytest.mark.parametrize("name", [name for name in BACKWARD if "relu_dropout" in name])
def test_cached_scale_that_is_no_number(name, backend):
    for scale in NO_NUMBERS:
        cache = (*cache_of(forward_of(name))[:-1], scale)
        refused(name, (DOUT, cache), (TypeError, ValueError), "^cache: expected")


def test_dropout_reads_the_mode_when_it_goes_back(backend):
    param = {"mode": "train", "p": 0.5, "seed": 0}
    _, cache = layers.dropout_forward(DOUT, param)
    assert cache[0] is param
    param["mode"] = "test"
    np.testing.assert_array_equal(layers.dropout_backward(DOUT, cache), DOUT)
    param["mode"] = "eval"
    refused("dropout_backward", (DOUT, cache), ValueError, r"^dropout_param\['mode'\]")


def test_dropout_mask_that_test_mode_did_not_make(backend):
    param = {"mode": "test"}
    _, cache = layers.dropout_forward(DOUT, param)
    param["mode"] = "train"
    refused("dropout_backward", (DOUT, cache), ValueError, "^cache: expected a mask")


# ------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("name", BATCHNORM)
def test_unknown_batchnorm_modes(name, backend):
    for mode in NO_MODES:
        refused(name, args_with(name, "bn_param", mode=mode), ValueError, "^Invalid forward batchnorm mode ")


@pytest.mark.parametrize("name", BATCHNORM)
def test_missing_batchnorm_mode(name, backend):
    args = plain_args(name)
    del args[parameters_of(name).index("bn_param")]["mode"]
    refused(name, args, ValueError, "^Invalid forward batchnorm mode ")


@pytest.mark.parametrize("key", ["eps", "momentum"])
@pytest.mark.parametrize("name", BATCHNORM)
def test_batchnorm_parameters_that_are_no_numbers(name, key, backend):
    for value in NO_NUMBERS:
        refused(
            name, args_with(name, "bn_param", **{key: value}), TypeError, rf"^bn_param\['{key}'\]: expected a number"
        )


@pytest.mark.parametrize(("key", "value"), [("eps", -1e-5), ("eps", np.nan), ("momentum", np.nan)])
@pytest.mark.parametrize("name", BATCHNORM)
def test_batchnorm_parameters_that_make_no_sense(name, key, value, backend):
    refused(name, args_with(name, "bn_param", **{key: value}), ValueError, rf"^bn_param\['{key}'\]")


@pytest.mark.parametrize("name", LAYERNORM)
def test_layernorm_eps_that_is_no_number(name, backend):
    for value in NO_NUMBERS:
        refused(name, args_with(name, "ln_param", eps=value), TypeError, r"^ln_param\['eps'\]: expected a number")


@pytest.mark.parametrize("name", LAYERNORM)
def test_layernorm_eps_that_makes_no_sense(name, backend):
    for value in (-1e-5, np.nan):
        refused(name, args_with(name, "ln_param", eps=value), ValueError, r"^ln_param\['eps'\]")


@pytest.mark.parametrize("name", DROPOUT)
def test_unknown_dropout_modes(name, backend):
    for mode in NO_MODES:
        refused(name, args_with(name, "dropout_param", mode=mode), ValueError, r"^dropout_param\['mode'\]")


@pytest.mark.parametrize("name", DROPOUT)
def test_no_probability_to_keep(name, backend):
    for p in (0, 0.0, -0.1, 1.0000001, 2, np.nan, np.inf, -np.inf):
        refused(name, args_with(name, "dropout_param", p=p), ValueError, r"^dropout_param\['p'\]: .* 0 < p <= 1")


@pytest.mark.parametrize("name", DROPOUT)
def test_probability_that_is_no_number(name, backend):
    for p in NO_NUMBERS:
        refused(name, args_with(name, "dropout_param", p=p), TypeError, r"^dropout_param\['p'\]: expected a number")


@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_seeds_that_numpy_cannot_take(name, backend):
    for seed in ("231", -1, 2**32, 1.5):
        refused(name, args_with(name, "dropout_param", seed=seed), (TypeError, ValueError), r"^dropout_param\['seed'\]")


@pytest.mark.parametrize("name", DROPOUT)
def test_missing_dropout_parameters(name, backend):
    for key in ("mode", "p"):
        args = plain_args(name)
        del args[-1][key]
        refused(name, args, ValueError, rf"^dropout_param\['{key}'\]")


DICTIONARIES = [(name, what) for name in FORWARD for what in parameters_of(name) if what.endswith("_param")]


@pytest.mark.parametrize(("name", "what"), DICTIONARIES)
def test_parameters_that_are_no_dictionary(name, what, backend):
    for value in (None, [], "train", 1, np.ones(3)):
        args = plain_args(name)
        args[parameters_of(name).index(what)] = value
        refused(name, args, TypeError, f"^{what}: expected a dictionary")


@pytest.mark.parametrize("name", BATCHNORM)
def test_running_statistics_need_a_dictionary_that_can_be_changed(name, backend):
    args = plain_args(name)
    position = parameters_of(name).index("bn_param")
    args[position] = MappingProxyType(args[position])
    refused(name, args, TypeError, "^bn_param: expected")


def test_numpy_scalars_are_numbers_and_stay_in_precision(backend):
    """A float64 scalar in a dictionary must not turn a float32 network into a float64 one."""
    for name in BATCHNORM:
        args = args_with(name, "bn_param", eps=np.float64(1e-3), momentum=np.array(0.5))
        expected = args_with(name, "bn_param", eps=1e-3, momentum=0.5)
        case = cases.build(name, SIZES, "float32")
        assert_equal(run(case, args), run(case, expected))
    for name in DROPOUT:
        case = cases.build(name, SIZES, "float32")
        assert_equal(
            run(case, args_with(name, "dropout_param", p=np.float64(0.7))),
            run(case, args_with(name, "dropout_param", p=0.7)),
        )
    case = cases.build(IN_PLACE, SIZES, "float32")
    w, dw, _ = case.args
    assert_equal(run(case, (w, dw.copy(), np.float64(0.3))), run(case, (w, dw.copy(), 0.3)))


@pytest.mark.parametrize("name", BATCHNORM)
def test_parameters_that_are_not_given(name, backend):
    """eps 1e-5, momentum 0.9, statistics 0 of x's dtype; other entries stay."""
    case = cases.build(name, SIZES, "float32")
    position = parameters_of(name).index("bn_param")
    zeros = np.zeros(SIZES.d, "float32")
    full = args_with(name, "bn_param", eps=1e-5, momentum=0.9, running_mean=zeros, running_var=zeros)
    short = [*full[:position], {"mode": "train", "mine": 1}, *full[position + 1 :]]
    assert_equal(run(case, short), run(case, full))
    assert short[position].keys() == {"mode", "mine", "running_mean", "running_var"}


@pytest.mark.parametrize("dw", [
    [[0.0] * 3] * 5, np.zeros((5, 3), "float64"), np.zeros((5, 3), "int64"), np.zeros((3, 5), "float32").T,
    read_only(np.zeros((5, 3), "float32")), np.zeros((5, 3), ">f4"), np.zeros((5, 3), "float32").view(np.matrix),
])  # fmt: skip
def test_gradients_that_cannot_grow_in_place(dw, backend):
    refused(IN_PLACE, (np.ones((5, 3), "float32"), dw, 0.3), TypeError, "^dw: expected")


def test_strength_that_is_no_number(backend):
    for reg in NO_NUMBERS:
        args = (np.ones((5, 3)), np.ones((5, 3)), reg)
        refused(IN_PLACE, args, TypeError, "^reg: expected a number")


# -------------------------------------------------------------------------------------------- no elements


def without_rows(name):
    """A forward pass's arguments for a batch of no rows, which has no statistics of its own."""
    x, *rest = args_with(name, "bn_param", mode="test") if name in BATCHNORM else plain_args(name)
    return x[:0], *rest


@pytest.mark.parametrize("name", FORWARD)
def test_batches_without_rows(name, backend):
    args = without_rows(name)
    out, cache = public(name)(*args)
    assert out.shape == (0, SIZES.d)
    assert out.dtype == np.float32
    gradients = public(name.replace("forward", "backward"))(out, cache)
    dx, *parameters = gradients if isinstance(gradients, tuple) else (gradients,)
    assert dx.shape == args[0].shape
    assert dx.dtype == np.float32
    for gradient, parameter in zip(parameters, args[1:], strict=False):
        assert gradient.dtype == np.float32
        np.testing.assert_array_equal(gradient, np.zeros(np.shape(parameter)))


@pytest.mark.parametrize("name", BATCHNORM)
def test_batch_statistics_need_rows(name, backend):
    x, *rest = plain_args(name)
    refused(name, (x[:0], *rest), ValueError, "^x: expected at least one row")


@pytest.mark.parametrize("name", LAYERNORM)
def test_row_statistics_need_features(name, backend):
    x, *rest = mapped(cases.build(name, SIZES, "float32").args, lambda array: array[..., :0])
    if "affine" in name:
        x = np.ones((5, 7), "float32")
        rest[0] = np.ones((7, 0), "float32")
    refused(name, (x, *rest), ValueError, "^x: expected at least one feature")


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0, 0)])
@pytest.mark.parametrize("name", LOSSES + TARGET_LOSSES)
def test_losses_need_rows_and_classes(name, shape, backend):
    args = (np.ones(shape), np.zeros(shape[0], int) if name in LOSSES else np.ones(shape))
    message = refused(name, args, ValueError, "^x: expected at least one row and one c")
    assert str(shape) in message


@pytest.mark.parametrize("sizes", [Sizes(5, 0), Sizes(5, 3, inputs=0), Sizes(0, 0, inputs=0)], ids=str)
@pytest.mark.parametrize("name", ["affine", "affine_relu"])
def test_affine_layers_without_features(name, sizes, backend):
    x, w, b = cases.build(f"{name}_forward", sizes, "float32").args
    out, cache = public(f"{name}_forward")(x, w, b)
    expected = np.broadcast_to(b, (sizes.n, sizes.d))
    np.testing.assert_array_equal(out, expected if name == "affine" else np.maximum(expected, 0))
    dx, dw, db = public(f"{name}_backward")(np.ones_like(out), cache)
    assert_equal([dx, dw], [np.zeros_like(x), np.zeros_like(w)])
    np.testing.assert_array_equal(db, (out > 0).sum(axis=0) if name == "affine_relu" else np.full(sizes.d, sizes.n))


@pytest.mark.parametrize("mode", ["train", "test"])
def test_batchnorm_without_features(mode, backend):
    nothing = np.ones(0, "float32")
    param = {"mode": mode}
    out, cache = layers.batchnorm_forward(np.ones((5, 0), "float32"), nothing, nothing, param)
    assert out.shape == (5, 0)
    assert param["running_mean"].shape == param["running_var"].shape == (0,)
    for name in ("batchnorm_backward", "batchnorm_backward_alt"):
        assert [gradient.shape for gradient in public(name)(out, cache)] == [(5, 0), (0,), (0,)]


# ------------------------------------------------------------------------- shapes and values by hypothesis

MOST = 40 if JIT else 6

# Means over nothing do not exist.
SMALLEST = dict.fromkeys(NAMES, (0, 0))
SMALLEST.update({name: (1, 0) for name in NAMES if "batchnorm" in name})
SMALLEST.update({name: (0, 1) for name in NAMES if "layernorm" in name})
SMALLEST.update(dict.fromkeys(LOSSES + TARGET_LOSSES, (1, 1)))

# Their products with each other, as a block's backward pass makes them, stay finite in float32.
FINITE = st.sampled_from([0.0, -0.0, 1.0, 3.25, 1e-45, -1e-42, 1e-38, 1e-20, -1e4, 1e4 + 1e-3, 1e7]) | st.floats(
    -1e7, 1e7, width=32
)
# Not gamma: where gamma * inv_std underflows, what it is multiplied with carries the error on.
SHAPED_BY_USERS = ("x", "w", "b", "beta", "dout", "dw", "running_mean")


@st.composite
def sizes_of(draw, name):
    least_n, least_d = SMALLEST[name]
    return Sizes(draw(st.integers(least_n, MOST)), draw(st.integers(least_d, MOST)), draw(st.integers(0, MOST)))


@st.composite
def samplers(draw):
    """Functions for :func:`cases.build` that mix a few chosen values with normal ones."""
    chosen = draw(st.lists(FINITE, min_size=1, max_size=5))
    share = draw(st.sampled_from([0.1, 0.5, 1.0]))
    noise = draw(st.sampled_from([0.0, 1e-3, 1.0]))

    def sample(rng, what, shape):
        values = cases.normal(rng, what, shape)
        if what not in SHAPED_BY_USERS:
            return values
        return np.where(rng.random(shape) < share, rng.choice(chosen, shape) + noise * values, values)

    return sample


def run_on(backend, case):
    with fastfc.use_backend(backend), np.errstate(all="ignore"):
        return run(case, copy.deepcopy(case.args))


def with_one(special, where):
    """A function for :func:`cases.build`: normal values, and among those of one argument a special one."""

    def sample(rng, what, shape):
        values = cases.normal(rng, what, shape)
        if what == where and values.size > 0:
            values.flat[rng.integers(values.size)] = special
        return values

    return sample


NOT_FINITE = st.builds(
    with_one, st.sampled_from([np.nan, np.inf, -np.inf]), st.sampled_from(["x", "w", "b", "gamma", "dout", "dw"])
)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_backends_agree(name, data):
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    sizes, seed = data.draw(sizes_of(name)), data.draw(st.integers(0, 2**32 - 1))
    finite = data.draw(st.booleans())
    case = cases.build(name, sizes, dtype, seed, data.draw(samplers() if finite else NOT_FINITE))
    results = run_on("fast", case), run_on("reference", case)
    if finite:
        assert cases.largest_error(*results, case) <= 1
    else:
        # NaN and infinity take each other's place where terms are added in another order.
        for got, expected in zip(*results, strict=True):
            assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))


@pytest.mark.parametrize(("dtype", "shifts"), [("float32", [2.0**8, 2.0**18]), ("float64", [2.0**10, 2.0**40])])
def test_softmax_loss_does_not_feel_a_common_shift(dtype, shifts, backend):
    """The scores less their maximum are exact here, so nothing else may be either."""
    x = np.array([[0.25, 0.0, -0.5], [0.0, 0.25, 0.5]], dtype)
    expected = layers.softmax_loss(x, [1, 0])
    for shift in shifts:
        assert_equal(layers.softmax_loss(x + np.array(shift, dtype), [1, 0]), expected)


@given(
    shape=st.lists(st.integers(0, 8), max_size=3).map(tuple),
    p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**32 - 1) | st.none(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_dropout_draws_numpys_numbers_on_both_backends(shape, p, seed, dtype):
    x = np.ones(shape, dtype)
    start = np.random.get_state()
    results = {}
    for backend in BACKENDS:
        np.random.set_state(start)
        with fastfc.use_backend(backend), np.errstate(all="ignore"):
            out, (_, mask) = layers.dropout_forward(x, {"mode": "train", "p": p, "seed": seed})
        results[backend] = [out, mask, *np.random.get_state()[1:3]]
    for got, expected in zip(results["fast"], results["reference"], strict=True):
        np.testing.assert_array_equal(got, expected)


@given(data=st.data(), rows=st.integers(1, 6), classes=st.integers(1, 6))
@pytest.mark.parametrize("name", LOSSES)
def test_labels_are_accepted_exactly_when_they_are_columns(name, data, rows, classes):
    y = data.draw(st.lists(st.integers(-2, classes + 1), min_size=rows, max_size=rows))
    args = loss_args(np.array(y), classes)
    for backend in BACKENDS:
        with fastfc.use_backend(backend):
            if all(0 <= label < classes for label in y):
                loss, dx = public(name)(*args)
                assert np.isfinite(loss)
                assert dx.shape == (rows, classes)
            else:
                refused(name, args, ValueError, "^y: expected labels")
