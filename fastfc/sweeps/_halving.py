"""Successive halving: which trainings go on, and for how many epochs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfc.sweeps._options import Job, split, text_of
from fastfc.sweeps._result import Trial

__all__ = ["kept_jobs", "rungs_of"]


def rungs_of(trainings: list[dict[str, Any]], factor: int, min_epochs: int) -> list[int]:
    """The numbers of epochs after which trainings are compared; the last is the largest ``num_epochs``.

    >>> rungs_of([{"num_epochs": 20}], factor=3, min_epochs=1)
    [1, 3, 9, 20]
    """
    last = max(split(options)[1]["num_epochs"] for options in trainings)
    found = []
    epochs = min_epochs
    while epochs < last:
        found.append(epochs)
        epochs *= factor
    return [*found, last]


def kept_jobs(jobs: list[Job], trials: Mapping[int, Trial], factor: int) -> list[Job]:
    """The jobs of the best ``1 / factor`` of the options, by the mean score of their seeds; at least of one.

    A training without a score makes its options the worst.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(text_of(job.options), []).append(job)

    def loss(group: list[Job]) -> float:
        mean = float(np.mean([trials[job.index].score for job in group]))
        return math.inf if math.isnan(mean) else -mean

    best = sorted(groups.values(), key=loss)[: math.ceil(len(groups) / factor)]
    kept = {job.index for group in best for job in group}
    return [job for job in jobs if job.index in kept]
