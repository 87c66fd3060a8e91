"""BLAS beside the threads of a run: where its routines are, and how many threads it may have."""

import ctypes
import functools
import os
import threading
from collections.abc import Iterable
from typing import Any

#: The names by which kernels call routines, so that they hold no address and can be kept on disk.
SYMBOLS = {"fastfc_sgemm": "sgemm", "fastfc_dgemm": "dgemm"}


def routine(name: str) -> int:
    """The address of a routine such as ``"sgemm"``, from SciPy's Cython interface to BLAS."""
    from scipy.linalg import cython_blas

    # SciPy's library is in the process from now on.
    _libraries.cache_clear()
    capsule = cython_blas.__pyx_capi__[name]
    signature = ctypes.pythonapi.PyCapsule_GetName
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer(capsule, signature(capsule))


def announce_routines(names: Iterable[str] = SYMBOLS) -> None:
    """Tell LLVM where routines are, of which a kernel knows the names.

    It loads SciPy's library, which takes time and much memory, and which the compiled run's own products do not need.
    """
    from llvmlite import binding

    for name in names:
        binding.add_symbol(name, routine(SYMBOLS[name]))


_limit_lock = threading.Lock()
_limit_users: set["single_threaded"] = set()
# Of each library that is limited: itself, and its number of threads before.
_before: dict[str, tuple[Any, int]] = {}


class single_threaded:
    """Hold BLAS to one thread: a run has threads of its own, and two pools on one machine disturb each other.

    The limit is the process's; it ends when the last of those who asked for it leaves, in
    whatever thread. To leave twice is to leave once, and finishes what an interrupt left undone.
    """

    def __enter__(self) -> "single_threaded":
        self.thread = threading.get_ident()
        with _limit_lock:
            if not _limit_users:
                _before.clear()
            for library in _libraries():
                _before.setdefault(library.filepath, (library, library.num_threads))
            # Entered before the limit is set: leaving undoes what an interrupt cuts short.
            _limit_users.add(self)
            for library, _ in _before.values():
                _set_num_threads(library, 1)
        return self

    def __exit__(self, *_: object) -> None:
        with _limit_lock:
            if _limit_users == {self}:
                for library, number in _before.values():
                    _set_num_threads(library, number)
            _limit_users.discard(self)


def _forget_other_threads() -> None:
    """A child process has but the thread that forked: the limits of all others end there."""
    global _limit_lock
    _limit_lock = threading.Lock()
    others = [user for user in _limit_users if user.thread != threading.get_ident()]
    for user in others:
        user.__exit__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


def limit_this_thread() -> None:
    """Hold BLAS to one thread in a new thread, if the process does, for libraries whose limit is each thread's own."""
    for library in _libraries() if _limit_users else ():
        if getattr(library, "threading_layer", None) == "openmp":
            library.set_num_threads(1)


def _set_num_threads(library: Any, number: int) -> None:
    # threadpoolctl lets only the thread that set a limit change it; ours may end in another.
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(number)
    if release is not None:
        release(force=True)


@functools.lru_cache(maxsize=1)
def _libraries() -> list[Any]:
    """The BLAS libraries of the process; SciPy's, which kernels may call, is among them once it is there."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers
