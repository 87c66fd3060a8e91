"""asv_bench/compare.py: peers side by side, the machine's limit, rows that are merged, and the tables."""

import importlib
import itertools
import json
import runpy

import compare
import pytest
import scaling
import tables

WHERE = {
    "date": "2026-01-02",
    "machine": {"cpu": "some", "cores": 2, "system": "any"},
    "python": "3.12",
    "versions": {"numpy": "2"},
    "threads": [1, 2],
    "rounds": 20,
    "seconds_per_turn": 0.1,
}


def engine(name, threads, median, **changes):
    figures = {"median_us": median, "p10_us": median / 2, "p90_us": 2 * median, "counted": True}
    return {"engine": name, "threads": threads} | figures | changes


def steps(*engines, variant="plain", shape="4-[32]-3@16", **changes):
    row = {"variant": variant, "shape": shape, "mlx_blas": None, "limit_us": 5.0, "left_out": {}}
    return row | WHERE | {"engines": list(engines)} | changes


def cells(table, line):
    rows = [text for text in table.splitlines() if text.startswith("|")]
    return [cell.strip() for cell in rows[line].strip("|").split("|")]


@pytest.mark.parametrize("variant", ["batchnorm + dropout", "plain", "layernorm + dropout"])
def test_every_shape_is_a_net(variant):
    normalization, keep = compare.VARIANTS[variant]
    tasks = [compare.Task(*compare.parse_shape(shape), normalization, keep) for shape in compare.SHAPES[variant]]
    assert len(set(tasks)) == len(compare.SHAPES[variant])
    assert all(task.hidden >= 1 and task.gemm_flops > 0 for task in tasks)


def test_limit_by_hand():
    task = compare.Task((2, 3, 5), 7, "batchnorm", 0.8)
    slow = {"flops_per_second": 1.0, "bytes_per_second": 24.0}
    fast = {"flops_per_second": 2.0, "bytes_per_second": 24.0}
    # Forward and weight gradient of both layers, input gradient of the second.
    flops = 2 * 7 * (2 * 6 + 3 * 15)
    parameters = (2 * 3 + 3) + (3 * 5 + 5) + (3 + 3)
    assert compare.limit_seconds(task, {1: slow, 2: fast}) == pytest.approx(flops / 2 + parameters)
    assert compare.limit_seconds(task, {1: {"flops_per_second": 1.0}}) is None


def test_table_takes_the_better_thread_count_and_leaves_out_wrong_losses():
    row = steps(
        engine("fastfc", 1, 20.0),
        engine("fastfc", 2, 10.0),
        engine("numpy", 1, 30.0, p10_us=20.0),
        engine("numpy", 2, 90.0),
        engine("torch", 1, 5.0, counted=False),
        engine("torch", 2, 40.0),
        engine("jax", 1, 1.0, counted=False),
        left_out={"MLX": "mlx is not installed"},
    )
    table = compare.tables({"kind": "steps", "rows": [row]})
    assert cells(table, 0) == [
        "net@batch", "fastfc, µs", "threads",
        "course NumPy", "PyTorch eager", "JAX step", "limit, µs", "fastfc / limit",
    ]  # fmt: skip
    assert cells(table, 2) == ["4-[32]-3@16", "10 (5)", "2", "3.00 (4.00)", "4.00 (4.00)", "differs", "5", "2.00"]
    for part in ("some, 2 cores; Python 3.12, numpy 2; 2026-01-02", "Threads 1 and 2; 20 rounds", "MLX (mlx is not"):
        assert part in table


def test_table_of_families_takes_the_fastest_form_that_counts():
    row = steps(
        engine("fastfc", 1, 10.0),
        engine("torch", 1, 40.0),
        engine("torch-compile", 2, 1.0, counted=False),
        engine("torch-compile-step", 2, 30.0),
    )
    table = compare.tables({"kind": "steps", "rows": [row]}, tables.FAMILIES)
    assert cells(table, 0)[3] == "PyTorch"
    assert cells(table, 2)[3] == "3.00 (3.00)"


def test_rows_of_other_circumstances_are_numbered():
    old = steps(engine("fastfc", 1, 10.0))
    new = steps(engine("fastfc", 1, 10.0), shape="8-[64,64]-4@64", date="2026-03-04")
    table = compare.tables({"kind": "steps", "rows": [old, new]})
    assert cells(table, 2)[0] == "4-[32]-3@16 [1]"
    assert cells(table, 3)[0] == "8-[64,64]-4@64 [2]"
    assert "[2] some, 2 cores; Python 3.12, numpy 2; 2026-03-04" in table


def test_every_engine_has_a_column_and_a_family():
    columns = itertools.chain.from_iterable(tables.FAMILIES.values())
    assert sorted(columns) == sorted(compare.ENGINES)


def test_table_of_operations_has_a_column_per_thread_count():
    engines = [engine("fastfc", 1, 10.0), engine("torch", 1, 30.0), engine("torch", 2, 4.0)]
    row = {"operation": "adam", "shape": [8, 4], "left_out": {}, "engines": engines} | WHERE
    table = compare.tables({"kind": "kernels", "rows": [row]})
    assert cells(table, 0) == ["operation", "shape", "fastfc, µs", "PyTorch, 1 thread", "PyTorch, 2 threads"]
    # Where fastfc loses stays in.
    assert cells(table, 2) == ["adam", "8 x 4", "10 (5)", "3.00 (3.00)", "0.40 (0.40)"]


def test_a_row_takes_the_place_of_its_older_form():
    first, second = steps(shape="8-[64,64]-4@64"), steps(shape="4-[32]-3@16", variant="batchnorm + dropout")
    comparison = {"kind": "steps", "rows": [first, second]}
    newer = steps(shape="8-[64,64]-4@64", date="2026-03-04")
    own = steps(shape="2-[3]-2@5")
    rows = compare.merged(compare.merged(comparison, newer), own)["rows"]
    # In the order of the variants and shapes, whatever else was measured last.
    assert rows == [second, newer, own]
    assert comparison["rows"] == [first, second]


@pytest.mark.parametrize("operation", ["batchnorm_backward", "layernorm_forward", "relu_backward", "adam"])
def test_operations_run(operation):
    for name in ("fastfc", "numpy"):
        module, _, function = compare.OPERATION_ENGINES[name].start.partition(":")
        start = getattr(importlib.import_module(module), function)
        assert start(operation, [6, 4], 1)(2) is None


def test_measured_rows_are_merged_into_a_file(tmp_path, capsys):
    out = tmp_path / "out.json"
    first = steps(engine("fastfc", 1, 10.0), variant="batchnorm + dropout")
    compare.write_comparison(out, {"kind": "steps", "rows": [first]})
    work = ["--shapes", "4-[8]-3@16", "--variants", "plain", "--threads", "1", "--rounds", "2", "--seconds", "0.01"]
    compare.main(["--engines", "numpy,fastfc,torch", *work, "--into", str(out), "--markdown", str(tmp_path / "out.md")])
    comparison = json.loads(out.read_text())
    assert comparison["rows"][0] == first
    row = comparison["rows"][1]
    assert (row["variant"], row["shape"], row["threads"], row["rounds"]) == ("plain", "4-[8]-3@16", [1], 2)
    assert {"date", "machine", "python", "versions", "rates"} <= set(row)
    assert row["rates"]["1"]["flops_per_second"] > 0
    assert row["rates"]["1"]["bytes_per_second"] > 0
    assert row["limit_us"] > 0
    mine = [one for one in row["engines"] if one["engine"] in ("numpy", "fastfc")]
    assert [(one["engine"], one["counted"]) for one in mine] == [("numpy", True), ("fastfc", True)]
    assert all(0 < one["p10_us"] <= one["median_us"] <= one["p90_us"] for one in mine)
    torch_ran = any(one["engine"] == "torch" for one in row["engines"])
    assert torch_ran != ("PyTorch eager" in row["left_out"])
    # The printed table has the new row only, and so has the other file.
    table = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert table == compare.tables({"kind": "steps", "rows": [row]})
    assert table in capsys.readouterr().out


def test_measured_kernels_are_merged_into_a_file(tmp_path):
    out = tmp_path / "kernels.json"
    work = ["--kernels", "--engines", "numpy", "--variants", "adam", "--shapes", "8x4"]
    for seconds in ("0.01", "0.02"):
        compare.main([*work, "--threads", "1", "--rounds", "1", "--seconds", seconds, "--into", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["operation"], row["shape"], row["seconds_per_turn"]) == ("adam", [8, 4], 0.02)
    assert row["engines"][0]["median_us"] > 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--variants", "rms"], "--variants: rms is not one of batchnorm + dropout"),
        (["--shapes", "4-8-3"], "shape: expected input-"),
        (["--kernels", "--shapes", "4-[8]-3@16"], "shape: expected rows x columns"),
        (["--kernels", "--variants", "plain"], "--variants: plain is not one of batchnorm_forward"),
        (["--engines", "abacus"], "--engines: abacus is not one of fastfc"),
        (["--rounds", "0"], "--rounds: expected a positive number"),
        (["--threads", "0"], "argument --threads"),
    ],
)
def test_bad_options_are_one_line(capsys, argv, said):
    with pytest.raises(SystemExit, match="2"):
        compare.main(argv)
    assert said in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused_before_anything_is_measured(tmp_path, capsys):
    path = tmp_path / "kernels.json"
    compare.write_comparison(path, {"kind": "kernels", "rows": []})
    with pytest.raises(SystemExit, match="2"):
        compare.main(["--into", str(path)])
    assert "expected a comparison of steps" in capsys.readouterr().err
    assert json.loads(path.read_text()) == {"kind": "kernels", "rows": []}


def test_table_of_threads():
    """A column for each processor and number of threads; shapes that a processor lacks are dashes."""
    name = "batchnorm + dropout"
    small, large = "4-[32]-3@16", "784-[64]-10@100"
    first = [steps(engine("fastfc", 1, 2.5), engine("fastfc", 2, 5.0), engine("numpy", 1, 9.0), variant=name)]
    second = [
        steps(engine("fastfc", 1, 1500.0), engine("fastfc", 2, 1000.0), variant=name, shape=large),
        steps(engine("fastfc", 1, 7.0), variant="plain", shape=small),
    ]
    table = scaling.table([{"rows": first}, {"rows": second}])
    assert cells(table, 0)[0] == "net@batch"
    assert cells(table, 2) == [small, "2.5", "0.50 x", "-", "-"]
    assert cells(table, 3) == [large, "-", "-", "1,500", "1.50 x"]


def test_figure_of_the_steps():
    """A dot for each library and network that was counted, at the ratio of its best median to fastfc's."""
    pytest.importorskip("matplotlib")
    figures = runpy.run_path(str(tables.FOLDER.parent / "docs" / "figures.py"))
    figure = figures["steps"]()
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == len(figures["VARIANTS"]) * len(figures["PROCESSORS"])
    rows = json.loads((tables.FOLDER / "results" / "steps.json").read_text(encoding="utf-8"))["rows"]
    chosen = [row for row in rows if row["variant"] == figures["VARIANTS"][0]]
    shapes = [label.get_text() for label in panels[0].get_yticklabels()]
    assert shapes == [row["shape"] for row in chosen]
    drawn = {line.get_label(): dict(zip(line.get_ydata(), line.get_xdata(), strict=True)) for line in panels[0].lines}
    for title, names in tables.FAMILIES.items():
        for place, row in enumerate(chosen):
            own = min(one["median_us"] for one in row["engines"] if one["engine"] == "fastfc")
            times = [one["median_us"] for one in row["engines"] if one["engine"] in names and one["counted"]]
            if title != "fastfc" and times:
                assert drawn[title][place] == min(times) / own
