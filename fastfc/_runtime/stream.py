"""States of NumPy's MT19937 generators as the words by which compiled code knows them."""

import ctypes
import functools
from typing import Any

import numpy as np

__all__ = ["global_bits", "own_words", "read_words", "seeded", "state_of_words", "words_of", "write_words"]

# The generator's own words (Matsumoto and Nishimura 1998), then the position of the next one.
_WORDS = 625


def global_bits() -> Any:
    """The generator behind ``np.random``'s functions, an MT19937 unless somebody has set another."""
    return np.random.get_bit_generator()  # type: ignore[attr-defined]


class _Zeros(np.random.bit_generator.ISeedSequence):
    """Words for a generator that is seeded at once."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.zeros(n_words, dtype)


def seeded(seed: int) -> np.random.RandomState:
    """``RandomState(seed)``, three times as fast: NumPy first makes a state of random words, and then seeds it."""
    # NumPy's types do not know the interface that its documentation names.
    stream = np.random.RandomState(np.random.MT19937(_Zeros()))  # type: ignore[arg-type]
    stream.seed(seed)
    return stream


def words_of(state: tuple | np.random.RandomState) -> np.ndarray:
    """The words (STREAM,) of a generator, or of a state that ``get_state`` has given: its own, then its position."""
    if isinstance(state, np.random.RandomState):
        return read_words(state._bit_generator)
    return np.append(state[1], np.uint32(state[2]))


def state_of_words(words: np.ndarray, gaussian: tuple[int, float] = (0, 0.0)) -> tuple:
    """The state of a generator from its words (STREAM,), and from the Gaussian that it has drawn beforehand."""
    return "MT19937", words[:-1].copy(), int(words[-1]), *gaussian


def read_words(bits: Any) -> np.ndarray:
    """The words (STREAM,) of a :class:`numpy.random.MT19937`; ``get_state`` takes as long as ten small steps."""
    own = own_words(bits)
    if own is None:
        state = bits.state["state"]
        return np.append(state["key"], np.uint32(state["pos"]))
    with bits.lock:
        return own.copy()


def write_words(bits: Any, words: np.ndarray) -> None:
    """Make a :class:`numpy.random.MT19937` go on from words (STREAM,); a Gaussian in waiting is none of its own."""
    own = own_words(bits)
    if own is None:
        bits.state = {"bit_generator": "MT19937", "state": {"key": words[:-1], "pos": int(words[-1])}}
        return
    with bits.lock:
        own[:] = words


@functools.lru_cache(maxsize=1)
def own_words(bits: Any) -> np.ndarray | None:
    """The words (STREAM,) of a :class:`numpy.random.MT19937` where NumPy keeps them, for use under its lock.

    A view; None of other generators, and where they do not lie as they are known to.
    """
    return _view(bits) if isinstance(bits, np.random.MT19937) and _layout_is_known() else None


def _view(bits: Any) -> np.ndarray:
    memory: Any = (ctypes.c_uint32 * _WORDS).from_address(bits.ctypes.state_address)
    return np.frombuffer(memory, np.uint32)


@functools.cache
def _layout_is_known() -> bool:
    """Whether NumPy keeps words and position as expected; that is its own business, and may change."""
    bits = np.random.MT19937(0)
    public, own = bits.state["state"], _view(bits)
    return np.array_equal(own[:-1], public["key"]) and own[-1] == public["pos"]
