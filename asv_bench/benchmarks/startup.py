"""First calls that a user waits for, each time in a new interpreter."""

from benchmarks.common import BACKENDS

_FIRST_STEP = """
import numpy as np, fastfc
X, y = np.zeros((16, 8), np.float32), np.arange(16) % 4
net = fastfc.FullyConnectedNet([16], 8, 4, normalization="batchnorm", dropout_keep_ratio=0.8)
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
with fastfc.use_backend("BACKEND"):
    fastfc.Solver(net, data, update_rule="adam", batch_size=16, num_epochs=1, verbose=False, threads=1).train()
"""
_FIRST_CALL = """
import numpy as np, fastfc
from fastfc.layers import batchnorm_forward
with fastfc.use_backend("BACKEND"):
    batchnorm_forward(np.ones((100, 500)), np.ones(500), np.ones(500), {"mode": "train"})
"""
# Numba reads the variable when it is imported: a kernel cache of the process's own.
_EMPTY_CACHE = """
import atexit, os, shutil, tempfile
os.environ["FASTFC_QUIET"] = "1"
os.environ["NUMBA_CACHE_DIR"] = folder = tempfile.mkdtemp()
atexit.register(shutil.rmtree, folder, ignore_errors=True)
"""


def _with(code: str, backend: str) -> str:
    return code.replace("BACKEND", backend)


def timeraw_import():
    return "import fastfc"


timeraw_import.version = "1"
timeraw_import.pretty_name = "import fastfc"


class FirstUse:
    """From before ``import fastfc`` to the end of the first training step, or of the first layer's call."""

    version = "1"
    params = (BACKENDS,)
    param_names = ("backend",)
    timeout = 600
    number = 1
    repeat = 5

    def setup(self, backend):
        # The timed code runs in processes of their own and finds the kernels on disk.
        for code in (_FIRST_STEP, _FIRST_CALL):
            exec(_with(code, backend), {})

    def timeraw_training_warm_cache(self, backend):
        return _with(_FIRST_STEP, backend)

    def timeraw_layer_warm_cache(self, backend):
        return _with(_FIRST_CALL, backend)


class FirstUseEver:
    """The same before any kernel has been compiled on the machine."""

    version = "1"
    params = (["fast"],)
    param_names = ("backend",)
    timeout = 600
    number = rounds = repeat = 1
    warmup_time = 0

    def timeraw_training_cold_cache(self, backend):
        return _with(_FIRST_STEP, backend), _EMPTY_CACHE

    def timeraw_layer_cold_cache(self, backend):
        return _with(_FIRST_CALL, backend), _EMPTY_CACHE
