"""Sweeps: many trainings side by side, over a grid, a list or a sampler of options and seeds.

:func:`fastfc.sweep` and :func:`fastfc.cross_validate` are the functions; see :doc:`/sweeps`.
"""

from fastfc.sweeps._cross_validation import CrossValidation, cross_validate
from fastfc.sweeps._driver import sweep
from fastfc.sweeps._result import SweepInterrupted, SweepResult, Trial

__all__ = ["CrossValidation", "SweepInterrupted", "SweepResult", "Trial", "cross_validate", "sweep"]
