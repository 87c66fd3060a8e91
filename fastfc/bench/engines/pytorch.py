"""PyTorch: eager with fused Adam, forward and backward compiled, and the whole step compiled."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.engines.functional import functional_step
from fastfc.bench.task import BETA1, BETA2, EPSILON, NORM_EPS, RATE, Task

__all__ = ["compiled", "compiled_step", "eager", "pytorch"]


def pytorch(threads: int) -> Any:
    """The module torch, held to so many threads."""
    import torch

    torch.set_num_threads(threads)
    return torch


def eager(
    task: Task, threads: int, whole_loss: bool = False, activation: str = "relu", loss: str = "cross_entropy"
) -> Run:
    """Steps with a hidden activation of `torch` and a loss of ``torch.nn.functional``, by their names."""
    torch = pytorch(threads)
    nn = torch.nn
    X, y = map(torch.from_numpy, task.data())
    norm = {"batchnorm": nn.BatchNorm1d, "layernorm": nn.LayerNorm, None: None}[task.normalization]
    activations: dict[str, Callable[[], Any]] = {"relu": lambda: nn.ReLU(inplace=True), "tanh": nn.Tanh}
    layers: list[Any] = []
    for layer, w in enumerate(task.weights()):
        linear = nn.Linear(*w.shape, dtype=X.dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers.append(linear)
        if layer < task.hidden:
            layers += [norm(w.shape[1], eps=NORM_EPS, dtype=X.dtype)] if norm else []
            layers.append(activations[activation]())
            layers += [nn.Dropout(1 - task.keep)] if task.keep < 1 else []
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), RATE, (BETA1, BETA2), EPSILON, fused=True)

    loss_of = getattr(nn.functional, loss)

    def forward(choice: Any) -> Any:
        return loss_of(model(X.index_select(0, choice)), y.index_select(0, choice))

    if whole_loss:
        forward = torch.compile(forward, fullgraph=True)

    def step(choice: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = forward(choice)
        value.backward()
        optimizer.step()
        return value

    return _torch_run(torch, task, step)


def compiled(task: Task, threads: int, **options: str) -> Run:
    return eager(task, threads, whole_loss=True, **options)


def compiled_step(task: Task, threads: int, activation: str = "relu", loss: str = "cross_entropy") -> Run:
    """Gathering, forward, backward and Adam in one compiled graph."""
    torch = pytorch(threads)
    X, y = map(torch.from_numpy, task.data())
    state = [[torch.from_numpy(a) for a in kind] for kind in task.first_state()]
    t = torch.zeros(())

    def value_and_gradients(function: Callable, params: Any) -> tuple[Any, Any]:
        gradients, value = torch.func.grad_and_value(function, has_aux=True)(params)
        return value, gradients

    ops = SimpleNamespace(
        value_and_gradients=value_and_gradients,
        activation=getattr(torch, activation),
        mean=lambda h, axis: h.mean(axis, keepdim=True),
        flat=lambda h: h.reshape(-1),
        rsqrt=torch.rsqrt,
        sqrt=torch.sqrt,
        constant=torch.Tensor.detach,
        # The functional step has this name for the loss of every network.
        cross_entropy=getattr(torch.nn.functional, loss),
    )

    def dropout(h: Any) -> Any:
        return torch.nn.functional.dropout(h, 1 - task.keep)

    # The C++ wrapper halves what a call costs beside the arithmetic.
    @torch.compile(fullgraph=True, options={"cpp_wrapper": True})
    def step(choice: Any) -> Any:
        t.add_(1)
        value, new_state = functional_step(ops, task, state, t, X[choice], y[choice], dropout)
        for olds, news in zip(state, new_state, strict=True):
            for old, new in zip(olds, news, strict=True):
                old.copy_(new)
        return value

    return _torch_run(torch, task, step)


def _torch_run(torch: Any, task: Task, step: Callable[[Any], Any]) -> Run:
    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        if batches is not None:
            return [step(choice).item() for choice in torch.from_numpy(batches)]
        for _ in range(n):
            step(torch.randint(task.examples, (task.batch,)))
        return None

    return run
