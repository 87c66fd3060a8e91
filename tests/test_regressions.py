"""The comparison of two states of the package: verdicts by hand, and whole runs on a clock that the package moves."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "asv_bench"))

import regressions


def times(*values):
    """As many turns as the verdict needs."""
    return [values[i % len(values)] for i in range(30)]


@pytest.mark.parametrize(
    ("base", "candidate", "verdict"),
    [
        (times(1.0), times(1.0), "same"),
        (times(1.0, 1.01, 1.02), times(1.02, 1.0, 1.01), "same"),
        (times(1.0, 1.01, 1.02), times(1.2, 1.25, 1.22), "slower"),
        (times(1.0, 1.01, 1.02), times(0.8, 0.85, 0.82), "faster"),
        # Within the threshold of 5 %.
        (times(1.0, 1.01), times(1.02, 1.03), "same"),
        # A third of the turns is hardly slower.
        (times(1.0), times(1.02, 1.1, 1.1), "too noisy"),
        # The other half of the turns says nothing, or the opposite.
        (times(1.0, 2.0, 1.0), times(2.0, 1.0, 1.5), "too noisy"),
        # Disturbed now and then, with the same undisturbed time.
        (times(1.0), times(1.0, 1.6, 1.7), "too noisy"),
    ],
)
def test_verdicts(base, candidate, verdict):
    assert regressions.compared(base, candidate, 0.05).verdict == verdict


def test_figures_of_a_comparison():
    row = regressions.compared(times(2.0, 4.0), times(4.0, 8.0), 0.05)
    assert (row.base, row.medians, row.lowest_deciles, row.low, row.high) == (3.0, 2.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize(("n", "rank"), [(8, 1), (10, 1), (30, 8), (100, 37)])
def test_interval_of_the_median_is_the_binomial_one(n, rank):
    # From tables of the sign test at the two-sided level of 1 %: the smaller count that still rejects, and one more.
    assert regressions._rank_of_interval(n) == rank


def test_interval_needs_eight_turns():
    with pytest.raises(ValueError, match="at least 8, got 7"):
        regressions._rank_of_interval(7)


PACKAGE = """
import random
_random = random.Random(3)
def cost(n):
    return n * COST * (1 + NOISE * _random.random())
"""
BENCHMARKS = """
import fastfc

class Call:
    params = ([1, 50], ["fast", "reference"])
    param_names = ("n", "backend")
    now = 0.0
    ready = 0

    def setup(self, n, backend):
        assert backend == "fast"
        print("not an answer")
        self.ready += 1

    def close(self):
        self.ready -= 1

    def timer(self):
        return self.now

    def time_call(self, n, backend):
        assert self.ready == 1
        self.now += fastfc.cost(n)

def time_new():
    fastfc.added()

def track_something():
    raise AssertionError("only times are compared")
"""


def write_package(folder, cost, noise=0.01, more="def added(): pass\n"):
    (folder / "fastfc").mkdir(parents=True, exist_ok=True)
    (folder / "fastfc" / "__init__.py").write_text(
        PACKAGE.replace("COST", str(cost)).replace("NOISE", str(noise)) + more
    )
    return folder


@pytest.fixture
def folder(tmp_path):
    """Benchmarks, and states of a package whose calls move the clock by a known time."""
    (tmp_path / "timings").mkdir()
    (tmp_path / "timings" / "__init__.py").write_text("")
    (tmp_path / "timings" / "clocked.py").write_text(BENCHMARKS)
    write_package(tmp_path / "base", 1e-3)
    return tmp_path


def compare(folder, *options, bench="Call"):
    options = ["--benchmarks", str(folder / "timings"), "--processes", "2", "--bench", bench, *options]
    return regressions.main([str(folder / "base"), *options])


def rows(output):
    """Label -> verdict."""
    lines = [line for line in output.splitlines() if line.startswith("clocked.")]
    return {line.split(")")[0] + ")": line.split("  ")[-1].strip() for line in lines}


def test_equal_states_are_the_same(folder, capsys):
    assert compare(folder, "--candidate", str(write_package(folder / "other", 1e-3))) == 0
    out = capsys.readouterr().out
    assert rows(out) == {f"clocked.Call.time_call({n}, fast)": "same" for n in (1, 50)}
    assert out.splitlines()[-1] == "2 same"
    assert "1.00" in out
    assert " ms " in out


def test_slowdown_is_found(folder, capsys):
    assert compare(folder, "--candidate", str(write_package(folder / "other", 1.2e-3))) == 1
    out = capsys.readouterr().out
    assert set(rows(out).values()) == {"slower"}
    assert " 1.20 " in out


def test_threshold(folder, capsys):
    other = str(write_package(folder / "other", 1.2e-3))
    assert compare(folder, "--candidate", other, "--threshold", "30") == 0
    assert set(rows(capsys.readouterr().out).values()) == {"same"}


def test_speedup_is_found(folder, capsys):
    assert compare(folder, "--candidate", str(write_package(folder / "other", 0.5e-3))) == 0
    assert set(rows(capsys.readouterr().out).values()) == {"faster"}


def test_noise_is_told_from_a_verdict(folder, capsys):
    write_package(folder / "base", 1e-3, noise=20)
    # Other random numbers than the base's.
    other = write_package(folder / "other", 1e-3, noise=20, more="_random.seed(4)\n")
    assert compare(folder, "--candidate", str(other), "--blocks", "1") == 3
    assert set(rows(capsys.readouterr().out).values()) == {"too noisy"}


def test_what_one_side_cannot_run(folder, capsys):
    without = str(write_package(folder / "without", 1e-3, more=""))
    assert compare(folder, "--candidate", without, bench="new") == 1
    assert "failed: candidate: AttributeError: module 'fastfc' has no attribute 'added'" in capsys.readouterr().out
    write_package(folder / "base", 1e-3, more="")
    assert compare(folder, "--candidate", str(write_package(folder / "with", 1e-3)), bench="new") == 0
    assert "left out: base: AttributeError" in capsys.readouterr().out


def test_commit_against_the_working_tree(folder, capsys, monkeypatch):
    tree = write_package(folder / "tree", 1e-3)

    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tree, check=True, capture_output=True)

    git("init", "--quiet")
    git("add", "fastfc")
    git("commit", "--quiet", "--message", "First")
    write_package(tree, 2e-3)
    monkeypatch.setattr(regressions, "ROOT", tree)
    options = ["--benchmarks", str(folder / "timings"), "--processes", "1", "--bench", "Call"]
    assert regressions.main(["HEAD", *options]) == 1
    captured = capsys.readouterr()
    assert set(rows(captured.out).values()) == {"slower"}
    exported = Path(captured.err.splitlines()[0].removeprefix("base HEAD: "))
    assert not exported.exists()
    assert regressions.main(["HEAD", "--candidate", "HEAD", *options]) == 0
    capsys.readouterr()
    assert regressions.main(["no-such-commit", *options]) == 2
    assert "no-such-commit: neither a folder nor a commit" in capsys.readouterr().err


def test_a_worker_that_ends_is_an_error(folder):
    broken = write_package(folder / "broken", 1e-3, more="raise ImportError('broken')\n")
    with pytest.raises(RuntimeError, match="a worker ended with status 1"):
        compare(folder, "--candidate", str(broken))


def test_no_benchmark_matches(folder, capsys):
    assert compare(folder, bench="nothing") == 2
    assert "--bench: none of 3 benchmarks matches" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--turns", "0"], ["--processes", "1", "--turns", "7"], ["--threshold", "0"], ["--bench", "("]]
)
def test_bad_options(options, capsys):
    with pytest.raises(SystemExit, match="2"):
        regressions.main(["main", *options])
    assert options[0] in capsys.readouterr().err


def test_on_the_package_itself(capsys):
    root = str(regressions.ROOT)
    options = ["--bench", "rules.sgd.time_call.fast, 100x64 float32", "--processes", "1", "--blocks", "1"]
    code = regressions.main([root, "--candidate", root, *options])
    header, row, summary = capsys.readouterr().out.splitlines()
    assert header.split() == ["benchmark", "base", "ratio", "low", "interval", "verdict"]
    assert row.startswith("rules.sgd.time_call(fast, 100x64 float32, 1)")
    verdict = summary.removeprefix("1 ")
    assert row.endswith(verdict)
    assert code == {"same": 0, "faster": 0, "slower": 1, "too noisy": 3}[verdict]
