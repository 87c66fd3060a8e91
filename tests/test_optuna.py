"""Optuna: pruning by a callback of the Solver, on one thread and on two."""

import importlib.util
import threading

import numpy as np
import pytest

from fastfc import FullyConnectedNet, Solver
from fastfc._runtime.team import end_idle_threads
from fastfc.integrations.optuna import PruningCallback

EPOCHS = 8
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 6, 120)
X = RNG.standard_normal((120, 6)) + 4 * np.eye(6)[Y]
DATA = {"X_train": X[:80], "y_train": Y[:80], "X_val": X[80:], "y_val": Y[80:]}


@pytest.fixture
def optuna():
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def train(trial, rate, threads, monitor="val_acc", **options):
    solver = Solver(
        FullyConnectedNet([40], 6, 6, weight_scale=0.1), DATA, update_rule="adam",
        optim_config={"learning_rate": rate}, batch_size=10, num_epochs=EPOCHS, verbose=False, threads=threads,
        callback=PruningCallback(trial, monitor), **options,
    )  # fmt: skip
    solver.train()
    return solver.best_val_acc


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_pruning(optuna, jobs, threads, tmp_path):
    """Trials below the threshold end early; nothing of them is left.

    Two jobs draw from one stream, in an order that nobody knows: of 300 seeds, no untrained network was right on more
    than 0.43 of the examples, and no trained one on less than 0.77 of them.
    """
    end_idle_threads()
    before = set(threading.enumerate())
    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.ThresholdPruner(lower=0.6, n_warmup_steps=3),
        sampler=optuna.samplers.GridSampler({"rate": [0.0, 1e-8, 0.03, 0.05]}),
    )
    study.optimize(
        lambda trial: train(
            trial, trial.suggest_float("rate", 0, 1), threads, autosave=tmp_path / f"{trial.number}.npz"
        ),
        n_trials=4,
        n_jobs=jobs,
    )
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert sorted(trial.params["rate"] for trial in pruned) == [0.0, 1e-8]
    for trial in study.trials:
        epochs = list(trial.intermediate_values)
        assert epochs == list(range(1, 4 if trial in pruned else EPOCHS + 1))
    assert study.best_value == max(max(t.intermediate_values.values()) for t in study.trials if t not in pruned)
    end_idle_threads()
    assert set(threading.enumerate()) <= before
    assert not list(tmp_path.glob("*.tmp"))
    # Another training runs as ever.
    assert train(optuna.trial.FixedTrial({}), 0.05, threads) > 0.6


def test_other_values(optuna):
    study = optuna.create_study()
    trial = study.ask()
    train(trial, 0.1, 1, "loss")
    values = study.trials[0].intermediate_values
    assert list(values) == list(range(1, EPOCHS + 1))
    assert values[EPOCHS] < values[1]
    with pytest.raises(ValueError, match="monitor: expected one of loss, train_acc, val_acc"):
        train(study.ask(), 0.1, 1, "accuracy")
    with pytest.raises(TypeError, match="trial"):
        PruningCallback(3)
    with pytest.raises(TypeError, match="monitor"):
        PruningCallback(trial, 3)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is not None, reason="Optuna is installed")
def test_without_optuna():
    with pytest.raises(ImportError, match=r"fastfc\[optuna\]"):
        PruningCallback(None)
