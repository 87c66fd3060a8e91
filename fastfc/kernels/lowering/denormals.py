"""Denormal numbers as zeros, for the time of a compiled run.

A moment of Adam or a velocity whose gradient has vanished, as under a unit that is never active,
shrinks for ever: after some hundred steps it is denormal, and a processor takes some hundred
cycles for each of its multiplications. A network with many of them trained at a third of its speed.
"""

import platform

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels.lowering.vectors import declared

_WORD, _DOUBLE_WORD = ir.IntType(32), ir.IntType(64)
# The bits that make zeros of denormal results, and of denormal operands.
_X86, _ARM = 0x8000 | 0x0040, 1 << 24


def _exchange_on_x86(builder, value=None):
    """Overwrites the control word; returns it as it was before, in 64 bits."""
    address = cgutils.alloca_once(builder, _WORD)
    pointer = builder.bitcast(address, ir.IntType(8).as_pointer())
    call = ir.FunctionType(ir.VoidType(), [pointer.type])
    builder.call(declared(builder.module, "llvm.x86.sse.stmxcsr", call.return_type, call.args), [pointer])
    before = builder.load(address)
    word = builder.or_(before, _WORD(_X86)) if value is None else builder.trunc(value, _WORD)
    builder.store(word, address)
    builder.call(declared(builder.module, "llvm.x86.sse.ldmxcsr", call.return_type, call.args), [pointer])
    return builder.zext(before, _DOUBLE_WORD)


def _exchange_on_arm(builder, value=None):
    before = builder.call(declared(builder.module, "llvm.aarch64.get.fpcr", _DOUBLE_WORD, []), [])
    word = builder.or_(before, _DOUBLE_WORD(_ARM)) if value is None else value
    builder.call(declared(builder.module, "llvm.aarch64.set.fpcr", ir.VoidType(), [_DOUBLE_WORD]), [word])
    return before


_EXCHANGES = {
    "x86_64": _exchange_on_x86,
    "AMD64": _exchange_on_x86,
    "aarch64": _exchange_on_arm,
    "arm64": _exchange_on_arm,
}
_exchange = _EXCHANGES.get(platform.machine())


@intrinsic
def _flush(typingctx):
    def codegen(context, builder, sig, args):
        return _DOUBLE_WORD(0) if _exchange is None else _exchange(builder)

    return types.int64(), codegen


@intrinsic
def _restore(typingctx, control):
    def codegen(context, builder, sig, args):
        if _exchange is not None:
            _exchange(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


#: ``flush_denormals()`` makes zeros of this thread's denormal numbers from here on; returns its control word
#: as it was before, for ``restore(control)``.
flush_denormals, restore = _flush, _restore
if numba.config.DISABLE_JIT:
    flush_denormals, restore = (lambda: 0), (lambda control: None)
