"""Writes the README's tables, between their markers, from the comparisons in ``results/``.

    python asv_bench/tables.py
    python asv_bench/tables.py --check

With ``--check`` nothing is written; the exit code is 1 if the README says something else.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from report import FAMILIES, tables

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
#: Name in the marker -> file.
SOURCES = {name: FOLDER / "results" / f"{name}.json" for name in ("steps", "steps_avx2", "steps_intel", "kernels")}


def with_tables(text: str, found: dict[str, str]) -> str:
    """The text with what stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` replaced.

    Raises
    ------
    ValueError
        If a table has not exactly one place.
    """
    for name, table in found.items():
        place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        # A function: backslashes in a table mean nothing.
        text, count = place.subn(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", text)
        if count != 1:
            raise ValueError(f"expected the markers of table {name} once, found them {count} times")
    return text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether they agree")
    options = parser.parse_args(argv)
    text = README.read_text(encoding="utf-8")
    found = {name: tables(json.loads(path.read_text(encoding="utf-8")), FAMILIES) for name, path in SOURCES.items()}
    try:
        wanted = with_tables(text, found)
    except ValueError as error:
        print(f"{README.name}: {error}", file=sys.stderr)
        return 1
    if not options.check:
        README.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        print(f"{README.name} and asv_bench/results disagree; run python asv_bench/tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
