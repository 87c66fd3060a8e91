"""Is a change faster or slower? Two states of the package, timed in turns in one run.

    python asv_bench/regressions.py main                       the working tree against a commit
    python asv_bench/regressions.py v0.1 --candidate main      two commits
    python asv_bench/regressions.py main --bench 'rules|norm'  other benchmarks; '' for all

Both sides run the ``time_`` benchmarks of ``asv_bench/benchmarks`` on the fast backend, each
side in processes of its own. Turns alternate (A B B A ...), so that whatever else the machine
does meets both, and several pairs of processes even out where memory happens to lie. Counted
are ratios, the candidate's time over the base's in neighbouring turns. A benchmark is

    slower     if the medians' and the lowest deciles' ratio are both beyond the threshold,
               and the whole interval of the median ratio is beyond half of it;
    faster     the same the other way;
    same       if the interval lies within the threshold;
    too noisy  otherwise, after several blocks of turns: take more, or a quieter machine.

Exit code: 0 if nothing is slower, 1 if something is slower or fails, 2 for a wrong call,
3 if nothing is slower but something is too noisy.
"""

import argparse
import contextlib
import importlib
import inspect
import io
import itertools
import json
import math
import os
import pkgutil
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "asv_bench" / "benchmarks"
#: A run of some minutes: operations at one size, the shapes of steps, prediction, on one thread.
DEFAULT_BENCH = r"256x512 float32|Shapes.* 1\)$|Predict.* 1\)$"

#: The interval of the median ratio is wrong in at most one case of so many.
_ODDS = 100
_PREFIXES = ("time_", "timeraw_", "track_", "mem_", "peakmem_")


@dataclass(frozen=True)
class Benchmark:
    """A method of a class, or a function: as asv finds it, under the name that asv gives it."""

    name: str
    owner: Any
    attribute: str

    @property
    def kind(self) -> str:
        return self.attribute.partition("_")[0]

    def made(self) -> tuple[Any, Callable]:
        """(what has the attributes, what is called)."""
        owner = self.owner() if inspect.isclass(self.owner) else self.owner
        return owner, owner if self.owner is owner else getattr(owner, self.attribute)


def discovered(folder: Path) -> Iterator[Benchmark]:
    """The benchmarks of a package, which is imported by its folder's name."""
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    package = importlib.import_module(folder.name)
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{folder.name}.{info.name}")
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            if inspect.isclass(value):
                for attribute in dir(value):
                    if attribute.startswith(_PREFIXES) and callable(getattr(value, attribute)):
                        yield Benchmark(f"{info.name}.{name}.{attribute}", value, attribute)
            elif inspect.isfunction(value) and name.startswith(_PREFIXES):
                yield Benchmark(f"{info.name}.{name}", value, name)


def combinations(benchmark: Benchmark) -> Iterator[tuple]:
    """The parameters of each run on the fast backend."""
    names, params = getattr(benchmark.owner, "param_names", ()), getattr(benchmark.owner, "params", ())
    for values in itertools.product(*params):
        if dict(zip(names, values, strict=True)).get("backend", "fast") == "fast":
            yield values


# The worker: one side in a process of its own, which answers a line of JSON with a line of JSON.


def worker(tree: Path, folder: Path) -> None:
    # Output of benchmarks must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import fastfc

    if not Path(fastfc.__file__).resolve().is_relative_to(tree.resolve()):
        raise RuntimeError(f"fastfc comes from {fastfc.__file__}, not from {tree}")
    found = {benchmark.name: benchmark for benchmark in discovered(folder) if benchmark.kind == "time"}
    state: dict[str, Any] = {}

    def everything():
        return [(name, values) for name, benchmark in found.items() for values in combinations(benchmark)]

    def setup(name, values):
        if name not in found:
            return "no such benchmark"
        try:
            state["owner"], state["call"] = found[name].made()
            state["values"] = values
            if hasattr(state["owner"], "setup"):
                state["owner"].setup(*values)
            turn()
        except NotImplementedError as error:
            return f"left out: {error}"
        except Exception as error:  # noqa: BLE001 - whatever the code of some commit raises is a result
            return f"{type(error).__name__}: {error}"
        return None

    def turn():
        timer = getattr(state["owner"], "timer", time.perf_counter)
        start = timer()
        state["call"](*state["values"])
        return timer() - start

    def close():
        if hasattr(state.get("owner"), "close"):
            state["owner"].close()
        state.clear()

    commands = {"everything": everything, "setup": setup, "turn": turn, "close": close}
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(commands[command](*arguments)), file=answers, flush=True)
    answers.flush()
    # Threads of a library must not hold the process back.
    os._exit(0)


class Side:
    """The other end of a worker."""

    def __init__(self, tree: Path, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "FASTFC_BACKEND")}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(tree), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"PYTHONPATH": str(tree)},
        )

    def ask(self, *command: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a worker ended with status {self._process.wait()} at {command}")
        return json.loads(answer)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


# The verdict


@dataclass(frozen=True)
class Comparison:
    """Seconds of the base's median turn, and ratios of the candidate's time to the base's."""

    base: float
    medians: float
    lowest_deciles: float
    low: float
    high: float
    verdict: str


def compared(base: list[float], candidate: list[float], threshold: float) -> Comparison:
    """Judge the times of neighbouring turns, at least 8 of them."""
    ratios = sorted(c / b for b, c in zip(base, candidate, strict=True))
    rank = _rank_of_interval(len(ratios))
    low, high = ratios[rank - 1], ratios[-rank]
    medians = statistics.median(candidate) / statistics.median(base)
    deciles = statistics.quantiles(candidate, n=10)[0] / statistics.quantiles(base, n=10)[0]
    beyond, half = 1 + threshold, 1 + threshold / 2
    if min(medians, deciles) > beyond and low > half:
        verdict = "slower"
    elif max(medians, deciles) < 1 / beyond and high < 1 / half:
        verdict = "faster"
    elif low >= 1 / beyond and high <= beyond:
        verdict = "same"
    else:
        verdict = "too noisy"
    return Comparison(statistics.median(base), medians, deciles, low, high, verdict)


def _rank_of_interval(n: int) -> int:
    """r such that the r-th smallest and r-th largest of n values enclose their median with odds of _ODDS to 1.

    The number of values below the true median is binomial, whatever their distribution.
    """
    chance, rank = 0.0, 0
    while chance + math.comb(n, rank) / 2**n <= 0.5 / _ODDS:
        chance += math.comb(n, rank) / 2**n
        rank += 1
    if rank == 0:
        raise ValueError(f"turns: expected at least 8, got {n}")
    return rank


# The run


class Unmeasured(Exception):
    """A side cannot run a benchmark."""


def tree_of(stack: contextlib.ExitStack, name: str) -> Path:
    """A folder that holds the package: `name` itself, or the commit of that name in a temporary folder."""
    if (Path(name) / "fastfc" / "__init__.py").is_file():
        return Path(name).resolve()
    try:
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
        archive = _git("archive", "--format=zip", commit, "--", "fastfc")
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{name}: neither a folder nor a commit with the package fastfc ({error})") from None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastfc-regressions-"))
    zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
    return Path(folder)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


def measured(pairs: list[tuple[Side, Side]], name: str, values: list, options: argparse.Namespace) -> Comparison:
    """Compare one benchmark: up to `options.blocks` blocks of turns, until there is a verdict.

    Unmeasured says why a side cannot run it.
    """
    base: list[float] = []
    candidate: list[float] = []
    try:
        for pair in pairs:
            for which, side in zip(("base", "candidate"), pair, strict=True):
                failure = side.ask("setup", name, values)
                if failure is not None:
                    raise Unmeasured(f"{which}: {failure}")
        for _ in range(options.blocks):
            for (a, b), turn in itertools.product(pairs, range(options.turns)):
                for side, times in ((a, base), (b, candidate)) if turn % 2 == 0 else ((b, candidate), (a, base)):
                    times.append(side.ask("turn"))
            comparison = compared(base, candidate, options.threshold / 100)
            if comparison.verdict != "too noisy":
                break
        return comparison
    finally:
        for side in itertools.chain(*pairs):
            side.ask("close")


def run(options: argparse.Namespace) -> int:
    verdicts: list[str] = []
    wanted = re.compile("|".join(options.bench) if options.bench else DEFAULT_BENCH)
    with contextlib.ExitStack() as stack:
        trees = [tree_of(stack, name) for name in (options.base, options.candidate)]
        print(f"base {options.base}: {trees[0]}\ncandidate {options.candidate}: {trees[1]}", file=sys.stderr)
        pairs = []
        for _ in range(options.processes):
            sides = [Side(tree, options.benchmarks) for tree in trees]
            for side in sides:
                stack.callback(side.close)
            pairs.append((sides[0], sides[1]))
        labelled = [
            (f"{name}({', '.join(map(str, values))})" if values else name, name, values)
            for name, values in pairs[0][1].ask("everything")
        ]
        selected = [row for row in labelled if wanted.search(row[0])]
        if not selected:
            raise ValueError(f"--bench: none of {len(labelled)} benchmarks matches")
        width = max(len(label) for label, *_ in selected)
        print(f"{'benchmark':<{width}} {'base':>9} {'ratio':>6} {'low':>6}  {'interval':<13} verdict")
        for label, name, values in selected:
            try:
                row = measured(pairs, name, values, options)
            except Unmeasured as failure:
                # A benchmark that only the base cannot run is new; one that this machine cannot run says nothing.
                failed = str(failure).startswith("candidate") and "left out" not in str(failure)
                verdicts.append("failed" if failed else "left out")
                print(f"{label:<{width}} {verdicts[-1]}: {failure}", flush=True)
                continue
            verdicts.append(row.verdict)
            numbers = f"{_duration(row.base):>9} {row.medians:6.2f} {row.lowest_deciles:6.2f}"
            print(f"{label:<{width}} {numbers}  {row.low:.2f} .. {row.high:.2f}  {row.verdict}", flush=True)
    counts = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if counts.keys() & {"slower", "failed"}:
        return 1
    return 3 if "too noisy" in counts else 0


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds / 1e-6:.4g} us"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("base", metavar="BASE", help="a commit, or a folder that holds the package")
    parser.add_argument("--candidate", default=str(ROOT), metavar="STATE", help="the same (default: the working tree)")
    parser.add_argument(
        "--bench", action="append", metavar="REGEX", help=f"of names with parameters (default: {DEFAULT_BENCH!r})"
    )
    parser.add_argument("--threshold", type=float, default=5.0, metavar="PERCENT", help="(default: %(default)s)")
    parser.add_argument("--processes", type=int, default=3, help="pairs of processes (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=10, help="of each pair in a block (default: %(default)s)")
    parser.add_argument(
        "--blocks", type=int, default=4, help="at the most, while a verdict is too noisy (default: %(default)s)"
    )
    parser.add_argument("--benchmarks", type=Path, default=BENCHMARKS, metavar="FOLDER", help="(default: %(default)s)")
    options = parser.parse_args(argv)
    if min(options.processes, options.turns, options.blocks) < 1:
        parser.error("--processes, --turns and --blocks: expected positive numbers")
    if options.processes * options.turns < 8:
        parser.error("--processes and --turns: expected at least 8 turns in a block")
    if not options.threshold > 0:
        parser.error("--threshold: expected a positive number")
    try:
        re.compile("|".join(options.bench or []))
    except re.error as error:
        parser.error(f"--bench: {error}")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    try:
        return run(options)
    except ValueError as error:
        print(f"regressions: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*map(Path, sys.argv[2:4]))
    else:
        sys.exit(main())
