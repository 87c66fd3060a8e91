"""fastfc.patch on a student's own cs231n package, whole and with bugs."""

import contextlib
import copy
import importlib
import inspect
import logging
import pickle
import re
import sys
import types
import warnings

import course
import numpy as np
import pytest
from test_same_stream import BATCH, BOUND, CLASSES, FEATURES, HIDDEN, NETS, ROWS, RULES, assert_close

import fastfc
from fastfc.backend import OPS
from fastfc.course.compare import GROUPS

# A function and what to write instead, for each bug; and what the warning says.
BUGS = {
    "adam forgets t": (
        "optim.py",
        'config["t"] += 1',
        "pass",
        "adam",
        r"config\['t'\] differs by up to 2, .*: 3 instead of 5",
    ),
    "adam does not keep t": (
        "optim.py",
        'beta1, beta2 = config["beta1"], config["beta2"]',
        'beta1, beta2, config = config["beta1"], config["beta2"], {**config, "t": 0}',
        "adam",
        r"adam: config\['t'\] differs by up to",
    ),
    "epsilon inside the root": (
        "optim.py",
        '(np.sqrt(vt) + config["epsilon"])',
        'np.sqrt(vt + config["epsilon"])',
        "adam",
        r"adam: next_w differs by up to [\d.e-]+, where [\d.e-]+ is allowed: \S+ instead of \S+ at \[\d, \d\]",
    ),
    "velocity not kept": ("optim.py", 'config["velocity"] = v', "pass", "sgd_momentum", r"config\['velocity'\]"),
    "momentum on the wrong side": (
        "layers.py",
        "running_mean = momentum * running_mean + (1 - momentum) * mu",
        "running_mean = (1 - momentum) * running_mean + momentum * mu",
        "batchnorm_forward",
        r"batchnorm_forward: bn_param\['running_mean'\] differs",
    ),
    "running statistics not kept": (
        "layers.py",
        'bn_param["running_var"] = running_var',
        "pass",
        "batchnorm_forward",
        r"running_var",
    ),
    "batchnorm's test mode": (
        "layers.py",
        "(x - running_mean) / np.sqrt(running_var + eps) + beta",
        "(x - running_mean) / (np.sqrt(running_var) + eps) + beta",
        "batchnorm_forward",
        "batchnorm_forward: out differs",
    ),
    "dropout without /p": ("layers.py", "< p) / p", "< p)", "dropout_forward", "dropout_forward: out differs"),
    "dropout drops p": ("layers.py", "< p) / p", ">= p) / (1 - p)", "dropout_forward", "dropout_forward: out differs"),
    "dropout draws twice": (
        "layers.py",
        "out = x * mask",
        "out = x * mask + 0 * np.random.rand()",
        "dropout_forward",
        "the next random number differs",
    ),
    "db keeps its axis": (
        "layers.py",
        "db = np.sum(dout, axis=0)",
        "db = np.sum(dout, axis=0, keepdims=True)",
        "affine_forward",
        r"affine_backward: db has shape \(1, 5\) instead of \(5,\)",
    ),
    "layernorm over the batch": (
        "layers.py",
        "np.sqrt(np.var(x, axis=1, keepdims=True) + eps)",
        "np.sqrt(np.var(x, axis=0, keepdims=True) + eps)",
        "layernorm_forward",
        "layernorm_forward: out differs",
    ),
    "loss not averaged": (
        "layers.py",
        "probs[np.arange(n), y])) / n",
        "probs[np.arange(n), y]))",
        "softmax_loss",
        "softmax_loss: loss differs",
    ),
    "an argument more": (
        "layers.py",
        "def relu_forward(x)",
        "def relu_forward(x, slope)",
        "relu_forward",
        "takes 2 arguments instead of 1",
    ),
    "pass": (
        "layers.py",
        "out = x * (x > 0)",
        "out = None",
        "relu_forward",
        "relu_forward is not implemented: it returns None",
    ),
    "NotImplementedError": (
        "layers.py",
        "dx = dout.copy()",
        "raise NotImplementedError",
        "relu_forward",
        "relu_backward is not implemented",
    ),
    "no pair": (
        "layers.py",
        "return out, cache\n\n\ndef relu_backward",
        "return out\n\n\ndef relu_backward",
        "relu_forward",
        "relu_forward does not return a pair",
    ),
}


@pytest.fixture(autouse=True)
def _taken_back():
    yield
    fastfc.unpatch()


@pytest.fixture
def cs231n():
    with course.imported() as package:
        yield package


@pytest.fixture
def broken(tmp_path):
    """Import the package with edits (file, old text, new text)."""
    with contextlib.ExitStack() as stack:
        yield lambda *edits: stack.enter_context(course.imported(course.edited(tmp_path, *edits)))


def modules():
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "cs231n"}


def contents():
    """Every global of the package, and the Solver's methods."""
    found = {(name, key): value for name, module in modules().items() for key, value in vars(module).items()}
    found |= {("Solver", key): value for key, value in vars(sys.modules["cs231n.solver"].Solver).items()}
    return found


def changed(before, after):
    return {place for place, value in after.items() if value is not before.get(place)}


def patched_with_warnings(package):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastfc.patch(package)
    assert all(issubclass(warning.category, fastfc.PatchWarning) for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def made(package, net="plain", rule="adam", reg=0.1, dtype=np.float64, **options):
    """The package's own Solver with its own network, always the same."""
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((ROWS, 3, 3)), rng.integers(0, CLASSES, ROWS)
    data = {"X_train": X, "y_train": y, "X_val": X[:10] + 0.1, "y_val": y[:10]}
    np.random.seed(7)
    model = package.classifiers.fc_net.FullyConnectedNet(
        HIDDEN, FEATURES, CLASSES, reg=reg, weight_scale=0.3, dtype=dtype, **NETS[net]
    )
    options = {"num_train_samples": 20, "num_val_samples": 7, "num_epochs": 3, "verbose": False, **options}
    return package.solver.Solver(
        model, data, update_rule=rule, optim_config={"learning_rate": RULES[rule]}, lr_decay=0.9, batch_size=BATCH,
        **options,
    )  # fmt: skip


def assert_same_solver(got, expected):
    """All attributes of both Solvers and of their models, noise left out."""
    assert vars(got).keys() == vars(expected).keys()
    assert (got.epoch, got.best_val_acc) == (expected.epoch, expected.best_val_acc)
    assert got.train_acc_history == expected.train_acc_history
    assert got.val_acc_history == expected.val_acc_history
    assert_close(got.loss_history, expected.loss_history, "loss_history")
    assert vars(got.model).keys() == vars(expected.model).keys()
    assert got.model.dropout_param == expected.model.dropout_param
    assert (got.model.params is got.best_params) == (expected.model.params is expected.best_params)
    noise = ("b1", "b2") if expected.model.normalization == "batchnorm" else ()
    for name in expected.optim_configs:
        assert got.optim_configs[name].keys() == expected.optim_configs[name].keys()
    for kind in ("params", "best_params"):
        mine, theirs = (s.model.params if kind == "params" else s.best_params for s in (got, expected))
        assert type(mine) is dict
        assert list(mine) == list(theirs)
        for name in theirs.keys() - set(noise):
            assert type(mine[name]) is np.ndarray
            assert mine[name].dtype == theirs[name].dtype
            assert_close(mine[name], theirs[name], f"{kind} {name}")
    for name in expected.optim_configs.keys() - set(noise):
        for key, value in expected.optim_configs[name].items():
            assert_close(got.optim_configs[name][key], value, f"{name} {key}")
    for mine, theirs in zip(got.model.bn_params, expected.model.bn_params, strict=True):
        assert mine.keys() == theirs.keys()
        assert mine.get("mode") == theirs.get("mode")
        if "running_var" in theirs:
            assert_close(mine["running_var"], theirs["running_var"], "running_var")


def engine(caplog):
    """The message of the last patched training about itself."""
    return [record.getMessage() for record in caplog.records if "Solver.train" in record.getMessage()][-1]


# ------------------------------------------------------------------------------------------- what is replaced


def test_everything_of_the_course_is_replaced_and_taken_back(cs231n):
    before = contents()
    assert patched_with_warnings(cs231n) == []
    replaced = fastfc.patched()
    expected = {name for name in OPS if hasattr(cs231n.classifiers.fc_net, name) or hasattr(cs231n.optim, name)}
    assert {name.rsplit(".", 1)[1] for name in replaced} == {*expected, "train"}
    assert replaced["cs231n.layers.affine_forward"] == "fastfc.layers.affine_forward"
    assert replaced["cs231n.optim.adam"] == "fastfc.optim.adam"
    assert replaced["cs231n.solver.Solver.train"] == "fastfc.solver.Solver.train"
    # In every module that star-imports them.
    assert cs231n.layer_utils.affine_forward is cs231n.layers.affine_forward is cs231n.classifiers.fc_net.affine_forward
    during = contents()
    assert changed(before, during)
    assert {key for _, key in changed(before, during)} == {*expected, "train"}
    fastfc.unpatch()
    assert contents() == before
    assert not changed(before, contents())
    assert fastfc.patched() == {}


def test_a_name_will_do(cs231n):
    fastfc.patch("cs231n")
    assert "cs231n.layers.relu_forward" in fastfc.patched()


def test_names_imported_elsewhere_follow(cs231n, monkeypatch):
    elsewhere = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", elsewhere)
    own = cs231n.layers.relu_forward
    exec("from cs231n.layers import *\nfrom cs231n.layers import relu_forward as mine", vars(elsewhere))
    monkeypatch.setattr(sys.modules["__main__"], "relu_forward", own, raising=False)
    fastfc.patch(cs231n)
    replacement = cs231n.layers.relu_forward
    assert replacement is not own
    assert elsewhere.relu_forward is elsewhere.mine is sys.modules["__main__"].relu_forward is replacement
    fastfc.unpatch()
    assert elsewhere.relu_forward is elsewhere.mine is sys.modules["__main__"].relu_forward is own


def test_lazy_and_odd_modules_are_not_touched(cs231n, monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name):
            raise AssertionError(f"loaded by {name}")

    monkeypatch.setitem(sys.modules, "lazy_module", Lazy("lazy_module"))
    monkeypatch.setitem(sys.modules, "odd_module", None)
    fastfc.patch(cs231n)
    assert "cs231n.layers.relu_forward" in fastfc.patched()


def test_patching_twice_is_harmless(cs231n):
    before = contents()
    fastfc.patch(cs231n)
    during, replaced = contents(), fastfc.patched()
    assert patched_with_warnings(cs231n) == []
    assert not changed(during, contents())
    assert fastfc.patched() == replaced
    fastfc.unpatch()
    assert not changed(before, contents())
    fastfc.unpatch()
    assert not changed(before, contents())


def test_what_is_assigned_afterwards_stays(cs231n):
    fastfc.patch(cs231n)

    def mine(x):
        return x, x

    def train(self):
        return None

    cs231n.layers.relu_forward, cs231n.solver.Solver.train = mine, train
    fastfc.unpatch()
    assert cs231n.layers.relu_forward is mine
    assert cs231n.solver.Solver.train is train
    assert isinstance(cs231n.layer_utils.relu_forward, types.FunctionType)


def test_the_check_leaves_no_traces(broken, capsys):
    package = broken(("layers.py", "out = x * (x > 0)", 'print("here"); np.log(-1.0)\n    out = x * (x > 0)'))
    np.random.seed(3)
    state = np.random.get_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fastfc.patch(package)
    assert caught == []
    assert capsys.readouterr().out == ""
    assert state[2] == np.random.get_state()[2]
    np.testing.assert_array_equal(state[1], np.random.get_state()[1])
    assert "cs231n.layers.relu_forward" in fastfc.patched()


def test_replacements_look_like_the_own_functions(cs231n):
    own = cs231n.optim.adam
    signature = inspect.signature(own)
    fastfc.patch(cs231n)
    replacement = cs231n.optim.adam
    assert inspect.signature(replacement) == signature
    assert replacement.__name__ == "adam"
    assert repr(replacement) == "<fastfc.optim.adam in place of cs231n.optim.adam>"
    assert copy.deepcopy(replacement) is replacement
    pickled = pickle.dumps(replacement)
    assert pickle.loads(pickled) is replacement
    assert b"fastfc" not in pickled
    fastfc.unpatch()
    assert pickle.loads(pickled) is own
    assert pickle.loads(pickle.dumps(replacement)) is own


def test_own_argument_names_work(broken):
    """Until 2017 some rules had x and dx for w and dw."""
    package = broken(
        ("optim.py", "def rmsprop(w, dw, config=None):", "def rmsprop(x, dx, config=None):\n    w, dw = x, dx")
    )
    fastfc.patch(package)
    w, dw = np.ones(3), np.ones(3)
    result, config = package.optim.rmsprop(dx=dw, x=w)
    expected, _ = fastfc.optim.rmsprop(np.ones(3), dw)
    np.testing.assert_array_equal(result, expected)
    assert config["learning_rate"] == 1e-2


def test_rules_change_w_in_place_if_the_own_ones_do(cs231n):
    fastfc.patch(cs231n)
    for rule, in_place in {"sgd": True, "sgd_momentum": False, "rmsprop": False, "adam": False}.items():
        w = np.ones(3)
        result, _ = getattr(cs231n.optim, rule)(w, np.ones(3))
        assert (result is w) == in_place
        assert np.array_equal(w, np.ones(3)) == (not in_place)


def test_every_operation_with_a_cache_is_in_one_group():
    names = [name for group in GROUPS for name in group]
    assert sorted(names) == sorted(OPS)
    assert ("batchnorm_forward", "batchnorm_backward", "batchnorm_backward_alt") in GROUPS


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("bug", BUGS)
def test_what_differs_is_left_alone(broken, bug):
    file, old, new, name, message = BUGS[bug]
    package = broken((file, old, new))
    before = contents()
    messages = patched_with_warnings(package)
    home = "optim" if file == "optim.py" else "layers"
    own = f"cs231n.{home}.{name}"
    (warning,) = [text for text in messages if text.startswith(f"left alone: {own}")]
    assert re.search(message, warning)
    for member in next(group for group in GROUPS if name in group):
        assert f"cs231n.{home}.{member}" not in fastfc.patched()
        assert getattr(sys.modules[f"cs231n.{home}"], member) is before[f"cs231n.{home}", member]
        assert f"cs231n.{home}.{member}" in warning
    # The others are replaced all the same.
    assert "cs231n.layers.svm_loss" in fastfc.patched()
    assert "cs231n.optim.rmsprop" in fastfc.patched()
    assert len(messages) == len(set(messages))
    fastfc.unpatch()
    assert not changed(before, contents())


def test_a_last_layer_without_l2_is_shown(broken, caplog):
    package = broken(
        (
            "classifiers/fc_net.py",
            "for i in range(1, last + 1):\n            W = ",
            "for i in range(1, last):\n            W = ",
        )
    )
    own = package.solver.Solver.train
    (message,) = patched_with_warnings(package)
    assert "FullyConnectedNet(normalization='batchnorm', dropout_keep_ratio=0.7): loss differs" in message
    assert message.count("; also: grads['W3']\n") == 5
    assert package.solver.Solver.train is own
    assert "cs231n.layers.affine_forward" in fastfc.patched()
    expected, got = made(package), made(package)
    fastfc.unpatch()
    np.random.seed(1)
    expected.train()
    fastfc.patched()
    with pytest.warns(fastfc.PatchWarning):
        fastfc.patch(package)
    np.random.seed(1)
    got.train()
    assert_same_solver(got, expected)


def test_an_unfinished_normalization_keeps_its_own_loop_and_the_others_run_compiled(broken, caplog):
    package = broken(("layers.py", "cache = (x_norm, std, gamma)", "out, cache = None, None"))
    caplog.set_level(logging.DEBUG, "fastfc")
    messages = patched_with_warnings(package)
    (networks,) = [text for text in messages if text.startswith("these networks")]
    assert networks.count("normalization='layernorm'") == 2
    assert "normalization='batchnorm'" not in networks
    with fastfc.use_backend("fast"):
        made(package, "batchnorm+dropout").train()
        assert engine(caplog) == "cs231n.solver.Solver.train: a compiled run"
        with pytest.raises(TypeError):
            made(package, "layernorm").train()
    assert "its own training loop: loss raises" in engine(caplog)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('print("(Iteration %d', 'print("(Step %d', "printed lines"),
        (
            'config["learning_rate"] *= self.lr_decay',
            'config["learning_rate"] -= self.lr_decay',
            "loss_history differs",
        ),
        ("if val_acc > self.best_val_acc:", "if val_acc >= 0:", r"params\['W1'\] differs"),
    ],
)
def test_a_solver_of_another_kind_keeps_its_loop(broken, old, new, message):
    package = broken(("solver.py", old, new))
    own = package.solver.Solver.train
    (warning,) = patched_with_warnings(package)
    assert warning.startswith("left alone: cs231n.solver.Solver.train; ")
    assert re.search(message, warning)
    assert package.solver.Solver.train is own
    assert "cs231n.optim.adam" in fastfc.patched()


def test_a_network_that_looks_into_a_cache_takes_everything_back(broken):
    package = broken(
        (
            "classifiers/fc_net.py",
            "            caches.append(cache)\n",
            "            caches.append(cache)\n"
            "            if self.normalization == 'batchnorm' and mode == 'train':\n                cache[1]['std']\n",
        )
    )
    before = contents()
    (message,) = patched_with_warnings(package)
    assert message.startswith("none of the functions was replaced: with them, FullyConnectedNet(")
    assert not changed(before, contents())
    assert fastfc.patched() == {}


def test_a_mended_function_is_replaced_by_the_next_patch(broken, tmp_path):
    package = broken(("optim.py", 'config["t"] += 1', "pass"))
    (message,) = patched_with_warnings(package)
    assert "adam" in message
    assert "cs231n.optim.adam" not in fastfc.patched()
    (tmp_path / "cs231n" / "optim.py").write_text((course.SOURCE / "cs231n" / "optim.py").read_text())
    importlib.reload(package.optim)
    own = vars(package.optim).copy()
    assert patched_with_warnings(package) == []
    assert "cs231n.optim.adam" in fastfc.patched()
    assert "cs231n.optim.sgd" in fastfc.patched()
    assert package.optim.sgd is not own["sgd"]
    fastfc.unpatch()
    assert vars(package.optim) == own


# fc_net.py and layers.py as they were until 2017.
OLD_NETWORK = {
    "        dropout_keep_ratio=1,\n        normalization=None,": "        dropout=0,\n        use_batchnorm=False,",
    "self.normalization = normalization": "self.use_batchnorm = use_batchnorm",
    "dropout_keep_ratio != 1": "dropout > 0",
    "dropout_keep_ratio": "dropout",
    "self.normalization is not None": "self.use_batchnorm",
    "self.normalization is None": "not self.use_batchnorm",
    'self.normalization == "batchnorm"': "self.use_batchnorm",
    'self.normalization == "layernorm"': "False",
}


def test_a_package_of_2017(tmp_path, caplog):
    """Batch normalization or nothing; p is the probability to drop, so that dropout stays their own."""
    caplog.set_level(logging.DEBUG, "fastfc")
    folder = course.edited(tmp_path, ("layers.py", "< p) / p", ">= p) / (1 - p)"))
    path = folder / "cs231n" / "classifiers" / "fc_net.py"
    text = path.read_text()
    for old, new in OLD_NETWORK.items():
        text = text.replace(old, new)
    path.write_text(text)

    def trained(package, **options):
        like = made(package)
        np.random.seed(7)
        model = package.classifiers.fc_net.FullyConnectedNet(
            HIDDEN, FEATURES, CLASSES, reg=0.1, weight_scale=0.3, dtype=np.float64, **options
        )
        data = {key: getattr(like, key) for key in ("X_train", "y_train", "X_val", "y_val")}
        solver = package.solver.Solver(model, data, batch_size=BATCH, num_epochs=3, verbose=False)
        solver.train()
        return solver

    with course.imported(folder) as package, fastfc.use_backend("fast"):
        assert not hasattr(package.classifiers.fc_net.FullyConnectedNet([2]), "normalization")
        expected = [trained(package, use_batchnorm=True), trained(package, use_batchnorm=True, dropout=0.4)]
        layer, networks = patched_with_warnings(package)
        assert layer.startswith("left alone: cs231n.layers.dropout_forward")
        assert networks.count("\n") == 2
        assert "use_batchnorm=True, dropout=0.7" in networks
        got = [trained(package, use_batchnorm=True)]
        assert "a compiled run" in engine(caplog)
        got.append(trained(package, use_batchnorm=True, dropout=0.4))
        assert "its own training loop" in engine(caplog)
    for mine, theirs in zip(got, expected, strict=True):
        assert_close(mine.loss_history, theirs.loss_history, "loss_history")
        assert_close(mine.model.params["W2"], theirs.model.params["W2"], "W2")


@pytest.mark.parametrize("package", [None, 3, ["cs231n"]])
def test_neither_module_nor_name(package):
    with pytest.raises(TypeError, match="package: expected a module or its name"):
        fastfc.patch(package)


def test_modules_that_are_no_course_package():
    with pytest.raises(ValueError, match="json has none"):
        fastfc.patch("json")
    with pytest.raises(ValueError, match="fastfc itself"):
        fastfc.patch(fastfc)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        fastfc.patch("no_such_package")
    assert fastfc.patched() == {}


def test_an_import_that_fails_in_the_package_is_shown(broken):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        broken(("layers.py", "import numpy as np", "import no_such_module\nimport numpy as np"))


# ------------------------------------------------------------------------------------------------ trainings


@pytest.mark.parametrize("backend_name", ["fast", "reference"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", NETS)
def test_a_training_leaves_the_solver_as_its_own_loop_does(cs231n, net, rule, backend_name, caplog):
    caplog.set_level(logging.DEBUG, "fastfc")
    expected = made(cs231n, net, rule)
    expected.train()
    following = np.random.random_sample()
    with fastfc.use_backend(backend_name):
        fastfc.patch(cs231n)
        got = made(cs231n, net, rule)
        got.train()
    assert np.random.random_sample() == following
    assert_same_solver(got, expected)
    assert ("a compiled run" in engine(caplog)) == (backend_name == "fast")
    assert got.update_rule is getattr(cs231n.optim, rule)


def test_two_layer_net(cs231n, caplog):
    caplog.set_level(logging.DEBUG, "fastfc")

    def trained():
        solver = made(cs231n)
        np.random.seed(4)
        model = cs231n.classifiers.fc_net.TwoLayerNet(FEATURES, 6, CLASSES, reg=0.1)
        data = {key: getattr(solver, key) for key in ("X_train", "y_train", "X_val", "y_val")}
        solver = cs231n.solver.Solver(model, data, batch_size=BATCH, num_epochs=3, verbose=False)
        solver.train()
        return solver

    expected = trained()
    with fastfc.use_backend("fast"):
        fastfc.patch(cs231n)
        got = trained()
    assert "a compiled run" in engine(caplog)
    assert_close(got.loss_history, expected.loss_history, "loss_history")
    assert_close(got.model.params["W1"], expected.model.params["W1"], "W1")


def test_float32_stays_float32(cs231n):
    fastfc.patch(cs231n)
    solver = made(cs231n, dtype=np.float32)
    solver.train()
    assert {value.dtype for value in solver.model.params.values()} == {np.dtype(np.float32)}


def test_training_again_goes_on_as_in_their_loop(cs231n):
    """Theirs goes on in best_params itself: they are then the last parameters, unless there were better ones."""

    def trained_twice():
        solver = made(cs231n, "plain", "sgd")
        solver.train()
        solver.best_val_acc = 1.0
        solver.train()
        return solver

    expected = trained_twice()
    with fastfc.use_backend("fast"):
        fastfc.patch(cs231n)
        got = trained_twice()
    assert expected.model.params is expected.best_params
    assert got.model.params is got.best_params
    assert len(got.loss_history) == len(expected.loss_history)
    # Twice the steps: the bound's factor for each of them holds for half of them only.
    for name, value in expected.model.params.items():
        np.testing.assert_allclose(got.model.params[name], value, rtol=BOUND * 2**9, atol=BOUND * 2**9)


def test_printed_lines_and_checkpoints_are_their_own(cs231n, tmp_path, capsys):
    options = {"verbose": True, "print_every": 2, "num_epochs": 2, "checkpoint_name": str(tmp_path / "c")}
    made(cs231n, "batchnorm+dropout", **options).train()
    expected, files = capsys.readouterr().out, sorted(tmp_path.iterdir())
    theirs = [pickle.loads(file.read_bytes()) for file in files]
    held = made(cs231n, "batchnorm+dropout", **options)
    with fastfc.use_backend("fast"):
        fastfc.patch(cs231n)
        # One Solver made before the patch, with the own rule, and one after it.
        for solver in (held, made(cs231n, "batchnorm+dropout", **options)):
            for file in files:
                file.unlink()
            rule = solver.update_rule
            np.random.seed(7)
            made(cs231n, "batchnorm+dropout")
            solver.train()
            assert solver.update_rule is rule
            assert capsys.readouterr().out == expected
            assert sorted(tmp_path.iterdir()) == files
            ours = [pickle.loads(file.read_bytes()) for file in files]
            for got, own in zip(ours, theirs, strict=True):
                assert list(got) == list(own)
                assert type(got["model"]) is cs231n.classifiers.fc_net.FullyConnectedNet
                assert got["update_rule"] is cs231n.optim.adam
                assert got["model"].dropout_param == own["model"].dropout_param
                assert [p["mode"] for p in got["model"].bn_params] == [p["mode"] for p in own["model"].bn_params]
                assert_close(got["model"].params["W2"], own["model"].params["W2"], "W2")
                assert_close(got["model"].bn_params[1]["running_var"], own["model"].bn_params[1]["running_var"], "var")
                same = set(own) - {"model", "update_rule", "loss_history"}
                assert {key: got[key] for key in same} == {key: own[key] for key in same}


def signed(w, dw, config=None):
    """A rule of a person's own."""
    return w - config["learning_rate"] * np.sign(dw), config


def _with_a_parameter_more(solver):
    solver.model.params["temperature"] = np.ones(1)
    own = type(solver.model).loss

    def loss(self, X, y=None):
        if y is None:
            return own(self, X)
        value, grads = own(self, X, y)
        return value, {**grads, "temperature": np.zeros(1)}

    type(solver.model).loss = loss
    solver.optim_configs["temperature"] = dict(solver.optim_config)


UNCHECKED = {
    "methods": lambda solver: setattr(solver, "__class__", type("Mine", (type(solver),), {})),
    "the model is a MyNet": lambda solver: setattr(solver.model, "__class__", type("MyNet", (type(solver.model),), {})),
    "the rule 'signed'": lambda solver: setattr(solver, "update_rule", signed),
    "_step": lambda solver: setattr(solver, "_step", solver._step),
    "the model is a FullyConnectedNet of another kind": lambda solver: setattr(solver.model, "loss", solver.model.loss),
    "expected the parameters": lambda solver: _with_a_parameter_more(solver),
    "X_train is not an array": lambda solver: setattr(solver, "X_train", solver.X_train.astype(np.longdouble)),
}


@pytest.mark.parametrize("reason", UNCHECKED)
def test_their_loop_stays_for_what_was_not_checked(cs231n, reason, caplog):
    caplog.set_level(logging.DEBUG, "fastfc")
    with fastfc.use_backend("fast"):
        fastfc.patch(cs231n)
        solver = made(cs231n, num_epochs=1)
        UNCHECKED[reason](solver)
        solver.train()
    assert len(solver.loss_history) == ROWS // BATCH
    assert "its own training loop" in engine(caplog)
    assert reason.replace("_step", "methods") in engine(caplog)


def test_an_interrupted_training_keeps_what_was_done(cs231n, tmp_path):
    class Name:
        """A checkpoint's name; while it is made, Ctrl-C comes."""

        def __str__(self):
            if solver.epoch == 2:
                raise KeyboardInterrupt
            return str(tmp_path / "c")

    with fastfc.use_backend("fast"):
        fastfc.patch(cs231n)
        solver = made(cs231n, checkpoint_name=Name())
        start = solver.model.params["W1"].copy()
        with pytest.raises(KeyboardInterrupt):
            solver.train()
    assert solver.epoch == 2
    assert len(solver.loss_history) == 6
    assert len(solver.val_acc_history) == 3
    assert type(solver.model.params) is dict
    assert not np.array_equal(solver.model.params["W1"], start)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c_epoch_0.pkl", "c_epoch_1.pkl"]
