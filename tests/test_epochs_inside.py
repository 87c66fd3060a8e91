"""Epochs inside a call of the compiled run: bit for bit those that end in Python."""

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, tolerance

# Interpreted checks take too long for a call to go on over them.
pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="epochs end in Python without the compiler")

FEATURES, CLASSES, ROWS, BATCH = 6, 3, 40, 10
PER_EPOCH = ROWS // BATCH
EPOCHS = 4


class StepByStep(Solver):
    """The same training in the generic loop, on the same backend."""

    def _step(self):
        super()._step()


def made(kind, normalization, callback, **options):
    rng = np.random.default_rng(0)
    y = np.arange(ROWS) % CLASSES
    X = rng.standard_normal((ROWS, FEATURES)) + 2 * np.eye(FEATURES)[y]
    np.random.seed(3)
    net = FullyConnectedNet(
        [9, 7], FEATURES, CLASSES, dropout_keep_ratio=0.8, normalization=normalization, reg=0.01, weight_scale=0.3,
        dtype=np.float64,
    )  # fmt: skip
    net.input_mean, net.input_scale = 0.1, 0.9
    data = {"X_train": X, "y_train": y, "X_val": X[:15].copy(), "y_val": y[:15].copy()}
    defaults = {"update_rule": "adam", "num_epochs": EPOCHS, "batch_size": BATCH, "num_train_samples": 12}
    return kind(net, data, verbose=False, lr_decay=0.9, callback=callback, **defaults | options)


TERMS = 2 * (FEATURES + 9 + 7 + CLASSES) + 6 * BATCH


# ------------------------------------------------------------------- without a callback: epochs inside a call


def silent(kind, normalization, seed=None, **options):
    solver = made(kind, normalization, None, **{"num_epochs": 30} | options)
    if seed is not None:
        solver.model.dropout_param["seed"] = seed
    np.random.seed(11)
    with fastfc.use_backend("fast"):
        solver.train()
    return solver, np.random.random_sample()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("samples", [None, 12])
@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm", None])
def test_epochs_inside_a_call_are_those_of_python(normalization, samples, seed, threads):
    """With a callback, which does nothing, every epoch ends in Python: bit for bit the same."""
    options = {"num_train_samples": samples, "num_val_samples": samples and 9, "threads": threads}
    inside, number = silent(Solver, normalization, seed, **options)

    class Watched(Solver):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs | {"callback": lambda solver: None})

    outside, same = silent(Watched, normalization, seed, **options)
    assert inside.engine_ == outside.engine_ == "compiled"
    assert number == same
    for name in ("loss_history", "train_acc_history", "val_acc_history", "epoch", "best_val_acc"):
        assert getattr(inside, name) == getattr(outside, name), name
    for mine, theirs in ((inside.best_params, outside.best_params), (inside.model.params, outside.model.params)):
        assert mine.keys() == theirs.keys()
        for name, w in theirs.items():
            np.testing.assert_array_equal(mine[name], w, err_msg=name)
    for name, config in outside.optim_configs.items():
        assert inside.optim_configs[name].keys() == config.keys()
        for key, value in config.items():
            np.testing.assert_array_equal(inside.optim_configs[name][key], value, err_msg=f"{name}.{key}")
    for mine, theirs in zip(inside.model.bn_params, outside.model.bn_params, strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in theirs.items():
            np.testing.assert_array_equal(mine[key], value, err_msg=key)


@pytest.mark.parametrize("print_every", [1, 7, 1000])
def test_the_lines_are_the_same(print_every, capsys):
    lines = []
    for kind in (Solver, StepByStep):
        solver = made(kind, None, None, num_epochs=12, print_every=print_every)
        solver.verbose = True
        with fastfc.use_backend("fast"):
            solver.train()
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1]


def test_a_training_goes_on_after_epochs_inside_a_call():
    solver = made(Solver, "batchnorm", None, num_epochs=5)
    other = made(StepByStep, "batchnorm", None, num_epochs=5)
    for each in (solver, other):
        np.random.seed(0)
        with fastfc.use_backend("fast"):
            each.train()
            each.train()
    assert solver.epoch == other.epoch == 10
    bound = 2.0**40 * tolerance(np.float64, TERMS * 40)
    np.testing.assert_allclose(solver.loss_history, other.loss_history, rtol=bound, atol=bound)
    assert solver.val_acc_history == other.val_acc_history
