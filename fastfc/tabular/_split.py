"""Which rows are held out for validation, and the weights of the others."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfc._arguments import number
from fastfc.data_utils import split_validation
from fastfc.tabular._cells import text_of

__all__ = ["held_out", "held_out_groups", "held_out_last", "strata_of", "weights_of_rows"]

Rows = tuple[np.ndarray, np.ndarray]


def strata_of(y: np.ndarray) -> np.ndarray:
    """The parts of which each is to have its share in validation: classes, or tenths of sorted numbers."""
    if y.dtype.kind != "f":
        return y
    rows = len(y)
    tenths = max(min(10, rows // 5), 1)
    return np.argsort(np.argsort(y, kind="stable"), kind="stable") * tenths // rows


def held_out(y: np.ndarray, share: float, seed: int) -> Rows:
    """The numbers of the rows to train on and of those for validation, by classes or by tenths of the numbers `y`."""
    train, _, val, _ = split_validation(np.arange(len(y)), strata_of(y), share, seed)
    return train, val


def held_out_groups(groups: np.ndarray, share: float, seed: int) -> Rows:
    """The same, with all rows of a group on one side: so many groups, drawn at random, as make the share of rows.

    Raises
    ------
    ValueError
        If there are fewer than two groups.
    """
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("groups: expected two groups or more")
    order = np.random.RandomState(seed).permutation(len(sizes))
    count = int(np.searchsorted(np.cumsum(sizes[order]), share * len(groups))) + 1
    chosen = np.isin(codes, order[: min(count, len(sizes) - 1)])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def held_out_last(times: np.ndarray, share: float) -> Rows:
    """The same, with the latest rows for validation; rows of one time are on one side.

    Raises
    ------
    ValueError
        If all rows have the same time.
    """
    order = np.sort(times)
    first = order[len(order) - max(round(share * len(order)), 1)]
    late = times >= first
    if late.all():
        late = times > first
    if not late.any():
        raise ValueError("time: expected rows of two times or more")
    return np.flatnonzero(~late), np.flatnonzero(late)


def weights_of_rows(y: np.ndarray, class_weight: str | Mapping[Any, float], names: list[str]) -> np.ndarray:
    """The weights (N,) of rows in the loss, by their classes: as scikit-learn's ``compute_sample_weight``.

    Parameters
    ----------
    y : integer array (N,)
    class_weight : "balanced", or dict
        Class name -> weight, 1 for those that are missing; ``"balanced"`` is the number of rows over the number of
        classes that they have, over the class's number of rows.
    names : list of str
        The classes.

    Raises
    ------
    ValueError
        For a name that is no class or is there twice, or a weight that is not positive and finite.
    TypeError
        For a weight that is no number.
    """
    if isinstance(class_weight, Mapping):
        given: dict[str, float] = {}
        for key, weight in class_weight.items():
            name = text_of(key)
            if name in given:
                raise ValueError(f"class_weight: expected one weight for the class {name!r}, got two")
            given[name] = number(f"class_weight[{key!r:.80}]", weight)
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ValueError(f"class_weight: {unknown[0]!r} is not among the classes {names}")
        weights = np.array([given.get(name, 1.0) for name in names])
        if not ((weights > 0) & np.isfinite(weights)).all():
            raise ValueError(f"class_weight: expected positive numbers, got {dict(class_weight)}")
    elif class_weight == "balanced":
        counts = np.bincount(y, minlength=len(names))
        weights = len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        raise ValueError(f'class_weight: expected "balanced" or a dictionary, got {class_weight!r:.80}')
    return weights[y]
