"""Networks as C99 that calls nothing but ``math.h``: a source file with the weights in it, and its header."""

import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastfc.formats.atomic import replaced_file
from fastfc.formats.export.description import Description, activation_in, checked_input_dtype

__all__ = ["sources", "write"]

#: Helpers that activations use: names -> text. REAL is the network's type, and a name that ends in $ a function of it.
_HELPERS = {
    "logistic": """\
static REAL logistic(REAL x)
{
    REAL e = exp$(-fabs$(x));
    return (x < 0 ? e : 1) / (1 + e);
}
""",
    "softplus": """\
static REAL softplus(REAL x)
{
    return (x > 0 ? x : 0) + log1p$(exp$(-fabs$(x)));
}
""",
}

#: Activation -> the helper it uses, and its expression of x.
_ACTIVATIONS: dict[str, tuple[str | None, str]] = {
    "relu": (None, "x < 0 ? 0 : x"),
    "leaky_relu": (None, "x > 0 ? x : (REAL)0.01 * x"),
    "tanh": (None, "tanh$(x)"),
    "logistic": ("logistic", "logistic(x)"),
    "identity": (None, "x"),
    "selu": (None, "(REAL)1.0507009873554805 * (x > 0 ? x : (REAL)1.6732632423543772 * expm1$(x))"),
    "elu": (None, "x > 0 ? x : expm1$(x)"),
    "silu": ("logistic", "x * logistic(x)"),
    "gelu": (None, "x * erfc$(-x * (REAL)0.70710678118654752440) / 2"),
    "gelu_tanh": (None, "x * (1 + tanh$((REAL)0.79788456080286535588 * (x + (REAL)0.044715 * x * x * x))) / 2"),
    "mish": ("softplus", "x * tanh$(softplus(x))"),
    "softplus": ("softplus", "softplus(x)"),
}

_AFFINE = """\
/* y = x W + b, with W (n, m). */
static void affine(const REAL *x, size_t n, const REAL *W, const REAL *b, size_t m, REAL *y)
{
    for (size_t j = 0; j < m; j++)
        y[j] = b[j];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < m; j++)
            y[j] += x[i] * W[i * m + j];
}
"""

#: Normalization -> its function, and the arrays it is called with.
_NORMALIZATIONS = {
    "batchnorm": (
        """\
/* The running statistics are the mean, and in the factor gamma / sqrt(var + eps). */
static void batchnorm(REAL *x, size_t n, const REAL *mean, const REAL *factor, const REAL *beta)
{
    for (size_t j = 0; j < n; j++)
        x[j] = (x[j] - mean[j]) * factor[j] + beta[j];
}
""",
        ("mean", "factor", "beta"),
    ),
    "layernorm": (
        """\
static void layernorm(REAL *x, size_t n, const REAL *gamma, const REAL *beta, REAL eps)
{
    REAL mean = 0, var = 0;
    for (size_t j = 0; j < n; j++)
        mean += x[j];
    mean /= (REAL)n;
    for (size_t j = 0; j < n; j++) {
        x[j] -= mean;
        var += x[j] * x[j];
    }
    REAL factor = 1 / sqrt$(var / (REAL)n + eps);
    for (size_t j = 0; j < n; j++)
        x[j] = x[j] * factor * gamma[j] + beta[j];
}
""",
        ("gamma", "beta"),
    ),
}

_SOFTMAX = """\
    REAL largest = p[0], sum = 0;
    for (size_t j = 1; j < OUTPUTS; j++)
        if (p[j] > largest)
            largest = p[j];
    for (size_t j = 0; j < OUTPUTS; j++) {
        p[j] = exp$(p[j] - largest);
        sum += p[j];
    }
    for (size_t j = 0; j < OUTPUTS; j++)
        p[j] /= sum;
"""

#: Output -> the function's name, its comment, the helper it uses, and its body over the scores p.
_OUTPUTS: dict[str, tuple[str, str, str | None, str]] = {
    "softmax": ("probabilities", "The softmax of the scores.", None, _SOFTMAX),
    "logistic": (
        "probabilities",
        "A probability for each output by itself.",
        "logistic",
        "    for (size_t j = 0; j < OUTPUTS; j++)\n        p[j] = logistic(p[j]);\n",
    ),
    "exp": (
        "predictions",
        "The exponentials of the scores.",
        None,
        "    for (size_t j = 0; j < OUTPUTS; j++)\n        p[j] = exp$(p[j]);\n",
    ),
}


def write(description: Description, path: str, input_dtype: DTypeLike | None = None) -> list[str]:
    """Write the source and the header; `path` may be either's name."""
    stem = path[: -len(".c")]
    code, declarations = sources(description, os.path.basename(stem), checked_input_dtype(description, input_dtype))
    written = [f"{stem}.c", f"{stem}.h"]
    # Both are replaced, or neither.
    with replaced_file(written[0]) as source, replaced_file(written[1]) as header:
        source.write(code.encode("ascii"))
        source.flush()
        header.write(declarations.encode("ascii"))
    return written


def sources(description: Description, name: str, input_dtype: np.dtype[Any]) -> tuple[str, str]:
    """The source and the header of a network in the file `name`, of which the functions' names are made.

    Raises
    ------
    ValueError
        If a number of the network is not finite.
    """
    d, prefix = description, _identifier(name)
    real, suffix = ("float", "f") if d.dtype == np.float32 else ("double", "")
    words = {"REAL": f"{prefix}_real", "PREFIX": prefix, "$": suffix}
    words |= {word: f"{prefix.upper()}_{word}" for word in ("INPUTS", "OUTPUTS")}

    def named(text: str) -> str:
        return re.sub(r"\b(?:REAL|INPUTS|OUTPUTS)\b|\bPREFIX(?=_)|\$(?=\()", lambda found: words[found[0]], text)

    code = named("\n".join([_constants(d, input_dtype), _functions(d), _scores(d, input_dtype), _predictions(d)]))
    parts = [_head(d, name), code]
    if d.labels and d.class_names is not None:
        strings = _rows(map(_string, d.class_names))
        parts.append(f"const char *const {prefix}_class_names[{prefix.upper()}_OUTPUTS] = {{\n{strings}\n}};\n")
    return "\n".join(parts), _header(d, prefix, real, input_dtype)


def _identifier(name: str) -> str:
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if re.match("[A-Za-z]", word) else f"net{word}"


def _string(text: str) -> str:
    """A C string literal, of the text's UTF-8 bytes; `?` is escaped because of trigraphs."""
    kept = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in kept else f"\\{b:03o}" for b in text.encode("utf-8", "replace")) + '"'


def _header(d: Description, prefix: str, real: str, input_dtype: np.dtype[Any]) -> str:
    upper = prefix.upper()
    lines = [
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        f"#define {upper}_INPUTS {d.dims[0]}",
        f"#define {upper}_OUTPUTS {d.dims[-1]}",
        "",
        f"typedef {real} {prefix}_real;",
        f"typedef {'float' if input_dtype == np.float32 else 'double'} {prefix}_input;",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"/* x ({upper}_INPUTS) -> scores ({upper}_OUTPUTS). */",
        f"void {prefix}_scores(const {prefix}_input *x, {prefix}_real *scores);",
    ]
    if d.labels:
        lines += ["/* The class with the highest score, from 0. */", f"int {prefix}_predict(const {prefix}_input *x);"]
    elif _is_binary(d):
        lines += ["/* Whether the probability is above 0.5. */", f"int {prefix}_predict(const {prefix}_input *x);"]
    if d.output in _OUTPUTS:
        name, comment, _, _ = _OUTPUTS[d.output]
        lines += [f"/* {comment} */", f"void {prefix}_{name}(const {prefix}_input *x, {prefix}_real *p);"]
    if d.labels and d.class_names is not None:
        lines += ["/* In UTF-8. */", f"extern const char *const {prefix}_class_names[{upper}_OUTPUTS];"]
    return "\n".join([*lines, "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""])


def _head(d: Description, name: str) -> str:
    widths = "-".join(map(str, d.dims))
    return f"""\
/* A fully connected network, {widths}, made by fastfc. Compile it as C99, and link it with -lm.
   It keeps no state: any number of threads may call it. */
#include <math.h>
#include <stddef.h>

#include {_included(name)}
"""


def _included(name: str) -> str:
    """A header's name is no string literal: it has no escapes. Where one is called math.h, <math.h> may be it."""
    if name.lower() in ("math", "stddef"):
        raise ValueError(f"path: expected another name than {name!r}, as the C library has a header {name.lower()}.h")
    if not re.fullmatch(r"[\w .+@=,-]+", name, re.ASCII):
        raise ValueError(f"path: expected a name of letters, digits and ._-+, which C can include, got {name!r}")
    return f'"{name}.h"'


def _constants(d: Description, input_dtype: np.dtype[Any]) -> str:
    parts = []
    for key, per_feature in (("input_mean", d.input_mean), ("input_scale", d.input_scale)):
        if per_feature is not None:
            parts.append(_array("PREFIX_input", key, per_feature.astype(input_dtype)))
    for i in range(1, d.layers + 1):
        arrays = {name: d.arrays[f"{name}{i}"] for name in ("W", "b")}
        if d.normalization == "layernorm" and i < d.layers:
            arrays |= {name: d.arrays[f"{name}{i}"] for name in ("gamma", "beta")}
        elif d.normalization == "batchnorm" and i < d.layers:
            gamma, var = (d.arrays[f"{name}{i}"].astype(np.float64) for name in ("gamma", "running_var"))
            factor = (gamma / np.sqrt(var + d.eps[i - 1])).astype(d.dtype)
            arrays |= {"mean": d.arrays[f"running_mean{i}"], "factor": factor, "beta": d.arrays[f"beta{i}"]}
        parts += [_array("REAL", f"{name}{i}", array) for name, array in arrays.items()]
    return "\n".join(parts)


def _array(kind: str, name: str, array: NDArray[Any]) -> str:
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, which C can write, got nan or infinity")
    # As many digits as tell any two numbers of the type apart.
    form, suffix = ("%.8e", "f") if array.dtype == np.float32 else ("%.16e", "")
    numbers = [form % value + suffix for value in array.reshape(-1).tolist()]
    rows = _rows(", ".join(numbers[start : start + 6]) for start in range(0, len(numbers), 6))
    return f"static const {kind} {name}[{len(numbers)}] = {{\n{rows}\n}};\n"


def _rows(rows: Iterable[str]) -> str:
    return ",\n".join(f"    {row}" for row in rows)


def _functions(d: Description) -> str:
    helper, expression = activation_in(_ACTIVATIONS, d) if d.layers > 1 else (None, "")
    helpers = {helper, *([_OUTPUTS[d.output][2]] if d.output in _OUTPUTS and not d.labels else [])}
    parts = [_HELPERS[name] for name in sorted(filter(None, helpers))]
    parts.append(_AFFINE)
    if d.layers > 1:
        if d.normalization is not None:
            parts.append(_NORMALIZATIONS[d.normalization][0])
        parts.append(
            "static void activate(REAL *values, size_t n)\n{\n    for (size_t j = 0; j < n; j++) {\n"
            f"        REAL x = values[j];\n        values[j] = {expression};\n    }}\n}}\n"
        )
    return "\n".join(parts)


def _scores(d: Description, input_dtype: np.dtype[Any]) -> str:
    """Two buffers take turns: each layer reads one and writes the other."""
    lines = ["void PREFIX_scores(const PREFIX_input *x, REAL *scores)", "{"]
    if d.layers > 1:
        lines.append(f"    REAL u[{max(d.dims[1:-1])}]{f', v[{max(d.dims[1:-1])}]' if d.layers > 2 else ''};")
    source = "x"
    if d.standardizes or input_dtype != d.dtype:
        lines += _entrance(d)
        source = "inputs"
    for i in range(1, d.layers):
        target = "uv"[(i - 1) % 2]
        lines.append(f"    affine({source}, {d.dims[i - 1]}, W{i}, b{i}, {d.dims[i]}, {target});")
        if d.normalization is not None:
            arguments = ", ".join(f"{name}{i}" for name in _NORMALIZATIONS[d.normalization][1])
            eps = f", (REAL){d.eps[i - 1]!r}" if d.normalization == "layernorm" else ""
            lines.append(f"    {d.normalization}({target}, {d.dims[i]}, {arguments}{eps});")
        lines.append(f"    activate({target}, {d.dims[i]});")
        source = target
    lines.append(f"    affine({source}, {d.dims[-2]}, W{d.layers}, b{d.layers}, OUTPUTS, scores);")
    return "\n".join([*lines, "}", ""])


def _entrance(d: Description) -> list[str]:
    """Examples in the network's type, standardized."""
    value = "x[j]" if d.input_mean is None else "(x[j] - input_mean[j])"
    if d.input_scale is not None:
        value = f"({value} * input_scale[j])"
    return [
        "    REAL inputs[INPUTS];",
        "    for (size_t j = 0; j < INPUTS; j++)",
        f"        inputs[j] = (REAL){value};",
    ]


def _predictions(d: Description) -> str:
    parts = []
    if d.labels:
        parts.append("""\
int PREFIX_predict(const PREFIX_input *x)
{
    REAL s[OUTPUTS];
    int best = 0;
    PREFIX_scores(x, s);
    for (int j = 1; j < OUTPUTS; j++)
        if (s[j] > s[best])
            best = j;
    return best;
}
""")
    elif _is_binary(d):
        parts.append("""\
int PREFIX_predict(const PREFIX_input *x)
{
    REAL s[1];
    PREFIX_scores(x, s);
    return s[0] > 0;
}
""")
    if d.output in _OUTPUTS:
        name, _, _, body = _OUTPUTS[d.output]
        parts.append(f"void PREFIX_{name}(const PREFIX_input *x, REAL *p)\n{{\n    PREFIX_scores(x, p);\n{body}}}\n")
    return "\n".join(parts)


def _is_binary(d: Description) -> bool:
    return not d.labels and d.output == "logistic" and d.dims[-1] == 1
