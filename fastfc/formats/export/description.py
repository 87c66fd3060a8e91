"""A trained network as every other format needs it: widths, arrays, and what the test mode computes of them."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastfc._arguments import number
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.model import DAMAGE, packed, unpacked
from fastfc.ops.losses import LOSSES

__all__ = [
    "Description",
    "activation_in",
    "array_names",
    "checked_input_dtype",
    "describe",
    "make_network",
    "refused",
    "unpack",
]

Form = TypeVar("Form")

#: The value that `eps` of a normalization has by default.
EPS = 1e-5


@dataclass(frozen=True)
class Description:
    """A network in test mode.

    A hidden layer computes ``activation(normalized(x @ W + b))``, the last one ``x @ W + b``: the scores.

    Attributes
    ----------
    dims : tuple of int
        Input width, hidden widths, number of outputs.
    activation : str
    normalization : {None, "batchnorm", "layernorm"}
    eps : tuple of float
        One per hidden layer, or none without normalization.
    output : {"softmax", "logistic", "exp", "identity"}
        The function that makes predictions of scores.
    labels : bool
        Whether the class with the highest score is the prediction.
    dropout_keep_ratio : float
    dtype : dtype
        float32 or float64.
    arrays : dict of str to array
        ``W1, b1, ...`` and, on hidden layers, ``gamma1, beta1, running_mean1, running_var1`` as far as the
        normalization has them, in the network's dtype.
    input_mean, input_scale : float64 array (dims[0],) or None
        An example enters as ``(x - input_mean) * input_scale``.
    class_names : list of str or None
    packed : dict of str to array
        The contents of the network's own ``.npz`` file.
    """

    dims: tuple[int, ...]
    activation: str
    normalization: str | None
    eps: tuple[float, ...]
    output: str
    labels: bool
    dropout_keep_ratio: float
    dtype: np.dtype[Any]
    arrays: dict[str, NDArray[Any]]
    input_mean: NDArray[np.float64] | None
    input_scale: NDArray[np.float64] | None
    class_names: list[str] | None
    packed: dict[str, NDArray[Any]]

    @property
    def layers(self) -> int:
        return len(self.dims) - 1

    @property
    def standardizes(self) -> bool:
        return self.input_mean is not None or self.input_scale is not None

    @property
    def options(self) -> str:
        """The options in the network's file, a JSON text, from which :func:`unpack` makes the network again."""
        return str(self.packed["options"][()])


def describe(net: FullyConnectedNet) -> Description:
    """The network as it predicts now.

    Raises
    ------
    TypeError
        If `net` is no FullyConnectedNet, or computes scores by methods of its own.
    ValueError
        If its attributes do not fit its parameters.
    """
    if not isinstance(net, FullyConnectedNet):
        raise TypeError(
            f"net: expected a FullyConnectedNet, a Network or a fitted multi-layer perceptron, got {type(net).__name__}"
        )
    replaced = net._training.replaced_in(net)
    if replaced is not None:
        raise TypeError(f"net: expected a FullyConnectedNet's own methods, got another {replaced}, which has no export")
    contents, loss = packed(net), LOSSES[net.loss_name]
    dtype = np.dtype(net.dtype)
    arrays = {name: net.params[name] for name in net.params.shapes}
    if net.normalization == "batchnorm":
        for i, param in enumerate(net.bn_params, start=1):
            for key in ("running_mean", "running_var"):
                # In test mode statistics that were never taken are zeros.
                arrays[f"{key}{i}"] = np.asarray(param.get(key, np.zeros(net.dims[i])), dtype)
    return Description(
        dims=tuple(net.dims),
        activation=net.activation,
        normalization=net.normalization,
        eps=tuple(float(param.get("eps", EPS)) for param in net.bn_params),
        output=loss.link,
        labels=loss.labels,
        dropout_keep_ratio=_keep_ratio(net),
        dtype=dtype,
        arrays=arrays,
        input_mean=_per_feature(net, "input_mean"),
        input_scale=_per_feature(net, "input_scale"),
        class_names=net.class_names,
        packed=contents,
    )


def activation_in(forms: Mapping[str, Form], description: Description) -> Form:
    """The form that the network's activation has in a format; ValueError if it has none there."""
    if description.activation not in forms:
        raise ValueError(
            f"net: expected an activation that the format has, one of {', '.join(map(repr, forms))}, got "
            f"{description.activation!r}"
        )
    return forms[description.activation]


def _keep_ratio(net: FullyConnectedNet) -> float:
    if not net.use_dropout:
        return 1.0
    p = float(net.dropout_param["p"])
    return 1 - p if net.dropout_param.get("legacy") else p


def _per_feature(net: FullyConnectedNet, name: str) -> NDArray[np.float64] | None:
    if getattr(net, name) is None:
        return None
    return np.broadcast_to(net.per_feature(name, (net.dims[0],)), (net.dims[0],))


def checked_input_dtype(description: Description, input_dtype: DTypeLike | None) -> np.dtype[Any]:
    """The dtype of examples: the network's unless another is asked for.

    Raises
    ------
    ValueError
        If it is none of the two, or the standardization is beyond its range.
    """
    try:
        dtype = description.dtype if input_dtype is None else np.dtype(input_dtype)
    except (SyntaxError, TypeError, ValueError):
        dtype = None
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"input_dtype: expected float32 or float64, got {input_dtype!r}")
    largest = np.finfo(dtype).max
    for name in ("input_mean", "input_scale"):
        per_feature = getattr(description, name)
        if per_feature is not None and np.abs(per_feature).max() > largest:
            raise ValueError(f"input_dtype: expected float64, as {name} is beyond the range of float32, got {dtype}")
    return dtype


def array_names(layers: int, normalization: str | None, i: int) -> list[str]:
    """The names of layer i's arrays, 1 to `layers`."""
    names = [f"W{i}", f"b{i}"]
    if normalization is not None and i < layers:
        names += [f"gamma{i}", f"beta{i}"]
        if normalization == "batchnorm":
            names += [f"running_mean{i}", f"running_var{i}"]
    return names


@contextlib.contextmanager
def refused(source: str, *more: type[Exception], what: str = "a fastfc model") -> Iterator[None]:
    """Turn errors that come of damaged contents, and `more` of them, into a ValueError that names the file."""
    errors: tuple[type[Exception], ...] = (*DAMAGE, *more)
    try:
        yield
    except errors as error:
        raise ValueError(f"{source}: not {what}, or a damaged one ({error})") from error


def unpack(options: str, arrays: dict[str, NDArray[Any]]) -> FullyConnectedNet:
    """The network of :attr:`Description.options` and of its file's arrays; within :func:`refused`."""
    return unpacked({"options": np.array(options), **arrays}, FullyConnectedNet)


def make_network(
    arrays: dict[str, NDArray[Any]],
    layers: int,
    normalization: str | None,
    *,
    activation: str,
    loss: str,
    eps: float,
    momentum: float,
    dropout_keep_ratio: float = 1,
) -> FullyConnectedNet:
    """A network of arrays under fastfc's names; NumPy's global random stream stays where it is.

    Raises
    ------
    ValueError
        If the arrays do not fit one another, or an option is out of range.
    TypeError
        If a number is none.
    """
    eps, momentum = number("eps", eps), number("momentum", momentum)
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps: expected a finite number of at least 0, got {eps}")
    dims = [arrays["W1"].shape[0], *(arrays[f"W{i}"].shape[1] for i in range(1, layers + 1))]
    for i in range(1, layers + 1):
        for name in array_names(layers, normalization, i):
            expected = (dims[i - 1], dims[i]) if name.startswith("W") else (dims[i],)
            if arrays[name].shape != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {arrays[name].shape}")
    if dims[-1] == 1 and isinstance(loss, str) and loss in LOSSES and LOSSES[loss].labels:
        raise ValueError(
            "loss: expected one for a single output, such as 'logistic' or 'squared', got "
            f"{loss!r}, which tells at least two classes apart"
        )
    dtype = np.result_type(*arrays.values())
    stream = np.random.get_state()
    try:
        net = FullyConnectedNet(
            dims[1:-1],
            dims[0],
            dims[-1],
            normalization=normalization,
            dropout_keep_ratio=dropout_keep_ratio,
            dtype=np.float64 if dtype.itemsize > 4 else np.float32,
            activation=activation,
            loss=loss,
        )
    finally:
        np.random.set_state(stream)
    net.params = {name: array for name, array in arrays.items() if not name.startswith("running_")}
    for i, param in enumerate(net.bn_params, start=1):
        param.update(eps=eps, momentum=momentum)
        if normalization == "batchnorm":
            param.update({key: arrays[f"{key}{i}"].astype(net.dtype) for key in ("running_mean", "running_var")})
    return net
