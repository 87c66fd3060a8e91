"""Picture grids against their definition, element by element, and the plot of a history."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastfc.vis_utils import plot_history, vis_grid, vis_nn, visualize_grid

REAL_DTYPES = (np.float32, np.float64, np.uint8, np.int8, np.int64)


def pictures(n, height=3, width=2, channels=3, dtype=np.float64):
    values = np.random.default_rng(n).integers(
        -100 if np.dtype(dtype).kind != "u" else 0, 100, (n, height, width, channels)
    )
    return values.astype(dtype)


def few_ulps(dtype):
    """Scaling subtracts, divides and multiplies: a rounding each, on both sides of the comparison."""
    return 8 * np.finfo(dtype if np.dtype(dtype).kind == "f" else np.float64).eps


def pixel(picture, y, x, gap):
    """Element of a picture, or the gap's value outside it."""
    inside = picture is not None and y < picture.shape[0] and x < picture.shape[1]
    return picture[y, x] if inside else gap


def grid_by_definition(rows, height, width, step_y, step_x, gap):
    """Grid (height, width, C): pixel (y, x) belongs to the picture at (y // step_y, x // step_x)."""
    return np.array(
        [
            [pixel(rows[y // step_y][x // step_x], y % step_y, x % step_x, gap) for x in range(width)]
            for y in range(height)
        ]
    )


def square_rows(stack):
    side = math.ceil(math.sqrt(len(stack)))
    padded = [*stack, *[None] * (side * side - len(stack))]
    return [padded[row * side : (row + 1) * side] for row in range(side)]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 10),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 3),
    ubound=st.sampled_from([1.0, 255.0]),
    dtype=st.sampled_from(REAL_DTYPES),
)
def test_visualize_grid(n, height, width, channels, padding, ubound, dtype):
    stack = pictures(n, height, width, channels, dtype)
    before = stack.copy()
    grid = visualize_grid(stack, ubound=ubound, padding=padding)
    exact = stack.astype(np.float64)
    spans = [max(p.max() - p.min(), 1) for p in exact]
    scaled = [ubound * (p - p.min()) / span for p, span in zip(exact, spans, strict=True)]
    rows = square_rows(scaled)
    grid_height, grid_width = (len(rows) * (size + padding) - padding for size in (height, width))
    gap = np.zeros(channels)
    expected = grid_by_definition(rows, grid_height, grid_width, height + padding, width + padding, gap)
    assert grid.dtype == np.float64
    np.testing.assert_allclose(grid, expected, rtol=few_ulps(np.float64), atol=0)
    np.testing.assert_array_equal(stack, before)


def test_visualize_grid_defaults():
    stack = pictures(4)
    np.testing.assert_array_equal(visualize_grid(stack), visualize_grid(stack, 255.0, 1))
    assert visualize_grid(stack).shape == (7, 5, 3)
    assert visualize_grid(stack).max() == 255.0


@pytest.mark.parametrize("dtype", REAL_DTYPES)
@pytest.mark.parametrize("n", [1, 2, 4, 5, 9])
def test_vis_grid(n, dtype):
    stack = pictures(n, dtype=dtype)
    before = stack.copy()
    grid = vis_grid(stack)
    exact = stack.astype(np.float64)
    rows = square_rows((exact - exact.min()) / (exact.max() - exact.min()))
    side = len(rows)
    expected = grid_by_definition(rows, side * 4, side * 3, 4, 3, np.zeros(3))
    assert grid.dtype == (dtype if np.dtype(dtype).kind == "f" else np.float64)
    np.testing.assert_allclose(grid, expected, rtol=few_ulps(dtype), atol=0)
    np.testing.assert_array_equal(stack, before)


@pytest.mark.parametrize("dtype", REAL_DTYPES)
@pytest.mark.parametrize("as_array", [False, True])
def test_vis_nn(dtype, as_array):
    stack = pictures(6, dtype=dtype)
    rows = [list(stack[:3]), list(stack[3:])]
    grid = vis_nn(np.array(rows) if as_array else rows)
    exact = stack.astype(np.float64).reshape(2, 3, 3, 2, 3)
    low, high = min(exact.min(), 1), max(exact.max(), 1)
    expected = grid_by_definition((exact - low) / (high - low), 8, 9, 4, 3, np.full(3, (1 - low) / (high - low)))
    assert grid.dtype == (dtype if np.dtype(dtype).kind == "f" else np.float64)
    np.testing.assert_allclose(grid, expected, rtol=few_ulps(dtype), atol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 200.0])
def test_pictures_of_one_value_give_zeros(value):
    stack = np.full((2, 3, 3, 1), value)
    assert not visualize_grid(stack).any()
    assert not vis_grid(stack).any()
    grid = vis_nn([stack])
    assert np.isfinite(grid).all()
    assert grid.any() == (value != 1.0)


def test_one_flat_picture_leaves_the_others_scaled():
    stack = pictures(3)
    stack[1] = 7
    grid = visualize_grid(stack, padding=0)
    assert not grid[:3, 2:4].any()
    assert grid[:3, :2].max() == grid[3:, :2].max() == 255.0


def test_layouts_and_read_only():
    stack = pictures(5)
    frozen = np.asfortranarray(stack)
    frozen.flags.writeable = False
    doubled = np.repeat(stack, 2, axis=2)[:, :, ::2].astype(">f8")
    for function in (visualize_grid, vis_grid, lambda s: vis_nn([s])):
        for other in (frozen, doubled, stack.tolist()):
            np.testing.assert_array_equal(function(other), function(stack))


@pytest.mark.parametrize(
    ("function", "name"), [(visualize_grid, "Xs"), (vis_grid, "Xs"), (lambda s: vis_nn([s]), "rows")]
)
def test_bad_pictures(function, name):
    for shape in [(3, 3, 1), (0, 3, 3, 1), (2, 0, 3, 1), (2, 3, 3, 0)]:
        with pytest.raises(ValueError, match=rf"{name} must have shape \(N, .*C\).*got"):
            function(np.zeros(shape))
    with pytest.raises(ValueError, match=rf"{name} must have shape .* parts differ in shape"):
        function([np.zeros((3, 3, 1)), np.zeros((3, 2, 1))])
    for dtype in (complex, object, "U1"):
        with pytest.raises(TypeError, match=f"{name} must hold real numbers"):
            function(np.zeros((1, 2, 2, 1)).astype(dtype))


@pytest.mark.parametrize(("function", "name"), [(visualize_grid, "Xs"), (vis_grid, "Xs"), (vis_nn, "rows")])
def test_masked_pictures(function, name):
    shape = (1, 1, 2, 2, 1) if function is vis_nn else (1, 2, 2, 1)
    with pytest.raises(ValueError, match=f"{name}: expected an array without masked values"):
        function(np.ma.masked_array(np.zeros(shape), True))


def test_rows_of_different_length():
    picture = np.zeros((2, 2, 1))
    with pytest.raises(ValueError, match=r"rows must have shape .* parts differ in shape"):
        vis_nn([[picture, picture], [picture]])


def test_bad_padding():
    with pytest.raises(ValueError, match="padding: expected 0 or more, got -1"):
        visualize_grid(pictures(1), padding=-1)
    with pytest.raises(TypeError, match="padding: expected an integer"):
        visualize_grid(pictures(1), padding=0.5)
    for ubound in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="ubound: expected a finite number of at least 0"):
            visualize_grid(pictures(1), ubound=ubound)
    with pytest.raises(TypeError, match="ubound: expected a number"):
        visualize_grid(pictures(1), ubound="255")


def history(epochs, iterations=40):
    rng = np.random.default_rng(epochs)
    losses = 0.5 + 2 * np.exp(-np.arange(epochs * iterations) / iterations) + 0.1 * rng.random(epochs * iterations)
    train = 0.9 - 0.8 * np.exp(-np.arange(epochs + 1.0))
    return losses, train, train - 0.05


def texts(axes):
    return [text.get_text() for text in axes.texts]


def labels(axes):
    return axes.get_legend_handles_labels()[1]


@pytest.fixture
def plot():
    pytest.importorskip("matplotlib")

    def draw(*histories, **options):
        figure = plot_history(*histories, **options)
        figure.canvas.draw()
        return figure.axes

    return draw


@pytest.mark.parametrize("epochs", [1, 2, 20, 500])
def test_plot_shows_every_history_with_its_final_values(plot, epochs):
    losses, train, val = history(epochs)
    loss_axes, accuracy_axes = plot(losses, list(train), tuple(val))
    assert loss_axes.get_ylabel() == "loss"
    assert accuracy_axes.get_xlabel() == "epoch"
    assert accuracy_axes.get_ylabel() == "accuracy (%)"
    training, validation, _ = accuracy_axes.get_lines()
    np.testing.assert_array_equal(training.get_ydata(), train)
    np.testing.assert_array_equal(validation.get_ydata(), val)
    np.testing.assert_array_equal(training.get_xdata(), np.arange(epochs + 1))
    assert texts(accuracy_axes) == [f"training {train[-1]:.1%}", f"validation {val[-1]:.1%}"]
    final = losses[-1 - losses.size // 100 :].mean()
    assert texts(loss_axes) == [f"{final:.4g}"]
    assert loss_axes.get_lines()[-1].get_xdata()[-1] == losses.size
    assert f"best: {val.max():.1%}, epoch {val.argmax()}" in labels(accuracy_axes)


def test_short_runs_are_drawn_as_they_are_and_long_ones_smoothed(plot):
    losses = history(1, 99)[0]
    (line,) = plot(losses, [], [])[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), losses)
    losses = history(10, 20)[0]
    raw, mean = plot(losses, [], [])[0].get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), losses)
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 201))
    inner = np.convolve(losses, np.ones(5) / 5, mode="valid")
    np.testing.assert_allclose(mean.get_ydata()[2:-2], inner, rtol=few_ulps(np.float64) * 5)


def test_very_long_runs_keep_their_extremes(plot):
    losses = np.random.default_rng(1).random(300_001)
    losses[[12_345, 300_000]] = 3.0, -2.0
    raw, mean = plot(losses, [], [])[0].get_lines()
    assert raw.get_ydata().max() == 3.0
    assert raw.get_ydata().min() == -2.0
    assert raw.get_ydata().size < 10_000
    assert mean.get_ydata().size <= 300


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("size", [5, 400, 30_000])
def test_losses_that_are_not_finite_are_marked(plot, bad, size):
    losses = np.linspace(2, 1, size)
    losses[size // 2 :] = bad
    axes = plot(losses, [0.1, 0.2], [0.1, 0.2])[0]
    assert labels(axes)[-1] == f"not finite: {size - size // 2:,}, first at {size // 2 + 1:,}"
    assert axes.get_lines()[-1].get_xdata()[0] == size // 2 + 1
    assert all(np.isfinite(axes.get_ylim()))
    assert len(texts(axes)) == 1


@pytest.mark.parametrize(("train", "expected"), [([-0.5, 0.4], (-1, 0.54)), ([-3.0, -2.0], (-3.65, -1.85))])
def test_labels_of_scores_far_below_zero_stay_beside_the_axes(plot, train, expected):
    """The axis begins at -1, unless nothing would be seen then; a tenth of what is seen is the margin."""
    axes = plot([1.0, 0.5], train, [-2.5, -3.5], score="R2")[1]
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx(expected)
    assert all(low <= text.xy[1] <= high for text in axes.texts)
    assert "validation -3.500" in texts(axes)


def test_a_first_score_far_below_zero_leaves_the_axis_to_the_others(plot):
    axes = plot([1.0, 0.5], [-1e9, 0.4, 0.8], [-1e6, 0.3, 0.7], score="R2")[1]
    assert axes.get_ylim() == pytest.approx((-1, 0.98))


def test_nothing_finite_and_nothing_at_all(plot):
    loss_axes, accuracy_axes = plot([np.nan] * 3, [np.nan], [np.inf])
    assert labels(loss_axes) == ["not finite: 3, first at 1"]
    assert texts(accuracy_axes) == ["nothing to draw"]
    for axes in plot([], [], []):
        assert texts(axes) == ["nothing to draw"]


def test_one_point_each_and_unequal_lengths(plot):
    loss_axes, accuracy_axes = plot([2.3], [0.1], [0.12])
    assert texts(loss_axes) == ["2.3"]
    assert texts(accuracy_axes) == ["training 10.0%", "validation 12.0%"]
    accuracy_axes = plot([2.3, 2.2], [0.1, 0.2, 0.3], [])[1]
    assert labels(accuracy_axes) == ["training"]


def test_loss_axis_is_logarithmic_only_for_wide_positive_ranges(plot):
    assert plot([2.3, 0.1], [], [])[0].get_yscale() == "linear"
    assert plot([2.3, 0.001], [], [])[0].get_yscale() == "log"
    assert plot([2.3, 1e38], [], [])[0].get_yscale() == "log"
    assert plot([2.3, 0.0], [], [])[0].get_yscale() == "linear"
    assert plot([-3e38, 3e38], [], [])[0].get_yscale() == "linear"


def test_labels_of_close_accuracies_grow_apart(plot):
    for train, val in [(0.801, 0.8), (0.8, 0.801)]:
        axes = plot([1.0], [train], [val])[1]
        boxes = {text.get_text().split()[0]: text.get_window_extent() for text in axes.texts}
        upper, lower = ("training", "validation") if train > val else ("validation", "training")
        assert boxes[upper].y0 >= boxes[lower].y1 - 1


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot_is_saved(tmp_path, suffix):
    figure_module = pytest.importorskip("matplotlib.figure")
    path = tmp_path / f"history.{suffix}"
    figure = plot_history(*history(2), path=path)
    assert isinstance(figure, figure_module.Figure)
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[suffix])


def test_plot_pickles_and_leaves_its_input_alone():
    pytest.importorskip("matplotlib")
    losses, train, val = history(2)
    losses[3] = np.inf
    before = losses.copy()
    copy = pickle.loads(pickle.dumps(plot_history(losses, train, val)))
    assert len(copy.axes) == 2
    np.testing.assert_array_equal(losses, before)


def test_plot_bad_input(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"train_acc_history: expected one dimension, .* got shape \(1, 2\)"):
        plot_history([1.0], [[0.1, 0.2]], [0.1])
    with pytest.raises(ValueError, match=r"val_acc_history: expected one dimension, .* got shape \(\)"):
        plot_history([1.0], [0.1], 0.1)
    with pytest.raises(TypeError, match="loss_history: expected real numbers"):
        plot_history(["2.3"], [0.1], [0.1])
    with pytest.raises(ValueError, match=r"loss_history: .* parts of different shapes"):
        plot_history([[1.0], [1.0, 2.0]], [0.1], [0.1])
    with pytest.raises(ValueError, match="val_acc_history: expected an array without masked values"):
        plot_history([1.0], [0.1], np.ma.masked_array([0.1, 99.0], [False, True]))
    fractions = "_acc_history: expected fractions from 0 to 1, or score='R2', got"
    with pytest.raises(ValueError, match=f"train{fractions} 10 to 95"):
        plot_history([1.0], [10.0, 95.0], [0.1])
    with pytest.raises(ValueError, match=f"val{fractions} -0.5"):
        plot_history([1.0], [0.1], [-0.5])
    with pytest.raises(FileNotFoundError, match="missing"):
        plot_history([1.0], [0.1], [0.1], path=tmp_path / "missing" / "history.png")
    with pytest.raises(ValueError, match="xyz"):
        plot_history([1.0], [0.1], [0.1], path=tmp_path / "history.xyz")
    assert list(tmp_path.iterdir()) == []


def test_a_plot_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    figures = pytest.importorskip("matplotlib.figure")
    path = tmp_path / "history"
    plot_history([1.0], [0.1], [0.1], path=path)
    old = path.read_bytes()
    assert old.startswith(b"\x89PNG")

    def full(self, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures.Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        plot_history([2.0], [0.1], [0.1], path=path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fastfc\[plot\]"'):
        plot_history([1.0], [0.1], [0.1])


def test_matplotlib_is_imported_on_use_and_pyplot_never(tmp_path):
    pytest.importorskip("matplotlib")
    script = (
        "import sys; from fastfc.vis_utils import plot_history; print('matplotlib' in sys.modules);"
        "plot_history([1.0], [0.1], [0.1], sys.argv[1]); print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "history.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
