"""Trainings apart from the Solver: permutations, short batches, weights, averages, stopping; against NumPy."""

import functools

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, optim, tolerance
from fastfc.training.fit import Fit
from fastfc.training.gradients import clipped
from fastfc.training.validation import Validation
from fastfc.training.watching import finite_losses, watch_losses

FEATURES, HIDDEN, OUTPUTS, EPOCHS = 6, (8, 5), 3, 3
# A last batch of one row, which one of the threads has; and none.
SIZES = [(41, 20), (40, 20), (7, 20), (33, 16)]


def data_of(rows, loss):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((rows, FEATURES)).astype(np.float32)
    return X, rng.integers(0, OUTPUTS, rows) if loss == "softmax" else rng.standard_normal((rows, OUTPUTS))


def net_of(loss="softmax", normalization=None, keep=1.0, **options):
    np.random.seed(1)
    return FullyConnectedNet(
        HIDDEN, FEATURES, OUTPUTS, keep, normalization, 0.02, weight_scale=0.4, dtype=np.float64, loss=loss, **options
    )


def by_hand(net, X, y, *, batch, weights, stream, decay, max_norm, sampler="permutation"):
    """The same training on the reference: losses by epoch, and the parameters' moving average."""
    config = {name: {"learning_rate": 0.05, "momentum": 0.9} for name in net.params}
    order, reg, losses = np.arange(len(X)), net.reg, []
    average = net.params.flat.copy()
    # The reference draws dropout from the global stream.
    with fastfc.use_backend("reference"):
        for _ in range(EPOCHS):
            total = 0.0
            if sampler == "permutation":
                stream.shuffle(order)
            for start in range(0, len(X), batch):
                rows = order[start : start + batch]
                w = None if weights is None else weights[rows]
                net.reg = reg / (len(rows) if w is None else w.sum())
                np.random.set_state(stream.get_state())
                loss, grads = net.loss(X[rows], y[rows], w)
                stream.set_state(np.random.get_state())
                for name, grad in clipped(grads, max_norm).items():
                    net.params[name], config[name] = optim.sgd_momentum(net.params[name], grad, config[name])
                average = decay * average + (1 - decay) * net.params.flat
                total += loss * len(rows)
            losses.append(total / len(X))
    net.reg = reg
    return np.array(losses), average


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("rows", "batch"), SIZES)
@pytest.mark.parametrize("loss", ["softmax", "squared"])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_epochs(keep, normalization, loss, rows, batch, threads):
    X, y = data_of(rows, loss)
    weights = np.random.default_rng(9).random(rows) + 0.1 if rows % 2 else None
    max_norm = 0.5 if loss == "squared" else 0.0
    net, other = (net_of(loss, normalization, keep, activation="tanh") for _ in range(2))
    stream, same = np.random.RandomState(5), np.random.RandomState(5)
    with Fit(
        net, X, y, rule=optim.sgd_momentum, config={"learning_rate": 0.05, "momentum": 0.9}, batch_size=batch,
        weights=weights, stream=stream, reg_of_batch=True, threads=threads, average_decay=0.9, max_norm=max_norm,
    ) as fit:  # fmt: skip
        losses = fit.epochs(EPOCHS)
    expected, average = by_hand(
        other, X, y, batch=min(batch, rows), weights=weights, stream=same, decay=0.9, max_norm=max_norm
    )
    steps = EPOCHS * -(-rows // batch)
    assert fit.steps_taken == steps
    # As in test_activations_and_losses.py; one row has no variance, and x_hat comes of eps.
    bound = 2.0**steps * tolerance(np.float64, steps * (2 * (FEATURES + sum(HIDDEN) + OUTPUTS) + 6 * batch))
    np.testing.assert_allclose(losses, expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(net.params.flat, other.params.flat, rtol=bound, atol=bound)
    np.testing.assert_allclose(fit.average, average, rtol=bound, atol=bound)
    for mine, theirs in zip(net.bn_params, other.bn_params, strict=True):
        for key in ("running_mean", "running_var") if normalization == "batchnorm" else ():
            np.testing.assert_allclose(mine[key], theirs[key], rtol=bound, atol=bound)
    np.testing.assert_array_equal(stream.random_sample(3), same.random_sample(3))


def test_numpys_global_stream_is_not_touched():
    X, y = data_of(41, "softmax")
    np.random.seed(3)
    expected = np.random.RandomState(3).random_sample(4)
    net = net_of(keep=0.5)
    np.random.seed(3)
    with Fit(net, X, y, rule=optim.adam, batch_size=10, stream=np.random.RandomState(0)) as fit:
        fit.epochs(2)
    np.testing.assert_array_equal(np.random.random_sample(4), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_stopping_rule(threads):
    """Without progress it ends after so many epochs more; the same numbers decide, epoch by epoch."""
    X, y = data_of(30, "squared")
    net = net_of("squared", activation="tanh")
    watch = watch_losses(1e-3, 4)
    with Fit(
        net, X, y, rule=optim.adam, config={"learning_rate": 0.03}, batch_size=8, stream=np.random.RandomState(0),
        threads=threads,
    ) as fit:  # fmt: skip
        losses = fit.epochs(500, watch=watch)
    assert len(losses) < 500
    least, stale, end = np.inf, 0, None
    for epoch, loss in enumerate(losses, start=1):
        stale = stale + 1 if loss > least - 1e-3 else 0
        least = min(least, loss)
        if stale > 4:
            end = epoch
            break
    assert end == len(losses)


def test_factors_of_the_learning_rate():
    """A factor of 0 leaves the parameters where they are, whatever the rate."""
    X, y = data_of(40, "softmax")
    net = net_of()
    before = net.params.flat.copy()
    with Fit(net, X, y, rule=optim.sgd, batch_size=10, stream=np.random.RandomState(0)) as fit:
        fit.epochs(2, factors=lambda first, count: np.zeros(count))
        np.testing.assert_array_equal(net.params.flat, before)
        seen = []
        fit.epochs(2, factors=lambda first, count: seen.append((first, count)) or np.ones(count))
    assert not np.array_equal(net.params.flat, before)
    assert seen[0][0] == 8
    assert sum(count for _, count in seen) == 8


def test_data_in_their_order_and_new_data():
    X, y = data_of(25, "squared")
    net, other = net_of("squared"), net_of("squared")
    options = {"rule": optim.sgd_momentum, "config": {"learning_rate": 0.05, "momentum": 0.9}, "batch_size": 10}
    with Fit(net, X, y, **options, sampler="order", stream=np.random.RandomState(0), reg_of_batch=True) as fit:
        losses = fit.epochs(EPOCHS)
        expected, _ = by_hand(
            other, X, y, batch=10, weights=None, stream=np.random.RandomState(0), decay=0.9, max_norm=0, sampler="order"
        )
        bound = 2.0**9 * tolerance(np.float64, 9 * 200)
        np.testing.assert_allclose(losses, expected, rtol=bound, atol=bound)
        fit.set_data(X[:7], y[:7])
        assert fit.steps_per_epoch == 1
        fit.epochs(1)
    assert fit.steps_taken == 10


def test_stored_gradients():
    X, y = data_of(30, "squared")
    net = net_of("squared", activation="silu")
    with Fit(
        net, X, y, rule=optim.sgd, config={"learning_rate": 0.0}, batch_size=30, sampler="order",
        stream=np.random.RandomState(0), stores_gradients=True,
    ) as fit:  # fmt: skip
        (loss,) = fit.epochs(1)
    with fastfc.use_backend("reference"):
        expected, grads = net.loss(X, y)
    bound = tolerance(np.float64, 400) * 10
    assert abs(loss - expected) <= bound
    for name, grad in fit.gradients.items():
        np.testing.assert_allclose(grad, grads[name], rtol=0, atol=bound)


def test_targets_and_weights_are_checked():
    X, y = data_of(30, "squared")
    options = {"rule": optim.sgd, "batch_size": 10, "stream": np.random.RandomState(0)}
    with pytest.raises(ValueError, match="y: expected shape"):
        Fit(net_of("squared"), X, y[:, :2], **options)
    with pytest.raises(ValueError, match="weights: expected finite numbers of at least 0"):
        Fit(net_of("squared"), X, y, weights=-np.ones(30), **options)
    with pytest.raises(ValueError, match="weights: expected shape"):
        Fit(net_of("squared"), X, y, weights=np.ones(29), **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sampler", ["order", "permutation"])
def test_row_numbers_are_those_rows_copied(sampler, threads):
    """The same bits; a short last batch, weights by row, and data that are replaced later, included."""
    X, y = data_of(60, "squared")
    weights = np.random.default_rng(2).random(60) + 0.1
    rows = np.random.default_rng(3).permutation(60)[:33]
    nets = [net_of("squared"), net_of("squared")]
    options = {
        "rule": optim.adam, "batch_size": 10, "sampler": sampler, "threads": threads, "average_decay": 0.9,
        "reg_of_batch": True,
    }  # fmt: skip
    with (
        Fit(nets[0], X, y, weights=weights, indices=rows, stream=np.random.RandomState(4), **options) as fit,
        Fit(nets[1], X[rows], y[rows], weights=weights[rows], stream=np.random.RandomState(4), **options) as copied,
    ):
        np.testing.assert_array_equal(fit.epochs(EPOCHS), copied.epochs(EPOCHS))
        fit.set_data(X, y, weights, rows[:12])
        copied.set_data(X[rows[:12]], y[rows[:12]], weights[rows[:12]])
        assert fit.steps_per_epoch == copied.steps_per_epoch == 2
        np.testing.assert_array_equal(fit.epochs(1), copied.epochs(1))
    np.testing.assert_array_equal(nets[0].params.flat, nets[1].params.flat)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "at least one row"),
        ([[1, 2]], "at least one row"),
        ([0.5], "dtype float64"),
        ([True, False], "dtype bool"),
        ([0, 30], "from 0 to 29, got 0 to 30"),
        ([-1, 3], "from 0 to 29, got -1 to 3"),
    ],
)
def test_row_numbers_are_checked(indices, message):
    X, y = data_of(30, "squared")
    with pytest.raises(ValueError, match=f"indices: expected row numbers .*{message}"):
        Fit(net_of("squared"), X, y, indices=indices, rule=optim.sgd, batch_size=10, stream=np.random.RandomState(0))


def test_draws_with_replacement_are_from_all_rows():
    X, y = data_of(30, "squared")
    with pytest.raises(ValueError, match="indices: expected None with sampler='replacement'"):
        Fit(
            net_of("squared"), X, y, indices=[1, 2], rule=optim.sgd, batch_size=2, sampler="replacement",
            stream=np.random.RandomState(0),
        )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_scores_between_epochs(normalization, threads):
    """Those of a prediction, and the training goes on as without them."""
    X, y = data_of(50, "softmax")
    ends = []
    for scored in (False, True):
        net = net_of(normalization=normalization, keep=0.8)
        net.input_mean = 0.1
        stream = np.random.RandomState(4)
        with Fit(net, X, y, rule=optim.sgd_momentum, batch_size=12, stream=stream, threads=threads) as fit:
            for _ in range(3):
                fit.epochs(1)
                if scored:
                    scores = fit.scores(X)
                    bound = tolerance(np.float64, 2 * (FEATURES + sum(HIDDEN)))
                    same = functools.partial(np.testing.assert_allclose, rtol=bound, atol=bound * np.abs(scores).max())
                    same(scores, net.loss(X))
                    # Without the compiler, NumPy's sums depend on the number of rows.
                    same(fit.scores(X, np.array([7, 3, 7])), scores[[7, 3, 7]])
                    same(fit.scores(X.astype(">f4"), [1]), scores[[1]])
        ends.append((net.params.flat.copy(), stream.random_sample(3)))
    for mine, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_order_of_the_rows_for_each_epoch():
    """In one call as in one for each epoch; after it, the usual order is there again."""
    X, y = data_of(41, "softmax")
    order = np.stack([np.random.RandomState(i).permutation(41)[:40] for i in range(EPOCHS)])
    found = []
    for calls in ([order], [*order[:, np.newaxis]]):
        net = net_of()
        with Fit(
            net, X, y, rule=optim.sgd, batch_size=20, stream=np.random.RandomState(0), sampler="order",
            indices=np.arange(40), threads=2,
        ) as fit:  # fmt: skip
            losses = [loss for each in calls for loss in fit.epochs(len(each), order=each)]
            assert len(fit.step_losses) == 2 * len(calls[-1])
            losses += fit.epochs(1).tolist()
        found.append((losses, net.params.flat))
    np.testing.assert_allclose(*(losses for losses, _ in found), rtol=tolerance(np.float64, 4), atol=0)
    np.testing.assert_array_equal(*(params for _, params in found))
    by_indices = net_of()
    for rows in [*order, np.arange(40)]:
        with Fit(
            by_indices, X, y, rule=optim.sgd, batch_size=20, stream=np.random.RandomState(0), sampler="order",
            indices=rows, threads=2,
        ) as fit:  # fmt: skip
            fit.epochs(1)
    np.testing.assert_array_equal(by_indices.params.flat, found[0][1])


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({"sampler": "permutation"}, np.zeros((2, 40), int)),
        ({"batch_size": 30}, np.zeros((2, 40), int)),
        ({}, np.zeros((1, 40), int)),
        ({}, np.full((2, 40), 41)),
    ],
)
def test_wrong_orders(options, order):
    X, y = data_of(40, "softmax")
    given = {"rule": optim.sgd, "batch_size": 20, "sampler": "order", **options}
    net = net_of()
    before = net.params.flat.copy()
    fit = Fit(net, X, y, stream=np.random.RandomState(0), **given)
    with fit, pytest.raises(ValueError, match=r"order: expected|indices: expected"):
        fit.epochs(2, order=order)
    np.testing.assert_array_equal(net.params.flat, before)


@pytest.mark.parametrize("rule", ["adam", "sgd_momentum", "rmsprop"])
@pytest.mark.parametrize("rows", [41, 40])
def test_a_learned_scale_of_the_features(rule, rows):
    """Against the same training pass by pass: the gradient of the factors is that of the batch times the rows."""
    X, y = data_of(rows, "squared")
    X, net, rates = X.astype(np.float64), net_of("squared", activation="tanh"), [1.0, 0.5, 0.25]
    net.reg = 0.0
    other, config = fastfc.Network.from_net(net), {"learning_rate": 0.2}
    optimizer, scale = fastfc.Optimizer(rule, learning_rate=0.01), np.full(FEATURES, 1.5)
    for rate in rates:
        for start in range(0, rows, 20):
            x, t = X[start : start + 20], y[start : start + 20]
            dscores = fastfc.losses.squared_loss(other.forward(x * scale), t)[1]
            dx = other.backward(dscores)
            optimizer.step(other, factor=rate)
            scale, config = getattr(optim, rule)(scale, (dx * x).sum(axis=0), {**config, "learning_rate": 0.2 * rate})
    net.input_scale = np.full(FEATURES, 1.5)
    with Fit(
        net, X, y, rule=getattr(optim, rule), config={"learning_rate": 0.01}, scale_config={"learning_rate": 0.2},
        batch_size=20, sampler="order", stream=np.random.RandomState(0), threads=1,
    ) as fit:  # fmt: skip
        for epoch in range(2):
            fit.epochs(1 + epoch, factors=lambda first, count: np.repeat(rates, fit.steps_per_epoch)[first:][:count])
    steps = fit.steps_taken
    # A rule's quotients pass on a relative rounding of the gradients, which are sums over rows and units, in each step.
    bound = tolerance(np.float64, steps * 4 * (20 + sum(HIDDEN)) * 20)
    np.testing.assert_allclose(net.input_scale, scale, rtol=bound)
    assert (scale != 1.5).all()
    largest = np.abs(other.params.flat).max()
    np.testing.assert_allclose(net.params.flat, other.params.flat, rtol=bound, atol=bound * largest)


@pytest.mark.parametrize("options", [{"threads": 2}, {"accumulate": 2}, {"max_norm": 1.0}, {"scale": None}])
def test_what_a_learned_scale_does_not_go_with(options):
    X, y = data_of(40, "softmax")
    net = net_of()
    net.input_scale = options.get("scale", np.ones(FEATURES))
    given = {"threads": 1, **options}
    given.pop("scale", None)
    with pytest.raises(ValueError, match="scale_config: expected"):
        Fit(net, X, y, rule=optim.sgd, batch_size=20, stream=np.random.RandomState(0), scale_config={}, **given)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_epoch_whose_losses_are_not_finite_is_the_last(threads):
    """Its steps are taken, and validation does not see it."""
    X, y = data_of(40, "squared")
    rates = np.array([1e-3] * 4 + [np.inf] + [1e-3] * 20)
    net = net_of("squared")
    with Fit(
        net, X, y, rule=optim.sgd, config={"learning_rate": 1.0}, batch_size=20, stream=np.random.RandomState(0),
        threads=threads,
    ) as fit:  # fmt: skip
        validation = Validation(net, X, y, metric="r2")
        factors = {"factors": lambda first, count: rates[first : first + count]}
        losses = fit.epochs(9, watch=finite_losses(), validation=validation, **factors)
    assert np.isfinite(losses).tolist() == [True, True, False]
    assert np.isfinite(fit.step_losses).tolist() == [True] * 5 + [False]
    assert len(validation.values) == 2
