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
import numpy as np
import pytest

from fastfc._runtime import machine_code
from fastfc._runtime.machine_code import symbol_of
from fastfc.kernels import _second_process as second
from fastfc.kernels._matmul import tiles_supported
from fastfc.training import compiling
from fastfc.training.step import callees

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no second process is started elsewhere")

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

# Trains, and says in which kernels' compilation this process has itself been.
COLD = """
import numpy as np
import fastfc
from fastfc.kernels import _compile, _second_process
compile_extra = _compile.LinkedCompiler.compile_extra
names = []
def told(self, function):
    names.append(function.__name__)
    return compile_extra(self, function)
_compile.LinkedCompiler.compile_extra = told
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
    second.stop()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kernel"


def writing(path):
    """Code that says that it runs."""
    return f"open({str(path)!r}, 'w').close()"


SLEEP = "import time; time.sleep(100)"


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


def test_a_kernel_of_the_second_process_is_waited_for(path, tmp_path):
    second.start(f"import time; time.sleep(0.3); {writing(path)}; {SLEEP}", {path})
    second.wait_for(tmp_path / "another")
    second.wait_for(None)
    assert not path.exists()
    second.wait_for(path)
    assert path.exists()
    second.finish({tmp_path / "another"})
    assert second._process.poll() is None
    second.finish({path})
    assert second._process.poll() is not None


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "1 / 0", "import os; os.abort()", "pass"])
def test_nobody_waits_for_a_process_that_has_ended(path, code, caplog, capfd):
    second.start(code, {path})
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        second.wait_for(path)
    assert "did not write" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_nobody_waits_for_ever(path, tmp_path, monkeypatch):
    """The patience is for both kernels together, and ends the process."""
    monkeypatch.setattr(second, "_PATIENCE", 0.3)
    second.start(SLEEP, {path, tmp_path / "another"})
    before = time.monotonic()
    second.wait_for(path)
    between = time.monotonic()
    second.wait_for(tmp_path / "another")
    assert between - before >= 0.25
    assert second._process.poll() == -signal.SIGKILL
    started = second._process
    second.start("pass", {path})
    assert second._process is not started


def test_ctrl_c_ends_the_waiting_and_not_the_process(path, tmp_path):
    """The system sends it to both; the first process decides."""
    ready = tmp_path / "ready"
    second.start(f"{writing(ready)}; {SLEEP}", {path, ready})
    second.wait_for(ready)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        os.kill(second._process.pid, signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            second.wait_for(path)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert second._process.poll() is None


def test_one_at_a_time(path):
    second.start(SLEEP, {path})
    first = second._process
    second.start("pass", {path})
    assert second._process is first
    second.stop()
    second.start("pass", {path})
    assert second._process is not first


def test_modules_are_found_where_this_process_finds_them(path, tmp_path, monkeypatch):
    """And nowhere else: a file in the current folder is not imported in the place of a module."""
    (tmp_path / "here").mkdir()
    for name in ("fastfc.py", "numpy.py", "signal.py", "threading.py"):
        (tmp_path / "here" / name).write_text("raise SystemExit(4)")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "of_the_test.py").write_text("place = __file__")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", ["", "here", *sys.path, tmp_path / "there"])
    second.start(f"import fastfc, of_the_test; open({str(path)!r}, 'w').write(of_the_test.place)", {path})
    second.wait_for(path)
    second._process.wait(30)
    assert path.read_text() == str(tmp_path / "there" / "of_the_test.py")


def test_the_package_is_this_one(path, tmp_path, monkeypatch):
    """Whatever lies on the way to others."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "fastfc.py").write_text("raise SystemExit(4)")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "there"), *sys.path])
    second.start(f"import fastfc.kernels; open({str(path)!r}, 'w').write(fastfc.kernels.__file__)", {path})
    second.wait_for(path)
    second._process.wait(30)
    assert path.read_text() == str(Path(second.__file__).parent / "__init__.py")


def fail_if_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("something was started"))


@pytest.mark.parametrize("executable", ["", None, "/usr/sbin/uwsgi", "/opt/bin/python_app"])
def test_a_program_that_is_not_python_is_not_started(path, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    fail_if_started(monkeypatch)
    second.start("pass", {path})


def test_a_frozen_program_is_not_started_again(path, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    fail_if_started(monkeypatch)
    second.start("pass", {path})


def test_a_worker_of_a_pool_starts_nothing(path, monkeypatch):
    monkeypatch.setattr(second, "parent_process", lambda: "some process")
    fail_if_started(monkeypatch)
    second.start("pass", {path})


def test_a_process_that_cannot_be_started_is_not_missed(path, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        second.start("pass", {path})
    assert "no second process" in caplog.text
    second.wait_for(path)


def test_nor_where_python_is_about_to_end(path, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise RuntimeError("can't fork at interpreter shutdown")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        second.start("pass", {path})
    assert "can't fork" in caplog.text


def test_what_has_ended_is_not_kept_by_the_system(path):
    second.start("pass", {path})
    os.waitid(os.P_PID, second._process.pid, os.WEXITED | os.WNOWAIT)
    second.finish([])
    assert second._process.returncode == 0


def has_ended(pid, seconds=10):
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            # One that nobody waits for has ended too.
            if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
            os.kill(pid, 0)
            time.sleep(0.01)
        return False
    return True


@pytest.mark.parametrize("last", ["", "1 / 0", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_who_leaves_leaves_nobody_behind(path, last):
    code = (
        "import pathlib\nfrom fastfc.kernels import _second_process as second\n"
        f"path = pathlib.Path({str(path)!r})\n"
        f"second.start({writing(path) + '; ' + SLEEP!r}, {{path}})\n"
        "second.wait_for(path)\n"
        f"print(second._process.pid, flush=True)\n{last}"
    )
    ended = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60)
    assert "ResourceWarning" not in ended.stderr
    assert has_ended(int(ended.stdout))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_its_parents_process_alone(path):
    second.start(SLEEP, {path})
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            second.stop()
            second.wait_for(path)
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    time.sleep(0.05)
    assert second._process.poll() is None


@needs_compiler
def test_the_second_process_writes_only_the_files_it_was_asked_for(monkeypatch):
    """Other settings than this process's, or another source text, would keep its kernels elsewhere."""
    names = callees("train_steps")
    files = [str(machine_code.path(symbol_of(name, np.float32))) for name in names]
    made = []
    monkeypatch.setattr(compiling, "provide", lambda name, dtype: made.append(name))
    compiling.compile_share("train_steps", "float32", [*files[:-1], "elsewhere"])
    assert not made
    compiling.compile_share("train_steps", "float32", files)
    assert made == names


@needs_compiler
@pytest.mark.skipif(len(callees("train_steps")) < 2, reason="there is nothing to share without tiles")
def test_a_process_that_is_to_use_one_thread_starts_no_other(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(second, "start", lambda code, share: started.append(len(share)))
    monkeypatch.setattr(compiling, "provide", lambda name, dtype: None)
    monkeypatch.setattr(machine_code, "load", lambda symbol: False)
    monkeypatch.setattr(machine_code, "path", lambda symbol: tmp_path / symbol)
    for threads, expected in ((1, []), (2, [2])):
        monkeypatch.setattr(compiling, "get_num_threads", lambda threads=threads: threads)
        compiling._compile_all("train_steps", np.dtype(np.float32))
        assert started == expected
