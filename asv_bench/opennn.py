"""A step of the network of OpenNN's public benchmark, by fastfc and by PyTorch, side by side.

    pip install ".[compare]"
    python asv_bench/opennn.py --into asv_bench/results/opennn.json

The network has 28 inputs, five hidden layers of 300 tanh and one logistic output; batches have 100 rows, the rule is
Adam, all in float32. A step draws a batch from data in memory and gathers it, then makes the forward pass, the binary
cross-entropy, the backward pass and Adam's update. Engines, their processes, turns and thread counts are as in
``compare.py``: interleaved, A B C A B C. Before, all of them train some steps from the same weights on the same
batches; one whose losses differ from those of fastfc's reference is marked and not counted.
"""

import argparse
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastfc._runtime.threads import available_cpus
from fastfc.bench.engines import Engine, Run, own, pytorch
from fastfc.bench.machine import environment, shown
from fastfc.bench.rounds import Job, best, check_losses, measure, missing, summary
from fastfc.bench.task import CHECK_STEPS, Task
from fastfc.formats.atomic import replaced_file

EXAMPLES = 10_000
SHAPE = "28-[300,300,300,300,300]-1@100"

ENGINES = {
    "fastfc": Engine("fastfc", "opennn:fastfc_steps", "fastfc", ("fastfc", "numba", "numpy")),
    "torch": Engine("PyTorch eager", "opennn:torch_eager", "torch", ("torch",)),
    "torch-compile": Engine("torch.compile", "opennn:torch_compiled", "torch", ("torch",)),
    "torch-compile-step": Engine("torch.compile, whole step", "opennn:torch_step", "torch", ("torch",)),
}

# Beside the task: as fastfc names them, and as PyTorch does.
OWN = {"activation": "tanh", "loss": "logistic"}
TORCH = {"activation": "tanh", "loss": "binary_cross_entropy_with_logits"}


class OpenNNTask(Task):
    """The task with this benchmark's data, and weights by Glorot."""

    @property
    def examples(self) -> int:
        return EXAMPLES

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Examples (N, 28) and targets (N, 1) of 0 and 1."""
        X = np.random.default_rng(1).standard_normal((self.examples, self.dims[0]), np.float32)
        return X, (X[:, :1] * X[:, 1:2] + X[:, 2:3] > 0).astype(np.float32)

    def weights(self) -> list[np.ndarray]:
        random = np.random.default_rng(2)
        return [
            random.standard_normal((d_in, d_out), np.float32) * np.float32(np.sqrt(2 / (d_in + d_out)))
            for d_in, d_out in itertools.pairwise(self.dims)
        ]


TASK = OpenNNTask(dims=(28, 300, 300, 300, 300, 300, 1), batch=100)


def fastfc_steps(threads: int) -> Run:
    return own.steps("fast", TASK, threads, **OWN)


def torch_eager(threads: int) -> Run:
    return pytorch.eager(TASK, threads, **TORCH)


def torch_compiled(threads: int) -> Run:
    return pytorch.compiled(TASK, threads, **TORCH)


def torch_step(threads: int) -> Run:
    return pytorch.compiled_step(TASK, threads, **TORCH)


def _checked(threads: int, name: str) -> dict[str, Any]:
    """How far an engine's first losses, in this process, are from those of fastfc's reference."""
    function = globals()[ENGINES[name].start.partition(":")[2]]
    batches = TASK.check_batches()
    expected = own.steps("reference", TASK, 1, **OWN)(CHECK_STEPS, batches)
    return check_losses(function(threads)(CHECK_STEPS, batches), expected)


def measured(rounds: int, seconds: float, threads: list[int]) -> dict[str, Any]:
    """A row like those of ``compare.py``, with the machine's load before and after."""
    names = [name for name, engine in ENGINES.items() if missing(engine) is None]
    left_out = {ENGINES[name].title: str(missing(ENGINES[name])) for name in ENGINES if name not in names}
    checks = {name: _checked(1, name) for name in names}
    jobs = [Job(name, ENGINES[name].start, count) for name in names for count in threads]
    before = os.getloadavg()[0]
    workers = measure(jobs, rounds, seconds, left_out, lambda line: print(line, file=sys.stderr))
    distributions = [each for name in names for each in ENGINES[name].distributions]
    return {
        **environment(distributions),
        "shape": SHAPE,
        "threads": threads,
        "rounds": rounds,
        "seconds_per_turn": seconds,
        "load": [before, os.getloadavg()[0]],
        "left_out": left_out,
        "engines": [summary(worker) | checks[worker.job.name] for worker in workers],
    }


def table(row: dict[str, Any]) -> str:
    """The row as a table in Markdown, and when and where it was measured."""
    lines = ["| engine | threads | a step, µs | of fastfc's |", "| --- | ---: | ---: | ---: |"]
    engines = best(row["engines"])
    own = engines["fastfc"]["median_us"]
    for name, each in sorted(engines.items(), key=lambda item: item[1]["median_us"]):
        marked = "" if each["counted"] else " (differs)"
        time = f"{each['median_us']:,.0f} ({each['p10_us']:,.0f})"
        lines.append(f"| {ENGINES[name].title}{marked} | {each['threads']} | {time} | {each['median_us'] / own:.2f} |")
    rounds = f"{row['rounds']} rounds of {row['seconds_per_turn']:g} s"
    note = (
        f"{row['shape']}, tanh, logistic loss, Adam. {shown(row)}. {rounds}, medians, in brackets the lowest deciles."
    )
    load = "The machine's load was {:.1f} before and {:.1f} after.".format(*row["load"])
    return "\n".join([*lines, "", f"{note} {load}"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="about how long a turn is")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, available_cpus()}))
    parser.add_argument("--into", type=Path, help="a JSON file that is replaced")
    options = parser.parse_args()
    row = measured(options.rounds, options.seconds, options.threads)
    if options.into is not None:
        with replaced_file(options.into) as file:
            file.write(json.dumps({"kind": "opennn", "rows": [row]}, indent=1).encode())
    print(table(row))


if __name__ == "__main__":
    main()
