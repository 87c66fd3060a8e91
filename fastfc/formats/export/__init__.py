"""Networks for programs without fastfc, and networks from elsewhere: one module per format.

A format's module has ``write(description, path) -> names of the files written`` and, if it can be read, ``read(path)``.
"""

import importlib
import os
from types import ModuleType
from typing import Any

from numpy.typing import DTypeLike

from fastfc.classifiers.fc_net import FullyConnectedNet, load_model
from fastfc.formats.export.description import describe
from fastfc.formats.export.estimators import network_of

__all__ = ["export", "load_exported"]

#: End of a file's name -> the module of its format; a longer end goes first.
_WRITTEN = {
    ".py": "numpy_module",
    ".c": "c99",
    ".h": "c99",
    ".pt-names.npz": "torch_names",
    ".safetensors": "safetensors",
    ".onnx": "onnx",
}
#: Likewise, of the formats that are read.
_READ = {".pt-names.npz": "torch_names", ".safetensors": "safetensors", ".onnx": "onnx"}
#: Formats in which the dtype of the examples can be chosen.
_WITH_INPUT_DTYPE = ("c99", "onnx")


def export(
    net: FullyConnectedNet | Any, path: str | os.PathLike[str], *, input_dtype: DTypeLike | None = None
) -> list[str]:
    """Write a trained network for another program, in the format that the end of the file's name says, in any case.

    - ``.py``: a module that needs NumPy only, and its weights in an ``.npz`` beside it
    - ``.c`` or ``.h``: both of them, C99 without any library but ``math.h``
    - ``.onnx``: features `X` (N, D) in, `label` (N,) and `probabilities` (N, C) out
    - ``.safetensors``: arrays under PyTorch's names, the options in the metadata
    - ``.pt-names.npz``: the same as an ``.npz``
    - ``.npz``: fastfc's own, as :meth:`fastfc.FullyConnectedNet.save` writes it

    All of them hold the input standardization. Older files under the same names are replaced.

    Parameters
    ----------
    net : FullyConnectedNet, Network, or a fitted MLPClassifier or MLPRegressor
        Estimators are those of :mod:`fastfc.sklearn` or scikit-learn's own; their classes become names, and
        the columns of a table they were fitted on keep theirs.
    path : path-like
    input_dtype : {np.float32, np.float64}, optional
        Of ``.c`` and ``.onnx``: the dtype of the examples, in which they are standardized too; by default the
        network's. float64 keeps the digits of features whose mean is large beside their deviation.

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    ValueError
        If the name ends in none of these, or the format cannot express the network.
    TypeError
        If `net` is none of these, or computes scores by methods of its own, or `path` is no path.
    OSError
        If a file cannot be written.
    ImportError
        If a library is missing; the message says which extra has it.

    Examples
    --------
    >>> import numpy as np
    >>> net = FullyConnectedNet([8], input_dim=4, num_classes=3)
    >>> export(net, "small.py")
    ['small.py', 'small.npz']
    >>> import runpy
    >>> small = runpy.run_path("small.py")
    >>> X = np.random.randn(5, 4)
    >>> bool((small["predict"](X) == net.predict(X)).all())
    True
    """
    name = _text(path)
    module, kind = _format(name, {**_WRITTEN, ".npz": None})
    net = network_of(net)
    description, options = describe(net), dict[str, Any]()
    if input_dtype is not None:
        if kind not in _WITH_INPUT_DTYPE:
            raise ValueError(f"input_dtype: {name} takes examples of any dtype; expected None, got {input_dtype!r}")
        options["input_dtype"] = input_dtype
    if module is None:
        net.save(name)
        return [name]
    return module.write(description, name, **options)


def load_exported(path: str | os.PathLike[str]) -> FullyConnectedNet:
    """Make a network of a file, in the format that the end of its name says.

    These are ``.onnx``, ``.safetensors`` and ``.pt-names.npz`` files that :func:`export` wrote; any other is taken
    for fastfc's own format. ONNX files of other programs are read as by :func:`fastfc.from_onnx`. Of a table's model
    it is the network alone, which takes the features that :meth:`fastfc.tabular.TableModel.features` makes of columns.
    Nothing in a file is executed.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    FullyConnectedNet

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `path` is no path.
    ValueError
        If the file is no model's, is damaged or does not say what network it is, or its format is not one that is read.
    ImportError
        If a library is missing; the message says which extra has it.

    Examples
    --------
    >>> import fastfc
    >>> export(fastfc.FullyConnectedNet([5], 4, 3), "model.pt-names.npz")
    ['model.pt-names.npz']
    >>> load_exported("model.pt-names.npz").dims
    [4, 5, 3]
    """
    name = _text(path)
    # Networks under any other name are fastfc's own.
    if name.lower().endswith(tuple(set(_WRITTEN) - set(_READ))):
        raise ValueError(f"{name}: networks are read from {_listed([*_READ, '.npz'])}")
    module, _ = _format(name, {**_READ, "": None})
    if module is not None:
        return module.read(name)
    with open(name, "rb") as file:
        if file.read(2) != b"PK":
            raise ValueError(
                f"{name} is not a model: expected a file that fastfc train or net.save wrote, or fastfc.export as "
                f"{_listed(list(_READ))}"
            )
    return load_model(name)


def _text(path: Any) -> str:
    """A path as a string."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"path: expected a string or path-like object, got {type(path).__name__}")
    return os.fsdecode(path)


def _format(name: str, kinds: dict[str, str | None]) -> tuple[ModuleType | None, str | None]:
    """The module of a file's format, and its name; None for fastfc's own."""
    for end in sorted(kinds, key=len, reverse=True):
        if name.lower().endswith(end) and len(os.path.basename(name)) > len(end):
            kind = kinds[end]
            return (None if kind is None else importlib.import_module(f"{__name__}.{kind}")), kind
    raise ValueError(f"path: expected a name that ends in {_listed(list(kinds))}, got {name!r}")


def _listed(ends: list[str]) -> str:
    return " or ".join([", ".join(ends[:-1]), ends[-1]] if len(ends) > 1 else ends)
