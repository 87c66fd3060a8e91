"""Names from earlier years of the course, and the one switch for arguments that cannot be told apart.

In 2016 and 2017 the number that goes with dropout is the probability to drop a value, since
2018 the probability to keep it.
"""

import os
import warnings
from collections.abc import Mapping
from typing import Any

from fastfc._arguments import number


def checked_legacy(source: str, value: object) -> str | None:
    """`value` if it names a reading of dropout's number: None for the present one, or "2017"."""
    if value is not None and value != "2017":
        raise ValueError(f"{source}: expected '2017', for the course's years 2016 and 2017, or None, got {value!r}")
    return None if value is None else "2017"


_default = checked_legacy("environment variable FASTFC_LEGACY", os.environ.get("FASTFC_LEGACY") or None)


def default_legacy() -> str | None:
    """How dropout's number is read where nothing else says it."""
    return _default


def set_default_legacy(legacy: str | None) -> None:
    """Choose how dropout's number is read where nothing else says it, in the whole process."""
    global _default
    _default = checked_legacy("legacy", legacy)


def legacy_of(dropout_param: Mapping[str, Any]) -> str | None:
    """How a layer's `p` is read: by its own entry `legacy`, else by the process's choice."""
    return checked_legacy("dropout_param['legacy']", dropout_param.get("legacy", _default))


def net_arguments(
    dropout_keep_ratio: float,
    normalization: str | None,
    dropout: float | None,
    use_batchnorm: bool | None,
    legacy: str | None,
    stacklevel: int,
) -> tuple[float, str | None, str | None]:
    """The network's p, its normalization, and how p is read, from the argument names of any year.

    ``use_batchnorm`` existed when ``dropout`` was the share to drop, ``normalization`` when it
    was the share to keep; both 0 and 1 mean no dropout, as the other reading of each makes no
    sense. What is left is kept, with a warning.
    """
    legacy = checked_legacy("legacy", legacy)
    if use_batchnorm is not None:
        if normalization is not None:
            raise ValueError("use_batchnorm, normalization: expected the older or the newer name, got both")
        normalization = "batchnorm" if use_batchnorm else None
    if dropout is None:
        return dropout_keep_ratio, normalization, None
    if dropout_keep_ratio != 1:
        raise ValueError("dropout, dropout_keep_ratio: expected the older or the newer name, got both")
    p = number("dropout", dropout)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability, got {dropout}")
    if p == 0 or (p == 1 and legacy is None):
        return 1.0, normalization, None
    if legacy is None and use_batchnorm is not None:
        legacy = "2017"
    elif legacy is None and normalization is None:
        legacy = _default
        if legacy is None:
            warnings.warn(
                f"dropout={dropout} is taken as the probability to KEEP a value, as in the course since 2018. Write "
                f"dropout_keep_ratio={dropout} to say so; if it is the probability to drop, as in 2016 and 2017, add "
                "legacy='2017' (for a whole program: fastfc.install(legacy='2017') or fastfc run --legacy 2017)",
                DeprecationWarning,
                stacklevel=stacklevel + 1,
            )
    return p, normalization, legacy
