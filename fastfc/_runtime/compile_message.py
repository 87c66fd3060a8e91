"""The message to users that kernels are being compiled."""

import contextlib
import os
import sys
import threading
import time

from fastfc._runtime import kernel_cache
from fastfc._runtime.interrupts import held_back


class _Notice:
    """Says once per process, on stderr, that kernels are being compiled, when that takes longer than a second."""

    _PATIENCE = 1.0

    def __init__(self) -> None:
        self._spent = 0.0
        self._started: float | None = None
        self._timer: threading.Timer | None = None
        self._said = False

    def start(self) -> None:
        """A compilation begins; those inside another one are part of it."""
        if self._said or self._started is not None or os.environ.get("FASTFC_QUIET", "0") not in ("", "0"):
            return
        with held_back():
            # Ctrl-C can leave the locks of a thread that is about to start taken.
            self._started = time.monotonic()
            self._timer = threading.Timer(max(0.0, self._PATIENCE - self._spent), self._say)
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """The compilation has ended."""
        if self._timer is not None and self._started is not None:
            self._timer.cancel()
            self._spent += time.monotonic() - self._started
            self._started = None

    def _say(self) -> None:
        self._said = True
        if sys.stderr is None:
            return
        often = "once"
        if kernel_cache.cache_folder() is None:
            often = "in every process, as no folder for them can be written: NUMBA_CACHE_DIR may name one"
        # A stream may be closed or broken; nothing can be told then.
        with contextlib.suppress(OSError, ValueError):
            print(f"fastfc: compiling kernels for this machine ({often}; FASTFC_QUIET=1 hides this)", file=sys.stderr)


#: The process's own.
notice = _Notice()
