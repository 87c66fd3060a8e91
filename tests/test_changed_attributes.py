"""Attributes that are changed after construction: both backends obey them alike, or refuse them alike."""

import contextlib
import pickle
import re

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, load_model, tolerance

FEATURES, CLASSES, ROWS, HIDDEN = 6, 4, 30, (5, 7)
DATA = np.random.default_rng(3)
X = DATA.standard_normal((ROWS, FEATURES))
Y = DATA.integers(0, CLASSES, ROWS)

NORMALIZATIONS = [None, "batchnorm", "layernorm"]


def network(normalization="batchnorm", keep=0.7, hidden=HIDDEN, dtype=np.float64, seed=None):
    np.random.seed(7)
    net = FullyConnectedNet(
        hidden, FEATURES, CLASSES, dropout_keep_ratio=keep, normalization=normalization, weight_scale=0.5, dtype=dtype,
        reg=0.1, seed=seed,
    )  # fmt: skip
    with fastfc.use_backend("reference"):
        for _ in range(3):
            net.loss(X + 1, Y)
    return net


def train(net):
    data = {"X_train": X, "y_train": Y, "X_val": X[:9], "y_val": Y[:9]}
    np.random.seed(5)
    solver = Solver(net, data, optim_config={"learning_rate": 0.1}, batch_size=10, num_epochs=2, verbose=False)
    solver.train()
    return np.array(solver.loss_history)


#: How a network is used: in a pass, in predictions, in a run.
USES = {
    "scores": lambda net: net.loss(X),
    "a row's scores": lambda net: net.loss(X[:1]),
    "probabilities": lambda net: net.predict_proba(X),
    "gradients": lambda net: np.concatenate([grad.ravel() for grad in net.loss(X, Y)[1].values()]),
    "a run": train,
}


def result(change, use, backend, warm, **options):
    """The result of a use after the change, or its error; on a net that has predicted before, if `warm`."""
    net = network(**options)
    with fastfc.use_backend(backend):
        if warm:
            for rows in (1, 2, ROWS):
                net.predict(X[:rows])
        change(net)
        np.random.seed(2)
        try:
            return USES[use](net), np.random.random_sample()
        except (TypeError, ValueError) as error:
            return type(error), str(error)


def assert_alike(change, use, **options):
    expected = result(change, use, "reference", False, **options)
    for warm in (False, True):
        got = result(change, use, "fast", warm, **options)
        if isinstance(expected[1], str):
            assert got == expected
        else:
            assert not isinstance(got[1], str), got
            bound = 2.0**6 * tolerance(np.float64, 6 * 200)
            np.testing.assert_allclose(got[0], expected[0], rtol=bound, atol=bound)
            assert got[1] == expected[1]
    return expected


def to(name, value):
    return lambda net: setattr(net, name, value(net) if callable(value) and not isinstance(value, type) else value)


def entry(dictionary, key, value):
    return lambda net: getattr(net, dictionary).__setitem__(key, value)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("made", NORMALIZATIONS)
@pytest.mark.parametrize("now", [*NORMALIZATIONS, "bn", 5, ["batchnorm"]], ids=str)
def test_normalization(made, now, use):
    """The two that have gamma and beta can take turns; layers that have none cannot be normalized, nor the reverse."""
    expected = assert_alike(to("normalization", now), use, normalization=made)
    allowed = now == made or (None not in (made, now) and now in NORMALIZATIONS)
    assert isinstance(expected[1], str) == (not allowed)
    if not allowed:
        assert expected[0] is ValueError
        assert expected[1].startswith("normalization: expected")


WRONG = {
    "num_layers 2": (to("num_layers", 2), "num_layers: expected 3"),
    "num_layers 4": (to("num_layers", 4), "num_layers: expected 3"),
    "num_layers None": (to("num_layers", None), "num_layers: expected 3"),
    "dtype float32": (to("dtype", np.float32), "dtype: expected float64"),
    "dtype float16": (to("dtype", np.float16), "dtype: expected float64"),
    "dtype nonsense": (to("dtype", "flaot"), "dtype: expected float64"),
    "dtype None": (to("dtype", None), "dtype: expected float64"),
    "one dictionary less": (lambda net: net.bn_params.pop(), "bn_params: expected a list of 2"),
    "one dictionary more": (lambda net: net.bn_params.append({}), "bn_params: expected a list of 2"),
    "no dictionaries": (to("bn_params", None), "bn_params: expected a list of 2"),
    "a number for a dictionary": (lambda net: net.bn_params.__setitem__(0, 5), "bn_param: expected a dictionary"),
    "no dropout_param": (to("dropout_param", None), "dropout_param: expected a dictionary"),
    "another reading of p": (entry("dropout_param", "legacy", "2019"), "dropout_param['legacy']: expected '2017'"),
    "seed -1": (entry("dropout_param", "seed", -1), "dropout_param['seed']"),
    "seed a": (entry("dropout_param", "seed", "a"), "dropout_param['seed']"),
    "momentum a": (lambda net: net.bn_params[0].update(momentum="a"), "bn_param['momentum']: expected a number"),
    "momentum above 1": (
        lambda net: net.bn_params[0].update(momentum=1.5),
        "bn_param['momentum']: expected a number from 0 to 1",
    ),
    "momentum nan": (lambda net: net.bn_params[0].update(momentum=np.nan), "bn_param['momentum']: expected a number"),
    "eps": (lambda net: net.bn_params[1].update(eps=-1), "bn_param['eps']: expected a number of at least 0"),
    "statistics": (
        lambda net: net.bn_params[1].update(running_var=np.ones(3)),
        "bn_param['running_var']: expected shape",
    ),
    "input_mean": (to("input_mean", [1, 2]), "input_mean: expected a number or 6 numbers"),
    "input_scale": (to("input_scale", "a"), "input_scale: expected a number or 6 numbers"),
    "input_mean nan": (to("input_mean", float("nan")), "input_mean: expected numbers, got nan"),
    "input_scale nan": (to("input_scale", [1, 2, np.nan, 4, 5, 6]), "input_scale: expected numbers, got nan"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_pass_can_work_with(wrong, use):
    change, message = WRONG[wrong]
    expected = assert_alike(change, use)
    assert str(expected[1]).startswith(message)


TRAINING_ONLY = {
    "p 2": (entry("dropout_param", "p", 2), "dropout_param['p']: expected a probability to keep"),
    "p 0": (entry("dropout_param", "p", 0), "dropout_param['p']: expected a probability to keep"),
    "p nan": (entry("dropout_param", "p", float("nan")), "dropout_param['p']: expected a probability to keep"),
    "p a": (entry("dropout_param", "p", "a"), "dropout_param['p']: expected a number"),
    "no p": (lambda net: net.dropout_param.clear(), "dropout_param['p']: expected the probability"),
    "reg a": (to("reg", "a"), "reg: expected a number"),
    "reg nan": (to("reg", float("nan")), "reg: expected a finite number"),
    "reg None": (to("reg", None), "reg: expected a number"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("wrong", TRAINING_ONLY)
def test_what_training_cannot_work_with(wrong, use):
    """Test mode has neither dropout nor an L2 penalty: both backends predict as if nothing were wrong with them."""
    change, message = TRAINING_ONLY[wrong]
    expected = assert_alike(change, use)
    if use in ("gradients", "a run"):
        assert str(expected[1]).startswith(message)
    else:
        assert not isinstance(expected[1], str)


RIGHT = {
    "no dropout any more": to("use_dropout", False),
    "no dropout, and nothing about it": lambda net: vars(net).update(use_dropout=False, dropout_param=None),
    "another p": entry("dropout_param", "p", 0.2),
    "p 1": entry("dropout_param", "p", 1),
    "a seed": entry("dropout_param", "seed", 11),
    "a seed without dropout": lambda net: vars(net).update(use_dropout=False, dropout_param={"seed": 11}),
    "dropout of 2017": entry("dropout_param", "legacy", "2017"),
    "reg": to("reg", 3),
    "dtype by its name": to("dtype", "float64"),
    "input_mean": to("input_mean", 2.0),
    "input_scale": to("input_scale", np.arange(FEATURES)),
    "a tuple of dictionaries": to("bn_params", lambda net: tuple(net.bn_params)),
    "no statistics": to("bn_params", lambda net: [{}, {}]),
    "class names": to("class_names", ["a", "b", "c", "d"]),
    "no plans": lambda net: net.plans.clear(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", RIGHT)
def test_what_both_backends_obey(change, use):
    expected = assert_alike(RIGHT[change], use)
    assert not isinstance(expected[1], str)


@pytest.mark.parametrize("use", USES)
def test_dropout_that_is_switched_on(use):
    for param in ({"p": 0.5}, {"p": 0.5, "seed": 3}):
        expected = assert_alike(
            lambda net, param=param: vars(net).update(use_dropout=True, dropout_param={**param}), use, keep=1
        )
        assert not isinstance(expected[1], str)
    expected = assert_alike(to("use_dropout", True), use, keep=1)
    assert isinstance(expected[1], str) == (use in ("gradients", "a run"))


@pytest.mark.parametrize("use", USES)
def test_a_network_without_hidden_layers_reads_neither(use):
    for change in (to("normalization", "batchnorm"), to("use_dropout", True)):
        expected = assert_alike(change, use, hidden=(), normalization=None, keep=1)
        assert not isinstance(expected[1], str)


def test_a_subclass_may_have_normalizations_of_its_own():
    """Its own methods know what its attributes mean."""

    class Scaled(FullyConnectedNet):
        def _block(self):
            forward, backward = fastfc.layers.affine_forward, None
            return lambda x, w, b: (np.maximum(forward(x, w, b)[0] / 2, 0), None), backward

        def _block_names(self, i):
            return [f"W{i}", f"b{i}"]

        def _block_params(self, i):
            return []

    import fastfc.layers

    np.random.seed(0)
    net = Scaled(HIDDEN, FEATURES, CLASSES)
    net.normalization = "halved"
    assert net.loss(X).shape == (ROWS, CLASSES)
    assert net.predict(X).shape == (ROWS,)


def test_an_inconsistent_network_is_not_saved(tmp_path):
    net = network()
    net.save(tmp_path / "net.npz")
    net.normalization = None
    with pytest.raises(ValueError, match="normalization: expected 'batchnorm' or 'layernorm'"):
        net.save(tmp_path / "net.npz")
    assert load_model(tmp_path / "net.npz").normalization == "batchnorm"
    net.normalization, net.use_dropout = "layernorm", False
    net.save(tmp_path / "net.npz")
    loaded = load_model(tmp_path / "net.npz")
    assert (loaded.normalization, loaded.use_dropout) == ("layernorm", False)
    np.testing.assert_array_equal(loaded.loss(X), net.loss(X))


#: Changes with which a file could not be read again, and the attribute that the error names.
UNFIT_FOR_A_FILE = {
    "p 0": (entry("dropout_param", "p", 0), "dropout_param['p']"),
    "p NaN": (entry("dropout_param", "p", np.nan), "dropout_param['p']"),
    "p None": (entry("dropout_param", "p", None), "dropout_param['p']"),
    "seed beyond": (entry("dropout_param", "seed", 2**32), "dropout_param['seed']"),
    "seed by words": (entry("dropout_param", "seed", (1, 2)), "dropout_param['seed']"),
    "seed an array": (entry("dropout_param", "seed", np.array([1])), "dropout_param['seed']"),
    "seed True": (entry("dropout_param", "seed", True), "dropout_param['seed']"),
    "reg NaN": (to("reg", np.nan), "reg"),
    "reg None": (to("reg", None), "reg"),
    "eps": (lambda net: net.bn_params[0].update(eps=-1), "bn_param['eps']"),
    "momentum": (lambda net: net.bn_params[0].update(momentum=2), "bn_param['momentum']"),
    "statistic": (lambda net: net.bn_params[0].update(running_var=np.ones(99)), "bn_param['running_var']"),
    "words": (lambda net: net.bn_params[0].update(running_mean="a"), "bn_param['running_mean']"),
    "masked": (
        lambda net: net.bn_params[0].update(running_mean=np.ma.masked_all(HIDDEN[0])), "bn_param['running_mean']",
    ),
    "scale": (lambda net: vars(net).update(input_scale=np.ones(3)), "input_scale"),
    "a scale beyond float32": (to("input_scale", 1e39), "input_scale"),
    "loss_parameter": (to("loss_parameter", "a"), "label_smoothing"),
}  # fmt: skip


@pytest.mark.parametrize("change", UNFIT_FOR_A_FILE)
def test_what_no_file_could_be_read_with_is_not_saved(change, tmp_path):
    path, (apply, named) = tmp_path / "net.npz", UNFIT_FOR_A_FILE[change]
    net = network(dtype=np.float32)
    net.save(path)
    before = path.read_bytes()
    apply(net)
    with pytest.raises((TypeError, ValueError), match=re.escape(named)):
        net.save(path)
    assert path.read_bytes() == before


def test_attributes_that_stand_for_their_defaults_are_saved(tmp_path):
    net = network()
    net.bn_params[0].update(running_mean=None, running_var=[1] * HIDDEN[0])
    net.loss_parameter, net.dropout_param["seed"] = None, np.uint8(3)
    net.save(tmp_path / "net.npz")
    loaded = load_model(tmp_path / "net.npz")
    assert (loaded.loss_parameter, loaded.dropout_param["seed"]) == (0.0, 3)
    np.testing.assert_array_equal(loaded.loss(X), net.loss(X))


@pytest.mark.parametrize("warm", [False, True])
def test_copies_predict_by_themselves(warm):
    net = network()
    with fastfc.use_backend("fast"):
        if warm:
            net.predict(X)
        copied = pickle.loads(pickle.dumps(net))
        before = net.loss(X)
        copied.params["W1"] *= 2
        copied.normalization = "layernorm"
        assert not np.allclose(copied.loss(X), before)
        np.testing.assert_array_equal(net.loss(X), before)


# ---------------------------------------------------------------------------------------------- odd booleans

BYTES = np.random.default_rng(0).integers(0, 256, (ROWS, FEATURES)).astype(np.uint8)
BYTES[:, ::2] = 0
BOOLS = {
    "adjacent": BYTES.view(np.bool_),
    "columns": np.asfortranarray(BYTES).view(np.bool_),
    "backwards": BYTES[::-1].view(np.bool_),
    "strided": np.repeat(BYTES, 2, axis=1).view(np.bool_)[:, ::2],
}


@pytest.mark.parametrize("kind", BOOLS)
@pytest.mark.parametrize("use", ["scores", "a run"])
def test_booleans_of_other_bytes_count_as_numpy_counts_them(kind, use, monkeypatch):
    odd = BOOLS[kind]
    plain = odd.astype(np.float64)
    assert set(np.unique(plain)) == {0, 1}
    bound = 2.0**6 * tolerance(np.float64, 6 * 200)
    results = []
    for backend, examples in (("reference", odd), ("fast", odd), ("fast", plain)):
        monkeypatch.setitem(globals(), "X", examples)
        net = network(keep=1) if use == "scores" else _fresh()
        with fastfc.use_backend(backend):
            results.append(USES[use](net))
    np.testing.assert_allclose(results[1], results[0], rtol=bound, atol=bound)
    np.testing.assert_array_equal(results[1], results[2])


def _fresh():
    np.random.seed(7)
    return FullyConnectedNet(HIDDEN, FEATURES, CLASSES, weight_scale=0.5, dtype=np.float64)


# ------------------------------------------------------------------------------------- what a model keeps


def kept_bytes(net):
    return sum(plan.nbytes for pool in net.plans.values() for plan, *_ in pool)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes long without the compiler")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_very_wide_network_keeps_little_of_a_prediction(dtype):
    """All 256 rows of 100,000 inputs took 198 MB, for as long as the model lived."""
    np.random.seed(0)
    net = FullyConnectedNet([3], 100_000, 4, dtype=dtype)
    wide = np.random.default_rng(0).standard_normal((100, 100_000)).astype(dtype)
    with fastfc.use_backend("fast"):
        got = net.loss(wide)
    assert 0 < kept_bytes(net) < 48 * 2**20
    with fastfc.use_backend("reference"):
        expected = net.loss(wide)
    bound = 10 * tolerance(dtype, 100_000)
    np.testing.assert_allclose(got, expected, rtol=bound, atol=bound)


def test_a_small_network_predicts_by_many_rows_at_a_time():
    net = network()
    with fastfc.use_backend("fast"):
        net.predict(X)
        (pool,) = net.plans.values()
        assert pool[0][0].batch == 256
        kept = pool[0][0]
        net.predict(X)
    assert pool[0][0] is kept, "made anew"


def test_plans_of_predictions_at_once_are_kept_up_to_a_bound(monkeypatch):
    from fastfc.training import predict

    net = network()
    monkeypatch.setattr(predict, "_KEPT_BYTES", 0)
    with fastfc.use_backend("fast"), contextlib.ExitStack() as stack:
        net.predict(X)
        (pool,) = net.plans.values()
        taken = pool.pop()
        stack.callback(pool.append, taken)
        net.predict(X)
        assert len(pool) == 1
        extra = predict._make(net, X, 1)
        pool.append(extra)
        net.predict(X)
        assert len(pool) == 1, "the second one is let go of"
