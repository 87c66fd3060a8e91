"""``fastfc export``: write a network for other programs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fastfc.cli._common import reported

# Exported, its network would be given raw columns without a word; and `model.py` would replace `model.npz`.
_TABLE = (
    "prepares the columns of a table before its network, which no other format can say; predict with fastfc predict"
)

_EPILOG = """\
examples:
  fastfc export model.npz predict.py
  fastfc export model.npz model.c

The extension of the new file selects the format:
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
    export.add_argument(
        "model", metavar="MODEL", help="a file that fastfc train or fastfc export wrote, or an .onnx file"
    )
    export.add_argument(
        "out",
        metavar="OUT",
        help="the new file; an older one of that name is replaced, and with .py, .c and .h also the one beside it",
    )
    export.add_argument(
        "--input-dtype",
        choices=["float32", "float64"],
        help="of .c and .onnx: type of the features that are put in (default: the network's)",
    )


def run(args: argparse.Namespace) -> int:
    from fastfc.formats.export import export, load_exported
    from fastfc.tabular._model import has_table

    with reported(ImportError, OSError, ValueError, MemoryError):
        if has_table(args.model):
            raise ValueError(f"{args.model}: this model {_TABLE}")
        files = export(load_exported(args.model), args.out, input_dtype=args.input_dtype)
    print(", ".join(files), file=sys.stderr)
    return 0
