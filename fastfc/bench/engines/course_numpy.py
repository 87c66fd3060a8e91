"""A step as the course's modular NumPy solutions make it."""

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.task import BETA1, BETA2, EPSILON, MOMENTUM, NORM_EPS, RATE, Task

__all__ = ["steps"]

_Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]


def steps(task: Task, threads: int) -> Run:
    """Unlike some of the course's solutions these steps stay in the task's dtype, and leave out L2 at reg = 0."""
    X, y = task.data()
    params, configs = {}, {}
    bn_params: list[dict] = [{} for _ in range(task.hidden)]
    names = ("W", "b", "gamma", "beta")
    flat = iter(task.flat_parameters())
    for layer in range(task.hidden + 1):
        for name in names if task.normalization and layer < task.hidden else names[:2]:
            params[f"{name}{layer + 1}"] = next(flat)
    for name, w in params.items():
        configs[name] = {"m": np.zeros_like(w), "v": np.zeros_like(w), "t": 0}

    def loss_and_gradients(X: np.ndarray, y: np.ndarray) -> tuple[np.floating, dict[str, np.ndarray]]:
        x, caches = X, []
        for layer in range(1, task.hidden + 1):
            a, cache = _affine_forward(x, params[f"W{layer}"], params[f"b{layer}"])
            norm_cache: tuple = ()
            dropout_mask = None
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
                undo = _batchnorm_backward if task.normalization == "batchnorm" else _layernorm_backward
                dx, grads[f"gamma{layer}"], grads[f"beta{layer}"] = undo(dx, norm_cache)
            dx, grads[f"W{layer}"], grads[f"b{layer}"] = _affine_backward(dx, cache)
        return loss, grads

    def step(choice: np.ndarray) -> float:
        loss, grads = loss_and_gradients(X[choice], y[choice])
        for name, w in params.items():
            params[name] = _adam(w, grads[name], configs[name])
        return float(loss)

    def run(n: int, batches: np.ndarray | None = None) -> list[float]:
        draws = batches if batches is not None else (np.random.choice(len(X), task.batch) for _ in range(n))
        return [step(choice) for choice in draws]

    return run


def _affine_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, tuple]:
    return x.reshape(x.shape[0], -1).dot(w) + b, (x, w)


def _affine_backward(dout: np.ndarray, cache: tuple) -> _Gradients:
    x, w = cache
    return dout.dot(w.T).reshape(x.shape), x.reshape(x.shape[0], -1).T.dot(dout), np.sum(dout, axis=0)


def _batchnorm_forward(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, bn_param: dict) -> tuple[np.ndarray, tuple]:
    mean, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + NORM_EPS)
    x_hat = (x - mean) / std
    for key, value in (("running_mean", mean), ("running_var", var)):
        bn_param[key] = MOMENTUM * bn_param.get(key, np.zeros_like(value)) + (1 - MOMENTUM) * value
    return gamma * x_hat + beta, (x_hat, gamma, std)


def _batchnorm_backward(dout: np.ndarray, cache: tuple) -> _Gradients:
    x_hat, gamma, std = cache
    n = dout.shape[0]
    dbeta, dgamma = dout.sum(axis=0), np.sum(dout * x_hat, axis=0)
    dx_hat = dout * gamma
    dx = (n * dx_hat - dx_hat.sum(axis=0) - x_hat * np.sum(dx_hat * x_hat, axis=0)) / (n * std)
    return dx, dgamma, dbeta


def _layernorm_forward(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, ln_param: dict) -> tuple[np.ndarray, tuple]:
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    std = np.sqrt(var + NORM_EPS)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x_hat, gamma, std)


def _layernorm_backward(dout: np.ndarray, cache: tuple) -> _Gradients:
    x_hat, gamma, std = cache
    d = dout.shape[1]
    dbeta, dgamma = dout.sum(axis=0), np.sum(dout * x_hat, axis=0)
    dx_hat = dout * gamma
    sums = dx_hat.sum(axis=1, keepdims=True), np.sum(dx_hat * x_hat, axis=1, keepdims=True)
    return (d * dx_hat - sums[0] - x_hat * sums[1]) / (d * std), dgamma, dbeta


def _softmax_loss(x: np.ndarray, y: np.ndarray) -> tuple[np.floating, np.ndarray]:
    n = x.shape[0]
    shifted = x - np.max(x, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    dx = np.exp(log_probs)
    dx[np.arange(n), y] -= 1
    return -np.sum(log_probs[np.arange(n), y]) / n, dx / n


def _adam(w: np.ndarray, dw: np.ndarray, config: dict) -> np.ndarray:
    config["t"] += 1
    config["m"] = BETA1 * config["m"] + (1 - BETA1) * dw
    config["v"] = BETA2 * config["v"] + (1 - BETA2) * dw**2
    m_hat = config["m"] / (1 - BETA1 ** config["t"])
    v_hat = config["v"] / (1 - BETA2 ** config["t"])
    return w - RATE * m_hat / (np.sqrt(v_hat) + EPSILON)
