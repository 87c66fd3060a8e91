"""Networks to be exported, and their scores by formula in float64, with the magnitudes that bound rounding errors."""

import ctypes
import importlib.util
import math
import os
import shutil
import subprocess

import numpy as np

import fastfc
from fastfc import FullyConnectedNet

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "identity": lambda x: x,
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1)),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    "softplus": lambda x: np.log(1 + np.exp(x)),
}
#: Features of the examples, and by how much they are off centre.
FEATURES, CLASSES, OFFSET = 6, 4, 3.0
CC = shutil.which("cc")


def make_net(
    normalization=None,
    dtype=np.float32,
    hidden=(7, 5),
    standardize=True,
    names=True,
    keep=1.0,
    outputs=CLASSES,
    features=FEATURES,
    seed=0,
    **options,
):
    """A network whose parameters and running statistics are all drawn."""
    rng = np.random.default_rng(seed)
    stream = np.random.get_state()
    net = FullyConnectedNet(
        hidden, features, outputs, normalization=normalization, dtype=dtype, dropout_keep_ratio=keep, **options
    )
    np.random.set_state(stream)
    for name, array in net.params.items():
        net.params[name] = rng.standard_normal(array.shape) / (math.sqrt(len(array)) if name[0] == "W" else 2)
    for width, param in zip(hidden, net.bn_params, strict=False):
        param["eps"] = 2e-3
        if normalization == "batchnorm":
            param["running_mean"] = rng.standard_normal(width).astype(dtype)
            param["running_var"] = rng.uniform(0.5, 2, width).astype(dtype)
    if standardize:
        net.input_mean, net.input_scale = OFFSET + rng.standard_normal(features), rng.uniform(0.5, 2, features)
    if names:
        net.class_names = ["ant", "büg", 'quote " \\ ??/', "PREFIX_REAL $( INPUTS"][:outputs]
        net.feature_names, net.target_name = [f"f{i}" for i in range(features)], "kind"
    return net


def examples(rows=20, seed=1, dtype=np.float32, features=FEATURES):
    return (OFFSET + np.random.default_rng(seed).standard_normal((rows, features))).astype(dtype)


def scores_by_formula(net, X):
    """Scores (N, C) in float64, and the bound on the rounding errors of scores in the network's dtype."""
    p = {name: np.asarray(array, np.float64) for name, array in net.params.items()}
    x = np.asarray(X, np.float64)
    size = np.abs(x)
    if net.input_mean is not None:
        x, size = x - net.input_mean, size + np.abs(net.input_mean)
    if net.input_scale is not None:
        x, size = x * net.input_scale, size * np.abs(net.input_scale)
    for i in range(1, net.num_layers + 1):
        x, size = x @ p[f"W{i}"] + p[f"b{i}"], size @ np.abs(p[f"W{i}"]) + np.abs(p[f"b{i}"])
        if i == net.num_layers:
            break
        if net.normalization is not None:
            x, size = _normalized(x, size, net.normalization, p[f"gamma{i}"], p[f"beta{i}"], net.bn_params[i - 1])
        x = ACTIVATIONS[net.activation](x)
        if net.activation not in ("relu", "leaky_relu", "identity"):
            # No slope is above 2; the value's own terms are of the size of x or of 1.
            size = 2 * size + 1
    # Down the layers; layer normalization sums twice more over a layer; an activation is some operations.
    terms = sum(net.dims) + net.num_layers * (2 * max(net.dims) + 16)
    return x, fastfc.tolerance(net.dtype, terms) * size


def _normalized(x, size, normalization, gamma, beta, param):
    if normalization == "batchnorm":
        mean, var = (np.asarray(param.get(key, 0.0), np.float64) for key in ("running_mean", "running_var"))
        size = size + np.abs(mean)
    else:
        mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        size = size + size.mean(axis=1, keepdims=True)
    inv_std = 1 / np.sqrt(var + param.get("eps", 1e-5))
    x_hat, size = (x - mean) * inv_std, size * inv_std
    if normalization == "layernorm":
        # An error of x is one of the deviation too.
        size = size + np.abs(x_hat) * (np.abs(x_hat) * size).mean(axis=1, keepdims=True)
    return gamma * x_hat + beta, np.abs(gamma) * size + np.abs(beta)


#: Losses with numbers as targets -> the link that makes predictions of scores.
LINKS = {"logistic": "logistic", "poisson": "exp", "huber": "identity"}


def output_of(loss, scores):
    """Predictions, and probabilities or None, as the network gives them."""
    if LINKS[loss] == "logistic":
        p = 1 / (1 + np.exp(-scores))
        labels = (scores > 0).astype(int)
        return (labels[:, 0], np.hstack([1 - p, p])) if scores.shape[1] == 1 else (labels, p)
    found = np.exp(scores) if LINKS[loss] == "exp" else scores
    return (found[:, 0] if scores.shape[1] == 1 else found), None


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def assert_probabilities(got, scores, bound, dtype):
    """Probabilities of scores that are known within `bound`: an error d of a score is one of 2 d, relatively."""
    relative = np.expm1(2 * bound.max(axis=1, keepdims=True) + fastfc.tolerance(dtype, 2 * scores.shape[1]))
    # exp() of a difference of scores errs by the rounding of that difference.
    relative = relative + np.ptp(scores, axis=1, keepdims=True) * np.finfo(dtype).eps
    expected = softmax(scores)
    assert np.all(np.abs(got - expected) <= relative * expected)


def assert_labels(got, scores, bound):
    """Classes by number, where scores are not too close to tell."""
    top = np.sort(scores, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * bound.max(axis=1)
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(np.asarray(got)[clear], scores.argmax(axis=1)[clear])


def assert_same_network(got, expected):
    """All that decides predictions, names and trainings that go on."""
    assert type(got) is FullyConnectedNet
    for name in (
        "dims", "normalization", "class_names", "feature_names", "target_name", "use_dropout", "reg", "activation",
        "loss_name", "loss_parameter",
    ):  # fmt: skip
        assert getattr(got, name) == getattr(expected, name), name
    assert np.dtype(got.dtype) == np.dtype(expected.dtype)
    assert got.dropout_param.get("p") == expected.dropout_param.get("p")
    for name, array in expected.params.items():
        np.testing.assert_array_equal(got.params[name], array, err_msg=name)
    assert len(got.bn_params) == len(expected.bn_params)
    for mine, theirs in zip(got.bn_params, expected.bn_params, strict=True):
        assert mine.get("eps", 1e-5) == theirs.get("eps", 1e-5)
        assert mine.get("momentum", 0.9) == theirs.get("momentum", 0.9)
        for key in ("running_mean", "running_var"):
            np.testing.assert_array_equal(mine.get(key, 0.0), theirs.get(key, 0.0), err_msg=key)
    for name in ("input_mean", "input_scale"):
        if getattr(expected, name) is None:
            assert getattr(got, name) is None
        else:
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)


def imported(path):
    spec = importlib.util.spec_from_file_location("exported_module", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Compiled:
    """The functions of an exported C file, over rows of examples."""

    def __init__(self, name, dtype, input_dtype, outputs=CLASSES):
        flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1", "-shared", "-fPIC"]
        subprocess.run([CC, *flags, f"{name}.c", "-o", f"{name}.so", "-lm"], check=True)
        self.library, self.name = ctypes.CDLL(os.path.abspath(f"{name}.so")), name
        self.dtype, self.input_dtype, self.outputs = dtype, input_dtype, outputs

    def rows(self, function, X):
        out = np.empty((len(X), self.outputs), self.dtype)
        for x, y in zip(np.ascontiguousarray(X, self.input_dtype), out, strict=True):
            getattr(self.library, f"{self.name}_{function}")(
                x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p)
            )
        return out

    def labels(self, X):
        predict = getattr(self.library, f"{self.name}_predict")
        return [predict(x.ctypes.data_as(ctypes.c_void_p)) for x in np.ascontiguousarray(X, self.input_dtype)]

    def names(self):
        return [
            name.decode() for name in (ctypes.c_char_p * self.outputs).in_dll(self.library, f"{self.name}_class_names")
        ]
