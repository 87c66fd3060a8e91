"""Standard streams that are closed, missing or broken: what is written to them goes nowhere, and nothing else changes.

A program without a terminal may start with `sys.stdout` and `sys.stderr` as None, or with descriptors 0 to 2 closed.
`print(..., file=None)` writes to stdout then, and the next file that is opened becomes descriptor 2: errors would end
among results, and messages of libraries in a file of results.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["silence", "usable_streams"]


@contextlib.contextmanager
def usable_streams() -> Iterator[None]:
    """Within it, stdout and stderr can be written to, and files that are opened do not become descriptors 0 to 2."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, usual = (nowhere if stream is None or stream.closed else stream for stream in before)
        sys.stderr = _Forgiving(usual)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def silence(stream: Any) -> None:
    """Let what is left in a stream's buffer go nowhere, instead of failing again when Python ends."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class _Forgiving:
    """A text stream for messages, which can be lost but must not end what they are about."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        except (OSError, ValueError):
            silence(self._stream)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            silence(self._stream)


def _fill_descriptors() -> None:
    """Open the null device as each of descriptors 0 to 2 that is closed, for child processes too."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened == descriptor:
                os.set_inheritable(opened, True)
            else:
                os.dup2(opened, descriptor)
                os.close(opened)
