"""Documents from outside: forms of values, and classes that declare the forms of their fields."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest

from daskcache.storage.documents import (
    COUNT,
    LINE,
    NULL,
    PATH,
    TEXT,
    Misfit,
    dict_of,
    known_fields,
    list_of,
    object_of,
)

PAIR = list_of(TEXT, 2, 2)


@dataclass(frozen=True)
class Note:
    """A document with one field that it must have, one that it may have, and one that is no JSON."""

    size: Annotated[int, COUNT]
    by: Annotated[str | None, LINE] = None
    more: int = 0


@pytest.mark.parametrize(
    ("form", "fitting", "others"),
    [
        (LINE, ["", "é \u00a0"], [None, 1, b"x", "\n", "\x7f", "\ud800"]),
        (TEXT, ["", "\n\ud800\0"], [None, 1, b"x", []]),
        (PATH, ["a", "a/b.c", "d.db::t"], ["", "/a", "../a", "a/../b", "~a", None, 1, ["a"]]),
        (COUNT, [0, 2**64], [-1, 1.0, True, "1", None]),
        (NULL, [None], [0, "", [], False]),
        (LINE | NULL, [None, "a"], ["\n", 1, []]),
        (list_of(COUNT), [[], [0, 1]], [None, {}, (0,), [0, -1], [[0]], "0"]),
        (PAIR, [["a", "b"]], [[], ["a"], ["a", "b", "c"], ["a", 1]]),
        (list_of(TEXT, 1), [["a"], ["a", "b", "c"]], [[], [1]]),
        (dict_of(COUNT), [{}, {"a": 0, "b": 1}], [None, [], {"a": -1}, {"a": None}]),
        (object_of(a=COUNT, b=LINE), [{"a": 0, "b": ""}], [{}, {"a": 0}, {"a": 0, "b": 1}, [], None]),
        (object_of(a=COUNT), [{"a": 0}], [{"a": 0, "b": 1}, {"b": 0}, {"a": -1}]),
    ],
)
def test_forms(form, fitting, others):
    """A form has values of one kind, and no others."""
    assert [value for value in fitting if not form.fits(value)] == []
    assert [value for value in others if form.fits(value)] == []


def test_every_character_that_no_line_has():
    """Of all there are: control characters and lone surrogates."""
    refused = {number for number in range(sys.maxunicode + 1) if not LINE.fits(f"a{chr(number)}b")}
    assert refused == {*range(32), 127, *range(0xD800, 0xE000)}


def test_declared_fields_are_taken_and_others_left_out():
    """Fields that the class declares with a form come from the document; nothing else does."""
    assert known_fields(Note, {"size": 1, "more": 5, "other": 2}) == {"size": 1}
    assert known_fields(Note, {"by": "ana", "size": 0}) == {"by": "ana", "size": 0}


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


LONG = f"'{'x' * 37}...{'x' * 38}'"


@pytest.mark.parametrize(
    ("document", "message", "got"),
    [
        ({}, "it has no field 'size'", "nothing"),
        ({"size": -1}, "its field 'size' can't be -1", "-1"),
        ({"size": 1, "by": None}, "its field 'by' can't be None", "None"),
        ({"size": "x" * 100}, f"its field 'size' can't be {LONG}", LONG),
        ({"size": nested(100_000)}, "its field 'size' can't be [[[[[[[...]]]]]]]", "[[[[[[[...]]]]]]]"),
        ([], "it holds no JSON object", "[]"),
        (None, "it holds no JSON object", "None"),
    ],
)
def test_misfits(document, message, got):
    """The error names the field, the form that it must have, and what is there; it can be pickled."""
    with pytest.raises(Misfit) as caught:
        known_fields(Note, document)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.message, error.got) == (message, got)
        assert str(error) == f"{message}: expected {error.expected}"
