"""Fused blocks of a fully connected net: affine - [batch | layer norm] - relu - [dropout].

Each runs as one compiled call on the fast backend. Arguments are those of the layers that
a block is made of, in their order (see :mod:`fastfc.layers`), and so are the errors; the
gradients come in the order of the forward pass's arrays. A block's cache belongs to its own
backward pass.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc import activations, layers
from fastfc._arguments import cast, float_arrays, number, require_shape
from fastfc._docstrings import complete
from fastfc._layer_arguments import (
    batchnorm_param,
    check_affine,
    check_norm_cache,
    check_scale_and_shift,
    checked_dropout_param,
    half_of,
    layernorm_param,
    legacy_dropout,
    require_flat,
    unpack,
    write_back,
)
from fastfc.backend import implementation
from fastfc.ops.blocks import BLOCKS, block_name
from fastfc.ops.norms import NORMS

__all__ = [
    "affine_batchnorm_relu_backward",
    "affine_batchnorm_relu_dropout_backward",
    "affine_batchnorm_relu_dropout_forward",
    "affine_batchnorm_relu_forward",
    "affine_layernorm_relu_backward",
    "affine_layernorm_relu_dropout_backward",
    "affine_layernorm_relu_dropout_forward",
    "affine_layernorm_relu_forward",
    "affine_relu_backward",
    "affine_relu_dropout_backward",
    "affine_relu_dropout_forward",
    "affine_relu_forward",
]

_Gradients = tuple[np.ndarray, ...]


def affine_relu_forward(x: ArrayLike, w: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, tuple]:
    """Affine - relu: ``out = max(x @ w + b, 0)``.

    Examples
    --------
    >>> out, cache = affine_relu_forward(np.ones((1, 2)), np.array([[1.0, -1.0], [1.0, -1.0]]), np.zeros(2))
    >>> out
    array([[2., 0.]])
    """
    return _block_forward(x, w, b)


def affine_relu_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_relu_forward`."""
    return _block_backward(dout, cache)


def affine_relu_dropout_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike, dropout_param: dict
) -> tuple[np.ndarray, tuple]:
    """Affine - relu - dropout."""
    return _block_forward(x, w, b, dropout_args=(dropout_param,))


def affine_relu_dropout_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_relu_dropout_forward`."""
    return _block_backward(dout, cache, dropout=True)


def affine_batchnorm_relu_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike, gamma: ArrayLike, beta: ArrayLike, bn_param: dict
) -> tuple[np.ndarray, tuple]:
    """Affine - batch norm - relu."""
    return _block_forward(x, w, b, "batchnorm", (gamma, beta, bn_param))


def affine_batchnorm_relu_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_batchnorm_relu_forward`."""
    return _block_backward(dout, cache, "batchnorm")


def affine_batchnorm_relu_dropout_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    bn_param: dict,
    dropout_param: dict,
) -> tuple[np.ndarray, tuple]:
    """Affine - batch norm - relu - dropout."""
    return _block_forward(x, w, b, "batchnorm", (gamma, beta, bn_param), (dropout_param,))


def affine_batchnorm_relu_dropout_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_batchnorm_relu_dropout_forward`."""
    return _block_backward(dout, cache, "batchnorm", dropout=True)


def affine_layernorm_relu_forward(
    x: ArrayLike, w: ArrayLike, b: ArrayLike, gamma: ArrayLike, beta: ArrayLike, ln_param: dict
) -> tuple[np.ndarray, tuple]:
    """Affine - layer norm - relu."""
    return _block_forward(x, w, b, "layernorm", (gamma, beta, ln_param))


def affine_layernorm_relu_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_layernorm_relu_forward`."""
    return _block_backward(dout, cache, "layernorm")


def affine_layernorm_relu_dropout_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    ln_param: dict,
    dropout_param: dict,
) -> tuple[np.ndarray, tuple]:
    """Affine - layer norm - relu - dropout."""
    return _block_forward(x, w, b, "layernorm", (gamma, beta, ln_param), (dropout_param,))


def affine_layernorm_relu_dropout_backward(dout: ArrayLike, cache: tuple) -> _Gradients:
    """Backward pass of :func:`affine_layernorm_relu_dropout_forward`."""
    return _block_backward(dout, cache, "layernorm", dropout=True)


def _block_forward(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike,
    norm: str | None = None,
    norm_args: tuple = (),
    dropout_args: tuple = (),
) -> tuple[np.ndarray, tuple]:
    """A block's forward pass: norm_args are gamma, beta and the normalization's dictionary, dropout_args dropout's."""
    if dropout_args:
        dropout = checked_dropout_param(*dropout_args)
        if dropout["legacy"]:
            return _with_legacy_dropout(_block_forward(x, w, b, norm, norm_args), dropout)
        dropout_args = (dropout,)
    if norm is None:
        (x, w, b), half = float_arrays(x=x, w=w, b=b)
        check_affine(x, w, b)
    else:
        gamma, beta, given = norm_args
        (x, w, b, gamma, beta), half = float_arrays(x=x, w=w, b=b, gamma=gamma, beta=beta)
        check_affine(x, w, b)
        check_scale_and_shift(gamma, beta, w.shape[1])
        param = batchnorm_param(given, len(x), gamma) if norm == "batchnorm" else layernorm_param(given, gamma)
        norm_args = (gamma, beta, param)
    out, cache = implementation(block_name(norm, bool(dropout_args), "forward"))(x, w, b, *norm_args, *dropout_args)
    if norm == "batchnorm":
        write_back(given, param)
    return cast(out, half), cache


def _with_legacy_dropout(block: tuple[np.ndarray, tuple], param: dict) -> tuple[np.ndarray, tuple]:
    """A block without dropout, and then that of 2017, in the form that the fused block would give."""
    out, cache = block
    dropped, _ = legacy_dropout(out, param)
    scale = 1 / (1 - param["p"]) if param["mode"] == "train" else 1.0
    return dropped, (*cache[:-1], dropped, scale)


def _block_backward(dout: ArrayLike, cache: tuple, norm: str | None = None, dropout: bool = False) -> _Gradients:
    half = half_of(dout)
    parts = unpack(cache, "of the block's forward pass", 2 + (norm is not None) + dropout)
    scale = parts[-1:] if dropout else ()
    fc_cache, *norm_caches, out = parts[:-1] if dropout else parts
    x, w, b = unpack(fc_cache, "(x, w, b)", 3)
    if norm is None:
        require_flat(out, x, w, b)
        (dout, out, x, w, b), _ = float_arrays(dout=dout, out=out, x=x, w=w, b=b)
    else:
        mode, x_hat, inv_std, gamma = unpack(norm_caches[0], "of the block's normalization", 4)
        if not (isinstance(mode, str) and mode in NORMS[norm].modes):
            raise ValueError(f"cache: expected one of {block_name(norm, dropout, 'forward')}, got mode {mode!r}")
        (dout, out, x, w, b, x_hat, inv_std, gamma), _ = float_arrays(
            dout=dout, out=out, x=x, w=w, b=b, x_hat=x_hat, inv_std=inv_std, gamma=gamma
        )
        norm_caches = [(mode, x_hat, inv_std, gamma)]
    check_affine(x, w, b)
    _check_output(dout, out, (len(x), w.shape[1]))
    for mode, x_hat, inv_std, gamma in norm_caches:
        check_norm_cache(dout, x_hat, inv_std, gamma, mode)
    checked = ((x, w, b), *norm_caches, out, *_checked_scale(scale))
    return cast(implementation(block_name(norm, dropout, "backward"))(dout, checked), half)


def _check_output(dout: np.ndarray, out: np.ndarray, shape: tuple[int, int]) -> None:
    require_shape("cache", out, shape, "the block's output")
    require_shape("dout", dout, shape, "the shape of the block's output")


def _checked_scale(scale: tuple) -> list[float]:
    return [number("cache", value) for value in scale]


def block_of(normalization: str | None, activation: str, dropout: bool) -> tuple[Callable, Callable]:
    """The two passes of ``affine - [norm] - activation - [dropout]``: a fused block for ReLU, else layer by layer."""
    if activation == "relu":
        forward, backward = (globals()[block_name(normalization, dropout, way)] for way in ("forward", "backward"))
        return forward, backward
    return (
        functools.partial(_composed_forward, normalization, activation, dropout),
        functools.partial(_composed_backward, normalization, activation, dropout),
    )


def _composed_forward(
    normalization: str | None, activation: str, dropout: bool, x: np.ndarray, w: np.ndarray, b: np.ndarray, *args: Any
) -> tuple[np.ndarray, tuple]:
    out, fc_cache = layers.affine_forward(x, w, b)
    norm_cache = dropout_cache = None
    if normalization is not None:
        gamma, beta, param = args[:3]
        out, norm_cache = getattr(layers, f"{normalization}_forward")(out, gamma, beta, param)
    out, slope = getattr(activations, f"{activation}_forward")(out)
    if dropout:
        out, dropout_cache = layers.dropout_forward(out, args[-1])
    return out, (fc_cache, norm_cache, slope, dropout_cache)


def _composed_backward(
    normalization: str | None, activation: str, dropout: bool, dout: np.ndarray, cache: tuple
) -> tuple[np.ndarray, ...]:
    fc_cache, norm_cache, slope, dropout_cache = cache
    if dropout:
        dout = layers.dropout_backward(dout, dropout_cache)
    dout = getattr(activations, f"{activation}_backward")(dout, slope)
    gradients: list[np.ndarray] = []
    if normalization is not None:
        # The alternative formula of batch normalization is the faster one.
        backward = layers.batchnorm_backward_alt if normalization == "batchnorm" else layers.layernorm_backward
        dout, *gradients = backward(dout, norm_cache)
    return *layers.affine_backward(dout, fc_cache), *gradients


def _sections(name: str, norm: str | None, dropout: bool, direction: str) -> dict[str, str]:
    """The sections of a block's docstring, which follow from what the block is made of."""
    forward = block_name(norm, dropout, "forward")
    norm_args = {None: "", "batchnorm": ', gamma, beta, {"mode": "train"}', "layernorm": ", gamma, beta, {}"}[norm]
    dropout_args = ', {"mode": "train", "p": 0.5}' if dropout else ""
    scale = "\n>>> gamma, beta = np.ones(2), np.zeros(2)" if norm else ""
    example = f"""\
>>> x, w, b = np.ones((4, 3)), np.ones((3, 2)), np.zeros(2){scale}
>>> out, cache = {forward}(
...     x, w, b{norm_args}{dropout_args}
... )"""
    notes = "After CS231n, assignment 2, ``layer_utils.py``."
    if direction == "backward":
        names = ["dx", "dw", "db", *(["dgamma", "dbeta"] if norm else [])]
        return {
            "Parameters": f"""\
dout : array (N, M)
    Gradient of the loss with respect to the block's output.
cache : tuple
    From :func:`{forward}`.""",
            "Returns": f"""\
dx : array (N, d1, ..., dk)
dw : array (D, M)
{", ".join(names[2:])} : array (M,)""",
            "Raises": """\
ValueError
    If `dout` does not have the output's shape, or `cache` is not the forward pass's.""",
            "Notes": notes,
            "Examples": f"""\
{example}
>>> {", ".join(names)} = {name}(np.ones((4, 2)), cache)
>>> dx.shape, dw.shape, db.shape
((4, 3), (3, 2), (2,))""",
        }
    extra = ""
    if norm:
        param = "bn_param" if norm == "batchnorm" else "ln_param"
        extra += f"""
gamma, beta : array (M,)
{param} : dict
    As for :func:`fastfc.layers.{norm}_forward`."""
    if dropout:
        extra += """
dropout_param : dict
    As for :func:`fastfc.layers.dropout_forward`."""
    return {
        "Parameters": f"""\
x : array (N, d1, ..., dk)
    A minibatch of N examples, with D = d1 * ... * dk features each.
w : array (D, M)
b : array (M,){extra}""",
        "Returns": f"""\
out : array (N, M)
cache : tuple
    For :func:`{block_name(norm, dropout, "backward")}`.""",
        "Raises": """\
ValueError, TypeError
    As the layers that the block is made of.""",
        "Notes": notes,
        "Examples": f"{example}\n>>> out.shape\n(4, 2)",
    }


for _norm, _dropout in BLOCKS:
    for _direction in ("forward", "backward"):
        _name = block_name(_norm, _dropout, _direction)
        complete(globals()[_name], **_sections(_name, _norm, _dropout, _direction))
