"""Sweeps: many trainings side by side, over a grid, a list or a sampler of options and seeds.

:func:`fastfc.sweep` is the function; see :doc:`/sweeps`.
"""

from fastfc.sweeps._driver import sweep
from fastfc.sweeps._result import SweepInterrupted, SweepResult, Trial

__all__ = ["SweepInterrupted", "SweepResult", "Trial", "sweep"]
