"""May this be compiled? One answer, for trainings, accuracy checks and predictions.

Compiled code stands for certain methods of the network and of the Solver. Where a class or an
object has another one in the place of such a method, that one is meant to be called, and
nothing is compiled past it.
"""

import operator
from collections.abc import MutableMapping
from operator import attrgetter
from typing import Any

import numpy as np

from fastfc._runtime.stream import global_bits
from fastfc._runtime.threads import get_num_threads
from fastfc.backend import get_backend
from fastfc.course.years import legacy_of

__all__ = ["Methods", "are_same", "entries_of", "frame_of", "refusal"]


class Methods:
    """Some methods and properties of a class, as they were when this was made.

    Parameters
    ----------
    kind : type
        The class, which need not be the one that defines them.
    *names : str
    """

    def __init__(self, kind: type, *names: str) -> None:
        self._names = names
        self._own_names = frozenset(names)
        of = attrgetter(*names)
        self._of = of if len(names) > 1 else lambda kind: (of(kind),)
        self._own = self._of(kind)

    def kept_by(self, owner: Any) -> bool:
        """Whether an object of the class, or of one derived from it, has them all; takes half a microsecond."""
        return self._of(type(owner)) == self._own and self._own_names.isdisjoint(owner.__dict__)

    def replaced_in(self, owner: Any) -> str | None:
        """The first that the object has another one for, in its class or of its own; None if there is none."""
        for name, own in zip(self._names, self._own, strict=True):
            if name in vars(owner) or getattr(type(owner), name) is not own:
                return name
        return None


def refusal(solver: Any) -> str | None:
    """Why the compiled run cannot do this training; None if it can.

    Raises
    ------
    TypeError, ValueError
        If the network's attributes do not fit one another, as its own ``loss`` would raise them.
    """
    from fastfc.training.plan import RULES, readable

    model = solver.model
    if get_backend() != "fast":
        return "the backend is not 'fast'"
    if not isinstance(getattr(type(model), "_training", None), Methods):
        return "the model is not a FullyConnectedNet"
    for owner in (model, solver):
        name = type(owner)._training.replaced_in(owner)
        if name is not None:
            return f"{type(owner).__name__}.{name} is not fastfc's own"
    model._require_consistent()
    if not any(solver.update_rule is rule for rule in RULES):
        return f"the rule {getattr(solver.update_rule, '__name__', solver.update_rule)!r} is not fastfc's own"
    if list(model.params) != list(model.params.shapes) or set(solver.optim_configs) != set(model.params):
        return "the model has other parameters than its layers'"
    if not _apart(solver.optim_configs.values()) or (model.normalization is not None and not _apart(model.bn_params)):
        return "several layers or parameters share a dictionary, or have none"
    if model.use_dropout and legacy_of(model.dropout_param):
        return "the model's dropout is that of 2017"
    for split in ("X_train", "X_val"):
        X = getattr(solver, split)
        if not readable(X):
            return f"{split} is not an array that compiled code can read as it lies"
        if X[:1].size != len(X[:1]) * model.dims[0]:
            return f"{split} does not have the network's number of features"
    if len(solver.X_train) > 2**32:
        return "there are more than 2**32 training examples"
    if not isinstance(global_bits(), np.random.MT19937):
        return "NumPy's global random stream is not MT19937"
    return None


def _apart(holders: Any) -> bool:
    """Whether these are dictionaries, no two of them the same object."""
    holders = list(holders)
    return all(isinstance(each, MutableMapping) for each in holders) and len(set(map(id, holders))) == len(holders)


def entries_of(configs: Any) -> list[Any]:
    """A rule's dictionaries, and their keys and values, in order."""
    return [part for config in configs.values() for part in (config, *config, *config.values())]


def are_same(some: list[Any], others: list[Any]) -> bool:
    """Whether these are the same objects."""
    return len(some) == len(others) and all(map(operator.is_, some, others))


def frame_of(solver: Any) -> tuple:
    """The sizes, threads and kinds of operations that a run is made for, and the objects that it writes to."""
    model = solver.model
    return (
        id(model), id(model.params.flat), model.normalization, model.activation, int(solver.batch_size),
        solver.update_rule, solver.threads, get_num_threads(), solver.max_norm is not None, solver.accumulate,
    )  # fmt: skip
