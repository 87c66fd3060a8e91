"""The script behind the embedded subset."""

from pathlib import Path

import numpy as np
import pytest

from fastfc import data_utils
from fastfc.datasets import make_fashion_mnist as script
from fastfc.formats.pictures import packed_pictures, quantized, unpacked_pictures

FULL = Path("/usr/share/datasets/fashion-mnist")


def small_set():
    y = np.random.RandomState(0).permutation(np.repeat(np.arange(10), 450))
    X = np.arange(len(y), dtype=np.int64).reshape(-1, 1)
    return {"X_train": X, "y_train": y, "X_test": X, "y_test": y}


def test_subset_is_stratified_and_deterministic():
    data = small_set()
    before = np.random.get_state()[1].copy()
    small, again, other = script.subset(data), script.subset(data), script.subset(data, seed=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    for split, per_class in script.PER_CLASS.items():
        X, y = small[f"X_{split}"], small[f"y_{split}"]
        np.testing.assert_array_equal(np.bincount(y), [per_class] * 10)
        np.testing.assert_array_equal(data[f"y_{split}"][X[:, 0]], y)
        assert len(np.unique(X)) == len(X)
        np.testing.assert_array_equal(X, again[f"X_{split}"])
        assert not np.array_equal(X, other[f"X_{split}"])


def test_subset_of_too_few_pictures():
    data = small_set()
    with pytest.raises(ValueError, match="expected at least 400"):
        script.subset({**data, "X_train": data["X_train"][:1000], "y_train": data["y_train"][:1000]})


def test_file_is_the_same_byte_for_byte(tmp_path):
    arrays = script.subset(small_set())
    for name in ("a.npz", "b.npz"):
        script.write_npz(tmp_path / name, arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as got:
        assert got.files == list(arrays)
        for key in arrays:
            np.testing.assert_array_equal(got[key], arrays[key])
        assert got["y_train"].dtype == np.uint8


def test_pictures_come_back_in_the_nearest_of_16_grey_values(tmp_path):
    small = {"X_train": np.random.RandomState(0).randint(0, 256, (3, 28, 28)).astype(np.uint8)}
    small["X_train"][0, 0] = 7, *range(25), 254, 255
    script.write_npz(tmp_path / "a.npz", script.contents(small))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as got:
        assert got["rows_train"].shape == (3, 14, 28)
        X = unpacked_pictures(got["rows_train"], got["order_train"])
    assert X.dtype == np.uint8
    assert set(np.unique(X)) == set(range(0, 256, 17))
    assert np.abs(X.astype(int) - small["X_train"]).max() == 8
    np.testing.assert_array_equal(quantized(X), X)
    np.testing.assert_array_equal(unpacked_pictures(*packed_pictures(X)), X)


@pytest.mark.parametrize("X", [np.ones((2, 4, 4), np.uint8), np.zeros((2, 3, 4), np.uint8), np.zeros((4, 4), np.uint8)])
def test_pictures_that_cannot_be_packed(X):
    with pytest.raises(ValueError, match=r"X: expected quantized pictures \(N, H, W\)"):
        packed_pictures(X)


ROWS, ORDER = np.zeros((2, 4, 4), np.uint8), np.zeros((256, 16), np.uint8)


@pytest.mark.parametrize(
    ("rows", "order", "words"),
    [
        (np.zeros((2, 4, 4)), ORDER, "rows: expected bytes"),
        (ROWS[0], ORDER, "rows: expected bytes"),
        (ROWS, ORDER[:, :8], "order: expected values below 16"),
        (ROWS, ORDER + 16, "order: expected values below 16"),
    ],
)
def test_rows_that_are_no_packed_pictures(rows, order, words):
    with pytest.raises(ValueError, match=words):
        unpacked_pictures(rows, order)


def test_licence_goes_with_the_data():
    text = Path(script.__file__).with_name("fashion_mnist_LICENSE.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Zalando SE, https://tech.zalando.com" in text
    assert "The above copyright notice and this permission notice shall be included" in text


@pytest.mark.skipif(not FULL.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_embedded_file_comes_from_the_full_set(tmp_path, capsys):
    out = tmp_path / "made.npz"
    script.main(["--source", str(FULL), "--out", str(out)])
    assert str(out) in capsys.readouterr().out
    embedded = Path(script.__file__).with_name("fashion_mnist_5k.npz")
    with np.load(out, allow_pickle=False) as made, np.load(embedded, allow_pickle=False) as shipped:
        parts = [f"{kind}_{split}" for split in ("train", "test") for kind in ("rows", "order", "y")]
        assert made.files == shipped.files == [*parts, "class_names"]
        for key in made.files:
            np.testing.assert_array_equal(made[key], shipped[key])
            assert made[key].dtype == shipped[key].dtype
        assert made["class_names"].tolist() == list(data_utils.FASHION_MNIST_CLASSES)
