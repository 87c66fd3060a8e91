"""Several networks of one table, which predict together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.model import array_kinds, packed, unpacked

__all__ = ["Averaged", "member_kinds", "member_seeds", "packed_members", "unpacked_members"]


class Averaged:
    """Networks with the same layers, whose probabilities or numbers are averaged.

    Parameters
    ----------
    nets : sequence of FullyConnectedNet
    """

    def __init__(self, nets: Sequence[FullyConnectedNet]) -> None:
        self._nets = nets
        first = nets[0]
        self.class_names, self.loss_name, self.dims = first.class_names, first.loss_name, first.dims

    def predict(self, X: Any) -> np.ndarray:
        """Labels or numbers (N,) of X (N, D)."""
        if self.class_names is not None:
            return self.predict_proba(X).argmax(axis=1)
        return self._mean(lambda net: net.predict(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, C); ValueError if the networks have none."""
        return self._mean(lambda net: net.predict_proba(X))

    def _mean(self, predict: Callable[[FullyConnectedNet], np.ndarray]) -> np.ndarray:
        total = predict(self._nets[0])
        for net in self._nets[1:]:
            total = total + predict(net)
        return total / len(self._nets)


def member_seeds(seed: int, count: int) -> list[int]:
    """The seeds of so many networks: that of the first is the seed itself, as if it were alone."""
    return [seed, *np.random.RandomState(seed).randint(2**31 - 1, size=count - 1).tolist()]


def packed_members(nets: Sequence[FullyConnectedNet]) -> dict[str, np.ndarray]:
    """The arrays of a file that holds networks with the same layers: those of the first one as in a file of its own."""
    arrays = packed(nets[0])
    for i, net in enumerate(nets[1:], start=1):
        arrays |= {f"member{i}.{name}": array for name, array in packed(net).items() if name != "options"}
    return arrays


def unpacked_members(arrays: Mapping[str, np.ndarray], count: int) -> list[FullyConnectedNet]:
    """All networks of such a file but the first; an error of DAMAGE if the arrays make no sense."""
    found = []
    for i in range(1, count):
        prefix = f"member{i}."
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        found.append(unpacked({**own, "options": arrays["options"]}, FullyConnectedNet))
    return found


def member_kinds(name: str) -> str | None:
    """The dtype kinds of the arrays in such a file, as :func:`fastfc.formats.npz.read_npz` takes them."""
    if name.startswith("member"):
        name = name.partition(".")[2]
    return array_kinds(name)
