"""The choice between the two implementations of every operation, under its public name.

``fastfc.ops.registry`` has the registry itself.
"""

from fastfc.ops.registry import BACKENDS, OPS, Operation, get_backend, implementation, use_backend

__all__ = ["BACKENDS", "OPS", "Operation", "get_backend", "implementation", "use_backend"]
