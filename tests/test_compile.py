"""What is compiled on the way to a kernel stays usable for other compiled code."""

import ast
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import types
from numba.core.codegen import CPUCodeLibrary

import fastfc.kernels
import fastfc.training.step
from fastfc.kernels import _compile
from fastfc.kernels._jit import inline, kernel, part
from fastfc.kernels._linked import linked

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture(autouse=True)
def cache_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTFC_QUIET", "1")
    monkeypatch.setattr("fastfc.kernels._cache.cache_folder", lambda: None)


def _doubling():
    """A kernel of two helpers, one of which uses Numba's own, and the outer helper."""

    @part
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


def _calling(linked_kernel):
    call = linked_kernel.caller()

    @kernel
    def run(x):
        return call((x,)) + 1

    return run


def test_helpers_have_no_machine_code_of_their_own(monkeypatch):
    translated = []
    translate = _compile._Library._translate
    monkeypatch.setattr(
        _compile._Library, "_translate", lambda library: (translated.append(library.name), translate(library))
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


def test_a_linked_kernel_is_compiled_after_its_caller():
    @linked(types.float64)
    def half(x):
        if x < 0:
            raise ValueError("negative")
        return x / 2

    half.announce(types.float64)
    run = _calling(half)
    run.compile((types.float64,))
    half.link(types.float64)
    assert run(4.0) == 3
    with pytest.raises(ValueError, match="negative"):
        run(-1.0)
    assert half.function(4.0) == 2


def test_errors_of_a_linked_kernel_from_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("fastfc.kernels._cache.cache_folder", lambda: tmp_path)

    def half(x):
        if x < 0:
            raise ValueError("negative")
        return x / 2

    for _ in range(2):
        kept = linked(types.float64)(half)
        kept.announce(types.float64)
        calling = _calling(kept)
        calling._cache.disable()
        kept.link(types.float64)
        assert calling(4.0) == 3
        with pytest.raises(ValueError, match="negative"):
            calling(-1.0)
    assert sum(kept._kernel.stats.cache_hits.values()) == 1


def test_a_linked_kernel_returns_what_its_callers_expect():
    @linked(types.int64)
    def half(x):
        return x / 2

    with pytest.raises(TypeError, match="half returns float64, not int64"):
        half.link(types.float64)


def test_a_linked_kernel_is_another_one_for_other_types():
    @linked(types.boolean)
    def is_whole(x):
        return x == np.floor(x)

    call = is_whole.caller()

    @kernel
    def run(x):
        return call((x,))

    for kind in (types.float64, types.int64):
        is_whole.announce(kind)
        run.compile((kind,))
        is_whole.link(kind)
    assert [run(x) for x in (3, 2.0, 2.5)] == [True, True, False]


def test_only_parts_have_the_names_of_parts():
    names = {name for name in _compile.put_in_place if "<locals>" not in name}
    assert "_hidden_affine" in names
    folders = (Path(fastfc.kernels.__file__).parent, Path(fastfc.training.__file__).parent)
    for path in (path for folder in folders for path in folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                assert "part" in {ast.unparse(decorator) for decorator in node.decorator_list}, (path.name, node.name)


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
    monkeypatch.setattr(_compile, "_LIBRARY_METHODS", ("no_such_method",))
    monkeypatch.setattr(_compile, "_Library", None)
    run, double = _doubling()
    assert run(np.arange(3.0)) == 2
    assert numba.njit(lambda x: double(x))(np.arange(3.0)) == 2
