"""Defaults of a training that follow the size of the data.

From 1,000 rows to train on they are what large data takes: 5 to 20 % of the rows for validation, batches of 100, 20
epochs. Fewer rows make so few steps an epoch, and so few rows for validation, that a network would neither learn nor
be judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "BATCH_SIZE",
    "EARLY_STOPPING_ROWS",
    "EPOCHS",
    "LR_DECAY",
    "Schedule",
    "patience",
    "schedule",
    "val_fraction",
]

BATCH_SIZE, EPOCHS, LR_DECAY = 100, 20, 0.9
SMALLEST_BATCH, FEWEST_STEPS = 16, 500
# Fewer rows for validation tell too little to choose an epoch by.
EARLY_STOPPING_ROWS = 200
VAL_ROWS, SMALLEST_VAL, LARGEST_VAL = 200, 0.05, 0.2


@dataclass(frozen=True)
class Schedule:
    """How long to train, and in which steps."""

    batch_size: int
    epochs: int
    lr_decay: float


def val_fraction(rows: int) -> float:
    """Share to hold out for validation: 200 rows, clamped to 5..20 %."""
    return min(LARGEST_VAL, max(SMALLEST_VAL, VAL_ROWS / rows))


def schedule(rows: int, batch_size: int | None, epochs: int | None, lr_decay: float | None) -> Schedule:
    """The schedule for this many rows to train on; what is not None was asked for.

    A batch is a tenth of the rows, clamped to 16..100, and no more than there are. There are 20 epochs, or as many
    as make 500 steps; with more of them the learning rate falls as slowly as to end where 20 epochs would end.
    """
    batch = min(rows, batch_size or max(SMALLEST_BATCH, min(BATCH_SIZE, rows // 10)))
    if epochs is None:
        epochs = max(EPOCHS, math.ceil(FEWEST_STEPS / (rows // batch)))
        lr_decay = lr_decay or LR_DECAY ** (EPOCHS / epochs)
    return Schedule(batch, epochs, lr_decay or LR_DECAY)


def patience(epochs: int) -> int:
    """Epochs without a better validation score after which a training ends: a quarter of them, but 10 at least."""
    return max(10, epochs // 4)
