"""Memory layouts of arrays, and what a call may not change: shared by the tests."""

import tempfile
from contextlib import contextmanager

import numpy as np


def strided(array):
    """Every second element of memory whose other elements must not be touched."""
    wide = np.full([2 * size for size in array.shape], 99, array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def negative_strides(array):
    return np.flip(np.flip(array).copy())


def zero_strides(array):
    return np.broadcast_to(array[:1], array.shape)


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def memory_mapped(array, mode="r"):
    with tempfile.TemporaryFile() as file:
        array.tofile(file)
        file.flush()
        return np.memmap(file, array.dtype, mode, shape=array.shape)


def matrix(array):
    """A subclass for which ``*`` and indexing mean something else; it has two axes always."""
    return array.view(np.matrix) if array.ndim == 2 else array


def read_only(array):
    array.flags.writeable = False
    return array


def big_endian(array):
    return array.astype(array.dtype.newbyteorder(">"))


LAYOUTS = {
    "contiguous": np.copy,
    "fortran": np.asfortranarray,
    "strided": strided,
    "negative strides": negative_strides,
    "zero strides": zero_strides,
    "read-only": lambda array: read_only(array.copy()),
    "big-endian": big_endian,
    "unaligned": unaligned,
    "memory-mapped": memory_mapped,
    "memory-mapped, writable": lambda array: memory_mapped(array, "r+"),
    "matrix": matrix,
    "read-only, strided, big-endian": lambda array: read_only(strided(big_endian(array))),
}


def mapped(value, change):
    """A copy of arguments with `change` applied to every array in them, in tuples and dictionaries too."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(part, change) for part in value)
    if isinstance(value, dict):
        return {key: mapped(part, change) for key, part in value.items()}
    return value


def arrays_in(value):
    arrays = []
    mapped(value, arrays.append)
    return arrays


def state(array):
    """All of an array that a function could change, and what lies around it in memory."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    return array.tobytes(), base.tobytes(), array.dtype, array.shape, array.strides, str(array.flags)


@contextmanager
def arrays_unchanged(value):
    arrays = arrays_in(value)
    before = [state(array) for array in arrays]
    yield
    assert [state(array) for array in arrays] == before
