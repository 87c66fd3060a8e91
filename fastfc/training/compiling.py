"""Getting the machine code of a run's kernels: from the disk, from processes that compile it, or from this one."""

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import parent_process
from pathlib import Path

import numpy as np

from fastfc._runtime import kernel_cache, machine_code, memory, processes, settings
from fastfc._runtime.compile_message import notice
from fastfc._runtime.machine_code import symbol_of
from fastfc._runtime.threads import available_cpus, get_num_threads

# Arguments of the functions that Python calls: a plan, a thread's number, and a job.
_KINDS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p

# The kernels that are compiled when one is asked for, in two parts that take about as long: it, what it calls, and
# what comes next: for a training how its accuracy is checked, for a forward pass the way back and the update. The
# kernels that a run chooses, such as its rule's, are compiled with the first part.
_SHARES = {
    "train_steps": [["train_steps", "predict_rows"], ["backward", "product", "fetch_rows"]],
    "predict_rows": [["predict_rows", "fetch_rows"], ["product"]],
    "forward_rows": [["forward_rows", "apply_update"], ["backward", "backward_from", "product"]],
    "backward_from": [["backward"], ["backward_from", "product"]],
    "apply_update": [["apply_update"]],
    "average_parameters": [["average_parameters"]],
    "forward_part": [["forward_part", "fetch_rows"], ["backward_part", "apply_update", "product"]],
    "backward_part": [["backward_part"], ["product"]],
}

_lock = threading.RLock()


def _renew_lock() -> None:
    """In a child process: whoever held it is not there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@functools.cache
def kernel(name: str, dtype: np.dtype, chosen: tuple[str, ...] = ()) -> Callable[..., None]:
    """A kernel of ``epoch.py``, ``inference.py`` or ``entry.py`` for a dtype: a function of a plan, a thread and a job.

    Parameters
    ----------
    name : str
        A key of ``_SHARES``.
    dtype : numpy.dtype
    chosen : tuple of str
        Kernels whose :func:`address` its plan has, or will have; they are compiled with it, if they must be.
    """
    if settings.compiler_disabled():
        from fastfc.training.epoch import standalone_kernel

        return standalone_kernel(name, dtype).plain()
    _obtain([name, *filter(None, chosen)], dtype)
    return machine_code.function_at(symbol_of(name, dtype), *_KINDS)


@functools.cache
def address(name: str, dtype: np.dtype) -> int:
    """Of a kernel that a run chooses, for its plan: its rule, its activation, its loss; 0 for no name."""
    if not name:
        return 0
    if settings.compiler_disabled():
        from fastfc.training.epoch import place_of

        return place_of(name)
    _obtain([name], dtype)
    return machine_code.address_of(symbol_of(name, dtype))


def _obtain(names: list[str], dtype: np.dtype) -> None:
    """Load kernels and what they call, which is compiled first if it is not on disk."""
    with _lock:
        if not _are_loaded(names, dtype):
            try:
                notice.start()
                _compile_elsewhere(names, dtype)
                _compile_all(names, dtype)
            finally:
                notice.stop()


@functools.cache
def calls_blas(name: str, dtype: np.dtype) -> bool:
    """Whether a :func:`kernel` that is there calls BLAS; without the compiler NumPy's products do."""
    return settings.compiler_disabled() or machine_code.calls_blas(symbol_of(name, dtype))


def _load_all(symbol: str) -> bool:
    """Load a kernel and what it calls; False if one of them is not on disk."""
    return machine_code.load(symbol) and all(map(_load_all, machine_code.callees(symbol)))


def _are_loaded(names: list[str], dtype: np.dtype) -> bool:
    """Whether kernels and what they call are loaded, from the disk if they were not."""
    return all(_load_all(symbol_of(name, dtype)) for name in names)


def _compile_all(names: list[str], dtype: np.dtype) -> None:
    """Load kernels and what they call, and compile what cannot be loaded."""
    if not _are_loaded(names, dtype):
        memory.require_for_compiling()
        from fastfc.training.epoch import callees

        for name in names:
            provide([name, *callees(name)], dtype)


def provide(names: Iterable[str], dtype: np.dtype) -> None:
    """Load kernels, or compile, keep and load them."""
    from fastfc.training.epoch import standalone_kernel

    for name in names:
        symbol = symbol_of(name, dtype)
        if not machine_code.load(symbol):
            code = standalone_kernel(name, dtype).compile(dtype)
            if kernel_cache.is_current():
                machine_code.keep(symbol, code)
            machine_code.enter(symbol, code)


def _compile_elsewhere(names: list[str], dtype: np.dtype) -> None:
    """Have what the users of kernels need compiled and kept, in two processes where that pays."""
    first, *chosen = names
    path = machine_code.path(symbol_of(first, dtype))
    if path is None or settings.changed_by_program() or not memory.allows_compiling_elsewhere():
        return
    own, *shares = _SHARES.get(first, [[first]])
    shares = [[*own, *chosen], *shares]
    # The workers of a pool have work for all processors.
    if (get_num_threads() or available_cpus()) == 1 or parent_process() is not None:
        shares = [[name for share in shares for name in share]]
    with processes.alone(path.parent):
        if not _are_loaded(names, dtype):
            processes.run_elsewhere(_programs(shares, first, dtype, path))


def _programs(shares: list[list[str]], name: str, dtype: np.dtype, path: Path) -> Iterator[str]:
    for share in shares:
        call = f"compile_share({share!r}, {name!r}, {dtype.name!r}, {str(path)!a})"
        yield f"from fastfc.training.compiling import compile_share; {call}"


def compile_share(names: list[str], asked: str, dtype: str, path: str) -> None:
    """In another process: compile kernels, unless the one that was asked for would not be kept in this file.

    It would not if the first process has other settings than its environment says, or other source text.
    """
    from fastfc.kernels.lowering.vectors import vectors_supported

    if str(machine_code.path(symbol_of(asked, np.dtype(dtype)))) == path:
        provide([name for name in names if name != "product" or vectors_supported()], np.dtype(dtype))
