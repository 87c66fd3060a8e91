"""Shapes of networks, for everything that measures whole steps."""

import re

__all__ = ["NETS", "STEPS", "dims_of", "parse_shape"]

#: Networks and batch sizes: input-[hidden,...]-classes@batch.
STEPS = [
    "4-[32]-3@16",
    "8-[64,64]-4@64",
    "64-[100,100]-10@64",
    "3072-[64,64,64]-10@100",
    "3072-[100,100,100,100]-10@100",
    "32-[256,256,256]-2@256",
    "3072-[512,512,512]-10@256",
    "784-[1024,1024,1024]-10@1024",
]
#: Networks that predict: one whose calls cost more than its arithmetic, the course's, and a large one.
NETS = ["8-[64,64]-4", "3072-[100,100,100,100]-10", "784-[1024,1024,1024]-10"]


def dims_of(net: str) -> tuple[int, ...]:
    """The layer widths: ``"64-[100,100]-10"`` -> (64, 100, 100, 10)."""
    match = re.fullmatch(r"(\d+)-\[(\d+(?:,\d+)*)\]-(\d+)", net)
    if match is None:
        raise ValueError(f"net: expected input-[hidden,...]-classes, got {net!r}")
    d_in, hidden, classes = match.groups()
    return (int(d_in), *map(int, hidden.split(",")), int(classes))


def parse_shape(shape: str) -> tuple[tuple[int, ...], int]:
    """The layer widths and the batch size: ``"64-[100,100]-10@64"`` -> ((64, 100, 100, 10), 64)."""
    net, at, batch = shape.replace(" ", "").partition("@")
    try:
        if at and batch.isdecimal():
            return dims_of(net), int(batch)
    except ValueError:
        pass
    raise ValueError(f"shape: expected input-[hidden,...]-classes@batch, got {shape!r}")
