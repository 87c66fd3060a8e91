"""How kernels are compiled: the one place where compile options stand.

Five decorators, and ``@standalone`` of ``standalone.py``::

    @kernel                an entry point, called from Python: compiled once per dtype, kept on disk
    @standalone            a kernel that is called by its address: kept as machine code alone
    @inline                a helper that kernels call, inlined by LLVM
    @glue                  an @inline helper that only arranges calls of others
    @reassociated          an @inline helper whose sums LLVM may take in another order
    @approximate_division  an @inline helper whose quotients LLVM may estimate, and improve

Only kernels are kept on disk. A helper with a disk cache of its own would be linked as
finished machine code into the next kernel that calls it, and could not be inlined there.
"""

import functools

import numba
import numpy as np
from numba.extending import register_jitable

from fastfc.kernels.compiler.cache import KernelCache
from fastfc.kernels.compiler.compile import KernelCompiler, StandaloneCompiler, put_in_place

# Fused multiply-add is more exact than what it replaces. Nothing else is free to everybody:
# 'reassoc' rewrites b * m + (1 - b) * g as g + b * (m - g), a thousand times less exact for
# Adam's v, and (x - shift) - mean as x - (shift + mean). No loop needs it but those that sum
# along a row.
_FASTMATH = {"contract"}
# No 'nnan' and no 'ninf': they fold isnan to False and lose NaN in comparisons.
# No 'arcp' and no 'afn': on x86 they turn division and square root into estimates
# that overflow on denormal arguments.
_SUMS_FASTMATH = {"contract", "reassoc", "nsz"}
# But for a helper that minds it: LLVM estimates where it may take all numbers for finite.
_ESTIMATES_FASTMATH = {"contract", "arcp", "ninf"}
# Nobody calls a kernel from C, or a helper from Python: without the code for that they compile sooner.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_HELPER_OPTIONS = {**_OPTIONS, "no_cpython_wrapper": True, "forceinline": True}
#: Of a :class:`fastfc.kernels.compiler.standalone.Standalone` kernel.
STANDALONE_OPTIONS = {
    **_OPTIONS,
    "no_cpython_wrapper": True,
    "fastmath": _FASTMATH,
    "pipeline_class": StandaloneCompiler,
}


def kernel(function):
    """Compile an entry point, with Numba's own disk cache replaced by :class:`KernelCache`."""
    if numba.config.DISABLE_JIT:
        return silent(function)
    dispatcher = numba.njit(fastmath=_FASTMATH, pipeline_class=KernelCompiler, **_OPTIONS)(function)
    dispatcher._cache = KernelCache(function)
    return dispatcher


def silent(function):
    """A kernel without the compiler, as silent about overflow as compiled code is."""

    @functools.wraps(function)
    def run(*args):
        with np.errstate(all="ignore"):
            return function(*args)

    return run


def inline(function):
    """Make a helper that compiled code and Python can call, and that LLVM puts in the place of its call.

    Calls, which hand over seven numbers for each array, made a small network's step 1.3 times as
    long. And a helper that leaves it to its callers is compiled anew for each kind of them.
    """
    return register_jitable(fastmath=_FASTMATH, **_HELPER_OPTIONS)(function)


def glue(function):
    """Make a helper like :func:`inline` for what has no loop over values itself: a part of a large kernel.

    It is optimized in its place only.
    """
    put_in_place.add(function.__qualname__)
    return register_jitable(fastmath=_FASTMATH, **_HELPER_OPTIONS)(function)


def reassociated(function):
    """Make a helper like :func:`inline` that adds along a row.

    In the written order every addition waits for the one before; in any order they are
    packed. Helpers made with :func:`inline` keep their order when they are called from here.
    """
    return register_jitable(fastmath=_SUMS_FASTMATH, **_HELPER_OPTIONS)(function)


def approximate_division(function):
    """Make a helper like :func:`inline` that divides: a float32 quotient by vectors is an estimate and a correction.

    Within 3 ulp, at a fraction of the time; for finite numbers and normal divisors only.
    """
    return register_jitable(fastmath=_ESTIMATES_FASTMATH, **_HELPER_OPTIONS)(function)
