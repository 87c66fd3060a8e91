"""How many threads a compiled run may use."""

import functools
import os
from pathlib import Path

__all__ = ["available_cpus", "get_num_threads", "set_num_threads"]

_chosen: int | None = None


def set_num_threads(n: int | None) -> None:
    """Set the number of threads of training runs that start from now on, in every thread of the process.

    Parameters
    ----------
    n : int or None
        At least 1; None for the default: what the environment variable FASTFC_NUM_THREADS
        says, else as many as pay for the network at hand, at most one per processor that
        the process may use.

    Raises
    ------
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> import fastfc
    >>> fastfc.set_num_threads(1)
    >>> fastfc.get_num_threads()
    1
    >>> fastfc.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n is None else checked_count("n", n)


def get_num_threads() -> int | None:
    """The number of threads that :func:`set_num_threads` or FASTFC_NUM_THREADS chose.

    Returns
    -------
    int or None
        None if neither did: then it follows the processors that the process may use.

    Raises
    ------
    ValueError
        If FASTFC_NUM_THREADS is not a positive integer.

    Examples
    --------
    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    >>> set_num_threads(None)
    """
    if _chosen is not None:
        return _chosen
    text = os.environ.get("FASTFC_NUM_THREADS")
    if not text:
        return None
    if not text.strip().isdecimal():
        raise ValueError(f"environment variable FASTFC_NUM_THREADS: expected a positive integer, got {text!r}")
    return checked_count("environment variable FASTFC_NUM_THREADS", int(text))


def checked_count(name: str, n: object) -> int:
    """`n` if it is a number of threads; ValueError that names it otherwise."""
    if isinstance(n, bool) or not hasattr(n, "__index__") or n.__index__() < 1:
        raise ValueError(f"{name}: expected a positive integer, got {n!r}")
    return n.__index__()


def available_cpus() -> int:
    """Processors that this process may use, by its affinity and its container's quota; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _container_quota()
    return max(1, count if quota is None else min(count, int(quota)))


@functools.cache
def _container_quota() -> float | None:
    """Processors that the control group allows as the process first asks, None without a limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            limit = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not limit.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(limit) / int(period)
