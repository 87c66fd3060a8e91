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

from fastfc._defaults import BATCH_SIZE, EARLY_STOPPING_ROWS, EPOCHS, schedule
from fastfc.cli import _preset
from fastfc.cli._common import (
    DIVERGED,
    EXIT_CODES,
    INTERRUPTED,
    CommandError,
    Store,
    computing,
    reported,
    writing_results,
)
from fastfc.cli._preset import Outcome, seeds_of, settle, train_preset
from fastfc.cli._results import plot, report, summary
from fastfc.cli._train_options import (
    PLATEAU,
    add_data_options,
    add_network_options,
    add_output_options,
    add_rule_options,
)
from fastfc.cli._train_options import RULES as RULES
from fastfc.cli._training_data import has_pictures, is_table, tell, training_data
from fastfc.cli._watch import DivergedError, Watch, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from fastfc._defaults import Schedule
    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._watch import State
    from fastfc.solver import Solver
    from fastfc.tabular import TableModel
    from fastfc.tabular._scaling import TargetScale

_EPILOG = f"""\
examples:
  fastfc train
  fastfc train table.csv --target species --hidden 32 --epochs 50
  fastfc train table.csv --preset tabular --members 5
  fastfc train cifar-10 --hidden 512,256 --reg 1e-4 --out cifar.npz --plot cifar.png

The progress goes to stderr, the results to stdout. A training whose loss becomes nan or
infinite is stopped, and what was best before that is saved.

{EXIT_CODES}"""

PLOT_SUFFIXES = (".png", ".pdf", ".svg")
_SAVED = {"--out": "the model", "--plot": "the plot"}


class _RehearsalError(Exception):
    """Ends the writing of a file before it appears."""


def add_parser(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a network and save it",
        description="Train a fully connected network and save it. Without options it trains on the subset of\n"
        "Fashion-MNIST that comes with the package: 4000 images to train, 1000 to test.",
        epilog=_EPILOG,
    )
    train.set_defaults(run=run, given=frozenset())
    # A preset refuses the options that it replaces.
    train.register("action", None, Store)

    add_data_options(train.add_argument_group("data"))
    network = train.add_argument_group("network")
    add_network_options(network)
    _preset.add_options(network)
    add_rule_options(train.add_argument_group("training"))
    add_output_options(train.add_argument_group("output"))


def run(args: argparse.Namespace) -> int:
    with computing(args.backend):
        return _train_and_save(args)


def _train_and_save(args: argparse.Namespace) -> int:
    _check_outputs(args)
    settle(args)
    data = training_data(args)
    description = data.pop("description", None)
    scale = _target_scale(args, data)
    start = perf_counter()
    if args.preset is None:
        found = _trained(args, data, scale, mixed=description is not None)
    else:
        found = train_preset(args, data, description)
    seconds = perf_counter() - start
    if not found.nets:
        return found.code
    with reported(OSError, what=f"cannot write {args.out}"):
        if description is None:
            found.nets[0].save(args.out)
        else:
            _table_model(found.nets, description).save(args.out)
    with writing_results():
        print(summary(args, found.nets, data, found.first, seconds, found.chosen))
    if args.plot is not None:
        plot(found.first, args.plot)
    if args.report is not None:
        report(args, found, data, description)
    return found.code


def _trained(args: argparse.Namespace, data: dict[str, Any], scale: TargetScale, *, mixed: bool) -> Outcome:
    """Networks by the options of network and training, one after the other; `mixed` is a table of mixed columns."""
    import numpy as np

    from fastfc.training.batches import Batches

    plan = schedule(len(data["X_train"]), args.batch_size, args.epochs, args.lr_decay)
    standardize = args.standardize
    if standardize is None:
        standardize = is_table(args) and (mixed or not has_pictures(data["X_train"]))
    standardized = scale.standardized(data)
    steps = plan.epochs * Batches(len(data["X_train"]), plan.batch_size, args.sampler).steps
    # As many lines of progress for every number of epochs that was not asked for.
    every = 1 if args.epochs is not None else plan.epochs // EPOCHS
    select = args.select or ("best" if mixed and len(data["y_val"]) >= EARLY_STOPPING_ROWS else "last")
    code, nets, solvers = 0, [], []
    for number, seed in enumerate(seeds_of(args), start=1):
        np.random.seed(seed)
        with reported(MemoryError, ValueError, what="cannot make this network"):
            model = _network(args, data, standardize)
        if number == 1:
            tell(data)
        if args.members > 1 and not args.quiet:
            print(f"fastfc: member {number} of {args.members}", file=sys.stderr)
        watch = Watch(model, steps)
        solvers.append(_solver(args, plan, model, standardized, watch))
        code = _train(solvers[-1], watch, progress(plan.epochs, steps, args.quiet, every))
        state = watch.last if code == 0 and select == "last" else watch.best or watch.last
        if state is not None:
            _restore(model, state)
            scale.fold_into(model)
            nets.append(model)
        if code != 0:
            _explain(code, solvers[-1], steps, saved=state is not None, members=len(nets) if number > 1 else 0)
            break
    kept = select if code == 0 else "best"
    return Outcome(code, nets, solvers[0], plan, _chosen(args, plan, standardize), kept)


def _solver(
    args: argparse.Namespace, plan: Schedule, model: FullyConnectedNet, data: dict[str, Any], watch: Watch
) -> Solver:
    from fastfc.schedules import ReduceOnPlateau
    from fastfc.solver import Solver

    return Solver(
        model,
        data,
        update_rule=args.rule,
        optim_config={} if args.learning_rate is None else {"learning_rate": args.learning_rate},
        lr_decay=plan.lr_decay,
        schedule=ReduceOnPlateau(monitor="val_acc") if args.schedule == PLATEAU else args.schedule,
        max_norm=args.max_norm,
        batch_size=plan.batch_size,
        sampler=args.sampler,
        num_epochs=plan.epochs,
        verbose=False,
        callback=watch,
    )


def _target_scale(args: argparse.Namespace, data: dict[str, Any]) -> TargetScale:
    from fastfc.tabular._scaling import TargetScale

    with reported(ValueError, what=args.data):
        scale = TargetScale.of(data)
    warning = scale.warning(args.dtype)
    if warning:
        data.setdefault("notes", []).append(warning)
    return scale


def _table_model(nets: Sequence[FullyConnectedNet], description: dict[str, Any]) -> TableModel:
    from fastfc.tabular import TableModel

    return TableModel(nets[0], description, nets)


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before the training what would keep its results from being written."""
    from fastfc.formats.atomic import replaced_file
    from fastfc.tabular._report import REPORT_SUFFIXES

    of_pictures_and_pages = {"--plot": PLOT_SUFFIXES, "--report": REPORT_SUFFIXES}
    named = {"--out": args.out, "--plot": args.plot, "--report": args.report}
    outputs = {option: name for option, name in named.items() if name is not None}
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
    taken: dict[Path, str] = {}
    for option, name in outputs.items():
        suffixes = of_pictures_and_pages.get(option)
        if suffixes is not None and Path(name).suffix.lower() not in suffixes:
            raise CommandError(f"{option} {name}: expected a name that ends in {', '.join(suffixes)}")
        other = taken.setdefault(Path(name).resolve(), option)
        if other != option:
            raise CommandError(f"{option} {name}: this is where {other} saves {_SAVED[other]}")
    for option in outputs.keys() & of_pictures_and_pages.keys():
        require_matplotlib(option)


def require_matplotlib(option: str) -> None:
    """CommandError unless the library that the option's file needs is installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise CommandError(f'{option} needs matplotlib: pip install "fastfc[plot]"') from error


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

    from fastfc._standardization import mean_and_scale
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
        with reported(ValueError, what=args.data):
            model.input_mean, model.input_scale = mean_and_scale(X, model.dtype, model.feature_names)
    elif X.dtype == np.uint8 or (is_table(args) and has_pictures(X)):
        model.input_mean = X.mean(axis=0, dtype=np.float64)
        model.input_scale = 1 / 255
    return model


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


def _explain(code: int, solver: Solver, steps: int, *, saved: bool, members: int) -> None:
    step = len(solver.loss_history)
    kept = "the best parameters until then are saved" if saved else "there is nothing to save"
    if members:
        kept = f"{members} {'member is' if members == 1 else 'members are'} saved"
    if code == INTERRUPTED:
        line = f"interrupted after {step} of {steps} steps; {kept}"
    else:
        bad = [i for i, loss in enumerate(solver.loss_history) if not math.isfinite(loss)]
        what = f"the loss is {solver.loss_history[bad[0]]}" if bad else "the parameters are no longer finite"
        at = bad[0] + 1 if bad else step
        line = f"warning: training diverged, {what} at step {at} of {steps}; a smaller --learning-rate may help; {kept}"
    print(f"fastfc: {line}", file=sys.stderr)
