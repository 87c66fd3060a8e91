"""The example of reinforcement learning: its equations, its memory, and that it learns."""

import numpy as np
import pytest

from fastfc import Network, Optimizer, tolerance, use_backend
from fastfc.examples import cartpole


def accelerations(state, force):
    """Of cart and pole: the solution of the two equations of motion that Lagrange's mechanics gives."""
    _, _, angle, turning = state
    cart, pole, half = cartpole.CartPole.CART_MASS, cartpole.CartPole.POLE_MASS, cartpole.CartPole.HALF_LENGTH
    couplings = np.array([[cart + pole, pole * half * np.cos(angle)], [np.cos(angle), 4 / 3 * half]])
    forces = force + pole * half * turning**2 * np.sin(angle), cartpole.CartPole.GRAVITY * np.sin(angle)
    return np.linalg.solve(couplings, forces)


@pytest.mark.parametrize("action", [0, 1])
def test_the_equations_of_motion(action):
    rng = np.random.default_rng(0)
    cart = cartpole.CartPole(rng)
    for _ in range(20):
        cart.state = state = rng.uniform(-0.2, 0.2, 4)
        after, fallen = cart.push(action)
        acceleration, turn = accelerations(state, 10.0 if action else -10.0)
        rates = np.array([state[1], acceleration, state[3], turn])
        # The system of two equations has a condition number below 10.
        bound = 10 * tolerance(np.float64, 8) * np.abs(rates).max()
        np.testing.assert_allclose(after, state + 0.02 * rates, rtol=0, atol=bound)
        assert not fallen


def test_the_end_of_an_episode():
    cart = cartpole.CartPole(np.random.default_rng(0))
    for state, fallen in (([2.39, 2, 0, 0], True), ([-2.39, -2, 0, 0], True), ([0, 0, 0.2, 1], True), ([0] * 4, False)):
        cart.state = np.array(state, float)
        assert cart.push(0)[1] == fallen
    assert np.abs(cart.reset()).max() <= 0.05


def test_memory_forgets_the_oldest():
    memory = cartpole.Memory(3)
    for i in range(5):
        memory.add(np.full(4, i), i, np.full(4, i + 1), i == 4)
    states, actions, next_states, fallen = memory.draw(np.random.default_rng(0), 50)
    assert set(actions) == {2, 3, 4}
    np.testing.assert_array_equal(states[:, 0], actions)
    np.testing.assert_array_equal(next_states[:, 0], actions + 1)
    np.testing.assert_array_equal(fallen, actions == 4)


def test_a_step_of_learning_follows_the_gradient_of_hubers_loss(backend):
    """Held against the gradient by the scores' slopes, one transition at a time."""
    rng = np.random.default_rng(0)
    net, target = Network([4, 8, 2], dtype="float64", seed=0), Network([4, 8, 2], dtype="float64", seed=1)
    states, next_states = rng.standard_normal((2, 6, 4))
    actions, fallen = rng.integers(0, 2, 6), np.array([0, 1, 0, 0, 1, 0])
    before, target_before = net.params.flat.copy(), target.params.flat.copy()
    expected = np.zeros_like(before)
    for i in range(6):
        best = net.forward(next_states[i : i + 1], training=False)[0].argmax()
        future = 0.99 * target.forward(next_states[i : i + 1], training=False)[0, best]
        error = net.forward(states[i : i + 1])[0, actions[i]] - 1 - (0 if fallen[i] else future)
        net.backward(np.clip(error, -1, 1) / 6 * np.eye(2)[actions[i : i + 1]])
        expected += net.grads.flat
    cartpole.learn(net, target, Optimizer("sgd", learning_rate=0.5), (states, actions, next_states, fallen))
    bound = tolerance(np.float64, 100) * max(np.abs(before).max(), 1)
    assert np.sqrt(np.sum(expected**2)) < 10
    np.testing.assert_allclose(net.params.flat, before - 0.5 * expected, rtol=0, atol=bound)
    np.testing.assert_allclose(
        target.params.flat, target_before + 0.005 * (net.params.flat - target_before), rtol=0, atol=bound
    )


def test_a_few_episodes_are_the_same_again(capsys):
    one, two = (cartpole.train(episodes=60, seed=3, verbose=False) for _ in range(2))
    assert one[1] == two[1]
    np.testing.assert_array_equal(one[0].params.flat, two[0].params.flat)
    assert len(one[1]) == 60
    cartpole.main(["--episodes", "25"])
    printed = capsys.readouterr().out
    assert "episode 25: mean return of the last 100" in printed
    assert "25 episodes, " in printed


def test_it_learns():
    """A pole that is pushed at random falls after some 20 pushes."""
    with use_backend("fast"):
        _, returns = cartpole.train(episodes=300, goal=60, seed=0, verbose=False)
    assert np.mean(returns[:20]) < 40
    assert np.mean(returns[-100:]) >= 60
