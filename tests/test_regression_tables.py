"""Tables whose target has numbers to predict: how they are told from classes, and training and predicting on them."""

import re
from pathlib import Path

import numba
import numpy as np
import pytest

from fastfc import FullyConnectedNet, cli, load_model, tolerance
from fastfc.data_utils import load_dataset
from fastfc.formats.table_look import task_of
from fastfc.tabular._scaling import TargetScale

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hundreds of interpreted steps take minutes")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")


def run(capsys, *argv):
    code = cli.main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def error_of(capsys, *argv):
    code = cli.main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    return err.splitlines()[-1].removeprefix("fastfc: error: ")


def write(name, X, y, header="a,b,price"):
    lines = [",".join(map(str, [*row, target])) for row, target in zip(X.tolist(), y, strict=True)]
    Path(name).write_text("\n".join([header, *lines]) + "\n")
    return name


@pytest.fixture
def prices():
    """300 rows of two features and a price of some hundred thousands that follows from them, written to a file."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 2)).round(4)
    y = (250_000 + 40_000 * X[:, 0] - 25_000 * X[:, 1] ** 2).round(2)
    return write("prices.csv", X, y.tolist()), X, y


# ------------------------------------------------------------------------------------------- classes or numbers


@pytest.mark.parametrize(
    ("values", "rows", "task", "is_clear"),
    [
        (["yes", "no"], 100, "classification", True),
        ([0.5, 1.0, 2.0], 100, "regression", False),
        (np.linspace(0, 1, 50).tolist(), 50, "regression", True),
        ([0.0, 1.0], 100, "classification", True),
        ([3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 5000, "classification", True),
        (list(map(float, range(11))), 200, "classification", False),
        (list(map(float, range(20))), 99, "regression", False),
        (list(map(float, range(26))), 1300, "classification", False),
        (list(map(float, range(26))), 1299, "regression", False),
        (list(map(float, range(18, 90))), 5000, "regression", False),
        (list(map(float, range(200))), 300, "regression", True),
        ([1.0, 2.0, 3.0], 4, "classification", False),
    ],
)
def test_rule(values, rows, task, is_clear):
    found, why, clear = task_of(values, rows)
    assert (found, clear) == (task, is_clear)
    assert str(len(values)) in why


def test_load_dataset_reads_numbers_only_when_asked(prices):
    path, X, y = prices
    advice = r"target for regression.*task='regression' \(fastfc train --task regression\)"
    with pytest.raises(ValueError, match=advice):
        load_dataset(path)
    for task in ("auto", "regression"):
        data = load_dataset(path, task=task)
        assert "class_names" not in data
        assert data["y_train"].dtype == np.float64
        np.testing.assert_array_equal(data["y_train"], y)
        np.testing.assert_array_equal(data["X_train"], X)
        assert data["target_name"] == "price"
    assert len(load_dataset(path, task="classification")["class_names"]) == len(np.unique(y))


def test_decimal_commas():
    Path("commas.csv").write_text("a;price\n" + "".join(f"{i},5;{i * i},25\n" for i in range(40)))
    data = load_dataset("commas.csv", task="auto")
    np.testing.assert_array_equal(data["y_train"], [i * i + 0.25 for i in range(40)])


def test_whole_numbers_are_told_and_the_option_decides(capsys):
    X = np.random.RandomState(0).standard_normal((60, 2)).round(3)
    path = write("rooms.csv", X, [i % 12 for i in range(60)], "a,b,rooms")
    _, err = run(capsys, "train", "--data", path, "--quiet", "--epochs", 1)
    assert "12 classes" in err
    assert "as it has 12 different whole numbers in 60 rows; --task regression if that is wrong" in err
    out, err = run(capsys, "train", "--data", path, "--quiet", "--epochs", 1, "--task", "regression")
    assert "target: column 'rooms', numbers from 0 to 11\n" in err
    assert "validation R2: " in out


def test_words_are_no_numbers(capsys):
    path = write("words.csv", np.ones((40, 2)), ["x", "y"] * 20, "a,b,kind")
    expected = "line 2, column 3: expected a number to predict, found 'x' in column 'kind'"
    assert expected in error_of(capsys, "train", "--data", path, "--task", "regression")


def test_a_target_without_variation(capsys):
    X = np.random.RandomState(0).standard_normal((40, 2))
    path = write("constant.csv", X, [2.5] * 40)
    assert "column 'price' is 2.5 in each row" in error_of(capsys, "train", "--data", path)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_a_target_whose_squares_are_beyond_float64(size, capsys):
    X = np.random.RandomState(0).standard_normal((40, 2))
    path = write("beyond.csv", X, size * (1 + np.arange(40) / 4))
    expected = "target: expected numbers that differ, with squares within float64, got "
    assert expected in error_of(capsys, "train", "--data", path)


def test_task_is_for_tables(capsys):
    assert "task='regression'" in error_of(capsys, "train", "--task", "regression")


# ------------------------------------------------------------------------------------------- training, predicting


def test_predictions_are_in_the_targets_units(prices, capsys):
    path, X, y = prices
    out, _ = run(capsys, "train", "--data", path, "--quiet", "--epochs", 60)
    found = re.search(r"^validation R2: (\S+), RMSE: (\S+) \(60 examples\)$", out, re.MULTILINE)
    assert float(found[1]) > 0.9
    assert float(found[2]) < 0.4 * y.std()
    net = load_model("model.npz")
    assert (net.class_names, net.loss_name, net.target_name) == (None, "squared", "price")
    out, err = run(capsys, "predict", "model.npz", path)
    printed = np.array(out.split(), np.float64)
    # Printed with all digits of its dtype.
    np.testing.assert_array_equal(printed.astype(np.float32), net.predict(X))
    score = 1 - ((printed - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert f"R2: {score:.3f}, RMSE: " in err
    without = "\n".join(line.rpartition(",")[0] for line in Path(path).read_text().splitlines())
    Path("new.csv").write_text(without + "\n")
    assert run(capsys, "predict", "model.npz", "new.csv") == (out, "")


def test_targets_are_brought_back():
    y = np.array([3.0, 5.0, 10.0, 2.0])
    data = {"y_train": y, "y_val": y[:2]}
    scale = TargetScale.of(data)
    standardized = scale.standardized(data)
    np.testing.assert_allclose(standardized["y_train"].mean(), 0, atol=4 * np.finfo(float).eps)
    np.random.seed(0)
    net = FullyConnectedNet([5], 3, 1, loss="squared", weight_scale=1.0, dtype=np.float64)
    X = np.random.randn(6, 3)
    before = net.predict(X)
    scale.fold_into(net)
    sums = np.abs(np.maximum(X @ net.params["W1"], 0)) @ np.abs(net.params["W2"]) + np.abs(net.params["b2"])
    bound = tolerance(np.float64, 8) * sums[:, 0]
    assert (np.abs(net.predict(X) - (before * y.std() + y.mean())) <= bound).all()


def test_a_target_far_from_zero_is_told(capsys):
    X = np.random.RandomState(0).standard_normal((100, 2)).round(3)
    path = write("far.csv", X, (1e7 + X[:, 0]).tolist())
    _, err = run(capsys, "train", "--data", path, "--quiet", "--epochs", 1)
    assert "--dtype float64" in err


def test_numbers_have_no_probabilities(prices, capsys):
    run(capsys, "train", "--data", prices[0], "--quiet", "--epochs", 1)
    assert "predicts numbers" in error_of(capsys, "predict", "--proba", "model.npz", prices[0])
    assert "--label-smoothing is for classes" in error_of(
        capsys, "train", "--data", prices[0], "--label-smoothing", 0.1
    )


def test_probabilities(capsys):
    X = np.random.RandomState(0).standard_normal((60, 2)).round(3)
    path = write("kinds.csv", X, ["warm, dry" if a > 0 else "cold" for a in X[:, 0]], "a,b,kind")
    path = Path(path)
    path.write_text(path.read_text().replace("warm, dry", '"warm, dry"'))
    run(capsys, "train", "--data", path, "--quiet", "--epochs", 1)
    out, _ = run(capsys, "predict", "--proba", "model.npz", path)
    lines = out.splitlines()
    assert lines[0] == 'cold,"warm, dry"'
    printed = np.array([line.split(",") for line in lines[1:]], np.float64)
    # Six digits are printed.
    np.testing.assert_allclose(printed, load_model("model.npz").predict_proba(X), rtol=5e-6)


def test_plot_of_scores(prices, capsys):
    pytest.importorskip("matplotlib")
    run(capsys, "train", "--data", prices[0], "--quiet", "--epochs", 2, "--plot", "scores.svg")
    assert Path("scores.svg").stat().st_size > 0


def test_diabetes_in_cross_validation(capsys):
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_diabetes(return_X_y=True)
    names = ",".join(f"x{i}" for i in range(10)) + ",progression"
    order = np.random.RandomState(0).permutation(len(X))
    predicted = np.empty(len(X))
    for k in range(5):
        test, train = order[k::5], np.setdiff1d(order, order[k::5])
        write("train.csv", X[train], y[train].tolist(), names)
        run(capsys, "train", "--data", "train.csv", "--quiet")
        predicted[test] = load_model("model.npz").predict(X[test])
    assert 1 - ((predicted - y) ** 2).sum() / ((y - y.mean()) ** 2).sum() >= 0.40
