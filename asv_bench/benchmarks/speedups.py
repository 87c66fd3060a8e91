"""How many times faster than the reference, both taken in turns in one process, on one thread."""

from benchmarks import steps
from benchmarks.common import Benchmark, pinned, readable, speedup
from benchmarks.operations import SIZES, case_of, classes, run_of
from benchmarks.shapes import STEPS
from fastfc.backend import OPS


class _Operation(Benchmark):
    version = "1"
    unit = "x"
    params = (SIZES[:2], [1])
    param_names = ("size", "threads")

    def prepare(self, size, threads):
        self._stack.enter_context(pinned("fast", threads))
        case = case_of(type(self).__name__, size)
        self.runs = [run_of(case, backend) for backend in ("reference", "fast")]

    def track_ratio(self, size, threads):
        return readable(speedup(*self.runs))


globals().update(classes(_Operation, OPS, __name__))


class Step(Benchmark):
    """A whole training step with Adam."""

    version = "1"
    unit = "x"
    params = (STEPS, ["plain", "batchnorm, dropout"], [1])
    param_names = ("net @ batch", "kind", "threads")

    def prepare(self, shape, kind, threads):
        self.runs = [
            steps.run_of(self._stack, backend, threads, shape, *steps.KINDS[kind]) for backend in ("reference", "fast")
        ]

    def track_ratio(self, shape, kind, threads):
        return readable(speedup(*self.runs))
