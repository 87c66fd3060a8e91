"""Kernels that other kernels call by address, each compiled by itself.

As a part of its caller such a kernel would be optimized with each of them, and none could be
compiled before, or beside, the other. Its address stands in a cell of memory, and LLVM is told
where the cell is, under a name of ours: a caller is compiled, loaded and kept on disk without
the kernel, which must be there only when the caller runs.
"""

import ctypes
import zlib

import numba
from llvmlite import binding, ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels import _second_process
from fastfc.kernels._jit import kept_at, linked_kernel


class Linked:
    """A kernel with a result of a type, compiled for each kind of arguments that it is linked for.

    Before code that calls it is loaded, its cell must be announced; before that code runs, linked.
    Without the compiler there is nothing to announce or to link, and its caller is the function itself.
    """

    def __init__(self, function, result):
        self.function = function
        self._kernel = None if numba.config.DISABLE_JIT else linked_kernel(function)
        self._result = result
        self._cells = {}

    def announce(self, *kinds):
        """Make known where the address of the kernel for arguments of these types will stand."""
        if self._kernel is not None:
            # Of two threads that come here at once, both take the same cell.
            cell = self._cells.setdefault(kinds, ctypes.c_void_p())
            binding.add_symbol(self._symbol(kinds), ctypes.addressof(cell))

    def link(self, *kinds):
        """Compile the kernel for arguments of these types, or load it, and enter its address.

        It is waited for if the second process compiles it.
        """
        self.announce(*kinds)
        if self._kernel is not None and self._cells[kinds].value is None:
            _second_process.wait_for(self.path(*kinds))
            self._kernel.compile(kinds)
            compiled = self._kernel.overloads[kinds]
            if compiled.signature.return_type != self._result:
                raise TypeError(
                    f"{self.function.__name__} returns {compiled.signature.return_type}, not {self._result}"
                )
            address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
            self._cells[kinds].value = address

    def path(self, *kinds):
        """Where the kernel for arguments of these types is kept on disk; None for nowhere."""
        return None if self._kernel is None else kept_at(self._kernel, kinds)

    def call(self, context, builder, kinds, values):
        """LLVM's representation of a call, for the lowering of an intrinsic; returns the result."""
        function = self._through_cell(context, builder.module, kinds)
        status, result = context.call_conv.call_function(builder, function, self._result, kinds, values)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    def caller(self):
        """A function for compiled code that calls the kernel: with a tuple, for arguments of the types in it."""
        if self._kernel is None:
            return lambda values: self.function(*values)

        @intrinsic
        def call(typingctx, values):
            def codegen(context, builder, sig, args):
                kinds = tuple(values)
                return self.call(context, builder, kinds, cgutils.unpack_tuple(builder, args[0], len(kinds)))

            return self._result(values), codegen

        return call

    def _symbol(self, kinds):
        function = self.function
        full = f"{function.__module__}.{function.__qualname__}{kinds}"
        return f"fastfc_{function.__name__}_{zlib.crc32(full.encode()):x}"

    def _through_cell(self, context, module, kinds):
        """A function of the module that is the kernel: it calls what the cell says."""
        kind = context.call_conv.get_function_type(self._result, kinds)
        name = f"{self._symbol(kinds)}_call"
        if name in module.globals:
            return module.globals[name]
        cell = ir.GlobalVariable(module, kind.as_pointer(), self._symbol(kinds))
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("alwaysinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        builder.ret(builder.call(builder.load(cell), function.args))
        return function


def linked(result):
    """Make a Python function a :class:`Linked` kernel with a result of a type."""
    return lambda function: Linked(function, result)
