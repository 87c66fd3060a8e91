"""Untrusted files: ValueError that names the file, bounded memory, nothing executed."""

import gzip
import importlib.util
import io
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fastfc
from fastfc import FullyConnectedNet, Solver, export, load_exported, load_model
from fastfc.data_utils import load_CIFAR_batch, load_dataset, load_samples
from fastfc.solver import load_checkpoint

X = np.random.RandomState(3).standard_normal((12, 4)).round(3)
Y = np.arange(12) % 3
DATA = {"X_train": X, "y_train": Y, "X_val": X[:5], "y_val": Y[:5]}


def make_solver(**options):
    np.random.seed(1)
    net = FullyConnectedNet([3], 4, 3, normalization="batchnorm", dropout_keep_ratio=0.5)
    net.input_mean, net.class_names = X.mean(axis=0), ["a", "b", "c"]
    solver = Solver(net, DATA, update_rule="adam", num_epochs=2, batch_size=6, verbose=False, **options)
    with fastfc.use_backend("reference"):
        solver.train()
    return solver


def bytes_of(write, name):
    """The bytes that `write` puts into a file of this name."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def write_csv(path):
    rows = [f"{','.join(map(str, row))},{'abc'[label]}" for row, label in zip(X, Y, strict=True)]
    path.write_text("\n".join(["f0,f1,f2,f3,class", *rows]) + "\n")


IDX = struct.pack(">HBBII", 0, 8, 2, 12, 4) + bytes(range(48))
BATCH = {"data": np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072), "labels": [3, 9]}

#: Format -> the file's name, what reads it, and the bytes of a good one.
FORMATS = {
    "model": ("model.npz", load_model, lambda path: make_solver().model.save(path)),
    "torch names": ("net.pt-names.npz", load_exported, lambda path: export(make_solver().model, path)),
    "training": ("run.npz", lambda path: Solver.resume(path, DATA), lambda path: make_solver().save(path)),
    "npz": ("data.npz", load_dataset, lambda path: np.savez_compressed(path, X=X, y=Y, class_names=["a", "b", "c"])),
    "csv": ("data.csv", load_dataset, write_csv),
    "idx": ("pictures", load_samples, lambda path: path.write_bytes(IDX)),
    "packed idx": ("pictures.gz", load_samples, lambda path: path.write_bytes(gzip.compress(IDX, mtime=0))),
    "cifar": ("data_batch_1", load_CIFAR_batch, lambda path: path.write_bytes(pickle.dumps(BATCH, 2))),
    "checkpoint": (
        "c_epoch_2.pkl",
        load_checkpoint,
        lambda path: make_solver(checkpoint_name=path.with_name("c")) and None,
    ),
}
FORMATS |= {
    name: (f"net.{name}", load_exported, lambda path: export(make_solver().model, path))
    for name in ("safetensors", "onnx")
    if importlib.util.find_spec(name)
}
GOOD = {name: bytes_of(write, file) for name, (file, _, write) in FORMATS.items()}
NPZ = ["model", "torch names", "training", "npz"]
every_format = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def read(folder, name, content):
    """The result of reading; None if it was refused, by a ValueError that names the file."""
    file, load, _ = FORMATS[name]
    path = folder / file
    path.write_bytes(content)
    try:
        return load(path)
    except ValueError as error:
        assert str(path) in str(error), error  # noqa: PT017
        return None


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


def header(shape, dtype="<f8"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def members_of(name):
    with zipfile.ZipFile(io.BytesIO(GOOD[name])) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------ any damage


@every_format
def test_the_good_one_is_read(name, folder):
    assert read(folder, name, GOOD[name]) is not None


@every_format
def test_truncated_at_any_length(name, folder):
    good = GOOD[name]
    step = max(len(good) // 150, 1)
    for length in [*range(0, len(good) - 40, step), *range(max(len(good) - 40, 0), len(good) - 1)]:
        got = read(folder, name, good[:length])
        # A table without its last lines is a table.
        assert got is None or name == "csv", length


def mutated(good):
    """Strategies for bytes that differ from `good` here and there."""
    places = st.integers(0, len(good) - 1)
    change = st.one_of(
        st.tuples(st.just("flip"), places, st.integers(1, 255)),
        st.tuples(st.just("cut"), places, st.integers(1, 200)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("overwrite"), places, st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("copy"), places, places),
        st.tuples(st.just("number"), places, st.sampled_from([0, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1])),
    )
    return st.lists(change, min_size=1, max_size=4)


def apply(changes, good):
    data = bytearray(good)
    for kind, place, value in changes:
        if kind == "flip" and place < len(data):
            data[place] ^= value
        elif kind == "cut":
            del data[place : place + value]
        elif kind == "insert":
            data[place:place] = value
        elif kind == "overwrite":
            data[place : place + len(value)] = value
        elif kind == "copy":
            data[place:place] = data[value : value + 64]
        elif kind == "number":
            data[place : place + 8] = value.to_bytes(8, "little")
    return bytes(data)


@every_format
@given(choice=st.data())
def test_mutated(name, choice, folder):
    changes = choice.draw(mutated(GOOD[name]))
    read(folder, name, apply(changes, GOOD[name]))


@every_format
@given(content=st.binary(max_size=300))
@example(content=b"")
@example(content=b"\x1f\x8b")
@example(content=b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff")
@example(content=b"PK\x05\x06" + bytes(18))
@example(content=b"PK\x05\x06" + b"\xff" * 18)
@example(content=b"\x80\x04.")
@example(content=b"\0\0\x08\x20" + b"\xff" * 128)
def test_any_bytes(name, content, folder):
    read(folder, name, content)


@pytest.mark.parametrize("name", NPZ)
@given(choice=st.data())
def test_mutated_members(name, choice, folder):
    """Damage that the archive's checksums do not see: its maker computed them afterwards."""
    members = members_of(name)
    victim = choice.draw(st.sampled_from(sorted(members)))
    members[victim] = apply(choice.draw(mutated(members[victim])), members[victim])
    read(folder, name, zipped(members))


@pytest.mark.parametrize("option", [("update_rule", "check_keys"), ("optim_config", {"dict": {"learning_rate": None}})])
def test_a_solvers_arguments_are_refused_by_the_files_name(option, folder):
    members, (name, value) = members_of("training"), option
    options = json.loads(str(np.load(io.BytesIO(members["options.npy"]))))
    (options if name in options else options["options"])[name] = value
    members["options.npy"] = npy(json.dumps(options))
    assert read(folder, "training", zipped(members)) is None


# As for a Solver that is made with such a dictionary.
@pytest.mark.filterwarnings("ignore:optim_config. adam ignores")
@pytest.mark.parametrize("name", ["model", "training"])
@given(choice=st.data())
def test_mutated_options(name, choice, folder):
    """Options that are still JSON, one of whose values is another."""
    members = members_of(name)
    which = choice.draw(st.sampled_from([m for m in sorted(members) if m.endswith("options.npy")]))
    options = json.loads(str(np.load(io.BytesIO(members[which]))))
    places = [(options, key) for key in options]
    for part, key in places:
        if isinstance(part[key], dict):
            places += [(part[key], inner) for inner in part[key]]
    part, key = choice.draw(st.sampled_from(places))
    part[key] = choice.draw(
        st.sampled_from([None, True, "", "x", "adam", [], {}, [[]], {"a": 1}, -1, 0, 1.5, math.nan, math.inf, 10**400])
    )
    members[which] = npy(json.dumps(options))
    read(folder, name, zipped(members))


# ------------------------------------------------------------------------------------------ zip archives


@pytest.mark.parametrize("name", NPZ)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(name, folder):
    members = list(members_of(name).items())
    assert read(folder, name, zipped(members)) is not None
    assert read(folder, name, zipped([*members, members[0]])) is None


@pytest.mark.parametrize("name", NPZ)
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_pack(name, method, folder):
    assert read(folder, name, zipped(members_of(name), method)) is None
    assert read(folder, name, zipped(members_of(name), zipfile.ZIP_DEFLATED)) is not None


@pytest.mark.parametrize("name", NPZ)
def test_encrypted(name, folder):
    content = bytearray(GOOD[name])
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert read(folder, name, bytes(content)) is None


@pytest.mark.parametrize("name", NPZ)
@pytest.mark.parametrize("path", ["/etc/x.npy", "../x.npy", "..\\x.npy", "C:\\x.npy", "x/../../y.npy", "a\0b.npy", " "])
def test_paths_in_names_are_not_followed(name, path, folder):
    before = sorted(os.listdir(folder))
    read(folder, name, zipped({**members_of(name), path: npy(np.zeros(3))}))
    assert set(os.listdir(folder)) <= {*before, FORMATS[name][0]}


@pytest.mark.parametrize("name", NPZ)
def test_names_that_are_no_text(name, folder):
    """The archive says that its names are UTF-8, and they are not."""
    members = members_of(name)
    content = zipped({**members, "µµ.npy": npy(np.zeros(3))})
    assert "µµ".encode() in content
    assert read(folder, name, content.replace("µµ".encode(), b"\xff\xfe\xff\xfe")) is None


@pytest.mark.parametrize("name", NPZ)
def test_a_member_of_a_member(name, folder):
    """A whole archive in the place of an array."""
    members = members_of(name)
    assert read(folder, name, zipped(dict.fromkeys(members, GOOD[name]))) is None


# ----------------------------------------------------------------------------------------------- arrays


class Harm:
    def __reduce__(self):
        return open, ("harm", "w")


@pytest.mark.parametrize("name", NPZ)
def test_no_member_may_be_an_object_array(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for victim in members_of(name):
        for poison in (np.array([Harm()], dtype=object), np.array(Harm(), dtype=object)):
            assert read(folder, name, zipped({**members_of(name), victim: npy(poison)})) is None
            assert read(folder, name, zipped({**members_of(name), victim: pickle.dumps(Harm())})) is None
    assert not os.path.exists("harm")


HEADERS = {
    "an expression": b"__import__('os').system('echo harm > harm')",
    "a call": b"{'descr': open('harm', 'w'), 'fortran_order': False, 'shape': (3,)}",
    "deep": b"(" * 9000,
    "signs": b"-" * 9000 + b"1",
    "digits": b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"1" * 9000 + b"x), }",
    "spaces": b"{'descr': '<f8', 'fortran_order': False, 'shape': (1," + b" " * 9000 + b"x), }",
    "odd numbers": b"{'descr': '<f8', 'fortran_order': False, 'shape': (1if 1else 2,), }",
    "a long number": b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",), }",
    "not UTF-8": b"\xff\xfe",
    "NUL": b"\0" * 100,
    "a nested dtype": b"{'descr': [('a', [('b', '<f8')])], 'fortran_order': False, 'shape': (3,), }",
    "a shaped dtype": b"{'descr': ('<f8', (1000000,)), 'fortran_order': False, 'shape': (3,), }",
    "a huge string": b"{'descr': '<U2000000000', 'fortran_order': False, 'shape': (1,), }",
    "no width": b"{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }",
    "a float as size": b"{'descr': '<f8', 'fortran_order': False, 'shape': (1e3,), }",
    "a flag as size": b"{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }",
    "other keys": b"{'descr': '<f8'}",
    "too many axes": b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"1," * 70 + b"), }",
    "empty but huge": b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4), }",
}


@pytest.mark.parametrize("text", HEADERS)
@pytest.mark.parametrize("name", NPZ)
def test_headers(name, text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(HEADERS[text])) + HEADERS[text]
    for victim in members_of(name):
        for rest in (b"", bytes(24)):
            assert read(folder, name, zipped({**members_of(name), victim: content + rest})) is None
    assert not os.path.exists("harm")


def test_a_header_of_python_2_is_read(folder):
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3L, 1L), }"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + np.arange(3.0).tobytes()
    np.testing.assert_array_equal(
        read(folder, "npz", zipped({"X.npy": content, "y.npy": npy([0, 1, 0])}))["X_train"][2], 2
    )


def training_with(**arrays):
    members = members_of("training")
    for key, value in arrays.items():
        members[f"{key.replace('__', '.')}.npy"] = npy(value)
    return zipped(members)


@pytest.mark.parametrize("name", ["model.params.W1", "model.running_mean1", "model.input_mean", "best_params.b2"])
def test_numbers_beyond_the_networks_dtype(name, folder):
    """The network is in float32: such a number would become infinite."""
    members = members_of("training")
    array = np.load(io.BytesIO(members[f"{name}.npy"])).astype(np.float64)
    array.flat[0] = 1e200
    assert read(folder, "training", zipped({**members, f"{name}.npy": npy(array)})) is None
    model = {key.removeprefix("model."): content for key, content in members.items() if key.startswith("model.")}
    if name.startswith("model."):
        assert read(folder, "model", zipped({**model, f"{name.removeprefix('model.')}.npy": npy(array)})) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stream", np.zeros(623, np.uint32)),
        ("stream", np.zeros(624, np.int64)),
        ("loss_history", np.zeros((2, 2))),
        ("best_params__W1", np.zeros((4, 4))),
        ("optim_configs__W1__m", np.zeros(3)),
        ("optim_configs__W1__v", np.array("x")),
        ("model__params__W1", np.zeros((4, 5))),
        ("accumulated__W1", np.zeros((4, 6))),
        ("model__running_mean1", np.zeros(7)),
    ],
)
def test_arrays_of_a_training_that_do_not_fit(key, value, folder):
    assert read(folder, "training", training_with(**{key: value})) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stream", [625, 0, 0.0]),
        ("stream", [-1, 0, 0.0]),
        ("stream", [0, 2, 0.0]),
        ("stream", [0, 0, "x"]),
        ("stream", [0, 0]),
        ("epoch", -1),
        ("epoch", math.nan),
        ("iterations", 1.5),
        ("iterations", None),
        ("iterations", 2**60),
        ("best_val_acc", "x"),
        ("best_val_acc", None),
        ("model", "Solver"),
        ("model", None),
        ("update_rule", "_update"),
        ("update_rule", "__builtins__"),
        ("update_rule", "os.system"),
        ("update_rule", ["adam"]),
        ("optim_configs", {"dict": {}}),
        ("optim_configs", 3),
        ("optim_configs", {"array": "model.options"}),
        ("ran", {"engine": "compiled", "backend": "fast", "threads": 10**9}),
        ("ran", {"engine": "compiled", "backend": "fast", "threads": 0}),
        ("ran", {"engine": "compiled"}),
        ("data", {}),
        ("data", None),
        ("arrays", []),
        ("format", "fastfc training 2"),
        ("autosave", "/etc/passwd"),
        ("checkpoint_name", 5),
        ("loss", "softmax"),
        ("loss", True),
        ("accumulated", 1.0),
        ("accumulated", -1.0),
        ("accumulated", math.nan),
        ("accumulated", "x"),
    ],
)
def test_options_of_a_training_that_make_no_sense(key, value, folder):
    members = members_of("training")
    options = json.loads(str(np.load(io.BytesIO(members["options.npy"]))))
    assert key in options
    options[key] = value
    assert read(folder, "training", zipped({**members, "options.npy": npy(json.dumps(options))})) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("batch_size", math.nan),
        ("batch_size", "6"),
        ("num_epochs", -1),
        ("num_epochs", math.inf),
        ("print_every", 0),
        ("threads", -1),
        ("threads", True),
        ("threads", "all"),
        ("num_train_samples", -5),
        ("num_val_samples", "5"),
        ("lr_decay", "x"),
        ("optim_config", 1),
        ("accumulate", 0),
        ("accumulate", 1.5),
        ("sampler", "sorted"),
        ("sampler", 1),
        ("sampler", None),
    ],
)
def test_arguments_of_a_training_that_make_no_sense(key, value, folder):
    members = members_of("training")
    options = json.loads(str(np.load(io.BytesIO(members["options.npy"]))))
    assert key in options["options"]
    options["options"][key] = value
    assert read(folder, "training", zipped({**members, "options.npy": npy(json.dumps(options))})) is None


# ----------------------------------------------------------------------------------------------- memory

# A process that may not take much more memory than it has once everything is imported.
BOUNDED = """
import pickle, resource, sys
from pathlib import Path
import test_hostile_files as hostile

folder = Path(sys.argv[2])
bombs = pickle.loads((folder / "bombs").read_bytes())
for name in hostile.FORMATS:
    hostile.read(folder, name, hostile.GOOD[name])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 600 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name, what, content in bombs:
    assert hostile.read(folder, name, content) is None, (name, what)
print(len(bombs))
"""


def bombs():
    """Format, what it is, and the bytes of small files that ask for much."""
    for name in NPZ:
        members = members_of(name)
        for victim in members:
            yield name, f"{victim}: 10**12 elements", zipped({**members, victim: header((10**12,)) + bytes(8)})
            yield name, f"{victim}: 2**62 elements", zipped({**members, victim: header((2**31, 2**31)) + bytes(8)})
        victim = next(iter(members))
        yield (
            name,
            "zeros",
            zipped({**members, victim: header((10**7,)) + bytes(8 * 10**7)}, zipfile.ZIP_DEFLATED),
        )
        # A size in the directory that is not that of the contents.
        small = bytearray(zipped({**members, victim: header((10**9,), "|u1") + bytes(8)}))
        place = small.index(b"PK\x01\x02")
        small[place + 24 : place + 28] = struct.pack("<I", len(header((10**9,), "|u1")) + 10**9)
        yield name, "a false size", bytes(small)
    options = "options.npy"
    yield "training", "text", zipped({**members_of("training"), options: header((), "<U40000000") + bytes(16)})
    yield "training", "nested text", zipped({**members_of("training"), options: npy("[" * 200_000)})
    yield "model", "nested text", zipped({**members_of("model"), options: npy('{"a":' * 100_000)})
    for packed in (bytes, gzip.compress):
        name = "packed idx" if packed is gzip.compress else "idx"
        yield name, "10**12 elements", packed(struct.pack(">HBBII", 0, 8, 2, 10**6, 10**6) + bytes(100))
        yield name, "2**128 elements", packed(struct.pack(">HBB", 0, 14, 4) + b"\xff" * 16 + bytes(100))
        yield name, "no rows but huge", packed(struct.pack(">HBBIII", 0, 14, 3, 0, 2**32 - 1, 2**32 - 1))
    yield "packed idx", "zeros", gzip.compress(struct.pack(">HBBI", 0, 8, 1, 10**9) + bytes(2**20))
    for name in ("cifar", "checkpoint"):
        yield name, "a long string", b"\x80\x04\x8d" + struct.pack("<Q", 2**50) + b"x."
        yield name, "a long frame", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N."
        yield name, "a long number", b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"\xff."
        yield name, "a far memo", b"\x80\x04Nr" + struct.pack("<I", 2**32 - 1) + b"."
        yield name, "deep", b"\x80\x04" + b"(" * 200_000 + b"t" * 200_000 + b"."
        yield name, "doubled", b"\x80\x04]q\x00" + b"".join(b"](h\x00h\x00eq\x00" for _ in range(60)) + b"."
    yield "checkpoint", "copies", b"\x80\x04](" + _COPY * 3000 + b"e."


_COPY = b"\x8c\x07_codecs\x8c\x06encode\x93X\xa0\x86\x01\x00" + b"x" * 100_000 + b"\x8c\x06latin1\x86R"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures and limits memory as Linux does")
def test_memory_is_bounded(tmp_path):
    kept = [bomb for bomb in bombs() if len(bomb[2]) < 2**20]
    (tmp_path / "bombs").write_bytes(pickle.dumps(kept))
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(fastfc.__file__).parents[1]), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", BOUNDED, "-", tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "FASTFC_BACKEND": "reference"},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.split() == [str(len(kept))]
    assert len(kept) > 60
