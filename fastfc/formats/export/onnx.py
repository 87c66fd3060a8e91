"""Networks as ONNX models: features in, `label` and `probabilities` out.

A file is read again by its initializers, which have fastfc's names, and by its metadata ``fastfc``; the graph must be
the one that the same network is written as. Files of other programs are read by their graphs.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastfc import __version__
from fastfc.classifiers._network import one_of
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.atomic import replaced_file
from fastfc.formats.export.description import (
    Description,
    activation_in,
    checked_input_dtype,
    describe,
    refused,
    unpack,
)
from fastfc.formats.export.onnx_graphs import OtherGraph, array_of, network_of
from fastfc.ops.losses import LOSSES

__all__ = ["Graph", "add_scores", "from_onnx", "model_of", "read", "write"]

# The first opset with LayerNormalization, and the format's version that came with it.
_OPSET, _IR_VERSION = 17, 8
_STANDARDIZATION = ("input_mean", "input_scale")


def _library() -> ModuleType:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError('.onnx needs the library onnx: pip install "fastfc[onnx]"') from error
    return onnx


@dataclass
class Graph:
    """Nodes and constants, as they are added."""

    onnx: ModuleType
    dtype: np.dtype[Any]
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}" if name is None else name
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], name=f"{name}_node", **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.constants[name] = np.asarray(array)
        return name

    def number(self, value: float, name: str | None = None) -> str:
        """A number in the network's dtype."""
        return self.constant(f"number_{value!r}" if name is None else name, np.array(value, self.dtype))


def _elu(g: Graph, x: str, alpha: float) -> str:
    """x > 0 ? x : alpha * (exp(x) - 1); ONNX's own Elu has its alpha in float32."""
    zero = g.number(0.0)
    below = g.add("Sub", g.add("Exp", g.add("Min", x, zero)), g.number(1.0))
    return g.add("Add", g.add("Max", x, zero), g.add("Mul", below, g.number(alpha)))


def _softplus(g: Graph, x: str) -> str:
    """ONNX Runtime has Softplus in float32 only."""
    e = g.add("Exp", g.add("Neg", g.add("Abs", x)))
    return g.add("Add", g.add("Max", x, g.number(0.0)), g.add("Log", g.add("Add", e, g.number(1.0))))


def _gelu(g: Graph, x: str) -> str:
    erf = g.add("Erf", g.add("Mul", x, g.number(math.sqrt(0.5))))
    return g.add("Mul", g.add("Mul", x, g.number(0.5)), g.add("Add", erf, g.number(1.0)))


def _gelu_tanh(g: Graph, x: str) -> str:
    cube = g.add("Mul", g.add("Mul", g.add("Mul", x, x), x), g.number(0.044715))
    tanh = g.add("Tanh", g.add("Mul", g.add("Add", x, cube), g.number(math.sqrt(2 / math.pi))))
    return g.add("Mul", g.add("Mul", x, g.number(0.5)), g.add("Add", tanh, g.number(1.0)))


#: Activation -> what adds it to a graph.
_ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "relu": lambda g, x: g.add("Relu", x),
    "leaky_relu": lambda g, x: g.add("Max", x, g.add("Mul", x, g.number(0.01))),
    "tanh": lambda g, x: g.add("Tanh", x),
    "logistic": lambda g, x: g.add("Sigmoid", x),
    "identity": lambda g, x: x,
    "selu": lambda g, x: g.add("Mul", _elu(g, x, 1.6732632423543772), g.number(1.0507009873554805)),
    "elu": lambda g, x: _elu(g, x, 1.0),
    # Some versions of ONNX Runtime make an operator of Mul and Sigmoid that they have in float32 only.
    "silu": lambda g, x: g.add("Div", x, g.add("Add", g.add("Exp", g.add("Neg", x)), g.number(1.0))),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": lambda g, x: g.add("Mul", x, g.add("Tanh", _softplus(g, x))),
    "softplus": _softplus,
}


def write(description: Description, path: str, input_dtype: DTypeLike | None = None) -> list[str]:
    """Write a model that :mod:`onnx.checker` accepts."""
    onnx = _library()
    model = model_of(description, checked_input_dtype(description, input_dtype))
    onnx.checker.check_model(model, full_check=True)
    with replaced_file(path) as file:
        file.write(model.SerializeToString())
    return [path]


def model_of(description: Description, input_dtype: np.dtype[Any]) -> Any:
    """The ``onnx.ModelProto`` of a network that takes `X` (N, inputs) in this dtype."""
    onnx, d = _library(), description
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    g = Graph(onnx, d.dtype)
    scores = add_scores(g, d, input_dtype)
    outputs = [helper.make_tensor_value_info(*output) for output in _outputs(g, d, scores)]
    graph = helper.make_graph(
        g.nodes,
        "fastfc",
        [helper.make_tensor_value_info("X", kind(input_dtype), ["N", d.dims[0]])],
        outputs,
        [_tensor(onnx, name, array) for name, array in g.constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fastfc",
        producer_version=__version__,
    )
    helper.set_model_props(model, {"fastfc": d.options, "fastfc.standardization": json.dumps(_standardization(d))})
    return model


def _tensor(onnx: ModuleType, name: str, array: NDArray[Any]) -> Any:
    if array.dtype == object:
        return onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, array.tolist())
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _standardization(d: Description) -> dict[str, Any]:
    """Its arrays as they are, which the graph has in another dtype."""
    arrays = {name: d.packed[name] for name in _STANDARDIZATION if name in d.packed}
    return {name: {"dtype": array.dtype.str, "values": array.tolist()} for name, array in arrays.items()}


def add_scores(g: Graph, d: Description, input_dtype: np.dtype[Any]) -> str:
    """Add the network from `X`, which has `input_dtype`, to its scores (N, outputs), whose name is returned."""
    x = "X"
    if d.input_mean is not None:
        x = g.add("Sub", x, g.constant("input_mean", d.input_mean.astype(input_dtype)))
    if d.input_scale is not None:
        x = g.add("Mul", x, g.constant("input_scale", d.input_scale.astype(input_dtype)))
    if input_dtype != d.dtype:
        x = g.add("Cast", x, to=g.onnx.helper.np_dtype_to_tensor_dtype(d.dtype))
    for i in range(1, d.layers + 1):
        for name, array in d.arrays.items():
            if name.rstrip("0123456789") + str(i) == name:
                g.constant(name, array)
        name = "scores" if i == d.layers else f"affine{i}"
        x = g.add("Gemm", x, f"W{i}", f"b{i}", name=name)
        if i == d.layers:
            break
        if d.normalization is not None:
            x = (_batchnorm if d.normalization == "batchnorm" else _layernorm)(g, x, i, d.eps[i - 1])
        x = activation_in(_ACTIVATIONS, d)(g, x)
    return x


def _outputs(g: Graph, d: Description, scores: str) -> list[tuple[str, int, list[Any]]]:
    """Names, types and shapes of the outputs, which are those of `predict` and `predict_proba`."""
    types, one = g.onnx.TensorProto, d.dims[-1] == 1
    real = g.onnx.helper.np_dtype_to_tensor_dtype(d.dtype)
    shape: list[Any] = ["N"] if one else ["N", d.dims[-1]]
    if d.labels:
        named = d.class_names is not None
        index = g.add("ArgMax", scores, name="index" if named else "label", axis=1, keepdims=0)
        if d.class_names is not None:
            names = np.array([name.encode("utf-8", "replace") for name in d.class_names], object)
            g.add("Gather", g.constant("class_names", names), index, name="label")
        outputs: list[tuple[str, int, list[Any]]] = [("label", types.STRING if named else types.INT64, ["N"])]
        if d.output == "softmax":
            outputs.append((g.add("Softmax", scores, name="probabilities", axis=-1), real, ["N", d.dims[-1]]))
        return outputs
    if d.output == "logistic":
        above = g.add("Greater", _columns(g, scores, one), g.number(0.0))
        label = g.add("Cast", above, name="label", to=types.INT64)
        p = g.add("Sigmoid", scores, name=None if one else "probabilities")
        if one:
            p = g.add("Concat", g.add("Sub", g.number(1.0), p), p, name="probabilities", axis=1)
        return [(label, types.INT64, shape), (p, real, ["N", max(d.dims[-1], 2)])]
    operator = "Exp" if d.output == "exp" else "Identity"
    return [(g.add(operator, _columns(g, scores, one), name="predictions"), real, shape)]


def _columns(g: Graph, scores: str, one: bool) -> str:
    """Scores (N, K), or (N,) of a single output."""
    return g.add("Squeeze", scores, g.constant("axes", np.array([1]))) if one else scores


def _batchnorm(g: Graph, x: str, i: int, eps: float) -> str:
    if g.dtype == np.float32:
        arrays = (f"{name}{i}" for name in ("gamma", "beta", "running_mean", "running_var"))
        return g.add("BatchNormalization", x, *arrays, epsilon=eps)
    # The attribute epsilon is in float32.
    std = g.add("Sqrt", g.add("Add", f"running_var{i}", g.number(eps, f"eps{i}")))
    return _scaled(g, g.add("Div", g.add("Sub", x, f"running_mean{i}"), std), i)


def _layernorm(g: Graph, x: str, i: int, eps: float) -> str:
    if g.dtype == np.float32:
        return g.add("LayerNormalization", x, f"gamma{i}", f"beta{i}", axis=-1, epsilon=eps)
    centered = g.add("Sub", x, g.add("ReduceMean", x, axes=[1], keepdims=1))
    var = g.add("ReduceMean", g.add("Mul", centered, centered), axes=[1], keepdims=1)
    return _scaled(g, g.add("Div", centered, g.add("Sqrt", g.add("Add", var, g.number(eps, f"eps{i}")))), i)


def _scaled(g: Graph, x: str, i: int) -> str:
    return g.add("Add", g.add("Mul", x, f"gamma{i}"), f"beta{i}")


def from_onnx(path: str | os.PathLike[str], *, loss: str | None = None) -> FullyConnectedNet:
    """Make a network of an ONNX file, also of another program's.

    The graph has one input `X` (N, features), which may be standardized (Scaler, Sub, Div, Mul, Add). Then there are
    affine layers (Gemm, or MatMul and Add), each but the last one followed by the same normalization
    (BatchNormalization, LayerNormalization) or none, and by the same activation; last Softmax, Sigmoid, Exp or nothing,
    and operators that make labels of scores. PyTorch, Keras and skl2onnx write multi-layer perceptrons so.

    Parameters
    ----------
    path : path-like
    loss : str, optional
        As for :class:`fastfc.FullyConnectedNet`. By default that of the operator after the last layer: ``"softmax"``,
        ``"logistic"`` for Sigmoid, ``"poisson"`` for Exp; where labels are made of the scores alone, ``"svm"`` for
        ArgMax and ``"logistic"`` for Greater; and ``"squared"`` where the scores are the output. A classifier that
        gives scores only needs ``loss="softmax"``.

    Returns
    -------
    FullyConnectedNet
        In float64 if one of the arrays is, else in float32. Of a file that fastfc wrote, the same network bit for bit.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, or its graph is another; the message names the operator. Or if `loss` is not one of a
        network's, or is given for a file that fastfc wrote.
    ImportError
        If onnx is missing.

    Examples
    --------
    >>> fastfc.from_onnx("model.onnx", loss="softmax").dims  # doctest: +SKIP
    [4, 32, 3]
    """
    if loss is not None:
        one_of("loss", loss, LOSSES)
    onnx, name = _library(), os.fsdecode(path)
    with open(name, "rb") as file:
        content = file.read()
    with refused(name, _decode_error(), what="an ONNX model"):
        model = onnx.load_model_from_string(content)
        if not model.ir_version or not model.HasField("graph"):
            # Bytes of other kinds can be taken for a message without any of its fields.
            raise ValueError("it has no graph")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "fastfc" not in metadata:
        return _of_another_program(onnx, model, name, loss)
    with refused(name):
        net = _written(onnx, model, metadata)
    if loss is not None:
        raise ValueError(f"loss: expected None, as {name} says what network it is, got {loss!r}")
    return net


def read(path: str) -> FullyConnectedNet:
    """Read a file as :func:`from_onnx` does."""
    return from_onnx(path)


def _written(onnx: ModuleType, model: Any, metadata: dict[str, str]) -> FullyConnectedNet:
    """The network of a model that :func:`write` wrote; ValueError for one that was changed, also in its graph alone."""
    listed = set(json.loads(metadata["fastfc"])["arrays"])
    arrays = _initializers(onnx, model) | _entrance(metadata["fastfc.standardization"])
    net = unpack(metadata["fastfc"], {name: array for name, array in arrays.items() if name in listed})
    description = describe(net)
    input_dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    expected = model_of(description, checked_input_dtype(description, input_dtype))
    if expected.graph != model.graph or list(expected.opset_import) != list(model.opset_import):
        raise ValueError("its graph is not the one that fastfc writes for its arrays")
    return net


def _of_another_program(onnx: ModuleType, model: Any, name: str, loss: str | None) -> FullyConnectedNet:
    """The network of a model that fastfc did not write; the error says whether the model is damaged, or another."""
    try:
        with refused(name, what="an ONNX model"):
            return network_of(onnx, model, loss)
    except OtherGraph as error:
        raise ValueError(f"{name}: an ONNX model, but not of such a network as fastfc has ({error})") from error


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    return DecodeError


def _initializers(onnx: ModuleType, model: Any) -> dict[str, NDArray[Any]]:
    """The arrays of numbers under the names of a network's file."""
    arrays = {}
    for tensor in model.graph.initializer:
        array = array_of(onnx, tensor)
        if array.dtype.kind == "f" and tensor.name not in _STANDARDIZATION:
            arrays[tensor.name if tensor.name.startswith("running_") else f"params.{tensor.name}"] = array
    return arrays


def _entrance(text: str) -> dict[str, NDArray[Any]]:
    """input_mean and input_scale from the metadata."""
    arrays = {}
    for name, entry in json.loads(text).items():
        dtype = np.dtype(entry["dtype"])
        if name not in _STANDARDIZATION or dtype.kind not in "biuf":
            raise ValueError(f"an entry {name!r:.80} of dtype {dtype}")
        with np.errstate(over="raise", invalid="raise"):
            arrays[name] = np.array(entry["values"]).astype(dtype)
    return arrays
