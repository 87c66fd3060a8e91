"""Networks as terminals and notebooks show them."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fastfc import FullyConnectedNet, Network, TwoLayerNet
from fastfc.tabular import TableModel


def table_of(net):
    """The line above the table, and its rows of texts; the HTML must be well-formed."""
    tree = ET.fromstring(net._repr_html_())
    line = "".join(tree.find("strong").itertext()) + tree.find("strong").tail
    return line, [[cell.text or "" for cell in row] for row in tree.iter("tr")]


def test_in_a_line():
    net = FullyConnectedNet([8, 5], 4, 3, normalization="layernorm", dropout_keep_ratio=0.5, activation="tanh")
    assert repr(net) == (
        "FullyConnectedNet([8, 5], input_dim=4, num_classes=3, dropout_keep_ratio=0.5, normalization='layernorm', "
        "activation='tanh', loss='softmax', dtype='float32')"
    )
    again = eval(repr(net), {"FullyConnectedNet": FullyConnectedNet})
    assert repr(again) == repr(net)
    net = Network([4, 8, 3], normalization="batchnorm", seed=0)
    assert repr(net) == "Network([4, 8, 3], activation='relu', normalization='batchnorm', dtype='float32')"
    assert repr(eval(repr(net), {"Network": Network})) == repr(net)


def test_a_table_of_layers():
    net = FullyConnectedNet([8, 5], 4, 3, normalization="batchnorm", dropout_keep_ratio=0.5, dtype=np.float64)
    line, rows = table_of(net)
    assert line == "FullyConnectedNet: loss softmax, dtype float64"
    assert rows == [
        ["layer", "operation", "output", "parameters", "number"],
        ["", "input", "(N, 4)", "", ""],
        ["1", "affine", "(N, 8)", "(4, 8), (8,)", "40"],
        ["", "batchnorm", "(N, 8)", "(8,), (8,)", "16"],
        ["", "relu", "(N, 8)", "", ""],
        ["", "dropout, p=0.5", "(N, 8)", "", ""],
        ["2", "affine", "(N, 5)", "(8, 5), (5,)", "45"],
        ["", "batchnorm", "(N, 5)", "(5,), (5,)", "10"],
        ["", "relu", "(N, 5)", "", ""],
        ["", "dropout, p=0.5", "(N, 5)", "", ""],
        ["3", "affine", "(N, 3)", "(5, 3), (3,)", "18"],
        ["", "", "", "all", "129"],
    ]


@pytest.mark.parametrize(
    "net",
    [
        FullyConnectedNet([], 4, 3),
        FullyConnectedNet([2000], 3072, 10, normalization="layernorm"),
        TwoLayerNet(input_dim=5, hidden_dim=3, num_classes=2),
        Network([6, 4, 1], activation="silu", normalization="batchnorm", dropout_keep_ratio=0.5),
    ],
    ids=["linear", "wide", "two layers", "network"],
)
def test_the_number_of_all_parameters(net):
    line, rows = table_of(net)
    assert line.startswith(f"{type(net).__name__}: ")
    assert rows[-1][-1] == f"{sum(array.size for array in net.params.values()):,}"


@pytest.mark.parametrize("count", [2, 40])
def test_a_model_of_a_table(count):
    net = FullyConnectedNet([8], 2 * count, 2)
    net.class_names = ["no", "<yes>"]
    columns = [{"name": f"c & {i}", "kind": "number", "fill": 0.0, "missing": True} for i in range(count)]
    model = TableModel(net, {"target": "bought", "columns": columns}, [net] * 3)
    assert repr(model) == f"TableModel(target='bought', columns={count}, classes=2, members=3)"
    line, rows = table_of(model)
    assert line == f"TableModel: target bought, classes no, <yes>; 3 networks of {2 * count}-8-2"
    assert rows[0] == ["column", "kind", "with missing values", "features"]
    assert rows[1] == ["c & 0", "number", "yes", "2"]
    assert rows[-1] == ["", "", "all", f"{2 * count}"]
    assert sum(int(row[-1]) for row in rows[1:-1]) == 2 * count
    assert (rows[-2] == ["…", "10 more columns", "", "20"]) == (count == 40)


def test_text_from_elsewhere_is_escaped():
    net = FullyConnectedNet([8], 4, 3)
    net.class_names = ["<script>alert(1)</script>", "a & b", "c"]
    net.input_mean = 1.0
    assert "<script>" not in net._repr_html_()
    line, _ = table_of(net)
    assert line == (
        "FullyConnectedNet: loss softmax, dtype float32, input standardized; classes <script>alert(1)</script>, "
        "a & b, c"
    )
    net = FullyConnectedNet([8], 4, 12)
    net.class_names = [f"c{i}" for i in range(12)]
    assert table_of(net)[0].endswith("classes c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, …")
