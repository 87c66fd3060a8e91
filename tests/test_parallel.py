"""Data parallel: trainings over several processes equal one over the whole batch, and end together."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastfc

HERE = Path(__file__).parent
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed"),
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec"),
    pytest.mark.skipif(
        bool(importlib.import_module("numba").config.DISABLE_JIT), reason="too slow without the compiler"
    ),
    pytest.mark.skipif(fastfc.get_backend() != "fast", reason="compiled only"),
]


def run(folder, processes, *scenarios):
    paths = [str(HERE), str(Path(fastfc.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FASTFC_QUIET": "1"}
    program = [sys.executable, "-m", "mpi4py", HERE / "parallel_program.py", folder, *scenarios]
    # A process that waits for ever is what none of these may become.
    return subprocess.run(
        [MPIEXEC, "-n", str(processes), *program], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


def assert_as_expected(done):
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("as expected\n")


def test_two_processes_equal_one(tmp_path):
    assert_as_expected(run(tmp_path, 2, "every_loss", "options", "local_statistics"))


def test_four_processes_equal_one(tmp_path):
    assert_as_expected(run(tmp_path, 4, "every_loss", "local_statistics"))


def test_a_training_goes_on_over_another_number_of_processes(tmp_path):
    assert_as_expected(run(tmp_path, 2, "first_half"))
    assert_as_expected(run(tmp_path, 3, "second_half"))


def test_processes_that_differ_are_refused_and_errors_reach_all(tmp_path):
    assert_as_expected(run(tmp_path, 2, "refuses", "stops_apart"))


def test_an_error_amid_a_step_ends_all_processes(tmp_path):
    done = run(tmp_path, 2, "fails_amid_a_step")
    assert done.returncode != 0
    expected = "fastfc: process 1 of 2 has failed amid a step, and ends all of them: MemoryError: out of memory"
    assert expected in done.stderr
    assert "AssertionError" not in done.stderr


def test_a_killed_process_ends_the_others(tmp_path):
    done = run(tmp_path, 2, "is_killed")
    assert done.returncode != 0
    assert "AssertionError" not in done.stderr
