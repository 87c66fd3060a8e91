"""Threads and processes: nothing is left behind, whatever happens in a run, and runs do not disturb one another."""

import gc
import linecache
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver
from fastfc._runtime import blas as blas_limit
from fastfc._runtime import machine_code, team
from fastfc._runtime.team import Team, end_idle_threads
from fastfc.training import compiling

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
ROWS, FEATURES, CLASSES = 24, 5, 3


@pytest.fixture(autouse=True)
def _fast_by_default():
    """Whatever the suite's default backend is, here it is the compiled run that is tested."""
    with fastfc.use_backend("fast"):
        yield


def make(threads=2, epochs=3, seed=7, rule="adam", **options):
    """A Solver on a small random problem; its accuracy checks draw nothing from the random stream."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)
    np.random.seed(seed)
    net = FullyConnectedNet([6, 4], FEATURES, CLASSES, dropout_keep_ratio=0.7, normalization="batchnorm", dtype=float)
    return Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:5], "y_val": y[:5]}, update_rule=rule, batch_size=12,
        num_epochs=epochs, verbose=False, threads=threads, **options,
    )  # fmt: skip


def blas_threads():
    return [library.num_threads for library in blas_limit._libraries()]


def own_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastfc")]


def system_threads():
    """Threads of the process as the operating system counts them; Python's own count elsewhere than on Linux."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()


def assert_nothing_left(blas, where=None):
    # A thread whose start was interrupted leaves by itself.
    deadline = time.monotonic() + 10
    end_idle_threads()
    while own_threads() and time.monotonic() < deadline:
        time.sleep(0.001)
        end_idle_threads()
    assert own_threads() == [], where
    assert not blas_limit._limit_users, where
    assert not blas_limit._limit_lock.locked(), where
    assert blas_threads() == blas, where


def run_script(path, code, timeout=300, **environment):
    """A process of its own, from a file, as forkserver and spawn need one."""
    path.write_text(code)
    inherited = {key: value for key, value in os.environ.items() if key != "FASTFC_BACKEND"}
    root = str(Path(fastfc.__file__).parents[1])
    environment = {**inherited, "PYTHONPATH": root, "FASTFC_QUIET": "1", **environment}
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=timeout, env=environment)


# ------------------------------------------------------------------------------------------- side by side

EIGHT_MODELS = """
import threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import fastfc
from fastfc.ops.rules import RULES

rng = np.random.default_rng(0)
X, y = rng.standard_normal((300, 20)), rng.integers(0, 4, 300)
data = {"X_train": X, "y_train": y, "X_val": X[:50], "y_val": y[:50]}
lock = threading.Lock()

class Seeded(fastfc.Solver):
    # A run follows a copy of the global random stream, which a run that ends elsewhere may move at any time.
    def _engine(self):
        seeded = np.random.RandomState(self.number).get_state()
        engine = super()._engine()
        while not (np.array_equal(engine.stream_state()[1], seeded[1]) and engine.stream_state()[2] == seeded[2]):
            with lock:
                np.random.seed(self.number)
                engine.take_stream()
        return engine

def train(number):
    with lock:
        np.random.seed(number)
        net = fastfc.FullyConnectedNet(
            [9 + number, 7], 20, 4, normalization=[None, "batchnorm", "layernorm"][number % 3],
            dropout_keep_ratio=[1, 0.7][number % 2], dtype=np.float32, reg=0.01,
        )
    rule = list(RULES)[number % len(RULES)]
    solver = Seeded(net, data, update_rule=rule, num_epochs=30, batch_size=30, verbose=False, threads=1 + number % 3)
    solver.number = number
    solver.train()
    assert solver.engine_ == "compiled"
    return solver.loss_history, solver.train_acc_history, solver.val_acc_history, net.params.flat.tobytes()

with ThreadPoolExecutor(8) as pool:
    together = list(pool.map(train, range(8)))
assert together == [train(number) for number in range(8)]
assert len({repr(result) for result in together}) == 8
fastfc._runtime.team.end_idle_threads()
assert threading.active_count() == 1
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_members_that_share_a_processor():
    """They wait for one another in turns, and the run is the same."""
    spread = make(threads=3)
    spread.train()
    crowded = make(threads=3)
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(processors)])
    try:
        crowded.train()
    finally:
        os.sched_setaffinity(0, processors)
    assert crowded.loss_history == spread.loss_history
    np.testing.assert_array_equal(crowded.model.params.flat, spread.model.params.flat)


@needs_compiler
def test_eight_models_at_once_with_a_cold_cache(tmp_path):
    """The first compilation included, which all eight ask for at the same time: equal bit for bit to one by one."""
    result = run_script(tmp_path / "script.py", EIGHT_MODELS, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr


@needs_compiler
def test_a_thousand_runs_leave_no_thread():
    make().train()
    blas, threads = blas_threads(), system_threads()
    for i in range(1000):
        make(threads=1 + i % 3, epochs=1).train()
    assert_nothing_left(blas)
    # The system ends a thread some moments after Python has let it go.
    deadline = time.monotonic() + 10
    while system_threads() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert system_threads() <= threads


# ---------------------------------------------------------------------------------------------- interrupts


def forget_kernels():
    """The next run loads its kernels from the disk once more."""
    compiling.kernel.cache_clear()
    machine_code._loaded.clear()


class Interrupter:
    """Sends the process SIGINT before the n-th line that it executes in the package or in what serves it."""

    FILES = tuple(
        os.path.join("fastfc", *parts)
        for parts in [
            ("solver.py",),
            ("training", "run.py"),
            ("training", "compiling.py"),
            ("_runtime", "machine_code.py"),
            ("_runtime", "team.py"),
            ("_runtime", "blas.py"),
        ]
    )

    def __init__(self, n):
        self.left = n
        self.place = None

    def __enter__(self):
        sys.settrace(self._call)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _call(self, frame, event, arg):
        return self._line if frame.f_code.co_filename.endswith(self.FILES) else None

    def _line(self, frame, event, arg):
        place = (frame.f_code.co_filename, frame.f_lineno)
        # A with statement's line comes again when its block is left, where Python itself lets no signal through.
        if event == "line" and not linecache.getline(*place).lstrip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                self.place = place
                signal.raise_signal(signal.SIGINT)
        return self._line


def states_by_step():
    """Parameters and random stream after each step of a run that is not interrupted, by the number of steps."""
    states = {}

    def keep(solver):
        states[len(solver.loss_history)] = (solver.model.params.flat.copy(), np.random.get_state()[1:3])

    solver = make(callback=keep)
    states[0] = (solver.model.params.flat.copy(), np.random.get_state()[1:3])
    solver.train()
    assert len(solver.loss_history) == 6
    return states


def assert_like_a_run_that_ended_there(solver, states):
    steps = len(solver.loss_history)
    # Whole chunks of steps are done between two callbacks, at which the states were taken.
    if steps not in states:
        return
    flat, (words, position) = states[steps]
    np.testing.assert_array_equal(solver.model.params.flat, flat)
    _, got, at, *_ = np.random.get_state()
    np.testing.assert_array_equal(got, words)
    assert at == position
    assert all(config.get("t", 0) == steps for config in solver.optim_configs.values())


@needs_compiler
def test_ctrl_c_at_every_line():
    """Wherever Ctrl-C comes: no thread, no lock, BLAS as it was, and a state that belongs to the steps done."""
    make().train()
    blas, states = blas_threads(), states_by_step()
    gc.disable()
    try:
        n = interrupted = 0
        while interrupted == n:
            n += 1
            solver = make()
            forget_kernels()
            with Interrupter(n) as interrupter:
                try:
                    solver.train()
                except KeyboardInterrupt:
                    interrupted += 1
            assert_nothing_left(blas, interrupter.place)
            if interrupted < n:
                # The last line was passed.
                assert len(solver.loss_history) == 6
            else:
                assert_like_a_run_that_ended_there(solver, states)
    finally:
        gc.enable()
    assert n > 200


@pytest.mark.parametrize(
    "line",
    [
        "worker.team = self",
        "self._workers.append(worker)",
        "worker.leave(self)",
        "self.team = None",
        "_idle.append(self)",
    ],
)
def test_a_thread_that_an_exception_has_lost_ends(line):
    """Handlers of other signals than Ctrl-C's may raise anywhere, as those of a timeout do."""

    def interrupt(frame, event, arg):
        if event == "line" and linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == line:
            sys.settrace(None)
            raise TimeoutError
        return interrupt

    def in_team(frame, event, arg):
        return interrupt if frame.f_code.co_name in ("_hire", "__exit__", "leave") else None

    end_idle_threads()
    with Team(2):
        pass
    assert len(own_threads()) == 1
    sys.settrace(in_team)
    try:
        with pytest.raises(TimeoutError), Team(2):
            pass
    finally:
        sys.settrace(None)
    assert_nothing_left(blas_threads())
    with Team(2) as team:
        seen = []
        team.run(seen.append)
    assert sorted(seen) == [0, 1]


@needs_compiler
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
def test_ctrl_c_at_random_moments():
    """Real signals, in compiled code and out of it; the Solver can be used again at once."""
    make().train()
    blas = blas_threads()
    rng = np.random.default_rng(0)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = 0
    try:
        for i in range(300):
            solver = make(threads=1 + i % 3, epochs=2000)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 6e-3))
                solver.train()
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert_nothing_left(blas)
            steps = len(solver.loss_history)
            assert np.isfinite(solver.loss_history).all()
            assert all(config.get("t", steps) == steps for config in solver.optim_configs.values())
            solver.num_epochs = 1
            solver.train()
            assert len(solver.loss_history) == steps + 2
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert interrupted > 200


class Stop(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt, MemoryError, SystemExit])
def test_whatever_a_callback_raises(kind, threads):
    blas = blas_threads()
    for calls in range(1, 4):
        left = [calls]
        drawn = []

        def stop(solver, left=left, drawn=drawn):
            drawn.append(np.random.random_sample())
            left[0] -= 1
            if left[0] == 0:
                raise kind("stop")

        solver = make(threads=threads, callback=stop)
        with pytest.raises(kind, match="stop"):
            solver.train()
        assert_nothing_left(blas)
        # Numbers that the callback drew stay drawn.
        following = np.random.random_sample()
        assert following not in drawn
        solver.callback = None
        steps = len(solver.loss_history)
        solver.train()
        assert len(solver.loss_history) == steps + 6


@needs_compiler
def test_an_error_in_a_member_ends_the_run(monkeypatch):
    """Whichever thread fails: the others do not wait for it at the barrier."""
    from fastfc.training import run

    make().train()
    blas = blas_threads()
    original = run.kernel
    for failing in range(3):

        def kernel(name, *rest, failing=failing):
            function = original(name, *rest)

            def broken(plan, thread, job):
                if name == "train_steps" and thread == failing:
                    raise Stop(f"thread {thread}")
                function(plan, thread, job)

            return broken

        monkeypatch.setattr(run, "kernel", kernel)
        with pytest.raises(Stop, match=f"thread {failing}"):
            make(threads=3).train()
        assert_nothing_left(blas)


# ----------------------------------------------------------------------------------------------- processes

CHILDREN = """
import contextlib
import multiprocessing
import os
import sys
import threading
import time
import warnings
import numpy as np
from threadpoolctl import threadpool_info
import fastfc
from fastfc._runtime.team import end_idle_threads

def alone():
    # But for threads that wait for the next run.
    end_idle_threads()
    return threading.active_count() == 1

# From Python 3.12 on, of any fork beside other threads.
warnings.simplefilter("ignore", DeprecationWarning)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 8)), rng.integers(0, 3, 200)
data = {"X_train": X, "y_train": y, "X_val": X[:50], "y_val": y[:50]}

def solver(epochs=2, **options):
    np.random.seed(1)
    net = fastfc.FullyConnectedNet([16, 8], 8, 3, normalization="batchnorm", dropout_keep_ratio=0.8, dtype=float)
    return fastfc.Solver(net, data, update_rule="adam", num_epochs=epochs, verbose=False, threads=2, **options)

def work(_=None):
    run = solver()
    run.train()
    assert run.engine_ == "compiled"
    return [float(loss) for loss in run.loss_history]

def blas():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

@contextlib.contextmanager
def a_run_beside():
    started, stop = threading.Event(), threading.Event()
    def go_on(run):
        started.set()
        if stop.is_set():
            raise StopIteration
    def endless():
        with contextlib.suppress(StopIteration):
            solver(10**9, callback=go_on).train()
    thread = threading.Thread(target=endless)
    thread.start()
    started.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()

def exit_code(child):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hangs"
"""

AFTER_AND_DURING = """
if __name__ == "__main__":
    expected = work()
    context = multiprocessing.get_context("{method}")
    with context.Pool(2) as pool:
        assert pool.map(work, range(3)) == [expected] * 3
    assert work() == expected

    with a_run_beside():
        with context.Pool(2) as pool:
            assert pool.map(work, range(3)) == [expected] * 3
    assert work() == expected
    assert alone() or "{method}" != "fork"
"""


@needs_compiler
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_started_after_and_during_a_run(tmp_path, method):
    result = run_script(tmp_path / "script.py", CHILDREN + AFTER_AND_DURING.replace("{method}", method))
    assert result.returncode == 0, result.stderr


FORKED_BESIDE_A_RUN = """
work()
before = blas()
codes = []
with a_run_beside():
    for _ in range(20):
        child = os.fork()
        if child == 0:
            # The run that held BLAS to one thread is not in this process.
            ok = blas() == before and len(work()) == 4 and blas() == before and alone()
            os._exit(0 if ok else 3)
        codes.append(exit_code(child))
assert codes == [0] * 20, codes
assert blas() == before
"""

FORKED_IN_A_RUN = """
expected = work()
before = blas()
children = []
def fork(run):
    if len(run.loss_history) == 2:
        children.append(os.fork())
run = solver(callback=fork)
run.train()
# The parent and the child both carry the run on, each with threads of its own.
ok = [float(loss) for loss in run.loss_history] == expected and blas() == before and alone()
if children == [0]:
    os._exit(0 if ok else 3)
assert ok
assert exit_code(children[0]) == 0
"""


@needs_compiler
@needs_fork
@pytest.mark.parametrize("code", [FORKED_BESIDE_A_RUN, FORKED_IN_A_RUN], ids=["beside a run", "in a run"])
def test_forks(tmp_path, code):
    result = run_script(tmp_path / "script.py", CHILDREN + code)
    assert result.returncode == 0, result.stderr


# ------------------------------------------------------------------------------------------- a team's threads


def test_teams_one_after_the_other_share_threads_and_leave_none_for_long():
    seen = []
    for _ in range(3):
        with Team(3) as team:
            team.run(lambda thread: seen.append(threading.get_ident()))
    assert len(seen) == 9
    assert len(set(seen)) == 3
    deadline = time.monotonic() + 10
    while own_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert own_threads() == []


def test_teams_at_once_have_threads_of_their_own():
    with Team(2) as one, Team(2) as other:
        seen = []
        for team in (one, other):
            team.run(lambda thread: seen.append(threading.get_ident()))
        assert len(set(seen)) == 3
    assert len(own_threads()) == 2


def test_an_error_in_a_thread_leaves_it_for_the_next_team():
    def fail(thread):
        if thread == 1:
            raise RuntimeError("in the second thread")

    with pytest.raises(RuntimeError, match="in the second thread"), Team(2) as team:
        team.run(fail)
    with Team(2) as team:
        seen = []
        team.run(seen.append)
    assert sorted(seen) == [0, 1]


def test_a_team_takes_no_thread_that_has_ended(monkeypatch):
    """As after an exception in the midst of leaving, when somebody leaves once more later on."""
    end_idle_threads()
    monkeypatch.setattr(team, "_IDLE_SECONDS", 0.01)
    late = Team(2).__enter__()
    team.dismiss(late.barrier)
    deadline = time.monotonic() + 10
    while own_threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert own_threads() == []
    late.__exit__()
    with Team(2) as other:
        seen = []
        other.run(seen.append)
    assert sorted(seen) == [0, 1]


def test_threads_that_wait_for_a_team_hold_nothing_of_the_last_one(monkeypatch):
    class Memory:
        def use(self, thread):
            pass

    monkeypatch.setattr(team, "_IDLE_SECONDS", 60)
    memory = Memory()
    alive = weakref.ref(memory)
    with Team(3) as some:
        some.run(memory.use)
    del memory, some
    gc.collect()
    deadline = time.monotonic() + 10
    while alive() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert alive() is None
    assert len(own_threads()) == 2
    end_idle_threads()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_ends_threads_that_wait_for_a_team(tmp_path):
    code = """
import os, threading
from fastfc._runtime.team import Team

with Team(3) as team:
    team.run(lambda thread: None)
    inside = threading.active_count()
assert (inside, threading.active_count()) == (3, 3)
child = os.fork()
if child == 0:
    assert threading.active_count() == 1
    seen = []
    with Team(3) as team:
        team.run(seen.append)
    os._exit(0 if sorted(seen) == [0, 1, 2] else 1)
assert threading.active_count() == 1
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    result = run_script(tmp_path / "script.py", code)
    assert result.returncode == 0, result.stderr
