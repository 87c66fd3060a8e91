"""Validation inside of compiled epochs: the values by NumPy, the end by the rule, the best parameters back."""

import numpy as np
import pytest

from fastfc import FullyConnectedNet, losses, optim, tolerance
from fastfc.losses import checked_targets, score_of
from fastfc.ops.losses import LOSSES
from fastfc.training.fit import Fit
from fastfc.training.validation import Validation

FEATURES, HIDDEN, OUTPUTS, ROWS, TRAINED, BATCH, EPOCHS = 6, (8, 5), 3, 61, 40, 16, 6
TERMS = 2 * (FEATURES + sum(HIDDEN) + OUTPUTS) + 6 * ROWS
METRICS = [
    *((name, "loss") for name in LOSSES),
    ("softmax", "accuracy"), ("svm", "accuracy"), ("logistic", "accuracy"),
    ("squared", "r2"), ("absolute", "r2"), ("huber", "r2"), ("quantile", "r2"),
]  # fmt: skip
TRAIN, HELD = np.arange(TRAINED), np.arange(TRAINED, ROWS)


def data_of(loss):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((ROWS, FEATURES))
    if LOSSES[loss].labels:
        return X, np.argmax(X[:, :OUTPUTS] + 0.5 * rng.standard_normal((ROWS, OUTPUTS)), axis=1)
    t = np.abs(X[:, :OUTPUTS] + 0.5 * rng.standard_normal((ROWS, OUTPUTS)))
    return X, (t > 0.7).astype(float) if loss == "logistic" else t


def net_of(loss, normalization=None, dtype=np.float64):
    np.random.seed(1)
    return FullyConnectedNet(
        HIDDEN, FEATURES, OUTPUTS, 0.8, normalization, 0.02, weight_scale=0.4, dtype=dtype, loss=loss,
        activation="tanh",
    )  # fmt: skip


def fit_of(net, X, y, threads=1, **options):
    given = {"indices": TRAIN, "rule": optim.adam, "config": {"learning_rate": 0.02}, "batch_size": BATCH, **options}
    return Fit(net, X, y, stream=np.random.RandomState(5), threads=threads, **given)


def value_of(fit, net, X, y, metric, weights=None):
    """By NumPy, from the scores."""
    loss, scores, y = LOSSES[net.loss_name], fit.scores(X, HELD), y[HELD]
    weights = None if weights is None else weights[HELD]
    if metric == "loss":
        y = checked_targets(loss, "y", y, len(y), OUTPUTS, net.dtype)
        return float(losses.evaluate(net.loss_name, scores, y, weights, net.loss_parameter)[0])
    if weights is not None:
        return float(np.average(scores.argmax(axis=1) == y, weights=weights))
    return float(score_of(loss, scores, y))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("loss", "metric"), METRICS)
def test_values(loss, metric, threads):
    """The epochs are those without validation, and so are the random numbers."""
    X, y = data_of(loss)
    nets = [net_of(loss, "batchnorm") for _ in range(2)]
    validation = Validation(nets[0], X, y, metric=metric, indices=HELD, patience=10**6)
    with fit_of(nets[0], X, y, threads) as fit, fit_of(nets[1], X, y, threads) as other:
        found = fit.epochs(EPOCHS, validation=validation)
        expected, curve = [], []
        for _ in range(EPOCHS):
            curve += other.epochs(1).tolist()
            expected.append(value_of(other, nets[1], X, y, metric))
    # The losses of one epoch are added up in another order than those of several.
    np.testing.assert_allclose(found, curve, rtol=tolerance(np.float64, 2 * EPOCHS), atol=0)
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)
    bound = tolerance(np.float64, TERMS) * max(1, np.abs(expected).max())
    np.testing.assert_allclose(validation.values, expected, rtol=0, atol=bound)
    pick = np.argmin if metric == "loss" else np.argmax
    assert validation.best == validation.values[pick(validation.values)]
    assert validation.best_epoch == pick(validation.values) + 1


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
@pytest.mark.parametrize("threads", [1, 2])
def test_weights(metric, threads):
    X, y = data_of("softmax")
    weights = np.random.default_rng(9).random(ROWS) + 0.1
    net = net_of("softmax")
    validation = Validation(net, X, y, metric=metric, indices=HELD, weights=weights)
    with fit_of(net, X, y, threads) as fit:
        for _ in range(3):
            fit.epochs(1, validation=validation)
            expected = value_of(fit, net, X, y, metric, weights)
            assert abs(validation.values[-1] - expected) <= tolerance(np.float64, TERMS) * max(1, abs(expected))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("metric", "patience", "min_delta"), [("accuracy", 3, 0.01), ("loss", 2, 0.003), ("loss", 0, 0)]
)
def test_the_end(metric, patience, min_delta, threads):
    """After so many epochs without an improvement; in one call of epochs as in several."""
    X, y = data_of("softmax")
    found = []
    for at_once in (500, 1, 7):
        net = net_of("softmax")
        validation = Validation(net, X, y, metric=metric, indices=HELD, patience=patience, min_delta=min_delta)
        with fit_of(net, X, y, threads) as fit:
            count = 0
            while True:
                done = len(fit.epochs(at_once, validation=validation))
                count += done
                if done < at_once or validation.stale > patience:
                    break
        assert count == len(validation.values) < 500
        found.append((validation.values, validation.best, validation.best_epoch))
    assert found[0] == found[1] == found[2]
    values, sign = found[0][0], -1 if metric == "loss" else 1
    best, stale, end = -np.inf, 0, None
    for epoch, value in enumerate(values, start=1):
        stale = 0 if sign * value >= best + min_delta else stale + 1
        best = max(best, sign * value)
        if stale > patience:
            end = epoch
            break
    assert end == len(values)


@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm", None])
def test_the_best_parameters(normalization):
    """They and the running statistics predict as they did."""
    X, y = data_of("softmax")
    net = net_of("softmax", normalization)
    validation = Validation(net, X, y, metric="loss", indices=HELD, patience=5)
    with fit_of(net, X, y, 2, config={"learning_rate": 0.1}) as fit:
        fit.epochs(300, validation=validation)
        assert validation.best_epoch < len(validation.values)
    validation.restore()
    loss = losses.softmax_loss(net.loss(X[HELD]), y[HELD])[0]
    assert abs(loss - validation.best) <= tolerance(np.float64, TERMS) * max(1, loss)


def test_a_value_that_is_not_a_number_is_no_improvement():
    X, y = data_of("squared")
    net = net_of("squared")
    validation = Validation(net, np.full_like(X, np.nan), y, metric="r2", patience=4)
    before = net.params.flat.copy()
    with fit_of(net, X, y) as fit:
        fit.epochs(50, validation=validation)
    assert len(validation.values) == 5
    assert np.isnan([*validation.values, validation.best]).all()
    validation.restore()
    assert not np.array_equal(net.params.flat, before)


def test_with_accumulated_gradients_and_a_loss_of_ones_own():
    """The network's own loss is the one that validates."""
    numba = pytest.importorskip("numba")

    @numba.njit
    def nothing(scores, labels, dscores):
        dscores[:] = 0
        return 1.0

    X, y = data_of("softmax")
    net = net_of("softmax")
    net.reg = 0.0
    validation = Validation(net, X, y, metric="loss", indices=HELD)
    with fit_of(net, X, y, 2, loss=nothing, accumulate=2) as fit:
        np.testing.assert_array_equal(fit.epochs(2, validation=validation), [1, 1])
        expected = value_of(fit, net, X, y, "loss")
        # Gradients of 0 leave the parameters where they are.
        np.testing.assert_allclose(validation.values, [expected] * 2, rtol=tolerance(np.float64, TERMS))


@pytest.mark.parametrize(
    ("loss", "options", "error", "message"),
    [
        ("softmax", {"metric": "r2"}, ValueError, "metric: expected one of .* 'softmax'"),
        ("squared", {"metric": "accuracy"}, ValueError, "metric: expected one of .* 'squared'"),
        ("poisson", {"metric": "r2"}, ValueError, "metric: expected one of .* 'poisson'"),
        ("softmax", {"metric": "auc"}, ValueError, "metric: expected one of"),
        ("softmax", {"patience": -1}, ValueError, "patience"),
        ("softmax", {"patience": 1.5}, TypeError, "patience"),
        ("softmax", {"min_delta": -1}, ValueError, "min_delta"),
        ("softmax", {"indices": [0, ROWS]}, ValueError, "indices: expected row numbers"),
        ("softmax", {"weights": np.zeros(ROWS)}, ValueError, "weights: expected a positive one"),
        ("squared", {"metric": "r2", "weights": np.ones(ROWS)}, ValueError, "weights: expected None"),
    ],
)
def test_bad_arguments(loss, options, error, message):
    X, y = data_of(loss)
    with pytest.raises(error, match=message):
        Validation(net_of(loss), X, y, **options)


def test_of_another_network():
    X, y = data_of("softmax")
    validation = Validation(net_of("softmax"), X, y)
    with fit_of(net_of("softmax"), X, y) as fit, pytest.raises(ValueError, match="validation: expected one of the net"):
        fit.epochs(1, validation=validation)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_at_once(threads):
    """Each has the values that it has alone; what keeps no parameters leaves those of the start."""
    X, y = data_of("softmax")
    found = []
    for together in (True, False):
        net = net_of("softmax")
        start = net.params.flat.copy()
        both = [
            Validation(net, X, y, metric="loss", indices=HELD, patience=10**6),
            Validation(net, X, y, indices=TRAIN, patience=10**6, keep=None),
        ]
        for chosen in [both] if together else [[each] for each in both]:
            net.params.flat[:] = start
            with fit_of(net, X, y, threads) as fit:
                fit.epochs(2, validation=chosen)
                fit.epochs(EPOCHS - 2, validation=chosen)
        np.testing.assert_array_equal(both[1].best_numbers()[0], start)
        found.append([each.values for each in both])
    assert found[0] == found[1]
    assert [len(values) for values in found[0]] == [EPOCHS, EPOCHS]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("keep", ["first", "last"])
def test_which_of_the_best_epochs_is_kept(keep, threads):
    X, y = data_of("softmax")
    net = net_of("softmax")
    # A few rows, for many epochs to be as good.
    validation = Validation(net, X, y, indices=HELD[:4], patience=10**6, keep=keep)
    params = []
    with fit_of(net, X, y, threads) as fit:
        for _ in range(30):
            fit.epochs(1, validation=validation)
            params.append(net.params.flat.copy())
    places = np.flatnonzero(np.array(validation.values) == max(validation.values))
    assert len(places) > 1
    place = places[0 if keep == "first" else -1]
    assert validation.best_epoch == place + 1
    np.testing.assert_array_equal(validation.best_numbers()[0], params[place])


def test_a_learned_scale_is_kept_too():
    X, y = data_of("softmax")
    net = net_of("softmax")
    net.input_scale = np.ones(FEATURES)
    validation = Validation(net, X, y, metric="loss", indices=HELD, patience=5)
    assert validation.best_scale().size == 0
    with fit_of(net, X, y, scale_config={"learning_rate": 0.1}, config={"learning_rate": 0.1}) as fit:
        fit.epochs(300, validation=validation)
    assert validation.best_epoch < len(validation.values)
    last = net.input_scale.copy()
    validation.restore()
    assert (net.input_scale != last).any()
    loss = losses.softmax_loss(net.loss(X[HELD]), y[HELD])[0]
    assert abs(loss - validation.best) <= tolerance(np.float64, TERMS) * max(1, loss)
