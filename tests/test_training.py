"""Whole trainings, reference against fast: every loss, for each normalization, dropout and rule."""

import numpy as np
import pytest
from rule_lists import RULES, rates

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance

NORMALIZATIONS = [None, "batchnorm", "layernorm"]
LEARNING_RATES = rates(sgd=0.1)
ROWS, FEATURES, CLASSES, HIDDEN, BATCH = 40, 9, 4, [11, 7], 13
STEPS = 12

# A rounding error in the parameters grows by at most 1 + learning rate * curvature a step. At the
# rates above this factor stays below 2 for these nets; RMSProp and Adam divide by the gradient's
# own size, which for gradients near zero turns relative rounding errors into the same share of a step.


def train(backend, dtype, normalization, keep, rule, reg, seed=None):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)
    data = {"X_train": X, "y_train": y, "X_val": X[:10], "y_val": y[:10]}
    np.random.seed(7)
    net = FullyConnectedNet(
        HIDDEN, FEATURES, CLASSES, dropout_keep_ratio=keep, normalization=normalization, reg=reg,
        weight_scale=0.3, dtype=dtype, seed=seed,
    )  # fmt: skip
    solver = Solver(
        net, data, update_rule=rule, optim_config={"learning_rate": LEARNING_RATES[rule]}, lr_decay=0.9,
        batch_size=BATCH, num_epochs=STEPS // (ROWS // BATCH), verbose=False,
    )  # fmt: skip
    with fastfc.use_backend(backend):
        solver.train()
    assert len(solver.loss_history) == STEPS
    return solver, np.random.random_sample()


# A step chains the sums of three layers, forward and backward.
TERMS_PER_STEP = 2 * (FEATURES + sum(HIDDEN) + CLASSES) + 6 * BATCH


def allowed(dtype, steps=STEPS):
    """A bound for losses and parameters of the size of 1 after so many steps."""
    return 2.0**steps * tolerance(dtype, TERMS_PER_STEP * steps)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_every_loss_agrees(normalization, keep, rule):
    reference, next_number = train("reference", np.float64, normalization, keep, rule, reg=0.1)
    fast, next_fast = train("fast", np.float64, normalization, keep, rule, reg=0.1)
    bound = allowed(np.float64)
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, rtol=bound, atol=bound)
    assert next_fast == next_number
    assert fast.train_acc_history == reference.train_acc_history
    assert fast.val_acc_history == reference.val_acc_history
    for name, value in reference.model.params.items():
        if normalization == "batchnorm" and name in ("b1", "b2"):
            # The batch mean takes these biases out again: their gradient is rounding noise.
            continue
        np.testing.assert_allclose(fast.model.params[name], value, rtol=bound, atol=bound, err_msg=name)


@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_float32_agrees_with_float64(normalization, keep):
    """SGD only: it does not blow rounding noise up to steps of the learning rate."""
    exact, _ = train("reference", np.float64, normalization, keep, "sgd", reg=0.1)
    for backend in ("reference", "fast"):
        solver, _ = train(backend, np.float32, normalization, keep, "sgd", reg=0.1)
        assert all(loss.dtype == np.float32 for loss in solver.loss_history)
        # In float32 the bound for all steps says little; the first steps are held to theirs.
        for steps in (1, 2, 3):
            bound = allowed(np.float32, steps)
            np.testing.assert_allclose(solver.loss_history[:steps], exact.loss_history[:steps], rtol=bound, atol=bound)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_dropout_seed_restarts_the_stream_at_every_pass(normalization):
    reference, next_number = train("reference", np.float64, normalization, 0.6, "adam", reg=0.0, seed=123)
    fast, next_fast = train("fast", np.float64, normalization, 0.6, "adam", reg=0.0, seed=123)
    bound = allowed(np.float64)
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, rtol=bound, atol=bound)
    assert next_fast == next_number


def test_a_training_is_repeatable_bit_for_bit(backend):
    first, _ = train(backend, np.float32, "batchnorm", 0.6, "adam", reg=0.1)
    second, _ = train(backend, np.float32, "batchnorm", 0.6, "adam", reg=0.1)
    assert first.loss_history == second.loss_history
    np.testing.assert_array_equal(first.model.params.flat, second.model.params.flat)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("backend")
def test_every_rule_learns(rule):
    """Classes that a line parts: the training accuracy becomes perfect."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 4))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    X[:, 0] += 2 * y
    np.random.seed(0)
    net = FullyConnectedNet([8], 4, 2, weight_scale=0.5, dtype=np.float64)
    rate = {"sgd": 0.5, "adagrad": 0.1}.get(rule, max(0.02, optim.DEFAULTS[rule]["learning_rate"]))
    solver = Solver(
        net, {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, update_rule=rule,
        optim_config={"learning_rate": rate}, batch_size=30, num_epochs=150, verbose=False,
    )  # fmt: skip
    solver.train()
    assert solver.best_val_acc == 1
