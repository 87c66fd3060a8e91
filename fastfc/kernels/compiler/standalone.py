"""Kernels that are called by address, from Python or from other kernels, each compiled by itself.

As a part of its caller a kernel would be optimized with each of them, and none could be compiled
before, or beside, the other. And what is only machine code, without anything of Python's, later
processes load without Numba; see ``fastfc/_runtime/machine_code.py``.
"""

import re

import numba
from llvmlite import ir
from llvmlite.binding import Linkage
from numba.core import cgutils, types
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.core.types.misc import CPointer
from numba.extending import intrinsic

from fastfc._runtime import machine_code
from fastfc._runtime.machine_code import Code, symbol_of
from fastfc.kernels.compiler.jit import STANDALONE_OPTIONS, silent

# The return codes that `machine_code.function_at` takes for success.
if (RETCODE_OK.constant, RETCODE_NONE.constant) != machine_code.SUCCESS:
    raise RuntimeError("this Numba has other calling conventions than fastfc knows")


class Standalone:
    """A kernel with a result of a type, compiled for a dtype as an object file.

    Without the compiler its callers call the function itself.
    """

    def __init__(self, function, result, kinds, name):
        self.function = function
        self.name = name
        self._result = result
        self._kinds = kinds

    def plain(self):
        """The kernel without the compiler."""
        return silent(self.function)

    def compile(self, dtype):
        """Its :class:`Code` for a dtype: made anew, neither kept nor loaded."""
        kinds = self._kinds(dtype)
        # A dispatcher keeps all that it compiles: this one goes with the compilation.
        dispatcher = numba.njit(**STANDALONE_OPTIONS)(self.function)
        dispatcher.compile(kinds)
        compiled = dispatcher.overloads[kinds]
        if compiled.signature.return_type != self._result:
            raise TypeError(f"{self.name} returns {compiled.signature.return_type}, not {self._result}")
        module, codegen = compiled.library._final_module, compiled.library.codegen
        declared = [value for value in (*module.global_variables, *module.functions) if value.is_declaration]
        needs = sorted({value.name for value in declared if value.name.startswith("fastfc_")})
        if any(value.name.startswith("numba.dynamic.globals") for value in module.global_variables):
            raise RuntimeError(f"kernel {self.name} holds addresses of this process and cannot be kept")
        text = str(module)
        for function in module.functions:
            # Numba's own, such as its counting of references. Those that are named nowhere but where they
            # are defined are left out of the file, with what they would need.
            named = re.findall(rf"@{re.escape(function.name)}(?![\w.$])", text)
            if function.linkage == Linkage.linkonce_odr and len(named) == 1:
                function.linkage = Linkage.available_externally
        return Code(compiled.fndesc.llvm_func_name, tuple(needs), codegen._tm.emit_object(module))

    def call(self, context, builder, dtype, values):
        """LLVM's representation of a call, for the lowering of an intrinsic; returns the result."""
        kinds = self._kinds(dtype)
        function = self._through_cell(context, builder.module, symbol_of(self.name, dtype), kinds)
        status, result = context.call_conv.call_function(builder, function, self._result, kinds, values)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return result

    def caller(self, dtype_of):
        """A function for compiled code that calls the kernel with the values of a tuple.

        Of an array the kernel gets where it begins; :func:`fastfc.kernels.lowering.views.array_at` makes an array of
        it. `dtype_of` tells from the values' types which dtype it is to be for.
        """
        if numba.config.DISABLE_JIT:
            return lambda values: self.function(*values)

        @intrinsic
        def call(typingctx, values):
            def codegen(context, builder, sig, args):
                given, _ = _handed_over(context, builder, values, args[0])
                return self.call(context, builder, dtype_of(*values), given)

            return self._result(values), codegen

        return call

    def _through_cell(self, context, module, symbol, kinds):
        """A function of the module that is the kernel: it calls what the cell says."""
        machine_code.announce(symbol)
        kind = context.call_conv.get_function_type(self._result, kinds)
        name = f"{symbol}_call"
        if name in module.globals:
            return module.globals[name]
        cell = ir.GlobalVariable(module, kind.as_pointer(), symbol)
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("alwaysinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        builder.ret(builder.call(builder.load(cell), function.args))
        return function


class Alternatives:
    """Standalone kernels of one signature, of which a run calls one by its address: the others are not compiled for it.

    Parameters
    ----------
    result : numba type
    kinds : function
        The types of the arguments for a dtype.
    functions : dict of str to function
        By the names of the kernels.
    """

    def __init__(self, result, kinds, functions):
        self.kernels = {name: Standalone(function, result, kinds, name) for name, function in functions.items()}
        self._result = result

    def place(self, name):
        """The number of a kernel, from 1, which stands for its address without the compiler."""
        return list(self.kernels).index(name) + 1

    def caller(self):
        """A function for compiled code that calls the kernel of an address, with values as :class:`Standalone` has."""
        if numba.config.DISABLE_JIT:
            plain = [kernel.function for kernel in self.kernels.values()]
            return lambda place, values: plain[place - 1](*values)

        @intrinsic
        def call(typingctx, address, values):
            def codegen(context, builder, sig, args):
                given, kinds = _handed_over(context, builder, values, args[1])
                signature = context.call_conv.get_function_type(self._result, kinds)
                function = builder.inttoptr(args[0], signature.as_pointer())
                status, result = context.call_conv.call_function(builder, function, self._result, kinds, given)
                with cgutils.if_unlikely(builder, status.is_error):
                    context.call_conv.return_status_propagate(builder, status)
                return result

            return self._result(address, values), codegen

        return call


def _handed_over(context, builder, kinds, values):
    """The arguments of a kernel for the values of a tuple, and their types: of arrays, where they begin."""
    given, taken = [], []
    for i, kind in enumerate(kinds):
        value = builder.extract_value(values, i)
        if isinstance(kind, types.Array):
            given.append(context.make_array(kind)(context, builder, value).data)
            taken.append(CPointer(kind.dtype))
        elif isinstance(kind, (types.Integer, types.Boolean)):
            given.append(context.cast(builder, value, kind, types.int64))
            taken.append(types.int64)
        else:
            given.append(value)
            taken.append(kind)
    return given, taken


def standalone(result, kinds, name=None):
    """Make a Python function a :class:`Standalone` kernel.

    Parameters
    ----------
    result : numba type
    kinds : function
        The types of the arguments for a dtype.
    name : str, optional
        The function's own unless several make one kernel, each for a dtype.
    """
    return lambda function: Standalone(function, result, kinds, name or function.__name__)
