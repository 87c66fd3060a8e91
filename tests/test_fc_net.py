"""FullyConnectedNet and TwoLayerNet: the course's surface, the random stream, inputs, files, copies."""

import copy
import inspect
import io
import itertools
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

import fastfc
from fastfc import layer_utils, layers
from fastfc.classifiers import fc_net
from fastfc.classifiers.fc_net import FullyConnectedNet, TwoLayerNet, load_model

NORMALIZATIONS = [None, "batchnorm", "layernorm"]
DTYPES = [np.float32, np.float64]
COMBINATIONS = list(itertools.product(NORMALIZATIONS, [1, 0.5]))
every_combination = pytest.mark.parametrize(("normalization", "keep"), COMBINATIONS)

D, HIDDEN, C = 6, [5, 4], 3


def small_net(normalization=None, keep=1, **options):
    """A network whose parameters are all about 1, and different."""
    options = {"reg": 0.1, "weight_scale": 1, "dtype": np.float64, **options}
    np.random.seed(0)
    net = FullyConnectedNet(HIDDEN, D, C, keep, normalization, **options)
    rng = np.random.default_rng(0)
    for name, value in net.params.items():
        if not name.startswith("W"):
            value += rng.standard_normal(value.shape).astype(value.dtype)
    return net


def data(n=7):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, D)), rng.integers(0, C, n)


def train_a_little(net):
    """One pass in training mode, so that batch normalization has running statistics."""
    net.loss(*data())
    return net


def values(net):
    return {name: value.copy() for name, value in net.params.items()}


def stream_position():
    """Where NumPy's global stream is: its words and the position in them."""
    _, words, position, *_ = np.random.get_state()
    return position, words.tolist()


def assert_same_arrays(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)


def assert_same_loss(a, b, X=None, y=None):
    """Both networks give the same numbers, bit for bit, in training and in test mode."""
    X, y = data() if X is None else (X, y)
    results = []
    for net in (a, b):
        np.random.seed(5)
        results.append((net.loss(X), *net.loss(X, y)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert_same_arrays(results[0][2], results[1][2])


# ------------------------------------------------------------------------------------------- the surface


def test_signatures():
    def defaults(cls):
        parameters = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert defaults(FullyConnectedNet) == [
        ("hidden_dims", inspect.Parameter.empty),
        ("input_dim", 3 * 32 * 32),
        ("num_classes", 10),
        ("dropout_keep_ratio", 1),
        ("normalization", None),
        ("reg", 0.0),
        ("weight_scale", 1e-2),
        ("dtype", np.float32),
        ("seed", None),
    ]
    assert defaults(TwoLayerNet) == [
        ("input_dim", 3072),
        ("hidden_dim", 100),
        ("num_classes", 10),
        ("weight_scale", 1e-3),
        ("reg", 0.0),
    ]


COURSE_LAYERS = [
    *("affine_forward", "affine_backward", "relu_forward", "relu_backward", "softmax_loss", "svm_loss"),
    *("batchnorm_forward", "batchnorm_backward", "batchnorm_backward_alt", "layernorm_forward", "layernorm_backward"),
    *("dropout_forward", "dropout_backward"),
]
COURSE_BLOCKS = [
    *("affine_relu_forward", "affine_relu_backward"),
    *("affine_batchnorm_relu_forward", "affine_batchnorm_relu_backward"),
    *("affine_layernorm_relu_forward", "affine_layernorm_relu_backward"),
]


def star_import(module):
    names = {}
    exec(f"from {module} import *", names)
    return names


def test_star_imports():
    """Notebooks reach layers and blocks through the classifiers' module."""
    names = star_import("fastfc.classifiers.fc_net")
    assert names["np"] is np
    assert names["FullyConnectedNet"] is FullyConnectedNet
    assert names["TwoLayerNet"] is TwoLayerNet
    for name in COURSE_LAYERS:
        assert names[name] is star_import("fastfc.layers")[name] is getattr(layers, name)
    for name in COURSE_BLOCKS:
        assert names[name] is star_import("fastfc.layer_utils")[name] is getattr(layer_utils, name)


@pytest.mark.parametrize("dtype", DTYPES)
@every_combination
def test_attributes(normalization, keep, dtype):
    net = FullyConnectedNet([5, 4], 6, 3, keep, normalization, 0.25, dtype=dtype, seed=0)
    assert net.normalization == normalization
    assert net.use_dropout is (keep != 1)
    assert net.reg == 0.25
    assert net.num_layers == 3
    assert net.dtype == dtype
    assert net.dropout_param == ({} if keep == 1 else {"mode": "train", "p": keep, "seed": 0})
    start = {None: [], "batchnorm": [{"mode": "train"}, {"mode": "train"}], "layernorm": [{}, {}]}
    assert net.bn_params == start[normalization]

    shapes = {"W1": (6, 5), "b1": (5,), "W2": (5, 4), "b2": (4,), "W3": (4, 3), "b3": (3,)}
    if normalization is not None:
        shapes.update({"gamma1": (5,), "beta1": (5,), "gamma2": (4,), "beta2": (4,)})
    assert isinstance(net.params, dict)
    assert {name: value.shape for name, value in net.params.items()} == shapes
    assert all(value.dtype == dtype for value in net.params.values())
    for name, value in net.params.items():
        if not name.startswith("W"):
            np.testing.assert_array_equal(value, 1 if name.startswith("gamma") else 0)


def test_dropout_without_a_seed():
    assert FullyConnectedNet([5], 6, 3, 0.5).dropout_param == {"mode": "train", "p": 0.5}


def test_layers_have_dictionaries_of_their_own():
    for normalization in ("batchnorm", "layernorm"):
        first, second = FullyConnectedNet([5, 4], 6, 3, normalization=normalization).bn_params
        assert first is not second


@pytest.mark.parametrize("hidden", [(5, 4), np.array([5, 4]), range(5, 3, -1), iter([5, 4]), [np.int8(5), 4]])
def test_hidden_dims_may_be_any_iterable(hidden):
    net = FullyConnectedNet(hidden, np.int64(6), np.uint8(3))
    assert net.dims == [6, 5, 4, 3]
    assert all(type(width) is int for width in net.dims)


def test_two_layer_net():
    net = TwoLayerNet(input_dim=5, hidden_dim=4, num_classes=3, weight_scale=2.0, reg=0.5)
    assert {name: value.shape for name, value in net.params.items()} == {
        "W1": (5, 4),
        "b1": (4,),
        "W2": (4, 3),
        "b2": (3,),
    }
    assert all(value.dtype == np.float64 for value in net.params.values())
    assert net.reg == 0.5
    assert not net.use_dropout
    assert net.normalization is None
    assert TwoLayerNet(5, 4, 3).params["W1"].std() < 0.01


# ----------------------------------------------------------------------------------------- random stream


@pytest.mark.parametrize("dtype", DTYPES)
@every_combination
def test_weights_are_drawn_in_order(normalization, keep, dtype):
    np.random.seed(3)
    net = FullyConnectedNet([5, 4], 6, 3, keep, normalization, weight_scale=0.3, dtype=dtype, seed=9)
    after = np.random.rand()
    np.random.seed(3)
    for name, shape in {"W1": (6, 5), "W2": (5, 4), "W3": (4, 3)}.items():
        np.testing.assert_array_equal(net.params[name], (np.random.randn(*shape) * 0.3).astype(dtype))
    assert np.random.rand() == after


def test_two_layer_net_draws_in_order():
    np.random.seed(3)
    net = TwoLayerNet(5, 4, 3, weight_scale=0.7)
    np.random.seed(3)
    np.testing.assert_array_equal(net.params["W1"], np.random.randn(5, 4) * 0.7)
    np.testing.assert_array_equal(net.params["W2"], np.random.randn(4, 3) * 0.7)


@every_combination
def test_passes_draw_one_mask_per_hidden_layer_in_training(normalization, keep, backend):
    net, (X, y) = small_net(normalization, keep), data()
    np.random.seed(4)
    net.loss(X)
    net.loss(X, y)
    after = np.random.rand()
    np.random.seed(4)
    if keep != 1:
        for width in HIDDEN:
            np.random.rand(len(X), width)
    assert np.random.rand() == after


@pytest.mark.parametrize("labelled", [False, True])
def test_a_seed_starts_the_stream_anew_at_every_pass(labelled, backend):
    net, (X, y) = small_net(None, 0.5, seed=77), data()
    np.random.seed(4)
    net.loss(X, y if labelled else None)
    after = np.random.rand()
    np.random.seed(77)
    if labelled:
        np.random.rand(len(X), HIDDEN[-1])
    assert np.random.rand() == after


# ------------------------------------------------------------------------------- loss against the formulas


class Computed:
    """A value, and the magnitude of its formula: itself with absolute values throughout."""

    def __init__(self, value, magnitude=None):
        self.value = value
        self.magnitude = np.abs(value) if magnitude is None else magnitude

    def affine(self, w, b):
        return Computed(self.value @ w + b, self.magnitude @ np.abs(w) + np.abs(b))

    def normalized(self, mean, var, axis, gamma, beta):
        inv_std = 1 / np.sqrt(var + 1e-5)
        x_hat = (self.value - mean) * inv_std
        # An error of x is one of the mean and, times x_hat, one of the deviation.
        error = (self.magnitude + self.magnitude.mean(axis=axis, keepdims=True)) * inv_std
        error = error + np.abs(x_hat) * (np.abs(x_hat) * error).mean(axis=axis, keepdims=True)
        return Computed(gamma * x_hat + beta, np.abs(gamma) * error + np.abs(beta))

    def relu_and_mask(self, mask):
        return Computed(np.maximum(self.value, 0) * mask, self.magnitude * mask)


def scores_by_formula(net, X, train):
    """Scores in float64, straight from the definitions; masks from NumPy's stream where it stands."""
    x = Computed(np.asarray(X, np.float64).reshape(len(X), -1))
    p = {name: value.astype(np.float64) for name, value in net.params.items()}
    for i in range(1, net.num_layers):
        x = x.affine(p[f"W{i}"], p[f"b{i}"])
        if net.normalization is not None:
            axis = 0 if net.normalization == "batchnorm" else 1
            mean, var = x.value.mean(axis=axis, keepdims=True), x.value.var(axis=axis, keepdims=True)
            if axis == 0 and not train:
                mean, var = (net.bn_params[i - 1][f"running_{what}"].astype(np.float64) for what in ("mean", "var"))
            x = x.normalized(mean, var, axis, p[f"gamma{i}"], p[f"beta{i}"])
        mask = 1.0
        if net.use_dropout and train:
            keep = net.dropout_param["p"]
            mask = (np.random.rand(*x.value.shape) < keep) / keep
        x = x.relu_and_mask(mask)
    return x.affine(p[f"W{net.num_layers}"], p[f"b{net.num_layers}"])


def loss_by_formula(net, X, y):
    scores = scores_by_formula(net, X, train=True)
    rows = np.arange(len(y))
    largest = scores.value.max(axis=1)
    log_sum = np.log(np.exp(scores.value - largest[:, None]).sum(axis=1)) + largest
    value = np.mean(log_sum - scores.value[rows, y])
    magnitude = np.mean(np.abs(log_sum) + 2 * scores.magnitude.max(axis=1) + scores.magnitude[rows, y])
    penalty = sum(0.5 * net.reg * np.sum(net.params[f"W{i + 1}"].astype(np.float64) ** 2) for i in range(3))
    return value + penalty, magnitude + penalty


def chain(net, n):
    """Terms of the longest chain of sums: down the layers, twice through each batch or row, through a matrix."""
    return sum(net.dims) + net.num_layers * 2 * max(n, *net.dims) + net.dims[0] * net.dims[1]


@pytest.mark.parametrize("dtype", DTYPES)
@every_combination
def test_loss_and_scores(normalization, keep, dtype, backend):
    net, (X, y) = small_net(normalization, keep, dtype=dtype), data()
    X = X.astype(dtype)
    tolerance = fastfc.tolerance(dtype, chain(net, len(X)))

    np.random.seed(6)
    loss, grads = net.loss(X, y)
    np.random.seed(6)
    expected, magnitude = loss_by_formula(net, X, y)
    assert abs(loss - expected) <= tolerance * magnitude
    assert np.ndim(loss) == 0
    assert loss.dtype == dtype
    assert grads.keys() == net.params.keys()
    for name, grad in grads.items():
        assert grad.shape == net.params[name].shape
        assert grad.dtype == dtype
        assert not np.shares_memory(grad, net.params.flat)

    scores = net.loss(X)
    by_formula = scores_by_formula(net, X, train=False)
    assert scores.dtype == dtype
    assert np.all(np.abs(scores - by_formula.value) <= tolerance * by_formula.magnitude)


@every_combination
def test_l2_is_on_all_weights_and_nothing_else(normalization, keep, backend):
    net, (X, y) = small_net(normalization, keep, reg=0), data()
    np.random.seed(6)
    plain, plain_grads = net.loss(X, y)
    net.reg = 0.5
    np.random.seed(6)
    loss, grads = net.loss(X, y)
    weights = {name: value for name, value in net.params.items() if name.startswith("W")}
    penalty = 0.25 * sum(np.sum(w**2) for w in weights.values())
    assert loss == pytest.approx(plain + penalty, rel=fastfc.tolerance("float64", net.params.flat.size), abs=0)
    for name, grad in grads.items():
        expected = plain_grads[name] + 0.5 * net.params[name] if name in weights else plain_grads[name]
        magnitude = np.abs(plain_grads[name]) + np.abs(net.params[name]) if name in weights else 0
        assert np.all(np.abs(grad - expected) <= fastfc.tolerance("float64", 1) * magnitude)


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_has_the_models_dtype_whatever_reg_is(dtype, backend):
    for reg in (0, 0.5, np.float64(0.5), np.float32(0.5), np.int64(1)):
        net, (X, y) = small_net(dtype=dtype, reg=reg), data()
        loss, grads = net.loss(X, y)
        assert loss.dtype == dtype
        assert all(grad.dtype == dtype for grad in grads.values())


@every_combination
def test_no_hidden_layers(normalization, keep, backend):
    net = FullyConnectedNet([], D, C, keep, normalization, weight_scale=1, dtype=np.float64)
    assert list(net.params) == ["W1", "b1"]
    assert (net.num_layers, net.bn_params) == (1, [])
    X, y = data()
    scores = net.loss(X)
    tolerance = fastfc.tolerance("float64", D)
    assert np.all(np.abs(scores - X @ net.params["W1"]) <= tolerance * (np.abs(X) @ np.abs(net.params["W1"])))
    loss, grads = net.loss(X, y)
    expected, dscores = layers.softmax_loss(scores, y)
    assert loss == expected
    np.testing.assert_array_equal(grads["b1"], dscores.sum(axis=0))
    assert sorted(grads) == ["W1", "b1"]


def test_one_hidden_unit_and_one_class(backend):
    net = FullyConnectedNet([1], 1, 1, dtype=np.float64)
    loss, grads = net.loss(np.ones((1, 1)), np.zeros(1, int))
    assert loss == 0
    assert not any(grad.any() for grad in grads.values())


# --------------------------------------------------------------------------------- users change parameters


def write_into_entries(net, new):
    for name, value in new.items():
        net.params[name][...] = value


def assign_entries(net, new):
    for name, value in new.items():
        net.params[name] = value


def assign_the_dictionary(net, new):
    net.params = new


def assign_lists(net, new):
    net.params = {name: value.tolist() for name, value in new.items()}


def assign_its_own_dictionary(net, new):
    write_into_entries(net, new)
    net.params = net.params


def update_entries(net, new):
    net.params.update(new)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "change",
    [
        write_into_entries,
        assign_entries,
        assign_the_dictionary,
        assign_lists,
        assign_its_own_dictionary,
        update_entries,
    ],
)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_loss_reads_parameters_afresh(normalization, change, dtype, backend):
    net = small_net(normalization, dtype=dtype)
    params, before = net.params, net.loss(data()[0])
    rng = np.random.default_rng(8)
    new = {name: rng.standard_normal(value.shape) for name, value in net.params.items()}
    change(net, new)
    assert net.params is params
    assert_same_arrays(net.params, {name: value.astype(dtype) for name, value in new.items()})
    assert all(value.dtype == dtype for value in net.params.values())

    other = small_net(normalization, dtype=dtype)
    other.params = new
    assert_same_loss(net, other)
    assert not np.any(net.loss(data()[0]) == before)
    # The arrays stay the caller's.
    for value in new.values():
        value[...] = 0
    assert_same_loss(net, other)


def test_dictionaries_may_be_exchanged_between_networks():
    net, other = small_net(), small_net()
    other.params["W1"][:] = 7
    net.params = other.params
    other.params["W1"][:] = 8
    np.testing.assert_array_equal(net.params["W1"], 7)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda new: new.pop("b2"), ValueError, "b2"),
        (lambda new: new.update(b2=np.zeros(5)), ValueError, r"b2.*\(4,\).*\(5,\)"),
        (lambda new: new.update(W3=np.zeros((4, 3), complex)), TypeError, "W3"),
        (lambda new: new.update(W3=None), TypeError, "W3"),
    ],
)
def test_a_bad_dictionary_changes_nothing(change, error, message):
    net = small_net()
    before, new = values(net), {name: np.zeros_like(value) for name, value in net.params.items()}
    change(new)
    with pytest.raises(error, match=message):
        net.params = new
    assert_same_arrays(net.params, before)


@pytest.mark.parametrize("bad", [None, 3, "W1", [1, 2]])
def test_params_must_be_a_dictionary(bad):
    net = small_net()
    before = values(net)
    with pytest.raises((TypeError, ValueError), match="params"):
        net.params = bad
    assert_same_arrays(net.params, before)


# ---------------------------------------------------------------------------------------- inputs of any kind


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


INPUTS = {
    "uint8": lambda X: X.astype(np.uint8),
    "int64": lambda X: X.astype(np.int64),
    "float16": lambda X: X.astype(np.float16),
    "float32": lambda X: X.astype(np.float32),
    "bool": lambda X: X.astype(bool),
    "Fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "read-only": read_only,
    "big-endian": lambda X: X.astype(">f8"),
    "unaligned": lambda X: np.frombuffer(b"x" + X.tobytes(), np.uint8)[1:].view(X.dtype).reshape(X.shape),
    "four axes": lambda X: X.reshape(-1, 1, 2, 3),
    "list": lambda X: X.tolist(),
    "masked": np.ma.masked_array,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", INPUTS)
def test_x_of_any_kind(kind, dtype, backend):
    """Values that all of these dtypes hold: equal values give equal results."""
    X = np.random.default_rng(2).integers(0, 2, (7, D)).astype(np.float64)
    y = data()[1]
    net = small_net("batchnorm", dtype=dtype)
    awkward = INPUTS[kind](X)
    before = copy.deepcopy(awkward)
    scores, (loss, grads) = net.loss(X), net.loss(X, y)

    twin = small_net("batchnorm", dtype=dtype)
    np.testing.assert_array_equal(twin.loss(awkward), scores)
    twin_loss, twin_grads = twin.loss(awkward, y)
    assert twin_loss == loss
    assert twin_loss.dtype == dtype
    assert_same_arrays(twin_grads, grads)
    np.testing.assert_array_equal(awkward, before)
    for mine, theirs in zip(net.bn_params, twin.bn_params, strict=True):
        assert_same_arrays(
            {key: mine[key] for key in ("running_mean", "running_var")},
            {key: theirs[key] for key in ("running_mean", "running_var")},
        )


@pytest.mark.parametrize(
    "kind", [list, lambda y: y.astype(np.uint8), lambda y: y.astype(">i4"), read_only, lambda y: np.repeat(y, 2)[::2]]
)
def test_y_of_any_integer_kind(kind, backend):
    net, (X, y) = small_net(), data()
    loss, grads = net.loss(X, y)
    same, same_grads = net.loss(X, kind(y))
    assert same == loss
    assert_same_arrays(same_grads, grads)


def test_memory_mapped_x(tmp_path, backend):
    net, (X, _) = small_net(), data()
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(net.loss(mapped), net.loss(X))


@every_combination
def test_no_examples(normalization, keep, backend):
    net = train_a_little(small_net(normalization, keep))
    assert net.loss(np.zeros((0, D))).shape == (0, C)
    assert net.predict(np.zeros((0, D))).shape == (0,)
    assert net.predict_proba(np.zeros((0, D))).shape == (0, C)
    with pytest.raises(ValueError, match=r"row|example"):
        net.loss(np.zeros((0, D)), np.zeros(0, int))


BAD_X = {
    "too wide": (np.zeros((7, D + 1)), ValueError, rf"X.*{D}.*\(7, {D + 1}\)"),
    "one axis": (np.zeros(D), ValueError, "X"),
    "number": (3.0, ValueError, "X"),
    "wrong pictures": (np.zeros((7, 3, 3)), ValueError, r"X.*\(7, 3, 3\)"),
    "complex": (np.zeros((7, D), complex), TypeError, "X.*complex"),
    "strings": (np.full((7, D), "1"), TypeError, "X"),
    "objects": (np.full((7, D), None), TypeError, "X"),
    "dates": (np.zeros((7, D), "M8[s]"), TypeError, "X"),
    "structured": (np.zeros((7, D), [("a", "f4")]), TypeError, "X"),
    "nothing": (None, TypeError, "X"),
}

BAD_Y = {
    "floats": (np.zeros(7), TypeError, "y"),
    "strings": (np.full(7, "1"), TypeError, "y"),
    "too short": (np.zeros(6, int), ValueError, r"y.*\(7,\).*\(6,\)"),
    "one hot": (np.zeros((7, C), int), ValueError, "y"),
    "number": (0, ValueError, "y"),
    "too large": (np.full(7, C), ValueError, f"y.*{C - 1}"),
    "negative": (np.array([0, 0, 0, 0, 0, 0, -1]), ValueError, "y.*-1"),
    "far too large": (np.full(7, 2**63, np.uint64), ValueError, "y"),
}


def state_of(net):
    """All that a pass may change: statistics, parameters, and NumPy's stream. The mode says what ran last."""
    statistics = [{key: np.array(value) for key, value in p.items() if key != "mode"} for p in net.bn_params]
    return values(net), statistics, stream_position()


def assert_state(net, before):
    params, statistics, position = state_of(net)
    assert_same_arrays(params, before[0])
    for mine, theirs in zip(statistics, before[1], strict=True):
        assert_same_arrays(mine, theirs)
    assert position == before[2]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("kind", BAD_X)
def test_bad_x(kind, seed, backend):
    X, error, message = BAD_X[kind]
    net = train_a_little(small_net("batchnorm", 0.5, seed=seed))
    before = state_of(net)
    for call in (net.loss, lambda X: net.loss(X, np.zeros(7, int)), net.predict, net.predict_proba):
        with pytest.raises(error, match=message):
            call(X)
        assert_state(net, before)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("kind", BAD_Y)
def test_bad_y(kind, seed, backend):
    y, error, message = BAD_Y[kind]
    net = train_a_little(small_net("batchnorm", 0.5, seed=seed))
    before = state_of(net)
    with pytest.raises(error, match=message):
        net.loss(data()[0], y)
    assert_state(net, before)


BAD_OPTIONS = [
    ("hidden_dims", 5, TypeError),
    ("hidden_dims", "55", TypeError),
    ("hidden_dims", None, TypeError),
    ("hidden_dims", [5, 0], ValueError),
    ("hidden_dims", [-1], ValueError),
    ("hidden_dims", [2.5], TypeError),
    ("hidden_dims", [True], TypeError),
    ("hidden_dims", [[5]], TypeError),
    ("input_dim", 0, ValueError),
    ("input_dim", 6.0, TypeError),
    ("input_dim", (3, 32, 32), TypeError),
    ("num_classes", -3, ValueError),
    ("num_classes", "3", TypeError),
    ("dropout_keep_ratio", 0, ValueError),
    ("dropout_keep_ratio", 1.5, ValueError),
    ("dropout_keep_ratio", -0.5, ValueError),
    ("dropout_keep_ratio", float("nan"), ValueError),
    ("dropout_keep_ratio", "0.5", TypeError),
    ("dropout_keep_ratio", None, TypeError),
    ("normalization", "batch", ValueError),
    ("normalization", "BatchNorm", ValueError),
    ("normalization", True, ValueError),
    ("normalization", ["batchnorm"], ValueError),
    ("reg", "0.1", TypeError),
    ("reg", None, TypeError),
    ("reg", [0.1], TypeError),
    ("weight_scale", "1", TypeError),
    ("weight_scale", None, TypeError),
    ("dtype", np.float16, ValueError),
    ("dtype", int, ValueError),
    ("dtype", complex, ValueError),
    ("dtype", "no dtype", (TypeError, ValueError)),
    ("dtype", 7, (TypeError, ValueError)),
    ("dtype", None, (TypeError, ValueError)),
    ("seed", "seven", (TypeError, ValueError)),
    ("seed", -1, ValueError),
    ("seed", 2**32, ValueError),
    ("seed", 1.5, (TypeError, ValueError)),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD_OPTIONS)
def test_bad_options(name, value, error):
    options = {"hidden_dims": [5], "input_dim": 6, "num_classes": 3, "dropout_keep_ratio": 0.5, name: value}
    before = stream_position()
    with pytest.raises(error, match=name):
        FullyConnectedNet(**options)
    assert stream_position() == before


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("input_dim", 0, ValueError),
        ("hidden_dim", 0, ValueError),
        ("hidden_dim", 2.5, TypeError),
        ("hidden_dim", [5], TypeError),
        ("num_classes", None, TypeError),
        ("weight_scale", "1", TypeError),
        ("reg", "1", TypeError),
    ],
)
def test_bad_options_of_two_layer_net(name, value, error):
    before = stream_position()
    with pytest.raises(error, match=name):
        TwoLayerNet(**{"input_dim": 6, "hidden_dim": 5, "num_classes": 3, name: value})
    assert stream_position() == before


# ------------------------------------------------------------------------------------ batch normalization


def test_test_mode_uses_running_statistics_and_leaves_them(backend):
    net, (X, _) = train_a_little(small_net("batchnorm")), data()
    rng = np.random.default_rng(3)
    for param, width in zip(net.bn_params, HIDDEN, strict=True):
        param["running_mean"], param["running_var"] = rng.standard_normal(width), 0.5 + rng.random(width)
    before = copy.deepcopy(net.bn_params)
    scores = net.loss(X)
    by_formula = scores_by_formula(net, X, train=False)
    tolerance = fastfc.tolerance("float64", chain(net, len(X)))
    assert np.all(np.abs(scores - by_formula.value) <= tolerance * by_formula.magnitude)
    # Row by row, since no row's result depends on another's.
    for i in range(len(X)):
        assert np.all(np.abs(net.loss(X[i : i + 1]) - scores[i]) <= tolerance * by_formula.magnitude[i])
    for param, old in zip(net.bn_params, before, strict=True):
        assert param["mode"] == "test"
        np.testing.assert_array_equal(param["running_mean"], old["running_mean"])
        np.testing.assert_array_equal(param["running_var"], old["running_var"])


def test_training_moves_running_statistics(backend):
    net, (X, y) = small_net("batchnorm"), data()
    net.loss(X, y)
    a = Computed(X).affine(net.params["W1"], net.params["b1"])
    tolerance = fastfc.tolerance("float64", D + 2 * len(X))
    param = net.bn_params[0]
    assert param["mode"] == "train"
    size = a.magnitude.mean(axis=0)
    assert np.all(np.abs(param["running_mean"] - 0.1 * a.value.mean(axis=0)) <= tolerance * size)
    size = (2 * a.magnitude * (a.magnitude + size)).mean(axis=0)
    assert np.all(np.abs(param["running_var"] - 0.1 * a.value.var(axis=0)) <= tolerance * size)

    before = copy.deepcopy(net.bn_params)
    net.loss(X, y)
    for param, old in zip(net.bn_params, before, strict=True):
        assert not np.any(param["running_mean"] == old["running_mean"])
        assert param["running_mean"].dtype == net.dtype


def test_running_statistics_before_any_training(backend):
    """Zeros, as the course's own: the deviation is then the root of eps."""
    net, (X, _) = small_net("batchnorm"), data()
    assert np.isfinite(net.loss(X)).all()
    for param, width in zip(net.bn_params, HIDDEN, strict=True):
        np.testing.assert_array_equal(param["running_mean"], np.zeros(width))
        np.testing.assert_array_equal(param["running_var"], np.zeros(width))


def test_eps_and_momentum_of_bn_params_count(backend):
    net, (X, y) = small_net("batchnorm"), data()
    plain = net.loss(X, y)[0]
    net.bn_params[0]["eps"] = 10.0
    assert net.loss(X, y)[0] != plain
    net.bn_params[1]["momentum"] = 1
    before = net.bn_params[1]["running_mean"].copy()
    net.loss(X, y)
    np.testing.assert_array_equal(net.bn_params[1]["running_mean"], before)


# ---------------------------------------------------------------------------------- predictions, standardizing


@every_combination
def test_predict(normalization, keep, backend, monkeypatch):
    monkeypatch.setattr(fc_net, "_PREDICT_ROWS", 4)
    net, (X, _) = train_a_little(small_net(normalization, keep)), data(11)
    scores = np.concatenate([net.loss(X[i : i + 4]) for i in range(0, 11, 4)])
    labels = net.predict(X)
    assert labels.dtype.kind == "i"
    np.testing.assert_array_equal(labels, np.argmax(scores, axis=1))
    np.testing.assert_array_equal(net.predict(X.reshape(11, 2, 3)), labels)

    probabilities = net.predict_proba(X)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    # An error in an exponent is relative to the exponent.
    tolerance = fastfc.tolerance("float64", C) * (1 + np.ptp(scores))
    np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(axis=1, keepdims=True), rtol=tolerance)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=tolerance)


def test_predict_proba_has_the_models_dtype_and_does_not_overflow(backend):
    net, (X, _) = small_net(dtype=np.float32), data()
    probabilities = net.predict_proba(1e4 * X)
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=fastfc.tolerance("float32", C))


def test_predict_of_fewer_rows_than_its_portion_and_of_more(backend):
    net = FullyConnectedNet([2], 1, 2, weight_scale=1)
    X = np.linspace(-1, 1, fc_net._PREDICT_ROWS + 3).reshape(-1, 1)
    whole = net.predict(X)
    assert whole.shape == (len(X),)
    np.testing.assert_array_equal(whole[-2:], net.predict(X[-2:]))


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        (np.arange(6.0).reshape(2, 3), np.full((2, 3), 0.5)),
        (2.0, 0.25),
        (np.arange(6.0), None),
        (None, np.full((1, 1), 4.0)),
    ],
)
def test_examples_enter_standardized(mean, scale, backend):
    net, plain, (X, y) = small_net(), small_net(), data()
    X = np.round(4 * X).reshape(-1, 2, 3)
    kept = X.copy()
    net.input_mean, net.input_scale = mean, scale
    entering = (X - (0 if mean is None else np.reshape(mean, (2, 3) if np.size(mean) == 6 else ()))) * (
        1 if scale is None else np.reshape(scale, (2, 3) if np.size(scale) == 6 else ())
    )
    np.testing.assert_array_equal(net.loss(X), plain.loss(entering))
    assert net.loss(X, y)[0] == plain.loss(entering, y)[0]
    np.testing.assert_array_equal(net.predict(X), plain.predict(entering))
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize("name", ["input_mean", "input_scale"])
@pytest.mark.parametrize("shape", [(5,), (7, 6), (3, 1, 6)])
def test_standardization_must_fit_an_example(name, shape):
    """(7, 6) and (3, 1, 6) broadcast against the batch, not against an example."""
    net, (X, y) = small_net(), data()
    setattr(net, name, np.ones(shape))
    with pytest.raises(ValueError, match=name):
        net.loss(X, y)


# --------------------------------------------------------------------------------------------------- files


def full_net(normalization="batchnorm", keep=0.5, **options):
    """A trained network with everything that a file keeps."""
    net = train_a_little(small_net(normalization, keep, **{"reg": 0.25, "seed": 11, **options}))
    net.input_mean, net.input_scale = np.arange(6.0), 0.125
    net.class_names = ["cat", "dög", "ship"]
    return net


def stored(net, path):
    """The bytes of net's file."""
    net.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("dtype", DTYPES)
@every_combination
def test_load_model_makes_the_same_network(normalization, keep, dtype, tmp_path, backend):
    net = full_net(normalization, keep, dtype=dtype)
    path = tmp_path / "model.npz"
    net.save(path)
    before = stream_position()
    other = load_model(path)
    assert stream_position() == before
    assert type(other) is FullyConnectedNet
    for name in ("normalization", "use_dropout", "reg", "num_layers", "dims", "class_names"):
        assert getattr(other, name) == getattr(net, name)
    assert np.dtype(other.dtype) == dtype
    assert other.dropout_param.get("seed") == net.dropout_param.get("seed")
    assert other.dropout_param.get("p") == net.dropout_param.get("p")
    assert_same_arrays(other.params, net.params)
    assert all(value.dtype == dtype for value in other.params.values())
    np.testing.assert_array_equal(other.input_mean, net.input_mean)
    np.testing.assert_array_equal(other.input_scale, net.input_scale)
    for mine, theirs in zip(net.bn_params, other.bn_params, strict=True):
        for key in ("running_mean", "running_var"):
            np.testing.assert_array_equal(theirs.get(key), mine.get(key))
    assert_same_loss(net, other)
    np.testing.assert_array_equal(net.predict(data()[0]), other.predict(data()[0]))


def test_load_model_without_extras(tmp_path):
    net = FullyConnectedNet([], 4, 2, seed=None)
    net.save(str(tmp_path / "plain"))
    other = load_model(str(tmp_path / "plain"))
    assert (other.dims, other.input_mean, other.input_scale, other.class_names) == ([4, 2], None, None, None)
    assert_same_arrays(other.params, net.params)


def test_an_untrained_batchnorm_network_round_trips(tmp_path, backend):
    net = small_net("batchnorm")
    net.save(tmp_path / "model")
    assert_same_loss(net, load_model(tmp_path / "model"))


@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm"])
def test_the_eps_of_a_network_is_part_of_it(normalization, tmp_path, backend):
    net = small_net(normalization)
    for param in net.bn_params:
        param["eps"] = 0.5
    train_a_little(net)
    net.save(tmp_path / "model")
    assert_same_loss(net, load_model(tmp_path / "model"))


def test_numpy_scalars_as_options_can_be_saved(tmp_path):
    net = FullyConnectedNet(
        np.array([5]), np.int64(6), np.int32(3), np.float32(0.5), reg=np.float64(0.5), seed=np.uint32(3)
    )
    net.save(tmp_path / "model")
    other = load_model(tmp_path / "model")
    assert (other.dims, other.reg, other.dropout_param["p"], other.dropout_param["seed"]) == ([6, 5, 3], 0.5, 0.5, 3)


def test_a_file_has_no_pickles_and_exactly_the_name_given(tmp_path):
    net = full_net()
    net.save(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with np.load(tmp_path / "model", allow_pickle=False) as file:
        assert {f"params.{name}" for name in net.params} <= set(file.files)
        np.testing.assert_array_equal(file["params.W2"], net.params["W2"])


def test_two_layer_net_can_be_saved_and_loaded(tmp_path, backend):
    np.random.seed(0)
    net, other = TwoLayerNet(D, 5, C, reg=0.5, weight_scale=1), TwoLayerNet(D, 5, C, reg=0.5)
    net.save(tmp_path / "two")
    assert other.load(tmp_path / "two") is True
    assert_same_loss(net, other)
    assert_same_loss(net, load_model(tmp_path / "two"))


@every_combination
def test_load_into_a_network(normalization, keep, tmp_path, backend):
    net, other = full_net(normalization, keep), small_net(normalization, keep, reg=0.25, seed=11)
    params = other.params
    for value in other.params.values():
        value += 1
    net.save(tmp_path / "model.npz")
    before = stream_position()
    assert other.load(tmp_path / "model.npz") is True
    assert stream_position() == before
    assert other.params is params
    assert other.class_names == net.class_names
    assert_same_loss(net, other)


def test_load_keeps_the_networks_dtype(tmp_path, backend):
    net, other = full_net(dtype=np.float64), small_net("batchnorm", 0.5, dtype=np.float32)
    net.save(tmp_path / "model.npz")
    assert other.load(tmp_path / "model.npz")
    assert other.params["W1"].dtype == np.float32
    assert other.loss(*data())[0].dtype == np.float32
    assert all(param["running_mean"].dtype == np.float32 for param in other.bn_params)


def test_load_takes_over_that_there_are_no_running_statistics(tmp_path, backend):
    untrained = small_net("batchnorm")
    untrained.save(tmp_path / "model")
    net = train_a_little(small_net("batchnorm"))
    assert net.load(tmp_path / "model")
    np.testing.assert_array_equal(net.loss(data()[0]), untrained.loss(data()[0]))


@pytest.mark.parametrize(
    "other",
    [
        lambda: small_net(None, 0.5),
        lambda: small_net("layernorm", 0.5),
        lambda: FullyConnectedNet([5, 5], D, C, 0.5, "batchnorm"),
        lambda: FullyConnectedNet([5], D, C, 0.5, "batchnorm"),
        lambda: FullyConnectedNet(HIDDEN, D + 1, C, 0.5, "batchnorm"),
    ],
)
def test_load_refuses_other_layers(other, tmp_path):
    net = full_net()
    other().save(tmp_path / "model.npz")
    before = state_of(net)
    with pytest.raises(ValueError, match="layers"):
        net.load(tmp_path / "model.npz")
    assert_state(net, before)


def test_missing_files(tmp_path, capsys):
    net = full_net()
    before = state_of(net)
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        load_model(tmp_path / "none.npz")
    assert net.load(tmp_path / "none.npz") is False
    assert "none.npz" in capsys.readouterr().out
    assert_state(net, before)


def assert_refused(path):
    """Neither way of reading takes the file, names it, nor changes anything."""
    net = full_net()
    before = state_of(net)
    with pytest.raises(ValueError, match=path.name):
        load_model(path)
    with pytest.raises(ValueError, match=path.name):
        net.load(path)
    assert_state(net, before)


class WritesAFile:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


FOREIGN = {
    "empty": lambda: b"",
    "text": lambda: b"not a model\n" * 100,
    "zeros": lambda: bytes(5000),
    "npy": lambda: npy(np.zeros(3)),
    "zip of text": lambda: zipped(**{"readme.txt": "hello"}),
    "zip of nothing": lambda: zipped(),
    "options that are no array": lambda: zipped(**{"options.npy": "{}"}),
    "npz of something else": lambda: npz(X_train=np.zeros((3, 4)), y_train=np.zeros(3, int)),
    "npz of course parameters": lambda: npz(W1=np.zeros((3, 4)), b1=np.zeros(4)),
    "other options": lambda: npz(options=np.array("{}")),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(kind, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(FOREIGN[kind]())
    assert_refused(path)


@pytest.mark.parametrize("where", ["the file", "an array", "the options", "a further array"])
def test_nothing_in_a_file_is_executed(where, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "model.npz"
    poison = np.array(WritesAFile(trap), dtype=object)
    stored(full_net(), path)
    with np.load(path) as file:
        arrays = dict(file)
    if where == "the file":
        path.write_bytes(pickle.dumps(WritesAFile(trap)))
    else:
        name = {"an array": "params.W1", "the options": "options", "a further array": "running_mean9"}[where]
        arrays[name] = poison
        path.write_bytes(npz(**arrays))
    assert_refused(path)
    assert not trap.exists()


def test_truncated_files(tmp_path):
    path = tmp_path / "model.npz"
    content = stored(full_net(), path)
    for length in [0, 1, 3, 4, 30, 100, *range(200, len(content), 331), len(content) - 22, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.npz"):
            load_model(path)


def test_damage_is_refused_or_harmless(tmp_path):
    """One wrong byte anywhere: ValueError, or the network that was saved (dates in the archive, say)."""
    path = tmp_path / "model.npz"
    net = full_net()
    content = stored(net, path)
    scores = net.loss(data()[0])
    refused = 0
    # Every fifth byte of the archive's directory at the end, where the names are; fewer of the arrays.
    for i in [*range(0, len(content) - 1800, 41), *range(len(content) - 1800, len(content), 5)]:
        damaged = bytearray(content)
        damaged[i] ^= 0x81
        path.write_bytes(damaged)
        try:
            other = load_model(path)
        except ValueError:
            refused += 1
        else:
            np.testing.assert_array_equal(other.loss(data()[0]), scores, err_msg=f"byte {i}")
    assert refused > 0


def test_damaged_weights_are_not_read(tmp_path):
    path = tmp_path / "model.npz"
    net = full_net()
    content = stored(net, path)
    weights = net.params["W1"].tobytes()
    start = content.index(weights)
    for i in range(start, start + len(weights), 7):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        with pytest.raises(ValueError, match=r"model\.npz"):
            load_model(path)


def with_options(path, **changes):
    """The file of a full network with other options in it."""
    stored(full_net(), path)
    with np.load(path) as file:
        arrays = dict(file)
    options = {**json.loads(str(arrays["options"])), **changes}
    arrays["options"] = np.array(json.dumps({key: value for key, value in options.items() if value != "drop"}))
    path.write_bytes(npz(**arrays))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((name, "drop") for name in ("format", "hidden_dims", "input_dim", "num_classes", "dtype", "class_names")),
        ("format", "fastfc model 999"),
        ("hidden_dims", 5),
        ("hidden_dims", [5]),
        ("hidden_dims", [5, 4, 4]),
        ("hidden_dims", [4, 5]),
        ("hidden_dims", [10**12, 4]),
        ("hidden_dims", [True, 4]),
        ("hidden_dims", "54"),
        ("input_dim", -6),
        ("input_dim", None),
        ("num_classes", 2**62),
        ("normalization", "instance"),
        ("normalization", ["batchnorm"]),
        ("dropout_keep_ratio", 0),
        ("dropout_keep_ratio", 10**400),
        ("dropout_keep_ratio", "0.5"),
        ("reg", None),
        ("reg", 10**400),
        ("dtype", "float16"),
        ("dtype", "object"),
        ("dtype", "(1,"),
        ("dtype", ["f4"]),
        ("dtype", None),
        ("seed", "eleven"),
        ("class_names", 5),
        ("class_names", ["only one"]),
        ("class_names", [1, 2, 3]),
        ("surprise", 1),
    ],
    ids=lambda value: str(value)[:20],
)
def test_damaged_options(option, value, tmp_path):
    path = tmp_path / "model.npz"
    with_options(path, **{option: value})
    assert_refused(path)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '"x"', "{", "[" * 100_000, '{"a":' * 50_000, "9" * 5000],
    ids=lambda text: text[:10],
)
def test_options_that_are_no_dictionary(text, tmp_path):
    path = tmp_path / "model.npz"
    stored(full_net(), path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["options"] = np.array(text)
    path.write_bytes(npz(**arrays))
    assert_refused(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("options", np.zeros(3)),
        ("options", np.array(["a", "b"])),
        ("params.W1", None),
        ("params.gamma2", None),
        ("params.W2", np.zeros((4, 5))),
        ("params.W2", np.zeros((5, 4), complex)),
        ("params.W2", np.full((5, 4), "1")),
        ("params.b3", np.zeros((3, 1))),
        ("params.W2", np.zeros((5, 4), "M8[s]")),
        ("running_mean1", np.zeros(4)),
        ("running_var2", np.zeros((1, 4))),
        ("running_mean1", None),
        ("running_var2", None),
        ("input_mean", np.zeros(5)),
        ("input_scale", np.zeros((7, 6))),
    ],
)
def test_damaged_arrays(name, array, tmp_path):
    """An array that is missing (None), has another shape or another kind of values."""
    path = tmp_path / "model.npz"
    stored(full_net(), path)
    with np.load(path) as file:
        arrays = dict(file)
    del arrays[name]
    if array is not None:
        arrays[name] = array
    path.write_bytes(npz(**arrays))
    assert_refused(path)


def test_a_file_that_claims_much_memory(tmp_path):
    """Sizes in headers are not believed."""
    path = tmp_path / "model.npz"
    with_options(path, input_dim=2**40)
    with np.load(path) as file:
        members = {f"{name}.npy": npy(file[name]) for name in file.files}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 5)})
    members["params.W1.npy"] = header.getvalue()
    path.write_bytes(zipped(**members))
    assert_refused(path)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_save_keeps_the_old_file(there, error, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    old = stored(small_net(), path) if there else None

    def fails_halfway(file, **arrays):
        file.write(b"PK half of a file")
        raise error

    monkeypatch.setattr(np, "savez", fails_halfway)
    with pytest.raises(type(error)):
        full_net().save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == (["model.npz"] if there else [])
    if there:
        assert path.read_bytes() == old


def test_save_where_there_is_no_folder(tmp_path):
    with pytest.raises(OSError, match="none"):
        small_net().save(tmp_path / "none" / "model.npz")
    assert list(tmp_path.iterdir()) == []


def test_save_replaces_an_older_file(tmp_path):
    path = tmp_path / "model.npz"
    FullyConnectedNet([50], 60, 4).save(path)
    net = full_net()
    net.save(path)
    assert_same_arrays(load_model(path).params, net.params)
    assert os.listdir(tmp_path) == ["model.npz"]


# -------------------------------------------------------------------------------------------------- copies


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda net: pickle.loads(pickle.dumps(net))}


@pytest.mark.parametrize("way", COPIES)
@every_combination
def test_copies_are_whole_and_independent(normalization, keep, way, backend):
    net = full_net(normalization, keep)
    before = stream_position()
    other = COPIES[way](net)
    assert stream_position() == before
    assert type(other) is type(net)
    assert other.params.keys() == net.params.keys()
    assert not np.shares_memory(other.params.flat, net.params.flat)
    for value in other.params.values():
        assert np.shares_memory(value, other.params.flat)
    assert_same_loss(net, other)

    params, statistics, _ = state_of(net)
    for value in other.params.values():
        value += 1
    for mine, theirs in zip([net.dropout_param, *net.bn_params], [other.dropout_param, *other.bn_params], strict=True):
        assert mine is not theirs
    X, y = data()
    changed = other.loss(X, y)[0]
    assert_state(net, (params, statistics, stream_position()))
    assert net.loss(X, y)[0] != changed


@pytest.mark.parametrize("way", COPIES)
def test_copies_of_two_layer_net(way, backend):
    net = TwoLayerNet(D, 5, C, weight_scale=1)
    other = COPIES[way](net)
    assert type(other) is TwoLayerNet
    assert_same_loss(net, other)


def test_load_refuses_a_model_with_another_loss(tmp_path):
    net = FullyConnectedNet([4], 3, 2, loss="poisson")
    before = net.params.flat.copy()
    FullyConnectedNet([4], 3, 2, loss="squared").save(tmp_path / "net.npz")
    with pytest.raises(ValueError, match=r"loss poisson, got .*loss squared"):
        net.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(net.params.flat, before)
