"""Data, labels and options that the Solver and a network's methods take, and their errors for others."""

import inspect
import linecache
import os
import re
import warnings

import numpy as np
import pytest

import fastfc
from fastfc import DivergenceWarning, FullyConnectedNet, Solver, optim
from fastfc.training.options import CHANGEABLE, OPTIONS

pandas = pytest.importorskip("pandas")

FEATURES, CLASSES, ROWS = 3, 3, 60


def examples(seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(ROWS) % CLASSES
    return np.eye(3)[y] * 4 + rng.standard_normal((ROWS, FEATURES)), y


def make(data=None, model=None, **options):
    X, y = examples()
    np.random.seed(1)
    net = FullyConnectedNet([8], FEATURES, CLASSES, weight_scale=0.3) if model is None else model
    everything = {"X_train": X, "y_train": y, "X_val": X[:21], "y_val": y[:21]} | (data or {})
    return Solver(net, everything, **{"num_epochs": 3, "batch_size": 10, "verbose": False} | options)


class Classifier:
    """Somebody's own model."""

    def __init__(self):
        self.params = {"W": np.zeros((FEATURES, CLASSES))}

    def loss(self, X, y=None):
        scores = X @ self.params["W"]
        if y is None:
            return scores
        loss, dscores = fastfc.layers.softmax_loss(scores, y)
        return loss, {"W": X.T @ dscores}


def line_of(warning):
    """The line of this file that a warning points to."""
    assert warning.filename == __file__
    return linecache.getline(__file__, warning.lineno).strip()


def test_options_are_those_that_the_documentation_names():
    documented = re.findall(r"^(\w+) : ", inspect.getdoc(Solver).partition("\nAttributes\n")[0], re.MULTILINE)
    assert documented == ["model", "data", *OPTIONS]
    changes = inspect.getdoc(Solver.resume).partition("**changes\n")[2].partition(" Where the training")[0]
    assert set(re.findall(r"`(\w+)`", changes)) == set(CHANGEABLE)


def test_a_default_belongs_to_one_solver():
    one, other = make(), make()
    one.optim_config["learning_rate"] = 3.0
    assert other.optim_config == make().optim_config == {}


def test_warnings_of_labels_point_to_the_line_that_gave_them():
    X, y = examples()
    words = np.array(["a", "b", "c"])[y]
    with pytest.warns(UserWarning, match="y_val") as caught:
        solver = make({"y_val": words[:21]}, Classifier())
    assert line_of(caught[0]).startswith("return Solver(")
    with pytest.warns(UserWarning, match="labels of dtype") as caught:
        solver.train()
    assert {line_of(warning) for warning in caught} == {"solver.train()"}
    with pytest.warns(UserWarning, match="y: labels") as caught:
        solver.check_accuracy(X, words)
    assert line_of(caught[0]) == "solver.check_accuracy(X, words)"


def polars_frame(X):
    return pytest.importorskip("polars").DataFrame(dict(zip("abc", X.T, strict=True)))


def polars_frame_of_columns(columns):
    return pytest.importorskip("polars").DataFrame(columns)


FRAMES = {
    "pandas": lambda X: pandas.DataFrame(X, index=np.random.default_rng(5).permutation(len(X))),
    "lists": lambda X: X.tolist(),
    "tuple": lambda X: tuple(map(tuple, X)),
    "polars": polars_frame,
}
SERIES = {
    "pandas": lambda y: pandas.Series(y, index=np.random.default_rng(6).permutation(len(y))),
    "lists": lambda y: y.tolist(),
    "tuple": tuple,
    "polars": lambda y: pytest.importorskip("polars").Series(y),
}


@pytest.mark.parametrize("samples", [None, 20])
@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("model", [None, Classifier])
@pytest.mark.parametrize("kind", FRAMES)
def test_everything_goes_by_position(kind, model, backend, samples):
    """An index says nothing, in either loop, whatever is drawn."""
    X, y = examples()
    frames = {"X_train": FRAMES[kind](X), "X_val": FRAMES[kind](X[:21])}
    series = {"y_train": SERIES[kind](y), "y_val": SERIES[kind](y[:21])}
    results = []
    with fastfc.use_backend(backend):
        for data in ({}, frames | series, frames, series):
            solver = make(data, model and model(), num_train_samples=samples, num_val_samples=samples)
            solver.train()
            results.append((solver.loss_history, solver.train_acc_history, solver.val_acc_history))
    assert results[0] == results[1] == results[2] == results[3]


@pytest.mark.parametrize("kind", FRAMES)
def test_predictions_of_tables(kind):
    X, y = examples()
    solver = make()
    solver.train()
    net, frame = solver.model, FRAMES[kind](X)
    for method in (net.predict, net.predict_proba, net.loss):
        np.testing.assert_array_equal(method(frame), method(X))
    assert solver.check_accuracy(frame, SERIES[kind](y)) == solver.check_accuracy(X, y)
    assert solver.check_accuracy(frame, SERIES[kind](y), num_samples=7) <= 1


def test_a_sparse_matrix_is_refused_with_advice():
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.csr_matrix(examples()[0])
    for name in ("X_train", "X_val"):
        with pytest.raises(
            ValueError, match=rf"{name}: expected an array, got a sparse csr_matrix; {name}\.toarray\(\)"
        ):
            make({name: X})
    with pytest.raises(ValueError, match=r"X: expected an array, got a sparse csr_matrix; X\.toarray\(\)"):
        make().model.predict(X)


def test_columns_of_words_are_named():
    frame = pandas.DataFrame(examples()[0], columns=["a", "b", "c"]).astype({"b": object})
    frame.loc[3, "b"] = "much"
    with pytest.raises(TypeError, match="X_train: expected numbers, got columns 'b' of others"):
        make({"X_train": frame})


@pytest.mark.parametrize("name", ["X_train", "y_train", "X_val", "y_val", "weights_train"])
def test_masked_values_are_refused(name):
    X, y = examples()
    arrays = {"X_train": X, "y_train": y, "X_val": X, "y_val": y, "weights_train": np.ones(ROWS)}
    masked = np.ma.masked_array(arrays[name], np.zeros(arrays[name].shape, bool))
    histories = []
    for data in (arrays, arrays | {name: masked}):
        solver = make(data)
        solver.train()
        histories.append(solver.loss_history)
    assert histories[0] == histories[1]
    masked[3] = np.ma.masked
    with pytest.raises(ValueError, match=rf"{name}: expected an array without masked values; {name}\.filled"):
        make(arrays | {name: masked})


def test_masked_values_of_calls():
    X = np.ma.masked_greater(examples()[0], 1)
    y, net = examples()[1], make().model
    own = fastfc.Network.from_net(net)
    own.forward(X.data)
    for call, name in (
        (lambda: net.predict(X), "X"),
        (lambda: net.loss(X, y), "X"),
        (lambda: net.loss(X.data, np.ma.masked_equal(y, 1)), "y"),
        (lambda: make().check_accuracy(X, y), "X"),
        (lambda: own.forward(X), "X"),
        (lambda: own.backward(X), "dout"),
        (lambda: own.predictor(len(X))(X), "X"),
        (lambda: net.params.update(b1=np.ma.masked_all(8)), r"params\['b1'\]"),
        (lambda: fastfc.layers.relu_forward(X), "x"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: expected an array without masked values"):
            call()
    for rows, targets in (
        (list(X), y),
        (tuple(X), y),
        ([[row, row] for row in X], y),
        (X.data, [*y[:-1], np.ma.masked]),
    ):
        with pytest.raises(ValueError, match=r"^[Xy]: expected arrays without masked values"):
            net.loss(rows, targets)
    unmasked = [np.ma.masked_array(row, False) for row in X.data]
    np.testing.assert_array_equal(net.predict(unmasked), net.predict(X.data))


@pytest.mark.parametrize("frame_of", [pandas.DataFrame, polars_frame_of_columns], ids=["pandas", "polars"])
def test_columns_in_another_order(frame_of):
    X = examples()[0]
    frame, turned = (frame_of({name: X[:, "abc".index(name)] for name in names}) for names in ("abc", "cba"))
    expected = r"^{}: expected the columns of {} in their order, got 'c' in the place of 'a'; {}\.to_numpy\(\)"
    with pytest.raises(ValueError, match=expected.format("X_val", "X_train", "X_val")):
        make({"X_train": frame, "X_val": turned[:21]})
    net = make({"X_train": frame, "X_val": frame[:21]}).model
    np.testing.assert_array_equal(net.predict(turned), net.predict(X[:, ::-1]))
    net.feature_names = list("abc")
    np.testing.assert_array_equal(net.predict(frame), net.predict(X))
    np.testing.assert_array_equal(net.predict(turned.to_numpy()), net.predict(X[:, ::-1]))
    for call in (net.predict, net.predict_proba, net.loss):
        with pytest.raises(ValueError, match=expected.format("X", "feature_names", "X")):
            call(turned)


@pytest.mark.parametrize("name", ["weights", "weight_train", "sample_weight", "weights_val"])
def test_weights_that_nobody_reads(name):
    with pytest.warns(UserWarning, match=f"^data: '{name}' is ignored; the weights .* are 'weights_train'"):
        make({name: np.ones(ROWS)})


LABELS = [
    ("a column", lambda y: y[:, np.newaxis], ValueError, r"expected shape \(\d+,\), got \(\d+, 1\); {0}\.ravel\(\)"),
    ("one-hot", lambda y: np.eye(3, dtype=int)[y], ValueError, r"one-hot rows .*; {0}\.argmax\(axis=1\)"),
    ("words", lambda y: np.array(list("abc"))[y], TypeError, r"np\.unique\({0}, return_inverse=True\)"),
    ("fractions", lambda y: y + 0.5, TypeError, "expected integer labels, got dtype float64"),
    ("too few", lambda y: y[:-1], ValueError, "as many labels as examples"),
]


@pytest.mark.parametrize("model", [None, Classifier])
@pytest.mark.parametrize("name", ["y_train", "y_val"])
@pytest.mark.parametrize(("kind", "change", "error", "message"), LABELS, ids=[label[0] for label in LABELS])
def test_labels_are_checked_at_construction(kind, change, error, message, name, model):
    if model is not None and name == "y_train" and kind != "too few":
        pytest.skip("a person's own model may be trained on anything")
    y = examples()[1][: None if name == "y_train" else 21]
    if model is not None and kind in ("words", "fractions"):
        # Such a model may be trained on anything, but accuracies are of classes.
        with pytest.warns(UserWarning, match="y_val: labels of dtype .* never equal a predicted class"):
            make({name: change(y)}, model())
        return
    with pytest.raises(error, match=message.format(name)):
        make({name: change(y)}, model and model())


@pytest.mark.parametrize(("kind", "change", "error", "message"), LABELS, ids=[label[0] for label in LABELS])
def test_labels_of_an_accuracy_check(kind, change, error, message):
    X, y = examples()
    message = "one label per example" if kind == "too few" else message.format("y")
    with pytest.raises(error, match=message):
        make().check_accuracy(X, change(y))


def test_booleans_are_labels():
    _, y = examples()
    two = y > 0
    results = []
    for labels in (two.astype(int), two):
        solver = make({"y_train": labels, "y_val": labels[:21]})
        solver.train()
        results.append((solver.loss_history, solver.val_acc_history))
    assert results[0] == results[1]


# --------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"lr_decay": "a"}, TypeError),
        ({"num_train_samples": -5}, ValueError),
        ({"num_val_samples": 2.5}, ValueError),
        ({"num_val_samples": False}, ValueError),
        ({"schedule": "cosin"}, ValueError),
        ({"callback": 5}, TypeError),
        ({"batch_size": True}, ValueError),
        ({"checkpoint_name": 7}, TypeError),
        ({"autosave": 7}, TypeError),
    ],
)
def test_options_are_checked_at_construction(options, error):
    (name,) = options
    with pytest.raises(error, match=f"^{name}: expected"):
        make(**options)


def test_all_schedules_are_named():
    with pytest.raises(ValueError, match="warm_up, plateau, got 'on_plateau'"):
        make(schedule="on_plateau")


def test_data_that_are_missing():
    with pytest.raises(TypeError, match="data: expected a dictionary, got NoneType"):
        Solver(FullyConnectedNet([8], FEATURES, CLASSES), None)
    for name in ("X_train", "y_val"):
        with pytest.raises(ValueError, match=f"data: expected an array for {name}, got None"):
            make({name: None})


@pytest.mark.parametrize("model", [5, {}, fastfc.Network([FEATURES, CLASSES]), FullyConnectedNet])
def test_models_that_are_none(model):
    with pytest.raises(TypeError, match=r"^model: expected a model with params, .* and a method loss, got"):
        make(model=model)


def test_attributes_that_are_none():
    solver = make()
    for name, value, message in (
        ("y_val", None, "data: expected an array for y_val, got None"),
        ("X_train", np.array(5), "data: expected an array for X_train"),
        ("optim_configs", {"W1": {}}, "optim_configs: expected a dictionary for each parameter, got none for b1"),
    ):
        before = getattr(solver, name)
        setattr(solver, name, value)
        with pytest.raises(ValueError, match=f"^{message}"):
            solver.train()
        setattr(solver, name, before)
    assert solver.loss_history == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_samples": -1}, ValueError),
        ({"num_samples": True}, TypeError),
        ({"num_samples": 2.5}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 2.5}, TypeError),
    ],
)
def test_options_of_an_accuracy_check(options, error):
    (name,) = options
    with pytest.raises(error, match=f"^{name}: expected"):
        make().check_accuracy(*examples(), **options)


@pytest.mark.parametrize("name", ["np", "STATE", "checked_config", "Callable", "functools", "_update", "RULES", "", 5])
def test_what_is_no_rule(name):
    with pytest.raises(ValueError, match=f'Invalid update_rule "{name}"'):
        make(update_rule=name)


def test_a_rule_that_somebody_added(monkeypatch):
    def mine(w, dw, config=None):
        return w - 0.1 * dw, config

    monkeypatch.setattr(optim, "mine", mine, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Its keys are its own affair.
        solver = make(update_rule="mine", optim_config={"learning_rate": 1, "whatever": 2})
    solver.train()
    assert solver.engine_ == "generic"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lr": 1e-3}, r"adam ignores 'lr'; it knows learning_rate, .*; learning_rate is meant most likely"),
        ({"lr_decay": 0.9}, r"adam ignores 'lr_decay'; .*; lr_decay is the Solver's most likely"),
        ({"momentum": 0.9, "beta1": 0.8}, r"adam ignores 'momentum'; it knows"),
    ],
)
def test_keys_that_a_rule_does_not_know(config, said):
    with pytest.warns(UserWarning, match=said) as caught:
        make(update_rule="adam", optim_config=config)
    assert len(caught) == 1
    assert caught[0].filename == __file__


# ---------------------------------------------------------------------------------------- places for files


@pytest.mark.parametrize("option", ["autosave", "checkpoint_name"])
def test_a_place_that_takes_no_file_is_found_before_the_first_epoch(option, tmp_path):
    solver = make(**{option: tmp_path / "nowhere" / "run"})
    with pytest.raises(FileNotFoundError):
        solver.train()
    assert solver.loss_history == []


def test_autosave_to_a_folder_or_a_loop_of_links(tmp_path):
    loop = tmp_path / "loop"
    os.symlink(loop, loop)
    for place in (tmp_path, loop):
        solver = make(autosave=place)
        with pytest.raises(OSError, match=r"directory|symbolic links"):
            solver.train()
        assert solver.loss_history == []


def test_a_resumed_training_writes_checkpoints_beside_its_file(tmp_path):
    elsewhere, here = tmp_path / "elsewhere", tmp_path / "here"
    elsewhere.mkdir()
    here.mkdir()
    solver = make(checkpoint_name=elsewhere / "point", num_epochs=1)
    solver.train()
    before = set(elsewhere.iterdir())
    solver.save(here / "run.npz")
    X, y = examples()
    resumed = Solver.resume(
        here / "run.npz", {"X_train": X, "y_train": y, "X_val": X[:21], "y_val": y[:21]}, num_epochs=2
    )
    resumed.train()
    assert set(elsewhere.iterdir()) == before
    assert {path.name for path in here.iterdir()} >= {"point_epoch_2.pkl"}


# ------------------------------------------------------------------------------------- what says nothing


def test_hyperparameters_that_are_nan():
    with pytest.raises(ValueError, match=r"optim_config\['learning_rate'\]: expected a number, got nan"):
        make(optim_config={"learning_rate": np.nan})
    with pytest.raises(ValueError, match="lr_decay: expected a number, got nan"):
        make(lr_decay=np.nan)
    solver = make()
    solver.optim_configs["b1"]["learning_rate"] = np.nan
    with pytest.raises(ValueError, match=r"config\['learning_rate'\]: expected a number, got nan"):
        solver.train()


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_validation_labels_of_no_class(label):
    y = examples()[1][:21]
    y[0] = label
    with pytest.warns(UserWarning, match="y_val: expected labels from 0 to 2, got") as caught:
        solver = make({"y_val": y})
    assert len(caught) == 1
    solver.train()
    assert solver.best_val_acc <= 20 / 21


# ------------------------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_a_loss_that_rises_by_many_orders_is_told_before_infinity(backend):
    X, y = examples()
    np.random.seed(0)
    net = FullyConnectedNet([8], FEATURES, CLASSES, weight_scale=0.3, dtype=np.float64, reg=1.0)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(
        net, data, update_rule="sgd", optim_config={"learning_rate": 30.0}, batch_size=10, num_epochs=3, verbose=False
    )
    with fastfc.use_backend(backend), pytest.warns(DivergenceWarning, match="the loss is") as caught:
        solver.train()
    assert len(caught) == 1
    assert line_of(caught[0]) == "solver.train()"
    assert np.isfinite(solver.loss_history[:10]).all()


def test_a_loss_that_only_jumps_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(optim_config={"learning_rate": 3.0}, num_epochs=10).train()


@pytest.mark.parametrize("order", ["F", "strided"])
def test_scattered_examples_train_as_others(order):
    X, _ = examples()
    scattered = np.asfortranarray(X) if order == "F" else np.repeat(X, 2, axis=0)[::2]
    results = []
    for given in (X, scattered):
        solver = make({"X_train": given})
        solver.train()
        assert solver.engine_ == "compiled" or fastfc.get_backend() == "reference"
        results.append(solver.loss_history)
    assert results[0] == results[1]
