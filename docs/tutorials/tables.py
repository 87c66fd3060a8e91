"""
Tables from the command line
============================

You have a table, and you want to predict one of its columns from the others. There is no program to
write: one command looks at the table, trains, and says how good the result is; a second one predicts.

.. code-block:: sh

   pip install "fastfc[tabular,plot]"
"""

# %%
# A table
# -------
# The table of this page is made up: visits to a shop, with a date, a category, missing ages, and whether something was
# bought.

import csv
import datetime
from pathlib import Path

import numpy as np

rng = np.random.default_rng(0)
rows = []
for _ in range(1500):
    day = datetime.date(2025, 1, 1) + datetime.timedelta(int(rng.integers(365)))
    channel = str(rng.choice(["search", "mail", "friend", "poster"]))
    age = int(rng.integers(18, 80))
    minutes = round(float(rng.gamma(2.0, 4.0)), 1)
    liking = {"search": 0.5, "mail": -0.5, "friend": 1.5, "poster": -1.0}[channel]
    wish = liking + 0.15 * minutes - 0.03 * abs(age - 45) + (day.weekday() >= 5)
    bought = "yes" if wish + rng.normal(0, 0.4) > 1.2 else "no"
    rows.append([day, channel, age if rng.random() < 0.9 else "", minutes, bought])

header = ["day", "channel", "age", "minutes", "bought"]
for name, part in [("shop.csv", rows[:1200]), ("new.csv", rows[1200:])]:
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows([header, *part])

print("\n".join(Path("shop.csv").read_text().splitlines()[:6]))

# %%
# Train
# -----
# On a command line, leave out ``run`` and the quotation marks. The lines before the results say what was taken for what.

import shlex
import subprocess
import sys


def run(command, lines=100):
    """Run a command line of fastfc's, and print the first lines of its results."""
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    results = done.stdout.splitlines()
    print(done.stderr + "\n".join(results[:lines]) + "\n..." * (len(results) > lines))


run(
    "fastfc train shop.csv --target bought --hidden 64,32 --out shop.npz"
    " --plot shop.png"
)

# %%
# ``--plot`` has drawn the training: the losses above, and the accuracies on the rows that were trained on and on those
# that were held out.

import matplotlib.pyplot as plt

figure = plt.figure(figsize=(9, 7))
axes = figure.add_axes((0, 0, 1, 1))
axes.imshow(plt.imread("shop.png"))
axes.set_axis_off()
plt.show()

# %%
# Predict
# -------
# New rows are read by the names of their columns. If they have the target too, there is a line with the accuracy. The
# predictions go to the standard output, so ``> classes.txt`` is a file of them alone.

run("fastfc predict shop.npz new.csv", lines=5)

# %%
# ``--proba`` prints probabilities, for those who want to sort by them:

run("fastfc predict shop.npz new.csv --proba", lines=5)

# %%
# Which columns matter?
# ---------------------
# ``fastfc train --report shop.html`` writes a page with the confusion matrix, calibration, and how much each column is worth.
# The last of these by hand: shuffle a column of the new rows and see how many more of them are wrong.

import pandas

from fastfc.tabular import load_table_model

model = load_table_model("shop.npz")
new = pandas.read_csv("new.csv")
right = np.mean(model.predict(new) == new["bought"])
worth = {}
for column in header[:-1]:
    shuffled = new.copy()
    shuffled[column] = rng.permutation(new[column])
    worth[column] = right - np.mean(model.predict(shuffled) == new["bought"])

figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
axes.barh(list(worth), [100 * each for each in worth.values()])
axes.set(xlabel="accuracy lost when the column is shuffled (percentage points)")
plt.show()

# %%
# Numbers instead of classes
# --------------------------
# If the target has numbers, the same command trains a regression, and says so. Scores are R² and the root of the mean
# squared error, in the target's own units.

run("fastfc train shop.csv --target minutes --hidden 32 --epochs 30 --quiet")

# %%
# Where to go next: :doc:`/tables` has all that is looked for in a table, and the options that decide otherwise;
# :doc:`exporting` makes a program of a model; ``fastfc sweep`` tries many options (:doc:`searches`).

# sphinx_gallery_thumbnail_number = 2
