"""Data sets in folders as people have them: MNIST's relatives, CIFAR-10 and CIFAR-100, wherever they were unpacked."""

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from fastfc.data_utils import get_CIFAR10_data, load_CIFAR_batch, load_dataset, load_samples

RANDOM = np.random.RandomState(20)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, prefix="", test="t10k", alone=False, pack=False, shift=0):
    """The four files of a data set; `alone`: each in a folder of its own name."""
    wanted = {}
    for split, part, rows in (("train", "train", 12), ("test", test, 6)):
        wanted[f"X_{split}"] = RANDOM.randint(0, 256, (rows, 4, 3)).astype(np.uint8)
        wanted[f"y_{split}"] = (np.arange(rows) % 3 + shift).astype(np.uint8)
        for key, content in (("X", "images-idx3"), ("y", "labels-idx1")):
            raw = idx(wanted[f"{key}_{split}"])
            name = f"{prefix}{part}-{content}-ubyte"
            path = folder / name / name if alone else folder / (f"{name}.gz" if pack else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(raw) if pack else raw)
    return wanted


def pixels_and_labels(rows, classes):
    return RANDOM.randint(0, 256, (rows, 3072)).astype(np.uint8), RANDOM.randint(0, classes, rows)


def write_batch(path, pixels, **labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"data": pixels, **labels}, 2))


def assert_same(data, wanted, shift=0):
    for key, array in wanted.items():
        np.testing.assert_array_equal(data[key], array - (shift if key[0] == "y" else 0))


# ---------------------------------------------------------------------------------------------------------- idx


@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw", "data/MNIST/raw"])
def test_idx_files_here_or_below(place, tmp_path):
    wanted = write_idx(tmp_path / place)
    data = load_dataset(tmp_path)
    assert_same(data, wanted)
    # Where something was looked for below, one line says where it was found.
    assert data.get("notes", []) == ([] if place == "." else [f"folder: {tmp_path / place} (idx files)"])
    np.testing.assert_array_equal(load_samples(tmp_path)[0], wanted["X_test"])


def test_idx_files_in_folders_of_their_own_names(tmp_path):
    wanted = write_idx(tmp_path, alone=True)
    assert_same(load_dataset(tmp_path), wanted)
    assert_same(load_dataset(tmp_path.parent / tmp_path.name), wanted)
    # Kaggle's archive of MNIST has both: a file in its folder, and the same with a dot beside the folder.
    for name, key in (("train-images", "X_train"), ("train-labels", "y_train")):
        axes = "idx3" if key[0] == "X" else "idx1"
        (tmp_path / f"{name}.{axes}-ubyte").write_bytes(idx(wanted[key]))
    assert_same(load_dataset(tmp_path), wanted)


def test_packed_beside_unpacked(tmp_path):
    """torchvision keeps the archives beside what it unpacks."""
    write_idx(tmp_path, pack=True)
    wanted = write_idx(tmp_path)
    assert_same(load_dataset(tmp_path), wanted)


@pytest.mark.parametrize("prefix", ["emnist-letters-", "fashion-", "my_own_", "kannada.mnist."])
def test_any_prefix(prefix, tmp_path):
    test = "test" if prefix.startswith("emnist") else "t10k"
    wanted = write_idx(tmp_path / "gzip", prefix, test, pack=True, shift=1)
    data = load_dataset(tmp_path)
    assert_same(data, wanted, shift=1)
    assert data["class_names"] == ["1", "2", "3"]


def test_several_prefixes(tmp_path):
    wanted = {
        name: write_idx(tmp_path / "raw", f"{name}-", "test") for name in ("emnist-digits", "emnist-letters", "emnist")
    }
    with pytest.raises(ValueError, match=r"has several data sets; name one of them") as caught:
        load_dataset(tmp_path)
    for name in wanted:
        path = tmp_path / "raw" / name
        assert f"{path} (idx files)" in str(caught.value)
        assert_same(load_dataset(path), wanted[name])
        np.testing.assert_array_equal(load_samples(path)[0], wanted[name]["X_test"])
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_dataset(tmp_path / "raw" / "emnist-balanced")
    # Files without a prefix are what they were before prefixes were known.
    plain = write_idx(tmp_path / "raw")
    assert_same(load_dataset(tmp_path / "raw"), plain)


def test_several_folders(tmp_path):
    mnist, fashion = write_idx(tmp_path / "MNIST/raw"), write_idx(tmp_path / "FashionMNIST/raw")
    with pytest.raises(ValueError, match="several data sets") as caught:
        load_dataset(tmp_path)
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)
    assert str(tmp_path / "FashionMNIST" / "raw") in str(caught.value)
    assert_same(load_dataset(tmp_path / "MNIST"), mnist)
    # Files in the folder itself go before those in folders below it.
    here = write_idx(tmp_path)
    assert_same(load_dataset(tmp_path), here)
    assert_same(load_dataset(tmp_path / "FashionMNIST"), fashion)


def test_two_test_parts(tmp_path):
    write_idx(tmp_path, test="t10k")
    write_idx(tmp_path, test="test")
    with pytest.raises(ValueError, match="expected either t10k or test"):
        load_dataset(tmp_path)


def test_what_systems_leave_beside_files(tmp_path):
    wanted = write_idx(tmp_path)
    (tmp_path / "__MACOSX").mkdir()
    write_idx(tmp_path / ".cache")
    for name in ("._train-images-idx3-ubyte", "__MACOSX/._train-images-idx3-ubyte", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    assert_same(load_dataset(tmp_path), wanted)


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_that_go_in_a_circle(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="neither idx files"):
        load_dataset(tmp_path)


# ------------------------------------------------------------------------------------------------------ CIFAR-10


def write_cifar10(folder, batches=(1, 2, 3, 4, 5), test=True, key=str, labels=np.ndarray.tolist):
    names = [*(f"data_batch_{i}" for i in batches), *(["test_batch"] if test else [])]
    parts = {}
    for name in names:
        pixels, codes = parts[name] = pixels_and_labels(4, 10)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickle.dumps({key("data"): pixels, key("labels"): labels(codes)}, 2))
    wanted = {}
    for split, word in (("train", "data"), ("test", "test")):
        chosen = [parts[name] for name in names if name.startswith(word)]
        if chosen:
            wanted[f"X_{split}"] = np.concatenate([pixels for pixels, _ in chosen]).reshape(-1, 3, 32, 32)
            wanted[f"y_{split}"] = np.concatenate([codes for _, codes in chosen])
    return wanted


@pytest.mark.parametrize("place", [".", "cifar-10-batches-py", "data/cifar-10-python/cifar-10-batches-py"])
def test_cifar10_here_or_below(place, tmp_path):
    wanted = write_cifar10(tmp_path / place)
    data = load_dataset(tmp_path)
    assert_same(data, wanted)
    assert data["class_names"][3] == "cat"


def test_cifar10_from_one_batch_on(tmp_path):
    wanted = write_cifar10(tmp_path, batches=(1,), test=False)
    data = load_dataset(tmp_path)
    assert_same(data, wanted)
    assert "X_test" not in data
    assert data["notes"] == [
        "CIFAR-10: without data_batch_2, data_batch_3, data_batch_4, data_batch_5, which the folder does not have",
        "CIFAR-10: without test_batch, which the folder does not have",
    ]
    with pytest.raises(ValueError, match="neither X_test nor X"):
        load_samples(tmp_path)
    assert len(load_samples(tmp_path, split="train")[0]) == 4


def test_cifar10_with_pictures_to_predict_only(tmp_path):
    wanted = write_cifar10(tmp_path, batches=())
    np.testing.assert_array_equal(load_samples(tmp_path)[1], wanted["y_test"])
    with pytest.raises(ValueError, match="no training data with labels"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("key", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize("labels", [np.ndarray.tolist, np.int32, np.uint8], ids=["list", "int32", "uint8"])
def test_batches_that_were_pickled_again(key, labels, tmp_path):
    wanted = write_cifar10(tmp_path, key=key, labels=labels)
    assert_same(load_dataset(tmp_path), wanted)
    pictures, codes = load_CIFAR_batch(tmp_path / "test_batch")
    np.testing.assert_array_equal(pictures, wanted["X_test"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(codes, wanted["y_test"])


@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 10, 2]), np.array([0, 1, -1, 2]), np.eye(4, dtype=int), np.array([0.0, 1, 2, 3])]
)
def test_label_arrays_of_another_form(labels, tmp_path):
    write_batch(tmp_path / "data_batch_1", pixels_and_labels(4, 10)[0], labels=labels)
    with pytest.raises(ValueError, match="'labels' must be a list or an array of integers 0 to 9"):
        load_dataset(tmp_path)


def test_get_CIFAR10_data_from_a_given_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = write_cifar10(tmp_path / "here/cifar-10-batches-py")
    for folder in ("here/cifar-10-batches-py", tmp_path / "here"):
        data = get_CIFAR10_data(12, 8, 4, False, cifar10_dir=folder)
        np.testing.assert_array_equal(data["X_train"], wanted["X_train"][:12])
        np.testing.assert_array_equal(data["y_val"], wanted["y_train"][12:])
    with pytest.raises(FileNotFoundError, match=r"cifar10_dir='nowhere': expected the folder cifar-10-batches-py"):
        get_CIFAR10_data(cifar10_dir=Path("nowhere"))
    with pytest.raises(TypeError, match="positional"):
        get_CIFAR10_data(12, 8, 4, False, "here")


# ----------------------------------------------------------------------------------------------------- CIFAR-100

FINE = [f"fine {i}" for i in range(100)]
COARSE = [f"coarse {i}" for i in range(20)]


def write_cifar100(folder, names=True):
    wanted = {}
    for split in ("train", "test"):
        pixels, fine = pixels_and_labels(6, 100)
        coarse = fine // 5
        write_batch(folder / split, pixels, fine_labels=fine.tolist(), coarse_labels=coarse.tolist())
        wanted |= {f"X_{split}": pixels.reshape(-1, 3, 32, 32), f"fine_{split}": fine, f"coarse_{split}": coarse}
    if names:
        (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": FINE, "coarse_label_names": COARSE}, 2))
    return wanted


@pytest.mark.parametrize(("target", "names"), [("fine", FINE), ("coarse", COARSE), (None, FINE)])
def test_cifar100(target, names, tmp_path):
    wanted = write_cifar100(tmp_path / "cifar-100-python")
    data = load_dataset(tmp_path, target=target)
    for split in ("train", "test"):
        np.testing.assert_array_equal(data[f"X_{split}"], wanted[f"X_{split}"])
        np.testing.assert_array_equal(data[f"y_{split}"], wanted[f"{target or 'fine'}_{split}"])
    assert data["class_names"] == names
    assert data["target_name"] == (target or "fine")
    assert any(note.startswith(f"labels: {target or 'fine'}; ") for note in data["notes"])
    # A model goes on with the labels that it was trained on.
    _, y, found = load_samples(tmp_path, class_names=names, target_name=data["target_name"])
    np.testing.assert_array_equal(y, wanted[f"{target or 'fine'}_test"])
    assert found == names


def test_cifar100_without_names(tmp_path):
    write_cifar100(tmp_path / "cifar-100-python", names=False)
    assert load_dataset(tmp_path)["class_names"] == [str(i) for i in range(100)]
    # "train" and "test" alone may be anything.
    os.rename(tmp_path / "cifar-100-python", tmp_path / "mine")
    with pytest.raises(ValueError, match="neither idx files"):
        load_dataset(tmp_path)


def test_damaged_names(tmp_path):
    write_cifar100(tmp_path)
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": FINE[:99]}, 2))
    with pytest.raises(ValueError, match="meta: expected 100 different names of classes, found 99"):
        load_dataset(tmp_path)
    with pytest.raises(ValueError, match="meta: expected a dict with a list of names as 'coarse_label_names'"):
        load_dataset(tmp_path, target="coarse")


def test_targets_that_a_folder_does_not_have(tmp_path):
    write_cifar100(tmp_path / "cifar-100-python")
    with pytest.raises(ValueError, match=r"target='medium': .* has the labels fine and coarse"):
        load_dataset(tmp_path, target="medium")
    write_cifar10(tmp_path / "ten")
    with pytest.raises(ValueError, match=r"target='fine' names a column of a \.csv file; .* is none"):
        load_dataset(tmp_path / "ten", target="fine")
    with pytest.raises(ValueError, match="separator=';' "):
        load_dataset(tmp_path / "ten", separator=";")


# ------------------------------------------------------------------------------------------------ binary versions


def write_records(path, pixels, *columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([*(column.astype(np.uint8) for column in columns), pixels]).tofile(path)


def test_cifar10_binary(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    parts = [pixels_and_labels(4, 10) for _ in range(3)]
    for name, part in zip(("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"), parts, strict=True):
        write_records(folder / name, part[0], part[1])
    data = load_dataset(tmp_path)
    np.testing.assert_array_equal(data["X_train"].reshape(8, -1), np.concatenate([parts[0][0], parts[1][0]]))
    np.testing.assert_array_equal(data["y_train"], np.concatenate([parts[0][1], parts[1][1]]))
    np.testing.assert_array_equal(data["y_test"], parts[2][1])
    assert data["class_names"][9] == "truck"


@pytest.mark.parametrize(("target", "names"), [("fine", FINE), ("coarse", COARSE)])
def test_cifar100_binary(target, names, tmp_path):
    pixels, fine = pixels_and_labels(6, 100)
    write_records(tmp_path / "cifar-100-binary/train.bin", pixels, fine // 5, fine)
    for kind, lines in (("fine", FINE), ("coarse", COARSE)):
        (tmp_path / f"cifar-100-binary/{kind}_label_names.txt").write_text("\n".join(lines) + "\n\n")
    data = load_dataset(tmp_path, target=target)
    np.testing.assert_array_equal(data["X_train"].reshape(6, -1), pixels)
    np.testing.assert_array_equal(data["y_train"], fine if target == "fine" else fine // 5)
    assert data["class_names"] == names


def test_damaged_binary_files(tmp_path):
    pixels, codes = pixels_and_labels(4, 10)
    path = tmp_path / "data_batch_1.bin"
    write_records(path, pixels, codes + 10)
    with pytest.raises(ValueError, match="labels must be 0 to 9, found 1"):
        load_dataset(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its 12291 bytes are not records of 3073"):
        load_dataset(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="its 0 bytes are not records"):
        load_dataset(tmp_path)


# ---------------------------------------------------------------------------------------------------- nothing there


def test_the_error_says_what_was_looked_for_and_what_is_there(tmp_path):
    with pytest.raises(ValueError, match="it has nothing"):
        load_dataset(tmp_path)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/1.JPG").write_bytes(b"")
    for i in range(15):
        (tmp_path / f"notes{i:02}.txt").write_text("")
    with pytest.raises(ValueError, match="neither idx files") as caught:
        load_dataset(tmp_path)
    message = str(caught.value)
    for part in ("train-images-idx3-ubyte", "data_batch_1", "data_batch_1.bin", "CIFAR-100", str(tmp_path)):
        assert part in message
    assert "it has cats/, notes00.txt, " in message
    assert "notes10.txt and 4 more" in message
    assert "pictures such as 1.JPG are not read: put them into an .npz file" in message
