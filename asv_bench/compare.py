"""One training step on the same work, by fastfc and by its peers, side by side.

    pip install ".[compare]"
    python asv_bench/compare.py --json peers.json --markdown peers.md
    python asv_bench/compare.py --kernels --json kernels.json --markdown kernels.md

A step is: draw a batch from a data set in memory and gather it, forward, softmax loss, backward,
Adam, all in float32. Every engine runs in a process of its own, once per thread count. The rounds
are interleaved, A B C A B C, with a pause before each turn, in which the threads of the engine
before go to sleep. An engine's figure is that of its better thread count, by the median.

Before it is timed, an engine trains some steps without dropout, from weights and on batches that
all engines share. If its losses are further than LOSS_TOLERANCE from those of the course's code, it
is marked and not counted.

The limit is what the machine would need at the least: the floating-point operations of the step's
matrix products (no input gradient for the first layer) at its best sgemm rate, plus 24 bytes of
optimizer traffic per parameter at the bandwidth of a triad; both are measured during the run.

The wheels of MLX for Linux carry a reference BLAS. Give ``--mlx-blas`` the path of an OpenBLAS that
exports the usual names; one that the system's linker knows is found without.
"""

import argparse
import contextlib
import ctypes.util
import datetime
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SHAPES = [
    "4-[32]-3@16",
    "8-[64,64]-4@64",
    "64-[100,100]-10@64",
    "3072-[64,64,64]-10@100",
    "32-[256,256,256]-2@256",
    "3072-[512,512,512]-10@256",
    "784-[1024,1024,1024]-10@1024",
]
#: Configuration -> normalization, probability to keep a unit.
CONFIGS = {"bn": ("batchnorm", 0.8), "plain": (None, 1.0), "ln": ("layernorm", 0.8)}
OPERATIONS = ["batchnorm", "layernorm", "relu_backward", "adam"]
OPERATION_SHAPES = [(100, 64), (256, 512), (1024, 1024), (8192, 1024)]

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
NORM_EPS, MOMENTUM = 1e-5, 0.9

CHECK_STEPS = 10
CHECK_SEED = 7
#: Largest difference of a loss from the course's, as a part of the first loss.
LOSS_TOLERANCE = 1e-3
#: OpenBLAS's threads spin for 80 ms after a call.
PAUSE_SECONDS = 0.1
#: A turn has at least so many steps: the first one finds cold caches and sleeping threads.
LEAST_STEPS = 3


@dataclass(frozen=True)
class Task:
    """The work: layer widths from input to classes, batch size, normalization, probability to keep."""

    dims: tuple[int, ...]
    batch: int
    normalization: str | None = None
    keep: float = 1.0

    @property
    def examples(self) -> int:
        return max(4096, 4 * self.batch)

    @property
    def hidden(self) -> int:
        return len(self.dims) - 2

    @property
    def parameters(self) -> int:
        weights = sum((d_in + 1) * d_out for d_in, d_out in itertools.pairwise(self.dims))
        return weights + (2 * sum(self.dims[1:-1]) if self.normalization else 0)

    @property
    def gemm_flops(self) -> int:
        products = [2 * self.batch * d_in * d_out for d_in, d_out in itertools.pairwise(self.dims)]
        return 3 * sum(products) - products[0]

    def limit_seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        return self.gemm_flops / flops_per_second + 24 * self.parameters / bytes_per_second

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Examples (N, D) float32, labels (N,) int64."""
        random = np.random.default_rng(1)
        X = random.standard_normal((self.examples, self.dims[0]), np.float32)
        return X, random.integers(0, self.dims[-1], self.examples)

    def weights(self) -> list[np.ndarray]:
        """A weight matrix (D_in, D_out) per layer; biases start at 0, scales at 1, shifts at 0."""
        random = np.random.default_rng(2)
        return [
            random.standard_normal((d_in, d_out), np.float32) * np.float32(math.sqrt(2 / d_in))
            for d_in, d_out in itertools.pairwise(self.dims)
        ]

    def flat_parameters(self) -> list[np.ndarray]:
        """Layer by layer: weights, biases and, before a normalized activation, scale and shift."""
        flat = []
        for layer, w in enumerate(self.weights()):
            ones, zeros = np.ones(w.shape[1], np.float32), np.zeros(w.shape[1], np.float32)
            flat += [w, zeros, ones, zeros.copy()] if self.normalization and layer < self.hidden else [w, zeros]
        return flat

    def flat_running(self) -> list[np.ndarray]:
        """Running mean and variance of each batch normalization."""
        if self.normalization != "batchnorm":
            return []
        return [kind(width, np.float32) for width in self.dims[1:-1] for kind in (np.zeros, np.ones)]

    def check_batches(self) -> np.ndarray:
        """Batches (CHECK_STEPS, batch) as the course's Solver draws them after `np.random.seed(CHECK_SEED)`."""
        random = np.random.RandomState(CHECK_SEED)
        return np.stack([random.choice(self.examples, self.batch) for _ in range(CHECK_STEPS)])


def parse_shape(name: str) -> tuple[tuple[int, ...], int]:
    """The layer widths and the batch size: ``"64-[100,100]-10@64"`` -> ((64, 100, 100, 10), 64)."""
    match = re.fullmatch(r"(\d+)-\[(\d+(?:,\d+)*)\]-(\d+)@(\d+)", name.replace(" ", ""))
    if match is None:
        raise ValueError(f"shape: expected input-[hidden,...]-classes@batch, got {name!r}")
    d_in, hidden, classes, batch = match.groups()
    return (int(d_in), *map(int, hidden.split(",")), int(classes)), int(batch)


# Engines. Each function sets up its library and returns `run(n, batches=None)`, which carries out n steps
# and returns when they are done: on batches that it draws itself, or on those given (n, batch); then it
# returns the losses.
Run = Callable[..., Any]


def course_numpy(task: Task, threads: int) -> Run:
    """The course's modular solutions; unlike some of them it stays in float32, and it leaves out L2 at reg = 0."""
    X, y = task.data()
    params, bn_params, configs = {}, [{} for _ in range(task.hidden)], {}
    names = ("W", "b", "gamma", "beta")
    flat = iter(task.flat_parameters())
    for layer in range(task.hidden + 1):
        for name in names if task.normalization and layer < task.hidden else names[:2]:
            params[f"{name}{layer + 1}"] = next(flat)
    for name, w in params.items():
        configs[name] = {"m": np.zeros_like(w), "v": np.zeros_like(w), "t": 0}

    def loss_and_gradients(X, y):
        x, caches = X.astype(np.float32), []
        for layer in range(1, task.hidden + 1):
            a, cache = _affine_forward(x, params[f"W{layer}"], params[f"b{layer}"])
            norm_cache = dropout_mask = None
            if task.normalization:
                norm = _batchnorm_forward if task.normalization == "batchnorm" else _layernorm_forward
                a, norm_cache = norm(a, params[f"gamma{layer}"], params[f"beta{layer}"], bn_params[layer - 1])
            x = np.maximum(0, a)
            if task.keep < 1:
                dropout_mask = ((np.random.rand(*x.shape) < task.keep) / task.keep).astype(x.dtype)
                x = x * dropout_mask
            caches.append((cache, norm_cache, a, dropout_mask))
        last = task.hidden + 1
        scores, cache = _affine_forward(x, params[f"W{last}"], params[f"b{last}"])
        loss, dx = _softmax_loss(scores, y)
        grads = {}
        dx, grads[f"W{last}"], grads[f"b{last}"] = _affine_backward(dx, cache)
        for layer in range(task.hidden, 0, -1):
            cache, norm_cache, a, dropout_mask = caches[layer - 1]
            if dropout_mask is not None:
                dx = dx * dropout_mask
            dx = dx * (a > 0)
            if task.normalization:
                norm = _batchnorm_backward if task.normalization == "batchnorm" else _layernorm_backward
                dx, grads[f"gamma{layer}"], grads[f"beta{layer}"] = norm(dx, norm_cache)
            dx, grads[f"W{layer}"], grads[f"b{layer}"] = _affine_backward(dx, cache)
        return loss, grads

    def step(choice):
        loss, grads = loss_and_gradients(X[choice], y[choice])
        for name, w in params.items():
            params[name] = _adam(w, grads[name], configs[name])
        return float(loss)

    def run(n, batches=None):
        draws = batches if batches is not None else (np.random.choice(len(X), task.batch) for _ in range(n))
        return [step(choice) for choice in draws]

    return run


def _affine_forward(x, w, b):
    return x.reshape(x.shape[0], -1).dot(w) + b, (x, w)


def _affine_backward(dout, cache):
    x, w = cache
    return dout.dot(w.T).reshape(x.shape), x.reshape(x.shape[0], -1).T.dot(dout), np.sum(dout, axis=0)


def _batchnorm_forward(x, gamma, beta, bn_param):
    mean, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + NORM_EPS)
    x_hat = (x - mean) / std
    for key, value in (("running_mean", mean), ("running_var", var)):
        bn_param[key] = MOMENTUM * bn_param.get(key, np.zeros_like(value)) + (1 - MOMENTUM) * value
    return gamma * x_hat + beta, (x_hat, gamma, std)


def _batchnorm_backward(dout, cache):
    x_hat, gamma, std = cache
    n = dout.shape[0]
    dbeta, dgamma = dout.sum(axis=0), np.sum(dout * x_hat, axis=0)
    dx_hat = dout * gamma
    dx = (n * dx_hat - dx_hat.sum(axis=0) - x_hat * np.sum(dx_hat * x_hat, axis=0)) / (n * std)
    return dx, dgamma, dbeta


def _layernorm_forward(x, gamma, beta, ln_param):
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    std = np.sqrt(var + NORM_EPS)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x_hat, gamma, std)


def _layernorm_backward(dout, cache):
    x_hat, gamma, std = cache
    d = dout.shape[1]
    dbeta, dgamma = dout.sum(axis=0), np.sum(dout * x_hat, axis=0)
    dx_hat = dout * gamma
    sums = dx_hat.sum(axis=1, keepdims=True), np.sum(dx_hat * x_hat, axis=1, keepdims=True)
    return (d * dx_hat - sums[0] - x_hat * sums[1]) / (d * std), dgamma, dbeta


def _softmax_loss(x, y):
    n = x.shape[0]
    shifted = x - np.max(x, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    dx = np.exp(log_probs)
    dx[np.arange(n), y] -= 1
    return -np.sum(log_probs[np.arange(n), y]) / n, dx / n


def _adam(w, dw, config):
    config["t"] += 1
    config["m"] = BETA1 * config["m"] + (1 - BETA1) * dw
    config["v"] = BETA2 * config["v"] + (1 - BETA2) * dw**2
    m_hat = config["m"] / (1 - BETA1 ** config["t"])
    v_hat = config["v"] / (1 - BETA2 ** config["t"])
    return w - RATE * m_hat / (np.sqrt(v_hat) + EPSILON)


def fastfc_run(task: Task, threads: int) -> Run:
    import fastfc
    from fastfc.training.run import CompiledRun

    X, y = task.data()
    net = fastfc.FullyConnectedNet(
        list(task.dims[1:-1]),
        task.dims[0],
        task.dims[-1],
        dropout_keep_ratio=task.keep,
        normalization=task.normalization,
    )
    for layer, w in enumerate(task.weights(), 1):
        net.params[f"W{layer}"][...] = w
    data = {"X_train": X, "y_train": y, "X_val": X[:1], "y_val": y[:1]}
    solver = fastfc.Solver(
        net, data, update_rule="adam", optim_config={"learning_rate": RATE}, batch_size=task.batch, verbose=False
    )
    engine = CompiledRun(solver, min(threads, task.batch)).__enter__()

    def run(n, batches=None):
        if batches is not None:
            # The run draws its own batches, as the Solver of the course does: these.
            np.random.seed(CHECK_SEED)
            engine.take_stream()
        done = 0
        while done < n:
            done += engine.steps(n - done)
        return [float(loss) for loss in solver.loss_history[-n:]]

    return run


def _torch(threads: int):
    import torch

    torch.set_num_threads(threads)
    return torch


def torch_eager(task: Task, threads: int, compiled: bool = False) -> Run:
    torch = _torch(threads)
    nn = torch.nn
    norm = {"batchnorm": nn.BatchNorm1d, "layernorm": nn.LayerNorm, None: None}[task.normalization]
    layers: list[Any] = []
    for layer, w in enumerate(task.weights()):
        linear = nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers.append(linear)
        if layer < task.hidden:
            layers += [norm(w.shape[1], eps=NORM_EPS)] if norm else []
            layers.append(nn.ReLU(inplace=True))
            layers += [nn.Dropout(1 - task.keep)] if task.keep < 1 else []
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), RATE, (BETA1, BETA2), EPSILON, fused=True)
    X, y = map(torch.from_numpy, task.data())

    def forward(choice):
        return nn.functional.cross_entropy(model(X.index_select(0, choice)), y.index_select(0, choice))

    if compiled:
        forward = torch.compile(forward, fullgraph=True)

    def step(choice):
        optimizer.zero_grad(set_to_none=True)
        loss = forward(choice)
        loss.backward()
        optimizer.step()
        return loss

    return _torch_run(torch, task, step)


def torch_compile(task: Task, threads: int) -> Run:
    return torch_eager(task, threads, compiled=True)


def torch_compile_step(task: Task, threads: int) -> Run:
    """Gathering, forward, backward and Adam in one compiled graph."""
    torch = _torch(threads)
    X, y = map(torch.from_numpy, task.data())
    state = [[torch.from_numpy(a) for a in kind] for kind in _first_state(task)]
    t = torch.zeros(())

    def value_and_gradients(function, params):
        gradients, value = torch.func.grad_and_value(function, has_aux=True)(params)
        return value, gradients

    ops = SimpleNamespace(
        value_and_gradients=value_and_gradients,
        relu=torch.relu,
        rsqrt=torch.rsqrt,
        sqrt=torch.sqrt,
        constant=torch.Tensor.detach,
        cross_entropy=torch.nn.functional.cross_entropy,
    )

    def dropout(h):
        return torch.nn.functional.dropout(h, 1 - task.keep)

    @torch.compile(fullgraph=True)
    def step(choice):
        t.add_(1)
        loss, new_state = _functional_step(ops, task, state, t, X[choice], y[choice], dropout)
        for olds, news in zip(state, new_state, strict=True):
            for old, new in zip(olds, news, strict=True):
                old.copy_(new)
        return loss

    return _torch_run(torch, task, step)


def _torch_run(torch, task, step):
    def run(n, batches=None):
        if batches is not None:
            return [float(step(choice)) for choice in torch.from_numpy(batches)]
        for _ in range(n):
            step(torch.randint(task.examples, (task.batch,)))
        return None

    return run


def _first_state(task: Task) -> list[list[np.ndarray]]:
    """Parameters, Adam's two moments, running statistics."""
    params = task.flat_parameters()
    return [params, [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], task.flat_running()]


def _functional_step(ops, task, state, t, x, y, dropout):
    """A step for libraries that differentiate functions: (loss, new state); t counts from 1."""
    params, m, v, running = state

    def loss_of(params):
        h, statistics, parts = x, [], iter(params)
        for layer in range(task.hidden + 1):
            h = h @ next(parts) + next(parts)
            if layer == task.hidden:
                return ops.cross_entropy(h, y), statistics
            if task.normalization:
                axis = 0 if task.normalization == "batchnorm" else 1
                mean = h.mean(axis, keepdims=True)
                centered = h - mean
                var = (centered * centered).mean(axis, keepdims=True)
                h = centered * ops.rsqrt(var + NORM_EPS) * next(parts) + next(parts)
                if axis == 0:
                    statistics += [ops.constant(mean).reshape(-1), ops.constant(var).reshape(-1)]
            h = ops.relu(h)
            if task.keep < 1:
                h = dropout(h)

    (loss, statistics), gradients = ops.value_and_gradients(loss_of, params)
    m = [BETA1 * a + (1 - BETA1) * g for a, g in zip(m, gradients, strict=True)]
    v = [BETA2 * a + (1 - BETA2) * g * g for a, g in zip(v, gradients, strict=True)]
    m_scale, v_scale = RATE / (1 - BETA1**t), 1 / (1 - BETA2**t)
    params = [p - m_scale * a / (ops.sqrt(v_scale * b) + EPSILON) for p, a, b in zip(params, m, v, strict=True)]
    running = [MOMENTUM * a + (1 - MOMENTUM) * b for a, b in zip(running, statistics, strict=True)]
    return loss, [params, m, v, running]


def _jax_step(task: Task, threads: int):
    """(jax, state, data, step(state, data, batch or None) -> (state, loss))."""
    if threads < len(os.sched_getaffinity(0)):
        # XLA makes as many threads as the process may use processors.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_prng_impl", "unsafe_rbg")

    def cross_entropy(scores, y):
        picked = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(scores, axis=1) - picked)

    ops = SimpleNamespace(
        value_and_gradients=lambda function, params: jax.value_and_grad(function, has_aux=True)(params),
        relu=jax.nn.relu,
        rsqrt=jax.lax.rsqrt,
        sqrt=jnp.sqrt,
        constant=jax.lax.stop_gradient,
        cross_entropy=cross_entropy,
    )
    threshold = round(task.keep * 2**16)

    def step(state, data, batch):
        arrays, t, key = state
        key, *keys = jax.random.split(key, 2 + task.hidden)
        if batch is None:
            batch = jax.random.bits(keys[-1], (task.batch,)) % task.examples
        remaining = iter(keys)

        def dropout(h):
            # Two masks from a word: half the time of drawing as many 16-bit numbers.
            words = jax.random.bits(next(remaining), ((h.size + 1) // 2,))
            halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: h.size]
            return jnp.where(halves.reshape(h.shape) < threshold, h * (1 / task.keep), 0)

        X, y = data
        loss, arrays = _functional_step(ops, task, arrays, t + 1, X[batch], y[batch], dropout)
        return (arrays, t + 1, key), loss

    state = (jax.tree.map(jnp.array, _first_state(task)), jnp.float32(0), jax.random.key(0))
    X, y = task.data()
    return jax, state, (jnp.array(X), jnp.array(y, jnp.int32)), step


def jax_step(task: Task, threads: int) -> Run:
    jax, state, data, step = _jax_step(task, threads)
    step = jax.jit(step, donate_argnums=0)

    def run(n, batches=None):
        nonlocal state
        losses = []
        for batch in [None] * n if batches is None else batches.astype(np.int32):
            state, loss = step(state, data, batch)
            if batches is not None:
                losses.append(float(loss))
        jax.block_until_ready(state)
        return losses

    return run


def jax_scan(task: Task, threads: int) -> Run:
    jax, state, data, step = _jax_step(task, threads)

    def steps(state, data, n, batches):
        return jax.lax.scan(lambda carry, batch: step(carry, data, batch), state, batches, length=n)

    steps = jax.jit(steps, donate_argnums=0, static_argnums=2)

    def run(n, batches=None):
        nonlocal state
        state, losses = steps(state, data, n, None if batches is None else batches.astype(np.int32))
        jax.block_until_ready(state)
        return None if batches is None else [float(loss) for loss in losses]

    return run


def mlx_step(task: Task, threads: int) -> Run:
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    X, y = map(mx.array, task.data())
    state = [[[mx.array(a) for a in kind] for kind in _first_state(task)], mx.array(0.0), mx.random.state]

    def cross_entropy(scores, y):
        picked = mx.take_along_axis(scores, y[:, None], axis=1)[:, 0]
        return mx.mean(mx.logsumexp(scores, axis=1) - picked)

    ops = SimpleNamespace(
        value_and_gradients=lambda function, params: mx.value_and_grad(function)(params),
        relu=lambda h: mx.maximum(h, 0),
        rsqrt=mx.rsqrt,
        sqrt=mx.sqrt,
        constant=mx.stop_gradient,
        cross_entropy=cross_entropy,
    )

    def dropout(h):
        return mx.where(mx.random.bernoulli(task.keep, h.shape), h * (1 / task.keep), 0)

    def step(batch=None):
        if batch is None:
            batch = mx.random.randint(0, task.examples, (task.batch,))
        state[1] = state[1] + 1
        loss, state[0] = _functional_step(ops, task, state[0], state[1], X[batch], y[batch], dropout)
        return loss

    compiled = mx.compile(step, inputs=state, outputs=state)

    def run(n, batches=None):
        losses = []
        for batch in [None] * n if batches is None else batches:
            loss = compiled() if batch is None else compiled(mx.array(batch))
            mx.eval(loss, state)
            losses.append(loss)
        return None if batches is None else [float(loss) for loss in losses]

    return run


def sklearn_mlp(task: Task, threads: int) -> Run:
    """Only plain nets, and no two classes: for these it has one logistic output instead of a softmax."""
    from sklearn.neural_network import MLPClassifier

    X, y = task.data()
    classes = np.arange(task.dims[-1])
    options = {"alpha": 0, "learning_rate_init": RATE, "beta_1": BETA1, "beta_2": BETA2, "epsilon": EPSILON}
    net = MLPClassifier(task.dims[1:-1], batch_size=task.batch, **options)
    net.partial_fit(X[: task.batch], y[: task.batch], classes=classes)
    for w, b, first in zip(net.coefs_, net.intercepts_, task.weights(), strict=True):
        w[...], b[...] = first, 0
    optimizer = net._optimizer
    optimizer.t = 0
    for moment in (*optimizer.ms, *optimizer.vs):
        moment[...] = 0
    per_epoch = len(X) // task.batch

    def run(n, batches=None):
        if batches is not None:
            losses = []
            for choice in batches:
                net.partial_fit(X[choice], y[choice])
                losses.append(float(net.loss_))
            return losses
        while n > 0:
            rows = min(n, per_epoch) * task.batch
            net.partial_fit(X[:rows], y[:rows])
            n -= per_epoch
        return None

    return run


# Single operations: `run(n)` carries one out n times, results in new memory. A pair of passes is one operation.


def _operands(operation: str, shape: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    wide = [random.standard_normal(shape, np.float32) for _ in range(2)]
    if operation == "adam":
        return [*wide, np.zeros(shape, np.float32), np.zeros(shape, np.float32)]
    return [*wide, np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)]


def _fastfc_operation(backend: str, operation: str, shape: tuple[int, int]) -> Run:
    from fastfc.backend import OPS

    x, dout, a, b = _operands(operation, shape)
    if operation == "adam":
        adam = OPS["adam"].twin(backend)
        config = {"learning_rate": RATE, "beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON, "m": a, "v": b, "t": 0}
        return _repeated(lambda: adam(x, dout, config))
    if operation == "relu_backward":
        backward = OPS[operation].twin(backend)
        return _repeated(lambda: backward(dout, x))
    forward = OPS[f"{operation}_forward"].twin(backend)
    backward = OPS["batchnorm_backward_alt" if operation == "batchnorm" else "layernorm_backward"].twin(backend)
    options = {"mode": "train", "eps": NORM_EPS, "momentum": MOMENTUM, "running_mean": b, "running_var": a}
    return _repeated(lambda: backward(dout, forward(x, a, b, options)[1]))


def _repeated(call: Callable[[], object]) -> Run:
    def run(n):
        for _ in range(n):
            call()

    return run


def fastfc_operation(operation: str, shape: tuple[int, int], threads: int) -> Run:
    return _fastfc_operation("fast", operation, shape)


def numpy_operation(operation: str, shape: tuple[int, int], threads: int) -> Run:
    return _fastfc_operation("reference", operation, shape)


def torch_operation(operation: str, shape: tuple[int, int], threads: int) -> Run:
    torch = _torch(threads)
    aten = torch.ops.aten
    x, dout, a, b = map(torch.from_numpy, _operands(operation, shape))
    wanted = [True, True, True]

    def batchnorm():
        _, mean, inv_std = aten.native_batch_norm(x, a, b, running_mean, running_var, True, 1 - MOMENTUM, NORM_EPS)
        aten.native_batch_norm_backward(dout, x, a, running_mean, running_var, mean, inv_std, True, NORM_EPS, wanted)

    def layernorm():
        _, mean, inv_std = aten.native_layer_norm(x, shape[1:], a, b, NORM_EPS)
        aten.native_layer_norm_backward(dout, x, shape[1:], mean, inv_std, a, b, wanted)

    def adam():
        steps[0].add_(1)
        torch._fused_adam_(
            [x], [dout], [a], [b], [], steps,
            lr=RATE, beta1=BETA1, beta2=BETA2, weight_decay=0.0, eps=EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip

    steps, running_mean, running_var = [torch.zeros(())], b.clone(), a.clone()
    calls = {
        "batchnorm": batchnorm,
        "layernorm": layernorm,
        "relu_backward": lambda: aten.threshold_backward(dout, x, 0),
        "adam": adam,
    }
    run = _repeated(calls[operation])

    def without_gradients(n):
        with torch.no_grad():
            run(n)

    return without_gradients


@dataclass(frozen=True)
class Engine:
    """A row of a table: heading, the function that sets it up, the module it needs, what it can do."""

    title: str
    start: Callable[..., Run]
    module: str = "numpy"
    distributions: tuple[str, ...] = ()
    can: Callable[[Task], bool] = lambda task: True
    single_threaded: bool = False


ENGINES = {
    "fastfc": Engine("fastfc", fastfc_run, "fastfc", ("fastfc", "numba", "numpy", "scipy")),
    "numpy": Engine("course NumPy", course_numpy, "numpy", ("numpy",)),
    "torch": Engine("PyTorch eager", torch_eager, "torch", ("torch",)),
    "torch-compile": Engine("torch.compile", torch_compile, "torch", ("torch",)),
    "torch-compile-step": Engine("torch.compile, whole step", torch_compile_step, "torch", ("torch",)),
    "jax": Engine("JAX step", jax_step, "jax", ("jax", "jaxlib")),
    "jax-scan": Engine("JAX scan", jax_scan, "jax", ("jax", "jaxlib")),
    "mlx": Engine("MLX", mlx_step, "mlx", ("mlx",)),
    "sklearn": Engine(
        "scikit-learn",
        sklearn_mlp,
        "sklearn",
        ("scikit-learn",),
        can=lambda task: not task.normalization and task.keep == 1 and task.dims[-1] > 2,
    ),
}
KERNEL_ENGINES = {
    "fastfc": Engine("fastfc", fastfc_operation, "fastfc", ("fastfc", "numba", "numpy"), single_threaded=True),
    "numpy": Engine("NumPy reference", numpy_operation, "fastfc", ("numpy",), single_threaded=True),
    "torch": Engine("PyTorch", torch_operation, "torch", ("torch",)),
}


# The worker: one engine in a process of its own, which answers a line of JSON with a line of JSON.


def worker(engine: str, config: dict[str, Any]) -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    threads = config["threads"]
    if engine == "machine":
        measure = machine(threads)
        answer(ready=True)
        for _ in sys.stdin:
            answer(**measure())
        os._exit(0)
    losses = None
    if "operation" in config:
        run = KERNEL_ENGINES[engine].start(config["operation"], tuple(config["shape"]), threads)
    else:
        task = Task(tuple(config["dims"]), config["batch"], config["normalization"], config["keep"])
        checked = Task(task.dims, task.batch, task.normalization)
        run = ENGINES[engine].start(checked, threads)
        losses = run(CHECK_STEPS, checked.check_batches())
        if task != checked:
            run = ENGINES[engine].start(task, threads)
    n = calibrated(run, config["seconds"])
    answer(ready=True, losses=losses, steps=n)
    for _ in sys.stdin:
        answer(seconds=timed(run, n) / n)
    # Threads of the libraries must not hold the process back.
    os._exit(0)


def timed(run: Run, n: int) -> float:
    start = time.perf_counter()
    run(n)
    return time.perf_counter() - start


def calibrated(run: Run, seconds: float) -> int:
    """The number of steps that take about `seconds`; they have run once, compiled and warm."""
    n = 1
    while True:
        run(n)
        taken = min(timed(run, n) for _ in range(2))
        if taken >= seconds / 3 or n >= 10**6:
            break
        n = max(2 * n, min(20 * n, int(n * seconds / taken)))
    n = max(LEAST_STEPS, round(n * seconds / taken))
    run(n)
    return n


def machine(threads: int) -> Callable[[], dict[str, float]]:
    """Measures the rate of sgemm and the bandwidth of a triad, a = b + s * c."""
    import numba

    products = [(1024, 1024, 1024), (2048, 1024, 1024), (1024, 2048, 2048)]
    operands = [
        (np.ones((m, k), np.float32), np.ones((k, n), np.float32), np.empty((m, n), np.float32)) for m, k, n in products
    ]
    gemms = [lambda a, b, c: np.matmul(a, b, out=c)]
    if importlib.util.find_spec("torch"):
        torch = _torch(threads)
        gemms.append(lambda a, b, c: torch.mm(*map(torch.from_numpy, (a, b)), out=torch.from_numpy(c)))
    size = 2**24
    a, b, c = (np.ones(size, np.float32) for _ in range(3))

    @numba.njit("void(f4[::1], f4[::1], f4[::1], f4)", nogil=True, fastmath=True)
    def triad(a, b, c, s):
        for i in range(len(a)):
            a[i] = b[i] + s * c[i]

    def triads() -> float:
        parts = np.array_split(np.arange(0, size + 1, size // 64), threads)
        edges = [0, *(int(part[0]) for part in parts[1:]), size]
        members = [
            threading.Thread(target=triad, args=(a[lo:hi], b[lo:hi], c[lo:hi], np.float32(2)))
            for lo, hi in itertools.pairwise(edges)
        ]
        start = time.perf_counter()
        for member in members:
            member.start()
        for member in members:
            member.join()
        return time.perf_counter() - start

    def measure() -> dict[str, float]:
        rates = []
        for (m, k, n), operand in zip(products, operands, strict=True):
            for gemm in gemms:
                seconds = min(timed(lambda _, gemm=gemm, operand=operand: gemm(*operand), 1) for _ in range(3))
                rates.append(2 * m * k * n / seconds)
        time.sleep(PAUSE_SECONDS)
        return {"flops_per_second": max(rates), "bytes_per_second": 12 * size / min(triads() for _ in range(5))}

    return measure


# The parent: starts the workers, asks them in turn, writes the report.


class Worker:
    """A worker process; its answers are dictionaries. Raises RuntimeError if the process ends."""

    def __init__(self, engine: str, config: dict[str, Any], preload: str | None = None) -> None:
        count = str(config["threads"])
        names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "FASTFC", "VECLIB")
        environment = os.environ | {f"{name}_NUM_THREADS": count for name in names} | {"FASTFC_QUIET": "1"}
        # Compile in the process itself: no helpers that outlive it.
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        # The worker imports what this process would.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        if preload:
            environment["LD_PRELOAD"] = preload
        self.engine, self.threads = engine, config["threads"]
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, __file__, "--worker", engine, "--config", json.dumps(config)]
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages
        )
        self.samples: list[float] = []
        try:
            self.first = self._read()
        except BaseException:
            self.close()
            raise

    def ask(self) -> dict[str, Any]:
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._messages.seek(0)
            text = self._messages.read().strip().splitlines() or ["no message"]
            raise RuntimeError(f"ended with status {self._process.returncode}: {text[-1]}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._messages.close()


def measure_rounds(workers: list[Worker], rounds: int) -> None:
    """A B C A B C, with a pause before each turn; a worker that fails leaves the list."""
    for _ in range(rounds):
        for one in list(workers):
            time.sleep(PAUSE_SECONDS)
            try:
                one.samples.append(one.ask()["seconds"])
            except RuntimeError as error:
                log(f"  {one.engine}, threads {one.threads}: left out, {error}")
                workers.remove(one)


def summary(one: Worker) -> dict[str, Any]:
    p10, median, p90 = (float(1e6 * value) for value in np.percentile(one.samples, [10, 50, 90]))
    figures = {"median_us": median, "p10_us": p10, "p90_us": p90, "steps_per_round": one.first["steps"]}
    return {"engine": one.engine, "threads": one.threads, **figures}


def loss_difference(losses: list[float], expected: list[float]) -> float:
    """Largest difference, as a part of the first expected loss; infinite if a loss is not a number."""
    difference = float(np.max(np.abs(np.subtract(losses, expected)))) / expected[0]
    return difference if math.isfinite(difference) else float("inf")


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def started(stack, engines, names, config, thread_counts, mlx_blas) -> list[Worker]:
    workers = []
    for name in names:
        counts = [1] if engines[name].single_threaded else thread_counts
        for threads in counts:
            try:
                one = Worker(name, config | {"threads": threads}, mlx_blas if name == "mlx" else None)
            except RuntimeError as error:
                log(f"  {name}, threads {threads}: left out, {error}")
                continue
            stack.callback(one.close)
            workers.append(one)
    return workers


def compare_steps(options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    results = []
    with contextlib.ExitStack() as machine_stack:
        machines = []
        for threads in options.threads:
            machines.append(Worker("machine", {"threads": threads}))
            machine_stack.callback(machines[-1].close)
        rates = {one.threads: {"flops_per_second": 0.0, "bytes_per_second": 0.0} for one in machines}
        for shape, config in itertools.product(options.shapes, options.configs):
            task = Task(*parse_shape(shape), *CONFIGS[config])
            log(f"{shape} {config}")
            for one in machines:
                time.sleep(PAUSE_SECONDS)
                for key, value in one.ask().items():
                    rates[one.threads][key] = max(rates[one.threads][key], value)
            checked = Task(task.dims, task.batch, task.normalization)
            expected = course_numpy(checked, 1)(CHECK_STEPS, checked.check_batches())
            work = {
                "dims": task.dims, "batch": task.batch, "normalization": task.normalization, "keep": task.keep
            } | {"seconds": options.seconds}  # fmt: skip
            with contextlib.ExitStack() as stack:
                able = [name for name in names if ENGINES[name].can(task)]
                workers = started(stack, ENGINES, able, work, options.threads, options.mlx_blas)
                measure_rounds(workers, options.rounds)
                for one in workers:
                    difference = loss_difference(one.first["losses"], expected)
                    counted = difference <= LOSS_TOLERANCE
                    if not counted:
                        log(f"  {one.engine}, threads {one.threads}: not counted, losses differ by {difference:.2g}")
                    # JSON has no infinity.
                    check = {"loss_difference": min(difference, 1e300), "counted": counted}
                    results.append({"shape": shape, "config": config, **summary(one), **check})
    for row in results:
        task = Task(*parse_shape(row["shape"]), *CONFIGS[row["config"]])
        row["limit_us"] = 1e6 * min(task.limit_seconds(**rate) for rate in rates.values())
    return {"kind": "steps", "rates": {str(threads): rate for threads, rate in rates.items()}, "results": results}


def compare_operations(options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    results = []
    for operation, shape in itertools.product(OPERATIONS, OPERATION_SHAPES):
        log(f"{operation} {shape}")
        with contextlib.ExitStack() as stack:
            work = {"operation": operation, "shape": shape, "seconds": options.seconds}
            workers = started(stack, KERNEL_ENGINES, names, work, options.threads, None)
            measure_rounds(workers, options.rounds)
            results += [{"operation": operation, "shape": shape, "counted": True, **summary(one)} for one in workers]
    return {"kind": "operations", "results": results}


def environment(engines: dict[str, Engine], names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    versions = {}
    for distribution in sorted({name for engine in names for name in engines[engine].distributions}):
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            versions[distribution] = importlib.import_module(distribution).__version__
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": cpu_model(), "cores": available_cpus(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": versions,
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds_per_round": options.seconds,
        "mlx_blas": options.mlx_blas and Path(options.mlx_blas).name,
        "loss_tolerance": LOSS_TOLERANCE,
    }


def cpu_model() -> str:
    """The processor's name, with family and model numbers where the system gives them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
    if "model name" not in fields:
        return platform.machine()
    numbers = [
        f"{key} {fields[name]}" for key, name in (("family", "cpu family"), ("model", "model")) if name in fields
    ]
    return f"{fields['model name']} ({', '.join(numbers)})"


def available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Engine -> its row at the better thread count, counted rows first."""
    ranked = sorted(rows, key=lambda row: (not row["counted"], row["median_us"]))
    return {row["engine"]: row for row in reversed(ranked)}


def ratio(row: dict[str, Any] | None, own: dict[str, Any]) -> str:
    """Times of `row` over fastfc's: of the medians, in brackets of the lowest deciles."""
    if row is None:
        return "-"
    if not row["counted"]:
        return "differs"
    return f"{row['median_us'] / own['median_us']:.2f} ({row['p10_us'] / own['p10_us']:.2f})"


def markdown(report: dict[str, Any]) -> str:
    """The report as a table: fastfc's time, and everyone's time as a multiple of it."""
    engines, label = {
        "steps": (ENGINES, lambda row: (row["shape"], row["config"])),
        "operations": (KERNEL_ENGINES, lambda row: (row["operation"], "{}x{}".format(*row["shape"]))),
    }[report["kind"]]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in report["results"]:
        groups.setdefault(label(row), []).append(row)
    # Several thread counts of one operation are columns of their own; of a step, the better one counts.
    by_threads = report["kind"] == "operations"
    present = {(row["engine"], row["threads"] if by_threads else None) for row in report["results"]}
    columns = [
        (name, threads) for name in engines for threads in (None, *report["threads"]) if (name, threads) in present
    ]
    peers = [(name, threads) for name, threads in columns if name != "fastfc"]
    head = ["net, batch", "kind"] if report["kind"] == "steps" else ["operation", "shape"]
    head += ["fastfc, us", *(engines[name].title + (f", {t} threads" if t and t > 1 else "") for name, t in peers)]
    if report["kind"] == "steps":
        head += ["limit, us", "fastfc / limit"]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    for key, rows in groups.items():
        own = best(rows).get("fastfc")
        if own is None:
            continue
        cells = [*key, f"{own['median_us']:.4g} ({own['p10_us']:.4g})" + ("" if own["counted"] else " differs")]
        for name, threads in peers:
            cells.append(ratio(best([r for r in rows if threads in (None, r["threads"])]).get(name), own))
        if report["kind"] == "steps":
            cells += [f"{own['limit_us']:.4g}", f"{own['median_us'] / own['limit_us']:.2f}"]
        lines.append(cells)
    machine, versions = report["machine"], ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    notes = (
        f"{machine['cpu']}, {machine['cores']} cores, threads {report['threads']}; Python {report['python']}, "
        f"{versions}; {report['date']}. Medians of {report['rounds']} rounds (lowest deciles in brackets); "
        "peers as multiples of fastfc's time."
        + (
            f" MLX with {report['mlx_blas'] or 'the reference BLAS of its wheel'}."
            if "mlx" in report["versions"]
            else ""
        )
    )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + f"\n\n{notes}\n"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    everyone = sorted({1, available_cpus()})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="SHAPE", help="such as 64-[100,100]-10@64")
    parser.add_argument("--configs", type=lambda s: s.split(","), default=list(CONFIGS), help="of bn,plain,ln")
    parser.add_argument("--engines", type=lambda s: s.split(","), help="default: all")
    parser.add_argument("--threads", type=lambda s: [int(n) for n in s.split(",")], default=everyone)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a turn")
    parser.add_argument("--quick", action="store_true", help="3 rounds of short turns, to try things out")
    parser.add_argument("--kernels", action="store_true", help="single operations instead of steps")
    parser.add_argument("--mlx-blas", default=ctypes.util.find_library("openblas"), metavar="LIBRARY")
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--markdown", type=Path, metavar="OUT")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--config", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 3, 0.02
    if options.rounds < 1 or min(options.threads) < 1:
        parser.error("--rounds and --threads: expected positive numbers")
    for config in options.configs:
        if config not in CONFIGS:
            parser.error(f"--configs: expected some of {', '.join(CONFIGS)}, got {config}")
    for name in options.engines or []:
        if name not in (KERNEL_ENGINES if options.kernels else ENGINES):
            parser.error(f"--engines: {name} is not one of {', '.join(KERNEL_ENGINES if options.kernels else ENGINES)}")
    try:
        for shape in options.shapes:
            parse_shape(shape)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    if options.worker:
        worker(options.worker, options.config)
        return
    engines = KERNEL_ENGINES if options.kernels else ENGINES
    names = []
    for name in options.engines or engines:
        if importlib.util.find_spec(engines[name].module) is None:
            log(f"{name}: left out, {engines[name].module} is not installed")
        else:
            names.append(name)
    compared = (compare_operations if options.kernels else compare_steps)(options, names)
    report = environment(engines, names, options) | compared
    table = markdown(report)
    print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(table)


if __name__ == "__main__":
    main()
