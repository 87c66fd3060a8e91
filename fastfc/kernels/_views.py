"""Views of flat arrays for compiled code that makes many of them.

Numba's own slices test and clip their bounds and count references to the memory with atomic
instructions, half the time of a small network's training step. These are an address and a
size. The caller keeps the memory alive, and vouches for the bounds; with
``NUMBA_BOUNDSCHECK=1`` they are tested.
"""

import zlib

import numba
from numba.core import cgutils, types
from numba.core.imputils import lower_getattr_generic
from numba.core.types.containers import BaseNamedTuple, Tuple
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model

from fastfc.kernels._jit import inline


class _Reference(types.Type):
    """A named tuple on the stack of the kernel that borrowed it, known by its address.

    Kernels hand a plan on hundreds of times. By value these are dozens of numbers at each call, a tenth
    of the time to compile; an address is gone once all is put in place.
    """

    def __init__(self, kind):
        self.kind = kind
        # The name of a type goes into the name of every function that takes it: a tuple's is a page long.
        super().__init__(f"Reference({zlib.crc32(str(kind).encode()):x})")

    @property
    def key(self):
        return self.kind


def reference_to(values):
    """The type by which kernels hand on a named tuple like this one."""
    return _Reference(numba.typeof(values))


@register_model(_Reference)
class _ReferenceModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, manager[kind.kind].get_value_type().as_pointer())


@infer_getattr
class _ReferenceAttributes(AttributeTemplate):
    key = _Reference

    def generic_resolve(self, reference, name):
        """The type of a field; None if the tuple has none of that name."""
        kind = reference.kind
        return kind.types[kind.fields.index(name)] if name in kind.fields else None


@lower_getattr_generic(_Reference)
def _field(context, builder, reference, pointer, name):
    index = reference.kind.fields.index(name)
    item = builder.load(cgutils.gep_inbounds(builder, pointer, 0, index))
    return _without_owner(context, builder, reference.kind.types[index], item)


def _without_owner(context, builder, kind, item):
    """The same array without an owner; anything else as it is."""
    if not isinstance(kind, types.Array):
        return item
    array = context.make_array(kind)(context, builder, item)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()


@intrinsic
def _borrowed(typingctx, values):
    kinds = [_Reference(kind) if isinstance(kind, BaseNamedTuple) else kind for kind in values.types]

    def codegen(context, builder, sig, args):
        items = []
        for index, kind in enumerate(sig.args[0].types):
            item = builder.extract_value(args[0], index)
            if isinstance(kind, _Reference):
                # A copy that nobody else can write to: its fields stay in registers.
                item = builder.load(item)
            if isinstance(kind, (_Reference, BaseNamedTuple)):
                items.append(cgutils.alloca_once_value(builder, item))
            else:
                items.append(_without_owner(context, builder, kind, item))
        return context.make_tuple(builder, sig.return_type, items)

    return Tuple(kinds)(values), codegen


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


def _plain_borrowed(values):
    """What a kernel was handed, as a tuple: arrays without an owner, named tuples by reference."""
    return values


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
