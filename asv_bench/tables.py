"""Writes the measured tables of the README and the documentation, between their markers, from ``results/``.

    python asv_bench/tables.py
    python asv_bench/tables.py --check

With ``--check`` nothing is written; the exit code is 1 if a page says something else.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import accuracy
import fits
import opennn
import scaling
from report import FAMILIES, tables

FOLDER = Path(__file__).parent
#: The pages with tables. A table has its place, its two markers, once in all of them.
PAGES = [FOLDER.parent / "README.md"]
PAGES += [FOLDER.parent / "docs" / page for page in ("performance.md", "sweeps.md", "tables.md")]
#: Name in the marker -> name of the comparison in ``results/``, and the variants that are shown, of fits those that are
#: not; None for all.
SOURCES: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "steps": ("steps", ("batchnorm + dropout", "plain")),
    "all_steps": ("steps", None),
    "steps_avx2": ("steps_avx2", None),
    "steps_intel": ("steps_intel", None),
    "kernels": ("kernels", None),
    "fits": ("fits", (", both in float32",)),
    "all_fits": ("fits", None),
    "fits_zen4": ("fits_zen4", (", both in float32",)),
    "sweeps": ("sweeps", None),
    "accuracy": ("accuracy", None),
    "opennn": ("opennn", None),
}
#: The processors of the table of threads.
SCALING = ("steps", "steps_avx2", "steps_intel")


def read(source: str) -> dict:
    """A comparison of ``results/``."""
    return json.loads((FOLDER / "results" / f"{source}.json").read_text(encoding="utf-8"))


def table_of(source: str, variants: tuple[str, ...] | None) -> str:
    """A comparison's table, of some variants or of all."""
    comparison = read(source)
    if comparison["kind"] == "fits":
        shown = [row for row in comparison["rows"] if variants is None or not row["row"].endswith(variants)]
        return fits.table(shown)
    if comparison["kind"] == "opennn":
        return opennn.table(comparison["rows"][0])
    if comparison["kind"] == "accuracy":
        return accuracy.table(comparison["rows"])
    if variants is not None:
        comparison["rows"] = [row for row in comparison["rows"] if row["variant"] in variants]
    return tables(comparison, FAMILIES)


def with_tables(texts: list[str], found: dict[str, str]) -> list[str]:
    """The texts with everything between ``<!-- table: NAME -->`` and ``<!-- end -->`` replaced.

    Raises
    ------
    ValueError
        If a table has not exactly one place in all of the texts.
    """
    texts = list(texts)
    for name, table in found.items():
        place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        total = 0
        for i, text in enumerate(texts):
            # A function: backslashes in a table mean nothing.
            texts[i], count = place.subn(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", text)
            total += count
        if total != 1:
            raise ValueError(f"expected the markers of table {name} once, found them {total} times")
    return texts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether they agree")
    options = parser.parse_args(argv)
    names = " and ".join(page.name for page in PAGES)
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    try:
        found = {name: table_of(*source) for name, source in SOURCES.items()}
        found["scaling"] = scaling.table([read(source) for source in SCALING])
        wanted = with_tables(texts, found)
    except ValueError as error:
        print(f"{names}: {error}", file=sys.stderr)
        return 1
    changed = [(page, new) for page, old, new in zip(PAGES, texts, wanted, strict=True) if old != new]
    if not options.check:
        for page, new in changed:
            page.write_text(new, encoding="utf-8")
    elif changed:
        wrong = ", ".join(page.name for page, _ in changed)
        print(f"{wrong} and asv_bench/results disagree; run python asv_bench/tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
