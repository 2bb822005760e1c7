"""Values as texts in records: short ones, and whole ones from which the value can be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskcache.calls.describe import LONGEST, brief, value_of, whole
from daskcache.calls.recipe import Ref
from daskcache.hashing.encoder import hash_value

_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.integers(0, 20).map(Ref)
    | st.floats(allow_nan=False, width=32).map(np.float32)
)
_hashable = st.integers() | st.text()
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


@settings(max_examples=60, deadline=None)
@given(_values)
def test_whole_texts_give_the_value_back(value):
    """From a whole text the same value is made: of the same hash, with dicts in the same order."""
    text = whole(value)
    if text is not None:
        again = value_of(text)
        assert type(again) is type(value)
        assert hash_value(again) == hash_value(value)
        assert repr(again) == repr(value) or isinstance(value, (set, frozenset, list, tuple, dict))


@pytest.mark.parametrize(
    "value",
    [
        float("inf"),
        -float("inf"),
        -0.0,
        3 - 2j,
        -5,
        {"b": 1, "a": 2},
        {"a": (), "b": set(), "c": frozenset({1})},
        slice(None, 3),
        range(2, 9, 3),
        Path("raw/a.tif"),
        [np.float64(0.1), np.uint8(7)],
        [Ref(0), {"x": (Ref(12), 1)}],
        'it\'s "quoted"\n\\',
        b"\x00\xff",
        Ellipsis,
    ],
)
def test_values_that_have_a_text(value):
    """Literals, and the plain values whose text is a call, come back as they were."""
    for text in (whole(value), brief.repr(value)):
        if text is not None:
            assert value_of(text) == value
            assert repr(value_of(text)) == repr(value)


def test_dicts_keep_their_order():
    """The order of a dict can matter to the function that gets it."""
    value = {"b": 1, "a": 2, "c": 3}
    assert list(value_of(brief.repr(value))) == list(value_of(whole(value))) == ["b", "a", "c"]
    assert brief.repr(dict.fromkeys("gfedcba", 0)) == "{'g': 0, 'f': 0, 'e': 0, 'd': 0, ...}"


@pytest.mark.parametrize(
    "value",
    [
        "x" * LONGEST,
        "x" * 100 * LONGEST,
        b"x" * LONGEST,
        10 ** (LONGEST + 1),
        list(range(LONGEST)),
        [[0] * 100] * 100,
        np.arange(3),
        [np.arange(3)],
        {1: object()},
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
    assert whole(value) is None or len(whole(value)) <= LONGEST


def test_large_values_are_not_looked_through():
    """Whether a value is too large for a text is known after its first parts."""

    class Counted(int):
        def __repr__(self):
            seen.append(self)
            return "0"

    seen: list = []
    assert whole([[Counted()] * 900] * 900) is None
    assert len(seen) <= LONGEST


def test_references_do_not_count_for_the_length():
    """A node that gathers hundreds has a whole text."""
    refs = [Ref(number) for number in range(400)]
    assert value_of(whole(refs)) == refs


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
        "np.ndarray",
        "xx.float64(1)",
        "np.lib.format.open_memmap('x')",
        "[1][0]",
        "1 if 2 else 3",
        "lambda: 1",
        "dict(a=1)",
        "slice(*[1])",
        "Ref(x)",
        "{**{}}",
        "-'x'",
        "{[]: 1}",
        "<function f at 0x7f>",
        "[1, ...",
        "(" * 5000,
        "[" * 90 + "]" * 90 + "(",
        "range(1, 2, 0)",
    ],
)
def test_other_texts_stand_for_no_value(text):
    """Nothing is evaluated: what is no literal and no known call is refused."""
    with pytest.raises(ValueError, match="no plain value"):
        value_of(text)
