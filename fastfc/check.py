"""``fastfc check`` under its public name; :mod:`fastfc.ops.check` carries it out."""

from fastfc.ops.check import run

__all__ = ["run"]
