"""
From a finished assignment to the compiled run
==============================================

You have finished the fully connected part of assignment 2 of CS231n. The code is yours, it is right, and it is slow:
NumPy spends its time on calls and on memory. This page takes such a package, makes it several times as fast without
changing a line of it, and then uses the time that is saved to answer the assignment's own questions with pictures: which
initial weights are good, where the gradients go, and which units are dead.

.. code-block:: sh

   pip install "fastfc[plot]"
"""

# %%
# Your code, as it is
# -------------------
# ``cs231n`` is a finished package in plain NumPy. The assignment trains on CIFAR-10; here it is Fashion-MNIST, 4,000
# pictures of which come with fastfc. The code is that of the course's notebooks.

from time import perf_counter

import cs231n.solver
import numpy as np
from cs231n.classifiers.fc_net import FullyConnectedNet

import fastfc

raw = fastfc.load_dataset("fashion-mnist")
X = raw["X_train"].reshape(4000, -1) / 255 - 0.5
y = raw["y_train"]
data = {"X_train": X[:3600], "y_train": y[:3600], "X_val": X[3600:], "y_val": y[3600:]}


def train(verbose=True):
    """The training of this page, with whatever the package cs231n does at the moment."""
    np.random.seed(231)
    net = FullyConnectedNet(
        [100, 100, 100],
        input_dim=784,
        dropout_keep_ratio=0.8,
        normalization="batchnorm",
        weight_scale=5e-2,
        dtype=np.float64,
    )
    solver = cs231n.solver.Solver(
        net,
        data,
        num_epochs=4,
        batch_size=100,
        update_rule="adam",
        optim_config={"learning_rate": 1e-3},
        print_every=50,
        verbose=verbose,
    )
    start = perf_counter()
    solver.train()
    return solver, perf_counter() - start


own, own_seconds = train()
print(f"{own_seconds:.2f} seconds")

# %%
# The same, compiled
# ------------------
# :func:`fastfc.patch` compares each function of your package with its own on small random inputs, and puts its own in
# the place of those that agree. Whatever does not agree stays yours, and a warning shows the difference; so this also
# tells you whether your functions are right.

fastfc.patch("cs231n")
for mine, fast in list(fastfc.patched().items())[:4]:
    print(mine, "->", fast)
print("... and", len(fastfc.patched()) - 4, "more")

# %%
# The code of the training is the same, and so are the numbers: initial weights, minibatches and dropout masks come from
# NumPy's random stream in the same order. The losses differ by rounding only. The times are those of the machine that
# built this page, with NumPy's BLAS on one thread.

train(verbose=False)  # the first compiled training on a machine compiles
compiled, seconds = train()
difference = np.abs(np.array(own.loss_history) - np.array(compiled.loss_history)).max()
print(f"{seconds:.2f} seconds, which is {own_seconds / seconds:.0f} times as fast")
print(f"largest difference of a loss: {difference:.1e}")

# %%
# One picture shows the losses and the accuracies. Where the two accuracies separate, the network begins to overfit.

from fastfc.plots import plot_history

plot_history(
    compiled.loss_history, compiled.train_acc_history, compiled.val_acc_history
)

# %%
# ``fastfc.unpatch()`` gives you your own functions back. If you do not need them, write ``fastfc`` where the imports say
# ``cs231n``: names, arguments and printed lines are the course's. That is what the rest of this page does.

fastfc.unpatch()

# %%
# Which initial weights?
# ----------------------
# The notebook asks what happens to a deep network when its initial weights are small. Here are the activations of six
# hidden layers, before any training, with weights of standard deviation 0.01, the course's default. The bars are
# histograms; the point beside them is the mean with one standard deviation up and down.
# The function returns axes of matplotlib's: their ``figure`` is shown at the end of a cell, and ``figure.savefig`` saves it.

from fastfc.plots import plot_activations, plot_gradients

np.random.seed(231)
small = fastfc.FullyConnectedNet([100] * 6, 784, weight_scale=0.01)
plot_activations(small, X[:500]).figure

# %%
# Each layer multiplies the deviation by less than a tenth: ``0.01 * sqrt(100 / 2)``. After six of them all pictures look
# alike, and the scores say nothing. The way back is no better: the gradients shrink again at each layer, until those of
# the first layer are ten million times smaller than those of the scores.

plot_gradients(small, X[:500], y[:500]).figure

# %%
# He's initial weights have the deviation ``sqrt(2 / inputs)``, which makes up for the half that ReLU cuts off. Activations keep their size from layer to layer:

he = fastfc.FullyConnectedNet(
    [100] * 6, 784, initializer="he_normal", rng=np.random.RandomState(231)
)
plot_activations(he, X[:500]).figure

# %%
# and so do the gradients.

plot_gradients(he, X[:500], y[:500]).figure

# %%
# The other answer is batch normalization. With the same small weights as above it puts each layer's inputs back to mean 0
# and deviation 1, whatever the weights are:

np.random.seed(231)
normalized = fastfc.FullyConnectedNet(
    [100] * 6, 784, weight_scale=0.01, normalization="batchnorm"
)
plot_activations(normalized, X[:500]).figure

# %%
# Which units are dead?
# ---------------------
# A ReLU whose input is below 0 for every picture gives 0 and passes no gradient on: it never learns again. Too large a
# learning rate kills units. Their share stands under each layer, in red.

from fastfc.plots import layer_statistics

dead = {}
for rate in (1e-3, 1e-2, 1e-1):
    net = fastfc.FullyConnectedNet(
        [100] * 3, 784, initializer="he_normal", rng=np.random.RandomState(231)
    )
    np.random.seed(231)
    fastfc.Solver(
        net,
        data,
        num_epochs=3,
        update_rule="adam",
        optim_config={"learning_rate": rate},
        verbose=False,
    ).train()
    dead[rate] = [
        f"{layer.dead_share:.0%}" for layer in layer_statistics(net, X[:500])[:-1]
    ]
    print(f"learning rate {rate:g}: dead units by layer {', '.join(dead[rate])}")

plot_activations(net, X[:500]).figure

# %%
# Weights of the first layer
# --------------------------
# Each unit of the first layer has a weight for each pixel, so its weights are a picture. A little L2 regularization keeps
# pixels that do not matter near 0.

from fastfc.plots import plot_weights

np.random.seed(231)
net = fastfc.FullyConnectedNet([64], 784, reg=1e-2)
fastfc.Solver(net, data, num_epochs=15, update_rule="adam", verbose=False).train()
plot_weights(net, (28, 28)).figure

# %%
# The best net
# ------------
# The assignment ends with a search for the best network. A training takes well under a second now, so try many:
# :doc:`searches` shows how, with the learning rate and the scale of the weights on the two axes of a map.
#
# Where to go next:
#
# - :doc:`/course` has all that this page left out: running scripts and notebooks without editing them, and the argument
#   names of all the course's years.
# - :doc:`/compiled_run` tells what the compiled run does, and when it does not run.
# - :mod:`fastfc.plots` describes the pictures.

# sphinx_gallery_thumbnail_number = 2
