"""``fastfc train --preset tabular`` and ``--members``."""

import argparse
import contextlib
import signal
import sys
import threading

import numba
import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastfc.cli import _parser, main  # noqa: E402
from fastfc.cli._preset import TAKEN  # noqa: E402
from fastfc.tabular import fit_table, load_table_model  # noqa: E402
from fastfc.tabular._preset_epochs import CompiledEpochs  # noqa: E402

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hundreds of interpreted steps take minutes")


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")
    rng = np.random.RandomState(1)
    frame = pd.DataFrame({"age": rng.randint(18, 80, 300), "city": rng.choice(["Köln", "Seoul", "Lagos"], 300)})
    frame["month"] = [f"2024-{month:02}-01" for month in rng.randint(1, 13, 300)]
    frame["bought"] = np.where((frame["city"] == "Seoul") == (frame["age"] < 50), "yes", "no")
    frame.to_csv("shop.csv", index=False, sep=";")
    return frame


def run(capsys, *argv, code=0):
    data = [] if "--data" in argv else ["--data", "shop.csv"]
    assert main(["train", *data, *map(str, argv)]) == code
    return capsys.readouterr()


def error_of(capsys, *argv):
    out, err = run(capsys, *argv, code=2)
    assert out == ""
    return err.splitlines()[-1].removeprefix("fastfc: error: ")


def params_of(path):
    return [net.params for net in load_table_model(path).members]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ((), {}),
        (("--members", 2, "--seed", 3), {"n_members": 2, "seed": 3}),
        (("--class-weight", "yes=3", "--batch-size", 50), {"class_weight": {"yes": 3}, "batch_size": 50}),
        (("--time", "month", "--drop", "city"), {"time": "month", "drop": ["city"]}),
        (("--groups", "city", "--dtype", "float64"), {"groups": "city", "dtype": np.float64}),
        (("--target", "age", "--task", "regression"), {"target": "age", "task": "regression"}),
        (("--val-fraction", 0.4), {"val_fraction": 0.4}),
    ],
)
def test_the_model_is_that_of_fit_table(argv, options, capsys):
    run(capsys, "--preset", "tabular", "--epochs", 3, "--quiet", *argv)
    model = fit_table("shop.csv", preset="tabular", num_epochs=3, **options)
    assert_same(params_of("model.npz"), [net.params for net in model.members])
    assert load_table_model("model.npz").description == model.description


def test_progress_results_and_predictions(capsys, shop):
    out, err = run(capsys, "--preset", "tabular", "--epochs", 60)
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert lines["net"] == "17-[256,256,256]-2 preset tabular float32".replace("17", lines["net"].partition("-")[0])
    assert lines["data"] == "shop.csv (240 train, 60 validation)"
    assert float(lines["validation accuracy"].split()[0]) >= 90
    assert "epoch 60/60: loss " in err
    assert main(["predict", "model.npz", "shop.csv"]) == 0
    out, err = capsys.readouterr()
    assert out.split() == load_table_model("model.npz").predict("shop.csv").tolist()
    assert float(err.split("accuracy: ")[1].split()[0]) >= 90


def test_members_without_a_preset(capsys):
    options = ["--epochs", 2, "--reg", 0.01, "--hidden", 16, "--schedule", "cosine"]
    run(capsys, *options, "--out", "alone.npz")
    out, err = run(capsys, *options, "--members", 3)
    assert "member 3 of 3\n" in err
    assert "[16]-2 batchnorm keep 0.6 float32, 3 members\n" in out
    assert "best validation" not in out
    members = params_of("model.npz")
    assert len(members) == 3
    assert_same(members[:1], params_of("alone.npz"))
    assert (members[1]["W1"] != members[2]["W1"]).any()
    shown = float(out.split("validation accuracy: ")[1].split()[0])
    model, data = load_table_model("model.npz"), pd.read_csv("shop.csv", sep=";")
    assert 0 <= shown <= 100
    assert model.score(data) > 0.5


def test_reports_and_plots(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    for option in (["--preset", "tabular"], ["--hidden", "8"]):
        out, _ = run(capsys, *option, "--members", 2, "--epochs", 2, "--report", "r.html", "--plot", "p.svg")
        assert out.endswith("plot: p.svg\nreport: r.html\n")
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert ", 2 members" in text
        assert ("preset tabular" in text) == (option[0] == "--preset")


def options_of_train():
    commands = next(action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {action.dest: action for action in commands.choices["train"]._actions if action.dest != "help"}


def test_an_option_that_the_preset_replaces_is_refused(capsys):
    options = options_of_train()
    assert options.keys() >= TAKEN
    refused = options.keys() - TAKEN
    assert {"hidden", "keep", "activation", "rule", "learning_rate", "lr_decay", "reg", "standardize"} <= refused
    for name in sorted(refused):
        action = options[name]
        option = action.option_strings[0]
        value = action.choices[0] if action.choices else {"hidden": "9"}.get(name, "0.5")
        argv = [option] if action.nargs == 0 else [option, value]
        assert error_of(capsys, "--preset", "tabular", *argv) == f"{option}: --preset tabular has its own"
    # Nor are the defaults, which are those of other trainings.
    assert error_of(capsys, "--hidden", "256,128", "--preset", "tabular") == "--hidden: --preset tabular has its own"


def test_what_is_no_table_is_refused(capsys):
    for option in (["--preset", "tabular"], ["--members", "2"]):
        assert error_of(capsys, "--data", "fashion-mnist", *option).startswith(
            f"{' '.join(option)} is for tables (.csv, .tsv, .txt, .gz, .parquet); fashion-mnist is none"
        )


def test_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for option in (["--preset", "tabular"], ["--members", "2"]):
        error = error_of(capsys, *option)
        assert error.startswith(" ".join(option))
        assert 'pip install "fastfc[tabular]"' in error


@pytest.mark.parametrize("members", [1, 3])
def test_ctrl_c_keeps_the_best_until_then(members, capsys, monkeypatch):
    @contextlib.contextmanager
    def interrupting(*_):
        yield (
            lambda shown, number: (
                (number, shown.epoch) == (1, 5) and signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            )
        )

    monkeypatch.setattr("fastfc.cli._preset.progress", interrupting)
    # It would take hours.
    out, err = run(capsys, "--preset", "tabular", "--epochs", 10**5, "--members", members, code=130)
    assert f" of {members * 10**5} epochs; the best parameters" in err
    assert "model: model.npz" in out
    assert 1 <= len(params_of("model.npz")) <= members


@pytest.mark.parametrize(("steps", "saved"), [(0, False), (4, True)])
def test_a_training_that_diverges(steps, saved, capsys, monkeypatch, tmp_path):
    losses, train = iter([0.5] * steps), CompiledEpochs.train

    def diverging(epochs, order):
        return [([next(losses, np.inf) for _ in taken], *scores) for taken, *scores in train(epochs, order)]

    monkeypatch.setattr(CompiledEpochs, "train", diverging)
    out, err = run(capsys, "--preset", "tabular", "--epochs", 9, code=1)
    told = "the best parameters until then are saved" if saved else "there is nothing to save"
    assert err.endswith(f"fastfc: warning: training diverged, 1 of 1 losses are no longer finite; {told}\n")
    assert ("model: model.npz" in out) == saved == (tmp_path / "model.npz").exists()


def test_members_that_diverge(capsys):
    _, err = run(capsys, "--members", 2, "--rule", "sgd", "--learning-rate", 1e30, "--epochs", 2, code=1)
    assert "training diverged" in err
    assert "member 2" not in err


@pytest.mark.parametrize(
    "option",
    [
        {"hidden_dims": (256, 128)},
        {"normalization": None},
        {"normalization": "batchnorm"},
        {"dropout_keep_ratio": 0.6},
        {"activation": "relu"},
        {"update_rule": "adam"},
        {"learning_rate": 0.1},
        {"early_stopping": False},
    ],
)
def test_fit_table_refuses_them_too(option, shop):
    with pytest.raises(ValueError, match=f"^{next(iter(option))}: preset='tabular' has its own$"):
        fit_table(shop, "bought", preset="tabular", **option)
