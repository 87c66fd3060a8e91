"""Gradients of several batches before the rule is applied: as one larger batch, on every engine, from any iteration."""

import pickle

import numpy as np
import pytest
from saving import SaveEach

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance
from fastfc.training.fit import Fit
from fastfc.training.gradients import updates_after

FEATURES, HIDDEN, OUTPUTS, EPOCHS = 6, (8, 5), 3, 3
TERMS = 2 * (FEATURES + sum(HIDDEN) + OUTPUTS)


def data_of(rows):
    rng = np.random.default_rng(8)
    return rng.standard_normal((rows, FEATURES)), rng.integers(0, OUTPUTS, rows)


def net_of(normalization=None, activation="tanh"):
    np.random.seed(1)
    return FullyConnectedNet(
        HIDDEN, FEATURES, OUTPUTS, 1.0, normalization, 0.02, weight_scale=0.4, dtype=np.float64, activation=activation
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("rows", "batch", "accumulate"), [(41, 5, 2), (48, 4, 3), (30, 7, 9), (23, 4, 2)])
@pytest.mark.parametrize("rule", ["sgd_momentum", "adam", "nadam"])
@pytest.mark.parametrize("weighted", [False, True])
def test_as_one_larger_batch(weighted, rule, rows, batch, accumulate, threads):
    """But for rounding: short groups and short batches, L2 by batch, clipping and the moving average included."""
    X, y = data_of(rows)
    weights = np.random.default_rng(9).random(rows) + 0.1 if weighted else None
    found = []
    for size, count in ((batch, accumulate), (batch * accumulate, 1)):
        net = net_of("layernorm")
        with Fit(
            net, X, y, weights=weights, rule=getattr(optim, rule), config={"learning_rate": 0.05}, batch_size=size,
            accumulate=count, stream=np.random.RandomState(5), threads=threads, reg_of_batch=True, max_norm=0.3,
            average_decay=0.9,
        ) as fit:  # fmt: skip
            losses = fit.epochs(EPOCHS)
        assert fit.steps_taken == EPOCHS * -(-rows // min(size, rows))
        found.append((fit.updates_taken, losses, net.params.flat, fit.average))
    (updates, losses, params, average), (same, expected, others, other_average) = found
    assert updates == same == EPOCHS * -(-rows // (batch * accumulate))
    # As in test_fit.py. A loss by batch is a mean over its weights, and those of an epoch are weighed by rows.
    bound = 2.0**updates * tolerance(np.float64, updates * (TERMS + 6 * batch * accumulate))
    if not weighted:
        np.testing.assert_allclose(losses, expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(params, others, rtol=bound, atol=bound)
    np.testing.assert_allclose(average, other_average, rtol=bound, atol=bound)


def test_gradients_are_the_means():
    """With a rate of 0 they are those of all rows, by the reference, whose own are checked by differences."""
    X, y = data_of(40)
    net = net_of()
    with Fit(
        net, X, y, rule=optim.sgd, config={"learning_rate": 0.0}, batch_size=10, accumulate=4, sampler="order",
        stream=np.random.RandomState(0),
    ) as fit:  # fmt: skip
        (loss,) = fit.epochs(1)
    with fastfc.use_backend("reference"):
        expected, grads = net.loss(X, y)
    bound = 10 * tolerance(np.float64, TERMS + 6 * 40)
    assert abs(loss - expected) <= bound
    for name, grad in fit.gradients.items():
        np.testing.assert_allclose(grad, grads[name], rtol=0, atol=bound)


@pytest.mark.parametrize("steps", range(0, 23))
def test_updates_after(steps):
    """One after every so many batches of an epoch, and one at its end."""
    per_epoch, accumulate = 7, 3
    places = [step % per_epoch + 1 for step in range(steps)]
    expected = sum(place % accumulate == 0 or place == per_epoch for place in places)
    assert updates_after(steps, per_epoch, accumulate) == expected


def solver_of(backend="fast", epochs=EPOCHS, **options):
    X, y = data_of(41)
    data = {"X_train": X, "y_train": y, "X_val": X[:9], "y_val": y[:9]}
    net = net_of("batchnorm")
    return Solver(net, data, batch_size=5, num_epochs=epochs, verbose=False, lr_decay=0.9, accumulate=3, **options)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rule", ["sgd_momentum", "adam", "nadam"])
def test_compiled_as_the_generic_loop(rule, threads):
    found = []
    for backend in ("fast", "reference"):
        with fastfc.use_backend(backend):
            solver = solver_of(
                update_rule=rule, optim_config={"learning_rate": 0.03}, max_norm=0.5, threads=threads, schedule="cosine"
            )
            np.random.seed(4)
            solver.train()
        found.append(solver)
    (fast, reference), steps = found, EPOCHS * 8
    assert (fast.engine_, reference.engine_) == ("compiled", "generic")
    bound = 2.0**9 * tolerance(np.float64, steps * (TERMS + 6 * 15))
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, rtol=bound, atol=bound)
    assert fast.val_acc_history == reference.val_acc_history
    np.testing.assert_allclose(fast._state.params["W1"], reference._state.params["W1"], rtol=bound, atol=bound)
    if rule != "sgd_momentum":
        # Eight iterations an epoch are three updates.
        assert fast.optim_configs["W1"]["t"] == reference.optim_configs["W1"]["t"] == 3 * EPOCHS


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("other", ["fast", "reference"])
def test_from_any_iteration(other, backend, tmp_path):
    """A file between two batches of a group loses nothing: bit for bit with the same engine."""
    callback = SaveEach(tmp_path)
    with fastfc.use_backend(backend):
        solver = callback.solver = solver_of(update_rule="adam", callback=callback)
        np.random.seed(4)
        solver.train()
    data = {name: getattr(solver, name) for name in ("X_train", "y_train", "X_val", "y_val")}
    bound = 2.0**9 * tolerance(np.float64, EPOCHS * 8 * (TERMS + 6 * 15))
    for step in range(1, 8 * EPOCHS):
        with fastfc.use_backend(other):
            rest = Solver.resume(tmp_path / f"{step}.npz", data)
            rest.train()
        if other == backend:
            np.testing.assert_array_equal(rest.loss_history, solver.loss_history)
        else:
            np.testing.assert_allclose(rest.loss_history, solver.loss_history, rtol=bound, atol=bound)


def test_a_pickle_between_two_batches():
    solver = solver_of(update_rule="adam", callback=lambda solver: None)
    copies = []
    solver.callback = lambda solver: copies.append(pickle.dumps(solver._state.accumulated.weight))
    np.random.seed(4)
    with fastfc.use_backend("fast"):
        solver.train()
    # After the first iteration there is one batch; at the end of an epoch none.
    assert [pickle.loads(copy) for copy in copies] == [5.0, *[0.0] * EPOCHS]


def test_a_training_that_begins_anew_has_no_old_gradients():
    def interrupt(solver):
        raise KeyboardInterrupt

    found = []
    for callback in (interrupt, None):
        solver = solver_of(update_rule="sgd", optim_config={"learning_rate": 0.0}, callback=callback)
        if callback is not None:
            with pytest.raises(KeyboardInterrupt):
                solver.train()
            assert solver._state.accumulated.weight == 5
            solver.callback = None
        solver.optim_configs = {name: {"learning_rate": 0.1} for name in solver.model.params}
        np.random.seed(4)
        solver.train()
        found.append(solver)
    np.testing.assert_array_equal(found[0]._state.params["W1"], found[1]._state.params["W1"])


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_counts_that_are_none(value):
    X, y = data_of(20)
    with pytest.raises((TypeError, ValueError), match="accumulate: expected"):
        Solver(net_of(), {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, accumulate=value)
    with pytest.raises((TypeError, ValueError), match="accumulate: expected"):
        Fit(net_of(), X, y, rule=optim.sgd, batch_size=5, accumulate=value, stream=np.random.RandomState(0))
