"""The engines of fastfc/bench, their processes, and the command fastfc bench."""

import json
import math
from importlib.util import find_spec

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from fastfc.backend import use_backend
from fastfc.bench import machine, rounds, worker
from fastfc.bench.engines import ENGINES, course_numpy, own
from fastfc.bench.engines.scikit import classifier
from fastfc.bench.rounds import Job, Worker
from fastfc.bench.table import measured, table
from fastfc.bench.task import CHECK_SEED, CHECK_STEPS, Task
from fastfc.cli import main

SMALL = Task((5, 8, 6, 3), 16)


@pytest.fixture(autouse=True)
def _runs_end():
    """Engines keep their runs open for their process; this one has other tests."""
    yield
    own.held.close()


def losses_of(start, task, batches=None):
    batches = task.check_batches() if batches is None else batches
    # The engines of fastfc choose a backend for the thread they run in.
    with use_backend("fast"):
        return start(task, 1)(len(batches), batches)


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("start", [own.fast, own.reference])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fastfc_has_the_losses_of_the_course(start, normalization, dtype):
    task = Task((5, 8, 6, 3), 16, normalization, dtype=dtype)
    expected = losses_of(course_numpy.steps, task)
    losses = losses_of(start, task)
    assert len(losses) == len(expected) == CHECK_STEPS
    assert rounds.check_losses(losses, expected)["counted"]
    # The check can tell: other batches have other losses.
    others = losses_of(course_numpy.steps, task, task.check_batches()[::-1])
    assert not rounds.check_losses(others, expected)["counted"]


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in ("fastfc", "numpy")])
def test_an_installed_peer_has_the_losses_of_the_course(name):
    engine = ENGINES[name]
    task = Task((5, 8, 3), 16)
    expected = rounds.expected_losses(task)
    if find_spec(engine.module) is None:
        # Then a process that tries all the same says so.
        with pytest.raises(RuntimeError, match="ended with status 1: ModuleNotFoundError"):
            Worker(Job(name, engine.start, 1, task=task, check=True))
        return
    one = Worker(Job(name, engine.start, 1, task=task, check=True))
    one.close()
    assert rounds.check_losses(one.losses, expected)["counted"]


def test_steps_that_draw_their_batches_move_on():
    for start in (course_numpy.steps, own.fast, own.reference):
        with use_backend("fast"):
            run = start(Task((5, 8, 3), 16, "batchnorm", 0.8), 1)
            state = np.random.get_state()[1].copy()
            run(3)
        assert start is own.fast or not np.array_equal(state, np.random.get_state()[1])


def test_first_losses_that_are_no_numbers_do_not_count():
    assert rounds.check_losses([2.0, 1.5], [2.0, 1.0]) == {"loss_difference": 0.25, "counted": False}
    for bad in (math.nan, math.inf):
        assert rounds.check_losses([1.0, bad], [1.0, 1.0]) == {"loss_difference": 1e300, "counted": False}


def test_check_batches_are_the_course_solvers():
    np.random.seed(CHECK_SEED)
    drawn = [np.random.choice(SMALL.examples, SMALL.batch) for _ in range(CHECK_STEPS)]
    np.testing.assert_array_equal(SMALL.check_batches(), drawn)


def test_engines_say_what_they_cannot_do():
    refuses = ENGINES["sklearn"].refuses
    assert refuses(SMALL) is None
    for task in (
        Task((5, 8, 3), 16, "batchnorm"),
        Task((5, 8, 3), 16, keep=0.5),
        Task((5, 8, 2), 16),
        Task((5, 3), 16),
    ):
        assert isinstance(refuses(task), str)
    assert ENGINES["mlx"].refuses(Task((5, 3), 16, dtype="float64")) is not None
    assert callable(classifier)


def test_calibration_fills_the_time(monkeypatch):
    now = 0.0

    def run(n):
        nonlocal now
        done.append(n)
        now += n * 1e-3

    done = []
    monkeypatch.setattr(worker.time, "perf_counter", lambda: now)
    assert worker.calibrated(run, 0.02) == 20
    assert done[0] == 1
    assert worker.calibrated(run, 1e-6) == worker.LEAST_STEPS


def test_a_worker_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"ended with status 1: .*abacus"):
        Worker(Job("abacus", "abacus:start", 1, task=SMALL))


def test_a_worker_that_ends_leaves_the_rounds():
    jobs = [
        Job("own", "fastfc.bench.engines.course_numpy:steps", 1, task=SMALL),
        # Set up, and then wrong at every step.
        Job("broken", "fastfc.bench.engines.course_numpy:steps", 1, task=Task((5, -1, 3), 16)),
        Job("leaves", "os:abort", 1),
    ]
    left_out, lines = {}, []
    workers = rounds.measure(jobs, 2, 1e-3, left_out, lines.append)
    assert [(one.job.name, len(one.samples)) for one in workers] == [("own", 2)]
    assert sorted(left_out) == ["broken, threads 1", "leaves, threads 1"]
    assert len(lines) == 2
    assert all("left out, ended with status" in line for line in lines)


def test_preloaded_library_and_threads_reach_the_process(monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/old")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/cache")
    found = rounds._environment(Job("mlx", "", 3, preload="/some/libblas.so"))
    assert found["LD_PRELOAD"] == "/some/libblas.so"
    assert found["LD_LIBRARY_PATH"] == "/some:/old"
    assert found["OMP_NUM_THREADS"] == found["FASTFC_NUM_THREADS"] == "3"
    assert found["TORCHINDUCTOR_CACHE_DIR"].startswith("/cache")


def test_report_names_the_blas_and_its_kernels():
    report = machine.environment(["numpy"])
    if report["blas"] is None:
        pytest.skip("threadpoolctl does not know NumPy's BLAS here")
    kernels = {each.get("architecture", "unknown") for each in threadpool_info() if each["user_api"] == "blas"}
    assert report["blas"].partition(" (")[2].rstrip(")") in kernels
    assert f", NumPy's BLAS {report['blas']}; {report['date']}" in machine.shown(report)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("fastfc.bench.table._ROUNDS", 2)
    monkeypatch.setattr("fastfc.bench.table._SECONDS", 1e-3)


def test_command_prints_and_writes_the_table(short, tmp_path, capsys):
    out = tmp_path / "bench.json"
    net = ["--input", "5", "--hidden", "8", "--classes", "3", "--batch", "16", "--normalization", "none", "--keep", "1"]
    assert main(["bench", *net, "--threads", "1", "--peers", "mlx", "--dtype", "float64", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert printed == table(report) + "\n"
    assert printed.startswith("5-[8]-3, batch 16, float64, Adam\n")
    assert {"date", "machine", "python", "versions", "blas", "task"} <= set(report)
    # Absent, or for want of double precision: one line, no figures.
    assert printed.count("left out: mlx, ") == 1
    rows = [(row["work"], row["examples"], row["engine"]) for row in report["rows"]]
    works = [("training step", 16), ("prediction", 1), ("prediction", 16)]
    assert rows == [(*work, name) for work in works for name in ("fastfc", "reference")]
    assert all(row["counted"] and row["threads"] == 1 and row["median_us"] > 0 for row in report["rows"])


def test_table_shows_ratios_rates_and_what_does_not_count():
    def row(engine, threads, median, counted=True):
        figures = {"median_us": median, "p10_us": median / 2, "counted": counted}
        return {"work": "training step", "examples": 10, "engine": engine, "threads": threads} | figures

    text = table(
        {
            "task": {"dims": [4, 3], "batch": 10, "normalization": None, "keep": 0.5, "dtype": "float32"},
            "rows": [
                row("fastfc", 2, 20.0),
                row("reference", 1, 90.0),
                row("reference", 2, 50.0),
                row("mlx", 1, 10.0, counted=False),
            ],
            "left_out": {"jax": "jax is not installed"},
            "mlx_blas": None,
            "machine": {"cpu": "some", "cores": 1},
            "python": "3.12",
            "versions": {"numpy": "2"},
            "date": "2026-01-02",
        }
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["fastfc", "2", "20", "10", "500,000", "1.00"] in lines
    assert ["NumPy", "reference", "2", "50", "25", "200,000", "2.50"] in lines
    assert "MLX                            its losses differ" in text
    assert "4-[]-3, batch 10, keep 0.5, float32, Adam" in text
    assert "some, 1 core; Python 3.12, numpy 2; 2026-01-02" in text
    assert "left out: jax, jax is not installed" in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--hidden", "8,x"], "argument --hidden: expected positive whole numbers"),
        (["--batch", "0"], "argument --batch: expected a positive whole number"),
        (["--keep", "0"], "argument --keep: expected a probability"),
        (["--threads", "1,0"], "argument --threads: expected positive whole numbers"),
        (["--peers", "abacus"], "argument --peers: expected some of torch, jax, mlx, sklearn"),
        (["--dtype", "float16"], "argument --dtype: invalid choice"),
    ],
)
def test_wrong_options_are_one_line(argv, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *argv])
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unwritable_report_is_noticed_before_anything_is_measured(tmp_path, capsys):
    assert main(["bench", "--json", str(tmp_path / "no" / "bench.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_unknown_peer_and_thread_count_are_errors():
    with pytest.raises(ValueError, match="peers: expected some of torch"):
        measured(SMALL, peers=["abacus"])
    with pytest.raises(ValueError, match="threads: expected a positive integer"):
        measured(SMALL, threads=[0])
