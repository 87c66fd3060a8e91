"""``fastfc check`` under its public name; ``fastfc.ops.check`` carries it out."""

from fastfc.ops.check import run

__all__ = ["run"]
