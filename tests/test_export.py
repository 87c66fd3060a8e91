"""Networks for programs without fastfc: they predict the same within rounding errors."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from exported import (
    ACTIVATIONS,
    CC,
    CLASSES,
    FEATURES,
    LINKS,
    Compiled,
    assert_labels,
    assert_probabilities,
    assert_same_network,
    examples,
    imported,
    make_net,
    output_of,
    scores_by_formula,
    softmax,
)

import fastfc
from fastfc import FullyConnectedNet, export, load_model
from fastfc.cli import main
from fastfc.formats.export import c99, load_exported, numpy_module

NORMALIZATIONS = [None, "batchnorm", "layernorm"]
every_normalization = pytest.mark.parametrize("normalization", NORMALIZATIONS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
needs_cc = pytest.mark.skipif(CC is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ------------------------------------------------------------------------------------------ NumPy modules


@every_normalization
@every_dtype
def test_a_module_predicts_the_same(normalization, dtype):
    net, X = make_net(normalization, dtype), examples(dtype=np.float64)
    assert export(net, "small.py") == ["small.py", "small.npz"]
    small = imported("small.py")
    scores, bound = scores_by_formula(net, X)
    got = small.scores(X)
    assert got.dtype == dtype
    assert np.all(np.abs(got - scores) <= bound)
    assert np.all(np.abs(net.loss(X) - scores) <= bound)
    assert_probabilities(small.predict_proba(X), scores, bound, dtype)
    assert_labels([net.class_names.index(name) for name in small.predict(X)], scores, bound)


@every_activation
@every_dtype
def test_activations_in_a_module(activation, dtype):
    net, X = make_net(None, dtype, activation=activation), examples()
    export(net, "small.py")
    scores, bound = scores_by_formula(net, X)
    got = imported("small.py").scores(X)
    assert got.dtype == dtype
    assert np.all(np.abs(got - scores) <= bound)
    assert np.all(np.abs(net.loss(X) - scores) <= bound)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LINKS)
def test_numbers_as_outputs_of_a_module(loss, outputs):
    net, X = make_net(dtype=np.float64, outputs=outputs, loss=loss), examples()
    export(net, "small.py")
    small = imported("small.py")
    predictions, probabilities = output_of(loss, small.scores(X))
    assert net.predict(X).shape == predictions.shape
    bound = fastfc.tolerance(np.float64, 1)
    assert small.predict(X).shape == predictions.shape
    np.testing.assert_allclose(small.predict(X), predictions, rtol=bound)
    assert hasattr(small, "predict_proba") == (probabilities is not None)
    if probabilities is not None:
        assert net.predict_proba(X).shape == probabilities.shape
        np.testing.assert_allclose(small.predict_proba(X), probabilities, rtol=0, atol=bound)


def test_a_module_needs_neither_fastfc_nor_the_current_folder(tmp_path):
    net, X = make_net(), examples()
    os.mkdir("elsewhere")
    export(net, "elsewhere/small.py")
    np.save("X.npy", X)
    program = (
        "import sys; sys.path.insert(0, 'elsewhere'); import numpy as np, small\n"
        "assert not {'fastfc', 'numba', 'scipy'} & set(sys.modules)\n"
        "np.save('scores.npy', small.scores(np.load('X.npy')))"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True, cwd=tmp_path)
    scores, bound = scores_by_formula(net, X)
    assert np.all(np.abs(np.load("scores.npy") - scores) <= bound)


def test_a_modules_weights_are_the_networks_file():
    """Exporting model.npz to model.py leaves the model what it was."""
    net = make_net("batchnorm", keep=0.5)
    net.save("model.npz")
    export(load_model("model.npz"), "model.py")
    assert_same_network(load_model("model.npz"), net)


def test_weights_that_take_a_modules_place():
    export(FullyConnectedNet([5], FEATURES, CLASSES, normalization="batchnorm"), "small.py")
    trained, X = make_net("batchnorm", hidden=(5,), standardize=False, names=False), examples()
    trained.save("small.npz")
    np.testing.assert_array_equal(imported("small.py").predict(X), trained.predict(X))
    for other in (
        make_net("batchnorm", hidden=(5,)),
        make_net("batchnorm", hidden=(5, 5), standardize=False),
        make_net(hidden=(5,), standardize=False),
    ):
        other.save("small.npz")
        with pytest.raises(ValueError, match=r"small\.py: expected \['W1', .* in its \.npz file, got \["):
            imported("small.py")


@pytest.mark.parametrize("shape", [(0, FEATURES), (1, FEATURES), (3, 2, 3)])
def test_shapes_that_a_module_takes(shape):
    net = make_net("layernorm", names=False)
    net.input_mean = np.asarray(net.input_mean).reshape(2, 3)
    export(net, "small.py")
    small, X = imported("small.py"), np.ones(shape)
    assert small.scores(X).shape == (shape[0], CLASSES)
    np.testing.assert_array_equal(small.predict(X), net.predict(X))
    with pytest.raises(ValueError, match="X: expected shape"):
        small.scores(np.ones((2, FEATURES + 1)))


def test_untrained_and_linear_networks_in_a_module():
    for net in (
        FullyConnectedNet([5], FEATURES, 3, normalization="batchnorm"),
        make_net(hidden=()),
        make_net(standardize=False),
    ):
        export(net, "small.py")
        X = examples()
        scores, bound = scores_by_formula(net, X)
        assert np.all(np.abs(imported("small.py").scores(X) - scores) <= bound)


HOSTILE_NAMES = ['"""\nraise SystemExit', "'); raise SystemExit #", "??/", '"); } int x = {\n\\']


def test_names_are_never_code_in_a_module():
    net = make_net()
    net.class_names = HOSTILE_NAMES
    export(net, "small.py")
    assert imported("small.py").CLASSES == HOSTILE_NAMES


def test_a_network_of_somebody_elses_loop():
    net, X = fastfc.Network([FEATURES, 8, 2], normalization="batchnorm", seed=0), examples()
    net.forward(X)
    export(net, "policy.py")
    scores, bound = scores_by_formula(net.to_net(), X)
    assert np.all(np.abs(imported("policy.py").scores(X) - scores) <= bound)
    assert np.all(np.abs(net.forward(X, training=False) - scores) <= bound)
    assert_same_network(load_model("policy.npz"), net.to_net())


def test_a_module_of_the_svm_loss():
    net, X = make_net(loss="svm"), examples()
    export(net, "small.py")
    small = imported("small.py")
    assert not hasattr(small, "predict_proba")
    assert small.predict(X).tolist() == [net.class_names[i] for i in small.scores(X).argmax(axis=1)]


# ---------------------------------------------------------------------------------------------------- C99


@needs_cc
@every_normalization
@every_dtype
def test_c_predicts_the_same(normalization, dtype):
    net, X = make_net(normalization, dtype), examples(dtype=dtype)
    assert export(net, "small.c") == ["small.c", "small.h"]
    small = Compiled("small", dtype, dtype)
    scores, bound = scores_by_formula(net, X)
    assert np.all(np.abs(small.rows("scores", X) - scores) <= bound)
    assert_probabilities(small.rows("probabilities", X), scores, bound, dtype)
    assert_labels(small.labels(X), scores, bound)
    assert small.names() == net.class_names


@needs_cc
def test_activations_in_c():
    X = examples()
    for name in ACTIVATIONS:
        net = make_net("layernorm", names=False, activation=name)
        export(net, f"{name}.c")
        scores, bound = scores_by_formula(net, X)
        assert np.all(np.abs(Compiled(name, np.float32, np.float32).rows("scores", X) - scores) <= bound), name


@needs_cc
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LINKS)
def test_numbers_as_outputs_in_c(loss, outputs):
    net, X = make_net(dtype=np.float64, outputs=outputs, loss=loss), examples()
    export(net, "small.h")
    small = Compiled("small", np.float64, np.float64, outputs)
    assert hasattr(small.library, "small_predict") == (loss == "logistic" and outputs == 1)
    assert hasattr(small.library, "small_probabilities") == (loss == "logistic")
    assert hasattr(small.library, "small_predictions") == (loss == "poisson")
    scores, bound = small.rows("scores", X), fastfc.tolerance(np.float64, 1)
    if loss == "logistic":
        np.testing.assert_allclose(small.rows("probabilities", X), 1 / (1 + np.exp(-scores)), rtol=bound)
    if loss == "logistic" and outputs == 1:
        np.testing.assert_array_equal(small.labels(X), scores[:, 0] > 0)
    if loss == "poisson":
        np.testing.assert_allclose(small.rows("predictions", X), np.exp(scores), rtol=bound)


@needs_cc
def test_c_of_features_far_from_zero():
    """In float32, nothing is left of features with a mean of 1e9 and a deviation of 1."""
    net, X = make_net(), examples(dtype=np.float64) + 1e9
    net.input_mean = np.asarray(net.input_mean) + 1e9
    export(net, "small.c", input_dtype=np.float64)
    scores = softmax(net.loss(X).astype(np.float64))
    got = Compiled("small", np.float32, np.float64).rows("probabilities", X)
    # The standardized features are the same floats: only the sums differ.
    centred = make_net(standardize=False)
    _, bound = scores_by_formula(centred, ((X - net.input_mean) * net.input_scale).astype(np.float32))
    assert np.all(np.abs(got - scores) <= 4 * bound.max())


@needs_cc
@pytest.mark.parametrize("net", [make_net(hidden=()), make_net("batchnorm", hidden=(3, 9, 2, 4), standardize=False)])
def test_c_of_other_depths(net):
    export(net, "my net-2.c", input_dtype="float64")
    shutil.copy("my net-2.c", "my_net_2.c")
    small, X = Compiled("my_net_2", np.float32, np.float64), examples()
    scores, bound = scores_by_formula(net, X)
    assert np.all(np.abs(small.rows("scores", X) - scores) <= bound)


@needs_cc
def test_names_are_never_code_in_c():
    net = make_net()
    net.class_names = HOSTILE_NAMES
    export(net, "small.c")
    assert Compiled("small", np.float32, np.float32).names() == HOSTILE_NAMES


@needs_cc
def test_the_header_is_c_plus_plus_too():
    export(make_net(), "2nets.c")
    with open("main.c", "w") as file:
        file.write('#include "2nets.h"\nint main(void) { net2nets_input x[NET2NETS_INPUTS] = {0};\n')
        file.write("    return net2nets_predict(x) >= NET2NETS_OUTPUTS; }\n")
    subprocess.run([CC, "-std=c99", "-Wall", "-Werror", "main.c", "2nets.c", "-o", "main", "-lm"], check=True)
    subprocess.run(["./main"], check=True)


# ------------------------------------------------------------------------------------------------- errors


def test_errors():
    net = make_net()
    with pytest.raises(ValueError, match=r"path: expected a name that ends in \.py, .*\.npz, got 'net\.txt'"):
        export(net, "net.txt")
    with pytest.raises(ValueError, match="path: expected a name that ends in"):
        export(net, ".py")
    with pytest.raises(
        TypeError, match="net: expected a FullyConnectedNet, a Network or a fitted multi-layer perceptron, got dict"
    ):
        export({}, "net.py")
    with pytest.raises(ValueError, match="input_dtype: expected float32 or float64, got 'int8'"):
        export(net, "net.c", input_dtype="int8")
    with pytest.raises(ValueError, match=r"input_dtype: net\.py takes examples of any dtype"):
        export(net, "net.py", input_dtype="float32")
    with pytest.raises(ValueError, match="path: expected a name of letters"):
        export(net, 'a"b.c')
    with pytest.raises(ValueError, match=r"path: expected another name than 'math', as the C library has .* math\.h"):
        export(net, "math.c")
    with pytest.raises(FileNotFoundError):
        export(net, "absent/net.py")
    net.params["W2"][1, 1] = np.nan
    with pytest.raises(ValueError, match="W2: expected finite numbers"):
        export(net, "net.c")
    assert os.listdir() == []


@pytest.mark.parametrize(("first", "second"), [("net.npz", "net.py"), ("net.c", "net.h")])
def test_of_two_files_both_are_replaced_or_neither(first, second):
    with open(first, "w") as file:
        file.write("older")
    os.mkdir(second)
    with pytest.raises(IsADirectoryError):
        export(make_net(), second)
    with open(first) as file:
        assert file.read() == "older"
    assert sorted(os.listdir()) == sorted([first, second])


@pytest.mark.parametrize("end", [".c", ".onnx"])
def test_a_standardization_beyond_the_inputs_range(end):
    if end == ".onnx":
        pytest.importorskip("onnx")
    net = make_net(dtype=np.float32)
    net.input_mean = np.float64(1e39)
    with pytest.raises(
        ValueError, match=r"^input_dtype: expected float64, as input_mean is beyond the range of float32"
    ):
        export(net, f"net{end}")
    assert os.listdir() == []
    assert export(net, f"net{end}", input_dtype="float64")


@pytest.mark.parametrize(("module", "end"), [(numpy_module, ".py"), (c99, ".c")])
def test_an_activation_that_a_format_does_not_have(module, end, monkeypatch):
    """As one that was added to the package a moment ago."""
    monkeypatch.delitem(module._ACTIVATIONS, "tanh")
    with pytest.raises(ValueError, match=r"^net: expected an activation that the format has, .* got 'tanh'$"):
        export(FullyConnectedNet([3], 4, 2, activation="tanh"), f"net{end}")
    assert os.listdir() == []


def test_a_network_with_methods_of_its_own_has_no_export():
    class Doubled(FullyConnectedNet):
        def loss(self, X, y=None):
            return 2 * super().loss(X, y)

    with pytest.raises(TypeError, match="got another loss"):
        export(Doubled([3], 4, 2), "net.py")


@pytest.mark.parametrize("call", [lambda path: export(make_net(), path), load_exported], ids=["export", "load"])
@pytest.mark.parametrize("path", [None, 3, ["net.py"]])
def test_paths_that_are_none(call, path):
    with pytest.raises(TypeError, match=f"path: expected a string or path-like object, got {type(path).__name__}"):
        call(path)


def test_names_in_upper_case():
    net = make_net()
    assert export(net, "A.PY") == ["A.PY", "A.npz"]
    assert_same_network(load_model("A.npz"), net)
    # A compiler takes .C for C++.
    assert export(net, "B.C") == ["B.c", "B.h"]
    assert export(net, b"C.Pt-Names.NPZ") == ["C.Pt-Names.NPZ"]
    assert_same_network(load_exported("C.Pt-Names.NPZ"), net)
    assert export(net, "D.NPZ") == ["D.NPZ"]
    assert_same_network(load_exported("D.NPZ"), net)
    with pytest.raises(ValueError, match="networks are read from"):
        load_exported("B.C")


def test_examples_that_a_module_does_not_take():
    export(make_net(), "small.py")
    small, X = imported("small.py"), examples()
    for bad in (X[0], X[:, :3], X[0, 0]):
        with pytest.raises(
            ValueError, match=rf"X: expected shape \(N, \.\.\.\) with {FEATURES} numbers an example, got"
        ):
            small.predict(bad)
    np.testing.assert_array_equal(small.scores(X.reshape(-1, 2, 3)), small.scores(X))
    export(FullyConnectedNet([3], 1, 2), "one.py")
    assert imported("one.py").predict([0.5, 2]).shape == (2,)


def test_formats_that_are_not_read():
    export(make_net(), "net.py")
    with pytest.raises(ValueError, match=r"net\.py: networks are read from .*\.npz"):
        load_exported("net.py")
    assert_same_network(load_exported("net.npz"), make_net())


# ------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize("end", [".npz", ".pt-names.npz"])
def test_predict_tells_no_and_yes_of_a_logistic_output(end, capsys):
    net = make_net(outputs=1, names=False, loss="logistic")
    export(net, f"model{end}")
    X = examples()
    y = net.predict(X)
    assert set(y.tolist()) == {0, 1}
    np.savez("data.npz", X_test=X, y_test=y)
    assert main(["predict", f"model{end}", "data.npz"]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(label) for label in y]
    assert err == f"accuracy: 100.0 % ({len(y)} examples)\n"
    assert main(["predict", f"model{end}", "data.npz", "--proba"]) == 0
    first, *rows = capsys.readouterr().out.split()
    assert first == "0,1"
    assert rows == [",".join(f"{p:.6g}" for p in row) for row in net.predict_proba(X).tolist()]


def test_predict_gives_the_probabilities_of_several_logistic_outputs(capsys):
    net, X = make_net(outputs=3, names=False, loss="logistic"), examples()
    net.save("model.npz")
    np.savez("data.npz", X_test=X)
    assert main(["predict", "model.npz", "data.npz", "--proba"]) == 0
    first, *rows = capsys.readouterr().out.split()
    assert first == "0,1,2"
    assert rows == [",".join(f"{p:.6g}" for p in row) for row in net.predict_proba(X).tolist()]


def test_the_command(capsys):
    make_net("batchnorm").save("model.npz")
    assert main(["export", "model.npz", "predict.py"]) == 0
    assert capsys.readouterr() == ("", "predict.py, predict.npz\n")
    assert main(["export", "model.npz", "device.c", "--input-dtype", "float64"]) == 0
    assert capsys.readouterr() == ("", "device.c, device.h\n")
    assert imported("predict.py").predict(examples()).tolist() == [
        make_net().class_names[i] for i in make_net("batchnorm").predict(examples())
    ]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["absent.npz", "out.py"], "absent.npz: No such file or directory"),
        (["bad.npz", "out.py"], "bad.npz is not a model: expected a file that fastfc train or net.save wrote, or"),
        (["table.csv", "out.py"], "table.csv is not a model: expected a file that fastfc train or net.save wrote, or"),
        (["short.npz", "out.py"], "short.npz is a truncated or damaged npz file"),
        (["model.npz", "out.exe"], "path: expected a name that ends in .py,"),
        (["model.npz", "absent/out.py"], "absent"),
        (["model.npz", "out.py", "--input-dtype", "float32"], "input_dtype: out.py takes examples of any dtype"),
        (["model.npz", "out.c", "--input-dtype", "int8"], "--input-dtype"),
    ],
)
def test_mistakes_at_the_command_line(argv, words, capsys):
    make_net().save("model.npz")
    with open("bad.npz", "wb") as file:
        file.write(b"bad")
    with open("short.npz", "wb") as file:
        file.write(b"PK bad")
    with open("table.csv", "w") as file:
        file.write("a,b\n1,2\n")
    try:
        code = main(["export", *argv])
    except SystemExit as error:
        code = error.code
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastfc: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == ["bad.npz", "model.npz", "short.npz", "table.csv"]
