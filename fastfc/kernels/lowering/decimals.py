"""Rows of decimal numbers in text to float64, correctly rounded.

The method for numbers that one exact multiplication or division cannot give is that of D. Lemire,
"Number Parsing at a Gigabyte per Second" (2021), after M. Eisel: the first 19 digits as an integer, times
the leading 128 bits of a power of five. Cells that it cannot decide are left to the caller.
"""

import functools

import numpy as np

from fastfc.kernels.compiler.jit import inline, kernel

__all__ = ["BOOLEAN", "EMPTY", "LABEL", "NUMBER", "SKIPPED", "powers_of_five", "read_lines"]

#: Kinds of columns: numbers; True and False; text whose place is told; nothing; what is passed over.
NUMBER, BOOLEAN, LABEL, EMPTY, SKIPPED = range(5)

# Beyond these powers of ten numbers are rare, and denormals and infinities are some of them.
_LARGEST_POWER = 64
_MOST_DIGITS = np.uint64(19)  # what fits into 64 bits
_EXACT = np.array([10.0**i for i in range(23)])  # the powers of ten that float64 holds exactly

_LINE_END, _RETURN, _SPACE, _TAB, _ZERO, _NINE, _PLUS, _MINUS, _QUOTE = b'\n\r \t09+-"'
_TRUE, _FALSE = np.frombuffer(b"true", np.uint8), np.frombuffer(b"false", np.uint8)
_LOW_32, _ALL = np.uint64(0xFFFF_FFFF), np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_32, _1, _0 = np.uint64(32), np.uint64(1), np.uint64(0)


@functools.cache
def powers_of_five() -> np.ndarray:
    """The first 128 bits of 5**q, q from -64 to 64, as pairs of uint64 (129, 2): cut off, but rounded up for q < 0."""
    rows = []
    for q in range(-_LARGEST_POWER, _LARGEST_POWER + 1):
        if q < 0:
            length = (5**-q - 1).bit_length()
            bits = 2 ** (length + 127 if q >= -27 else 2 * length + 128) // 5**-q + 1
        else:
            bits = 5**q << 128
        bits >>= bits.bit_length() - 128
        rows.append((bits >> 64, bits & (2**64 - 1)))
    return np.array(rows, np.uint64)


@inline
def _product(a, b):
    """The upper and the lower half of a product of two uint64."""
    a1, a0, b1, b0 = a >> _32, a & _LOW_32, b >> _32, b & _LOW_32
    low, middle, high = a0 * b0, a1 * b0, a1 * b1
    middle += low >> _32
    other = a0 * b1 + (middle & _LOW_32)
    return high + (middle >> _32) + (other >> _32), (other << _32) | (low & _LOW_32)


@inline
def _leading_zeros(w):
    count = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if w >> np.uint64(64 - shift) == _0:
            w <<= np.uint64(shift)
            count += shift
    return count


@inline
def _nearest(w, power, powers):
    """The bits of the float64 that is nearest to ``w * 10**power``, w > 0; 0 where this method does not decide."""
    zeros = _leading_zeros(w)
    w <<= np.uint64(zeros)
    row = power + _LARGEST_POWER
    high, low = _product(w, powers[row, 0])
    if high & np.uint64(0x1FF) == np.uint64(0x1FF):
        more, _ = _product(w, powers[row, 1])
        low += more
        if low < more:
            high += _1
    if low == _ALL and not -27 <= power <= 55:
        return _0
    upper = high >> np.uint64(63)
    shift = upper + np.uint64(9)
    mantissa = high >> shift
    exponent = ((217706 * power) >> 16) + 63 + np.int64(upper) - zeros + 1023
    # Halfway between two float64: to the even one.
    if low <= _1 and -4 <= power <= 23 and mantissa & np.uint64(3) == _1 and mantissa << shift == high:
        mantissa -= _1
    mantissa = (mantissa + (mantissa & _1)) >> _1
    if mantissa >= np.uint64(1 << 53):
        mantissa = np.uint64(1 << 52)
        exponent += 1
    return (mantissa & np.uint64((1 << 52) - 1)) | (np.uint64(exponent) << np.uint64(52))


@inline
def _is_word(text, start, end, word):
    same = end - start == np.uint64(len(word))
    for i in range(len(word)):
        same = same and text[start + np.uint64(i)] | 32 == word[i]
    return same


@inline
def _past_blanks(text, position, separator):
    while text[position] == _SPACE or (text[position] == _TAB and separator != _TAB):
        position += _1
    return position


@inline
def _digits(text, position, w):
    """Read on in a whole number of which `w` is there: all of it, modulo 2**64, and where it ends."""
    while True:
        digit = np.uint64(text[position]) - np.uint64(_ZERO)
        if digit > np.uint64(9):
            return w, position
        w = w * np.uint64(10) + digit
        position += _1


@inline
def _significant(text, start, end):
    """How many digits of a number come after its leading zeros."""
    count = 0
    for position in range(start, end):
        if _ZERO <= text[position] <= _NINE and (count > 0 or text[position] != _ZERO):
            count += 1
    return count


@kernel
def read_lines(text, separator, decimal, kinds, powers, X, bits, labels, hard):
    """Read lines of numbers up to the first that is none of them; return how many, hard cells, and where it stops."""
    # text (B,) uint8, ends with a line end; kinds (C,) of columns; X (N, D) and bits, the same memory as uint64;
    # labels (N, 2): start and end of the label's text; hard (H, 4): row, column of X, start and end of a number.
    # Positions are unsigned: an index that could be negative costs a test.
    position, size = _0, np.uint64(len(text))
    row = found = 0
    while position < size and row < len(X):
        line = position
        while text[position] == _SPACE or text[position] == _RETURN:
            position += _1
        if text[position] == _LINE_END:
            position += _1
            continue
        position = line
        feature = 0
        for column in range(len(kinds)):
            kind = kinds[column]
            position = _past_blanks(text, position, separator)
            start = position
            if kind == NUMBER:
                negative = text[position] == _MINUS
                if negative or text[position] == _PLUS:
                    position += _1
                first = position
                w, position = _digits(text, position, _0)
                digits, power = position - first, 0
                if text[position] == decimal:
                    position += _1
                    point = position
                    w, position = _digits(text, position, w)
                    digits += position - point
                    power = np.int64(point) - np.int64(position)
                if digits == _0:
                    return row, found, np.int64(line)
                if digits > _MOST_DIGITS:
                    digits = np.uint64(_significant(text, first, position))
                if text[position] | 32 == 101:  # e, E
                    position += _1
                    downwards = text[position] == _MINUS
                    if downwards or text[position] == _PLUS:
                        position += _1
                    first = position
                    exponent, position = _digits(text, position, _0)
                    if position == first:
                        return row, found, np.int64(line)
                    size_of_it = 100_000 if position - first > np.uint64(5) else np.int64(exponent)
                    power += -size_of_it if downwards else size_of_it
                if w == _0:
                    power = 0
                pattern, decided = _0, False
                if digits <= _MOST_DIGITS and -_LARGEST_POWER <= power <= _LARGEST_POWER:
                    if w >> np.uint64(53) == _0 and -22 <= power <= 22:
                        value = np.float64(w)
                        value = value / _EXACT[-power] if power < 0 else value * _EXACT[power]
                        X[row, feature] = -value if negative else value
                        decided = True
                    else:
                        pattern = _nearest(w, power, powers)
                        decided = pattern != _0
                        bits[row, feature] = pattern | (np.uint64(negative) << np.uint64(63))
                if not decided:
                    if found == len(hard):
                        return row, found, np.int64(line)
                    hard[found, 0], hard[found, 1], hard[found, 2], hard[found, 3] = row, feature, start, position
                    found += 1
                feature += 1
            else:
                while text[position] != separator and text[position] != _LINE_END and text[position] != _RETURN:
                    if text[position] == _QUOTE:
                        return row, found, np.int64(line)
                    position += _1
                end = position
                while end > start and (text[end - _1] == _SPACE or text[end - _1] == _TAB):
                    end -= _1
                if kind == BOOLEAN:
                    true = _is_word(text, start, end, _TRUE)
                    if not true and not _is_word(text, start, end, _FALSE):
                        return row, found, np.int64(line)
                    X[row, feature] = 1.0 if true else 0.0
                    feature += 1
                elif kind == LABEL:
                    labels[row, 0], labels[row, 1] = start, end
                elif kind == EMPTY and end > start:
                    return row, found, np.int64(line)
            position = _past_blanks(text, position, separator)
            if column < len(kinds) - 1:
                if text[position] != separator:
                    return row, found, np.int64(line)
                position += _1
        if text[position] == _RETURN:
            position += _1
        if text[position] != _LINE_END:
            return row, found, np.int64(line)
        position += _1
        row += 1
    return row, found, np.int64(position)
