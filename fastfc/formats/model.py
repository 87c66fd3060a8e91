"""Files of networks: an ``.npz`` without pickles, that holds parameters, statistics and options."""

import itertools
import json
from typing import Any, TypeVar

import numpy as np

from fastfc._arguments import checked_reg, float_arrays, number, require_shape
from fastfc._layer_arguments import checked_dropout_param, checked_eps, checked_momentum
from fastfc.classifiers._network import DescribedNetwork
from fastfc.course.years import legacy_of
from fastfc.losses import checked_parameter
from fastfc.ops.losses import LOSSES

__all__ = [
    "DAMAGE", "NORM_NUMBERS", "STATISTICS", "array_kinds", "from_attributes", "packed", "require_in_range", "unpacked",
]  # fmt: skip

_FILE_FORMAT = "fastfc model 1"
#: Entries of a normalization's dictionary besides its mode: arrays, and numbers.
STATISTICS = ("running_mean", "running_var")
NORM_NUMBERS = ("eps", "momentum")
# Names of the columns of the training table.
_COLUMN_NAMES = ("feature_names", "target_name")

#: Errors that come of reading the contents of a damaged file.
DAMAGE = (ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)

Kind = TypeVar("Kind", bound=DescribedNetwork)


def packed(model: DescribedNetwork) -> dict[str, np.ndarray]:
    """The contents of a network's file: its arrays by name, and its options as one string.

    Raises ValueError or TypeError, which name it, for an attribute with which the file could not be read again.
    """
    if model._scoring.kept_by(model):
        model._require_consistent()
    dropout = _dropout_numbers(model.dropout_param) if model.use_dropout else {"p": 1.0, "seed": None}
    options = {
        "format": _FILE_FORMAT,
        "hidden_dims": model.dims[1:-1],
        "input_dim": model.dims[0],
        "num_classes": model.dims[-1],
        "dropout_keep_ratio": dropout["p"],
        "seed": dropout["seed"],
        "normalization": model.normalization,
        "reg": checked_reg(model.reg),
        "dtype": np.dtype(model.dtype).name,
        "class_names": _checked_class_names(model.class_names, model.dims[-1]),
        "bn_params": [_norm_numbers(bn_param) for bn_param in model.bn_params],
    }
    if model.use_dropout and legacy_of(model.dropout_param):
        options["legacy"] = legacy_of(model.dropout_param)
    # Left out where they are what they were before networks had a choice: earlier versions read such a file too.
    if model.activation != "relu":
        options["activation"] = model.activation
    parameter = checked_parameter(LOSSES[model.loss_name], model.loss_parameter)
    if model.loss_name != "softmax" or parameter != 0:
        options |= {"loss": model.loss_name, "loss_parameter": parameter}
    names = _column_names(model.feature_names, model.target_name, model.dims[0])
    options |= {key: value for key, value in names.items() if value is not None}
    arrays = {f"params.{name}": model.params[name] for name in model.params.shapes}
    for i, bn_param in enumerate(model.bn_params, start=1):
        for key in STATISTICS:
            if bn_param.get(key) is not None:
                arrays[f"{key}{i}"] = _statistic(f"bn_param['{key}']", bn_param[key], model.dims[i], model.dtype)
    for key in ("input_mean", "input_scale"):
        if getattr(model, key) is not None:
            model.per_feature(key, (model.dims[0],))
            array = np.asarray(getattr(model, key))
            # No file holds longer numbers, and none are computed with.
            arrays[key] = array if array.dtype.itemsize <= 8 else array.astype(np.float64)
    options["arrays"] = list(arrays)
    return {"options": np.array(json.dumps(options, default=int)), **arrays}


def require_in_range(model: DescribedNetwork) -> None:
    """ValueError for a standardization by numbers beyond the network's dtype, which :func:`unpacked` refuses."""
    for key in ("input_mean", "input_scale"):
        if getattr(model, key) is not None:
            values = model.per_feature(key, (model.dims[0],))
            if (np.isfinite(values) & (np.abs(values) > np.finfo(model.dtype).max)).any():
                raise ValueError(f"{key}: expected numbers within the range of {np.dtype(model.dtype)}")


def _dropout_numbers(dropout_param: Any) -> dict[str, Any]:
    """Dropout's p and seed, checked as a pass in training mode does."""
    found = checked_dropout_param({"p": 1, **dropout_param, "mode": "train"})
    seed = found["seed"]
    if seed is not None and (isinstance(seed, (bool, np.bool_)) or np.ndim(seed) != 0):
        # NumPy seeds by arrays too.
        raise ValueError(f"dropout_param['seed']: expected an integer, all that a file holds, got {seed!r:.80}")
    return {"p": found["p"], "seed": None if seed is None else int(seed)}


def _norm_numbers(bn_param: Any) -> dict[str, float]:
    """The numbers of a normalization's dictionary that a file holds."""
    found = {"eps": checked_eps("bn_param", bn_param), "momentum": checked_momentum(bn_param)}
    return {key: found[key] for key in NORM_NUMBERS if key in bn_param}


def _statistic(name: str, value: Any, width: int, dtype: Any) -> np.ndarray:
    """A running statistic (width,), as a pass takes it."""
    (array,), _ = float_arrays(**{name: value})
    require_shape(name, array, (width,), "one value per feature")
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def unpacked(arrays: dict[str, np.ndarray], kind: type[Kind]) -> Kind:
    """The network that :func:`packed` took apart; one of DAMAGE if the arrays make no sense."""
    arrays = dict(arrays)
    with _numbers_that_fit():
        return _made_from(json.loads(str(arrays.pop("options")[()])), arrays, kind)


def from_attributes(kind: type[Kind], attributes: dict[str, Any]) -> Kind:
    """The network whose ``vars()`` these are, each of them checked; one of DAMAGE if they make no sense."""
    rest = dict(attributes)
    dims, dropout_param, bn_params = rest.pop("_dims"), rest.pop("dropout_param"), rest.pop("bn_params")
    arrays = {f"params.{name}": array for name, array in rest.pop("_params").items()}
    for i, bn_param in enumerate(bn_params, start=1):
        arrays |= {f"{key}{i}": bn_param[key] for key in STATISTICS if key in bn_param}
    arrays |= {key: np.asarray(rest[key]) for key in ("input_mean", "input_scale") if rest[key] is not None}
    options = {
        "format": _FILE_FORMAT,
        "hidden_dims": dims[1:-1],
        "input_dim": dims[0],
        "num_classes": dims[-1],
        "dropout_keep_ratio": dropout_param.get("p", 1),
        "seed": dropout_param.get("seed"),
        **{key: rest.pop(key) for key in ("normalization", "reg", "dtype", "class_names")},
        **{key: rest.pop(key, None) for key in _COLUMN_NAMES},
        "activation": rest.pop("activation", "relu"),
        "loss": rest.pop("loss_name", "softmax"),
        "loss_parameter": rest.pop("loss_parameter", 0.0),
        "bn_params": bn_params,
        "arrays": list(arrays),
    }
    if dropout_param.get("legacy"):
        options["legacy"] = dropout_param["legacy"]
    with _numbers_that_fit():
        net = _made_from(options, arrays, kind)
    for mine, theirs in zip([net.dropout_param, *net.bn_params], [dropout_param, *bn_params], strict=True):
        if "mode" in theirs:
            mine["mode"] = theirs["mode"]
    for name in set(rest) - set(vars(net)):
        # Of the user's making; but nothing that stands in a method's place.
        if hasattr(kind, name):
            raise ValueError(f"{name} is not an attribute that a network has of its own")
        setattr(net, name, rest[name])
    return net


def _made_from(options: dict[str, Any], arrays: dict[str, np.ndarray], kind: type[Kind]) -> Kind:
    """The network that the contents of a file describe; any of a handful of errors if they make no sense."""
    if options.pop("format") != _FILE_FORMAT:
        raise ValueError("another format")
    if set(options.pop("arrays")) != set(arrays):
        raise ValueError("arrays are missing or have other names")
    class_names, bn_params = options.pop("class_names"), options.pop("bn_params")
    feature_names, target_name = (options.pop(key, None) for key in _COLUMN_NAMES)
    params = {name.removeprefix("params."): array for name, array in arrays.items() if name.startswith("params.")}
    # Before any memory is taken: the sizes that the options ask for are those of the arrays at hand.
    dims = [options["input_dim"], *options["hidden_dims"], options["num_classes"]]
    for i, shape in enumerate(itertools.pairwise(dims), start=1):
        require_shape(f"W{i}", params[f"W{i}"], shape, "the widths of its layers")
    net = kind.__new__(kind)
    net._build(**options)
    net.params = params
    net.class_names = _checked_class_names(class_names, dims[-1])
    for key, value in _column_names(feature_names, target_name, dims[0]).items():
        setattr(net, key, value)
    for i, (bn_param, numbers) in enumerate(zip(net.bn_params, bn_params, strict=True), start=1):
        bn_param.update({key: number(key, numbers[key]) for key in NORM_NUMBERS if key in numbers})
        for key in STATISTICS:
            if f"{key}{i}" in arrays:
                require_shape(f"{key}{i}", arrays[f"{key}{i}"], (dims[i],), "one value per feature")
                bn_param[key] = arrays[f"{key}{i}"].astype(net.dtype)
    for name in ("input_mean", "input_scale"):
        if name in arrays:
            setattr(net, name, arrays[name])
            # An error for numbers beyond its dtype.
            net.per_feature(name, (dims[0],)).astype(net.dtype)
    return net


def _checked_class_names(names: Any, count: int) -> list[str] | None:
    """Names as a list of `count` strings, or None."""
    return _checked_names("class_names", names, count)


def _column_names(feature_names: Any, target_name: Any, inputs: int) -> dict[str, Any]:
    """The names of a table's columns as a file holds them, checked."""
    if not (target_name is None or isinstance(target_name, str)):
        raise ValueError(f"target_name: expected a string, got {target_name!r:.80}")
    return dict(zip(_COLUMN_NAMES, (_checked_names("feature_names", feature_names, inputs), target_name), strict=True))


def _checked_names(argument: str, names: Any, count: int) -> list[str] | None:
    if names is None:
        return None
    if not isinstance(names, (list, tuple)) or len(names) != count or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{argument}: expected {count} strings in a list, got {names!r:.80}")
    return list(names)


def _numbers_that_fit() -> np.errstate:
    """Within it, a number beyond the range of the dtype that it is cast to is an error."""
    return np.errstate(over="raise", invalid="raise")


def array_kinds(name: str) -> str | None:
    """The dtype kinds of the arrays in a model's file."""
    if name == "options":
        return "U"
    return "biuf" if name.startswith(("params.", "running_", "input_")) else None
