"""Loaders: round trips, the course's own recipe for CIFAR-10, and files that are damaged or mean harm."""

import codecs
import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastfc import data_utils
from fastfc.data_utils import (
    RefusedPickleError,
    embedded_fashion_mnist,
    get_CIFAR10_data,
    load_CIFAR10,
    load_CIFAR_batch,
    load_dataset,
    load_idx,
    load_pickle,
    load_samples,
    split_validation,
)
from fastfc.formats import npz as _npz
from fastfc.formats import pickles as _pickles

SEED = 231
PIXELS = np.zeros((3, 3072), np.uint8)


# ------------------------------------------------------------------------------------- pickles, written by hand


def py2_str(text):
    return b"T" + struct.pack("<i", len(text)) + text


def py2_int(value):
    return b"J" + struct.pack("<i", value)


def py2_array(shape, raw, *, dtype=b"u1", order=b"|", module=b"numpy.core.multiarray"):
    """An ndarray as Python 2 pickled it with protocol 2, with memo entries as the originals have them."""
    return b"".join(
        [
            b"c" + module + b"\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85" + py2_str(b"b") + b"\x87R(K\x01",
            b"(" + b"".join(map(py2_int, shape)) + b"t",
            b"cnumpy\ndtype\n" + py2_str(dtype) + b"K\x00K\x01\x87R(K\x03" + py2_str(order) + b"NNN",
            py2_int(-1) * 2 + b"K\x00tb\x89" + py2_str(raw) + b"tb",
        ]
    )


def py2_batch(pixels, labels, **options):
    data = py2_array(pixels.shape, pixels.tobytes(), **options)
    names = b"](" + b"".join(py2_int(label) for label in labels) + b"e"
    return b"\x80\x02}(" + py2_str(b"data") + data + py2_str(b"labels") + names + b"u."


def read(raw):
    return load_pickle(io.BytesIO(raw))


@pytest.fixture
def cifar(tmp_path):
    """A folder with 20 pictures a training file and 10 test pictures."""
    random = np.random.RandomState(SEED)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, count in [*((f"data_batch_{i}", 20) for i in range(1, 6)), ("test_batch", 10)]:
        pixels = random.randint(0, 256, (count, 3072)).astype(np.uint8)
        (folder / name).write_bytes(py2_batch(pixels, random.randint(0, 10, count).tolist()))
    return folder


def course_cifar(folder):
    """The course's recipe, with the standard library's unpickler."""
    pictures, labels = [], []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = pickle.loads((folder / name).read_bytes(), encoding="latin1")
        pictures.append(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype("float"))
        labels.append(np.array(batch["labels"]))
    return np.concatenate(pictures[:5]), np.concatenate(labels[:5]), pictures[5], labels[5]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_python2_batch_with_both_module_names(module):
    pixels = np.arange(2 * 3072, dtype=np.uint16).astype(np.uint8).reshape(2, 3072)
    batch = read(py2_batch(pixels, [3, 9], module=module))
    np.testing.assert_array_equal(batch["data"], pixels)
    assert batch["data"].dtype == np.uint8
    assert batch["data"].flags.writeable
    assert batch["labels"] == [3, 9]


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
def test_pickle_round_trip(protocol):
    array = np.arange(12).reshape(3, 4)
    value = {
        "c": array.astype("<f4"),
        "fortran": np.asfortranarray(array.astype("u1")),
        "big-endian": array.astype(">i2"),
        "bool": array > 5,
        "bytes": b"\xff\x00",
        "nest": [(1, 2.5, None, True), {"a": "b"}, [[]], ()],
    }
    if protocol > 3:
        value |= {"sets": [{1, 2}, frozenset("ab")], "empty": np.zeros((0, 4))}
    got = read(pickle.dumps(value, protocol))
    assert got.keys() == value.keys()
    for key, wanted in value.items():
        if isinstance(wanted, np.ndarray):
            assert type(got[key]) is np.ndarray
            assert got[key].dtype == wanted.dtype
            np.testing.assert_array_equal(got[key], wanted)
        else:
            assert got[key] == wanted


def test_one_object_in_two_places():
    array, pair = np.arange(3), (1, [2])
    got = read(pickle.dumps([array, array, pair, pair], 2))
    assert got[0] is got[1]
    assert got[2] is got[3]
    assert got[2] == pair


class Reduced:
    """Pickles as a call of `function` on `arguments`, then BUILD with `state` if there is one."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class Subclass(np.ndarray):
    pass


ATTACKS = {
    "os.system": (Reduced(os.system, "echo harm"), "system"),
    "eval": (Reduced(eval, "__import__('os').environ.update(HARM='1')"), "eval"),
    "exec": (Reduced(exec, "import os; os.environ['HARM'] = '1'"), "exec"),
    "getattr chain": (Reduced(getattr, Reduced(__import__, "os"), "system"), "__import__|getattr"),
    "open": (Reduced(open, "/etc/passwd"), "open"),
    "popen": (Reduced(subprocess.Popen, ["true"]), "Popen"),
    "bare global": (os.system, "system"),
    "builtin type": (Reduced(bytearray, 10**9), "bytearray"),
    "numpy function": (Reduced(np.load, "x.npy"), "load"),
    "memmap": (Reduced(np.memmap, "/etc/passwd"), "memmap"),
    "ndarray call": (Reduced(np.ndarray, (10**12,)), "marker"),
    "object array": (np.array([{}, []], dtype=object), "dtype 'O8'"),
    "structured array": (np.zeros(3, [("a", "i4"), ("b", "f8")]), "dtype"),
    "string array": (np.array(["abc"]), "dtype 'U3'"),
    "datetime array": (np.array(["2020-01-01"], "M8[D]"), "dtype"),
    "dtype with a comma": (Reduced(np.dtype, "u1,O"), "dtype 'u1,O'"),
    "dtype with a shape": (Reduced(np.dtype, "(1000000000,)u1"), "plain number"),
    "dtype alone": (np.dtype("u1"), "something else"),
    "ndarray alone": (np.ndarray, "something else"),
    "array subclass": (np.arange(3).view(Subclass), "Subclass"),
    "other codec": (Reduced(codecs.encode, "x", "rot13"), "rot13"),
    "scalar": (np.float64(1.5), "scalar"),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ATTACKS)
def test_pickle_with_anything_else_is_refused(name, protocol, monkeypatch):
    value, reason = ATTACKS[name]
    raw = pickle.dumps([value], protocol)

    def forbidden(*args, **kwargs):
        raise AssertionError("the pickle ran something")

    monkeypatch.setattr(os, "system", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    with pytest.raises(RefusedPickleError) as caught:
        read(raw)
    assert "HARM" not in os.environ
    if protocol < 5:  # arrays of protocol 5 come by another function, which is refused by its name
        assert any(part in str(caught.value) for part in reason.split("|"))
    assert isinstance(caught.value, pickle.UnpicklingError)
    assert isinstance(caught.value, ValueError)


GLOBALS = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n"


@pytest.mark.parametrize("name", GLOBALS)
@pytest.mark.parametrize("state", [b"}", b"N}" + py2_str(b"_call") + b"Ns\x86"], ids=["dict", "slots"])
def test_pickle_cannot_change_the_functions_it_gets(name, state):
    with pytest.raises(RefusedPickleError, match="changes a function"):
        read(b"\x80\x02" + name + state + b"b.")
    assert read(py2_batch(np.zeros((1, 3072), np.uint8), [0]))["labels"] == [0]


def test_pickled_object_dtype_by_state_is_refused():
    with pytest.raises(RefusedPickleError, match="dtype 'O8' is not a plain number"):
        read(b"\x80\x02" + py2_array((1,), b"\0" * 8, dtype=b"O8") + b".")
    fields = b"cnumpy\ndtype\n" + py2_str(b"u1") + b"K\x00K\x01\x87R(K\x03" + py2_str(b"|") + b"N(U\x01at}NNNtb."
    with pytest.raises(RefusedPickleError, match="fields"):
        read(b"\x80\x02" + fields)
    with pytest.raises(RefusedPickleError, match="byte order"):
        read(b"\x80\x02" + py2_array((1,), b"\0", order=b"O") + b".")


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (3,), (5,), (-4,), (-2, -2), (), (0, 2**31 - 1), (1,) * 40])
def test_pickled_shape_must_fit_the_bytes(shape):
    with pytest.raises(RefusedPickleError, match=r"cannot have 4 bytes|impossible shape"):
        read(b"\x80\x02" + py2_array(shape, b"abcd") + b".")


def peak_of(function, *arguments):
    """Memory the call takes at the most; it must raise ValueError."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            function(*arguments)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


BOMBS = {
    "long string": b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"abc.",
    "long bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.",
    "long bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "memo index": b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".",
    "text memo index": b"Np4000000000\n.",
    "copies of a string": b"\x80\x02](c_codecs\nencode\nq\x00"
    + py2_str(b"x" * 100_000)
    + b"q\x01"
    + py2_str(b"latin1")
    + b"q\x02\x86R"
    + b"h\x00h\x01h\x02\x86R" * 2000
    + b"e.",
    "many objects": b"\x80\x04(" + b"\x8f" * 2**21 + b"t.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickle_bomb_takes_little_memory(name):
    peak, message = peak_of(read, BOMBS[name])
    assert peak < 400 * 2**20 if name == "many objects" else peak < 8 * 2**20
    assert message.startswith("cannot read pickle")


def test_pickle_that_is_too_large(monkeypatch):
    monkeypatch.setattr(_pickles.ArrayUnpickler, "MAX_BYTES", 1000)
    with pytest.raises(RefusedPickleError, match="larger than 1000 bytes"):
        read(pickle.dumps("x" * 2000))


def test_pickle_odd_structures_are_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(RefusedPickleError, match="contains itself"):
        read(pickle.dumps(loop))
    with pytest.raises(RefusedPickleError, match="recursion"):
        read(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(RefusedPickleError, match="extension"):
        read(b"\x80\x02\x82\x01.")
    with pytest.raises(RefusedPickleError, match="persistent"):
        read(b"\x80\x02K\x01Q.")


def test_damaged_pickles_raise_one_kind_of_error():
    random = np.random.RandomState(SEED)
    whole = py2_batch(np.zeros((1, 3072), np.uint8), [5])
    protocol4 = pickle.dumps({"data": np.zeros((1, 30), np.uint8), "labels": [1]}, 4)
    refused = 0
    for raw in (whole, protocol4):
        for end in range(0, len(raw), 7):
            with pytest.raises(RefusedPickleError):
                read(raw[:end])
        for _ in range(1500):
            bad = bytearray(raw)
            for _ in range(random.randint(1, 4)):
                place = random.randint(min(len(raw), 200)) * random.choice([1, -1])
                bad[place] = random.randint(256)
            try:
                read(bytes(bad))
            except RefusedPickleError:
                refused += 1
    assert refused > 1000


def test_error_names_the_file(tmp_path):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(Reduced(os.system, "true")))
    with pytest.raises(RefusedPickleError, match=r"data_batch_1: it asks for '\w+\.system'"):
        load_CIFAR_batch(path)


# ----------------------------------------------------------------------------------------------------- CIFAR-10


def test_load_CIFAR10_equals_the_course(cifar):
    wanted = course_cifar(cifar)
    got = load_CIFAR10(str(cifar))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
        assert a.strides == b.strides
    X, Y = load_CIFAR_batch(cifar / "test_batch")
    np.testing.assert_array_equal(X, wanted[2])
    np.testing.assert_array_equal(Y, wanted[3])


@pytest.mark.parametrize("subtract_mean", [True, False])
def test_get_CIFAR10_data_equals_the_course(cifar, monkeypatch, subtract_mean):
    monkeypatch.setenv("FASTFC_DATA", str(cifar))
    Xtr, ytr, Xte, yte = course_cifar(cifar)
    parts = {"train": (Xtr[:70], ytr[:70]), "val": (Xtr[70:90], ytr[70:90]), "test": (Xte[:8], yte[:8])}
    mean = np.mean(parts["train"][0], axis=0) if subtract_mean else 0
    data = get_CIFAR10_data(70, 20, 8, subtract_mean)
    assert list(data) == ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]
    for split, (X, y) in parts.items():
        np.testing.assert_array_equal(data[f"X_{split}"], (X - mean).transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(data[f"y_{split}"], y)
        assert data[f"X_{split}"].flags.c_contiguous
        assert data[f"X_{split}"].dtype == np.float64
        assert data[f"y_{split}"].dtype == np.int64


@pytest.mark.parametrize("counts", [(0, 10, 5), (90, 11, 5), (101, 0, 5), (50, -1, 5), (50, 10, 11), (50, 10, -1)])
def test_get_CIFAR10_data_counts(cifar, monkeypatch, counts):
    monkeypatch.setenv("FASTFC_DATA", str(cifar.parent))
    with pytest.raises(ValueError, match=r"num_training|num_test"):
        get_CIFAR10_data(*counts)


def test_get_CIFAR10_data_looks_in_order(cifar, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTFC_DATA", raising=False)
    with pytest.raises(FileNotFoundError) as caught:
        get_CIFAR10_data()
    message = str(caught.value)
    for part in ("cs231n/datasets/cifar-10-batches-py", "fastfc/datasets/cifar-10-batches-py", "data_batch_5"):
        assert part in message.replace(os.sep, "/")
    assert str(os.path.dirname(data_utils.__file__)) in message

    for label, place in ((3, "fastfc"), (7, "cs231n")):  # the later one is looked at first
        folder = tmp_path / place / "datasets" / "cifar-10-batches-py"
        folder.mkdir(parents=True)
        for path in cifar.iterdir():
            (folder / path.name).write_bytes(py2_batch(PIXELS, [label] * 3))
        assert get_CIFAR10_data(9, 6, 3)["y_test"].tolist() == [label] * 3
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(FileNotFoundError, match="CIFAR-10 not found"):
        get_CIFAR10_data(9, 6, 3)
    monkeypatch.syspath_prepend(tmp_path)  # the folder of a script that was started from elsewhere
    assert get_CIFAR10_data(9, 6, 3)["y_test"].tolist() == [7] * 3
    (tmp_path / "cs231n/datasets/cifar-10-batches-py/data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3"):
        get_CIFAR10_data(9, 6, 3)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "expected a dict"),
        ({"data": PIXELS}, "expected a dict"),
        ({"data": PIXELS, "labels": [1, 2]}, "3 pictures but 2 labels"),
        ({"data": PIXELS, "labels": [1, 2, 10]}, "0 to 9"),
        ({"data": PIXELS, "labels": [1, 2, -1]}, "0 to 9"),
        ({"data": PIXELS, "labels": [1, 2, 2.0]}, "0 to 9"),
        ({"data": PIXELS, "labels": (1, 2, 3)}, "must be a list"),
        ({"data": PIXELS[:, :-1], "labels": [1, 2, 3]}, r"uint8 array \(N, 3072\), found uint8 \(3, 3071\)"),
        ({"data": PIXELS[0], "labels": [1]}, "found uint8"),
        ({"data": PIXELS.astype("f4"), "labels": [1, 2, 3]}, "found float32"),
        ({"data": "x", "labels": [1]}, "found str"),
    ],
)
def test_batch_of_another_form(tmp_path, batch, message):
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(ValueError, match=message) as caught:
        load_CIFAR_batch(path)
    assert str(path) in str(caught.value)


def test_load_dataset_cifar10(cifar, monkeypatch):
    monkeypatch.setenv("FASTFC_DATA", str(cifar.parent))
    by_name, by_path = load_dataset("cifar-10"), load_dataset(cifar)
    Xtr, ytr, _, yte = course_cifar(cifar)
    for data in (by_name, by_path):
        assert data["X_train"].dtype == np.uint8
        np.testing.assert_array_equal(data["X_train"], Xtr.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(data["y_train"], ytr)
        assert data["class_names"][3] == "cat"
    X, y, names = load_samples("cifar-10")
    assert X.shape == (10, 3, 32, 32)
    np.testing.assert_array_equal(y, yte)
    assert len(names) == 10


# ---------------------------------------------------------------------------------------------------------- idx


def idx_bytes(array, code):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">HBB", 0, code, array.ndim) + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 4), (0, 28, 28)])
def test_idx_round_trip(tmp_path, dtype, shape, pack):
    array = np.random.RandomState(SEED).uniform(-100, 100, shape).astype(dtype)
    path = tmp_path / "some-file"
    path.write_bytes(pack(idx_bytes(array, IDX_CODES[dtype])))
    got = load_idx(path)
    assert got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"", "not an idx file: it starts with nothing"),
        (lambda raw: raw[:3], "not an idx file"),
        (lambda raw: b"\x89PNG" + raw, "not an idx file: it starts with 89504e47"),
        (lambda raw: b"\0\0\x0a\x01" + raw[4:], "not an idx file"),
        (lambda raw: b"\0\0\x08\x00", "not an idx file"),
        (lambda raw: b"\0\0\x08\xff" + raw * 10, "not an idx file"),
        (lambda raw: raw[:10], "truncated: its header declares 3 axes"),
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[:16], "truncated"),
        (lambda raw: raw + b"\0", "too long"),
        (lambda raw: raw[:4] + b"\xff" * 12, "truncated or too long|declares 79228162458924105385300197375 bytes"),
        (lambda raw: raw[:4] + b"\0" * 4 + b"\xff" * 8, "declares"),
    ],
)
def test_damaged_idx(tmp_path, change, message, pack):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(pack(change(idx_bytes(np.zeros((4, 5, 6), np.uint8), 0x08))))
    with pytest.raises(ValueError, match=message) as caught:
        load_idx(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "x.gz"
    whole = gzip.compress(idx_bytes(np.random.RandomState(SEED).randint(0, 256, 5000).astype(np.uint8), 0x08))
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    for raw in (whole[: len(whole) // 2], whole[:-4], bytes(changed), whole[:12]):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=r"x\.gz is (a )?(truncated|damaged)"):
            load_idx(path)


def test_idx_bomb_takes_little_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    header = struct.pack(">HBB", 0, 8, 1)
    path.write_bytes(gzip.compress(header + struct.pack(">I", 2**27) + bytes(2**27), 9))
    peak, message = peak_of(load_idx, path)
    assert peak < 2**22
    assert "more than 200 to one" in message
    path.write_bytes(gzip.compress(header + struct.pack(">I", 100) + bytes(2**27), 9))
    peak, message = peak_of(load_idx, path)
    assert peak < 2**22
    assert "too long" in message


def write_idx_folder(folder, *, spelling="-idx", pack=False, parts=("train", "t10k"), labels=(5, 6)):
    random = np.random.RandomState(SEED)
    wanted = {}
    for part, split in zip(parts, ("train", "test"), strict=False):
        X = random.randint(0, 256, (20, 4, 3)).astype(np.uint8)
        y = np.resize(labels, 20).astype(np.uint8)
        wanted |= {f"X_{split}": X, f"y_{split}": y}
        for array, content in ((X, f"images{spelling}3"), (y, f"labels{spelling}1")):
            raw = idx_bytes(array, 0x08)
            name = f"{part}-{content}-ubyte"
            (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(raw) if pack else raw)
    return wanted


@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
@pytest.mark.parametrize("pack", [True, False])
def test_idx_folder(tmp_path, spelling, pack):
    wanted = write_idx_folder(tmp_path, spelling=spelling, pack=pack)
    data = load_dataset(str(tmp_path))
    np.testing.assert_array_equal(data["X_train"], wanted["X_train"])
    np.testing.assert_array_equal(data["y_test"], wanted["y_test"] - 5)
    assert data["X_train"].dtype == np.uint8
    assert data["y_train"].dtype == np.int64
    assert data["class_names"] == ["5", "6"]
    X, y, names = load_samples(tmp_path, split="train")
    np.testing.assert_array_equal(X, wanted["X_train"])
    np.testing.assert_array_equal(y, wanted["y_train"] - 5)
    assert names == ["5", "6"]


def test_idx_folder_that_lacks_something(tmp_path):
    with pytest.raises(ValueError, match="neither idx files"):
        load_dataset(tmp_path)
    write_idx_folder(tmp_path, parts=("train",))
    assert "X_test" not in load_dataset(tmp_path)
    with pytest.raises(ValueError, match="neither X_test nor X; it has X_train"):
        load_samples(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19, np.uint8), 0x08))
    with pytest.raises(ValueError, match=r"y_train must have shape \(20,\)"):
        load_dataset(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="no training data with labels"):
        load_dataset(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19, np.uint8), 0x08))
    with pytest.raises(ValueError, match="y_train but not X_train"):
        load_dataset(tmp_path)


def test_single_idx_file_gives_pictures_only(tmp_path):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path.write_bytes(gzip.compress(idx_bytes(pictures, 0x08)))
    X, y, names = load_samples(path)
    np.testing.assert_array_equal(X, pictures)
    assert y is None
    assert names is None
    with pytest.raises(ValueError, match="must be a folder"):
        load_dataset(path)


def test_full_fashion_mnist_by_name(tmp_path, monkeypatch):
    (tmp_path / "fashion-mnist").mkdir()
    wanted = write_idx_folder(tmp_path / "fashion-mnist")
    for root in (tmp_path, tmp_path / "fashion-mnist"):
        monkeypatch.setenv("FASTFC_DATA", str(root))
        data = load_dataset("fashion-mnist-full")
        np.testing.assert_array_equal(data["y_train"], wanted["y_train"])
        assert data["class_names"][5] == "Sandal"
    assert len(load_dataset("fashion-mnist")["X_train"]) == 4000


def test_full_fashion_mnist_not_found(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTFC_DATA", str(tmp_path))
    monkeypatch.setattr("fastfc._data_sets.has_idx_files", lambda folder: False)
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset("fashion-mnist-full")
    for part in ("dataset-fashion-mnist", str(tmp_path / "fashion-mnist"), "/usr/share/datasets/fashion-mnist"):
        assert part in str(caught.value).replace(os.sep, "/")


# ----------------------------------------------------------------------------------------------- embedded subset


def test_embedded_fashion_mnist():
    data = embedded_fashion_mnist()
    assert data["X_train"].shape == (4000, 28, 28)
    assert data["X_test"].shape == (1000, 28, 28)
    assert data["X_train"].dtype == data["X_test"].dtype == np.uint8
    assert data["y_train"].dtype == np.int64
    np.testing.assert_array_equal(np.bincount(data["y_train"]), [400] * 10)
    np.testing.assert_array_equal(np.bincount(data["y_test"]), [100] * 10)
    assert len(set(np.bincount(data["y_train"][:1000]))) > 1  # shuffled, not taken in turns
    assert data["class_names"] == list(data_utils.FASHION_MNIST_CLASSES)
    np.testing.assert_array_equal(load_dataset("fashion-mnist")["X_train"], data["X_train"])
    X, y, names = load_samples("fashion-mnist")
    np.testing.assert_array_equal(X, data["X_test"])
    np.testing.assert_array_equal(y, data["y_test"])
    assert names == data["class_names"]


def test_import_takes_no_extras():
    code = "import sys, fastfc.data_utils; print([m for m in ('numba', 'scipy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------------------- npz

X4 = np.arange(12, dtype=np.float32).reshape(4, 3)
Y4 = np.array([0, 1, 2, 1])


def save(tmp_path, **arrays):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **arrays)
    return path


def test_npz_round_trip(tmp_path):
    path = save(tmp_path, X_train=X4, y_train=Y4, X_val=X4[:1], y_val=Y4[:1], X_test=X4[1:], y_test=Y4[1:])
    data = load_dataset(path)
    np.testing.assert_array_equal(data["X_train"], X4)
    np.testing.assert_array_equal(data["X_test"], X4[1:])
    np.testing.assert_array_equal(data["y_val"], [0])
    assert data["X_train"].dtype == np.float32
    assert data["y_train"].dtype == np.int64
    assert data["class_names"] == ["0", "1", "2"]
    X, y, _ = load_samples(path)
    np.testing.assert_array_equal(X, X4[1:])
    np.testing.assert_array_equal(y, Y4[1:])


def test_npz_single_table(tmp_path):
    path = save(tmp_path, X=X4, y=Y4)
    assert load_dataset(path).keys() == {"X_train", "y_train", "class_names"}
    X, y, names = load_samples(path)
    np.testing.assert_array_equal(X, X4)
    np.testing.assert_array_equal(y, Y4)
    assert names == ["0", "1", "2"]
    path = save(tmp_path, X=X4)
    assert load_samples(path)[1:] == (None, None)
    with pytest.raises(ValueError, match="no training data with labels"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("labels", "y", "names"),
    [
        (np.array([10, -3, 10, 7]), [2, 0, 2, 1], ["-3", "7", "10"]),
        (np.array([1.0, 2.0, 1.0, 1.0]), [0, 1, 0, 0], ["1", "2"]),
        (np.array([True, False, True, True]), [1, 0, 1, 1], ["0", "1"]),
        (np.array(["b", "a", "ä", "b"]), [1, 0, 2, 1], ["a", "b", "ä"]),
        (np.array([0, 2, 1, 2], ">u2"), [0, 2, 1, 2], ["0", "1", "2"]),
    ],
)
def test_npz_labels_become_places(tmp_path, labels, y, names):
    data = load_dataset(save(tmp_path, X_train=X4[:3], y_train=labels[:3], X_test=X4[3:], y_test=labels[3:]))
    np.testing.assert_array_equal(data["y_train"], y[:3])
    np.testing.assert_array_equal(data["y_test"], y[3:])
    assert data["class_names"] == names


def test_npz_class_names(tmp_path):
    names = np.array(["cat", "dog", "owl", "eel"])
    data = load_dataset(save(tmp_path, X=X4, y=Y4, class_names=names))
    np.testing.assert_array_equal(data["y_train"], Y4)
    assert data["class_names"] == names.tolist()
    data = load_dataset(save(tmp_path, X=X4, y=names[Y4], class_names=names))
    np.testing.assert_array_equal(data["y_train"], Y4)
    with pytest.raises(ValueError, match="labels run from 0 to 2; 2 classes"):
        load_dataset(save(tmp_path, X=X4, y=Y4, class_names=names[:2]))
    with pytest.raises(ValueError, match="'owl' is not among"):
        load_dataset(save(tmp_path, X=X4, y=names[Y4], class_names=names[:2]))
    with pytest.raises(ValueError, match="same name twice"):
        load_dataset(save(tmp_path, X=X4, y=Y4, class_names=names[[0, 1, 0]]))
    with pytest.raises(ValueError, match="class_names must have shape"):
        load_dataset(save(tmp_path, X=X4, y=Y4, class_names=names.reshape(2, 2)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X4, "y": Y4[:3]}, r"y must have shape \(4,\)"),
        ({"X": X4, "y": Y4.reshape(2, 2)}, r"found \(2, 2\)"),
        ({"X": X4, "y": Y4 + 0.5}, "whole numbers or names, found 0.5"),
        ({"X": X4, "y": np.array([0, 1, np.nan, 1])}, "found nan"),
        ({"X": X4, "y": np.array([0, 1, 1, 2**63], np.uint64)}, "found 9223372036854775808"),
        ({"X": X4[0], "y": Y4[:3]}, "at least one row"),
        ({"X": X4[:0], "y": Y4[:0]}, "at least one row"),
        ({"X": X4.astype(complex), "y": Y4}, "X has dtype complex128; expected numbers"),
        ({"X": X4.astype(str), "y": Y4}, "expected numbers"),
        ({"X": X4, "y": X4[:, 0].astype("M8[s]")}, "expected numbers or strings"),
        ({"X": X4, "y": Y4, "class_names": Y4}, "expected strings"),
        ({"X_train": X4, "y_train": Y4, "y_test": Y4}, "y_test but not X_test"),
        ({"X_train": X4, "y_train": Y4, "X_test": X4, "y_test": Y4.astype(str)}, "numbers in one part and strings"),
        ({"a": X4}, "no training data"),
        ({}, "no training data"),
    ],
)
def test_npz_of_another_form(tmp_path, arrays, message):
    path = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(path)
    assert str(path) in str(caught.value)


class Harm:
    def __reduce__(self):
        return os.system, ("echo harm",)


def test_npz_object_array_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path, X=np.array([[Harm()]], dtype=object), y=[0])
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("the file ran something"))
    with pytest.raises(ValueError, match="X has dtype object; expected numbers"):
        load_dataset(path)


def npy_header(shape, dtype="|u1", version=(1, 0)):
    buffer = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": dtype}
    writer = {(1, 0): np.lib.format.write_array_header_1_0, (2, 0): np.lib.format.write_array_header_2_0}[version]
    writer(buffer, header)
    return buffer.getvalue()


def save_raw(tmp_path, members, method=zipfile.ZIP_DEFLATED):
    path = tmp_path / "raw.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_header((2**40, 4)) + bytes(8), "declares shape"),
        (npy_header((3,)) + bytes(2), "declares shape"),
        (npy_header((3,)) + bytes(4), "declares shape"),
        (npy_header((-2, -2)) + bytes(4), "declares shape"),
        (npy_header((2, 2), "|O") + bytes(32), "dtype object"),
        (npy_header((2, 2), [("a", "|u1")]) + bytes(4), "dtype"),
        (npy_header((2, 2), "<f16") + bytes(64), "dtype float128"),
        (b"PK\x03\x04 not an array", "X is not an array"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "npy format version"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "X is not an array"),
        (b"\x93NUMPY\x01\x00\x10\x00__import__('os')", "X is not an array"),
        (b"", "X is not an array"),
    ],
)
def test_npz_with_a_false_header(tmp_path, content, message):
    if "float128" in message and np.dtype("g").itemsize != 16:
        message = "X is not an array"
    path = save_raw(tmp_path, {"X.npy": content})
    peak, text = peak_of(load_samples, path)
    assert peak < 2**22
    assert message in text
    assert str(path) in text


def test_npz_version_2_header_is_read(tmp_path):
    path = save_raw(tmp_path, {"X.npy": npy_header((1, 3), version=(2, 0)) + b"abc"})
    np.testing.assert_array_equal(load_samples(path)[0], [[97, 98, 99]])


def test_npz_bombs(tmp_path, monkeypatch):
    path = save_raw(tmp_path, {"X.npy": npy_header((1, 2**27)) + bytes(2**27)})
    peak, message = peak_of(load_samples, path)
    assert peak < 2**22
    assert "more than 200 to one" in message
    monkeypatch.setattr(_npz, "MAX_DATA_BYTES", 2**20)
    path = save(tmp_path, X=np.zeros((2, 2**18)), y=[0, 1])
    peak, message = peak_of(load_samples, path)
    assert peak < 2**19
    assert "the limit is 1048576" in message


def test_npz_member_paths_are_not_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = npy_header((1, 1)) + b"a"
    path = save_raw(tmp_path, {"../X.npy": content, "/tmp/X.npy": content, "X.npy": content})
    np.testing.assert_array_equal(load_samples(path)[0], [[97]])
    assert os.listdir(tmp_path) == ["raw.npz"]


def test_npz_by_other_methods_is_refused(tmp_path):
    path = save_raw(tmp_path, {"X.npy": npy_header((1, 1)) + b"a"}, zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match="another method"):
        load_samples(path)
    encrypted = bytearray(save_raw(tmp_path, {"X.npy": npy_header((1, 1)) + b"a"}).read_bytes())
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(ValueError, match="encrypted"):
        load_samples(path)


def test_damaged_npz(tmp_path):
    random = np.random.RandomState(SEED)
    path = save(tmp_path, X=X4, y=Y4)
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 5):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"data\.npz is a truncated or damaged npz file"):
            load_dataset(path)
    refused = 0
    for _ in range(400):
        bad = bytearray(whole)
        bad[random.randint(len(whole))] = random.randint(256)
        path.write_bytes(bad)
        try:
            load_dataset(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 200


# ---------------------------------------------------------------------------------------------------------- CSV


def write_csv(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "target", "y", "names"),
    [
        ("1,2,0\n3,4,1\n", None, [0, 1], ["0", "1"]),
        ("a,b,c\n1,2,0\n3,4,1\n", None, [0, 1], ["0", "1"]),
        ("\ufeffa,b,c\r\n1,2,0\r\n\r\n3,4,1\r\n", None, [0, 1], ["0", "1"]),
        ('"a, b",c,d\n"1",2,0\n3,4,"1"\n', None, [0, 1], ["0", "1"]),
        ("1,2,no\n3,4,yes\n", None, [0, 1], ["no", "yes"]),
        ("1,2,n\n3,4,y\n", None, [0, 1], ["n", "y"]),
        ("1,2,y\n3,4,n\n", None, [1, 0], ["n", "y"]),
        ("0,1,label\n1,2,b\n3,4,a\n", None, [1, 0], ["a", "b"]),
        ("label,a,b\n7,1,2\n9,3,4\n", None, [0, 1], ["7", "9"]),
        ("a,Class,b\n1,x,2\n3,y,4\n", None, [0, 1], ["x", "y"]),
        ("1,1.0,2\n3,0.0,4\n", 1, [1, 0], ["0", "1"]),
        ("1,5,2\n3,6,4\n", "1", [0, 1], ["5", "6"]),
        ("1,1,2\n3,6,4\n", "1", [0, 1], ["1", "6"]),
        ("1,2,5\n3,4,6\n", -1, [0, 1], ["5", "6"]),
        ("a,b,c\n5,1,2\n6,3,4\n", "a", [0, 1], ["5", "6"]),
        ("0,kind,1\n1,b,2\n3,a,4\n", "kind", [1, 0], ["a", "b"]),
        ("0,1,2\nx,1,2\nz,3,4\n", None, None, None),
        (" 1 , 2 , k \n3,4, k\n", None, [0, 0], ["k"]),
    ],
)
def test_csv(tmp_path, text, target, y, names):
    path = write_csv(tmp_path, text)
    if y is None:
        with pytest.raises(ValueError, match=r"line 2, column 1: expected a number, found 'x'"):
            load_dataset(path, target=target)
        return
    data = load_dataset(path, target=target)
    np.testing.assert_array_equal(data["X_train"], [[1, 2], [3, 4]])
    assert data["X_train"].dtype == np.float64
    np.testing.assert_array_equal(data["y_train"], y)
    assert data["y_train"].dtype == np.int64
    assert data["class_names"] == names


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", None, "is empty"),
        ("\n\n", None, "is empty"),
        ("a,b,c\n", None, "has no rows"),
        ("1,2,0\n3,x,1\n", None, r"table\.csv, line 2, column 2: expected a number, found 'x'"),
        ("a,b,c\n1,2,0\n\n3,,1\n", None, r"line 4, column 2: expected a number, found ''"),
        ("1,2,0\n3,4\n", None, "line 2: expected 3 columns, found 2"),
        ("1,2,0\n3,4,1,5\n", None, "line 2: expected 3 columns, found 4"),
        ("1,2,0\n3,4,\n", None, "line 2, column 3: expected a label"),
        ("1,2,0\n3,4,0.5\n", None, "line 2, column 3: expected a whole number or a name as label, found '0.5'"),
        ("1,2,0\n3,4,1.5e300\n", None, "line 2, column 3: expected a whole number"),
        ("1,2,0\n3,4,nan\n", None, "line 2, column 3: expected a label"),
        ("1\n2\n", None, "no column beside the labels"),
        ("1,2,0\n", "price", "target 'price' is not a column"),
        ("1,2,0\n", 3, "target 3 is out of range"),
        ("1,2,0\n", "-4", "target -4 is out of range"),
        ("1,2,0\n", "none", "no training data with labels"),
        ('1,2,"0\n', None, "line 1"),
        ("a,b\n" + "1" * 200_000 + ",0\n", None, "field larger than field limit"),
        ("1,2,0\n3,4\x00,1\n", None, "line 2"),
    ],
)
def test_bad_csv(tmp_path, text, target, message):
    path = write_csv(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(path, target=target)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600


def test_csv_that_is_no_text(tmp_path):
    path = tmp_path / "table.CSV"
    path.write_bytes(b"1,2,0\n\xff\xfe\x80,1\n")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("text", "options", "width", "y", "names"),
    [
        ("1,2\n3,4\n", {}, 2, None, None),
        ("1,2\n3,4\n", {"num_features": 2}, 2, None, None),
        ("1,2\n3,4\n", {"num_features": 1}, 1, [0, 1], ["2", "4"]),
        ("1,2\n3,4\n", {"target": 0}, 1, [0, 1], ["1", "3"]),
        ("1,2\n3,4\n", {"target": "none"}, 2, None, None),
        ("a,y\n1,2\n3,4\n", {}, 1, [0, 1], ["2", "4"]),
        ("y,a\n1,2\n3,4\n", {"num_features": 1}, 1, [0, 1], ["1", "3"]),
        ("a,y\n1,2\n3,4\n", {"target": "none"}, 2, None, None),
    ],
)
def test_csv_samples(tmp_path, text, options, width, y, names):
    X, got, got_names = load_samples(write_csv(tmp_path, text), **options)
    assert X.shape == (2, width)
    assert (None if got is None else got.tolist()) == y
    assert got_names == names


def test_csv_samples_of_another_width(tmp_path):
    path = write_csv(tmp_path, "1,2,3\n")
    for count in (1, 4):
        with pytest.raises(ValueError, match=f"has 3 feature columns; expected {count}"):
            load_samples(path, num_features=count)


def test_samples_with_the_classes_of_a_model(tmp_path):
    path = write_csv(tmp_path, "1,2,owl\n3,4,cat\n5,6,owl\n")
    _, y, names = load_samples(path, num_features=2, class_names=["cat", "dog", "owl"])
    assert y.tolist() == [2, 0, 2]
    assert names == ["cat", "dog", "owl"]
    with pytest.raises(ValueError, match="'owl' is not among the classes"):
        load_samples(path, num_features=2, class_names=["cat", "dog"])
    path = write_csv(tmp_path, "1,2,2\n3,4,0\n")
    assert load_samples(path, num_features=2, class_names=["cat", "dog", "owl"])[1].tolist() == [2, 0]
    assert load_samples(path, num_features=2, class_names=["2", "1", "0"])[1].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"neither the last nor the first has the model's classes only; target=-1"):
        load_samples(path, num_features=2, class_names=["cat", "dog"])
    with pytest.raises(ValueError, match="labels run from 0 to 2; 2 classes"):
        load_samples(path, num_features=2, class_names=["cat", "dog"], target=-1)


# ---------------------------------------------------------------------------------------------- names and splits


def test_names_and_paths_that_are_none(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no such file or folder: nonsense \(data sets by name: fashion-mnist,"
    ):
        load_dataset("nonsense")
    with pytest.raises(FileNotFoundError, match="No such file"):
        load_idx(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"names a column of a \.csv file"):
        load_dataset("fashion-mnist", target="label")
    with pytest.raises(ValueError, match="split must be one of train, val, test"):
        load_samples("fashion-mnist", split="dev")
    with pytest.raises(ValueError, match="neither X_val nor X"):
        load_samples("fashion-mnist", split="val")


def test_split_validation_keeps_the_shares():
    y = np.repeat([0, 1, 2], [50, 30, 21])
    X = np.arange(101 * 2).reshape(101, 2)
    before = np.random.get_state()[1].copy()
    X_train, y_train, X_val, y_val = split_validation(X, y, 0.2, seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert len(y_val) == 20
    assert np.all(np.abs(np.bincount(y_val) - np.array([50, 30, 21]) * 0.2) <= 1)
    np.testing.assert_array_equal(y[X_train[:, 0] // 2], y_train)
    np.testing.assert_array_equal(y[X_val[:, 0] // 2], y_val)
    np.testing.assert_array_equal(np.sort(np.concatenate([X_train, X_val])[:, 0]), X[:, 0])
    assert np.all(np.diff(X_train[:, 0]) > 0)

    again = split_validation(X, y, 0.2, seed=3)[2]
    np.testing.assert_array_equal(again, X_val)
    assert not np.array_equal(split_validation(X, y, 0.2, seed=4)[2], X_val)
    np.testing.assert_array_equal(split_validation(np.arange(6), np.zeros(6, int), 0.5, seed=0)[2], [2, 3, 4])


def test_split_validation_refuses():
    y = np.zeros(5, int)
    for fraction in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="fraction must be between 0 and 1"):
            split_validation(y, y, fraction, seed=0)
    for fraction in (0.05, 0.95):
        with pytest.raises(ValueError, match="one part empty"):
            split_validation(y, y, fraction, seed=0)
    with pytest.raises(ValueError, match="X has 4 rows and y has 5"):
        split_validation(y[:4], y, 0.5, seed=0)
