"""fastfc.sklearn: the numbers of scikit-learn's own estimators."""

import numba
import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_digits, load_iris
from sklearn.utils.fixes import parse_version

from fastfc import sklearn as fast

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="thousands of interpreted steps take minutes"),
]

IS_NEW = parse_version(sklearn.__version__) >= parse_version("1.9")
# As the documentation promises of 50 epochs in float64: rounding that 50 epochs have passed on.
PROMISED = 1e-7

RAW, LABELS = load_iris(return_X_y=True)
X = (RAW - RAW.mean(axis=0)) / RAW.std(axis=0)
RNG = np.random.RandomState(1)
WEIGHTS = RNG.uniform(size=len(X))
SEVERAL = (RNG.uniform(size=(len(X), 3)) + X[:, :1] > 0.5).astype(int)
COUNTS = RNG.poisson(2.0, len(X))
NUMBERS = np.column_stack([2 * X[:, 0] + X[:, 1], X[:, 2] ** 2])
SOLVERS = [
    {"solver": "adam"},
    {"solver": "sgd"},
    {"solver": "sgd", "nesterovs_momentum": False},
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "max_iter": 150},
    # Trial points of its line search can be where scikit-learn clips probabilities.
    {"solver": "lbfgs", "max_iter": 15},
]


def both(name, options, X, y, weights=None, **common):
    """scikit-learn's estimator and fastfc's, fitted alike."""
    options = {"max_iter": 50, "random_state": 0, "batch_size": 16, **options, **common}
    return [getattr(module, name)(**options).fit(X, y, weights) for module in (neural_network, fast)]


def assert_same(theirs, ours, X, bound=PROMISED):
    """Histories, counts, parameters and predictions agree."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        expected = getattr(theirs, name, None)
        assert type(getattr(ours, name, None)) in (type(expected), float), name
        if expected is not None:
            np.testing.assert_allclose(getattr(ours, name), expected, rtol=bound, atol=bound, err_msg=name)
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert mine.shape == other.shape
            np.testing.assert_allclose(mine, other, rtol=bound, atol=bound, err_msg=name)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=bound, atol=bound)
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=bound, atol=bound)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize(
    "options", [{}, {"early_stopping": True}, {"shuffle": False}], ids=["usual", "early", "ordered"]
)
def test_classifier_by_solver(solver, options):
    assert_same(*both("MLPClassifier", solver, X, LABELS, **options), X)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: "-".join(map(str, s.values())))
def test_regressor_by_solver(solver):
    assert_same(*both("MLPRegressor", solver, X, NUMBERS, WEIGHTS, early_stopping=solver["solver"] == "adam"), X)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), 7, (20, 10)], ids=str)
def test_activations_and_widths(activation, hidden):
    options = {"activation": activation, "hidden_layer_sizes": hidden, "max_iter": 20}
    assert_same(*both("MLPClassifier", options, X, LABELS), X)
    assert_same(*both("MLPRegressor", options, X, NUMBERS), X)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("name", "y", "weights", "options"),
    [
        ("MLPClassifier", LABELS, WEIGHTS, {}),
        ("MLPClassifier", LABELS, WEIGHTS, {"early_stopping": True}),
        # Before 1.9 scikit-learn could not stop early by labels that are strings.
        ("MLPClassifier", np.array(["b", "a", "c"])[LABELS], None, {"early_stopping": IS_NEW}),
        ("MLPClassifier", LABELS == 1, WEIGHTS, {"early_stopping": True}),
        ("MLPClassifier", SEVERAL, WEIGHTS, {"early_stopping": True}),
        ("MLPRegressor", COUNTS, WEIGHTS, {"loss": "poisson"}),
        ("MLPRegressor", NUMBERS[:, 0], None, {"batch_size": "auto", "alpha": 1.0}),
    ],
    ids=["weights", "weights-early", "strings", "binary", "multilabel", "poisson", "one-output"],
)
def test_targets_and_weights(solver, name, y, weights, options):
    max_iter = 15 if solver == "lbfgs" else 50
    assert_same(*both(name, {"solver": solver, "max_iter": max_iter, **options}, X, y, weights), X)


def test_epochs_that_one_compiled_call_ends():
    # The stopping rule is within the compiled call.
    theirs, ours = both("MLPClassifier", {"max_iter": 1000, "tol": 1e-3, "n_iter_no_change": 3}, X, LABELS)
    assert ours.n_iter_ < 1000
    assert_same(theirs, ours, X)


def test_digits_of_float64():
    # Their pixels are not scaled, but no probability of these epochs is below the least that scikit-learn knows.
    pixels, labels = load_digits(return_X_y=True)
    assert_same(*both("MLPClassifier", {"max_iter": 5, "batch_size": 200}, pixels / 16, labels), pixels / 16)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_examples(kind, solver, early_stopping, monkeypatch):
    # A few rows at a time.
    monkeypatch.setattr("fastfc.sklearn._data._DENSE_VALUES", 200)
    positive = X * (X > 0)
    options = {"solver": solver, "early_stopping": early_stopping, "max_iter": 15}
    theirs, ours = both("MLPClassifier", options, kind(positive), LABELS, WEIGHTS)
    assert_same(theirs, ours, positive)
    np.testing.assert_allclose(ours.predict_proba(kind(positive)), ours.predict_proba(positive), rtol=1e-12)


def test_sparse_examples_are_never_dense_as_a_whole(monkeypatch):
    most, toarray = [], sparse.csr_matrix.toarray

    def watched(self, *args, **kwargs):
        most.append(self.shape[0])
        return toarray(self, *args, **kwargs)

    monkeypatch.setattr("fastfc.sklearn._data._DENSE_VALUES", 100)
    monkeypatch.setattr(sparse.csr_matrix, "toarray", watched)
    for solver in ("adam", "lbfgs"):
        model = fast.MLPClassifier((5,), batch_size=10, max_iter=2, solver=solver, random_state=0)
        model.fit(sparse.csr_matrix(X), LABELS).predict(sparse.csr_matrix(X))
    assert 0 < max(most) <= 25


@pytest.mark.parametrize("solver", SOLVERS[:6], ids=lambda s: "-".join(map(str, s.values())))
def test_warm_start(solver):
    theirs, ours = (
        module.MLPClassifier(random_state=3, warm_start=True, **{**solver, "max_iter": 10})
        for module in (neural_network, fast)
    )
    for _ in range(3):
        assert_same(theirs.fit(X, LABELS), ours.fit(X, LABELS), X)


@pytest.mark.parametrize("solver", SOLVERS[:6], ids=lambda s: "-".join(map(str, s.values())))
def test_partial_fit(solver):
    theirs, ours = (module.MLPClassifier(random_state=3, **solver) for module in (neural_network, fast))
    for start in range(0, 150, 30):
        part = slice(start, start + 30)
        for model in (theirs, ours):
            model.partial_fit(X[part], LABELS[part], WEIGHTS[part], classes=[0, 1, 2])
        assert_same(theirs, ours, X)


def test_a_given_stream_goes_on_alike():
    streams = np.random.RandomState(5), np.random.RandomState(5)
    for module, stream in zip((neural_network, fast), streams, strict=True):
        module.MLPRegressor(random_state=stream, max_iter=3).fit(X, NUMBERS)
    assert streams[0].uniform() == streams[1].uniform()


def test_float32():
    # Both round in every step; scikit-learn sums pairwise.
    theirs, ours = both("MLPClassifier", {"max_iter": 20}, X.astype(np.float32), LABELS)
    assert {array.dtype for array in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float32)}
    assert_same(theirs, ours, X.astype(np.float32), bound=1e-4)


def test_verbose_prints_the_same(capsys):
    for options in ({}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1}):
        lines = []
        for module in (neural_network, fast):
            module.MLPClassifier(random_state=0, verbose=True, max_iter=30, **options).fit(X, LABELS)
            lines.append(capsys.readouterr().out.splitlines())
        assert lines[0] == lines[1]
        assert len(lines[0]) >= 30
