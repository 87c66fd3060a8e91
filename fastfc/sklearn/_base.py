"""Everything that the classifier and the regressor share."""

import contextlib
import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted, validate_data

from fastfc._arguments import number
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.losses import checked_parameter
from fastfc.ops.losses import LOSSES
from fastfc.sklearn import _lbfgs, _training
from fastfc.sklearn._data import Data, Score, scores_of
from fastfc.sklearn._members import fit_members
from fastfc.sklearn._networks import (
    Snapshot,
    biases_of,
    blank_network,
    copied,
    drawn_network,
    load_arrays,
    restore,
    snapshot,
    weights_of,
)
from fastfc.sklearn._options import (
    CONSTRAINTS,
    OptimizerState,
    check_together,
    check_validation,
    checked_dtype,
    checked_weights,
    checked_widths,
    require_a_weight,
    require_kept,
    stream_of,
    valid_defaults,
)

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    # scikit-learn before 1.9 has none.
    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for what scikit-learn has from 1.9 on."""

    def with_callbacks(method: Callable) -> Callable:
        """The method itself."""
        return method


SPARSE = ["csr", "csc"]
# The attributes of a network that a fit sets from the estimator's options.
_DESCRIPTION = ("activation", "loss_name", "loss_parameter", "reg", "use_dropout", "dropout_param")


class BaseMLP(CallbackSupportMixin, BaseEstimator, ABC):
    """The base of :class:`MLPClassifier` and :class:`MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS
    members_: list[Any]
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    _net: FullyConnectedNet
    _best: Snapshot
    _optimizer: OptimizerState

    def _keep(self, options: dict[str, Any]) -> None:
        """Keep the constructor's arguments, as scikit-learn wants them: unchecked, under their names."""
        self.__dict__.update({name: value for name, value in options.items() if name != "self"})

    def _validate_params(self) -> None:
        """Check the options as scikit-learn does, but those that are still their defaults only once for all."""
        defaults = valid_defaults(type(self))
        options = {name: value for name in defaults if (value := getattr(self, name)) is not defaults[name]}
        validate_parameter_constraints(self._parameter_constraints, options, caller_name=type(self).__name__)

    @property
    def network_(self) -> FullyConnectedNet:
        """The fitted network, which :mod:`fastfc` saves and exports; its arrays are the estimator's."""
        check_is_fitted(self)
        if hasattr(self, "members_"):
            raise AttributeError(
                f"network_: expected an estimator with one network, got one with {len(self.members_)} members; each of"
                " its members_ has its own"
            )
        return self._linked()

    @abstractmethod
    def _loss_of_network(self) -> tuple[str, float | None]:
        """The name of the network's loss, and the loss's parameter."""

    @abstractmethod
    def _output(self) -> str:
        """The function of the output layer of a fit with the options of now, by scikit-learn's names."""

    def _fitted_loss(self) -> str:
        """The name of the fitted network's loss, by which it predicts: `loss` may have been changed since."""
        one = self.members_[0] if hasattr(self, "members_") else self
        return str(one._linked().loss_name)

    def _fitted_output(self) -> str:
        """The function of the fitted network's output layer, by scikit-learn's names."""
        return LOSSES[self._fitted_loss()].link

    @abstractmethod
    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Checked examples and targets."""

    @abstractmethod
    def _targets_of(self, y: Any) -> np.ndarray:
        """Checked targets as the network's loss takes them."""

    @abstractmethod
    def _score_of(self, X: Any, y: Any, sample_weight: np.ndarray | None) -> float:
        """The usual score, which may be NaN."""

    def _trained_on(self, data: Data, y: Any) -> Data:
        """The data with what options change of weights and targets."""
        return data

    def _fit_with_callbacks(self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any, Any]) -> Any:
        """Fit between the hooks of scikit-learn's callbacks."""
        if not hasattr(self, "_init_callback_context"):
            return self._fit(X, y, sample_weight, False, validation)
        context = self._init_callback_context(max_subtasks=self.max_iter)
        task = {"estimator": self, "X": X, "y": y}
        task["metadata"] = {} if sample_weight is None else {"sample_weight": sample_weight}
        context.call_on_fit_task_begin(**task)
        hooks = functools.partial(self._epoch_task, context, task) if getattr(self, "_skl_callbacks", None) else None
        self._fit(X, y, sample_weight, False, validation, hooks)
        context.call_on_fit_task_end(**task, reconstruction_attributes=self._reconstruction)
        return self

    @contextlib.contextmanager
    def _epoch_task(
        self, context: Any, task: dict[str, Any], averaged: Callable[[], Any] = contextlib.nullcontext
    ) -> Iterator[SimpleNamespace]:
        """The hooks around an epoch; afterwards the result's `stop` says whether one of them ends the training.

        While `averaged` is entered, the network predicts as it will after the fit.
        """
        result = SimpleNamespace(stop=False)
        epoch = context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(**task)
        yield result
        with averaged():
            result.stop = epoch.call_on_fit_task_end(**task, reconstruction_attributes=self._reconstruction)

    def _reconstruction(self) -> dict[str, Any]:
        """The attributes of an estimator that predicts as this one does now, and will not go on with it."""
        net = copied(self._linked())
        return {"_net": net, "coefs_": weights_of(net), "intercepts_": biases_of(net)}

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        validation: tuple[Any, Any, Any] = (None, None, None),
        hooks: Callable[..., Any] | None = None,
    ) -> Any:
        with self._unchanged_by_failure():
            return self._fit_or_fail(X, y, sample_weight, incremental, validation, hooks)

    @contextlib.contextmanager
    def _unchanged_by_failure(self) -> Iterator[None]:
        """Within it, a fit that fails leaves the estimator as it was: what it has learnt, and how it would go on."""
        # A fit appends to lists and steps the rule's state; it replaces all other attributes.
        before: dict[str, Any] = dict(vars(self))
        if "_optimizer" in before:
            parts = vars(self._optimizer).items()
            before["_optimizer"] = OptimizerState(**{name: copy.copy(part) for name, part in parts})
        # A history of many calls of partial_fit is not copied in each of them.
        lengths = {name: len(value) for name, value in before.items() if isinstance(value, list)}
        net: FullyConnectedNet | None = before.get("_net")
        kept = None if net is None else (snapshot(net), {name: getattr(net, name) for name in _DESCRIPTION})
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            for name, length in lengths.items():
                del before[name][length:]
            if net is not None and kept is not None:
                restore(net, kept[0])
                vars(net).update(kept[1])
            raise

    def _fit_or_fail(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        validation: tuple[Any, Any, Any],
        hooks: Callable[..., Any] | None,
    ) -> Any:
        check_together(self, incremental)
        check_validation(self, *validation)
        hidden = checked_widths(self.hidden_layer_sizes)
        if self.n_members > 1:
            if hooks is not None:
                raise ValueError(f"n_members: expected 1 with callbacks of scikit-learn, got {self.n_members}")
            fit_members(self, X, y, sample_weight, incremental, validation)
            return self
        self.__dict__.pop("members_", None)
        first_pass = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validated(X, y, incremental, first_pass)
        if issparse(X):
            X = X.tocsr()
        weights = None if sample_weight is None else checked_weights("sample_weight", sample_weight, X)
        targets = self._targets_of(y)
        self.n_outputs_ = targets.shape[1] if targets.ndim == 2 else len(self.classes_)
        stream = stream_of(self.random_state)
        dtype = checked_dtype(self.dtype)
        if first_pass:
            self._initialize([X.shape[1], *hidden, self.n_outputs_], X.dtype if dtype is None else dtype, stream)
        net = self._linked()
        require_kept(hidden, dtype, net)
        self._describe(net)
        data = Data(X, targets, weights)
        # The squared error and its like are means over the outputs, as scikit-learn states them.
        loss_scale = 1.0 / self.n_outputs_ if self.out_activation_ == "identity" and not is_classifier(self) else 1.0
        if self.solver == "lbfgs":
            _lbfgs.train(self, net, self._trained_on(data, y), hooks, loss_scale)
        else:
            self._start_histories(net, first_pass)
            data, y, score = self._split(data, y, validation, stream)
            _training.train(self, net, self._trained_on(data, y), stream, loss_scale, incremental, score, hooks)
        if not np.isfinite(net.params.flat).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed."
            )
        return self

    def _initialize(self, dims: list[int], dtype: Any, stream: np.random.RandomState) -> None:
        """A new network, and the attributes that are counted from the first fit on."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(dims)
        net = blank_network(dims, dtype, self.activation, self._loss_of_network()[0], self.normalization)
        self._link(drawn_network(net, stream))

    def _start_histories(self, net: FullyConnectedNet, first_pass: bool) -> None:
        """Histories begin with the first fit, and go on with a warm start."""
        if first_pass or not hasattr(self, "loss_curve_"):
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.validation_scores_: list[float] | None = None
            self.best_validation_score_: float | None = None
            self.best_loss_: float | None = None
        if not self.early_stopping:
            self.best_loss_ = np.inf if self.best_loss_ is None else self.best_loss_
            self.validation_scores_ = self.best_validation_score_ = None
        elif self.validation_scores_ is None or self.scoring != vars(self).get("_scored_by"):
            # Scores of two kinds cannot be compared.
            self._no_improvement_count, self._scored_by = 0, self.scoring
            self.validation_scores_, self.best_validation_score_, self.best_loss_ = [], -np.inf, None
            self._best = snapshot(net)

    def _describe(self, net: FullyConnectedNet) -> None:
        """Tell the network the options that a fit goes by, which may have changed since it was made."""
        if net.normalization != self.normalization:
            raise ValueError(
                f"normalization: expected {net.normalization!r}, as in the first fit, got {self.normalization!r}"
            )
        loss_name, parameter = self._loss_of_network()
        if net.dims[-1] != self.n_outputs_ and LOSSES[loss_name].link != LOSSES[net.loss_name].link:
            raise ValueError(
                f"loss: expected the one of the first fit, whose network has {net.dims[-1]} outputs, got {self.loss!r},"
                f" which takes {self.n_outputs_}"
            )
        net.activation, net.loss_name, self.out_activation_ = self.activation, loss_name, self._output()
        net.loss_parameter = checked_parameter(LOSSES[net.loss_name], parameter)
        net.reg = self.alpha
        net.use_dropout = self.dropout > 0
        net.dropout_param = {"mode": "train", "p": 1.0 - self.dropout} if net.use_dropout else {}

    def _split(
        self, data: Data, y: Any, given: tuple[Any, Any, Any], stream: np.random.RandomState
    ) -> tuple[Data, Any, Score | None]:
        """The data that are trained on, and the score of those that are not, by which an early stopping goes."""
        X_val, y_val, weights = given
        if not self.early_stopping:
            return data, y, None
        if X_val is not None:
            X_val, y_val = self._validated_again(X_val, y_val)
            expected, got = data.targets.shape[1:], self._targets_of(y_val).shape[1:]
            if got != expected:
                raise ValueError(f"y_val: expected {expected[0]} targets for each row, as y has, got {got[0]}")
            weights = None if weights is None else checked_weights("sample_weight_val", weights, X_val)
        else:
            trained, held_out = train_test_split(
                np.arange(len(data)),
                random_state=stream,
                test_size=self.validation_fraction,
                stratify=data.targets if is_classifier(self) and self.n_outputs_ == 1 else None,
            )
            if len(held_out) < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
                )
            held = data.rows(held_out)
            X_val, y_val, weights = held.X, y[held_out], held.weights
            require_a_weight(weights)
            data, y = data.rows(trained), y[trained]
        if self.scoring is None:
            plain = weights is None and not issparse(X_val) and self._scores_compiled()
            held_data = Data(X_val, self._targets_of(y_val), None) if plain else None
            return data, y, Score(lambda: self._score_of(X_val, y_val, weights), held_data)
        scorer = check_scoring(self, self.scoring)
        # Shares the network; arrays have no names of features.
        unnamed = copy.copy(self)
        unnamed.__dict__.pop("feature_names_in_", None)
        options = {} if weights is None else {"sample_weight": weights}
        return data, y, Score(lambda: number("scoring", scorer(unnamed, X_val, y_val, **options)))

    def _scores_compiled(self) -> bool:
        """Whether compiled epochs can take the usual score: accuracy, or R^2 of the network's own outputs."""
        if is_classifier(self):
            return len(self.classes_) > 1
        return self._output() == "identity"

    def _validated_again(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Checked examples and targets for validation; a ValueError names them as fit does."""
        try:
            X, y = validate_data(
                self, X, y, accept_sparse=SPARSE, multi_output=True, y_numeric=not is_classifier(self), reset=False
            )
            if y.ndim == 2 and y.shape[1] == 1:
                y = column_or_1d(y, warn=True)
            self._targets_of(y)
        except ValueError as error:
            raise ValueError(f"X_val, y_val: {error}") from error
        return X, y

    def _scores(self, X: Any, score: Callable[[Any], np.ndarray] | None = None) -> np.ndarray:
        """The network's scores (n, outputs) of checked examples, or what else `score` makes of them."""
        return scores_of(X, score or self._linked().loss)

    def _checked(self, X: Any) -> Any:
        """Examples to predict from; an error unless the estimator is fitted."""
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse=SPARSE, reset=False)

    def _link(self, net: FullyConnectedNet) -> FullyConnectedNet:
        self._net, self.coefs_, self.intercepts_ = net, weights_of(net), biases_of(net)
        return net

    def _linked(self) -> FullyConnectedNet:
        """The network; a new one, if somebody has put other arrays in the place of its weights or biases."""
        net: FullyConnectedNet | None = vars(self).get("_net")
        mine = [*self.coefs_, *self.intercepts_]
        if net is not None:
            own = [*weights_of(net), *biases_of(net)]
            if len(mine) == len(own) and all(a is b for a, b in zip(mine, own, strict=True)):
                return net
        dims = [len(self.coefs_[0]), *(np.size(biases) for biases in self.intercepts_)]
        if net is not None and net.dims == dims:
            made = copied(net)
        else:
            dtype = np.float32 if np.asarray(self.coefs_[0]).dtype == np.float32 else np.float64
            made = blank_network(dims, dtype, self.activation, self._loss_of_network()[0], self.normalization)
        return self._link(load_arrays(made, self.coefs_, self.intercepts_))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_net" in state and self._linked() is state["_net"]:
            # They are views of the network's parameters.
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_net" in state and "coefs_" not in state:
            self._link(self._net)

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
