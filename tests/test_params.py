"""Flat parameter storage: views on one buffer, whatever is assigned."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastfc.params import FlatParameters

# Sizes below, at and above a line of 64 bytes; a name without elements in between.
SHAPES = {"W1": (3, 5), "b1": (5,), "none": (0, 4), "W2": (4, 4), "b2": (16,), "s": ()}
DTYPES = [np.float32, np.float64]


@pytest.fixture(params=DTYPES)
def params(request):
    return numbered(SHAPES, request.param)


def numbered(shapes, dtype):
    """Parameters whose elements are all different, or far apart in a dtype of few numbers."""
    params = FlatParameters(shapes, dtype)
    count = min(int(2 / np.finfo(dtype).eps), 2**24)
    start = 1
    for view in params.values():
        view[...] = np.arange(start, start + view.size).reshape(view.shape) % count
        start += view.size
    return params


def contents(params):
    return {name: np.array(value) for name, value in params.items()}


def assert_contents(params, expected):
    assert params.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(params[name], value)


def assert_on_one_buffer(params, shapes):
    """Every value is a view on `flat`, where `offsets` says, on a line of its own; padding is zero."""
    flat = params.flat
    assert flat.ndim == 1
    assert flat.dtype == params.dtype
    assert flat.flags.c_contiguous
    assert flat.flags.writeable
    assert params.shapes == shapes
    padding = np.ones(flat.shape, bool)
    for name, shape in shapes.items():
        value, offset = params[name], params.offsets[name]
        assert value.shape == shape
        assert value.dtype == params.dtype
        assert value.flags.c_contiguous
        assert offset * flat.itemsize % 64 == 0
        assert padding[offset : offset + value.size].all(), "two views share elements"
        padding[offset : offset + value.size] = False
        if value.size > 0:
            assert value.ctypes.data % 64 == 0
            assert value.ctypes.data == flat.ctypes.data + offset * flat.itemsize
    assert not flat[padding].any()


# ------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("dtype", DTYPES)
def test_starts_as_zeros(dtype):
    params = FlatParameters(SHAPES, dtype)
    assert list(params) == list(SHAPES)
    assert isinstance(params, dict)
    assert_on_one_buffer(params, SHAPES)
    assert not params.flat.any()


def test_views_and_buffer_are_one_memory(params):
    assert_on_one_buffer(params, SHAPES)
    params["W2"][1, 2] = -7
    assert params.flat[params.offsets["W2"] + 6] == -7
    params.flat[params.offsets["b1"] + 4] = -8
    assert params["b1"][4] == -8
    params.flat[:] = 0
    assert not any(value.any() for value in params.values())


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=8), st.sampled_from([np.float16, np.float32, "float64"])
)
def test_any_layout(shapes, dtype):
    named = {f"p{i}": tuple(shape) for i, shape in enumerate(shapes)}
    assert_on_one_buffer(numbered(named, dtype), named)


def test_no_parameters():
    params = FlatParameters({}, np.float32)
    assert params.flat.shape == (0,)
    assert dict(params) == {}


# ------------------------------------------------------------------------------------------------ copying in


def assign_item(params, name, value):
    params[name] = value


def assign_update(params, name, value):
    params.update({name: value})


def assign_keyword(params, name, value):
    params.update(**{name: value})


def assign_pairs(params, name, value):
    params.update([(name, value)])


def assign_or(params, name, value):
    before = params
    params |= {name: value}
    assert params is before


def assign_or_pairs(params, name, value):
    params |= [(name, value)]


def assign_replace(params, name, value):
    params.replace({**params, name: value})


def assign_setdefault(params, name, value):
    del params[name]
    assert params.setdefault(name, value) is params[name]


WAYS = [
    assign_item,
    assign_update,
    assign_keyword,
    assign_pairs,
    assign_or,
    assign_or_pairs,
    assign_replace,
    assign_setdefault,
]


@pytest.mark.parametrize("assign", WAYS)
def test_values_are_copied_in(assign, params):
    view, expected = params["W1"], contents(params)
    value = np.arange(100, 115.0).reshape(3, 5)
    assign(params, "W1", value)
    expected["W1"] = value.copy()
    value[:] = -1
    assert params["W1"] is view
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


VALUES = {
    "list": lambda: [[float(4 * i + j) for j in range(4)] for i in range(4)],
    "integers": lambda: np.arange(16).reshape(4, 4),
    "booleans": lambda: np.eye(4, dtype=bool),
    "half": lambda: np.arange(16, dtype=np.float16).reshape(4, 4),
    "Fortran": lambda: np.asfortranarray(np.arange(16.0).reshape(4, 4)),
    "strided": lambda: np.arange(64.0).reshape(8, 8)[::2, ::-2],
    "big-endian": lambda: np.arange(16, dtype=">f4").reshape(4, 4),
    "broadcast": lambda: np.broadcast_to(np.arange(4.0), (4, 4)),
    "subclass": lambda: np.ma.masked_array(np.arange(16.0).reshape(4, 4)),
}


@pytest.mark.parametrize("assign", [assign_item, assign_replace])
@pytest.mark.parametrize("kind", VALUES)
def test_any_real_values(kind, assign, params):
    expected = {**contents(params), "W2": np.array(VALUES[kind]())}
    assign(params, "W2", VALUES[kind]())
    assert type(params["W2"]) is np.ndarray
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


def test_operators_work_in_place(params):
    expected = contents(params)
    params["W1"] += 1
    params["b2"] *= params["b2"]
    expected["W1"] = expected["W1"] + 1
    expected["b2"] = expected["b2"] ** 2
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


def test_setdefault_leaves_what_is_there(params):
    expected = contents(params)
    assert params.setdefault("b1", np.zeros(5)) is params["b1"]
    assert_contents(params, expected)


# ------------------------------------------------------------------------------------------------ refusals

BAD = {
    "scalar": (3.0, ValueError),
    "too short": (np.zeros((3, 4)), ValueError),
    "transposed": (np.zeros((5, 3)), ValueError),
    "flat": (np.zeros(15), ValueError),
    "another axis": (np.zeros((1, 3, 5)), ValueError),
    "complex": (np.zeros((3, 5), complex), TypeError),
    "strings": (np.full((3, 5), "1"), TypeError),
    "objects": (np.full((3, 5), None), TypeError),
    "dates": (np.zeros((3, 5), "M8[s]"), TypeError),
    "nothing": (None, TypeError),
}


@pytest.mark.parametrize("assign", [way for way in WAYS if way is not assign_setdefault])
@pytest.mark.parametrize("kind", BAD)
def test_bad_values_change_nothing(kind, assign, params):
    value, error = BAD[kind]
    expected = contents(params)
    with pytest.raises(error, match="W1"):
        assign(params, "W1", value)
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


def test_shape_errors_name_both_shapes(params):
    with pytest.raises(ValueError, match=r"W1.*\(3, 5\).*\(5, 3\)"):
        params["W1"] = np.zeros((5, 3))


@pytest.mark.parametrize(
    "assign", [FlatParameters.update, FlatParameters.replace, lambda params, values: params.__ior__(values)]
)
def test_a_bad_value_among_good_ones_changes_nothing(assign, params):
    expected = contents(params)
    values = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    values["b2"] = np.zeros(15)
    with pytest.raises(ValueError, match="b2"):
        assign(params, values)
    assert_contents(params, expected)


def test_replace_needs_every_name(params):
    expected = contents(params)
    with pytest.raises(ValueError, match=r"missing b1, W2"):
        params.replace({name: np.zeros(shape) for name, shape in SHAPES.items() if name not in ("b1", "W2")})
    assert_contents(params, expected)


# ------------------------------------------------------------------------------------------ overlapping values


def test_replace_by_itself(params):
    expected = contents(params)
    params.replace(params)
    assert_contents(params, expected)
    params.replace(dict(params))
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


def test_replace_exchanges_its_own_views():
    shapes = {"a": (4, 4), "b": (4, 4), "c": (16,)}
    params = numbered(shapes, np.float32)
    a, b, c = (params[name].copy() for name in shapes)
    params.replace({"a": params["b"].T, "b": params["c"].reshape(4, 4), "c": params["a"].reshape(-1)[::-1]})
    assert_contents(params, {"a": b.T, "b": c.reshape(4, 4), "c": a.reshape(-1)[::-1]})
    assert_on_one_buffer(params, shapes)


def test_replace_by_a_shifted_part_of_its_buffer():
    """Views that straddle: each value begins where another one ends."""
    shapes = {"a": (16,), "b": (16,)}
    params = numbered(shapes, np.float32)
    flat = params.flat.copy()
    params.replace({"a": params.flat[8:24], "b": params.flat[4:20]})
    assert_contents(params, {"a": flat[8:24], "b": flat[4:20]})


@pytest.mark.parametrize("assign", WAYS[:-1])
@pytest.mark.parametrize("view", [lambda w: w.T, lambda w: w[::-1], lambda w: w[:, ::-1], lambda w: w.T[::-1]])
def test_its_own_view_in_another_order(view, assign, params):
    expected = contents(params)
    expected["W2"] = view(expected["W2"]).copy()
    assign(params, "W2", view(params["W2"]))
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


def test_a_part_of_the_buffer_that_overlaps():
    params = numbered({"a": (48,), "b": (16,)}, np.float32)
    expected = params.flat[8:56].copy()
    params["a"] = params.flat[8:56]
    np.testing.assert_array_equal(params["a"], expected)


# ------------------------------------------------------------------------------- other names, deletion, copies


@pytest.mark.parametrize("assign", WAYS[:-1])
def test_other_names_are_kept_as_they_are(assign, params):
    flat, note = params.flat.copy(), {"any": "object"}
    assign(params, "note", note)
    assert params["note"] is note
    assert params.shapes == SHAPES
    np.testing.assert_array_equal(params.flat, flat)
    # Names outside the buffer follow no shape.
    params["note"] = np.zeros(3)
    assert params["note"].shape == (3,)


def test_replace_drops_other_names_that_are_not_given(params):
    params["extra"] = np.ones(2)
    params.replace({name: np.zeros(shape) for name, shape in SHAPES.items()})
    assert list(params) == list(SHAPES)
    params.replace({**params, "extra": "kept"})
    assert params["extra"] == "kept"


@pytest.mark.parametrize("delete", [lambda params: params.__delitem__("b1"), lambda params: params.pop("b1")])
def test_delete_and_assign_again(delete, params):
    view = params["b1"]
    delete(params)
    assert "b1" not in params
    assert list(params) == [name for name in SHAPES if name != "b1"]
    with pytest.raises(KeyError):
        params["b1"]
    with pytest.raises(ValueError, match="b1"):
        params["b1"] = np.zeros(4)
    assert "b1" not in params
    params["b1"] = np.full(5, 9)
    assert params["b1"] is view
    np.testing.assert_array_equal(view, np.full(5, 9))
    assert_on_one_buffer(params, SHAPES)


def test_clear_and_replace(params):
    expected = contents(params)
    params.clear()
    assert len(params) == 0
    params.replace(expected)
    assert_contents(params, expected)
    assert_on_one_buffer(params, SHAPES)


ROUND_TRIPS = {
    "deepcopy": copy.deepcopy,
    "copy.copy": copy.copy,
    **{
        f"pickle {protocol}": lambda params, protocol=protocol: pickle.loads(pickle.dumps(params, protocol))
        for protocol in (2, pickle.HIGHEST_PROTOCOL)
    },
}


@pytest.mark.parametrize("way", ROUND_TRIPS)
def test_round_trip(way, params):
    twin = ROUND_TRIPS[way](params)
    assert type(twin) is FlatParameters
    assert twin.dtype == params.dtype
    assert twin.offsets == params.offsets
    assert_contents(twin, contents(params))
    assert_on_one_buffer(twin, SHAPES)
    assert not np.shares_memory(twin.flat, params.flat)
    # The copy is one buffer as well, and independent.
    expected = contents(params)
    twin["b2"] = np.zeros(16)
    twin.flat[twin.offsets["W1"]] = -5
    assert twin["W1"][0, 0] == -5
    assert_contents(params, expected)


@pytest.mark.parametrize("way", ROUND_TRIPS)
def test_round_trip_keeps_other_names(way, params):
    note = {"text": ["a", 1], "number": 3}
    params["note"] = note
    twin = ROUND_TRIPS[way](params)
    assert type(twin["note"]) is dict
    assert twin["note"] == note


@pytest.mark.parametrize("way", ROUND_TRIPS)
def test_round_trip_after_deletion(way, params):
    del params["b1"]
    expected = contents(params)
    twin = ROUND_TRIPS[way](params)
    assert_contents(twin, expected)
    twin["b1"] = np.ones(5)
    assert twin.shapes == SHAPES


def test_round_trip_within_a_structure(params):
    """A structure that refers to one set of parameters twice does so afterwards."""
    first, second = copy.deepcopy([params, params])
    assert first is second
    first, second = pickle.loads(pickle.dumps([params, params]))
    assert first is second


def test_copy_is_a_dictionary_of_the_same_arrays(params):
    """As of any dictionary: a shallow copy."""
    shallow = params.copy()
    assert shallow.keys() == params.keys()
    assert all(shallow[name] is params[name] for name in params)
    shallow["b1"] = "free"
    assert params["b1"].shape == (5,)


def test_copies_of_the_values_can_come_back(params):
    """As Solver keeps the best parameters."""
    best = {name: value.copy() for name, value in params.items()}
    expected = contents(params)
    params.flat[:] = 0
    params.replace(best)
    assert_contents(params, expected)
    best["W1"][:] = -1
    assert_contents(params, expected)
