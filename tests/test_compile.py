"""Functions that are compiled on the way to a kernel stay usable for other compiled code."""

import ast
import ctypes
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import types
from numba.core.codegen import CPUCodeLibrary

import fastfc.kernels
import fastfc.training.epoch
from fastfc._runtime import machine_code
from fastfc._runtime.machine_code import symbol_of
from fastfc._runtime.record import Reals, Record, record
from fastfc.kernels.compiler import compile as kernel_compile
from fastfc.kernels.compiler.jit import glue, inline, kernel
from fastfc.kernels.compiler.standalone import standalone
from fastfc.kernels.lowering.views import reference_to, vector
from fastfc.training.compiling import _SHARES
from fastfc.training.epoch import callees, standalone_kernel

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture(autouse=True)
def cache_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTFC_QUIET", "1")
    monkeypatch.setattr("fastfc._runtime.kernel_cache.cache_folder", lambda: None)


def _doubling():
    """A kernel of two helpers, one of which uses Numba's own, and the outer helper."""

    @glue
    def largest(x):
        return max(x[0], min(x[1], x[2]))

    @inline
    def double(x):
        for i in range(x.size):
            x[i] *= 2
        return largest(x)

    @kernel
    def run(x):
        return double(x)

    return run, double


def test_helpers_have_no_machine_code_of_their_own(monkeypatch):
    translated = []
    translate = kernel_compile._Library._translate
    monkeypatch.setattr(
        kernel_compile._Library, "_translate", lambda library: (translated.append(library.name), translate(library))
    )
    run, _ = _doubling()
    assert run(np.arange(3.0)) == 2
    assert {name.rpartition(".")[2] for name in translated} == {"run"}


def test_parts_are_optimized_in_their_place_only(monkeypatch):
    optimized = []
    optimize = CPUCodeLibrary._optimize_final_module
    monkeypatch.setattr(
        CPUCodeLibrary, "_optimize_final_module", lambda library: (optimized.append(library.name), optimize(library))
    )
    run, _ = _doubling()
    assert run(np.arange(3.0)) == 2
    names = {name.rpartition(".")[2] for name in optimized}
    assert {"run", "double"} <= names
    assert "largest" not in names


def _negated(name):
    """A standalone kernel that another one calls, and that one: it overwrites a record's numbers."""

    @record
    class Numbers(Record):
        given: Reals
        out: Reals

    def kinds(dtype):
        return reference_to(Numbers, dtype), types.int64

    @standalone(types.boolean, kinds, name=f"{name}_callee")
    def negate(numbers, index):
        vector(numbers.out, index, 1)[0] = -numbers.given[index]
        return numbers.given[index] > 0

    call = negate.caller(lambda numbers, index: np.dtype(numbers.dtype.name))

    @standalone(types.void, kinds, name=f"{name}_caller")
    def run(numbers, first):
        for index in range(first, numbers.given.size):
            if call((numbers, index)):
                numbers.given[index] = 7

    return Numbers, negate, run


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_linked_kernel_is_compiled_and_loaded_before_what_it_calls(dtype):
    dtype = np.dtype(dtype)
    Numbers, negate, run = _negated("before")
    caller, callee = (symbol_of(kernel.name, dtype) for kernel in (run, negate))
    machine_code.enter(caller, run.compile(dtype))
    assert machine_code.callees(caller) == (callee,)
    machine_code.enter(callee, negate.compile(dtype))
    given, out = np.array([1, 2, -3, 0], dtype), np.zeros(4, dtype)
    machine_code.function_at(caller, ctypes.c_void_p, ctypes.c_int64)(Numbers(dtype, given=given, out=out), 1)
    np.testing.assert_array_equal(out, [0, -2, 3, 0])
    np.testing.assert_array_equal(given, [1, 7, -3, 0])


def test_a_linked_kernel_returns_what_its_callers_expect():
    @standalone(types.int64, lambda dtype: (types.float64,))
    def half(x):
        return x / 2

    with pytest.raises(TypeError, match="half returns float64, not int64"):
        half.compile(np.dtype(float))


def test_a_linked_kernel_that_raises_ends_its_caller():
    @standalone(types.void, lambda dtype: (types.int64,))
    def refusing(n):
        if n < 0:
            raise ValueError("negative")

    call = refusing.caller(lambda n: np.dtype(float))

    @standalone(types.void, lambda dtype: (types.int64,))
    def calling(n):
        call((n,))

    for made in (calling, refusing):
        machine_code.enter(symbol_of(made.name, np.dtype(float)), made.compile(np.dtype(float)))
    run = machine_code.function_at(symbol_of("calling", np.dtype(float)), ctypes.c_int64)
    run(1)
    with pytest.raises(IndexError, match="fastfc_calling_float64"):
        run(-1)


def test_helpers_of_a_linked_kernel_serve_other_kernels():
    """Theirs are the environments, though the standalone kernel is machine code of another place."""
    _, double = _doubling()

    @inline
    def refuse(n):
        if n < 0:
            raise ValueError("negative", n)
        return n

    @standalone(types.void, lambda dtype: (types.float64[::1],))
    def first(x):
        refuse(double(x))

    first.compile(np.dtype(float))

    @kernel
    def run(x):
        return refuse(double(x))

    assert run(np.arange(3.0)) == 2
    with pytest.raises(ValueError, match="negative"):
        run(-np.arange(3.0) - 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "name", sorted({kernel for shares in _SHARES.values() for share in shares for kernel in share})
)
def test_the_runs_kernels_need_nothing_of_numba(name, dtype):
    """So processes that load them from the disk do not import it."""
    code = standalone_kernel(name, np.dtype(dtype)).compile(np.dtype(dtype))
    allowed = set(code.needs) | {"log", "logf", "pow", "powf", "memset", "memcpy", "memmove"}
    assert machine_code._undefined_symbols(code.object_file) <= allowed
    called = {symbol_of(callee, np.dtype(dtype)) for callee in callees(name)}
    assert called >= {symbol for symbol in code.needs if symbol.endswith(np.dtype(dtype).name)}


def test_only_glue_has_the_names_of_glue():
    names = {name for name in kernel_compile.put_in_place if "<locals>" not in name}
    assert "affine_of_batch" in names
    folders = (Path(fastfc.kernels.__file__).parent, Path(fastfc.training.__file__).parent)
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                assert "glue" in {ast.unparse(decorator) for decorator in node.decorator_list}, (path.name, node.name)


def test_functions_of_others_call_the_same_helpers():
    run, double = _doubling()
    run(np.arange(3.0))

    @numba.njit
    def other(x):
        return double(x) + min(x[0], x[1])

    assert other(np.arange(3.0)) == 2


def test_a_kernel_that_fails_leaves_its_helpers_usable():
    _, double = _doubling()

    @kernel
    def fails(x):
        double(x)
        return x.there_is_no_such_attribute

    with pytest.raises(numba.TypingError):
        fails(np.arange(3.0))

    @numba.njit
    def other(x):
        return double(x)

    assert other(np.arange(3.0)) == 2
    codegen = other.targetctx.codegen()
    assert not {"create_library", "set_env"} & vars(codegen).keys()


def test_recursive_helpers():
    @numba.njit
    def is_even(n):
        if n == 0:
            return True
        return is_odd(n - 1)

    @numba.njit
    def is_odd(n):
        if n == 0:
            return False
        return is_even(n - 1)

    @kernel
    def run(n):
        return is_even(n)

    assert run(10)
    assert not run(7)
    assert is_odd(7)


def test_function_that_was_compiled_for_a_kernel_is_called_from_python():
    @numba.njit
    def triple(x):
        return 3 * x

    @kernel
    def run(x):
        return triple(x) + 1

    assert run(2) == 7
    assert triple(2) == 6


def test_exception_of_a_helper():
    @inline
    def refuse(n):
        if n < 0:
            raise ValueError("negative", n)
        return n

    @kernel
    def run(n):
        return refuse(n)

    @numba.njit
    def other(n):
        return refuse(n)

    for function in (run, other):
        assert function(1) == 1
        with pytest.raises(ValueError, match="negative"):
            function(-1)


def test_kernel_that_calls_a_kernel():
    inner, _ = _doubling()

    @kernel
    def outer(x):
        return inner(x) + 1

    assert outer(np.arange(3.0)) == 3
    assert inner(np.arange(3.0)) == 2


def test_threads_compile_at_the_same_time():
    results = [None] * 6
    start = threading.Barrier(len(results))

    def work(i):
        start.wait()
        run, double = _doubling()
        if i % 2 == 0:
            results[i] = run(np.arange(3.0))
        else:
            other = numba.njit(lambda x: double(x))
            results[i] = other(np.arange(3.0))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2] * len(results)


def test_unknown_numba_compiles_as_it_always_does(monkeypatch):
    monkeypatch.setattr(kernel_compile, "_LIBRARY_METHODS", ("no_such_method",))
    monkeypatch.setattr(kernel_compile, "_Library", None)
    run, double = _doubling()
    assert run(np.arange(3.0)) == 2
    assert numba.njit(lambda x: double(x))(np.arange(3.0)) == 2
