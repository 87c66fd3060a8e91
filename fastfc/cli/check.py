"""``fastfc check``: compare every compiled kernel with NumPy on this machine."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fastfc.cli._common import computing, writing_results


def add_parser(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="compare every compiled kernel with NumPy on this machine",
        description="Run every operation in both implementations: largest error and speed ratio.\n"
        "Ends with exit code 1 if a kernel is out of tolerance.",
    )
    check.set_defaults(run=run)
    check.add_argument(
        "--dtype", choices=["float32", "float64"], nargs="+", metavar="DTYPE", help="float32, float64 (default: both)"
    )


def run(args: argparse.Namespace) -> int:
    with computing(None), writing_results():
        from fastfc.ops import check

        return check.run(args.dtype, sys.stdout)
