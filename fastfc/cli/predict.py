"""``fastfc predict``: print the class of each example."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

from fastfc.cli._common import BACKEND, CommandError, check_values, computing, reported, shown_accuracy, writing_results

_EPILOG = """\
examples:
  fastfc predict model.npz fashion-mnist > labels.txt
  fastfc predict iris.npz flowers.csv --target none

The classes go to stdout; the accuracy, if the data has labels, to stderr.
"""


def add_parser(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="print the class of each example",
        description="Print the class of each example, one a line.",
        epilog=_EPILOG,
    )
    predict.set_defaults(run=run)
    predict.add_argument("model", metavar="MODEL", help="a file that fastfc train saved")
    predict.add_argument("data", metavar="DATA", help="as in fastfc train; labels may be missing; also an idx file")
    predict.add_argument(
        "--target", metavar="COLUMN", help="label column of a .csv file, or none (default: found by name or width)"
    )
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
    from fastfc.classifiers.fc_net import load_model
    from fastfc.data_utils import load_samples

    with reported(OSError, ValueError, MemoryError):
        model = load_model(args.model)
    inputs, *_, classes = model.dims
    names = [str(i) for i in range(classes)] if model.class_names is None else model.class_names
    with reported(OSError, ValueError, MemoryError):
        X, y, _ = load_samples(args.data, split=args.split, target=args.target, num_features=inputs, class_names=names)
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
