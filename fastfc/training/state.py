"""The state of a training between two calls, as far as the Solver does not show it."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastfc._runtime.stream import global_bits
from fastfc.training.batches import Batches
from fastfc.training.gradients import Accumulated

__all__ = ["HISTORIES", "SPLITS", "TrainingState", "stream_state"]

#: The arrays of a Solver's data.
SPLITS = ("X_train", "y_train", "X_val", "y_val")
#: Its lists with one value per iteration or per accuracy check.
HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")


@dataclass
class TrainingState:
    """Where a training stands.

    Parameters
    ----------
    iterations : int or None
        Of the call of train() that is under way or was the last; None amid an iteration or a check.
    params : dict of arrays or None
        The parameters as the last train() left them, before it took the best; None: as the model has them.
    stream : tuple or None
        NumPy's random stream as the last train() left it; None: as it is.
    resumes : bool
        Whether the next train() goes on from a file.
    accumulated : Accumulated
        Gradients of the batches since the last update.
    order : array (N,) of int64, or None
        The order of the epoch's rows, or of the epoch before; None before the first one, and where rows are not
        permuted. A compiled run shuffles it in its place.
    batches : Batches or None
        Those that the last train() began with; a pickle does not have them.
    clock : tuple of int
        Iterations that are done, those of an epoch, and those of the whole call of train(); a pickle does not have it.
    ran : dict or None
        Engine, backend and threads of the last run, or of the run that wrote the file.
    """

    iterations: int | None = 0
    params: dict[str, np.ndarray] | None = None
    stream: tuple | None = None
    resumes: bool = False
    ran: dict[str, Any] | None = None
    accumulated: Accumulated = field(default_factory=Accumulated)
    order: np.ndarray | None = None
    batches: Batches | None = None
    clock: tuple[int, int, int] = (0, 1, 1)

    def attributes(self) -> dict[str, Any]:
        """The attributes of a pickled Solver that hold this, by the names that version 0.1 gave them."""
        accumulated = (self.accumulated.sums, self.accumulated.weight)
        return {
            "_iterations": self.iterations,
            "_left": (self.params, self.stream),
            "_resumes": self.resumes,
            "_ran": self.ran,
            # Version 0.1 had none.
            **({"_accumulated": accumulated} if self.accumulated.sums else {}),
            **({} if self.order is None else {"_order": self.order}),
        }

    @classmethod
    def taken_from(cls, attributes: MutableMapping[str, Any]) -> "TrainingState":
        """The state that :meth:`attributes` gave, whose entries are removed."""
        params, stream = attributes.pop("_left")
        accumulated = Accumulated(*attributes.pop("_accumulated", ()))
        iterations, resumes, ran = (attributes.pop(name) for name in ("_iterations", "_resumes", "_ran"))
        return cls(iterations, params, stream, resumes, ran, accumulated, attributes.pop("_order", None))


def stream_state() -> tuple | None:
    """NumPy's global random stream, if it is the MT19937 that every version starts with."""
    if not isinstance(global_bits(), np.random.MT19937):
        return None
    return np.random.get_state()  # type: ignore[return-value]
