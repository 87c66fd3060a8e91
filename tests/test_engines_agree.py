"""The compiled run and the loop over single steps: whatever a callback changes, both go on alike."""

import contextlib
import warnings

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance

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


def trained(kind, normalization, change, **options):
    """The Solver after a training, in which `change` is called with it once, after the first epoch; or the error."""
    done = []

    def callback(solver):
        if len(solver.loss_history) == PER_EPOCH and not done:
            done.append(True)
            change(solver)

    solver = made(kind, normalization, callback, **options)
    with fastfc.use_backend("fast"), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            solver.train()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return solver, error
    return solver, None


TERMS = 2 * (FEATURES + 9 + 7 + CLASSES) + 6 * BATCH


def assert_alike(normalization, change, **options):
    fast, error = trained(Solver, normalization, change, **options)
    slow, other = trained(StepByStep, normalization, change, **options)
    assert (type(error), str(error)) == (type(other), str(other))
    bound = 2.0 ** (EPOCHS * PER_EPOCH) * tolerance(np.float64, TERMS * EPOCHS * PER_EPOCH)
    for name in ("loss_history", "train_acc_history", "val_acc_history"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=bound, atol=bound, err_msg=name)
    assert (fast.epoch, fast.best_val_acc) == (slow.epoch, slow.best_val_acc)
    if error is not None:
        return fast, slow
    for name, w in slow.model.params.items():
        if normalization != "batchnorm" or not name.startswith("b") or name.startswith("beta"):
            np.testing.assert_allclose(fast.model.params[name], w, rtol=bound, atol=bound, err_msg=name)
    # And the next number of the random stream, which both leave where it is.
    return fast, slow


def set_to(name, value):
    def change(solver):
        setattr(solver, name, value(solver) if callable(value) else value)

    return change


def model_to(name, value):
    def change(solver):
        setattr(solver.model, name, value(solver.model) if callable(value) else value)

    return change


def shuffled(solver):
    order = np.random.default_rng(9).permutation(ROWS)
    solver.X_train[:] = solver.X_train[order]
    solver.y_train[:] = solver.y_train[order]


def other_model(solver):
    state = np.random.get_state()
    solver.model = made(Solver, solver.model.normalization, None).model
    np.random.set_state(state)


def moments(solver):
    for config in solver.optim_configs.values():
        config["m"], config["v"] = np.full_like(config["m"], 0.01), np.full_like(config["v"], 0.02)


def swapped_moments(solver):
    first, second = solver.optim_configs["W1"], solver.optim_configs["W1"]
    first["m"], second["v"] = second["v"] * 0.5, first["m"] ** 2


#: Public attribute of the Solver -> changes of it; none for what the training itself writes.
OF_SOLVER = {
    "X_train": [
        set_to("X_train", lambda s: s.X_train[::-1].copy()),
        set_to("X_train", lambda s: s.X_train.astype(np.float32)),
        set_to("X_train", lambda s: (s.X_train * 10).astype(np.int16)),
        set_to("X_train", lambda s: s.X_train[:, :-1]),
        set_to("X_train", lambda s: s.X_train.tolist()),
        shuffled,
    ],
    "y_train": [
        set_to("y_train", lambda s: s.y_train[::-1].copy()),
        set_to("y_train", lambda s: s.y_train + 5),
        set_to("y_train", lambda s: s.y_train[:-1]),
    ],
    "X_val": [set_to("X_val", lambda s: s.X_train[:7]), set_to("X_val", lambda s: -s.X_val)],
    "y_val": [set_to("y_val", lambda s: 2 - s.y_val), set_to("y_val", lambda s: s.y_val[:, np.newaxis])],
    "model": [other_model],
    "update_rule": [set_to("update_rule", lambda s: optim.sgd), set_to("update_rule", 5)],
    "optim_config": [set_to("optim_config", lambda s: {})],
    "optim_configs": [moments, swapped_moments, lambda s: s.optim_configs["b1"].update(learning_rate=0.1, t=7)],
    "lr_decay": [set_to("lr_decay", 0.5)],
    "batch_size": [set_to("batch_size", 5), set_to("batch_size", 13), set_to("batch_size", 0)],
    "num_epochs": [set_to("num_epochs", 9)],
    "num_train_samples": [set_to("num_train_samples", 5), set_to("num_train_samples", None)],
    "num_val_samples": [set_to("num_val_samples", 6)],
    "checkpoint_name": [set_to("checkpoint_name", None)],
    "print_every": [set_to("print_every", 3)],
    "verbose": [set_to("verbose", False)],
    "threads": [set_to("threads", 2)],
    "callback": [set_to("callback", None)],
    "autosave": [set_to("autosave", None)],
    "epoch": [], "best_val_acc": [], "best_params": [], "loss_history": [], "train_acc_history": [],
    "val_acc_history": [], "engine_": [], "threads_": [],
}  # fmt: skip


def statistics(solver):
    for param in solver.model.bn_params:
        param.update({key: 0.5 * value for key, value in param.items() if key.startswith("running_")}, eps=1e-3)


def validation_loss(solver):
    solver.model.loss(solver.X_val, solver.y_val)


#: The same for the network.
OF_MODEL = {
    "reg": [model_to("reg", 0.2), model_to("reg", 0.0), model_to("reg", np.nan)],
    "dropout_param": [
        lambda s: s.model.dropout_param.update(p=0.5),
        lambda s: s.model.dropout_param.update(p=2),
        lambda s: s.model.dropout_param.update(p=0),
        lambda s: s.model.dropout_param.update(seed=5),
        model_to("dropout_param", lambda m: dict(m.dropout_param, p=0.9)),
    ],
    "bn_params": [
        statistics,
        validation_loss,
        model_to("bn_params", lambda m: [dict(param) for param in m.bn_params]),
        lambda s: [param.update(eps=1e-2, momentum=0.5) for param in s.model.bn_params],
    ],
    "input_mean": [model_to("input_mean", np.arange(FEATURES) / 10), model_to("input_mean", None)],
    "input_scale": [model_to("input_scale", np.linspace(0.5, 1, FEATURES)), model_to("input_scale", None)],
    "normalization": [model_to("normalization", "somewhat")],
    "use_dropout": [model_to("use_dropout", False)],
    "num_layers": [model_to("num_layers", 2)],
    "dtype": [model_to("dtype", np.float32)],
    "class_names": [model_to("class_names", lambda m: ["a", "b", "c"])],
    "plans": [],
    "feature_names": [model_to("feature_names", lambda m: list("abcdef"))],
    "target_name": [model_to("target_name", "kind")],
    "params": [
        lambda s: s.model.params["W1"].fill(0.1),
        model_to("params", lambda m: {name: 0.5 * w for name, w in m.params.items()}),
    ],
}  # fmt: skip


def public(owner):
    return {name for name in vars(owner) if not name.startswith("_")}


def test_every_public_attribute_is_here():
    """One that is added later is looked at by both engines, or its change does not matter: it has to be said."""
    solver, _ = trained(Solver, "batchnorm", lambda solver: None)
    assert public(solver) == set(OF_SOLVER)
    assert public(solver.model) | {"feature_names", "target_name", "params"} == set(OF_MODEL)


CHANGES = [
    pytest.param(change, id=f"{owner}.{name}-{i}")
    for owner, table in (("solver", OF_SOLVER), ("model", OF_MODEL))
    for name, changes in table.items()
    for i, change in enumerate(changes)
]


@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm", None])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_in_a_callback(change, normalization):
    with contextlib.suppress(fastfc.DivergenceWarning):
        assert_alike(normalization, change)


def test_a_loss_log_keeps_the_statistics():
    """A callback that takes the validation loss in training mode moves the running statistics; so it does here."""
    fast, slow = assert_alike("batchnorm", validation_loss)
    for mine, theirs in zip(fast.model.bn_params, slow.model.bn_params, strict=True):
        bound = 2.0**16 * tolerance(np.float64, TERMS * 16)
        for key in ("running_mean", "running_var"):
            np.testing.assert_allclose(mine[key], theirs[key], rtol=bound, atol=bound)
    with fastfc.use_backend("fast"):
        assert fast.check_accuracy(fast.X_val, fast.y_val) == slow.check_accuracy(slow.X_val, slow.y_val)


def test_a_file_that_is_loaded_in_a_callback(tmp_path):
    path = tmp_path / "model.npz"
    made(Solver, "batchnorm", None).model.save(path)
    assert_alike("batchnorm", lambda solver: solver.model.load(path))


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
