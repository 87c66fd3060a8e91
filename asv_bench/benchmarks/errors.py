"""The largest error of every operation, in units of the last place.

Measured against the formula in a wider dtype, relative to the magnitude of the formula (the
formula evaluated with absolute values), which cancellation does not make small.
"""

from benchmarks.common import BACKENDS, Benchmark, pinned, readable
from benchmarks.operations import SIZES, case_of, classes, largest_error_in_ulp
from fastfc.backend import OPS


class _Operation(Benchmark):
    version = "1"
    unit = "ulp"
    params = (BACKENDS, [size for size in SIZES if size.startswith("256x512")])
    param_names = ("backend", "size")

    def prepare(self, backend, size):
        self._stack.enter_context(pinned(backend, 1))
        self.case = case_of(type(self).__name__, size)

    def track_ulp(self, backend, size):
        return readable(largest_error_in_ulp(self.case, backend))


globals().update(classes(_Operation, OPS, __name__))
