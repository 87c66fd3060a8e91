"""Many small trainings side by side, and one large training over two processes, against other ways to run them.

    pip install ".[sklearn,mpi]" torch
    python asv_bench/sweeps.py --into asv_bench/results/sweeps.json

A sweep runs on its default executor, against the same sweep on one thread, against PyTorch in two processes of one
thread each, and against scikit-learn's networks by joblib in two processes, with the same layers, batches, epochs and
Adam.
Workers of other libraries are there, and have trained once, before anything is timed. Both sides take turns, A B A B;
with ``--quiet 0.1`` those count in which other programs took at most a tenth of the processors.
``tables.py`` brings the figures into the documentation.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from fits import data_of, row, table
from quiet import Others

import fastfc
from fastfc.formats.atomic import replaced_file
from fastfc.sweeps import SweepResult

#: Data -> hidden layers, batch, epochs and number of the trainings of a sweep.
SWEEPS = {"digits": ((100, 100), 64, 20, 32), "iris": ((100,), 16, 100, 200)}
DIGITS = "digits: 32 trainings of 64-[100,100]-10@64, 20 epochs"
IRIS = "iris: 200 trainings of 4-[100]-3@16, 100 epochs"
PARALLEL = "20 steps of 784-[1024,1024,1024]-10@1024, Adam: two processes by MPI"
LARGE = ((1024, 1024, 1024), 1024, 20)

#: Trainings of a turn of the other libraries, whose time is scaled up.
FEWER = {"digits": 8, "iris": 20}

Side = Callable[[], object]


def split_data(name: str) -> dict[str, np.ndarray]:
    X, y = data_of(name)
    order = np.random.RandomState(0).permutation(len(X))
    X, y, cut = X[order].astype(np.float32), y[order], 4 * len(X) // 5
    return {"X_train": X[:cut], "y_train": y[:cut], "X_val": X[cut:], "y_val": y[cut:]}


def swept(name: str, executor: Any = None) -> SweepResult:
    hidden, batch, epochs, count = SWEEPS[name]
    options = {"hidden_dims": hidden, "update_rule": "adam", "batch_size": batch, "num_epochs": epochs}
    result = fastfc.sweep([options], split_data(name), executor, seeds=count)
    assert min(trial.score for trial in result.trials) > 0.5
    return result


def trained_by_torch(name: str, seed: int) -> float:
    """The validation accuracy of a training by PyTorch, in this process."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    hidden, batch, epochs, _ = SWEEPS[name]
    data = {key: torch.from_numpy(array) for key, array in split_data(name).items()}
    X, y = data["X_train"], data["y_train"].long()
    widths = [X.shape[1], *hidden]
    layers: list[Any] = []
    for d_in, d_out in itertools.pairwise(widths):
        layers += [torch.nn.Linear(d_in, d_out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], int(y.max()) + 1))
    # One kernel for all parameters: the quickest of its forms on a processor.
    rule = torch.optim.Adam(net.parameters(), fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(batch):
            loss = loss_of(net(X[rows]), y[rows])
            rule.zero_grad()
            loss.backward()
            rule.step()
    with torch.no_grad():
        return float((net(data["X_val"]).argmax(dim=1) == data["y_val"]).float().mean())


def trained_by_scikit_learn(name: str, seed: int) -> float:
    from sklearn.neural_network import MLPClassifier

    hidden, batch, epochs, _ = SWEEPS[name]
    data = split_data(name)
    net = MLPClassifier(hidden, batch_size=batch, max_iter=epochs, random_state=seed, n_iter_no_change=10**6)
    with warnings.catch_warnings():
        # All epochs are what is wanted.
        warnings.simplefilter("ignore")
        return net.fit(data["X_train"], data["y_train"]).score(data["X_val"], data["y_val"])


def large_training(kind: str) -> None:
    """Train a large network and print the seconds of 20 steps; kind is threads or processes."""
    hidden, batch, steps = LARGE
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((batch * steps, 784)).astype(np.float32), rng.integers(0, 10, batch * steps)
    data = {"X_train": X, "y_train": y, "X_val": X[:100], "y_val": y[:100]}
    np.random.seed(0)
    net = fastfc.FullyConnectedNet(list(hidden), 784, 10)
    options = {"update_rule": "adam", "batch_size": batch, "num_epochs": 1, "num_train_samples": 100, "verbose": False}
    if kind == "threads":
        solver = fastfc.Solver(net, data, threads=2, **options)
    else:
        from fastfc.parallel import ParallelSolver

        solver = ParallelSolver(net, data, **options)
    solver.train()
    if kind == "threads" or solver.comm.rank == 0:
        print(steps * solver.seconds_per_step)


def _large(kind: str) -> float:
    program = [sys.executable, __file__, "--large", kind]
    prefix = ["mpiexec", "-n", "2"] if kind == "processes" else []
    environment = {**os.environ, "FASTFC_QUIET": "1"}
    done = subprocess.run([*prefix, *program], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def by_quiet_turns(first: Side, second: Side, rounds: int, most: float) -> tuple[list[float], list[float], float]:
    """Seconds of both, A B A B, after a call of each that is not counted; and the share that other programs took.

    A side that returns a number has measured its seconds itself. A turn of both counts only if other programs took at
    most a share `most` of the processors.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    others, shares = Others(), []
    first(), second()
    while len(taken[0]) < rounds:
        others.wait_for(most)
        turn, share = [], 0.0
        for side in (first, second):
            others.restart()
            start = perf_counter()
            found = side()
            seconds = perf_counter() - start
            share = max(share, others.share(seconds))
            turn.append(found if isinstance(found, float) else seconds)
            if share > most:
                break
        else:
            for seconds, into in zip(turn, taken, strict=True):
                into.append(seconds)
            shares.append(share)
    return *taken, statistics.median(shares)


def sides(name: str, one: Any, processes: Any) -> dict[str, Side]:
    """The other ways to do the trainings of a sweep; for fewer trainings they return the time of all."""
    import joblib

    count, fewer = SWEEPS[name][-1], FEWER[name]
    jobs = joblib.Parallel(2)

    def scaled(call: Side) -> Side:
        def timed() -> float:
            start = perf_counter()
            call()
            return (perf_counter() - start) * count / fewer

        return timed

    by_torch = scaled(lambda: list(processes.map(trained_by_torch, [name] * fewer, range(fewer))))
    by_joblib = scaled(lambda: jobs(joblib.delayed(trained_by_scikit_learn)(name, seed) for seed in range(fewer)))
    return {
        "one after the other": lambda: swept(name, one),
        **({"PyTorch, two processes": by_torch} if name == "digits" else {}),
        "scikit-learn with joblib, two processes": by_joblib,
    }


def measured(selected: str, against: str, rounds: int, most: float) -> Iterator[dict[str, Any]]:
    spawn = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(1) as one, ProcessPoolExecutor(2, spawn) as processes:
        for job, name in ((DIGITS, "digits"), (IRIS, "iris")):
            for other, side in sides(name, one, processes).items() if selected in job else ():
                if against in other:
                    *turns, share = by_quiet_turns(lambda name=name: swept(name), side, rounds, most)
                    yield {**row(job, *turns, other, ("torch", "joblib")), "others": share}
    if selected in PARALLEL and against in "two threads":
        *turns, share = by_quiet_turns(lambda: _large("processes"), lambda: _large("threads"), rounds, most)
        yield {**row(PARALLEL, *turns, "two threads", ("mpi4py",)), "others": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="", help="only those rows whose names contain this")
    parser.add_argument("--rounds", type=int, default=7, help="of every row (default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a JSON file; rows of the same jobs in it are replaced")
    parser.add_argument("--against", default="", help="only those rows whose other side contains this")
    parser.add_argument(
        "--quiet", type=float, default=1.0, metavar="SHARE",
        help="leave out turns in which other programs took more of the processors; needs Linux (default: none)",
    )  # fmt: skip
    parser.add_argument("--large", choices=["threads", "processes"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.large:
        large_training(options.large)
        return
    kept = {}
    if options.into is not None and options.into.exists():
        rows = json.loads(options.into.read_text(encoding="utf-8"))["rows"]
        kept = {(each["row"], each["against"]): each for each in rows}
    for each in measured(options.rows, options.against, options.rounds, options.quiet):
        kept[each["row"], each["against"]] = each
        print(table([each]), flush=True)
        if options.into is not None:
            jobs = [DIGITS, IRIS, PARALLEL]
            rows = sorted(kept.values(), key=lambda found: jobs.index(found["row"]))
            with replaced_file(options.into) as file:
                file.write(json.dumps({"kind": "fits", "rows": rows}, indent=1).encode())


if __name__ == "__main__":
    main()
