"""fastfc: fully connected networks, trained fast on a CPU.

A drop-in for the fully connected part of the CS231n course's ``cs231n`` package: every
operation exists as a pure NumPy reference and as a Numba kernel, under one API.

>>> from fastfc import FullyConnectedNet, Solver
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each name lives; nothing is imported before it is asked for, so that `import fastfc` stays quick.
_EXPORTS = {
    "FullyConnectedNet": "fastfc.classifiers.fc_net",
    "TwoLayerNet": "fastfc.classifiers.fc_net",
    "load_model": "fastfc.classifiers.fc_net",
    "Network": "fastfc.network",
    "Optimizer": "fastfc.optimizer",
    "DivergenceWarning": "fastfc.solver",
    "Solver": "fastfc.solver",
    "cross_validate": "fastfc.sweeps",
    "sweep": "fastfc.sweeps",
    "export": "fastfc.formats.export",
    "load_exported": "fastfc.formats.export",
    "from_onnx": "fastfc.formats.export.onnx",
    "from_keras_weights": "fastfc.formats.export.keras",
    "to_keras_weights": "fastfc.formats.export.keras",
    "from_torch_state": "fastfc.formats.export.torch_names",
    "to_torch_state": "fastfc.formats.export.torch_names",
    "load_dataset": "fastfc.data_utils",
    "get_backend": "fastfc.backend",
    "use_backend": "fastfc.backend",
    "get_num_threads": "fastfc._runtime.threads",
    "set_num_threads": "fastfc._runtime.threads",
    "install": "fastfc.course.install",
    "uninstall": "fastfc.course.install",
    "load_ipython_extension": "fastfc.course.install",
    "unload_ipython_extension": "fastfc.course.install",
    "tolerance": "fastfc.ops.tolerance",
    "PatchWarning": "fastfc.course.patch",
    "patch": "fastfc.course.patch",
    "patched": "fastfc.course.patch",
    "unpatch": "fastfc.course.patch",
}

# The modules that are attributes without an import of their own: those that need no optional library.
_MODULES = (
    "activations", "callbacks", "data_utils", "gradient_check", "initializers", "layer_utils", "layers", "losses",
    "optim", "params", "plots", "schedules", "solver", "vis_utils",
)  # fmt: skip

# From now on forks wait for other threads' imports on demand.
importlib.import_module("fastfc._runtime.forks")

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"fastfc.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'fastfc' has no attribute {name!r}")
    module = importlib.import_module(_EXPORTS[name])
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, *_MODULES})
