"""Matrix products of the compiled run, made of tiles that stay in vector registers.

BLAS copies ("packs") both operands before it multiplies. In a training step that is up to a
third of the time: every weight is used once per pass, and the other operand of a weight
gradient is copied again for every chunk. Here the tiles read the operands where they lie.
Copied, a block at a time, is only what is read across its rows, and what lies so far apart
that it would fall out of the caches between two uses; what is copied next is fetched meanwhile.

A tile is a part of C of some rows and a few vectors. Each step of its loop loads a row of B
into vectors and multiplies it by a value of A for each row of the tile. B's rows must
therefore be contiguous; A is read value by value, and may lie transposed.

Processors with neither AVX-512 nor AVX2 use BLAS.
"""

import itertools

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc._runtime.shared import PANEL
from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.compiler.linked import linked
from fastfc.kernels.lowering.blas import gemm
from fastfc.kernels.lowering.math import assign
from fastfc.kernels.lowering.vectors import (
    BYTE,
    FLAG,
    INDEX,
    VECTORS,
    WORD,
    declared,
    indices,
    item_bytes,
    load,
    mask_of,
    routine,
    splat,
    store,
    vector_type,
    vectors_supported,
)
from fastfc.kernels.lowering.views import vector

# Behind each part of a copy, so that not all of them fall upon the same few places of a cache.
_PAD = 16
# A copy pays where rows lie further apart than this, and each value is used in enough tiles: of A in a
# row of tiles, more if neighbours in a column of A are read at a time; of B in a column of tiles, many more if
# it only is that vectors of B's rows would lie across two lines of the cache.
_FAR = 128
_TILES_OF_ROWS, _TILES_OF_COLUMNS, _TILES_OF_B, _TILES_OF_UNALIGNED_B = 8, 2, 4, 40

# Up to so many bytes, C, and B if its rows are not copied, are taken to be in the second-level cache.
_NEAR, _NEAR_B = 2**20, 2**18
# What comes from further away comes with so many parts of a tile's sums, so many bytes of a row at a time.
_PARTS = 3
_PIECE = 256

# A's columns are copied tile by tile: a tile's part of each column, padded to so many values.
_TILE_STEP = 8
_TILE_SIZE = VECTORS.depth * _TILE_STEP + _PAD
# B is copied for several columns of tiles at a time: every row may be on a page of its own.
_GROUP = max(1, _PIECE // (VECTORS.max_vectors * VECTORS.size))
_COLUMN_SIZE = VECTORS.depth * VECTORS.max_vectors * VECTORS.size // 4 + _PAD
_GROUP_SIZE = _GROUP * _COLUMN_SIZE
# Values that the copies take: `VECTORS.depth` rows of a group of columns of tiles of B, and `VECTORS.rows` rows of A.
_COPIES = _GROUP_SIZE + max(VECTORS.rows * (VECTORS.depth + _PAD), -(-VECTORS.rows // VECTORS.max_height) * _TILE_SIZE)
if _COPIES > PANEL:
    raise RuntimeError(f"the room for copies of matrices has {PANEL} values; {_COPIES} are needed")


@inline
def _multiply_tiles(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, c_row, panel, first):
    numbers = (m, n, k, a_row, a_step, b_row, b_step, bias.size > 0, c_row, first)
    _call_product(numbers, (a, b, bias, c, panel))


@inline
def _multiply_blas(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, c_row, panel, first):
    if bias.size > 0:
        for i in range(m):
            assign(vector(c, i * c_row, n), bias)
    beta = 1 if bias.size > 0 else 0
    # A matrix of a single row or column may have a stride that BLAS refuses; it is of no account then.
    lda, ldb = max(a_row, a_step, k if a_step == 1 else m), max(b_row, b_step, n if b_step == 1 else k)
    gemm(a_step != 1, b_step != 1, m, n, k, a, lda, b, ldb, beta, c, c_row)


#: ``multiply(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, c_row, panel, first)`` computes
#: ``C = A @ B``, plus bias (n,) in every row unless bias is empty, for matrices in flat arrays. A is
#: (m, k), and its value (i, l) stands at ``a[i * a_row + l * a_step]``; B is (k, n) likewise; one of
#: the two steps of each is 1. C is (m, n) with rows of `c_row` values as stored; k is at least 1.
#: panel (PANEL,) is overwritten. A long sum is made part by part, beginning with the one that has
#: term `first`, the best if this processor has its operands: the others' come meanwhile.
multiply = _multiply_tiles if vectors_supported() else _multiply_blas


@linked(types.void, lambda dtype: (types.int64,) * 15, name="product")
def _product_float(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, a, b, bias, c, panel):
    _product(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, a, b, bias, c, panel, np.float32, 4)


@linked(types.void, lambda dtype: (types.int64,) * 15, name="product")
def _product_double(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, a, b, bias, c, panel):
    _product(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, a, b, bias, c, panel, np.float64, 8)


#: Dtype -> the product, on processors that have vectors for tiles.
PRODUCTS = {np.dtype(np.float32): _product_float, np.dtype(np.float64): _product_double}


@inline
def _product(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, a, b, bias, c, panel, dtype, itemsize):
    """:func:`multiply` for matrices at the addresses a, b, bias, c and panel."""
    columns = VECTORS.max_vectors * (VECTORS.size // itemsize)
    tile_columns = -(-n // columns)
    a_copy = panel + _GROUP_SIZE * itemsize
    copies_rows = a_step == 1 and a_row >= _FAR and n >= _TILES_OF_ROWS * columns
    copies_tiles = a_step >= _FAR and n >= _TILES_OF_COLUMNS * columns
    tiles_of_b = _TILES_OF_B if b_row > _FAR else _TILES_OF_UNALIGNED_B
    copies_b = (b_row > _FAR or b_row * itemsize % VECTORS.size != 0) and m >= tiles_of_b * VECTORS.max_height
    far, b_far = m * n * itemsize > _NEAR, k * n * itemsize > _NEAR_B
    most = -(-k // -(-k // VECTORS.depth))
    blocks = -(-k // most)
    opening = first // most
    for block in range(blocks):
        start, following = (opening + block) % blocks * most, (opening + block + 1) % blocks * most
        depth = min(most, k - start)
        depth_ahead = min(most, k - following) if block + 1 < blocks else 0
        # The first product takes the bias along, the others add to what is there.
        adds = has_bias if block == 0 else 1
        added, added_row = (bias, 0) if block == 0 else (c, c_row)
        for top in range(0, m, VECTORS.rows):
            rows = min(VECTORS.rows, m - top)
            # As even as can be: a tile of a single row would wait for its own sums.
            tiles = -(-rows // VECTORS.max_height)
            tile_size = depth * _TILE_STEP + _PAD
            height, taller = rows // tiles, rows % tiles
            left, left_row, left_step = a + (top * a_row + start * a_step) * itemsize, a_row, a_step
            # What of A and B comes next, and how much of it with each column of tiles.
            of_a, of_b, a_share, b_share = _ahead(a, 0, 0, 0), _ahead(b, 0, 0, 0), 0, 0
            a_ahead = a + (top * a_row + following * a_step) * itemsize
            if copies_rows:
                left_row = VECTORS.depth + _PAD
                _copy_rows((rows, depth, a_row, left_row), (left, a_copy), dtype)
                left = a_copy
                of_a = _ahead(a_ahead, rows, a_row * itemsize, depth_ahead * itemsize)
                a_share = -(-_pieces(of_a) // tile_columns)
            elif copies_tiles:
                left_row, left_step = 1, _TILE_STEP
                _copy_tiles((depth, taller, height + 1, a_step, tile_size), (left, a_copy), dtype)
                others = left + taller * (height + 1) * itemsize, a_copy + taller * tile_size * itemsize
                _copy_tiles((depth, tiles - taller, height, a_step, tile_size), others, dtype)
                left = a_copy
                of_a = _ahead(a_ahead, depth_ahead, a_step * itemsize, rows * itemsize)
                a_share = -(-_pieces(of_a) // tile_columns)
            elif a_step >= _FAR:
                # The first column of tiles takes all of A; its very first part is not worth waiting for.
                of_a = _ahead(left + _PIECE, depth, a_step * itemsize, rows * itemsize - _PIECE)
                a_share = _pieces(of_a)
            if b_far and b_step == 1 and not copies_b:
                of_b = _ahead(b + following * b_row * itemsize, depth_ahead, b_row * itemsize, n * itemsize)
                b_share = -(-_pieces(of_b) // tile_columns)
            for j in range(0, n, columns):
                width = min(columns, n - j)
                right, right_row = b + (start * b_row + j * b_step) * itemsize, b_row
                together = 0
                if b_step != 1:
                    together = width
                    _transpose((depth, width, b_step, columns), (right, panel), dtype, itemsize)
                    right, right_row = panel, columns
                elif copies_b:
                    place = j // columns % _GROUP
                    if place == 0:
                        together = min(_GROUP * columns, n - j)
                        _copy_columns((depth, together, b_row), (right, panel), dtype)
                    right, right_row = panel + place * _COLUMN_SIZE * itemsize, columns
                if together > 0:
                    # What is copied next: other columns, or the first ones again, or those of the next block.
                    next_j, next_start, next_depth = j + together, start, depth
                    if next_j == n:
                        next_j = 0
                        if top + rows == m:
                            next_start, next_depth = following, depth_ahead
                    b_ahead = b + (next_start * b_row + next_j * b_step) * itemsize
                    next_width = min(columns if b_step != 1 else _GROUP * columns, n - next_j)
                    if b_step == 1:
                        of_b = _ahead(b_ahead, next_depth, b_row * itemsize, next_width * itemsize)
                    elif b_far:
                        of_b = _ahead(b_ahead, next_width, b_step * itemsize, next_depth * itemsize)
                    b_share = -(-_pieces(of_b) // -(-together // columns))
                # It comes in the meantime, a share with every tile, and A's next block as well.
                share, parts, part_depth = a_share + b_share, 1, depth
                if far or share > tiles:
                    parts, part_depth = _PARTS, -(-depth // _PARTS)
                if share > 0:
                    share = -(-share // (parts * tiles))
                i = top
                for tile in range(tiles):
                    ahead, ahead_row, pieces = b, 0, 0
                    if _pieces(of_b) > 0:
                        of_b, ahead, ahead_row, pieces = _take(of_b, share * parts)
                    elif _pieces(of_a) > 0:
                        of_a, ahead, ahead_row, pieces = _take(of_a, share * parts)
                    sums = part_depth, min(pieces, share), ahead_row
                    tall = height + 1 if tile < taller else height
                    offset = tile * tile_size if copies_tiles else (i - top) * left_row
                    _tile(
                        (tall, width, depth, left_row, left_step, right_row, adds, added_row, c_row, *sums),
                        (
                            left + offset * itemsize,
                            right,
                            added + (i * added_row + j) * itemsize,
                            c + (i * c_row + j) * itemsize,
                            ahead,
                        ),
                        dtype,
                    )
                    i += tall


@inline
def _ahead(address, rows, stride, row_bytes):
    """A part of a matrix that is needed next, to be fetched by pieces of its rows, column after column of pieces.

    Where it goes on, the rows' distance in bytes, and how many rows there are, are left, and columns are left.
    """
    return address, stride, rows, rows, max(0, -(-row_bytes // _PIECE))


@inline
def _pieces(ahead):
    """How many pieces there are in the columns that are left."""
    return ahead[2] * ahead[4]


@inline
def _take(ahead, count):
    """At most `count` pieces of a column: what is ahead behind them, where they are, their distance, their number."""
    address, stride, rows, left, columns = ahead
    if count < left:
        return (address + count * stride, stride, rows, left - count, columns), address, stride, count
    return (address + _PIECE - (rows - left) * stride, stride, rows, rows, columns - 1), address, stride, left


@inline
def _transpose(numbers, addresses, dtype, itemsize):
    """Copy a column-major block: (rows, columns, column, target_row), and where source and target are."""
    rows, columns, column, target_row = numbers
    source, target = addresses
    lanes = VECTORS.size // itemsize
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            _transpose_block(
                (columns - j, rows - i, column, target_row),
                (source + (j * column + i) * itemsize, target + (i * target_row + j) * itemsize),
                dtype,
            )


# ------------------------------------------------------------------------------------- LLVM's representation


@intrinsic
def _call_product(typingctx, numbers, arrays):
    """Call the product of the arrays' dtype: the numbers, then the addresses of the arrays."""

    def codegen(context, builder, sig, args):
        words = _words(context, builder, sig.args[0], args[0])
        for i, kind in enumerate(sig.args[1].types):
            array = context.make_array(kind)(context, builder, builder.extract_value(args[1], i))
            words.append(builder.ptrtoint(array.data, WORD))
        dtype = np.dtype(sig.args[1].types[0].dtype.name)
        return PRODUCTS[dtype].call(context, builder, dtype, words)

    return types.void(numbers, arrays), codegen


@intrinsic
def _tile(typingctx, numbers, addresses, dtype):
    """A tile: (height, width, depth, a_row, a_step, b_row, adds, added_row, c_row, part_depth, pieces,
    ahead_row), and where a, b, added, c and what comes next are.

    The sums are made in parts of `part_depth` terms; with each come so many pieces of what comes next.
    """

    def codegen(context, builder, sig, args):
        height, width, *rest = _words(context, builder, sig.args[0], args[0])
        real = context.get_data_type(sig.args[2].dtype)
        pointers = _pointers(builder, args[1], real)
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


@intrinsic
def _transpose_block(typingctx, numbers, addresses, dtype):
    """A block of a vector's length: (rows, columns, source_row, target_row), and where source and target are.

    Fewer rows or columns may be there; the target's block is written as a whole.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = _words(context, builder, sig.args[0], args[0])
        builder.call(_transpose_routine(builder.module, real), [*words, *_pointers(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


@intrinsic
def _copy_rows(typingctx, numbers, addresses, dtype):
    """A block of a matrix: (rows, columns, source_row, target_row), and where source and target are.

    The target's rows are written in whole vectors.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = _words(context, builder, sig.args[0], args[0])
        builder.call(_rows_routine(builder.module, real), [*words, *_pointers(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


@intrinsic
def _copy_columns(typingctx, numbers, addresses, dtype):
    """A block by columns of tiles: (rows, columns, source_row), and where source and target are.

    A column of tiles starts `_COLUMN_SIZE` values behind the one before; its rows have the width
    of the largest tile.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = _words(context, builder, sig.args[0], args[0])
        builder.call(_columns_routine(builder.module, real), [*words, *_pointers(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


@intrinsic
def _copy_tiles(typingctx, numbers, addresses, dtype):
    """A block tile by tile: (rows, tiles, height, source_row, tile_size), and where source and target are.

    Of each row, `height` values go to each tile. A tile starts `tile_size` values behind the one
    before, and has every row's values `_TILE_STEP` behind the last row's.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = _words(context, builder, sig.args[0], args[0])
        builder.call(_tiles_routine(builder.module, real), [*words, *_pointers(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


def _prefetch(builder, pointer, write, level):
    """Ask for what stands at a pointer, for reading or writing, for a cache of a level."""
    kinds = [BYTE.as_pointer(), INDEX, INDEX, INDEX]
    prefetch = declared(builder.module, "llvm.prefetch.p0", ir.VoidType(), kinds)
    builder.call(prefetch, [builder.bitcast(pointer, kinds[0]), INDEX(write), INDEX(4 - level), INDEX(1)])


def _words(context, builder, kinds, numbers):
    """The values of a tuple of numbers."""
    values = [builder.extract_value(numbers, i) for i in range(len(kinds.types))]
    return [context.cast(builder, *value, types.int64) for value in zip(values, kinds.types, strict=True)]


def _pointers(builder, addresses, real):
    """The values of a tuple of addresses."""
    values = [builder.extract_value(addresses, i) for i in range(len(addresses.type.elements))]
    return [builder.inttoptr(value, real.as_pointer()) for value in values]


def _tile_routine(module, real, height, vectors, masked):
    """The LLVM function of a tile of a height, with that many vectors to a row, the last one whole or masked."""
    name = f"fastfc_tile_{real}_{height}x{vectors}{'_masked' if masked else ''}"
    if name in module.globals:
        return module.globals[name]
    kind, pointer = vector_type(real), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 11 + [pointer] * 5)
    last, depth, a_row, a_step, b_row, adds, added_row, c_row, part_depth, pieces, ahead_row, *rest = function.args
    a, b, added, c, ahead = rest
    ahead = builder.bitcast(ahead, BYTE.as_pointer())
    entry = builder.block
    labels = "part", "loop", "part_end", "end", "added", "done"
    part, loop, part_end, end, with_added, done = (function.append_basic_block(label) for label in labels)
    lanes = kind.count
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    masks = [whole] * (vectors - 1) + [mask_of(builder, last, lanes) if masked else whole]
    fma = declared(module, f"llvm.fma.v{lanes}f{8 * item_bytes(real)}", kind, [kind] * 3)
    zero = ir.Constant(kind, None)

    def row_of(pointer, stride, i):
        return builder.gep(pointer, [builder.mul(stride, WORD(i))])

    def vectors_at(pointer):
        return [load(builder, builder.gep(pointer, [WORD(v * lanes)]), masks[v], kind) for v in range(vectors)]

    # C and what is multiplied next come while the sums are made, some with each part of them: all at once, they
    # would take every place where a line that is asked for is waited for, and A would have to wait for them.
    fetched = -(-height // _PARTS)
    # If LLVM knew how these belong together, it would reach each row of A from the one before: additions that
    # wait for each other longer than a narrow tile's products take.
    a_rows = [_opaque(builder, builder.mul(a_row, WORD(i))) for i in range(height)]
    builder.branch(part)

    builder.position_at_end(part)
    part_step, part_a, part_b, part_c = builder.phi(WORD), *(builder.phi(pointer) for _ in range(3))
    part_ahead = builder.phi(BYTE.as_pointer())
    part_sums = [[builder.phi(kind) for _ in range(vectors)] for _ in range(height)]
    for i in range(fetched):
        for v in range(vectors):
            _prefetch(builder, builder.gep(row_of(part_c, c_row, i), [WORD(v * lanes)]), write=1, level=1)
    with cgutils.for_range(builder, pieces) as piece:
        for byte in range(0, _PIECE, 64):
            place = builder.gep(part_ahead, [builder.add(builder.mul(piece.index, ahead_row), WORD(byte))])
            _prefetch(builder, place, write=0, level=2)
    next_ahead = builder.gep(part_ahead, [builder.mul(pieces, ahead_row)])
    limit = builder.add(part_step, part_depth)
    limit = builder.select(builder.icmp_signed("<", limit, depth), limit, depth)
    summing = builder.branch(loop).parent

    builder.position_at_end(loop)
    step, a_now, b_now = builder.phi(WORD), builder.phi(pointer), builder.phi(pointer)
    before = [[builder.phi(kind) for _ in range(vectors)] for _ in range(height)]
    row = vectors_at(b_now)
    sums = []
    for i in range(height):
        value = splat(builder, builder.load(builder.gep(a_now, [a_rows[i]])), lanes)
        sums.append([builder.call(fma, [value, row[v], before[i][v]]) for v in range(vectors)])
    next_step, next_a, next_b = builder.add(step, WORD(1)), builder.gep(a_now, [a_step]), builder.gep(b_now, [b_row])
    phis = [(step, part_step, next_step), (a_now, part_a, next_a), (b_now, part_b, next_b)]
    phis += [(before[i][v], part_sums[i][v], sums[i][v]) for i in range(height) for v in range(vectors)]
    _come_from(phis, summing, loop)
    branch = builder.cbranch(builder.icmp_signed("<", next_step, limit), loop, part_end)
    _keep_rolled(branch)

    builder.position_at_end(part_end)
    next_c = row_of(part_c, c_row, fetched)
    phis = [(part_step, WORD(0), next_step), (part_a, a, next_a), (part_b, b, next_b), (part_c, c, next_c)]
    phis.append((part_ahead, ahead, next_ahead))
    phis += [(part_sums[i][v], zero, sums[i][v]) for i in range(height) for v in range(vectors)]
    _come_from(phis, entry, part_end)
    builder.cbranch(builder.icmp_signed("<", next_step, depth), part, end)

    builder.position_at_end(end)
    builder.cbranch(builder.icmp_signed("!=", adds, WORD(0)), with_added, done)
    builder.position_at_end(with_added)
    totals = [
        [
            builder.fadd(total, term)
            for total, term in zip(sums[i], vectors_at(row_of(added, added_row, i)), strict=True)
        ]
        for i in range(height)
    ]
    builder.branch(done)
    builder.position_at_end(done)
    for i in range(height):
        for v in range(vectors):
            result = builder.phi(kind)
            result.add_incoming(sums[i][v], end)
            result.add_incoming(totals[i][v], with_added)
            sums[i][v] = result
    for i in range(height):
        for v in range(vectors):
            store(builder, sums[i][v], builder.gep(row_of(c, c_row, i), [WORD(v * lanes)]), masks[v])
    builder.ret_void()
    return function


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


def _transpose_routine(module, real):
    """The LLVM function that transposes a block in registers."""
    name = f"fastfc_transpose_{real}"
    if name in module.globals:
        return module.globals[name]
    kind, pointer = vector_type(real), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 4 + [pointer] * 2)
    rows, columns, source_row, target_row, source, target = function.args
    lanes = kind.count
    mask = mask_of(builder, columns, lanes)
    values = []
    for i in range(lanes):
        # In place of a row that is not there, the first one again.
        row = builder.select(builder.icmp_signed("<", WORD(i), rows), WORD(i), WORD(0))
        values.append(load(builder, builder.gep(source, [builder.mul(row, source_row)]), mask, kind))
    distance = 1
    while distance < lanes:
        # Rows i and i + distance exchange their off-diagonal blocks of that size.
        low = [lane if lane & distance == 0 else lanes + lane - distance for lane in range(lanes)]
        high = [lane + distance if lane & distance == 0 else lanes + lane for lane in range(lanes)]
        for i in range(lanes):
            if i & distance == 0:
                pair = values[i], values[i + distance]
                values[i], values[i + distance] = (builder.shuffle_vector(*pair, indices(c)) for c in (low, high))
        distance *= 2
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    for i, value in enumerate(values):
        store(builder, value, builder.gep(target, [builder.mul(target_row, WORD(i))]), whole)
    builder.ret_void()
    return function


def _rows_routine(module, real):
    """The LLVM function that copies a block row by row."""
    name = f"fastfc_rows_{real}"
    if name in module.globals:
        return module.globals[name]
    kind, pointer = vector_type(real), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 4 + [pointer] * 2)
    rows, columns, source_row, target_row, source, target = function.args
    lanes = kind.count
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    vectors, rest = builder.sdiv(columns, WORD(lanes)), builder.srem(columns, WORD(lanes))
    mask = mask_of(builder, rest, lanes)
    with cgutils.for_range(builder, rows) as row:
        from_row = builder.gep(source, [builder.mul(source_row, row.index)])
        to_row = builder.gep(target, [builder.mul(target_row, row.index)])

        def copy(vector, mask, from_row=from_row, to_row=to_row):
            place = [builder.mul(vector, WORD(lanes))]
            store(builder, load(builder, builder.gep(from_row, place), mask, kind), builder.gep(to_row, place), whole)

        with cgutils.for_range(builder, vectors) as vector:
            copy(vector.index, whole)
        with builder.if_then(builder.icmp_signed(">", rest, WORD(0))):
            copy(vectors, mask)
    builder.ret_void()
    return function


def _columns_routine(module, real):
    """The LLVM function that copies columns of tiles."""
    name = f"fastfc_columns_{real}"
    if name in module.globals:
        return module.globals[name]
    kind, pointer = vector_type(real), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 3 + [pointer] * 2)
    rows, columns, source_row, source, target = function.args
    lanes = kind.count
    width = VECTORS.max_vectors * lanes
    whole = ir.Constant(ir.VectorType(FLAG, lanes), [1] * lanes)
    tiles, rest = builder.sdiv(columns, WORD(width)), builder.srem(columns, WORD(width))
    masks = []
    for v in range(VECTORS.max_vectors):
        left = builder.sub(rest, WORD(v * lanes))
        masks.append(mask_of(builder, builder.select(builder.icmp_signed(">", left, WORD(0)), left, WORD(0)), lanes))
    with cgutils.for_range(builder, rows) as row:
        from_row = builder.gep(source, [builder.mul(source_row, row.index)])
        to_row = builder.gep(target, [builder.mul(row.index, WORD(width))])

        def copy(tile, masks, from_row=from_row, to_row=to_row):
            from_tile = builder.gep(from_row, [builder.mul(tile, WORD(width))])
            to_tile = builder.gep(to_row, [builder.mul(tile, WORD(_COLUMN_SIZE))])
            for v, mask in enumerate(masks):
                place = [WORD(v * lanes)]
                values = load(builder, builder.gep(from_tile, place), mask, kind)
                store(builder, values, builder.gep(to_tile, place), whole)

        with cgutils.for_range(builder, tiles) as tile:
            copy(tile.index, [whole] * VECTORS.max_vectors)
        with builder.if_then(builder.icmp_signed(">", rest, WORD(0))):
            copy(tiles, masks)
    builder.ret_void()
    return function


def _tiles_routine(module, real):
    """The LLVM function that copies a block tile by tile."""
    name = f"fastfc_tiles_{real}"
    if name in module.globals:
        return module.globals[name]
    kind, pointer = ir.VectorType(real, _TILE_STEP), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 5 + [pointer] * 2)
    rows, tiles, height, source_row, tile_size, source, target = function.args
    mask = mask_of(builder, height, _TILE_STEP)
    whole = ir.Constant(ir.VectorType(FLAG, _TILE_STEP), [1] * _TILE_STEP)
    with cgutils.for_range(builder, rows) as row:
        from_row = builder.gep(source, [builder.mul(row.index, source_row)])
        to_row = builder.gep(target, [builder.mul(row.index, WORD(_TILE_STEP))])
        with cgutils.for_range(builder, tiles) as tile:
            values = load(builder, builder.gep(from_row, [builder.mul(tile.index, height)]), mask, kind)
            store(builder, values, builder.gep(to_row, [builder.mul(tile.index, tile_size)]), whole)
    builder.ret_void()
    return function
