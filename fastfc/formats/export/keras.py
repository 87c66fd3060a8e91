"""Networks as lists of weights in Keras's order, without Keras."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.export.description import array_names, describe, make_network
from fastfc.formats.export.estimators import network_of

__all__ = ["from_keras_weights", "to_keras_weights"]

#: Vectors that follow a kernel -> whether there is a bias among them, and the normalization they belong to.
_VECTORS = {
    0: (False, None),
    1: (True, None),
    2: (False, "layernorm"),
    3: (True, "layernorm"),
    4: (False, "batchnorm"),
    5: (True, "batchnorm"),
}


def to_keras_weights(net: FullyConnectedNet | Any) -> list[NDArray[Any]]:
    """A network's arrays in the order of ``model.get_weights()``, to be set by ``model.set_weights``.

    The model is a ``keras.Sequential`` of, for each hidden layer, ``Dense``, then ``BatchNormalization`` or
    ``LayerNormalization`` if the network has a normalization, and layers without weights; last there is a ``Dense``.

    Parameters
    ----------
    net : FullyConnectedNet, Network, or a fitted MLPClassifier or MLPRegressor
        As for :func:`fastfc.export`.

    Returns
    -------
    list of array
        Copies: kernel (inputs, outputs) and bias of each ``Dense``; gamma and beta of a normalization, and the moving
        mean and variance of a batch normalization.

    Raises
    ------
    TypeError, ValueError
        As for :func:`fastfc.export`.

    Notes
    -----
    Numbers are not among the weights: make the normalizations with ``epsilon=1e-5`` and ``momentum=0.9``, or the
    network's own (Keras's defaults are 1e-3 and 0.99). The momentum means the same in both. The standardization of
    inputs is not among them either.

    Examples
    --------
    >>> from fastfc import FullyConnectedNet, to_keras_weights
    >>> net = FullyConnectedNet([8], input_dim=4, num_classes=3, normalization="batchnorm")
    >>> [array.shape for array in to_keras_weights(net)]
    [(4, 8), (8,), (8,), (8,), (8,), (8,), (8, 3), (3,)]
    """
    d = describe(network_of(net))
    return [
        np.array(d.arrays[name]) for i in range(1, d.layers + 1) for name in array_names(d.layers, d.normalization, i)
    ]


def from_keras_weights(
    weights: Sequence[ArrayLike],
    *,
    activation: str = "relu",
    loss: str = "softmax",
    eps: float = 1e-3,
    momentum: float = 0.99,
    dropout_keep_ratio: float = 1,
) -> FullyConnectedNet:
    """Make a network of ``model.get_weights()``.

    The model is a stack of ``Dense`` layers, each but the last one followed by ``BatchNormalization``, or each by
    ``LayerNormalization``, or none by any, and by the same activation.

    Parameters
    ----------
    weights : sequence of arrays
        In the shapes that Keras gives them: a kernel is (inputs, outputs). A ``Dense`` may have no bias. A
        normalization stands before the activation and has its scale and its shift: arrays of one after it, or made
        with ``center=False`` or ``scale=False``, cannot be told from these and make another network.
    activation, loss : str
        As for :class:`fastfc.FullyConnectedNet`: weights do not say them. A model with one output needs
        ``loss="logistic"``, ``"squared"`` or another that does not tell classes apart.
    eps, momentum : float
        Of the normalization; by default Keras's defaults.
    dropout_keep_ratio : float
        1 - rate of the model's dropout, for a training that goes on.

    Returns
    -------
    FullyConnectedNet
        In float64 if one of the arrays is, else in float32. NumPy's global random stream stays where it is.

    Raises
    ------
    ValueError
        If the arrays are not those of such a stack, or an option is out of range.
    TypeError
        If `weights` is no sequence, or a number is none.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfc import from_keras_weights
    >>> from_keras_weights([np.ones((4, 8)), np.zeros(8), np.ones((8, 3)), np.zeros(3)]).dims
    [4, 8, 3]
    """
    if not isinstance(weights, Iterable):
        raise TypeError(
            f"weights: expected a list of arrays, as model.get_weights() gives it, got {type(weights).__name__}"
        )
    layers: list[list[NDArray[Any]]] = []
    for place, value in enumerate(weights):
        array = np.asarray(value)
        if array.dtype.kind != "f" or array.ndim not in (1, 2) or (array.ndim == 1 and not layers):
            raise ValueError(
                f"weights[{place}]: expected a kernel of two axes or a vector after one, of floating-point numbers, "
                f"got shape {array.shape} and dtype {array.dtype}"
            )
        if array.ndim == 2:
            layers.append([])
        layers[-1].append(array)
    kinds = [_VECTORS.get(len(layer) - 1, (True, "another")) for layer in layers]
    normalizations = [name for _, name in kinds]
    normalization = normalizations[0] if normalizations else None
    if not layers or normalization == "another" or normalizations != [*[normalization] * (len(layers) - 1), None]:
        raise ValueError(
            "weights: expected the arrays of Dense layers, each but the last one with the same normalization or none "
            f"with any; got kernels followed by {[len(layer) - 1 for layer in layers]} vectors"
        )
    arrays: dict[str, NDArray[Any]] = {}
    for i, (layer, (has_bias, _)) in enumerate(zip(layers, kinds, strict=True), start=1):
        names = [name for name in array_names(len(layers), normalization, i) if has_bias or name != f"b{i}"]
        arrays |= zip(names, layer, strict=True)
        arrays.setdefault(f"b{i}", np.zeros(layer[0].shape[1], layer[0].dtype))
    return make_network(
        arrays,
        len(layers),
        normalization,
        activation=activation,
        loss=loss,
        eps=eps,
        momentum=momentum,
        dropout_keep_ratio=dropout_keep_ratio,
    )
