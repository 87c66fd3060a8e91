"""The names of the schedules, for those who need no NumPy; :mod:`fastfc.schedules` has what they stand for."""

__all__ = ["NAMES"]

NAMES = ("constant", "step", "exponential", "inverse_scaling", "cosine", "one_cycle", "warm_up")
