"""Networks as safetensors files: arrays under PyTorch's names, and the options as one text of the metadata."""

from types import ModuleType

import numpy as np

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.atomic import replaced_file
from fastfc.formats.export import torch_names
from fastfc.formats.export.description import Description, refused

__all__ = ["read", "write"]


def _library() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError('.safetensors needs the library safetensors: pip install "fastfc[safetensors]"') from error
    return safetensors


def write(description: Description, path: str) -> list[str]:
    """Write the arrays of a PyTorch state, the input standardization, and the options as metadata ``fastfc``."""
    library = _library()
    tensors = torch_names.state_of(description)
    for name in ("input_mean", "input_scale"):
        if name in description.packed:
            tensors[name] = np.array(description.packed[name], order="C")
    with replaced_file(path) as file:
        file.write(library.numpy.save(tensors, metadata={"fastfc": description.options}))
    return [path]


def read(path: str) -> FullyConnectedNet:
    """Read a file that :func:`write` wrote."""
    library = _library()
    # An error of its own for a file that is missing, or is none.
    open(path, "rb").close()
    with (
        refused(path, library.SafetensorError, what="a safetensors file"),
        library.safe_open(path, framework="numpy") as file,
    ):
        metadata = file.metadata() or {}
        # Other programs' arrays may be of types that NumPy does not have.
        names = list(file.keys()) if "fastfc" in metadata else []
        tensors = {name: file.get_tensor(name) for name in names}
    if "fastfc" not in metadata:
        raise ValueError(f"{path}: it has no metadata 'fastfc', {torch_names.WHAT_IT_SAYS}")
    with refused(path):
        return torch_names.from_file(metadata["fastfc"], tensors)
