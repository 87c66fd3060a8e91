"""``fastfc predict``: print the class of each example."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

from fastfc.cli._common import (
    BACKEND,
    CommandError,
    add_table_options,
    check_values,
    computing,
    reported,
    shown_accuracy,
    table_options,
    warnings_told,
    writing_results,
)

_EPILOG = """\
examples:
  fastfc predict model.npz fashion-mnist > labels.txt
  fastfc predict iris.npz flowers.csv --target none --drop id

The classes go to stdout; the accuracy, if the data has labels, to stderr. Where the table that
the model was trained on and the new one both have names of columns, these decide, and not the
columns' order. Without names, a table with one column more than the model takes has labels in
its last column.
"""


def add_parser(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="print the class of each example",
        description="Print the class of each example, one a line.",
        epilog=_EPILOG,
    )
    predict.set_defaults(run=run)
    predict.add_argument("model", metavar="MODEL", help="a file that fastfc train or fastfc export wrote")
    predict.add_argument("data", metavar="DATA", help="as in fastfc train; labels may be missing; also an idx file")
    predict.add_argument(
        "--target",
        metavar="COLUMN",
        help="label column of a table, or none; fine or coarse of CIFAR-100 (default: by name or width; labels as in "
        "the training)",
    )
    add_table_options(predict)
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
    from fastfc._data_sets import read_samples
    from fastfc.formats.export import load_exported
    from fastfc.formats.table import ModelColumns, TableOptions

    with reported(ImportError, OSError, ValueError, MemoryError):
        model = load_exported(args.model)
    inputs, *_, classes = model.dims
    names = [str(i) for i in range(classes)] if model.class_names is None else model.class_names
    with reported(OSError, ValueError, MemoryError), warnings_told():
        X, y, _, notes = read_samples(
            args.data,
            args.split,
            TableOptions(**table_options(args)),
            ModelColumns(inputs, names, model.feature_names, model.target_name),
        )
    for note in notes:
        print(f"fastfc: {note}", file=sys.stderr)
    if math.prod(X.shape[1:]) != inputs:
        raise CommandError(f"{args.data} has {math.prod(X.shape[1:])} features an example; {args.model} takes {inputs}")
    check_values(X, model.dtype, args.data)
    with reported(MemoryError):
        predicted = model.predict(X)
    with writing_results():
        print("\n".join(names[i] for i in predicted))
    if y is not None:
        print(f"accuracy: {shown_accuracy(predicted, y)}", file=sys.stderr)
    return 0
