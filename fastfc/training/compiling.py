"""Getting the machine code of a run's kernels: from disk, or from the compiler, in two processes where that pays."""

import ctypes
import functools
import os
import threading
from collections.abc import Callable

import numpy as np

from fastfc._runtime import kept, machine_code, settings
from fastfc._runtime.machine_code import symbol_of
from fastfc._threads import available_cpus, get_num_threads

# Of what Python calls: a plan, a member, and what there is to do.
_KINDS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p


@functools.cache
def kernel(name: str, dtype: np.dtype) -> Callable[..., None]:
    """A kernel of ``step.py`` for networks of a dtype, as a function of a plan, a member and a job.

    Parameters
    ----------
    name : {"train_steps", "predict_rows"}
    dtype : numpy.dtype
    """
    if settings.compiler_disabled():
        from fastfc.training.step import linked_kernel

        return linked_kernel(name, dtype).plain()
    symbol = symbol_of(name, dtype)
    if not _load_all(symbol):
        _compile_all(name, dtype)
    return machine_code.function_at(symbol, *_KINDS)


def _load_all(symbol: str) -> bool:
    """Load a kernel and what it calls; False if one of them is not on disk."""
    return machine_code.load(symbol) and all(map(_load_all, machine_code.callees(symbol)))


def _compile_all(name: str, dtype: np.dtype) -> None:
    """Compile a kernel and what it calls, in a second process what it calls if that pays."""
    from fastfc.kernels import _second_process
    from fastfc.training.step import callees

    others = [symbol_of(callee, dtype) for callee in callees(name)]
    paths = [machine_code.path(symbol) for symbol in others]
    share = [path for path in paths if path is not None]
    if machine_code.load(symbol_of(name, dtype)) or len(share) < 2 or (get_num_threads() or available_cpus()) == 1:
        share = []
    if not all(map(os.path.exists, share)):
        call = f"compile_share({name!r}, {dtype.name!r}, {[str(path) for path in share]!a})"
        _second_process.start(f"from fastfc.training.compiling import compile_share; {call}", share)
    provide(name, dtype)
    for callee, path in zip(callees(name), paths, strict=True):
        _second_process.wait_for(path)
        provide(callee, dtype)
    _second_process.finish(share)


_lock = threading.RLock()


def provide(name: str, dtype: np.dtype) -> None:
    """Load a kernel, or compile, keep and load it."""
    from fastfc.training.step import linked_kernel

    symbol = symbol_of(name, dtype)
    with _lock:
        if not machine_code.load(symbol):
            code = linked_kernel(name, dtype).compile(dtype)
            if kept.is_current():
                machine_code.keep(symbol, code)
            machine_code.enter(symbol, code)


def compile_share(name: str, dtype: str, paths: list[str]) -> None:
    """In the second process: compile what a kernel calls, unless it would be kept elsewhere than in these files.

    It would be if the first process has other settings than its environment says, or other source text.
    """
    from fastfc.training.step import callees

    symbols = [symbol_of(callee, np.dtype(dtype)) for callee in callees(name)]
    if [str(machine_code.path(symbol)) for symbol in symbols] == paths:
        for callee in callees(name):
            provide(callee, np.dtype(dtype))


def _renew_lock() -> None:
    """In a child process: whoever held it is not there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
