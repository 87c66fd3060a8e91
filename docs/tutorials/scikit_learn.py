"""
Moving from scikit-learn's MLPClassifier
========================================

You have a program with ``MLPClassifier`` or ``MLPRegressor``, a pipeline around it and a search around that, and most of
the time goes into ``fit``. This page changes one import, checks that the numbers stay the same, and then shows what
else the estimators can do.

.. code-block:: sh

   pip install "fastfc[sklearn]"
"""

# %%
# One import
# ----------
# Your program needs a new import and nothing else. This page uses both estimators, so it imports both modules. The data
# are scikit-learn's digits: 1,797 pictures of 8 by 8 pixels.

from time import perf_counter

import sklearn.neural_network
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastfc.sklearn

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)

options = {"hidden_layer_sizes": (100,), "max_iter": 40, "random_state": 0}
theirs = sklearn.neural_network.MLPClassifier(**options)
ours = fastfc.sklearn.MLPClassifier(**options)

# %%
# Forty epochs are too few for either to converge, and both say so by the same ``ConvergenceWarning``, which this page
# hides.

import warnings

from sklearn.exceptions import ConvergenceWarning

warnings.simplefilter("ignore", ConvergenceWarning)


def seconds(model):
    start = perf_counter()
    model.fit(X_train, y_train)
    return perf_counter() - start


seconds(ours)  # the first fit on a machine compiles
print(f"scikit-learn {1000 * seconds(theirs):6.0f} ms")
print(f"fastfc       {1000 * seconds(ours):6.0f} ms")
print(
    f"test accuracy {theirs.score(X_test, y_test):.3f} and {ours.score(X_test, y_test):.3f}"
)

# %%
# The same numbers
# ----------------
# With the same ``random_state`` the two draw the same initial weights and the same batches. So the curves of their losses
# are the same curve, and what remains between them is rounding.

import matplotlib.pyplot as plt
import numpy as np

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(theirs.loss_curve_, linewidth=5, alpha=0.4, label="scikit-learn")
left.plot(ours.loss_curve_, color="black", linewidth=1, label="fastfc")
left.set(xlabel="epoch", ylabel="training loss")
left.legend()
difference = np.abs(np.array(ours.loss_curve_) - theirs.loss_curve_)
right.semilogy(np.maximum(difference, 1e-17), "o", markersize=4)
right.set(xlabel="epoch", ylabel="difference of the losses", ylim=(1e-18, 1e-12))
plt.show()

# %%
# Everything around it stays
# --------------------------
# The estimators are scikit-learn's in every respect that its tools look at: pipelines, searches, ``clone``, ``set_params``,
# pickles, ``n_jobs``.

from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

search = GridSearchCV(
    make_pipeline(
        StandardScaler(), fastfc.sklearn.MLPClassifier(max_iter=30, random_state=0)
    ),
    {
        "mlpclassifier__alpha": [1e-4, 1e-2, 1],
        "mlpclassifier__learning_rate_init": [1e-3, 1e-2],
    },
    cv=3,
)
search.fit(X_train, y_train)
print(search.best_params_, f"accuracy {search.best_score_:.3f}")

# %%
# Additions
# ---------
# All further options are keywords whose defaults change nothing. Here are batch normalization, dropout, a schedule of the
# learning rate for Adam, and validation data of one's own, with the best epoch restored:

model = fastfc.sklearn.MLPClassifier(
    (100, 100),
    "silu",
    normalization="batchnorm",
    dropout=0.2,
    schedule="cosine",
    class_weight="balanced",
    early_stopping=True,
    n_iter_no_change=20,
    max_iter=60,
    random_state=0,
)
model.fit(X_train[:1000], y_train[:1000], X_val=X_train[1000:], y_val=y_train[1000:])
print(f"best validation accuracy {model.best_validation_score_:.3f}")
print(f"test accuracy {model.score(X_test, y_test):.3f}")

# %%
# Look inside
# -----------
# The network itself is ``model.network_``: a :class:`fastfc.FullyConnectedNet`, which can be drawn, saved and exported.
# With strong L2 regularization the weights of pixels that do not matter vanish, and those of some units altogether: fewer
# units would do.

from fastfc.plots import plot_weights

model = fastfc.sklearn.MLPClassifier(
    (30,), alpha=3, learning_rate_init=3e-3, max_iter=150, random_state=0
)
model.fit(X_train, y_train)
print(f"test accuracy {model.score(X_test, y_test):.3f}")
plot_weights(model.network_, (8, 8)).figure

# %%
# The way back
# ------------
# Where only scikit-learn is installed, or a colleague wants its class, the fitted estimator becomes scikit-learn's own.
# That works for what scikit-learn's networks can be: no normalization, and its four activations.

from fastfc.sklearn import from_sklearn, to_sklearn

back = to_sklearn(ours)
print(type(back))
print("same predictions:", bool((back.predict(X_test) == ours.predict(X_test)).all()))
print("and forth:", type(from_sklearn(theirs)).__module__)

# %%
# Differences
# -----------
#
# .. list-table::
#    :header-rows: 1
#    :widths: 26 37 37
#
#    * - Where
#      - scikit-learn
#      - fastfc
#    * - Probabilities that reach 0
#      - are clipped in the loss at 2e-16
#      - the loss is computed from the scores, without a limit; gradients are the same
#    * - ``warm_start`` with ``early_stopping``
#      - may return the last parameters
#      - returns the best ones
#    * - ``solver="lbfgs"`` with float32
#      - ends with float64 parameters
#      - computes in float64, ends with float32
#    * - Negative ``sample_weight``
#      - is taken
#      - is an error
#    * - Sparse ``X``
#      - has sparse products
#      - rows are made dense, a few batches at a time
#    * - ``activation`` changed after ``fit``
#      - changes predictions
#      - changes the next fit
#
# Where to go next: :doc:`/sklearn` has all options and all differences; :doc:`searches` is for searches that are larger
# than ``GridSearchCV`` has patience for; :doc:`exporting` takes the network elsewhere.

# sphinx_gallery_thumbnail_number = 1
