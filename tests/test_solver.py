import pickle
import re

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance


def toy_data(n=50, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d)), rng.integers(0, classes, n)
    return {"X_train": X, "y_train": y, "X_val": X[:20] + 0.1, "y_val": y[:20]}


def toy_net(**options):
    np.random.seed(1)
    return FullyConnectedNet([8], 6, 3, weight_scale=0.3, dtype=np.float64, **options)


class LinearModel:
    """A model of a user's own: anything with params and loss."""

    def __init__(self):
        self.params = {"w": np.zeros((6, 3))}

    def loss(self, X, y=None):
        scores = X @ self.params["w"]
        if y is None:
            return scores
        loss, dscores = fastfc.layers.softmax_loss(scores, y)
        return loss, {"w": X.T @ dscores}


@pytest.mark.usefixtures("backend")
def test_the_loop_is_the_courses_own_call_for_call():
    """Against the course's order of calls, written out: batches, updates, checks, decay, random stream."""
    data = toy_data()
    net = toy_net(dropout_keep_ratio=0.7)
    np.random.seed(5)
    solver = Solver(
        net, data, update_rule="sgd_momentum", optim_config={"learning_rate": 0.1}, lr_decay=0.5,
        batch_size=20, num_epochs=2, num_train_samples=30, num_val_samples=10, verbose=False,
    )  # fmt: skip
    solver.train()
    following = np.random.random_sample()

    net = toy_net(dropout_keep_ratio=0.7)
    np.random.seed(5)
    configs = {name: {"learning_rate": 0.1} for name in net.params}
    losses, train_accs, val_accs, best, best_params = [], [], [], 0, {}

    def accuracy(X, y, samples):
        mask = np.random.choice(len(X), samples)
        return np.mean(np.argmax(net.loss(X[mask]), axis=1) == y[mask])

    for t in range(4):
        batch = np.random.choice(50, 20)
        loss, grads = net.loss(data["X_train"][batch], data["y_train"][batch])
        losses.append(loss)
        for name in net.params:
            net.params[name], configs[name] = optim.sgd_momentum(net.params[name], grads[name], configs[name])
        if t % 2 == 1:
            for config in configs.values():
                config["learning_rate"] *= 0.5
        if t in (0, 1, 3):
            train_accs.append(accuracy(data["X_train"], data["y_train"], 30))
            val_accs.append(accuracy(data["X_val"], data["y_val"], 10))
            if val_accs[-1] > best:
                best, best_params = val_accs[-1], {name: value.copy() for name, value in net.params.items()}

    # The compiled run multiplies other groupings of rows; over four steps of three sums of at most 20 terms.
    bound = 2**4 * tolerance(np.float64, 4 * 3 * 20)
    np.testing.assert_allclose(solver.loss_history, losses, rtol=bound)
    assert (solver.train_acc_history, solver.val_acc_history) == (train_accs, val_accs)
    assert solver.best_val_acc == best
    assert solver.epoch == 2
    assert np.random.random_sample() == following
    for name, value in best_params.items():
        np.testing.assert_allclose(solver.best_params[name], value, rtol=bound, atol=bound)
        np.testing.assert_array_equal(solver.model.params[name], solver.best_params[name])
    for name, config in configs.items():
        assert solver.optim_configs[name]["learning_rate"] == config["learning_rate"] == 0.025
        np.testing.assert_allclose(solver.optim_configs[name]["velocity"], config["velocity"], rtol=bound, atol=bound)


def test_printed_lines(capsys, tmp_path):
    name = tmp_path / "run"
    Solver(toy_net(), toy_data(), batch_size=25, num_epochs=2, print_every=2, checkpoint_name=name).train()
    lines = capsys.readouterr().out.splitlines()
    number = r"\d+\.\d{6}"
    expected = [
        rf"\(Iteration 1 / 4\) loss: {number}",
        f'Saving checkpoint to "{name}_epoch_0.pkl"',
        rf"\(Epoch 0 / 2\) train acc: {number}; val_acc: {number}",
        f'Saving checkpoint to "{name}_epoch_1.pkl"',
        rf"\(Epoch 1 / 2\) train acc: {number}; val_acc: {number}",
        rf"\(Iteration 3 / 4\) loss: {number}",
        f'Saving checkpoint to "{name}_epoch_2.pkl"',
        rf"\(Epoch 2 / 2\) train acc: {number}; val_acc: {number}",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern if line.startswith("(") else re.escape(pattern), line)


def test_quiet(capsys):
    Solver(toy_net(), toy_data(), num_epochs=1, verbose=False).train()
    assert capsys.readouterr() == ("", "")


def test_checkpoints_hold_the_courses_keys(tmp_path):
    solver = Solver(
        toy_net(), toy_data(), update_rule="adam", num_epochs=1, batch_size=25, verbose=False, lr_decay=0.9,
        checkpoint_name=str(tmp_path / "c"),
    )  # fmt: skip
    solver.train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c_epoch_0.pkl", "c_epoch_1.pkl"]
    checkpoint = pickle.loads((tmp_path / "c_epoch_1.pkl").read_bytes())
    assert list(checkpoint) == [
        "model", "update_rule", "lr_decay", "optim_config", "batch_size", "num_train_samples", "num_val_samples",
        "epoch", "loss_history", "train_acc_history", "val_acc_history",
    ]  # fmt: skip
    assert checkpoint["update_rule"] is optim.adam
    assert checkpoint["loss_history"] == solver.loss_history
    assert checkpoint["epoch"] == 1
    X = solver.X_val
    assert checkpoint["model"].loss(X).shape == (20, 3)


@pytest.mark.parametrize("backend_name", ["fast", "reference"])
def test_any_model_will_do(backend_name):
    np.random.seed(0)
    with fastfc.use_backend(backend_name):
        model = LinearModel()
        solver = Solver(model, toy_data(), optim_config={"learning_rate": 0.5}, num_epochs=20, verbose=False)
        solver.train()
    assert solver.loss_history[-1] < solver.loss_history[0]
    assert isinstance(model.params, dict)
    assert model.params is solver.best_params


def test_rules_that_users_add(monkeypatch):
    calls = []

    def sign_descent(w, dw, config=None):
        config.setdefault("learning_rate", 0.01)
        calls.append(w.shape)
        return w - config["learning_rate"] * np.sign(dw), config

    monkeypatch.setattr(optim, "sign_descent", sign_descent, raising=False)
    net = toy_net()
    solver = Solver(net, toy_data(), update_rule="sign_descent", num_epochs=1, batch_size=50, verbose=False)
    solver.train()
    assert calls == [value.shape for value in net.params.values()]
    assert solver.update_rule is sign_descent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": 1, "y": 2}, 'Unrecognized arguments "x", "y"'),
        ({"update_rule": "nonsense"}, 'Invalid update_rule "nonsense"'),
        ({"update_rule": None}, 'Invalid update_rule "None"'),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected an integer of at least 1, got 2.5"),
        ({"print_every": 0}, "print_every: expected an integer of at least 1, got 0"),
        ({"num_epochs": -1}, "num_epochs: expected an integer of at least 0, got -1"),
        ({"optim_config": 3}, "optim_config: expected a dictionary, got int"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        Solver(toy_net(), toy_data(), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.zeros(3, int)}, "got X_train 50, y_train 3"),
        ({"y_val": np.zeros(3, int)}, "got X_val 20, y_val 3"),
        ({"X_train": np.zeros((0, 6)), "y_train": np.zeros(0, int)}, "at least one training example"),
    ],
)
def test_data_that_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        Solver(toy_net(), {**toy_data(), **change})


def test_missing_data():
    data = toy_data()
    del data["X_val"]
    with pytest.raises(ValueError, match="missing X_val"):
        Solver(toy_net(), data)


def test_no_epochs_leave_the_model_alone():
    net = toy_net()
    before = net.params.copy()
    solver = Solver(net, toy_data(), num_epochs=0, verbose=False)
    solver.train()
    assert solver.loss_history == []
    assert np.isnan(solver.seconds_per_step)
    for name, value in before.items():
        np.testing.assert_array_equal(net.params[name], value)


def test_never_right_keeps_the_parameters():
    """The course's Solver would leave the model with an empty dictionary."""
    data = toy_data()
    data["y_val"] = np.full(20, 99)
    net = toy_net()
    with pytest.warns(UserWarning, match="y_val: expected labels from 0 to 2, got 99 to 99"):
        solver = Solver(net, data, num_epochs=1, verbose=False)
    solver.train()
    assert set(net.params) == {"W1", "b1", "W2", "b2"}


def test_check_accuracy():
    net, data = toy_net(), toy_data()
    solver = Solver(net, data, verbose=False)
    X, y = data["X_train"], data["y_train"]
    expected = np.mean(np.argmax(net.loss(X), axis=1) == y)
    for batch_size in (1, 7, 50, 1000):
        assert solver.check_accuracy(X, y, batch_size=batch_size) == expected
    assert np.isnan(solver.check_accuracy(X[:0], y[:0]))
    np.random.seed(3)
    mask = np.random.choice(50, 10)
    np.random.seed(3)
    assert solver.check_accuracy(X, y, num_samples=10) == np.mean(np.argmax(net.loss(X[mask]), axis=1) == y[mask])


@pytest.mark.usefixtures("backend")
def test_the_callback_sees_every_check():
    """And between checks one or more iterations at a time: in the generic loop, every one."""
    seen = []
    Solver(
        toy_net(), toy_data(), batch_size=25, num_epochs=2, verbose=False,
        callback=lambda solver: seen.append((len(solver.loss_history), len(solver.val_acc_history))),
    ).train()  # fmt: skip
    generic = [(1, 1), (2, 2), (3, 2), (4, 3)]
    assert [step for step in generic if step in seen] == seen
    assert {(1, 1), (2, 2), (4, 3)} <= set(seen)


def test_training_again_goes_on():
    solver = Solver(toy_net(), toy_data(), batch_size=25, num_epochs=1, verbose=False)
    solver.train()
    solver.train()
    assert len(solver.loss_history) == 4
    assert solver.epoch == 2
    assert solver.seconds_per_step > 0
