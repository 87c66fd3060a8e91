"""NAdam's momenta, which grow from step to step; see :func:`fastfc.optim.nadam`."""

from fastfc.kernels.compiler.jit import inline

#: A product of NAdam's momenta that is 0 beside 1.
NEGLIGIBLE = 2.0**-60


@inline
def momentum_at(beta1, momentum_decay, t):
    return beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))


@inline
def momentum_product(beta1, momentum_decay, t):
    """The product of NAdam's momenta of the steps 1 to t, as far as its distance from 1 shows it."""
    product, k = 1.0, 0
    while k < t and abs(product) > NEGLIGIBLE:
        k += 1
        product *= momentum_at(beta1, momentum_decay, k)
    return product


@inline
def nadam_factors(beta1, momentum_decay, t, product):
    """The factors of the gradient and of m, corrected for their start from zeros."""
    following = momentum_at(beta1, momentum_decay, t + 1)
    return (1 - momentum_at(beta1, momentum_decay, t)) / (1 - product), following / (1 - product * following)
