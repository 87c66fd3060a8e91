"""May it be compiled? One answer for training, accuracy checks and predictions."""

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, layers

X = np.random.default_rng(0).standard_normal((30, 4))
Y = np.arange(30) % 3


def train(net):
    solver = Solver(
        net, {"X_train": X, "y_train": Y, "X_val": X, "y_val": Y}, num_epochs=2, batch_size=10, verbose=False
    )
    with fastfc.use_backend("fast"):
        solver.train()
    return solver


def network(kind=FullyConnectedNet):
    np.random.seed(0)
    return kind([5], 4, 3, weight_scale=0.5)


def assert_close(probabilities, expected):
    bound = fastfc.tolerance(np.float32, 60)
    np.testing.assert_allclose(probabilities, expected, rtol=bound, atol=bound)


@pytest.fixture(autouse=True)
def fast():
    with fastfc.use_backend("fast"):
        yield


def test_an_objects_own_loss_is_trained_by_and_predicted_by():
    net = network()
    plain = net.predict_proba(X)
    own = net.loss
    net.loss = lambda X, y=None: own(-X, y)
    assert_close(net.predict_proba(X), network().predict_proba(-X))
    assert not np.array_equal(net.predict_proba(X), plain)
    np.testing.assert_array_equal(net.predict(X), network().predict(-X))
    solver = train(net)
    assert solver.engine_ == "generic"
    assert solver.check_accuracy(X, Y) == np.mean(net.predict(X) == Y)
    del net.loss
    assert train(net).engine_ == "compiled"


class Doubled(FullyConnectedNet):
    def _checked_inputs(self, X):
        return 2 * super()._checked_inputs(X)


class Halved(FullyConnectedNet):
    def per_feature(self, name, shape):
        return 0.5 * super().per_feature(name, shape)


class OwnScores(FullyConnectedNet):
    def loss(self, X, y=None):
        return super().loss(X) if y is None else (*layers.softmax_loss(super().loss(X), y), {})


def test_a_subclass_that_checks_inputs_itself_is_trained_and_predicted_through_it():
    net = network(Doubled)
    solver = train(net)
    assert solver.engine_ == "generic"
    same = network()
    other = Solver(
        same, {"X_train": 2 * X, "y_train": Y, "X_val": 2 * X, "y_val": Y}, num_epochs=2, batch_size=10, verbose=False
    )
    np.random.seed(1)
    other.train()
    doubled = network(Doubled)
    np.random.seed(1)
    again = train(doubled)
    np.testing.assert_allclose(again.loss_history, other.loss_history, rtol=2**6 * fastfc.tolerance(np.float32, 400))
    assert again.val_acc_history == other.val_acc_history
    np.testing.assert_array_equal(network(Doubled).predict(X), network().predict(2 * X))


def test_other_methods_that_compiled_code_stands_for():
    net = network(Halved)
    net.input_scale = 2.0
    assert_close(net.predict_proba(X), network().predict_proba(X))
    assert train(net).engine_ == "generic"
    net = network()
    net.input_scale = 2.0
    assert train(net).engine_ == "compiled"


def test_predictions_follow_a_subclass_loss():
    np.testing.assert_array_equal(network(OwnScores).predict(X), network().predict(X))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("normalization", "batchnorm", ValueError),
        ("normalization", "other", ValueError),
        ("num_layers", 5, ValueError),
        ("dtype", np.float64, ValueError),
    ],
)
@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("predicted_before", [False, True])
def test_attributes_that_no_longer_fit_are_refused_everywhere(predicted_before, backend, name, value, error):
    """Before anything is computed: gamma would lie over W1."""
    net = network()
    with fastfc.use_backend(backend):
        if predicted_before:
            net.predict(X)
        setattr(net, name, value)
        for call in (net.predict, net.predict_proba, net.loss, lambda X: net.loss(X, Y)):
            with pytest.raises(error):
                call(X)
        solver = Solver(net, {"X_train": X, "y_train": Y, "X_val": X, "y_val": Y}, batch_size=10, verbose=False)
        with pytest.raises(error):
            solver.train()
        assert solver.loss_history == []


def test_plans_of_wide_networks_stay_small():
    net = FullyConnectedNet([16], 100_000, 3)
    net.predict(np.zeros((3, 100_000), np.uint8))
    kept = sum(plan.nbytes for pool in net.plans.values() for plan, *_ in pool)
    assert 0 < kept < 40 * 2**20
