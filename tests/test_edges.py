"""The edges of what can be trained and predicted, and trainings that diverge: like the reference."""

import re
import threading
import warnings

import numpy as np
import pytest
from rule_lists import ADAPTIVE, OTHERS

import fastfc
from fastfc import DivergenceWarning, FullyConnectedNet, Solver, tolerance
from fastfc._runtime.team import end_idle_threads

FEATURES, CLASSES = 6, 3


@pytest.fixture(autouse=True)
def _fast_by_default():
    """Whatever the suite's default backend is, here the two are compared."""
    with fastfc.use_backend("fast"):
        yield


def make(
    hidden=(7, 5), rows=20, batch=6, epochs=2, classes=CLASSES, normalization=None, keep=1, rule="sgd", rate=0.05,
    dtype=np.float64, threads=None, X=None, weight_scale=0.3, reg=0.01,
):  # fmt: skip
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, FEATURES)) if X is None else X
    y = rng.integers(0, classes, len(X))
    np.random.seed(5)
    net = FullyConnectedNet(
        hidden, FEATURES, classes, dropout_keep_ratio=keep, normalization=normalization, weight_scale=weight_scale,
        reg=reg, dtype=dtype,
    )  # fmt: skip
    return Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:4], "y_val": y[:4]}, update_rule=rule, batch_size=batch,
        optim_config={"learning_rate": rate}, num_epochs=epochs, verbose=False, threads=threads,
    )  # fmt: skip


def both(**options):
    """The same training by the generic loop on the reference, and compiled."""
    solvers, streams = [], []
    for backend in ("reference", "fast"):
        with fastfc.use_backend(backend):
            solver = make(**options)
            solver.train()
        solvers.append(solver)
        streams.append(np.random.get_state()[1:3])
    assert [solver.engine_ for solver in solvers] == ["generic", "compiled"]
    np.testing.assert_array_equal(streams[0][0], streams[1][0])
    assert streams[0][1] == streams[1][1]
    return solvers


def assert_same(options):
    reference, compiled = both(**options)
    depth = reference.model.num_layers
    # Rounding errors at most double from step to step at these rates (see test_training.py), and from
    # layer to layer; gradients that 30 layers of normalization blow up leave the first loss to compare.
    steps = len(reference.loss_history) if depth < 10 else 1
    bound = 2.0 ** (steps + depth) * tolerance(np.float64, 500 * steps)
    np.testing.assert_allclose(compiled.loss_history[:steps], reference.loss_history[:steps], rtol=bound, atol=bound)
    assert np.isfinite(compiled.loss_history).all()
    if depth < 10:
        assert compiled.train_acc_history == reference.train_acc_history
        assert compiled.val_acc_history == reference.val_acc_history
    for backend in ("reference", "fast"):
        with fastfc.use_backend(backend):
            for rows in (0, 1, 2):
                assert compiled.model.predict(np.zeros((rows, FEATURES))).shape == (rows,)
                probabilities = compiled.model.predict_proba(np.zeros((rows, FEATURES)))
                assert probabilities.shape == (rows, compiled.model.dims[-1])
                np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=tolerance(np.float64, 10))


EDGES = {
    "batch of one": {"batch": 1, "rows": 4},
    "batch larger than the data": {"batch": 50, "rows": 3},
    "one example": {"batch": 1, "rows": 1},
    "one class": {"classes": 1},
    "no hidden layer": {"hidden": ()},
    "hidden width 1": {"hidden": (1,)},
    "three hidden widths of 1": {"hidden": (1, 1, 1)},
    "odd widths": {"hidden": (13, 1, 29), "batch": 11},
    "30 layers": {"hidden": (5,) * 29, "epochs": 1, "weight_scale": 0.6},
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("keep", [1, 0.7])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("edge", EDGES)
def test_edges(edge, normalization, keep, threads):
    assert_same({**EDGES[edge], "normalization": normalization, "keep": keep, "threads": threads})


def test_batch_normalization_of_one_example_passes_no_gradient_back():
    """x is its own mean: the normalized value is 0, whatever x is, and finite."""
    for backend in ("reference", "fast"):
        with fastfc.use_backend(backend):
            net = make(normalization="batchnorm").model
            loss, grads = net.loss(np.ones((1, FEATURES)), np.zeros(1, int))
        assert np.isfinite(loss)
        np.testing.assert_allclose(grads["W1"], 0.01 * net.params["W1"], rtol=tolerance(np.float64, 10))


# ------------------------------------------------------------------------------------------- divergence


def assert_diverge_alike(one, other):
    """Finite up to the same step, and NaN at the end.

    In between, which of a sum's parts overflows first decides whether it is infinite or NaN:
    with several threads there are other parts.
    """
    finite = np.isfinite(one.loss_history)
    np.testing.assert_array_equal(finite, np.isfinite(other.loss_history))
    assert finite.any()
    assert np.isnan(one.loss_history[-1])
    assert np.isnan(other.loss_history[-1])


def diverging(backend, **options):
    """The training, and the iteration at which it is said to diverge."""
    end_idle_threads()
    threads = threading.active_count()
    with (
        fastfc.use_backend(backend),
        np.errstate(all="ignore"),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        solver = make(**options)
        solver.train()
    end_idle_threads()
    assert threading.active_count() == threads
    assert [warning.category for warning in caught] == [DivergenceWarning]
    assert caught[0].filename == __file__
    said = re.fullmatch(
        r"training diverged: the loss is (\S+) at iteration (\d+); a smaller learning rate may help",
        str(caught[0].message),
    )
    return solver, int(said[2])


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", OTHERS)
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_a_diverging_training_warns_once_and_runs_to_its_end(normalization, rule, dtype, threads):
    """The L2 term alone blows the weights up by a factor of 1e20 a step, past everything that rounding decides."""
    options = {"normalization": normalization, "rule": rule, "dtype": dtype, "threads": threads}
    options |= {"rate": 1e22, "epochs": 10, "keep": 0.8}
    (reference, said), (compiled, same) = diverging("reference", **options), diverging("fast", **options)
    assert compiled.engine_ == "compiled"
    assert said == same
    assert len(compiled.loss_history) == 30
    assert_diverge_alike(compiled, reference)
    assert len(compiled.train_acc_history) == len(reference.train_acc_history) == 11
    # Scores that are all NaN have their argmax at the first class, in both.
    assert compiled.train_acc_history[-1] == reference.train_acc_history[-1]
    assert compiled.val_acc_history[-1] == reference.val_acc_history[-1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("rule", ADAPTIVE)
def test_data_that_is_not_finite(rule, normalization, value):
    """One bad number among the examples: the losses from its first draw on are the reference's."""
    X = np.random.default_rng(1).standard_normal((20, FEATURES))
    X[7, 2] = value
    options = {"X": X, "rule": rule, "rate": 1e-3, "normalization": normalization, "epochs": 5, "threads": 2}
    (reference, said), (compiled, same) = diverging("reference", **options), diverging("fast", **options)
    assert said == same
    assert_diverge_alike(compiled, reference)


def test_a_second_training_warns_again():
    solver, _ = diverging("fast", rate=1e22, epochs=10)
    with pytest.warns(DivergenceWarning, match=r"the loss is nan at iteration 31; a smaller learning rate may help"):
        solver.train()


def test_a_warning_that_is_an_error_ends_the_run():
    solver = make(rate=1e22, epochs=10, threads=2)
    with pytest.raises(DivergenceWarning):
        solver.train()
    end_idle_threads()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastfc")]
