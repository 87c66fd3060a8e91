"""``fastfc export``: write a network for other programs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fastfc.cli._common import reported

_EPILOG = """\
examples:
  fastfc export model.npz predict.py
  fastfc export model.npz model.c

The end of the new file's name says the format:
  .py         a Python module that needs NumPy only; its weights are in an .npz file beside it
  .c or .h    both of them: C99 that calls nothing but math.h
  .onnx       an ONNX model: X in, label and probabilities out
  .safetensors, .pt-names.npz
              arrays under PyTorch's names
"""


def add_parser(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a network for other programs",
        description="Write a network in the format of another program, or as one.",
        epilog=_EPILOG,
    )
    export.set_defaults(run=run)
    export.add_argument("model", metavar="MODEL", help="a file that fastfc train saved")
    export.add_argument("out", metavar="OUT", help="the new file; an older one of that name is replaced")
    export.add_argument(
        "--input-dtype",
        choices=["float32", "float64"],
        help="of .c and .onnx: type of the features that are put in (default: the network's)",
    )


def run(args: argparse.Namespace) -> int:
    from fastfc.formats.export import export, load_exported

    with reported(ImportError, OSError, ValueError, MemoryError):
        files = export(load_exported(args.model), args.out, input_dtype=args.input_dtype)
    print(", ".join(files), file=sys.stderr)
    return 0
