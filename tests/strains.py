"""Values that strain arithmetic: shared by the tests."""

import numpy as np

from fastfc import cases


def values_that_strain(kind):
    """A sampler for :func:`cases.build` whose inputs are of an awkward kind."""

    def sample(rng, name, shape):
        values = cases.normal(rng, name, shape)
        if name not in ("x", "dout", "dw"):
            return values
        if kind == "large mean":
            return 1e4 + 1e-3 * values
        if kind == "large logits":
            return np.where(values > 0, 1e4, -1e4)
        if kind == "zero variance":
            return np.full(shape, 3.25)
        if kind == "denormal":
            return values * 1e-42
        if kind == "huge":
            return values * 1e15
        if kind == "signed zeros":
            return np.where(values > 0, 0.0, -0.0)
        values.flat[rng.integers(values.size)] = {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf}[kind]
        return values

    return sample


#: Kinds whose values are all finite.
FINITE = ["large mean", "large logits", "zero variance", "denormal", "huge", "signed zeros"]
NOT_FINITE = ["nan", "inf", "minus inf"]
