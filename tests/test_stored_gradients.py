"""A plan that stores gradients: the same steps, and the gradients of the reference."""

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, tolerance
from fastfc.training import plan as plans_module
from fastfc.training import run

ROWS, FEATURES, CLASSES, BATCH = 60, 70, 5, 24
# The output layer's gradient is computed transposed; a first layer of 130 features is split by them.
HIDDEN = [[], [19], [33, 7]]


def made(monkeypatch, stored, hidden, normalization, dtype, threads, rule, steps, reg=0.1):
    """A training of some steps, and the plan that it ran on."""
    plans = []

    def make(*args, **kwargs):
        plans.append(plans_module.make_plan(*args, **{**kwargs, "stores_gradients": stored}))
        return plans[-1]

    monkeypatch.setattr(run, "make_plan", make)
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)
    np.random.seed(5)
    net = FullyConnectedNet(
        hidden, FEATURES, CLASSES, normalization=normalization, dropout_keep_ratio=0.7, reg=reg, weight_scale=0.3,
        dtype=dtype,
    )  # fmt: skip
    solver = Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:8], "y_val": y[:8]}, update_rule=rule, batch_size=BATCH,
        num_epochs=1, verbose=False, threads=threads,
    )  # fmt: skip
    with fastfc.use_backend("fast"), solver._engine() as engine:
        while steps > 0:
            steps -= engine.steps(steps)
    return net, solver, plans[0], (X, y)


@pytest.mark.parametrize("rule", list(plans_module.RULES), ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_the_same_steps(monkeypatch, normalization, threads, rule):
    """Bit for bit: the rule sees the same numbers, one chunk at a time or all of them."""
    results = []
    for stored in (False, True):
        net, solver, _, _ = made(monkeypatch, stored, [33, 7], normalization, np.float32, threads, rule.__name__, 4)
        results.append((solver.loss_history, net.params.flat.copy()))
    (losses, params), (stored_losses, stored_params) = results
    assert losses == stored_losses
    np.testing.assert_array_equal(params, stored_params)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("hidden", HIDDEN, ids=str)
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_the_gradients_of_the_reference(monkeypatch, normalization, hidden, threads, dtype):
    net, _, plan, (X, y) = made(monkeypatch, True, hidden, normalization, dtype, threads, "sgd", 1)
    np.random.seed(5)
    other = FullyConnectedNet(
        hidden, FEATURES, CLASSES, normalization=normalization, dropout_keep_ratio=0.7, reg=0.1, weight_scale=0.3,
        dtype=dtype,
    )  # fmt: skip
    batch = np.random.choice(ROWS, BATCH)
    with fastfc.use_backend("reference"):
        _, grads = other.loss(X[batch], y[batch])
    terms = 4 * (FEATURES + sum(hidden) + CLASSES + BATCH)
    for name, parameter in plans_module.parameters_of(plan, net):
        expected = grads[name]
        if normalization == "batchnorm" and name.startswith("b") and name != f"b{net.num_layers}":
            # Batch normalization takes this bias out again: its gradient is rounding noise.
            continue
        got = parameter.gradient.reshape(expected.shape)
        np.testing.assert_allclose(
            got, expected, rtol=0, atol=tolerance(dtype, terms) * max(1.0, abs(expected).max()), err_msg=name
        )
