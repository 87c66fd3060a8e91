"""``fastfc run``: run a program whose cs231n is fastfc.

The program gets a Python process of its own, the usual one but for ``sitecustomize``: so its
``__main__``, tracebacks, exit code, signals and child processes are as ever, without a line
here that imitates them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastfc
from fastfc.cli._common import CommandError, reported

_STARTUP = str(Path(fastfc.__file__).resolve().parent / "course" / "startup")

_DESCRIPTION = """\
Run a Python program with imports of cs231n answered by fastfc, and everything else as with
plain python. In a notebook: %load_ext fastfc, before the imports.
"""

_EPILOG = """\
examples:
  fastfc run train.py --epochs 10
  fastfc run -m experiments.search
  fastfc run -m notebook
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="run a program of the course with fastfc as its cs231n",
        usage="fastfc run [--help] [--legacy 2017] [-m] PROGRAM [ARGUMENT ...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--legacy", choices=["2017"], help="the program is of 2016 or 2017: dropout is the probability to drop"
    )
    parser.add_argument("-m", action="store_true", help="PROGRAM is a module's name, as in python -m")
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="a script, and the arguments that it gets"
    )


def run(args: argparse.Namespace) -> int:
    if not args.program:
        raise CommandError("run: expected a script, or -m and a module's name (see fastfc run --help)")
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise CommandError("run: does not work under python's options -E, -I and -S")
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [_STARTUP, os.environ.get("PYTHONPATH")]))
    if args.legacy is not None:
        environment["FASTFC_LEGACY"] = args.legacy
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    command = [sys.executable, *options, *(["-m"] if args.m else []), *args.program]
    with reported(OSError, what="run"):
        if os.name == "nt":
            # There exec would end this process at once, and the shell would not wait for the new one.
            return subprocess.run(command, env=environment, check=False).returncode
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, command, environment)
