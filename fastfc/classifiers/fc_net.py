"""Fully connected networks: ``{affine - [batch | layer norm] - activation - [dropout]} x (L - 1) - affine - loss``.

A star-import of this module passes on every layer and block, as the course's own does.
"""

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastfc import initializers, layer_utils, layers, losses
from fastfc._arguments import checked_reg, number
from fastfc._layer_arguments import seeded
from fastfc._network_start import Initializer, draw_weights
from fastfc.backend import get_backend
from fastfc.classifiers._network import DescribedNetwork
from fastfc.course.years import legacy_of, net_arguments
from fastfc.formats.atomic import replaced_file
from fastfc.formats.model import DAMAGE, NORM_NUMBERS, STATISTICS, array_kinds, packed, require_in_range, unpacked
from fastfc.initializers import Rng
from fastfc.layer_utils import *  # noqa: F403
from fastfc.layers import *  # noqa: F403
from fastfc.losses import checked_targets, checked_weights, predictions_of, probabilities_of
from fastfc.ops.losses import LOSSES
from fastfc.training.capability import Methods

__all__ = ["FullyConnectedNet", "TwoLayerNet", "load_model", "np", *layer_utils.__all__, *layers.__all__]

# Rows that go through the net at a time when it predicts.
_PREDICT_ROWS = 1024


class FullyConnectedNet(DescribedNetwork):
    """A fully connected network with any number of hidden layers; with ReLU and a softmax loss by default.

    Parameters
    ----------
    hidden_dims : iterable of int
        The widths of the hidden layers; empty for a linear classifier.
    input_dim : int
        Features of an example. Default 3 * 32 * 32.
    num_classes : int
        Default 10.
    dropout_keep_ratio : float
        The probability to keep a hidden value in training, 0 < p <= 1; 1 is no dropout.
    normalization : {None, "batchnorm", "layernorm"}
        The operation between an affine layer and its activation.
    reg : float
        L2 strength: the loss has ``0.5 * reg * sum(W**2)`` over all weight matrices.
    weight_scale : float
        Standard deviation of the initial weights, normal ones.
    dtype : {np.float32, np.float64}
        The dtype of the parameters and of all computations.
    seed : int or None
        If given, every dropout layer calls ``np.random.seed(seed)`` first, at every pass.
    dropout : float, optional
        The name until 2020. 0 and 1 are no dropout. Else it is the probability to drop with
        ``use_batchnorm`` (2016 and 2017) or ``legacy="2017"``, and the probability to keep
        with ``normalization`` (2018 to 2020); alone it is the probability to keep, with a
        DeprecationWarning.
    use_batchnorm : bool, optional
        The name in 2016 and 2017 of ``normalization="batchnorm"``.
    legacy : {None, "2017"}
        ``"2017"`` says that `dropout` is the probability to drop. Such a network trains in
        the generic loop.
    activation : str
        The function between the layers, one of :data:`fastfc.activations.NAMES`. Default ``"relu"``.
    loss : str
        The loss, one of :data:`fastfc.losses.NAMES`. ``"softmax"`` (the default) and ``"svm"`` take labels;
        ``"logistic"``, ``"squared"``, ``"absolute"``, ``"huber"``, ``"quantile"`` and ``"poisson"`` take
        targets (N, num_classes), one for each output, or (N,) for a single one.
    loss_parameter : float, optional
        The loss's number: softmax's label smoothing, Huber's delta, or the quantile.
    initializer : str or function, optional
        Draws the weights in place of `weight_scale`: one of :data:`fastfc.initializers.INITIALIZERS`, a function
        ``(shape, rng, dtype) -> array``, or a list with one for each layer.
    rng : RandomState, Generator or None
        Draws the weights; then NumPy's global stream, which None stands for, is not touched.

    Attributes
    ----------
    params : FlatParameters
        ``W1, b1, W2, b2, ...`` and, on hidden layers with normalization,
        ``gamma1, beta1, ...``. Entries and the whole dictionary can be assigned to; values
        are copied in.
    bn_params : list of dict
        One per hidden layer: ``mode`` and running statistics for batch normalization,
        ``{}`` for layer normalization; empty without normalization.
    dropout_param : dict
        ``mode``, ``p``, ``seed`` and ``legacy``, the last two if need be; empty without dropout.
    input_mean, input_scale : array or None
        If set, an example enters the network as ``(X - input_mean) * input_scale``; arrays
        with one value per feature, or numbers.
    feature_names : list of str or None
        The columns of the table that the network was trained on, in their order, one per
        feature. Saved with the network, so that tables to predict from can be read by name.
    target_name : str or None
        The column of that table that held the labels.
    loss_name : str
        The constructor's `loss`.
    normalization, activation, loss_parameter, use_batchnorm, use_dropout, reg, num_layers, dtype, class_names

    Raises
    ------
    ValueError, TypeError
        For arguments out of range; the message names them.

    Notes
    -----
    CS231n, assignment 2, ``classifiers/fc_net.py``.

    Examples
    --------
    >>> net = FullyConnectedNet([100, 100], input_dim=64, normalization="batchnorm", dropout_keep_ratio=0.8)
    >>> net.loss(np.zeros((5, 64))).shape
    (5, 10)
    >>> loss, grads = net.loss(np.zeros((5, 64)), np.arange(5))
    >>> grads["W2"].shape
    (100, 100)
    """

    def __init__(
        self,
        hidden_dims: Iterable[int],
        input_dim: int = 3 * 32 * 32,
        num_classes: int = 10,
        dropout_keep_ratio: float = 1,
        normalization: str | None = None,
        reg: float = 0.0,
        weight_scale: float = 1e-2,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
        *,
        dropout: float | None = None,
        use_batchnorm: bool | None = None,
        legacy: str | None = None,
        activation: str = "relu",
        loss: str = "softmax",
        loss_parameter: float | None = None,
        initializer: Initializer | None = None,
        rng: Rng = None,
    ) -> None:
        p, normalization, legacy = net_arguments(
            dropout_keep_ratio, normalization, dropout, use_batchnorm, legacy, stacklevel=2
        )
        scale = number("weight_scale", weight_scale)
        if not np.isfinite(scale):
            raise ValueError(f"weight_scale: expected a finite number, got {weight_scale}")
        self._build(
            hidden_dims, input_dim, num_classes, p, normalization, reg, dtype, seed, legacy, activation, loss,
            loss_parameter,
        )  # fmt: skip
        if initializer is None:
            initializer = functools.partial(initializers.course_normal, scale=scale)
        draw_weights(self._params, initializer, activation, rng)

    def loss(self, X: ArrayLike, y: ArrayLike | None = None, weights: ArrayLike | None = None) -> Any:
        """Scores in test mode, or loss and gradients in training mode.

        Parameters
        ----------
        X : array (N, d1, ..., dk)
            Examples of any real dtype, computed in the model's.
        y : integer array (N,), or array (N, num_classes), optional
            Labels, or the targets that the loss takes.
        weights : array (N,), optional
            Weights of the examples, of any real dtype: the loss is ``sum(weights * losses) / sum(weights)``.

        Returns
        -------
        scores : array (N, C)
            If `y` is None.
        loss, grads : scalar, dict of arrays
            Otherwise; `grads` has the keys of `params`.

        Raises
        ------
        ValueError
            For shapes that do not fit, labels out of range, training on no examples, or attributes
            that were changed to what does not fit the parameters.
        TypeError
            For an X that does not hold real numbers, or labels that are not integers.
        """
        if y is None and get_backend() == "fast" and self._scoring.kept_by(self):
            return self._compiled_scores(self._checked_inputs(X))

        def evaluate(scores: np.ndarray, y: np.ndarray) -> Any:
            # A loss of numbers would take the dtype of its widest argument.
            given = None if weights is None else checked_weights("weights", weights, len(scores)).astype(self.dtype)
            return losses.evaluate(self.loss_name, scores, y, given, self.loss_parameter)

        return self._passes(X, y, evaluate)

    def _passes(self, X: ArrayLike, y: ArrayLike | None, evaluate: Callable[..., Any]) -> Any:
        """:meth:`loss` by ``evaluate(scores, y) -> loss, dscores``."""
        if self._scoring.kept_by(self):
            self._require_consistent()
        x = self._inputs(X)
        reg = 0.0
        if y is not None:
            y = checked_targets(LOSSES[self.loss_name], "y", y, len(x), self.dims[-1], self.dtype)
            reg = checked_reg(self.reg)
        self._set_mode("test" if y is None else "train")
        forward, backward = self._block()
        caches = []
        for i in range(1, self.num_layers):
            x, cache = forward(x, *(self._params[name] for name in self._block_names(i)), *self._block_params(i))
            caches.append(cache)
        last = self.num_layers
        scores, cache = layers.affine_forward(x, self._params[f"W{last}"], self._params[f"b{last}"])
        if y is None:
            return scores

        grads: dict[str, np.ndarray] = {}
        loss, dscores = evaluate(scores, y)
        dx, grads[f"W{last}"], grads[f"b{last}"] = layers.affine_backward(dscores, cache)
        for i in range(last - 1, 0, -1):
            dx, *gradients = backward(dx, caches[i - 1])
            grads.update(zip(self._block_names(i), gradients, strict=True))
        if reg != 0:
            for i in range(1, last + 1):
                loss = loss + layers.l2_penalty(self._params[f"W{i}"], grads[f"W{i}"], reg)
        return loss, grads

    def _compiled_scores(self, X: np.ndarray, softmax: bool = False) -> np.ndarray:
        """Scores in test mode from one compiled call; the dictionaries and the random stream end up the same."""
        self._require_consistent()
        self._set_mode("test")
        if self.use_dropout and self.num_layers > 1:
            param = self.dropout_param
            if "legacy" in param:
                legacy_of(param)
            if param.get("seed") is not None:
                seeded(np.random.seed, param["seed"])
        return _predict_scores()(self, X, softmax)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predictions for examples X (N, d1, ..., dk), in the form of the loss's targets.

        Parameters
        ----------
        X : array (N, d1, ..., dk)
            Examples of any real dtype.

        Returns
        -------
        array
            The class with the highest score, integers (N,), for ``"softmax"`` and ``"svm"``; for ``"logistic"``
            whether the probability is above 0.5, as 0 or 1; else the scores, or their exponentials for
            ``"poisson"``: (N,) for a single output, else (N, num_classes).

        Raises
        ------
        ValueError, TypeError
            As :meth:`loss`.
        """
        compiled = get_backend() == "fast" and self._training.kept_by(self)
        scores = self._compiled_scores(self._checked_inputs(X)) if compiled else self._scores(X)
        return predictions_of(LOSSES[self.loss_name], scores)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes.

        For ``"softmax"`` the softmax of the scores; for ``"logistic"`` with a single output those of 0 and of 1,
        with more of them each output's own.

        Parameters
        ----------
        X : array (N, d1, ..., dk)
            Examples of any real dtype.

        Returns
        -------
        array (N, C)
            In the model's dtype.

        Raises
        ------
        ValueError
            If the network's loss has no probabilities.
        """
        link = LOSSES[self.loss_name].link
        if link not in ("softmax", "logistic"):
            raise ValueError(f"predict_proba: the loss {self.loss_name!r} has no probabilities; use predict")
        if link == "softmax" and get_backend() == "fast" and self._training.kept_by(self):
            return self._compiled_scores(self._checked_inputs(X), softmax=True)
        return probabilities_of(link, self._scores(X))

    def _scores(self, X: ArrayLike) -> np.ndarray:
        X = self._checked_inputs(X)
        if get_backend() == "fast":
            # Compiled code goes through the rows in parts by itself.
            return self.loss(X)
        if self._scoring.kept_by(self):
            self._require_consistent()
        out = np.empty((len(X), self.dims[-1]), self.dtype)
        for start in range(0, len(X), _PREDICT_ROWS):
            out[start : start + _PREDICT_ROWS] = self.loss(X[start : start + _PREDICT_ROWS])
        return out

    def _block(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return layer_utils.block_of(self.normalization, self.activation, self.use_dropout)

    def save(self, fname: str | os.PathLike[str]) -> None:
        """Write the network as an ``.npz`` file without pickles, under exactly this name.

        The file holds what :func:`load_model` needs to make the same network: parameters,
        running statistics, options, input standardization, and the names of classes and columns. An older file
        of that name is replaced only once the new one is whole.

        Parameters
        ----------
        fname : path

        Raises
        ------
        OSError
            If the file cannot be written; an older one is still there then.
        ValueError, TypeError
            If an attribute was changed to what does not fit the network, or is not for a file, as a `seed` that is no
            integer; an older file is still there then too.
        """
        arrays = packed(self)
        require_in_range(self)
        with replaced_file(fname) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load(self, fname: str | os.PathLike[str]) -> bool:
        """Read what :meth:`save` wrote into this network.

        Parameters
        ----------
        fname : path

        Returns
        -------
        bool
            False, after a line that says so, if there is no such file (as the course's own does); else True.

        Raises
        ------
        ValueError
            If the file is not a model's, or the model has other layers or another loss.
        """
        if not os.path.exists(fname):
            print(f"{os.fspath(fname)} not available.")
            return False
        other = load_model(fname)
        if any(
            getattr(other, key) != getattr(self, key) for key in ("dims", "normalization", "activation", "loss_name")
        ):
            expected, got = (
                f"layers {net.dims}, normalization {net.normalization}, activation {net.activation} and "
                f"loss {net.loss_name}"
                for net in (self, other)
            )
            raise ValueError(f"fname: expected a model with {expected}, got {got}")
        self.params = other.params
        for mine, theirs in zip(self.bn_params, other.bn_params, strict=True):
            for key in (*STATISTICS, *NORM_NUMBERS):
                mine.pop(key, None)
            mine.update({key: value for key, value in theirs.items() if key != "mode"})
        self.input_mean, self.input_scale = other.input_mean, other.input_scale
        self.class_names = other.class_names
        self.feature_names, self.target_name = other.feature_names, other.target_name
        return True


_SCORING = (
    "params", "dims", "_inputs", "_checked_inputs", "per_feature", "_set_mode", "_block", "_block_names",
    "_block_params",
)  # fmt: skip
FullyConnectedNet._scoring = Methods(FullyConnectedNet, *_SCORING)
FullyConnectedNet._training = Methods(FullyConnectedNet, "loss", *_SCORING)


class TwoLayerNet(FullyConnectedNet):
    """A network with one hidden layer, ``affine - relu - affine - softmax``, in float64.

    Parameters
    ----------
    input_dim, hidden_dim, num_classes : int
    weight_scale : float
        Standard deviation of the initial weights.
    reg : float
        L2 strength, as for :class:`FullyConnectedNet`.

    Examples
    --------
    >>> TwoLayerNet(input_dim=5, hidden_dim=50, num_classes=7).params["W1"].shape
    (5, 50)
    """

    def __init__(
        self,
        input_dim: int = 3 * 32 * 32,
        hidden_dim: int = 100,
        num_classes: int = 10,
        weight_scale: float = 1e-3,
        reg: float = 0.0,
    ) -> None:
        super().__init__([hidden_dim], input_dim, num_classes, reg=reg, weight_scale=weight_scale, dtype=np.float64)


def load_model(fname: str | os.PathLike[str]) -> FullyConnectedNet:
    """Make the network that :meth:`FullyConnectedNet.save` wrote.

    NumPy's global random stream is left as it was. Nothing in the file is executed.

    Parameters
    ----------
    fname : path

    Returns
    -------
    FullyConnectedNet

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or is not a model's.

    Examples
    --------
    >>> FullyConnectedNet([5], 4, 3).save("model.npz")
    >>> load_model("model.npz").dims
    [4, 5, 3]
    """
    from fastfc.formats.npz import read_npz

    with open(fname, "rb") as file:
        arrays = read_npz(file, os.fspath(fname), array_kinds)
    try:
        return unpacked(arrays, FullyConnectedNet)
    except DAMAGE as error:
        raise ValueError(f"{os.fspath(fname)}: not a fastfc model, or a damaged one ({error})") from error


@functools.cache
def _predict_scores() -> Callable[..., np.ndarray]:
    """The compiled prediction, imported once it is needed: an import statement takes as long as a small prediction."""
    from fastfc.training.predict import predict_scores

    return predict_scores
