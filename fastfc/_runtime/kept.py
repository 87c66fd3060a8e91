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

from fastfc._runtime import settings

logger = logging.getLogger("fastfc")

_PACKAGE = Path(__file__).resolve().parents[1]
#: Folders of the package whose text, with that of their subfolders, can end up in machine code.
SOURCE_FOLDERS = ("_runtime", "kernels", "ops", "training")
#: How the name of every such file ends.
SUFFIX = ".fastfc.nbc"
# Seconds; a temporary file that is older is nobody's any more.
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


# Of the text that is imported, not of one that somebody edits before the first kernel is compiled.
source_digest()


def is_current() -> bool:
    """Whether the source text on disk is still the one that was imported; if not, nothing compiled may be kept."""
    return _digest_of_source() == source_digest()


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The first folder that can be written: $NUMBA_CACHE_DIR, the package's own, the user's; or None.

    What lies there is executed: a folder in which everybody may write is passed over.
    """
    if source_digest() is None:
        logger.debug("no source text of fastfc: kernels are compiled anew in each process")
        return None
    install = hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:16]
    candidates = [_PACKAGE / "kernels" / "__pycache__"]
    chosen = settings.cache_folder()
    if chosen:
        candidates.insert(0, Path(chosen) / f"fastfc-{install}")
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home and os.path.isabs(home):
        candidates.append(Path(home) / "fastfc" / install)
    for folder in candidates:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
                raise PermissionError("everybody may write there")
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            logger.debug("no kernel cache in %s: %s", folder, error)
            continue
        return folder.absolute()
    logger.debug("no folder for compiled kernels: they are compiled anew in each process")
    return None


def path_of(name: str, key: object) -> Path | None:
    """Where a kernel is kept whose machine code depends on `key` and the source text; None if there is no place."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
    return folder / f"{source_digest()}-{name}-{digest}{SUFFIX}"


def read(path: Path | None) -> bytes | None:
    """What is kept in a file; None if there is none, or a damaged one."""
    try:
        data = b"" if path is None else path.read_bytes()
    except OSError:
        return None
    checksum, payload = data[:32], data[32:]
    if hashlib.sha256(payload).digest() != checksum:
        logger.debug("no kernel in cache file %s", path)
        return None
    return payload


def write(path: Path | None, payload: bytes) -> None:
    """Keep a kernel; a folder that is full or gone costs only the next start."""
    if path is None:
        return
    temporary = None
    try:
        _remove_stale_files(path.parent)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".tmp", delete=False) as file:
            temporary = file.name
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
        os.replace(temporary, path)
    except OSError as error:
        logger.debug("kernel not kept in %s: %s", path, error)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@functools.lru_cache(maxsize=1)
def _remove_stale_files(folder: Path) -> None:
    """Remove, once per process, what other versions of the source text and processes that were killed left here."""
    for path in folder.glob(f"*{SUFFIX}"):
        if not path.name.startswith(f"{source_digest()}-"):
            path.unlink(missing_ok=True)
    for path in folder.glob(f"*{SUFFIX}*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _WRITTEN_WITHIN:
                path.unlink()
