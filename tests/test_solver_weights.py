"""Weights of the examples in a Solver's training: data["weights_train"]."""

import numba
import numpy as np
import pytest

from fastfc import FullyConnectedNet, Solver, losses, tolerance, use_backend

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="its subject is compiled code")

ROWS, FEATURES, CLASSES = 60, 5, 3
RNG = np.random.RandomState(0)
X, LABELS = RNG.standard_normal((ROWS, FEATURES)), RNG.randint(CLASSES, size=ROWS)
WEIGHTS = RNG.uniform(0, 3, ROWS)
TARGETS = {"softmax": LABELS, "svm": LABELS, "squared": RNG.standard_normal((ROWS, CLASSES))}


def solver_of(loss="softmax", weights=WEIGHTS, dtype=np.float64, **options):
    np.random.seed(1)
    y = TARGETS[loss]
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y, "weights_train": weights}
    net = FullyConnectedNet([8], FEATURES, CLASSES, reg=0.1, weight_scale=0.3, dtype=dtype, loss=loss)
    options = {"update_rule": "adam", "batch_size": 16, "num_epochs": 4, "verbose": False, **options}
    return Solver(net, data, **options)


@pytest.mark.parametrize("loss", TARGETS)
def test_engines_agree(loss):
    solvers = []
    for backend in ("reference", "fast"):
        with use_backend(backend):
            solvers.append(solver_of(loss))
            solvers[-1].train()
    assert [solver.engine_ for solver in solvers] == ["generic", "compiled"]
    # Each of the steps passes on the rounding of those before.
    bound = tolerance(np.float64, 100 * len(solvers[0].loss_history))
    np.testing.assert_allclose(*(solver.loss_history for solver in solvers), rtol=bound)
    assert solvers[0].loss_history != pytest.approx(_trained(loss, None), rel=1e-3)


def _trained(loss, weights):
    solver = solver_of(loss, weights)
    solver.train()
    return solver.loss_history


def test_the_first_loss_by_hand():
    solver = solver_of()
    scores = solver.model.loss(X)
    chosen = np.random.RandomState()
    chosen.set_state(np.random.get_state())
    rows = chosen.choice(ROWS, 16)
    expected, _ = losses.softmax_loss(scores[rows], LABELS[rows], WEIGHTS[rows])
    penalty = 0.05 * sum((solver.model.params[name] ** 2).sum() for name in ("W1", "W2"))
    solver.train()
    assert solver.loss_history[0] == pytest.approx(expected + penalty, rel=tolerance(np.float64, 1000))


def test_weights_that_are_all_the_same_are_none():
    np.testing.assert_allclose(
        _trained("softmax", np.full(ROWS, 2.0)), _trained("softmax", None), rtol=tolerance(np.float64, 2000)
    )


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_very_large_and_very_small_weights(accumulate, dtype, backend):
    """Times a power of 2 they are the same weights, to the last bit, also beyond the network's dtype."""
    with use_backend(backend):
        histories = []
        for exponent in (0, -1000, -140, 126, 1000):
            solver = solver_of(weights=np.ldexp(WEIGHTS, exponent), dtype=dtype, accumulate=accumulate)
            solver.train()
            histories.append(solver.loss_history)
        assert all(history == histories[0] for history in histories)
        scores = X[:, :CLASSES].astype(dtype)
        expected, dscores = losses.softmax_loss(scores, LABELS, WEIGHTS)
        for exponent in (-1000, -140, 126, 1000):
            loss, dx = losses.softmax_loss(scores, LABELS, np.ldexp(WEIGHTS, exponent))
            assert loss == expected
            np.testing.assert_array_equal(dx, dscores)


def test_ones_own_model_gets_its_weights_as_they_are():
    class Model:
        def __init__(self):
            self.params, self.found = {"w": np.zeros(1)}, []

        def loss(self, X, y=None, weights=None):
            if y is None:
                return np.zeros((len(X), CLASSES))
            self.found.append(weights)
            return 0.0, {"w": np.zeros(1)}

    model, y = Model(), LABELS
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y, "weights_train": np.full(ROWS, 1e-9)}
    Solver(model, data, num_epochs=1, batch_size=ROWS, verbose=False).train()
    np.testing.assert_array_equal(model.found, [data["weights_train"]])


def test_rows_of_weight_zero_teach_nothing(monkeypatch):
    weights = (LABELS == 0) * WEIGHTS
    expected = _trained("softmax", weights)
    monkeypatch.setitem(TARGETS, "softmax", np.where(LABELS == 0, 0, 3 - LABELS))
    assert _trained("softmax", weights) == expected


@pytest.mark.parametrize(
    ("weights", "error"),
    [(np.ones(3), ValueError), (-WEIGHTS, ValueError), (np.full(ROWS, np.nan), ValueError), (["a"] * ROWS, TypeError)],
)
def test_wrong_weights(weights, error):
    with pytest.raises(error, match="weights_train: expected"):
        solver_of(weights=weights)


def test_weights_that_a_callback_changes():
    def change(solver):
        solver.weights_train = None

    histories = []
    for backend in ("reference", "fast"):
        with use_backend(backend):
            solver = solver_of(callback=change)
            solver.train()
            histories.append(solver.loss_history)
    np.testing.assert_allclose(*histories, rtol=tolerance(np.float64, 2000))


def test_a_training_is_resumed_with_its_weights(tmp_path):
    path = tmp_path / "training.npz"
    data = {"X_train": X, "y_train": LABELS, "X_val": X, "y_val": LABELS}
    solver = solver_of(autosave=path)
    solver.train()
    with pytest.raises(ValueError, match="other values in weights_train"):
        Solver.resume(path, data)
    resumed = Solver.resume(path, data | {"weights_train": WEIGHTS})
    np.testing.assert_array_equal(resumed.weights_train, WEIGHTS)
