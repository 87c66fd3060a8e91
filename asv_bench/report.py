"""A comparison as a table in Markdown. ``results/*.json`` are comparisons; see ``compare.py``."""

from collections.abc import Iterable
from typing import Any

from operations import OPERATION_ENGINES

from fastfc.bench.engines import ENGINES
from fastfc.bench.machine import shown
from fastfc.bench.rounds import best

__all__ = ["EVERY_ENGINE", "FAMILIES", "tables"]

Row = dict[str, Any]
#: Heading -> engines, of which the fastest one counts.
EVERY_ENGINE = {engine.title: [name] for name, engine in ENGINES.items()}
FAMILIES = {
    "fastfc": ["fastfc"],
    "course NumPy": ["numpy"],
    "PyTorch": ["torch", "torch-compile", "torch-compile-step"],
    "JAX": ["jax", "jax-loop"],
    "TensorFlow": ["tensorflow"],
    "MLX": ["mlx"],
    "tinygrad": ["tinygrad"],
    "scikit-learn": ["sklearn"],
}


def tables(comparison: dict[str, Any], columns: dict[str, list[str]] = EVERY_ENGINE) -> str:
    """All of a comparison's tables, and under them where, when and how it was measured.

    Parameters
    ----------
    comparison : dict
        ``kind``, ``"steps"`` or ``"kernels"``, and ``rows``.
    columns : dict
        Of the tables of steps.
    """
    kind, rows = comparison["kind"], comparison["rows"]
    notes = list(dict.fromkeys(map(_note, rows)))
    # Numbers only where the rows' circumstances differ.
    marks = {note: f" [{i}]" if len(notes) > 1 else "" for i, note in enumerate(notes, 1)}
    if kind == "steps":
        variants = list(dict.fromkeys(row["variant"] for row in rows))
        parts = [
            f"**{variant}**\n\n" + _steps([row for row in rows if row["variant"] == variant], columns, marks)
            for variant in variants
        ]
    else:
        parts = [_kernels(rows, marks)]
    parts += [f"{marks[note]} {note}".strip() for note in notes]
    left_out = dict.fromkeys(f"{name} ({reason})" for row in rows for name, reason in row["left_out"].items())
    if left_out:
        parts.append(f"Left out where there is a dash: {'; '.join(left_out)}.")
    return "\n\n".join(parts) + "\n"


def _note(row: Row) -> str:
    """Where, when and how a row was measured."""
    threads = " and ".join(map(str, row["threads"]))
    with_blas = ""
    if any(one["engine"] == "mlx" for one in row["engines"]):
        with_blas = f" MLX with {row['mlx_blas'] or 'the BLAS of its wheel'}."
    turns = f"{row['rounds']} rounds of {row['seconds_per_turn']:g} s"
    return f"{shown(row)}. Threads {threads}; {turns}, medians, in brackets the lowest deciles.{with_blas}"


def _steps(rows: list[Row], columns: dict[str, list[str]], marks: dict[str, str]) -> str:
    present = {one["engine"] for row in rows for one in row["engines"]}
    peers = {title: names for title, names in columns.items() if title != "fastfc" and present.intersection(names)}
    head = ["net@batch", "fastfc, µs", "threads", *peers, "limit, µs", "fastfc / limit"]
    lines = []
    for row in rows:
        engines = best(row["engines"])
        own = engines.get("fastfc")
        cells = [row["shape"] + marks[_note(row)], _time(own), "-" if own is None else str(own["threads"])]
        for names in peers.values():
            some = best({**one, "engine": "any"} for name, one in engines.items() if name in names)
            cells.append(_ratio(some.get("any"), own))
        limit = row["limit_us"]
        cells.append("-" if limit is None else _number(limit))
        cells.append("-" if limit is None or own is None else f"{own['median_us'] / limit:.2f}")
        lines.append(cells)
    return _markdown(head, lines, 1)


def _kernels(rows: list[Row], marks: dict[str, str]) -> str:
    present = {(one["engine"], one["threads"]) for row in rows for one in row["engines"]}
    peers = [
        (name, threads)
        for name in OPERATION_ENGINES
        for threads in sorted(threads for other, threads in present if other == name)
        if name != "fastfc"
    ]
    head = ["operation", "shape", "fastfc, µs"]
    head += [
        OPERATION_ENGINES[name].title + ("" if OPERATION_ENGINES[name].single_threaded else f", {_threads(threads)}")
        for name, threads in peers
    ]
    lines = []
    for row in rows:
        engines = {(one["engine"], one["threads"]): one for one in row["engines"]}
        own = engines.get(("fastfc", 1))
        cells = [row["operation"] + marks[_note(row)], "{} x {}".format(*row["shape"]), _time(own)]
        lines.append([*cells, *(_ratio(engines.get(peer), own) for peer in peers)])
    return _markdown(head, lines, 2)


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def _time(one: Row | None) -> str:
    if one is None:
        return "-"
    return f"{_number(one['median_us'])} ({_number(one['p10_us'])})" + ("" if one["counted"] else " differs")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _ratio(one: Row | None, own: Row | None) -> str:
    """Times of `one` over fastfc's: of the medians, in brackets of the lowest deciles."""
    if one is None or own is None:
        return "-"
    if not one["counted"]:
        return "differs"
    return f"{one['median_us'] / own['median_us']:.2f} ({one['p10_us'] / own['p10_us']:.2f})"


def _markdown(head: list[str], lines: Iterable[list[str]], words: int) -> str:
    """A table whose first columns hold words, the others numbers."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])
