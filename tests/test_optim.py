"""The update rules: what they compute, what they change, and what they refuse."""

import copy
import importlib
import pickle
from decimal import Decimal, localcontext
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import LAYOUTS, arrays_unchanged, read_only, state, strided

import fastfc
from fastfc import cases, optim
from fastfc.backend import OPS
from fastfc.cases import Sizes
from fastfc.ops import rules
from fastfc.ops.tolerance import tolerance

JIT = not importlib.import_module("numba").config.DISABLE_JIT

RULES = [name for name, operation in OPS.items() if operation.module == "optim"]

_ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "t": 0}
# As users know them; of a rule that is not here yet, what its record says.
DEFAULTS = {name: dict(rule.defaults) for name, rule in rules.RULES.items()} | {
    "sgd": {"learning_rate": 1e-2},
    "sgd_momentum": {"learning_rate": 1e-2, "momentum": 0.9},
    "nesterov": {"learning_rate": 1e-2, "momentum": 0.9},
    "rmsprop": {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8},
    "adagrad": {"learning_rate": 1e-2, "epsilon": 1e-8},
    "adam": _ADAM,
    "adamw": {**_ADAM, "weight_decay": 1e-2},
    "adam_epsilon_hat": _ADAM,
    "adam_amsgrad": _ADAM,
    "adamw_amsgrad": {**_ADAM, "weight_decay": 1e-2},
    "nadam": {**_ADAM, "learning_rate": 2e-3, "momentum_decay": 4e-3},
    "lion": {"learning_rate": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 1e-3},
}
STATE = {name: rule.state for name, rule in rules.RULES.items()} | {
    "sgd": (),
    "sgd_momentum": ("velocity",),
    "nesterov": ("velocity",),
    "rmsprop": ("cache",),
    "adagrad": ("cache",),
    "adam": ("m", "v"),
    "adamw": ("m", "v"),
    "adam_epsilon_hat": ("m", "v"),
    "adam_amsgrad": ("m", "v", "v_max"),
    "adamw_amsgrad": ("m", "v", "v_max"),
    "nadam": ("m", "v"),
    "lion": ("m",),
}
COUNTING = [name for name in RULES if "t" in DEFAULTS[name]]
OTHER_HYPERPARAMETERS = {
    "learning_rate": 0.037,
    "momentum": 0.61,
    "decay_rate": 0.83,
    "beta1": 0.71,
    "beta2": 0.93,
    "epsilon": 1e-3,
    "weight_decay": 0.2,
    "momentum_decay": 0.3,
}
NO_NUMBERS = ["0.5", None, 0.5j, True, [0.5], np.array([0.5]), {}]
NO_REAL_NUMBERS = [np.ones((3, 4), complex), np.ones((3, 4), object), np.array([["1.0"] * 4] * 3), None, {}]


def rule_of(name):
    return getattr(optim, name)


def other_config(name):
    """Hyperparameters that are not the defaults."""
    return {key: OTHER_HYPERPARAMETERS.get(key, value) for key, value in DEFAULTS[name].items()}


def started_config(name, dtype, shape=(3, 4)):
    """A config in the middle of a training."""
    rng = np.random.default_rng(7)
    config = {**other_config(name), **{key: np.abs(rng.standard_normal(shape)).astype(dtype) for key in STATE[name]}}
    return {**config, "t": 2} if "t" in config else config


def w_and_dw(dtype="float64", shape=(3, 4)):
    rng = np.random.default_rng(3)
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)


def assert_same_update(got, expected):
    """Equal to the last bit: next_w, and the state in the config."""
    (next_w, config), (expected_w, expected_config) = got, expected
    assert next_w.dtype == expected_w.dtype
    np.testing.assert_array_equal(next_w, expected_w)
    assert config.keys() == expected_config.keys()
    for key, value in expected_config.items():
        assert np.asarray(config[key]).dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(config[key], value)


# ---------------------------------------------------------------------------------------------- formulas


def sgd(h, sign, w, g):
    return (w + sign * h["learning_rate"] * g,)


def sgd_momentum(h, sign, w, g, velocity):
    velocity = h["momentum"] * velocity + sign * h["learning_rate"] * g
    return w + velocity, velocity


def nesterov(h, sign, w, g, velocity):
    ahead = h["momentum"] * velocity + sign * h["learning_rate"] * g
    return w + (1 + h["momentum"]) * ahead + sign * h["momentum"] * velocity, ahead


def rmsprop(h, sign, w, g, cache):
    cache = h["decay_rate"] * cache + (1 - h["decay_rate"]) * g * g
    return w + sign * h["learning_rate"] * g / (cache.sqrt() + h["epsilon"]), cache


def adagrad(h, sign, w, g, cache):
    cache = cache + g * g
    return w + sign * h["learning_rate"] * g / (cache.sqrt() + h["epsilon"]), cache


def adamw(h, sign, w, g, m, v):
    m = h["beta1"] * m + (1 - h["beta1"]) * g
    v = h["beta2"] * v + (1 - h["beta2"]) * g * g
    m_hat, v_hat = m / (1 - h["beta1"] ** h["t"]), v / (1 - h["beta2"] ** h["t"])
    direction = m_hat / (v_hat.sqrt() + h["epsilon"]) + h["weight_decay"] * w
    return w + sign * h["learning_rate"] * direction, m, v


def adam(h, sign, w, g, m, v):
    return adamw({**h, "weight_decay": Decimal(0)}, sign, w, g, m, v)


def adam_epsilon_hat(h, sign, w, g, m, v):
    m = h["beta1"] * m + (1 - h["beta1"]) * g
    v = h["beta2"] * v + (1 - h["beta2"]) * g * g
    rate = h["learning_rate"] * (1 - h["beta2"] ** h["t"]).sqrt() / (1 - h["beta1"] ** h["t"])
    return w + sign * rate * m / (v.sqrt() + h["epsilon"]), m, v


def adamw_amsgrad(h, sign, w, g, m, v, v_max):
    m = h["beta1"] * m + (1 - h["beta1"]) * g
    v = h["beta2"] * v + (1 - h["beta2"]) * g * g
    v_max = max(v_max, v)
    m_hat, v_hat = m / (1 - h["beta1"] ** h["t"]), v_max / (1 - h["beta2"] ** h["t"])
    direction = m_hat / (v_hat.sqrt() + h["epsilon"]) + h["weight_decay"] * w
    return w + sign * h["learning_rate"] * direction, m, v, v_max


def adam_amsgrad(h, sign, w, g, m, v, v_max):
    return adamw_amsgrad({**h, "weight_decay": Decimal(0)}, sign, w, g, m, v, v_max)


def momenta(h, count):
    """NAdam's mu(1) to mu(count)."""
    return [
        h["beta1"] * (1 - Decimal("0.5") * Decimal("0.96") ** (k * h["momentum_decay"])) for k in range(1, count + 1)
    ]


def nadam(h, sign, w, g, m, v):
    mu, product = momenta(h, h["t"] + 1), Decimal(1)
    for factor in mu[:-1]:
        product *= factor
    m = h["beta1"] * m + (1 - h["beta1"]) * g
    v = h["beta2"] * v + (1 - h["beta2"]) * g * g
    ahead = (1 - mu[-2]) / (1 - product) * g + mu[-1] / (1 - product * mu[-1]) * m
    return w + sign * h["learning_rate"] * ahead / ((v / (1 - h["beta2"] ** h["t"])).sqrt() + h["epsilon"]), m, v


def lion(h, sign, w, g, m):
    mixed = h["beta1"] * m + (1 - h["beta1"]) * g
    direction = Decimal((mixed > 0) - (mixed < 0)) + h["weight_decay"] * w
    return w + sign * h["learning_rate"] * direction, h["beta2"] * m + (1 - h["beta2"]) * g


#: One scalar step in exact decimals; with sign +1 and absolute values it gives the magnitude.
FORMULAS = {"sgd": sgd, "sgd_momentum": sgd_momentum, "nesterov": nesterov, "rmsprop": rmsprop}
FORMULAS |= {"adagrad": adagrad, "adam": adam, "adamw": adamw, "adam_epsilon_hat": adam_epsilon_hat, "lion": lion}
FORMULAS |= {"adam_amsgrad": adam_amsgrad, "adamw_amsgrad": adamw_amsgrad, "nadam": nadam}


def exact_steps(name, w, gradients, config, sign):
    """One scalar's w and state after steps along `gradients`."""
    with localcontext() as context:
        context.prec = 60
        values = [Decimal(w), *(Decimal(0) for _ in STATE[name])]
        for t, gradient in enumerate(gradients, start=1):
            h = {**{key: Decimal(value) for key, value in config.items()}, "t": t}
            values = FORMULAS[name](h, sign, values[0], Decimal(gradient), *values[1:])
        return [float(value) for value in values]


@pytest.mark.parametrize("config", [DEFAULTS, {name: other_config(name) for name in RULES}], ids=["defaults", "others"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_formulas(name, dtype, config, backend):
    if name not in FORMULAS:
        pytest.skip(f"no formula of {name} in exact decimals yet")
    rng = np.random.default_rng(11)
    # Factors from 1e-3 to 1e3, so that epsilon and the decay both show.
    scale = 10.0 ** np.linspace(-3, 3, 8)
    start = rng.standard_normal(8).astype(dtype)
    gradients = (rng.standard_normal((5, 8)) * scale).astype(dtype)
    w, state = start.copy(), copy.deepcopy(config[name])
    for gradient in gradients:
        w, state = rule_of(name)(w, gradient, state)
    got = [w, *(state[key] for key in STATE[name])]
    exact, magnitudes = (
        np.array([
            exact_steps(name, float(a), map(float, g), config[name], sign) for a, g in zip(*inputs, strict=True)
        ]).T
        for sign, inputs in [(-1, (start, gradients.T)), (1, (abs(start), abs(gradients.T)))]
    )  # fmt: skip
    for result, value, magnitude in zip(got, exact, magnitudes, strict=True):
        assert result.dtype == dtype
        # Every step rounds, so each counts like a term of a sum, for every elementwise operation in it.
        assert np.all(np.abs(result - value) <= tolerance(dtype, 16 * len(gradients)) * magnitude)
    assert state.get("t", 5) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_zero_gradients(name, dtype, backend):
    """No step from rest, except AdamW's decay, and never 0 / 0."""
    w = np.array([-2.0, 0.0, 3.0], dtype)
    start = w.copy()
    w, config = rule_of(name)(w, np.zeros_like(w))
    decay = config["learning_rate"] * config.get("weight_decay", 0.0)
    assert np.all(np.abs(w - start * (1 - decay)) <= tolerance(dtype, 0) * np.abs(start))


def test_the_largest_second_moment_stays(backend):
    w, config = optim.adam_amsgrad(np.ones(2), np.array([3.0, 0.5]), {"beta2": 0.5})
    largest = config["v_max"].copy()
    w, config = optim.adam_amsgrad(w, np.array([0.0, 2.0]), config)
    np.testing.assert_array_equal(config["v_max"], [largest[0], config["v"][1]])
    assert config["v"][0] < largest[0]
    # One gradient that is not a number stays seen, whatever comes.
    _, config = optim.adam_amsgrad(w, np.array([np.nan, 1.0]), config)
    assert np.isnan(config["v_max"]).tolist() == [True, False]


@pytest.mark.parametrize("values", [(0, 0), (-0.0, 0), (1, -9), (1e-30, 0), (np.nan, 1), (1, np.nan), (np.inf, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lions_sign(values, dtype, backend):
    m, dw = (np.array([value], dtype) for value in values)
    with np.errstate(all="ignore"):
        mixed = dtype_of(dtype)(0.9) * m + dtype_of(dtype)(1 - 0.9) * dw
        w, _ = optim.lion(np.zeros(1, dtype), dw, {"learning_rate": 0.5, "weight_decay": 0.0, "m": m})
        np.testing.assert_array_equal(w, -0.5 * np.sign(mixed))


def dtype_of(name):
    return np.dtype(name).type


def test_scikit_learns_adam():
    """Its own optimizer, bit for bit in the reference, and within rounding in the kernel."""
    theirs = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    rng = np.random.default_rng(2)
    start, gradients = rng.standard_normal(50), rng.standard_normal((200, 50)) * 10.0 ** rng.uniform(-9, 1, 50)
    expected = start.copy()
    optimizer = theirs.AdamOptimizer([expected], learning_rate_init=1e-2, beta_1=0.8, beta_2=0.99, epsilon=1e-6)
    for gradient in gradients:
        optimizer.update_params([expected], [gradient])
    for backend, terms in (("reference", None), ("fast", 16 * len(gradients))):
        w, config = start.copy(), {"learning_rate": 1e-2, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-6}
        with fastfc.use_backend(backend):
            for gradient in gradients:
                w, config = optim.adam_epsilon_hat(w, gradient, config)
        # Each step is at most twice the learning rate long.
        bound = 0 if terms is None else tolerance(np.float64, terms) * (np.abs(start) + 2e-2 * len(gradients))
        assert np.all(np.abs(w - expected) <= bound)


def test_nadam_after_many_steps(backend):
    """The product of the momenta has vanished then; those of the last steps alone would not be the product."""
    w, dw = np.array([1.0]), np.array([0.5])
    config = {"t": 9_999, "m": np.array([0.2]), "v": np.array([0.3])}
    got, _ = optim.nadam(w.copy(), dw, dict(config))
    m, v = 0.9 * 0.2 + (1 - 0.9) * 0.5, 0.999 * 0.3 + (1 - 0.999) * 0.25
    mu, following = (0.9 * (1 - 0.5 * 0.96 ** (t * 4e-3)) for t in (10_000, 10_001))
    expected = w - 2e-3 * ((1 - mu) * dw + following * m) / (np.sqrt(v / (1 - 0.999**10_000)) + 1e-8)
    np.testing.assert_allclose(got, expected, rtol=tolerance(np.float64, 16))


# ------------------------------------------------------------------------------------------------ config


@pytest.mark.parametrize("name", RULES)
def test_defaults_are_filled_in(name, backend):
    w, dw = w_and_dw()
    config = {}
    expected = rule_of(name)(w.copy(), dw, copy.deepcopy(DEFAULTS[name]))
    got = rule_of(name)(w.copy(), dw, config)
    assert got[1] is config
    assert set(config) == {*DEFAULTS[name], *STATE[name]}
    assert {key: config[key] for key in DEFAULTS[name]} == {**DEFAULTS[name], **({"t": 1} if "t" in config else {})}
    assert_same_update(got, expected)


@pytest.mark.parametrize("name", RULES)
def test_without_config(name, backend):
    """Every call starts anew; nothing is kept between calls."""
    w, dw = w_and_dw()
    expected = rule_of(name)(w.copy(), dw, {})
    first, second = rule_of(name)(w.copy(), dw), rule_of(name)(w.copy(), dw, None)
    assert_same_update(first, expected)
    assert_same_update(second, expected)
    assert first[1] is not second[1]


@pytest.mark.parametrize("name", RULES)
def test_given_entries_stay(name, backend):
    w, dw = w_and_dw()
    config = {**other_config(name), "mine": "kept"}
    _, config = rule_of(name)(w, dw, config)
    expected = {**other_config(name), "mine": "kept", **({"t": 1} if "t" in config else {})}
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize("name", RULES)
def test_state_has_the_shape_and_dtype_of_w(name, backend):
    for dtype in ("float32", "float64"):
        for shape in [(), (1,), (3, 4), (2, 3, 4), (0,), (0, 3)]:
            w, dw = w_and_dw(dtype, shape)
            next_w, config = rule_of(name)(w, dw)
            next_w, config = rule_of(name)(next_w, dw, config)
            for array in (next_w, *(config[key] for key in STATE[name])):
                assert isinstance(array, np.ndarray)
                assert (array.shape, array.dtype) == (shape, dtype)


@pytest.mark.parametrize("t", [3, 3.0, np.int64(3), np.float32(3), np.array(3)])
@pytest.mark.parametrize("name", COUNTING)
def test_step_counts(name, t, backend):
    w, dw = w_and_dw()
    expected = rule_of(name)(w.copy(), dw, {"t": 3})
    got = rule_of(name)(w.copy(), dw, {"t": t})
    assert_same_update(got, expected)
    assert type(got[1]["t"]) is int
    assert got[1]["t"] == 4


@pytest.mark.parametrize("convert", [np.float64, np.float32, np.array, lambda value: np.array(value, "float32")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_numpy_hyperparameters_do_not_change_the_precision(name, dtype, convert, backend):
    w, dw = w_and_dw(dtype)
    # Values that float32 can hold, so that a conversion changes no value.
    plain = {key: float(np.float32(value)) for key, value in other_config(name).items()}
    expected, _ = rule_of(name)(w.copy(), dw, dict(plain))
    got, config = rule_of(name)(w.copy(), dw, {key: convert(value) for key, value in plain.items()})
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    assert all(config[key].dtype == dtype for key in STATE[name])


STATE_FORMS = {
    "list": np.ndarray.tolist,
    "read-only": lambda array: read_only(array.copy()),
    "strided": strided,
    "fortran": np.asfortranarray,
    "float32": lambda array: array.astype("float32"),
    "float64": lambda array: array.astype("float64"),
    "big-endian": LAYOUTS["big-endian"],
    "memory-mapped": LAYOUTS["memory-mapped"],
}


@pytest.mark.parametrize("form", STATE_FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in RULES if STATE[name]])
def test_state_that_the_user_gives(name, dtype, form, backend):
    w, dw = w_and_dw(dtype)
    config = started_config(name, "float32")
    given_state = {key: STATE_FORMS[form](config[key]) for key in STATE[name]}
    expected = rule_of(name)(w.copy(), dw, {**config, **{key: config[key].astype(dtype) for key in STATE[name]}})
    assert_same_update(rule_of(name)(w.copy(), dw, {**config, **given_state}), expected)


@pytest.mark.parametrize("name", [name for name in RULES if STATE[name]])
def test_state_of_one_number_stands_for_an_array(name, backend):
    w, dw = w_and_dw("float32")
    expected = rule_of(name)(w.copy(), dw, {key: np.full_like(w, 0.5) for key in STATE[name]})
    for number in (0.5, np.float64(0.5), np.array(0.5)):
        assert_same_update(rule_of(name)(w.copy(), dw, dict.fromkeys(STATE[name], number)), expected)


# -------------------------------------------------------------------------------------- what is in place


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_plain_arrays_are_updated_in_place(name, dtype, backend):
    w, dw = w_and_dw(dtype)
    before = w.copy()
    with arrays_unchanged((dw,)):
        next_w, _ = rule_of(name)(w, dw, other_config(name))
    assert next_w is w
    assert not np.array_equal(w, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_views_on_a_buffer_are_updated_in_place(name, dtype, backend):
    """A network's parameters are contiguous views on one buffer: what lies around a view stays."""
    buffer = np.arange(20, dtype=dtype)
    view = buffer[4:16].reshape(3, 4)
    dw = np.ones((3, 4), dtype)
    expected, _ = rule_of(name)(view.copy(), dw, other_config(name))
    next_w, _ = rule_of(name)(view, dw, other_config(name))
    assert next_w is view
    np.testing.assert_array_equal(buffer, np.concatenate([np.arange(4), expected.reshape(-1), np.arange(16, 20)]))


NOT_IN_PLACE = [layout for layout in LAYOUTS if layout != "contiguous"]


@pytest.mark.parametrize("layout", NOT_IN_PLACE)
@pytest.mark.parametrize("name", RULES)
def test_other_layouts_of_w_give_a_new_array(name, layout, backend):
    w, dw = w_and_dw("float32")
    w = LAYOUTS[layout](w)
    expected = rule_of(name)(np.array(w, "float32", subok=False), dw, other_config(name))
    with arrays_unchanged((w, dw)):
        got = rule_of(name)(w, dw, other_config(name))
    assert type(got[0]) is np.ndarray
    assert not np.shares_memory(got[0], w)
    assert_same_update(got, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", RULES)
def test_layouts_of_dw(name, layout, backend):
    w, dw = w_and_dw("float32")
    dw = LAYOUTS[layout](dw)
    expected = rule_of(name)(w.copy(), np.array(dw, "float32", subok=False), other_config(name))
    with arrays_unchanged((dw,)):
        got = rule_of(name)(w.copy(), dw, other_config(name))
    assert_same_update(got, expected)


@pytest.mark.parametrize("name", [name for name in RULES if STATE[name]])
def test_dw_stays_even_where_the_state_starts_as_dw(name, backend):
    w, dw = w_and_dw("float32")
    dw = abs(dw)
    expected = rule_of(name)(w.copy(), dw, {key: dw.copy() for key in STATE[name]})
    with arrays_unchanged((dw,)):
        got = rule_of(name)(w.copy(), dw, dict.fromkeys(STATE[name], dw))
    assert_same_update(got, expected)


@pytest.mark.parametrize("name", COUNTING)
def test_moments_that_start_as_one_array(name, backend):
    w, dw = w_and_dw("float32")
    expected = rule_of(name)(w.copy(), dw, {key: np.zeros_like(w) for key in STATE[name]})
    got = rule_of(name)(w.copy(), dw, dict.fromkeys(STATE[name], np.zeros_like(w)))
    assert_same_update(got, expected)


@pytest.mark.parametrize("name", RULES)
def test_lists_and_numbers(name, backend):
    w, dw = w_and_dw()
    assert_same_update(
        rule_of(name)(w.tolist(), dw.tolist(), other_config(name)), rule_of(name)(w, dw, other_config(name))
    )
    next_w, _ = rule_of(name)(1.5, 0.5, other_config(name))
    expected, _ = rule_of(name)(np.array([1.5]), np.array([0.5]), other_config(name))
    assert next_w == expected[0]


# ------------------------------------------------------------------------------------------------ dtypes


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", ">i4"])
@pytest.mark.parametrize("name", RULES)
def test_integer_parameters_become_float64(name, dtype, backend):
    w, dw = w_and_dw()
    w = np.rint(3 * abs(w)).astype(dtype)
    expected = rule_of(name)(w.astype("float64"), dw, other_config(name))
    with arrays_unchanged((w, dw)):
        got = rule_of(name)(w, dw, other_config(name))
    assert got[0].dtype == np.float64
    assert_same_update(got, expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", RULES)
def test_float16_parameters_are_computed_in_float32(name, order, backend):
    w, dw = w_and_dw("float16")
    expected, expected_config = rule_of(name)(w.astype("float32"), dw.astype("float32"), other_config(name))
    w = w.astype(w.dtype.newbyteorder(order))
    with arrays_unchanged((w, dw)):
        got = rule_of(name)(w, dw, other_config(name))
    assert_same_update(got, (expected.astype("float16"), expected_config))


@pytest.mark.parametrize("dw_dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("w_dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_parameters_keep_their_precision_whatever_the_gradient_has(name, w_dtype, dw_dtype, backend):
    w, dw = w_and_dw(w_dtype)
    dw = dw.astype(dw_dtype)
    expected = rule_of(name)(w.copy(), dw.astype(w_dtype), other_config(name))
    with arrays_unchanged((dw,)):
        got = rule_of(name)(w, dw, other_config(name))
    assert got[0] is w
    assert_same_update(got, expected)


# ------------------------------------------------------------------------------------------------ errors


def refused(name, w, dw, config, error, match):
    """The rule raises, and neither its arrays nor its config have changed."""
    arrays = [part for part in (w, dw, *dict(config).values()) if isinstance(part, np.ndarray)]
    before = [state(array) for array in arrays], dict(config)
    with pytest.raises(error, match=match) as raised:
        rule_of(name)(w, dw, config)
    assert [state(array) for array in arrays] == before[0]
    assert config.keys() == before[1].keys()
    assert all(config[key] is value for key, value in before[1].items())
    return str(raised.value)


@pytest.mark.parametrize("name", RULES)
def test_wrong_shapes_of_dw(name, backend):
    w, _ = w_and_dw()
    for shape in [(), (12,), (4, 3), (3,), (3, 5), (2, 4), (3, 4, 1), (1, 3, 4), (0, 4)]:
        message = refused(name, w, np.ones(shape), {}, ValueError, r"^dw: expected shape \(3, 4\)")
        assert str(shape) in message


@pytest.mark.parametrize("name", [name for name in RULES if STATE[name]])
def test_wrong_shapes_of_the_state(name, backend):
    w, dw = w_and_dw()
    for key in STATE[name]:
        for shape in [(12,), (4, 3), (4,), (3, 5), (1, 4), (3, 4, 1), (0, 4)]:
            config = {**started_config(name, "float64"), key: np.ones(shape)}
            message = refused(name, w, dw, config, ValueError, rf"^config\['{key}'\]: expected shape \(3, 4\)")
            assert str(shape) in message


@pytest.mark.parametrize("name", RULES)
def test_what_holds_no_real_numbers(name, backend):
    w, dw = w_and_dw()
    config = started_config(name, "float64")
    for value in NO_REAL_NUMBERS:
        refused(name, value, dw, config, TypeError, "^w: expected")
        refused(name, w, value, config, TypeError, "^dw: expected")
        for key in STATE[name]:
            if value is not None:
                refused(name, w, dw, {**config, key: value}, TypeError, rf"^config\['{key}'\]: expected")


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in RULES for key in DEFAULTS[name]])
def test_hyperparameters_that_are_no_numbers(name, key, backend):
    w, dw = w_and_dw()
    for value in NO_NUMBERS:
        for config in (started_config(name, "float64"), {}):
            refused(name, w, dw, {**config, key: value}, TypeError, rf"^config\['{key}'\]: expected a number")


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in RULES for key in DEFAULTS[name]])
def test_hyperparameters_that_are_nan(name, key, backend):
    w, dw = w_and_dw()
    config = {**started_config(name, "float64"), key: np.float32("nan")}
    refused(name, w, dw, config, ValueError, rf"^config\['{key}'\]: expected a number, got nan")


@pytest.mark.parametrize("t", [-1, -0.5, 0.5, 1e-300, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", COUNTING)
def test_bad_step_counts(name, t, backend):
    w, dw = w_and_dw()
    refused(name, w, dw, {**started_config(name, "float64"), "t": t}, ValueError, r"^config\['t'\]: expected")


@pytest.mark.parametrize("key", ["beta1", "beta2"])
@pytest.mark.parametrize("name", COUNTING)
def test_averages_that_forget_nothing_have_no_bias_correction(name, key, backend):
    """With beta = 1 the correction divides by zero."""
    w, dw = w_and_dw()
    refused(name, w, dw, {**started_config(name, "float64"), key: 1.0}, ValueError, rf"^config\['{key}'\]: expected")


@pytest.mark.parametrize("config", [[], 1, "adam", np.ones(3), ()])
@pytest.mark.parametrize("name", RULES)
def test_config_that_is_no_dictionary(name, config, backend):
    w, dw = w_and_dw()
    with arrays_unchanged((w, dw)), pytest.raises(TypeError, match=r"^config: expected a dictionary"):
        rule_of(name)(w, dw, config)


@pytest.mark.parametrize("name", RULES)
def test_config_that_cannot_be_changed(name, backend):
    w, dw = w_and_dw()
    refused(name, w, dw, MappingProxyType(started_config(name, "float64")), TypeError, "^config: expected")


# ------------------------------------------------------------------------------------------------- rules


def test_every_rule_is_public():
    assert sorted(RULES) == sorted(optim.__all__) == sorted(DEFAULTS) == sorted(STATE)


@pytest.mark.parametrize("name", RULES)
def test_rules_are_pickled_by_reference(name):
    rule = rule_of(name)
    payload = pickle.dumps(rule)
    assert pickle.loads(payload) is rule
    assert b"fastfc.optim" in payload
    assert copy.deepcopy(rule) is rule


MOST = 40 if JIT else 8
# Squares of the first overflow or underflow, those of the last do not.
PALETTES = {
    "float32": [1e30, -3e38, 1e19, 1e-45, -1e-42, 1e-38, 1e-23, 0.0, -0.0, 1e4, 1.0],
    "float64": [1e200, -1e308, 1e154, 5e-324, -1e-310, 2e-308, 1e-162, 0.0, -0.0, 1e4, 1.0],
}


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
def test_backends_agree(name, data):
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    sizes = Sizes(data.draw(st.integers(0, MOST)), data.draw(st.integers(0, MOST)))
    chosen = data.draw(st.lists(st.sampled_from(PALETTES[dtype]) | st.floats(-1e6, 1e6, width=32), min_size=1))
    share = data.draw(st.sampled_from([0.1, 0.5, 1.0]))

    def sample(rng, what, shape):
        values = cases.normal(rng, what, shape)
        return np.where(rng.random(shape) < share, rng.choice(chosen, shape), values) if what == "dw" else values

    case = cases.build(name, sizes, dtype, data.draw(st.integers(0, 2**32 - 1)), sample)
    results = []
    for backend in ("fast", "reference"):
        args = copy.deepcopy(case.args)
        with fastfc.use_backend(backend), np.errstate(all="ignore"):
            results.append(case.results(rule_of(name)(*args), args))
    assert cases.largest_error(*results, case) <= 1


# ------------------------------------------------------------------------------------------ estimated quotients


def adagrad_once(dw, cache, epsilon, backend="fast"):
    """The result of a step of AdaGrad from zeros."""
    config = {"learning_rate": 1.0, "epsilon": epsilon, "cache": cache.copy()}
    with fastfc.use_backend(backend), np.errstate(all="ignore"):
        w, _ = optim.adagrad(np.zeros_like(dw), dw.copy(), config)
    return w


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-3])
def test_quotients_are_good_to_some_units_in_the_last_place(dtype, epsilon):
    rng = np.random.default_rng(0)
    dw = (rng.choice([-1, 1], 20_000) * np.exp(rng.uniform(-15, 15, 20_000))).astype(dtype)
    cache = np.exp(rng.uniform(-30, 30, dw.size)).astype(dtype)
    exact = -dw.astype(np.longdouble) / (np.sqrt(cache + dw.astype(np.longdouble) ** 2) + epsilon)
    # Half a unit each for the square, its sum, its root, the sum with epsilon and epsilon itself; 3 for the quotient.
    errors = np.abs(adagrad_once(dw, cache, epsilon) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert errors.max() <= 2 * (5 * 0.5) + 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("epsilon", [0.0, 1e-300, 1e-40, 1e-8])
def test_quotients_where_something_overflows_or_vanishes(dtype, epsilon):
    largest = float(np.finfo(dtype).max)
    dw = np.array([0, 1, largest**0.5 * 2, -largest / 4, np.nan, np.inf, 1e-25] * 9, dtype)
    got, expected = (adagrad_once(dw, np.zeros_like(dw), epsilon, backend) for backend in ("fast", "reference"))
    np.testing.assert_allclose(got, expected, rtol=tolerance(dtype, 16))
