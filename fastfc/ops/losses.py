"""Losses: one record each. Their twins are in the modules ``loss`` of the reference and of the kernels."""

from dataclasses import dataclass

__all__ = ["LOSSES", "Loss"]


@dataclass(frozen=True)
class Loss:
    """A loss of scores and labels, with its gradient: the operation ``<name>_loss``."""

    name: str

    @property
    def operations(self) -> tuple[str, ...]:
        return (f"{self.name}_loss",)


#: Name -> loss.
LOSSES = {name: Loss(name) for name in ("softmax", "svm")}
