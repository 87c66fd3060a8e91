"""The system's clock in compiled code."""

import sys
import time

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def _clock(typingctx):
    def codegen(context, builder, sig, args):
        word = ir.IntType(64)
        place = cgutils.alloca_once(builder, ir.ArrayType(word, 2))
        first = builder.bitcast(place, word.as_pointer())
        if sys.platform == "win32":
            kind = ir.FunctionType(ir.IntType(32), [word.as_pointer()])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "fastfc_clock"), [first])
            # Its usual frequency is 10 MHz.
            return builder.mul(builder.load(first), word(100))
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), word.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "fastfc_clock")
        builder.call(function, [ir.IntType(32)(time.CLOCK_MONOTONIC), first])
        nanoseconds = builder.load(builder.gep(first, [word(1)]))
        return builder.add(builder.mul(builder.load(first), word(10**9)), nanoseconds)

    return types.int64(), codegen


#: ``ticks()``: nanoseconds of a clock that only goes forward.
ticks = time.perf_counter_ns if numba.config.DISABLE_JIT else _clock
