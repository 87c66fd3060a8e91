"""The rule's state, handed over to a plan."""

import numpy as np

from fastfc.optim import STATE, checked_config, complete_config
from fastfc.training.engine import Trainer
from fastfc.training.memory import Plan
from fastfc.training.network import Network
from fastfc.training.plan import parameters_of, state_arrays_of

__all__ = ["move_state"]


def move_state(plan: Plan, model: Network, solver: Trainer) -> None:
    """The rule's state moves into the plan; the Solver's configurations hold views of it."""
    params, rule = model.params, solver.update_rule.__name__
    configs = solver.optim_configs
    checked = {name: checked_config(rule, configs[name], params[name]) for name in params}
    own = {name: state_arrays_of(p, plan) for name, p in parameters_of(plan, model)}
    moved = []
    for name, states in own.items():
        for key, state in zip(STATE[rule], states, strict=True):
            view, given = state.reshape(params[name].shape), checked[name][key]
            if given.__array_interface__["data"] == view.__array_interface__["data"]:
                # It is there since the last time.
                continue
            is_new = configs[name].get(key) is None
            if not is_new and any(np.may_share_memory(given, other) for others in own.values() for other in others):
                # Of another parameter's state, which is written before it is read here.
                given = given.copy()
            moved.append((view, given))
            checked[name][key] = view
    for view, given in moved:
        view[...] = given
    for name, config in checked.items():
        complete_config(rule, configs[name], config)
