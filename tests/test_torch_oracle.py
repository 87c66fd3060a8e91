"""PyTorch's autograd in float64 as an independent oracle, where PyTorch is installed."""

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, activations, layers, losses, tolerance
from fastfc.classifiers.fc_net import TwoLayerNet
from fastfc.ops.losses import LOSSES

torch = pytest.importorskip("torch")
F = torch.nn.functional
# Nothing here is large enough for more.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _scalars_in_float64():
    """Optimizers keep scalars, such as NAdam's product of momenta, in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


N, D, M = 11, 7, 5
ROWS, FEATURES, CLASSES, HIDDEN, BATCH, STEPS = 60, 8, 4, [9, 6], 20, 200
RATES = {
    "sgd": 0.05,
    "sgd_momentum": 0.01,
    "nesterov": 0.01,
    "rmsprop": 1e-3,
    "adagrad": 1e-2,
    "adam": 1e-3,
    "adamw": 1e-3,
    "adam_amsgrad": 1e-3,
    "adamw_amsgrad": 1e-3,
    "nadam": 1e-3,
}


def leaf(array):
    return torch.tensor(np.asarray(array, np.float64), requires_grad=True)


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_close(got, expected, terms):
    """For values of the size of 10 at most."""
    bound = 10 * tolerance(np.float64, terms)
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=bound, atol=bound)


def dropped(x):
    """Dropout on the numbers that fastfc draws."""
    mask = (np.random.RandomState(3).random_sample(tuple(x.shape)) < 0.6) / 0.6
    return x * torch.tensor(mask)


def batch_normalized(x, gamma, beta):
    return F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)


def layer_normalized(x, gamma, beta):
    return F.layer_norm(x, (x.shape[1],), gamma, beta, eps=1e-5)


DROPOUT = {"mode": "train", "p": 0.6, "seed": 3}
# Layer: its arrays' shapes, further arguments, and the same in PyTorch.
LAYERS = {
    "affine": ([(N, D), (D, M), (M,)], [], lambda x, w, b: x @ w + b),
    "relu": ([(N, D)], [], F.relu),
    "dropout": ([(N, D)], [DROPOUT], dropped),
    "batchnorm": ([(N, D), (D,), (D,)], [{"mode": "train"}], batch_normalized),
    "layernorm": ([(N, D), (D,), (D,)], [{}], layer_normalized),
    "affine_relu": ([(N, D), (D, M), (M,)], [], lambda x, w, b: F.relu(x @ w + b)),
    "affine_relu_dropout": ([(N, D), (D, M), (M,)], [DROPOUT], lambda x, w, b: dropped(F.relu(x @ w + b))),
    "affine_batchnorm_relu": (
        [(N, D), (D, M), (M,), (M,), (M,)],
        [{"mode": "train"}],
        lambda x, w, b, gamma, beta: F.relu(batch_normalized(x @ w + b, gamma, beta)),
    ),
    "affine_batchnorm_relu_dropout": (
        [(N, D), (D, M), (M,), (M,), (M,)],
        [{"mode": "train"}, DROPOUT],
        lambda x, w, b, gamma, beta: dropped(F.relu(batch_normalized(x @ w + b, gamma, beta))),
    ),
    "affine_layernorm_relu": (
        [(N, D), (D, M), (M,), (M,), (M,)],
        [{}],
        lambda x, w, b, gamma, beta: F.relu(layer_normalized(x @ w + b, gamma, beta)),
    ),
    "affine_layernorm_relu_dropout": (
        [(N, D), (D, M), (M,), (M,), (M,)],
        [{}, DROPOUT],
        lambda x, w, b, gamma, beta: dropped(F.relu(layer_normalized(x @ w + b, gamma, beta))),
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer, backend):
    from fastfc import layer_utils

    shapes, further, same = LAYERS[layer]
    arrays = [values(*shape, seed=i) for i, shape in enumerate(shapes)]
    module = layers if hasattr(layers, f"{layer}_forward") else layer_utils
    out, cache = getattr(module, f"{layer}_forward")(*arrays, *(dict(param) for param in further))
    dout = values(*out.shape, seed=9)
    gradients = getattr(module, f"{layer}_backward")(dout, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    leaves = [leaf(array) for array in arrays]
    expected = same(*leaves)
    expected.backward(torch.tensor(dout))
    assert_close(out, expected, 4 * N)
    assert len(gradients) == len(leaves)
    for got, parameter in zip(gradients, leaves, strict=True):
        assert_close(got, parameter.grad, 8 * N)


def test_batchnorm_backward_alt(backend):
    x, gamma, beta, dout = values(N, D), values(D, seed=1), values(D, seed=2), values(N, D, seed=3)
    _, cache = layers.batchnorm_forward(x, gamma, beta, {"mode": "train"})
    leaves = [leaf(x), leaf(gamma), leaf(beta)]
    batch_normalized(*leaves).backward(torch.tensor(dout))
    for got, parameter in zip(layers.batchnorm_backward_alt(dout, cache), leaves, strict=True):
        assert_close(got, parameter.grad, 8 * N)


def test_running_statistics(backend):
    """PyTorch's momentum is the share of the new value, and its running variance the unbiased one."""
    param, mean, var = {"mode": "train"}, torch.zeros(D, dtype=float), torch.zeros(D, dtype=float)
    for seed in range(5):
        x = values(N, D, seed=seed)
        layers.batchnorm_forward(x, np.ones(D), np.zeros(D), param)
        F.batch_norm(torch.tensor(x), mean, var, training=True, momentum=0.1)
    assert_close(param["running_mean"], mean, 10 * N)
    assert_close(param["running_var"], var * (N - 1) / N, 10 * N)


@pytest.mark.parametrize("loss", ["softmax_loss", "svm_loss"])
def test_losses(loss, backend):
    x, y = 3 * values(N, M), np.arange(N) % M
    got, dx = getattr(layers, loss)(x, y)
    scores = leaf(x)
    if loss == "softmax_loss":
        expected = F.cross_entropy(scores, torch.tensor(y))
    else:
        # PyTorch divides by the number of classes as well.
        expected = M * F.multi_margin_loss(scores, torch.tensor(y))
    expected.backward()
    assert_close(got, expected, 4 * N)
    assert_close(dx, scores.grad, 4 * N)


TORCH_ACTIVATIONS = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
    "identity": lambda x: x,
    "selu": F.selu,
    "elu": F.elu,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "mish": F.mish,
    "softplus": F.softplus,
}


@pytest.mark.parametrize("name", activations.NAMES)
def test_activations(name, backend):
    # Beyond 20 PyTorch's softplus is x itself.
    if name not in TORCH_ACTIVATIONS:
        pytest.skip(f"no oracle of {name} yet")
    x, dout = 6 * values(N, D), values(N, D, seed=9)
    out, cache = getattr(activations, f"{name}_forward")(x)
    scores = leaf(x)
    expected = TORCH_ACTIVATIONS[name](scores)
    expected.backward(torch.tensor(dout))
    assert_close(out, expected, 8)
    assert_close(getattr(activations, f"{name}_backward")(dout, cache), scores.grad, 8)


def poisson(x, t):
    # Half of the deviance; PyTorch leaves out what the scores do not change.
    return (F.poisson_nll_loss(x, t, reduction="none") + torch.xlogy(t, t) - t).sum(dim=1)


def cross_entropy(smoothing):
    return lambda x, y: F.cross_entropy(x, y, reduction="none", label_smoothing=smoothing)


def pinball(x, t, q):
    return torch.maximum(q * (t - x), (q - 1) * (t - x)).sum(dim=1)


# Loss and its parameter -> a row's loss in PyTorch.
TORCH_LOSSES = {
    ("softmax", 0.0): cross_entropy(0.0),
    ("softmax", 0.3): cross_entropy(0.3),
    ("svm", None): lambda x, y: M * F.multi_margin_loss(x, y, reduction="none"),
    ("logistic", None): lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none").sum(dim=1),
    ("squared", None): lambda x, t: F.mse_loss(x, t, reduction="none").sum(dim=1) / 2,
    ("absolute", None): lambda x, t: F.l1_loss(x, t, reduction="none").sum(dim=1),
    ("huber", 0.7): lambda x, t: F.huber_loss(x, t, reduction="none", delta=0.7).sum(dim=1),
    ("quantile", 0.9): lambda x, t: pinball(x, t, 0.9),
    ("poisson", None): poisson,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "parameter"),
    [*TORCH_LOSSES, *((name, None) for name in sorted(set(losses.NAMES) - {known for known, _ in TORCH_LOSSES}))],
)
def test_losses_of_networks(name, parameter, weighted, backend):
    if (name, parameter) not in TORCH_LOSSES:
        pytest.skip(f"no oracle of {name} yet")
    x, w = 2 * values(N, M), np.abs(values(N, seed=2))
    y = np.arange(N) % M
    if not LOSSES[name].labels:
        y = {
            "logistic": np.random.default_rng(3).random((N, M)),
            "poisson": np.abs(np.rint(3 * values(N, M, seed=3))),
        }.get(name, values(N, M, seed=3))
    got, dx = losses.evaluate(name, x, y, w if weighted else None, parameter)
    scores = leaf(x)
    rows = TORCH_LOSSES[name, parameter](scores, torch.tensor(y))
    shares = torch.tensor(w / w.sum() if weighted else np.full(N, 1 / N))
    expected = (rows * shares).sum()
    expected.backward()
    assert_close(got, expected, 4 * N)
    assert_close(dx, scores.grad, 4 * N)


# ---------------------------------------------------------------------------------------------- whole nets


def torch_loss(parameters, X, y, normalization, keep, reg):
    """The network's loss; masks come from NumPy's global stream, layer by layer."""
    x, depth = torch.tensor(X), sum(name.startswith("W") for name in parameters)
    for i in range(1, depth + 1):
        x = x @ parameters[f"W{i}"] + parameters[f"b{i}"]
        if i == depth:
            break
        if normalization == "batchnorm":
            x = batch_normalized(x, parameters[f"gamma{i}"], parameters[f"beta{i}"])
        elif normalization == "layernorm":
            x = layer_normalized(x, parameters[f"gamma{i}"], parameters[f"beta{i}"])
        x = F.relu(x)
        if keep != 1:
            x = x * torch.tensor((np.random.random_sample(tuple(x.shape)) < keep) / keep)
    penalty = sum((value**2).sum() for name, value in parameters.items() if name.startswith("W"))
    return F.cross_entropy(x, torch.tensor(y)) + 0.5 * reg * penalty


def data():
    rng = np.random.default_rng(4)
    return rng.standard_normal((ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)


def new_net(normalization, keep, reg):
    np.random.seed(6)
    return FullyConnectedNet(
        HIDDEN, FEATURES, CLASSES, dropout_keep_ratio=keep, normalization=normalization, reg=reg, weight_scale=0.3,
        dtype=np.float64,
    )  # fmt: skip


@pytest.mark.parametrize("reg", [0.0, 0.3])
@pytest.mark.parametrize("keep", [1, 0.7])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_the_whole_net(normalization, keep, reg, backend):
    X, y = data()
    net = new_net(normalization, keep, reg)
    np.random.seed(8)
    loss, grads = net.loss(X, y)
    following = np.random.random_sample()
    parameters = {name: leaf(value) for name, value in net.params.items()}
    np.random.seed(8)
    expected = torch_loss(parameters, X, y, normalization, keep, reg)
    expected.backward()
    assert np.random.random_sample() == following
    terms = 3 * (ROWS + sum(HIDDEN) + FEATURES)
    assert_close(loss, expected, terms)
    for name, parameter in parameters.items():
        assert_close(grads[name], parameter.grad, terms)


def test_the_two_layer_net(backend):
    X, y = data()
    np.random.seed(6)
    net = TwoLayerNet(FEATURES, 9, CLASSES, weight_scale=0.3, reg=0.2)
    loss, grads = net.loss(X, y)
    parameters = {name: leaf(value) for name, value in net.params.items()}
    expected = torch_loss(parameters, X, y, None, 1, 0.2)
    expected.backward()
    assert_close(loss, expected, 3 * (ROWS + 9 + FEATURES))
    for name, parameter in parameters.items():
        assert_close(grads[name], parameter.grad, 3 * (ROWS + 9 + FEATURES))


def torch_optimizer(rule, parameters):
    rate, kinds = RATES[rule], torch.optim
    make = {
        "sgd": lambda values: kinds.SGD(values, rate),
        "sgd_momentum": lambda values: kinds.SGD(values, rate, momentum=0.9),
        "nesterov": lambda values: kinds.SGD(values, rate, momentum=0.9, nesterov=True),
        "rmsprop": lambda values: kinds.RMSprop(values, rate, alpha=0.99, eps=1e-8),
        "adagrad": lambda values: kinds.Adagrad(values, rate, eps=1e-8),
        "adam": lambda values: kinds.Adam(values, rate, eps=1e-8),
        "adamw": lambda values: kinds.AdamW(values, rate, eps=1e-8, weight_decay=0.01),
        "adam_amsgrad": lambda values: kinds.Adam(values, rate, eps=1e-8, amsgrad=True),
        "adamw_amsgrad": lambda values: kinds.AdamW(values, rate, eps=1e-8, weight_decay=0.01, amsgrad=True),
        "nadam": lambda values: kinds.NAdam(values, rate, eps=1e-8, momentum_decay=4e-3),
    }
    return make[rule](list(parameters.values()))


def torch_training(rule, normalization, keep, reg, perturbation=0.0):
    """All losses and the final parameters; the start is moved by a relative `perturbation`."""
    X, y = data()
    net = new_net(normalization, keep, reg)
    sign = np.random.default_rng(1)
    parameters = {
        name: leaf(value * (1 + perturbation * sign.choice([-1, 1], value.shape))) for name, value in net.params.items()
    }
    optimizer, losses = torch_optimizer(rule, parameters), []
    for _ in range(STEPS):
        rows = np.random.choice(ROWS, BATCH)
        optimizer.zero_grad()
        loss = torch_loss(parameters, X[rows], y[rows], normalization, keep, reg)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), {name: value.detach().numpy() for name, value in parameters.items()}


# Far above rounding, far below what bends the curve.
PERTURBATION = 1e-9


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("rule", RATES)
def test_200_steps_of_training(rule, normalization):
    """Every loss and all parameters at the end.

    How much a training magnifies errors is measured on the oracle itself, by a start that is
    off by a known amount. Each of the steps adds one rounding error of its own.
    """
    keep, reg = 0.8, 0.01
    losses, parameters = torch_training(rule, normalization, keep, reg)
    moved_losses, moved_parameters = torch_training(rule, normalization, keep, reg, PERTURBATION)
    growth = np.maximum.accumulate(np.abs(moved_losses - losses)) / PERTURBATION
    rounding = tolerance(np.float64, 3 * (BATCH + sum(HIDDEN) + FEATURES))
    X, y = data()
    net = new_net(normalization, keep, reg)
    solver = Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:0], "y_val": y[:0]}, update_rule=rule,
        optim_config={"learning_rate": RATES[rule]}, batch_size=BATCH, num_epochs=STEPS * BATCH // ROWS + 1,
        num_train_samples=None, verbose=False, callback=stop_after_the_steps,
    )  # fmt: skip
    with fastfc.use_backend("fast"), pytest.raises(StopIteration):
        solver.train()
    assert solver.engine_ == "compiled"
    allowed = rounding * (1 + growth) * np.arange(1, STEPS + 1)
    assert np.all(np.abs(solver.loss_history[:STEPS] - losses) <= allowed)
    assert losses[-20:].mean() < losses[:20].mean()
    if len(solver.loss_history) > STEPS:
        return
    for name, value in parameters.items():
        if normalization == "batchnorm" and name in ("b1", "b2"):
            # The batch mean takes these biases out again: their gradient is rounding noise.
            continue
        growth = np.abs(moved_parameters[name] - value).max() / PERTURBATION
        assert np.abs(net.params[name] - value).max() <= rounding * (1 + growth) * STEPS, name


def stop_after_the_steps(solver):
    if len(solver.loss_history) >= STEPS:
        raise StopIteration
