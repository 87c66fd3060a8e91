"""The Solver's samplers: batches as NumPy draws them, on every engine, from any iteration."""

import pickle

import numba
import numpy as np
import pytest
from saving import SaveEach

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance
from fastfc.callbacks import Callback, History
from fastfc.schedules import ReduceOnPlateau
from fastfc.training.batches import Batches, checked_order, mean_loss

FEATURES, HIDDEN, OUTPUTS, ROWS, BATCH, EPOCHS = 6, (8, 5), 3, 41, 13, 3
ONCE = ["permutation", "order"]


class StepByStep(Solver):
    """The same training in the generic loop, on the same backend."""

    def _step(self):
        super()._step()


@numba.njit
def squared(scores, labels, dscores):
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            dscores[i, j] = (scores[i, j] - (1.0 if j == labels[i] else 0.0)) / scores.shape[0]
    return 0.5 * scores.shape[0] * np.sum(dscores * dscores)


@numba.njit
def finite_in_whole_batches(scores, labels, dscores):
    dscores[:] = 0
    return 1.0 if scores.shape[0] == 13 else np.nan


def data_of(rows=ROWS, features=FEATURES, targets=False, weighted=False):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((rows, features))
    y = rng.standard_normal((rows, OUTPUTS)) if targets else rng.integers(0, OUTPUTS, rows)
    weights = {"weights_train": rng.random(rows) + 0.1} if weighted else {}
    return {"X_train": X, "y_train": y, "X_val": X[:9].copy(), "y_val": y[:9].copy(), **weights}


def net_of(normalization="batchnorm", keep=0.8, features=FEATURES, **options):
    np.random.seed(1)
    return FullyConnectedNet(
        HIDDEN, features, OUTPUTS, keep, normalization, 0.02, weight_scale=0.4, dtype=np.float64, **options
    )


def made(sampler, kind=Solver, data=None, net=None, **options):
    defaults = {
        "update_rule": "sgd_momentum", "optim_config": {"learning_rate": 0.01}, "batch_size": BATCH,
        "num_epochs": EPOCHS, "lr_decay": 0.9, "num_train_samples": 20, "num_val_samples": 7,
    }  # fmt: skip
    net = net_of() if net is None else net
    return kind(net, data_of() if data is None else data, sampler=sampler, verbose=False, **{**defaults, **options})


def trained(solver, backend="fast", seed=4):
    """Train from a seed; the stream's next number."""
    np.random.seed(seed)
    with fastfc.use_backend(backend):
        solver.train()
    return np.random.random_sample()


def bound(steps, features=FEATURES):
    """See test_compiled_run.py."""
    return 2.0**steps * tolerance(np.float64, steps * (2 * (features + sum(HIDDEN) + OUTPUTS) + 6 * ROWS))


def assert_same(solver, other):
    """Bit for bit."""
    for name in ("loss_history", "train_acc_history", "val_acc_history"):
        np.testing.assert_array_equal(getattr(solver, name), getattr(other, name), err_msg=name)
    assert (solver.epoch, solver.best_val_acc) == (other.epoch, other.best_val_acc)
    for name, w in other._state.params.items():
        np.testing.assert_array_equal(solver._state.params[name], w, err_msg=name)
        for key, value in other.optim_configs[name].items():
            np.testing.assert_array_equal(solver.optim_configs[name][key], value, err_msg=f"{name}.{key}")


# ------------------------------------------------------------------------------------------------ which batches


class Noting:
    """A model that keeps the labels of its batches, which are row numbers."""

    def __init__(self):
        self.params, self.batches = {"w": np.zeros(1)}, []

    def loss(self, X, y=None):
        if y is None:
            return np.zeros((len(X), 1))
        self.batches.append(list(y))
        return float(y.sum()), {"w": np.zeros(1)}


def batches_by_hand(sampler, rows, batch, epochs):
    order, found = np.arange(rows), []
    for _ in range(epochs):
        if sampler == "replacement":
            found += [list(np.random.choice(rows, batch)) for _ in range(max(rows // batch, 1))]
            continue
        if sampler == "permutation":
            np.random.shuffle(order)
        found += [list(order[i : i + batch]) for i in range(0, rows, batch)]
    return found


@pytest.mark.parametrize("sampler", ["replacement", *ONCE])
@pytest.mark.parametrize(("rows", "batch"), [(41, 13), (40, 10), (7, 20), (5, 1), (1, 1), (12, 11)])
def test_batches_by_hand(rows, batch, sampler):
    data = {"X_train": np.zeros((rows, 2)), "y_train": np.arange(rows), "X_val": np.zeros((1, 2)), "y_val": np.zeros(1)}
    solver = made(sampler, data=data, net=Noting(), update_rule="sgd", batch_size=batch, num_train_samples=None)
    for _ in range(2):
        # Each call of train() begins with the order of the data.
        solver.model.batches.clear()
        after = trained(solver)
        np.random.seed(4)
        assert solver.model.batches == batches_by_hand(sampler, rows, batch, EPOCHS)
        assert np.random.random_sample() == after


@pytest.mark.parametrize("sampler", ["replacement", *ONCE])
@pytest.mark.parametrize("batch", [1, 2, 5, 6, 7, 11, 12, 13, 100])
def test_sizes_of_batches(batch, sampler):
    batches = Batches(12, batch, sampler)
    found = [len(rows) for rows in batches_by_hand(sampler, 12, batch, 1)]
    assert batches.sizes.tolist() == found
    assert (batches.steps, batches.rest) == (len(found), found[-1] if found[-1] < batch else 0)


# ---------------------------------------------------------------------------------------------- engines agree

SETTINGS = {
    "usual": {},
    "whole batches": {"data": data_of(39)},
    "one short batch": {"batch_size": 60},
    "two threads": {"threads": 2},
    "a last batch of one row": {"threads": 3, "data": data_of(27), "net": {"normalization": "layernorm"}},
    # A bias before batch normalization has no gradient but rounding, which Adam makes as large as others'.
    "adam": {"net": {"normalization": "layernorm"}, "update_rule": "adam", "accumulate": 3},
    "seeded dropout": {"net": {"seed": 3}},
    "accumulated": {"accumulate": 3, "threads": 2},
    "clipped": {"max_norm": 0.1, "max_value": 0.05, "schedule": "cosine"},
    "falling on a plateau": {"schedule": ReduceOnPlateau(patience=0, min_delta=0.5)},
    "a loss of one's own": {"loss": squared, "threads": 2},
    "weights": {"data": data_of(weighted=True), "threads": 2},
    "weights, accumulated": {"data": data_of(weighted=True), "accumulate": 2},
    "numbers": {"data": data_of(targets=True), "net": {"normalization": None, "keep": 1.0, "loss": "squared"}},
    "split by features": {"data": data_of(features=400), "net": {"normalization": None, "features": 400}, "threads": 2},
    "all examples checked": {"num_train_samples": None, "num_val_samples": None},
}


def of_setting(setting, sampler, kind=Solver, **options):
    given = {**SETTINGS[setting], **options}
    return made(sampler, kind, **{**given, "net": net_of(**given.get("net", {}))})


@pytest.mark.parametrize("sampler", ONCE)
@pytest.mark.parametrize("setting", SETTINGS)
def test_compiled_as_the_generic_loop(setting, sampler):
    fast, reference = of_setting(setting, sampler), of_setting(setting, sampler)
    assert trained(fast) == trained(reference, "reference")
    assert (fast.engine_, reference.engine_) == ("compiled", "generic")
    steps, features = len(reference.loss_history), reference.model.dims[0]
    assert steps == EPOCHS * -(-len(fast.X_train) // fast.batch_size)
    most = bound(steps, features)
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, rtol=most, atol=most)
    np.testing.assert_allclose(fast.val_acc_history, reference.val_acc_history, rtol=most, atol=most)
    np.testing.assert_allclose(fast.train_acc_history, reference.train_acc_history, rtol=most, atol=most)
    for name, w in reference._state.params.items():
        np.testing.assert_allclose(fast._state.params[name], w, rtol=most, atol=most, err_msg=name)
        for key in ("learning_rate", "t"):
            assert fast.optim_configs[name].get(key) == reference.optim_configs[name].get(key)
    if sampler == "permutation":
        np.testing.assert_array_equal(fast._state.order, reference._state.order)


class EachStep(Callback):
    """Has the Solver's state lent after every few iterations."""

    def __init__(self, every):
        self.every = every

    def on_step(self, run):
        pass


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("sampler", ONCE)
@pytest.mark.parametrize("setting", SETTINGS)
def test_calls_of_any_length(setting, sampler, every):
    """Bit for bit, whether epochs end inside of a compiled call or somebody looks on between steps."""
    inside, outside = of_setting(setting, sampler), of_setting(setting, sampler, callback=EachStep(every))
    assert trained(inside) == trained(outside)
    assert inside.engine_ == outside.engine_ == "compiled"
    assert_same(inside, outside)


@pytest.mark.parametrize("sampler", ONCE)
def test_a_training_that_changes_its_engine_amid_an_epoch(sampler):
    class Changing(Callback):
        every = 1

        def on_step(self, run):
            if run.step == 6:
                engines.append(solver.engine_)
                # The same rule, but not by its name.
                solver.update_rule = lambda w, dw, config: optim.sgd_momentum(w, dw, config)

    engines = []
    solver, reference = made(sampler, callback=Changing(), threads=2), made(sampler)
    assert trained(solver) == trained(reference, "reference")
    assert (engines, solver.engine_) == (["compiled"], "generic")
    most = bound(len(reference.loss_history))
    np.testing.assert_allclose(solver.loss_history, reference.loss_history, rtol=most, atol=most)


def test_a_sweep_draws_the_same_batches():
    data, options = data_of(), {"num_epochs": EPOCHS, "batch_size": BATCH, "update_rule": "adam"}
    for sampler in ("replacement", *ONCE):
        network = {"hidden_dims": [HIDDEN], "dropout_keep_ratio": 0.8, "normalization": "batchnorm"}
        found = fastfc.sweep({**network, **options, "sampler": sampler}, data)
        np.random.seed(0)
        net = FullyConnectedNet(HIDDEN, FEATURES, OUTPUTS, 0.8, "batchnorm")
        solver = Solver(net, data, **options, sampler=sampler, num_train_samples=None, threads=1, verbose=False)
        with fastfc.use_backend("fast"):
            solver.train()
        batches = Batches(ROWS, BATCH, sampler)
        means = [mean_loss(solver.loss_history[: (i + 1) * batches.steps], batches) for i in range(EPOCHS)]
        (trial,) = found.trials
        np.testing.assert_allclose(trial.result["losses"], means, rtol=tolerance(np.float32, batches.steps))
        params = found.best_network().params
        for name, w in solver._state.params.items():
            np.testing.assert_array_equal(params[name], w, err_msg=name)


# --------------------------------------------------------------------------------------------- means by epoch


def test_means_weigh_rows():
    assert mean_loss([9.0, 1.0, 2.0, 3.0, 8.0], Batches(7, 2, "order")) == (2 * 1 + 2 * 2 + 2 * 3 + 8) / 7
    assert mean_loss([9.0, 1.0, 2.0, 6.0], Batches(7, 2, "replacement")) == 3.0
    assert mean_loss([3.0], Batches(7, 2, "order")) == 3.0
    assert np.isnan(mean_loss([], Batches(7, 2, "order")))


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_values_of_an_epoch_weigh_rows(backend):
    """The callbacks' loss and that of a schedule by values are those over an epoch's rows."""
    history, told = History(), []

    class Noting(ReduceOnPlateau):
        def update(self, value):
            told.append(value)
            return super().update(value)

    solver = made("permutation", callback=history, schedule=Noting())
    trained(solver, backend)
    by_epoch = np.reshape(solver.loss_history, (EPOCHS, 4))
    expected = by_epoch @ [13, 13, 13, 2] / 41
    np.testing.assert_allclose(told, expected, rtol=tolerance(np.float64, 8))
    np.testing.assert_array_equal(history.values["loss"], told)


# ------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("sampler", ONCE)
def test_from_any_iteration(sampler, backend, accumulate, tmp_path):
    callback = SaveEach(tmp_path)
    solver = callback.solver = made(sampler, callback=callback, threads=2, accumulate=accumulate)
    after, steps = trained(solver, backend), 4 * EPOCHS
    solver.save(tmp_path / f"{steps}.npz")
    longer = made(sampler, threads=2, accumulate=accumulate, num_epochs=EPOCHS + 1)
    after_longer = trained(longer, backend)
    for step in range(1, steps + 1):
        rest = Solver.resume(tmp_path / f"{step}.npz", data_of())
        more = Solver.resume(tmp_path / f"{step}.npz", data_of(), num_epochs=EPOCHS + 1)
        assert rest.sampler == sampler
        assert trained(rest, backend) == after
        assert_same(rest, solver)
        assert trained(more, backend) == after_longer
        assert_same(more, longer)


@pytest.mark.parametrize(("backend", "other"), [("fast", "reference"), ("reference", "fast")])
def test_from_any_iteration_on_another_engine(backend, other, tmp_path):
    callback = SaveEach(tmp_path)
    solver = callback.solver = made("permutation", callback=callback, threads=2)
    after, most = trained(solver, backend), bound(4 * EPOCHS)
    for step in range(1, 4 * EPOCHS):
        rest = Solver.resume(tmp_path / f"{step}.npz", data_of())
        assert trained(rest, other) == after
        np.testing.assert_allclose(rest.loss_history, solver.loss_history, rtol=most, atol=most)


class Interrupting(Callback):
    every = 1

    def on_step(self, run):
        if run.step == 6:
            raise KeyboardInterrupt


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("sampler", ONCE)
def test_saved_after_ctrl_c(sampler, backend, tmp_path):
    whole, part = made(sampler), made(sampler, callback=Interrupting())
    after = trained(whole, backend)
    with pytest.raises(KeyboardInterrupt):
        trained(part, backend)
    copy = pickle.loads(pickle.dumps(part))
    for name, each in (("part", part), ("copy", copy)):
        each.save(tmp_path / name)
    for name in ("part", "copy"):
        rest = Solver.resume(tmp_path / name, data_of())
        again = pickle.loads(pickle.dumps(Solver.resume(tmp_path / name, data_of())))
        for going_on in (rest, again):
            assert trained(going_on, backend) == after
            assert_same(going_on, whole)


@pytest.mark.parametrize("sampler", ONCE)
def test_autosave(sampler, tmp_path):
    class Dying(Callback):
        every = 1

        def on_step(self, run):
            if run.step == 10:
                raise RuntimeError("the power is off")

    whole, part = made(sampler), made(sampler, autosave=tmp_path / "run.npz", callback=Dying())
    after = trained(whole)
    with pytest.raises(RuntimeError, match="the power is off"):
        trained(part)
    rest = Solver.resume(tmp_path / "run.npz", data_of(), callback=None)
    assert len(rest.loss_history) == 8
    assert trained(rest) == after
    assert_same(rest, whole)


def test_a_training_that_begins_anew_has_no_old_order():
    def interrupt(solver):
        raise KeyboardInterrupt

    solver, other = made("permutation", callback=interrupt), made("permutation")
    with pytest.raises(KeyboardInterrupt):
        trained(solver)
    assert solver._state.order is not None
    data = data_of()
    fresh = made("permutation", net=solver.model, data=data)
    solver.callback = other.callback = None
    first = [trained(each) for each in (solver, fresh)]
    assert first[0] == first[1]
    np.testing.assert_array_equal(solver._state.order, fresh._state.order)


@pytest.mark.parametrize(
    "order",
    [[0, 1, 1], [0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0], [[0, 1, 2]], [0, 1], [0, 1, 2, 3], [True, False, False]],
)
def test_orders_that_are_none(order):
    with pytest.raises(ValueError, match="order: expected each number from 0 to 2 once"):
        checked_order(np.array(order), 3)
    np.testing.assert_array_equal(checked_order(np.array([2, 0, 1], np.uint8), 3), [2, 0, 1])


@pytest.mark.parametrize(
    ("sampler", "order", "message"),
    [
        ("permutation", np.zeros(ROWS, np.int64), "expected each number from 0 to 40 once"),
        ("permutation", np.arange(1, ROWS + 1), "expected each number"),
        ("permutation", np.arange(ROWS, dtype=np.float64), "expected each number"),
        ("permutation", np.arange(5), "expected an order of 41 rows"),
        ("permutation", np.arange(10**5), "expected an order of 41 rows"),
        ("order", np.arange(ROWS), "expected none with the sampler 'order'"),
        ("replacement", np.arange(ROWS), "expected none with the sampler 'replacement'"),
    ],
)
def test_files_with_other_orders_are_refused(sampler, order, message, tmp_path, monkeypatch):
    solver = made(sampler)
    trained(solver)
    solver._state.order = order
    # Not by this version, which would not save them.
    monkeypatch.setattr("fastfc.formats.training._require_readable", lambda text, arrays: None)
    solver.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match=message):
        Solver.resume(tmp_path / "run.npz", data_of())


def test_pickles_with_other_orders_are_refused(tmp_path):
    solver = made("permutation", num_epochs=1)
    trained(solver)
    solver.save(tmp_path / "run.npz")
    rest = Solver.resume(tmp_path / "run.npz", data_of(), num_epochs=2)
    rest._state.order = np.full(ROWS, 10**9)
    with pytest.raises(ValueError, match="order: expected each number"):
        pickle.loads(pickle.dumps(rest)).train()


# -------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("value", ["random", None, 0, True, b"order", ["order"]])
def test_samplers_that_are_none(value):
    with pytest.raises(ValueError, match="sampler: expected one of 'replacement', 'permutation', 'order', got"):
        made(value)
    solver = made("order")
    solver.sampler = value
    with pytest.raises(ValueError, match="sampler: expected one of"):
        solver.train()


def fewer_rows(solver):
    solver.X_train, solver.y_train = solver.X_train[:30], solver.y_train[:30]


def more_rows(solver):
    solver.X_train, solver.y_train = np.tile(solver.X_train, (2, 1)), np.tile(solver.y_train, 2)


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize(
    ("sampler", "change", "message"),
    [
        *(
            (sampler, change, message)
            for sampler in ONCE
            for change, message in (
                (fewer_rows, "rows of X_train: expected 41, as when the training began"),
                (more_rows, "rows of X_train: expected 41, .*, got 82"),
                (lambda solver: setattr(solver, "batch_size", 5), "batch_size: expected 13, .*, got 5"),
                (lambda solver: setattr(solver, "sampler", "replacement"), "sampler: expected .*, got 'replacement'"),
            )
        ),
        ("replacement", lambda solver: setattr(solver, "sampler", "order"), "sampler: expected 'replacement'"),
    ],
)
def test_changes_amid_a_training_are_refused(sampler, change, message, backend):
    solver = made(sampler)

    def callback(solver):
        change(solver)
        solver.callback = None

    solver.callback = callback
    with pytest.raises(ValueError, match=message):
        trained(solver, backend)
    # For a new training they are no changes.
    solver.sampler = "permutation"
    trained(solver, backend)
    assert sorted(solver._state.order) == list(range(len(solver.X_train)))


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("change", [fewer_rows, lambda solver: setattr(solver, "batch_size", 5)])
def test_drawn_with_replacement_they_are_not(change, backend):
    solver = made("replacement", callback=change)
    trained(solver, backend)
    assert len(solver.loss_history) == EPOCHS * (ROWS // BATCH)


@pytest.mark.parametrize("sampler", ONCE)
def test_data_of_the_same_length_may_change(sampler):
    def changing():
        solver = made(sampler)

        class Changing(Callback):
            def on_epoch_end(self, run):
                solver.X_train = solver.X_train[::-1]

        solver.callback = Changing()
        return solver

    solver, reference = changing(), changing()
    assert trained(solver) == trained(reference, "reference")
    assert solver.engine_ == "compiled"
    most = bound(len(reference.loss_history))
    np.testing.assert_allclose(solver.loss_history, reference.loss_history, rtol=most, atol=most)


@pytest.mark.parametrize("sampler", ONCE)
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_a_loss_that_fails_on_the_short_batch(backend, sampler):
    solver = made(sampler, loss=finite_in_whole_batches)
    with pytest.raises(FloatingPointError, match="returned nan for the batch of step 4"):
        trained(solver, backend)
    assert len(solver.loss_history) == 3


def test_solvers_that_were_pickled_before_there_were_samplers():
    solver = made("replacement")
    attributes = solver.__getstate__()
    del attributes["sampler"]
    older = Solver.__new__(Solver)
    older.__setstate__(attributes)
    assert older.sampler == "replacement"
    older.train()
