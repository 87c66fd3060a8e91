"""The benchmark of sweeps: which turns count, and the rows that it makes."""

import importlib

import numpy as np
import pytest

pytest.importorskip("sklearn")
fits, quiet, sweeps = (importlib.import_module(name) for name in ("fits", "quiet", "sweeps"))


class Scripted:
    """Other programs that take what is said, turn by turn."""

    def __init__(self, shares):
        self.shares = iter(shares)

    def restart(self):
        pass

    def wait_for(self, most):
        pass

    def share(self, seconds):
        return next(self.shares)


def test_turns_with_other_programs_do_not_count(monkeypatch):
    # The second turn is broken off at its first side, the third at its second one.
    monkeypatch.setattr(sweeps, "Others", lambda: Scripted([0.0, 0.05, 0.5, 0.1, 0.9, 0.02, 0.1]))
    calls = []
    one, other, share = sweeps.by_quiet_turns(lambda: calls.append(1), lambda: float(len(calls)), 2, 0.1)
    assert len(one) == 2
    assert all(seconds < 1 for seconds in one)
    # The first call of each is not counted; a side that returns seconds has measured them itself.
    assert other == [2.0, 5.0]
    assert share == pytest.approx(0.075)


def test_the_table_says_what_other_programs_took():
    rows = [
        {**fits.row("a job", [0.2, 0.1], [0.4, 0.5], "one thread"), "others": share} for share in (0.02, 0.11)
    ]  # fmt: skip
    text = fits.table(rows)
    assert "| a job | 150 (110) | one thread | 3.0 (3.7) | 2 % |" in text
    assert "| a job | 150 (110) | one thread | 3.0 (3.7) | 11 % |" in text


def test_the_table_says_what_the_machine_allows(monkeypatch):
    monkeypatch.setattr(fits, "_rate", lambda dtype: {"float64": 1e9, "float32": 2e9}[dtype])
    X, y = np.zeros((50, 4)), np.arange(50) % 3
    monkeypatch.setattr(fits, "data_of", lambda name: (X, y))
    options = {"hidden_layer_sizes": (10, 20), "max_iter": 7}
    # Forward, and backward for the weights; for the inputs of all layers but the first.
    operations = 2 * 50 * 7 * (2 * 4 * 10 + 3 * 10 * 20 + 3 * 20 * 3)
    assert fits._limit("some", "float64", options) == pytest.approx(operations / 1e9)
    assert fits._limit("some", "float32", options) == pytest.approx(operations / 2e9)
    # Two candidates, each on four fifths of the rows for each of five folds, in 20 epochs.
    monkeypatch.setattr(fits, "GRID", {"hidden_layer_sizes": [(10, 20)], "alpha": [0, 1], "learning_rate_init": [1]})
    assert fits._limit_of_search("float64") == pytest.approx(2 * 4 * operations / 1e9 * 20 / 7)
    rows = [
        {**fits.row("a job", [0.2], [0.8], "scikit-learn"), "limit": 0.1},
        fits.row("another", [0.2], [0.8], "scikit-learn"),
    ]
    text = fits.table(rows)
    assert "| a job | 200 (200) | scikit-learn | 4.0 (4.0) | 8.0 |" in text
    assert "| another | 200 (200) | scikit-learn | 4.0 (4.0) |  |" in text


def test_others_are_a_share_of_the_processors():
    others = quiet.Others()
    others.wait_for(1.0)
    np.linalg.inv(np.eye(300) + 1)
    assert others.share(1.0) >= 0


def test_the_same_trainings_by_scikit_learn(monkeypatch):
    monkeypatch.setitem(sweeps.SWEEPS, "iris", ((8,), 16, 20, 2))
    result = sweeps.swept("iris")
    assert len(result.trials) == 2
    assert sweeps.trained_by_scikit_learn("iris", 0) > 0.5


def test_the_same_trainings_by_pytorch(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sweeps.SWEEPS, "iris", ((8,), 16, 20, 2))
    assert sweeps.trained_by_torch("iris", 0) > 0.5
