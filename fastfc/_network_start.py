"""How a network for somebody else's loop starts: checked arguments, initial weights, random streams."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastfc._ranges import require_count
from fastfc._runtime.stream import words_of
from fastfc.initializers import INITIALIZERS, draw
from fastfc.params import FlatParameters

__all__ = ["Initializer", "Seed", "checked_widths", "draw_weights", "generator", "new_words"]

Seed = int | np.random.RandomState | np.random.Generator | None
Initializer = str | Callable[[tuple[int, int], Any, Any], np.ndarray]

# The activations whose layers are drawn as He et al. do if nothing else is said; the others as Glorot and Bengio do.
_RECTIFIERS = ("relu", "leaky_relu", "elu", "silu", "gelu", "gelu_tanh", "mish", "softplus")


def checked_widths(dims: Any) -> list[int]:
    """Features, widths of hidden layers, outputs; an error that names the argument unless all are positive."""
    if isinstance(dims, (str, bytes)) or not isinstance(dims, (Sequence, np.ndarray)):
        raise TypeError(f"dims: expected a list of widths, from the features to the outputs, got {dims!r}")
    if len(dims) < 2:
        raise ValueError(f"dims: expected at least two widths, features and outputs, got {len(dims)}")
    for width in dims:
        require_count("dims", width, 1)
    return [int(width) for width in dims]


def draw_weights(
    params: FlatParameters, initializer: Any, activation: str, rng: np.random.RandomState | np.random.Generator | None
) -> None:
    """Overwrite the weights, layer by layer, as the initializer of each says."""
    layers = sum(name.startswith("W") for name in params)
    if initializer is None:
        initializer = "he_normal" if activation in _RECTIFIERS else "glorot_uniform"
    several = isinstance(initializer, Sequence) and not isinstance(initializer, str)
    chosen = list(initializer) if several else [initializer] * layers
    if len(chosen) != layers:
        raise ValueError(f"initializer: expected one, or one for each of {layers} layers, got {len(chosen)}")
    for one in chosen:
        if not callable(one) and not (isinstance(one, str) and one in INITIALIZERS):
            raise ValueError(f"initializer: expected a function or one of {', '.join(INITIALIZERS)}, got {one!r}")
    for i, one in enumerate(chosen, start=1):
        shape, dtype = params[f"W{i}"].shape, params.dtype
        params[f"W{i}"] = one(shape, rng, dtype) if callable(one) else draw(one, shape, rng, dtype)


def generator(seed: Any) -> np.random.RandomState | np.random.Generator:
    """The generator that a `seed` stands for."""
    if isinstance(seed, (np.random.RandomState, np.random.Generator)):
        return seed
    if seed is not None:
        require_count("seed", seed, 0)
        if seed >= 2**32:
            raise ValueError(f"seed: expected an integer from 0 to 2**32 - 1, got {seed}")
    return np.random.RandomState(seed)


def new_words(rng: np.random.RandomState | np.random.Generator) -> np.ndarray:
    """The words (STREAM,) of a random stream that starts from a number of `rng`."""
    draw_integer = rng.integers if isinstance(rng, np.random.Generator) else rng.randint
    return words_of(np.random.RandomState(draw_integer(0, 2**32, dtype=np.uint32)))
