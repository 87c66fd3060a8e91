"""The results of ``fastfc train``: the lines on stdout, the plot and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc.cli._common import reported, shown_accuracy, shown_errors, writing_results

if TYPE_CHECKING:
    import argparse

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._curves import Histories
    from fastfc.cli._preset import Outcome


def summary(
    args: argparse.Namespace,
    members: Sequence[FullyConnectedNet],
    data: dict[str, Any],
    solver: Histories,
    seconds: float,
    chosen: str,
) -> str:
    """Data, networks, scores, times and the model's file, a line each; the histories are those of the first network."""
    from fastfc.backend import get_backend

    model, count = predictor(members), len(members)
    of_classes = model.class_names is not None
    name, shown = ("accuracy", shown_accuracy) if of_classes else ("R2", shown_errors)

    def score(split: str) -> str:
        X, y = data[f"X_{split}"], data[f"y_{split}"]
        return f"{split if split == 'test' else 'validation'} {name}: {shown(model.predict(X), y)}"

    best = f"{100 * solver.best_val_acc:.1f} %" if of_classes else f"{solver.best_val_acc:.3f}"
    words = {"train": "train", "val": "validation", "test": "test"}
    sizes = [f"{len(data[f'y_{split}'])} {word}" for split, word in words.items() if f"y_{split}" in data]
    lines = [
        f"data: {args.data} ({', '.join(sizes)})",
        f"net: {_network(args, members)}",
        *([f"defaults for {len(data['y_train'])} rows: {chosen}"] if chosen else []),
        *([f"best validation {name}: {best}"] if count == 1 else []),
        score("val"),
    ]
    if "y_test" in data:
        lines.append(score("test"))
    if math.isfinite(solver.seconds_per_step):
        lines.append(f"time per step: {1000 * solver.seconds_per_step:.3g} ms")
    lines += [
        f"total time: {seconds:.1f} s ({f'{count} members, ' if count > 1 else ''}{len(solver.loss_history)} steps)",
        f"backend: {get_backend()}",
        f"model: {args.out}",
    ]
    return "\n".join(lines)


def predictor(members: Sequence[FullyConnectedNet]) -> Any:
    """The network, or the mean of several."""
    if len(members) == 1:
        return members[0]
    from fastfc.tabular._members import Averaged

    return Averaged(members)


def _network(args: argparse.Namespace, members: Sequence[FullyConnectedNet]) -> str:
    inputs, *hidden, outputs = members[0].dims
    options = [args.normalization, f"keep {args.keep:g}"] if args.preset is None else [f"preset {args.preset}"]
    net = [f"{inputs}-[{','.join(map(str, hidden))}]-{outputs}", *options, args.dtype]
    text = " ".join(part for part in net if part not in ("none", "keep 1"))
    return text if len(members) == 1 else f"{text}, {len(members)} members"


def plot(solver: Histories, path: str) -> None:
    """Save a plot of the training's loss and scores."""
    from fastfc.vis_utils import plot_history

    score = "accuracy" if solver.model.class_names is not None else "R2"
    with reported(OSError, ValueError, what=f"cannot write {path}"):
        plot_history(solver.loss_history, solver.train_acc_history, solver.val_acc_history, path, score=score)
    with writing_results():
        print(f"plot: {path}")


def report(args: argparse.Namespace, found: Outcome, data: dict[str, Any], description: dict[str, Any] | None) -> None:
    """Write the page about data, training and errors."""
    from fastfc.tabular._encode import feature_places
    from fastfc.tabular._report import Report, write_report

    members, solver, plan = found.nets, found.first, found.plan
    model = members[0]
    features = model.feature_names or [f"feature {i + 1}" for i in range(model.dims[0])]
    columns = {name: [i] for i, name in enumerate(features)}
    if description is not None:
        columns = feature_places(description["columns"])
    rate = "the default of the rule" if args.learning_rate is None else args.learning_rate
    rate = f"{rate}, times {plan.lr_decay:.4g} after each epoch"
    chosen = {
        "rows to train on": str(len(data["y_train"])),
        "rows for validation": str(len(data["y_val"])),
        "network": _network(args, members),
        "activation": model.activation,
        "loss": model.loss_name,
        "update rule": args.rule if args.preset is None else f"that of the preset {args.preset}",
        "batch size": str(plan.batch_size),
        "epochs": f"{solver.epoch} of {plan.epochs}",
        "steps": str(len(solver.loss_history)),
        "learning rate": rate if args.preset is None else f"that of the preset {args.preset}",
        "seed": str(args.seed),
        "model": args.out,
    }
    if args.preset is None:
        # Nothing is said of what was left as it is by default.
        others = {
            "schedule": args.schedule,
            "L2 penalty": args.reg or None,
            "label smoothing": args.label_smoothing or None,
            "bound of the gradients' norm": args.max_norm,
            "how batches are drawn": args.sampler if "sampler" in args.given else None,
            "scale of the first weights": args.weight_scale if "weight_scale" in args.given else None,
            "parameters": "those after the last epoch"
            if found.kept == "last"
            else "those with the best validation score",
        }
        chosen |= {name: str(value) for name, value in others.items() if value is not None}
    if len(members) > 1:
        chosen["learning curves"] = f"of the first of {len(members)} members"
    told = Report(
        f"Training on {Path(args.data).name}",
        predictor(members),
        data["X_val"],
        data["y_val"],
        columns,
        solver.loss_history,
        solver.train_acc_history,
        solver.val_acc_history,
        data.get("notes", ()),
        chosen,
    )
    with reported(ImportError, OSError, ValueError, what=f"cannot write {args.report}"):
        write_report(told, args.report)
    with writing_results():
        print(f"report: {args.report}")
