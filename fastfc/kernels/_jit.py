"""How kernels are compiled: the one place where compile options stand.

Three decorators::

    @kernel   an entry point, called from Python: compiled once per dtype, kept on disk
    @inline   a helper that kernels call, inlined by LLVM
    @exact    an @inline helper whose floating-point operations keep their written order

Only entry points are cached. A helper with a disk cache of its own would be linked as
finished machine code into the next kernel that calls it, and could not be inlined there.
"""

import numba
from numba.extending import register_jitable

from fastfc.kernels._cache import KernelCache

# No 'nnan' and no 'ninf': they fold isnan to False and lose NaN in comparisons.
# No 'arcp' and no 'afn': on x86 they turn division and square root into estimates
# that overflow on denormal arguments, and the loops that divide wait for memory anyway.
_FASTMATH = {"contract", "reassoc", "nsz"}
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def kernel(function):
    """Compile an entry point, with Numba's global cache replaced by :class:`KernelCache`."""
    dispatcher = numba.njit(fastmath=_FASTMATH, **_OPTIONS)(function)
    if not numba.config.DISABLE_JIT:
        dispatcher._cache = KernelCache(function)
    return dispatcher


def inline(function):
    """Make a helper that compiled code and Python can call."""
    return register_jitable(fastmath=_FASTMATH, **_OPTIONS)(function)


def exact(function):
    """Make a helper like :func:`inline`, without reassociation.

    For error-free transformations such as ``(x - shift) - mean``, which LLVM would
    otherwise be free to rewrite as ``x - (shift + mean)``.
    """
    return register_jitable(fastmath={"contract"}, **_OPTIONS)(function)
