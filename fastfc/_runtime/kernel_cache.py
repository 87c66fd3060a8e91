"""Files of compiled kernels.

A file's name is a digest of everything that its machine code depends on. Files appear by rename;
one that cannot be read or written only costs a compilation.
"""

import contextlib
import functools
import hashlib
import logging
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastfc._runtime import settings

logger = logging.getLogger("fastfc")

_PACKAGE = Path(__file__).resolve().parents[1]
#: Folders of the package whose text, with that of their subfolders, can end up in machine code.
SOURCE_FOLDERS = ("_runtime", "kernels", "ops", "training")
#: How the name of every such file ends.
SUFFIX = ".fastfc.nbc"
# Seconds; older temporary files are abandoned.
_WRITTEN_WITHIN = 3600.0


def _digest_of_source() -> str | None:
    # Without source text there may be bytecode in its place.
    for suffix in (".py", ".pyc"):
        files = sorted(_files(suffix))
        if files:
            digest = hashlib.sha256()
            for name, path in files:
                with open(path, "rb") as file:
                    digest.update(name.encode() + b"\0" + file.read() + b"\0")
            return digest.hexdigest()[:16]
    return None


def _files(suffix: str) -> Iterator[tuple[str, str]]:
    """Name within the package, and path, of every file of the source folders that ends so, at any depth."""
    for source in SOURCE_FOLDERS:
        for folder, subfolders, names in os.walk(_PACKAGE / source):
            subfolders[:] = [name for name in subfolders if name != "__pycache__"]
            within = Path(folder).relative_to(_PACKAGE).as_posix()
            for name in names:
                if name.endswith(suffix):
                    yield f"{within}/{name}", os.path.join(folder, name)


@functools.lru_cache(maxsize=1)
def source_digest() -> str | None:
    """Digest of every file whose text can end up in machine code; None if there are none, as in an archive."""
    return _digest_of_source()


# Of the text that is imported, not of one that is edited before the first kernel is compiled.
source_digest()


def is_current() -> bool:
    """Whether the source text on disk is still the one that was imported; if not, nothing compiled may be cached."""
    return _digest_of_source() == source_digest()


class _Candidate(NamedTuple):
    """A folder in which kernels may lie."""

    path: Path
    # Of a folder that is made here. Kernels are no secret: what one user compiles may serve others.
    mode: int = 0o755
    # Whether it lies where all users may write: the folder above it, which is made too, is to be this user's alone.
    own: bool = False


def _candidates() -> list[_Candidate]:
    """In this order: $NUMBA_CACHE_DIR, the package's own folder, the user's, and one among the temporary files."""
    install = hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:16]
    candidates = [_Candidate(_PACKAGE / "kernels" / "__pycache__")]
    chosen = settings.cache_folder()
    if chosen:
        candidates.insert(0, _Candidate((Path(chosen) / f"fastfc-{install}").absolute()))
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home and os.path.isabs(home):
        candidates.append(_Candidate(Path(home) / "fastfc" / install, 0o700))
    if os.name == "posix":
        # It tries to write, and there may be no place where it can.
        with contextlib.suppress(OSError):
            temporary = Path(tempfile.gettempdir()).absolute()
            candidates.append(_Candidate(temporary / f"fastfc-{os.geteuid()}" / install, 0o700, own=True))
    return candidates


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The first folder that can be written, see :func:`_candidates`; or None.

    Files there are executed: a folder that all users may write is passed over.
    """
    if source_digest() is None:
        logger.debug("no source text of fastfc: kernels are compiled anew in each process")
        return None
    for folder, mode, own in _candidates():
        try:
            if own:
                with contextlib.suppress(FileExistsError):
                    folder.parent.mkdir(mode=mode)
                status = os.lstat(folder.parent)
                if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                    raise PermissionError("it is not only this user's")
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
                raise PermissionError("everybody may write there")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            logger.debug("no kernel cache in %s: %s", folder, error)
            continue
        return folder.absolute()
    logger.debug("no folder for compiled kernels: they are compiled anew in each process")
    return None


def _folder_of_ones_own() -> Path | None:
    """The one among the temporary files: whatever is done to its name, no other user can make files of this user's."""
    return next((folder for folder, _, own in _candidates() if own), None)


@functools.lru_cache(maxsize=1)
def _folders_to_read() -> tuple[Path, ...]:
    """The folders in which kernels may lie that this user may execute, whether or not it may write there.

    Whoever chooses a folder means that one only.
    """
    if source_digest() is None or os.name != "posix":
        return ()
    candidates = _candidates()[: 1 if settings.cache_folder() else None]
    return tuple(folder for folder, _, own in candidates if not own and _is_trusted(folder))


def _is_trusted(folder: Path) -> bool:
    """Whether only this user and the superuser can change what lies in a folder, or put another one in its place."""
    try:
        for path in (folder, *folder.resolve().parents):
            status = os.lstat(path)
            # In a folder such as /tmp all users may write, but not rename or remove what is others'.
            shared = path != folder and status.st_mode & stat.S_ISVTX
            if not stat.S_ISDIR(status.st_mode) or not (_is_unchanged_by_others(status) or shared):
                return False
    except OSError:
        return False
    return True


def _is_unchanged_by_others(status: os.stat_result) -> bool:
    """Whether a file or folder is this user's or the superuser's, and no other user may write it."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _file_name(name: str, key: object) -> str:
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
    return f"{source_digest()}-{name}-{digest}{SUFFIX}"


def path_of(name: str, key: object) -> Path | None:
    """Where a kernel is cached whose machine code depends on `key` and the source text; None if there is no place."""
    folder = cache_folder()
    return None if folder is None else folder / _file_name(name, key)


def look_up(name: str, key: object) -> bytes | None:
    """The cached bytes of such a kernel, here or in a folder that can only be read; None if there are none."""
    path = path_of(name, key)
    payload = read(path, checked=path is not None and path.parent == _folder_of_ones_own())
    for folder in _folders_to_read():
        if payload is None:
            payload = read(folder / _file_name(name, key), checked=True)
    return payload


def read(path: Path | None, checked: bool = False) -> bytes | None:
    """The bytes cached in a file; None of no file, a damaged one, or a `checked` one that others may have written."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            if checked and not _is_unchanged_by_others(os.fstat(file.fileno())):
                return None
            data = file.read()
    except OSError:
        return None
    checksum, payload = data[:32], data[32:]
    if hashlib.sha256(payload).digest() != checksum:
        logger.debug("no kernel in cache file %s", path)
        return None
    return payload


def write(path: Path | None, payload: bytes) -> None:
    """Cache a kernel; a folder that is full or gone costs only the next start."""
    if path is None:
        return
    temporary = None
    try:
        _remove_stale_files(path.parent)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".tmp", delete=False) as file:
            temporary = file.name
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
            if os.name == "posix":
                # Whoever may look into the folder may read the file.
                os.fchmod(file.fileno(), 0o600 | path.parent.stat().st_mode & 0o044)
        os.replace(temporary, path)
    except OSError as error:
        logger.debug("kernel not cached in %s: %s", path, error)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@functools.lru_cache(maxsize=1)
def _remove_stale_files(folder: Path) -> None:
    """Remove, once per process, the files that other versions of the source text and killed processes left here."""
    for path in folder.glob(f"*{SUFFIX}"):
        if not path.name.startswith(f"{source_digest()}-"):
            path.unlink(missing_ok=True)
    for path in folder.glob(f"*{SUFFIX}*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _WRITTEN_WITHIN:
                path.unlink()
