"""Processes compile the kernels of the first run, or are not missed."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from fastfc._runtime import machine_code, processes
from fastfc._runtime.machine_code import symbol_of
from fastfc.kernels.lowering.vectors import vectors_supported
from fastfc.training import compiling
from fastfc.training.epoch import callees

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no process is started elsewhere")

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

# Trains; says how many processes were started, whether this one has Numba, and the losses.
COLD = """
import sys
import numpy as np
import fastfc
from fastfc._runtime import processes
import fastfc.training.compiling
popen, started = processes.subprocess.Popen, []
processes.subprocess.Popen = lambda *args, **kwargs: (started.append(1), popen(*args, **kwargs))[1]
fastfc.training.compiling.available_cpus = lambda: CPUS
if not WORKS:
    processes._is_python = lambda executable: False
np.random.seed(0)
X, y = np.random.randn(64, 8).astype(np.float32), np.random.randint(0, 4, 64)
net = fastfc.FullyConnectedNet([16], 8, 4, normalization="batchnorm", dropout_keep_ratio=0.8)
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
solver = fastfc.Solver(net, data, update_rule="adam", batch_size=16, num_epochs=2, verbose=False, threads=1)
solver.train()
print(len(started), "numba" in sys.modules, *solver.loss_history)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "written"


def writing(path):
    """Code that says that it runs."""
    return f"open({str(path)!r}, 'w').write(str(os.getpid()))"


SLEEP = "import time; time.sleep(100)"


@needs_compiler
def test_a_first_run_compiles_in_other_processes_what_one_compiles_alone(tmp_path):
    losses = []
    for cpus, works, started, has_numba in ((2, True, "2", "False"), (1, True, "1", "False"), (2, False, "0", "True")):
        process = subprocess.run(
            [sys.executable, "-c", COLD.replace("CPUS", str(cpus)).replace("WORKS", str(works))],
            env={
                **os.environ,
                "NUMBA_CACHE_DIR": str(tmp_path / f"{cpus}{works}"),
                "FASTFC_BACKEND": "fast",
                "FASTFC_QUIET": "1",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stderr
        assert not process.stderr
        told = process.stdout.split()
        assert told[0] == started
        # Elsewhere than on Linux Numba is imported for what machine code may need.
        assert told[1] == has_numba or sys.platform != "linux"
        losses.append(told[2:])
    assert len(losses[0]) == 8
    assert losses[0] == losses[1] == losses[2]


def test_programs_run_side_by_side_to_their_ends(path, tmp_path):
    other = tmp_path / "other"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(other)!r}).exists(): time.sleep(0.01)\n"
    processes.run_elsewhere([waiting + writing(path), writing(other)])
    assert path.exists()
    assert other.exists()
    assert path.read_text() != other.read_text() != str(os.getpid())


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "1 / 0", "import os; os.abort()"])
def test_a_process_that_fails_is_not_waited_for(code, path, caplog, capfd):
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        processes.run_elsewhere([code, writing(path)])
    assert path.exists()
    assert caplog.text.count("has not ended well") == 1
    assert capfd.readouterr() == ("", "")


def test_nobody_waits_for_ever(path, monkeypatch):
    """The patience is for all together; who is left is killed."""
    monkeypatch.setattr(processes, "_PATIENCE", 1.0)
    before = time.monotonic()
    processes.run_elsewhere([f"{writing(path)}; {SLEEP}", SLEEP])
    assert 1.0 <= time.monotonic() - before < 50
    assert not path.exists() or has_ended(int(path.read_text()))


def test_ctrl_c_ends_the_waiting_and_the_processes(path):
    """The system sends it to all of them; the first process decides."""

    def interrupt():
        while not (path.exists() and path.read_text()):
            time.sleep(0.01)
        os.kill(int(path.read_text()), signal.SIGINT)
        time.sleep(0.3)
        assert not has_ended(int(path.read_text()), 0)
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    told = []
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        processes.run_elsewhere([f"{writing(path)}; {SLEEP}"])
    assert time.monotonic() - told[0] < 5
    thread.join()
    assert has_ended(int(path.read_text()))


def test_modules_are_found_where_this_process_finds_them(path, tmp_path, monkeypatch):
    """And nowhere else: a file in the current folder is not imported in the place of a module."""
    (tmp_path / "here").mkdir()
    for name in ("fastfc.py", "numpy.py", "signal.py", "threading.py"):
        (tmp_path / "here" / name).write_text("raise SystemExit(4)")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "of_the_test.py").write_text("place = __file__")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", ["", "here", *sys.path, tmp_path / "there"])
    processes.run_elsewhere([f"import fastfc, of_the_test\nopen({str(path)!r}, 'w').write(of_the_test.place)"])
    assert path.read_text() == str(tmp_path / "there" / "of_the_test.py")


def test_the_package_is_this_one(path, tmp_path, monkeypatch):
    """Whatever lies on the way to others."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "fastfc.py").write_text("raise SystemExit(4)")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "there"), *sys.path])
    processes.run_elsewhere([f"import fastfc._runtime as it\nopen({str(path)!r}, 'w').write(it.__file__)"])
    assert path.read_text() == str(Path(processes.__file__).parent / "__init__.py")


def fail_if_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("something was started"))


@pytest.mark.parametrize("executable", ["", None, "/usr/sbin/uwsgi", "/opt/bin/python_app"])
def test_a_program_that_is_not_python_is_not_started(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    fail_if_started(monkeypatch)
    processes.run_elsewhere(["pass"])


def test_a_frozen_program_is_not_started_again(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    fail_if_started(monkeypatch)
    processes.run_elsewhere(["pass"])


def test_a_process_that_cannot_be_started_is_not_missed(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        processes.run_elsewhere(["pass"])
    assert "no process to compile kernels" in caplog.text


def test_nor_where_python_is_about_to_end(monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise RuntimeError("can't fork at interpreter shutdown")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with caplog.at_level(logging.DEBUG, logger="fastfc"):
        processes.run_elsewhere(["pass"])
    assert "can't fork" in caplog.text


def test_the_one_that_was_started_is_killed_if_the_other_cannot_be(path, monkeypatch):
    popen, started = subprocess.Popen, []

    def once(*args, **kwargs):
        if started:
            raise OSError("no more processes")
        started.append(popen(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", once)
    processes.run_elsewhere([SLEEP, SLEEP])
    assert started[0].returncode == -signal.SIGKILL
    assert started[0].stdin.closed


def test_one_process_compiles_for_a_folder(tmp_path):
    """The lock is a folder's, and is released with the process that has it."""
    other = tmp_path / "other"
    other.mkdir()
    inside, leave, order = threading.Event(), threading.Event(), []

    def first():
        with processes.alone(tmp_path):
            inside.set()
            leave.wait()
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with processes.alone(other):
        order.append("other folder")
    threading.Timer(0.2, leave.set).start()
    with processes.alone(tmp_path):
        order.append("second")
    thread.join()
    assert order == ["other folder", "first", "second"]


def test_nobody_waits_for_ever_for_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.2)
    with processes.alone(tmp_path):
        before = time.monotonic()
        with processes.alone(tmp_path):
            assert time.monotonic() - before >= 0.2


def test_a_folder_that_is_gone_is_not_locked(tmp_path):
    entered = []
    with processes.alone(tmp_path / "gone"):
        entered.append(True)
    assert entered
    assert not (tmp_path / "gone").exists()


def test_folders_that_cannot_be_locked(tmp_path, monkeypatch):
    import fcntl

    def refuse(*args):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with processes.alone(tmp_path):
        pass


def test_a_folder_that_the_program_chose(path, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "chosen"))
    processes.run_elsewhere([f"open({str(path)!r}, 'w').write(os.environ['NUMBA_CACHE_DIR'])"])
    assert path.read_text() == str(tmp_path / "chosen")


def has_ended(pid, seconds=10.0):
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        while True:
            # A process that is not waited for has ended too.
            if Path("/proc/self/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
            os.kill(pid, 0)
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
    return True


@pytest.mark.parametrize("last", ["1 / 0", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_who_leaves_leaves_nobody_behind(path, last):
    code = (
        "import pathlib, threading, time\nfrom fastfc._runtime import processes\n"
        f"path = pathlib.Path({str(path)!r})\n"
        f"code = {writing(path) + '; ' + SLEEP!r}\n"
        "threading.Thread(target=processes.run_elsewhere, args=([code],), daemon=True).start()\n"
        "while not (path.exists() and path.read_text()): time.sleep(0.01)\n"
        f"print(path.read_text(), flush=True)\n{last}"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert has_ended(int(ended.stdout))


@needs_compiler
def test_other_processes_write_only_what_they_were_asked_for(monkeypatch):
    """Other settings than this process's, or another source text, would keep its kernels elsewhere."""
    path = str(machine_code.path(symbol_of("train_steps", np.float32)))
    made = []
    monkeypatch.setattr(compiling, "provide", lambda names, dtype: made.append(names))
    names = ["backward", "product"]
    compiling.compile_share(names, "train_steps", "float32", "elsewhere")
    assert not made
    compiling.compile_share(names, "train_steps", "float32", path)
    assert made == [names if vectors_supported() else ["backward"]]


@pytest.mark.parametrize("name", ["train_steps", "predict_rows"])
def test_the_shares_are_what_is_needed(name):
    shared = [kernel for share in compiling._SHARES[name] for kernel in share]
    assert len(set(shared)) == len(shared)
    assert {name, *callees(name)} <= set(shared)


@pytest.mark.parametrize(
    ("threads", "cpus", "pool", "expected"),
    [(None, 2, None, 2), (None, 1, None, 1), (1, 2, None, 1), (2, 1, None, 2), (None, 2, "a pool", 1)],
)
def test_how_many_processes_compile(monkeypatch, threads, cpus, pool, expected):
    codes = []
    monkeypatch.setattr(processes, "run_elsewhere", codes.extend)
    monkeypatch.setattr(compiling, "get_num_threads", lambda: threads)
    monkeypatch.setattr(compiling, "available_cpus", lambda: cpus)
    monkeypatch.setattr(compiling, "parent_process", lambda: pool)
    monkeypatch.setattr(compiling, "_load_all", lambda symbol: False)
    compiling._compile_elsewhere(["train_steps"], np.dtype(np.float32))
    assert len(codes) == expected


def test_no_process_is_started_for_settings_of_the_program(monkeypatch):
    monkeypatch.setattr(numba.config, "LOOP_VECTORIZE", 0)
    monkeypatch.setattr(compiling.settings, "_given", list)
    monkeypatch.setattr(processes, "run_elsewhere", lambda codes: pytest.fail("something was started"))
    compiling._compile_elsewhere(["train_steps"], np.dtype(np.float32))


def test_nor_if_another_process_has_compiled_meanwhile(monkeypatch):
    monkeypatch.setattr(compiling, "_load_all", lambda symbol: True)
    monkeypatch.setattr(processes, "run_elsewhere", lambda codes: pytest.fail("something was started"))
    compiling._compile_elsewhere(["train_steps"], np.dtype(np.float32))


def test_nothing_is_started_where_nothing_can_be_kept(monkeypatch):
    monkeypatch.setattr(machine_code, "path", lambda symbol: None)
    monkeypatch.setattr(processes, "run_elsewhere", lambda codes: pytest.fail("something was started"))
    compiling._compile_elsewhere(["train_steps"], np.dtype(np.float32))
