"""Rules of imports that the contracts in pyproject.toml cannot express."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastfc

REFERENCE = Path(fastfc.__file__).parent / "reference"


@pytest.mark.parametrize("path", sorted(REFERENCE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_reference_imports_numpy_alone(path):
    """Whatever else there is: a contract can only list what must not be imported."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            top = name.partition(".")[0]
            assert top in ("numpy", *sys.stdlib_module_names) or name.startswith("fastfc.reference."), name


def test_modules_are_attributes_of_the_package():
    """Whatever was imported before; as the examples of the documentation have it."""
    names = ["activations", "callbacks", "initializers", "layers", "losses", "optim", "plots", "schedules", "vis_utils"]
    program = f"import fastfc; print([getattr(fastfc, name).__name__ for name in {names}])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str([f"fastfc.{name}" for name in names])
