"""Update rules for networks in somebody else's loop."""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fastfc import optim
from fastfc._arguments import number, require_mapping, require_unmasked
from fastfc._ranges import require_count
from fastfc.backend import get_backend
from fastfc.network import Network
from fastfc.ops.rules import MOST_HYPERPARAMETERS, RULES
from fastfc.training.calls import new_call, plan_of
from fastfc.training.compiling import kernel
from fastfc.training.memory import PARAMETERS
from fastfc.training.plan import parameters_of, set_kernels, state_arrays_of

__all__ = ["Optimizer"]


def _require_names(configs: Mapping[str, Any], net: Network) -> None:
    """ValueError unless all configurations are of parameters that the network has."""
    unknown = [name for name in configs if name not in net.params.shapes]
    if unknown:
        raise ValueError(f"configs: expected names among {', '.join(net.params.shapes)}, got {unknown[0]!r}")


def _positive(name: str, value: Any) -> float:
    """A bound as a float; an error that names it unless it is a finite number above 0."""
    bound = number(name, value)
    if not 0 < bound < float("inf"):
        raise ValueError(f"{name}: expected None or a positive number, got {value}")
    return bound


class _State:
    """A rule's memory of a network: its arrays, and how many steps it has taken."""

    def __init__(self, net: Network, rule: str) -> None:
        self.plan = plan_of(net._net, net.grads, 1, getattr(optim, rule))
        self.call = new_call(net.dtype)
        self.steps = 0
        self.hyperparameters = self.plan.threads[0].hyperparameters.reshape(-1, MOST_HYPERPARAMETERS)
        # The numbers that stand there, and the factor of their learning rates.
        self.given: tuple[np.ndarray | None, float] = (None, 1.0)
        shapes = net.params.shapes
        #: Name of a parameter -> name of an array -> view.
        self.arrays = {
            name: {
                key: view.reshape(shapes[name])
                for key, view in zip(RULES[rule].state, state_arrays_of(parameter, self.plan), strict=True)
            }
            for name, parameter in parameters_of(self.plan, net._net)
        }


class Optimizer:
    """An update rule that takes a step for all parameters of a :class:`fastfc.Network` at once.

    Parameters
    ----------
    rule : str
        The name of a function in :mod:`fastfc.optim`.
    learning_rate : float, optional
    configs : dict of dict, optional
        Other hyperparameters by the names of parameters, such as ``{"b1": {"learning_rate": 1e-4}}``.
    **hyperparameters : float
        As the rule names them; what is missing is its default.

    Attributes
    ----------
    rule : str

    Raises
    ------
    ValueError
        If there is no such rule, or a hyperparameter is out of range.
    TypeError
        If the rule has no such hyperparameter, or it is no number.

    Notes
    -----
    It keeps a state for each network that it has updated, for as long as there is the network. Like the network, it
    is for one thread at a time. It can be copied and pickled as long as it has no state of any network; after that
    :meth:`state_dict` has what is to be kept.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> net, optimizer = fastfc.Network([2, 1], seed=0), fastfc.Optimizer("adam", learning_rate=0.1)
    >>> X, y = np.eye(2), np.array([[1.0], [-1.0]])
    >>> for _ in range(200):
    ...     _ = net.backward(net.forward(X) - y)
    ...     optimizer.step(net)
    >>> bool(np.abs(net.forward(X) - y).max() < 0.05)
    True
    """

    def __init__(
        self,
        rule: str = "adam",
        *,
        learning_rate: float | None = None,
        configs: Mapping[str, Mapping[str, float]] | None = None,
        **hyperparameters: float,
    ) -> None:
        if not isinstance(rule, str) or rule not in RULES:
            raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}")
        self.rule = rule
        self._values = {key: float(value) for key, value in RULES[rule].defaults.items() if key != "t"}
        self._states: WeakKeyDictionary[Network, _State] = WeakKeyDictionary()
        if learning_rate is not None:
            hyperparameters["learning_rate"] = learning_rate
        self._configs = self._checked_configs(configs or {})
        self.set_hyperparameters(**hyperparameters)

    def __repr__(self) -> str:
        told = "".join(f", {key}={value:g}" for key, value in self._values.items())
        return f"Optimizer({self.rule!r}{told})"

    def __getstate__(self) -> dict[str, Any]:
        if self._states:
            raise TypeError("an Optimizer that has updated a network cannot be copied or pickled; use state_dict")
        return {"rule": self.rule, "hyperparameters": self._values, "configs": self._configs}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["rule"], configs=state["configs"], **state["hyperparameters"])  # type: ignore[misc]

    @property
    def hyperparameters(self) -> dict[str, float]:
        """A copy of the rule's hyperparameters; :meth:`set_hyperparameters` changes them."""
        return dict(self._values)

    @property
    def learning_rate(self) -> float:
        """The rule's learning rate, which can be assigned to."""
        return self._values["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.set_hyperparameters(learning_rate=value)

    def set_hyperparameters(self, **hyperparameters: float) -> None:
        """Use these hyperparameters from the next step on.

        Parameters
        ----------
        **hyperparameters : float
            Those of the rule, by their names.

        Raises
        ------
        TypeError, ValueError
            As the constructor; nothing has changed then.
        """
        self._use(self._checked(hyperparameters))

    def _checked(self, hyperparameters: Mapping[str, Any]) -> dict[str, float]:
        """All hyperparameters, with these in the place of those that are."""
        values = dict(self._values)
        for name, value in hyperparameters.items():
            if name not in values:
                raise TypeError(f"{name}: expected a hyperparameter of {self.rule}, which are: {', '.join(values)}")
            values[name] = number(name, value)
            if not np.isfinite(values[name]):
                raise ValueError(f"{name}: expected a finite number, got {value}")
            if name in RULES[self.rule].averaging and not 0 <= values[name] < 1:
                raise ValueError(f"{name}: expected 0 <= {name} < 1, got {value}")
        return values

    def _checked_configs(self, configs: Any) -> dict[str, dict[str, float]]:
        """The hyperparameters of single parameters; which parameters there are is known with the network."""
        require_mapping("configs", configs)
        found = {}
        for name, config in configs.items():
            require_mapping(f"configs[{name!r}]", config)
            checked = self._checked(config)
            found[name] = {key: checked[key] for key in config}
        return found

    def _use(self, values: dict[str, float]) -> None:
        self._values = values
        self._row = self._row_of(values)

    def _row_of(self, values: Mapping[str, float]) -> np.ndarray:
        """Hyperparameters in the order of the rule's record; the steps taken, `t`, are counted apart."""
        row = np.zeros(MOST_HYPERPARAMETERS)
        row[: len(RULES[self.rule].defaults)] = [values.get(key, 0) for key in RULES[self.rule].defaults]
        return row

    def _give(self, state: _State, factor: float) -> None:
        """Tell compiled code the hyperparameters, the learning rates times a factor."""
        state.hyperparameters[:] = self._row
        for name, config in self._configs.items():
            kind = name.rstrip("0123456789")
            place = (int(name[len(kind) :]) - 1) * len(PARAMETERS) + PARAMETERS.index(kind)
            state.hyperparameters[place] = self._row_of({**self._values, **config})
        state.hyperparameters[:, 0] *= factor
        state.given = self._row, factor

    def step(
        self, net: Network, *, max_norm: float | None = None, max_value: float | None = None, factor: float = 1.0
    ) -> None:
        """Every parameter of a network takes a step by its gradient in ``net.grads``.

        Parameters
        ----------
        net : Network
        max_norm : float or None
            If given, all gradients are multiplied first by one number, such that the norm of all of them together is
            at most this. A norm that is not finite leaves them as they are.
        max_value : float or None
            If given, each gradient is clipped, after that, to lie within this of 0.
        factor : float
            By which all learning rates are multiplied in this step; of a schedule, for instance.

        Raises
        ------
        TypeError, ValueError
            If an argument is not such; nothing has changed then.

        Notes
        -----
        ``net.grads`` are as clipped after it.
        """
        max_norm = 0.0 if max_norm is None else _positive("max_norm", max_norm)
        max_value = 0.0 if max_value is None else _positive("max_value", max_value)
        factor = number("factor", factor)
        if not np.isfinite(factor):
            raise ValueError(f"factor: expected a finite number, got {factor}")
        state = self._states.get(net) if type(net) is Network else None
        if state is None:
            state = self._state_of(net)
        if get_backend() == "fast":
            if state.given[0] is not self._row or state.given[1] != factor:
                self._give(state, factor)
            plan, call = state.plan, state.call
            plan.max_norm, plan.max_value, call.step = max_norm, max_value, state.steps
            if plan.rule == 0:
                # This is the first step.
                set_kernels(plan, net._net, getattr(optim, self.rule))
            kernel("apply_update", net.dtype)(plan, 0, call)
        else:
            self._step_by_reference(net, state, max_norm, max_value, factor)
        state.steps += 1

    def _state_of(self, net: Network) -> _State:
        """The rule's memory of a network; new if there is none yet."""
        if not isinstance(net, Network):
            raise TypeError(f"net: expected a Network, got {type(net).__name__}")
        if net not in self._states:
            _require_names(self._configs, net)
            self._states[net] = _State(net, self.rule)
        return self._states[net]

    def _step_by_reference(self, net: Network, state: _State, max_norm: float, max_value: float, factor: float) -> None:
        """By the operations of whatever backend is chosen."""
        grads, rule = net.grads, getattr(optim, self.rule)
        if max_norm != 0:
            norm = np.sqrt(sum(np.sum(np.square(gradient, dtype=np.float64)) for gradient in grads.values()))
            if norm > max_norm and np.isfinite(norm):
                for gradient in grads.values():
                    gradient *= gradient.dtype.type(max_norm / norm)
        for name, arrays in state.arrays.items():
            if max_value != 0:
                np.clip(grads[name], -max_value, max_value, out=grads[name])
            values = {**self._values, **self._configs.get(name, {})}
            values["learning_rate"] *= factor
            counted = {"t": state.steps} if "t" in RULES[self.rule].defaults else {}
            net.params[name], config = rule(net.params[name], grads[name], {**values, **counted, **arrays})
            for key, array in arrays.items():
                array[...] = config[key]

    def state_dict(self, net: Network) -> dict[str, Any]:
        """Copies of all that the next step for a network depends on, beside the network itself.

        Parameters
        ----------
        net : Network

        Returns
        -------
        dict
            ``rule``, ``hyperparameters``, ``configs``, ``steps``, and ``state``: for each parameter by name the rule's
            arrays by name.
        """
        state = self._state_of(net)
        arrays = {name: {key: array.copy() for key, array in own.items()} for name, own in state.arrays.items()}
        configs = {name: dict(config) for name, config in self._configs.items()}
        found = {"rule": self.rule, "hyperparameters": self.hyperparameters, "configs": configs}
        return found | {"steps": state.steps, "state": arrays}

    def load_state_dict(self, net: Network, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` has returned, hyperparameters included.

        Parameters
        ----------
        net : Network
        state : dict

        Raises
        ------
        TypeError, ValueError
            If it is not this rule's for such a network; nothing has changed then.
        """
        require_mapping("state", state)
        missing = [key for key in ("rule", "hyperparameters", "steps", "state") if key not in state]
        if missing:
            raise ValueError(f"state: expected what state_dict returns; missing {', '.join(missing)}")
        if state["rule"] != self.rule:
            raise ValueError(f"state: expected the rule {self.rule!r}, got {state['rule']!r}")
        require_mapping("hyperparameters", state["hyperparameters"])
        values, configs = self._checked(state["hyperparameters"]), self._checked_configs(state.get("configs", {}))
        require_count("steps", state["steps"], 0)
        require_mapping("state", state["state"])
        own = self._state_of(net)
        _require_names(configs, net)
        extra = [name for name in state["state"] if name not in own.arrays]
        if extra:
            raise ValueError(f"state: expected the parameters {', '.join(own.arrays)}, got {extra[0]!r} too")
        copies = []
        for name, arrays in own.arrays.items():
            found = state["state"].get(name, {})
            require_mapping(name, found)
            for key, array in arrays.items():
                given = found.get(key)
                if not isinstance(given, np.ndarray) or given.shape != array.shape or given.dtype.kind not in "biuf":
                    raise ValueError(f"state: expected an array {array.shape} for {key} of {name}")
                require_unmasked(f"{key} of {name}", given)
                if key in RULES[self.rule].squares and (given < 0).any():
                    raise ValueError(f"state: expected no negative numbers in {key} of {name}, which are squares")
                copies.append((array, given))
        self._configs = configs
        self._use(values)
        own.steps = int(state["steps"])
        for array, given in copies:
            array[...] = given
