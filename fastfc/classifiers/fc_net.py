"""Fully connected networks: ``{affine - [batch | layer norm] - relu - [dropout]} x (L - 1) - affine - softmax``.

A star-import of this module passes on every layer and block, as the course's own does.
"""

import functools
import itertools
import json
import os
from collections.abc import Iterable
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastfc import layer_utils, layers
from fastfc._arguments import by_position, checked_reg, labels, number, require_mapping, require_shape
from fastfc.backend import get_backend
from fastfc.course.years import checked_legacy, default_legacy, legacy_of, net_arguments
from fastfc.formats.atomic import replaced_file
from fastfc.formats.npz import read_npz
from fastfc.layer_utils import *  # noqa: F403
from fastfc.layers import *  # noqa: F403
from fastfc.params import FlatParameters
from fastfc.training.capability import Methods

__all__ = ["FullyConnectedNet", "TwoLayerNet", "load_model", "np", *layer_utils.__all__, *layers.__all__]

_NORMALIZATIONS = (None, "batchnorm", "layernorm")
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# Rows that go through the net at a time when it predicts.
_PREDICT_ROWS = 1024
_FILE_FORMAT = "fastfc model 1"
# What a normalization's dictionary may hold besides its mode.
_STATISTICS = ("running_mean", "running_var")
_NORM_NUMBERS = ("eps", "momentum")
# Names of the columns of the training table.
_COLUMN_NAMES = ("feature_names", "target_name")


class FullyConnectedNet:
    """A fully connected network with any number of hidden layers, ReLU and a softmax loss.

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
        What stands between an affine layer and its ReLU.
    reg : float
        L2 strength: the loss has ``0.5 * reg * sum(W**2)`` over all weight matrices.
    weight_scale : float
        Standard deviation of the initial weights, drawn by ``np.random.randn``.
    dtype : {np.float32, np.float64}
        What the network stores and computes in.
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
    normalization, use_batchnorm, use_dropout, reg, num_layers, dtype, class_names

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

    # The methods that compiled scores stand for; with `loss`, those of compiled trainings and predictions.
    _scoring: ClassVar[Methods]
    _training: ClassVar[Methods]
    # Of the class too, for networks that were pickled before they had them.
    feature_names: list[str] | None = None
    target_name: str | None = None

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
    ) -> None:
        p, normalization, legacy = net_arguments(
            dropout_keep_ratio, normalization, dropout, use_batchnorm, legacy, stacklevel=2
        )
        scale = number("weight_scale", weight_scale)
        if not np.isfinite(scale):
            raise ValueError(f"weight_scale: expected a finite number, got {weight_scale}")
        self._build(hidden_dims, input_dim, num_classes, p, normalization, reg, dtype, seed, legacy)
        for name, shape in self._params.shapes.items():
            if name.startswith("W"):
                drawn = np.random.randn(*shape)
                # In place: it takes twice the memory of the parameter as it is.
                drawn *= scale
                self._params[name] = drawn

    def _build(
        self, hidden_dims, input_dim, num_classes, dropout_keep_ratio, normalization, reg, dtype, seed, legacy=None
    ):
        """All of the constructor that draws no random numbers; the weights are left at zero."""
        if isinstance(hidden_dims, (str, bytes)) or not isinstance(hidden_dims, Iterable):
            raise TypeError(f"hidden_dims: expected a list of widths, got {hidden_dims!r}")
        dims = [
            _positive("input_dim", input_dim),
            *(_positive("hidden_dims", width) for width in hidden_dims),
            _positive("num_classes", num_classes),
        ]
        if normalization not in _NORMALIZATIONS:
            raise ValueError(f"normalization: expected None, 'batchnorm' or 'layernorm', got {normalization!r}")
        legacy = checked_legacy("legacy", legacy)
        if legacy is not None:
            # Then the number is the share to drop.
            if not 0 <= number("dropout", dropout_keep_ratio) < 1:
                raise ValueError(f"dropout: expected 0 <= p < 1, the share to drop, got {dropout_keep_ratio}")
        elif not 0 < number("dropout_keep_ratio", dropout_keep_ratio) <= 1:
            raise ValueError(f"dropout_keep_ratio: expected 0 < p <= 1, the share to keep, got {dropout_keep_ratio}")
        if not _is_supported(dtype):
            raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
        checked_reg(reg)
        if seed is not None and not 0 <= _integer("seed", seed) < 2**32:
            raise ValueError(f"seed: expected None or an integer from 0 to 2**32 - 1, got {seed}")

        self.normalization = normalization
        self.use_dropout = dropout_keep_ratio != (1 if legacy is None else 0)
        self.reg = reg
        self.num_layers = len(dims) - 1
        self.dtype = dtype
        self.input_mean: ArrayLike | None = None
        self.input_scale: ArrayLike | None = None
        self.class_names: list[str] | None = None
        self.feature_names = None
        self.target_name = None

        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(1, self.num_layers + 1):
            shapes[f"W{i}"], shapes[f"b{i}"] = (dims[i - 1], dims[i]), (dims[i],)
            if normalization is not None and i < self.num_layers:
                shapes[f"gamma{i}"] = shapes[f"beta{i}"] = (dims[i],)
        self._params = FlatParameters(shapes, dtype)
        self._dims = dims
        # Memory of compiled predictions that is free to be used again.
        self.plans: dict[Any, list[Any]] = {}
        for name in shapes:
            if name.startswith("gamma"):
                self._params[name].fill(1)

        self.dropout_param: dict[str, Any] = {}
        if self.use_dropout:
            self.dropout_param = {"mode": "train", "p": dropout_keep_ratio}
            if seed is not None:
                self.dropout_param["seed"] = seed
            if legacy is not None or default_legacy() is not None:
                self.dropout_param["legacy"] = legacy
        self.bn_params: list[dict[str, Any]] = []
        if normalization is not None:
            start = {"mode": "train"} if normalization == "batchnorm" else {}
            self.bn_params = [dict(start) for _ in range(self.num_layers - 1)]

    @property
    def params(self) -> FlatParameters:
        return self._params

    @params.setter
    def params(self, values: dict[str, Any]) -> None:
        if values is not self._params:
            self._params.replace(values)

    @property
    def use_batchnorm(self) -> bool:
        """Whether the network has batch normalization, by its name of 2016 and 2017."""
        return self.normalization == "batchnorm"

    @property
    def dims(self) -> list[int]:
        """Input width, hidden widths, number of classes."""
        return list(self._dims)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "plans": {}}

    def loss(self, X: ArrayLike, y: ArrayLike | None = None) -> Any:
        """Scores in test mode, or loss and gradients in training mode.

        Parameters
        ----------
        X : array (N, d1, ..., dk)
            Examples of any real dtype, computed in the model's.
        y : integer array (N,), optional
            Labels.

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
        if self._scoring.kept_by(self):
            if y is None and get_backend() == "fast":
                return self._compiled_scores(self._checked_inputs(X))
            self._require_consistent()
        x = self._inputs(X)
        reg = 0.0
        if y is not None:
            y = labels(y, len(x), self.dims[-1])
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
        loss, dscores = layers.softmax_loss(scores, y)
        dx, grads[f"W{last}"], grads[f"b{last}"] = layers.affine_backward(dscores, cache)
        for i in range(last - 1, 0, -1):
            dx, *gradients = backward(dx, caches[i - 1])
            grads.update(zip(self._block_names(i), gradients, strict=True))
        if reg != 0:
            for i in range(1, last + 1):
                loss = loss + layers.l2_penalty(self._params[f"W{i}"], grads[f"W{i}"], reg)
        return loss, grads

    def _set_mode(self, mode: str) -> None:
        if self.use_dropout:
            self.dropout_param["mode"] = mode
        if self.normalization == "batchnorm":
            for bn_param in self.bn_params:
                bn_param["mode"] = mode

    def _require_consistent(self) -> None:
        """An error for an attribute that was changed to what does not fit the parameters, or the layers."""
        made, depth, normalization = self._params, len(self._dims) - 1, self.normalization
        if self.num_layers != depth:
            raise ValueError(f"num_layers: expected {depth}, as the network was made, got {self.num_layers!r}")
        if self.dtype is not made.dtype.type and not (_is_supported(self.dtype) and np.dtype(self.dtype) == made.dtype):
            raise ValueError(f"dtype: expected {made.dtype}, as the parameters have, got {self.dtype!r}")
        allowed: tuple[str | None, ...] = _NORMALIZATIONS
        if depth > 1:
            allowed = allowed[1:] if "gamma1" in made.offsets else allowed[:1]
        if not (normalization is None or isinstance(normalization, str)) or normalization not in allowed:
            expected = " or ".join(map(repr, allowed))
            raise ValueError(f"normalization: expected {expected}, as the network was made, got {normalization!r}")
        if self.use_dropout and type(self.dropout_param) is not dict:
            require_mapping("dropout_param", self.dropout_param)
        if normalization is None:
            return
        found = self.bn_params
        if not isinstance(found, (list, tuple)) or len(found) != depth - 1:
            got = f"{len(found)}" if isinstance(found, (list, tuple)) else type(found).__name__
            raise ValueError(f"bn_params: expected a list of {depth - 1} dictionaries, one per hidden layer, got {got}")
        for bn_param in found:
            if type(bn_param) is not dict:
                require_mapping("bn_param", bn_param)

    def _compiled_scores(self, X: np.ndarray, softmax: bool = False) -> np.ndarray:
        """Scores in test mode from one compiled call; the dictionaries and the random stream end up the same."""
        self._require_consistent()
        self._set_mode("test")
        if self.use_dropout and self.num_layers > 1:
            param = self.dropout_param
            if "legacy" in param:
                legacy_of(param)
            if param.get("seed") is not None:
                layers.seeded(np.random.seed, param["seed"])
        return _predict_scores()(self, X, softmax)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The class with the highest score, by example: X (N, d1, ..., dk) -> integers (N,)."""
        if get_backend() == "fast" and self._training.kept_by(self):
            return self._compiled_scores(self._checked_inputs(X)).argmax(axis=1)
        return np.argmax(self._scores(X), axis=1)

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The softmax of the scores: X (N, d1, ..., dk) -> probabilities (N, C) in the model's dtype."""
        if get_backend() == "fast" and self._training.kept_by(self):
            return self._compiled_scores(self._checked_inputs(X), softmax=True)
        scores = self._scores(X)
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

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

    def _checked_inputs(self, X: ArrayLike) -> np.ndarray:
        """X as an array (N, d1, ..., dk) of real numbers."""
        x = np.asarray(by_position("X", X))
        if x.dtype.kind not in "biuf":
            raise TypeError(f"X: expected an array of real numbers, got dtype {x.dtype}")
        if x.ndim < 1 or prod(x.shape[1:]) != self.dims[0]:
            raise ValueError(f"X: expected shape (N, ...) with {self.dims[0]} features a row, got {x.shape}")
        return x

    def _inputs(self, X: ArrayLike) -> np.ndarray:
        """X in the model's dtype, standardized if the model does that."""
        x = self._checked_inputs(X)
        if self.input_mean is not None or self.input_scale is not None:
            # In float64 until it is standardized: what tells values apart may be far smaller than their mean.
            x = x.astype(np.float64)
            if self.input_mean is not None:
                x -= self.per_feature("input_mean", x.shape[1:])
            if self.input_scale is not None:
                x *= self.per_feature("input_scale", x.shape[1:])
        return x.astype(self.dtype, order="C", copy=False)

    def per_feature(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """input_mean or input_scale in the shape of an example, or a number; float64."""
        array = np.asarray(getattr(self, name))
        if array.dtype.kind not in "biuf" or array.size not in (1, self.dims[0]):
            raise ValueError(
                f"{name}: expected a number or {self.dims[0]} numbers, one per feature, "
                f"got shape {array.shape} and dtype {array.dtype}"
            )
        return array.astype(np.float64).reshape(() if array.size == 1 else shape)

    def _block(self):
        norm = "" if self.normalization is None else f"{self.normalization}_"
        name = f"affine_{norm}relu_dropout" if self.use_dropout else f"affine_{norm}relu"
        return getattr(layer_utils, f"{name}_forward"), getattr(layer_utils, f"{name}_backward")

    def _block_names(self, i: int) -> list[str]:
        kinds = ["W", "b"] if self.normalization is None else ["W", "b", "gamma", "beta"]
        return [f"{kind}{i}" for kind in kinds]

    def _block_params(self, i: int) -> list[dict[str, Any]]:
        norm_params = [] if self.normalization is None else [self.bn_params[i - 1]]
        return norm_params + ([self.dropout_param] if self.use_dropout else [])

    def save(self, fname: str | os.PathLike[str]) -> None:
        """Write the network as an ``.npz`` file without pickles, under exactly this name.

        The file holds what :func:`load_model` needs to make the same network: parameters,
        running statistics, options, input standardization, and the names of classes and columns. An older file
        of that name is replaced only once the new one is whole.

        Raises
        ------
        OSError
            If the file cannot be written; an older one is still there then.
        ValueError
            If class_names, feature_names, target_name, input_mean or input_scale do not fit the network.
        """
        arrays = packed(self)
        with replaced_file(fname) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load(self, fname: str | os.PathLike[str]) -> bool:
        """Read what :meth:`save` wrote into this network.

        Returns False, and says so, if there is no such file (as the course's own does).

        Raises
        ------
        ValueError
            If the file is not a model's, or the model has other layers.
        """
        if not os.path.exists(fname):
            print(f"{os.fspath(fname)} not available.")
            return False
        other = load_model(fname)
        if (other.dims, other.normalization) != (self.dims, self.normalization):
            raise ValueError(
                f"fname: expected a model with layers {self.dims} and normalization {self.normalization}, "
                f"got {other.dims} and {other.normalization}"
            )
        self.params = other.params
        for mine, theirs in zip(self.bn_params, other.bn_params, strict=True):
            for key in (*_STATISTICS, *_NORM_NUMBERS):
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

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or is not a model's.
    """
    with open(fname, "rb") as file:
        arrays = read_npz(file, os.fspath(fname), array_kinds)
    try:
        return unpacked(arrays)
    except DAMAGE as error:
        raise ValueError(f"{os.fspath(fname)}: not a fastfc model, or a damaged one ({error})") from error


#: What making sense of a damaged file can raise.
DAMAGE = (ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)


def packed(model: FullyConnectedNet) -> dict[str, np.ndarray]:
    """A network as arrays of numbers, and its options as one string: what a file of it holds."""
    if model._scoring.kept_by(model):
        model._require_consistent()
    options = {
        "format": _FILE_FORMAT,
        "hidden_dims": model.dims[1:-1],
        "input_dim": model.dims[0],
        "num_classes": model.dims[-1],
        "dropout_keep_ratio": float(model.dropout_param.get("p", 1)) if model.use_dropout else 1.0,
        "seed": model.dropout_param.get("seed") if model.use_dropout else None,
        "normalization": model.normalization,
        "reg": float(model.reg),
        "dtype": np.dtype(model.dtype).name,
        "class_names": _checked_class_names(model.class_names, model.dims[-1]),
        "bn_params": [{key: float(p[key]) for key in _NORM_NUMBERS if key in p} for p in model.bn_params],
    }
    if model.use_dropout and legacy_of(model.dropout_param):
        options["legacy"] = legacy_of(model.dropout_param)
    # Left out where there are none: earlier versions read such a file too.
    names = _column_names(model.feature_names, model.target_name, model.dims[0])
    options |= {key: value for key, value in names.items() if value is not None}
    arrays = {f"params.{name}": model.params[name] for name in model.params.shapes}
    for i, bn_param in enumerate(model.bn_params, start=1):
        for key in _STATISTICS:
            if key in bn_param:
                arrays[f"{key}{i}"] = bn_param[key]
    for key in ("input_mean", "input_scale"):
        if getattr(model, key) is not None:
            model.per_feature(key, (model.dims[0],))
            arrays[key] = np.asarray(getattr(model, key))
    options["arrays"] = list(arrays)
    return {"options": np.array(json.dumps(options, default=int)), **arrays}


def unpacked(arrays: dict[str, np.ndarray], kind: type[FullyConnectedNet] = FullyConnectedNet) -> FullyConnectedNet:
    """The network that :func:`packed` took apart; one of DAMAGE if the arrays make no sense."""
    arrays = dict(arrays)
    with _numbers_that_fit():
        return _made_from(json.loads(str(arrays.pop("options")[()])), arrays, kind)


def _numbers_that_fit() -> np.errstate:
    """Within it, a number beyond the range of the dtype that it is cast to is an error."""
    return np.errstate(over="raise", invalid="raise")


def from_attributes(kind: type[FullyConnectedNet], attributes: dict[str, Any]) -> FullyConnectedNet:
    """The network whose ``vars()`` these are, each of them checked; one of DAMAGE if they make no sense."""
    rest = dict(attributes)
    dims, dropout_param, bn_params = rest.pop("_dims"), rest.pop("dropout_param"), rest.pop("bn_params")
    arrays = {f"params.{name}": array for name, array in rest.pop("_params").items()}
    for i, bn_param in enumerate(bn_params, start=1):
        arrays |= {f"{key}{i}": bn_param[key] for key in _STATISTICS if key in bn_param}
    arrays |= {key: np.asarray(rest[key]) for key in ("input_mean", "input_scale") if rest[key] is not None}
    options = {
        "format": _FILE_FORMAT,
        "hidden_dims": dims[1:-1],
        "input_dim": dims[0],
        "num_classes": dims[-1],
        "dropout_keep_ratio": dropout_param.get("p", 1),
        "seed": dropout_param.get("seed"),
        **{key: rest.pop(key) for key in ("normalization", "reg", "dtype", "class_names")},
        **{key: rest.pop(key, None) for key in _COLUMN_NAMES},
        "bn_params": bn_params,
        "arrays": list(arrays),
    }
    if dropout_param.get("legacy"):
        options["legacy"] = dropout_param["legacy"]
    with _numbers_that_fit():
        net = _made_from(options, arrays, kind)
    for mine, theirs in zip([net.dropout_param, *net.bn_params], [dropout_param, *bn_params], strict=True):
        if "mode" in theirs:
            mine["mode"] = theirs["mode"]
    for name in set(rest) - set(vars(net)):
        # Of the user's making; but nothing that stands in a method's place.
        if hasattr(kind, name):
            raise ValueError(f"{name} is not an attribute that a network has of its own")
        setattr(net, name, rest[name])
    return net


def _made_from(
    options: dict[str, Any], arrays: dict[str, np.ndarray], kind: type[FullyConnectedNet]
) -> FullyConnectedNet:
    """The network that the contents of a file describe; any of a handful of errors if they make no sense."""
    if options.pop("format") != _FILE_FORMAT:
        raise ValueError("another format")
    if set(options.pop("arrays")) != set(arrays):
        raise ValueError("arrays are missing or have other names")
    class_names, bn_params = options.pop("class_names"), options.pop("bn_params")
    feature_names, target_name = (options.pop(key, None) for key in _COLUMN_NAMES)
    params = {name.removeprefix("params."): array for name, array in arrays.items() if name.startswith("params.")}
    # Before any memory is taken: the sizes that the options ask for are those of the arrays at hand.
    dims = [options["input_dim"], *options["hidden_dims"], options["num_classes"]]
    for i, shape in enumerate(itertools.pairwise(dims), start=1):
        require_shape(f"W{i}", params[f"W{i}"], shape, "the widths of its layers")
    net = kind.__new__(kind)
    net._build(**options)
    net.params = params
    net.class_names = _checked_class_names(class_names, dims[-1])
    for key, value in _column_names(feature_names, target_name, dims[0]).items():
        setattr(net, key, value)
    for i, (bn_param, numbers) in enumerate(zip(net.bn_params, bn_params, strict=True), start=1):
        bn_param.update({key: number(key, numbers[key]) for key in _NORM_NUMBERS if key in numbers})
        for key in _STATISTICS:
            if f"{key}{i}" in arrays:
                require_shape(f"{key}{i}", arrays[f"{key}{i}"], (dims[i],), "one value per feature")
                bn_param[key] = arrays[f"{key}{i}"].astype(net.dtype)
    for name in ("input_mean", "input_scale"):
        if name in arrays:
            setattr(net, name, arrays[name])
            # An error for numbers beyond its dtype.
            net.per_feature(name, (dims[0],)).astype(net.dtype)
    return net


def _checked_class_names(names: Any, count: int) -> list[str] | None:
    """Names as a list of `count` strings, or None."""
    return _checked_names("class_names", names, count)


def _column_names(feature_names: Any, target_name: Any, inputs: int) -> dict[str, Any]:
    """The names of a table's columns as a file holds them, checked."""
    if not (target_name is None or isinstance(target_name, str)):
        raise ValueError(f"target_name: expected a string, got {target_name!r:.80}")
    return dict(zip(_COLUMN_NAMES, (_checked_names("feature_names", feature_names, inputs), target_name), strict=True))


def _checked_names(argument: str, names: Any, count: int) -> list[str] | None:
    if names is None:
        return None
    if not isinstance(names, (list, tuple)) or len(names) != count or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{argument}: expected {count} strings")
    return list(names)


@functools.cache
def _predict_scores():
    """The compiled prediction, imported once it is needed: an import statement takes as long as a small prediction."""
    from fastfc.training.predict import predict_scores

    return predict_scores


def _is_supported(dtype: Any) -> bool:
    """Whether dtype means float32 or float64; None, which NumPy reads as float64, does not."""
    try:
        return dtype is not None and np.dtype(dtype) in _DTYPES
    except (SyntaxError, TypeError, ValueError):
        return False


def array_kinds(name: str) -> str | None:
    """The dtype kinds of the arrays in a model's file."""
    if name == "options":
        return "U"
    return "biuf" if name.startswith(("params.", "running_", "input_")) else None


def _integer(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    return int(value)


def _positive(name: str, value: Any) -> int:
    if _integer(name, value) < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value}")
    return int(value)
