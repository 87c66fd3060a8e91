"""Running statistics: between the dictionaries of a network and the memory of a run."""

import numpy as np

from fastfc._layer_arguments import batchnorm_param, layernorm_param
from fastfc.training.memory import Layer, Plan
from fastfc.training.network import Network

__all__ = ["checked_statistics", "complete_statistics", "write_back_statistics"]

_STATISTICS = ("running_mean", "running_var")


def _normalized(plan: Plan, model: Network) -> list[Layer]:
    """The layers that are normalized, in the order of the model's ``bn_params``."""
    return [] if model.normalization is None else plan.layers[:-1]


def checked_statistics(plan: Plan, model: Network) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where the plan has the running statistics, and their values in the model's dictionaries; numbers are copied."""
    found = []
    for layer, param in zip(_normalized(plan, model), model.bn_params, strict=False):
        if model.normalization == "layernorm":
            layer.eps = layernorm_param(param, layer.gamma.value)["eps"]
            continue
        checked = batchnorm_param({**param, "mode": "train"}, plan.batch, layer.gamma.value)
        layer.eps, layer.momentum = checked["eps"], checked["momentum"]
        found += [(getattr(layer, key), checked[key]) for key in _STATISTICS]
    return found


def complete_statistics(model: Network) -> None:
    """Make every entry of the model's ``bn_params`` present; its running statistics are arrays of its own then."""
    for i, param in enumerate(model.bn_params, start=1):
        gamma = model.params[f"gamma{i}"]
        if model.normalization == "batchnorm":
            checked = batchnorm_param({**param, "mode": "train"}, 1, gamma)
            param.update(checked, **{key: np.array(checked[key]) for key in _STATISTICS})
        else:
            param.update(layernorm_param(param, gamma))


def write_back_statistics(plan: Plan, model: Network) -> None:
    """Put copies of the running statistics into the model's dictionaries."""
    if model.normalization == "batchnorm":
        for layer, param in zip(_normalized(plan, model), model.bn_params, strict=True):
            param.update({key: getattr(layer, key).copy() for key in _STATISTICS})
