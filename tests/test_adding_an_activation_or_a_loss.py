"""An activation or a loss is added in four files each, and everything else finds them: here in a copy."""

import pytest
from additions import extended, passed, run

# See test_adding_a_rule.py. softsign is x / (1 + |x|), log_cosh the sum of log(cosh(x - t)).
ACTIVATION = {
    "ops/activations.py": [
        (
            '    Activation("softplus"',
            """    Activation("softsign", "x / (1 + abs(x))", "Turian et al. 2009", smooth=False),
    Activation("softplus\"""",
        ),
    ],
    "reference/activation.py": [
        (
            "def softplus_forward(x):",
            """def softsign_forward(x):
    q = 1 / (1 + np.abs(x))
    return x * q, q * q


def softsign_magnitudes(x):
    return np.minimum(np.abs(x), 1.0), np.ones_like(x)


softsign_backward = _named("softsign_backward")


def softplus_forward(x):""",
        )
    ],
    "kernels/activation.py": [
        (
            "@inline\ndef softplus(",
            """@inline
def softsign(x, real):
    q = real(1) / (real(1) + abs(x))
    return x * q, q * q


@inline
def softplus(""",
        ),
        ("", '\nsoftsign_forward, softsign_backward = _operations("softsign")\n'),
    ],
    "activations.py": [
        ('    "softplus_backward",\n', '    "softsign_backward",\n    "softsign_forward",\n    "softplus_backward",\n'),
        ("", 'softsign_forward, softsign_backward = _functions("softsign")\n'),
    ],
}
LOSS = {
    "ops/losses.py": [
        (
            '    Loss(\n        "huber"',
            '    Loss("log_cosh", False, "identity", "sum(log(cosh(x - t)))"),\n    Loss(\n        "huber"',
        ),
    ],
    "reference/loss.py": [
        (
            "def huber_loss(",
            """def log_cosh_loss(x, t, weights=None):
    error = x - t
    losses = np.abs(error) + np.log1p(np.exp(-2 * np.abs(error))) - x.dtype.type(np.log(2))
    return _mean(losses.sum(axis=1), np.tanh(error), weights)


def huber_loss(""",
        ),
        (
            "def huber_magnitudes(",
            """def log_cosh_magnitudes(x, t):
    return 1 + np.abs(x) + np.abs(t), np.ones_like(x)


def huber_magnitudes(""",
        ),
    ],
    "kernels/loss.py": [
        (
            "def huber_loss(",
            """def log_cosh_loss(x, t, weights=None):
    return _loss_of("log_cosh", x, t, weights)


def huber_loss(""",
        ),
        (
            "@inline\ndef huber(",
            """@inline
def log_cosh(x, t, parameter, real):
    error = x - t
    e = exp(real(-2) * abs(error))
    return abs(error) + log1p(e) - real(np.log(2.0)), np.copysign((real(1) - e) / (real(1) + e), error)


@inline
def huber(""",
        ),
    ],
    "losses.py": [
        ('    "huber_loss",\n', '    "huber_loss",\n    "log_cosh_loss",\n'),
        ('    "huber": ("Huber', '    "log_cosh": ("Logarithm of the hyperbolic cosine", "-"),\n    "huber": ("Huber'),
        (
            '@_documented("huber")',
            """@_documented("log_cosh")
def log_cosh_loss(x: ArrayLike, t: ArrayLike, weights: ArrayLike | None = None) -> Evaluated:
    return evaluate("log_cosh", x, t, weights)


@_documented("huber")""",
        ),
    ],
}
TESTS = ["test_activations_and_losses.py", "test_backend.py", "test_twins.py", "test_gradients.py"]


@pytest.mark.parametrize("additions", [ACTIVATION, LOSS])
def test_four_files(additions):
    assert len(additions) <= 4


@pytest.mark.parametrize(("additions", "name"), [(ACTIVATION, "softsign"), (LOSS, "log_cosh")])
def test_their_tests_are_there_and_pass(additions, name, tmp_path):
    root = extended(tmp_path, additions)
    lines = passed(root, name, TESTS)
    assert any("test_whole_trainings_with_every" in line for line in lines)
    done = run(root, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_house.py")
    assert done.returncode == 0, done.stdout + done.stderr
    if name == "softsign":
        assert name in run(root, "-m", "fastfc", "train", "--help").stdout
