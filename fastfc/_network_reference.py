"""The passes of :class:`fastfc.network.Network` by the operations of whatever backend is chosen, layer by layer."""

from typing import Any

import numpy as np

from fastfc._runtime.stream import state_of_words, words_of
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.model import STATISTICS
from fastfc.layer_utils import block_of
from fastfc.layers import affine_backward, affine_forward
from fastfc.params import FlatParameters

__all__ = ["backward_by_reference", "forward_by_reference"]


def forward_by_reference(
    net: FullyConnectedNet, keep: float, words: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, list[Any]]:
    """Scores (N, C) of x (N, D) in training mode, and what the way back needs.

    Running statistics change in their place, and so do the words of the random stream that dropout is drawn from.
    """
    forward, _ = block_of(net.normalization, net.activation, False)
    stream = np.random.RandomState(0)
    stream.set_state(state_of_words(words))
    # The caller may change his batch before the way back.
    x, kept = x.copy(), []
    for i in range(1, net.num_layers):
        own = net.bn_params[i - 1 : i]
        params = [{**param, "mode": "train"} for param in own]
        x, cache = forward(x, *(net.params[name] for name in net._block_names(i)), *params)
        if net.normalization == "batchnorm":
            for key in STATISTICS:
                own[0][key][:] = params[0][key]
        mask = None
        if keep < 1:
            mask = ((stream.random_sample(x.shape) < keep) / keep).astype(x.dtype)
            x = x * mask
        kept.append((cache, mask))
    words[:] = words_of(stream)
    last = net.num_layers
    scores, cache = affine_forward(x, net.params[f"W{last}"], net.params[f"b{last}"])
    return scores, [*kept, cache]


def backward_by_reference(
    net: FullyConnectedNet, grads: FlatParameters, dscores: np.ndarray, kept: list[Any]
) -> np.ndarray:
    """The gradient of the batch (N, D); `grads` are overwritten."""
    _, backward = block_of(net.normalization, net.activation, False)
    last = net.num_layers
    dx, grads[f"W{last}"], grads[f"b{last}"] = affine_backward(dscores, kept[-1])
    for i in range(last - 1, 0, -1):
        cache, mask = kept[i - 1]
        dx, *gradients = backward(dx if mask is None else dx * mask, cache)
        for name, gradient in zip(net._block_names(i), gradients, strict=True):
            grads[name] = gradient
    return dx
