"""The extra's one library."""

from types import ModuleType

__all__ = ["NEEDED", "pandas"]

NEEDED = 'pip install "fastfc[tabular]"'


def pandas() -> ModuleType:
    """The module pandas; an ImportError that names the extra if it is missing."""
    try:
        import pandas as module
    except ImportError as error:
        raise ImportError(f"tables with other columns than numbers need pandas: {NEEDED}") from error
    return module
