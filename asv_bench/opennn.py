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
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastfc._runtime.threads import available_cpus
from fastfc.bench.engines import Engine, Run
from fastfc.bench.engines.pytorch import pytorch
from fastfc.bench.machine import environment, shown
from fastfc.bench.rounds import Job, best, check_losses, measure, missing, summary
from fastfc.bench.task import BETA1, BETA2, CHECK_SEED, CHECK_STEPS, EPSILON, RATE
from fastfc.formats.atomic import replaced_file

DIMS, BATCH, EXAMPLES = (28, 300, 300, 300, 300, 300, 1), 100, 10_000
SHAPE = "28-[300,300,300,300,300]-1@100"

ENGINES = {
    "fastfc": Engine("fastfc", "opennn:fastfc_steps", "fastfc", ("fastfc", "numba", "numpy")),
    "torch": Engine("PyTorch eager", "opennn:torch_eager", "torch", ("torch",)),
    "torch-compile": Engine("torch.compile", "opennn:torch_compiled", "torch", ("torch",)),
    "torch-compile-step": Engine("torch.compile, whole step", "opennn:torch_step", "torch", ("torch",)),
}

# The runs that go on for as long as their process.
_held = contextlib.ExitStack()


def data() -> tuple[np.ndarray, np.ndarray]:
    """Examples (N, 28) and targets (N, 1) of 0 and 1."""
    random = np.random.default_rng(1)
    X = random.standard_normal((EXAMPLES, DIMS[0]), np.float32)
    return X, (X[:, :1] * X[:, 1:2] + X[:, 2:3] > 0).astype(np.float32)


def weights() -> list[np.ndarray]:
    """A matrix (D_in, D_out) of each layer, by Glorot; biases start at 0."""
    random = np.random.default_rng(2)
    return [
        random.standard_normal((d_in, d_out), np.float32) * np.float32(np.sqrt(2 / (d_in + d_out)))
        for d_in, d_out in itertools.pairwise(DIMS)
    ]


def check_batches() -> np.ndarray:
    """The batches (CHECK_STEPS, BATCH) that a Solver draws after ``np.random.seed(CHECK_SEED)``."""
    random = np.random.RandomState(CHECK_SEED)
    return np.stack([random.choice(EXAMPLES, BATCH) for _ in range(CHECK_STEPS)])


def _own(backend: str, threads: int) -> Run:
    import fastfc

    fastfc.use_backend(backend)
    X, y = data()
    net = fastfc.FullyConnectedNet(list(DIMS[1:-1]), DIMS[0], 1, activation="tanh", loss="logistic")
    for layer, w in enumerate(weights(), start=1):
        net.params[f"W{layer}"][...] = w
    solver = fastfc.Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:2], "y_val": y[:2]}, update_rule="adam",
        optim_config={"learning_rate": RATE}, batch_size=BATCH, verbose=False, threads=threads,
    )  # fmt: skip
    engine = _held.enter_context(solver._engine())

    def run(n: int, batches: np.ndarray | None = None) -> list[float]:
        if batches is not None:
            # It draws these by itself.
            np.random.seed(CHECK_SEED)
            engine.take_stream()
        done = 0
        while done < n:
            done += engine.steps(n - done)
        return [float(loss) for loss in solver.loss_history[-n:]]

    return run


def fastfc_steps(threads: int) -> Run:
    return _own("fast", threads)


def torch_eager(threads: int, compiles: bool = False) -> Run:
    torch = pytorch(threads)
    nn = torch.nn
    X, y = map(torch.from_numpy, data())
    layers: list[Any] = []
    for w in weights():
        linear = nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers += [linear, nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), RATE, (BETA1, BETA2), EPSILON, fused=True)

    def forward(choice: Any) -> Any:
        scores = model(X.index_select(0, choice))
        return nn.functional.binary_cross_entropy_with_logits(scores, y.index_select(0, choice))

    if compiles:
        forward = torch.compile(forward, fullgraph=True)

    def step(choice: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(choice)
        loss.backward()
        optimizer.step()
        return loss

    return _torch_run(torch, step)


def torch_compiled(threads: int) -> Run:
    return torch_eager(threads, compiles=True)


def torch_step(threads: int) -> Run:
    """Gathering, forward, backward and Adam in one compiled graph."""
    torch = pytorch(threads)
    X, y = map(torch.from_numpy, data())
    params = [array for w in weights() for array in (torch.from_numpy(w), torch.zeros(w.shape[1]))]
    m, v, t = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params], torch.zeros(())

    def loss_of(params: Any, choice: Any) -> Any:
        h = X[choice]
        for i in range(0, len(params) - 2, 2):
            h = torch.tanh(torch.addmm(params[i + 1], h, params[i]))
        scores = torch.addmm(params[-1], h, params[-2])
        return torch.nn.functional.binary_cross_entropy_with_logits(scores, y[choice])

    @torch.compile(fullgraph=True, options={"cpp_wrapper": True})
    def step(choice: Any) -> Any:
        t.add_(1)
        gradients, loss = torch.func.grad_and_value(loss_of)(params, choice)
        rate, scale = RATE / (1 - BETA1**t), 1 / (1 - BETA2**t)
        for p, a, b, g in zip(params, m, v, gradients, strict=True):
            a.copy_(BETA1 * a + (1 - BETA1) * g)
            b.copy_(BETA2 * b + (1 - BETA2) * g * g)
            p.sub_(rate * a / (torch.sqrt(scale * b) + EPSILON))
        return loss

    return _torch_run(torch, step)


def _torch_run(torch: Any, step: Callable[[Any], Any]) -> Run:
    def run(n: int, batches: np.ndarray | None = None) -> list[float] | None:
        if batches is not None:
            return [step(choice).item() for choice in torch.from_numpy(batches)]
        for _ in range(n):
            step(torch.randint(EXAMPLES, (BATCH,)))
        return None

    return run


def _checked(threads: int, name: str) -> dict[str, Any]:
    """How far an engine's first losses, in this process, are from those of fastfc's reference."""
    function = globals()[ENGINES[name].start.partition(":")[2]]
    found = function(threads)(CHECK_STEPS, check_batches())
    return check_losses(found, _own("reference", 1)(CHECK_STEPS, check_batches()))


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
