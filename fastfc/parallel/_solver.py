"""The Solver of a training over several processes."""

import importlib.metadata
import os
from typing import Any, ClassVar, cast

import numpy as np

from fastfc import __version__
from fastfc._runtime import machine_code
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.training import digests_of, resumed
from fastfc.parallel._agreement import exchanged, require_equal, together
from fastfc.solver import Solver
from fastfc.training import refusal
from fastfc.training.capability import Methods
from fastfc.training.engine import Engine
from fastfc.training.options import OPTIONS
from fastfc.training.state import SPLITS

__all__ = ["ParallelSolver"]

# Options that belong to one process alone: who prints and writes, and what is called.
_OF_ONE = ("checkpoint_name", "verbose", "threads", "callback", "autosave")


class ParallelSolver(Solver):
    """Train one network over the processes of MPI, each of which computes some rows of every batch.

    Every process makes it with the same arguments and the same data and calls :meth:`train`, as in
    ``mpiexec -n 4 python -m mpi4py program.py``. The gradients of the rows are added up once a step, and every process
    applies the rule, so that all have the same parameters. Batches and dropout are drawn as :class:`fastfc.Solver`
    draws them in one process: the losses are that Solver's up to rounding.

    Parameters
    ----------
    model : FullyConnectedNet
        When :meth:`train` begins, all processes take the parameters and running statistics of process 0, and its
        place in NumPy's global random stream.
    data : dict
        As :class:`fastfc.Solver` takes it, the same in all processes. Arrays that are mapped from a file
        (``np.load(path, mmap_mode="r")``) are in memory once for all processes of a machine.
    comm : mpi4py.MPI.Comm, optional
        The processes; by default all of them, ``MPI.COMM_WORLD``.
    sync_batchnorm : bool
        Whether batch normalization takes the statistics of the whole batch, for which the processes exchange a few
        numbers in each layer. If not, each takes those of its own rows, and running statistics are process 0's.
    **options
        The Solver's. Each process computes in one thread, whatever `threads` says. Process 0 alone prints and writes
        files: `checkpoint_name`, `autosave`, :meth:`save`. Callbacks are called in every process.

    Raises
    ------
    ImportError
        Without mpi4py.
    TypeError, ValueError
        As the Solver raises them, for a model of another kind, or fewer rows in a batch than processes.
    ProcessError
        If the processes were given different arguments, shapes, dtypes or data, or run different versions or on
        different processors; and in :meth:`train`, in all processes, if one of them raises an error between two steps
        or goes on differently. An error amid a step is printed, and ends all processes.

    Notes
    -----
    The network and the rule must be ones of the package, on the fast backend; `accumulate` must be 1, `loss` None
    and `sampler` ``"replacement"``.
    Files are those of the Solver: a training over any number of processes can go on over any other number, and as a
    :class:`fastfc.Solver`, up to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfc import FullyConnectedNet
    >>> from fastfc.parallel import ParallelSolver  # doctest: +SKIP
    >>> X, y = np.random.randn(200, 4), np.arange(200) % 3
    >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    >>> solver = ParallelSolver(FullyConnectedNet([8], 4, 3), data, num_epochs=1)  # doctest: +SKIP
    >>> solver.train()  # doctest: +SKIP
    """

    _training: ClassVar[Methods]

    def __init__(
        self,
        model: FullyConnectedNet,
        data: dict[str, np.ndarray],
        *,
        comm: Any = None,
        sync_batchnorm: bool = True,
        **options: Any,
    ) -> None:
        self.comm = _communicator(comm)
        self.sync_batchnorm = bool(sync_batchnorm)
        with together(self.comm, "makes a ParallelSolver"):
            if not isinstance(model, FullyConnectedNet):
                raise TypeError(f"model: expected a FullyConnectedNet, got {type(model).__name__}")
            super().__init__(model, data, **options)
            reason = refusal(self)
            if reason is not None:
                raise ValueError(f"expected a training that can be compiled: {reason}")
            if self.loss is not None:
                raise ValueError(f"loss: expected None with several processes, got {self.loss!r:.80}")
            if self.accumulate != 1:
                raise ValueError(f"accumulate: expected 1 with several processes, got {self.accumulate}")
            if self.sampler != "replacement":
                raise ValueError(f"sampler: expected 'replacement' with several processes, got {self.sampler!r}")
            if self.batch_size < self.comm.size:
                raise ValueError(
                    f"batch_size: expected at least a row for each of {self.comm.size} processes, got {self.batch_size}"
                )
        require_equal(self.comm, self._described())
        if self.comm.rank > 0:
            self.verbose, self.checkpoint_name, self.autosave = False, None, None

    def _described(self) -> dict[str, str]:
        """All that must be the same in all processes, as text by name."""
        options = {name: repr(getattr(self, name)) for name in OPTIONS if name not in _OF_ONE}
        rule = self.update_rule.__name__
        model = self.model
        network = {
            name: repr(getattr(model, name))
            for name in ("dims", "dtype", "normalization", "activation", "loss_name", "loss_parameter", "reg",
                         "dropout_param")
        }  # fmt: skip
        arrays = {name: getattr(self, name) for name in SPLITS}
        versions = {name: importlib.metadata.version(name) for name in ("numpy", "numba")}
        return {
            "fastfc's version": __version__,
            **{f"version of {name}": version for name, version in versions.items()},
            "processor or compiler": repr(machine_code.key()),
            **options,
            "update_rule": rule,
            **{f"model.{name}": text for name, text in network.items()},
            "sync_batchnorm": repr(self.sync_batchnorm),
            **{name: f"shape {array.shape}, dtype {array.dtype}" for name, array in arrays.items()},
            **{f"values of {name}": digest for name, digest in digests_of(self).items()},
        }

    def train(self) -> None:
        """As :meth:`fastfc.Solver.train`; all processes must call it."""
        with together(self.comm, "ends a training"):
            self._take_state_of_first()
            super().train()

    def _take_state_of_first(self) -> None:
        """Parameters, running statistics and NumPy's global random stream become those of process 0."""
        model = self.model
        state = dict(model.params), model.bn_params, np.random.get_state()
        params, statistics, stream = exchanged(self.comm, "begins a training", state if self.comm.rank == 0 else None)[
            0
        ]
        model.params = params
        if model.normalization is not None:
            for mine, theirs in zip(model.bn_params, statistics, strict=True):
                mine.update(theirs)
        np.random.set_state(stream)

    def _engine(self) -> Engine:
        reason = refusal(self)
        if reason is not None:
            raise ValueError(f"expected a training that can be compiled: {reason}")
        self.engine_, self.threads_ = "parallel", 1
        self._state.ran = {"engine": self.engine_, "backend": get_backend(), "threads": self.comm.size}
        from fastfc.parallel._run import ParallelRun

        return ParallelRun(self, self.comm, self.sync_batchnorm)

    def save(self, path: str | os.PathLike[str]) -> None:
        """As :meth:`fastfc.Solver.save`, by process 0; in the others nothing happens.

        Parameters
        ----------
        path : path
        """
        if self.comm.rank == 0:
            super().save(path)

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        data: dict[str, np.ndarray],
        *,
        comm: Any = None,
        sync_batchnorm: bool = True,
        **changes: Any,
    ) -> "ParallelSolver":
        """As :meth:`fastfc.Solver.resume`, over any number of processes, all of which read the file.

        Parameters
        ----------
        path, data, **changes
            As for :meth:`fastfc.Solver.resume`.
        comm, sync_batchnorm
            As the constructor's.

        Returns
        -------
        ParallelSolver

        Raises
        ------
        ProcessError
            If a process cannot, or has read another file than others.
        """
        comm = _communicator(comm)

        def made(model: Any, data: Any, **arguments: Any) -> ParallelSolver:
            return cls(model, data, comm=comm, sync_batchnorm=sync_batchnorm, **arguments)

        with together(comm, "resumes a training"):
            solver, state = resumed(cast(type[ParallelSolver], made), path, data, changes)
            solver._state = state
            require_equal(comm, {"iterations in the file": str(state.iterations)})
        return solver


def _communicator(comm: Any) -> Any:
    """The processes of a training."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError('a training over several processes needs mpi4py: pip install "fastfc[mpi]"') from error
    if comm is None:
        return MPI.COMM_WORLD
    if not isinstance(comm, MPI.Intracomm):
        raise TypeError(f"comm: expected an mpi4py.MPI.Intracomm, got {type(comm).__name__}")
    return comm


ParallelSolver._training = Methods(ParallelSolver, "_step", "_check", "check_accuracy", "train")
