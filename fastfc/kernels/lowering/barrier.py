"""The barrier at which the threads of a team wait for each other.

At a few microseconds between two meetings, sleeping and waking would cost more than the work: a
thread spins, then offers the processor to others (``sched_yield``). Where a busy process takes it,
it comes back a whole slice later, while a thread that sleeps in the kernel until the last one wakes
it is scheduled again at once. So when an offer has taken long, threads sleep for some waits
before they offer the processor again: for twice as many each time, and for fewer the more often
nothing of the kind happens.
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

from fastfc._runtime.team import ABORT, ARRIVED, ASLEEP, CROWDED, PENALTY, ROUND, SLEEPERS
from fastfc.kernels.compiler.jit import inline
from fastfc.kernels.lowering.clock import ticks

# Spins before the processor is offered to others, some 50 microseconds, and offers before it
# is left for a moment: only a processor that idles takes over a thread that waits for its turn
# on a busy one.
_SPINS = 1000
_OFFERS = 500
_SLEEP_MICROSECONDS = 50
# Members that share a processor take turns: at the first offers the others come at once. As long
# as it is so, spins are few.
_SPINS_CROWDED = 20
_OFFERS_CROWDED = 2
# Who gets the processor back so late has offered it to a busy process, which takes a whole slice.
_LONG_NANOSECONDS = 200_000
# For how many meetings nobody offers it then, but sleeps at once: twice as many each time.
_LEAST_PENALTY, _LARGEST_PENALTY = 64, 16384

# Numbers of the system call, of processors whose words of 64 bits begin with their lower half.
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine()) if sys.platform == "linux" else None
_FUTEX_WAIT_PRIVATE, _FUTEX_WAKE_PRIVATE = 128, 129
# How long a thread sleeps before it looks whether the team was dismissed.
_NAP_NANOSECONDS = 10_000_000

# For the one instruction below that LLVM knows only by its assembler name.
binding.initialize_native_asmparser()
_PAUSE = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "yield"}.get(platform.machine())


def _address(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


@intrinsic
def _atomic_load(typingctx, words, index):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        return builder.load_atomic(_address(context, builder, sig.args[0], args[0], index), "seq_cst", 8)

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
        return builder.atomic_rmw("add", _address(context, builder, sig.args[0], args[0], index), value, "seq_cst")

    return types.int64(words, index, value), codegen


@intrinsic
def _pause_instruction(typingctx):
    def codegen(context, builder, sig, args):
        if _PAUSE is not None:
            builder.asm(ir.FunctionType(ir.VoidType(), []), _PAUSE, "", [], True)
        return context.get_dummy_value()

    return types.void(), codegen


def _futex_call(context, builder, word, operation, value, timeout):
    """LLVM's representation of the system call; whatever it returns, the caller looks at the word again."""
    integer = ir.IntType(64)
    function_type = ir.FunctionType(integer, [integer], var_arg=True)
    function = cgutils.get_or_insert_function(builder.module, function_type, "fastfc_syscall")
    builder.call(function, [integer(_FUTEX), word, integer(operation), value, timeout])


@intrinsic
def _futex_wait(typingctx, words, index, value):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        value = context.cast(builder, args[2], sig.args[2], types.int64)
        word = _address(context, builder, sig.args[0], args[0], index)
        duration = ir.Constant(ir.ArrayType(ir.IntType(64), 2), [0, _NAP_NANOSECONDS])
        timeout = cgutils.alloca_once_value(builder, duration)
        _futex_call(context, builder, word, _FUTEX_WAIT_PRIVATE, value, timeout)
        return context.get_dummy_value()

    return types.void(words, index, value), codegen


@intrinsic
def _futex_wake(typingctx, words, index):
    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.int64)
        word = _address(context, builder, sig.args[0], args[0], index)
        everybody = ir.IntType(64)(2**31 - 1)
        _futex_call(context, builder, word, _FUTEX_WAKE_PRIVATE, everybody, ir.IntType(64)(0))
        return context.get_dummy_value()

    return types.void(words, index), codegen


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
    _load, _store, _add, _pause = operator.getitem, operator.setitem, _plain_add, lambda: None
else:
    _load, _store, _add, _pause = _atomic_load, _atomic_store, _atomic_add, _pause_instruction


@inline
def _sleep_until_woken(barrier, current):
    """Until the round is another one, or for some time."""
    _add(barrier, SLEEPERS, 1)
    _futex_wait(barrier, ROUND, current)
    _add(barrier, SLEEPERS, -1)


@inline
def _sleep_by_the_clock(barrier, current):
    _sleep_call()


@inline
def _wake_sleepers(barrier):
    # In the one order of all atomic accesses, either the round is new before a sleeper looks, or it is counted here.
    if _load(barrier, SLEEPERS) != 0:
        _futex_wake(barrier, ROUND)


@inline
def _wake_nobody(barrier):
    pass


@inline
def _timed_yield():
    """Offer the processor to others; whether one of them took it for long."""
    start = ticks()
    _yield_call()
    return ticks() - start > _LONG_NANOSECONDS


@inline
def _untimed_yield():
    _yield_call()
    return False


def _plain_yield():
    time.sleep(0)
    return False


def _plain_sleep(barrier, current):
    time.sleep(1e-4)


if numba.config.DISABLE_JIT:
    _yield, _sleep, _wake = _plain_yield, _plain_sleep, _wake_nobody
elif _FUTEX is not None:
    _yield, _sleep, _wake = _timed_yield, _sleep_until_woken, _wake_sleepers
else:
    _yield, _sleep, _wake = _untimed_yield, _sleep_by_the_clock, _wake_nobody


@inline
def barrier_wait(barrier, threads):
    """Wait until all threads have arrived; False if the team was dismissed instead.

    What a thread wrote before is seen by all others after.
    """
    if threads == 1:
        return True
    current = _load(barrier, ROUND)
    if _add(barrier, ARRIVED, 1) == threads - 1:
        _store(barrier, ARRIVED, 0)
        _add(barrier, ROUND, 1)
        _wake(barrier)
        return True
    asleep = _load(barrier, ASLEEP)
    offers = 0 if asleep > 0 else _OFFERS
    patience = _SPINS_CROWDED if asleep > 0 or _load(barrier, CROWDED) != 0 else _SPINS
    lost = False
    spins = 0
    while _load(barrier, ROUND) == current:
        if _load(barrier, ABORT) != 0:
            return False
        spins += 1
        if spins < patience:
            _pause()
        elif spins < patience + offers and not lost:
            lost = _yield()
        else:
            _sleep(barrier, current)
    # Several threads may write at once: these words are but estimates.
    if asleep > 0:
        _store(barrier, ASLEEP, asleep - 1)
    elif lost:
        penalty = min(2 * max(_load(barrier, PENALTY), _LEAST_PENALTY // 2), _LARGEST_PENALTY)
        _store(barrier, PENALTY, penalty)
        _store(barrier, ASLEEP, penalty)
    else:
        penalty = _load(barrier, PENALTY)
        if penalty > 0:
            _store(barrier, PENALTY, penalty - (penalty >> 10) - 1)
        if spins >= patience:
            _store(barrier, CROWDED, 1 if spins < patience + _OFFERS_CROWDED else 0)
    return True


@inline
def dismissed(barrier):
    """Whether the team was dismissed."""
    return _load(barrier, ABORT) != 0
