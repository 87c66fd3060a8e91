"""The command line without a terminal: streams that are closed, None or broken, as services and pythonw have them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc import load_model
from fastfc._runtime.compile_message import notice
from fastfc.cli import main

posix = pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell")
TRAIN = "train --data data.npz --hidden 4 --epochs 1 --backend reference"
SUMMARY = "data: data.npz (30 train, 30 validation)\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTFC_QUIET", "1")
    X, y = np.random.RandomState(0).randn(30, 3), np.arange(30) % 2
    np.savez("data.npz", X_train=X, y_train=y, X_val=X, y_val=y)


def shell(command, redirections):
    """Exit code, and what came through the streams that are still open, of a Python process in a shell."""
    env = {**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1])}
    line = f'exec "{sys.executable}" {command} {redirections}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=env, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def read(name):
    return Path(name).read_text()


@posix
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-"])
@pytest.mark.parametrize("order", ["{} >out.txt", ">out.txt {}"])
def test_errors_do_not_land_among_the_results(closed, order):
    redirections = order.format(closed)
    for command in ("predict absent.npz data.npz", "train --data absent.csv", "train --epochs many", "fly"):
        assert shell(f"-m fastfc {command}", redirections) == (2, "", "")
        assert read("out.txt") == ""


@posix
@pytest.mark.parametrize("redirections", ["2>&- >out.txt", "0<&- 2>&- >out.txt", "2>/dev/full >out.txt"])
def test_a_training_without_a_stream_for_messages(redirections):
    if "/dev/full" in redirections and not os.path.exists("/dev/full"):
        pytest.skip("no device that is always full")
    assert shell(f"-m fastfc {TRAIN}", redirections) == (0, "", "")
    assert read("out.txt").startswith(SUMMARY)
    assert read("out.txt").endswith("model: model.npz\n")
    assert "epoch 1/1" not in read("out.txt")
    assert load_model("model.npz").dims == [3, 4, 2]


@posix
@pytest.mark.parametrize(("redirections", "told"), [(">&-", True), (">&- 2>&-", False), ("0<&- >&- 2>&-", False)])
def test_a_training_without_a_stream_for_results(redirections, told):
    code, out, err = shell(f"-m fastfc {TRAIN}", redirections)
    assert (code, out) == (0, "")
    assert ("epoch 1/1" in err) == told
    assert "Traceback" not in err
    assert load_model("model.npz").dims == [3, 4, 2]


@posix
@pytest.mark.parametrize("command", ["--help", "--version", "train --help"])
def test_help_without_streams(command):
    assert shell(f"-m fastfc {command}", ">&-") == (0, "", "")
    assert shell(f"-m fastfc {command}", ">&- 2>&-") == (0, "", "")


@posix
def test_a_reader_of_messages_that_went_away():
    env = {**os.environ, "PYTHONPATH": str(Path(fastfc.__file__).parents[1])}
    ends = os.pipe()
    os.close(ends[0])
    command = [sys.executable, "-m", "fastfc", *TRAIN.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=ends[1], text=True, env=env) as process:
        os.close(ends[1])
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out.startswith(SUMMARY)
    assert load_model("model.npz").dims == [3, 4, 2]


# A command that does all that a command may do: results, messages, messages of libraries, files, child processes.
BUSY = """
import os, subprocess, sys
from fastfc.ops import check
from fastfc._runtime.compile_message import notice
from fastfc.cli import main

def run(dtypes, stream):
    print("result", file=stream)
    print("message", file=sys.stderr)
    notice._say()
    os.write(2, b"from a library")
    with open("opened.txt", "w") as file:
        file.write(str(file.fileno()))
    child = "import os, sys; print('child', file=sys.stderr, flush=True); os.write(2, b'from its library')"
    subprocess.run([sys.executable, "-c", child], check=True)
    return 1

check.run = run
sys.exit(main(["check"]))
"""


@posix
@pytest.mark.parametrize("closed", ["", "0<&-", "2>&-", "0<&- 2>&-"])
def test_only_results_are_among_the_results(closed):
    Path("busy.py").write_text(BUSY)
    code, out, err = shell("busy.py", f"{closed} >out.txt")
    assert (code, out) == (1, "")
    assert read("out.txt") == "result\n"
    assert int(read("opened.txt")) > 2
    assert ("fastfc: compiling kernels" in err) == ("2>&-" not in closed)
    assert ("from its library" in err) == ("2>&-" not in closed)


@posix
def test_a_program_that_is_run_without_streams():
    Path("program.py").write_text("import sys; print('message', file=sys.stderr); print('result'); sys.exit(3)")
    assert shell("-m fastfc run program.py", "2>&- >out.txt") == (3, "", "")
    assert read("out.txt") == "result\n"
    assert shell("-m fastfc run program.py", ">&-") == (3, "", "message\n")


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [lambda: None, closed_stream], ids=["None", "closed"])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_within_a_program(make, name, capsys, monkeypatch):
    other = "err" if name == "stdout" else "out"
    stream = make()
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        assert main(TRAIN.split()) == 0
        assert main(["predict", "absent.npz", "data.npz"]) == 2
        assert getattr(sys, name) is stream
    captured = capsys.readouterr()
    if other == "out":
        assert captured.out.startswith(SUMMARY)
        assert "error" not in captured.out
    else:
        assert captured.err.endswith(f"fastfc: error: absent.npz: {os.strerror(2)}\n")
    assert main(["predict", "model.npz", "data.npz", "--split", "val"]) == 0


def test_messages_that_a_stream_cannot_show(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    assert main(["predict", "Größe.npz", "data.npz"]) == 2
    assert raw.getvalue().startswith(rb"fastfc: error: Gr\xf6\xdfe.npz: ")


@pytest.mark.parametrize("make", [lambda: None, closed_stream], ids=["None", "closed"])
def test_the_compile_message_without_a_stream(make, capsys, monkeypatch):
    monkeypatch.setattr(notice, "_said", False)
    monkeypatch.setattr(sys, "stderr", make())
    notice._say()
    assert capsys.readouterr().out == ""
