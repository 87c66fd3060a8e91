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
    DIVERGED,
    EXIT_CODES,
    INTERRUPTED,
    CommandError,
    check_values,
    computing,
    reported,
    table_options,
    warnings_told,
    writing_results,
)
from fastfc.cli._defaults import BATCH_SIZE, EPOCHS, schedule, val_fraction
from fastfc.cli._results import plot, summary
from fastfc.cli._train_options import RULES as RULES
from fastfc.cli._train_options import add_data_options, add_network_options, add_output_options, add_rule_options
from fastfc.cli._watch import DivergedError, Watch, progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._defaults import Schedule
    from fastfc.cli._watch import State
    from fastfc.solver import Solver

_EPILOG = f"""\
examples:
  fastfc train
  fastfc train --data table.csv --target species --hidden 32 --epochs 50
  fastfc train --data cifar-10 --hidden 512,256 --reg 1e-4 --out cifar.npz --plot cifar.png

The progress goes to stderr, the results to stdout. A training whose loss becomes nan or
infinite is stopped, and what was best before that is saved.

{EXIT_CODES}"""

PLOT_SUFFIXES = (".png", ".pdf", ".svg")
_PICTURE_COLUMNS = 64
# Fewer rows for validation tell too little.
_FEW_ROWS = 20


class _RehearsalError(Exception):
    """Ends the writing of a file before it appears."""


def add_parser(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a network and save it",
        description="Train a fully connected network and save it. Without options it trains on the subset of\n"
        "Fashion-MNIST that comes with the package: 4000 pictures to train, 1000 to test.",
        epilog=_EPILOG,
    )
    train.set_defaults(run=run)

    add_data_options(train.add_argument_group("data"))
    add_network_options(train.add_argument_group("network"))
    add_rule_options(train.add_argument_group("training"))
    add_output_options(train.add_argument_group("output"))


def run(args: argparse.Namespace) -> int:
    with computing(args.backend):
        return _train_and_save(args)


def _train_and_save(args: argparse.Namespace) -> int:
    _check_outputs(args)
    import numpy as np

    from fastfc.solver import Solver

    data = _training_data(args)
    plan = schedule(len(data["X_train"]), args.batch_size, args.epochs, args.lr_decay)
    standardize = (
        _is_table(args) and not _has_pictures(data["X_train"]) if args.standardize is None else args.standardize
    )
    targets = _Targets(data, args.dtype)
    np.random.seed(args.seed)
    with reported(MemoryError, ValueError, what="cannot make this network"):
        model = _network(args, data, standardize)
    _tell(data)
    steps = plan.epochs * (len(data["X_train"]) // plan.batch_size)
    watch = Watch(model, steps)
    solver = Solver(
        model,
        targets.standardized(data),
        update_rule=args.rule,
        optim_config={} if args.learning_rate is None else {"learning_rate": args.learning_rate},
        lr_decay=plan.lr_decay,
        schedule=args.schedule,
        max_norm=args.max_norm,
        batch_size=plan.batch_size,
        num_epochs=plan.epochs,
        verbose=False,
        callback=watch,
    )
    start = perf_counter()
    # As many lines of progress for every number of epochs that was not asked for.
    every = 1 if args.epochs is not None else plan.epochs // EPOCHS
    code = _train(solver, watch, progress(plan.epochs, steps, args.quiet, every))
    seconds = perf_counter() - start
    state = watch.last if code == 0 and args.select == "last" else watch.best or watch.last
    if code != 0:
        _explain(code, solver, steps, saved=state is not None)
    if state is None:
        return code
    _restore(model, state)
    targets.fold_into(model)
    with reported(OSError, what=f"cannot write {args.out}"):
        model.save(args.out)
    with writing_results():
        print(summary(args, model, data, solver, seconds, _chosen(args, plan, standardize)))
    if args.plot is not None:
        plot(solver, args.plot)
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
    from fastfc.data_utils import load_dataset

    # fastfc sweep, which has no such option, trains classifiers.
    task = getattr(args, "task", None)
    task = None if task == "auto" and not _is_table(args) else task
    with reported(OSError, ValueError, MemoryError), warnings_told():
        data = load_dataset(args.data, **table_options(args), task=task)
    if len(data.get("class_names", "01")) < 2:
        other = "; --target names another column" if _is_table(args) else ""
        raise CommandError(f"{args.data}: all labels are {data['class_names'][0]}; expected two classes or more{other}")
    if "y_val" not in data:
        rows = len(data["X_train"])
        share = val_fraction(rows) if args.val_fraction is None else args.val_fraction
        with reported(ValueError, MemoryError, what=f"{args.data}: no examples for validation"):
            _hold_out(data, share, args.seed)
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


def _hold_out(data: dict[str, Any], share: float, seed: int) -> None:
    """Move a share of the training data to validation: of each class, or of each tenth of the numbers to predict."""
    import numpy as np

    from fastfc.data_utils import split_validation

    y = data["y_train"]
    rows = len(y)
    strata = y
    if "class_names" not in data:
        tenths = max(min(10, rows // 5), 1)
        strata = np.argsort(np.argsort(y, kind="stable")) * tenths // rows
    train, _, val, _ = split_validation(np.arange(rows), strata, share, seed)
    for name in ("X", "y"):
        whole = data[f"{name}_train"]
        data[f"{name}_train"], data[f"{name}_val"] = whole[train], whole[val]


class _Targets:
    """Numbers to predict, standardized in the training; the network is brought back to their units at its end."""

    def __init__(self, data: dict[str, Any], dtype: str) -> None:
        self.of_numbers = "class_names" not in data
        if not self.of_numbers:
            return
        import numpy as np

        y = data["y_train"]
        self.mean, self.scale = float(y.mean()), float(y.std())
        if not 0 < self.scale < math.inf:
            raise CommandError("the numbers to predict are all the same, or too large")
        digits = abs(self.mean) / self.scale * np.finfo(dtype).eps
        if digits > 1e-3:
            data.setdefault("notes", []).append(
                f"warning: the target's mean is {abs(self.mean) / self.scale:.0e} times its deviation; --dtype float64 "
                "keeps the digits that tell its values apart"
            )

    def standardized(self, data: dict[str, Any]) -> dict[str, Any]:
        if not self.of_numbers:
            return data
        return data | {key: (data[key] - self.mean) / self.scale for key in ("y_train", "y_val")}

    def fold_into(self, model: FullyConnectedNet) -> None:
        """Scale and shift the last layer, so that its outputs are in the target's units."""
        if not self.of_numbers:
            return
        last = model.num_layers
        model.params[f"W{last}"] *= self.scale
        model.params[f"b{last}"] = model.params[f"b{last}"] * self.scale + self.mean


def _is_table(args: argparse.Namespace) -> bool:
    from fastfc.formats.table import has_table_suffix

    return has_table_suffix(Path(args.data))


def _has_pictures(X: np.ndarray) -> bool:
    """Whether examples are bytes, or rows of a table that must have been bytes of pictures."""
    if X.dtype == "uint8":
        return True
    if X.ndim != 2 or X.shape[1] < _PICTURE_COLUMNS or X.min() < 0 or not 128 <= X.max() <= 255:
        return False
    return bool((X.astype("uint8") == X).all())


def _tell(data: dict[str, Any]) -> None:
    """Say what was taken for what."""
    lines = list(data.get("notes", []))
    held_out = len(data["y_val"])
    if held_out < _FEW_ROWS:
        lines.append(
            f"warning: few rows for validation ({held_out}), one is {100 / held_out:.0f} % of its "
            f"{'accuracy' if 'class_names' in data else 'R2'}; "
            "--val-fraction holds out more where the data has no part of its own"
        )
    for line in lines:
        print(f"fastfc: {line}", file=sys.stderr)


def _chosen(args: argparse.Namespace, plan: Schedule, standardize: bool) -> str:
    """The defaults that follow from the data, where they are others than those of large data."""
    chosen = {
        f"batches of {plan.batch_size}": args.batch_size is None and plan.batch_size != BATCH_SIZE,
        f"{plan.epochs} epochs": args.epochs is None and plan.epochs != EPOCHS,
        "standardized": args.standardize is None and standardize,
    }
    return ", ".join(text for text, is_chosen in chosen.items() if is_chosen)


def _network(args: argparse.Namespace, data: dict[str, Any], standardize: bool) -> FullyConnectedNet:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet

    X, class_names = data["X_train"], data.get("class_names")
    if class_names is None and args.label_smoothing:
        raise CommandError("--label-smoothing is for classes; this training predicts numbers")
    model = FullyConnectedNet(
        args.hidden,
        math.prod(X.shape[1:]),
        1 if class_names is None else len(class_names),
        dropout_keep_ratio=args.keep,
        normalization=None if args.normalization == "none" else args.normalization,
        reg=args.reg,
        weight_scale=1 if args.weight_scale == "he" else args.weight_scale,
        dtype=np.dtype(args.dtype).type,
        activation=args.activation,
        loss="squared" if class_names is None else "softmax",
        loss_parameter=None if class_names is None else args.label_smoothing,
    )
    if args.weight_scale == "he":
        for i, inputs in enumerate(model.dims[:-1], start=1):
            model.params[f"W{i}"] *= math.sqrt(2 / inputs)
    model.class_names = class_names
    model.feature_names, model.target_name = data.get("feature_names"), data.get("target_name")
    if standardize:
        model.input_mean, model.input_scale = _mean_and_scale(X)
    elif X.dtype == np.uint8 or (_is_table(args) and _has_pictures(X)):
        model.input_mean = X.mean(axis=0, dtype=np.float64)
        model.input_scale = 1 / 255
    return model


def _mean_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each feature's mean and 1 / its deviation, in float64 whatever X is."""
    import numpy as np

    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    # A constant feature's deviation can be a rounding error instead of 0.
    varies = (deviation > 0) & (X.min(axis=0) < X.max(axis=0))
    if X.dtype.itemsize >= 4:
        # A sum of many numbers far from 0, such as timestamps, is rounded by more than they differ.
        rest = (X - mean).mean(axis=0)
        mean = np.where(varies & (np.abs(rest) > 1e-9 * deviation), mean + rest, mean)
    return mean, 1 / np.where(varies, deviation, 1)


def _restore(model: FullyConnectedNet, state: State) -> None:
    params, running = state
    model.params = params
    for bn_param, statistics in zip(model.bn_params, running, strict=True):
        bn_param.update(statistics)


def _train(solver: Solver, watch: Watch, shown: AbstractContextManager[Callable[[Solver], object]]) -> int:
    from fastfc import DivergenceWarning

    try:
        with (
            shown as watch.report,
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
