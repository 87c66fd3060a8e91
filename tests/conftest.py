import os
import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import fastfc

# A kernel's first call compiles it, and without the compiler every kernel is slow: no deadlines.
_COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
# The same examples in every run of CI, which judges a change; others everywhere else, which look for faults.
settings.register_profile("default", max_examples=25, derandomize="CI" in os.environ, **_COMMON)
settings.register_profile("long", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# A shell without job control has what it starts in the background ignore Ctrl-C, for which many tests wait.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["reference", "fast"])
def backend(request):
    """Run the test on each backend."""
    with fastfc.use_backend(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _random_state():
    """No test moves another's random stream."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)
