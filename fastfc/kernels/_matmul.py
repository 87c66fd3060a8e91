"""Matrix products of the compiled run, made of small tiles that stay in vector registers.

BLAS copies ("packs") both operands before it multiplies. At the sizes of a training step that
is a third of its time: weights are used once per pass, and the copies are made again for every
chunk of a weight gradient. Here the tiles read the operands where they lie.

A tile is a height x (vectors * lanes) part of C: each step of its loop loads one row of B into
vectors, and multiplies it by `height` single values of A. B's rows are therefore contiguous;
A may be transposed, for it is read value by value.
"""

import functools

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels._jit import inline
from fastfc.kernels._math import assign
from fastfc.kernels._blas import gemm
from fastfc.kernels._views import vector

# Bytes of a vector register, and the largest tile that leaves registers for a row of B and a value of A.
VECTOR_BYTES = 64
MAX_HEIGHT, MAX_VECTORS = 6, 4
# Rows of B at a time: with the columns of a tile they stay in the second-level cache for all tiles of a column.
DEPTH = 256
PACKED_HEIGHT = 64
PANEL = DEPTH * MAX_VECTORS * (VECTOR_BYTES // 4)


@inline
def _multiply_tiles(m, n, k, a, a_row, a_step, b, b_row, b_step, accumulate, c, c_row, panel):
    columns = MAX_VECTORS * (VECTOR_BYTES // c.itemsize)
    for start in range(0, k, DEPTH):
        depth = min(DEPTH, k - start)
        for j in range(0, n, columns):
            width = min(columns, n - j)
            if b_step == 1 and m < PACKED_HEIGHT:
                _column(m, width, depth, a, start * a_step, a_row, a_step, b, start * b_row + j, b_row,
                        accumulate or start > 0, c, j, c_row)
            else:
                if b_step == 1:
                    for l in range(depth):
                        assign(vector(panel, l * columns, width), vector(b, (start + l) * b_row + j, width))
                else:
                    _transpose(width, depth, b, start * b_row + j * b_step, b_step, panel, columns)
                _column(m, width, depth, a, start * a_step, a_row, a_step, panel, 0, columns,
                        accumulate or start > 0, c, j, c_row)


@inline
def _column(m, width, depth, a, a_start, a_row, a_step, b, b_start, b_row, accumulate, c, c_start, c_row):
    """A column of tiles: C (m, width) from `depth` columns of A and rows of B."""
    i = 0
    for left in range(-(-m // MAX_HEIGHT), 0, -1):
        # as even as can be: a tile of a single row would wait for its own sums
        height = -(-(m - i) // left)
        a_tile, c_tile = a_start + i * a_row, c_start + i * c_row
        _tile(height, width, depth, a, a_tile, a_row, a_step, b, b_start, b_row, accumulate, c, c_tile, c_row)
        i += height


@inline
def _multiply_blas(m, n, k, a, a_row, a_step, b, b_row, b_step, accumulate, c, c_row, panel):
    transposed = a_step != 1
    gemm(transposed, b_step != 1, m, n, k, a, a_step if transposed else a_row, b, max(b_row, b_step), accumulate, c, c_row)


def supported():
    """Whether this machine has vector registers of that size."""
    return not numba.config.DISABLE_JIT and binding.get_host_cpu_features().get("avx512f", False)


multiply = _multiply_tiles if supported() else _multiply_blas


def _vector_type(real):
    bits = 32 if isinstance(real, ir.FloatType) else 64
    return ir.VectorType(real, 8 * VECTOR_BYTES // bits)


def _splat(builder, value, count):
    """A vector of `count` times the same value."""
    kind = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def _tile_function(module, real, height, vectors):
    """The LLVM function of a tile: it is called, not inlined, like a routine of BLAS."""
    word, flag = ir.IntType(64), ir.IntType(1)
    vector_type = _vector_type(real)
    lanes = vector_type.count
    pointer = real.as_pointer()
    name = f"fastfc_tile_{real}_{height}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    # width of the last vector, depth, A, its strides, B, its stride, whether to accumulate, C, its stride
    kinds = [word, word, pointer, word, word, pointer, word, flag, pointer, word]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    last, depth, a, a_row, a_step, b, b_row, accumulate, c, c_row = function.args

    entry = function.append_basic_block("entry")
    loop = function.append_basic_block("loop")
    end = function.append_basic_block("end")
    plain = function.append_basic_block("plain")
    added = function.append_basic_block("added")
    builder = ir.IRBuilder(entry)

    suffix = f"v{lanes}f{8 * VECTOR_BYTES // lanes}"
    mask_type, vector_pointer = ir.VectorType(flag, lanes), vector_type.as_pointer()
    load = cgutils.get_or_insert_function(
        module,
        ir.FunctionType(vector_type, [vector_pointer, ir.IntType(32), mask_type, vector_type]),
        f"llvm.masked.load.{suffix}.p0",
    )
    store = cgutils.get_or_insert_function(
        module,
        ir.FunctionType(ir.VoidType(), [vector_type, vector_pointer, ir.IntType(32), mask_type]),
        f"llvm.masked.store.{suffix}.p0",
    )
    fma = cgutils.get_or_insert_function(
        module, ir.FunctionType(vector_type, [vector_type] * 3), f"llvm.fma.{suffix}"
    )
    lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes)))
    mask = builder.icmp_unsigned("<", lane, _splat(builder, builder.trunc(last, ir.IntType(32)), lanes))
    alignment = ir.IntType(32)(8 * VECTOR_BYTES // lanes // 8)
    zero = ir.Constant(vector_type, None)

    def read(builder, pointer, v):
        place = builder.bitcast(builder.gep(pointer, [word(v * lanes)]), vector_pointer)
        if v < vectors - 1:
            return builder.load(place, align=alignment.constant)
        return builder.call(load, [place, alignment, mask, zero])

    def write(builder, value, pointer, v):
        place = builder.bitcast(builder.gep(pointer, [word(v * lanes)]), vector_pointer)
        if v < vectors - 1:
            builder.store(value, place, align=alignment.constant)
        else:
            builder.call(store, [value, place, alignment, mask])

    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(word)
    a_now, b_now = builder.phi(pointer), builder.phi(pointer)
    sums = [[builder.phi(vector_type) for _ in range(vectors)] for _ in range(height)]
    rows = [read(builder, b_now, v) for v in range(vectors)]
    next_sums = []
    for i in range(height):
        value = builder.load(builder.gep(a_now, [builder.mul(a_row, word(i))]))
        splat = _splat(builder, value, lanes)
        next_sums.append([builder.call(fma, [splat, rows[v], sums[i][v]]) for v in range(vectors)])
    next_step = builder.add(step, word(1))
    for phi, first, following in (
        (step, word(0), next_step),
        (a_now, a, builder.gep(a_now, [a_step])),
        (b_now, b, builder.gep(b_now, [b_row])),
    ):
        phi.add_incoming(first, entry)
        phi.add_incoming(following, loop)
    for i in range(height):
        for v in range(vectors):
            sums[i][v].add_incoming(zero, entry)
            sums[i][v].add_incoming(next_sums[i][v], loop)
    builder.cbranch(builder.icmp_signed("<", next_step, depth), loop, end)

    builder.position_at_end(end)
    builder.cbranch(accumulate, added, plain)
    for block in (added, plain):
        builder.position_at_end(block)
        for i in range(height):
            row = builder.gep(c, [builder.mul(c_row, word(i))])
            for v in range(vectors):
                value = next_sums[i][v]
                if block is added:
                    value = builder.fadd(value, read(builder, row, v))
                write(builder, value, row, v)
        builder.ret_void()
    return function


@intrinsic
def _tile(typingctx, height, width, depth, a, a_start, a_row, a_step, b, b_start, b_row, accumulate, c, c_start, c_row):
    signature = types.void(
        height, width, depth, a, a_start, a_row, a_step, b, b_start, b_row, accumulate, c, c_start, c_row
    )

    def codegen(context, builder, sig, args):
        names = "height width depth a a_start a_row a_step b b_start b_row accumulate c c_start c_row".split()
        given = dict(zip(names, zip(args, sig.args, strict=True), strict=True))
        word = ir.IntType(64)

        def size(name):
            return context.cast(builder, *given[name], types.int64)

        def address(name):
            array, kind = given[name]
            return builder.gep(context.make_array(kind)(context, builder, array).data, [size(f"{name}_start")])

        real = context.get_data_type(sig.args[3].dtype)
        lanes = _vector_type(real).count
        width = size("width")
        vectors = builder.sdiv(builder.add(width, word(lanes - 1)), word(lanes))
        last = builder.sub(width, builder.mul(builder.sub(vectors, word(1)), word(lanes)))
        accumulate = context.cast(builder, *given["accumulate"], types.boolean)
        arguments = [last, size("depth"), address("a"), size("a_row"), size("a_step"), address("b"), size("b_row")]
        arguments += [accumulate, address("c"), size("c_row")]
        case = builder.add(builder.mul(size("height"), word(MAX_VECTORS)), vectors)
        done = builder.append_basic_block("tile.done")
        switch = builder.switch(case, done)
        for height in range(1, MAX_HEIGHT + 1):
            for count in range(1, MAX_VECTORS + 1):
                block = builder.append_basic_block("tile.case")
                switch.add_case(word(height * MAX_VECTORS + count), block)
                with builder.goto_block(block):
                    builder.call(_tile_function(builder.module, real, height, count), arguments)
                    builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


def _transpose_function(module, real):
    """The LLVM function that transposes a block of lanes x lanes, in registers."""
    word, flag = ir.IntType(64), ir.IntType(1)
    vector_type = _vector_type(real)
    lanes, pointer = vector_type.count, real.as_pointer()
    name = f"fastfc_transpose_{real}"
    if name in module.globals:
        return module.globals[name]
    # rows and columns of the source, source, its stride, target, its stride
    kinds = [word, word, pointer, word, pointer, word]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    rows, columns, source, source_row, target, target_row = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    bits = 8 * VECTOR_BYTES // lanes
    mask_type, vector_pointer = ir.VectorType(flag, lanes), vector_type.as_pointer()
    load = cgutils.get_or_insert_function(
        module,
        ir.FunctionType(vector_type, [vector_pointer, ir.IntType(32), mask_type, vector_type]),
        f"llvm.masked.load.v{lanes}f{bits}.p0",
    )
    lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes)))
    mask = builder.icmp_unsigned("<", lane, _splat(builder, builder.trunc(columns, ir.IntType(32)), lanes))
    zero = ir.Constant(vector_type, None)
    values = []
    for i in range(lanes):
        # rows that are not there: the first one again
        row = builder.select(builder.icmp_signed("<", word(i), rows), word(i), word(0))
        place = builder.bitcast(builder.gep(source, [builder.mul(row, source_row)]), vector_pointer)
        values.append(builder.call(load, [place, ir.IntType(32)(bits // 8), mask, zero]))
    distance = 1
    while distance < lanes:
        for i in range(lanes):
            if i & distance == 0:
                low, high = values[i], values[i + distance]
                first = [t if t & distance == 0 else lanes + t - distance for t in range(lanes)]
                second = [t + distance if t & distance == 0 else lanes + t for t in range(lanes)]
                values[i], values[i + distance] = (
                    builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(ir.IntType(32), lanes), chosen))
                    for chosen in (first, second)
                )
        distance *= 2
    for i, value in enumerate(values):
        place = builder.bitcast(builder.gep(target, [builder.mul(target_row, word(i))]), vector_pointer)
        builder.store(value, place, align=bits // 8)
    builder.ret_void()
    return function


@intrinsic
def _transpose_block(typingctx, rows, columns, source, source_start, source_row, target, target_start, target_row):
    signature = types.void(rows, columns, source, source_start, source_row, target, target_start, target_row)

    def codegen(context, builder, sig, args):
        names = "rows columns source source_start source_row target target_start target_row".split()
        given = dict(zip(names, zip(args, sig.args, strict=True), strict=True))

        def size(name):
            return context.cast(builder, *given[name], types.int64)

        def address(name):
            array, kind = given[name]
            return builder.gep(context.make_array(kind)(context, builder, array).data, [size(f"{name}_start")])

        function = _transpose_function(builder.module, context.get_data_type(sig.args[2].dtype))
        builder.call(
            function,
            [size("rows"), size("columns"), address("source"), size("source_row"), address("target"), size("target_row")],
        )
        return context.get_dummy_value()

    return signature, codegen


@inline
def _transpose(rows, columns, source, source_start, source_row, target, target_row):
    """Overwrites target (columns, rows) with the transposed source (rows, columns); may write up to whole blocks."""
    lanes = VECTOR_BYTES // source.itemsize
    for l in range(0, columns, lanes):
        for j in range(0, rows, lanes):
            _transpose_block(
                rows - j,
                columns - l,
                source,
                source_start + j * source_row + l,
                source_row,
                target,
                l * target_row + j,
                target_row,
            )
