"""Teams whose threads have to wait for processors: the numbers are the same, and none waits for ever."""

import contextlib
import os
import subprocess
import sys
import time

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver
from fastfc._runtime import team
from fastfc.kernels.lowering import barrier

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")


@pytest.fixture(autouse=True)
def _fast_by_default():
    with fastfc.use_backend("fast"):
        yield


@pytest.fixture
def barriers(monkeypatch):
    """The barriers of the teams that a test makes; one sets the words that they begin with."""
    made, words = [], {}

    def new_barrier(original=team.new_barrier):
        barrier = original()
        for place, value in words.items():
            barrier[place] = value
        made.append(barrier)
        return barrier

    monkeypatch.setattr(team, "new_barrier", new_barrier)
    return made, words


@contextlib.contextmanager
def on_one_processor_beside_a_busy_process():
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(processors)])
    busy = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        # Once it says so, it is busy.
        busy.stdout.readline()
        yield
    finally:
        os.sched_setaffinity(0, processors)
        busy.kill()
        with busy:
            pass


def train(threads, epochs=4, **options):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((60, 7)), rng.integers(0, 3, 60)
    np.random.seed(5)
    net = FullyConnectedNet([9, 8], 7, 3, dropout_keep_ratio=0.8, normalization="batchnorm", dtype=float)
    solver = Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:9], "y_val": y[:9]}, update_rule="adam", batch_size=12,
        num_epochs=epochs, verbose=False, threads=threads, **options,
    )  # fmt: skip
    solver.train()
    assert solver.engine_ == "compiled"
    return solver.loss_history, solver.val_acc_history, net.params.flat.tobytes()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_sleep_at_every_barrier(barriers, threads):
    expected = train(threads)
    made, words = barriers
    words[team.ASLEEP] = 10**6
    assert train(threads) == expected
    # Every wait at the barrier is counted; 20 steps have more than 100.
    assert 10**6 - 100_000 < made[-1][team.ASLEEP] < 10**6
    assert made[-1][team.SLEEPERS] == 0


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_sleep_are_released(barriers, threads, monkeypatch):
    from fastfc.training import run

    _, words = barriers
    words[team.ASLEEP] = 10**6
    original = run.kernel

    def kernel(name, *rest):
        function = original(name, *rest)

        def broken(plan, thread, job):
            if name == "train_steps" and thread == threads - 1:
                time.sleep(0.05)
                raise RuntimeError("a thread fails")
            function(plan, thread, job)

        return broken

    monkeypatch.setattr(run, "kernel", kernel)
    before = time.monotonic()
    with pytest.raises(RuntimeError, match="a thread fails"):
        train(threads)
    assert time.monotonic() - before < 60


@needs_affinity
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_share_a_processor_with_a_busy_process(threads):
    expected = train(threads)
    with on_one_processor_beside_a_busy_process():
        assert train(threads) == expected


@needs_compiler
@needs_affinity
@pytest.mark.skipif(barrier._FUTEX is None, reason="threads can sleep until they are woken on Linux only")
def test_beside_a_busy_process_threads_sleep_instead_of_offering_the_processor(barriers):
    made, _ = barriers
    deadline = time.monotonic() + 60
    with on_one_processor_beside_a_busy_process():
        train(2, epochs=100)
        while made[-1][team.PENALTY] == 0 and time.monotonic() < deadline:
            train(2, epochs=100)
    assert barrier._LEAST_PENALTY // 2 <= made[-1][team.PENALTY] <= barrier._LARGEST_PENALTY


@needs_compiler
def test_on_a_quiet_machine_spinning_is_tried_again(barriers):
    """Once no thread is to sleep any more, sleeps in vain before count less with every wait."""
    made, words = barriers
    words[team.ASLEEP], words[team.PENALTY] = 5, 10
    expected = train(2)
    # Busy processes beside the test may put the threads to sleep again, for more waits.
    assert (made[-1][team.ASLEEP] == 0 and made[-1][team.PENALTY] < 10) or made[-1][team.PENALTY] > 10
    words.clear()
    assert train(2) == expected
