"""Values as texts in records: short ones, and whole ones from which the value can be made again."""

from __future__ import annotations

import datetime
import decimal
import math
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache.calls import describe
from daskcache.calls.describe import CUT, DEEPEST, LONGEST, brief, texts_of, value_of, whole
from daskcache.calls.recipe import Ref
from daskcache.hashing.encoder import hash_value

_bounds = st.none() | st.integers(-5, 5)


def _one_nan(number):
    """Return the usual NaN for any: texts don't keep its sign and payload."""
    return number if number == number else math.nan


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats().map(_one_nan),
    st.complex_numbers().map(lambda z: complex(_one_nan(z.real), _one_nan(z.imag))),
    st.text() | st.sampled_from(["inf", "...", "f(x)", '"$tuple"', "<upstream 1", "np.pi"]),
    st.binary(),
    st.integers(0, 20).map(Ref),
    st.builds(slice, _bounds, _bounds, _bounds),
    st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 3)),
    st.just(...),
    st.sampled_from([Path("raw/a.tif"), Path("it's")]),
    st.floats(width=32).map(_one_nan).map(np.float32)
    | st.integers(0, 9).map(np.uint8)
    | st.booleans().map(np.bool),
    st.dates()
    | st.times()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids(),
)
_hashable = st.integers() | st.text() | st.integers(0, 20).map(Ref) | st.sampled_from(["$set", "$it's"])
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(_hashable, inner)
        | st.sets(_hashable)
        | st.frozensets(_hashable)
    ),
    max_leaves=12,
)


def _is_same(value, other):
    """Compare by type and hash, which tells all parts and their order."""
    return type(value) is type(other) and hash_value(value) == hash_value(other)


def test_whole_texts_give_the_value_back(full):
    """From a whole text the same value is made: of the same hash, with dicts in the same order."""

    @settings(max_examples=3000 if full else 150, deadline=None)
    @given(_values)
    def property_(value):
        text = whole(value)
        assert text is None or _is_same(value_of(text), value)
        assert len(text or "") <= LONGEST or "$upstream" in text

    property_()


def test_the_last_text_gives_the_value_back(full):
    """A short text stands alone only if it restores the value, or if no text is whole."""

    @settings(max_examples=3000 if full else 150, deadline=None)
    @given(_values)
    def property_(value):
        short, *everything = texts_of(value)
        assert short == brief.repr(value)
        if everything or whole(value) is not None:
            assert _is_same(value_of((everything or [short])[-1]), value)

    property_()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, "a", None, True, 0.5], '[1,"a",null,true,0.5]'),
        (float("inf"), '{"$float":"inf"}'),
        (-0.0, "-0.0"),
        (3 - 2j, '{"$complex":[3.0,-2.0]}'),
        ({"b": 1, "a": ()}, '{"b":1,"a":{"$tuple":[]}}'),
        ({2: 1}, '{"$dict":[[2,1]]}'),
        ({"$tuple": [1]}, '{"$dict":[["$tuple",[1]]]}'),
        ([set(), frozenset({1})], '[{"$set":[]},{"$frozenset":[1]}]'),
        (slice(None, 3), '{"$slice":[null,3,null]}'),
        (slice(Ref(0), 3), '{"$slice":[{"$upstream":0},3,null]}'),
        (range(2, 9, 3), '{"$range":[2,9,3]}'),
        (Path("raw/a.tif"), '{"$path":"raw/a.tif"}'),
        ([np.float64(0.1), np.uint8(7)], '[{"$numpy.float64":0.1},{"$numpy.uint8":7}]'),
        ([Ref(0), {"x": (Ref(12), 1)}], '[{"$upstream":0},{"x":{"$tuple":[{"$upstream":12},1]}}]'),
        (b"\x00a\xff", '{"$bytes":"\\u0000aÿ"}'),
        (..., '{"$ellipsis":null}'),
        (datetime.date(2024, 2, 29), '{"$date":"2024-02-29"}'),
        (decimal.Decimal("1.10"), '{"$decimal":"1.10"}'),
        (uuid.UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    ],
)
def test_whole_texts_are_tagged_json(value, text):
    """Each kind of plain value has its form, which roots keep for years."""
    assert whole(value) == text
    assert _is_same(value_of(text), value)


@pytest.mark.parametrize(
    "value",
    [1, -5, 1.5, "a", 'it\'s "q"\n\\', b"\xff", None, [1, (2,)], {"a": {1}}, [Ref(0), {1: Ref(1)}]],
)
def test_a_short_text_of_literals_stands_alone(value):
    """Most records hold a short text and a hash for an argument, and no more."""
    (text,) = texts_of(value)
    assert text == brief.repr(value)
    assert value_of(text) == value


@pytest.mark.parametrize("value", [np.arange(3), print, object(), [np.arange(99)]])
def test_the_text_of_what_is_not_plain_stands_alone(value):
    """No text restores such a value."""
    (text,) = texts_of(value)
    with pytest.raises(ValueError, match="no plain value"):
        value_of(text)


def test_dicts_keep_their_order():
    """The order of a dict can matter to the function that gets it."""
    value = {"b": 1, "a": 2, "c": 3}
    assert list(value_of(brief.repr(value))) == list(value_of(whole(value))) == ["b", "a", "c"]
    assert brief.repr(dict.fromkeys("gfedcba", 0)) == "{'g': 0, 'f': 0, 'e': 0, 'd': 0, ...}"


def test_equal_sets_have_equal_texts():
    """The order in which a set holds its items depends on the process, its text does not."""
    items = [0, 8, 16]  # of one place in the table of a small set
    assert list({*items}) != list({*items[::-1]})
    assert whole({*items}) == whole({*items[::-1]})


def _nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "x" * LONGEST,
        "x" * 100 * LONGEST,
        b"x" * LONGEST,
        10 ** (LONGEST + 1),
        pytest.param(10**5000, id="more digits than Python writes"),
        list(range(LONGEST)),
        [0] * (LONGEST - 1),
        [[0] * 100] * 100,
        _nested(DEEPEST),
        {*range(LONGEST)},
        np.arange(3),
        [np.arange(3)],
        np.longdouble(1),
        {1: object()},
        {object()},
        print,
        {"x": lambda: 1},
    ],
)
def test_what_is_long_or_no_plain_value_has_no_whole_text(value):
    """A whole text is complete, or it is not there."""
    assert whole(value) is None


def test_a_cyclic_value_has_no_whole_text():
    """Texts end, whatever the value."""
    value: list = []
    value.append(value)
    assert whole(value) is None
    assert CUT in texts_of(value)[0]


def test_large_values_are_not_looked_through(monkeypatch):
    """Whether a value is too large for a text is known after its first parts."""
    seen: list = []
    to_json = describe.to_json
    monkeypatch.setattr(describe, "to_json", lambda *given: seen.append(1) or to_json(*given))
    assert whole([[0] * 900] * 900) is None
    assert 900 <= len(seen) <= LONGEST
    del seen[:]
    assert whole([{*range(10 * LONGEST)}, "x" * 10 * LONGEST]) is None
    assert len(seen) == 1


def test_references_do_not_count_for_the_length():
    """A node that gathers hundreds has a whole text."""
    refs = [Ref(number) for number in range(400)]
    assert value_of(whole(refs)) == refs


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2.5, -3, 'a', b'b', None, True, (), {1}, {'a': [1]}, 1-2j]", None),
        ("{'sep': ';', 'names': ['x', 'y']}", {"sep": ";", "names": ["x", "y"]}),
        ("'" + "x" * 200 + "'", "x" * 200),
        ("<upstream 3>", Ref(3)),
        ("(<upstream 0>, [<upstream 11>, 1])", (Ref(0), [Ref(11), 1])),
        ("{'a': <upstream 0>}", {"a": Ref(0)}),
    ],
)
def test_literals_and_references_of_earlier_records_are_read(text, value):
    """Whole texts were once Python's own; most of those still restore their value."""
    assert value_of(text) == (eval(text) if value is None else value)


@pytest.mark.parametrize(
    "text",
    [
        "inf",
        "Ellipsis",
        "slice(1, 2, None)",
        "PosixPath('a')",
        "np.float64(0.1)",
        "frozenset({1})",
        "[1, inf]",
    ],
)
def test_other_texts_of_earlier_records_stand_for_no_value(text):
    """An audit says that it can't rebuild such an argument."""
    with pytest.raises(ValueError, match="no plain value"):
        value_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f(",
        "x",
        "print(1)",
        "__import__('os')",
        "().__class__",
        "np.load('x')",
        "[1][0]",
        "1 if 2 else 3",
        "lambda: 1",
        "dict(a=1)",
        "Ref(x)",
        "Ref(print(1))",
        "{**{}}",
        "-'x'",
        "{[]: 1}",
        "<function f at 0x7f>",
        "[1, ...",
        "(" * 5000,
        "-" * 100_000 + "1",
        "[" * 90 + "]" * 90 + "(",
    ],
)
def test_other_texts_stand_for_no_value(text):
    """Nothing is evaluated: what is no literal is refused."""
    with pytest.raises(ValueError, match="no plain value"):
        value_of(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"$nothing":1}',
        '{"$tuple":5}',
        '{"$dict":[1]}',
        '{"$dict":[[[],1]]}',
        '{"$upstream":"0"}',
        '{"$upstream":1.5}',
        '{"$bytes":"€"}',
        '{"$bytes":1}',
        '{"$slice":[1,2,3,4]}',
        '{"$range":[1,2,0]}',
        '{"$range":["a"]}',
        '{"$set":[[]]}',
        '{"$float":"x"}',
        '{"$path":1}',
        '{"$uuid":1}',
        '{"$timedelta":[1e99]}',
        '{"$datetime":"2024-01-01T00:00:00+01:00[Europe]"}',
        '{"$datetime":"2024-01-01T00:00:00+01:00[../../etc/passwd]"}',
        '{"$numpy.nothing":1}',
        '{"$numpy.float64":[1,2]}',
        '{"$numpy.object":1}',
        '{"$numpy.V8":100000000000}',
        '{"$numpy.i4,i4":1}',
        '{"$os.system":"true"}',
        '{"$pandas.read_pickle":"x"}',
        '{"a":1',
        '{"$tuple":[1]',
        "1" * 5000,
        "[" * 100_000,
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        "[" * 500 + "]" * 500,
        f"[{'0,' * LONGEST}0]",
    ],
)
def test_malformed_json_stands_for_no_value(text):
    """A record may come from anybody; whatever its texts are, the error is one."""
    before = set(sys.modules)
    with pytest.raises(ValueError, match="no plain value"):
        value_of(text)
    assert not {"os.system", "pandas.read_pickle"} & (set(sys.modules) - before)


@pytest.mark.parametrize(
    "value",
    [
        "<upstream 1>",
        ["<upstream 1>", Ref(1)],
        {"it's <upstream 0>": Ref(0)},
        ("'", Ref(0), "'", '"<upstream 0>"'),
        b"<upstream 2>",
        "\\'<upstream 1>",
    ],
)
def test_texts_that_look_like_references(value):
    """A text argument comes back as the text that it is."""
    assert value_of(texts_of(value)[-1]) == value


def test_numbers_that_python_does_not_write_out():
    """A number of thousands of digits is described by its size, wherever it is shown."""
    huge = 10**5000
    assert texts_of([huge]) == ["[<an int of 16610 bits>]"]

    @dc.delayed(target="{name}.json")
    def fail(n, name):
        raise KeyError(n.bit_length())

    with pytest.raises(KeyError, match="16610") as raised:
        fail(huge, "a").compute(scheduler="sync")
    assert "n=<an int of 16610 bits>" in raised.value.__notes__[0]
    with pytest.raises(dc.errors.TemplateError, match="name=<an int of 16610 bits>"):
        fail(1, huge)
