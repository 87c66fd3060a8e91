"""Random networks, data and rules: the compiled run against the generic loop on the reference.

Hundreds of networks by default, thousands with ``--hypothesis-profile=long`` (or
HYPOTHESIS_PROFILE=long). A failure prints the network and a line that reproduces it.
"""

import contextlib

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rule_lists import ADAPTIVE, rates

import fastfc
from fastfc import FullyConnectedNet, Solver, optim, tolerance

# Without the compiler every step is plain Python.
EXAMPLES = 15 if numba.config.DISABLE_JIT else max(300, settings.default.max_examples)

RATES = rates(sgd=0.05, adagrad=1e-2)

DATA = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "uint8": lambda X: np.clip(60 * X + 128, 0, 255).astype(np.uint8),
    "bool": lambda X: X > 0,
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "every third row": lambda X: np.repeat(X, 3, axis=0)[::3],
}


@st.composite
def networks(draw):
    return {
        "hidden": draw(st.lists(st.integers(1, 40), max_size=4)),
        "features": draw(st.integers(1, 40) | st.integers(128, 300)),
        "classes": draw(st.integers(1, 9)),
        "rows": draw(st.integers(1, 60)),
        "batch": draw(st.integers(1, 40)),
        "normalization": draw(st.sampled_from([None, "batchnorm", "layernorm"])),
        "keep": draw(st.sampled_from([1, 0.9, 0.5, 0.1])),
        "dropout_seed": draw(st.sampled_from([None, 3])),
        "reg": draw(st.sampled_from([0.0, 0.01, 1.0])),
        "rule": draw(st.sampled_from(sorted(RATES))),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "data": draw(st.sampled_from(sorted(DATA))),
        "standardized": draw(st.booleans()),
        "threads": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 10**6)),
    }


def train(network, backend, perturbation=0.0):
    """A training of three steps, and the random stream at its end; the start is moved by a relative amount."""
    rng = np.random.default_rng(network["seed"])
    X = DATA[network["data"]](rng.standard_normal((network["rows"], network["features"])))
    y = rng.integers(0, network["classes"], network["rows"])
    np.random.seed(network["seed"])
    net = FullyConnectedNet(
        network["hidden"], network["features"], network["classes"], dropout_keep_ratio=network["keep"],
        normalization=network["normalization"], reg=network["reg"], weight_scale=0.3, dtype=network["dtype"],
        seed=network["dropout_seed"] if network["keep"] != 1 else None,
    )  # fmt: skip
    # Away from where ReLU bends: a zero that is rounded otherwise would let a whole gradient pass.
    for name, value in net.params.items():
        if name[0] == "b":
            net.params[name] = 0.1 * rng.standard_normal(value.shape)
        net.params[name] *= 1 + perturbation * rng.choice([-1, 1], value.shape)
    if network["standardized"] or network["data"] == "uint8":
        net.input_mean, net.input_scale = X.mean(axis=0, dtype=float), 1 / (X.std(axis=0, dtype=float) + 0.5)

    def stop(solver):
        if len(solver.loss_history) >= 3:
            raise StopIteration

    config = {"learning_rate": RATES[network["rule"]]}
    if "epsilon" in optim.DEFAULTS[network["rule"]]:
        # With the usual one, a gradient that nearly cancels makes a whole step in the direction that rounding chooses.
        config["epsilon"] = 1e-2
    steps_per_epoch = max(network["rows"] // network["batch"], 1)
    solver = Solver(
        net, {"X_train": X, "y_train": y, "X_val": X[:7], "y_val": y[:7]}, update_rule=network["rule"],
        optim_config=config, batch_size=network["batch"],
        num_epochs=-(-3 // steps_per_epoch), num_train_samples=10, verbose=False, threads=network["threads"],
        callback=stop,
    )  # fmt: skip
    with fastfc.use_backend(backend), np.errstate(all="ignore"), contextlib.suppress(StopIteration):
        solver.train()
    return solver, np.random.get_state()


def noisy(network):
    """Whether some gradient is zero in exact arithmetic, so that only rounding says which way it points."""
    narrow = {"batchnorm": min(network["batch"], network["rows"]), "layernorm": min(network["hidden"], default=9)}
    return narrow.get(network["normalization"], 9) < 4 or network["classes"] == 1 or network["data"] == "bool"


# Only three steps are compared; after them, a network of batches of one may well diverge.
@pytest.mark.filterwarnings("ignore:training diverged")
@settings(max_examples=EXAMPLES)
@example(
    network={
        "hidden": [40, 1, 3], "features": 33, "classes": 7, "rows": 50, "batch": 31, "normalization": "batchnorm",
        "keep": 0.5, "dropout_seed": 3, "reg": 0.01, "rule": "adam", "dtype": "float64", "data": "uint8",
        "standardized": True, "threads": 3, "seed": 1,
    }
)  # fmt: skip
@example(
    network={
        "hidden": [39, 1, 35], "features": 32, "classes": 7, "rows": 59, "batch": 17, "normalization": None,
        "keep": 0.1, "dropout_seed": None, "reg": 0.0, "rule": "adagrad", "dtype": "float64", "data": "backwards",
        "standardized": False, "threads": 1, "seed": 1,
    }
)  # fmt: skip
@example(
    network={
        "hidden": [21, 32, 1, 1], "features": 35, "classes": 1, "rows": 28, "batch": 31, "normalization": "layernorm",
        "keep": 1, "dropout_seed": 3, "reg": 1.0, "rule": "sgd_momentum", "dtype": "float64", "data": "fortran",
        "standardized": False, "threads": 2, "seed": 0,
    }
)  # fmt: skip
@given(network=networks())
def test_compiled_like_reference(network):
    """Losses as far as the training itself keeps errors small, and the random stream bit for bit.

    How much a training magnifies errors is measured on the reference, started twice a known
    amount apart; what it adds by rounding in each step is bounded by tolerance().
    """
    generic, expected = train(network, "reference")
    compiled, state = train(network, "fast")
    assert (generic.engine_, compiled.engine_) == ("generic", "compiled")
    common = min(len(generic.loss_history), len(compiled.loss_history))
    assert common >= 3
    if len(generic.loss_history) == len(compiled.loss_history):
        np.testing.assert_array_equal(state[1], expected[1])
        assert state[2:] == expected[2:]
    assert [type(loss) for loss in compiled.loss_history] == [np.dtype(network["dtype"]).type] * len(
        compiled.loss_history
    )

    size = sum(network["hidden"]) + network["features"] + network["classes"] + network["batch"]
    rounding = tolerance(network["dtype"], 3 * size)
    # Far above rounding, far below what bends the curve.
    step = 1e-9 if network["dtype"] == "float64" else 1e-4
    moved = [train(network, "reference", sign * step)[0].loss_history for sign in (1, -1)]
    losses, got = (np.array(solver.loss_history[:3], float) for solver in (generic, compiled))
    growth = np.max([np.abs(np.array(history[:3], float) - losses) for history in moved], axis=0) / step
    growth = np.maximum.accumulate(growth)
    allowed = rounding * (1 + losses + growth) * np.arange(1, 4) * 2.0 ** np.arange(1, 4)
    compared = slice(0, 3)
    uncertain = noisy(network) or network["dtype"] == "float32" or "epsilon" not in optim.DEFAULTS[network["rule"]]
    if network["rule"] in ADAPTIVE and uncertain:
        compared = slice(0, 1)
    assert np.all(np.abs(got - losses)[compared] <= allowed[compared])
