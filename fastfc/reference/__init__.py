"""The definition of what is right: every operation in plain NumPy.

Arguments are already checked and of one float dtype when they arrive here; the public
functions in :mod:`fastfc.layers`, :mod:`fastfc.layer_utils` and :mod:`fastfc.optim` see to
that. Each module has a twin of the same name, with the same functions, signatures and
caches, in :mod:`fastfc.kernels`.
"""
