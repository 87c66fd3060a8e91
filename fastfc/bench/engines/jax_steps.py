"""JAX: a jitted step, and a jitted loop over many steps."""

import functools
import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.engines.functional import functional_step
from fastfc.bench.task import Task

__all__ = ["many", "single"]


def _jax_step(task: Task, threads: int) -> Any:
    """(jax, state, data, step(state, data, batch or None) -> (state, loss))."""
    if hasattr(os, "sched_setaffinity"):
        # XLA makes as many threads as the process may use processors.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import jax
    import jax.numpy as jnp

    # The cheap generator: with the default one, threefry, a step takes up to 1.8 times as long.
    jax.config.update("jax_default_prng_impl", "unsafe_rbg")
    jax.config.update("jax_enable_x64", task.dtype == "float64")

    def cross_entropy(scores: Any, y: Any) -> Any:
        picked = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(scores, axis=1) - picked)

    ops = SimpleNamespace(
        value_and_gradients=lambda function, params: jax.value_and_grad(function, has_aux=True)(params),
        activation=jax.nn.relu,
        mean=lambda h, axis: h.mean(axis, keepdims=True),
        flat=lambda h: h.reshape(-1),
        rsqrt=jax.lax.rsqrt,
        sqrt=jnp.sqrt,
        constant=jax.lax.stop_gradient,
        cross_entropy=cross_entropy,
    )
    threshold = round(task.keep * 2**16)

    def step(state: Any, data: Any, batch: Any) -> tuple[Any, Any]:
        arrays, t, key = state
        key, *keys = jax.random.split(key, 2 + task.hidden)
        if batch is None:
            batch = jax.random.bits(keys[-1], (task.batch,), jnp.uint32) % task.examples
        remaining = iter(keys)

        def dropout(h: Any) -> Any:
            # Two masks from a word: half the time of drawing as many 16-bit numbers.
            words = jax.random.bits(next(remaining), ((h.size + 1) // 2,), jnp.uint32)
            halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: h.size]
            return jnp.where(halves.reshape(h.shape) < threshold, h * (1 / task.keep), 0)

        X, y = data
        loss, arrays = functional_step(ops, task, arrays, t + 1, X[batch], y[batch], dropout)
        return (arrays, t + 1, key), loss

    state = (jax.tree.map(jnp.array, task.first_state()), jnp.zeros((), task.dtype), jax.random.key(0))
    X, y = task.data()
    return jax, state, (jnp.array(X), jnp.array(y, jnp.int32)), step


def single(task: Task, threads: int) -> Run:
    jax, state, data, step = _jax_step(task, threads)
    step = jax.jit(step, donate_argnums=0)

    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        nonlocal state
        losses = []
        for batch in [None] * n if batches is None else batches.astype(np.int32):
            state, loss = step(state, data, batch)
            if batches is not None:
                losses.append(float(loss))
        jax.block_until_ready(state)
        return losses

    return run


def many(task: Task, threads: int) -> Run:
    """Many steps a call: as fast as `lax.scan`, whose count of steps is fixed, but compiled once for all counts."""
    jax, state, data, step = _jax_step(task, threads)

    @functools.partial(jax.jit, donate_argnums=0)
    def draw_and_step(state: Any, data: Any, n: int) -> Any:
        return jax.lax.fori_loop(0, n, lambda i, carry: step(carry, data, None)[0], state)

    @functools.partial(jax.jit, donate_argnums=0)
    def steps_on(state: Any, data: Any, batches: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda carry, batch: step(carry, data, batch), state, batches)

    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        nonlocal state
        if batches is not None:
            state, losses = steps_on(state, data, batches.astype(np.int32))
            return [float(loss) for loss in losses]
        state = draw_and_step(state, data, n)
        jax.block_until_ready(state)
        return None

    return run
