"""Where a process may only have so much address space: an error that says so, or it just works."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfc
from fastfc._runtime import memory, processes
from fastfc.training import compiling

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

TRAIN = """
import numpy as np
import fastfc
X, y = np.zeros((40, 8)), np.arange(40) % 3
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
solver = fastfc.Solver(fastfc.FullyConnectedNet([9], 8, 3), data, num_epochs=1, batch_size=20, verbose=False)
solver.train()
print(solver.engine_)
"""
OPERATION = """
import numpy as np
from fastfc import layers
print(*layers.affine_forward(np.ones((3, 4)), np.ones((4, 2)), np.zeros(2))[0].flat)
"""
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (MIB * 2**20, MIB * 2**20))\n"


def run(code, limit, folder, **environment):
    root = str(Path(fastfc.__file__).parents[1])
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "FASTFC_"))}
    return subprocess.run(
        [sys.executable, "-c", (LIMITED.replace("MIB", str(limit)) if limit else "") + code],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **inherited,
            "PYTHONPATH": root,
            "FASTFC_QUIET": "1",
            "NUMBA_CACHE_DIR": str(folder),
            # On machines of many processors it would take most of what there is.
            "OPENBLAS_NUM_THREADS": "1",
            **environment,
        },
    )


@needs_compiler
@pytest.mark.parametrize("code", [TRAIN, OPERATION], ids=["training", "operation"])
@pytest.mark.parametrize("limit", [380, 420, 460, 500])
def test_a_first_compilation_ends_in_seconds(code, limit, tmp_path):
    before = time.monotonic()
    done = run(code, limit, tmp_path)
    # It was minutes; the machine may be busy.
    assert time.monotonic() - before < 60
    if code is OPERATION and done.returncode == 0:
        # Of these limits, the largest may be enough.
        assert done.stdout == "4.0 4.0 4.0 4.0 4.0 4.0\n"
        return
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("MemoryError: ")
    assert f"its limit is {limit} MiB (RLIMIT_AS, ulimit -v)" in error


@needs_compiler
@pytest.mark.parametrize("code", [TRAIN, OPERATION], ids=["training", "operation"])
def test_with_enough_it_works_and_later_processes_need_less(code, tmp_path):
    done = run(code, 800, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.nbc"))
    if code is TRAIN:
        later = run(code, 420, tmp_path)
        assert later.returncode == 0, later.stderr
        assert later.stdout == done.stdout == "compiled\n"


LOADED = """
import sys
print(*[name in sys.modules for name in ("scipy", "threadpoolctl")])
"""


@needs_compiler
def test_no_library_is_searched_or_loaded_where_no_blas_is_called(tmp_path):
    """Training, its checks and predictions by tiles; on one thread and on two."""
    from fastfc.kernels.lowering.vectors import vectors_supported

    predict = "fastfc.set_num_threads(2)\nsolver.model.predict(np.zeros((300_000, 8)))\n"
    done = run(TRAIN.replace("verbose=False", "verbose=False, threads=2") + predict + LOADED, None, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ("False False" if vectors_supported() else "True True")


def limited(monkeypatch, limit, size, modules=()):
    monkeypatch.setattr(memory, "_limit", lambda: limit)
    monkeypatch.setattr(memory, "_size", lambda: size)
    monkeypatch.setattr(memory.sys, "modules", dict.fromkeys(modules))


@pytest.mark.parametrize(
    ("left", "modules", "enough"),
    [
        (409, [], False),
        (410, [], True),
        (209, ["numba"], False),
        (210, ["numba"], True),
        (59, ["numba", "scipy.linalg.cython_blas"], False),
        (60, ["numba", "scipy.linalg.cython_blas"], True),
    ],
)
def test_what_compiling_takes_depends_on_what_is_there(monkeypatch, left, modules, enough):
    with monkeypatch.context() as patch:
        limited(patch, 1000, 1000 - left, modules)
        if enough:
            memory.require_for_compiling()
            return
        with pytest.raises(MemoryError, match=rf"compiling kernels takes .* may have {left} MiB more"):
            memory.require_for_compiling()


def test_importing_takes_nothing_once_it_is_done(monkeypatch):
    with monkeypatch.context() as patch:
        limited(patch, 1000, 801)
        with pytest.raises(MemoryError, match="importing numba takes 200 MiB"):
            memory.require_for_importing("numba")
        limited(patch, 1000, 999, ["numba"])
        memory.require_for_importing("numba")


def test_without_a_limit_nothing_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        limited(patch, None, 10**6)
        memory.require_for_compiling()
        memory.require_for_importing("numba")
        assert memory.allows_compiling_elsewhere()


def test_the_limit_and_the_size_are_this_processes():
    code = LIMITED.replace("MIB", "3000") + (
        "from fastfc._runtime import memory\n"
        "before = memory._size()\nblock = bytearray(100 * 2**20)\n"
        "print(memory._limit(), 95 < memory._size() - before < 110)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "3000 True\n"


@needs_compiler
def test_no_process_is_started_that_would_run_out_of_it(monkeypatch):
    started = []
    monkeypatch.setattr(processes, "run_elsewhere", started.extend)
    monkeypatch.setattr(compiling, "_load_all", lambda symbol: False)
    for limit in (680, 689):
        monkeypatch.setattr(memory, "_limit", lambda limit=limit: limit)
        compiling._compile_elsewhere(["train_steps"], np.dtype(np.float32))
        assert not started
    monkeypatch.setattr(memory, "_limit", lambda: 690)
    compiling._compile_elsewhere(["train_steps"], np.dtype(np.float32))
    assert started
