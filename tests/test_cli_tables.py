"""Tables on the command line: defaults that follow the size of the data, columns by name, and what is said of both."""

import re
import shutil
from pathlib import Path

import numba
import numpy as np
import pytest

from fastfc import cli, load_model
from fastfc._defaults import Schedule, schedule, val_fraction
from fastfc._standardization import mean_and_scale
from fastfc.cli import main
from fastfc.data_utils import split_validation

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hundreds of interpreted steps take minutes")
CASES = Path(__file__).parent / "cases"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Everything is written to a folder of its own, and kernels that are new compile in silence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")
    for path in CASES.iterdir():
        shutil.copy(path, tmp_path)


def run(capsys, *argv):
    code = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    return code, out, err


def train(capsys, *argv):
    """The summary, and what was said before the training."""
    code, out, err = run(capsys, "train", "--quiet", *argv)
    assert code == 0, err
    return out, err


def line_of(out, name):
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}: ")]
    return line.removeprefix(f"{name}: ")


def accuracy_of(line):
    return float(re.match(r"[\d.]+", line.removeprefix("accuracy: "))[0])


def predict(capsys, *argv):
    code, out, err = run(capsys, "predict", *argv)
    assert code == 0, err
    return out.splitlines(), err


def error_of(capsys, *argv):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("fastfc: error: ")
    assert "Traceback" not in err
    return err.splitlines()[-1]


def write(name, rows, header="a,b,kind"):
    Path(name).write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return name


# ----------------------------------------------------------------------------------- defaults and the size of data


@pytest.mark.parametrize(
    ("rows", "share"), [(3, 0.2), (150, 0.2), (999, 0.2), (1000, 0.2), (2000, 0.1), (4000, 0.05), (60000, 0.05)]
)
def test_validation_part(rows, share):
    assert val_fraction(rows) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, Schedule(1, 500, 0.9 ** (20 / 500))),
        (8, Schedule(8, 500, 0.9 ** (20 / 500))),
        (120, Schedule(16, 72, 0.9 ** (20 / 72))),
        (800, Schedule(80, 50, 0.9 ** (20 / 50))),
        (1000, Schedule(100, 50, 0.9 ** (20 / 50))),
        (2500, Schedule(100, 20, 0.9)),
        (3800, Schedule(100, 20, 0.9)),  # the embedded data, as ever
        (57000, Schedule(100, 20, 0.9)),
    ],
)
def test_schedule(rows, expected):
    assert schedule(rows, None, None, None) == expected


def test_a_schedule_that_was_asked_for():
    assert schedule(120, 100, 7, 0.5) == Schedule(100, 7, 0.5)
    assert schedule(120, 1000, 7, None) == Schedule(120, 7, 0.9)
    assert schedule(120, 10, None, None) == Schedule(10, 42, 0.9 ** (20 / 42))
    assert schedule(120, None, None, 1.0) == Schedule(16, 72, 1.0)


def test_few_rows_give_enough_steps():
    for rows in range(1, 3000):
        plan = schedule(rows, None, None, None)
        assert plan.batch_size <= rows
        assert plan.epochs * (rows // plan.batch_size) >= 500
        # In the end the rate is what it is after 20 epochs.
        assert plan.lr_decay**plan.epochs == pytest.approx(0.9**20, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_iris_without_options(seed, capsys):
    out, _ = train(capsys, "--data", "iris.csv", "--seed", seed)
    assert line_of(out, "data") == "iris.csv (120 train, 30 validation)"
    assert line_of(out, "defaults for 120 rows") == "batches of 16, 72 epochs, standardized"
    assert accuracy_of(line_of(out, "validation accuracy")) >= 93
    net = load_model("model.npz")
    assert net.class_names == ["setosa", "versicolor", "virginica"]
    assert net.feature_names == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    assert net.target_name == "species"


def test_the_help_says_the_rules(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    for words in (
        "(default: 20, or as many as make 500 steps)",
        "(default: a tenth of those to train on, clamped to 16..100: 100 from 1000 on)",
        "(default: 200 rows, clamped to 0.05..0.2: 0.2 below 1000 rows)",
        "(default: tables only; ",
        "0.9 ** (20 / epochs)",
    ):
        assert words in out


def test_progress_has_about_as_many_lines_whatever_the_epochs(capsys):
    _, _, err = run(capsys, "train", "--data", "iris.csv")
    shown = [int(number) for number in re.findall(r"^epoch (\d+)/72: ", err, re.MULTILINE)]
    assert shown == list(range(3, 73, 3))
    _, _, err = run(capsys, "train", "--data", "iris.csv", "--epochs", "30")
    assert len(re.findall(r"^epoch \d+/30: ", err, re.MULTILINE)) == 30


# ------------------------------------------------------------------------------------------------ standardization


@pytest.mark.parametrize("option", [[], ["--standardize"]])
def test_coordinates(option, capsys):
    """A large offset, of which float32 keeps nothing that matters, is taken off in the data's own precision."""
    for dtype in ("float32", "float64"):
        out, _ = train(capsys, "--data", "coordinates.csv", "--dtype", dtype, *option)
        assert accuracy_of(line_of(out, "validation accuracy")) >= 97
        _, err = predict(capsys, "model.npz", "coordinates.csv")
        assert accuracy_of(err) >= 97


def test_timestamps(capsys):
    """Seconds since 1970, of which float32 tells only those apart that lie two minutes from each other."""
    seconds = 1_700_000_000 + np.random.RandomState(0).randint(0, 100, 500)
    rows = [f"{second},{second % 7},{'late' if second >= 1_700_000_050 else 'early'}" for second in seconds.tolist()]
    out, _ = train(capsys, "--data", write("stamps.csv", rows, "seconds,weekday,kind"))
    assert accuracy_of(line_of(out, "validation accuracy")) >= 97
    _, err = predict(capsys, "model.npz", "stamps.csv")
    assert accuracy_of(err) >= 97


def test_tables_are_standardized_unless_asked_not_to_be(capsys):
    train(capsys, "--data", "iris.csv", "--epochs", "1")
    assert load_model("model.npz").input_scale.shape == (4,)
    out, _ = train(capsys, "--data", "iris.csv", "--epochs", "1", "--no-standardize")
    assert load_model("model.npz").input_scale is None
    assert line_of(out, "defaults for 120 rows") == "batches of 16"
    out, _ = train(capsys, "--data", "iris.csv", "--epochs", "1", "--batch-size", "100", "--standardize")
    assert load_model("model.npz").input_scale.shape == (4,)
    assert "defaults" not in out


def test_pictures_in_a_table(capsys):
    random = np.random.RandomState(0)
    pixels = random.randint(0, 256, (60, 64))
    pixels[:, 5] = 0
    pixels[:, 9] = random.rand(60) < 0.05
    names = ",".join([*(f"pixel{i}" for i in range(64)), "label"])
    rows = [",".join(map(str, [*row, i % 3])) for i, row in enumerate(pixels.tolist())]
    train(capsys, "--data", write("pictures.csv", rows, names), "--epochs", "1")
    net = load_model("model.npz")
    assert net.input_scale == 1 / 255
    assert net.input_mean.shape == (64,)
    # A value that no byte has makes numbers of them.
    rows = [row.replace(",", ".5,", 1) for row in rows]
    train(capsys, "--data", write("numbers.csv", rows, names), "--epochs", "1")
    assert load_model("model.npz").input_scale.shape == (64,)


@pytest.mark.parametrize(
    ("offset", "spread", "dtype"),
    [(1e7, 3.0, np.float32), (4_200_000, 600, np.int32), (1_700_000_000_000_000_000, 10**9, np.int64), (0, 1, float)],
)
def test_mean_and_scale_do_not_lose_what_values_have(offset, spread, dtype):
    drawn = np.random.RandomState(1).standard_normal((200_000, 2)) * spread
    X = np.asarray(offset, dtype) + drawn.astype(dtype)
    mean, scale = mean_and_scale(X)
    # Exact to the last digit: differences to the first row, in the data's own precision.
    rest = (X - X[0]).astype(np.float64)
    exact = rest.mean(axis=0)
    assert np.all(np.abs((mean - X[0].astype(np.float64)) - exact) <= 1e-5 * rest.std(axis=0))
    assert np.all(np.abs(scale * rest.std(axis=0) - 1) <= 1e-6)
    assert mean.dtype == scale.dtype == np.float64


# --------------------------------------------------------------------------------------------------- tiny tables


@pytest.mark.parametrize("rows", [3, 4, 10])
def test_tables_of_a_few_rows(rows, capsys):
    name = write("few.csv", [f"{i}.5,{i % 3}.25,{'uv'[i % 2]}" for i in range(rows)])
    out, err = train(capsys, "--data", name)
    held_out = round(rows * 0.2)
    assert line_of(out, "data") == f"few.csv ({rows - held_out} train, {held_out} validation)"
    assert f"warning: few rows for validation ({held_out}), one is {100 // held_out} % of its accuracy" in err
    assert len(predict(capsys, "model.npz", name)[0]) == rows


def test_enough_rows_for_validation_need_no_warning(capsys):
    _, err = train(capsys, "--data", "iris.csv", "--epochs", "1")
    assert "warning" not in err


def test_a_class_of_one_row_is_trained_on(capsys):
    rows = [f"{i}.5,{i % 7}.25,{'uv'[i % 2]}" for i in range(60)]
    for place in (0, 20, 45, 60):
        name = write("rare.csv", [*rows[:place], "99.5,99.25,rare", *rows[place:]])
        for seed in range(3):
            train(capsys, "--data", name, "--seed", seed)
            labels, _ = predict(capsys, "model.npz", name)
            assert labels[place] == "rare"


def test_rare_classes_stay_in_training():
    y = np.array([0, 5, 0, 1, 1, 2, 3, 0, 1])
    for seed in range(20):
        for fraction in (0.1, 0.2, 0.5, 0.8):
            _, y_train, _, y_val = split_validation(np.arange(9), y, fraction, seed)
            assert {2, 3, 5} <= set(y_train.tolist())
            assert not {2, 3, 5} & set(y_val.tolist())
            assert 1 <= len(y_val) == min(round(fraction * 9), 3)
    with pytest.raises(ValueError, match="each of the 4 rows is needed for training, as each class has one row"):
        split_validation(np.arange(4), np.arange(4), 0.5, 0)


def test_tables_that_cannot_be_trained_on(capsys):
    def error(*rows, options=()):
        return error_of(capsys, "train", "--data", write("few.csv", rows), *options)

    one_each = error("1.5,2.5,u", "2.5,3.5,v", "4.5,5.5,w")
    assert "few.csv: no examples for validation: each of the 3 rows is needed for training" in one_each
    alike = [f"{i}.5,{i % 3}.25,u" for i in range(30)]
    assert "column 'kind' would be the labels, but it has 'u' in each of 30 rows" in error(*alike)
    same = error(*alike, options=["--target", "kind"])
    assert "few.csv: all labels are u; expected two classes or more; --target names another column" in same
    small = error(*(f"{i}.5,{i % 3}.25,{'uv'[i % 2]}" for i in range(30)), options=["--val-fraction", "0.01"])
    assert "no examples for validation: fraction 0.01 of 30 rows leaves one part empty" in small


# ------------------------------------------------------------------------------------------------ columns by name


def test_columns_in_another_order(capsys):
    train(capsys, "--data", "columns_train.csv")
    expected = [line.split(",")[-1] for line in Path("columns_train.csv").read_text().splitlines()[1:]]
    labels, err = predict(capsys, "model.npz", "columns_train.csv")
    share = 100 * np.mean(np.array(labels) == expected)
    assert share >= 95
    assert err == f"accuracy: {share:.1f} % ({len(expected)} examples)\n"
    _, err = predict(capsys, "model.npz", "columns_reordered.csv")
    assert accuracy_of(err) == pytest.approx(share, abs=3)
    # The same rows with their columns moved: the same answers.
    rows = [line.split(",") for line in Path("columns_train.csv").read_text().splitlines()]
    Path("moved.csv").write_text("".join(f"{d},{size},{w},{h}\n" for w, h, d, size in rows))
    moved, err = predict(capsys, "model.npz", "moved.csv")
    assert moved == labels
    assert err == f"accuracy: {share:.1f} % ({len(expected)} examples)\n"


def test_columns_that_are_missing_are_named(capsys):
    train(capsys, "--data", "columns_train.csv", "--epochs", "1")
    rows = [line.split(",") for line in Path("columns_train.csv").read_text().splitlines()]
    Path("narrow.csv").write_text("".join(f"{w},{size}\n" for w, h, d, size in rows))
    error = error_of(capsys, "predict", "model.npz", "narrow.csv")
    assert "narrow.csv lacks 2 of the model's 3 columns: 'height', 'depth'; it has 'width', 'size'" in error


def test_columns_that_are_unknown_are_left_out_and_named(capsys):
    train(capsys, "--data", "columns_train.csv", "--epochs", "1")
    labels, _ = predict(capsys, "model.npz", "columns_train.csv")
    rows = [line.split(",") for line in Path("columns_train.csv").read_text().splitlines()]
    lines = [f"{'order' if i == 0 else 7 * i},{w},{h},{d}\n" for i, (w, h, d, size) in enumerate(rows)]
    Path("unlabelled.csv").write_text("".join(lines))
    # As wide as the training's table; its last column is no label for that.
    got, err = predict(capsys, "model.npz", "unlabelled.csv")
    assert got == labels
    assert err.startswith("fastfc: warning: ")
    assert "order" in err
    assert "accuracy" not in err
    assert err.count("\n") == 1
    got, err = predict(capsys, "model.npz", "unlabelled.csv", "--drop", "order")
    assert (got, err) == (labels, "fastfc: left out: column 1 'order', as drop says\n")


def test_rows_without_labels(capsys):
    train(capsys, "--data", "iris.csv")
    lines = Path("iris.csv").read_text().splitlines()
    labels, _ = predict(capsys, "model.npz", "iris.csv")
    Path("plain.csv").write_text("".join(f"{line.rsplit(',', 1)[0]}\n" for line in lines))
    assert predict(capsys, "model.npz", "plain.csv") == (labels, "")
    Path("nameless.csv").write_text("".join(f"{line.rsplit(',', 1)[0]}\n" for line in lines[1:]))
    assert predict(capsys, "model.npz", "nameless.csv", "--header", "no") == (labels, "")


def test_a_last_column_that_is_no_label(capsys):
    """Without names a column more than the model takes is a guess; where it is wrong, options are named."""
    lines = [line.rsplit(",", 1) for line in Path("iris.csv").read_text().splitlines()[1:]]
    rows = [f"{features},{kind}" for features, kind in lines]
    train(capsys, "--data", write("nameless.csv", rows, header=None), "--header", "no", "--epochs", "1")
    labels, _ = predict(capsys, "model.npz", "nameless.csv", "--header", "no")
    with_id = write("with_id.csv", [f"{features},{i}" for i, (features, _) in enumerate(lines)], header=None)
    error = error_of(capsys, "predict", "model.npz", with_id, "--header", "no")
    assert "--target" in error
    assert "--drop" in error
    assert "labels run from" not in error
    options = ["--header", "no", "--target", "none", "--drop", "4"]
    assert predict(capsys, "model.npz", with_id, *options) == (labels, "fastfc: left out: column 5, as drop says\n")


def test_what_was_taken_for_what_is_said(capsys):
    _, err = train(capsys, "--data", "iris.csv", "--epochs", "1")
    said = [line for line in err.splitlines() if "species" in line]
    assert len(said) == 1
    assert said[0].startswith("fastfc: ")
    assert "setosa" in said[0]
    assert "50" in said[0]


def test_an_id_is_left_out_when_asked(capsys):
    lines = Path("iris.csv").read_text().splitlines()
    numbered = [f"code,{lines[0]}", *(f"{7919 * i % 1000},{line}" for i, line in enumerate(lines[1:]))]
    Path("numbered.csv").write_text("\n".join(numbered) + "\n")
    train(capsys, "--data", "numbered.csv", "--drop", "code")
    net = load_model("model.npz")
    assert net.feature_names == lines[0].split(",")[:-1]
    _, err = predict(capsys, "model.npz", "iris.csv")
    assert accuracy_of(err) >= 93


# ------------------------------------------------------------------------------------------- options of tables


def test_table_options_reach_the_reading(capsys, monkeypatch):
    seen = {}

    def load(name, **options):
        seen.update(options)
        raise ValueError("seen")

    monkeypatch.setattr("fastfc.data_utils.load_dataset", load)
    assert error_of(capsys, "train", "--data", "iris.csv") == "fastfc: error: seen"
    plain = dict.fromkeys(("target", "header", "separator", "decimal", "encoding", "missing")) | {
        "drop": (),
        "task": "auto",
    }
    assert seen == plain
    options = ["--header", "no", "--separator", "tab", "--decimal", ",", "--encoding", "cp1252", "--missing", "drop"]
    error_of(
        capsys, "train", "--data", "iris.csv", *options, "--drop", 'id,3, "a, b"', "--drop", "x", "--target", "species"
    )
    assert seen == {
        "target": "species",
        "header": False,
        "separator": "\t",
        "decimal": ",",
        "encoding": "cp1252",
        "missing": "drop",
        "drop": ("id", "3", "a, b", "x"),
        "task": "auto",
    }


def test_table_options_for_other_data(capsys):
    assert "header=True" in error_of(capsys, "train", "--header", "yes")
    np.savez("data.npz", X=np.eye(30, 3), y=np.arange(30) % 2)
    assert "drop=('id',)" in error_of(capsys, "train", "--data", "data.npz", "--drop", "id")
    for options in (["--missing", "fill"], ["--header", "maybe"]):
        with pytest.raises(SystemExit):
            main(["train", *options])
        assert f"argument {options[0]}: " in capsys.readouterr().err


def test_notes_and_warnings_are_lines(capsys):
    np.savez("data.npz", images=np.eye(60, 3), labels=np.arange(60).reshape(-1, 1) % 2)
    _, err = train(capsys, "--data", "data.npz", "--epochs", "1", "--val-fraction", "0.5")
    assert err.splitlines() == [
        "fastfc: arrays: images as X, labels as y",
        "fastfc: labels: labels of shape (60, 1) taken as (60,)",
    ]


# --------------------------------------------------------------------------------------------------- the package


def test_the_package_says_that_it_is_typed():
    assert (Path(cli.__file__).parents[1] / "py.typed").is_file()
