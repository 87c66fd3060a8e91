"""The options for reading a text table, and the columns that a model takes of one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

__all__ = ["TASKS", "MissingCellError", "ModelColumns", "NotNumericError", "TableOptions"]

TASKS = ("classification", "regression")


class NotNumericError(ValueError):
    """A table has words, dates or missing values among its features."""


class MissingCellError(NotNumericError):
    """A table whose columns to learn from have numbers, with a cell that has none."""


@dataclass(frozen=True)
class TableOptions:
    """A caller's options for a text table; None is to look and decide."""

    target: str | int | None = None
    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: str | None = None
    drop: Sequence[str | int] | str | int = ()
    task: str | None = None  # None for classification, whose labels must not look like numbers to predict

    def refuse_for(self, source: object) -> None:
        """Raise ValueError if one of them is given for data that is no text table."""
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None and value != ():
                use = "names a column of a .csv file" if option.name == "target" else "is for text tables (.csv, ...)"
                raise ValueError(f"{option.name}={value!r} {use}; {source} is none")

    def check(self) -> None:
        """Raise ValueError for values that cannot be."""
        if self.header is not None and not isinstance(self.header, bool):
            raise ValueError(f"header={self.header!r} (--header): expected True, False or None (yes, no)")
        if self.task not in (None, *TASKS, "auto"):
            raise ValueError(f"task={self.task!r} (--task): expected {', '.join(map(repr, TASKS))} or 'auto'")
        if self.missing not in (None, "drop"):
            raise ValueError(f"missing={self.missing!r} (--missing): expected None (error) or 'drop'")

    def dropped(self) -> list[str | int]:
        """The columns to leave out, each a name or a number."""
        return [self.drop] if isinstance(self.drop, str | int) else list(self.drop)


@dataclass(frozen=True)
class ModelColumns:
    """The columns that a model takes, and its classes."""

    num_features: int | None = None
    class_names: Sequence[str] | None = None
    feature_names: Sequence[str] | None = None
    target_name: str | None = None
