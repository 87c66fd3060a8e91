"""The Solver's pickled checkpoints, read back without executing anything in them."""

import os
import pickle
import struct
import subprocess

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, optim
from fastfc.classifiers.fc_net import TwoLayerNet
from fastfc.solver import load_checkpoint

X = np.random.RandomState(3).standard_normal((30, 6))
DATA = {"X_train": X, "y_train": np.arange(30) % 3, "X_val": X[:10], "y_val": np.arange(10) % 3}


def full_net(normalization="batchnorm", dtype=np.float32):
    net = FullyConnectedNet(
        [5, 4], 6, 3, normalization=normalization, dropout_keep_ratio=0.7, reg=0.5, dtype=dtype, seed=4
    )
    net.input_mean, net.input_scale, net.class_names = X.mean(axis=0), 0.5, ["a", "b", "µ"]
    net.notes = {"of": ["the user's", 1, None, np.arange(3)]}
    return net


def checkpoint(folder, net, rule="adam"):
    solver = Solver(
        net, DATA, update_rule=rule, optim_config={"learning_rate": 0.01}, num_epochs=2, batch_size=10,
        lr_decay=0.5, verbose=False, checkpoint_name=folder / "c",
    )  # fmt: skip
    solver.train()
    return folder / "c_epoch_2.pkl"


@pytest.mark.parametrize("rule", optim.DEFAULTS)
def test_every_rule(rule, tmp_path, backend):
    got = load_checkpoint(checkpoint(tmp_path, full_net(), rule))
    assert got["update_rule"] is getattr(optim, rule)
    assert got["optim_config"] == {"learning_rate": 0.01}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.dtype("f4"), "float64"])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_the_same_as_pickles_own(normalization, dtype, tmp_path, backend):
    """But for what the pickle says of how the network is stored in memory."""
    path = checkpoint(tmp_path, full_net(normalization, dtype))
    with open(path, "rb") as file:
        wanted = pickle.load(file)
    got = load_checkpoint(path)
    assert list(got) == list(wanted)
    for name in wanted:
        if name != "model":
            assert got[name] == wanted[name]
            assert type(got[name]) is type(wanted[name])
    mine, theirs = vars(got["model"]), vars(wanted["model"])
    assert set(mine) == set(theirs)
    for name in theirs:
        np.testing.assert_equal(mine[name], theirs[name], err_msg=name)
    assert got["model"].dtype == wanted["model"].dtype
    assert got["model"].params["W1"].dtype == wanted["model"].params["W1"].dtype
    np.testing.assert_array_equal(got["model"].loss(X), wanted["model"].loss(X))


def test_two_layer_net(tmp_path):
    net = TwoLayerNet(6, 5, 3)
    got = load_checkpoint(str(checkpoint(tmp_path, net)))
    assert type(got["model"]) is TwoLayerNet
    assert got["model"].params["W1"].dtype == np.float64
    np.random.seed(1)
    assert np.isfinite(got["model"].loss(X, DATA["y_train"])[0])


def test_the_histories_hold_numpys_numbers(tmp_path):
    got = load_checkpoint(checkpoint(tmp_path, full_net()))
    assert len(got["loss_history"]) == 6
    assert all(type(loss) is np.float32 for loss in got["loss_history"])
    assert len(got["val_acc_history"]) == 3


class OwnNet(FullyConnectedNet):
    pass


def own_rule(w, dw, config=None):
    return w, config


def test_models_and_rules_of_ones_own_are_refused(tmp_path, monkeypatch):
    path = checkpoint(tmp_path, OwnNet([5], 6, 3))
    with pytest.raises(ValueError, match=r"c_epoch_2\.pkl.*asks for .*OwnNet.*; only networks and rules"):
        load_checkpoint(path)
    monkeypatch.setattr(optim, "own_rule", own_rule, raising=False)
    net = full_net()
    path.write_bytes(pickle.dumps({"model": net, "update_rule": own_rule}, protocol=4))
    with pytest.raises(ValueError, match=r"asks for '.*own_rule'"):
        load_checkpoint(path)


class Reduced:
    """Pickles as a call of `function` on `arguments`, then BUILD with `state` if there is one."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def attributes(**changes):
    """A network whose pickle has other attributes."""
    net = full_net()
    for name, value in changes.items():
        vars(net)[name] = value
    return net


MODEL_ATTACKS = {
    "os.system": Reduced(os.system, "exit 3"),
    "eval": Reduced(eval, "open('harm', 'w')"),
    "popen": Reduced(subprocess.Popen, ["true"]),
    "getattr": Reduced(getattr, Reduced(__import__, "os"), "system"),
    "a function of fastfc": Reduced(fastfc.use_backend, "reference"),
    "load_model": Reduced(fastfc.load_model, "harm"),
    "the solver": Reduced(Solver, None, {}),
    "a rule called": Reduced(optim.adam, np.ones(1), np.ones(1)),
    "a network with arguments": Reduced(FullyConnectedNet, [10**6], 10**6),
    "numpy.load": Reduced(np.load, "harm"),
    "a scalar that is an object": Reduced(np.ones(1)[0].__reduce__()[0], np.dtype("O"), b"\0" * 8),
    "a scalar of another size": Reduced(np.ones(1)[0].__reduce__()[0], np.dtype("f8"), b"\0" * 4),
    "a method replaced": attributes(loss=1),
    "a class replaced": attributes(__class__=2),
    "a property replaced": attributes(params={}),
    "widths beyond the arrays": attributes(_dims=[6, 10**12, 4, 3]),
    "widths that are none": attributes(_dims=5),
    "no widths": attributes(_dims=[]),
    "widths of text": attributes(_dims="6543"),
    "negative widths": attributes(_dims=[6, -5, 4, 3]),
    "parameters that are none": attributes(_params={"W1": 3}),
    "parameters of text": attributes(_params={"W1": "abc"}),
    "a wrong dtype": attributes(dtype="O"),
    "a wrong ratio": attributes(dropout_param={"p": -1.0}),
    "a ratio that is no number": attributes(dropout_param={"p": float("nan")}),
    "a wrong seed": attributes(dropout_param={"p": 0.5, "seed": -1}),
    "a wrong strength": attributes(reg=float("inf")),
    "too few statistics": attributes(bn_params=[]),
    "statistics of another shape": attributes(bn_params=[{"running_mean": np.zeros(10)}, {}]),
    "statistics of text": attributes(bn_params=[{"eps": "1"}, {}]),
    "names that are none": attributes(class_names=[1, 2, 3]),
    "a mean of another width": attributes(input_mean=np.zeros(4)),
}


@pytest.mark.parametrize("name", MODEL_ATTACKS)
def test_attacks(name, tmp_path, monkeypatch):
    path = tmp_path / "c_epoch_1.pkl"
    path.write_bytes(pickle.dumps({"model": MODEL_ATTACKS[name], "epoch": 1}, protocol=4))
    monkeypatch.chdir(tmp_path)
    before, defaults = fastfc.get_backend(), optim.adam.__defaults__

    def forbidden(*args, **kwargs):
        raise AssertionError("the pickle ran something")

    monkeypatch.setattr(os, "system", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    with pytest.raises(ValueError, match=r"c_epoch_1\.pkl"):
        load_checkpoint(path)
    assert os.listdir(tmp_path) == ["c_epoch_1.pkl"]
    assert fastfc.get_backend() == before
    assert optim.adam.__defaults__ == defaults


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def asked(module, name):
    return text(module) + text(name) + b"\x93"


FC_NET = "fastfc.classifiers.fc_net"
STATES = {"attributes": b"}" + text("KIND") + b"Ns", "slots": b"N}" + text("__defaults__") + b"Ns\x86"}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fastfc.optim", "adam"),
        ("numpy", "float32"),
        ("fastfc.params", "_rebuild"),
        ("numpy._core.multiarray", "scalar"),
        (FC_NET, "FullyConnectedNet"),
        (FC_NET, "TwoLayerNet"),
    ],
)
def test_functions_and_classes_cannot_be_changed(module, name, state, tmp_path):
    path = tmp_path / "c.pkl"
    path.write_bytes(b"\x80\x04" + asked(module, name) + STATES[state] + b"b.")
    before = vars(optim.adam).copy(), optim.adam.__defaults__
    with pytest.raises(ValueError, match=r"c\.pkl"):
        load_checkpoint(path)
    assert (vars(optim.adam), optim.adam.__defaults__) == before
    assert FullyConnectedNet([2], 3, 2).params["W1"].dtype == np.float32
    assert type(load_checkpoint(checkpoint(tmp_path, TwoLayerNet(6, 5, 3)))["model"]) is TwoLayerNet


@pytest.mark.parametrize(
    "name", ["FullyConnectedNet.__init__", "FullyConnectedNet.loss.__globals__", "os", "json.loads", "load_model"]
)
def test_names_behind_names_are_refused(name, tmp_path):
    (tmp_path / "c.pkl").write_bytes(b"\x80\x04" + asked(FC_NET, name) + b".")
    with pytest.raises(ValueError, match="asks for"):
        load_checkpoint(tmp_path / "c.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x04N.",
        pickle.dumps({"epoch": 3}),
        pickle.dumps({"model": "net"}),
        pickle.dumps([1]),
        b"\x80\x04" + asked(FC_NET, "FullyConnectedNet") + b")\x81.",
        b"\x80\x04" + asked(FC_NET, "FullyConnectedNet") + b".",
        b"\x80\x04}" + text("model") + asked(FC_NET, "FullyConnectedNet") + b")\x81s.",
        # A network that holds itself.
        b"\x80\x04" + asked(FC_NET, "FullyConnectedNet") + b")\x81\x94}" + text("_params") + b"h\x00sb.",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
        b"\x80\x04\x8a\xff" + b"\xff" * 255 + b".",
    ],
)
def test_what_is_no_checkpoint(content, tmp_path):
    (tmp_path / "c.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.pkl"):
        load_checkpoint(tmp_path / "c.pkl")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        load_checkpoint(tmp_path / "none.pkl")
