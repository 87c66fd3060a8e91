"""How much of the processors other programs take while something is measured, from Linux's ``/proc``."""

import os
from pathlib import Path
from time import sleep

from fastfc._runtime.threads import available_cpus

__all__ = ["Others"]

_WHILE = 0.3
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Others:
    """The share of the processors that processes of other sessions take; 0 where there is no ``/proc``.

    Give this program a session of its own (``setsid``), for the terminal's other programs to count.
    """

    def __init__(self) -> None:
        self._session = os.getsid(0) if hasattr(os, "getsid") else 0
        self._start = self._now()

    def restart(self) -> None:
        self._start = self._now()

    def wait_for(self, most: float) -> None:
        """Until they have taken at most this share for a while."""
        while most < 1:
            self.restart()
            sleep(_WHILE)
            if self.share(_WHILE) <= most:
                return

    def share(self, seconds: float) -> float:
        """Since the start, which was so many seconds ago."""
        all_of_them, own = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return max(0.0, (all_of_them - own) / _TICKS / (seconds * available_cpus()))

    def _now(self) -> tuple[int, int]:
        """Ticks that all processes have taken, and those that the processes of this session have."""
        try:
            user, nice, system, _, _, irq, softirq, *_ = map(
                int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
            )
        except OSError:
            return 0, 0
        own = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                # It has ended.
                continue
            if int(fields[3]) == self._session:
                # Its own, and those of its children that have ended.
                own += sum(map(int, fields[11:15]))
        return user + nice + system + irq + softirq, own
