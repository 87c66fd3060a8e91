"""The fused blocks: affine - [normalization] - activation - [dropout].

A block is one parametrised function in each of three modules called ``layer_utils``; the names of the course and
those like them are aliases of it. There are names for blocks with ReLU alone.
"""

import functools

from fastfc.ops.norms import NORMS

__all__ = ["BLOCKS", "block_name"]


@functools.cache
def block_name(norm: str | None, dropout: bool, direction: str) -> str:
    """The name of a block's pass, `direction` being ``"forward"`` or ``"backward"``."""
    return "_".join(["affine", *([norm] if norm else []), "relu", *(["dropout"] if dropout else []), direction])


#: Every block that has a name: its normalization, and whether it ends in dropout.
BLOCKS = [(norm, dropout) for norm in (None, *NORMS) for dropout in (False, True)]
