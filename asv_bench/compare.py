"""One training step on the same work, by fastfc and by its peers, side by side.

    pip install ".[compare]"
    python asv_bench/compare.py --into asv_bench/results/steps.json
    python asv_bench/compare.py --kernels --into asv_bench/results/kernels.json
    python asv_bench/compare.py --variants plain --shapes "64-[100,100]-10@64" --quick

A step is: draw a batch from a data set in memory and gather it, forward, softmax loss, backward,
Adam, all in float32. Every engine runs in a process of its own, once per thread count, which stays
for all rounds of a row. The rounds are interleaved, A B C A B C, with a pause before each turn, in
which the threads of the engine before go to sleep. An engine's figure is that of its better thread
count, by the median.

Before it is timed, an engine trains some steps without dropout, from weights and on batches that
all engines share. If its losses differ from those of the course's code, it is marked and not counted.

The limit is what the machine would need at the least: the floating-point operations of the step's
matrix products (no input gradient for the first layer) at its best sgemm rate, plus 24 bytes of
optimizer traffic per parameter at the bandwidth of a triad; both take part in the same rounds.

A row of the table is a variant and a shape. ``--into`` writes each row as soon as it is measured in
place of the one that the file has, so that a table can be collected over several quiet spells.
``tables.py`` brings the files of the repository into the README and the documentation.

The wheels of MLX for Linux carry a reference BLAS. Give ``--mlx-blas`` the path of an OpenBLAS that
exports the usual names; one that the system's linker knows is found without.
"""

import argparse
import ctypes.util
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.shapes import STEPS, parse_shape
from limit import LIMIT_ENGINES, limit_seconds, rates
from operations import OPERATION_ENGINES, OPERATION_SHAPES, OPERATIONS
from report import tables

from fastfc._runtime.threads import available_cpus
from fastfc.bench.engines import ENGINES, Engine
from fastfc.bench.machine import environment
from fastfc.bench.rounds import Job, check_losses, expected_losses, measure, missing, summary
from fastfc.bench.task import Task
from fastfc.formats.atomic import replaced_file

#: Variant -> normalization, probability to keep a unit.
VARIANTS: dict[str, tuple[str | None, float]] = {
    "batchnorm + dropout": ("batchnorm", 0.8),
    "plain": (None, 1.0),
    "layernorm + dropout": ("layernorm", 0.8),
}
#: The layer normalizations' step differs from the batch normalizations' in few places: two nets stand for all.
SHAPES = {
    "batchnorm + dropout": STEPS,
    "plain": STEPS,
    "layernorm + dropout": ["64-[100,100]-10@64", "3072-[100,100,100,100]-10@100"],
}
QUICK_ROUNDS, QUICK_SECONDS = 5, 0.05

Row = dict[str, Any]


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def jobs_of(engine_name: str, engine: Engine, thread_counts: list[int], **options: Any) -> list[Job]:
    counts = [1] if engine.single_threaded else thread_counts
    return [Job(engine_name, engine.start, threads, **options) for threads in counts]


def able(engines: dict[str, Engine], names: list[str], task: Task | None, left_out: dict[str, str]) -> list[str]:
    """Those engines that are installed and can do the task; a reason for each of the others."""
    found = []
    for name in names:
        reason = missing(engines[name]) or (task and engines[name].refuses(task))
        if reason is None:
            found.append(name)
        else:
            left_out[engines[name].title] = reason
            log(f"  {name}: left out, {reason}")
    return found


def circumstances(engines: dict[str, Engine], options: argparse.Namespace) -> Row:
    installed = [engines[name] for name in options.engines if missing(engines[name]) is None]
    return environment(name for engine in installed for name in engine.distributions) | {
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds_per_turn": options.seconds,
    }


def step_rows(options: argparse.Namespace) -> Iterator[Row]:
    for variant in options.variants:
        for shape in options.shapes or SHAPES[variant]:
            yield step_row(variant, shape, options)


def step_row(variant: str, shape: str, options: argparse.Namespace) -> Row:
    normalization, keep = VARIANTS[variant]
    task = Task(*parse_shape(shape), normalization, keep)
    log(f"{shape} {variant}")
    left_out: dict[str, str] = {}
    names = able(ENGINES, options.engines, task, left_out)
    limits = [name for name, engine in LIMIT_ENGINES.items() if missing(engine) is None]
    jobs = [job for name in limits for job in jobs_of(name, LIMIT_ENGINES[name], options.threads)]
    for name in names:
        blas = options.mlx_blas if name == "mlx" else None
        jobs += jobs_of(name, ENGINES[name], options.threads, task=task, check=True, preload=blas)
    expected = expected_losses(task)
    workers = measure(jobs, options.rounds, options.seconds, left_out, lambda line: log(f"  {line}"))
    engines = []
    for worker in (one for one in workers if one.job.check):
        check = check_losses(worker.losses, expected)
        if not check["counted"]:
            difference = f"losses differ by {check['loss_difference']:.2g}"
            log(f"  {worker.job.name}, threads {worker.job.threads}: not counted, {difference}")
        engines.append(summary(worker) | check)
    best_rates = rates([one for one in workers if not one.job.check])
    limit = limit_seconds(task, best_rates)
    return (
        {"variant": variant, "shape": shape}
        | circumstances(ENGINES, options)
        | {
            "mlx_blas": options.mlx_blas and Path(options.mlx_blas).name,
            "rates": {str(threads): rate for threads, rate in best_rates.items()},
            "limit_us": None if limit is None else 1e6 * limit,
            "left_out": left_out,
            "engines": engines,
        }
    )


def kernel_rows(options: argparse.Namespace) -> Iterator[Row]:
    for operation, shape in itertools.product(options.variants, options.shapes or OPERATION_SHAPES):
        log(f"{operation} {shape[0]} x {shape[1]}")
        left_out: dict[str, str] = {}
        names = able(OPERATION_ENGINES, options.engines, None, left_out)
        arguments = {"operation": operation, "shape": shape}
        jobs = [
            job
            for name in names
            for job in jobs_of(name, OPERATION_ENGINES[name], options.threads, arguments=arguments)
        ]
        workers = measure(jobs, options.rounds, options.seconds, left_out, lambda line: log(f"  {line}"))
        yield (
            {"operation": operation, "shape": list(shape)}
            | circumstances(OPERATION_ENGINES, options)
            | {"left_out": left_out, "engines": [summary(worker) | {"counted": True} for worker in workers]}
        )


def key(row: Row) -> tuple[int, int, str]:
    """The identity of a row; also the order in a file: that of the lists, shapes of no list last."""
    if "operation" in row:
        shape = tuple(row["shape"])
        place = OPERATION_SHAPES.index(shape) if shape in OPERATION_SHAPES else len(OPERATION_SHAPES)
        return OPERATIONS.index(row["operation"]), place, str(shape)
    place = STEPS.index(row["shape"]) if row["shape"] in STEPS else len(STEPS)
    return list(VARIANTS).index(row["variant"]), place, row["shape"]


def merged(comparison: Row, row: Row) -> Row:
    """The comparison with this row in place of its older form."""
    rows = [other for other in comparison["rows"] if key(other) != key(row)]
    return {**comparison, "rows": sorted([*rows, row], key=key)}


def read_comparison(path: Path, kind: str) -> Row:
    """The comparison in a file, an empty one if there is no file."""
    if not path.exists():
        return {"kind": kind, "rows": []}
    comparison = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(comparison, dict) or comparison.get("kind") != kind:
        raise ValueError(f"{path}: expected a comparison of {kind}")
    return comparison


def write_comparison(path: Path, comparison: Row) -> None:
    with replaced_file(path) as file:
        file.write((json.dumps(comparison, indent=1) + "\n").encode())


def arguments(argv: list[str] | None) -> argparse.Namespace:
    everyone = sorted({1, available_cpus()})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shapes", nargs="+", metavar="SHAPE", help="such as 64-[100,100]-10@64, with --kernels such as 256x512"
    )
    parser.add_argument(
        "--variants", type=_words, metavar="LIST", help=f"of {', '.join(VARIANTS)}; with --kernels of operations"
    )
    parser.add_argument("--engines", type=_words, help="some instead of all; a row never mixes two runs")
    parser.add_argument("--threads", type=_counts, default=everyone, help="such as 1,2 (default: 1 and all)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a turn (default: %(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of turns of {QUICK_SECONDS} seconds"
    )
    parser.add_argument("--kernels", action="store_true", help="single operations instead of steps")
    parser.add_argument("--mlx-blas", default=ctypes.util.find_library("openblas"), metavar="LIBRARY")
    parser.add_argument("--into", type=Path, metavar="JSON", help="put the rows into this file")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write the table to a file too")
    options = parser.parse_args(argv)
    engines = OPERATION_ENGINES if options.kernels else ENGINES
    variants = OPERATIONS if options.kernels else list(VARIANTS)
    options.engines = list(engines) if options.engines is None else options.engines
    options.variants = variants if options.variants is None else options.variants
    if options.quick:
        options.rounds, options.seconds = QUICK_ROUNDS, QUICK_SECONDS
    if options.rounds < 1:
        parser.error("--rounds: expected a positive number")
    for option, known in (("variants", variants), ("engines", list(engines))):
        for name in getattr(options, option):
            if name not in known:
                parser.error(f"--{option}: {name} is not one of {', '.join(known)}")
    try:
        if options.shapes:
            options.shapes = [(_operand_shape if options.kernels else _net)(shape) for shape in options.shapes]
        if options.into is not None:
            read_comparison(options.into, "kernels" if options.kernels else "steps")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return options


def _net(shape: str) -> str:
    parse_shape(shape)
    return shape


def _operand_shape(shape: str) -> tuple[int, int]:
    rows, x, columns = shape.partition("x")
    if not (x and rows.isdecimal() and columns.isdecimal() and int(rows) > 0 and int(columns) > 0):
        raise ValueError(f"shape: expected rows x columns, such as 256x512, got {shape!r}")
    return int(rows), int(columns)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise ValueError
    return counts


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    kind, rows = ("kernels", kernel_rows) if options.kernels else ("steps", step_rows)
    comparison: Row = {"kind": kind, "rows": []}
    start = time.perf_counter()
    for row in rows(options):
        comparison = merged(comparison, row)
        if options.into is not None:
            write_comparison(options.into, merged(read_comparison(options.into, kind), row))
        log(f"  {time.perf_counter() - start:.0f} s")
    table = tables(comparison)
    print(table)
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
