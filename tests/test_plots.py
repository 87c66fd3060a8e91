"""The numbers that are drawn: weights, activations and gradients by layer, a sweep's grid, histories."""

import subprocess
import sys

import numpy as np
import pytest

import fastfc
from fastfc import plots
from fastfc.sweeps import SweepResult, Trial

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

NORMALIZATIONS = (None, "batchnorm", "layernorm")


@pytest.fixture(autouse=True)
def stream():
    np.random.seed(5)


def network(normalization=None, activation="relu", **options):
    return fastfc.FullyConnectedNet(
        [7, 5], 6, 3, normalization=normalization, activation=activation, dtype=np.float64, weight_scale=0.5, **options
    )


def examples(rows=40):
    return np.random.randn(rows, 6), np.arange(rows) % 3


# The numbers of the layers.


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_gradients_of_the_weights_are_those_of_the_loss(normalization, activation):
    net, (X, y) = network(normalization, activation), examples()
    found = plots.layer_statistics(net, X, y)
    _, grads = net.loss(X, y)
    for layer in found:
        expected = grads[f"W{layer.layer}"]
        bound = fastfc.tolerance(np.float64, 40 * 8 * 8) * np.abs(expected).max()
        assert np.abs(layer.weight_gradients - expected).max() <= bound
    assert [layer.layer for layer in found] == [1, 2, 3]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients_of_the_activations_are_slopes_of_the_loss(normalization):
    """Shifting one output of a layer by a little changes the loss by its gradient."""
    net, (X, y) = network(normalization, "tanh"), examples(9)
    found = plots.layer_statistics(net, X, y)
    # The outputs of layer 2 enter layer 3 directly.
    hidden, W, b = found[1].activations, net.params["W3"], net.params["b3"]

    def loss(out):
        return fastfc.layers.softmax_loss(out @ W + b, y)[0]

    shift = 1e-5
    for row, unit in [(0, 0), (4, 3), (8, 4)]:
        up, down = hidden.copy(), hidden.copy()
        up[row, unit] += shift
        down[row, unit] -= shift
        # A central difference errs by the third derivative times shift**2, and by rounding divided by the shift.
        slope = (loss(up) - loss(down)) / (2 * shift)
        assert abs(slope - found[1].gradients[row, unit]) <= shift**2 + 4 * fastfc.tolerance(np.float64, 8) / shift


def test_activations_are_those_of_the_formula():
    net, (X, _) = network(), examples()
    first = np.maximum(X @ net.params["W1"] + net.params["b1"], 0)
    found = plots.layer_statistics(net, X)
    assert np.allclose(found[0].activations, first, rtol=0, atol=fastfc.tolerance(np.float64, 6) * np.abs(first).max())
    assert found[0].mean == pytest.approx(first.mean(), abs=fastfc.tolerance(np.float64, 280) * np.abs(first).max())
    assert found[0].std == pytest.approx(first.std(), abs=fastfc.tolerance(np.float64, 280) * np.abs(first).max())
    assert found[0].gradients is None
    assert found[0].weight_gradients is None


def test_scores_are_those_of_the_network():
    net, (X, _) = network(), examples()
    scores = net.loss(X)
    bound = fastfc.tolerance(np.float64, 18) * np.abs(scores).max()
    assert np.abs(plots.layer_statistics(net, X)[-1].activations - scores).max() <= bound


def test_dead_units_are_those_that_are_never_above_zero():
    net, (X, _) = network(), examples()
    net.params["b1"][[1, 4]] = -1e3
    net.params["b1"][2] = 1e3
    first, second, last = plots.layer_statistics(net, X)
    assert first.dead[[1, 4]].all()
    assert not first.dead[2]
    assert np.array_equal(first.dead, (first.activations == 0).all(axis=0))
    assert first.dead_share == first.dead.mean()
    assert second.dead.shape == (5,)
    assert not last.dead.any()


def test_saturated_units_are_dead_too_but_those_of_leaky_relu_are_not():
    X, _ = examples()
    for activation, dead in [("tanh", True), ("logistic", True), ("leaky_relu", False)]:
        net = network(activation=activation)
        net.params["b1"][3] = -1e3
        assert plots.layer_statistics(net, X)[0].dead[3] == dead


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_neither_network_nor_stream_is_changed(normalization):
    net, (X, y) = network(normalization, dropout_keep_ratio=0.5), examples()
    net.loss(X, y)
    state = np.random.get_state()
    params = {name: value.copy() for name, value in net.params.items()}
    running = [{key: np.copy(value) for key, value in each.items()} for each in net.bn_params]
    plots.layer_statistics(net, X, y)
    assert all(np.array_equal(params[name], value) for name, value in net.params.items())
    assert all(
        np.array_equal(before[key], after[key])
        for before, after in zip(running, net.bn_params, strict=True)
        for key in before
    )
    assert np.array_equal(np.random.get_state()[1], state[1])
    assert np.random.get_state()[2:] == state[2:]


def test_networks_of_ones_own_loop_and_input_scaling():
    net, (X, y) = network(), examples()
    net.input_mean, net.input_scale = X.mean(axis=0), 1 / X.std(axis=0)
    own = fastfc.Network.from_net(net)
    for mine, theirs in zip(plots.layer_statistics(net, X, y), plots.layer_statistics(own, X, y), strict=True):
        assert np.array_equal(mine.activations, theirs.activations)
        assert np.array_equal(mine.weight_gradients, theirs.weight_gradients)


def test_networks_with_targets():
    net = fastfc.FullyConnectedNet([7], 6, 2, loss="squared", dtype=np.float64)
    X, _ = examples()
    targets = np.random.randn(40, 2)
    _, grads = net.loss(X, targets)
    found = plots.layer_statistics(net, X, targets)
    bound = fastfc.tolerance(np.float64, 40 * 8) * np.abs(grads["W1"]).max()
    assert np.abs(found[0].weight_gradients - grads["W1"]).max() <= bound


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"net": 3}, TypeError, "net: expected a FullyConnectedNet or a Network, got int"),
        ({"X": np.zeros((0, 6))}, ValueError, "X: expected at least one example"),
        ({"X": np.zeros((3, 5))}, ValueError, "X: expected shape"),
        ({"X": [["a"] * 6] * 3}, TypeError, "X: expected an array of real numbers"),
        ({"y": [0, 1, 3]}, ValueError, "y: expected labels"),
        ({"y": [0, 1]}, ValueError, "y: expected"),
    ],
)
def test_arguments_of_the_statistics(change, error, words):
    arguments = {"net": network(), "X": np.zeros((3, 6)), "y": [0, 1, 2], **change}
    with pytest.raises(error, match=words):
        plots.layer_statistics(**arguments)


def test_an_attribute_that_does_not_fit_the_parameters_is_an_error():
    net = network()
    net.normalization = "batchnorm"
    with pytest.raises(ValueError, match="normalization: expected None"):
        plots.layer_statistics(net, np.zeros((3, 6)))


# Histograms.


def drawn_counts(axes):
    """Of each histogram: its place, and the lengths of its bars, the longest of which is 1."""
    found = []
    for patch in axes.patches:
        values, edges, baseline = patch.get_data()
        found.append((baseline, (values - baseline) / 0.8, edges))
    return found


def notes(axes):
    return [label.get_text().split("\n") for label in axes.get_xticklabels()]


def test_histograms_of_activations():
    net, (X, _) = network(), examples()
    net.params["b2"][:] = -1e3
    axes = plots.plot_activations(net, X)
    layers = plots.layer_statistics(net, X)[:-1]
    (place, counts, edges), (second, none, _) = drawn_counts(axes)
    nonzero = layers[0].activations[layers[0].activations != 0]
    expected, _ = np.histogram(nonzero, edges)
    assert (place, second) == (1, 2)
    assert np.allclose(counts, expected / expected.max(), rtol=0, atol=fastfc.tolerance(np.float64, 4))
    assert expected.sum() == nonzero.size
    assert not none.any()
    zero = np.mean(layers[0].activations == 0)
    assert notes(axes)[0] == [
        "layer 1", f"mean {layers[0].mean:.2g}", f"std {layers[0].std:.2g}", f"zero {zero:.0%}",
        f"dead {layers[0].dead_share:.0%}",
    ]  # fmt: skip
    assert notes(axes)[1] == ["layer 2", "mean 0", "std 0", "zero 100%", "dead 100%"]
    mean, *_ = axes.containers[0].lines
    assert mean.get_ydata() == [layers[0].mean]
    (bar,) = axes.containers[0].lines[2]
    assert np.array_equal(bar.get_segments()[0][:, 1], [layers[0].mean - layers[0].std, layers[0].mean + layers[0].std])


@pytest.mark.parametrize("of", ["activations", "weights"])
def test_histograms_of_gradients(of):
    net, (X, y) = network(), examples()
    axes = plots.plot_gradients(net, X, y, of=of)
    layers = plots.layer_statistics(net, X, y)
    arrays = [layer.gradients if of == "activations" else layer.weight_gradients for layer in layers]
    assert axes.get_yscale() == "log"
    for (place, counts, edges), array, i in zip(drawn_counts(axes), arrays, (1, 2, 3), strict=True):
        expected, _ = np.histogram(np.abs(array[array != 0]), edges)
        assert place == i
        assert np.allclose(counts, expected / expected.max(), rtol=0, atol=fastfc.tolerance(np.float64, 4))
    (line,) = (each for each in axes.lines if len(each.get_xdata()) == 3)
    assert np.array_equal(line.get_ydata(), [array.std() for array in arrays])
    assert notes(axes)[0][1:] == [
        f"mean {arrays[0].mean():.1g}", f"std {arrays[0].std():.1g}", f"zero {np.mean(arrays[0] == 0):.0%}",
    ]  # fmt: skip


def test_small_weights_show_vanishing_gradients():
    """The course's question: with weights of 0.01 the gradients of the outputs vanish towards the first layer."""
    net = fastfc.FullyConnectedNet([50] * 4, 20, 10, weight_scale=1e-2)
    axes = plots.plot_gradients(net, np.random.randn(200, 20), np.arange(200) % 10)
    (line,) = (each for each in axes.lines if len(each.get_xdata()) == 5)
    assert (np.diff(np.log10(line.get_ydata())) > 0.5).all()


def test_many_layers_have_no_notes():
    axes = plots.plot_activations(fastfc.FullyConnectedNet([4] * 12, 6, 3, weight_scale=1.0), examples()[0])
    assert notes(axes) == [[str(i)] for i in range(1, 13)]


def test_a_network_whose_units_are_all_dead_is_drawn():
    net, (X, y) = network(), examples()
    net.params["b1"][:] = net.params["b2"][:] = -1e3
    assert notes(plots.plot_activations(net, X))[0][-1] == "dead 100%"
    assert notes(plots.plot_gradients(net, X, y, of="weights"))[0][-1] == "zero 100%"


def test_arguments_of_the_histograms():
    net, (X, y) = network(), examples()
    with pytest.raises(ValueError, match="net: expected a network with hidden layers"):
        plots.plot_activations(fastfc.FullyConnectedNet([], 6, 3), X)
    with pytest.raises(ValueError, match="of: expected 'activations' or 'weights', got 'biases'"):
        plots.plot_gradients(net, X, y, of="biases")
    with pytest.raises(TypeError, match="y: expected labels or targets"):
        plots.plot_gradients(net, X, None)
    net.params["W1"][0, 0] = np.inf
    with pytest.raises(ValueError, match="net: expected finite activations, got others in layer 1"):
        plots.plot_activations(net, X)


# Weights as pictures.


def test_gray_weights():
    W = np.random.randn(16, 5)
    axes = plots.plot_weights(W, count=3)
    image = axes.images[0]
    grid = np.asarray(image.get_array().filled(np.nan))
    assert grid.shape == (9, 9)
    for n, (top, left) in enumerate([(0, 0), (0, 5), (5, 0)]):
        assert np.array_equal(grid[top : top + 4, left : left + 4], W[:, n].reshape(4, 4))
    assert np.isnan(grid[4]).all()
    assert np.isnan(grid[5:, 5:]).all()
    assert image.get_clim() == (-np.abs(W[:, :3]).max(), np.abs(W[:, :3]).max())
    assert axes.get_title(loc="left") == "First-layer weights, 3 of 5 units"


@pytest.mark.parametrize("shape", [(3, 2, 4), (2, 4, 3)])
def test_colours_are_scaled_for_each_unit(shape):
    W = np.random.randn(24, 2)
    grid = np.asarray(plots.plot_weights(W, shape).images[0].get_array())
    assert grid.shape == (5, 4, 3)
    for n, top in enumerate((0, 3)):
        picture = W[:, n].reshape(shape)
        picture = picture.transpose(1, 2, 0) if shape[0] == 3 else picture
        expected = (picture - picture.min()) / (picture.max() - picture.min())
        assert np.array_equal(grid[top : top + 2], expected)
    assert (grid[2] == 1).all()


def test_long_pictures_are_stacked_and_high_ones_stand_side_by_side():
    assert plots.plot_weights(np.eye(12), (1, 12)).images[0].get_array().shape == (23, 12)
    assert plots.plot_weights(np.eye(12), (12, 1)).images[0].get_array().shape == (12, 23)
    assert plots.plot_weights(np.ones((4, 1))).get_title(loc="left") == "First-layer weights, 1 unit"


def test_weights_of_networks_and_of_the_courses_pictures():
    net = fastfc.FullyConnectedNet([4], 3072)
    grid = np.asarray(plots.plot_weights(net).images[0].get_array())
    assert grid.shape == (65, 65, 3)
    own = fastfc.Network([9, 4, 2], seed=0)
    image = plots.plot_weights(own).images[0].get_array()
    assert np.array_equal(image[:3, :3], own.params["W1"][:, 0].reshape(3, 3).astype(np.float64))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros((6, 3)),), ValueError, "shape: expected the shape of a picture"),
        ((np.zeros((6, 3)), (2, 2)), ValueError, "shape: expected .* with 6 elements, got"),
        ((np.zeros((8, 3)), (2, 2, 2)), ValueError, "shape: expected"),
        ((np.zeros((6, 3)), (-2, -3)), ValueError, "shape: expected 1 or more, got -2"),
        ((np.zeros((6, 3)), (2.0, 3)), TypeError, "shape: expected an integer"),
        ((np.zeros((6, 3)), 6), TypeError, "shape: expected a sequence"),
        ((np.ma.masked_array(np.zeros((4, 2)), np.eye(4, 2)),), ValueError, "weights: .* masked"),
        ((np.zeros(6),), ValueError, "weights: expected shape"),
        ((np.full((4, 1), np.nan),), ValueError, "weights: expected finite"),
        (([["a"]],), TypeError, "weights: expected a network or real numbers"),
    ],
)
def test_arguments_of_the_weights(arguments, error, words):
    with pytest.raises(error, match=words):
        plots.plot_weights(*arguments)


def test_number_of_pictures():
    with pytest.raises(ValueError, match="count: expected 1 or more, got 0"):
        plots.plot_weights(np.zeros((4, 2)), count=0)
    with pytest.raises(TypeError, match="count: expected an integer"):
        plots.plot_weights(np.zeros((4, 2)), count=2.0)


# A grid of losses.


def result(maximize=True, **others):
    """Two seeds of learning rates 0.1, 0.01 and scales 1.0, 2.0, 3.0; one training diverged."""
    trials = []
    for rate in (0.1, 0.01):
        for scale in (1.0, 2.0, 3.0):
            for seed in (0, 1):
                loss = None if (rate, scale, seed) == (0.1, 3.0, 1) else scale + seed + 100 * rate
                options = {"learning_rate": rate, "weight_scale": scale, "num_epochs": 2}
                trials.append(Trial(options, seed, {"loss": loss, "score": 1 / scale + rate, **others}))
    return SweepResult(trials, True, maximize)


def framed(axes):
    """Row and column of the frame."""
    (frame,) = axes.patches
    return round(frame.get_y() + 0.5), round(frame.get_x() + 0.5)


def test_grid_of_losses():
    axes = plots.plot_grid(result())
    table = axes.images[0].get_array()
    expected = np.array([[scale + 0.5 + 100 * rate for rate in (0.01, 0.1)] for scale in (1.0, 2.0, 3.0)])
    assert table.mask.tolist() == [[False, False], [False, False], [False, True]]
    assert np.array_equal(table.compressed(), expected.ravel()[:-1])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "3"]
    assert [text.get_text() for text in axes.texts] == ["2.5", "11.5", "3.5", "12.5", "4.5", "diverged"]
    assert framed(axes) == (0, 0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "weight scale")
    assert axes.get_title(loc="left") == "loss, mean of 2 seeds"


def test_cells_without_a_mean_say_why():
    """One whose training failed, one whose training diverged, and one without any."""
    trials = [
        Trial({"learning_rate": 0.1, "normalization": None}, 0, {"loss": 1.0}),
        Trial({"learning_rate": 0.1, "normalization": "$a$"}, 0, {"loss": None}),
        Trial({"learning_rate": 0.2, "normalization": None}, 0, None, "ValueError: no"),
    ]
    axes = plots.plot_grid(SweepResult(trials, True), y="normalization")
    assert [text.get_text() for text in axes.texts] == ["1", "failed", "diverged", ""]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["None", "$a$"]
    assert not any(label.get_parse_math() for label in axes.get_yticklabels())


@pytest.mark.parametrize(
    ("scores", "title"),
    [([0.5], "1 training"), ([0.5, 0.6], "2 trainings"), ([0.5, None], "1 with a score of 2 trainings")],
)
def test_a_sweep_of_one_epoch_is_seen(scores, title):
    trials = [Trial({"reg": i, "b": "$x"}, 0, {"score": score, "losses": [1.0]}) for i, score in enumerate(scores)]
    figure = SweepResult(trials, True).plot()
    assert figure.axes[0].get_title() == title
    assert [line.get_marker() for line in figure.axes[1].lines] == ["o"] * len(scores)
    figure.canvas.draw()


def test_the_best_score_is_framed():
    scores = np.array([[1 / scale + rate for rate in (0.01, 0.1)] for scale in (1.0, 2.0, 3.0)])
    assert framed(plots.plot_grid(result(), value="score")) == np.unravel_index(scores.argmax(), scores.shape)
    least = plots.plot_grid(result(maximize=False), value="score")
    assert framed(least) == np.unravel_index(scores.argmin(), scores.shape)


def test_grid_of_a_real_sweep():
    X, y = examples(60)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    grid = {"learning_rate": [1e-2, 1e-3], "hidden_dims": [[4], [8]], "num_epochs": 2, "batch_size": 20}
    found = fastfc.sweep(grid, data, seeds=2)
    axes = plots.plot_grid(found, y="hidden_dims")
    table = axes.images[0].get_array()
    for row, hidden in enumerate(([4], [8])):
        for column, rate in enumerate((1e-3, 1e-2)):
            losses = [
                trial.result["loss"]
                for trial in found.trials
                if (trial.options["learning_rate"], trial.options["hidden_dims"]) == (rate, hidden)
            ]
            assert table[row, column] == sum(losses) / 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["[4]", "[8]"]


def test_losses_over_several_powers_of_ten_are_coloured_by_their_logarithms():
    trials = [
        Trial({"learning_rate": rate, "weight_scale": 1.0}, 0, {"loss": loss})
        for rate, loss in zip((1, 2, 3), (0.1, 1.0, 100.0), strict=True)
    ]
    norm = plots.plot_grid(SweepResult(trials, True)).images[0].norm
    assert norm(1.0) == pytest.approx(1 / 3, abs=fastfc.tolerance(np.float64, 8))


def test_arguments_of_the_grid():
    with pytest.raises(ValueError, match="result: expected a sweep with trainings"):
        plots.plot_grid(SweepResult([], True))
    with pytest.raises(ValueError, match="x: expected an option that all trainings have, one of learning_rate, "):
        plots.plot_grid(result(), x="reg")
    with pytest.raises(ValueError, match="y: expected another option than x"):
        plots.plot_grid(result(), "learning_rate", "learning_rate")
    with pytest.raises(ValueError, match="over learning_rate and num_epochs alone, but weight_scale vary too"):
        plots.plot_grid(result(), y="num_epochs")
    for value in ("accuracy", "losses", "text"):
        with pytest.raises(ValueError, match=f"value: expected a number .* one of loss, score; got '{value}'"):
            plots.plot_grid(result(losses=[1.0, 2.0], text="a"), value=value)


# Where they are drawn.

CALLS = {
    "weights": lambda **where: plots.plot_weights(np.eye(4), **where),
    "activations": lambda **where: plots.plot_activations(network(), examples()[0], **where),
    "gradients": lambda **where: plots.plot_gradients(network(), *examples(), **where),
    "grid": lambda **where: plots.plot_grid(result(), **where),
}


@pytest.mark.parametrize("name", CALLS)
def test_axes_and_sizes_are_the_callers(name):
    own = Figure().subplots()
    assert CALLS[name](ax=own) is own
    assert CALLS[name](figsize=(3, 2)).figure.get_size_inches().tolist() == [3, 2]
    with pytest.raises(ValueError, match="figsize: expected None beside ax"):
        CALLS[name](ax=own, figsize=(3, 2))
    with pytest.raises(TypeError, match="ax: expected matplotlib axes, got int"):
        CALLS[name](ax=3)


def test_axes_and_size_of_a_history():
    axes = Figure().subplots(1, 2)
    figure = plots.plot_history([3.0, 2.0, 1.0], [0.1, 0.2], [0.3, 0.4], axes=axes)
    assert figure is axes[0].figure
    assert axes[0].lines[0].get_ydata().tolist() == [3, 2, 1]
    assert axes[1].lines[0].get_ydata().tolist() == [0.1, 0.2]
    assert plots.plot_history([1.0], [], [], figsize=(4, 3)).get_size_inches().tolist() == [4, 3]
    with pytest.raises(ValueError, match="axes: expected two"):
        plots.plot_history([1.0], [], [], axes=axes[:1])
    with pytest.raises(TypeError, match="axes: expected two"):
        plots.plot_history([1.0], [], [], axes=axes[0])
    with pytest.raises(TypeError, match="axes: expected matplotlib axes, got str"):
        plots.plot_history([1.0], [], [], axes=["a", "b"])
    with pytest.raises(ValueError, match="figsize: expected None beside axes"):
        plots.plot_history([1.0], [], [], axes=axes, figsize=(4, 3))


def test_a_history_within_a_part_of_a_figure_returns_the_whole():
    figure = Figure()
    axes = figure.subfigures(1, 2)[0].subplots(2, 1)
    assert plots.plot_history([1.0], [], [], axes=axes) is figure


@pytest.mark.parametrize("size", [5, (-1, 2), "wide"])
def test_a_size_that_is_none(size):
    for call in (*CALLS.values(), lambda **where: plots.plot_history([1.0], [], [], **where)):
        with pytest.raises((TypeError, ValueError), match="figsize: expected width and height in inches"):
            call(figsize=size)


def test_matplotlib_is_imported_on_use(tmp_path):
    code = "import sys; from fastfc import plots, vis_utils; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for call in CALLS.values():
        with pytest.raises(ImportError, match=r"fastfc\[plot\]"):
            call()


def test_a_figure_can_be_saved(tmp_path):
    for name, call in CALLS.items():
        path = tmp_path / f"{name}.png"
        call().figure.savefig(path)
        assert path.read_bytes().startswith(b"\x89PNG")
