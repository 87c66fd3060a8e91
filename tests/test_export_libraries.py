"""Networks in the formats of other libraries: the same networks back, and the same predictions there."""

import json
import struct

import numpy as np
import pytest
from exported import (
    ACTIVATIONS,
    CLASSES,
    FEATURES,
    LINKS,
    assert_labels,
    assert_same_network,
    examples,
    make_net,
    scores_by_formula,
)
from hypothesis import given
from hypothesis import strategies as st

import fastfc
from fastfc import (
    FullyConnectedNet,
    export,
    from_keras_weights,
    from_torch_state,
    load_exported,
    to_keras_weights,
    to_torch_state,
)
from fastfc.cli import main

NORMALIZATIONS = [None, "batchnorm", "layernorm"]
every_normalization = pytest.mark.parametrize("normalization", NORMALIZATIONS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def without_entrance(*args, **kwargs):
    return make_net(*args, standardize=False, names=False, **kwargs)


# ------------------------------------------------------------------------------------------------ PyTorch

STATES = {
    None: ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"],
    "layernorm": [f"{i}.{kind}" for i in (0, 1, 3, 4, 6) for kind in ("weight", "bias")],
}


@pytest.mark.parametrize("normalization", STATES)
def test_names_of_a_state(normalization):
    net = make_net(normalization)
    state = to_torch_state(net)
    assert list(state) == STATES[normalization]
    np.testing.assert_array_equal(state["0.weight"], net.params["W1"].T)
    assert all(array.flags.c_contiguous and array.flags.owndata for array in state.values())


def test_names_of_a_state_with_everything():
    state = to_torch_state(make_net("batchnorm", keep=0.5))
    assert list(state)[:9] == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "4.weight", "4.bias",
    ]  # fmt: skip
    assert state["1.num_batches_tracked"].shape == ()
    assert state["1.num_batches_tracked"].dtype == np.int64


@every_normalization
@every_dtype
def test_a_state_is_the_same_network(normalization, dtype):
    net = without_entrance(normalization, dtype, keep=0.5)
    before = np.random.get_state()[1].copy()
    back = from_torch_state(to_torch_state(net), eps=2e-3, momentum=0.1, dropout_keep_ratio=0.5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert_same_network(back, net)
    back.params["W1"][0, 0] += 1
    assert net.params["W1"][0, 0] != back.params["W1"][0, 0]


def test_modules_by_number_or_in_order():
    net = without_entrance("batchnorm", hidden=[3] * 5)
    state = to_torch_state(net)
    for prefix in ("", "net.", "model.layers."):
        shuffled = {f"{prefix}{name}": state[name] for name in sorted(state)}
        assert_same_network(from_torch_state(shuffled, eps=2e-3), net)
    words = dict(zip(sorted({name.split(".")[0] for name in state}, key=int), "zyxwvutsrqp", strict=False))
    named = {f"{words[name.split('.')[0]]}.{name.split('.')[1]}": array for name, array in state.items()}
    assert_same_network(from_torch_state(named, eps=2e-3), net)


def test_modules_in_alphabetical_order():
    """As safetensors gives them: 10 comes after 9 all the same."""
    net = make_net(hidden=(4,) * 11, features=4, standardize=False, names=False)
    named = {}
    for name, array in to_torch_state(net).items():
        number, kind = name.split(".")
        named["out." + kind if number == "22" else f"layers.fc{int(number) // 2 + 1}.{kind}"] = array
    for state in (named, dict(sorted(named.items()))):
        assert_same_network(from_torch_state(state, activation=net.activation), net)


def test_modules_without_bias_or_scale():
    W1, W2, ones = np.ones((3, 2)), np.ones((4, 3)), np.ones(3)
    net = from_torch_state({"0.weight": W1, "1.running_mean": ones, "1.running_var": 2 * ones, "3.weight": W2})
    assert net.dims == [2, 3, 4]
    np.testing.assert_array_equal(net.params["gamma1"], ones)
    for name in ("b1", "beta1"):
        np.testing.assert_array_equal(net.params[name], 0 * ones)
    assert from_torch_state({"weight": W1}).dims == [2, 3]
    assert from_torch_state({"0.weight": W1.astype(np.float16)}).dtype == np.float32


W, B = np.ones((3, 3)), np.ones(3)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "got 0"),
        ({"0.weight": W, "0.kernel": W}, "got '0.kernel'"),
        ({"0.weight": W, "0.bias": np.ones(4)}, r"b1: expected shape \(3,\), got \(4,\)"),
        ({"0.weight": W, "0.bias": W}, r"b1: expected shape \(3,\), got \(3, 3\)"),
        ({"0.weight": W, "2.weight": np.ones((2, 4))}, r"W2: expected shape"),
        ({"0.weight": B, "1.weight": W}, "got '0'"),
        ({"0.weight": W, "1.weight": B, "2.weight": B, "3.weight": W}, "got '2'"),
        ({"0.weight": W, "1.weight": B}, "1, with"),
        ({"0.weight": W, "1.weight": B, "2.weight": W, "3.weight": W}, "same normalization"),
        ({"0.weight": W, "1.running_mean": B, "3.weight": W}, "no running_var"),
        ({"0.weight": W, "1.running_mean": B, "1.running_var": B, "2.weight": W, "3.weight": B, "4.weight": W}, "same"),
        ({"0.weight": W, "1.weight": np.ones(2), "2.weight": W}, r"gamma1: expected shape \(3,\), got \(2,\)"),
        ({"0.weight": np.ones((10**9, 0))}, "got '0'"),
        ({"0.weight": W.astype(int)}, r"state\['0.weight'\]: expected floating-point numbers, got dtype int64"),
        ({"0.weight": np.ones((3, 3, 3, 3))}, "got '0'"),
    ],
)
def test_states_of_other_models(state, words):
    with pytest.raises(ValueError, match=words):
        from_torch_state(state)


class Bfloat16:
    """As a tensor of a dtype that NumPy does not have."""

    dtype = "torch.bfloat16"

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


def test_no_states():
    for state, words in (([W], "got list"), (W, "got ndarray"), ({0: W}, "got dict with other keys")):
        with pytest.raises(TypeError, match=rf"^state: expected arrays or tensors by name, .* {words}$"):
            from_torch_state(state)
    with pytest.raises(
        ValueError, match=r"^state\['0.weight'\]: .* got torch.bfloat16; tensor.float\(\) converts them$"
    ):
        from_torch_state({"0.weight": Bfloat16()})


def test_longer_numbers_than_float64_become_float64():
    assert from_torch_state({"0.weight": W.astype(np.longdouble)}).dtype == np.float64
    assert from_torch_state({"0.weight": W.astype(">f8")}).dtype == np.float64


@pytest.mark.parametrize("loss", ["softmax", "svm"])
def test_a_single_output_tells_no_classes_apart(loss):
    words = f"^loss: expected one for a single output, such as 'logistic' or 'squared', got '{loss}'"
    with pytest.raises(ValueError, match=words):
        from_torch_state({"0.weight": W[:1]}, loss=loss)
    with pytest.raises(ValueError, match=words):
        from_keras_weights([W[:, :1]], loss=loss)
    assert from_torch_state({"0.weight": W[:1]}, loss="logistic").dims == [3, 1]


def test_arrays_of_other_objects():
    """A state and weights are there for all that can be exported."""
    net = without_entrance(None)
    own = fastfc.Network(net.dims, activation=net.activation)
    for i in range(1, 4):
        own.params[f"W{i}"], own.params[f"b{i}"] = net.params[f"W{i}"], net.params[f"b{i}"]
    for name, array in to_torch_state(own).items():
        np.testing.assert_array_equal(array, to_torch_state(net)[name])
    for array, expected in zip(to_keras_weights(own), to_keras_weights(net), strict=True):
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(TypeError, match="net: expected a FullyConnectedNet, a Network or a fitted"):
        to_torch_state({})


@every_normalization
@every_dtype
def test_pytorch_predicts_the_same(normalization, dtype):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    net, X = without_entrance(normalization, dtype, keep=0.5), examples(dtype=dtype)
    kinds = {
        None: lambda width: [],
        "batchnorm": lambda width: [nn.BatchNorm1d(width, eps=2e-3)],
        "layernorm": lambda width: [nn.LayerNorm(width, eps=2e-3)],
    }
    modules = []
    for inputs, width in zip(net.dims, net.dims[1:-1], strict=False):
        modules += [nn.Linear(inputs, width), *kinds[normalization](width), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*modules, nn.Linear(net.dims[-2], CLASSES)).to(getattr(torch, np.dtype(dtype).name)).eval()
    state = {name: torch.from_numpy(array) for name, array in to_torch_state(net).items()}
    assert list(state) == list(model.state_dict())
    model.load_state_dict(state)
    scores, bound = scores_by_formula(net, X)
    with torch.no_grad():
        assert np.all(np.abs(model(torch.from_numpy(X)).numpy() - scores) <= bound)
    assert_same_network(from_torch_state(model.state_dict(), eps=2e-3, dropout_keep_ratio=0.5), net)
    assert_same_network(from_torch_state(dict(model.named_parameters()) | state, eps=2e-3, dropout_keep_ratio=0.5), net)


def test_running_statistics_move_as_in_pytorch():
    """The mean as it is said to, the variance by the biased batch variance here and the unbiased one there."""
    torch = pytest.importorskip("torch")
    net, X = without_entrance("batchnorm", np.float64, hidden=(5,)), examples(dtype=np.float64)
    net.bn_params[0]["momentum"] = 0.75
    norm = torch.nn.BatchNorm1d(5, momentum=0.25, dtype=torch.float64)
    state = to_torch_state(net)
    norm.load_state_dict({name[2:]: torch.from_numpy(a) for name, a in state.items() if name.startswith("1.")})
    hidden = X @ net.params["W1"] + net.params["b1"]
    norm(torch.from_numpy(hidden))
    net.loss(X, np.zeros(len(X), int))
    bound, size = fastfc.tolerance(np.float64, FEATURES + 2 * len(X)), 10 * np.abs(hidden).max() ** 2
    moved = net.bn_params[0]
    np.testing.assert_allclose(moved["running_mean"], norm.running_mean.numpy(), rtol=0, atol=bound * size)
    more = 0.25 * hidden.var(axis=0) / (len(X) - 1)
    np.testing.assert_allclose(moved["running_var"] + more, norm.running_var.numpy(), rtol=0, atol=bound * size)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"momentum": None}, TypeError, "momentum: expected"),
        ({"eps": "small"}, TypeError, "eps: expected"),
        ({"eps": -1.0}, ValueError, "eps: expected a finite number of at least 0"),
        ({"dropout_keep_ratio": 0}, ValueError, "dropout_keep_ratio: expected"),
        ({"activation": "swish"}, ValueError, "activation: expected"),
        ({"loss": "hinge"}, ValueError, "loss: expected"),
    ],
)
def test_options_out_of_range(options, kind, words):
    net = without_entrance("batchnorm")
    with pytest.raises(kind, match=words):
        from_torch_state(to_torch_state(net), **options)
    with pytest.raises(kind, match=words):
        from_keras_weights(to_keras_weights(net), **options)


# -------------------------------------------------------------------------------------------------- Keras


@every_normalization
@every_dtype
def test_weights_are_the_same_network(normalization, dtype):
    net = without_entrance(normalization, dtype)
    weights = to_keras_weights(net)
    assert all(array.flags.owndata for array in weights)
    assert_same_network(from_keras_weights(weights, eps=2e-3, momentum=0.9), net)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_dense_layers_without_bias(normalization):
    net = without_entrance(normalization)
    for i in (1, 2, 3):
        net.params[f"b{i}"] = np.zeros_like(net.params[f"b{i}"])
    vectors = {None: 0, "layernorm": 2, "batchnorm": 4}[normalization]
    weights = [a for i, a in enumerate(to_keras_weights(net)) if i % (vectors + 2) != 1]
    assert_same_network(from_keras_weights(weights, eps=2e-3, momentum=0.9), net)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "got kernels followed by"),
        ([B], r"weights\[0\]: expected a kernel"),
        ([W, np.ones((3, 3, 3))], r"weights\[1\]: expected a kernel"),
        ([W, B, B, B], r"followed by \[3\] vectors"),
        ([W, B, B, B, W, B, W], r"followed by \[3, 1, 0\] vectors"),
        ([W, *[B] * 6, W, B], r"followed by \[6, 1\] vectors"),
        ([W, *[B] * 6, W, *[B] * 6, W], r"followed by \[6, 6, 0\] vectors"),
        ([W, B, np.ones((4, 2)), B[:2]], "W2: expected shape"),
        ([W, B[:2]], "b1: expected shape"),
        ([W, ["a"]], r"weights\[1\]"),
    ],
)
def test_weights_of_other_models(weights, words):
    with pytest.raises(ValueError, match=words):
        from_keras_weights(weights)


def test_no_weights():
    with pytest.raises(TypeError, match=r"^weights: expected a list of arrays, as model\.get_weights"):
        from_keras_weights(5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_keras_predicts_the_same(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    try:
        import keras
    except ImportError as error:
        pytest.skip(f"keras: {error}")
    kinds = {
        None: lambda: [],
        "batchnorm": lambda: [keras.layers.BatchNormalization(epsilon=2e-3, momentum=0.9)],
        "layernorm": lambda: [keras.layers.LayerNormalization(epsilon=2e-3)],
    }
    for normalization, norm in kinds.items():
        net, X = without_entrance(normalization), examples()
        layers = [keras.layers.Input((FEATURES,))]
        for width in net.dims[1:-1]:
            layers += [keras.layers.Dense(width), *norm(), keras.layers.ReLU()]
        model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
        model.set_weights(to_keras_weights(net))
        scores, bound = scores_by_formula(net, X)
        assert np.all(np.abs(np.asarray(model(X)) - scores) <= bound)
        assert_same_network(from_keras_weights(model.get_weights(), eps=2e-3, momentum=0.9), net)


# -------------------------------------------------------------------------------------------------- files

FILES = ["net.pt-names.npz", "net.safetensors"]


def needed(name):
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
    return name


@pytest.mark.parametrize("file", FILES)
@every_normalization
@every_dtype
def test_a_file_is_the_same_network(file, normalization, dtype):
    net = make_net(normalization, dtype, keep=0.5)
    assert export(net, needed(file)) == [file]
    assert_same_network(load_exported(file), net)


@pytest.mark.parametrize("file", FILES)
def test_a_standardization_of_longer_numbers(file):
    net = make_net()
    net.input_mean = np.asarray(net.input_mean, np.longdouble)
    export(net, needed(file))
    assert load_exported(file).input_mean.dtype == np.float64
    np.testing.assert_array_equal(load_exported(file).input_mean, net.input_mean)


@pytest.mark.parametrize("file", FILES)
def test_files_of_other_networks(file):
    untrained = FullyConnectedNet([3], 4, 2, normalization="batchnorm", seed=3, dropout_keep_ratio=0.5, reg=0.1)
    untrained.input_scale, untrained.input_mean = 0.5, np.arange(4).reshape(2, 2)
    for net in (untrained, make_net(hidden=()), make_net(hidden=(3,) * 12, normalization="batchnorm")):
        export(net, needed(file))
        back = load_exported(file)
        assert_same_network(back, net)
        assert back.dropout_param.get("seed") == net.dropout_param.get("seed")
    export(untrained, file)
    assert "running_mean" not in load_exported(file).bn_params[0]
    assert load_exported(file).input_mean.shape == (2, 2)


@given(
    hidden=st.lists(st.integers(1, 6), max_size=4),
    normalization=st.sampled_from(NORMALIZATIONS),
    dtype=st.sampled_from([np.float32, np.float64]),
    keep=st.sampled_from([1.0, 0.5]),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(["softmax", "svm", *LINKS]),
)
def test_any_network(hidden, normalization, dtype, keep, activation, loss):
    functions = {"activation": activation, "loss": loss}
    net = make_net(normalization, dtype, hidden, keep=keep, **functions)
    export(net, "net.pt-names.npz")
    assert_same_network(load_exported("net.pt-names.npz"), net)
    # Without hidden layers, there are no arrays to tell the normalization by.
    normalization = normalization if hidden else None
    plain = without_entrance(normalization, dtype, hidden, keep=keep, **functions)
    functions |= {"eps": 2e-3, "dropout_keep_ratio": keep}
    assert_same_network(from_torch_state(to_torch_state(plain), **functions), plain)
    assert_same_network(from_keras_weights(to_keras_weights(plain), momentum=0.9, **functions), plain)


@pytest.mark.parametrize("file", FILES)
def test_predict_reads_them(file, capsys):
    net = make_net("batchnorm")
    export(net, needed(file))
    np.savez("data.npz", X_test=examples())
    assert main(["predict", file, "data.npz"]) == 0
    out = capsys.readouterr().out.splitlines()
    scores, bound = scores_by_formula(net, examples())
    assert_labels([net.class_names.index(name) for name in out], scores, bound)


@pytest.mark.parametrize("missing", ["2.bias", "1.weight", "1.num_batches_tracked"])
def test_files_that_lack_an_array(missing):
    if missing[0] == "2":
        net, words = without_entrance(None), "arrays are missing: 2.bias"
    else:
        net, words = without_entrance("batchnorm"), missing.partition(".")[2]
    export(net, "net.pt-names.npz")
    with np.load("net.pt-names.npz") as file:
        arrays = dict(file)
    del arrays[missing]
    np.savez("net.pt-names.npz", **arrays)
    with pytest.raises(ValueError, match=rf"net\.pt-names\.npz: not a fastfc model, or a damaged one .*{words}"):
        load_exported("net.pt-names.npz")


def test_other_programs_files():
    np.savez("net.pt-names.npz", **to_torch_state(make_net()))
    with pytest.raises(ValueError, match=r"^net\.pt-names\.npz: it has no entry 'fastfc'.*from_torch_state"):
        load_exported("net.pt-names.npz")
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(to_torch_state(make_net()), "net.safetensors")
    with pytest.raises(ValueError, match=r"^net\.safetensors: it has no metadata 'fastfc'.*from_torch_state"):
        load_exported("net.safetensors")


def test_the_safetensors_format():
    """Read by the format's description alone."""
    pytest.importorskip("safetensors")
    net = make_net()
    export(net, "net.safetensors")
    with open("net.safetensors", "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    start, end = header["0.weight"]["data_offsets"]
    weight = np.frombuffer(content[8 + length + start : 8 + length + end], "<f4").reshape(header["0.weight"]["shape"])
    np.testing.assert_array_equal(weight, net.params["W1"].T)
    assert json.loads(header["__metadata__"]["fastfc"])["class_names"] == net.class_names


@pytest.mark.parametrize("file", ["net.safetensors"])
def test_a_library_that_is_missing(file, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'pip install "fastfc\[safetensors\]"'):
        export(make_net(), file)
    make_net().save("model.npz")
    assert main(["export", "model.npz", file]) == 2
    assert 'pip install "fastfc[safetensors]"' in capsys.readouterr().err
