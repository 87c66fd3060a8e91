"""``fastfc bench``: the speed of a network on this machine, beside NumPy and other libraries."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fastfc.cli._common import (
    CommandError,
    add_network_options,
    computing,
    count,
    reported,
    writing_results,
)

PEERS = ("torch", "jax", "mlx", "sklearn")

_EPILOG = """\
examples:
  fastfc bench
  fastfc bench --hidden 256,256 --input 784 --batch 128 --peers none
  fastfc bench --normalization none --keep 1 --threads 1,2 --json bench.json

Every engine runs in a process of its own, and they take turns; shown are medians over the turns.
A training step draws a batch from data in memory and gathers it, and updates by Adam. The first
run compiles kernels, as other libraries do in each run: with peers it takes a minute or two.
"""


def add_parser(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="time a network on this machine, beside NumPy and other libraries",
        description="Time a training step and predictions of a network on this machine: fastfc, its NumPy\n"
        "reference, and a step of PyTorch, JAX, MLX and scikit-learn where they are installed.",
        epilog=_EPILOG,
    )
    bench.set_defaults(run=run)
    bench.add_argument("--input", type=count, metavar="N", default=784, help="features (default: %(default)s)")
    bench.add_argument("--classes", type=count, metavar="N", default=10, help="(default: %(default)s)")
    bench.add_argument("--batch", type=count, metavar="N", default=128, help="examples a step (default: %(default)s)")
    add_network_options(bench, hidden="256,256", keep=0.8)
    bench.add_argument(
        "--threads",
        type=_thread_counts,
        metavar="LIST",
        help="numbers of threads to try, such as 1,4; the better one is shown (default: 1 and all; for a step fastfc "
        "takes what it takes in a training)",
    )
    bench.add_argument(
        "--peers",
        type=_peers,
        metavar="LIST",
        default="all",
        help=f"some of {', '.join(PEERS)}; all; or none (default: %(default)s that are installed)",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file too")


def _thread_counts(text: str) -> list[int]:
    try:
        return [count(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected positive whole numbers with commas between them, such as 1,4, got {text!r}"
        ) from None


def _peers(text: str) -> list[str]:
    if text in ("all", "none"):
        return list(PEERS) if text == "all" else []
    names = text.split(",")
    if not set(names) <= set(PEERS):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(PEERS)}, or all or none, got {text!r}")
    return names


def run(args: argparse.Namespace) -> int:
    if args.json is not None and not args.json.parent.is_dir():
        raise CommandError(f"--json {args.json}: there is no folder {args.json.parent}")
    with computing(None):
        from fastfc.bench.table import measured, table
        from fastfc.bench.task import Task
        from fastfc.formats.atomic import replaced_file

        normalization = None if args.normalization == "none" else args.normalization
        task = Task((args.input, *args.hidden, args.classes), args.batch, normalization, args.keep, args.dtype)
        with reported(MemoryError, OSError, what="cannot measure this network"):
            report = measured(task, args.threads, args.peers)
        if args.json is not None:
            with reported(OSError, what=f"cannot write {args.json}"), replaced_file(args.json) as file:
                file.write((json.dumps(report, indent=1) + "\n").encode())
        with writing_results():
            print(table(report), file=sys.stdout)
    return 0
