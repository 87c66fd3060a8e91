"""Compiled kernels on disk: found again, never stale, and never more than a start's time lost."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest

import fastfc
from fastfc._runtime import kernel_cache, machine_code
from fastfc.kernels.compiler import cache as compiler_cache
from fastfc.kernels.compiler import jit

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and limits of POSIX")

# One small kernel, and nothing else, is compiled.
PROBE = (
    "import numpy as np; from fastfc.kernels.activation import relu_forward; "
    "print(*relu_forward(np.array([-2.0, 3.0], np.float32))[0])"
)


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); " + PROBE


def copied(root):
    source = Path(fastfc.__file__).parent
    shutil.copytree(source, root / "fastfc", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    return root


@pytest.fixture
def package(tmp_path):
    """A copy of the package that a test may edit, without compiled kernels."""
    return copied(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A copy whose cache holds the kernel; not to be changed."""
    root = copied(tmp_path_factory.mktemp("compiled"))
    assert probe(root) == "0.0 3.0"
    assert cached(root)
    return root


@pytest.fixture
def warm(compiled, tmp_path):
    """A copy that a test may edit, with compiled kernels."""
    shutil.copytree(compiled / "fastfc", tmp_path / "fastfc")
    return tmp_path


def start(root, code=PROBE, prefix=(), **environment):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "FASTFC_"))}
    return subprocess.Popen(
        [*prefix, sys.executable, "-B", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**inherited, "PYTHONPATH": str(root), **environment},
    )


def result_of(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out.strip()


def probe(root, code=PROBE, prefix=(), **environment):
    return result_of(start(root, code, prefix, **environment))


def cached(folder):
    return sorted(path.name for path in Path(folder).rglob("*.nbc"))


def entries(root):
    """Every file of the package's cache, with its time of writing."""
    return {path.name: path.stat().st_mtime_ns for path in (root / "fastfc" / "kernels" / "__pycache__").iterdir()}


def without_temporary_folder(folder):
    """The environment of a process that finds a file in the place of its folder among the temporary ones."""
    if not hasattr(os, "geteuid"):
        return {}
    folder.mkdir(exist_ok=True)
    (folder / f"fastfc-{os.geteuid()}").write_text("in the way")
    return {"TMPDIR": str(folder)}


def mounted(command, folder):
    """How to run something with `folder` mounted anew; skips where that is not allowed."""
    prefix = ["unshare", "-rm", "sh", "-c", f'{command} && exec "$@"', str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs Linux, and the right to mount")
    return prefix


@needs_compiler
def test_a_second_process_compiles_nothing(warm):
    before = entries(warm)
    assert probe(warm) == "0.0 3.0"
    assert entries(warm) == before


def source_folders():
    """Every folder of source text that can end up in machine code, as a package's name."""
    root = Path(fastfc.__file__).parent
    files = (path for name in kernel_cache.SOURCE_FOLDERS for path in (root / name).rglob("*.py"))
    return sorted({".".join(["fastfc", *path.parent.relative_to(root).parts]) for path in files})


@needs_compiler
@pytest.mark.parametrize("place", source_folders())
def test_an_edit_in_a_helper_file_reaches_the_kernel(place, package):
    """Numba's own cache would keep the old kernel: only the file that the helper stands in has changed."""
    kernels = package / "fastfc" / "kernels"
    helper = package.joinpath(*place.split("."), "of_the_test.py")
    helper.write_text("from fastfc.kernels.compiler.jit import inline\n\n\n@inline\ndef bottom(x):\n    return x * 0\n")
    activation = kernels / "activation.py"
    text = activation.read_text()
    edited = text.replace("out[i] = zero if x[i] <= zero else x[i]", "out[i] = bottom(x[i]) if x[i] <= zero else x[i]")
    assert edited != text
    first_import = "from fastfc.kernels.compiler.jit import"
    assert edited.count(first_import) == 1
    activation.write_text(edited.replace(first_import, f"from {place}.of_the_test import bottom\n{first_import}"))
    assert probe(package) == "-0.0 3.0"
    first = cached(kernels)
    assert probe(package) == "-0.0 3.0"
    assert cached(kernels) == first
    helper.write_text(helper.read_text().replace("x * 0", "x * 2"))
    assert probe(package) == "-4.0 3.0"
    # The files of the old text are gone, those of the new one are there.
    assert len(cached(kernels)) == len(first)
    assert not set(cached(kernels)) & set(first)


@needs_compiler
def test_damaged_cache_files_are_compiled_anew(warm):
    """At any length, and with a wrong byte anywhere: each file of the same cache is damaged in its own way."""
    folder = warm / "fastfc" / "kernels" / "__pycache__"
    (path,) = folder.glob("*.nbc")
    whole = path.read_bytes()
    damages = [whole[:n] for n in (0, 10, 31, 32, 33, len(whole) // 2, len(whole) - 1)]
    damages += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in (0, 31, 32, 40, len(whole) - 1)]
    damages += [whole + b"x", b"x" * len(whole)]
    for damage in damages:
        path.write_bytes(damage)
        assert kernel_cache.read(path) is None
    assert probe(warm) == "0.0 3.0"
    assert kernel_cache.read(path) is not None
    path.unlink()
    path.mkdir()
    assert kernel_cache.read(path) is None
    assert probe(warm) == "0.0 3.0"


@needs_compiler
def test_processes_with_a_cold_cache_at_the_same_time(package):
    processes = [start(package) for _ in range(3)]
    assert [result_of(process) for process in processes] == ["0.0 3.0"] * 3
    before = entries(package)
    # One whole file, and nothing half-written beside it.
    assert len(before) == 1
    (path,) = (package / "fastfc" / "kernels" / "__pycache__").iterdir()
    data = path.read_bytes()
    assert hashlib.sha256(data[32:]).digest() == data[:32]
    assert probe(package) == "0.0 3.0"
    assert entries(package) == before


@needs_compiler
@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (machine_code, "key", lambda: ("another",)),
        (kernel_cache, "source_digest", lambda: "0" * 16),
    ],
    ids=["key", "text"],
)
def test_another_version_has_other_files(owner, name, value, monkeypatch, tmp_path):
    class Codegen:
        def magic_tuple(self):
            return ("processor",)

    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: tmp_path)
    cache = compiler_cache.KernelCache(test_a_second_process_compiles_nothing)
    before = cache.path("signature", Codegen())
    assert cache.path("signature", Codegen()) == before
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, value)
        after = cache.path("signature", Codegen())
    assert after != before


@needs_compiler
def test_what_another_version_and_killed_processes_left_is_removed(package):
    """A file being written by another process is young, and stays."""
    folder = package / "fastfc" / "kernels" / "__pycache__"
    folder.mkdir()
    digest = "0" * 16
    for name in (f"{digest}-a.fastfc.nbc", "b.fastfc.nbcold.tmp", "c.fastfc.nbcnew.tmp", "d.nbc", "e.pyc"):
        (folder / name).write_bytes(b"left")
        os.utime(folder / name, times=(time.time() - 10_000, time.time() - 10_000))
    os.utime(folder / "c.fastfc.nbcnew.tmp")
    assert probe(package) == "0.0 3.0"
    left = set(entries(package))
    assert {"c.fastfc.nbcnew.tmp", "d.nbc", "e.pyc"} < left
    assert len(left) == 4


@needs_compiler
def test_without_a_folder_that_can_be_written(package, tmp_path):
    """Files in the place of folders: permissions do not stop the superuser, who may run these tests."""
    (package / "fastfc" / "kernels" / "__pycache__").write_text("in the way")
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    paths = {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked), "LOCALAPPDATA": str(blocked)}
    paths |= without_temporary_folder(tmp_path / "temporary")
    assert probe(package, **paths) == "0.0 3.0"
    assert cached(package) == []


@needs_compiler
def test_the_user_wide_folder_serves_a_read_only_install(package, tmp_path):
    (package / "fastfc" / "kernels" / "__pycache__").write_text("in the way")
    home = tmp_path / "home"
    assert probe(package, XDG_CACHE_HOME=str(home), LOCALAPPDATA=str(home)) == "0.0 3.0"
    assert cached(home)


@needs_compiler
def test_numba_cache_dir_is_respected(package, tmp_path):
    assert probe(package, NUMBA_CACHE_DIR=str(tmp_path / "elsewhere")) == "0.0 3.0"
    assert cached(tmp_path / "elsewhere")
    assert cached(package / "fastfc") == []


@needs_compiler
def test_a_full_disk_costs_only_the_cache(monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kernel_cache.os, "replace", full)

    def doubled_once(x):
        return 2 * x

    fresh = jit.kernel(doubled_once)
    assert fresh(np.float32(2)) == 4
    assert not [name for name in cached(kernel_cache.cache_folder()) if "doubled_once" in name]


@needs_compiler
def test_a_read_only_home_and_install(compiled, tmp_path, tmp_path_factory):
    """Really read-only, for the superuser as well. What was compiled before the disk became so still serves."""
    home = tmp_path / "home"
    home.mkdir()
    paths = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    paths |= without_temporary_folder(tmp_path_factory.mktemp("temporary"))
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
    copied(tmp_path)
    prefix = mounted(read_only, tmp_path)
    assert probe(tmp_path, prefix=prefix, **paths) == "0.0 3.0"
    assert cached(tmp_path) == []
    assert os.listdir(home) == []


@needs_compiler
@posix
def test_files_that_may_not_grow(package):
    """The kernel is compiled and runs; nothing half-written stays."""
    assert probe(package, LIMITED) == "0.0 3.0"
    assert entries(package) == {}


@needs_compiler
def test_a_cache_disk_that_is_full(package, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    prefix = mounted('mount -t tmpfs -o size=16k none "$0"', folder)
    code = PROBE + "; import os; print(sum(len(files) for _, _, files in os.walk('disk')))"
    assert probe(package, code, prefix, NUMBA_CACHE_DIR=str(folder)) == "0.0 3.0\n0"
    assert cached(package) == []


@needs_compiler
@posix
def test_a_folder_that_everybody_may_write_is_passed_over(warm, tmp_path):
    """Files there could be any user's, and would be executed."""
    folder = warm / "fastfc" / "kernels" / "__pycache__"
    folder.chmod(0o777)
    (path,) = folder.iterdir()
    path.write_bytes(b"anybody's")
    home = tmp_path / "home"
    assert probe(warm, XDG_CACHE_HOME=str(home)) == "0.0 3.0"
    assert path.read_bytes() == b"anybody's"
    assert len(cached(home)) == 1
