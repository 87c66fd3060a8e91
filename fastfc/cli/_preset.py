"""``fastfc train --preset`` and ``--members``: several networks of one table, and a recipe of their own."""

from __future__ import annotations

import math
import sys
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fastfc._defaults import EPOCHS
from fastfc.cli._common import DIVERGED, INTERRUPTED, CommandError, count, reported
from fastfc.cli._training_data import is_table, tell
from fastfc.cli._watch import ctrl_c_calls, progress

if TYPE_CHECKING:
    import argparse

    from fastfc._defaults import Schedule
    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._curves import Histories

#: The options that a preset takes; it has its own of all others.
TAKEN = {
    "preset", "members", "epochs", "batch_size", "seed", "dtype", "backend", "out", "plot", "report", "quiet",
    "data", "target", "task", "drop", "header", "separator", "decimal", "encoding", "missing",
    "class_weight", "groups", "time", "val_fraction",
}  # fmt: skip


@dataclass
class Outcome:
    """A training's results: exit code, networks that can be saved, histories of the first one, and how it was done."""

    code: int
    nets: list[FullyConnectedNet]
    first: Histories
    plan: Schedule
    chosen: str = ""
    # Which parameters were kept: those after the last epoch, or those with the best validation score.
    kept: str = "best"


@dataclass
class Recorded:
    """Histories as a Solver has them."""

    model: Any = None
    loss_history: list[float] = field(default_factory=list)
    train_acc_history: list[float] = field(default_factory=list)
    val_acc_history: list[float] = field(default_factory=list)
    seconds_per_step: float = math.nan

    @property
    def epoch(self) -> int:
        return len(self.val_acc_history) - 1

    @property
    def best_val_acc(self) -> float:
        return max(self.val_acc_history)


def add_options(group: Any) -> None:
    """The preset, and how many networks."""
    group.add_argument(
        "--preset",
        choices=["tabular"],
        metavar="NAME",
        help="tabular: a network and a training that suit tables, in place of their options but --epochs, --batch-size "
        "and --dtype; takes longer and is often better; needs fastfc[tabular]",
    )
    group.add_argument(
        "--members",
        type=count,
        metavar="N",
        default=1,
        help="networks to train on a table, whose probabilities or numbers are averaged; needs fastfc[tabular] "
        "(default: %(default)s)",
    )


def settle(args: argparse.Namespace) -> None:
    """Refuse options that a preset or several members do not go with, and set a preset's defaults."""
    if args.preset is None and args.members == 1:
        return
    option = f"--members {args.members}" if args.preset is None else f"--preset {args.preset}"
    if args.preset is not None:
        given = set(args.given) | ({"standardize"} if args.standardize is not None else set())
        for name in sorted(given - TAKEN):
            raise CommandError(f"--{name.replace('_', '-')}: {option} has its own")
    if Path(args.data).is_dir() or not is_table(args):
        raise CommandError(f"{option} is for tables (.csv, .tsv, .txt, .gz, .parquet); {args.data} is none")
    from fastfc.tabular._pandas import pandas
    from fastfc.tabular._preset import VAL_FRACTION

    with reported(ImportError, what=option):
        pandas()
    if args.preset is not None and args.val_fraction is None:
        args.val_fraction = VAL_FRACTION


def seeds_of(args: argparse.Namespace) -> list[int]:
    """The seed of each member; that of a single one is the one that was asked for."""
    if args.members == 1:
        return [args.seed]
    from fastfc.tabular._members import member_seeds

    return member_seeds(args.seed, args.members)


def train_preset(args: argparse.Namespace, data: dict[str, Any], description: dict[str, Any]) -> Outcome:
    """Networks by the preset, side by side in threads. Ctrl-C ends them with the epoch, and keeps the best until then.

    The data's features are those that the networks take afterwards.
    """
    import numpy as np

    from fastfc.solver import DivergenceWarning
    from fastfc.tabular._fit import by_preset
    from fastfc.tabular._prepare import Prepared
    from fastfc.tabular._preset import History, plan_of

    plan = plan_of(len(data["X_train"]), args.batch_size, args.epochs)
    tell(data)
    if args.members > 1:
        print(f"fastfc: {args.members} members, {plan.epochs} epochs each", file=sys.stderr)
    halt, lock = threading.Event(), threading.Lock()
    steps = plan.epochs * max(len(data["X_train"]) // plan.batch_size, 1)
    described = SimpleNamespace(class_names=data.get("class_names"))

    def on_epoch(member: int, history: History) -> None:
        with lock:
            show(Recorded(described, history["loss"], history["train"], history["val"]), member + 1)

    every = 1 if args.epochs is not None else max(plan.epochs // EPOCHS, 1)
    with (
        progress(plan.epochs, steps, args.quiet, every, args.members) as show,
        ctrl_c_calls(halt.set),
        reported(MemoryError, ValueError, what="training"),
        warnings.catch_warnings(),
    ):
        # It is said at the end, with what became of the model.
        warnings.simplefilter("ignore", DivergenceWarning)
        dtype, seeds = np.dtype(args.dtype).type, seeds_of(args)
        trained = by_preset(Prepared(data, description), plan, dtype, seeds, halt=halt, on_epoch=on_epoch)
    histories = [history for _, history in trained]
    finite = [bool(np.isfinite(history["loss"]).all()) for history in histories]
    # A network without an epoch has scores that are all alike.
    kept = [(net, history) for net, history in trained if len(history["val"]) > 1]
    code, done = 0, sum(len(history["val"]) - 1 for history in histories)
    if not all(finite):
        code = DIVERGED
        line = f"warning: training diverged, {finite.count(False)} of {args.members} losses are no longer finite"
    elif done < args.members * plan.epochs:
        code = INTERRUPTED
        line = f"interrupted after {done} of {args.members * plan.epochs} epochs"
    if code != 0:
        many = f" of {len(kept)} members" if args.members > 1 else ""
        saved = f"the best parameters{many} until then are saved" if kept else "there is nothing to save"
        print(f"fastfc: {line}; {saved}", file=sys.stderr)
    net, history = kept[0] if kept else trained[0]
    first = Recorded(net, history["loss"], history["train"], history["val"])
    return Outcome(code, [each for each, _ in kept], first, plan)
