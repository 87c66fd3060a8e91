"""Agreement of processes: they go on together, or all of them end with the error of one."""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from time import sleep
from typing import Any

__all__ = ["ProcessError", "exchanged", "require_equal", "together", "unbroken"]

_FAILED = "failed"
# Seconds.
_TO_PASS_ON = 1.0


class ProcessError(RuntimeError):
    """Another process of a training has failed, or goes on differently; every process raises it."""


def exchanged(comm: Any, place: str, value: Any = None) -> list[Any]:
    """The values of all processes, in their order; each must have come to the same place of the program.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
    place : str
        Where in the program this is, for messages.
    value : object
        That can be pickled.

    Raises
    ------
    ProcessError
        If a process has failed, or has come to another place.
    """
    found = comm.allgather((place, value))
    failed = [(rank, text) for rank, (where, text) in enumerate(found) if where == _FAILED]
    if failed:
        rank, text = failed[0]
        raise ProcessError(f"process {rank} of {comm.size} has failed: {text}")
    places = [where for where, _ in found]
    for rank, where in enumerate(places):
        if where != places[0]:
            raise ProcessError(f"the processes do different things: process 0 {places[0]}, process {rank} {where}")
    return [each for _, each in found]


@contextlib.contextmanager
def together(comm: Any, place: str) -> Iterator[None]:
    """All processes leave the block, or none: where one raises an error, all of them do.

    Where all have raised one, each raises its own; else they raise :class:`ProcessError`.
    """
    try:
        yield
    except ProcessError:
        # All have heard of it.
        raise
    except BaseException as error:
        found = comm.allgather((_FAILED, f"{type(error).__name__}: {error}"))
        failed = [(rank, text) for rank, (where, text) in enumerate(found) if where == _FAILED]
        if len(failed) == comm.size:
            raise
        rank, text = failed[0]
        raise ProcessError(f"process {rank} of {comm.size} has failed: {text}") from error
    exchanged(comm, place)


@contextlib.contextmanager
def unbroken(comm: Any) -> Iterator[None]:
    """A block in which the others wait for this process's numbers: an error in it ends all processes at once."""
    try:
        yield
    except BaseException as error:
        if comm.size == 1:
            raise
        traceback.print_exc()
        print(
            f"fastfc: process {comm.rank} of {comm.size} has failed amid a step, and ends all of them: "
            f"{type(error).__name__}: {error}",
            file=sys.stderr,
            flush=True,
        )
        # The launcher is to pass the text on before it ends everything, itself included.
        sleep(_TO_PASS_ON)
        comm.Abort(1)


def require_equal(comm: Any, values: Mapping[str, Any]) -> None:
    """An error on all processes unless these are the same on all of them.

    Raises
    ------
    ProcessError
        It names what differs, and between which processes.
    """
    found = exchanged(comm, "compares its arguments", dict(values))
    for rank, theirs in enumerate(found):
        for name in {**found[0], **theirs}:
            if found[0].get(name) != theirs.get(name):
                raise ProcessError(
                    f"{name}: expected the same in all processes, got {found[0].get(name)} in process 0, "
                    f"{theirs.get(name)} in process {rank}"
                )
