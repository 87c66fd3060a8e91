"""How many times faster than scikit-learn's estimators those of fastfc.sklearn are fitted, both taken in turns."""

import importlib
import warnings

from benchmarks.common import Benchmark, pinned, readable, repeated, speedup

# Every training takes all of its epochs.
_WHOLE = {"tol": 0.0, "n_iter_no_change": 10**6, "random_state": 0}
#: Name -> the data's function in sklearn.datasets, the estimator, its options.
FITS = {
    "iris, 100 epochs": ("load_iris", "MLPClassifier", {"max_iter": 100, "batch_size": 16, **_WHOLE}),
    "breast cancer, 50 epochs": ("load_breast_cancer", "MLPClassifier", {"max_iter": 50, **_WHOLE}),
    "digits, 20 epochs": ("load_digits", "MLPClassifier", {"max_iter": 20, **_WHOLE}),
    "diabetes, 100 epochs": ("load_diabetes", "MLPRegressor", {"max_iter": 100, **_WHOLE}),
    "iris, L-BFGS": ("load_iris", "MLPClassifier", {"max_iter": 50, "solver": "lbfgs", "random_state": 0}),
}


class Fit(Benchmark):
    version = "1"
    unit = "x"
    params = (list(FITS), [1, 2])
    param_names = ("fit", "threads")

    def prepare(self, fit, threads):
        try:
            ours, theirs = map(importlib.import_module, ("fastfc.sklearn", "sklearn.neural_network"))
        except ImportError as error:
            # Of an older commit, or without scikit-learn.
            raise NotImplementedError(str(error)) from error
        self._stack.enter_context(pinned("fast", threads))
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        data, estimator, options = FITS[fit]
        X, y = getattr(importlib.import_module("sklearn.datasets"), data)(return_X_y=True)
        X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
        self.runs = [repeated(getattr(module, estimator)(**options).fit, X, y) for module in (theirs, ours)]

    def track_ratio(self, fit, threads):
        return readable(speedup(*self.runs))
