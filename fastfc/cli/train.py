"""``fastfc train``: train a network and save it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import sys
import warnings
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastfc.cli._common import (
    BACKEND,
    DIVERGED,
    EXIT_CODES,
    INTERRUPTED,
    CommandError,
    add_network_options,
    check_values,
    computing,
    count,
    fraction,
    not_negative,
    number,
    positive,
    reported,
    seed,
    shown_accuracy,
    writing_results,
)
from fastfc.cli._watch import DivergedError, Watch, progress
from fastfc.ops import rules

if TYPE_CHECKING:
    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._watch import State
    from fastfc.solver import Solver

_EPILOG = f"""\
examples:
  fastfc train
  fastfc train --data table.csv --target species --standardize --hidden 32 --epochs 50
  fastfc train --data cifar-10 --hidden 512,256 --reg 1e-4 --out cifar.npz --plot cifar.png

The progress goes to stderr, the results to stdout. A training whose loss becomes nan or
infinite is stopped, and what was best before that is saved.

{EXIT_CODES}"""

PLOT_SUFFIXES = (".png", ".pdf", ".svg")
# The default and its kind come first.
RULES = tuple(sorted(rules.RULES, key=lambda name: not name.startswith("adam")))


class _RehearsalError(Exception):
    """Ends the writing of a file before it appears."""


def _weight_scale(text: str) -> float | str:
    return "he" if text == "he" else number(float, lambda x: 0 < x < math.inf, "a positive number or he")(text)


def add_parser(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a network and save it",
        description="Train a fully connected network and save it. Without options it trains on the subset of\n"
        "Fashion-MNIST that comes with the package: 4000 pictures to train, 1000 to test.",
        epilog=_EPILOG,
    )
    train.set_defaults(run=run)

    data = train.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="DATA",
        default="fashion-mnist",
        help="fashion-mnist, fashion-mnist-full or cifar-10, or a path: an .npz or .csv file, a folder of idx files, "
        "a folder cifar-10-batches-py (default: %(default)s)",
    )
    data.add_argument(
        "--target",
        metavar="COLUMN",
        help="label column of a .csv file, by name or by number from 0 (default: label, target, class, y or the last)",
    )
    data.add_argument(
        "--val-fraction",
        type=fraction,
        metavar="FRACTION",
        default=0.05,
        help="share of the training data to hold out if the data has no validation part (default: %(default)s)",
    )
    data.add_argument(
        "--standardize",
        action="store_true",
        help="bring every feature to mean 0 and deviation 1 over the training data; by default pictures of bytes lose "
        "their mean picture and are divided by 255, and other data is used as it is",
    )

    net = train.add_argument_group("network")
    add_network_options(net, hidden="256,128", keep=0.6)
    net.add_argument(
        "--weight-scale",
        type=_weight_scale,
        metavar="SCALE",
        default=1e-2,
        help="standard deviation of the first weights, or he for sqrt(2 / inputs of the layer) (default: %(default)s)",
    )

    rule = train.add_argument_group("training")
    rule.add_argument(
        "--rule", choices=RULES, metavar="RULE", default="adam", help=f"{', '.join(RULES)} (default: %(default)s)"
    )
    rule.add_argument(
        "--learning-rate",
        type=positive,
        metavar="RATE",
        help="(default: the rule's own, 1e-3 for adam and adamw, 1e-2 for the others)",
    )
    rule.add_argument(
        "--lr-decay",
        type=positive,
        metavar="FACTOR",
        default=0.9,
        help="factor of the learning rate after each epoch (default: %(default)s)",
    )
    rule.add_argument(
        "--reg",
        type=not_negative,
        metavar="STRENGTH",
        default=0.0,
        help="L2 penalty: 0.5 * STRENGTH * sum of squared weights (default: %(default)s)",
    )
    rule.add_argument("--epochs", type=count, metavar="N", default=20, help="(default: %(default)s)")
    rule.add_argument(
        "--batch-size",
        type=count,
        metavar="N",
        default=100,
        help="examples a step, no more than there are (default: %(default)s)",
    )
    rule.add_argument("--seed", type=seed, metavar="N", default=0, help="of all random numbers (default: %(default)s)")
    rule.add_argument("--backend", **BACKEND)

    out = train.add_argument_group("output")
    out.add_argument(
        "--select",
        choices=["last", "best"],
        default="last",
        help="parameters to save: those after the last epoch, or those with the best validation accuracy, which "
        "suits data with many validation examples (default: %(default)s)",
    )
    out.add_argument(
        "--out",
        metavar="FILE",
        default="model.npz",
        help="where to save the model; an older file is replaced (default: %(default)s)",
    )
    out.add_argument(
        "--plot", metavar="FILE", help="where to save a plot of loss and accuracy: .png, .pdf, .svg; needs fastfc[plot]"
    )
    out.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    with computing(args.backend):
        return _train_and_save(args)


def _train_and_save(args: argparse.Namespace) -> int:
    _check_outputs(args)
    import numpy as np

    from fastfc.solver import Solver

    data = _training_data(args)
    np.random.seed(args.seed)
    with reported(MemoryError, ValueError, what="cannot make this network"):
        model = _network(args, data)
    batch_size = min(args.batch_size, len(data["X_train"]))
    steps = args.epochs * (len(data["X_train"]) // batch_size)
    watch = Watch(model, steps)
    solver = Solver(
        model,
        data,
        update_rule=args.rule,
        optim_config={} if args.learning_rate is None else {"learning_rate": args.learning_rate},
        lr_decay=args.lr_decay,
        batch_size=batch_size,
        num_epochs=args.epochs,
        verbose=False,
        callback=watch,
    )
    start = perf_counter()
    code = _train(solver, watch, args)
    seconds = perf_counter() - start
    state = watch.last if code == 0 and args.select == "last" else watch.best or watch.last
    if code != 0:
        _explain(code, solver, steps, saved=state is not None)
    if state is None:
        return code
    _restore(model, state)
    with reported(OSError, what=f"cannot write {args.out}"):
        model.save(args.out)
    with writing_results():
        print(_summary(args, model, data, solver, seconds))
    if args.plot is not None:
        _plot(solver, args.plot)
    return code


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before the training what would keep its results from being written."""
    from fastfc.formats.atomic import replaced_file

    outputs = {"--out": args.out} if args.plot is None else {"--out": args.out, "--plot": args.plot}
    for option, name in outputs.items():
        path = Path(name)
        with reported(OSError, ValueError, what=f"{option} {name}"):
            if not path.parent.is_dir():
                raise ValueError(f"there is no folder {path.parent}")
            if path.exists():
                if not path.is_file():
                    raise ValueError("this is not a file")
                if not os.access(path, os.W_OK):
                    raise ValueError("this file is write-protected")
                if os.path.exists(args.data) and path.samefile(args.data):
                    raise ValueError("this would replace the data")
            with contextlib.suppress(_RehearsalError), replaced_file(path):
                raise _RehearsalError
    if args.plot is None:
        return
    if Path(args.plot).suffix.lower() not in PLOT_SUFFIXES:
        raise CommandError(f"--plot {args.plot}: expected a name that ends in {', '.join(PLOT_SUFFIXES)}")
    if Path(args.plot).resolve() == Path(args.out).resolve():
        raise CommandError(f"--plot {args.plot}: this is where --out saves the model")
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise CommandError('--plot needs matplotlib: pip install "fastfc[plot]"') from error


def _training_data(args: argparse.Namespace) -> dict[str, Any]:
    """Load the data, with a validation part, and make sure that its parts go together."""
    from fastfc.data_utils import load_dataset, split_validation

    with reported(OSError, ValueError, MemoryError):
        data = load_dataset(args.data, target=args.target)
    if "y_val" not in data:
        with reported(ValueError, MemoryError, what=f"{args.data}: no examples for validation"):
            parts = split_validation(data["X_train"], data["y_train"], args.val_fraction, args.seed)
        data.update(zip(("X_train", "y_train", "X_val", "y_val"), parts, strict=True))
    if len(data["class_names"]) < 2:
        raise CommandError(f"{args.data}: all labels are {data['class_names'][0]}; expected two classes or more")
    first = data["X_train"]
    for key in ("X_train", "X_val", "X_test"):
        if key not in data:
            continue
        X = data[key]
        if X.shape[1:] != first.shape[1:] or (X.dtype == "uint8") != (first.dtype == "uint8"):
            raise CommandError(
                f"{args.data}: X_train has examples of shape {first.shape[1:]}, {first.dtype}, "
                f"{key} of shape {X.shape[1:]}, {X.dtype}"
            )
        check_values(X, args.dtype, f"{args.data}: {key}")
    return data


def _network(args: argparse.Namespace, data: dict[str, Any]) -> FullyConnectedNet:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet

    X = data["X_train"]
    model = FullyConnectedNet(
        args.hidden,
        math.prod(X.shape[1:]),
        len(data["class_names"]),
        dropout_keep_ratio=args.keep,
        normalization=None if args.normalization == "none" else args.normalization,
        reg=args.reg,
        weight_scale=1 if args.weight_scale == "he" else args.weight_scale,
        dtype=np.dtype(args.dtype).type,
    )
    if args.weight_scale == "he":
        for i, inputs in enumerate(model.dims[:-1], start=1):
            model.params[f"W{i}"] *= math.sqrt(2 / inputs)
    model.class_names = data["class_names"]
    if args.standardize:
        deviation = X.std(axis=0, dtype=np.float64)
        # A constant feature's deviation can be a rounding error instead of 0.
        varies = (deviation > 0) & (X.min(axis=0) < X.max(axis=0))
        model.input_mean = X.mean(axis=0, dtype=np.float64)
        model.input_scale = 1 / np.where(varies, deviation, 1)
    elif X.dtype == np.uint8:
        model.input_mean = X.mean(axis=0, dtype=np.float64)
        model.input_scale = 1 / 255
    return model


def _restore(model: FullyConnectedNet, state: State) -> None:
    params, running = state
    model.params = params
    for bn_param, statistics in zip(model.bn_params, running, strict=True):
        bn_param.update(statistics)


def _train(solver: Solver, watch: Watch, args: argparse.Namespace) -> int:
    from fastfc import DivergenceWarning

    try:
        with (
            progress(args.epochs, watch.steps, args.quiet) as watch.report,
            watch.stopped_by_ctrl_c(),
            reported(MemoryError, what="training"),
            warnings.catch_warnings(),
        ):
            # It is said at the end, with what became of the model.
            warnings.simplefilter("ignore", DivergenceWarning)
            solver.train()
    except KeyboardInterrupt:
        return INTERRUPTED
    except DivergedError:
        return DIVERGED
    return 0


def _explain(code: int, solver: Solver, steps: int, *, saved: bool) -> None:
    step = len(solver.loss_history)
    kept = "the best parameters until then are saved" if saved else "there is nothing to save"
    if code == INTERRUPTED:
        line = f"interrupted after {step} of {steps} steps; {kept}"
    else:
        bad = [i for i, loss in enumerate(solver.loss_history) if not math.isfinite(loss)]
        what = f"the loss is {solver.loss_history[bad[0]]}" if bad else "the parameters are no longer finite"
        at = bad[0] + 1 if bad else step
        line = f"warning: training diverged, {what} at step {at} of {steps}; a smaller --learning-rate may help; {kept}"
    print(f"fastfc: {line}", file=sys.stderr)


def _summary(
    args: argparse.Namespace, model: FullyConnectedNet, data: dict[str, Any], solver: Solver, seconds: float
) -> str:
    from fastfc.backend import get_backend

    def accuracy(split: str) -> str:
        X, y = data[f"X_{split}"], data[f"y_{split}"]
        return f"{split if split == 'test' else 'validation'} accuracy: {shown_accuracy(model.predict(X), y)}"

    words = {"train": "train", "val": "validation", "test": "test"}
    sizes = [f"{len(data[f'y_{split}'])} {word}" for split, word in words.items() if f"y_{split}" in data]
    inputs, *hidden, classes = model.dims
    net = [f"{inputs}-[{','.join(map(str, hidden))}]-{classes}", args.normalization, f"keep {args.keep:g}", args.dtype]
    lines = [
        f"data: {args.data} ({', '.join(sizes)})",
        f"net: {' '.join(part for part in net if part not in ('none', 'keep 1'))}",
        f"best validation accuracy: {100 * solver.best_val_acc:.1f} %",
        accuracy("val"),
    ]
    if "y_test" in data:
        lines.append(accuracy("test"))
    if math.isfinite(solver.seconds_per_step):
        lines.append(f"time per step: {1000 * solver.seconds_per_step:.3g} ms")
    lines += [
        f"total time: {seconds:.1f} s ({len(solver.loss_history)} steps)",
        f"backend: {get_backend()}",
        f"model: {args.out}",
    ]
    return "\n".join(lines)


def _plot(solver: Solver, path: str) -> None:
    from fastfc.vis_utils import plot_history

    with reported(OSError, ValueError, what=f"cannot write {path}"):
        plot_history(solver.loss_history, solver.train_acc_history, solver.val_acc_history, path)
    with writing_results():
        print(f"plot: {path}")
