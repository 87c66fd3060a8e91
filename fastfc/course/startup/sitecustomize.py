"""Run by Python first under ``fastfc run``, and in the processes that such a program starts.

Python imports ``sitecustomize`` from the first folder of sys.path that has one. This one makes
fastfc answer for cs231n, and leaves everything else as it would be without it.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_folder = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _folder]

# From its own place, also where the program itself would not find it.
sys.path.insert(0, str(_folder.parents[2]))
try:
    import fastfc
finally:
    del sys.path[0]
fastfc.install()

_other = PathFinder.find_spec("sitecustomize")
if _other is not None and _other.loader is not None:
    sys.modules["sitecustomize"] = importlib.util.module_from_spec(_other)
    _other.loader.exec_module(sys.modules["sitecustomize"])
