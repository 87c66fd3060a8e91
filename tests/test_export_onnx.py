"""ONNX models: accepted by the checker, and predicting the same in ONNX Runtime."""

import json
import sys

import numpy as np
import pytest
from exported import (
    ACTIVATIONS,
    CLASSES,
    LINKS,
    assert_labels,
    assert_probabilities,
    assert_same_network,
    examples,
    make_net,
    output_of,
    scores_by_formula,
)

import fastfc
from fastfc import FullyConnectedNet, Solver, export, load_dataset, load_exported
from fastfc.cli import main

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

NORMALIZATIONS = [None, "batchnorm", "layernorm"]
every_normalization = pytest.mark.parametrize("normalization", NORMALIZATIONS)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(path, X):
    """Output by name."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True))


@every_normalization
@every_dtype
def test_onnx_runtime_predicts_the_same(normalization, dtype):
    net, X = make_net(normalization, dtype), examples(dtype=dtype)
    assert export(net, "net.onnx") == ["net.onnx"]
    got = run("net.onnx", X)
    assert list(got) == ["label", "probabilities"]
    scores, bound = scores_by_formula(net, X)
    assert got["probabilities"].dtype == dtype
    assert_probabilities(got["probabilities"], scores, bound, dtype)
    assert_labels([net.class_names.index(name) for name in got["label"]], scores, bound)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@every_dtype
def test_activations(activation, dtype):
    if (activation, dtype) == ("gelu", np.float64):
        pytest.skip("ONNX Runtime has no error function in float64")
    net, X = make_net(None, dtype, names=False, activation=activation, loss="squared"), examples(dtype=dtype)
    export(net, "net.onnx")
    got = run("net.onnx", X)
    assert list(got) == ["predictions"]
    assert_same_network(load_exported("net.onnx"), net)
    scores, bound = scores_by_formula(net, X)
    assert np.all(np.abs(got["predictions"] - scores) <= bound)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LINKS)
def test_numbers_as_outputs(loss, outputs):
    net, X = make_net(dtype=np.float64, outputs=outputs, loss=loss), examples(dtype=np.float64)
    export(net, "net.onnx")
    assert_same_network(load_exported("net.onnx"), net)
    got = run("net.onnx", X)
    assert list(got) == (["label", "probabilities"] if loss == "logistic" else ["predictions"])
    scores, bound = scores_by_formula(net, X)
    for found, expected in zip(got.values(), output_of(loss, scores), strict=False):
        assert found.shape == expected.shape
        # An error of a score is at most the same relative one of its exponential, and less of its logistic function.
        size = np.abs(expected) if loss == "poisson" else 1
        error = np.expm1(bound.max()) + fastfc.tolerance(np.float64, 1) * (1 + np.abs(scores).max())
        assert np.all(np.abs(found - expected) <= error * size)


def test_the_svm_loss_has_no_probabilities():
    net, X = make_net(loss="svm"), examples()
    export(net, "net.onnx")
    got = run("net.onnx", X)
    assert list(got) == ["label"]
    assert_labels([net.class_names.index(name) for name in got["label"]], *scores_by_formula(net, X))


@pytest.mark.parametrize("rows", [0, 1, 33])
def test_any_number_of_rows(rows):
    net = make_net("layernorm", names=False)
    export(net, "net.onnx")
    got = run("net.onnx", examples(rows))
    assert got["label"].dtype == np.int64
    assert got["label"].shape == (rows,)
    assert got["probabilities"].shape == (rows, CLASSES)


def test_features_far_from_zero():
    net, X = make_net(), examples(dtype=np.float64) + 1e9
    net.input_mean = np.asarray(net.input_mean) + 1e9
    export(net, "net.onnx", input_dtype=np.float64)
    # The standardized features are those of a network without standardization.
    centred, x = make_net(standardize=False), ((X - net.input_mean) * net.input_scale).astype(np.float32)
    scores, bound = scores_by_formula(centred, x)
    assert_probabilities(run("net.onnx", X)["probabilities"], scores, bound, np.float32)
    assert_same_network(load_exported("net.onnx"), net)


def trained(data, hidden, **options):
    """A network that has seen a little of the data."""
    net = FullyConnectedNet(hidden, data["X_train"].shape[1], 10, **options)
    net.input_mean, net.input_scale = data["X_train"].mean(axis=0), 1 / 16
    with fastfc.use_backend("reference"):
        Solver(
            net,
            data,
            update_rule="adam",
            num_epochs=5,
            batch_size=50,
            optim_config={"learning_rate": 1e-2},
            verbose=False,
        ).train()
    return net


@every_normalization
def test_digits(normalization):
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    data = {"X_train": X[:1000], "y_train": y[:1000], "X_val": X[1000:], "y_val": y[1000:]}
    net = trained(data, [20, 15], normalization=normalization, weight_scale=0.1)
    export(net, "digits.onnx")
    got = run("digits.onnx", X.astype(np.float32))
    scores, bound = scores_by_formula(net, X)
    assert_probabilities(got["probabilities"], scores, bound, np.float32)
    assert_labels(got["label"], scores, bound)


def test_fashion_mnist():
    data = load_dataset("fashion-mnist")
    names = data["class_names"]
    X, y = data["X_test"].reshape(len(data["X_test"]), -1).astype(np.float32) / 16, data["y_test"]
    net = trained({"X_train": X[:800], "y_train": y[:800], "X_val": X[800:], "y_val": y[800:]}, [16])
    net.class_names = names
    export(net, "fashion.onnx")
    got = run("fashion.onnx", X)
    scores, bound = scores_by_formula(net, X)
    assert_probabilities(got["probabilities"], scores, bound, np.float32)
    assert_labels([names.index(name) for name in got["label"]], scores, bound)


# ------------------------------------------------------------------------------------------------ reading


@every_normalization
@every_dtype
def test_a_file_is_the_same_network(normalization, dtype):
    net = make_net(normalization, dtype, keep=0.5)
    for input_dtype in (None, np.float32, np.float64):
        export(net, "net.onnx", input_dtype=input_dtype)
        assert_same_network(load_exported("net.onnx"), net)


def test_files_of_other_networks():
    untrained = FullyConnectedNet([3], 4, 2, normalization="batchnorm", seed=3, dropout_keep_ratio=0.5, reg=0.1)
    untrained.input_scale, untrained.input_mean = 0.5, np.arange(4).reshape(2, 2)
    for net in (untrained, make_net(hidden=()), make_net(hidden=(3,) * 12, normalization="batchnorm")):
        export(net, "net.onnx")
        assert_same_network(load_exported("net.onnx"), net)
    export(untrained, "net.onnx")
    assert "running_mean" not in load_exported("net.onnx").bn_params[0]
    assert load_exported("net.onnx").input_mean.shape == (2, 2)
    assert load_exported("net.onnx").input_mean.dtype == untrained.input_mean.dtype


def test_predict_reads_it(capsys):
    net = make_net("batchnorm")
    net.save("model.npz")
    assert main(["export", "model.npz", "net.onnx", "--input-dtype", "float64"]) == 0
    np.savez("data.npz", X_test=examples())
    capsys.readouterr()
    assert main(["predict", "net.onnx", "data.npz"]) == 0
    labels = [net.class_names.index(name) for name in capsys.readouterr().out.splitlines()]
    assert_labels(labels, *scores_by_formula(net, examples()))


def changed(change, name="net.onnx"):
    export(make_net("batchnorm"), name)
    model = onnx.load(name)
    change(model)
    with open(name, "wb") as file:
        file.write(model.SerializeToString())
    return name


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def options(**changes):
    def change(model):
        entry = next(entry for entry in model.metadata_props if entry.key == "fastfc")
        entry.value = json.dumps(json.loads(entry.value) | changes)

    return change


def standardization(text):
    def change(model):
        next(e for e in model.metadata_props if e.key == "fastfc.standardization").value = text

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.metadata_props.pop(), "damaged"),
        (external, "is in another file"),
        (lambda model: setattr(model.graph.node[-1], "op_type", "Sigmoid"), "its graph is not the one"),
        (lambda model: model.graph.node.pop(), "its graph is not the one"),
        (lambda model: model.graph.initializer.pop(2), "damaged"),
        (lambda model: model.graph.initializer[2].dims.append(-1), "dimensions"),
        (lambda model: model.graph.initializer[2].dims.append(2**40), "dimensions"),
        (lambda model: model.graph.initializer[2].dims.append(2), "damaged"),
        (lambda model: model.graph.ClearField("input"), "damaged"),
        (options(input_dim=10**9), "not a fastfc model"),
        (options(hidden_dims=[10**9]), "not a fastfc model"),
        (options(arrays=None), "damaged"),
        (options(bn_params=[]), "not a fastfc model"),
        (standardization("[1]"), "damaged"),
        (standardization('{"input_mean": {"dtype": "O", "values": [1]}}'), "damaged"),
        (standardization('{"input_mean": {"dtype": "f8", "values": [[1], [1, 2]]}}'), "damaged"),
        (standardization('{"input_mean": {"dtype": "f8", "values": [1e999]}}'), "not a fastfc model"),
        (standardization('{"input_mean": {"dtype": "i8", "values": [NaN, 1e300]}}'), "damaged"),
        (standardization("[" * 10**5), "damaged"),
        (standardization("{}"), "not a fastfc model"),
    ],
)
def test_changed_files(change, words):
    with pytest.raises(ValueError, match=f"net.onnx.*({words})"):
        load_exported(changed(change))


def test_a_library_that_is_missing(monkeypatch):
    make_net().save("model.npz")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "fastfc\[onnx\]"'):
        export(make_net(), "net.onnx")


def test_the_checker_is_asked(monkeypatch):
    """A model that ONNX does not accept is not written."""

    def refuse(model, full_check):
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(onnx.checker.ValidationError):
        export(make_net(), "net.onnx")
