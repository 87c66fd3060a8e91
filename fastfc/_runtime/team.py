"""A team of threads that stays together for a whole run.

The threads run the same compiled function, each with its own index, without the interpreter's
lock. They wait for one another at a barrier, whose words are here; the waiting itself is compiled, see
``kernels/lowering/barrier.py``.
"""

import _thread
import contextlib
import functools
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

import numpy as np

from fastfc._runtime.blas import limit_this_thread
from fastfc._runtime.interrupts import held_back

# Words of a barrier, each on a cache line of its own.
_LINE = 8
ARRIVED, ROUND, ABORT, CROWDED, SLEEPERS, ASLEEP, PENALTY = (_LINE * place for place in range(7))


def new_barrier() -> np.ndarray:
    """The words of a barrier.

    Threads arrived, round, whether the team is dismissed, whether threads share a processor, how many sleep, for how
    many waits they will sleep at once, and for how many when a busy process takes the processor the next time.
    """
    return np.zeros(7 * _LINE, np.int64)


def dismiss(barrier: np.ndarray) -> None:
    """Release every thread that waits at the barrier, or will: it leaves the run."""
    # An aligned word is written whole; threads read it atomically.
    barrier[ABORT] = 1


# Seconds after which a thread that no team has called ends.
_IDLE_SECONDS = 0.5
# As many such times without a word, of a thread whose team is not there: an exception that a signal's handler raised
# came between the lines by which a team takes a thread.
_LOST = 4


class _Worker:
    """A thread that works for one team after another; it ends when none has called it for a while."""

    def __init__(self, team: "Team", name: str) -> None:
        # Whom it works for; None while it is among the idle ones, and only then.
        self.team: Team | None = team
        self.jobs: SimpleQueue = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)

    def _work(self) -> None:
        limit_this_thread()
        silent = 0
        while True:
            try:
                job = self.jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                try:
                    _idle.remove(self)
                except ValueError:
                    # It has a team, which has nothing to do for it now.
                    silent = silent + 1 if self.team is None or self.team.barrier[ABORT] else 0
                    if silent < _LOST:
                        continue
                return
            if job is None:
                return
            silent = 0
            job(self)
            # A thread that waits must not keep the memory of the last run alive.
            job = None

    def leave(self, team: "Team") -> None:
        """Work for others from now on, if it still works for the team."""
        if self.team is team:
            self.team = None
            _idle.append(self)

    def leave_and_tell(self, team: "Team", left: SimpleQueue) -> None:
        """The same as a job, which comes after the one that the thread has."""
        self.leave(team)
        left.put(None)


# A list's methods are atomic.
_idle: list[_Worker] = []


def end_idle_threads() -> None:
    """End the threads that have no team, and wait for them: a process had better fork with the caller alone."""
    while _idle:
        try:
            worker = _idle.pop()
        except IndexError:
            return
        worker.jobs.put(None)
        worker.thread.join()


if hasattr(os, "register_at_fork"):
    # The child has none of them, should another thread's have become idle meanwhile.
    os.register_at_fork(before=end_idle_threads, after_in_child=_idle.clear)


class Team:
    """The caller and ``threads - 1`` other threads, which run one function together, call after call.

    Between calls the threads wait in Python, where an exception in the caller can dismiss
    them; use it as a context manager. Afterwards they wait half a second for another team.

    Parameters
    ----------
    threads : int
        How many, with the caller.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.barrier = new_barrier()
        self._workers: list[_Worker] = []
        self._done: SimpleQueue = SimpleQueue()
        # Whether a thread may have something to do, or not be there.
        self._busy = False
        self._process = os.getpid()

    def __enter__(self) -> "Team":
        try:
            self._start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def _start(self) -> None:
        self._workers, self._done, self._process, self._busy = [], SimpleQueue(), os.getpid(), True
        new = []
        for index in range(1, self.threads):
            if not self._hire():
                worker = _Worker(self, f"fastfc-{index}")
                self._workers.append(worker)
                new.append(worker.thread)
        if new:
            launched: SimpleQueue = SimpleQueue()
            _thread.start_new_thread(self._launch, (new, launched))
            error = launched.get()
            if error is not None:
                raise error
        self._busy = False

    def _hire(self) -> bool:
        """Take an idle thread, if there is one; interrupted half way, it would neither be idle nor have a team."""
        while _idle:
            with held_back():
                try:
                    worker = _idle.pop()
                except IndexError:
                    return False
                # A team that was late to let it go may have found it ended.
                if worker.thread.is_alive():
                    worker.team = self
                    self._workers.append(worker)
                    return True
        return False

    def _launch(self, threads: list[threading.Thread], launched: SimpleQueue) -> None:
        """Start the threads from another one: in the main thread Ctrl-C can leave the locks of Thread.start taken."""
        error = None
        try:
            for thread in threads:
                thread.start()
        except Exception as raised:  # noqa: BLE001 - handed to the caller, who raises it
            error = raised
        launched.put(error)

    def __exit__(self, *_: object) -> None:
        """Dismiss the threads and wait until they have left; doing it twice is doing it once."""
        dismiss(self.barrier)
        if not self._busy and self._process == os.getpid():
            # All of them wait for a job: waking each one, to hear that it has left, would take as long as many steps.
            for worker in self._workers:
                worker.leave(self)
            return
        leaving: list[tuple[_Worker, SimpleQueue]] = [(worker, SimpleQueue()) for worker in self._workers]
        for worker, left in leaving:
            worker.jobs.put(functools.partial(_Worker.leave_and_tell, team=self, left=left))
        for worker, left in leaving:
            # After an interrupt a thread may be about to start; it finds the job and leaves.
            while worker.thread.is_alive():
                with contextlib.suppress(Empty):
                    left.get(timeout=_IDLE_SECONDS)
                    break

    def run(self, function: Callable[[int], object]) -> None:
        """Call ``function(thread)`` in every thread at once, and wait until all have returned."""
        if self._process != os.getpid():
            # A child process has the caller only, not the threads that it was forked beside.
            self._start()
        self._busy = True
        for index, worker in enumerate(self._workers, start=1):
            worker.jobs.put(functools.partial(self._run, function, index, self._done))
        function(0)
        errors = [self._done.get() for _ in self._workers]
        self._busy = False
        for error in errors:
            if error is not None:
                raise error

    def _run(self, function: Callable[[int], object], index: int, done: SimpleQueue, worker: _Worker) -> None:
        error = None
        try:
            function(index)
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, who raises it
            error = raised
            # The others must not wait for a thread that will not come.
            dismiss(self.barrier)
        done.put(error)
