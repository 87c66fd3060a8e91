import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent.parent / "asv_bench" / "compare.py"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules["compare"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare"]


def row(engine, threads, median, **changes):
    figures = {"median_us": median, "p10_us": median / 2, "p90_us": 2 * median, "counted": True, "limit_us": 5.0}
    return {"shape": "4-[8]-3@16", "config": "bn", "engine": engine, "threads": threads} | figures | changes


def report(compare, *rows):
    options = compare.arguments(["--threads", "1,2"])
    return compare.environment(compare.ENGINES, ["numpy"], options) | {"kind": "steps", "results": list(rows)}


def cells(table, line):
    return [cell.strip() for cell in table.splitlines()[line].strip("|").split("|")]


def test_shape_names(compare):
    assert compare.parse_shape("64-[100,100]-10@32") == ((64, 100, 100, 10), 32)
    assert [len(compare.parse_shape(shape)[0]) for shape in compare.SHAPES] == [3, 4, 4, 5, 5, 5, 5]


@pytest.mark.parametrize("name", ["64-100-10@32", "64-[]-10@32", "64-[100]-10", "64-[100]-10@32@1"])
def test_other_shape_names_are_refused(compare, name):
    with pytest.raises(ValueError, match="shape: expected"):
        compare.parse_shape(name)


def test_limit_by_hand(compare):
    task = compare.Task((2, 3, 5), 7, "batchnorm", 0.8)
    # Forward and weight gradient of both layers, input gradient of the second.
    assert task.gemm_flops == 2 * 7 * (2 * 6 + 3 * 15)
    assert task.parameters == (2 * 3 + 3) + (3 * 5 + 5) + (3 + 3)
    assert task.limit_seconds(2.0, 24.0) == pytest.approx(task.gemm_flops / 2 + task.parameters)


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
def test_course_step_and_fastfc_have_the_same_losses(compare, normalization):
    task = compare.Task((5, 8, 6, 3), 16, normalization)
    batches = task.check_batches()
    expected = compare.course_numpy(task, 1)(len(batches), batches)
    losses = compare.fastfc_run(task, 1)(len(batches), batches)
    assert len(losses) == len(expected) == compare.CHECK_STEPS
    assert compare.loss_difference(losses, expected) <= compare.LOSS_TOLERANCE
    # The check can tell: losses move, and other batches have other losses.
    others = compare.course_numpy(task, 1)(len(batches), batches[::-1])
    assert compare.loss_difference(others, expected) > compare.LOSS_TOLERANCE


def test_loss_that_is_no_number_differs(compare):
    assert compare.loss_difference([1.0, float("nan")], [1.0, 1.0]) == float("inf")
    assert compare.loss_difference([2.0, 1.5], [2.0, 1.0]) == pytest.approx(0.25)


def test_calibration_fills_the_time(compare):
    done = []

    def run(n):
        done.append(n)
        compare.time.sleep(n * 1e-3)

    assert 5 <= compare.calibrated(run, 0.02) <= 20
    assert done[0] == 1


def test_table_takes_the_better_thread_count_and_leaves_out_wrong_losses(compare):
    table = compare.markdown(
        report(
            compare,
            row("fastfc", 1, 20.0),
            row("fastfc", 2, 10.0),
            row("numpy", 1, 30.0, p10_us=20.0),
            row("numpy", 2, 90.0),
            row("torch", 1, 5.0, counted=False),
            row("torch", 2, 40.0),
            row("jax", 1, 1.0, counted=False),
        )
    )
    assert cells(table, 0)[2:] == [
        "fastfc, us",
        "course NumPy",
        "PyTorch eager",
        "JAX step",
        "limit, us",
        "fastfc / limit",
    ]
    assert cells(table, 2) == [
        "4-[8]-3@16", "bn", "10 (5)", "3.00 (4.00)", "4.00 (4.00)", "differs", "5", "2.00",
    ]  # fmt: skip
    assert "Medians of 20 rounds" in table


def test_table_of_operations_has_a_column_per_thread_count(compare):
    rows = [
        row("fastfc", 1, 10.0, operation="adam", shape=[8, 4]),
        row("torch", 1, 30.0, operation="adam", shape=[8, 4]),
        row("torch", 2, 20.0, operation="adam", shape=[8, 4]),
    ]
    table = compare.markdown(report(compare, *rows) | {"kind": "operations"})
    assert cells(table, 0) == ["operation", "shape", "fastfc, us", "PyTorch", "PyTorch, 2 threads"]
    assert cells(table, 2) == ["adam", "8x4", "10 (5)", "3.00 (3.00)", "2.00 (2.00)"]


@pytest.mark.parametrize("operation", ["batchnorm", "layernorm", "relu_backward", "adam"])
def test_operations_run(compare, operation):
    for start in (compare.fastfc_operation, compare.numpy_operation):
        assert start(operation, (6, 4), 1)(2) is None


def test_whole_comparison_of_one_engine(compare, tmp_path, capsys, monkeypatch):
    absent = compare.Engine("absent", compare.course_numpy, "no_such_module")
    monkeypatch.setitem(compare.ENGINES, "absent", absent)
    out = tmp_path / "out.json"
    work = ["--shapes", "4-[8]-3@16", "--configs", "bn", "--threads", "1", "--quick"]
    files = ["--json", str(out), "--markdown", str(tmp_path / "out.md")]
    compare.main(["--engines", "numpy,fastfc,absent", *work, *files])
    assert "absent: left out, no_such_module is not installed" in capsys.readouterr().err
    measured = json.loads(out.read_text())
    assert {"date", "machine", "versions", "threads", "rates", "results"} <= set(measured)
    assert [(r["engine"], r["counted"]) for r in measured["results"]] == [("numpy", True), ("fastfc", True)]
    assert all(0 < r["p10_us"] <= r["median_us"] <= r["p90_us"] for r in measured["results"])
    assert all(r["limit_us"] > 0 for r in measured["results"])
    assert (tmp_path / "out.md").read_text() == compare.markdown(measured)


def test_bad_options_are_one_line(compare, capsys):
    for argv in (["--configs", "rms"], ["--shapes", "4-8-3"], ["--engines", "abacus"], ["--rounds", "0"]):
        with pytest.raises(SystemExit, match="2"):
            compare.main(argv)
        assert argv[0] in capsys.readouterr().err or argv[0] == "--shapes"


def test_a_worker_that_fails_says_why(compare):
    with pytest.raises(RuntimeError, match=r"ended with status 1: KeyError: 'abacus'"):
        compare.Worker("abacus", {"threads": 1, "dims": [2, 2], "batch": 1, "normalization": None, "keep": 1.0})


def test_check_batches_are_the_course_solvers(compare):
    task = compare.Task((2, 3, 2), 5)
    np.random.seed(compare.CHECK_SEED)
    drawn = [np.random.choice(task.examples, 5) for _ in range(compare.CHECK_STEPS)]
    np.testing.assert_array_equal(task.check_batches(), drawn)
