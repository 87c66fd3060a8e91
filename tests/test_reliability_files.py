"""Files that are written: killed, interrupted or on a full disk, the old or the new one is there."""

import errno
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc import FullyConnectedNet, Solver, load_model
from fastfc.formats import atomic
from fastfc.formats.atomic import replaced_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions, links, signals and limits of POSIX")


def write(path, content):
    with replaced_file(path) as file:
        file.write(content)


def run(code, *arguments, prefix=()):
    """Run Python code in a process of its own, which must end well."""
    root = str(Path(fastfc.__file__).parents[1])
    result = subprocess.run(
        [*prefix, sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "FASTFC_BACKEND": "reference"},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


# ------------------------------------------------------------------------------------------------- killed

# A process without threads, so that it may fork. Its children write files whose values are all one number,
# a higher one each time, until they are killed.
KILLED = """
import os, pickle, random, signal, sys, time
import numpy as np
from fastfc import FullyConnectedNet, Solver, load_model

folder = sys.argv[1]
rng = random.Random(7)
X, y = np.zeros((4, 300)), np.arange(4) % 2
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
net = FullyConnectedNet([300], 300, 2)
solver = Solver(net, data, verbose=False, checkpoint_name=os.path.join(folder, "c"))

def save_model(path):
    net.save(path)

def save_training(path):
    solver.save(path)

def save_checkpoint(path):
    solver._save_checkpoint()

def load_checkpoint(path):
    with open(path, "rb") as file:
        return pickle.load(file)["model"]

WAYS = [
    ("model.npz", save_model, load_model),
    ("training.npz", save_training, lambda path: Solver.resume(path, data).model),
    ("c_epoch_0.pkl", save_checkpoint, load_checkpoint),
]

def fill(value):
    for array in net.params.values():
        array.fill(value)

newest = {}
for name, save, _ in WAYS:
    fill(0)
    save(os.path.join(folder, name))
    newest[name] = 0
amid = moved = 0
for turn in range(200):
    name, save, load = WAYS[turn % 3]
    path = os.path.join(folder, name)
    child = os.fork()
    if child == 0:
        value = newest[name]
        while True:
            value += 1
            fill(value)
            save(path)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # The next writer has to remove this one's leftover: at most one for each of the files.
    leftovers = [entry for entry in os.listdir(folder) if entry.endswith(".tmp")]
    assert len(leftovers) <= 3, leftovers
    amid += bool(leftovers)
    params = load(path).params
    values = {float(v) for array in params.values() for v in np.unique(array)}
    assert len(values) == 1, f"{name} mixes {values}"
    value = int(values.pop())
    assert value >= newest[name], f"{name} fell back from {newest[name]} to {value}"
    moved += value > newest[name]
    newest[name] = value
for name, save, _ in WAYS:
    save(os.path.join(folder, name))
print(amid, moved, *sorted(os.listdir(folder)))
"""


@posix
def test_killed_two_hundred_times(tmp_path):
    amid, moved, *files = run(KILLED, tmp_path)
    assert files == ["c_epoch_0.pkl", "model.npz", "training.npz"]
    # Else it was not the writing that was interrupted, or nothing was ever written.
    assert int(amid) > 10
    assert int(moved) > 10


# --------------------------------------------------------------------------------------------- a full disk

FULL = """
import errno, os, sys
import numpy as np
from fastfc import FullyConnectedNet, Solver, load_model

folder, way = sys.argv[1:]
if way == "limit":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
os.chdir(folder)
X, y = np.zeros((4, 9)), np.arange(4) % 2
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
small, large = FullyConnectedNet([5], 9, 2), FullyConnectedNet([30_000], 9, 2)
Solver(small, data, verbose=False).save("training.npz")
small.save("model.npz")
Solver(small, data, verbose=False, checkpoint_name="c")._save_checkpoint()
before = {name: open(name, "rb").read() for name in os.listdir()}
for name, save in [
    ("model.npz", lambda: large.save("model.npz")),
    ("training.npz", lambda: Solver(large, data, verbose=False).save("training.npz")),
    ("c_epoch_0.pkl", lambda: Solver(large, data, verbose=False, checkpoint_name="c")._save_checkpoint()),
]:
    try:
        save()
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EFBIG), error
        assert error.filename == name and name in str(error), error
    else:
        raise AssertionError(f"{name} was written")
    assert {name: open(name, "rb").read() for name in os.listdir()} == before, os.listdir()
assert load_model("model.npz").dims == Solver.resume("training.npz", data).model.dims == [9, 5, 2]
print("kept")
"""


@posix
def test_a_file_that_may_not_grow_keeps_the_old_one(tmp_path):
    """The process's limit stops it; to the writer it is the same as a disk that has no more room."""
    assert run(FULL, tmp_path, "limit") == ["kept"]


def test_a_full_disk_keeps_the_old_file(tmp_path):
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=256k none "$0" && exec "$@"', str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs Linux, and the right to mount a small disk")
    assert run(FULL, tmp_path, "disk", prefix=mount) == ["kept"]
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_written_to_and_not_replaced():
    net = FullyConnectedNet([5], 9, 2)
    with pytest.raises(OSError, match="/dev/full") as caught:
        net.save("/dev/full")
    assert caught.value.errno == errno.ENOSPC
    net.save(os.devnull)
    for device in ("/dev/full", os.devnull):
        assert stat.S_ISCHR(os.stat(device).st_mode)


# --------------------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("function", ["fsync", "chmod", "replace"])
def test_an_interrupt_at_any_call_keeps_the_old_file(function, error, tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fails(*args, **options):
        raise error

    monkeypatch.setattr(atomic.os, function, fails)
    with pytest.raises(error if isinstance(error, type) else type(error)) as caught:
        write(path, b"new" * 10_000)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(path)


def test_what_the_block_raises_comes_through(tmp_path):
    with pytest.raises(ZeroDivisionError), replaced_file(tmp_path / "a.bin"):
        1 / 0  # noqa: B018
    with pytest.raises(OSError, match=r"^of its own$"), replaced_file(tmp_path / "a.bin"):
        raise OSError("of its own")
    assert os.listdir(tmp_path) == []


@posix
def test_contents_reach_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(handle):
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
        fsync(handle)

    def recorded_replace(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    write(tmp_path / "a.bin", b"12345")
    assert calls == ["file of 5", "rename", "folder"]


@posix
def test_a_folder_that_cannot_be_synchronized_is_no_error(tmp_path, monkeypatch):
    real = os.open

    def denied(path, *args, **options):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", denied)
    write(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


# ------------------------------------------------------------------------------------- names, permissions


@posix
def test_a_new_file_has_the_usual_permissions(tmp_path, monkeypatch):
    old = os.umask(0o027)
    try:
        # The mask belongs to the whole process: to change it, even for a moment, would open other threads' files.
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
            write(tmp_path / "a.bin", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_a_replaced_file_keeps_its_permissions(mode, tmp_path):
    path, seen = tmp_path / "a.bin", []
    path.write_bytes(b"old")
    path.chmod(mode)
    with replaced_file(path) as file:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    # Nobody may read the new file meanwhile who could not read the old one.
    assert seen == [0o600]


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(atomic.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"a\.bin"):
        write(path, b"new")
    assert path.read_bytes() == b"old"


@posix
def test_a_link_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.bin", tmp_path / "link.bin"
    link.symlink_to(Path("there") / "a.bin")
    write(link, b"first")
    write(link, b"second")
    assert link.is_symlink()
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path / "there") == ["a.bin"]


def test_the_longest_name_that_a_folder_takes(tmp_path):
    name = "µ" * 120 + ".npz"
    write(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match=r"x{300}"):
        write(tmp_path / ("x" * 300), b"new")
    assert os.listdir(tmp_path) == [name]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write(tmp_path / "a", b"new")
    assert (tmp_path / "a").is_dir()
    with pytest.raises(FileNotFoundError, match="none"):
        write(tmp_path / "none" / "a.bin", b"new")
    assert os.listdir(tmp_path) == ["a"]


# ----------------------------------------------------------------------------------------------- leftovers


@posix
def test_leftovers_of_the_killed_are_removed_and_files_being_written_are_not(tmp_path):
    path = tmp_path / "a[1].bin"
    with replaced_file(path) as file:
        file.write(b"slow")
        (being_written,) = os.listdir(tmp_path)
        for name in (".a[1].bin.0123abcd.fastfc.tmp", ".a[1].bin.mine.tmp", ".a1.bin.0123abcd.fastfc.tmp", "a[1].bin~"):
            (tmp_path / name).write_bytes(b"left")
        write(path, b"quick")
        assert sorted(os.listdir(tmp_path)) == sorted(
            [being_written, ".a[1].bin.mine.tmp", ".a1.bin.0123abcd.fastfc.tmp", "a[1].bin", "a[1].bin~"]
        )
    assert path.read_bytes() == b"slow"


@posix
def test_taken_for_a_leftover_before_it_was_locked(tmp_path, monkeypatch):
    flock, taken = atomic.fcntl.flock, []

    def flock_too_late(handle, how):
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        flock(handle, how)

    monkeypatch.setattr(atomic.fcntl, "flock", flock_too_late)
    write(tmp_path / "a.bin", b"new")
    assert len(taken) == 1
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


# --------------------------------------------------------------------------------- what cannot be read back


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_mean", np.array([None, None])),
        ("input_mean", np.zeros(3)),
        ("input_scale", "wide"),
        ("input_scale", np.nan),
        ("class_names", ["one"]),
        ("class_names", "ab"),
        ("class_names", [1, 2]),
    ],
)
def test_a_model_that_could_not_be_read_back_is_not_written(name, value, tmp_path):
    path = tmp_path / "model.npz"
    net = FullyConnectedNet([5], 9, 2)
    net.save(path)
    setattr(net, name, value)
    with pytest.raises(ValueError, match=name):
        net.save(path)
    assert load_model(path).input_mean is None
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_checkpoint_that_cannot_be_pickled_keeps_the_old_one(tmp_path):
    X, y = np.zeros((4, 9)), np.arange(4) % 2
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(FullyConnectedNet([5], 9, 2), data, verbose=False, checkpoint_name=tmp_path / "c")
    solver._save_checkpoint()
    before = (tmp_path / "c_epoch_0.pkl").read_bytes()
    solver.model.odd = lambda: None
    with pytest.raises((pickle.PicklingError, AttributeError)):
        solver._save_checkpoint()
    assert (tmp_path / "c_epoch_0.pkl").read_bytes() == before
    assert os.listdir(tmp_path) == ["c_epoch_0.pkl"]
