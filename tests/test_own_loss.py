"""Losses of one's own in whole trainings: as the package's where they are the same; errors change nothing."""

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, gradient_check, optim, tolerance
from fastfc.training.fit import Fit

FEATURES, HIDDEN, OUTPUTS, ROWS, BATCH, EPOCHS = 6, (8, 5), 3, 41, 8, 3
TERMS = 2 * (FEATURES + sum(HIDDEN) + OUTPUTS) + 6 * BATCH


@numba.njit
def softmax(scores, labels, dscores):
    n, total = scores.shape[0], 0.0
    for i in range(n):
        largest = scores[i].max()
        for j in range(scores.shape[1]):
            dscores[i, j] = np.exp(scores[i, j] - largest)
        factor = dscores[i].sum()
        total += np.log(factor) + largest - scores[i, labels[i]]
        dscores[i] /= factor
        dscores[i, labels[i]] -= 1
    dscores /= n
    return total / n


@numba.njit
def squared(scores, targets, dscores):
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            dscores[i, j] = scores[i, j] - targets[i, j]
    loss = 0.5 * np.sum(dscores * dscores) / scores.shape[0]
    dscores /= scores.shape[0]
    return loss


@numba.njit
def spread(scores, labels, dscores):
    """Knows the batch as a whole: the variance of each output, with the wrong sign, and the scores' own size."""
    n, loss = scores.shape[0], 0.0
    for j in range(scores.shape[1]):
        mean = scores[:, j].sum() / n
        for i in range(n):
            away = scores[i, j] - mean
            loss += (scores[i, j] ** 2 - 0.5 * away**2) / n
            dscores[i, j] = (2 * scores[i, j] - away) / n
    return loss


@numba.njit
def not_a_number(scores, labels, dscores):
    return np.nan


@numba.njit
def failing(scores, labels, dscores):
    if scores.shape[0] > 0:
        raise ValueError("an error of mine")
    return 0.0


@numba.njit
def adding(scores, labels, dscores):
    """The multiclass hinge loss; it writes the gradient by adding to zeros, and only where there is one."""
    n, loss = scores.shape[0], 0.0
    for i in range(n):
        for j in range(scores.shape[1]):
            margin = scores[i, j] - scores[i, labels[i]] + 1
            if j != labels[i] and margin > 0:
                loss += margin / n
                dscores[i, j] += 1 / n
                dscores[i, labels[i]] -= 1 / n
    return loss


OWN = {"softmax": softmax, "squared": squared}


def data_of(loss):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((ROWS, FEATURES))
    return X, rng.integers(0, OUTPUTS, ROWS) if loss == "softmax" else rng.standard_normal((ROWS, OUTPUTS))


def net_of(loss="softmax", normalization=None, keep=1.0, dtype=np.float64):
    np.random.seed(1)
    return FullyConnectedNet(
        HIDDEN, FEATURES, OUTPUTS, keep, normalization, 0.02, weight_scale=0.4, dtype=dtype, loss=loss,
        activation="tanh",
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("loss", ["softmax", "squared"])
@pytest.mark.parametrize(("normalization", "keep"), [(None, 1.0), ("batchnorm", 0.7), ("layernorm", 1.0)])
def test_as_the_packages_own(normalization, keep, loss, threads):
    """Over a training with short last batches, dropout, clipping and the penalty by batch."""
    X, y = data_of(loss)
    found = []
    for own in (OWN[loss], None):
        net = net_of(loss, normalization, keep)
        with Fit(
            net, X, y, loss=own, rule=optim.sgd_momentum, config={"learning_rate": 0.05, "momentum": 0.9},
            batch_size=BATCH, stream=np.random.RandomState(5), threads=threads, reg_of_batch=True, max_norm=0.5,
        ) as fit:  # fmt: skip
            found.append((fit.epochs(EPOCHS), net.params.flat))
    # As in test_fit.py.
    steps = EPOCHS * -(-ROWS // BATCH)
    bound = 2.0**steps * tolerance(np.float64, steps * TERMS)
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("loss", [softmax, spread])
def test_compiled_as_the_generic_loop(loss, threads):
    X, y = data_of("softmax")
    data = {"X_train": X, "y_train": y, "X_val": X[:9], "y_val": y[:9]}
    found = []
    for backend in ("fast", "reference"):
        with fastfc.use_backend(backend):
            solver = Solver(
                net_of(keep=0.8), data, loss=loss, batch_size=BATCH, num_epochs=EPOCHS, threads=threads, verbose=False,
                update_rule="nesterov", optim_config={"learning_rate": 0.05}, accumulate=2, schedule="cosine",
            )  # fmt: skip
            np.random.seed(4)
            solver.train()
        found.append(solver)
    fast, reference = found
    assert (fast.engine_, reference.engine_) == ("compiled", "generic")
    bound = 2.0**9 * tolerance(np.float64, EPOCHS * 5 * TERMS)
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, rtol=bound, atol=bound)
    assert fast.val_acc_history == reference.val_acc_history
    np.testing.assert_allclose(fast._state.params["W1"], reference._state.params["W1"], rtol=bound, atol=bound)


def test_gradients_by_differences():
    """Those of a loss that no row has for itself."""
    X, y = data_of("softmax")
    net = net_of()
    options = {"loss": spread, "rule": optim.sgd, "config": {"learning_rate": 0.0}, "sampler": "order"}
    with Fit(
        net, X, y, **options, batch_size=ROWS, stream=np.random.RandomState(0), threads=2, stores_gradients=True
    ) as fit:
        for name, w in net.params.items():
            fit.epochs(1)
            gradient = fit.gradients[name].copy()
            numeric = gradient_check.eval_numerical_gradient(lambda _: fit.epochs(1)[0], w, verbose=False, h=1e-5)
            # Of a central difference: its rounding, and h**2 times the third derivative.
            np.testing.assert_allclose(gradient, numeric, rtol=0, atol=tolerance(np.float64, 8 * TERMS) / 1e-5 + 1e-8)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (not_a_number, FloatingPointError, "loss: expected a finite number, the function returned nan .* step 1;"),
        (failing, ValueError, "an error of mine"),
    ],
)
def test_a_step_that_cannot_be_taken_changes_nothing(loss, error, message, threads):
    X, y = data_of("softmax")
    net = net_of()
    before = net.params.flat.copy()
    with (
        Fit(net, X, y, loss=loss, rule=optim.sgd, batch_size=BATCH, stream=np.random.RandomState(0), threads=threads)
        as fit,
        pytest.raises(error, match=message),
    ):  # fmt: skip
        fit.epochs(1)
    np.testing.assert_array_equal(net.params.flat, before)
    for backend in ("fast", "reference"):
        solver = Solver(
            net, {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, loss=loss, verbose=False, threads=threads
        )
        with fastfc.use_backend(backend), pytest.raises(error, match=message):
            solver.train()
        np.testing.assert_array_equal(net.params.flat, before)
        assert solver.loss_history == []


def test_a_loss_that_is_finite_only_at_first():
    """The steps before are there."""

    @numba.njit
    def short_of_breath(scores, labels, dscores):
        loss = softmax(scores, labels, dscores)
        return np.inf if len(scores) == 1 else loss

    X, y = data_of("softmax")
    net = net_of()
    with Fit(net, X, y, loss=short_of_breath, rule=optim.sgd, batch_size=BATCH, stream=np.random.RandomState(0)) as fit:
        # The last batch has a row.
        with pytest.raises(FloatingPointError, match=r"returned inf .* step 6;"):
            fit.epochs(1)
        assert fit.steps_taken == 5


def test_labels_are_integers_of_one_kind():
    """Whatever dtype they were given in; scores and targets are of the network's."""
    if numba.config.DISABLE_JIT:
        pytest.skip("without the compiler there are no signatures")
    function = numba.njit(softmax.py_func)
    for dtype in (np.float32, np.float64):
        X, y = data_of("softmax")
        with Fit(
            net_of(dtype=dtype), X, y.astype(np.uint8), loss=function, rule=optim.sgd, batch_size=BATCH,
            stream=np.random.RandomState(0),
        ) as fit:  # fmt: skip
            fit.epochs(1)
    signatures = {tuple(map(str, signature)) for signature in function.signatures}
    assert signatures == {
        (f"array({kind}, 2d, C)", "array(int64, 1d, C)", f"array({kind}, 2d, C)") for kind in ("float32", "float64")
    }


WRONG = [
    (len, "numba.njit has compiled, got <built-in"),
    (lambda scores, labels, dscores: 0.0, "numba.njit has compiled, got <function"),
    ("softmax", "numba.njit has compiled, got 'softmax'"),
    (numba.njit(lambda scores, labels: 0.0), "numba.njit has compiled, got one of other arguments"),
    (numba.njit(lambda scores, labels, dscores, scale=1.0: 0.0), "compiles for scores float64"),
    (numba.njit(lambda scores, labels, dscores: None), "returns the loss, a number; got none"),
    (numba.njit(lambda scores, labels, dscores: labels[0, 0]), r"compiles for scores float64 \(n, K\), targets int64"),
]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="plain functions are taken without the compiler")
@pytest.mark.parametrize(("loss", "message"), WRONG)
def test_functions_that_are_none(loss, message):
    X, y = data_of("softmax")
    with pytest.raises(TypeError, match=f"loss: expected a function .*{message}"):
        Fit(net_of(), X, y, loss=loss, rule=optim.sgd, batch_size=BATCH, stream=np.random.RandomState(0))
    with pytest.raises(TypeError, match=f"loss: expected a function .*{message}"):
        Solver(net_of(), {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, loss=loss, verbose=False).train()


def test_where_there_is_none():
    X, y = data_of("softmax")
    with pytest.raises(ValueError, match="weights: expected None with a loss of your own"):
        Fit(
            net_of(), X, y, loss=softmax, weights=np.ones(ROWS), rule=optim.sgd, batch_size=BATCH,
            stream=np.random.RandomState(0),
        )  # fmt: skip
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    with pytest.raises(ValueError, match="loss: expected None where examples have weights"):
        Solver(net_of(), {**data, "weights_train": np.ones(ROWS)}, loss=softmax)

    class Other(FullyConnectedNet):
        def loss(self, X, y=None, weights=None):
            return super().loss(X, y, weights)

    with pytest.raises(ValueError, match="loss: expected None for a network whose method loss"):
        Solver(Other([4], FEATURES, OUTPUTS), data, loss=softmax)


def test_a_training_that_goes_on(tmp_path):
    """Its file cannot hold the function, which must be given again."""
    X, y = data_of("softmax")
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}

    def solver(epochs):
        np.random.seed(3)
        return Solver(net_of(), data, loss=softmax, num_epochs=epochs, batch_size=BATCH, verbose=False)

    whole = solver(4)
    whole.train()
    half = solver(2)
    half.train()
    half.save(tmp_path / "half.npz")
    with pytest.raises(ValueError, match="loss: expected the function of the training"):
        Solver.resume(tmp_path / "half.npz", data, num_epochs=4)
    rest = Solver.resume(tmp_path / "half.npz", data, num_epochs=4, loss=softmax)
    rest.train()
    np.testing.assert_array_equal(rest.loss_history, whole.loss_history)


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("sampler", ["order", "permutation"])
def test_gradients_are_zeros_before_each_batch(backend, sampler):
    X, y = data_of("softmax")
    found = []
    with fastfc.use_backend(backend):
        for loss, own in (("softmax", adding), ("svm", None)):
            data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
            np.random.seed(2)
            net = net_of(loss)
            Solver(
                net, data, loss=own, sampler=sampler, batch_size=BATCH, num_epochs=EPOCHS, verbose=False, threads=2
            ).train()
            found.append(net.params.flat)
    steps = EPOCHS * -(-ROWS // BATCH)
    bound = 2.0**steps * tolerance(np.float64, steps * TERMS)
    np.testing.assert_allclose(*found, rtol=bound, atol=bound)
