"""
Reinforcement learning: balancing a pole
========================================

In reinforcement learning the training loop is yours, networks are small, and there are many steps: choose an action, look
at what happens, learn from a batch. In most libraries the overhead of calls takes longer than the arithmetic. This page
learns to balance a pole on a cart by deep Q-learning, in about a hundred lines of Python that are yours to change.

.. code-block:: sh

   pip install "fastfc[plot]"
"""

# %%
# The problem
# -----------
# A cart is pushed to the left or to the right, fifty times a second. The state is four numbers: the position and the velocity
# of the cart, the angle and the angular velocity of the pole. It is over when the pole leans more than 12 degrees, when the cart is 2.4
# metres away, or after 500 pushes. The equations are in :mod:`fastfc.examples.cartpole`, and so is all that follows.

import numpy as np

from fastfc.examples.cartpole import CartPole

cart = CartPole(np.random.default_rng(0))
print("state:", cart.reset().round(3))
pushes, fallen = 0, False
while not fallen:
    state, fallen = cart.push(int(np.random.default_rng(pushes).integers(2)))
    pushes += 1
print("random pushes keep the pole up for", pushes, "pushes")

# %%
# Three parts of fastfc
# ---------------------
# The network gives a value to each of the two pushes. :class:`fastfc.Network` has the passes of the compiled training one
# by one; :class:`fastfc.Optimizer` has its update rules.

import fastfc

net = fastfc.Network([4, 64, 64, 2], seed=0)
target = net.copy()
optimizer = fastfc.Optimizer("adam", learning_rate=1e-3)

# %%
# ``net.predictor()`` is the shortest way from one state to its values; it follows the network as it learns.

from timeit import repeat

values = net.predictor()
state = np.zeros(4)
seconds = min(repeat(lambda: values(state), number=1000, repeat=5)) / 1000
print(f"an action takes {1e6 * seconds:.1f} µs")

# %%
# A step of learning is one function. The gradient of the scores is written down by hand, which here is two lines: it is
# the error of the value of the push that was made, and 0 for the other push. ``average`` lets the target network follow
# slowly.

import inspect

from fastfc.examples import cartpole

print(inspect.getsource(cartpole.learn).split('"""')[2])

# %%
# Learn
# -----
# ``cartpole.train`` is the loop over episodes. It ends when the mean over a hundred of them is at 195.

from time import perf_counter

start = perf_counter()
net, returns = cartpole.train(seed=0, verbose=False)
print(
    f"{len(returns)} episodes, {sum(returns)} pushes: {perf_counter() - start:.1f} seconds"
)

# %%
# Each dot is an episode, the line is the mean of the last hundred. Note the beginning: as long as most pushes are random,
# there is nothing to see.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(returns, ".", color="#1f77b4", alpha=0.5, label="an episode")
means = [np.mean(returns[max(0, i - 99) : i + 1]) for i in range(len(returns))]
axes.plot(means, color="#d95f02", linewidth=2, label="mean of the last hundred")
axes.set(xlabel="episode", ylabel="pushes survived")
axes.legend(loc="upper left")
plt.show()

# %%
# Look at what it does
# --------------------
# One episode without random pushes. The cart goes to and fro under the pole.

cart = CartPole(np.random.default_rng(5))
values = net.predictor()
states, fallen = [cart.reset()], False
while not fallen and len(states) < 500:
    state, fallen = cart.push(int(values(states[-1]).argmax()))
    states.append(state)

seconds = np.arange(len(states)) / 50
figure, (above, below) = plt.subplots(
    2, 1, figsize=(8, 4.4), sharex=True, layout="constrained"
)
above.plot(seconds, np.degrees([state[2] for state in states]))
above.set(ylabel="angle (degrees)")
below.plot(seconds, [state[0] for state in states], color="#d95f02")
below.set(ylabel="position (metres)", xlabel="seconds")
plt.show()
print("pushes survived:", len(states) - 1)

# %%
# The policy of the network as a map: which push is better, by angle and angular velocity, for a cart that stands
# in the middle.

angles = np.linspace(-0.2, 0.2, 81)
velocities = np.linspace(-2, 2, 81)
grid = np.array(
    [[0.0, 0.0, angle, velocity] for velocity in velocities for angle in angles]
)
scores = net.forward(grid, training=False)
better = (scores[:, 1] - scores[:, 0]).reshape(81, 81)

figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
most = np.abs(better).max()
image = axes.pcolormesh(
    np.degrees(angles), velocities, better, cmap="RdBu_r", vmin=-most, vmax=most
)
axes.contour(np.degrees(angles), velocities, better, levels=[0], colors="black")
figure.colorbar(image, label="value of right minus left")
axes.set(xlabel="angle (degrees)", ylabel="angular velocity (rad/s)")
plt.show()

# %%
# Put it on a device
# ------------------
# The network is saved like any other, and :func:`fastfc.export` writes it in C without dependencies.

net.save("policy.npz")
print(fastfc.export(net.to_net(), "policy.c"))

# %%
# Where to go next: :doc:`/loops` describes each call, and losses of your own; :doc:`exporting` has the C file; to change
# the algorithm, copy ``fastfc/examples/cartpole.py``.

# sphinx_gallery_thumbnail_number = 1
