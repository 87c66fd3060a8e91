"""The estimators as parts of ONNX models that skl2onnx makes of pipelines."""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastfc.formats.export.description import describe
from fastfc.formats.export.onnx import Graph, add_scores
from fastfc.sklearn._estimators import MLPClassifier, MLPRegressor

# The first opset with LayerNormalization, and the one from which on ReduceMean takes its axes as an input.
_LEAST_OPSET, _AXES_AS_INPUT = 17, 18


def register_skl2onnx() -> None:
    """Teach `skl2onnx <https://onnx.ai/sklearn-onnx>`_ the estimators of this module.

    After it, ``skl2onnx.to_onnx`` and ``convert_sklearn`` take them, in pipelines too. The outputs are those of
    scikit-learn's own networks there: `label` (N,), integers or strings, and `probabilities` (N, C); or `variable`
    (N, outputs). With ``loss="hinge"`` the scores stand for the probabilities; with several labels per row `label` is
    (N, C), 0 or 1. The options are those of classifiers there: `zipmap`, `nocl` and `output_class_labels`.

    Numbers are computed in the dtype of the model's input: float64 inputs keep all digits of the estimator, and need
    ``zipmap=False`` in ONNX Runtime.

    Raises
    ------
    ImportError
        If skl2onnx is missing.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastfc.sklearn import MLPClassifier, register_skl2onnx
    >>> register_skl2onnx()  # doctest: +SKIP
    >>> model = make_pipeline(StandardScaler(), MLPClassifier()).fit(X, y)  # doctest: +SKIP
    >>> onnx_model = skl2onnx.to_onnx(model, X[:1], options={"zipmap": False})  # doctest: +SKIP
    """
    library = _library()
    library.update_registered_converter(
        MLPClassifier,
        "FastfcMLPClassifier",
        _shape_of_classifier,
        _convert_classifier,
        options={"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]},
    )
    library.update_registered_converter(MLPRegressor, "FastfcMLPRegressor", _shape_of_regressor, _convert_regressor)


def _library() -> ModuleType:
    try:
        import skl2onnx
        import skl2onnx.common.data_types
    except ImportError as error:
        raise ImportError('register_skl2onnx needs skl2onnx: pip install "fastfc[skl2onnx]"') from error
    return skl2onnx


# ------------------------------------------------------------------------------------------------- shapes


def _several_labels(estimator: MLPClassifier) -> bool:
    return bool(estimator._label_binarizer.y_type_.startswith("multilabel"))


def _shape_of_classifier(operator: Any) -> None:
    types = _library().common.data_types
    estimator, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    count, several = len(estimator.classes_), _several_labels(estimator)
    label = (
        types.StringTensorType if _classes(estimator, operator.scope_inst).dtype == object else types.Int64TensorType
    )
    operator.outputs[0].set_type(label([rows, count] if several else [rows]))
    operator.outputs[1].set_type(types.guess_tensor_type(operator.inputs[0].type).__class__([rows, count]))


def _shape_of_regressor(operator: Any) -> None:
    types = _library().common.data_types
    rows, outputs = operator.inputs[0].get_first_dimension(), operator.raw_operator.n_outputs_
    operator.outputs[0].set_type(types.guess_tensor_type(operator.inputs[0].type).__class__([rows, outputs]))


def _classes(estimator: MLPClassifier, scope: Any) -> NDArray[Any]:
    """The labels as ONNX has them: int64, or UTF-8 in an array of objects; 0, 1, ... with the option `nocl`."""
    classes = np.asarray(estimator.classes_)
    if scope.get_options(estimator, {"nocl": False})["nocl"]:
        return np.arange(len(classes))
    if len(classes) < 2:
        raise ValueError(f"estimator: expected at least two classes, got {list(classes)}")
    if classes.dtype.kind in "biuf":
        integers = classes.astype(np.int64)
        if (integers == classes).all():
            return integers
    elif all(isinstance(name, str) for name in classes.tolist()):
        return np.array([name.encode("utf-8", "replace") for name in classes.tolist()], object)
    raise ValueError(f"estimator: expected classes that are whole numbers or strings, got {list(classes)}")


# ---------------------------------------------------------------------------------------------- operators


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    estimator, output = operator.raw_operator, operator.raw_operator._fitted_output()

    def outputs(g: Graph, found: list[tuple[str, str]]) -> list[str]:
        alone = len(found) == 1 or output == "identity"
        value = _mean(g, [scores if output == "identity" else p for scores, p in found])
        # A logistic output says yes above 0, which is a probability of a half.
        decisive, threshold = (found[0][0] if len(found) == 1 else value, 0.0) if alone else (value, 0.5)
        if output == "logistic":
            yes = g.add("Cast", g.add("Greater", decisive, g.number(threshold)), to=g.onnx.TensorProto.INT64)
            if _several_labels(estimator):
                return [yes, value]
            value = g.add("Concat", g.add("Sub", g.number(1.0), value), value, axis=1)
            place = g.add("Squeeze", yes, g.constant("label_axes", np.array([1])))
        else:
            place = g.add("ArgMax", value, axis=1, keepdims=0)
        return [g.add("Gather", g.constant("classes", _classes(estimator, scope)), place), value]

    _convert(scope, operator, container, output, outputs)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    output = {"exp": "Exp", "identity": "Identity"}[operator.raw_operator._fitted_output()]
    _convert(scope, operator, container, output, lambda g, found: [_mean(g, [value for _, value in found])])


#: Function of the output layer -> its operator, and its attributes.
_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("Softmax", {"axis": -1}),
    "logistic": ("Sigmoid", {}),
    "identity": ("Identity", {}),
    "Exp": ("Exp", {}),
    "Identity": ("Identity", {}),
}


def _mean(g: Graph, names: list[str]) -> str:
    """ONNX Runtime has Mean in float32 only."""
    total = names[0]
    for name in names[1:]:
        total = g.add("Add", total, name)
    return total if len(names) == 1 else g.add("Div", total, g.number(float(len(names))))


def _convert(
    scope: Any,
    operator: Any,
    container: Any,
    output: str,
    outputs: Callable[[Graph, list[tuple[str, str]]], list[str]],
) -> None:
    """Add the networks of an estimator, and `outputs` of their scores and of the output layer's functions of these."""
    import onnx
    import onnx.numpy_helper

    opset, types = container.target_opset_any_domain(""), _library().common.data_types
    if opset < _LEAST_OPSET:
        raise ValueError(f"target_opset: expected at least {_LEAST_OPSET}, got {opset}")
    dtype = np.dtype(np.float64 if isinstance(operator.inputs[0].type, types.DoubleTensorType) else np.float32)
    estimator = operator.raw_operator
    whole = Graph(onnx, dtype)
    x = whole.add("Cast", "X", to=onnx.helper.np_dtype_to_tensor_dtype(dtype))
    found = []
    for number, member in enumerate(getattr(estimator, "members_", [estimator])):
        d = describe(member.network_)
        d = dataclasses.replace(d, dtype=dtype, arrays={name: array.astype(dtype) for name, array in d.arrays.items()})
        g = Graph(onnx, dtype)
        scores = _taken(whole, g, add_scores(g, d, dtype), x, f"network{number}_")
        kind, attributes = _OPERATORS[output]
        found.append((scores, whole.add(kind, scores, **attributes)))
    _emit(scope, operator, container, whole, outputs(whole, found), opset)


def _taken(whole: Graph, g: Graph, result: str, x: str, prefix: str) -> str:
    """Add a network's graph, whose names get a prefix; the new name of its result."""
    names = {name: prefix + name for name in [*g.constants, *(node.output[0] for node in g.nodes)]} | {"X": x}
    for name, array in g.constants.items():
        whole.constants[names[name]] = array
    for node in g.nodes:
        attributes = {a.name: whole.onnx.helper.get_attribute_value(a) for a in node.attribute}
        whole.add(node.op_type, *(names[name] for name in node.input), name=names[node.output[0]], **attributes)
    return names[result]


def _emit(scope: Any, operator: Any, container: Any, g: Graph, results: list[str], opset: int) -> None:
    """Hand a graph to skl2onnx, under names that its model does not have yet."""
    helper = g.onnx.helper
    names = {"X": operator.inputs[0].full_name}
    for node in g.nodes:
        if node.op_type == "ReduceMean" and opset >= _AXES_AS_INPUT:
            # Later opsets have them among the inputs.
            axes = next(a for a in node.attribute if a.name == "axes")
            node.input.append(g.constant("mean_axes", np.array(axes.ints)))
            node.attribute.remove(axes)
    for name, array in g.constants.items():
        names[name] = scope.get_unique_variable_name(f"fastfc_{name}")
        kind = g.onnx.TensorProto.STRING if array.dtype == object else helper.np_dtype_to_tensor_dtype(array.dtype)
        container.add_initializer(names[name], kind, list(array.shape), array.ravel().tolist())
    for node in g.nodes:
        output = node.output[0]
        names[output] = scope.get_unique_variable_name(f"fastfc_{output}")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        container.add_node(
            node.op_type,
            [names[name] for name in node.input],
            [names[output]],
            name=scope.get_unique_operator_name(f"fastfc_{node.op_type}"),
            **attributes,
        )
    for result, variable in zip(results, operator.outputs, strict=True):
        container.add_node(
            "Identity", [names[result]], [variable.full_name], name=scope.get_unique_operator_name("fastfc_Identity")
        )
