"""Matrix products of the compiled run, made of tiles that stay in vector registers.

BLAS copies ("packs") both operands before it multiplies. In a training step that is up to a
third of the time: every weight is used once per pass, and the other operand of a weight
gradient is copied again for every chunk. Here the tiles read the operands where they lie.
Copied, a block at a time, is only what is read across its rows, and what lies so far apart
that it would fall out of the caches between two uses; what is copied next is fetched meanwhile.

Processors with neither AVX-512 nor AVX2 use BLAS.
"""

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from fastfc._runtime.constants import PACKING_SIZE
from fastfc.kernels.compiler.jit import glue, inline
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.lowering.blas import gemm
from fastfc.kernels.lowering.math import assign, rectify
from fastfc.kernels.lowering.matmul_copies import (
    COLUMN_SIZE,
    PAD,
    TILE_STEP,
    copy_columns,
    copy_rows,
    copy_tiles,
    transpose,
)
from fastfc.kernels.lowering.matmul_tile import PARTS, PIECE, multiply_tile
from fastfc.kernels.lowering.matmul_vectors import is_with_vectors, multiply_vectors
from fastfc.kernels.lowering.vectors import VECTORS, WORD, vectors_supported, words_of
from fastfc.kernels.lowering.views import array_from, vector

# A copy pays where rows lie further apart than this, and each value is used in enough tiles: of A in a
# row of tiles, more if neighbours in a column of A are read at a time; of B in a column of tiles, many more if
# it only is that vectors of B's rows would lie across two lines of the cache.
_FAR = 128
_TILES_OF_ROWS, _TILES_OF_COLUMNS, _TILES_OF_B, _TILES_OF_UNALIGNED_B = 8, 2, 4, 40

# Up to so many bytes, C, and B if its rows are not copied, are taken to be in the second-level cache.
_NEAR, _NEAR_B = 2**20, 2**18
_TILE_SIZE = VECTORS.depth * TILE_STEP + PAD
# B is copied for several columns of tiles at a time: every row may be on a page of its own.
_GROUP = max(1, PIECE // (VECTORS.max_vectors * VECTORS.size))
_GROUP_SIZE = _GROUP * COLUMN_SIZE
# Values that the copies take: `VECTORS.depth` rows of a group of columns of tiles of B, and `VECTORS.rows` rows of A.
_COPIES = _GROUP_SIZE + max(VECTORS.rows * (VECTORS.depth + PAD), -(-VECTORS.rows // VECTORS.max_height) * _TILE_SIZE)
if _COPIES > PACKING_SIZE:
    raise RuntimeError(f"the packing buffer has {PACKING_SIZE} values; {_COPIES} are needed")


@inline
def _multiply_tiles(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, c_row, packing, first, rectifies):
    numbers = (m, n, k, a_row, a_step, b_row, b_step, bias.size > 0, c_row, first, rectifies)
    _call_product(numbers, (a, b, bias, c, packing))


@inline
def _multiply_blas(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, c_row, packing, first, rectifies):
    if bias.size > 0:
        for i in range(m):
            assign(vector(c, i * c_row, n), bias)
    beta = 1 if bias.size > 0 else 0
    # A matrix of a single row or column may have a stride that BLAS refuses; it is of no account then.
    lda, ldb = max(a_row, a_step, k if a_step == 1 else m), max(b_row, b_step, n if b_step == 1 else k)
    gemm(a_step != 1, b_step != 1, m, n, k, a, lda, b, ldb, beta, c, c_row)
    if rectifies:
        for i in range(m):
            rectify(vector(c, i * c_row, n))


#: ``multiply(m, n, k, a, a_row, a_step, b, b_row, b_step, bias, c, c_row, packing, first, rectifies)`` computes
#: ``C = A @ B``, plus bias (n,) in every row unless bias is empty, and ``max(C, 0)`` of it if `rectifies`, for
#: matrices in flat arrays. A is (m, k), and its value (i, l) stands at ``a[i * a_row + l * a_step]``; B is (k, n)
#: likewise; one of the two steps of each is 1. C is (m, n) with rows of `c_row` values as stored; k is at least 1.
#: packing (PACKING_SIZE,), the packing buffer, is overwritten. A long sum is made part by part, beginning with the one
#: that has term `first`, the best if this processor has its operands: the others' come meanwhile.
multiply = _multiply_tiles if vectors_supported() else _multiply_blas


@standalone(types.void, lambda dtype: (types.int64,) * 16, name="product")
def _product_float(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing):
    _product_at(
        m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing, np.float32, 4
    )


@standalone(types.void, lambda dtype: (types.int64,) * 16, name="product")
def _product_double(m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing):
    _product_at(
        m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing, np.float64, 8
    )


#: Dtype -> the product, on processors that have vectors for tiles.
PRODUCTS = {np.dtype(np.float32): _product_float, np.dtype(np.float64): _product_double}


@glue
def _product_at(
    m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing, dtype, itemsize
):
    """:func:`multiply` for matrices at the addresses a, b, bias, c and packing."""
    if is_with_vectors(m, n, k, a_step, b_row, b_step, has_bias):
        multiply_vectors(
            m, n, k, array_from(a, (m - 1) * a_row + (k - 1) * a_step + 1, dtype), a_row, a_step,
            array_from(b, (k - 1) * b_row + n, dtype), b_row, has_bias, array_from(bias, n, dtype),
            array_from(c, (m - 1) * c_row + n, dtype), c_row, rectifies,
        )  # fmt: skip
        return
    _blocked_product(
        m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing, dtype,
        itemsize,
    )  # fmt: skip


@glue
def _blocked_product(
    m, n, k, a_row, a_step, b_row, b_step, has_bias, c_row, first, rectifies, a, b, bias, c, packing, dtype, itemsize
):
    """The same by tiles, block by block."""
    columns = VECTORS.max_vectors * (VECTORS.size // itemsize)
    tile_columns = -(-n // columns)
    a_copy = packing + _GROUP_SIZE * itemsize
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
        rectifies_sums = rectifies if block + 1 == blocks else 0
        for top in range(0, m, VECTORS.rows):
            rows = min(VECTORS.rows, m - top)
            sizes = rows, depth, depth_ahead, a_row, a_step, tile_columns, copies_rows, copies_tiles
            places = a + (top * a_row + start * a_step) * itemsize, a + (top * a_row + following * a_step) * itemsize
            left, of_a, a_share = _rows_of_a(sizes, (*places, a_copy), dtype, itemsize)
            of_b, b_share = _ahead(b, 0, 0, 0), 0
            if b_far and b_step == 1 and not copies_b:
                of_b = _ahead(b + following * b_row * itemsize, depth_ahead, b_row * itemsize, n * itemsize)
                b_share = -(-_pieces(of_b) // tile_columns)
            for j in range(0, n, columns):
                width = min(columns, n - j)
                right, right_row, together = _columns_of_b(
                    (j, n, depth, b_row, b_step, columns, copies_b),
                    (b + (start * b_row + j * b_step) * itemsize, packing),
                    dtype,
                    itemsize,
                )
                if together > 0:
                    # Copied next are other columns, or the first ones again, or those of the next block.
                    is_last = j + together == n
                    next_j = 0 if is_last else j + together
                    next_start, next_depth = (following, depth_ahead) if is_last and top + rows == m else (start, depth)
                    b_ahead = b + (next_start * b_row + next_j * b_step) * itemsize
                    if b_step == 1:
                        next_width = min(_GROUP * columns, n - next_j)
                        of_b = _ahead(b_ahead, next_depth, b_row * itemsize, next_width * itemsize)
                    elif b_far:
                        of_b = _ahead(b_ahead, min(columns, n - next_j), b_step * itemsize, next_depth * itemsize)
                    b_share = -(-_pieces(of_b) // -(-together // columns))
                of_a, of_b = _column_of_tiles(
                    (rows, width, depth, right_row, adds, added_row, c_row, rectifies_sums, a_share + b_share, far),
                    (left, right, added + (top * added_row + j) * itemsize, c + (top * c_row + j) * itemsize, b),
                    (of_a, of_b),
                    dtype,
                    itemsize,
                )


@inline
def _division(rows):
    """How many tiles some rows make, the height of the lower ones, and how many are a row taller.

    As even as can be: a tile of a single row would wait for its own sums.
    """
    tiles = -(-rows // VECTORS.max_height)
    return tiles, rows // tiles, rows % tiles


@glue
def _rows_of_a(numbers, addresses, dtype, itemsize):
    """Rows of a block of A, copied if that pays.

    Returns their address and the distances of rows, columns and tiles, the last one 0 if it is that of a tile's
    rows; the part of A that comes next; and how many pieces of it come with each column of tiles.
    """
    rows, depth, depth_ahead, a_row, a_step, tile_columns, copies_rows, copies_tiles = numbers
    source, ahead, copy = addresses
    if copies_rows:
        row = VECTORS.depth + PAD
        copy_rows((rows, depth, a_row, row), (source, copy), dtype)
        of_a = _ahead(ahead, rows, a_row * itemsize, depth_ahead * itemsize)
        return (copy, row, a_step, 0), of_a, -(-_pieces(of_a) // tile_columns)
    if copies_tiles:
        tile_size = depth * TILE_STEP + PAD
        tiles, height, taller = _division(rows)
        copy_tiles((depth, taller, height + 1, a_step, tile_size), (source, copy), dtype)
        others = source + taller * (height + 1) * itemsize, copy + taller * tile_size * itemsize
        copy_tiles((depth, tiles - taller, height, a_step, tile_size), others, dtype)
        of_a = _ahead(ahead, depth_ahead, a_step * itemsize, rows * itemsize)
        return (copy, 1, TILE_STEP, tile_size), of_a, -(-_pieces(of_a) // tile_columns)
    if a_step >= _FAR:
        # The first column of tiles takes all of A; its very first part is not worth waiting for.
        of_a = _ahead(source + PIECE, depth, a_step * itemsize, rows * itemsize - PIECE)
        return (source, a_row, a_step, 0), of_a, _pieces(of_a)
    return (source, a_row, a_step, 0), _ahead(source, 0, 0, 0), 0


@glue
def _columns_of_b(numbers, addresses, dtype, itemsize):
    """A column of tiles of a block of B, copied if that pays: its address, its rows' distance, columns copied now."""
    j, n, depth, b_row, b_step, columns, copies_b = numbers
    source, packing = addresses
    if b_step != 1:
        width = min(columns, n - j)
        transpose((depth, width, b_step, columns), (source, packing), dtype, itemsize)
        return packing, columns, width
    if copies_b:
        together, place = 0, j // columns % _GROUP
        if place == 0:
            together = min(_GROUP * columns, n - j)
            copy_columns((depth, together, b_row), (source, packing), dtype)
        return packing + place * COLUMN_SIZE * itemsize, columns, together
    return source, b_row, 0


@glue
def _column_of_tiles(numbers, addresses, ahead, dtype, itemsize):
    """Multiply the tiles of a column one by one; what comes next is fetched meanwhile, a share of it with each.

    Returns the parts of A and B that are still to come.
    """
    rows, width, depth, right_row, adds, added_row, c_row, rectifies, share, far = numbers
    (left, left_row, left_step, left_tile), right, added, c, nothing = addresses
    of_a, of_b = ahead
    tiles, height, taller = _division(rows)
    parts, part_depth = 1, depth
    if far or share > tiles:
        parts, part_depth = PARTS, -(-depth // PARTS)
    if share > 0:
        share = -(-share // (parts * tiles))
    i = 0
    for tile in range(tiles):
        place, place_row, pieces = nothing, 0, 0
        if _pieces(of_b) > 0:
            of_b, place, place_row, pieces = _take(of_b, share * parts)
        elif _pieces(of_a) > 0:
            of_a, place, place_row, pieces = _take(of_a, share * parts)
        sums = part_depth, min(pieces, share), place_row
        tall = height + 1 if tile < taller else height
        offset = tile * left_tile if left_tile > 0 else i * left_row
        multiply_tile(
            (tall, width, depth, left_row, left_step, right_row, adds, added_row, c_row, rectifies, *sums),
            (
                left + offset * itemsize,
                right,
                added + i * added_row * itemsize,
                c + i * c_row * itemsize,
                place,
            ),
            dtype,
        )
        i += tall
    return of_a, of_b


@inline
def _ahead(address, rows, stride, row_bytes):
    """A part of a matrix that is needed next, to be fetched by pieces of its rows, column after column of pieces.

    Where it goes on, the rows' distance in bytes, and how many rows there are, are left, and columns are left.
    """
    return address, stride, rows, rows, max(0, -(-row_bytes // PIECE))


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
    return (address + PIECE - (rows - left) * stride, stride, rows, rows, columns - 1), address, stride, left


@intrinsic
def _call_product(typingctx, numbers, arrays):
    """Call the product of the arrays' dtype: the numbers, then the addresses of the arrays."""

    def codegen(context, builder, sig, args):
        words = words_of(context, builder, sig.args[0], args[0])
        for i, kind in enumerate(sig.args[1].types):
            array = context.make_array(kind)(context, builder, builder.extract_value(args[1], i))
            words.append(builder.ptrtoint(array.data, WORD))
        dtype = np.dtype(sig.args[1].types[0].dtype.name)
        return PRODUCTS[dtype].call(context, builder, dtype, words)

    return types.void(numbers, arrays), codegen
