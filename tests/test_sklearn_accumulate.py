"""Estimators that accumulate the gradients of several batches."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.sparse import csr_matrix

from fastfc import tolerance
from fastfc.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
ROWS = 70


def data_of():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((ROWS, 5))
    return X, (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_as_larger_batches(kind, solver, sparse, monkeypatch):
    """But for rounding; a few sparse rows are dense at a time, and a group of batches is never parted."""
    monkeypatch.setattr("fastfc.sklearn._data._DENSE_VALUES", 5 * 24)
    X, y = data_of()
    X = csr_matrix(X) if sparse else X
    options = {"hidden_layer_sizes": (7,), "solver": solver, "max_iter": 5, "random_state": 0, "alpha": 0.1}
    one = kind(batch_size=24, **options).fit(X, y)
    several = kind(batch_size=8, accumulate=3, **options).fit(X, y)
    bound = 2.0**15 * tolerance(np.float64, 15 * 200)
    for mine, theirs in zip(several.coefs_, one.coefs_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=bound, atol=bound)
    np.testing.assert_allclose(several.loss_curve_, one.loss_curve_, rtol=bound)
    assert several.t_ == one.t_


def test_partial_fits_count_updates():
    X, y = data_of()
    options = {"hidden_layer_sizes": (7,), "random_state": 0, "shuffle": False}
    one, several = MLPClassifier(batch_size=24, **options), MLPClassifier(batch_size=8, accumulate=3, **options)
    for _ in range(4):
        for each in (one, several):
            each.partial_fit(X, y, classes=[0, 1])
    bound = 2.0**12 * tolerance(np.float64, 12 * 200)
    np.testing.assert_allclose(several.coefs_[0], one.coefs_[0], rtol=bound, atol=bound)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", None])
def test_counts_that_are_none(value):
    X, y = data_of()
    with pytest.raises(ValueError, match="'accumulate' parameter"):
        MLPClassifier(accumulate=value).fit(X, y)
    with pytest.raises(ValueError, match="accumulate: expected 1"):
        MLPClassifier(accumulate=2, solver="lbfgs").fit(X, y)
