"""The names of a training table's columns: kept in model files, training files and checkpoints, absent in old ones."""

import json
import pickle

import numpy as np
import pytest

from fastfc import FullyConnectedNet, Solver, load_model
from fastfc.solver import load_checkpoint

FEATURES = ["width", "height", "Größe (cm)"]


@pytest.fixture
def net():
    net = FullyConnectedNet([4], 3, 2)
    net.feature_names, net.target_name = list(FEATURES), "size"
    return net


def names(net):
    return net.feature_names, net.target_name


def data():
    X = np.random.RandomState(0).randn(20, 3)
    return {"X_train": X, "y_train": np.arange(20) % 2, "X_val": X, "y_val": np.arange(20) % 2}


def options_of(path):
    with np.load(path) as file:
        return json.loads(str(file["options"]))


def test_none_by_default(tmp_path):
    net = FullyConnectedNet([4], 3, 2)
    assert names(net) == (None, None)
    net.save(tmp_path / "net.npz")
    # As earlier versions wrote it, so that they can read it.
    assert not {"feature_names", "target_name"} & options_of(tmp_path / "net.npz").keys()
    assert names(load_model(tmp_path / "net.npz")) == (None, None)


def test_model_files(net, tmp_path):
    net.save(tmp_path / "net.npz")
    assert options_of(tmp_path / "net.npz")["feature_names"] == FEATURES
    assert names(load_model(tmp_path / "net.npz")) == (FEATURES, "size")
    other = FullyConnectedNet([4], 3, 2)
    other.load(tmp_path / "net.npz")
    assert names(other) == (FEATURES, "size")
    FullyConnectedNet([4], 3, 2).save(tmp_path / "nameless.npz")
    other.load(tmp_path / "nameless.npz")
    assert names(other) == (None, None)


def test_features_without_the_target(net, tmp_path):
    net.target_name = None
    net.save(tmp_path / "net.npz")
    assert names(load_model(tmp_path / "net.npz")) == (FEATURES, None)


def test_training_files(net, tmp_path):
    solver = Solver(net, data(), num_epochs=1, verbose=False)
    solver.train()
    solver.save(tmp_path / "run.npz")
    assert names(Solver.resume(tmp_path / "run.npz", data()).model) == (FEATURES, "size")


def test_checkpoints(net, tmp_path):
    solver = Solver(net, data(), num_epochs=1, verbose=False, checkpoint_name=str(tmp_path / "net"))
    solver.train()
    path = tmp_path / "net_epoch_1.pkl"
    assert names(load_checkpoint(path)["model"]) == (FEATURES, "size")
    assert names(pickle.loads(path.read_bytes())["model"]) == (FEATURES, "size")


def test_checkpoints_of_earlier_versions(net, tmp_path):
    for attribute in ("feature_names", "target_name"):
        delattr(net, attribute)
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"model": net}, 4))
    for old in (load_checkpoint(tmp_path / "old.pkl"), pickle.loads((tmp_path / "old.pkl").read_bytes())):
        assert names(old["model"]) == (None, None)
        old["model"].save(tmp_path / "net.npz")
        assert names(load_model(tmp_path / "net.npz")) == (None, None)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("feature_names", ["a", "b"], "feature_names: expected 3 strings"),
        ("feature_names", ["a", "b", 3], "feature_names: expected 3 strings"),
        ("feature_names", "abc", "feature_names: expected 3 strings"),
        ("target_name", 7, "target_name: expected a string, got 7"),
    ],
)
def test_names_that_do_not_fit(attribute, value, message, net, tmp_path):
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as file:
        arrays = dict(file)
    arrays["options"] = np.array(json.dumps({**json.loads(str(arrays["options"])), attribute: value}))
    np.savez(tmp_path / "damaged.npz", **arrays)
    with pytest.raises(ValueError, match=f"damaged.npz: not a fastfc model.*{message}"):
        load_model(tmp_path / "damaged.npz")
    setattr(net, attribute, value)
    with pytest.raises(ValueError, match=message):
        net.save(tmp_path / "other.npz")
    assert not (tmp_path / "other.npz").exists()
