"""The extra's one library, and its frames."""

from collections.abc import Container
from types import ModuleType
from typing import Any

__all__ = ["NEEDED", "pandas", "require_frame", "with_text_names"]

NEEDED = 'pip install "fastfc[tabular]"'


def pandas() -> ModuleType:
    """The module pandas; an ImportError that names the extra if it is missing."""
    try:
        import pandas as module
    except ImportError as error:
        raise ImportError(f"tables with other columns than numbers need pandas: {NEEDED}") from error
    return module


def require_frame(frame_or_path: Any) -> None:
    """Raise TypeError unless this, which is no path, is a frame."""
    if not isinstance(frame_or_path, pandas().DataFrame):
        found = type(frame_or_path).__name__
        if hasattr(frame_or_path, "to_pandas") and hasattr(frame_or_path, "columns"):
            found += ", whose to_pandas() makes one"
        raise TypeError(f"frame_or_path: expected a pandas.DataFrame or a path, got {found}")


def with_text_names(frame: Any, used: Container[str] | None = None) -> Any:
    """A frame whose columns have texts for names; ValueError if a name, of those in `used`, is there twice."""
    if frame.columns.nlevels > 1:
        found = f"{frame.columns.nlevels} levels of names"
        raise ValueError(f"frame_or_path: expected columns of one name each, got {found}")
    frame = frame.rename(columns=str)
    for name in frame.columns[frame.columns.duplicated()]:
        if used is None or name in used:
            raise ValueError(f"frame_or_path: expected columns of different names, got {name!r} twice")
    return frame
