"""A training on some rows of the data, which stay where they are."""

from typing import Any

import numpy as np

from fastfc.training.fit import Fit
from fastfc.training.plan import shortened

__all__ = ["FitOnRows"]


class FitOnRows(Fit):
    """A :class:`fastfc.training.fit.Fit` whose epochs are over some of the examples only.

    Parameters
    ----------
    rows : array (n,) of integers, or None
        The examples, by their numbers, in their order; at least as many as a batch has. None for all.
    *args, **kwargs
        Of Fit. With `rows`, batches are permutations of them or in their order, not draws with replacement.
    """

    def __init__(self, rows: np.ndarray | None, *args: Any, **kwargs: Any) -> None:
        self._rows = rows
        super().__init__(*args, **kwargs)

    def set_data(self, X: np.ndarray, y: Any, weights: Any = None) -> None:
        super().set_data(X, y, weights)
        if self._rows is None:
            return
        # Compiled code takes an epoch's examples from the order, whose length is the epoch's.
        self._count = len(self._rows)
        self._steps_per_epoch = -(-self._count // self._batch)
        for thread in self.plan.threads:
            thread.order = np.array(self._rows, np.int64)
        rest = self._count % self._batch
        self._short = shortened(self.plan, rest) if rest else None
