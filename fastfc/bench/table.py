"""The speed of a network on the machine at hand: ``fastfc bench``."""

import ctypes.util
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastfc._runtime.threads import available_cpus, checked_count
from fastfc.bench.engines import ENGINES, Engine
from fastfc.bench.machine import environment, shown
from fastfc.bench.rounds import Job, best, check_losses, expected_losses, measure, missing, summary
from fastfc.bench.task import Task

__all__ = ["PEERS", "measured", "table"]

#: Name on the command line -> engines.
PEERS = {
    "torch": ["torch", "torch-compile", "torch-compile-step"],
    "jax": ["jax", "jax-loop"],
    "mlx": ["mlx"],
    "sklearn": ["sklearn"],
}

_OWN = ("fastfc", "numba", "numpy", "scipy")
_FAST = Engine("fastfc", "fastfc.bench.engines.own:fast", "fastfc", _OWN)
_REFERENCE = Engine("NumPy reference", "fastfc.bench.engines.own:reference", "fastfc", _OWN)
_ROUNDS, _SECONDS = 5, 0.05


def measured(
    task: Task,
    threads: Sequence[int] | None = None,
    peers: Sequence[str] = (),
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Time a training step and predictions, each engine in a process of its own, in turns.

    Parameters
    ----------
    task : Task
        The network and its batch.
    threads : sequence of int or None
        Numbers of threads to try; an engine's figure is that of its better one. None for 1 and
        as many as the process may use, where fastfc takes for a step what its Solver would take.
    peers : sequence of str
        Of :data:`PEERS`: those to time a step of, where they are installed.
    log : callable
        Gets a line for each engine that is left out.

    Returns
    -------
    dict
        What JSON can hold: date, machine, versions, task, ``left_out`` and ``rows``, which have
        the work, the examples that it is done for, engine, threads, microseconds (median and
        deciles), and whether the engine's losses are right, so that it counts.

    Raises
    ------
    ValueError
        For an unknown peer or a number of threads below 1.
    """
    for peer in peers:
        if peer not in PEERS:
            raise ValueError(f"peers: expected some of {', '.join(PEERS)}, got {peer!r}")
    counts = sorted({checked_count("threads", n) for n in threads or (1, available_cpus())})
    left_out: dict[str, str] = {}
    engines = {"fastfc": _FAST, "reference": _REFERENCE}
    for peer in peers:
        some = {name: ENGINES[name] for name in PEERS[peer]}
        reasons = [missing(engine) or engine.refuses(task) for engine in some.values()]
        # A library's engines have one reason.
        if reasons[0] is None:
            engines |= some
        else:
            left_out[peer] = reasons[0]
            log(f"{peer}: left out, {reasons[0]}")

    blas = ctypes.util.find_library("openblas") if "mlx" in engines else None
    jobs = []
    for name, engine in engines.items():
        for n in _own_threads(task) if name == "fastfc" and threads is None else counts:
            jobs.append(Job(name, engine.start, n, {}, task, True, blas if name == "mlx" else None))
    for rows, row_counts in ((1, counts[:1]), (task.batch, counts)):
        for name in ("fastfc", "reference"):
            start = f"{engines[name].start}_prediction"
            jobs += [Job(name, start, n, {"rows": rows}, task) for n in row_counts]

    expected = expected_losses(task)
    found = []
    for worker in measure(jobs, _ROUNDS, _SECONDS, left_out, log):
        if worker.job.check:
            work = {"work": "training step", "examples": task.batch} | check_losses(worker.losses, expected)
        else:
            work = {"work": "prediction", "examples": worker.job.arguments["rows"], "counted": True}
        found.append(work | summary(worker))
    return environment(name for engine in engines.values() for name in engine.distributions) | {
        "kind": "bench",
        "task": dataclasses.asdict(task),
        "mlx_blas": blas and Path(blas).name,
        "left_out": left_out,
        "rows": found,
    }


def _own_threads(task: Task) -> list[int]:
    from fastfc.bench.engines.own import network
    from fastfc.training import threads_for

    return [threads_for(network(task), task.batch)]


def table(report: dict[str, Any]) -> str:
    """A report of :func:`measured` as text."""
    titles = {"fastfc": _FAST.title, "reference": _REFERENCE.title} | {
        name: engine.title for name, engine in ENGINES.items() if name != "fastfc"
    }
    lines = [_shown_task(Task(**{**report["task"], "dims": tuple(report["task"]["dims"])}))]
    groups = dict.fromkeys((row["work"], row["examples"]) for row in report["rows"])
    for work, examples in groups:
        rows = best(row for row in report["rows"] if (row["work"], row["examples"]) == (work, examples))
        head = f"{work}, {examples} example{'s' if examples > 1 else ''}"
        lines += ["", f"{head:<32} {'threads':>7} {'µs':>10} {'lowest decile':>14} {'examples/s':>12} {'/ fastfc':>9}"]
        own = rows.get("fastfc")
        for name in (name for name in titles if name in rows):
            row = rows[name]
            rate = 1e6 * examples / row["median_us"]
            if not row["counted"]:
                times = "its losses differ from the course's: not counted"
            else:
                ratio = "-" if own is None or not own["counted"] else f"{row['median_us'] / own['median_us']:.2f}"
                figures = f"{_digits(row['median_us']):>10} {_digits(row['p10_us']):>14} {rate:>12,.0f} {ratio:>9}"
                times = f"{row['threads']:>7} {figures}"
            lines.append(f"  {titles[name]:<30} {times}")
    lines += ["", shown(report)]
    if any(row["engine"] == "mlx" for row in report["rows"]):
        lines.append(f"MLX with {report['mlx_blas'] or 'the BLAS of its wheel; an installed OpenBLAS would be used'}")
    lines += [f"left out: {name}, {reason}" for name, reason in report["left_out"].items()]
    return "\n".join(lines)


def _shown_task(task: Task) -> str:
    d_in, *hidden, classes = task.dims
    net = f"{d_in}-[{','.join(map(str, hidden))}]-{classes}, batch {task.batch}"
    kind = [task.normalization] if task.normalization else []
    return ", ".join([net, *kind, *([f"keep {task.keep:g}"] if task.keep < 1 else []), task.dtype, "Adam"])


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
