"""Arrays without reference counts, for compiled code that makes many views of them."""

from numba.core import cgutils, types
from numba.core.types.containers import BaseTuple
from numba.extending import intrinsic, overload


def borrowed(value):
    """The same array, or named tuple with arrays, whose memory the caller keeps alive.

    Numba counts references to the memory of every slice and row, with atomic instructions:
    half the time of a small network's training step. What has no owner is not counted.
    """
    return value


@overload(borrowed)
def _borrowed_compiled(value):
    return lambda value: _without_owner(value)


@intrinsic
def _without_owner(typingctx, value):
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
