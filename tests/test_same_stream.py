"""A whole training against a student's own cs231n package: the same random stream, the same curve.

The package in ``course_package`` is plain NumPy and shares no line with fastfc; the generic
loop and the compiled run must both give its numbers.
"""

import itertools
import pickle

import course
import numpy as np
import pytest

import fastfc
from fastfc import tolerance

RULES = {"sgd": 0.1, "sgd_momentum": 0.02, "rmsprop": 1e-3, "adam": 1e-3}
NETS = {
    "plain": {},
    "batchnorm": {"normalization": "batchnorm"},
    "layernorm": {"normalization": "layernorm"},
    "dropout": {"dropout_keep_ratio": 0.6},
    "batchnorm+dropout": {"normalization": "batchnorm", "dropout_keep_ratio": 0.6},
    "layernorm+dropout": {"normalization": "layernorm", "dropout_keep_ratio": 0.6},
    "dropout with seed": {"dropout_keep_ratio": 0.6, "seed": 5},
}
ENGINES = {"reference": "generic", "fast": "compiled"}
ROWS, FEATURES, CLASSES, HIDDEN, BATCH, STEPS = 41, 9, 4, [11, 7], 13, 9

# As in test_training.py: rounding errors grow by less than a factor of 2 a step, and a step chains
# the sums of three layers.
BOUND = 2.0**STEPS * tolerance(np.float64, STEPS * (2 * (FEATURES + sum(HIDDEN) + CLASSES) + 6 * BATCH))


@pytest.fixture(scope="module")
def cs231n():
    with course.imported() as package:
        yield package


def run(fc_net, solver_class, rule="adam", reg=0.1, net="plain", **options):
    """A Solver after training from a seed, and the next random number."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((ROWS, 3, 3)), rng.integers(0, CLASSES, ROWS)
    data = {"X_train": X, "y_train": y, "X_val": X[:10] + 0.1, "y_val": y[:10]}
    np.random.seed(7)
    model = fc_net.FullyConnectedNet(
        HIDDEN, FEATURES, CLASSES, reg=reg, weight_scale=0.3, dtype=np.float64, **NETS[net]
    )
    options = {"num_train_samples": 20, "num_val_samples": 7, "verbose": False, **options}
    solver = solver_class(
        model, data, update_rule=rule, optim_config={"learning_rate": RULES[rule]}, lr_decay=0.9, batch_size=BATCH,
        num_epochs=3, **options,
    )  # fmt: skip
    solver.train()
    assert len(solver.loss_history) == STEPS
    return solver, np.random.random_sample()


def assert_close(got, expected, what):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, what
    assert np.max(np.abs(got - expected), initial=0) <= BOUND * np.max(np.abs(expected), initial=0), what


def test_the_bound_is_stricter_than_what_is_promised():
    assert BOUND < 1e-7


@pytest.mark.parametrize("backend_name", ENGINES)
@pytest.mark.parametrize(("rule", "reg", "net"), list(itertools.product(RULES, [0.0, 0.1], NETS)))
def test_same_stream_same_curve(cs231n, rule, reg, net, backend_name):
    theirs, next_theirs = run(cs231n.classifiers.fc_net, cs231n.solver.Solver, rule, reg, net)
    with fastfc.use_backend(backend_name):
        ours, next_ours = run(fastfc, fastfc.Solver, rule, reg, net)
    assert ours.engine_ == ENGINES[backend_name]

    assert next_ours == next_theirs
    assert_close(ours.loss_history, theirs.loss_history, "loss_history")
    assert ours.train_acc_history == theirs.train_acc_history
    assert ours.val_acc_history == theirs.val_acc_history
    assert (ours.epoch, ours.best_val_acc) == (theirs.epoch, theirs.best_val_acc)
    assert list(ours.model.params) == list(theirs.model.params)
    assert ours.model.dropout_param == theirs.model.dropout_param
    for name, value in theirs.model.params.items():
        mine, config = ours.optim_configs[name], theirs.optim_configs[name]
        assert set(mine) == set(config)
        if "batchnorm" in net and name in ("b1", "b2"):
            # The batch mean takes these biases out again: their gradient is rounding noise.
            continue
        assert_close(ours.model.params[name], value, name)
        for key in config:
            assert_close(mine[key], config[key], f"{name} {key}")
    for mine, param in zip(ours.model.bn_params, theirs.model.bn_params, strict=True):
        assert set(mine) == set(param)
        assert mine.get("mode") == param.get("mode")
        if "running_var" in param:
            # The running means contain those biases.
            assert_close(mine["running_var"], param["running_var"], "running_var")


@pytest.mark.parametrize("backend_name", ENGINES)
def test_same_printed_lines(cs231n, backend_name, capsys, tmp_path):
    options = {"net": "batchnorm+dropout", "verbose": True, "print_every": 2, "checkpoint_name": str(tmp_path / "c")}
    run(cs231n.classifiers.fc_net, cs231n.solver.Solver, **options)
    expected = capsys.readouterr().out
    with fastfc.use_backend(backend_name):
        run(fastfc, fastfc.Solver, **options)
    assert capsys.readouterr().out == expected
    assert expected.count("Saving checkpoint") == 4


@pytest.mark.parametrize("backend_name", ENGINES)
def test_same_checkpoints(cs231n, backend_name, tmp_path):
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    run(cs231n.classifiers.fc_net, cs231n.solver.Solver, net="batchnorm", checkpoint_name=str(tmp_path / "theirs/c"))
    with fastfc.use_backend(backend_name):
        run(fastfc, fastfc.Solver, net="batchnorm", checkpoint_name=str(tmp_path / "ours/c"))
    files = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert files == [f"c_epoch_{i}.pkl" for i in range(4)]
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == files
    for file in files:
        theirs, ours = (pickle.loads((tmp_path / name / file).read_bytes()) for name in ("theirs", "ours"))
        assert list(ours) == list(theirs)
        assert ours["update_rule"].__name__ == theirs["update_rule"].__name__
        assert_close(ours["loss_history"], theirs["loss_history"], "loss_history")
        assert_close(ours["model"].params["W1"], theirs["model"].params["W1"], "W1")
        same = set(theirs) - {"model", "update_rule", "loss_history"}
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}


def test_two_layer_net_is_theirs_too(cs231n):
    nets = []
    for module in (cs231n.classifiers.fc_net, fastfc):
        np.random.seed(2)
        nets.append(module.TwoLayerNet(input_dim=FEATURES, hidden_dim=6, num_classes=CLASSES, reg=0.3))
    X, y = np.random.default_rng(1).standard_normal((8, FEATURES)), np.arange(8) % CLASSES
    (loss, grads), (our_loss, our_grads) = (net.loss(X, y) for net in nets)
    assert_close(our_loss, loss, "loss")
    for name, value in grads.items():
        np.testing.assert_array_equal(nets[1].params[name], nets[0].params[name])
        assert_close(our_grads[name], value, name)
