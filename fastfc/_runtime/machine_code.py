"""Machine code of kernels, loaded from object files by LLVM, without the compiler.

A kernel calls another one through a function-pointer slot: a word of memory that has the other one's
address. The object file knows the slot by a name of ours, and LLVM is told where it is: so a kernel is
compiled, cached and loaded without those that it calls, which must be there only when it runs.
"""

import ctypes
import functools
import hashlib
import importlib
import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastfc._runtime import blas, kernel_cache, settings
from fastfc._runtime.forks import loading
from fastfc._runtime.interrupts import held_back

with held_back():
    # An interrupt amid the import leaves it half imported, for as long as the process lives.
    import llvmlite
    from llvmlite import binding

if sys.platform == "win32":
    _SYSTEM: Any = ctypes.windll.kernel32
    _SYSTEM_CALLS = {
        "fastfc_yield": _SYSTEM.SwitchToThread,
        "fastfc_sleep": _SYSTEM.Sleep,
        "fastfc_clock": _SYSTEM.QueryPerformanceCounter,
    }
else:
    _SYSTEM = ctypes.CDLL(None)
    _SYSTEM_CALLS = {
        "fastfc_yield": _SYSTEM.sched_yield,
        "fastfc_sleep": _SYSTEM.usleep,
        "fastfc_clock": _SYSTEM.clock_gettime,
    }
    if sys.platform == "linux":
        _SYSTEM_CALLS["fastfc_syscall"] = _SYSTEM.syscall
for _name, _function in _SYSTEM_CALLS.items():
    binding.add_symbol(_name, ctypes.cast(_function, ctypes.c_void_p).value)

# Symbols that the linker defines.
_OF_THE_LINKER = {"_GLOBAL_OFFSET_TABLE_"}

# The first bytes of an object file for Linux and its like, of 64 bits and little-endian.
_ELF = b"\x7fELF\x02\x01"
_ELF_SYMBOL = np.dtype(
    [("name", "<u4"), ("kind", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_WEAK = 2

#: The statuses of a kernel that has not failed, as Numba's calling convention has them.
SUCCESS = 0, -2


class Code(NamedTuple):
    """A compiled kernel."""

    function: str  # its name in the object file
    needs: tuple[str, ...]  # the symbols of ours that it needs: other kernels' slots, calls of the system, BLAS
    object_file: bytes


class _Loaded(NamedTuple):
    address: int
    callees: tuple[str, ...]  # the symbols of the kernels that it calls
    calls_blas: bool  # whether it does so itself


_lock = loading
_loaded: dict[str, _Loaded] = {}
# The owners of the machine code, for as long as the process lives: it is not known who still calls it.
# Nor does a reload of this module take it away.
_engines: list[Any] = globals().get("_engines", [])
_slots: dict[str, ctypes.c_void_p] = globals().get("_slots", {})


def symbol_of(name: str, dtype: np.dtype) -> str:
    """The name of the function-pointer slot of a kernel for a dtype."""
    return f"fastfc_{name}_{np.dtype(dtype).name}"


def announce(symbol: str) -> None:
    """Tell LLVM where the function-pointer slot of a kernel is, for code that calls it; it is 0 until :func:`enter`."""
    with _lock:
        if symbol not in _slots:
            slot = ctypes.c_void_p()
            binding.add_symbol(symbol, ctypes.addressof(slot))
            _slots[symbol] = slot


def path(symbol: str) -> Path | None:
    """Where a kernel is cached on disk, there or not; None for nowhere."""
    return kernel_cache.path_of(symbol, key())


def load(symbol: str) -> bool:
    """Load a kernel from the disk, unless it is loaded; False if it is not there, or cannot be loaded."""
    with _lock:
        if symbol in _loaded:
            return True
        payload = kernel_cache.look_up(symbol, key())
        if payload is None:
            return False
        header, _, object_file = payload.partition(b"\n")
        function, needs = json.loads(header)
        return _enter(symbol, Code(function, tuple(needs), object_file))


def keep(symbol: str, code: Code) -> None:
    """Keep a kernel on disk, where there is a place for it."""
    header = json.dumps([code.function, code.needs]).encode()
    kernel_cache.write(path(symbol), header + b"\n" + code.object_file)


def enter(symbol: str, code: Code) -> None:
    """Load a kernel that has just been compiled."""
    with _lock:
        if symbol not in _loaded and not _enter(symbol, code):
            raise RuntimeError(f"kernel {symbol} calls what is not in this process")


def address_of(symbol: str) -> int:
    """Where a loaded kernel begins. What it calls must be loaded when it is called."""
    return _loaded[symbol].address


def callees(symbol: str) -> tuple[str, ...]:
    """The symbols of the kernels that a loaded one calls."""
    return _loaded[symbol].callees


def calls_blas(symbol: str) -> bool:
    """Whether a loaded kernel, or one that it calls, calls BLAS."""
    kernel = _loaded[symbol]
    return kernel.calls_blas or any(map(calls_blas, kernel.callees))


def function_at(symbol: str, *kinds: Any) -> Callable[..., None]:
    """A loaded kernel without a result, as a Python function.

    It runs without the interpreter's lock. What it calls must be loaded.

    Parameters
    ----------
    symbol : str
    *kinds
        The ctypes types of its arguments; ``c_void_p`` for records.
    """
    call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)(_loaded[symbol].address)
    # For a result and an error. They are never read: calls at the same time may share them.
    places = ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_void_p())

    def run(*arguments: Any) -> None:
        status = call(*places, *arguments)
        if status not in SUCCESS:
            # The code around kernels has ruled out every other error that they could raise.
            raise IndexError(f"{symbol}: an index is out of bounds (status {status})")

    return run


def _enter(symbol: str, code: Code) -> bool:
    """Load a kernel; False if it needs what is not there: LLVM would end the process."""
    called = tuple(name for name in code.needs if name not in _SYSTEM_CALLS and name not in blas.SYMBOLS)
    with held_back():
        for name in called:
            announce(name)
        routines = blas.SYMBOLS.keys() & code.needs
        blas.announce_routines(routines)
        # It makes the functions of the C library known.
        engine = _new_engine()
        if sys.platform != "linux" or not code.object_file.startswith(_ELF) or _misses(code.object_file):
            _announce_numbas_runtime()
            if sys.platform == "linux" and _misses(code.object_file):
                return False
        engine.add_object_file(binding.ObjectFileRef.from_data(code.object_file))
        engine.finalize_object()
        address = engine.get_function_address(code.function)
        if address == 0:
            return False
        announce(symbol)
        _engines.append(engine)
        _loaded[symbol] = _Loaded(address, called, bool(routines))
        _slots[symbol].value = address
    return True


def _announce_numbas_runtime() -> None:
    """Tell LLVM the addresses of functions that Numba's code calls: unoptimized code does, elsewhere any may."""
    from numba.core.registry import cpu_target
    from numba.core.runtime import rtsys

    rtsys.initialize(cpu_target.target_context)


def _misses(object_file: bytes) -> set[str]:
    """The symbols that an ELF file needs, and that are not in this process."""
    return {name for name in _undefined_symbols(object_file) if binding.address_of_symbol(name) is None}


def _undefined_symbols(object_file: bytes) -> set[str]:
    """The symbols that an ELF file needs from elsewhere."""
    parts = {}
    file = binding.ObjectFileRef.from_data(object_file)
    for section in file.sections():
        if section.name() in (b".symtab", b".strtab"):
            parts[section.name()] = section.data()
    symbols, names = np.frombuffer(parts[b".symtab"], _ELF_SYMBOL), parts[b".strtab"]
    undefined = symbols[(symbols["section"] == 0) & (symbols["name"] != 0) & (symbols["kind"] >> 4 != _WEAK)]
    return {names[start : names.index(b"\0", start)].decode() for start in undefined["name"]} - _OF_THE_LINKER


def _new_engine() -> Any:
    """An engine that loads object files and owns their memory."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine(jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


@functools.lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    """Of all that has a part in making or loading machine code."""
    spec = importlib.util.find_spec("numba")
    try:
        numba = Path(spec.origin).with_name("_version.py").read_text() if spec is not None and spec.origin else ""
    except OSError:
        # An installation without source text.
        numba = importlib.import_module("numba").__version__
    return (
        hashlib.sha256(numba.encode()).hexdigest(),
        llvmlite.__version__,
        np.__version__,
        platform.python_implementation(),
        ".".join(map(str, sys.version_info[:2])),
    )


@functools.lru_cache(maxsize=1)
def _processor() -> tuple[str, ...]:
    """The processor that this process runs on."""
    try:
        features = binding.get_host_cpu_features().flatten()
    except RuntimeError:
        # LLVM cannot tell them on every platform.
        features = ""
    return binding.get_process_triple(), binding.get_host_cpu_name(), features


def key() -> tuple:
    """All that machine code depends on beside the source text of its kernel."""
    processor, unusual = _processor(), settings.unusual()
    if "+avx2" not in processor[-1]:
        # Numba itself avoids AVX on processors that came before AVX2.
        unusual = tuple((name, value) for name, value in unusual if name != "ENABLE_AVX")
    return *_versions(), *processor, *unusual
