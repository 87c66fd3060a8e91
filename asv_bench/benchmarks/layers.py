"""Every operation of the registry but the update rules, forward and backward, each on its own.

A chart per operation, named after it; both backends, on one thread.
"""

from benchmarks.common import BACKENDS, Timed, pinned
from benchmarks.operations import LAYERS, SIZES, case_of, classes, run_of


class _Operation(Timed):
    version = "1"
    params = (BACKENDS, SIZES, [1])
    param_names = ("backend", "size", "threads")

    def prepare(self, backend, size, threads):
        self._stack.enter_context(pinned(backend, threads))
        self.run = run_of(case_of(type(self).__name__, size), backend)

    def time_call(self, backend, size, threads):
        self.sample()


globals().update(classes(_Operation, LAYERS, __name__))
