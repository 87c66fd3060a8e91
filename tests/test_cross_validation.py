"""Cross-validation: folds by row numbers equal trainings on copies of these rows."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import fastfc

OPTIONS = {
    "hidden_dims": [8, 6],
    "normalization": "batchnorm",
    "dropout_keep_ratio": 0.9,
    "weight_scale": 0.3,
    "update_rule": "adam",
    "learning_rate": 0.02,
    "batch_size": 16,
    "num_epochs": 4,
}
ROWS, CLASSES = 103, 3
Y = np.random.default_rng(1).choice(CLASSES, ROWS, p=[0.6, 0.3, 0.1])
X = np.random.default_rng(2).standard_normal((ROWS, 5)) + 2 * Y[:, np.newaxis]


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("batch_size", [16, 200])
def test_a_fold_equals_a_training_on_its_rows(batch_size, standardize):
    options = {**OPTIONS, "batch_size": batch_size, "standardize": standardize}
    found = fastfc.cross_validate(options, X, Y, k=4, check_every=2, seed=3)
    for trial, net, (train, val) in zip(found.trials, found.networks, found.folds, strict=True):
        data = {"X_train": X[train], "y_train": Y[train], "X_val": X[val], "y_val": Y[val]}
        alone = fastfc.sweep([{**options, "num_classes": CLASSES}], data, seeds=[3], check_every=2)
        assert trial.result == alone.trials[0].result
        np.testing.assert_array_equal(net.params.flat, alone.best_network().params.flat)
        assert trial.score == np.mean(net.predict(X[val]) == Y[val])
        np.testing.assert_array_equal(found.predict(X)[val], net.predict(X[val]))
    assert found.mean == np.mean(found.scores)
    assert found.std == np.std(found.scores)


def test_parts_are_alike():
    found = fastfc.cross_validate({"num_epochs": 1}, X, Y, k=5)
    parts = [val for _, val in found.folds]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(ROWS))
    for train, val in found.folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), np.arange(ROWS))
    counts = np.array([np.bincount(Y[val], minlength=CLASSES) for val in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1
    other = fastfc.cross_validate({"num_epochs": 1}, X, Y, k=5, seed=1)
    assert not np.array_equal(np.sort(other.folds[0][1]), np.sort(parts[0]))


def test_targets_and_folds_of_ones_own():
    targets = X[:, :2]
    folds = [(np.arange(50), np.arange(50, 100)), ([3, 2, 1], [0])]
    found = fastfc.cross_validate({**OPTIONS, "loss": "squared"}, X, targets, folds)
    assert len(found.scores) == 2
    halves = [(np.arange(ROWS // 2), np.arange(ROWS // 2, ROWS)), (np.arange(ROWS // 2, ROWS), np.arange(ROWS // 2))]
    assert fastfc.cross_validate({**OPTIONS, "loss": "squared"}, X, targets, halves).predict(X).shape == (ROWS, 2)
    assert len(fastfc.cross_validate({"loss": "squared", "num_epochs": 1}, X, targets, k=3).scores) == 3


def test_executors():
    expected = fastfc.cross_validate(OPTIONS, X, Y, executor=ThreadPoolExecutor(1))
    # Large enough to be handed over as files.
    spawn = multiprocessing.get_context("spawn")
    X_large, Y_large = np.tile(X, (20, 1)), np.tile(Y, 20)
    large = fastfc.cross_validate(OPTIONS, X_large, Y_large)
    assert fastfc.cross_validate(OPTIONS, X, Y).trials == expected.trials
    found = fastfc.cross_validate(OPTIONS, X_large, Y_large, executor=lambda: ProcessPoolExecutor(2, spawn))
    assert found.trials == large.trials


@pytest.mark.parametrize(
    ("options", "arguments", "error", "text"),
    [
        ({"hiden_dims": [4]}, {}, ValueError, "hiden_dims"),
        ({"sampler": "replacement"}, {}, ValueError, "sampler"),
        ({}, {"k": 1}, ValueError, "k:"),
        ({}, {"k": ROWS + 1}, ValueError, "k:"),
        ({}, {"k": []}, ValueError, "k:"),
        ({}, {"k": [([0], [ROWS])]}, ValueError, "row numbers"),
        ({}, {"k": [([0], [-1])]}, ValueError, "row numbers"),
        ({}, {"k": [([], [1])]}, ValueError, "row numbers"),
        ({}, {"k": [([0.5], [1])]}, ValueError, "row numbers"),
        ({}, {"k": [([0], [1], [2])]}, ValueError, "pairs"),
        ({}, {"k": 3.0}, TypeError, "k: expected an integer, or pairs of row numbers .*, got 3.0"),
        ({}, {"k": [1, 2]}, TypeError, "k: expected an integer, or pairs"),
        ({}, {"k": "ab"}, TypeError, "k: expected an integer, or pairs"),
        ([{}], {}, TypeError, "options: expected a dictionary"),
        ({}, {"seed": -1}, ValueError, "seed"),
        ({}, {"seed": 2**32}, ValueError, "seed: expected an integer below"),
        ({}, {"data_folder": 3}, TypeError, "data_folder: expected a path"),
        ({}, {"y": Y[:-1]}, ValueError, "as many targets"),
    ],
)
def test_mistakes(options, arguments, error, text):
    with pytest.raises(error, match=text):
        fastfc.cross_validate(options, **{"X": X, "y": Y, **arguments})


def test_predictions_are_for_the_same_rows():
    found = fastfc.cross_validate({"num_epochs": 1}, X, Y, [(np.arange(50), np.arange(50, 90))])
    for other in (X[:-1], np.concatenate([X, X[:1]]), X[0, 0]):
        with pytest.raises(ValueError, match=f"X: expected the {ROWS} rows"):
            found.predict(other)


def test_predictions_are_for_the_same_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    found = fastfc.cross_validate({"num_epochs": 1}, frame, Y, k=2)
    np.testing.assert_array_equal(found.predict(frame), found.predict(X))
    with pytest.raises(ValueError, match="X: expected the columns of the data in their order"):
        found.predict(frame[frame.columns[::-1]])


def test_folds_that_cannot_be_judged_are_refused():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), np.arange(30) % 3
    options = {"hidden_dims": [5], "num_epochs": 1}
    with pytest.raises(ValueError, match="k: expected rows to score that are not trained on, got 3 in both"):
        fastfc.cross_validate(options, X, y, k=[(range(20), [3, 25])])
    result = fastfc.cross_validate(options, X, y, k=[(range(20), range(20, 30))])
    with pytest.raises(ValueError, match="20 rows are in none of them"):
        result.predict(X)
    halves = [(range(15), range(15, 30)), (range(15, 30), range(15))]
    with pytest.raises(ValueError, match="0 rows are in none of them, 30 in several"):
        fastfc.cross_validate(options, X, y, k=[*halves, *halves]).predict(X)
