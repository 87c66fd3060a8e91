"""tinygrad on the processor, the whole step captured by its JIT."""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.engines.functional import functional_step
from fastfc.bench.task import Task

__all__ = ["captured"]


def captured(task: Task, threads: int) -> Run:
    # Read at the import.
    os.environ |= {"DEV": "CPU", "CPU": "1", "CPU_COUNT": str(threads)}
    from tinygrad import Tensor, TinyJit

    X, y = (Tensor(a).realize() for a in task.data())
    state = [[Tensor(a).contiguous().realize() for a in kind] for kind in task.first_state()]
    t = Tensor.zeros(1).contiguous().realize()

    def value_and_gradients(function: Any, params: Any) -> tuple[Any, Any]:
        loss, statistics = function(params)
        return (loss, statistics), loss.gradient(*params)

    ops = SimpleNamespace(
        value_and_gradients=value_and_gradients,
        activation=Tensor.relu,
        mean=lambda h, axis: h.mean(axis, keepdim=True),
        flat=lambda h: h.reshape(-1),
        rsqrt=Tensor.rsqrt,
        sqrt=Tensor.sqrt,
        constant=Tensor.detach,
        cross_entropy=Tensor.sparse_categorical_crossentropy,
    )

    def dropout(h: Any) -> Any:
        return (Tensor.rand(*h.shape) < task.keep).where(h * (1 / task.keep), 0)

    def step(batch: Any) -> Any:
        t.assign(t + 1)
        loss, new_state = functional_step(ops, task, state, t, X[batch], y[batch], dropout)
        written = [
            old.assign(new)
            for olds, news in zip(state, new_state, strict=True)
            for old, new in zip(olds, news, strict=True)
        ]
        return loss.realize(*written, t)

    drawn = TinyJit(lambda: step(Tensor.randint(task.batch, high=task.examples)))
    given = TinyJit(step)

    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        if batches is not None:
            return [given(Tensor(batch.astype(np.int32)).realize()).item() for batch in batches]
        for _ in range(n):
            drawn()
        state[0][0].numpy()
        return None

    return run
