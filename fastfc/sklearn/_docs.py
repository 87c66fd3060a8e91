"""The docstrings of the estimators, which share most of their text."""

import inspect
from typing import Any

from fastfc.ops.activations import ACTIVATIONS

_TITLE = {
    "MLPClassifier": "A multi-layer perceptron for classification, with scikit-learn's interface and numbers.",
    "MLPRegressor": "A multi-layer perceptron for regression, with scikit-learn's interface and numbers.",
}

_PARAMETERS = {
    "loss": """{{"squared_error", "poisson", "absolute_error", "huber", "quantile"}}
        The last three are not in scikit-learn. A row's loss is the mean over its outputs; the sum for
        ``"poisson"``.""",
    "hidden_layer_sizes": """int or sequence of int
        Widths of the hidden layers.""",
    "activation": """str
        Scikit-learn's ``"identity"``, ``"logistic"``, ``"tanh"``, ``"relu"``, or another one of
        :data:`fastfc.activations.NAMES`: {activations}.""",
    "solver": """{{"adam", "sgd", "lbfgs"}}""",
    "alpha": """float
        L2 strength; a batch's penalty is ``alpha / 2 * sum(W**2)`` over the sum of its rows' weights.""",
    "batch_size": """int or "auto"
        ``"auto"`` is ``min(200, n_samples)``.""",
    "learning_rate": """{{"constant", "invscaling", "adaptive"}}
        Of the solver "sgd".""",
    "learning_rate_init": "float",
    "power_t": """float
        The exponent of ``"invscaling"``.""",
    "max_iter": """int
        The most epochs, or iterations of "lbfgs".""",
    "shuffle": "bool",
    "random_state": """int, RandomState or None
        Initial weights, the validation split, permutations and dropout are drawn from it, in this order.""",
    "tol": "float",
    "verbose": """bool
        Print the loss of each epoch. It is slower, as every epoch is a compiled call of its own.""",
    "warm_start": "bool",
    "momentum": "float",
    "nesterovs_momentum": "bool",
    "early_stopping": """bool
        Stop by the score on rows that are held out, or given to :meth:`fit`, instead of the training loss.""",
    "validation_fraction": "float",
    "beta_1": "float",
    "beta_2": "float",
    "epsilon": "float",
    "n_iter_no_change": """int or numpy.inf
        Epochs without an improvement of `tol` before the training ends, or an adaptive rate falls.""",
    "max_fun": "int",
    "loss_parameter": """float, optional
        The delta of ``"huber"`` (1), or the quantile of ``"quantile"`` (0.5).""",
    "normalization": """{{None, "batchnorm", "layernorm"}}
        Of the hidden layers, before their activation.""",
    "dropout": """float
        The probability to drop a hidden value in training, 0 <= p < 1.""",
    "class_weight": """dict, "balanced" or None
        Weights of the classes, by which those of the rows are multiplied. ``"balanced"`` counts the classes of the
        rows that are trained on; not with :meth:`partial_fit`. Scores of validation have none.""",
    "label_smoothing": """float
        The share s of a label that is spread evenly over all classes, or over 0 and 1 of each output.""",
    "schedule": """str, :class:`~fastfc.schedules.Schedule` or :class:`~fastfc.schedules.ReduceOnPlateau`, optional
        Factors of the learning rate by steps, for "adam" too; ``max_iter`` epochs are the whole training. A plateau is
        one of the training loss, or with early stopping of the validation score (``monitor="val_acc"``).""",
    "weight_decay": """float
        Decoupled weight decay (AdamW) of the solver "adam"; biases do not decay. With it epsilon is added to the
        corrected root, as in :func:`fastfc.optim.adamw`.""",
    "max_norm": """float, optional
        The norm to which gradients are clipped, taken over all parameters.""",
    "accumulate": """int
        The rule is applied after so many batches, to the mean of their gradients over their rows, and at the end of an
        epoch.""",
    "ema": """float, optional
        Decay of an exponential moving average of the parameters, with which the estimator is scored and predicts.""",
    "restore_best": """bool
        Whether early stopping ends with the parameters of the best score; else with the last ones.""",
    "scoring": """str, callable or None
        The score of early stopping, by scikit-learn's names; None is the accuracy, or R² for regression.""",
    "n_members": """int
        Networks that are fitted on the same data with seeds drawn from `random_state`, side by side in as many threads
        as one training could have, with one thread each. Their probabilities or predictions are averaged (with
        ``"hinge"`` their scores). With several, early stopping holds out rows for each anew, scikit-learn's callbacks
        are refused, and Ctrl-C ends all of them and keeps nothing.""",
    "n_threads": """int, optional
        Threads of a training. By default one within a parallel search, else as :func:`fastfc.set_num_threads` says,
        else as many as pay.""",
    "dtype": """{{None, numpy.float32, numpy.float64}}
        Of the parameters; None is that of X if it is float32, else float64.""",
}

#: Parameters that the classifier has in another form.
_OF_CLASSIFIERS = {
    "loss": """{{"log_loss", "hinge"}}
        ``"hinge"`` is the multiclass hinge loss, of one label a row; with it there is :meth:`decision_function` in the
        place of :meth:`predict_proba`.""",
}

_REST = """
Attributes
----------
coefs_, intercepts_ : list of array
    Weights (n_in, n_out) and biases (n_out,) of each layer; views of the network's parameters.
network_ : FullyConnectedNet
    The network itself, to be saved, exported or trained on.
members_ : list of {name}
    With ``n_members`` above 1, the fitted members; each has weights, network and histories of its own, which the
    ensemble has not.
loss_, best_loss_ : float
    The last and the least loss of an epoch; ``best_loss_`` is None with early stopping.
loss_curve_ : list of float
    Of each epoch, the mean loss of its batches, before each step.
validation_scores_, best_validation_score_ : list of float, float
    With early stopping; else None.
n_iter_, t_ : int
    Epochs of the last fit, and rows seen in all of them.
{classes}n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
    As in scikit-learn.

See Also
--------
sklearn.neural_network.{name}

Notes
-----
With scikit-learn's options alone and the same `random_state`, histories and predictions are scikit-learn's up to
rounding. X may be an array, a table of pandas or polars, or a sparse matrix, whose rows are made dense a few batches
at a time.

Examples
--------
{example}
"""

_EXAMPLES = {
    "MLPClassifier": """>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> model = MLPClassifier((20,), learning_rate_init=0.05, tol=0.01, random_state=0).fit(X, y)
>>> model.score(X, y) > 0.95
True""",
    "MLPRegressor": """>>> from sklearn.datasets import make_regression
>>> X, y = make_regression(50, 4, random_state=1)
>>> model = MLPRegressor("squared_error", (10,), solver="lbfgs", tol=0.1, random_state=1).fit(X, y)
>>> model.score(X, y) > 0.95
True""",
}

_FIT = """Train on X (n, features) and y.

Parameters
----------
X : array, table or sparse matrix (n, features)
y : array (n,) or (n, outputs)
sample_weight : array (n,), optional
X_val, y_val, sample_weight_val : optional
    Data for early stopping, in place of a part of X.

Returns
-------
self

Raises
------
ValueError
    For data or options that do not fit, or parameters that are no longer finite.

Warns
-----
sklearn.exceptions.ConvergenceWarning
    If the training has taken ``max_iter`` epochs.
UserWarning
    After Ctrl-C, which keeps what was learnt.
"""


def _method(summary: str, shape: str, text: str = "") -> str:
    """The docstring of a method that takes X and returns an array."""
    returns = f"array {shape}\n" + (f"    {text}\n" if text else "")
    return f"""{summary}

Parameters
----------
X : array or sparse matrix (n, features)

Returns
-------
{returns}
Raises
------
sklearn.exceptions.NotFittedError
    Before a fit.
ValueError
    For another number of features, or values that are not finite.
"""


_METHODS = {
    "fit": _FIT,
    "partial_fit": """Train one epoch more on X (n, features) and y; the solver's state goes on.

`classes`, of a classifier, are all labels that may come; the first call needs them.
""",
    "predict": _method("Predictions in the form of y.", "(n,), or (n, outputs) for several"),
    "predict_proba": _method(
        "Probabilities of the classes.",
        "(n, classes)",
        "In the order of ``classes_``; of several labels, each one's own.",
    ),
    "predict_log_proba": _method("Logarithms of the probabilities.", "(n, classes)"),
    "decision_function": _method(
        'Scores, with ``loss="hinge"``.', "(n, classes)", "Of two classes (n,), above 0 for the second."
    ),
}


def documented(estimator: type) -> Any:
    """Give an estimator and its methods their docstrings."""
    name = estimator.__name__
    texts = _PARAMETERS | (_OF_CLASSIFIERS if "Classifier" in name else {})
    lines = []
    for parameter in list(inspect.signature(estimator).parameters):
        text = texts[parameter].format(activations=", ".join(ACTIVATIONS))
        lines.append(f"{parameter} : {text}".replace("\n        ", "\n    "))
    classes = "classes_ : array (classes,)\n    The labels.\n" if "Classifier" in name else ""
    rest = _REST.format(name=name, classes=classes, example=_EXAMPLES[name])
    estimator.__doc__ = f"{_TITLE[name]}\n\nParameters\n----------\n" + "\n".join(lines) + "\n" + rest
    for method, text in _METHODS.items():
        if method in vars(estimator):
            function = vars(estimator)[method]
            getattr(function, "fn", function).__doc__ = text
    return estimator
