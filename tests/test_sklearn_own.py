"""scikit-learn's own tests of its multi-layer perceptrons, read where they are installed and run on fastfc's."""

import types
from pathlib import Path

import numba
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn import neural_network
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from fastfc.sklearn import MLPClassifier, MLPRegressor

# Many of its tests train for fewer epochs than it takes.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="thousands of interpreted steps take minutes"),
]

if parse_version(sklearn.__version__) < parse_version("1.9"):
    pytest.skip("its tests do not know of later behaviour", allow_module_level=True)

SOURCE = Path(neural_network.__file__).parent / "tests" / "test_mlp.py"
PRIVATE = {"test_gradient": "calls _loss_grad_lbfgs, a private method that fastfc's estimators do not have"}


@pytest.fixture
def global_random_seed():
    """The fixture of scikit-learn's own configuration."""
    return 42


def own_tests():
    """scikit-learn's test functions by name, compiled from their source with fastfc's estimators for its own."""
    if not SOURCE.exists():
        return {}
    code = compile(SOURCE.read_text(encoding="utf-8"), SOURCE, "exec", dont_inherit=True)
    module = types.ModuleType("sklearn_test_mlp")
    with pytest.MonkeyPatch.context() as patch:
        # While the module's first lines import them.
        patch.setattr(neural_network, "MLPClassifier", MLPClassifier)
        patch.setattr(neural_network, "MLPRegressor", MLPRegressor)
        exec(code, vars(module))
    functions = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    for name, reason in PRIVATE.items():
        functions[name] = pytest.mark.skip(reason=reason)(functions[name])
    return functions


globals().update(own_tests())


def test_all_of_their_tests_are_here():
    if not SOURCE.exists():
        pytest.skip("scikit-learn is installed without its tests")
    assert len([name for name in globals() if name.startswith("test_")]) > 40
    assert neural_network.MLPClassifier is not MLPClassifier


@parametrize_with_checks(
    [
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
        MLPClassifier(max_iter=100, solver="lbfgs"),
        MLPRegressor(max_iter=100, solver="sgd"),
        MLPClassifier(max_iter=100, normalization="layernorm", activation="silu", schedule="cosine", weight_decay=0.1),
    ]
)
def test_checks_of_estimators(estimator, check):
    check(estimator)
