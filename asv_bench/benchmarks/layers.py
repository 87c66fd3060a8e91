"""Every operation of the registry but the update rules, forward and backward, each on its own.

A chart per operation, named after it; both backends, on one thread.
"""

from benchmarks.common import BACKENDS, Timed, pinned
from benchmarks.operations import LAYERS, SIZES, case_of, run_of


class _Operation(Timed):
    version = "1"
    params = (SIZES, BACKENDS, [1])
    param_names = ("size", "backend", "threads")

    def prepare(self, size, backend, threads):
        self._stack.enter_context(pinned(backend, threads))
        self.run = run_of(case_of(type(self).__name__, size), backend)

    def time_call(self, size, backend, threads):
        self.sample()


# asv finds parameters by their place in the list. With a class for each operation, results
# of older commits, whose registry may have other rows, cannot be taken for another operation's.
globals().update({_name: type(_name, (_Operation,), {"__module__": __name__}) for _name in LAYERS})
