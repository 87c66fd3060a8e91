"""Examples as they lie in memory, gathered and cast row by row inside compiled code."""

import ctypes

import numba
import numpy as np
from numba.extending import intrinsic

from fastfc.kernels.compiler.jit import inline


def _plain_value_at(address, index, dtype):
    """The value of `dtype` that lies `index` places behind an address."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address) + int(index) * size), dtype)[0]


@intrinsic
def _value_at(typingctx, address, index, dtype):
    def codegen(context, builder, sig, args):
        value = context.get_data_type(sig.return_type)
        pointer = builder.inttoptr(args[0], value.as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return dtype.dtype(address, index, dtype), codegen


value_at = _plain_value_at if numba.config.DISABLE_JIT else _value_at


@inline
def gather_row(out, address, offsets, kind, first):
    """Overwrites out (n,) with the values from `first` on of the example at an address.

    offsets (D,) in bytes, or (0,) if the values are adjacent.
    """
    if kind == 0:
        _gather(out, address, offsets, first, np.float32)
    elif kind == 1:
        _gather(out, address, offsets, first, np.float64)
    elif kind == 2:
        _gather(out, address, offsets, first, np.uint8)
    else:
        # A bool may hold any byte; NumPy takes all but 0 for true.
        _gather(out, address, offsets, first, np.uint8)
        for j in range(out.size):
            out[j] = out[j] != 0


@inline
def _gather(out, address, offsets, first, dtype):
    if offsets.size == 0:
        for j in range(out.size):
            out[j] = value_at(address, first + j, dtype)
    else:
        for j in range(out.size):
            out[j] = value_at(address + offsets[first + j], 0, dtype)


@inline
def standardize(x, mean, scale):
    """Overwrites x (D,) with (x - mean) * scale."""
    for j in range(x.size):
        x[j] = (x[j] - mean[j]) * scale[j]
