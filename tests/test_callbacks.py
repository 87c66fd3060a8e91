"""Callbacks: when they are called, what they see, how they end a training, and the ready-made ones."""

import csv
import io
import json
import math
import pickle
import sys
import types

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, layers
from fastfc.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    JSONLinesLogger,
    ProgressBar,
    Run,
    TensorBoard,
    adapt,
)
from fastfc.training.hooks import TrainingHooks

ROWS, BATCH, EPOCHS = 40, 10, 5
PER_EPOCH = ROWS // BATCH
VALUES = ["loss", "train_acc", "val_acc", "learning_rate", "seconds"]


def make(callback=None, keep=1, **options):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((ROWS, 6)).astype("float32"), rng.integers(0, 3, ROWS)
    np.random.seed(1)
    arguments = {"num_epochs": EPOCHS, "batch_size": BATCH, "verbose": False, "update_rule": "adam", **options}
    net = FullyConnectedNet([8], 6, 3, weight_scale=0.3, dtype=np.float64, dropout_keep_ratio=keep)
    return Solver(net, {"X_train": X, "y_train": y, "X_val": X[:20], "y_val": y[:20]}, callback=callback, **arguments)


def trained(callback=None, backend="fast", **options):
    solver = make(callback, **options)
    with fastfc.use_backend(backend):
        solver.train()
    assert solver.engine_ == {"fast": "compiled", "reference": "generic"}[backend]
    return solver


class Recorder(Callback):
    """Notes each call, with the step, the epoch and the last loss."""

    def __init__(self, every=None, stop_at=None):
        self.every, self.stop_at, self.calls, self.losses = every, stop_at, [], {}

    def _note(self, name, run):
        assert (run.total_steps, run.steps_per_epoch) == (EPOCHS * PER_EPOCH, PER_EPOCH)
        self.calls.append((name, run.step, run.epoch))
        return self.stop_at == (name, run.step)

    def on_train_begin(self, run):
        assert math.isnan(run.loss)
        return self._note("begin", run)

    def on_step(self, run):
        self.losses[run.step] = run.loss
        return self._note("step", run)

    def on_epoch_end(self, run):
        assert list(run.values) == VALUES
        return self._note("epoch", run)

    def on_train_end(self, run):
        return self._note("end", run)


def named(recorder, name):
    return [call[1:] for call in recorder.calls if call[0] == name]


# ---------------------------------------------------------------------------------------------- the calls


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("every", [1, 3, 7, 100])
def test_calls(backend, every):
    recorder = Recorder(every)
    solver = trained(recorder, backend)
    total = EPOCHS * PER_EPOCH
    assert recorder.calls[0] == ("begin", 0, 0)
    assert recorder.calls[-1] == ("end", total, EPOCHS)
    assert named(recorder, "epoch") == [(PER_EPOCH * epoch, epoch) for epoch in range(1, EPOCHS + 1)]
    assert named(recorder, "step") == [(step, step // PER_EPOCH) for step in range(every, total + 1, every)]
    assert recorder.losses == {step: solver.loss_history[step - 1] for step in range(every, total + 1, every)}


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_without_every_steps_are_told_when_the_run_comes_back(backend):
    recorder = Recorder()
    trained(recorder, backend)
    steps = named(recorder, "step")
    assert set(named(recorder, "epoch")) <= set(steps)
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("keep", [1, 0.7])
def test_callbacks_change_nothing(backend, keep):
    plain = trained(None, backend, keep=keep)
    following = np.random.random_sample()
    watched = trained([Recorder(3), History()], backend, keep=keep)
    assert np.random.random_sample() == following
    assert watched.loss_history == plain.loss_history
    assert watched.val_acc_history == plain.val_acc_history
    for name, value in plain.model.params.items():
        np.testing.assert_array_equal(watched.model.params[name], value)


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize(
    ("stop_at", "steps"), [(("begin", 0), 0), (("step", 6), 6), (("step", 1), 1), (("epoch", 8), 8), (("end", 20), 20)]
)
def test_any_of_them_may_end_the_training(backend, stop_at, steps):
    recorder, other = Recorder(1, stop_at), Recorder(1)
    solver = trained([recorder, other], backend)
    assert len(solver.loss_history) == steps
    assert recorder.calls == other.calls
    assert recorder.calls[-1] == ("end", steps, steps // PER_EPOCH)
    # The steps are those of a training that was not to end.
    assert solver.loss_history == trained(None, backend).loss_history[:steps]


@pytest.mark.parametrize("stop_at", [("begin", 0), ("step", 6), ("epoch", 8)])
@pytest.mark.parametrize("keep", [1, 0.7])
def test_engines_end_alike(keep, stop_at):
    """In the random stream too, and with the best parameters."""
    numbers, found = set(), []
    for backend in ("fast", "reference"):
        solver = trained(Recorder(1, stop_at), backend, keep=keep)
        numbers.add(np.random.random_sample())
        found.append(solver)
    assert len(numbers) == 1
    for name, value in found[1].model.params.items():
        # Eight steps whose errors at most double, as in the tests of whole trainings.
        bound = 2.0**8 * fastfc.tolerance(np.float64, 8 * 40)
        np.testing.assert_allclose(found[0].model.params[name], value, rtol=bound, atol=bound)
        if solver.best_params:
            np.testing.assert_array_equal(value, solver.best_params[name])


def test_run_stop():
    class Stopper(Callback):
        every = 5

        def on_step(self, run):
            run.stop()
            return "not true, and no request either"

    assert len(trained(Stopper()).loss_history) == 5


def test_a_comparison_of_numpys_numbers_is_a_request():
    class Comparing(Callback):
        def on_epoch_end(self, run):
            return np.float64(run.epoch) >= 2

    assert len(trained(Comparing()).loss_history) == 2 * PER_EPOCH


def test_only_true_is_a_request():
    class Talker(Callback):
        def on_epoch_end(self, run):
            return 1

    assert len(trained(Talker()).loss_history) == EPOCHS * PER_EPOCH


def test_a_second_training_begins_anew():
    recorder, history = Recorder(1, ("step", 6)), History()
    solver = trained([recorder, history])
    recorder.stop_at, recorder.calls = None, []
    solver.train()
    assert len(solver.loss_history) == 6 + EPOCHS * PER_EPOCH
    assert recorder.calls[0] == ("begin", 0, 1)
    assert history.values["epoch"] == [2, 3, 4, 5, 6]


def test_a_training_that_goes_on_from_a_file(tmp_path):
    path = tmp_path / "run.npz"
    trained(Recorder(1, ("step", 6)), autosave=path)
    recorder = Recorder(1)
    whole, data = trained(), make()
    given = {name: getattr(data, name) for name in ("X_train", "y_train", "X_val", "y_val")}
    resumed = Solver.resume(path, given, callback=[recorder])
    with fastfc.use_backend("fast"):
        resumed.train()
    # The file is that of the first epoch's end.
    assert recorder.calls[0] == ("begin", PER_EPOCH, 1)
    assert named(recorder, "step")[0] == (PER_EPOCH + 1, 1)
    assert resumed.loss_history == whole.loss_history


def test_what_a_callback_changes_counts():
    class Halve(Callback):
        def on_train_begin(self, run):
            for value in run.model.params.values():
                value *= 0.5

        def on_epoch_end(self, run):
            for value in run.model.params.values():
                value *= 0.5

    losses = {}
    for backend in ("fast", "reference"):
        losses[backend] = trained(Halve(), backend).loss_history
        assert losses[backend][0] != trained(None, backend).loss_history[0]
    # Twenty steps whose errors at most double, as in the tests of whole trainings.
    np.testing.assert_allclose(losses["fast"], losses["reference"], rtol=2.0**20 * fastfc.tolerance(np.float64, 400))


def test_plain_functions_are_called_as_ever():
    seen = []
    solver = trained(lambda solver: seen.append(len(solver.loss_history)) or True)
    assert seen[-1] == EPOCHS * PER_EPOCH
    assert solver.epoch == EPOCHS


def test_no_epochs():
    calls = []

    class Both(Callback):
        def on_train_begin(self, run):
            calls.append(("begin", run.step, run.total_steps))

        def on_train_end(self, run):
            calls.append(("end", run.step, run.total_steps))

    history = History()
    make([Both(), history], num_epochs=0).train()
    assert calls == [("begin", 0, 0), ("end", 0, 0)]
    assert history.values == {}


def test_solvers_with_callbacks_are_pickled():
    solver = pickle.loads(pickle.dumps(make([History(), EarlyStopping()])))
    solver.train()
    assert solver.epoch == EPOCHS


@pytest.mark.parametrize("bad", [[3], ["history"], [History], [lambda solver: None], (History(), None)])
def test_what_is_no_callback(bad):
    with pytest.raises(TypeError, match=r"^callback: expected"):
        make(bad)


def test_what_is_neither_callback_nor_function():
    with pytest.raises(TypeError, match=r"^callback: expected"):
        make("history")


@pytest.mark.parametrize(("every", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bad_numbers_of_steps(every, error):
    with pytest.raises(error, match=r"^every: expected"):
        adapt(Recorder(every))


def test_adapt():
    assert isinstance(adapt([]), TrainingHooks)
    assert isinstance(adapt(History()), TrainingHooks)
    assert trained(adapt([History()])).epoch == EPOCHS
    assert adapt([Recorder(4), Recorder(), Recorder(6)]).steps_until_due(9) == 3
    assert adapt([Recorder()]).steps_until_due(9) is None


def test_lists_of_callbacks_are_callbacks():
    history = History()
    assert trained(CallbackList([CallbackList([history])])).epoch == EPOCHS
    assert history.values["epoch"] == [1, 2, 3, 4, 5]


# ----------------------------------------------------------------------------------------- early stopping


def run_through(callback, values, monitor="val_acc"):
    """The epoch that a sequence of values ends, None if none does, and the run."""
    model = types.SimpleNamespace(params={"W": np.zeros(2)})
    run = Run(model, 0, len(values), 0, 1)
    callback.on_train_begin(run)
    for epoch, value in enumerate(values, start=1):
        model.params["W"] = np.full(2, float(epoch))
        run.epoch, run.values = epoch, {monitor: value}
        if callback.on_epoch_end(run) is True:
            break
    callback.on_train_end(run)
    return run


@pytest.mark.parametrize(
    ("options", "values", "last", "best"),
    [
        ({"patience": 2}, [0.1, 0.3, 0.2, 0.3, 0.9], 4, 2),
        ({"patience": 1}, [0.1, 0.2, 0.3], 3, 3),
        ({"patience": 1, "min_delta": 0.15}, [0.1, 0.2, 0.9], 2, 1),
        ({"patience": 2}, [math.nan, 0.2, math.nan, 0.1, 0.9], 4, 2),
        ({"patience": 3}, [math.nan] * 5, 3, None),
        ({"monitor": "loss", "patience": 1}, [3, 2, 2.5, 0], 3, 2),
        ({"monitor": "loss", "patience": 1, "mode": "max"}, [3, 4, 3, 9], 3, 2),
    ],
)
def test_early_stopping(options, values, last, best):
    stopping = EarlyStopping(**options)
    run = run_through(stopping, values, stopping.monitor)
    assert run.epoch == last
    assert stopping.best_epoch == best
    assert stopping.best == (None if best is None else values[best - 1])
    np.testing.assert_array_equal(run.model.params["W"], np.full(2, best or last))


def test_early_stopping_may_leave_the_parameters():
    run = run_through(EarlyStopping(patience=1, restore_best=False), [0.2, 0.1])
    np.testing.assert_array_equal(run.model.params["W"], [2, 2])


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_early_stopping_of_a_solver(backend):
    stopping, history = EarlyStopping("loss", patience=1, min_delta=0.02), History()
    seen = {}

    class Keep(Callback):
        def on_epoch_end(self, run):
            seen[run.epoch] = {name: value.copy() for name, value in run.model.params.items()}

    solver = trained([Keep(), stopping, history], backend, num_epochs=200)
    assert solver.epoch == history.values["epoch"][-1] < 200
    assert stopping.best == history.values["loss"][stopping.best_epoch - 1]
    for name, value in seen[stopping.best_epoch].items():
        np.testing.assert_array_equal(solver.model.params[name], value)


class Linear:
    """A model of one's own."""

    def __init__(self):
        self.params = {"W": 0.1 * np.random.randn(6, 3)}

    def loss(self, X, y=None):
        scores = X @ self.params["W"]
        if y is None:
            return scores
        loss, dscores = layers.softmax_loss(scores, y)
        return loss, {"W": X.T @ dscores}


@pytest.mark.parametrize("own", [False, True])
def test_early_stopping_leaves_the_solvers_best_parameters(own):
    class KeepBest(Callback):
        def on_train_end(self, run):
            self.best = {name: value.copy() for name, value in run.model.params.items()}

    keep, stopping = KeepBest(), EarlyStopping("loss", patience=1, min_delta=0.02)
    solver = make([keep, stopping], num_epochs=200)
    if own:
        solver = Solver(
            Linear(), {name: getattr(solver, name) for name in ("X_train", "y_train", "X_val", "y_val")},
            callback=[keep, stopping], num_epochs=200, batch_size=BATCH, verbose=False,
        )  # fmt: skip
    solver.train()
    assert solver.best_params.keys() == keep.best.keys()
    for name, value in keep.best.items():
        np.testing.assert_array_equal(solver.best_params[name], value)
    assert any(not np.array_equal(solver.model.params[name], value) for name, value in keep.best.items())


def test_a_value_that_there_is_not():
    with pytest.raises(ValueError, match=r"^monitor: expected one of loss, train_acc, .* got 'accuracy'"):
        trained(EarlyStopping("accuracy"))


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"monitor": None}, TypeError, "monitor"),
        ({"patience": 0}, ValueError, "patience"),
        ({"patience": 1.0}, TypeError, "patience"),
        ({"min_delta": -1}, ValueError, "min_delta"),
        ({"mode": "best"}, ValueError, "mode"),
        ({"restore_best": "no"}, TypeError, "restore_best"),
    ],
)
def test_bad_arguments_of_early_stopping(options, error, name):
    with pytest.raises(error, match=f"^{name}: expected"):
        EarlyStopping(**options)


# ------------------------------------------------------------------------------------ histories and logs


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_whether_a_logger_appends_is_true_or_false(logger):
    with pytest.raises(TypeError, match=r"^append: expected True or False, got 'no'"):
        logger("log.csv", append="no")


def test_history():
    history = History()
    solver = trained(history, lr_decay=0.5)
    assert list(history.values) == ["epoch", "step", *VALUES]
    assert history.values["step"] == [PER_EPOCH * epoch for epoch in range(1, EPOCHS + 1)]
    losses = np.array(solver.loss_history).reshape(EPOCHS, PER_EPOCH)
    np.testing.assert_allclose(
        history.values["loss"], losses.mean(axis=1), rtol=fastfc.tolerance(np.float64, PER_EPOCH)
    )
    # The first check is that after the first step.
    assert history.values["train_acc"] == solver.train_acc_history[1:]
    assert history.values["val_acc"] == solver.val_acc_history[1:]
    assert history.values["learning_rate"] == [1e-3 * 0.5**epoch for epoch in range(1, EPOCHS + 1)]
    assert history.values["seconds"] == sorted(history.values["seconds"])


def test_values_that_come_and_go():
    history = History()
    history.on_train_begin(Run(None, 0, 3, 0, 1))
    for epoch, values in enumerate([{"a": 1.0}, {"b": 2.0}, {"a": 3.0, "b": 4.0}], start=1):
        history.on_epoch_end(Run(None, epoch, 3, epoch, 1, values=values))
    np.testing.assert_array_equal(history.values["a"], [1, math.nan, 3])
    np.testing.assert_array_equal(history.values["b"], [math.nan, 2, 4])


def test_history_as_a_table():
    pandas = pytest.importorskip("pandas")
    history = History()
    assert history.to_pandas().empty
    trained(history)
    table = history.to_pandas()
    assert table.index.tolist() == [1, 2, 3, 4, 5]
    assert table.index.name == "epoch"
    assert table.columns.tolist() == ["step", *VALUES]
    pandas.testing.assert_series_equal(table["loss"], pandas.Series(history.values["loss"], table.index, name="loss"))


def test_history_as_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    history = History()
    trained(history)
    figure = history.plot(tmp_path / "history.png")
    losses, accuracies = figure.axes
    assert losses.get_xlabel() == accuracies.get_xlabel() == "epoch"
    # Rows of epochs from the first on, unlike the Solver's histories.
    assert losses.lines[0].get_xdata().tolist() == history.values["epoch"]
    assert losses.lines[0].get_ydata().tolist() == history.values["loss"]
    for line, name in zip(accuracies.lines, ("train_acc", "val_acc"), strict=False):
        assert line.get_xdata().tolist() == history.values["epoch"]
        assert line.get_ydata().tolist() == history.values[name]
    best = 1 + int(np.argmax(history.values["val_acc"]))
    assert accuracies.get_legend_handles_labels()[1][-1].endswith(f", epoch {best}")
    assert accuracies.get_ylabel() == "accuracy (%)"
    assert (tmp_path / "history.png").stat().st_size > 0
    assert History().plot().axes[0].texts[0].get_text() == "nothing to draw"


@pytest.mark.parametrize(("loss", "label"), [("squared", "R²"), ("poisson", "R²"), ("logistic", "accuracy (%)")])
def test_a_picture_names_the_score_of_the_loss(loss, label):
    pytest.importorskip("matplotlib")
    X = np.random.randn(30, 4)
    y = (X[:, :1] > 0).astype(float)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    history = History()
    net = FullyConnectedNet([3], 4, 1, loss=loss)
    Solver(net, data, num_epochs=2, verbose=False, callback=history).train()
    assert history.plot().axes[1].get_ylabel() == label


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["epoch", "step"])
@pytest.mark.parametrize("kind", ["history", "csv", "jsonl"])
def test_values_named_like_the_columns_of_all_rows_are_refused(tmp_path, kind, name):
    class Own(Callback):
        def on_epoch_end(self, run):
            run.values[name] = 7.0

    path = tmp_path / "log"
    logger = {"history": History, "csv": lambda: CSVLogger(path), "jsonl": lambda: JSONLinesLogger(path)}[kind]()
    with pytest.raises(ValueError, match=f"values: expected other names than epoch and step.*{name!r}"):
        make([Own(), logger]).train()


class Tells(Callback):
    """Adds a value of the user's to those of each epoch."""

    def __init__(self, value):
        self.value = value

    def on_epoch_end(self, run):
        run.values["own"] = self.value


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (True, 1), (np.bool_(False), 0), (3, 3), (np.int64(-3), -3), (np.float32(1.5), 1.5), (np.array(2.5), 2.5),
        (2**53 + 1, 2.0**53), (2**70, 2.0**70),
    ],
)  # fmt: skip
def test_numbers_of_all_kinds_are_kept_and_come_back_with_a_file(tmp_path, value, kept):
    history, stopping = History(), EarlyStopping("own", 50)
    solver = trained([Tells(value), history, stopping, CSVLogger(tmp_path / "log.csv")], autosave=tmp_path / "run.npz")
    assert history.values["own"] == [kept] * EPOCHS
    assert {type(number) for number in history.values["own"]} == {type(kept)}
    assert stopping.best == kept
    assert [row["own"] for row in read_csv(tmp_path / "log.csv")] == [str(kept)] * EPOCHS
    data = {name: getattr(solver, name) for name in ("X_train", "y_train", "X_val", "y_val")}
    again, stopping_again = History(), EarlyStopping("own", 50)
    Solver.resume(tmp_path / "run.npz", data, callback=[again, stopping_again])
    assert again.values == history.values
    assert stopping_again.best == kept


@pytest.mark.parametrize("value", ["text", None, np.array([1.0]), [1.0], 1j, 10**400])
@pytest.mark.parametrize("follower", [History, EarlyStopping, Callback])
def test_values_that_are_no_numbers_are_refused(value, follower):
    with pytest.raises((TypeError, ValueError), match=r"values\['own'\]: expected a number"):
        make([Tells(value), follower()]).train()


def test_csv(tmp_path):
    path, history = tmp_path / "log.csv", History()
    path.write_text("old\n")
    trained([history, CSVLogger(path)])
    rows = read_csv(path)
    assert list(rows[0]) == ["epoch", "step", *VALUES]
    for name, values in history.values.items():
        assert [float(row[name]) for row in rows] == values
    trained(CSVLogger(path, append=True))
    assert [row["epoch"] for row in read_csv(path)] == [*"12345", *"12345"]


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_a_last_line_without_an_end_is_ended_before_others_follow(logger, tmp_path):
    path = tmp_path / "log"
    trained(logger(path))
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip())
    trained(logger(path, append=True))
    lines = path.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 2 * EPOCHS + (2 if logger is CSVLogger else 1)
    assert path.read_bytes().startswith(whole.rstrip())
    assert lines[-2].startswith("5," if logger is CSVLogger else '{"epoch": 5')


def test_csv_of_a_spreadsheet_is_appended_to(tmp_path):
    path = tmp_path / "log.csv"
    trained(CSVLogger(path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    trained(CSVLogger(path, append=True))
    with open(path, newline="", encoding="utf-8-sig") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == [*"12345", *"12345"]


def test_json_lines(tmp_path):
    path, history = tmp_path / "log.jsonl", History()
    trained([history, JSONLinesLogger(path)], num_val_samples=None)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {name: [line[name] for line in lines] for name in lines[0]} == history.values
    JSONLinesLogger(path, append=True).on_epoch_end(Run(None, 1, 1, 6, 1, values={"loss": math.nan, "val_acc": 0.5}))
    last = path.read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last) == {"epoch": 6, "step": 1, "loss": None, "val_acc": 0.5}
    values = {"loss": np.float32(math.nan), "rows": np.int64(7), "dead": np.float32(0.25)}
    JSONLinesLogger(path, append=True).on_epoch_end(Run(None, 1, 1, 7, 1, values=values))
    last = path.read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last) == {"epoch": 7, "step": 1, "loss": None, "rows": 7, "dead": 0.25}


@pytest.mark.parametrize(("logger", "name"), [(CSVLogger, "path"), (JSONLinesLogger, "path"), (TensorBoard, "log_dir")])
def test_what_is_no_path(logger, name):
    with pytest.raises(TypeError, match=f"{name}: expected a path, got None"):
        logger(None)


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_a_place_that_cannot_be_written_is_said_before_the_first_step(logger, tmp_path):
    solver = make(logger(tmp_path / "nowhere" / "log"))
    with pytest.raises(FileNotFoundError):
        solver.train()
    assert solver.loss_history == []


def test_tensorboard(tmp_path, monkeypatch):
    """Through the part of tensorboardX's interface that both writers have."""
    written, closed = {}, []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.setdefault(name, []).append((step, value))

        def flush(self):
            pass

        def close(self):
            closed.append(self.folder)

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    history = History()
    trained([history, TensorBoard(tmp_path)])
    assert closed == [str(tmp_path)]
    expected = {name: list(zip([1, 2, 3, 4, 5], history.values[name], strict=True)) for name in VALUES}
    assert written == expected


def test_tensorboards_own_files(tmp_path):
    pytest.importorskip("tensorboardX")
    trained(TensorBoard(tmp_path))
    assert [path for path in tmp_path.iterdir() if "tfevents" in path.name]


def test_without_tensorboard(tmp_path, monkeypatch):
    for name in ("tensorboardX", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    solver = make(TensorBoard(tmp_path))
    with pytest.raises(ImportError, match=r"fastfc\[tensorboard\]"):
        solver.train()
    assert solver.loss_history == []


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_progress_bar(backend):
    screen = io.StringIO()
    trained(ProgressBar(file=screen, mininterval=0), backend)
    last = screen.getvalue().rstrip("\n").split("\r")[-1]
    assert f"{EPOCHS * PER_EPOCH}/{EPOCHS * PER_EPOCH}" in last
    assert "val_acc=" in last


def test_a_class_of_callbacks_is_none():
    with pytest.raises(TypeError, match="callback"):
        make(History)


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_the_learning_rate_is_that_of_the_schedule(backend):
    history = History()
    trained(history, backend, schedule=fastfc.schedules.Step(2, 0.5), lr_decay=0.1, optim_config={"learning_rate": 1.0})
    # After an epoch that of the next step; after the last epoch there is none, and it is that of the last step.
    expected = [0.1 * 1, 0.01 * 0.5, 1e-3 * 0.5, 1e-4 * 0.25, 1e-5 * 0.25]
    np.testing.assert_allclose(history.values["learning_rate"], expected, rtol=fastfc.tolerance(np.float64, EPOCHS))


def test_csv_of_other_columns_is_not_appended_to(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"path: .*epoch, step.*got a, b"):
        trained(CSVLogger(path, append=True))
    assert path.read_text() == "a,b\n1,2\n"
