"""The two estimators."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_class_weight, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from fastfc.losses import predictions_of
from fastfc.ops.losses import LOSSES
from fastfc.sklearn._base import SPARSE, BaseMLP, with_callbacks
from fastfc.sklearn._data import Data
from fastfc.sklearn._docs import documented
from fastfc.sklearn._members import mean_of
from fastfc.sklearn._options import CLASSIFIER_LOSSES, CONSTRAINTS, REGRESSOR_LOSSES

_FLOATS = (np.float64, np.float32)


def _binarizer_of(y: Any) -> LabelBinarizer:
    """``LabelBinarizer().fit(y)``, which takes half of a small training's time; at once for plain labels."""
    binarizer = LabelBinarizer()
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "biuU":
        return binarizer.fit(y)
    classes = np.unique(y)
    if 2 * len(classes) > len(y):
        # So many classes are an error or a warning of scikit-learn's.
        return binarizer.fit(y)
    binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
    binarizer.sparse_input_ = False
    # Strings of the least length that takes them all, as scikit-learn's are.
    binarizer.classes_ = np.array(classes.tolist()) if y.dtype.kind == "U" else classes
    return binarizer


@documented
class MLPClassifier(ClassifierMixin, BaseMLP):
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "loss": [StrOptions(set(CLASSIFIER_LOSSES))],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        normalization: str | None = None,
        dropout: float = 0.0,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        schedule: Any = None,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        restore_best: bool = True,
        scoring: Any = None,
        n_members: int = 1,
        n_threads: int | None = None,
        dtype: Any = None,
    ) -> None:
        self._keep(locals())

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPClassifier":
        return self._fit_with_callbacks(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda est: est._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        with self._unchanged_by_failure():
            if _check_partial_fit_first_call(self, classes):
                labels = y if type_of_target(y).startswith("multilabel") else classes
                self._label_binarizer = LabelBinarizer().fit(labels)
            return self._fit(X, y, sample_weight, True)

    def predict(self, X: Any) -> Any:
        X = self._checked(X)
        if not hasattr(self, "members_"):
            return self._labels_of(self._scores(X))
        if self._fitted_loss() == "svm":
            return self._labels_of(mean_of(self.members_, lambda member: member._scores(X)))
        found = self._probabilities(X)
        # A logistic output says yes above 0, which is a probability of a half.
        return self._labels_of(found if self._fitted_output() == "softmax" else found[:, -self.n_outputs_ :] - 0.5)

    @available_if(lambda est: est._check_probabilities())
    def predict_proba(self, X: Any) -> np.ndarray:
        return self._probabilities(self._checked(X))

    def _probabilities(self, X: Any) -> np.ndarray:
        if hasattr(self, "members_"):
            return mean_of(self.members_, lambda member: member._probabilities(X))
        return self._scores(X, self._linked().predict_proba)

    @available_if(lambda est: est._check_probabilities())
    def predict_log_proba(self, X: Any) -> np.ndarray:
        found = self.predict_proba(X)
        return np.log(found, out=found)

    @available_if(lambda est: est._has_margins())
    def decision_function(self, X: Any) -> np.ndarray:
        X = self._checked(X)
        if hasattr(self, "members_"):
            return mean_of(self.members_, lambda member: member.decision_function(X))
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def _has_margins(self) -> bool:
        """Whether it predicts by the hinge loss, or will once it is fitted."""
        fitted = hasattr(self, "members_") or hasattr(self, "coefs_")
        return self._fitted_loss() == "svm" if fitted else self.loss == "hinge"

    def _check_probabilities(self) -> bool:
        if self._has_margins():
            raise AttributeError("loss='hinge' gives no probabilities; use decision_function, or loss='log_loss'")
        return True

    def _loss_of_network(self) -> tuple[str, float | None]:
        if self.loss == "hinge":
            return CLASSIFIER_LOSSES[self.loss], None
        return ("softmax", self.label_smoothing) if self._output() == "softmax" else ("logistic", None)

    def _output(self) -> str:
        if self.loss == "hinge":
            return "identity"
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, accept_sparse=SPARSE, multi_output=True, dtype=_FLOATS, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "hinge" and (issparse(y) or y.ndim == 2):
            raise ValueError("y: expected one label for each row with loss='hinge', got several")
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = _binarizer_of(y)
            self.classes_ = self._label_binarizer.classes_
            return X, y
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                    f" Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )
        return X, y

    def _targets_of(self, y: Any) -> np.ndarray:
        if self._label_binarizer.y_type_.startswith("multilabel"):
            if y.ndim != 2:
                raise ValueError(f"y: expected several labels for each row, as in the first fit, got shape {y.shape}")
            return self._label_binarizer.transform(y).astype(bool)
        if y.ndim != 1:
            raise ValueError(f"y: expected one label for each row, as in the first fit, got shape {y.shape}")
        places = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = self.classes_[places] != y
        if unknown.any():
            raise ValueError(f"y: expected labels among {self.classes_}, got {np.unique(y[unknown])}")
        return places[:, None] == 1 if self._output() == "logistic" else places

    def _trained_on(self, data: Data, y: Any) -> Data:
        targets, weights = data.targets, data.weights
        if self.class_weight is not None:
            try:
                of_classes = self._weights_of_rows(y)
            except ValueError as error:
                raise ValueError(f"class_weight: {error}") from error
            if not (np.isfinite(of_classes).all() and of_classes.min() >= 0):
                raise ValueError(f"class_weight: expected finite numbers of at least 0, got {self.class_weight}")
            weights = of_classes if weights is None else weights * of_classes
        if self.label_smoothing and targets.ndim == 2:
            # A softmax's are the loss's own parameter.
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        return Data(data.X, targets, weights)

    def _weights_of_rows(self, y: Any) -> np.ndarray:
        """The weights of the rows by their classes, of which a part of the rows may lack some."""
        if not isinstance(self.class_weight, Mapping) or np.ndim(y) != 1:
            return compute_sample_weight(self.class_weight, y)
        of_classes = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        return of_classes[np.searchsorted(self.classes_, y)]

    def _labels_of(self, scores: np.ndarray) -> Any:
        binarizer = self._label_binarizer
        found = predictions_of(LOSSES[self._fitted_loss() if scores.shape[1] > 1 else "logistic"], scores)
        if binarizer.y_type_.startswith("multilabel"):
            return csr_matrix(found) if binarizer.sparse_input_ else found
        # The binarizer gives a single class the score of none.
        return self.classes_[np.minimum(found, len(self.classes_) - 1)]

    def _score_of(self, X: Any, y: Any, sample_weight: np.ndarray | None) -> float:
        wrong = self._labels_of(self._scores(X)) != y
        if issparse(wrong):
            wrong = wrong.toarray()
        return float(np.average(~wrong.any(axis=1) if wrong.ndim == 2 else ~wrong, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@documented
class MLPRegressor(RegressorMixin, BaseMLP):
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "loss": [StrOptions(set(REGRESSOR_LOSSES))],
        "loss_parameter": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss_parameter: float | None = None,
        normalization: str | None = None,
        dropout: float = 0.0,
        schedule: Any = None,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        restore_best: bool = True,
        scoring: Any = None,
        n_members: int = 1,
        n_threads: int | None = None,
        dtype: Any = None,
    ) -> None:
        self._keep(locals())

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPRegressor":
        return self._fit_with_callbacks(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda est: est._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        return self._fit(X, y, sample_weight, True)

    def predict(self, X: Any) -> np.ndarray:
        X = self._checked(X)
        return self._predictions(X)

    def _predictions(self, X: Any) -> np.ndarray:
        if hasattr(self, "members_"):
            return mean_of(self.members_, lambda member: member._predictions(X))
        net = self._linked()
        return predictions_of(LOSSES[net.loss_name], self._scores(X))

    def _loss_of_network(self) -> tuple[str, float | None]:
        return REGRESSOR_LOSSES[self.loss], self.loss_parameter

    def _output(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse=SPARSE, multi_output=True, y_numeric=True, dtype=_FLOATS, reset=reset
        )
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets_of(self, y: Any) -> np.ndarray:
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def _score_of(self, X: Any, y: Any, sample_weight: np.ndarray | None) -> float:
        found = self._predictions(X)
        return float(r2_score(y, found, sample_weight=sample_weight)) if np.isfinite(found).all() else np.nan
