"""A second process compiles a part of the first training run's kernels, or is not missed."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest

from fastfc.kernels import _second_process as second
from fastfc.kernels._matmul import tiles_supported

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no second process is started elsewhere")

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

# Trains, and says in which kernels' compilation this process has itself been.
COLD = """
import numpy as np
import fastfc
from fastfc.kernels import _compile, _second_process
compile_extra = _compile.KernelCompiler.compile_extra
names = []
def told(self, function):
    names.append(function.__name__)
    return compile_extra(self, function)
_compile.KernelCompiler.compile_extra = told
import fastfc.training.compiling
fastfc.training.compiling.available_cpus = lambda: CPUS
np.random.seed(0)
X, y = np.random.randn(64, 8).astype(np.float32), np.random.randint(0, 4, 64)
net = fastfc.FullyConnectedNet([16], 8, 4, normalization="batchnorm", dropout_keep_ratio=0.8)
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
solver = fastfc.Solver(net, data, update_rule="adam", batch_size=16, num_epochs=2, verbose=False, threads=1)
solver.train()
print(*names, _second_process._process is not None, *solver.loss_history)
"""


@pytest.fixture(autouse=True)
def nobody_left():
    yield
    second._stop()
    second._process = None


def wait_until_ended():
    second._process.wait(30)


@needs_compiler
def test_a_first_run_compiles_in_two_processes_what_one_compiles_alone(tmp_path):
    losses = []
    for cpus, own, started in (
        (2, ["train_steps", "predict_rows"], "True"),
        (1, ["train_steps", "backward", *["_product_float"] * tiles_supported(), "predict_rows"], "False"),
    ):
        process = subprocess.run(
            [sys.executable, "-c", COLD.replace("CPUS", str(cpus))],
            env={
                **os.environ,
                "NUMBA_CACHE_DIR": str(tmp_path / str(cpus)),
                "FASTFC_BACKEND": "fast",
                "FASTFC_QUIET": "1",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stderr
        names, after = process.stdout.split()[: len(own)], process.stdout.split()[len(own) :]
        assert names == own
        assert after[0] == started
        assert not process.stderr
        losses.append(after[1:])
    assert len(losses[0]) == 8
    assert losses[0] == losses[1]


def test_a_kernel_of_the_second_process_is_waited_for(tmp_path):
    path = tmp_path / "kernel"
    second.start(f"import time; time.sleep(0.3); open({str(path)!r}, 'w').close()", {"one"})
    assert not second.wait_for("another", path)
    assert second._process.poll() is None
    assert second.wait_for("one", path)
    assert path.exists()
    wait_until_ended()


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "1 / 0", "import os; os.abort()", "pass"])
def test_nobody_waits_for_a_process_that_has_ended(tmp_path, code, caplog, capfd):
    second.start(code, {"one"})
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        assert not second.wait_for("one", tmp_path / "kernel")
    assert "did not compile one" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(second, "_PATIENCE", 0.2)
    second.start("import time; time.sleep(100)", {"one"})
    assert not second.wait_for("one", tmp_path / "kernel")
    assert second._process.poll() is None


def test_an_interrupt_ends_the_waiting(tmp_path):
    second.start("import time; time.sleep(100)", {"one"})
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            second.wait_for("one", tmp_path / "kernel")
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_one_at_a_time():
    second.start("import time; time.sleep(100)", {"one"})
    first = second._process
    second.start("pass", {"two"})
    assert second._process is first
    first.kill()
    first.wait()
    second.start("pass", {"two"})
    assert second._process is not first
    wait_until_ended()


def test_modules_are_found_where_this_process_finds_them(tmp_path, monkeypatch):
    """And nowhere else: a file in the current folder is not imported in the place of a module."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "fastfc.py").write_text("raise SystemExit(4)")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "of_the_test.py").write_text("place = __file__")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if entry] + [str(tmp_path / "there"), Path("no text")]
    )
    told = tmp_path / "told"
    second.start(f"import fastfc, of_the_test; open({str(told)!r}, 'w').write(of_the_test.place)", {"one"})
    wait_until_ended()
    assert told.read_text() == str(tmp_path / "there" / "of_the_test.py")


@pytest.mark.parametrize("executable", ["", None, "/usr/sbin/uwsgi"])
def test_a_program_that_is_not_python_is_not_started(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("something was started"))
    second.start("pass", {"one"})


def test_a_frozen_program_is_not_started_again(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("something was started"))
    second.start("pass", {"one"})


def test_a_process_that_cannot_be_started_is_not_missed(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        second.start("pass", {"one"})
    assert "no second process" in caplog.text
    assert not second.wait_for("one", tmp_path / "kernel")


def test_who_leaves_early_leaves_nobody_behind():
    code = (
        "from fastfc.kernels import _second_process as second\n"
        "second.start('import time; time.sleep(100)', {'one'})\n"
        "print(second._process.pid)"
    )
    ended = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert "still running" not in ended.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.stdout), 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_its_parents_process_alone(tmp_path):
    second.start("import time; time.sleep(100)", {"one"})
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            second._stop()
            status = 0 if not second.wait_for("one", tmp_path / "kernel") else 2
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    time.sleep(0.05)
    assert second._process.poll() is None
