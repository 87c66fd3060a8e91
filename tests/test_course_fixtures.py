"""The figures of the course's notebooks, called as the notebooks call things."""

# ruff: noqa: F403, F405
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc.classifiers.fc_net import *
from fastfc.gradient_check import *
from fastfc.optim import adam, rmsprop, sgd_momentum

FIGURES = json.loads((Path(__file__).parent / "course_fixtures.json").read_text())
WITHOUT_COMPILER = bool(importlib.import_module("numba").config.DISABLE_JIT)

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def compiled(backend):
    """For tests that interpreted kernels would take minutes for; the reference runs them all the same."""
    if backend == "fast" and WITHOUT_COMPILER:
        pytest.skip("too much work for kernels without the compiler")


# ------------------------------------------------------------------------------------------- update rules


@pytest.mark.parametrize(
    ("rule", "config", "state"),
    [
        (sgd_momentum, {"learning_rate": 1e-3}, {"velocity": (0.6, 0.9)}),
        (rmsprop, {"learning_rate": 1e-2}, {"cache": (0.6, 0.9)}),
        (adam, {"learning_rate": 1e-2, "t": 5}, {"m": (0.6, 0.9), "v": (0.7, 0.5)}),
    ],
)
def test_update_rule(rule, config, state):
    figures = FIGURES[rule.__name__]
    N, D = 4, 5
    w = np.linspace(-0.4, 0.6, num=N * D).reshape(N, D)
    dw = np.linspace(-0.6, 0.4, num=N * D).reshape(N, D)
    config = {**config, **{key: np.linspace(*ends, num=N * D).reshape(N, D) for key, ends in state.items()}}
    next_w, returned = rule(w, dw, config=config)
    assert returned is config
    assert rel_error(next_w, figures["expected_next_w"]) <= figures["max_rel_error"]
    for key in state:
        assert rel_error(config[key], figures[f"expected_{key}"]) <= figures["max_rel_error"]


# ---------------------------------------------------------------------------------- affine, relu and losses


def test_affine_forward():
    figures = FIGURES["affine_forward"]
    num_inputs, input_shape, output_dim = 2, (4, 5, 6), 3
    x = np.linspace(-0.1, 0.5, num=num_inputs * np.prod(input_shape)).reshape(num_inputs, *input_shape)
    w = np.linspace(-0.2, 0.3, num=output_dim * np.prod(input_shape)).reshape(np.prod(input_shape), output_dim)
    b = np.linspace(-0.3, 0.1, num=output_dim)
    out, _ = affine_forward(x, w, b)
    assert rel_error(out, figures["correct_out"]) <= figures["max_rel_error"]


def test_affine_backward():
    np.random.seed(231)
    x = np.random.randn(10, 2, 3)
    w = np.random.randn(6, 5)
    b = np.random.randn(5)
    dout = np.random.randn(10, 5)
    dx_num = eval_numerical_gradient_array(lambda x: affine_forward(x, w, b)[0], x, dout)
    dw_num = eval_numerical_gradient_array(lambda w: affine_forward(x, w, b)[0], w, dout)
    db_num = eval_numerical_gradient_array(lambda b: affine_forward(x, w, b)[0], b, dout)
    _, cache = affine_forward(x, w, b)
    dx, dw, db = affine_backward(dout, cache)
    for numeric, grad in ((dx_num, dx), (dw_num, dw), (db_num, db)):
        assert rel_error(numeric, grad) <= FIGURES["affine_backward"]["max_rel_error"]


def test_relu_forward():
    figures = FIGURES["relu_forward"]
    x = np.linspace(-0.5, 0.5, num=12).reshape(3, 4)
    out, _ = relu_forward(x)
    assert rel_error(out, figures["correct_out"]) <= figures["max_rel_error"]


def test_relu_backward():
    np.random.seed(231)
    x = np.random.randn(10, 10)
    dout = np.random.randn(*x.shape)
    dx_num = eval_numerical_gradient_array(lambda x: relu_forward(x)[0], x, dout)
    _, cache = relu_forward(x)
    assert rel_error(dx_num, relu_backward(dout, cache)) <= FIGURES["relu_backward"]["max_rel_error"]


def test_affine_relu():
    np.random.seed(231)
    x = np.random.randn(2, 3, 4)
    w = np.random.randn(12, 10)
    b = np.random.randn(10)
    dout = np.random.randn(2, 10)
    _, cache = affine_relu_forward(x, w, b)
    dx, dw, db = affine_relu_backward(dout, cache)
    dx_num = eval_numerical_gradient_array(lambda x: affine_relu_forward(x, w, b)[0], x, dout)
    dw_num = eval_numerical_gradient_array(lambda w: affine_relu_forward(x, w, b)[0], w, dout)
    db_num = eval_numerical_gradient_array(lambda b: affine_relu_forward(x, w, b)[0], b, dout)
    for numeric, grad in ((dx_num, dx), (dw_num, dw), (db_num, db)):
        assert rel_error(numeric, grad) <= FIGURES["affine_relu"]["max_rel_error"]


@pytest.mark.parametrize("function", [svm_loss, softmax_loss])
def test_losses(function):
    figures, name = FIGURES["losses"], function.__name__
    np.random.seed(231)
    num_classes, num_inputs = 10, 50
    x = 0.001 * np.random.randn(num_inputs, num_classes)
    y = np.random.randint(num_classes, size=num_inputs)
    dx_num = eval_numerical_gradient(lambda x: function(x, y)[0], x, verbose=False)
    loss, dx = function(x, y)
    allowed = fastfc.tolerance("float64", num_inputs * num_classes)
    assert loss == pytest.approx(figures[name], rel=allowed, abs=0)
    assert rel_error(dx_num, dx) <= figures[f"max_rel_error_{name.removesuffix('_loss')}_dx"]


# ------------------------------------------------------------------------------------------ TwoLayerNet


def test_two_layer_net():
    """The one cell of the notebooks that asserts; X is Fortran-ordered, parameters are assigned."""
    figures = FIGURES["two_layer_net"]
    np.random.seed(231)
    N, D, H, C = 3, 5, 50, 7
    X = np.random.randn(N, D)
    y = np.random.randint(C, size=N)

    std = 1e-3
    model = TwoLayerNet(input_dim=D, hidden_dim=H, num_classes=C, weight_scale=std)

    W1_std = abs(model.params["W1"].std() - std)
    b1 = model.params["b1"]
    W2_std = abs(model.params["W2"].std() - std)
    b2 = model.params["b2"]
    assert W1_std < std / 10, "First layer weights do not seem right"
    assert np.all(b1 == 0), "First layer biases do not seem right"
    assert W2_std < std / 10, "Second layer weights do not seem right"
    assert np.all(b2 == 0), "Second layer biases do not seem right"

    model.params["W1"] = np.linspace(-0.7, 0.3, num=D * H).reshape(D, H)
    model.params["b1"] = np.linspace(-0.1, 0.9, num=H)
    model.params["W2"] = np.linspace(-0.3, 0.4, num=H * C).reshape(H, C)
    model.params["b2"] = np.linspace(-0.9, 0.1, num=C)
    X = np.linspace(-5.5, 4.5, num=N * D).reshape(D, N).T
    scores = model.loss(X)
    scores_diff = np.abs(scores - figures["correct_scores"]).sum()
    assert scores_diff < figures["scores_abs_sum_tol"], "Problem with test-time forward pass"

    y = np.asarray([0, 5, 1])
    loss, _ = model.loss(X, y)
    assert abs(loss - figures["loss_reg0"]) < figures["loss_abs_tol"], "Problem with training-time loss"

    model.reg = 1.0
    loss, _ = model.loss(X, y)
    assert abs(loss - figures["loss_reg1"]) < figures["loss_abs_tol"], "Problem with regularization loss"


@pytest.mark.parametrize("reg", FIGURES["two_layer_net"]["gradcheck_reg"])
def test_two_layer_net_gradients(reg, compiled):
    N, D, H, C = 3, 5, 50, 7
    model = TwoLayerNet(input_dim=D, hidden_dim=H, num_classes=C)
    model.params["W1"] = np.linspace(-0.7, 0.3, num=D * H).reshape(D, H)
    model.params["b1"] = np.linspace(-0.1, 0.9, num=H)
    model.params["W2"] = np.linspace(-0.3, 0.4, num=H * C).reshape(H, C)
    model.params["b2"] = np.linspace(-0.9, 0.1, num=C)
    X = np.linspace(-5.5, 4.5, num=N * D).reshape(D, N).T
    y = np.asarray([0, 5, 1])
    model.reg = reg
    _, grads = model.loss(X, y)
    assert sorted(grads) == ["W1", "W2", "b1", "b2"]
    for name in sorted(grads):
        grad_num = eval_numerical_gradient(lambda _: model.loss(X, y)[0], model.params[name], verbose=False)
        assert rel_error(grad_num, grads[name]) <= FIGURES["two_layer_net"]["gradcheck_max"]


# ------------------------------------------------------------------------------------ FullyConnectedNet


N, D, H1, H2, C = 2, 15, 20, 30, 10


def fc_data():
    np.random.seed(231)
    return np.random.randn(N, D), np.random.randint(C, size=(N,))


def gradient_errors(model, X, y, h=1e-5):
    """rel_error by parameter; except for a bias before batch normalization, whose true gradient is 0.

    There the notebooks' error is that of two rounded losses, a few ulps over h, in units of 1e-8: chance. Its
    gradients are held to this rounding, as are those that are exactly 0, of dead units.
    """
    loss, grads = model.loss(X, y)
    rounding = fastfc.tolerance("float64", D + H1 + H2) * loss / h
    errors = {}
    for name in sorted(grads):
        grad_num = eval_numerical_gradient(lambda _: model.loss(X, y)[0], model.params[name], verbose=False, h=h)
        if model.normalization == "batchnorm" and name in ("b1", "b2"):
            assert np.max(np.abs(grad_num)) <= rounding
            assert np.max(np.abs(grads[name])) <= rounding
        else:
            alive = grads[name] != 0
            assert np.max(np.abs(grad_num[~alive]), initial=0.0) <= rounding
            errors[name] = rel_error(grad_num[alive], grads[name][alive])
    return errors


def fc_nets(normalization):
    """(reg as the figures name it, model, X, y); all models of one loop, from one seed."""
    X, y = fc_data()
    for reg in (0, 3.14):
        model = FullyConnectedNet(
            [H1, H2],
            input_dim=D,
            num_classes=C,
            reg=reg,
            weight_scale=5e-2,
            dtype=np.float64,
            normalization=normalization,
        )
        yield str(reg), model, X, y


@pytest.mark.parametrize(
    ("normalization", "row"), [(None, "fc_initial_loss"), ("batchnorm", "fc_batchnorm_initial_loss")]
)
def test_initial_loss(normalization, row):
    figures = FIGURES[row]
    losses = {reg: model.loss(X, y)[0] for reg, model, X, y in fc_nets(normalization)}
    assert losses == pytest.approx(figures["loss"], rel=figures["loss_rtol"], abs=0)


def test_initial_gradients(compiled):
    allowed = FIGURES["fc_initial_loss"]["gradcheck_max"]
    for reg, model, X, y in fc_nets(None):
        for name, error in gradient_errors(model, X, y).items():
            assert error <= allowed.get(f"{name}@reg{reg}", allowed["others"]), (name, reg)


def test_initial_gradients_with_batchnorm(compiled):
    allowed = FIGURES["fc_batchnorm_initial_loss"]["gradcheck_max"]
    kinds = {"W": "W", "b": "b", "gamma": "gamma_beta", "beta": "gamma_beta"}
    for reg, model, X, y in fc_nets("batchnorm"):
        errors = gradient_errors(model, X, y)
        assert sorted(errors) == ["W1", "W2", "W3", "b3", "beta1", "beta2", "gamma1", "gamma2"]
        for name, error in errors.items():
            assert error <= allowed[kinds[name.rstrip("123")]], (name, reg)


def dropout_nets():
    """(keep as the figures name it, model, X, y).

    The seed is set at every dropout layer: from the third model on the weights depend on the passes before.
    """
    X, y = fc_data()
    for keep in (1, 0.75, 0.5):
        model = FullyConnectedNet(
            [H1, H2],
            input_dim=D,
            num_classes=C,
            weight_scale=5e-2,
            dtype=np.float64,
            dropout_keep_ratio=keep,
            seed=123,
        )
        yield str(keep), model, X, y


def test_initial_loss_with_dropout():
    figures = FIGURES["fc_dropout_initial_loss"]
    losses = {keep: model.loss(X, y)[0] for keep, model, X, y in dropout_nets()}
    assert losses == pytest.approx(figures["loss"], rel=figures["loss_rtol"], abs=0)


def test_initial_loss_with_dropout_of_2017():
    figures = FIGURES["fc_dropout_initial_loss"]
    X, y = fc_data()
    losses = {}
    for dropout in (0, 0.25, 0.5):
        model = FullyConnectedNet(
            [H1, H2],
            input_dim=D,
            num_classes=C,
            weight_scale=5e-2,
            dtype=np.float64,
            dropout=dropout,
            seed=123,
            legacy="2017",
        )
        losses[str(dropout)] = model.loss(X, y)[0]
    assert losses == pytest.approx(figures["legacy_2017"]["loss"], rel=figures["loss_rtol"], abs=0)


def test_initial_gradients_with_dropout(compiled):
    allowed = FIGURES["fc_dropout_initial_loss"]["gradcheck_max"]
    for keep, model, X, y in dropout_nets():
        for name, error in gradient_errors(model, X, y).items():
            assert error <= allowed.get(f"{name}@keep{keep}", allowed["others"]), (name, keep)


# -------------------------------------------------------------------------------------- batch normalization


def hidden_layer(N):
    """Output (N, 3) of a network with random weights of 50 and 60 features."""
    D1, D2, D3 = 50, 60, 3
    X = np.random.randn(N, D1)
    W1 = np.random.randn(D1, D2)
    W2 = np.random.randn(D2, D3)
    return np.maximum(0, X.dot(W1)).dot(W2)


def assert_statistics(values, axis, figures, atol):
    mean = values.mean(axis=axis)
    if "means" in figures:
        np.testing.assert_allclose(mean, figures["means"], rtol=0, atol=atol)
    else:
        assert np.max(np.abs(mean)) <= figures["means_abs_max"]
    np.testing.assert_allclose(values.std(axis=axis), figures["stds"], rtol=0, atol=atol)


def test_batchnorm_forward_train():
    figures = FIGURES["batchnorm_forward_train"]
    np.random.seed(231)
    a = hidden_layer(200)
    assert_statistics(a, 0, figures["before"], figures["atol"])
    a_norm, _ = batchnorm_forward(a, np.ones(3), np.zeros(3), {"mode": "train"})
    assert_statistics(a_norm, 0, figures["gamma1_beta0"], figures["atol"])
    a_norm, _ = batchnorm_forward(a, np.asarray([1.0, 2.0, 3.0]), np.asarray([11.0, 12.0, 13.0]), {"mode": "train"})
    assert_statistics(a_norm, 0, figures["gamma123_beta11_12_13"], figures["atol"])


def test_batchnorm_forward_test():
    figures = FIGURES["batchnorm_forward_test"]
    np.random.seed(231)
    N, D1, D2, D3 = 200, 50, 60, 3
    W1 = np.random.randn(D1, D2)
    W2 = np.random.randn(D2, D3)
    bn_param = {"mode": "train"}
    for _ in range(50):
        X = np.random.randn(N, D1)
        batchnorm_forward(np.maximum(0, X.dot(W1)).dot(W2), np.ones(D3), np.zeros(D3), bn_param)
    bn_param["mode"] = "test"
    X = np.random.randn(N, D1)
    a_norm, _ = batchnorm_forward(np.maximum(0, X.dot(W1)).dot(W2), np.ones(D3), np.zeros(D3), bn_param)
    assert_statistics(a_norm, 0, figures, figures["atol"])


def norm_data(N, D):
    """x, gamma, beta and dout of the notebooks' cells."""
    np.random.seed(231)
    x = 5 * np.random.randn(N, D) + 12
    return x, np.random.randn(D), np.random.randn(D), np.random.randn(N, D)


@pytest.mark.parametrize(
    ("forward", "backward", "param"),
    [(batchnorm_forward, batchnorm_backward, {"mode": "train"}), (layernorm_forward, layernorm_backward, {})],
)
def test_norm_backward(forward, backward, param):
    x, gamma, beta, dout = norm_data(4, 5)
    dx_num = eval_numerical_gradient_array(lambda x: forward(x, gamma, beta, param)[0], x, dout)
    da_num = eval_numerical_gradient_array(lambda a: forward(x, a, beta, param)[0], gamma, dout)
    db_num = eval_numerical_gradient_array(lambda b: forward(x, gamma, b, param)[0], beta, dout)
    _, cache = forward(x, gamma, beta, param)
    dx, dgamma, dbeta = backward(dout, cache)
    for numeric, grad in ((dx_num, dx), (da_num, dgamma), (db_num, dbeta)):
        assert rel_error(numeric, grad) <= FIGURES[backward.__name__]["max_rel_error"]


def test_batchnorm_backward_alt():
    figures = FIGURES["batchnorm_backward_alt"]
    x, gamma, beta, dout = norm_data(100, 500)
    _, cache = batchnorm_forward(x, gamma, beta, {"mode": "train"})
    dx1, dgamma1, dbeta1 = batchnorm_backward(dout, cache)
    dx2, dgamma2, dbeta2 = batchnorm_backward_alt(dout, cache)
    assert rel_error(dx1, dx2) <= figures["max_dx_difference"]
    assert rel_error(dgamma1, dgamma2) <= figures["max_dgamma_dbeta_difference"]
    assert rel_error(dbeta1, dbeta2) <= figures["max_dgamma_dbeta_difference"]


# --------------------------------------------------------------------------------- layer norm and dropout


def test_layernorm_forward():
    figures = FIGURES["layernorm_forward"]
    np.random.seed(231)
    a = hidden_layer(4)
    assert_statistics(a, 1, figures["before"], figures["atol"])
    a_norm, _ = layernorm_forward(a, np.ones(3), np.zeros(3), {"mode": "train"})
    assert_statistics(a_norm, 1, figures["gamma1_beta0"], figures["atol"])
    a_norm, _ = layernorm_forward(a, 3 * np.ones(3), 5 * np.ones(3), {"mode": "train"})
    assert_statistics(a_norm, 1, figures["gamma3_beta5"], figures["atol"])


def test_dropout_forward(compiled):
    figures = FIGURES["dropout_forward"]
    np.random.seed(231)
    x = np.random.randn(500, 500) + 10
    rtol = figures["rtol"]
    assert x.mean() == pytest.approx(figures["mean_input"], rel=rtol)
    for p, mean, zeros in zip(figures["p"], figures["mean_train"], figures["fraction_zero"], strict=True):
        out, _ = dropout_forward(x, {"mode": "train", "p": p})
        out_test, _ = dropout_forward(x, {"mode": "test", "p": p})
        assert out.mean() == pytest.approx(mean, rel=rtol)
        assert (out == 0).mean() == pytest.approx(zeros, rel=rtol)
        np.testing.assert_array_equal(out_test, x)


def test_dropout_forward_of_2017():
    figures = FIGURES["dropout_forward"]["legacy_2017"]
    rtol = FIGURES["dropout_forward"]["rtol"]
    np.random.seed(231)
    x = np.random.randn(500, 500) + 10
    for p, mean, zeros in zip(figures["p"], figures["mean_train"], figures["fraction_zero"], strict=True):
        out, _ = dropout_forward(x, {"mode": "train", "p": p, "legacy": "2017"})
        out_test, _ = dropout_forward(x, {"mode": "test", "p": p, "legacy": "2017"})
        assert out.mean() == pytest.approx(mean, rel=rtol)
        assert (out == 0).mean() == pytest.approx(zeros, rel=rtol)
        np.testing.assert_array_equal(out_test, x)


@pytest.mark.parametrize("year", [{"p": 0.2}, {**FIGURES["dropout_backward"]["legacy_2017"], "legacy": "2017"}])
def test_dropout_backward(year):
    np.random.seed(231)
    x = np.random.randn(10, 10) + 10
    dout = np.random.randn(*x.shape)
    dropout_param = {"mode": "train", "seed": 123, **year}
    _, cache = dropout_forward(x, dropout_param)
    dx = dropout_backward(dout, cache)
    dx_num = eval_numerical_gradient_array(lambda xx: dropout_forward(xx, dropout_param)[0], x, dout)
    assert rel_error(dx, dx_num) <= FIGURES["dropout_backward"]["max_rel_error"]
