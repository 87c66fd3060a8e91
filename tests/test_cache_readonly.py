"""Kernels that another user has compiled, and folders among the temporary files: read if nobody else may write them."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

import fastfc
from fastfc._runtime import kernel_cache
from fastfc._runtime.compile_message import notice

needs_compiler = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and permissions of POSIX")

NOBODY = 65534
# One small kernel, and nothing else, is compiled, or not; then where it would be kept.
PROBE = """
import numpy as np
from fastfc._runtime import kernel_cache
from fastfc.kernels.compiler.compile import KernelCompiler
from fastfc.kernels.activation import relu_forward
compiled = []
compile = KernelCompiler.compile_extra
KernelCompiler.compile_extra = lambda *arguments: (compiled.append(1), compile(*arguments))[1]
print(*relu_forward(np.array([-2.0, 3.0], np.float32))[0], bool(compiled), kernel_cache.cache_folder(), sep="|")
"""


def copied(root):
    source = Path(fastfc.__file__).parent
    shutil.copytree(source, root / "fastfc", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


@pytest.fixture
def place():
    """A folder in which only the superuser writes, and in none of those above it."""
    if os.geteuid() != 0:
        pytest.skip("needs the superuser, who installs for others")
    for parent in ("/opt", "/srv", "/usr/local", "/var/lib"):
        if kernel_cache._is_trusted(Path(parent)):
            folder = Path(tempfile.mkdtemp(prefix="fastfc-test-", dir=parent))
            folder.chmod(0o755)
            yield folder
            shutil.rmtree(folder)
            return
    pytest.skip("needs a folder in which only the superuser writes")


@functools.cache
def as_user(user):
    """The words before a command that make it run as another user; skips where that cannot be."""
    if user == os.geteuid():
        return []
    prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    # A Python in the superuser's home can only be read with a right of its own. It gives none to write.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    for more in ([], reading):
        command = [*prefix, *more, sys.executable, "-c", "import numba, sys; print(sys.prefix)"]
        if shutil.which("setpriv") is not None:
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=300)
            if done.stdout.strip() == sys.prefix:
                return [*prefix, *more]
    pytest.skip("needs setpriv, and a Python that other users can run")


def probe(root, user=0, **environment):
    """Whether a user's process that takes the package from there compiles, and the folder that it would write to."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("NUMBA_", "FASTFC_", "XDG_")) and key not in ("HOME", "TMPDIR")
    }
    done = subprocess.run(
        [*as_user(user), sys.executable, "-B", "-c", PROBE],
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
        env={**inherited, "PYTHONPATH": str(root), "HOME": "/no/home", "FASTFC_QUIET": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    first, second, compiled, folder = done.stdout.strip().split("|")
    assert (first, second) == ("0.0", "3.0")
    return compiled == "True", None if folder == "None" else Path(folder)


@pytest.fixture
def warm(place):
    """An installation whose kernels the superuser has compiled, and a folder for temporary files."""
    root = copied(place / "installed")
    folder = root / "fastfc" / "kernels" / "__pycache__"
    assert probe(root, HOME=str(place)) == (True, folder)
    # Others can read them.
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o644]
    temporary = place / "temporary"
    temporary.mkdir()
    temporary.chmod(0o1777)
    return root, temporary


def kernels(folder):
    return list(Path(folder).rglob("*.nbc"))


@needs_compiler
def test_what_the_superuser_compiled_serves_a_user_without_a_home(warm):
    root, temporary = warm
    compiled, folder = probe(root, NOBODY, TMPDIR=str(temporary))
    assert not compiled
    # There it would keep others.
    assert folder.parent == temporary / f"fastfc-{NOBODY}"
    assert kernels(temporary) == []


@needs_compiler
def test_in_a_folder_of_the_environment_too(place, warm):
    root, temporary = warm
    chosen = place / "chosen"
    chosen.mkdir(mode=0o755)
    # Who chooses a folder wants no other one's kernels.
    assert probe(root, NUMBA_CACHE_DIR=str(chosen))[0]
    shutil.rmtree(root / "fastfc" / "kernels" / "__pycache__")
    assert not probe(root, NOBODY, NUMBA_CACHE_DIR=str(chosen), TMPDIR=str(temporary))[0]
    assert probe(root, NOBODY, TMPDIR=str(temporary))[0]


def open_folder(path):
    path.parent.chmod(0o775)


def open_file(path):
    path.chmod(0o664)


def somebody_elses_folder(path):
    os.chown(path.parent, 12345, 12345)


def somebody_elses_file(path):
    os.chown(path, 12345, 12345)


def open_folder_above(path):
    path.parents[2].chmod(0o757)


def somebody_elses_folder_above(path):
    os.chown(path.parents[2], 12345, 12345)


def linked_folder(path):
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


@needs_compiler
@pytest.mark.parametrize(
    "spoil",
    [
        open_folder,
        open_file,
        somebody_elses_folder,
        somebody_elses_file,
        open_folder_above,
        somebody_elses_folder_above,
        linked_folder,
    ],
)
def test_what_others_may_have_written_is_not_executed(warm, spoil):
    root, temporary = warm
    (path,) = kernels(root)
    spoil(path)
    assert probe(root, NOBODY, TMPDIR=str(temporary))[0]


@needs_compiler
def test_a_user_without_a_home_compiles_once(warm):
    """In a folder among the temporary files that is the user's own."""
    root, temporary = warm
    shutil.rmtree(root / "fastfc" / "kernels" / "__pycache__")
    assert probe(root, NOBODY, TMPDIR=str(temporary))[0]
    (path,) = kernels(temporary)
    own = temporary / f"fastfc-{NOBODY}"
    assert own in path.parents
    assert own.stat().st_uid == NOBODY
    assert own.stat().st_mode & 0o777 == 0o700
    assert not probe(root, NOBODY, TMPDIR=str(temporary))[0]
    # A file of somebody else's in it, as if the folder had been exchanged.
    os.chown(path, 12345, 12345)
    assert probe(root, NOBODY, TMPDIR=str(temporary))[0]


def open_to_others(own, temporary):
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    own.chmod(0o755)


def somebody_elses(own, temporary):
    own.mkdir(mode=0o700)
    os.chown(own, 12345, 12345)


def a_link(own, temporary):
    (temporary / "other").mkdir(mode=0o700)
    os.chown(temporary / "other", NOBODY, NOBODY)
    own.symlink_to("other")
    os.chown(own, NOBODY, NOBODY, follow_symlinks=False)


@needs_compiler
@pytest.mark.parametrize("make", [open_to_others, somebody_elses, a_link])
def test_a_temporary_folder_that_is_not_the_users_own_is_passed_over(warm, make):
    root, temporary = warm
    make(temporary / f"fastfc-{NOBODY}", temporary)
    shutil.rmtree(root / "fastfc" / "kernels" / "__pycache__")
    assert probe(root, NOBODY, TMPDIR=str(temporary)) == (True, None)
    assert kernels(temporary) == []


def test_the_message_says_what_to_do_where_nothing_can_be_kept(monkeypatch, capsys):
    monkeypatch.setattr(kernel_cache, "cache_folder", lambda: None)
    monkeypatch.setattr(notice, "_said", False)
    notice._say()
    assert (
        "in every process, as no folder for them can be written: NUMBA_CACHE_DIR may name one"
        in capsys.readouterr().err
    )
