"""The machine's limit: the rate of sgemm and the bandwidth of a triad, a = b + s * c, as engines like the others."""

import itertools
import threading

import numpy as np

from fastfc.bench.engines import Engine, Run, repeated
from fastfc.bench.engines.pytorch import pytorch
from fastfc.bench.rounds import Worker
from fastfc.bench.task import Task

__all__ = ["LIMIT_ENGINES", "limit_seconds", "rates"]

# Rows, inner length, columns: long enough for full speed.
_PRODUCT = (2048, 1024, 1024)
_PRODUCT_FLOPS = 2 * 2048 * 1024 * 1024
# Beyond any cache.
_TRIAD_SIZE = 2**24
_TRIAD_BYTES = 12 * _TRIAD_SIZE

#: The better of two libraries' sgemm counts.
LIMIT_ENGINES = {
    "sgemm, NumPy": Engine("sgemm, NumPy", f"{__name__}:numpy_sgemm"),
    "sgemm, PyTorch": Engine("sgemm, PyTorch", f"{__name__}:torch_sgemm", "torch", ("torch",)),
    "triad": Engine("triad", f"{__name__}:triad", "numba", ("numba",)),
}


def rates(workers: list[Worker]) -> dict[int, dict[str, float]]:
    """Threads -> the best rates that the workers reached."""
    found: dict[int, dict[str, float]] = {}
    for worker in workers:
        name, amount = (
            ("bytes_per_second", _TRIAD_BYTES) if worker.job.name == "triad" else ("flops_per_second", _PRODUCT_FLOPS)
        )
        mine = found.setdefault(worker.job.threads, {})
        mine[name] = max(mine.get(name, 0.0), amount / min(worker.samples))
    return found


def limit_seconds(task: Task, rates: dict[int, dict[str, float]]) -> float | None:
    """The least time of a step, at the better thread count; None without both rates."""
    limits = [
        task.gemm_flops / rate["flops_per_second"] + task.optimizer_bytes / rate["bytes_per_second"]
        for rate in rates.values()
        if len(rate) == 2
    ]
    return min(limits, default=None)


def _operands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m, k, n = _PRODUCT
    return np.ones((m, k), np.float32), np.ones((k, n), np.float32), np.empty((m, n), np.float32)


def numpy_sgemm(threads: int) -> Run:
    a, b, c = _operands()
    return repeated(lambda: np.matmul(a, b, out=c))


def torch_sgemm(threads: int) -> Run:
    torch = pytorch(threads)
    a, b, c = map(torch.from_numpy, _operands())
    return repeated(lambda: torch.mm(a, b, out=c))


def triad(threads: int) -> Run:
    import numba

    a, b, c = (np.ones(_TRIAD_SIZE, np.float32) for _ in range(3))

    @numba.njit("void(f4[::1], f4[::1], f4[::1], f4)", nogil=True, fastmath=True)
    def part(a, b, c, s):
        for i in range(len(a)):
            a[i] = b[i] + s * c[i]

    edges = [round(_TRIAD_SIZE * i / threads) for i in range(threads + 1)]

    def once() -> None:
        workers = [
            threading.Thread(target=part, args=(a[lo:hi], b[lo:hi], c[lo:hi], np.float32(2)))
            for lo, hi in itertools.pairwise(edges)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return repeated(once)
