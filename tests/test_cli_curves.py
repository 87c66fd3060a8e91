"""Curves of a training in a terminal: their characters, and where they are shown."""

import io
import math
import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from fastfc.cli import _watch
from fastfc.cli._curves import ASCII, BLOCKS, columns_of, curves, levels_of, sparkline

SMALL = ["--hidden", "8", "--epochs", "3", "--batch-size", "20"]


@pytest.mark.parametrize("levels", [BLOCKS, ASCII])
def test_levels_are_in_order(levels):
    assert sparkline(range(8), 8, levels) == levels
    assert sparkline(range(7, -1, -1), 8, levels) == levels[::-1]


def test_levels_are_linear_between_least_and_greatest():
    """Level k is the one nearest to (value - least) / (greatest - least) of the way."""
    values = [3.0, 10.0, 5.0, 3.4, 3.6, 7.0]
    shares = [(value - 3) / 7 for value in values]
    assert sparkline(values, 10) == "".join(BLOCKS[round(7 * share)] for share in shares)


def test_long_histories_are_means_of_equal_parts():
    values = np.repeat([4.0, 1.0, 3.0, 2.0], 500)
    assert sparkline(values, 4) == sparkline([4.0, 1.0, 3.0, 2.0], 4)
    assert len(sparkline(range(1001), 30)) == 30


def test_values_without_a_curve():
    assert sparkline([], 5) == ""
    assert sparkline([2.0, 2.0, 2.0], 5) == BLOCKS[4] * 3
    assert sparkline([math.nan, 1.0, math.inf, 3.0], 5) == f" {BLOCKS[0]} {BLOCKS[-1]}"
    assert sparkline([math.nan] * 2, 5) == "  "
    largest = np.finfo(np.float64).max
    assert sparkline([-largest, 0.0, largest], 5) == BLOCKS[0] + BLOCKS[4] + BLOCKS[-1]
    assert sparkline([largest / 2] * 40 + [-largest / 2] * 40, 2) == BLOCKS[-1] + BLOCKS[0]


def solver(class_names):
    model = types.SimpleNamespace(class_names=class_names)
    return types.SimpleNamespace(loss_history=[2.302, 1.0, 0.51234], val_acc_history=[0.1, 0.8], model=model)


def test_first_and_last_numbers_stand_beside_the_curves():
    assert curves(solver(["a", "b"]), 80) == "loss 2.3 █▃▁ 0.512   val 10% ▁█ 80%".ljust(79)
    assert curves(solver(None), 80, ASCII) == "loss 2.3 @,_ 0.512   val R2 0.10 _@ 0.80".ljust(79)
    assert curves(solver(None), 30, ASCII) == "loss 2.3 @,_ 0.512   val R2 0"


def test_long_curves_share_the_terminal():
    long = solver(["a", "b"])
    long.loss_history, long.val_acc_history = list(np.linspace(2, 1, 900)), list(np.linspace(0.1, 0.9, 300))
    for columns, width in [(60, 8), (80, 18), (100, 28), (200, 32)]:
        line = curves(long, columns)
        assert len(line) == columns - 1
        assert sum(character in BLOCKS for character in line) == 2 * width
        assert line.rstrip().endswith("90%")


@pytest.mark.parametrize(
    ("encoding", "levels"), [("utf-8", BLOCKS), ("cp1252", ASCII), ("ascii", ASCII), (None, ASCII), ("no-such", ASCII)]
)
def test_characters_are_those_that_the_encoding_has(encoding, levels):
    assert levels_of(types.SimpleNamespace(encoding=encoding)) == levels


def test_columns_without_a_terminal(tmp_path):
    with open(tmp_path / "file", "w", encoding="utf-8") as file:
        assert columns_of(file) == 80
    assert columns_of(object()) == 80


def test_a_terminal_that_does_not_know_its_columns():
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    with open(leader, "rb"), open(follower, "w", encoding="utf-8") as stream:
        assert os.get_terminal_size(follower).columns == 0
        assert columns_of(stream) == 80


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    np.savez(tmp_path / "data.npz", X=rng.normal(size=(120, 5)) + y[:, None], y=y)
    return str(tmp_path / "data.npz")


def on_a_terminal(npz, columns, encoding):
    """The text that the command writes on a terminal."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    leader, follower = pty.openpty()
    rows_and_columns = np.array([24, columns, 0, 0], np.uint16).tobytes()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, rows_and_columns)
    words = [sys.executable, "-m", "fastfc", "train", "--data", npz, "--out", f"{npz}.model", *SMALL]
    process = subprocess.Popen(
        words, stderr=follower, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    os.close(follower)
    text = b""
    while True:
        try:
            read = os.read(leader, 65536)
        except OSError:  # Linux says so where the other end is closed.
            break
        if not read:
            break
        text += read
    os.close(leader)
    assert process.wait() == 0
    return text.decode(encoding)


def screen(text):
    """The lines that a terminal shows after `text`, which moves by carriage returns, line feeds and one line up."""
    lines, row, column = {}, 0, 0
    for part in re.findall(r"\r|\n|\x1b\[A|[^\r\n\x1b]", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
        elif part == "\x1b[A":
            row -= 1
        else:
            lines.setdefault(row, {})[column] = part
            column += 1
    return ["".join(lines[row].get(i, " ") for i in range(max(lines[row]) + 1)).rstrip() for row in sorted(lines)]


@pytest.mark.parametrize(("encoding", "levels"), [("utf-8", BLOCKS), ("ascii", ASCII)])
def test_curves_on_a_terminal(npz, encoding, levels):
    lines = [line for line in screen(on_a_terminal(npz, 100, encoding)) if "compil" not in line]
    curve = f"[{re.escape(levels)}]"
    assert re.fullmatch(rf"loss [\d.e-]+ {curve}+ [\d.e-]+   val \d+% {curve}{{4}} \d+%", lines[0])
    assert lines[1].startswith("epoch 3/3 100%|")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 100


class Terminal(io.StringIO):
    encoding = "ascii"

    def isatty(self):
        return True


@pytest.mark.parametrize("members", [1, 3])
def test_one_bar_for_several_trainings(members, monkeypatch):
    """The curves are those of the first one that goes on; the bar is that of all."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(_watch, "_REDRAWN_SECONDS", 0)
    drawn = []

    def follow(show, number, epochs):
        histories = {"loss_history": [9.0 - number] * epochs, "val_acc_history": [0.0, *[number / 10] * epochs]}
        histories |= {"train_acc_history": histories["val_acc_history"], "epoch": epochs}
        show(types.SimpleNamespace(model=types.SimpleNamespace(class_names=["a"]), **histories), number)
        found = re.findall(r"loss (\d) .* val", sys.stderr.getvalue().rpartition("\r")[2])
        drawn.append(9 - int(found[0]) if found else None)

    with _watch.progress(4, 4, False, members=members) as show:
        # The highest ones first.
        for number in range(members, 0, -1):
            follow(show, number, 2)
        for number in range(1, members + 1):
            follow(show, number, 4)
    assert drawn == ([1, 1] if members == 1 else [None, None, 1, 1, 2, 3])
    curve, bar = screen(sys.stderr.getvalue())
    assert curve.startswith(f"loss {9 - members} ")
    told = "" if members == 1 else f"member {members} of {members}, "
    assert bar.startswith(f"{told}epoch 4/4 100%|")
    assert f"loss {9 - members}, " in bar


@pytest.mark.parametrize("members", [1, 2])
def test_lines_of_several_trainings(members, capsys):
    with _watch.progress(4, 8, False, every=2, members=members) as show:
        for epoch in range(1, 5):
            for number in range(1, members + 1):
                one = solver(["a"])
                one.train_acc_history, one.epoch = [0.5], epoch
                show(one, number)
    names = [""] if members == 1 else ["member 1 of 2, ", "member 2 of 2, "]
    expected = [f"{name}epoch {epoch}/4: loss 0.512, train 50.0%, val 80.0%" for epoch in (2, 4) for name in names]
    assert capsys.readouterr().err.splitlines() == expected


def test_no_curves_where_there_is_no_terminal(npz):
    words = [sys.executable, "-m", "fastfc", "train", "--data", npz, "--out", f"{npz}.model", *SMALL]
    done = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    written = (done.stderr + done.stdout).decode()
    assert not set(BLOCKS) & set(written)
    assert "\r" not in done.stderr.decode().replace("\r\n", "\n")
    assert re.search(r"^epoch 3/3: loss ", done.stderr.decode(), re.MULTILINE)
