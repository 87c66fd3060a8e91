"""Every later version reads the files that fastfc 0.1.0 wrote.

Everything in ``files_of_0_1`` was written by commit 027947a and is not to be written anew. ``expected.npz`` has
what that commit computed from it: examples X (30, 5), labels y (30,), the scores of every network, and the losses and
accuracies of two trainings. Commit 2ec2f3c wrote ``network.pkl``: a :class:`fastfc.Network` after a training pass,
a batch X, and the scores of the next two passes, the first in test mode.
"""

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc import Solver, layer_utils, layers, load_model, optim, tolerance
from fastfc.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from fastfc.solver import load_checkpoint

FOLDER = Path(__file__).parent / "files_of_0_1"
# Three layers of at most six terms each, and a batch of at most thirty rows for statistics.
TERMS = 100


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return dict(file)


def unpickled(name):
    with open(FOLDER / name, "rb") as file:
        return pickle.load(file)


def assert_scores(net, wanted, X):
    for backend in ("fast", "reference"):
        with fastfc.use_backend(backend):
            scores = net.loss(X)
        assert scores.dtype == wanted.dtype
        size = tolerance(wanted.dtype, TERMS) * 100 * np.abs(wanted).max()
        np.testing.assert_allclose(scores, wanted, rtol=0, atol=size)


@pytest.mark.parametrize(
    ("file", "kind", "normalization", "dtype"),
    [
        ("batchnorm.pkl", FullyConnectedNet, "batchnorm", np.float64),
        ("two_layers.pkl", TwoLayerNet, None, np.float64),
        ("layernorm.npz", FullyConnectedNet, "layernorm", np.float32),
        ("two_layers.npz", FullyConnectedNet, None, np.float64),
    ],
)
def test_networks(file, kind, normalization, dtype, expected):
    net = unpickled(file) if file.endswith(".pkl") else load_model(FOLDER / file)
    assert type(net) is kind
    assert net.normalization == normalization
    assert np.dtype(net.dtype) == dtype
    assert_scores(net, expected[f"{Path(file).stem}.scores"], expected["X"])


@pytest.mark.parametrize("load", [load_checkpoint, lambda path: unpickled(path.name)], ids=["fastfc", "pickle"])
def test_checkpoint(load, expected):
    checkpoint = load(FOLDER / "batchnorm_epoch_2.pkl")
    assert checkpoint["update_rule"] is optim.adam
    assert checkpoint["epoch"] == 2
    np.testing.assert_array_equal(checkpoint["loss_history"], expected["batchnorm.losses"])
    assert_scores(checkpoint["model"], expected["checkpoint.scores"], expected["X"])


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_training_goes_on(backend, expected, tmp_path):
    """From the second of four epochs. Losses differ by rounding, which grows by less than a factor of 2 a step."""
    X, y = expected["X"], expected["y"]
    data = {"X_train": X, "y_train": y, "X_val": X[:10], "y_val": y[:10]}
    shutil.copy(FOLDER / "training.npz", tmp_path / "training.npz")
    with fastfc.use_backend(backend):
        solver = Solver.resume(tmp_path / "training.npz", data)
        wanted = expected["training.losses"]
        np.testing.assert_array_equal(solver.loss_history, wanted[: len(wanted) // 2])
        assert solver.update_rule is optim.adamw
        solver.train()
    assert len(solver.loss_history) == len(wanted)
    bound = 2.0 ** (len(wanted) // 2) * tolerance(np.float64, 10 * TERMS)
    np.testing.assert_allclose(solver.loss_history, wanted, rtol=bound, atol=bound)
    np.testing.assert_array_equal(solver.val_acc_history, expected["training.val"])


def test_pickled_solver(expected):
    solver = unpickled("solver.pkl")
    np.testing.assert_array_equal(solver.loss_history, expected["training.losses"])
    solver.train()
    assert len(solver.loss_history) == 2 * len(expected["training.losses"])


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_pickled_network(backend):
    """Its running statistics are there, and dropout goes on where the random stream stood."""
    before = unpickled("network.pkl")
    net, X = before["network"], before["X"]
    assert repr(net) == "Network([6, 19, 7, 4], activation='tanh', normalization='batchnorm', dtype='float64')"
    # The chains of sums are along widths and rows; two layers divide by deviations of 0.1 and more.
    bound = 10**2 * tolerance(np.float64, 4 * (sum(net.dims) + len(X)))
    with fastfc.use_backend(backend):
        for mode, wanted in ((False, before["scores"]), (True, before["training_scores"])):
            np.testing.assert_allclose(net.forward(X, mode), wanted, rtol=0, atol=bound * np.abs(wanted).max())
        net.backward(before["training_scores"])
    assert np.abs(net.grads["W1"]).max() > 0


class _Recorder:
    """In the place of a pickled object; keeps its attributes."""

    def __setstate__(self, attributes):
        self.attributes = attributes


class _SolverAsRecorder(pickle.Unpickler):
    def find_class(self, module, name):
        return _Recorder if (module, name) == ("fastfc.solver", "Solver") else super().find_class(module, name)


def test_solvers_are_pickled_by_the_same_attributes():
    pickled = (FOLDER / "solver.pkl").read_bytes()
    before, after = (
        _SolverAsRecorder(io.BytesIO(text)).load().attributes
        for text in (pickled, pickle.dumps(pickle.loads(pickled), protocol=4))
    )
    assert set(after) == set(before)
    for name in ("_iterations", "_resumes", "_ran"):
        assert after[name] == before[name]
    for mine, theirs in zip(after["_left"][0].values(), before["_left"][0].values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(after["_left"][1][1], before["_left"][1][1])


def test_pickled_functions():
    """A function is pickled by its module and name: every rule, layer and block of then is still where it was."""
    of_0_1 = ["adagrad", "adam", "adamw", "nesterov", "rmsprop", "sgd", "sgd_momentum"]
    assert unpickled("rules.pkl") == [getattr(optim, name) for name in of_0_1]
    functions = unpickled("functions.pkl")
    assert {function.__name__ for function in functions} >= {"affine_forward", "affine_batchnorm_relu_dropout_backward"}
    assert all(
        function in {getattr(m, function.__name__, None) for m in (layers, layer_utils)} for function in functions
    )


@pytest.mark.parametrize("name", [name for name in layer_utils.__all__ if name.endswith("forward")])
def test_pickled_blocks(name):
    """Arguments, output, cache and gradients of a block: the same from the arguments, and from the old cache."""
    args, out, cache, grads = unpickled("blocks.pkl")[name]
    backward = getattr(layer_utils, name.replace("forward", "backward"))
    new_out, new_cache = getattr(layer_utils, name)(*args)
    assert len(new_cache) == len(cache)
    bound = 100 * tolerance(np.float64, TERMS)
    np.testing.assert_allclose(new_out, out, rtol=bound, atol=bound)
    for got in (backward(np.ones_like(out), cache), backward(np.ones_like(out), new_cache)):
        assert len(got) == len(grads)
        for a, b in zip(got, grads, strict=True):
            np.testing.assert_allclose(a, b, rtol=bound, atol=bound)
