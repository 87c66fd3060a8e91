"""The Solver's pickled checkpoints: written, and read without executing anything in them."""

import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfc import optim
from fastfc.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from fastfc.formats.atomic import replaced_file
from fastfc.formats.model import from_attributes
from fastfc.formats.pickles import (
    ArrayUnpickler,
    PickledDtype,
    Placeholder,
    RefusedPickleError,
    Standin,
    load_pickle_by,
)
from fastfc.training.engine import Trainer

__all__ = ["load_checkpoint", "write_checkpoint"]

# The Solver's attributes in a checkpoint, which are the course's.
_ATTRIBUTES = (
    "model", "update_rule", "lr_decay", "optim_config", "batch_size", "num_train_samples", "num_val_samples", "epoch",
    "loss_history", "train_acc_history", "val_acc_history",
)  # fmt: skip


def write_checkpoint(solver: Trainer, path: str) -> None:
    """Write the state of a solver as a pickle; see :class:`fastfc.Solver`."""
    checkpoint = {name: getattr(solver, name) for name in _ATTRIBUTES}
    with replaced_file(path) as file:
        # Protocol 4: the one that load_checkpoint reads, and that every supported Python can write.
        pickle.dump(checkpoint, file, protocol=4)


class _Value(Placeholder):
    """A function or a type of the package's or NumPy's, to hold but not to call or to change."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def made(self, plain: Callable[[Any], Any]) -> Any:
        return self._value


class _Dtype(PickledDtype):
    """A dtype that may also stand by itself."""

    __slots__ = ()

    def made(self, plain: Callable[[Any], Any]) -> Any:
        return self.dtype


def _scalar(dtype: Any, raw: Any = None) -> _Value:
    """One of NumPy's numbers: a dtype and its bytes."""
    if type(dtype) is not _Dtype or type(raw) not in (bytes, str):
        raise RefusedPickleError("it has a NumPy number that is not a plain one")
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if len(data) != dtype.dtype.itemsize:
        raise RefusedPickleError(f"a number of dtype {dtype.dtype} cannot have {len(data)} bytes")
    return _Value(np.frombuffer(data, dtype.dtype)[0])


class _Parameters(Placeholder):
    """FlatParameters: only their values count, as the model makes a buffer of its own."""

    __slots__ = ("_values",)

    def __init__(self, shapes: Any, dtype: Any, values: Any) -> None:
        self._values = values

    def made(self, plain: Callable[[Any], Any]) -> Any:
        return plain(self._values)


class _Network(Placeholder):
    """A network, by its attributes; pickles make an empty one first."""

    __slots__ = ("_attributes",)
    KIND: type[FullyConnectedNet] = FullyConnectedNet

    def __setstate__(self, state: Any) -> None:
        self._attributes = state

    def made(self, plain: Callable[[Any], Any]) -> FullyConnectedNet:
        return from_attributes(self.KIND, plain(self._attributes))


class _TwoLayerNetwork(_Network):
    __slots__ = ()
    KIND = TwoLayerNet


class _CheckpointUnpickler(ArrayUnpickler):
    READS = "networks and rules of the package, arrays and builtin containers"
    DTYPE = _Dtype
    # A network may be large, and a history takes some nine opcodes an iteration.
    MAX_BYTES, MAX_OPCODES = 2**30, 2**22

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.known |= {
            ("fastfc.classifiers.fc_net", "FullyConnectedNet"): _Network,
            ("fastfc.classifiers.fc_net", "TwoLayerNet"): _TwoLayerNetwork,
            ("fastfc.params", "_rebuild"): Standin(_Parameters),
            ("numpy.core.multiarray", "scalar"): Standin(_scalar),
            ("numpy._core.multiarray", "scalar"): Standin(_scalar),
            ("numpy", "float32"): _Value(np.float32),
            ("numpy", "float64"): _Value(np.float64),
            **{("fastfc.optim", rule): _Value(getattr(optim, rule)) for rule in optim.DEFAULTS},
        }


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint that the Solver wrote by its argument `checkpoint_name`.

    Checkpoints are pickles, as the course's are. A pickle is a program: ``pickle.load`` carries
    out whatever its writer put into it, with all the rights of the one who reads it. This
    function does not: it knows :class:`fastfc.FullyConnectedNet`, :class:`fastfc.TwoLayerNet`,
    the package's update rules, arrays and builtin containers, and refuses everything else. A
    checkpoint of a model or a rule of your own can therefore only be read by ``pickle.load``; do that
    with files that you wrote yourself and nobody else could have changed since. To go on with a
    training, use :meth:`fastfc.Solver.resume`, whose files have no pickles.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        ``model, update_rule, lr_decay, optim_config, batch_size, num_train_samples,
        num_val_samples, epoch, loss_history, train_acc_history, val_acc_history``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, holds something else, or has more than 1 GiB.

    Examples
    --------
    >>> load_checkpoint("net_epoch_10.pkl")["model"].predict(X)  # doctest: +SKIP
    """
    with open(path, "rb") as file:
        checkpoint = load_pickle_by(_CheckpointUnpickler, file)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), FullyConnectedNet):
        raise ValueError(f"{os.fspath(path)} is not a checkpoint of the Solver's")
    return checkpoint
