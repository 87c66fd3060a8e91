"""ONNX files of other programs: the networks that they hold predict the same here."""

import sys

import numpy as np
import pytest
from exported import make_net, scores_by_formula
from hypothesis import settings

import fastfc
from fastfc import from_onnx, load_exported
from fastfc.cli import main
from fastfc.formats.export.onnx_graphs import _ACTIVATIONS

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
helper = onnx.helper


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Writer:
    """A graph of float32 tensors, node by node."""

    def __init__(self):
        self.nodes, self.current = [], "X"
        self.constants = [onnx.numpy_helper.from_array(np.ones((), np.float32), "one")]

    def add(self, kind, *inputs, before=(), domain="", **attributes):
        """A node of the current tensor and constants, or of tensors by name; its result is the current one."""
        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            names.append(f"c{len(self.constants)}")
            self.constants.append(onnx.numpy_helper.from_array(np.asarray(value), names[-1]))
        output = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, [*before, self.current, *names], [output], domain=domain, **attributes)
        )
        self.current = output
        return self

    def affine(self, inputs, outputs, seed=0, kind="Gemm"):
        rng = np.random.default_rng(seed)
        W, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((inputs, outputs), (outputs,)))
        if kind == "Gemm":
            return self.add("Gemm", W, b)
        if kind == "transB":
            return self.add("Gemm", W.T.copy(), b, transB=1)
        return self.add("MatMul", W).add("Add", b)

    def ends_with(self, name):
        self.current = name
        return self

    def save(self, features=4, opset=20, outputs=None, inputs=("X",)):
        """The file's name; without `outputs` the current tensor is the output."""
        graph = helper.make_graph(
            self.nodes,
            "other",
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", features]) for name in inputs],
            [helper.make_empty_tensor_value_info(name) for name in outputs or [self.current]],
            self.constants,
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets), "other.onnx")
        return "other.onnx"


def X(rows=30, features=4):
    return np.random.default_rng(5).standard_normal((rows, features)).astype(np.float32)


def run(path):
    return reference.ReferenceEvaluator(path).run(None, {"X": X()})


def assert_scores(net, expected):
    scores, bound = scores_by_formula(net, X())
    # Both differ from the exact scores.
    assert np.all(np.abs(net.loss(X()) - scores) <= bound)
    assert np.all(np.abs(expected.reshape(scores.shape) - scores) <= bound)


HIDDEN = sorted(set(_ACTIVATIONS) - {"Softmax", "LogSoftmax", "Exp"})


@pytest.mark.parametrize("kind", ["Gemm", "transB", "MatMul"])
@pytest.mark.parametrize("activation", HIDDEN)
def test_activations(activation, kind):
    writer = Writer()
    for i, width in enumerate((5, 6)):
        writer.affine(*((4, 5) if width == 5 else (5, 6)), seed=i, kind=kind).add(activation)
    net = from_onnx(writer.affine(6, 3, seed=2, kind=kind).save())
    assert net.dims == [4, 5, 6, 3]
    assert (net.activation, net.loss_name, net.dtype) == (_ACTIVATIONS[activation][0], "squared", np.float32)
    assert_scores(net, run("other.onnx")[0])
    np.testing.assert_array_equal(net.predict(X()), net.loss(X()))


def test_activations_by_several_operators():
    writer = Writer().affine(4, 5)
    x = writer.current
    writer.add("Sigmoid").add("Mul", x).affine(5, 6, 1)
    x = writer.current
    writer.add("Sigmoid").add("Mul", x).affine(6, 3, 2)
    net = from_onnx(writer.save())
    assert net.activation == "silu"
    assert_scores(net, run("other.onnx")[0])
    writer = Writer().affine(4, 5)
    x = writer.current
    net = from_onnx(writer.add("Softplus").add("Tanh").add("Mul", x).affine(5, 3, 1).save())
    assert net.activation == "mish"
    assert_scores(net, run("other.onnx")[0])
    for wrong in (False, True):
        writer = Writer().affine(4, 5)
        x = writer.current
        writer.add("Div", np.float32(2 if wrong else np.sqrt(2))).add("Erf").add("Add", np.float32(1))
        path = writer.add("Mul", before=[x]).add("Mul", np.float32(0.5)).affine(5, 3, 1).save()
        if wrong:
            with pytest.raises(ValueError, match="got 'Div' after Gemm"):
                from_onnx(path)
        else:
            assert from_onnx(path).activation == "gelu"
            assert_scores(from_onnx(path), run(path)[0])
    net = from_onnx(Writer().affine(4, 5).add("Gelu", approximate="tanh").affine(5, 3).save())
    assert net.activation == "gelu_tanh"
    assert from_onnx(Writer().affine(4, 5).affine(5, 3).save()).activation == "identity"


@pytest.mark.parametrize("kind", ["batchnorm", "layernorm"])
def test_normalizations(kind):
    rng, writer = np.random.default_rng(1), Writer()
    for i, (inputs, width) in enumerate([(4, 5), (5, 6)]):
        gamma, beta, mean, var = (rng.uniform(0.5, 2, width).astype(np.float32) for _ in range(4))
        writer.affine(inputs, width, i)
        if kind == "batchnorm":
            writer.add("BatchNormalization", gamma, beta, mean, var, epsilon=0.25 / (1 + i), momentum=0.75)
        else:
            writer.add("LayerNormalization", gamma, *([beta] if i else []), axis=-1, epsilon=0.25 / (1 + i))
        writer.add("Relu").add("Dropout")
    net = from_onnx(writer.affine(6, 3, 2).save())
    assert net.normalization == kind
    assert [param["eps"] for param in net.bn_params] == [0.25, 0.125]
    if kind == "batchnorm":
        assert net.bn_params[1]["momentum"] == 0.75
    assert_scores(net, run("other.onnx")[0])


@pytest.mark.parametrize(
    ("link", "loss"), [("Softmax", "softmax"), ("LogSoftmax", "softmax"), ("Sigmoid", "logistic"), ("Exp", "poisson")]
)
def test_functions_of_the_scores(link, loss):
    writer = Writer().affine(4, 5).add("Tanh").affine(5, 3, 1)
    scores = writer.current
    writer.add(link)
    path = writer.save(outputs=[scores, writer.current])
    net = from_onnx(path)
    assert (net.loss_name, net.activation, net.dims) == (loss, "tanh", [4, 5, 3])
    assert_scores(net, run(path)[0])
    # The scores may be put out too, or not.
    assert from_onnx(writer.save()).loss_name == loss
    assert from_onnx(path, loss="svm").loss_name == "svm"


def labelled(link, outputs, classes, hidden=5):
    """As skl2onnx writes classifiers."""
    writer = Writer().affine(4, hidden).add("Relu").affine(hidden, outputs, 1)
    if link is not None:
        writer.add(link)
    if link == "Sigmoid":
        p = writer.current
        writer.nodes.append(helper.make_node("Sub", ["one", p], ["q"]))
        writer.nodes.append(helper.make_node("Concat", ["q", p], ["both"], axis=1))
        writer.current = "both"
    p = writer.current
    writer.add("ArgMax", axis=1, keepdims=0)
    array = np.array([name.encode() for name in classes], object) if isinstance(classes[0], str) else np.array(classes)
    if array.dtype == object:
        tensor = helper.make_tensor("classes", onnx.TensorProto.STRING, array.shape, array.tolist())
    else:
        tensor = onnx.numpy_helper.from_array(array, "classes")
    writer.constants.append(tensor)
    writer.add("Gather", before=["classes"])
    return writer.save(outputs=[writer.current, p])


@pytest.mark.parametrize(
    ("link", "outputs", "classes", "loss", "names"),
    [
        ("Softmax", 3, ["a", "b", "ç"], "softmax", ["a", "b", "ç"]),
        ("Softmax", 3, [0, 1, 2], "softmax", None),
        ("Softmax", 3, [3, 5, 7], "softmax", ["3", "5", "7"]),
        ("Sigmoid", 1, ["no", "yes"], "softmax", ["no", "yes"]),
        ("Sigmoid", 1, [0, 1], "logistic", None),
        (None, 3, ["a", "b", "c"], "svm", ["a", "b", "c"]),
    ],
)
def test_labels(link, outputs, classes, loss, names, capsys):
    path = labelled(link, outputs, classes)
    net = from_onnx(path)
    assert (net.loss_name, net.class_names) == (loss, names)
    label, p = run(path)
    found = net.predict(X())
    assert [(names or classes)[i] for i in found] == [str(v) if names else v for v in label.tolist()]
    if link is not None:
        np.testing.assert_allclose(net.predict_proba(X()), p, rtol=0, atol=fastfc.tolerance(np.float32, 30))
    np.savez("data.npz", X_test=X())
    assert main(["predict", path, "data.npz"]) == 0
    assert capsys.readouterr().out.split() == [str(value) for value in label.tolist()]


def test_standardization():
    mean, scale = np.array([1.0, 2, 3, 4], np.float32), np.array([0.5, 2, 1, 4], np.float32)
    plain = from_onnx(Writer().affine(4, 3).save())
    for writer in (
        Writer().add("Scaler", domain="ai.onnx.ml", offset=mean.tolist(), scale=scale.tolist()),
        Writer().add("Sub", mean).add("Mul", scale),
        Writer().add("Sub", mean).add("Div", 1 / scale).add("Cast", to=onnx.TensorProto.FLOAT),
        Writer().add("Mul", scale).add("Add", -mean * scale).add("Identity").add("Flatten"),
    ):
        net = from_onnx(writer.affine(4, 3).save())
        np.testing.assert_allclose(net.input_mean, mean, rtol=1e-6)
        np.testing.assert_allclose(net.input_scale, scale, rtol=1e-6)
        scores, bound = scores_by_formula(net, X())
        assert np.all(np.abs(plain.loss((X() - mean) * scale) - scores) <= bound)
    assert from_onnx(Writer().add("Sub", np.float32(2)).affine(4, 3).save()).input_mean.tolist() == [2.0] * 4


def test_means_of_zero():
    mean = np.array([0, 1, -1, 0], np.float32)
    assert from_onnx(Writer().add("Sub", mean).affine(4, 3).save()).input_mean.tolist() == mean.tolist()


@pytest.mark.parametrize("link", [None, "Sigmoid"])
def test_names_of_yes_and_no(link):
    writer = Writer().affine(4, 5).add("Tanh").affine(5, 1, 1)
    if link is not None:
        writer.add(link)
    writer.add("Greater", np.float32(0 if link is None else 0.5)).add("Cast", to=onnx.TensorProto.INT64)
    writer.add("Squeeze", np.array([1]))
    writer.constants.append(helper.make_tensor("classes", onnx.TensorProto.STRING, [2], [b"no", b"yes"]))
    net = from_onnx(writer.add("Gather", before=["classes"]).save())
    assert net.class_names == ["no", "yes"]
    (label,) = run("other.onnx")
    assert [net.class_names[i] for i in net.predict(X())] == [str(name) for name in label]


@pytest.mark.parametrize(
    ("link", "outputs", "classes"), [("Softmax", 3, [3, 4]), (None, 2, [3, 4, 5]), ("Sigmoid", 1, [1])]
)
def test_another_number_of_labels_than_of_classes(link, outputs, classes):
    with pytest.raises(ValueError, match=f"expected {max(outputs, 2)} labels, one for each class, got {len(classes)}"):
        from_onnx(labelled(link, outputs, classes))


@pytest.mark.parametrize("link", [None, "Sigmoid"])
def test_yes_and_no(link):
    """A single output says yes above 0, or above a probability of a half."""
    writer = Writer().affine(4, 5).add("Tanh").affine(5, 1, 1)
    if link is not None:
        writer.add(link)
    threshold = np.float32(0 if link is None else 0.5)
    writer.add("Greater", threshold).add("Cast", to=onnx.TensorProto.INT64).add("Squeeze", np.array([1]))
    net = from_onnx(writer.save())
    assert net.loss_name == "logistic"
    (label,) = run("other.onnx")
    assert 0 < label.sum() < len(label)
    np.testing.assert_array_equal(net.predict(X()), label)


def test_one_output_is_no_softmax_of_one():
    path = Writer().affine(4, 1).add("Sigmoid").save()
    logistic, softmax = from_onnx(path), from_onnx(path, loss="softmax")
    assert (logistic.dims, softmax.dims) == ([4, 1], [4, 2])
    bound = fastfc.tolerance(np.float32, 30)
    np.testing.assert_allclose(softmax.predict_proba(X()), logistic.predict_proba(X()), rtol=0, atol=bound)
    path = Writer().affine(4, 1).save()
    for loss in ("softmax", "svm"):
        with pytest.raises(ValueError, match=f"loss: expected one for a single output, .* got '{loss}'"):
            from_onnx(path, loss=loss)


@pytest.mark.parametrize(("first", "second"), [("Softmax", "Greater"), ("Exp", "Greater"), ("Sigmoid", "ArgMax")])
def test_labels_that_contradict_the_function_of_the_scores(first, second):
    writer = Writer().affine(4, 3)
    scores = writer.current
    outputs = [writer.add(first).current]
    writer.current = scores
    writer.add("Greater", np.float32(0)) if second == "Greater" else writer.add("ArgMax", axis=1)
    with pytest.raises(ValueError, match=f"labels by the function [a-z]+ of 3 scores, got {second}"):
        from_onnx(writer.save(outputs=[*outputs, writer.current]))


def test_two_functions_of_the_scores():
    writer = Writer().affine(4, 3)
    scores = writer.current
    softmax = writer.add("Softmax").current
    writer.current = scores
    writer.add("Sigmoid")
    with pytest.raises(ValueError, match="got another 'Sigmoid'"):
        from_onnx(writer.save(outputs=[softmax, writer.current]))


def test_float64():
    writer = Writer().add("Cast", to=onnx.TensorProto.DOUBLE)
    net = from_onnx(writer.add("MatMul", np.ones((4, 3))).save())
    assert (net.dtype, net.dims) == (np.float64, [4, 3])
    np.testing.assert_array_equal(net.params["b1"], np.zeros(3))


ONES = np.ones(5, np.float32)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: w.add("Relu"), "got 'Relu' after the input"),
        (lambda w: w.add("Conv", np.ones((1, 1, 1, 1), np.float32)), "got 'Conv' after the input"),
        (lambda w: w.affine(4, 5).add("Relu").affine(5, 3).add("Relu"), "no relu after the last layer"),
        (lambda w: w.affine(4, 5).add("Relu").affine(5, 3).add("Conv"), "got 'Conv' after Gemm, Relu, Gemm"),
        (lambda w: w.affine(4, 5).add("Relu").add("Relu"), "got 'Relu' after Gemm, Relu"),
        (lambda w: w.affine(4, 5).add("Relu").add("Mul", ONES).affine(5, 3), "got 'Mul' after Gemm, Relu"),
        (lambda w: w.affine(4, 5).add("Relu").add("LayerNormalization", ONES).affine(5, 3), "LayerNormalization"),
        (lambda w: w.affine(4, 5).add("Relu").affine(5, 5).add("Tanh").affine(5, 3), "same normalization and activ"),
        (lambda w: w.affine(4, 5).add("LayerNormalization", ONES), "no layernorm after the last layer"),
        (lambda w: w.affine(4, 5).add("LayerNormalization", ONES, axis=0).affine(5, 3), "LayerNormalization"),
        (lambda w: w.affine(4, 5).add("LeakyRelu", alpha=0.5).affine(5, 3), "LeakyRelu: expected alpha 0.01, got 0.5"),
        (lambda w: w.affine(4, 5).add("Softmax", axis=0), "Softmax: expected axis -1, got 0"),
        (lambda w: w.add("Gemm", np.ones((4, 3), np.float32), alpha=2.0), "got 'Gemm' after the input"),
        (lambda w: w.add("Gemm", np.ones(4, np.float32)), "expected a matrix"),
        (lambda w: w.add("MatMul", "X"), "got 'MatMul' after the input"),
        (lambda w: w.add("Div", np.zeros(4, np.float32)).affine(4, 3), "divide by zero"),
        (lambda w: w.add("Mul", np.ones(3, np.float32) * 2).affine(4, 3), "could not be broadcast|broadcast"),
        (lambda w: w.affine(4, 5).affine(6, 3), "W2: expected shape"),
        (lambda w: w.affine(4, 3).add("Sub", before=["c0"]), "got another 'Sub' after Gemm"),
        (lambda w: w.affine(4, 3).add("Exp").add("Sub", before=["one"]), "got another 'Sub' after Gemm, Exp"),
        (lambda w: w.affine(4, 3).add("Sigmoid").add("Greater", np.float32(0.9)), "got another 'Greater'"),
        (lambda w: w.affine(4, 3).add("Greater", np.float32(0.5)), "got another 'Greater'"),
        (lambda w: w.affine(4, 3).add("ArgMax"), "got another 'ArgMax'"),
        (lambda w: w.affine(4, 3).add("ArgMax", axis=1, select_last_index=1), "got another 'ArgMax'"),
        (lambda w: w.affine(4, 3).add("Sigmoid").add("ArgMax", axis=1), "got another 'ArgMax'"),
        (lambda w: w.affine(4, 1).add("ArgMax", axis=1), "got another 'ArgMax'"),
        (lambda w: w.affine(4, 3).add("Gather", np.array([2, 0]), axis=1), "got another 'Gather'"),
        (lambda w: w.affine(4, 3).add("Greater", np.float32(0)).add("Gather", before=["c0"]), "got another 'Gather'"),
        (lambda w: w.affine(4, 3).add("Reshape", np.array([3, -1])), "got another 'Reshape'"),
        (lambda w: w.affine(4, 3).add("Reshape", np.array([-1])), "got another 'Reshape'"),
        (lambda w: w.affine(4, 3).add("Cast", to=onnx.TensorProto.INT64), "got another 'Cast'"),
        (lambda w: w.affine(4, 3).add("Squeeze"), "got another 'Squeeze'"),
        (lambda w: w.affine(4, 1).add("Sigmoid").add("Concat", "one", axis=1), "got another 'Concat'"),
        (
            lambda w: w.affine(4, 5).add("Relu").affine(5, 3).ends_with("t1"),
            r"made of the last layer's scores, got \['t1'",
        ),
        (lambda w: w.add("Sub", np.ones((4, 1), np.float32)).affine(4, 3), r"Sub: .* per column, got shape \(4, 1\)"),
        (lambda w: w.add("MatMul", np.ones((4, 3), np.float32)).add("Add", ONES[:, None]), "Add: .* per column"),
        (lambda w: w.add("Gemm", np.ones((4, 3), np.float32), ONES[:, None]), "Gemm: .* per column"),
        (lambda w: [w.add("Identity") for _ in range(5001)][-1], "expected at most 5000 operators, got 5001"),
        (lambda w: w.affine(4, 5).add("Relu", domain="mine").affine(5, 3), r"got some of \['mine'\]"),
        (lambda w: w, "got nothing after the input"),
    ],
)
def test_other_graphs(make, words):
    path = make(Writer()).save()
    with pytest.raises(ValueError, match=rf"^other\.onnx: an ONNX model, but not of such a network .*({words})"):
        load_exported(path)


@pytest.mark.parametrize(
    "content",
    [
        lambda model: b"",
        lambda model: b"a text",
        lambda model: model[:-20],
        lambda model: model.replace(np.float32([7.5, -7.5]).tobytes(), b""),
        lambda model: onnx.ModelProto(ir_version=8).SerializeToString(),
    ],
    ids=["empty", "text", "cut", "array", "graph"],
)
def test_damaged_files_are_told_from_other_graphs(content):
    path = Writer().add("Gemm", np.float32([[7.5, -7.5]])).save()
    with open(path, "rb") as file:
        changed = content(file.read())
    with open(path, "wb") as file:
        file.write(changed)
    with pytest.raises(ValueError, match=r"^other\.onnx: not an ONNX model, or a damaged one \("):
        load_exported(path)


def test_other_errors(monkeypatch):
    path = Writer().affine(4, 3).save()
    with pytest.raises(ValueError, match=r"^loss: expected one of"):
        from_onnx(path, loss="hinge")
    with pytest.raises(ValueError, match="one input, got 2"):
        from_onnx(Writer().affine(4, 3).save(inputs=("X", "Y")))
    fastfc.export(make_net(), "own.onnx")
    with pytest.raises(ValueError, match=r"^loss: expected None, as own\.onnx says"):
        from_onnx("own.onnx", loss="softmax")
    with pytest.raises(FileNotFoundError):
        from_onnx("absent.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "fastfc\[onnx\]"'):
        from_onnx(path)


def test_tensors_in_other_files_are_not_followed():
    model = onnx.load(Writer().affine(4, 3).save())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with open("other.onnx", "wb") as file:
        file.write(model.SerializeToString())
    with pytest.raises(ValueError, match=r"^other\.onnx: an ONNX model, but .* is in another file"):
        from_onnx("other.onnx")


def error_of(path):
    try:
        from_onnx(path)
    except ValueError as error:
        return str(error)
    return None


def test_damaged_files():
    """Whatever is changed, the end is a network or a ValueError that names the file."""
    with open(labelled("Softmax", 3, ["a", "b", "c"]), "rb") as file:
        content = file.read()
    rng = np.random.default_rng(0)
    for _ in range(2000 if settings().max_examples > 25 else 200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        with open("other.onnx", "wb") as file:
            file.write(damaged[: len(content) - int(rng.integers(0, 2) * rng.integers(0, len(content)))])
        assert (error_of("other.onnx") or "other.onnx: ").startswith("other.onnx: ")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pytorch():
    nn = pytest.importorskip("torch").nn
    import torch

    for activation, norm in [(nn.ReLU, nn.BatchNorm1d), (nn.GELU, nn.LayerNorm), (nn.SiLU, None), (nn.Mish, None)]:
        modules = []
        for inputs, width in ((4, 5), (5, 6)):
            modules += [nn.Linear(inputs, width), *([norm(width)] if norm else []), activation(), nn.Dropout(0.5)]
        model = nn.Sequential(*modules, nn.Linear(6, 3)).eval()
        axes = {"dynamic_axes": {"x": {0: "N"}}, "input_names": ["x"]}
        torch.onnx.export(model, (torch.zeros(2, 4),), "other.onnx", dynamo=False, opset_version=17, **axes)
        net = from_onnx("other.onnx", loss="softmax")
        assert net.loss_name == "softmax"
        with torch.no_grad():
            assert_scores(net, model(torch.from_numpy(X())).numpy())


def test_skl2onnx():
    """Networks of scikit-learn, and pipelines with a scaler."""
    skl2onnx, sklearn = pytest.importorskip("skl2onnx"), pytest.importorskip("sklearn")
    del sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = X(60)
    y = np.array(["no", "yes", "maybe"])[np.arange(60) % 3]
    for labels in (y, y == "no", np.arange(60) % 3 * 2):
        for activation in ("relu", "tanh", "logistic", "identity"):
            mlp = MLPClassifier((5, 4), activation=activation, max_iter=3, random_state=0)
            model = make_pipeline(StandardScaler(), mlp)
            with pytest.warns(ConvergenceWarning):
                model.fit(x, labels)
            onnx.save(skl2onnx.to_onnx(model, x[:1], options={"zipmap": False}), "other.onnx")
            net = from_onnx("other.onnx")
            bound = fastfc.tolerance(np.float32, 30)
            np.testing.assert_allclose(net.predict_proba(x), model.predict_proba(x), rtol=0, atol=bound)
            names = net.class_names or [0, 1]
            assert [names[i] for i in net.predict(x)] == [
                str(value) if net.class_names else value for value in model.predict(x).tolist()
            ]
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(x, x[:, 0])
    onnx.save(skl2onnx.to_onnx(model, x[:1]), "other.onnx")
    net = from_onnx("other.onnx")
    assert net.loss_name == "squared"
    np.testing.assert_allclose(net.predict(x), model.predict(x), rtol=0, atol=fastfc.tolerance(np.float32, 60))
