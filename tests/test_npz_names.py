"""`.npz` files as people save them: names, letters of either case, labels of several forms, and what is refused."""

import numpy as np
import pytest

from fastfc.data_utils import load_dataset, load_samples

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 2, 2, 1, 0])
TEST_X, TEST_Y = X[:3] + 100, Y[:3]


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return save


@pytest.mark.parametrize(
    ("train", "labels", "test", "test_labels"),
    [
        ("x_train", "y_train", "x_test", "y_test"),  # Keras
        ("train_images", "train_labels", "test_images", "test_labels"),  # MedMNIST and the tutorials
        ("training_images", "training_labels", "testing_images", "testing_labels"),
        ("train_data", "train_targets", "test_data", "test_targets"),
        ("TRAIN_X", "TRAIN_Y", "TEST_X", "TEST_Y"),
        ("XTrain", "yTrain", "XTest", "yTest"),
        ("x-train", "label.train", "x-test", "label.test"),
        ("train_features", "train_target", "test_features", "test_target"),
    ],
)
def test_parts(save, train, labels, test, test_labels):
    path = save(**{train: X, labels: Y, test: TEST_X, test_labels: TEST_Y})
    data = load_dataset(path)
    np.testing.assert_array_equal(data["X_train"], X)
    np.testing.assert_array_equal(data["y_train"], Y)
    np.testing.assert_array_equal(data["X_test"], TEST_X)
    np.testing.assert_array_equal(data["y_test"], TEST_Y)
    # One line says what was taken for what, where that is not plain.
    plain = train.casefold() in ("x_train", "xtrain", "x-train")
    assert plain or f"{train} as X_train, {labels} as y_train" in "".join(data["notes"])
    np.testing.assert_array_equal(load_samples(path)[0], TEST_X)


@pytest.mark.parametrize("split", ["val", "valid", "validation", "VALID", "dev"])
def test_validation_part(save, split):
    data = load_dataset(save(**{"X_train": X, "y_train": Y, f"X_{split}": TEST_X, f"y_{split}": TEST_Y}))
    np.testing.assert_array_equal(data["X_val"], TEST_X)
    np.testing.assert_array_equal(data["y_val"], TEST_Y)


@pytest.mark.parametrize(
    ("examples", "labels"),
    [
        ("X", "y"),
        ("x", "Y"),
        ("images", "labels"),
        ("data", "target"),
        ("Data", "Labels"),
        ("features", "label"),
        ("arr_0", "arr_1"),
    ],
)
def test_one_table(save, examples, labels):
    path = save(**{examples: X, labels: Y})
    data = load_dataset(path)
    np.testing.assert_array_equal(data["X_train"], X)
    np.testing.assert_array_equal(data["y_train"], Y)
    got, y, _ = load_samples(path)
    np.testing.assert_array_equal(got, X)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(load_samples(save(**{examples: X}))[0], X)


def test_arrays_without_names(tmp_path):
    np.savez(tmp_path / "data.npz", X, Y)
    np.testing.assert_array_equal(load_dataset(tmp_path / "data.npz")["y_train"], Y)
    np.savez(tmp_path / "data.npz", X, Y, TEST_X, TEST_Y)
    with pytest.raises(ValueError, match=r"arr_0, arr_1, arr_2, arr_3, .* cannot be told; save them by name"):
        load_dataset(tmp_path / "data.npz")


def test_scikit_learns_bunch(save):
    names = np.array(["setosa", "versicolor", "virginica"])
    data = load_dataset(save(data=X, target=Y, target_names=names, feature_names=np.array(["a", "b", "c", "d"])))
    np.testing.assert_array_equal(data["y_train"], Y)
    assert data["class_names"] == names.tolist()


@pytest.mark.parametrize("kind", ["S", "U"])
def test_words_as_labels(save, kind):
    words = np.array(["ant", "bee", "Käfer"])
    stored = np.char.encode(words, "utf-8") if kind == "S" else words
    data = load_dataset(save(x_train=X, y_train=stored[Y], x_test=TEST_X, y_test=stored[TEST_Y].reshape(-1, 1)))
    # In the order of the names' sorting.
    order = sorted(words.tolist())
    assert data["class_names"] == order
    assert [order[i] for i in data["y_train"]] == words[Y].tolist()
    assert [order[i] for i in data["y_test"]] == words[TEST_Y].tolist()
    data = load_dataset(save(X=X, y=stored[Y], class_names=stored))
    assert data["class_names"] == words.tolist()
    np.testing.assert_array_equal(data["y_train"], Y)


def test_bytes_that_are_not_text(save):
    with pytest.raises(ValueError, match=r"data.npz: y has bytes that are not UTF-8"):
        load_dataset(save(X=X, y=np.array([b"\xff\xfe"] * 6)))


def test_labels_in_a_column(save):
    data = load_dataset(save(X_train=X, y_train=Y.reshape(-1, 1), X_test=TEST_X, y_test=TEST_Y))
    np.testing.assert_array_equal(data["y_train"], Y)
    assert data["notes"] == ["labels: y_train of shape (6, 1) taken as (6,)"]


def test_one_hot_labels_are_refused(save):
    path = save(X_train=X, y_train=np.eye(3)[Y])
    with pytest.raises(ValueError, match=r"y_train has shape \(6, 3\), one-hot labels; .* argmax\(axis=1\)"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("arrays", "advice"),
    [
        ({"X": np.array([[1, 2], [3]], dtype=object), "y": Y[:2]}, r"X has dtype object.*array\.astype\(float64\)"),
        ({"X": X, "y": Y.astype(object)}, r"y has dtype object.*array\.astype\(str\), or of int64"),
        ({"X": X, "y": Y, "class_names": Y.astype(object)}, r"class_names has dtype object.*astype\(str\)"),
    ],
)
def test_objects_are_refused_with_a_sentence(save, arrays, advice):
    with pytest.raises(ValueError, match=advice) as caught:
        load_dataset(save(**arrays))
    assert "pickles are never read" in str(caught.value)


def test_names_that_say_nothing(save):
    path = save(inputs_a=X, classes=Y)
    for load in (load_dataset, load_samples):
        with pytest.raises(ValueError, match=r"it has 'inputs_a', 'classes'; known are X_train, y_train, .*arr_0"):
            load(path)
    with pytest.raises(ValueError, match="it has no arrays; known are"):
        load_dataset(save())
    with pytest.raises(ValueError, match=r"no training data with labels .*; it has 'x_train'; known are"):
        load_dataset(save(x_train=X))


def test_two_names_of_one_meaning(save):
    with pytest.raises(ValueError, match="x_train and train_images can each be X_train; expected only one of them"):
        load_dataset(save(x_train=X, train_images=X, y_train=Y))
    with pytest.raises(ValueError, match="data and images can each be X"):
        load_samples(save(data=X, images=X))


def test_own_names_come_first(save):
    """Files that have the package's own names are read as ever, whatever stands beside them."""
    data = load_dataset(save(X_train=X, y_train=Y, x_train=X + 1, labels=np.array(["a", "b"]), target_names=Y))
    np.testing.assert_array_equal(data["X_train"], X)
    assert data["class_names"] == ["0", "1", "2"]
    assert "notes" not in data
    data = load_dataset(save(X=X, y=Y, data=np.array("text"), labels=np.array(["a", "b"])))
    np.testing.assert_array_equal(data["X_train"], X)
