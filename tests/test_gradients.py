"""Every gradient against central differences, in float64, on both backends."""

import copy
import importlib

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, cases, layers
from fastfc.backend import OPS
from fastfc.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from fastfc.ops.activations import ACTIVATIONS

SIZES = cases.Sizes(n=6, d=5, inputs=12)
FORWARD = [name for name in OPS if name.endswith("_forward")]
WITH_MODES = [name for name in FORWARD if "batchnorm" in name or "dropout" in name]
LOSSES = [name for name in OPS if name.endswith("_loss")]


def step_and_bound(magnitude, terms, radius):
    """The step h of a central difference, and how far it may then lie from the true gradient.

    Move one element of the argument by a complex z. Where f is analytic and at most F (`magnitude`) for
    ``|z| <= r`` (`radius`), Cauchy's estimate holds its Taylor coefficients under ``F / r**k``, so that
    ``(f(h) - f(-h)) / 2h`` leaves out ``F h**2 / r**3`` (to first order in ``(h / r)**2``, here 1e-9).

    Rounding moves each f by at most ``tol / 2 * F``, tol being ``tolerance(float64, terms)``, and the moved
    element by ``u |x|``, f by ``u |x| F / r``: together at most ``tol F / h``, as ``|x| / r`` is below terms + 16.

    The sum of both is least for ``h = r (tol / 2)**(1/3)``, and is then ``3 (tol / 2)**(2/3) F / r``.

    f may have kinks: it is analytic in the piece that it is in, and to cross a kink within h makes an error
    far above the bound. So the fixed seeds of these tests are such that none is crossed.
    """
    share = fastfc.tolerance("float64", terms) / 2
    return radius * share ** (1 / 3), 3 * share ** (2 / 3) * magnitude / radius


def assert_close(grad, numeric, bound):
    assert grad.shape == numeric.shape
    assert grad.dtype == np.float64
    # Absolutely: a true gradient of 0, as of a bias before batch normalization, has no relative error.
    np.testing.assert_allclose(grad, numeric, rtol=0, atol=bound)


def away_from_kinks(rng, name, shape):
    values = cases.normal(rng, name, shape)
    return values + 0.1 * np.sign(values)


def public(name):
    return getattr(importlib.import_module(f"fastfc.{OPS[name].public_module}"), name)


def layer_case(name, mode):
    """Arguments of a layer or block, in `mode`, and the magnitudes of its output.

    Running statistics are the batch's, so that the magnitudes hold in test mode as well.
    """
    kinks = [f"{activation.name}_forward" for activation in ACTIVATIONS.values() if not activation.smooth]
    case = cases.build(name, SIZES, np.float64, sample=away_from_kinks if name in kinks else cases.normal)
    args = copy.deepcopy(case.args)
    params = [arg for arg in args if isinstance(arg, dict)]
    for param in params:
        if "momentum" in param:
            param["momentum"] = 0
    public(name)(*args)
    for param in params:
        if "mode" in param:
            param["mode"] = mode
    return args, case.magnitudes[0], case.terms


def assert_layer_gradients(forward, backward, args, magnitude, terms):
    """Hold `backward` to the central differences of `forward`, for every array in `args`."""
    x = args[0]
    out, cache = forward(*args)
    dout = np.random.default_rng(1).standard_normal(out.shape)
    grads = backward(dout, cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    # Values are about 1, and columns and rows that are normalized deviate by 0.4 and more: to move an element
    # by 1/4 brings no variance near 0 and no output to twice its magnitude.
    h, bound = step_and_bound(2 * np.sum(np.abs(dout) * magnitude), terms + out.size, radius=0.25)
    arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
    assert x is arrays[0]
    for array, grad in zip(arrays, grads, strict=True):
        numeric = eval_numerical_gradient_array(lambda _: forward(*args)[0], array, dout, h)
        assert_close(grad, numeric, bound)


@pytest.mark.parametrize("name", FORWARD)
def test_layers_in_training(name, backend):
    args, magnitude, terms = layer_case(name, "train")
    assert_layer_gradients(public(name), public(name.replace("forward", "backward")), args, magnitude, terms)


@pytest.mark.parametrize("name", WITH_MODES)
def test_layers_in_test_mode(name, backend):
    args, magnitude, terms = layer_case(name, "test")
    assert_layer_gradients(public(name), public(name.replace("forward", "backward")), args, magnitude, terms)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_alternative_batchnorm_backward(mode, backend):
    args, magnitude, terms = layer_case("batchnorm_forward", mode)
    assert_layer_gradients(layers.batchnorm_forward, layers.batchnorm_backward_alt, args, magnitude, terms)


@pytest.mark.parametrize("name", [name for name in FORWARD if name.startswith("affine_")])
def test_examples_with_more_axes(name, backend):
    args, magnitude, terms = layer_case(name, "train")
    args = (args[0].reshape(SIZES.n, 2, 3, 2), *args[1:])
    assert_layer_gradients(public(name), public(name.replace("forward", "backward")), args, magnitude, terms)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, backend):
    case = cases.build(name, SIZES, np.float64)
    x, *others = case.args
    function = public(name)
    # The softmax's logarithm meets its singularity at a distance of pi; the hinge is linear between its kinks.
    h, bound = step_and_bound(2 * case.magnitudes[0], case.terms, radius=0.25)
    _, dx = function(x, *others)
    assert_close(dx, eval_numerical_gradient(lambda x: function(x, *others)[0], x, verbose=False, h=h), bound)


def test_l2_penalty(backend):
    case = cases.build("l2_penalty", SIZES, np.float64)
    w, dw, reg = case.args
    h, bound = step_and_bound(2 * case.magnitudes[0], case.terms, radius=0.25)
    numeric = eval_numerical_gradient(
        lambda w: layers.l2_penalty(w, np.zeros_like(w), reg), w.copy(), verbose=False, h=h
    )
    grown = dw.copy()
    layers.l2_penalty(w, grown, reg)
    assert_close(grown - dw, numeric, bound)


def network_magnitude(net, X):
    """Bound on the loss computed with absolute values; to normalize divides by deviations of about 1 and more."""
    size, penalty = np.abs(X), 0.0
    for i in range(1, net.num_layers + 1):
        w = np.abs(net.params[f"W{i}"])
        size = size @ w + np.abs(net.params[f"b{i}"])
        penalty += 0.5 * net.reg * np.sum(w**2)
        if f"gamma{i}" in net.params:
            size = np.abs(net.params[f"gamma{i}"]) * size + np.abs(net.params[f"beta{i}"])
        if i < net.num_layers:
            size = size / net.dropout_param.get("p", 1)
    return 2 * np.max(size) + np.log(net.dims[-1]) + penalty


@pytest.mark.parametrize("reg", [0, 3.14])
@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_network(normalization, keep, reg, backend):
    rng = np.random.default_rng(2)
    np.random.seed(2)
    net = FullyConnectedNet([6, 5], 4, 3, keep, normalization, reg, weight_scale=1, dtype=np.float64, seed=123)
    for name, value in net.params.items():
        if not name.startswith("W"):
            value += 0.3 * rng.standard_normal(value.shape)
    X, y = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)

    _, grads = net.loss(X, y)
    assert grads.keys() == net.params.keys()
    # To move a weight by 1/10 moves no score by more than about 1, where the softmax is far from singular.
    terms = sum(net.dims) + net.num_layers * len(X)
    h, bound = step_and_bound(2 * network_magnitude(net, X), terms, radius=0.1)
    assert bound < 1e-3 * max(np.max(np.abs(grad)) for grad in grads.values())
    for name, value in net.params.items():
        numeric = eval_numerical_gradient(lambda _: net.loss(X, y)[0], value, verbose=False, h=h)
        assert_close(grads[name], numeric, bound)
        if normalization == "batchnorm" and name in ("b1", "b2"):
            # The mean that is subtracted takes the bias with it.
            assert_close(grads[name], np.zeros_like(value), bound)
