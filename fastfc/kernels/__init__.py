"""Numba twins of :mod:`fastfc.reference`: same modules, functions, signatures and caches."""

from fastfc._interrupts import held_back
from fastfc._runtime import memory

memory.require_for_importing("numba")
with held_back():
    # An interrupt amid the import leaves Numba half imported, for as long as the process lives.
    import numba  # noqa: F401
