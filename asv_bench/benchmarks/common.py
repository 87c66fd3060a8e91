"""Common to the benchmarks: how calls are timed, and how many threads they may use.

Every benchmark has a ``version``: asv drops old results when it changes, so raise it when
a benchmark measures something else than before.
"""

import contextlib
import statistics
import time
from collections.abc import Callable

# Imported here, so that asv's fork server has done it before it forks a process per benchmark.
import numba  # noqa: F401
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401
from threadpoolctl import threadpool_limits

import fastfc

try:
    from fastfc._runtime.threads import available_cpus
except ModuleNotFoundError:
    # Of an older commit, on which these benchmarks are run too for a comparison with it.
    from fastfc._threads import available_cpus

#: Carries out a number of calls.
Run = Callable[[int], object]

#: Always the first parameter: asv shows so many lines at first that all values of the first ones are among them.
BACKENDS = ["fast", "reference"]
SAMPLE_SECONDS = 0.01
_MOST_CALLS = 10**5


@contextlib.contextmanager
def pinned(backend: str, threads: int):
    """The backend of this thread, and the number of threads of compiled runs and of every BLAS.

    Raises NotImplementedError, by which asv leaves out a benchmark, where there are not so
    many processors.
    """
    if threads > available_cpus():
        raise NotImplementedError(f"{threads} threads on {available_cpus()} processors")
    with contextlib.ExitStack() as stack:
        chosen = fastfc.get_num_threads()
        fastfc.set_num_threads(threads)
        stack.callback(fastfc.set_num_threads, chosen)
        stack.enter_context(fastfc.use_backend(backend))
        stack.enter_context(threadpool_limits(threads))
        stack.enter_context(np.errstate(all="ignore"))
        yield


def repeated(function: Callable, *args: object) -> Run:
    """A run that calls `function` on `args`."""

    def run(n):
        for _ in range(n):
            function(*args)

    return run


def calls_for(run: Run, seconds: float) -> int:
    """The number of calls that take about `seconds`. They have run before: compiled, loaded and warm."""
    run(1)
    n = 1
    while True:
        taken = seconds_per_call(run, n) * n
        if taken >= seconds / 3 or n >= _MOST_CALLS:
            return max(1, min(_MOST_CALLS, round(n * seconds / taken)))
        n = min(_MOST_CALLS, 4 * n)


def seconds_per_call(run: Run, n: int) -> float:
    start = time.perf_counter()
    run(n)
    return (time.perf_counter() - start) / n


def speedup(slow: Run, fast: Run, rounds: int = 9) -> float:
    """Median time of `slow` over that of `fast`, taken in turns."""
    times: dict[Run, list[float]] = {slow: [], fast: []}
    calls = {run: calls_for(run, SAMPLE_SECONDS) for run in times}
    for _ in range(rounds):
        for run in times:
            times[run].append(seconds_per_call(run, calls[run]))
    return statistics.median(times[slow]) / statistics.median(times[fast])


def readable(value: float) -> float:
    """`value` to three digits: pages print what `track_` benchmarks return in full."""
    return float(f"{value:.3g}")


class Benchmark:
    """A benchmark whose parameters are prepared in :meth:`setup` and let go in :meth:`close`."""

    timeout = 600
    _stack: contextlib.ExitStack | None = None

    def prepare(self, *params) -> None:
        """Make what is measured ready, compiled and warm; contexts to be left go on ``self._stack``."""
        raise NotImplementedError

    def setup(self, *params) -> None:
        # asv sets up anew before every sample; what is prepared once serves them all.
        if self._stack is not None:
            return
        with contextlib.ExitStack() as stack:
            self._stack = stack
            try:
                self.prepare(*params)
            except BaseException:
                self._stack = None
                raise
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Undo :meth:`setup`. Not called ``teardown``, which asv would call after every sample."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None


class Timed(Benchmark):
    """A benchmark of ``self.run``, of which a sample holds as many calls as fill SAMPLE_SECONDS.

    asv would time a single call after each setup, which says little about microseconds. So
    what asv calls is a whole sample, and its clock counts seconds per call.
    """

    number = 1
    rounds = 2
    repeat = (5, 20, 5.0)
    warmup_time = 0
    run: Run
    calls = 1

    def setup(self, *params) -> None:
        if self._stack is None:
            super().setup(*params)
            self.calls = calls_for(self.run, SAMPLE_SECONDS)

    def timer(self) -> float:
        return time.perf_counter() / self.calls

    def sample(self) -> None:
        self.run(self.calls)
