"""A fork at any moment of another thread's first training: the child process can train and predict."""

import importlib
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

import fastfc
from fastfc._runtime import forks, machine_code

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

# The first training of the process is another thread's. Meanwhile this one forks, again and again.
PROGRAM = """
import os, random, signal, sys, threading, time, warnings
import numpy as np
import fastfc

# From Python 3.12 on, of any fork beside other threads.
warnings.simplefilter("ignore", DeprecationWarning)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 6)).astype(np.float32), rng.integers(0, 3, 40)

def work():
    net = fastfc.FullyConnectedNet([5], 6, 3)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    fastfc.Solver(net, data, num_epochs=2, batch_size=10, verbose=False, threads=2).train()
    assert net.predict(X).shape == (40,)

random.seed(SEED)
children = []
thread = threading.Thread(target=work)
thread.start()
for _ in range(FORKS):
    time.sleep(random.uniform(0.001, 0.015))
    child = os.fork()
    if child == 0:
        # Whoever hangs is ended.
        signal.alarm(60)
        work()
        os._exit(0)
    children.append(child)
thread.join()
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0] * FORKS, codes
work()
"""


def run(code, **environment):
    inherited = {key: value for key, value in os.environ.items() if key != "FASTFC_BACKEND"}
    root = str(Path(fastfc.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**inherited, "PYTHONPATH": root, "FASTFC_QUIET": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def warm():
    """The kernels are on disk: the first training is one of imports and of loading."""
    run(PROGRAM.replace("FORKS", "0").replace("SEED", "0"))


@pytest.mark.parametrize("seed", range(6))
def test_forks_amid_the_first_training(warm, seed):
    run(PROGRAM.replace("FORKS", "6").replace("SEED", str(seed)))


@needs_compiler
def test_forks_amid_the_first_training_that_asks_numba(warm):
    """A setting that may change machine code has Numba imported, which takes longer than all else."""
    for number in (0, 8):
        run(PROGRAM.replace("FORKS", str(number)).replace("SEED", "1"), NUMBA_OPT="3")


@needs_compiler
def test_forks_amid_a_compilation_in_this_process(tmp_path):
    """The child process compiles too: Numba's lock is free in it."""
    code = """
import numpy as np
from fastfc.kernels.activation import relu_forward, relu_backward
def work():
    out, cache = relu_forward(np.array([-2.0, 3.0], np.float32))
    relu_backward(out, cache)
"""
    program = PROGRAM[: PROGRAM.index("def work")] + code + PROGRAM[PROGRAM.index("random.seed") :]
    run(program.replace("FORKS", "3").replace("SEED", "2"), NUMBA_CACHE_DIR=str(tmp_path))


def fork_and_look():
    """Fork; whether the child process can take every lock, and the seconds that the fork took."""
    before = time.monotonic()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        for lock in forks._locks():
            if lock is not None and not lock.acquire(timeout=10):
                os._exit(3)
        os._exit(0)
    seconds = time.monotonic() - before
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seconds


def locks():
    return {
        "machine code": machine_code._lock,
        "Numba": numba.core.compiler_lock.global_compiler_lock._lock,
        "random stream": np.random.get_bit_generator().lock,
    }


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", ["machine code", "Numba", "random stream"])
def test_a_fork_waits_for_another_thread(name):
    held, leave = threading.Event(), threading.Event()

    def hold():
        with locks()[name]:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.2, leave.set).start()
    code, seconds = fork_and_look()
    thread.join()
    assert code == 0
    assert seconds >= 0.1
    assert not any(forks._held.releases)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_for_another_threads_import(tmp_path, monkeypatch):
    """Of any module: those that a training needs import others when they are first called."""
    begun = threading.Event()
    (tmp_path / "slow_to_import.py").write_text(
        "import time\nfrom builtins import begun_to_import\nbegun_to_import.set()\ntime.sleep(0.3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("builtins.begun_to_import", begun, raising=False)
    thread = threading.Thread(target=importlib.import_module, args=("slow_to_import",))
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        importlib.import_module("slow_to_import")
        os._exit(0)
    assert "slow_to_import" in sys.modules
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_module_may_fork_as_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "forks_as_it_is_imported.py").write_text(
        "import os\nchild = os.fork()\nif child == 0:\n    os._exit(0)\ncode = os.waitpid(child, 0)[1]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    before = time.monotonic()
    assert importlib.import_module("forks_as_it_is_imported").code == 0
    assert time.monotonic() - before < 30


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", ["machine code", "Numba"])
def test_a_thread_may_fork_with_a_lock_in_hand(name):
    with locks()[name]:
        assert fork_and_look()[0] == 0
    assert fork_and_look()[0] == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(forks, "_PATIENCE", 0.2)
    held, leave = threading.Event(), threading.Event()

    def hold():
        with forks.loading:
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    before = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert 0.2 <= time.monotonic() - before < 60
    assert os.waitpid(child, 0)[1] == 0
    leave.set()
    thread.join()
    # Nothing that was not taken is given back.
    with forks.loading:
        pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_that_fork_at_the_same_time():
    codes = []

    def fork():
        codes.extend(fork_and_look()[0] for _ in range(10))

    threads = [threading.Thread(target=fork) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 30


@pytest.mark.parametrize("module", ["concurrent.futures.thread", "logging"])
def test_an_import_meanwhile_registers_nothing_for_forks(module):
    """Python calls what it registers after the fork, though it did not before: a lock would be released untaken."""
    code = """
import importlib, os, threading, time, warnings
from fastfc._runtime import forks
warnings.simplefilter("ignore", DeprecationWarning)
held = threading.Event()
def hold():
    with forks.loading:
        held.set()
        time.sleep(0.3)
        importlib.import_module(MODULE)
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""
    run(code.replace("MODULE", repr(module)))


@needs_compiler
def test_a_fork_while_other_processes_compile(tmp_path):
    """The child process waits for its parent's kernels, and not for itself."""
    code = """
import os, sys, time
from pathlib import Path
from fastfc._runtime import processes
folder = Path(sys.argv[0] or ".")
inside = processes.alone(folder)
inside.__enter__()
child = os.fork()
if child == 0:
    with processes.alone(folder):
        os._exit(0)
time.sleep(0.3)
assert os.waitpid(child, os.WNOHANG) == (0, 0)
inside.__exit__(None, None, None)
before = time.monotonic()
assert os.waitpid(child, 0)[1] == 0
assert time.monotonic() - before < 30
# A child process that lives on keeps no lock either.
with processes.alone(folder):
    child = os.fork()
    if child == 0:
        time.sleep(100)
before = time.monotonic()
with processes.alone(folder):
    pass
assert time.monotonic() - before < 30
os.kill(child, 9)
os.waitpid(child, 0)
"""
    run(code.replace('sys.argv[0] or "."', repr(str(tmp_path))))
