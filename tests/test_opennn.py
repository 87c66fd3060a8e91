"""The benchmark of OpenNN's network: the engines do the same work, and its table says which one is faster."""

import numpy as np
import opennn
import pytest

import fastfc
from fastfc.bench.engines import own


@pytest.mark.parametrize("name", ["fastfc", "torch"])
def test_engines_do_the_same_work(name, monkeypatch):
    if name == "torch":
        pytest.importorskip("torch")
    monkeypatch.setattr(opennn, "EXAMPLES", 300)
    state, backend = np.random.get_state(), fastfc.get_backend()
    try:
        check = opennn._checked(1, name)
    finally:
        own.held.close()
        fastfc.use_backend(backend)
        np.random.set_state(state)
    assert check["counted"], check


def test_table():
    engine = {"threads": 1, "p10_us": 90.0, "counted": True}
    row = {
        "shape": opennn.SHAPE, "rounds": 3, "load": [0.5, 2.0], "seconds_per_turn": 0.1,
        "date": "2026-01-01", "python": "3.11",
        "machine": {"cpu": "a processor", "cores": 2}, "versions": {"fastfc": "0.1.0"},
        "engines": [
            {"engine": "torch", "median_us": 450.0, **engine},
            {"engine": "fastfc", "median_us": 150.0, **engine},
            {"engine": "fastfc", "median_us": 100.0, **engine, "threads": 2},
        ],
    }  # fmt: skip
    lines = opennn.table(row).splitlines()
    assert lines[2:4] == ["| fastfc | 2 | 100 (90) | 1.00 |", "| PyTorch eager | 1 | 450 (90) | 4.50 |"]
