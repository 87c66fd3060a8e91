"""Estimators whose learning rate falls on a plateau."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone

from fastfc import tolerance
from fastfc.schedules import ReduceOnPlateau
from fastfc.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


class Falling:
    """The factors of a plateau without an improvement after the first epoch."""

    def factors(self, first_step, count, steps_per_epoch, total_steps):
        epochs = np.arange(first_step, first_step + count) // steps_per_epoch
        return 0.5 ** np.maximum(epochs - 1, 0.0)


def data_of(rows=60):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, 5))
    return X, (X[:, 0] + 0.1 * rng.standard_normal(rows) > 0).astype(int)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_plateau_of_losses(solver, kind):
    X, y = data_of()
    plateau = ReduceOnPlateau(0.5, patience=0, min_delta=1e9)
    options = {"hidden_layer_sizes": (7,), "solver": solver, "max_iter": 8, "batch_size": 16, "random_state": 0}
    falling = kind(schedule=Falling(), **options).fit(X, y)
    estimator = kind(schedule=plateau, **options).fit(X, y)
    # The means of epochs that are trained at once are taken in another order.
    bound = tolerance(np.float64, 8)
    np.testing.assert_allclose(estimator.loss_curve_, falling.loss_curve_, rtol=bound)
    # Nothing of the argument has changed: a clone and a second fit are the same.
    np.testing.assert_array_equal(clone(estimator).fit(X, y).loss_curve_, estimator.loss_curve_)
    before = estimator.loss_curve_
    np.testing.assert_array_equal(estimator.fit(X, y).loss_curve_, before)


def test_a_plateau_of_scores():
    X, y = data_of()
    plateau = ReduceOnPlateau(0.5, patience=0, min_delta=1e9, monitor="val_acc")
    options = {"early_stopping": True, "max_iter": 6, "random_state": 0, "n_iter_no_change": 50}
    falling = MLPClassifier(schedule=Falling(), **options).fit(X, y)
    estimator = MLPClassifier(schedule=plateau, **options).fit(X, y)
    np.testing.assert_array_equal(estimator.loss_curve_, falling.loss_curve_)
    assert estimator.validation_scores_ == falling.validation_scores_


def test_partial_fits_go_through_one_plateau():
    X, y = data_of()
    options = {"random_state": 0, "batch_size": 16, "shuffle": False}
    plateau = ReduceOnPlateau(0.5, patience=0, min_delta=1e9)
    falling, estimator = MLPClassifier(schedule=Falling(), **options), MLPClassifier(schedule=plateau, **options)
    for _ in range(5):
        for each in (falling, estimator):
            each.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_array_equal(estimator.loss_curve_, falling.loss_curve_)


@pytest.mark.parametrize("monitor", ["train_acc", "val_acc"])
def test_values_that_there_are_not(monitor):
    X, y = data_of()
    with pytest.raises(ValueError, match="schedule: expected a plateau of 'loss'"):
        MLPClassifier(schedule=ReduceOnPlateau(monitor=monitor)).fit(X, y)
