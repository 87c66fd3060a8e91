"""Data parallel: one training over several processes, on one machine or on many, by MPI."""

from fastfc.parallel._agreement import ProcessError
from fastfc.parallel._solver import ParallelSolver

__all__ = ["ParallelSolver", "ProcessError"]
