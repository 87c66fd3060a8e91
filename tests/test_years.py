"""Argument names and meanings of the course's years 2016 to 2020."""

import contextlib
import io
import itertools
import warnings

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, layer_utils, layers, optim
from fastfc.classifiers.fc_net import TwoLayerNet, load_model
from fastfc.course import years
from fastfc.solver import load_checkpoint

pytestmark = pytest.mark.usefixtures("backend")

ROWS, D, H, C = 6, 5, 8, 3


@pytest.fixture
def legacy_process(monkeypatch):
    """A process whose code is of 2017."""
    monkeypatch.setattr(years, "_default", "2017")


def net(**kwargs):
    np.random.seed(0)
    return FullyConnectedNet([H, H], D, C, weight_scale=0.5, dtype=np.float64, **kwargs)


def data():
    random = np.random.RandomState(1)
    return random.randn(ROWS, D), random.randint(C, size=ROWS)


# ------------------------------------------------------------------------------------------- what is meant


@pytest.mark.parametrize(
    ("arguments", "p", "normalization"),
    [
        ({"dropout": 0}, None, None),
        ({"dropout": 1}, None, None),
        ({"dropout": 0, "legacy": "2017"}, None, None),
        ({"dropout": 0, "use_batchnorm": True}, None, "batchnorm"),
        ({"dropout": 0.25, "legacy": "2017"}, ("drop", 0.25), None),
        ({"dropout": 0.25, "use_batchnorm": False}, ("drop", 0.25), None),
        ({"dropout": 0.25, "use_batchnorm": True}, ("drop", 0.25), "batchnorm"),
        ({"dropout": 0.25, "normalization": "batchnorm"}, ("keep", 0.25), "batchnorm"),
        ({"dropout": 0.25, "normalization": "layernorm", "legacy": "2017"}, ("drop", 0.25), "layernorm"),
        ({"use_batchnorm": True}, None, "batchnorm"),
        ({"use_batchnorm": False}, None, None),
        ({"dropout_keep_ratio": 0.25, "legacy": "2017"}, ("keep", 0.25), None),
    ],
)
def test_what_can_be_told_apart(arguments, p, normalization):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = net(**arguments)
    assert model.normalization == normalization
    assert model.use_batchnorm == (normalization == "batchnorm")
    assert model.use_dropout == (p is not None)
    if p is None:
        assert model.dropout_param == {}
    else:
        reading, value = p
        assert model.dropout_param["p"] == value
        assert model.dropout_param.get("legacy") == ("2017" if reading == "drop" else None)


def test_dropout_alone_is_the_probability_to_keep_and_says_so():
    with pytest.warns(DeprecationWarning, match="probability to KEEP.*legacy='2017'") as caught:
        model = net(dropout=0.75)
    assert [warning.filename for warning in caught] == [__file__]
    expected = net(dropout_keep_ratio=0.75)
    assert model.dropout_param == expected.dropout_param == {"mode": "train", "p": 0.75}
    X, y = data()
    losses = []
    for each in (model, expected):
        np.random.seed(2)
        losses.append(each.loss(X, y)[0])
    assert losses[0] == losses[1]


def test_a_process_of_2017(legacy_process):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net(dropout=0.25).dropout_param == {"mode": "train", "p": 0.25, "legacy": "2017"}
        assert net(dropout=0.25, normalization="batchnorm").dropout_param["legacy"] is None
    newer = net(dropout_keep_ratio=0.25)
    assert newer.dropout_param == {"mode": "train", "p": 0.25, "legacy": None}
    out, _ = layers.dropout_forward(np.ones(10_000), {"mode": "train", "p": 0.9, "seed": 3})
    assert (out == 0).mean() > 0.5
    out, _ = layers.dropout_forward(np.ones(10_000), {"mode": "train", "p": 0.9, "seed": 3, "legacy": None})
    assert (out == 0).mean() < 0.5


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"dropout": 0.5, "dropout_keep_ratio": 0.5}, "dropout, dropout_keep_ratio"),
        ({"use_batchnorm": True, "normalization": "batchnorm"}, "use_batchnorm, normalization"),
        ({"dropout": 1.5}, "dropout"),
        ({"dropout": -0.5}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"dropout": 1, "legacy": "2017"}, "dropout"),
        ({"dropout": 0.5, "legacy": "2016"}, "legacy"),
        ({"dropout": 0.5, "legacy": True}, "legacy"),
    ],
)
def test_wrong_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        net(**arguments)


def test_dropout_must_be_a_number():
    with pytest.raises(TypeError, match=r"^dropout: expected a number"):
        net(dropout="half")


# --------------------------------------------------------------------------------------- dropout of 2017


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_legacy_layer(dtype, p):
    x = np.random.RandomState(0).randn(7, 5).astype(dtype)
    param = {"mode": "train", "p": p, "seed": 4, "legacy": "2017"}
    out, cache = layers.dropout_forward(x, param)
    np.random.seed(4)
    mask = ((np.random.rand(7, 5) >= p) / (1 - p)).astype(dtype)
    following = np.random.rand()
    layers.dropout_forward(x, param)
    assert np.random.rand() == following
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, x * mask)
    np.testing.assert_array_equal(layers.dropout_backward(x, cache), x * mask)
    assert cache[0] is param


@pytest.mark.parametrize("p", [-0.1, 1, 1.5])
def test_legacy_layer_refuses(p):
    with pytest.raises(ValueError, match="probability to drop, 0 <= p < 1"):
        layers.dropout_forward(np.ones(3), {"mode": "train", "p": p, "legacy": "2017"})
    with pytest.raises(ValueError, match=r"dropout_param\['legacy'\]: expected '2017'"):
        layers.dropout_forward(np.ones(3), {"mode": "train", "p": 0.5, "legacy": "1999"})


@pytest.mark.parametrize("norm", ["", "batchnorm_", "layernorm_"])
@pytest.mark.parametrize("mode", ["train", "test"])
def test_legacy_blocks_equal_their_layers(norm, mode):
    random = np.random.RandomState(5)
    x, w, b = random.randn(ROWS, D), random.randn(D, H), random.randn(H)
    arguments = [x, w, b]
    if norm:
        arguments += [random.randn(H), random.randn(H), {"mode": "train"}]
    param = {"mode": mode, "p": 0.4, "seed": 6, "legacy": "2017"}
    dout = random.randn(ROWS, H)

    out, cache = getattr(layer_utils, f"affine_{norm}relu_dropout_forward")(*arguments, param)
    gradients = getattr(layer_utils, f"affine_{norm}relu_dropout_backward")(dout, cache)
    plain, plain_cache = getattr(layer_utils, f"affine_{norm}relu_forward")(*arguments)
    expected, dropout_cache = layers.dropout_forward(plain, param)
    np.testing.assert_array_equal(out, expected)
    assert (out == 0).any()
    back = getattr(layer_utils, f"affine_{norm}relu_backward")
    expected_gradients = back(layers.dropout_backward(dout, dropout_cache), plain_cache)
    largest = max(np.abs(wanted).max() for wanted in expected_gradients)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        allowed = fastfc.tolerance(np.float64, ROWS * H) * largest
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=allowed)


@pytest.mark.parametrize("normalization", [None, "batchnorm"])
def test_a_legacy_network_trains_in_the_generic_loop(normalization):
    X, y = data()
    model = net(dropout=0.3, normalization=normalization, legacy="2017")
    parts = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(model, parts, num_epochs=3, batch_size=3, verbose=False)
    solver.train()
    assert solver.engine_ == "generic"
    assert len(solver.loss_history) == 6
    assert model.predict(X).shape == (ROWS,)
    scores = model.loss(X)
    model.dropout_param["mode"] = "train"
    np.testing.assert_array_equal(model.loss(X), scores)


def test_saving_a_legacy_network(tmp_path):
    X, y = data()
    for name, model in {"old": net(dropout=0.3, legacy="2017", seed=7), "new": net(dropout_keep_ratio=0.3)}.items():
        model.save(tmp_path / name)
        again = load_model(tmp_path / name)
        assert again.dropout_param == model.dropout_param
        losses = []
        for each in (model, again):
            np.random.seed(8)
            losses.append(each.loss(X, y)[0])
        assert losses[0] == losses[1]


# ------------------------------------------------------------------------------------------------- optim


@pytest.mark.parametrize("name", optim.__all__)
def test_older_names_of_update_rules(name):
    rule = getattr(optim, name)
    w, dw = np.linspace(-1, 1, 6), np.linspace(2, 3, 6)
    expected, config = rule(w.copy(), dw)
    for call in (
        lambda: rule(x=w.copy(), dx=dw, config={}),
        lambda: rule(w.copy(), dx=dw),
        lambda: rule(w=w.copy(), dw=dw),
    ):
        next_w, given = call()
        np.testing.assert_array_equal(next_w, expected)
        assert sorted(given) == sorted(config)
    with pytest.raises(TypeError, match=r"^dx, dw: expected the older or the newer name, got both"):
        rule(w.copy(), dw=dw, dx=dw)
    with pytest.raises(TypeError, match="multiple values"):
        rule(w.copy(), dw, x=w)


# ------------------------------------------------------------------------------- the notebooks' imports

# The imports in the cells of each notebook, over the years.
IMPORTS = """\
from fastfc.classifiers.fc_net import *
from fastfc.layers import *
from fastfc.layer_utils import *
from fastfc.gradient_check import *
from fastfc.data_utils import get_CIFAR10_data
from fastfc.data_utils import load_CIFAR10
from fastfc.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from fastfc.gradient_check import grad_check_sparse
from fastfc.solver import Solver
from fastfc.classifiers.fc_net import TwoLayerNet
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.layers import affine_forward, affine_backward, relu_forward, relu_backward
from fastfc.layers import softmax_loss, svm_loss
from fastfc.layer_utils import affine_relu_forward, affine_relu_backward
from fastfc.optim import sgd
from fastfc.optim import sgd_momentum
from fastfc.optim import rmsprop
from fastfc.optim import adam
from fastfc.vis_utils import visualize_grid
""".splitlines()

#: Names that the cells use after nothing but the star-import of fc_net.
USED = [
    "np",
    "FullyConnectedNet",
    "TwoLayerNet",
    "affine_forward",
    "affine_backward",
    "relu_forward",
    "relu_backward",
    "affine_relu_forward",
    "affine_relu_backward",
    "svm_loss",
    "softmax_loss",
    "batchnorm_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "layernorm_forward",
    "layernorm_backward",
    "dropout_forward",
    "dropout_backward",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_import_lines(line):
    names = {}
    exec(line, names)
    wanted = line.split(" import ")[1]
    assert set(names) > (set(wanted.split(", ")) if wanted != "*" else set())


def test_names_after_the_star_import():
    names = {}
    exec("from fastfc.classifiers.fc_net import *", names)
    assert set(USED) <= set(names)


def test_the_cells_of_the_dropout_notebooks_run_in_every_year():
    X, y = data()
    parts = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    for year, argument in {"2017": "dropout", "2019": "dropout", "2024": "dropout_keep_ratio"}.items():
        legacy = {"legacy": "2017"} if year == "2017" else {}
        for p in (0, 0.75) if year == "2017" else (1, 0.25):
            expectation = (
                pytest.warns(DeprecationWarning, match="KEEP")
                if year == "2019" and p != 1
                else contextlib.nullcontext()
            )
            with expectation:
                model = FullyConnectedNet([H], D, C, **{argument: p}, **legacy)
            solver = Solver(
                model, parts, num_epochs=1, batch_size=3, update_rule="adam", optim_config={"learning_rate": 5e-4}
            )
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                solver.train()
            lines = printed.getvalue().splitlines()
            assert lines[0].startswith("(Iteration 1 / 2) loss: ")
            assert [line.split(")")[0] for line in lines[1:]] == ["(Epoch 0 / 1", "(Epoch 1 / 1"]


def test_batch_normalization_by_both_names_is_the_same():
    nets = [net(use_batchnorm=True), net(normalization="batchnorm")]
    for a, b in itertools.pairwise(nets):
        assert a.params.keys() == b.params.keys()
        np.testing.assert_array_equal(a.params.flat, b.params.flat)
        assert a.bn_params == b.bn_params
    assert not TwoLayerNet(D, H, C).use_batchnorm


def test_a_network_of_2017_through_checkpoint_and_resume(tmp_path):
    X, y = np.random.randn(50, 4), np.arange(50) % 3
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    model = FullyConnectedNet([8], 4, 3, dropout=0.3, legacy="2017")
    name, path = tmp_path / "net", tmp_path / "training.npz"
    Solver(model, data, num_epochs=1, batch_size=10, verbose=False, checkpoint_name=name, autosave=path).train()
    for again in (load_checkpoint(f"{name}_epoch_1.pkl")["model"], Solver.resume(path, data).model):
        assert again.dropout_param == {"mode": "test", "p": 0.3, "legacy": "2017"}
