"""Files that a training goes on from: an ``.npz`` without pickles, that holds all of a Solver but its data."""

import copy
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from fastfc import optim, schedules
from fastfc._arguments import number, require_shape
from fastfc.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from fastfc.formats.atomic import replaced_file
from fastfc.formats.model import DAMAGE, array_kinds, packed, unpacked
from fastfc.formats.npz import read_npz
from fastfc.training.batches import checked_order
from fastfc.training.engine import Trainer
from fastfc.training.gradients import Accumulated
from fastfc.training.hooks import States, load_states, states_of
from fastfc.training.options import CHANGEABLE, OPTIONS, SAVED, check_options
from fastfc.training.state import HISTORIES, SPLITS, TrainingState, stream_state

__all__ = ["digests_of", "require_savable", "resumed", "save_training"]

_FILE_FORMAT = "fastfc training 1"
_MODELS = {kind.__name__: kind for kind in (FullyConnectedNet, TwoLayerNet)}
_PLAIN = (type(None), bool, int, float, str)
#: Names of arrays, beside the model's, as far as they are fixed.
_ARRAYS = (*HISTORIES, "stream", "order")
_PREFIXES = ("best_params.", "optim_configs.", "options.", "accumulated.", "callbacks.")

# No machine has as many processors; a file that says more would start as many threads.
_MAX_THREADS = 4096

# Rows of each array whose values tell one data set from another.
_DIGESTED_ROWS = 256


Resumed = TypeVar("Resumed", bound=Trainer)


def require_savable(solver: Trainer) -> str:
    """The name of the solver's rule, if a file can hold the solver's state; else an error that says why not."""
    model = solver.model
    if type(model) not in _MODELS.values():
        raise TypeError(f"model: only {' and '.join(_MODELS)} can be saved, got {type(model).__name__}")
    if set(model.params) != set(model.params.shapes):
        raise ValueError(f"model: expected the parameters {', '.join(model.params.shapes)} and no others")
    if stream_state() is None:
        raise ValueError("NumPy's global random stream is not MT19937, and only that can be saved")
    for name, rule in vars(optim).items():
        if rule is solver.update_rule:
            return name
    raise ValueError("update_rule: only rules in fastfc.optim can be saved, which are found there by name")


def save_training(
    solver: Trainer, state: TrainingState, path: str | os.PathLike[str], stream: tuple | None = None
) -> None:
    """Write a solver and its state, with this random stream if one is given; see :meth:`fastfc.solver.Solver.save`."""
    rule = require_savable(solver)
    if state.iterations is None:
        raise ValueError("train() was interrupted amid an iteration or an accuracy check")
    arrays = {f"model.{name}": array for name, array in packed(solver.model).items()}
    if state.params is not None:
        arrays |= {f"model.params.{name}": array for name, array in state.params.items()}
    arrays |= {f"best_params.{name}": array for name, array in solver.best_params.items()}
    arrays |= {f"accumulated.{name}": array for name, array in state.accumulated.sums.items()}
    arrays |= {} if state.order is None else {"order": state.order}
    arrays |= {name: np.array(getattr(solver, name)) for name in HISTORIES}
    _, arrays["stream"], position, has_gauss, gauss = cast(tuple, stream or state.stream or stream_state())
    options: dict[str, Any] = {
        "format": _FILE_FORMAT,
        "model": type(solver.model).__name__,
        "update_rule": rule,
        "checkpoint_name": None if solver.checkpoint_name is None else os.fspath(solver.checkpoint_name),
        "autosave": solver.autosave is not None,
        "loss": solver.loss is not None,
        "options": {name: _encoded(_plain(name, solver), f"options.{name}", arrays) for name in SAVED},
        "optim_configs": _encoded(solver.optim_configs, "optim_configs", arrays),
        "epoch": int(solver.epoch),
        "iterations": state.iterations,
        "best_val_acc": float(solver.best_val_acc),
        "stream": [int(position), int(has_gauss), float(gauss)],
        "data": digests_of(solver),
        "ran": state.ran,
        "accumulated": float(state.accumulated.weight),
        "plateau": None if (plateau := solver._plateau()) is None else plateau.state_dict(),
        "callbacks": [
            [name, _encoded(held, f"callbacks.{i}", arrays), due]
            for i, (name, held, due) in enumerate(states_of(solver.callback))
        ],
    }
    options["arrays"] = sorted(arrays)
    text = json.dumps(options)
    _require_readable(text, arrays)
    arrays["options"] = np.array(text)
    with replaced_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _require_readable(text: str, arrays: dict[str, Any]) -> None:
    """ValueError for what :func:`_load` would refuse, while the older file is still there."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind not in (_kinds(name) or ""):
            raise ValueError(f"{name}: expected numbers, to be saved, got dtype {np.asarray(array).dtype}")
    try:
        with np.errstate(over="raise", invalid="raise"):
            _understood(json.loads(text), dict(arrays))
    except DAMAGE as error:
        raise ValueError(f"the training cannot be saved, as it could not go on from its file: {error}") from error


@dataclass(frozen=True)
class _Training:
    """The contents of a file."""

    model: FullyConnectedNet
    arguments: dict[str, Any]
    attributes: dict[str, Any]  # of the Solver, beside its arguments
    state: TrainingState
    digests: dict[str, str]  # of its data
    plateau: dict[str, Any] | None  # the state of a schedule that goes by the values of epochs
    callbacks: States


def resumed(
    kind: Callable[..., Resumed], path: str | os.PathLike[str], data: dict[str, np.ndarray], changes: dict[str, Any]
) -> tuple[Resumed, TrainingState]:
    """Make the solver that :func:`save_training` wrote, and its state; see :meth:`fastfc.solver.Solver.resume`."""
    fixed = [name for name in changes if name not in CHANGEABLE]
    if fixed:
        raise ValueError(f"expected only {', '.join(CHANGEABLE)} beside path and data, got {', '.join(fixed)}")
    source = os.fspath(path)
    training = _load(path)
    arguments, ran = training.arguments, training.state.ran
    if arguments.pop("loss") and changes.get("loss") is None:
        raise ValueError(f"loss: expected the function of the training, which {source} cannot hold")
    if ran is not None and ran["engine"] == "compiled":
        arguments["threads"] = ran["threads"]
    # A file does not choose where others are written: they stand beside it.
    arguments["autosave"] = path if arguments["autosave"] else None
    if arguments["checkpoint_name"] is not None:
        arguments["checkpoint_name"] = os.fspath(Path(path).parent / Path(arguments["checkpoint_name"]).name)
    try:
        solver = kind(training.model, data, **{**arguments, **changes})
    except TypeError as error:
        raise ValueError(f"{source}: cannot make its Solver ({error})") from error
    digests = digests_of(solver)
    other = [name for name in training.digests | digests if digests.get(name) != training.digests.get(name)]
    if other:
        raise ValueError(f"data: expected what {source} was trained on, got other values in {', '.join(other)}")
    for name, value in training.attributes.items():
        setattr(solver, name, value)
    if training.state.order is not None and len(training.state.order) != len(solver.X_train):
        raise ValueError(f"{source}: expected an order of {len(solver.X_train)} rows")
    try:
        if training.plateau is not None and (plateau := solver._plateau()) is not None:
            plateau.load_state_dict(training.plateau)
        load_states(solver.callback, training.callbacks)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{source}: expected states of its schedule and callbacks ({error})") from error
    return solver, training.state


def _load(path: str | os.PathLike[str]) -> _Training:
    """Read what :func:`save_training` wrote. Raises FileNotFoundError, or ValueError that names the file."""
    source = os.fspath(path)
    with open(path, "rb") as file:
        arrays = read_npz(file, source, _kinds)
    try:
        options = json.loads(str(arrays.pop("options")[()]))
        if options["format"] != _FILE_FORMAT:
            raise ValueError("another format")
        if options["arrays"] != sorted(arrays):
            raise ValueError("arrays are missing or have other names")
        with np.errstate(over="raise", invalid="raise"):
            return _understood(options, arrays)
    except DAMAGE as error:
        raise ValueError(f"{source}: not a fastfc training file, or a damaged one ({error})") from error


def _understood(options: dict[str, Any], arrays: dict[str, np.ndarray]) -> _Training:
    packed_model = {name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")}
    model = unpacked(packed_model, _MODELS[options["model"]])
    arguments = _arguments(options, arrays)
    iterations = _count("iterations", options["iterations"])
    if iterations:
        # As the last accuracy check left them.
        model._set_mode("test")
    attributes = {
        "epoch": _count("epoch", options["epoch"]),
        "best_val_acc": number("best_val_acc", options["best_val_acc"]),
        "best_params": _of_parameters("best_params", model, arrays),
        "optim_configs": _optim_configs(model, options, arrays),
    }
    for name in HISTORIES:
        require_shape(name, arrays[name], (arrays[name].size,), "one value per iteration or check")
        attributes[name] = list(arrays[name])
    stream = _stream(arrays["stream"], *options["stream"])
    if not isinstance(options["data"], dict):
        raise ValueError("data: expected digests by name")
    # A file that is older than the option has none.
    sums = _of_parameters("accumulated", model, arrays)
    weight = number("accumulated", options.get("accumulated", 0.0))
    if not 0 <= weight < float("inf") or (weight == 0) != (not sums):
        raise ValueError("accumulated: expected gradients and their positive weight, or neither")
    state = TrainingState(
        iterations, None, stream, resumes=True, ran=_ran(options["ran"]), accumulated=Accumulated(sums, weight),
        order=_order(arguments["sampler"], arrays.get("order")),
    )  # fmt: skip
    # A file that is older than them has no such states.
    plateau = options.get("plateau")
    if not isinstance(plateau, dict | None):
        raise ValueError("plateau: expected the state of a schedule")
    callbacks = [
        (str(name), _decoded(held, arrays), due[0] if due else False)
        for name, held, *due in options.get("callbacks", [])
    ]
    if not all(isinstance(held, dict) and isinstance(due, bool) for _, held, due in callbacks):
        raise ValueError("callbacks: expected dictionaries by name, and whether an epoch is due")
    if not attributes["loss_history"] and any(due for *_, due in callbacks):
        raise ValueError("callbacks: expected no epoch that is due before the first step")
    return _Training(model, arguments, attributes, state, options["data"], plateau, callbacks)


def _plain(name: str, solver: Trainer) -> Any:
    """An option as a file holds it; a schedule as a dictionary."""
    value = getattr(solver, name)
    return _from_schedule(value) if name == "schedule" and not isinstance(value, str | None) else value


def _kinds_of_schedules() -> dict[str, Any]:
    return {**schedules.SCHEDULES, "plateau": schedules.ReduceOnPlateau}


def _from_schedule(schedule: schedules.Schedule) -> dict[str, Any]:
    """A schedule of this module as a dictionary of plain values, for a file; TypeError for one of your own."""
    name = next((name for name, kind in _kinds_of_schedules().items() if type(schedule) is kind), None)
    if name is None:
        raise TypeError(f"schedule: expected one of fastfc.schedules, to be saved, got {schedule!r:.80}")
    values = {each.name: getattr(schedule, each.name) for each in fields(schedule) if each.init}  # type: ignore[arg-type]
    nested = {key: _from_schedule(value) for key, value in values.items() if isinstance(value, schedules.Schedule)}
    return {"schedule": name, **values, **nested}


def _to_schedule(values: dict[str, Any]) -> schedules.Schedule:
    """The schedule that :func:`_from_schedule` took apart; ValueError or TypeError for one that makes no sense."""
    rest = {key: _to_schedule(value) if isinstance(value, dict) else value for key, value in values.items()}
    name = rest.pop("schedule", None)
    kinds = _kinds_of_schedules()
    if name not in kinds:
        raise ValueError(f"schedule: expected one of {', '.join(map(repr, kinds))}, got {name!r:.80}")
    return kinds[name](**rest)


def _arguments(options: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The Solver's arguments, refused if it would refuse them, while the error can still name the file."""
    # An option that is younger than the file has its default.
    given = {name: _decoded(value, arrays) for name, value in options["options"].items() if name in SAVED}
    saved = {name: given.get(name, copy.copy(OPTIONS[name].default)) for name in SAVED}
    if isinstance(saved["schedule"], dict):
        saved["schedule"] = _to_schedule(saved["schedule"])
    check_options(saved)
    options = {"loss": False, **options}
    others = {}
    for name, kind in (
        ("update_rule", str),
        ("checkpoint_name", (str, type(None))),
        ("autosave", bool),
        ("loss", bool),
    ):
        if not isinstance(options[name], kind):
            raise ValueError(f"{name} is {options[name]!r:.40}")
        others[name] = options[name]
    if others["update_rule"].startswith("_") or not callable(getattr(optim, others["update_rule"], None)):
        raise ValueError(f"its rule {others['update_rule']!r:.80} is not in fastfc.optim")
    optim.check_numbers(optim.rule_of(others["update_rule"]), saved["optim_config"])
    return saved | others


def _of_parameters(kind: str, model: FullyConnectedNet, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a kind, by the names of parameters: one for each of them, or none."""
    found = {name.removeprefix(f"{kind}."): a for name, a in arrays.items() if name.startswith(f"{kind}.")}
    if found and set(found) != set(model.params):
        raise ValueError(f"{kind}: expected all of the model's parameters or none")
    for name, array in found.items():
        require_shape(f"{kind}.{name}", array, model.params[name].shape, "the model's")
    return {name: found[name].astype(model.dtype) for name in model.params if found}


def _optim_configs(
    model: FullyConnectedNet, options: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    configs = _decoded(options["optim_configs"], arrays)
    if set(configs) != set(model.params):
        raise ValueError("optim_configs: expected one for each of the model's parameters")
    if options["update_rule"] in optim.STATE:
        for name, config in configs.items():
            optim.checked_config(options["update_rule"], config, model.params[name])
    return {name: configs[name] for name in model.params}


def _stream(key: np.ndarray, position: Any, has_gauss: Any, gauss: Any) -> tuple:
    if key.dtype != np.uint32 or key.shape != (624,):
        raise ValueError("stream: expected the 624 words of MT19937")
    # NumPy believes a position whatever it is.
    if _count("stream", position) > 624 or _count("stream", has_gauss) > 1:
        raise ValueError("stream: expected a position from 0 to 624, and whether a number waits")
    return "MT19937", key.astype(np.uint32), position, has_gauss, number("stream", gauss)


def _order(sampler: str, order: np.ndarray | None) -> np.ndarray | None:
    if order is None:
        return None
    if sampler != "permutation":
        raise ValueError(f"order: expected none with the sampler {sampler!r}")
    return checked_order(order, order.size)


def _ran(ran: Any) -> dict[str, Any] | None:
    if ran is None:
        return None
    if set(ran) != {"engine", "backend", "threads"} or not isinstance(ran["engine"], str):
        raise ValueError("ran: expected engine, backend and threads")
    if not 1 <= _count("threads", ran["threads"]) <= _MAX_THREADS:
        raise ValueError(f"threads: expected 1 to {_MAX_THREADS}, got {ran['threads']}")
    return ran


def _count(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{name}: expected a count, got {value!r:.40}")
    return value


def _encoded(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` for JSON; arrays and NumPy's numbers go to `arrays` under their name."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str or not key.isidentifier():
                raise TypeError(f"{name}: expected names as keys, got {key!r}")
        return {"dict": {key: _encoded(item, f"{name}.{key}", arrays) for key, item in value.items()}}
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        arrays[name] = np.asarray(value)
        return {"array": name}
    raise TypeError(f"{name}: only numbers, strings and arrays of numbers can be saved, got {type(value).__name__}")


def _decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value that :func:`_encoded` took; NumPy's numbers come back as such."""
    if type(value) in _PLAIN:
        return value
    ((kind, item),) = value.items()
    if kind == "dict":
        return {key: _decoded(part, arrays) for key, part in item.items()}
    if kind != "array" or not item.startswith(_PREFIXES):
        raise ValueError(f"{kind!r:.40} is neither a dictionary nor an array")
    return arrays[item][()]


def _kinds(name: str) -> str | None:
    """The dtype kinds of the arrays in a file."""
    if name == "options":
        return "U"
    if name.startswith("model."):
        return array_kinds(name.removeprefix("model."))
    return "biuf" if name in _ARRAYS or name.startswith(_PREFIXES) else None


def digests_of(solver: Trainer) -> dict[str, str]:
    """A digest of each array of the solver's data: of its shape, its dtype, and the values of some rows."""
    found = {}
    for name in (*SPLITS, *(["weights_train"] if solver.weights_train is not None else [])):
        array = getattr(solver, name)
        rows = np.unique(np.linspace(0, max(len(array) - 1, 0), _DIGESTED_ROWS).astype(np.int64))[: len(array)]
        sample = np.ascontiguousarray(array[rows])
        text = f"{len(array)} {sample.shape[1:]} {sample.dtype.str} "
        found[name] = hashlib.sha256(text.encode() + sample.tobytes()).hexdigest()
    return found
