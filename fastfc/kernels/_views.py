"""Views of flat arrays for compiled code that makes many of them.

Numba's own slices test and clip their bounds and count references to the memory with atomic
instructions, half the time of a small network's training step. These are an address and a
size. The caller keeps the memory alive, and vouches for the bounds; with
``NUMBA_BOUNDSCHECK=1`` they are tested.
"""

import numba
from numba.core import cgutils, types
from numba.core.types.containers import BaseTuple
from numba.extending import intrinsic

from fastfc.kernels._jit import inline


@intrinsic
def _borrowed(typingctx, value):
    def strip(context, builder, kind, item):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, item)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            return array._getvalue()
        if isinstance(kind, BaseTuple):
            for index, part in enumerate(kind.types):
                stripped = strip(context, builder, part, builder.extract_value(item, index))
                item = builder.insert_value(item, stripped, index)
        return item

    def codegen(context, builder, sig, args):
        return strip(context, builder, sig.args[0], args[0])

    return value(value), codegen


@intrinsic
def _vector(typingctx, array, start, size):
    def codegen(context, builder, sig, args):
        return _view(context, builder, sig, args[:2], sig.args[2:], args[2:])

    return types.Array(array.dtype, 1, "C")(array, start, size), codegen


@intrinsic
def _matrix(typingctx, array, start, rows, columns):
    def codegen(context, builder, sig, args):
        return _view(context, builder, sig, args[:2], sig.args[2:], args[2:])

    return types.Array(array.dtype, 2, "C")(array, start, rows, columns), codegen


def _view(context, builder, sig, source, kinds, sizes):
    """Build the array: no owner, so nothing is counted."""
    start = context.cast(builder, source[1], sig.args[1], types.intp)
    shape = [context.cast(builder, size, kind, types.intp) for size, kind in zip(sizes, kinds, strict=True)]
    data = builder.gep(context.make_array(sig.args[0])(context, builder, source[0]).data, [start])
    view = context.make_array(sig.return_type)(context, builder)
    itemsize = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(sig.return_type.dtype)))
    strides = [itemsize]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    items = shape[0]
    for size in shape[1:]:
        items = builder.mul(items, size)
    view.data, view.itemsize, view.nitems = data, itemsize, items
    view.shape, view.strides = cgutils.pack_array(builder, shape), cgutils.pack_array(builder, strides)
    view.meminfo = cgutils.get_null_value(view.meminfo.type)
    view.parent = cgutils.get_null_value(view.parent.type)
    return view._getvalue()


def _plain_borrowed(value):
    """The same array, or tuple with arrays, without an owner; for what an entry point was handed."""
    return value


def _plain_vector(array, start, size):
    """The `size` values of a flat array from `start` on."""
    if start < 0 or size < 0 or start + size > array.size:
        raise IndexError("view is out of the array's bounds")
    return array[start : start + size]


def _plain_matrix(array, start, rows, columns):
    """The ``rows * columns`` values of a flat array from `start` on, as a matrix."""
    if start < 0 or rows < 0 or columns < 0 or start + rows * columns > array.size:
        raise IndexError("view is out of the array's bounds")
    return array[start : start + rows * columns].reshape((rows, columns))


# The intrinsics themselves, without a Python function that stands for them: there are hundreds
# of views in a training step, and each would be compiled as a call.
if numba.config.DISABLE_JIT:
    borrowed, vector, matrix = _plain_borrowed, _plain_vector, _plain_matrix
elif numba.config.BOUNDSCHECK:
    borrowed, vector, matrix = _borrowed, inline(_plain_vector), inline(_plain_matrix)
else:
    borrowed, vector, matrix = _borrowed, _vector, _matrix
