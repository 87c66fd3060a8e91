"""Numba twins of :mod:`fastfc.reference`: same modules, functions, signatures and caches."""

from fastfc._runtime import memory
from fastfc._runtime.interrupts import held_back

memory.require_for_importing("numba")
with held_back():
    # An interrupt amid the import leaves Numba half imported, for as long as the process lives.
    import numba  # noqa: F401
