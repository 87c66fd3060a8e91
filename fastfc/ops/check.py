"""Hold every kernel against its reference twin on the machine at hand: ``fastfc check``."""

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import TextIO

import numpy as np

from fastfc.ops.cases import Case, Sizes, build, largest_error
from fastfc.ops.registry import OPS

__all__ = ["run"]

# Around the width of a vector, primes, and one row.
_SIZES = [Sizes(1, 1), Sizes(2, 7), Sizes(31, 33), Sizes(53, 64), Sizes(100, 257, 61)]
_TIMED = Sizes(256, 512, 256)
_REPEATS = 9


def run(dtypes: Sequence[str] | None, stream: TextIO) -> int:
    """Print, per operation and dtype, the largest error and the speed ratio.

    The error is the largest deviation of the kernel from the reference as a share of the
    tolerance; 1 is the limit. The speed ratio is the reference's median time over the
    kernel's, at a batch of 256 rows and 512 columns, each on one thread.

    Parameters
    ----------
    dtypes : sequence of str or None
        ``"float32"``, ``"float64"``; None for both.
    stream : text file
        Where to print.

    Returns
    -------
    int
        0 if every operation is within tolerance, else 1.

    Examples
    --------
    >>> import sys
    >>> run(["float32"], sys.stdout)  # doctest: +SKIP
    0
    """
    failures = []
    print(f"{'operation':<42} {'dtype':<8} {'error/limit':>11} {'speed':>7}", file=stream)
    for name in OPS:
        for dtype in dtypes or ("float32", "float64"):
            error = max(_error(build(name, sizes, dtype)) for sizes in _SIZES)
            verdict = "" if error <= 1 else "  out of tolerance"
            ratio = _speed(build(name, _TIMED, dtype))
            print(f"{name:<42} {dtype:<8} {error:>11.3f} {ratio:>6.1f}x{verdict}", file=stream, flush=True)
            if verdict:
                failures.append(f"{name} {dtype}")
    if failures:
        print(f"{len(failures)} out of tolerance: {', '.join(failures)}", file=stream)
        return 1
    print("all within tolerance", file=stream)
    return 0


def _error(case: Case) -> float:
    return largest_error(case.run("fast"), case.run("reference"), case)


def _speed(case: Case) -> float:
    """Median time of the reference over that of the kernel, taken in turns."""
    from threadpoolctl import threadpool_limits

    times: dict[str, list[float]] = {"reference": [], "fast": []}
    twins = {backend: OPS[case.name].twin(backend) for backend in times}
    # NumPy and SciPy each bring a BLAS, and two pools of threads on one machine disturb each other.
    with threadpool_limits(1), np.errstate(all="ignore"):
        for twin in twins.values():
            twin(*case.args)
        for _ in range(_REPEATS):
            for backend, twin in twins.items():
                start = perf_counter()
                twin(*case.args)
                times[backend].append(perf_counter() - start)
    return median(times["reference"]) / median(times["fast"])
