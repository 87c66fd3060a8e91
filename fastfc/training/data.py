"""Examples as they lie in memory, gathered and cast row by row inside compiled code."""

import ctypes

import numpy as np
from numba import carray
from numba.core import types
from numba.extending import intrinsic, overload

from fastfc.kernels._jit import inline

#: The dtypes that examples may have; a plan names one by its place.
KINDS = tuple(np.dtype(name) for name in ("float32", "float64", "uint8", "int8", "int16", "uint16", "int32", "int64"))


def memory(address, count, dtype):
    """The array (count,) of `dtype` that starts at an address."""
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)


@overload(memory)
def _memory_compiled(address, count, dtype):
    return lambda address, count, dtype: carray(_pointer(address), (count,), dtype)


@intrinsic
def _pointer(typingctx, address):
    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), codegen


@inline
def gather_row(out, address, offsets, kind):
    """Overwrites out (D,) with the example at an address; offsets (D,) in bytes, or (0,) if its values are adjacent."""
    if kind == 0:
        _gather(out, address, offsets, np.float32)
    elif kind == 1:
        _gather(out, address, offsets, np.float64)
    elif kind == 2:
        _gather(out, address, offsets, np.uint8)
    elif kind == 3:
        _gather(out, address, offsets, np.int8)
    elif kind == 4:
        _gather(out, address, offsets, np.int16)
    elif kind == 5:
        _gather(out, address, offsets, np.uint16)
    elif kind == 6:
        _gather(out, address, offsets, np.int32)
    else:
        _gather(out, address, offsets, np.int64)


@inline
def _gather(out, address, offsets, dtype):
    if offsets.size == 0:
        row = memory(address, out.size, dtype)
        for j in range(out.size):
            out[j] = row[j]
    else:
        for j in range(out.size):
            out[j] = memory(address + offsets[j], 1, dtype)[0]
