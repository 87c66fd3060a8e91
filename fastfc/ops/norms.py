"""Normalizations: one record each. Their twins are in the modules ``norm`` of the reference and of the kernels."""

from typing import NamedTuple

__all__ = ["NORMS", "Norm"]


class Norm(NamedTuple):
    """A normalization of a layer's output.

    Parameters
    ----------
    name : str
        By which a network chooses it; its forward pass is the operation ``<name>_forward``.
    backwards : tuple of str
        The operations that undo it, all from the same cache.
    modes : tuple of str
        How its cache begins.
    """

    name: str
    backwards: tuple[str, ...]
    modes: tuple[str, ...]

    @property
    def operations(self) -> tuple[str, ...]:
        return f"{self.name}_forward", *self.backwards


_ALL = (
    Norm("batchnorm", ("batchnorm_backward", "batchnorm_backward_alt"), ("train", "test")),
    Norm("layernorm", ("layernorm_backward",), ("layer",)),
)

#: Name -> normalization.
NORMS = {norm.name: norm for norm in _ALL}
