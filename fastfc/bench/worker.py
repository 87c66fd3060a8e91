"""One engine in a process of its own, which answers a line of JSON with a line of JSON.

Started by ``rounds.py``: ``python -m fastfc.bench.worker CONFIG``.
"""

import dataclasses
import importlib
import json
import os
import sys
import time
from typing import Any

from fastfc.bench.engines import Run
from fastfc.bench.task import CHECK_STEPS, Task

__all__ = ["calibrated", "main", "timed"]

#: A turn has at least so many steps: the first one finds cold caches and sleeping threads.
LEAST_STEPS = 3


def main(config: dict[str, Any]) -> None:
    """Set the engine up, then obey what standard input says, until it ends."""
    # Output of libraries must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    run, losses = _set_up(**config)
    n = 1
    answer(losses=losses)
    for line in sys.stdin:
        request = json.loads(line)
        if "calibrate" in request:
            n = calibrated(run, request["calibrate"])
            answer(steps=n)
        else:
            answer(seconds=timed(run, n) / n)
    # Threads of the libraries must not hold the process back.
    os._exit(0)


def _set_up(start: str, arguments: dict[str, Any], task: dict[str, Any] | None, check: bool) -> tuple[Run, Any]:
    """The run to time, and the losses of the first steps without dropout if they are to be checked."""
    module, _, name = start.partition(":")
    function = getattr(importlib.import_module(module), name)
    if task is None:
        return function(**arguments), None
    work = Task(**{**task, "dims": tuple(task["dims"])})
    if not check:
        return function(work, **arguments), None
    checked = dataclasses.replace(work, keep=1.0)
    run = function(checked, **arguments)
    losses = run(CHECK_STEPS, checked.check_batches())
    if work != checked:
        run = function(work, **arguments)
    # Compiled now, while other processes may be busy too.
    run(1)
    return run, losses


def timed(run: Run, n: int) -> float:
    """Seconds that n steps take."""
    start = time.perf_counter()
    run(n)
    return time.perf_counter() - start


def calibrated(run: Run, seconds: float) -> int:
    """The number of steps that take about `seconds`; they have run once, compiled and warm."""
    n = 1
    while True:
        run(n)
        taken = min(timed(run, n) for _ in range(2))
        if taken >= seconds / 3 or n >= 10**6:
            break
        n = max(2 * n, min(20 * n, int(n * seconds / taken)))
    n = max(LEAST_STEPS, round(n * seconds / taken))
    run(n)
    return n


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
