"""How a training step scales over threads, as a table of the comparisons in ``results/``."""

import string
from typing import Any

__all__ = ["table"]

VARIANT = "batchnorm + dropout"


def table(comparisons: list[dict[str, Any]]) -> str:
    """For each comparison, a processor's: fastfc's time with one thread, and how many times as fast two are."""
    rows = [[row for row in each["rows"] if row["variant"] == VARIANT] for each in comparisons]
    names = [found[0]["machine"]["cpu"] for found in rows]
    shapes = list(dict.fromkeys(row["shape"] for found in rows for row in found))
    letters = string.ascii_uppercase[: len(rows)]
    head = ["net@batch", *(f"{letter}, {text}" for letter in letters for text in ("1 thread, µs", "2 threads"))]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for shape in shapes:
        cells = [shape]
        for found in rows:
            cells += next((_cells(row) for row in found if row["shape"] == shape), ["-", "-"])
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"{letter}: {name}, {found[0]['date']}" for letter, name, found in zip(letters, names, rows, strict=True)]
    return "\n".join(lines) + "\n\n" + "; ".join(notes) + f". Steps with {VARIANT}, medians.\n"


def _cells(row: dict[str, Any]) -> list[str]:
    times = {one["threads"]: one["median_us"] for one in row["engines"] if one["engine"] == "fastfc"}
    one = times.get(1)
    if one is None:
        return ["-", "-"]
    return [f"{one:,.0f}" if one >= 1000 else f"{one:.3g}", f"{one / times[2]:.2f} x" if 2 in times else "-"]
