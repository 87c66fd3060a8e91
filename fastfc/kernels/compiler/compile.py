"""How a kernel is compiled: of all its helpers, only LLVM's representation is made.

Numba makes a library of each helper, optimizes it, and makes machine code of it. The kernel
that calls the helper links LLVM's representation of it and makes machine code of its own, so
that nobody runs the helper's. Here a library is translated when somebody asks for an address
in it, which Numba does for the kernel itself.

Helpers are optimized as they always are: without LLVM's passes over them, loops come out
slower and sums in another order. But those that only arrange calls of others are optimized
where they are put.
"""

import contextlib

from numba.core.codegen import JITCodeLibrary, RuntimeLinker
from numba.core.compiler import Compiler

# The parts of Numba's internals that are used here; a Numba without one of them compiles as it always does.
_LIBRARY_METHODS = (
    "_ensure_finalized",
    "_finalize_dynamic_globals",
    "_finalize_final_module",
    "_optimize_final_module",
    "_verify_declare_only_symbols",
    "get_pointer_to_function",
)

#: Names of helpers that are optimized only in the place of their call; see :func:`fastfc.kernels.compiler.jit.glue`.
put_in_place: set[str] = set()


class _Library(JITCodeLibrary):
    """A library whose machine code is made when an address in it is asked for."""

    _translated = False

    def __init__(self, codegen, name):
        super().__init__(codegen, name)
        self._is_put_in_place = name in put_in_place

    def _optimize_final_module(self):
        if not self._is_put_in_place:
            super()._optimize_final_module()

    def _finalize_final_module(self):
        # A function from a disk cache is machine code already; and recursive functions call
        # each other by address.
        if self._is_cached() or self._is_recursive():
            self._translate()
            return
        self._verify_declare_only_symbols()
        self._finalized = True

    def _is_cached(self):
        return self._object_caching_enabled and self._compiled

    def _is_recursive(self):
        return any(variable.name.startswith(RuntimeLinker.PREFIX) for variable in self._final_module.global_variables)

    def _translate(self):
        """Make the machine code, unless it is there."""
        if not self._translated:
            self._translated = True
            super()._finalize_final_module()

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        if any(function.name == name for function in self.get_defined_functions()):
            self._translate()
        return super().get_pointer_to_function(name)

    @property
    def has_dynamic_globals(self):
        # They are counted when the machine code is made.
        self._ensure_finalized()
        self._translate()
        return super().has_dynamic_globals


class KernelCompiler(Compiler):
    """Numba's compiler, for an entry point and the helpers that are compiled on the way.

    Numba holds its global lock meanwhile: no other thread compiles.
    """

    def compile_extra(self, func):
        with _helpers_untranslated(self.state.targetctx.codegen()):
            return super().compile_extra(func)


class StandaloneCompiler(Compiler):
    """The same for a kernel whose machine code is made elsewhere, see ``standalone.py``: none is, here."""

    def compile_extra(self, func):
        with _helpers_untranslated(self.state.targetctx.codegen(), _of_standalone):
            return super().compile_extra(func)


# Environments of helpers of standalone kernels, for the kernels that have machine code of the same ones.
_of_standalone: dict = {}


@contextlib.contextmanager
def _helpers_untranslated(codegen, waiting=None):
    """Until the end, libraries wait to be translated; what they tell of their environments waits with them.

    In the dictionary `waiting` it goes on waiting.
    """
    if not _is_known(codegen):
        yield
        return
    set_env = codegen.set_env
    libraries = []
    environments = {} if waiting is None else waiting

    def create_library(name, **kwargs):
        libraries.append(_Library(codegen, name, **kwargs))
        return libraries[-1]

    def set_env_of_translated(name, env):
        if codegen._engine.is_symbol_defined(name):
            set_env(name, env)
        else:
            environments[name] = env

    codegen.create_library, codegen.set_env = create_library, set_env_of_translated
    try:
        yield
    finally:
        del codegen.create_library, codegen.set_env
        if waiting is None:
            # The kernel has its helpers' environments. It does not after an error, or of a helper
            # whose call was dropped.
            if not all(map(codegen._engine.is_symbol_defined, environments)):
                for library in libraries:
                    if library._finalized:
                        library._translate()
            for name, env in environments.items():
                set_env(name, env)
            for name in [name for name in _of_standalone if codegen._engine.is_symbol_defined(name)]:
                set_env(name, _of_standalone.pop(name))


def _is_known(codegen):
    """Whether the code generator has what is needed, and no kernel that calls this one is being compiled."""
    return (
        getattr(codegen, "_library_class", None) is JITCodeLibrary
        and all(hasattr(JITCodeLibrary, name) for name in _LIBRARY_METHODS)
        and hasattr(getattr(codegen, "_engine", None), "is_symbol_defined")
        and hasattr(codegen, "set_env")
        and not {"create_library", "set_env"} & vars(codegen).keys()
    )
