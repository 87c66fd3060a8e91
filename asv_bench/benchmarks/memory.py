"""Memory of a training run: its peak, and what many steps add to it."""

import resource
import sys

from benchmarks import steps
from benchmarks.common import BACKENDS, Benchmark

# Kilobytes, but on macOS.
_UNIT = 1 if sys.platform == "darwin" else 1024


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


class Run(Benchmark):
    version = "1"
    params = (["64-[100,100]-10@64", "3072-[512,512,512]-10@256"], BACKENDS, [1])
    param_names = ("net @ batch", "backend", "threads")

    def setup_cache(self):
        """Compile in a process of its own: the compiler takes more memory than a training."""
        for backend in BACKENDS:
            self.setup("4-[32]-3@16", backend, 1)
            self.run(1)
            self.close()

    def prepare(self, shape, backend, threads):
        self.run = steps.run_of(self._stack, backend, threads, shape)

    def peakmem_run(self, shape, backend, threads):
        self.run(20)

    def track_growth(self, shape, backend, threads):
        self.run(50)
        before = _peak()
        self.run(500)
        return _peak() - before

    track_growth.unit = "bytes"
    track_growth.pretty_name = "Growth of a run's memory over 500 steps"
    peakmem_run.pretty_name = "Peak memory of a process that trains"
