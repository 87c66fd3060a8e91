"""Early stopping inside of compiled epochs is that of the loop in Python."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastfc.sklearn import MLPClassifier, MLPRegressor
from fastfc.training.fit import Fit

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def data_of(kind, rows=150):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, 5))
    if kind == "regression":
        return X, X[:, 0] + 0.3 * rng.standard_normal(rows)
    if kind == "outputs":
        return X, X[:, :2] + 0.3 * rng.standard_normal((rows, 2))
    if kind == "multilabel":
        return X, (X[:, :3] > 0.2).astype(int)
    return X, np.digitize(X[:, 0] + 0.5 * rng.standard_normal(rows), {"binary": [0], "classes": [-0.5, 0.5]}[kind])


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd", "learning_rate": "adaptive"}, {"normalization": "batchnorm"}]
)
@pytest.mark.parametrize("kind", ["regression", "outputs", "multilabel", "binary", "classes"])
def test_as_epoch_by_epoch(kind, options, restore_best, monkeypatch):
    X, y = data_of(kind)
    regression = kind in ("regression", "outputs")
    estimator = MLPRegressor if regression else MLPClassifier
    calls, own = [], Fit.epochs

    def counted(self, count, **given):
        calls.append(count)
        return own(self, count, **given)

    monkeypatch.setattr(Fit, "epochs", counted)
    found, numbers = [], []
    # A scorer is Python, whatever it is.
    for scoring in (None, "r2" if regression else "accuracy"):
        calls.clear()
        found.append(
            estimator(
                hidden_layer_sizes=(9,), early_stopping=True, random_state=0, max_iter=300, n_iter_no_change=5,
                scoring=scoring,
                learning_rate_init=0.02, restore_best=restore_best, **options,
            ).fit(X, y)
        )  # fmt: skip
        numbers.append(len(calls))
    inside, outside = found
    assert numbers[0] < numbers[1] == outside.n_iter_
    assert inside.n_iter_ == outside.n_iter_
    # Means of several epochs, and sums of squares, are taken in another order.
    np.testing.assert_allclose(inside.loss_curve_, outside.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(inside.validation_scores_, outside.validation_scores_, rtol=1e-12, atol=1e-12)
    assert inside.best_validation_score_ == pytest.approx(outside.best_validation_score_, rel=1e-12)
    for mine, theirs in zip(inside.coefs_, outside.coefs_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert isinstance(inside.validation_scores_[0], float)


def test_a_warm_start_goes_on():
    X, y = data_of("classes")
    found = []
    for scoring in (None, "accuracy"):
        estimator = MLPClassifier(
            (9,), early_stopping=True, random_state=0, max_iter=8, n_iter_no_change=4, scoring=scoring, warm_start=True
        )
        for _ in range(3):
            estimator.fit(X, y)
        found.append(estimator)
    assert found[0].validation_scores_ == found[1].validation_scores_
    np.testing.assert_array_equal(found[0].coefs_[0], found[1].coefs_[0])


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("scoring", [None, "accuracy"])
@pytest.mark.parametrize(
    ("kind", "held", "message"),
    [
        ("binary", lambda y: 2 * y, r"y: expected labels among \[0 1\], got \[2\]"),
        ("binary", lambda y: 2 * y - 1, r"y: expected labels among \[0 1\], got \[-1\]"),
        ("classes", lambda y: y + 1, r"y: expected labels among \[0 1 2\], got \[3\]"),
        ("classes", lambda y: np.eye(3, dtype=int)[y], r"y: expected one label for each row"),
        ("multilabel", lambda y: y[:, 0], r"y: expected several labels for each row"),
        ("multilabel", lambda y: y[:, :2], r"mismatch"),
        ("classes", lambda y: y[:9], r"inconsistent numbers of samples"),
    ],
)
def test_validation_labels_are_those_of_the_training(kind, held, message, scoring, n_members):
    X, y = data_of(kind)
    model = MLPClassifier((4,), early_stopping=True, scoring=scoring, n_members=n_members, max_iter=2)
    with pytest.raises(ValueError, match=f"X_val, y_val: .*{message}"):
        model.fit(X, y, X_val=X, y_val=held(y))
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize(("kind", "expected", "got"), [("regression", 1, 2), ("outputs", 2, 1)])
def test_validation_targets_have_the_columns_of_the_training(kind, expected, got):
    X, y = data_of(kind)
    model = MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, max_iter=2)
    with pytest.raises(ValueError, match=f"y_val: expected {expected} targets for each row, as y has, got {got}"):
        model.fit(X, y, X_val=X, y_val=X[:, :2] if got == 2 else X[:, 0])


def test_validation_weights_are_not_negative():
    X, y = data_of("regression")
    with pytest.raises(ValueError, match=r"sample_weight_val: expected numbers of at least 0, got -1\.0"):
        MLPRegressor(early_stopping=True).fit(X, y, X_val=X, y_val=y, sample_weight_val=np.r_[-1.0, np.ones(149)])
