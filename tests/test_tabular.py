"""Tables of mixed columns: which column is what, how they become features, and the model's one file."""

import json
import re
import signal
import sys
import threading
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from sklearn.utils.class_weight import compute_sample_weight  # noqa: E402

from fastfc import DivergenceWarning, FullyConnectedNet, activations, load_model, tolerance, use_backend  # noqa: E402
from fastfc._network_reference import forward_by_reference  # noqa: E402
from fastfc.cli import main  # noqa: E402
from fastfc.tabular import TableModel, fit_table, load_table_model  # noqa: E402
from fastfc.tabular._cells import booleans_of, grouped_example, numbers_of  # noqa: E402
from fastfc.tabular._columns import describe, fitted, kind_of_column  # noqa: E402
from fastfc.tabular._dates import date_part, dates_of  # noqa: E402
from fastfc.tabular._encode import encoded, feature_names  # noqa: E402
from fastfc.tabular._labels import kind_of_texts  # noqa: E402
from fastfc.tabular._prepare import SplitOptions, prepare  # noqa: E402
from fastfc.tabular._preset import CosLog, network_options, plan_of, smooth_clip_of, smooth_clipped, train  # noqa: E402
from fastfc.tabular._preset_epochs import CompiledEpochs, EpochsByOperations  # noqa: E402
from fastfc.tabular._report import permutation_importances  # noqa: E402
from fastfc.tabular._split import held_out_groups, held_out_last, strata_of, weights_of_rows  # noqa: E402

trains = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hundreds of interpreted steps take minutes")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")


def shop(rows=600, seed=0):
    """A made-up shop: who buys follows from city, age and income; incomes and dates are missing here and there."""
    rng = np.random.RandomState(seed)
    age, city = rng.randint(18, 80, rows), rng.choice(["Köln", "Seoul", "Lagos", "Quito"], rows)
    income = rng.normal(30_000, 9_000, rows).round(2)
    owner = rng.choice(["yes", "no"], rows)
    bought = np.where(city == "Seoul", age < 50, owner == "yes")
    frame = pd.DataFrame({"id": rng.permutation(rows) + 5000, "age": age, "city": city, "income": income})
    frame["owner"], frame["joined"] = (
        owner,
        pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.randint(0, 900, rows), "D"),
    )
    frame.loc[rng.rand(rows) < 0.1, "income"] = np.nan
    frame["bought"] = np.where(bought, "yes", "no")
    return frame


def kinds(frame):
    columns, left_out = describe(frame)
    return {column["name"]: column["kind"] for column in columns}, left_out


# ---------------------------------------------------------------------------------------------- what columns have


def test_kinds_of_columns():
    frame = shop().drop(columns="bought")
    found, left_out = kinds(frame)
    assert found == {
        "age": "number", "city": "category", "income": "number", "owner": "boolean", "joined": "date"
    }  # fmt: skip
    assert list(left_out) == ["id"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.5", "2", None] * 10, "number"),
        (["007", "012", "100"] * 10, "category"),
        (["True", "false"] * 10, "boolean"),
        (["Y", "n", None] * 10, "boolean"),
        (["yes", "maybe", "no"] * 10, "category"),
        (["2024-01-31", "2024-02-01"] * 10, "date"),
        (["31.01.2024", "01.02.2024"] * 10, "date"),
        (["1/31/2024", "2/1/2024"] * 10, "date"),
        (["31/1/2024 ", "2/1/2024"] * 10, "date"),
        (["a1", "b2", "c3"] * 10, "category"),
    ],
)
def test_kinds_of_texts(values, kind):
    frame = pd.DataFrame({"x": np.array(values, object)})
    assert kinds(frame) == ({"x": kind}, {})


@pytest.mark.parametrize(
    "values", [["31.01.2024", "01.02.2024"], ["1/31/2024", "2/1/2024"], ["2024-01-31", "2024-02-01"]]
)
def test_parts_of_dates(values):
    frame = pd.DataFrame({"d": values * 10})
    columns = [fitted(column, frame["d"]) for column in describe(frame)[0]]
    assert feature_names(columns) == ["d: year", "d: month", "d: day", "d: weekday"]
    np.testing.assert_array_equal(encoded(columns, frame)[0][:2], [[2024, 1, 31, 2], [2024, 2, 1, 3]])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None] * 30, "it is empty"),
        (["x"] * 30, "in each row"),
        ([f"customer {i}" for i in range(30)], "another text in each of 30 rows"),
        (list(range(7, 37)), "counts the rows"),
    ],
)
def test_columns_that_are_no_features(values, why):
    found, left_out = kinds(pd.DataFrame({"x": values}))
    assert not found
    assert why in left_out["x"]


# ---------------------------------------------------------------------------------------------- features


def test_features_by_hand():
    train = pd.DataFrame(
        {
            "n": [1.0, np.nan, 3.0, 8.0, 4.0, 5.0, 7.0, 9.0],
            "c": ["a", "a", "a", "b", "b", "b", "rare", None],
            "b": [True, False, True, True, True, False, True, True],
        }
    )
    columns = [fitted(column, train[column["name"]]) for column in describe(train)[0]]
    assert columns == [
        {"name": "n", "kind": "number", "fill": 5.0, "missing": True},
        {"name": "c", "kind": "category", "levels": ["a", "b"], "other": True, "missing": True},
        {"name": "b", "kind": "boolean", "fill": 1.0, "missing": False},
    ]
    assert feature_names(columns) == ["n", "n: missing", "c=a", "c=b", "c: other", "c: missing", "b"]
    new = pd.DataFrame({"b": ["no", "true", None], "c": ["b", "new", None], "n": ["2", None, "what"], "more": 1})
    X, notes = encoded(columns, new)
    expected = [[2, 0, 0, 1, 0, 0, 0], [5, 1, 0, 0, 1, 0, 1], [5, 1, 0, 0, 0, 1, 1]]
    np.testing.assert_array_equal(X, expected)
    assert notes == [
        "column 'n': 'what' is no number and counts as missing",
        "column 'b': 1 values are missing, none was in the training; its median stands in",
    ]


def test_categories_that_numbers_of_another_dtype_stand_for():
    train = pd.DataFrame({"code": pd.Categorical([1, 2, 3] * 5)})
    columns = [fitted(column, train["code"]) for column in describe(train)[0]]
    for dtype in (int, float, str):
        X, _ = encoded(columns, pd.DataFrame({"code": np.array([3, 1]).astype(dtype)}))
        np.testing.assert_array_equal(X, [[0, 0, 1], [1, 0, 0]])


def test_missing_categories_that_the_training_had_none_of_are_named():
    columns = [fitted({"name": "c", "kind": "category"}, pd.Series(["a", "b"]))]
    X, notes = encoded(columns, pd.DataFrame({"c": ["b", None]}))
    np.testing.assert_array_equal(X, [[0, 1], [0, 0]])
    assert notes == ["column 'c': 1 values are missing, none was in the training; they get none of its features"]


def test_medians_and_categories_are_those_of_the_training():
    frame = pd.DataFrame({"x": [1.0] * 50 + [100.0] * 20, "c": ["a", "b"] * 25 + ["late"] * 20, "day": range(70)})
    frame["y"] = ["u", "v"] * 35
    prepared = prepare(frame, "y", split=SplitOptions(time="day", share=20 / 70))
    x, c = prepared.description["columns"]
    assert (x["fill"], c["levels"]) == (1.0, ["a", "b"])
    assert (prepared.data["X_val"][:, 0] == 100).all()


# ---------------------------------------------------------------------------------------------- rows


def test_groups_stay_together():
    groups = np.random.RandomState(0).randint(0, 12, 300)
    train, val = held_out_groups(groups, 0.2, 0)
    assert not set(groups[train]) & set(groups[val])
    assert len(train) + len(val) == 300
    assert len(val) >= 60
    with pytest.raises(ValueError, match="two groups"):
        held_out_groups(np.zeros(5), 0.2, 0)


def test_the_latest_rows_are_held_out():
    times = np.array([3, 1, 2, 9, 9, 9, 4, 5, 6, 7])
    train, val = held_out_last(times, 0.2)
    assert val.tolist() == [3, 4, 5]
    assert train.tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert held_out_last(np.array([1, 2, 2, 2, 1]), 0.9)[0].tolist() == [0, 4]
    with pytest.raises(ValueError, match="two times"):
        held_out_last(np.ones(5), 0.2)


def test_numbers_have_their_share_of_each_tenth():
    y = np.random.RandomState(0).standard_normal(100)
    strata = strata_of(y)
    assert np.bincount(strata).tolist() == [10] * 10
    assert y[strata == 0].max() <= y[strata == 9].min()


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("balanced", [100 / 180, 5.0]), ({"b": 3}, [1, 3]), ({"a": 0.5}, [0.5, 1]), ({"a": 2, "b": 3}, [2, 3])],
)
def test_weights_of_classes(weights, expected):
    y = np.repeat([0, 1], [90, 10])
    found = weights_of_rows(y, weights, ["a", "b", "none"])
    np.testing.assert_array_equal(found, np.array(expected)[y])
    names = np.array(["a", "b"])[y]
    given = weights if weights == "balanced" else {name: weights.get(name, 1) for name in "ab"}
    np.testing.assert_array_equal(found, compute_sample_weight(given, names))


@trains
def test_the_weights_of_classes_are_those_of_the_loss():
    frame = shop(300)
    plain = {"hidden_dims": (8,), "normalization": None, "dropout_keep_ratio": 1}
    for options in (plain, {"preset": "tabular"}):
        options |= {"num_epochs": 3, "batch_size": 200}
        found = [fit_table(frame, "bought", class_weight=w, **options).history["loss"] for w in (None, {"yes": 5.0})]
        assert found[0][-1] != found[1][-1]
    prepared = prepare(frame, "bought", class_weight={"yes": 5.0})
    assert len(prepared.data["X_train"]) == len(prepare(frame, "bought").data["X_train"])
    assert set(prepared.data["weights_train"]) == {1.0, 5.0}


def test_weights_of_classes_that_are_numbers():
    for key in (1, 1.0, np.float32(1), "1"):
        np.testing.assert_array_equal(weights_of_rows(np.array([0, 1]), {key: 3}, ["0", "1"]), [1, 3])
    with pytest.raises(ValueError, match="one weight for the class '1', got two"):
        weights_of_rows(np.array([0, 1]), {1: 3, "1": 2}, ["0", "1"])


@pytest.mark.parametrize("weights", [{"c": 1}, {"a": 0}, {"a": np.inf}, "heavy"])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match="class_weight"):
        weights_of_rows(np.array([0, 1]), weights, ["a", "b"])


# ---------------------------------------------------------------------------------------------- training


@trains
@pytest.mark.parametrize("seed", range(3))
def test_a_shop_is_learnt(seed):
    model = fit_table(shop(seed=seed), "bought", seed=seed)
    new = shop(400, seed + 100)
    assert model.score(new) >= 0.95
    assert (model.predict(new) == new["bought"]).mean() == model.score(new)


@trains
def test_one_file_holds_everything():
    frame = shop()
    model = fit_table(frame, "bought", num_epochs=2)
    model.save("shop.npz")
    again = load_table_model("shop.npz")
    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    assert again.description == model.description
    np.testing.assert_array_equal(
        load_model("shop.npz").predict(model.features(frame)), model.net.predict(model.features(frame))
    )
    with np.load("shop.npz", allow_pickle=False) as file:
        assert json.loads(str(file["table"]))["target"] == "bought"
    # Columns in another order, as texts, without the target.
    frame.drop(columns="bought").iloc[:, ::-1].to_csv("new.csv", index=False, sep=";", decimal=",")
    np.testing.assert_array_equal(again.predict("new.csv"), model.predict(frame))
    frame.to_parquet("new.parquet")
    np.testing.assert_array_equal(again.predict("new.parquet"), model.predict(frame))


@trains
@pytest.mark.parametrize(
    ("no", "yes", "dtype", "kind"),
    [
        (0, 1, "int64", "i"),
        (3, 10, "Int64", "i"),
        (3, 10, "category", "i"),
        (0, 1, object, "i"),
        (1.0, 2.0, "float64", "f"),
        (0.1, 0.2, "float32", "f"),
        (False, True, "bool", "b"),
        (False, True, "boolean", "b"),
        (False, True, object, "b"),
        ("0", "1", object, "U"),
        ("True", "False", object, "U"),
        ("no", "yes", object, "U"),
        ("no", "yes", "category", "U"),
    ],
)
def test_predictions_are_what_the_target_has(no, yes, dtype, kind):
    frame = shop(200)
    frame["bought"] = pd.Series([yes if bought == "yes" else no for bought in frame["bought"]], dtype=dtype)
    model = fit_table(frame, "bought", task="classification", num_epochs=1)
    model.save("shop.npz")
    for each in (model, load_table_model("shop.npz")):
        found = each.predict(frame)
        assert found.dtype.kind == kind == each.classes.dtype.kind
        assert (found == frame["bought"]).mean() == each.score(frame) > 0.3
        assert all(isinstance(name, str) for name in each.class_names)


@trains
@pytest.mark.parametrize(
    ("dtype", "found"),
    [
        ("float16", "float16"),
        ("float32", "float32"),
        ("Float32", "float32"),
        (object, "float32"),
        ("category", "float32"),
        ("float64", "float64"),
        ("int8", "int8"),
        ("uint64", "uint64"),
        ("Int16", "int16"),
    ],
)
def test_classes_have_the_dtype_of_the_target(dtype, found, tmp_path):
    """As scikit-learn's do; in files, too, numbers of few digits are the same classes."""
    values = np.array([0.1, 0.7] if "float" in found else [1, 2], found)
    frame = shop(200)
    labels = values[(frame["bought"] == "yes").to_numpy(int)]
    frame["bought"] = pd.Series(list(labels) if dtype is object else labels, dtype=dtype)
    model = fit_table(frame, "bought", task="classification", num_epochs=1)
    model.save("shop.npz")
    frame.to_csv("shop.csv", index=False)
    for each in (model, load_table_model("shop.npz")):
        assert each.classes.dtype == each.predict(frame).dtype == found
        np.testing.assert_array_equal(each.classes, values)
        assert each.class_names == (["0.1", "0.7"] if "float" in found else ["1", "2"]) or found == "float16"
        hits = (each.predict(frame) == labels).mean()
        assert hits == each.score(frame) == each.score("shop.csv") > 0.3
        if "float" in found:
            assert each.score(frame.assign(bought=labels.astype(float))) == hits


@trains
@pytest.mark.parametrize(
    ("no", "yes", "kind"), [("0", "1", "i"), ("0.5", "1.5", "f"), ("FALSE", "TRUE", "b"), ("no", "yes", "U")]
)
def test_predictions_of_a_text_table_are_what_pandas_reads(no, yes, kind, capsys):
    frame = shop(200)
    frame["bought"] = frame["bought"].map({"no": no, "yes": yes})
    frame.to_csv("shop.csv", index=False)
    model = fit_table("shop.csv", "bought", task="classification", num_epochs=1)
    found = model.predict("shop.csv")
    assert found.dtype.kind == kind
    assert (found == pd.read_csv("shop.csv")["bought"]).mean() == model.score("shop.csv") > 0.3
    model.save("shop.npz")
    assert main(["predict", "shop.npz", "shop.csv"]) == 0
    assert capsys.readouterr().out.split() == [{True: yes, False: no}[label == model.classes[1]] for label in found]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["007", "1"], "text"),
        (["07", "1.5"], "text"),
        (["1", "a"], "text"),
        (["1", "1.0"], "decimal"),
        (["TRUE", "true"], "boolean"),
        (["-1", "0"], "integer"),
    ],
)
def test_kinds_of_classes_in_text(names, kind):
    assert kind_of_texts(names) == kind


@trains
@pytest.mark.parametrize("split", ["time", "groups"])
def test_classes_that_only_rows_held_out_have_are_told(split):
    frame = shop(200).assign(number=np.arange(200) // 40)
    frame["grade"] = np.where(frame["number"] == 4, "new", frame["bought"])
    if split == "groups":
        # Whichever groups are held out, each has a class of its own.
        frame["grade"] = frame["number"].map("grade {}".format)
    model = fit_table(frame, "grade", num_epochs=1, drop=["bought"], **{split: "number"})
    absent = "'new'" if split == "time" else r"'grade \d'"
    told = rf"column 'grade': classes that no row to train on has, and that the model cannot learn: {absent}"
    assert [note for note in model.notes if re.fullmatch(told, note)]
    assert not [note for note in fit_table(frame, "grade", num_epochs=1).notes if "cannot learn" in note]
    frame["grade"] = np.where(frame["number"] == 4, "new", "old")
    with pytest.raises(ValueError, match="'grade' is 'old' in each row to train on"):
        fit_table(frame, "grade", time="number")


@trains
def test_a_model_of_an_older_version_predicts_texts():
    frame = shop(100).replace({"bought": {"yes": 1, "no": 0}})
    model = fit_table(frame, "bought", num_epochs=1)
    older = {key: value for key, value in model.description.items() if not key.startswith("labels")}
    TableModel(model.net, older).save("older.npz")
    np.testing.assert_array_equal(load_table_model("older.npz").predict(frame), model.predict(frame).astype(str))


@trains
def test_unknown_categories_and_missing_columns():
    frame = shop()
    model = fit_table(frame, "bought", num_epochs=1)
    with pytest.warns(UserWarning, match="does not know 'Oslo'"):
        model.predict(frame.assign(city="Oslo"))
    with pytest.raises(ValueError, match=r"lacks 2 of the model's 5 columns: 'city', 'owner'"):
        model.predict(frame[["age", "income", "joined"]])


@trains
def test_numbers_are_predicted_in_their_units():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"size": rng.uniform(20, 200, 500), "district": rng.choice(["A", "B", "C"], 500)})
    frame["rent"] = 9 * frame["size"] + frame["district"].map({"A": 0, "B": 300, "C": 900})
    model = fit_table(frame, "rent")
    assert model.class_names is None
    assert model.score(frame) > 0.9
    assert any("regression" in note for note in model.notes)
    with pytest.raises(ValueError, match="predicts numbers"):
        model.predict_proba(frame)


@trains
def test_the_random_stream_is_left_alone_and_the_seed_decides():
    frame = shop(200)
    np.random.seed(5)
    first = fit_table(frame, "bought", num_epochs=1, seed=3)
    drawn = np.random.rand()
    np.random.seed(5)
    assert np.random.rand() == drawn
    second = fit_table(frame, "bought", num_epochs=1, seed=3)
    np.testing.assert_array_equal(first.predict_proba(frame), second.predict_proba(frame))


@trains
def test_early_stopping_keeps_the_best_epoch():
    frame = shop(1200)
    model = fit_table(frame, "bought", num_epochs=60)
    assert len(model.history["val"]) < 61
    held_out = prepare(frame, "bought").data
    assert (model.net.predict(held_out["X_val"]) == held_out["y_val"]).mean() == max(model.history["val"][1:])


@trains
def test_numbers_that_are_names_of_columns_are_names():
    frame = pd.DataFrame(np.random.RandomState(0).randn(60, 3), columns=[3, 1, 2])
    model = fit_table(frame, 2, drop=[3], num_epochs=1)
    assert (model.target, [column["name"] for column in model.columns]) == ("2", ["1"])
    # No column has this name, which is a place then.
    assert fit_table(frame, 0, num_epochs=1).target == "3"
    assert fit_table(frame, np.int64(-1), num_epochs=1).target == "2"


@trains
def test_scores_of_few_or_odd_targets():
    frame = shop(300)
    numbers, classes = (fit_table(frame, target, num_epochs=1) for target in ("income", "bought"))
    for model in (numbers, classes):
        for empty in (frame[:0], frame.assign(**{model.target: None})):
            with pytest.raises(ValueError, match=r"expected a table with values of .*, the target"):
                model.score(empty)
    one = frame[:1].assign(income=1.0)
    assert numbers.score(one) == 0
    assert numbers.score(one.assign(income=numbers.predict(one))) == 1
    with pytest.warns(UserWarning, match="column 'income': 'oops' count as missing, where numbers are expected"):
        numbers.score(frame.assign(income=["oops", "1.5", "2"] * 100))


@trains
def test_columns_that_are_there_twice():
    frame = shop(300)
    model = fit_table(frame, "bought", num_epochs=1)
    with pytest.raises(ValueError, match="expected columns of different names, got 'city' twice"):
        model.predict(pd.concat([frame, frame[["city"]]], axis=1))
    twice = pd.concat([frame, frame[["id"]]], axis=1)
    assert (model.predict(twice) == model.predict(frame)).all()


@trains
def test_rows_without_a_target_are_left_out():
    frame = shop(300)
    frame.loc[:9, "bought"] = None
    model = fit_table(frame, "bought", num_epochs=1)
    assert "left out: 10 rows without a value of the target 'bought'" in model.notes


@trains
def test_values_that_count_as_missing_in_the_training_are_named():
    frame = shop(300)
    frame["income"] = frame["income"].astype(object)
    frame.loc[7, "income"] = "oops"
    model = fit_table(frame, "bought", num_epochs=1)
    assert "column 'income': 'oops' is no number and counts as missing" in model.notes


@pytest.mark.parametrize("form", [None, "%d.%m.%Y", "%m/%d/%Y", "%d-%m-%Y", "%d.%m.%Y %H:%M"])
def test_dates_with_one_reading_are_read_in_any_column(form):
    texts = ["2025-12-31", "2025/12/31", "20251231", "31.12.2025", "12/31/2025", "31/12/2025", "31-12-2025"]
    texts += ["2025-12-31 10:30", "2025-12-31T10:30:00+00:00", "31.12.2025 10:30", "12/31/2025 10:30:15"]
    texts += ["31 Dec 2025", "December 31, 2025", "31-Dec-2025"]
    dates, odd = dates_of(pd.Series([*texts, None], dtype=object), form)
    assert odd == []
    assert dates.dt.strftime("%Y-%m-%d").tolist()[:-1] == ["2025-12-31"] * len(texts)
    assert dates.isna().tolist() == [False] * len(texts) + [True]
    assert date_part(dates, "hour")[texts.index("31.12.2025 10:30")] == 10


def test_one_moment_is_one_date_in_each_time_zone():
    moments = pd.Series(pd.date_range("2024-03-30 22:30", periods=5, freq="h", tz="UTC"))
    expected = moments.dt.tz_localize(None)
    for zone in ("UTC", "Europe/Rome", "America/New_York"):
        local = moments.dt.tz_convert(zone)
        for series in (local, local.dt.strftime("%Y-%m-%dT%H:%M:%S%z"), local.astype(object)):
            found, odd = dates_of(series, None)
            assert odd == []
            assert (found == expected).all()


def test_days_of_arrow_are_dates():
    arrow = pytest.importorskip("pyarrow")
    days = pd.Series(pd.date_range("2024-01-01", periods=9))
    found, _ = dates_of(days.dt.date.astype(pd.ArrowDtype(arrow.date32())), None)
    assert (found == days).all()


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["2024-01-05", "05.01.2024"], ("date", None)),
        (["2024-01-05", "5 Jan 2024", None], ("date", None)),
        (["2024-01-05", "1/5/2024"], ("category", None)),
        (["2024-01-05", "v1"], ("category", None)),
        (["5.1.2024", "7.1.2024"], ("date", "%d.%m.%Y")),
    ],
)
def test_a_column_of_dates_in_several_formats(texts, kind):
    assert kind_of_column(pd.Series(texts * 30, dtype=object)) == kind


@pytest.mark.parametrize("form", [None, "%d.%m.%Y", "%Y/%m/%d"])
def test_dates_with_two_readings_are_none(form):
    texts = ["1/2/2025", "1-2-2025", "1/2/2025 10:30", "31.12.25", "12.2025", "soon", "32.1.2025"]
    dates, odd = dates_of(pd.Series(texts, dtype=object), form)
    assert odd == texts
    assert dates.isna().all()
    # Both readings are the same day.
    assert dates_of(pd.Series(["5/5/2025"]), form)[1] == []


def test_the_order_of_a_columns_format_decides():
    texts = ["1/2/2025", "1/2/2025 10:30", "2025-02-01"]
    for form, day in (("%d/%m/%Y", "2025-02-01"), ("%m/%d/%Y", "2025-01-02")):
        dates, odd = dates_of(pd.Series(texts), form)
        assert odd == []
        assert dates.dt.strftime("%Y-%m-%d").tolist() == [day, day, "2025-02-01"]


@trains
def test_a_model_takes_dates_and_numbers_that_are_written_otherwise():
    frame = shop(300)
    days = pd.to_datetime(frame["joined"])
    frame["joined"] = days.dt.strftime("%d.%m.%Y")
    frame["income"] = frame["income"].fillna(1e4).round()
    model = fit_table(frame, "bought", num_epochs=1)
    new = frame.assign(joined=days.dt.strftime("%Y-%m-%d"), income=[f"{x:,.2f}" for x in frame["income"]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.features(new), model.features(frame))
    with pytest.warns(UserWarning, match=r"'joined': '1/2/2025' is no date and counts as missing"):
        model.predict(frame.assign(joined="1/2/2025"))
    with pytest.warns(UserWarning, match=r"'income': '1,234' is no number and counts as missing"):
        model.predict(frame.assign(income="1,234"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.50", 1234.5),
        ("1.234,50", 1234.5),
        ("-1,234,567", -1234567),
        ("1.234.567", 1234567),
        ("1,234,567.25", 1234567.25),
        ("1 234", 1234),
        ("1\u00a0234,5", 1234.5),
        ("12'345.5", 12345.5),
        ("\N{MINUS SIGN}3.5", -3.5),
        ("1e3", 1000),
        ("1,234", None),
        ("12,5", None),
        ("1 23", None),
        ("0,123,456", None),
        ("1 234'567", None),
        ("1,2345.6", None),
        ("5 kg", None),
    ],
)
def test_numbers_with_one_reading(text, number):
    numbers, odd = numbers_of(pd.Series([text, None], dtype=object))
    assert odd == ([text] if number is None else [])
    np.testing.assert_array_equal(numbers, [np.nan if number is None else number, np.nan])


def test_booleans_and_numbers_stand_for_each_other():
    np.testing.assert_array_equal(numbers_of(pd.Series([True, False]))[0], [1, 0])
    np.testing.assert_array_equal(booleans_of(pd.Series(["1.0", "0.0", "yes"]))[0], [1, 0, 1])
    assert booleans_of(pd.Series(["2.0", "1.5"]))[1] == ["2.0", "1.5"]


@trains
@pytest.mark.parametrize("form", ["{:.1f}%", "{:.1f} kg", "€ {:.2f}", "{:,.0f}"])
def test_numbers_that_are_written_otherwise_are_named(form):
    texts = [form.format(number) for number in np.arange(300) % 40 + 1000 * ("," in form)]
    model = fit_table(shop(300).assign(width=texts), "bought", num_epochs=1)
    assert any(note.startswith("column 'width': taken for texts; ") and repr(texts[0]) in note for note in model.notes)


@pytest.mark.parametrize(
    ("texts", "example"),
    [
        (["1,234.50", "999", "12.5", "1,234,567"], "1,234.50"),
        (["-1.234,50", "999", "1.234.567"], "-1.234,50"),
        (["1 234,5", "999"], "1 234,5"),
        (["12'345.5", "0.5"], "12'345.5"),
        # Two signs of a kind.
        (["1,234.50", "1.234,50"], None),
        (["1.234,50", "1.234"], None),
        (["1 234,5", "1.5"], None),
        (["1 234.5", "1'234"], None),
        # Numbers or names.
        (["1.234.567", "12"], None),
        (["123 456 789"], None),
        (["1,234.50", "007"], None),
        # A cell with two readings, or none.
        (["1,234.50", "1,234"], None),
        (["1,234.50", "much"], None),
        (["12.5", "13"], None),
        ([], None),
    ],
)
def test_when_texts_are_numbers_in_groups(texts, example):
    assert grouped_example(texts) == example
    # The order says nothing, but for which of several is shown.
    assert (grouped_example(texts[::-1]) is None) == (example is None)


@pytest.mark.parametrize(
    ("texts", "example"),
    [
        (["1.234,50", "999,5", "1.234"], "1.234,50"),
        (["1.234", "1,5"], None),
        (["1,234.50", "2,5"], None),
        (["1.234,50", "1.5"], None),
    ],
)
def test_when_texts_are_numbers_in_groups_before_a_decimal_comma(texts, example):
    assert grouped_example(texts, ",") == example


@trains
@pytest.mark.parametrize("sep", [",", ";"])
def test_numbers_in_groups_are_read_from_tables(sep):
    """Features and numbers to predict, in new rows too; a line says so."""
    frame = shop(300)
    frame["income"] = np.round(np.random.RandomState(0).uniform(10, 1e5, 300), 2)
    frame.to_csv("plain.csv", index=False)
    texts = frame["income"].map("{:,.2f}".format)
    if sep == ";":
        texts = texts.str.translate(str.maketrans(",.", ".,"))
    frame.assign(income=texts).to_csv("grouped.csv", index=False, sep=sep)
    for target in ("bought", "income"):
        plain, grouped = (fit_table(f"{name}.csv", target, num_epochs=1) for name in ("plain", "grouped"))
        assert any(
            note.startswith("column 'income': numbers in groups of thousands, such as ") for note in grouped.notes
        )
        assert grouped.columns == plain.columns
        np.testing.assert_array_equal(grouped.predict("grouped.csv"), plain.predict("plain.csv"))
        assert grouped.score("grouped.csv") == plain.score("plain.csv")
    np.testing.assert_array_equal(grouped.net.params["W1"], plain.net.params["W1"])


def test_a_column_of_groups_is_no_number():
    """The rows of a group stay together by their texts."""
    frame = shop(60).assign(group=["1,234.50", "2,234.50", "3,234.50"] * 20)
    prepared = prepare(frame, "bought", split=SplitOptions(groups="group"))
    assert not any("groups of thousands" in note for note in prepared.data["notes"])


@pytest.mark.parametrize(
    ("row", "found"), [("5,Oslo", 2), ("5", 1), ("5,'Oslo,x", 3), ('"5,5",Oslo', 2), ("total: 60", 1)]
)
@pytest.mark.parametrize("trailing", ["", ","])
def test_a_row_with_too_few_cells_is_named(row, found, trailing):
    head, *rows = shop(60)[["age", "city", "owner", "bought"]].to_csv(index=False).splitlines()
    rows.insert(40, row)
    text = "".join(line + trailing * (line != row) + "\n" for line in [head, *rows])
    Path("short.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"short\.csv, line 42: expected 4 columns, found {found}$"):
        fit_table("short.csv", "bought")


@trains
def test_empty_cells_at_the_end_and_lines_of_blanks_are_no_short_rows():
    frame = shop(100)[["bought", "age", "city"]]
    frame.loc[::7, "city"] = None
    for quoting in (0, 1):
        text = frame.to_csv(index=False, quoting=quoting)
        Path("empty.csv").write_text(text + "\n", encoding="utf-8")
        model = fit_table("empty.csv", "bought", num_epochs=1)
        assert len(model.predict("empty.csv")) == 100
        city = next(column for column in model.columns if column["name"] == "city")
        assert city["missing"]


@trains
@pytest.mark.parametrize("form", ["0{:.0f}", "{:.0f}a", "1.2.{:.0f}", "{:.0f}-{:.0f}"])
def test_codes_do_not_look_like_numbers(form):
    model = fit_table(shop(300).assign(code=[form.format(i % 9, i % 7) for i in range(300)]), "bought", num_epochs=1)
    assert not any("taken for texts" in note for note in model.notes)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"target": "price"}, ValueError, "target 'price' is not among the columns"),
        ({"target": "bought", "preset": "best"}, ValueError, "preset: expected None or 'tabular'"),
        ({"target": "bought", "task": "numbers"}, ValueError, "task='numbers'"),
        ({"target": "bought", "task": "regression"}, ValueError, "expected numbers to predict in column 'bought'"),
        ({"target": "joined"}, ValueError, "target"),
        ({"target": "bought", "groups": "shop"}, ValueError, "groups: 'shop' is not among the columns"),
        ({"target": "bought", "groups": "city", "time": "joined"}, ValueError, "expected one of them"),
        ({"target": "bought", "time": "city"}, ValueError, "time: expected dates or numbers"),
        ({"target": "bought", "class_weight": {"perhaps": 2}}, ValueError, "'perhaps' is not among the classes"),
        ({"target": "income", "class_weight": "balanced"}, ValueError, "class_weight is for classes"),
        ({"target": "bought", "drop": ["price"]}, ValueError, "drop 'price' is not among the columns"),
        ({"target": "bought", "batch_size": 0}, ValueError, "batch_size: expected 1 or more, got 0"),
        ({"target": "bought", "num_epochs": 0}, ValueError, "num_epochs: expected 1 or more, got 0"),
        ({"target": "bought", "preset": "tabular", "num_epochs": -1}, ValueError, "num_epochs: expected 1 or more"),
        ({"target": "bought", "val_fraction": 1}, ValueError, "val_fraction: expected a number between 0 and 1, got 1"),
        ({"target": "bought", "val_fraction": "a"}, TypeError, "val_fraction: expected a number, got 'a'"),
        ({"target": "bought", "learning_rate": -1}, ValueError, "learning_rate: expected a positive number, got -1"),
        ({"target": "bought", "learning_rate": "a"}, TypeError, "learning_rate: expected a number, got 'a'"),
        ({"target": "bought", "drop": "price"}, ValueError, "drop 'price' is not among the columns"),
        ({"target": True}, TypeError, "target: expected the name or number of a column, got True"),
        ({"target": 1.7}, TypeError, r"target: expected the name or number of a column, got 1\.7"),
        ({"target": ["bought"]}, TypeError, "target: expected the name or number of a column"),
        ({"target": "bought", "drop": None}, TypeError, "drop: expected names or numbers of columns, got None"),
        ({"target": "bought", "drop": ["id", None]}, TypeError, "drop: expected the name or number of a column"),
        ({"target": "bought", "groups": 2}, TypeError, "groups: expected the name of a column, got 2"),
        ({"target": "bought", "time": ["joined"]}, TypeError, "time: expected the name of a column"),
        ({"target": "bought", "early_stopping": "no"}, TypeError, "early_stopping: expected True, False or None"),
        ({"target": "bought", "class_weight": {"yes": None}}, TypeError, "class_weight.*expected a number, got None"),
        ({"target": "bought", "seed": "a"}, TypeError, "seed: expected an integer, got 'a'"),
        ({"target": "bought", "seed": -1}, ValueError, "seed: expected 0 or more, got -1"),
        ({"target": "bought", "drop": ["id", "age", "city", "income", "owner", "joined"]}, ValueError, "no column"),
    ],
)
def test_wrong_arguments(options, error, match):
    with pytest.raises(error, match=match):
        fit_table(shop(100), **options)


def test_wrong_tables(tmp_path):
    with pytest.raises(ValueError, match="column 'x': expected numbers, texts, dates or booleans"):
        fit_table(pd.DataFrame({"x": [[1], [2]] * 20, "y": ["a", "b"] * 20}), "y")
    with pytest.raises(TypeError, match=r"expected a pandas\.DataFrame or a path"):
        fit_table([[1, 2]], "x")
    for nothing in (None, np.nan):
        with pytest.raises(ValueError, match="target: column 'bought' has no values"):
            fit_table(shop(100).assign(bought=nothing), "bought")
    with pytest.raises(ValueError, match="got 'x' twice"):
        fit_table(pd.DataFrame([[1, 2]], columns=["x", "x"]), "x")
    with pytest.raises(ValueError, match="the table has no columns"):
        fit_table(pd.DataFrame())
    for values in (np.arange(40) * 1j, pd.to_timedelta(np.arange(40) % 3, unit="h")):
        for columns in ({"x": values, "y": np.arange(40)}, {"x": np.arange(40) % 7, "y": values}):
            with pytest.raises(ValueError, match=r"texts, dates or booleans, got (complex|timedelta)"):
                fit_table(pd.DataFrame(columns), "y")
    for values, match in (([b"a", b"b"], r"got bytes; \.str\.decode"), ([object(), object()], "got object objects")):
        for columns in ({"x": values * 20, "y": np.arange(40)}, {"x": np.arange(40) % 7, "y": values * 20}):
            with pytest.raises(ValueError, match=f"column '[xy]': expected .*{match}"):
                fit_table(pd.DataFrame(columns), "y")
    levels = pd.MultiIndex.from_product([["a"], ["x", "y"]])
    with pytest.raises(ValueError, match="expected columns of one name each, got 2 levels"):
        fit_table(pd.DataFrame(np.zeros((40, 2)), columns=levels))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="not a Parquet file"):
        fit_table("bad.parquet")


def test_damaged_files(tmp_path):
    np.savez("none.npz", x=1)
    with pytest.raises(ValueError, match="not a fastfc model"):
        load_table_model("none.npz")
    with pytest.raises(FileNotFoundError):
        load_table_model("absent.npz")


@trains
@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("format"),
        lambda d: d["columns"].pop(),
        lambda d: d["columns"][0].update(fill="x"),
        lambda d: d["columns"][0].update(kind="thing"),
        lambda d: d["columns"][1].update(levels=[1, 2]),
        lambda d: d.update(columns=5),
        lambda d: d.update(labels="thing"),
        lambda d: d.update(labels=[]),
        lambda d: d.update(labels="integer"),
        lambda d: d.update(labels_dtype="float32"),
        lambda d: d.update(labels_dtype=5),
    ],
)
def test_damaged_descriptions(change):
    model = fit_table(shop(100), "bought", num_epochs=1)
    description = json.loads(json.dumps(model.description))
    change(description)
    TableModel(model.net, description).save("damaged.npz")
    with pytest.raises(ValueError, match="not a model of a table, or a damaged one"):
        load_table_model("damaged.npz")


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "fastfc\[tabular\]"'):
        fit_table("table.csv", "x")


def test_importances_tell_what_counts():
    class Sign:
        class_names = ("negative", "positive")

        def predict(self, X):
            return (X[:, 1] > 0).astype(np.int64)

    X = np.random.RandomState(0).standard_normal((500, 3))
    found = permutation_importances(Sign(), X, Sign().predict(X), {"noise": [0, 2], "sign": [1]})
    assert list(found) == ["sign", "noise"]
    assert found["noise"] == (0, 0)
    # Of shuffled signs half are right.
    assert 0.4 < found["sign"][0] < 0.6


@trains
def test_a_report_of_a_frame():
    pytest.importorskip("matplotlib")
    fit_table(shop(200), "bought", num_epochs=2, report="shop.html")
    assert "<h1>Training to predict bought</h1>" in Path("shop.html").read_text(encoding="utf-8")


def test_a_report_needs_a_path():
    with pytest.raises(TypeError, match="report: expected a path, got 3"):
        fit_table(shop(200), "bought", report=3)
    with pytest.raises(ValueError, match=r"report: expected a name that ends in .html, .htm, got 'x.pdf'"):
        fit_table(shop(200), "bought", report="x.pdf")


# ---------------------------------------------------------------------------------------------- the preset


def test_schedule_of_waves():
    factors = CosLog().factors(0, 1600, 10, 1600)
    # A wave is over where log2(1 + 15 t / T) is a whole number, and at its top in the middle between two.
    for whole in range(4):
        assert factors[round(1600 * (2**whole - 1) / 15)] < 0.02
        assert factors[round(1600 * (2 ** (whole + 0.5) - 1) / 15)] > 0.98
    np.testing.assert_array_equal(factors[700:710], CosLog().factors(700, 10, 10, 1600))


def test_smooth_clipping_by_hand():
    X = np.array([[0.0, 0, 7], [2, 0, 7], [4, 0, 7], [6, 0, 7], [8, 5, 7]])
    clip = smooth_clip_of(X)
    assert clip == {"center": [4.0, 0.0, 7.0], "factor": [0.25, 0.4, 0.0]}
    found = smooth_clipped(np.array([[8.0, 5, 9], [1e9, 0, 7]]), clip)
    root = np.sqrt([1 + (1 / 3) ** 2, 1 + (2 / 3) ** 2])
    bound = tolerance(np.float64, 8)
    np.testing.assert_allclose(found, [[1 / root[0], 2 / root[1], 0], [3, 0, 0]], rtol=bound, atol=0)


class Published:
    """The publication's network and its training step, with its own parametrization: products over the root."""

    def __init__(self, features, outputs, of_classes, stream):
        self.of_classes = of_classes
        dims = [features, 256, 256, 256, outputs]
        self.params = [np.ones(features)]
        for i, (inputs, width) in enumerate(pairwise(dims)):
            last = i == 3
            self.params.append(np.zeros((inputs, width)) if last else stream.standard_normal((inputs, width)))
            self.params.append(np.zeros(width) if last else stream.standard_normal(width))
        self.moments = [[np.zeros_like(p), np.zeros_like(p)] for p in self.params]
        self.forward, self.backward = (
            (activations.selu_forward, activations.selu_backward)
            if of_classes
            else (activations.mish_forward, activations.mish_backward)
        )

    def scores(self, X):
        self.caches, self.inputs, h = [], [], X * self.params[0]
        self.x = X
        for i in range(4):
            self.inputs.append(h)
            h = h @ self.params[1 + 2 * i] / np.sqrt(h.shape[1]) + self.params[2 + 2 * i]
            if i < 3:
                h, cache = self.forward(h)
                self.caches.append(cache)
        return h

    def step(self, X, y, t, T):
        scores, n = self.scores(X), len(X)
        if self.of_classes:
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            d = (p / p.sum(axis=1, keepdims=True) - 0.9 * np.eye(scores.shape[1])[y] - 0.1 / scores.shape[1]) / n
        else:
            d = 2 * (scores - y[:, np.newaxis]) / n
        grads = [None] * 9
        for i in (3, 2, 1, 0):
            if i < 3:
                d = self.backward(d, self.caches[i])
            root = np.sqrt(self.inputs[i].shape[1])
            grads[1 + 2 * i], grads[2 + 2 * i] = self.inputs[i].T @ d / root, d.sum(axis=0)
            d = d @ self.params[1 + 2 * i].T / root
        grads[0] = (d * self.x).sum(axis=0)
        rate = (0.04 if self.of_classes else 0.07) * (0.5 - 0.5 * np.cos(2 * np.pi * np.log2(1 + 15 * t / T)))
        for k, (p, g, (m, v)) in enumerate(zip(self.params, grads, self.moments, strict=True)):
            m[...], v[...] = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
            corrected = np.sqrt(v / (1 - 0.95 ** (t + 1))) + 1e-8
            p -= rate * (6 if k == 0 else 1 if k % 2 else 0.1) * m / (1 - 0.9 ** (t + 1)) / corrected


@trains
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("of_classes", [True, False])
def test_the_preset_is_the_published_training(of_classes, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr("fastfc.tabular._preset.CompiledEpochs", EpochsByOperations)
    rng = np.random.RandomState(0)
    X = rng.standard_normal((45, 6))
    y = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > 1) if of_classes else np.sin(X[:, 0]) + X[:, 1]
    outputs = 3 if of_classes else 1
    data = {"X_train": X, "y_train": y, "X_val": X[:20], "y_val": y[:20]}
    net = FullyConnectedNet(
        input_dim=6,
        num_classes=outputs,
        dtype=np.float64,
        loss="softmax" if of_classes else "squared",
        **network_options(of_classes=of_classes),
    )
    history = train(net, data, plan_of(45, 20, 3), 7)
    stream = np.random.RandomState(7)
    published = Published(6, outputs, of_classes, stream)
    stream.permutation(45)
    scores, best = [], -np.inf
    for epoch in range(3):
        order = stream.permutation(45)
        for i in range(2):
            rows = order[20 * i : 20 * i + 20]
            published.step(X[rows], y[rows], 2 * epoch + i, 6)
        found = published.scores(X)
        worst = (
            ((found[:20, 0] - y[:20]) ** 2).mean() if not of_classes else (found[:20].argmax(axis=1) != y[:20]).mean()
        )
        if -worst >= best:
            best, scores = -worst, found
    assert len(history["loss"]) == 6
    assert len(history["val"]) == 4
    # Adam's quotients pass on a relative rounding of the gradients, which are sums over 256 units, in each step.
    bound = tolerance(np.float64, 6 * 4 * 256 * 20)
    np.testing.assert_allclose(net.loss(X), scores, rtol=bound, atol=bound * np.abs(scores).max())


@trains
@pytest.mark.parametrize(("target", "weighted"), [("bought", True), ("bought", False), ("age", False)])
def test_the_presets_compiled_epochs_are_those_step_by_step(target, weighted, monkeypatch):
    """Epochs of three steps, in calls of one, two and more epochs; scores, losses and the best epoch's parameters."""
    options = {"preset": "tabular", "num_epochs": 7, "batch_size": 50, "dtype": np.float64, "n_members": 2}
    options |= {"class_weight": {"yes": 3}} if weighted else {"task": None if target == "bought" else "regression"}
    calls, train = [], CompiledEpochs.train

    def in_calls(epochs, order):
        calls.append(len(order))
        found = train(epochs, order)
        epochs.at_once = epochs.at_once and len(calls) + 1
        return found

    monkeypatch.setattr(CompiledEpochs, "train", in_calls)
    with use_backend("fast"):
        compiled = fit_table(shop(200), target, **options, threads=1)
    assert calls[:3] == [1, 2, 3]
    assert sum(calls) == 14
    monkeypatch.setattr("fastfc.tabular._preset.CompiledEpochs", EpochsByOperations)
    with use_backend("fast"):
        other = fit_table(shop(200), target, **options)
    # The scaling layer's moments are rounded once more or less in each step; Adam's quotients pass that on relative to
    # the gradients, which are sums over 256 units.
    bound = tolerance(np.float64, 21 * 4 * 256 * 20)
    for one, two in zip(compiled.members, other.members, strict=True):
        for name, array in one.params.items():
            np.testing.assert_allclose(array, two.params[name], rtol=0, atol=bound * np.abs(array).max(), err_msg=name)
    assert len(compiled.history["loss"]) == 21
    for name, values in compiled.history.items():
        np.testing.assert_allclose(values, other.history[name], rtol=0, atol=bound * max(np.abs(values)), err_msg=name)


@trains
def test_each_epoch_of_the_preset_is_told():
    rng, told = np.random.RandomState(0), []
    X = rng.standard_normal((45, 6))
    data = {"X_train": X, "y_train": (X[:, 0] > 0).astype(int), "X_val": X, "y_val": (X[:, 0] > 0).astype(int)}
    net = FullyConnectedNet(input_dim=6, num_classes=2, **network_options(of_classes=True))
    history = train(net, data, plan_of(45, 20, 9), 0, on_epoch=lambda h: told.append((len(h["loss"]), h["val"][-1])))
    assert told == [(2 * i, history["val"][i]) for i in range(1, 10)]
    # The scaling layer is in the first one.
    assert net.input_scale is None


@trains
def test_the_preset_on_the_other_backend():
    options = {"preset": "tabular", "num_epochs": 1, "dtype": np.float64}
    fast = fit_table(shop(60), "bought", **options)
    with use_backend("reference"):
        other = fit_table(shop(60), "bought", **options)
    # One step, of which the first has a learning rate of 0.
    assert other.history["loss"] == pytest.approx(fast.history["loss"], rel=tolerance(np.float64, 1000))
    assert other.history["loss"] != []
    steps = []
    with use_backend("reference"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastfc.network.forward_by_reference", lambda *a: steps.append(1) or forward_by_reference(*a))
        fit_table(shop(60), "bought", **options, n_members=2)
    assert len(steps) == 2


@trains
def test_a_preset_that_diverges_ends():
    data = {"X_train": np.full((8, 2), np.inf), "y_train": np.zeros(8, int)}
    data |= {"X_val": np.ones((2, 2)), "y_val": np.zeros(2, int)}
    net = FullyConnectedNet(input_dim=2, num_classes=2, **network_options(of_classes=True))
    with np.errstate(all="ignore"), pytest.warns(DivergenceWarning, match="not finite in epoch 1"):
        history = train(net, data, plan_of(8, None, 5), 0)
    assert len(history["loss"]) == 1
    assert np.isfinite(net.params["W1"]).all()


@trains
@pytest.mark.parametrize("preset", [None, "tabular"])
@pytest.mark.parametrize("target", ["bought", "age"])
def test_members_are_averaged(preset, target, capsys):
    frame, options = shop(200), {"preset": preset, "num_epochs": 2, "seed": 5, "threads": 2}
    options |= {"task": "classification" if target == "bought" else "regression"}
    model = fit_table(frame, target, **options, n_members=3)
    features = model.features(frame)
    # The first one is the network of one member.
    alone = fit_table(frame, target, **options)
    np.testing.assert_array_equal(model.net.params["W1"], alone.net.params["W1"])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (model.members[i].params["W1"] != model.members[j].params["W1"]).any()
    bound = tolerance(np.float32, 20)
    if target == "bought":
        mean = np.mean([net.predict_proba(features) for net in model.members], axis=0)
        np.testing.assert_allclose(model.predict_proba(frame), mean, rtol=bound)
        np.testing.assert_array_equal(model.predict(frame), np.array(model.class_names)[mean.argmax(axis=1)])
    else:
        mean = np.mean([net.predict(features) for net in model.members], axis=0)
        np.testing.assert_allclose(model.predict(frame), mean, rtol=0, atol=bound * np.abs(mean).max())
    model.save("members.npz")
    loaded = load_table_model("members.npz")
    assert len(loaded.members) == 3
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    frame.to_csv("shop.csv", index=False)
    assert main(["predict", "members.npz", "shop.csv"]) == 0
    assert capsys.readouterr().out.split() == loaded.predict("shop.csv").astype(str).tolist()
    np.testing.assert_array_equal(load_model("members.npz").params["W1"], model.net.params["W1"])


@trains
@pytest.mark.parametrize("members", [1, 3])
def test_an_interrupt_ends_the_preset(members):
    def interrupt():
        while not any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate()):
            time.sleep(0.01)
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        # It would take hours.
        fit_table(shop(100), "bought", preset="tabular", num_epochs=10**6, n_members=members)
    helper.join()
    assert not any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate())


@trains
def test_wrong_members():
    with pytest.raises(ValueError, match="n_members"):
        fit_table(shop(50), "bought", n_members=0)
    model = fit_table(shop(100), "bought", n_members=2, num_epochs=1)
    for count in (3, 0, "two"):
        model.save("members.npz")
        with np.load("members.npz") as file:
            arrays = dict(file)
        description = json.loads(str(arrays["table"]))
        arrays["table"] = np.array(json.dumps(description | {"members": count}))
        np.savez("members.npz", **arrays)
        with pytest.raises(ValueError, match="not a model of a table"):
            load_table_model("members.npz")


@trains
def test_a_report_of_members():
    pytest.importorskip("matplotlib")
    fit_table(shop(200), "bought", num_epochs=2, n_members=2, report="shop.html")
    assert "2 members" in Path("shop.html").read_text(encoding="utf-8")


@trains
def test_the_preset():
    frame = shop()
    model = fit_table(frame, "bought", preset="tabular", num_epochs=64)
    assert (model.net.activation, model.net.dims[1:-1], model.net.loss_parameter) == ("selu", [256, 256, 256], 0.1)
    assert model.score(shop(400, 9)) >= 0.95
    model.save("preset.npz")
    np.testing.assert_array_equal(load_table_model("preset.npz").predict_proba(frame), model.predict_proba(frame))
    prices = pd.DataFrame({"a": np.random.RandomState(0).standard_normal(400)})
    prices["price"] = 1000 + 50 * prices["a"] ** 2
    model = fit_table(prices, "price", preset="tabular", num_epochs=64)
    assert model.net.activation == "mish"
    assert model.score(prices) > 0.95
    model.description["smooth_clip"]["center"] = [1.0, 2.0]
    model.save("damaged.npz")
    with pytest.raises(ValueError, match="its scaling is not 1 numbers"):
        load_table_model("damaged.npz")
