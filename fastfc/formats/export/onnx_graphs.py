"""Networks in ONNX graphs of other programs: affine layers, normalizations and activations, one after another."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.export.description import make_network
from fastfc.formats.export.estimators import two_columns
from fastfc.formats.export.onnx_outputs import RULES, Outputs
from fastfc.formats.npz import MAX_DATA_BYTES

__all__ = ["OtherGraph", "array_of", "network_of"]

#: Operator -> the activation, and attributes that it must have: name -> default and value.
_ACTIVATIONS: dict[str, tuple[str, dict[str, tuple[Any, Any]]]] = {
    "Relu": ("relu", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": (0.01, 0.01)}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("logistic", {}),
    "Selu": ("selu", {"alpha": (1.6732632, 1.6732632), "gamma": (1.0507010, 1.0507010)}),
    "Elu": ("elu", {"alpha": (1.0, 1.0)}),
    "Softplus": ("softplus", {}),
    "Mish": ("mish", {}),
    "Gelu": ("gelu", {"approximate": (b"none", b"none")}),
    # Of the last layer only.
    "Softmax": ("softmax", {"axis": (-1, -1)}),
    "LogSoftmax": ("softmax", {"axis": (-1, -1)}),
    "Exp": ("exp", {}),
}
#: Operators of f in an activation x * f(x) -> its name. GELU's is 1 + erf(x / sqrt(2)), and the product is halved.
_PRODUCTS = {("Sigmoid",): "silu", ("Softplus", "Tanh"): "mish", ("Div", "Erf", "Add"): "gelu"}
_LONGEST_WAY = max(map(len, _PRODUCTS))
#: Of a graph; looking for the next one takes as many steps as there are.
_MOST_NODES = 5_000
#: Function of the last layer -> the loss of networks that predict by it.
_LOSSES = {"softmax": "softmax", "logistic": "logistic", "exp": "poisson"}


class OtherGraph(Exception):
    """A sound model of something that is not a network of fastfc's."""


@dataclass
class _Layer:
    """An affine layer, and the operators that follow it."""

    weights: NDArray[Any]
    bias: NDArray[Any] | None = None
    normalization: str | None = None
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    activation: str | None = None


def array_of(onnx: ModuleType, tensor: Any) -> NDArray[Any]:
    """The numbers or strings of a tensor; ValueError for one in another file, which is never followed."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError(f"{tensor.name!r:.80} is in another file")
    if any(n < 0 for n in tensor.dims) or math.prod(max(n, 1) for n in tensor.dims) > MAX_DATA_BYTES // 8:
        raise ValueError(f"{tensor.name!r:.80} has dimensions {list(tensor.dims)!r:.80}")
    array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return array


def network_of(onnx: ModuleType, model: Any, loss: str | None) -> FullyConnectedNet:
    """The network of a graph; OtherGraph if it is not one that fastfc has, one of DAMAGE if it makes no sense.

    Parameters
    ----------
    onnx : module
    model : onnx.ModelProto
    loss : str or None
        By the operator after the last layer unless given.
    """
    chain = _Chain(onnx, model.graph)
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        try:
            chain.follow()
            return _made(chain, chain.outputs(), loss)
        except (ArithmeticError, ValueError) as error:
            raise OtherGraph(str(error)) from error


class _Chain:
    """The way of the examples through a graph, from its input to the scores."""

    def __init__(self, onnx: ModuleType, graph: Any) -> None:
        if len(graph.node) > _MOST_NODES:
            raise OtherGraph(f"expected at most {_MOST_NODES} operators, got {len(graph.node)}")
        others = {node.domain for node in graph.node} - {"", "ai.onnx", "ai.onnx.ml"}
        if others:
            raise OtherGraph(f"expected ONNX's own operators, got some of {sorted(others)!r:.80}")
        outside = [tensor.name for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        if outside:
            raise OtherGraph(f"expected all arrays in the file itself; {outside[0]!r:.80} is in another file")
        self.onnx = onnx
        self.constants = {tensor.name: array_of(onnx, tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = array_of(onnx, node.attribute[0].t)
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        self.nodes = [node for node in graph.node if not set(node.output) <= set(self.constants)]
        inputs = [value.name for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1:
            raise OtherGraph(f"expected a graph with one input, got {len(inputs)}")
        self.current: str = inputs[0]
        # Names of the values since the last layer.
        self.scores: list[str] = []
        self.put_out = {value.name for value in graph.output}
        self.layers: list[_Layer] = []
        self.mean: NDArray[Any] | None = None
        self.scale: NDArray[Any] | None = None
        self.seen: list[str] = []

    # ------------------------------------------------------------------------------------------- the way

    def follow(self) -> None:
        """Go on while the next operator is one of a network's; then `current` is the scores, or a function of them."""
        while True:
            users = [node for node in self.nodes if self.current in node.input]
            if self._is_product_of_itself(users):
                continue
            step = _STEPS.get(users[0].op_type) if len(users) == 1 else None
            if step is None or not step(self, users[0]):
                return
            self._go_on(users[0])

    def _go_on(self, node: Any) -> None:
        # Every node is passed once: a graph with a circle ends, too.
        self.seen.append(node.op_type)
        self.nodes = [other for other in self.nodes if other is not node]
        self.current = node.output[0]
        self.scores.append(self.current)

    def _is_product_of_itself(self, users: list[Any]) -> bool:
        """Pass x * f(x) for the activations that have no operator of their own in older opsets."""
        product = next((node for node in users if node.op_type == "Mul"), None)
        if product is None or len(users) != 2 or not self.layers:
            return False
        way = [next(node for node in users if node is not product)]
        while way[-1].output[0] not in product.input and len(way) < _LONGEST_WAY:
            after = [node for node in self.nodes if way[-1].output[0] in node.input]
            if len(after) != 1:
                return False
            way += after
        name = _PRODUCTS.get(tuple(node.op_type for node in way))
        if name is None or set(product.input) != {self.current, way[-1].output[0]}:
            return False
        way.append(product)
        if name == "gelu":
            half = [node for node in self.nodes if product.output[0] in node.input]
            if [node.op_type for node in half] != ["Mul"] or not (
                self._has_number(way[0], math.sqrt(2))
                and self._has_number(way[2], 1)
                and self._has_number(half[0], 0.5)
            ):
                return False
            way += half
        self._activate(name, product)
        for node in way:
            self._go_on(node)
        return True

    def _has_number(self, node: Any, value: float) -> bool:
        """Whether an operand is this number, as float32 has it."""
        found = [self.constants[name] for name in node.input if name in self.constants]
        return any(array.size == 1 and np.float32(array.item()) == np.float32(value) for array in found)

    def outputs(self) -> Outputs:
        """The values that are made of the scores; ValueError for one that a network of fastfc does not have."""
        if not self.layers:
            self._refuse(next((node for node in self.nodes if self.current in node.input), None))
        link, columns = self.layers[-1].activation, self.layers[-1].weights.shape[1]
        made = Outputs(self.constants, self.onnx.TensorProto, link)
        made.found[self.current] = (link or "scores", columns)
        for node in self.nodes:
            if made.take(node, self._attributes(node)):
                continue
            if node.op_type not in RULES:
                self._refuse(node)
            raise ValueError(
                "expected operators that make probabilities and labels of the scores as a network of fastfc does; got "
                f"another {node.op_type!r:.40} after {', '.join(self.seen)}"
            )
        if not self.put_out & {*self.scores, *made.found}:
            raise ValueError(f"expected an output made of the last layer's scores, got {sorted(self.put_out)!r:.80}")
        contradiction = made.contradiction(columns)
        if contradiction is not None:
            raise ValueError(f"expected labels by the function {made.link} of {columns} scores, got {contradiction}")
        if "Greater" in made.labels:
            # Yes is a probability above a half.
            made.link = "logistic"
        return made

    def _refuse(self, node: Any) -> NoReturn:
        found = "nothing" if node is None else f"{node.op_type!r:.40}"
        raise ValueError(
            "expected Gemm, or MatMul and Add, each but the last with the same normalization or none and the same "
            f"activation after it; got {found} after {', '.join(self.seen) or 'the input'}"
        )

    # --------------------------------------------------------------------------------------- the operators

    def _attributes(self, node: Any) -> dict[str, Any]:
        return {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}

    def _constant(self, node: Any, place: int) -> NDArray[Any]:
        name = node.input[place] if place < len(node.input) else ""
        if name not in self.constants:
            self._refuse(node)
        return self.constants[name]

    def passed(self, node: Any) -> bool:
        """Identity and the like."""
        kinds = self.onnx.TensorProto
        if node.op_type == "Cast":
            return self._attributes(node).get("to") in (kinds.FLOAT, kinds.DOUBLE)
        # Flatten of examples that are rows already, if at all.
        return node.op_type != "Flatten" or self._attributes(node).get("axis", 1) == 1

    def enter(self, node: Any) -> bool:
        """The standardization of examples, before the first layer."""
        if self.layers:
            return self._bias(node)
        if node.op_type == "Scaler":
            attributes = self._attributes(node)
            offset, scale = np.array(attributes.get("offset", [0.0])), np.array(attributes.get("scale", [1.0]))
        else:
            value = _per_column(node, self._constant(node, 1).astype(np.float64))
            offset = {"Sub": value, "Add": -value}.get(node.op_type, np.zeros(1))
            scale = value if node.op_type == "Mul" else 1 / value if node.op_type == "Div" else np.ones(1)
        if np.any(offset):
            # x -> (x - mean) * scale, and then less the offset.
            self.mean = (0.0 if self.mean is None else self.mean) + offset / (1.0 if self.scale is None else self.scale)
        if np.any(scale != 1):
            self.scale = (1.0 if self.scale is None else self.scale) * scale
        return True

    def _bias(self, node: Any) -> bool:
        layer = self.layers[-1]
        if node.op_type != "Add" or layer.bias is not None or layer.normalization or layer.activation:
            return False
        layer.bias = _per_column(node, self._constant(node, 1 if node.input[0] == self.current else 0))
        return True

    def affine(self, node: Any) -> bool:
        """Gemm, or MatMul, whose bias may follow."""
        if node.input[0] != self.current:
            return False
        weights, bias = self._constant(node, 1), None
        if node.op_type == "Gemm":
            attributes = self._attributes(node)
            if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1:
                return False
            if attributes.get("transB", 0):
                weights = weights.T
            outputs = weights.shape[-1]
            bias = (
                _per_column(node, self._constant(node, 2)) if len(node.input) > 2 else np.zeros(outputs, weights.dtype)
            )
        if weights.ndim != 2 or weights.dtype.kind != "f":
            raise ValueError(f"{node.input[1]!r:.80}: expected a matrix of floating-point numbers")
        self.layers.append(_Layer(weights, bias))
        self.scores = []
        return True

    def normalize(self, node: Any) -> bool:
        """BatchNormalization by running statistics, or LayerNormalization over the features."""
        if not self.layers or self.layers[-1].normalization or self.layers[-1].activation:
            return False
        layer, attributes = self.layers[-1], self._attributes(node)
        layer.numbers = {"eps": attributes.get("epsilon", 1e-5)}
        if node.op_type == "BatchNormalization":
            if attributes.get("training_mode", 0):
                return False
            layer.normalization, names = "batchnorm", ["gamma", "beta", "running_mean", "running_var"]
            layer.numbers["momentum"] = attributes.get("momentum", 0.9)
        else:
            if attributes.get("axis", -1) not in (-1, 1):
                return False
            layer.normalization, names = "layernorm", ["gamma", "beta"]
        for place, name in enumerate(names, start=1):
            missing = name == "beta" and len(node.input) <= place
            layer.arrays[name] = np.zeros_like(layer.arrays["gamma"]) if missing else self._constant(node, place)
        return True

    def activate(self, node: Any) -> bool:
        """An activation with the attributes that fastfc's has."""
        if not self.layers:
            return False
        name, wanted = _ACTIVATIONS[node.op_type]
        found = self._attributes(node)
        if node.op_type == "Gelu" and found.get("approximate") == b"tanh":
            name, wanted = "gelu_tanh", {}
        for key, (default, value) in wanted.items():
            got = found.get(key, default)
            same = got in (1, -1) if key == "axis" else got == value
            if not (same or (isinstance(got, float) and np.float32(got) == np.float32(value))):
                raise ValueError(f"{node.op_type}: expected {key} {value}, got {got}")
        self._activate(name, node)
        return True

    def _activate(self, name: str, node: Any) -> None:
        if self.layers[-1].activation is not None:
            self._refuse(node)
        self.layers[-1].activation = name

    # ----------------------------------------------------------------------------------------- the outputs

    def classes(self) -> list[Any] | None:
        """The labels that outputs are taken from."""
        for node in self.nodes:
            attributes = self._attributes(node)
            for key in ("classlabels_strings", "classlabels_int64s"):
                if attributes.get(key):
                    return [_text(name) for name in attributes[key]]
            if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in self.constants:
                return [_text(name) for name in self.constants[node.input[0]].reshape(-1).tolist()]
        return None


def _per_column(node: Any, array: NDArray[Any]) -> NDArray[Any]:
    """Numbers that are the same for all rows, as a vector."""
    if array.ndim > 1 and array.shape[-1] != array.size:
        raise ValueError(f"{node.op_type}: expected one number per column, got shape {array.shape}")
    return array.reshape(-1)


def _text(label: Any) -> Any:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else label


_STEPS: dict[str, Callable[[_Chain, Any], bool]] = {
    **dict.fromkeys(("Identity", "Dropout", "Flatten", "Cast"), _Chain.passed),
    **dict.fromkeys(("Scaler", "Sub", "Mul", "Div", "Add"), _Chain.enter),
    **dict.fromkeys(("Gemm", "MatMul"), _Chain.affine),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), _Chain.normalize),
    **dict.fromkeys(_ACTIVATIONS, _Chain.activate),
}


# --------------------------------------------------------------------------------------------- the network


def _made(chain: _Chain, outputs: Outputs, loss: str | None) -> FullyConnectedNet:
    *hidden, last = chain.layers
    link, classes = outputs.link, chain.classes()
    if last.normalization is not None or (link is not None and link not in _LOSSES):
        raise ValueError(f"expected no {last.normalization or link} after the last layer")
    if classes == list(range(len(classes or ()))):
        # The names that a network without names has.
        classes = None
    weights, bias = last.weights, _bias_of(last)
    named = classes is not None and loss is None
    if link == "logistic" and weights.shape[1] == 1 and (named or loss == "softmax"):
        # Two classes: the softmax of 0 and the score is the same.
        (weights, bias), link = two_columns(weights, bias), "softmax"
    if loss is None and link is not None:
        loss = _LOSSES[link]
    if loss is None:
        loss = "svm" if outputs.labels else "squared"
    kinds = {(layer.normalization, layer.activation or "identity") for layer in hidden} or {(None, "relu")}
    if len(kinds) > 1:
        raise ValueError(
            f"expected the same normalization and activation after each layer, got {sorted(map(str, kinds))}"
        )
    ((normalization, activation),) = kinds
    arrays = {f"W{len(chain.layers)}": weights, f"b{len(chain.layers)}": bias}
    for i, layer in enumerate(hidden, start=1):
        arrays |= {f"W{i}": layer.weights, f"b{i}": _bias_of(layer)}
        arrays |= {f"{name}{i}": array for name, array in layer.arrays.items()}
    net = make_network(
        arrays, len(chain.layers), normalization, activation=activation, loss=loss, eps=1e-5, momentum=0.9
    )
    for layer, param in zip(hidden, net.bn_params, strict=False):
        param.update({name: float(value) for name, value in layer.numbers.items()})
    net.input_mean, net.input_scale = (_entrance(array, net.dims[0]) for array in (chain.mean, chain.scale))
    if classes is not None and net.dims[-1] > 1:
        if len(classes) != net.dims[-1]:
            raise ValueError(f"expected {net.dims[-1]} labels, one for each class, got {len(classes)}")
        net.class_names = [str(name) for name in classes]
    return net


def _bias_of(layer: _Layer) -> NDArray[Any]:
    return np.zeros(layer.weights.shape[1], layer.weights.dtype) if layer.bias is None else layer.bias


def _entrance(array: NDArray[Any] | None, features: int) -> NDArray[Any] | None:
    """One number per feature."""
    return None if array is None else np.broadcast_to(array, (features,)).copy()
