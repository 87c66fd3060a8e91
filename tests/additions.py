"""Copies of the package to which something is added, as CONTRIBUTING.md says; for tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fastfc


def extended(root, additions):
    """Put a copy of the package, with additions, and the tests into a folder.

    `additions` says for each file what is replaced there, and by what; an empty string stands for the file's end. A
    file that there is not yet begins empty.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastfc.__file__).parent, root / "fastfc", ignore=ignored)
    shutil.copytree(Path(__file__).parent, root / "tests", ignore=ignored)
    for name, replacements in additions.items():
        path = root / "fastfc" / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for old, new in replacements:
            assert not old or text.count(old) == 1, (name, old)
            text = text.replace(old, new) if old else text + new
        path.write_text(text, encoding="utf-8")
    return root


def run(root, *arguments):
    """Python with these arguments, on the package in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(root), "FASTFC_QUIET": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=900
    )


def passed(root, name, files):
    """The lines of the tests of these files that have a name in theirs, all of which pass."""
    paths = [f"tests/{file}" for file in files]
    done = run(root, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", name, *paths)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "PASSED" in line]
    for path in paths:
        assert any(line.startswith(path) for line in lines), path
    return lines
