"""The compiled training run: whole steps in one compiled call.

In the order in which data flows: ``memory.py`` says what a run has in memory, ``splitting.py`` how it is
split, ``layout.py`` where its parts lie, and ``plan.py`` makes it. ``data.py`` reads examples as they lie;
``forward.py``, ``backward.py`` and ``update.py`` are a step, whose passes over rows are in ``passes.py``, by
``columns.py``; ``epoch.py`` repeats it, ``inference.py`` predicts. ``compiling.py`` gets their machine code,
``run.py`` and ``predict.py`` drive it from Python, in ``parts.py`` that Ctrl-C can come between.
``capability.py`` says which trainings and predictions are compiled.

For trainings apart from the Solver: ``fit.py``; ``validation.py`` has the data by which it validates, and
``validating.py`` the kernel. ``own_loss.py`` is somebody's own loss in the place of the network's.

For somebody else's loop: ``entry.py`` has the passes of a step one by one, and ``calls.py`` their memory.

For the Solver, compiled or not: ``loop.py`` is its loop, over an engine that ``engine.py`` describes, ``run.py`` or
``generic.py``; ``options.py`` and ``checks.py`` check its arguments, and ``state.py`` is where it stands between two
calls; ``stopping.py`` has the stopping rules by which a compiled call ends.
"""

import itertools

from fastfc._runtime.threads import available_cpus, checked_count, get_num_threads
from fastfc.training.capability import refusal
from fastfc.training.network import Network

__all__ = ["refusal", "threads_for", "work_of_step"]

# Floating-point operations of a step from which a second thread pays, and those that each further one must have to do:
# some 15 and 30 microseconds of work.
_WORK_OF_TWO, _WORK_PER_THREAD = 1.5e6, 3e6


def threads_for(model: Network, batch: int, threads: int | None = None) -> int:
    """How many threads a run takes: `threads` if given, else the process's choice, else what pays."""
    chosen = checked_count("threads", threads) if threads is not None else get_num_threads()
    if chosen is None:
        work = work_of_step(model, batch)
        chosen = min(available_cpus(), max(1 if work < _WORK_OF_TWO else 2, int(work / _WORK_PER_THREAD)))
    return min(chosen, batch)


def work_of_step(model: Network, batch: int) -> float:
    """Floating-point operations of a training step's matrix products."""
    return 6.0 * batch * sum(d_in * d_out for d_in, d_out in itertools.pairwise(model.dims))
