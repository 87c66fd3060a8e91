"""Imports of ``cs231n`` answered by fastfc: the same module objects under the course's names."""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["install", "load_ipython_extension", "uninstall", "unload_ipython_extension"]

_COURSE = "cs231n"
# Packages hold nothing of their own: a person's may stay, so that what only it has can be imported.
_PACKAGES = {"cs231n": "fastfc", "cs231n.classifiers": "fastfc.classifiers"}
_MODULES = {
    f"cs231n.{name}": f"fastfc.{name}"
    for name in (
        "classifiers.fc_net",
        "data_utils",
        "gradient_check",
        "layer_utils",
        "layers",
        "optim",
        "solver",
        "vis_utils",
    )
}
_ANSWERS = {**_PACKAGES, **_MODULES}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _COURSE and not fullname.startswith(f"{_COURSE}."):
            return None
        parent = fullname.rpartition(".")[0]
        # Where fastfc stands for the parent, `path` leads into fastfc, whose other modules are its own business.
        theirs = parent not in _PACKAGES or sys.modules.get(parent) is not sys.modules.get(_PACKAGES[parent])
        if fullname not in _MODULES and theirs:
            for finder in sys.meta_path:
                spec = None if finder is self else finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        if fullname not in _ANSWERS:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: cs231n is answered by fastfc, which has no such module, and there is "
                "no package cs231n on sys.path that has it",
                name=fullname,
            )
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = importlib.import_module(_ANSWERS[name])


_finder = _Finder()


def install(legacy: str | None = None) -> None:
    """Let imports of ``cs231n`` be answered by fastfc, in this process from here on.

    ``cs231n.layers``, ``layer_utils``, ``optim``, ``solver``, ``gradient_check``, ``vis_utils``,
    ``data_utils`` and ``classifiers.fc_net`` are then the very modules of fastfc, also where a
    package ``cs231n`` lies beside the script. Other modules of such a package, say
    ``cs231n.classifiers.cnn``, are imported from it as ever. A second call changes nothing.

    Parameters
    ----------
    legacy : {None, "2017"}
        ``"2017"`` if the program is of 2016 or 2017, when the number that goes with dropout
        was the probability to drop a value. It holds for the whole process.

    Raises
    ------
    ImportError
        If another package's modules of these names have been imported already; nothing has
        changed then.
    ValueError
        For another value of `legacy`.

    Examples
    --------
    >>> import fastfc
    >>> fastfc.install()
    >>> from cs231n.classifiers.fc_net import FullyConnectedNet
    >>> FullyConnectedNet is fastfc.FullyConnectedNet
    True
    >>> fastfc.uninstall()
    """
    for name, own in _MODULES.items():
        module = sys.modules.get(name)
        if module is not None and module is not sys.modules.get(own):
            raise ImportError(
                f"{name} has been imported from {getattr(module, '__file__', 'elsewhere')} already: call "
                "fastfc.install() before the first import of cs231n, in a notebook after a restart of its kernel",
                name=name,
            )
    if legacy is not None:
        importlib.import_module("fastfc.course.years").set_default_legacy(legacy)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Undo :func:`install`: later imports of ``cs231n`` find what lies on ``sys.path``.

    Names that have been imported stay what they are, and so does the choice of `legacy`.

    Examples
    --------
    >>> import fastfc
    >>> fastfc.install()
    >>> import cs231n.layers
    >>> fastfc.uninstall()
    """
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name, own in _ANSWERS.items():
        if name in sys.modules and sys.modules[name] is sys.modules.get(own):
            del sys.modules[name]


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext fastfc`` in a notebook: :func:`install`.

    Parameters
    ----------
    ipython : InteractiveShell
        The notebook's, which nothing is done to.

    Examples
    --------
    >>> load_ipython_extension(None)  # as %load_ext fastfc
    >>> uninstall()
    """
    install()


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext fastfc`` in a notebook: :func:`uninstall`.

    Parameters
    ----------
    ipython : InteractiveShell
        The notebook's, which nothing is done to.

    Examples
    --------
    >>> unload_ipython_extension(None)  # as %unload_ext fastfc
    """
    uninstall()
