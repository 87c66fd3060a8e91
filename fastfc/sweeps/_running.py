"""Trainings on any executor: a few at a time, again where a worker died, until all are done or Ctrl-C comes."""

import contextlib
import os
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

from fastfc._runtime.interrupts import held_back
from fastfc._runtime.threads import available_cpus
from fastfc.sweeps._data import MissingDataError, store
from fastfc.sweeps._options import Job

__all__ = ["Pool", "handed_over", "progress_bar", "run_jobs"]

# Trainings that wait for a worker of an executor that does not say how many it has.
_UNKNOWN_WORKERS = 32


class Pool:
    """The executor of a sweep, which can be replaced where a function made it; use it as a context manager.

    Parameters
    ----------
    executor : Executor, function that makes one, or None
        None for threads of this process, as many as it may use processors.
    """

    def __init__(self, executor: Any) -> None:
        self._make: Callable[[], Any] | None = None
        if executor is None:
            self._make = lambda: ThreadPoolExecutor(available_cpus(), "fastfc-sweep")
        elif isinstance(executor, type) or not hasattr(executor, "submit"):
            if not callable(executor):
                raise TypeError(f"executor: expected None, an executor or a function that makes one, got {executor!r}")
            self._make = executor
        self._executor: Any = executor if self._make is None else None
        self.stop = threading.Event()

    def __enter__(self) -> "Pool":
        if self._make is not None:
            self._executor = self._make()
            if not hasattr(self._executor, "submit"):
                made = self._executor
                raise TypeError(f"executor: expected a function that makes an executor, got one that made {made!r:.80}")
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            self.stop.set()
        if self._make is not None:
            self._executor.shutdown(wait=True)

    @property
    def shares_memory(self) -> bool:
        """Whether the trainings run in threads of this process."""
        return isinstance(self._executor, ThreadPoolExecutor)

    @property
    def window(self) -> int:
        """Trainings that are handed over at a time: those that run, and one more for each worker."""
        workers = getattr(self._executor, "_max_workers", None) or getattr(self._executor, "num_workers", None)
        return 2 * (workers if isinstance(workers, int) else _UNKNOWN_WORKERS)

    def submit(self, *args: Any) -> "Future[Any]":
        return self._executor.submit(*args)

    def renew(self, cause: BaseException) -> None:
        """Go on with another executor, after a worker's death has broken this one."""
        if self._make is None:
            raise RuntimeError(
                "executor: a worker died, and the executor takes no more trainings; give a function that makes an "
                "executor in place of an executor, and the sweep goes on with a new one"
            ) from cause
        with contextlib.suppress(BrokenExecutor):
            self._executor.shutdown(wait=False)
        self._executor = self._make()


def run_jobs(
    jobs: Iterable[Job],
    pool: Pool,
    call: Callable[[Job], tuple[Any, ...]],
    done: Callable[[Job, Any], object],
    retries: int,
) -> None:
    """Have all jobs carried out; those that were under way when a worker died are tried again, one by one.

    Parameters
    ----------
    jobs : iterable of Job
    pool : Pool
    call : function
        A job -> the function and the arguments for its worker.
    done : function
        ``done(job, outcome)`` in this thread, as soon as a job has ended; the outcome is the worker's, or the
        exception of its death.
    retries : int
        How often a job is tried again after the death of its worker.
    """
    waiting, suspects, failures = deque(jobs), deque[Job](), Counter[int]()
    running: dict[Future[Any], Job] = {}
    broken: BaseException | None = None
    unused = True

    def fail(job: Job, error: BaseException) -> None:
        failures[job.index] += 1
        if failures[job.index] > retries:
            done(job, error)
        else:
            suspects.append(job)

    with _leaving_what_is_finished(running, done):
        while waiting or suspects or running:
            if broken is not None and not running:
                if not (waiting or suspects):
                    return
                pool.renew(broken)
                broken, unused = None, True
            while broken is None and (waiting or suspects):
                # A suspect runs alone: if the executor breaks again, it is known by whom.
                careful = bool(suspects) or any(failures[job.index] for job in running.values())
                if len(running) >= (1 if careful else pool.window):
                    break
                job = suspects.popleft() if suspects else waiting.popleft()
                try:
                    running[pool.submit(*call(job))] = job
                    unused = False
                except BrokenExecutor as error:
                    if unused:
                        raise
                    (suspects if failures[job.index] else waiting).appendleft(job)
                    broken = error
            ended = wait(running, return_when=FIRST_COMPLETED).done if running else ()
            for future in sorted(ended, key=lambda each: running[each].index):
                failure = CancelledError("cancelled") if future.cancelled() else future.exception()
                if failure is None:
                    with held_back():
                        done(running.pop(future), future.result())
                    continue
                job = running.pop(future)
                if isinstance(failure, MissingDataError):
                    raise failure
                if isinstance(failure, BrokenExecutor):
                    broken = failure
                fail(job, failure)


@contextlib.contextmanager
def _leaving_what_is_finished(running: "dict[Future[Any], Job]", done: Callable[[Job, Any], object]) -> Iterator[None]:
    """After an interrupt, cancel what has not begun, and take what has ended."""
    try:
        yield
    except BaseException as error:
        for future in list(running):
            future.cancel()
        for future, job in list(running.items()) if isinstance(error, KeyboardInterrupt) else ():
            if future.done() and not future.cancelled() and future.exception() is None:
                done(job, future.result())
        raise


@contextlib.contextmanager
def handed_over(arrays: dict[str, Any], pool: Pool, folder: str | os.PathLike[str] | None) -> Iterator[Any]:
    """The data as workers get them: the arrays themselves in threads, else files that are there for the sweep."""
    if pool.shares_memory:
        yield arrays
        return
    with tempfile.TemporaryDirectory(prefix="fastfc-sweep-", dir=folder, ignore_cleanup_errors=True) as place:
        yield store(arrays, place)


@contextlib.contextmanager
def progress_bar(progress: bool, total: int) -> Iterator[Any]:
    """A bar of trainings, which shows nothing unless there is to be progress."""
    from tqdm import tqdm

    with tqdm(total=total, disable=not progress, unit="training") as bar:
        yield bar
