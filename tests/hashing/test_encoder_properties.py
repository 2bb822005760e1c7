"""Hashes of drawn values, against an oracle that is written here and knows nothing of the encoding."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import itertools
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import uuid
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from daskcache.hashing.encoder import hash_value

MODEST = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Box:
    x: object
    y: object = None


@dataclasses.dataclass
class Crate:
    x: object
    y: object = None


class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


# ---- values -------------------------------------------------------------------------------------

_zones = st.sampled_from([None, datetime.UTC, ZoneInfo("Europe/Zurich"), ZoneInfo("Europe/Madrid")])
_small = st.integers(-2, 2) | st.none()

#: Few values, which are easily taken for each other.
_alike = st.sampled_from(
    (None, False, True, 0, 1, -1, 0.0, -0.0, 1.0, 0j, 1j, "", "0", "1", "None", b"", b"1", (), "i1;")
) | st.sampled_from([float("nan"), -float("nan"), float("inf"), 2**64, 2**1000, frozenset(), "s1:1"])

_hashable_leaves = (
    _alike
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(), max_size=4)
    | st.binary(max_size=4)
    | st.sampled_from([*Colour, *Access, Access(0), Access(3), Ellipsis])
    | st.datetimes(timezones=_zones)
    | st.dates()
    | st.times(timezones=_zones)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=5))
    | st.builds(range, st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([-2, -1, 1, 2]))
)
_hashable = st.recursive(
    _hashable_leaves,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)

_shapes = st.sampled_from([(2, 3), (3, 2), (2, 2, 3), (3,), (), (0,), (0, 2), (2, 0)])
_structures = hnp.array_dtypes(hnp.scalar_dtypes(), max_size=3)
_arrays = hnp.arrays(hnp.scalar_dtypes() | _structures, _shapes, fill=st.nothing())


@st.composite
def _object_arrays(draw):
    values = draw(st.lists(_hashable_leaves, max_size=4))
    array = np.empty(len(values), object)
    array[:] = values
    return array


_columns = {
    "int64": st.integers(-2, 2),
    "int8": st.integers(-2, 2),
    "float64": st.floats(),
    "bool": st.booleans(),
    "Int64": _small,
    "boolean": st.booleans() | st.none(),
    "str": st.sampled_from(["", "a", "b", None]),
    "string": st.sampled_from(["", "a", "b", None]),
    "object": _alike,
    "category": st.sampled_from(["a", "b", None]),
    "datetime64[ns]": st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2030, 1, 1)),
    "datetime64[ns, Europe/Zurich]": st.sampled_from([pd.NaT, *pd.date_range("2024", periods=2)]),
}


@st.composite
def _series(draw, length):
    dtype = draw(st.sampled_from(sorted(_columns)))
    values = draw(st.lists(_columns[dtype], min_size=length, max_size=length))
    return pd.Series(values, dtype=dtype)


@st.composite
def _frames(draw):
    length = draw(st.integers(0, 3))
    names = draw(st.lists(st.sampled_from(["a", "b", "c", 1, 1.0, None]), max_size=3))
    frame = pd.DataFrame({i: draw(_series(length)) for i in range(len(names))}, range(length))
    frame.columns = pd.Index(names, dtype=object)
    kind = draw(st.sampled_from(["range", "named", "values", "multi"]))
    if kind == "named":
        frame.index.name = "time"
    elif kind == "values":
        frame.index = pd.Index(draw(_series(length)))
    elif kind == "multi":
        frame.index = pd.MultiIndex.from_arrays([draw(_series(length)) for _ in range(2)])
    return frame


_leaves = (
    _hashable_leaves
    | st.binary(max_size=4).map(bytearray)
    | st.builds(slice, _small, _small, _small)
    | _arrays
    | _arrays.filter(lambda array: array.size).map(lambda array: array.ravel()[0])
    | _object_arrays()
    | st.integers(0, 3).flatmap(_series)
    | _frames()
)
values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(_hashable, max_size=3)
        | st.frozensets(_hashable, max_size=3)
        | st.dictionaries(_hashable, inner, max_size=3)
        | st.builds(Box, inner, inner)
        | st.builds(Crate, inner)
        | st.builds(Plain, a=inner, b=inner)
    ),
    max_leaves=10,
)


# ---- the oracle ---------------------------------------------------------------------------------


def canonical(value):
    """A string that two values share if, and only if, they count as equal."""
    return f"{type(value).__qualname__}<{_content(value)}>"


def _content(value):
    match value:
        case enum.Enum():
            return f"{value.name}={value.value}"
        case np.ndarray() | np.generic():
            return _array_content(np.asarray(value))
        case float():
            return struct.pack(">d", value).hex()
        case complex():
            return struct.pack(">dd", value.real, value.imag).hex()
        case int():
            return hex(value)
        case bytes() | bytearray():
            return value.hex()
        case list() | tuple():
            return ",".join(map(canonical, value))
        case set() | frozenset():
            return ",".join(sorted(map(canonical, value)))
        case dict():
            return ",".join(sorted(f"{canonical(k)}:{canonical(v)}" for k, v in value.items()))
        case slice() | range():
            return f"{value.start},{value.stop},{value.step}"
        case Box() | Crate() | Plain():
            return canonical(vars(value))
        case datetime.datetime() | datetime.time() if value is not pd.NaT:
            return f"{value.replace(tzinfo=None).isoformat()},{value.fold},{value.tzinfo!r}"
        case pd.DataFrame():
            columns = [_column_content(value.iloc[:, i]) for i in range(value.shape[1])]
            return f"{canonical(value.index)},{canonical(value.columns)},{columns}"
        case pd.Series():
            return f"{canonical(value.index)},{canonical(value.name)},{_column_content(value)}"
        case pd.MultiIndex():
            levels = enumerate(value.levels)
            return [f"{level.dtype},{canonical(value.get_level_values(i))}" for i, level in levels]
        case pd.Index():
            return f"{canonical(list(value.names))},{_column_content(value)}"
        case None | bool() | str() | decimal.Decimal() | uuid.UUID() | pathlib.PurePath():
            return repr(str(value))
        case _:
            return repr(value)


def _array_content(array):
    if array.dtype.hasobject:
        return f"{array.shape}{canonical(array.ravel().tolist())}"
    return f"{array.dtype.descr}{array.shape}{array.tobytes().hex()}"


def _column_content(column):
    if isinstance(column.dtype, np.dtype):
        return _array_content(column.to_numpy())
    ordered = (column.dtype.categories, column.dtype.ordered) if column.dtype == "category" else ()
    return f"{column.dtype!r},{canonical(list(ordered))},{[repr(item) for item in column]}"


# ---- the same values, put together otherwise ----------------------------------------------------


def respelled(value):
    """An equal value: dicts and sets filled in another order, arrays and frames laid out otherwise."""
    match value:
        case list() | tuple():
            return type(value)(map(respelled, value))
        case set() | frozenset():
            return type(value)(reversed([respelled(item) for item in value]))
        case dict():
            return {respelled(key): respelled(item) for key, item in value.items()}
        case Box() | Crate() | Plain():
            twin = object.__new__(type(value))
            twin.__dict__.update(reversed(respelled(vars(value)).items()))
            return twin
        case np.ndarray():
            return _spread(value)
        case pd.DataFrame():
            twin = pd.DataFrame(index=value.index)
            for position in range(value.shape[1]):  # a block for each column
                twin.insert(position, position, value.iloc[:, position])
            twin.columns = value.columns
            return twin
        case _:
            return value


def _spread(array):
    """An array with gaps between its items, in Fortran order, turned round on its last axis."""
    room = np.zeros([2 * length for length in array.shape], array.dtype, order="F")
    places = [slice(None, None, 2)] * array.ndim
    if array.ndim:
        places[-1] = slice(None, None, -2)
    view = room[(*places, ...)]
    view[...] = array
    return view


@MODEST
@given(values)
def test_copies_have_the_hash_of_the_original(value):
    """A value, its deep copy, its pickled copy and one put together otherwise share their hash."""
    expected = hash_value(value)
    assert hash_value(value) == expected
    assert hash_value(copy.deepcopy(value)) == expected
    assert hash_value(respelled(value)) == expected
    pickled = pickle.loads(pickle.dumps(value))
    same = canonical(pickled) == canonical(value)  # NumPy's pickles don't always keep the byte order
    assert (hash_value(pickled) == expected) == same


@MODEST
@given(_arrays)
def test_views_have_the_hash_of_their_content(array):
    """Strides and order in memory do not count, whatever the axes."""
    expected = hash_value(array)
    for axes in itertools.permutations(range(array.ndim)):
        view = array.transpose(axes).copy("C").transpose(np.argsort(axes))
        assert hash_value(view) == expected


@MODEST
@given(st.lists(values, min_size=2, max_size=12))
def test_hashes_tell_apart_what_differs(several):
    """Two values share their hash if, and only if, the oracle finds them equal."""
    found = [(hash_value(value), canonical(value)) for value in several]
    for (one, this), (two, that) in itertools.combinations(found, 2):
        assert (one == two) == (this == that)


@MODEST
@given(st.lists(_alike, min_size=1, max_size=4), st.lists(_alike, max_size=4), st.integers(0, 4))
def test_borders_between_values_count(first, second, place):
    """The same items in other groups have another hash."""
    items = first + second
    groups = [items, [items], [first, second], [items[:place], items[place:]], [first, *second]]
    for one, two in itertools.combinations(groups, 2):
        assert (hash_value(one) == hash_value(two)) == (canonical(one) == canonical(two))


_SCRIPT = """
import pickle, sys
from daskcache.hashing import hash_value
with open(sys.argv[1], "rb") as file:
    for value in pickle.load(file):
        print(hash_value(value))
"""


def test_drawn_values_have_the_same_hash_in_every_process(tmp_path):
    """Fresh interpreters with other seeds for `hash` give the hashes that this one gives."""
    drawn = []

    @settings(MODEST, max_examples=200, database=None)
    @given(values)
    def draw(value):
        drawn.append(value)

    draw()
    path = tmp_path / "values.pkl"
    path.write_bytes(pickle.dumps(drawn))
    here = [hash_value(value) for value in pickle.loads(path.read_bytes())]
    search = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": search}
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, path], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == here
    assert len(here) >= 200
