"""Memory of a training run: its peak, and what many steps add to it."""

import sys

from benchmarks import steps
from benchmarks.common import BACKENDS, Benchmark


def _peak_bytes() -> int:
    """The most memory that this process has had so far."""
    try:
        import resource
    except ImportError:
        raise NotImplementedError("no resource usage on this system") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Run(Benchmark):
    version = "1"
    params = (BACKENDS, ["64-[100,100]-10@64", "3072-[512,512,512]-10@256"], [1])
    param_names = ("backend", "net @ batch", "threads")

    def setup_cache(self):
        """Compile in a process of its own: the compiler takes more memory than a training."""
        for backend in BACKENDS:
            self.setup(backend, "4-[32]-3@16", 1)
            self.run(1)
            self.close()

    def prepare(self, backend, shape, threads):
        self.run = steps.run_of(self._stack, backend, threads, shape)

    def peakmem_run(self, backend, shape, threads):
        self.run(20)

    def track_growth(self, backend, shape, threads):
        self.run(20)
        before = _peak_bytes()
        self.run(200)
        return _peak_bytes() - before

    track_growth.unit = "bytes"
    track_growth.pretty_name = "Growth of a run's memory over 200 steps"
    peakmem_run.pretty_name = "Peak memory of a process that trains"
