"""Inputs for every operation, under their public name; ``fastfc.ops.cases`` makes them."""

from fastfc.ops.cases import BUILDERS, Case, Sizes, build, largest_error, normal

__all__ = ["BUILDERS", "Case", "Sizes", "build", "largest_error", "normal"]
