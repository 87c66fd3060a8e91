"""Starts an engine per process, and asks them in turn, A B C A B C."""

import contextlib
import dataclasses
import getpass
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastfc._runtime.threads import available_cpus
from fastfc.bench.engines import Engine
from fastfc.bench.task import CHECK_STEPS, Task

__all__ = [
    "LOSS_TOLERANCE",
    "Job",
    "Worker",
    "best",
    "check_losses",
    "expected_losses",
    "measure",
    "missing",
    "summary",
]

#: Largest difference of a loss from the course's, as a part of the first loss.
LOSS_TOLERANCE = 1e-3
#: OpenBLAS's threads spin for 80 ms after a call.
PAUSE_SECONDS = 0.1

_THREAD_VARIABLES = ("OMP", "OPENBLAS", "MKL", "NUMBA", "FASTFC", "VECLIB")


@dataclass(frozen=True)
class Job:
    """The work of a worker process.

    Parameters
    ----------
    name : str
        The engine's, in tables and messages.
    start : str
        The function that sets it up, ``"module:function"``; it gets `arguments` and, if there is one, the task.
    threads : int
    arguments : dict
        Beside ``threads``, which it gets always.
    task : Task or None
    check : bool
        Whether to take the losses of some steps without dropout first.
    preload : str or None
        A library to load before all others.
    """

    name: str
    start: str
    threads: int
    arguments: dict[str, Any] = field(default_factory=dict)
    task: Task | None = None
    check: bool = False
    preload: str | None = None


class Worker:
    """The process that does a job. Raises RuntimeError, from every method, if the process ends."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.steps = 0
        self.samples: list[float] = []
        config = {
            "start": job.start,
            "arguments": {**job.arguments, "threads": job.threads},
            "task": None if job.task is None else dataclasses.asdict(job.task),
            "check": job.check,
        }
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastfc.bench.worker", json.dumps(config)],
            env=_environment(job),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
        )
        try:
            self.losses: list[float] = self._answer()["losses"]
        except BaseException:
            self.close()
            raise

    def calibrate(self, seconds: float) -> None:
        """Find out how many steps take about so long."""
        self.steps = self._ask(calibrate=seconds)["steps"]

    def take_turn(self) -> None:
        """Another sample: seconds a step."""
        self.samples.append(self._ask()["seconds"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._messages.seek(0)
            text = self._messages.read().strip().splitlines() or ["no message"]
            raise RuntimeError(f"ended with status {self._process.returncode}: {text[-1]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process, by force if it does not end by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Requests not yet written to a process that has gone do not matter.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._messages.close()


def _environment(job: Job) -> dict[str, str]:
    environment = os.environ | {f"{name}_NUM_THREADS": str(job.threads) for name in _THREAD_VARIABLES}
    environment["FASTFC_QUIET"] = "1"
    # Kernels that run as plain Python are for tests.
    environment.pop("NUMBA_DISABLE_JIT", None)
    # The worker imports what this process would, and nothing that happens to lie in the current folder.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    environment["PYTHONSAFEPATH"] = "1"
    # PyTorch's compiler: in the process itself, no helpers that outlive it. What it compiled for some number of
    # threads must not be found by a process with another one.
    environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    folder = environment.get("TORCHINDUCTOR_CACHE_DIR") or Path(tempfile.gettempdir(), f"torchinductor_{_user()}")
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder, f"threads-{job.threads}"))
    if job.preload:
        environment["LD_PRELOAD"] = job.preload
        # Libraries that it needs itself may lie beside it.
        paths = [str(Path(job.preload).parent), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "nobody"


def missing(engine: Engine) -> str | None:
    """Why an engine cannot run here; None if it can."""
    return None if find_spec(engine.module) else f"{engine.module} is not installed"


def measure(
    jobs: Iterable[Job], rounds: int, seconds: float, left_out: dict[str, str], log: Callable[[str], None]
) -> list[Worker]:
    """Do all jobs side by side; the workers, with their samples, of those that went well.

    Parameters
    ----------
    jobs : iterable of Job
    rounds : int
    seconds : float
        About how long a turn is.
    left_out : dict
        Gets a reason for each job that failed, by its name and threads.
    log : callable
        Gets a line for each of them.
    """

    def failed(job: Job, error: Exception) -> None:
        name = f"{job.name}, threads {job.threads}"
        left_out[name] = str(error)
        log(f"{name}: left out, {error}")

    with contextlib.ExitStack() as stack:
        workers = _started(jobs, stack, failed)
        for turn in [_calibration(seconds)] + [Worker.take_turn] * rounds:
            for worker in list(workers):
                time.sleep(PAUSE_SECONDS)
                try:
                    turn(worker)
                except RuntimeError as error:
                    failed(worker.job, error)
                    workers.remove(worker)
    return workers


def _calibration(seconds: float) -> Callable[[Worker], None]:
    return lambda worker: worker.calibrate(seconds)


def _started(
    jobs: Iterable[Job], stack: contextlib.ExitStack, failed: Callable[[Job, Exception], None]
) -> list[Worker]:
    """Workers that are ready, in the jobs' order. They start and compile as many at a time as there are processors."""
    pool = ThreadPoolExecutor(available_cpus())
    starts = [(job, pool.submit(Worker, job)) for job in jobs]
    stack.callback(_close, [start for _, start in starts])
    # Called first: after Ctrl-C no further process starts.
    stack.callback(pool.shutdown, cancel_futures=True)
    workers = []
    for job, start in starts:
        try:
            workers.append(start.result())
        except RuntimeError as error:
            failed(job, error)
    return workers


def _close(starts: list[Future[Worker]]) -> None:
    for start in starts:
        if not start.cancelled() and start.exception() is None:
            start.result().close()


def summary(worker: Worker) -> dict[str, Any]:
    """A worker's figures: median and deciles of its samples in microseconds a step."""
    p10, median, p90 = (float(1e6 * value) for value in np.percentile(worker.samples, [10, 50, 90]))
    figures = {"median_us": median, "p10_us": p10, "p90_us": p90, "steps_per_turn": worker.steps}
    return {"engine": worker.job.name, "threads": worker.job.threads, **figures}


def check_losses(losses: list[float], expected: list[float]) -> dict[str, Any]:
    """How far an engine's first losses are from those expected, as a part of the first one, and whether it counts."""
    difference = float(np.max(np.abs(np.subtract(losses, expected)))) / expected[0]
    # JSON has no infinity.
    difference = min(difference, 1e300) if not math.isnan(difference) else 1e300
    return {"loss_difference": difference, "counted": difference <= LOSS_TOLERANCE}


def expected_losses(task: Task) -> list[float]:
    """The losses of the first steps, without dropout, of the course's code."""
    from fastfc.bench.engines import course_numpy

    checked = dataclasses.replace(task, keep=1.0)
    return course_numpy.steps(checked, 1)(CHECK_STEPS, checked.check_batches())


def best(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Engine -> its row at the better thread count, counted rows first."""
    ranked = sorted(rows, key=lambda row: (not row["counted"], row["median_us"]))
    return {row["engine"]: row for row in reversed(ranked)}
