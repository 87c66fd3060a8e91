"""Differences between results of a person's own code and fastfc's."""

import contextlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fastfc.course.stand_in import preserved_stream
from fastfc.ops.tolerance import tolerance

__all__ = ["NEXT", "SEED", "Differs", "Results", "compare", "guarded", "quiet"]

#: The name of a result -> the result.
Results = dict[str, Any]

# A person's own formula may chain more operations than fastfc's, or lose digits to a cancellation that
# fastfc's avoids: three digits are left to it. Most bugs are larger; a misplaced eps shows at small inputs.
_SLACK = 1000

#: Of the random stream that both sides get.
SEED = 231
NEXT = "the next random number"

# Everything that a check sets aside belongs to the whole process: one check at a time.
_one_at_a_time = threading.RLock()


class Differs(Exception):
    """A person's own code gives another result than fastfc's; the text says which."""


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Leave no trace of the code inside: no warnings, the random stream as it was, what it prints in a buffer."""
    printed = io.StringIO()
    with (
        _one_at_a_time,
        preserved_stream(),
        contextlib.redirect_stdout(printed),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield printed


def compare(got: Mapping[str, Any], expected: Mapping[str, Any], terms: int, sizes: Mapping[str, float]) -> None:
    """Raise Differs if results are further off than `terms` roundings, relative to their size.

    The text shows the first of them, and names the others.
    """
    differences = {}
    for what, wanted in expected.items():
        size = sizes.get(what, 0.0)
        difference = _difference(got.get(what), wanted, terms, size, exact=what == NEXT)
        if difference is not None:
            differences[what] = difference
    if differences:
        (first, text), *others = differences.items()
        also = f"; also: {', '.join(what for what, _ in others)}" if others else ""
        raise Differs(f"{first} {text}{also}")


def _difference(got: Any, wanted: Any, terms: int, size: float, exact: bool) -> str | None:
    """How a result differs from the one wanted, None if it does not."""
    if got is None:
        return "is missing"
    try:
        a, b = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    except (TypeError, ValueError):
        return f"is no array of numbers but {type(got).__name__}"
    if a.shape != b.shape:
        return f"has shape {a.shape} instead of {b.shape}"
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    error = np.where(same, 0.0, np.abs(a - b))
    error = np.where(np.isnan(error), np.inf, error)
    allowed = 0.0 if exact else _SLACK * tolerance(np.float64, terms) * max(float(np.max(np.abs(b), initial=0.0)), size)
    if np.max(error, initial=0.0) <= allowed:
        return None
    place = np.unravel_index(int(np.argmax(error)), error.shape)
    where = f" at [{', '.join(map(str, place))}]" if place else ""
    return (
        f"differs by up to {error[place]:.2g}, where {allowed:.2g} is allowed: "
        f"{a[place]:.6g} instead of {b[place]:.6g}{where}"
    )


def guarded(what: str, call: Callable[[], Any]) -> Any:
    """The result of a call into a person's own code; Differs if it raises."""
    try:
        return call()
    except NotImplementedError:
        raise Differs(f"{what} is not implemented") from None
    except Exception as error:  # noqa: BLE001 - a person's own code may raise anything
        raise Differs(f"{what} raises {type(error).__name__}: {error}") from None
