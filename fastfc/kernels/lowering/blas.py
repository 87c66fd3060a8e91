"""Matrix multiplication from BLAS, called inside compiled code."""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from fastfc._runtime.blas import announce_routines

_ROUTINES = {types.float32: "fastfc_sgemm", types.float64: "fastfc_dgemm"}


def gemm(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """Compute ``C = op(A) @ op(B) + beta * C`` in place, for row-major matrices.

    `a`, `b` and `c` are contiguous arrays of one dtype whose first element is the
    matrix's first element; `lda`, `ldb` and `ldc` are the lengths of their rows as
    stored. op(A) is (m, k), op(B) is (k, n), C is (m, n); `trans_a` says that A is
    stored as (k, m), `trans_b` that B is stored as (n, k). With ``beta == 0`` C is not read.
    """
    left = _matrix(a, k, m, lda).T if trans_a else _matrix(a, m, k, lda)
    right = _matrix(b, n, k, ldb).T if trans_b else _matrix(b, k, n, ldb)
    out = _matrix(c, m, n, ldc)
    product = left @ right
    out[...] = product if beta == 0 else product + beta * out


def _matrix(array, rows, columns, stride):
    flat = array.reshape(-1)
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (stride * flat.itemsize, flat.itemsize))


@overload(gemm, jit_options={"nogil": True})
def _gemm_compiled(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    for operand in (a, b, c):
        if not (isinstance(operand, types.Array) and operand.layout == "C" and operand.dtype == a.dtype):
            raise TypingError(f"gemm takes C-contiguous arrays of one dtype, got {a}, {b}, {c}")

    def implementation(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
        # BLAS refuses empty matrices, whose leading dimension would be 0.
        if m > 0 and n > 0:
            _gemm_call(trans_a, trans_b, m, n, k, a, max(lda, 1), b, max(ldb, 1), beta, c, max(ldc, 1))

    return implementation


@intrinsic
def _gemm_call(typingctx, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    signature = types.void(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc)
    routine = _ROUTINES[a.dtype]

    def codegen(context, builder, sig, args):
        announce_routines()
        char = ir.IntType(8)
        real = context.get_value_type(a.dtype)

        def transposed(value):
            flag = context.cast(builder, value[0], value[1], types.boolean)
            return builder.select(flag, ir.Constant(char, ord("T")), ir.Constant(char, ord("N")))

        def size(value):
            return context.cast(builder, value[0], value[1], types.int32)

        def scalar(value):
            return context.cast(builder, value[0], value[1], a.dtype)

        def address(value):
            return context.make_array(value[1])(context, builder, value[0]).data

        def on_stack(value):
            # BLAS takes everything by address; at the function's entry, or a loop would eat the stack.
            return cgutils.alloca_once_value(builder, value)

        names = ("ta", "tb", "m", "n", "k", "a", "lda", "b", "ldb", "beta", "c", "ldc")
        value = dict(zip(names, zip(args, sig.args, strict=True), strict=True))
        # A row-major C = A @ B is, read by columns, C' = B' @ A': operands and sizes change places.
        arguments = [
            on_stack(transposed(value["tb"])),
            on_stack(transposed(value["ta"])),
            on_stack(size(value["n"])),
            on_stack(size(value["m"])),
            on_stack(size(value["k"])),
            on_stack(ir.Constant(real, 1.0)),
            address(value["b"]),
            on_stack(size(value["ldb"])),
            address(value["a"]),
            on_stack(size(value["lda"])),
            on_stack(scalar(value["beta"])),
            address(value["c"]),
            on_stack(size(value["ldc"])),
        ]
        function_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(builder.module, function_type, routine)
        builder.call(function, arguments)
        return context.get_dummy_value()

    return signature, codegen
