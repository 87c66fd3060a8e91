"""Trainings over several processes, which test_parallel.py runs: ``mpiexec -n 2 python -m mpi4py parallel_program.py``.

The arguments are the name of a function below and a folder to write to.
"""

import itertools
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from fastfc import FullyConnectedNet, Solver, schedules, tolerance, use_backend
from fastfc.parallel import ParallelSolver, ProcessError, _solver
from fastfc.parallel._run import ParallelRun
from fastfc.solver import load_checkpoint

RANK, SIZE = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
ROWS, FEATURES, CLASSES, HIDDEN, BATCH = 200, 12, 4, (17, 9), 25
# In each of 200 steps the terms of all products and sums, and rates at which an error of one step grows by less than
# a factor of 16 until the last one.
STEPS, RATE, GROWTH = 200, 2e-3, 16
BOUND = GROWTH * tolerance(np.float64, STEPS * (2 * (FEATURES + sum(HIDDEN) + CLASSES) + 6 * BATCH))


def data_of(kind=float):
    rng = np.random.default_rng(1)
    X = (40 * rng.standard_normal((ROWS, FEATURES)) + 128).clip(0, 255).astype(kind)
    y = rng.integers(0, CLASSES, ROWS)
    X[np.arange(ROWS), y] += 20
    return {"X_train": X, "y_train": y, "X_val": X[:50].copy(), "y_val": y[:50].copy()}


def made(kind, data, model=None, **options):
    model = {"dropout_keep_ratio": 1.0, "weight_scale": 0.3, "reg": 0.01, **(model or {})}
    np.random.seed(3)
    net = FullyConnectedNet(HIDDEN, FEATURES, CLASSES, dtype=np.float64, **model)
    net.input_mean, net.input_scale = data["X_train"].mean(axis=0), 1 / 40
    options = {"optim_config": {"learning_rate": RATE}, "num_epochs": STEPS * BATCH // ROWS, **options}
    return kind(net, data, **{"update_rule": "sgd_momentum", "batch_size": BATCH, "verbose": False, **options})


def assert_equal(one, other, name=""):
    """Two trainings that are the same up to rounding."""
    assert len(one.loss_history) == len(other.loss_history)
    np.testing.assert_allclose(one.loss_history, other.loss_history, rtol=BOUND, atol=BOUND, err_msg=name)
    for mine, theirs in (
        (one.train_acc_history, other.train_acc_history),
        (one.val_acc_history, other.val_acc_history),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=BOUND, atol=BOUND, err_msg=name)
    np.testing.assert_allclose(one.model.params.flat, other.model.params.flat, rtol=BOUND, atol=BOUND, err_msg=name)
    for mine, theirs in zip(one.model.bn_params, other.model.bn_params, strict=True):
        for key in ("running_mean", "running_var"):
            if key in theirs:
                np.testing.assert_allclose(mine[key], theirs[key], rtol=BOUND, atol=BOUND, err_msg=name)


def assert_equals_one_process(data, model=None, **options):
    """Every process ends where the Solver ends that has the whole batch, its random stream included."""
    parallel = made(ParallelSolver, data, model, **options)
    if RANK > 0:
        # Process 0's are taken.
        np.random.seed(99)
        parallel.model.params["W1"] += 1
    parallel.train()
    stream = np.random.random_sample(2)
    solver = made(Solver, data, model, threads=1, **options)
    solver.train()
    name = f"{model} {options}"
    assert_equal(parallel, solver, name)
    np.testing.assert_array_equal(stream, np.random.random_sample(2))
    for config, expected in zip(parallel.optim_configs.values(), solver.optim_configs.values(), strict=True):
        assert config["learning_rate"] == expected["learning_rate"]
        assert config.get("t") == expected.get("t")
    return parallel


def every_loss(folder):
    for normalization, keep in itertools.product((None, "batchnorm", "layernorm"), (1.0, 0.7)):
        if SIZE == 2 or keep < 1:
            model = {"normalization": normalization, "dropout_keep_ratio": keep}
            solver = assert_equals_one_process(data_of(), model)
            assert len(solver.loss_history) == STEPS
            assert solver.engine_ == "parallel"
            assert np.mean(solver.loss_history[-20:]) < np.mean(solver.loss_history[:20])


def options(folder):
    data = data_of(np.uint8)
    short = {"num_epochs": 2, "num_train_samples": 30, "num_val_samples": 20}
    tanh = {"activation": "tanh", "normalization": "batchnorm", "dropout_keep_ratio": 0.8, "seed": 5}
    # Thirteen rows are not as many for each process.
    assert_equals_one_process(data, tanh, batch_size=13, update_rule="adam", max_norm=0.5, max_value=0.1, **short)
    assert_equals_one_process(data, lr_decay=0.5, schedule=schedules.Step(3, 0.5), **short)
    numbers = {**data, "y_train": data["X_train"][:, :CLASSES] / 100, "y_val": data["X_val"][:, :CLASSES] / 100}
    assert_equals_one_process(numbers, {"loss": "squared"}, **short)
    weighted = {**data, "weights_train": np.linspace(0, 2, ROWS)}
    assert_equals_one_process(weighted, {"normalization": "layernorm"}, **short)
    own_group = MPI.COMM_WORLD.Split(RANK % 2)
    solver = made(ParallelSolver, data, comm=own_group, **short)
    solver.train()
    assert np.isfinite(solver.loss_history).all()


def local_statistics(folder):
    """A step is the mean of what the processes' rows give by themselves."""
    data, model = data_of(), {"normalization": "batchnorm", "reg": 0.0}
    options = {"num_epochs": 1, "batch_size": ROWS - 1, "update_rule": "sgd", "num_train_samples": 1}
    solver = made(ParallelSolver, data, model, sync_batchnorm=False, **options)
    solver.train()
    expected = made(Solver, data, model, **options)
    drawn = np.random.choice(ROWS, ROWS - 1)
    net, before, loss = expected.model, expected.model.params.flat.copy(), 0.0
    for rank in range(SIZE):
        rows = drawn[(ROWS - 1) * rank // SIZE : (ROWS - 1) * (rank + 1) // SIZE]
        own = FullyConnectedNet(HIDDEN, FEATURES, CLASSES, dtype=np.float64, normalization="batchnorm")
        own.input_mean, own.input_scale = net.input_mean, net.input_scale
        own.params.flat[:] = before
        part, grads = own.loss(data["X_train"][rows], data["y_train"][rows])
        share = len(rows) / len(drawn)
        loss += share * part
        for name, gradient in grads.items():
            net.params[name] -= RATE * share * gradient
        if rank == 0:
            statistics = own.bn_params
    np.testing.assert_allclose(solver.loss_history, [loss], rtol=BOUND)
    last = solver._state.params
    for name, value in last.items():
        np.testing.assert_allclose(value, net.params[name], rtol=BOUND, atol=BOUND)
    for mine, theirs in zip(solver.model.bn_params, statistics, strict=True):
        np.testing.assert_allclose(mine["running_var"], theirs["running_var"], rtol=BOUND, atol=BOUND)


def first_half(folder):
    model = {"normalization": "batchnorm", "dropout_keep_ratio": 0.8}
    options = {"autosave": folder / "half.npz", "checkpoint_name": folder / "at", "update_rule": "adam"}
    made(ParallelSolver, data_of(), model, num_epochs=3, **options).train()


def second_half(folder):
    solver = ParallelSolver.resume(folder / "half.npz", data_of(), num_epochs=6, autosave=None, verbose=False)
    assert solver.epoch == 3
    solver.train()
    if RANK == 0:
        model = {"normalization": "batchnorm", "dropout_keep_ratio": 0.8}
        whole = made(Solver, data_of(), model, num_epochs=6, update_rule="adam", threads=1)
        whole.train()
        assert_equal(solver, whole)
        alone = Solver.resume(folder / "half.npz", data_of(), num_epochs=6, autosave=None, verbose=False)
        alone.train()
        assert_equal(alone, whole)
        assert len(load_checkpoint(f"{folder / 'at'}_epoch_3.pkl")["loss_history"]) == 24
        assert sorted(path.name for path in folder.iterdir() if path.suffix == ".npz") == ["half.npz"]


def refuses(folder):
    data = data_of()
    other = {**data, "X_train": data["X_train"] + (RANK == 1)}
    longer = {name: np.concatenate([array] * (1 + (RANK == 1))) for name, array in data.items()}
    cases = [
        ("batch_size: expected the same in all processes, got 25 in process 0, 24 in process 1", data,
         {"batch_size": BATCH - (RANK == 1)}),
        ("values of X_train: expected the same", other, {}),
        (r"X_train: expected the same in all processes, got shape \(200, 12\)", longer, {}),
        ("model.reg: expected the same", data, {"model": {"reg": 0.1 * RANK}}),
        ("update_rule: expected the same", data, {"update_rule": ["adam", "sgd"][RANK]}),
        ("sync_batchnorm: expected the same", data, {"sync_batchnorm": RANK == 0}),
        ("process 1 of 2 has failed: ValueError: num_epochs", data, {"num_epochs": -1 if RANK == 1 else 1}),
    ]  # fmt: skip
    for message, given, options in cases:
        _raises(ProcessError, message, lambda given=given, options=options: made(ParallelSolver, given, **options))
    version = _solver.__version__
    _solver.__version__ = version if RANK == 0 else "0.0.9"
    message = f"fastfc's version: expected the same in all processes, got {version} in process 0, 0.0.9 in process 1"
    _raises(ProcessError, message, lambda: made(ParallelSolver, data))
    _solver.__version__ = version
    # The same error in all processes is raised as it is.
    _raises(ValueError, "batch_size: expected at least a row for each of 2", lambda: made(
        ParallelSolver, data, batch_size=1))  # fmt: skip
    _raises(ValueError, "num_epochs", lambda: made(ParallelSolver, data, num_epochs=-1))
    _raises(ValueError, "sampler: expected 'replacement'", lambda: made(ParallelSolver, data, sampler="order"))
    _raises(TypeError, "model: expected a FullyConnectedNet", lambda: ParallelSolver(object(), data))
    _raises(TypeError, "comm: expected", lambda: ParallelSolver(None, data, comm=3))
    with use_backend("reference"):
        _raises(ValueError, "compiled: the backend is not 'fast'", lambda: made(ParallelSolver, data))
    solver = made(ParallelSolver, data, num_epochs=1)
    solver.train()
    solver.save(folder / "one.npz")
    file = folder / ("one.npz" if RANK == 0 else "none.npz")
    _raises(ProcessError, "process 1 of 2 has failed: FileNotFound", lambda: ParallelSolver.resume(file, data))
    _raises(FileNotFoundError, "none.npz", lambda: ParallelSolver.resume(folder / "none.npz", data))


def _raises(kind, message, call):
    try:
        call()
    except kind as error:
        assert re.search(message, str(error)), error  # noqa: PT017 - pytest is not there
    else:
        raise AssertionError(f"no error: {message}")


def stops_apart(folder):
    """Errors between steps reach all processes as errors, after which they can go on."""
    data = data_of()

    def fails(solver):
        if RANK == 1 and solver.epoch == 1:
            raise OSError("no space left")

    def changes(solver):
        if RANK == 1 and solver.epoch == 1:
            solver.model.params["W1"] += 1e-9

    def draws(solver):
        if RANK == 1 and solver.epoch == 1:
            np.random.random_sample()

    for callback, message in (
        (fails, "process 1 of 2 has failed: OSError: no space left"),
        (changes, "parameters: expected the same in all processes"),
        (draws, "random stream: expected the same in all processes"),
    ):
        _raises(ProcessError, message, made(ParallelSolver, data, callback=callback, num_epochs=3).train)
    solver = made(ParallelSolver, data, num_epochs=3)
    if RANK == 1:
        solver.num_epochs = 2
    _raises(ProcessError, "process 0 .*, process 1", solver.train)
    made(ParallelSolver, data, num_epochs=1).train()


def fails_amid_a_step(folder):
    if RANK == 1:
        own = ParallelRun._own_loss

        def fails(self):
            if len(self.solver.loss_history) > 10:
                raise MemoryError("out of memory")
            return own(self)

        ParallelRun._own_loss = fails
    made(ParallelSolver, data_of()).train()
    raise AssertionError("the training has ended")


def is_killed(folder):
    def die(solver):
        if RANK == 1 and len(solver.loss_history) > 10:
            os.kill(os.getpid(), signal.SIGKILL)

    made(ParallelSolver, data_of(), callback=die).train()
    raise AssertionError("the training has ended")


if __name__ == "__main__":
    for scenario in sys.argv[2:]:
        globals()[scenario](Path(sys.argv[1]))
    if RANK == 0:
        print("as expected")
