"""The ways in which the batches of an epoch are drawn, for those who need no NumPy."""

__all__ = ["SAMPLERS"]

#: Of all examples each time, with replacement; of an epoch's permutation; in their order.
SAMPLERS = ("replacement", "permutation", "order")
