"""The results of ``fastfc train``: the lines on stdout, and the plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastfc.cli._common import reported, shown_accuracy, shown_errors, writing_results

if TYPE_CHECKING:
    import argparse

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.solver import Solver


def summary(
    args: argparse.Namespace,
    model: FullyConnectedNet,
    data: dict[str, Any],
    solver: Solver,
    seconds: float,
    chosen: str,
) -> str:
    """Data, network, scores, times and the model's file, a line each."""
    from fastfc.backend import get_backend

    of_classes = model.class_names is not None
    name, shown = ("accuracy", shown_accuracy) if of_classes else ("R2", shown_errors)

    def score(split: str) -> str:
        X, y = data[f"X_{split}"], data[f"y_{split}"]
        return f"{split if split == 'test' else 'validation'} {name}: {shown(model.predict(X), y)}"

    best = f"{100 * solver.best_val_acc:.1f} %" if of_classes else f"{solver.best_val_acc:.3f}"
    words = {"train": "train", "val": "validation", "test": "test"}
    sizes = [f"{len(data[f'y_{split}'])} {word}" for split, word in words.items() if f"y_{split}" in data]
    inputs, *hidden, outputs = model.dims
    net = [f"{inputs}-[{','.join(map(str, hidden))}]-{outputs}", args.normalization, f"keep {args.keep:g}", args.dtype]
    lines = [
        f"data: {args.data} ({', '.join(sizes)})",
        f"net: {' '.join(part for part in net if part not in ('none', 'keep 1'))}",
        *([f"defaults for {len(data['y_train'])} rows: {chosen}"] if chosen else []),
        f"best validation {name}: {best}",
        score("val"),
    ]
    if "y_test" in data:
        lines.append(score("test"))
    if math.isfinite(solver.seconds_per_step):
        lines.append(f"time per step: {1000 * solver.seconds_per_step:.3g} ms")
    lines += [
        f"total time: {seconds:.1f} s ({len(solver.loss_history)} steps)",
        f"backend: {get_backend()}",
        f"model: {args.out}",
    ]
    return "\n".join(lines)


def plot(solver: Solver, path: str) -> None:
    """Save a plot of the training's loss and scores."""
    from fastfc.vis_utils import plot_history

    score = "accuracy" if solver.model.class_names is not None else "R2"
    with reported(OSError, ValueError, what=f"cannot write {path}"):
        plot_history(solver.loss_history, solver.train_acc_history, solver.val_acc_history, path, score=score)
    with writing_results():
        print(f"plot: {path}")
