"""Gradients that a plan accumulates over several batches, handed over to a training's state and back."""

import numpy as np

from fastfc.training.gradients import Accumulated
from fastfc.training.memory import GROUP_ENDS, GROUP_WEIGHT, SUMS, Plan
from fastfc.training.network import Network

__all__ = ["accumulated_in", "set_accumulated"]


def accumulated_in(plan: Plan, model: Network) -> Accumulated:
    """A copy of the gradients since the last update."""
    group = _groups(plan)[0]
    weight = 0.0 if group[GROUP_ENDS] != 0 else float(group[GROUP_WEIGHT])
    return Accumulated({name: view.copy() for name, view in _views(plan, model).items()} if weight > 0 else {}, weight)


def set_accumulated(plan: Plan, model: Network, accumulated: Accumulated) -> None:
    """Go on with these gradients."""
    plan.accumulated[:] = 0
    for name, view in _views(plan, model).items() if accumulated.sums else ():
        view[:] = accumulated.sums[name]
    for group in _groups(plan):
        group[[GROUP_WEIGHT, GROUP_ENDS]] = accumulated.weight, 0


def _groups(plan: Plan) -> list[np.ndarray]:
    """Where each thread stands in a group of batches."""
    return [thread.sums[2 * SUMS :] for thread in plan.threads]


def _views(plan: Plan, model: Network) -> dict[str, np.ndarray]:
    params = model.params
    return {
        name: plan.accumulated[start : start + params[name].size].reshape(params.shapes[name])
        for name, start in params.offsets.items()
    }
