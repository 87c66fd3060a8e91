"""Data: the course's CIFAR-10 functions, and loaders for idx, npz, CSV and the embedded Fashion-MNIST.

Nothing here reaches the network or runs anything that a file says. Sizes that a file declares are checked
against the bytes it has before memory is taken for them.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.cifar import CIFAR10_CLASSES as CIFAR10_CLASSES
from fastfc.formats.cifar import read_batch
from fastfc.formats.folders import named_by_prefix, read_folder
from fastfc.formats.idx import has_idx_files, load_idx, read_idx_folder
from fastfc.formats.npz import read_npz
from fastfc.formats.npz_data import read_npz_data
from fastfc.formats.pickles import MAX_PICKLE_BYTES as MAX_PICKLE_BYTES
from fastfc.formats.pickles import MAX_PICKLE_OPCODES as MAX_PICKLE_OPCODES
from fastfc.formats.pickles import RefusedPickleError, load_pickle
from fastfc.formats.table import ModelColumns, TableOptions, has_table_suffix, read_table

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

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# --------------------------------------------------------------------------------------------- CIFAR-10


def _cifar_split(folder: PathLike, split: str) -> tuple[Array, Array]:
    """Return all pixels (N, 3072) uint8 and labels (N,) int64 of the "train" or the "test" files."""
    names = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}[split]
    pixels, labels = zip(*(read_batch(Path(folder) / name) for name in names), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _as_pictures(pixels: Array) -> Array:
    """(N, 3072) to float64 (N, 32, 32, 3), in memory still channel by channel, as the course has it."""
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float64)


def load_CIFAR_batch(filename: PathLike) -> tuple[Array, Array]:
    """Read one file of `cifar-10-batches-py`.

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
    train, Ytr = _cifar_split(ROOT, "train")
    test, Yte = _cifar_split(ROOT, "test")
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
    folder = _find_cifar10() if cifar10_dir is None else _cifar10_in(cifar10_dir)
    train, y_train = _cifar_split(folder, "train")
    test, y_test = _cifar_split(folder, "test")
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


# -------------------------------------------------------------------------------- where data sets stand


def _under_fastfc_data(name: str) -> list[Path]:
    root = os.environ.get("FASTFC_DATA")
    return [Path(root) / name, Path(root)] if root else []


def _find_cifar10() -> Path:
    name = "cifar-10-batches-py"
    script = Path(sys.path[0] if sys.path else "")
    places = [
        Path(__file__).parent / "datasets" / name,
        Path("cs231n/datasets") / name,
        Path("fastfc/datasets") / name,
        script / "cs231n/datasets" / name,
        *_under_fastfc_data(name),
    ]
    for place in places:
        if (place / "data_batch_1").is_file():
            return place
    raise FileNotFoundError(
        "CIFAR-10 not found: put the folder cifar-10-batches-py (data_batch_1 to data_batch_5 and test_batch, as "
        "unpacked from cifar-10-python.tar.gz) into one of these places, or set FASTFC_DATA to the folder that holds "
        f"it; looked in {', '.join(dict.fromkeys(str(place.absolute()) for place in places))}"
    )


def _cifar10_in(folder: PathLike) -> Path:
    places = [Path(folder), Path(folder) / "cifar-10-batches-py"]
    for place in places:
        if (place / "data_batch_1").is_file():
            return place
    raise FileNotFoundError(
        f"cifar10_dir={os.fspath(folder)!r}: expected the folder cifar-10-batches-py or one that holds it; there is no "
        "file data_batch_1 in either"
    )


def _find_fashion_mnist() -> Path:
    places = [*_under_fastfc_data("fashion-mnist"), Path("/usr/share/datasets/fashion-mnist")]
    for place in places:
        if has_idx_files(place):
            return place
    raise FileNotFoundError(
        "the full Fashion-MNIST not found: install Debian's package dataset-fashion-mnist, or set FASTFC_DATA to the "
        f"folder that holds its four idx files; looked in {', '.join(map(str, places))}"
    )


# ---------------------------------------------------------------------------------- one form for all

_NO_OPTIONS = TableOptions()
_SPLITS = ("train", "val", "test")
_EMBEDDED_KINDS = dict.fromkeys(("X_train", "y_train", "X_test", "y_test"), "biuf") | {"class_names": "U"}


def _as_integers(y: Array, source: object) -> Array:
    """Return whole-numbered labels as int64."""
    with np.errstate(invalid="ignore"):
        integers = y.astype(np.int64)
    if not np.array_equal(integers, y):
        raise ValueError(f"{source} must be whole numbers or names, found {y[integers != y][0]}")
    return integers


def _check_rows(X: Array, y: Array | None, key: str, source: object) -> None:
    if X.ndim < 2 or X.size == 0:
        raise ValueError(f"{source}: X{key} must be an array (N, ...) with at least one row, found shape {X.shape}")
    if y is not None and y.shape != X.shape[:1]:
        raise ValueError(f"{source}: y{key} must have shape ({len(X)},) like X{key} {X.shape}, found {y.shape}")


def _finish(raw: dict[str, Array], class_names: Sequence[str] | None, source: object) -> dict[str, Any]:
    """Check the splits and bring the labels to 0, 1, ..., with a name for each of them."""
    data: dict[str, Any] = {}
    for key in ("", *(f"_{split}" for split in _SPLITS)):
        X, y = raw.get(f"X{key}"), raw.get(f"y{key}")
        if X is not None:
            _check_rows(X, y, key, source)
            data[f"X{key}"] = X
        elif y is not None:
            raise ValueError(f"{source} has y{key} but not X{key}")
        if y is not None:
            data[f"y{key}"] = y if y.dtype.kind == "U" else _as_integers(y, f"{source}: y{key}")
    keys = [key for key in data if key.startswith("y")]
    if len({data[key].dtype.kind for key in keys}) > 1:
        raise ValueError(f"{source}: labels are numbers in one part and strings in another")
    if not keys:
        return data
    labels = np.concatenate([data[key] for key in keys])
    found, codes = np.unique(labels, return_inverse=True)
    if class_names is None:
        class_names = [str(value) for value in found.tolist()]
    else:
        codes = _positions(found, class_names, source)[codes]
    ends = np.cumsum([len(data[key]) for key in keys])[:-1]
    data.update(zip(keys, np.split(codes.astype(np.int64), ends), strict=True))
    data["class_names"] = list(class_names)
    return data


def _positions(found: Array, class_names: Sequence[str], source: object) -> Array:
    """Return the place of each label in `class_names`: by name, or by number if it is one."""
    index = {name: i for i, name in enumerate(class_names)}
    if len(index) != len(class_names):
        raise ValueError(f"{source}: class_names has the same name twice")
    if found.dtype.kind == "U":
        missing = [name for name in found.tolist() if name not in index]
        if missing:
            raise ValueError(f"{source}: label {missing[0]!r} is not among the classes {list(class_names)}")
        return np.array([index[name] for name in found.tolist()], np.int64)
    if found[0] < 0 or found[-1] >= len(class_names):
        raise ValueError(
            f"{source}: labels run from {found[0]} to {found[-1]}; {len(class_names)} classes have 0 to "
            f"{len(class_names) - 1}"
        )
    return found


def embedded_fashion_mnist() -> dict[str, Any]:
    """Return the subset of Fashion-MNIST that comes with the package.

    Returns
    -------
    dict
        `X_train` uint8 (4000, 28, 28), `y_train` int64 (4000,), `X_test` uint8 (1000, 28, 28), `y_test` int64
        (1000,), `class_names` list of 10 str. Every class has 400 and 100 pictures.

    Notes
    -----
    Fashion-MNIST is by Zalando SE, under the MIT licence: see `datasets/fashion_mnist_LICENSE.txt`. The subset is
    made by `python -m fastfc.datasets.make_fashion_mnist`.

    Examples
    --------
    >>> embedded_fashion_mnist()["X_train"].shape
    (4000, 28, 28)
    """
    with resources.files("fastfc.datasets").joinpath("fashion_mnist_5k.npz").open("rb") as f:
        raw = read_npz(f, "fashion_mnist_5k.npz", _EMBEDDED_KINDS.get)  # type: ignore[arg-type]
    return _finish(raw, raw["class_names"].tolist(), "fashion_mnist_5k.npz")


def _full_fashion_mnist() -> dict[str, Any]:
    folder = _find_fashion_mnist()
    return _finish(read_idx_folder(folder), FASHION_MNIST_CLASSES, folder)


def _from_folder(path: Path, options: TableOptions = _NO_OPTIONS, model: ModelColumns | None = None) -> dict[str, Any]:
    replace(options, target=None).refuse_for(path)
    contents = read_folder(path, options.target, None if model is None else model.target_name)
    target = {} if contents.target_name is None else {"target_name": contents.target_name}
    return _finish(contents.parts, contents.class_names, path) | target | _described(contents.notes)


def _described(notes: list[str]) -> dict[str, Any]:
    return {"notes": notes} if notes else {}


_DATASETS: dict[str, Callable[[], dict[str, Any]]] = {
    "fashion-mnist": embedded_fashion_mnist,
    "fashion-mnist-full": _full_fashion_mnist,
    "cifar-10": lambda: _from_folder(_find_cifar10()),
}


def _load(
    name_or_path: PathLike, options: TableOptions, model: ModelColumns | None, *, labels_needed: bool
) -> dict[str, Any]:
    """Load whatever it is: splits under `X_train`, ... or a single table under `X`, `y`."""
    path = Path(name_or_path)
    if str(name_or_path) in _DATASETS:
        options.refuse_for(name_or_path)
        return _DATASETS[str(name_or_path)]()
    if path.is_dir() or (not path.exists() and named_by_prefix(path)):
        return _from_folder(path, options, model)
    is_table = has_table_suffix(path)
    if not is_table:
        options.refuse_for(name_or_path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path} (data sets by name: {', '.join(_DATASETS)})")
    if path.suffix.lower() == ".npz":
        raw, names, notes = read_npz_data(path, labels_needed=labels_needed)
        return _finish(raw, names, path) | _described(notes)
    if is_table:
        table = read_table(path, options, model, labels_needed=labels_needed)
        raw = {"X": table.X} if table.y is None else {"X": table.X, "y": table.y}
        return _finish(raw, table.class_names, path) | table.described()
    if labels_needed:
        raise ValueError(f"{path} must be a folder, an .npz file or a .csv file: it has to bring labels too")
    return _finish({"X": load_idx(path)}, None, path)


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

    Returns
    -------
    dict
        `X_train` (N, ...) in the dtype of the file (uint8 for pictures, float64 for CSV), `y_train` int64 (N,),
        and where the data has them `X_val, y_val, X_test, y_test`; `class_names`, a list of str. Labels are 0 to
        C-1; where the file has other numbers or has names, `class_names` holds these, sorted. Of a table also
        `notes`, lines that say what was taken for what, and with a header `feature_names` and `target_name`.

    Raises
    ------
    FileNotFoundError
        If there is no such data set, file or folder.
    ValueError
        If the data is damaged, has no labels, or X and y do not belong together. For CSV it gives line and column.

    Examples
    --------
    >>> data = load_dataset("fashion-mnist")
    >>> data["X_test"].shape, data["class_names"][9]
    ((1000, 28, 28), 'Ankle boot')
    """
    options = TableOptions(target, header, separator, decimal, encoding, missing, drop)
    data = _load(name_or_path, options, None, labels_needed=True)
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


def read_samples(
    name_or_path: PathLike, split: str, options: TableOptions, model: ModelColumns
) -> tuple[Array, Array | None, list[str] | None, list[str]]:
    """The results of `load_samples`, and notes on what was taken for what."""
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}, got {split!r}")
    data = _load(name_or_path, options, model, labels_needed=False)
    for text in data.pop("warnings", ()):
        warnings.warn(text, UserWarning, stacklevel=3)
    key = "" if "X" in data and f"X_{split}" not in data else f"_{split}"
    if f"X{key}" not in data:
        raise ValueError(f"{name_or_path} has neither X_{split} nor X; it has {', '.join(data) or 'nothing known'}")
    X, y, notes = data[f"X{key}"], data.get(f"y{key}"), data.get("notes", [])
    if y is None:
        return X, None, None, notes
    names: list[str] = data["class_names"]
    if model.class_names is None:
        return X, y, names, notes
    found, codes = np.unique(y, return_inverse=True)
    own = [names[code] for code in found.tolist()]
    if not set(own) <= set(model.class_names) and all(name.isdecimal() for name in own):
        places = np.array([int(name) for name in own], np.int64)
    else:
        places = np.array(own)
    return X, _positions(places, model.class_names, name_or_path)[codes], list(model.class_names), notes


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
