"""The trainings of a sweep: a grid, a list or a sampler becomes options and seeds, each pair with its key."""

import dataclasses
import inspect
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fastfc import optim
from fastfc._plateau import plateau_of
from fastfc._ranges import require_count
from fastfc.classifiers._network import one_of
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.initializers import INITIALIZERS
from fastfc.ops.losses import LOSSES, Loss
from fastfc.ops.rules import RULES
from fastfc.training.options import OPTIONS, check_options

__all__ = ["Job", "expanded", "jobs_of", "key_of", "plain", "split", "text_of"]

# Their names until 2020, and what a sweep does itself.
_NOT_OF_THE_NETWORK = {"self", "seed", "rng", "dropout", "use_batchnorm", "legacy"}
_NETWORK = {
    name: parameter.default
    for name, parameter in inspect.signature(FullyConnectedNet).parameters.items()
    if name not in _NOT_OF_THE_NETWORK
}
_NETWORK |= {"hidden_dims": (100,), "input_dim": None, "num_classes": None, "initializer": None, "standardize": False}
_NETWORK["standardize_targets"] = False
_OF_THE_SOLVER = (
    "update_rule", "optim_config", "lr_decay", "schedule", "max_norm", "max_value", "accumulate", "batch_size",
    "num_epochs", "sampler",
)  # fmt: skip
_TRAINING = {name: OPTIONS[name].default for name in _OF_THE_SOLVER} | {"sampler": "permutation"}


@dataclasses.dataclass(frozen=True)
class Job:
    """One training of a sweep: its place, its options as they were given, its seed, and its key."""

    index: int
    options: dict[str, Any]
    seed: int
    key: str


def expanded(trainings: Any, count: int | None, sampler_seed: int) -> Iterator[dict[str, Any]]:
    """The options of each training that a grid, a list or a sampler stands for."""
    if isinstance(trainings, Mapping):
        if count is not None:
            raise ValueError(f"count: expected None with a grid, all of whose combinations are trained, got {count}")
        choices = [list(v) if isinstance(v, (list, range, np.ndarray)) else [v] for v in trainings.values()]
        for name, values in zip(trainings, choices, strict=True):
            if not values:
                raise ValueError(f"trainings: expected at least one value of {name!r}, got none")
        yield from (dict(zip(trainings, values, strict=True)) for values in itertools.product(*choices))
        return
    drawn: Iterable[Any]
    if callable(trainings):
        if count is None:
            raise ValueError("count: expected how many options the sampler is to draw, got None")
        rng = np.random.default_rng(sampler_seed)
        drawn = (trainings(rng) for _ in range(count))
    elif isinstance(trainings, Iterable) and not isinstance(trainings, (str, bytes)):
        drawn = itertools.islice(trainings, count)
    else:
        raise TypeError(f"trainings: expected a dictionary, a list or a sampler of options, got {trainings!r:.80}")
    for options in drawn:
        if not isinstance(options, Mapping):
            raise TypeError(f"trainings: expected dictionaries of options, got {options!r:.80}")
        yield dict(options)


def jobs_of(
    trainings: Any, seeds: Any, count: int | None, sampler_seed: int, check: Callable[[Mapping[str, Any]], object]
) -> list[Job]:
    """All trainings of a sweep, checked; one that is there twice is one."""
    if count is not None:
        require_count("count", count, 1)
    chosen = _seeds_of(seeds)
    found: dict[str, Job] = {}
    for options in expanded(trainings, count, sampler_seed):
        check(options)
        for seed in chosen:
            key = key_of(options, seed)
            if key not in found:
                found[key] = Job(len(found), options, seed, key)
            elif other := _other_function(options, found[key].options):
                raise ValueError(f"trainings: expected functions of different names, got two that are {other}")
    if not found:
        raise ValueError("trainings: expected at least one, got none")
    return list(found.values())


def _seeds_of(seeds: Any) -> list[int]:
    if not isinstance(seeds, Iterable):
        require_count("seeds", seeds, 1)
        return list(range(int(seeds)))
    found = list(seeds)
    for seed in found:
        require_count("seeds", seed, 0)
        if seed >= 2**32:
            raise ValueError(f"seeds: expected integers below 2**32, got {seed}")
        if found.count(seed) > 1:
            raise ValueError(f"seeds: expected each one once, got {seed} {found.count(seed)} times")
    if not found:
        raise ValueError("seeds: expected at least one, got none")
    return [int(seed) for seed in found]


def key_of(options: Mapping[str, Any], seed: int) -> str:
    """The text by which a training is known: its options in the order of their names, and its seed."""
    return json.dumps([_exact(options), seed], sort_keys=True)


def text_of(options: Mapping[str, Any]) -> str:
    """The text by which a choice of options is known, whatever the seed."""
    return json.dumps(_exact(options), sort_keys=True)


def _exact(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as JSON has them, with NaN and infinities, which a reader of JSON may refuse, as they are."""
    found = {}
    for name, value in options.items():
        try:
            found[str(name)] = plain(value, finite=False)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error
    return found


def _other_function(options: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """The name that functions among options of equal text share; empty if they are the same functions."""
    for name, value in options.items():
        if callable(value) and value is not others[name] and value != others[name]:
            return plain(value)
    return ""


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the network and those of the training, with the defaults of what is missing.

    A name of the update rule's hyperparameters, such as ``learning_rate``, is one of ``optim_config``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, or an option of the training that is out of range.
    """
    rule = options.get("update_rule", OPTIONS["update_rule"].default)
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"update_rule: expected one of {', '.join(RULES)}, got {rule!r}")
    numbers = [name for name in RULES[rule].defaults if name != "t"]
    for name in options:
        if name not in _NETWORK and name not in _TRAINING and name not in numbers:
            known = ", ".join([*_NETWORK, *_TRAINING, *numbers])
            raise ValueError(f"trainings: expected options among {known}, got {name!r}")
    network = {name: options.get(name, default) for name, default in _NETWORK.items()}
    training = {name: options.get(name, default) for name, default in _TRAINING.items()}
    check_options({name: training[name] for name in _OF_THE_SOLVER if name != "update_rule"})
    if plateau_of(training["schedule"]) is not None:
        raise ValueError(f"schedule: expected one that goes by steps, or None, got {training['schedule']!r}")
    for name in numbers:
        if name in options and name in training["optim_config"]:
            raise ValueError(f"{name}: expected as an option or in optim_config, got it in both")
    config = {**training["optim_config"], **{name: options[name] for name in numbers if name in options}}
    for name in config:
        if name not in numbers:
            raise ValueError(f"optim_config: expected names among {', '.join(numbers)} for {rule}, got {name!r}")
    optim.checked_config(rule, {**config}, np.zeros(1), np.zeros(1))
    if training["num_epochs"] < 1:
        raise ValueError(f"num_epochs: expected an integer of at least 1, got {training['num_epochs']}")
    if not isinstance(network["standardize"], bool) and network["standardize"] != "pictures":
        raise ValueError(f"standardize: expected True, False or 'pictures', got {network['standardize']!r}")
    one_of("loss", network["loss"], LOSSES)
    _require_scalable(network["standardize_targets"], LOSSES[network["loss"]])
    if network["initializer"] is not None:
        one_of("initializer", network["initializer"], INITIALIZERS)
    return network, {**training, "optim_config": config}


def _require_scalable(standardize_targets: Any, loss: Loss) -> None:
    if not isinstance(standardize_targets, bool):
        raise ValueError(f"standardize_targets: expected True or False, got {standardize_targets!r}")
    if standardize_targets and loss.link != "identity":
        raise ValueError(
            f"standardize_targets: expected False with the loss {loss.name!r}, whose targets have no scale"
        )


def plain(value: Any, finite: bool = True) -> Any:
    """A value as JSON has it; a function or a dtype is its name, a number that is not finite None, if `finite`.

    Raises TypeError for a value that JSON cannot hold.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return None if finite and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        return {str(name): plain(each, finite) for name, each in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(each, finite) for each in value]
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {type(value).__name__: plain(fields, finite)}
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"expected a value that JSON can hold, got {value!r:.80}")
