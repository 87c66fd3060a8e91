"""The network that a run works on, as far as the run knows it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from fastfc.params import FlatParameters

__all__ = ["Network"]


class Network(Protocol):
    """A described network and its arrays: ``{affine - [norm] - activation - [dropout]} x (L - 1) - affine - softmax``.

    :class:`fastfc.FullyConnectedNet` is one.
    """

    dtype: Any
    normalization: str | None
    #: The name of a record in :mod:`fastfc.ops.activations`.
    activation: str
    #: The name of a record in :mod:`fastfc.ops.losses`, and the loss's parameter.
    loss_name: str
    loss_parameter: float
    use_dropout: bool
    #: ``p``, the probability to keep a value, and ``seed``.
    dropout_param: dict[str, Any]
    #: Of each hidden layer, what its normalization has beside its parameters.
    bn_params: list[dict[str, Any]]
    reg: float
    #: The numbers that are taken from an example's features, and by which they are multiplied then; None for none.
    input_mean: ArrayLike | None
    input_scale: ArrayLike | None
    #: Memory of predictions that is free to be used again.
    plans: dict[Any, list[Any]]

    @property
    def dims(self) -> Sequence[int]:
        """Features, widths of the hidden layers, outputs."""

    @property
    def params(self) -> FlatParameters:
        """``W1, b1, ...`` and, with normalization, ``gamma1, beta1, ...`` in one buffer."""

    def per_feature(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """`input_mean` or `input_scale` in the shape of an example, or a number."""
