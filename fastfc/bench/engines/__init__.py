"""The engines: a module each, whose functions set a library up for a task.

Such a function takes ``task`` and ``threads`` and returns ``run(n, batches=None)``, which
carries out n steps and returns when they are done: on batches that it draws itself, or on
those given (n, batch); then it returns their losses. Libraries are imported in these
functions, in processes of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastfc.bench.task import Task

__all__ = ["ENGINES", "Engine", "Run", "repeated"]

Run = Callable[..., Any]


def _nothing(task: Task) -> str | None:
    return None


@dataclass(frozen=True)
class Engine:
    """A row of a table.

    Parameters
    ----------
    title : str
        As tables show it.
    start : str
        The function that sets it up, ``"module:function"``.
    module : str
        What must be installed.
    distributions : tuple of str
        Whose versions a report names.
    refuses : callable
        Why it cannot do a task; None if it can.
    single_threaded : bool
        Whether more threads make no difference.
    """

    title: str
    start: str
    module: str = "numpy"
    distributions: tuple[str, ...] = ("numpy",)
    refuses: Callable[[Task], str | None] = _nothing
    single_threaded: bool = False


def repeated(call: Callable[[], object]) -> Run:
    def run(n: int) -> None:
        for _ in range(n):
            call()

    return run


def _mlx_refuses(task: Task) -> str | None:
    return None if task.dtype == "float32" else "it is fast in float32 only"


def _sklearn_refuses(task: Task) -> str | None:
    if task.normalization or task.keep < 1:
        return "it has neither normalization nor dropout"
    if task.dims[-1] <= 2:
        return "for two classes it has one logistic output instead of a softmax"
    return None if task.hidden else "it wants a hidden layer"


def _engine(title: str, start: str, module: str, *distributions: str, **options: Any) -> Engine:
    return Engine(title, f"{__name__}.{start}", module, distributions, **options)


ENGINES = {
    "fastfc": _engine("fastfc", "own:fast", "fastfc", "fastfc", "numba", "numpy", "scipy"),
    "numpy": _engine("course NumPy", "course_numpy:steps", "numpy", "numpy"),
    "torch": _engine("PyTorch eager", "pytorch:eager", "torch", "torch"),
    "torch-compile": _engine("torch.compile", "pytorch:compiled", "torch", "torch"),
    "torch-compile-step": _engine("torch.compile, whole step", "pytorch:compiled_step", "torch", "torch"),
    "jax": _engine("JAX step", "jax_steps:single", "jax", "jax", "jaxlib"),
    "jax-loop": _engine("JAX loop", "jax_steps:many", "jax", "jax", "jaxlib"),
    "mlx": _engine("MLX", "mlx_steps:compiled", "mlx", "mlx", refuses=_mlx_refuses),
    "tensorflow": _engine("TensorFlow", "tensorflow_steps:many", "tensorflow", "tensorflow-cpu"),
    "tinygrad": _engine("tinygrad", "tinygrad_steps:captured", "tinygrad", "tinygrad"),
    "sklearn": _engine("scikit-learn", "scikit:classifier", "sklearn", "scikit-learn", refuses=_sklearn_refuses),
}
