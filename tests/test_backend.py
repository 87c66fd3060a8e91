import importlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastfc
from fastfc import layers
from fastfc.backend import OPS, get_backend, implementation, use_backend

WITHOUT_COMPILER = bool(importlib.import_module("numba").config.DISABLE_JIT)


def run_python(code, **environment):
    """Run code in a fresh interpreter; returns what it printed."""
    import os

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_as_a_call_it_stays_and_as_a_context_it_ends():
    start = get_backend()
    with use_backend("reference"):
        assert get_backend() == "reference"
        with use_backend("fast"):
            assert get_backend() == "fast"
        assert get_backend() == "reference"
        use_backend("fast")
        assert get_backend() == "fast"
    assert get_backend() == start


def test_a_context_ends_when_an_exception_passes_through():
    start = get_backend()
    with pytest.raises(KeyError), use_backend("reference"):
        raise KeyError
    assert get_backend() == start


@pytest.mark.parametrize("name", ["FAST", "", None, 3, "numpy"])
def test_an_unknown_backend_changes_nothing(name):
    start = get_backend()
    with pytest.raises(ValueError, match="backend: expected one of 'reference', 'fast'"):
        use_backend(name)
    assert get_backend() == start


def test_the_choice_is_local_to_the_thread():
    default = run_python("import fastfc; print(fastfc.get_backend())")
    seen = []
    with use_backend("reference" if default == "fast" else "fast"):
        thread = threading.Thread(target=lambda: seen.append(get_backend()))
        thread.start()
        thread.join()
    assert seen == [default]


def test_threads_on_both_backends_at_once():
    x = np.linspace(-1, 1, 1000)

    def modules(name):
        with use_backend(name):
            return {implementation("relu_forward").__module__ for _ in range(200) if layers.relu_forward(x)}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(modules, ["fast", "reference"] * 8))
    assert found == [{"fastfc.kernels.activation"}, {"fastfc.reference.activation"}] * 8


@pytest.mark.parametrize("name", ["fast", "reference"])
def test_the_environment_sets_the_default(name):
    assert run_python("import fastfc; print(fastfc.get_backend())", FASTFC_BACKEND=name) == name


def test_nonsense_in_the_environment_is_said():
    code = "import fastfc\ntry: fastfc.get_backend()\nexcept ValueError as e: print(e)"
    assert "FASTFC_BACKEND: expected one of" in run_python(code, FASTFC_BACKEND="slow")


@pytest.mark.parametrize("name", OPS)
def test_every_operation_is_public(name):
    public = importlib.import_module(f"fastfc.{OPS[name].public_module}")
    assert callable(getattr(public, name))
    assert name in public.__all__
    assert getattr(public, name).__doc__


def test_import_is_light():
    code = """
import sys
import fastfc
heavy = {"numba", "scipy", "matplotlib", "tqdm", "llvmlite"} & {name.partition(".")[0] for name in sys.modules}
print(heavy or "none")
"""
    assert run_python(code) == "none"


def test_the_reference_needs_no_compiler():
    code = """
import sys
import numpy as np
import fastfc
fastfc.use_backend("reference")
net = fastfc.FullyConnectedNet([8], 4, 3, normalization="batchnorm", dropout_keep_ratio=0.5, reg=0.1)
net.loss(np.ones((5, 4)), np.zeros(5, int))
print({"numba", "scipy"} & set(sys.modules) or "none")
"""
    assert run_python(code) == "none"


def test_every_export_exists():
    for name in fastfc.__all__:
        assert getattr(fastfc, name) is not None
    assert set(fastfc.__all__) <= set(dir(fastfc))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fastfc.no_such_name


FIRST_CALL = """
import numpy as np
from fastfc import layers
from fastfc.kernels.norm import _batchnorm_backward as kernel

x = np.random.RandomState(0).randn(100, 500).astype(DTYPE)
np.random.seed(0)
counts = [len(kernel.signatures)]
_, cache = layers.batchnorm_forward(x, x[0], x[1], {"mode": MODE})
counts.append(len(kernel.signatures))
layers.batchnorm_backward_alt(x, cache)
counts.append(len(kernel.signatures))
print(*counts, np.random.rand() == np.random.RandomState(0).rand())
"""


@pytest.mark.skipif(WITHOUT_COMPILER, reason="needs the compiler")
@pytest.mark.parametrize(("dtype", "mode"), [("float64", "train"), ("float32", "test")])
def test_a_backward_pass_is_compiled_with_its_forward_pass(dtype, mode):
    """A notebook's cell takes the time of the first call of batchnorm_backward_alt."""
    code = f"DTYPE, MODE = {dtype!r}, {mode!r}\n{FIRST_CALL}"
    assert run_python(code, FASTFC_BACKEND="fast") == "0 1 1 True"
