"""Examples as they lie in memory, gathered, standardized and cast row by row inside compiled code."""

import ctypes

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.lowering.views import array_at, borrowed, pointer_to, reference_to, vector
from fastfc.training import memory

# Read by loops of their own, which LLVM packs; all others value by value, by way of float64.
_FLOAT32, _FLOAT64, _UINT8, _BOOL = map(memory.KINDS.index, map(np.dtype, ("float32", "float64", "uint8", "bool")))


def _plain_value_at(address, index, dtype):
    """The value of `dtype` that lies `index` places behind an address."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address) + int(index) * size), dtype)[0]


@intrinsic
def _value_at(typingctx, address, index, dtype):
    def codegen(context, builder, sig, args):
        value = context.get_data_type(sig.return_type)
        pointer = builder.inttoptr(args[0], value.as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return dtype.dtype(address, index, dtype), codegen


def _plain_number_at(address, index, kind):
    """The value `index` places behind an address, of the dtype with this place in KINDS, as float64."""
    return np.float64(_plain_value_at(address, index, memory.KINDS[kind]))


@intrinsic
def _number_at(typingctx, address, index, kind):
    def codegen(context, builder, sig, args):
        address, index, kind = (context.cast(builder, args[i], sig.args[i], types.int64) for i in range(3))
        end, other = (builder.append_basic_block(name) for name in ("converted", "no_kind"))
        switch = builder.switch(kind, other)
        found = []
        for place, dtype in enumerate(memory.KINDS):
            block = builder.append_basic_block(dtype.name)
            switch.add_case(ir.Constant(kind.type, place), block)
            builder.position_at_end(block)
            found.append((_as_double(builder, address, index, dtype), block))
            builder.branch(end)
        builder.position_at_end(other)
        builder.unreachable()
        builder.position_at_end(end)
        value = builder.phi(ir.DoubleType())
        for converted, block in found:
            value.add_incoming(converted, block)
        return value

    return types.float64(address, index, kind), codegen


def _as_double(builder, address, index, dtype):
    """Build the conversion of a value of a dtype."""
    real = {"float32": ir.FloatType(), "float64": ir.DoubleType()}.get(dtype.name)
    stored = real or ir.IntType(8 * dtype.itemsize)
    value = builder.load(builder.gep(builder.inttoptr(address, stored.as_pointer()), [index]))
    if dtype.name == "float16":
        return _half_as_double(builder, value)
    if dtype.kind == "b":
        value = builder.icmp_unsigned("!=", value, ir.Constant(stored, 0))
    if dtype.kind == "f":
        return value if dtype.itemsize == 8 else builder.fpext(value, ir.DoubleType())
    return (builder.sitofp if dtype.kind == "i" else builder.uitofp)(value, ir.DoubleType())


def _half_as_double(builder, bits):
    """Build the conversion of a float16, of which LLVM knows no more than its bits: not every processor has it."""
    word = ir.IntType(64)
    bits = builder.zext(bits, word)
    exponent, mantissa = builder.and_(builder.lshr(bits, word(10)), word(31)), builder.and_(bits, word(1023))
    # A denormal is its mantissa times 2**-24; infinity and NaN have the largest exponent in both.
    small = builder.fmul(builder.uitofp(mantissa, ir.DoubleType()), ir.Constant(ir.DoubleType(), 2.0**-24))
    moved = builder.select(
        builder.icmp_unsigned("==", exponent, word(31)), word(2047), builder.add(exponent, word(1023 - 15))
    )
    normal = builder.bitcast(
        builder.or_(builder.shl(moved, word(52)), builder.shl(mantissa, word(42))), ir.DoubleType()
    )
    value = builder.select(builder.icmp_unsigned("==", exponent, word(0)), small, normal)
    negative = builder.icmp_unsigned("!=", builder.and_(bits, word(1 << 15)), word(0))
    return builder.select(negative, builder.fneg(value), value)


if numba.config.DISABLE_JIT:
    value_at, number_at = _plain_value_at, _plain_number_at
else:
    value_at, number_at = _value_at, _number_at


def _fetch_kinds(dtype):
    real, count = pointer_to(dtype), types.int64
    return (
        reference_to(memory.Plan, dtype), reference_to(memory.Examples, dtype), real, count, count, count,
        pointer_to(np.int64), count, count, count,
    )  # fmt: skip


@standalone(types.void, _fetch_kinds)
def fetch_rows(plan, examples, x, row, first, width, chosen, num_chosen, start, rows):
    """Overwrites rows x (rows, width), each `row` values behind the one before, with features of examples.

    The features from `first` on, standardized; of the examples `chosen` (num_chosen,) from `start` on, or, if none
    are, of all examples.

    A kernel by itself, since training and prediction have it in common.
    """
    plan, examples = borrowed(plan), borrowed(examples)
    x, chosen = array_at(x, (rows - 1) * row + width), array_at(chosen, num_chosen)
    for i in range(rows):
        out = vector(x, i * row, width)
        address = examples.address + (chosen[start + i] if num_chosen > 0 else start + i) * examples.row_bytes
        if plan.standardized:
            gather_standardized(
                out, address, examples.offsets, examples.kind, first, vector(plan.input_mean, first, width),
                vector(plan.input_mean_rest, first, width), vector(plan.input_scale, first, width),
            )  # fmt: skip
        else:
            gather_row(out, address, examples.offsets, examples.kind, first)


call_fetch = fetch_rows.caller(lambda plan, *_: np.dtype(plan.dtype.name))


@inline
def gather_row(out, address, offsets, kind, first):
    """Overwrites out (n,) with the values from `first` on of the example at an address.

    offsets (D,) in bytes, or (0,) if the values are adjacent.
    """
    if kind == _FLOAT32:
        _gather(out, address, offsets, first, np.float32)
    elif kind == _FLOAT64:
        _gather(out, address, offsets, first, np.float64)
    elif kind == _UINT8:
        _gather(out, address, offsets, first, np.uint8)
    elif kind == _BOOL:
        # A bool may hold any byte; NumPy takes all but 0 for true.
        _gather(out, address, offsets, first, np.uint8)
        for j in range(out.size):
            out[j] = out[j] != 0
    else:
        for j in range(out.size):
            out[j] = _number(address, offsets, kind, first + j)


@inline
def gather_standardized(out, address, offsets, kind, first, mean, rest, scale):
    """The same as :func:`gather_row`, with (value - mean) * scale.

    mean, rest and scale (n,): the mean's first digits and what is left of it, which are taken off before
    the value loses any: what tells values apart may be far smaller than their mean.
    """
    if kind in (_FLOAT32, _UINT8, _BOOL):
        # Exact in out's dtype.
        gather_row(out, address, offsets, kind, first)
        for j in range(out.size):
            out[j] = ((out[j] - mean[j]) - rest[j]) * scale[j]
    elif kind == _FLOAT64 and offsets.size == 0:
        for j in range(out.size):
            out[j] = _standardized(value_at(address, first + j, np.float64), mean[j], rest[j], scale[j])
    else:
        for j in range(out.size):
            out[j] = _standardized(_number(address, offsets, kind, first + j), mean[j], rest[j], scale[j])


@inline
def _standardized(value, mean, rest, scale):
    """In this order: mean + rest would lose what rest has."""
    return ((value - np.float64(mean)) - np.float64(rest)) * np.float64(scale)


@inline
def _number(address, offsets, kind, j):
    """Value `j` of an example, as float64."""
    return number_at(address, j, kind) if offsets.size == 0 else number_at(address + offsets[j], 0, kind)


@inline
def _gather(out, address, offsets, first, dtype):
    if offsets.size == 0:
        for j in range(out.size):
            out[j] = value_at(address, first + j, dtype)
    else:
        for j in range(out.size):
            out[j] = value_at(address + offsets[first + j], 0, dtype)
