"""A pass over matrices by columns: an operation on each value, and sums of columns.

Row by row, LLVM reads what belongs to the columns, such as gamma and beta, again for each row,
and computes what does not fill a vector at a row's end value by value. Here a few vectors of
columns go down some rows at a time, with what belongs to the columns in registers. The order
of each column's sum is the same.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels.lowering.vectors import FLAG, VECTORS, WORD, load, mask_of, routine, splat, store, vector_type

# Rows that a few vectors of columns go down before the next columns: all of it stays in near caches.
_ROWS = 16


class Pass(NamedTuple):
    """An operation on each value of some matrices (N, D) of the same shape.

    `body` gets a builder of contracted arithmetic, the vectors of the columns, of the sums so far, of
    the factors and the matrices, and of the scalars. It returns the new sums, and what is to be stored in the last
    matrices.
    """

    name: str
    body: Callable
    columns: int  # arrays (D,) that are read
    sums: int  # arrays (D,) that are added to
    matrices: int
    factors: int = 0  # arrays (N,) that are read


class _Arithmetic:
    """Operations on vectors that may be fused, as in the kernels that LLVM packs by itself."""

    def __init__(self, builder):
        self.builder = builder

    def add(self, a, b):
        return self.builder.fadd(a, b, flags=("contract",))

    def subtract(self, a, b):
        return self.builder.fsub(a, b, flags=("contract",))

    def multiply(self, a, b):
        return self.builder.fmul(a, b, flags=("contract",))

    def greater(self, a, b, value, other):
        """value where a > b, else other: also where one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), value, other)


def by_columns(described):
    """A function for compiled code: of (N, D), the columns, sums, factors and matrices, and scalars of their dtype."""

    @intrinsic
    def call(typingctx, shape, arrays, scalars):
        def codegen(context, builder, sig, args):
            numbers, pointers, reals = (cgutils.unpack_tuple(builder, args[i]) for i in range(3))
            words = [context.cast(builder, n, k, types.int64) for n, k in zip(numbers, shape, strict=True)]
            pointers = [
                context.make_array(kind)(context, builder, array).data
                for kind, array in zip(arrays, pointers, strict=True)
            ]
            reals = [context.cast(builder, n, k, arrays[0].dtype) for n, k in zip(reals, scalars, strict=True)]
            real = context.get_data_type(arrays[0].dtype)
            builder.call(_pass_routine(builder.module, real, described, len(reals)), [*words, *pointers, *reals])
            return context.get_dummy_value()

        return types.void(shape, arrays, scalars), codegen

    return call


class _Operands(NamedTuple):
    """The arguments of a pass's LLVM function, in groups."""

    kind: ir.VectorType
    d: ir.Value  # the number of columns
    columns: list[ir.Value]  # pointers
    sums: list[ir.Value]
    factors: list[ir.Value]
    matrices: list[ir.Value]
    scalars: list[ir.Value]  # as vectors


def _pass_routine(module, real, described, scalars):
    """The LLVM function of a pass."""
    name = f"fastfc_{described.name}_{real}"
    if name in module.globals:
        return module.globals[name]
    kind, lanes = vector_type(real), vector_type(real).count
    groups = described.columns, described.sums, described.factors, described.matrices
    pointers = sum(groups)
    function, builder = routine(module, name, [WORD] * 2 + [real.as_pointer()] * pointers + [real] * scalars)
    rows, d, *arrays = function.args[: 2 + pointers]
    following = iter(arrays)
    columns, sums, factors, matrices = (list(itertools.islice(following, size)) for size in groups)
    reals = [splat(builder, value, lanes) for value in function.args[2 + pointers :]]
    operands = _Operands(kind, d, columns, sums, factors, matrices, reals)
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    group = VECTORS.max_vectors * lanes
    grouped = builder.sub(d, builder.srem(d, WORD(group)))
    with cgutils.for_range_slice(builder, WORD(0), rows, WORD(_ROWS)) as (first, _):
        left = builder.sub(rows, first)
        count = builder.select(builder.icmp_signed("<", left, WORD(_ROWS)), left, WORD(_ROWS))
        with cgutils.for_range_slice(builder, WORD(0), grouped, WORD(group)) as (column, _):
            _go_down(builder, described.body, operands, first, count, column, [whole] * VECTORS.max_vectors)
        with cgutils.for_range_slice(builder, grouped, d, WORD(lanes)) as (column, _):
            rest = mask_of(builder, builder.sub(d, column), lanes)
            _go_down(builder, described.body, operands, first, count, column, [rest])
    builder.ret_void()
    return function


def _go_down(builder, body, operands, first, count, column, masks):
    """The loop of some vectors of columns, one for each mask, down `count` rows from row `first` on."""
    kind, d, columns, sums, factors, matrices, scalars = operands
    of_columns = [_vectors_at(builder, kind, pointer, column, masks) for pointer in columns]
    before = [_vectors_at(builder, kind, pointer, column, masks) for pointer in sums]
    entry, loop, end = builder.block, *(builder.append_basic_block(label) for label in ("down", "end"))
    start = builder.add(builder.mul(first, d), column)
    builder.branch(loop)
    builder.position_at_end(loop)
    row, position = builder.phi(WORD), builder.phi(WORD)
    totals = [[builder.phi(kind) for _ in masks] for _ in sums]
    of_row = builder.add(first, row)
    values = [[splat(builder, builder.load(builder.gep(f, [of_row])), kind.count)] * len(masks) for f in factors]
    values += [_vectors_at(builder, kind, pointer, position, masks) for pointer in matrices]
    results = [
        body(_Arithmetic(builder), *([part[v] for part in parts] for parts in (of_columns, totals, values)), scalars)
        for v in range(len(masks))
    ]
    stored = len(results[0][1])
    for i, pointer in enumerate(matrices[len(matrices) - stored :]):
        _store_at(builder, [out[i] for _, out in results], pointer, position, masks)
    next_row = builder.add(row, WORD(1))
    phis = [(row, WORD(0), next_row), (position, start, builder.add(position, d))]
    phis += [(totals[i][v], before[i][v], results[v][0][i]) for i in range(len(sums)) for v in range(len(masks))]
    for phi, initial, following in phis:
        phi.add_incoming(initial, entry)
        phi.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", next_row, count), loop, end)
    builder.position_at_end(end)
    for i, pointer in enumerate(sums):
        _store_at(builder, [results[v][0][i] for v in range(len(masks))], pointer, column, masks)


def _vectors_at(builder, kind, pointer, position, masks):
    """The neighbouring vectors from a position on, one for each mask."""
    return [
        load(builder, builder.gep(pointer, [builder.add(position, WORD(v * kind.count))]), mask, kind)
        for v, mask in enumerate(masks)
    ]


def _store_at(builder, vectors, pointer, position, masks):
    """Store vectors beside one another from a position on."""
    for v, (vector, mask) in enumerate(zip(vectors, masks, strict=True)):
        store(builder, vector, builder.gep(pointer, [builder.add(position, WORD(v * vector.type.count))]), mask)
