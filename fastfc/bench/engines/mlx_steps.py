"""MLX on the processor, the whole step compiled."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.engines.functional import functional_step
from fastfc.bench.task import Task

__all__ = ["compiled"]


def compiled(task: Task, threads: int) -> Run:
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    X, y = map(mx.array, task.data())
    state: list[Any] = [[[mx.array(a) for a in kind] for kind in task.first_state()], mx.array(0.0), mx.random.state]

    def cross_entropy(scores: Any, y: Any) -> Any:
        picked = mx.take_along_axis(scores, y[:, None], axis=1)[:, 0]
        return mx.mean(mx.logsumexp(scores, axis=1) - picked)

    ops = SimpleNamespace(
        value_and_gradients=lambda function, params: mx.value_and_grad(function)(params),
        activation=lambda h: mx.maximum(h, 0),
        mean=lambda h, axis: h.mean(axis, keepdims=True),
        flat=lambda h: h.reshape(-1),
        rsqrt=mx.rsqrt,
        sqrt=mx.sqrt,
        constant=mx.stop_gradient,
        cross_entropy=cross_entropy,
    )

    def dropout(h: Any) -> Any:
        return mx.where(mx.random.bernoulli(task.keep, h.shape), h * (1 / task.keep), 0)

    def step(batch: Any = None) -> Any:
        if batch is None:
            batch = mx.random.randint(0, task.examples, (task.batch,))
        state[1] = state[1] + 1
        loss, state[0] = functional_step(ops, task, state[0], state[1], X[batch], y[batch], dropout)
        return loss

    fused = mx.compile(step, inputs=state, outputs=state)

    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        losses = []
        for batch in [None] * n if batches is None else batches:
            loss = fused() if batch is None else fused(mx.array(batch))
            mx.eval(loss, state)
            losses.append(loss)
        return None if batches is None else [float(loss) for loss in losses]

    return run
