"""Limits of memory: an error in place of a compiler that runs out of it.

Where a process may only have so much address space (RLIMIT_AS, ``ulimit -v``), LLVM ends the process
when there is no more, and OpenBLAS, which Numba loads, asks again and again for minutes.
"""

import os
import sys

_MEBIBYTE = 2**20

# Mebibytes of address space: of a process before, of what it then imports to compile, and of compiling. Measured on
# Linux, and rounded up.
_BEGINNING = 220
_IMPORTS = {"numba": 200, "scipy.linalg.cython_blas": 150}
_COMPILING = 60
# Garbage, of a process that only compiles.
_UNCOLLECTED = 60


def allows_compiling_elsewhere() -> bool:
    """Whether another process, under the same limit, may have what compiling takes."""
    limit = _limit()
    return limit is None or limit >= _BEGINNING + sum(_IMPORTS.values()) + _COMPILING + _UNCOLLECTED


def require_for_importing(module: str) -> None:
    """Raise MemoryError unless this process may have what importing one of these modules takes, or has it already."""
    _require(_missing(module), f"importing {module.partition('.')[0]}")


def require_for_compiling() -> None:
    """Raise MemoryError unless this process may have what compiling takes."""
    _require(sum(map(_missing, _IMPORTS)) + _COMPILING, "compiling kernels")


def _missing(module: str) -> int:
    return 0 if module in sys.modules else _IMPORTS[module]


def _require(mebibytes: int, action: str) -> None:
    limit = _limit()
    if limit is None or mebibytes == 0:
        return
    left = limit - _size()
    if left < mebibytes:
        raise MemoryError(
            f"{action} takes {mebibytes} MiB of address space, and this process may have {left} MiB more: its limit "
            f"is {limit} MiB (RLIMIT_AS, ulimit -v). Raise it, or run this once without it: compiled kernels are kept"
        )


def _limit() -> int | None:
    """The most address space of this process, in mebibytes; None for no limit."""
    if os.name != "posix":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft // _MEBIBYTE


def _size() -> int:
    """The address space that this process has, in mebibytes; 0 where it is unknown."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") // _MEBIBYTE
    except OSError:
        return 0
