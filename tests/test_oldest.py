"""The oldest versions that CI tests are those that pyproject.toml allows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"([a-z-]+)==([\d.]+)")
BOUND = re.compile(r'"([a-z-]+)>=([\d.]+)"')


def padded(version):
    """1.26 and 1.26.0 are one version."""
    return tuple(int(part) for part in f"{version}.0.0".split(".")[:3])


@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="the tests stand alone")
def test_lower_bounds_are_what_ci_installs():
    text = (ROOT / "pyproject.toml").read_text()
    dependencies = text[text.index("dependencies = [") : text.index("compare = [")]
    bounds = {name: padded(version) for name, version in BOUND.findall(dependencies)}
    pins = {name: padded(version) for name, version in PIN.findall((ROOT / ".ci" / "oldest.txt").read_text())}
    assert len(bounds) >= 9
    assert bounds == {name: version for name, version in pins.items() if name != "pyparsing"}
