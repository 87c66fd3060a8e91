"""TensorFlow on the processor: a loop over many steps, compiled by XLA."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from fastfc.bench.engines import Run
from fastfc.bench.engines.functional import functional_step
from fastfc.bench.task import Task

__all__ = ["many"]


def _tensorflow_step(task: Task, threads: int) -> Any:
    """(tf, state, step(state, t, batch or None) -> (loss, state))."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def value_and_gradients(function: Any, params: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss, statistics = function(params)
        return (loss, statistics), tape.gradient(loss, params)

    def cross_entropy(scores: Any, y: Any) -> Any:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores))

    ops = SimpleNamespace(
        value_and_gradients=value_and_gradients,
        activation=tf.nn.relu,
        mean=lambda h, axis: tf.reduce_mean(h, axis, keepdims=True),
        flat=lambda h: tf.reshape(h, [-1]),
        rsqrt=tf.math.rsqrt,
        sqrt=tf.sqrt,
        constant=tf.stop_gradient,
        cross_entropy=cross_entropy,
    )
    X, y = (tf.constant(a) for a in task.data())

    def step(state: Any, t: Any, batch: Any) -> tuple[Any, Any]:
        seeds = iter(range(task.hidden))
        steps_before = tf.cast(t, tf.int32)

        def dropout(h: Any) -> Any:
            return tf.nn.experimental.stateless_dropout(h, 1 - task.keep, seed=[steps_before, next(seeds)])

        if batch is None:
            seed = [steps_before, task.hidden]
            batch = tf.random.stateless_uniform([task.batch], seed, 0, task.examples, tf.int32)
        return functional_step(ops, task, state, t, tf.gather(X, batch), tf.gather(y, batch), dropout)

    state = [[tf.constant(a) for a in kind] for kind in task.first_state()]
    return tf, state, step


def many(task: Task, threads: int) -> Run:
    """Many steps a call, which take a third of the time of as many calls."""
    tf, state, step = _tensorflow_step(task, threads)
    t = tf.zeros((), task.dtype)

    @tf.function(jit_compile=True)
    def drawn(state: Any, t: Any, n: Any) -> Any:
        def body(i: Any, t: Any, state: Any) -> Any:
            return i + 1, t + 1, step(state, t + 1, None)[1]

        return tf.while_loop(lambda i, t, state: i < n, body, (tf.constant(0), t, state))[1:]

    given = tf.function(step, jit_compile=True)

    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        nonlocal state, t
        if batches is None:
            t, state = drawn(state, t, tf.constant(n))
            state[0][0].numpy()
            return None
        losses = []
        for batch in batches.astype(np.int32):
            t += 1
            loss, state = given(state, t, tf.constant(batch))
            losses.append(float(loss))
        return losses

    return run
