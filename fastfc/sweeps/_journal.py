"""The file of a sweep: a line of JSON for each finished training, on the disk before the next one counts."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from fastfc.formats.atomic import replaced_file

if sys.platform != "win32":
    import fcntl

__all__ = ["Journal", "best_path", "opened"]

_FORMAT = 1


def best_path(file: str | os.PathLike[str]) -> Path:
    """Where the best network of a sweep is: beside its file."""
    path = Path(file)
    return path.with_name(f"{path.name}.best.npz")


class Journal:
    """An open file of a sweep.

    Attributes
    ----------
    records : dict of dict
        What the file held when it was opened, by the trainings' keys.
    """

    def __init__(self, file: IO[bytes], path: Path, records: dict[str, dict[str, Any]]) -> None:
        self._file, self.path, self.records = file, path, records

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a training's record; it is on the disk when this returns."""
        _append(self._file, record)

    def save_best(self, net: Any) -> None:
        net.save(best_path(self.path))


@contextlib.contextmanager
def opened(file: str | os.PathLike[str], about: Mapping[str, Any]) -> Iterator[Journal]:
    """Open a sweep's file, or begin one, for this process alone.

    Parameters
    ----------
    file : path
    about : dict
        On which a training's result depends, apart from its options and its seed.

    Raises
    ------
    ValueError
        If the file is no sweep's, is damaged before its last line, or belongs to other data.
    BlockingIOError
        If another process has it open.
    """
    path = Path(file)
    header = {"fastfc_sweep": _FORMAT, **about}
    if not path.exists():
        with replaced_file(path) as new:
            new.write(_line(header))
    with open(path, "r+b") as stream, _locked(path):
        lines = _whole_lines(stream)
        found = _header(lines[:1])
        if found.get("fastfc_sweep") != _FORMAT:
            raise ValueError(f"file: expected the file of a sweep, got {path}")
        differences = _differences(about, found)
        if differences:
            raise ValueError(f"file: {path} is of another sweep: {differences}; this one needs a file of its own")
        records = {}
        for number, line in enumerate(lines[1:], start=2):
            record = _parsed(line, path, number)
            records[record["key"]] = record
        yield Journal(stream, path, records)


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """In words, where a sweep is another one than that of a file; empty if it is not."""
    found = []
    data, others = here["data"], there.get("data")
    others = others if isinstance(others, dict) else {}
    for name in {**data, **others}:
        if data.get(name) != others.get(name):
            found.append(f"{name} {_told_array(data.get(name), others.get(name))}")
    for name in here.keys() - {"data"}:
        if there.get(name) != here[name]:
            found.append(f"{name} is {_told(there.get(name))} there and {_told(here[name])} here")
    return ", ".join(sorted(found))


def _told_array(here: str | None, there: Any) -> str:
    if here is None or not isinstance(there, str):
        return "is in one of them only"
    kind, other = (digest.rpartition(" ")[0] for digest in (here, there))
    return "has other values" if kind == other else f"is {other} there and {kind} here"


def _told(value: Any) -> str:
    if isinstance(value, list):
        # Successive halving.
        return f"by a factor of {value[0]} from {value[1]} epochs on" if len(value) == 2 else "unknown"
    return "none" if value is None else str(value)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def _append(file: IO[bytes], record: Mapping[str, Any]) -> None:
    file.write(_line(record))
    file.flush()
    os.fsync(file.fileno())


def _whole_lines(file: IO[bytes]) -> list[bytes]:
    """All lines; a last one that was cut off, when a process was killed as it wrote, is taken off the file."""
    content = file.read()
    whole = content.rfind(b"\n") + 1
    file.seek(whole)
    if whole < len(content):
        file.truncate()
    return content[:whole].splitlines()


def _header(lines: list[bytes]) -> dict[str, Any]:
    """The first line, if it is a dictionary."""
    with contextlib.suppress(ValueError):
        found = json.loads(b"".join(lines))
        return found if isinstance(found, dict) else {}
    return {}


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"file: line {number} of {path} is not JSON ({error})") from error
    if not isinstance(record, dict) or not {"key", "result", "error", "seconds"} <= set(record):
        raise ValueError(f"file: line {number} of {path} is not a record of a sweep")
    return record


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from the file; BlockingIOError if one has it."""
    if sys.platform == "win32":
        yield
        return
    # Of the lock alone, so that a child process can close it: workers that are forked meanwhile outlive the sweep where
    # they are somebody's own, or where it is killed.
    descriptor = os.open(path, os.O_RDWR)
    _descriptors.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process runs this sweep", os.fspath(path)) from error
        except OSError:
            # Some file systems know no locks.
            pass
        yield
    finally:
        # A child process that was just forked may have it open still.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        _descriptors.discard(descriptor)
        os.close(descriptor)


# The open locks of this process.
_descriptors: set[int] = set()


def _leave_locks_to_parent() -> None:
    """In a child process: while it had the parent's files open, these would be locked."""
    while _descriptors:
        os.close(_descriptors.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)
