"""Plain values: JSON with its tags, texts, and the sources of both."""

from __future__ import annotations

import datetime
import json
import os
import zoneinfo
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import daskcache as dc
from daskcache.errors import FormatLimit, SourceUnreadable, TargetError, UntrustedPickle

JSON = dc.JSONTarget("a.json")

_zones = (
    st.none()
    | st.timezones()
    | st.just(datetime.UTC)
    | st.integers(-1439, 1439).map(lambda m: datetime.timezone(datetime.timedelta(minutes=m)))
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=4) | st.sampled_from(["$set", "$dict", "$"]),
    st.complex_numbers(),
    st.decimals(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=_zones),
    st.timedeltas(),
    hnp.scalar_dtypes().flatmap(lambda dtype: hnp.arrays(dtype, 1)).map(lambda array: array[0]),
    st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1), timezones=_zones).map(
        pd.Timestamp
    ),
    st.sampled_from([pd.NA, pd.NaT, pd.Timedelta("1h"), Path("a/b"), b"refused", object()]),
)


def _hashable(value):
    try:
        return hash(value) is not None
    except TypeError:
        return False


_keys = _scalars.filter(_hashable)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(_keys, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$tuple", "$", "a"]), inner, max_size=2)
        | st.frozensets(_keys, max_size=3)
    ),
    max_leaves=8,
)


def _parts(value):
    """All that can be told of a value and of its parts."""
    if isinstance(value, dict):
        return dict, [_parts(part) for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple)):
        return type(value), [_parts(part) for part in value]
    if isinstance(value, frozenset):
        return frozenset, sorted(str(_parts(part)) for part in value)
    return type(value), repr(value), repr(getattr(value, "tzinfo", None)), getattr(value, "unit", None)


def test_json_gives_back_every_value_or_refuses_it(full):
    """Any value comes back in type, zone and unit, from a file that is standard JSON; or is refused."""

    @settings(max_examples=5000 if full else 200, deadline=None)
    @given(_values)
    def property_(value):
        try:
            content = b"".join(JSON.encode_checked(value))
        except FormatLimit:
            return
        assert _parts(JSON.decode(content)) == _parts(value)
        assert content == b"".join(JSON.encode_checked(value))
        json.loads(content.decode(), parse_constant=pytest.fail)

    property_()


def test_json_tags_are_readable():
    """What JSON has no form for says what it is; everything else is plain."""
    value = {
        "size": (3, 4),
        "sigma": np.float32(0.5),
        "when": datetime.datetime(
            2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")
        ),
        "labels": {2, 1},
        "best": float("-inf"),
        "by_id": {7: "x"},
    }
    assert json.loads(b"".join(JSON.encode_checked(value))) == {
        "size": {"$tuple": [3, 4]},
        "sigma": {"$numpy.float32": 0.5},
        "when": {"$datetime": "2024-10-27T02:30:00+01:00[Europe/Berlin]"},
        "labels": {"$set": [1, 2]},
        "best": {"$float": "-inf"},
        "by_id": {"$dict": [[7, "x"]]},
    }


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(
            2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "UTC+01:00")
        ),
        np.dtype("longlong").type(1) if np.dtype("longlong").name == "int64" else object(),
    ],
)
def test_json_refuses_what_only_looks_alike(value):
    """What would come back as another object of the same hash (zone or class) is refused."""
    with pytest.raises(FormatLimit, match=r"would come back|no form"):
        JSON.encode_checked(value)


@pytest.mark.parametrize(
    ("content", "story"),
    [
        ('{"$nothing": 1}', "stands for nothing"),
        ('{"$datetime": "2024-01-01T00:00:00+05:00[Europe/Berlin]"}', "rules of the time zone"),
        ('{"$datetime": "2024-01-01T00:00:00+05:00[Europe/Nowhere]"}', "is not known here"),
    ],
)
def test_json_that_is_not_understood_is_no_value(content, story):
    """A tag of a later version, or a zone with other rules, raises; it never gives another value."""
    with pytest.raises(TargetError, match=story) as caught:
        JSON.decode(content.encode())
    assert caught.value.hint


def test_json_nested_without_end():
    """Cycles, and values nested too deeply, are refused."""
    cyclic = []
    cyclic.append(cyclic)
    deep = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (cyclic, deep):
        with pytest.raises(FormatLimit):
            JSON.encode_checked(value)
    while isinstance(deep, list):  # or else it is taken apart recursively
        deep = deep.pop()


def test_json_sources_are_plain(tmp_path):
    """What other programs write is not taken for tags."""
    path = tmp_path / "a.json"
    path.write_text('{"$set": {"x": [1, NaN]}}')
    got = dc.delayed(lambda value: value)(dc.JSONSource(path)).compute()
    assert repr(got) == "{'$set': {'x': [1, nan]}}"


def test_texts_are_kept_to_the_byte(root):
    """Newlines, marks and characters stay; other suffixes are texts by `store`."""
    text = "\ufeffa\r\nb\rc\n\x00é\u2028"
    node = dc.delayed(lambda: text, target="page.html", store=dc.TextTarget)()
    assert node.compute() == node.compute() == text
    assert (root / "page.html").read_bytes() == text.encode()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=())))
def test_any_text_comes_back_or_is_refused(text):
    """Only texts with lone surrogates are refused."""
    target = dc.TextTarget("a.txt")
    try:
        content = b"".join(target.encode_checked(text))
    except FormatLimit:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert target.decode(content) == text


def test_text_sources(tmp_path):
    """A text file arrives with its newlines; its encoding counts in its identity."""
    path = tmp_path / "a.txt"
    path.write_bytes("é\r\n".encode("latin-1"))
    source = dc.TextSource(path, encoding="latin-1")
    assert dc.delayed(lambda text: text)(source).compute() == "é\r\n"
    assert source.identity() != dc.TextSource(path).identity()
    assert source != dc.TextSource(path)
    with pytest.raises(SourceUnreadable):
        dc.TextSource(path).get_data()


def test_pickle_sources_are_of_their_owner(tmp_path, monkeypatch):
    """A pickle of one's own arrives as its value; one of somebody else's isn't interpreted."""
    canary = tmp_path / "canary"
    path = tmp_path / "a.pkl"
    path.write_bytes(b"".join(dc.PickleTarget("a.pkl").encode({"a": (1, {2})})))
    assert dc.delayed(lambda value: value)(dc.PickleSource(path)).compute() == {"a": (1, {2})}

    class Bomb:
        def __reduce__(self):
            return Path.touch, (canary,)

    path.write_bytes(b"".join(dc.PickleTarget("a.pkl").encode(Bomb())))
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    source = dc.PickleSource(path)
    with pytest.raises(UntrustedPickle):
        source.get_data()
    with pytest.raises(UntrustedPickle):
        dc.delayed(lambda value: value)(source).compute()
    assert not canary.exists()
    with dask.config.set({"daskcache.trusted-owners": [path.stat().st_uid]}):
        source.get_data()
    assert canary.exists()


def test_pickle_sources_are_asked_for(tmp_path):
    """A folder's members are not unpickled by their suffix."""
    (tmp_path / "a.pkl").write_bytes(b"")
    assert [type(source) for source in dc.FolderSource(tmp_path)] == [dc.FileSource]
