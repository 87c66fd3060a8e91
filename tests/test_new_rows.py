"""New rows of a table: what options do, labels written otherwise than in the training, rows without any value."""

import numba
import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastfc import load_dataset, tolerance  # noqa: E402
from fastfc._standardization import mean_and_scale  # noqa: E402
from fastfc.backend import use_backend  # noqa: E402
from fastfc.cli import main  # noqa: E402
from fastfc.data_utils import load_samples  # noqa: E402
from fastfc.formats import table_rows  # noqa: E402
from fastfc.formats.table_choice import class_texts  # noqa: E402
from fastfc.tabular import fit_table  # noqa: E402

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hundreds of interpreted steps take minutes")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")


def rows_of(labels=(0, 1), rows=200):
    """A number with gaps, a word, and a label that follows from both."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"id": rng.permutation(rows), "size": rng.randn(rows).round(3)})
    frame["kind"] = rng.choice(["bolt", "nut"], rows)
    frame["label"] = np.where((frame["size"] > 0) == (frame["kind"] == "nut"), labels[1], labels[0])
    frame.loc[10:19, "size"] = np.nan
    return frame


def run(capsys, *argv):
    code = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out.splitlines(), err


def error_of(capsys, *argv):
    code = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    return err.splitlines()[-1].removeprefix("fastfc: error: ")


# ------------------------------------------------------------------------------------------- labels as numbers


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        (["1", "1.0", "0"], ["1", "1", "0"]),
        (["-0.0", "0.0", "-1.", "1"], ["0", "0", "-1", "1"]),
        (["0.5", "0.50", "1", "1.0"], ["0.5", "0.5", "1", "1"]),
        (["0.50", "1.25"], ["0.50", "1.25"]),
        (["TRUE", "True", "false"], ["True", "True", "False"]),
        (["TRUE", "FALSE"], ["TRUE", "FALSE"]),
        (["+1", "1", "1e0"], ["+1", "1", "1e0"]),
        (["07", "007", "7"], ["07", "007", "7"]),
        (["1", "1.0", "a"], ["1", "1.0", "a"]),
        (["yes", "Yes"], ["yes", "Yes"]),
    ],
)
def test_equal_numbers_and_booleans_are_one_class(texts, classes):
    assert class_texts(texts, ".") == classes
    with_commas = class_texts([text.replace(".", ",") for text in texts], ",")
    assert [name.replace(",", ".") for name in with_commas] == classes


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(
    ("written", "names"),
    [
        (("-0.0", "0.0", "1.0", "1"), ["0", "1"]),
        (("False", "FALSE", "TRUE", "True"), ["False", "True"]),
    ],
)
def test_labels_of_several_spellings_are_one_class_with_and_without_words(capsys, mixed, written, names):
    frame = rows_of().drop(columns=["id"] if mixed else ["id", "kind"]).fillna({"size": 0.5})
    y = frame["label"].to_numpy()
    frame["label"] = [written[2 * label + row % 2] for row, label in enumerate(y)]
    frame.to_csv("rows.csv", index=False)
    _, err = run(capsys, "train", "rows.csv", "--epochs", 2, "--quiet")
    counts = np.bincount(y)
    assert f"2 classes: {names[0]} ({counts[0]}), {names[1]} ({counts[1]})" in err
    out, err = run(capsys, "predict", "model.npz", "rows.csv")
    right = np.mean([line == names[label] for line, label in zip(out, y, strict=True)])
    assert f"accuracy: {100 * right:.1f} % (200 examples)" in err


@pytest.mark.parametrize("labels", [(0, 1), (0.5, 2.0), (False, True)])
def test_the_score_of_a_file_is_that_of_its_frame(labels):
    frame = rows_of(labels)
    model = fit_table(frame, "label", task="classification", num_epochs=3)
    assert model.score(frame) > 0.6
    frame.to_csv("rows.csv", index=False)
    assert model.score("rows.csv") == model.score(frame)
    # pandas writes whole numbers of a column with a missing value with a point.
    frame["label"] = frame["label"].astype(object if isinstance(labels[0], bool) else float)
    frame.loc[:4, "label"] = None
    frame.to_csv("rows.csv", index=False)
    assert model.score("rows.csv") == model.score(frame)


def test_a_file_and_its_frame_make_the_same_model():
    frame = rows_of().astype({"label": float})
    frame.to_csv("rows.csv", index=False)
    of_frame, of_file = (fit_table(rows, "label", num_epochs=2) for rows in (frame, "rows.csv"))
    assert of_frame.class_names == of_file.class_names == ["0", "1"]
    np.testing.assert_array_equal(of_file.classes, [0.0, 1.0])
    assert of_frame.classes.dtype == of_file.classes.dtype
    np.testing.assert_array_equal(of_frame.predict_proba(frame), of_file.predict_proba("rows.csv"))


def test_unknown_classes_are_told_and_count_as_wrong(capsys):
    frame = rows_of()
    frame.to_csv("rows.csv", index=False)
    run(capsys, "train", "rows.csv", "--epochs", 3, "--quiet")
    out, _ = run(capsys, "predict", "model.npz", "rows.csv")
    frame.loc[100:149, "label"], frame.loc[150:, "label"] = 7, None
    frame.to_csv("new.csv", index=False)
    _, err = run(capsys, "predict", "model.npz", "new.csv")
    right = sum(int(line) == label for line, label in zip(out[:100], frame["label"][:100], strict=True))
    assert "warning: column 'label': '7.0' are none of the model's classes and count as wrong" in err
    assert f"accuracy: {100 * right / 150:.1f} % (150 examples)" in err


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("word", ["none", "-", "missing"])
def test_a_class_may_be_called_none(capsys, mixed, word):
    frame = rows_of((word, "mild")).drop(columns=["id"] if mixed else ["id", "kind"]).fillna({"size": 0.5})
    frame.loc[:4, "label"] = None
    frame.to_csv("rows.csv", index=False)
    _, err = run(capsys, "train", "rows.csv", "--epochs", 3, "--quiet", "--missing", "drop")
    count = int((frame["label"] == word).sum())
    assert f"{word} ({count})" in err
    assert "left out: 5 rows" in err
    out, err = run(capsys, "predict", "model.npz", "rows.csv", *([] if mixed else ["--missing", "drop"]))
    right = np.mean([line == label for line, label in zip(out[-195:], frame["label"][5:], strict=True)])
    assert f"accuracy: {100 * right:.1f} % (195 examples)" in err


def test_beside_booleans_none_is_missing():
    frame = rows_of((False, True))
    frame["label"] = frame["label"].astype(object).where(frame["id"] > 9, "None")
    frame.to_csv("rows.csv", index=False)
    model = fit_table("rows.csv", "label", num_epochs=1)
    assert model.class_names == ["False", "True"]
    assert model.score("rows.csv") == model.score(pd.read_csv("rows.csv"))


def test_beside_numbers_to_predict_a_dash_is_missing():
    frame = rows_of()
    frame["label"] = frame["id"] * 1.25
    frame["label"] = frame["label"].astype(object).where(frame["id"] > 9, "-")
    frame.to_csv("rows.csv", index=False)
    model = fit_table("rows.csv", "label", num_epochs=1)
    assert model.class_names is None
    assert "left out: 10 rows without a value of the target 'label'" in model.notes
    assert model.score("rows.csv") < 1


# ------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("new", ["new.csv", "new.parquet"])
def test_options_of_columns_and_rows_are_kept_or_refused(capsys, new):
    frame = rows_of()
    frame.to_csv("rows.csv", index=False)
    run(capsys, "train", "rows.csv", "--epochs", 2, "--quiet", "--drop", "id")
    frame.to_csv("new.csv", index=False)
    frame.to_parquet("new.parquet")
    predict = ["predict", "model.npz", new]
    out, _ = run(capsys, *predict)

    kept, err = run(capsys, *predict, "--missing", "drop")
    assert kept == out[:10] + out[20:]
    assert "left out: 10 rows that miss a value" in err
    assert "(190 examples)" in err
    told = error_of(capsys, *predict, "--missing", "error")
    assert told.startswith("10 rows lack a value, the first is row 11, in column 'size'")

    assert run(capsys, *predict, "--drop", "id,label") == (out, "")
    assert "which the model takes as a feature" in error_of(capsys, *predict, "--drop", "size")
    assert "drop 'weight' is not " in error_of(capsys, *predict, "--drop", "weight")
    assert "which the model takes as a feature" in error_of(capsys, *predict, "--target", "kind")
    assert "target 'weight' is not " in error_of(capsys, *predict, "--target", "weight")
    assert "drop: 'label' is the target" in error_of(capsys, *predict, "--drop", "label", "--target", "label")
    # By its number, too.
    assert run(capsys, *predict, "--target", 3)[1] == run(capsys, *predict)[1]


def test_rows_to_train_on_that_lack_a_value_are_counted_as_they_stand_in_the_file(capsys):
    frame = rows_of()
    frame.loc[:4, "label"] = np.nan
    frame.to_csv("rows.csv", index=False)
    told = error_of(capsys, "train", "rows.csv", "--missing", "error", "--members", 2)
    assert told.startswith("15 rows lack a value, the first is row 1, in column 'label'")


def test_words_are_not_missing(capsys):
    rows_of().to_csv("rows.csv", index=False)
    train = ["train", "rows.csv", "--epochs", 1, "--quiet", "--missing", "error"]
    assert "10 rows lack a value, the first is row 11, in column 'size'" in error_of(capsys, *train)
    rows_of().dropna().to_csv("rows.csv", index=False)
    assert "categories kind" in run(capsys, *train)[1]


# ----------------------------------------------------------------------------------------- names that are twice


def twice(name, column):
    """The rows with one more column, of the name of another one."""
    frame = rows_of()
    return pd.concat([frame, pd.DataFrame({name: column(frame)})], axis=1)


def test_a_column_that_is_there_twice_is_named_or_left_out(capsys):
    rows_of().to_csv("rows.csv", index=False)
    run(capsys, "train", "rows.csv", "--epochs", 2, "--quiet")
    expected, err = run(capsys, "predict", "model.npz", "rows.csv")
    twice("size", lambda frame: -frame["size"]).to_csv("new.csv", index=False)
    told = error_of(capsys, "predict", "model.npz", "new.csv")
    assert "columns 2 and 5 are both named 'size'; each needs a name of its own" in told
    assert "drop=[4] (--drop 4)" in told
    assert run(capsys, "predict", "model.npz", "new.csv", "--drop", 4) == (expected, err)
    other, _ = run(capsys, "predict", "model.npz", "new.csv", "--drop", 1)
    assert other != expected
    # One that the model does not take may be there as often as it likes.
    twice("id", lambda frame: frame["kind"]).to_csv("new.csv", index=False)
    assert run(capsys, "predict", "model.npz", "new.csv") == (expected, err)


def test_a_column_that_is_there_twice_is_trained_on_once(capsys):
    twice("size", lambda frame: 0 * frame["id"]).to_csv("rows.csv", index=False)
    assert "columns 2 and 5 are both named 'size'" in error_of(capsys, "train", "rows.csv", "--members", 2)
    _, err = run(capsys, "train", "rows.csv", "--epochs", 2, "--quiet", "--target", "label", "--drop", 4)
    assert "columns: numbers size; categories kind" in err
    rows_of().to_csv("new.csv", index=False)
    assert run(capsys, "predict", "model.npz", "new.csv") == run(
        capsys, "predict", "model.npz", "rows.csv", "--drop", 4
    )


# --------------------------------------------------------------------------------------- rows without a value


def test_a_table_without_rows_has_no_predictions(capsys):
    rows_of().to_csv("rows.csv", index=False)
    run(capsys, "train", "rows.csv", "--epochs", 1, "--quiet")
    rows_of()[10:20].to_csv("new.csv", index=False)
    told = error_of(capsys, "predict", "model.npz", "new.csv", "--missing", "drop")
    assert told == "new.csv has no rows without missing values"
    rows_of()[:0].to_csv("new.csv", index=False)
    assert error_of(capsys, "predict", "model.npz", "new.csv") == "new.csv has no rows"


def test_a_row_without_values_does_not_shift_the_predictions(capsys):
    rows_of().drop(columns=["id", "kind"]).dropna().to_csv("rows.csv", index=False)
    run(capsys, "train", "rows.csv", "--epochs", 2, "--quiet")
    with open("new.csv", "w") as file:
        file.write('size\n1.5\n""\n-0.5\n')
    assert "new.csv, line 3, column 1: expected a number, found ''" in error_of(
        capsys, "predict", "model.npz", "new.csv"
    )
    out, err = run(capsys, "predict", "model.npz", "new.csv", "--missing", "drop")
    assert len(out) == 2
    assert "left out: 1 rows that miss a value" in err


@pytest.mark.parametrize("rows", [3, 400])
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_rows_without_values_count_but_at_the_end(monkeypatch, rows, backend):
    monkeypatch.setattr(table_rows, "COMPILED_FROM_AT_HAND", 0)
    monkeypatch.setattr(table_rows, "COMPILED_FROM", 0)
    monkeypatch.setattr(table_rows, "_BLOCK_BYTES", 64)
    text = "a,b\n" + "1,2\n" * rows + ",\n\n,\n" * 3
    with use_backend(backend):
        with open("end.csv", "w") as file:
            file.write(text)
        X, _, _ = load_samples("end.csv", target="none")
        assert len(X) == rows
        with open("middle.csv", "w") as file:
            file.write(text + "3,4\n")
        with pytest.raises(ValueError, match=rf"line {rows + 2}, column 1: expected a number, found ''"):
            load_samples("middle.csv", target="none")
        with pytest.warns(UserWarning, match="left out: 6 rows that miss a value"):
            X, _, _ = load_samples("middle.csv", target="none", missing="drop")
        np.testing.assert_array_equal(X, [[1, 2]] * rows + [[3, 4]])
        # To train on, a row without a label is none.
        with open("train.csv", "w") as file:
            file.write("a,label\n" + "1,x\n,\n2,z\n" * rows)
        assert len(load_dataset("train.csv")["X_train"]) == 2 * rows


# ----------------------------------------------------------------------------- numbers that a network cannot take


@pytest.mark.parametrize("new", ["frame", "rows.csv"])
def test_numbers_beyond_the_dtype_are_refused_and_not_predicted_as_nan(capsys, new):
    frame = rows_of()
    frame.to_csv("rows.csv", index=False)
    model = fit_table("rows.csv", "label", num_epochs=1)
    model.save("model.npz")
    frame.loc[7, "size"] = -1e39
    frame.to_csv("rows.csv", index=False)
    rows = frame if new == "frame" else new
    for compute in (model.predict, model.predict_proba, model.score):
        with pytest.raises(
            ValueError, match="column 'size': expected numbers within the range of float32, got -1e\\+39"
        ):
            compute(rows)
    with pytest.raises(ValueError, match="column 'size': expected numbers within the range of float32"):
        fit_table(rows, "label", num_epochs=1)
    assert "column 'size'" in error_of(capsys, "predict", "model.npz", "rows.csv")
    # float64 holds them, and the preset bounds them.
    for options in ({"dtype": np.float64}, {"preset": "tabular"}):
        found = fit_table(rows, "label", num_epochs=1, **options).predict_proba(rows)
        assert np.isfinite(found).all()


def test_scales_of_extreme_powers():
    X = np.random.RandomState(0).randn(300, 2)
    mean, scale = mean_and_scale(X)
    for power in (-1000, -600, -40, 40, 600, 1000):
        # Powers of two are exact.
        means, scales = mean_and_scale(X * 2.0**power)
        np.testing.assert_allclose(means / 2.0**power, mean, rtol=tolerance(np.float64, 300))
        np.testing.assert_allclose(scales * 2.0**power, scale, rtol=tolerance(np.float64, 300))


def test_a_deviation_too_small_for_the_dtype_is_named(capsys):
    frame = rows_of().drop(columns=["id", "kind"]).dropna()
    frame["size"] *= 1e-40
    frame.to_csv("rows.csv", index=False)
    expected = "column 'size': expected numbers whose deviation is within the range of float32"
    with pytest.raises(ValueError, match=expected):
        fit_table(frame, "label", num_epochs=1)
    assert expected in error_of(capsys, "train", "rows.csv", "--epochs", 1)
    assert run(capsys, "train", "rows.csv", "--epochs", 1, "--dtype", "float64", "--quiet")


def test_infinities_of_frames_and_files_are_missing_and_told():
    frame = rows_of()
    frame["count"] = np.where(np.arange(200) % 40 == 0, -np.inf, np.arange(200) % 5)
    frame.to_csv("rows.csv", index=False)
    for rows in (frame, "rows.csv"):
        model = fit_table(rows, "label", num_epochs=1)
        assert "column 'count': '-inf' is no number and counts as missing" in model.notes
        assert [column["kind"] for column in model.columns] == ["number", "category", "number"]
    frame["label"] = np.where(frame["label"] == 1, np.inf, frame["size"].fillna(0))
    frame.to_csv("rows.csv", index=False)
    for rows in (frame, "rows.csv"):
        with pytest.raises(ValueError, match="target: expected finite numbers in column 'label', found 'inf'"):
            fit_table(rows, "label", num_epochs=1)
