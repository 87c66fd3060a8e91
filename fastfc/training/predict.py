"""Compiled prediction: the scores of a network in test mode, in one call."""

import contextlib

import numpy as np

from fastfc._layer_arguments import batchnorm_param, checked_eps, checked_momentum, layernorm_param, write_back
from fastfc._runtime.blas import single_threaded
from fastfc._runtime.team import Team
from fastfc._runtime.threads import available_cpus, get_num_threads
from fastfc.training.compiling import calls_blas, kernel
from fastfc.training.memory import Predictions
from fastfc.training.network import Network
from fastfc.training.parts import ALL_BLOCKS, predict_in_parts
from fastfc.training.plan import (
    as_readable,
    chosen_for_scores,
    examples_of,
    make_plan,
    set_examples,
    set_kernels,
    set_standardization,
)

# Rows that go through the net at a time, when there are more than one.
_ROWS = 256
_LEAST_ROWS = 16
# Bytes that these rows and their activations may take: the memory stays with the model, for its next prediction.
_ROOM_BYTES = 1 << 25
# Bytes of further plans that stay with a model, where several threads have predicted with it at once.
_KEPT_BYTES = 1 << 26
# Multiplications from which a team of threads pays: about a millisecond of work.
_TEAM_WORK = 10**8

_NONE = np.zeros(0, np.int64)


def predict_scores(model: Network, X: np.ndarray, softmax: bool = False) -> np.ndarray:
    """Scores (N, C) of examples X (N, ...), whose shape and kind have been checked; their softmax on request."""
    X = as_readable(X)
    n = len(X)
    if n == 0:
        return np.empty((0, model.dims[-1]), model.dtype)
    threads = 1
    if n > _ROWS and n * model.params.flat.size >= _TEAM_WORK:
        threads = get_num_threads() or available_cpus()
    standardized = model.input_mean is not None or model.input_scale is not None
    # A plan in use is not in the pool: other threads may predict with the same model.
    key = n > 1, threads, standardized, model.normalization, model.activation
    pool = model.plans.get(key)
    if pool is None:
        pool = model.plans.setdefault(key, [])
    plan, run, job = pool.pop() if pool else _make(model, X, threads)
    own = job.scores
    try:
        if standardized:
            set_standardization(plan, model)
        if model.normalization is not None:
            for param, layer in zip(model.bn_params, plan.layers[:-1], strict=True):
                _take_over(param, model.normalization, layer)
        set_examples(job.examples, X)
        job.count, job.softmax = n, softmax
        if n > len(own):
            job.scores = np.empty((n, model.dims[-1]), model.dtype)
        # A single call, if it takes some milliseconds at most: to look at the clock takes time too.
        if threads == 1 and n * model.params.flat.size < _TEAM_WORK:
            run(plan, 0, job)
        elif threads == 1:
            predict_in_parts(plan, job, lambda: run(plan, 0, job))
        else:
            limit = single_threaded() if calls_blas("predict_rows", plan.dtype) else contextlib.nullcontext()
            with limit, Team(threads) as team:
                predict_in_parts(plan, job, lambda: team.run(lambda i: run(plan, i, job)))
        # To copy a few scores takes less time than to hand over the caller's own array.
        return job.scores if n > len(own) else own[:n].copy()
    finally:
        if job.scores is not own:
            job.scores = own
        if not pool or (len(pool) + 1) * plan.nbytes <= _KEPT_BYTES:
            pool.append((plan, run, job))


def _rows(model: Network) -> int:
    """Rows that go through the net at a time, for each thread: fewer where they are very wide."""
    row_bytes = sum(model.dims) * np.dtype(model.dtype).itemsize
    return max(_LEAST_ROWS, min(_ROWS, _ROOM_BYTES // row_bytes))


def _make(model: Network, X: np.ndarray, threads: int):
    """A plan, the kernel, and its job."""
    rows = 1 if len(X) == 1 else _rows(model) * threads
    run = kernel("predict_rows", np.dtype(model.dtype), chosen_for_scores(model))
    plan = make_plan(model, rows, threads)
    set_kernels(plan, model)
    job = Predictions(
        plan.dtype,
        examples=examples_of(X, plan.dtype),
        subset=_NONE,
        count=0,
        softmax=False,
        predictions=_NONE,
        scores=np.empty((rows, model.dims[-1]), plan.dtype),
        **ALL_BLOCKS,
    )
    return plan, run, job


def _take_over(param, normalization, layer) -> None:
    """Copy a layer's statistics and eps, which may have changed since the plan was last used."""
    if normalization == "layernorm":
        layer.eps = layernorm_param(param, layer.gamma.value)["eps"]
        return
    mean, var = layer.running_mean, layer.running_var
    given_mean, given_var = param.get("running_mean"), param.get("running_var")
    if _fits(given_mean, mean) and _fits(given_var, var):
        # The usual case, without the full check: it would take longer than a small network's prediction.
        layer.eps = checked_eps("bn_param", param)
        if "momentum" in param:
            checked_momentum(param)
        mean[:] = given_mean
        var[:] = given_var
        return
    checked = batchnorm_param(param, 1, layer.gamma.value)
    layer.eps = checked["eps"]
    mean[:] = checked["running_mean"]
    var[:] = checked["running_var"]
    # The course's forward pass writes them back in both modes.
    write_back(param, checked)


def _fits(given, view: np.ndarray) -> bool:
    return type(given) is np.ndarray and given.dtype == view.dtype and given.shape == view.shape
