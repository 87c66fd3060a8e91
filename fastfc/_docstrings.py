"""Docstrings whose sections follow from records or names: put together where a function is made."""

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["complete"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ORDER = ("Parameters", "Returns", "Raises", "Notes", "Examples")
_SECTION = re.compile(rf"^({'|'.join(_ORDER)})\n-+\n", re.MULTILINE)


def complete(function: _Function, **sections: str) -> _Function:
    """Add the sections that a function's docstring lacks, in numpydoc's order; returns the function.

    Parameters
    ----------
    function : function
        Its docstring may have some sections. Without docstrings (``python -OO``) nothing happens.
    **sections : str
        The text of ``Parameters``, ``Returns``, ``Raises``, ``Notes`` and ``Examples``.
    """
    if function.__doc__ is None:
        return function
    # Opening, title, text, title, text, ...
    opening, *own = _SECTION.split(inspect.cleandoc(function.__doc__))
    found = sections | dict(zip(own[::2], own[1::2], strict=True))
    texts = [f"{title}\n{'-' * len(title)}\n{found[title].strip()}" for title in _ORDER if title in found]
    function.__doc__ = "\n\n".join([opening.strip(), *texts]) + "\n"
    return function
