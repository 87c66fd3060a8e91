"""A second process that compiles some kernels while this one compiles others.

In one process nothing is compiled side by side: Numba holds a lock, and LLVM's representations
share a context. The second process leaves its kernels in the cache on disk, where this one finds
them. All that it can do is save time: what it does not deliver is compiled here.
"""

import atexit
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from multiprocessing import parent_process
from pathlib import Path

logger = logging.getLogger("fastfc")

# Seconds from its start; what it has not delivered by then is not waited for.
_PATIENCE = 60.0
_POLL = 0.01

# What runs before anything else. Ctrl-C reaches both processes: the first one decides what becomes of
# the second. Whatever ends the first one ends this pipe.
_PRELUDE = """
import importlib.util, os, signal, sys, threading
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

_PACKAGE = str(Path(__file__).resolve().parents[1] / "__init__.py")

_lock = threading.Lock()
_process: subprocess.Popen | None = None
_deadline = 0.0
_share: frozenset[Path] = frozenset()


def start(code: str, share: Iterable[Path]) -> None:
    """Run Python code that writes these files, unless such a process is at work already."""
    global _process, _deadline, _share
    if os.name != "posix" or not _is_python(sys.executable) or getattr(sys, "frozen", False):
        # What would be started is not Python, but the program that this is a part of.
        return
    if parent_process() is not None:
        # The workers of a pool have work for all processors.
        return
    # The second process takes this very package, and finds others where this one does; but a folder that
    # is meant relatively may be another one by now.
    path = [str(entry) for entry in sys.path if isinstance(entry, (str, Path)) and os.path.isabs(entry)]
    prelude = _PRELUDE.format(path=path, package=_PACKAGE)
    flags = ["-I", "-B"] if sys.dont_write_bytecode else ["-I"]
    with _lock:
        if _process is not None:
            if _process.poll() is None:
                return
            _close(_process)
        try:
            process = subprocess.Popen(
                [sys.executable, *flags, "-c", prelude + code],
                env={**os.environ, "FASTFC_QUIET": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, RuntimeError) as error:
            # The latter is what Python raises when it is about to end.
            logger.debug("no second process to compile kernels: %s", error)
            return
        _process, _deadline, _share = process, time.monotonic() + _PATIENCE, frozenset(share)


def wait_for(path: Path | None) -> None:
    """If the second process writes this file, wait until it is there; or until there is nothing to wait for."""
    process = _process
    if process is None or path not in _share:
        return
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > _deadline:
            logger.debug("the second process did not write %s (exit code %s)", path, process.poll())
            stop()
            return
        time.sleep(_POLL)


def finish(share: Iterable[Path]) -> None:
    """End the process that writes these files, if there is one: they are there, or no longer needed."""
    if frozenset(share) == _share:
        stop()
    elif _process is not None:
        # What an interrupted call has left may have ended: the system can forget it.
        _process.poll()


def stop() -> None:
    """End the second process, if there is one."""
    with _lock:
        if _process is not None:
            _process.kill()
            _close(_process)


def _close(process: subprocess.Popen) -> None:
    """Wait for a process, and close the pipe to it."""
    with process:
        pass


def _is_python(executable: str | None) -> bool:
    return re.fullmatch(r"python[\d.]*[a-z]{0,2}", Path(executable or "").name) is not None


def _forget() -> None:
    """In a child process: the second process is its parent's."""
    global _lock, _process
    _lock = threading.Lock()
    if _process is not None:
        # Only its parent can wait for it.
        _process.returncode = 0
        _close(_process)
        _process = None


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
