"""Hashes of values: what must be distinct, what must be equal, and what is refused."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import operator
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
import types
import uuid
from pathlib import Path, PurePosixPath, PureWindowsPath
from zoneinfo import ZoneInfo

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pandas as pd
import pytest
import scipy.special
import xarray as xr
from dask._task_spec import Task, TaskRef
from dask.delayed import Delayed
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskcache as dc
from daskcache.errors import UnhashableArgument
from daskcache.hashing import encoder as hashing
from daskcache.hashing.encoder import hash_value
from daskcache.hashing.fingerprints import fingerprint

MODEST = settings(max_examples=80, deadline=None)


def nan(payload):
    return struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000000 | payload))[0]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


Marker = enum.Enum("Marker", {"MISSING": object(), "UNSET": object()})


Point = collections.namedtuple("Point", "x y")
Place = collections.namedtuple("Place", "x y")


@dataclasses.dataclass
class Box:
    x: int
    y: int = 0


@dataclasses.dataclass
class Crate:
    x: int
    y: int = 0


class Labelled(Box):
    def __init__(self, x, label):
        super().__init__(x)
        self.label = label


class Plain:
    def __init__(self, **state):
        self.__dict__.update(state)


class Other(Plain):
    pass


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a, self.b = a, b


class Lazy:
    @functools.cached_property
    def table(self):
        return [1]


@dataclasses.dataclass
class LazyBox(Lazy):
    x: int


class Nameless(datetime.tzinfo):
    def __init__(self, hours=0):
        self.hours = hours

    def utcoffset(self, _):
        return datetime.timedelta(0)


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyStr(str):
    __slots__ = ()


INSTANT = datetime.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("UTC"))

#: No two of these may have one hash.
DISTINCT = [
    None,
    ...,
    NotImplemented,
    True,
    False,
    1,
    0,
    -1,
    1.0,
    0.0,
    -0.0,
    1j,
    0j,
    complex(-0.0, 0),
    complex(0, -0.0),
    "1",
    "",
    "a",
    b"",
    b"a",
    b"1",
    bytearray(b"1"),
    "None",
    "é",
    "e\u0301",
    "\ud800",
    float("inf"),
    float("-inf"),
    nan(0),
    nan(1),
    -nan(0),
    10**5000,
    10**5000 + 1,
    -(10**5000),
    2**64,
    [],
    (),
    {},
    set(),
    frozenset(),
    [1],
    (1,),
    {1},
    frozenset([1]),
    {1: None},
    [1, 2],
    [2, 1],
    [[1], 2],
    [[1, 2]],
    [1, [2]],
    ["ab"],
    ["a", "b"],
    ["", "ab"],
    [None],
    [[]],
    [()],
    {"a": 1},
    {"a": 1.0},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {"b": 1},
    [("a", 1)],
    {"a": {"b": 1}},
    {1: "a"},
    {"1": "a"},
    range(3),
    range(0, 3, 2),
    slice(3),
    slice(0, 3),
    slice(None, None, 2),
    Colour.RED,
    Colour.BLUE,
    Number.ONE,
    Access.READ,
    Access(0),
    Access.READ | Access.WRITE,
    Marker.MISSING,
    Marker.UNSET,
    Point(1, 2),
    Place(1, 2),
    (1, 2),
    Point(2, 1),
    collections.namedtuple("Point", "y x")(1, 2),
    Box(1),
    Box(2),
    Crate(1),
    Labelled(1, "a"),
    Labelled(1, "b"),
    Plain(a=1),
    Plain(a=2),
    Plain(),
    Other(a=1),
    Slotted(1, 2),
    Slotted(2, 1),
    MyList([1]),
    MyDict(a=1),
    MyStr("a"),
    collections.OrderedDict(a=1),
    collections.defaultdict(int, a=1),
    collections.defaultdict(list, a=1),
    collections.Counter(a=1),
    collections.deque([1]),
    Path("a"),
    Path("a/b"),
    decimal.Decimal("1"),
    decimal.Decimal("1.0"),
    decimal.Decimal("NaN"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=1),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    re.compile(b"a"),
    datetime.date(2024, 7, 1),
    datetime.datetime(2024, 7, 1),
    datetime.datetime(2024, 7, 1, 12),
    INSTANT,
    INSTANT.astimezone(ZoneInfo("Europe/Zurich")),
    INSTANT.astimezone(ZoneInfo("Europe/Madrid")),
    INSTANT.astimezone(datetime.timezone(datetime.timedelta(hours=2))),
    INSTANT + datetime.timedelta(hours=2),
    datetime.time(12),
    datetime.time(12, tzinfo=datetime.UTC),
    datetime.time(12, tzinfo=ZoneInfo("Europe/Zurich")),
    datetime.time(12, tzinfo=ZoneInfo("Europe/Madrid")),
    datetime.time(12, fold=1),
    datetime.datetime(2024, 7, 1, fold=1),
    datetime.datetime(2024, 7, 1, tzinfo=Nameless()),
    datetime.datetime(2024, 7, 1, tzinfo=Nameless(1)),
    datetime.timedelta(1),
    datetime.timedelta(0, 1),
    datetime.timedelta(0, 0, 1),
    ZoneInfo("Europe/Zurich"),
    ZoneInfo("Europe/Madrid"),
    len,
    max,
    operator.add,
    operator.itemgetter(1),
    operator.itemgetter(2),
    operator.attrgetter("a"),
    functools.partial(operator.add, 1),
    functools.partial(operator.add, 2),
    functools.partial(operator.mul, 1),
    [1].append,
    [2].append,
    int,
    str,
    Plain,
    Other,
    os,
    os.path,
    np,
    np.float64(1),
    np.float32(1),
    np.int64(1),
    np.bool_(True),
    np.str_("a"),
    np.datetime64("2024-07-01"),
    np.datetime64("2024-07-01", "s"),
    np.array(1.0),
    np.array([1.0]),
    np.array([[1.0]]),
    np.array([1.0], "f4"),
    np.array([1.0], ">f8"),
    np.array([1]),
    np.array([1], "u8"),
    np.array([True]),
    np.array([0.0]),
    np.array([-0.0]),
    np.array([nan(0)]),
    np.array([nan(1)]),
    np.array(["a"]),
    np.array(["a"], "U2"),
    np.array([b"a"]),
    np.array(["a"], object),
    np.array([1], object),
    np.zeros(0),
    np.zeros((0, 2)),
    np.zeros((2, 0)),
    np.zeros(2, "f4"),
    np.zeros(1, "V4"),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("c", "f8")]),
    np.ma.masked_array([1, 2], [0, 1]),
    np.ma.masked_array([1, 2], [1, 0]),
    np.array([1, 2]),
    np.dtype("f8"),
    np.dtype(">f8"),
    np.dtype([("a", "i4")]),
    np.sin,
    np.cos,
    np.random.default_rng(1),
    np.random.default_rng(2),
    random.Random(1),
    random.Random(2),
    pd.NA,
    pd.NaT,
    pd.Timestamp("2024-07-01"),
    pd.Timestamp("2024-07-01", tz="UTC"),
    pd.Timedelta("1 day"),
    pd.Series([1]),
    pd.Series([1.0]),
    pd.Series([1], name="a"),
    pd.Series([1], index=[1]),
    pd.Series([1], index=["a"]),
    pd.Series([1, None]),
    pd.Series([1, None], dtype="Int64"),
    pd.Series(["a"], dtype="string"),
    pd.Series(["a"], dtype=object),
    pd.Series(["a"], dtype="category"),
    pd.Series(pd.Categorical(["a"], ["a", "b"])),
    pd.Series(pd.Categorical(["a"], ["a", "b"], ordered=True)),
    pd.Series(pd.to_datetime(["2024-07-01"])),
    pd.Series(pd.to_datetime(["2024-07-01"]).tz_localize("UTC")),
    pd.Index([1]),
    pd.Index([1], name="a"),
    pd.RangeIndex(1, 2),
    pd.MultiIndex.from_tuples([(1, 2)]),
    pd.MultiIndex.from_tuples([(1, 2)], names=["a", "b"]),
    pd.DataFrame({"a": [1]}),
    pd.DataFrame({"b": [1]}),
    pd.DataFrame({"a": [1.0]}),
    pd.DataFrame({"a": [1], "b": [2]}),
    pd.DataFrame({"b": [2], "a": [1]}),
    pd.DataFrame({"a": [1]}, index=[1]),
    pd.DataFrame({"a": []}),
    pd.DataFrame(),
]


def test_distinct_values_have_distinct_hashes():
    """Values that differ in type, bits, order or state never share a hash."""
    seen, shared = {}, []
    for value in DISTINCT:
        twin = seen.setdefault(hash_value(value), value)
        if twin is not value:
            shared.append((type(twin), twin, type(value), value))
    assert shared == []


def test_distinct_values_are_distinct_inside_containers():
    """What is distinct by itself is distinct in a list, and as a value in a dict."""
    assert len({hash_value([v]) for v in DISTINCT}) == len(DISTINCT)
    assert len({hash_value({"k": v}) for v in DISTINCT}) == len(DISTINCT)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": {1, 2}, "b": 2}, {"a": {2, 1}, "b": 2}),
        ({3, 1, 2}, {2, 3, 1}),
        ({"b", "a", 1}, {1, "a", "b"}),
        (frozenset("abcdef"), frozenset("fedcba")),
        ({frozenset([1, 2]): {"a", "b"}}, {frozenset([2, 1]): {"b", "a"}}),
        (Plain(a=1, b=2), Plain(b=2, a=1)),
        (Point(1, 2), Point(1, 2)),
        (Box(1), Box(1, 0)),
        (float("nan"), float("nan")),
        (Path("a/b"), Path("a//b")),
        (Path("a/b"), Path("a/./b")),
        (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (np.arange(6)[::-1], np.array([5, 4, 3, 2, 1, 0])),
        (np.arange(6).reshape(2, 3).T, np.array([[0, 3], [1, 4], [2, 5]])),
        (np.broadcast_to(np.arange(3), (2, 3)), np.array([[0, 1, 2], [0, 1, 2]])),
        (np.array([1, 2], "=i4"), np.array([1, 2], "<i4" if sys.byteorder == "little" else ">i4")),
        (pd.DataFrame({"a": [1, 2]})[["a"]], pd.DataFrame({"a": [1, 2]}).copy()),
        (pd.DataFrame({"a": [1, 2, 3]})[:2], pd.DataFrame({"a": [1, 2]})),
        (np.random.default_rng(1), np.random.default_rng(1)),
        (random.Random(1), random.Random(1)),
        (functools.partial(operator.add, 1), functools.partial(operator.add, 1)),
        (10**5000, 10**4999 * 10),
        (INSTANT, datetime.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("UTC"))),
        (INSTANT.replace(tzinfo=Nameless()), INSTANT.replace(tzinfo=Nameless())),
        (Labelled(1, "a"), Labelled(1, "a")),
        (Marker.MISSING, Marker.MISSING),
    ],
    ids=lambda value: type(value).__name__,
)
def test_equal_values_have_equal_hashes(one, two):
    """Order of sets, and the layout of arrays in memory, do not count."""
    assert hash_value(one) == hash_value(two)
    assert hash_value([one, one]) == hash_value([two, two])


def test_borders_between_values():
    """Values of which one is encoded as the other and its neighbours still differ in a list."""
    one, two = datetime.date(2024, 7, 1), datetime.date(2024, 7, 2)
    names = ["datetime.date", "2024-07-01", "2024-07-02"]
    assert hash_value([one, names[0], names[2]]) != hash_value([names[0], names[1], two])
    assert hash_value([len, False, fingerprint(max)]) != hash_value([False, fingerprint(len), max])


def test_values_of_enums():
    """A member whose value was edited is another one."""
    twin = enum.Enum("Colour", {"RED": 3}, module=Colour.__module__)
    assert hash_value(twin.RED) != hash_value(Colour.RED)


def test_what_is_cached_in_an_instance_does_not_count():
    """An instance keeps its hash when a `cached_property` is looked up."""
    for value in (Lazy(), LazyBox(1)):
        before = hash_value(value)
        assert value.table == [1]
        assert hash_value(value) == before


def test_what_pickles_by_name_counts_with_its_module():
    """Two objects that pickle as the name of a global differ if their modules do."""

    class Global:
        def __init__(self, module):
            self.__module__ = module

        def __reduce__(self):
            return "THE_ONE"

    assert hash_value(Global("a")) == hash_value(Global("a")) != hash_value(Global("b"))


def test_memory_maps_are_arrays(tmp_path):
    """A memory-mapped array has the hash of its data."""
    np.save(tmp_path / "a.npy", np.arange(5))
    assert hash_value(np.load(tmp_path / "a.npy", mmap_mode="r")) == hash_value(np.arange(5))


def test_paths_of_systems():
    """A path counts by its class of system and its parts."""
    assert hash_value(PurePosixPath("a/b")) == hash_value(PurePosixPath("a/b"))
    assert hash_value(PureWindowsPath("a\\b")) == hash_value(PureWindowsPath("a/b"))


def test_a_hash_is_32_hex_digits():
    """Hashes are xxh3_128 in hexadecimal, and `tag` says so."""
    digits = hash_value("x")
    assert re.fullmatch("[0-9a-f]{32}", digits)
    assert hashing.tag(digits) == f"xxh3_128:{digits}"


# ---- what has no identity ------------------------------------------------------------------------


def cyclic_list():
    value = []
    value.append(value)
    return value


def cyclic_dict():
    value = {}
    value["self"] = value
    return value


def cyclic_object():
    value = Plain()
    value.me = value
    return value


def deep(n, wrap, value=0):
    for _ in range(n):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        [object()],
        {"a": {"b": (object(),)}},
        Plain(a=object()),
        np.array([object()], object),
        threading.Lock(),
        threading.RLock(),
        (i for i in range(3)),
        sys.stdout,
        memoryview(b"abc"),
        sys._getframe(),
        cyclic_list(),
        cyclic_dict(),
        cyclic_object(),
        deep(100_000, lambda v: [v]),
        deep(100_000, lambda v: (v,)),
        deep(100_000, lambda v: {"a": v}),
        deep(100_000, lambda v: Plain(a=v)),
        deep(100_000, lambda v: frozenset([v])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_stable_identity_is_refused(value):
    """Bare objects, locks, generators, open files, cycles and bottomless nesting raise."""
    with pytest.raises(UnhashableArgument) as caught:
        hash_value(value)
    assert caught.value.hint


class Ring:
    """A cyclic object whose state is put together by deep calls."""

    def __init__(self):
        self.me = self

    def __getstate__(self, calls=50):
        return self.__getstate__(calls - 1) if calls else dict(vars(self))


@pytest.mark.parametrize(
    "value", [cyclic_list(), cyclic_dict(), cyclic_object(), Ring(), deep(9999, Box)], ids=type
)
def test_cycles_are_told_of(value):
    """What is refused for being cyclic, or nested too deeply, is refused with these words."""
    with pytest.raises(UnhashableArgument, match="cyclic or nested too deeply"):
        hash_value(value)


def test_nondeterministic_pickles_are_refused():
    """An object whose pickled state differs from one time to the next has no identity."""

    class Restless:
        def __reduce__(self):
            return (str, (os.urandom(8).hex(),))

    with pytest.raises(UnhashableArgument, match="Restless"):
        hash_value(Restless())


def test_objects_that_refuse_to_be_pickled():
    """An object that raises when it is taken apart is refused, naming its class."""

    class Closed:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("no")

    with pytest.raises(UnhashableArgument, match="Closed"):
        hash_value(Closed())


def test_what_is_nested_is_encoded_once():
    """However deep a value is, each part of it is looked at once."""
    seen = []

    class Leaf:
        pass

    @hashing.register(Leaf)
    def _(leaf, encoder):
        seen.append(leaf)
        encoder.add("leaf")

    ways = [
        lambda v: frozenset([v]),
        lambda v: Plain(a=v),
        lambda v: collections.deque([v]),
        lambda v: collections.OrderedDict(a=v),
        lambda v: Box({frozenset([v]): 1}),
    ]
    for depth, wrap in zip([30, 30, 30, 30, 1], ways, strict=True):
        seen.clear()
        hash_value(deep(depth, wrap, Leaf()))
        assert len(seen) == 1


def test_after_a_refusal_hashing_still_works():
    """A refused value leaves nothing behind."""
    with pytest.raises(UnhashableArgument):
        hash_value([1, cyclic_list()])
    assert hash_value([1]) == hash_value([1])


# ---- teaching types ------------------------------------------------------------------------------


def test_register():
    """A registered encoder decides what counts of a type."""

    class Camera:
        def __init__(self, serial, handle):
            self.serial, self.handle = serial, handle

    @hashing.register(Camera)
    def _(camera, encoder):
        encoder.add(("Camera", camera.serial))

    assert hash_value(Camera(1, object())) == hash_value(Camera(1, object()))
    assert hash_value(Camera(1, None)) != hash_value(Camera(2, None))


def test_register_after_the_first_use():
    """A type can be taught although a value of it was seen before."""

    class Late:
        def __init__(self, a, b):
            self.a, self.b = a, b

    assert hash_value(Late(1, 2)) != hash_value(Late(1, 3))
    hashing.register(Late)(lambda value, encoder: encoder.add(value.a))
    assert hash_value(Late(1, 2)) == hash_value(Late(1, 3))


def test_register_for_subclasses_after_the_first_use():
    """A class can be taught for its subclasses although a value of one was refused before."""

    class Device:
        def __init__(self, name):
            self.name, self.handle = name, threading.Lock()

    class Laser(Device):
        pass

    with pytest.raises(UnhashableArgument):
        hash_value(Laser("a"))
    hashing.register(Device, subclasses=True)(lambda value, encoder: encoder.add(value.name))
    assert hash_value(Laser("a")) == hash_value(Laser("a")) != hash_value(Laser("b"))


def test_what_is_registered_goes_before_what_is_loaded(monkeypatch):
    """Encoders that come with a package, when it is first met, leave those of the user in place."""
    thing = type("Thing", (), {"__module__": "things.core"})
    home = types.SimpleNamespace(things_encoders=lambda: {thing: lambda value, encoder: encoder.add(1)})
    monkeypatch.setattr(hashing, "import_module", lambda *_: home)
    monkeypatch.setitem(hashing._LAZY, "things", "home")
    hashing.register(thing, subclasses=True)(lambda value, encoder: encoder.add(2))
    assert hash_value(type("Sub", (thing,), {})()) == hash_value(2)


def test_two_threads_meet_a_package(monkeypatch):
    """While one thread loads the encoders of a package, another does not do without."""
    thing = type("Thing", (), {"__module__": "things.core"})
    home = types.SimpleNamespace(things_encoders=lambda: {thing: lambda value, encoder: encoder.add(1)})
    found = []

    def load(*_):
        if not found:
            found.append(None)
            other = threading.Thread(target=lambda: found.append(hash_value(thing())))
            other.start()
            other.join()
        return home

    monkeypatch.setattr(hashing, "import_module", load)
    monkeypatch.setitem(hashing._LAZY, "things", "home")
    assert hash_value(thing()) == hash_value(1) == found[1]


def test_dask_tokenize_is_respected():
    """`__dask_tokenize__` decides what counts, together with the class."""

    class Tokened:
        def __init__(self, token):
            self.token, self.noise = token, object()

        def __dask_tokenize__(self):
            return self.token

    class Alike(Tokened):
        pass

    assert hash_value(Tokened(1)) == hash_value(Tokened(1))
    assert hash_value(Tokened(1)) != hash_value(Tokened(2))
    assert hash_value(Tokened(1)) != hash_value(Alike(1))


class Token:
    """Something whose token is made by a function of it."""

    def __init__(self, make, content=0):
        self.make, self.content = make, content

    def __dask_tokenize__(self):
        return self.make(self)


def _address(token):
    return id(token)


def _thread(token):
    return threading.get_ident()


@pytest.mark.parametrize("make", [_address, _thread])
def test_tokens_that_copies_do_not_have_are_left_aside(make):
    """A token made of an address or a thread says nothing: what pickling keeps counts."""
    assert hash_value(Token(make, 1)) == hash_value(Token(make, 1))
    assert hash_value(Token(make, 1)) != hash_value(Token(make, 2))


def test_values_with_a_token_of_chance_that_cannot_be_copied_are_refused():
    """Neither their token nor their state tells them apart for good."""
    with pytest.raises(UnhashableArgument, match=r"lock has no stable identity"):
        hash_value(Token(_address, threading.Lock()))


def test_large_data_is_not_copied_to_check_a_token():
    """The copy shares the buffers of arrays."""
    value = Token(_shape, np.zeros(30_000_000))
    tracemalloc.start()
    hash_value(value)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def _shape(token):
    return token.content.shape


def test_attributes_that_are_addresses_of_others_do_not_count():
    """An object that remembers where another attribute of it lies equals its copies."""

    def remembering(words):
        value = Plain(words=words)
        value.words_id = id(value.words)
        return value

    assert hash_value(remembering(["a"])) == hash_value(remembering(["a"]))
    assert hash_value(remembering(["a"])) != hash_value(remembering(["b"]))
    assert hash_value(Plain(a=1, b=5)) != hash_value(Plain(a=1, b=6))


def test_ufuncs_of_python_functions_are_refused():
    """They don't give away which function they call; those of packages count by name."""
    with pytest.raises(UnhashableArgument, match="ufunc"):
        hash_value(np.frompyfunc(lambda x: x + 1, 1, 1))
    assert len({hash_value(f) for f in (np.log1p, scipy.special.log1p, scipy.special.expit)}) == 3


# ---- stable everywhere ---------------------------------------------------------------------------


def test_no_package_is_imported_before_its_values_are_met():
    """Hashing plain values imports neither NumPy nor the encoders of other packages."""
    code = (
        "import sys; from daskcache.hashing import hash_value; hash_value([1, 'a', {2.0}])\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('numpy', 'pandas', 'pyarrow')])\n"
        "print([m for m in sys.modules if m.startswith('daskcache.') and m.endswith('_hashing')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["[]", "[]"], done.stderr


_SCRIPT = """
import collections, datetime, decimal, enum, functools, operator, pathlib, re, zoneinfo
import numpy as np, pandas as pd
from daskcache.hashing import hash_value

values = [
    {"a", "b", "c", 1, 2.5, None, ("x", "y")},
    frozenset(["p", "q", "r"]),
    {"b": {"x", "y"}, "a": [1, 2.0, True]},
    collections.Counter("hello"),
    collections.OrderedDict(b=1, a=2),
    np.arange(6).reshape(2, 3).T,
    np.array(["a", {"b", "c"}], object),
    pd.DataFrame({"a": ["x", "y"], "b": pd.Categorical(["u", "v"])}, index=["p", "q"]),
    re.compile("a", re.I | re.M),
    datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich")),
    decimal.Decimal("1.10"),
    functools.partial(operator.add, {"k", "l"}),
    pathlib.PurePosixPath("a/b"),
    np.random.default_rng(3),
    10**5000,
    lambda x, table=frozenset("abcdef"): x in {"u", "v", "w"},
]
print(hash_value([hash_value(v) for v in values]))
"""


def test_hashes_are_stable_across_processes():
    """Hashes do not depend on the process or on PYTHONHASHSEED."""
    found = set()
    for seed in ("0", "1", "2", "42", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "N"),
        (True, "T"),
        (1, "i1;"),
        (-255, "i-ff;"),
        ("aé", "s3:aé"),
        ([1, "a"], "[2:i1;s1:a"),
        ((), "(0:"),
        ({"b": 1, "a": None}, "q2:s1:bi1;s1:aN"),
    ],
)
def test_the_encoding_is_pinned(value, expected):
    """Hashes of plain values stay the same from one version to the next: records depend on it."""
    assert hash_value(value) == hashing.digest(expected.encode())


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.decimals()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.builds(Plain, a=inner)
    ),
    max_leaves=15,
)


@MODEST
@given(_values)
def test_a_pickled_copy_has_the_same_hash(value):
    """A value that went through pickle has the hash that it had."""
    assert hash_value(pickle.loads(pickle.dumps(value))) == hash_value(value)


@MODEST
@given(st.dictionaries(st.text(max_size=3) | st.integers(), st.integers()), st.randoms())
def test_the_order_of_a_dict_counts(value, randomly):
    """A dict has the hash of its copies, and another one if it was put together in another order."""
    items = list(value.items())
    assert hash_value(dict(items)) == hash_value(value)
    randomly.shuffle(items)
    assert (hash_value(dict(items)) == hash_value(value)) == (items == list(value.items()))


_nested = st.recursive(st.integers() | st.text(max_size=2) | st.none(), st.lists, max_leaves=6)


@MODEST
@given(_nested, _nested)
def test_unequal_values_have_unequal_hashes(one, two):
    """Plain values have one hash if, and only if, they are equal."""
    assert (hash_value(one) == hash_value(two)) == (one == two)
    assert hash_value([one, two]) != hash_value([[one], two]) != hash_value([one, [two]])


@MODEST
@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_dims=3, max_side=4, min_side=0)))
def test_arrays_count_by_dtype_shape_and_bits(array):
    """Any array has the hash of its copy in Fortran order, and not that of other dtypes or shapes."""
    assert hash_value(np.asfortranarray(array)) == hash_value(array)
    assert hash_value(array.copy()) == hash_value(array)
    assert hash_value(array[None]) != hash_value(array)
    if array.dtype.itemsize > 1 and array.dtype.kind in "iuf":
        assert hash_value(array.view(array.dtype.newbyteorder())) != hash_value(array)


# ---- Dask collections ----------------------------------------------------------------------------


def test_dask_collections_count_by_graph_not_by_key_name():
    """A collection's hash is that of its graph: Dask's key names do not count."""
    one = dask.delayed(operator.add)(1, 2, dask_key_name="first")
    two = dask.delayed(operator.add)(1, 2, dask_key_name="second")
    other = dask.delayed(operator.add)(1, 3, dask_key_name="first")
    assert hash_value(one) == hash_value(two) != hash_value(other)


def test_delayed_values_by_chance_names():
    """Impure plain Dask values have random key names, which do not count."""
    first, second = dask.delayed([1, 2]), dask.delayed([1, 2])
    add = dask.delayed(operator.add, pure=False)
    assert add(first, [3]).key != add(second, [3]).key
    assert hash_value(add(first, [3])) == hash_value(add(second, [3]))


def test_sets_of_dask_values_in_a_task():
    """References to tasks count by those tasks in sets and instances too."""

    def union(n, wrap):
        parts = [TaskRef(f"{n}-{i}") for i in range(3)]
        tasks = [Task(part.key, operator.neg, i) for i, part in enumerate(parts)]
        tasks.append(Task(f"{n}-all", wrap, Plain(parts=frozenset(parts)), *parts))
        return Delayed(f"{n}-all", {task.key: task for task in tasks})

    assert hash_value(union(1, len)) == hash_value(union(2, len)) != hash_value(union(1, list))


def test_arrays_bags_and_frames():
    """Arrays, bags and their derived collections count by graph."""
    assert hash_value(da.ones(4, chunks=2, name="a") + 1) == hash_value(
        da.ones(4, chunks=2, name="b") + 1
    )
    assert hash_value(da.ones(4, chunks=2) + 1) != hash_value(da.ones(4, chunks=2) + 2)
    assert hash_value(da.ones(4, chunks=2)) != hash_value(da.ones(4, chunks=4))
    assert hash_value(da.from_array(np.arange(4), chunks=2, name="x")) == hash_value(
        da.from_array(np.arange(4), chunks=2, name="y")
    )
    bag = db.from_sequence([1, 2], npartitions=2)
    assert hash_value(bag.map(operator.neg)) == hash_value(
        db.from_sequence([1, 2], npartitions=2).map(operator.neg)
    )
    assert hash_value(bag.map(operator.neg)) != hash_value(bag.map(operator.pos))


def test_data_frames():
    """Dask data frames count by graph."""
    import dask.dataframe as dd

    frame = pd.DataFrame({"a": [1, 2, 3]})
    one, two = dd.from_pandas(frame, npartitions=2), dd.from_pandas(frame.copy(), npartitions=2)
    assert hash_value(one.a + 1) == hash_value(two.a + 1)
    assert hash_value(one.a + 1) != hash_value(one.a + 2)


def test_collections_that_hold_nodes_count_by_recipe():
    """A plain Dask value made from a node counts by the node's recipe."""
    square = dc.delayed(lambda n: n * n)
    assert hash_value(square(2) + 1) == hash_value(square(2) + 1)
    assert hash_value(square(2) + 1) != hash_value(square(3) + 1)
    assert hash_value(square(2) + 1) != hash_value(square(2) + 2)


def test_long_chains_of_dask_values():
    """Graphs deeper than Python's stack are hashed."""
    value = dask.delayed(0)
    for _ in range(2000):
        value = value + 1
    twin = dask.delayed(0)
    for _ in range(2000):
        twin = twin + 1
    assert hash_value(value) == hash_value(twin)


def test_xarray_objects():
    """An xarray object counts by name, dimensions, data (or its graph), coordinates and attributes."""

    def make(chunks=2, end=4, name="a", dim="x", unit="µm"):
        data = np.arange(4) if chunks is None else da.arange(4, chunks=chunks)
        return xr.DataArray(data, {dim: [1, 2, 3, end]}, name=name, attrs={"unit": unit})

    different = [make(), make(end=5), make(dim="y"), make(chunks=None), make(name="b"), make(unit="mm")]
    for convert in (xr.DataArray, xr.DataArray.to_dataset):
        assert hash_value(convert(make())) == hash_value(convert(make()))
        assert len({hash_value(convert(each)) for each in different}) == len(different)


# ---- classes that answer to any name -------------------------------------------------------------


class Registry(type):
    """A metaclass whose look-up of unknown names is an error of its own, or gives anything."""

    def __getattr__(cls, name):
        if name == "__reduce_cython__" or cls.answers is None:
            raise KeyError(name)
        return cls.answers


class Strict(metaclass=Registry):
    answers = None


class Lenient(metaclass=Registry):
    answers = "anything"


class Row:
    """An object that gives its cells as attributes."""

    def __init__(self, **cells):
        vars(self)["cells"] = cells

    def __getattr__(self, name):
        return self.cells[name]


@pytest.mark.parametrize("cls", [Strict, Lenient])
def test_classes_whose_metaclass_answers(cls):
    """It isn't asked for names that only some classes have."""
    assert hash_value(cls) == hash_value(cls)
    assert hash_value(cls) != hash_value(Plain)
    use = dc.delayed(lambda: cls.answers, target="used.json")
    assert use().compute(scheduler="sync") == cls.answers
    assert dc.delayed(lambda it: it.answers)(cls).compute(scheduler="sync") == cls.answers


def test_objects_whose_class_answers():
    """A look-up that fails with another error than AttributeError is a missing attribute."""
    assert hash_value(Row(a=1)) == hash_value(Row(a=1)) != hash_value(Row(a=2))
    assert dc.delayed(lambda row: row.a)(Row(a=1)).compute(scheduler="sync") == 1


class Failing:
    """An object whose token is an error."""

    def __init__(self, n):
        self.n = n

    def __dask_tokenize__(self):
        raise ValueError("not connected")


def test_a_token_that_fails():
    """The error names the class.  It isn't taken for an empty cell of a closure."""
    with pytest.raises(UnhashableArgument, match=r"Failing.*not connected"):
        hash_value(Failing(1))

    def made(n):
        return dc.delayed(lambda: n, version=1)

    assert made(Failing(1))().dc.key != made("")().dc.key


def test_containers_that_another_thread_changes():
    """They are hashed as they were at one moment."""
    mapping, members = dict.fromkeys(range(2000)), set(range(2000))
    instance = types.SimpleNamespace()
    vars(instance).update(dict.fromkeys(map(str, range(2000))))
    stop = threading.Event()

    def change():
        while not stop.is_set():
            for container in (mapping, vars(instance)):
                container["new"] = 1
                del container["new"]
            members.add("new")
            members.remove("new")

    thread = threading.Thread(target=change)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            hash_value([mapping, members, instance])
            dc.delayed(len)(mapping)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_the_masked_constant(root):
    """`np.ma.masked` can be an argument, a result and a name that a function uses."""
    masked = np.ma.masked
    mean = dc.delayed(lambda value: masked if value is masked else None, target="mean.pkl")
    for _ in range(2):
        assert mean(masked).compute(scheduler="sync") is masked
    assert mean(masked).dc.state == "complete"
