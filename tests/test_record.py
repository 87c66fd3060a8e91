"""Records: what Python sets, compiled code finds in words of memory."""

import copy
import ctypes
import gc
import weakref

import numpy as np
import pytest

from fastfc._runtime.record import Buffer, Float64s, Int64s, Reals, Record, Table, Uint32s, record


@record
class Inner(Record):
    number: int


@record
class Outer(Record):
    count: int
    scale: float
    flag: bool
    offsets: Int64s
    bits: Uint32s
    numbers: Float64s
    values: Reals
    inner: Inner


def made(dtype=np.float32, **changes):
    given = {
        "count": -3,
        "scale": 0.1,
        "flag": True,
        "offsets": np.arange(4),
        "bits": np.zeros(0, np.uint32),
        "numbers": np.ones((2, 3)),
        "values": np.zeros(5, dtype),
        "inner": Inner(dtype, number=2**62),
    }
    return Outer(np.dtype(dtype), **given | changes)


def made_of(record, **changes):
    return Outer(record.dtype, **record.attributes() | changes)


def words_of(record):
    """The record's memory, as integers and as floats."""
    size = ctypes.sizeof(record) // 8
    memory = np.ctypeslib.as_array((ctypes.c_int64 * size).from_address(record._as_parameter_))
    return memory, memory.view(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_words_of_every_kind(dtype):
    record = made(dtype)
    (words, reals), at = words_of(record), Outer.places
    assert record.dtype == dtype
    assert (words[at["count"]], reals[at["scale"]], words[at["flag"]]) == (-3, 0.1, 1)
    arrays = ("offsets", "bits", "numbers", "values")
    for name in arrays:
        array = getattr(record, name)
        assert words[at[name]] == array.ctypes.data
        assert words[at[name] + 1] == array.size
    assert words[at["inner"]] == record.inner._as_parameter_
    assert words_of(record.inner)[0].tolist() == [2**62]
    assert len(words) == sum(2 if name in arrays else 1 for name in Outer.fields)


def test_what_is_set_later_is_found_as_well():
    record = made()
    record.count, record.flag, record.values = 9, False, np.ones(7, np.float32)
    words, at = words_of(record)[0], Outer.places
    assert words[at["count"]] == record.count == 9
    assert words[at["flag"]] == record.flag == 0
    assert words[at["values"]] == record.values.ctypes.data
    assert words[at["values"] + 1] == 7


def test_a_copy_has_words_of_its_own():
    record = made()
    other = copy.copy(record)
    other.count = 5
    assert record.count == -3
    assert other._as_parameter_ != record._as_parameter_
    assert other.values is record.values
    np.testing.assert_array_equal(np.delete(words_of(other)[0], 0), np.delete(words_of(record)[0], 0))


def test_numbers_of_numpy():
    record = made(count=np.int32(4), scale=np.float32(0.5), flag=np.bool_(True))
    assert (record.count, record.scale, record.flag) == (4, 0.5, 1)


def test_arrays_live_as_long_as_their_record():
    values = np.zeros(5, np.float32)
    alive = weakref.ref(values)
    record = made(values=values)
    del values
    gc.collect()
    assert alive() is not None
    record.values = np.ones(1, np.float32)
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("offsets", np.arange(4, dtype=np.int32)),
        ("offsets", np.arange(8)[::2]),
        ("offsets", [0, 1]),
        ("values", np.zeros(5)),
        ("numbers", np.ones((2, 3)).T),
        ("inner", np.zeros(3)),
        ("inner", Inner(np.float64, number=1)),
    ],
)
def test_other_kinds_are_refused(name, value):
    """A wrong dtype or stride would let compiled code read outside the array."""
    record = made()
    before, words = getattr(record, name), words_of(record)[0].copy()
    with pytest.raises(TypeError, match=f"Outer.{name}: expected"):
        setattr(record, name, value)
    assert getattr(record, name) is before
    np.testing.assert_array_equal(words_of(record)[0], words)
    with pytest.raises(TypeError, match=f"Outer.{name}: expected"):
        made(**{name: value})


def test_every_attribute_and_no_other():
    with pytest.raises(TypeError, match=r"Inner: missing or unknown: number"):
        Inner(np.float32)
    with pytest.raises(TypeError, match=r"Inner: missing or unknown: other"):
        Inner(np.float32, number=1, other=2)
    with pytest.raises(TypeError):
        Inner(np.float32, number=0.5)


def test_a_changed_record_leaves_the_first_as_it_was():
    values = np.zeros(7, np.float32)
    record = made()
    before = words_of(record)[0].copy()
    other = record.changed(count=np.int32(5), flag=np.bool_(False), values=values)
    assert (other.count, other.flag, other.scale, other.dtype) == (5, 0, record.scale, record.dtype)
    assert other.values is values
    assert other.offsets is record.offsets
    new = made_of(record, count=5, flag=False, values=values)
    np.testing.assert_array_equal(words_of(other)[0], words_of(new)[0])
    np.testing.assert_array_equal(words_of(record)[0], before)
    with pytest.raises(TypeError, match=r"Outer: unknown: other"):
        record.changed(other=1)
    with pytest.raises(TypeError, match=r"Outer.values: expected"):
        record.changed(values=np.zeros(5))
    with pytest.raises(TypeError):
        record.changed(count=0.5)


def test_a_changed_table_has_rows_of_its_own():
    table = Table(Inner, np.dtype(np.float32), [{"number": i} for i in range(3)])
    other = table.changed({"number": 10 + row.number} if row.number else {} for row in table)
    assert [row.number for row in table] == [0, 1, 2]
    assert [row.number for row in other] == [0, 11, 12]
    assert [row._as_parameter_ for row in other] == [other.address + 8 * i for i in range(3)]
    assert (other.kind, other.dtype) == (table.kind, table.dtype)
    assert list(table.changed({} for _ in table))[2].number == 2
    assert len(Table(Inner, np.dtype(np.float32), []).changed([])) == 0


def test_the_attributes_make_another_record():
    memory = np.arange(10, dtype=np.float32)
    one = made(values=Buffer(memory).part(2, 3))
    one.count, one.scale = 7, 0.5
    one.numbers = np.zeros(4)
    # A part is still one: no view was made of it.
    assert type(one.attributes()["values"]) is tuple
    other = Outer(np.float32, **one.attributes())
    np.testing.assert_array_equal(words_of(other)[0], words_of(one)[0])
    np.testing.assert_array_equal(one.values, [2, 3, 4])
