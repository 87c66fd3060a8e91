"""Words of NumPy's MT19937 generators, read and written where NumPy keeps them, and by its own functions."""

import pickle

import numba
import numpy as np
import pytest

from fastfc._runtime import stream
from fastfc.kernels.lowering.random import choose, shuffle


@pytest.fixture(params=["in place", "by NumPy"])
def way(request, monkeypatch):
    """Both ways to a generator's words: a future NumPy may keep them elsewhere."""
    stream.own_words.cache_clear()
    if request.param == "by NumPy":
        monkeypatch.setattr(stream, "_layout_is_known", lambda: False)
    yield request.param
    stream.own_words.cache_clear()


def test_this_numpy_keeps_words_as_expected():
    assert stream._layout_is_known()
    bits = np.random.MT19937(3)
    assert stream.own_words(bits).size == 625
    assert stream.own_words(np.random.PCG64(3)) is None


@pytest.mark.parametrize("drawn", [0, 1, 7, 623, 624, 1000])
def test_words_are_those_of_the_state(way, drawn):
    generator = np.random.RandomState(5)
    generator.bytes(4 * drawn)
    _, key, position, *_ = generator.get_state()
    words = stream.words_of(generator)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words[:-1], key)
    assert words[-1] == position
    np.testing.assert_array_equal(stream.words_of(generator.get_state()), words)
    # A copy: what is drawn later does not change it.
    generator.bytes(4000)
    np.testing.assert_array_equal(words[:-1], key)


def test_a_generator_goes_on_from_words(way):
    one, other = np.random.RandomState(1), np.random.RandomState(2)
    one.bytes(12)
    # It draws two Gaussians at once, and keeps the second.
    other.standard_normal()
    waiting = other.get_state()[3:]
    assert waiting[0] == 1
    stream.write_words(other._bit_generator, stream.words_of(one))
    assert other.get_state()[3:] == waiting
    np.testing.assert_array_equal(other.random_sample(1000), one.random_sample(1000))


def test_the_global_generator(way):
    np.random.seed(4)
    expected = np.random.RandomState(4)
    np.testing.assert_array_equal(stream.read_words(stream.global_bits()), stream.words_of(expected))
    stream.write_words(stream.global_bits(), stream.words_of(np.random.RandomState(6)))
    assert np.random.random_sample() == np.random.RandomState(6).random_sample()


@pytest.mark.parametrize("drawn", [0, 623, 624])
def test_draws_of_compiled_code_are_numpys(drawn):
    """Orders and choices, from one word to the next 624, of numbers around powers of 2; and the stream behind them."""
    compiled = numba.njit(lambda x, words: shuffle(x, words)), numba.njit(lambda x, words, n: choose(x, words, n))
    generator = np.random.RandomState(8)
    generator.bytes(4 * drawn)
    words = stream.words_of(generator)
    for n in (0, 1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 700):
        order, expected = np.arange(n), np.arange(n)
        compiled[0](order, words)
        generator.shuffle(expected)
        np.testing.assert_array_equal(order, expected)
    for n in (1, 2, 3, 4, 5, 127, 128, 129, 2**31 + 1, 2**32):
        for size in (0, 1, 700):
            chosen = np.full(size, -1)
            compiled[1](chosen, words, n)
            np.testing.assert_array_equal(chosen, generator.choice(n, size))
    np.testing.assert_array_equal(words, stream.words_of(generator))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, np.int64(7)])
def test_a_seeded_stream_is_numpys(seed):
    mine, numpys = stream.seeded(seed), np.random.RandomState(seed)
    np.testing.assert_array_equal(mine.standard_normal(1000), numpys.standard_normal(1000))
    np.testing.assert_array_equal(mine.permutation(1000), numpys.permutation(1000))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mine)).randint(9, size=50), numpys.randint(9, size=50))
    for wrong in (-1, 2**32):
        with pytest.raises(ValueError, match="Seed must be between"):
            stream.seeded(wrong)
