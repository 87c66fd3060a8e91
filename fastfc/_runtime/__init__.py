"""Running compiled kernels, without the compiler.

A process that finds its kernels on disk trains and predicts without importing Numba, which would
take longer than a small training and more memory than all the rest. It is imported here only to be
asked for settings that are not the usual ones (``settings.py``), and for machine code that needs its
runtime. ``machine_code.py`` loads kernels, ``kernel_cache.py`` keeps files of them, ``processes.py`` has them
compiled, ``record.py`` is what they are handed, ``team.py`` the threads that call them, ``blas.py``
the library beside them.
"""
