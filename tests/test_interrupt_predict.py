"""Predictions and accuracy checks in parts: Ctrl-C comes soon, and the numbers are those of a single call."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver
from fastfc.training import parts, predict

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def _fast_by_default():
    with fastfc.use_backend("fast"):
        yield


@pytest.fixture
def one_block_at_a_time(monkeypatch):
    """As few blocks in a part as can be; how many calls there were is counted."""
    calls = []
    original = parts.predict_in_parts

    def counted(plan, job, call):
        def once():
            calls.append((job.first_block, job.blocks))
            call()

        original(plan, job, once)
        assert (job.first_block, job.blocks) == (0, 2**31)

    monkeypatch.setattr(parts, "_FIRST_WORK", 1)
    monkeypatch.setattr(parts, "PART_SECONDS", 0.0)
    monkeypatch.setattr(predict, "_TEAM_WORK", 1)
    monkeypatch.setattr(predict, "predict_in_parts", counted)
    monkeypatch.setattr("fastfc.training.run.predict_in_parts", counted)
    return calls


def net_and_examples(rows, normalization="batchnorm"):
    np.random.seed(1)
    net = FullyConnectedNet([19, 23], 13, 5, normalization=normalization, weight_scale=0.3, dtype=np.float32)
    X = np.random.randn(rows, 13).astype(np.float32)
    return net, X


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [257, 600, 1025, 2000])
def test_scores_in_parts_are_those_of_one_call(rows, threads, monkeypatch, request):
    net, X = net_and_examples(rows)
    fastfc.set_num_threads(threads)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(predict, "_TEAM_WORK", 1)
            patch.setattr(parts, "_FIRST_WORK", 10**12)
            whole = net.loss(X), net.predict_proba(X), net.predict(X)
        calls = request.getfixturevalue("one_block_at_a_time")
        in_parts = net.loss(X), net.predict_proba(X), net.predict(X)
    finally:
        fastfc.set_num_threads(None)
    for one, other in zip(whole, in_parts, strict=True):
        np.testing.assert_array_equal(one, other)
    # Of the largest share, every block in a call of its own.
    share = -(-rows // threads)
    blocks = -(-share // 256)
    assert calls == [(block, 1) for block in range(blocks)] * 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_training_whose_checks_come_in_parts_is_the_same(threads, request):
    def train():
        np.random.seed(4)
        net, X = net_and_examples(90)
        y = np.arange(90) % 5
        solver = Solver(
            net, {"X_train": X, "y_train": y, "X_val": X[:50], "y_val": y[:50]}, batch_size=10, num_epochs=3,
            num_train_samples=47, verbose=False, threads=threads, callback=lambda solver: None,
        )  # fmt: skip
        solver.train()
        assert solver.engine_ == "compiled"
        return solver.loss_history, solver.train_acc_history, solver.val_acc_history, net.params.flat.tobytes()

    expected = train()
    calls = request.getfixturevalue("one_block_at_a_time")
    assert train() == expected
    assert all(blocks == 1 for _, blocks in calls)
    assert len(calls) >= 2 * 4 * (47 // 10)


def test_parts_grow_and_shrink_with_the_time_they_take(monkeypatch):
    """Towards the seconds that a part is to take, at most so much at a time."""
    net, X = net_and_examples(10)
    plan, *_, job = predict._make(net, np.repeat(X, 26, axis=0)[:256], 1)
    job.count = 256 * 10**6
    now, asked = [0.0], []
    monkeypatch.setattr(parts, "perf_counter", lambda: now[0])
    monkeypatch.setattr(parts, "_FIRST_WORK", 2 * 256 * plan.stride)
    seconds_per_block = iter([2**-20, 2**-20, 2**-20, 2**-10, 2**-7, 1.0, 1.0])

    def call():
        asked.append(job.blocks)
        now[0] += job.blocks * next(seconds_per_block)

    # An error that ends the call ends the prediction.
    with pytest.raises(StopIteration):
        parts.predict_in_parts(plan, job, call)
    # 0.06 seconds of blocks that take 1 / 1024 and 1 / 128 of a second each, then longer than that.
    assert asked == [2, 16, 128, 1024, 61, 7, 1, 1]
    assert (job.first_block, job.blocks) == (0, 2**31)


PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
import fastfc
fastfc.set_num_threads(THREADS)
np.random.seed(0)
net = fastfc.FullyConnectedNet([1024] * 3, 784, 10)
X = np.random.randn(60_000, 784).astype(np.float32)
y = np.zeros(60_000, int)
data = {"X_train": X[:512], "y_train": y[:512], "X_val": X, "y_val": y}
solver = fastfc.Solver(net, data, num_epochs=1, batch_size=256, verbose=False)
# Everything is compiled, or loaded.
net.predict(X[:300])
fastfc.Solver(net, {**data, "X_val": X[:300], "y_val": y[:300]}, num_epochs=1, batch_size=256, verbose=False).train()
def measured():
    start = time.perf_counter()
    net.predict(X[:6_000])
    return 10 * (time.perf_counter() - start)
# The least of some: one that something else delayed would have the signal sent after the end.
seconds = min(measured() for _ in range(3))
sent = []
def interrupt():
    time.sleep(seconds * 0.3)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    ACTION
except KeyboardInterrupt:
    late = time.perf_counter() - sent[0]
    # Both compiled calls and Python's own are over: the net serves on.
    assert np.isfinite(net.predict_proba(X[:300])).all()
    fastfc._runtime.team.end_idle_threads()
    assert threading.active_count() == 1
    print(late, seconds)
else:
    print("ended before the signal")
"""


@posix
@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("action", ["net.predict(X)", "net.predict_proba(X)", "net.loss(X)", "solver.train()"])
def test_ctrl_c_amid_a_long_prediction(action, threads):
    """A real signal, a third of the way through; it was as late as the end before."""
    root = str(Path(fastfc.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("THREADS", str(threads)).replace("ACTION", action)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": root, "FASTFC_BACKEND": "fast", "FASTFC_QUIET": "1"},
    )
    assert done.returncode == 0, done.stderr
    late, seconds = map(float, done.stdout.split())
    # The rest of the prediction would take 0.7 of it; a part takes 0.06 seconds on a quiet machine.
    assert late < max(0.2, 0.35 * seconds)
