"""Numba twins of :mod:`fastfc.reference`: same modules, functions, signatures and caches."""
