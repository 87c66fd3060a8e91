"""Examples of every dtype are read as they lie, and standardized before they lose any digits."""

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, tolerance
from fastfc.training.memory import KINDS

NUMBERS = [kind for kind in KINDS if kind.kind != "b"]


def network(dtype, features, seed=0, **kwargs):
    np.random.seed(seed)
    return FullyConnectedNet([8], features, 3, weight_scale=0.3, dtype=dtype, **kwargs)


def train(X, y, dtype, backend, mean=None, scale=None, **options):
    net = network(dtype, X.shape[1])
    net.input_mean, net.input_scale = mean, scale
    np.random.seed(1)
    data = {"X_train": X, "y_train": y, "X_val": X[:10], "y_val": y[:10]}
    solver = Solver(net, data, update_rule="sgd", batch_size=8, num_epochs=2, verbose=False, **options)
    with fastfc.use_backend(backend):
        solver.train()
    return solver


def integers(kind, shape=(40, 5)):
    """Values of a dtype, its extremes among them; of floats, what float16 has exactly."""
    rng = np.random.default_rng(3)
    X = rng.integers(0, 50, shape).astype(kind)
    if kind.kind == "i":
        X[::3] *= -1
    if kind.kind == "f":
        X = (X / 8).astype(kind)
        X[0, :2] = [6e-8, -6e-5] if kind.itemsize == 2 else [1e-30, -1e-5]
    return X


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("layout", ["as it is", "columns", "strided"])
@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_every_dtype_is_read_by_the_compiled_run(kind, layout, standardized):
    X = integers(kind)
    if layout == "columns":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    y = np.arange(40) % 3
    mean, scale = (np.linspace(1, 9, 5), np.linspace(0.1, 0.3, 5)) if standardized else (None, 0.05)
    fast = train(X, y, np.float64, "fast", mean, scale)
    assert fast.engine_ == "compiled"
    reference = train(X, y, np.float64, "reference", mean, scale)
    bound = 2.0**10 * tolerance(np.float64, 10 * 40)
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, rtol=bound)
    with fastfc.use_backend("fast"):
        scores = fast.model.loss(X)
    with fastfc.use_backend("reference"):
        np.testing.assert_allclose(scores, fast.model.loss(X), rtol=bound, atol=bound)


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_the_extremes_of_a_dtype(kind):
    """A net without hidden layers, of which the weights are a unit matrix, gives its input back."""
    info = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    values = [info.min, info.max, 0, 1]
    if kind.kind == "f":
        values += [info.tiny, info.smallest_subnormal, -info.eps]
    X = np.zeros((len(values), 1), kind)
    X[:, 0] = values
    net = FullyConnectedNet([], 1, 1, dtype=np.float64, weight_scale=0)
    net.params["W1"].fill(1)
    with fastfc.use_backend("fast"):
        np.testing.assert_array_equal(net.loss(X), X.astype(np.float64))


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize(
    ("offset", "kind"),
    [(5e6, "float64"), (1.7e9, "float64"), (1.7e9, "int64"), (2**40, "int64"), (3e4, "float32"), (2**31, "uint32")],
)
def test_a_large_offset_costs_no_digits(offset, kind, backend):
    """Coordinates, timestamps and prices: float32 does as well as float64."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    X = np.round(np.stack([5 * y, -7 * y], axis=1) + rng.standard_normal((600, 2))) + offset
    X = X.astype(kind)
    mean, scale = X.mean(axis=0, dtype=np.float64), 1 / X.astype(np.float64).std(axis=0)
    found = {}
    for dtype in (np.float32, np.float64):
        np.random.seed(0)
        net = FullyConnectedNet([16], 2, 3, weight_scale=0.3, dtype=dtype)
        net.input_mean, net.input_scale = mean, scale
        data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
        solver = Solver(
            net, data, update_rule="adam", optim_config={"learning_rate": 0.02}, batch_size=50, num_epochs=10,
            num_train_samples=None, verbose=False,
        )  # fmt: skip
        with fastfc.use_backend(backend):
            solver.train()
        found[dtype] = solver
    assert found[np.float64].best_val_acc > 0.95
    # The first losses have hardly any rounding errors but those of the inputs.
    first = [np.float64(found[dtype].loss_history[0]) for dtype in (np.float32, np.float64)]
    np.testing.assert_allclose(*first, rtol=tolerance(np.float32, 50))
    assert abs(found[np.float32].best_val_acc - found[np.float64].best_val_acc) < 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardized_inputs_are_those_of_float64(dtype):
    """Row by row: (x - mean) * scale, rounded once or twice."""
    rng = np.random.default_rng(1)
    X = 1e7 + rng.standard_normal((30, 4))
    mean, scale = X.mean(axis=0), np.array([1.0, 2.0, 0.5, 3.0])
    net = FullyConnectedNet([], 4, 4, dtype=dtype)
    net.params["W1"] = np.eye(4)
    net.input_mean, net.input_scale = mean, scale
    expected = (X - mean) * scale
    for backend in ("fast", "reference"):
        with fastfc.use_backend(backend):
            got = net.loss(X)
        np.testing.assert_allclose(got, expected, rtol=tolerance(dtype, 4), atol=1e-7 * tolerance(dtype, 4))


def misaligned(X):
    """A copy of an array, one byte off the boundaries of its values."""
    copy = np.ndarray(X.shape, X.dtype, buffer=np.zeros(X.nbytes + 1, np.uint8)[1:].data)
    copy[...] = X
    return copy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "stored", [lambda X: X.astype(">f8"), lambda X: X.astype(np.longdouble), misaligned], ids=["bytes", "long", "odd"]
)
def test_examples_that_compiled_code_cannot_read_keep_their_digits(stored, dtype):
    """Timestamps in the order of bytes of other machines, for example: they are copied in their own precision."""
    X = np.round(np.random.default_rng(0).standard_normal((70, 2)) * 9) + 1.7e9
    y, given = np.arange(70) % 3, stored(X)
    net = network(dtype, 2)
    net.input_mean, net.input_scale = X.mean(axis=0), 1 / X.std(axis=0)
    np.testing.assert_array_equal(net.loss(given), net.loss(X))
    np.testing.assert_array_equal(net.predict_proba(given), net.predict_proba(X))
    loop = fastfc.Network.from_net(net, seed=0)
    for rows in (5, 70):
        expected, found = (loop.forward(A[:rows], training=False) for A in (X, given))
        np.testing.assert_array_equal(found, expected)
    options = {"hidden_dims": (8,), "standardize": True, "dtype": dtype, "num_epochs": 2}
    expected, found = (
        fastfc.sweep(options, {"X_train": A, "y_train": y, "X_val": A, "y_val": y}, check_every=1).best.result
        for A in (X, given)
    )
    assert found == expected
    expected, found = (fastfc.cross_validate(options, A, y, k=3) for A in (X, given))
    assert [trial.result for trial in found.trials] == [trial.result for trial in expected.trials]
    np.testing.assert_array_equal(found.predict(given), expected.predict(X))
