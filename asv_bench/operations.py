"""Single operations: `run(n)` carries one out n times, with its results in new memory."""

import numpy as np

from fastfc.backend import OPS
from fastfc.bench.engines import Engine, Run, repeated
from fastfc.bench.engines.pytorch import pytorch
from fastfc.bench.task import BETA1, BETA2, EPSILON, MOMENTUM, NORM_EPS, RATE

__all__ = ["OPERATIONS", "OPERATION_ENGINES", "OPERATION_SHAPES"]

OPERATIONS = [
    "batchnorm_forward",
    "batchnorm_backward",
    "layernorm_forward",
    "layernorm_backward",
    "relu_backward",
    "adam",
]
OPERATION_SHAPES = [(100, 64), (256, 512), (1024, 1024), (8192, 1024)]
OPERATION_ENGINES = {
    "fastfc": Engine("fastfc", f"{__name__}:fast", "fastfc", ("fastfc", "numba", "numpy"), single_threaded=True),
    "numpy": Engine("NumPy reference", f"{__name__}:reference", "fastfc", ("numpy",), single_threaded=True),
    "torch": Engine("PyTorch", f"{__name__}:torch", "torch", ("torch",)),
}


def _operands(operation: str, shape: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    wide = [random.standard_normal(shape, np.float32) for _ in range(2)]
    if operation == "adam":
        return [*wide, np.zeros(shape, np.float32), np.zeros(shape, np.float32)]
    return [*wide, np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)]


def fast(operation: str, shape: tuple[int, int], threads: int) -> Run:
    return _own("fast", operation, tuple(shape))


def reference(operation: str, shape: tuple[int, int], threads: int) -> Run:
    return _own("reference", operation, tuple(shape))


def _own(backend: str, operation: str, shape: tuple[int, int]) -> Run:
    x, dout, a, b = _operands(operation, shape)
    if operation == "adam":
        adam = OPS["adam"].twin(backend)
        config = {"learning_rate": RATE, "beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON, "m": a, "v": b, "t": 0}
        return repeated(lambda: adam(x, dout, config))
    if operation == "relu_backward":
        relu_backward = OPS[operation].twin(backend)
        return repeated(lambda: relu_backward(dout, x))
    kind, _, direction = operation.partition("_")
    forward = OPS[f"{kind}_forward"].twin(backend)
    # The simplified formula, which is also the faster one of the reference.
    backward = OPS["batchnorm_backward_alt" if kind == "batchnorm" else "layernorm_backward"].twin(backend)
    options = {
        "mode": "train",
        "eps": NORM_EPS,
        "momentum": MOMENTUM,
        "running_mean": b.copy(),
        "running_var": a.copy(),
    }
    if direction == "forward":
        return repeated(lambda: forward(x, a, b, options))
    cache = forward(x, a, b, options)[1]
    return repeated(lambda: backward(dout, cache))


def torch(operation: str, shape: tuple[int, int], threads: int) -> Run:
    torch = pytorch(threads)
    aten = torch.ops.aten
    shape = tuple(shape)
    x, dout, a, b = map(torch.from_numpy, _operands(operation, shape))
    steps, wanted = [torch.zeros(())], [True, True, True]
    running = b.clone(), a.clone()

    def batchnorm_forward():
        return aten.native_batch_norm(x, a, b, *running, True, 1 - MOMENTUM, NORM_EPS)

    def layernorm_forward():
        return aten.native_layer_norm(x, shape[1:], a, b, NORM_EPS)

    def batchnorm_backward():
        aten.native_batch_norm_backward(dout, x, a, *running, *saved, True, NORM_EPS, wanted)

    def layernorm_backward():
        aten.native_layer_norm_backward(dout, x, shape[1:], *saved, a, b, wanted)

    def adam():
        steps[0].add_(1)
        torch._fused_adam_(
            [x], [dout], [a], [b], [], steps,
            lr=RATE, beta1=BETA1, beta2=BETA2, weight_decay=0.0, eps=EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip

    calls = {
        "batchnorm_forward": batchnorm_forward,
        "batchnorm_backward": batchnorm_backward,
        "layernorm_forward": layernorm_forward,
        "layernorm_backward": layernorm_backward,
        "relu_backward": lambda: aten.threshold_backward(dout, x, 0),
        "adam": adam,
    }
    if operation.endswith("norm_backward"):
        saved = calls[operation.replace("backward", "forward")]()[1:]
    run = repeated(calls[operation])

    def without_gradients(n):
        with torch.no_grad():
            run(n)

    return without_gradients
