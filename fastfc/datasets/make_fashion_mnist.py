"""Make the embedded subset of Fashion-MNIST from the full set: python -m fastfc.datasets.make_fashion_mnist.

The full set is Debian's package dataset-fashion-mnist, or any folder with the four idx files (--source). The same
source and seed give the same arrays everywhere, and with the same zlib the same file byte for byte. The 256 grey values
are brought to 16, which makes the file 0.8 MB instead of 2.2 MB.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.data_utils import FASHION_MNIST_CLASSES, load_dataset
from fastfc.formats.pictures import packed_pictures, quantized

PER_CLASS = {"train": 400, "test": 100}
SEED = 231


def choose(y: NDArray[Any], per_class: int, random: np.random.RandomState) -> NDArray[np.int64]:
    """Return the places of `per_class` random rows of each class in `y`, in random order."""
    places = [random.permutation(np.flatnonzero(y == label))[:per_class] for label in np.unique(y)]
    short = [len(place) for place in places if len(place) < per_class]
    if short:
        raise ValueError(f"a class has {short[0]} pictures; expected at least {per_class}")
    return random.permutation(np.concatenate(places))


def subset(data: dict[str, Any], seed: int = SEED) -> dict[str, NDArray[Any]]:
    """Return the stratified subset of a data set from `load_dataset`, labels as uint8."""
    random = np.random.RandomState(seed)
    small: dict[str, NDArray[Any]] = {}
    for split, per_class in PER_CLASS.items():
        rows = choose(data[f"y_{split}"], per_class, random)
        small[f"X_{split}"] = data[f"X_{split}"][rows]
        small[f"y_{split}"] = data[f"y_{split}"][rows].astype(np.uint8)
    return small | {"class_names": np.array(FASHION_MNIST_CLASSES)}


def contents(small: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The entries of the file: the pictures packed, as `rows_train` and so on, and the rest as it is."""
    entries: dict[str, NDArray[Any]] = {}
    for key, values in small.items():
        if key.startswith("X_"):
            split = key.removeprefix("X_")
            entries[f"rows_{split}"], entries[f"order_{split}"] = packed_pictures(quantized(values))
        else:
            entries[key] = values
    return entries


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write what `np.savez_compressed` would, with a fixed time stamp."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, values, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(info, buffer.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main(argv: list[str] | None = None) -> None:
    """Read the full set and write the subset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="fashion-mnist-full", help="folder with the four idx files")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fashion_mnist_5k.npz"))
    arguments = parser.parse_args(argv)
    write_npz(arguments.out, contents(subset(load_dataset(arguments.source))))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
