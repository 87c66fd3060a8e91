"""Initializers: their distributions, where their numbers come from, and scikit-learn's own."""

import math

import numpy as np
import pytest

from fastfc import FullyConnectedNet, initializers, tolerance
from fastfc.initializers import INITIALIZERS, draw, orthogonal, scikit_layer

SHAPE = (300, 200)
# Name -> standard deviation, and the bound of uniform values.
EXPECTED = {
    "course_normal": (1e-2, None),
    "he_normal": (math.sqrt(2 / 300), None),
    "he_uniform": (math.sqrt(2 / 300), math.sqrt(6 / 300)),
    "glorot_normal": (math.sqrt(2 / 500), None),
    "glorot_uniform": (math.sqrt(2 / 500), math.sqrt(6 / 500)),
}
OPTION = {name: "scale" if name == "course_normal" else "gain" for name in INITIALIZERS}
SOURCES = {"RandomState": np.random.RandomState, "Generator": np.random.default_rng}


def stream():
    return np.random.get_state()[1:3]


def test_every_initializer_is_public():
    assert {*EXPECTED, "orthogonal"} == set(INITIALIZERS)
    assert {*INITIALIZERS, "INITIALIZERS", "Rng", "draw", "scikit_layer"} == set(initializers.__all__)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", EXPECTED)
def test_distributions(name, source):
    deviation, bound = EXPECTED[name]
    values = draw(name, SHAPE, SOURCES[source](0))
    assert values.shape == SHAPE
    # Six standard errors of the mean and, for at most 3 as the kurtosis, of the variance.
    assert abs(values.mean()) <= 6 * deviation / math.sqrt(values.size)
    assert abs(values.var() / deviation**2 - 1) <= 6 * math.sqrt(2 / values.size)
    if bound is None:
        assert abs(np.mean(np.abs(values) < deviation) - math.erf(math.sqrt(0.5))) <= 6 * 0.5 / math.sqrt(values.size)
    else:
        assert 0.999 * bound < np.abs(values).max() <= bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_options_and_dtypes(name, dtype):
    base, scaled = (
        draw(name, (5, 4), np.random.RandomState(1), dtype, **{OPTION[name]: factor}) for factor in (1.0, 3.0)
    )
    assert base.dtype == scaled.dtype == dtype
    assert base.flags.c_contiguous
    np.testing.assert_allclose(scaled, 3 * base, rtol=tolerance(dtype, 2))
    exact = draw(name, (5, 4), np.random.RandomState(1), **{OPTION[name]: 1.0})
    np.testing.assert_array_equal(base, exact.astype(dtype))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_global_stream_stays_where_a_generator_is_given(name, source):
    before = stream()
    rng = SOURCES[source](3)
    first, second = draw(name, (4, 3), rng), draw(name, (4, 3), rng)
    scikit_layer(4, 3, rng)
    np.testing.assert_array_equal(stream()[0], before[0])
    assert stream()[1] == before[1]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, draw(name, (4, 3), SOURCES[source](3)))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_global_stream_is_that_of_a_random_state(name):
    np.random.seed(5)
    np.testing.assert_array_equal(draw(name, (4, 3)), draw(name, (4, 3), np.random.RandomState(5)))


def test_the_courses_networks_have_these_weights():
    np.random.seed(8)
    net = FullyConnectedNet([7, 5], 6, 3, weight_scale=0.3, dtype=np.float32)
    np.random.seed(8)
    for name, shape in {"W1": (6, 7), "W2": (7, 5), "W3": (5, 3)}.items():
        np.testing.assert_array_equal(net.params[name], draw("course_normal", shape, None, np.float32, scale=0.3))


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthogonal(shape, dtype):
    W = orthogonal(shape, np.random.default_rng(2), dtype, gain=1.5).astype(np.float64)
    product = W @ W.T if shape[0] < shape[1] else W.T @ W
    # A Householder decomposition is backward stable: off by the dimensions' product times the unit roundoff.
    np.testing.assert_allclose(product, 1.5**2 * np.eye(min(shape)), atol=2.25 * tolerance(dtype, shape[0] * shape[1]))


def test_orthogonal_matrices_have_either_sign():
    signs = {float(np.sign(orthogonal((1, 1), np.random.RandomState(seed))[0, 0])) for seed in range(20)}
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("activation", "factor"), [("relu", 6.0), ("tanh", 6.0), ("logistic", 2.0)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_initial_parameters(activation, factor, dtype):
    neural_network = pytest.importorskip("sklearn.neural_network")
    X, y = np.random.default_rng(0).standard_normal((8, 6)).astype(dtype), np.arange(8) % 3
    # Steps that change nothing leave what was drawn.
    theirs = neural_network.MLPClassifier(
        (5, 4), activation=activation, solver="sgd", learning_rate_init=1e-300, max_iter=1, random_state=9, alpha=0
    ).fit(X, y)
    rng = np.random.RandomState(9)
    for fans, coefs, intercepts in zip([(6, 5), (5, 4), (4, 3)], theirs.coefs_, theirs.intercepts_, strict=True):
        weights, biases = scikit_layer(*fans, rng, dtype, factor=factor)
        np.testing.assert_array_equal(weights, coefs)
        np.testing.assert_array_equal(biases, intercepts)
        assert weights.dtype == coefs.dtype


BAD = [
    (lambda rng: draw("normal", (2, 2), rng), ValueError, "name"),
    (lambda rng: draw(["he_normal"], (2, 2), rng), ValueError, "name"),
    (lambda rng: draw("he_normal", (2, 2), rng, scale=1), TypeError, "scale"),
    (lambda rng: draw("course_normal", (2, 2), rng, gain=1), TypeError, "gain"),
    (lambda rng: draw("he_normal", (2, 2), rng, gain="1"), TypeError, "gain"),
    (lambda rng: draw("orthogonal", (2, 2), rng, gain=math.inf), ValueError, "gain"),
    (lambda rng: draw("course_normal", (2, 2), rng, scale=math.nan), ValueError, "scale"),
    (lambda rng: draw("he_normal", (2,), rng), ValueError, "shape"),
    (lambda rng: draw("he_normal", 4, rng), ValueError, "shape"),
    (lambda rng: draw("he_normal", (0, 2), rng), ValueError, "shape"),
    (lambda rng: draw("he_normal", (2.0, 2), rng), TypeError, "shape"),
    (lambda rng: draw("he_uniform", (2, 2), rng, "float16"), ValueError, "dtype"),
    (lambda rng: draw("he_uniform", (2, 2), rng, int), ValueError, "dtype"),
    (lambda rng: draw("he_uniform", (2, 2), 5), TypeError, "rng"),
    (lambda rng: scikit_layer(2, 2, 5), TypeError, "rng"),
    (lambda rng: scikit_layer(2, 0, rng), ValueError, "shape"),
    (lambda rng: scikit_layer(2, 2, rng, factor=-1), ValueError, "factor"),
]


@pytest.mark.parametrize(("call", "error", "name"), BAD, ids=range(len(BAD)))
def test_bad_arguments_draw_nothing(call, error, name):
    rng = np.random.RandomState(0)
    with pytest.raises(error, match=f"^{name}: expected"):
        call(rng)
    assert rng.random_sample() == np.random.RandomState(0).random_sample()
