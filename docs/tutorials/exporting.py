"""
A trained network without fastfc
================================

The network is trained; now it is to run somewhere else: in a program that has NumPy and nothing more, on a device that
has a C compiler, or in a runtime for ONNX files. This page trains a classifier of flowers and takes it to all three, and
checks that each of them says the same.

.. code-block:: sh

   pip install "fastfc[sklearn,onnx]" onnxruntime
"""

# %%
# A network
# ---------
# It tells three species of iris by four lengths. The network has the mean and the scale of its inputs, so it takes
# centimetres, and so will everything that is exported from it.

from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris

import fastfc

iris = load_iris()
X, y = iris.data, iris.target
train, test = np.arange(150) % 3 != 0, np.arange(150) % 3 == 0

np.random.seed(0)
net = fastfc.FullyConnectedNet([16, 16], 4, 3, activation="tanh", weight_scale=0.3)
net.input_mean, net.input_scale = X[train].mean(0), 1 / X[train].std(0)
net.class_names = [str(name) for name in iris.target_names]

data = {"X_train": X[train], "y_train": y[train], "X_val": X[test], "y_val": y[test]}
fastfc.Solver(
    net, data, update_rule="adam", num_epochs=60, batch_size=20, verbose=False
).train()
expected = net.predict_proba(X[test])
print(f"accuracy {np.mean(net.predict(X[test]) == y[test]):.1%}")

# %%
# A module of NumPy
# -----------------
# The ending of the name says what is written. A ``.py`` is a module for people to read, with its weights beside it.

print(fastfc.export(net, "flowers.py"))
print(Path("flowers.py").read_text())

# %%
# It is used like any module, and needs NumPy alone:

import importlib.util

spec = importlib.util.spec_from_file_location("flowers", "flowers.py")
flowers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(flowers)

print(flowers.predict(X[[0, 60, 120]]))
print(
    f"largest difference {np.abs(flowers.predict_proba(X[test]) - expected).max():.0e}"
)

# %%
# C99
# ---
# A ``.c`` comes with its ``.h``: C99, no dependency but ``math.h``, no memory that is allocated, weights as constants.

print(fastfc.export(net, "flower.c"))
print(Path("flower.h").read_text())

# %%
# A program around it reads four numbers a line and prints the class. It is compiled here if the machine has a compiler.

import shutil
import subprocess

program = r"""
#include <stdio.h>
#include "flower.h"

int main(void) {
    float x[FLOWER_INPUTS];
    while (scanf("%f %f %f %f", x, x + 1, x + 2, x + 3) == 4) {
        puts(flower_class_names[flower_predict(x)]);
    }
    return 0;
}
"""
Path("main.c").write_text(program)

if shutil.which("cc"):
    words = ["cc", "-std=c99", "-O2", "main.c", "flower.c", "-lm", "-o", "flower"]
    subprocess.run(words, check=True)
    lines = "\n".join(" ".join(map(str, row)) for row in X[test])
    done = subprocess.run(
        "./flower", input=lines, capture_output=True, text=True, check=True
    )
    names = done.stdout.split()
    print(names[0], names[20], names[40])
    print("as in Python:", names == [net.class_names[i] for i in net.predict(X[test])])
else:
    print("there is no C compiler here")

# %%
# ONNX
# ----
# An ``.onnx`` runs in `ONNX Runtime <https://onnxruntime.ai>`_, in a browser, on a phone, or in Java. Its outputs are the
# label and the probabilities.

import onnxruntime

print(fastfc.export(net, "flowers.onnx"))
session = onnxruntime.InferenceSession("flowers.onnx")
label, probabilities = session.run(None, {"X": X[test].astype(np.float32)})
print(label[[0, 20, 40]])
print(f"largest difference {np.abs(probabilities - expected).max():.0e}")

# %%
# How sure is it?
# ---------------
# The probabilities of the three species as red, green and blue, by the length and the width of the petals, for a flower
# with sepals of average size.

import matplotlib.pyplot as plt

lengths, widths = np.meshgrid(np.linspace(0.5, 7.5, 120), np.linspace(0, 2.8, 90))
grid = np.empty((lengths.size, 4))
grid[:, :2] = X[:, :2].mean(0)
grid[:, 2], grid[:, 3] = lengths.ravel(), widths.ravel()
colors = flowers.predict_proba(grid).reshape(90, 120, 3)

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.imshow(
    0.35 + 0.65 * colors, origin="lower", extent=(0.5, 7.5, 0, 2.8), aspect="auto"
)
for k, name in enumerate(net.class_names):
    axes.plot(*X[y == k, 2:].T, "osD"[k], color="black", markersize=4, label=name)
axes.set(xlabel="length of the petals (cm)", ylabel="width of the petals (cm)")
axes.legend(loc="upper left")
plt.show()

# %%
# Where to go next: :doc:`/exporting` has all formats, PyTorch's and Keras's names among them, and what each of them needs;
# on the command line it is ``fastfc export model.npz predict.py``.

# sphinx_gallery_thumbnail_number = 1
