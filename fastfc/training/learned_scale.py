"""Factors of the features that a training learns beside the parameters: their memory between the calls."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastfc._runtime.record import Table
from fastfc.ops.rules import MOST_HYPERPARAMETERS
from fastfc.training.compiling import address
from fastfc.training.memory import Plan, Scaling
from fastfc.training.network import Network
from fastfc.training.plan import RULES

__all__ = ["LearnedScale", "require_learnable"]


class LearnedScale:
    """A network's ``input_scale``, which the rule updates as it does the parameters, where the plan has it.

    Parameters
    ----------
    net : Network
    plan : Plan
        Of a training in one thread.
    rule : function
        An update rule of :mod:`fastfc.optim`.
    config : dict
        The rule's hyperparameters; what is missing is its default.
    """

    def __init__(self, net: Network, plan: Plan, rule: Callable[..., Any], config: Mapping[str, float]) -> None:
        record, numbers, features = RULES[rule], np.zeros(MOST_HYPERPARAMETERS), plan.features
        values = {**record.defaults, **config}
        numbers[: len(record.defaults)] = [values[name] for name in record.defaults]
        # Where the rule has the count of updates, if it has one.
        self._t = list(record.defaults).index("t") if "t" in record.defaults else None
        self._table = Table(Scaling, plan.dtype, [{
            "scale": plan.input_scale,
            "state": np.zeros(len(record.state) * features, plan.dtype),
            "gradient": np.zeros(features, plan.dtype),
            "products": np.zeros(plan.batch * features, plan.dtype),
            "X": net.params.flat[:0],
            "hyperparameters": numbers,
            "rate": numbers[0],
            "rates": np.zeros(0),
        }])  # fmt: skip

    def attributes(self, X: np.ndarray, rates: np.ndarray, updates: int) -> dict[str, Any]:
        """Of a job on examples X (N, ...), with the factors of the steps' learning rates, after so many updates."""
        (scaling,) = self._table
        scaling.X, scaling.rates = X.reshape(-1), rates
        if self._t is not None:
            scaling.hyperparameters[self._t] = updates
        return {"learn_scale": address("learn_scale", scaling.dtype), "scaling": self._table}


def require_learnable(net: Network, threads: int, accumulate: int, max_norm: float) -> bool:
    """True; ValueError unless a training with these options can learn the network's ``input_scale``."""
    if threads > 1 or accumulate > 1 or max_norm > 0 or net.input_scale is None:
        raise ValueError("scale_config: expected threads=1, accumulate=1, max_norm=0 and a net with an input_scale")
    return True
