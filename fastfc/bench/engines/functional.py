"""The step for libraries that differentiate functions."""

from collections.abc import Callable
from typing import Any

from fastfc.bench.task import BETA1, BETA2, EPSILON, MOMENTUM, NORM_EPS, RATE, Task

__all__ = ["functional_step"]


def functional_step(
    ops: Any, task: Task, state: Any, t: Any, x: Any, y: Any, dropout: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """A step for libraries that differentiate functions: (loss, new state); t counts from 1.

    Parameters
    ----------
    ops : namespace
        The library's functions: ``value_and_gradients(function, params)``, ``activation``, ``rsqrt``, ``sqrt``,
        ``mean(h, axis)``, which keeps the axis, ``constant(h)``, of which no gradient is taken,
        ``flat(h)`` and ``cross_entropy(scores, y)``.
    task : Task
    state : list
        :meth:`Task.first_state` in the library's arrays.
    t : scalar
    x, y : arrays (batch, D) and (batch,)
    dropout : function
    """
    params, m, v, running = state

    def loss_of(params: Any) -> tuple[Any, list]:
        statistics: list = []
        h, parts = x, iter(params)
        for _ in range(task.hidden):
            h = h @ next(parts) + next(parts)
            if task.normalization:
                axis = 0 if task.normalization == "batchnorm" else 1
                mean = ops.mean(h, axis)
                centered = h - mean
                var = ops.mean(centered * centered, axis)
                h = centered * ops.rsqrt(var + NORM_EPS) * next(parts) + next(parts)
                if axis == 0:
                    statistics += [ops.constant(mean), ops.constant(var)]
            h = ops.activation(h)
            if task.keep < 1:
                h = dropout(h)
        return ops.cross_entropy(h @ next(parts) + next(parts), y), statistics

    (loss, statistics), gradients = ops.value_and_gradients(loss_of, params)
    m = [BETA1 * a + (1 - BETA1) * g for a, g in zip(m, gradients, strict=True)]
    v = [BETA2 * a + (1 - BETA2) * g * g for a, g in zip(v, gradients, strict=True)]
    m_scale, v_scale = RATE / (1 - BETA1**t), 1 / (1 - BETA2**t)
    params = [p - m_scale * a / (ops.sqrt(v_scale * b) + EPSILON) for p, a, b in zip(params, m, v, strict=True)]
    running = [MOMENTUM * a + (1 - MOMENTUM) * ops.flat(b) for a, b in zip(running, statistics, strict=True)]
    return loss, [params, m, v, running]
