"""Whatever a callback changes, the compiled run does what the generic loop on the reference backend does.

The attributes are found by looking at the objects: one that is added later fails a test here
until the table says how it may be changed.
"""

import warnings

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance
from fastfc.schedules import Exponential

ROWS, FEATURES, CLASSES, HIDDEN, BATCH, EPOCHS = 41, 6, 4, (8, 5), 13, 3
RATES = {
    "sgd": 0.1, "sgd_momentum": 0.05, "nesterov": 0.05, "rmsprop": 1e-3, "adagrad": 1e-2, "adam": 1e-3, "adamw": 1e-3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class OwnLoss(FullyConnectedNet):
    def loss(self, X, y=None):
        if y is None:
            return super().loss(X)
        loss, grads = super().loss(X, y)
        return 2 * loss, {name: 2 * grad for name, grad in grads.items()}


def network(kind=FullyConnectedNet, normalization="batchnorm", keep=0.7, hidden=HIDDEN, seed=7):
    np.random.seed(seed)
    return kind(
        hidden, FEATURES, CLASSES, dropout_keep_ratio=keep, normalization=normalization, reg=0.1, weight_scale=0.5,
        dtype=np.float64,
    )  # fmt: skip


def make(rule="sgd_momentum", net=None, threads=2, **options):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((ROWS, FEATURES)) + 0.5, rng.integers(0, CLASSES, ROWS)
    data = {"X_train": X, "y_train": y, "X_val": X[:20].copy(), "y_val": y[:20].copy()}
    options = {"lr_decay": 0.9, "num_train_samples": 30, "num_val_samples": 15, "verbose": False, **options}
    net = net or network()
    np.random.seed(5)
    return Solver(
        net, data, update_rule=rule, optim_config={"learning_rate": RATES[rule]}, batch_size=BATCH, num_epochs=EPOCHS,
        threads=threads, **options,
    )  # fmt: skip


def outcome(backend, change, rule="sgd_momentum", normalization="batchnorm"):
    """The result of a training in which `change` is made once, at the end of an epoch; or its error."""
    solver = make(rule, network(normalization=normalization))
    made = []

    def callback(solver):
        if solver.epoch == 1 and not made:
            made.append(solver.engine_)
            change(solver)

    solver.callback = callback
    # A list that a callback puts in the place of a history is another object than this one.
    losses = solver.loss_history
    with fastfc.use_backend(backend):
        try:
            solver.train()
        except Exception as error:  # noqa: BLE001 - whatever one engine raises, the other has to
            return {"error": (type(error), str(error)), "losses": losses}
        finally:
            assert made == [{"fast": "compiled", "reference": "generic"}[backend]]
    with fastfc.use_backend("reference"):
        X = np.random.default_rng(9).standard_normal((10, FEATURES))
        scores = solver.model.loss(X)
    return {
        "losses": losses + (solver.loss_history if solver.loss_history is not losses else []),
        "train": solver.train_acc_history,
        "val": solver.val_acc_history,
        "scores": scores,
        "rule": [config[key] for config in solver.optim_configs.values() for key in sorted(config)],
        "stream": np.random.random_sample(3),
    }


def same(one, other, atol):
    if one.keys() != other.keys() or one.get("error") != other.get("error"):
        return False
    for key in one.keys() - {"error"}:
        if len(one[key]) != len(other[key]):
            return False
        for mine, theirs in zip(one[key], other[key], strict=True):
            if not np.allclose(mine, theirs, rtol=atol, atol=atol, equal_nan=True):
                return False
    return True


def atol(steps):
    """See test_compiled_run.py."""
    return 2.0**steps * tolerance(np.float64, steps * (2 * (FEATURES + sum(HIDDEN) + CLASSES) + 6 * BATCH))


def assert_engines_agree(change, effect, **options):
    """The two engines give the same, which is (`effect`) an error, or other or the same numbers than without it."""
    expected = outcome("reference", change, **options)
    got = outcome("fast", change, **options)
    assert got.get("error") == expected.get("error")
    bound = atol(len(expected["losses"]))
    if "error" in expected and len(expected["losses"]) == 4:
        # The rule's error: the generic loop has computed the loss of a step that it cannot finish.
        expected["losses"] = expected["losses"][: len(got["losses"])]
        assert len(got["losses"]) >= 3
    for key in expected.keys() - {"error"}:
        for mine, theirs in zip(got[key], expected[key], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=bound, atol=bound, err_msg=key)
    if isinstance(effect, type):
        assert "error" in expected
        assert issubclass(expected["error"][0], effect)
    elif isinstance(effect, str) and effect not in ("same", "other"):
        assert effect in expected["error"][1]
    else:
        assert "error" not in expected, expected["error"]
        unchanged = outcome("reference", lambda solver: None, **options)
        assert same(expected, unchanged, bound) == (effect == "same")


# ------------------------------------------------------------------------------------------------ the table


def setting(*path, to):
    """A change: an attribute of the solver, or of its model, to a value or to what a function makes of the solver."""

    def change(solver):
        owner = solver
        for name in path[:-1]:
            owner = getattr(owner, name) if isinstance(name, str) and hasattr(owner, name) else owner[name]
        value = to(solver) if callable(to) else to
        if isinstance(owner, (dict, list)):
            owner[path[-1]] = value
        else:
            setattr(owner, path[-1], value)

    return change


def in_solver(name, to):
    return setting(name, to=to)


def in_model(name, to):
    return setting("model", name, to=to)


def given(value):
    """A function as a value."""
    return lambda solver: value


def shuffle(solver):
    order = np.random.permutation(ROWS)
    solver.X_train[:], solver.y_train[:] = solver.X_train[order], solver.y_train[order]


def spoil_labels(solver):
    solver.y_train[:] = 10**12


def regularize_late(solver):
    if solver.epoch == 2:
        solver.model.reg = 1.0


def halve_params(solver):
    for w in solver.model.params.values():
        w *= 0.5


@numba.njit
def squared_of_scores(scores, labels, dscores):
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            dscores[i, j] = scores[i, j] / scores.shape[0]
    return 0.5 * np.sum(scores * scores) / scores.shape[0]


def own_rule(w, dw, config):
    w -= 0.01 * dw
    return w, config


def own_loss(solver):
    loss = solver.model.loss

    def doubled(X, y=None):
        if y is None:
            return loss(X)
        value, grads = loss(X, y)
        return 2 * value, {name: 2 * grad for name, grad in grads.items()}

    return doubled


def raise_error(*args, **kwargs):
    raise AssertionError("nothing calls this in a training")


def fresh_configs(solver):
    return {name: {"learning_rate": 0.01} for name in solver.model.params}


def shared_config(solver):
    config = {"learning_rate": 0.01}
    return dict.fromkeys(solver.model.params, config)


def other_statistics(solver):
    return [
        {**param, "running_mean": param["running_mean"] + 1, "running_var": 2 * param["running_var"]}
        for param in solver.model.bn_params
    ]


#: Attribute of the Solver -> how it may be changed, and what that does.
SOLVER = {
    "model": [
        (in_solver("model", lambda solver: network(seed=8)), "other"),
        (in_solver("model", lambda solver: network(OwnLoss, seed=8)), "other"),
        (in_solver("model", lambda solver: network(normalization="layernorm", seed=8)), "other"),
        (in_solver("model", lambda solver: network(normalization=None)), "other"),
        (in_solver("model", lambda solver: network(hidden=(8, 5, 4))), "optim_configs: expected"),
        (in_solver("model", lambda solver: network(hidden=(9, 5))), "config['velocity']: expected shape"),
        (in_solver("model", None), AttributeError),
    ],
    "X_train": [
        (in_solver("X_train", lambda solver: 2 * solver.X_train), "other"),
        (in_solver("X_train", lambda solver: solver.X_train > 0), "other"),
        (in_solver("X_train", lambda solver: (8 * solver.X_train).astype(np.int32)), "other"),
        (in_solver("X_train", lambda solver: np.asfortranarray(solver.X_train[::-1])), "other"),
        (in_solver("X_train", lambda solver: solver.X_train.copy()), "same"),
        (in_solver("X_train", lambda solver: solver.X_train[:5]), "data: expected as many labels"),
        (in_solver("X_train", lambda solver: solver.X_train[:, :5]), "X: expected shape"),
        (in_solver("X_train", lambda solver: np.full((ROWS, FEATURES), "a")), "X: expected an array of real numbers"),
        (lambda solver: np.multiply(solver.X_train, 2, out=solver.X_train), "other"),
        (shuffle, "other"),
        (lambda solver: vars(solver).update(X_train=solver.X_train[:9], y_train=solver.y_train[:9]), "other"),
        (
            lambda solver: vars(solver).update(X_train=solver.X_val[:0], y_train=solver.y_val[:0]),
            "at least one training",
        ),
        (lambda solver: vars(solver).update(X_val=solver.X_train, y_val=solver.y_train), "other"),
        (lambda solver: vars(solver).update(X_val=solver.X_val[:0], y_val=solver.y_val[:0]), "other"),
    ],
    "y_train": [
        (in_solver("y_train", lambda solver: solver.y_train[::-1]), "other"),
        (in_solver("y_train", lambda solver: solver.y_train.astype(np.uint8)), "same"),
        (in_solver("y_train", lambda solver: solver.y_train + 10**9), ValueError),
        (in_solver("y_train", lambda solver: solver.y_train + 0.5), "y_train: expected integer labels"),
        (in_solver("y_train", lambda solver: solver.y_train[:5]), "data: expected as many labels"),
        (spoil_labels, "y: expected labels from 0 to 3"),
        (lambda solver: np.copyto(solver.y_train, 0), "other"),
    ],
    "weights_train": [
        (in_solver("weights_train", lambda solver: np.arange(len(solver.X_train)) + 1.0), "other"),
        (in_solver("weights_train", lambda solver: np.full(len(solver.X_train), 2)), "same"),
        (in_solver("weights_train", lambda solver: [1.0] * len(solver.X_train)), "same"),
        (in_solver("weights_train", lambda solver: np.ones(5)), "weights_train: expected"),
        (in_solver("weights_train", lambda solver: -np.ones(len(solver.X_train))), "weights_train: expected finite"),
        (in_solver("weights_train", "a"), "weights_train: expected"),
    ],
    "X_val": [
        (in_solver("X_val", lambda solver: -3 * solver.X_val), "other"),
        (in_solver("X_val", lambda solver: solver.X_val[:5]), "data: expected as many labels"),
        (in_solver("X_val", lambda solver: solver.X_val[:, :5]), "X: expected shape"),
        (lambda solver: np.multiply(solver.X_val, -3, out=solver.X_val), "other"),
    ],
    "y_val": [
        (in_solver("y_val", lambda solver: (solver.y_val + 1) % CLASSES), "other"),
        (in_solver("y_val", lambda solver: solver.y_val[:5]), "data: expected as many labels"),
        (lambda solver: np.copyto(solver.y_val, 0), "other"),
    ],
    "update_rule": [
        *((in_solver("update_rule", given(getattr(optim, rule))), "other") for rule in ("sgd", "nesterov")),
        (in_solver("update_rule", given(own_rule)), "other"),
        (in_solver("update_rule", "sgd"), "update_rule: expected a function"),
    ],
    "optim_config": [(in_solver("optim_config", lambda solver: {"learning_rate": 5}), "same")],
    "lr_decay": [(in_solver("lr_decay", 0.1), "other"), (in_solver("lr_decay", "a"), TypeError)],
    "schedule": [
        (in_solver("schedule", "cosine"), "other"),
        (in_solver("schedule", given(Exponential(gamma=0.5))), "other"),
        (in_solver("schedule", "sine"), "schedule: expected"),
        (in_solver("schedule", 5), "schedule: expected"),
    ],
    "max_norm": [
        (in_solver("max_norm", 0.1), "other"),
        (in_solver("max_norm", 1e6), "same"),
        (in_solver("max_norm", 0), "max_norm: expected None or a positive number"),
        (in_solver("max_norm", "a"), "max_norm: expected a number"),
    ],
    "max_value": [
        (in_solver("max_value", 0.01), "other"),
        (in_solver("max_value", 1e6), "same"),
        (in_solver("max_value", -1), "max_value: expected None or a positive number"),
    ],
    "loss": [
        (in_solver("loss", given(squared_of_scores)), "other"),
        (in_solver("loss", "softmax"), "loss: expected a function"),
    ],
    "accumulate": [
        (in_solver("accumulate", 2), "other"),
        (in_solver("accumulate", 1), "same"),
        (in_solver("accumulate", 0), "accumulate: expected an integer of at least 1"),
    ],
    "batch_size": [
        (in_solver("batch_size", 7), "other"),
        (in_solver("batch_size", 60), "other"),
        (in_solver("batch_size", 0), "batch_size: expected an integer of at least 1"),
        (in_solver("batch_size", 7.5), "batch_size: expected an integer of at least 1"),
    ],
    "sampler": [
        (in_solver("sampler", "permutation"), "sampler: expected 'replacement', as when the training began"),
        (in_solver("sampler", "sorted"), "sampler: expected one of"),
    ],
    "num_epochs": [(in_solver("num_epochs", 1), "same"), (in_solver("num_epochs", -1), "num_epochs: expected")],
    "num_train_samples": [
        (in_solver("num_train_samples", 10), "other"),
        (in_solver("num_train_samples", None), "other"),
        (in_solver("num_train_samples", 0), "other"),
        (in_solver("num_train_samples", -5), ValueError),
        (in_solver("num_train_samples", "a"), ValueError),
    ],
    "num_val_samples": [(in_solver("num_val_samples", 7), "other"), (in_solver("num_val_samples", "a"), ValueError)],
    "checkpoint_name": [(in_solver("checkpoint_name", "checkpoint"), "same")],
    "print_every": [(in_solver("print_every", 2), "same"), (in_solver("print_every", 0), "print_every: expected")],
    "verbose": [(in_solver("verbose", True), "same")],
    "threads": [
        (in_solver("threads", 1), "same"),
        (in_solver("threads", 3), "same"),
        (in_solver("threads", 0), "threads: expected a positive integer"),
    ],
    "callback": [(in_solver("callback", None), "same"), (in_solver("callback", given(regularize_late)), "other")],
    "autosave": [(in_solver("autosave", "training.npz"), "same")],
    "epoch": [(in_solver("epoch", 100), "same")],
    "best_val_acc": [(in_solver("best_val_acc", 2.0), "other")],
    "best_params": [(in_solver("best_params", lambda solver: {}), "same")],
    "loss_history": [(in_solver("loss_history", lambda solver: []), "same")],
    "train_acc_history": [(in_solver("train_acc_history", lambda solver: []), "other")],
    "val_acc_history": [(in_solver("val_acc_history", lambda solver: []), "other")],
    "optim_configs": [
        (in_solver("optim_configs", fresh_configs), "other"),
        (in_solver("optim_configs", shared_config), ValueError),
        (in_solver("optim_configs", lambda solver: dict.fromkeys(solver.model.params)), "other"),
        (in_solver("optim_configs", lambda solver: {}), "optim_configs: expected"),
        (in_solver("optim_configs", None), "optim_configs: expected a dictionary"),
        (lambda solver: solver.optim_configs.update(W1=5), "config: expected a dictionary"),
    ],
    "engine_": [(in_solver("engine_", "other"), "same")],
    "threads_": [(in_solver("threads_", 100), "same")],
    "seconds_per_step": [(in_solver("seconds_per_step", 1.0), AttributeError)],
    "check_accuracy": [(in_solver("check_accuracy", given(lambda *args, **kwargs: 0.25)), "other")],
    "train": [(in_solver("train", given(raise_error)), "same")],
    "save": [(in_solver("save", given(raise_error)), "same")],
    "resume": [(in_solver("resume", given(raise_error)), "same")],
}

#: Attribute of the network -> likewise.
MODEL = {
    "params": [
        (in_model("params", lambda solver: {name: 0.5 * w for name, w in solver.model.params.items()}), "other"),
        (halve_params, "other"),
        (in_model("params", lambda solver: {}), "params: expected W1"),
        (setting("model", "params", "extra", to=given(np.zeros(3))), "optim_configs: expected"),
        (lambda solver: solver.model.params.pop("b1"), "params: expected all parameters of the model; missing b1"),
    ],
    "bn_params": [
        (in_model("bn_params", other_statistics), "other"),
        (in_model("bn_params", lambda solver: [{}, {}]), "other"),
        (in_model("bn_params", lambda solver: tuple(solver.model.bn_params)), "same"),
        (in_model("bn_params", lambda solver: [{}] * 2), "bn_param['running_mean']: expected shape"),
        (in_model("bn_params", lambda solver: [{}]), "bn_params: expected a list of 2"),
        (in_model("bn_params", lambda solver: [{}] * 3), "bn_params: expected a list of 2"),
        (in_model("bn_params", None), "bn_params: expected a list of 2"),
        (in_model("bn_params", lambda solver: [{}, 5]), "bn_param: expected a dictionary"),
    ],
    "dropout_param": [
        (in_model("dropout_param", lambda solver: {"p": 0.9}), "other"),
        (in_model("dropout_param", lambda solver: {}), "dropout_param['p']: expected the probability to keep"),
        (in_model("dropout_param", None), "dropout_param: expected a dictionary"),
    ],
    "normalization": [
        (in_model("normalization", "layernorm"), "other"),
        (in_model("normalization", None), "normalization: expected 'batchnorm' or 'layernorm'"),
        (in_model("normalization", "none"), "normalization: expected 'batchnorm' or 'layernorm'"),
        (in_model("normalization", lambda solver: ["batchnorm"]), "normalization: expected"),
    ],
    "activation": [
        (in_model("activation", "tanh"), "other"),
        (in_model("activation", "gelu"), "other"),
        (in_model("activation", "sine"), "activation: expected one of 'relu'"),
        (in_model("activation", None), "activation: expected one of 'relu'"),
    ],
    "loss_name": [
        (in_model("loss_name", "svm"), "other"),
        (in_model("loss_name", "hinge"), "loss_name: expected one of 'softmax'"),
    ],
    "loss_parameter": [
        (in_model("loss_parameter", 0.25), "other"),
        (in_model("loss_parameter", 1.5), "label_smoothing: expected a number s with 0 <= s < 1"),
        (in_model("loss_parameter", "much"), "label_smoothing: expected a number"),
    ],
    "use_dropout": [(in_model("use_dropout", False), "other"), (in_model("use_dropout", 1), "same")],
    "reg": [
        (in_model("reg", 1.0), "other"),
        (in_model("reg", 0), "other"),
        (in_model("reg", np.float32(1)), "other"),
        (in_model("reg", "a"), "reg: expected a number"),
        (in_model("reg", float("nan")), "reg: expected a finite number"),
        (in_model("reg", None), "reg: expected a number"),
    ],
    "num_layers": [(in_model("num_layers", 2), "num_layers: expected 3"), (in_model("num_layers", None), ValueError)],
    "dtype": [
        (in_model("dtype", np.dtype(np.float64)), "same"),
        (in_model("dtype", given(np.float32)), "dtype: expected float64"),
        (in_model("dtype", "float16"), "dtype: expected float64"),
        (in_model("dtype", None), "dtype: expected float64"),
        (in_model("dtype", 7), "dtype: expected float64"),
    ],
    "input_mean": [
        (in_model("input_mean", 1.0), "other"),
        (in_model("input_mean", given(np.arange(FEATURES))), "other"),
        (in_model("input_mean", given(np.zeros(3))), "input_mean: expected a number or 6 numbers"),
        (in_model("input_mean", "a"), "input_mean: expected a number or 6 numbers"),
    ],
    "input_scale": [
        (in_model("input_scale", 0.5), "other"),
        (in_model("input_scale", given([1.0, 2, 3, 4, 5, 6])), "other"),
        (in_model("input_scale", given(np.zeros(3))), "input_scale: expected a number or 6 numbers"),
    ],
    "class_names": [(in_model("class_names", given(list("abcd"))), "same")],
    "feature_names": [(in_model("feature_names", given(list("abcdef"))), "same")],
    "target_name": [(in_model("target_name", given("kind")), "same")],
    "plans": [(in_model("plans", lambda solver: {}), "same")],
    "dims": [(in_model("dims", given([1, 2])), AttributeError)],
    "use_batchnorm": [(in_model("use_batchnorm", False), AttributeError)],
    "loss": [(in_model("loss", lambda solver: given(own_loss(solver))(None)), "other")],
    "per_feature": [(in_model("per_feature", given(raise_error)), "same")],
    "predict": [(in_model("predict", given(raise_error)), "same")],
    "predict_proba": [(in_model("predict_proba", given(raise_error)), "same")],
    "save": [(in_model("save", given(raise_error)), "same")],
    "load": [(in_model("load", given(raise_error)), "same")],
}


def in_dropout(key, to):
    return setting("model", "dropout_param", key, to=to)


def in_norm(key, to):
    return setting("model", "bn_params", 1, key, to=to)


#: Entry of dropout_param -> likewise.
DROPOUT = {
    "mode": [(in_dropout("mode", "test"), "same"), (in_dropout("mode", 5), "same")],
    "p": [
        (in_dropout("p", 0.9), "other"),
        (in_dropout("p", 1), "other"),
        (in_dropout("p", 2), "dropout_param['p']: expected a probability to keep"),
        (in_dropout("p", 0), "dropout_param['p']: expected a probability to keep"),
        (in_dropout("p", "a"), "dropout_param['p']: expected a number"),
        (lambda solver: solver.model.dropout_param.pop("p"), "dropout_param['p']: expected the probability"),
    ],
    "seed": [
        (in_dropout("seed", 5), "other"),
        (in_dropout("seed", None), "same"),
        (in_dropout("seed", "a"), "dropout_param['seed']"),
        (in_dropout("seed", -1), "dropout_param['seed']"),
    ],
    "legacy": [
        (in_dropout("legacy", "2017"), "other"),
        (in_dropout("legacy", None), "same"),
        (in_dropout("legacy", "2018"), "dropout_param['legacy']: expected '2017'"),
    ],
}

#: Entry of a dictionary in bn_params -> likewise.
NORM = {
    "mode": [(in_norm("mode", "test"), "same"), (lambda solver: solver.model.bn_params[1].pop("mode"), "same")],
    "eps": [
        (in_norm("eps", 1.0), "other"),
        (in_norm("eps", -1), "bn_param['eps']: expected a number of at least 0"),
        (in_norm("eps", "a"), "bn_param['eps']: expected a number"),
    ],
    "momentum": [
        (in_norm("momentum", 0.1), "other"),
        (in_norm("momentum", float("nan")), "bn_param['momentum']: expected a number"),
    ],
    **{
        key: [
            (in_norm(key, lambda solver, key=key: solver.model.bn_params[1][key] + 1), "other"),
            (in_norm(key, lambda solver, key=key: [2] * HIDDEN[1]), "other"),
            (lambda solver, key=key: np.copyto(solver.model.bn_params[1][key], 2), "other"),
            (lambda solver, key=key: solver.model.bn_params[1].pop(key), "other"),
            (in_norm(key, given(np.zeros(3))), f"bn_param['{key}']: expected shape"),
        ]
        for key in ("running_mean", "running_var")
    },
}  # fmt: skip

TABLES = {"solver": SOLVER, "model": MODEL, "dropout_param": DROPOUT, "bn_params": NORM}
CHANGES = [
    pytest.param(change, effect, id=f"{table}.{name}-{i}-{effect if isinstance(effect, str) else effect.__name__}")
    for table, entries in TABLES.items()
    for name, changes in entries.items()
    for i, (change, effect) in enumerate(changes)
]


def public(owner):
    return {name for name in {*vars(owner), *dir(owner)} if not name.startswith("_")}


def test_the_table_has_every_attribute():
    # Both engines, so that what only one of them sets is found.
    for backend in ("fast", "reference"):
        solver = make()
        with fastfc.use_backend(backend):
            solver.train()
        model = solver.model
        assert public(solver) == set(SOLVER)
        assert public(model) == set(MODEL)
        assert set(model.dropout_param) | {"seed", "legacy"} == set(DROPOUT)
        assert set(model.bn_params[1]) | {"eps", "momentum"} == set(NORM)


@pytest.mark.parametrize(("change", "effect"), CHANGES)
def test_a_callback_that_changes_an_attribute(change, effect):
    assert_engines_agree(change, effect)


# The others make steps of rounding noise in the biases before batch normalization.
@pytest.mark.parametrize("rule", RATES)
@pytest.mark.parametrize("next_rule", RATES)
def test_a_callback_that_changes_the_rule(rule, next_rule):
    change = in_solver("update_rule", given(getattr(optim, next_rule)))
    assert_engines_agree(change, "same" if rule == next_rule else "other", rule=rule, normalization="layernorm")


RULE_ENTRIES = [(rule, key) for rule in RATES for key in (*optim.DEFAULTS[rule], *optim.STATE[rule])]
#: Other values of hyperparameters; of those that are not here, one more.
OTHER_NUMBERS = {"momentum": 0.5, "decay_rate": 0.5, "beta1": 0.1, "beta2": 0.1, "epsilon": 0.1}


@pytest.mark.parametrize("rule", RATES)
def test_the_table_has_every_entry_of_a_rule(rule):
    _, config = getattr(optim, rule)(np.ones(2), np.ones(2), {})
    assert set(config) == {key for name, key in RULE_ENTRIES if name == rule}


@pytest.mark.parametrize(("rule", "key"), RULE_ENTRIES)
def test_a_callback_that_changes_a_rules_entry(rule, key):
    """To another value, to nonsense, to nothing; for one parameter."""

    def engines_agree(change, effect):
        assert_engines_agree(change, effect, rule=rule, normalization="layernorm")

    def to(value):
        return setting("optim_configs", "W1", key, to=value)

    def missing(solver):
        del solver.optim_configs["W1"][key]

    engines_agree(to("a"), f"config['{key}']: expected")
    if key in optim.STATE[rule]:
        engines_agree(to(lambda solver: np.ones((FEATURES, HIDDEN[0]), np.float32)), "other")
        engines_agree(to(2.0), "other")
        engines_agree(to(lambda solver: np.zeros((3, 3))), f"config['{key}']: expected shape")
        engines_agree(lambda solver: np.copyto(solver.optim_configs["W1"][key], 0), "other")
        engines_agree(lambda solver: swap_state(solver, key), "other")
        engines_agree(missing, "other")
    else:
        engines_agree(to(OTHER_NUMBERS.get(key, optim.DEFAULTS[rule][key] + 1)), "other")
        # Then it has its default again, which is not what the rate and the count have come to.
        engines_agree(missing, "other" if key in ("learning_rate", "t") else "same")


def swap_state(solver, key):
    """Each of two parameters of the same shape gets the very array of the other."""
    first, second = solver.optim_configs["beta1"], solver.optim_configs["gamma1"]
    first[key], second[key] = second[key], first[key]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_shuffling_in_place_at_every_epoch(normalization, threads):
    """As people do who draw their batches in order: X and y go together."""

    def outcome_of(backend):
        solver = make(net=network(normalization=normalization), threads=threads)
        epochs = []

        def callback(solver):
            if solver.epoch > len(epochs):
                epochs.append(solver.epoch)
                shuffle(solver)

        solver.callback = callback
        with fastfc.use_backend(backend):
            solver.train()
        return solver

    generic, compiled = outcome_of("reference"), outcome_of("fast")
    assert (generic.engine_, compiled.engine_) == ("generic", "compiled")
    bound = atol(len(generic.loss_history))
    np.testing.assert_allclose(compiled.loss_history, generic.loss_history, rtol=bound, atol=bound)
    np.testing.assert_array_equal(compiled.X_train, generic.X_train)
    np.testing.assert_array_equal(compiled.y_train, generic.y_train)


def test_shuffling_does_not_harm_what_is_learnt():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = np.eye(3)[y] + 0.1 * rng.standard_normal((300, 3))
    data = {"X_train": X.copy(), "y_train": y.copy(), "X_val": X, "y_val": y}

    def callback(solver):
        order = np.random.permutation(300)
        solver.X_train[:], solver.y_train[:] = solver.X_train[order], solver.y_train[order]

    np.random.seed(0)
    net = FullyConnectedNet([8], 3, 3, weight_scale=0.3)
    solver = Solver(net, data, optim_config={"learning_rate": 0.5}, num_epochs=20, verbose=False, callback=callback)
    with fastfc.use_backend("fast"):
        solver.train()
        assert solver.engine_ == "compiled"
        assert solver.check_accuracy(X, y) == 1


# ------------------------------------------------------------------------------------ what a callback calls


def log_loss(solver):
    solver.model.loss(solver.X_val, solver.y_val)


def log_scores(solver):
    solver.model.predict(solver.X_val)


def log_rule(solver):
    for name, w in solver.model.params.items():
        solver.update_rule(w, np.ones_like(w), solver.optim_configs[name])


def save_and_load(solver):
    solver.model.save("model.npz")
    solver.model.params["W1"] = np.zeros_like(solver.model.params["W1"])
    solver.model.bn_params[0]["running_mean"] = np.zeros(HIDDEN[0])
    solver.model.load("model.npz")


def save_training(solver):
    solver.save("training.npz")


@pytest.mark.parametrize(
    ("call", "effect"),
    [(log_loss, "other"), (log_scores, "same"), (log_rule, "other"), (save_and_load, "same"), (save_training, "same")],
)
def test_a_callback_that_calls(call, effect):
    assert_engines_agree(call, effect)


@pytest.mark.parametrize(("call", "effect"), [(log_scores, "same"), (log_rule, "other"), (save_training, "same")])
def test_a_callback_that_calls_where_the_rule_counts_its_steps(call, effect):
    assert_engines_agree(call, effect, rule="adam", normalization="layernorm")


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_validation_accuracy_after_a_loss_log_is_that_of_the_history(backend):
    """A training pass of the callback's moves the running statistics, which the run goes on from."""
    rng = np.random.default_rng(1)
    y = np.arange(600) % 3
    X = 9 * np.eye(3)[y] + rng.standard_normal((600, 3)) + 3
    data = {"X_train": X[:400], "y_train": y[:400], "X_val": X[400:], "y_val": y[400:]}
    np.random.seed(0)
    net = FullyConnectedNet([20], 3, 3, normalization="batchnorm", weight_scale=0.3)
    epochs = []

    def log(solver):
        # Once: the statistics of that time are far from the last ones.
        if solver.epoch == 1 and not epochs:
            epochs.append(solver.model.loss(solver.X_val, solver.y_val)[0])

    solver = Solver(
        net, data, optim_config={"learning_rate": 0.1}, batch_size=50, num_epochs=10, verbose=False, callback=log
    )
    with fastfc.use_backend(backend):
        solver.train()
        after = solver.check_accuracy(solver.X_val, solver.y_val)
    assert solver.engine_ == {"fast": "compiled", "reference": "generic"}[backend]
    assert solver.best_val_acc > 0.97
    # The parameters are those of the best epoch, the running statistics those of the last one.
    assert after > 0.97


def test_a_key_that_is_none_of_the_rules_has_no_effect():
    """Not even if it is another rule's: Adam has no weight decay, and plain gradient descent counts no steps."""
    for rule, extra in (("adam", {"weight_decay": 0.5}), ("sgd", {"t": 5, "epsilon": 1, "velocity": 0})):
        results = []
        for backend in ("reference", "fast"):
            solver = make(rule, network(normalization="layernorm"))
            for config in solver.optim_configs.values():
                config.update(extra)
            with fastfc.use_backend(backend):
                solver.train()
            results.append(solver)
        generic, compiled = results
        assert compiled.engine_ == "compiled"
        np.testing.assert_allclose(compiled.loss_history, generic.loss_history, rtol=atol(9), atol=atol(9))
        assert [config.get("t") for config in compiled.optim_configs.values()] == [
            config.get("t") for config in generic.optim_configs.values()
        ]


def test_arrays_of_statistics_that_a_callback_keeps_stay_as_they_were():
    """A log of running means is a list of different arrays, as the generic loop makes a new one at each step."""
    logs = []
    for backend in ("reference", "fast"):
        log, epochs = [], set()

        def keep(solver, log=log, epochs=epochs):
            if solver.epoch not in epochs and solver.epoch:
                epochs.add(solver.epoch)
                log.append(solver.model.bn_params[0]["running_mean"])

        with fastfc.use_backend(backend):
            make(callback=keep).train()
        logs.append(log)
    assert len(logs[1]) == EPOCHS
    np.testing.assert_allclose(logs[1], logs[0], rtol=atol(9), atol=atol(9))
    assert not np.array_equal(logs[1][0], logs[1][1])


def test_modes_that_a_callback_finds():
    found = []
    for backend in ("reference", "fast"):
        modes = {}

        def look(solver, modes=modes):
            modes[len(solver.loss_history)] = (
                solver.model.dropout_param["mode"], [param["mode"] for param in solver.model.bn_params]
            )  # fmt: skip

        with fastfc.use_backend(backend):
            make(callback=look).train()
        found.append(modes)
    assert {steps: found[0][steps] for steps in found[1]} == found[1]
    assert set(found[1]) >= {1, 3, 6, 9}


def test_a_solvers_own_checkpoint_is_a_callback_too():
    """The course's Solver has no callback; people look and change where it writes its checkpoints."""

    class Logging(Solver):
        def _save_checkpoint(self):
            self.model.loss(self.X_val, self.y_val)
            self.model.reg += 0.1
            self.drawn = np.random.random_sample()

    results = []
    for backend in ("reference", "fast"):
        solver = make()
        solver.__class__ = Logging
        with fastfc.use_backend(backend):
            solver.train()
        assert solver.engine_ == {"fast": "compiled", "reference": "generic"}[backend]
        results.append(solver)
    generic, compiled = results
    bound = atol(len(generic.loss_history))
    np.testing.assert_allclose(compiled.loss_history, generic.loss_history, rtol=bound, atol=bound)
    assert compiled.drawn == generic.drawn
    for mine, theirs in zip(compiled.model.bn_params, generic.model.bn_params, strict=True):
        np.testing.assert_allclose(mine["running_var"], theirs["running_var"], rtol=bound, atol=bound)


def test_the_backend_is_looked_at_after_a_callback():
    solver = make(callback=lambda solver: fastfc.use_backend("reference"))
    with fastfc.use_backend("fast"):
        solver.train()
    assert solver.engine_ == "generic"
    assert len(solver.loss_history) == 9


def test_a_change_that_nothing_can_take_leaves_what_was_trained():
    """The run ends with its error; histories, parameters and dictionaries are those of the last step."""

    def spoil(solver):
        if len(solver.loss_history) == 3:
            solver.batch_size = 0

    with fastfc.use_backend("fast"):
        solver = make(callback=spoil)
        with pytest.raises(ValueError, match="batch_size"):
            solver.train()
        assert len(solver.loss_history) == 3
        solver.callback, solver.batch_size = None, BATCH
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            solver.train()
    assert len(solver.loss_history) == 12
    assert all(param["running_mean"].base is None for param in solver.model.bn_params)
