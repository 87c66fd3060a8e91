"""The barrier at which the members of a team meet.

It spins, then yields the processor: at a few microseconds between two meetings, sleeping and
waking would cost more than the work.
"""

import operator
import platform
import sys
import threading
import time

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc._runtime.team import ABORT, ARRIVED, CROWDED, ROUND
from fastfc.kernels.compiler.jit import inline

# Spins before the processor is offered to others, some 50 microseconds, and offers before it
# is left for a moment: only a processor that idles takes over a member that waits for its turn
# on a busy one.
_SPINS = 1000
_OFFERS = 500
_SLEEP_MICROSECONDS = 50
# Beside busy processes, members may have to share a processor. Then spinning keeps away whom it
# waits for, and at the first offers the others come at once: as long as it is so, spins are few.
_SPINS_CROWDED = 20
_OFFERS_CROWDED = 2

# For the one instruction below that LLVM knows only by its assembler name.
binding.initialize_native_asmparser()
_PAUSE = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "yield"}.get(platform.machine())


def _address(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


@intrinsic
def _atomic_load(typingctx, words, index):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        return builder.load_atomic(_address(context, builder, sig.args[0], args[0], index), "acquire", 8)

    return types.int64(words, index), codegen


@intrinsic
def _atomic_store(typingctx, words, index, value):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        value = context.cast(builder, args[2], sig.args[2], types.int64)
        builder.store_atomic(value, _address(context, builder, sig.args[0], args[0], index), "release", 8)
        return context.get_dummy_value()

    return types.void(words, index, value), codegen


@intrinsic
def _atomic_add(typingctx, words, index, value):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        value = context.cast(builder, args[2], sig.args[2], types.int64)
        return builder.atomic_rmw("add", _address(context, builder, sig.args[0], args[0], index), value, "acq_rel")

    return types.int64(words, index, value), codegen


@intrinsic
def _pause_instruction(typingctx):
    def codegen(context, builder, sig, args):
        if _PAUSE is not None:
            builder.asm(ir.FunctionType(ir.VoidType(), []), _PAUSE, "", [], True)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _sleep_call(typingctx):
    def codegen(context, builder, sig, args):
        duration = ir.IntType(32)
        function_type = ir.FunctionType(duration, [duration])
        function = cgutils.get_or_insert_function(builder.module, function_type, "fastfc_sleep")
        builder.call(function, [duration(1 if sys.platform == "win32" else _SLEEP_MICROSECONDS)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _yield_call(typingctx):
    def codegen(context, builder, sig, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "fastfc_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


_lock = threading.Lock()


def _plain_add(words, index, value):
    with _lock:
        before = words[index]
        words[index] += value
    return before


if numba.config.DISABLE_JIT:
    _load, _store, _add = operator.getitem, operator.setitem, _plain_add
    _pause, _yield, _sleep = (lambda: None), (lambda: time.sleep(0)), (lambda: time.sleep(1e-4))
else:
    _load, _store, _add = _atomic_load, _atomic_store, _atomic_add
    _pause, _yield, _sleep = _pause_instruction, _yield_call, _sleep_call


@inline
def meet(barrier, members):
    """Wait until all members are here; False if the team was sent home instead.

    What a member wrote before is seen by all others after.
    """
    if members == 1:
        return True
    current = _load(barrier, ROUND)
    if _add(barrier, ARRIVED, 1) == members - 1:
        _store(barrier, ARRIVED, 0)
        _store(barrier, ROUND, current + 1)
        return True
    spins = 0
    patience = _SPINS_CROWDED if _load(barrier, CROWDED) != 0 else _SPINS
    while _load(barrier, ROUND) == current:
        if _load(barrier, ABORT) != 0:
            return False
        spins += 1
        if spins < patience:
            _pause()
        elif spins < patience + _OFFERS:
            _yield()
        else:
            _sleep()
    if spins >= patience:
        _store(barrier, CROWDED, 1 if spins < patience + _OFFERS_CROWDED else 0)
    return True


@inline
def dismissed(barrier):
    """Whether the team was sent home."""
    return _load(barrier, ABORT) != 0
