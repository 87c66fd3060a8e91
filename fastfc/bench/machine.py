"""The machine and the versions, as a report of measurements names them."""

import datetime
import importlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastfc._runtime.threads import available_cpus

__all__ = ["cpu_model", "environment", "shown"]


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
    }


def shown(report: dict[str, Any]) -> str:
    """Machine and versions in a line."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    return f"{machine['cpu']}, {cores}; Python {report['python']}, {versions}; {report['date']}"


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
