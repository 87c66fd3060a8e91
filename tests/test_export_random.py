"""Random networks in every format: the same predictions elsewhere, and the same network back.

25 networks by default, 200 with ``--hypothesis-profile=long`` (or ``HYPOTHESIS_PROFILE=long``).
"""

import itertools

import numpy as np
import pytest
from exported import (
    ACTIVATIONS,
    CC,
    Compiled,
    assert_probabilities,
    assert_same_network,
    examples,
    imported,
    make_net,
    scores_by_formula,
)
from hypothesis import settings

import fastfc
from fastfc import (
    export,
    from_keras_weights,
    from_torch_state,
    load_exported,
    load_model,
    losses,
    to_keras_weights,
    to_torch_state,
)
from fastfc.ops.losses import LOSSES

NETWORKS = 200 if settings().max_examples > 25 else 25
every_network = pytest.mark.parametrize("seed", range(NETWORKS))


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def random_net(seed):
    """A network, its options for formats that do not hold them, and examples."""
    rng = np.random.default_rng([25, seed])
    # Each activation, loss, normalization and dtype comes up in any 25 networks.
    activation, loss = sorted(ACTIVATIONS)[seed % len(ACTIVATIONS)], losses.NAMES[seed % len(losses.NAMES)]
    features, hidden = int(rng.integers(1, 20)), rng.integers(1, 25, rng.integers(0, 5)).tolist()
    normalization = [None, "batchnorm", "layernorm"][rng.integers(3)] if hidden else None
    dtype, keep = [np.float32, np.float64][rng.integers(2)], [1.0, 0.6][rng.integers(2)]
    outputs = int(rng.integers(2 if LOSSES[loss].labels else 1, 5))
    net = make_net(
        normalization, dtype, hidden, bool(rng.integers(2)), bool(rng.integers(2)), keep, outputs, features, seed,
        activation=activation, loss=loss,
    )  # fmt: skip
    options = {"activation": activation, "loss": loss, "eps": 2e-3, "dropout_keep_ratio": keep}
    if not hidden:
        del options["eps"]
    return net, options, examples(12, seed, dtype, features)


def standardized(net, X):
    """X as it enters the first layer: in formats of layers only, that is the user's part."""
    if net.input_mean is not None:
        X = (X.astype(np.float64) - net.input_mean) * net.input_scale
    return X.astype(net.dtype)


def assert_labels_where_clear(got, scores, bound):
    """Of scores with their bounds: (N, C) for classes, (N,) for a threshold at 0."""
    if scores.ndim == 1:
        scores, bound = np.stack([0 * scores, scores], axis=1), np.stack([0 * bound, bound], axis=1)
    top = np.sort(scores, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * bound.max(axis=1)
    np.testing.assert_array_equal(np.asarray(got)[clear], scores.argmax(axis=1)[clear])


def assert_outputs(net, X, label=None, probabilities=None, predictions=None):
    """Outputs by the links of the losses; None is left out."""
    scores, bound = scores_by_formula(net, X)
    loss, rounding = LOSSES[net.loss_name], fastfc.tolerance(net.dtype, 2)
    if label is not None and loss.labels:
        names = net.class_names or list(range(scores.shape[1]))
        assert_labels_where_clear([names.index(name) for name in np.asarray(label).tolist()], scores, bound)
    elif label is not None:
        for j, column in enumerate(np.reshape(label, scores.shape).T):
            assert_labels_where_clear(column, scores[:, j], bound[:, j])
    if probabilities is not None and loss.link == "softmax":
        assert_probabilities(probabilities, scores, bound, net.dtype)
    elif probabilities is not None:
        p = 1 / (1 + np.exp(-scores))
        expected = np.hstack([1 - p, p]) if scores.shape[1] == 1 else p
        # The slope of the logistic function is 1/4 at most.
        assert np.all(np.abs(probabilities - expected) <= bound.max() / 4 + rounding)
    if predictions is not None:
        expected = np.exp(scores) if loss.link == "exp" else scores
        # An error of a score is the same relative one of its exponential, and so is the score's own rounding.
        relative = (np.expm1(bound) + np.abs(scores) * np.finfo(net.dtype).eps + rounding) * expected
        allowed = relative if loss.link == "exp" else bound
        assert np.all(np.abs(np.reshape(predictions, scores.shape) - expected) <= allowed)


def assert_scores(net, X, got):
    scores, bound = scores_by_formula(net, X)
    assert got.dtype == net.dtype
    assert np.all(np.abs(got - scores) <= bound)


@every_network
def test_fastfc_itself(seed):
    net, _, X = random_net(seed)
    assert_scores(net, X, net.loss(X))


def test_the_networks_differ():
    nets = [random_net(seed)[0] for seed in range(NETWORKS)]
    for found, wanted in [
        ({net.activation for net in nets}, set(ACTIVATIONS)),
        ({net.loss_name for net in nets}, set(losses.NAMES)),
        ({net.normalization for net in nets}, {None, "batchnorm", "layernorm"}),
        ({np.dtype(net.dtype).name for net in nets}, {"float32", "float64"}),
        ({len(net.dims) - 2 for net in nets}, set(range(5))),
        ({net.input_mean is None for net in nets}, {True, False}),
    ]:
        assert found == wanted


@every_network
def test_a_numpy_module(seed):
    net, _, X = random_net(seed)
    export(net, "net.py")
    module = imported("net.py")
    assert_scores(net, X, module.scores(X))
    found = module.predict(X)
    has_label = LOSSES[net.loss_name].labels or LOSSES[net.loss_name].link == "logistic"
    assert_outputs(
        net,
        X,
        label=found if has_label else None,
        predictions=None if has_label else found,
        probabilities=module.predict_proba(X) if hasattr(module, "predict_proba") else None,
    )
    assert_same_network(load_model("net.npz"), net)


@pytest.mark.skipif(CC is None, reason="there is no C compiler")
@every_network
def test_c(seed):
    net, _, X = random_net(seed)
    export(net, "net.c")
    compiled = Compiled("net", net.dtype, net.dtype, net.dims[-1])
    assert_scores(net, X, compiled.rows("scores", X))
    if LOSSES[net.loss_name].labels:
        assert_labels_where_clear(compiled.labels(X), *scores_by_formula(net, X))


@every_network
def test_onnx(seed):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    net, _, X = random_net(seed)
    export(net, "net.onnx")
    assert_same_network(load_exported("net.onnx"), net)
    if (net.activation, net.dtype) == ("gelu", np.float64) and net.num_layers > 1:
        return  # ONNX Runtime has no error function in float64.
    session = runtime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert_outputs(net, X, **dict(zip(names, session.run(None, {"X": X}), strict=True)))


def torch_model(net):
    nn = pytest.importorskip("torch").nn
    activations = {
        "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "identity": nn.Identity,
        "selu": nn.SELU, "elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"),
        "mish": nn.Mish, "softplus": nn.Softplus,
    }  # fmt: skip
    norms = {"batchnorm": nn.BatchNorm1d, "layernorm": nn.LayerNorm}
    modules = []
    for inputs, width in itertools.pairwise(net.dims[:-1]):
        modules += [nn.Linear(inputs, width), *([norms[net.normalization](width, 2e-3)] if net.normalization else [])]
        modules += [activations[net.activation](), *([nn.Dropout(0.4)] if net.use_dropout else [])]
    return nn.Sequential(*modules, nn.Linear(net.dims[-2], net.dims[-1])).eval()


@pytest.mark.parametrize("file", [None, "net.safetensors", "net.pt-names.npz"], ids=["state", "safetensors", "npz"])
@every_network
def test_pytorch(file, seed):
    net, options, X = random_net(seed)
    if file is None:
        state = to_torch_state(net)
        again = from_torch_state(state, **options)
        # A state has neither names nor a standardization.
        for name in ("class_names", "feature_names", "target_name", "input_mean", "input_scale"):
            setattr(again, name, getattr(net, name))
    elif file.endswith(".npz"):
        export(net, file)
        with np.load(file) as contents:
            state = {name: contents[name] for name in contents.files if name[0].isdigit()}
        again = load_exported(file)
    else:
        library = pytest.importorskip("safetensors.numpy")
        export(net, file)
        state = {name: array for name, array in library.load_file(file).items() if name[0].isdigit()}
        again = load_exported(file)
    assert_same_network(again, net)
    torch = pytest.importorskip("torch")
    model = torch_model(net).to(getattr(torch, np.dtype(net.dtype).name))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    with torch.no_grad():
        assert_scores(net, X, model(torch.from_numpy(standardized(net, X))).numpy())


@every_network
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_keras(seed, monkeypatch):
    net, options, X = random_net(seed)
    weights = to_keras_weights(net)
    again = from_keras_weights(weights, momentum=0.9, **options)
    for name in ("class_names", "feature_names", "target_name", "input_mean", "input_scale"):
        setattr(again, name, getattr(net, name))
    assert_same_network(again, net)
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    try:
        import keras
    except ImportError as error:
        pytest.skip(f"keras: {error}")
    if net.dtype == np.float64:
        return  # The weights of Keras's NumPy backend are float32, whatever is asked for.
    model = keras_model(keras, net)
    model.set_weights(weights)
    assert_scores(net, X, np.asarray(model(standardized(net, X))))


def keras_model(keras, net):
    activations = {
        "leaky_relu": lambda x: keras.activations.leaky_relu(x, negative_slope=0.01),
        "logistic": "sigmoid",
        "identity": "linear",
        "gelu": lambda x: keras.activations.gelu(x, approximate=False),
        "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    }
    norms = {
        None: lambda: [],
        "batchnorm": lambda: [keras.layers.BatchNormalization(epsilon=2e-3, momentum=0.9)],
        "layernorm": lambda: [keras.layers.LayerNormalization(epsilon=2e-3)],
    }
    layers = [keras.layers.Input((net.dims[0],))]
    for width in net.dims[1:-1]:
        layers += [keras.layers.Dense(width), *norms[net.normalization]()]
        layers.append(keras.layers.Activation(activations.get(net.activation, net.activation)))
    return keras.Sequential([*layers, keras.layers.Dense(net.dims[-1])])
