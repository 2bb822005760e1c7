"""The content of a record: each field in its form, and nothing that contradicts the record's name."""

from __future__ import annotations

import json
import pickle

import pytest

from daskcache.errors import StorageError
from daskcache.hashing.encoder import tag
from daskcache.storage.documents import Misfit
from daskcache.storage.record import Record, RecordName, record_content, target_id
from daskcache.storage.roots import FORMAT

NAME = RecordName("ab" * 16, target_id("x.json"), "c" * 32, "d" * 32, "f" * 32, 12, 34, 56)
FACTS = {
    "function": "program.step",
    "code": "0" * 32,
    "target": "x.json",
    "format": "daskcache:JSONTarget",
    "arguments": {"a": ["1", "0" * 32], "b": ["'long…", "1" * 32, "'long text'"]},
    "upstream": [
        {"key": "ef" * 16, "target": "made/y.json", "data_hash": tag("2" * 32)},
        {"source": "../raw.txt", "class": "daskcache:TextSource", "data_hash": "TextSource:x"},
        {"data_hash": tag("3" * 32)},
    ],
}
OPTIONAL = {
    "options": "{'indent': 1}",
    "results": ["x.json", "y.json"],
    "replaced": "12" * 16,
    "same_as": "34" * 16,
    "accepted": {"from": "1" * 32, "to": "2" * 32, "by": "ana", "when": None},
    "edited": {"stored": None, "by": "ana", "when": "2024-01-31T23:59:59Z"},
    "kept": {"from": "1" * 32, "by": None, "when": None},
    "form": {"dtype": "int64", "shape": [2, 0]},
}


def document(**changes):
    """The parsed JSON of a valid record, with other fields."""
    return {**json.loads(record_content(NAME, **FACTS)), **changes}


NO_LINE = [None, 1, [], {}, True, "two\nlines", "a\0b", "\x1b[31m", "\udc80"]
NO_COUNT = [None, True, -1, 1.0, "1", []]
NO_LINES = [None, [], "text", {"a": 1}, {"a": None}, {"a": "two\nlines"}]
NO_DECISION = [None, [], "text", {"a": 1}, {"a": {}}, {"a": "two\nlines"}]
NO_PATH = [None, 1, "", ".", "..", "../x", "/etc/x", "a//b", "a\0b", "\udc80", "a\\b", "x.part", "CON"]
INVALID = {
    **dict.fromkeys(("function", "code", "format", "key", "trace", "data_hash", "file_hash"), NO_LINE),
    **dict.fromkeys(("created", "host", "options", "replaced", "same_as"), NO_LINE),
    **dict.fromkeys(("daskcache", "size"), NO_COUNT),
    "seconds": [None, True, -1, -0.5, "1", float("nan"), float("inf"), 2**63],
    "target": NO_PATH,
    "arguments": [None, [], {"a": "1"}, {"a": ["1"]}, {"a": ["1"] * 4}, {"a": ["1", 2]}, {"a": {}}],
    "upstream": [
        *(None, {}, "text", [None], ["text"], [{}], [{"target": "x"}]),
        *([{"data_hash": 1}], [{"data_hash": "x", "target": "x"}], [{"data_hash": "x", "source": "\0"}]),
        *([{"data_hash": "x", "key": "k", "target": path}] for path in NO_PATH),
    ],
    "packages": NO_LINES,
    "results": [None, "x.json", 1, *([path] for path in NO_PATH), *({"a": path} for path in NO_PATH)],
    **dict.fromkeys(("accepted", "edited", "kept"), NO_DECISION),
    "form": [
        *(None, [], "int64", {}, {"dtype": "int64"}, {"dtype": 1, "shape": []}, {"columns": None}),
        *({"dtype": "int64", "shape": shape} for shape in (None, 1, [-1], [1.0], [True], ["1"])),
        *({"columns": [column]} for column in (None, "a", [], ["a"], ["a", 1], ["a", "b", "c"])),
        {"columns": [], "dtype": "int64", "shape": []},
        *({"columns": [], "index": index} for index in (None, ["id"], [["id"]], [["id", 1]])),
        {"kind": "file"},
        {"dtype": "int64", "kind": "path", "shape": []},
    ],
}
VALID = {
    "results": [[], {}, {"a": "x.json"}, ["x.json"]],
    "form": [
        {"columns": []},
        {"columns": [["a", "int64"], ["b\n", "str"]]},
        {"columns": [], "index": [["id", "int64"], [None, "str"]]},
        {"columns": [], "categories": {"a": {}}, "index": [["id", "int64"]]},
        {"dtype": "O", "shape": []},
        {"kind": "path"},
    ],
    "seconds": [0, 0.5, 3],
    "size": [0, 2**70],
    "arguments": [{}, {"a": ["\udcff\n", "x"]}],
    "upstream": [[], [{"data_hash": "x", "source": "\udcff\n"}], [{"data_hash": "", "more": "x"}]],
    "accepted": [{}, {"a": None}],
}


def test_every_field_is_an_attribute():
    """A record has each field of the document as an attribute, and the document itself."""
    told = document(**OPTIONAL)
    record = Record.of(told, NAME)
    assert {name: getattr(record, name) for name in told} == told
    assert record.document == told
    assert pickle.loads(pickle.dumps(record)) == record


def test_optional_fields_may_be_absent():
    """A field that a record lacks is None, and is not in what users get."""
    record = Record.of(document(), NAME)
    assert {getattr(record, name) for name in OPTIONAL} == {None}
    assert not OPTIONAL.keys() & record.document.keys()


@pytest.mark.parametrize("field", INVALID)
def test_invalid_values_are_refused(field):
    """No value of another form passes, whichever field it is in; the error names field and value."""
    for value in INVALID[field]:
        with pytest.raises(Misfit, match=f"its field '{field}' can't be .*: expected") as caught:
            Record.of(document(**{field: value}), NAME)
        assert caught.value.got == f"{value!r:.80}"


@pytest.mark.parametrize("field", VALID)
def test_other_valid_values_pass(field):
    """What is odd but harmless is read as it is."""
    for value in VALID[field]:
        assert getattr(Record.of(document(**{field: value}), NAME), field) == value


def test_every_field_has_invalid_values():
    """The table above leaves no field out."""
    assert INVALID.keys() == document(**OPTIONAL).keys()


@pytest.mark.parametrize("field", document())
def test_no_field_may_be_missing(field):
    """A record without one of the fields that all have is no record."""
    told = document()
    del told[field]
    with pytest.raises(Misfit, match=f"it has no field '{field}'"):
        Record.of(told, NAME)


@pytest.mark.parametrize("told", [None, [], "text", 1, [{}]])
def test_what_is_no_object_is_no_record(told):
    """JSON of another kind than an object is refused."""
    with pytest.raises(Misfit, match="it holds no JSON object"):
        Record.of(told, NAME)


def test_unknown_fields_are_kept_for_users():
    """A field that this version doesn't know stays in the document."""
    assert Record.of(document(more=[1]), NAME).document["more"] == [1]


@pytest.mark.parametrize(("field", "value"), [("key", "00" * 16), ("file_hash", tag("0" * 32))])
def test_the_name_must_be_of_this_record(field, value):
    """A content under the name of another record is refused: the name vouches for a file."""
    with pytest.raises(ValueError, match="its name is that of another record"):
        Record.of(document(**{field: value}), NAME)


def test_a_newer_form_is_an_error():
    """A record from the future is not interpreted, whatever else is in it."""
    for more in ({}, {"target": 1}):
        with pytest.raises(StorageError, match="newer daskcache"):
            Record.of(document(daskcache=FORMAT + 1, **more), NAME)


def test_classes_have_their_names_of_today():
    """Older records name classes by their modules; programs and users see the public names."""
    upstream = [{"source": "x", "class": "daskcache.targets.text:TextSource", "data_hash": "x"}]
    told = document(format="daskcache.targets.objects:JSONTarget", upstream=upstream)
    record = Record.of(told, NAME)
    assert (record.format, record.document["format"]) == ("daskcache:JSONTarget",) * 2
    assert record.upstream[0]["class"] == "daskcache:TextSource"


def test_facts_keep_their_order():
    """What one record takes from another is in the order in which it was written."""
    record = Record.of(document(**OPTIONAL), NAME)
    assert list(record.facts("target", "edited", "function", "nothing")) == [
        "function",
        "target",
        "edited",
    ]


@pytest.mark.parametrize(
    ("created", "seconds"), [("1970-01-02T00:00:01Z", 86401.0), ("yesterday", 0.0), ("", 0.0)]
)
def test_the_time_of_creation(created, seconds):
    """A time in another form counts as long ago."""
    assert Record.of(document(created=created), NAME).created_at == seconds
