"""Networks in somebody else's loop: the compiled passes, one by one, against the operations that define them."""

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rule_lists import RULES, rates
from test_gradients import step_and_bound

import fastfc
from fastfc import FullyConnectedNet, Network, Optimizer, losses, optim, tolerance
from fastfc.activations import NAMES
from fastfc.gradient_check import eval_numerical_gradient_array
from fastfc.ops import rules

DIMS, ROWS = [6, 19, 7, 4], 13
# The longest chain of sums there and back: along features, units and rows.
TERMS = 4 * (sum(DIMS) + ROWS)
NORMALIZATIONS = [None, "batchnorm", "layernorm"]
DTYPES = ["float32", "float64"]


def made(seed=0, **options):
    """A network whose biases, scales and shifts are not what they start from."""
    net = Network(options.pop("dims", DIMS), seed=seed, **options)
    rng = np.random.default_rng(5)
    for name, value in net.params.items():
        if not name.startswith("W"):
            value += 0.3 * rng.standard_normal(value.shape)
    return net


def batch(rows=ROWS, dtype="float64", seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, DIMS[0])).astype(dtype), rng.standard_normal((rows, DIMS[-1])).astype(dtype)


def assert_close(got, expected, terms=TERMS, name=""):
    """For values of the size of the largest of them, or of 1."""
    assert got.dtype == expected.dtype
    bound = tolerance(expected.dtype, terms) * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound, err_msg=name)


def assert_same_passes(net, other, X, dout):
    """Passes of one network on the kernels, of the other on the reference."""
    with fastfc.use_backend("fast"):
        out, dX = net.forward(X), net.backward(dout)
    with fastfc.use_backend("reference"):
        expected, expected_dX = other.forward(X), other.backward(dout)
    assert_close(out, expected, name="scores")
    assert_close(dX, expected_dX, name="dX")
    for name, gradient in other.grads.items():
        assert_close(net.grads[name], gradient, name=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_both_backends(activation, normalization, keep, dtype):
    options = {"activation": activation, "normalization": normalization, "dropout_keep_ratio": keep, "dtype": dtype}
    net, other = made(**options), made(**options)
    for seed in range(3):
        # The second batch is smaller, the third one larger than all before: other memory.
        assert_same_passes(net, other, *batch(ROWS + (0, -4, 9)[seed], dtype, seed))
        # As much has been drawn, and the same running statistics have moved.
        np.testing.assert_array_equal(net._stream, other._stream)
    X, _ = batch(dtype=dtype)
    with fastfc.use_backend("fast"):
        out = net.forward(X, training=False)
    with fastfc.use_backend("reference"):
        assert_close(out, other.forward(X, training=False))


@pytest.mark.parametrize("activation", NAMES)
def test_every_activation(activation):
    options = {"activation": activation, "dtype": "float64"}
    assert_same_passes(made(**options), made(**options), *batch())


@pytest.mark.parametrize("dims", [[6, 4], [6, 1], [6, 300, 4], [400, 3, 2]], ids=str)
def test_other_layers(dims):
    rng = np.random.default_rng(0)
    X, dout = rng.standard_normal((ROWS, dims[0])), rng.standard_normal((ROWS, dims[-1]))
    assert_same_passes(made(dims=dims, dtype="float64"), made(dims=dims, dtype="float64"), X, dout)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_central_differences(normalization, backend):
    net = made(activation="tanh", normalization=normalization, dtype="float64")
    X, dout = batch()
    net.forward(X)
    dX = net.backward(dout)
    # tanh is analytic to a distance of pi / 2. To normalize divides by deviations of about 1 and more, and leaves
    # nothing above the root of the number of values.
    largest = np.abs(net.params["W3"]).sum(axis=0).max() + np.abs(net.params["b3"]).max()
    h, bound = step_and_bound(2 * largest * np.abs(dout).sum(), sum(DIMS) + 3 * ROWS + dout.size, radius=0.1)
    assert bound < 1e-3 * np.abs(dX).max()
    for name, value in [("X", X), *net.params.items()]:
        numeric = eval_numerical_gradient_array(lambda _: net.forward(X), value, dout, h)
        got = dX if name == "X" else net.grads[name]
        np.testing.assert_allclose(got, numeric, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_gradients_of_the_course(normalization, backend):
    np.random.seed(3)
    net = FullyConnectedNet([9, 7], 6, 4, normalization=normalization, weight_scale=0.5, dtype=np.float64)
    own = Network.from_net(net)
    X, y = batch()[0], np.arange(ROWS) % 4
    loss, grads = net.loss(X, y)
    out = own.forward(X)
    own_loss, dscores = losses.softmax_loss(out, y)
    own.backward(dscores)
    assert_close(own_loss, loss)
    for name, gradient in grads.items():
        assert_close(own.grads[name], gradient, name=name)
    # And the running statistics of that pass.
    assert_close(own.forward(X, training=False), net.loss(X))


def test_the_gradients_of_pytorch():
    torch = pytest.importorskip("torch")
    net = made(activation="tanh", dtype="float64")
    X, dout = batch()
    x = leaf = torch.tensor(X, requires_grad=True)
    params = {name: torch.tensor(np.array(value), requires_grad=True) for name, value in net.params.items()}
    for i in (1, 2, 3):
        x = x @ params[f"W{i}"] + params[f"b{i}"]
        x = torch.tanh(x) if i < 3 else x
    x.backward(torch.tensor(dout))
    assert_close(net.forward(X), x.detach().numpy())
    assert_close(net.backward(dout), leaf.grad.numpy())
    for name, value in params.items():
        assert_close(net.grads[name], value.grad.numpy(), name=name)


def test_standardized_inputs(backend):
    """The gradient is that of the batch as it was given."""
    np.random.seed(0)
    net = FullyConnectedNet([5], 6, 4, weight_scale=0.5, dtype=np.float64)
    plain = Network.from_net(net)
    net.input_mean, net.input_scale = np.arange(6.0), np.linspace(0.5, 2, 6)
    own = Network.from_net(net)
    X, dout = batch()
    standard = (X - net.input_mean) * net.input_scale
    np.testing.assert_array_equal(own.forward(X), plain.forward(standard))
    np.testing.assert_array_equal(own.backward(dout), plain.backward(dout) * net.input_scale)
    np.testing.assert_array_equal(own.forward(X, training=False), plain.forward(standard, training=False))
    np.testing.assert_array_equal(own.predictor()(X[0]), plain.predictor()(standard[0]))


# ------------------------------------------------------------------------------------------------------------ memory


def test_batches_of_any_form(backend):
    net, (X, dout) = made(dtype="float64"), batch()
    out, dX = net.forward(X), net.backward(dout)
    wide = np.zeros((ROWS, 2 * DIMS[0]))
    wide[:, ::2] = X
    for same in (np.asfortranarray(X), wide[:, ::2], X.tolist(), X.reshape(ROWS, 2, 3)):
        np.testing.assert_array_equal(net.forward(same), out)
        np.testing.assert_array_equal(net.backward(np.asfortranarray(dout)), dX.reshape(np.shape(same)))
    np.testing.assert_array_equal(net.forward(np.ones((3, 6), np.uint8)), net.forward(np.ones((3, 6))))


def test_what_is_returned_stays(backend):
    net, (X, dout) = made(dtype="float64"), batch()
    out, dX = net.forward(X), net.backward(dout)
    kept = out.copy(), dX.copy()
    net.forward(-X)
    net.backward(-dout)
    np.testing.assert_array_equal(out, kept[0])
    np.testing.assert_array_equal(dX, kept[1])


def test_what_the_way_back_takes(backend):
    """The batch as it was, whatever has happened to the array since, and whatever has been predicted."""
    net, (X, dout) = made(dtype="float64"), batch()
    net.forward(X)
    expected = net.backward(dout), {name: gradient.copy() for name, gradient in net.grads.items()}
    given = X.copy()
    net.forward(given)
    given[:] = 0
    for rows in (1, 64, 65):
        net.forward(np.ones((rows, DIMS[0])), training=False)
    # Gradients are overwritten, not added to.
    for _ in range(2):
        np.testing.assert_array_equal(net.backward(dout), expected[0])
        for name, gradient in expected[1].items():
            np.testing.assert_array_equal(net.grads[name], gradient, err_msg=name)


def test_errors_of_gradients_name_them():
    net = fastfc.Network(DIMS)
    for again in (net.grads, pickle.loads(pickle.dumps(net.grads))):
        with pytest.raises(ValueError, match=r"^grads\['W1'\]: expected shape"):
            again["W1"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"^grads: expected W1"):
        net.grads = {}
    with pytest.raises(ValueError, match=r"^params\['W1'\]: expected shape"):
        net.params["W1"] = np.zeros(3)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_batches_of_many_sizes(normalization):
    """In the memory of the largest, the same numbers as in memory of their own."""
    net = made(normalization=normalization)
    for rows in [*range(1, 50), 7, 200, 3]:
        X, dout = batch(rows, "float32", rows)
        fresh = made(normalization=normalization)
        np.testing.assert_array_equal(net.forward(X), fresh.forward(X))
        np.testing.assert_array_equal(net.backward(dout), fresh.backward(dout))
        np.testing.assert_array_equal(net.grads.flat, fresh.grads.flat)


def test_without_the_gradient_of_the_batch(backend):
    net, other, (X, dout) = made(), made(), batch(dtype="float32")
    net.forward(X)
    other.forward(X)
    other.backward(dout)
    assert net.backward(dout, input_gradient=False) is None
    np.testing.assert_array_equal(net.grads.flat, other.grads.flat)


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_predictor(normalization, rows, backend):
    net, X = made(normalization=normalization), batch(rows, "float32")[0]
    predict = net.predictor(rows)
    given = X[0] if rows == 1 else X
    for _ in range(2):
        # It follows the parameters, and the running statistics of training passes.
        expected = net.to_net().loss(X).reshape(-1, DIMS[-1])
        out = predict(given)
        assert_close(out.reshape(-1, DIMS[-1]), expected)
        np.testing.assert_array_equal(net.forward(X, training=False), out.reshape(-1, DIMS[-1]))
        net.params["W1"] *= 2
        net.forward(batch(dtype="float32")[0])
    kept = out.copy()
    predict(-given)
    np.testing.assert_array_equal(out, kept)
    assert net.forward(X[:0], training=False).shape == (0, DIMS[-1])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_predictor_follows_the_network_that_it_is_copied_with(duplicate, rows, backend):
    net, X = made(normalization="batchnorm"), batch(rows, "float32")[0]
    given = X[0] if rows == 1 else X
    agent = {"net": net, "act": net.predictor(rows)}
    other = duplicate(agent)
    expected = agent["act"](given)
    np.testing.assert_array_equal(other["act"](given), expected)
    net.params["W1"] *= 2
    np.testing.assert_array_equal(other["act"](given), expected)
    assert np.any(agent["act"](given) != expected)
    other["net"].params["W1"] *= 2
    np.testing.assert_array_equal(other["act"](given), agent["act"](given))
    # One that is copied alone has the network of the other.
    alone = copy.copy(agent["act"])
    net.params["W1"] *= 2
    np.testing.assert_array_equal(alone(given), agent["act"](given))


def test_copies_have_gradients_of_zero():
    net, (X, dout) = made(), batch(dtype="float32")
    net.forward(X)
    net.backward(dout)
    for other in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert net.grads.flat.any()
        assert not other.grads.flat.any()


def test_numbers_that_are_not_finite(backend):
    net, (X, dout) = made(activation="tanh"), batch(dtype="float32")
    X[2, 1] = np.nan
    out = net.forward(X)
    assert np.isnan(out[2]).all()
    assert np.isfinite(np.delete(out, 2, axis=0)).all()
    dX = net.backward(dout)
    assert np.isnan(dX[2]).all()
    assert np.isnan(net.grads["W1"]).any()
    assert np.isnan(net.predictor()(X[2])).all()
    dout[0, 0] = np.inf
    net.forward(np.ones_like(X))
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(net.backward(dout)[0]).all()


def test_threads_with_a_network_each():
    """They run at the same time: passes do not hold the interpreter's lock."""
    nets, (X, dout) = [made(seed) for seed in range(4)], batch(200, "float32")

    def work(net):
        optimizer = Optimizer("adam")
        for _ in range(50):
            net.forward(X)
            net.backward(dout)
            optimizer.step(net, max_norm=1.0)
        return net.params.flat

    alone = [work(net.copy()) for net in nets]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(work, nets), alone, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_an_optimizer_forgets_networks_that_are_gone():
    optimizer, net = Optimizer("adam"), made()
    optimizer.step(net)
    del net
    gc.collect()
    assert len(optimizer._states) == 0


def test_parameters_that_are_assigned_to(backend):
    net, other, X = made(0), made(1), batch(dtype="float32")[0]
    net.forward(X)
    net.params = other.params
    np.testing.assert_array_equal(net.forward(X), other.forward(X))
    with pytest.raises(ValueError, match="missing W3"):
        net.params = {name: value for name, value in other.params.items() if name != "W3"}


# --------------------------------------------------------------------------------------------------------- randomness


def test_seeds():
    state = np.random.get_state()[1].copy()
    for seed, same in ((3, 3), (np.random.RandomState(3), 3), (np.random.default_rng(3), np.random.default_rng(3))):
        one, two = (Network(DIMS, dropout_keep_ratio=0.5, seed=each) for each in (seed, same))
        np.testing.assert_array_equal(one.params.flat, two.params.flat)
        X = batch()[0]
        np.testing.assert_array_equal(one.forward(X), two.forward(X))
    assert not np.array_equal(Network(DIMS).params.flat, Network(DIMS).params.flat)
    with fastfc.use_backend("reference"):
        Network(DIMS, dropout_keep_ratio=0.5).forward(X)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_initializers():
    he, glorot = Network([50, 40, 30], seed=0), Network([50, 40, 30], "tanh", seed=0)
    for net, name in ((he, "he_normal"), (glorot, "glorot_uniform")):
        again = Network([50, 40, 30], net.activation, initializer=[name, name], seed=0)
        np.testing.assert_array_equal(net.params.flat, again.params.flat)
    assert not he.params["b1"].any()
    ones = Network([3, 2, 2], initializer=["orthogonal", lambda shape, rng, dtype: np.ones(shape, dtype)], seed=0)
    assert ones.params["W2"].tolist() == [[1, 1], [1, 1]]
    assert_close(ones.params["W1"].T @ ones.params["W1"], np.eye(2, dtype=np.float32), 3)


# ------------------------------------------------------------------------------------------------------------ updates


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rules(rule, dtype, backend):
    """Step by step, each from where the one before has led, the public function on the reference."""
    net, (X, dout) = made(dtype=dtype), batch(dtype=dtype)
    record = rules.RULES[rule]
    optimizer = Optimizer(rule, learning_rate=rates()[rule])
    for _ in range(3):
        net.forward(X)
        net.backward(dout)
        before = optimizer.state_dict(net)
        params = {name: value.copy() for name, value in net.params.items()}
        optimizer.step(net)
        after = optimizer.state_dict(net)["state"]
        for name, w in params.items():
            config = {**before["hyperparameters"], **before["state"][name]}
            config |= {"t": before["steps"]} if "t" in record.defaults else {}
            wide = [np.abs(a.astype(np.float64)) for a in (w, net.grads[name], *before["state"][name].values())]
            sizes = record.magnitudes(dict(config), *wide)
            with fastfc.use_backend("reference"):
                expected, config = getattr(optim, rule)(w, net.grads[name], config)
            got = [net.params[name], *after[name].values()]
            for one, other, size in zip(got, [expected, *(config[key] for key in record.state)], sizes, strict=True):
                assert np.all(np.abs(one - other) <= tolerance(dtype, 16) * size), name
    assert before["steps"] == 2


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_clipped_gradients(rule, backend):
    net, (X, dout) = made(dtype="float64"), batch()
    net.forward(X)
    net.backward(dout)
    grads = net.grads.flat.copy()
    norm = np.sqrt(np.sum(grads**2))
    most = 0.25 * np.abs(grads).max()
    optimizer = Optimizer(rule)
    optimizer.step(net, max_norm=2 * norm)
    np.testing.assert_array_equal(net.grads.flat, grads)
    optimizer.step(net, max_norm=norm / 2, max_value=most)
    expected = np.clip(grads / 2, -most, most)
    np.testing.assert_allclose(net.grads.flat, expected, rtol=tolerance(np.float64, grads.size))
    assert np.abs(net.grads.flat).max() == most
    # Gradients of which nobody knows the size are left alone.
    net.grads["b1"][0] = np.inf
    grads = net.grads.flat.copy()
    with np.errstate(invalid="ignore"):
        optimizer.step(net, max_norm=norm / 4)
    np.testing.assert_array_equal(net.grads.flat, grads)


def test_a_step_by_clipped_gradients(backend):
    """As far as a step by the same gradients, divided by their norm beforehand."""
    clipped, other, (X, dout) = made(dtype="float64"), made(dtype="float64"), batch()
    for net in (clipped, other):
        net.forward(X)
        net.backward(dout)
    other.grads.flat[:] *= 0.5 / np.sqrt(np.sum(other.grads.flat**2))
    Optimizer("sgd", learning_rate=0.1).step(clipped, max_norm=0.5)
    Optimizer("sgd", learning_rate=0.1).step(other)
    bound = tolerance(np.float64, other.grads.flat.size) * np.abs(other.params.flat).max()
    np.testing.assert_allclose(clipped.params.flat, other.params.flat, rtol=0, atol=bound)


def test_a_state_for_each_network(backend):
    one, two, lone, (X, dout) = made(0), made(1), made(1), batch(dtype="float32")
    both, own = Optimizer("adam"), Optimizer("adam")
    for net in (one, two, lone):
        net.forward(X)
        net.backward(dout)
    for _ in range(3):
        both.step(one)
        both.step(two)
        own.step(lone)
    np.testing.assert_array_equal(two.params.flat, lone.params.flat)
    assert both.state_dict(one)["steps"] == 3


@pytest.mark.parametrize("rule", ["sgd", "nesterov", "nadam", "adam_amsgrad"])
def test_going_on_from_a_state(rule, backend):
    net, (X, dout) = made(), batch(dtype="float32")
    first = Optimizer(rule)
    for _ in range(5):
        net.forward(X)
        net.backward(dout)
        first.step(net)
    other, second = net.copy(), Optimizer(rule)
    other.grads.flat[:] = net.grads.flat
    first.learning_rate = 0.005
    second.load_state_dict(other, pickle.loads(pickle.dumps(first.state_dict(net))))
    assert second.learning_rate == 0.005
    for _ in range(2):
        first.step(net)
        second.step(other)
    bound = tolerance(np.float32, 16) if rule == "nadam" else 0
    # Nadam's product of momenta is taken from the start again, with other roundings.
    np.testing.assert_allclose(net.params.flat, other.params.flat, rtol=0, atol=bound)


def test_learning_rates_that_change(backend):
    net, (X, dout) = made(dtype="float64"), batch()
    net.forward(X)
    net.backward(dout)
    optimizer = Optimizer("sgd", learning_rate=0.5)
    before = net.params.flat.copy()
    optimizer.learning_rate = 0
    optimizer.step(net)
    np.testing.assert_array_equal(net.params.flat, before)
    optimizer.learning_rate = 0.25
    optimizer.step(net)
    bound = tolerance(np.float64, 1) * (np.abs(before) + np.abs(net.grads.flat)).max()
    np.testing.assert_allclose(net.params.flat, before - 0.25 * net.grads.flat, rtol=0, atol=bound)


def test_hyperparameters_of_single_parameters(backend):
    configs = {"W2": {"learning_rate": 0.5}, "b3": {"learning_rate": 0.0}, "gamma1": {"learning_rate": 2.0}}
    net, (X, dout) = made(dtype="float64", normalization="batchnorm"), batch()
    net.forward(X)
    net.backward(dout)
    optimizer = Optimizer("sgd", learning_rate=0.25, configs=configs)
    before = {name: value.copy() for name, value in net.params.items()}
    optimizer.step(net, factor=0.5)
    for name, value in before.items():
        rate = 0.5 * configs.get(name, {"learning_rate": 0.25})["learning_rate"]
        bound = tolerance(np.float64, 1) * (np.abs(value) + np.abs(net.grads[name])).max()
        np.testing.assert_allclose(net.params[name], value - rate * net.grads[name], rtol=0, atol=bound, err_msg=name)
    before = {name: value.copy() for name, value in net.params.items()}
    other = Optimizer("sgd")
    other.load_state_dict(net, pickle.loads(pickle.dumps(optimizer.state_dict(net))))
    other.step(net)
    for name in ("W2", "b3", "b1"):
        rate = configs.get(name, {"learning_rate": 0.25})["learning_rate"]
        bound = tolerance(np.float64, 1) * (np.abs(before[name]) + np.abs(net.grads[name])).max()
        np.testing.assert_allclose(net.params[name], before[name] - rate * net.grads[name], rtol=0, atol=bound)
    with pytest.raises(ValueError, match=r"^configs: expected names among W1"):
        Optimizer("sgd", configs={"W9": {}}).step(net)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tau", [0, 0.005, 0.5, 1])
def test_average(tau, dtype, backend):
    options = {"normalization": "batchnorm", "dtype": dtype}
    net, other = made(0, **options), made(1, **options)
    other.forward(batch()[0])
    before = net.params.flat.astype(np.float64), copy.deepcopy(net._net.bn_params)
    net.average(other, tau=tau)
    expected = (1 - tau) * before[0] + tau * other.params.flat.astype(np.float64)
    bound = tolerance(dtype, 0) * (np.abs(before[0]) + np.abs(other.params.flat))
    assert np.all(np.abs(net.params.flat - expected) <= bound)
    for own, old, new in zip(net._net.bn_params, before[1], other._net.bn_params, strict=True):
        for key in ("running_mean", "running_var"):
            wanted = (1 - tau) * old[key].astype(np.float64) + tau * new[key]
            assert np.all(np.abs(own[key] - wanted) <= tolerance(dtype, 0) * (np.abs(old[key]) + np.abs(new[key])))


@pytest.mark.parametrize(
    "other",
    [
        {"activation": "tanh"},
        {"normalization": "layernorm"},
        {"normalization": None},
        {"dtype": "float64"},
        {"dims": [6, 19, 4]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_average_of_networks_whose_parameters_mean_something_else(other, backend):
    options = {"dims": [6, 19, 7, 4], "normalization": "batchnorm", "dtype": "float32"}
    net = Network(**options, seed=0)
    before = net.params.flat.copy()
    with pytest.raises(ValueError, match=r"other: expected a network like Network\(\[6, 19, 7, 4\], .*, got Network\("):
        net.average(Network(**(options | other), seed=1), 0.5)
    np.testing.assert_array_equal(net.params.flat, before)


@pytest.mark.parametrize("other", [{}, {"input_mean": 1.0}, {"input_mean": [1.0, 2.0], "input_scale": 3.0}])
def test_the_average_of_weights_in_different_units_is_refused(other):
    mine = FullyConnectedNet([3], 2, 1)
    mine.input_mean, mine.input_scale = np.ones(2), [2.0, 3.0]
    theirs = FullyConnectedNet([3], 2, 1)
    for key, value in other.items():
        setattr(theirs, key, value)
    net, before = Network.from_net(mine), np.array(mine.params.flat)
    with pytest.raises(ValueError, match="other: expected a network with this one's input_"):
        net.average(Network.from_net(theirs), 0.5)
    np.testing.assert_array_equal(net.params.flat, before)
    # A number stands for as many features as there are.
    theirs.input_mean, theirs.input_scale = 1.0, np.array([2, 3])
    net.average(Network.from_net(theirs), 1)
    np.testing.assert_array_equal(net.forward([[5, 6]], training=False), theirs.loss([[5, 6]]))


# --------------------------------------------------------------------------------------------- from and to elsewhere


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_copies(normalization, tmp_path, backend):
    net, X = made(normalization=normalization, dropout_keep_ratio=0.7), batch(dtype="float32")[0]
    net.forward(X)
    net.save(tmp_path / "net.npz")
    scores = net.forward(X, training=False)
    twins = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    others = [Network.load(tmp_path / "net.npz"), Network.from_net(net.to_net())]
    for other in (*twins, *others):
        np.testing.assert_array_equal(other.forward(X, training=False), scores)
        assert not np.may_share_memory(other.params.flat, net.params.flat)
        assert (other.dims, other.dtype, other.activation) == (net.dims, net.dtype, net.activation)
        other.params["W1"] *= 0
    np.testing.assert_array_equal(net.forward(X, training=False), scores)
    # Copies go on drawing where the network stands.
    twins = [net.copy(), pickle.loads(pickle.dumps(net))]
    out = net.forward(X)
    for other in twins:
        np.testing.assert_array_equal(other.forward(X), out)
    assert isinstance(fastfc.load_model(tmp_path / "net.npz"), FullyConnectedNet)


def test_the_net_of_the_course_learns_what_the_network_has(backend):
    net, X = made(), batch(dtype="float32")[0]
    np.testing.assert_array_equal(net.to_net().loss(X), net.forward(X, training=False))
    with pytest.raises(ValueError, match="2017"):
        Network.from_net(FullyConnectedNet([3], 4, 2, dropout=0.5, legacy="2017"))


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "options", "error", "named"),
    [
        ((3,), {}, TypeError, "dims"),
        (("34",), {}, TypeError, "dims"),
        (([3],), {}, ValueError, "dims"),
        (([3, 0],), {}, ValueError, "dims"),
        (([3, 2.5],), {}, TypeError, "dims"),
        (([3, 2], "step"), {}, ValueError, "activation"),
        (([3, 2],), {"normalization": "other"}, ValueError, "normalization"),
        (([3, 2],), {"dropout_keep_ratio": 0}, ValueError, "dropout_keep_ratio"),
        (([3, 2],), {"dtype": "float16"}, ValueError, "dtype"),
        (([3, 2],), {"seed": -1}, ValueError, "seed"),
        (([3, 2],), {"seed": 2**32}, ValueError, "seed"),
        (([3, 2],), {"seed": "a"}, TypeError, "seed"),
        (([3, 2],), {"initializer": "zeros"}, ValueError, "initializer"),
        (([3, 2],), {"initializer": {}}, ValueError, "initializer"),
        (([3, 2],), {"initializer": [["he_normal"]]}, ValueError, "initializer"),
        (([3, 2],), {"initializer": ["he_normal"] * 2}, ValueError, "initializer"),
    ],
)
def test_arguments_of_a_network(arguments, options, error, named):
    with pytest.raises(error, match=f"^{named}: "):
        Network(*arguments, **options)


def test_arguments_of_passes(backend):
    net, (X, dout) = made(), batch()
    with pytest.raises(RuntimeError, match=r"backward: expected a forward pass"):
        net.backward(dout)
    net.forward(X, training=False)
    with pytest.raises(RuntimeError, match=r"backward: expected a forward pass"):
        net.backward(dout)
    for training in (True, False):
        with pytest.raises(ValueError, match=r"^X: expected shape \(N, \.\.\.\) with 6 features a row, got \(13, 5\)"):
            net.forward(X[:, :5], training)
        with pytest.raises(TypeError, match=r"^X: expected an array of real numbers"):
            net.forward(X + 1j, training)
    with pytest.raises(ValueError, match=r"^X: expected at least one row"):
        net.forward(X[:0])
    net.forward(X)
    for wrong in (dout[:-1], dout[:, :1], dout[0], 1.0):
        with pytest.raises(ValueError, match=r"^dout: expected shape \(13, 4\)"):
            net.backward(wrong)
    with pytest.raises(TypeError, match=r"^dout: expected an array of real numbers"):
        net.backward(dout + 1j)
    with pytest.raises(ValueError, match="rows"):
        net.predictor(0)
    with pytest.raises(ValueError, match=r"^X: expected shape \(6,\), got \(1, 6\)"):
        net.predictor()(X[:1])
    with pytest.raises(ValueError, match=r"^X: expected shape \(2, 6\), got \(6,\)"):
        net.predictor(2)(X[0])
    with pytest.raises(TypeError, match=r"^X: expected an array of real numbers"):
        net.predictor()(["a"] * 6)
    with pytest.raises(TypeError, match=r"^other: expected a Network"):
        net.average(net.to_net(), 0.5)
    with pytest.raises(ValueError, match=r"^other: expected a network like Network"):
        net.average(made(dtype="float64"), 0.5)
    with pytest.raises(ValueError, match=r"^tau: "):
        net.average(made(1), 1.5)
    with pytest.raises(TypeError, match=r"^net: expected a FullyConnectedNet"):
        Network.from_net(net)
    net.backward(dout)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "named"),
    [
        (("adamant",), {}, ValueError, "rule"),
        ((), {"learning_rate": "high"}, TypeError, "learning_rate"),
        ((), {"beta1": 1.0}, ValueError, "beta1"),
        ((), {"t": 3}, TypeError, "t"),
        (("sgd",), {"momentum": 0.9}, TypeError, "momentum"),
        ((), {"configs": {"W1": {"beta1": 1.0}}}, ValueError, "beta1"),
        ((), {"configs": 3}, TypeError, "configs"),
        ((["adam"],), {}, ValueError, "rule"),
    ],
)
def test_arguments_of_an_optimizer(arguments, options, error, named):
    with pytest.raises(error, match=f"^{named}: "):
        Optimizer(*arguments, **options)


def test_arguments_of_a_step(backend):
    net, optimizer = made(), Optimizer("adam")
    before = net.params.flat.copy()
    net.grads.flat[:] = 1
    for wrong in ({"max_norm": -1}, {"max_norm": 0}, {"max_value": np.nan}, {"max_value": 0.0}, {"factor": np.inf}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: "):
            optimizer.step(net, **wrong)
    with pytest.raises(TypeError, match=r"^net: expected a Network"):
        optimizer.step(net.to_net())
    state = optimizer.state_dict(net)
    for wrong in (
        {},
        {**state, "rule": "sgd"},
        {**state, "steps": -1},
        {**state, "state": {}},
        {**state, "state": {**state["state"], "b1": {"m": np.zeros(1), "v": np.zeros(1)}}},
        {**state, "hyperparameters": {"beta2": 2}},
        {**state, "state": {**state["state"], "W9": {}}},
        {**state, "state": {**state["state"], "b1": {"m": np.zeros(19), "v": np.full(19, -1e-9)}}},
        {**state, "state": {**state["state"], "b1": {"m": np.ma.masked_all(19), "v": np.zeros(19)}}},
    ):
        with pytest.raises(ValueError, match=r"^(state|steps|beta2|m of b1): "):
            optimizer.load_state_dict(net, wrong)
    np.testing.assert_array_equal(net.params.flat, before)
    assert optimizer.state_dict(net)["steps"] == 0
    assert repr(optimizer) == "Optimizer('adam', learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)"
    assert repr(net) == "Network([6, 19, 7, 4], activation='relu', dtype='float32')"


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_gradients_that_are_assigned_to_count(backend):
    with fastfc.use_backend(backend):
        net, optimizer = made(), Optimizer("sgd", learning_rate=1.0)
        optimizer.step(net)
        net.backward(np.ones_like(net.forward(np.ones((ROWS, DIMS[0])))))
        net.grads = {name: np.zeros_like(value) for name, value in net.grads.items()}
        before = net.params.flat.copy()
        optimizer.step(net)
    np.testing.assert_array_equal(net.params.flat, before)
    with pytest.raises(ValueError, match="W1"):
        net.grads = {**net.grads, "W1": np.zeros(3)}
    with pytest.raises(ValueError, match="b1"):
        net.grads = {"W1": net.grads["W1"]}


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_a_course_networks_seed_leaves_the_global_stream_alone(backend):
    net = Network.from_net(FullyConnectedNet([6], 5, 2, dropout_keep_ratio=0.5, seed=3), seed=0)
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    with fastfc.use_backend(backend):
        act = net.predictor()
        for rows in (1, 100):
            net.forward(np.ones((rows, 5)), training=False)
            net.forward(np.ones((rows, 5)))
        act(np.ones(5))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_an_optimizer_is_copied_without_states_only():
    optimizer = Optimizer("adam", learning_rate=0.1, beta1=0.8)
    for other in (copy.deepcopy(optimizer), copy.copy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert (other.rule, other.hyperparameters) == ("adam", optimizer.hyperparameters)
        other.step(made())
    net = made()
    optimizer.step(net)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="state_dict"):
            copied(optimizer)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"hyperparameters": 5}, "hyperparameters"), ({"state": 5}, "state"), ({"state": {"W1": 5}}, "W1")],
)
def test_a_state_that_is_no_dictionary(change, name):
    net, optimizer = made(), Optimizer("adam")
    with pytest.raises(TypeError, match=f"{name}: expected a dictionary"):
        optimizer.load_state_dict(net, {**optimizer.state_dict(net), **change})
