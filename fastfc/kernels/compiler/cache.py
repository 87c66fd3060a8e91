"""Compiled kernels on disk, one file per function, signature, processor and source text.

Numba's own cache keys a function by the text of its own file only, so that an edit in
a helper of another file leaves a stale kernel; it rewrites one index file per function
without a lock, so that two processes can mix up each other's entries; and a full disk
raises into the user's call. See ``fastfc/_runtime/kernel_cache.py`` for what is done here.
"""

import pickle
from pathlib import Path

from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from fastfc._runtime import blas, kernel_cache, machine_code, memory
from fastfc._runtime.blas import announce_routines
from fastfc._runtime.compile_message import notice


class KernelCache(_Cache):
    """The cache of one kernel, in the shape that a Numba dispatcher expects."""

    def __init__(self, function):
        self._name = f"{function.__module__.removeprefix('fastfc.')}.{function.__qualname__}"
        self._enabled = True

    @property
    def cache_path(self):
        folder = kernel_cache.cache_folder()
        return None if folder is None else str(folder)

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        folder = kernel_cache.cache_folder()
        if folder is not None:
            for path in folder.glob(f"*-{self._name}-*{kernel_cache.SUFFIX}"):
                path.unlink(missing_ok=True)

    def path(self, sig, codegen) -> Path | None:
        """Where the compiled function for `sig` is kept, there or not; None if there is no place for it."""
        if not self._enabled:
            return None
        return kernel_cache.path_of(self._name, self._key(sig, codegen))

    def _key(self, sig, codegen):
        return str(sig), codegen.magic_tuple(), machine_code.key()

    def load_overload(self, sig, target_context):
        """The compiled function kept for `sig`, or None."""
        # With this Numba imports SciPy's BLAS.
        memory.require_for_importing("scipy.linalg.cython_blas")
        target_context.refresh()
        payload = kernel_cache.look_up(self._name, self._key(sig, target_context.codegen())) if self._enabled else None
        if payload is None:
            memory.require_for_compiling()
            notice.start()
            return None
        calls_blas, reduced = pickle.loads(payload)
        if calls_blas:
            announce_routines()
        return CompileResult._rebuild(target_context, *reduced)

    def save_overload(self, sig, cres):
        """Keep the compiled function; a folder that is full or gone costs only the next start."""
        notice.stop()
        path = self.path(sig, cres.library.codegen)
        if path is None:
            return
        if cres.library.has_dynamic_globals:
            raise RuntimeError(f"kernel {self._name} holds addresses of this process and cannot be cached")
        calls_blas = any(function.name in blas.SYMBOLS for function in cres.library._final_module.functions)
        kernel_cache.write(path, dumps((calls_blas, cres._reduce())))
