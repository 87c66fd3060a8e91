"""The data of ``fastfc train``: loaded, with a validation part, and checked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc._defaults import val_fraction
from fastfc.cli._common import CommandError, check_values, reported, table_options, warnings_told

if TYPE_CHECKING:
    import argparse

    import numpy as np

_PICTURE_COLUMNS = 64
# Fewer rows for validation tell too little.
_FEW_ROWS = 20


def training_data(args: argparse.Namespace) -> dict[str, Any]:
    """Load the data, with a validation part, and make sure that its parts go together.

    Of a table with other columns than numbers there is also its `description`, for the model's file.
    """
    with reported(ImportError, OSError, ValueError, MemoryError), warnings_told():
        data = _from_frame(args) if _asks_for_frame(args) else _loaded(args)
    if len(data.get("class_names", "01")) < 2:
        other = "; --target names another column" if is_table(args) else ""
        raise CommandError(f"{args.data}: all labels are {data['class_names'][0]}; expected two classes or more{other}")
    if "y_val" not in data:
        rows = len(data["X_train"])
        share = val_fraction(rows) if args.val_fraction is None else args.val_fraction
        with reported(ValueError, MemoryError, what=f"{args.data}: no examples for validation"):
            _hold_out(data, share, args.seed)
    first = data["X_train"]
    for key in ("X_train", "X_val", "X_test"):
        if key not in data:
            continue
        X = data[key]
        if X.shape[1:] != first.shape[1:] or (X.dtype == "uint8") != (first.dtype == "uint8"):
            raise CommandError(
                f"{args.data}: X_train has examples of shape {first.shape[1:]}, {first.dtype}, "
                f"{key} of shape {X.shape[1:]}, {X.dtype}"
            )
        check_values(X, args.dtype, f"{args.data}: {key}", data.get("feature_names"))
    _weigh(args, data)
    return data


def _loaded(args: argparse.Namespace) -> dict[str, Any]:
    """The data as it is; a table with other columns than numbers by way of a frame, where there is the extra."""
    from fastfc.data_utils import load_dataset
    from fastfc.formats.table_options import MissingCellError, NotNumericError

    looked_for = args.task != "auto" or is_table(args)
    try:
        return load_dataset(args.data, **table_options(args), task=args.task if looked_for else None)
    except NotNumericError as error:
        # Words are no missing values: a frame tells whether there are any beside them.
        if not _takes_frames(args) or (args.missing == "error" and isinstance(error, MissingCellError)):
            raise
        if importlib.util.find_spec("pandas") is None:
            raise ValueError(f"{error}; or {_extra()}, with which fastfc train takes such columns") from error
        return _from_frame(args)


def _extra() -> str:
    from fastfc.tabular._pandas import NEEDED

    return NEEDED


def _takes_frames(args: argparse.Namespace) -> bool:
    """Whether the command trains on tables of mixed columns; fastfc sweep does not."""
    return hasattr(args, "groups")


def _asks_for_frame(args: argparse.Namespace) -> bool:
    """Whether only a frame will do: for Parquet, for rows that are held out by a column, for a preset and members."""
    by_column = [name for name in ("groups", "time") if getattr(args, name, None) is not None]
    if by_column and not is_table(args):
        raise ValueError(f"--{by_column[0]} names a column of a table; {args.data} is none")
    if getattr(args, "preset", None) is not None or getattr(args, "members", 1) > 1:
        return True
    return bool(by_column) or (_takes_frames(args) and Path(args.data).suffix.lower() in (".parquet", ".pq"))


def _from_frame(args: argparse.Namespace) -> dict[str, Any]:
    from fastfc.formats.table_options import TableOptions
    from fastfc.tabular._prepare import SplitOptions, prepare
    from fastfc.tabular._read import read_to_train

    path = Path(args.data)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    frame, target, notes = read_to_train(path, TableOptions(**table_options(args), task=args.task))
    split = SplitOptions(args.groups, args.time, args.val_fraction, args.seed)
    prepared = prepare(frame, target, task=args.task, split=split, missing=args.missing)
    prepared.data["notes"] = [*notes, *prepared.data["notes"]]
    return prepared.data | {"description": prepared.description}


def _hold_out(data: dict[str, Any], share: float, seed: int) -> None:
    """Move a share of the training data to validation: of each class, or of each tenth of the numbers to predict."""
    from fastfc.tabular._split import held_out

    train, val = held_out(data["y_train"], share, seed)
    for name in ("X", "y"):
        whole = data[f"{name}_train"]
        data[f"{name}_train"], data[f"{name}_val"] = whole[train], whole[val]


def _weigh(args: argparse.Namespace, data: dict[str, Any]) -> None:
    """Weights of the rows to train on, by their classes."""
    class_weight = getattr(args, "class_weight", None)
    if class_weight is None:
        return
    if "class_names" not in data:
        raise CommandError("--class-weight is for classes; this training predicts numbers")
    from fastfc.tabular._split import weights_of_rows

    with reported(ValueError, what="--class-weight"):
        weights = data["weights_train"] = weights_of_rows(data["y_train"], class_weight, data["class_names"])
    data.setdefault("notes", []).append(f"class weights: from {weights.min():.3g} to {weights.max():.3g}, in the loss")


def is_table(args: argparse.Namespace) -> bool:
    """Whether the data is a table in a file."""
    from fastfc.formats.table import has_table_suffix

    path = Path(args.data)
    return has_table_suffix(path) or path.suffix.lower() in (".parquet", ".pq")


def has_pictures(X: np.ndarray) -> bool:
    """Whether examples are bytes, or rows of a table that must have been bytes of pictures."""
    if X.dtype == "uint8":
        return True
    if X.ndim != 2 or X.shape[1] < _PICTURE_COLUMNS or X.min() < 0 or not 128 <= X.max() <= 255:
        return False
    return bool((X.astype("uint8") == X).all())


def tell(data: dict[str, Any]) -> None:
    """Say what was taken for what."""
    lines = list(data.get("notes", []))
    held_out = len(data["y_val"])
    if held_out < _FEW_ROWS:
        lines.append(
            f"warning: few rows for validation ({held_out}), one is {100 / held_out:.0f} % of its "
            f"{'accuracy' if 'class_names' in data else 'R2'}; "
            "--val-fraction holds out more where the data has no part of its own"
        )
    for line in lines:
        print(f"fastfc: {line}", file=sys.stderr)
