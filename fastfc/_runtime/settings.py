"""Numba's settings, where possible without importing Numba."""

import contextlib
import os
import sys
from pathlib import Path
from types import ModuleType

from fastfc._runtime.interrupts import held_back

# Environment variables of Numba that do not change the machine code of kernels.
_HARMLESS = {
    "NUMBA_CACHE_DIR",
    "NUMBA_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "NUMBA_THREADING_LAYER_PRIORITY",
    "NUMBA_WARNINGS",
    "NUMBA_DISABLE_PERFORMANCE_WARNINGS",
    "NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING",
    "NUMBA_COLOR_SCHEME",
    "NUMBA_DISABLE_CUDA",
}
# Settings that a program may also change while it runs, and what they are by themselves.
_USUAL = {
    "OPT": 3,
    "BOUNDSCHECK": None,
    "CPU_NAME": None,
    "CPU_FEATURES": None,
    "ENABLE_AVX": True,
    "LOOP_VECTORIZE": 1,
    "SLP_VECTORIZE": 0,
}
_FILE = Path(".numba_config.yaml")


def numba_config() -> ModuleType | None:
    """``numba.config``; None if all settings are the usual ones, and Numba is not imported."""
    if sys.modules.get("numba") is None and not _given():
        return None
    with held_back():
        # An interrupt amid the import leaves it half imported, for as long as the process lives.
        from numba.core import config
    return config


def compiler_disabled() -> bool:
    """Whether Python runs the kernels (NUMBA_DISABLE_JIT=1)."""
    config = numba_config()
    return config is not None and bool(config.DISABLE_JIT)


def cache_folder() -> str:
    """The folder that NUMBA_CACHE_DIR names; empty for none."""
    config = numba_config()
    return os.environ.get("NUMBA_CACHE_DIR", "") if config is None else config.CACHE_DIR


def unusual() -> tuple[tuple[str, str], ...]:
    """Settings that are not as usual and change machine code: names and values."""
    config = numba_config()
    if config is None:
        return ()
    values = {name: getattr(config, name, usual) for name, usual in _USUAL.items()}
    return (*_given(), *((name, str(value)) for name, value in values.items() if value != _USUAL[name]))


def changed_by_program() -> bool:
    """Whether what is unusual is so in this process only."""
    return bool(unusual()) and not _given()


def _given() -> list[tuple[str, str]]:
    """Settings that Numba would read on import: variables of the environment, and a file of the current folder."""
    given = [(name, value) for name, value in os.environ.items() if name.startswith("NUMBA_") and name not in _HARMLESS]
    # Often there is none.
    with contextlib.suppress(OSError):
        given.append((str(_FILE), _FILE.read_text(errors="replace")))
    return sorted(given)
