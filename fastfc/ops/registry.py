"""The registry of operations, and the choice between their two implementations.

Every operation stands once in ``OPS`` and twice in the package: in plain NumPy under
``fastfc/reference/`` and compiled under ``fastfc/kernels/``, in modules and functions of
the same names. The backend ``"fast"`` (the default) runs the kernels, ``"reference"``
runs NumPy.
"""

import functools
import importlib
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from fastfc.ops.activations import ACTIVATIONS
from fastfc.ops.blocks import BLOCKS, block_name
from fastfc.ops.losses import LOSSES
from fastfc.ops.norms import NORMS
from fastfc.ops.rules import RULES

__all__ = ["BACKENDS", "OPS", "Operation", "get_backend", "implementation", "use_backend"]

#: Backend name -> the package with its twins.
BACKENDS = {"reference": "fastfc.reference", "fast": "fastfc.kernels"}


class Operation(NamedTuple):
    """A row of the registry: an operation's function in both packages.

    Parameters
    ----------
    name : str
        Of the function.
    module : str
        That has it, in both packages.

    Examples
    --------
    >>> OPS["relu_forward"].public_module
    'layers'
    """

    name: str
    module: str

    @property
    def public_module(self) -> str:
        """The module of the package that has the function for users."""
        if self.module in ("layer_utils", "optim"):
            return self.module
        if self.name in _NOT_THE_COURSES:
            return {"activation": "activations", "loss": "losses"}[self.module]
        return "layers"

    def twin(self, backend: str) -> Callable:
        """The operation's function in a backend.

        Parameters
        ----------
        backend : {"fast", "reference"}

        Returns
        -------
        function
        """
        return getattr(importlib.import_module(f"{BACKENDS[backend]}.{self.module}"), self.name)


_NAMES_BY_MODULE = {
    "affine": ["affine_forward", "affine_backward"],
    "activation": [name for activation in ACTIVATIONS.values() for name in activation.operations],
    "norm": [name for norm in NORMS.values() for name in norm.operations],
    "dropout": ["dropout_forward", "dropout_backward"],
    "loss": [*(name for loss in LOSSES.values() for name in loss.operations), "l2_penalty"],
    "layer_utils": [block_name(*block, direction) for block in BLOCKS for direction in ("forward", "backward")],
    "optim": list(RULES),
}

# Activations and losses that the course does not have: its own are in `fastfc.layers`.
_NOT_THE_COURSES = {
    name
    for records, own in ((ACTIVATIONS, ("relu",)), (LOSSES, ("softmax", "svm")))
    for record in records.values()
    if record.name not in own
    for name in record.operations
}

#: Name -> operation.
OPS = {name: Operation(name, module) for module, names in _NAMES_BY_MODULE.items() for name in names}


def _checked(backend: object, source: str) -> str:
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(f"{source}: expected one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")
    return backend


class _ThreadState(threading.local):
    def __init__(self) -> None:
        self.backend = _checked(os.environ.get("FASTFC_BACKEND") or "fast", "environment variable FASTFC_BACKEND")


_state = _ThreadState()
_twins: dict[tuple[str, str], Callable] = {}


def get_backend() -> str:
    """The backend of the calling thread.

    Returns
    -------
    str
        ``"fast"`` or ``"reference"``.

    Raises
    ------
    ValueError
        If the environment variable FASTFC_BACKEND, which sets the default, names no backend.

    Examples
    --------
    >>> import fastfc
    >>> with fastfc.use_backend("reference"):
    ...     fastfc.get_backend()
    'reference'
    """
    return _state.backend


class use_backend:
    """Choose the implementation of all operations for the calling thread.

    As a call the choice stays; as a context manager it ends with the block. Other threads
    keep theirs. The default is ``"fast"``, or what the environment variable FASTFC_BACKEND
    says.

    Parameters
    ----------
    backend : {"fast", "reference"}
        The compiled kernels, or plain NumPy.

    Raises
    ------
    ValueError
        If `backend` is neither; the choice is then unchanged.

    Examples
    --------
    >>> import fastfc
    >>> with fastfc.use_backend("reference"):
    ...     fastfc.get_backend()
    'reference'
    """

    def __init__(self, backend: str) -> None:
        chosen = _checked(backend, "backend")
        self._previous = _state.backend
        _state.backend = chosen

    def __enter__(self) -> "use_backend":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _state.backend = self._previous


def implementation(name: str) -> Callable:
    """The function that carries out an operation in the calling thread.

    Parameters
    ----------
    name : str
        A key of ``OPS``.

    Returns
    -------
    function

    Examples
    --------
    >>> with use_backend("reference"):
    ...     implementation("relu_forward").__module__
    'fastfc.reference.activation'
    """
    key = (_state.backend, name)
    twin = _twins.get(key)
    if twin is None:
        twin = OPS[name].twin(_state.backend)
        if name.endswith("_forward") and _state.backend == "fast":
            twin = _with_backward_at_hand(twin, OPS[f"{name.removesuffix('forward')}backward"].twin("fast"))
        _twins[key] = twin
    return twin


# Bytes of arguments. More would take noticeable time and memory for a result that nobody reads.
_LARGEST_TRIAL = 1 << 24


def _with_backward_at_hand(forward: Callable, backward: Callable) -> Callable:
    """A forward kernel whose first call, by dtype, runs the backward kernel once as well.

    So the backward pass is compiled, or loaded from the disk, by the time it is called: the
    course's notebooks take the time of single calls.
    """
    if importlib.import_module("numba").config.DISABLE_JIT:
        return forward
    ready = set()

    @functools.wraps(forward)
    def run(x, *args):
        out, cache = forward(x, *args)
        if x.dtype not in ready:
            size = sum(getattr(arg, "nbytes", 0) for arg in (x, *args))
            if x.size > 0 and size <= _LARGEST_TRIAL:
                backward(out, cache)
                ready.add(x.dtype)
        return out, cache

    return run
