"""Ctrl-C where it may not come: it waits for the end of the block."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from fastfc._runtime.interrupts import held_back


def test_ctrl_c_comes_after_the_block():
    reached = []

    def block():
        with held_back():
            signal.raise_signal(signal.SIGINT)
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_is_not_lost():
    def block(interrupted):
        with held_back():
            if interrupted:
                signal.raise_signal(signal.SIGINT)
            raise ValueError("from the block")

    with pytest.raises(KeyboardInterrupt) as raised:
        block(True)
    assert "from the block" in str(raised.value.__context__)
    with pytest.raises(ValueError, match="from the block"):
        block(False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "their own"])
def test_handlers_of_others_stay(handler):
    usual = signal.signal(signal.SIGINT, handler)
    try:
        with held_back():
            assert signal.getsignal(signal.SIGINT) is handler
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, usual)


def test_other_threads_hold_nothing_back():
    seen = []

    def look():
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


# Ctrl-C comes as a module is about to be imported, in the first training of a process.
_PROGRAM = """
import importlib.abc, signal, sys
import numpy as np
import fastfc

X, y = np.zeros((8, 4), np.float32), np.zeros(8, int)
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

def train():
    solver = fastfc.Solver(fastfc.FullyConnectedNet([3], 4, 2), data, num_epochs=1, batch_size=4, verbose=False)
    solver.train()
    return solver

assert not {"numba", "llvmlite"} & sys.modules.keys()
sys.meta_path.insert(0, Interrupting())
try:
    train()
except KeyboardInterrupt:
    print("interrupted")
print(train().engine_, len(train().loss_history))
"""


@pytest.mark.parametrize(
    "module",
    [
        "llvmlite",
        "llvmlite.binding.ffi",
        "numba",
        "numba.core.types.abstract",
        "numba.core.decorators",
        "numba.np.ufunc",
    ],
)
def test_ctrl_c_leaves_the_compiler_whole(module):
    # Such a setting may change machine code: Numba is asked what it is.
    environment = {**os.environ, "FASTFC_BACKEND": "fast", "FASTFC_QUIET": "1", "NUMBA_OPT": "3"}
    command = [sys.executable, "-c", _PROGRAM, module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["interrupted", "compiled 2"]
