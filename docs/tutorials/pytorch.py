"""
The same training in PyTorch and in fastfc
==========================================

You know PyTorch, and you train small fully connected networks on a CPU: there a step of PyTorch is mostly calls, and
fastfc's is not. This page writes one training in both, from the same weights and on the same batches, and compares the
losses. Then it shows which shorter form of the loop is right for which purpose.

fastfc is for this one family of networks, and there is no autograd: the way back is a method. If your network has
convolutions or attention, stay with PyTorch. :doc:`/gpu` says when a graphics card is the better choice.

Where PyTorch is not installed, its lines on this page are shown and not run.
"""

# %%
# The network
# -----------
# Widths are given together with the input and the output. ``seed`` fixes the initial weights and dropout.

import numpy as np

import fastfc

net = fastfc.Network(
    [784, 128, 128, 10], activation="gelu", normalization="batchnorm", seed=0
)
print(net)

# %%
# In PyTorch it is a ``Sequential``. :func:`fastfc.to_torch_state` makes its ``state_dict``, so that both begin at the same
# weights. It returns arrays, and does not need PyTorch.

state = fastfc.to_torch_state(net.to_net())
for name, array in list(state.items())[:7]:
    print(f"{name:24} {array.shape}")

# %%

try:
    import torch
except ImportError:
    torch = None
    print("PyTorch is not installed here")

if torch is not None:
    torch.set_num_threads(1)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(784, 128), nn.BatchNorm1d(128), nn.GELU(),
        nn.Linear(128, 128), nn.BatchNorm1d(128), nn.GELU(),
        nn.Linear(128, 10),
    )  # fmt: skip
    model.load_state_dict({k: torch.tensor(v) for k, v in state.items()})

# %%
# The loop
# --------
# Line by line, the two loops do the same. In fastfc the loss returns its gradient, ``backward`` takes it, and the
# gradients of the parameters are in ``net.grads``; they are overwritten each time, so there is no ``zero_grad``.
#
# .. list-table::
#    :header-rows: 1
#
#    * - PyTorch
#      - fastfc
#    * - ``scores = model(X)``
#      - ``scores = net.forward(X)``
#    * - ``loss = F.cross_entropy(scores, y)``
#      - ``loss, dscores = softmax_loss(scores, y)``
#    * - ``optimizer.zero_grad(); loss.backward()``
#      - ``net.backward(dscores)``
#    * - ``clip_grad_norm_(model.parameters(), 1.0)``
#      - ``optimizer.step(net, max_norm=1.0)``
#    * - ``optimizer.step()``
#      - the same call
#    * - ``model.eval(); model(X)``
#      - ``net.forward(X, training=False)``
#    * - ``model.state_dict()``
#      - ``net.params``, a dictionary of arrays

raw = fastfc.load_dataset("fashion-mnist")
X = (raw["X_train"].reshape(4000, -1) / 255 - 0.5).astype(np.float32)
y = raw["y_train"]
rng = np.random.default_rng(0)
batches = [rng.permutation(4000)[:128] for _ in range(150)]

# %%

from time import perf_counter

from fastfc.losses import softmax_loss

optimizer = fastfc.Optimizer("adam", learning_rate=1e-3)
losses = []
for step, rows in enumerate(batches):
    if step == 10:  # the first steps load kernels
        start = perf_counter()
    loss, dscores = softmax_loss(net.forward(X[rows]), y[rows])
    net.backward(dscores, input_gradient=False)
    optimizer.step(net, max_norm=1.0)
    losses.append(loss)
print(f"fastfc: {1e6 * (perf_counter() - start) / 140:.0f} µs per step")

# %%

torch_losses = []
if torch is not None:
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step, rows in enumerate(batches):
        if step == 10:
            start = perf_counter()
        scores = model(torch.from_numpy(X[rows]))
        loss = nn.functional.cross_entropy(scores, torch.from_numpy(y[rows]).long())
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        torch_losses.append(loss.item())
    print(f"PyTorch: {1e6 * (perf_counter() - start) / 140:.0f} µs per step")

# %%
# The losses are the same to the eye, and over the first steps to rounding. Later float32 rounding grows, as it does
# between two versions of PyTorch.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
if torch_losses:
    axes.plot(torch_losses, linewidth=5, alpha=0.4, label="PyTorch")
axes.plot(losses, color="black", linewidth=1, label="fastfc")
axes.set(xlabel="step", ylabel="loss of the batch")
axes.legend()
plt.show()
if torch_losses:
    difference = np.abs(np.array(losses) - torch_losses)
    print(f"first ten losses: {difference[:10].max():.0e}, all: {difference.max():.0e}")

# %%
# Without a loop
# --------------
# A loop of your own is for losses and data that nobody else knows. For labels and numbers there is a shorter form, which
# is quicker too: a :class:`fastfc.Solver` runs all steps in compiled code, the choice of batches included.

np.random.seed(0)
data = {"X_train": X[:3600], "y_train": y[:3600], "X_val": X[3600:], "y_val": y[3600:]}
classifier = fastfc.FullyConnectedNet(
    [128, 128],
    784,
    activation="gelu",
    normalization="batchnorm",
    initializer="he_normal",
)
solver = fastfc.Solver(
    classifier,
    data,
    update_rule="adamw",
    optim_config={"learning_rate": 1e-3, "weight_decay": 1e-2},
    schedule="cosine",
    batch_size=128,
    num_epochs=8,
    verbose=False,
)
start = perf_counter()
solver.train()
steps = len(solver.loss_history)
print(f"{1e6 * (perf_counter() - start) / steps:.0f} µs per step, accuracies included")
print(f"best validation accuracy {solver.best_val_acc:.1%}")

# %%
# And back to PyTorch
# -------------------
# A network that is trained here can be used there.

if torch is not None:
    model.load_state_dict(
        {k: torch.tensor(v) for k, v in fastfc.to_torch_state(classifier).items()}
    )
    model.eval()
    with torch.no_grad():
        scores = model(torch.from_numpy(X[:5])).numpy()
    print(f"largest difference: {np.abs(scores - classifier.loss(X[:5])).max():.0e}")

# %%
# Differences worth knowing
# -------------------------
# - PyTorch's running variance is that of unbiased batch variances, fastfc's of biased ones, as in its forward pass.
# - Momentum of the running statistics is the share that stays (0.9), where PyTorch's is the share that is new (0.1).
# - Weights are (inputs, outputs), the transpose of ``nn.Linear``'s.
# - Initial weights are the course's normal ones (``FullyConnectedNet``) or He's (``Network``), not ``nn.Linear``'s.
#
# Where to go next: :doc:`/loops` for loops of your own, with target networks and single observations;
# :doc:`reinforcement`; :doc:`/exporting`, which has the table of names; :doc:`/performance`, where PyTorch is measured in
# its best form.

# sphinx_gallery_thumbnail_number = 1
