"""Whole trainings by fastfc's estimators and by scikit-learn's, with the same options, side by side.

    pip install ".[sklearn]"
    python asv_bench/fits.py --into asv_bench/results/fits.json

A row is a data set and the options of the estimators: the same layers, batches, epochs, permutations and Adam, no early
stopping. Both compute in float64, or fastfc in float32 by its option ``dtype``, which scikit-learn lacks, or both in
float32 on such data. Both fit in this process by turns, A B A B, once before they are timed, with a pause before each
turn, in which the threads of the library before go to sleep: those of BLAS wait for more work for some 30 ms.
Beside the ratio stands "at most", the one that the machine allows: that of a training which takes as long as NumPy's
BLAS takes for the matrix products alone at its best rate.
Two more kinds of rows are many small trainings side by side in two threads against one after the other, for which the
machine allows as much as products of BLAS in two threads gain in the same turns, and a search.
``tables.py`` brings the figures into the documentation.
"""

import argparse
import functools
import itertools
import json
import statistics
import timeit
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from fastfc.bench.machine import environment, shown
from fastfc.formats.atomic import replaced_file

__all__ = ["table"]

#: Row -> data set, options of both estimators, and rounds.
FITS: dict[str, tuple[str, dict[str, Any], int]] = {
    "iris, 4-[100]-3@16, 100 epochs": ("iris", {"hidden_layer_sizes": (100,), "batch_size": 16, "max_iter": 100}, 15),
    "breast cancer, 30-[100]-1@200, 100 epochs": ("breast_cancer", {"hidden_layer_sizes": (100,), "max_iter": 100}, 15),
    "digits, 64-[100]-10@200, 50 epochs": ("digits", {"hidden_layer_sizes": (100,), "max_iter": 50}, 9),
    "diabetes, 10-[100]-1@200, 200 epochs": ("diabetes", {"hidden_layer_sizes": (100,), "max_iter": 200}, 9),
    "20,000 x 30, [100]@200, 10 epochs": ("made", {"hidden_layer_sizes": (100,), "max_iter": 10}, 5),
    "20,000 x 30, [256,256,256]@200, 3 epochs": ("made", {"hidden_layer_sizes": (256, 256, 256), "max_iter": 3}, 5),
}
#: What is added to a row's name -> the dtype of the data, and of fastfc's numbers.
PRECISIONS = {
    "": ("float64", None),
    ", fastfc in float32": ("float64", "float32"),
    ", both in float32": ("float32", None),
}
SEARCH = "digits, search over 12 candidates, 5 folds, n_jobs=2"
GRID: dict[str, list[Any]] = {
    "hidden_layer_sizes": [(50,), (100,), (100, 100)],
    "alpha": [1e-4, 1e-2],
    "learning_rate_init": [1e-3, 1e-2],
}
FOLDS, SEARCH_EPOCHS = 5, 20
SIDE_BY_SIDE = {"iris": "iris, 16 trainings in two threads", "digits": "digits, 16 trainings in two threads"}
_PAUSE = 0.1
_RATIO = {"median": "{:.1f}", "p10": "({:.1f})"}


@functools.cache
def data_of(name: str, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    if name == "made":
        X, y = datasets.make_classification(20_000, 30, n_informative=15, n_classes=4, random_state=0)
    else:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    return X.astype(dtype), y


def estimator(library: str, data: str, options: dict[str, Any]) -> Any:
    if library == "fastfc":
        from fastfc.sklearn import MLPClassifier, MLPRegressor
    else:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
    kind = MLPRegressor if data == "diabetes" else MLPClassifier
    # Both go through all epochs.
    return kind(**options, random_state=0, n_iter_no_change=10**6)


def by_turns(rounds: int, *functions: Callable[[], object]) -> list[list[float]]:
    """Seconds of each, A B A B, after a call of each that is not counted."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 1):
        for function, taken in zip(functions, seconds, strict=True):
            _wait(_PAUSE)
            start = perf_counter()
            function()
            if turn > 0:
                taken.append(perf_counter() - start)
    return seconds


def _wait(seconds: float) -> None:
    """Do nothing, but awake: a processor that has slept is slow for as long as a short training takes."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


def row(name: str, own: list[float], other: list[float], against: str, others: Iterable[str] = ()) -> dict[str, Any]:
    """A row of the table; `others` are libraries whose versions are told too."""
    figures = {
        key: {"median": statistics.median(values), "p10": float(np.quantile(values, 0.1))}
        for key, values in (("fastfc", own), ("other", other))
    }
    return {
        **environment(("fastfc", "numpy", "numba", "scikit-learn", *others)),
        "row": name,
        "against": against,
        **figures,
    }


def measured(selected: str, rounds: int | None) -> list[dict[str, Any]]:
    rows = []
    for name, (data, options, usual) in FITS.items():
        for addition, dtypes in PRECISIONS.items():
            if selected in name + addition:
                found = row(name + addition, *_fits(data, *dtypes, options, rounds or usual), "scikit-learn")
                rows.append(found | {"limit": _limit(data, dtypes[1] or dtypes[0], options)})
    for data, name in SIDE_BY_SIDE.items():
        if selected in name:
            own, other, two, one = _side_by_side(data, rounds or 15)
            found = row(name, own, other, "one after the other")
            gain = statistics.median(one) / statistics.median(two)
            rows.append(found | {"limit": statistics.median(other) / gain})
    for addition, (dtype, own) in PRECISIONS.items():
        if selected in SEARCH + addition:
            found = row(SEARCH + addition, *_searches(dtype, own, rounds or 5), "scikit-learn")
            rows.append(found | {"limit": _limit_of_search(own or dtype)})
    return rows


def _fits(data: str, dtype: str, own: str | None, options: dict[str, Any], rounds: int) -> list[list[float]]:
    X, y = data_of(data, dtype)
    return by_turns(
        rounds,
        lambda: estimator("fastfc", data, {**options, "dtype": own}).fit(X, y),
        lambda: estimator("scikit-learn", data, options).fit(X, y),
    )


def _limit(data: str, dtype: str, options: dict[str, Any]) -> float:
    """Seconds of a fit's matrix products at the best rate of NumPy's BLAS; the first layer needs no input gradient."""
    X, y = data_of(data)
    outputs = 1 if data == "diabetes" or len(np.unique(y)) == 2 else len(np.unique(y))
    products = [a * b for a, b in itertools.pairwise((X.shape[1], *options["hidden_layer_sizes"], outputs))]
    return 2 * len(X) * options["max_iter"] * (3 * sum(products) - products[0]) / _rate(dtype)


def _limit_of_search(dtype: str) -> float:
    """The same of a search's fits, each on all folds but one; the last one, of the best candidate, is left out."""
    of_sizes = [
        _limit("digits", dtype, {"hidden_layer_sizes": sizes, "max_iter": SEARCH_EPOCHS})
        for sizes in GRID["hidden_layer_sizes"]
    ]
    candidates_of_size = len(GRID["alpha"]) * len(GRID["learning_rate_init"])
    return sum(of_sizes) * candidates_of_size * (FOLDS - 1)


@functools.cache
def _rate(dtype: str) -> float:
    """Floating-point operations a second of a large product on all threads: the best of many."""
    a, b = np.ones((2048, 1024), dtype), np.ones((1024, 1024), dtype)
    least = min(timeit.repeat(lambda: a @ b, number=1, repeat=50))
    return 2 * 2048 * 1024 * 1024 / least


def _side_by_side(data: str, rounds: int) -> list[list[float]]:
    """Seconds of trainings in two threads, and one after the other; and of as many tasks that are products alone."""
    X, y = data_of(data)
    options = next(options for other, options, _ in FITS.values() if other == data)
    a, b = np.ones((4096, 128)), np.ones((128, 128))

    def fit(seed: int) -> object:
        return estimator("fastfc", data, {**options, "n_threads": 1}).set_params(random_state=seed).fit(X, y)

    def multiply(_: int) -> object:
        return [a @ b for _ in range(2)]

    tasks = range(16)
    with threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        return by_turns(
            rounds,
            lambda: list(pool.map(fit, tasks)),
            lambda: list(map(fit, tasks)),
            lambda: list(pool.map(multiply, tasks)),
            lambda: list(map(multiply, tasks)),
        )


def _searches(dtype: str, own: str | None, rounds: int) -> list[list[float]]:
    from sklearn.model_selection import GridSearchCV

    X, y = data_of("digits", dtype)

    def search(library: str, **options: Any) -> object:
        fitted = estimator(library, "digits", {"max_iter": SEARCH_EPOCHS, **options})
        return GridSearchCV(fitted, GRID, cv=FOLDS, n_jobs=2).fit(X, y)

    return by_turns(rounds, lambda: search("fastfc", dtype=own), lambda: search("scikit-learn"))


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown, and when and where they were measured.

    Where rows have the share of the processors that other programs took, the table has it too.
    """
    columns = {
        "job": lambda each: each["row"],
        "fastfc, ms": lambda each: (
            f"{_digits(1e3 * each['fastfc']['median'])} ({_digits(1e3 * each['fastfc']['p10'])})"
        ),
        "against": lambda each: each["against"],
        "ratio": lambda each: " ".join(
            form.format(each["other"][kind] / each["fastfc"][kind]) for kind, form in _RATIO.items()
        ),
    }
    if any("limit" in each for each in rows):
        columns["at most"] = lambda each: f"{each['other']['median'] / each['limit']:.1f}" if "limit" in each else ""
    shared = any("others" in each for each in rows)
    if shared:
        columns["other programs"] = lambda each: f"{100 * each['others']:.0f} %" if "others" in each else ""
    rules = ("---" if name in ("job", "against") else "---:" for name in columns)
    cells = [columns, rules, *([cell(each) for cell in columns.values()] for each in rows)]
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    notes = [
        f"{note}. Medians, in brackets the lowest deciles." for note in dict.fromkeys(shown(each) for each in rows)
    ]
    if "at most" in columns:
        notes.append(
            "At most: the ratio of a training whose matrix products took all of its time, at BLAS's best rate"
            + (
                "; of trainings at once, the ratio of matrix products at once in the same turns."
                if any("limit" in each and each["row"] in SIDE_BY_SIDE.values() for each in rows)
                else "."
            )
        )
    if shared:
        notes.append("Other programs: their share of the processors during the turn, median.")
    return "\n".join(lines) + "\n\n" + "\n\n".join(notes) + "\n"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="", help="only those rows whose names contain this")
    parser.add_argument("--rounds", type=int, help="of every row, in place of its own number")
    parser.add_argument("--into", type=Path, help="a JSON file; rows of the same names in it are replaced")
    options = parser.parse_args()
    # Both go through all epochs, and scikit-learn says so.
    warnings.filterwarnings("ignore", message=".*Maximum iterations.*")
    rows = measured(options.rows, options.rounds)
    if options.into is not None:
        kept = json.loads(options.into.read_text(encoding="utf-8"))["rows"] if options.into.exists() else []
        found = {each["row"]: each for each in [*kept, *rows]}
        compared = [name + addition for name in (*FITS, SEARCH) for addition in PRECISIONS]
        names = sorted([*compared, *SIDE_BY_SIDE.values()], key=lambda name: name.startswith(SEARCH))
        with replaced_file(options.into) as file:
            ordered = [found[name] for name in names if name in found]
            file.write(json.dumps({"kind": "fits", "rows": ordered}, indent=1).encode())
    print(table(rows))


if __name__ == "__main__":
    main()
