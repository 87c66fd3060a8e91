"""
Searches: many small trainings
==============================

You do not know the learning rate, the width, or how much the seed matters. A small network cannot use many processors,
but many trainings can: :func:`fastfc.sweep` trains a network for each choice of options and for each seed, one thread
each, in compiled code without Python's lock.

.. code-block:: sh

   pip install "fastfc[plot,optuna]"
"""

# %%
# Learning rate and scale of the weights
# --------------------------------------
# A grid is a dictionary with lists. Its options are those of :class:`fastfc.FullyConnectedNet`, of
# :class:`fastfc.Solver`, and of the update rule. This one has 5 × 5 choices, with two seeds each.

from time import perf_counter

import numpy as np

import fastfc

raw = fastfc.load_dataset("fashion-mnist")
X = raw["X_train"].reshape(4000, -1) / 255 - 0.5
y = raw["y_train"]
data = {"X_train": X[:2000], "y_train": y[:2000], "X_val": X[3600:], "y_val": y[3600:]}

grid = {
    "learning_rate": [1e-3, 1e-2, 1e-1, 1, 10],
    "weight_scale": [1e-3, 1e-2, 1e-1, 0.3, 1],
    "hidden_dims": [[64, 64]],
    "update_rule": "sgd_momentum",
    "num_epochs": 3,
}
start = perf_counter()
result = fastfc.sweep(grid, data, seeds=2)
seconds = perf_counter() - start
print(f"{len(result.trials)} trainings in {seconds:.1f} seconds")

# %%
# The losses after three epochs, as a map. Weights that are too small learn nothing in that time; weights that are too
# large begin at losses of hundreds; and the learning rate must fit the weights. The frame is around the smallest loss.

from fastfc.plots import plot_grid

plot_grid(result, "learning_rate", "weight_scale", "loss").figure

# %%
# The validation accuracies of the same trainings:

plot_grid(result, "learning_rate", "weight_scale", "score").figure

# %%
# How much does the seed matter?
# ------------------------------
# A difference between two options means something only if it is larger than that between two seeds. ``over_seeds`` has
# the mean and the deviation, best first.

widths = {
    "hidden_dims": [[32], [64], [128], [64, 64]],
    "learning_rate": 1e-3,
    "update_rule": "adam",
    "num_epochs": 8,
}
result = fastfc.sweep(widths, data, seeds=5, file="widths.jsonl")
for row in result.over_seeds():
    print(f"{row['hidden_dims']!s:9} {row['mean']:.3f} ± {row['std']:.3f}")

# %%
# Each training has been written to ``widths.jsonl`` as it ended. A sweep that finds its file goes on from there, after
# Ctrl-C or a power cut. Here everything has been done already.

start = perf_counter()
result = fastfc.sweep(widths, data, seeds=5, file="widths.jsonl")
print(f"{perf_counter() - start:.2f} seconds")

# %%
# The best network comes out of it, and two pictures of everything: a line for each training through its options and its
# score, and the losses with their quartiles over the seeds.

net = result.best_network()
print("of the best network:", result.best.options["hidden_dims"], result.best.score)
result.plot()

# %%
# More choices than time
# ----------------------
# With ``halving=True`` all choices train for an epoch, the best third of them for three, the best third of those for nine.
# Those that stay are continued, not begun again. Choices can also be drawn: then the grid is a function.


def drawn(rng):
    return {
        "learning_rate": 10 ** rng.uniform(-5, -1),
        "hidden_dims": [int(rng.integers(16, 128))],
        "dropout_keep_ratio": float(rng.uniform(0.5, 1)),
        "update_rule": "adam",
        "num_epochs": 9,
    }


result = fastfc.sweep(drawn, data, count=27, halving=True)
epochs = [trial.result["epochs"] for trial in result.trials]
print("epochs trained:", {n: epochs.count(n) for n in sorted(set(epochs))})
print(
    f"best: {result.best.score:.3f} with learning rate {result.best.options['learning_rate']:.1e}"
)

# %%
# Cross-validation
# ----------------
# With few data, one validation part is a lottery. Each row is held out once; ``predict`` has, for each row, the prediction of
# the network that has not seen it.

options = {"hidden_dims": [64], "update_rule": "adam", "num_epochs": 8}
folds = fastfc.cross_validate(options, X[:1000], y[:1000], k=5)
print("accuracies:", folds.scores.round(3))
print(f"over all rows: {np.mean(folds.predict(X[:1000]) == y[:1000]):.3f}")

# %%
# Optuna
# ------
# `Optuna <https://optuna.org>`_ chooses the next options by the results so far. Where a ``Solver`` trains, a callback reports
# each epoch, and ends trainings that look hopeless.

import optuna

from fastfc.integrations.optuna import PruningCallback

optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial):
    np.random.seed(trial.number)
    net = fastfc.FullyConnectedNet([trial.suggest_int("width", 16, 128)], 784)
    solver = fastfc.Solver(
        net,
        data,
        update_rule="adam",
        optim_config={
            "learning_rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        },
        num_epochs=6,
        verbose=False,
        threads=1,
        callback=PruningCallback(trial, monitor="val_acc"),
    )
    solver.train()
    return solver.best_val_acc


study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(),
)
study.optimize(objective, n_trials=25)
states = [trial.state.name.lower() for trial in study.trials]
print({state: states.count(state) for state in sorted(set(states))})
print(f"best: {study.best_value:.3f} with {study.best_params}")

# %%
# Each dot is a training. Optuna tries where it has been good, and gives up where it is not.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for state, color in [("complete", "#1f77b4"), ("pruned", "#c0392b")]:
    found = [t for t in study.trials if t.state.name.lower() == state]
    rates = [t.params["rate"] for t in found]
    best = [max(t.intermediate_values.values()) for t in found]
    axes.semilogx(rates, best, "o", color=color, label=state)
axes.set(xlabel="learning rate", ylabel="best validation accuracy")
axes.legend()
plt.show()

# %%
# Where to go next: :doc:`/sweeps` has executors (processes, Dask, MPI, joblib), files and interrupts; on the command line
# there is ``fastfc sweep``; :doc:`scikit_learn` shows ``GridSearchCV``.

# sphinx_gallery_thumbnail_number = 1
