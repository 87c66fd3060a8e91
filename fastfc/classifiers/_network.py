"""A described network and its arrays: the part of the course's networks that does not compute."""

import itertools
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastfc import _display
from fastfc._arguments import as_array, by_position, checked_reg, number, require_columns, require_mapping
from fastfc.course.years import checked_legacy, default_legacy
from fastfc.losses import checked_parameter
from fastfc.ops.activations import ACTIVATIONS
from fastfc.ops.losses import LOSSES
from fastfc.params import FlatParameters
from fastfc.training.capability import Methods

NORMALIZATIONS = (None, "batchnorm", "layernorm")
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class DescribedNetwork:
    """The options, parameters and dictionaries of a network, and its checks of them; see FullyConnectedNet."""

    # The methods that compiled scores stand for; with `loss`, those of compiled trainings and predictions.
    _scoring: ClassVar[Methods]
    _training: ClassVar[Methods]
    # Of the class too, for networks that were pickled before they had them.
    feature_names: list[str] | None = None
    target_name: str | None = None
    activation: str = "relu"
    loss_name: str = "softmax"
    loss_parameter: float = 0.0

    def _build(
        self,
        hidden_dims: Iterable[int],
        input_dim: int,
        num_classes: int,
        dropout_keep_ratio: float,
        normalization: str | None,
        reg: float,
        dtype: DTypeLike,
        seed: int | None,
        legacy: str | None = None,
        activation: str = "relu",
        loss: str = "softmax",
        loss_parameter: float | None = None,
    ) -> None:
        """All of the constructor that draws no random numbers; the weights are left at zero."""
        dims = _checked_dims(input_dim, hidden_dims, num_classes)
        one_of("activation", activation, ACTIVATIONS)
        one_of("loss", loss, LOSSES)
        parameter = checked_parameter(LOSSES[loss], loss_parameter)
        legacy = _checked_options(dropout_keep_ratio, normalization, reg, dtype, seed, legacy)

        self.normalization = normalization
        self.activation, self.loss_name, self.loss_parameter = activation, loss, parameter
        self.use_dropout = dropout_keep_ratio != (1 if legacy is None else 0)
        self.reg = reg
        self.num_layers = len(dims) - 1
        self.dtype: Any = dtype
        self.input_mean: ArrayLike | None = None
        self.input_scale: ArrayLike | None = None
        self.class_names: list[str] | None = None
        self.feature_names = None
        self.target_name = None

        self._params = FlatParameters(_shapes_of(dims, normalization), dtype)
        self._dims = dims
        # Memory of compiled predictions that is free to be used again.
        self.plans: dict[Any, list[Any]] = {}
        for name, value in self._params.items():
            if name.startswith("gamma"):
                value.fill(1)

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

    def __repr__(self) -> str:
        options = {
            "input_dim": self._dims[0],
            "num_classes": self._dims[-1],
            "dropout_keep_ratio": self.dropout_param.get("p") if self.use_dropout else None,
            "normalization": self.normalization,
            "activation": self.activation,
            "loss": self.loss_name,
            "dtype": self._params.dtype.name,
        }
        return _display.as_text(type(self).__name__, [self._dims[1:-1]], options)

    def _repr_html_(self) -> str:
        facts = {"loss": self.loss_name, "dtype": self._params.dtype.name}
        if self.input_mean is not None or self.input_scale is not None:
            facts["input"] = "standardized"
        return _display.as_html(type(self).__name__, self._layout(), facts, self.class_names)

    def _kind(self) -> tuple[Any, ...]:
        """Equal for networks whose parameters mean the same."""
        return self._dims, self.activation, self.normalization, self._params.dtype

    def _layout(self) -> _display.Layout:
        """The layers as a notebook shows them."""
        dropout = f"dropout, p={self.dropout_param.get('p')}" if self.use_dropout else None
        return _display.Layout(self._dims, self.activation, self.normalization, dropout)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "plans": {}}

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
        allowed: tuple[str | None, ...] = NORMALIZATIONS
        if depth > 1:
            allowed = allowed[1:] if "gamma1" in made.offsets else allowed[:1]
        if not (normalization is None or isinstance(normalization, str)) or normalization not in allowed:
            expected = " or ".join(map(repr, allowed))
            raise ValueError(f"normalization: expected {expected}, as the network was made, got {normalization!r}")
        if self.use_dropout and type(self.dropout_param) is not dict:
            require_mapping("dropout_param", self.dropout_param)
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("loss_name", self.loss_name, LOSSES)
        checked_parameter(LOSSES[self.loss_name], self.loss_parameter)
        if normalization is None:
            return
        found = self.bn_params
        if not isinstance(found, (list, tuple)) or len(found) != depth - 1:
            got = f"{len(found)}" if isinstance(found, (list, tuple)) else type(found).__name__
            raise ValueError(f"bn_params: expected a list of {depth - 1} dictionaries, one per hidden layer, got {got}")
        for bn_param in found:
            if type(bn_param) is not dict:
                require_mapping("bn_param", bn_param)

    def _checked_inputs(self, X: ArrayLike) -> np.ndarray:
        """X as an array (N, d1, ..., dk) of real numbers; of a table, the network's columns."""
        if self.feature_names is not None and type(X) is not np.ndarray:
            require_columns("X", X, list(self.feature_names), "feature_names")
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
        array = as_array(name, getattr(self, name))
        if array.dtype.kind not in "biuf" or array.size not in (1, self.dims[0]):
            raise ValueError(
                f"{name}: expected a number or {self.dims[0]} numbers, one per feature, "
                f"got shape {array.shape} and dtype {array.dtype}"
            )
        if np.isnan(array).any():
            raise ValueError(f"{name}: expected numbers, got nan")
        return array.astype(np.float64).reshape(() if array.size == 1 else shape)

    def _block_names(self, i: int) -> list[str]:
        kinds = ["W", "b"] if self.normalization is None else ["W", "b", "gamma", "beta"]
        return [f"{kind}{i}" for kind in kinds]

    def _block_params(self, i: int) -> list[dict[str, Any]]:
        norm_params = [] if self.normalization is None else [self.bn_params[i - 1]]
        return norm_params + ([self.dropout_param] if self.use_dropout else [])


def one_of(name: str, value: Any, allowed: Iterable[str]) -> None:
    """ValueError that names the argument unless `value` is one of some strings."""
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")


def _checked_dims(input_dim: int, hidden_dims: Iterable[int], num_classes: int) -> list[int]:
    """Input width, hidden widths, number of classes; an error that names the argument unless all are positive."""
    if isinstance(hidden_dims, (str, bytes)) or not isinstance(hidden_dims, Iterable):
        raise TypeError(f"hidden_dims: expected a list of widths, got {hidden_dims!r}")
    return [
        _positive("input_dim", input_dim),
        *(_positive("hidden_dims", width) for width in hidden_dims),
        _positive("num_classes", num_classes),
    ]


def _checked_options(
    dropout_keep_ratio: float,
    normalization: str | None,
    reg: float,
    dtype: DTypeLike,
    seed: int | None,
    legacy: str | None,
) -> str | None:
    """How dropout's number is read; an error that names the argument for an option out of range."""
    if normalization not in NORMALIZATIONS:
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
    return legacy


def _shapes_of(dims: Sequence[int], normalization: str | None) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters by name, in their order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (d_in, d_out) in enumerate(itertools.pairwise(dims), start=1):
        shapes[f"W{i}"], shapes[f"b{i}"] = (d_in, d_out), (d_out,)
        if normalization is not None and i < len(dims) - 1:
            shapes[f"gamma{i}"] = shapes[f"beta{i}"] = (d_out,)
    return shapes


def _is_supported(dtype: Any) -> bool:
    """Whether dtype means float32 or float64; None, which NumPy reads as float64, does not."""
    try:
        return dtype is not None and np.dtype(dtype) in _DTYPES
    except (SyntaxError, TypeError, ValueError):
        return False


def _integer(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    return int(value)


def _positive(name: str, value: Any) -> int:
    if _integer(name, value) < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value}")
    return int(value)
