"""Activations: one record each. Their twins are in the modules ``activation`` of the reference and of the kernels."""

from dataclasses import dataclass

__all__ = ["ACTIVATIONS", "Activation"]


@dataclass(frozen=True)
class Activation:
    """An elementwise function between layers: the operations ``<name>_forward`` and ``<name>_backward``."""

    name: str

    @property
    def operations(self) -> tuple[str, ...]:
        return f"{self.name}_forward", f"{self.name}_backward"


#: Name -> activation.
ACTIVATIONS = {"relu": Activation("relu")}
