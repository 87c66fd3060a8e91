"""Text tables as people have them: read right, or refused by an error that names what decides."""

import argparse
import gzip
import io
import re
import shlex
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastfc import load_dataset, use_backend
from fastfc.cli._common import add_table_options
from fastfc.data_utils import load_samples
from fastfc.formats import table_rows

CASES = Path(__file__).parent / "cases"
needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the kernel is used compiled only")


@pytest.fixture
def table(tmp_path):
    """Writes a table and returns its path."""

    def write(content, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def lines(rows):
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def measured(count, seed=0):
    return np.random.RandomState(seed).standard_normal((count, 2)).round(3).tolist()


def notes_of(data):
    return "\n".join(data["notes"])


# ------------------------------------------------------------------------------------------- columns by name


def test_columns_go_by_name(table):
    train = load_dataset(CASES / "columns_train.csv")
    assert train["feature_names"] == ["width", "height", "depth"]
    assert train["target_name"] == "size"
    model = {key: train[key] for key in ("feature_names", "target_name", "class_names")} | {"num_features": 3}
    X, y, _ = load_samples(CASES / "columns_reordered.csv", **model)
    # The first rows of both files are the same.
    np.testing.assert_array_equal(X[:5], train["X_train"][:5])
    np.testing.assert_array_equal(y[:5], train["y_train"][:5])

    with pytest.raises(ValueError, match=r"lacks 2 of the model's 3 columns: 'height', 'depth'"):
        load_samples(table("width,size\n1,big\n"), **model)
    with pytest.warns(UserWarning, match=r"does not know are left out: 'colour', 'weight'"):
        X, y, _ = load_samples(table("colour,depth,weight,height,width\nred,3,9,2,1\n"), **model)
    assert X.tolist() == [[1, 2, 3]]
    assert y is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, y, _ = load_samples(table(",depth,height,width,size\n0,3,2,1,big\n"), **model, target="none")
    assert X.tolist() == [[1, 2, 3]]
    assert y is None
    assert load_samples(table("1,2,3,big\n"), **model)[1].tolist() == [0]


def test_width_never_wins_over_a_name(table):
    path = table("a,c,label\n1,2,0\n3,4,1\n")
    with pytest.raises(ValueError, match="lacks 1 of the model's 3 columns: 'b'"):
        load_samples(path, num_features=3, feature_names=["a", "b", "c"], target_name="label")
    with pytest.raises(ValueError, match="has 2 feature columns beside the labels in column 'label'; expected 3"):
        load_samples(path, num_features=3)
    with pytest.raises(ValueError, match=r"1 feature columns .*; expected 2; target='none' \(--target none\)"):
        load_samples(table("a,y\n1,2\n3,4\n"), num_features=2)
    assert load_samples(table("a,y\n1,2\n3,4\n"), num_features=2, target="none")[0].shape == (2, 2)


def test_names_that_are_there_twice(table):
    with pytest.raises(ValueError, match="columns 2 and 3 are both named 'label'"):
        load_dataset(table("a,label,label\n1,0,1\n2,1,0\n"), target="label")
    path = table("a,a,label\n1,5,0\n2,6,1\n")
    with pytest.raises(ValueError, match=r"columns 1 and 2 are both named 'a'.*--drop 1"):
        load_dataset(path)
    assert load_dataset(path, drop=[1])["X_train"].tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="has columns 'label', 'target'; target="):
        load_dataset(table("a,label,target\n1,0,1\n2,1,0\n"))


def test_columns_can_be_left_out(table):
    path = table("a,name,label\n1,x,0\n2,z,1\n")
    data = load_dataset(path, drop="name")
    assert data["X_train"].tolist() == [[1], [2]]
    assert data["feature_names"] == ["a"]
    assert "left out: column 2 'name', as drop says" in notes_of(data)
    with pytest.raises(ValueError, match="drop 'b' is not a column of"):
        load_dataset(path, drop=["b"])
    with pytest.raises(ValueError, match="is the target and left out"):
        load_dataset(path, drop=["name", "label"], target="label")


# ------------------------------------------------------------------------------------------------- the header


def test_header_of_numbers():
    data = load_dataset(CASES / "header_of_numbers.csv")
    assert data["X_train"].shape == (200, 2)
    assert data["class_names"] == ["0", "1"]
    assert data["feature_names"] == ["0", "1"]
    assert "header: the first row, '0', '1', '2'" in notes_of(data)


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("# a,b,label\n1,2,0\n3,4,1\n", ["a", "b"], 2),
        ("#a,b,label\n1,2,0\n3,4,1\n", ["a", "b"], 2),
        ("# made by hand\na,b,label\n1,2,0\n3,4,1\n", ["a", "b"], 2),
        ("1_1,1_2,kind\n1,2,0\n3,4,1\n", ["1_1", "1_2"], 2),
        ("2021_03,2021_04,kind\n1,2,0\n3,4,1\n", ["2021_03", "2021_04"], 2),
        ("0,1,2,3,4,5,6\n" + "9,3,4,0,2,7,1\n8,2,2,5,0,7,0\n", list("012345"), 2),
        ("150,4,setosa,virginica,kind\n5.1,3.5,1.4,0.2,0\n4.9,3.0,1.5,0.1,1\n", ["150", "4", "setosa", "virginica"], 2),
        ("1,2,0\n3,4,1\n", None, 2),
        ("0,0,0\n0,1,1\n1,0,1\n", None, 3),
        ("5.1,3.5,x\n4.9,3.0,y\n", None, 2),
    ],
)
def test_header_is_told_by_looking(table, text, names, rows):
    data = load_dataset(table(text))
    assert data.get("feature_names") == names
    assert len(data["X_train"]) == rows


@pytest.mark.parametrize("text", ["0,1,2\n3,4,0\n5,9,1\n", "a,2,3\n1,5,0\n2,7,1\n"])
def test_unclear_header_is_asked_for(table, text):
    path = table(text)
    with pytest.raises(ValueError, match=r"header=True \(--header yes\).*header=False \(--header no\)"):
        load_dataset(path)
    assert len(load_dataset(path, header=True)["X_train"]) == 2
    if text.startswith("0"):
        assert len(load_dataset(path, header=False)["X_train"]) == 3
    else:
        with pytest.raises(ValueError, match="line 1, column 1: expected a number, found 'a'"):
            load_dataset(path, header=False)


@pytest.mark.parametrize("cell", ["2021_03", "1_1", "0x10", "١٢", "１", "1e", "1d5", "--1", "1 2"])  # noqa: RUF001
def test_what_is_no_number(table, cell):
    with pytest.raises(ValueError, match="line 3, column 1: expected a number, found"):
        load_dataset(table(f"a,kind\n1,x\n{cell},z\n2,x\n"))


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_what_is_not_finite(table, cell):
    with pytest.raises(ValueError, match=r"line 3, column 1: expected a (finite )?number, found"):
        load_dataset(table(f"a,kind\n1,x\n{cell},z\n"))


# ------------------------------------------------------------------------------------------------- the labels


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["07", "007"], ["007", "07"]),
        (["1e3", "1000"], ["1000", "1e3"]),
        (["+1", "1"], ["+1", "1"]),
        (["10", "9"], ["9", "10"]),
        (["0.0", "1.0"], ["0", "1"]),
        (["none", "mild"], ["mild", "none"]),
        (["1", "other"], ["1", "other"]),
    ],
)
def test_labels_keep_what_they_are(table, labels, names):
    rows = [[i, labels[i % 2]] for i in (5, 2, 7, 4)]
    data = load_dataset(table("a,kind\n" + lines(rows)))
    assert data["class_names"] == names
    assert [data["class_names"][code].split(".")[0] for code in data["y_train"]] == [
        str(label).split(".")[0] for _, label in rows
    ]


def test_a_numeric_target_is_refused(table):
    with pytest.raises(ValueError, match=r"column 'y' has 200 distinct numbers in 200 rows, a target for regression"):
        load_dataset(CASES / "regression.csv")
    prices = [[*row, 100 + 3 * i] for i, row in enumerate(measured(60))]
    with pytest.raises(ValueError, match="column 'price' would be the labels, but it has another whole number in each"):
        load_dataset(table("a,b,price\n" + lines(prices)), target="price")
    counted = [[*row, i * 7 % 120 * 11] for i, row in enumerate(measured(360))]
    with pytest.raises(ValueError, match="has 120 distinct numbers in 360 rows, a target for regression"):
        load_dataset(table("a,b,count\n" + lines(counted)), target="count")


@pytest.mark.parametrize(
    ("label", "reason"),
    [(lambda i: f"id{i}", "has another text in each of 40 rows, an id"), (lambda i: 3, "has '3' in each of 40 rows")],
)
def test_a_column_that_is_no_label_is_refused(table, label, reason):
    path = table("a,b,c\n" + lines([*row, label(i)] for i, row in enumerate(measured(40))))
    with pytest.raises(ValueError, match=reason):
        load_dataset(path)


def test_labels_ahead_of_pixels(table):
    random = np.random.RandomState(1)
    pixels = random.randint(0, 256, (200, 9))
    pixels[:, -1] = 0
    rows = np.column_stack([np.arange(200) % 10, pixels]).tolist()
    data = load_dataset(table(lines(rows)))
    np.testing.assert_array_equal(data["X_train"], pixels)
    assert data["y_train"].tolist() == [i % 10 for i in range(200)]
    assert "labels: column 1 (the first), 10 classes: 0 (20), 1 (20)" in notes_of(data)
    pixels[:, -1] = random.randint(0, 2, 200) * 200
    path = table(lines(np.column_stack([np.arange(200) % 10, pixels]).tolist()))
    with pytest.raises(ValueError, match=r"first and its last column can both be the labels; target="):
        load_dataset(path)
    assert load_dataset(path, target=0)["X_train"].shape == (200, 9)


def test_notes_say_what_was_taken_for_what(table):
    data = load_dataset(table("a,kind\n1,x\n2,z\n3,x\n"))
    assert data["notes"] == ["labels: column 'kind' (the last), 2 classes: x (2), z (1)"]


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
def test_few_rows_and_one_class(table, rows):
    data = load_dataset(table("a,label\n" + lines([i, "x" if i < 9 else "z"] for i in range(rows))))
    assert len(data["y_train"]) == rows


# ---------------------------------------------------------------------------------------------- a frame's index


@pytest.mark.parametrize("first", [0, 1, 5])
@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_index_with_a_header_is_left_out(table, name, first):
    rows = [[first + i, *row, "xz"[i % 2]] for i, row in enumerate(measured(30))]
    data = load_dataset(table(f"{name},a,b,kind\n" + lines(rows)))
    assert data["feature_names"] == ["a", "b"]
    np.testing.assert_array_equal(data["X_train"], measured(30))
    assert "a frame's index: no name, and counts the rows" in notes_of(data)


@pytest.mark.parametrize(("name", "told"), [("id", True), ("shop_id", True), ("customerId", True), ("width", False)])
def test_ids_that_do_not_count_are_named(table, name, told):
    rows = [[(7919 * i) % 10007, *row, "xz"[i % 2]] for i, row in enumerate(measured(30))]
    data = load_dataset(table(f"{name},a,b,kind\n" + lines(rows)))
    assert data["feature_names"] == [name, "a", "b"]
    assert any("the name of an id" in note for note in data["notes"]) == told
    assert not told or f"drop=[{name!r}] (--drop {name})" in notes_of(data)


def test_index_without_a_header_is_left_out(table):
    path = table(lines([i, *row, i % 2] for i, row in enumerate(measured(30))))
    data = load_dataset(path)
    np.testing.assert_array_equal(data["X_train"], measured(30))
    assert "left out: column 1, it counts the rows" in notes_of(data)
    X, y, _ = load_samples(path, num_features=2, class_names=["0", "1"])
    np.testing.assert_array_equal(X, measured(30))
    assert y.tolist() == data["y_train"].tolist()


def test_header_of_numbers_beside_an_index(table):
    data = load_dataset(table(",0,1,2\n" + lines([i, *row, i % 2] for i, row in enumerate(measured(30)))))
    assert data["feature_names"] == ["0", "1"]
    assert len(data["X_train"]) == 30


def test_a_guess_is_never_an_error_about_classes(table):
    path = table(lines([*row, 250.5] for row in measured(3)))
    with pytest.raises(ValueError, match=r"one more than the 2 features of the model.*target=-1 .*drop="):
        load_samples(path, num_features=2, class_names=["0", "1"])


# ------------------------------------------------------------------------------------------ how it is written


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("trailing", ["", "separator", "blanks"])
def test_separators_and_line_ends(table, separator, end, trailing):
    tail = {"": "", "separator": separator, "blanks": "  "}[trailing]
    rows = ["a b kind", "1.5 2 x", "3 4.25 z"]
    text = "".join(row.replace(" ", separator) + tail + end for row in rows)
    empty = separator * 2 + end
    data = load_dataset(table(text + empty * 3))
    assert data["X_train"].tolist() == [[1.5, 2], [3, 4.25]]
    assert data["feature_names"] == ["a", "b"]
    assert data["class_names"] == ["x", "z"]


def test_decimal_commas(table):
    data = load_dataset(CASES / "semicolon_decimal_comma.csv")
    assert data["X_train"].shape == (200, 2)
    assert data["X_train"][0].tolist() == [1.2742, -0.8299]
    assert data["class_names"] == ["hoch", "tief"]
    assert "written with separator ';', decimal ','" in notes_of(data)
    quoted = load_dataset(table('a,b,kind\n"1,5","2,25",x\n"3,5","4,0",z\n'))
    assert quoted["X_train"].tolist() == [[1.5, 2.25], [3.5, 4]]
    with pytest.raises(ValueError, match=r"'1,234' can be 1234 or 1.234; decimal=','"):
        load_dataset(table("a;kind\n1,234;x\n5,678;z\n"))
    assert load_dataset(table("a;kind\n1,234;x\n5,678;z\n"), decimal=",")["X_train"].tolist() == [[1.234], [5.678]]
    with pytest.raises(ValueError, match="with commas and with points"):
        load_dataset(table("a;b;kind\n1,5;2.5;x\n5,6;3.5;z\n"))


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_spreadsheets_line_for_the_separator(table, first):
    data = load_dataset(table(f"{first}\r\na;b;kind\r\n1;2;x\r\n3;4;z\r\n"))
    assert data["X_train"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_are_told_by_their_mark(table, encoding):
    data = load_dataset(table("größe,art\n1,süß\n2,herb\n", encoding=encoding))
    assert data["feature_names"] == ["größe"]
    assert data["class_names"] == ["herb", "süß"]


@pytest.mark.parametrize(("encoding", "asked"), [("cp1252", "cp1252"), ("utf-16-le", "utf-16-le")])
def test_encodings_that_are_asked_for(table, encoding, asked):
    path = table("größe,art\n1,süß\n2,herb\n", encoding=encoding)
    with pytest.raises(ValueError, match=rf"not text in UTF-8.*--encoding {asked}"):
        load_dataset(path)
    data = load_dataset(path, encoding=encoding)
    assert data["class_names"] == ["herb", "süß"]
    assert f"encoding {encoding}" in notes_of(data)


@pytest.mark.parametrize("name", ["t.tsv", "t.TAB", "t.txt", "t.CSV", "t.csv.gz", "t.TSV.GZ"])
def test_names_of_files(table, name):
    content = b"a\tkind\n1\tx\n2\tz\n"
    data = load_dataset(table(gzip.compress(content) if name.lower().endswith("gz") else content, name))
    assert data["X_train"].tolist() == [[1], [2]]


def test_packed_files_are_bounded(table):
    bomb = gzip.compress(b"0,0\n" * 2**23)
    with pytest.raises(ValueError, match="more than 200 to one"):
        load_dataset(table(bomb, "t.csv.gz"), header=False, target=-1)
    whole = gzip.compress(b"a,kind\n1,x\n2,z\n")
    with pytest.raises(ValueError, match=r"t\.csv\.gz is a truncated or damaged gzip file"):
        load_dataset(table(whole[:-4], "t.csv.gz"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("separator", "ab"), ("decimal", ";"), ("encoding", "nonsense"), ("missing", "mean"), ("header", "yes")],
)
def test_options_that_are_none(table, option, value):
    with pytest.raises(ValueError, match=rf"{option}={value!r} \(--{option}\)"):
        load_dataset(table("a,kind\n1,x\n2,z\n"), **{option: value})
    with pytest.raises(ValueError, match=f"{option}={value!r} is for text tables"):
        load_dataset("fashion-mnist", **{option: value})


# ----------------------------------------------------------------------------------------- cells of other kinds


def test_true_and_false_are_numbers(table):
    data = load_dataset(table("a,b,kind\nTrue,1,x\nfalse,2,z\nTRUE,3,x\n"))
    assert data["X_train"].tolist() == [[1, 1], [0, 2], [1, 3]]
    assert "True and False are 1 and 0 in column 'a'" in notes_of(data)
    with pytest.raises(ValueError, match=r"line 4, column 1: expected a number, found 'True'"):
        load_dataset(table("a,kind\n1,x\n0,z\nTrue,x\n"))


@pytest.mark.parametrize("cell", ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "None", "?", "-", "#N/A", "<NA>"])
def test_missing_cells(table, cell):
    path = table(f"a,b,kind\n1,2,x\n3,{cell},z\n5,6,z\n")
    with pytest.raises(ValueError, match=r"line 3, column 2: .* in column 'b', a missing value; missing='drop'"):
        load_dataset(path)
    data = load_dataset(path, missing="drop")
    assert data["X_train"].tolist() == [[1, 2], [5, 6]]
    assert data["y_train"].tolist() == [0, 1]
    assert "left out: 1 rows that miss a value (1 in column 'b')" in notes_of(data)
    with pytest.warns(UserWarning, match="left out: 1 rows that miss a value"):
        X, y, _ = load_samples(path, missing="drop", target="kind")
    assert len(X) == len(y) == 2


def test_missing_labels(table):
    path = table("a,kind\n1,x\n2,NA\n3,z\n")
    with pytest.raises(ValueError, match="line 3, column 2: expected a label, found 'NA'"):
        load_dataset(path)
    assert load_dataset(path, missing="drop")["X_train"].tolist() == [[1], [3]]


def test_words_and_dates_are_named(table):
    with pytest.raises(ValueError, match=r"'city' \(words: Seoul, .*'joined' \(dates: 2025.*--drop city,owner,joined"):
        load_dataset(CASES / "shop.csv", target="bought")
    with pytest.raises(
        ValueError, match="line 25, column 4: expected a number, found '' in column 'income', a missing value"
    ):
        load_dataset(CASES / "shop.csv", target="bought", drop=["city", "owner", "joined"])
    ids = lines([f"u{i}", i * i % 7, "xz"[i % 2]] for i in range(40))
    with pytest.raises(ValueError, match="another text in each row, an id most likely"):
        load_dataset(table("user,a,kind\n" + ids))


# ------------------------------------------------------------------------------------------- rows by the kernel


@pytest.fixture
def compiled(monkeypatch):
    """Every table counts as large, in blocks of a few lines."""
    monkeypatch.setattr(table_rows, "COMPILED_FROM", 0)
    monkeypatch.setattr(table_rows, "COMPILED_FROM_AT_HAND", 0)
    monkeypatch.setattr(table_rows, "_BLOCK_BYTES", 64)
    with use_backend("fast"):
        yield


def both(path, **options):
    """The data that the kernel reads, after making sure that reading row by row gives the same."""
    with use_backend("reference"):
        slow = load_dataset(path, **options)
    with use_backend("fast"):
        fast = load_dataset(path, **options)
    np.testing.assert_array_equal(fast["X_train"].view(np.int64), slow["X_train"].view(np.int64))
    np.testing.assert_array_equal(fast["y_train"], slow["y_train"])
    assert {k: v for k, v in fast.items() if k[1] != "_"} == {k: v for k, v in slow.items() if k[1] != "_"}
    return fast


@needs_compiler
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a,b,kind\n" + "1.5,-2e3,x\n0.1,+.5,z\n" * 40, {}),
        ("kind,b,a\n" + "x , 1. ,2\r\nz,3,4\r\n" * 40, {}),
        ("a;b;kind\n" + "1,5;2;x;\n3;4,25;z;\n" * 40, {}),
        ("a,b,kind\n" + "true,1,x\nFALSE,2,z\n\n,,\n" * 40, {}),
        ("a,b,kind\n" + "1,2,x\n3,4,z\n" * 40 + '5,6,"x"\n' + "7,8,z\n" * 40, {}),
        ("a,b,kind\n" + "1,2,x\n3,NA,z\n5,6,\n7,8,z\n" * 40, {"missing": "drop"}),
        ("a,b,kind\n" + "1,2,x\n123456789012345678901234567890,1e-300,z\n" * 40, {}),
        ("a,name,kind\n" + "1,u,x\n2,v w,z\n" * 40, {"drop": ["name"]}),
        ("a\tb\tkind\n" + "1\t2\tx\n3\t4\tsüß\n" * 40, {}),
        ("\ufeff5,1,2\n" + "3,7,1\n" * 40, {"header": False, "target": -1}),
    ],
)
def test_the_kernel_reads_what_is_read_row_by_row(table, compiled, text, options):
    both(table(text), **options)


@needs_compiler
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("1,x2,x", "column 2: expected a number, found 'x2'"),
        ("1,1_0,x", "column 2: expected a number, found '1_0'"),
        ("1,,x", "column 2: expected a number, found ''"),
        ("1,1e999,x", "column 2: expected a finite number"),
        ("1,2", "expected 3 columns, found 2"),
        ("1,2,x,5", "expected 3 columns, found 4"),
        ("1,2,", "column 3: expected a label"),
    ],
)
def test_the_kernel_leaves_errors_with_their_lines(table, compiled, bad, message):
    path = table("a,b,kind\n" + "1,2,x\n3,4,z\n" * 30 + bad + "\n" + "1,2,x\n" * 30)
    with pytest.raises(ValueError, match=rf"line 62(, |: ){message}"):
        load_dataset(path)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.tuples(st.integers(0, 10**22), st.integers(-70, 70)).map(lambda pair: f"{pair[0]}e{pair[1]}"),
    st.tuples(st.integers(2**53, 2**54), st.integers(0, 4)).map(lambda p: f"{(2 * p[0] + 1) * 5 ** p[1]}e-{p[1]}"),
    st.from_regex(r"[+-]?\d{1,21}\.\d{0,21}", fullmatch=True).filter(str.isascii),
)


@needs_compiler
@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=50))
def test_numbers_are_rounded_as_python_rounds_them(cells):
    from fastfc.kernels.lowering import decimals

    wanted = np.array(list(map(float, cells)))
    text = np.frombuffer("".join(f"{cell}\n" for cell in cells).encode(), np.uint8)
    X, hard = np.zeros((len(cells), 1)), np.zeros((len(cells), 4), np.int64)
    places, kinds = np.zeros((len(cells), 2), np.int64), np.zeros(1, np.int64)
    rows, left, stop = decimals.read_lines(
        text, ord(","), ord("."), kinds, decimals.powers_of_five(), X, X.view(np.uint64), places, hard
    )
    assert (rows, stop) == (len(cells), len(text))
    for row, column, start, end in hard[:left].tolist():
        X[row, column] = float(text[start:end].tobytes())
    np.testing.assert_array_equal(X[:, 0].view(np.int64), wanted.view(np.int64))


@needs_compiler
def test_what_numpy_writes_is_read(table, compiled):
    X = np.random.RandomState(5).standard_normal((200, 3)) * 10.0 ** np.arange(-8, 1, 4)
    stream = io.StringIO()
    np.savetxt(stream, np.column_stack([X, np.arange(200) % 2]), delimiter=",", fmt=["%.18e"] * 3 + ["%d"])
    np.testing.assert_array_equal(both(table(stream.getvalue()))["X_train"], X)


@pytest.mark.parametrize("target", [True, 1.0, ["y"]])
def test_a_target_that_names_no_column(table, target):
    path = table("x,y\n" + "1.5,a\n2.5,b\n" * 20)
    with pytest.raises(TypeError, match="target: expected the name or number of a column, got"):
        load_dataset(path, target=target)


@pytest.mark.parametrize("name", ["a, b", "size m", 'in "', "größe's"])
def test_the_option_that_is_advised_names_the_column(table, name):
    quoted = name.replace('"', '""')
    path = table(f'"{quoted}",x,y\n' + lines(["Seoul", i, "ab"[i % 2]] for i in range(40)))
    with pytest.raises(ValueError, match="--drop") as caught:
        load_dataset(path, target="y")
    (option,) = re.findall(r"\((--drop .*)\)", str(caught.value))
    parser = argparse.ArgumentParser()
    add_table_options(parser)
    assert parser.parse_args(shlex.split(option)).drop == [name]
