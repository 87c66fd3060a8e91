"""The machine and the versions, as a report of measurements names them."""

import datetime
import importlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from fastfc._runtime.threads import available_cpus

__all__ = ["cpu_model", "environment", "numpy_blas", "shown"]


def environment(distributions: Iterable[str]) -> dict[str, Any]:
    """Date, machine and versions."""
    versions = {}
    for name in sorted(set(distributions)):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # From a source folder, without an installation.
            versions[name] = importlib.import_module(name).__version__
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": cpu_model(), "cores": available_cpus(), "system": platform.platform()},
        "python": platform.python_version(),
        "versions": versions,
        "blas": numpy_blas(),
    }


def shown(report: dict[str, Any]) -> str:
    """Machine and versions in a line."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    # Reports of version 0.1 lack it.
    blas = f", NumPy's BLAS {report['blas']}" if report.get("blas") else ""
    return f"{machine['cpu']}, {cores}; Python {report['python']}, {versions}{blas}; {report['date']}"


def numpy_blas() -> str | None:
    """NumPy's BLAS, its version and the processor that its kernels are for; None if threadpoolctl does not know it.

    The kernels are not always those of this processor: OpenBLAS takes others by ``OPENBLAS_CORETYPE``.
    """
    # Loaded libraries are what can be asked.
    importlib.import_module("numpy")
    for library in threadpool_info():
        if library["user_api"] == "blas" and "numpy" in Path(library["filepath"]).parent.name:
            return f"{library['internal_api']} {library['version']} ({library.get('architecture', 'unknown')})"
    return None


def cpu_model() -> str:
    """The processor's name, with family and model numbers where the system gives them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
    if "model name" not in fields:
        return platform.machine()
    numbers = [
        f"{key} {fields[name]}" for key, name in (("family", "cpu family"), ("model", "model")) if name in fields
    ]
    return f"{fields['model name']} ({', '.join(numbers)})"
