"""``fastfc sweep``: train with many options and seeds, side by side."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc._defaults import schedule
from fastfc.cli import train
from fastfc.cli._common import (
    EXIT_CODES,
    INTERRUPTED,
    CommandError,
    add_table_options,
    computing,
    count,
    fraction,
    reported,
    shown_accuracy,
    shown_errors,
    writing_results,
)
from fastfc.cli._train_options import add_network_options, add_rule_options
from fastfc.cli._training_data import has_pictures, is_table, tell, training_data
from fastfc.formats.table_options import TASKS
from fastfc.ops.schedules import NAMES as SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fastfc.sweeps import SweepResult

_EPILOG = f"""\
examples:
  fastfc sweep --grid learning_rate=1e-3,1e-2 --grid hidden=64,256x128 --seeds 3 --epochs 5
  fastfc sweep flowers.csv --grid rule=adam,sgd_momentum --grid keep=1,0.8 --plot sweep.png

A name of a grid is an option above or one of fastfc.sweep's, such as momentum; widths of several
layers have an x between them. Each training is a line of JSON in FILE as soon as it has ended,
and the best network is in FILE.best.npz, which fastfc predict reads. The same command goes on
from there. The progress goes to stderr, the results to stdout.

{EXIT_CODES}"""

# Names on the command line -> names of fastfc.sweep.
_NAMES = {"hidden": "hidden_dims", "keep": "dropout_keep_ratio", "rule": "update_rule", "epochs": "num_epochs"}
_SHORT = {name: short for short, name in _NAMES.items()} | {"file": "out", "loss_parameter": "label_smoothing"}
# How fastfc.sweep begins to name all options, where one is unknown.
_UNKNOWN = "expected options among "
# Options that follow from the data, or that a line of text does not give.
_NOT_IN_GRIDS = ("input_dim", "num_classes", "loss", "optim_config", "standardize_targets")
_WORDS = {"none": None, "true": True, "false": False}
# How batches are drawn by default.
_SAMPLER = "permutation"
# Rows of options that are printed.
_SHOWN = 10


def add_parser(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="train with many options and seeds, side by side",
        description="Train a network for each choice of options and each seed, one thread for each training.",
        epilog=_EPILOG,
    )
    sweep.set_defaults(run=run)
    data = sweep.add_argument_group("data")
    data.add_argument(
        "data", metavar="DATA", nargs="?", default="fashion-mnist", help="as in fastfc train (default: %(default)s)"
    )
    data.add_argument("--target", metavar="COLUMN", help="label column, as in fastfc train")
    data.add_argument(
        "--task",
        choices=["auto", *TASKS],
        default="auto",
        help="whether a table's target has classes, or numbers to predict, as in fastfc train (default: auto)",
    )
    add_table_options(data)
    data.add_argument("--val-fraction", type=fraction, metavar="FRACTION", help="as in fastfc train")
    data.add_argument("--standardize", action=argparse.BooleanOptionalAction, help="as in fastfc train")
    _add_trainings(sweep.add_argument_group("trainings"))
    add_network_options(sweep.add_argument_group("network, where the grid has nothing else"))
    of_training = sweep.add_argument_group("training, where the grid has nothing else")
    add_rule_options(of_training, schedules=SCHEDULES, sampler=_SAMPLER)
    _add_output(sweep.add_argument_group("output"))


def _add_trainings(group: Any) -> None:
    group.add_argument(
        "--grid",
        type=_grid,
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="values of an option, with commas between them; the combinations of all grids are trained",
    )
    group.add_argument(
        "--seeds", type=count, metavar="N", default=1, help="trainings of each, from --seed on (default: %(default)s)"
    )
    group.add_argument(
        "--check-every",
        type=count,
        metavar="N",
        help="epochs from one validation score to the next; the best one's parameters count (default: one at the end)",
    )
    group.add_argument(
        "--halving", action="store_true", help="train all for one epoch, the best third for three, and so on"
    )
    group.add_argument(
        "--processes", type=count, metavar="N", help="processes instead of threads (default: threads, all processors)"
    )


def _add_output(group: Any) -> None:
    group.add_argument(
        "--out", metavar="FILE", default="sweep.jsonl", help="the sweep's file, to go on from (default: %(default)s)"
    )
    group.add_argument("--csv", metavar="FILE", help="where to write a table of all trainings")
    group.add_argument("--plot", metavar="FILE", help="where to save a chart: .png, .pdf, .svg; needs fastfc[plot]")
    group.add_argument("--quiet", action="store_true", help="show no progress")


def _grid(text: str) -> tuple[str, list[Any]]:
    """``name=value,value`` as the name of an option and its values."""
    name, found, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not (found and name and values.strip()):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE,VALUE..., got {text!r}")
    name = _NAMES.get(name, name)
    read = _widths if name == "hidden_dims" else _value
    return name, [read(value.strip()) for value in values.split(",")]


def _widths(text: str) -> list[int]:
    return [] if text == "none" else [count(width) for width in text.split("x")]


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def run(args: argparse.Namespace) -> int:
    if args.backend == "reference":
        raise CommandError("--backend reference: a sweep's trainings are compiled; expected fast")
    names = [name for name, _ in args.grid]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"--grid {name}: expected once, got it {names.count(name)} times")
    with computing(args.backend):
        _check_outputs(args)
        return _sweep(args)


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before the trainings what would keep their results from being written, or other files from harm."""
    from fastfc.formats.atomic import rehearse

    if args.plot is not None:
        if Path(args.plot).suffix.lower() not in train.PLOT_SUFFIXES:
            raise CommandError(f"--plot {args.plot}: expected a name that ends in {', '.join(train.PLOT_SUFFIXES)}")
        train.require_matplotlib("--plot")
    taken = {
        Path(args.data).resolve(): "would replace the data",
        Path(args.out).resolve(): "is where --out keeps the trainings",
        Path(f"{args.out}.best.npz").resolve(): "is where --out keeps the best network",
    }
    for option, path in (("--csv", args.csv), ("--plot", args.plot)):
        if path is None:
            continue
        with reported(OSError, what=f"{option} {path}"):
            rehearse(path)
            place = Path(path).resolve()
        if place in taken:
            raise CommandError(f"{option} {path}: this {taken[place]}")
        taken[place] = f"is where {option} saves its file"


def _sweep(args: argparse.Namespace) -> int:
    from fastfc.sweeps import SweepInterrupted, sweep

    data = training_data(args)
    trainings = _trainings(args, data)
    tell(data)
    try:
        with reported(OSError, MemoryError, RuntimeError), _in_words_of_the_command(args):
            result = sweep(
                trainings,
                data,
                _executor(args.processes),
                seeds=range(args.seed, args.seed + args.seeds),
                file=args.out,
                check_every=args.check_every,
                halving=args.halving,
                progress=not args.quiet,
            )
    except SweepInterrupted as stopped:
        ended, all_of_them = len(stopped.result.trials), len(trainings) * args.seeds
        line = f"interrupted; {ended} of {all_of_them} trainings are in {args.out}; the same command goes on"
        print(f"fastfc: {line}", file=sys.stderr)
        return INTERRUPTED
    with writing_results():
        print(_summary(args, result, data))
    if args.csv is not None:
        with reported(OSError, what=f"cannot write {args.csv}"):
            result.to_csv(args.csv)
    if args.plot is not None:
        with reported(OSError, ValueError, ImportError, what=f"cannot write {args.plot}"):
            result.plot(args.plot)
    return 0


@contextlib.contextmanager
def _in_words_of_the_command(args: argparse.Namespace) -> Iterator[None]:
    """Errors of arguments as lines that name this command's options in place of fastfc.sweep's."""
    try:
        yield
    except (ValueError, TypeError) as error:
        name, colon, text = str(error).partition(": ")
        # One of the rule's hyperparameters.
        name = name.removeprefix("config['").removesuffix("']")
        short = _SHORT.get(name, name)
        if name == "trainings" and text.startswith(_UNKNOWN):
            known, _, got = text.removeprefix(_UNKNOWN).rpartition(", got ")
            names = [_SHORT.get(each, each) for each in known.split(", ") if each not in _NOT_IN_GRIDS]
            raise CommandError(f"--grid: expected names among {', '.join(names)}, got {got}") from error
        if name in [name for name, _ in args.grid]:
            raise CommandError(f"--grid {short}: {text}") from error
        if colon and short in vars(args):
            raise CommandError(f"--{short.replace('_', '-')}: {text}") from error
        raise CommandError(str(error)) from error


def _executor(processes: int | None) -> Any:
    if processes is None:
        return None
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return lambda: ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))


def _trainings(args: argparse.Namespace, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The options of every training: the grid's, and for the rest those of the command line."""
    from fastfc.tabular._scaling import TargetScale

    X = data["X_train"]
    plan = schedule(len(X), args.batch_size, args.epochs, args.lr_decay)
    pictures = has_pictures(X) and (X.dtype == "uint8" or is_table(args))
    standardize = (is_table(args) and not pictures) if args.standardize is None else args.standardize
    classifies = "class_names" in data
    if not classifies and args.label_smoothing:
        raise CommandError("--label-smoothing is for classes; these trainings predict numbers")
    with reported(ValueError, what=args.data):
        warning = TargetScale.of(data).warning(args.dtype)
    if warning is not None:
        data.setdefault("notes", []).append(warning)
    fixed = {
        "hidden_dims": args.hidden,
        "activation": args.activation,
        "loss": "softmax" if classifies else "squared",
        "loss_parameter": args.label_smoothing if classifies else None,
        "standardize_targets": not classifies,
        "normalization": None if args.normalization == "none" else args.normalization,
        "dropout_keep_ratio": args.keep,
        "dtype": args.dtype,
        "weight_scale": args.weight_scale,
        "reg": args.reg,
        "update_rule": args.rule,
        "lr_decay": plan.lr_decay,
        "schedule": args.schedule,
        "max_norm": args.max_norm,
        "batch_size": plan.batch_size,
        "num_epochs": plan.epochs,
        "standardize": "pictures" if pictures and not standardize else standardize,
        # A training's key has the options that are given: those of files from before the option lack it.
        **({} if args.sampler == _SAMPLER else {"sampler": args.sampler}),
        **({} if args.learning_rate is None else {"learning_rate": args.learning_rate}),
    }
    names = [name for name, _ in args.grid]
    found = []
    for values in itertools.product(*(values for _, values in args.grid)):
        options = {**fixed, **dict(zip(names, values, strict=True))}
        if options["weight_scale"] == "he":
            options |= {"weight_scale": 1e-2, "initializer": "he_normal"}
        found.append(options)
    return found


def _summary(args: argparse.Namespace, result: SweepResult, data: dict[str, Any]) -> str:
    failed = [trial for trial in result.trials if trial.error is not None]
    lines = [
        f"data: {args.data} ({len(data['y_train'])} train, {len(data['y_val'])} validation)",
        f"trainings: {len(result.trials)}{f', {len(failed)} of them failed' if failed else ''}",
    ]
    if failed:
        lines.append(f"first error: {failed[0].error}")
    if all(math.isnan(trial.score) for trial in result.trials):
        return "\n".join([*lines, "no training has a validation score: all have failed or diverged"])
    best = result.best
    net = result.best_network()
    of_numbers = "class_names" not in data
    lines += _rows(result, [name for name, _ in args.grid], args.out, of_numbers)
    score, shown = ("R2", shown_errors) if of_numbers else ("accuracy", shown_accuracy)
    lines.append(f"best: {_told(best.options, [name for name, _ in args.grid])}seed={best.seed}")
    for split, word in (("val", "validation"), ("test", "test")):
        if f"X_{split}" in data:
            text = shown(net.predict(data[f"X_{split}"]), data[f"y_{split}"])
            lines.append(f"{word} {score} of the best: {text}")
    kept = f"{args.out}.best.npz"
    return "\n".join([*lines, f"model: {kept}"] if os.path.exists(kept) else lines)


def _rows(result: SweepResult, names: Sequence[str], file: str, of_numbers: bool) -> list[str]:
    """Lines of the options with the best mean scores over their seeds."""
    rows = result.over_seeds()
    lines = []
    for row in rows[:_SHOWN]:
        mean, std = row["mean"], row["std"]
        spread = "" if row["count"] < 2 else f" ± {std:.3f}" if of_numbers else f" ± {100 * std:.1f}"
        score = "no score" if math.isnan(mean) else f"{mean:6.3f}" if of_numbers else f"{100 * mean:5.1f} %"
        lines.append(f"  {score}{spread}  {_told(row, names)}".rstrip())
    rest = len(rows) - _SHOWN
    title = f"validation {'R2' if of_numbers else 'accuracy'}:"
    return [title, *lines, *([f"  and {rest} more in {file}"] if rest > 0 else [])]


def _told(options: Mapping[str, Any], names: Sequence[str]) -> str:
    """The options of the grid, as they were written."""
    texts = []
    for name in names:
        value = options.get(name)
        text = "x".join(map(str, value)) or "none" if isinstance(value, list) else "none" if value is None else value
        texts.append(f"{_SHORT.get(name, name)}={text} ")
    return "".join(texts)
