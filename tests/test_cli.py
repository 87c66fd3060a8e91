"""The command line, as a user meets it: what it prints, writes and returns, and every way to get it wrong."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc import cli, load_model, optim
from fastfc.backend import BACKENDS
from fastfc.cli import main
from fastfc.formats import atomic
from fastfc.schedules import ReduceOnPlateau
from fastfc.solver import Solver

SMALL = ["--hidden", "8", "--epochs", "3", "--batch-size", "10"]
FEATURES, NAMES = 6, ["ant", "bee", "cat"]


def table(rows, seed):
    """Three classes that lie well apart, and a feature that says nothing."""
    y = np.arange(rows) % 3
    X = np.random.RandomState(seed).randn(rows, FEATURES)
    X[np.arange(rows), y] += 5
    X[:, 5] = 0.1
    return X, y


def write_csv(path, X, labels=None, header=True):
    columns = [f"f{i}" for i in range(X.shape[1])] + (["kind"] if labels is not None else [])
    lines = [",".join(columns)] if header else []
    for i, row in enumerate(X):
        lines.append(",".join([*map(repr, row.tolist()), *([labels[i]] if labels is not None else [])]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Everything is written to a folder of its own, and kernels that are new compile in silence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")


@pytest.fixture
def npz(tmp_path):
    (X, y), (X_val, y_val), (X_test, y_test) = table(40, 0), table(20, 1), table(30, 2)
    path = tmp_path / "parts.npz"
    np.savez(path, X_train=X, y_train=y, X_val=X_val, y_val=y_val, X_test=X_test, y_test=y_test)
    return str(path)


@pytest.fixture
def csv(tmp_path):
    X, y = table(60, 3)
    return write_csv(tmp_path / "table.csv", X, [NAMES[i] for i in y])


@pytest.fixture
def model(npz, capsys):
    assert main(["train", "--data", npz, *SMALL]) == 0
    capsys.readouterr()
    return "model.npz"


@pytest.fixture
def no_training(monkeypatch):
    """A mistake must be told before the time is spent."""
    monkeypatch.setattr(Solver, "train", lambda self: pytest.fail("the training had begun"))


def line_of(out, name):
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ")


def error_of(capsys, argv):
    """The one line on stderr that `argv` ends in, with exit code 2 and nothing on stdout."""
    try:
        code = main(argv)
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("fastfc: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def python(*argv, environment=None, **options):
    """A Python process that finds this very package, installed or not."""
    env = {**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1]), **(environment or {})}
    return subprocess.Popen([sys.executable, *argv], stderr=subprocess.PIPE, text=True, env=env, **options)


def fastfc_process(*argv, **options):
    return python("-m", "fastfc", *argv, **options)


# -------------------------------------------------------------------------------------------- the parser


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastfc {fastfc.__version__}\n"


@pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["check"], ["run"]])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert out.startswith(f"usage: {' '.join(['fastfc', *command])} ")
    assert all(len(line) <= 100 for line in out.splitlines())


def test_help_shows_defaults_and_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    assert "probability to KEEP a hidden value; 1 is no dropout (default: 0.6)" in out
    assert "(default: 256,128)" in out
    assert "\n  fastfc train table.csv" in out
    assert "None" not in out


def test_help_and_version_import_neither_numpy_nor_numba():
    code = (
        "import sys; from fastfc.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: assert not {'numpy', 'numba', 'tqdm', 'matplotlib'} & set(sys.modules)"
    )
    with python("-c", code, stdout=subprocess.DEVNULL) as process:
        assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 0


def test_choices_are_what_the_package_has():
    assert sorted(cli.train.RULES) == sorted(optim.__all__)
    assert sorted(cli._common.BACKEND["choices"]) == sorted(BACKENDS)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--keep", "0"),
        ("--keep", "1.5"),
        ("--keep", "nan"),
        ("--hidden", "0,5"),
        ("--hidden", "abc"),
        ("--hidden", "8,"),
        ("--hidden", ""),
        ("--hidden", "8.5"),
        ("--epochs", "-1"),
        ("--epochs", "0"),
        ("--epochs", "many"),
        ("--batch-size", "0"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "inf"),
        ("--learning-rate", "0"),
        ("--lr-decay", "-0.5"),
        ("--reg", "-1"),
        ("--reg", "nan"),
        ("--weight-scale", "0"),
        ("--weight-scale", "she"),
        ("--val-fraction", "0"),
        ("--val-fraction", "1"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--rule", "adamant"),
        ("--normalization", "groupnorm"),
        ("--dtype", "float16"),
        ("--backend", "gpu"),
        ("--select", "first"),
    ],
)
def test_values_out_of_range(option, value, capsys, no_training):
    assert f"argument {option}: " in error_of(capsys, ["train", f"{option}={value}"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["fly"], "'fly'"),
        (["train", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["train", "a.csv", "extra"], "unrecognized arguments: extra"),
        (["train", "a.csv", "--data", "b.csv"], "DATA: expected one, got a.csv and b.csv"),
        (["train", "--data", "b.csv", "--epochs", "2", "a.csv"], "DATA: expected one, got b.csv and a.csv"),
        (["train", "absent.csv"], "absent.csv"),
        (["train", "--epochs"], "--epochs"),
        (["predict", "model.npz"], "DATA"),
        (["predict", "model.npz", "data.npz", "--split", "all"], "--split"),
        (["check", "--dtype", "int8"], "--dtype"),
        (["run"], "expected a script, or -m and a module's name"),
        (["run", "--legacy", "1999", "script.py"], "--legacy"),
        (["run", "--fast", "script.py"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_options(argv, words, capsys):
    assert words in error_of(capsys, argv)


# ---------------------------------------------------------------------------------------------- training


def test_train_prints_a_summary_and_saves_the_model(npz, capsys):
    assert main(["train", "--data", npz, *SMALL]) == 0
    out, err = capsys.readouterr()
    assert line_of(out, "data") == f"{npz} (40 train, 20 validation, 30 test)"
    assert line_of(out, "net") == "6-[8]-3 batchnorm keep 0.6 float32"
    assert re.fullmatch(r"\d+\.\d %", line_of(out, "best validation accuracy"))
    assert re.fullmatch(r"\d+\.\d % \(20 examples\)", line_of(out, "validation accuracy"))
    assert re.fullmatch(r"\d+\.\d % \(30 examples\)", line_of(out, "test accuracy"))
    assert re.fullmatch(r"[\d.]+ ms", line_of(out, "time per step"))
    assert re.fullmatch(r"\d+\.\d s \(12 steps\)", line_of(out, "total time"))
    assert line_of(out, "backend") == fastfc.get_backend()
    assert line_of(out, "model") == "model.npz"
    assert [line.split(":")[0] for line in err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]

    net = load_model("model.npz")
    assert net.dims == [6, 8, 3]
    assert net.class_names == ["0", "1", "2"]
    assert (net.input_mean, net.input_scale) == (None, None)
    X, y = table(30, 2)
    assert line_of(out, "test accuracy").startswith(f"{100 * np.mean(net.predict(X) == y):.1f} %")


@pytest.mark.parametrize("argv", [["NPZ", *SMALL], [*SMALL, "NPZ"], [*SMALL, "--data", "NPZ"]])
def test_data_with_and_without_its_option(argv, npz, capsys):
    assert main(["train", *(npz if word == "NPZ" else word for word in argv)]) == 0
    assert line_of(capsys.readouterr().out, "data") == f"{npz} (40 train, 20 validation, 30 test)"


def test_train_learns(npz, capsys):
    argv = ["train", "--data", npz, "--hidden", "16", "--epochs", "20", "--batch-size", "10", "--learning-rate", "0.01"]
    assert main(argv) == 0
    assert float(line_of(capsys.readouterr().out, "test accuracy").split()[0]) > 90


def test_embedded_data(capsys):
    assert main(["train", "--epochs", "2", "--backend", "reference", "--seed", "1", "--out", "fashion.npz"]) == 0
    out, _ = capsys.readouterr()
    assert line_of(out, "data") == "fashion-mnist (3800 train, 200 validation, 1000 test)"
    assert line_of(out, "net") == "784-[256,128]-10 batchnorm keep 0.6 float32"
    assert line_of(out, "backend") == "reference"
    accuracy = line_of(out, "test accuracy")
    assert float(accuracy.split()[0]) > 75
    net = load_model("fashion.npz")
    assert net.class_names[9] == "Ankle boot"
    assert net.input_mean.shape == (28, 28)
    assert net.input_scale == 1 / 255

    assert main(["predict", "fashion.npz", "fashion-mnist", "--backend", "reference"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1000
    assert set(out.splitlines()) <= set(net.class_names)
    assert err == f"accuracy: {accuracy}\n"


def test_same_seed_same_model(npz):
    for seed, out in [("3", "a.npz"), ("3", "b.npz"), ("4", "c.npz")]:
        assert main(["train", "--data", npz, *SMALL, "--seed", seed, "--out", out]) == 0
    a, b, c = (load_model(name).params.flat for name in ("a.npz", "b.npz", "c.npz"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_options_reach_the_network(npz, capsys):
    options = [
        "--hidden",
        "7,5",
        "--normalization",
        "layernorm",
        "--keep",
        "0.5",
        "--reg",
        "0.25",
        "--dtype",
        "float64",
    ]
    assert main(["train", "--data", npz, "--epochs", "1", *options]) == 0
    net = load_model("model.npz")
    assert (net.dims, net.normalization, net.reg, net.dtype) == ([6, 7, 5, 3], "layernorm", 0.25, "float64")
    assert net.dropout_param["p"] == 0.5
    assert line_of(capsys.readouterr().out, "net") == "6-[7,5]-3 layernorm keep 0.5 float64"


def test_linear_network(npz, capsys):
    options = ["--hidden", "none", "--normalization", "none", "--keep", "1"]
    assert main(["train", "--data", npz, "--epochs", "1", *options]) == 0
    assert load_model("model.npz").dims == [6, 3]
    assert line_of(capsys.readouterr().out, "net") == "6-[]-3 float32"


@pytest.mark.parametrize(("option", "scales"), [("0.5", [0.5, 0.5]), ("he", [(2 / 6) ** 0.5, (2 / 8) ** 0.5])])
def test_weight_scale(option, scales, npz):
    # With such a learning rate the weights stay what they were at first.
    argv = ["--hidden", "8", "--epochs", "1", "--learning-rate", "1e-30", "--weight-scale", option, "--seed", "5"]
    assert main(["train", "--data", npz, *argv]) == 0
    params = load_model("model.npz").params
    np.random.seed(5)
    for name, shape, scale in zip(("W1", "W2"), ((6, 8), (8, 3)), scales, strict=True):
        expected = np.random.randn(*shape) * scale
        bound = fastfc.tolerance(np.float32, 1) * np.abs(expected)
        assert np.all(np.abs(params[name] - expected) <= bound)


@pytest.mark.parametrize("rule", cli.train.RULES)
def test_every_rule_with_its_own_learning_rate(rule, npz):
    rate = str(optim.DEFAULTS[rule]["learning_rate"])
    for options in ([], ["--learning-rate", rate]):
        assert main(["train", "--data", npz, *SMALL, "--rule", rule, *options, "--out", f"{len(options)}.npz"]) == 0
    assert np.array_equal(load_model("0.npz").params.flat, load_model("2.npz").params.flat)


def test_lr_decay(npz):
    for decay in ("1", "0.5"):
        assert main(["train", "--data", npz, *SMALL, "--lr-decay", decay, "--out", f"{decay}.npz"]) == 0
    assert not np.array_equal(load_model("1.npz").params.flat, load_model("0.5.npz").params.flat)


@pytest.mark.parametrize(("sampler", "steps"), [("replacement", 6), ("permutation", 9), ("order", 9)])
def test_samplers(sampler, steps, npz, capsys):
    """Of 40 examples, in batches of 15."""
    options = ["--hidden", "8", "--epochs", "3", "--batch-size", "15", "--sampler", sampler]
    assert main(["train", "--data", npz, *options]) == 0
    assert line_of(capsys.readouterr().out, "total time").endswith(f"({steps} steps)")


def test_a_schedule_by_the_validation_accuracy(npz, monkeypatch):
    told = []
    update = ReduceOnPlateau.update
    monkeypatch.setattr(
        ReduceOnPlateau, "update", lambda self, value: (told.append((self, value)), update(self, value))
    )
    assert main(["train", "--data", npz, *SMALL, "--schedule", "plateau"]) == 0
    assert [schedule.monitor for schedule, _ in told] == ["val_acc"] * 3
    assert all(value in np.arange(21) / 20 for _, value in told)


def test_batches_are_no_larger_than_the_data(npz, capsys):
    assert main(["train", "--data", npz, "--hidden", "8", "--epochs", "2", "--batch-size", "1000000000000"]) == 0
    assert line_of(capsys.readouterr().out, "total time").endswith("(2 steps)")


def test_backend_is_restored(npz, capsys):
    before = fastfc.get_backend()
    with fastfc.use_backend("fast"):
        assert main(["train", "--data", npz, *SMALL, "--backend", "reference"]) == 0
        assert fastfc.get_backend() == "fast"
    assert fastfc.get_backend() == before
    assert line_of(capsys.readouterr().out, "backend") == "reference"


def test_data_without_test_part(csv, capsys):
    assert main(["train", "--data", csv, *SMALL, "--target", "kind", "--val-fraction", "0.2"]) == 0
    out, _ = capsys.readouterr()
    assert line_of(out, "data") == f"{csv} (48 train, 12 validation)"
    assert "test accuracy" not in out
    assert load_model("model.npz").class_names == NAMES


def test_labels_that_are_missing_in_a_part(tmp_path, capsys):
    (X, y), (X_other, _) = table(40, 0), table(10, 1)
    np.savez(tmp_path / "data.npz", X_train=X, y_train=y, X_val=X_other, X_test=X_other)
    assert main(["train", "--data", "data.npz", *SMALL]) == 0
    assert line_of(capsys.readouterr().out, "data") == "data.npz (32 train, 8 validation)"


def test_standardize(npz):
    assert main(["train", "--data", npz, *SMALL, "--standardize"]) == 0
    net, (X, _) = load_model("model.npz"), table(40, 0)
    assert np.array_equal(net.input_mean, X.mean(axis=0))
    assert np.array_equal(net.input_scale[:5], 1 / X[:, :5].std(axis=0))
    assert net.input_scale[5] == 1  # the constant feature


def test_standardize_pictures(tmp_path):
    X, y = table(40, 0)
    pictures = np.clip(X * 20 + 100, 0, 255).astype(np.uint8).reshape(-1, 2, 3)
    np.savez(tmp_path / "pictures.npz", X=pictures, y=y)
    assert main(["train", "--data", "pictures.npz", *SMALL, "--standardize", "--val-fraction", "0.5"]) == 0
    net = load_model("model.npz")
    assert net.input_mean.shape == net.input_scale.shape == (2, 3)
    assert net.input_scale[1, 2] == 1


@pytest.mark.parametrize("select", ["best", "last"])
def test_select(select, tmp_path, capsys):
    """The saved model has the accuracy that was shown for its epoch, running statistics included."""
    (X, y), (X_val, y_val) = table(40, 0), table(300, 1)
    rows = np.random.RandomState(0).permutation(300)[:150]
    y_val[rows] = y_val[rows][::-1]  # so that the accuracy is not the same at each epoch
    np.savez(tmp_path / "data.npz", X_train=X, y_train=y, X_val=X_val, y_val=y_val)
    argv = ["--hidden", "8", "--epochs", "6", "--batch-size", "5", "--learning-rate", "0.3", "--lr-decay", "1"]
    assert main(["train", "--data", "data.npz", *argv, "--select", select]) == 0
    out, err = capsys.readouterr()
    shown = [line.split("val ")[1] for line in err.splitlines()]
    assert shown[-1] != max(shown, key=lambda text: float(text[:-1]))
    expected = line_of(out, "best validation accuracy") if select == "best" else shown[-1].replace("%", " %")
    assert line_of(out, "validation accuracy") == f"{expected} (300 examples)"
    net = load_model("model.npz")
    assert f"{100 * np.mean(net.predict(X_val) == y_val):.1f} %" == expected


def test_quiet(npz, capsys):
    assert main(["train", "--data", npz, *SMALL, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "test accuracy" in out


def test_bar_on_a_terminal(npz, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["train", "--data", npz, *SMALL]) == 0
    last = capsys.readouterr().err.rstrip().split("\r")[-1]
    assert re.match(r"epoch 3/3 100%\|.*\| 00:\d\d<00:00, loss [\d.]+, train \d+\.\d%, val \d+\.\d%", last)


def test_plot(npz, capsys):
    assert main(["train", "--data", npz, *SMALL, "--plot", "history.png"]) == 0
    with open("history.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert line_of(capsys.readouterr().out, "plot") == "history.png"


def test_an_older_model_is_replaced(npz):
    with open("model.npz", "w") as file:
        file.write("old")
    assert main(["train", "--data", npz, *SMALL]) == 0
    assert load_model("model.npz").dims == [6, 8, 3]
    assert sorted(os.listdir()) == ["model.npz", "parts.npz"]


# --------------------------------------------------------------------------- trainings that end otherwise


def press_ctrl_c(monkeypatch, times):
    figures = cli._watch.figures

    def pressed(solver):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return figures(solver)

    monkeypatch.setattr(cli._watch, "figures", pressed)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_the_best_parameters(times, npz, capsys, monkeypatch):
    press_ctrl_c(monkeypatch, times)
    assert main(["train", "--data", npz, "--hidden", "8", "--epochs", "100", "--batch-size", "10"]) == 130
    out, err = capsys.readouterr()
    assert err.endswith("fastfc: interrupted after 4 of 400 steps; the best parameters until then are saved\n")
    assert line_of(out, "total time").endswith("(4 steps)")
    assert load_model("model.npz").dims == [6, 8, 3]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_at_the_last_step_comes_too_late(npz, capsys, monkeypatch):
    press_ctrl_c(monkeypatch, 1)
    assert main(["train", "--data", npz, "--hidden", "8", "--epochs", "1", "--batch-size", "10"]) == 0
    assert "interrupted" not in capsys.readouterr().err


def test_ctrl_c_before_the_first_step(npz, capsys, monkeypatch):
    def train(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Solver, "train", train)
    assert main(["train", "--data", npz, *SMALL]) == 130
    assert capsys.readouterr() == ("", "fastfc: interrupted after 0 of 12 steps; there is nothing to save\n")
    assert os.listdir() == ["parts.npz"]


def test_ctrl_c_while_loading(capsys, monkeypatch):
    def load_dataset(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastfc.data_utils.load_dataset", load_dataset)
    assert main(["train"]) == 130
    assert capsys.readouterr() == ("", "fastfc: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_in_a_process(npz):
    argv = ["train", "--data", npz, "--hidden", "8", "--epochs", "1000000", "--batch-size", "40"]
    with fastfc_process(*argv, stdout=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith("epoch 1/")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"fastfc: interrupted after \d+ of 1000000 steps; .* saved", err.splitlines()[-1])
    assert "Traceback" not in err
    assert line_of(out, "model") == "model.npz"
    assert load_model("model.npz").dims == [6, 8, 3]


PLAIN = ["--normalization", "none", "--keep", "1", "--rule", "sgd", "--hidden", "8", "--batch-size", "10"]


def test_divergence_saves_what_was_best_before(backend, npz, capsys):
    assert main(["train", "--data", npz, *PLAIN, "--learning-rate", "1e12", "--epochs", "50"]) == 1
    out, err = capsys.readouterr()
    warning = err.splitlines()[-1]
    assert re.match(r"fastfc: warning: training diverged, the loss is (nan|inf) at step \d+ of 200; ", warning)
    assert warning.endswith("a smaller --learning-rate may help; the best parameters until then are saved")
    assert int(line_of(out, "total time").split("(")[1].split()[0]) < 200
    assert np.isfinite(load_model("model.npz").params.flat).all()


def test_divergence_with_nothing_to_save(backend, npz, capsys):
    argv = [*PLAIN, "--learning-rate", "1e38", "--weight-scale", "100", "--batch-size", "40"]
    assert main(["train", "--data", npz, *argv, "--epochs", "1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == (
        "fastfc: warning: training diverged, the parameters are no longer finite at step 1 of 1; "
        "a smaller --learning-rate may help; there is nothing to save"
    )
    assert os.listdir() == ["parts.npz"]


def test_not_enough_memory(npz, capsys, monkeypatch):
    def train(self):
        raise MemoryError

    monkeypatch.setattr(Solver, "train", train)
    assert "training: not enough memory" in error_of(capsys, ["train", "--data", npz, *SMALL])


def test_a_network_that_fits_nowhere(npz, capsys, no_training):
    error = error_of(capsys, ["train", "--data", npz, "--hidden", str(10**15)])
    assert "cannot make this network: " in error


# ---------------------------------------------------------------------------------------- where it is written


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_outputs_that_cannot_be_written(option, npz, tmp_path, capsys, no_training, monkeypatch):
    def error(name):
        return error_of(capsys, ["train", "--data", npz, option, str(name)])

    assert f"{option} nowhere/a.png: there is no folder nowhere" in error("nowhere/a.png")
    (tmp_path / "folder.png").mkdir()
    assert "folder.png: this is not a file" in error("folder.png")
    assert "this is not a file" in error(os.devnull)
    assert "this is not a file" in error("")
    assert os.strerror(errno.ENAMETOOLONG) in error("a" * 300 + ".png")
    assert "this would replace the data" in error(npz)
    (tmp_path / "old.png").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert "old.png: this file is write-protected" in error("old.png")

    real = atomic._new_file

    def denied(target, mode):
        if target.name == "new.png":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/tmp/hidden-name")
        return real(target, mode)

    monkeypatch.setattr(atomic, "_new_file", denied)
    assert error("new.png").endswith(f"{option} new.png: {os.strerror(errno.EACCES)}\n")
    assert (tmp_path / "old.png").read_text() == "old"
    assert sorted(os.listdir()) == ["folder.png", "old.png", "parts.npz"]


def test_plots_that_cannot_be_made(npz, capsys, no_training, monkeypatch):
    train = ["train", "--data", npz, *SMALL]
    for name in ("history", "history.docx"):
        assert ".png, .pdf, .svg" in error_of(capsys, [*train, "--plot", name])
    same = error_of(capsys, [*train, "--plot", "a.png", "--out", os.path.abspath("a.png")])
    assert "this is where --out saves the model" in same
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'pip install "fastfc[plot]"' in error_of(capsys, [*train, "--plot", "a.png"])


def test_a_disk_that_is_full(npz, capsys, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/hidden-name")

    def write(*_, **__):
        raise full

    train = ["train", "--data", npz, *SMALL, "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr("fastfc.vis_utils.plot_history", write)
        assert main([*train, "--plot", "a.png"]) == 2
        out, err = capsys.readouterr()
        assert "test accuracy" in out
        assert err == f"fastfc: error: cannot write a.png: {full.strerror}\n"
        assert load_model("model.npz").dims == [6, 8, 3]
    monkeypatch.setattr(fastfc.FullyConnectedNet, "save", write)
    assert error_of(capsys, train) == f"fastfc: error: cannot write model.npz: {full.strerror}\n"


# ------------------------------------------------------------------------------------------------ wrong data


def test_wrong_training_data(tmp_path, csv, capsys, no_training):
    X, y = table(40, 0)

    def error(**arrays):
        np.savez(tmp_path / "bad.npz", **arrays)
        return error_of(capsys, ["train", "--data", "bad.npz"])

    assert "no such file or folder: absent.npz" in error_of(capsys, ["train", "--data", "absent.npz"])
    (tmp_path / "damaged.npz").write_bytes(b"PK\3\4 and no more")
    assert "damaged.npz" in error_of(capsys, ["train", "--data", "damaged.npz"])
    assert "'color'" in error_of(capsys, ["train", "--data", csv, "--target", "color"])
    assert "target='kind'" in error_of(capsys, ["train", "--target", "kind"])
    assert "no training data with labels" in error(X=X)
    assert "all labels are 7; expected two classes or more" in error(X=X, y=np.full(40, 7))
    assert "no examples for validation" in error(X=X[:3], y=y[:3])
    assert "y must have shape" in error(X=X, y=y[1:])
    for value in (np.nan, -np.inf, 1e300):
        wrong = X.copy()
        wrong[3, 2] = value
        assert "X_train has nan, infinite or too large values for float32" in error(X=wrong, y=y)
        assert "bad.npz: X_test has nan" in error(X_train=X, y_train=y, X_test=wrong)
    assert "X_val of shape (5,), float64" in error(X_train=X, y_train=y, X_val=X[:, :5], y_val=y)
    assert "X_test of shape (6,), uint8" in error(X_train=X, y_train=y, X_test=X.astype(np.uint8), y_test=y)


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_data_that_may_not_be_read(csv, capsys, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), csv)

    monkeypatch.setattr("fastfc.data_utils.load_dataset", denied)
    assert error_of(capsys, ["train", "--data", csv]) == f"fastfc: error: {csv}: {os.strerror(errno.EACCES)}\n"


# -------------------------------------------------------------------------------------------------- predict


def predicted(capsys, *argv):
    assert main(["predict", *argv]) == 0
    out, err = capsys.readouterr()
    return out.splitlines(), err


def test_predict_prints_names(csv, tmp_path, capsys):
    argv = ["--hidden", "16", "--epochs", "20", "--batch-size", "10", "--learning-rate", "0.01", "--target", "kind"]
    assert main(["train", "--data", csv, *argv]) == 0
    capsys.readouterr()
    X, y = table(30, 4)
    expected = [NAMES[i] for i in load_model("model.npz").predict(X)]
    accuracy = f"accuracy: {100 * np.mean(np.array(expected) == np.array(NAMES)[y]):.1f} % (30 examples)\n"

    labelled = write_csv(tmp_path / "labelled.csv", X, [NAMES[i] for i in y])
    assert predicted(capsys, "model.npz", labelled) == (expected, accuracy)
    assert predicted(capsys, "model.npz", labelled, "--target", "kind") == (expected, accuracy)
    plain = write_csv(tmp_path / "plain.csv", X, header=False)
    assert predicted(capsys, "model.npz", plain) == (expected, "")


def test_predict_parts(npz, model, capsys):
    net = load_model(model)
    for split, (X, y) in {"train": table(40, 0), "val": table(20, 1), "test": table(30, 2)}.items():
        lines, err = predicted(capsys, model, npz, "--split", split)
        assert lines == [str(i) for i in net.predict(X)]
        assert err == f"accuracy: {100 * np.mean(net.predict(X) == y):.1f} % ({len(y)} examples)\n"


def test_predict_with_a_model_without_names(npz, model, capsys):
    net = load_model(model)
    net.class_names = None
    net.save("nameless.npz")
    assert predicted(capsys, "nameless.npz", npz) == predicted(capsys, model, npz)


def test_predict_takes_pictures_in_any_shape(tmp_path, capsys):
    X, y = table(40, 0)
    pictures = np.clip(X * 20 + 100, 0, 255).astype(np.uint8)
    np.savez(tmp_path / "pictures.npz", X=pictures.reshape(-1, 2, 3), y=y)
    np.savez(tmp_path / "rows.npz", X=pictures, y=y)
    assert main(["train", "--data", "pictures.npz", *SMALL]) == 0
    capsys.readouterr()
    assert predicted(capsys, "model.npz", "pictures.npz") == predicted(capsys, "model.npz", "rows.npz")


def test_wrong_models(npz, model, tmp_path, capsys):
    (tmp_path / "text.npz").write_text("hello")
    for name, words in [
        ("absent.npz", f"absent.npz: {os.strerror(errno.ENOENT)}"),
        ("text.npz", "text.npz"),
        (npz, "not a fastfc model"),
        (str(tmp_path), str(tmp_path)),
    ]:
        assert words in error_of(capsys, ["predict", name, npz])
    with np.load(model) as file:
        arrays = dict(file)
    options = str(arrays["options"])
    assert '"class_names": [' in options
    np.savez("names.npz", **{**arrays, "options": np.array(options.replace('"class_names": [', '"class_names": [1, '))})
    assert "class_names: expected 3 strings" in error_of(capsys, ["predict", "names.npz", npz])
    np.savez("mean.npz", **{**arrays, "input_mean": np.zeros(4)})
    assert "mean.npz: not a fastfc model" in error_of(capsys, ["predict", "mean.npz", npz])


def test_wrong_data_to_predict(model, tmp_path, capsys):
    X, y = table(10, 0)

    def error(*options, **arrays):
        np.savez(tmp_path / "bad.npz", **arrays)
        return error_of(capsys, ["predict", model, "bad.npz", *options])

    assert "no such file or folder: absent" in error_of(capsys, ["predict", model, "absent"])
    assert "bad.npz has 5 features an example; model.npz takes 6" in error(X=X[:, 1:])
    narrow = write_csv(tmp_path / "narrow.csv", X[:, 2:])
    assert "narrow.csv has 4 feature columns; expected 6" in error_of(capsys, ["predict", model, narrow])
    assert "bad.npz has nan, infinite or too large values" in error(X=np.full((2, 6), np.nan))
    assert "'yak'" in error(X=X, y=np.full(10, "yak"))
    assert "labels run from" in error(X=X, y=y + 7)
    assert "has neither X_val nor X" in error("--split", "val", X_test=X)


# ---------------------------------------------------------------------------------- processes and streams


@pytest.mark.parametrize(("dtypes", "code"), [(None, 0), (["float64"], 1)])
def test_check(dtypes, code, capsys, monkeypatch):
    def run(given, stream):
        print(given, file=stream)
        return code

    monkeypatch.setattr("fastfc.ops.check.run", run)
    assert main(["check", *(["--dtype", *dtypes] if dtypes else [])]) == code
    assert capsys.readouterr().out == f"{dtypes}\n"


def test_names_that_the_output_cannot_show(npz, model, capsys, monkeypatch):
    net = load_model(model)
    net.class_names = ["Ä", "Ö", "Ü"]
    net.save("umlauts.npz")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        assert main(["predict", "umlauts.npz", npz]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastfc: error: cannot write to standard output: 'ascii' codec")
    assert err.count("\n") == 1


@pytest.mark.parametrize("variable", ["FASTFC_BACKEND", "FASTFC_NUM_THREADS", "FASTFC_LEGACY"])
def test_environment_variables_with_nonsense(variable):
    with fastfc_process("train", environment={variable: "gpu"}) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith(f"fastfc: error: environment variable {variable}: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes without a reader")
@pytest.mark.parametrize("argv", [["--help"], ["predict", "model.npz", "parts.npz"]])
def test_a_reader_that_went_away(argv, model):
    read, write = os.pipe()
    os.close(read)
    with fastfc_process(*argv, stdout=write) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert err == ""
    # argparse itself passes over errors in printing a help text, from Python 3.11 on.
    assert process.returncode in ((0, 141) if "--help" in argv else (141,))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_results_that_do_not_fit(npz, model):
    with open("/dev/full", "w") as full, fastfc_process("predict", model, npz, stdout=full) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == f"fastfc: error: cannot write to standard output: {os.strerror(errno.ENOSPC)}\n"
