"""Forks wait until other threads have finished imports, compilations and draws of random numbers.

A child process has only the thread that forked. A lock that another thread held stays taken in it
for ever: that of a module that was being imported, LLVM's, Numba's, or NumPy's around its random
stream. A training takes all of them, the first one of a process for a tenth of a second and more.
So a thread that forks waits until they are free, and holds them meanwhile.
"""

import _imp

# Imported by another thread while a fork waits, these two would release after it a lock that they did not take before.
import concurrent.futures.thread  # noqa: F401
import importlib._bootstrap
import logging  # noqa: F401
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

#: Held while machine code is loaded.
loading = threading.RLock()

# Seconds; a thread that has not finished by then is not waited for.
_PATIENCE = 60.0
_POLL = 0.001


def _locks() -> Iterator[Any]:
    """The locks that a training takes, apart from modules'."""
    yield loading
    # Numba's own, around every compilation.
    compiler = sys.modules.get("numba.core.compiler_lock")
    yield getattr(getattr(compiler, "global_compiler_lock", None), "_lock", None)
    # That of the global random stream.
    bit_generator = getattr(sys.modules.get("numpy.random"), "get_bit_generator", None)
    yield bit_generator and bit_generator().lock


def _others_import() -> bool:
    """Whether other threads are importing modules; no new ones begin while Python's global import lock is held."""
    owners = {getattr(reference(), "owner", None) for reference in list(_module_locks.values())}
    return not owners <= {None, threading.get_ident()}


# Not public, but so in all versions of Python; a version without it is one whose forks wait for less.
_module_locks: dict[str, Any] = getattr(importlib._bootstrap, "_module_locks", {})


class _Held(threading.local):
    """Functions by which a thread releases after a fork the locks that it took before."""

    def __init__(self) -> None:
        self.releases: list[Any] = []


_held = _Held()


def _take() -> None:
    """Take all locks at once: to wait for one with another in hand could be to wait for ever."""
    deadline = time.monotonic() + _PATIENCE
    while not _take_now():
        _give_back()
        if time.monotonic() >= deadline:
            break
        time.sleep(_POLL)


def _take_now() -> bool:
    """Take the locks up to one that another thread has; whether there was none."""
    _held.releases = []
    for lock in _locks():
        if lock is not None:
            if not lock.acquire(blocking=False):
                return False
            _held.releases.append(lock.release)
    _imp.acquire_lock()
    _held.releases.append(_imp.release_lock)
    return not _others_import()


def _give_back() -> None:
    while _held.releases:
        _held.releases.pop()()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take, after_in_parent=_give_back, after_in_child=_give_back)
