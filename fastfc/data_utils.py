"""Data: the course's CIFAR-10 functions, and loaders for idx, npz, CSV and the embedded Fashion-MNIST.

Nothing here reaches the network or runs anything that a file says. Sizes that a file declares are checked
against the bytes it has before memory is taken for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc._data_sets import FASHION_MNIST_CLASSES as FASHION_MNIST_CLASSES
from fastfc._data_sets import cifar10_in, embedded, find_cifar10, load, read_samples
from fastfc.formats.cifar import CIFAR10_CLASSES as CIFAR10_CLASSES
from fastfc.formats.cifar import read_batch, read_cifar10
from fastfc.formats.idx import load_idx
from fastfc.formats.pickles import MAX_PICKLE_BYTES as MAX_PICKLE_BYTES
from fastfc.formats.pickles import MAX_PICKLE_OPCODES as MAX_PICKLE_OPCODES
from fastfc.formats.pickles import RefusedPickleError, load_pickle
from fastfc.formats.table import ModelColumns, TableOptions

__all__ = [
    "RefusedPickleError",
    "embedded_fashion_mnist",
    "get_CIFAR10_data",
    "load_CIFAR10",
    "load_CIFAR_batch",
    "load_dataset",
    "load_idx",
    "load_pickle",
    "load_samples",
    "split_validation",
]

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

# --------------------------------------------------------------------------------------------- CIFAR-10


def _as_pictures(pixels: Array) -> Array:
    """(N, 3072) to float64 (N, 32, 32, 3), in memory still channel by channel, as the course has it."""
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float64)


def load_CIFAR_batch(filename: PathLike) -> tuple[Array, Array]:
    """Read one file of `cifar-10-batches-py`.

    Parameters
    ----------
    filename : path

    Returns
    -------
    X : float64 (N, 32, 32, 3)
        Values 0 to 255; N is 10000 in the original files.
    Y : int64 (N,)
        Labels 0 to 9.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a CIFAR-10 batch (see `load_pickle` for what is refused).

    Examples
    --------
    >>> X, Y = load_CIFAR_batch("cifar-10-batches-py/test_batch")  # doctest: +SKIP
    """
    pixels, labels = read_batch(filename)
    return _as_pictures(pixels), labels


def load_CIFAR10(ROOT: PathLike) -> tuple[Array, Array, Array, Array]:
    """Read the folder `cifar-10-batches-py`.

    Parameters
    ----------
    ROOT : path
        The folder.

    Returns
    -------
    Xtr : float64 (50000, 32, 32, 3)
    Ytr : int64 (50000,)
    Xte : float64 (10000, 32, 32, 3)
    Yte : int64 (10000,)

    Raises
    ------
    FileNotFoundError
        If one of `data_batch_1` to `data_batch_5` and `test_batch` is missing.
    ValueError
        If one of them is not a CIFAR-10 batch.

    Examples
    --------
    >>> Xtr, Ytr, Xte, Yte = load_CIFAR10("cifar-10-batches-py")  # doctest: +SKIP
    """
    (train, Ytr), (test, Yte) = read_cifar10(ROOT)
    return _as_pictures(train), Ytr, _as_pictures(test), Yte


def get_CIFAR10_data(
    num_training: int = 49000,
    num_validation: int = 1000,
    num_test: int = 1000,
    subtract_mean: bool = True,
    *,
    cifar10_dir: PathLike | None = None,
) -> dict[str, Array]:
    """Return CIFAR-10 split and centred, as the course's notebooks take it.

    The folder is looked for as `datasets/cifar-10-batches-py` beside this module, then
    `cs231n/datasets/cifar-10-batches-py` and `fastfc/datasets/cifar-10-batches-py` from the working folder,
    `cs231n/datasets/cifar-10-batches-py` beside the script (in `sys.path[0]`), then
    `$FASTFC_DATA/cifar-10-batches-py` and `$FASTFC_DATA` itself.

    Parameters
    ----------
    num_training, num_validation, num_test : int
        Pictures to take: training from the first on, validation right behind them, test from the test file.
    subtract_mean : bool
        Take the mean training picture from all three.
    cifar10_dir : path, optional
        The folder, or one that holds `cifar-10-batches-py`, instead of those places.

    Returns
    -------
    dict
        `X_train, y_train, X_val, y_val, X_test, y_test`; X float64 (N, 3, 32, 32), C-contiguous; y int64 (N,).

    Raises
    ------
    FileNotFoundError
        If the folder is nowhere; the message names every place.
    ValueError
        If more pictures are asked for than there are, or a file is not a CIFAR-10 batch.

    Examples
    --------
    >>> data = get_CIFAR10_data(num_training=500)  # doctest: +SKIP
    >>> data["X_train"].shape  # doctest: +SKIP
    (500, 3, 32, 32)
    """
    folder = find_cifar10() if cifar10_dir is None else cifar10_in(cifar10_dir)
    (train, y_train), (test, y_test) = read_cifar10(folder)
    if num_training < 1 or num_validation < 0 or num_training + num_validation > len(train):
        raise ValueError(
            f"num_training={num_training} (at least 1) and num_validation={num_validation} must fit into "
            f"the {len(train)} training pictures of {folder}"
        )
    if not 0 <= num_test <= len(test):
        raise ValueError(f"num_test={num_test} must be between 0 and the {len(test)} test pictures of {folder}")

    mean = train[:num_training].sum(axis=0, dtype=np.float64) / num_training

    def take(pixels: Array) -> Array:
        X = pixels.astype(np.float64)
        if subtract_mean:
            X -= mean
        return X.reshape(-1, 3, 32, 32)

    end = num_training + num_validation
    return {
        "X_train": take(train[:num_training]),
        "y_train": y_train[:num_training],
        "X_val": take(train[num_training:end]),
        "y_val": y_train[num_training:end],
        "X_test": take(test[:num_test]),
        "y_test": y_test[:num_test],
    }


# ------------------------------------------------------------------------------ data sets of any kind


def embedded_fashion_mnist() -> dict[str, Any]:
    """Return the subset of Fashion-MNIST that comes with the package.

    Returns
    -------
    dict
        `X_train` uint8 (4000, 28, 28), `y_train` int64 (4000,), `X_test` uint8 (1000, 28, 28), `y_test` int64
        (1000,), `class_names` list of 10 str. Every class has 400 and 100 pictures. Pixels have the 16 grey values 0,
        17, ..., 255, each the nearest to the original's, so that the package stays small.

    Notes
    -----
    Fashion-MNIST is by Zalando SE, under the MIT licence: see `datasets/fashion_mnist_LICENSE.txt`. The subset is
    made by `python -m fastfc.datasets.make_fashion_mnist`.

    Examples
    --------
    >>> embedded_fashion_mnist()["X_train"].shape
    (4000, 28, 28)
    """
    return embedded()


def load_dataset(
    name_or_path: PathLike,
    *,
    target: str | int | None = None,
    header: bool | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    missing: str | None = None,
    drop: Sequence[str | int] = (),
    task: str | None = None,
) -> dict[str, Any]:
    """Load labelled data to train on.

    Parameters
    ----------
    name_or_path : str or path
        A name: `"fashion-mnist"` (the embedded subset), `"fashion-mnist-full"` (the whole set, from
        `$FASTFC_DATA/fashion-mnist`, `$FASTFC_DATA` or `/usr/share/datasets/fashion-mnist`) or `"cifar-10"` (see
        `get_CIFAR10_data` for where it is looked for). Or a path: a folder with MNIST-style idx files (any prefix;
        packed or not) or with CIFAR-10 or CIFAR-100 (pickles or the binary version), itself or in a folder below;
        `FOLDER/PREFIX` where a folder has idx files of several prefixes; an `.npz` file with `X_train, y_train` (and
        `X_val, y_val`, `X_test, y_test`, `class_names` if it has them) or `X, y`, or with the names of public data
        sets such as `x_train` or `train_images, train_labels`; or a `.csv` file of numbers, with or without a header
        line.
    target : str or int, optional
        The label column of a table: its name, or its number counted from 0, from the end if negative. By
        default the column that is named label, target, class or y, else the one that looks most like labels.
        For CIFAR-100, `"fine"` or `"coarse"`.
    header : bool, optional
        Whether a table's first line names its columns; by default it is looked at.
    separator, decimal, encoding : str, optional
        How a table is written; by default it is found out.
    missing : {"error", "drop"}, optional
        Whether a missing cell is an error, the default, or its row is left out.
    drop : sequence of str or int
        Columns of a table to leave out, by name or number.
    task : {"classification", "regression", "auto"}, optional
        Whether a table's target has classes or numbers to predict; `"auto"` finds out: words, booleans and few whole
        numbers are classes. By default they are classes, and numbers that do not look like classes are an error.

    Returns
    -------
    dict
        `X_train` (N, ...) in the dtype of the file (uint8 for pictures, float64 for CSV), `y_train` int64 (N,),
        and where the data has them `X_val, y_val, X_test, y_test`; `class_names`, a list of str. Labels are 0 to
        C-1; where the file has other numbers or has names, `class_names` holds these, sorted. Of a table also
        `notes`, lines that say what was taken for what, and with a header `feature_names` and `target_name`.
        Where a table has numbers to predict, `y_train` is float64 (N,) and there are no `class_names`.

    Raises
    ------
    FileNotFoundError
        If there is no such data set, file or folder.
    ValueError
        If the data is damaged, has no labels, or X and y do not belong together. For CSV it gives line and column.
    TypeError
        If `target` or an entry of `drop` is neither a name nor a number.

    Examples
    --------
    >>> data = load_dataset("fashion-mnist")
    >>> data["X_test"].shape, data["class_names"][9]
    ((1000, 28, 28), 'Ankle boot')
    """
    options = TableOptions(target, header, separator, decimal, encoding, missing, drop, task)
    data = load(name_or_path, options, None, labels_needed=True)
    if "X" in data:
        data = {"X_train" if key == "X" else "y_train" if key == "y" else key: v for key, v in data.items()}
    if "X_train" not in data or "y_train" not in data:
        raise ValueError(f"{name_or_path} has no training data with labels (X_train and y_train, or X and y)")
    return data


def load_samples(
    name_or_path: PathLike,
    *,
    split: str = "test",
    target: str | int | None = None,
    num_features: int | None = None,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    target_name: str | None = None,
    header: bool | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    missing: str | None = None,
    drop: Sequence[str | int] = (),
) -> tuple[Array, Array | None, list[str] | None]:
    """Load data to predict from, with labels where it has them.

    Parameters
    ----------
    name_or_path : str or path
        As in `load_dataset`; also a single idx file of pictures, and `.npz` or `.csv` files without labels.
    split : {"test", "val", "train"}
        Which part of data that has parts.
    target : str or int, optional
        The label column of a `.csv` file, as in `load_dataset`; `"none"` if it has no labels. By default a column
        named label, target, class or y, or the last one if there is one more column than `num_features`.
    num_features : int, optional
        Number of features the model takes, to tell a `.csv` file with labels from one without.
    class_names : sequence of str, optional
        The model's classes. Labels are then places in this list: looked up by name, or, if the data has numbers
        that are no names of classes, taken as such places.
    feature_names : sequence of str, optional
        The columns that the model takes, in their order: those of a table are found by name.
    target_name : str, optional
        The column that held the labels in the training, which is left out by name.
    header, separator, decimal, encoding, missing, drop
        As in `load_dataset`.

    Returns
    -------
    X : array (N, ...)
    y : int64 (N,) or None
    class_names : list of str or None
        What the labels 0, 1, ... stand for; None without labels.

    Raises
    ------
    FileNotFoundError
        If there is no such data set, file or folder.
    ValueError
        If the data is damaged, has no such part, or has a label that is not among `class_names`.

    Examples
    --------
    >>> X, y, class_names = load_samples("fashion-mnist")
    >>> X.shape, class_names[y[0]] in class_names
    ((1000, 28, 28), True)
    """
    options = TableOptions(target, header, separator, decimal, encoding, missing, drop)
    model = ModelColumns(num_features, class_names, feature_names, target_name)
    return read_samples(name_or_path, split, options, model)[:3]


def split_validation(X: Array, y: Array, fraction: float, seed: int) -> tuple[Array, Array, Array, Array]:
    """Hold out a part of the data for validation, with every class's share.

    Parameters
    ----------
    X : array (N, ...)
    y : integer array (N,)
    fraction : float
        Share to hold out, between 0 and 1; `round(fraction * N)` rows are taken, and of each class its share of
        them, give or take one. A class of one row stays in training; where there is one, at most half of the other
        rows are taken.
    seed : int
        The same seed gives the same rows on every machine. NumPy's global random stream is not touched.

    Returns
    -------
    X_train, y_train, X_val, y_val : arrays
        Copies, rows in their former order.

    Raises
    ------
    ValueError
        If X and y differ in rows, or if one of the parts would be empty, as where each class has one row.

    Examples
    --------
    >>> y = np.repeat([0, 1], 10)
    >>> X_train, y_train, X_val, y_val = split_validation(np.arange(20), y, 0.2, seed=0)
    >>> y_val
    array([0, 0, 1, 1])
    """
    X, y = np.asarray(X), np.asarray(y)
    N = len(y)
    if len(X) != N:
        raise ValueError(f"X has {len(X)} rows and y has {N}; expected as many")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    count = round(fraction * N)
    if not 0 < count < N:
        raise ValueError(f"fraction {fraction} of {N} rows leaves one part empty")
    _, codes, sizes = np.unique(y, return_inverse=True, return_counts=True)
    can_be_held_out = sizes[codes] > 1
    M = int(can_be_held_out.sum())
    if M < N:
        count = min(count, M // 2)
        if count == 0:
            raise ValueError(f"each of the {N} rows is needed for training, as each class has one row")
    shuffled = np.random.RandomState(seed).permutation(N)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    by_class = by_class[can_be_held_out[by_class]]
    place = np.arange(M)
    held_out = np.zeros(N, bool)
    held_out[by_class[(place + 1) * count // M > place * count // M]] = True
    return X[~held_out], y[~held_out], X[held_out], y[held_out]
