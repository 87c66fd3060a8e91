"""One record for each kind of thing: everything that can be chosen has a record, and every record has all its parts."""

import importlib
import inspect

import numpy as np
import pytest
from rule_lists import ADAPTIVE, OTHERS, RULES, rates

import fastfc
from fastfc import FullyConnectedNet, Solver, cli, layer_utils, optim
from fastfc.classifiers import _network
from fastfc.ops import cases
from fastfc.ops.activations import ACTIVATIONS
from fastfc.ops.blocks import BLOCKS, block_name
from fastfc.ops.losses import LOSSES
from fastfc.ops.norms import NORMS
from fastfc.ops.registry import BACKENDS, OPS
from fastfc.ops.rules import MOST_HYPERPARAMETERS
from fastfc.ops.rules import RULES as RECORDS
from fastfc.training import memory, plan


def functions(module):
    """The functions that a module defines for others."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("module", ["activation", "affine", "dropout", "loss", "norm", "optim", "layer_utils"])
def test_whatever_the_reference_has_is_in_the_registry(module):
    reference = importlib.import_module(f"{BACKENDS['reference']}.{module}")
    blocks = {"block_forward", "block_backward"} if module == "layer_utils" else set()
    # An activation's magnitudes say how far two correct results of it may be apart.
    names = {name for name in functions(reference) - blocks if not name.endswith("_magnitudes")}
    assert names == {name for name, operation in OPS.items() if operation.module == module}


def test_whatever_the_reference_has_a_module_for():
    reference = importlib.import_module(BACKENDS["reference"])
    modules = {path.stem for path in importlib.resources.files(reference).iterdir() if path.suffix == ".py"}
    assert modules - {"__init__"} == {operation.module for operation in OPS.values()}


@pytest.mark.parametrize("kind", [ACTIVATIONS, LOSSES, NORMS, RECORDS], ids=["activations", "losses", "norms", "rules"])
def test_records_are_found_by_their_own_names(kind):
    assert kind
    assert all(record.name == name for name, record in kind.items())


LAYERS = [record for kind in (ACTIVATIONS, LOSSES, NORMS) for record in kind.values()]


@pytest.mark.parametrize("name", [operation for record in LAYERS for operation in record.operations])
def test_operations_of_records_have_twins_and_cases(name):
    assert all(callable(OPS[name].twin(backend)) for backend in BACKENDS)
    assert name in cases.BUILDERS


def test_every_operation_has_a_case():
    assert set(cases.BUILDERS) == set(OPS)


# ------------------------------------------------------------------------------------------------- rules


def test_rules_are_those_that_users_see():
    assert sorted(RULES) == sorted(optim.__all__) == sorted(cli.train.RULES) == sorted(ADAPTIVE + OTHERS)


@pytest.mark.parametrize("name", RULES)
def test_a_rules_record(name):
    rule = RECORDS[name]
    assert next(iter(rule.defaults)) == "learning_rate"
    assert len(rule.defaults) <= MOST_HYPERPARAMETERS
    assert set(rule.averaging) <= set(rule.defaults)
    assert not set(rule.state) & set(rule.defaults)
    assert optim.DEFAULTS[name] == rule.defaults
    assert optim.STATE[name] == rule.state
    assert callable(getattr(importlib.import_module("fastfc.kernels.optim"), rule.run_kernel))
    magnitudes = rule.magnitudes(rule.defaults, *np.ones((2 + len(rule.state), 3)))
    assert [np.shape(magnitude) for magnitude in magnitudes] == [(3,)] * (1 + len(rule.state))


@pytest.mark.parametrize("name", RULES)
def test_the_compiled_run_knows_every_rule(name):
    """And gives the reference's numbers; a rule that it did not know would train by the generic loop, slowly."""
    assert plan.RULES[getattr(optim, name)] is RECORDS[name]
    X, y = np.random.default_rng(0).standard_normal((12, 3)), np.arange(12) % 2
    found = {}
    for backend in ("reference", "fast"):
        np.random.seed(0)
        # Other values than the defaults: one in another's place is another run.
        given = {key: 0.9 * value for key, value in RECORDS[name].defaults.items() if key != "t"}
        solver = Solver(
            FullyConnectedNet([4], 3, 2, weight_scale=0.5, dtype=np.float64),
            {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, update_rule=name, num_epochs=3, batch_size=4,
            optim_config={**given, "learning_rate": rates()[name]}, verbose=False,
        )  # fmt: skip
        with fastfc.use_backend(backend):
            solver.train()
        assert solver.engine_ == {"fast": "compiled", "reference": "generic"}[backend]
        found[backend] = solver
    bound = 2.0**9 * fastfc.tolerance(np.float64, 9 * 60)
    np.testing.assert_allclose(found["fast"].loss_history, found["reference"].loss_history, rtol=bound)
    configs = found["fast"].optim_configs["W1"]
    assert set(configs) == {*RECORDS[name].defaults, *RECORDS[name].state}
    for key in RECORDS[name].state:
        np.testing.assert_allclose(configs[key], found["reference"].optim_configs["W1"][key], rtol=bound, atol=bound)


# ------------------------------------------------------------------------------------------------ networks


def test_normalizations_are_those_that_users_see():
    assert set(memory.NORMS) == set(_network.NORMALIZATIONS) == {norm for norm, _ in BLOCKS} == {None, *NORMS}


def test_the_blocks_names():
    names = [block_name(*block, direction) for block in BLOCKS for direction in ("forward", "backward")]
    assert len(names) == 12
    assert sorted(names) == sorted(layer_utils.__all__)
    assert names[0] == "affine_relu_forward"
    assert "affine_batchnorm_relu_dropout_backward" in names
