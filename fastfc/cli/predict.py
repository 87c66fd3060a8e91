"""``fastfc predict``: print the class of each example, or its number."""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc.cli._common import (
    BACKEND,
    CommandError,
    add_table_options,
    check_values,
    computing,
    reported,
    shown_accuracy,
    shown_errors,
    table_options,
    warnings_told,
    writing_results,
)

if TYPE_CHECKING:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet

_EPILOG = """\
examples:
  fastfc predict model.npz fashion-mnist > labels.txt
  fastfc predict iris.npz flowers.csv --target none --drop id

The classes, or the numbers of a regression, go to stdout; the accuracy, or R2 and RMSE, to stderr
if the data has the target too. --proba prints a line of the classes' names, and then each example's
probabilities, with commas between them. Where the table that
the model was trained on and the new one both have names of columns, these decide, and not the
columns' order. Without names, a table with one column more than the model takes has labels in
its last column.
"""


def add_parser(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="print the class of each example, or its number",
        description="Print the class of each example, or the number predicted for it, one a line.",
        epilog=_EPILOG,
    )
    predict.set_defaults(run=run)
    predict.add_argument(
        "model", metavar="MODEL", help="a file that fastfc train or fastfc export wrote, or an .onnx file"
    )
    predict.add_argument("data", metavar="DATA", help="as in fastfc train; labels may be missing; also an idx file")
    predict.add_argument(
        "--target",
        metavar="COLUMN",
        help="label column of a table, or none; fine or coarse of CIFAR-100 (default: by name or width; labels as in "
        "the training)",
    )
    add_table_options(predict)
    predict.add_argument("--proba", action="store_true", help="print the probability of each class")
    predict.add_argument(
        "--split",
        choices=["test", "val", "train"],
        default="test",
        help="part of data that has parts (default: %(default)s)",
    )
    predict.add_argument("--backend", **BACKEND)


def run(args: argparse.Namespace) -> int:
    with computing(args.backend):
        return _predict(args)


def _predict(args: argparse.Namespace) -> int:
    from fastfc.formats.export import load_exported
    from fastfc.ops.losses import LOSSES
    from fastfc.tabular._model import has_table

    with reported(ImportError, OSError, ValueError, MemoryError):
        model, of_table = load_exported(args.model), has_table(args.model)
    loss, outputs = LOSSES[model.loss_name], model.dims[-1]
    if args.proba and not loss.labels and loss.link != "logistic":
        raise CommandError(f"--proba: {args.model} predicts numbers and knows no classes that could have probabilities")
    names = model.class_names
    numbers = [str(i) for i in range(outputs if loss.labels else max(outputs, 2))]
    if names is None and (loss.labels or (loss.link == "logistic" and outputs == 1)):
        # A single logistic output is no or yes.
        names = numbers
    predictor, X, y, known = _features(args) if of_table else (model, *_examples(args, model, names))
    with reported(MemoryError, ValueError):
        predicted = predictor.predict(X)
        lines = (
            _probability_lines(names or numbers, predictor.predict_proba(X)) if args.proba else _lines(names, predicted)
        )
    with writing_results():
        print("\n".join(lines))
    if y is None or known is None:
        return 0
    score, shown = ("accuracy", shown_accuracy) if names is not None else ("R2", shown_errors)
    if known.any():
        print(f"{score}: {shown(predicted[known], y[known])}", file=sys.stderr)
    return 0


def _features(args: argparse.Namespace) -> tuple[Any, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The same for a model that knows its table's columns, and its predictor; some targets may be missing."""
    from fastfc.formats.table import TableOptions
    from fastfc.tabular import load_table_model
    from fastfc.tabular._read import choose_columns, read_new_rows, without_missing

    with reported(ImportError, OSError, ValueError, MemoryError), warnings_told():
        model = load_table_model(args.model)
        options, taken = TableOptions(**table_options(args)), [column["name"] for column in model.columns]
        frame, notes = read_new_rows(Path(args.data), options, model.description, model.class_names or ())
        frame, target = choose_columns(frame, options, model.target, taken)
        if args.missing is not None:
            frame, told = without_missing(frame, args.missing, [name for name in taken if name in frame.columns])
            notes.append(told)
        if not len(frame):
            raise ValueError(f"{args.data} has no rows" + (" without missing values" if args.missing else ""))
        for note in notes:
            print(f"fastfc: {note}", file=sys.stderr)
        X = model.features(frame)
        if target is None:
            return model.predictor, X, None, None
        model.description["target"] = target
        return model.predictor, X, *model.targets(frame)


def _examples(
    args: argparse.Namespace, model: FullyConnectedNet, names: list[str] | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The data's examples, and where it has them their labels or numbers, and which of these are there."""
    import numpy as np

    from fastfc._data_sets import read_samples
    from fastfc.formats.table import ModelColumns, TableOptions, has_table_suffix

    inputs = model.dims[0]
    # Only tables have numbers to predict.
    task = "regression" if names is None and has_table_suffix(Path(args.data)) else None
    with reported(OSError, ValueError, MemoryError), warnings_told():
        X, y, class_names, notes = read_samples(
            args.data,
            args.split,
            TableOptions(**table_options(args), task=task),
            ModelColumns(inputs, names, model.feature_names, model.target_name),
        )
    for note in notes:
        print(f"fastfc: {note}", file=sys.stderr)
    if math.prod(X.shape[1:]) != inputs:
        raise CommandError(f"{args.data} has {math.prod(X.shape[1:])} features an example; {args.model} takes {inputs}")
    check_values(X, model.dtype, args.data, model.feature_names)
    comparable = (class_names is None) == (names is None) and (names is not None or model.dims[-1] == 1)
    return (X, None, None) if y is None or not comparable else (X, y, ~np.isnan(y))


def _lines(names: list[str] | None, predicted: np.ndarray) -> list[str]:
    """A line for each example: its class, or its numbers with all their digits."""
    if names is not None:
        return [names[i] for i in predicted]
    return [",".join(row) for row in predicted.reshape(len(predicted), -1).astype(str).tolist()]


def _probability_lines(names: list[str], probabilities: np.ndarray) -> list[str]:
    """A table with the classes' names and each example's probabilities."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([f"{value:.6g}" for value in row] for row in probabilities.tolist())
    return text.getvalue().splitlines()
