"""NumPy's global random stream inside compiled code: MT19937, word for word.

The generator's state is worked on where NumPy keeps it: 624 words and the position of
the next one (Matsumoto and Nishimura 1998). A number of ``np.random.random_sample``
takes two words, 27 bits of the first and 26 of the second, so that
``random_sample() < p`` compares a 53-bit integer with ``p * 2**53``.
"""

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastfc._runtime.constants import keep_threshold
from fastfc._runtime.stream import global_bits, own_words
from fastfc.kernels.compiler.jit import inline, kernel
from fastfc.kernels.lowering.vectors import (
    INDEX,
    VECTORS,
    WORD,
    declared,
    indices,
    load,
    mask_of,
    routine,
    splat,
    store,
    vector_type,
    vectors_supported,
)

_LENGTH = 624
_PERIOD = 397
_UPPER = np.uint32(0x80000000)
_LOWER = np.uint32(0x7FFFFFFF)
_MATRIX = np.uint32(0x9908B0DF)
_TEMPER_B = np.uint32(0x9D2C5680)
_TEMPER_C = np.uint32(0xEFC60000)

# The greatest that a number may have of its first word.
_HIGHEST = 2**27 - 1
# Numbers at a time.
_BLOCK = VECTORS.size // 4 if vectors_supported() else 8


def keep_mask(shape, p, dtype):
    """Return ``(np.random.random_sample(shape) < p) / p`` in `dtype`, from NumPy's global stream."""
    bits = global_bits()
    state = own_words(bits)
    if state is None:
        return ((np.random.random_sample(shape) < p) / p).astype(dtype)
    mask = np.ones(shape, dtype)
    with bits.lock:
        _drop_all(mask.reshape(-1), state, keep_threshold(p), 1 / p)
    return mask


@inline
def _plain_twist(key):
    """Overwrites the 624 words of key with the next 624 of the recurrence."""
    for k in range(_LENGTH - _PERIOD):
        y = (key[k] & _UPPER) | (key[k + 1] & _LOWER)
        key[k] = key[k + _PERIOD] ^ (y >> np.uint32(1)) ^ (_MATRIX if y & np.uint32(1) else np.uint32(0))
    for k in range(_LENGTH - _PERIOD, _LENGTH - 1):
        y = (key[k] & _UPPER) | (key[k + 1] & _LOWER)
        key[k] = key[k + _PERIOD - _LENGTH] ^ (y >> np.uint32(1)) ^ (_MATRIX if y & np.uint32(1) else np.uint32(0))
    y = (key[_LENGTH - 1] & _UPPER) | (key[0] & _LOWER)
    key[_LENGTH - 1] = key[_PERIOD - 1] ^ (y >> np.uint32(1)) ^ (_MATRIX if y & np.uint32(1) else np.uint32(0))


@intrinsic
def _vector_twist(typingctx, key):
    def codegen(context, builder, sig, args):
        builder.call(_twist_routine(builder.module), [context.make_array(sig.args[0])(context, builder, args[0]).data])
        return context.get_dummy_value()

    return types.void(key), codegen


def _twist_routine(module):
    """The LLVM function that is :func:`_plain_twist`, by vectors that stay in registers.

    A word depends on one that was made 227 words before. Read back from memory, that one lies across two
    vectors which may not have been written yet: the processor waits until they are.
    """
    name = "fastfc_twist"
    if name in module.globals:
        return module.globals[name]
    kind = vector_type(INDEX)
    lanes, lag = kind.count, _LENGTH - _PERIOD
    function, builder = routine(module, name, [INDEX.as_pointer()])

    def constant(value):
        return ir.Constant(kind, [int(value)] * lanes)

    def place(k):
        return builder.bitcast(builder.gep(function.args[0], [WORD(k)]), kind.as_pointer())

    def words(k):
        return builder.load(place(k), align=4)

    def across(first, second, start):
        """Neighbours in two vectors, one behind the other, from a lane of the first one on."""
        return builder.shuffle_vector(first, second, indices(range(start, start + lanes)))

    def joined(word, following):
        """The upper bit of one and the lower ones of the other."""
        if VECTORS.masks:
            # A single instruction, which LLVM does not find: the bit that is shifted out below need not be there.
            ternary = declared(module, "llvm.x86.avx512.pternlog.d.512", kind, [kind] * 3 + [INDEX])
            return builder.call(ternary, [constant(_UPPER), word, following, INDEX(0xCA)])
        return builder.or_(builder.and_(word, constant(_UPPER)), builder.and_(following, constant(_LOWER)))

    # In front of the new words stand the last old ones.
    new = {-1: words(_LENGTH - lanes)}
    for i, k in enumerate(range(0, _LENGTH, lanes)):
        following = words(k + 1) if k + lanes < _LENGTH else across(words(k), new[0], 1)
        y = joined(words(k), following)
        if k + lanes <= lag:
            far = words(k + _PERIOD)
        else:
            before = (k - lag) // lanes
            far = across(new[before], new[before + 1], (k - lag) % lanes)
        is_odd = builder.icmp_unsigned("!=", builder.and_(following, constant(1)), constant(0))
        matrix = builder.select(is_odd, constant(_MATRIX), constant(0))
        new[i] = builder.xor(builder.xor(far, builder.lshr(y, constant(1))), matrix)
        builder.store(new[i], place(k), align=4)
    builder.ret_void()
    return function


twist = _vector_twist if vectors_supported() else _plain_twist


@inline
def tempered(y):
    """The output that belongs to a word of the recurrence."""
    y ^= y >> np.uint32(11)
    y ^= (y << np.uint32(7)) & _TEMPER_B
    y ^= (y << np.uint32(15)) & _TEMPER_C
    return y ^ (y >> np.uint32(18))


@inline
def skip_words(state, count):
    """Pass over the next `count` words of the stream."""
    position = np.int64(state[_LENGTH]) + count
    while position > _LENGTH:
        twist(state[:_LENGTH])
        position -= _LENGTH
    state[_LENGTH] = position


@inline
def _mask(largest):
    """As many lower bits as `largest` has: NumPy takes words, masked by it, until one is at most `largest`."""
    mask = largest
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> np.uint32(shift)
    return mask


# The two below do not branch on whether a word is taken. Up to every second one is not, which a processor cannot
# predict: a wrong guess costs it more than the work that is done in vain.


@inline
def shuffle(x, state):
    """Shuffles x (n,) as ``np.random.shuffle`` does, n <= 2**32: Fisher and Yates, from the last place on."""
    key = state[:_LENGTH]
    position = np.int64(state[_LENGTH])
    i = np.int64(x.size - 1)
    while i > 0:
        mask = _mask(np.uint32(i))
        # down to the last place with the same mask
        least = np.int64(mask >> np.uint32(1)) + 1
        while i >= least:
            if position == _LENGTH:
                twist(key)
                position = 0
            word = np.int64(tempered(key[position]) & mask)
            position += 1
            taken = word <= i
            # A word that is not taken exchanges the place with itself.
            other = word if taken else i
            x[i], x[other] = x[other], x[i]
            i -= np.int64(taken)
    state[_LENGTH] = position


@inline
def choose(out, state, n):
    """Overwrites out (k,) with what ``np.random.choice(n, k)`` draws, 1 <= n <= 2**32."""
    key = state[:_LENGTH]
    position = np.int64(state[_LENGTH])
    largest = np.int64(n - 1)
    mask = _mask(np.uint32(largest))
    i = 0
    if largest == 0:
        # A choice of one takes no words.
        out[:] = 0
        i = out.size
    while i < out.size:
        if position == _LENGTH:
            twist(key)
            position = 0
        word = np.int64(tempered(key[position]) & mask)
        position += 1
        # The next word takes the place of one that is not taken.
        out[i] = word
        i += np.int64(word <= largest)
    state[_LENGTH] = position


@inline
def drop(x, state, threshold, scale):
    """Multiplies x (n,) by scale where the stream's next number, as a 53-bit integer, is below threshold, else by 0."""
    key = state[:_LENGTH]
    position = np.int64(state[_LENGTH])
    done = 0
    while done < x.size:
        if position == _LENGTH:
            twist(key)
            position = 0
        count = min((_LENGTH - position) // 2, x.size - done)
        if count > 0:
            _drop_chunk(x[done : done + count], key[position : position + 2 * count], threshold, scale)
            position += 2 * count
            done += count
        else:
            # A number of the last word and of the first one of the next 624.
            first = key[_LENGTH - 1]
            twist(key)
            position = 1
            x[done] *= x.dtype.type(scale if _number(first, key[0]) < threshold else 0)
            done += 1
    state[_LENGTH] = position


@inline
def _number(first, second):
    """The 53-bit integer of two words."""
    return (np.int64(tempered(first) >> np.uint32(5)) << 26) + np.int64(tempered(second) >> np.uint32(6))


@inline
def _drop_chunk(x, words, threshold, scale):
    """:func:`drop` for words (2n,) that are there.

    The first word of a number decides but for one case in 2**27: the others' second word is not needed.
    """
    factor, zero = x.dtype.type(scale), x.dtype.type(0)
    # No number reaches a threshold beyond.
    high = np.uint32(min(threshold >> 26, _HIGHEST))
    undecided = np.uint32(0)
    whole = x.size - x.size % _BLOCK
    for i in range(0, whole, _BLOCK):
        undecided |= _keep_block(x, words, i, _BLOCK, high, factor)
    if whole < x.size:
        undecided |= _keep_block(x, words, whole, x.size - whole, high, factor)
    if undecided > 0:
        for i in range(x.size):
            # Kept so far.
            if tempered(words[2 * i]) >> np.uint32(5) == high and _number(words[2 * i], words[2 * i + 1]) >= threshold:
                x[i] *= zero


def _plain_keep_block(x, words, start, count, high, factor):
    """Multiplies `count` values of x, at most _BLOCK, from `start` on by factor where a number's first part is at
    most high, else by 0.

    Returns whether any is equal to it.
    """
    first = np.array([tempered(word) for word in words[2 * start : 2 * (start + count) : 2]]) >> np.uint32(5)
    x[start : start + count] *= np.where(first <= high, factor, 0).astype(x.dtype)
    return np.uint32(np.any(first == high))


@intrinsic
def _vector_keep_block(typingctx, x, words, start, count, high, factor):
    def codegen(context, builder, sig, args):
        start, count = (context.cast(builder, args[i], sig.args[i], types.int64) for i in (2, 3))
        number, item = ir.VectorType(INDEX, _BLOCK), args[5].type

        def place(position, index):
            array = context.make_array(sig.args[position])(context, builder, args[position])
            return builder.gep(array.data, [index])

        def constant(value):
            return ir.Constant(number, [int(value)] * _BLOCK)

        # Constants, and nothing to do, where all of a block is there.
        mask, both = mask_of(builder, count, _BLOCK), mask_of(builder, builder.mul(count, WORD(2)), 2 * _BLOCK)
        pairs = load(builder, place(1, builder.mul(start, WORD(2))), both, ir.VectorType(INDEX, 2 * _BLOCK))
        y = builder.shuffle_vector(pairs, ir.Constant(pairs.type, ir.Undefined), indices(range(0, 2 * _BLOCK, 2)))
        y = builder.xor(y, builder.lshr(y, constant(11)))
        y = builder.xor(y, builder.and_(builder.shl(y, constant(7)), constant(_TEMPER_B)))
        y = builder.xor(y, builder.and_(builder.shl(y, constant(15)), constant(_TEMPER_C)))
        y = builder.xor(y, builder.lshr(y, constant(18)))
        # The lower 5 bits of a word are not part of the number.
        lowest = builder.shl(args[4], INDEX(5))
        highest = splat(builder, builder.or_(lowest, INDEX(31)), _BLOCK)
        values = load(builder, place(0, start), mask, ir.VectorType(item, _BLOCK))
        kept = builder.icmp_unsigned("<=", y, highest)
        factors = builder.select(kept, splat(builder, args[5], _BLOCK), ir.Constant(values.type, None))
        store(builder, builder.fmul(values, factors), place(0, start), mask)
        equal = builder.and_(kept, builder.icmp_unsigned(">=", y, splat(builder, lowest, _BLOCK)))
        equal = builder.and_(equal, mask)
        return builder.zext(builder.bitcast(equal, ir.IntType(_BLOCK)), INDEX)

    return types.uint32(x, words, types.int64, types.int64, types.uint32, x.dtype), codegen


# Written with vector types: LLVM, left to itself, gathers every other word one by one.
_keep_block = _plain_keep_block if numba.config.DISABLE_JIT else _vector_keep_block


@kernel
def _drop_all(x, state, threshold, scale):
    drop(x, state, threshold, scale)
