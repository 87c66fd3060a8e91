"""Sweeps: which trainings there are, their results on every executor, their file, and what goes wrong in them."""

import importlib
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, load_model, schedules
from fastfc.sweeps import SweepInterrupted
from fastfc.sweeps._journal import opened
from fastfc.sweeps._options import plain

ROWS, FEATURES, CLASSES = 90, 5, 3
GRID = {
    "hidden_dims": [[7], (6, 4)],
    "normalization": [None, "batchnorm"],
    "dropout_keep_ratio": 0.8,
    "update_rule": "adam",
    "learning_rate": [0.01, 0.05],
    "batch_size": 20,
    "num_epochs": 4,
}
WITHOUT_COMPILER = bool(importlib.import_module("numba").config.DISABLE_JIT)


def data_of(rows=ROWS, dtype=np.float32):
    rng = np.random.default_rng(3)
    y = rng.integers(0, CLASSES, rows)
    X = (rng.standard_normal((rows, FEATURES)) + y[:, None]).astype(dtype)
    cut = 2 * rows // 3
    return {"X_train": X[:cut], "y_train": y[:cut], "X_val": X[cut:], "y_val": y[cut:]}


DATA = data_of()


# ---------------------------------------------------------------------------- which trainings


def test_a_grid_a_list_and_a_sampler():
    grid = fastfc.sweep({"hidden_dims": [[4], [5]], "num_epochs": 1}, DATA, seeds=[3, 8])
    assert [(trial.options["hidden_dims"], trial.seed) for trial in grid.trials] == [
        ([4], 3), ([4], 8), ([5], 3), ([5], 8),
    ]  # fmt: skip
    options = [{"hidden_dims": [4], "num_epochs": 1}, {"hidden_dims": [5], "num_epochs": 1}]
    assert fastfc.sweep(options, DATA, seeds=[3, 8]) == grid
    # Twice the same training is one.
    assert fastfc.sweep(iter(options + options), DATA, seeds=[3, 8]) == grid
    drawn = fastfc.sweep(lambda rng: {"learning_rate": 10 ** rng.uniform(-3, -1), "num_epochs": 1}, DATA, count=3)
    rates = [trial.options["learning_rate"] for trial in drawn.trials]
    rng = np.random.default_rng(0)
    assert rates == [10 ** rng.uniform(-3, -1) for _ in range(3)]


@pytest.mark.parametrize(
    ("trainings", "arguments", "error", "text"),
    [
        ({"hiden_dims": [[4]]}, {}, ValueError, "hiden_dims"),
        ({"momentum": 0.9}, {}, ValueError, "momentum"),
        ({"optim_config": {"momentum": 0.9}}, {}, ValueError, "momentum"),
        ({"hidden_dims": [[4], [0]]}, {}, ValueError, "hidden_dims"),
        ({"learning_rate": ["fast"]}, {}, TypeError, "learning_rate"),
        ({"update_rule": ["sgd", "sdg"]}, {}, ValueError, "update_rule"),
        ({"num_epochs": 0}, {}, ValueError, "num_epochs"),
        ({"batch_size": 0}, {}, ValueError, "batch_size"),
        ({"schedule": "cosines"}, {}, ValueError, "schedule"),
        ({"schedule": "plateau"}, {}, ValueError, "schedule: expected one that goes by steps"),
        ({"sampler": "any"}, {}, ValueError, "sampler"),
        ({"initializer": "zeros"}, {}, ValueError, "initializer"),
        ({"weight_scale": -1}, {}, ValueError, "weight_scale"),
        ({"loss": "hinge"}, {}, ValueError, "loss"),
        ({"input_dim": 4}, {}, ValueError, "input_dim"),
        ({"num_classes": 2}, {}, ValueError, "labels from 0 to 1"),
        ({"hidden_dims": []}, {}, ValueError, "hidden_dims"),
        ({"hidden_dims": [object()]}, {}, TypeError, "hidden_dims"),
        ([], {}, ValueError, "trainings"),
        ([3], {}, TypeError, "trainings"),
        ("grid", {}, TypeError, "trainings"),
        (3, {}, TypeError, "trainings"),
        (lambda rng: {}, {}, ValueError, "count"),
        ({}, {"count": 3}, ValueError, "count: expected None with a grid"),
        ({}, {"seeds": 0}, ValueError, "seeds"),
        ({}, {"seeds": [-1]}, ValueError, "seeds"),
        ({}, {"seeds": [2**32]}, ValueError, "seeds"),
        ({}, {"seeds": []}, ValueError, "seeds"),
        ({}, {"seeds": [1, 2, 1]}, ValueError, "seeds: expected each one once, got 1 2 times"),
        ({}, {"seeds": True}, TypeError, "seeds: expected an integer, got True"),
        ({}, {"halving": 3}, TypeError, "halving: expected True or False, got 3"),
        ({}, {"executor": 3}, TypeError, "executor"),
        ({}, {"train": 3}, TypeError, "train"),
        ({}, {"check_every": 0}, ValueError, "check_every"),
        ({}, {"factor": 1}, ValueError, "factor"),
        ({}, {"min_epochs": 2}, ValueError, "min_epochs: expected 1 without halving, got 2"),
        ({}, {"factor": 2}, ValueError, "factor: expected 3 without halving, got 2"),
        ({"standardize_targets": 1}, {}, ValueError, "standardize_targets: expected True or False"),
        ({"standardize_targets": True}, {}, ValueError, "standardize_targets: expected False with the loss 'softmax'"),
        ({}, {"maximize": False}, ValueError, "maximize"),
        ({}, {"halving": True, "train": print}, ValueError, "halving"),
        ({"learning_rate": [0.1], "optim_config": {"learning_rate": 0.2}}, {}, ValueError, "learning_rate: .* in both"),
        ({"schedule": type("Own", (), {"factors": len})()}, {}, TypeError, "schedule: expected a value that JSON"),
        ({"seed": [1, 2]}, {"train": print}, ValueError, "trainings: expected no option 'seed'"),
        ({"f": [lambda: 1, lambda: 2]}, {"train": print}, ValueError, "trainings: expected functions of different n"),
        ({}, {"data_folder": 3}, TypeError, "data_folder: expected a path, got 3"),
        ({}, {"executor": lambda: None}, TypeError, "executor: .* got one that made None"),
    ],
)
def test_errors_come_before_anything_runs(trainings, arguments, error, text, tmp_path):
    with pytest.raises(error, match=text):
        fastfc.sweep(trainings, DATA, file=tmp_path / "sweep.jsonl", **arguments)
    assert not list(tmp_path.iterdir()) or "executor" in arguments


def test_options_that_json_does_not_tell_apart():
    """Infinities, NaN and None, which are one value there."""

    def train(options, seed, data):
        return {None: 1.0, math.inf: 2.0, np.sin: 3.0}.get(options["k"], 4.0)

    values = [None, math.nan, math.inf, -math.inf, np.sin, np.cos, np.sin]
    result = fastfc.sweep({"k": values}, None, train=train, seeds=2)
    assert [trial.score for trial in result.trials[::2]] == [1.0, 4.0, 2.0, 4.0, 3.0, 4.0]
    assert sorted(row["mean"] for row in result.over_seeds()) == [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]


def test_networks_have_the_names_of_a_tables_columns():
    pandas = pytest.importorskip("pandas")
    names = list("vwxyz")
    frames = {key: pandas.DataFrame(DATA[key], columns=names) for key in ("X_train", "X_val")}
    net = fastfc.sweep({"num_epochs": 1}, DATA | frames).best_network()
    assert net.feature_names == names
    with pytest.raises(ValueError, match="X: expected the columns of feature_names"):
        net.predict(frames["X_val"][names[::-1]])
    own = fastfc.sweep({"num_epochs": 1}, DATA | frames | {"feature_names": list("abcde")}).best_network()
    assert own.feature_names == list("abcde")
    assert fastfc.sweep({"num_epochs": 1}, DATA).best_network().feature_names is None


def test_a_class_with_a_name_needs_no_example():
    net = fastfc.sweep({"num_epochs": 1}, DATA | {"class_names": list("abcd")}).best_network()
    assert (net.dims[-1], net.class_names) == (4, list("abcd"))


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"y_val": DATA["y_val"] + 0.5}, TypeError, "y_val: expected integer labels"),
        ({"X_train": None}, TypeError, "X_train"),
        ({"feature_names": ["a", "b"]}, ValueError, "feature_names: expected 5 names"),
        ({"class_names": ["a", "b"]}, ValueError, "class_names: expected 3 names, one per class, got"),
        ({"y_train": DATA["y_train"][:-1]}, ValueError, "as many targets"),
        ({"X_val": DATA["X_val"][:, :-1]}, ValueError, "one shape"),
        ({"X_val": DATA["X_val"][:0], "y_val": DATA["y_val"][:0]}, ValueError, "X_val"),
        ({"y_train": DATA["y_train"] + 0.5}, TypeError, "y"),
    ],
)
def test_data_that_do_not_fit(changed, error, text):
    with pytest.raises(error, match=text):
        fastfc.sweep({}, {**DATA, **changed})
    with pytest.raises(ValueError, match="y_val"):
        fastfc.sweep({}, {name: DATA[name] for name in ("X_train", "y_train", "X_val")})
    with pytest.raises(TypeError, match="data"):
        fastfc.sweep({}, [1, 2])


# ---------------------------------------------------------------------------- their results


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_a_training_is_the_solvers(normalization, keep):
    """With the Solver's batches and the same seed it has the same losses, score and parameters."""
    options = {
        "hidden_dims": [8, 6], "normalization": normalization, "dropout_keep_ratio": keep, "weight_scale": 0.3,
        "reg": 0.01, "dtype": np.float64, "update_rule": "sgd_momentum", "learning_rate": 0.05, "momentum": 0.8,
        "batch_size": 20, "num_epochs": 5, "sampler": "replacement", "schedule": schedules.Cosine(), "max_norm": 0.9,
    }  # fmt: skip
    result = fastfc.sweep([options], DATA, seeds=[4], check_every=1)
    np.random.seed(4)
    net = FullyConnectedNet([8, 6], FEATURES, CLASSES, keep, normalization, 0.01, 0.3, np.float64)
    solver = Solver(
        net, DATA, update_rule="sgd_momentum", optim_config={"learning_rate": 0.05, "momentum": 0.8}, batch_size=20,
        num_epochs=5, num_train_samples=0, verbose=False, schedule=schedules.Cosine(), max_norm=0.9, threads=1,
    )  # fmt: skip
    with fastfc.use_backend("fast"):
        solver.train()
    trial = result.best
    means = np.mean(np.reshape(solver.loss_history, (5, 3)), axis=1)
    np.testing.assert_allclose(trial.result["losses"], means, rtol=fastfc.tolerance(np.float64, 6))
    assert [score for _, score in trial.result["scores"]] == solver.val_acc_history[1:]
    if max(solver.val_acc_history) > solver.val_acc_history[0]:
        np.testing.assert_array_equal(result.best_network().params.flat, net.params.flat)
        # The Solver leaves the running statistics at those of the last step.
        best = np.mean(result.best_network().predict(DATA["X_val"]) == DATA["y_val"])
        assert best == trial.score == solver.best_val_acc


def test_other_losses_and_options():
    targets = {**DATA, "y_train": DATA["X_train"][:, :2], "y_val": DATA["X_val"][:, :2]}
    options = {
        "loss": ["squared", "huber"], "activation": "tanh", "hidden_dims": [[12]], "initializer": "glorot_uniform",
        "standardize": True, "update_rule": "adam", "learning_rate": 0.02, "num_epochs": 60, "batch_size": 10,
        "lr_decay": 0.98, "max_value": 1.0,
    }  # fmt: skip
    result = fastfc.sweep(options, targets)
    assert all(trial.score > 0.8 for trial in result.trials)
    net = result.best_network()
    np.testing.assert_allclose(net.input_mean, DATA["X_train"].mean(axis=0, dtype=np.float64))
    with pytest.raises(ValueError, match="y_train"):
        fastfc.sweep({"loss": "logistic"}, targets)


@pytest.mark.parametrize("power", [-600, 600])
def test_features_of_any_scale_in_float64(power):
    options = {"standardize": True, "dtype": np.float64, "hidden_dims": [[12]], "num_epochs": 5}
    data = {key: value.astype(np.float64) if key.startswith("X") else value for key, value in DATA.items()}
    scaled = {key: value * 2.0**power if key.startswith("X") else value for key, value in data.items()}
    # Powers of two are exact.
    expected = fastfc.sweep(options, data).trials[0]
    assert fastfc.sweep(options, scaled).trials[0].score == expected.score
    tiny = {key: value * 2.0**-140 if key.startswith("X") else value for key, value in data.items()}
    (trial,) = fastfc.sweep(options | {"dtype": np.float32}, tiny).trials
    assert "expected numbers whose deviation is within the range of float32" in trial.error


def test_targets_of_any_scale():
    """Trained on standardized targets, a network predicts in the units of the data."""
    y = 1e6 + 5e3 * DATA["X_train"][:, :2].astype(np.float64) * [1, 0.01]
    far = {**DATA, "y_train": y, "y_val": 1e6 + 5e3 * DATA["X_val"][:, :2].astype(np.float64) * [1, 0.01]}
    options = {
        "loss": "squared", "hidden_dims": [[12]], "initializer": "glorot_uniform", "standardize": True,
        "batch_size": 10, "standardize_targets": True, "update_rule": "adam", "learning_rate": 0.02, "num_epochs": 60,
        "dtype": "float64",
    }  # fmt: skip
    result = fastfc.sweep(options, far)
    assert result.best.score > 0.8
    errors = result.best_network().predict(far["X_val"]) - far["y_val"]
    assert np.all(np.std(errors, axis=0) < 0.5 * np.std(far["y_val"], axis=0))
    # A scale that float64 rounds little is no other training.
    mean, deviation = y.mean(axis=0), y.std(axis=0)
    near = {**far, "y_train": (y - mean) / deviation, "y_val": (far["y_val"] - mean) / deviation}
    plain_result = fastfc.sweep({**options, "standardize_targets": False}, near)
    assert plain_result.best.result["losses"] == result.best.result["losses"]
    # Continued trainings are those of the whole.
    halved = fastfc.sweep({**options, "learning_rate": [0.02, 1e-6, 1e-5]}, far, halving=True, min_epochs=20)
    assert halved.best.result["parameters"] == result.best.result["parameters"]


def test_weights_of_examples():
    weights = (DATA["y_train"] > 0).astype(np.float64)
    options = {"hidden_dims": [[6]], "num_epochs": 3, "batch_size": 60, "sampler": "order"}
    weighted = fastfc.sweep(options, {**DATA, "weights_train": weights}, lambda: ThreadPoolExecutor(1))
    kept = weights > 0
    some = {**DATA, "X_train": DATA["X_train"][kept], "y_train": DATA["y_train"][kept]}
    expected = fastfc.sweep({**options, "num_classes": CLASSES}, some).best.result["losses"]
    bound = fastfc.tolerance(np.float32, 3 * 200)
    np.testing.assert_allclose(weighted.best.result["losses"], expected, rtol=bound)
    with pytest.raises(ValueError, match="weights_train"):
        fastfc.sweep(options, {**DATA, "weights_train": -weights})


def test_neither_threads_nor_order_nor_the_global_stream_matter():
    np.random.seed(1)
    expected = np.random.RandomState(1).random_sample(3)
    alone = fastfc.sweep(GRID, DATA, ThreadPoolExecutor(1), seeds=2, check_every=1)
    many = fastfc.sweep(GRID, DATA, ThreadPoolExecutor(4), seeds=2, check_every=1)
    np.testing.assert_array_equal(np.random.random_sample(3), expected)
    assert alone == many
    assert alone.complete
    assert len(alone.trials) == 16
    one = [trial.options for trial in alone.trials[::-2]]
    assert fastfc.sweep(one, DATA, seeds=2, check_every=1).trials[::2] == alone.trials[-2::-2]
    np.testing.assert_array_equal(alone.best_network().params.flat, many.best_network().params.flat)


def process_pools():
    yield pytest.param(lambda: ProcessPoolExecutor(2, multiprocessing.get_context("spawn")), id="spawn")
    if sys.platform == "linux" and sys.version_info < (3, 12):
        # Later a fork beside threads is a warning, and there are threads in this process.
        yield pytest.param(lambda: ProcessPoolExecutor(2, multiprocessing.get_context("fork")), id="fork")
    yield pytest.param(loky, id="loky")


def loky():
    external = pytest.importorskip("joblib.externals.loky", reason="joblib is not installed")
    return external.get_reusable_executor(max_workers=2)


@pytest.mark.skipif(WITHOUT_COMPILER, reason="too slow without the compiler")
@pytest.mark.parametrize("pool", list(process_pools()))
@pytest.mark.parametrize("rows", [ROWS, 3000])
def test_processes(pool, rows, tmp_path):
    """Large data are in files that the workers map; small ones are sent."""
    data = data_of(rows)
    grid = {**GRID, "num_epochs": 2}
    expected = fastfc.sweep(grid, data, check_every=1)
    found = fastfc.sweep(grid, data, pool, check_every=1, data_folder=tmp_path)
    assert found == expected
    assert found.best_network().params.flat.tobytes() == expected.best_network().params.flat.tobytes()
    assert not list(tmp_path.iterdir())


class Elsewhere:
    """An executor whose workers do not see this machine's files, or one that is broken from the start."""

    def __init__(self, error=None):
        self.error, self.pool = error, ThreadPoolExecutor(1)

    def submit(self, function, work, data):
        if self.error is not None:
            raise self.error
        shutil.rmtree(data.folder)
        return self.pool.submit(function, work, data)

    def shutdown(self, wait):
        self.pool.shutdown(wait)


def test_workers_that_do_not_see_the_data():
    with pytest.raises(RuntimeError, match="data_folder: expected a folder that all workers can read"):
        fastfc.sweep({"num_epochs": 1}, data_of(3000), Elsewhere)


def test_executors_that_are_all_broken():
    with pytest.raises(BrokenExecutor, match="no workers"):
        fastfc.sweep({"num_epochs": 1}, DATA, lambda: Elsewhere(BrokenExecutor("no workers")))


def test_an_executor_stays_open_and_one_of_a_function_is_shut_down():
    with ThreadPoolExecutor(2) as pool:
        fastfc.sweep({"num_epochs": 1}, DATA, pool)
        assert pool.submit(int, 3).result() == 3
    made = []
    fastfc.sweep({"num_epochs": 1}, DATA, lambda: made.append(ThreadPoolExecutor(1)) or made[-1])
    with pytest.raises(RuntimeError):
        made[0].submit(int, 3)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_training_that_diverges_is_the_worst():
    result = fastfc.sweep({"learning_rate": [1e30, 1e-2], "num_epochs": 3, "reg": 1.0}, DATA)
    assert np.isnan(result.trials[0].score)
    assert result.trials[0].error is None
    assert result.best is result.trials[1]
    json.dumps(result.trials[0].result, allow_nan=False)
    lost = fastfc.sweep({"learning_rate": [1e30], "num_epochs": 3, "reg": 1.0}, DATA)
    with pytest.raises(ValueError, match="no training with a score"):
        lost.best_network()


# ---------------------------------------------------------------------------- your own function


def product(options, seed, data):
    if options["a"] == 3:
        raise ArithmeticError("three is\nnot allowed")
    return {"score": options["a"] * 10 + seed, "seen": np.arange(2), "rows": len(data["X_train"]), "nan": np.nan}


def test_a_function_of_your_own():
    result = fastfc.sweep({"a": [1, 3, 2]}, DATA, train=product, seeds=2)
    assert [trial.error for trial in result.trials] == [
        None,
        None,
        *["ArithmeticError: three is not allowed"] * 2,
        None,
        None,
    ]
    assert result.best.result == {"score": 21, "seen": [0, 1], "rows": 60, "nan": None}
    assert fastfc.sweep({"a": [1, 3, 2]}, DATA, train=product, seeds=2, maximize=False).best.score == 10
    with pytest.raises(ValueError, match="a function of your own"):
        result.best_network()
    near = fastfc.sweep({"x": [1.0, 2.0]}, None, train=lambda options, seed, data: -abs(options["x"] - 2))
    assert near.best.options == {"x": 2.0}
    bad = fastfc.sweep({"x": 1}, None, train=lambda options, seed, data: "good")
    assert "expected a number as the score" in bad.trials[0].error


# ---------------------------------------------------------------------------- successive halving


def test_halving_continues_trainings():
    grid = {**GRID, "num_epochs": 9, "learning_rate": [0.01, 0.02, 0.05]}
    whole = fastfc.sweep(grid, DATA, seeds=2, check_every=1)
    halved = fastfc.sweep(grid, DATA, seeds=2, check_every=1, halving=True)
    epochs = [trial.result["epochs"] for trial in halved.trials]
    assert sorted(epochs) == [1] * 16 + [3] * 4 + [9] * 4
    for mine, full in zip(halved.trials, whole.trials, strict=True):
        n = mine.result["epochs"]
        assert mine.result["losses"] == full.result["losses"][:n]
        assert mine.result["scores"] == full.result["scores"][:n]
        if n == 9:
            assert mine == full
    # The better ones went on, by the mean over their seeds.
    after = {json.dumps(t.options): [] for t in whole.trials}
    for trial in whole.trials:
        after[json.dumps(trial.options)].append(max(score for _, score in trial.result["scores"][:1]))
    stayed = {json.dumps(t.options) for t, n in zip(halved.trials, epochs, strict=True) if n > 1}
    means = {key: np.mean(scores) for key, scores in after.items()}
    assert min(means[key] for key in stayed) >= max(mean for key, mean in means.items() if key not in stayed)


def test_the_scores_by_which_halving_compares_count():
    grid = {"hidden_dims": (7,), "learning_rate": [0.2, 0.5, 1.0], "num_epochs": 9, "batch_size": 5}
    whole = fastfc.sweep(grid, DATA, seeds=4, check_every=1)
    halved = fastfc.sweep(grid, DATA, seeds=4, halving=True)
    best_before_the_end = 0
    for mine, full in zip(halved.trials, whole.trials, strict=True):
        n = mine.result["epochs"]
        expected = [full.result["scores"][epoch - 1] for epoch in (1, 3, 9) if epoch <= n]
        assert mine.result["scores"] == expected
        assert mine.score == max(score for _, score in expected)
        best_before_the_end += mine.result["best_epoch"] < n
    assert best_before_the_end > 0


def test_halving_goes_on_from_its_file(tmp_path):
    """Those of the first rung are recorded; where a training stood is not, and it comes to the same again."""
    file = tmp_path / "sweep.jsonl"
    grid = {**GRID, "num_epochs": 5}
    whole = fastfc.sweep(grid, DATA, seeds=2, halving=True, factor=2, file=file)
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 16 + 8 + 4 + 2
    file.write_bytes(b"".join(lines[:20]))
    again = fastfc.sweep(grid, DATA, seeds=2, halving=True, factor=2, file=file)
    assert again == whole
    np.testing.assert_array_equal(again.best_network().params.flat, whole.best_network().params.flat)
    assert len(file.read_bytes().splitlines()) == len(lines)


# ---------------------------------------------------------------------------- the file


def test_a_sweep_goes_on_from_its_file(tmp_path):
    file = tmp_path / "sweep.jsonl"
    whole = fastfc.sweep(GRID, DATA, file=file)
    best = load_model(f"{file}.best.npz")
    np.testing.assert_array_equal(best.params.flat, whole.best_network().params.flat)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({record["key"] for record in records[1:]}) == len(records) - 1 == 8
    # A line that was cut off is run again, the others are not; the best one's network is made anew.
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    os.remove(f"{file}.best.npz")
    again = fastfc.sweep(GRID, DATA, file=file)
    assert again == whole
    after = [json.loads(line) for line in file.read_text().splitlines()]
    assert after[:-1] == records[:-1]
    np.testing.assert_array_equal(again.best_network().params.flat, best.params.flat)
    more = fastfc.sweep({**GRID, "learning_rate": [0.01, 0.05, 0.002]}, DATA, file=file)
    assert len(file.read_text().splitlines()) == 13
    assert more.best.score >= whole.best.score


def test_files_of_something_else(tmp_path):
    file = tmp_path / "sweep.jsonl"
    grid = {"num_epochs": 1}
    fastfc.sweep(grid, DATA, file=file)
    before = file.read_bytes()
    for data, options, text in (
        (data_of(60), {}, "X_train is float32 (60, 5) there and float32 (40, 5) here, X_val is float32 (30, 5) there"),
        (data_of(dtype=np.float64), {}, "X_train is float32 (60, 5) there and float64 (60, 5) here, X_val"),
        ({**DATA, "y_val": DATA["y_val"][::-1].copy()}, {}, "sweep: y_val has other values; this one needs"),
        ({**DATA, "weights_train": np.ones(60)}, {}, "weights_train is in one of them only"),
        (DATA, {"check_every": 1}, "check_every is none there and 1 here"),
        (DATA, {"halving": True}, "halving is none there and by a factor of 3 from 1 epochs on here"),
        (DATA, {"train": deadly}, "train is fastfc there and test_sweep.deadly here"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            fastfc.sweep(grid, data, file=file, **options)
    assert file.read_bytes() == before
    file.write_bytes(before + b"{broken\n{}\n")
    with pytest.raises(ValueError, match="line 3"):
        fastfc.sweep(grid, DATA, file=file)
    for other in (b"", b"a,b\n", b"{}\n", b"[]\n"):
        file.write_bytes(other)
        with pytest.raises(ValueError, match="file"):
            fastfc.sweep(grid, DATA, file=file)
    assert file.read_bytes() == b"[]\n"
    with pytest.raises(FileNotFoundError):
        fastfc.sweep(grid, DATA, file=tmp_path / "none" / "sweep.jsonl")
    with pytest.raises(TypeError, match="file: expected a path, got 3"):
        fastfc.sweep(grid, DATA, file=3)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_one_sweep_at_a_time(tmp_path):
    file = tmp_path / "sweep.jsonl"

    def nested(options, seed, data):
        fastfc.sweep({"num_epochs": 1}, DATA, file=file)

    assert "another process runs this sweep" in fastfc.sweep({"x": 1}, None, train=nested, file=file).trials[0].error


FORKED = """
import os, signal, time
from fastfc.sweeps._journal import opened
with opened({file!r}, {{"data": {{}}}}):
    begun, begins = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begins, b"!")
        time.sleep(60)
        os._exit(0)
    os.read(begun, 1)
    print(child, flush=True)
    {end}
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_worker_that_outlives_its_sweep_does_not_lock_the_file(end, tmp_path):
    program = FORKED.format(file=str(tmp_path / "sweep.jsonl"), end=end)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        worker = int(process.stdout.readline())
        process.wait()
        try:
            with opened(tmp_path / "sweep.jsonl", {"data": {}}) as journal:
                assert journal.records == {}
        finally:
            os.kill(worker, signal.SIGKILL)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_one_pool_for_two_sweeps_with_one_file(tmp_path):
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        results = [fastfc.sweep({"num_epochs": 1}, DATA, pool, file=tmp_path / "sweep.jsonl") for _ in range(2)]
    assert results[0] == results[1]


# ---------------------------------------------------------------------------- deaths and interrupts


def deadly(options, seed, data):
    """Dies the first time, or each time, as the options say."""
    marker = Path(options["folder"]) / str(options["a"])
    if (options["a"] == 2 and not marker.exists()) or options["a"] == 5:
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return options["a"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.skipif(WITHOUT_COMPILER, reason="too slow without the compiler")
def test_a_worker_that_dies_costs_its_training_a_retry(tmp_path):
    grid = {"a": [0, 1, 2, 3, 4, 5, 6, 7], "folder": str(tmp_path)}
    spawn = multiprocessing.get_context("spawn")
    result = fastfc.sweep(grid, None, lambda: ProcessPoolExecutor(2, spawn), train=deadly)
    scores = [trial.score for trial in result.trials]
    assert scores[:5] + scores[6:] == [0, 1, 2, 3, 4, 6, 7]
    assert result.trials[5].error.startswith("its worker died: BrokenProcessPool")
    with ProcessPoolExecutor(2, spawn) as pool, pytest.raises(RuntimeError, match="a function that makes an executor"):
        fastfc.sweep(grid, None, pool, train=deadly)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
@pytest.mark.parametrize("executor", [None, lambda: ThreadPoolExecutor(3)])
def test_ctrl_c_leaves_what_is_finished(executor, tmp_path):
    file = tmp_path / "sweep.jsonl"

    def interrupt():
        while not file.exists() or file.read_bytes().count(b"\n") < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # Far more than there is time for; a training that is under way ends between two compiled calls.
    options = [{"num_epochs": 2, "reg": 0.1 * i} for i in range(4)] + [{"num_epochs": 10**6, "reg": 0.1}] * 1
    killer = threading.Thread(target=interrupt, daemon=True)
    killer.start()
    with pytest.raises(SweepInterrupted) as caught:
        fastfc.sweep(options, DATA, executor, file=file)
    killer.join()
    result = caught.value.result
    assert not result.complete
    assert 2 <= len(result.trials) <= 4
    recorded = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    assert len(recorded) == len(result.trials)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastfc-sweep")]
    again = fastfc.sweep(options[:4], DATA, file=file)
    assert again.complete
    assert again == fastfc.sweep(options[:4], DATA)


KILLED = """
import sys, time, pathlib
import fastfc
sys.path.insert(0, {tests!r})
from test_sweep import DATA, KILL_GRID
started = open({started!r}, "a")

def train(options, seed, data):
    started.write(f"{{options['a']}} {{seed}}\\n")
    started.flush()
    time.sleep(0.004)
    return options["a"] + 0.1 * seed

fastfc.sweep(KILL_GRID, None, train=train, seeds=3, file={file!r})
"""
KILL_GRID = {"a": list(range(60))}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
@pytest.mark.skipif(WITHOUT_COMPILER, reason="too slow without the compiler")
def test_a_sweep_that_is_killed_goes_on(tmp_path):
    """At random moments: nothing recorded is lost, nothing recorded runs again."""
    file, started = tmp_path / "sweep.jsonl", tmp_path / "started"
    program = KILLED.format(tests=str(Path(__file__).parent), started=str(started), file=str(file))
    rng = np.random.default_rng()
    kills, records = 0, []
    while True:
        process = subprocess.Popen([sys.executable, "-c", program])
        try:
            # The time to start is not killed into again and again.
            while process.poll() is None and not (started.exists() and started.stat().st_size):
                time.sleep(0.005)
            process.wait(rng.uniform(0.02, 0.25))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        text = started.read_text() if started.exists() else ""
        started.write_text("")
        before = {json.loads(line)["key"] for line in records}
        records = file.read_bytes().split(b"\n")[1:-1] if file.exists() else []
        keys = [json.loads(line)["key"] for line in records]
        assert before <= set(keys)
        assert len(keys) == len(set(keys))
        ran = [line.split() for line in text.splitlines()]
        assert not before & {json.dumps([{"a": int(a)}, int(seed)]) for a, seed in ran}
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
        assert kills < 200
    assert kills > 0
    assert len(records) == 180
    scores = {json.loads(line)["key"]: json.loads(line)["result"]["score"] for line in records}
    assert scores == {json.dumps([{"a": a}, s]): a + 0.1 * s for a in range(60) for s in range(3)}


# ---------------------------------------------------------------------------- tables and pictures


def test_tables(tmp_path):
    result = fastfc.sweep(GRID, DATA, seeds=2)
    table = result.table
    assert list(table[0]) == [
        *GRID, "seed", "score", "best_epoch", "epochs", "loss", "parameters", "error",
    ]  # fmt: skip
    with_losses = fastfc.sweep({**GRID, "loss": ["softmax", "svm"]}, DATA)
    assert [row["loss_option"] for row in with_losses.table] == [trial.options["loss"] for trial in with_losses.trials]
    assert [row["loss"] for row in with_losses.table] == [trial.result["loss"] for trial in with_losses.trials]
    rows = result.over_seeds()
    assert [row["count"] for row in rows] == [2] * 8
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    result.to_csv(tmp_path / "sweep.csv")
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert len(lines) == 17
    assert lines[1].startswith("[7],,0.8,adam,0.01,20,4,0,")
    result.to_json(tmp_path / "sweep.json")
    trials = json.loads((tmp_path / "sweep.json").read_text())["trials"]
    assert [trial["result"] for trial in trials] == [trial.result for trial in result.trials]
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["score"].tolist() == [trial.score for trial in result.trials]


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = fastfc.sweep({**GRID, "learning_rate": [1e-2, 1e30]}, DATA, seeds=3, check_every=1)
    figure = result.plot(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    coordinates, curves = figure.axes
    assert [tick.get_text() for tick in coordinates.get_xticklabels()][-1] == "score"
    # Those that diverged have no curve.
    assert len(curves.lines) == 4
    medians = curves.lines[0].get_ydata()
    best = result.over_seeds()[0]
    mine = [t for t in result.trials if plain(t.options) == {name: best[name] for name in GRID}]
    losses = [trial.result["losses"] for trial in mine]
    np.testing.assert_allclose(medians, np.median(losses, axis=0), rtol=fastfc.tolerance(np.float64, 3))


def test_progress(capsys):
    fastfc.sweep(GRID, DATA, progress=True)
    shown = capsys.readouterr().err
    assert "8/8" in shown
    assert "best" in shown


def test_options_that_a_sweep_has_itself_are_no_options_of_its_trainings():
    """The streams of a training begin at its seed."""
    for name in ("rng", "seed"):
        with pytest.raises(ValueError, match=f"trainings: expected options among .*, got '{name}'") as raised:
            fastfc.sweep({name: [1, 2], "num_epochs": 1}, DATA)
        assert f" {name}," not in str(raised.value)
