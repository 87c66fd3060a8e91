"""A training's curves in one line of text, for a terminal."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["Histories", "columns_of", "curves", "levels_of", "sparkline"]

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.,-=*#@"
# A curve's longest and shortest form, in characters.
WIDEST, NARROWEST = 32, 6
# Columns of the line beside its two curves.
LABELS = 44
# Of a long history this many entries stand for each character.
SAMPLES = 16


class Histories(Protocol):
    """A training as its progress and its results show it: a Solver, or what stands for one."""

    @property
    def model(self) -> Any: ...
    @property
    def epoch(self) -> int: ...
    @property
    def loss_history(self) -> Any: ...
    @property
    def train_acc_history(self) -> Any: ...
    @property
    def val_acc_history(self) -> Any: ...
    @property
    def best_val_acc(self) -> float: ...
    @property
    def seconds_per_step(self) -> float: ...


def sparkline(values: Sequence[Any], width: int, levels: str = BLOCKS) -> str:
    """The curve of some numbers: a character for each, or for the mean of several where they are more than `width`.

    The least value is the lowest of the `levels`, the greatest the highest; equal ones are all in the middle. A blank
    stands where there is no finite value.
    """
    count = len(values)
    n = min(count, width)
    means = [_mean(values[i * count // n : (i + 1) * count // n]) for i in range(n)]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top = len(levels) - 1

    def level(mean: float) -> str:
        if not math.isfinite(mean):
            return " "
        # Halves first: the difference of two large floats may be infinite.
        share = (mean / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
        return levels[round(share * top)]

    return "".join(map(level, means))


def _mean(values: Sequence[Any]) -> float:
    step = max(1, len(values) // SAMPLES)
    finite = [float(value) for value in values[::step] if math.isfinite(value)]
    # Each is divided before they are added, so that sums cannot overflow.
    return sum(value / len(finite) for value in finite) if finite else math.nan


def levels_of(stream: Any) -> str:
    """The characters of curves that a stream's encoding has."""
    try:
        BLOCKS.encode(getattr(stream, "encoding", None) or "ascii")
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return BLOCKS


def columns_of(stream: Any) -> int:
    """The width of a stream's terminal in characters; 80 if it does not say."""
    try:
        # Some terminals say 0 for what they do not know.
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def curves(solver: Histories, columns: int, levels: str = BLOCKS) -> str:
    """The losses so far and the validation scores so far, with their first and last numbers, as a line of a terminal.

    It is filled up with blanks, so that nothing stays of a message that stood there, and has a column less than the
    terminal, which may begin a new line after its last one.
    """
    width = max(NARROWEST, min(WIDEST, (columns - LABELS) // 2))
    losses, scores = solver.loss_history, solver.val_acc_history
    form, name = ("{:.0%}", "val") if solver.model.class_names is not None else ("{:.2f}", "val R2")
    loss = f"loss {losses[0]:.3g} {sparkline(losses, width, levels)} {losses[-1]:.3g}"
    score = f"{name} {form.format(scores[0])} {sparkline(scores, width, levels)} {form.format(scores[-1])}"
    return f"{loss}   {score}".ljust(columns)[: columns - 1]
