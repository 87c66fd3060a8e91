"""The command ``fastfc``: train networks, predict with them, export them, check and time kernels, run a program.

Whatever a user can get wrong ends in one line on stderr and exit code 2. Streams that are
closed swallow what they are given, and exit codes stay what they are. NumPy, Numba and
the rest are imported by the commands that need them, so that ``fastfc --help`` is quick.

A command is a module with ``add_parser(commands)``, which adds it to the parser and sets
``run``, the function that carries it out: arguments -> exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastfc import __version__
from fastfc.cli import bench, check, export, predict, run, sweep, train
from fastfc.cli._common import BROKEN_PIPE, ERROR, EXIT_CODES, INTERRUPTED, CommandError, Parser, writing_results
from fastfc.cli._streams import usable_streams

__all__ = ["main"]

#: In the order in which the help shows them.
COMMANDS = (train, sweep, predict, export, check, bench, run)

_EPILOG = f"""\
examples:
  fastfc train
  fastfc predict model.npz fashion-mnist
  fastfc check
  fastfc run script.py

{EXIT_CODES}"""


def _parser() -> Parser:
    parser = Parser(
        prog="fastfc",
        description="Train fully connected networks, fast, on a CPU.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"fastfc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 done, 1 diverged or out of tolerance, 2 a mistake of the user's, 130 Ctrl-C, 141 a
        reader that went away.

    Raises
    ------
    SystemExit
        With code 2 for wrong options, and with code 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> main(["train", "--epochs", "5", "--out", "fashion.npz"])  # doctest: +SKIP
    0
    """
    with usable_streams():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    try:
        with writing_results():
            args = _parser().parse_args(argv)
        return args.run(args)
    except CommandError as error:
        print(f"fastfc: error: {error}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("fastfc: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
