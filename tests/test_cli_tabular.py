"""Tables of mixed columns on the command line."""

import os
import re
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from fastfc import load_model  # noqa: E402
from fastfc.cli import main  # noqa: E402

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hundreds of interpreted steps take minutes")


@pytest.fixture(autouse=True)
def shop(tmp_path, monkeypatch):
    """A table of 500 rows with words, yes and no, dates, missing numbers, and a rule to learn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")
    rng = np.random.RandomState(1)
    frame = pd.DataFrame({"id": np.arange(500), "age": rng.randint(18, 80, 500)})
    frame["city"], frame["owner"] = rng.choice(["Köln", "Seoul", "Lagos"], 500), rng.choice(["yes", "no"], 500)
    frame["income"] = rng.normal(30_000, 9_000, 500).round(2)
    frame.loc[rng.rand(500) < 0.1, "income"] = np.nan
    frame["joined"] = [f"2024-{month:02}-{day:02}" for month, day in rng.randint(1, 13, (500, 2))]
    frame["bought"] = np.where(
        np.where(frame["city"] == "Seoul", frame["age"] < 50, frame["owner"] == "yes"), "yes", "no"
    )
    frame.to_csv("shop.csv", index=False)
    return frame


def run(capsys, *argv):
    code = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def error_of(capsys, *argv):
    code = main([str(part) for part in argv])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    return err.splitlines()[-1].removeprefix("fastfc: error: ")


def test_a_shop_without_options(capsys):
    out, err = run(capsys, "train", "--data", "shop.csv", "--quiet")
    assert float(re.search(r"^validation accuracy: ([\d.]+)", out, re.MULTILINE)[1]) >= 95
    assert "fastfc: left out: column 'id', it counts the rows\n" in err
    assert "columns: numbers age, income; booleans owner; dates joined; categories city\n" in err
    out, err = run(capsys, "predict", "model.npz", "shop.csv")
    assert len(out.splitlines()) == 500
    assert float(re.search(r"accuracy: ([\d.]+)", err)[1]) >= 95


def test_new_rows(capsys, shop):
    run(capsys, "train", "--data", "shop.csv", "--quiet", "--epochs", 2)
    expected, _ = run(capsys, "predict", "model.npz", "shop.csv", "--target", "none")
    shop.drop(columns=["bought", "id"]).iloc[:, ::-1].to_csv("new.csv", index=False, sep="\t", decimal=",")
    assert run(capsys, "predict", "model.npz", "new.csv")[0] == expected
    shop.to_parquet("new.parquet")
    assert run(capsys, "predict", "model.npz", "new.parquet")[0] == expected
    # By its contents, whatever it is called.
    os.rename("model.npz", "model.bin")
    assert run(capsys, "predict", "model.bin", "new.csv")[0] == expected
    os.rename("model.bin", "model.npz")
    proba, _ = run(capsys, "predict", "--proba", "model.npz", "new.csv")
    assert proba.startswith("no,yes\n")
    shop.assign(city="Oslo").to_csv("oslo.csv", index=False)
    assert "the model does not know 'Oslo'" in run(capsys, "predict", "model.npz", "oslo.csv")[1]
    shop[["age", "city"]].to_csv("few.csv", index=False)
    assert "lacks 3 of the model's 5 columns: 'income', 'joined', 'owner'" in ", ".join(
        sorted([error_of(capsys, "predict", "model.npz", "few.csv")])
    ).replace("'owner', 'income', 'joined'", "'income', 'joined', 'owner'")
    assert load_model("model.npz").dims[0] == 11


def test_without_a_header(capsys, shop):
    shop.to_csv("bare.csv", index=False, header=False)
    run(capsys, "train", "--data", "bare.csv", "--quiet", "--epochs", 2)
    expected, _ = run(capsys, "predict", "model.npz", "bare.csv")
    shop.drop(columns="bought").to_csv("new.csv", index=False, header=False)
    assert run(capsys, "predict", "model.npz", "new.csv")[0] == expected


def test_encodings_and_quotes(capsys, shop):
    shop.assign(city=shop["city"] + ", the city").to_csv("shop.txt", index=False, encoding="cp1252", sep=";", quoting=1)
    _, err = run(capsys, "train", "--data", "shop.txt", "--quiet", "--epochs", 1, "--encoding", "cp1252")
    assert "encoding cp1252" in err
    assert "city=Köln, the city" in load_model("model.npz").feature_names


def test_parquet_groups_time_and_weights(capsys, shop):
    shop.assign(joined=pd.to_datetime(shop["joined"])).to_parquet("shop.parquet")
    out, _ = run(capsys, "train", "--data", "shop.parquet", "--quiet", "--epochs", 1, "--time", "joined")
    late = (shop["joined"] >= shop["joined"].sort_values().iloc[-100]).sum()
    assert f"{late} validation" in out
    out, _ = run(capsys, "train", "--data", "shop.csv", "--quiet", "--epochs", 1, "--groups", "city")
    sizes = shop["city"].value_counts()
    assert any(f"{size} validation" in out for size in sizes)
    assert not any("city" in name for name in load_model("model.npz").feature_names)
    out, err = run(capsys, "train", "--data", "shop.csv", "--quiet", "--epochs", 1, "--class-weight", "yes=3")
    assert "class weights: from 1 to 3, in the loss" in err
    assert "400 train" in out


def test_numbers_of_a_mixed_table(capsys, shop):
    rent = 10 * shop["age"] + shop["city"].map({"Köln": 0, "Seoul": 400, "Lagos": 900})
    shop.assign(rent=rent + 0.5).drop(columns=["bought", "joined"]).to_csv("rent.csv", index=False)
    out, err = run(capsys, "train", "--data", "rent.csv", "--quiet")
    assert float(re.search(r"^validation R2: ([\d.]+)", out, re.MULTILINE)[1]) > 0.9
    assert "regression" in err
    out, err = run(capsys, "predict", "model.npz", "rent.csv")
    assert np.corrcoef(np.array(out.split(), float), rent)[0, 1] > 0.95
    assert "R2: 0.9" in err


def test_missing_numbers_alone(capsys, shop):
    frame = shop[["age", "income"]].assign(old=np.where(shop["age"] > 50, "yes", "no"))
    frame.to_csv("ages.csv", index=False)
    _, err = run(capsys, "train", "--data", "ages.csv", "--quiet", "--epochs", 1)
    assert "columns: numbers age, income" in err
    assert "income: missing" in load_model("model.npz").feature_names
    line = int(np.flatnonzero(shop["income"].isna())[0]) + 2
    assert f"line {line}, column 2: expected a number" in error_of(
        capsys, "train", "--data", "ages.csv", "--missing", "error"
    )
    _, err = run(capsys, "train", "--data", "ages.csv", "--quiet", "--epochs", 1, "--missing", "drop")
    assert "rows that miss a value" in err


def test_wrong_options(capsys):
    assert "--groups names a column of a table" in error_of(capsys, "train", "--groups", "a")
    assert "groups: 'shop' is not among" in error_of(capsys, "train", "--data", "shop.csv", "--groups", "shop")
    assert "'perhaps' is not among the classes" in error_of(
        capsys, "train", "--data", "shop.csv", "--class-weight", "perhaps=2"
    )
    with pytest.raises(SystemExit):
        main(["train", "--class-weight", "yes"])
    assert "expected balanced or NAME=WEIGHT" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--class-weight", "yes=2,yes=3"])
    assert "expected one weight for each class, got two for 'yes'" in capsys.readouterr().err


def test_a_sweep_of_parquet_names_the_kind_of_file(capsys, shop):
    shop.to_parquet("shop.parquet")
    error = error_of(capsys, "sweep", "shop.parquet", "--grid", "learning_rate=1e-3")
    assert "shop.parquet is a Parquet file, which fastfc train and" in error


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("r,2,x\nr,2\ng,4,y,5\n", "odd.csv, line 4: expected 3 columns, found 2"),
        ("r,2,x\ng,4,y,5\nr,2\n", "odd.csv, line 4: expected 3 columns, found 4"),
        ("r,2,x\nr,2,y,5\n", "odd.csv, line 4: expected 3 columns, found 4"),
        ('"r\ns",2,x\n\nr,2,y,5\n', "odd.csv, line 6: expected 3 columns, found 4"),
        ("r,2,x\ng,3,y\n", "the table has 2 rows with a target, too few to train on and to validate with"),
    ],
)
def test_rows_that_are_too_long_or_short_and_too_few_rows(rows, told, capsys):
    Path("odd.csv").write_text(f"a,b,label\nr,1,x\n{rows}" if "odd" in told else f"a,b,label\n{rows}")
    assert error_of(capsys, "train", "--data", "odd.csv") == told


def test_rows_that_end_with_separators(capsys, shop):
    lines = shop.drop(columns="id").to_csv(index=False).splitlines()
    Path("ends.csv").write_text("\n".join(line + "," for line in lines), encoding="utf-8")
    _, err = run(capsys, "train", "--data", "ends.csv", "--quiet", "--epochs", 1)
    assert "columns: numbers age, income; booleans owner; dates joined; categories city\n" in err


def test_names_with_commas_are_told_apart(capsys, shop):
    shop.rename(columns={"age": "age, in years"}).to_csv("names.csv", index=False)
    _, err = run(capsys, "train", "--data", "names.csv", "--quiet", "--epochs", 1)
    assert "columns: numbers 'age, in years', income; " in err


def test_without_the_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    error = error_of(capsys, "train", "--data", "shop.csv")
    assert error.startswith("shop.csv, line 2, column 3: expected a number")
    assert 'pip install "fastfc[tabular]"' in error
    Path("x.parquet").write_bytes(b"PAR1")
    assert 'pip install "fastfc[tabular]"' in error_of(capsys, "train", "--data", "x.parquet")


@pytest.mark.parametrize("name", ["shop.csv", "rent.csv", "digits.csv"])
def test_a_report(name, capsys, shop):
    pytest.importorskip("matplotlib")
    shop[["age", "income"]].fillna(0).assign(rent=shop["age"] * 10.5).to_csv("rent.csv", index=False)
    pixels = pd.DataFrame(np.random.RandomState(0).randint(0, 256, (60, 300)))
    pixels.assign(label=np.arange(60) % 3).to_csv("digits.csv", index=False)
    out, _ = run(capsys, "train", "--data", name, "--quiet", "--epochs", 2, "--report", "report.html")
    assert out.endswith("report: report.html\n")
    text = Path("report.html").read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?)</h2>", text)
    middle = "Residuals" if name == "rent.csv" else "Confusion matrix"
    assert titles == [
        "Data", "Network and training", "Validation", "Learning curves", middle, "Calibration", "Importance of columns"
    ]  # fmt: skip
    assert text.count("<svg") == text.count("</svg>") == (3 if name == "digits.csv" else 4)
    # Nothing is loaded from elsewhere, and nothing runs.
    assert not re.search(r'<script|<link|<img|<iframe|(src|href)="(?!#|data:image)', text)


def test_a_report_tells_with_what_options_it_was_trained(capsys):
    train = ["train", "--data", "shop.csv", "--quiet", "--epochs", 2, "--report", "report.html"]
    names = ("schedule", "L2 penalty", "label smoothing", "bound of the gradients", "how batches are drawn")
    run(capsys, *train)
    text = Path("report.html").read_text(encoding="utf-8")
    assert not any(name in text for name in names)
    assert "those after the last epoch" in text
    options = ["--schedule", "cosine", "--reg", 0.25, "--label-smoothing", 0.125, "--max-norm", 3, "--select", "best"]
    run(capsys, *train, *options, "--sampler", "permutation")
    text = Path("report.html").read_text(encoding="utf-8")
    assert all(name in text for name in (*names, "cosine", "0.25", "0.125", "3.0", "permutation"))
    assert "those with the best validation score" in text


def test_long_names_and_many_classes_in_a_report(capsys, shop):
    pytest.importorskip("matplotlib")
    long = "the same beginning of a very long name "
    frame = pd.DataFrame({f"{long}{i}": shop["income"].fillna(0) + i for i in range(2)})
    frame.assign(label=[f"class {i % 20}" for i in range(500)]).to_csv("many.csv", index=False)
    run(capsys, "train", "--data", "many.csv", "--quiet", "--epochs", 1, "--report", "report.html")
    text = Path("report.html").read_text(encoding="utf-8")
    # Matplotlib's comments say what its paths draw.
    for name in ("…ong name 0", "…ong name 1", "<!-- class 19 -->"):
        assert name in text


def test_names_in_a_report_are_text(capsys, shop):
    pytest.importorskip("matplotlib")
    shop.rename(columns={"city": "<b>$c$"}).to_csv("odd.csv", index=False)
    run(capsys, "train", "--data", "odd.csv", "--quiet", "--epochs", 1, "--report", "report.html")
    assert "<b>" not in Path("report.html").read_text(encoding="utf-8")


def test_wrong_reports(capsys):
    assert "expected a name that ends in .html" in error_of(capsys, "train", "--report", "report.pdf")
    assert "this is where --out saves the model" in error_of(capsys, "train", "--report", "a.html", "--out", "a.html")


@pytest.mark.parametrize("out", ["model.py", "other.py", "model.npz", "other.c"])
def test_a_model_of_a_table_is_not_exported(capsys, out):
    """Its network would be given raw columns, and model.py has its weights in model.npz."""
    run(capsys, "train", "--data", "shop.csv", "--epochs", "1", "--out", "model.npz")
    before = Path("model.npz").read_bytes()
    assert "prepares the columns of a table" in error_of(capsys, "export", "model.npz", out)
    assert Path("model.npz").read_bytes() == before
    assert out == "model.npz" or not Path(out).exists()
