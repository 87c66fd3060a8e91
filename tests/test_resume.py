"""Solver.save, Solver.resume and autosave: a training in parts equals the whole one bit for bit."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_lists import RULES

import fastfc
from fastfc import FullyConnectedNet, Solver, optim
from fastfc.classifiers.fc_net import TwoLayerNet

ROWS, FEATURES, CLASSES, BATCH = 41, 6, 3, 13
EPOCH = ROWS // BATCH


def make_data(dtype=np.float64):
    rng = np.random.default_rng(5)
    X = (10 * rng.standard_normal((ROWS, FEATURES))).astype(dtype)
    y = rng.integers(0, CLASSES, ROWS)
    return {"X_train": X, "y_train": y, "X_val": X[:11], "y_val": y[:11]}


def make_net(normalization="batchnorm", keep=0.6, dtype=np.float32, seed=None):
    np.random.seed(3)
    net = FullyConnectedNet(
        [7, 5], FEATURES, CLASSES, normalization=normalization, dropout_keep_ratio=keep, reg=0.1,
        weight_scale=0.3, dtype=dtype, seed=seed,
    )  # fmt: skip
    net.input_scale, net.class_names = 0.1, ["a", "b", "c"]
    return net


def make(epochs, rule="adam", net=None, **options):
    options = {"num_train_samples": 20, "num_val_samples": 7, "lr_decay": 0.9, "verbose": False, **options}
    return Solver(
        make_net() if net is None else net, make_data(), update_rule=rule, optim_config={"learning_rate": 0.02},
        batch_size=BATCH, num_epochs=epochs, **options,
    )  # fmt: skip


def state_of(solver):
    """All that a training is made of, with every bit of it."""
    model = solver.model
    return {
        "params": model.params,
        "bn_params": model.bn_params,
        "dropout_param": model.dropout_param,
        "dtype": np.dtype(model.dtype).name,
        "kind": type(model).__name__,
        "input_scale": model.input_scale,
        "class_names": model.class_names,
        "optim_configs": solver.optim_configs,
        "best_params": solver.best_params,
        "best_val_acc": solver.best_val_acc,
        "histories": [solver.loss_history, solver.train_acc_history, solver.val_acc_history],
        "epoch": solver.epoch,
        "engine": solver.engine_,
        "stream": np.random.get_state(),
    }


def assert_same(got, wanted, where="state"):
    if isinstance(wanted, dict):
        assert list(got) == list(wanted), where
        for name in wanted:
            assert_same(got[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, (list, tuple)):
        assert len(got) == len(wanted), where
        for i, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
            assert_same(mine, theirs, f"{where}[{i}]")
    elif isinstance(wanted, (np.ndarray, np.generic, float)):
        mine, theirs = np.asarray(got), np.asarray(wanted)
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), where
        assert mine.tobytes() == theirs.tobytes(), where
    else:
        assert got == wanted, where


def parted(path, *parts, elsewhere=False, **options):
    """Train for some epochs, save, read, train up to the next number of epochs, and so on."""
    solver = make(parts[0], **options)
    solver.train()
    for epochs in parts[1:]:
        solver.save(path)
        # Whatever happens in between is not part of the training.
        np.random.rand(3)
        solver.model.params["W1"][:] = 0
        solver = Solver.resume(path, make_data(), num_epochs=epochs)
        np.random.rand(3)
        solver.train()
    return state_of(solver)


def whole(epochs, **options):
    solver = make(epochs, **options)
    solver.train()
    return state_of(solver)


# ------------------------------------------------------------------------------------------- bit for bit


def test_a_solver_is_pickled_with_where_it_goes_on(tmp_path):
    """Of one that has trained its last parameters, of one that was read from a file the random stream of that file."""
    solver = make(2)
    solver.train()
    np.random.rand(3)
    pickle.loads(pickle.dumps(solver)).save(tmp_path / "run.npz")
    solver = pickle.loads(pickle.dumps(Solver.resume(tmp_path / "run.npz", make_data(), num_epochs=4)))
    np.random.rand(3)
    solver.train()
    assert_same(state_of(solver), whole(4))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule(rule, tmp_path, backend):
    assert_same(parted(tmp_path / "run.npz", 2, 5, rule=rule), whole(5, rule=rule))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_every_network(normalization, keep, dtype, tmp_path, backend):
    def net():
        return make_net(normalization, keep, dtype, seed=11 if normalization == "layernorm" else None)

    parts = parted(tmp_path / "run.npz", 1, 3, 4, net=net())
    assert_same(parts, whole(4, net=net()))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_is_kept(threads, tmp_path, monkeypatch):
    with fastfc.use_backend("fast"):
        wanted = whole(3, threads=threads)
        monkeypatch.setenv("FASTFC_NUM_THREADS", str(threads))
        solver = make(1)
        solver.train()
        solver.save(tmp_path / "run.npz")
        monkeypatch.setenv("FASTFC_NUM_THREADS", "7")
        solver = Solver.resume(tmp_path / "run.npz", make_data(), num_epochs=3)
        solver.train()
        assert solver.threads_ == threads
        assert_same(state_of(solver), wanted)


def test_two_layer_net(tmp_path, backend):
    def net():
        np.random.seed(2)
        return TwoLayerNet(FEATURES, 7, CLASSES, weight_scale=0.3, reg=0.01)

    parts = parted(tmp_path / "run.npz", 1, 3, net=net())
    assert parts["kind"] == "TwoLayerNet"
    assert_same(parts, whole(3, net=net()))


@given(
    parts=st.lists(st.integers(1, 3), min_size=2, max_size=4),
    rule=st.sampled_from(RULES),
    normalization=st.sampled_from([None, "batchnorm", "layernorm"]),
    keep=st.sampled_from([1, 0.5]),
    seed=st.none() | st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float32, np.float64]),
    lr_decay=st.sampled_from([1.0, 0.5, np.float32(0.9)]),
    samples=st.sampled_from([None, 5, 1000]),
    backend=st.sampled_from(["fast", "reference"]),
)
def test_any_parts_of_any_training(
    tmp_path_factory, parts, rule, normalization, keep, seed, dtype, lr_decay, samples, backend
):
    path = tmp_path_factory.getbasetemp() / "parts.npz"
    options = {"rule": rule, "lr_decay": lr_decay, "num_train_samples": samples, "num_val_samples": samples}
    ends = np.cumsum(parts).tolist()
    with fastfc.use_backend(backend):
        got = parted(path, *ends, net=make_net(normalization, keep, dtype, seed), **options)
        assert_same(got, whole(ends[-1], net=make_net(normalization, keep, dtype, seed), **options))


def test_from_any_iteration(tmp_path, backend):
    """A callback may save at any time, in the middle of an epoch too."""
    saved = {}

    def save(solver):
        path = tmp_path / f"{len(solver.loss_history)}.npz"
        solver.save(path)
        saved[len(solver.loss_history)] = path

    solver = make(3, callback=save)
    solver.train()
    wanted = state_of(solver)
    assert {1, EPOCH, 2 * EPOCH, 3 * EPOCH} <= set(saved)
    for done, path in saved.items():
        solver = Solver.resume(path, make_data())
        assert len(solver.loss_history) == done
        solver.train()
        assert_same(state_of(solver), wanted)


def test_before_the_first_iteration(tmp_path, backend):
    np.random.seed(8)
    solver = make(2)
    solver.save(tmp_path / "run.npz")
    solver.train()
    wanted = state_of(solver)
    solver = Solver.resume(tmp_path / "run.npz", make_data())
    assert solver.loss_history == []
    solver.train()
    assert_same(state_of(solver), wanted)


def test_saved_again_before_going_on(tmp_path):
    solver = make(2)
    solver.train()
    solver.save(tmp_path / "a.npz")
    np.random.rand(5)
    Solver.resume(tmp_path / "a.npz", make_data()).save(tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert a.files == b.files
        for name in a.files:
            if name != "options":
                assert a[name].tobytes() == b[name].tobytes()


def test_the_best_and_the_last_parameters_are_kept_apart(tmp_path):
    solver = make(4, num_val_samples=None)
    seen = []
    solver.callback = lambda s: seen.append(s.model.params["W1"].copy())
    solver.train()
    solver.best_params = {name: value + 1 for name, value in solver.best_params.items()}
    solver.save(tmp_path / "run.npz")
    other = Solver.resume(tmp_path / "run.npz", make_data())
    np.testing.assert_array_equal(other.model.params["W1"], seen[-1])
    assert_same(other.best_params, solver.best_params)
    other.train()
    # Nothing was left to do: the model has the best parameters, as after any training.
    assert_same(dict(other.model.params), solver.best_params)


# --------------------------------------------------------------------------------------------- processes

PROCESS = """
import json, os, sys
import numpy as np
sys.path[:0] = [sys.argv[1]]
from test_resume import *

def write(solver, path):
    np.savez(path, **{f"{name}": value for name, value in solver.model.params.items()},
             losses=np.array(solver.loss_history), draw=np.random.rand(4),
             moments=solver.optim_configs["W1"]["m"], mean=solver.model.bn_params[0]["running_mean"])
"""


def process(tmp_path, code, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS + code, str(Path(__file__).parent)], cwd=tmp_path, env=environment, **options
    )


def test_in_a_new_process(tmp_path):
    solver = make(2)
    solver.train()
    solver.save(tmp_path / "run.npz")
    child = process(
        tmp_path,
        "solver = Solver.resume('run.npz', make_data(), num_epochs=5)\nsolver.train()\nwrite(solver, 'new.npz')",
    )
    assert child.wait(120) == 0
    solver = make(5)
    solver.train()
    with np.load(tmp_path / "new.npz") as new:
        for name, value in solver.model.params.items():
            assert new[name].tobytes() == value.tobytes()
        assert new["losses"].tobytes() == np.array(solver.loss_history).tobytes()
        assert new["moments"].tobytes() == solver.optim_configs["W1"]["m"].tobytes()
        assert new["mean"].tobytes() == solver.model.bn_params[0]["running_mean"].tobytes()
        assert new["draw"].tobytes() == np.random.rand(4).tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_training_goes_on_from_its_last_epoch(tmp_path):
    child = process(
        tmp_path,
        "def tell(solver):\n    print(solver.epoch, flush=True)\n"
        "make(10**6, autosave='run.npz', callback=tell).train()",
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        for line in child.stdout:
            if int(line) >= 4:
                break
        child.send_signal(signal.SIGKILL)
    solver = Solver.resume(tmp_path / "run.npz", make_data())
    assert solver.epoch >= 3
    assert len(solver.loss_history) == solver.epoch * EPOCH
    assert solver.num_epochs == 10**6
    assert solver.autosave == tmp_path / "run.npz"
    epochs = solver.epoch + 2
    solver = Solver.resume(tmp_path / "run.npz", make_data(), num_epochs=epochs)
    solver.train()
    assert_same(state_of(solver), whole(epochs))


# ---------------------------------------------------------------------------------------------- autosave


def test_autosave_at_the_end_of_each_epoch(tmp_path, backend):
    path, seen = tmp_path / "run.npz", []

    def look(solver):
        if path.exists():
            seen.append(Solver.resume(path, make_data()).epoch)

    wanted = whole(3)
    solver = make(3, autosave=path, callback=look)
    solver.train()
    assert_same(state_of(solver), wanted)
    assert sorted(set(seen)) == [1, 2]
    assert os.listdir(tmp_path) == ["run.npz"]
    solver = Solver.resume(path, make_data())
    assert solver.epoch == 3
    solver.train()
    assert_same(state_of(solver), wanted)


def test_an_error_in_the_callback_comes_before_the_autosave(tmp_path):
    def stop(solver):
        if solver.epoch == 2:
            raise RuntimeError("enough")

    solver = make(3, autosave=tmp_path / "run.npz", callback=stop)
    with pytest.raises(RuntimeError, match="enough"):
        solver.train()
    assert Solver.resume(tmp_path / "run.npz", make_data()).epoch == 1


def test_autosave_is_refused_before_the_training(tmp_path):
    solver = make(1, autosave=tmp_path / "none" / "run.npz")
    with pytest.raises(FileNotFoundError, match="none"):
        solver.train()
    solver = make(1, autosave=tmp_path / "run.npz")
    solver.update_rule = lambda w, dw, config: (w, config)
    with pytest.raises(ValueError, match="update_rule"):
        solver.train()
    assert solver.loss_history == []


def test_the_generic_loop_saves_its_last_parameters(tmp_path):
    """A Solver with a method of its own goes through the generic loop; it can be saved all the same."""

    class Own(Solver):
        def _step(self):
            super()._step()

    solver = Own(make_net(), make_data(), num_epochs=1, batch_size=BATCH, verbose=False)
    solver.train()
    solver.save(tmp_path / "run.npz")
    again = Own.resume(tmp_path / "run.npz", make_data(), num_epochs=2)
    assert type(again) is Own
    again.train()
    assert again.engine_ == "generic"
    solver = Own(make_net(), make_data(), num_epochs=2, batch_size=BATCH, verbose=False)
    solver.train()
    assert_same(state_of(again), state_of(solver))


# ------------------------------------------------------------------------------------------ rules of users


def lookahead(w, dw, config=None):
    """A rule with a state of its own: an array, a NumPy number, counts, a flag, a string and None."""
    config = {} if config is None else config
    config.setdefault("learning_rate", 1e-2)
    config.setdefault("slow", w.copy())
    config.setdefault("scale", np.float32(0.9))
    config.setdefault("count", 0)
    config.setdefault("nested", {"flag": True, "word": "µ", "none": None})
    config["count"] += 1
    config["scale"] = config["scale"] * np.float32(1.001)
    w = w - config["learning_rate"] * config["scale"] * dw
    if config["count"] % 3 == 0:
        config["slow"] = config["slow"] + w.dtype.type(0.5) * (w - config["slow"])
        w = config["slow"].copy()
    return w, config


def test_rules_that_users_add(tmp_path, monkeypatch):
    monkeypatch.setattr(optim, "lookahead", lookahead, raising=False)
    path = tmp_path / "run.npz"
    got = parted(path, 2, 4, rule="lookahead")
    assert_same(got, whole(4, rule="lookahead"))
    assert got["engine"] == "generic"
    assert got["optim_configs"]["W1"]["nested"] == {"flag": True, "word": "µ", "none": None}
    monkeypatch.delattr(optim, "lookahead")
    with pytest.raises(ValueError, match=r"run\.npz.*rule 'lookahead' is not in fastfc\.optim"):
        Solver.resume(path, make_data())


@pytest.mark.parametrize(
    "value", [object(), [1.0], 1j, np.array([None]), np.array(["a"]), np.zeros(2, "M8[s]"), {1: 2}, {"a b": 1}]
)
def test_state_that_cannot_be_saved(value, tmp_path):
    solver = make(1)
    solver.optim_configs["W2"]["odd"] = value
    with pytest.raises(TypeError, match=r"optim_configs\.W2\.odd"):
        solver.save(tmp_path / "run.npz")
    assert os.listdir(tmp_path) == []


def test_models_that_cannot_be_saved(tmp_path):
    class Derived(FullyConnectedNet):
        pass

    with pytest.raises(TypeError, match="only FullyConnectedNet and TwoLayerNet can be saved, got Derived"):
        Solver(Derived([3], FEATURES, CLASSES), make_data(), autosave=tmp_path / "run.npz").train()
    net = make_net()
    net.params["further"] = np.zeros(3)
    with pytest.raises(ValueError, match="and no others"):
        make(1, net=net).save(tmp_path / "run.npz")
    assert os.listdir(tmp_path) == []


def test_another_bit_generator_cannot_be_saved(tmp_path):
    solver = make(1)
    before = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(1))
        solver.train()
        with pytest.raises(ValueError, match="MT19937"):
            solver.save(tmp_path / "run.npz")
    finally:
        np.random.set_bit_generator(before)


def test_an_interrupted_iteration_cannot_be_saved(tmp_path):
    def interrupted(*args):
        raise KeyboardInterrupt

    solver = make(2, autosave=tmp_path / "run.npz")
    solver.train()
    solver.check_accuracy = interrupted
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    before = (tmp_path / "run.npz").read_bytes()
    with pytest.raises(ValueError, match="interrupted"):
        solver.save(tmp_path / "run.npz")
    assert (tmp_path / "run.npz").read_bytes() == before


# ---------------------------------------------------------------------------------------------- arguments


@pytest.fixture
def path(tmp_path):
    solver = make(2, checkpoint_name=str(tmp_path / "c"), print_every=3)
    solver.checkpoint_name = None
    solver.train()
    solver.checkpoint_name = str(tmp_path / "c")
    solver.save(tmp_path / "run.npz")
    return tmp_path / "run.npz"


def test_what_may_change(path, tmp_path, capsys):
    calls = []
    solver = Solver.resume(
        str(path), make_data(), num_epochs=3, verbose=True, print_every=1, callback=calls.append, threads=1
    )
    assert solver.checkpoint_name == str(tmp_path / "c")
    solver.train()
    out = capsys.readouterr().out
    assert "(Iteration 7 / 9) loss: " in out
    assert "(Epoch 3 / 3) train acc: " in out
    assert "(Epoch 2 / 3)" not in out
    assert (tmp_path / "c_epoch_3.pkl").exists()
    assert set(calls) == {solver}
    for name in ("batch_size", "update_rule", "lr_decay", "wrong"):
        with pytest.raises(ValueError, match=f"got {name}"):
            Solver.resume(path, make_data(), **{name: 1})


def test_fewer_epochs_than_are_done(path):
    solver = Solver.resume(path, make_data(), num_epochs=1, checkpoint_name=None)
    solver.train()
    assert solver.epoch == 2
    assert len(solver.loss_history) == 2 * EPOCH


def test_a_second_call_goes_on_for_as_many_epochs_as_ever(path):
    solver = Solver.resume(path, make_data(), num_epochs=3, checkpoint_name=None)
    solver.train()
    solver.train()
    assert solver.epoch == 6


@pytest.mark.parametrize("name", ["X_train", "y_train", "X_val", "y_val"])
def test_other_data_are_refused(name, path):
    def other_dtype(a):
        return a.astype(np.float32 if a.dtype.kind == "f" else np.int8)

    for change in (lambda a: a[:-1], lambda a: 0 * a, other_dtype, lambda a: a[::-1]):
        data = make_data()
        data[name] = change(data[name])
        if len(data[name]) != len(make_data()[name]):
            other = name.translate(str.maketrans("Xy", "yX"))
            data[other] = change(data[other])
        with pytest.raises(ValueError, match=rf"was trained on, got other values in .*{name}"):
            Solver.resume(path, data)


def test_another_layout_of_the_data_is_not_other_data(path):
    data = make_data()
    data["X_train"] = np.asfortranarray(data["X_train"])
    assert Solver.resume(path, data).epoch == 2


def test_another_engine_is_said(path, caplog):
    with caplog.at_level(logging.WARNING, "fastfc"):
        Solver.resume(path, make_data(), num_epochs=3, checkpoint_name=None).train()
        assert caplog.records == []
        other = "reference" if fastfc.get_backend() == "fast" else "fast"
        with fastfc.use_backend(other):
            Solver.resume(path, make_data(), num_epochs=3, checkpoint_name=None).train()
    assert "equal up to rounding only" in caplog.text


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        Solver.resume(tmp_path / "none.npz", make_data())


def test_a_models_file_is_not_a_trainings(tmp_path):
    make_net().save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"model\.npz: not a fastfc training file"):
        Solver.resume(tmp_path / "model.npz", make_data())


def test_the_file_has_no_pickles(path):
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            assert file[name].dtype.kind in "biufU"
        options = json.loads(str(file["options"]))
    assert options["epoch"] == 2
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


#: Changes of a Solver with which no training could go on, and what the error names.
UNFIT = {
    "lr_decay": (lambda s: setattr(s, "lr_decay", None), "lr_decay"),
    "num_epochs": (lambda s: setattr(s, "num_epochs", 2.5), "num_epochs"),
    "sampler": (lambda s: setattr(s, "sampler", "all"), "sampler"),
    "argument": (lambda s: s.optim_config.update(learning_rate=np.nan), "optim_config"),
    "learning rate": (lambda s: s.optim_configs["W1"].update(learning_rate=np.nan), "learning_rate"),
    "state": (lambda s: s.optim_configs["W1"].update(m=np.zeros(3)), "'m'"),
    "configurations": (lambda s: s.optim_configs.pop("W1"), "optim_configs"),
    "best parameters": (lambda s: s.best_params.update(W1=np.zeros(3)), "best_params"),
    "no best parameter": (lambda s: s.best_params.pop("W1"), "best_params"),
    "a best parameter's kind": (lambda s: s.best_params.update(W1=None), "best_params"),
    "history": (lambda s: s.loss_history.append(None), "loss_history"),
    "rows in a history": (lambda s: setattr(s, "val_acc_history", [[1, 2]]), "val_acc_history"),
    "epoch": (lambda s: setattr(s, "epoch", -1), "epoch"),
    "the model's": (lambda s: s.model.dropout_param.update(p=0), "dropout_param"),
}


@pytest.mark.parametrize("change", UNFIT)
def test_what_no_training_could_go_on_with_is_not_saved(change, tmp_path):
    """The older file is as it was, and a training goes on from it."""
    path, (apply, named) = tmp_path / "run.npz", UNFIT[change]
    solver = make(1)
    solver.train()
    solver.save(path)
    before = path.read_bytes()
    apply(solver)
    with pytest.raises((TypeError, ValueError), match=named):
        solver.save(path)
    assert path.read_bytes() == before
    assert Solver.resume(path, make_data(), num_epochs=2, verbose=False).epoch == 1
