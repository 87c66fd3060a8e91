"""The options of ``fastfc train``, one function for each group of them."""

from __future__ import annotations

import argparse
import csv
import math
from typing import Any

from fastfc.cli import _common
from fastfc.cli._common import BACKEND, Store, add_table_options, count, fraction, not_negative, number, positive, seed
from fastfc.formats.table_options import TASKS
from fastfc.ops import rules
from fastfc.ops.activations import ACTIVATIONS
from fastfc.ops.samplers import SAMPLERS
from fastfc.ops.schedules import NAMES as SCHEDULES

__all__ = ["PLATEAU", "RULES", "add_data_options", "add_network_options", "add_output_options", "add_rule_options"]

#: The schedule by the values of epochs.
PLATEAU = "plateau"
# The default and its kind come first.
RULES = tuple(sorted(rules.RULES, key=lambda name: not name.startswith("adam")))


class _Once(Store):
    """Stores a value that may be given in two ways, and is an error if it is given twice."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if self.dest in getattr(namespace, "given", ()):
            parser.error(f"{self.metavar}: expected one, got {getattr(namespace, self.dest)} and {values}")
        super().__call__(parser, namespace, values, option_string)


def add_data_options(group: Any) -> None:
    """The data: where they are, how to read them, and how to prepare them."""
    group.add_argument("data", metavar="DATA", nargs="?", action=_Once, default=argparse.SUPPRESS, help="see --data")
    group.add_argument(
        "--data",
        metavar="DATA",
        action=_Once,
        default="fashion-mnist",
        help="with or without --data before it: fashion-mnist, fashion-mnist-full or cifar-10, or a path: an .npz "
        "file, a table (.csv, .tsv, .txt, .gz, .parquet), a folder that has idx files, CIFAR-10 or CIFAR-100, itself "
        "or below (default: %(default)s)",
    )
    group.add_argument(
        "--target",
        metavar="COLUMN",
        help="column of a table to predict, by name or by number from 0 (default: label, target, class, y or the "
        "last); fine or coarse labels of CIFAR-100",
    )
    group.add_argument(
        "--task",
        choices=["auto", *TASKS],
        default="auto",
        help="whether a table's target has classes, or numbers to predict (default: auto, by its values: words, "
        "booleans and few whole numbers are classes)",
    )
    add_table_options(group)
    group.add_argument(
        "--class-weight",
        type=_class_weight,
        metavar="WEIGHTS",
        help="balanced, or a weight for each class such as yes=3,no=1 (default: all examples alike)",
    )
    group.add_argument(
        "--groups", metavar="COLUMN", help="hold out whole groups of a table's rows: those alike in this column"
    )
    group.add_argument("--time", metavar="COLUMN", help="hold out the latest of a table's rows, by this column")
    group.add_argument(
        "--val-fraction",
        type=fraction,
        metavar="FRACTION",
        help="share of the training data to hold out if the data has no validation part, of each class alike "
        "(default: 200 rows, clamped to 0.05..0.2: 0.2 below 1000 rows)",
    )
    group.add_argument(
        "--standardize",
        action=argparse.BooleanOptionalAction,
        help="bring every feature to mean 0 and deviation 1 over the training data (default: tables only; images, "
        "which are bytes or a table of 64 or more columns of whole numbers up to 255, lose their mean image and are "
        "divided by 255; other data is used as it is)",
    )


def add_network_options(group: Any) -> None:
    """The network, and the scale of its first weights."""
    _common.add_network_options(group, hidden="256,128", keep=0.6)
    group.add_argument(
        "--activation",
        choices=tuple(ACTIVATIONS),
        metavar="NAME",
        default="relu",
        help=f"{', '.join(ACTIVATIONS)} (default: %(default)s)",
    )
    group.add_argument(
        "--weight-scale",
        type=_weight_scale,
        metavar="SCALE",
        default=1e-2,
        help="standard deviation of the first weights, or he for sqrt(2 / inputs of the layer) (default: %(default)s)",
    )


def _class_weight(text: str) -> str | dict[str, float]:
    if text == "balanced":
        return text
    weights = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, found, value = part.rpartition("=")
        if not found:
            raise argparse.ArgumentTypeError(f"expected balanced or NAME=WEIGHT,NAME=WEIGHT..., got {text!r}")
        if name in weights:
            raise argparse.ArgumentTypeError(f"expected one weight for each class, got two for {name!r}")
        weights[name] = positive(value)
    return weights


def _weight_scale(text: str) -> float | str:
    return "he" if text == "he" else number(float, lambda x: 0 < x < math.inf, "a positive number or he")(text)


def _smoothing(text: str) -> float:
    return number(float, lambda x: 0 <= x < 1, "a number from 0 to less than 1")(text)


def add_rule_options(
    group: Any, schedules: tuple[str, ...] = (*SCHEDULES, PLATEAU), sampler: str = "replacement"
) -> None:
    """The training: update rule, one of some schedules, the default of how batches are drawn, seed and backend."""
    by_value = f"; {PLATEAU} goes by the validation accuracy or R2" if PLATEAU in schedules else ""
    group.add_argument(
        "--rule", choices=RULES, metavar="RULE", default="adam", help=f"{', '.join(RULES)} (default: %(default)s)"
    )
    group.add_argument(
        "--learning-rate",
        type=positive,
        metavar="RATE",
        help="(default: the rule's own, 1e-3 for adam and adamw)",
    )
    group.add_argument(
        "--lr-decay",
        type=positive,
        metavar="FACTOR",
        help="factor of the learning rate after each epoch (default: 0.9; where the number of epochs follows the data, "
        "0.9 ** (20 / epochs))",
    )
    group.add_argument(
        "--reg",
        type=not_negative,
        metavar="STRENGTH",
        default=0.0,
        help="L2 penalty: 0.5 * STRENGTH * sum of squared weights (default: %(default)s)",
    )
    group.add_argument(
        "--label-smoothing",
        type=_smoothing,
        metavar="SHARE",
        default=0.0,
        help="share of a label that goes to all classes alike, below 1 (default: %(default)s)",
    )
    group.add_argument(
        "--schedule",
        choices=schedules,
        metavar="NAME",
        help=f"of the learning rate, beside --lr-decay: {', '.join(schedules)}{by_value} (default: none)",
    )
    group.add_argument(
        "--max-norm",
        type=positive,
        metavar="NORM",
        help="bound to which the norm of all gradients is clipped (default: none)",
    )
    _add_batch_options(group, sampler)
    group.add_argument("--seed", type=seed, metavar="N", default=0, help="of all random numbers (default: %(default)s)")
    group.add_argument("--backend", **BACKEND)


def _add_batch_options(group: Any, sampler: str) -> None:
    """The number of epochs, and the batches of each."""
    group.add_argument("--epochs", type=count, metavar="N", help="(default: 20, or as many as make 500 steps)")
    group.add_argument(
        "--batch-size",
        type=count,
        metavar="N",
        help="examples a step, no more than there are (default: a tenth of those to train on, clamped to 16..100: 100 "
        "from 1000 on)",
    )
    group.add_argument(
        "--sampler",
        choices=SAMPLERS,
        metavar="NAME",
        default=sampler,
        help="how batches are drawn: replacement (each from all examples), permutation (an epoch goes once over all of "
        "them, in a new order) or order (as they lie) (default: %(default)s)",
    )


def add_output_options(group: Any) -> None:
    """The results: which parameters are saved, where, and the progress that is shown."""
    group.add_argument(
        "--select",
        choices=["last", "best"],
        help="parameters to save: those after the last epoch, or those with the best validation accuracy or R2, which "
        "suits data with many validation examples (default: last, but best for tables of mixed columns with 200 rows "
        "for validation)",
    )
    group.add_argument(
        "--out",
        metavar="FILE",
        default="model.npz",
        help="where to save the model; an older file is replaced (default: %(default)s)",
    )
    group.add_argument(
        "--plot", metavar="FILE", help="where to save a plot of loss and scores: .png, .pdf, .svg; needs fastfc[plot]"
    )
    group.add_argument(
        "--report",
        metavar="FILE",
        help="where to write a page about data, training and errors: .html; needs fastfc[plot]",
    )
    group.add_argument("--quiet", action="store_true", help="show no progress")
