"""The course's layers and losses: arguments checked, then one dispatch line each.

All functions take float32 and float64 arrays of any layout; other dtypes follow one rule:
integers and booleans become what NumPy makes of them beside the other arguments (float64
alone), float16 is computed in float32 and returned as float16. Complex numbers, objects
and strings raise TypeError, wrong shapes ValueError. Arguments are never changed.
"""

import numpy as np
from numpy.typing import ArrayLike

from fastfc._arguments import cast, float_arrays, labels, number, require_ndim, require_shape
from fastfc._layer_arguments import (
    batchnorm_param,
    check_affine,
    check_norm_cache,
    check_scale_and_shift,
    checked_dropout_param,
    dropout_mode,
    half_of,
    layernorm_param,
    legacy_dropout,
    require_flat,
    unpack,
    write_back,
)
from fastfc.backend import implementation

__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "dropout_backward",
    "dropout_forward",
    "l2_penalty",
    "layernorm_backward",
    "layernorm_forward",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "svm_loss",
]


def affine_forward(x: ArrayLike, w: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, tuple]:
    """Affine (fully connected) layer, forward: ``out = x.reshape(N, D) @ w + b``.

    Parameters
    ----------
    x : array (N, d1, ..., dk)
        A minibatch of N examples, with D = d1 * ... * dk features each.
    w : array (D, M)
        Weights.
    b : array (M,)
        Biases.

    Returns
    -------
    out : array (N, M)
    cache : tuple
        ``(x, w, b)``, for :func:`affine_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    CS231n, assignment 2, ``layers.py``.

    Examples
    --------
    >>> out, cache = affine_forward(np.ones((2, 3)), np.ones((3, 4)), np.zeros(4))
    >>> out.shape
    (2, 4)
    """
    (x, w, b), half = float_arrays(x=x, w=w, b=b)
    check_affine(x, w, b)
    out, cache = implementation("affine_forward")(x, w, b)
    return cast(out, half), cache


def affine_backward(dout: ArrayLike, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Affine layer, backward: ``dx = dout @ w.T``, ``dw = x.T @ dout``, ``db = sum(dout, axis=0)``.

    Parameters
    ----------
    dout : array (N, M)
        Gradient of the loss with respect to the layer's output.
    cache : tuple
        From :func:`affine_forward`.

    Returns
    -------
    dx : array (N, d1, ..., dk)
    dw : array (D, M)
    db : array (M,)

    Raises
    ------
    ValueError
        If `dout` does not have the output's shape, or `cache` is not the forward pass's.

    Notes
    -----
    CS231n, assignment 2, ``layers.py``.

    Examples
    --------
    >>> out, cache = affine_forward(np.ones((4, 3)), np.ones((3, 2)), np.zeros(2))
    >>> dx, dw, db = affine_backward(np.ones((4, 2)), cache)
    >>> dx.shape, dw.shape, db
    ((4, 3), (3, 2), array([4., 4.]))
    """
    x, w, b = unpack(cache, "(x, w, b)", 3)
    require_flat(x, w, b)
    half = half_of(dout)
    (dout, x, w, b), _ = float_arrays(dout=dout, x=x, w=w, b=b)
    check_affine(x, w, b)
    require_shape("dout", dout, (len(x), w.shape[1]), "the shape of the layer's output")
    return cast(implementation("affine_backward")(dout, (x, w, b)), half)


def relu_forward(x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Rectified linear unit, forward: ``out = max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    out : array of x's shape
    cache : array
        `x`, for :func:`relu_backward`.

    Raises
    ------
    TypeError
        If `x` does not hold real numbers.

    Notes
    -----
    Nair and Hinton 2010. CS231n, assignment 2, ``layers.py``.

    Examples
    --------
    >>> relu_forward(np.array([-1.0, 2.0]))[0]
    array([0., 2.])
    """
    (x,), half = float_arrays(x=x)
    out, cache = implementation("relu_forward")(x)
    return cast(out, half), cache


def relu_backward(dout: ArrayLike, cache: ArrayLike) -> np.ndarray:
    """Rectified linear unit, backward: ``dx = dout`` where ``x > 0``, else 0.

    Parameters
    ----------
    dout : array of any shape
    cache : array of the same shape
        `x`, from :func:`relu_forward`.

    Returns
    -------
    dx : array of the same shape

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    CS231n, assignment 2, ``layers.py``.

    Examples
    --------
    >>> relu_backward(np.array([5.0, 6.0]), np.array([1.0, -1.0]))
    array([5., 0.])
    """
    half = half_of(dout)
    require_flat(cache)
    (dout, x), _ = float_arrays(dout=dout, cache=cache)
    require_shape("dout", dout, x.shape, "the shape of x in the cache")
    return cast(implementation("relu_backward")(dout, x), half)


def batchnorm_forward(x: ArrayLike, gamma: ArrayLike, beta: ArrayLike, bn_param: dict) -> tuple[np.ndarray, tuple]:
    """Batch normalization, forward: ``out = gamma * (x - mean) / sqrt(var + eps) + beta``.

    In training mean and var (the biased one) are the minibatch's, by column, and the
    running statistics move towards them::

        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var

    In test mode the running statistics take their place.

    Parameters
    ----------
    x : array (N, D)
    gamma, beta : array (D,)
        Scale and shift.
    bn_param : dict
        ``mode``: ``"train"`` or ``"test"``, required; ``eps``: 1e-5 unless given;
        ``momentum``: from 0 to 1, 0.9 unless given; ``running_mean`` and ``running_var``: arrays (D,),
        zeros if absent. The last two are written back in both modes.

    Returns
    -------
    out : array (N, D)
    cache : tuple
        For :func:`batchnorm_backward` and :func:`batchnorm_backward_alt`.

    Raises
    ------
    ValueError
        For another mode, for shapes that do not fit, for a training batch without rows.

    Notes
    -----
    Ioffe and Szegedy, *Batch Normalization*, 2015; running averages as in CS231n.

    Examples
    --------
    >>> bn_param = {"mode": "train"}
    >>> out, cache = batchnorm_forward(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), bn_param)
    >>> out.round(3).ravel(), bn_param["running_mean"]
    (array([-1.,  1.]), array([0.2]))
    """
    (x, gamma, beta), half = float_arrays(x=x, gamma=gamma, beta=beta)
    require_ndim("x", x, 2, "(N, D)")
    check_scale_and_shift(gamma, beta, x.shape[1])
    param = batchnorm_param(bn_param, len(x), gamma)
    out, cache = implementation("batchnorm_forward")(x, gamma, beta, param)
    write_back(bn_param, param)
    return cast(out, half), cache


def batchnorm_backward(dout: ArrayLike, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Batch normalization, backward.

    The reference goes step by step through the computational graph; the kernel uses the
    simplified formula of :func:`batchnorm_backward_alt`. After a forward pass in test mode
    the running statistics are constants.

    Parameters
    ----------
    dout : array (N, D)
    cache : tuple
        From :func:`batchnorm_forward`.

    Returns
    -------
    dx : array (N, D)
    dgamma, dbeta : array (D,)

    Raises
    ------
    ValueError
        If `dout` does not have the output's shape, or `cache` is not the forward pass's.

    Notes
    -----
    Ioffe and Szegedy, *Batch Normalization*, 2015. CS231n, assignment 2, ``layers.py``.

    Examples
    --------
    >>> out, cache = batchnorm_forward(np.arange(8.0).reshape(4, 2), np.ones(2), np.zeros(2), {"mode": "train"})
    >>> dx, dgamma, dbeta = batchnorm_backward(np.ones((4, 2)), cache)
    >>> dx.shape, dbeta
    ((4, 2), array([4., 4.]))
    """
    return _batchnorm_backward("batchnorm_backward", dout, cache)


def batchnorm_backward_alt(dout: ArrayLike, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Batch normalization, backward, from the simplified formula::

        dbeta = sum(dout)
        dgamma = sum(dout * x_hat)
        dx = gamma / sqrt(var + eps) * (dout - dbeta / N - x_hat * dgamma / N)

    with sums over the N rows.

    Parameters
    ----------
    dout : array (N, D)
    cache : tuple
        From :func:`batchnorm_forward`.

    Returns
    -------
    dx : array (N, D)
    dgamma, dbeta : array (D,)

    Raises
    ------
    ValueError
        If `dout` does not have the output's shape, or `cache` is not the forward pass's.

    Notes
    -----
    The derivation that the CS231n notebook on batch normalization asks for.

    Examples
    --------
    >>> out, cache = batchnorm_forward(np.arange(8.0).reshape(4, 2), np.ones(2), np.zeros(2), {"mode": "train"})
    >>> dx, dgamma, dbeta = batchnorm_backward_alt(np.ones((4, 2)), cache)
    >>> dx.shape, dbeta
    ((4, 2), array([4., 4.]))
    """  # fmt: skip
    return _batchnorm_backward("batchnorm_backward_alt", dout, cache)


def _batchnorm_backward(name: str, dout: ArrayLike, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    half = half_of(dout)
    mode, x_hat, inv_std, gamma = unpack(cache, "of batchnorm_forward", 4)
    if not (isinstance(mode, str) and mode in ("train", "test")):
        raise ValueError(f"cache: expected batchnorm_forward's, got one of mode {mode!r}")
    (dout, x_hat, inv_std, gamma), _ = float_arrays(dout=dout, x_hat=x_hat, inv_std=inv_std, gamma=gamma)
    check_norm_cache(dout, x_hat, inv_std, gamma, mode)
    return cast(implementation(name)(dout, (mode, x_hat, inv_std, gamma)), half)


def layernorm_forward(x: ArrayLike, gamma: ArrayLike, beta: ArrayLike, ln_param: dict) -> tuple[np.ndarray, tuple]:
    """Layer normalization, forward: ``out = gamma * (x - mean) / sqrt(var + eps) + beta``.

    Mean and var (the biased one) are those of each row; training and test do not differ.

    Parameters
    ----------
    x : array (N, D)
    gamma, beta : array (D,)
        Scale and shift.
    ln_param : dict
        ``eps``: 1e-5 unless given. Other keys are not looked at.

    Returns
    -------
    out : array (N, D)
    cache : tuple
        For :func:`layernorm_backward`.

    Raises
    ------
    ValueError
        For shapes that do not fit, or rows without features.

    Notes
    -----
    Ba, Kiros and Hinton, *Layer Normalization*, 2016.

    Examples
    --------
    >>> out, cache = layernorm_forward(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), {})
    >>> out.round(3)
    array([[-1.,  1.]])
    """
    (x, gamma, beta), half = float_arrays(x=x, gamma=gamma, beta=beta)
    require_ndim("x", x, 2, "(N, D)")
    check_scale_and_shift(gamma, beta, x.shape[1])
    out, cache = implementation("layernorm_forward")(x, gamma, beta, layernorm_param(ln_param, gamma))
    return cast(out, half), cache


def layernorm_backward(dout: ArrayLike, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Layer normalization, backward::

        dbeta = sum(dout, axis=0)
        dgamma = sum(dout * x_hat, axis=0)
        g = gamma * dout
        dx = (g - mean(g) - x_hat * mean(g * x_hat)) / sqrt(var + eps)

    with means over each row.

    Parameters
    ----------
    dout : array (N, D)
    cache : tuple
        From :func:`layernorm_forward`.

    Returns
    -------
    dx : array (N, D)
    dgamma, dbeta : array (D,)

    Raises
    ------
    ValueError
        If `dout` does not have the output's shape, or `cache` is not the forward pass's.

    Notes
    -----
    Ba, Kiros and Hinton, *Layer Normalization*, 2016.

    Examples
    --------
    >>> out, cache = layernorm_forward(np.arange(8.0).reshape(4, 2), np.ones(2), np.zeros(2), {})
    >>> dx, dgamma, dbeta = layernorm_backward(np.ones((4, 2)), cache)
    >>> dx.shape, dbeta
    ((4, 2), array([4., 4.]))
    """  # fmt: skip
    half = half_of(dout)
    mode, x_hat, inv_std, gamma = unpack(cache, "of layernorm_forward", 4)
    if not (isinstance(mode, str) and mode == "layer"):
        raise ValueError(f"cache: expected layernorm_forward's, got one of mode {mode!r}")
    (dout, x_hat, inv_std, gamma), _ = float_arrays(dout=dout, x_hat=x_hat, inv_std=inv_std, gamma=gamma)
    check_norm_cache(dout, x_hat, inv_std, gamma, mode)
    return cast(implementation("layernorm_backward")(dout, (mode, x_hat, inv_std, gamma)), half)


def dropout_forward(x: ArrayLike, dropout_param: dict) -> tuple[np.ndarray, tuple]:
    """Inverted dropout, forward: ``out = x * mask``, ``mask = (rand(*x.shape) < p) / p``.

    The random numbers are those of NumPy's global stream (``np.random.seed``), in order,
    on both backends.

    Parameters
    ----------
    x : array of any shape
    dropout_param : dict
        ``p``: the probability to keep a value, 0 < p <= 1; ``mode``: ``"train"``, or
        ``"test"`` for ``out = x``; ``seed``: if given, ``np.random.seed(seed)`` runs first,
        in test mode too; ``legacy``: ``"2017"`` if `p` is the probability to drop a value,
        0 <= p < 1, as in the course's years 2016 and 2017, with
        ``mask = (rand(*x.shape) >= p) / (1 - p)``.

    Returns
    -------
    out : array of x's shape and dtype
    cache : tuple
        ``(dropout_param, mask)``; mask is None in test mode.

    Raises
    ------
    ValueError
        For another mode, or `p` outside (0, 1], or outside [0, 1) with ``legacy``.

    Notes
    -----
    Srivastava et al., *Dropout*, 2014; scaling in training as in the CS231n notes.

    Examples
    --------
    >>> out, cache = dropout_forward(np.ones((2, 2)), {"mode": "train", "p": 0.5, "seed": 0})
    >>> out
    array([[0., 0.],
           [0., 0.]])
    """
    (x,), half = float_arrays(x=x)
    param = checked_dropout_param(dropout_param)
    if param["legacy"]:
        out, mask = legacy_dropout(x, param)
    else:
        out, (_, mask) = implementation("dropout_forward")(x, param)
    return cast(out, half), (dropout_param, mask)


def dropout_backward(dout: ArrayLike, cache: tuple) -> np.ndarray:
    """Inverted dropout, backward: ``dx = dout * mask``, or `dout` in test mode.

    Parameters
    ----------
    dout : array of any shape
    cache : tuple
        ``(dropout_param, mask)`` from :func:`dropout_forward`; ``mode`` is read now.

    Returns
    -------
    dx : array of the same shape

    Raises
    ------
    ValueError
        If the shapes differ, or training mode meets the mask of a forward pass in test mode.

    Notes
    -----
    Srivastava et al., *Dropout*, 2014. CS231n, assignment 2, ``layers.py``.

    Examples
    --------
    >>> np.random.seed(1)
    >>> out, cache = dropout_forward(np.ones(4), {"mode": "train", "p": 0.5})
    >>> bool((dropout_backward(np.ones(4), cache) == out).all())
    True
    """
    half = half_of(dout)
    dropout_param, mask = unpack(cache, "(dropout_param, mask)", 2)
    if isinstance(dropout_param, (tuple, np.ndarray)):
        got = type(dropout_param).__name__
        raise ValueError(f"cache: expected dropout_forward's, whose first part is dropout_param, got {got} there")
    param = {"mode": dropout_mode(dropout_param)}
    if param["mode"] == "test":
        (dout,), _ = float_arrays(dout=dout)
    else:
        if mask is None:
            raise ValueError("cache: expected a mask for mode 'train'; the forward pass ran in mode 'test'")
        (dout, mask), _ = float_arrays(dout=dout, mask=mask)
        require_shape("dout", dout, mask.shape, "the shape of x in the forward pass")
    return cast(implementation("dropout_backward")(dout, (param, mask)), half)


def softmax_loss(x: ArrayLike, y: ArrayLike) -> tuple[np.floating, np.ndarray]:
    """Softmax cross-entropy: ``loss = mean(log(sum(exp(x), axis=1)) - x[rows, y])``.

    Parameters
    ----------
    x : array (N, C)
        Scores.
    y : integer array (N,)
        Labels, 0 <= y < C.

    Returns
    -------
    loss : scalar of x's dtype
    dx : array (N, C)
        ``(softmax(x) - onehot(y)) / N``.

    Raises
    ------
    ValueError
        For labels out of range, shapes that do not fit, or no rows.
    TypeError
        For labels that are not integers.

    Notes
    -----
    The row's maximum is subtracted first, so that no score overflows (CS231n notes).

    Examples
    --------
    >>> loss, dx = softmax_loss(np.zeros((1, 4)), np.array([2]))
    >>> round(float(loss), 4), dx
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    return _loss("softmax_loss", x, y)


def svm_loss(x: ArrayLike, y: ArrayLike) -> tuple[np.floating, np.ndarray]:
    """Multiclass hinge loss: the mean over rows of ``sum over j != y of max(0, x[j] - x[y] + 1)``.

    Parameters
    ----------
    x : array (N, C)
        Scores.
    y : integer array (N,)
        Labels, 0 <= y < C.

    Returns
    -------
    loss : scalar
    dx : array (N, C)

    Raises
    ------
    ValueError, TypeError
        As :func:`softmax_loss`.

    Notes
    -----
    Weston and Watkins 1999; margin 1 as in the CS231n notes.

    Examples
    --------
    >>> loss, dx = svm_loss(np.array([[0.5, 0.0, -2.0]]), np.array([0]))
    >>> float(loss), dx
    (0.5, array([[-1.,  1.,  0.]]))
    """
    return _loss("svm_loss", x, y)


def _loss(name: str, x: ArrayLike, y: ArrayLike) -> tuple[np.floating, np.ndarray]:
    (x,), half = float_arrays(x=x)
    require_ndim("x", x, 2, "(N, C)")
    if 0 in x.shape:
        raise ValueError(f"x: expected at least one row and one class, got shape {x.shape}")
    return cast(implementation(name)(x, labels(y, *x.shape)), half)


def l2_penalty(w: np.ndarray, dw: np.ndarray, reg: float) -> np.floating:
    """L2 regularization: returns ``0.5 * reg * sum(w**2)`` and adds ``reg * w`` to `dw` in place.

    Parameters
    ----------
    w : array of any shape, float32 or float64
    dw : array of w's shape and dtype, C-contiguous and writable
        The gradient that grows.
    reg : float
        Strength.

    Returns
    -------
    penalty : scalar of w's dtype

    Raises
    ------
    ValueError
        If `dw` has another shape.
    TypeError
        If `dw` is not an array that can be added to in place.

    Notes
    -----
    Ridge regression: Hoerl and Kennard 1970. The factor 0.5 is the course's, CS231n.

    Examples
    --------
    >>> dw = np.zeros(2)
    >>> float(l2_penalty(np.array([3.0, 4.0]), dw, reg=2.0)), dw
    (25.0, array([6., 8.]))
    """
    reg = number("reg", reg)
    (w,), _ = float_arrays(w=w)
    if not (type(dw) is np.ndarray and dw.dtype == w.dtype and dw.flags.carray):
        raise TypeError(f"dw: expected a C-contiguous, writable array of dtype {w.dtype}, which is changed in place")
    require_shape("dw", dw, w.shape, "the shape of w")
    return implementation("l2_penalty")(w, dw, reg)
