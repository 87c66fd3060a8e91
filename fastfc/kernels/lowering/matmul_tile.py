"""A tile of a matrix product, whose sums stay in vector registers, for the products in ``matmul.py``.

It is a part of C of some rows and a few vectors. Each step of its loop loads a row of B into vectors and multiplies
it by a value of A for each row of the tile. B's rows must therefore be contiguous; A is read value by value, and may
lie transposed.
"""

import itertools
import math

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels.lowering.vectors import (
    BYTE,
    FLAG,
    INDEX,
    VECTORS,
    WORD,
    declared,
    item_bytes,
    load,
    mask_of,
    pointers_of,
    routine,
    splat,
    store,
    vector_type,
    words_of,
)

# Operands from further away are fetched with so many parts of a tile's sums, so many bytes of a row at a time.
PARTS = 3
PIECE = 256


@intrinsic
def multiply_tile(typingctx, numbers, addresses, dtype):
    """A tile: (height, width, depth, a_row, a_step, b_row, adds, added_row, c_row, rectifies, part_depth, pieces,
    ahead_row), and where a, b, added, c and what comes next are.

    The sums are made in parts of `part_depth` terms; with each come so many pieces of what comes next.
    """

    def codegen(context, builder, sig, args):
        height, width, *rest = words_of(context, builder, sig.args[0], args[0])
        real = context.get_data_type(sig.args[2].dtype)
        pointers = pointers_of(builder, args[1], real)
        lanes = vector_type(real).count
        vectors = builder.sdiv(builder.add(width, WORD(lanes - 1)), WORD(lanes))
        last = builder.sub(width, builder.mul(builder.sub(vectors, WORD(1)), WORD(lanes)))
        whole = builder.icmp_signed("==", last, WORD(lanes))
        case = builder.add(builder.mul(height, WORD(VECTORS.max_vectors)), vectors)
        case = builder.add(builder.mul(case, WORD(2)), builder.zext(whole, WORD))
        done = builder.append_basic_block("tile.done")
        switch = builder.switch(case, done)
        sizes = itertools.product(range(1, VECTORS.max_height + 1), range(1, VECTORS.max_vectors + 1), (0, 1))
        for tall, wide, masked in sizes:
            block = builder.append_basic_block("tile.case")
            switch.add_case(WORD(2 * (tall * VECTORS.max_vectors + wide) + 1 - masked), block)
            with builder.goto_block(block):
                # One routine for both where a mask costs nothing.
                routine = _tile_routine(builder.module, real, tall, wide, bool(masked) or VECTORS.masks)
                builder.call(routine, [last, *rest, *pointers])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


def _tile_routine(module, real, height, vectors, masked):
    """The LLVM function of a tile of a height, with that many vectors to a row, the last one whole or masked."""
    name = f"fastfc_tile_{real}_{height}x{vectors}{'_masked' if masked else ''}"
    if name in module.globals:
        return module.globals[name]
    kind, pointer = vector_type(real), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 12 + [pointer] * 5)
    last, depth, a_row, a_step, b_row, adds, added_row, c_row, rectifies, *rest = function.args
    part_depth, pieces, ahead_row, a, b, added, c, ahead = rest
    ahead = builder.bitcast(ahead, BYTE.as_pointer())
    entry = builder.block
    labels = "part", "loop", "part_end", "end", "added", "done"
    part, loop, part_end, end, with_added, done = (function.append_basic_block(label) for label in labels)
    lanes = kind.count
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    masks = [whole] * (vectors - 1) + [mask_of(builder, last, lanes) if masked else whole]
    zero = ir.Constant(kind, None)

    # C and what is multiplied next come while the sums are made, some with each part of them: all at once, they
    # would take every place where a line that is asked for is waited for, and A would have to wait for them.
    fetched = -(-height // PARTS)
    # If LLVM knew how these belong together, it would reach each row of A from the one before: additions that
    # wait for each other longer than a narrow tile's products take.
    a_rows = [_opaque(builder, builder.mul(a_row, WORD(i))) for i in range(height)]
    builder.branch(part)

    builder.position_at_end(part)
    part_step, part_a, part_b, part_c = builder.phi(WORD), *(builder.phi(pointer) for _ in range(3))
    part_ahead = builder.phi(BYTE.as_pointer())
    part_sums = [[builder.phi(kind) for _ in range(vectors)] for _ in range(height)]
    _prefetch_rows(builder, part_c, c_row, fetched, [v * lanes for v in range(vectors)])
    _prefetch_pieces(builder, part_ahead, ahead_row, pieces)
    next_ahead = builder.gep(part_ahead, [builder.mul(pieces, ahead_row)])
    limit = builder.add(part_step, part_depth)
    limit = builder.select(builder.icmp_signed("<", limit, depth), limit, depth)
    summing = builder.branch(loop).parent

    builder.position_at_end(loop)
    step, a_now, b_now = builder.phi(WORD), builder.phi(pointer), builder.phi(pointer)
    before = [[builder.phi(kind) for _ in range(vectors)] for _ in range(height)]
    row = _vectors_at(builder, b_now, masks, kind)
    sums = [_multiplied(builder, builder.gep(a_now, [a_rows[i]]), row, before[i]) for i in range(height)]
    next_step, next_a, next_b = builder.add(step, WORD(1)), builder.gep(a_now, [a_step]), builder.gep(b_now, [b_row])
    phis = [(step, part_step, next_step), (a_now, part_a, next_a), (b_now, part_b, next_b)]
    phis += [(before[i][v], part_sums[i][v], sums[i][v]) for i in range(height) for v in range(vectors)]
    _come_from(phis, summing, loop)
    branch = builder.cbranch(builder.icmp_signed("<", next_step, limit), loop, part_end)
    _keep_rolled(branch)

    builder.position_at_end(part_end)
    next_c = _row_of(builder, part_c, c_row, fetched)
    phis = [(part_step, WORD(0), next_step), (part_a, a, next_a), (part_b, b, next_b), (part_c, c, next_c)]
    phis.append((part_ahead, ahead, next_ahead))
    phis += [(part_sums[i][v], zero, sums[i][v]) for i in range(height) for v in range(vectors)]
    _come_from(phis, entry, part_end)
    builder.cbranch(builder.icmp_signed("<", next_step, depth), part, end)

    builder.position_at_end(end)
    _add_and_store(builder, sums, (adds, rectifies), (added, added_row), (c, c_row), masks, (with_added, done))
    return function


def _row_of(builder, pointer, stride, i):
    """Where row i of a matrix begins."""
    return builder.gep(pointer, [builder.mul(stride, WORD(i))])


def _vectors_at(builder, pointer, masks, kind):
    """The vectors of a row, one for each mask."""
    return [load(builder, builder.gep(pointer, [WORD(v * kind.count)]), mask, kind) for v, mask in enumerate(masks)]


def _multiplied(builder, a, row, sums):
    """The sums of a row of the tile, and its value of A times the vectors of a row of B."""
    kind = sums[0].type
    name = f"llvm.fma.v{kind.count}f{8 * item_bytes(kind.element)}"
    fma = declared(builder.module, name, kind, [kind] * 3)
    value = splat(builder, builder.load(a), kind.count)
    return [builder.call(fma, [value, vector, before]) for vector, before in zip(row, sums, strict=True)]


def _add_and_store(builder, sums, choices, terms, target, masks, blocks):
    """The end of a tile's function: what is to be added to the sums; they are stored in C, or zeros for negative ones.

    The choices are words, 0 for what is not to be done. Both matrices are given by their address and the distance of
    their rows.
    """
    (adds, rectifies), (added, added_row), (c, c_row), (with_added, done) = choices, terms, target, blocks
    kind, end = sums[0][0].type, builder.block
    builder.cbranch(builder.icmp_signed("!=", adds, WORD(0)), with_added, done)
    builder.position_at_end(with_added)
    totals = []
    for i, row in enumerate(sums):
        others = _vectors_at(builder, _row_of(builder, added, added_row, i), masks, kind)
        totals.append([builder.fadd(value, other) for value, other in zip(row, others, strict=True)])
    builder.branch(done)
    builder.position_at_end(done)
    results = [[builder.phi(kind) for _ in row] for row in sums]
    for i, row in enumerate(results):
        for v, result in enumerate(row):
            result.add_incoming(sums[i][v], end)
            result.add_incoming(totals[i][v], with_added)
    is_rectified = builder.icmp_signed("!=", rectifies, WORD(0))
    least = builder.select(is_rectified, ir.Constant(kind, None), ir.Constant(kind, [-math.inf] * kind.count))
    for i, row in enumerate(results):
        for v, result in enumerate(row):
            # In this order NaN stays.
            result = builder.select(builder.fcmp_ordered(">", least, result), least, result)
            store(builder, result, builder.gep(_row_of(builder, c, c_row, i), [WORD(v * kind.count)]), masks[v])
    builder.ret_void()


def _opaque(builder, word):
    """A word that LLVM knows nothing about."""
    return builder.call(ir.InlineAsm(ir.FunctionType(WORD, [WORD]), "", "=r,0"), [word])


def _come_from(phis, entry, loop):
    """Give each phi its value at the entry of a loop, and the one after a turn: (phi, first, following)."""
    for phi, first, following in phis:
        phi.add_incoming(first, entry)
        phi.add_incoming(following, loop)


def _keep_rolled(branch):
    """Keep LLVM from unrolling the loop that a branch closes: small tiles would need more registers than there are."""
    module = branch.module
    disable = module.add_metadata(["llvm.loop.unroll.disable"])
    loop = ir.values.MDValue(module, [disable, disable], str(len(module.metadata)))
    # Loop metadata name themselves first; llvmlite has no other way to say so.
    loop.operands = (loop, disable)
    branch.set_metadata("llvm.loop", loop)


def _prefetch_rows(builder, pointer, stride, rows, offsets):
    """Ask for values of some rows of C at these offsets, to be written, for the nearest cache."""
    for i in range(rows):
        for offset in offsets:
            _prefetch(builder, builder.gep(_row_of(builder, pointer, stride, i), [WORD(offset)]), write=1, level=1)


def _prefetch_pieces(builder, pointer, stride, pieces):
    """Ask for some pieces of what is multiplied next, for the second-level cache."""
    with cgutils.for_range(builder, pieces) as piece:
        for byte in range(0, PIECE, 64):
            place = builder.gep(pointer, [builder.add(builder.mul(piece.index, stride), WORD(byte))])
            _prefetch(builder, place, write=0, level=2)


def _prefetch(builder, pointer, write, level):
    """Ask for what stands at a pointer, for reading or writing, for a cache of a level."""
    kinds = [BYTE.as_pointer(), INDEX, INDEX, INDEX]
    prefetch = declared(builder.module, "llvm.prefetch.p0", ir.VoidType(), kinds)
    builder.call(prefetch, [builder.bitcast(pointer, kinds[0]), INDEX(write), INDEX(4 - level), INDEX(1)])
