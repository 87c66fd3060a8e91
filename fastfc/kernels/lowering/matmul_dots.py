"""Products of a matrix's rows with one vector, for those in ``matmul_vectors.py``.

The sums of some rows are made side by side: one by itself would wait for its last addition before the next.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels.lowering.vectors import FLAG, WORD, declared, item_bytes, load, mask_of, routine, vector_type

# Rows side by side: their sums and a vector of b fit into the registers of AVX2 too.
_ROWS = 8


@intrinsic
def multiply_rows(typingctx, numbers, a, b, first, c):
    """Overwrites c with a @ b + first: (m, k, a_row, c_row), for rows of a, `a_row` values apart, and b (k,).

    The values of c lie `c_row` apart.
    """

    def codegen(context, builder, sig, args):
        words = [
            context.cast(builder, builder.extract_value(args[0], i), kind, types.int64)
            for i, kind in enumerate(sig.args[0].types)
        ]
        pointers = [context.make_array(sig.args[i])(context, builder, args[i]).data for i in (1, 2, 4)]
        builder.call(_routine(builder.module, args[3].type), [*words, *pointers, args[3]])
        return context.get_dummy_value()

    return types.void(numbers, a, b, a.dtype, c), codegen


def _routine(module, real):
    """The LLVM function of :func:`multiply_rows`."""
    name = f"fastfc_rows_{real}"
    if name in module.globals:
        return module.globals[name]
    function, builder = routine(module, name, [WORD] * 4 + [real.as_pointer()] * 3 + [real])
    m, *operands = function.args
    grouped = builder.sub(m, builder.srem(m, WORD(_ROWS)))
    with cgutils.for_range_slice(builder, WORD(0), grouped, WORD(_ROWS)) as (row, _):
        _store_sums(builder, operands, row, _ROWS)
    with cgutils.for_range_slice(builder, grouped, m, WORD(1)) as (row, _):
        _store_sums(builder, operands, row, 1)
    builder.ret_void()
    return function


def _store_sums(builder, operands, row, height):
    """Compute `height` values of c from row `row` on."""
    k, a_row, c_row, a, b, c, first = operands
    kind = vector_type(first.type)
    whole = ir.Constant(ir.VectorType(FLAG, kind.count), [1] * kind.count)
    rows = [builder.gep(a, [builder.mul(builder.add(row, WORD(i)), a_row)]) for i in range(height)]
    last = builder.srem(k, WORD(kind.count))
    end_of_whole = builder.sub(k, last)
    entry, loop, end = builder.block, *(builder.append_basic_block(label) for label in ("sums", "end"))
    some = builder.icmp_signed(">", end_of_whole, WORD(0))
    builder.cbranch(some, loop, end)

    builder.position_at_end(loop)
    place, before = builder.phi(WORD), [builder.phi(kind) for _ in range(height)]
    sums = _added(builder, before, rows, b, place, whole)
    following, zeros = builder.add(place, WORD(kind.count)), [ir.Constant(kind, None)] * height
    for phi, initial, new in zip((place, *before), (WORD(0), *zeros), (following, *sums), strict=True):
        phi.add_incoming(initial, entry)
        phi.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, end_of_whole), loop, end)

    builder.position_at_end(end)
    totals = [builder.phi(kind) for _ in range(height)]
    for total, zero, value in zip(totals, zeros, sums, strict=True):
        total.add_incoming(zero, entry)
        total.add_incoming(value, loop)
    totals = _added(builder, totals, rows, b, end_of_whole, mask_of(builder, last, kind.count))
    reduce = declared(
        builder.module, f"llvm.vector.reduce.fadd.v{kind.count}f{8 * item_bytes(kind.element)}", first.type,
        [first.type, kind],
    )  # fmt: skip
    for i, total in enumerate(totals):
        value = builder.call(reduce, [first, total], fastmath=("reassoc",))
        builder.store(value, builder.gep(c, [builder.mul(builder.add(row, WORD(i)), c_row)]))


def _added(builder, sums, rows, b, place, mask):
    """The sums with the products at a place in all rows."""
    kind = sums[0].type
    fma = declared(builder.module, f"llvm.fma.v{kind.count}f{8 * item_bytes(kind.element)}", kind, [kind] * 3)
    values = load(builder, builder.gep(b, [place]), mask, kind)
    return [
        builder.call(fma, [load(builder, builder.gep(row, [place]), mask, kind), values, total])
        for row, total in zip(rows, sums, strict=True)
    ]
