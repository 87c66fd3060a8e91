"""Arguments of layers and blocks: checked shapes, dictionaries and caches.

:mod:`fastfc._arguments` has the checks that have nothing to do with layers.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import as_array, float_arrays, number, require_mapping, require_ndim, require_shape
from fastfc.course.years import legacy_of

# BLAS counts rows and columns in 32 bits.
_LARGEST_DIMENSION = 2**31 - 1


def check_affine(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> None:
    """ValueError unless x (N, d1..dk), w (D, M) and b (M,) fit."""
    require_ndim("w", w, 2, "(D, M)")
    if x.ndim < 1 or prod(x.shape[1:]) != w.shape[0]:
        raise ValueError(f"x: expected shape (N, ...) with {w.shape[0]} features a row for w {w.shape}, got {x.shape}")
    require_shape("b", b, (w.shape[1],), f"one bias per column of w {w.shape}")
    if max(len(x), *w.shape) > _LARGEST_DIMENSION:
        raise ValueError(f"x, w: expected at most {_LARGEST_DIMENSION} rows and columns, got {x.shape} and {w.shape}")


def check_scale_and_shift(gamma: np.ndarray, beta: np.ndarray, d: int) -> None:
    """ValueError unless gamma and beta are (d,)."""
    require_shape("gamma", gamma, (d,), "one scale per feature")
    require_shape("beta", beta, (d,), "one shift per feature")


def batchnorm_param(bn_param: dict, n: int, gamma: np.ndarray) -> dict:
    """A checked copy of bn_param for a batch of n rows, every entry present, arrays in gamma's dtype."""
    require_mapping("bn_param", bn_param)
    mode = bn_param.get("mode")
    if not (isinstance(mode, str) and mode in ("train", "test")):
        raise ValueError(f'Invalid forward batchnorm mode "{mode}"')
    if mode == "train" and n == 0:
        raise ValueError("x: expected at least one row in mode 'train', got none")
    param: dict[str, Any] = {
        "mode": mode,
        "eps": checked_eps("bn_param", bn_param),
        "momentum": checked_momentum(bn_param),
    }
    for key in ("running_mean", "running_var"):
        given = bn_param.get(key)
        if given is None:
            param[key] = np.zeros_like(gamma)
        else:
            (statistic,), _ = float_arrays(**{f"bn_param['{key}']": given})
            require_shape(f"bn_param['{key}']", statistic, gamma.shape, "one value per feature")
            param[key] = statistic.astype(gamma.dtype, copy=False)
    return param


def write_back(bn_param: dict, param: dict) -> None:
    """Put the running statistics of a finished forward pass where the caller keeps them."""
    bn_param["running_mean"] = param["running_mean"]
    bn_param["running_var"] = param["running_var"]


def layernorm_param(ln_param: dict, gamma: np.ndarray) -> dict:
    """A checked copy of what layer normalization reads of ln_param."""
    require_mapping("ln_param", ln_param)
    if gamma.size == 0:
        raise ValueError("x: expected at least one feature a row, got none")
    return {"eps": checked_eps("ln_param", ln_param)}


def checked_eps(name: str, param: dict) -> float:
    """The eps of a normalization's dictionary; ValueError unless it is at least 0."""
    eps = number(f"{name}['eps']", param.get("eps", 1e-5))
    if not eps >= 0:
        raise ValueError(f"{name}['eps']: expected a number of at least 0, got {eps}")
    return eps


def checked_momentum(bn_param: dict) -> float:
    """The momentum of batch normalization's dictionary; ValueError unless it is from 0 to 1."""
    momentum = number("bn_param['momentum']", bn_param.get("momentum", 0.9))
    # Beyond, a running variance may become negative, and predictions NaN.
    if not 0 <= momentum <= 1:
        raise ValueError(f"bn_param['momentum']: expected a number from 0 to 1, got {momentum}")
    return momentum


def dropout_mode(dropout_param: dict) -> str:
    """The mode in dropout's dictionary; ValueError unless it is "train" or "test"."""
    require_mapping("dropout_param", dropout_param)
    mode = dropout_param.get("mode")
    if not (isinstance(mode, str) and mode in ("train", "test")):
        raise ValueError(f"dropout_param['mode']: expected 'train' or 'test', got {mode!r}")
    return mode


def checked_dropout_param(dropout_param: dict) -> dict:
    """A checked copy of dropout_param."""
    param: dict[str, Any] = {"mode": dropout_mode(dropout_param), "seed": dropout_param.get("seed")}
    param["legacy"] = legacy_of(dropout_param)
    if param["mode"] == "train":
        if "p" not in dropout_param:
            raise ValueError("dropout_param['p']: expected the probability to keep a value, got nothing")
        p = param["p"] = number("dropout_param['p']", dropout_param["p"])
        if param["legacy"] and not 0 <= p < 1:
            raise ValueError(f"dropout_param['p']: expected a probability to drop, 0 <= p < 1, got {p}")
        if not param["legacy"] and not 0 < p <= 1:
            raise ValueError(f"dropout_param['p']: expected a probability to keep, 0 < p <= 1, got {p}")
    if param["seed"] is not None:
        seeded(np.random.RandomState, param["seed"])
    return param


def seeded(make: Callable[[Any], Any], seed: Any) -> Any:
    """``make(seed)``; its TypeError or ValueError names dropout's seed."""
    try:
        return make(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"dropout_param['seed']: {error}") from error


def legacy_dropout(x: np.ndarray, param: dict) -> tuple[np.ndarray, np.ndarray | None]:
    """Dropout as it was until 2017, on both backends: out and mask, None in test mode."""
    if param["seed"] is not None:
        np.random.seed(param["seed"])
    if param["mode"] == "test":
        return x.copy(), None
    p = param["p"]
    mask = ((np.random.random_sample(x.shape) >= p) / (1 - p)).astype(x.dtype)
    return x * mask, mask


def check_norm_cache(dout: np.ndarray, x_hat: np.ndarray, inv_std: np.ndarray, gamma: np.ndarray, mode: str) -> None:
    """ValueError unless the arrays of a normalization's cache and dout fit each other."""
    require_ndim("cache", x_hat, 2, "(N, D) for x_hat")
    n, d = x_hat.shape
    require_shape("dout", dout, (n, d), "the shape of the layer's output")
    if mode == "train" and n == 0:
        raise ValueError("cache: expected one of a batch with at least one row, got none")
    require_shape("cache", gamma, (d,), "gamma, one scale per feature")
    require_shape("cache", inv_std, (n, 1) if mode == "layer" else (d,), "inv_std")


def unpack(cache: object, form: str, length: int) -> tuple:
    """The parts of a cache; ValueError that names its form for anything else."""
    if not isinstance(cache, tuple) or len(cache) != length:
        raise ValueError(f"cache: expected the tuple {form} that the forward pass returned, got {type(cache).__name__}")
    return cache


def require_flat(*parts: object) -> None:
    """ValueError if a part of a cache that must be an array is a tuple itself."""
    for part in parts:
        if isinstance(part, tuple):
            raise ValueError("cache: expected one of this function's forward pass, got a tuple in it")


def half_of(dout: ArrayLike) -> np.dtype | None:
    """float16 if dout has it: a backward pass answers in its argument's dtype."""
    return np.dtype(np.float16) if as_array("dout", dout).dtype.newbyteorder("=") == np.float16 else None
