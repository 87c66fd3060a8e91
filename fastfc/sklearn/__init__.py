"""scikit-learn's multi-layer perceptrons, compiled: the same constructors, attributes and numbers, and more options.

``from fastfc.sklearn import MLPClassifier`` in place of ``from sklearn.neural_network import MLPClassifier`` is all
that a program needs to change. Needs the extra ``fastfc[sklearn]``.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('fastfc.sklearn needs scikit-learn: pip install "fastfc[sklearn]"') from error

from fastfc.sklearn._conversion import from_sklearn, to_sklearn
from fastfc.sklearn._estimators import MLPClassifier, MLPRegressor
from fastfc.sklearn._onnx import register_skl2onnx

for _public in (MLPClassifier, MLPRegressor, from_sklearn, register_skl2onnx, to_sklearn):
    # Pickles name them so.
    _public.__module__ = __name__

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "register_skl2onnx", "to_sklearn"]
