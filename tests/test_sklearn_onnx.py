"""Pipelines with the estimators as ONNX models, made by skl2onnx and run by ONNX Runtime."""

import warnings

import numpy as np
import pytest

import fastfc

sklearn = pytest.importorskip("sklearn")
skl2onnx = pytest.importorskip("skl2onnx")
runtime = pytest.importorskip("onnxruntime")

from exported import ACTIVATIONS  # noqa: E402
from sklearn.datasets import load_digits, load_iris  # noqa: E402
from sklearn.neural_network import MLPClassifier as Theirs  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from fastfc.sklearn import MLPClassifier, MLPRegressor, from_sklearn, register_skl2onnx  # noqa: E402

register_skl2onnx()
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica é"])[Y]


def small(kind=MLPClassifier, **options):
    return kind(hidden_layer_sizes=(8, 5), max_iter=15, learning_rate_init=0.01, random_state=0, **options)


def scaled(*args, **options):
    return make_pipeline(StandardScaler(), small(*args, **options))


def run(model, X, **options):
    """Outputs in their order."""
    with warnings.catch_warnings():
        # Of the libraries among themselves.
        warnings.simplefilter("ignore")
        made = skl2onnx.to_onnx(model, X[:1], **options)
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})


def assert_close(got, expected, dtype, scores=1.0):
    """Within the rounding of a few small layers, whose values are of the size of `scores`."""
    assert got.shape == expected.shape
    bound = fastfc.tolerance(dtype, 100) * (1 + np.abs(scores).max())
    assert np.all(np.abs(got - expected) <= bound)


def assert_classifier(model, X, dtype, **options):
    label, probabilities = run(model, X.astype(dtype), options={"zipmap": False}, **options)
    assert probabilities.dtype == dtype
    expected = model.predict_proba(X.astype(dtype))
    assert_close(probabilities, expected, dtype)
    clear = np.sort(expected, axis=1)[:, -2:] @ [-1, 1] > 1e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(label[clear], model.predict(X)[clear])


@every_dtype
@pytest.mark.parametrize("y", [Y, NAMES, Y == 1, Y * 2.0 - 3], ids=["integers", "strings", "booleans", "floats"])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_a_pipeline_predicts_the_same(y, normalization, dtype):
    assert_classifier(scaled(normalization=normalization).fit(X, y), X, dtype)


@every_dtype
def test_digits(dtype):
    X, y = load_digits(return_X_y=True)
    assert_classifier(make_pipeline(StandardScaler(), MLPClassifier((30,), max_iter=5)).fit(X, y), X, dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    assert_classifier(scaled(activation=activation).fit(X, NAMES), X, np.float32)


@pytest.mark.parametrize("opset", [17, 18, 21])
@every_dtype
def test_opsets(opset, dtype):
    model = scaled(normalization="layernorm").fit(X, NAMES)
    assert_classifier(model, X, dtype, target_opset=opset)


def test_an_opset_that_is_too_old():
    with pytest.raises(ValueError, match="target_opset: expected at least 17, got 15"):
        run(small().fit(X, Y), X, target_opset=15)


def test_members():
    for y in (NAMES, Y == 1):
        assert_classifier(scaled(n_members=3).fit(X, y), X, np.float64)
    model = small(MLPRegressor, n_members=2).fit(X, X[:, 0])
    (got,) = run(model, X)
    assert_close(got, model.predict(X)[:, np.newaxis], np.float64, scores=X)


def test_zipmap():
    model = small().fit(X, NAMES)
    label, probabilities = run(model, X.astype(np.float32))
    assert list(probabilities[0]) == sorted(set(NAMES.tolist()))
    assert label.tolist() == model.predict(X).tolist()
    assert_close(np.array([list(p.values()) for p in probabilities]), model.predict_proba(X), np.float32)


def test_labels_by_number():
    model = small().fit(X, NAMES)
    label, _ = run(model, X, options={id(model): {"zipmap": False, "nocl": True}})
    np.testing.assert_array_equal(model.classes_[label], model.predict(X))


def test_hinge():
    model = scaled(loss="hinge").fit(X, NAMES)
    label, scores = run(model, X, options={"zipmap": False})
    assert label.tolist() == model.predict(X).tolist()
    assert_close(scores, model.decision_function(X), np.float64, scores=scores)


def test_several_labels():
    y = np.stack([Y == 0, Y != 1], axis=1).astype(int)
    model = scaled().fit(X, y)
    label, probabilities = run(model, X, options={"zipmap": False})
    np.testing.assert_array_equal(label, model.predict(X))
    assert_close(probabilities, model.predict_proba(X), np.float64)


@every_dtype
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber"])
def test_numbers(loss, dtype):
    for y in (X[:, 3], X[:, 2:]):
        model = scaled(MLPRegressor, loss=loss).fit(X, y)
        expected = model.predict(X.astype(dtype)).reshape(len(X), -1)
        (got,) = run(model, X.astype(dtype))
        assert got.dtype == dtype
        assert_close(got, expected, dtype, scores=expected)


def test_an_estimator_of_scikit_learns():
    theirs = Theirs((8, 5), max_iter=15, random_state=0).fit(X, NAMES)
    assert_classifier(from_sklearn(theirs), X, np.float64)


def test_classes_that_onnx_lacks():
    with pytest.raises(ValueError, match="expected at least two classes, got"):
        run(small().fit(X, 0 * Y), X, options={"zipmap": False})
    model = small().fit(X, Y)
    model.classes_ = np.array([0.5, 1.0, 2.0])
    with pytest.raises(ValueError, match="expected classes that are whole numbers or strings, got"):
        run(model, X, options={"zipmap": False})


def test_the_fitted_loss_is_exported():
    model = small(MLPRegressor).fit(X, X[:, 0])
    expected = model.predict(X)
    assert_close(run(model.set_params(loss="poisson"), X)[0].ravel(), expected, np.float64, expected)
    model = scaled().fit(X, NAMES)
    model.set_params(mlpclassifier__loss="hinge")
    label, _ = run(model, X, options={"zipmap": False})
    np.testing.assert_array_equal(label, model.predict(X))
