"""Deep Q-learning: a network learns to balance a pole on a cart. ``python -m fastfc.examples.cartpole``.

The cart is pushed to the left or to the right, fifty times a second; a push that the pole survives is worth 1. The
network gives the value of both pushes in a state. It learns from what has happened so far, drawn at random, by double
Q-learning with a target network that follows it slowly.
"""

import argparse
import math
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from fastfc.network import Network
from fastfc.optimizer import Optimizer

__all__ = ["CartPole", "Memory", "learn", "main", "train"]


class CartPole:
    """A pole on a cart: its state is the cart's place and speed, the pole's angle and angular speed.

    Parameters
    ----------
    rng : numpy.random.Generator
        Initial states are drawn from it, each number from -0.05 to 0.05.

    Notes
    -----
    Equations and constants are those of Barto, Sutton and Anderson 1983, without friction, in steps of Euler's method,
    as Gymnasium's CartPole-v1 has them.

    Examples
    --------
    >>> cart = CartPole(np.random.default_rng(0))
    >>> state = cart.reset()
    >>> state, fallen = cart.push(1)
    >>> bool(state[1] > 0), fallen
    (True, False)
    """

    GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
    #: Beyond them, the pole has fallen or the track has ended.
    MOST_PLACE, MOST_ANGLE = 2.4, math.radians(12)

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.state = np.zeros(4)

    def reset(self) -> np.ndarray:
        """Put the cart back, in a new initial state.

        Returns
        -------
        state : array (4,)
        """
        self.state = self._rng.uniform(-0.05, 0.05, 4)
        return self.state

    def push(self, action: int) -> tuple[np.ndarray, bool]:
        """Push the cart, and let a fiftieth of a second pass.

        Parameters
        ----------
        action : int
            0 for a push to the left, 1 for one to the right.

        Returns
        -------
        state : array (4,)
        fallen : bool
            Whether the pole has fallen, or the track has ended.
        """
        place, speed, angle, turning = self.state.tolist()
        mass, pole = self.CART_MASS + self.POLE_MASS, self.POLE_MASS * self.HALF_LENGTH
        force = self.FORCE if action == 1 else -self.FORCE
        cos, sin = math.cos(angle), math.sin(angle)
        push = (force + pole * turning**2 * sin) / mass
        inertia = self.HALF_LENGTH * (4 / 3 - self.POLE_MASS * cos**2 / mass)
        turn = (self.GRAVITY * sin - cos * push) / inertia
        acceleration = push - pole * turn * cos / mass
        place, speed = place + self.SECONDS * speed, speed + self.SECONDS * acceleration
        angle, turning = angle + self.SECONDS * turning, turning + self.SECONDS * turn
        self.state = np.array([place, speed, angle, turning])
        return self.state, abs(place) > self.MOST_PLACE or abs(angle) > self.MOST_ANGLE


class Memory:
    """The last so many transitions, from which batches are drawn.

    Parameters
    ----------
    size : int

    Examples
    --------
    >>> memory = Memory(100)
    >>> memory.add(np.zeros(4), 1, np.ones(4), False)
    >>> [array.shape for array in memory.draw(np.random.default_rng(0), 8)]
    [(8, 4), (8,), (8, 4), (8,)]
    """

    def __init__(self, size: int) -> None:
        self.states, self.next_states = np.zeros((2, size, 4), np.float32)
        self.actions = np.zeros(size, np.int64)
        self.fallen = np.zeros(size, np.float32)
        self.count = 0

    def add(self, state: np.ndarray, action: int, next_state: np.ndarray, fallen: bool) -> None:
        """Remember a transition, in the place of the oldest if there is no other.

        Parameters
        ----------
        state, next_state : array (4,)
            Before and after the push.
        action : int
        fallen : bool
        """
        i = self.count % len(self.actions)
        self.states[i], self.actions[i], self.next_states[i], self.fallen[i] = state, action, next_state, fallen
        self.count += 1

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, ...]:
        """Draw transitions, with replacement.

        Parameters
        ----------
        rng : numpy.random.Generator
        rows : int

        Returns
        -------
        states : array (rows, 4)
        actions : array (rows,)
        next_states : array (rows, 4)
        fallen : array (rows,)
            Whether the pole had fallen then, as 0 or 1.
        """
        rows_drawn = rng.integers(0, min(self.count, len(self.actions)), rows)
        return self.states[rows_drawn], self.actions[rows_drawn], self.next_states[rows_drawn], self.fallen[rows_drawn]


def learn(
    net: Network, target: Network, optimizer: Optimizer, transitions: tuple[np.ndarray, ...], discount: float = 0.99
) -> float:
    """A step of double Q-learning on some transitions.

    The network chooses the next push, the target network tells its value (van Hasselt, Guez and Silver 2016). Errors
    are clipped to lie within 1, which makes the loss Huber's.

    Parameters
    ----------
    net, target : Network
        `target` moves towards `net` a little.
    optimizer : Optimizer
    transitions : tuple of arrays
        Of the shapes that :meth:`Memory.draw` returns.
    discount : float
        The worth of a push one step ahead.

    Returns
    -------
    float
        The mean squared error of the values.

    Examples
    --------
    >>> memory, net = Memory(100), Network([4, 8, 2], seed=0)
    >>> memory.add(np.zeros(4), 1, np.ones(4), False)
    >>> error = learn(net, net.copy(), Optimizer("adam"), memory.draw(np.random.default_rng(0), 8))
    >>> error > 0
    True
    """
    states, actions, next_states, fallen = transitions
    rows = np.arange(len(actions))
    best = net.forward(next_states, training=False).argmax(axis=1)
    future = target.forward(next_states, training=False)[rows, best]
    values = net.forward(states)
    errors = values[rows, actions] - (1 + discount * (1 - fallen) * future)
    dvalues = np.zeros_like(values)
    dvalues[rows, actions] = np.clip(errors, -1, 1) / len(actions)
    net.backward(dvalues, input_gradient=False)
    optimizer.step(net, max_norm=10.0)
    target.average(net, tau=0.005)
    return float(np.mean(errors**2))


def train(
    episodes: int = 600, goal: float = 195.0, seed: int = 0, batch: int = 64, limit: int = 500, verbose: bool = True
) -> tuple[Network, list[int]]:
    """Learn to balance, for some episodes or until the mean return of a hundred of them is at the goal.

    Parameters
    ----------
    episodes : int
    goal : float
    seed : int
        Of everything that is drawn.
    batch : int
        Transitions of a step of learning; there is one for each push.
    limit : int
        Pushes after which an episode ends.
    verbose : bool
        Whether to print a line every 25 episodes.

    Returns
    -------
    net : Network
    returns : list of int
        Of each episode, how many pushes the pole survived.

    Examples
    --------
    >>> net, returns = train(episodes=3, verbose=False)
    >>> len(returns), net.dims
    (3, [4, 64, 64, 2])
    """
    rng = np.random.default_rng(seed)
    cart, memory = CartPole(rng), Memory(20_000)
    net = Network([4, 64, 64, 2], seed=seed)
    target, optimizer, values = net.copy(), Optimizer("adam", learning_rate=1e-3), net.predictor()
    returns: list[int] = []
    while len(returns) < episodes and not (len(returns) >= 100 and np.mean(returns[-100:]) >= goal):
        state, fallen, pushes = cart.reset(), False, 0
        while not fallen and pushes < limit:
            # Fewer and fewer pushes are taken at random, to find out what they do.
            explores = rng.random() < max(0.02, 1 - memory.count / 5000)
            action = int(rng.integers(2)) if explores else int(values(state).argmax())
            next_state, fallen = cart.push(action)
            memory.add(state, action, next_state, fallen)
            state, pushes = next_state, pushes + 1
            if memory.count >= 10 * batch:
                learn(net, target, optimizer, memory.draw(rng, batch))
        returns.append(pushes - fallen)
        if verbose and len(returns) % 25 == 0:
            print(f"episode {len(returns)}: mean return of the last 100 {np.mean(returns[-100:]):.0f}")
    return net, returns


def main(argv: Sequence[str] | None = None) -> None:
    """Train and say how it went; arguments as in the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Those of the program by default.

    Examples
    --------
    >>> main(["--episodes", "300"])  # doctest: +SKIP
    """
    parser = argparse.ArgumentParser("python -m fastfc.examples.cartpole", description="Learn to balance a pole.")
    parser.add_argument("--episodes", type=int, default=600, help="at most (default 600)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    start = perf_counter()
    _, returns = train(arguments.episodes, seed=arguments.seed)
    last, pushes = float(np.mean(returns[-100:])), sum(returns)
    print(f"{len(returns)} episodes, {pushes} pushes: mean return {last:.0f}, {perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
