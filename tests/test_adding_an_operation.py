"""A layer is added in five files, and its tests find it: here in a copy."""

from additions import extended, passed, run

# See test_adding_a_rule.py. LayerScale is x * gamma, with a learned factor for each feature.
LAYERSCALE = {
    "ops/registry.py": [
        (
            '    "dropout": ["dropout_forward"',
            '    "scale": ["layerscale_forward", "layerscale_backward"],\n    "dropout": ["dropout_forward"',
        ),
    ],
    "reference/scale.py": [
        (
            "",
            '''"""LayerScale (Touvron et al. 2021); the cache is (x, gamma)."""


def layerscale_forward(x, gamma):
    """X (N, D), gamma (D,) -> out (N, D), cache."""
    return x * gamma, (x, gamma)


def layerscale_backward(dout, cache):
    """Dout (N, D) -> dx (N, D), dgamma (D,)."""
    x, gamma = cache
    return dout * gamma, (dout * x).sum(axis=0)
''',
        )
    ],
    "kernels/scale.py": [
        (
            "",
            '''"""LayerScale. See :mod:`fastfc.reference.scale`."""

import numpy as np

from fastfc.kernels.compiler.jit import kernel


def layerscale_forward(x, gamma):
    out = np.empty_like(x)
    _layerscale_forward(out, x, gamma)
    return out, (x, gamma)


def layerscale_backward(dout, cache):
    x, gamma = cache
    dx, dgamma = np.empty_like(dout), np.empty_like(gamma)
    _layerscale_backward(dx, dgamma, dout, x, gamma)
    return dx, dgamma


@kernel
def _layerscale_forward(out, x, gamma):
    for i in range(x.shape[0]):
        out_row, row = out[i], x[i]
        for j in range(gamma.size):
            out_row[j] = row[j] * gamma[j]


@kernel
def _layerscale_backward(dx, dgamma, dout, x, gamma):
    dgamma[:] = 0
    for i in range(dout.shape[0]):
        dx_row, dout_row, row = dx[i], dout[i], x[i]
        for j in range(gamma.size):
            dgamma[j] += dout_row[j] * row[j]
            dx_row[j] = dout_row[j] * gamma[j]
''',
        )
    ],
    "ops/cases.py": [
        (
            "def _dropout_forward(",
            """def _layerscale_forward(name, sizes, draw, rng):
    x, gamma = draw("x", sizes.n, sizes.d), draw("gamma", sizes.d)
    size, scale = wide(x, gamma)
    return Case(name, (x, gamma), first_result, [size * scale], 0)


def _layerscale_backward(name, sizes, draw, rng):
    x, gamma, dout = draw("x", sizes.n, sizes.d), draw("gamma", sizes.d), draw("dout", sizes.n, sizes.d)
    size, scale, gradient = wide(x, gamma, dout)
    magnitudes = [gradient * scale, (gradient * size).sum(axis=0)]
    return Case(name, (dout, (x, gamma)), all_results, magnitudes, sizes.n)


def _dropout_forward(""",
        ),
        (
            '    "dropout_forward": _dropout_forward,\n',
            '    "layerscale_forward": _layerscale_forward,\n    "layerscale_backward": _layerscale_backward,\n'
            '    "dropout_forward": _dropout_forward,\n',
        ),
    ],
    "layers.py": [
        (
            '    "layernorm_forward",\n',
            '    "layernorm_forward",\n    "layerscale_backward",\n    "layerscale_forward",\n',
        ),
        (
            "def dropout_forward(",
            '''def layerscale_forward(x: ArrayLike, gamma: ArrayLike) -> tuple[np.ndarray, tuple]:
    """LayerScale, forward: ``out = x * gamma``.

    Parameters
    ----------
    x : array (N, D)
    gamma : array (D,)

    Returns
    -------
    out : array (N, D)
    cache : tuple
        ``(x, gamma)``, for :func:`layerscale_backward`.

    Raises
    ------
    ValueError
        For shapes that do not fit.

    Notes
    -----
    Touvron et al., *Going deeper with Image Transformers*, 2021.

    Examples
    --------
    >>> layerscale_forward(np.ones((1, 2)), np.array([1.0, 0.5]))[0]
    array([[1. , 0.5]])
    """
    (x, gamma), half = float_arrays(x=x, gamma=gamma)
    require_ndim("x", x, 2, "(N, D)")
    require_shape("gamma", gamma, x.shape[1:], "one factor per feature")
    out, cache = implementation("layerscale_forward")(x, gamma)
    return cast(out, half), cache


def layerscale_backward(dout: ArrayLike, cache: tuple) -> tuple[np.ndarray, np.ndarray]:
    """LayerScale, backward: ``dx = dout * gamma``, ``dgamma = sum(dout * x, axis=0)``.

    Parameters
    ----------
    dout : array (N, D)
    cache : tuple
        ``(x, gamma)`` from :func:`layerscale_forward`.

    Returns
    -------
    dx, dgamma : arrays (N, D), (D,)

    Raises
    ------
    ValueError
        For shapes that do not fit, or a cache of another function.

    Notes
    -----
    Touvron et al., *Going deeper with Image Transformers*, 2021.

    Examples
    --------
    >>> dx, dgamma = layerscale_backward(np.ones((1, 2)), (np.full((1, 2), 3.0), np.array([1.0, 0.5])))
    >>> dx, dgamma
    (array([[1. , 0.5]]), array([3., 3.]))
    """
    half = half_of(dout)
    x, gamma = unpack(cache, "(x, gamma)", 2)
    require_flat(x, gamma)
    if isinstance(x, dict):
        raise ValueError("cache: expected layerscale_forward's, got a dictionary in it")
    (dout, x, gamma), _ = float_arrays(dout=dout, x=x, gamma=gamma)
    require_ndim("x", x, 2, "(N, D)")
    require_shape("gamma", gamma, x.shape[1:], "one factor per feature")
    require_shape("dout", dout, x.shape, "the shape of the layer's output")
    return cast(implementation("layerscale_backward")(dout, (x, gamma)), half)


def dropout_forward(''',
        ),
    ],
}
TESTS = ["test_arguments.py", "test_backend.py", "test_differential.py", "test_twins.py"]


def test_five_files():
    assert len(LAYERSCALE) == 5


def test_its_tests_are_there_and_pass(tmp_path):
    root = extended(tmp_path, LAYERSCALE)
    lines = passed(root, "layerscale", TESTS)
    for name in ("layerscale_forward", "layerscale_backward"):
        assert any(name in line for line in lines)
    done = run(root, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_house.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "layerscale_backward" in run(root, "-m", "fastfc", "check").stdout
