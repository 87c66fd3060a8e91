"""Outputs of ONNX graphs: the operators that make probabilities and labels of a network's scores."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RULES", "Outputs"]

#: Operator -> the function of scores that it is.
_LINKS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "logistic", "Exp": "exp"}
#: Kinds of values that Greater makes yes or no of -> the threshold above which the network says yes.
_THRESHOLDS = {"scores": 0.0, "logistic": 0.5}
_REAL = ("scores", "softmax", "logistic", "exp", "complement", "both")


@dataclass
class Outputs:
    """The values that a graph makes of scores, by kind.

    These are the scores, a function of them by its name, the ``complement`` of logistic probabilities, ``both`` of
    these side by side, an ``index`` of a class, or 0 or 1, and a ``label``. Operators that make anything else of them,
    such as yes above another threshold, are not what a network of fastfc predicts.

    Attributes
    ----------
    link : str or None
        The function of the scores, ``"softmax"``, ``"logistic"`` or ``"exp"``.
    labels : set of str
        The operators that make labels, ``"ArgMax"`` and ``"Greater"``.
    """

    constants: dict[str, NDArray[Any]]
    kinds: Any
    link: str | None
    labels: set[str] = field(default_factory=set)
    found: dict[str, tuple[str, int]] = field(default_factory=dict)

    def take(self, node: Any, attributes: dict[str, Any]) -> bool:
        """Whether the operator makes a known value of known ones, which are then `found` with their columns."""
        inputs = [name for name in node.input if name]
        if all(name in self.constants for name in inputs):
            return True
        known = [self.found[name] for name in inputs if name in self.found]
        if node.op_type not in RULES or len(known) + sum(name in self.constants for name in inputs) < len(inputs):
            return False
        made = RULES[node.op_type](self, node, attributes, *known[0])
        if made is not None:
            self.found[node.output[0]] = made
        return made is not None

    def contradiction(self, columns: int) -> str | None:
        """The operator that makes labels as a network with this function of its scores does not."""
        several = self.link == "exp" or (self.link == "logistic" and columns > 1)
        if "ArgMax" in self.labels and (several or (self.link is None and "Greater" in self.labels)):
            return "ArgMax"
        return "Greater" if "Greater" in self.labels and self.link in ("softmax", "exp") else None

    def _constant(self, node: Any, place: int) -> NDArray[Any] | None:
        return self.constants.get(node.input[place]) if place < len(node.input) else None


_Made = tuple[str, int] | None


def _same(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    return None if node.op_type == "Flatten" and attributes.get("axis", 1) != 1 else (kind, columns)


def _cast(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    real = attributes.get("to") in (o.kinds.FLOAT, o.kinds.DOUBLE, o.kinds.FLOAT16, o.kinds.BFLOAT16)
    return None if kind in _REAL and not real else (kind, columns)


def _link(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    link = _LINKS[node.op_type]
    if kind != "scores" or o.link not in (None, link) or attributes.get("axis", -1) not in (1, -1):
        return None
    o.link = link
    return link, columns


def _argmax(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    if kind not in ("scores", "softmax", "both") or columns < 2:
        return None
    if attributes.get("axis", 0) not in (1, -1) or attributes.get("select_last_index", 0):
        return None
    o.labels.add("ArgMax")
    return "index", 1


def _greater(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    threshold = o._constant(node, 1)
    if kind not in _THRESHOLDS or threshold is None or not np.all(threshold == _THRESHOLDS[kind]):
        return None
    o.labels.add("Greater")
    return "index", columns


def _complement(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    one = o._constant(node, 0)
    return ("complement", columns) if kind == "logistic" and one is not None and np.all(one == 1) else None


def _both(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    in_order = [o.found.get(name) for name in node.input] == [("complement", 1), ("logistic", 1)]
    return ("both", 2) if in_order and attributes.get("axis") in (1, -1) else None


def _chosen(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    """Labels by their indices; columns by theirs would be other scores."""
    return ("label", 1) if kind == "index" and columns == 1 and o._constant(node, 0) is not None else None


def _reshape(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    """Of the same rows."""
    shape = o._constant(node, 1)
    rows, *others = [0] if shape is None or not shape.size else [int(n) for n in shape.reshape(-1)]
    same = (rows == -1 and math.prod(others) == columns) or (rows == 0 and others in ([-1], [columns]))
    return (kind, columns) if same else None


def _squeeze(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    axes = o._constant(node, 1) if len(node.input) > 1 else attributes.get("axes", [1])
    return (kind, 1) if columns == 1 and axes is not None and list(axes) in ([1], [-1]) else None


def _zipped(o: Outputs, node: Any, attributes: dict[str, Any], kind: str, columns: int) -> _Made:
    return ("label", columns) if kind in _REAL else None


#: Operator -> the kind and the columns of what it makes of the first value that is known, or None.
RULES: dict[str, Callable[[Outputs, Any, dict[str, Any], str, int], _Made]] = {
    **dict.fromkeys(("Identity", "Flatten"), _same),
    "Cast": _cast,
    **dict.fromkeys(_LINKS, _link),
    "ArgMax": _argmax,
    "Greater": _greater,
    "Sub": _complement,
    "Concat": _both,
    **dict.fromkeys(("Gather", "ArrayFeatureExtractor"), _chosen),
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ZipMap": _zipped,
}
