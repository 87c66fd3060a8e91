"""Early stopping and histories inside of compiled calls: bit for bit as when every epoch ends in Python."""

import math

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver
from fastfc.callbacks import Callback, EarlyStopping, History, adapt
from fastfc.callbacks import _base as callbacks_base
from fastfc.schedules import ReduceOnPlateau, Step
from fastfc.training import booking, memory
from fastfc.training import run as compiled_run

FEATURES, CLASSES, ROWS, BATCH, EPOCHS = 5, 3, 43, 10, 25
MONITORS = ["loss", "train_acc", "val_acc"]


class Stopping(EarlyStopping):
    """The same rule, which a training calls at the end of each epoch."""

    def on_epoch_end(self, run):
        return super().on_epoch_end(run)


class Rows(History):
    """The same history, which a training calls at the end of each epoch."""

    def on_epoch_end(self, run):
        super().on_epoch_end(run)


def data():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)
    return {"X_train": X, "y_train": y, "X_val": X[:20].copy(), "y_val": y[:20].copy()}


def make(callback, normalization=None, dtype=np.float32, keep=1, **options):
    np.random.seed(3)
    net = FullyConnectedNet([7, 6], FEATURES, CLASSES, keep, normalization, weight_scale=0.4, dtype=dtype)
    given = {"update_rule": "adam", "num_epochs": EPOCHS, "batch_size": BATCH, "threads": 1, **options}
    rate = given.pop("learning_rate", 0.02)
    return Solver(net, data(), optim_config={"learning_rate": rate}, verbose=False, callback=callback, **given)


@pytest.fixture
def calls(monkeypatch):
    """The numbers of steps of the compiled calls over ends of epochs; ``most`` bounds them."""
    found, steps = [], compiled_run.CompiledRun.steps

    def counted(self, limit, before=0, iterations_per_epoch=0):
        inside = iterations_per_epoch > 0
        done = steps(self, min(limit, found.most) if inside else limit, before, iterations_per_epoch)
        if inside:
            found.append(done)
        return done

    class Calls(list):
        most = 10**9

    found = Calls()
    monkeypatch.setattr(compiled_run.CompiledRun, "steps", counted)
    # Neither the machine's speed nor what else runs on it decides how far a call goes.
    monkeypatch.setattr(compiled_run, "PART_SECONDS", 1e6)
    monkeypatch.setattr(compiled_run, "_CHECK_SECONDS", math.inf)
    return found


def finished(solver, backend="fast"):
    np.random.seed(11)
    with fastfc.use_backend(backend):
        solver.train()
    return solver


def require_same_stopping(mine, theirs):
    assert (mine.best, mine.best_epoch, mine._waited) == (theirs.best, theirs.best_epoch, theirs._waited)
    assert type(mine.best) is type(theirs.best)
    require_same_arrays(mine._parameters, theirs._parameters)


def require_same_arrays(mine, theirs):
    assert list(mine) == list(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)


def require_same_history(mine, theirs):
    assert list(mine.values) == list(theirs.values)
    for name, column in theirs.values.items():
        if name != "seconds":
            np.testing.assert_array_equal(mine.values[name], column, err_msg=name)
    assert mine.values["seconds"] == sorted(mine.values["seconds"])


def require_same_training(mine, theirs):
    for name in ("epoch", "best_val_acc", "engine_"):
        assert getattr(mine, name) == getattr(theirs, name), name
    for name in ("loss_history", "train_acc_history", "val_acc_history"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)
    require_same_arrays(mine.best_params, theirs.best_params)
    require_same_arrays(mine.model.params, theirs.model.params)
    for name, config in theirs.optim_configs.items():
        require_same_arrays(mine.optim_configs[name], config)
    for mine_of_layer, of_layer in zip(mine.model.bn_params, theirs.model.bn_params, strict=True):
        require_same_arrays(mine_of_layer, of_layer)
    np.testing.assert_array_equal(mine._state.stream[1], theirs._state.stream[1])
    assert mine._state.stream[2:] == theirs._state.stream[2:]


def compared(arguments, **options):
    """The training by the class itself, held against that by the subclass; and the rule."""
    rule, history, others, other_history = EarlyStopping(**arguments), History(), Stopping(**arguments), Rows()
    mine = finished(make([history, rule], **options))
    theirs = finished(make([other_history, others], **options))
    require_same_training(mine, theirs)
    require_same_stopping(rule, others)
    require_same_history(history, other_history)
    return mine, rule


# ------------------------------------------------------------------------------------ the same as from Python


@pytest.mark.parametrize("most", [1, 3, 10**9])
@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize(("patience", "min_delta"), [(1, 0.0), (3, 0.1), (2, 0.2), (10**6, 0.0)])
@pytest.mark.parametrize("monitor", MONITORS)
def test_rules(monitor, patience, min_delta, restore_best, most, calls):
    calls.most = most
    arguments = {"monitor": monitor, "patience": patience, "min_delta": min_delta, "restore_best": restore_best}
    solver, rule = compared(arguments, sampler="permutation")
    # After the first step, with which checks are known to be short.
    assert sum(calls) == len(solver.loss_history) - 1
    assert (solver.epoch < EPOCHS) == (patience < 10**6)
    if most == 10**9:
        assert len(calls) == 1
    if restore_best:
        require_same_arrays(solver.model.params, rule._parameters)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sampler", ["replacement", "permutation", "order"])
def test_values_inside_are_those_of_python(sampler, dtype, monitor, mode, calls, monkeypatch):
    """To the last digit, in each thread, after every call."""
    made, rules_seen = [], []

    class Seen(booking.StoppingInside):
        def best(self):
            made.append(self)
            return super().best()

    def after_epochs(hooks, trainer, ends, best):
        told(hooks, trainer, ends, best)
        (rule,) = hooks.rules()
        rules_seen.append(rule)
        numbers = made[-1]._table[0].numbers.reshape(-1, memory.LINE)
        assert len(numbers) == 2
        for of_thread in numbers:
            assert bool(of_thread[memory.STOP_BEGUN]) == (rule.best is not None)
            assert of_thread[memory.STOP_WAITED] == rule.waited
            if rule.best is not None:
                assert of_thread[memory.STOP_BEST] == rule.best

    told = callbacks_base._SolverHooks.after_epochs
    monkeypatch.setattr(callbacks_base._SolverHooks, "after_epochs", after_epochs)
    monkeypatch.setattr(compiled_run, "StoppingInside", Seen)
    calls.most = 7
    rule = EarlyStopping(monitor, patience=4, mode=mode)
    finished(make(rule, sampler=sampler, dtype=dtype, threads=2))
    assert len(rules_seen) == len(calls) > 1
    assert rule.best_epoch is not None


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("sampler", ["replacement", "order"])
def test_either_direction(sampler, monitor, mode, calls):
    calls.most = 7
    compared({"monitor": monitor, "patience": 4, "mode": mode}, sampler=sampler)
    assert calls


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "batchnorm", "keep": 0.8, "lr_decay": 0.9},
        {"normalization": "layernorm", "schedule": Step(2, 0.5), "num_train_samples": 12, "num_val_samples": 9},
        {"schedule": "cosine", "lr_decay": 0.95, "accumulate": 3, "max_norm": 1.0, "sampler": "permutation"},
        {"schedule": ReduceOnPlateau(patience=1, min_delta=0.05), "update_rule": "sgd_momentum"},
        {"batch_size": 3 * ROWS},
    ],
    ids=["batchnorm", "layernorm", "accumulate", "plateau", "one step"],
)
def test_other_trainings(options, threads, calls):
    calls.most = 9
    solver, _ = compared({"monitor": "loss", "patience": 2, "min_delta": 0.03}, threads=threads, **options)
    assert solver.threads_ == threads
    # A schedule by values is told them in Python.
    assert bool(calls) != isinstance(options.get("schedule"), ReduceOnPlateau)


def test_several_rules(calls):
    """The first that ends the training ends it, and each keeps its own best parameters."""
    given = [("loss", 10**6), ("val_acc", 3), ("train_acc", 5)]
    rules, others = ([kind(*each) for each in given] for kind in (EarlyStopping, Stopping))
    mine, theirs = finished(make([*rules, History()])), finished(make([*others, Rows()]))
    require_same_training(mine, theirs)
    for rule, other in zip(rules, others, strict=True):
        require_same_stopping(rule, other)
    assert len({rule.best_epoch for rule in rules}) > 1
    assert len(calls) == 1
    assert mine.epoch < EPOCHS


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_second_training(restore_best, calls):
    arguments = {"monitor": "loss", "patience": 2, "min_delta": 0.03, "restore_best": restore_best}
    found = []
    for kind in (EarlyStopping, Stopping):
        rule = kind(**arguments)
        solver = finished(make(rule))
        finished(solver)
        found.append((solver, rule))
    (mine, rule), (theirs, other) = found
    require_same_training(mine, theirs)
    require_same_stopping(rule, other)
    assert len(calls) == 2


@pytest.mark.parametrize("monitor", MONITORS)
def test_values_that_are_not_numbers(monitor, calls):
    """No validation data, and a training that diverges."""
    for kind in (EarlyStopping, Stopping):
        solver = make([rule := kind(monitor, patience=4), history := History()], learning_rate=1e30, update_rule="sgd")
        solver.X_val, solver.y_val = solver.X_val[:0], solver.y_val[:0]
        with pytest.warns(fastfc.solver.DivergenceWarning):
            finished(solver)
        assert np.isnan(history.values["loss"]).any()
        assert np.isnan(history.values["val_acc"]).all()
        if kind is EarlyStopping:
            mine, first, epochs = rule, history, solver.epoch
            assert calls
    require_same_stopping(mine, rule)
    require_same_history(first, history)
    assert epochs == solver.epoch < EPOCHS
    assert monitor != "val_acc" or (rule.best, rule.best_epoch, epochs) == (None, None, 4)


@pytest.mark.parametrize("print_every", [1, 6])
def test_lines(print_every, capsys, calls):
    lines = []
    for kind in (EarlyStopping, Stopping):
        solver = make(kind("loss", 2, 0.03), print_every=print_every)
        solver.verbose = True
        finished(solver)
        lines.append(capsys.readouterr().out)
    assert lines[0] == lines[1]
    assert len(calls) == 1


# ---------------------------------------------------------------------------------------- resumed, interrupted


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("sampler", ["replacement", "permutation"])
def test_resumed_amid_patience(sampler, monitor, tmp_path, calls):
    options = {"learning_rate": 0.05, "sampler": sampler}
    arguments = {"monitor": monitor, "patience": 5, "min_delta": 0.05}
    whole, rule = compared(arguments, **options)
    assert 3 < whole.epoch < EPOCHS
    for epochs in range(1, whole.epoch):
        finished(part := make([History(), EarlyStopping(**arguments)], num_epochs=epochs, **options))
        part.save(tmp_path / "part.npz")
        history, again = History(), EarlyStopping(**arguments)
        rest = Solver.resume(tmp_path / "part.npz", data(), num_epochs=EPOCHS, callback=[history, again])
        with fastfc.use_backend("fast"):
            rest.train()
        require_same_training(rest, whole)
        require_same_stopping(again, rule)
        assert history.values["epoch"] == list(range(1, whole.epoch + 1))
    assert len(calls) > whole.epoch


def test_autosave(tmp_path, calls):
    """A file is due at the end of each epoch: it has the states of these callbacks."""
    for name, kind in (("mine", EarlyStopping), ("theirs", Stopping)):
        finished(make([kind("loss", 2, 0.03), History()], autosave=tmp_path / name))
    assert not calls
    with np.load(tmp_path / "mine") as mine, np.load(tmp_path / "theirs") as theirs:
        assert set(mine.files) == set(theirs.files)
        for name in mine.files:
            if "callbacks" in name and "parameters" in name:
                np.testing.assert_array_equal(mine[name], theirs[name])


class Interrupting:
    """A team whose call number `last` is the last one before Ctrl-C comes."""

    def __init__(self, monkeypatch, last):
        usual, count = compiled_run.Team.run, 0

        def run(team, function):
            nonlocal count
            usual(team, function)
            count += 1
            if count == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(compiled_run.Team, "run", run)


@pytest.mark.parametrize("last", [4, 6, 8])
def test_ctrl_c(last, monkeypatch, calls):
    """The callbacks know the epochs that the Solver knows, and the training goes on."""
    calls.most = 11
    whole, others, rows = finished(make([])), Stopping("loss", 10**6), Rows()
    Interrupting(monkeypatch, last)
    history, rule = History(), EarlyStopping("loss", 10**6)
    solver = make([history, rule])
    with pytest.raises(KeyboardInterrupt):
        finished(solver)
    monkeypatch.undo()
    assert 0 < solver.epoch < EPOCHS
    assert solver.loss_history == whole.loss_history[: len(solver.loss_history)]
    assert history.values["epoch"] == list(range(1, solver.epoch + 1))
    finished(make([rows, others], num_epochs=solver.epoch))
    require_same_history(history, rows)
    require_same_stopping(rule, others)


def test_an_error_while_callbacks_are_told(calls, monkeypatch):
    """Nothing is told twice as the run is closed."""
    row, told = fastfc.callbacks._history.epoch_row, []

    def failing(run):
        told.append(run.epoch)
        if run.epoch == 5:
            raise OSError("no space")
        return row(run)

    monkeypatch.setattr(fastfc.callbacks._history, "epoch_row", failing)
    history = History()
    with pytest.raises(OSError, match="no space"):
        finished(make(history))
    assert told == [1, 2, 3, 4, 5]
    assert history.values["epoch"] == [1, 2, 3, 4]
    assert calls == []


# --------------------------------------------------------------------------------------------------- both engines


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("sampler", ["replacement", "permutation"])
def test_engines_agree(sampler, monitor):
    found = []
    for backend in ("fast", "reference"):
        solver = make(
            [rule := EarlyStopping(monitor, 3, 0.06), history := History()], dtype=np.float64, sampler=sampler
        )
        finished(solver, backend)
        found.append((solver.epoch, rule.best_epoch, rule._waited, history.values["epoch"], solver._state.stream[2]))
        assert solver.epoch < EPOCHS
    assert found[0] == found[1]


@pytest.mark.parametrize("monitor", MONITORS)
def test_the_reference_does_the_same_by_the_subclass(monitor):
    rule, other = EarlyStopping(monitor, 2, 0.03), Stopping(monitor, 2, 0.03)
    mine, theirs = finished(make(rule), "reference"), finished(make(other), "reference")
    require_same_training(mine, theirs)
    require_same_stopping(rule, other)
    assert mine.engine_ == "generic"


# ------------------------------------------------------------------------------------------- which run inside


def test_others_are_called_at_the_end_of_each_epoch():
    replaced = History()
    replaced.on_epoch_end = lambda run: None
    by_steps = EarlyStopping()
    by_steps.every = 3
    for callback in (
        Callback(), Stopping(), Rows(), replaced, by_steps, [History(), Rows()], EarlyStopping("seconds"),
        EarlyStopping(min_delta=np.float32(0.1)), fastfc.callbacks.CSVLogger("log.csv"),
    ):  # fmt: skip
        assert adapt(callback).rules() is None
    assert adapt([twice := EarlyStopping(), twice]).rules() is None
    assert adapt([History(), EarlyStopping("loss"), EarlyStopping()]).rules() is not None
    assert adapt(History()).rules() == adapt([]).rules() == []


def test_a_callback_of_ones_own_sees_every_epoch(calls):
    seen = []

    class Look(Callback):
        def on_epoch_end(self, run):
            seen.append({name: value.copy() for name, value in run.model.params.items()})

    finished(make([look := Look(), rule := EarlyStopping("loss", 10**6)]))
    assert isinstance(look, Callback)
    assert len(seen) == EPOCHS
    assert not calls
    require_same_arrays(rule._parameters, seen[rule.best_epoch - 1])
