"""Machine code from the disk: loaded without Numba, and never the wrong one."""

import ctypes
import hashlib
import importlib.util
import os
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
from llvmlite import binding, ir

from fastfc._runtime import blas, kernel_cache, machine_code, settings
from fastfc._runtime.machine_code import Code, symbol_of
from fastfc.training import compiling
from fastfc.training.epoch import callees

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")

# Trains and predicts; says what came out, what is imported, and the process's largest memory in KiB apart from pages of
# files: how many of the LLVM library's pages count as the process's depends on how the page cache holds it.
PROGRAM = """
import sys
import numpy as np
import fastfc

np.random.seed(0)
X, y = np.random.randn(40, 8), np.random.randint(0, 4, 40)
for dtype in (np.float32, np.float64):
    net = fastfc.FullyConnectedNet([16], 8, 4, normalization="batchnorm", dropout_keep_ratio=0.8, dtype=dtype)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = fastfc.Solver(net, data, update_rule="adam", batch_size=20, num_epochs=2, verbose=False, threads=2)
    solver.train()
    assert solver.engine_ == "compiled"
    print(solver.loss_history[-1], *net.predict(X[:3]), net.loss(X[:1]).sum())
status = dict(line.split(":") for line in open("/proc/self/status")) if LINUX else {"VmHWM": "0 kB", "RssFile": "0 kB"}
peak, files = (int(status[key].split()[0]) for key in ("VmHWM", "RssFile"))
print("numba" in sys.modules, peak - files)
""".replace("LINUX", str(sys.platform == "linux"))


def run(code, folder=None, **environment):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "FASTFC_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**inherited, "FASTFC_QUIET": "1", **environment},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache folder with the kernels of PROGRAM, and what it printed as it compiled them."""
    path = tmp_path_factory.mktemp("kernels")
    return path, run(PROGRAM, NUMBA_CACHE_DIR=str(path))


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Numba is imported as well")


@needs_compiler
@linux
def test_numba_is_not_imported(folder):
    """Neither where the kernels are found nor where other processes compile them; and memory is small."""
    path, cold = folder
    warm = run(PROGRAM, NUMBA_CACHE_DIR=str(path))
    assert warm[:-1] == cold[:-1]
    for imported, peak in (cold[-1].split(), warm[-1].split()):
        assert imported == "False"
        # Half of it is enough today; a process that has compiled one small function with Numba has more.
        assert int(peak) < 60_000


@needs_compiler
@linux
@pytest.mark.parametrize("missing", ["train_steps_float32", "backward_float64", "predict_rows_float64"])
def test_a_kernel_that_is_missing_is_compiled_alone(folder, tmp_path, missing):
    path, cold = folder
    for file in path.rglob("*.nbc"):
        if missing not in file.name:
            (tmp_path / file.parent.name).mkdir(exist_ok=True)
            (tmp_path / file.parent.name / file.name).write_bytes(file.read_bytes())
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")}
    assert run(PROGRAM, NUMBA_CACHE_DIR=str(tmp_path))[:-1] == cold[:-1]
    assert {file.name for file in tmp_path.rglob("*.nbc")} == {file.name for file in path.rglob("*.nbc")}
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())


@needs_compiler
def test_the_command_line_predicts_without_numba(folder, tmp_path):
    path, _ = folder
    train = "from fastfc.cli import main; raise SystemExit(main(['train', '--hidden', '4', '--epochs', '1', '--out', "
    model = str(tmp_path / "model.npz")
    run(f"{train}{model!r}]))", NUMBA_CACHE_DIR=str(path))
    predict = (
        "import sys; from fastfc.cli import main\n"
        f"main(['predict', {model!r}, 'fashion-mnist'])\nprint('numba' in sys.modules)"
    )
    assert run(predict, NUMBA_CACHE_DIR=str(path))[-1] == str(sys.platform != "linux")


@needs_compiler
def test_the_preset_for_tables_trains_without_numba(folder):
    pytest.importorskip("pandas")
    path, _ = folder
    code = (
        "import sys, pandas as pd; from fastfc.tabular import fit_table\n"
        "frame = pd.DataFrame({'a': range(40), 'b': [1, 2, 5, 6] * 10, 'y': [0, 1, 1, 0] * 10})\n"
        "for target in ('y', 'a'): fit_table(frame, target, preset='tabular', num_epochs=2)\n"
        "print('numba' in sys.modules)"
    )
    for _ in range(2):
        found = run(code, NUMBA_CACHE_DIR=str(path))
    assert found == [str(sys.platform != "linux")]


# ------------------------------------------------------------------------------------------------- the key


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (machine_code, "_versions", lambda: ("another",)),
        (machine_code, "_processor", lambda: ("another",)),
        (numba.config, "OPT", 0),
        (numba.config, "BOUNDSCHECK", 1),
        (numba.config, "CPU_NAME", "generic"),
        (numba.config, "LOOP_VECTORIZE", 0),
        (machine_code.np, "__version__", "0.1"),
        (machine_code.llvmlite, "__version__", "0.1"),
        (machine_code.sys, "version_info", (3, 99, 0)),
        (kernel_cache, "source_digest", lambda: "0" * 16),
    ],
    ids=["versions", "processor", "OPT", "BOUNDSCHECK", "CPU_NAME", "loops", "numpy", "llvmlite", "python", "text"],
)
def test_another_compiler_or_processor_has_other_files(owner, name, value, monkeypatch, tmp_path):
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(numba.config, "CPU_NAME", None)
    machine_code._versions.cache_clear()
    before = machine_code.path("symbol")
    assert machine_code.path("symbol") == before
    machine_code._versions.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, value)
        after = machine_code.path("symbol")
    getattr(machine_code._versions, "cache_clear", lambda: None)()
    assert after != before
    assert machine_code.path("symbol") == before


def test_avx_that_a_program_turns_off(monkeypatch):
    """Not where Numba does so by itself: there a process without Numba would look for another file."""
    for processor, changes in ((("x86", "new", "+avx,+avx2"), True), (("x86", "old", "+avx"), False)):
        monkeypatch.setattr(machine_code, "_processor", lambda processor=processor: processor)
        monkeypatch.setattr(numba.config, "ENABLE_AVX", True)
        before = machine_code.key()
        monkeypatch.setattr(numba.config, "ENABLE_AVX", 0)
        assert (machine_code.key() != before) == changes


def test_a_numba_without_source_text(monkeypatch, tmp_path):
    here = importlib.util.spec_from_file_location("numba", tmp_path / "__init__.pyc")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: here)
    assert machine_code._versions.__wrapped__()[0] == hashlib.sha256(numba.__version__.encode()).hexdigest()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert machine_code._versions.__wrapped__()[1:] == machine_code._versions()[1:]


def test_a_fastfc_without_source_text(monkeypatch, tmp_path):
    """Bytecode stands for it. Where there is neither, nothing can be told from its name."""
    monkeypatch.setattr(kernel_cache, "_PACKAGE", tmp_path)
    assert kernel_cache._digest_of_source() is None
    (tmp_path / "kernels").mkdir()
    digests = set()
    for name, text in (("a.pyc", b"1"), ("a.pyc", b"2"), ("b.py", b"1"), ("b.py", b"2")):
        (tmp_path / "kernels" / name).write_bytes(text)
        digests.add(kernel_cache._digest_of_source())
    assert len(digests) == 4
    monkeypatch.setattr(kernel_cache, "source_digest", lambda: None)
    assert kernel_cache.cache_folder.__wrapped__() is None


def test_versions_and_processor_are_this_processes():
    assert machine_code.llvmlite.__version__ in machine_code._versions()
    assert binding.get_host_cpu_name() in machine_code._processor()


def test_llvm_that_does_not_know_the_processors_features(monkeypatch):
    def refuse():
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr(binding, "get_host_cpu_features", refuse)
    assert machine_code._processor.__wrapped__()[2] == ""


ASK = """
import sys
from fastfc._runtime import settings
config = settings.numba_config()
print("numba" in sys.modules, config is not None, settings.compiler_disabled(), settings.unusual())
"""


def test_numba_is_asked_only_if_something_is_unusual(tmp_path):
    assert run(ASK) == ["False False False ()"]
    assert run(ASK, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="1") == ["False False False ()"]
    assert run(ASK, NUMBA_DISABLE_JIT="1") == ["True True True (('NUMBA_DISABLE_JIT', '1'),)"]
    assert run(ASK, NUMBA_OPT="3") == ["True True False (('NUMBA_OPT', '3'),)"]
    assert run(ASK, NUMBA_OPT="1") == ["True True False (('NUMBA_OPT', '1'), ('OPT', '_OptLevel(1)'))"]
    assert run("import numba" + ASK) == ["True True False ()"]
    (tmp_path / ".numba_config.yaml").write_text("opt: 3")
    assert run(ASK, folder=tmp_path) == ["True True False (('.numba_config.yaml', 'opt: 3'),)"]


def test_a_numba_that_may_not_be_imported_is_not_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(settings, "_given", list)
    assert settings.numba_config() is None


@needs_compiler
@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_OPT"])
def test_kernels_of_other_settings_are_found_again(tmp_path, setting):
    """They may need functions of Numba's."""
    value = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "0"}[setting]
    environment = {setting: value, "NUMBA_CACHE_DIR": str(tmp_path)}
    program = PROGRAM.replace("(np.float32, np.float64)", "(np.float32,)")
    cold = run(program, **environment)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")}
    assert before
    fails = "import fastfc.kernels.compiler.standalone as standalone\nstandalone.Standalone.compile = None\n"
    assert run(fails + program, **environment)[:-1] == cold[:-1]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")} == before


@needs_compiler
def test_a_reload_of_the_loader_keeps_what_is_loaded():
    code = (
        "import gc, importlib, numpy as np, fastfc\n"
        "net, X = fastfc.FullyConnectedNet([6], 8, 4), np.ones((2, 8), np.float32)\n"
        "before = net.loss(X)\n"
        "from fastfc._runtime import machine_code\n"
        "for _ in range(3):\n"
        "    importlib.reload(machine_code)\n"
        "    gc.collect()\n"
        "    assert np.array_equal(net.loss(X), before)\n"
        "print(fastfc.FullyConnectedNet([6], 8, 4, dtype=np.float64).loss(X).shape)"
    )
    assert run(code) == ["(2, 4)"]


def test_numbas_cache_folder_is_known_without_numba(tmp_path):
    code = (
        "import sys; from fastfc._runtime import kernel_cache\n"
        "print(kernel_cache.cache_folder().parent, 'numba' in sys.modules)"
    )
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)) == [f"{tmp_path} False"]


@needs_compiler
def test_what_is_compiled_from_an_edited_text_is_not_kept(monkeypatch):
    """The file would have the digest of the text that was imported."""
    kept_symbols = []
    monkeypatch.setattr(machine_code, "keep", lambda symbol, code: kept_symbols.append(symbol))
    monkeypatch.setattr(machine_code, "load", lambda symbol: False)
    monkeypatch.setattr(machine_code, "enter", lambda symbol, code: None)
    dtype = np.dtype(np.float32)
    compiling.provide(["product"], dtype)
    assert kept_symbols == [symbol_of("product", dtype)]
    monkeypatch.setattr(kernel_cache, "_digest_of_source", lambda: "another")
    compiling.provide(["product"], dtype)
    assert len(kept_symbols) == 1


# ------------------------------------------------------------------------------------------------- loading


def code_calling(*symbols):
    """A kernel made by hand that calls functions of these names."""
    module = ir.Module("by_hand")
    module.triple = binding.get_process_triple()
    kind = ir.FunctionType(ir.IntType(32), [ir.IntType(64), ir.IntType(64)])
    builder = ir.IRBuilder(ir.Function(module, kind, "by_hand").append_basic_block())
    for symbol in symbols:
        builder.call(ir.Function(module, ir.FunctionType(ir.VoidType(), []), symbol), [])
    builder.ret(ir.IntType(32)(0))
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_triple(module.triple).create_target_machine(jit=True)
    return Code("by_hand", (), machine.emit_object(binding.parse_assembly(str(module))))


@pytest.fixture
def forgotten():
    """Kernels of a test's own are not there for the next one."""
    before = dict(machine_code._loaded)
    yield
    machine_code._loaded.clear()
    machine_code._loaded.update(before)


@linux
@pytest.mark.usefixtures("forgotten")
def test_machine_code_that_needs_what_is_not_there_is_not_loaded(tmp_path, monkeypatch):
    """LLVM would end the process."""
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: tmp_path)
    code = code_calling("no_such_function", "abort")
    assert machine_code._undefined_symbols(code.object_file) == {"no_such_function", "abort"}
    machine_code.keep("fastfc_by_hand", code)
    assert not machine_code.load("fastfc_by_hand")
    with pytest.raises(RuntimeError, match="fastfc_by_hand calls what is not in this process"):
        machine_code.enter("fastfc_by_hand", code)


@pytest.mark.usefixtures("forgotten")
def test_what_is_kept_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: tmp_path)
    assert not machine_code.load("fastfc_by_hand")
    machine_code.keep("fastfc_by_hand", code_calling())
    assert machine_code.load("fastfc_by_hand")
    assert machine_code.callees("fastfc_by_hand") == ()
    machine_code.function_at("fastfc_by_hand")()


@needs_compiler
def test_threads_that_ask_at_once_get_the_same_kernel(monkeypatch):
    compiling.kernel("predict_rows", np.dtype(np.float32))
    compiling.kernel.cache_clear()
    monkeypatch.setattr(machine_code, "_loaded", {})
    entered = []
    original = machine_code._enter
    monkeypatch.setattr(
        machine_code, "_enter", lambda symbol, code: (entered.append(symbol), original(symbol, code))[1]
    )
    start, results = threading.Barrier(6), []

    def work():
        start.wait()
        results.append(compiling.kernel("predict_rows", np.dtype(np.float32)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert sorted(entered) == sorted(
        {symbol_of(name, np.float32) for name in ("predict_rows", *callees("predict_rows"))}
    )


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_does_not_wait_for_its_parents_threads():
    compiling.kernel("predict_rows", np.dtype(np.float64))
    code = (
        "import os, threading, time, numpy as np\n"
        "from fastfc._runtime import machine_code\n"
        "from fastfc.training import compiling\n"
        "held = threading.Event()\n"
        "def hold():\n"
        "    with compiling._lock:\n"
        "        with machine_code._lock:\n"
        "            held.set()\n"
        "            time.sleep(0.3)\n"
        "        threading.Event().wait()\n"
        "threading.Thread(target=hold, daemon=True).start()\n"
        "held.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    compiling.kernel('predict_rows', np.dtype(np.float64))\n"
        "    os._exit(0)\n"
        "print(os.waitpid(child, 0)[1], flush=True)\n"
        "os._exit(0)\n"
    )
    assert run(code) == ["0"]


# ------------------------------------------------------------------------------------------------- routines


@pytest.mark.parametrize(("name", "dtype"), [("sgemm", np.float32), ("dgemm", np.float64)])
def test_routines_of_blas_are_what_they_are_called(name, dtype):
    """C (2, 2) = A (2, 3) @ B (3, 2), all by columns."""
    A, B = np.arange(6.0, dtype=dtype).reshape(2, 3), np.arange(6.0, dtype=dtype).reshape(3, 2)
    C = np.zeros((2, 2), dtype)
    a, b = A.T.copy(), B.T.copy()
    m, n, k = (ctypes.c_int(size) for size in (2, 2, 3))
    real = ctypes.c_float if name == "sgemm" else ctypes.c_double
    no, one, zero = ctypes.c_char(b"N"), real(1), real(0)
    arguments = [no, no, m, n, k, one, a, m, b, k, zero, C, m]
    pointers = [arg.ctypes.data if isinstance(arg, np.ndarray) else ctypes.addressof(arg) for arg in arguments]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(blas.routine(name))(*pointers)
    np.testing.assert_array_equal(C.T, A @ B)


def test_settings_of_this_process_are_numbas():
    assert settings.numba_config() is numba.config
    assert settings.compiler_disabled() == bool(numba.config.DISABLE_JIT)
    assert settings.cache_folder() == numba.config.CACHE_DIR
