"""Compiled prediction: the scores of a network in test mode, in one call."""

from typing import TYPE_CHECKING

import numpy as np

from fastfc._runtime.blas import single_threaded
from fastfc._runtime.team import Team
from fastfc._threads import available_cpus, get_num_threads
from fastfc.layers import batchnorm_param, checked_eps, checked_momentum, layernorm_param, write_back
from fastfc.training import layout
from fastfc.training.compiling import kernel
from fastfc.training.layout import Predictions
from fastfc.training.plan import (
    examples_of,
    layers_of,
    make_plan,
    norm_numbers_of,
    readable,
    set_examples,
    set_standardization,
)

if TYPE_CHECKING:
    from fastfc.classifiers.fc_net import FullyConnectedNet

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


def predict_scores(model: "FullyConnectedNet", X: np.ndarray, softmax: bool = False) -> np.ndarray:
    """Scores (N, C) of examples X (N, ...), whose shape and kind have been checked; their softmax on request."""
    if not readable(X):
        X = X.astype(model.dtype)
    n = len(X)
    if n == 0:
        return np.empty((0, model.dims[-1]), model.dtype)
    members = 1
    if n > _ROWS and n * model.params.flat.size >= _TEAM_WORK:
        members = get_num_threads() or available_cpus()
    standardized = model.input_mean is not None or model.input_scale is not None
    # A plan in use is not in the pool: other threads may predict with the same model.
    key = n > 1, members, standardized, model.normalization
    pool = model.plans.get(key)
    if pool is None:
        pool = model.plans.setdefault(key, [])
    plan, statistics, run, job = pool.pop() if pool else _make(model, X, members)
    own = job.scores
    try:
        if standardized:
            set_standardization(plan, model)
        for param, (gamma, mean, var, number) in zip(model.bn_params if statistics else (), statistics, strict=True):
            _take_over(param, model.normalization, gamma, mean, var, number)
        set_examples(job.examples, X)
        job.count, job.softmax = n, softmax
        if n > len(own):
            job.scores = np.empty((n, model.dims[-1]), model.dtype)
        if members == 1:
            run(plan, 0, job)
        else:
            with single_threaded(), Team(members) as team:
                team.run(lambda i: run(plan, i, job))
        # To copy a few scores takes less time than to hand over the caller's own array.
        return job.scores if n > len(own) else own[:n].copy()
    finally:
        if job.scores is not own:
            job.scores = own
        if not pool or (len(pool) + 1) * plan.room.nbytes <= _KEPT_BYTES:
            pool.append((plan, statistics, run, job))


def _rows(model: "FullyConnectedNet") -> int:
    """Rows that go through the net at a time, for each member: fewer where they are very wide."""
    row_bytes = sum(model.dims) * np.dtype(model.dtype).itemsize
    return max(_LEAST_ROWS, min(_ROWS, _ROOM_BYTES // row_bytes))


def _make(model: "FullyConnectedNet", X: np.ndarray, members: int):
    """A plan, for each normalization where the plan has its statistics and numbers, the kernel, and its job."""
    rows = 1 if len(X) == 1 else _rows(model) * members
    plan = make_plan(model, rows, members)
    statistics = []
    hidden = 0 if model.normalization is None else plan.depth - 1
    for i, (entry, number) in enumerate(zip(layers_of(plan)[:hidden], norm_numbers_of(plan), strict=False), start=1):
        gamma = model.params[f"gamma{i}"]
        mean, var = (
            plan.room[entry[column] : entry[column] + gamma.size]
            for column in (layout.RUNNING_MEAN, layout.RUNNING_VAR)
        )
        statistics.append((gamma, mean, var, number))
    job = Predictions(
        plan.dtype,
        examples=examples_of(X, plan.dtype),
        subset=_NONE,
        count=0,
        softmax=False,
        predictions=_NONE,
        scores=np.empty((rows, model.dims[-1]), plan.dtype),
    )
    return plan, statistics, kernel("predict_rows", plan.dtype), job


def _take_over(param, normalization, gamma, mean, var, number) -> None:
    """Copy a layer's statistics and eps, which may have changed since the plan was last used."""
    if normalization == "layernorm":
        number[layout.EPS] = layernorm_param(param, gamma)["eps"]
        return
    given_mean, given_var = param.get("running_mean"), param.get("running_var")
    if _fits(given_mean, mean) and _fits(given_var, var):
        # The usual case, without the full check: it would take longer than a small network's prediction.
        number[layout.EPS] = checked_eps("bn_param", param)
        if "momentum" in param:
            checked_momentum(param)
        mean[:] = given_mean
        var[:] = given_var
        return
    checked = batchnorm_param(param, 1, gamma)
    number[layout.EPS] = checked["eps"]
    mean[:] = checked["running_mean"]
    var[:] = checked["running_var"]
    # The course's forward pass writes them back in both modes.
    write_back(param, checked)


def _fits(given, view: np.ndarray) -> bool:
    return type(given) is np.ndarray and given.dtype == view.dtype and given.shape == view.shape
