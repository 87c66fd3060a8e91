"""Processes that compile kernels for this one.

The compiler takes more memory than a training does, Ctrl-C amid its work can leave it in disorder, and
in one process nothing is compiled side by side: Numba holds a lock, and LLVM's representations share a
context. Other processes leave their kernels in the cache on disk, where this one finds them. What they
do not deliver is compiled here.
"""

import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastfc._runtime import settings
from fastfc._runtime.interrupts import held_back

logger = logging.getLogger("fastfc")

# Seconds from their start, after which nothing more of them is waited for.
_PATIENCE = 120.0
_POLL = 0.005

# Code that runs before anything else. Ctrl-C reaches all processes: the first one decides what becomes of the
# others. Whatever ends the first one ends this pipe.
# Garbage is not collected: that takes a tenth of the time of a process of some seconds, and spares 60 of its 300 MB.
_PRELUDE = """
import gc, importlib.util, os, signal, sys, threading
gc.disable()
signal.signal(signal.SIGINT, signal.SIG_IGN)
def follow():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=follow, daemon=True).start()
sys.path[:] = {path!a}
spec = importlib.util.spec_from_file_location("fastfc", {package!a})
sys.modules["fastfc"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["fastfc"])
"""
# Code that runs last. An orderly exit, with LLVM in the process, takes some time.
_END = """
os._exit(0)
"""

_PACKAGE = str(Path(__file__).resolve().parents[1] / "__init__.py")


def run_elsewhere(codes: Iterable[str]) -> None:
    """Run each of these Python programs in a process of its own, and wait until all have ended.

    They take this very package, and find others where this process does. Their work may be left
    undone: they cannot be started everywhere, and may fail or take too long.
    """
    if os.name != "posix" or not _is_python(sys.executable) or getattr(sys, "frozen", False):
        # The executable is not Python, but the program that this is a part of.
        return
    # A folder that is meant relatively may be another one by now.
    path = [str(entry) for entry in sys.path if isinstance(entry, (str, Path)) and os.path.isabs(entry)]
    prelude = _PRELUDE.format(path=path, package=_PACKAGE)
    # They multiply no matrices: BLAS's threads, each with memory of its own, would be for nothing.
    environment = {**os.environ, "FASTFC_QUIET": "1", "OPENBLAS_NUM_THREADS": "1"}
    if settings.cache_folder():
        # The program may have chosen it. Where the current folder is gone, nothing is meant relatively to it.
        with contextlib.suppress(FileNotFoundError):
            environment["NUMBA_CACHE_DIR"] = os.path.abspath(settings.cache_folder())
    flags = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
    deadline = time.monotonic() + _PATIENCE
    processes: list[subprocess.Popen] = []
    try:
        for code in codes:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *flags, "-c", prelude + code + _END],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        for process in processes:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(_POLL)
            if process.returncode != 0:
                logger.debug("a process that compiles kernels has not ended well (exit code %s)", process.returncode)
    except (OSError, RuntimeError) as error:
        # The latter is what Python raises when it is about to end.
        logger.debug("no process to compile kernels: %s", error)
    finally:
        with held_back():
            for process in processes:
                process.kill()
                # Waits for it, and closes the pipe.
                with process:
                    pass


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that compiles for a folder: wait for another one, whose kernels are there then.

    Where folders cannot be locked, or after some time, no process waits.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    deadline = time.monotonic() + _PATIENCE
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        # Another process may have removed it; a process that compiles makes it again.
        logger.debug("%s cannot be locked: %s", folder, error)
        yield
        return
    _locked.add(descriptor)
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL)
            except OSError as error:
                logger.debug("%s cannot be locked: %s", folder, error)
                break
        yield
    finally:
        # A child process that was forked meanwhile may have the file open still.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        _locked.discard(descriptor)
        os.close(descriptor)


# The folders that threads of this process have locked, or wait for.
_locked: set[int] = set()


def _leave_locks_to_parent() -> None:
    """In a child process: with the parent's files open, it would wait for itself."""
    while _locked:
        os.close(_locked.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)


def _is_python(executable: str | None) -> bool:
    return re.fullmatch(r"python[\d.]*[a-z]{0,2}", Path(executable or "").name) is not None
