"""Activations: one record each, from which all else that the package says about an activation is derived.

An activation is a record in :data:`ACTIVATIONS` and functions of its name in the modules ``activation`` of the
reference, which also says how large a result is, and of the kernels. All but ReLU keep their derivative, the
*slope*, as the cache of the way back.
"""

from typing import NamedTuple

__all__ = ["ACTIVATIONS", "SLOPED", "Activation"]


class Activation(NamedTuple):
    """An elementwise function between layers: the operations ``<name>_forward`` and ``<name>_backward``.

    Parameters
    ----------
    name : str
    formula : str
        The function of x, as documentation shows it.
    source : str
    terms : int
        Elementwise operations of its formula that :func:`fastfc.tolerance` does not count already.
    smooth : bool
        Whether it is analytic at 0.
    """

    name: str
    formula: str
    source: str
    terms: int = 0
    smooth: bool = True

    @property
    def operations(self) -> tuple[str, ...]:
        return f"{self.name}_forward", f"{self.name}_backward"

    @property
    def run_kernel(self) -> str:
        """The kernel that the compiled run calls; ReLU is a part of the run."""
        return f"{self.name}_activation" if self.name in SLOPED else ""


_ALL = (
    Activation("relu", "max(x, 0)", "Nair and Hinton 2010", smooth=False),
    Activation("leaky_relu", "x if x > 0 else 0.01 * x", "Maas et al. 2013", smooth=False),
    Activation("tanh", "tanh(x)", "LeCun et al. 1998"),
    Activation("logistic", "1 / (1 + exp(-x))", "Rumelhart et al. 1986"),
    Activation("identity", "x", "a linear network"),
    Activation(
        "selu", "1.0507 * x if x > 0 else 1.0507 * 1.6733 * (exp(x) - 1)", "Klambauer et al. 2017", smooth=False
    ),
    Activation("elu", "x if x > 0 else exp(x) - 1", "Clevert et al. 2016", smooth=False),
    Activation("silu", "x / (1 + exp(-x))", "Hendrycks and Gimpel 2016; Elfwing et al. 2018"),
    Activation("gelu", "x * Phi(x), Phi the normal distribution's", "Hendrycks and Gimpel 2016", terms=8),
    Activation(
        "gelu_tanh",
        "0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))",
        "Hendrycks and Gimpel 2016, the approximation",
        terms=8,
    ),
    Activation("mish", "x * tanh(log(1 + exp(x)))", "Misra 2019", terms=8),
    Activation("softplus", "log(1 + exp(x))", "Dugas et al. 2001"),
)

#: Name -> activation.
ACTIVATIONS = {activation.name: activation for activation in _ALL}
#: Those whose cache is their slope: all but ReLU.
SLOPED = [name for name in ACTIVATIONS if name != "relu"]
