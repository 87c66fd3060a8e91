"""Examples as they lie in memory, gathered and cast row by row inside compiled code."""

import ctypes

import numpy as np
from numba.extending import intrinsic, overload

from fastfc.kernels._jit import inline

#: The dtypes that examples may have; a plan names one by its place.
KINDS = tuple(np.dtype(name) for name in ("float32", "float64", "uint8", "int8", "int16", "uint16", "int32", "int64"))


def value_at(address, index, dtype):
    """The value of `dtype` that lies `index` places behind an address."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address + index * size), dtype)[0]


@overload(value_at)
def _value_at_compiled(address, index, dtype):
    return lambda address, index, dtype: _load(address, index, dtype)


@intrinsic
def _load(typingctx, address, index, dtype):
    def codegen(context, builder, sig, args):
        value = context.get_data_type(sig.return_type)
        pointer = builder.inttoptr(args[0], value.as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return dtype.dtype(address, index, dtype), codegen


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
        for j in range(out.size):
            out[j] = value_at(address, j, dtype)
    else:
        for j in range(out.size):
            out[j] = value_at(address + offsets[j], 0, dtype)
