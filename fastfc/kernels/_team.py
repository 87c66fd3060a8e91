"""A team of threads that stays together for a whole run, and its barrier.

The members run the same compiled function, each with its own index, without the
interpreter's lock. They meet at a barrier that spins, then yields the processor: at a few
microseconds between two meetings, sleeping and waking would cost more than the work.
"""

import _thread
import ctypes
import operator
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastfc.kernels._blas import limit_this_thread
from fastfc.kernels._jit import inline

# Words of a barrier, each on a cache line of its own.
_LINE = 8
_ARRIVED, _ROUND, _ABORT, _CROWDED = 0, _LINE, 2 * _LINE, 3 * _LINE

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

if sys.platform == "win32":
    _SYSTEM = ctypes.windll.kernel32
    _SYSTEM_CALLS = {"fastfc_yield": _SYSTEM.SwitchToThread, "fastfc_sleep": _SYSTEM.Sleep}
else:
    _SYSTEM = ctypes.CDLL(None)
    _SYSTEM_CALLS = {"fastfc_yield": _SYSTEM.sched_yield, "fastfc_sleep": _SYSTEM.usleep}
for _name, _function in _SYSTEM_CALLS.items():
    binding.add_symbol(_name, ctypes.cast(_function, ctypes.c_void_p).value)


def new_barrier():
    """The words of a barrier: members arrived, round, whether the team is to go home, whether it shares processors."""
    return np.zeros(4 * _LINE, np.int64)


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
    current = _load(barrier, _ROUND)
    if _add(barrier, _ARRIVED, 1) == members - 1:
        _store(barrier, _ARRIVED, 0)
        _store(barrier, _ROUND, current + 1)
        return True
    spins = 0
    patience = _SPINS_CROWDED if _load(barrier, _CROWDED) != 0 else _SPINS
    while _load(barrier, _ROUND) == current:
        if _load(barrier, _ABORT) != 0:
            return False
        spins += 1
        if spins < patience:
            _pause()
        elif spins < patience + _OFFERS:
            _yield()
        else:
            _sleep()
    if spins >= patience:
        _store(barrier, _CROWDED, 1 if spins < patience + _OFFERS_CROWDED else 0)
    return True


def dismiss(barrier):
    """Send home every member that waits at the barrier, or will."""
    # An aligned word is written whole; members read it atomically.
    barrier[_ABORT] = 1


class Team:
    """The caller and ``members - 1`` threads, which run one function together, call after call.

    Between calls the threads wait in Python, where an exception in the caller can send them
    home; use it as a context manager.

    Parameters
    ----------
    members : int
    """

    def __init__(self, members: int) -> None:
        self.members = members
        self.barrier = new_barrier()
        self._jobs: list[SimpleQueue] = []
        self._done: SimpleQueue = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._process = os.getpid()

    def __enter__(self) -> "Team":
        try:
            self._start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def _start(self) -> None:
        self._jobs = [SimpleQueue() for _ in range(self.members - 1)]
        self._done = SimpleQueue()
        self._process = os.getpid()
        self._threads = [
            threading.Thread(target=self._work, args=(jobs, self._done), name=f"fastfc-{index}", daemon=True)
            for index, jobs in enumerate(self._jobs, start=1)
        ]
        if self._threads:
            launched: SimpleQueue = SimpleQueue()
            _thread.start_new_thread(self._launch, (self._threads, launched))
            error = launched.get()
            if error is not None:
                raise error

    def _launch(self, threads: list[threading.Thread], launched: SimpleQueue) -> None:
        """Start the threads from another one: in the main thread Ctrl-C can leave the locks of Thread.start taken."""
        error = None
        try:
            for thread in threads:
                thread.start()
        except Exception as raised:  # noqa: BLE001 - handed to the caller, who raises it
            error = raised
        launched.put(error)

    def __exit__(self, *_: object) -> None:
        """Send everybody home and wait until they have left; doing it twice is doing it once."""
        dismiss(self.barrier)
        for jobs in self._jobs:
            jobs.put(None)
        for thread in self._threads:
            # After an interrupt a thread may be about to start; it finds the None and leaves.
            if thread.is_alive():
                thread.join()

    def run(self, function: Callable[[int], object]) -> None:
        """Call ``function(member)`` in every member at once, and wait until all have returned."""
        if self._process != os.getpid():
            # A child process has the caller only, not the threads that it was forked beside.
            self._start()
        for index, jobs in enumerate(self._jobs, start=1):
            jobs.put((function, index))
        function(0)
        errors = [self._done.get() for _ in self._jobs]
        for error in errors:
            if error is not None:
                raise error

    def _work(self, jobs: SimpleQueue, done: SimpleQueue) -> None:
        limit_this_thread()
        while (job := jobs.get()) is not None:
            function, index = job
            error = None
            try:
                function(index)
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, who raises it
                error = raised
                # The others must not wait for a member that will not come.
                dismiss(self.barrier)
            done.put(error)
