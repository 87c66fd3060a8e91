"""Numba twins of :mod:`fastfc.reference`: same modules, functions, signatures and caches."""

from fastfc._runtime.interrupts import held_back

with held_back():
    # An interrupt amid the import leaves Numba half imported, for as long as the process lives.
    import numba  # noqa: F401
