"""Compiled kernels on disk, one file per function, signature, processor and source text.

Numba's own cache keys a function by the text of its own file only, so that an edit in
a helper of another file leaves a stale kernel; it rewrites one index file per function
without a lock, so that two processes can mix up each other's entries; and a full disk
raises into the user's call. See ``fastfc/_runtime/kept.py`` for what is done here.
"""

import os
import pickle
import platform
import sys
import threading
import time
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from fastfc._runtime import kept


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
        often = "once" if kept.cache_folder() is not None else "in every process, as no folder for them can be written"
        print(f"fastfc: compiling kernels for this machine ({often}; FASTFC_QUIET=1 hides this)", file=sys.stderr)


notice = _Notice()


class KernelCache(_Cache):
    """The cache of one kernel, in the shape that a Numba dispatcher expects."""

    def __init__(self, function):
        self._name = f"{function.__module__.removeprefix('fastfc.')}.{function.__qualname__}"
        self._enabled = True

    @property
    def cache_path(self):
        folder = kept.cache_folder()
        return None if folder is None else str(folder)

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        folder = kept.cache_folder()
        if folder is not None:
            for path in folder.glob(f"*-{self._name}-*{kept.SUFFIX}"):
                path.unlink(missing_ok=True)

    def path(self, sig, codegen) -> Path | None:
        """Where the compiled function for `sig` is kept, there or not; None if there is no place for it."""
        if not self._enabled:
            return None
        key = (
            str(sig),
            codegen.magic_tuple(),
            numba.__version__,
            llvmlite.__version__,
            # Types are kept as pickles, which name NumPy's modules.
            np.__version__,
            platform.python_implementation(),
            sys.version_info[:2],
            # Both change the code that Numba makes.
            bool(numba.config.BOUNDSCHECK),
            str(numba.config.OPT),
        )
        return kept.path_of(self._name, key)

    def load_overload(self, sig, target_context):
        """The compiled function kept for `sig`, or None."""
        target_context.refresh()
        payload = kept.read(self.path(sig, target_context.codegen()))
        if payload is None:
            notice.start()
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, sig, cres):
        """Keep the compiled function; a folder that is full or gone costs only the next start."""
        notice.stop()
        path = self.path(sig, cres.library.codegen)
        if path is None:
            return
        if cres.library.has_dynamic_globals:
            raise RuntimeError(f"kernel {self._name} holds addresses of this process and cannot be cached")
        kept.write(path, dumps(cres._reduce()))
