"""A rule is added in four files, and everything else finds it: here one with three arrays of state, in a copy."""

import pytest
from additions import extended, passed, run

# File -> what is replaced there, and by what; an empty string stands for the file's end.
ADDITIONS = {
    "ops/rules.py": [
        (
            "_ADAM = {",
            """def _peak(config, w, dw, m, v, largest):
    new_w, m, v = _adam({**config, "t": 1000}, w, dw, m, v)
    return [new_w, m, v, v + largest]


_ADAM = {""",
        ),
        (
            '    Rule("adam", _ADAM',
            """    Rule(
        "peak",
        {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "scale": 0.5, "shift": 0.25, "last": 2.0},
        ("m", "v", "largest"),
        _peak,
        _BETAS,
        ("v", "largest"),
    ),
    Rule("adam", _ADAM""",
        ),
    ],
    "optim.py": [
        ('    "adagrad",\n', '    "peak",\n    "adagrad",\n'),
        (
            "@_rule\ndef adamw(",
            '''@_rule
def peak(w: np.ndarray, dw: np.ndarray, config: _Config | None = None) -> tuple[np.ndarray, _Config]:
    """AMSGrad without corrections, and with odd factors."""
    return _update("peak", w, dw, config)


@_rule
def adamw(''',
        ),
    ],
    "reference/optim.py": [
        (
            "",
            """

def peak(w, dw, config):
    m, v, largest = config["m"], config["v"], config["largest"]
    m *= config["beta1"]
    m += (1 - config["beta1"]) * dw
    v *= config["beta2"]
    v += (1 - config["beta2"]) * dw**2
    np.maximum(largest, v, out=largest)
    rate = config["learning_rate"] * (config["scale"] + config["shift"]) * config["last"]
    w -= rate * m / (np.sqrt(largest) + config["epsilon"])
    return w, config
""",
        )
    ],
    "kernels/optim.py": [
        (
            "def _update(",
            """def peak(w, dw, config):
    state = [config[key].reshape(-1) for key in ("m", "v", "largest")]
    numbers = [config[key] for key in ("beta1", "beta2", "epsilon")]
    rate = config["learning_rate"] * (config["scale"] + config["shift"]) * config["last"]
    _peak(w.reshape(-1), dw.reshape(-1), *state, rate, *numbers)
    return w, config


@inline
def peak_chunk(w, dw, m, v, largest, rate, beta1, beta2, epsilon):
    rest1, rest2 = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    rate, beta1, beta2, epsilon = w.dtype.type(rate), w.dtype.type(beta1), w.dtype.type(beta2), w.dtype.type(epsilon)
    for i in range(w.size):
        m[i] = beta1 * m[i] + rest1 * dw[i]
        v[i] = beta2 * v[i] + rest2 * (dw[i] * dw[i])
        if v[i] > largest[i] or np.isnan(v[i]):
            largest[i] = v[i]
        w[i] -= rate * m[i] / (np.sqrt(largest[i]) + epsilon)


@glue
def peak_rule(w, dw, state, stride, hyper, step, notes):
    m, v, largest = (vector(state, 0, w.size), vector(state, stride, w.size), vector(state, 2 * stride, w.size))
    rate = hyper[0] * (hyper[4] + hyper[5]) * hyper[6]
    peak_chunk(w, dw, m, v, largest, rate, hyper[1], hyper[2], hyper[3])


@kernel
def _peak(w, dw, m, v, largest, rate, beta1, beta2, epsilon):
    peak_chunk(w, dw, m, v, largest, rate, beta1, beta2, epsilon)


def _update(""",
        )
    ],
}

# The same tests as for every other rule.
TESTS = ["test_optim.py", "test_records.py", "test_training.py", "test_twins.py"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the extended package, and the tests beside it."""
    return extended(tmp_path_factory.mktemp("extended"), ADDITIONS)


def test_four_files():
    assert len(ADDITIONS) <= 4


def test_its_tests_are_there_and_pass(package):
    lines = passed(package, "peak", TESTS)
    assert any("test_the_compiled_run_knows_every_rule[peak]" in line for line in lines)


def test_its_files_have_room_for_it(package):
    done = run(package, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_house.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_knows_it(package):
    assert "peak" in run(package, "-m", "fastfc", "train", "--help").stdout
    options = ["--rule", "peak", "--epochs", "1", "--hidden", "8", "--out", "model.npz"]
    done = run(package, "-m", "fastfc", "train", *options)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
