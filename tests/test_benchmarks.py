"""Every benchmark of asv_bench runs once, on a small network or operand, and measures what it says."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfc
from fastfc.backend import OPS
from fastfc.optim import STATE

FOLDER = Path(__file__).parents[1] / "asv_bench"
sys.path.insert(0, str(FOLDER))

from benchmarks import common, operations, shapes  # noqa: E402
from regressions import BENCHMARKS, discovered  # noqa: E402

JIT = not numba.config.DISABLE_JIT
FOUND = {benchmark.name: benchmark for benchmark in discovered(BENCHMARKS)}
#: Smaller than any benchmark's own.
SMALL = {"size": "8x5 float32", "net @ batch": "4-[8]-3@16", "net": "4-[8]-3"}
# They train for hundreds of steps.
LONG = ("estimators.", "learning.", "memory.")


def attributes_of(benchmark):
    return [getattr(benchmark.owner, benchmark.attribute, None), benchmark.owner]


def attribute(benchmark, name, default=None):
    """As asv looks it up: the function's own, then its class's."""
    for source in attributes_of(benchmark):
        if getattr(source, name, None) is not None:
            return getattr(source, name)
    return default


def smallest_parameters(benchmark):
    """A parameter set per backend, else one."""
    names, params = attribute(benchmark, "param_names", ()), attribute(benchmark, "params", ())
    chosen = {name: SMALL.get(name, values[0]) for name, values in zip(names, params, strict=True)}
    backends = dict(zip(names, params, strict=True)).get("backend", [None])
    for backend in backends:
        yield tuple((chosen | {"backend": backend})[name] for name in names)


RUNS = [(name, values) for name, benchmark in FOUND.items() for values in smallest_parameters(benchmark)]
IN_PROCESS = [run for run in RUNS if FOUND[run[0]].kind != "timeraw"]
RAW = [run for run in RUNS if FOUND[run[0]].kind == "timeraw"]


@pytest.fixture(autouse=True)
def _as_before():
    yield
    assert fastfc.get_num_threads() is None


@pytest.mark.parametrize(("name", "values"), IN_PROCESS, ids=str)
def test_benchmark_runs(name, values, monkeypatch):
    if not JIT and name.startswith(LONG) and "reference" not in values:
        pytest.skip("hundreds of steps without the compiler")
    if name.startswith("estimators."):
        pytest.importorskip("sklearn")
    monkeypatch.setattr(common, "SAMPLE_SECONDS", 1e-3)
    benchmark = FOUND[name]
    owner, call = benchmark.made()
    if hasattr(owner, "setup_cache"):
        assert owner.setup_cache() is None
    owner.setup(*values)
    # asv sets up again before every sample.
    owner.setup(*values)
    try:
        if benchmark.kind == "time":
            done, run = [], owner.run
            owner.run = lambda n: (done.append(n), run(n))
            assert call(*values) is None
            assert done == [owner.calls]
            assert owner.calls >= 1
        elif benchmark.kind == "track":
            value = call(*values)
            assert np.isfinite(value)
            assert value >= 0
        else:
            assert call(*values) is None
    finally:
        owner.close()


@pytest.mark.parametrize(("name", "values"), RAW, ids=str)
def test_raw_benchmark_runs(name, values, tmp_path):
    owner, call = FOUND[name].made()
    if hasattr(owner, "setup"):
        owner.setup(*values)
    code = call(*values)
    statement, setup = (code, "") if isinstance(code, str) else code
    # Compiling is not what is tested.
    environment = {"PYTHONPATH": str(FOLDER.parent), "TMPDIR": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    ending = "\nimport os\nprint(os.environ.get('NUMBA_CACHE_DIR', ''))"
    done = subprocess.run(
        [sys.executable, "-c", setup + statement + ending],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    cold = "cold" in name
    assert bool(setup) == cold
    assert done.stdout.strip().startswith(str(tmp_path)) == cold
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FOUND)
def test_benchmark_says_what_it_is(name):
    benchmark = FOUND[name]
    assert isinstance(attribute(benchmark, "version"), str)
    assert not hasattr(benchmark.owner, "teardown")
    if benchmark.kind == "track":
        assert attribute(benchmark, "unit")
    names, params = attribute(benchmark, "param_names", ()), attribute(benchmark, "params", ())
    assert len(set(names)) == len(names) == len(params)
    if benchmark.kind == "time":
        assert {"backend", "threads"} <= set(names)
        assert (names[0], params[0]) == ("backend", ["fast", "reference"])


def test_every_operation_has_benchmarks():
    for name in OPS:
        module = "rules" if name in STATE else "layers"
        for expected in (f"{module}.{name}.time_call", f"speedups.{name}.track_ratio"):
            assert expected in FOUND
        assert f"errors.{name}.track_ulp" in FOUND


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPS)
def test_largest_error_is_within_tolerance(name, dtype):
    case = operations.case_of(name, f"31x7 {dtype}")
    # A unit in the last place is at least half of eps times the magnitude.
    bound = 2 * fastfc.tolerance(dtype, case.terms) / np.finfo(dtype).eps
    assert operations.largest_error_in_ulp(case, "fast") <= bound * case.gain
    assert operations.largest_error_in_ulp(case, "reference") <= bound * case.gain


def test_largest_error_of_a_wrong_result():
    case = operations.case_of("relu_forward", "3x4 float32")
    case.args[0][...] = 1.0
    worst = operations.largest_error_in_ulp(
        operations.Case(case.name, case.args, lambda result, args: [result[0] * (result[0].dtype == np.float64)],
                        [np.ones((3, 4))], 0),
        "reference",
    )  # fmt: skip
    assert worst == 1 / np.finfo(np.float32).eps


def test_more_threads_than_processors_are_left_out():
    with pytest.raises(NotImplementedError, match="processors"), common.pinned("fast", 10**6):
        pass


def test_failed_setup_leaves_nothing_behind():
    class Failing(common.Benchmark):
        def prepare(self):
            self._stack.enter_context(common.pinned("reference", 1))
            raise ValueError("no data")

    before = fastfc.get_backend()
    with pytest.raises(ValueError, match="no data"):
        Failing().setup()
    assert fastfc.get_backend() == before


def test_calls_fill_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(common.time, "perf_counter", lambda: clock[0])

    def run(n):
        clock[0] += 0.25 * n

    assert common.calls_for(run, 100.0) == 400
    assert common.calls_for(run, 1e-3) == 1


def test_speedup_of_known_times(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(common.time, "perf_counter", lambda: clock[0])

    def run_of(seconds):
        def run(n):
            clock[0] += seconds * n

        return run

    assert common.speedup(run_of(3.0), run_of(0.5)) == pytest.approx(6.0)


@pytest.mark.parametrize("shape", shapes.STEPS)
def test_shapes_read_back(shape):
    dims, batch = shapes.parse_shape(shape)
    assert f"{dims[0]}-{list(dims[1:-1])}-{dims[-1]}@{batch}".replace(" ", "") == shape


@pytest.mark.parametrize("shape", ["64-100-10@32", "64-[]-10@32", "64-[100]-10", "64-[100]-10@32@1", "64-[100]-10@"])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="shape: expected"):
        shapes.parse_shape(shape)


def test_benchmarks_do_not_need_asv():
    code = "import sys, benchmarks.steps, benchmarks.startup; assert not {'asv', 'asv_runner'} & set(sys.modules)"
    path = {"PYTHONPATH": f"{FOLDER}{os.pathsep}{FOLDER.parent}"}
    subprocess.run([sys.executable, "-c", code], env=os.environ | path, check=True)
