"""Put fastfc's functions into a package that a person already has: patch, unpatch, patched."""

import contextlib
import functools
import importlib
import inspect
import logging
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from fastfc import layer_utils, layers, optim
from fastfc.course.compare import (
    GROUPS,
    Differs,
    check_functions,
    check_network,
    check_solver,
    compare_networks,
    network_results,
    quiet,
    small_networks,
)
from fastfc.course.stand_in import StandIn
from fastfc.training import refusal

__all__ = ["PatchWarning", "patch", "patched", "unpatch"]

logger = logging.getLogger("fastfc")

# Where the course keeps what can be replaced.
_MODULES = ("layers", "layer_utils", "optim", "classifiers.fc_net", "solver")
_NETWORKS = ("FullyConnectedNet", "TwoLayerNet")


class PatchWarning(UserWarning):
    """A function of the person's own package was left alone; the text says why."""


class _Replacement:
    """A function of fastfc's under the name, documentation and argument names of the person's own.

    An object, not a function: IPython's autoreload writes new code into functions that it
    finds under a reloaded module's names.
    """

    def __init__(self, own: FunctionType, ours: Callable, name: str) -> None:
        functools.update_wrapper(self, own)
        self.own, self.ours, self.name = own, ours, name
        self.signature = inspect.signature(own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            args = self.signature.bind(*args, **kwargs).args
        return self.ours(*args)

    def __repr__(self) -> str:
        return f"<{_full_name(self.ours)} in place of {_full_name(self.own)}>"

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        # By the own function's name: what was pickled loads with or without the patch, and without fastfc.
        return pkgutil.resolve_name, (f"{self.own.__module__}:{self.own.__qualname__}",)


@dataclass(frozen=True)
class _Method:
    """A Solver class whose ``train`` is replaced."""

    solver: Any
    own: Callable
    ours: Callable


_functions: list[_Replacement] = []
_methods: list[_Method] = []


def patch(package: ModuleType | str) -> None:
    """Let your own ``cs231n`` package run on fastfc.

    Layers, blocks and update rules of the package are replaced by fastfc's functions of the
    same names, wherever a loaded module holds them, star-imports and ``__main__`` included;
    and ``Solver.train`` trains the package's own FullyConnectedNet in a compiled run, after
    which solver and model are as the package's own loop leaves them. :func:`patched` says
    what was replaced, :func:`unpatch` takes it back.

    Each function is first held against the person's own one on small random inputs, in
    float64. One that differs by more than rounding, raises, or is not written yet, is left
    alone, with a :class:`PatchWarning` that shows the difference; so is the other half of
    its pair, since forward and backward pass share a cache. The network's loss and gradients
    and a short training are compared likewise before ``Solver.train`` is replaced.

    Nothing else changes: the random stream stays where it is, nothing is printed. Patching
    again looks only at what is not replaced yet.

    Parameters
    ----------
    package : module or str
        The package, or its name: ``"cs231n"``.

    Raises
    ------
    TypeError
        If `package` is neither a module nor a string.
    ValueError
        If it has nothing that could be replaced.
    ModuleNotFoundError
        If there is no package of that name.

    Examples
    --------
    >>> import fastfc
    >>> fastfc.patch("cs231n")  # doctest: +SKIP
    >>> fastfc.patched()["cs231n.layers.affine_forward"]  # doctest: +SKIP
    'fastfc.layers.affine_forward'
    """
    modules = _modules_of(package)
    problems: list[str] = []
    with quiet():
        replacements = _checked_replacements(_own_functions(modules), problems)
        before = _answers(modules.get("classifiers.fc_net"))
        _functions.extend(replacements)
        _rebind({id(each.own): each for each in replacements})
        try:
            _check_answers(modules.get("classifiers.fc_net"), before)
        except Differs as difference:
            _rebind({id(each): each.own for each in replacements})
            problems.append(f"none of the functions was replaced: with them, {difference}")
            del _functions[len(_functions) - len(replacements) :]
            replacements = []
        methods = _checked_methods(modules, replacements, problems)
    for method in methods:
        method.solver.train = method.ours
        _methods.append(method)
    for problem in problems:
        warnings.warn(problem, PatchWarning, stacklevel=2)


def unpatch() -> None:
    """Put back everything that :func:`patch` replaced; what was assigned since then stays.

    Examples
    --------
    >>> import fastfc
    >>> fastfc.unpatch()
    >>> fastfc.patched()
    {}
    """
    _rebind({id(each): each.own for each in _functions})
    for method in _methods:
        if vars(method.solver).get("train") is method.ours:
            method.solver.train = method.own
    _functions.clear()
    _methods.clear()


def patched() -> dict[str, str]:
    """The functions that are replaced.

    Returns
    -------
    dict of str to str
        Full name of the person's own function -> fastfc's.

    Examples
    --------
    >>> import fastfc
    >>> fastfc.patched()
    {}
    """
    functions = {_full_name(each.own): _full_name(each.ours) for each in _functions}
    return functions | {_full_name(each.own): "fastfc.solver.Solver.train" for each in _methods}


# ------------------------------------------------------------------------------------------- what there is


def _modules_of(package: ModuleType | str) -> dict[str, ModuleType]:
    """The course's modules in a package, by their names in it."""
    if isinstance(package, str):
        package = importlib.import_module(package)
    if not isinstance(package, ModuleType):
        raise TypeError(f"package: expected a module or its name, got {type(package).__name__}")
    root = package.__name__
    if root.split(".")[0] == "fastfc":
        raise ValueError("package: expected somebody's own package, got fastfc itself")
    modules = {}
    for name in _MODULES:
        full = f"{root}.{name}"
        try:
            modules[name] = importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{full}.".startswith(f"{error.name}."):
                raise
    if not (_own_functions(modules) or any(_is_ours(value) for m in modules.values() for value in vars(m).values())):
        raise ValueError(
            f"package: expected the course's package, with functions such as layers.affine_forward; {root} has none"
        )
    return modules


def _own_functions(modules: Mapping[str, ModuleType]) -> dict[str, FunctionType]:
    """The package's own functions that fastfc has too, unless they are replaced."""
    roots = {module.__name__.split(".")[0] for module in modules.values()}
    own: dict[str, FunctionType] = {}
    for name in (name for group in GROUPS for name in group):
        for module in modules.values():
            value = vars(module).get(name)
            if isinstance(value, FunctionType) and value.__module__.split(".")[0] in roots:
                own.setdefault(name, value)
    return own


def _is_ours(value: Any) -> bool:
    return isinstance(value, _Replacement)


def _full_name(function: Callable) -> str:
    function = inspect.unwrap(function)
    return f"{function.__module__}.{function.__qualname__}"


# ------------------------------------------------------------------------------------------------ functions


def _checked_replacements(own: Mapping[str, FunctionType], problems: list[str]) -> list[_Replacement]:
    """Replacements for what passes the check; what does not is added to the problems."""
    replacements = []
    for group in GROUPS:
        members = {name: own[name] for name in group if name in own}
        if any(name not in members for name in group[:2]):
            continue
        ours = {name: _fastfc_function(name) for name in members}
        try:
            in_place = check_functions(members, ours)
        except Differs as difference:
            names = ", ".join(_full_name(function) for function in members.values())
            problems.append(f"left alone: {names}; {difference}")
            continue
        for name, function in members.items():
            called = ours[name] if in_place or name not in optim.DEFAULTS else _on_a_copy(ours[name])
            replacements.append(_Replacement(function, called, name))
    return replacements


def _fastfc_function(name: str) -> Callable:
    return next(getattr(module, name) for module in (layers, layer_utils, optim) if hasattr(module, name))


def _on_a_copy(rule: Callable) -> Callable:
    """The rule for people whose own one leaves w as it is."""

    @functools.wraps(rule)
    def update(w: np.ndarray, dw: np.ndarray, config: dict | None = None) -> tuple[np.ndarray, dict]:
        return rule(np.array(w), dw, config)

    return update


def _rebind(by_id: Mapping[int, Any]) -> None:
    """Put new objects where loaded modules hold those of these ids."""
    modules: list[Any] = list(sys.modules.values())
    for module in modules:
        if not isinstance(module, ModuleType):
            continue
        # Not vars(): a lazy module would load.
        namespace = object.__getattribute__(module, "__dict__")
        for key, value in list(namespace.items()):
            new = by_id.get(id(value))
            if new is not None:
                namespace[key] = new


# -------------------------------------------------------------------------------------- networks and Solver


def _networks_of(fc_net: ModuleType | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    network = getattr(fc_net, "FullyConnectedNet", None)
    return small_networks(network) if isinstance(network, type) else iter(())


def _answers(fc_net: ModuleType | None) -> dict[str, dict[str, Any]]:
    """The results of small networks, by their names; those that cannot be run are left out."""
    answers = {}
    for what, make in _networks_of(fc_net):
        with contextlib.suppress(Differs):
            answers[what] = network_results(make())
    return answers


def _check_answers(fc_net: ModuleType | None, before: Mapping[str, dict[str, Any]]) -> None:
    """Raise Differs if the networks answer otherwise than before."""
    for what, make in _networks_of(fc_net):
        if what in before:
            try:
                compare_networks(network_results(make()), before[what])
            except Differs as difference:
                raise Differs(f"{what} gives something else: {difference}") from None


def _checked_methods(
    modules: Mapping[str, ModuleType], replacements: list[_Replacement], problems: list[str]
) -> list[_Method]:
    """The Solver's ``train``, if networks and Solver pass their checks."""
    solver = getattr(modules.get("solver"), "Solver", None)
    if not isinstance(solver, type):
        return []
    own = vars(solver).get("train")
    if not isinstance(own, FunctionType) or any(own is method.ours for method in _methods):
        return []
    agreeing, differing = [], []
    for what, make in _networks_of(modules.get("classifiers.fc_net")):
        try:
            check_network(make())
            agreeing.append(make)
        except Differs as difference:
            differing.append(f"\n  {what}: {difference}")
    if differing:
        problems.append(f"these networks keep their own training loop:{''.join(differing)}")
    rules = [each.name for each in replacements if each.name in optim.DEFAULTS]
    if not agreeing or not rules:
        return []
    try:
        check_solver(solver, own, agreeing[0], rules[0])
    except Differs as difference:
        problems.append(f"left alone: {_full_name(own)}; {difference}")
        return []
    networks = [vars(modules["classifiers.fc_net"]).get(name) for name in _NETWORKS]
    return [_Method(solver, own, _training(solver, own, [network for network in networks if network is not None]))]


def _training(solver: type, own: Callable, networks: list[type]) -> Callable:
    """A ``train`` method that runs compiled where that gives the same, else the class's own."""
    checked = _methods_of(solver)

    def is_checked(made: Any) -> bool:
        return type(made) is solver and _methods_of(solver) == checked and not checked.keys() & vars(made).keys()

    @functools.wraps(own)
    def train(self: Any) -> None:
        held = self.update_rule
        rule = next((each for each in _functions if held is each or held is each.own), None)
        if rule is not None:
            # A Solver made before the patch holds the own rule.
            self.update_rule = rule
        try:
            stand_in: StandIn | None = None
            reason: str | None = None
            if not is_checked(self):
                reason = "the Solver's methods are others than those that were checked"
            elif type(self.model) not in networks or "loss" in vars(self.model):
                reason = f"the model is a {type(self.model).__name__} of another kind"
            elif rule is None:
                reason = f"the rule {getattr(held, '__name__', held)!r} is not replaced"
            else:
                stand_in, reason = _stand_in(self, rule.name)
            if stand_in is None:
                logger.debug("%s: its own training loop: %s", _full_name(own), reason)
                own(self)
            else:
                logger.debug("%s: a compiled run", _full_name(own))
                stand_in.run()
        finally:
            self.update_rule = held

    return train


def _methods_of(solver: type) -> dict[str, Any]:
    return {name: value for name, value in vars(solver).items() if callable(value) and name != "train"}


def _stand_in(solver: Any, rule: str) -> tuple[StandIn | None, str | None]:
    """A compiled run for a person's own Solver, or why there is none."""
    try:
        with quiet():
            check_network(solver.model, solver.X_train.shape[1:])
        stand_in = StandIn(solver, rule)
    except (AttributeError, Differs, KeyError, TypeError, ValueError) as error:
        return None, str(error)
    reason = refusal(stand_in)
    return (None if reason else stand_in), reason
