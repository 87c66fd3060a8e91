"""States of NumPy's MT19937 generators as the words by which compiled code knows them."""

from typing import cast

import numpy as np

__all__ = ["state_of_words", "words_of"]


def words_of(state: tuple | np.random.RandomState) -> np.ndarray:
    """The words (STREAM,) of a generator, or of a state that ``get_state`` has given: its own, then its position."""
    if isinstance(state, np.random.RandomState):
        state = cast(tuple, state.get_state(legacy=True))
    return np.append(state[1], np.uint32(state[2]))


def state_of_words(words: np.ndarray, gaussian: tuple[int, float] = (0, 0.0)) -> tuple:
    """The state of a generator from its words (STREAM,), and from the Gaussian that it has drawn beforehand."""
    return "MT19937", words[:-1].copy(), int(words[-1]), *gaussian
