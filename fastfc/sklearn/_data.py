"""Examples for a training: dense ones as they lie, sparse ones made dense a few batches at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.training.fit import Fit
from fastfc.training.validation import Validation
from fastfc.training.watching import note_loss

# Values of sparse examples that are dense at a time.
_DENSE_VALUES = 1 << 20
# Steps of one compiled call, whose losses are kept until it returns.
_MOST_STEPS = 1 << 20

Factors = Callable[[int, int], np.ndarray] | None


@dataclass
class Data:
    """Examples, their targets as the network's loss takes them, and their weights.

    Parameters
    ----------
    X : array or CSR matrix (n, features)
    targets : array (n,) or (n, outputs)
    weights : array (n,) or None
    """

    X: Any
    targets: np.ndarray
    weights: np.ndarray | None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def is_sparse(self) -> bool:
        return bool(sparse.issparse(self.X))

    def rows(self, chosen: Any) -> "Data":
        """Some of the examples, by a slice or an array of places; sparse ones stay sparse."""
        weights = None if self.weights is None else self.weights[chosen]
        return Data(self.X[chosen], self.targets[chosen], weights)

    def dense(self) -> "Data":
        """The same with dense examples."""
        return Data(self.X.toarray(), self.targets, self.weights) if self.is_sparse else self


@dataclass
class Score:
    """The score by which an early stopping goes.

    Parameters
    ----------
    take : function
        Of no argument.
    data : Data or None
        Validation data on which compiled epochs take it by themselves; None if they cannot.
    """

    take: Callable[[], float]
    data: Data | None = None


def row_blocks(count: int, rows: int) -> Iterator[slice]:
    """Slices of at most `rows` of `count` rows, in their order."""
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def block_rows(X: Any, batch: int = 1) -> int:
    """Rows of sparse examples that are made dense at a time: whole batches, at least one."""
    return batch * max(1, _DENSE_VALUES // (batch * X.shape[1]))


def scores_of(X: Any, score: Callable[[Any], np.ndarray]) -> np.ndarray:
    """A network's scores, or what else `score` makes of dense examples, for examples of any kind."""
    if not sparse.issparse(X):
        return score(X)
    X = X.tocsr()
    found = [score(X[block].toarray()) for block in row_blocks(X.shape[0], block_rows(X))]
    return np.concatenate(found) if found else score(np.zeros(X.shape, X.dtype))


class Epochs:
    """Trains epochs by a :class:`~fastfc.training.fit.Fit` over data of any kind; a context manager.

    Parameters
    ----------
    net : FullyConnectedNet
    data : Data
    batch : int
    shuffle : bool
    stream : numpy.random.RandomState
    **options
        Of the Fit.

    Attributes
    ----------
    net : FullyConnectedNet
    fit : Fit
    steps : int
        Of an epoch.
    at_once : int
        The most epochs of a call.
    """

    def __init__(
        self,
        net: FullyConnectedNet,
        data: Data,
        batch: int,
        shuffle: bool,
        stream: np.random.RandomState,
        **options: Any,
    ) -> None:
        self.net, self._data, self._batch = net, data, batch
        # Permutations of sparse examples are drawn here.
        self._order = np.arange(len(data)) if data.is_sparse else None
        self._shuffle, self._stream = shuffle, stream
        # Rows to an update, which a block of dense examples does not part.
        self._group = batch * options.get("accumulate", 1)
        sampler = "permutation" if shuffle and not data.is_sparse else "order"
        first = data.rows(slice(0, batch)).dense() if data.is_sparse else data
        self.fit = Fit(
            net,
            first.X,
            first.targets,
            weights=first.weights,
            batch_size=batch,
            sampler=sampler,
            stream=stream,
            **options,
        )
        self.steps = -(-len(data) // batch)
        self.at_once = 1 if data.is_sparse else max(1, _MOST_STEPS // self.steps)
        self._finished = np.zeros(0)

    def __enter__(self) -> "Epochs":
        self.fit.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.fit.__exit__(*exception)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def finished(self) -> np.ndarray:
        """The losses of the epochs that the last call of :meth:`train` finished, also where it was interrupted."""
        return self.fit.finished if self._order is None else self._finished

    def train(
        self, count: int, watch: np.ndarray | None, factors: Factors, validation: Validation | None = None
    ) -> None:
        """Train up to `count` epochs, at most :attr:`at_once`; the others as for ``Fit.epochs``.

        Epochs over sparse data do not validate.
        """
        if self._order is None:
            self.fit.epochs(count, watch=watch, factors=factors, validation=validation)
            return
        self._finished = np.zeros(0)
        if self._shuffle:
            self._stream.shuffle(self._order)
        total = 0.0
        for part in row_blocks(len(self), block_rows(self._data.X, self._group)):
            block = self._data.rows(self._order[part]).dense()
            self.fit.set_data(block.X, block.targets, block.weights)
            total += len(block) * float(self.fit.epochs(1, factors=factors)[0])
        self._finished = np.array([total / len(self)])
        if watch is not None:
            note_loss(watch, float(self._finished[0]))
