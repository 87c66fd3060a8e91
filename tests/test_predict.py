"""Compiled prediction against the reference backend."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, tolerance
from fastfc.training import predict

FEATURES, CLASSES = 12, 5


@pytest.fixture(autouse=True)
def _fast_by_default():
    """Whatever the suite's default backend is, here it is compiled prediction that is tested."""
    with fastfc.use_backend("fast"):
        yield


def trained_net(normalization="batchnorm", keep=0.7, dtype=np.float64, seed=None, hidden=(9, 17)):
    """A net whose running statistics are not those it was born with."""
    np.random.seed(3)
    net = FullyConnectedNet(
        hidden, FEATURES, CLASSES, dropout_keep_ratio=keep, normalization=normalization, weight_scale=0.4,
        dtype=dtype, seed=seed,
    )  # fmt: skip
    with fastfc.use_backend("reference"):
        for _ in range(3):
            net.loss(np.random.randn(20, FEATURES) + 1, np.random.randint(0, CLASSES, 20))
    return net


def assert_predicts_like_the_reference(net, X):
    with fastfc.use_backend("reference"):
        expected = net.loss(X), net.predict_proba(X), net.predict(X)
    with fastfc.use_backend("fast"):
        got = net.loss(X), net.predict_proba(X), net.predict(X)
    # Three layers' sums of at most 20 terms, normalized between; scores here are of the size of 10 at most.
    bound = 10 * 2**3 * tolerance(net.dtype, 3 * 20)
    for mine, theirs in zip(got[:2], expected[:2], strict=True):
        assert mine.dtype == theirs.dtype == net.dtype
        np.testing.assert_allclose(mine, theirs, rtol=bound, atol=bound)
    top = np.sort(expected[0], axis=1)[:, -2:]
    clear = top[:, 1] - top[:, 0] > 2 * bound
    np.testing.assert_array_equal(got[2][clear], expected[2][clear])


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 255, 256, 257, 600])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores(normalization, dtype, rows):
    net = trained_net(normalization, dtype=dtype)
    assert_predicts_like_the_reference(net, np.random.default_rng(0).standard_normal((rows, FEATURES)))


def test_a_team_predicts_the_same(monkeypatch):
    monkeypatch.setattr(predict, "_TEAM_WORK", 1)
    fastfc.set_num_threads(3)
    try:
        assert_predicts_like_the_reference(trained_net(), np.random.default_rng(0).standard_normal((1000, FEATURES)))
    finally:
        fastfc.set_num_threads(None)


@pytest.mark.parametrize("X", [
    np.arange(24.0).reshape(2, 12)[::-1], np.asfortranarray(np.eye(12)), np.eye(12, dtype=np.uint8), np.eye(12) > 0,
    np.eye(12, dtype=np.int16), np.eye(12, dtype=">f4"), np.eye(12, dtype=np.float16), np.eye(12).reshape(12, 3, 2, 2),
    np.eye(12).tolist(),
], ids=str)  # fmt: skip
def test_any_input(X):
    assert_predicts_like_the_reference(trained_net(), X)


def test_what_changes_between_predictions_counts():
    """Parameters, statistics, eps and standardization are read anew every time."""
    net, X = trained_net(), np.random.default_rng(0).standard_normal((4, FEATURES))
    assert_predicts_like_the_reference(net, X)
    net.params["W1"] *= 0.5
    assert_predicts_like_the_reference(net, X)
    net.bn_params[1]["running_mean"] = net.bn_params[1]["running_mean"] + 1
    net.bn_params[0]["eps"] = 0.5
    assert_predicts_like_the_reference(net, X)
    net.bn_params[0]["running_var"] = net.bn_params[0]["running_var"].astype(np.float32)
    assert_predicts_like_the_reference(net, X)
    for mean in (1.0, 2.0, None):
        net.input_mean, net.input_scale = mean, 0.5
        assert_predicts_like_the_reference(net, X)
    del net.bn_params[0]["running_mean"]
    assert_predicts_like_the_reference(net, X)


def test_other_statistics_dictionaries_count_as_well():
    net = trained_net()
    X = np.random.default_rng(1).standard_normal((3, net.dims[0]))
    net.predict(X)
    net.bn_params = [{**param, "running_mean": param["running_mean"] + 1} for param in net.bn_params]
    assert_predicts_like_the_reference(net, X)
    net.bn_params[0] = {**net.bn_params[0], "running_var": 2 * net.bn_params[0]["running_var"]}
    assert_predicts_like_the_reference(net, X)


@pytest.mark.parametrize("seed", [None, 11])
def test_modes_and_stream_are_left_as_the_reference_leaves_them(seed):
    results = []
    for backend in ("reference", "fast"):
        net = trained_net(seed=seed)
        np.random.seed(4)
        with fastfc.use_backend(backend):
            net.loss(np.zeros((3, FEATURES)))
        results.append((net.dropout_param, [param["mode"] for param in net.bn_params], np.random.random_sample()))
    assert results[0] == results[1]


def test_threads_may_share_a_model():
    net, X = trained_net(), np.random.default_rng(0).standard_normal((40, FEATURES))
    expected = net.loss(X)

    def scores(_):
        with fastfc.use_backend("fast"):
            return net.loss(X)

    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(scores, range(200)):
            np.testing.assert_array_equal(got, expected)


def test_the_memory_of_predictions_is_not_pickled():
    net = trained_net()
    scores = net.loss(np.zeros((3, FEATURES)))
    copied = pickle.loads(pickle.dumps(net))
    assert net.plans
    assert copied.plans == {}
    np.testing.assert_array_equal(copied.loss(np.zeros((3, FEATURES))), scores)


def test_a_subclass_with_its_own_inputs_is_obeyed():
    class Doubled(FullyConnectedNet):
        def _inputs(self, X):
            return 2 * super()._inputs(X)

    np.random.seed(0)
    net, X = Doubled([4], FEATURES, CLASSES, dtype=np.float64), np.ones((2, FEATURES))
    np.random.seed(0)
    plain = FullyConnectedNet([4], FEATURES, CLASSES, dtype=np.float64)
    np.testing.assert_allclose(net.loss(X), plain.loss(2 * X), rtol=tolerance(np.float64, 20))
