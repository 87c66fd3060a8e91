"""The processor's vectors: which kernels are written for, and LLVM's representation of what they do with them."""

from typing import NamedTuple

import numba
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target


class _Vectors(NamedTuple):
    """The vectors of a kind of processor, and the sizes that suit them."""

    cpus: tuple[str, ...]  # how LLVM's names of such processors begin
    features: tuple[str, ...]
    size: int  # in bytes
    masks: bool  # whether masks have registers of their own, so that a mask costs nothing
    # The largest tile that leaves registers for a row of B and a value of A.
    max_height: int
    max_vectors: int
    depth: int  # rows of B that all tiles of a column go through before the next ones: they stay in near caches
    rows: int  # of A, whose part of that depth stays in the second-level cache that comes with such vectors


# The depths were measured, on one processor of each kind: Intel's is up to 1.06 times as fast with 128 as with 256.
_AVX512 = _Vectors(("",), ("avx512f",), size=64, masks=True, max_height=6, max_vectors=4, depth=128, rows=512)
_AVX512_ZEN = _AVX512._replace(cpus=("znver",), depth=256)
_AVX2 = _Vectors(("",), ("avx2", "fma"), size=32, masks=False, max_height=6, max_vectors=2, depth=256, rows=192)


def _vectors():
    """The vectors that Numba compiles for; None if there are none worth it, or no compiler."""
    if numba.config.DISABLE_JIT:
        return None
    _, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    known = set(features.split(","))
    for some in (_AVX512_ZEN, _AVX512, _AVX2):
        if cpu.startswith(some.cpus) and known.issuperset(f"+{name}" for name in some.features):
            return some
    return None


_FOUND = _vectors()
VECTORS = _FOUND or _AVX512


def vectors_supported():
    """Whether this machine has vectors that kernels are written for."""
    return _FOUND is not None


# ------------------------------------------------------------------------------------- LLVM's representation

WORD = ir.IntType(64)
BYTE = ir.IntType(8)
FLAG = ir.IntType(1)
INDEX = ir.IntType(32)


def vector_type(item):
    return ir.VectorType(item, VECTORS.size // item_bytes(item))


def item_bytes(item):
    if isinstance(item, ir.IntType):
        return item.width // 8
    return 4 if isinstance(item, ir.FloatType) else 8


def indices(numbers):
    return ir.Constant(ir.VectorType(INDEX, len(numbers)), list(numbers))


def splat(builder, value, count):
    """A vector of `count` times the same value."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, INDEX(0))
    return builder.shuffle_vector(first, undefined, indices([0] * count))


def routine(module, name, kinds):
    """A new function without a result, called like one of BLAS; its entry."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def declared(module, name, result, kinds):
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, kinds), name)


def mask_of(builder, count, lanes):
    """A vector that says of each lane whether it is among the first `count`."""
    return builder.icmp_unsigned("<", indices(range(lanes)), splat(builder, builder.trunc(count, INDEX), lanes))


def load(builder, pointer, mask, kind):
    """The vector at an address, zeros where the mask is false."""
    place = builder.bitcast(pointer, kind.as_pointer())
    kinds = [place.type, INDEX, mask.type, kind]
    masked = declared(builder.module, f"llvm.masked.load.{_named(kind)}.p0", kind, kinds)
    return builder.call(masked, [place, INDEX(item_bytes(kind.element)), mask, ir.Constant(kind, None)])


def store(builder, value, pointer, mask):
    """Writes a vector to an address where the mask is true."""
    kind = value.type
    place = builder.bitcast(pointer, kind.as_pointer())
    kinds = [kind, place.type, INDEX, mask.type]
    masked = declared(builder.module, f"llvm.masked.store.{_named(kind)}.p0", ir.VoidType(), kinds)
    builder.call(masked, [value, place, INDEX(item_bytes(kind.element)), mask])


def _named(kind):
    """A kind of vector in the names of LLVM's intrinsics."""
    return f"v{kind.count}{'i' if isinstance(kind.element, ir.IntType) else 'f'}{8 * item_bytes(kind.element)}"


def words_of(context, builder, kinds, numbers):
    """The values of a tuple of numbers."""
    values = [builder.extract_value(numbers, i) for i in range(len(kinds.types))]
    return [context.cast(builder, *value, types.int64) for value in zip(values, kinds.types, strict=True)]


def pointers_of(builder, addresses, real):
    """The values of a tuple of addresses."""
    values = [builder.extract_value(addresses, i) for i in range(len(addresses.type.elements))]
    return [builder.inttoptr(value, real.as_pointer()) for value in values]
