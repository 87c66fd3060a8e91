"""NumPy's global random stream inside compiled code: MT19937, word for word.

The generator's state is worked on where NumPy keeps it: 624 words and the position of
the next one (Matsumoto and Nishimura 1998). A number of ``np.random.random_sample``
takes two words, 27 bits of the first and 26 of the second, so that
``random_sample() < p`` compares a 53-bit integer with ``p * 2**53``.
"""

import ctypes
import functools
import math

import numpy as np

from fastfc.kernels._jit import inline, kernel

_LENGTH = 624
_PERIOD = 397
_UPPER = np.uint32(0x80000000)
_LOWER = np.uint32(0x7FFFFFFF)
_MATRIX = np.uint32(0x9908B0DF)
_TEMPER_B = np.uint32(0x9D2C5680)
_TEMPER_C = np.uint32(0xEFC60000)

# Words made at a time: small enough to stay in the first-level cache.
_CHUNK = 2048


def keep_mask(shape, p, dtype):
    """Return ``(np.random.random_sample(shape) < p) / p`` in `dtype`, from NumPy's global stream."""
    bit_generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    state = _state(bit_generator)
    if state is None:
        return ((np.random.random_sample(shape) < p) / p).astype(dtype)
    mask = np.ones(shape, dtype)
    with bit_generator.lock:
        _drop_all(mask.reshape(-1), state, keep_threshold(p), 1 / p)
    return mask


def keep_threshold(p):
    """The least 53-bit integer that ``< p`` refuses."""
    return math.ceil(p * 2.0**53)


@functools.lru_cache(maxsize=1)
def _state(bit_generator):
    """A view of the generator's own state, words and position; None where there is none such."""
    if not isinstance(bit_generator, np.random.MT19937):
        return None
    memory = (ctypes.c_uint32 * (_LENGTH + 1)).from_address(bit_generator.ctypes.state_address)
    state = np.ctypeslib.as_array(memory)
    with bit_generator.lock:
        public = bit_generator.state["state"]
        # The layout is NumPy's private business; if it ever changes, NumPy makes the numbers.
        as_expected = np.array_equal(state[:_LENGTH], public["key"]) and state[_LENGTH] == public["pos"]
    return state if as_expected else None


@inline
def twist(key):
    """Overwrites the 624 words of key with the next 624 of the recurrence."""
    for k in range(_LENGTH - _PERIOD):
        y = (key[k] & _UPPER) | (key[k + 1] & _LOWER)
        key[k] = key[k + _PERIOD] ^ (y >> np.uint32(1)) ^ (_MATRIX if y & np.uint32(1) else np.uint32(0))
    for k in range(_LENGTH - _PERIOD, _LENGTH - 1):
        y = (key[k] & _UPPER) | (key[k + 1] & _LOWER)
        key[k] = key[k + _PERIOD - _LENGTH] ^ (y >> np.uint32(1)) ^ (_MATRIX if y & np.uint32(1) else np.uint32(0))
    y = (key[_LENGTH - 1] & _UPPER) | (key[0] & _LOWER)
    key[_LENGTH - 1] = key[_PERIOD - 1] ^ (y >> np.uint32(1)) ^ (_MATRIX if y & np.uint32(1) else np.uint32(0))


@inline
def tempered(y):
    """The output that belongs to a word of the recurrence."""
    y ^= y >> np.uint32(11)
    y ^= (y << np.uint32(7)) & _TEMPER_B
    y ^= (y << np.uint32(15)) & _TEMPER_C
    return y ^ (y >> np.uint32(18))


@inline
def temper(out, key):
    """Overwrites out (n,) with the outputs that belong to the words key (n,)."""
    for i in range(out.size):
        out[i] = tempered(key[i])


@inline
def next_words(out, state):
    """Overwrites out (n,) with the next words of the stream."""
    key = state[:_LENGTH]
    position = np.int64(state[_LENGTH])
    done = 0
    while done < out.size:
        if position == _LENGTH:
            twist(key)
            position = 0
        count = min(_LENGTH - position, out.size - done)
        temper(out[done : done + count], key[position : position + count])
        position += count
        done += count
    state[_LENGTH] = position


@inline
def skip_words(state, count):
    """Pass over the next `count` words of the stream."""
    position = np.int64(state[_LENGTH]) + count
    while position > _LENGTH:
        twist(state[:_LENGTH])
        position -= _LENGTH
    state[_LENGTH] = position


@inline
def choose(out, state, n):
    """Overwrites out (k,) with what ``np.random.choice(n, k)`` draws, 1 <= n <= 2**32.

    NumPy takes words, masked to as many bits as n - 1 has, until one is below n.
    """
    key = state[:_LENGTH]
    position = np.int64(state[_LENGTH])
    largest = np.uint32(n - 1)
    mask = largest
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> np.uint32(shift)
    for i in range(out.size):
        word = np.uint32(0)
        # A choice of one takes no words.
        while largest > 0:
            if position == _LENGTH:
                twist(key)
                position = 0
            word = tempered(key[position]) & mask
            position += 1
            if word <= largest:
                break
        out[i] = word
    state[_LENGTH] = position


@inline
def drop(x, words, threshold, scale):
    """Multiplies x (n,) by scale where the number made of two words (2n,) is below threshold, else by 0.

    The 53 bits are compared in two parts, so that vectors of 32-bit numbers do.
    """
    scale, zero = x.dtype.type(scale), x.dtype.type(0)
    high, low = np.uint32(threshold >> 26), np.uint32(threshold & 0x3FFFFFF)
    for i in range(x.size):
        first, second = words[2 * i] >> np.uint32(5), words[2 * i + 1] >> np.uint32(6)
        kept = first < high or (first == high and second < low)
        x[i] *= scale if kept else zero


@kernel
def _drop_all(x, state, threshold, scale):
    words = np.empty(_CHUNK, np.uint32)
    for start in range(0, x.size, _CHUNK // 2):
        part = x[start : start + _CHUNK // 2]
        next_words(words[: 2 * part.size], state)
        drop(part, words, threshold, scale)
