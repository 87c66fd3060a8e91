"""Inputs for every operation, and how exact its result must be.

One builder per row of :data:`fastfc.ops.registry.OPS`. ``fastfc check``, the tests and the
benchmarks all take their inputs from here.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from fastfc.ops.activations import ACTIVATIONS, SLOPED
from fastfc.ops.blocks import BLOCKS, block_name
from fastfc.ops.case import (
    Case,
    Sample,
    Sizes,
    all_results,
    cache_of,
    first_result,
    largest_error,
    normal,
    only_result,
    wide,
)
from fastfc.ops.losses import LOSSES
from fastfc.ops.rules import RULES
from fastfc.ops.tolerance import tolerance
from fastfc.reference import activation as activations
from fastfc.reference import loss as losses

__all__ = ["BUILDERS", "Case", "Sizes", "build", "largest_error", "normal"]

_EPS = 1e-5
_KEEP = 0.7
_SEED = 231


def build(name: str, sizes: Sizes, dtype: DTypeLike, seed: int = 0, sample: Sample = normal) -> Case:
    """Make a case of an operation.

    Parameters
    ----------
    name : str
        A key of ``fastfc.backend.OPS``.
    sizes : Sizes
    dtype : float32 or float64
    seed : int
        Of the generator that values are drawn from.
    sample : function
        Draws the values of one argument: see :func:`normal`.

    Returns
    -------
    Case

    Examples
    --------
    >>> case = build("affine_forward", Sizes(4, 3), "float64")
    >>> [argument.shape for argument in case.args]
    [(4, 7), (7, 3), (3,)]
    """
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    with np.errstate(all="ignore"):
        return BUILDERS[name](name, sizes, lambda what, *shape: sample(rng, what, shape).astype(kind), rng)


# ------------------------------------------------------------------------------------------- affine, relu


def _affine_args(sizes, draw):
    return draw("x", sizes.n, sizes.inputs), draw("w", sizes.inputs, sizes.d), draw("b", sizes.d)


def _affine_magnitude(x, w, b):
    x, w, b = wide(x, w, b)
    return x @ w + b


def _affine_gradient_magnitudes(da, x, w):
    """Magnitudes of dx, dw and db for a gradient of magnitude da at the affine output."""
    x, w = wide(x, w)
    return [da @ w.T, x.T @ da, da.sum(axis=0)]


def _affine_forward(name, sizes, draw, rng):
    args = _affine_args(sizes, draw)
    return Case(name, args, first_result, [_affine_magnitude(*args)], sizes.inputs)


def _affine_backward(name, sizes, draw, rng):
    args = _affine_args(sizes, draw)
    dout = draw("dout", sizes.n, sizes.d)
    magnitudes = _affine_gradient_magnitudes(wide(dout)[0], *args[:2])
    return Case(name, (dout, args), all_results, magnitudes, max(sizes.d, sizes.n))


def _relu_forward(name, sizes, draw, rng):
    x = draw("x", sizes.n, sizes.d)
    return Case(name, (x,), first_result, wide(x), 0)


def _sloped_forward(name, sizes, draw, rng):
    activation = ACTIVATIONS[name.removesuffix("_forward")]
    x = draw("x", sizes.n, sizes.d)
    value, slope = getattr(activations, f"{activation.name}_magnitudes")(x.astype(np.float64))
    # Exponentials below the smallest normal one are flushed to 0, and factors of x's size follow; far out, both are 0.
    size, limits = np.abs(x.astype(np.float64)), np.finfo(x.dtype)
    factor = np.where(size < 1 - np.log(float(limits.smallest_subnormal)), size, 0)
    smallest = float(limits.tiny) / tolerance(x.dtype, 0) * (1 + factor) ** 3
    return Case(name, (x,), all_results, [value + smallest, slope + smallest], activation.terms)


def _sloped_backward(name, sizes, draw, rng):
    dout, slope = draw("dout", sizes.n, sizes.d), draw("slope", sizes.n, sizes.d)
    return Case(name, (dout, slope), only_result, [np.abs(dout.astype(np.float64) * slope)], 0)


def _relu_backward(name, sizes, draw, rng):
    dout, x = draw("dout", sizes.n, sizes.d), draw("x", sizes.n, sizes.d)
    return Case(name, (dout, x), only_result, wide(dout), 0)


# ---------------------------------------------------------------------------------------- normalization


def _norm_magnitude(center, x, axis):
    """Magnitude of x_hat, where `center` is that of the centered x.

    An error in centered goes into x_hat directly and through the variance.
    """
    x = x.astype(np.float64)
    centered = np.abs(x - x.mean(axis=axis, keepdims=True))
    inv_std = 1 / np.sqrt(x.var(axis=axis, keepdims=True) + _EPS)
    x_hat = centered * inv_std
    return center * inv_std + x_hat * (1 + (x_hat * center * inv_std).mean(axis=axis, keepdims=True))


def _center_magnitude(x, size, axis):
    """Magnitude of (x - shift) - mean, where x itself has a magnitude of `size` (0 if it is exact)."""
    x = x.astype(np.float64)
    distance = np.abs(x - np.take(x, [0], axis=axis)) + size + np.take(size, [0], axis=axis)
    return distance + distance.mean(axis=axis, keepdims=True)


def _batchnorm_param(sizes, draw, mode):
    return {
        "mode": mode,
        "eps": _EPS,
        "momentum": 0.9,
        "running_mean": draw("running_mean", sizes.d),
        "running_var": draw("running_var", sizes.d),
    }


def _batchnorm_results(result, args):
    param = next(arg for arg in args if isinstance(arg, dict) and "running_mean" in arg)
    return [result[0], param["running_mean"], param["running_var"]]


def _batchnorm_magnitudes(x, size, gamma, beta, param):
    """Magnitudes of the output and of the running statistics; `size` is x's own magnitude, 0 if it is exact."""
    gamma, beta, running_mean, running_var = wide(gamma, beta, param["running_mean"], param["running_var"])
    center = _center_magnitude(x, size, 0)
    mean = 0.9 * running_mean + 0.1 * (np.abs(x[0].astype(np.float64)) + center.mean(axis=0))
    var = 0.9 * running_var + 0.1 * (center**2).mean(axis=0)
    return [gamma * _norm_magnitude(center, x, 0) + beta, mean, var]


def _batchnorm_forward(name, sizes, draw, rng):
    x, gamma, beta = draw("x", sizes.n, sizes.d), draw("gamma", sizes.d), draw("beta", sizes.d)
    param = _batchnorm_param(sizes, draw, "train")
    magnitudes = _batchnorm_magnitudes(x, np.zeros(x.shape), gamma, beta, param)
    return Case(name, (x, gamma, beta, param), _batchnorm_results, magnitudes, 2 * sizes.n)


def _batchnorm_gradient_magnitudes(dout, x_hat, inv_std, gamma):
    """Magnitudes of dx, dgamma and dbeta for a gradient of magnitude dout."""
    x_hat, inv_std, gamma = wide(x_hat, inv_std, gamma)
    dbeta, dgamma = dout.sum(axis=0), (dout * x_hat).sum(axis=0)
    dcentered = gamma * inv_std * (dout + dbeta / len(dout) + x_hat * dgamma / len(dout))
    return [dcentered + dcentered.mean(axis=0), dgamma, dbeta]


def _norm_gain(cache):
    """The factor gamma * inv_std comes after the sums."""
    inv_std, gamma = wide(*cache[2:])
    return 1 + gamma.max(initial=0) * inv_std.max(initial=0)


def _batchnorm_backward(name, sizes, draw, rng):
    x, gamma, beta = draw("x", sizes.n, sizes.d), draw("gamma", sizes.d), draw("beta", sizes.d)
    _, cache = cache_of("batchnorm_forward", x, gamma, beta, _batchnorm_param(sizes, draw, "train"))
    dout = draw("dout", sizes.n, sizes.d)
    magnitudes = _batchnorm_gradient_magnitudes(wide(dout)[0], *cache[1:])
    return Case(name, (dout, cache), all_results, magnitudes, 2 * sizes.n, _norm_gain(cache))


def _layernorm_forward(name, sizes, draw, rng):
    x, gamma, beta = draw("x", sizes.n, sizes.d), draw("gamma", sizes.d), draw("beta", sizes.d)
    size = _norm_magnitude(_center_magnitude(x, np.zeros(x.shape), 1), x, 1)
    magnitudes = [wide(gamma)[0] * size + wide(beta)[0]]
    return Case(name, (x, gamma, beta, {"eps": _EPS}), first_result, magnitudes, 2 * sizes.d)


def _layernorm_gradient_magnitudes(dout, x_hat, inv_std, gamma):
    """Magnitudes of dx, dgamma and dbeta for a gradient of magnitude dout."""
    x_hat, inv_std, gamma = wide(x_hat, inv_std, gamma)
    dx_hat = dout * gamma
    mean, projection = dx_hat.mean(axis=1, keepdims=True), (dx_hat * x_hat).mean(axis=1, keepdims=True)
    return [inv_std * (dx_hat + mean + x_hat * projection), (dout * x_hat).sum(axis=0), dout.sum(axis=0)]


def _layernorm_backward(name, sizes, draw, rng):
    x, gamma, beta = draw("x", sizes.n, sizes.d), draw("gamma", sizes.d), draw("beta", sizes.d)
    _, cache = cache_of("layernorm_forward", x, gamma, beta, {"eps": _EPS})
    dout = draw("dout", sizes.n, sizes.d)
    magnitudes = _layernorm_gradient_magnitudes(wide(dout)[0], *cache[1:])
    return Case(name, (dout, cache), all_results, magnitudes, max(sizes.n, sizes.d), _norm_gain(cache))


# ----------------------------------------------------------------------------------------- dropout, losses


def _dropout_param():
    return {"mode": "train", "p": _KEEP, "seed": _SEED}


def _dropout_forward(name, sizes, draw, rng):
    x = draw("x", sizes.n, sizes.d)
    return Case(name, (x, _dropout_param()), first_result, wide(x), 0)


def _dropout_backward(name, sizes, draw, rng):
    x, dout = draw("x", sizes.n, sizes.d), draw("dout", sizes.n, sizes.d)
    _, cache = cache_of("dropout_forward", x, _dropout_param())
    return Case(name, (dout, cache), only_result, wide(dout), 0)


def _softmax_loss(name, sizes, draw, rng):
    x, y = draw("x", sizes.n, sizes.d), rng.integers(0, sizes.d, sizes.n)
    wide = x.astype(np.float64)
    shifted = wide.max(axis=1, keepdims=True) - wide
    exponentials = np.exp(-shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    probabilities = exponentials / total
    # An error in an exponent is relative to the exponent.
    spread = 1 + np.where(probabilities > 0, probabilities * shifted, 0.0).sum(axis=1, keepdims=True)
    onehot = np.arange(sizes.d) == y[:, np.newaxis]
    dx = (probabilities * spread + np.where(probabilities > 0, probabilities * shifted, 0.0) + onehot) / sizes.n
    loss = (np.take_along_axis(shifted, y[:, np.newaxis], 1) + np.log(total) + spread).mean()
    # Flushed to zero below the smallest normal exponential.
    smallest = float(np.finfo(x.dtype).tiny) / tolerance(x.dtype, sizes.d)
    return Case(name, (x, y), all_results, [loss, dx + smallest], sizes.d + sizes.n)


def _svm_loss(name, sizes, draw, rng):
    x, y = draw("x", sizes.n, sizes.d), rng.integers(0, sizes.d, sizes.n)
    (size,) = wide(x)
    loss = (size + np.take_along_axis(size, y[:, np.newaxis], 1) + 1).sum() / sizes.n
    dx = np.where(np.arange(sizes.d) == y[:, np.newaxis], sizes.d, 1) / sizes.n
    return Case(name, (x, y), all_results, [loss, dx], sizes.n * sizes.d)


def _target_loss(name, sizes, draw, rng):
    loss = LOSSES[name.removesuffix("_loss")]
    x, t, weights = draw("x", sizes.n, sizes.d), draw("t", sizes.n, sizes.d), np.abs(draw("weights", sizes.n))
    low, high = loss.bounds
    t = np.clip(np.abs(t), low, high) if low == 0 else t
    value, slope = getattr(losses, f"{loss.name}_magnitudes")(x.astype(np.float64), t.astype(np.float64))
    shares = (weights / weights.sum())[:, np.newaxis].astype(np.float64)
    # Flushed to zero below the smallest normal exponential.
    smallest = float(np.finfo(x.dtype).tiny) / tolerance(x.dtype, 0)
    magnitudes = [(shares * value).sum() + smallest, shares * slope + smallest]
    return Case(name, (x, t.astype(x.dtype), weights), all_results, magnitudes, 2 * sizes.n + sizes.d)


def _l2_penalty(name, sizes, draw, rng):
    w, dw, reg = draw("w", sizes.n, sizes.d), draw("dw", sizes.n, sizes.d), 0.3
    magnitudes = [0.5 * reg * np.sum(w.astype(np.float64) ** 2), wide(dw)[0] + reg * wide(w)[0]]
    return Case(name, (w, dw, reg), lambda result, args: [result, args[1]], magnitudes, sizes.n * sizes.d)


# ------------------------------------------------------------------------------------------- fused blocks


def _block_forward(name, sizes, draw, rng):
    x, w, b = _affine_args(sizes, draw)
    size = _affine_magnitude(x, w, b)
    a = x @ w + b
    dropout = (_dropout_param(),) if "dropout" in name else ()
    scale = 1 / _KEEP if dropout else 1.0
    gamma, beta = draw("gamma", sizes.d), draw("beta", sizes.d)
    if "batchnorm" in name:
        param = _batchnorm_param(sizes, draw, "train")
        out, mean, var = _batchnorm_magnitudes(a, size, gamma, beta, param)
        args = (x, w, b, gamma, beta, param, *dropout)
        return Case(name, args, _batchnorm_results, [scale * out, mean + size.mean(axis=0), var], 3 * _longest(sizes))
    if "layernorm" in name:
        center = _center_magnitude(a, size, 1)
        out = wide(gamma)[0] * _norm_magnitude(center, a, 1) + wide(beta)[0]
        return Case(
            name, (x, w, b, gamma, beta, {"eps": _EPS}, *dropout), first_result, [scale * out], 3 * _longest(sizes)
        )
    return Case(name, (x, w, b, *dropout), first_result, [scale * size], sizes.inputs)


def _block_backward(name, sizes, draw, rng):
    forward = name.replace("backward", "forward")
    forward_case = _block_forward(forward, sizes, draw, rng)
    out, cache = cache_of(forward, *forward_case.args)
    dout = draw("dout", sizes.n, sizes.d)
    scale = 1 / _KEEP if "dropout" in name else 1.0
    (gated,) = wide(np.where(out > 0, dout * scale, 0))
    x, w = forward_case.args[:2]
    if "batchnorm" in name:
        da, *norm = _batchnorm_gradient_magnitudes(gated, *cache[1][1:])
    elif "layernorm" in name:
        da, *norm = _layernorm_gradient_magnitudes(gated, *cache[1][1:])
    else:
        da, norm = gated, []
    magnitudes = [*_affine_gradient_magnitudes(da, x, w), *norm]
    gain = _norm_gain(cache[1]) if norm else 1.0
    gain *= 1 + _longest(sizes) * max(array.max(initial=0) for array in wide(x, w))
    return Case(name, (dout, cache), all_results, magnitudes, 3 * _longest(sizes), gain)


def _longest(sizes):
    """The longest sum in a block; three of them are chained at most."""
    return max(sizes.n, sizes.d, sizes.inputs)


# ------------------------------------------------------------------------------------------- update rules


# Of the cases, where they are not the rule's own: moments that have seen some steps.
_STEPS_TAKEN = 3


def _rule(name, sizes, draw, rng):
    rule = RULES[name]
    w, dw = draw("w", sizes.n, sizes.d), draw("dw", sizes.n, sizes.d)
    state = {key: draw(key, sizes.n, sizes.d) for key in rule.state}
    config = {**rule.defaults, "learning_rate": 0.01, **state, **{key: np.abs(state[key]) for key in rule.squares}}
    if "t" in config:
        config["t"] = _STEPS_TAKEN
    expected = rule.magnitudes(config, *wide(w, dw, *(config[key] for key in rule.state)))
    return Case(
        name, (w, dw, config), lambda result, args: [result[0], *(result[1][k] for k in rule.state)], expected, 0
    )


_BUILDERS_BY_NAME = {
    "affine_forward": _affine_forward,
    "affine_backward": _affine_backward,
    "relu_forward": _relu_forward,
    "relu_backward": _relu_backward,
    "batchnorm_forward": _batchnorm_forward,
    "batchnorm_backward": _batchnorm_backward,
    "batchnorm_backward_alt": _batchnorm_backward,
    "layernorm_forward": _layernorm_forward,
    "layernorm_backward": _layernorm_backward,
    "dropout_forward": _dropout_forward,
    "dropout_backward": _dropout_backward,
    "softmax_loss": _softmax_loss,
    "svm_loss": _svm_loss,
    "l2_penalty": _l2_penalty,
    **{f"{name}_forward": _sloped_forward for name in SLOPED},
    **{f"{name}_backward": _sloped_backward for name in SLOPED},
    **{f"{name}_loss": _target_loss for name, loss in LOSSES.items() if not loss.labels},
}

#: Operation name -> builder.
BUILDERS: dict[str, Callable[..., Case]] = {
    **_BUILDERS_BY_NAME,
    **dict.fromkeys(RULES, _rule),
    **{
        block_name(*block, direction): builder
        for block in BLOCKS
        for direction, builder in (("forward", _block_forward), ("backward", _block_backward))
    },
}
