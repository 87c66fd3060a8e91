"""Fitted estimators, fastfc's and scikit-learn's own, in the formats of networks."""

import numpy as np
import pytest

import fastfc
from fastfc import export, load_model
from fastfc.cli import main

pytest.importorskip("sklearn")

from exported import imported
from sklearn import neural_network

from fastfc.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X = np.random.default_rng(0).standard_normal((60, 4))
THREE = np.arange(60) % 3
BOTH = [MLPClassifier, neural_network.MLPClassifier]
small = {"hidden_layer_sizes": (6, 5), "max_iter": 5, "random_state": 0}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def exported(model):
    export(model, "net.py")
    return imported("net.py")


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "y",
    [
        THREE,
        THREE > 0,
        THREE * 2,
        np.array(["no", "yes", "mäh"])[THREE],
        np.array(["no", "yes"])[THREE // 2],
        THREE // 2,
    ],
    ids=["integers", "booleans", "other integers", "strings", "two strings", "two integers"],
)
def test_classifiers(kind, y):
    model = kind(**small).fit(X, y)
    module = exported(model)
    assert [str(label) for label in module.predict(X)] == [str(label) for label in model.predict(X)]
    bound = fastfc.tolerance(np.float64, 30)
    np.testing.assert_allclose(module.predict_proba(X), model.predict_proba(X), rtol=0, atol=bound)
    whole = y.dtype.kind == "i" and set(y.tolist()) <= {0, 1, 2} and len(set(y.tolist())) == y.max() + 1
    assert load_model("net.npz").class_names == (None if whole else [str(name) for name in model.classes_])


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_two_classes_with_a_normalization(normalization):
    model = MLPClassifier(**small, normalization=normalization).fit(X, np.array(["no", "yes"])[THREE // 2])
    module = exported(model)
    bound = fastfc.tolerance(np.float64, 30)
    np.testing.assert_allclose(module.predict_proba(X), model.predict_proba(X), rtol=0, atol=bound)
    # The estimator's own network is what it was.
    assert model.network_.dims == [4, 6, 5, 1]
    assert model.network_.class_names is None


@pytest.mark.parametrize("kind", BOTH)
def test_several_labels(kind):
    model = kind(**small).fit(X, np.stack([THREE == 0, THREE != 1], axis=1).astype(int))
    np.testing.assert_array_equal(exported(model).predict(X), model.predict(X))


@pytest.mark.parametrize("kind", [MLPRegressor, neural_network.MLPRegressor])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors(kind, loss):
    if kind is neural_network.MLPRegressor and "loss" not in kind().get_params():
        pytest.skip("this version of scikit-learn has one loss")
    for y in (X[:, 0] ** 2, X[:, :2] ** 2):
        if loss == "poisson" and y.ndim == 2:
            continue
        model = kind(**small, loss=loss).fit(X, y)
        found, expected = exported(model).predict(X), model.predict(X)
        assert found.shape == expected.shape
        bound = fastfc.tolerance(np.float64, 60) * (1 + np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", [*BOTH, MLPRegressor, neural_network.MLPRegressor])
def test_names_of_columns(kind, capsys):
    """A table with its columns in another order is predicted by their names, as the estimator would have it."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["b", "a", "d", "c"])
    of_classes = "Classifier" in kind.__name__
    model = kind(**small).fit(table, np.array(["no", "yes"])[THREE // 2] if of_classes else X[:, 0])
    export(model, "net.npz")
    assert load_model("net.npz").feature_names == ["b", "a", "d", "c"]
    table[["a", "b", "c", "d"]].to_csv("new.csv", index=False)
    assert main(["predict", "net.npz", "new.csv"]) == 0
    found, expected = capsys.readouterr().out.split(), model.predict(table)
    if of_classes:
        assert found == expected.tolist()
    else:
        bound = fastfc.tolerance(np.float64, 60) * (1 + np.abs(expected).max())
        np.testing.assert_allclose(np.array(found, float), expected, rtol=0, atol=bound)
    assert getattr(getattr(model, "network_", None), "feature_names", None) is None


def test_estimators_without_one_network():
    with pytest.raises(ValueError, match="net: expected one network, got an estimator with 2 members"):
        export(MLPClassifier(**small, n_members=2).fit(X, THREE), "net.py")
    with pytest.raises(ValueError, match="net: expected at least two classes"):
        export(MLPClassifier(**small).fit(X, 0 * THREE), "net.py")
    for kind in BOTH:
        with pytest.raises(TypeError, match="or a fitted multi-layer perceptron, got MLPClassifier"):
            export(kind(), "net.py")
