"""Callbacks and plateaus in trainings that go on from a file: as in one that never stopped."""

import csv
import json

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, tolerance
from fastfc._plateau import plateau_of
from fastfc.callbacks import Callback, CSVLogger, EarlyStopping, History, JSONLinesLogger
from fastfc.schedules import ReduceOnPlateau

ROWS, BATCH, EPOCHS = 40, 10, 12
PER_EPOCH = ROWS // BATCH


def data():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((ROWS, 6)), rng.integers(0, 3, ROWS)
    return {"X_train": X, "y_train": y, "X_val": X[:20], "y_val": y[:20]}


def make(**options):
    np.random.seed(1)
    net = FullyConnectedNet([8], 6, 3, weight_scale=0.3, dtype=np.float64)
    given = {"num_epochs": EPOCHS, "batch_size": BATCH, "verbose": False, "update_rule": "adam", **options}
    return Solver(net, data(), optim_config={"learning_rate": 0.01}, **given)


class Copies(Callback):
    """Keeps the training's file of every epoch; the last of the callbacks."""

    def __init__(self, folder):
        self.folder, self.solver = folder, None

    def on_epoch_end(self, run):
        self.solver.save(self.folder / f"{run.epoch}.npz")


class Counter(Callback):
    """One of a user's, with a state of all kinds."""

    def __init__(self):
        self.count, self.losses = 0, np.zeros(0)

    def state_dict(self):
        return {"count": self.count, "nested": {"losses": self.losses, "nothing": None, "name": "x", "flag": True}}

    def load_state_dict(self, state):
        assert state["nested"]["nothing"] is None
        assert (state["nested"]["name"], state["nested"]["flag"]) == ("x", True)
        self.count, self.losses = state["count"], state["nested"]["losses"]

    def on_epoch_end(self, run):
        self.count, self.losses = self.count + 1, np.append(self.losses, run.values["loss"])


@pytest.fixture(params=["fast", "reference"])
def backend(request):
    with fastfc.use_backend(request.param):
        yield request.param


def whole_with(folder, callbacks, **options):
    copies = Copies(folder)
    solver = copies.solver = make(callback=[*callbacks, copies], **options)
    solver.train()
    return solver


def without_seconds(values):
    return {name: column for name, column in values.items() if name != "seconds"}


def test_early_stopping_and_histories_go_on(backend, tmp_path):
    def callbacks():
        return [History(), EarlyStopping("loss", 2, 0.03), EarlyStopping("val_acc", 50), Counter()]

    history, stopping, other, counter = given = callbacks()
    solver = whole_with(tmp_path, given)
    epochs = solver.epoch
    assert 3 < epochs < EPOCHS
    for epoch in range(1, epochs):
        again, stopping_again, other_again, counter_again = resumed = callbacks()
        rest = Solver.resume(tmp_path / f"{epoch}.npz", data(), callback=resumed)
        rest.train()
        assert rest.epoch == epochs
        assert without_seconds(again.values) == without_seconds(history.values)
        for mine, theirs in ((stopping_again, stopping), (other_again, other)):
            assert (mine.best, mine.best_epoch, mine._waited) == (theirs.best, theirs.best_epoch, theirs._waited)
        assert counter_again.count == counter.count == epochs
        np.testing.assert_array_equal(counter_again.losses, counter.losses)
        for name, w in solver.model.params.items():
            np.testing.assert_array_equal(rest.model.params[name], w)


def test_a_training_that_early_stopping_has_ended_goes_on_with_more_patience_only(backend, tmp_path):
    """Killed between its last file and its end, it is the same as one that was not."""
    stopping, path = EarlyStopping("loss", 2, 0.03), tmp_path / "run.npz"
    solver = make(callback=stopping, autosave=path)
    solver.train()
    assert stopping.best_epoch + 2 == solver.epoch < EPOCHS
    again = EarlyStopping("loss", 2, 0.03)
    ended = Solver.resume(path, data(), callback=again)
    ended.train()
    assert ended.loss_history == solver.loss_history
    assert (again.best, again.best_epoch, again._waited) == (stopping.best, stopping.best_epoch, 2)
    for name, w in solver.model.params.items():
        np.testing.assert_array_equal(ended.model.params[name], w)
    patient = Solver.resume(path, data(), callback=EarlyStopping("loss", 3, 0.03))
    patient.train()
    assert patient.epoch > solver.epoch
    # A new training with the same callback begins anew.
    ended.train()
    assert ended.epoch > solver.epoch


def test_the_best_parameters_are_kept_over_the_end_of_a_training(tmp_path):
    """A training in parts ends with the same ones, if the best epoch was in the first part."""
    whole, part = EarlyStopping("loss", 50, mode="max"), EarlyStopping("loss", 50, mode="max")
    solver = make(callback=whole)
    solver.train()
    # Losses fall, so that the first epoch has the largest.
    assert whole.best_epoch == 1
    half = make(callback=part, num_epochs=5)
    half.train()
    half.save(tmp_path / "half.npz")
    rest = Solver.resume(
        tmp_path / "half.npz", data(), num_epochs=EPOCHS, callback=EarlyStopping("loss", 50, mode="max")
    )
    rest.train()
    for name, w in solver.model.params.items():
        np.testing.assert_array_equal(rest.model.params[name], w)


def test_logs_go_on_without_a_line_twice(tmp_path):
    """The lines after the file from which a training goes on are written anew."""
    paths = tmp_path / "log.csv", tmp_path / "log.jsonl"

    def lines():
        with open(paths[0], newline="", encoding="utf-8") as file:
            table = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
        objects = [json.loads(line) for line in paths[1].read_text(encoding="utf-8").splitlines()]
        return table, [without_seconds(each) for each in objects]

    whole_with(tmp_path, [CSVLogger(paths[0]), JSONLinesLogger(paths[1])])
    wanted = lines()
    assert len(wanted[0]) == len(wanted[1]) == EPOCHS
    for epoch in (1, 5, EPOCHS - 1):
        rest = Solver.resume(
            tmp_path / f"{epoch}.npz", data(), callback=[CSVLogger(paths[0]), JSONLinesLogger(paths[1])]
        )
        rest.train()
        assert lines() == wanted


class SavesAt(Callback):
    """Writes the training's file after a step or at an epoch's end, wherever it stands among the callbacks."""

    def __init__(self, path, step, hook, then=None):
        self.path, self.step, self.hook, self.then, self.every = path, step, hook, then, 1

    def _save(self, run, hook):
        if (run.step, hook) == (self.step, self.hook):
            if self.then is not None:
                raise self.then
            self.solver.save(self.path)

    def on_step(self, run):
        self._save(run, "on_step")

    def on_epoch_end(self, run):
        self._save(run, "on_epoch_end")


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("hook", ["on_step", "on_epoch_end"])
@pytest.mark.parametrize("raises", [False, True])
def test_a_file_amid_the_callbacks_of_an_epoch(backend, tmp_path, place, hook, raises):
    """Those that had not been told of it yet are told when the training goes on; no other one is told twice."""

    def callbacks(folder):
        logs = CSVLogger(tmp_path / folder / "log.csv"), JSONLinesLogger(tmp_path / folder / "log.jsonl")
        return [History(), EarlyStopping("loss", 2, 0.03), Counter(), *logs]

    def told(given):
        history, stopping, counter, table, lines = given
        rows = [line.rpartition(",")[0] for line in table.path.read_text(encoding="utf-8").splitlines()]
        objects = [without_seconds(json.loads(line)) for line in lines.path.read_text(encoding="utf-8").splitlines()]
        state = stopping.best, stopping.best_epoch, stopping._waited, counter.count, counter.losses.tolist()
        return without_seconds(history.values), state, rows, objects

    for folder in ("whole", "part"):
        (tmp_path / folder).mkdir()
    whole = callbacks("whole")
    solver = make(callback=whole)
    solver.train()
    assert 3 < solver.epoch < EPOCHS
    for epoch in (1, 2, solver.epoch):
        part, error = callbacks("part"), RuntimeError("stop")
        saves = SavesAt(tmp_path / "run.npz", epoch * PER_EPOCH, hook, error if raises else None)
        saves.solver = make(callback=[*part[:place], saves, *part[place:]])
        if raises:
            with pytest.raises(RuntimeError, match="stop"):
                saves.solver.train()
            saves.solver.save(saves.path)
        else:
            saves.solver.train()
        again = callbacks("part")
        rest = Solver.resume(saves.path, data(), callback=again)
        rest.train()
        assert told(again) == told(whole)
        assert rest.loss_history == solver.loss_history
        for name, w in solver.model.params.items():
            np.testing.assert_array_equal(rest.model.params[name], w)


def test_a_training_after_an_error_begins_anew():
    history, saves = History(), SavesAt(None, PER_EPOCH, "on_step", RuntimeError("stop"))
    solver = make(callback=[saves, history])
    with pytest.raises(RuntimeError, match="stop"):
        solver.train()
    saves.step = None
    solver.train()
    assert history.values["epoch"] == [*range(2, EPOCHS + 2)]


def test_states_go_to_callbacks_of_their_class(tmp_path):
    whole_with(tmp_path, [EarlyStopping("loss", 50), EarlyStopping("val_acc", 50), Counter()])
    counter, first, second, third = Counter(), EarlyStopping("loss", 50), EarlyStopping("val_acc", 50), EarlyStopping()
    Solver.resume(tmp_path / "5.npz", data(), callback=[counter, History(), first, second, third])
    assert counter.count == 5
    assert first.best < second.best_epoch + 1
    assert (third.best, third.best_epoch) == (None, None)
    # None at all, or a function, is as ever.
    for callback in (None, lambda solver: None):
        Solver.resume(tmp_path / "5.npz", data(), callback=callback)


@pytest.mark.parametrize("other", [EarlyStopping("val_acc", 50), EarlyStopping("loss", 50, mode="max")])
def test_early_stopping_by_another_value_begins_anew(other, tmp_path):
    """A loss is nothing to compare an accuracy with."""
    whole_with(tmp_path, [EarlyStopping("loss", 50)])
    new = EarlyStopping("loss", 50)
    Solver.resume(tmp_path / "5.npz", data(), callback=new)
    assert new.best_epoch is not None
    # Whatever it was used for before.
    other.best, other.best_epoch = 7.0, 3
    solver = Solver.resume(tmp_path / "5.npz", data(), callback=[other, History()])
    assert (other.best, other.best_epoch, other._parameters) == (None, None, {})
    solver.train()
    assert other.best_epoch > 5


class WithState(Callback):
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        raise ValueError("not of mine")


def test_states_that_are_none(tmp_path):
    solver = make(num_epochs=1, callback=WithState({"a": [1, 2]}))
    solver.train()
    with pytest.raises(TypeError, match=r"callbacks.0.a: only numbers, strings and arrays"):
        solver.save(tmp_path / "run.npz")
    solver = make(num_epochs=1, callback=WithState({"a": 1}))
    solver.train()
    solver.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match=r"run.npz: expected states of its schedule and callbacks \(not of mine\)"):
        Solver.resume(tmp_path / "run.npz", data(), callback=WithState({}))


@pytest.mark.parametrize(
    ("callback", "state"),
    [
        (EarlyStopping(), {}),
        (EarlyStopping(), {"best": 0.5, "best_epoch": None, "waited": 0, "parameters": {}}),
        (EarlyStopping(), {"best": "a", "best_epoch": 1, "waited": 0, "parameters": {}}),
        (EarlyStopping(), {"best": None, "best_epoch": None, "waited": -1, "parameters": {}}),
        (EarlyStopping(), {"best": None, "best_epoch": None, "waited": 0, "parameters": {"W1": 3}}),
        (History(), {"column0": {"name": "loss"}}),
        (History(), {"column0": {"name": "loss", "values": np.array(["a"])}}),
        (History(), {"column0": {"name": "a", "values": np.zeros(2)}, "column1": {"name": "b", "values": np.zeros(3)}}),
        (CSVLogger("log"), {"lines": -1}),
        (JSONLinesLogger("log"), {"lines": "all"}),
        (ReduceOnPlateau(), {"current": 0.5}),
        (ReduceOnPlateau(), {"current": 2.0, "best": 0.0, "waited": 0, "cooling": 0}),
        (ReduceOnPlateau(), {"current": 0.5, "best": 0.0, "waited": 0.5, "cooling": 0}),
    ],
)
def test_states_of_the_packages_own_are_checked(callback, state):
    with pytest.raises((TypeError, ValueError, KeyError)):
        callback.load_state_dict(state)


def test_the_best_parameters_of_another_model_are_refused_before_the_first_step():
    stopping = EarlyStopping("loss")
    stopping.load_state_dict({"best": 0.5, "best_epoch": 1, "waited": 0, "parameters": {"W1": np.zeros((3, 3))}})
    solver = make(callback=stopping)
    with pytest.raises(ValueError, match="parameters: expected a state with the best parameters of this model"):
        solver.train()
    assert solver.loss_history == []


# ------------------------------------------------------------------------------------------------ plateaus

PLATEAUS = [
    ReduceOnPlateau(0.5, patience=0, min_delta=0.05),
    ReduceOnPlateau(0.3, patience=1, min_delta=0.1, cooldown=1, min_factor=0.01),
    ReduceOnPlateau(0.5, patience=0, monitor="val_acc"),
    ReduceOnPlateau(0.5, patience=1, monitor="train_acc", min_delta=0.1),
]


def by_hand(solver, plateau, history):
    """The factors of the epochs after the first one, from the values that the training reached."""
    plateau = plateau_of(plateau)
    values = history.values[plateau.monitor]
    return [plateau.update(value) for value in values]


@pytest.mark.parametrize("plateau", PLATEAUS)
def test_the_learning_rate_falls_on_a_plateau(plateau, backend):
    history = History()
    solver = make(schedule=plateau, callback=history)
    solver.train()
    factors = by_hand(solver, plateau, history)
    np.testing.assert_array_equal(history.values["learning_rate"], 0.01 * np.array(factors))
    assert factors[-1] < 1
    # The Solver works on a copy.
    assert (plateau.current, solver.schedule) == (1.0, plateau)


@pytest.mark.parametrize("threads", [1, 2])
def test_engines_agree(threads):
    found = []
    for backend in ("fast", "reference"):
        with fastfc.use_backend(backend):
            # Without a callback, which would come back to Python by itself.
            solver = make(schedule=PLATEAUS[0], threads=threads, num_train_samples=20)
            solver.train()
        found.append(solver)
    bound = 2.0**9 * tolerance(np.float64, EPOCHS * PER_EPOCH * 200)
    np.testing.assert_allclose(found[0].loss_history, found[1].loss_history, rtol=bound, atol=bound)
    assert found[0]._plateau().current == found[1]._plateau().current < 1


@pytest.mark.parametrize("plateau", PLATEAUS)
def test_a_plateau_goes_on(plateau, backend, tmp_path):
    history = History()
    solver = whole_with(tmp_path, [history], schedule=plateau)
    for epoch in range(1, EPOCHS):
        again = History()
        rest = Solver.resume(tmp_path / f"{epoch}.npz", data(), callback=again)
        assert rest.schedule == plateau
        rest.train()
        np.testing.assert_array_equal(rest.loss_history, solver.loss_history)
        assert again.values["learning_rate"] == history.values["learning_rate"]


def test_its_name():
    found = []
    for schedule in ("plateau", ReduceOnPlateau()):
        solver = make(schedule=schedule)
        solver.train()
        found.append((solver.loss_history, solver._plateau()))
    assert found[0] == found[1]
    assert found[0][1].best < np.inf


def test_another_plateau_begins_anew(tmp_path):
    """One that a callback puts in the place of the first."""

    class Replace(Callback):
        def on_epoch_end(self, run):
            if run.epoch == 6:
                self.solver.schedule = ReduceOnPlateau(0.5, patience=0, min_delta=1e9)

    replace, history = Replace(), History()
    solver = replace.solver = make(
        schedule=ReduceOnPlateau(0.1, patience=0, min_delta=1e9), callback=[history, replace]
    )
    solver.train()
    # The first value is an improvement on infinity.
    wanted = [0.01 * factor for factor in (1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125)]
    np.testing.assert_allclose(history.values["learning_rate"], wanted, rtol=tolerance(np.float64, 20))


def test_a_file_before_there_were_such_states(tmp_path):
    """It has neither, and a training goes on with new ones."""
    whole_with(tmp_path, [EarlyStopping("loss", 50)], schedule=PLATEAUS[0])
    with np.load(tmp_path / "5.npz") as file:
        arrays = {name: file[name] for name in file.files}
    options = json.loads(str(arrays["options"]))
    del options["callbacks"], options["plateau"]
    arrays = {name: array for name, array in arrays.items() if not name.startswith("callbacks.")}
    options["arrays"] = sorted(name for name in arrays if name != "options")
    np.savez(tmp_path / "old.npz", **{**arrays, "options": np.array(json.dumps(options))})
    stopping = EarlyStopping("loss", 50)
    rest = Solver.resume(tmp_path / "old.npz", data(), callback=stopping)
    rest.train()
    assert stopping.best_epoch > 5
