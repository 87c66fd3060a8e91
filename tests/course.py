"""The package in tests/course_package, a student's own ``cs231n``, imported afresh."""

import contextlib
import importlib
import shutil
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "course_package"

# Every place that star-imports bring a name to needs its module.
MODULES = ("layers", "layer_utils", "optim", "solver", "classifiers.fc_net")


@contextlib.contextmanager
def imported(folder=SOURCE):
    """The package ``cs231n`` of a folder with its modules; afterwards it is forgotten again."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "cs231n"}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        package = importlib.import_module("cs231n")
        for name in MODULES:
            importlib.import_module(f"cs231n.{name}")
        yield package
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "cs231n"]:
            del sys.modules[name]
        sys.modules.update(before)


def edited(folder, *edits):
    """A copy of the package in `folder`, with edits (file, old text, new text); returns the folder."""
    shutil.copytree(SOURCE / "cs231n", folder / "cs231n", ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in edits:
        path = folder / "cs231n" / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {old!r} occurs {text.count(old)} times"
        path.write_text(text.replace(old, new))
    return folder
