"""The ground under the kernels: compiled code, its cache, BLAS, the random stream, exp."""

import importlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfc
from fastfc import cases, losses, tolerance
from fastfc._runtime import compile_message
from fastfc.backend import OPS
from fastfc.cases import Sizes
from fastfc.kernels.compiler import jit
from fastfc.kernels.lowering import math, random
from fastfc.kernels.lowering.blas import gemm

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")


# ------------------------------------------------------------------------------------------- machine code


def assembly(operation, kernel, dtype):
    """The machine code of a kernel, compiled afresh: what comes from the disk cache has no text."""
    cases.build(operation, Sizes(33, 17), dtype).run("fast")
    module = importlib.import_module(f"fastfc.kernels.{OPS[operation].module}")
    dispatcher = getattr(module, kernel)
    if isinstance(dispatcher, dict):
        dispatcher = dispatcher[operation.removesuffix("_forward")]
    signature = next(sig for sig in dispatcher.signatures if f"array({dtype}" in str(sig).lower())
    fresh = jit.kernel(dispatcher.py_func)
    fresh._cache.disable()
    fresh.compile(signature)
    return fresh.inspect_asm(fresh.signatures[0])


# Kernel -> packed x86 instructions that its loops must hold, without the suffix ps or pd.
HOT = {
    ("batchnorm_backward", "_batchnorm_backward"): [r"v?(fn?m(add|sub)\d*|mul)", r"v?(fn?m(add|sub)\d*|sub|add)"],
    ("layernorm_backward", "_layernorm_backward"): [r"v?(fn?m(add|sub)\d*|mul)", r"v?(fn?m(add|sub)\d*|sub|add)"],
    ("batchnorm_forward", "_batchnorm_train"): [r"v?(fn?m(add|sub)\d*|mul)", r"v?sub"],
    ("layernorm_forward", "_layernorm_forward"): [r"v?(fn?m(add|sub)\d*|mul)", r"v?sub"],
    ("relu_forward", "_forward"): [r"v?(cmp\w*|max|min)"],
    ("relu_backward", "_backward"): [r"v?cmp\w*"],
    ("dropout_backward", "_apply"): [r"v?mul"],
    ("sgd", "_sgd"): [r"v?(fn?m(add|sub)\d*|mul)"],
    ("sgd_momentum", "_sgd_momentum"): [r"v?(fn?m(add|sub)\d*|mul)"],
    ("nesterov", "_nesterov"): [r"v?(fn?m(add|sub)\d*|mul)"],
    ("rmsprop", "_rmsprop"): [r"v?sqrt", r"v?div"],
    ("adagrad", "_adagrad"): [r"v?sqrt", r"v?div"],
    ("adam", "_adam"): [r"v?sqrt", r"v?div"],
    ("adam_amsgrad", "_adam_amsgrad"): [r"v?sqrt", r"v?div"],
    ("nadam", "_nadam"): [r"v?sqrt", r"v?div"],
    ("lion", "_lion"): [r"v?cmp\w*"],
    ("softmax_loss", "_of_labels"): [r"v?(fn?m(add|sub)\d*|mul)"],
    ("tanh_forward", "_WITH_SLOPES"): [r"v?fn?m(add|sub)\d*", r"v?div"],
    ("tanh_backward", "_times_slope"): [r"v?mul"],
}


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 mnemonics")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("operation", "kernel"), HOT)
def test_hot_loops_are_packed(operation, kernel, dtype):
    text = assembly(operation, kernel, dtype)
    suffix = {"float32": "ps", "float64": "pd"}[dtype]
    for mnemonic in HOT[operation, kernel]:
        packed = re.findall(rf"^\s+{mnemonic}{suffix}\s.*[yz]mm", text, re.MULTILINE)
        assert packed, f"no packed {mnemonic}{suffix} on whole vectors"


@needs_compiler
def test_updates_keep_the_magnitude_of_small_terms():
    """b * m + (1 - b) * g must not be rewritten as g + b * (m - g), which loses the digits of a small g."""
    v, dw = np.array([1.0]), np.array([1e-3])
    config = {"learning_rate": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "t": 0, "m": np.zeros(1), "v": v}
    OPS["adam"].twin("fast")(np.zeros(1), dw, config)
    assert abs(v[0] - (0.999 + 0.001 * 1e-6)) <= tolerance(np.float64, 0)


# --------------------------------------------------------------------------------------------------- BLAS


@jit.kernel
def _call_gemm(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    gemm(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("beta", [0, 1, 0.5])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (16, 33, 8), (2, 3, 0), (0, 3, 2), (2, 0, 3)])
def test_gemm(shape, trans_a, trans_b, beta, dtype):
    """Against NumPy, on matrices that are parts of wider ones; nothing outside the result changes."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m + 3) if trans_a else (m, k + 3)).astype(dtype)
    b = rng.standard_normal((n, k + 2) if trans_b else (k, n + 2)).astype(dtype)
    c = rng.standard_normal((m, n + 1)).astype(dtype)
    op_a = a[:, :m].T if trans_a else a[:, :k]
    op_b = b[:, :k].T if trans_b else b[:, :n]
    expected = c.copy()
    expected[:, :n] = op_a @ op_b + dtype(beta) * c[:, :n]
    magnitude = np.abs(op_a) @ np.abs(op_b) + np.abs(c[:, :n])
    _call_gemm(trans_a, trans_b, m, n, k, a, a.shape[1], b, b.shape[1], beta, c, c.shape[1])
    assert np.all(np.abs(c - expected)[:, :n] <= tolerance(dtype, k + 1) * magnitude)
    np.testing.assert_array_equal(c[:, n:], expected[:, n:])


def test_gemm_with_beta_zero_does_not_read_the_result():
    c = np.full((2, 2), np.nan)
    _call_gemm(False, False, 2, 2, 2, np.eye(2), 2, np.eye(2), 2, 0, c, 2)
    np.testing.assert_array_equal(c, np.eye(2))


# ------------------------------------------------------------------------------------------ random stream


@pytest.mark.parametrize("count", [0, 1, 2, 311, 312, 313, 623, 624, 625, 1024, 5000])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_masks_are_numpys_own_numbers(count, skip):
    """Bit for bit, whatever the position in the stream; and the stream goes on where NumPy's would."""
    for p in (0.3, 0.5, 1.0):
        np.random.seed(count)
        np.random.randint(0, 2**32, size=skip, dtype=np.uint32)
        state = np.random.get_state()
        expected = ((np.random.random_sample(count) < p) / p).astype(np.float32)
        following = np.random.random_sample(3)
        np.random.set_state(state)
        np.testing.assert_array_equal(random.keep_mask((count,), p, np.float32), expected)
        np.testing.assert_array_equal(np.random.random_sample(3), following)


@pytest.mark.parametrize("place", [0, 15, 16, 40, 311, 312, 399])
def test_masks_where_the_first_word_does_not_decide(place):
    """One number in 2**27 shares its first word's bits with p: the second word decides."""
    np.random.seed(5)
    state = np.random.get_state()
    numbers = np.random.random_sample(400)
    for p in (numbers[place], np.nextafter(numbers[place], 1), np.nextafter(numbers[place], 0)):
        np.random.set_state(state)
        expected = ((numbers < p) / p).astype(np.float32)
        np.testing.assert_array_equal(random.keep_mask((400,), p, np.float32), expected)


@pytest.mark.parametrize("p", [2.0**-53, 5e-324, 1 / 3, np.nextafter(0.5, 0), np.nextafter(1, 0)])
def test_the_threshold_splits_exactly_where_floats_do(p):
    """random_sample gives k / 2**53; k is below the threshold exactly where k / 2**53 < p."""
    threshold = random.keep_threshold(p)
    assert (threshold - 1) / 2**53 < p
    assert not threshold / 2**53 < p


def test_a_gaussian_in_waiting_is_kept():
    np.random.seed(0)
    np.random.randn()
    state = np.random.get_state()
    random.keep_mask((100,), 0.5, np.float64)
    after = np.random.get_state()
    assert after[3:] == state[3:]


def test_another_bit_generator_serves_too():
    original = np.random.get_bit_generator()
    try:
        np.random.set_bit_generator(np.random.PCG64(7))
        mask = random.keep_mask((50,), 0.5, np.float64)
        np.random.set_bit_generator(np.random.PCG64(7))
        np.testing.assert_array_equal(mask, (np.random.random_sample(50) < 0.5) / 0.5)
    finally:
        np.random.set_bit_generator(original)


# ---------------------------------------------------------------------------------------------------- exp


@jit.kernel
def _exponentials(out, x):
    for i in range(x.size):
        out[i] = math.exp(x[i])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp(dtype):
    limits = np.finfo(dtype)
    lowest = np.log(limits.tiny)
    x = np.concatenate([np.linspace(lowest, 0, 2001), np.linspace(-1, 0, 500), [-0.0]]).astype(dtype)
    out = np.empty_like(x)
    _exponentials(out, x)
    exact = np.exp(x.astype(np.longdouble))
    normal = exact > 4 * limits.tiny
    ulps = np.abs(out - exact)[normal] / np.spacing(exact[normal].astype(dtype))
    assert ulps.max() <= 2
    assert np.all(np.abs(out - exact)[~normal] <= 4 * limits.tiny)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_of_special_values(dtype):
    x = np.array([np.nan, -np.inf, -1e30, 0.0], dtype)
    out = np.empty_like(x)
    _exponentials(out, x)
    np.testing.assert_array_equal(out, [np.nan, 0, 0, 1])


# ------------------------------------------------------------------------------------------- the notice

TRAINING = """
import numpy as np, fastfc
fastfc.use_backend("fast")
X, y = np.zeros((20, 3), np.float32), np.zeros(20, int)
net = fastfc.FullyConnectedNet([4], 3, 2)
fastfc.Solver(net, {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, num_epochs=1, verbose=False).train()
"""


def test_nothing_is_said_without_a_stderr(monkeypatch, capsys):
    """It would appear among the results on stdout."""
    monkeypatch.setattr(sys, "stderr", None)
    compile_message._Notice()._say()
    assert capsys.readouterr().out == ""


@needs_compiler
def test_a_long_compilation_is_said_once(tmp_path):
    def errors(**environment):
        result = subprocess.run(
            [sys.executable, "-c", TRAINING],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1]), **environment},
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        return result.stderr

    cold = {"NUMBA_CACHE_DIR": str(tmp_path / "loud"), "FASTFC_QUIET": "0"}
    assert errors(**cold).count("fastfc: compiling kernels") == 1
    assert errors(**cold) == ""
    assert errors(NUMBA_CACHE_DIR=str(tmp_path / "quiet"), FASTFC_QUIET="1") == ""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_of_many_rows_and_classes(weighted, dtype):
    """The product of all rows' sums, 500 ** 1000, is beyond float64: the logarithm of it is taken in parts."""
    n, classes = 1000, 500
    y = np.arange(n) % classes
    weights = np.ones(n, dtype) if weighted else None
    with fastfc.use_backend("fast"):
        loss, _ = losses.softmax_loss(np.zeros((n, classes), dtype), y, weights)
        sure = np.zeros((n, classes), dtype)
        sure[np.arange(n), y] = 30
        small, _ = losses.softmax_loss(sure, y, weights)
    assert abs(loss - np.log(classes)) <= tolerance(dtype, classes) * np.log(classes)
    # Sums of 1 + 499 exp(-30) are rounded to the dtype.
    assert abs(small - np.log1p((classes - 1) * np.exp(-30.0))) <= tolerance(dtype, classes)
