"""Networks as a Python module that needs NumPy only, with the weights beside it."""

import os
import textwrap

import numpy as np

from fastfc.formats.atomic import replaced_file
from fastfc.formats.export.description import Description, activation_in

__all__ = ["source", "write"]

#: Activation -> the body of the function, of an array x.
_ACTIVATIONS = {
    "relu": "return np.maximum(x, 0)",
    "leaky_relu": "return np.where(x > 0, x, x * x.dtype.type(0.01))",
    "tanh": "return np.tanh(x)",
    "logistic": "e = np.exp(-np.abs(x))\nreturn np.where(x < 0, e, 1) / (1 + e)",
    "identity": "return x",
    "selu": """\
scale, alpha = x.dtype.type(1.0507009873554805), x.dtype.type(1.6732632423543772)
return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))""",
    "elu": "return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))",
    "silu": "e = np.exp(-np.abs(x))\nreturn x * (np.where(x < 0, e, 1) / (1 + e))",
    "gelu": """\
erfc = np.vectorize(math.erfc, otypes=[np.float64])
return x * (erfc(-x * math.sqrt(0.5)) / 2).astype(x.dtype)""",
    "gelu_tanh": """\
u = x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
return x * (1 + np.tanh(u)) / 2""",
    "mish": "return x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))",
    "softplus": "return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))",
}

#: Normalization -> its function. Statistics that a network never took are zeros.
_NORMALIZATIONS = {
    "batchnorm": """\
def batchnorm(x, i):
    mean, var = W.get(f"running_mean{i}", 0), W.get(f"running_var{i}", 0)
    return W[f"gamma{i}"] * ((x - mean) / np.sqrt(var + DTYPE(EPS[i - 1]))) + W[f"beta{i}"]
""",
    "layernorm": """\
def layernorm(x, i):
    x = x - x.mean(axis=1, keepdims=True)
    var = (x * x).mean(axis=1, keepdims=True)
    return W[f"gamma{i}"] * (x / np.sqrt(var + DTYPE(EPS[i - 1]))) + W[f"beta{i}"]
""",
}

#: Output -> the body of predict_proba, of scores s.
_PROBABILITIES = {
    "softmax": "e = np.exp(s - s.max(axis=1, keepdims=True))\nreturn e / e.sum(axis=1, keepdims=True)",
    "logistic": "e = np.exp(-np.abs(s))\np = np.where(s < 0, e, 1) / (1 + e)\nreturn ",
}


def write(description: Description, path: str) -> list[str]:
    """Write the module and, under its name with ``.npz`` at the end, the weights: a file of fastfc's own format."""
    weights = f"{os.path.splitext(path)[0]}.npz"
    text = source(description)
    # Both are replaced, or neither.
    with replaced_file(weights) as file, replaced_file(path) as module:
        np.savez(file, **description.packed)  # type: ignore[arg-type]
        file.flush()
        module.write(text.encode())
    return [path, weights]


def source(description: Description) -> str:
    """The module's text."""
    d = description
    return "\n\n".join(part for part in (_head(d), _functions(d), _scores(d), _predictions(d)) if part)


def _head(d: Description) -> str:
    uses_math = d.layers > 1 and "math." in activation_in(_ACTIVATIONS, d)
    lines = [
        f'"""A fully connected network, {"-".join(map(str, d.dims))}, made by fastfc. It needs NumPy only.',
        "",
        "Its weights are in the .npz file beside this one.",
        '"""',
        "",
        *(["import math"] if uses_math else []),
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        f"DTYPE = np.{d.dtype.name}",
        f"INPUTS, LAYERS, OUTPUTS = {d.dims[0]}, {d.layers}, {d.dims[-1]}",
    ]
    if d.normalization is not None:
        lines.append(f"EPS = {list(d.eps)!r}")
    if d.labels:
        lines.append(f"CLASSES = {'list(range(OUTPUTS))' if d.class_names is None else repr(d.class_names)}")
    lines += [
        "",
        'with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as _file:',
        '    W = {name.removeprefix("params."): _file[name] for name in _file.files}',
        "",
        f"_names = {_names(d)!r}",
        'if sorted(name for name in W if not name.startswith("running_")) != _names:',
        '    raise ValueError(f"{__file__}: expected {_names} in its .npz file, got {sorted(W)}")',
    ]
    return "\n".join(lines) + "\n"


def _names(d: Description) -> list[str]:
    """The arrays of the weights' file but for running statistics, which an untrained network does not have."""
    return sorted(name.removeprefix("params.") for name in d.packed if not name.startswith("running_"))


def _functions(d: Description) -> str:
    if d.layers == 1:
        return ""
    activation = f"def {d.activation}(x):\n{textwrap.indent(activation_in(_ACTIVATIONS, d), '    ')}\n"
    return "\n\n".join([*([_NORMALIZATIONS[d.normalization]] if d.normalization else []), activation])


def _scores(d: Description) -> str:
    x = "X.reshape(len(X), INPUTS)"
    lines = [
        "def scores(X):",
        '    """Scores (N, OUTPUTS) of examples X (N, ...)."""',
        "    X = np.asarray(X)",
        "    if X.ndim < 1 or np.prod(X.shape[1:]) != INPUTS:",
        '        raise ValueError(f"X: expected shape (N, ...) with {INPUTS} numbers an example, got {X.shape}")',
    ]
    if d.standardizes:
        lines += ["    # In float64: the mean may be large beside the deviation.", f"    x = {x}.astype(np.float64)"]
        x = "x"
        if d.input_mean is not None:
            lines.append(f'    x = x - W["input_mean"].astype(np.float64){_raveled(d, "input_mean")}')
        if d.input_scale is not None:
            lines.append(f'    x = x * W["input_scale"].astype(np.float64){_raveled(d, "input_scale")}')
    lines.append(f"    x = {x}.astype(DTYPE)")
    if d.layers > 1:
        lines += ["    for i in range(1, LAYERS):", '        x = x @ W[f"W{i}"] + W[f"b{i}"]']
        if d.normalization is not None:
            lines.append(f"        x = {d.normalization}(x, i)")
        lines.append(f"        x = {d.activation}(x)")
    lines.append('    return x @ W[f"W{LAYERS}"] + W[f"b{LAYERS}"]')
    return "\n".join(lines) + "\n"


def _raveled(d: Description, name: str) -> str:
    """One number per feature may have the shape of a picture."""
    return "" if d.packed[name].ndim < 2 else ".reshape(-1)"


def _predictions(d: Description) -> str:
    s = "scores(X)[:, 0]" if d.dims[-1] == 1 else "scores(X)"
    shape = "(N,)" if d.dims[-1] == 1 else "(N, OUTPUTS)"
    if d.labels:
        summary = "The class with the highest score, of each example of X (N, ...)."
        value = "np.array(CLASSES)[scores(X).argmax(axis=1)]"
    elif d.output == "logistic":
        summary, value = f"Whether the probability is above 0.5, as 0 or 1: {shape}.", f"({s} > 0).astype(np.int64)"
    else:
        summary, value = f"Predictions {shape} for examples X (N, ...).", f"np.exp({s})" if d.output == "exp" else s
    parts = [f'def predict(X):\n    """{summary}"""\n    return {value}\n']
    if d.output in _PROBABILITIES:
        body = _PROBABILITIES[d.output]
        if d.output == "logistic":
            body += "np.hstack([1 - p, p])" if d.dims[-1] == 1 else "p"
        summary = f"Probabilities (N, {'2), of 0 and of 1' if shape == '(N,)' else 'OUTPUTS)'} of examples X (N, ...)."
        lines = f'"""{summary}"""\ns = scores(X)\n{body}'
        parts.append(f"def predict_proba(X):\n{textwrap.indent(lines, '    ')}\n")
    return "\n\n".join(parts)
