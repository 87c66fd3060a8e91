"""Compiled kernels on disk, one file per function, signature, processor and source text.

Numba's own cache keys a function by the text of its own file only, so that an edit in
a helper of another file leaves a stale kernel; it rewrites one index file per function
without a lock, so that two processes can mix up each other's entries; and a full disk
raises into the user's call. Here the file's name is a digest of everything that the
machine code depends on, files appear by rename, and a file that cannot be read or
written only costs a compilation.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import platform
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

logger = logging.getLogger("fastfc")

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIX = ".fastfc.nbc"
# Seconds; a temporary file that is older is nobody's any more.
_WRITTEN_WITHIN = 3600.0


@functools.lru_cache(maxsize=1)
def source_digest() -> str:
    """Digest of every file whose text can end up in machine code."""
    digest = hashlib.sha256()
    for folder in ("kernels", "training"):
        for path in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


# Of the text that is imported, not of one that somebody edits before the first kernel is compiled.
source_digest()


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The first folder that can be written: $NUMBA_CACHE_DIR, the package's own, the user's; or None.

    What lies there is executed: a folder in which everybody may write is passed over.
    """
    install = hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:16]
    candidates = [_PACKAGE / "kernels" / "__pycache__"]
    if numba.config.CACHE_DIR:
        candidates.insert(0, Path(numba.config.CACHE_DIR) / f"fastfc-{install}")
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home and os.path.isabs(home):
        candidates.append(Path(home) / "fastfc" / install)
    for folder in candidates:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
                raise PermissionError("everybody may write there")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            logger.debug("no kernel cache in %s: %s", folder, error)
            continue
        return folder
    logger.debug("no folder for compiled kernels: they are compiled anew in each process")
    return None


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
        kept = "once" if cache_folder() is not None else "in every process, as no folder for them can be written"
        print(f"fastfc: compiling kernels for this machine ({kept}; FASTFC_QUIET=1 hides this)", file=sys.stderr)


_notice = _Notice()


class KernelCache(_Cache):
    """The cache of one kernel, in the shape that a Numba dispatcher expects."""

    def __init__(self, function):
        self._name = f"{function.__module__.removeprefix('fastfc.')}.{function.__qualname__}"
        self._enabled = True

    @property
    def cache_path(self):
        folder = cache_folder()
        return None if folder is None else str(folder)

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        folder = cache_folder()
        if folder is not None:
            for path in folder.glob(f"*-{self._name}-*{_SUFFIX}"):
                path.unlink(missing_ok=True)

    def path(self, sig, codegen) -> Path | None:
        """Where the compiled function for `sig` is kept, there or not; None if there is no place for it."""
        folder = cache_folder()
        if folder is None or not self._enabled:
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
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
        return folder / f"{source_digest()}-{self._name}-{digest}{_SUFFIX}"

    def load_overload(self, sig, target_context):
        """The compiled function kept for `sig`, or None."""
        target_context.refresh()
        payload = self._read(self.path(sig, target_context.codegen()))
        if payload is None:
            _notice.start()
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def _read(self, path: Path | None) -> bytes | None:
        """What is kept in a file; None if there is none, or a damaged one."""
        try:
            data = b"" if path is None else path.read_bytes()
        except OSError:
            return None
        checksum, payload = data[:32], data[32:]
        if hashlib.sha256(payload).digest() != checksum:
            logger.debug("no kernel in cache file %s", path)
            return None
        return payload

    def save_overload(self, sig, cres):
        """Keep the compiled function; a folder that is full or gone costs only the next start."""
        _notice.stop()
        path = self.path(sig, cres.library.codegen)
        if path is None:
            return
        if cres.library.has_dynamic_globals:
            raise RuntimeError(f"kernel {self._name} holds addresses of this process and cannot be cached")
        payload = dumps(cres._reduce())
        temporary = None
        try:
            _remove_stale_files(path.parent)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".tmp", delete=False) as file:
                temporary = file.name
                file.write(hashlib.sha256(payload).digest())
                file.write(payload)
            os.replace(temporary, path)
        except OSError as error:
            logger.debug("kernel %s not cached: %s", self._name, error)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)


@functools.lru_cache(maxsize=1)
def _remove_stale_files(folder: Path) -> None:
    """Remove, once per process, what other versions of the source text and processes that were killed left here."""
    for path in folder.glob(f"*{_SUFFIX}"):
        if not path.name.startswith(source_digest()):
            path.unlink(missing_ok=True)
    for path in folder.glob(f"*{_SUFFIX}*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _WRITTEN_WITHIN:
                path.unlink()
