"""Files that are either whole or not there."""

import contextlib
import errno
import glob
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

__all__ = ["rehearse", "replaced_file"]

_SUFFIX = ".fastfc.tmp"
_BLOCK = 1 << 20


@contextlib.contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file beside `path` and rename it there once it is whole and on the disk.

    If the block raises, or the process is killed at any moment, `path` still holds what it
    held before. A file that is replaced keeps its permissions, a new one gets those that
    `open` would give it; a symbolic link stays one, and the file it points to is replaced.
    What earlier writers of the same file left beside it when they were killed is removed.
    Devices and pipes cannot be replaced: they are written to.

    Raises
    ------
    OSError
        If the file cannot be written; its `filename` is `path`.
    """
    target = Path(os.path.realpath(path))
    try:
        old = _status(target)
        special = old is not None and not stat.S_ISREG(old.st_mode)
        with open(target, "wb") if special else _written_beside(target, old) as file:
            yield file
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


class _RehearsalError(Exception):
    """Ends the writing of a file before it appears."""


def rehearse(path: str | os.PathLike[str], size: int = 0) -> None:
    """Write `size` bytes as :func:`replaced_file` would, without leaving any; OSError if that is not possible."""
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(folder))
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    with contextlib.suppress(_RehearsalError), replaced_file(path) as file:
        for start in range(0, size, _BLOCK):
            file.write(bytes(min(_BLOCK, size - start)))
        file.flush()
        raise _RehearsalError


def _status(target: Path) -> os.stat_result | None:
    try:
        return os.stat(target)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _written_beside(target: Path, old: os.stat_result | None) -> Iterator[IO[bytes]]:
    if old is not None and not os.access(target, os.W_OK):
        # A rename would not ask.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    _remove_leftovers(target)
    file, temporary = _new_file(target, 0o666 if old is None else 0o600)
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        if old is not None:
            os.chmod(temporary, stat.S_IMODE(old.st_mode))
        if sys.platform == "win32":
            file.close()
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            # On a full disk, closing tries once more to write what is left.
            file.close()
        temporary.unlink(missing_ok=True)
        raise
    file.close()
    _sync_folder(target.parent)


def _new_file(target: Path, mode: int) -> tuple[IO[bytes], Path]:
    """Open a new file beside `target`, locked for as long as it is open."""
    while True:
        temporary = target.parent / f"{_prefix(target)}{os.urandom(4).hex()}{_SUFFIX}"
        file = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        if sys.platform != "win32":
            # Some file systems know no locks; nothing is removed there.
            with contextlib.suppress(OSError):
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if temporary.exists():
            return file, temporary
        # Another process took it for a leftover before it was locked.
        file.close()


def _prefix(target: Path) -> str:
    # Cut, so that the longest name that a folder takes leaves room for the rest.
    return f".{target.name[:50]}."


def _remove_leftovers(target: Path) -> None:
    """Remove what processes left that were killed while they wrote `target`; what is locked is being written."""
    for path in target.parent.glob(f"{glob.escape(_prefix(target))}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                # Open files cannot be removed there.
                path.unlink()
            elif path.is_file():
                with open(path, "r+b") as file:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _sync_folder(folder: Path) -> None:
    """Bring the rename itself to the disk, where the system lets a folder be opened and synchronized."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
