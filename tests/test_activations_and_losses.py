"""Networks with any activation and any loss: the compiled run does what the reference does, whole trainings long."""

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, activations, cases, load_model, losses, schedules, tolerance
from fastfc.gradient_check import eval_numerical_gradient
from fastfc.ops.activations import SLOPED
from fastfc.ops.losses import LOSSES

ROWS, FEATURES, HIDDEN, OUTPUTS, BATCH, EPOCHS = 60, 5, (9, 6), 3, 20, 3
STEPS = EPOCHS * (ROWS // BATCH)
TERMS = 2 * (FEATURES + sum(HIDDEN) + OUTPUTS) + 6 * BATCH
# A step carries an error on by a factor of at most 2: weights of size 1, learning rates below 0.1.
BOUND = 2.0**STEPS * tolerance(np.float64, STEPS * TERMS)
NORMS = [None, "batchnorm", "layernorm"]


def data_for(loss, outputs=OUTPUTS):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((ROWS, FEATURES))
    scores = np.tanh(X @ rng.standard_normal((FEATURES, outputs)))
    if LOSSES[loss].labels:
        return X, scores.argmax(axis=1)
    low, _ = LOSSES[loss].bounds
    return X, {"logistic": (scores > 0) * 1.0, "poisson": np.rint(np.exp(scores))}.get(loss, scores + (low == 0))


def net_for(loss="softmax", outputs=OUTPUTS, **options):
    np.random.seed(1)
    options = {"weight_scale": 0.4, "dtype": np.float64, "reg": 0.01, **options}
    return FullyConnectedNet(HIDDEN, FEATURES, outputs, loss=loss, **options)


def trained(backend, net, data, **options):
    X, y = data
    np.random.seed(2)
    solver = Solver(
        net,
        {"X_train": X, "y_train": y, "X_val": X[:31], "y_val": y[:31]},
        **{"update_rule": "adam", "optim_config": {"learning_rate": 0.01}, "batch_size": BATCH, **options},
        num_epochs=EPOCHS,
        num_train_samples=40,
        verbose=False,
    )
    with fastfc.use_backend(backend):
        solver.train()
        assert solver.engine_ == {"fast": "compiled", "reference": "generic"}[backend]
        predictions = net.predict(X)
    return [
        solver.loss_history,
        solver.train_acc_history,
        solver.val_acc_history,
        net.params.flat.copy(),
        predictions,
        np.random.random_sample(2),
    ]


def assert_backends_agree(make, data, **options):
    for got, expected in zip(
        trained("fast", make(), data, **options), trained("reference", make(), data, **options), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("keep", [1, 0.7])
@pytest.mark.parametrize("normalization", NORMS)
@pytest.mark.parametrize("activation", activations.NAMES)
def test_whole_trainings_with_every_activation(activation, normalization, keep, threads):
    assert_backends_agree(
        lambda: net_for(activation=activation, normalization=normalization, dropout_keep_ratio=keep),
        data_for("softmax"),
        threads=threads,
        # Adam would take steps by the rounding errors of a bias before batch normalization, whose gradient is 0.
        update_rule="sgd_momentum",
    )


@pytest.mark.parametrize("outputs", [1, OUTPUTS])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("loss", losses.NAMES)
def test_whole_trainings_with_every_loss(loss, threads, outputs):
    if LOSSES[loss].labels:
        outputs = OUTPUTS
    assert_backends_agree(
        lambda: net_for(loss, outputs, activation="tanh"), data_for(loss, outputs), threads=threads, lr_decay=0.9
    )


@pytest.mark.parametrize(("loss", "parameter"), [("softmax", 0.2), ("huber", 0.25), ("quantile", 0.9)])
def test_the_parameter_of_a_loss(loss, parameter):
    def make():
        return net_for(loss, loss_parameter=parameter)

    assert_backends_agree(make, data_for(loss))
    X, y = data_for(loss)
    changed, usual = make().loss(X, y)[0], net_for(loss).loss(X, y)[0]
    assert abs(changed - usual) > 1e-3


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rule", ["sgd_momentum", "adam", "lion"])
def test_schedules_and_clipping(rule, threads):
    options = {
        "update_rule": rule,
        "schedule": schedules.WarmUp(length=4, start_factor=0.1, then=schedules.Cosine()),
        "max_norm": 0.2,
        "max_value": 0.05,
        "lr_decay": 0.9,
        "threads": threads,
    }
    assert_backends_agree(lambda: net_for("squared", activation="gelu"), data_for("squared"), **options)
    # Each of them counts.
    usual = trained("fast", net_for("squared", activation="gelu"), data_for("squared"), **options)[0]
    for name in ("schedule", "max_norm", "max_value"):
        other = trained("fast", net_for("squared", activation="gelu"), data_for("squared"), **{**options, name: None})
        assert rule == "lion" or other[0] != usual


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", SLOPED)
def test_where_exponentials_flush_to_zero(activation, dtype):
    """The kernels' exponentials are 0 below the smallest normal number, the reference's are not."""
    limits = np.finfo(dtype)
    first, last = -np.log(float(limits.tiny)) - 2, 2 - np.log(float(limits.smallest_subnormal))
    near = np.linspace(first, last, 501)
    values = np.concatenate([-near, near, -np.sqrt(2 * near), np.sqrt(2 * near)])
    size = cases.Sizes(1, values.size)
    case = cases.build(f"{activation}_forward", size, dtype, sample=lambda rng, what, shape: values.reshape(shape))
    assert cases.largest_error(case.run("fast"), case.run("reference"), case) <= 1


def test_gradients_are_bounded_by_max_norm():
    """A step of plain SGD is as long as the learning rate times the norm that is allowed."""
    net = net_for("squared", reg=0.0)
    before = net.params.flat.copy()
    X, y = data_for("squared")
    data = {"X_train": X, "y_train": 100 * y, "X_val": X, "y_val": y}
    solver = Solver(
        net, data, batch_size=ROWS, num_epochs=1, verbose=False, max_norm=0.5, optim_config={"learning_rate": 0.1}
    )
    solver.train()
    length = np.linalg.norm(net.params.flat - before)
    assert abs(length - 0.05) <= tolerance(np.float64, 4 * net.params.flat.size) * np.abs(before).max() * len(before)


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "mish"])
def test_gradients_of_networks(activation, loss, backend):
    """Against central differences: their error is h**2 of the third derivative, here below 1e-6, and eps / h."""
    net = net_for(loss, activation=activation, normalization="layernorm")
    X, y = data_for(loss)
    weights = np.random.default_rng(5).random(ROWS)
    # Away from the kinks of the losses that have them: no target is met by less than a step.
    _, grads = net.loss(X, y, weights)
    h = np.finfo(float).eps ** (1 / 3)
    for name, value in net.params.items():
        numeric = eval_numerical_gradient(lambda _: net.loss(X, y, weights)[0], value, verbose=False, h=h)
        np.testing.assert_allclose(grads[name], numeric, rtol=0, atol=100 * h**2 * (1 + np.abs(numeric).max()))


@pytest.mark.parametrize("loss", losses.NAMES)
def test_weights_of_examples(loss, backend):
    """A weight of k counts as k copies; a weight of 0 as none."""
    net = net_for(loss, reg=0.0)
    X, y = data_for(loss)
    counts = np.random.default_rng(6).integers(0, 4, ROWS)
    got, grads = net.loss(X, y, counts.astype(float))
    expected, copied = net.loss(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    bound = tolerance(np.float64, 4 * TERMS + 4 * ROWS)
    assert abs(got - expected) <= bound * (1 + abs(expected))
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, copied[name], rtol=0, atol=bound * (1 + np.abs(copied[name]).max()))
    nothing, zeros = net.loss(X, y, np.zeros(ROWS))
    assert nothing == 0
    assert all(np.all(grad == 0) for grad in zeros.values())


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize("weights", [np.float64, np.float32, np.int64, bool, list], ids=str)
def test_weights_of_examples_have_no_say_in_dtypes(loss, weights, backend):
    net = net_for(loss, dtype=np.float32, reg=0.1)
    X, y = data_for(loss)
    given = np.random.default_rng(6).integers(0, 4, ROWS)
    got, grads = net.loss(X, y, given.tolist() if weights is list else given.astype(weights))
    assert {got.dtype, *(grad.dtype for grad in grads.values())} == {np.dtype(np.float32)}


@pytest.mark.parametrize("loss", losses.NAMES)
@pytest.mark.parametrize("activation", activations.NAMES)
def test_saved_networks(activation, loss, tmp_path):
    net = net_for(loss, activation=activation, loss_parameter=0.3 if LOSSES[loss].parameter else None)
    net.save(tmp_path / "net.npz")
    other = load_model(tmp_path / "net.npz")
    assert (other.activation, other.loss_name, other.loss_parameter) == (activation, loss, net.loss_parameter)
    X, _ = data_for(loss)
    np.testing.assert_array_equal(other.predict(X), net.predict(X))


def test_a_resumed_training_has_its_schedule_and_bounds(tmp_path):
    X, y = data_for("huber")
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    options = {"update_rule": "adam", "batch_size": BATCH, "verbose": False, "max_norm": 0.3, "max_value": 0.1}

    def solver(epochs):
        np.random.seed(3)
        schedule = schedules.WarmUp(length=2, then=schedules.Exponential(gamma=0.9))
        return Solver(net_for("huber"), data, num_epochs=epochs, schedule=schedule, **options)

    whole = solver(4)
    whole.train()
    half = solver(2)
    half.train()
    half.save(tmp_path / "half.npz")
    rest = Solver.resume(tmp_path / "half.npz", data, num_epochs=4)
    assert rest.schedule == whole.schedule
    rest.train()
    np.testing.assert_array_equal(rest.loss_history, whole.loss_history)
    np.testing.assert_array_equal(rest.val_acc_history, whole.val_acc_history)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("squared", np.full((ROWS, OUTPUTS), np.nan), "y_train: expected finite numbers"),
        ("squared", np.zeros((ROWS, 2)), r"y_train: expected shape \(60, 3\)"),
        ("squared", np.array(["a"] * ROWS), "y_train: expected real numbers"),
        ("logistic", np.full((ROWS, OUTPUTS), 2.0), "y_train: expected numbers from 0 to 1 for the loss 'logistic'"),
        ("poisson", np.full((ROWS, OUTPUTS), -1.0), "y_train: expected numbers of at least 0 for the loss 'poisson'"),
        ("softmax", np.linspace(0, 1, ROWS), "y_train: expected integer labels"),
    ],
)
def test_targets_that_do_not_fit(loss, y, message):
    X, right = data_for(loss)
    with pytest.raises((TypeError, ValueError), match=message):
        Solver(net_for(loss), {"X_train": X, "y_train": y, "X_val": X, "y_val": right}, verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sine"}, "activation: expected one of 'relu', 'leaky_relu'"),
        ({"loss": "hinge"}, "loss: expected one of 'softmax', 'svm'"),
        ({"loss": "huber", "loss_parameter": 0}, "delta: expected a positive number"),
        ({"loss": "quantile", "loss_parameter": 1}, "quantile: expected a number q with 0 < q < 1"),
        ({"loss": "softmax", "loss_parameter": -0.1}, "label_smoothing: expected a number s with 0 <= s < 1"),
        ({"loss": "squared", "loss_parameter": 2.0}, "loss: the loss 'squared' has no parameter"),
    ],
)
def test_options_that_there_are_not(options, message):
    with pytest.raises(ValueError, match=message):
        FullyConnectedNet(HIDDEN, FEATURES, OUTPUTS, **options)


@pytest.mark.parametrize("loss", ["squared", "huber", "softmax"])
@pytest.mark.parametrize("value", [False, True, "1"])
def test_a_parameter_of_a_loss_is_a_number(loss, value):
    with pytest.raises(TypeError, match="expected a number"):
        FullyConnectedNet(HIDDEN, FEATURES, OUTPUTS, loss=loss, loss_parameter=value)


@pytest.mark.parametrize("option", ["max_norm", "max_value"])
@pytest.mark.parametrize("value", [0, -1.0, np.inf, np.nan, "much"])
def test_bounds_that_are_none(option, value):
    X, y = data_for("softmax")
    with pytest.raises((TypeError, ValueError), match=f"{option}: expected"):
        Solver(net_for(), {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, **{option: value})


def test_probabilities():
    X, _ = data_for("logistic")
    single, several = net_for("logistic", 1), net_for("logistic", 3)
    p = single.predict_proba(X)
    assert p.shape == (ROWS, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=tolerance(np.float64, 2))
    np.testing.assert_array_equal(single.predict(X), p[:, 1] > 0.5)
    assert several.predict_proba(X).shape == (ROWS, 3)
    with pytest.raises(ValueError, match="the loss 'squared' has no probabilities"):
        net_for("squared").predict_proba(X)


def test_initial_weights_of_a_generator_of_ones_own():
    """The same as by the global stream, which stays where it is; an initializer has its own scale."""
    np.random.seed(4)
    usual = FullyConnectedNet(HIDDEN, FEATURES, OUTPUTS, weight_scale=0.2)
    before = np.random.get_state()[1].copy()
    own = FullyConnectedNet(HIDDEN, FEATURES, OUTPUTS, weight_scale=0.2, rng=np.random.RandomState(4))
    np.testing.assert_array_equal(own.params.flat, usual.params.flat)
    drawn = FullyConnectedNet(HIDDEN, 5000, OUTPUTS, initializer="he_normal", rng=np.random.default_rng(0))
    # The deviation of a sample's own deviation is 1 / sqrt(2 n) of it; five of them.
    expected, n = np.sqrt(2 / 5000), drawn.params["W1"].size
    assert abs(drawn.params["W1"].std() / expected - 1) < 5 / np.sqrt(2 * n)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    with pytest.raises(ValueError, match="initializer: expected a function or one of"):
        FullyConnectedNet(HIDDEN, FEATURES, OUTPUTS, initializer="zeros")
