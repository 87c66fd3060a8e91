"""Somebody's own loss as a C function that compiled steps call by its address."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError
from numba.extending import intrinsic

#: Without the compiler, functions that stand for addresses.
PLAIN_LOSSES: dict[int, Callable] = {}


@intrinsic
def _call_loss(typingctx, address, scores, targets, dscores, rows, outputs):
    """A C function of three pointers and two integers, which returns a double."""

    def codegen(context, builder, sig, args):
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(64)
        arrays = [
            builder.bitcast(context.make_array(kind)(context, builder, array).data, pointer)
            for kind, array in zip(sig.args[1:4], args[1:4], strict=True)
        ]
        sizes = [context.cast(builder, args[i], sig.args[i], types.int64) for i in (4, 5)]
        kind = ir.FunctionType(ir.DoubleType(), [pointer] * 3 + [word] * 2)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [*arrays, *sizes])

    return types.float64(address, scores, targets, dscores, rows, outputs), codegen


def _plain_call_loss(address, scores, targets, dscores, rows, outputs):
    shape = rows, outputs
    targets = targets.reshape(shape) if targets.dtype.kind == "f" else targets
    return float(PLAIN_LOSSES[address](scores.reshape(shape), targets, dscores.reshape(shape)))


#: ``call_loss(address, scores, targets, dscores, rows, outputs)``: the loss of a batch, whose arrays are flat.
call_loss = _plain_call_loss if numba.config.DISABLE_JIT else _call_loss

_C_KIND = types.float64(types.voidptr, types.voidptr, types.voidptr, types.int64, types.int64)


class CompiledLoss:
    """A loss that steps can call for as long as this object lives.

    Attributes
    ----------
    address : int
    """

    def __init__(self, function: Callable[..., Any], dtype: np.dtype, labels: bool) -> None:
        real, of_targets = numba.from_dtype(dtype), types.int64 if labels else numba.from_dtype(dtype)
        matrix = types.Array(real, 2, "C")
        _require_number(function, (matrix, types.Array(of_targets, 1 if labels else 2, "C"), matrix), dtype, labels)

        def call(scores, targets, dscores, rows, outputs):
            x, dx = numba.carray(scores, (rows, outputs), real), numba.carray(dscores, (rows, outputs), real)
            if labels:
                t = numba.carray(targets, (rows,), of_targets)
            else:
                t = numba.carray(targets, (rows, outputs), of_targets)
            # An error must not pass through a step; it is raised again outside of it.
            try:
                return np.float64(function(x, t, dx))
            except Exception:  # noqa: BLE001 - whatever it raises
                return np.nan

        # Kept: its machine code lives as long.
        self._function = numba.cfunc(_C_KIND)(call)
        self.address = self._function.address


class PlainLoss:
    """A :class:`CompiledLoss` without the compiler."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.address = id(function)
        PLAIN_LOSSES[self.address] = function


def require_compiled(name: str, function: Any) -> None:
    """TypeError, which names the argument, unless Numba has compiled a function of three arguments."""
    expected = f"{name}: expected a function (scores, targets, dscores) that numba.njit has compiled"
    if not isinstance(function, Dispatcher) and not (numba.config.DISABLE_JIT and callable(function)):
        raise TypeError(f"{expected}, got {function!r:.80}")
    try:
        inspect.signature(getattr(function, "py_func", function)).bind(None, None, None)
    except TypeError as error:
        raise TypeError(f"{expected}, got one of other arguments ({error})") from error


@functools.lru_cache(maxsize=64)
def compiled_loss(function: Callable[..., Any], dtype: np.dtype, labels: bool) -> CompiledLoss | PlainLoss:
    """A function for networks of a dtype, on labels or on targets; TypeError if it cannot be compiled for them."""
    require_compiled("loss", function)
    return PlainLoss(function) if numba.config.DISABLE_JIT else CompiledLoss(function, dtype, labels)


def _require_number(function: Any, kinds: tuple[types.Type, ...], dtype: np.dtype, labels: bool) -> None:
    """TypeError unless the function compiles for arrays of these types, and returns a real number."""
    targets = "targets int64 (n,)" if labels else f"targets {dtype} (n, K)"
    arguments = f"scores {dtype} (n, K), {targets} and dscores {dtype} (n, K)"
    try:
        function.compile(kinds)
    except (NumbaError, RuntimeError, TypeError) as error:
        raise TypeError(f"loss: expected a function that compiles for {arguments}; Numba says: {error}") from error
    result = function.overloads[kinds].signature.return_type
    if not isinstance(result, (types.Float, types.Integer)):
        raise TypeError(f"loss: expected a function of {arguments} that returns the loss, a number; got {result}")
