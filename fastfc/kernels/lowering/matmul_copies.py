"""Copies of parts of matrices for the products in ``matmul.py``: transposed, row by row, or tile by tile."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.lowering.vectors import (
    FLAG,
    VECTORS,
    WORD,
    indices,
    load,
    mask_of,
    pointers_of,
    routine,
    store,
    vector_type,
    words_of,
)

# Behind each part of a copy, so that not all of them fall upon the same few places of a cache.
PAD = 16
# A's columns are copied tile by tile: a tile's part of each column, padded to so many values.
TILE_STEP = 8
# A column of tiles of B: `VECTORS.depth` rows of the largest tile's width.
COLUMN_SIZE = VECTORS.depth * VECTORS.max_vectors * VECTORS.size // 4 + PAD


@inline
def transpose(numbers, addresses, dtype, itemsize):
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
def _transpose_block(typingctx, numbers, addresses, dtype):
    """A block of a vector's length: (rows, columns, source_row, target_row), and where source and target are.

    Fewer rows or columns may be there; the target's block is written as a whole.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = words_of(context, builder, sig.args[0], args[0])
        builder.call(_transpose_routine(builder.module, real), [*words, *pointers_of(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


@intrinsic
def copy_rows(typingctx, numbers, addresses, dtype):
    """A block of a matrix: (rows, columns, source_row, target_row), and where source and target are.

    The target's rows are written in whole vectors.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = words_of(context, builder, sig.args[0], args[0])
        builder.call(_rows_routine(builder.module, real), [*words, *pointers_of(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


@intrinsic
def copy_columns(typingctx, numbers, addresses, dtype):
    """A block by columns of tiles: (rows, columns, source_row), and where source and target are.

    A column of tiles starts `COLUMN_SIZE` values behind the one before; its rows have the width
    of the largest tile.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = words_of(context, builder, sig.args[0], args[0])
        builder.call(_columns_routine(builder.module, real), [*words, *pointers_of(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


@intrinsic
def copy_tiles(typingctx, numbers, addresses, dtype):
    """A block tile by tile: (rows, tiles, height, source_row, tile_size), and where source and target are.

    Of each row, `height` values go to each tile. A tile starts `tile_size` values behind the one
    before, and has every row's values `TILE_STEP` behind the last row's.
    """

    def codegen(context, builder, sig, args):
        real = context.get_data_type(sig.args[2].dtype)
        words = words_of(context, builder, sig.args[0], args[0])
        builder.call(_tiles_routine(builder.module, real), [*words, *pointers_of(builder, args[1], real)])
        return context.get_dummy_value()

    return types.void(numbers, addresses, dtype), codegen


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
            to_tile = builder.gep(to_row, [builder.mul(tile, WORD(COLUMN_SIZE))])
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
    kind, pointer = ir.VectorType(real, TILE_STEP), real.as_pointer()
    function, builder = routine(module, name, [WORD] * 5 + [pointer] * 2)
    rows, tiles, height, source_row, tile_size, source, target = function.args
    mask = mask_of(builder, height, TILE_STEP)
    whole = ir.Constant(ir.VectorType(FLAG, TILE_STEP), [1] * TILE_STEP)
    with cgutils.for_range(builder, rows) as row:
        from_row = builder.gep(source, [builder.mul(row.index, source_row)])
        to_row = builder.gep(target, [builder.mul(row.index, WORD(TILE_STEP))])
        with cgutils.for_range(builder, tiles) as tile:
            values = load(builder, builder.gep(from_row, [builder.mul(tile.index, height)]), mask, kind)
            store(builder, values, builder.gep(to_row, [builder.mul(tile.index, tile_size)]), whole)
    builder.ret_void()
    return function
