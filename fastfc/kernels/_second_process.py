"""A second process that compiles some kernels while this one compiles others.

In one process nothing is compiled side by side: Numba holds a lock, and LLVM's representations
share a context. The second process leaves its kernels in the cache on disk, where this one finds
them. All that it can do is save time: what it does not deliver is compiled here.
"""

import atexit
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

logger = logging.getLogger("fastfc")

# Seconds; a process that has not delivered by then is not waited for.
_PATIENCE = 60.0
_POLL = 0.01

_lock = threading.Lock()
_process: subprocess.Popen | None = None
_share: frozenset[str] = frozenset()


def start(code: str, share: set[str]) -> None:
    """Run Python code that compiles the kernels of these names, unless one such process is at work."""
    global _process, _share
    if os.name != "posix" or getattr(sys, "frozen", False) or not Path(sys.executable or "").name.startswith("python"):
        # What would be started is not Python, but the program that this is a part of.
        return
    with _lock:
        if _process is not None and _process.poll() is None:
            return
        # As this process finds modules, so does the other; its current folder counts for nothing.
        path = [entry for entry in sys.path if isinstance(entry, str)]
        # Ctrl-C reaches both: this process decides what becomes of the other.
        prelude = f"import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}"
        command = [sys.executable, "-I", "-c", f"{prelude}; {code}"]
        try:
            _process = subprocess.Popen(
                command,
                env={**os.environ, "FASTFC_QUIET": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            logger.debug("no second process to compile kernels: %s", error)
            return
        _share = frozenset(share)


def wait_for(name: str, path: Path) -> bool:
    """Wait for the kernel of this name if the second process compiles it; whether its file is there."""
    process = _process
    if process is None or name not in _share:
        return False
    deadline = time.monotonic() + _PATIENCE
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL)
    if path.exists():
        return True
    logger.debug("the second process did not compile %s (exit code %s)", name, process.poll())
    return False


def reap() -> None:
    """Let the system forget a second process that has ended."""
    if _process is not None:
        _process.poll()


def _stop() -> None:
    """End the second process: who leaves early does not leave it behind."""
    if _process is not None and _process.poll() is None:
        _process.kill()
        _process.wait()


def _forget() -> None:
    """In a child process: the second process is its parent's."""
    global _lock, _process
    _lock, _process = threading.Lock(), None


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
