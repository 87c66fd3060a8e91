"""A person's own functions, networks and Solver, held against fastfc's on small random inputs.

Whatever differs raises :class:`Differs`, whose text says how.
"""

import contextlib
import copy
import functools
import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fastfc.course.differences import NEXT, SEED, Differs, Results, compare, guarded, quiet
from fastfc.course.stand_in import StandIn, twin_of
from fastfc.ops.cases import Case, Sizes, build, normal
from fastfc.ops.registry import OPS, use_backend
from fastfc.optim import STATE

__all__ = [
    "GROUPS",
    "Differs",
    "check_functions",
    "check_network",
    "check_solver",
    "compare",
    "network_results",
    "quiet",
    "small_networks",
]

_SIZES = Sizes(6, 5, 4)
_FEATURES, _CLASSES, _HIDDEN, _ROWS = 5, 4, [6, 5], 8


def _groups() -> list[tuple[str, ...]]:
    groups: list[tuple[str, ...]] = []
    for name in OPS:
        if name.endswith("_forward"):
            backward = name.replace("forward", "backward")
            groups.append((name, *(other for other in OPS if other.startswith(backward))))
        elif "_backward" not in name:
            groups.append((name,))
    return groups


#: Operations that share a cache: they are replaced together or not at all.
GROUPS = _groups()


# --------------------------------------------------------------------------------------------- functions


def check_functions(own: Mapping[str, Callable], ours: Mapping[str, Callable]) -> bool:
    """Hold the functions of a group, a forward pass and its backward passes or a single one, against fastfc's.

    Both get copies of the same arguments and the same random stream; each backward pass gets
    the cache of its own forward pass.

    Returns
    -------
    bool
        Whether the person's own function changes its first argument in place.

    Raises
    ------
    Differs
        At the first result that differs.
    """
    first, *backward = own
    for name, function in own.items():
        theirs, expected = (len(inspect.signature(f).parameters) for f in (function, ours[name]))
        if theirs != expected:
            raise Differs(f"{name} takes {theirs} arguments instead of {expected}")
    in_place = False
    for seed, scale in enumerate((1.0, 1e-3)):
        cases = {name: build(name, _SIZES, np.float64, seed, _scaled(scale)) for name in own}
        for args in _variants(cases[first]):
            mine, reference = copy.deepcopy(args), copy.deepcopy(args)
            np.random.seed(SEED)
            result = _run(first, own[first], mine)
            got = {**_results(cases[first], result, mine), NEXT: np.random.random_sample()}
            np.random.seed(SEED)
            expected_result = _run(first, ours[first], reference)
            wanted = {**_results(cases[first], expected_result, reference), NEXT: np.random.random_sample()}
            _compare(cases[first], got, wanted)
            in_place = in_place or not np.array_equal(mine[0], args[0])
            if any(isinstance(arg, dict) and arg.get("mode") == "test" for arg in args):
                continue
            for name in backward:
                dout = cases[name].args[0]
                gradients = _run(name, own[name], (dout.copy(), result[1]))
                expected_gradients = _run(name, ours[name], (dout.copy(), expected_result[1]))
                _compare(
                    cases[name], _results(cases[name], gradients, ()), _results(cases[name], expected_gradients, ())
                )
    return in_place


def _scaled(scale: float) -> Callable[..., np.ndarray]:
    return lambda rng, name, shape: scale * normal(rng, name, shape)


def _variants(case: Case) -> Iterator[tuple[Any, ...]]:
    """The case's arguments; with nothing but what is required in their dictionaries; in test mode; without any."""
    yield case.args
    changes: list[Callable[[dict], dict | None]] = []
    if any(isinstance(arg, dict) for arg in case.args):
        changes.append(lambda d: {key: d[key] for key in ("mode", "p", "learning_rate") if key in d})
    if any(isinstance(arg, dict) and "mode" in arg for arg in case.args):
        changes.append(lambda d: {**d, "mode": "test"} if "mode" in d else d)
    if _is_rule(case.name):
        changes.append(lambda d: None)
    for change in changes:
        yield tuple(change(arg) if isinstance(arg, dict) else arg for arg in case.args)


def _is_rule(name: str) -> bool:
    return OPS[name].module == "optim"


def _run(name: str, function: Callable, args: tuple[Any, ...]) -> Any:
    """The result of a function; Differs if it raises or is not written yet."""
    result = guarded(name, lambda: function(*args))
    main = result[0] if isinstance(result, tuple) and result else result
    if main is None:
        raise Differs(f"{name} is not implemented: it returns None")
    if (name.endswith("_forward") or _is_rule(name)) and not (isinstance(result, tuple) and len(result) == 2):
        raise Differs(f"{name} does not return a pair")
    if _is_rule(name):
        # State that a rule forgets shows at the next step.
        return guarded(name, lambda: function(result[0], args[1], result[1]))
    return result


def _results(case: Case, result: Any, args: tuple[Any, ...]) -> Results:
    """The results that count, under the names that the course gives them."""
    names = _result_names(case.name)
    try:
        values = case.results(result, args)
    except (KeyError, StopIteration):
        raise Differs(f"{case.name} does not put {', '.join(names[1:])} where the next call looks for it") from None
    except TypeError:
        raise Differs(f"{case.name} returns {type(result).__name__} instead of {', '.join(names)}") from None
    if len(values) != len(names):
        raise Differs(f"{case.name} returns {len(values)} values instead of {', '.join(names)}")
    results: Results = dict(zip(names, values, strict=True))
    if _is_rule(case.name):
        # A wrong state explains a wrong w: it comes first.
        config = {f"config[{key!r}]": value for key, value in result[1].items() if np.ndim(value) == 0}
        return config | {what: results[what] for what in reversed(names)}
    return results


def _result_names(name: str) -> list[str]:
    if _is_rule(name):
        return ["next_w", *(f"config[{key!r}]" for key in STATE[name])]
    if name.endswith("_forward"):
        statistics = ["bn_param['running_mean']", "bn_param['running_var']"]
        return ["out", *(statistics if "batchnorm" in name else [])]
    if "_backward" in name:
        weights = ["dw", "db"] if "affine" in name else []
        return ["dx", *weights, *(["dgamma", "dbeta"] if "norm" in name else [])]
    return ["penalty", "dw"] if name == "l2_penalty" else ["loss", "dx"]


def _compare(case: Case, got: Results, wanted: Results) -> None:
    sizes = {
        what: float(np.max(magnitude, initial=0.0))
        for what, magnitude in zip(_result_names(case.name), case.magnitudes, strict=True)
    }
    try:
        compare(got, wanted, case.terms, sizes)
    except Differs as difference:
        raise Differs(f"{case.name}: {difference}") from None


# ---------------------------------------------------------------------------------------------- networks


def small_networks(network: type) -> Iterator[tuple[str, Callable[[], Any]]]:
    """For each normalization, with and without dropout: what to call the network, and how to make it.

    `network` may be FullyConnectedNet of any year.
    """
    known = inspect.signature(network).parameters
    dropout = next((name for name in ("dropout_keep_ratio", "dropout") if name in known), None)
    norms: list[dict[str, Any]] = [{}]
    if "normalization" in known:
        norms += [{"normalization": "batchnorm"}, {"normalization": "layernorm"}]
    elif "use_batchnorm" in known:
        norms.append({"use_batchnorm": True})
    fixed = {
        "input_dim": _FEATURES,
        "num_classes": _CLASSES,
        "reg": 0.3,
        "weight_scale": 0.5,
        "dtype": np.float64,
    }
    for norm in norms:
        for chosen in [norm, {**norm, dropout: 0.7}] if dropout is not None else [norm]:
            what = f"{network.__name__}({', '.join(f'{key}={value!r}' for key, value in chosen.items())})"
            options = {key: value for key, value in {**fixed, **chosen}.items() if key in known}
            yield what, functools.partial(_made, network, options)


def _made(network: type, options: dict[str, Any]) -> Any:
    np.random.seed(SEED)
    return guarded("the constructor", lambda: network(list(_HIDDEN), **options))


def network_results(model: Any, shape: tuple[int, ...] = (_FEATURES,)) -> Results:
    """Loss and gradients in training mode, scores in test mode, and where the random stream then stands."""
    rng = np.random.default_rng(SEED)
    last = f"b{sum(name.startswith('W') for name in model.params)}"
    X, y = rng.standard_normal((_ROWS, *shape)), rng.integers(0, model.params[last].size, _ROWS)
    np.random.seed(SEED)
    answer = guarded("loss", lambda: model.loss(X, y))
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
        raise Differs("loss(X, y) does not return loss, grads")
    loss, grads = answer
    scores = guarded("loss", lambda: model.loss(X))
    results = {"loss": loss, **{f"grads[{name!r}]": grad for name, grad in grads.items()}, "scores": scores}
    return {**copy.deepcopy(results), NEXT: np.random.random_sample()}


def check_network(model: Any, shape: tuple[int, ...] = (_FEATURES,)) -> None:
    """Hold a copy of a course network against fastfc's with the same parameters, both in float64.

    Raises
    ------
    Differs
        If loss, a gradient, scores or the use of the random stream differ, or the model
        does not follow the course's.
    """
    try:
        twin = twin_of(_in_float64(model))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Differs(f"it does not follow the course's network: {error}") from None
    got = network_results(_in_float64(model), shape)
    with use_backend("reference"):
        expected = network_results(twin, shape)
    compare_networks(got, expected, sum(twin.dims))


def compare_networks(got: Results, expected: Results, width: int = _FEATURES + sum(_HIDDEN) + _CLASSES) -> None:
    """Raise Differs where two answers of :func:`network_results` do; `width` is that of all layers together."""
    gradients = [value for what, value in expected.items() if what.startswith("grads")]
    # Biases before batch normalization have no true gradient: what they get is the others' rounding.
    size = max(float(np.max(np.abs(value))) for value in gradients)
    compare(got, expected, 6 * (width + _ROWS), dict.fromkeys(expected, size))


def _in_float64(model: Any) -> Any:
    """A copy of a course network that computes in float64."""
    model = copy.deepcopy(model)
    model.params = {name: np.array(value, np.float64) for name, value in model.params.items()}
    if hasattr(model, "dtype"):
        model.dtype = np.float64
    for param in getattr(model, "bn_params", []):
        for key in ("running_mean", "running_var"):
            if key in param:
                param[key] = np.array(param[key], np.float64)
    return model


# ------------------------------------------------------------------------------------------------ Solver

_STEPS = 6


def check_solver(solver: type, train: Callable, make_network: Callable[[], Any], rule: str) -> None:
    """Hold a short training by a person's own Solver against fastfc's loop on another one of the same.

    Raises
    ------
    Differs
        If printed lines, histories, parameters or the use of the random stream differ.
    """
    rng = np.random.default_rng(SEED)
    X, y = rng.standard_normal((3 * _ROWS, _FEATURES)), rng.integers(0, _CLASSES, 3 * _ROWS)
    data = {"X_train": X, "y_train": y, "X_val": X[: 2 * _ROWS] + 0.1, "y_val": y[: 2 * _ROWS]}
    options = {"lr_decay": 0.5, "batch_size": _ROWS, "num_epochs": _STEPS // 3, "num_train_samples": _ROWS}

    def trained(run: Callable[[Any], None]) -> Results:
        np.random.seed(SEED)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            made = solver(
                make_network(), dict(data), update_rule=rule, optim_config={"learning_rate": 1e-2}, print_every=2,
                **options,
            )  # fmt: skip
            run(made)
        params = {f"params[{name!r}]": value for name, value in made.model.params.items()}
        return {
            "loss_history": made.loss_history,
            "train_acc_history": made.train_acc_history,
            "val_acc_history": made.val_acc_history,
            "best_val_acc": made.best_val_acc,
            "epoch": made.epoch,
            **params,
            **{f"best_{what}": made.best_params[what[8:-2]] for what in params},
            NEXT: np.random.random_sample(),
            "printed": printed.getvalue(),
        }

    got = guarded("train", lambda: trained(train))
    with use_backend("reference"):
        try:
            expected = trained(lambda made: StandIn(made, rule).run())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Differs(f"it does not follow the course's Solver: {error}") from None
    printed = got.pop("printed"), expected.pop("printed")
    terms = _STEPS * 6 * (_FEATURES + sum(_HIDDEN) + _CLASSES + _ROWS)
    compare(got, expected, terms, dict.fromkeys(expected, 1.0))
    if printed[0] != printed[1]:
        raise Differs("the printed lines are others")
