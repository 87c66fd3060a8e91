"""The usual work with the course's code, from the first sanity check to the best model."""

import importlib
import os

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver
from fastfc.data_utils import embedded_fashion_mnist, get_CIFAR10_data
from fastfc.examples import cifar10_search
from fastfc.examples.search import grid_search, pictures
from fastfc.gradient_check import eval_numerical_gradient

WITHOUT_COMPILER = bool(importlib.import_module("numba").config.DISABLE_JIT)

STEP = 1e-5


@pytest.fixture(scope="module")
def data():
    return pictures()


@pytest.fixture
def compiled(backend):
    """For trainings that interpreted kernels would take minutes for; the reference runs them all the same."""
    if backend == "fast" and WITHOUT_COMPILER:
        pytest.skip("too much work for kernels without the compiler")
    return backend


@pytest.mark.parametrize(("reg", "expected"), [(0, np.log(10)), (3.14, 7.05)])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_a_new_network_knows_nothing(reg, expected, normalization, compiled):
    """All classes are as likely as one another: the loss is log(10), and what the weights' squares add."""
    np.random.seed(231)
    X, y = np.random.randn(20, 15), np.random.randint(10, size=20)
    model = FullyConnectedNet(
        [20, 30], 15, 10, reg=reg, weight_scale=5e-2, dtype=np.float64, normalization=normalization
    )
    loss, grads = model.loss(X, y)
    assert abs(loss - expected) < 0.1
    # Of each loss as many terms are rounded, and their difference is divided by 2 h.
    allowed = fastfc.tolerance(np.float64, 20 * (15 + 20 + 30 + 10)) * loss / STEP
    for name in ("W2", "b3", *(["gamma1", "beta2"] if normalization else [])):
        numeric = eval_numerical_gradient(lambda _: model.loss(X, y)[0], model.params[name], verbose=False, h=STEP)
        assert np.abs(numeric - grads[name]).max() <= allowed


@pytest.mark.parametrize("hidden_dims", [[100, 100], [100, 100, 100, 100]])
def test_a_network_learns_fifty_pictures_by_heart(hidden_dims, data, compiled):
    few = {**data, "X_train": data["X_train"][:50], "y_train": data["y_train"][:50]}
    np.random.seed(0)
    model = FullyConnectedNet(hidden_dims, 28 * 28, weight_scale=np.sqrt(2 / 100), dtype=np.float64)
    solver = Solver(
        model,
        few,
        num_epochs=20,
        batch_size=25,
        update_rule="sgd",
        optim_config={"learning_rate": 0.2},
        verbose=False,
    )
    solver.train()
    assert max(solver.train_acc_history) == 1
    assert len(solver.loss_history) == 40


def test_the_best_of_a_grid(data, compiled, capsys):
    np.random.seed(0)
    rates = [1e-5, 2e-3]
    best = grid_search(data, [32, 32], rates, reg=0.01, num_epochs=3)
    assert best.optim_config == {"learning_rate": 2e-3}
    assert best.engine_ == ("compiled" if compiled == "fast" else "generic")
    assert best.best_val_acc > 0.65  # of ten classes, after three short epochs
    assert np.mean(best.model.predict(data["X_val"]) == data["y_val"]) == best.best_val_acc
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"learning rate {rate:g}" for rate in rates]
    with pytest.raises(ValueError, match="at least one"):
        grid_search(data, [8], [], reg=0, num_epochs=1)


def test_pictures_for_the_search(data):
    raw = embedded_fashion_mnist()
    assert data["X_train"].shape == (3000, 28, 28)
    assert data["X_val"].shape == (1000, 28, 28)
    np.testing.assert_array_equal(np.concatenate([data["y_train"], data["y_val"]]), raw["y_train"])
    assert np.abs(data["X_train"].mean(axis=0)).max() <= fastfc.tolerance(np.float64, 3000)


@pytest.mark.skipif(WITHOUT_COMPILER, reason="too much work for kernels without the compiler")
@pytest.mark.skipif(not os.environ.get("FASTFC_DATA"), reason="needs CIFAR-10, by FASTFC_DATA")
def test_cifar10():
    try:
        data = get_CIFAR10_data()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    np.random.seed(0)
    with fastfc.use_backend("fast"):
        assert cifar10_search.search(data).best_val_acc > 0.5
