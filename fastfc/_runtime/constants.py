"""Numbers that plans and kernels share."""

import math

#: Values of a thread's packing buffer. ``kernels/lowering/matmul.py`` and ``training/memory.py`` make sure that the
#: parts of matrices that they copy fit.
PACKING_SIZE = 192 * 1024


def keep_threshold(p: float) -> int:
    """The least integer that dropout's ``random_sample() < p`` refuses, of the 53-bit integers that it compares."""
    return math.ceil(p * 2.0**53)
