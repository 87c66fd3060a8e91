"""Data sets by name or path, in one form: X and y of each part, labels 0, 1, ..., and the classes' names."""

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

from fastfc.formats.folders import named_by_prefix, read_folder
from fastfc.formats.idx import has_idx_files, load_idx, read_idx_folder
from fastfc.formats.npz import read_npz
from fastfc.formats.npz_data import read_npz_data
from fastfc.formats.pictures import unpacked_pictures
from fastfc.formats.table import ModelColumns, TableOptions, has_table_suffix, read_table

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

# ---------------------------------------------------------------------------- where they are looked for


def _under_fastfc_data(name: str) -> list[Path]:
    root = os.environ.get("FASTFC_DATA")
    return [Path(root) / name, Path(root)] if root else []


def find_cifar10() -> Path:
    """The folder cifar-10-batches-py, in the first place that has it; FileNotFoundError names them all."""
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


def cifar10_in(folder: PathLike) -> Path:
    """The folder cifar-10-batches-py, given itself or the folder that holds it; FileNotFoundError otherwise."""
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

_SPLITS = ("train", "val", "test")
_EMBEDDED_KINDS = {f"{kind}_{split}": "biuf" for kind in ("rows", "order", "y") for split in ("train", "test")}
_EMBEDDED_KINDS |= {"class_names": "U"}


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


# --------------------------------------------------------------------------------------- reading them

_NO_OPTIONS = TableOptions()


def embedded() -> dict[str, Any]:
    """The subset of Fashion-MNIST that comes with the package; see :func:`fastfc.data_utils.embedded_fashion_mnist`."""
    with resources.files("fastfc.datasets").joinpath("fashion_mnist_5k.npz").open("rb") as f:
        raw = read_npz(f, "fashion_mnist_5k.npz", _EMBEDDED_KINDS.get)  # type: ignore[arg-type]
    for split in ("train", "test"):
        raw[f"X_{split}"] = unpacked_pictures(raw.pop(f"rows_{split}"), raw.pop(f"order_{split}"))
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
    "fashion-mnist": embedded,
    "fashion-mnist-full": _full_fashion_mnist,
    "cifar-10": lambda: _from_folder(find_cifar10()),
}


def load(
    name_or_path: PathLike, options: TableOptions, model: ModelColumns | None, *, labels_needed: bool
) -> dict[str, Any]:
    """Load a data set of any kind: splits under `X_train`, ... or a single table under `X`, `y`."""
    path = Path(name_or_path)
    if str(name_or_path) in _DATASETS:
        options.refuse_for(name_or_path)
        return _DATASETS[str(name_or_path)]()
    if path.is_dir() or (not path.exists() and named_by_prefix(path)):
        return _from_folder(path, options, model)
    is_table = has_table_suffix(path)
    if path.suffix.casefold() in (".parquet", ".pq"):
        raise ValueError(
            f"{path} is a Parquet file, which fastfc train and fastfc.tabular.fit_table read; expected a folder, an"
            " .npz file or a text table (.csv, ...)"
        )
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
        if table.y is not None and table.y.dtype.kind == "f":
            return raw | table.described()
        return _finish(raw, table.class_names, path) | table.described()
    if labels_needed:
        raise ValueError(f"{path} must be a folder, an .npz file or a .csv file: it has to bring labels too")
    return _finish({"X": load_idx(path)}, None, path)


def read_samples(
    name_or_path: PathLike, split: str, options: TableOptions, model: ModelColumns
) -> tuple[Array, Array | None, list[str] | None, list[str]]:
    """The results of `load_samples`, and notes on what was taken for what."""
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}, got {split!r}")
    data = load(name_or_path, options, model, labels_needed=False)
    for text in data.pop("warnings", ()):
        warnings.warn(text, UserWarning, stacklevel=3)
    key = "" if "X" in data and f"X_{split}" not in data else f"_{split}"
    if f"X{key}" not in data:
        raise ValueError(f"{name_or_path} has neither X_{split} nor X; it has {', '.join(data) or 'nothing known'}")
    X, y, notes = data[f"X{key}"], data.get(f"y{key}"), data.get("notes", [])
    if y is None:
        return X, None, None, notes
    if "class_names" not in data:
        return X, y, None, notes
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
