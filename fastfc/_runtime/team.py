"""A team of threads that stays together for a whole run.

The threads run the same compiled function, each with its own index, without the interpreter's
lock. They wait for one another at a barrier, whose words are here; the waiting itself is compiled, see
``kernels/lowering/barrier.py``.
"""

import _thread
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

from fastfc._runtime.blas import limit_this_thread

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


class Team:
    """The caller and ``threads - 1`` other threads, which run one function together, call after call.

    Between calls the threads wait in Python, where an exception in the caller can dismiss
    them; use it as a context manager.

    Parameters
    ----------
    threads : int
        How many, with the caller.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.barrier = new_barrier()
        self._jobs: list[SimpleQueue] = []
        self._done: SimpleQueue = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._process = os.getpid()

    def __enter__(self) -> "Team":
        try:
            self._start()
            return self
        except BaseException:
            self.__exit__()
            raise

    def _start(self) -> None:
        self._jobs = [SimpleQueue() for _ in range(self.threads - 1)]
        self._done = SimpleQueue()
        self._process = os.getpid()
        self._threads = [
            threading.Thread(target=self._work, args=(jobs, self._done), name=f"fastfc-{index}", daemon=True)
            for index, jobs in enumerate(self._jobs, start=1)
        ]
        if self._threads:
            launched: SimpleQueue = SimpleQueue()
            _thread.start_new_thread(self._launch, (self._threads, launched))
            error = launched.get()
            if error is not None:
                raise error

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
        """Dismiss the threads and wait until they have ended; doing it twice is doing it once."""
        dismiss(self.barrier)
        for jobs in self._jobs:
            jobs.put(None)
        for thread in self._threads:
            # After an interrupt a thread may be about to start; it finds the None and leaves.
            if thread.is_alive():
                thread.join()

    def run(self, function: Callable[[int], object]) -> None:
        """Call ``function(thread)`` in every thread at once, and wait until all have returned."""
        if self._process != os.getpid():
            # A child process has the caller only, not the threads that it was forked beside.
            self._start()
        for index, jobs in enumerate(self._jobs, start=1):
            jobs.put((function, index))
        function(0)
        errors = [self._done.get() for _ in self._jobs]
        for error in errors:
            if error is not None:
                raise error

    def _work(self, jobs: SimpleQueue, done: SimpleQueue) -> None:
        limit_this_thread()
        while (job := jobs.get()) is not None:
            function, index = job
            error = None
            try:
                function(index)
            except BaseException as raised:  # noqa: BLE001 - handed to the caller, who raises it
                error = raised
                # The others must not wait for a thread that will not come.
                dismiss(self.barrier)
            done.put(error)
