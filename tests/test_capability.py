"""One answer to what may be compiled: trainings, accuracy checks and predictions call the same methods."""

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, TwoLayerNet, tolerance
from fastfc.training import refusal
from fastfc.training.capability import Methods

FEATURES, CLASSES, ROWS = 6, 4, 30

HOOKS = FullyConnectedNet._scoring._names


@pytest.fixture(autouse=True)
def _fast_by_default():
    """Whatever the suite's default backend is, here it is asked what the fast one compiles."""
    with fastfc.use_backend("fast"):
        yield


def network(kind=FullyConnectedNet, normalization="batchnorm"):
    np.random.seed(7)
    return kind([5], FEATURES, CLASSES, normalization=normalization, weight_scale=0.5, dtype=np.float64)


def solver_of(net, kind=Solver, **options):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)
    data = {"X_train": X, "y_train": y, "X_val": X[:11], "y_val": y[:11]}
    np.random.seed(5)
    return kind(net, data, batch_size=10, num_epochs=2, verbose=False, **options)


def counted(function, calls):
    def call(*args, **kwargs):
        calls.append(getattr(function, "__name__", ""))
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("where", ["object", "class", "base class that is patched"])
@pytest.mark.parametrize("name", ["loss", *(name for name in HOOKS if name not in ("params", "dims"))])
def test_a_replaced_method_is_called_by_trainings_and_predictions(name, where, monkeypatch):
    net, calls = network(), []
    net.input_mean = 0.5
    # A class that has been asked already, and one that answers with a replaced method from now on.
    net.predict(np.ones((2, FEATURES)))
    if where == "object":
        setattr(net, name, counted(getattr(net, name), calls))
    elif where == "class":
        net.__class__ = type("Own", (FullyConnectedNet,), {name: counted(getattr(FullyConnectedNet, name), calls)})
    else:
        monkeypatch.setattr(FullyConnectedNet, name, counted(getattr(FullyConnectedNet, name), calls))
    solver = solver_of(net)
    assert name in refusal(solver)
    for use in (
        solver.train,
        lambda: solver.check_accuracy(solver.X_val, solver.y_val),
        lambda: net.predict(solver.X_val),
        lambda: net.predict_proba(solver.X_val),
    ):
        calls.clear()
        use()
        assert calls, use
    assert solver.engine_ == "generic"


@pytest.mark.parametrize("name", ["params", "dims"])
def test_a_class_with_its_own_properties(name):
    seen = []

    def look(self):
        seen.append(name)
        return getattr(FullyConnectedNet, name).fget(self)

    own = property(look, getattr(FullyConnectedNet, name).fset)
    net = network(type("Own", (FullyConnectedNet,), {name: own}))
    assert f"Own.{name}" in refusal(solver_of(net))
    seen.clear()
    assert net.predict(np.ones((2, FEATURES))).shape == (2,)
    assert seen or name == "params"


def test_a_loss_of_ones_own_decides_predictions():
    """A network that was trained by one function must not be judged by another."""
    net, X = network(normalization=None), np.random.default_rng(0).standard_normal((50, FEATURES))
    own = net.loss

    def negated(X, y=None):
        return -own(X) if y is None else own(X, y)

    plain = net.predict(X), net.predict_proba(X)
    net.loss = negated
    np.testing.assert_array_equal(net.predict(X), (-own(X)).argmax(axis=1))
    assert (net.predict(X) != plain[0]).any()
    expected = np.exp(-own(X))
    expected /= expected.sum(axis=1, keepdims=True)
    bound = tolerance(np.float64, 100)
    np.testing.assert_allclose(net.predict_proba(X), expected, rtol=bound, atol=bound)
    solver = solver_of(net)
    np.testing.assert_array_equal(solver.check_accuracy(X, np.zeros(50, int)), np.mean((-own(X)).argmax(axis=1) == 0))
    del net.loss
    np.testing.assert_array_equal(net.predict(X), plain[0])


def test_inputs_of_ones_own_are_trained_on_and_predicted_from():
    class Doubled(FullyConnectedNet):
        def _checked_inputs(self, X):
            return 2 * super()._checked_inputs(X)

    results = []
    for backend in ("reference", "fast"):
        with fastfc.use_backend(backend):
            solver = solver_of(network(Doubled, None))
            solver.train()
            results.append((solver.loss_history, solver.val_acc_history, solver.model.loss(solver.X_val)))
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2**6 * tolerance(np.float64, 600), atol=1e-12)
    plain = solver_of(network(normalization=None))
    plain.train()
    assert plain.engine_ == "compiled"
    assert not np.allclose(plain.loss_history, results[0][0])


@pytest.mark.parametrize("kind", [FullyConnectedNet, TwoLayerNet, type("Renamed", (FullyConnectedNet,), {"extra": 5})])
def test_what_leaves_them_alone_is_compiled(kind):
    np.random.seed(0)
    net = TwoLayerNet(FEATURES, 5, CLASSES) if kind is TwoLayerNet else kind([5], FEATURES, CLASSES)
    net.note = "an attribute of the user's"
    assert refusal(solver_of(net)) is None
    net.predict(np.ones((1, FEATURES)))
    assert net.plans, "predicted compiled"


@pytest.mark.parametrize("name", ["_step", "_check", "check_accuracy", "train"])
@pytest.mark.parametrize("where", ["object", "class"])
def test_methods_of_the_solver(name, where):
    solver, calls = solver_of(network()), []
    if where == "object":
        setattr(solver, name, counted(getattr(solver, name), calls))
    else:
        solver.__class__ = type("Own", (Solver,), {name: counted(getattr(Solver, name), calls)})
    assert name in refusal(solver)
    solver.train()
    assert solver.engine_ == "generic"
    assert calls


def test_methods():
    class Base:
        def one(self):
            pass

        def two(self):
            pass

    class Derived(Base):
        def two(self):
            pass

    single, both = Methods(Base, "one"), Methods(Base, "one", "two")
    assert single.kept_by(Base())
    assert single.kept_by(Derived())
    assert both.kept_by(Base())
    assert not both.kept_by(Derived())
    assert single.replaced_in(Derived()) is None
    assert both.replaced_in(Derived()) == "two"
    other = Base()
    other.one = None
    assert not single.kept_by(other)
    assert single.replaced_in(other) == "one"
