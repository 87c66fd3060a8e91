"""Networks as PyTorch's ``state_dict`` has them, without PyTorch: arrays under the names of an ``nn.Sequential``.

The modules of a hidden layer are Linear, BatchNorm1d or LayerNorm, the activation, Dropout, as far as the network has
them; the last layer is a Linear. They are counted from 0, so that the arrays of a network with batch normalization
are ``0.weight, 0.bias, 1.weight, 1.bias, 1.running_mean, 1.running_var, 1.num_batches_tracked, 3.weight, 3.bias``.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc._arguments import number
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.atomic import replaced_file
from fastfc.formats.export.description import Description, array_names, describe, make_network, refused, unpack
from fastfc.formats.export.estimators import network_of
from fastfc.formats.npz import read_npz

__all__ = ["from_file", "from_torch_state", "read", "state_of", "to_torch_state", "write"]

#: fastfc's kind of array -> PyTorch's.
_KINDS = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
}
_STANDARDIZATION = ("input_mean", "input_scale")


def to_torch_state(net: FullyConnectedNet | Any) -> dict[str, NDArray[Any]]:
    """A network's arrays as ``nn.Sequential(...).state_dict()`` has them.

    The modules of a hidden layer are ``Linear``, then ``BatchNorm1d`` or ``LayerNorm`` if the network has a
    normalization, the activation, and ``Dropout`` if it has dropout; the last module is a ``Linear``.

    Parameters
    ----------
    net : FullyConnectedNet, Network, or a fitted MLPClassifier or MLPRegressor
        As for :func:`fastfc.export`.

    Returns
    -------
    dict of str to array
        Copies, in PyTorch's order. Weights are transposed: (outputs, inputs). ``num_batches_tracked`` is 0.

    Raises
    ------
    TypeError, ValueError
        As for :func:`fastfc.export`.

    Notes
    -----
    A state has no numbers but its arrays. Give the modules of a normalization ``eps=1e-5``, or the network's own if it
    has another; the momentum m of a network is ``momentum=1 - m`` in PyTorch. PyTorch updates ``running_var`` with the
    unbiased variance of a batch, fastfc with the biased one as the course does; the array is copied as it is, and
    predicts the same. The standardization of inputs is not part of the state either: ``input_mean`` and ``input_scale``
    are applied before.

    Examples
    --------
    >>> from fastfc import FullyConnectedNet, to_torch_state
    >>> state = to_torch_state(FullyConnectedNet([8], input_dim=4, num_classes=3))
    >>> {name: array.shape for name, array in state.items()}
    {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (3, 8), '2.bias': (3,)}
    """
    return state_of(describe(network_of(net)))


def state_of(description: Description) -> dict[str, NDArray[Any]]:
    """The state of a described network: see :func:`to_torch_state`."""
    d = description
    state: dict[str, NDArray[Any]] = {}
    module = 0
    for i in range(1, d.layers + 1):
        for name in array_names(d.layers, d.normalization, i):
            if name == f"gamma{i}":
                module += 1
            # Of a vector, .T is the vector.
            state[f"{module}.{_KINDS[name.rstrip('0123456789')]}"] = np.array(d.arrays[name].T, order="C")
        if f"{module}.running_var" in state:
            state[f"{module}.num_batches_tracked"] = np.array(0, np.int64)
        # The activation, and dropout.
        module += 2 if d.dropout_keep_ratio == 1 else 3
    return state


def from_torch_state(
    state: Mapping[str, Any],
    *,
    activation: str = "relu",
    loss: str = "softmax",
    eps: float = 1e-5,
    momentum: float = 0.1,
    dropout_keep_ratio: float = 1,
) -> FullyConnectedNet:
    """Make a network of the ``state_dict`` of a PyTorch model.

    The model is a stack of ``Linear`` modules, each but the last one followed by one ``BatchNorm1d``, or each by one
    ``LayerNorm``, or none by any, and by the same activation. If the modules are numbered, that is their order, else it
    is the dictionary's. Files of safetensors have names in alphabetical order: see that it is the model's too.

    Parameters
    ----------
    state : mapping of str to array or tensor
        In PyTorch's shapes: a weight, ``"<module>.weight"``, is (outputs, inputs). Tensors may be on any device. A bias
        or scale that a module was made without is taken for zeros or ones. A state does not say which modules it is
        of: a normalization after the activation looks like one before it, PReLU and RMSNorm like a LayerNorm without
        bias, and a BatchNorm1d without running statistics like a LayerNorm.
    activation, loss : str
        As for :class:`fastfc.FullyConnectedNet`: a state does not say them. A model with one output needs
        ``loss="logistic"``, ``"squared"`` or another that does not tell classes apart.
    eps, momentum : float
        Of the normalization, as PyTorch defines them: the running statistics move by the share `momentum`.
    dropout_keep_ratio : float
        1 - p of the model's dropout, for a training that goes on.

    Returns
    -------
    FullyConnectedNet
        In float64 if one of the arrays is, else in float32. NumPy's global random stream stays where it is.

    Raises
    ------
    ValueError
        If the arrays are not those of such a stack, in which case the message names the module, or an option is out
        of range.
    TypeError
        If `state` is no mapping with names, or a number is none.

    Examples
    --------
    >>> from fastfc import FullyConnectedNet, from_torch_state, to_torch_state
    >>> net = FullyConnectedNet([8, 8], input_dim=4, num_classes=3, normalization="layernorm")
    >>> from_torch_state(to_torch_state(net)).dims
    [4, 8, 8, 3]
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise TypeError(
            "state: expected arrays or tensors by name, as model.state_dict() gives them, got "
            f"{type(state).__name__}{' with other keys' if isinstance(state, Mapping) else ''}"
        )
    arrays, layers, normalization = _own_names({name: _array(name, value) for name, value in state.items()})
    return make_network(
        arrays,
        layers,
        normalization,
        activation=activation,
        loss=loss,
        eps=eps,
        momentum=1 - number("momentum", momentum),
        dropout_keep_ratio=dropout_keep_ratio,
    )


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except TypeError as error:
        # NumPy has no bfloat16, for one.
        raise ValueError(
            f"state[{name!r}]: expected numbers that NumPy has, got {getattr(value, 'dtype', type(value).__name__)}; "
            "tensor.float() converts them"
        ) from error
    if array.dtype.kind != "f" and not name.endswith("num_batches_tracked"):
        raise ValueError(f"state[{name!r}]: expected floating-point numbers, got dtype {array.dtype}")
    return array


def _own_names(state: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], int, str | None]:
    """fastfc's names for a state's arrays, the number of layers, and the normalization."""
    modules: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in state.items():
        module, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        if kind not in _KINDS.values():
            raise ValueError(f"state: expected the arrays of Linear, BatchNorm1d and LayerNorm, got {name!r:.80}")
        modules.setdefault(module, {})[kind] = array
    own: dict[str, NDArray[Any]] = {}
    layer, normalizations = 0, {}
    for module in _in_order(list(modules)):
        found = modules[module]
        weight = found.get("weight")
        if weight is not None and weight.ndim == 2 and weight.size and "running_mean" not in found:
            layer += 1
            own[f"W{layer}"], own[f"b{layer}"] = weight.T, found.get("bias", np.zeros(len(weight), weight.dtype))
        elif layer and layer not in normalizations and all(array.ndim == 1 for array in found.values()):
            normalizations[layer] = "batchnorm" if "running_mean" in found else "layernorm"
            own |= _normalization(module, found, layer)
        else:
            shapes = {kind: array.shape for kind, array in found.items()}
            raise ValueError(
                f"state: expected Linear modules with at most one normalization between, got {module!r:.80} "
                f"with {shapes}"
            )
    kinds = set(normalizations.values())
    if not layer or len(kinds) > 1 or (kinds and sorted(normalizations) != list(range(1, layer))):
        raise ValueError(
            f"state: expected Linear modules, each but the last one with the same normalization or none with any; got "
            f"{layer}, with {normalizations or 'none'}"
        )
    return own, layer, kinds.pop() if kinds else None


def _normalization(module: str, found: Mapping[str, NDArray[Any]], layer: int) -> dict[str, NDArray[Any]]:
    first = next(iter(found.values()))
    own = {
        f"gamma{layer}": found.get("weight", np.ones_like(first)),
        f"beta{layer}": found.get("bias", np.zeros_like(first)),
    }
    if "running_mean" in found:
        if "running_var" not in found:
            raise ValueError(f"state: {module!r:.80} has a running_mean, but no running_var")
        own |= {f"{kind}{layer}": found[kind] for kind in ("running_mean", "running_var")}
    return own


def _in_order(modules: list[str]) -> list[str]:
    """Modules by their numbers, if that is what they are called below a common name; else as they come.

    Names in alphabetical order were sorted, as safetensors does: there, too, fc2 comes before fc10.
    """
    matches = [re.fullmatch(r"(.*\.|)(\d{1,9})", module) for module in modules]
    if all(matches) and len({match[1] for match in matches if match}) == 1:
        return sorted(modules, key=lambda module: int(module.rpartition(".")[2]))
    if modules == sorted(modules):
        return sorted(modules, key=_by_numbers)
    return modules


def _by_numbers(name: str) -> list[str | int]:
    """A key that sorts names, and numbers within them by their values."""
    return [int(part) if part.isascii() and part.isdecimal() else part for part in re.split(r"([0-9]{1,9})", name)]


#: Of what a file of another program lacks.
WHAT_IT_SAYS = "which says what network it is, as in files of fastfc.export; fastfc.from_torch_state reads other states"


def write(description: Description, path: str) -> list[str]:
    """Write an ``.npz`` of the state's arrays, and of options and input standardization under names of their own."""
    arrays = state_of(description) | {"fastfc": np.array(description.options)}
    arrays |= {name: description.packed[name] for name in _STANDARDIZATION if name in description.packed}
    with replaced_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return [path]


def read(path: str) -> FullyConnectedNet:
    """Read a file that :func:`write` wrote."""
    with open(path, "rb") as file:
        arrays = read_npz(file, path, _array_kinds)
    if "fastfc" not in arrays:
        raise ValueError(f"{path}: it has no entry 'fastfc', {WHAT_IT_SAYS}")
    with refused(path):
        return from_file(str(arrays.pop("fastfc")), arrays)


def _array_kinds(name: str) -> str | None:
    if name == "fastfc":
        return "U"
    return "biuf" if name in _STANDARDIZATION or re.match(r"\d{1,9}\.", name) else None


def from_file(options: str, arrays: dict[str, NDArray[Any]]) -> FullyConnectedNet:
    """The network of a file that has a state, the standardization and the options; within :func:`refused`."""
    listed = set(json.loads(options)["arrays"])
    own, _, _ = _own_names({name: array for name, array in arrays.items() if name not in _STANDARDIZATION})
    contents = {name: arrays[name] for name in _STANDARDIZATION if name in arrays}
    for name, array in own.items():
        if not name.startswith("running_"):
            contents[f"params.{name}"] = array
        elif name in listed:
            # Else the network has never taken them.
            contents[name] = array
    net = unpack(options, contents)
    # Another program's state may leave out biases and scales; a file of fastfc's has them all.
    missing = sorted(set(state_of(describe(net))) - set(arrays))
    if missing:
        raise ValueError(f"arrays are missing: {', '.join(missing)}")
    return net
