"""Sweeps on a Dask cluster and on MPI: the results of threads, also where a worker is killed on the way."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastfc

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(
    bool(importlib.import_module("numba").config.DISABLE_JIT), reason="too slow without the compiler"
)

DASK = """
import os, signal, threading, time
import fastfc
from distributed import Client, LocalCluster
from test_sweep import GRID, data_of

if __name__ == "__main__":
    data, grid = data_of(3000), {**GRID, "num_epochs": 60}
    threads = fastfc.sweep(grid, data, seeds=3)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        executor = client.get_executor()
        assert fastfc.sweep(grid, data, executor, seeds=3) == threads
        # Again, with a worker that is killed as soon as three trainings have ended.
        pid = next(iter(client.run(os.getpid).values()))
        killer = threading.Thread(target=lambda: (wait_for(4), os.kill(pid, signal.SIGKILL)))

        def wait_for(lines):
            while not os.path.exists("dask.jsonl") or open("dask.jsonl").read().count("\\n") < lines:
                time.sleep(0.005)

        killer.start()
        assert fastfc.sweep(grid, data, executor, seeds=3, file="dask.jsonl") == threads
        killer.join()
    print("equal")
"""

MPI = """
import fastfc
from mpi4py.futures import MPIPoolExecutor
from test_sweep import GRID, data_of

if __name__ == "__main__":
    data = data_of(3000)
    with MPIPoolExecutor() as executor:
        assert executor.num_workers == 2
        assert fastfc.sweep(GRID, data, executor, seeds=3) == fastfc.sweep(GRID, data, seeds=3)
    print("equal")
"""


def run(folder, program, *command):
    file = folder / "program.py"
    file.write_text(program)
    paths = [str(HERE), str(Path(fastfc.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([*command, file], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask's distributed is not installed")
def test_dask(tmp_path):
    assert run(tmp_path, DASK, sys.executable).endswith("equal\n")


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="mpi4py is not installed")
def test_mpi(tmp_path):
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    assert run(tmp_path, MPI, mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures").endswith("equal\n")
