"""Views of flat arrays for compiled code that makes many of them.

Numba's own slices test and clip their bounds and count references to the memory with atomic
instructions, half the time of a small network's training step. These are an address and a
size. The caller keeps the memory alive, and vouches for the bounds; with
``NUMBA_BOUNDSCHECK=1`` they are tested.
"""

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_getattr_generic
from numba.core.types.misc import CPointer
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model

from fastfc._runtime.record import Record, dtype_of, is_array, is_table, kind_of_rows
from fastfc.kernels.compiler.jit import inline

_NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean}


class _Reference(types.Type):
    """A record of a dtype, known to compiled code by its address."""

    def __init__(self, kind, dtype):
        self.kind = kind
        self.dtype = numba.from_dtype(dtype)
        self.fields = {name: self._type_of(field, dtype) for name, field in kind.fields.items()}
        super().__init__(f"{kind.__name__}({self.dtype})")

    @staticmethod
    def _type_of(field, dtype):
        if is_array(field):
            return types.Array(numba.from_dtype(dtype_of(field, dtype)), 1, "C")
        if is_table(field):
            return _Reference(kind_of_rows(field), dtype)
        return _Reference(field, dtype) if issubclass(field, Record) else _NUMBERS[field]

    @property
    def key(self):
        return self.kind, self.dtype


def pointer_to(dtype):
    """The type by which kernels know where an array of a dtype begins; see :func:`array_at`."""
    return CPointer(numba.from_dtype(np.dtype(dtype)))


def reference_to(kind, dtype):
    """The type by which kernels know a record of a class and a dtype."""
    return _Reference(kind, dtype)


@register_model(_Reference)
class _ReferenceModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        words = []
        for field in kind.fields.values():
            if isinstance(field, types.Array):
                words += [manager[field.dtype].get_data_type().as_pointer(), ir.IntType(64)]
            elif isinstance(field, _Reference):
                words.append(manager[field].get_value_type())
            else:
                words.append(ir.DoubleType() if field is types.float64 else ir.IntType(64))
        super().__init__(manager, kind, ir.LiteralStructType(words).as_pointer())


@infer_getattr
class _ReferenceAttributes(AttributeTemplate):
    key = _Reference

    def generic_resolve(self, reference, name):
        """The type of an attribute; None if the record has none of that name."""
        return reference.fields.get(name)


@lower_getattr_generic(_Reference)
def _attribute(context, builder, reference, pointer, name):
    place, kind = reference.kind.places[name], reference.fields[name]

    def word(number):
        value = builder.load(cgutils.gep_inbounds(builder, pointer, 0, number))
        # Only Python writes to records, between two calls: no store of a kernel makes LLVM read a word again.
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value

    if isinstance(kind, types.Array):
        return _flat_array(context, builder, kind, word(place), [word(place + 1)])
    if kind is types.boolean:
        return builder.trunc(word(place), context.get_value_type(kind))
    return word(place)


@intrinsic
def _borrowed(typingctx, record):
    def codegen(context, builder, sig, args):
        return cgutils.alloca_once_value(builder, builder.load(args[0]))

    return record(record), codegen


@intrinsic
def _nth(typingctx, first, index):
    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [context.cast(builder, args[1], sig.args[1], types.intp)])

    return first(first, index), codegen


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


@intrinsic
def _flat(typingctx, array):
    def codegen(context, builder, sig, args):
        whole = context.make_array(sig.args[0])(context, builder, args[0])
        return _flat_array(context, builder, sig.return_type, whole.data, [whole.nitems])

    return types.Array(array.dtype, 1, "C")(array), codegen


@intrinsic
def _array_at(typingctx, pointer, size):
    def codegen(context, builder, sig, args):
        size = context.cast(builder, args[1], sig.args[1], types.intp)
        return _flat_array(context, builder, sig.return_type, args[0], [size])

    return types.Array(pointer.dtype, 1, "C")(pointer, size), codegen


@intrinsic
def array_from(typingctx, address, size, dtype):
    """The `size` values of a dtype from an address on, which is a number."""

    def codegen(context, builder, sig, args):
        data = builder.inttoptr(args[0], context.get_data_type(sig.return_type.dtype).as_pointer())
        size = context.cast(builder, args[1], sig.args[1], types.intp)
        return _flat_array(context, builder, sig.return_type, data, [size])

    return types.Array(dtype.dtype, 1, "C")(address, size, dtype), codegen


def _view(context, builder, sig, source, kinds, sizes):
    """Build the array that is a part of another one."""
    start = context.cast(builder, source[1], sig.args[1], types.intp)
    shape = [context.cast(builder, size, kind, types.intp) for size, kind in zip(sizes, kinds, strict=True)]
    data = builder.gep(context.make_array(sig.args[0])(context, builder, source[0]).data, [start])
    return _flat_array(context, builder, sig.return_type, data, shape)


def _flat_array(context, builder, kind, data, shape):
    """Build a contiguous array: no owner, so nothing is counted."""
    array = context.make_array(kind)(context, builder)
    itemsize = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    items = shape[0]
    for size in shape[1:]:
        items = builder.mul(items, size)
    array.data, array.itemsize, array.nitems = data, itemsize, items
    array.shape, array.strides = cgutils.pack_array(builder, shape), cgutils.pack_array(builder, strides)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()


def _plain_borrowed(record):
    """A copy of a record that nobody else can write to: what is in it stays in registers."""
    return record


def _plain_nth(table, index):
    """The record of a number, of a table."""
    return table[index]


def _plain_vector(array, start, size):
    """The `size` values of a flat array from `start` on."""
    if start < 0 or size < 0 or start + size > array.size:
        raise IndexError("view is out of the array's bounds")
    return array[start : start + size]


def _plain_array_at(array, size):
    """The `size` values from where an array begins, which another kernel has handed over."""
    return array[:size]


def _plain_flat(array):
    """All values of a contiguous array; its ``reshape`` counts references."""
    return array.reshape(-1)


def _plain_matrix(array, start, rows, columns):
    """The ``rows * columns`` values of a flat array from `start` on, as a matrix."""
    if start < 0 or rows < 0 or columns < 0 or start + rows * columns > array.size:
        raise IndexError("view is out of the array's bounds")
    return array[start : start + rows * columns].reshape((rows, columns))


# The intrinsics themselves, without a Python function that stands for them: there are hundreds
# of views in a training step, and each would be compiled as a call.
if numba.config.DISABLE_JIT:
    borrowed, flat, nth, vector, matrix = _plain_borrowed, _plain_flat, _plain_nth, _plain_vector, _plain_matrix
    array_at = _plain_array_at
elif numba.config.BOUNDSCHECK:
    borrowed, flat, nth, vector, matrix = _borrowed, _flat, _nth, inline(_plain_vector), inline(_plain_matrix)
    array_at = _array_at
else:
    borrowed, flat, nth, vector, matrix = _borrowed, _flat, _nth, _vector, _matrix
    array_at = _array_at
