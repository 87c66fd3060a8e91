"""The rows of the registry as things to measure. No benchmark stands here."""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.common import Run, repeated
from fastfc.backend import OPS
from fastfc.cases import Case, Sizes, build

__all__ = ["LAYERS", "RULES", "SIZES", "case_of", "classes", "largest_error_in_ulp", "run_of"]

RULES = [name for name, operation in OPS.items() if operation.module == "optim"]
LAYERS = [name for name in OPS if name not in RULES]

#: Rows and columns, and the dtype. float64 stands in at one size: the kernels are the same.
SIZES = ["100x64 float32", "256x512 float32", "1024x1024 float32", "256x512 float64"]


def classes(base: type, names: Iterable[str], module: str) -> dict[str, type]:
    """A benchmark class for each operation, named after it.

    Not one class with the operation as a parameter: asv finds parameters by their place in
    the list, and the registry of an older commit may have other rows.
    """
    return {name: type(name, (base,), {"__module__": module}) for name in names}


def case_of(name: str, size: str) -> Case:
    """Inputs of operation `name`; what comes before an affine layer is as wide as the layer."""
    shape, dtype = size.split()
    n, d = map(int, shape.split("x"))
    return build(name, Sizes(n, d, d), dtype)


def run_of(case: Case, backend: str) -> Run:
    """A run of one implementation on arguments of its own, which rules and running statistics change."""
    args = copy.deepcopy(case.args)
    for arg in args:
        if isinstance(arg, dict):
            # Seeding NumPy's stream takes longer than the mask of a small layer.
            arg.pop("seed", None)
    return repeated(OPS[case.name].twin(backend), *args)


def largest_error_in_ulp(case: Case, backend: str) -> float:
    """The largest deviation from the formula in a wider dtype, in units of the last place of its magnitude."""
    dtype = case.args[0].dtype
    wider = np.dtype({"float32": np.float64, "float64": np.longdouble}[dtype.name])
    args = _converted(case.args, dtype, wider)
    with np.errstate(all="ignore"):
        exact = case.results(OPS[case.name].twin("reference")(*args), args)
    worst = 0.0
    for got, expected, magnitude in zip(case.run(backend), exact, case.magnitudes, strict=True):
        unit = np.spacing(np.maximum(magnitude, np.finfo(dtype).tiny).astype(dtype))
        error = np.abs(np.asarray(got).astype(wider) - expected) / unit.astype(wider)
        worst = max(worst, float(np.max(error, initial=0)))
    return worst


def _converted(value: Any, dtype: np.dtype, wider: np.dtype) -> Any:
    """A copy of nested tuples and dictionaries whose arrays of `dtype` are arrays of `wider`."""
    if isinstance(value, tuple):
        return tuple(_converted(item, dtype, wider) for item in value)
    if isinstance(value, dict):
        return {key: _converted(item, dtype, wider) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.astype(wider) if value.dtype == dtype else value.copy()
    return value
