"""``fastfc sweep``: its grids, its file, and every way to get it wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastfc import load_model
from fastfc.cli import main

SMALL = ["--hidden", "8", "--epochs", "2", "--batch-size", "10", "--quiet"]
WORDS = ["ant", "bee", "cat"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")


@pytest.fixture
def table(tmp_path):
    rng = np.random.RandomState(0)
    y = np.arange(60) % 3
    X = rng.randn(60, 4) + 3 * y[:, None]
    lines = ["a,b,c,d,kind", *(",".join([*map(repr, row.tolist()), WORDS[k]]) for row, k in zip(X, y, strict=True))]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return "table.csv"


def records(file="sweep.jsonl"):
    with open(file) as lines:
        return [json.loads(line) for line in lines][1:]


def test_a_sweep(table, capsys):
    grid = ["--grid", "learning_rate=0.01,0.1", "--grid", "hidden=8,6x5,none", "--grid", "weight-scale=he,0.1"]
    assert main(["sweep", table, *grid, *SMALL, "--seeds", "2", "--seed", "5", "--csv", "sweep.csv"]) == 0
    out = capsys.readouterr().out
    assert "trainings: 24" in out
    assert "and 2 more in sweep.jsonl" in out
    found = records()
    assert len(found) == 24
    assert {record["seed"] for record in found} == {5, 6}
    assert {tuple(record["options"]["hidden_dims"]) for record in found} == {(8,), (6, 5), ()}
    assert {record["options"].get("initializer") for record in found} == {None, "he_normal"}
    best = max(record["result"]["score"] for record in found)
    assert f"validation accuracy of the best: {100 * best:.1f} %" in out
    net = load_model("sweep.jsonl.best.npz")
    assert (net.class_names, net.feature_names, net.target_name) == (WORDS, ["a", "b", "c", "d"], "kind")
    assert len(Path("sweep.csv").read_text().splitlines()) == 25
    assert main(["predict", "sweep.jsonl.best.npz", table]) == 0
    capsys.readouterr()
    # The same command again finds all of them.
    before = os.stat("sweep.jsonl").st_mtime_ns
    assert main(["sweep", table, *grid, *SMALL, "--seeds", "2", "--seed", "5"]) == 0
    assert os.stat("sweep.jsonl").st_mtime_ns == before
    assert capsys.readouterr().out.splitlines()[:3] == out.splitlines()[:3]


def test_pictures_halving_and_processes(capsys):
    np.savez(
        "bytes.npz",
        X_train=np.random.RandomState(0).randint(0, 256, (60, 3, 3)).astype(np.uint8),
        y_train=np.arange(60) % 2,
    )
    grid = ["--grid", "rule=sgd_momentum,adam", "--grid", "momentum=0.9"]
    arguments = ["sweep", "bytes.npz", "--grid", "keep=1,0.8", "--grid", "epochs=4", *SMALL]
    assert main(["sweep", "bytes.npz", *grid, *SMALL]) == 2
    assert "momentum" in capsys.readouterr().err
    assert main([*arguments, "--halving", "--check-every", "1", "--processes", "1"]) == 0
    assert {record["result"]["epochs"] for record in records()} == {1, 3, 4}
    assert records()[0]["options"]["standardize"] == "pictures"
    assert load_model("sweep.jsonl.best.npz").input_scale == 1 / 255


def test_numbers_of_a_table(tmp_path, capsys):
    rng = np.random.RandomState(0)
    X = rng.randn(300, 3)
    y = 1e5 + 2e4 * (X[:, 0] - X[:, 1])
    rows = [",".join(map(repr, [*x.tolist(), float(t)])) for x, t in zip(X, y, strict=True)]
    Path("prices.csv").write_text("\n".join(["a,b,c,price", *rows]) + "\n")
    grid = ["--grid", "activation=tanh,relu", "--hidden", "16", "--normalization", "none", "--keep", "1"]
    assert main(["sweep", "prices.csv", *grid, "--max-norm", "5", "--schedule", "cosine", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "validation R2:" in out
    assert float(out.split("validation R2 of the best: ")[1].split(",")[0]) > 0.8
    options = records()[0]["options"]
    assert (options["loss"], options["max_norm"], options["schedule"]) == ("squared", 5.0, "cosine")
    assert main(["predict", "sweep.jsonl.best.npz", "prices.csv"]) == 0
    predicted = np.array(capsys.readouterr().out.split(), float)
    assert np.sqrt(np.mean((predicted - y) ** 2)) < 1e4
    # Classes, if that is asked for.
    rows = [f"{float(a)},{float(b)},{k % 3}" for k, (a, b, _) in enumerate(X)]
    Path("ages.csv").write_text("\n".join(["a,b,age", *rows]) + "\n")
    assert main(["sweep", "ages.csv", *SMALL, "--task", "classification", "--out", "ages.jsonl"]) == 0
    assert "validation accuracy of the best" in capsys.readouterr().out
    assert main(["sweep", "ages.csv", *SMALL, "--task", "regression", "--out", "numbers.jsonl"]) == 0
    assert "validation R2 of the best" in capsys.readouterr().out
    smoothed = ["sweep", "prices.csv", *SMALL, "--label-smoothing", "0.1"]
    assert main(smoothed) == 2
    assert "--label-smoothing is for classes" in capsys.readouterr().err


def test_the_options_of_a_training_reach_it(table, capsys):
    options = ["--activation", "gelu", "--label-smoothing", "0.1", "--schedule", "cosine", "--max-norm", "2"]
    assert main(["sweep", table, *SMALL, *options, "--sampler", "order"]) == 0
    found = records()[0]["options"]
    assert [found[name] for name in ("activation", "loss_parameter", "schedule", "max_norm", "sampler")] == [
        "gelu", 0.1, "cosine", 2.0, "order",
    ]  # fmt: skip
    # Of a sweep begun before there was the option.
    assert main(["sweep", table, *SMALL, "--out", "usual.jsonl"]) == 0
    assert "sampler" not in Path("usual.jsonl").read_text()
    assert main(["sweep", table, *SMALL, "--check-every", "1"]) == 2
    assert "--out: sweep.jsonl is of another sweep: check_every is none there and 1 here" in capsys.readouterr().err


def test_trainings_that_fail(table, capsys):
    assert main(["sweep", table, "--grid", "learning_rate=1e30", "--rule", "sgd", "--reg", "1", *SMALL]) == 0
    assert "all have failed or diverged" in capsys.readouterr().out


def test_losses_of_numbers_are_compared_by_r2(capsys):
    X = np.random.RandomState(0).randn(60, 2)
    rows = [f"{a!r},{b!r},{a + b!r}" for a, b in X.tolist()]
    Path("sums.csv").write_text("\n".join(["a,b,sum", *rows]) + "\n")
    grid = ["--grid", "loss=absolute,huber", "--grid", "learning_rate=0.01,1e300", "--seeds", "2"]
    assert main(["sweep", "sums.csv", *grid, *SMALL, "--csv", "sweep.csv"]) == 0
    out = capsys.readouterr().out
    assert "validation R2 of the best: " in out
    assert "accuracy" not in out
    assert out.count("no score  loss=") == 2
    with open("sweep.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["loss_option"] for row in table} == {"absolute", "huber"}
    assert all(float(row["loss"]) > 0 for row in table if row["learning_rate"] == "0.01")


def test_words_are_read_as_python_or_the_command_line_writes_them(table):
    assert main(["sweep", table, *SMALL, "--grid", "standardize=True,false", "--grid", "schedule=None,cosine"]) == 0
    found = [(record["options"]["standardize"], record["options"]["schedule"]) for record in records()]
    assert sorted(found, key=str) == [(False, "cosine"), (False, None), (True, "cosine"), (True, None)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--grid", "learning_rate"], "--grid: expected NAME=VALUE,VALUE..."),
        (["--grid", "hidden=8x"], "positive whole number"),
        (["--grid", "speed=3"], "--grid: expected names among hidden, "),
        (["--grid", "speed=3"], ", schedule, max_norm, max_value, accumulate, batch_size, epochs, sampler"),
        (["--grid", "speed=3"], "got 'speed'"),
        (["--grid", "keep=1", "--grid", "keep=0.5"], "expected once"),
        (["--grid", "keep=2"], "--grid keep: expected"),
        (["--grid", "rule=addam"], "--grid rule: expected one of"),
        (["--grid", "epochs=0"], "--grid epochs: expected"),
        (["--grid", "beta1=2"], "--grid beta1: expected 0 <= beta1 < 1"),
        (["--task", "regression"], "table.csv, line 2, column 5: expected a number to predict"),
        (["--task", "numbers"], "--task"),
        (["--backend", "reference"], "expected fast"),
        (["--plot", "a.xyz"], ".png"),
        (["--csv", "none/sweep.csv"], "none"),
        (["--csv", "./table.csv"], "--csv ./table.csv: this would replace the data"),
        (["--csv", "a.jsonl", "--out", "a.jsonl"], "--csv a.jsonl: this is where --out keeps the trainings"),
        (["--csv", "sweep.jsonl.best.npz"], "this is where --out keeps the best network"),
        (["--csv", "a.svg", "--plot", "a.svg"], "--plot a.svg: this is where --csv saves its file"),
        (["--grid", "normalization=Batchnorm"], "--grid normalization: expected"),
        (["--out", "none/sweep.jsonl"], "none/sweep.jsonl"),
        (["--out", "table.csv"], "--out: expected the file of a sweep"),
        (["--seeds", "0"], "positive whole number"),
    ],
)
def test_mistakes(arguments, text, table, capsys):
    try:
        code = main(["sweep", table, *SMALL, *arguments])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    err = capsys.readouterr().err
    assert text in err
    assert len([line for line in err.splitlines() if line.startswith("fastfc: error")]) == 1


def test_a_plot_without_matplotlib_is_refused_before_the_trainings(table, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["sweep", table, *SMALL, "--out", "unused.jsonl", "--plot", "a.png"]) == 2
    assert 'pip install "fastfc[plot]"' in capsys.readouterr().err
    assert not Path("unused.jsonl").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_ctrl_c(table):
    command = [sys.executable, "-m", "fastfc", "sweep", table, "--grid", "epochs=2,1000000", "--hidden", "8", "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (os.path.exists("sweep.jsonl") and len(records()) == 1):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted; 1 of 2 trainings are in sweep.jsonl; the same command goes on" in err
    assert len(records()) == 1
