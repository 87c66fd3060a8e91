"""The compiled training run against the generic loop on the reference backend: the same numbers."""

import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from rule_lists import rates
from threadpoolctl import threadpool_info

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance
from fastfc._runtime.team import end_idle_threads
from fastfc.solver import DivergenceWarning
from fastfc.training import memory, refusal
from fastfc.training.plan import make_plan

JIT = not numba.config.DISABLE_JIT
needs_compiler = pytest.mark.skipif(not JIT, reason="needs the compiler")

RULES = rates(sgd=0.1, adagrad=1e-2)
NORMALIZATIONS = [None, "batchnorm", "layernorm"]
ROWS, FEATURES, CLASSES, HIDDEN, BATCH = 41, 9, 4, (11, 7), 13
# Features of which the threads of a team each take some.
WIDE = 333


@pytest.fixture(autouse=True)
def _fast_by_default():
    """Whatever the suite's default backend is, here it is the compiled run that is tested."""
    with fastfc.use_backend("fast"):
        yield


def make(
    rule="adam", normalization="batchnorm", keep=0.6, dtype=np.float64, reg=0.1, seed=None, threads=None,
    X=None, batch=BATCH, hidden=HIDDEN, epochs=4, **options,
):  # fmt: skip
    """A Solver on a small random problem, always the same."""
    rng = np.random.default_rng(3)
    if X is None:
        X = rng.standard_normal((ROWS, FEATURES))
    y = rng.integers(0, CLASSES, len(X))
    data = {"X_train": X, "y_train": y, "X_val": X[:10], "y_val": y[:10]}
    np.random.seed(7)
    net = FullyConnectedNet(
        hidden, int(np.prod(X.shape[1:])), CLASSES, dropout_keep_ratio=keep, normalization=normalization, reg=reg,
        weight_scale=0.3, dtype=dtype, seed=seed,
    )  # fmt: skip
    options = {"num_train_samples": 20, "num_val_samples": 7, "lr_decay": 0.9, "verbose": False, **options}
    return Solver(
        net, data, update_rule=rule, optim_config={"learning_rate": RULES[rule]}, batch_size=batch,
        num_epochs=epochs, threads=threads, **options,
    )  # fmt: skip


def train(backend, solver):
    with fastfc.use_backend(backend):
        solver.train()
    assert solver.engine_ == {"fast": "compiled", "reference": "generic"}[backend]
    return solver, np.random.get_state()


def bound(dtype, solver):
    """For values of the size of 1: see test_training.py on how rounding errors grow with the steps."""
    steps = len(solver.loss_history)
    terms = 2 * (solver.model.dims[0] + sum(HIDDEN) + CLASSES) + 6 * BATCH
    return 2.0**steps * tolerance(dtype, terms * steps)


def assert_same_run(compiled, generic, atol):
    """Histories, parameters, moments, statistics; not what batch normalization makes noise of."""
    np.testing.assert_allclose(compiled.loss_history, generic.loss_history, rtol=atol, atol=atol)
    assert [type(loss) for loss in compiled.loss_history] == [type(loss) for loss in generic.loss_history]
    assert compiled.train_acc_history == generic.train_acc_history
    assert compiled.val_acc_history == generic.val_acc_history
    assert (compiled.epoch, compiled.best_val_acc) == (generic.epoch, generic.best_val_acc)
    assert set(compiled.best_params) == set(generic.best_params)
    noise = set()
    if generic.model.normalization == "batchnorm":
        noise = {f"b{i}" for i in range(1, generic.model.num_layers)}
    for name in generic.model.params:
        theirs, mine = generic.optim_configs[name], compiled.optim_configs[name]
        assert set(mine) == set(theirs)
        if name in noise:
            continue
        for expected, got in [
            (generic.best_params or generic.model.params, compiled.best_params or compiled.model.params),
            (generic.model.params, compiled.model.params),
        ]:
            np.testing.assert_allclose(got[name], expected[name], rtol=atol, atol=atol, err_msg=name)
        for key, value in theirs.items():
            np.testing.assert_allclose(mine[key], value, rtol=atol, atol=atol, err_msg=f"{name} {key}")
    for expected, got in zip(generic.model.bn_params, compiled.model.bn_params, strict=True):
        assert set(got) == set(expected)
        if "mode" in expected:
            assert got["mode"] == expected["mode"] == "test"
            np.testing.assert_allclose(got["running_var"], expected["running_var"], rtol=atol, atol=atol)
    assert compiled.model.dropout_param == generic.model.dropout_param


def assert_same_stream(state, expected):
    np.testing.assert_array_equal(state[1], expected[1])
    assert state[2:] == expected[2:]


COMBINATIONS = list(itertools.product(RULES, NORMALIZATIONS, [(1, None), (0.6, None), (0.6, 5)], [0.0, 0.1]))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("rule", "normalization", "dropout", "reg"), COMBINATIONS)
def test_same_numbers(rule, normalization, dropout, reg, threads):
    keep, seed = dropout
    options = {"rule": rule, "normalization": normalization, "keep": keep, "seed": seed, "reg": reg}
    generic, expected = train("reference", make(**options))
    compiled, state = train("fast", make(**options, threads=threads))
    assert_same_run(compiled, generic, bound(np.float64, generic))
    assert_same_stream(state, expected)


@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum", "nesterov", "adagrad"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_same_numbers_in_float32(rule, normalization, threads):
    """The first steps, within their bound; the rules that turn rounding noise into steps are left to float64."""
    generic, expected = train("reference", make(rule, normalization, dtype=np.float32, epochs=1))
    compiled, state = train("fast", make(rule, normalization, dtype=np.float32, epochs=1, threads=threads))
    assert len(generic.loss_history) == 3
    atol = bound(np.float32, generic)
    np.testing.assert_allclose(compiled.loss_history, generic.loss_history, rtol=atol, atol=atol)
    assert all(isinstance(loss, np.float32) for loss in compiled.loss_history)
    assert_same_stream(state, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 1, "normalization": "layernorm"},
        {"batch": 1},
        {"batch": 2},
        {"batch": 100},
        {"hidden": ()},
        {"hidden": (1,)},
        {"hidden": (3, 1, 5, 2, 4, 3)},
        {"hidden": (64, 33)},
        {"num_train_samples": None, "num_val_samples": None},
        {"num_train_samples": 1000},
        {"keep": 1, "reg": 0.0, "normalization": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_uneven_shapes(options, threads):
    generic, expected = train("reference", make("sgd", epochs=2, **options))
    compiled, state = train("fast", make("sgd", epochs=2, threads=threads, **options))
    atol = 2.0 ** len(generic.loss_history[:6]) * tolerance(np.float64, 4000)
    np.testing.assert_allclose(compiled.loss_history[:6], generic.loss_history[:6], rtol=atol, atol=atol)
    assert_same_stream(state, expected)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("hidden", [(), (1,), HIDDEN], ids=str)
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_a_first_product_that_is_split_by_features(threads, hidden, normalization):
    """As for wide inputs: every thread has some features of all rows, where else it has some rows."""
    X = np.random.default_rng(4).standard_normal((ROWS, WIDE))
    options = {"normalization": normalization, "hidden": hidden, "X": X, "epochs": 2}
    generic, expected = train("reference", make("sgd", **options))
    solver = make("sgd", **options, threads=threads)
    assert [make_plan(solver.model, BATCH, count).by_features for count in (1, threads)] == [False, True]
    compiled, state = train("fast", solver)
    atol = 2.0 ** len(generic.loss_history[:6]) * tolerance(np.float64, 4000)
    np.testing.assert_allclose(compiled.loss_history[:6], generic.loss_history[:6], rtol=atol, atol=atol)
    assert_same_stream(state, expected)


@pytest.mark.parametrize("normalization", [None, "layernorm"])
@pytest.mark.parametrize(("hidden", "by_rows"), [((1,), True), (HIDDEN, True), ((64, 33), False)], ids=str)
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_gradients_of_weights_by_rows_and_by_weights(threads, hidden, by_rows, normalization):
    """Of a small network each thread sums them over its rows, of which the last, short batch has none for some."""
    options = {"normalization": normalization, "hidden": hidden, "epochs": 2, "sampler": "permutation"}
    assert ROWS % BATCH == 2
    generic, expected = train("reference", make("sgd_momentum", **options))
    solver = make("sgd_momentum", **options, threads=threads)
    assert [make_plan(solver.model, BATCH, count).gradients_by_rows for count in (1, threads)] == [False, by_rows]
    compiled, state = train("fast", solver)
    assert_same_run(compiled, generic, bound(np.float64, generic))
    assert_same_stream(state, expected)


@pytest.mark.parametrize(
    "options", [{}, {"max_norm": 0.1}, {"accumulate": 2}, {"reg": 0.1, "keep": 0.6, "seed": 5}], ids=str
)
@pytest.mark.parametrize("hidden", [(), (1,), (11, 7), (64, 33, 1), (33, 1, 17)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_single_unit(threads, hidden, options):
    """As the output and amid the network: its weights' gradient is summed on the way back, by each thread's rows."""
    solvers = []
    for backend in ("reference", "fast"):
        rng = np.random.default_rng(5)
        X, y = rng.standard_normal((ROWS, FEATURES)), rng.standard_normal(ROWS)
        data = {"X_train": X, "y_train": y, "X_val": X[:10], "y_val": y[:10], "weights_train": rng.random(ROWS)}
        names = "keep", "seed", "reg"
        keep, seed, reg = (options.get(name, usual) for name, usual in zip(names, (1, None, 0.0), strict=True))
        np.random.seed(7)
        net = FullyConnectedNet(
            hidden, FEATURES, 1, keep, reg=reg, weight_scale=0.5, dtype=np.float64, seed=seed, loss="squared"
        )
        solver = Solver(
            net, data, update_rule="sgd_momentum", batch_size=BATCH, num_epochs=2, verbose=False, threads=threads,
            sampler="permutation", optim_config={"learning_rate": 0.05},
            **{name: value for name, value in options.items() if name not in names},
        )  # fmt: skip
        solvers.append(train(backend, solver)[0])
    generic, compiled = solvers
    atol = 2.0 ** len(generic.loss_history) * tolerance(np.float64, 4000)
    np.testing.assert_allclose(compiled.loss_history, generic.loss_history, rtol=atol, atol=atol)
    np.testing.assert_allclose(compiled.model.params.flat, generic.model.params.flat, rtol=atol, atol=atol)


def test_threads_that_do_not_meet_at_each_layer_write_to_no_rows_of_another():
    """Rows of layers of different widths lie at different places: each layer has gradients of its own."""
    net = FullyConnectedNet((21, 32, 1, 1, 7), FEATURES, CLASSES)
    plan = make_plan(net, 31, 2)
    assert plan.gradients_by_rows
    assert len({layer.dout.__array_interface__["data"][0] for layer in plan.layers}) == plan.depth == 6


@pytest.mark.skipif(not JIT, reason="takes long without the compiler")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_that_do_not_stay_near(threads):
    """Batch normalization's way back, before a step of weights or after it: of one, of some threads, or of none."""
    batch, width = 505, 520
    near = [(i + 1) * batch // threads - i * batch // threads <= memory.NEAR / 8 / width for i in range(threads)]
    assert near == {1: [False], 2: [True, False], 3: [True] * 3}[threads]
    X = np.random.default_rng(5).standard_normal((batch, FEATURES))
    options = {"batch": batch, "hidden": (width, width), "X": X, "epochs": 2}
    generic, expected = train("reference", make("sgd_momentum", **options))
    compiled, state = train("fast", make("sgd_momentum", **options, threads=threads))
    terms = 2 * (FEATURES + 2 * width + CLASSES) + 6 * batch
    assert_same_run(compiled, generic, atol=2.0**2 * tolerance(np.float64, 2 * terms))
    assert_same_stream(state, expected)


@pytest.mark.skipif(not JIT, reason="takes long without the compiler")
@pytest.mark.parametrize(("threads", "features"), [(1, 17000), (2, 34000)])
def test_a_narrow_gradient_of_several_chunks(threads, features):
    assert features * CLASSES > threads * memory.CHUNK
    X = np.random.default_rng(6).standard_normal((5, features))
    options = {"normalization": None, "batch": 5, "hidden": (), "X": X, "epochs": 2}
    generic, expected = train("reference", make("sgd_momentum", **options))
    compiled, state = train("fast", make("sgd_momentum", **options, threads=threads))
    assert_same_run(compiled, generic, atol=2.0**2 * tolerance(np.float64, 4 * features))
    assert_same_stream(state, expected)


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [FEATURES, WIDE])
def test_the_same_threads_repeat_bit_for_bit(features, dtype):
    X = np.random.default_rng(4).standard_normal((ROWS, features))
    for threads in (1, 2, 3):
        first, _ = train("fast", make(X=X, dtype=dtype, threads=threads))
        second, _ = train("fast", make(X=X, dtype=dtype, threads=threads))
        assert first.loss_history == second.loss_history
        np.testing.assert_array_equal(first.model.params.flat, second.model.params.flat)


LAYOUTS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "uint8": lambda X: X.astype(np.uint8),
    "bool": lambda X: X > 3,
    "fortran": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "every other feature": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "one row for all": lambda X: np.broadcast_to(X[:1], X.shape),
    "read-only": lambda X: _read_only(X),
    "pictures": lambda X: X.reshape(len(X), 3, -1),
    "transposed pictures": lambda X: X.reshape(len(X), 3, -1).transpose(0, 2, 1),
    "channels last": lambda X: np.moveaxis(X.reshape(len(X), 1, 3, -1), 1, 3),
}


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("features", "threads"), [(FEATURES, None), (WIDE, 2)])
def test_data_as_it_lies(features, threads, layout, standardized):
    X = LAYOUTS[layout](np.random.default_rng(1).integers(0, 8, (ROWS, features)).astype(np.float64))
    before = X.copy()
    results = []
    # Equal examples have no variance in a batch: batch normalization would divide rounding noise by it.
    normalization = "layernorm" if layout == "one row for all" else "batchnorm"
    for backend in ("reference", "fast"):
        solver = make("sgd", normalization, X=X, epochs=2, threads=threads)
        if standardized:
            solver.model.input_mean, solver.model.input_scale = X.astype(float).mean(axis=0), 0.25
        results.append(train(backend, solver))
    (generic, expected), (compiled, state) = results
    assert_same_run(compiled, generic, bound(np.float64, generic))
    assert_same_stream(state, expected)
    np.testing.assert_array_equal(X, before)


def test_memory_mapped_data(tmp_path):
    X = np.random.default_rng(1).standard_normal((ROWS, FEATURES)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    in_memory, _ = train("fast", make("sgd", X=X))
    on_disk, _ = train("fast", make("sgd", X=mapped))
    assert on_disk.loss_history == in_memory.loss_history


# ----------------------------------------------------------------------------------- which engine, and why


class OwnLoss(FullyConnectedNet):
    def loss(self, X, y=None):
        return super().loss(X, y)


class OwnStep(Solver):
    def _step(self):
        super()._step()


def own_rule(w, dw, config=None):
    config.setdefault("learning_rate", 0.1)
    return w - config["learning_rate"] * dw, config


def test_refusals(caplog):
    def reason(solver):
        return refusal(solver) or ""

    assert refusal(make()) is None
    with fastfc.use_backend("reference"):
        assert "backend" in reason(make())
    solver = make()
    solver.model = OwnLoss([3], FEATURES, CLASSES)
    assert "OwnLoss.loss" in reason(solver)
    solver = make()
    solver.model.loss = lambda X, y=None: None
    assert "loss is not fastfc's own" in reason(solver)
    solver = make()
    solver.__class__ = OwnStep
    assert "OwnStep._step" in reason(solver)
    solver = make()
    solver.update_rule = own_rule
    assert "own_rule" in reason(solver)
    solver = make()
    solver.model.params["extra"] = np.zeros(3)
    assert "other parameters" in reason(solver)
    for X in (np.zeros((5, FEATURES), np.longdouble), np.zeros((5, FEATURES), ">f4"), [[0.0] * FEATURES] * 5):
        solver = make()
        solver.X_train = X
        assert "X_train" in reason(solver)
    solver = make()
    solver.X_val = np.zeros((5, FEATURES + 1))
    assert "number of features" in reason(solver)
    with caplog.at_level(logging.DEBUG, "fastfc"):
        solver = make()
        solver.update_rule = own_rule
        solver.train()
    assert solver.engine_ == "generic"
    assert "own_rule" in caplog.text


def test_a_rule_under_a_known_name_is_not_the_packages_own(monkeypatch):
    def adam(w, dw, config=None):
        return own_rule(w, dw, config)

    monkeypatch.setattr(optim, "adam", adam)
    solver = make()
    solver.train()
    assert solver.engine_ == "generic"


def test_integer_data_is_compiled():
    X = np.random.default_rng(1).integers(0, 8, (ROWS, FEATURES))
    solver, _ = train("fast", make("sgd", X=X))
    assert solver.engine_ == "compiled"
    same, _ = train("fast", make("sgd", X=X.astype(np.float64)))
    assert solver.loss_history == same.loss_history


# --------------------------------------------------------------------------------- what users see of a run


def test_hyperparameters_of_single_parameters():
    results = []
    for backend in ("reference", "fast"):
        solver = make("adam")
        solver.optim_configs["W1"]["learning_rate"] = 0.01
        solver.optim_configs["b3"]["beta1"] = 0.5
        solver.optim_configs["gamma2"]["t"] = 10
        solver.optim_configs["W2"]["m"] = np.full((11, 7), 0.01)
        results.append(train(backend, solver))
    assert_same_run(results[1][0], results[0][0], bound(np.float64, results[0][0]))


@pytest.mark.parametrize("entry", [{"learning_rate": "fast"}, {"m": np.zeros((2, 2))}, {"t": -1}])
def test_bad_configurations_are_refused_before_anything_changes(entry):
    solver = make("adam")
    solver.optim_configs["W2"].update(entry)
    before = {name: dict(config) for name, config in solver.optim_configs.items()}
    flat = solver.model.params.flat.copy()
    with pytest.raises((TypeError, ValueError), match=next(iter(entry))):
        solver.train()
    assert {name: list(config) for name, config in solver.optim_configs.items()} == {
        name: list(config) for name, config in before.items()
    }
    np.testing.assert_array_equal(solver.model.params.flat, flat)
    assert solver.loss_history == []


def test_labels_out_of_range_are_refused():
    solver = make()
    solver.y_train = solver.y_train + 1
    with pytest.raises(ValueError, match="y: expected labels from 0 to 3"):
        solver.train()


def test_training_goes_on_where_it_stopped():
    """Two trainings of two epochs are the generic loop's two trainings."""
    results = []
    for backend in ("reference", "fast"):
        solver = make("adam", epochs=2)
        train(backend, solver)
        results.append(train(backend, solver))
    (generic, expected), (compiled, state) = results
    assert len(compiled.loss_history) == 12
    assert_same_run(compiled, generic, bound(np.float64, generic))
    assert_same_stream(state, expected)


def test_labels_that_are_changed_in_a_run_are_checked_again():
    """Compiled code writes where a label says."""

    def spoil(solver):
        solver.y_train[:] = 10**12

    solver = make(callback=spoil)
    with pytest.raises(ValueError, match="y: expected labels from 0 to 3"):
        solver.train()
    assert len(solver.loss_history) == 1


@pytest.mark.parametrize("keep", [np.float64(1), np.float32(0.5), np.int64(1)])
def test_numbers_of_numpy(keep):
    solver = make(keep=keep, batch=np.int64(BATCH), hidden=[np.int32(5)], threads=np.int64(2), reg=np.float32(0.5))
    solver.train()
    assert solver.engine_ == "compiled"


def test_a_callback_may_use_the_random_stream_and_change_the_rates():
    """The course's loop would hand it the same numbers: both engines are asked once per epoch."""
    results = []
    for backend in ("reference", "fast"):
        drawn = []

        def halve(solver, drawn=drawn):
            if len(solver.loss_history) in (3, 6, 9):
                drawn.append(np.random.random_sample())
                for config in solver.optim_configs.values():
                    config["learning_rate"] *= 0.5

        results.append((*train(backend, make(callback=halve)), drawn))
    (generic, expected, numbers), (compiled, state, same_numbers) = results
    assert same_numbers == numbers
    assert len(numbers) == 3
    assert_same_run(compiled, generic, bound(np.float64, generic))
    assert_same_stream(state, expected)


def test_a_gaussian_in_waiting_survives_a_run():
    solver = make("sgd")
    np.random.randn()
    waiting = np.random.get_state()[3:]
    solver.train()
    assert np.random.get_state()[3:] == waiting


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_a_gaussian_in_waiting_does_not_survive_dropout_layers_that_seed(backend):
    """They call np.random.seed, which drops it; a callback's own is kept until the next of them."""
    waiting = []

    def draw(solver):
        waiting.append(np.random.get_state()[3])
        np.random.randn()

    solver = make("sgd", seed=3, callback=draw)
    while np.random.get_state()[3] == 0:
        np.random.randn()
    _, state = train(backend, solver)
    assert waiting
    assert not any(waiting)
    assert state[3] == 1


def test_printed_lines_and_checkpoints_are_the_same(capsys, tmp_path):
    printed, checkpoints = [], []
    for backend in ("reference", "fast"):
        name = tmp_path / backend
        train(backend, make("sgd", verbose=True, print_every=2, checkpoint_name=str(name)))
        printed.append(capsys.readouterr().out.replace(str(name), "name"))
        checkpoints.append([pickle.loads((tmp_path / f"{backend}_epoch_{i}.pkl").read_bytes()) for i in range(5)])
    assert printed[0] == printed[1]
    for generic, compiled in zip(*checkpoints, strict=True):
        assert list(compiled) == list(generic)
        np.testing.assert_allclose(compiled["loss_history"], generic["loss_history"], rtol=1e-9)
        assert compiled["model"].loss(np.zeros((2, FEATURES))).shape == (2, CLASSES)


def test_the_models_dictionaries_stay_usable_after_a_run():
    """Statistics and moments are views of the run's memory, and live on after it."""
    solver, _ = train("fast", make("adam"))
    loss, _ = solver.model.loss(np.zeros((5, FEATURES)), np.zeros(5, int))
    assert np.isfinite(loss)
    copied = pickle.loads(pickle.dumps(solver.model))
    np.testing.assert_array_equal(copied.bn_params[0]["running_mean"], solver.model.bn_params[0]["running_mean"])


def test_a_diverging_run_ends(capfd):
    """Infinity and NaN stop no thread, and show in the histories as the generic loop's do."""
    results = []
    for backend in ("reference", "fast"):
        solver = make("sgd", normalization=None, keep=1, threads=2)
        for config in solver.optim_configs.values():
            config["learning_rate"] = 1e12
        with np.errstate(all="ignore"), pytest.warns(DivergenceWarning):
            results.append(train(backend, solver)[0])
    finite = [np.isfinite(solver.loss_history) for solver in results]
    np.testing.assert_array_equal(*finite)
    assert not finite[0].all()


# ----------------------------------------------------------------------------------- threads and processes


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def own_threads():
    """Threads of a run, apart from those that wait for the next one."""
    end_idle_threads()
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastfc")]


@needs_compiler
def test_nothing_is_left_behind():
    make().train()
    before = blas_threads()
    for threads in (1, 2, 4):
        make(threads=threads).train()
        assert own_threads() == []
        assert blas_threads() == before

    def stop(solver):
        raise RuntimeError("stop")

    solver = make(threads=2, callback=stop)
    with pytest.raises(RuntimeError, match="stop"):
        solver.train()
    assert own_threads() == []
    assert blas_threads() == before
    assert len(solver.loss_history) == 1
    # Usable again.
    solver.callback = None
    solver.train()
    assert len(solver.loss_history) == 13


@needs_compiler
def test_runs_side_by_side_are_equal_to_runs_in_turn():
    """Each follows its own copy of the random stream, from where that stood when the run was set up."""
    before = blas_threads()

    def set_up():
        for reg in (0.0, 0.1, 0.2) * 2:
            solver = make("adam", reg=reg, threads=2)
            yield solver, solver._engine()

    def run(pair):
        solver, engine = pair
        with engine:
            while len(solver.loss_history) < 30:
                engine.steps(30 - len(solver.loss_history))
        return solver.loss_history

    in_turn = [run(pair) for pair in set_up()]
    with ThreadPoolExecutor(6) as pool:
        side_by_side = list(pool.map(run, list(set_up())))
    assert side_by_side == in_turn
    assert own_threads() == []
    assert blas_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True])
def test_bad_thread_counts(threads):
    with pytest.raises(ValueError, match="threads: expected a positive integer"):
        make(threads=threads)


@pytest.mark.parametrize(("width", "batch", "expected"), [(100, 16, 1), (62, 100, 1), (63, 100, 2), (500, 100, 4)])
def test_threads_by_the_work_of_a_step(monkeypatch, width, batch, expected):
    """The second thread comes early, each further one needs as much work as two had: 6 * batch * weights operations."""
    monkeypatch.delenv("FASTFC_NUM_THREADS", raising=False)
    monkeypatch.setattr(fastfc.training, "available_cpus", lambda: 8)
    net = fastfc.FullyConnectedNet([width], 30, 10)
    assert fastfc.training.threads_for(net, batch) == expected


def test_thread_counts(monkeypatch):
    from fastfc._runtime import threads
    from fastfc.training import threads_for

    net = make().model
    monkeypatch.delenv("FASTFC_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_chosen", None)
    assert fastfc.get_num_threads() is None
    assert 1 <= threads_for(net, 100) <= threads.available_cpus()
    assert threads_for(net, 100, 3) == 3
    assert threads_for(net, 2, 3) == 2
    monkeypatch.setenv("FASTFC_NUM_THREADS", "5")
    assert fastfc.get_num_threads() == threads_for(net, 100) == 5
    fastfc.set_num_threads(4)
    assert fastfc.get_num_threads() == threads_for(net, 100) == 4
    assert threads_for(net, 100, 2) == 2
    fastfc.set_num_threads(None)
    for nonsense in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("FASTFC_NUM_THREADS", nonsense)
        with pytest.raises(ValueError, match="FASTFC_NUM_THREADS"):
            fastfc.get_num_threads()
    with pytest.raises(ValueError, match="n: expected a positive integer"):
        fastfc.set_num_threads(0)


LONG_RUN = """
import sys
import time
import numpy as np
from threadpoolctl import threadpool_info
import fastfc
import threading

fastfc.use_backend("fast")
fastfc.set_num_threads(2)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((2000, 64)).astype(np.float32), rng.integers(0, 10, 2000)
data = {"X_train": X, "y_train": y, "X_val": X[:50], "y_val": y[:50]}
net = fastfc.FullyConnectedNet([100, 100], 64, 10, normalization="batchnorm", dropout_keep_ratio=0.8)

def solver(epochs, **options):
    return fastfc.Solver(net, data, update_rule="adam", num_epochs=epochs, verbose=False, **options)

def blas():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

solver(1).train()
"""


def run_script(code, **options):
    return subprocess.run(
        [sys.executable, "-c", LONG_RUN + code], capture_output=True, text=True, timeout=120, **options
    )


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_ends_a_run_and_leaves_everything_usable():
    code = """
before = blas()
long = solver(10**6)
print("ready", flush=True)
try:
    long.train()
except KeyboardInterrupt:
    interrupted = time.monotonic()
print(time.clock_gettime(time.CLOCK_MONOTONIC))
steps = len(long.loss_history)
assert steps > 0 and np.isfinite(long.loss_history).all()
assert all(config["t"] == steps for config in long.optim_configs.values())
assert blas() == before, (blas(), before)
fastfc._runtime.team.end_idle_threads()
assert threading.active_count() == 1
long.num_epochs = 1
long.train()
assert len(long.loss_history) == steps + 20
"""
    process = subprocess.Popen(
        [sys.executable, "-c", LONG_RUN + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)
    sent = time.clock_gettime(time.CLOCK_MONOTONIC)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    # 0.2 seconds on a quiet machine; this one may be busy with other tests.
    assert float(out) - sent < 2


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_a_run():
    code = """
import os
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    solver(1).train()
    fastfc._runtime.team.end_idle_threads()
    os._exit(0 if threading.active_count() == 1 else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
solver(1).train()
"""
    result = run_script(code)
    assert result.returncode == 0, result.stderr


@needs_compiler
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(tmp_path, method):
    if method == "forkserver" and os.name != "posix":
        pytest.skip("no forkserver here")
    script = tmp_path / "script.py"
    script.write_text(
        LONG_RUN.replace("\nsolver(1).train()\n", "\n")
        + f"""
def work(seed):
    np.random.seed(seed)
    run = solver(1)
    run.train()
    return len(run.loss_history)

if __name__ == "__main__":
    import multiprocessing
    work(0)
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert pool.map(work, range(3)) == [20] * 3
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1])}
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_vanishes_becomes_zero_and_not_denormal(threads, dtype):
    """Under units that are never active moments shrink for ever; denormal, they made a step three times as long."""
    solver = make("adam", None, keep=1, dtype=dtype, reg=0.0, threads=threads, epochs=600)
    tiny = np.finfo(dtype).tiny
    solver.model.params["b1"] = np.full(HIDDEN[0], -1e6)
    solver.optim_configs["W1"]["m"] = np.full_like(solver.model.params["W1"], 1e6 * tiny)
    seen = []
    solver.callback = lambda solver: seen.append(tiny / 2)
    solver.train()
    assert solver.engine_ == "compiled"
    moments = solver.optim_configs["W1"]["m"]
    assert not np.any((moments != 0) & (np.abs(moments) < tiny))
    assert np.any(moments == 0)
    assert seen
    assert min(seen) > 0, "a callback runs with the run's control word"
    assert tiny / 2 > 0, "the caller's control word is not restored"
