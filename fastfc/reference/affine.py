"""Affine layer: out = x @ w + b."""


def affine_forward(x, w, b):
    """X (N, d1..dk), w (D, M), b (M,) -> out (N, M), cache."""
    out = x.reshape(len(x), len(w)) @ w + b
    return out, (x, w, b)


def affine_backward(dout, cache):
    """Dout (N, M) -> dx in x's shape, dw (D, M), db (M,)."""
    x, w, _ = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(len(x), len(w)).T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db
